/* SPDX-License-Identifier: BSD-2-Clause */
/* What translated code calls: it is found the code of a target, and translated; linked to it; has instructions done in C. */
#include "base/util.h"
#include "cpu/soft/mirror.h"
#include "cpu/soft/observe.h"
#include "cpu/soft/run.h"
#include "cpu/soft/target.h"
#include "cpu/soft/ticker.h"
#include "cpu/soft/translate.h"

/* ---- finding code ---- */

static void
kick_others(struct soft_engine *e, struct soft_cpu *self, bool all_jumps)
{
        for (unsigned i = 0; i < e->cpu_count; i++) {
                struct soft_cpu *v = e->cpus[i];

                if (v == NULL || v == self)
                        continue;
                atomic_store_explicit(all_jumps ? &v->run->jumps_lost : &v->run->jumps_stale, 1, memory_order_release);
                soft_kick(v);
        }
}

void
soft_jumps_stale(struct soft_engine *e, gva_t address)
{
        kick_others(e, soft_current, false);
        if (soft_current != NULL && soft_current->engine == e)
                soft_jump_forget(soft_current, address);
}

void
soft_jumps_stale_dead(struct soft_engine *e)
{
        kick_others(e, soft_current, false);
        if (soft_current != NULL && soft_current->engine == e)
                soft_jump_forget_dead(soft_current);
}

void
soft_jumps_stale_all(struct soft_engine *e)
{
        kick_others(e, soft_current, true);
        if (soft_current != NULL && soft_current->engine == e)
                soft_jump_flush(soft_current);
}

/* Marks @gpa's page as holding code, so that every write to it is noticed from now on. */
static void
watch_page(struct soft_cpu *v, gpa_t gpa)
{
        struct soft_engine *e = v->engine;
        uint64_t page = gpa >> MEM_PAGE_SHIFT;

        if (soft_code_page(e, gpa))
                return;
        atomic_fetch_or(&e->code_pages[page / 64], 1ull << page % 64);
        for (unsigned i = 0; i < e->cpu_count; i++) {
                struct soft_cpu *other = e->cpus[i];

                if (other == NULL || other == v || !soft_mmu_may_write(other, gpa))
                        continue;
                atomic_store_explicit(&other->run->watch_stale, 1, memory_order_release);
                soft_kick(other);
        }
        if (soft_mmu_may_write(v, gpa))
                soft_mmu_watch(v);
}

/*
 * Whether blocks that fit any linear page may be made: for libraries and position-independent programs, which each process
 * has elsewhere.  Not where a debugger's breakpoints or a trace tell addresses apart.
 */
static bool
may_move(const struct soft_cpu *v, uint32_t mode)
{
        const struct soft_engine *e = v->engine;

        if ((mode & SOFT_MODE_BITS) != X86_MODE_64 || !(mode & SOFT_MODE_USER) || (mode & (SOFT_MODE_STEP | SOFT_MODE_LARGE)))
                return false;
        return e->break_count == 0 && e->observer == NULL && !(e->disabled & SOFT_OFF_MOVE);
}

/* Whether code may access memory by mirrors. */
static bool
may_mirror(struct soft_cpu *v, uint32_t mode)
{
        return (mode & SOFT_MODE_BITS) == X86_MODE_64 && (mode & SOFT_MODE_USER) && !(mode & SOFT_MODE_STEP) &&
            soft_mirror_wanted(v);
}

/*
 * Where Linux puts position-independent programs and libraries, in each process elsewhere.  The next process is spared
 * a translation of its own; code that is found to run long gets one for the place where it is.
 */
static bool
looks_movable(gva_t rip)
{
        return rip >> 40 >= 0x55 && rip >> 47 == 0;
}

