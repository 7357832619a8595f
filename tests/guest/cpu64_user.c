/* SPDX-License-Identifier: BSD-2-Clause */
/* What user code sees of memory: its pages change, it loops over them, its pointers lead elsewhere, address spaces take turns. */
#include "cpu64.h"

/* What user code that accesses memory is told, in PAGE(40). */
struct parameters {
        u64 base, value, index;
};

#define PARAMETERS ((volatile struct parameters *)PAGE(40))
#define USER_ACCESS(name, insn) USER_CODE(name, "mov 0x40028000, %rcx; mov 0x40028008, %rax; mov 0x40028010, %rdx;" insn "; int $0x80")

USER_ACCESS(user_load, "mov (%rcx), %rax");
USER_ACCESS(user_load_far, "mov 0x100(%rcx), %rax");
USER_ACCESS(user_load_back, "mov -0x100(%rcx), %rax");
USER_ACCESS(user_load_sum, "mov (%rcx,%rdx,8), %rax");
USER_ACCESS(user_load_index, "mov %edx, %edx; mov (%rcx,%rdx,8), %rax");
USER_ACCESS(user_load_signed, "movslq %edx, %rdx; mov (%rcx,%rdx,8), %rax");
USER_ACCESS(user_load_drift, "mov (%rcx), %rbx; add $0x800, %rcx; add (%rcx), %rbx; sub $0xc00, %rcx; mov 0x400(%rcx), %rax; add %rbx, %rax");
USER_ACCESS(user_store, "mov %rax, (%rcx); mov $7, %eax");
USER_ACCESS(user_add, "add %rax, (%rcx); mov $7, %eax");
USER_ACCESS(user_push_at, "mov %rcx, %rsp; push %rax");
/* Loops of one block; RAX turns. */
USER_ACCESS(user_walk, "xor %esi, %esi; 1: add (%rcx), %rsi; add $8, %rcx; dec %eax; jne 1b; mov %rsi, %rax");
USER_ACCESS(user_walk_back, "xor %esi, %esi; 1: sub $8, %rcx; add (%rcx), %rsi; dec %eax; jne 1b; mov %rsi, %rax");
USER_ACCESS(user_walk_sum, "xor %esi, %esi; 1: add (%rcx,%rdx,8), %rsi; inc %rdx; dec %eax; jne 1b; mov %rsi, %rax");
USER_ACCESS(user_walk_r10, "mov %rcx, %r10; xor %r11d, %r11d; 1: add (%r10), %r11; lea 8(%r10), %r10; dec %eax; jne 1b; mov %r11, %rax");
USER_ACCESS(user_walk_push, "mov %rcx, %rsp; 1: push %rax; dec %eax; jne 1b");
USER_ACCESS(user_walk_copy, "lea 0x1000(%rcx), %rbx; 1: mov (%rcx,%rdx,8), %rsi; mov %rsi, (%rbx,%rdx,8); inc %rdx; dec %eax; jne 1b");
USER_ACCESS(user_walk_jump, "xor %esi, %esi; 1: test %eax, %eax; je 2f; add (%rcx), %rsi; add $8, %rcx; dec %eax; jmp 1b; 2: mov %rsi, %rax");
/* Both ways through memory at once, and a third place: more than there are temporaries. */
USER_ACCESS(user_walk_three, "lea 0xff8(%rcx), %rbx; xor %esi, %esi; mov %rcx, %rdi; 1: add (%rcx), %rsi; add $8, %rcx; sub (%rbx), %rsi; sub $8, %rbx;"
                             "add (%rdi,%rdx,8), %rsi; inc %rdx; dec %eax; jne 1b; mov %rsi, %rax");
/* An access that is made in the last turn only, RDX further each turn. */
USER_ACCESS(user_walk_masked, "vpxor %xmm0, %xmm0, %xmm0; vpcmpeqd %xmm2, %xmm2, %xmm2; 1: vpmaskmovd (%rcx), %xmm0, %xmm1; add %rdx, %rcx; dec %eax; jne 1b;"
                              "vpmaskmovd (%rcx), %xmm2, %xmm1; vmovq %xmm1, %rax");
/* A function that adds up what RAX pairs of pointers lead to, by copies of them, sums and what is near them. */
USER_ACCESS(user_pairs, "mov %rcx, %rsi; xor %ebx, %ebx; 1: call 2f; add $16, %rsi; dec %eax; jne 1b; mov %rbx, %rax; int $0x80;"
                        "2: mov (%rsi), %rcx; mov 8(%rsi), %rdx; mov (%rcx), %rdi; mov 8(%rdx), %r8; mov %rcx, %r9; lea 8(%rdx), %rbp;"
                        "lea 16(%rdi,%r8), %rdi; mov 8(%r9), %r8; mov -8(%rbp), %r10; lea (%rdi,%r8), %rdi; add %r10, %rdi;"
                        "mov $2, %r8d; mov (%rcx,%r8,4), %r11; add %r11, %rdi; add %rdi, %rbx; ret");
