/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What user mode cannot show of a processor, checked by a guest in long mode:
 * faults with their error codes, debug traps, code that changes, interrupts,
 * privilege and mode switches.  Expected values are the manual's.
 * Prints "ok NAME" or "not ok NAME got expected" on COM1 and ends with the
 * number of failures through pc-testdev's exit port.
 */
#include "guest.h"

#define PAGE(n)  (0x40000000ul + (n) * 0x1000ul) /* linear addresses of 4 KiB pages for the tests */
#define FRAME(n) (0x800000ul + (n) * 0x1000ul)

#define P  1ul
#define W  2ul
#define U  4ul
#define A  0x20ul
#define D  0x40ul
#define NX (1ul << 63)

struct frame {
        u64 r15, r14, r13, r12, r11, r10, r9, r8, rdi, rsi, rbp, rbx, rdx, rcx, rax;
        u64 vector, error, rip, cs, rflags, rsp, ss;
};

struct fault {
        u64 count, vector, error, rip, cr2, dr6, rflags, rsp;
};

extern u64 page_l3[], page_l1[], gdt[];
extern u8 stubs[], tss[], user_back[], syscall_entry[];
u64 run_user(void *code, u64 cs, u64 stack);

static u64 page_l2_test[512] __attribute__((aligned(4096)));
static u64 idt[512] __attribute__((aligned(16)));
static u8 interrupt_stack[8192] __attribute__((aligned(16)));
static u8 ist_stack[8192] __attribute__((aligned(16)));
static u8 user_stack[8192] __attribute__((aligned(16)));
static struct fault last;
static u64 resume; /* where a fault goes on; 0: where it was */
static u64 resume_sp;
static u64 steps;

static u64
read_cr2(void)
{
        u64 value;

        __asm__ volatile("mov %%cr2, %0" : "=r"(value));
        return value;
}

static u64
read_dr6(void)
{
        u64 value;

        __asm__ volatile("mov %%dr6, %0" : "=r"(value));
        return value;
}

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
        if (f->vector == 0x80) {
                f->rip = (u64)user_back;
                f->cs = 8;
                f->ss = 0x10;
                f->rsp = (u64)interrupt_stack + 4096;
                return;
        }
        if (f->vector >= 0x30) {
                *(volatile u32 *)0xfee000b0 = 0; /* end of interrupt */
                return;
        }
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

static void
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
        TRY("call *%0", "r"(PAGE(0)));
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

#define USER_CODE(name, text)                                                                      \
        extern const u8 name[], name##_end[];                                                      \
        __asm__(".pushsection .rodata\n" #name ": " text "\n" #name "_end:\n.popsection")

USER_CODE(user_cs, "mov %cs, %eax; int $0x80");
USER_CODE(user_peek, "mov 0x100000, %eax; int $0x80");
USER_CODE(user_syscall, "mov $0x23, %eax; syscall; int $0x80");
USER_CODE(user_cli, "cli; int $0x80");
/* 40 is INC EAX in 32-bit code and a prefix in 64-bit code. */
USER_CODE(user_compat, ".byte 0xb8, 5, 0, 0, 0, 0x40, 0x40, 0xcd, 0x80");

static u64
user(const u8 *from, const u8 *end, u64 cs)
{
        copy_code((void *)PAGE(10), from, end);
        last = (struct fault){ 0 };
        resume = (u64)user_back;
        return run_user((void *)PAGE(10), cs, (u64)user_stack + sizeof(user_stack));
}

static void
wrmsr(u32 msr, u64 value)
{
        __asm__ volatile("wrmsr" : : "c"(msr), "a"((u32)value), "d"((u32)(value >> 32)));
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
        test_much_code();
        test_interrupts();
        test_user_mode();
        test_alignment();
        test_double_fault();
        test_segments();
        put(failures == 0 ? "all passed\r\n" : "failures\r\n");
        out8(EXIT_PORT, (u8)failures);
        for (;;)
                __asm__ volatile("hlt");
}
