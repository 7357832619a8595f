/* SPDX-License-Identifier: BSD-2-Clause */
/* What the soft engine asks of its host. */
#include "cpu/soft/run.h"

#include <cpuid.h>
#include <errno.h>
#include <sys/mman.h>

#define XFEATURE_X87_SSE_AVX 7u

void
soft_run_probe_host(struct soft_engine *e)
{
        unsigned a, b, c, d;

        if (__get_cpuid(1, &a, &b, &c, &d) && (c & bit_OSXSAVE)) {
                uint32_t low, high;

                __asm__("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
                e->xsave_mask = low & XFEATURE_X87_SSE_AVX;
        }
        e->bmi2 = __get_cpuid_count(7, 0, &a, &b, &c, &d) && (b & bit_BMI2);
}

int
soft_run_map_guard(struct soft_engine *e)
{
        void *p = mmap(NULL, 2 * MEM_PAGE_SIZE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

        if (p == MAP_FAILED)
                return -errno;
        e->guard_page = p;
        return 0;
}

void
soft_run_unmap(struct soft_engine *e)
{
        if (e->guard_page != NULL)
                munmap(e->guard_page, 2 * MEM_PAGE_SIZE);
}
