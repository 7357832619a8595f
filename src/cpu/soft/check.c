/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * soft.check=N: each block, the first N times that it runs, runs twice.
 *
 * First plainly: its instructions one at a time, each a block of its own without links, shared checks, in line
 * system instructions or a look ahead for flags; every access to memory goes through the slow path, and what is
 * written stays in an overlay that nobody else sees.  The state at the end is kept and the one from before
 * restored.  Then the block itself, once.  Registers, flags that it hands over, FPU state, the exception if there
 * was one, and the bytes written must be the same; if not, both are printed and the VM ends.
 *
 * Not judged: what cannot be done twice (devices, time, random numbers, changes of paging), blocks left in the
 * middle because something asked for it, and differences in what came from memory that a device changed meanwhile.
 * Other vCPUs are kept out of translated code.  A block that is still to be checked is neither linked nor in a jump
 * cache.  Page walks see memory itself, not the overlay: page faults that follow a write are not judged where the
 * two ways differ in them.
 */
#include "cpu/soft/run.h"
#include "base/log.h"
#include "base/util.h"
#include "x86/cpuid.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#define CHECK_PAGES 16u
#define CHECK_READS 64u
#define CHECK_BYTES 4096u /* of all reads */

#define LEGACY_BYTES 24u /* of the x87 state that are compared or, from byte 6 on, not: the instruction's address */

struct check_page {
        gpa_t gpa;
        uint64_t written[MEM_PAGE_SIZE / 64];
        uint8_t data[MEM_PAGE_SIZE];
};

/* What the plain run read from memory itself. */
struct check_read {
        gpa_t gpa;
        unsigned len, at; /* in bytes */
};

struct soft_check {
        struct x86_state before, plain;
        enum soft_left plain_left;
        struct soft_event plain_event;
        uint8_t code[MEM_PAGE_SIZE / 4]; /* the block's guest bytes */
        unsigned code_len;

        bool given_up;      /* the plain run cannot go on */
        bool interrupted;   /* the block was left in the middle */
        bool flags_known;   /* it handed the arithmetic flags over */
        bool amd;           /* the host's processor keeps undefined flags: the block may have lost them */
        uint16_t undefined; /* flags that the plain run has left undefined */
        uint32_t variant;   /* that st.rip goes on in */
        gva_t variant_rip;

        unsigned page_count, read_count, read_bytes;
        bool reads_lost;
        struct check_read read[CHECK_READS];
        uint8_t bytes[CHECK_BYTES];
        struct check_page page[CHECK_PAGES];
};

int
soft_check_create(struct soft_cpu *v)
{
        struct soft_check *c;

        if (posix_memalign((void **)&c, 64, sizeof(*c)) != 0)
                return -ENOMEM;
        memset(c, 0, sizeof(*c));
        c->amd = x86_host_is_amd();
        v->check = c;
        return 0;
}

void
soft_check_destroy(struct soft_cpu *v)
{
        free(v->check);
        v->check = NULL;
}

/* ---- called from elsewhere in the engine ---- */

void
soft_check_leaves(struct soft_cpu *v, bool flags)
{
        if (v->one_block)
                v->check->flags_known = flags;
}

void
soft_check_variant(struct soft_cpu *v, uint32_t variant)
{
        if (v->check == NULL)
                return;
        v->check->variant = variant;
        v->check->variant_rip = v->st.rip;
        v->check->interrupted = true;
}

void
soft_check_interrupted(struct soft_cpu *v)
{
        if (v->check != NULL)
                v->check->interrupted = true;
}

_Noreturn void
soft_check_give_up(struct soft_cpu *v)
{
        v->check->given_up = true;
        soft_exit(v);
}

