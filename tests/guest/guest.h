/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What the test guests share: ports, MSRs, the serial port, and "ok NAME" or "not ok NAME got GOT expected
 * EXPECTED", a line for each check().
 */
#ifndef GUEST_GUEST_H
#define GUEST_GUEST_H

typedef unsigned char u8;
typedef unsigned short u16;
typedef unsigned int u32;
typedef unsigned long long u64;
typedef unsigned long word; /* of a general register */

#define COM1      0x3f8
#define EXIT_PORT 0xf4 /* pc-testdev's: the exit status is what is written << 1 | 1 */

static unsigned failures;

static inline void
out8(u16 port, u8 value)
{
        __asm__ volatile("outb %0, %1" : : "a"(value), "Nd"(port));
}

/* A PC's BIOS, and so bhyve, leaves the timer's interrupt on. */
static inline void
mask_pic(void)
{
        out8(0x21, 0xff);
}

static inline u8
in8(u16 port)
{
        u8 value;

        __asm__ volatile("inb %1, %0" : "=a"(value) : "Nd"(port));
        return value;
}

static inline void
out16(u16 port, u16 value)
{
        __asm__ volatile("outw %0, %1" : : "a"(value), "Nd"(port));
}

static inline u16
in16(u16 port)
{
        u16 value;

        __asm__ volatile("inw %1, %0" : "=a"(value) : "Nd"(port));
        return value;
}

static inline u64
rdmsr(u32 msr)
{
        u32 low, high;

        __asm__ volatile("rdmsr" : "=a"(low), "=d"(high) : "c"(msr));
        return low | (u64)high << 32;
}

static inline void
wrmsr(u32 msr, u64 value)
{
        __asm__ volatile("wrmsr" : : "c"(msr), "a"((u32)value), "d"((u32)(value >> 32)) : "memory");
}

static inline void
put_char(char c)
{
        while (!(in8(COM1 + 5) & 0x20))
                ;
        out8(COM1, (u8)c);
}

static inline void
put(const char *text)
{
        while (*text != '\0')
                put_char(*text++);
}

static inline void
put_hex(word value)
{
        char text[2 * sizeof(word) + 1];

        for (unsigned i = 0; i < 2 * sizeof(word); i++)
                text[i] = "0123456789abcdef"[value >> (8 * sizeof(word) - 4 - 4 * i) & 15];
        text[2 * sizeof(word)] = '\0';
        put(text);
}

static inline void
check(const char *name, word got, word expected)
{
        put(got == expected ? "ok " : "not ok ");
        put(name);
        if (got != expected) {
                failures++;
                put(" got ");
                put_hex(got);
                put(" expected ");
                put_hex(expected);
        }
        put("\r\n");
}

#endif
