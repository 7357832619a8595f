/* SPDX-License-Identifier: BSD-2-Clause */
/* Section numbers are those of the IA-PC HPET specification 1.0a. */
#include "dev/isa/hpet.h"

#include "base/util.h"

#include <errno.h>
#include <stdlib.h>

#define REG_CAPS    0x000
#define REG_CONFIG  0x010
#define REG_STATUS  0x020
#define REG_COUNTER 0x0f0
#define REG_TIMER0  0x100
#define TIMER_LEN   0x20

#define CONFIG_ENABLE 0x1u

/* Timer configuration, 2.3.8. */
#define T_LEVEL    0x0002ull
#define T_INT      0x0004ull
#define T_PERIODIC 0x0008ull
#define T_CAN_PERIODIC 0x0010ull
#define T_64BIT    0x0020ull
#define T_SET_VALUE 0x0040ull
#define T_32MODE   0x0100ull
#define T_ROUTE_SHIFT 9
#define T_FSB      0x4000ull
#define T_CAN_FSB  0x8000ull
#define T_WRITABLE (T_LEVEL | T_INT | T_PERIODIC | T_SET_VALUE | T_32MODE | 0x1full << T_ROUTE_SHIFT | T_FSB)
#define ROUTE_CAP  0x00f00000ull /* pins 20-23 */
#define CAPS_OF_TIMER (ROUTE_CAP << 32 | T_CAN_FSB | T_64BIT | T_CAN_PERIODIC)

#define MIN_PERIOD_TICKS (50 * NSEC_PER_USEC / HPET_TICK_NS)
/* Further ahead than any timer need be armed; then it looks again. */
#define FAR_TICKS ((uint64_t)1 << 40)

struct hpet_timer {
        struct hpet *hpet;
        unsigned index;
        uint64_t config;
        uint64_t comparator;
        uint64_t period;
        uint64_t fsb;
        uint64_t fires_at; /* the counter's value it is armed for */
        struct loop_timer *timer;
        struct irq_source irq;
};

struct hpet {
        struct irq_router *irq;
        uint64_t config;
        uint64_t status;
        uint64_t counter;  /* at start_ns, or while stopped */
        uint64_t start_ns;
        struct hpet_timer timer[HPET_TIMERS];
};

static bool
enabled(const struct hpet *h)
{
        return h->config & CONFIG_ENABLE;
}

static uint64_t
counter(const struct hpet *h)
{
        if (!enabled(h))
                return h->counter;
        return h->counter + (loop_now_ns() - h->start_ns) / HPET_TICK_NS;
}

static uint64_t
width_mask(const struct hpet_timer *t)
{
        return t->config & T_32MODE ? UINT32_MAX : UINT64_MAX;
}

/* Ticks from @now until the timer's comparator matches. */
static uint64_t
ticks_left(const struct hpet_timer *t, uint64_t now)
{
        uint64_t mask = width_mask(t);
        uint64_t left = (t->comparator - now) & mask;

        return left ? left : mask;
}

static void
arm(struct hpet_timer *t)
{
        struct hpet *h = t->hpet;
        uint64_t now = counter(h), left;

        if (!enabled(h) || !(t->config & T_INT)) {
                loop_timer_cancel(t->timer);
                return;
        }
        left = ticks_left(t, now);
        if (left > FAR_TICKS)
                left = FAR_TICKS;
        t->fires_at = now + left;
        loop_timer_arm(t->timer, h->start_ns + (t->fires_at - h->counter) * HPET_TICK_NS);
}

static void
update_line(struct hpet_timer *t)
{
        bool level = (t->hpet->status >> t->index & 1) && (t->config & (T_LEVEL | T_INT)) == (T_LEVEL | T_INT) &&
            !(t->config & T_FSB);

        irq_line_set(&t->irq, level);
}

static void
interrupt(struct hpet_timer *t)
{
        if (t->config & T_FSB) {
                irq_msi(t->hpet->irq, t->fsb >> 32, (uint32_t)t->fsb);
                return;
        }
        if (t->config & T_LEVEL) {
                t->hpet->status |= 1ull << t->index;
                update_line(t);
                return;
        }
        irq_line_pulse(&t->irq);
}

/* A periodic comparator advances past the present; what was missed is lost. */
static void
advance(struct hpet_timer *t)
{
        uint64_t period = t->period < MIN_PERIOD_TICKS ? MIN_PERIOD_TICKS : t->period;
        uint64_t late = (counter(t->hpet) - t->comparator) & width_mask(t);

        t->comparator += (late / period + 1) * period;
        t->comparator &= width_mask(t);
}

static void
timer_fired(void *ctx)
{
        struct hpet_timer *t = ctx;
        bool matched = ((t->fires_at ^ t->comparator) & width_mask(t)) == 0;

        if (matched) {
                interrupt(t);
                if (t->config & T_PERIODIC)
                        advance(t);
        }
        arm(t);
}

static void
arm_all(struct hpet *h)
{
        for (unsigned i = 0; i < HPET_TIMERS; i++)
                arm(&h->timer[i]);
}

static void
write_config(struct hpet *h, uint64_t value)
{
        h->counter = counter(h);
        h->start_ns = loop_now_ns();
        h->config = value & CONFIG_ENABLE;
        arm_all(h);
}

static void
write_status(struct hpet *h, uint64_t value)
{
        h->status &= ~value;
        for (unsigned i = 0; i < HPET_TIMERS; i++)
                update_line(&h->timer[i]);
}

