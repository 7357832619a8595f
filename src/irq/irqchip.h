/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The interrupt controllers of a PC, wired together.
 *
 * GSI 0-15 reach the 8259 pair and the I/O APIC; GSI 16-23 the I/O APIC only.
 * GSI 0 (the 8254) is on I/O APIC pin 2, and pin 0 is the 8259's output, as
 * the MADT and the MP table say; the 8259's output is also LINT0 of every
 * local APIC.  How the machine uses it:
 *
 *   irqchip_create(...)        with the engine's event() as kick
 *   irqchip_router(chip)       given to devices
 *   vCPU thread                lapic_* on irqchip_lapic(chip, vcpu)
 *   reset                      irqchip_reset, with no vCPU running
 */
#ifndef IRQ_IRQCHIP_H
#define IRQ_IRQCHIP_H

#include "bus/io.h"
#include "bus/irq.h"
#include "irq/i8259.h"
#include "irq/ioapic.h"
#include "irq/lapic.h"

#include <pthread.h>

struct irqchip;

struct irqchip_config {
        pthread_mutex_t *device_lock;
        struct io_space *ports;
        struct io_space *mmio;
        /* count, ids, tsc_hz, x2apic_*, tsc_deadline, kick and its ctx, apics and engine; eoi and extint_ack are the chip's own. */
        struct lapic_config lapic;
};

int irqchip_create(const struct irqchip_config *config, struct irqchip **ret_chip);
void irqchip_destroy(struct irqchip *chip);
void irqchip_reset(struct irqchip *chip);

/* A local APIC of the engine's finished a level-triggered @vector; no lock held. */
void irqchip_eoi(struct irqchip *chip, uint8_t vector);

struct irq_router *irqchip_router(struct irqchip *chip);
struct lapic_set *irqchip_lapics(struct irqchip *chip);
struct lapic *irqchip_lapic(struct irqchip *chip, unsigned vcpu);
struct ioapic *irqchip_ioapic(struct irqchip *chip);
struct i8259_pair *irqchip_pic(struct irqchip *chip);

#endif
