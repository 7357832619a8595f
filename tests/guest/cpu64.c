/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What user mode cannot show of a processor, checked by a guest in long mode:
 * faults with their error codes, debug traps, code that changes, interrupts,
 * privilege and mode switches.  Expected values are the manual's.
 * Prints "ok NAME" or "not ok NAME got expected" on COM1 and ends with the
 * number of failures through pc-testdev's exit port.
 */
#include "cpu64.h"

struct frame {
        u64 r15, r14, r13, r12, r11, r10, r9, r8, rdi, rsi, rbp, rbx, rdx, rcx, rax;
        u64 vector, error, rip, cs, rflags, rsp, ss;
};

extern u64 gdt[];
#define SPARE_GDT 0x40 /* two free entries */
extern u8 stubs[], tss[], user_back[], syscall_entry[];

u64 page_l2_test[512] __attribute__((aligned(4096)));
static u64 idt[512] __attribute__((aligned(16)));
static u8 interrupt_stack[8192] __attribute__((aligned(16)));
static u8 ist_stack[8192] __attribute__((aligned(16)));
u8 user_stack[8192] __attribute__((aligned(16)));
struct fault last;
u64 resume;
static u64 resume_sp;
static u64 steps;
static u64 ticks; /* timer interrupts until user code ends; 0: it does not */

#define TIMER_VECTOR 0x42

void
trap(struct frame *f)
{
        last.count++;
        last.vector = f->vector;
        last.error = f->error;
        last.rip = f->rip;
        last.cr2 = read_cr2();
        last.rflags = f->rflags;
        last.rsp = f->rsp;
        if (f->vector == 1) {
                last.dr6 = read_dr6();
                __asm__ volatile("mov %0, %%dr6" : : "r"(0xffff0ff0ul));
                steps++;
        }
        if (f->vector >= 0x30 && f->vector != 0x80)
                *(volatile u32 *)0xfee000b0 = 0; /* end of interrupt */
        if (f->vector == 0x80 || (f->vector == TIMER_VECTOR && ticks != 0 && --ticks == 0)) {
                f->rip = (u64)user_back;
                f->cs = 8;
                f->ss = 0x10;
                f->rsp = (u64)interrupt_stack + 4096;
                f->rflags &= ~0x200ul;
        }
        if (f->vector >= 0x30)
                return;
        if (resume != 0) {
                f->rip = resume;
                f->cs = 8;
                f->ss = 0x10;
                if (resume_sp != 0)
                        f->rsp = resume_sp;
                resume = resume_sp = 0;
        }
}

/* Runs @insn; a fault in it is recorded in last and goes on behind it. */
#define TRY(insn, ...)                                                                             \
        do {                                                                                       \
                last = (struct fault){ 0 };                                                        \
                __asm__ volatile("lea 771f(%%rip), %%r11\n\tmov %%r11, resume(%%rip)\n\t"           \
                                 "770: " insn "\n771:\n\tmovq $0, resume(%%rip)"                    \
                                 : : __VA_ARGS__ : "r11", "memory", "cc");                       \
        } while (0)

u64
outcome(void)
{
        return last.count == 0 ? 0 : last.vector << 32 | last.error;
}

static void
gate(unsigned vector, u64 target, unsigned type, unsigned ist)
{
        idt[vector * 2] = (target & 0xffff) | 8ul << 16 | (u64)ist << 32 | (u64)type << 40 |
            (target >> 16 & 0xffff) << 48;
        idt[vector * 2 + 1] = target >> 32;
}

static void
set_up(void)
{
        struct {
                u16 limit;
                u64 base;
        } __attribute__((packed)) pointer = { sizeof(idt) - 1, (u64)idt };
        u64 at = (u64)tss;

        for (unsigned i = 0; i < 256; i++)
                gate(i, (u64)stubs + i * 16, i == 3 || i == 4 || i == 0x80 ? 0xee : 0x8e, i == 8 ? 1 : 0);
        *(u64 *)(tss + 4) = (u64)interrupt_stack + sizeof(interrupt_stack);
        *(u64 *)(tss + 36) = (u64)ist_stack + sizeof(ist_stack);
        *(u16 *)(tss + 102) = 104;
        gdt[6] = 103 | (at & 0xffffff) << 16 | 0x89ul << 40 | (at >> 24 & 0xff) << 56;
        gdt[7] = at >> 32;
        __asm__ volatile("lidt %0" : : "m"(pointer));
        __asm__ volatile("ltr %w0" : : "r"(0x30));
        page_l2_test[0] = (u64)page_l1 | P | W | U;
        page_l3[1] = (u64)page_l2_test | P | W | U;
}

void
map(unsigned page, u64 entry)
{
        page_l1[page] = entry;
        __asm__ volatile("invlpg (%0)" : : "r"(PAGE(page)) : "memory");
}

static void
test_page_faults(void)
{
        map(0, 0);
        TRY("cmpb $0, (%0)", "r"(PAGE(0) + 0x123));
        check("pf-read-not-present", last.vector << 32 | last.error, 14ul << 32);
        check("pf-cr2", last.cr2, PAGE(0) + 0x123);
        check("pf-pushes-rf", last.rflags >> 16 & 1, 1);
        map(0, FRAME(0) | P);
        TRY("movb $1, (%0)", "r"(PAGE(0)));
        check("pf-write-protected", last.vector << 32 | last.error, 14ul << 32 | 3);
        map(0, FRAME(0) | P | W | 1ul << 51);
        TRY("mov (%0), %%al", "r"(PAGE(0)));
        check("pf-reserved", last.vector << 32 | last.error, 14ul << 32 | 9);
        map(0, FRAME(0) | P | W | NX);
        TRY("jmp *%0", "r"(PAGE(0))); /* a CALL would leave its return address on the stack */
        __asm__ volatile("" ::: "memory");
        check("pf-fetch-nx", last.vector << 32 | last.error, 14ul << 32 | 0x11);
        check("pf-fetch-rip", last.rip, PAGE(0));
        map(1, FRAME(1) | P | W);
        map(2, 0);
        TRY("movq %1, (%0)", "r"(PAGE(1) + 0xffc), "r"(-1ul));
        check("pf-second-page-cr2", last.cr2, PAGE(2));
        check("pf-second-page-nothing-written", *(volatile u32 *)(PAGE(1) + 0xffc), 0);
}

static void
test_accessed_dirty(void)
{
        map(3, FRAME(3) | P | W);
        (void)*(volatile u8 *)PAGE(3);
        check("accessed-on-read", page_l1[3] & (A | D), A);
        *(volatile u8 *)PAGE(3) = 1;
        check("dirty-on-write", page_l1[3] & (A | D), A | D);
        page_l1[3] = FRAME(4) | P | W;
        *(volatile u8 *)FRAME(4) = 0x44;
        __asm__ volatile("invlpg (%0)" : : "r"(PAGE(3)) : "memory");
        check("invlpg-shows-new-frame", *(volatile u8 *)PAGE(3), 0x44);
}

