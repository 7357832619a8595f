/* SPDX-License-Identifier: BSD-2-Clause */
/* Repeated string instructions over pages. */
#include "cpu64.h"

static void
copy_up(u64 to, u64 from, u64 count)
{
        __asm__ volatile("rep movsb" : "+D"(to), "+S"(from), "+c"(count) : : "memory");
}

static u8
pattern(u64 n)
{
        return (u8)(n * 7 + n / 251 + 1);
}

/* Long strings over pages whose frames lie in order, out of order and backwards; what is beside them stays as it is. */
static void
test_long_strings(void)
{
        static const u8 from[7] = { 50, 51, 52, 54, 53, 55, 56 }, to[7] = { 70, 69, 68, 71, 72, 73, 73 };
        u64 length = 5 * 4096 + 100, right = 0, rdi, rcx;

        for (unsigned n = 0; n < 7; n++) {
                map(50 + n, FRAME(from[n]) | P | W);
                map(60 + n, n == 6 ? 0 : FRAME(to[n]) | P | W);
        }
        for (unsigned round = 0; round < 3; round++) { /* pages that are known, from the second on */
                for (u64 n = 0; n < 7 * 4096; n++)
                        *(volatile u8 *)(PAGE(50) + n) = pattern(n + round);
                for (u64 n = 0; n < 6 * 4096; n++)
                        *(volatile u8 *)(PAGE(60) + n) = 0;
                copy_up(PAGE(60) + 9, PAGE(50) + 3, length);
                for (u64 n = 0; n < 6 * 4096; n++)
                        right += *(volatile u8 *)(PAGE(60) + n) == (n >= 9 && n < 9 + length ? pattern(n - 9 + 3 + round) : 0);
        }
        check("long-copy", right, 3 * 6 * 4096);
        /* Onto itself, eight bytes further: the first eight spread. */
        copy_up(PAGE(60) + 8, PAGE(60), 5 * 4096);
        right = 0;
        for (u64 n = 0; n < 5 * 4096; n++)
                right += *(volatile u8 *)(PAGE(60) + n) == *(volatile u8 *)(PAGE(60) + n % 8);
        check("long-copy-onto-itself", right, 5 * 4096);
        rdi = PAGE(63) + 8;
        rcx = 2000;
        last = (struct fault){ 0 };
        __asm__ volatile("lea 1f(%%rip), %%r11; mov %%r11, resume(%%rip); rep stosq; 1: movq $0, resume(%%rip)"
                         : "+c"(rcx), "+D"(rdi) : "a"(0x1122334455667788) : "r11", "memory", "cc");
        check("long-fill-into-absent-page", outcome() | rcx << 40, 14ul << 32 | 2 | (2000ul - (3 * 512 - 1)) << 40);
        check("long-fill-into-absent-page-rdi", rdi, PAGE(66));
        right = 0;
        for (u64 n = 8; n < 3 * 4096; n += 8)
                right += *(volatile u64 *)(PAGE(63) + n) == 0x1122334455667788;
        check("long-fill", right, 3 * 512 - 1);
        for (unsigned n = 50; n < 67; n++)
                map(n, 0);
}

/* So few quadwords that a loop moves them, and some more; over the end of a page, that ends between elements or in one. */
static void
test_short_strings(void)
{
        u64 *from = (u64 *)PAGE(50), *to = (u64 *)PAGE(60), wrong = 0, rsi, rdi, rcx;

        for (unsigned n = 0; n < 2; n++) {
                map(50 + n, FRAME(51 - n) | P | W);
                map(60 + n, FRAME(60 + 2 * n) | P | W);
        }
        for (unsigned n = 0; n < 1024; n++)
                from[n] = n * 0x0101010101010101ul + 3;
        for (u64 count = 0; count < 44; count++)
                for (unsigned place = 0; place < 3; place++) { /* before the end of the page, over it, with an element that straddles it */
                        static const u64 ahead[3] = { 400, 20 * 8, 20 * 8 + 3 };

                        for (unsigned n = 0; n < 1024; n++)
                                to[n] = 0;
                        rsi = PAGE(51) - ahead[place] - 8;
                        rdi = PAGE(61) - ahead[place];
                        rcx = count;
                        __asm__ volatile("rep movsq" : "+S"(rsi), "+D"(rdi), "+c"(rcx) : : "memory");
                        wrong += rcx != 0 || rsi != PAGE(51) - ahead[place] - 8 + 8 * count || rdi != PAGE(61) - ahead[place] + 8 * count;
                        for (unsigned n = 0; n < 8192; n++) {
                                u64 at = 4096 - ahead[place];
                                u8 wanted = n >= at && n < at + 8 * count ? ((u8 *)from)[n - 8] : 0;

                                wrong += ((volatile u8 *)to)[n] != wanted;
                        }
                        rdi = PAGE(61) - ahead[place];
                        rcx = count;
                        __asm__ volatile("rep stosq" : "+D"(rdi), "+c"(rcx) : "a"(0x1122334455667788) : "memory");
                        wrong += rcx != 0 || rdi != PAGE(61) - ahead[place] + 8 * count;
                        for (u64 n = 0; n < count; n++)
                                wrong += *(volatile u64 *)(PAGE(61) - ahead[place] + 8 * n) != 0x1122334455667788;
                        wrong += *(volatile u8 *)(PAGE(61) - ahead[place] - 1) != 0 || *(volatile u8 *)(PAGE(61) - ahead[place] + 8 * count) != 0;
                }
        check("short-strings", wrong, 0);
        from[0] = 77;
        rsi = PAGE(50);
        rdi = PAGE(50) + 8;
        rcx = 20;
        __asm__ volatile("rep movsq" : "+S"(rsi), "+D"(rdi), "+c"(rcx) : : "memory");
        wrong = 0;
        for (unsigned n = 0; n < 21; n++)
                wrong += from[n] != 77;
        check("short-copy-onto-itself", wrong, 0);
        from[3] = 0xabcdef;
        rsi = PAGE(50) + 24 - 0x1000;
        rdi = PAGE(60);
        rcx = 1;
        wrmsr(0xc0000100, 0x1000);
        __asm__ volatile("rep movsq %%fs:(%%rsi), (%%rdi)" : "+S"(rsi), "+D"(rdi), "+c"(rcx) : : "memory");
        wrmsr(0xc0000100, 0);
        check("short-copy-from-fs", to[0], 0xabcdef);
        for (unsigned n = 0; n < 2; n++) {
                map(50 + n, 0);
                map(60 + n, 0);
        }
}

unsigned
test_strings(void)
{
        test_long_strings();
        test_short_strings();
        return failures;
}
