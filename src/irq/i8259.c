/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The 8259A pair, as the data sheet (Intel 231468) and the PIIX3's ELCR have
 * it.  8086 mode only: an ICW4 without it is taken as 8086 mode.  The slave's
 * output is the master's IRQ 2.
 */
#include "irq/i8259.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

/* ICW1 and the OCWs, data sheet figures 7 and 8. */
#define ICW1_SELECT  0x10u
#define ICW1_ICW4    0x01u
#define ICW1_SINGLE  0x02u
#define ICW1_LEVEL   0x08u
#define ICW4_AEOI    0x02u
#define ICW4_SFNM    0x10u
#define OCW3_SELECT  0x08u
#define OCW3_POLL    0x04u
#define OCW3_RR      0x02u
#define OCW3_RIS     0x01u
#define OCW3_ESMM    0x40u
#define OCW3_SMM     0x20u

#define CASCADE_IRQ 2

/* ELCR: IRQ 0, 1, 2, 8 and 13 are edge-triggered for ever. */
#define ELCR_WRITABLE 0xdef8u

enum { MASTER, SLAVE };

struct i8259 {
        uint8_t irr, imr, isr;
        uint8_t levels;   /* inputs */
        uint8_t elcr;     /* 1: level-triggered */
        uint8_t base;     /* ICW2 */
        uint8_t lowest;   /* the input of lowest priority */
        uint8_t expect;   /* which ICW comes next: 2, 3, 4; 0: none */
        bool want_icw4;
        bool single;
        bool auto_eoi, rotate_auto_eoi;
        bool special_mask, special_nested;
        bool read_isr, poll;
};

struct i8259_pair {
        struct i8259 chip[2];
        i8259_intr_fn *intr;
        void *ctx;
        bool out;
};

/* An input's priority: 0 is the highest. */
static unsigned
priority_of(const struct i8259 *c, unsigned input)
{
        return (input - c->lowest - 1u) & 7;
}

/* The input of highest priority in @set, or -1. */
static int
highest(const struct i8259 *c, uint8_t set)
{
        for (unsigned i = 1; i <= 8; i++) {
                unsigned input = (c->lowest + i) & 7;

                if (set >> input & 1)
                        return (int)input;
        }
        return -1;
}

/* The input that the chip asks to be served now, or -1. */
static int
requested(const struct i8259 *c)
{
        int input = highest(c, c->irr & (uint8_t)~c->imr);
        uint8_t serving = c->isr;
        int current;

        if (input < 0)
                return -1;
        if (c->special_mask)
                serving &= (uint8_t)~c->imr;
        if (c->special_nested && input == CASCADE_IRQ)
                serving &= (uint8_t) ~(1u << CASCADE_IRQ);
        current = highest(c, serving);
        if (current >= 0 && priority_of(c, (unsigned)input) >= priority_of(c, (unsigned)current))
                return -1;
        return input;
}

static void
set_input(struct i8259 *c, unsigned input, bool level)
{
        uint8_t bit = (uint8_t)(1u << input);

        if (level) {
                if (!(c->levels & bit))
                        c->irr |= bit;
                c->levels |= bit;
        } else {
                c->levels &= (uint8_t)~bit;
                c->irr &= (uint8_t)~bit; /* IR must stay high until INTA, both modes */
        }
        if ((c->elcr & bit) && level)
                c->irr |= bit;
}

static void
update(struct i8259_pair *pic)
{
        bool out;

        set_input(&pic->chip[MASTER], CASCADE_IRQ, requested(&pic->chip[SLAVE]) >= 0);
        out = requested(&pic->chip[MASTER]) >= 0;
        if (out == pic->out)
                return;
        pic->out = out;
        pic->intr(pic->ctx, out);
}

void
i8259_set_irq(struct i8259_pair *pic, unsigned irq, bool level)
{
        if (irq >= 16 || irq == CASCADE_IRQ)
                return;
        set_input(&pic->chip[irq >> 3], irq & 7, level);
        update(pic);
}

