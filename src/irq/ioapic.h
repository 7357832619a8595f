/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * I/O APIC (82093AA, version 0x20 with an EOI register): 24 pins.
 * Called with the device lock held; sends messages to the local APICs.
 */
#ifndef IRQ_IOAPIC_H
#define IRQ_IOAPIC_H

#include "bus/io.h"
#include "irq/lapic.h"

#define IOAPIC_BASE 0xfec00000ull
#define IOAPIC_LEN  0x1000ull
#define IOAPIC_PINS 24u

struct ioapic;

/* @pin says which of them sends @message. */
typedef void ioapic_send_fn(void *ctx, unsigned pin, const struct lapic_message *message);

int ioapic_create(ioapic_send_fn *send, void *ctx, struct ioapic **ret_ioapic);
void ioapic_destroy(struct ioapic *ioapic);
void ioapic_reset(struct ioapic *ioapic);

void ioapic_set_pin(struct ioapic *ioapic, unsigned pin, bool level);
/* A local APIC finished @vector: clears Remote IRR, and sends again what is still asserted. */
void ioapic_eoi(struct ioapic *ioapic, uint8_t vector);

extern const struct io_ops ioapic_io_ops; /* ctx: struct ioapic */

size_t ioapic_describe(const struct ioapic *ioapic, char *buf, size_t size);

#endif
