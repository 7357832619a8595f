/* SPDX-License-Identifier: BSD-2-Clause */
/* What test guests in long mode share that live by interrupts: stack frame, IDT, local APIC, counters. */
#ifndef GUEST_LONG_H
#define GUEST_LONG_H

#include "guest.h"

#define APIC ((volatile u32 *)0xfee00000)

/* Local APIC registers, SDM 3A 11.4.1. */
#define APIC_ID     (0x20 / 4)
#define APIC_EOI    (0xb0 / 4)
#define APIC_SVR    (0xf0 / 4)
#define APIC_ISR    (0x100 / 4)
#define APIC_ICR    (0x300 / 4)
#define APIC_ICR_HI (0x310 / 4)
#define APIC_TIMER  (0x320 / 4)
#define APIC_LINT0  (0x350 / 4)
#define APIC_INIT   (0x380 / 4)
#define APIC_DIVIDE (0x3e0 / 4)

struct frame {
        u64 r15, r14, r13, r12, r11, r10, r9, r8, rdi, rsi, rbp, rbx, rdx, rcx, rax;
        u64 vector, error, rip, cs, rflags, rsp, ss;
};

extern u8 stubs[];

static u64 idt[512] __attribute__((aligned(16)));
static volatile u32 count[256]; /* of each vector, by the guest's trap() */

static inline void
load_idt(void)
{
        struct {
                u16 limit;
                u64 base;
        } __attribute__((packed)) pointer = { sizeof(idt) - 1, (u64)idt };

        __asm__ volatile("lidt %0" : : "m"(pointer));
}

static inline void
fill_idt(void)
{
        for (unsigned i = 0; i < 256; i++) {
                u64 target = (u64)stubs + i * 16;

                idt[i * 2] = (target & 0xffff) | 8ull << 16 | 0x8eull << 40 | (target >> 16 & 0xffff) << 48;
                idt[i * 2 + 1] = target >> 32;
        }
        load_idt();
}

/* An exception that no test expects: the end. */
static inline void
stray_exception(const struct frame *f)
{
        put("not ok stray-exception ");
        put_hex(f->vector);
        put(" at ");
        put_hex(f->rip);
        put("\r\n");
        out8(EXIT_PORT, 99);
}

/* Halts until @vector has come @times times. */
static inline void
wait_for(unsigned vector, u32 times)
{
        while (count[vector] < times)
                __asm__ volatile("sti; hlt; cli" ::: "memory");
}

/* Into bhyve and back: software KVM does some things only then. */
static inline void
leave(void)
{
        (void)in8(0xe0);
}

/* The last line, and a reset; through the exit port if something failed. */
static inline __attribute__((noreturn)) void
end(void)
{
        if (failures != 0) {
                put("failures\r\n");
                out8(EXIT_PORT, (u8)failures);
        }
        put("all passed\r\n");
        out8(0xcf9, 0x06);
        for (;;)
                __asm__ volatile("hlt");
}

#endif
