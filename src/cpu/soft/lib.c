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

#ifdef __SANITIZE_ADDRESS__

#include <dlfcn.h>
#include <stdlib.h>

static void (*real_handle_no_return)(void);
static __thread uint8_t no_return_xsave[4096] __attribute__((aligned(64)));

__attribute__((constructor)) static void
find_handle_no_return(void)
{
        *(void **)&real_handle_no_return = dlsym(RTLD_NEXT, "__asan_handle_no_return");
        if (real_handle_no_return == NULL)
                abort();
}

/*
 * The compiler calls it before each function that does not return, soft_raise() among them.  The sanitizer's own
 * clears memory by libc's memset, which on hosts without AVX-512 uses registers that the guest's state is in.
 */
void __asan_handle_no_return(void);

void
__asan_handle_no_return(void)
{
        __asm__ volatile("xsave64 %0" : "+m"(no_return_xsave) : "a"(7), "d"(0) : "memory");
        real_handle_no_return();
        __asm__ volatile("xrstor64 %0" : : "m"(no_return_xsave), "a"(7), "d"(0) : "memory");
}

#endif
