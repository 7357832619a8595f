/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The stack in translated code.
 *
 * The vCPU remembers the page that its last stack access hit (stack_tag,
 * stack_host; the "window").  A block that makes several accesses at known
 * distances from its stack pointer checks once that all of them lie in the
 * window; each access is then a load of the distance between host and guest
 * addresses, and itself.
 *
 * Where the range straddles a page, or cannot be both read and written, the
 * block goes on in a variant of itself that checks each access
 * (SOFT_MODE_NOSHARE), through an exit that is linked like any other.
 */
#include "base/util.h"
#include "cpu/soft/translate.h"

#define STACK_SPAN_MAX 1024 /* bytes that one check may cover: wider ranges straddle pages too often */

enum sp_effect {
        SP_KEEPS,
        SP_MOVES,   /* by a known distance */
        SP_UNKNOWN,
};

/* What one instruction does to the stack, for the look ahead. */
struct sp_use {
        int32_t low, high; /* bytes accessed, relative to the stack pointer before it; low == high: none */
        int32_t delta;
        enum sp_effect effect;
};

static bool
is_plain_rsp_operand(const struct x86_insn *i)
{
        return i->has_mem && i->mem_base == X86_RSP && i->mem_index < 0 && i->mem_seg == X86_SS && i->asize == 8;
}

static void
use_range(struct sp_use *u, int64_t low, unsigned bytes)
{
        int32_t l = (int32_t)low, h = l + (int32_t)bytes;

        if (u->low == u->high) {
                u->low = l;
                u->high = h;
                return;
        }
        u->low = l < u->low ? l : u->low;
        u->high = h > u->high ? h : u->high;
}

static void
plain_sp_effect(const struct x86_insn *i, struct sp_use *u)
{
        int64_t change;

        if (!(x86_insn_writes(i) >> X86_RSP & 1))
                return;
        u->effect = SP_UNKNOWN;
        if (x86_insn_adds(i, X86_RSP, &change) && change == (int32_t)change) {
                u->effect = SP_MOVES;
                u->delta = (int32_t)change;
        }
}

static struct sp_use
sp_use(const struct tr *t, const struct x86_insn *i)
{
        struct sp_use u = { 0 };
        int32_t size = i->opsize;

        switch (i->desc->class) {
        case X86_CLASS_PUSH:
                if (is_plain_rsp_operand(i))
                        use_range(&u, i->disp, i->opsize);
                use_range(&u, -size, i->opsize);
                u.effect = SP_MOVES;
                u.delta = -size;
                break;
        case X86_CLASS_POP:
                use_range(&u, 0, i->opsize);
                if (is_plain_rsp_operand(i))
                        use_range(&u, i->disp + size, i->opsize);
                u.effect = !i->has_mem && i->rm == X86_RSP ? SP_UNKNOWN : SP_MOVES;
                u.delta = size;
                break;
        case X86_CLASS_CALL:
        case X86_CLASS_CALL_IND:
                use_range(&u, -size, i->opsize);
                u.effect = SP_UNKNOWN;
                break;
        case X86_CLASS_RET:
                use_range(&u, 0, i->opsize);
                u.effect = SP_UNKNOWN;
                break;
        case X86_CLASS_PLAIN:
                if (is_plain_rsp_operand(i) && !(i->desc->flags & X86_OD_BITSTR))
                        use_range(&u, i->disp, x86_insn_mem_bytes(i));
                plain_sp_effect(i, &u);
                break;
        case X86_CLASS_LEA:
                plain_sp_effect(i, &u);
                break;
        case X86_CLASS_NOP:
        case X86_CLASS_FLAG:
        case X86_CLASS_XLAT:
        case X86_CLASS_JMP:
        case X86_CLASS_JCC:
        case X86_CLASS_LOOP:
                break;
        default:
                u.effect = tr_sys_is_inline(t, i) && i->desc->class != X86_CLASS_PUSHF ? SP_KEEPS : SP_UNKNOWN;
                break;
        }
        return u;
}

