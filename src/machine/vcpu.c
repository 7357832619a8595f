/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * vCPU threads: run, look at the exit, sleep, park.
 *
 * Sleeping: `wake` is cleared before run() is entered, and set by vcpu_event
 * after it has told the engine.  So whatever happens after run() has decided to
 * halt leaves `wake` set, and the futex does not sleep; what happened before is
 * seen by run() itself.
 */
#include "base/log.h"
#include "base/util.h"
#include "instance/regs.h"
#include "machine/private.h"
#include "x86/paging.h"

#include <errno.h>
#include <linux/futex.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

static const char *
engine_option(void *ctx, const char *key)
{
        const struct machine *machine = ctx;

        return config_get(machine->config->config, key);
}

/* Until `wake` or @deadline_ns (CLOCK_MONOTONIC; LAPIC_NO_DEADLINE: for ever). */
static void
wait_for_wake(struct vcpu *vcpu, uint64_t deadline_ns)
{
        struct timespec deadline = { .tv_sec = (time_t)(deadline_ns / NSEC_PER_SEC),
                .tv_nsec = (long)(deadline_ns % NSEC_PER_SEC) };

        /* Acquire pairs with the release in vcpu_wake: the event itself is visible afterwards. */
        while (atomic_load_explicit(&vcpu->wake, memory_order_acquire) == 0) {
                long r = syscall(SYS_futex, &vcpu->wake, FUTEX_WAIT_BITSET_PRIVATE, 0,
                    deadline_ns == LAPIC_NO_DEADLINE ? NULL : &deadline, NULL, FUTEX_BITSET_MATCH_ANY);

                if (r != 0 && errno == ETIMEDOUT)
                        break;
        }
}

static void
vcpu_wake(struct vcpu *vcpu)
{
        if (atomic_exchange_explicit(&vcpu->wake, 1, memory_order_acq_rel) == 0)
                (void)syscall(SYS_futex, &vcpu->wake, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0);
}

void
vcpu_event(struct machine *machine, unsigned id, unsigned event, unsigned argument)
{
        struct vcpu *vcpu = &machine->vcpu[id];

        if (vcpu->cpu == NULL)
                return;
        machine->engine_ops->event(vcpu->cpu, event, argument);
        vcpu_wake(vcpu);
}

void
vcpu_get_state(struct machine *machine, unsigned id, struct x86_state *ret_state)
{
        struct lapic *lapic = irqchip_lapic(machine->irqchip, id);
        struct x86_apic apic;

        machine->engine_ops->get_state(machine->vcpu[id].cpu, ret_state);
        if (machine->apics != NULL) {
                machine->apics->get(machine->vcpu[id].cpu, &apic);
                lapic_set_state(lapic, &apic);
        }
        ret_state->cr8 = lapic_tpr_read(lapic);
}

int
vcpu_set_state(struct machine *machine, unsigned id, const struct x86_state *state)
{
        struct lapic *lapic = irqchip_lapic(machine->irqchip, id);

        if (machine->apics == NULL && lapic_tpr_read(lapic) != (state->cr8 & 15))
                lapic_tpr_write(lapic, state->cr8 & 15);
        return machine->engine_ops->set_state(machine->vcpu[id].cpu, state);
}

/* Every vCPU that runs at all is halted with interrupts off: nothing can happen any more. */
/* With debug.trap the debugger may look first. */
static void
vcpu_fatal(struct vcpu *vcpu, enum machine_end end)
{
        static const struct stub_stop fault = { .kind = STUB_STOP_FAULT };

        if (vcpu->machine->config->debug_trap && debug_hold(vcpu, &fault))
                vcpu->last = end;
        else
                machine_end(vcpu->machine, end);
}

static bool
all_dead_halted(const struct machine *machine)
{
        unsigned dead = 0;

        for (unsigned i = 0; i < machine->config->cpus; i++) {
                const struct vcpu *vcpu = &machine->vcpu[i];

                if (!vcpu->inactive && !vcpu->dead_halted)
                        return false;
                dead += vcpu->dead_halted;
        }
        return dead != 0;
}

static void
vcpu_sleep(struct vcpu *vcpu, bool dead_halted, bool inactive)
{
        struct machine *machine = vcpu->machine;
        struct lapic *lapic = irqchip_lapic(machine->irqchip, vcpu->id);
        bool all_dead;

        pthread_mutex_lock(&machine->park_lock);
        vcpu->dead_halted = dead_halted;
        vcpu->inactive = inactive;
        all_dead = all_dead_halted(machine);
        pthread_mutex_unlock(&machine->park_lock);
        if (all_dead && atomic_load_explicit(&vcpu->wake, memory_order_acquire) == 0) {
                vcpu_fatal(vcpu, MACHINE_END_HALT);
                return;
        }
        wait_for_wake(vcpu, lapic_idle_begin(lapic));
        lapic_idle_end(lapic);
        if (!dead_halted && !inactive)
                return;
        pthread_mutex_lock(&machine->park_lock);
        vcpu->dead_halted = vcpu->inactive = false;
        pthread_mutex_unlock(&machine->park_lock);
}

