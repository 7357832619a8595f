/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Motorola MC146818A (data sheet ADI-1016).  The time is the host's plus an
 * offset; registers are computed when they are read.  While the guest holds
 * SET the registers are plain bytes, and become a new offset when it lets go.
 */
#include "dev/isa/mc146818.h"

#include "base/util.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define RTC_IRQ    8
#define CMOS_BYTES 128u

enum {
        REG_SEC = 0x00,
        REG_SEC_ALARM = 0x01,
        REG_MIN = 0x02,
        REG_MIN_ALARM = 0x03,
        REG_HOUR = 0x04,
        REG_HOUR_ALARM = 0x05,
        REG_WDAY = 0x06,
        REG_MDAY = 0x07,
        REG_MONTH = 0x08,
        REG_YEAR = 0x09,
        REG_A = 0x0a,
        REG_B = 0x0b,
        REG_C = 0x0c,
        REG_D = 0x0d,
        CMOS_FIRST = 0x0e,
        CMOS_CENTURY = 0x32,
};

#define A_UIP 0x80u
#define A_DIVIDER 0x70u
#define A_DIVIDER_32K 0x20u
#define A_RATE 0x0fu

#define B_SET    0x80u
#define B_PIE    0x40u
#define B_AIE    0x20u
#define B_UIE    0x10u
#define B_BINARY 0x04u
#define B_24H    0x02u

#define C_IRQF 0x80u
#define C_PF   0x40u
#define C_AF   0x20u
#define C_UF   0x10u

#define D_VALID 0x80u

#define HOUR_PM 0x80u
#define ANY     0xc0u /* alarm bytes from here on match anything */

/* UIP is up this long before an update (data sheet, update cycle). */
#define UIP_NS (244 * NSEC_PER_USEC)

struct mc146818 {
        uint8_t index;
        uint8_t reg[CMOS_BYTES];
        time_t offset;     /* clock - host's seconds */
        uint64_t next_periodic_ns; /* CLOCK_MONOTONIC; 0: off */
        time_t last_update; /* the host second that UF was last set for */
        struct loop_timer *timer;
        struct irq_source irq;
};

static struct timespec
host_time(void)
{
        struct timespec ts;

        clock_gettime(CLOCK_REALTIME, &ts);
        return ts;
}

static bool
running(const struct mc146818 *rtc)
{
        return !(rtc->reg[REG_B] & B_SET) && (rtc->reg[REG_A] & A_DIVIDER) == A_DIVIDER_32K;
}

static uint8_t
encode(const struct mc146818 *rtc, int value)
{
        if (rtc->reg[REG_B] & B_BINARY)
                return (uint8_t)value;
        return (uint8_t)(value / 10 % 10 << 4 | value % 10);
}

static int
decode(const struct mc146818 *rtc, uint8_t value)
{
        if (rtc->reg[REG_B] & B_BINARY)
                return value;
        return (value >> 4) * 10 + (value & 15);
}

static uint8_t
encode_hour(const struct mc146818 *rtc, int hour)
{
        if (rtc->reg[REG_B] & B_24H)
                return encode(rtc, hour);
        return (uint8_t)(encode(rtc, hour % 12 ? hour % 12 : 12) | (hour >= 12 ? HOUR_PM : 0));
}

static int
decode_hour(const struct mc146818 *rtc, uint8_t value)
{
        if (rtc->reg[REG_B] & B_24H)
                return decode(rtc, value);
        return decode(rtc, value & (uint8_t)~HOUR_PM) % 12 + (value & HOUR_PM ? 12 : 0);
}

time_t
mc146818_time(const struct mc146818 *rtc)
{
        return host_time().tv_sec + rtc->offset;
}

