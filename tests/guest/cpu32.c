/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What protected mode has and long mode has not: segment limits and types, call
 * gates, virtual-8086 mode with and without VME, 16-bit code, real mode.
 * Expected values are the manual's.  Output as cpu64.c's.
 */
#include "guest.h"

#include <stdbool.h>

#define SEL_TEST 0x30
#define SEL_GATE 0x38
#define V86_CODE 0x9000u

#define FL_IF   0x200u
#define FL_IOPL 0x3000u
#define FL_VM   0x20000u
#define FL_VIF  0x80000u
#define FL_VIP  0x100000u
#define CR4_VME 1u

struct frame {
        u32 es, ds, edi, esi, ebp, esp_here, ebx, edx, ecx, eax;
        u32 vector, error, eip, cs, eflags, esp, ss, v86_es, v86_ds, v86_fs, v86_gs;
};

extern u64 gdt[];
extern u8 stubs[], tss[], run_back[], gate_target[], real_start[], real_end[];
u32 run_at(u32 *frame, u32 words);
u32 in_16_bit_code(void);
u32 in_real_mode(void);

static u64 idt[256] __attribute__((aligned(16)));
static u8 interrupt_stack[8192] __attribute__((aligned(16)));
static u8 user_stack[4096] __attribute__((aligned(16)));
static struct frame last;
static u32 resume;

void
trap(struct frame *f)
{
        bool outer = (f->cs & 3) != 0 || (f->eflags & FL_VM);

        last = *f;
        if (outer) {
                /* Back to run_at's caller, at CPL 0: this frame is the interrupt stack's alone. */
                f->eip = (u32)run_back;
                f->cs = 8;
                f->eflags = 2;
                return;
        }
        if (resume != 0) {
                f->eip = resume;
                resume = 0;
        }
}

#define TRY(insn, ...)                                                                             \
        do {                                                                                       \
                last.vector = 0xff;                                                                \
                last.error = 0;                                                                    \
                __asm__ volatile("movl $771f, resume\n\t" insn "\n771: movl $0, resume"             \
                                 : : __VA_ARGS__ : "memory", "cc");                                \
        } while (0)

static void
set_up(void)
{
        struct {
                u16 limit;
                u32 base;
        } __attribute__((packed)) pointer = { sizeof(idt) - 1, (u32)idt };
        u32 at = (u32)tss;

        for (unsigned i = 0; i < 256; i++) {
                u32 target = (u32)stubs + i * 16;

                idt[i] = (target & 0xffff) | 8u << 16 | (u64)(i >= 0x80 ? 0xee00 : 0x8e00) << 32 |
                    (u64)(target >> 16) << 48;
        }
        *(u32 *)(tss + 4) = (u32)interrupt_stack + sizeof(interrupt_stack);
        *(u32 *)(tss + 8) = 0x10;
        *(u16 *)(tss + 102) = 104 + 32; /* the I/O bitmap; the redirection bitmap lies below it */
        for (unsigned i = 0; i < 8193; i++)
                tss[104 + 32 + i] = 0xff;
        gdt[5] = (104 + 32 + 8192) | (u64)(at & 0xffffff) << 16 | 0x89ull << 40 | (u64)(at >> 24) << 56;
        __asm__ volatile("lidt %0" : : "m"(pointer));
        __asm__ volatile("ltr %w0" : : "r"(0x28));
}

/* A segment at 0x300000 with access byte @access and the limit in bytes. */
static void
segment(u8 access, u32 limit)
{
        gdt[SEL_TEST / 8] = (limit & 0xffff) | 0x300000ull << 16 | (u64)access << 40 |
            (u64)(0x40 | (limit >> 16 & 0xf)) << 48;
}

static u32
outcome(void)
{
        return last.vector << 16 | last.error;
}

#define OUTCOME(vector, error) ((u32)(vector) << 16 | (error))