/* Calls and jumps by what the pointers lead to. */
USER_ACCESS(user_calls, "mov %rcx, %rsi; xor %ebx, %ebx; 1: call 2f; add $16, %rsi; dec %eax; jne 1b; mov %rbx, %rax; int $0x80;"
                        "2: mov (%rsi), %rcx; stc; call *(%rcx); mov 8(%rsi), %rcx; stc; jmp *8(%rcx);"
                        "user_calls_one: adc $2, %rbx; ret; user_calls_two: adc $0x100, %rbx; ret");
extern const u8 user_calls_one[], user_calls_two[];
/* To RCX, by each kind of branch; what is there has RDX, the carry flag set and R10 as they were. */
#define USER_BRANCH(name, insn) USER_ACCESS(name, "lea 1f(%rip), %rbx; mov $6, %r10d; stc;" insn "; 1: adc %r10, %rax")
USER_BRANCH(user_jump_to, "user_jump_to_at: jmp *%rcx");
USER_BRANCH(user_call_to, "user_call_to_at: call *%rcx");
USER_BRANCH(user_return_to, "lea -32(%rsp), %rsp; mov %rcx, (%rsp); user_return_to_at: ret");
USER_BRANCH(user_return_far_to, "lea -32(%rsp), %rsp; mov %rcx, (%rsp); user_return_far_to_at: ret $24");
USER_BRANCH(user_jump_by, "mov %rcx, -16(%rsp); user_jump_by_at: jmp *-16(%rsp)");
extern const u8 user_jump_to_at[], user_call_to_at[], user_return_to_at[], user_return_far_to_at[], user_jump_by_at[];
USER_ACCESS(user_chase, "1: mov (%rcx), %rcx; dec %eax; jne 1b; mov %rcx, %rax");
/* RSP comes to lie elsewhere, without an access, and one is made there: RAX times RDX further, or by a single instruction. */
#define USER_STACK(name, insn) USER_ACCESS(name, insn "; push $0x77")
USER_STACK(user_stack_steps, "mov %rcx, %rsp; cmp $0, %rdx; jl 2f; 1: lea 0x8000(%rsp), %rsp; dec %eax; jne 1b; jmp 3f; 2: sub $0x8000, %rsp; dec %eax; jne 2b; 3:");
USER_STACK(user_stack_two_steps, "mov %rcx, %rsp; cmp $0, %rdx; jl 2f; 1: add $0x8000, %rsp; jmp 4f; nop; 4: dec %eax; jne 1b; jmp 3f;"
                                 "2: lea -0x8000(%rsp), %rsp; jmp 5f; nop; 5: dec %eax; jne 2b; 3:");
USER_STACK(user_stack_step, "mov %rcx, %rsp; imul %rdx, %rax; shl $15, %rax; add %rax, %rsp");
USER_STACK(user_stack_exchange, "xchg %rcx, %rsp; imul %rdx, %rax; shl $15, %rax; lea (%rsp,%rax), %rsp");
USER_STACK(user_stack_long_step, "mov %rcx, %rsp; imul %rdx, %rax; shl $15, %rax; sub $0x70000000, %rax; add %rax, %rsp; add $0x70000000, %rsp");
USER_STACK(user_stack_and, "imul %rdx, %rax; shl $15, %rax; lea 0x3f(%rcx,%rax), %rsp; and $-64, %rsp");
USER_STACK(user_stack_leave, "imul %rdx, %rax; shl $15, %rax; lea -8(%rcx,%rax), %rbp; leave");
USER_STACK(user_stack_pop, "imul %rdx, %rax; shl $15, %rax; add %rcx, %rax; push %rax; pop %rsp");
USER_STACK(user_stack_enter, "imul %rdx, %rax; shl $15, %rax; lea 0x28(%rcx,%rax), %rsp; enter $0x20, $0");
USER_STACK(user_stack_wild, "mov $1, %ebx; shl $47, %rbx; mov %rbx, %rsp; lea 8(%rsp), %rsp; neg %rbx; mov %rbx, %rsp; imul %rdx, %rax; shl $15, %rax;"
                            "lea (%rcx,%rax), %rsp");
USER_ACCESS(user_pushes, "mov %rcx, %rsp; push %rax; mov %rax, %rsi; push %rdx; lea 1(%rax), %rdi; push %rsi; push %rdi; push %rax; pop %rax");
USER_ACCESS(user_pops, "mov %rcx, %rsp; pop %rbx; mov %rax, %rsi; pop %rbp; pop %r12; test %rdi, %rdi; pop %r13; push %rbx; pop %rbx");
USER_ACCESS(user_push_divide, "mov %rcx, %rsp; push %rax; push %rdx; xor %edx, %edx; div %rdx; pop %rax");
USER_ACCESS(user_push_rsp, "mov %rcx, %rsp; push %rax; push %rsp; pop %rax; sub %rcx, %rax; push %rax; mov %rsp, %rbx; sub %rcx, %rbx; shl $8, %rbx; add %rbx, %rax;"
                           "push %rax; push %rdx; mov (%rsp), %rbx; add 8(%rsp), %rbx; pop %rax; pop %rax; mov %rbx, %rax");
USER_ACCESS(user_change_code, "movl $0x22, 1f+1(%rip); jmp 1f; 1: mov $0x11, %eax");

/* As many cycles as RAX says. */
USER_ACCESS(user_burn, "mov %rax, %rsi; rdtsc; shl $32, %rdx; or %rdx, %rax; mov %rax, %rbx; 1: rdtsc; shl $32, %rdx; or %rdx, %rax; sub %rbx, %rax; cmp %rsi, %rax; jb 1b");

