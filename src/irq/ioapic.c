/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * I/O APIC: Intel 82093AA data sheet, and the EOI register at offset 0x40 of
 * its successors (version 0x20).  Polarity is remembered but has no effect:
 * devices say "asserted", not "high".
 */
#include "irq/ioapic.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#define REG_SELECT 0x00
#define REG_WINDOW 0x10
#define REG_EOI    0x40

#define INDEX_ID      0x00
#define INDEX_VERSION 0x01
#define INDEX_ARB     0x02
#define INDEX_PIN0    0x10

#define VERSION (0x20u | (IOAPIC_PINS - 1) << 16)

/* Redirection entry, data sheet 3.2.4. */
#define RTE_VECTOR     0xffull
#define RTE_MODE_SHIFT 8
#define RTE_LOGICAL    0x800ull
#define RTE_REMOTE_IRR 0x4000ull
#define RTE_LEVEL      0x8000ull
#define RTE_MASKED     0x10000ull
#define RTE_DEST_SHIFT 56
#define RTE_WRITABLE   0xff0000000001afffull

struct ioapic {
        ioapic_send_fn *send;
        void *ctx;
        uint8_t select;
        uint32_t id;
        uint64_t rte[IOAPIC_PINS];
        uint32_t levels;  /* a bit a pin: asserted */
        uint32_t pending; /* an edge came while the pin was masked */
};

int
ioapic_create(ioapic_send_fn *send, void *ctx, struct ioapic **ret_ioapic)
{
        struct ioapic *ioapic = calloc(1, sizeof(*ioapic));

        if (!ioapic)
                return -ENOMEM;
        ioapic->send = send;
        ioapic->ctx = ctx;
        ioapic_reset(ioapic);
        *ret_ioapic = ioapic;
        return 0;
}

void
ioapic_destroy(struct ioapic *ioapic)
{
        free(ioapic);
}

/* The levels are the devices' and outlast it. */
void
ioapic_reset(struct ioapic *ioapic)
{
        ioapic->select = 0;
        ioapic->id = 0;
        ioapic->pending = 0;
        for (unsigned pin = 0; pin < IOAPIC_PINS; pin++)
                ioapic->rte[pin] = RTE_MASKED;
}

static void
send_pin(struct ioapic *ioapic, unsigned pin)
{
        uint64_t rte = ioapic->rte[pin];
        struct lapic_message m = {
            .dest = (uint32_t)(rte >> RTE_DEST_SHIFT),
            .logical = rte & RTE_LOGICAL,
            .level = rte & RTE_LEVEL,
            .mode = rte >> RTE_MODE_SHIFT & 7,
            .vector = (uint8_t)rte,
        };

        if (m.mode == LAPIC_STARTUP || m.mode == LAPIC_RESERVED)
                return;
        if (m.dest == 0xff)
                m.dest = UINT32_MAX;
        ioapic->send(ioapic->ctx, pin, &m);
}

/* Sends what a pin has to say now, if it may. */
static void
evaluate(struct ioapic *ioapic, unsigned pin)
{
        uint32_t bit = 1u << pin;
        uint64_t *rte = &ioapic->rte[pin];

        if (*rte & RTE_MASKED)
                return;
        if (!(*rte & RTE_LEVEL)) {
                if (ioapic->pending & bit) {
                        ioapic->pending &= ~bit;
                        send_pin(ioapic, pin);
                }
                return;
        }
        if (!(ioapic->levels & bit) || (*rte & RTE_REMOTE_IRR))
                return;
        /* Only fixed and lowest priority wait for an EOI. */
        if ((*rte >> RTE_MODE_SHIFT & 7) <= LAPIC_LOWEST)
                *rte |= RTE_REMOTE_IRR;
        send_pin(ioapic, pin);
}

