/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Intel 8254 (data sheet 231164).  Nothing ticks: counts and outputs are
 * computed from the time since the counter was loaded.  A counter's new value
 * takes effect at once, in modes 2 and 3 too, where the chip would finish the
 * current period first.
 */
#include "dev/isa/i8254.h"

#include "base/util.h"

#include <errno.h>
#include <stdlib.h>

#define COUNTERS 3

/* Counter 0 interrupts at most this often; faster programming loses ticks, not the host. */
#define MIN_PERIOD_NS (50 * NSEC_PER_USEC)

/* Control word, data sheet figure 7. */
enum { RW_LATCH, RW_LOW, RW_HIGH, RW_BOTH };

#define STATUS_OUT  0x80u
#define STATUS_NULL 0x40u

struct counter {
        uint8_t mode; /* 0-5 */
        uint8_t rw;
        bool bcd;
        bool loaded;
        bool gate;
        bool write_high; /* the second byte of a pair comes next */
        bool read_high;
        uint8_t write_low;
        uint8_t latched_bytes; /* bytes of `latch` still to be read */
        uint16_t latch;
        bool status_latched;
        uint8_t status;
        uint32_t count;    /* 1 to 65536 */
        uint64_t start_ns; /* when it was loaded or triggered */
        uint64_t held;     /* ticks done when the gate stopped it */
};

struct i8254 {
        struct counter counter[COUNTERS];
        struct irq_source irq;
        struct loop_timer *timer;
};

static uint64_t
ticks_of(uint64_t ns)
{
        return (uint64_t)((unsigned __int128)ns * I8254_HZ / NSEC_PER_SEC);
}

/* Rounded up: at that time the tick has happened. */
static uint64_t
ns_of(uint64_t ticks)
{
        return (uint64_t)(((unsigned __int128)ticks * NSEC_PER_SEC + I8254_HZ - 1) / I8254_HZ);
}

/* Gate low stops the count in all modes but 1 and 5, where a rise triggers. */
static bool
gate_stops(const struct counter *c)
{
        return c->mode != 1 && c->mode != 5;
}

static uint64_t
elapsed(const struct counter *c, uint64_t now)
{
        if (!c->gate && gate_stops(c))
                return c->held;
        return ticks_of(now - c->start_ns) + c->held;
}

static bool
output(const struct counter *c, uint64_t now)
{
        uint64_t t = elapsed(c, now);

        if (!c->loaded)
                return c->mode != 0;
        switch (c->mode) {
        case 0:
        case 1:
                return t >= c->count;
        case 2:
                return t % c->count != c->count - 1;
        case 3:
                return t % c->count < (c->count + 1) / 2;
        default:
                return t != c->count;
        }
}

static uint16_t
to_bcd(uint32_t value)
{
        return (uint16_t)(value % 10 | (value / 10 % 10) << 4 | (value / 100 % 10) << 8 |
            (value / 1000 % 10) << 12);
}

static uint32_t
from_bcd(uint16_t value)
{
        return (value & 15u) + (value >> 4 & 15u) * 10 + (value >> 8 & 15u) * 100 + (value >> 12) * 1000u;
}

static uint16_t
current(const struct counter *c, uint64_t now)
{
        uint64_t t = elapsed(c, now);
        uint64_t value;

        if (!c->loaded)
                return 0;
        if (c->mode == 2)
                value = c->count - t % c->count;
        else if (c->mode == 3)
                value = c->count - (2 * t) % c->count;
        else
                value = c->count - t;
        if (c->bcd)
                return to_bcd((uint32_t)(value % 10000));
        return (uint16_t)value;
}

/* When counter 0's output next rises; 0: never. */
static uint64_t
next_rise(const struct counter *c, uint64_t now)
{
        uint64_t t = elapsed(c, now);

        if (!c->loaded || !c->gate)
                return 0;
        if (c->mode == 2 || c->mode == 3)
                return c->start_ns + ns_of((t / c->count + 1) * c->count);
        if (t < c->count)
                return c->start_ns + ns_of(c->count);
        return 0;
}

static void
schedule(struct i8254 *pit)
{
        uint64_t now = loop_now_ns();
        uint64_t at = next_rise(&pit->counter[0], now);

        if (!at) {
                loop_timer_cancel(pit->timer);
                return;
        }
        if (at < now + MIN_PERIOD_NS)
                at = next_rise(&pit->counter[0], now + MIN_PERIOD_NS);
        loop_timer_arm(pit->timer, at ? at : now + MIN_PERIOD_NS);
}

static void
timer_fired(void *ctx)
{
        struct i8254 *pit = ctx;

        irq_line_set(&pit->irq, false);
        irq_line_set(&pit->irq, true);
        schedule(pit);
}

static void
load(struct i8254 *pit, unsigned index, uint16_t value)
{
        struct counter *c = &pit->counter[index];
        uint32_t full = c->bcd ? 10000 : 65536;
        uint32_t count = c->bcd ? from_bcd(value) : value;

        c->count = count ? count : full;
        if ((c->mode == 2 || c->mode == 3) && c->count < 2)
                c->count = 2; /* 1 is not allowed */
        c->loaded = true;
        c->held = 0;
        c->start_ns = loop_now_ns();
        if (index != 0)
                return;
        irq_line_set(&pit->irq, output(c, c->start_ns));
        schedule(pit);
}

