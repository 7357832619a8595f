/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Interrupt lines and messages, as a device sees them.
 *
 * A line is an input of the interrupt controllers (GSI 0-15: ISA IRQs of PIC
 * and I/O APIC; 16-23: I/O APIC only).  Several sources may share a line: it is
 * asserted while any of them is.  irq_line_set, irq_msi and irq_message_send may be
 * called from any thread with the device lock held.
 */
#ifndef BUS_IRQ_H
#define BUS_IRQ_H

#include <stdbool.h>
#include <stdint.h>

#define IRQ_GSI_COUNT 24
#define IRQ_GSI_NONE  255 /* a source that is not connected */

struct irq_router;

/* One source on a line.  level remembers what this source last said. */
struct irq_source {
        struct irq_router *router;
        uint8_t gsi;
        bool level;
};

/*
 * One sender of a message that is sent often, all zero at first: an MSI-X vector, say.  Once sent it may
 * have an eventfd of which a write sends it again, for as long as address and data are the same.
 */
struct irq_message {
        unsigned number; /* among the router's, from 1; 0: not sent yet */
        bool has_fd;
        int fd; /* the sink's */
        uint64_t address;
        uint32_t data;
};

/* Where a router sends what it collects: the machine connects it to src/irq. */
struct irq_sink_ops {
        void (*line)(void *ctx, unsigned gsi, bool level);
        void (*msi)(void *ctx, uint64_t address, uint32_t data);
        /*
         * Optional: the eventfd of which a write sends this from now on, and not what sender @number (from 0)
         * sent before.  -errno if there is none, and then msi is called.
         */
        int (*message_fd)(void *ctx, unsigned number, uint64_t address, uint32_t data);
};

int irq_router_create(const struct irq_sink_ops *ops, void *ctx, struct irq_router **ret_router);
void irq_router_destroy(struct irq_router *router);

void irq_source_init(struct irq_source *source, struct irq_router *router, unsigned gsi);
/* Moves a source to another line, its level with it (PCI routing). */
void irq_source_route(struct irq_source *source, unsigned gsi);
void irq_line_set(struct irq_source *source, bool level);
void irq_line_pulse(struct irq_source *source);
void irq_msi(struct irq_router *router, uint64_t address, uint32_t data);
/* As irq_msi, of the same sender each time. */
void irq_message_send(struct irq_router *router, struct irq_message *message, uint64_t address, uint32_t data);

#endif