static void
write_timer_config(struct hpet_timer *t, uint64_t value)
{
        unsigned route;

        t->config = (value & T_WRITABLE) | CAPS_OF_TIMER;
        route = t->config >> T_ROUTE_SHIFT & 31;
        irq_source_route(&t->irq, ROUTE_CAP >> route & 1 ? route : IRQ_GSI_NONE);
        if (t->config & T_32MODE)
                t->comparator &= UINT32_MAX;
        update_line(t);
        arm(t);
}

/* 2.3.9.2.2: in periodic mode the first write after SET_VALUE is the comparator, else it is the period. */
static void
write_comparator(struct hpet_timer *t, uint64_t value)
{
        value &= width_mask(t);
        if (t->config & T_PERIODIC)
                t->period = value;
        if (!(t->config & T_PERIODIC) || (t->config & T_SET_VALUE))
                t->comparator = value;
        t->config &= ~T_SET_VALUE;
        arm(t);
}

static struct hpet_timer *
timer_at(struct hpet *h, uint64_t reg)
{
        uint64_t index = (reg - REG_TIMER0) / TIMER_LEN;

        return reg >= REG_TIMER0 && index < HPET_TIMERS ? &h->timer[index] : NULL;
}

static uint64_t
read64(struct hpet *h, uint64_t reg)
{
        struct hpet_timer *t = timer_at(h, reg);

        if (t) {
                switch ((reg - REG_TIMER0) % TIMER_LEN) {
                case 0x00:
                        return t->config;
                case 0x08:
                        return t->comparator;
                case 0x10:
                        return t->fsb;
                default:
                        return 0;
                }
        }
        switch (reg) {
        case REG_CAPS:
                return HPET_CAPS | HPET_TICK_NS * 1000000ull << 32; /* period in femtoseconds */
        case REG_CONFIG:
                return h->config;
        case REG_STATUS:
                return h->status;
        case REG_COUNTER:
                return counter(h);
        default:
                return 0;
        }
}

/* @mask: the bits that are written; the rest of @value is what the register held. */
static void
write64(struct hpet *h, uint64_t reg, uint64_t value, uint64_t mask)
{
        struct hpet_timer *t = timer_at(h, reg);

        if (t) {
                switch ((reg - REG_TIMER0) % TIMER_LEN) {
                case 0x00:
                        write_timer_config(t, value);
                        break;
                case 0x08:
                        write_comparator(t, value);
                        break;
                case 0x10:
                        t->fsb = value;
                        break;
                default:
                        break;
                }
                return;
        }
        switch (reg) {
        case REG_CONFIG:
                write_config(h, value);
                break;
        case REG_STATUS:
                write_status(h, value & mask);
                break;
        case REG_COUNTER:
                h->counter = value;
                h->start_ns = loop_now_ns();
                arm_all(h);
                break;
        default:
                break;
        }
}

/* 32- and 64-bit aligned accesses only (2.3.1). */
static bool
valid(uint64_t offset, unsigned size)
{
        return (size == 4 || size == 8) && !(offset & (size - 1));
}

static uint64_t
hpet_read(void *ctx, uint64_t offset, unsigned size)
{
        if (!valid(offset, size))
                return 0;
        return read64(ctx, offset & ~7ull) >> (offset & 4 ? 32 : 0) & (size == 4 ? UINT32_MAX : UINT64_MAX);
}

/* A half of a comparator that was not written keeps its value; the upper half counts as 0 at first. */
static uint64_t
held_value(struct hpet *h, uint64_t reg)
{
        const struct hpet_timer *t = timer_at(h, reg);

        if (t && (reg - REG_TIMER0) % TIMER_LEN == 8 && (t->config & T_PERIODIC) && !(t->config & T_SET_VALUE))
                return t->period;
        return read64(h, reg);
}

static void
hpet_write(void *ctx, uint64_t offset, unsigned size, uint64_t value)
{
        uint64_t mask = UINT64_MAX;

        if (!valid(offset, size))
                return;
        if (size == 4) {
                unsigned shift = offset & 4 ? 32 : 0;

                mask = (uint64_t)UINT32_MAX << shift;
                value = (held_value(ctx, offset & ~7ull) & ~mask) | (value & UINT32_MAX) << shift;
        }
        write64(ctx, offset & ~7ull, value, mask);
}

const struct io_ops hpet_io_ops = {
    .read = hpet_read,
    .write = hpet_write,
};

void
hpet_reset(struct hpet *h)
{
        h->config = h->status = h->counter = 0;
        for (unsigned i = 0; i < HPET_TIMERS; i++) {
                struct hpet_timer *t = &h->timer[i];

                irq_line_set(&t->irq, false);
                irq_source_route(&t->irq, IRQ_GSI_NONE);
                loop_timer_cancel(t->timer);
                t->config = CAPS_OF_TIMER;
                t->comparator = UINT64_MAX;
                t->period = t->fsb = 0;
        }
}

int
hpet_create(struct loop *loop, struct irq_router *irq, struct hpet **ret_hpet)
{
        struct hpet *h = calloc(1, sizeof(*h));

        if (!h)
                return -ENOMEM;
        h->irq = irq;
        for (unsigned i = 0; i < HPET_TIMERS; i++) {
                struct hpet_timer *t = &h->timer[i];

                t->hpet = h;
                t->index = i;
                irq_source_init(&t->irq, irq, IRQ_GSI_NONE);
                if (loop_timer_create(loop, timer_fired, t, &t->timer)) {
                        hpet_destroy(h);
                        return -ENOMEM;
                }
        }
        hpet_reset(h);
        *ret_hpet = h;
        return 0;
}

void
hpet_destroy(struct hpet *h)
{
        if (!h)
                return;
        for (unsigned i = 0; i < HPET_TIMERS; i++)
                loop_timer_destroy(h->timer[i].timer);
        free(h);
}
