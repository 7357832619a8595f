/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Guest registers in the temporaries.
 *
 * R10 and R11 have no host register of their own: the host's are what memory accesses are computed in.  Between
 * those, a temporary holds the guest register that was last used in it, and need not have stored it: only what
 * can fault, leaves the block or calls C wants st.gpr[] complete.
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

        if (m->guest >= 0 && m->dirty)
                emit_gs_store(&t->e, EMIT_W, host, OFF(st.gpr[0]) + 8 * (unsigned)m->guest);
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
        temp_of(t, host)->guest = -1;
}

void
tr_temps_forget(struct tr *t)
{
        tr_temp_forget(t, T0);
        tr_temp_forget(t, T1);
}

int
tr_temp_find(const struct tr *t, unsigned guest)
{
        return t->temp[0].guest == (int)guest ? T0 : t->temp[1].guest == (int)guest ? T1 : -1;
}

void
tr_temp_take(struct tr *t, unsigned host, unsigned guest, bool load)
{
        struct tr_temp *m = temp_of(t, host);

        if (m->guest == (int)guest)
                return;
        store(t, host);
        if (tr_temp_find(t, guest) >= 0)
                tr_temp_forget(t, (unsigned)tr_temp_find(t, guest));
        m->guest = (int8_t)guest;
        if (host == T0)
                t->t0_group = -1;
        if (load)
                emit_gs_load(&t->e, EMIT_W, host, OFF(st.gpr[0]) + 8 * guest);
}

void
tr_temp_written(struct tr *t, unsigned host)
{
        temp_of(t, host)->dirty = true;
}
