/* SPDX-License-Identifier: BSD-2-Clause */
/* The host's time stamp counter. */
#ifndef MACHINE_TSC_H
#define MACHINE_TSC_H

#include <stdint.h>

/* Its frequency: from CPUID where it says so, else measured against CLOCK_MONOTONIC in 8 ms. */
uint64_t tsc_hz(void);

#endif
