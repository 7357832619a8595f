/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Memory accesses by mirrors, see mirror.h.
 *
 * What the table says about a base register stays in a temporary for further accesses off it, as long as the register
 * keeps its value or what is added to it is known.  An address that is a sum of registers is computed first.  None
 * of it touches the flags, and there is nothing to be done behind the block: what is not mapped faults.
 */
#include "base/util.h"
#include "cpu/soft/mirror.h"
#include "cpu/soft/translate.h"

/* What TR_MIRROR_HOST is the host address of. */
enum {
        HOST_ZERO, /* linear address 0 */
        HOST_PAGE, /* the linear page of the block */
        HOST_FS,
        HOST_GS,
};

/* rorx @dst, @src, 32; mov @dst, @dst (32 bits): the number of its chunk.  mov @dst, gs:[@dst * 8 + table] */
static void
emit_delta(struct tr *t, unsigned dst, unsigned src)
{
        struct emit *e = &t->e;

        emit_rorx(e, dst, src, SOFT_MIRROR_SHIFT);
        emit_mov_rr(e, EMIT_D, dst, dst);
        emit8(e, 0x65);
        emit_rm(e, EMIT_W, 0x8b, dst, -1, (int)dst, 8, SOFT_MIRROR_TABLE);
}

/* lea r11, [r11 + r10] */
static void
emit_sum(struct tr *t)
{
        emit_rm(&t->e, EMIT_W, 0x8d, T0, T0, T1, 1, 0);
}

/* How many of its register operands are to be put in temporaries: R10, R11, and AH to BH. */
static unsigned
temps_wanted(const struct x86_insn *i)
{
        const struct x86_opdesc *d = i->desc;
        bool high = tr_is_high_byte(i, i->reg, false);
        bool reg = d->reg_kind == X86_OPK_GPR && i->has_modrm && (high || regs_host[i->reg] < 0);
        bool vvvv = d->vvvv_kind == X86_OPK_GPR && regs_host[i->vvvv] < 0;

        return reg + (vvvv && !(reg && i->vvvv == i->reg));
}

/* The temporary that gets a delta: one that holds nothing, or no guest register, else that which got one longer ago. */
static unsigned
choose_temp(struct tr *t, unsigned base, bool t1_wanted)
{
        enum tr_holds h0 = t->temp[0].holds, h1 = t->temp[1].holds;

        if (base == T1 || (t1_wanted && base != T0))
                return T0;
        if (base == T0)
                return T1;
        if (h0 == TR_NOTHING || h1 == TR_NOTHING)
                return h0 == TR_NOTHING ? T0 : T1;
        if ((h0 == TR_GUEST) != (h1 == TR_GUEST))
                return h0 == TR_GUEST ? T1 : T0;
        t->mirror_turn = !t->mirror_turn;
        return t->mirror_turn ? T0 : T1;
}

/* T1 is wanted for something else: if t->op has it, its sum goes to T0. */
static void
leave_t1(struct tr *t)
{
        if (t->op.base != T1 && t->op.index != T1)
                return;
        tr_temp_forget(t, T0);
        emit_rm(&t->e, EMIT_W, 0x8d, T0, t->op.base, t->op.index, t->op.scale, t->op.disp);
        t->op = TR_AT_T0;
}

/* t->op: what is at @disp from guest register @guest, which host register @base holds. */
static void
off_register(struct tr *t, unsigned guest, unsigned base, int32_t disp, bool t1_wanted)
{
        int temp = tr_temp_holder(t, TR_MIRROR_DELTA, (int)guest);

        if (temp < 0) {
                temp = (int)choose_temp(t, base, t1_wanted);
                tr_temp_forget(t, (unsigned)temp);
                emit_delta(t, (unsigned)temp, base);
                tr_temp_set(t, (unsigned)temp, TR_MIRROR_DELTA, (int)guest);
        }
        t->op = (struct tr_operand){ (uint8_t)base, (int8_t)temp, 1, disp };
        if (t1_wanted)
                leave_t1(t);
}

static bool
fits(int64_t disp)
{
        return disp == (int32_t)disp;
}

/* T0: the host address of what @what names. */
static void
host_address(struct tr *t, int what)
{
        struct emit *e = &t->e;

        if (tr_temp_holder(t, TR_MIRROR_HOST, what) >= 0)
                return;
        tr_temp_forget(t, T0);
        if (what == HOST_ZERO) {
                emit_gs_load(e, EMIT_W, T0, SOFT_MIRROR_TABLE);
        } else {
                tr_temp_forget(t, T1);
                if (what == HOST_PAGE)
                        tr_emit_rip(t, T0, tr_page(t));
                else
                        emit_gs_load(e, EMIT_W, T0, OFF(seg_base[0]) + 8 * (what == HOST_FS ? X86_FS : X86_GS));
                emit_delta(t, T1, T0);
                emit_sum(t);
        }
        tr_temp_set(t, T0, TR_MIRROR_HOST, what);
}