/* The bits of user code's mode that depend on what is known of its page. */
static uint32_t
user_mode(struct soft_cpu *v, uint32_t mode, gpa_t paddr)
{
        bool mirror = may_mirror(v, mode) && soft_code_mirrored(v->engine, paddr);
        bool moves = may_move(v, mode) && (soft_code_moves(v->engine, paddr) || (!mirror && looks_movable(v->st.rip)));

        return (mirror ? SOFT_MODE_MIRROR : 0) | (moves ? SOFT_MODE_MOVES : 0);
}

/* Whether code may use mirrors later, if it is found to run long. */
static bool
may_become_hot(const struct soft_cpu *v, uint32_t mode)
{
        return (mode & (SOFT_MODE_BITS | SOFT_MODE_USER | SOFT_MODE_STEP | SOFT_MODE_MIRROR)) == (X86_MODE_64 | SOFT_MODE_USER) &&
            soft_mirror_possible(v);
}

/* Translates the block at st.rip, unless another vCPU just did.  NULL: see *ret_needs_next, or the cache is full. */
static struct soft_block *
make_block(struct soft_cpu *v, uint32_t mode, gpa_t paddr, gpa_t paddr2, bool *ret_needs_next)
{
        struct soft_engine *e = v->engine;
        struct soft_block *b;

        soft_lock_acquire(&e->lock);
        mode |= user_mode(v, mode, paddr);
        if (may_move(v, mode) && !(mode & SOFT_MODE_MOVES) && soft_code_seen(e, paddr, v->st.rip))
                mode |= SOFT_MODE_MOVES;
        b = soft_code_find(e, paddr, paddr2, v->st.rip, mode);
        if (b == NULL && !soft_code_room(e)) {
                atomic_store(&e->room_wanted, 1);
                soft_kick(v);
        } else if (b == NULL) {
                watch_page(v, paddr);
                if (paddr2 != ~(gpa_t)0)
                        watch_page(v, paddr2);
                atomic_store_explicit(&v->run->translating, true, memory_order_relaxed);
                b = soft_translate(v, mode, paddr, paddr2, ret_needs_next);
                atomic_store_explicit(&v->run->translating, false, memory_order_relaxed);
                if (may_become_hot(v, mode))
                        soft_ticker_want(e->ticker, v);
        }
        soft_lock_release(&e->lock);
        return b;
}

struct soft_block *
soft_find_block(struct soft_cpu *v, uint32_t variant)
{
        struct soft_engine *e = v->engine;
        gva_t linear = soft_linear_rip(v);
        gpa_t paddr, paddr2 = ~(gpa_t)0;
        struct soft_block *b;
        uint32_t mode;
        bool needs_next;

        if (!(v->mode & X86_MODE_64) && v->st.rip > v->st.seg[X86_CS].limit)
                soft_raise_error(v, X86_VEC_GP, 0);
        do {
                paddr = soft_fetch(v, linear);
                if (paddr == ~(gpa_t)0)
                        soft_raise(v, X86_VEC_UD); /* MMIO reads as all ones, which is no instruction */
                mode = v->mode | variant | (e->disabled & SOFT_OFF_SHARE ? SOFT_MODE_NOSHARE : 0);
                if (soft_fetch_was_large(v, linear) && !(e->disabled & SOFT_OFF_LARGE))
                        mode |= SOFT_MODE_LARGE;
                mode |= user_mode(v, mode, paddr);
                if ((paddr & (MEM_PAGE_SIZE - 1)) > MEM_PAGE_SIZE - X86_INSN_MAX)
                        paddr2 = soft_fetch_try(v, (linear | (MEM_PAGE_SIZE - 1)) + 1);
                needs_next = false;
                b = soft_code_find(e, paddr, paddr2, v->st.rip, mode);
                if (b == NULL)
                        b = make_block(v, mode, paddr, paddr2, &needs_next);
                if (needs_next)
                        soft_fetch(v, (linear | (MEM_PAGE_SIZE - 1)) + 1);
        } while (needs_next);
        return b;
}