static u64
user_at(const u8 *from, const u8 *end, u64 base, u64 value, u64 index)
{
        PARAMETERS->base = base;
        PARAMETERS->value = value;
        PARAMETERS->index = index;
        return user(from, end, 0x2b);
}

#define USER_AT(name, base, value, index) user_at(name, name##_end, base, value, index)

static void
write_cr3(u64 value)
{
        __asm__ volatile("mov %0, %%cr3" : : "r"(value) : "memory");
}

/* What user code sees of memory while its pages change: the processor may keep only what INVLPG and CR3 have not ended (SDM 3A 4.10). */
static void
test_user_memory(void)
{
        u64 page = PAGE(41);

        map(40, FRAME(40) | P | W | U);
        for (unsigned n = 41; n < 48; n++)
                *(volatile u64 *)FRAME(n) = n;
        map(41, FRAME(41) | P | W | U);
        check("user-load", USER_AT(user_load, page, 0, 0), 41);
        map(41, FRAME(42) | P | W | U);
        check("user-load-after-invlpg", USER_AT(user_load, page, 0, 0), 42);
        page_l1[41] = FRAME(43) | P | W | U;
        write_cr3(read_cr3());
        check("user-load-after-cr3", USER_AT(user_load, page, 0, 0), 43);
        check("user-clean-page", page_l1[41] & (A | D), A);
        check("user-store", USER_AT(user_store, page, 0x4343, 0) << 32 | *(volatile u64 *)FRAME(43), 7ul << 32 | 0x4343);
        check("user-dirty-page", page_l1[41] & (A | D), A | D);
        check("user-add", USER_AT(user_add, page, 1, 0) << 32 | *(volatile u64 *)FRAME(43), 7ul << 32 | 0x4344);
        map(41, FRAME(43) | P | U);
        (void)USER_AT(user_store, page, 1, 0);
        check("user-store-protected", outcome(), PF(7));
        check("user-load-protected", USER_AT(user_load, page, 0, 0), 0x4344);
        (void)USER_AT(user_add, page, 1, 0);
        check("user-add-protected", outcome(), PF(7));
        map(41, FRAME(43) | P | W);
        (void)USER_AT(user_load, page + 8, 0, 0);
        check("user-load-supervisor", outcome(), PF(5));
        map(41, 0);
        (void)USER_AT(user_load, page + 0x18, 0, 0);
        check("user-load-absent", outcome(), PF(4));
        check("user-load-absent-cr2", last.cr2, page + 0x18);
        map(41, FRAME(44) | P | W | U);
        check("user-load-present-again", USER_AT(user_load, page, 0, 0), 44);
        *(volatile u64 *)FRAME(44) = 1;
        *(volatile u64 *)(FRAME(44) + 0x800) = 0x20;
        check("user-load-drift", USER_AT(user_load_drift, page, 0, 0), 1 + 0x20 + 1);
}

/* A third of a second of user code, some of it new each time: an engine that treats code otherwise that runs for long is to do so. */
static void
run_for_long(void)
{
        for (unsigned n = 0; n < 10; n++) {
                (void)USER_AT(user_change_code, 0, 0, 0);
                (void)USER_AT(user_burn, 0, 80000000, 0);
        }
}

/* Pages 50 to 89 are read and written; some of them change, and CR3 is loaded, which is all that says so (SDM 3A 4.10.4.1). */
static void
test_user_reloads(void)
{
        const u64 all = P | W | U;
        u64 right = 0, stored = 0, sum = 0;

        for (unsigned n = 50; n < 90; n++) {
                for (unsigned k = 0; k < 512; k++)
                        ((volatile u64 *)FRAME(n))[k] = k < 2 ? n : 0;
                map(n, FRAME(n) | all);
        }
        *(volatile u64 *)FRAME(95) = 95;
        run_for_long();
        for (unsigned turn = 0; turn < 3; turn++) {
                for (unsigned n = 50; n < 90; n++)
                        stored += USER_AT(user_store, PAGE(n) + 16, n, 0) == 7 && *(volatile u64 *)(FRAME(n) + 16) == n;
                sum += USER_AT(user_walk, PAGE(50), 40 * 512, 0);
                write_cr3(read_cr3());
        }
        check("user-reloads-stored", stored, 3 * 40);
        check("user-reloads-sum", sum, 3ul * 3 * (50 + 89) * 20);
        run_for_long();
        for (unsigned n = 50; n < 90; n++)
                stored += USER_AT(user_store, PAGE(n) + 16, 0, 0) == 7 && USER_AT(user_load, PAGE(n) + 16, 0, 0) == 0;
        check("user-reloads-stored-again", stored, 4 * 40);
        page_l1[52] = FRAME(95) | all;
        page_l1[54] = 0;
        page_l1[56] = FRAME(56) | P | U | A;
        page_l1[58] = FRAME(58) | P | W | A | D;
        page_l1[60] = FRAME(60) | all | D;
        page_l1[62] = FRAME(62) | all | A;
        page_l1[64] = FRAME(65) | all | A | D;
        page_l1[65] = FRAME(64) | all | A | D;
        page_l1[66] = FRAME(66) | all | A | D | 1ul << 51;
        write_cr3(read_cr3());
        for (unsigned n = 50; n < 90; n++) {
                u64 wanted = n == 52 ? 95 : n == 64 || n == 65 ? 129 - n : n;

                if (n != 54 && n != 58 && n != 66)
                        right += USER_AT(user_load, PAGE(n), 0, 0) == wanted;
        }
        check("user-reloads", right, 37);
        check("user-reloads-accessed", page_l1[60] & (A | D), A | D);
        check("user-reloads-clean", page_l1[62] & (A | D), A);
        (void)USER_AT(user_store, PAGE(62), 1, 0);
        check("user-reloads-dirty", page_l1[62] & (A | D), A | D);
        (void)USER_AT(user_load, PAGE(54), 0, 0);
        check("user-reloads-absent", outcome(), PF(4));
        (void)USER_AT(user_store, PAGE(56), 1, 0);
        check("user-reloads-protected", outcome(), PF(7));
        (void)USER_AT(user_load, PAGE(58), 0, 0);
        check("user-reloads-supervisor", outcome(), PF(5));
        (void)USER_AT(user_load, PAGE(66), 0, 0);
        check("user-reloads-reserved", outcome(), PF(13));
        for (unsigned n = 50; n < 90; n++)
                map(n, 0);
}

