/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * High Precision Event Timer (IA-PC HPET 1.0a) at 0xfed00000: 8 comparators,
 * 100 MHz, routed to I/O APIC pins 20-23 or as messages.  No legacy
 * replacement: the 8254 keeps IRQ 0.  Device lock held.
 */
#ifndef DEV_ISA_HPET_H
#define DEV_ISA_HPET_H

#include "base/loop.h"
#include "bus/io.h"
#include "bus/irq.h"

#define HPET_BASE   0xfed00000ull
#define HPET_LEN    0x400ull
#define HPET_TIMERS 8u
#define HPET_TICK_NS 10ull
/* The low half of the capabilities register, which the ACPI table repeats. */
#define HPET_CAPS   (0x8086ull << 16 | 1u << 13 | (HPET_TIMERS - 1) << 8 | 1u)

struct hpet;

int hpet_create(struct loop *loop, struct irq_router *irq, struct hpet **ret_hpet);
void hpet_destroy(struct hpet *hpet);
void hpet_reset(struct hpet *hpet);

extern const struct io_ops hpet_io_ops; /* ctx: struct hpet */

#endif
