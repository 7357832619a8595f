/* SPDX-License-Identifier: BSD-2-Clause */
/* What the soft engine asks of its host. */
#include "cpu/soft/run.h"
#include "x86/cpuid.h"

#include <cpuid.h>
#include <errno.h>
#include <stdio.h>
#include <sys/mman.h>

#define XFEATURE_X87_SSE_AVX 7u

/* How many mappings mirrors may have: of those that a process may have, a third, for each may split another in two. */
static uint32_t
mirror_maps_max(void)
{
        FILE *f = fopen("/proc/sys/vm/max_map_count", "re");
        unsigned long max = 65530;

        if (f != NULL) {
                if (fscanf(f, "%lu", &max) != 1)
                        max = 65530;
                fclose(f);
        }
        return (uint32_t)(max / 3 < 1000000 ? max / 3 : 1000000);
}

void
soft_run_probe_host(struct soft_engine *e)
{
        unsigned a, b, c, d;

        e->xsave_mask = x86_host_xcr0() & XFEATURE_X87_SSE_AVX;
        e->mirror_maps_max = mirror_maps_max();
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