static void
test_general_faults(void)
{
        TRY("cmpb $0, (%0)", "r"(0x800000000000ul));
        check("gp-non-canonical", last.vector << 32 | last.error, 13ul << 32);
        TRY("xchg %0, %%rbp; cmpb $0, (%%rbp)", "b"(0x800000000000ul));
        __asm__ volatile("xchg %%rbx, %%rbp" ::: "memory");
        check("ss-non-canonical-by-rbp", last.vector << 32 | last.error, 12ul << 32);
        TRY("ud2", "r"(0));
        check("ud", last.vector, 6);
        TRY("div %0", "r"(0), "a"(1), "d"(0));
        check("de", last.vector, 0);
        TRY("mov %w0, %%ds", "r"(0x70));
        check("gp-selector-beyond-gdt", last.vector << 32 | last.error, 13ul << 32 | 0x70);
        TRY("wrmsr", "c"(0x12345678), "a"(0), "d"(0));
        check("gp-unknown-msr", last.vector, 13);
        TRY("mov %0, %%cr0", "r"(0x80000000ul));
        check("gp-cr0-pg-without-pe", last.vector, 13);
        TRY("mov %0, %%cr4", "r"(0xfffffffful));
        check("gp-cr4-reserved", last.vector, 13);
        last.count = 0;
        __asm__ volatile("int3" ::: "memory");
        check("bp-is-a-trap", last.vector << 8 | last.count, 3 << 8 | 1);
}

static void
test_debug(void)
{
        u64 end;

        steps = 0;
        __asm__ volatile("pushfq; orq $0x100, (%%rsp); popfq; nop; nop; pushfq; andq $~0x100, (%%rsp); popfq; 1: lea 1b(%%rip), %0"
                         : "=r"(end) : : "memory", "cc");
        check("single-step-count", steps, 5);
        check("single-step-last", last.rip, end);
        check("single-step-dr6", last.dr6, 0xffff4ff0);
        map(5, FRAME(5) | P | W);
        __asm__ volatile("mov %0, %%dr0" : : "r"(PAGE(5) + 8));
        __asm__ volatile("mov %0, %%dr7" : : "r"(0x000d0402ul)); /* 4 bytes, write */
        steps = 0;
        (void)*(volatile u32 *)(PAGE(5) + 8);
        check("watch-not-on-read", steps, 0);
        *(volatile u8 *)(PAGE(5) + 11) = 1;
        check("watch-on-write", steps << 32 | (last.dr6 & 0xf), 1ul << 32 | 1);
        __asm__ volatile("mov %0, %%dr7" : : "r"(0x400ul));
}

typedef u64 code_fn(void);

/* mov $value, %eax; ret */
static void
write_code(volatile u8 *at, u32 value)
{
        at[0] = 0xb8;
        *(volatile u32 *)(at + 1) = value;
        at[5] = 0xc3;
}

static void
test_changing_code(void)
{
        u64 got = 0;

        map(6, FRAME(6) | P | W);
        map(7, FRAME(7) | P | W);
        map(8, FRAME(6) | P | W);
        for (u32 i = 1; i <= 200; i++) {
                write_code((u8 *)PAGE(6), i);
                got += ((code_fn *)PAGE(6))() == i;
        }
        check("code-rewritten-in-place", got, 200);
        got = 0;
        for (u32 i = 1; i <= 50; i++) {
                write_code((u8 *)PAGE(8), i);
                got += ((code_fn *)PAGE(6))() == i;
        }
        check("code-rewritten-through-an-alias", got, 50);
        got = 0;
        for (u32 i = 1; i <= 50; i++) {
                write_code((u8 *)PAGE(6) + 0xffd, i * 0x01010101);
                got += ((code_fn *)(PAGE(6) + 0xffd))() == i * 0x01010101;
        }
        check("code-rewritten-across-pages", got, 50);
        /* A store that changes the instruction right after it. */
        __asm__ volatile("lea 1f(%%rip), %%rcx; movb $2, 1(%%rcx); 1: mov $1, %%eax; mov %%rax, %0; movb $1, 1(%%rcx)"
                         : "=r"(got) : : "rax", "rcx", "memory");
        check("code-changes-next-instruction", got, 2);
        /* Two linear pages that are one: the instruction ends where its frame begins. */
        map(7, FRAME(6) | P | W);
        got = 0;
        write_code((u8 *)PAGE(6) + 0xffd, 0);
        for (u32 i = 1; i <= 50; i++) {
                *(volatile u8 *)(PAGE(6) + 1) = (u8)i;
                got += ((code_fn *)(PAGE(6) + 0xffd))() == i << 24;
        }
        check("code-wraps-in-one-frame", got, 50);
        write_code((u8 *)FRAME(9), 0x99);
        map(6, FRAME(9) | P | W);
        check("code-page-remapped", ((code_fn *)PAGE(6))(), 0x99);
}

#define MUCH_CODE   ((u8 *)0x1000000)
#define MUCH_CHAINS 2500u
#define MUCH_LINKS  8u /* of a chain */

/* add $value, %eax, and a jump to the next link; the last returns. */
static void
write_link(volatile u8 *at, u32 value, int last_link)
{
        at[0] = 0x05;
        *(volatile u32 *)(at + 1) = value;
        at[5] = last_link ? 0xc3 : 0xe9;
        *(volatile u32 *)(at + 6) = 64 - 10;
}

static u64
call_chain(const u8 *chain)
{
        u64 sum = 0;

        __asm__ volatile("call *%1" : "+a"(sum) : "r"(chain) : "memory", "cc");
        return sum;
}

/* More code than a small cache holds; links are changed and taken while it comes and goes. */
static void
test_much_code(void)
{
        u64 got = 0, changed = 0;

        for (u32 i = 0; i < MUCH_CHAINS * MUCH_LINKS; i++)
                write_link(MUCH_CODE + i * 64, 1, i % MUCH_LINKS == MUCH_LINKS - 1);
        for (u32 round = 0; round < 3; round++) {
                for (u32 c = 0; c < MUCH_CHAINS; c++) {
                        u8 *chain = MUCH_CODE + c * MUCH_LINKS * 64;

                        got += call_chain(chain) == MUCH_LINKS + round;
                        got += call_chain(MUCH_CODE) == MUCH_LINKS + round + (c != 0);
                        *(volatile u32 *)(chain + (c + round) % MUCH_LINKS * 64 + 1) = 2;
                        changed += call_chain(chain) == MUCH_LINKS + round + 1;
                }
        }
        check("much-code", got, 6 * MUCH_CHAINS);
        check("much-code-changed", changed, 3 * MUCH_CHAINS);
}

static void
test_interrupts(void)
{
        volatile u32 *apic = (volatile u32 *)0xfee00000;
        u64 at;

        apic[0xf0 / 4] = 0x1ff;
        last.count = 0;
        apic[0x300 / 4] = 0x40000 | 0x40; /* to self */
        __asm__ volatile("nop" ::: "memory");
        check("interrupt-held-with-if-clear", last.count, 0);
        __asm__ volatile("sti; 1: nop; cli; lea 1b(%%rip), %0" : "=r"(at) : : "memory");
        check("interrupt-after-sti-shadow", last.rip, at + 1);
        check("interrupt-vector", last.vector, 0x40);
        __asm__ volatile("mov %0, %%cr8" : : "r"(5ul));
        last.count = 0;
        apic[0x300 / 4] = 0x40000 | 0x40;
        __asm__ volatile("sti; nop; nop; cli" ::: "memory");
        check("interrupt-held-by-tpr", last.count, 0);
        __asm__ volatile("sti; mov %0, %%cr8; nop; nop; cli" : : "r"(0ul) : "memory");
        check("interrupt-when-tpr-falls", last.count, 1);
        apic[0x300 / 4] = 0x40000 | 0x41;
        __asm__ volatile("sti; hlt; cli" ::: "memory");
        check("interrupt-ends-hlt", last.vector, 0x41);
}