static void
write_counter(struct i8254 *pit, unsigned index, uint8_t value)
{
        struct counter *c = &pit->counter[index];

        switch (c->rw) {
        case RW_LOW:
                load(pit, index, value);
                break;
        case RW_HIGH:
                load(pit, index, (uint16_t)(value << 8));
                break;
        default:
                if (c->write_high)
                        load(pit, index, (uint16_t)(value << 8 | c->write_low));
                else
                        c->write_low = value;
                c->write_high = !c->write_high;
                break;
        }
}

static void
latch_count(struct counter *c)
{
        if (c->latched_bytes)
                return;
        c->latch = current(c, loop_now_ns());
        c->latched_bytes = c->rw == RW_BOTH ? 2 : 1;
}

static void
latch_status(struct counter *c)
{
        if (c->status_latched)
                return;
        c->status = (uint8_t)(c->rw << 4 | c->mode << 1 | c->bcd);
        if (output(c, loop_now_ns()))
                c->status |= STATUS_OUT;
        if (!c->loaded)
                c->status |= STATUS_NULL;
        c->status_latched = true;
}

/* Read-back command: bits 1-3 choose counters, bits 4 and 5 (low) what is latched. */
static void
read_back(struct i8254 *pit, uint8_t value)
{
        for (unsigned i = 0; i < COUNTERS; i++) {
                if (!(value >> (i + 1) & 1))
                        continue;
                if (!(value & 0x20))
                        latch_count(&pit->counter[i]);
                if (!(value & 0x10))
                        latch_status(&pit->counter[i]);
        }
}

static void
write_control(struct i8254 *pit, uint8_t value)
{
        unsigned index = value >> 6;
        struct counter *c;

        if (index == 3) {
                read_back(pit, value);
                return;
        }
        c = &pit->counter[index];
        if ((value >> 4 & 3) == RW_LATCH) {
                latch_count(c);
                return;
        }
        c->rw = value >> 4 & 3;
        c->mode = value >> 1 & 7;
        if (c->mode > 5)
                c->mode -= 4; /* 6 and 7 are 2 and 3 */
        c->bcd = value & 1;
        c->loaded = c->write_high = c->read_high = c->status_latched = false;
        c->latched_bytes = 0;
        if (index == 0) {
                irq_line_set(&pit->irq, c->mode != 0);
                schedule(pit);
        }
}

static uint8_t
read_latch(struct counter *c)
{
        uint8_t value = (uint8_t)c->latch;

        if (c->rw == RW_HIGH || (c->rw == RW_BOTH && c->latched_bytes == 1))
                value = (uint8_t)(c->latch >> 8);
        c->latched_bytes--;
        return value;
}

static uint8_t
read_counter(struct counter *c)
{
        uint16_t value;
        bool high = c->rw == RW_HIGH;

        if (c->status_latched) {
                c->status_latched = false;
                return c->status;
        }
        if (c->latched_bytes)
                return read_latch(c);
        value = current(c, loop_now_ns());
        if (c->rw == RW_BOTH) {
                high = c->read_high;
                c->read_high = !c->read_high;
        }
        return (uint8_t)(high ? value >> 8 : value);
}

static uint64_t
i8254_read(void *ctx, uint64_t offset, unsigned size)
{
        struct i8254 *pit = ctx;

        return offset < COUNTERS ? read_counter(&pit->counter[offset]) : 0xff;
}

static void
i8254_write(void *ctx, uint64_t offset, unsigned size, uint64_t value)
{
        struct i8254 *pit = ctx;

        if (offset < COUNTERS)
                write_counter(pit, (unsigned)offset, (uint8_t)value);
        else
                write_control(pit, (uint8_t)value);
}

const struct io_ops i8254_io_ops = {
    .read = i8254_read,
    .write = i8254_write,
};

/* A rise starts modes 1, 2, 3 and 5 anew; a fall stops modes 0, 2, 3 and 4. */
void
i8254_set_gate2(struct i8254 *pit, bool gate)
{
        struct counter *c = &pit->counter[2];
        uint64_t now = loop_now_ns();

        if (gate == c->gate)
                return;
        if (!gate && gate_stops(c))
                c->held = elapsed(c, now);
        c->gate = gate;
        if (!gate)
                return;
        c->start_ns = now;
        if (c->mode != 0 && c->mode != 4)
                c->held = 0;
}

bool
i8254_gate2(const struct i8254 *pit)
{
        return pit->counter[2].gate;
}

bool
i8254_out2(const struct i8254 *pit)
{
        return output(&pit->counter[2], loop_now_ns());
}

void
i8254_reset(struct i8254 *pit)
{
        for (unsigned i = 0; i < COUNTERS; i++)
                pit->counter[i] = (struct counter){.rw = RW_BOTH, .gate = i != 2};
        irq_line_set(&pit->irq, false);
        loop_timer_cancel(pit->timer);
}

int
i8254_create(struct loop *loop, struct irq_router *irq, struct i8254 **ret_pit)
{
        struct i8254 *pit = calloc(1, sizeof(*pit));
        int error;

        if (!pit)
                return -ENOMEM;
        error = loop_timer_create(loop, timer_fired, pit, &pit->timer);
        if (error) {
                free(pit);
                return error;
        }
        irq_source_init(&pit->irq, irq, 0);
        i8254_reset(pit);
        *ret_pit = pit;
        return 0;
}

void
i8254_destroy(struct i8254 *pit)
{
        if (!pit)
                return;
        loop_timer_destroy(pit->timer);
        free(pit);
}