/* The block at @rip, for translated code to go on there; NULL: to the dispatcher. */
static struct soft_block *
block_to_enter(struct soft_cpu *v, gva_t rip)
{
        struct soft_block *b;

        v->st.rip = rip;
        if (v->kick || v->one_block || soft_observe_traces(v))
                return NULL;
        b = soft_find_block(v, 0);
        return b == NULL || soft_check_due(v, b) ? NULL : b;
}

const uint8_t *
soft_call_lookup(struct soft_cpu *v, gva_t rip)
{
        struct soft_block *b;

        v->count[SOFT_COUNT_LOOKUPS]++;
        b = block_to_enter(v, rip);
        if (b == NULL)
                return NULL;
        soft_jump_set(v, rip, b->entry_far);
        return v->kick ? NULL : b->entry_far;
}

/* After a jump that its target map did not lead to code.  A branch that must fault has been sorted out by then (fault.c). */
const uint8_t *
soft_call_lookup_target(struct soft_cpu *v, gva_t rip)
{
        struct soft_block *b;

        v->count[SOFT_COUNT_TARGETS]++;
        soft_check_leaves(v, true);
        b = block_to_enter(v, rip);
        if (b == NULL)
                return NULL;
        if (!soft_target_set(v, rip, b) || !(b->mode & SOFT_MODE_MIRROR))
                soft_jump_set(v, rip, b->entry_far);
        return v->kick ? NULL : b->entry_far;
}

static void
undo_rsp(struct soft_cpu *v, uint64_t effect)
{
        uint64_t *rsp = &v->st.gpr[X86_RSP];
        uint64_t mask = x86_code64(&v->st) ? ~0ull : v->st.seg[X86_SS].attr & X86_SEG_DB ? 0xffffffff
                                                                                         : 0xffff;

        *rsp = (*rsp & ~mask) | ((*rsp + effect) & mask);
}

static bool
may_branch_to(const struct soft_cpu *v, gva_t rip)
{
        unsigned shift = v->st.cr4 & X86_CR4_LA57 ? 7 : 16;

        if (!x86_code64(&v->st))
                return rip <= v->st.seg[X86_CS].limit;
        return (gva_t)((int64_t)(rip << shift) >> shift) == rip;
}

/*
 * A near branch to a non-canonical address, or beyond the limit of CS, faults itself, before it is done
 * (SDM 2A, JMP, CALL, RET).
 */
const uint8_t *
soft_call_lookup_indirect(struct soft_cpu *v, gva_t rip)
{
        v->count[SOFT_COUNT_INDIRECT]++;
        soft_check_leaves(v, true);
        if (__builtin_expect(!may_branch_to(v, rip), false)) {
                v->st.rip = v->scratch[2];
                undo_rsp(v, v->scratch[3]);
                soft_raise_error(v, X86_VEC_GP, 0);
        }
        if (v->mode & SOFT_MODE_STEP) {
                v->st.rip = rip;
                return NULL;
        }
        return soft_call_lookup(v, rip);
}

/* Whether all of a block is mapped as its start is: it may be jumped to without a look at the page tables. */
static bool
stays_mapped(const struct soft_block *b)
{
        if (b->page[1] == ~(gpa_t)0)
                return true;
        return (b->mode & SOFT_MODE_LARGE) && b->page[1] == b->page[0] + MEM_PAGE_SIZE &&
            b->page[1] % (2 * MIB) != 0;
}

/* Whether the same difference of linear and physical address leads to both. */
static bool
mapped_alike(const struct soft_block *a, const struct soft_block *b)
{
        return a->mode & SOFT_MODE_MOVES ? a->page[0] == b->page[0] : a->paddr - a->vaddr == b->paddr - b->vaddr;
}

