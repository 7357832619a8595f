/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * 8042 keyboard controller, ports 0x60 and 0x64, with a keyboard that answers
 * its commands and never has a key pressed, and no mouse.  Its commands that
 * pulse the reset line reset the machine.  Device lock held.
 */
#ifndef DEV_ISA_I8042_H
#define DEV_ISA_I8042_H

#include "bus/io.h"
#include "bus/irq.h"

struct i8042;

int i8042_create(struct irq_router *irq, void (*reset)(void *ctx), void *ctx, struct i8042 **ret_kbc);
void i8042_destroy(struct i8042 *kbc);
void i8042_reset(struct i8042 *kbc);
int i8042_attach(struct i8042 *kbc, struct io_space *ports);

#endif