/* The same for a large page, and one that a table of small ones takes the place of. */
static void
test_user_large_reloads(void)
{
        static u64 l1[512] __attribute__((aligned(4096)));
        const u64 at = 0x40200000, large = P | W | U | 0x80;
        u64 right = 0;

        for (unsigned n = 0; n < 512; n++) {
                *(volatile u64 *)(0x1000000ul + n * 0x1000) = n + 1;
                *(volatile u64 *)(0x1200000ul + n * 0x1000) = 2 * n + 1000;
                l1[n] = (n % 4 == 1 ? 0x1000000 : 0x1200000) + n * 0x1000ul + (P | W | U);
        }
        page_l2_test[1] = 0x1000000 | large;
        run_for_long();
        for (unsigned turn = 0; turn < 4; turn++) {
                if (turn == 2)
                        page_l2_test[1] = 0x1200000 | large;
                if (turn == 3)
                        page_l2_test[1] = (u64)l1 | P | W | U;
                write_cr3(read_cr3());
                for (unsigned n = 0; n < 512; n++) {
                        u64 wanted = turn < 2 || (turn == 3 && n % 4 == 1) ? n + 1 : 2 * n + 1000;

                        right += USER_AT(user_load, at + n * 0x1000, 0, 0) == wanted;
                }
                (void)USER_AT(user_store, at + 0x8, 1, 0);
        }
        check("user-large-reloads", right, 4 * 512);
        page_l2_test[1] = 0x1200000 | large;
        run_for_long();
        write_cr3(read_cr3());
        check("user-large-reloads-again", USER_AT(user_load, at + 0x5000, 0, 0), 1010);
        check("user-large-reloads-store", USER_AT(user_store, at + 0x5010, 0, 0), 7);
        page_l2_test[1] = 0x1200000 | large | A; /* clean */
        write_cr3(read_cr3());
        check("user-large-reloads-clean", USER_AT(user_load, at + 0x5000, 0, 0) | (page_l2_test[1] & (A | D)) << 32, 1010 | A << 32);
        (void)USER_AT(user_store, at + 0x5000, 5, 0);
        check("user-large-reloads-dirty", page_l2_test[1] & (A | D), A | D);
        page_l2_test[1] = 0;
        write_cr3(read_cr3());
        (void)USER_AT(user_load, at, 0, 0);
        check("user-large-reloads-absent", outcome(), PF(4));
}

static void
write_cr4(u64 value)
{
        __asm__ volatile("mov %0, %%cr4" : : "r"(value) : "memory");
}

static int
has_avx(void)
{
        u32 a = 1, b, c, d;

        __asm__ volatile("cpuid" : "+a"(a), "=b"(b), "=c"(c), "=d"(d));
        return c >> 28 & 1;
}