/* Instructions done in C that change nothing but registers and memory. */
static bool
may_do_twice(const struct x86_insn *insn)
{
        if (insn->desc->class != X86_CLASS_SYSTEM)
                return true; /* strings, PUSHF, POPF */
        switch (insn->desc->sys) {
        case X86_SYS_CALL_FAR ... X86_SYS_RET_FAR:
        case X86_SYS_IRET ... X86_SYS_INT1:
        case X86_SYS_SYSCALL ... X86_SYS_SYSEXIT:
        case X86_SYS_CLI:
        case X86_SYS_STI:
        case X86_SYS_MOV_SREG_R ... X86_SYS_ARPL:
        case X86_SYS_SLDT:
        case X86_SYS_STR:
        case X86_SYS_SGDT:
        case X86_SYS_SIDT:
        case X86_SYS_SMSW:
        case X86_SYS_SWAPGS ... X86_SYS_WRGSBASE:
        case X86_SYS_CPUID:
        case X86_SYS_RDPID:
        case X86_SYS_XGETBV:
        case X86_SYS_CLAC:
        case X86_SYS_STAC:
        case X86_SYS_RDPKRU:
        case X86_SYS_FXSAVE ... X86_SYS_XRSTORS:
        case X86_SYS_PUSHA ... X86_SYS_CLDEMOTE:
                return true;
        default:
                return false;
        }
}

void
soft_check_helper(struct soft_cpu *v, const struct x86_insn *insn)
{
        if (!may_do_twice(insn))
                soft_check_give_up(v);
}

/* ---- memory of the plain run ---- */

static struct check_page *
find_page(struct soft_check *c, gpa_t gpa)
{
        for (unsigned i = 0; i < c->page_count; i++)
                if (c->page[i].gpa == (gpa & ~(gpa_t)(MEM_PAGE_SIZE - 1)))
                        return &c->page[i];
        return NULL;
}

static bool
is_written(const struct check_page *p, unsigned offset)
{
        return p->written[offset / 64] >> offset % 64 & 1;
}

static void
note_read(struct soft_check *c, gpa_t gpa, const void *buf, unsigned len)
{
        if (c->read_count == CHECK_READS || len > CHECK_BYTES - c->read_bytes) {
                c->reads_lost = true;
                return;
        }
        c->read[c->read_count++] = (struct check_read){ gpa, len, c->read_bytes };
        memcpy(c->bytes + c->read_bytes, buf, len);
        c->read_bytes += len;
}

void
soft_check_read(struct soft_cpu *v, gpa_t gpa, void *buf, unsigned len)
{
        struct check_page *p = find_page(v->check, gpa);
        uint8_t *to = buf;

        memcpy(buf, v->mem_base + gpa, len);
        note_read(v->check, gpa, buf, len);
        for (unsigned i = 0, at = gpa & (MEM_PAGE_SIZE - 1); p != NULL && i < len; i++, at++)
                if (is_written(p, at))
                        to[i] = p->data[at];
}

void
soft_check_write(struct soft_cpu *v, gpa_t gpa, const void *buf, unsigned len)
{
        struct soft_check *c = v->check;
        struct check_page *p = find_page(c, gpa);
        const uint8_t *from = buf;

        if (p == NULL) {
                if (c->page_count == CHECK_PAGES)
                        soft_check_give_up(v);
                p = &c->page[c->page_count++];
                p->gpa = gpa & ~(gpa_t)(MEM_PAGE_SIZE - 1);
                memset(p->written, 0, sizeof(p->written));
        }
        for (unsigned i = 0, at = gpa & (MEM_PAGE_SIZE - 1); i < len; i++, at++) {
                p->data[at] = from[i];
                p->written[at / 64] |= 1ull << at % 64;
        }
}

/* The first byte written that memory does not hold, or false. */
static bool
find_difference(const struct soft_cpu *v, gpa_t *ret_gpa)
{
        const struct soft_check *c = v->check;

        for (unsigned i = 0; i < c->page_count; i++) {
                const struct check_page *p = &c->page[i];

                for (unsigned at = 0; at < MEM_PAGE_SIZE; at++) {
                        if (at % 64 == 0 && p->written[at / 64] == 0) {
                                at += 63;
                                continue;
                        }
                        if (is_written(p, at) && p->data[at] != v->mem_base[p->gpa + at]) {
                                *ret_gpa = p->gpa + at;
                                return true;
                        }
                }
        }
        return false;
}

