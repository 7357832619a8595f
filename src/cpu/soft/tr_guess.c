/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Guesses at where registers point.
 *
 * What the table of mirrors says about a pointer is on the way from one load to the next of a chain: two loads for each
 * of the guest's.  Most pointers point into a few chunks (the heap, the stack, the program), so a block compares the
 * pointer's upper half with the number of one of these instead, and adds what is known of that chunk: the processor predicts the
 * comparison, and waits for nothing.
 *
 *      rorx  r10, base, 32
 *      cmp   r10d, gs:[near[n].number]
 *      jne   variant
 *      mov   r11, gs:[near[n].delta]   ; unless it is there
 *      op    [base + r11 + disp]
 *
 * Which chunk it is likely to be is found out when the block is translated, by doing its loads with the registers as they are
 * then.  Where the guess is wrong the block goes on in its variant that makes no guesses (SOFT_MODE_NOSHARE).
 */
#include "base/util.h"
#include "cpu/soft/mirror.h"
#include "cpu/soft/translate.h"

static bool
guesses(const struct tr *t)
{
        return t->mirrors && !(t->mode & SOFT_MODE_NOSHARE);
}

void
tr_guess_begin(struct tr *t)
{
        for (unsigned g = 0; g < X86_GPR_COUNT; g++)
                t->guess[g] = (struct tr_guess){ .value = t->v->st.gpr[g], .valued = true, .near = -1 };
}

int
tr_guess_known(const struct tr *t, unsigned guest)
{
        return t->guess[guest].near;
}

/* The temporary that is of less use than the other. */
static unsigned
scratch(const struct tr *t, int keep)
{
        static const uint8_t worth[] = {
                [TR_NOTHING] = 0, [TR_MIRROR_NEAR] = 1, [TR_GUEST] = 2, [TR_GROUP_HOST] = 2, [TR_STACK_DELTA] = 2,
                [TR_MIRROR_DELTA] = 3, [TR_MIRROR_BASE] = 3, [TR_MIRROR_SUM] = 3, [TR_MIRROR_HOST] = 3,
        };

        if (keep >= 0)
                return keep == T0 ? T1 : T0;
        return worth[t->temp[0].holds] < worth[t->temp[1].holds] ? T0 : T1;
}

/* Leaves for the variant that makes no guesses, at this instruction, unless the upper half of @host is that of a near chunk. */
static void
emit_check(struct tr *t, unsigned host, int near, int keep)
{
        struct emit *e = &t->e;
        unsigned temp = scratch(t, keep);
        struct soft_exit *x;

        tr_flags_clobber(t);
        tr_temp_forget(t, temp);
        emit_rorx(e, temp, host, SOFT_MIRROR_SHIFT);
        emit_gs(e, EMIT_D, 0x3b, temp, OFF(near[0].number) + (unsigned)near * sizeof(struct soft_near));
        x = tr_jump_linked(t, CC_NE, t->rip, false, false);
        x->noshare = x->flags_saved = true;
}

static bool
may_check(const struct tr *t)
{
        return guesses(t) && (t->flags != TR_FLAGS_HOST || t->live[t->at] == 0);
}

int
tr_guess_check(struct tr *t, unsigned guest, unsigned host, int keep)
{
        struct tr_guess *g = &t->guess[guest];
        int near = may_check(t) && g->valued ? soft_mirror_near(t->v, g->value) : -1;

        if (near >= 0) {
                emit_check(t, host, near, keep);
                g->near = (int8_t)near;
                g->drift = 0;
        }
        return near;
}

/* The operand's address this time. */
static bool
address_now(const struct tr *t, const struct x86_insn *i, gva_t *ret_address)
{
        gva_t at = (gva_t)i->disp;

        if (i->asize != 8)
                return false;
        if (i->mem_base == X86_BASE_RIP)
                at += t->next - tr_page(t) + (t->v->st.rip & ~(gva_t)(MEM_PAGE_SIZE - 1));
        else if (i->mem_base >= 0)
                at += t->guess[i->mem_base].value;
        if (i->mem_index >= 0)
                at += t->guess[i->mem_index].value * i->mem_scale;
        if (i->has_mem && (i->mem_seg == X86_FS || i->mem_seg == X86_GS))
                at += t->v->seg_base[i->mem_seg];
        *ret_address = at;
        return (i->mem_base < 0 || i->mem_base == X86_BASE_RIP || t->guess[i->mem_base].valued) &&
            (i->mem_index < 0 || t->guess[i->mem_index].valued);
}

int
tr_guess_address(struct tr *t, const struct x86_insn *i, unsigned host)
{
        gva_t at;
        int near = may_check(t) && address_now(t, i, &at) ? soft_mirror_near(t->v, at) : -1;

        if (near >= 0)
                emit_check(t, host, near, (int)host);
        return near;
}

void
tr_guess_add(struct tr *t, unsigned host, int near)
{
        emit_gs(&t->e, EMIT_W, 0x03, host, OFF(near[0].delta) + (unsigned)near * sizeof(struct soft_near));
}

/* ---- what instructions do ---- */

/* What MOV, LEA or POP leaves in its register; anything else is not followed. */
static struct tr_guess
result(const struct tr *t, const struct x86_insn *i, int *ret_gpr)
{
        struct tr_guess g = { .near = -1 };
        gva_t at;

        *ret_gpr = -1;
        if (i->opsize != 8 || i->map != X86_MAP_1B || i->vex)
                return g;
        switch (i->opcode) {
        case 0x89:
                *ret_gpr = i->has_mem ? -1 : i->rm;
                return t->guess[i->reg];
        case 0x8b:
                *ret_gpr = i->reg;
                if (!i->has_mem)
                        return t->guess[i->rm];
                g.valued = address_now(t, i, &at) && soft_mirror_peek(t->v, at, &g.value);
                return g;
        case 0x8d:
                *ret_gpr = i->reg;
                if (i->mem_base >= 0 && i->mem_base != X86_BASE_RIP && i->mem_index < 0)
                        g = t->guess[i->mem_base];
                g.drift += i->disp;
                g.valued = address_now(t, i, &g.value);
                return g;
        default:
                if (i->desc->class == X86_CLASS_POP && !i->has_mem) {
                        *ret_gpr = i->rm;
                        g.valued = t->guess[X86_RSP].valued && soft_mirror_peek(t->v, t->guess[X86_RSP].value, &g.value);
                }
                return g;
        }
}

void
tr_guess_follow(struct tr *t, const struct x86_insn *i)
{
        bool ends = tr_ends_addresses(i);
        struct tr_guess of_result;
        int gpr;

        if (!guesses(t))
                return;
        of_result = result(t, i, &gpr);
        for (unsigned n = 0; n < X86_GPR_COUNT; n++) {
                struct tr_guess *g = &t->guess[n];
                int64_t change;

                if (ends || !x86_insn_adds(i, n, &change)) {
                        g->valued = false;
                        g->near = -1;
                        continue;
                }
                g->value += (uint64_t)change;
                g->drift += change;
        }
        if (!ends && gpr >= 0)
                t->guess[gpr] = of_result;
        for (unsigned n = 0; n < X86_GPR_COUNT; n++)
                if (t->guess[n].drift < -(int64_t)SOFT_MIRROR_DRIFT || t->guess[n].drift > (int64_t)SOFT_MIRROR_DRIFT)
                        t->guess[n].near = -1;
}
