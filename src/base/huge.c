/* SPDX-License-Identifier: BSD-2-Clause */
#include "base/huge.h"

#include <stdint.h>
#include <sys/mman.h>

void *
huge_map(size_t bytes, int prot, int flags)
{
        uint8_t *p = mmap(NULL, bytes + HUGE_PAGE_BYTES, prot, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | flags, -1, 0);
        size_t before;

        if (p == MAP_FAILED)
                return NULL;
        before = -(uintptr_t)p & (HUGE_PAGE_BYTES - 1);
        if (before != 0)
                munmap(p, before);
        munmap(p + before + bytes, HUGE_PAGE_BYTES - before);
        return p + before;
}