/* What a host address kept in a temporary leads to the operand, and at which distance; -1: none. */
static int
host_of(const struct tr *t, const struct x86_insn *i, int64_t *ret_at)
{
        bool segment = i->mem_seg == X86_FS || i->mem_seg == X86_GS;

        *ret_at = i->disp;
        if (i->asize != 8 || i->mem_index >= 0)
                return -1;
        if (i->mem_base == X86_BASE_RIP && !segment) {
                *ret_at += (int64_t)t->next;
                if (!t->moves && *ret_at >= 0 && fits(*ret_at))
                        return HOST_ZERO;
                *ret_at -= (int64_t)tr_page(t);
                return HOST_PAGE;
        }
        if (i->mem_base >= 0 || (!segment && i->disp < 0))
                return -1;
        return !segment ? HOST_ZERO : i->mem_seg == X86_FS ? HOST_FS : HOST_GS;
}

/* T0: the host address of what guest register @guest points to, but for the drift returned. */
static int64_t
host_base(struct tr *t, unsigned guest)
{
        unsigned base;

        if (tr_temp_holder(t, TR_MIRROR_BASE, (int)guest) >= 0)
                return t->temp[0].drift;
        base = tr_ea_reg(t, guest);
        if (base == T0) {
                tr_temp_forget(t, T1);
                emit_mov_rr(&t->e, EMIT_W, T1, T0);
                base = T1;
        }
        tr_temp_forget(t, T0);
        emit_delta(t, T0, base);
        emit_rm(&t->e, EMIT_W, 0x8d, T0, (int)base, T0, 1, 0);
        tr_temp_set(t, T0, TR_MIRROR_BASE, (int)guest);
        return 0;
}

/* Whether guest register @guest can be an index beside a host address: its number is within the guards. */
static bool
is_narrow(const struct tr *t, int guest)
{
        return guest >= 0 && regs_host[guest] >= 0 && (t->narrow >> guest & 1);
}

/* t->op: an operand with an index of 32 bits, signed or not.  False: it has none. */
static bool
by_narrow_index(struct tr *t, const struct x86_insn *i, int32_t extra)
{
        int base = i->mem_base, index = i->mem_index;
        int64_t disp = i->disp + extra;

        if (i->mem_scale == 1 && !is_narrow(t, index) && is_narrow(t, base) && base != X86_RSP) {
                base = i->mem_index;
                index = i->mem_base;
        }
        if (!is_narrow(t, index) || !fits(disp - (int64_t)SOFT_MIRROR_DRIFT) ||
            !fits(disp + (int64_t)SOFT_MIRROR_DRIFT))
                return false;
        if (base < 0)
                host_address(t, HOST_ZERO);
        else
                disp += host_base(t, (unsigned)base);
        t->op = (struct tr_operand){ T0, regs_host[index], i->mem_scale, (int32_t)disp };
        return true;
}

static bool
same_sum(const struct x86_insn *a, const struct x86_insn *b)
{
        return b->has_mem && b->asize == 8 && b->mem_base == a->mem_base && b->mem_index == a->mem_index &&
            b->mem_scale == a->mem_scale && b->mem_seg != X86_FS && b->mem_seg != X86_GS;
}

/* Whether a later instruction adds up the same registers. */
static bool
sum_comes_again(const struct tr *t, const struct x86_insn *i)
{
        uint16_t parts = (uint16_t)((i->mem_base >= 0 ? 1u << i->mem_base : 0) | 1u << i->mem_index);

        for (unsigned n = t->at; n + 1 < t->count; n++) {
                if (tr_ends_addresses(&t->insn[n]) || (x86_insn_writes(&t->insn[n]) & parts))
                        return false;
                if (same_sum(i, &t->insn[n + 1]))
                        return t->insn[n + 1].desc->class == X86_CLASS_PLAIN;
        }
        return false;
}

/* t->op: an operand with an index. */
static void
by_sum(struct tr *t, const struct x86_insn *i, int32_t extra, bool t1_wanted)
{
        struct tr_temp *m = &t->temp[0];

        if (m->holds != TR_MIRROR_SUM || m->what != i->mem_base || m->index != i->mem_index ||
            m->scale != i->mem_scale) {
                bool again = i->disp > INT32_MIN && sum_comes_again(t, i);

                tr_ea_t0(t, i, again ? -(int32_t)i->disp : extra);
                tr_temp_forget(t, T1);
                emit_delta(t, T1, T0);
                if (!again) {
                        t->op = (struct tr_operand){ T0, T1, 1, 0 };
                        if (t1_wanted)
                                leave_t1(t);
                        return;
                }
                emit_sum(t);
                tr_temp_set(t, T0, TR_MIRROR_SUM, i->mem_base);
                m->index = i->mem_index;
                m->scale = i->mem_scale;
        }
        t->op = (struct tr_operand){ T0, -1, 1, (int32_t)i->disp + extra };
}

/* t->op: any operand. */
static void
by_address(struct tr *t, const struct x86_insn *i, int32_t extra, bool t1_wanted)
{
        tr_ea_t0(t, i, extra);
        tr_temp_forget(t, T1);
        if (i->mem_seg == X86_FS || i->mem_seg == X86_GS) {
                emit_gs_load(&t->e, EMIT_W, T1, OFF(seg_base[0]) + 8 * i->mem_seg);
                emit_sum(t);
        }
        emit_delta(t, T1, T0);
        t->op = (struct tr_operand){ T0, T1, 1, 0 };
        if (t1_wanted)
                leave_t1(t);
}

