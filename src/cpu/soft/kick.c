/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Getting a vCPU out of translated code, from any thread.
 *
 * Indirect jumps and jumps to other pages find an empty jump cache after a kick, and call C, which looks at `kick`.
 * Linked jumps do not: in supervisor code, blocks that backward jumps lead to look at it themselves.  User code does not
 * pay for that, and its indirect jumps may go by target maps.  Its thread gets a signal, and the handler closes those and takes the
 * links of the block that it finds it in away: they lead to C then.  That may be too late for this block, if its jump has been
 * looked up already, or find the thread in C.
 * So the ticker looks a millisecond later whether the kick was answered, and kicks again.
 *
 * The ticker's question where user code is gets its answer in the handler, if there is no more to it than to count.
 */
#include "cpu/soft/mirror.h"
#include "cpu/soft/run.h"
#include "cpu/soft/target.h"
#include "cpu/soft/ticker.h"

#include <pthread.h>
#include <signal.h>
#include <sys/syscall.h>
#include <ucontext.h>
#include <unistd.h>

static void
stop_thread(struct soft_cpu *v)
{
        if (SOFT_USER_LOOKS || v == soft_current || atomic_exchange(&v->run->stopping, true))
                return;
        syscall(SYS_tgkill, getpid(), atomic_load(&v->run->thread), SOFT_KICK_SIGNAL);
}

void
soft_kick(struct soft_cpu *v)
{
        __atomic_store_n(&v->kick, 1, __ATOMIC_SEQ_CST);
        __atomic_store_n(&v->jump_cache, v->engine->no_jumps, __ATOMIC_SEQ_CST);
        if (v == soft_current)
                soft_targets_close(v);
        /* A vCPU that goes in, or to user code, from now on looks at `kick` after it has said so. */
        if ((atomic_load(&v->run->passes) & 1) && atomic_load(&v->run->in_user))
                stop_thread(v);
}

void
soft_jumps_arm(struct soft_cpu *v)
{
        __atomic_store_n(&v->jump_cache, v->jumps, __ATOMIC_SEQ_CST);
        soft_targets_open(v);
        if (v->one_block || __atomic_load_n(&v->kick, __ATOMIC_SEQ_CST)) {
                __atomic_store_n(&v->jump_cache, v->engine->no_jumps, __ATOMIC_SEQ_CST);
                soft_targets_close(v);
        }
}

void
soft_ask(struct soft_cpu *v, bool profile)
{
        bool inside = atomic_load(&v->run->passes) & 1, in_user = atomic_load(&v->run->in_user);

        /* The time that translation takes says nothing about how long the guest's code runs. */
        if (!profile && (!in_user || atomic_load(&v->run->translating)))
                return;
        atomic_store(&v->run->asked, 1);
        if (profile || SOFT_USER_LOOKS || !inside)
                soft_kick(v);
        else
                stop_thread(v);
}

/* In translated code, to the ticker's question where it is.  False: the dispatcher is to answer. */
static bool
answers(struct soft_cpu *v, const struct soft_block *b, const ucontext_t *uc)
{
        if (__atomic_load_n(&v->kick, __ATOMIC_SEQ_CST) || b == NULL)
                return false;
        if ((b->mode & (SOFT_MODE_BITS | SOFT_MODE_USER)) == (X86_MODE_64 | SOFT_MODE_USER) &&
            !soft_mirror_sample_running(v, b, (gva_t)uc->uc_mcontext.gregs[REG_RSP], 1))
                return false;
        atomic_store(&v->run->asked, 0);
        return true;
}

static void
stopped(int sig, siginfo_t *si, void *context)
{
        struct soft_cpu *v = soft_current;
        const ucontext_t *uc = context;
        const uint8_t *pc = (const uint8_t *)(uintptr_t)uc->uc_mcontext.gregs[REG_RIP];
        struct soft_block *b;

        if (v == NULL)
                return;
        atomic_store(&v->run->stopping, false);
        if (!(atomic_load(&v->run->passes) & 1))
                return;
        b = soft_code_at(v->engine, pc);
        if (atomic_load(&v->run->asked) && !answers(v, b, uc))
                soft_kick(v);
        if (!__atomic_load_n(&v->kick, __ATOMIC_SEQ_CST))
                return;
        soft_targets_close(v);
        if (b != NULL)
                soft_code_unlink_exits(v->engine, b);
        soft_ticker_watch(v->engine->ticker, v);
}

void
soft_kick_install(void)
{
        struct sigaction sa = { .sa_sigaction = stopped, .sa_flags = SA_SIGINFO | SA_ONSTACK | SA_RESTART };

        sigaction(SOFT_KICK_SIGNAL, &sa, NULL);
}

void
soft_kick_listen(struct soft_cpu *v)
{
        sigset_t set;

        atomic_store(&v->run->thread, (int)syscall(SYS_gettid));
        sigemptyset(&set);
        sigaddset(&set, SOFT_KICK_SIGNAL);
        pthread_sigmask(SIG_UNBLOCK, &set, NULL);
}