/*
 * An engine with local APICs of its own halts vCPUs itself, and does not say that one is halted
 * with interrupts off.  So when no vCPU has used its thread much for a while, all are looked at:
 * a timer that nobody answers still brings a halted one out for a moment at each tick.
 */
#define HALT_WATCH_NS (500 * NSEC_PER_MSEC)
#define HALT_USED_NS  (HALT_WATCH_NS / 10)

static bool
thread_was_used(struct vcpu *vcpu)
{
        struct timespec ts;
        clockid_t clock;
        uint64_t before = vcpu->cpu_ns;

        if (pthread_getcpuclockid(vcpu->thread, &clock) != 0 || clock_gettime(clock, &ts) != 0)
                return false;
        vcpu->cpu_ns = (uint64_t)ts.tv_sec * NSEC_PER_SEC + (uint64_t)ts.tv_nsec;
        return vcpu->cpu_ns - before > HALT_USED_NS;
}

/* All parked. */
static bool
are_dead_halted(struct machine *machine)
{
        bool all_dead;

        for (unsigned i = 0; i < machine->config->cpus; i++) {
                struct vcpu *vcpu = &machine->vcpu[i];
                struct x86_state st;

                vcpu_get_state(machine, i, &st);
                pthread_mutex_lock(&machine->park_lock);
                vcpu->inactive = st.mp_state == X86_MP_WAIT_INIT || st.mp_state == X86_MP_WAIT_SIPI;
                vcpu->dead_halted = st.mp_state == X86_MP_HALTED && !(st.rflags & X86_FL_IF) && !st.nmi_pending;
                pthread_mutex_unlock(&machine->park_lock);
        }
        pthread_mutex_lock(&machine->park_lock);
        all_dead = all_dead_halted(machine);
        pthread_mutex_unlock(&machine->park_lock);
        return all_dead;
}

/* Loop thread. */
static void
watch_halts(void *ctx)
{
        struct machine *machine = ctx;
        bool used = false;

        pthread_mutex_lock(&machine->park_lock);
        for (unsigned i = 0; i < machine->config->cpus; i++) {
                used |= thread_was_used(&machine->vcpu[i]);
                used |= machine->vcpu[i].held;
        }
        pthread_mutex_unlock(&machine->park_lock);
        if (!used) {
                vcpus_park(machine);
                if (are_dead_halted(machine))
                        vcpu_fatal(&machine->vcpu[0], MACHINE_END_HALT);
                vcpus_unpark(machine);
        }
        loop_timer_arm(machine->halt_watch, loop_now_ns() + HALT_WATCH_NS);
}

static int
start_halt_watch(struct machine *machine)
{
        int error;

        if (machine->apics == NULL)
                return 0;
        pthread_mutex_lock(&machine->device_lock);
        error = loop_timer_create(machine->loop, watch_halts, machine, &machine->halt_watch);
        if (error == 0)
                loop_timer_arm(machine->halt_watch, loop_now_ns() + HALT_WATCH_NS);
        pthread_mutex_unlock(&machine->device_lock);
        return error;
}

static void
exit_kick(struct vcpu *vcpu, const struct cpu_exit *exit)
{
        /* Parking and ending are looked at after every exit. */
}

static void
exit_hlt(struct vcpu *vcpu, const struct cpu_exit *exit)
{
        struct x86_state st;

        vcpu->machine->engine_ops->get_state(vcpu->cpu, &st);
        vcpu_sleep(vcpu, !(st.rflags & X86_FL_IF), false);
}

static void
exit_wait(struct vcpu *vcpu, const struct cpu_exit *exit)
{
        vcpu_sleep(vcpu, false, true);
}

static void
exit_pause(struct vcpu *vcpu, const struct cpu_exit *exit)
{
        sched_yield();
}

static void
exit_shutdown(struct vcpu *vcpu, const struct cpu_exit *exit)
{
        log_error("virtual CPU %u: triple fault", vcpu->id);
        vcpu_fatal(vcpu, MACHINE_END_TRIPLE_FAULT);
}