static void
address(struct tr *t, const struct x86_insn *i, int32_t extra)
{
        bool t1_wanted = i->desc->class != X86_CLASS_PLAIN || temps_wanted(i) > 0;
        bool wide = i->asize == 8 && i->mem_seg != X86_FS && i->mem_seg != X86_GS && fits(i->disp + extra);
        int64_t at;
        int host = host_of(t, i, &at);

        if (host >= 0 && fits(at)) {
                host_address(t, host);
                t->op = (struct tr_operand){ T0, -1, 1, (int32_t)at };
        } else if (wide && i->mem_index >= 0 && by_narrow_index(t, i, extra)) {
                return;
        } else if (wide && i->mem_index >= 0) {
                by_sum(t, i, extra, t1_wanted);
        } else if (wide && i->mem_base >= 0 && i->mem_base != X86_BASE_RIP) {
                off_register(t, (unsigned)i->mem_base, tr_ea_reg(t, (unsigned)i->mem_base), (int32_t)(i->disp + extra),
                    t1_wanted);
        } else {
                by_address(t, i, extra, t1_wanted);
        }
}

void
tr_mirror_mem(struct tr *t, const struct x86_insn *i, int32_t extra)
{
        tr_temps_store(t);
        tr_flags_for(t); /* whatever faults does so with the flags that tr_flags_note says */
        tr_flags_note(t);
        address(t, i, extra);
        if (i->desc->class != X86_CLASS_PLAIN || temps_wanted(i) < 2)
                return;
        /* ANDN and its kin: one operand will be in a borrowed register, which must not be when the access faults. */
        tr_temp_forget(t, T1);
        tr_emit_op(t, i->opsize == 8, 0x8b, T1);
}

void
tr_mirror_off(struct tr *t, unsigned guest, int32_t disp)
{
        tr_temps_store(t);
        off_register(t, guest, (unsigned)regs_host[guest], disp, true);
}

/* True if the instruction adds a known number to @guest, or leaves it alone. */
static bool
change_of(const struct x86_insn *i, unsigned guest, int64_t *ret_change)
{
        const struct x86_opdesc *d = i->desc;

        *ret_change = 0;
        if ((d->class == X86_CLASS_PUSH || d->class == X86_CLASS_POP) && guest == X86_RSP) {
                *ret_change = d->class == X86_CLASS_PUSH ? -(int64_t)i->opsize : i->opsize;
                return d->class == X86_CLASS_PUSH || i->has_mem || i->rm != X86_RSP;
        }
        if (!(x86_insn_writes(i) >> guest & 1))
                return true;
        if (i->opsize != 8)
                return false;
        if (d->class == X86_CLASS_LEA && i->mem_base == (int)guest && i->mem_index < 0 && i->asize == 8) {
                *ret_change = i->disp;
                return true;
        }
        if (i->map != X86_MAP_1B || i->has_mem || i->rm != guest)
                return false;
        if ((i->opcode == 0x81 || i->opcode == 0x83) && ((i->reg & 7) == 0 || (i->reg & 7) == 5)) {
                *ret_change = (i->reg & 7) == 0 ? i->imm : -i->imm;
                return true;
        }
        if (i->opcode == 0xff && (i->reg & 7) < 2) {
                *ret_change = (i->reg & 7) == 0 ? 1 : -1;
                return true;
        }
        return false;
}

static void
follow_narrow(struct tr *t, const struct x86_insn *i)
{
        uint16_t written = x86_insn_writes(i);

        if (tr_ends_addresses(i))
                t->narrow = 0;
        else if (x86_insn_extends(i))
                t->narrow |= written;
        else
                t->narrow &= (uint16_t)~written;
}

/* Whether the temporary holds still what it says. */
static bool
still_holds(struct tr_temp *m, const struct x86_insn *i)
{
        int64_t change;

        switch (m->holds) {
        case TR_MIRROR_DELTA:
        case TR_MIRROR_BASE:
                if (tr_ends_addresses(i) || !change_of(i, (unsigned)m->what, &change) || change != (int32_t)change)
                        return false;
                m->drift += change;
                return m->drift >= -(int64_t)SOFT_MIRROR_DRIFT && m->drift <= (int64_t)SOFT_MIRROR_DRIFT;
        case TR_MIRROR_SUM:
                return !tr_ends_addresses(i) && !(x86_insn_writes(i) & ((m->what >= 0 ? 1u << m->what : 0) | 1u << m->index));
        case TR_MIRROR_HOST:
                return !tr_ends_addresses(i);
        default:
                return true;
        }
}

void
tr_mirror_follow(struct tr *t, const struct x86_insn *i)
{
        follow_narrow(t, i);
        for (unsigned n = 0; n < 2; n++)
                if (!still_holds(&t->temp[n], i))
                        t->temp[n].holds = TR_NOTHING;
}