/* Brings the time registers up to date, unless the guest holds them. */
static void
show_time(struct mc146818 *rtc)
{
        time_t now = mc146818_time(rtc);
        struct tm tm;

        if (!running(rtc) || !gmtime_r(&now, &tm))
                return;
        rtc->reg[REG_SEC] = encode(rtc, tm.tm_sec);
        rtc->reg[REG_MIN] = encode(rtc, tm.tm_min);
        rtc->reg[REG_HOUR] = encode_hour(rtc, tm.tm_hour);
        rtc->reg[REG_WDAY] = encode(rtc, tm.tm_wday + 1);
        rtc->reg[REG_MDAY] = encode(rtc, tm.tm_mday);
        rtc->reg[REG_MONTH] = encode(rtc, tm.tm_mon + 1);
        rtc->reg[REG_YEAR] = encode(rtc, tm.tm_year % 100);
        rtc->reg[CMOS_CENTURY] = encode(rtc, (tm.tm_year + 1900) / 100);
}

/* What the registers say becomes the time. */
static void
take_time(struct mc146818 *rtc)
{
        struct tm tm = {
            .tm_sec = decode(rtc, rtc->reg[REG_SEC]),
            .tm_min = decode(rtc, rtc->reg[REG_MIN]),
            .tm_hour = decode_hour(rtc, rtc->reg[REG_HOUR]),
            .tm_mday = decode(rtc, rtc->reg[REG_MDAY]),
            .tm_mon = decode(rtc, rtc->reg[REG_MONTH]) - 1,
            .tm_year = decode(rtc, rtc->reg[CMOS_CENTURY]) * 100 + decode(rtc, rtc->reg[REG_YEAR]) - 1900,
        };

        rtc->offset = timegm(&tm) - host_time().tv_sec;
}

void
mc146818_set_time(struct mc146818 *rtc, time_t seconds)
{
        rtc->offset = seconds - host_time().tv_sec;
}

static bool
alarm_matches(struct mc146818 *rtc)
{
        const uint8_t *r = rtc->reg;

        show_time(rtc);
        return (r[REG_SEC_ALARM] >= ANY || r[REG_SEC_ALARM] == r[REG_SEC]) &&
            (r[REG_MIN_ALARM] >= ANY || r[REG_MIN_ALARM] == r[REG_MIN]) &&
            (r[REG_HOUR_ALARM] >= ANY || r[REG_HOUR_ALARM] == r[REG_HOUR]);
}

/* 0 if the periodic flag is off; rates 1 and 2 are those of 8 and 9. */
static uint64_t
period_ns(const struct mc146818 *rtc)
{
        unsigned rate = rtc->reg[REG_A] & A_RATE;

        if (!rate || (rtc->reg[REG_A] & A_DIVIDER) != A_DIVIDER_32K)
                return 0;
        if (rate <= 2)
                rate += 7;
        return NSEC_PER_SEC / (32768u >> (rate - 1));
}

static void
set_flags(struct mc146818 *rtc, uint8_t flags)
{
        rtc->reg[REG_C] |= flags;
        if (rtc->reg[REG_C] & rtc->reg[REG_B] & (C_PF | C_AF | C_UF))
                rtc->reg[REG_C] |= C_IRQF;
        irq_line_set(&rtc->irq, rtc->reg[REG_C] & C_IRQF);
}

/* Sets the flags of what has happened since the last look. */
static void
catch_up(struct mc146818 *rtc)
{
        uint64_t now = loop_now_ns();
        uint64_t period = period_ns(rtc);
        time_t second = host_time().tv_sec;

        if (period && rtc->next_periodic_ns && now >= rtc->next_periodic_ns) {
                rtc->next_periodic_ns = now + period - (now - rtc->next_periodic_ns) % period;
                set_flags(rtc, C_PF);
        }
        if (running(rtc) && second != rtc->last_update)
                set_flags(rtc, alarm_matches(rtc) ? C_UF | C_AF : C_UF);
        rtc->last_update = second;
}