const uint8_t *
soft_call_link(struct soft_cpu *v, struct soft_exit *x)
{
        struct soft_engine *e = v->engine;
        struct soft_block *b;

        v->st.rip = x->target - x->block->vaddr + soft_block_rip(v, x->block);
        v->count[x->noshare ? SOFT_COUNT_STRADDLES : SOFT_COUNT_LINKS]++;
        soft_check_leaves(v, !x->flags_dead);
        if (x->noshare)
                soft_check_variant(v, SOFT_MODE_NOSHARE);
        /* What comes back for a variant of itself has had its line in a trace. */
        if (v->kick || v->one_block || (!x->noshare && soft_observe_traces(v)))
                return NULL;
        b = soft_find_block(v, x->noshare ? SOFT_MODE_NOSHARE : x->backward ? SOFT_MODE_HEAD : 0);
        if (b == NULL || soft_check_due(v, b))
                return NULL;
        soft_lock_acquire(&e->lock);
        if (!(e->disabled & SOFT_OFF_LINK) && x->to == NULL && !x->block->dead && !b->dead && stays_mapped(b) &&
            !soft_check_due(v, x->block) && /* it ran on the way to its variant, and is to stop behind it when it is checked */
            ((b->mode ^ x->block->mode) & ~(SOFT_MODE_NOSHARE | SOFT_MODE_HEAD)) == 0 && mapped_alike(x->block, b) &&
            !(b->flags_in && x->flags_dead))
                soft_code_link(e, x, b);
        soft_lock_release(&e->lock);
        return v->kick ? NULL : b->entry_far; /* b may be a loop, which does not look */
}

/* ---- helpers called by translated code ---- */

static void
call_helper(struct soft_cpu *v, const struct x86_insn *insn)
{
        if (v->checking)
                soft_check_helper(v, insn);
        v->count[SOFT_COUNT_HELPERS]++;
        switch (insn->desc->class) {
        case X86_CLASS_STRING:
                soft_string(v, insn);
                break;
        case X86_CLASS_PUSHF:
                soft_pushf(v, insn);
                break;
        case X86_CLASS_POPF:
                soft_popf(v, insn);
                break;
        default:
                soft_sys(v, insn);
                break;
        }
}

static uint64_t
rip_after(const struct soft_cpu *v, const struct x86_insn *insn)
{
        uint64_t next = v->st.rip + insn->len;

        return insn->mode == X86_MODE_64 ? next : (uint32_t)next;
}

/* Non-zero: leave translated code; st.rip says where to go on. */
int
soft_call_sys(struct soft_cpu *v, const struct x86_insn *insn)
{
        uint64_t next = rip_after(v, insn);
        uint64_t kills = soft_code_kills(v->engine);

        soft_flags_in(v);
        v->next_rip = next;
        call_helper(v, insn);
        soft_flags_out(v);
        soft_fpu_get(v);
        v->st.rip = v->next_rip;
        if (v->next_rip == next && !soft_must_leave(v) && kills == soft_code_kills(v->engine))
                return 0;
        soft_check_interrupted(v);
        return 1;
}

const uint8_t *
soft_call_sys_end(struct soft_cpu *v, const struct x86_insn *insn)
{
        const uint8_t *code;
        bool step = v->mode & SOFT_MODE_STEP; /* POPF may end stepping, yet its own trap is due */

        soft_flags_in(v);
        v->next_rip = rip_after(v, insn);
        call_helper(v, insn);
        v->st.rip = v->next_rip;
        soft_flags_out(v);
        soft_mode_update(v);
        soft_fpu_get(v);
        soft_check_leaves(v, true);
        if (insn->desc->sys == X86_SYS_STI) /* translated in line, but an interrupt may wait */
                soft_check_interrupted(v);
        if (v->kick || step || v->one_block || (v->mode & SOFT_MODE_STEP) || v->st.shadow_sti || v->st.shadow_ss ||
            (v->intr_hint && (v->st.rflags & X86_FL_IF)) ||
            v->st.pending_dbg || (v->st.nmi_pending && !v->st.nmi_blocked))
                return NULL;
        code = soft_jump_find(v, v->st.rip);
        return code != NULL ? code : soft_call_lookup(v, v->st.rip);
}

void
soft_code_flush(struct soft_cpu *v)
{
        atomic_store(&v->engine->flush_wanted, 1);
        soft_kick(v);
}
