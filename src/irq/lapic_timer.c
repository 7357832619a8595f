/* SPDX-License-Identifier: BSD-2-Clause */
/* The local APICs' timers, SDM 3A 11.5.4, and the thread that fires those of running vCPUs. */
#include "irq/lapic_private.h"

#include "base/loop.h"
#include "base/util.h"
#include "x86/state.h"

#include <errno.h>
#include <sys/prctl.h>
#include <time.h>

/* A periodic timer faster than this would leave the guest, and us, no time for anything else. */
#define MIN_PERIOD_NS (20 * NSEC_PER_USEC)

static uint64_t
guest_tsc(const struct lapic *l)
{
        return __builtin_ia32_rdtsc() + atomic_load_explicit(&l->tsc_offset, memory_order_relaxed);
}

/* Lock held.  Host time of the armed TSC deadline. */
static uint64_t
tsc_deadline_ns(const struct lapic *l)
{
        uint64_t now_tsc = guest_tsc(l);
        uint64_t now = loop_now_ns();
        unsigned __int128 ns;

        if (l->tsc_deadline <= now_tsc)
                return now;
        ns = (unsigned __int128)(l->tsc_deadline - now_tsc) * NSEC_PER_SEC / l->set->config.tsc_hz;
        return ns > INT64_MAX ? INT64_MAX : now + (uint64_t)ns;
}

/* Divide configuration: bits 3, 1, 0 say 2, 4, ... 128, 1 (11.5.4 figure 11-10). */
static uint64_t
timer_divisor(uint32_t divide)
{
        unsigned code = (divide & 3) | (divide >> 1 & 4);

        return code == 7 ? 1 : 2ull << code;
}

/* Lock held; LAPIC_TIMER_HZ makes a tick of the undivided clock one nanosecond. */
static void
start_count(struct lapic *l)
{
        uint64_t ns = l->initial * timer_divisor(l->divide);

        l->period_ns = 0;
        if (!l->initial) {
                l->deadline_ns = LAPIC_NO_DEADLINE;
                return;
        }
        if (TIMER_MODE(load(&l->lvt[LVT_TIMER])) == TIMER_PERIODIC)
                l->period_ns = ns < MIN_PERIOD_NS ? MIN_PERIOD_NS : ns;
        l->deadline_ns = loop_now_ns() + ns;
}

/* Lock held.  True if the timer was due: the caller fires its LVT entry, the lock dropped. */
static bool
timer_expire(struct lapic *l, uint64_t now)
{
        if (l->deadline_ns > now)
                return false;
        if (l->tsc_deadline) {
                l->deadline_ns = tsc_deadline_ns(l);
                if (guest_tsc(l) < l->tsc_deadline)
                        return false; /* the two clocks differ a little: wait for the rest */
                l->tsc_deadline = 0;
                l->deadline_ns = LAPIC_NO_DEADLINE;
        } else if (l->period_ns) {
                uint64_t late = now - l->deadline_ns;

                l->deadline_ns = now + l->period_ns - late % l->period_ns;
        } else {
                l->deadline_ns = LAPIC_NO_DEADLINE;
        }
        return true;
}

static void
timer_poll(struct lapic *l)
{
        bool due = false;

        if (l->deadline_ns == LAPIC_NO_DEADLINE)
                return;
        pthread_mutex_lock(&l->lock);
        due = timer_expire(l, loop_now_ns());
        pthread_mutex_unlock(&l->lock);
        if (due)
                lapic_fire_lvt(l, LVT_TIMER);
}

/*
 * Makes the timer thread notice a new deadline.  deadline_ns was stored before
 * wakeup_ns is read here, and the thread raises wakeup_ns before it reads the
 * deadlines (all sequentially consistent), so one of the two sees the other.
 */
static void
timer_changed(struct lapic *l)
{
        struct lapic_set *set = l->set;

        if (l->idle || l->deadline_ns >= set->wakeup_ns)
                return;
        pthread_mutex_lock(&set->timer_lock);
        pthread_cond_signal(&set->timer_cond);
        pthread_mutex_unlock(&set->timer_lock);
}