/* Whether memory that was read, and not written, is now something else. */
static bool
reads_changed(const struct soft_cpu *v)
{
        struct soft_check *c = v->check;

        for (unsigned n = 0; n < c->read_count; n++) {
                const struct check_read *r = &c->read[n];
                const struct check_page *p = find_page(c, r->gpa);

                for (unsigned i = 0, at = r->gpa & (MEM_PAGE_SIZE - 1); i < r->len; i++, at++)
                        if (c->bytes[r->at + i] != v->mem_base[r->gpa + i] && (p == NULL || !is_written(p, at)))
                                return true;
        }
        return c->reads_lost;
}

/* ---- running ---- */

static void
guarded_find(struct soft_cpu *v, void *arg)
{
        *(struct soft_block **)arg = soft_find_block(v, v->mode & SOFT_MODE_STEP ? 0 : v->check->variant);
}

/* The block at st.rip; NULL if there is none, or looking for it raises. */
static struct soft_block *
find(struct soft_cpu *v, enum soft_left *ret_left)
{
        struct soft_block *b = NULL;

        *ret_left = (enum soft_left)v->engine->thunks.guard(v, guarded_find, &b);
        return *ret_left == SOFT_LEFT_NORMAL ? b : NULL;
}

static enum soft_left
run(struct soft_cpu *v, const struct soft_block *b)
{
        enum soft_left left;

        v->st.shadow_ss = v->st.shadow_sti = 0;
        v->entered_handler = false;
        v->count[SOFT_COUNT_ENTRIES]++;
        left = (enum soft_left)v->engine->thunks.enter(v, b->entry_far);
        soft_flags_in(v);
        return left;
}

/* Notes which flags instruction @n of @b leaves undefined; what stores such a flag cannot be judged. */
static void
note_undefined(struct soft_check *c, const struct soft_block *b, unsigned n)
{
        unsigned at = b->place[n].guest;
        struct x86_insn in;

        if (at >= c->code_len ||
            x86_decode(c->code + at, c->code_len - at, b->mode & SOFT_MODE_BITS, &in) != X86_DECODE_OK)
                return;
        if (c->undefined & (in.desc->class == X86_CLASS_SYSTEM ? X86_FL_ARITH : in.desc->flags_read))
                c->given_up = true;
        c->undefined = (uint16_t)((c->undefined & ~in.desc->flags_written) | in.desc->flags_undefined);
}

/* The instructions of @b, until one goes elsewhere than to the next. */
static void
run_plainly(struct soft_cpu *v, const struct soft_block *b)
{
        struct soft_check *c = v->check;
        unsigned count = b->insn_count + b->raises;
        gva_t start = v->st.rip;

        for (unsigned n = 0; n < count && !c->given_up; n++) {
                struct soft_block *step;
                gva_t rip = v->st.rip;

                if (n < b->insn_count && rip != start + b->place[n].guest)
                        return;
                v->mode |= SOFT_MODE_STEP;
                step = find(v, &c->plain_left);
                if (step == NULL && c->plain_left == SOFT_LEFT_NORMAL)
                        c->given_up = true;
                if (step == NULL)
                        return;
                c->plain_left = run(v, step);
                if (c->plain_left != SOFT_LEFT_NORMAL)
                        return;
                if (c->amd && n < b->insn_count)
                        note_undefined(c, b, n);
                if (v->st.rip == rip && v->kick)
                        c->given_up = true; /* a repeated instruction made way for an event */
        }
}

/* Both are in the host's registers, and in st.xsave afterwards. */
static void
copy_state(struct soft_cpu *v, struct x86_state *ret_state)
{
        soft_fpu_put(v);
        *ret_state = v->st;
        soft_fpu_get(v);
}

static void
restore_state(struct soft_cpu *v, const struct x86_state *state)
{
        v->st = *state;
        v->fpu_live = false;
        v->event.kind = SOFT_EV_NONE;
        for (unsigned i = 0; i < X86_SREG_COUNT; i++)
                v->seg_base[i] = v->st.seg[i].base;
        soft_flags_out(v);
        soft_mode_update(v);
        soft_fpu_get(v);
}

