/* SPDX-License-Identifier: BSD-2-Clause */
/* The memory functions that plain C needs, without vector registers; see soft.h. */
#include "cpu/soft/soft.h"

void *
memcpy(void *dst, const void *src, size_t n)
{
        void *d = dst;

        __asm__ volatile("rep movsb" : "+D"(d), "+S"(src), "+c"(n) : : "memory");
        return dst;
}

void *
memmove(void *dst, const void *src, size_t n)
{
        uint8_t *d = dst;
        const uint8_t *s = src;

        if ((uintptr_t)dst - (uintptr_t)src >= n)
                return memcpy(dst, src, n);
        while (n-- > 0)
                d[n] = s[n];
        return dst;
}

void *
memset(void *dst, int c, size_t n)
{
        void *d = dst;

        __asm__ volatile("rep stosb" : "+D"(d), "+c"(n) : "a"(c) : "memory");
        return dst;
}

int
memcmp(const void *a, const void *b, size_t n)
{
        const uint8_t *p = a, *q = b;

        for (; n > 0; n--, p++, q++)
                if (*p != *q)
                        return *p < *q ? -1 : 1;
        return 0;
}