static void
test_segments(void)
{
        segment(0x93, 0xfff);
        TRY("mov %w0, %%fs; movb $1, %%fs:0xfff; movb $1, %%fs:0x1000", "r"(SEL_TEST));
        check("limit-exceeded", outcome(), OUTCOME(13, 0));
        check("limit-last-byte-written", *(volatile u8 *)0x300fff, 1);
        TRY("movl $1, %%fs:0xffd", "r"(0));
        check("limit-straddled", outcome(), OUTCOME(13, 0));
        segment(0x97, 0xfff); /* expand down */
        TRY("mov %w0, %%fs; movb $1, %%fs:0x1000", "r"(SEL_TEST));
        check("expand-down-above-limit", last.vector, 0xff);
        TRY("movb $1, %%fs:0xfff", "r"(0));
        check("expand-down-below-limit", outcome(), OUTCOME(13, 0));
        segment(0x91, 0xfff); /* read only */
        TRY("mov %w0, %%fs; movb $1, %%fs:0", "r"(SEL_TEST));
        check("read-only-written", outcome(), OUTCOME(13, 0));
        segment(0x99, 0xfff); /* execute only */
        TRY("mov %w0, %%fs", "r"(SEL_TEST));
        check("execute-only-loaded", outcome(), OUTCOME(13, SEL_TEST));
        segment(0x13, 0xfff); /* not present */
        TRY("mov %w0, %%fs", "r"(SEL_TEST));
        check("not-present-loaded", outcome(), OUTCOME(11, SEL_TEST));
        TRY("mov %w0, %%ss", "r"(SEL_TEST));
        check("not-present-stack-loaded", outcome(), OUTCOME(12, SEL_TEST));
        TRY("mov %w0, %%fs; movb $1, %%fs:0", "r"(0));
        check("null-used", outcome(), OUTCOME(13, 0));
        segment(0x92, 0xfff);
        TRY("mov %w0, %%fs", "r"(SEL_TEST));
        check("accessed-bit-set", (u32)(gdt[SEL_TEST / 8] >> 40) & 0xff, 0x93);
        __asm__ volatile("mov %w0, %%fs" : : "r"(0x10));
}

static void
test_16_bit_code(void)
{
        check("16-bit-code", in_16_bit_code(), 0x2345);
}

static void
test_real_mode(void)
{
        u8 *to = (u8 *)0x7000;

        for (u8 *from = real_start; from != real_end;)
                *to++ = *from++;
        check("real-mode-interrupt", in_real_mode(), 0x5ea1);
}

static u8 *user_at;

static void
user_bytes(const u8 *bytes, unsigned count)
{
        user_at = (u8 *)0x200000;
        for (unsigned i = 0; i < count; i++)
                user_at[i] = bytes[i];
}

static u32
run_user(void)
{
        u32 frame[5] = { (u32)user_at, 0x1b, 2, (u32)user_stack + sizeof(user_stack), 0x23 };

        (void)run_at(frame, 5);
        return last.eax;
}

static void
test_call_gate(void)
{
        /* push 0x100; push 0x23; lcall SEL_GATE | 3; int $0x80 */
        static const u8 code[] = { 0x68, 0, 1, 0, 0, 0x6a, 0x23, 0x9a, 0, 0, 0, 0, SEL_GATE | 3, 0, 0xcd, 0x80 };
        u32 target = (u32)gate_target;

        gdt[SEL_GATE / 8] = (target & 0xffff) | 8u << 16 | (u64)0xec02 << 32 | (u64)(target >> 16) << 48;
        user_bytes(code, sizeof(code));
        check("call-gate-sum", run_user(), 0x123);
        check("call-gate-returns-to-user", last.cs, 0x1b);
        check("call-gate-releases-parameters", last.esp, (u32)user_stack + sizeof(user_stack));
        gdt[SEL_GATE / 8] &= ~(3ull << 45); /* DPL 0 */
        (void)run_user();
        check("call-gate-dpl", outcome(), OUTCOME(13, SEL_GATE));
}

/* Runs @bytes in virtual-8086 mode at segment V86_CODE / 16 until something traps. */
static void
run_v86(const u8 *bytes, unsigned count, u32 flags)
{
        u32 frame[9] = { 0, V86_CODE / 16, FL_VM | 2 | flags, 0x1000, 0x0a00, 0x0b00, 0x0c00, 0x0d00, 0x0e00 };

        for (unsigned i = 0; i < count; i++)
                ((volatile u8 *)V86_CODE)[i] = bytes[i];
        (void)run_at(frame, 9);
}