/* A timer runs only while an interrupt is enabled; polled flags are computed. */
static void
schedule(struct mc146818 *rtc)
{
        uint64_t at = UINT64_MAX;
        uint8_t b = rtc->reg[REG_B];

        if ((b & B_PIE) && rtc->next_periodic_ns)
                at = rtc->next_periodic_ns;
        if ((b & (B_AIE | B_UIE)) && running(rtc)) {
                uint64_t next = loop_now_ns() + NSEC_PER_SEC - (uint64_t)host_time().tv_nsec;

                at = next < at ? next : at;
        }
        if (at == UINT64_MAX)
                loop_timer_cancel(rtc->timer);
        else
                loop_timer_arm(rtc->timer, at);
}

static void
timer_fired(void *ctx)
{
        struct mc146818 *rtc = ctx;

        catch_up(rtc);
        schedule(rtc);
}

static void
restart_periodic(struct mc146818 *rtc)
{
        uint64_t period = period_ns(rtc);

        rtc->next_periodic_ns = period ? loop_now_ns() + period : 0;
}

static uint8_t
read_a(const struct mc146818 *rtc)
{
        bool uip = running(rtc) && (uint64_t)host_time().tv_nsec >= NSEC_PER_SEC - UIP_NS;

        return rtc->reg[REG_A] | (uip ? A_UIP : 0);
}

static uint8_t
read_c(struct mc146818 *rtc)
{
        uint8_t value;

        catch_up(rtc);
        value = rtc->reg[REG_C];
        rtc->reg[REG_C] = 0;
        irq_line_set(&rtc->irq, false);
        return value;
}

static uint8_t
read_reg(struct mc146818 *rtc, unsigned index)
{
        switch (index) {
        case REG_A:
                return read_a(rtc);
        case REG_C:
                return read_c(rtc);
        case REG_D:
                return D_VALID;
        default:
                show_time(rtc);
                return rtc->reg[index];
        }
}

static void
write_a(struct mc146818 *rtc, uint8_t value)
{
        uint8_t changed = value ^ rtc->reg[REG_A];

        show_time(rtc);
        rtc->reg[REG_A] = value & (uint8_t)~A_UIP;
        if (changed & (A_RATE | A_DIVIDER))
                restart_periodic(rtc);
        if ((changed & A_DIVIDER) && running(rtc))
                take_time(rtc);
}

static void
write_b(struct mc146818 *rtc, uint8_t value)
{
        bool was_set = rtc->reg[REG_B] & B_SET;

        show_time(rtc);
        if (value & B_SET)
                value &= (uint8_t)~B_UIE;
        rtc->reg[REG_B] = value;
        if (was_set && running(rtc))
                take_time(rtc);
        set_flags(rtc, 0);
}

static void
write_time(struct mc146818 *rtc, unsigned index, uint8_t value)
{
        show_time(rtc);
        rtc->reg[index] = value;
        if (running(rtc))
                take_time(rtc);
}

static void
write_reg(struct mc146818 *rtc, unsigned index, uint8_t value)
{
        switch (index) {
        case REG_A:
                write_a(rtc, value);
                break;
        case REG_B:
                write_b(rtc, value);
                break;
        case REG_C:
        case REG_D:
                break;
        case REG_SEC_ALARM:
        case REG_MIN_ALARM:
        case REG_HOUR_ALARM:
                rtc->reg[index] = value;
                break;
        case REG_SEC:
        case REG_MIN:
        case REG_HOUR:
        case REG_WDAY:
        case REG_MDAY:
        case REG_MONTH:
        case REG_YEAR:
        case CMOS_CENTURY:
                write_time(rtc, index, value);
                break;
        default:
                rtc->reg[index] = value;
                break;
        }
        schedule(rtc);
}

/* Bit 7 of the index port masks NMIs, of which this platform has none. */
static uint64_t
mc146818_read(void *ctx, uint64_t offset, unsigned size)
{
        struct mc146818 *rtc = ctx;

        return offset == 0 ? 0xff : read_reg(rtc, rtc->index);
}

