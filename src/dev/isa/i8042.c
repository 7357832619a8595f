/* SPDX-License-Identifier: BSD-2-Clause */
/* IBM PS/2 Hardware Interface Technical Reference, keyboard and auxiliary device controller. */
#include "dev/isa/i8042.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define KBD_IRQ   1
#define QUEUE_LEN 16u

#define STATUS_FULL    0x01u
#define STATUS_SYSTEM  0x04u
#define STATUS_COMMAND 0x08u
#define STATUS_UNLOCKED 0x10u

#define CONFIG_KBD_IRQ 0x01u
#define CONFIG_SYSTEM  0x04u
#define CONFIG_KBD_OFF 0x10u
#define CONFIG_AUX_OFF 0x20u

#define OUTPUT_NOT_RESET 0x01u
#define OUTPUT_A20       0x02u

struct i8042 {
        struct irq_source irq;
        void (*reset)(void *ctx);
        void *ctx;
        uint8_t config;
        uint8_t output_port;
        uint8_t expect;      /* controller command that waits for a byte; 0: none */
        uint8_t kbd_expect;  /* the same for the keyboard */
        bool last_was_command;
        uint8_t queue[QUEUE_LEN];
        unsigned head, count;
};

static void
update_irq(struct i8042 *k)
{
        irq_line_set(&k->irq, k->count && (k->config & CONFIG_KBD_IRQ));
}

static void
answer(struct i8042 *k, uint8_t value)
{
        if (k->count == QUEUE_LEN)
                return;
        k->queue[(k->head + k->count++) % QUEUE_LEN] = value;
        update_irq(k);
}

/* The interrupt is an edge for each byte. */
static uint8_t
take_answer(struct i8042 *k)
{
        uint8_t value = k->queue[k->head];

        if (!k->count)
                return value; /* the last byte stays in the buffer */
        if (k->count > 1)
                k->head = (k->head + 1) % QUEUE_LEN;
        k->count--;
        irq_line_set(&k->irq, false);
        update_irq(k);
        return value;
}

static void
set_output_port(struct i8042 *k, uint8_t value)
{
        k->output_port = value;
        if (!(value & OUTPUT_NOT_RESET))
                k->reset(k->ctx);
}

static void
controller_data(struct i8042 *k, uint8_t value)
{
        switch (k->expect) {
        case 0x60:
                k->config = value;
                update_irq(k);
                break;
        case 0xd1:
                set_output_port(k, value);
                break;
        case 0xd2:
        case 0xd3: /* comes back as from the keyboard: that there is no mouse */
                answer(k, value);
                break;
        default:
                break;
        }
        k->expect = 0;
}

static void
controller_command(struct i8042 *k, uint8_t value)
{
        k->expect = 0;
        switch (value) {
        case 0x20:
                answer(k, k->config);
                break;
        case 0x60:
        case 0xd1 ... 0xd4:
                k->expect = value;
                break;
        case 0xa7:
                k->config |= CONFIG_AUX_OFF;
                break;
        case 0xa8:
                k->config &= (uint8_t)~CONFIG_AUX_OFF;
                break;
        case 0xa9: /* mouse interface test: clock line stuck low */
                answer(k, 0x01);
                break;
        case 0xaa: /* self test passed */
                k->config |= CONFIG_SYSTEM;
                answer(k, 0x55);
                break;
        case 0xab:
                answer(k, 0x00);
                break;
        case 0xad:
                k->config |= CONFIG_KBD_OFF;
                break;
        case 0xae:
                k->config &= (uint8_t)~CONFIG_KBD_OFF;
                break;
        case 0xc0:
                answer(k, 0x80);
                break;
        case 0xd0:
                answer(k, k->output_port);
                break;
        case 0xf0 ... 0xff: /* pulses output lines: bit 0 low is reset */
                if (!(value & 1))
                        k->reset(k->ctx);
                break;
        default:
                break;
        }
}

#define KBD_ACK    0xfa
#define KBD_RESEND 0xfe

static void
keyboard_command(struct i8042 *k, uint8_t value)
{
        switch (value) {
        case 0xed:
        case 0xf0:
        case 0xf3:
                k->kbd_expect = value;
                answer(k, KBD_ACK);
                break;
        case 0xee:
                answer(k, 0xee);
                break;
        case 0xf2: /* MF2 keyboard, translated */
                answer(k, KBD_ACK);
                answer(k, 0xab);
                answer(k, k->config & 0x40 ? 0x41 : 0x83);
                break;
        case 0xf4 ... 0xf6:
                answer(k, KBD_ACK);
                break;
        case 0xff:
                answer(k, KBD_ACK);
                answer(k, 0xaa);
                break;
        default:
                answer(k, KBD_RESEND);
                break;
        }
}

static void
keyboard_data(struct i8042 *k, uint8_t value)
{
        bool asks_scancode_set = k->kbd_expect == 0xf0 && value == 0;

        if (!k->kbd_expect) {
                keyboard_command(k, value);
                return;
        }
        k->kbd_expect = 0;
        answer(k, KBD_ACK);
        if (asks_scancode_set)
                answer(k, 0x02);
}

static uint64_t
data_read(void *ctx, uint64_t offset, unsigned size)
{
        return take_answer(ctx);
}

static void
data_write(void *ctx, uint64_t offset, unsigned size, uint64_t value)
{
        struct i8042 *k = ctx;

        k->last_was_command = false;
        if (k->expect == 0xd4)
                k->expect = 0; /* to the mouse, which is not there */
        else if (k->expect)
                controller_data(k, (uint8_t)value);
        else
                keyboard_data(k, (uint8_t)value);
}

static uint64_t
status_read(void *ctx, uint64_t offset, unsigned size)
{
        const struct i8042 *k = ctx;

        return STATUS_UNLOCKED | (k->count ? STATUS_FULL : 0) | (k->config & CONFIG_SYSTEM ? STATUS_SYSTEM : 0) |
            (k->last_was_command ? STATUS_COMMAND : 0);
}

static void
status_write(void *ctx, uint64_t offset, unsigned size, uint64_t value)
{
        struct i8042 *k = ctx;

        k->last_was_command = true;
        controller_command(k, (uint8_t)value);
}

static const struct io_ops data_ops = {.read = data_read, .write = data_write};
static const struct io_ops status_ops = {.read = status_read, .write = status_write};

int
i8042_attach(struct i8042 *k, struct io_space *ports)
{
        int error = io_space_add(ports, 0x60, 1, &data_ops, k, 0, "8042 data");

        return error ? error : io_space_add(ports, 0x64, 1, &status_ops, k, 0, "8042 command");
}

void
i8042_reset(struct i8042 *k)
{
        k->config = CONFIG_SYSTEM | CONFIG_KBD_IRQ | 0x40;
        k->output_port = OUTPUT_NOT_RESET | OUTPUT_A20;
        k->expect = k->kbd_expect = 0;
        k->last_was_command = false;
        k->head = k->count = 0;
        update_irq(k);
}

int
i8042_create(struct irq_router *irq, void (*reset)(void *ctx), void *ctx, struct i8042 **ret_kbc)
{
        struct i8042 *k = calloc(1, sizeof(*k));

        if (!k)
                return -ENOMEM;
        irq_source_init(&k->irq, irq, KBD_IRQ);
        k->reset = reset;
        k->ctx = ctx;
        i8042_reset(k);
        *ret_kbc = k;
        return 0;
}

void
i8042_destroy(struct i8042 *k)
{
        free(k);
}