static void
copy_code(void *to, const u8 *from, const u8 *end)
{
        for (u8 *t = to; from != end;)
                *t++ = *from++;
}

USER_CODE(user_cs, "mov %cs, %eax; int $0x80");
USER_CODE(user_place, "lea user_place_data(%rip), %rax; call 1f; user_place_return: add %rcx, %rax; int $0x80\n"
                      "1: mov user_place_data(%rip), %ecx; add (%rsp), %rax; ret\n"
                      "user_place_data: .long 0x1234");
extern const u8 user_place_data[], user_place_return[];
USER_CODE(user_place_de, "xor %ecx, %ecx; div %ecx");
USER_CODE(user_place_gp, "nop; cli");
USER_CODE(user_place_pf, "nop; nop; mov 0x4003f000, %eax");
USER_CODE(user_peek, "mov 0x100000, %eax; int $0x80");
USER_CODE(user_syscall, "mov $0x23, %eax; syscall; int $0x80");
USER_CODE(user_cli, "cli; int $0x80");
/* 40 is INC EAX in 32-bit code and a prefix in 64-bit code. */
USER_CODE(user_compat, ".byte 0xb8, 5, 0, 0, 0, 0x40, 0x40, 0xcd, 0x80");

/* To 64-bit code from 32-bit code whose stack segment has a base: what is on the stack there. */
USER_CODE(user_call_64, ".code32; mov $0x43, %eax; mov %eax, %ss; .byte 0x9a; .long 0x4000a000 + 1f - user_call_64; "
                        ".word 0x2b; 1: .code64; pop %rax; int $0x80");

u64
user(const u8 *from, const u8 *end, u64 cs)
{
        copy_code((void *)PAGE(10), from, end);
        last = (struct fault){ 0 };
        resume = (u64)user_back;
        return run_user((void *)PAGE(10), cs, (u64)user_stack + sizeof(user_stack));
}

/* One page of user code at several linear addresses in turn, as libraries are in processes. */
static void
test_user_places(void)
{
        static const struct {
                const u8 *from, *end;
                u64 vector, at;
        } faults[] = { { user_place_de, user_place_de_end, 0, 2 }, { user_place_gp, user_place_gp_end, 13, 1 },
                { user_place_pf, user_place_pf_end, 14, 2 } };
        u64 places = 0, right = 0;

        for (unsigned n = 0; n < 4; n++)
                map(30 + n, FRAME(30) | P | W | U);
        copy_code((void *)PAGE(30), user_place, user_place_end);
        for (unsigned n = 0; n < 12; n++) {
                u64 page = PAGE(30 + n % 4);

                resume = (u64)user_back;
                right += run_user((void *)page, 0x2b, (u64)user_stack + sizeof(user_stack)) ==
                    2 * page + (u64)(user_place_data - user_place) + (u64)(user_place_return - user_place) + 0x1234;
        }
        check("user-code-at-four-places", right, 12);
        right = 0;
        for (unsigned i = 0; i < 3; i++) {
                copy_code((void *)PAGE(30), faults[i].from, faults[i].end);
                for (unsigned n = 0; n < 12; n++, places++) {
                        u64 page = PAGE(30 + n % 4);

                        last = (struct fault){ 0 };
                        resume = (u64)user_back;
                        (void)run_user((void *)page, 0x2b, (u64)user_stack + sizeof(user_stack));
                        right += last.vector == faults[i].vector && last.rip == page + faults[i].at && last.count == 1;
                }
        }
        check("user-faults-at-four-places", right, places);
}

static void
test_user_mode(void)
{
        map(10, FRAME(10) | P | W | U);
        wrmsr(0xc0000081, 0x1bul << 48 | 0x08ul << 32);
        wrmsr(0xc0000082, (u64)syscall_entry);
        wrmsr(0xc0000084, 0x200);
        check("user-64-bit", user(user_cs, user_cs_end, 0x2b), 0x2b);
        check("user-32-bit", user(user_compat, user_compat_end, 0x1b), 7);
        gdt[SPARE_GDT / 8] = 0x00cff3001000ffff; /* user data from 0x1000 on */
        check("user-far-call-to-64-bit", user(user_call_64, user_call_64_end, 0x1b), 0x1bul << 32 | (PAGE(10) + 14));
        check("user-syscall-sysret", user(user_syscall, user_syscall_end, 0x2b), 0x1023);
        (void)user(user_cli, user_cli_end, 0x2b);
        check("user-cli-faults", last.vector << 32 | last.error, 13ul << 32);
        page_l3[0] &= ~U;
        __asm__ volatile("mov %%cr3, %%rax; mov %%rax, %%cr3" ::: "rax", "memory");
        (void)user(user_peek, user_peek_end, 0x2b);
        check("user-reads-supervisor-page", last.vector << 32 | last.error, 14ul << 32 | 5);
        page_l3[0] |= U;
        __asm__ volatile("mov %%cr3, %%rax; mov %%rax, %%cr3" ::: "rax", "memory");
}

USER_CODE(user_spin, "sti; 1: jmp 1b");
USER_CODE(user_spin_two, "sti; 1: inc %rax; jmp 2f; nop; 2: dec %rbx; jmp 1b");
USER_CODE(user_spin_flags, "sti; xor %eax, %eax; 1: dec %rax; jne 1b; jmp 1b");
USER_CODE(user_spin_carry, "sti; xor %eax, %eax; 1: adc %rax, %rbx; jc 1b; jmp 1b");
USER_CODE(user_spin_load, "mov $0x4000a000, %ecx; sti; 1: add (%rcx), %rax; add 8(%rcx), %rbx; jmp 1b");
USER_CODE(user_spin_store, "sti; 1: incl 0x400(%rip); jmp 1b"); /* to the page of the code: each comes to C */
USER_CODE(user_spin_call, "sti; 1: call 2f; jmp 1b; 2: ret");
USER_CODE(user_spin_jump, "sti; lea 1f(%rip), %rcx; 1: jmp *%rcx");
USER_CODE(user_spin_jumps, "sti; lea 1f(%rip), %rcx; lea 2f(%rip), %rdx; 1: inc %rax; jmp *%rdx; 2: dec %rbx; push %rcx; ret");
USER_CODE(user_spin_string, "mov $0x4000a800, %ebx; sti; 1: mov %rbx, %rdi; mov $9, %ecx; rep stosb; jmp 1b");
USER_CODE(user_spin_cpuid, "sti; 1: xor %eax, %eax; cpuid; jmp 1b");