/* INTA for one chip: the input, or -1 if it went away. */
static int
acknowledge(struct i8259 *c)
{
        int input = requested(c);
        uint8_t bit;

        if (input < 0)
                return -1;
        bit = (uint8_t)(1u << input);
        if (!(c->elcr & bit))
                c->irr &= (uint8_t)~bit;
        if (!c->auto_eoi)
                c->isr |= bit;
        else if (c->rotate_auto_eoi)
                c->lowest = (uint8_t)input;
        return input;
}

int
i8259_ack(struct i8259_pair *pic)
{
        struct i8259 *master = &pic->chip[MASTER], *slave = &pic->chip[SLAVE];
        int input = acknowledge(master);
        int vector;

        if (input < 0) {
                vector = master->base + 7; /* spurious */
        } else if (input == CASCADE_IRQ) {
                input = acknowledge(slave);
                vector = slave->base + (input < 0 ? 7 : input);
        } else {
                vector = master->base + input;
        }
        update(pic);
        return vector;
}

static void
begin_init(struct i8259 *c, uint8_t icw1)
{
        c->imr = c->isr = 0;
        c->irr = c->levels & c->elcr;
        c->lowest = 7;
        c->auto_eoi = c->rotate_auto_eoi = false;
        c->special_mask = c->special_nested = false;
        c->read_isr = c->poll = false;
        c->want_icw4 = icw1 & ICW1_ICW4;
        c->single = icw1 & ICW1_SINGLE;
        c->expect = 2;
}

static void
end_of_interrupt(struct i8259 *c, int input, bool rotate)
{
        if (input < 0)
                return;
        c->isr &= (uint8_t) ~(1u << input);
        if (rotate)
                c->lowest = (uint8_t)input;
}

/* OCW2: bits 7-5 are R, SL, EOI. */
static void
write_ocw2(struct i8259 *c, uint8_t value)
{
        int level = value & 7;
        uint8_t serving = c->special_mask ? c->isr & (uint8_t)~c->imr : c->isr;

        switch (value >> 5) {
        case 0:
        case 4:
                c->rotate_auto_eoi = value >> 5 == 4;
                break;
        case 1:
        case 5:
                end_of_interrupt(c, highest(c, serving), value >> 5 == 5);
                break;
        case 3:
        case 7:
                end_of_interrupt(c, level, value >> 5 == 7);
                break;
        case 6:
                c->lowest = (uint8_t)level;
                break;
        default:
                break;
        }
}

static void
write_ocw3(struct i8259 *c, uint8_t value)
{
        if (value & OCW3_ESMM)
                c->special_mask = value & OCW3_SMM;
        if (value & OCW3_RR)
                c->read_isr = value & OCW3_RIS;
        c->poll = value & OCW3_POLL;
}

static void
write_command(struct i8259 *c, uint8_t value)
{
        if (value & ICW1_SELECT)
                begin_init(c, value);
        else if (value & OCW3_SELECT)
                write_ocw3(c, value);
        else
                write_ocw2(c, value);
}

static void
write_data(struct i8259 *c, uint8_t value)
{
        switch (c->expect) {
        case 2:
                c->base = value & 0xf8;
                c->expect = c->single ? (c->want_icw4 ? 4 : 0) : 3;
                break;
        case 3:
                c->expect = c->want_icw4 ? 4 : 0;
                break;
        case 4:
                c->auto_eoi = value & ICW4_AEOI;
                c->special_nested = value & ICW4_SFNM;
                c->expect = 0;
                break;
        default:
                c->imr = value;
                break;
        }
}

/* Poll mode: the read is the acknowledge. */
static uint8_t
read_poll(struct i8259 *c)
{
        int input = acknowledge(c);

        c->poll = false;
        return input < 0 ? 0 : (uint8_t)(0x80 | input);
}

static uint64_t
chip_read(struct i8259_pair *pic, unsigned which, uint64_t offset)
{
        struct i8259 *c = &pic->chip[which];
        uint8_t value;

        if (c->poll) {
                value = read_poll(c);
                update(pic);
                return value;
        }
        if (offset & 1)
                return c->imr;
        return c->read_isr ? c->isr : c->irr;
}

static void
chip_write(struct i8259_pair *pic, unsigned which, uint64_t offset, uint64_t value)
{
        if (offset & 1)
                write_data(&pic->chip[which], (uint8_t)value);
        else
                write_command(&pic->chip[which], (uint8_t)value);
        update(pic);
}

