/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Instructions that end a block, and how a block is left.
 *
 * A jump within the page (of 4 KiB, or where code is mapped by large pages of 2 MiB) is
 * linked: its displacement is patched to the target block once that exists.  Every other goes through the vCPU's jump cache by
 * linear address, which is emptied whenever a mapping of code changes.
 * kick.c tells how a vCPU is got out of that.
 */
#include "base/util.h"
#include "cpu/soft/mirror.h"
#include "cpu/soft/translate.h"

/*
 * Whether a jump to @target may be linked: all of the target block must be mapped as this one is.  An instruction
 * at the page's end may reach into the next, so jumps to it go through the jump cache, as jumps to other pages do.
 */
static bool
tr_same_page(const struct tr *t, gva_t target)
{
        uint64_t size = t->mode & SOFT_MODE_LARGE ? 2 * MIB : MEM_PAGE_SIZE;
        uint64_t offset = (t->b->paddr & (size - 1)) + (target - t->b->vaddr);

        return offset <= size - X86_INSN_MAX && !(t->mode & SOFT_MODE_STEP);
}

/* By prefixes of the jump that follows, CS overrides: a NOP would keep it from being fused with a comparison. */
void
tr_align_patch(struct tr *t, unsigned ahead)
{
        for (unsigned n = -((unsigned)(uintptr_t)t->e.p + ahead) & 3; n > 0; n--)
                emit8(&t->e, 0x2e);
}

/* A new exit of the block. */
static struct soft_exit *
tr_exit_slot(struct tr *t, gva_t target)
{
        struct soft_exit *x = soft_meta_alloc(t->eng, sizeof(*x));

        *x = (struct soft_exit){ .block = t->b, .target = target, .next = t->b->exits };
        t->b->exits = x;
        return x;
}

/* @field: the displacement of a jump to @target, aligned. */
static struct soft_exit *
tr_linked(struct tr *t, gva_t target, bool dead, bool backward, uint8_t *field)
{
        struct tr_cold *c = tr_cold_add(t, COLD_EXIT, field);
        struct soft_exit *x = tr_exit_slot(t, target);

        x->flags_dead = dead;
        x->backward = backward;
        x->patch = field;
        x->flags_saved = t->flags == TR_FLAGS_SAVED;
        c->arg = (uint64_t)(uintptr_t)x;
        if (x->flags_dead)
                c->flags = TR_FLAGS_DEAD;
        return x;
}

struct soft_exit *
tr_jump_linked(struct tr *t, unsigned cc, gva_t target, bool dead, bool backward)
{
        tr_align_patch(t, cc == TR_ALWAYS ? 1 : 2);
        return tr_linked(t, target, dead, backward, cc == TR_ALWAYS ? emit_jmp32(&t->e) : emit_jcc32(&t->e, cc));
}

void
tr_jump_noshare(struct tr *t, unsigned cc, gva_t rip)
{
        struct soft_exit *x = tr_jump_linked(t, cc, rip, false, false);

        x->noshare = x->flags_saved = true;
        t->cold[t->cold_count - 1].flags = TR_FLAGS_SAVED;
}

/* T1: what the jump cache has for the guest address in T0; compares the two. */
static void
emit_jump_slot(struct tr *t)
{
        struct emit *e = &t->e;

        tr_shift_right(t, SOFT_JUMP_SHIFT);
        emit_rm(e, EMIT_D, 0x8d, T1, T1, T0, 4, 0); /* lea: see soft_jump_slot */
        emit_alu_imm(e, EMIT_D, ALU_AND, T1, (SOFT_JUMP_COUNT - 1) * sizeof(struct soft_jump));
        emit_gs(e, EMIT_W, 0x03, T1, OFF(jump_cache));
        emit_rm(e, EMIT_W, 0x3b, T0, T1, -1, 1, 0);
}
_Static_assert(sizeof(struct soft_jump) == 16 && SOFT_JUMP_LOW == 2, "emit_jump_slot scales by 4");

/* jmp [r10 + 8] */
static void
emit_jump_code(struct emit *e)
{
        emit8(e, 0x41);
        emit8(e, 0xff);
        emit8(e, 0x62);
        emit8(e, offsetof(struct soft_jump, code));
}

/* Whether a jump here goes by a target map: flags are in the host's register, or dead. */
static bool
tr_by_map(const struct tr *t)
{
        return t->targets && t->flags != TR_FLAGS_SAVED;
}

/* Whether one to @target, in another page, does: no map is made for what is no user's address. */
static bool
tr_far_by_map(const struct tr *t, gva_t target)
{
        return tr_by_map(t) && (t->moves || target >> SOFT_MIRROR_SHIFT < SOFT_MIRROR_CHUNKS);
}

