/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The pair of 8259A interrupt controllers, with ELCR: ports 0x20-0x21,
 * 0xa0-0xa1, 0x4d0-0x4d1.  Called with the device lock held.
 */
#ifndef IRQ_I8259_H
#define IRQ_I8259_H

#include "bus/io.h"

#include <stddef.h>

struct i8259_pair;

/* The output to the processor changed. */
typedef void i8259_intr_fn(void *ctx, bool level);

int i8259_create(i8259_intr_fn *intr, void *ctx, struct i8259_pair **ret_pic);
void i8259_destroy(struct i8259_pair *pic);
void i8259_reset(struct i8259_pair *pic);

/* @irq: 0-15, the cascade 2 excepted (no effect). */
void i8259_set_irq(struct i8259_pair *pic, unsigned irq, bool level);
/* Level-triggered (1) or edge-triggered inputs, a bit an IRQ; as firmware sets ELCR. */
void i8259_set_elcr(struct i8259_pair *pic, uint16_t elcr);
/* INTA: the vector, a spurious one (IRQ 7 or 15) if nothing is pending. */
int i8259_ack(struct i8259_pair *pic);

/* Claims the ports. */
int i8259_attach(struct i8259_pair *pic, struct io_space *ports);

size_t i8259_describe(const struct i8259_pair *pic, char *buf, size_t size);

#endif
