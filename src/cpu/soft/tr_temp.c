/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What the temporaries hold between instructions: the one record of it.  Who overwrites one says so.
 *
 * R10 and R11 have no host register of their own: the host's are what memory accesses are computed in.  Between
 * those, a temporary holds the guest register that was last used in it, and need not have stored it: only what
 * can fault, leaves the block or calls C wants st.gpr[] complete.  Or it holds what further accesses can use.
 */
#include "cpu/soft/translate.h"

static struct tr_temp *
temp_of(struct tr *t, unsigned host)
{
        return &t->temp[host == T1];
}

static void
store(struct tr *t, unsigned host)
{
        struct tr_temp *m = temp_of(t, host);

        if (m->holds == TR_GUEST && m->dirty)
                emit_gs_store(&t->e, EMIT_W, host, OFF(st.gpr[0]) + 8 * (unsigned)m->what);
        m->dirty = false;
}

void
tr_temps_store(struct tr *t)
{
        store(t, T0);
        store(t, T1);
}

void
tr_temp_forget(struct tr *t, unsigned host)
{
        store(t, host);
        temp_of(t, host)->holds = TR_NOTHING;
}

void
tr_temps_forget(struct tr *t)
{
        tr_temp_forget(t, T0);
        tr_temp_forget(t, T1);
}

int
tr_temp_holder(const struct tr *t, enum tr_holds holds, int what)
{
        for (unsigned n = 0; n < 2; n++)
                if (t->temp[n].holds == holds && t->temp[n].what == what)
                        return n == 0 ? T0 : T1;
        return -1;
}

int
tr_temp_find(const struct tr *t, unsigned guest)
{
        return tr_temp_holder(t, TR_GUEST, (int)guest);
}

unsigned
tr_temp_spare(const struct tr *t)
{
        static const uint8_t worth[] = { /* instructions that it takes to have it again */
                [TR_NOTHING] = 0, [TR_MIRROR_NEAR] = 1, [TR_GUEST] = 1, [TR_GROUP_HOST] = 1, [TR_STACK_DELTA] = 1,
                [TR_MIRROR_DELTA] = 3, [TR_MIRROR_BASE] = 4, [TR_MIRROR_SUM] = 5, [TR_MIRROR_HOST] = 3,
        };

        return worth[t->temp[0].holds] < worth[t->temp[1].holds] ? T0 : T1;
}

void
tr_temp_set(struct tr *t, unsigned host, enum tr_holds holds, int what)
{
        *temp_of(t, host) = (struct tr_temp){ .holds = holds, .what = (int8_t)what };
}

void
tr_temp_take(struct tr *t, unsigned host, unsigned guest, bool load)
{
        int holder = tr_temp_find(t, guest);

        if (holder == (int)host)
                return;
        store(t, host);
        if (holder >= 0)
                tr_temp_forget(t, (unsigned)holder);
        tr_temp_set(t, host, TR_GUEST, (int)guest);
        if (load)
                emit_gs_load(&t->e, EMIT_W, host, OFF(st.gpr[0]) + 8 * guest);
}

void
tr_temp_written(struct tr *t, unsigned host)
{
        temp_of(t, host)->dirty = true;
}
