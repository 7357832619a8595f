/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Blocks that jump back to their own start.
 *
 * What the temporaries hold at that jump is often what the next turn would look up again: it is loaded once, before the
 * first turn, and the jump goes behind that.  The block is emitted, and what it ended with is what it is emitted again
 * with, until it ends with what it started with; what it did not end with is left out.
 */
#include "cpu/soft/translate.h"

bool
tr_loop_found(const struct tr *t)
{
        const struct x86_insn *last = &t->insn[t->count - 1];

        if (!(t->mode & SOFT_MODE_HEAD) || t->raise >= 0 || t->b->page[1] != ~(gpa_t)0)
                return false;
        if (t->eng->check_count != 0 || (t->eng->disabled & SOFT_OFF_LINK)) /* each turn is to be seen */
                return false;
        if (last->desc->class != X86_CLASS_JCC && last->desc->class != X86_CLASS_JMP)
                return false;
        return tr_leads_back(t, last, t->rip_of[t->count]);
}

static bool
same(const struct tr_temp *a, const struct tr_temp *b)
{
        return a->holds == b->holds && a->what == b->what && a->index == b->index && a->scale == b->scale;
}

bool
tr_loop_wants(const struct tr *t, const struct tr_temp *m)
{
        return same(&t->loop_temp[0], m) || same(&t->loop_temp[1], m);
}

bool
tr_loop_keeps(const struct tr *t, unsigned temp)
{
        const struct tr_temp *m = &t->loop_temp[temp == T1];

        return m->holds != TR_NOTHING && same(m, &t->temp[temp == T1]);
}

void
tr_loop_enter(struct tr *t)
{
        for (unsigned n = 0; n < 2; n++) {
                const struct tr_temp *m = &t->loop_temp[n];
                unsigned temp = n == 0 ? T0 : T1;

                if (m->holds == TR_GUEST)
                        tr_temp_take(t, temp, (unsigned)m->what, true);
                else if (m->holds != TR_NOTHING)
                        tr_mirror_load(t, temp, m);
        }
        t->loop_at = emit_here(&t->e);
}

static bool
lasts(const struct tr *t, const struct tr_temp *m)
{
        switch (m->holds) {
        case TR_GUEST:
                return !m->dirty;
        case TR_MIRROR_DELTA:
        case TR_MIRROR_BASE:
        case TR_MIRROR_SUM:
        case TR_MIRROR_HOST:
                return tr_mirror_lasts(t, m);
        case TR_MIRROR_NEAR:
                return true;
        default:
                return false;
        }
}

bool
tr_loop_back(struct tr *t, unsigned cc, gva_t target, bool dead)
{
        bool fits = true;

        if (t->loop_at == NULL || t->at + 1 != t->count || (t->b->flags_in && dead) || (t->flags == TR_FLAGS_HOST && !dead))
                return false;
        for (unsigned n = 0; n < 2; n++) {
                const struct tr_temp *wanted = &t->loop_temp[n];

                t->loop_end[n] = lasts(t, &t->temp[n]) ? t->temp[n] : (struct tr_temp){ .holds = TR_NOTHING };
                fits = fits && (wanted->holds == TR_NOTHING || same(wanted, &t->loop_end[n]));
        }
        if (!fits)
                return false;
        for (unsigned n = 0; n < 2; n++)
                if (t->loop_temp[n].holds != TR_NOTHING)
                        tr_mirror_advance(t, n == 0 ? T0 : T1);
        tr_jump_linked(t, cc, target, dead, true)->turn = t->loop_at;
        return true;
}

void
tr_loop_link(struct tr *t)
{
        for (struct soft_exit *x = t->b->exits; x != NULL; x = x->next)
                if (x->turn != NULL)
                        soft_code_link(t->eng, x, t->b);
}

bool
tr_loop_again(struct tr *t)
{
        bool again = false;

        for (unsigned n = 0; n < 2; n++) {
                struct tr_temp *m = &t->loop_temp[n];

                if (t->loop_turn == 0)
                        *m = t->loop_end[n];
                else if (m->holds != TR_NOTHING && !same(m, &t->loop_end[n]))
                        m->holds = TR_NOTHING;
                else
                        continue;
                again |= t->loop_turn != 0 || m->holds != TR_NOTHING;
        }
        t->loop_turn++;
        return again;
}