static void
copy_code(struct soft_cpu *v, const struct soft_block *b)
{
        struct soft_check *c = v->check;
        unsigned first = (unsigned)(MEM_PAGE_SIZE - (b->paddr & (MEM_PAGE_SIZE - 1)));

        c->code_len = b->len < sizeof(c->code) ? b->len : sizeof(c->code);
        if (first > c->code_len)
                first = c->code_len;
        memcpy(c->code, v->mem_base + b->paddr, first);
        if (first < c->code_len)
                memcpy(c->code + first, v->mem_base + b->page[1], c->code_len - first);
}

/* The state behind @b as single steps make it, into c->plain; v is as before. */
static void
foresee(struct soft_cpu *v, const struct soft_block *b)
{
        struct soft_check *c = v->check;

        c->given_up = c->interrupted = c->flags_known = c->reads_lost = false;
        c->page_count = c->read_count = c->read_bytes = 0;
        c->undefined = 0;
        copy_code(v, b);
        copy_state(v, &c->before);
        soft_mmu_check_begin(v);
        run_plainly(v, b);
        copy_state(v, &c->plain);
        c->plain_event = v->event;
        soft_mmu_check_end(v);
        restore_state(v, &c->before);
}

/* ---- judging ---- */

/* What the processor has no opinion about, or the two ways may differ in; @flags are known. */
static void
normalize(struct x86_state *st, uint64_t flags)
{
        st->rflags &= ~(uint64_t)X86_FL_ARITH | flags;
        st->shadow_ss = st->shadow_sti = 0;
        /* The address of the last x87 instruction, the header, and what is in no format. */
        memset(st->xsave + 6, 0, LEGACY_BYTES - 6);
        memset(st->xsave + 28, 0, 4);
        memset(st->xsave + 416, 0, 576 - 416);
        for (unsigned i = 0; i < 8; i++) /* 80 bits of 128 */
                memset(st->xsave + 32 + 16 * i + 10, 0, 6);
}

static const char *
difference(struct soft_cpu *v, enum soft_left left, const struct x86_state *now, const struct x86_state *plain)
{
        static const char *const gpr[X86_GPR_COUNT] = { "rax", "rcx", "rdx", "rbx", "rsp", "rbp", "rsi", "rdi", "r8",
                "r9", "r10", "r11", "r12", "r13", "r14", "r15" };
        const struct soft_event *a = &v->event, *b = &v->check->plain_event;
        gpa_t gpa;

        if (left != v->check->plain_left)
                return "an exception";
        if (left == SOFT_LEFT_EVENT && (a->kind != b->kind || a->vector != b->vector || a->has_error != b->has_error ||
            a->error != b->error))
                return "which exception";
        for (unsigned i = 0; i < X86_GPR_COUNT; i++)
                if (now->gpr[i] != plain->gpr[i])
                        return gpr[i];
        if (now->rip != plain->rip)
                return "rip";
        if (now->rflags != plain->rflags)
                return "rflags";
        if (memcmp(now->xsave, plain->xsave, sizeof(now->xsave)) != 0)
                return "FPU state";
        if (memcmp(now, plain, offsetof(struct x86_state, xsave)) != 0)
                return "system registers";
        return find_difference(v, &gpa) ? "memory" : NULL;
}

static void
print_state(const char *what, const struct x86_state *st)
{
        const uint64_t *g = st->gpr;

        log_error("%s: rip %llx rflags %llx rax %llx rcx %llx rdx %llx rbx %llx rsp %llx rbp %llx rsi %llx rdi %llx",
            what, (unsigned long long)st->rip, (unsigned long long)st->rflags, (unsigned long long)g[X86_RAX],
            (unsigned long long)g[X86_RCX], (unsigned long long)g[X86_RDX], (unsigned long long)g[X86_RBX],
            (unsigned long long)g[X86_RSP], (unsigned long long)g[X86_RBP], (unsigned long long)g[X86_RSI],
            (unsigned long long)g[X86_RDI]);
        log_error("%s: r8 %llx r9 %llx r10 %llx r11 %llx r12 %llx r13 %llx r14 %llx r15 %llx", what,
            (unsigned long long)g[8], (unsigned long long)g[9], (unsigned long long)g[10], (unsigned long long)g[11],
            (unsigned long long)g[12], (unsigned long long)g[13], (unsigned long long)g[14], (unsigned long long)g[15]);
}