/* To what the map at T1 has for the guest address in T0: mov r10d, [r10 + r11 * 4]; jmp r10 */
static void
emit_map_jump(struct emit *e)
{
        emit_rm(e, EMIT_D, 0x8b, T1, T1, T0, sizeof(uint32_t), 0);
        emit_rr(e, EMIT_D, 0xff, 4, T1);
}

/*
 * Goes to the guest address in T0.  Flags are saved, or dead, or it goes by a map.  @undo is added to RSP
 * if it turns out that the branch must fault.
 */
static void
tr_exit_indirect(struct tr *t, int64_t undo)
{
        struct emit *e = &t->e;

        t->ended = true;
        if (t->mode & SOFT_MODE_STEP) {
                tr_cold_add(t, COLD_LOOKUP, emit_jmp32(e))->arg = (uint64_t)undo;
                return;
        }
        if (tr_by_map(t)) {
                t->b->indirect = true;
                t->b->undo = (int32_t)undo;
                regs_emit_chunk(e, T1, T0, t->flags != TR_FLAGS_DEAD, SOFT_TARGET_TABLE);
                emit_map_jump(e);
                return;
        }
        emit_jump_slot(t);
        tr_cold_add(t, COLD_LOOKUP, emit_jcc32(e, CC_NE))->arg = (uint64_t)undo;
        emit_jump_code(e);
}

/* Goes to the guest address @target, which is known but in another page. */
static void
tr_exit_far(struct tr *t, gva_t target)
{
        struct emit *e = &t->e;
        const struct soft_thunks *th = &t->eng->thunks;
        int32_t offset = (int32_t)(soft_jump_slot(target) * sizeof(struct soft_jump));

        t->ended = true;
        tr_emit_rip(t, T0, target);
        if (t->mode & SOFT_MODE_STEP) {
                emit_jmp_to(e, th->leave);
                return;
        }
        if (tr_far_by_map(t, target)) {
                if (t->moves)
                        regs_emit_chunk(e, T1, T0, t->flags != TR_FLAGS_DEAD, SOFT_TARGET_TABLE);
                else
                        emit_gs_load(e, EMIT_W, T1, SOFT_TARGET_TABLE + (target >> SOFT_MIRROR_SHIFT) * sizeof(uint64_t));
                emit_map_jump(e);
                return;
        }
        if (t->moves) {
                emit_jump_slot(t);
                emit_jcc_to(e, CC_NE, th->lookup);
                emit_jump_code(e);
                return;
        }
        emit_gs_load(e, EMIT_W, T1, OFF(jump_cache));
        emit_rm(e, EMIT_W, 0x3b, T0, T1, -1, 1, offset);
        emit_jcc_to(e, CC_NE, th->lookup);
        emit_rm(e, EMIT_D, 0xff, 4, T1, -1, 1, offset + (int32_t)offsetof(struct soft_jump, code)); /* jmp */
}

static void
tr_flags_leave(struct tr *t, bool dead)
{
        if (t->flags == TR_FLAGS_HOST && !dead)
                tr_flags_save(t);
}

/* Before an indirect branch, and before what of it may fault. */
static void
tr_flags_leave_indirect(struct tr *t)
{
        if (!tr_by_map(t))
                tr_flags_clobber(t);
}

/* Goes on at the guest address @target.  @dead: flags are not wanted there. */
void
tr_exit(struct tr *t, gva_t target, bool dead, bool backward)
{
        t->ended = true;
        tr_temps_forget(t);
        if (!tr_same_page(t, target)) {
                if (!tr_far_by_map(t, target))
                        tr_flags_leave(t, dead);
                tr_exit_far(t, target);
                return;
        }
        if (backward && t->looks) /* the look at `kick` destroys them */
                tr_flags_leave(t, dead);
        tr_jump_linked(t, TR_ALWAYS, target, dead, backward);
}

/* An exit to another page that is seldom taken. */
void
tr_far_emit_cold(struct tr *t, const struct tr_cold *c)
{
        t->flags = c->flags;
        t->at = c->at;
        t->temp[0].holds = t->temp[1].holds = TR_NOTHING; /* what they held was stored */
        tr_exit(t, c->arg, c->dead, false);
}