/* Timer lock held.  The earliest deadline of the running vCPUs. */
static uint64_t
earliest_deadline(struct lapic_set *set)
{
        uint64_t earliest = LAPIC_NO_DEADLINE;

        for (unsigned i = 0; i < set->config.count; i++) {
                struct lapic *l = &set->lapics[i];
                uint64_t deadline = l->idle ? LAPIC_NO_DEADLINE : l->deadline_ns;

                if (deadline < earliest)
                        earliest = deadline;
        }
        return earliest;
}

static void
poll_running(struct lapic_set *set)
{
        for (unsigned i = 0; i < set->config.count; i++) {
                if (!set->lapics[i].idle)
                        timer_poll(&set->lapics[i]);
        }
}

static void
wait_until(struct lapic_set *set, uint64_t ns)
{
        struct timespec ts = {(time_t)(ns / NSEC_PER_SEC), (long)(ns % NSEC_PER_SEC)};

        if (ns >= INT64_MAX)
                pthread_cond_wait(&set->timer_cond, &set->timer_lock);
        else
                pthread_cond_timedwait(&set->timer_cond, &set->timer_lock, &ts);
}

static void *
timer_thread(void *arg)
{
        struct lapic_set *set = arg;

        prctl(PR_SET_TIMERSLACK, 1);
        pthread_mutex_lock(&set->timer_lock);
        while (!set->stop) {
                uint64_t earliest;

                set->wakeup_ns = LAPIC_NO_DEADLINE; /* see timer_changed */
                earliest = earliest_deadline(set);
                if (earliest > loop_now_ns()) {
                        set->wakeup_ns = earliest;
                        wait_until(set, earliest);
                        continue;
                }
                pthread_mutex_unlock(&set->timer_lock);
                poll_running(set);
                pthread_mutex_lock(&set->timer_lock);
        }
        pthread_mutex_unlock(&set->timer_lock);
        return NULL;
}

void
lapic_timer_write_initial(struct lapic *l, uint32_t value)
{
        pthread_mutex_lock(&l->lock);
        if (TIMER_MODE(load(&l->lvt[LVT_TIMER])) != TIMER_TSC_DEADLINE) {
                l->initial = value;
                start_count(l);
        }
        pthread_mutex_unlock(&l->lock);
        timer_changed(l);
}

uint32_t
lapic_timer_current(struct lapic *l)
{
        uint64_t now = loop_now_ns();
        uint64_t left = 0;

        pthread_mutex_lock(&l->lock);
        if (!l->tsc_deadline && l->deadline_ns != LAPIC_NO_DEADLINE) {
                if (l->deadline_ns > now)
                        left = l->deadline_ns - now;
                else if (l->period_ns)
                        left = l->period_ns - (now - l->deadline_ns) % l->period_ns;
        }
        left /= timer_divisor(l->divide);
        pthread_mutex_unlock(&l->lock);
        return (uint32_t)left;
}

/* A new divider takes effect at once: what is left of the count runs at the new speed. */
void
lapic_timer_write_divide(struct lapic *l, uint32_t value)
{
        uint32_t left = lapic_timer_current(l);

        pthread_mutex_lock(&l->lock);
        l->divide = value & 0xb;
        if (!l->tsc_deadline && l->deadline_ns != LAPIC_NO_DEADLINE) {
                start_count(l);
                l->deadline_ns = loop_now_ns() + left * timer_divisor(l->divide);
        }
        pthread_mutex_unlock(&l->lock);
        timer_changed(l);
}

void
lapic_timer_write_tsc_deadline(struct lapic *l, uint64_t value)
{
        bool due = false;

        pthread_mutex_lock(&l->lock);
        if (TIMER_MODE(load(&l->lvt[LVT_TIMER])) == TIMER_TSC_DEADLINE) {
                l->tsc_deadline = value;
                l->deadline_ns = value ? tsc_deadline_ns(l) : LAPIC_NO_DEADLINE;
                due = timer_expire(l, loop_now_ns());
        }
        pthread_mutex_unlock(&l->lock);
        if (due)
                lapic_fire_lvt(l, LVT_TIMER);
        else
                timer_changed(l);
}

/* Lock held.  A change into or out of TSC-deadline mode disarms the timer (11.5.4.1). */
static void
change_timer_mode(struct lapic *l, unsigned old_mode, unsigned new_mode)
{
        if (old_mode == new_mode)
                return;
        if (old_mode == TIMER_TSC_DEADLINE || new_mode == TIMER_TSC_DEADLINE) {
                l->tsc_deadline = 0;
                l->initial = 0;
                l->period_ns = 0;
                l->deadline_ns = LAPIC_NO_DEADLINE;
                return;
        }
        l->period_ns = 0;
        if (new_mode == TIMER_PERIODIC) {
                uint64_t ns = l->initial * timer_divisor(l->divide);

                l->period_ns = ns < MIN_PERIOD_NS ? MIN_PERIOD_NS : ns;
        }
}