/* Loops over the pages at @border - 4096 and @border: what was looked up before one serves all its turns. */
static void
test_user_loops(u64 border)
{
        volatile u64 *low = (volatile u64 *)FRAME(45), *high = (volatile u64 *)FRAME(46);
        u64 sum = 0, half = 0, three = 0, cr4 = read_cr4();

        for (u64 n = 0; n < 512; n++) {
                low[n] = n * 0x10001;
                high[n] = n * 0x1000003;
        }
        for (u64 n = 0; n < 512; n++) {
                sum += low[n] + high[n];
                half += n >= 256 ? low[n] : high[n];
                three += low[n] - low[511 - n] + low[n];
        }
        check("user-loop", USER_AT(user_walk, border - 4096, 1024, 0), sum);
        check("user-loop-back", USER_AT(user_walk_back, border + 4096, 1024, 0), sum);
        check("user-loop-sum", USER_AT(user_walk_sum, border - 4096, 1024, 0), sum);
        check("user-loop-sum-from-above", USER_AT(user_walk_sum, border, 512, -256ul), half);
        check("user-loop-r10", USER_AT(user_walk_r10, border - 4096, 1024, 0), sum);
        check("user-loop-jump", USER_AT(user_walk_jump, border - 4096, 1024, 0), sum);
        check("user-loop-three", USER_AT(user_walk_three, border - 4096, 512, 0), three);
        (void)USER_AT(user_walk, border - 4096, 1025, 0);
        check("user-loop-leaves-memory", outcome(), PF(4));
        check("user-loop-leaves-memory-cr2", last.cr2, border + 4096);
        (void)USER_AT(user_walk_sum, border - 4096, 1025, 0);
        check("user-loop-sum-leaves-memory-cr2", last.cr2, border + 4096);
        (void)USER_AT(user_walk, (1ul << 47) - 8, 8, 0);
        check("user-loop-below-the-hole", outcome(), PF(4));
        (void)USER_AT(user_walk_copy, border - 4096, 512, 0);
        half = 0;
        for (u64 n = 0; n < 512; n++)
                half += high[n] == n * 0x10001;
        check("user-loop-copy", half, 512);
        (void)USER_AT(user_walk_push, border + 4096, 1024, 0);
        half = 0;
        for (u64 n = 0; n < 512; n++)
                half += (high[n] == 513 + n) + (low[n] == 1 + n);
        check("user-loop-push", half, 1024);
        if (!has_avx())
                return;
        write_cr4(cr4 | 1ul << 18 | 1ul << 9);
        __asm__ volatile("xsetbv" : : "c"(0), "a"(7), "d"(0));
        low[8] = 0x1122334455667788;
        check("user-loop-masked", USER_AT(user_walk_masked, border - 4096 + 64 - 1000 * 0x3000000ul, 1000, 0x3000000), 0x1122334455667788);
        check("user-loop-masked-back", USER_AT(user_walk_masked, border - 4096 + 64 + 1000 * 0x3000000ul, 1000, -0x3000000ul), 0x1122334455667788);
        write_cr4(cr4);
}

/* The same code with pointers to one piece of 4 GiB, then to another: where they pointed once is no promise. */
static void
test_user_pointers(u64 border)
{
        const u64 place[4] = { PAGE(43) + 0x10, border - 0x20, border + 0x200, PAGE(44) + 0xf00 };
        volatile u64 *memory[4] = { (u64 *)(FRAME(43) + 0x10), (u64 *)(FRAME(45) + 0xfe0), (u64 *)(FRAME(46) + 0x200), (u64 *)(FRAME(47) + 0xf00) };
        const struct {
                const char *name;
                u64 to, outcome;
        } bad[] = { { "user-pairs-absent", PAGE(46), PF(4) }, { "user-pairs-absent-far", border + 0x1000, PF(4) },
                { "user-pairs-upper-half", -1ul << 47, PF(4) }, { "user-pairs-top", -0x1000ul, PF(4) }, { "user-pairs-not-canonical", 1ul << 47, GP0 },
                { "user-pairs-no-number", 0xffffffff00000000, PF(4) }, { "user-pairs-beyond-the-table", border | 1ul << 62, GP0 } };
        volatile u64 *pairs = (volatile u64 *)(FRAME(47) + 0x100), sum = 0;

        for (unsigned n = 0; n < 4; n++) {
                memory[n][0] = 0x1000 << n;
                memory[n][1] = 0x1000000 << n;
        }
        for (unsigned n = 0; n < 16; n++) {
                volatile u64 *a = memory[n / 4], *b = memory[n % 4];

                pairs[2 * n] = place[n / 4];
                pairs[2 * n + 1] = place[n % 4];
                sum += a[0] + b[1] + 16 + a[1] + b[0] + a[1];
        }
        check("user-pairs", USER_AT(user_pairs, PAGE(44) + 0x100, 16, 0), sum);
        for (unsigned n = 0; n < sizeof(bad) / sizeof(bad[0]); n++) {
                for (unsigned second = 0; second < 2; second++) {
                        u64 good = pairs[16 + second];

                        pairs[16 + second] = bad[n].to;
                        (void)USER_AT(user_pairs, PAGE(44) + 0x100, 16, 0);
                        check(bad[n].name, outcome(), bad[n].outcome);
                        if (bad[n].outcome != GP0)
                                check(bad[n].name, last.cr2, bad[n].to + 8 * second);
                        pairs[16 + second] = good;
                }
        }
        for (unsigned n = 0; n < 4; n++) {
                memory[n][0] = PAGE(10) + (u64)(user_calls_one - user_calls);
                memory[n][1] = PAGE(10) + (u64)(user_calls_two - user_calls);
        }
        check("user-calls", USER_AT(user_calls, PAGE(44) + 0x100, 16, 0), 16 * 0x104);
        pairs[20] = PAGE(46) + 8;
        (void)USER_AT(user_calls, PAGE(44) + 0x100, 16, 0);
        check("user-calls-by-absent-cr2", last.cr2, PAGE(46) + 8);
        check("user-calls-by-absent-flags", last.rflags & 1, 1);
        pairs[20] = place[3];
        pairs[21] = 1ul << 47;
        (void)USER_AT(user_calls, PAGE(44) + 0x100, 16, 0);
        check("user-jumps-by-not-canonical", outcome(), GP0);
        for (unsigned n = 0; n < 4; n++)
                memory[n][0] = place[(n + 1) % 4];
        check("user-chase", USER_AT(user_chase, place[0], 1001, 0), place[1]);
        memory[2][0] = PAGE(46) + 0x48;
        (void)USER_AT(user_chase, place[0], 1001, 0);
        check("user-chase-leaves-memory-cr2", last.cr2, PAGE(46) + 0x48);
}