/* With the FPU state put away. */
static void
report(struct soft_cpu *v, const struct soft_block *b, const char *what, const struct x86_state *now)
{
        struct soft_check *c = v->check;
        char code[3 * 128 + 1] = "";
        size_t n = 0;
        gpa_t gpa;

        for (unsigned i = 0; i < c->code_len && i < 128; i++)
                n += (size_t)snprintf(code + n, sizeof(code) - n, "%02x ", c->code[i]);
        log_error("soft.check: block at %llx (physical %llx, mode %x, %u instructions) differs in %s",
            (unsigned long long)b->vaddr, (unsigned long long)b->paddr, b->mode, b->insn_count, what);
        log_error("soft.check: code %s", code);
        print_state("before ", &c->before);
        print_state("plainly", &c->plain);
        print_state("block  ", now);
        if (c->plain_left == SOFT_LEFT_EVENT)
                log_error("plainly: exception %u error %x", c->plain_event.vector, c->plain_event.error);
        if (v->event.kind != SOFT_EV_NONE)
                log_error("block  : exception %u error %x", v->event.vector, v->event.error);
        if (find_difference(v, &gpa))
                log_error("memory : %llx is %02x, plainly %02x", (unsigned long long)gpa, v->mem_base[gpa],
                    find_page(c, gpa)->data[gpa & (MEM_PAGE_SIZE - 1)]);
}

/*
 * Whether one way alone raised a page fault, after a write: it may have been to a page table, and walks of the
 * plain run do not see the overlay.
 */
static bool
may_have_mapped(const struct soft_cpu *v, enum soft_left left)
{
        const struct soft_check *c = v->check;
        bool block = left == SOFT_LEFT_EVENT && v->event.vector == X86_VEC_PF;
        bool plain = c->plain_left == SOFT_LEFT_EVENT && c->plain_event.vector == X86_VEC_PF;

        return (block != plain || (block && v->event.error != c->plain_event.error)) && c->page_count != 0;
}

/* False: they differ, and v->exit says so. */
static bool
judge(struct soft_cpu *v, const struct soft_block *b, enum soft_left left)
{
        struct soft_check *c = v->check;
        uint64_t flags = left == SOFT_LEFT_NORMAL && c->flags_known ? X86_FL_ARITH & ~c->undefined : 0;
        struct x86_state now;
        const char *what;

        if (c->given_up || c->interrupted || left == SOFT_LEFT_EXIT) {
                v->count[SOFT_COUNT_NOT_JUDGED]++;
                return true;
        }
        copy_state(v, &now);
        normalize(&now, flags);
        normalize(&c->plain, flags);
        what = difference(v, left, &now, &c->plain);
        if (what == NULL || may_have_mapped(v, left) || reads_changed(v)) {
                v->count[what == NULL ? SOFT_COUNT_CHECKED : SOFT_COUNT_NOT_JUDGED]++;
                return true;
        }
        soft_fpu_put(v);
        report(v, b, what, &now);
        v->exit.reason = CPU_EXIT_ERROR;
        v->exit.error = "a translated block does not do what its instructions do one by one (soft.check)";
        return false;
}

bool
soft_check_run(struct soft_cpu *v, enum soft_left *ret_left)
{
        struct soft_check *c = v->check;
        enum soft_left left;
        struct soft_block *b;
        bool due;

        if (c->variant_rip != v->st.rip)
                c->variant = 0;
        soft_world_enter_alone(v);
        b = find(v, &left);
        v->event.kind = SOFT_EV_NONE; /* what looking for the block raises is raised again */
        due = b != NULL && soft_check_due(v, b) && v->engine->break_count == 0;
        if (due) {
                b->checks++;
                foresee(v, b);
                c->variant = 0;
                v->one_block = true;
                v->window_credit = 0; /* the window moves at once: a block that goes on in its variant cannot be judged */
                soft_jumps_arm(v);
                left = run(v, b);
                v->one_block = false;
                soft_jumps_arm(v);
                *ret_left = judge(v, b, left) ? left : SOFT_LEFT_EXIT;
        }
        soft_world_leave_alone(v);
        return due;
}
