/* SPDX-License-Identifier: BSD-2-Clause */
#include "machine/tsc.h"
#include "base/loop.h"
#include "base/util.h"

#include <cpuid.h>
#include <time.h>

/* Both clocks are read to some 30 ns: 8 ms of them give the frequency to under 10 millionths. */
#define MEASURE_NS (8 * NSEC_PER_MSEC)

/* SDM 2A, CPUID leaf 15H: crystal clock times a ratio. */
static uint64_t
hz_from_cpuid(void)
{
        unsigned denominator, numerator, crystal_hz, unused;

        if (!__get_cpuid(0x15, &denominator, &numerator, &crystal_hz, &unused) || denominator == 0)
                return 0;
        return (uint64_t)crystal_hz * numerator / denominator;
}

/* Both clocks at one moment, or nearly: the best of a few tries. */
static void
read_clocks(uint64_t *ret_ns, uint64_t *ret_tsc)
{
        uint64_t best = UINT64_MAX;

        for (unsigned i = 0; i < 5; i++) {
                uint64_t before = __builtin_ia32_rdtsc();
                uint64_t ns = loop_now_ns();
                uint64_t after = __builtin_ia32_rdtsc();

                if (after - before < best) {
                        best = after - before;
                        *ret_ns = ns;
                        *ret_tsc = before + (after - before) / 2;
                }
        }
}

uint64_t
tsc_hz(void)
{
        const struct timespec pause = { .tv_nsec = MEASURE_NS };
        uint64_t hz = hz_from_cpuid(), ns[2] = { 0 }, tsc[2] = { 0 };

        if (hz != 0)
                return hz;
        read_clocks(&ns[0], &tsc[0]);
        nanosleep(&pause, NULL);
        read_clocks(&ns[1], &tsc[1]);
        return (uint64_t)((unsigned __int128)(tsc[1] - tsc[0]) * NSEC_PER_SEC / (ns[1] - ns[0]));
}