/* Code at @frame: mov $value, %eax; jmp *%rbx. */
static void
put_code(u64 frame, u32 value)
{
        *(volatile u64 *)frame = 0xe3ff00000000b8 | (u64)value << 8;
}

/*
 * Branches to other pages, whose code changes or is mapped elsewhere; and to addresses that are not canonical, where the
 * branch itself faults and has done nothing (SDM 2A, JMP, CALL, RET).
 */
static void
test_user_targets(void)
{
#define BRANCH(name, pushed) { #name, name, name##_end, name##_at, pushed }
        static const struct {
                const char *name;
                const u8 *from, *end, *at;
                u64 pushed; /* bytes on the stack before it */
        } branch[] = { BRANCH(user_jump_to, 0), BRANCH(user_call_to, 0), BRANCH(user_return_to, 32), BRANCH(user_return_far_to, 32),
                BRANCH(user_jump_by, 0) };
#undef BRANCH
        const u64 code = PAGE(45), bad[] = { 1ul << 47, 1ul << 63 | code, 1ul << 61 | code, 1ul << 48 | code, 0xffff7ffffffff000 };
        u64 stack = (u64)user_stack + sizeof(user_stack);

        for (unsigned n = 0; n < sizeof(branch) / sizeof(branch[0]); n++) {
                const u8 *from = branch[n].from, *end = branch[n].end;
                u64 right = 0;

                map(44, FRAME(44) | P | W | U);
                map(45, FRAME(45) | P | W | U);
                put_code(FRAME(45), 0x100);
                put_code(FRAME(46), 0x200);
                for (unsigned turn = 0; turn < 3; turn++)
                        right += user_at(from, end, code, 1, 0) == 0x107;
                check(branch[n].name, right, 3);
                put_code(FRAME(45), 0x300);
                check("user-targets-written", user_at(from, end, code, 1, 0), 0x307);
                map(45, FRAME(46) | P | W | U);
                check("user-targets-mapped-elsewhere", user_at(from, end, code, 1, 0), 0x207);
                page_l1[45] = FRAME(45) | P | W | U;
                write_cr3(read_cr3());
                check("user-targets-after-cr3", user_at(from, end, code, 1, 0), 0x307);
                for (unsigned k = 0; k < sizeof(bad) / sizeof(bad[0]); k++) {
                        (void)user_at(from, end, bad[k], 1, 0);
                        check("user-targets-not-canonical", outcome(), GP0);
                        check("user-targets-not-canonical-rip", last.rip, PAGE(10) + (u64)(branch[n].at - from));
                        check("user-targets-not-canonical-rsp", last.rsp, stack - branch[n].pushed);
                        check("user-targets-not-canonical-flags", last.rflags & 1, 1);
                }
                (void)user_at(from, end, -1ul << 47, 1, 0);
                check("user-targets-upper-half", outcome() | last.cr2 << 1, PF(0x14) | -1ul << 48);
                check("user-targets-upper-half-rip", last.rip, -1ul << 47);
                map(45, 0);
                (void)user_at(from, end, code + 0x10, 1, 0);
                check("user-targets-absent", outcome() << 8 ^ last.rip, PF(0x14) << 8 ^ (code + 0x10));
                /* An instruction that reaches into the page, from one that stays. */
                *(volatile u32 *)(FRAME(44) + 0xffc) = 0x00b89090;
                map(45, FRAME(45) | P | W | U);
                *(volatile u64 *)FRAME(45) = 0x9090e3ff000005;
                *(volatile u64 *)FRAME(46) = 0x9090e3ff000004;
                check("user-targets-across", user_at(from, end, code - 4, 1, 0), 0x507);
                map(45, FRAME(46) | P | W | U);
                check("user-targets-across-mapped-elsewhere", user_at(from, end, code - 4, 1, 0), 0x407);
        }
}