static void
test_v86(void)
{
        static const u8 add[] = { 0xb8, 0x34, 0x12, 0x05, 0x11, 0x11, 0xf4 }; /* mov, add, hlt */
        static const u8 cli[] = { 0xfa, 0xf4 };
        static const u8 store[] = { 0xa3, 0x10, 0x00, 0x66, 0xa3, 0xfe, 0xff }; /* mov [0x10]; mov [0xfffe], eax */
        static const u8 interrupt[] = { 0xcd, 0x55 };

        run_v86(add, sizeof(add), FL_IOPL);
        check("v86-hlt-faults", outcome(), OUTCOME(13, 0));
        check("v86-ax", last.eax & 0xffff, 0x2345);
        check("v86-eip", last.eip, 6);
        check("v86-vm-pushed", last.eflags & FL_VM, FL_VM);
        check("v86-segments-pushed", last.v86_es << 16 | last.v86_gs, 0x0b000e00);
        check("v86-stack-pushed", last.ss << 16 | last.esp, 0x0a001000);
        run_v86(cli, sizeof(cli), FL_IOPL | FL_IF);
        check("v86-cli-with-iopl-3", last.eflags & FL_IF, 0);
        check("v86-cli-with-iopl-3-went-on", last.eip, 1);
        run_v86(cli, sizeof(cli), FL_IF);
        check("v86-cli-with-iopl-0-faults", OUTCOME(last.vector, last.eip), OUTCOME(13, 0));
        *(volatile u16 *)0xc010 = 0x5555;
        run_v86(store, sizeof(store), FL_IOPL);
        check("v86-offset-beyond-64k", OUTCOME(last.vector, last.eip), OUTCOME(13, 3));
        check("v86-store-at-segment", *(volatile u16 *)0xc010, 0);
        run_v86(interrupt, sizeof(interrupt), 0);
        check("v86-int-with-iopl-0-faults", outcome(), OUTCOME(13, 0));
}

static void
set_cr4(u32 set, u32 clear)
{
        u32 value;

        __asm__ volatile("mov %%cr4, %0" : "=r"(value));
        __asm__ volatile("mov %0, %%cr4" : : "r"((value & ~clear) | set));
}

static void
test_vme(void)
{
        static const u8 cli[] = { 0xfa, 0xf4 };
        static const u8 sti[] = { 0xfb, 0xf4 };
        static const u8 interrupt[] = { 0xcd, 0x55, 0xf4 };
        volatile u8 *handler = (volatile u8 *)0x8000;

        set_cr4(CR4_VME, 0);
        run_v86(cli, sizeof(cli), FL_VIF | FL_IF);
        check("vme-cli-clears-vif", last.eflags & (FL_VIF | FL_IF), FL_IF);
        run_v86(sti, sizeof(sti), FL_IF);
        check("vme-sti-sets-vif", last.eflags & (FL_VIF | FL_IF), FL_VIF | FL_IF);
        run_v86(sti, sizeof(sti), FL_VIP);
        check("vme-sti-with-vip-faults", OUTCOME(last.vector, last.eip), OUTCOME(13, 0));
        /* INT 0x55 redirected to the 8086 program's own handler: mov $7, %bx; iret */
        handler[0] = 0xbb;
        handler[1] = 7;
        handler[2] = 0;
        handler[3] = 0xcf;
        *(volatile u32 *)(0x55 * 4) = 0x08000000;
        tss[104 + 0x55 / 8] = 0;
        run_v86(interrupt, sizeof(interrupt), FL_VIF);
        check("vme-int-redirected", OUTCOME(last.ebx & 0xffff, last.eip), OUTCOME(7, 2));
        check("vme-iret-restores-vif", last.eflags & FL_VIF, FL_VIF);
        tss[104 + 0x55 / 8] = 0xff;
        run_v86(interrupt, sizeof(interrupt), FL_VIF);
        check("vme-int-not-redirected-faults", OUTCOME(last.vector, last.eip), OUTCOME(13, 0));
        set_cr4(0, CR4_VME);
}

int
main(void)
{
        mask_pic();
        set_up();
        test_segments();
        test_16_bit_code();
        test_real_mode();
        test_call_gate();
        test_v86();
        test_vme();
        put(failures == 0 ? "all passed\r\n" : "failures\r\n");
        out8(EXIT_PORT, (u8)failures);
        for (;;)
                __asm__ volatile("hlt");
}