static void
exit_debug(struct vcpu *vcpu, const struct cpu_exit *exit)
{
        static const enum stub_stop_kind kinds[] = { [CPU_DEBUG_STEP] = STUB_STOP_STEP,
                [CPU_DEBUG_BREAK] = STUB_STOP_BREAK,
                [CPU_DEBUG_WATCH] = STUB_STOP_WATCH };
        const struct stub_stop stop = { kinds[exit->debug.cause], exit->debug.address };

        if (debug_hold(vcpu, &stop))
                return;
        log_error("virtual CPU %u: stopped for a debugger that is not there", vcpu->id);
        machine_end(vcpu->machine, MACHINE_END_ERROR);
}

/* The bytes at CS:RIP, as far as they can be read. */
static void
dump_code(struct vcpu *vcpu, const struct x86_state *st)
{
        struct guest_mem *mem = vcpu->machine->mem;
        gva_t at = st->seg[X86_CS].base + st->rip;
        struct x86_walk walk;
        uint8_t byte;

        fprintf(stderr, "code at 0x%llx:", (unsigned long long)at);
        for (unsigned i = 0; i < 16; i++) {
                if (x86_walk(mem, st, at + i, 0, &walk) != 0 || mem_read(mem, walk.gpa, &byte, 1) != 0)
                        break;
                fprintf(stderr, " %02x", byte);
        }
        fputc('\n', stderr);
}

/* The engine cannot go on: what somebody needs who wants to know why.  debug.dump prints the state at the end. */
static void
exit_error(struct vcpu *vcpu, const struct cpu_exit *exit)
{
        struct x86_state st;

        log_error("virtual CPU %u: %s", vcpu->id, exit->error);
        vcpu_get_state(vcpu->machine, vcpu->id, &st);
        if (!vcpu->machine->config->debug_dump)
                regs_print(stderr, vcpu->id, &st);
        dump_code(vcpu, &st);
        vcpu_fatal(vcpu, MACHINE_END_ERROR);
}

static void (*const exit_handlers[])(struct vcpu *vcpu, const struct cpu_exit *exit) = {
        [CPU_EXIT_KICK] = exit_kick,
        [CPU_EXIT_HLT] = exit_hlt,
        [CPU_EXIT_WAIT] = exit_wait,
        [CPU_EXIT_PAUSE] = exit_pause,
        [CPU_EXIT_SHUTDOWN] = exit_shutdown,
        [CPU_EXIT_DEBUG] = exit_debug,
        [CPU_EXIT_ERROR] = exit_error,
};

static bool
machine_ended(struct machine *machine)
{
        return atomic_load_explicit(&machine->end, memory_order_acquire) != MACHINE_RUNNING;
}

/* Waits while others need the vCPUs out of the guest. */
static void
vcpu_park(struct vcpu *vcpu)
{
        struct machine *machine = vcpu->machine;

        pthread_mutex_lock(&machine->park_lock);
        while ((machine->park_requests != 0 || vcpu->held) && !machine_ended(machine)) {
                vcpu->parked = true;
                pthread_cond_broadcast(&machine->park_cond);
                pthread_cond_wait(&machine->park_cond, &machine->park_lock);
        }
        vcpu->parked = false;
        pthread_mutex_unlock(&machine->park_lock);
        if (vcpu->last != 0)
                machine_end(machine, vcpu->last);
}

static void *
vcpu_main(void *arg)
{
        struct vcpu *vcpu = arg;
        struct machine *machine = vcpu->machine;
        struct cpu_exit exit;

        /* HLT's wake-ups are the guest's clock ticks. */
        (void)prctl(PR_SET_TIMERSLACK, 1);
        while (!machine_ended(machine)) {
                vcpu_park(vcpu);
                atomic_store_explicit(&vcpu->wake, 0, memory_order_seq_cst);
                if (machine_ended(machine))
                        break;
                machine->engine_ops->run(vcpu->cpu, &exit);
                exit_handlers[exit.reason](vcpu, &exit);
        }
        /* From here on the thread counts as parked: it does not touch the guest again. */
        pthread_mutex_lock(&machine->park_lock);
        vcpu->started = false;
        pthread_cond_broadcast(&machine->park_cond);
        pthread_mutex_unlock(&machine->park_lock);
        return NULL;
}

int
engine_select(struct machine *machine, struct config_error *err)
{
        const struct cpu_config config = { .option = engine_option, .option_ctx = machine };
        struct config_error *why = &machine->engine_why;

        machine->engine_ops = cpu_engine_select(machine->config->engine, &config, why);
        if (machine->engine_ops == NULL)
                return config_fail(err, "cpu.engine=%s: %.400s", machine->config->engine, why->text);
        return 0;
}