/* The stack pointer moves between pages on either side of @border, near and far, and to where nothing is. */
static void
test_user_stack(u64 border)
{
#define STACK(name) { #name, name, name##_end }
        static const struct {
                const char *name;
                const u8 *from, *end;
        } stack[] = { STACK(user_stack_steps), STACK(user_stack_two_steps), STACK(user_stack_step), STACK(user_stack_exchange),
                STACK(user_stack_long_step), STACK(user_stack_and), STACK(user_stack_leave), STACK(user_stack_pop), STACK(user_stack_enter),
                STACK(user_stack_wild) };
#undef STACK
        static const struct {
                u64 steps, way;
        } from[] = { { 1, 1 }, { 1, -1ul }, { 1ul << 17, 1 }, { 1ul << 17, -1ul }, { 20ul << 15, 1 }, { 1ul << 21, -1ul } };

        for (unsigned n = 0; n < sizeof(stack) / sizeof(stack[0]); n++)
                for (unsigned k = 0; k < sizeof(from) / sizeof(from[0]); k++)
                        for (unsigned side = 0; side < 2; side++) {
                                u64 to = border + (side == 0 ? -0x740ul : 0x8c0), moved = from[k].steps * from[k].way * 0x8000;
                                volatile u64 *slot = (volatile u64 *)(FRAME(45 + side) + ((to - 8) & 0xfff));

                                if (to < moved + border / 2 && from[k].way == 1) /* below the tests' own memory */
                                        continue;
                                *slot = 0;
                                (void)user_at(stack[n].from, stack[n].end, to - moved, from[k].steps, from[k].way);
                                check(stack[n].name, outcome() << 8 | *slot, 0x80ul << 40 | 0x77);
                                (void)user_at(stack[n].from, stack[n].end, to - moved + 0x10000000, from[k].steps, from[k].way);
                                check("user-stack-absent", outcome(), stack[n].from == user_stack_leave ? PF(4) : PF(6));
                        }
        for (unsigned n = 0; n < 5; n++) {
                (void)USER_AT(user_pushes, border - 0x1000 + 8 * n, 0, 0);
                check("user-pushes", outcome(), PF(6));
                check("user-pushes-cr2", last.cr2, border - 0x1008);
                check("user-pushes-rsp", last.rsp, border - 0x1000);
                if (n == 4) /* all have been made by then */
                        break;
                (void)USER_AT(user_pops, border + 0x1000 - 8 * n, 0, 0);
                check("user-pops", outcome(), PF(4));
                check("user-pops-cr2", last.cr2, border + 0x1000);
                check("user-pops-rsp", last.rsp, border + 0x1000);
        }
        (void)USER_AT(user_push_divide, border + 0x100, 1, 0);
        check("user-push-divide", outcome(), 0);
        check("user-push-divide-rsp", last.rsp, border + 0xf0);
        check("user-push-rsp", USER_AT(user_push_rsp, border + 0x100, 1, 3), 3 - 8 - 16 * 256);
}

static void
test_user_memory_pages(void)
{
        static u64 l2[2][512] __attribute__((aligned(4096))), l1[2][512] __attribute__((aligned(4096)));
        const u64 border = 0x200000000; /* of 4 GiB */
        u64 page = PAGE(43), right = 0;

        map(43, FRAME(43) | P | W | U);
        map(44, 0);
        *(volatile u64 *)(FRAME(43) + 0xff8) = 0;
        (void)USER_AT(user_store, page + 0xffc, -1ul, 0);
        check("user-store-across", outcome(), PF(6));
        check("user-store-across-cr2", last.cr2, PAGE(44));
        check("user-store-across-nothing-written", *(volatile u64 *)(FRAME(43) + 0xff8), 0);
        map(44, FRAME(47) | P | W | U);
        (void)USER_AT(user_store, page + 0xffc, 0x1122334455667788, 0);
        check("user-store-across-both", *(volatile u32 *)(FRAME(43) + 0xffc) | (u64)*(volatile u32 *)FRAME(47) << 32, 0x1122334455667788);
        /* A large page, changed; any of its addresses ends all of it (SDM 3A 4.10.4.1). */
        *(volatile u64 *)0x1123000 = 0x11;
        *(volatile u64 *)0x1323000 = 0x13;
        page_l2_test[1] = 0x1000000 | P | W | U | 0x80;
        check("user-load-large", USER_AT(user_load, 0x40323000, 0, 0), 0x11);
        page_l2_test[1] = 0x1200000 | P | W | U | 0x80;
        __asm__ volatile("invlpg (%0)" : : "r"(0x40200000ul) : "memory");
        check("user-load-large-after-invlpg", USER_AT(user_load, 0x40323000, 0, 0), 0x13);
        page_l2_test[1] = 0;
        __asm__ volatile("invlpg (%0)" : : "r"(0x403ff000ul) : "memory");
        (void)USER_AT(user_load, 0x40323000, 0, 0);
        check("user-load-large-gone", outcome(), PF(4));
        *(volatile u64 *)0x1124000 = 0x80cd0000000bb8; /* mov $11, %eax; int $0x80 */
        *(volatile u64 *)0x1324000 = 0x80cd0000000db8;
        page_l2_test[1] = 0x1000000 | P | W | U | 0x80;
        check("user-code-large", run_user((void *)0x40324000, 0x2b, (u64)user_stack + sizeof(user_stack)), 11);
        page_l2_test[1] = 0x1200000 | P | W | U | 0x80;
        __asm__ volatile("invlpg (%0)" : : "r"(0x40200000ul) : "memory");
        check("user-code-large-after-invlpg", run_user((void *)0x40324000, 0x2b, (u64)user_stack + sizeof(user_stack)), 13);
        page_l2_test[1] = 0;
        __asm__ volatile("invlpg (%0)" : : "r"(0x40200000ul) : "memory");
        /* Pages on either side of a border of 4 GiB. */
        for (unsigned n = 0; n < 2; n++) {
                page_l3[border / 0x40000000 - 1 + n] = (u64)l2[n] | P | W | U;
                l2[n][n == 0 ? 511 : 0] = (u64)l1[n] | P | W | U;
                l1[n][n == 0 ? 511 : 0] = FRAME(45 + n) | P | W | U;
        }
        *(volatile u64 *)(FRAME(45) + 0xff8) = 0x8877665544332211;
        *(volatile u64 *)FRAME(46) = 0x46;
        *(volatile u64 *)(FRAME(46) + 0x80) = 0x4680;
        check("user-load-below-border", USER_AT(user_load, border - 8, 0, 0), 0x8877665544332211);
        check("user-load-above-border", USER_AT(user_load, border, 0, 0), 0x46);
        check("user-load-across-border", USER_AT(user_load, border - 4, 0, 0), 0x4688776655);
        check("user-load-far-over-border", USER_AT(user_load_far, border - 0x80, 0, 0), 0x4680);
        check("user-load-back-over-border", USER_AT(user_load_back, border + 0xf8, 0, 0), 0x8877665544332211);
        check("user-load-sum", USER_AT(user_load_sum, border + 0x100, 0, -16ul), 0x4680);
        check("user-load-index", USER_AT(user_load_index, border + 0x80 - 8 * 0x30000000ul, 0, 0x30000000), 0x4680);
        check("user-load-signed-index", USER_AT(user_load_signed, border + 0x100, 0, -16ul), 0x4680);
        check("user-load-index-is-cut", USER_AT(user_load_index, border, 0, 0xf00000000 + 16), 0x4680);
        (void)USER_AT(user_load_index, border, 0, 0xffffffff);
        check("user-load-index-beyond", outcome(), PF(4));
        check("user-load-index-beyond-cr2", last.cr2, border + 8 * 0xfffffffful);
        (void)USER_AT(user_load, 1ul << 47, 0, 0);
        check("user-load-not-canonical", outcome(), GP0);
        (void)USER_AT(user_load, -1ul << 47, 0, 0);
        check("user-load-upper-half", outcome(), PF(4));
        (void)USER_AT(user_load_sum, border, 0, 1ul << 60);
        check("user-load-sum-not-canonical", outcome(), GP0);
        (void)USER_AT(user_push_at, border + 0x88, 0x55, 0);
        check("user-push", *(volatile u64 *)(FRAME(46) + 0x80), 0x55);
        (void)USER_AT(user_push_at, (1ul << 47) + 8, 0, 0);
        check("user-push-not-canonical", outcome(), 12ul << 32);
        test_user_loops(border);
        test_user_pointers(border);
        test_user_stack(border);
        map(10, FRAME(10) | P | W | U);
        check("user-changes-its-code", USER_AT(user_change_code, 0, 0, 0), 0x22);
        map(45, FRAME(45) | P | W | U);
        for (u64 n = 1; n <= 4; n++) { /* mov $n, %eax; int $0x80: memory that is written before it is code, and after */
                (void)USER_AT(user_store, PAGE(45), 0x0080cd00000000b8 | n << 8, 0);
                right += run_user((void *)PAGE(45), 0x2b, (u64)user_stack + sizeof(user_stack)) == n;
        }
        check("user-writes-code", right, 4);
        page_l3[border / 0x40000000 - 1] = page_l3[border / 0x40000000] = 0;
        write_cr3(read_cr3());
}

