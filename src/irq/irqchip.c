/* SPDX-License-Identifier: BSD-2-Clause */
/* See irqchip.h.  Device lock first, then the local APICs' own. */
#include "irq/irqchip.h"

#include <errno.h>
#include <stdlib.h>

#define PIT_GSI     0
#define PIT_PIN     2 /* where the 8254 is on the I/O APIC */
#define PIC_PIN     0 /* where the 8259's output is */
#define SCI_IRQ     9
#define ISA_LINES   16

/* PCI interrupts (5, 10, 11 in PIC mode) and the SCI are level-triggered; firmware says so in ELCR. */
#define ELCR_AT_RESET (1u << 5 | 1u << SCI_IRQ | 1u << 10 | 1u << 11)

struct irqchip {
        pthread_mutex_t *device_lock;
        struct io_space *ports, *mmio;
        struct irq_router *router;
        struct lapic_set *lapics;
        struct ioapic *ioapic;
        struct i8259_pair *pic;
        void (*kick)(void *ctx, unsigned vcpu, unsigned event, unsigned arg);
        void *kick_ctx;
};

static void
line_changed(void *ctx, unsigned gsi, bool level)
{
        struct irqchip *chip = ctx;

        if (gsi < ISA_LINES)
                i8259_set_irq(chip->pic, gsi, level);
        if (gsi == PIT_GSI)
                ioapic_set_pin(chip->ioapic, PIT_PIN, level);
        else if (gsi != PIT_PIN)
                ioapic_set_pin(chip->ioapic, gsi, level);
}

static void
send_msi(void *ctx, uint64_t address, uint32_t data)
{
        struct irqchip *chip = ctx;

        lapic_msi(chip->lapics, address, data);
}

static int
message_fd(void *ctx, unsigned number, uint64_t address, uint32_t data)
{
        struct irqchip *chip = ctx;

        return lapic_message_fd(chip->lapics, number, address, data);
}

static const struct irq_sink_ops sink_ops = {
    .line = line_changed,
    .msi = send_msi,
    .message_fd = message_fd,
};

static void
ioapic_send(void *ctx, unsigned pin, const struct lapic_message *message)
{
        struct irqchip *chip = ctx;

        if (message->level)
                lapic_watch_eoi(chip->lapics, pin, message);

        lapic_deliver(chip->lapics, message);
}

static void
pic_output(void *ctx, bool level)
{
        struct irqchip *chip = ctx;

        lapic_lint(chip->lapics, 0, level);
        ioapic_set_pin(chip->ioapic, PIC_PIN, level);
}

static void
kick_vcpu(void *ctx, unsigned vcpu, unsigned event, unsigned arg)
{
        struct irqchip *chip = ctx;

        chip->kick(chip->kick_ctx, vcpu, event, arg);
}

void
irqchip_eoi(struct irqchip *chip, uint8_t vector)
{
        pthread_mutex_lock(chip->device_lock);
        ioapic_eoi(chip->ioapic, vector);
        pthread_mutex_unlock(chip->device_lock);
}

static void
end_of_interrupt(void *ctx, uint8_t vector)
{
        irqchip_eoi(ctx, vector);
}

static int
acknowledge_pic(void *ctx)
{
        struct irqchip *chip = ctx;
        int vector;

        pthread_mutex_lock(chip->device_lock);
        vector = i8259_ack(chip->pic);
        pthread_mutex_unlock(chip->device_lock);
        return vector;
}

static int
create_lapics(struct irqchip *chip, const struct lapic_config *wanted)
{
        struct lapic_config config = *wanted;

        chip->kick = wanted->kick;
        chip->kick_ctx = wanted->ctx;
        config.kick = kick_vcpu;
        config.eoi = end_of_interrupt;
        config.extint_ack = acknowledge_pic;
        config.ctx = chip;
        return lapic_set_create(&config, &chip->lapics);
}

int
irqchip_create(const struct irqchip_config *config, struct irqchip **ret_chip)
{
        struct irqchip *chip = calloc(1, sizeof(*chip));
        int error;

        if (!chip)
                return -ENOMEM;
        chip->device_lock = config->device_lock;
        chip->ports = config->ports;
        chip->mmio = config->mmio;
        error = create_lapics(chip, &config->lapic);
        if (!error)
                error = ioapic_create(ioapic_send, chip, &chip->ioapic);
        if (!error)
                error = i8259_create(pic_output, chip, &chip->pic);
        if (!error)
                error = irq_router_create(&sink_ops, chip, &chip->router);
        if (!error)
                error = i8259_attach(chip->pic, chip->ports);
        if (!error)
                error = io_space_add(chip->mmio, IOAPIC_BASE, IOAPIC_LEN, &ioapic_io_ops, chip->ioapic,
                    0, "I/O APIC");
        if (error) {
                irqchip_destroy(chip);
                return error;
        }
        i8259_set_elcr(chip->pic, ELCR_AT_RESET);
        *ret_chip = chip;
        return 0;
}

void
irqchip_destroy(struct irqchip *chip)
{
        if (!chip)
                return;
        irq_router_destroy(chip->router);
        i8259_destroy(chip->pic);
        ioapic_destroy(chip->ioapic);
        lapic_set_destroy(chip->lapics);
        free(chip);
}

void
irqchip_reset(struct irqchip *chip)
{
        lapic_set_reset(chip->lapics);
        ioapic_reset(chip->ioapic);
        i8259_reset(chip->pic);
        i8259_set_elcr(chip->pic, ELCR_AT_RESET);
}

struct irq_router *
irqchip_router(struct irqchip *chip)
{
        return chip->router;
}

struct lapic_set *
irqchip_lapics(struct irqchip *chip)
{
        return chip->lapics;
}

struct lapic *
irqchip_lapic(struct irqchip *chip, unsigned vcpu)
{
        return lapic_get(chip->lapics, vcpu);
}

struct ioapic *
irqchip_ioapic(struct irqchip *chip)
{
        return chip->ioapic;
}

struct i8259_pair *
irqchip_pic(struct irqchip *chip)
{
        return chip->pic;
}