/* The exit taken when condition @cc holds; the other follows in line. */
static void
tr_exit_if(struct tr *t, unsigned cc, gva_t target, bool dead, bool backward)
{
        struct emit *e = &t->e;
        enum tr_flags flags = t->flags;
        struct tr_temp temp[2] = { t->temp[0], t->temp[1] };
        uint8_t *over;

        if (tr_same_page(t, target) && (!backward || !t->looks || dead || t->flags != TR_FLAGS_HOST)) {
                if (!backward || !tr_loop_back(t, cc, target, dead))
                        tr_jump_linked(t, cc, target, dead, backward);
                return;
        }
        if (!backward) {
                struct tr_cold *c = tr_cold_add(t, COLD_FAR, emit_jcc32(e, cc));

                c->arg = target;
                c->dead = dead;
                return;
        }
        over = emit_jcc32(e, cc ^ 1);
        tr_exit(t, target, dead, backward);
        emit_fix32(over, e->p);
        t->ended = false;
        t->flags = flags;
        t->temp[0] = temp[0];
        t->temp[1] = temp[1];
}

static bool
tr_taken_dead(const struct tr *t)
{
        return t->taken_dead >> t->at & 1;
}

static void
tr_jcc(struct tr *t, const struct x86_insn *i)
{
        gva_t target = tr_wrap_rip(t, i, t->next + (uint64_t)i->imm);

        tr_temps_store(t);
        tr_flags_for(t);
        tr_exit_if(t, i->cond, target, tr_taken_dead(t), target <= t->rip);
        if (t->at + 1 == t->count)
                tr_exit(t, t->next, t->end_dead, false);
        else
                t->sides++;
}

static void
tr_jmp(struct tr *t, const struct x86_insn *i)
{
        gva_t target = tr_wrap_rip(t, i, t->next + (uint64_t)i->imm);
        bool dead = tr_taken_dead(t);

        tr_temps_store(t);
        if (tr_same_page(t, target) && tr_loop_back(t, TR_ALWAYS, target, dead))
                t->ended = true;
        else
                tr_exit(t, target, dead, target <= t->rip);
}

/* LOOP, LOOPE, LOOPNE, JrCXZ: none changes a flag. */
static void
tr_loop(struct tr *t, const struct x86_insn *i)
{
        struct emit *e = &t->e;
        gva_t target = tr_wrap_rip(t, i, t->next + (uint64_t)i->imm);
        bool jcxz = (i->opcode & 3) == 3;
        uint8_t *out = NULL;

        if (t->flags == TR_FLAGS_HOST)
                tr_flags_save(t);
        if (!jcxz && i->asize == 2) {
                emit_rm(e, EMIT_D, 0x8d, T1, H_RCX, -1, 1, -1);
                emit8(e, 0x66);
                emit_rr(e, EMIT_D, 0x8b, H_RCX, T1);
        } else if (!jcxz) {
                emit_rm(e, i->asize == 8, 0x8d, H_RCX, H_RCX, -1, 1, -1);
        }
        if (i->opcode == 0xe0 || i->opcode == 0xe1) { /* ZF: bit 6 of the LAHF byte */
                emit_gs(e, EMIT_D, 0xf7, 0, OFF(flags_saved));
                emit32(e, X86_FL_ZF << 8);
                out = emit_jcc32(e, i->opcode == 0xe0 ? CC_NE : CC_E);
        }
        if (i->asize == 2)
                emit8(e, 0x66);
        emit_rr(e, i->asize == 8, 0x85, H_RCX, H_RCX);
        tr_exit_if(t, jcxz ? CC_E : CC_NE, target, tr_taken_dead(t), target <= t->rip);
        if (out != NULL)
                emit_fix32(out, e->p);
        tr_exit(t, t->next, t->end_dead, false);
}

static void
call_access(struct tr *t, const struct x86_insn *i)
{
        struct emit *e = &t->e;

        if (i->opsize == 8 && !t->moves && t->next == (uint64_t)(int32_t)t->next) {
                tr_emit_op(t, EMIT_W, 0xc7, 0); /* mov [r11], imm32 */
                emit32(e, (uint32_t)t->next);
                tr_stack_adjust(t, -(int32_t)i->opsize);
                return;
        }
        tr_emit_rip(t, T1, t->next);
        if (i->opsize == 2)
                emit8(e, 0x66);
        tr_emit_op(t, i->opsize == 8, 0x89, T1);
        tr_stack_adjust(t, -(int32_t)i->opsize);
}

static struct tr_cold *
tr_push_return(struct tr *t, const struct x86_insn *i)
{
        struct tr_cold *c;

        c = tr_stack_access(t, -(int32_t)i->opsize, i->opsize, X86_ACC_W);
        call_access(t, i);
        tr_mem_done(t, c, i, call_access, t->flags);
        return c;
}

