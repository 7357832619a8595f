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

/* What to add to the address in @src, to @dst.  For the stack pointer it is known (tr_stack.c). */
static void
emit_delta(struct tr *t, unsigned dst, unsigned src)
{
        bool held = tr_flags_held(t);

        if (src == H_RSP) {
                emit_gs_load(&t->e, EMIT_W, dst, OFF(stack_mirror));
                return;
        }
        if (!held)
                tr_flags_clobber(t);
        regs_emit_chunk(&t->e, dst, src, held, SOFT_MIRROR_TABLE);
}

/* lea @dst, [@dst + @base + @index * @scale]; @base: -1 for none */
static void
emit_add(struct tr *t, unsigned dst, int base, int index, unsigned scale)
{
        if (index >= 0)
                emit_rm(&t->e, EMIT_W, 0x8d, dst, (int)dst, index, scale, 0);
        if (base >= 0)
                emit_rm(&t->e, EMIT_W, 0x8d, dst, base, (int)dst, 1, 0);
}

/* From now on @temp, which the caller has loaded, holds what depends on @what; no branch led around this if none has come yet. */
static void
looked_up(struct tr *t, unsigned temp, enum tr_holds holds, int what)
{
        tr_temp_set(t, temp, holds, what);
        t->temp[temp == T1].sure = t->sides == 0;
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

/*
 * The temporary that gets what was looked up: one that holds nothing, or that the next turn of a loop does not want, or
 * no guest register, else that which got one longer ago.
 */
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
        if ((h0 == TR_MIRROR_NEAR) != (h1 == TR_MIRROR_NEAR)) /* had again by one load */
                return h0 == TR_MIRROR_NEAR ? T0 : T1;
        if (tr_loop_keeps(t, T0) != tr_loop_keeps(t, T1))
                return tr_loop_keeps(t, T0) ? T1 : T0;
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

/* True if the instruction adds a known number to the sum of these registers, or leaves it alone. */
static bool
sum_change(const struct x86_insn *i, int base, int index, unsigned scale, int64_t *ret_change)
{
        int64_t of_base = 0, of_index;

        if ((base >= 0 && !x86_insn_adds(i, (unsigned)base, &of_base)) || !x86_insn_adds(i, (unsigned)index, &of_index))
                return false;
        *ret_change = of_base + of_index * (int64_t)scale;
        return true;
}

/* True if the instruction adds a known number to what was looked up, or leaves it alone. */
static bool
drift_of(const struct tr_temp *m, const struct x86_insn *i, int64_t *ret_change)
{
        if (m->holds == TR_MIRROR_SUM)
                return sum_change(i, m->what, m->index, m->scale, ret_change);
        return x86_insn_adds(i, (unsigned)m->what, ret_change);
}

/* Whether these registers change by known numbers only, from one turn of the block to the next. */
static bool
moves_evenly(const struct tr *t, const struct tr_temp *m)
{
        int64_t change;

        for (unsigned n = 0; n < t->count; n++)
                if (!drift_of(m, &t->insn[n], &change))
                        return false;
        return true;
}

static void
emit_near(struct tr *t, unsigned temp, int near)
{
        emit_gs_load(&t->e, EMIT_W, temp, TR_NEAR_DELTA(near));
        tr_temp_set(t, temp, TR_MIRROR_NEAR, near);
}

/* The temporary with what to add to addresses in near chunk @near. */
static int
load_near(struct tr *t, int near, unsigned base, bool t1_wanted)
{
        int temp = tr_temp_holder(t, TR_MIRROR_NEAR, near);

        if (temp < 0) {
                temp = (int)choose_temp(t, base, t1_wanted);
                tr_temp_forget(t, (unsigned)temp);
                emit_near(t, (unsigned)temp, near);
        }
        return temp;
}

/* The near chunk that the guest register, which host register @base holds, points into; checks it @here, if it pays.  -1: none. */
static int
near_of(struct tr *t, unsigned guest, unsigned base, bool here)
{
        struct tr_temp delta = { .holds = TR_MIRROR_DELTA, .what = (int8_t)guest };
        int near = guest == X86_RSP ? -1 : tr_guess_known(t, guest);

        if (guest == X86_RSP || near >= 0 || !here || (t->loops && moves_evenly(t, &delta)))
                return near;
        return tr_guess_check(t, guest, base, base == T0 || base == T1 ? (int)base : -1);
}

/*
 * t->op: what is at @disp from guest register @guest, which host register @base holds.  @here: nothing of the instruction
 * has been done.
 */
static void
off_register(struct tr *t, unsigned guest, unsigned base, int32_t disp, bool t1_wanted, bool here)
{
        int temp = tr_temp_holder(t, TR_MIRROR_DELTA, (int)guest);
        int near = temp < 0 ? near_of(t, guest, base, here) : -1;

        if (near >= 0) {
                temp = load_near(t, near, base, t1_wanted);
        } else if (temp < 0) {
                temp = (int)choose_temp(t, base, t1_wanted);
                tr_temp_forget(t, (unsigned)temp);
                emit_delta(t, (unsigned)temp, base);
                looked_up(t, (unsigned)temp, TR_MIRROR_DELTA, (int)guest);
        }
        if (guest == X86_RSP)
                disp += t->stack_late;
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
                if (what == HOST_PAGE && !t->moves && tr_page(t) >> SOFT_MIRROR_SHIFT < SOFT_MIRROR_CHUNKS)
                        emit_gs_load(e, EMIT_W, T1, SOFT_MIRROR_TABLE + (tr_page(t) >> SOFT_MIRROR_SHIFT) * sizeof(uint64_t));
                else
                        emit_delta(t, T1, T0);
                emit_add(t, T0, T1, -1, 1);
        }
        looked_up(t, T0, TR_MIRROR_HOST, what);
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
host_base(struct tr *t, unsigned guest, bool here)
{
        unsigned base;
        int near, holder;

        if (tr_temp_holder(t, TR_MIRROR_BASE, (int)guest) >= 0)
                return t->temp[0].drift;
        base = tr_ea_reg(t, guest);
        if (base == T0) {
                tr_temp_forget(t, T1);
                emit_mov_rr(&t->e, EMIT_W, T1, T0);
                base = T1;
        }
        near = near_of(t, guest, base, here);
        holder = near < 0 ? -1 : tr_temp_holder(t, TR_MIRROR_NEAR, near);
        tr_temp_forget(t, T0);
        if (near < 0)
                emit_delta(t, T0, base);
        else if (holder < 0)
                emit_near(t, T0, near);
        if (holder == T1)
                emit_rm(&t->e, EMIT_W, 0x8d, T0, (int)base, T1, 1, 0);
        else
                emit_add(t, T0, (int)base, -1, 1);
        looked_up(t, T0, TR_MIRROR_BASE, (int)guest);
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
by_narrow_index(struct tr *t, const struct x86_insn *i, int32_t extra, bool here)
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
                disp += host_base(t, (unsigned)base, here);
        t->op = (struct tr_operand){ T0, regs_host[index], i->mem_scale, (int32_t)disp };
        return true;
}

static bool
same_sum(const struct x86_insn *a, const struct x86_insn *b)
{
        return b->has_mem && b->asize == 8 && b->mem_base == a->mem_base && b->mem_index == a->mem_index &&
            b->mem_scale == a->mem_scale && b->mem_seg != X86_FS && b->mem_seg != X86_GS;
}

/* Whether the next turn of the block adds up the same registers. */
static bool
loop_repeats_sum(const struct tr *t, const struct x86_insn *i)
{
        struct tr_temp m = { .holds = TR_MIRROR_SUM, .what = i->mem_base, .index = i->mem_index, .scale = i->mem_scale };

        return t->loop_at != NULL && t->sides == 0 && (t->loop_turn == 0 || tr_loop_wants(t, &m)) && moves_evenly(t, &m);
}

/* Whether a later instruction adds up the same registers, as far as known numbers are added to them. */
static bool
sum_comes_again(const struct tr *t, const struct x86_insn *i)
{
        int64_t change;

        for (unsigned n = t->at; n + 1 < t->count; n++) {
                if (tr_ends_addresses(&t->insn[n]) ||
                    !sum_change(&t->insn[n], i->mem_base, i->mem_index, i->mem_scale, &change))
                        return false;
                if (same_sum(i, &t->insn[n + 1]))
                        return t->insn[n + 1].desc->class == X86_CLASS_PLAIN;
        }
        return loop_repeats_sum(t, i);
}

/* The temporary with the host address of the operand, but for a displacement; -1: none. */
static int
sum_holder(const struct tr *t, const struct x86_insn *i, int32_t extra)
{
        for (unsigned n = 0; n < 2; n++) {
                const struct tr_temp *m = &t->temp[n];

                if (m->holds == TR_MIRROR_SUM && m->what == i->mem_base && m->index == i->mem_index && m->scale == i->mem_scale)
                        return fits(i->disp + extra + m->drift) ? (n == 0 ? T0 : T1) : -1;
        }
        return -1;
}

/* @temp: the host address of the sum of these registers, which have host registers. */
static void
load_sum(struct tr *t, unsigned temp, int base, int index, unsigned scale, const struct x86_insn *guess)
{
        int host = base < 0 ? -1 : regs_host[base];
        int near;

        tr_temp_forget(t, temp);
        emit_rm(&t->e, EMIT_W, 0x8d, temp, host, regs_host[index], scale, 0);
        near = guess == NULL ? -1 : tr_guess_address(t, guess, temp);
        if (near >= 0) {
                tr_guess_add(t, temp, near);
        } else {
                emit_delta(t, temp, temp);
                emit_add(t, temp, host, regs_host[index], scale);
        }
        looked_up(t, temp, TR_MIRROR_SUM, base);
        t->temp[temp == T1].index = (int8_t)index;
        t->temp[temp == T1].scale = (uint8_t)scale;
}

/* t->op: an operand with an index. */
static void
by_sum(struct tr *t, const struct x86_insn *i, int32_t extra, bool t1_wanted, bool here)
{
        int near;
        bool pinned = regs_host[i->mem_index] >= 0 && (i->mem_base < 0 || regs_host[i->mem_base] >= 0);
        int temp = sum_holder(t, i, extra);

        if (temp < 0 && pinned && sum_comes_again(t, i)) {
                temp = (int)choose_temp(t, (unsigned)regs_host[i->mem_index], t1_wanted);
                load_sum(t, (unsigned)temp, i->mem_base, i->mem_index, i->mem_scale, here ? i : NULL);
        }
        if (temp >= 0) {
                t->op = (struct tr_operand){ (uint8_t)temp, -1, 1, (int32_t)(i->disp + extra + t->temp[temp == T1].drift) };
        } else {
                tr_ea_t0(t, i, extra);
                near = here ? tr_guess_address(t, i, T0) : -1;
                if (near >= 0) {
                        tr_guess_add(t, T0, near);
                        t->op = TR_AT_T0;
                        return;
                }
                tr_temp_forget(t, T1);
                emit_delta(t, T1, T0);
                t->op = (struct tr_operand){ T0, T1, 1, 0 };
        }
        if (t1_wanted)
                leave_t1(t);
}

/* t->op: any operand. */
static void
by_address(struct tr *t, const struct x86_insn *i, int32_t extra, bool t1_wanted)
{
        tr_ea_t0(t, i, extra);
        tr_temp_forget(t, T1);
        if (i->mem_seg == X86_FS || i->mem_seg == X86_GS) {
                emit_gs_load(&t->e, EMIT_W, T1, OFF(seg_base[0]) + 8 * i->mem_seg);
                emit_add(t, T0, T1, -1, 1);
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
        bool here = i->desc->class == X86_CLASS_PLAIN || i->desc->class == X86_CLASS_JMP_IND || i->desc->class == X86_CLASS_CALL_IND;
        bool wide = i->asize == 8 && i->mem_seg != X86_FS && i->mem_seg != X86_GS && fits(i->disp + extra);
        int64_t at;
        int host = host_of(t, i, &at);

        if (host >= 0 && fits(at)) {
                host_address(t, host);
                t->op = (struct tr_operand){ T0, -1, 1, (int32_t)at };
        } else if (wide && i->mem_index >= 0 && by_narrow_index(t, i, extra, here)) {
                return;
        } else if (wide && i->mem_index >= 0) {
                by_sum(t, i, extra, t1_wanted, here);
        } else if (wide && i->mem_base >= 0 && i->mem_base != X86_BASE_RIP) {
                off_register(t, (unsigned)i->mem_base, tr_ea_reg(t, (unsigned)i->mem_base), (int32_t)(i->disp + extra),
                    t1_wanted, here);
        } else {
                by_address(t, i, extra, t1_wanted);
        }
}

/*
 * The access about to be made at t->op faults if what it was looked up by has left its window: for what is added to
 * that in every turn of a loop; what need not access memory, as VMASKMOV, is done by C.  With another index than the
 * window's distance it may be far from it.
 */
static void
note_proof(struct tr *t)
{
        for (unsigned n = 0; n < 2; n++) {
                struct tr_temp *m = &t->temp[n];
                unsigned host = n == 0 ? T0 : T1;

                m->proved |= m->holds == TR_MIRROR_DELTA ? t->op.index == (int)host : t->op.base == host && t->op.index < 0;
        }
}

void
tr_mirror_mem(struct tr *t, const struct x86_insn *i, int32_t extra)
{
        tr_temps_store(t);
        tr_flags_for(t); /* whatever faults does so with the flags that tr_flags_note says */
        tr_flags_note(t);
        address(t, i, extra);
        note_proof(t);
        if (i->desc->class != X86_CLASS_PLAIN || temps_wanted(i) < 2)
                return;
        /* ANDN and its kin: one operand will be in a borrowed register, which must not be when the access faults. */
        tr_temp_forget(t, T1);
        tr_emit_op(t, i->opsize == 8, 0x8b, T1);
}

void
tr_mirror_off(struct tr *t, unsigned guest, int32_t disp, bool t1_wanted)
{
        tr_temps_store(t);
        off_register(t, guest, (unsigned)regs_host[guest], disp, t1_wanted, false);
}

/* ---- loops ---- */

static bool
has_host(int guest)
{
        return guest < 0 || regs_host[guest] >= 0;
}

bool
tr_mirror_lasts(const struct tr *t, const struct tr_temp *m)
{
        if (!m->sure)
                return false;
        for (unsigned n = 0; n < t->count; n++)
                if (tr_ends_addresses(&t->insn[n]))
                        return false;
        if (m->holds == TR_MIRROR_HOST)
                return true;
        return has_host(m->what) && (m->holds != TR_MIRROR_SUM || has_host(m->index)) && moves_evenly(t, m) &&
            (m->proved || m->drift == 0);
}

void
tr_mirror_load(struct tr *t, unsigned temp, const struct tr_temp *m)
{
        switch (m->holds) {
        case TR_MIRROR_DELTA:
                emit_delta(t, temp, (unsigned)regs_host[m->what]);
                looked_up(t, temp, m->holds, m->what);
                break;
        case TR_MIRROR_NEAR:
                emit_near(t, temp, m->what);
                break;
        case TR_MIRROR_BASE:
                host_base(t, (unsigned)m->what, false);
                break;
        case TR_MIRROR_SUM:
                load_sum(t, temp, m->what, m->index, m->scale, NULL);
                break;
        default:
                host_address(t, m->what);
                break;
        }
}

void
tr_mirror_advance(struct tr *t, unsigned temp)
{
        struct tr_temp *m = &t->temp[temp == T1];

        if (m->holds != TR_MIRROR_DELTA && m->drift != 0)
                emit_rm(&t->e, EMIT_W, 0x8d, temp, (int)temp, -1, 1, (int32_t)m->drift);
        m->drift = 0;
}

/* Whether the instruction, of 64 bits, leaves an extended 32-bit number where it writes, because of what it read. */
static bool
keeps_narrow(const struct tr *t, const struct x86_insn *i)
{
        bool reg = t->narrow >> i->reg & 1, rm = t->narrow >> i->rm & 1;

        if (i->has_mem || i->opsize != 8 || i->vex)
                return false;
        if (i->map == X86_MAP_1B && (i->opcode == 0x89 || i->opcode == 0x8b)) /* MOV */
                return i->opcode == 0x89 ? reg : rm;
        return i->map == X86_MAP_0F && i->opcode >> 4 == 4 && reg && rm; /* CMOV */
}

static void
follow_narrow(struct tr *t, const struct x86_insn *i)
{
        uint16_t written = x86_insn_writes(i);

        if (tr_ends_addresses(i))
                t->narrow = 0;
        else if (x86_insn_extends(i) || keeps_narrow(t, i))
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
        case TR_MIRROR_SUM:
                if (tr_ends_addresses(i) || !drift_of(m, i, &change))
                        return false;
                m->drift += change;
                return m->drift >= -(int64_t)SOFT_MIRROR_DRIFT && m->drift <= (int64_t)SOFT_MIRROR_DRIFT;
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