void
lapic_set_tsc_offset(struct lapic *l, uint64_t offset)
{
        atomic_store_explicit(&l->tsc_offset, offset, memory_order_relaxed);
        pthread_mutex_lock(&l->lock);
        if (l->tsc_deadline)
                l->deadline_ns = tsc_deadline_ns(l);
        pthread_mutex_unlock(&l->lock);
        timer_changed(l);
}

uint64_t
lapic_idle_begin(struct lapic *l)
{
        l->idle = true;
        return l->deadline_ns;
}

void
lapic_idle_end(struct lapic *l)
{
        l->idle = false;
        timer_poll(l);
        timer_changed(l);
}

void
lapic_timer_write_lvt(struct lapic *l, uint32_t lvt)
{
        unsigned old_mode;

        timer_poll(l); /* a count that has run down is no count that another mode could go on with */
        pthread_mutex_lock(&l->lock);
        old_mode = TIMER_MODE(load(&l->lvt[LVT_TIMER]));
        store(&l->lvt[LVT_TIMER], lvt);
        change_timer_mode(l, old_mode, TIMER_MODE(lvt));
        pthread_mutex_unlock(&l->lock);
}

uint64_t
lapic_timer_tsc_deadline(struct lapic *l)
{
        uint64_t deadline;

        pthread_mutex_lock(&l->lock);
        deadline = l->tsc_deadline;
        pthread_mutex_unlock(&l->lock);
        return deadline;
}

void
lapic_timer_set(struct lapic *l, const struct x86_apic *apic)
{
        bool deadline_mode = TIMER_MODE(load(&l->lvt[LVT_TIMER])) == TIMER_TSC_DEADLINE;

        pthread_mutex_lock(&l->lock);
        l->initial = apic->reg[REG_TIMER_INITIAL];
        l->divide = apic->reg[REG_TIMER_DIVIDE];
        l->tsc_deadline = deadline_mode ? apic->tsc_deadline : 0;
        start_count(l);
        if (l->tsc_deadline)
                l->deadline_ns = tsc_deadline_ns(l);
        else if (apic->reg[REG_TIMER_CURRENT])
                l->deadline_ns = loop_now_ns() + apic->reg[REG_TIMER_CURRENT] * timer_divisor(l->divide);
        else if (!l->period_ns)
                l->deadline_ns = LAPIC_NO_DEADLINE; /* it has run down */
        pthread_mutex_unlock(&l->lock);
        timer_changed(l);
}

void
lapic_timer_reset(struct lapic *l)
{
        pthread_mutex_lock(&l->lock);
        l->deadline_ns = LAPIC_NO_DEADLINE;
        l->tsc_deadline = l->period_ns = 0;
        l->initial = l->divide = 0;
        pthread_mutex_unlock(&l->lock);
}

static void
init_timer_cond(pthread_cond_t *cond)
{
        pthread_condattr_t attr;

        pthread_condattr_init(&attr);
        pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
        pthread_cond_init(cond, &attr);
        pthread_condattr_destroy(&attr);
}

int
lapic_timer_start(struct lapic_set *set)
{
        pthread_mutex_init(&set->timer_lock, NULL);
        init_timer_cond(&set->timer_cond);
        if (set->config.apics)
                return 0; /* the engine's timers fire by themselves */
        if (pthread_create(&set->thread, NULL, timer_thread, set))
                return -EAGAIN;
        set->thread_running = true;
        pthread_setname_np(set->thread, "apic-timer");
        return 0;
}

void
lapic_timer_stop(struct lapic_set *set)
{
        if (set->thread_running) {
                pthread_mutex_lock(&set->timer_lock);
                set->stop = true;
                pthread_cond_signal(&set->timer_cond);
                pthread_mutex_unlock(&set->timer_lock);
                pthread_join(set->thread, NULL);
        }
        pthread_cond_destroy(&set->timer_cond);
        pthread_mutex_destroy(&set->timer_lock);
}