/* Two address spaces that keep what they know in turn: PCIDs (SDM 3A 4.10.1). */
static void
test_user_spaces(void)
{
        static u64 top2[512] __attribute__((aligned(4096))), l3[512] __attribute__((aligned(4096)));
        static u64 l2[512] __attribute__((aligned(4096))), l1[512] __attribute__((aligned(4096)));
        const u64 keep = 1ul << 63, pcide = 1ul << 17;
        u64 cr3 = read_cr3() & ~0xffful, *top = (u64 *)cr3, other = (u64)top2 | 2, cr4 = read_cr4(), right = 0;

        for (unsigned n = 0; n < 512; n++) {
                top2[n] = top[n];
                l3[n] = page_l3[n];
                l2[n] = page_l2_test[n];
                l1[n] = page_l1[n];
        }
        top2[0] = (u64)l3 | P | W | U;
        l3[1] = (u64)l2 | P | W | U;
        l2[0] = (u64)l1 | P | W | U;
        for (unsigned n = 41; n < 44; n++)
                *(volatile u64 *)FRAME(n) = n;
        map(41, FRAME(41) | P | W | U);
        l1[41] = FRAME(42) | P | W | U;
        write_cr4(cr4 | pcide);
        write_cr3(cr3 | 1);
        for (unsigned n = 0; n < 8; n++) {
                right += USER_AT(user_load, PAGE(41), 0, 0) == (n % 2 == 0 ? 41 : 42);
                write_cr3((n % 2 == 0 ? other : cr3 | 1) | (n < 2 ? 0 : keep));
        }
        check("user-spaces", right, 8);
        map(41, FRAME(43) | P | W | U);
        check("user-space-changed", USER_AT(user_load, PAGE(41), 0, 0), 43);
        write_cr3(other | keep);
        check("user-space-unchanged", USER_AT(user_load, PAGE(41), 0, 0), 42);
        l1[41] = FRAME(43) | P | W | U;
        write_cr3(other);
        check("user-space-reloaded", USER_AT(user_load, PAGE(41), 0, 0), 43);
        write_cr3(cr3);
        write_cr4(cr4);
}

unsigned
test_user_pages(void)
{
        test_user_memory();
        test_user_targets();
        test_user_reloads();
        test_user_large_reloads();
        test_user_memory_pages();
        test_user_spaces();
        return failures;
}
