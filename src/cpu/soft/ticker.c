/* SPDX-License-Identifier: BSD-2-Clause */
#include "cpu/soft/ticker.h"
#include "cpu/soft/run.h"

#include <errno.h>
#include <linux/futex.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <time.h>

#define PERIOD_NS 1000000
/* How often a vCPU is asked after it has wanted that. */
#define TICKS 50u

struct soft_ticker {
        struct soft_engine *engine;
        bool always;
        pthread_t thread;
        struct soft_lock lock;     /* engine->cpus[], against vCPUs that go */
        _Atomic uint32_t wanted;   /* something is: the thread sleeps while it is 0 */
        _Atomic bool stopping;
};

/* True if this vCPU is to be asked again. */
static bool
ask(const struct soft_ticker *t, struct soft_cpu *v)
{
        uint32_t left = atomic_load(&v->run->ticks);

        if (atomic_exchange(&v->run->watched, false) && __atomic_load_n(&v->kick, __ATOMIC_SEQ_CST) && atomic_load(&v->run->in_run))
                soft_kick(v);
        if (left == 0 && !t->always)
                return false;
        if (left != 0)
                atomic_compare_exchange_strong(&v->run->ticks, &left, left - 1);
        if (atomic_load(&v->run->in_run))
                soft_ask(v, t->always);
        return true;
}

static bool
ask_all(struct soft_ticker *t)
{
        bool again = t->always;

        soft_lock_acquire(&t->lock);
        for (unsigned i = 0; i < t->engine->cpu_count; i++)
                if (t->engine->cpus[i] != NULL)
                        again |= ask(t, t->engine->cpus[i]);
        soft_lock_release(&t->lock);
        return again;
}

static void *
ticker_main(void *arg)
{
        static const struct timespec period = { .tv_nsec = PERIOD_NS };
        struct soft_ticker *t = arg;

        for (;;) {
                atomic_store(&t->wanted, 0); /* who wants something from now on wakes us */
                if (atomic_load(&t->stopping))
                        return NULL;
                if (!ask_all(t))
                        soft_futex(&t->wanted, FUTEX_WAIT, 0);
                nanosleep(&period, NULL);
        }
}

int
soft_ticker_start(struct soft_engine *engine, bool always, struct soft_ticker **ret_ticker)
{
        struct soft_ticker *t = calloc(1, sizeof(*t));
        sigset_t all, old;
        int error;

        *ret_ticker = NULL;
        if (t == NULL)
                return -ENOMEM;
        t->engine = engine;
        t->always = always;
        sigfillset(&all);
        pthread_sigmask(SIG_SETMASK, &all, &old);
        error = -pthread_create(&t->thread, NULL, ticker_main, t);
        pthread_sigmask(SIG_SETMASK, &old, NULL);
        if (error != 0) {
                free(t);
                return error;
        }
        pthread_setname_np(t->thread, "ticker");
        *ret_ticker = t;
        return 0;
}

static void
wake(struct soft_ticker *t)
{
        if (atomic_exchange(&t->wanted, 1) == 0)
                soft_futex(&t->wanted, FUTEX_WAKE, 1);
}

void
soft_ticker_stop(struct soft_ticker *t)
{
        if (t == NULL)
                return;
        atomic_store(&t->stopping, true);
        wake(t);
        pthread_join(t->thread, NULL);
        free(t);
}

void
soft_ticker_want(struct soft_ticker *t, struct soft_cpu *v)
{
        if (atomic_exchange(&v->run->ticks, TICKS) == 0)
                wake(t);
}

void
soft_ticker_watch(struct soft_ticker *t, struct soft_cpu *v)
{
        if (!atomic_exchange(&v->run->watched, true))
                wake(t);
}

void
soft_ticker_forget(struct soft_ticker *t, struct soft_cpu *v)
{
        if (t != NULL)
                soft_lock_acquire(&t->lock);
        v->engine->cpus[v->id] = NULL;
        if (t != NULL)
                soft_lock_release(&t->lock);
}
