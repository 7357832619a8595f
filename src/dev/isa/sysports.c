/* SPDX-License-Identifier: BSD-2-Clause */
/* Intel 82371SB (PIIX3) data sheet 2.5: NMI status and control, port 92. */
#include "dev/isa/sysports.h"

#define P61_GATE2   0x01u
#define P61_KEPT    0x0eu
#define P61_REFRESH 0x10u
#define P61_OUT2    0x20u

#define P92_RESET 0x01u
#define P92_A20   0x02u

static uint64_t
port61_read(void *ctx, uint64_t offset, unsigned size)
{
        struct sysports *p = ctx;

        p->refresh = !p->refresh;
        return p->port61 | (i8254_gate2(p->pit) ? P61_GATE2 : 0) | (i8254_out2(p->pit) ? P61_OUT2 : 0) |
            (p->refresh ? P61_REFRESH : 0);
}

static void
port61_write(void *ctx, uint64_t offset, unsigned size, uint64_t value)
{
        struct sysports *p = ctx;

        p->port61 = value & P61_KEPT;
        i8254_set_gate2(p->pit, value & P61_GATE2);
}

static uint64_t
post_read(void *ctx, uint64_t offset, unsigned size)
{
        return 0xff;
}

static void
post_write(void *ctx, uint64_t offset, unsigned size, uint64_t value)
{
}

static uint64_t
port92_read(void *ctx, uint64_t offset, unsigned size)
{
        const struct sysports *p = ctx;

        return p->port92;
}

/* A20 is always on, whatever the bit says. */
static void
port92_write(void *ctx, uint64_t offset, unsigned size, uint64_t value)
{
        struct sysports *p = ctx;
        bool rise = (value & P92_RESET) && !(p->port92 & P92_RESET);

        p->port92 = value & (P92_A20 | P92_RESET);
        if (rise)
                p->reset(p->ctx);
}

static const struct io_ops port61_ops = {.read = port61_read, .write = port61_write};
static const struct io_ops post_ops = {.read = post_read, .write = post_write};
static const struct io_ops port92_ops = {.read = port92_read, .write = port92_write};

void
sysports_init(struct sysports *p, struct i8254 *pit, void (*reset)(void *ctx), void *ctx)
{
        *p = (struct sysports){.pit = pit, .reset = reset, .ctx = ctx, .port92 = P92_A20};
}

void
sysports_reset(struct sysports *p)
{
        p->port61 = 0;
        p->port92 = P92_A20;
}

int
sysports_attach(struct sysports *p, struct io_space *space)
{
        int error = io_space_add(space, 0x61, 1, &port61_ops, p, 0, "port 61");

        if (!error)
                error = io_space_add(space, 0x80, 1, &post_ops, p, IO_UNLOCKED, "POST");
        if (!error)
                error = io_space_add(space, 0x84, 1, &post_ops, p, IO_UNLOCKED, "POST");
        if (!error)
                error = io_space_add(space, 0x92, 1, &port92_ops, p, 0, "port 92");
        return error;
}