int
engine_create(struct machine *machine, struct config_error *err)
{
        const struct vm_config *vm = machine->config;
        const struct cpu_config config = { .model = machine->model,
                .vcpu_count = vm->cpus,
                .exit_on_pause = vm->exit_on_pause,
                .ignore_unknown_msrs = !vm->strict_msr,
                .option = engine_option,
                .option_ctx = machine };
        const struct cpu_env env = { .ops = &machine_env_ops, .ctx = machine };
        struct config_error why = { "" };
        int error = machine->engine_ops->create(&config, machine->mem, &env, &machine->engine, &why);

        if (error != 0) {
                config_fail(err, "CPU engine %s: %s", machine->engine_ops->name,
                    why.text[0] != '\0' ? why.text : strerror(-error));
                return error;
        }
        if (machine->engine_ops->apic != NULL)
                machine->apics = machine->engine_ops->apic(machine->engine);
        return 0;
}

int
vcpus_create(struct machine *machine, struct config_error *err)
{
        struct config_error why = { "" };
        int error = 0;

        for (unsigned i = 0; error == 0 && i < machine->config->cpus; i++) {
                machine->vcpu[i].machine = machine;
                machine->vcpu[i].id = i;
                machine->vcpu[i].inactive = i != 0;
                error = machine->engine_ops->cpu_create(machine->engine, i, &machine->vcpu[i].cpu, &why);
                if (error != 0)
                        config_fail(err, "CPU engine %s: virtual CPU %u: %s", machine->engine_ops->name, i,
                            why.text[0] != '\0' ? why.text : strerror(-error));
        }
        return error;
}

void
vcpus_destroy(struct machine *machine)
{
        for (unsigned i = 0; i < machine->config->cpus; i++) {
                if (machine->vcpu[i].cpu != NULL)
                        machine->engine_ops->cpu_destroy(machine->vcpu[i].cpu);
        }
        if (machine->engine != NULL)
                machine->engine_ops->destroy(machine->engine);
}

static int
vcpu_start(struct vcpu *vcpu)
{
        const struct vm_config *vm = vcpu->machine->config;
        char name[16];
        int error;

        vcpu->started = true;
        error = pthread_create(&vcpu->thread, NULL, vcpu_main, vcpu);
        if (error != 0) {
                vcpu->started = false;
                return -error;
        }
        snprintf(name, sizeof(name), "vcpu %u", vcpu->id);
        (void)pthread_setname_np(vcpu->thread, name);
        if (vm->pinned[vcpu->id] &&
            pthread_setaffinity_np(vcpu->thread, sizeof(vm->cpuset[0]), &vm->cpuset[vcpu->id]) != 0)
                log_warn("virtual CPU %u cannot be pinned: the host has no such CPU", vcpu->id);
        return 0;
}

int
vcpus_start(struct machine *machine)
{
        for (unsigned i = 0; i < machine->config->cpus; i++) {
                int error = vcpu_start(&machine->vcpu[i]);

                if (error != 0) {
                        log_error("virtual CPU %u: %s", i, strerror(-error));
                        return error;
                }
        }
        return start_halt_watch(machine);
}

void
vcpus_join(struct machine *machine)
{
        for (unsigned i = 0; i < machine->config->cpus; i++) {
                if (machine->vcpu[i].thread != 0)
                        pthread_join(machine->vcpu[i].thread, NULL);
        }
}

static bool
all_parked(const struct machine *machine)
{
        for (unsigned i = 0; i < machine->config->cpus; i++) {
                if (machine->vcpu[i].started && !machine->vcpu[i].parked)
                        return false;
        }
        return true;
}

void
vcpus_park(struct machine *machine)
{
        bool kick[VM_CPUS_MAX];

        pthread_mutex_unlock(&machine->device_lock);
        pthread_mutex_lock(&machine->park_lock);
        machine->park_requests++;
        for (unsigned i = 0; i < machine->config->cpus; i++)
                kick[i] = machine->vcpu[i].started && !machine->vcpu[i].parked;
        pthread_mutex_unlock(&machine->park_lock);
        for (unsigned i = 0; i < machine->config->cpus; i++)
                if (kick[i])
                        vcpu_event(machine, i, CPU_EVENT_KICK, 0);
        pthread_mutex_lock(&machine->park_lock);
        while (!all_parked(machine))
                pthread_cond_wait(&machine->park_cond, &machine->park_lock);
        pthread_mutex_unlock(&machine->park_lock);
        pthread_mutex_lock(&machine->device_lock);
}

void
vcpus_unpark(struct machine *machine)
{
        pthread_mutex_lock(&machine->park_lock);
        machine->park_requests--;
        pthread_cond_broadcast(&machine->park_cond);
        pthread_mutex_unlock(&machine->park_lock);
}
