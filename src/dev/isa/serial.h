/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A 16550A with a chardev behind it: what a COM port and a PCI serial card
 * have in common.  The owner decides where its eight registers are and what
 * its interrupt is.  Device lock held.
 */
#ifndef DEV_ISA_SERIAL_H
#define DEV_ISA_SERIAL_H

#include "backend/char/chardev.h"
#include "base/loop.h"
#include "bus/io.h"

struct serial;

typedef void serial_intr_fn(void *ctx, bool level);

/* @chardev: becomes the serial's to close; NULL for a port that is not connected. */
int serial_create(struct loop *loop, struct chardev *chardev, serial_intr_fn *intr, void *ctx,
    struct serial **ret_serial);
void serial_destroy(struct serial *serial);
void serial_reset(struct serial *serial);

extern const struct io_ops serial_io_ops; /* ctx: struct serial */

#endif