static void
mc146818_write(void *ctx, uint64_t offset, unsigned size, uint64_t value)
{
        struct mc146818 *rtc = ctx;

        if (offset == 0)
                rtc->index = value & 0x7f;
        if (offset == 1)
                write_reg(rtc, rtc->index, (uint8_t)value);
        else if (size >= 2)
                write_reg(rtc, rtc->index, (uint8_t)(value >> 8));
}

const struct io_ops mc146818_io_ops = {
    .read = mc146818_read,
    .write = mc146818_write,
};

int
mc146818_nvram_read(const struct mc146818 *rtc, unsigned offset, uint8_t *ret_value)
{
        if (offset < CMOS_FIRST || offset >= CMOS_BYTES)
                return -EINVAL;
        *ret_value = rtc->reg[offset];
        return 0;
}

int
mc146818_nvram_write(struct mc146818 *rtc, unsigned offset, uint8_t value)
{
        if (offset < CMOS_FIRST || offset >= CMOS_BYTES)
                return -EINVAL;
        rtc->reg[offset] = value;
        return 0;
}

static void
set_pair(struct mc146818 *rtc, unsigned offset, uint64_t value)
{
        if (value > 0xffff)
                value = 0xffff;
        rtc->reg[offset] = (uint8_t)value;
        rtc->reg[offset + 1] = (uint8_t)(value >> 8);
}

/* The memory sizes where firmware leaves them. */
static void
set_memory(struct mc146818 *rtc, const struct mc146818_config *config)
{
        uint64_t above_1m = config->low_bytes > MIB ? config->low_bytes - MIB : 0;
        uint64_t above_16m = config->low_bytes > 16 * MIB ? config->low_bytes - 16 * MIB : 0;
        uint64_t high = config->high_bytes / (64 * KIB);

        set_pair(rtc, 0x15, 640);
        set_pair(rtc, 0x17, above_1m / KIB);
        set_pair(rtc, 0x30, above_1m / KIB);
        set_pair(rtc, 0x34, above_16m / (64 * KIB));
        rtc->reg[0x5b] = (uint8_t)high;
        rtc->reg[0x5c] = (uint8_t)(high >> 8);
        rtc->reg[0x5d] = (uint8_t)(high >> 16);
}

static time_t
zone_offset(bool localtime_wanted)
{
        time_t now = host_time().tv_sec;
        struct tm tm;

        if (!localtime_wanted || !localtime_r(&now, &tm))
                return 0;
        return tm.tm_gmtoff;
}

void
mc146818_reset(struct mc146818 *rtc)
{
        rtc->reg[REG_B] &= (uint8_t) ~(B_PIE | B_AIE | B_UIE);
        rtc->reg[REG_C] = 0;
        irq_line_set(&rtc->irq, false);
        schedule(rtc);
}

int
mc146818_create(struct loop *loop, struct irq_router *irq, const struct mc146818_config *config,
    struct mc146818 **ret_rtc)
{
        struct mc146818 *rtc = calloc(1, sizeof(*rtc));
        int error;

        if (!rtc)
                return -ENOMEM;
        error = loop_timer_create(loop, timer_fired, rtc, &rtc->timer);
        if (error) {
                free(rtc);
                return error;
        }
        irq_source_init(&rtc->irq, irq, RTC_IRQ);
        rtc->reg[REG_A] = A_DIVIDER_32K | 6; /* 1024 Hz, as firmware leaves it */
        rtc->reg[REG_B] = B_24H;
        rtc->offset = zone_offset(config->localtime);
        rtc->last_update = host_time().tv_sec;
        restart_periodic(rtc);
        set_memory(rtc, config);
        *ret_rtc = rtc;
        return 0;
}

void
mc146818_destroy(struct mc146818 *rtc)
{
        if (!rtc)
                return;
        loop_timer_destroy(rtc->timer);
        free(rtc);
}