/* A timer's interrupts come through, whatever loop a program is in. */
static void
test_user_spins(void)
{
#define SPIN(name) { #name, user_##name, user_##name##_end }
        static const struct {
                const char *name;
                const u8 *from, *end;
        } loops[] = { SPIN(spin), SPIN(spin_two), SPIN(spin_flags), SPIN(spin_carry), SPIN(spin_load), SPIN(spin_store), SPIN(spin_call),
                SPIN(spin_jump), SPIN(spin_jumps), SPIN(spin_string), SPIN(spin_cpuid) };
#undef SPIN
        volatile u32 *apic = (volatile u32 *)0xfee00000;
        u64 flags;

        map(10, FRAME(10) | P | W | U);
        __asm__ volatile("pushfq; pop %0" : "=r"(flags));
        __asm__ volatile("push %0; popfq" : : "r"(flags | 3ul << 12) : "memory", "cc"); /* IOPL 3: STI is theirs */
        apic[0x3e0 / 4] = 0xb; /* by 1 */
        for (unsigned n = 0; n < sizeof(loops) / sizeof(loops[0]); n++) {
                ticks = 20;
                apic[0x320 / 4] = 0x20000 | TIMER_VECTOR;
                apic[0x380 / 4] = 500000;
                (void)user(loops[n].from, loops[n].end, 0x2b);
                apic[0x380 / 4] = 0;
                check(loops[n].name, last.vector << 32 | ticks, (u64)TIMER_VECTOR << 32);
                resume = 0;
        }
        __asm__ volatile("push %0; popfq" : : "r"(flags) : "memory", "cc");
        __asm__ volatile("sti; nop; nop; cli" ::: "memory"); /* one may be waiting still */
}

/* Code at CPL 3 with RFLAGS.AC; R10 is the address of 64 bytes in its page. */
#define USER_AC(name, insn)                                                                        \
        USER_CODE(name, "pushfq; orl $0x40000, (%rsp); popfq; mov $0x4000a800, %r10d; xor %eax, %eax;" insn \
                        "; mov $7, %eax; int $0x80")

USER_AC(ac_word, "mov 1(%r10), %ax");
USER_AC(ac_qword, "add %rax, 4(%r10)");
USER_AC(ac_push, "sub $4, %rsp; push %rax");
USER_AC(ac_fstp, "fldz; fstpt 4(%r10)");
USER_AC(ac_string, "lea 2(%r10), %rsi; lodsl");
USER_AC(ac_vector, "movups 1(%r10), %xmm0");
USER_AC(ac_bytes, "movb %al, 1(%r10); mov 4(%r10), %eax; mov 2(%r10), %ax");
USER_AC(ac_environment, "fnstenv 2(%r10)");

/* SDM 3A 6.15, interrupt 17: only with CR0.AM, RFLAGS.AC and CPL 3. */
static void
test_alignment(void)
{
        const u64 ac = 17ul << 32;
        u64 cr0;

        __asm__ volatile("mov %%cr0, %0" : "=r"(cr0));
        check("alignment-without-am", user(ac_word, ac_word_end, 0x2b), 7);
        __asm__ volatile("mov %0, %%cr0" : : "r"(cr0 | 0x40000));
        (void)user(ac_word, ac_word_end, 0x2b);
        check("alignment-of-word", last.vector << 32 | last.error, ac);
        (void)user(ac_qword, ac_qword_end, 0x2b);
        check("alignment-of-quadword", last.vector << 32 | last.error, ac);
        (void)user(ac_push, ac_push_end, 0x2b);
        check("alignment-of-push", last.vector << 32 | last.error, ac);
        (void)user(ac_fstp, ac_fstp_end, 0x2b);
        check("alignment-of-extended-real", last.vector << 32 | last.error, ac);
        (void)user(ac_string, ac_string_end, 0x2b);
        check("alignment-of-string", last.vector << 32 | last.error, ac);
        (void)user(ac_environment, ac_environment_end, 0x2b);
        check("alignment-of-environment", last.vector << 32 | last.error, ac);
        check("alignment-of-vector", user(ac_vector, ac_vector_end, 0x2b), 7);
        check("alignment-right", user(ac_bytes, ac_bytes_end, 0x2b), 7);
        __asm__ volatile("pushfq; orl $0x40000, (%%rsp); popfq" ::: "memory", "cc");
        TRY("cmpl $0, 1(%0)", "r"((u64)user_stack));
        __asm__ volatile("pushfq; andl $~0x40000, (%%rsp); popfq" ::: "memory", "cc");
        check("alignment-at-cpl-0", last.count, 0);
        __asm__ volatile("mov %0, %%cr0" : : "r"(cr0));
}

static void
test_double_fault(void)
{
        u64 sp;

        /* #PF whose frame cannot be pushed: #DF on its own stack. */
        map(12, 0);
        last = (struct fault){ 0 };
        __asm__ volatile("mov %%rsp, %0" : "=r"(sp));
        __asm__ volatile("mov %%rsp, %%rbx; lea 1f(%%rip), %%rax; mov %%rax, resume(%%rip); mov %%rsp, resume_sp(%%rip);"
                         "mov %0, %%rsp; push %%rax; 1: mov %%rbx, %%rsp"
                         : : "r"(PAGE(12) + 0x800) : "rax", "rbx", "memory");
        check("double-fault", last.vector << 32 | last.error, 8ul << 32);
        check("double-fault-rsp", last.rsp, PAGE(12) + 0x800);
}

static void
test_segments(void)
{
        u64 value = 0x1122334455667788, got;

        wrmsr(0xc0000101, (u64)&value);
        wrmsr(0xc0000102, 0);
        __asm__ volatile("mov %%gs:0, %0" : "=r"(got));
        check("gs-base", got, value);
        __asm__ volatile("swapgs; rdmsr; shl $32, %%rdx; or %%rdx, %%rax; swapgs"
                         : "=a"(got) : "c"(0xc0000102) : "rdx");
        check("swapgs", got, (u64)&value);
        __asm__ volatile("pushfq; orq $0x4000, (%%rsp); popfq" ::: "memory");
        TRY("iretq", "r"(0));
        __asm__ volatile("pushfq; andq $~0x4000, (%%rsp); popfq" ::: "memory");
        check("iret-with-nt-faults", last.vector << 32 | last.error, 13ul << 32);
        got = 0;
        __asm__ volatile("lsl %w1, %k0" : "+r"(got) : "r"(0x10));
        check("lsl", got, 0xffffffff);
        __asm__ volatile("lar %w1, %k0" : "+r"(got) : "r"(0x08));
        check("lar", got, 0x00af9b00);
}

/* ---- bad input: what the manual says of each is in the tables ---- */