/* The range that this and the following instructions access, relative to the stack pointer now. */
static unsigned
look_ahead(const struct tr *t, int32_t *ret_low, int32_t *ret_high)
{
        int32_t sp = 0, low = 0, high = 0;
        unsigned n = 0;

        for (unsigned at = t->at; at < t->count; at++) {
                struct sp_use u = sp_use(t, &t->insn[at]);

                if (u.low != u.high) {
                        int32_t l = n == 0 || sp + u.low < low ? sp + u.low : low;
                        int32_t h = n == 0 || sp + u.high > high ? sp + u.high : high;

                        if (h - l > STACK_SPAN_MAX)
                                break;
                        low = l;
                        high = h;
                        n++;
                }
                if (u.effect == SP_UNKNOWN)
                        break;
                sp += u.delta;
                if (sp > STACK_SPAN_MAX || sp < -STACK_SPAN_MAX)
                        break;
        }
        *ret_low = low;
        *ret_high = high;
        return n;
}

static bool
in_range(const struct tr *t, int32_t low, int32_t high)
{
        return t->stack_shared && t->sp + low >= t->stack_low && t->sp + high <= t->stack_high;
}

/* Before an instruction is emitted: makes the check that it shares with the following ones. */
void
tr_stack_prepare(struct tr *t)
{
        struct emit *e = &t->e;
        struct sp_use u;
        int32_t low, high;
        struct tr_cold *c;

        if (t->bits != X86_MODE_64 || t->mirrors || (t->mode & (SOFT_MODE_NOSHARE | SOFT_MODE_STEP)) || t->stack_group_used)
                return;
        u = sp_use(t, &t->insn[t->at]);
        if (u.low == u.high || look_ahead(t, &low, &high) < 2)
                return;
        tr_flags_clobber(t);
        tr_temps_forget(t);
        emit_rm(e, EMIT_W, 0x8d, T0, H_RSP, -1, 1, low);
        emit_gs(e, EMIT_W, 0x2b, T0, OFF(stack_tag));
        emit_alu_imm(e, EMIT_W, ALU_CMP, T0, (int32_t)MEM_PAGE_SIZE - (high - low));
        c = tr_cold_add(t, COLD_STACK, emit_jcc32(e, CC_A));
        c->back = e->p;
        c->arg = (uint64_t)(high - low);
        t->stack_group_used = t->stack_shared = true;
        t->stack_low = t->sp + low;
        t->stack_high = t->sp + high;
}

/* After an instruction was emitted: follows the stack pointer. */
void
tr_stack_follow(struct tr *t)
{
        struct sp_use u;

        if (!t->stack_shared)
                return;
        u = sp_use(t, &t->insn[t->at]);
        if (u.effect == SP_UNKNOWN)
                t->stack_shared = false;
        t->sp += u.delta;
}

/* ---- the stack by a mirror ---- */

/* Whether the instruction works where the host's RSP is not up to date: it does not use RSP, or an access by it accounts for that. */
static bool
bears_late_stack(const struct tr *t, const struct x86_insn *i)
{
        bool names_rsp = i->reg == X86_RSP || i->rm == X86_RSP || i->vvvv == X86_RSP;

        switch (i->desc->class) {
        case X86_CLASS_PUSH:
        case X86_CLASS_POP:
                return tr_stack_is_direct(t, i) && i->rm != X86_RSP;
        case X86_CLASS_CALL:
        case X86_CLASS_RET:
        case X86_CLASS_NOP:
                return true;
        case X86_CLASS_PLAIN: /* a comparison and its branch are fused, if nothing stands between them */
                return !i->has_mem && !names_rsp && t->at + 1 < t->count && t->insn[t->at + 1].desc->class != X86_CLASS_JCC;
        case X86_CLASS_LEA:
                return i->reg != X86_RSP && i->mem_base != X86_RSP && i->mem_index != X86_RSP;
        default:
                return false;
        }
}

/*
 * PUSH and POP of registers leave it to a later instruction to move RSP, once for all of them.  Where one of them faults, its
 * place in the block says how far RSP is behind (struct soft_place).
 */
void
tr_stack_catch_up(struct tr *t, const struct x86_insn *i)
{
        if (t->stack_late == 0 || (i != NULL && bears_late_stack(t, i)))
                return;
        emit_rm(&t->e, EMIT_W, 0x8d, H_RSP, H_RSP, -1, 1, t->stack_late);
        t->stack_late = 0;
}

/* Whether the instruction, with this use, surely accesses memory off the stack pointer: what VEX encodes may be masked. */
static bool
accesses_stack(const struct x86_insn *i, const struct sp_use *u)
{
        return u->low != u->high && !i->vex;
}

