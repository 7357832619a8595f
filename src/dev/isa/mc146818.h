/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * MC146818 real-time clock and 128 bytes of CMOS: ports 0x70-0x71, IRQ 8.
 * Device lock held.
 */
#ifndef DEV_ISA_MC146818_H
#define DEV_ISA_MC146818_H

#include "base/loop.h"
#include "bus/io.h"
#include "bus/irq.h"

#include <time.h>

struct mc146818;

struct mc146818_config {
        bool localtime;      /* the clock shows local time, else UTC */
        uint64_t low_bytes;  /* RAM below 4 GiB */
        uint64_t high_bytes; /* RAM above */
};

int mc146818_create(struct loop *loop, struct irq_router *irq, const struct mc146818_config *config,
    struct mc146818 **ret_rtc);
void mc146818_destroy(struct mc146818 *rtc);
/* Interrupts off; time and CMOS live on their battery. */
void mc146818_reset(struct mc146818 *rtc);

extern const struct io_ops mc146818_io_ops; /* ctx: struct mc146818 */

/* For bhyvectl: the clock in seconds since 1970 of its own time zone, and CMOS bytes (0x0e-0x7f). */
time_t mc146818_time(const struct mc146818 *rtc);
void mc146818_set_time(struct mc146818 *rtc, time_t seconds);
int mc146818_nvram_read(const struct mc146818 *rtc, unsigned offset, uint8_t *ret_value);
int mc146818_nvram_write(struct mc146818 *rtc, unsigned offset, uint8_t value);

#endif