void
ioapic_set_pin(struct ioapic *ioapic, unsigned pin, bool level)
{
        uint32_t bit;

        if (pin >= IOAPIC_PINS)
                return;
        bit = 1u << pin;
        if (!level) {
                ioapic->levels &= ~bit;
                return;
        }
        if (ioapic->levels & bit)
                return;
        ioapic->levels |= bit;
        if (!(ioapic->rte[pin] & RTE_LEVEL))
                ioapic->pending |= bit;
        evaluate(ioapic, pin);
        /* An edge on a masked pin is lost, as in the real part. */
        ioapic->pending &= ~bit;
}

void
ioapic_eoi(struct ioapic *ioapic, uint8_t vector)
{
        for (unsigned pin = 0; pin < IOAPIC_PINS; pin++) {
                uint64_t *rte = &ioapic->rte[pin];

                if ((*rte & RTE_VECTOR) != vector || !(*rte & RTE_REMOTE_IRR))
                        continue;
                *rte &= ~RTE_REMOTE_IRR;
                evaluate(ioapic, pin);
        }
}

/* A switch to edge mode clears Remote IRR, which is how old guests acknowledge by hand. */
static void
write_rte(struct ioapic *ioapic, unsigned pin, uint64_t value)
{
        uint64_t *rte = &ioapic->rte[pin];

        *rte = (*rte & RTE_REMOTE_IRR) | (value & RTE_WRITABLE);
        if (!(*rte & RTE_LEVEL))
                *rte &= ~RTE_REMOTE_IRR;
        evaluate(ioapic, pin);
}

static uint32_t
read_indirect(const struct ioapic *ioapic)
{
        unsigned pin = (ioapic->select - INDEX_PIN0) / 2u;

        switch (ioapic->select) {
        case INDEX_ID:
        case INDEX_ARB:
                return ioapic->id;
        case INDEX_VERSION:
                return VERSION;
        default:
                break;
        }
        if (ioapic->select < INDEX_PIN0 || pin >= IOAPIC_PINS)
                return UINT32_MAX;
        return (uint32_t)(ioapic->rte[pin] >> (ioapic->select & 1 ? 32 : 0));
}

static void
write_indirect(struct ioapic *ioapic, uint32_t value)
{
        unsigned pin = (ioapic->select - INDEX_PIN0) / 2u;

        if (ioapic->select == INDEX_ID) {
                ioapic->id = value & 0x0f000000;
                return;
        }
        if (ioapic->select < INDEX_PIN0 || pin >= IOAPIC_PINS)
                return;
        if (ioapic->select & 1)
                write_rte(ioapic, pin, (ioapic->rte[pin] & UINT32_MAX) | (uint64_t)value << 32);
        else
                write_rte(ioapic, pin, (ioapic->rte[pin] & ~(uint64_t)UINT32_MAX) | value);
}

static uint64_t
ioapic_read(void *ctx, uint64_t offset, unsigned size)
{
        const struct ioapic *ioapic = ctx;

        switch (offset) {
        case REG_SELECT:
                return ioapic->select;
        case REG_WINDOW:
                return read_indirect(ioapic);
        default:
                return 0;
        }
}

static void
ioapic_write(void *ctx, uint64_t offset, unsigned size, uint64_t value)
{
        struct ioapic *ioapic = ctx;

        switch (offset) {
        case REG_SELECT:
                ioapic->select = (uint8_t)value;
                break;
        case REG_WINDOW:
                if (size >= 4)
                        write_indirect(ioapic, (uint32_t)value);
                break;
        case REG_EOI:
                ioapic_eoi(ioapic, (uint8_t)value);
                break;
        default:
                break;
        }
}

const struct io_ops ioapic_io_ops = {
    .read = ioapic_read,
    .write = ioapic_write,
};

size_t
ioapic_describe(const struct ioapic *ioapic, char *buf, size_t size)
{
        size_t len = 0;

        for (unsigned pin = 0; pin < IOAPIC_PINS; pin++) {
                int n = snprintf(len < size ? buf + len : NULL, len < size ? size - len : 0,
                    "pin %2u %016llx %s\n", pin, (unsigned long long)ioapic->rte[pin],
                    ioapic->levels >> pin & 1 ? "asserted" : "-");

                len += n > 0 ? (size_t)n : 0;
        }
        return len;
}