static uint64_t
master_read(void *ctx, uint64_t offset, unsigned size)
{
        return chip_read(ctx, MASTER, offset);
}

static void
master_write(void *ctx, uint64_t offset, unsigned size, uint64_t value)
{
        chip_write(ctx, MASTER, offset, value);
}

static uint64_t
slave_read(void *ctx, uint64_t offset, unsigned size)
{
        return chip_read(ctx, SLAVE, offset);
}

static void
slave_write(void *ctx, uint64_t offset, unsigned size, uint64_t value)
{
        chip_write(ctx, SLAVE, offset, value);
}

static uint64_t
elcr_read(void *ctx, uint64_t offset, unsigned size)
{
        const struct i8259_pair *pic = ctx;
        uint64_t value = pic->chip[MASTER].elcr | (uint64_t)pic->chip[SLAVE].elcr << 8;

        return value >> (offset * 8) & (size == 1 ? 0xff : 0xffff);
}

static void
elcr_write(void *ctx, uint64_t offset, unsigned size, uint64_t value)
{
        struct i8259_pair *pic = ctx;
        uint64_t old = elcr_read(ctx, 0, 2);

        if (size > 1)
                i8259_set_elcr(pic, (uint16_t)value);
        else if (offset == 0)
                i8259_set_elcr(pic, (uint16_t)((old & 0xff00) | (value & 0xff)));
        else
                i8259_set_elcr(pic, (uint16_t)((old & 0xff) | value << 8));
}

static const struct io_ops master_ops = {.read = master_read, .write = master_write};
static const struct io_ops slave_ops = {.read = slave_read, .write = slave_write};
static const struct io_ops elcr_ops = {.read = elcr_read, .write = elcr_write};

void
i8259_set_elcr(struct i8259_pair *pic, uint16_t elcr)
{
        elcr &= ELCR_WRITABLE;
        pic->chip[MASTER].elcr = (uint8_t)elcr;
        pic->chip[SLAVE].elcr = (uint8_t)(elcr >> 8);
        for (unsigned i = 0; i < 2; i++)
                pic->chip[i].irr |= pic->chip[i].levels & pic->chip[i].elcr;
        update(pic);
}

int
i8259_attach(struct i8259_pair *pic, struct io_space *ports)
{
        int error = io_space_add(ports, 0x20, 2, &master_ops, pic, 0, "8259 master");

        if (!error)
                error = io_space_add(ports, 0xa0, 2, &slave_ops, pic, 0, "8259 slave");
        if (!error)
                error = io_space_add(ports, 0x4d0, 2, &elcr_ops, pic, 0, "ELCR");
        return error;
}

int
i8259_create(i8259_intr_fn *intr, void *ctx, struct i8259_pair **ret_pic)
{
        struct i8259_pair *pic = calloc(1, sizeof(*pic));

        if (!pic)
                return -ENOMEM;
        pic->intr = intr;
        pic->ctx = ctx;
        i8259_reset(pic);
        *ret_pic = pic;
        return 0;
}

void
i8259_destroy(struct i8259_pair *pic)
{
        free(pic);
}

/*
 * All inputs masked until the guest initialises the chips.  The real parts
 * come up with random state and firmware masks them.
 */
void
i8259_reset(struct i8259_pair *pic)
{
        for (unsigned i = 0; i < 2; i++) {
                struct i8259 *c = &pic->chip[i];
                uint8_t levels = c->levels;

                *c = (struct i8259){.levels = levels, .imr = 0xff, .lowest = 7};
                c->base = i == MASTER ? 0x08 : 0x70;
        }
        update(pic);
}

size_t
i8259_describe(const struct i8259_pair *pic, char *buf, size_t size)
{
        const struct i8259 *m = &pic->chip[MASTER], *s = &pic->chip[SLAVE];
        int n = snprintf(buf, size,
            "master irr %02x imr %02x isr %02x base %02x elcr %02x\n"
            "slave  irr %02x imr %02x isr %02x base %02x elcr %02x\n",
            m->irr, m->imr, m->isr, m->base, m->elcr, s->irr, s->imr, s->isr, s->base, s->elcr);

        return n > 0 ? (size_t)n : 0;
}