/* Whether an instruction ahead does, before the block is left. */
static bool
accesses_stack_ahead(const struct tr *t)
{
        for (unsigned n = t->at + 1; n < t->count; n++) {
                const struct x86_insn *i = &t->insn[n];
                struct sp_use u = sp_use(t, i);

                if (accesses_stack(i, &u))
                        return true;
                if (x86_insn_is_near_branch(i) || u.effect == SP_UNKNOWN)
                        return false;
        }
        return false;
}

/*
 * v->stack_mirror is what the table of mirrors said for the stack pointer once, and it is used without a look at the table as
 * long as the stack pointer cannot have gone far from there without an access off it: that faults beyond the window, and all
 * that comes from C looks it up anew.  A block that moves the stack pointer makes such an access before it is left, or looks it
 * up; so does one that moves it to who knows where.
 */
void
tr_stack_settle(struct tr *t)
{
        const struct x86_insn *i = &t->insn[t->at];
        struct sp_use u = sp_use(t, i);
        bool near = u.effect == SP_MOVES && u.delta >= -(int32_t)SOFT_MIRROR_STACK_STEP && u.delta <= (int32_t)SOFT_MIRROR_STACK_STEP;

        t->stack_anchored |= accesses_stack(i, &u);
        if (t->ended || u.effect == SP_KEEPS || (near && (t->stack_anchored || accesses_stack_ahead(t))))
                return;
        tr_temp_forget(t, T1);
        regs_emit_stack_mirror(&t->e);
        t->stack_anchored = true;
}

/* t->op: @bytes at stack pointer + @disp, if the block's check covers them.  T0 is lost, flags are kept. */
bool
tr_stack_shared(struct tr *t, int64_t disp, unsigned bytes)
{
        struct emit *e = &t->e;

        if (!in_range(t, (int32_t)disp, (int32_t)disp + (int32_t)bytes))
                return false;
        if (tr_temp_holder(t, TR_STACK_DELTA, 0) < 0) {
                tr_temp_forget(t, T0);
                emit_gs_load(e, EMIT_W, T0, OFF(stack_delta));
                tr_temp_set(t, T0, TR_STACK_DELTA, 0);
        }
        t->op = (struct tr_operand){ H_RSP, T0, 1, (int32_t)disp };
        return true;
}

bool
tr_stack_is_direct(const struct tr *t, const struct x86_insn *i)
{
        bool reg = !i->has_mem && i->desc->rm_kind == X86_OPK_GPR && i->opsize == 8 && regs_host[i->rm] >= 0;

        return t->mirrors && reg && (i->desc->class == X86_CLASS_PUSH || (i->desc->class == X86_CLASS_POP && i->rm != X86_RSP));
}

/* An access by an instruction of its own; t->op is where. */
struct tr_cold *
tr_stack_access(struct tr *t, int32_t disp, unsigned size, unsigned acc)
{
        if (t->mirrors) {
                tr_mirror_off(t, X86_RSP, disp, !tr_stack_is_direct(t, &t->insn[t->at]));
                return NULL;
        }
        if (tr_stack_shared(t, disp, size))
                return NULL;
        t->op = TR_AT_T0;
        tr_flags_clobber(t);
        tr_temp_forget(t, T0);
        tr_stack_addr(t, disp);
        return tr_stack_check(t, size, acc);
}

void
tr_emit_range_cold(struct tr *t, struct tr_cold *c, const uint8_t *thunk)
{
        struct emit *e = &t->e;
        uint8_t *straddles, *f;

        emit_mov_rr(e, EMIT_D, T1, T0);
        emit_alu_imm(e, EMIT_D, ALU_AND, T1, MEM_PAGE_SIZE - 1);
        emit_alu_imm(e, EMIT_D, ALU_CMP, T1, (int32_t)MEM_PAGE_SIZE - (int32_t)c->arg);
        straddles = emit_jcc32(e, CC_A);
        tr_call_thunk(t, thunk, c->rip);
        emit_rr(e, EMIT_W, 0x85, T0, T0); /* test: the host address, or NULL */
        f = emit_jcc32(e, CC_NE);
        emit_fix32(f, c->back);
        emit_fix32(straddles, e->p);
        tr_jump_noshare(t, TR_ALWAYS, c->rip);
}

void
tr_stack_emit_cold(struct tr *t, struct tr_cold *c)
{
        emit_gs(&t->e, EMIT_W, 0x03, T0, OFF(stack_tag));
        tr_emit_range_cold(t, c, t->eng->thunks.stack);
}