static void
tr_call(struct tr *t, const struct x86_insn *i)
{
        gva_t target = tr_wrap_rip(t, i, t->next + (uint64_t)i->imm);
        struct tr_cold *c;

        c = tr_push_return(t, i);
        if (c != NULL)
                c->leave_at = target;
        tr_exit(t, target, tr_taken_dead(t), target <= t->rip);
}

/* The target of an indirect jump or call into T0. */
static void
tr_target(struct tr *t, const struct x86_insn *i)
{
        struct emit *e = &t->e;

        if (i->has_mem) {
                tr_mem(t, i, i->opsize, X86_ACC_R, 0);
                tr_temp_forget(t, T0);
                tr_emit_op(t, i->opsize == 8, i->opsize == 2 ? 0x0fb7 : 0x8b, T0);
                return;
        }
        tr_temp_forget(t, T0);
        tr_load_guest(t, T0, i->rm);
        if (i->opsize == 4)
                emit_mov_rr(e, EMIT_D, T0, T0);
        else if (i->opsize == 2)
                emit_rr(e, EMIT_D, 0x0fb7, T0, T0);
}

static void
tr_call_indirect(struct tr *t, const struct x86_insn *i)
{
        struct emit *e = &t->e;
        struct tr_cold *c;

        tr_flags_leave_indirect(t);
        if (!i->has_mem && i->opsize == 8 && regs_host[i->rm] >= 0 && i->rm != X86_RSP) { /* where the push leaves it */
                c = tr_push_return(t, i);
                if (c != NULL)
                        c->leave_in = (int8_t)regs_host[i->rm];
                tr_target(t, i);
        } else {
                tr_target(t, i);
                emit_gs_store(e, EMIT_W, T0, OFF(scratch[1]));
                c = tr_push_return(t, i);
                if (c != NULL)
                        c->leave_in = TR_LEAVE_SCRATCH;
                tr_temp_forget(t, T0);
                emit_gs_load(e, EMIT_W, T0, OFF(scratch[1]));
        }
        tr_exit_indirect(t, i->opsize);
}

static void
tr_ret(struct tr *t, const struct x86_insn *i)
{
        struct emit *e = &t->e;
        int32_t popped = (int32_t)(i->opsize + (i->imm_bytes != 0 ? (i->imm & 0xffff) : 0));
        unsigned target;

        tr_flags_leave_indirect(t);
        tr_stack_access(t, 0, i->opsize, X86_ACC_R);
        /* In T1, should the adjustment want T0. */
        target = t->bits == X86_MODE_64 ? T0 : T1;
        tr_temp_forget(t, target);
        tr_emit_op(t, i->opsize == 8, i->opsize == 2 ? 0x0fb7 : 0x8b, target);
        tr_stack_adjust(t, popped);
        if (target != T0)
                emit_mov_rr(e, EMIT_W, T0, target);
        tr_exit_indirect(t, -(int64_t)popped);
}

void
tr_flow(struct tr *t, const struct x86_insn *i)
{
        switch (i->desc->class) {
        case X86_CLASS_JMP:
                tr_jmp(t, i);
                break;
        case X86_CLASS_JCC:
                tr_jcc(t, i);
                break;
        case X86_CLASS_LOOP:
                tr_loop(t, i);
                break;
        case X86_CLASS_CALL:
                tr_call(t, i);
                break;
        case X86_CLASS_RET:
                tr_ret(t, i);
                break;
        case X86_CLASS_JMP_IND:
                tr_flags_leave_indirect(t);
                tr_target(t, i);
                tr_exit_indirect(t, 0);
                break;
        default: /* X86_CLASS_CALL_IND */
                tr_call_indirect(t, i);
                break;
        }
}

const struct x86_insn *
tr_keep_insn(struct tr *t, const struct x86_insn *i)
{
        struct x86_insn *kept = soft_meta_alloc(t->eng, sizeof(*kept));

        *kept = *i;
        return kept;
}

/* An instruction that a C helper does. */
void
tr_sys(struct tr *t, const struct x86_insn *i, bool end)
{
        if (t->flags == TR_FLAGS_HOST)
                tr_flags_save(t);
        emit_mov_imm(&t->e, T0, (uint64_t)(uintptr_t)tr_keep_insn(t, i));
        if (end) {
                tr_emit_rip(t, T1, t->rip);
                emit_jmp_to(&t->e, t->eng->thunks.sys_end);
                t->ended = true;
                return;
        }
        tr_call_thunk(t, t->eng->thunks.sys, t->rip);
        t->flags = TR_FLAGS_SAVED;
}
