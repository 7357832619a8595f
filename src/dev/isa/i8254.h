/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * 8254 interval timer: ports 0x40-0x43.  Counter 0 drives IRQ 0; counter 2's
 * gate and output are on port 0x61 (sysports.h).  Device lock held.
 */
#ifndef DEV_ISA_I8254_H
#define DEV_ISA_I8254_H

#include "base/loop.h"
#include "bus/io.h"
#include "bus/irq.h"

#define I8254_HZ 1193182ull

struct i8254;

int i8254_create(struct loop *loop, struct irq_router *irq, struct i8254 **ret_pit);
void i8254_destroy(struct i8254 *pit);
void i8254_reset(struct i8254 *pit);

extern const struct io_ops i8254_io_ops; /* ctx: struct i8254 */

/* Counter 2, the speaker's. */
void i8254_set_gate2(struct i8254 *pit, bool gate);
bool i8254_gate2(const struct i8254 *pit);
bool i8254_out2(const struct i8254 *pit);

#endif