#define TRIES(name)                                                                                \
        static u64 try_##name(u64 value)                                                           \
        {                                                                                          \
                TRY("mov %0, %%" #name, "r"(value));                                               \
                return outcome();                                                                  \
        }

TRIES(cr0)
TRIES(cr3)
TRIES(cr4)
TRIES(cr8)
TRIES(dr6)
TRIES(dr7)

/* The bits from @low to @high for which setting them beside @value has not the @wanted outcome. */
static u64
wrong_bits(u64 (*try_value)(u64), u64 value, unsigned low, unsigned high, u64 wanted)
{
        u64 wrong = 0;

        for (unsigned bit = low; bit <= high; bit++)
                if (try_value(value | 1ul << bit) != wanted)
                        wrong |= 1ul << bit;
        return wrong;
}

static unsigned
physical_bits(void)
{
        u32 a = 0x80000008, b, c = 0, d;

        __asm__ volatile("cpuid" : "+a"(a), "=b"(b), "+c"(c), "=d"(d));
        return a & 0xff;
}

/* SDM 3A 2.5 and 4.5: what must not be set. */
static void
test_reserved_control(void)
{
        u64 cr0 = read_cr0(), cr3 = read_cr3(), cr4 = read_cr4(), dr7 = read_dr7();

        check("cr0-upper-bits", wrong_bits(try_cr0, cr0, 32, 63, GP0), 0);
        check("cr0-reserved-lower-bits-are-ignored", wrong_bits(try_cr0, cr0, 6, 15, 0) | (read_cr0() ^ cr0), 0);
        check("cr0-nw-without-cd", try_cr0(cr0 | 0x20000000), GP0);
        check("cr0-pg-cleared-in-64-bit-code", try_cr0(cr0 & ~0x80000000ul), GP0);
        check("cr3-beyond-physical", wrong_bits(try_cr3, cr3, physical_bits(), 60, GP0), 0);
        check("cr4-upper-bits", wrong_bits(try_cr4, cr4, 29, 63, GP0) | wrong_bits(try_cr4, cr4, 15, 15, GP0), 0);
        check("cr4-pae-cleared", try_cr4(cr4 & ~0x20ul), GP0);
        check("cr4-la57-changed", try_cr4(cr4 ^ 0x1000), GP0);
        check("cr8-upper-bits", wrong_bits(try_cr8, 0, 4, 63, GP0), 0);
        check("dr6-upper-bits", wrong_bits(try_dr6, 0xffff0ff0, 32, 63, GP0), 0);
        check("dr7-upper-bits", wrong_bits(try_dr7, dr7, 32, 63, GP0), 0);
        TRY("mov %%dr4, %%r11", "r"(0));
        check("dr4-without-de", outcome(), 0);
        __asm__ volatile("mov %0, %%cr4" : : "r"(cr4 | 8));
        TRY("mov %%dr4, %%r11", "r"(0));
        check("dr4-with-de", outcome(), 6ul << 32);
        __asm__ volatile("mov %0, %%cr4" : : "r"(cr4));
}

static u64
try_wrmsr(u32 msr, u64 value)
{
        TRY("wrmsr", "c"(msr), "a"((u32)value), "d"((u32)(value >> 32)));
        return outcome();
}

static u64
try_efer(u64 value)
{
        return try_wrmsr(0xc0000080, value);
}

static void
test_reserved_msrs(void)
{
        /* FS, GS, kernel GS, LSTAR, CSTAR, SYSENTER_ESP and EIP hold addresses */
        static const u32 addresses[] = { 0xc0000100, 0xc0000101, 0xc0000102, 0xc0000082, 0xc0000083, 0x175, 0x176 };
        u64 efer = rdmsr(0xc0000080), wrong = 0;

        for (unsigned i = 0; i < sizeof(addresses) / sizeof(addresses[0]); i++)
                if (try_wrmsr(addresses[i], 0x800000000000) != GP0 || try_wrmsr(addresses[i], 0xffff7fffffffffff) != GP0)
                        wrong |= 1ul << i;
        check("msr-non-canonical", wrong, 0);
        check("efer-reserved", wrong_bits(try_efer, efer, 1, 7, GP0) | wrong_bits(try_efer, efer, 16, 63, GP0), 0);
        check("efer-lme-cleared-with-paging", try_efer(efer & ~0x100ul), GP0);
        check("pat-of-reserved-types", try_wrmsr(0x277, 2) | try_wrmsr(0x277, 3ul << 56) | try_wrmsr(0x277, 8), GP0);
        check("apic-base-reserved", try_wrmsr(0x1b, rdmsr(0x1b) | 1) | try_wrmsr(0x1b, rdmsr(0x1b) | 1ul << 60), GP0);
        TRY("rdmsr", "c"(0x12345678));
        check("rdmsr-unknown", outcome(), GP0);
}

/* Reserved bits at each level, SDM 3A 4.5.4: through the second entry of the topmost table. */
static void
test_reserved_paging(void)
{
        static u64 tables[3][512] __attribute__((aligned(4096)));
        u64 *top = (u64 *)(read_cr3() & ~0xffful);
        u64 good[4] = { (u64)tables[0] | P | W, (u64)tables[1] | P | W, (u64)tables[2] | P | W, FRAME(0) | P | W };
        u64 *entry[4] = { &top[1], tables[0], tables[1], tables[2] };
        u64 wrong = 0;

        for (unsigned level = 0; level < 4; level++) {
                for (unsigned i = 0; i < 4; i++)
                        *entry[i] = good[i];
                for (unsigned bit = physical_bits(); bit < 52; bit++) {
                        *entry[level] = good[level] | 1ul << bit;
                        __asm__ volatile("invlpg (%0)" : : "r"(1ul << 39) : "memory");
                        TRY("cmpb $0, (%0)", "r"(1ul << 39));
                        wrong |= outcome() != (14ul << 32 | 9) ? 1ul << bit : 0;
                }
                *entry[level] = good[level];
        }
        check("paging-beyond-physical", wrong, 0);
        top[1] |= 0x80;
        __asm__ volatile("invlpg (%0)" : : "r"(1ul << 39) : "memory");
        TRY("cmpb $0, (%0)", "r"(1ul << 39));
        check("paging-large-page-at-the-top", outcome(), 14ul << 32 | 9);
        top[1] &= ~0x80ul;
        wrong = 0;
        for (unsigned bit = 13; bit < 21; bit++) {
                *entry[2] = 1ul << bit | 0x80 | P | W;
                __asm__ volatile("invlpg (%0)" : : "r"(1ul << 39) : "memory");
                TRY("cmpb $0, (%0)", "r"(1ul << 39));
                wrong |= outcome() != (14ul << 32 | 9) ? 1ul << bit : 0;
        }
        check("paging-misaligned-large-page", wrong, 0);
        top[1] = 0;
        __asm__ volatile("mov %%cr3, %%rax; mov %%rax, %%cr3" ::: "rax", "memory");
}


/* Descriptors that must not be loaded: SDM 3A 3.4, 5, and MOV, LTR, LLDT, JMP in volume 2. */
static void
test_bad_descriptors(void)
{
        static const struct {
                char how; /* d: MOV to DS, s: to SS, t: LTR, l: LLDT, j: far JMP */
                u64 descriptor, wanted;
        } bad[] = {
                { 'd', 0x00cf13000000ffff, 11ul << 32 | SPARE_GDT }, /* not present */
                { 'd', 0x00cf98000000ffff, GP0 | SPARE_GDT },        /* code that cannot be read */
                { 'd', 0x0000890000000067, GP0 | SPARE_GDT },        /* a TSS */
                { 's', 0x00cf13000000ffff, 12ul << 32 | SPARE_GDT },
                { 's', 0x00cf91000000ffff, GP0 | SPARE_GDT }, /* read-only */
                { 's', 0x00cff3000000ffff, GP0 | SPARE_GDT }, /* DPL 3 */
                { 's', 0x00af9b000000ffff, GP0 | SPARE_GDT }, /* code */
                { 't', 0x00008b0000000067, GP0 | SPARE_GDT }, /* busy */
                { 't', 0x0000090000000067, 11ul << 32 | SPARE_GDT },
                { 't', 0x0000820000000067, GP0 | SPARE_GDT }, /* an LDT */
                { 'l', 0x0000890000000067, GP0 | SPARE_GDT }, /* a TSS */
                { 'l', 0x0000020000000067, 11ul << 32 | SPARE_GDT },
                { 'j', 0x00cf93000000ffff, GP0 | SPARE_GDT }, /* data */
                { 'j', 0x00ef9b000000ffff, GP0 | SPARE_GDT }, /* L and D */
                { 'j', 0x00af1b000000ffff, 11ul << 32 | SPARE_GDT },
                { 'j', 0x00affb000000ffff, GP0 | SPARE_GDT }, /* DPL 3 */
        };
        struct {
                u32 offset;
                u16 selector;
        } far = { 0x100000, SPARE_GDT };
        u64 wrong = 0;

        gdt[SPARE_GDT / 8 + 1] = 0;
        for (unsigned i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
                gdt[SPARE_GDT / 8] = bad[i].descriptor;
                switch (bad[i].how) {
                case 'd':
                        TRY("mov %w0, %%ds", "r"(SPARE_GDT));
                        break;
                case 's':
                        TRY("mov %w0, %%ss", "r"(SPARE_GDT));
                        break;
                case 't':
                        TRY("ltr %w0", "r"(SPARE_GDT));
                        break;
                case 'l':
                        TRY("lldt %w0", "r"(SPARE_GDT));
                        break;
                default:
                        TRY("ljmp *%0", "m"(far));
                        break;
                }
                wrong |= outcome() != bad[i].wanted ? 1ul << i : 0;
        }
        check("bad-descriptors", wrong, 0);
}

#define BAD 0x800000000000ul

/* Calls @at with RDI and RSI as given; a fault in it, wherever its stack is, comes back here. */
static u64
try_call(void *at, u64 rdi, u64 rsi)
{
        last = (struct fault){ 0 };
        __asm__ volatile("lea 1f(%%rip), %%rax; mov %%rax, resume(%%rip); mov %%rsp, resume_sp(%%rip); mov %%rsp, %%rbx;"
                         "call *%2; 1: mov %%rbx, %%rsp; movq $0, resume(%%rip); movq $0, resume_sp(%%rip)"
                         : "+D"(rdi), "+S"(rsi) : "r"(at)
                         : "rax", "rcx", "rdx", "rbx", "r8", "r9", "r10", "r11", "memory", "cc");
        return outcome();
}

static u64
run_code(const u8 *code, unsigned len, u64 rdi, u64 rsi)
{
        u8 *at = (u8 *)PAGE(20) + 0x100;

        map(20, FRAME(20) | P | W);
        for (unsigned i = 0; i < len; i++)
                at[i] = code[i];
        at[len] = 0xc3;
        return try_call(at, rdi, rsi);
}

struct code {
        u8 len, bytes[15];
        u64 wanted;
};

static u64
wrong_codes(const struct code *c, unsigned count, u64 rdi, u64 rsi)
{
        u64 wrong = 0;

        for (unsigned i = 0; i < count; i++)
                wrong |= run_code(c[i].bytes, c[i].len, rdi, rsi) != c[i].wanted ? 1ul << i : 0;
        return wrong;
}

#define WRONG_CODES(table, rdi, rsi) wrong_codes(table, sizeof(table) / sizeof(table[0]), rdi, rsi)

/* From now on #SS, #GP and #PF have a stack of their own: where they are raised there may be none. */
static void
use_fault_stack(void)
{
        static u8 stack[8192] __attribute__((aligned(16)));

        *(u64 *)(tss + 44) = (u64)stack + sizeof(stack);
        for (unsigned vector = 12; vector <= 14; vector++)
                gate(vector, (u64)stubs + vector * 16, 0x8e, 2);
}

static void
test_non_canonical(void)
{
        static const struct code codes[] = {
                { 2, { 0x8a, 0x07 }, GP0 },                   /* mov (rdi), al */
                { 2, { 0x88, 0x07 }, GP0 },                   /* mov al, (rdi) */
                { 3, { 0xf0, 0xff, 0x07 }, GP0 },             /* lock inc (rdi) */
                { 3, { 0x0f, 0xae, 0x07 }, GP0 },             /* fxsave */
                { 3, { 0x0f, 0xae, 0x3f }, GP0 },             /* clflush */
                { 3, { 0x0f, 0x18, 0x0f }, 0 },               /* prefetcht0 */
                { 3, { 0x0f, 0x01, 0x3f }, 0 },               /* invlpg */
                { 2, { 0xff, 0xe7 }, GP0 },                   /* jmp rdi */
                { 2, { 0xff, 0xd7 }, GP0 },                   /* call rdi */
                { 2, { 0x57, 0xc3 }, GP0 },                   /* push rdi; ret */
                { 2, { 0xff, 0x27 }, GP0 },                   /* jmp *(rdi) */
                { 5, { 0x48, 0x8d, 0x67, 0x08, 0x50 }, 12ul << 32 }, /* lea 8(rdi), rsp; push rax: #SS */
                { 4, { 0x48, 0x89, 0xfc, 0x58 }, 12ul << 32 },       /* mov rdi, rsp; pop rax */
                { 6, { 0x48, 0x8d, 0x67, 0x08, 0x0f, 0xa8 }, 12ul << 32 }, /* push gs */
                { 3, { 0x0f, 0x01, 0x17 }, GP0 },             /* lgdt (rdi) */
                { 3, { 0x0f, 0x01, 0x16 }, GP0 },             /* lgdt (rsi): a base that is not canonical */
                { 3, { 0x0f, 0x01, 0x1e }, GP0 },             /* lidt (rsi) */
                { 1, { 0xa4 }, GP0 },                         /* movsb */
                { 1, { 0xaa }, GP0 },                         /* stosb */
                { 4, { 0x48, 0x8b, 0x47, 0xfc }, GP0 },       /* mov -4(rdi), rax: across the end */
                { 10, { 0x6a, 0x10, 0x54, 0x9c, 0x6a, 0x08, 0x57, 0x48, 0xcf, 0x90 }, GP0 }, /* iretq */
        };
        static struct {
                u16 limit;
                u64 base;
        } __attribute__((packed)) pointer = { 0xfff, BAD };

        use_fault_stack();
        check("non-canonical", WRONG_CODES(codes, BAD, (u64)&pointer), 0);
}

/* SDM 2A, LOCK: only with what writes memory it read, of these instructions. */
static void
test_wrong_lock(void)
{
        static const struct code codes[] = {
                { 2, { 0xf0, 0x90 }, 6ul << 32 },
                { 3, { 0xf0, 0x89, 0x07 }, 6ul << 32 },             /* mov */
                { 3, { 0xf0, 0x01, 0xc0 }, 6ul << 32 },             /* add eax, eax */
                { 3, { 0xf0, 0x03, 0x07 }, 6ul << 32 },             /* add eax, (rdi) */
                { 3, { 0xf0, 0x39, 0x07 }, 6ul << 32 },             /* cmp */
                { 4, { 0xf0, 0x83, 0x3f, 0x00 }, 6ul << 32 },       /* cmp $0 */
                { 3, { 0xf0, 0x85, 0x07 }, 6ul << 32 },             /* test */
                { 3, { 0xf0, 0x8d, 0x07 }, 6ul << 32 },             /* lea */
                { 3, { 0xf0, 0xd1, 0x27 }, 6ul << 32 },             /* shl */
                { 4, { 0xf0, 0x0f, 0xa3, 0x07 }, 6ul << 32 },       /* bt */
                { 5, { 0xf0, 0x0f, 0xba, 0x27, 0x01 }, 6ul << 32 }, /* bt $1 */
                { 3, { 0xf0, 0xff, 0x37 }, 6ul << 32 },             /* push */
                { 2, { 0xf0, 0xa4 }, 6ul << 32 },                   /* movsb */
                { 3, { 0xf0, 0x0f, 0xa2 }, 6ul << 32 },             /* cpuid */
                { 2, { 0xf0, 0xf4 }, 6ul << 32 },                   /* hlt */
                { 5, { 0xf0, 0x0f, 0x6f, 0x07, 0x90 }, 6ul << 32 }, /* movq mm0 */
                { 6, { 0xf0, 0xc5, 0xf8, 0x28, 0x07, 0x90 }, 6ul << 32 }, /* vmovaps */
                { 3, { 0xf0, 0x01, 0x07 }, 0 },                     /* add (rdi), eax */
                { 3, { 0xf0, 0x87, 0x07 }, 0 },                     /* xchg */
                { 5, { 0xf0, 0x0f, 0xba, 0x2f, 0x01 }, 0 },         /* bts $1 */
                { 4, { 0xf0, 0x0f, 0xc7, 0x0f }, 0 },               /* cmpxchg8b */
        };

        map(21, FRAME(21) | P | W);
        check("wrong-lock", WRONG_CODES(codes, PAGE(21) + 0x800, PAGE(21)), 0);
}

/* Instructions of more than 15 bytes, and those that end in a page that is not there. */
static void
test_long_instructions(void)
{
        u8 *end = (u8 *)PAGE(23);
        u64 wrong = 0;

        map(22, FRAME(22) | P | W);
        map(23, 0);
        for (unsigned prefixes = 12; prefixes < 20; prefixes++) {
                u8 *at = end - prefixes - 2;

                for (unsigned i = 0; i < prefixes; i++)
                        at[i] = 0x2e;
                at[prefixes] = 0x90;
                at[prefixes + 1] = 0xc3;
                wrong |= try_call(at, 0, 0) != (prefixes < 15 ? 0 : GP0) ? 1ul << prefixes : 0;
        }
        check("instruction-length", wrong, 0);
        end[-1] = end[-2] = 0x2e;
        (void)try_call(end - 2, 0, 0);
        check("instruction-ends-in-absent-page", outcome() | last.cr2 << 40, 14ul << 32 | 0x10 | (u64)end << 40);
        check("instruction-ends-in-absent-page-rip", last.rip, (u64)end - 2);
        for (unsigned i = 1; i <= 15; i++)
                end[-(int)i] = 0x2e;
        check("instruction-too-long-before-absent-page", try_call(end - 15, 0, 0), GP0);
}

/* SDM 3A table 6-5: what a second exception makes of the first. */
static void
test_fault_in_fault(void)
{
        u64 saved = idt[13 * 2], ist = *(u64 *)(tss + 44);

        idt[13 * 2] &= ~(1ul << 47);
        TRY("cmpb $0, (%0)", "r"(BAD));
        check("gp-gate-absent-is-df", outcome(), 8ul << 32);
        idt[13 * 2] = saved;
        saved = idt[6 * 2];
        idt[6 * 2] &= ~(1ul << 47);
        TRY("ud2", "r"(0));
        check("ud-gate-absent-is-np", outcome(), 11ul << 32 | 6 * 8 | 3);
        idt[6 * 2] = saved ^ 1ul << 42; /* no gate at all */
        TRY("ud2", "r"(0));
        check("ud-gate-wrong-is-gp", outcome(), GP0 | 6 * 8 | 3);
        idt[6 * 2] = saved;
        saved = idt[0];
        idt[0] &= ~(1ul << 47);
        TRY("div %b0", "r"(0), "a"(1));
        check("de-gate-absent-is-df", outcome(), 8ul << 32);
        idt[0] = saved;
        saved = idt[14 * 2];
        idt[14 * 2] &= ~(1ul << 47);
        map(12, 0);
        TRY("cmpb $0, (%0)", "r"(PAGE(12)));
        check("pf-gate-absent-is-df", outcome(), 8ul << 32);
        idt[14 * 2] = saved;
        saved = idt[13 * 2];
        *(u64 *)(tss + 44) = PAGE(12) + 0x800; /* IST 2, in a page that is absent */
        idt[13 * 2] |= 2ul << 32;
        TRY("cmpb $0, (%0)", "r"(BAD));
        check("gp-then-pf-is-pf", outcome(), 14ul << 32 | 2);
        check("gp-then-pf-cr2", last.cr2 & ~0xffful, PAGE(12));
        idt[13 * 2] = saved;
        *(u64 *)(tss + 44) = ist;
        TRY("int $0x90", "r"(0));
        check("int-of-a-good-gate", outcome(), 0x90ul << 32);
        saved = idt[0x90 * 2];
        idt[0x90 * 2] &= ~(1ul << 47);
        TRY("int $0x90", "r"(0));
        check("int-gate-absent", outcome(), 11ul << 32 | 0x90 * 8 | 2);
        idt[0x90 * 2] = saved;
}

/* From a good page (24) to one that is absent (25), or read-only; and down from the good one (26) to the absent one. */
static void
test_bad_pages(void)
{
        static const struct code up[] = {
                { 4, { 0x48, 0x8b, 0x47, 0xfc }, 14ul << 32 },     /* mov -4(rdi), rax */
                { 4, { 0x0f, 0x10, 0x47, 0xf8 }, 14ul << 32 },     /* movups -8(rdi), xmm0 */
                { 4, { 0x48, 0x89, 0x47, 0xfc }, 14ul << 32 | 2 }, /* mov rax, -4(rdi) */
                { 5, { 0xf0, 0x48, 0xff, 0x47, 0xfc }, 14ul << 32 | 2 }, /* lock incq -4(rdi) */
                { 4, { 0x0f, 0xae, 0x47, 0x80 }, 14ul << 32 | 2 }, /* fxsave -128(rdi) */
                { 3, { 0xdb, 0x7f, 0xfc }, 14ul << 32 | 2 },       /* fstpt -4(rdi) */
                { 4, { 0x48, 0x89, 0xfc, 0x58 }, 14ul << 32 },     /* mov rdi, rsp; pop rax */
                { 4, { 0x48, 0x89, 0xfc, 0xc3 }, 14ul << 32 },
                { 5, { 0x48, 0x89, 0xfc, 0x48, 0xcf }, 14ul << 32 },
        };
        static const struct code down[] = {
                { 4, { 0x48, 0x89, 0xfc, 0x50 }, 14ul << 32 | 2 }, /* push */
                { 5, { 0x48, 0x89, 0xfc, 0xff, 0xd6 }, 14ul << 32 | 2 },    /* call */
                { 7, { 0x48, 0x89, 0xfc, 0xc8, 0x10, 0, 0 }, 14ul << 32 | 2 }, /* enter */
                { 4, { 0x48, 0x89, 0xfc, 0x9c }, 14ul << 32 | 2 }, /* pushf */
        };

        map(24, FRAME(24) | P | W);
        map(25, 0);
        map(26, FRAME(26) | P | W);
        __asm__ volatile("fninit");
        use_fault_stack();
        check("up-into-absent-page", WRONG_CODES(up, PAGE(25), 0), 0);
        check("up-into-absent-page-cr2", last.cr2, PAGE(25));
        check("down-into-absent-page", WRONG_CODES(down, PAGE(26), (u64)stubs), 0);
        check("down-into-absent-page-cr2", last.cr2, PAGE(26) - 8);
        map(25, FRAME(25) | P);
        check("up-into-read-only-page", run_code(up[2].bytes, up[2].len, PAGE(25), 0), 14ul << 32 | 3);
        map(25, 0);
        /* REP STOSB: what was done before the fault is done, and RCX and RDI say so */
        {
                u64 rcx = 100, rdi = PAGE(25) - 40;

                last = (struct fault){ 0 };
                __asm__ volatile("lea 1f(%%rip), %%r11; mov %%r11, resume(%%rip); rep stosb; 1: movq $0, resume(%%rip)"
                                 : "+c"(rcx), "+D"(rdi) : "a"(0x5a) : "r11", "memory", "cc");
                check("rep-into-absent-page", outcome() | rcx << 40, 14ul << 32 | 2 | 60ul << 40);
                check("rep-into-absent-page-rdi", rdi, PAGE(25));
                check("rep-into-absent-page-stored", *(volatile u8 *)(PAGE(25) - 1), 0x5a);
        }
}

#define CR_TO(cr, reg)                                                                              \
        ({                                                                                          \
                u64 got_;                                                                           \
                __asm__ volatile("stc; mov %%" #cr ", %%" #reg "; mov %%" #reg ", %0; sbbq $0, %0"   \
                                 : "=m"(got_) : : #reg, "cc", "memory");                            \
                got_ + 1;                                                                           \
        })
#define CR_WRONG(cr, value)                                                                                              \
        ((CR_TO(cr, rax) != (value)) | (CR_TO(cr, rbx) != (value)) << 1 | (CR_TO(cr, rcx) != (value)) << 2 |             \
            (CR_TO(cr, rdx) != (value)) << 3 | (CR_TO(cr, rsi) != (value)) << 4 | (CR_TO(cr, rdi) != (value)) << 5 |     \
            (CR_TO(cr, r8) != (value)) << 6 | (CR_TO(cr, r10) != (value)) << 7 | (CR_TO(cr, r11) != (value)) << 8 |      \
            (CR_TO(cr, r12) != (value)) << 9 | (CR_TO(cr, r15) != (value)) << 10)

/* MOV from control registers, to each kind of register, keeps flags here. */
static void
test_read_control(void)
{
        u64 value;

        __asm__ volatile("mov %0, %%cr2" : : "r"(0x123456789abcul));
        check("read-cr2", (u64)CR_WRONG(cr2, 0x123456789abcul), 0);
        __asm__ volatile("mov %%cr0, %0" : "=r"(value));
        check("read-cr0", (u64)CR_WRONG(cr0, value) | !(value & 1) << 20, 0);
        __asm__ volatile("mov %%cr3, %0" : "=r"(value));
        check("read-cr3", (u64)CR_WRONG(cr3, value), 0);
        __asm__ volatile("mov %%cr4, %0" : "=r"(value));
        check("read-cr4", (u64)CR_WRONG(cr4, value) | !(value & 0x20) << 20, 0);
        value = 5;
        last = (struct fault){ 0 };
        __asm__ volatile("lea 1f(%%rip), %%r11; mov %%r11, resume(%%rip); .byte 0x0f, 0x20, 0xf8; 1: movq $0, resume(%%rip)"
                         : "+a"(value) : : "r11", "memory"); /* mov cr7, rax */
        check("read-cr7", outcome() | value, 6ul << 32 | 5);
}

/* RDPKRU with @selector in ECX: the outcome; what it gave in *ret_value; and whether flags stay as they were. */
static u64
try_rdpkru(u32 selector, u64 *ret_value, u64 *ret_flags)
{
        u64 rax = 0x1111111122222222, rcx = selector | 0x100000000, rdx = 0x3333333344444444;

        last = (struct fault){ 0 };
        __asm__ volatile("lea 1f(%%rip), %%r11; mov %%r11, resume(%%rip); mov $0x7fffffff, %%r11d; add $1, %%r11d; stc; rdpkru;"
                         "1: pushfq; popq %3; movq $0, resume(%%rip)"
                         : "+a"(rax), "+c"(rcx), "+d"(rdx), "=r"(*ret_flags) : : "r11", "memory", "cc");
        *ret_value = rax ^ rdx << 32 ^ rdx;
        return outcome();
}

static void
test_pkru(void)
{
        u64 cr4 = read_cr4(), value, flags;
        u32 a = 7, b, c = 0, d;

        __asm__ volatile("cpuid" : "+a"(a), "=b"(b), "+c"(c), "=d"(d));
        check("rdpkru-without-pke", try_rdpkru(0, &value, &flags), 6ul << 32);
        if (!(c & 8))
                return;
        __asm__ volatile("mov %0, %%cr4" : : "r"(cr4 | 1 << 22) : "memory");
        __asm__ volatile("wrpkru" : : "a"(0x89abcde4), "c"(0), "d"(0));
        check("rdpkru", try_rdpkru(0, &value, &flags), 0);
        check("rdpkru-value", value, 0x89abcde4);
        check("rdpkru-flags", flags & 0x8d5, 0x895); /* OF SF AF PF CF of the addition, with CF set */
        check("rdpkru-with-a-selector", try_rdpkru(1, &value, &flags), GP0);
        check("rdpkru-with-a-selector-keeps", value, 0x1111111122222222ul ^ 0x4444444400000000ul ^ 0x3333333344444444ul);
        __asm__ volatile("wrpkru" : : "a"(0), "c"(0), "d"(0));
        __asm__ volatile("mov %0, %%cr4" : : "r"(cr4) : "memory");
}

int
main(void)
{
        mask_pic();
        set_up();
        test_page_faults();
        test_accessed_dirty();
        test_general_faults();
        test_debug();
        test_changing_code();
        failures += test_strings();
        test_read_control();
        test_pkru();
        test_much_code();
        test_interrupts();
        test_user_mode();
        test_user_places();
        test_user_spins();
        failures += test_user_pages();
        test_alignment();
        test_double_fault();
        test_segments();
        test_reserved_control();
        test_reserved_msrs();
        test_reserved_paging();
        test_bad_descriptors();
        test_wrong_lock();
        test_long_instructions();
        test_fault_in_fault();
        test_non_canonical();
        test_bad_pages();
        put(failures == 0 ? "all passed\r\n" : "failures\r\n");
        out8(EXIT_PORT, (u8)failures);
        for (;;)
                __asm__ volatile("hlt");
}
