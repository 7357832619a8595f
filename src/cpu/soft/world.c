/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Which vCPUs are in translated code, or in C that it called, and waiting for them to leave it.
 *
 * Each counts its passes in and out.  Code that nothing leads to any more may
 * be overwritten once every vCPU that was inside has passed out: whoever comes in
 * later finds `kick` set and its jump cache stale, and looks blocks up.
 */
#include "cpu/soft/run.h"

#include <limits.h>
#include <linux/futex.h>

void
soft_world_enter(struct soft_cpu *v)
{
        struct soft_engine *e = v->engine;

        for (;;) {
                uint32_t x;

                while ((x = atomic_load(&e->exclusive)) != 0)
                        soft_futex(&e->exclusive, FUTEX_WAIT, x);
                /* Sequentially consistent, as what sets `exclusive` or `kick` and then looks at `passes`. */
                atomic_fetch_add(&v->run->passes, 1);
                if (atomic_load(&e->exclusive) == 0)
                        return;
                soft_world_leave(v);
        }
}

void
soft_world_leave(struct soft_cpu *v)
{
        atomic_fetch_add(&v->run->passes, 1);
        if (atomic_load(&v->engine->waiters) != 0)
                soft_futex(&v->run->passes, FUTEX_WAKE, INT_MAX);
}

void
soft_world_passes(struct soft_engine *e, uint32_t passes[SOFT_CPUS_MAX])
{
        for (unsigned i = 0; i < e->cpu_count; i++)
                passes[i] = e->cpus[i] != NULL ? atomic_load(&e->cpus[i]->run->passes) : 0;
}

static bool
is_inside(struct soft_engine *e, unsigned cpu, uint32_t passes)
{
        return (passes & 1) && e->cpus[cpu] != NULL && atomic_load(&e->cpus[cpu]->run->passes) == passes;
}

bool
soft_world_passed(struct soft_engine *e, const uint32_t passes[SOFT_CPUS_MAX])
{
        for (unsigned i = 0; i < e->cpu_count; i++)
                if (is_inside(e, i, passes[i]))
                        return false;
        return true;
}

/* Until soft_world_passed().  The caller is outside, and holds no lock. */
static void
world_wait(struct soft_engine *e, const uint32_t passes[SOFT_CPUS_MAX])
{
        atomic_fetch_add(&e->waiters, 1);
        for (unsigned i = 0; i < e->cpu_count; i++)
                while (is_inside(e, i, passes[i]))
                        soft_futex(&e->cpus[i]->run->passes, FUTEX_WAIT, passes[i]);
        atomic_fetch_sub(&e->waiters, 1);
}

/* Keeps every vCPU from entering, and waits until all are outside.  The caller, @v, is. */
static void
world_close(struct soft_cpu *v)
{
        struct soft_engine *e = v->engine;
        uint32_t passes[SOFT_CPUS_MAX], held = 0;

        while (!atomic_compare_exchange_strong(&e->exclusive, &held, 1)) {
                soft_futex(&e->exclusive, FUTEX_WAIT, held);
                held = 0;
        }
        for (unsigned i = 0; i < e->cpu_count; i++)
                if (e->cpus[i] != NULL && e->cpus[i] != v)
                        soft_kick(e->cpus[i]);
        soft_world_passes(e, passes);
        world_wait(e, passes);
}

static void
world_open(struct soft_engine *e)
{
        atomic_store(&e->exclusive, 0);
        soft_futex(&e->exclusive, FUTEX_WAKE, INT_MAX);
}

void
soft_world_enter_alone(struct soft_cpu *v)
{
        world_close(v);
        atomic_fetch_add(&v->run->passes, 1);
}

void
soft_world_leave_alone(struct soft_cpu *v)
{
        atomic_fetch_add(&v->run->passes, 1);
        world_open(v->engine);
}

/* Empties the code cache, with every vCPU out of it. */
static void
world_flush(struct soft_cpu *v)
{
        struct soft_engine *e = v->engine;

        world_close(v);
        if (atomic_exchange(&e->flush_wanted, 0)) {
                soft_lock_acquire(&e->lock); /* devices report writes at any time */
                soft_code_reset(e);
                soft_lock_release(&e->lock);
                soft_jumps_stale_all(e);
        }
        world_open(e);
}

/* Until the next region of the code cache can be used. */
static void
world_wait_room(struct soft_engine *e)
{
        uint64_t start = __builtin_ia32_rdtsc();
        uint32_t passes[SOFT_CPUS_MAX];

        atomic_store(&e->room_wanted, 0);
        soft_lock_acquire(&e->lock);
        memcpy(passes, e->retired_passes, sizeof(passes));
        soft_lock_release(&e->lock);
        world_wait(e, passes);
        soft_code_waited(e, start);
}

void
soft_world_serve(struct soft_cpu *v)
{
        struct soft_engine *e = v->engine;

        if (atomic_load_explicit(&e->flush_wanted, memory_order_relaxed))
                world_flush(v);
        if (atomic_load_explicit(&e->room_wanted, memory_order_relaxed))
                world_wait_room(e);
}
