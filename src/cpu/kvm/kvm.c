/* SPDX-License-Identifier: BSD-2-Clause */
#include "cpu/kvm/kvm.h"
#include "base/util.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#define KICK_SIGNAL  SIGUSR1
#define TSS_ADDRESS  0xfffbd000ul /* three pages that no device of ours uses; VT-x real mode needs them */
#define IDENTITY_MAP 0xfffbc000ul
static void
kick_handler(int signal_number)
{
        /* Its arrival is what interrupts KVM_RUN. */
}

static void
kvm_destroy(struct cpu_engine *engine)
{
        if (engine == NULL)
                return;
        kvm_apic_destroy(engine);
        if (engine->vm >= 0)
                close(engine->vm);
        if (engine->kvm >= 0)
                close(engine->kvm);
        free(engine->cpuid);
        free(engine);
}

static int
set_up_vm(struct cpu_engine *engine, struct config_error *err)
{
        uint64_t identity_map = IDENTITY_MAP;
        int n = ioctl(engine->kvm, KVM_GET_VCPU_MMAP_SIZE, 0);

        if (n < 0)
                return kvm_failed(err, "KVM_GET_VCPU_MMAP_SIZE");
        engine->run_bytes = (size_t)n;
        (void)ioctl(engine->vm, KVM_SET_IDENTITY_MAP_ADDR, &identity_map);
        if (ioctl(engine->vm, KVM_SET_TSS_ADDR, TSS_ADDRESS) != 0)
                return kvm_failed(err, "KVM_SET_TSS_ADDR");
        return kvm_slots_create(engine, err);
}

/*
 * -P: the guest is left on PAUSE, for KVM to let other vCPUs run; without, as on FreeBSD, PAUSE is
 * left to the processor.
 */
static int
set_pause_exits(struct cpu_engine *engine, struct config_error *err)
{
        if (engine->config.exit_on_pause || !(kvm_has(engine, KVM_CAP_X86_DISABLE_EXITS) & KVM_X86_DISABLE_EXITS_PAUSE))
                return 0;
        if (kvm_enable(engine, KVM_CAP_X86_DISABLE_EXITS, KVM_X86_DISABLE_EXITS_PAUSE) != 0)
                return kvm_failed(err, "KVM_ENABLE_CAP(KVM_CAP_X86_DISABLE_EXITS)");
        return 0;
}

static int
open_vm(struct cpu_engine *engine, struct config_error *err)
{
        int error = kvm_open(&engine->config, &engine->kvm, err);

        if (error != 0)
                return error;
        kvm_slots_list(engine);
        error = kvm_check_limits(engine, err);
        if (error != 0)
                return error;
        engine->vm = ioctl(engine->kvm, KVM_CREATE_VM, 0);
        if (engine->vm < 0)
                return kvm_failed(err, "KVM_CREATE_VM");
        error = set_up_vm(engine, err);
        if (error == 0)
                error = kvm_apic_create(engine, err);
        if (error == 0)
                error = kvm_msr_create(engine, err);
        if (error == 0)
                error = set_pause_exits(engine, err);
        return error != 0 ? error : kvm_read_cpuid(engine, err);
}

static int
kvm_probe(const struct cpu_config *config, struct config_error *why)
{
        int fd = -1, error = kvm_open(config, &fd, why);

        if (error == 0)
                close(fd);
        return error;
}

static int
kvm_create(const struct cpu_config *config, struct guest_mem *mem, const struct cpu_env *env,
    struct cpu_engine **ret_engine, struct config_error *err)
{
        struct cpu_engine *engine = calloc(1, sizeof(*engine));
        struct sigaction action = { .sa_handler = kick_handler };
        int error;

        if (engine == NULL)
                return -ENOMEM;
        engine->kvm = engine->vm = -1;
        engine->mem = mem;
        engine->config = *config;
        engine->env = *env;
        error = sigaction(KICK_SIGNAL, &action, NULL) != 0 ? -errno : open_vm(engine, err);
        if (error != 0) {
                kvm_destroy(engine);
                return error;
        }
        *ret_engine = engine;
        return 0;
}

static void
kvm_cpu_destroy(struct cpu *cpu)
{
        if (cpu == NULL)
                return;
        if (cpu->run != NULL)
                munmap(cpu->run, cpu->engine->run_bytes);
        if (cpu->fd >= 0)
                close(cpu->fd);
        free(cpu->policy);
        free(cpu);
}

/* What the model says of this vCPU in particular: APIC ids. */
static int
set_cpuid(struct cpu *cpu)
{
        struct kvm_cpuid2 *cpuid = cpu->engine->cpuid;

        for (unsigned i = 0; i < cpuid->nent; i++) {
                struct kvm_cpuid_entry2 *e = &cpuid->entries[i];

                if (e->function == 1)
                        e->ebx = (e->ebx & 0x00ffffffu) | cpu->id << 24;
                if (e->function == 0xb || e->function == 0x1f)
                        e->edx = cpu->id;
        }
        return ioctl(cpu->fd, KVM_SET_CPUID2, cpuid) != 0 ? -errno : 0;
}

static int
make_policy_state(struct cpu *cpu)
{
        cpu->policy = aligned_alloc(_Alignof(struct x86_state), sizeof(*cpu->policy));
        if (cpu->policy == NULL)
                return -ENOMEM;
        x86_state_reset(cpu->policy, cpu->id);
        return 0;
}

static int
open_cpu(struct cpu *cpu, struct config_error *err)
{
        struct cpu_engine *engine = cpu->engine;
        void *p;

        cpu->fd = ioctl(engine->vm, KVM_CREATE_VCPU, (unsigned long)cpu->id);
        if (cpu->fd < 0)
                return kvm_failed(err, "KVM_CREATE_VCPU");
        p = mmap(NULL, engine->run_bytes, PROT_READ | PROT_WRITE, MAP_SHARED, cpu->fd, 0);
        if (p == MAP_FAILED)
                return kvm_failed(err, "mmap of struct kvm_run");
        cpu->run = p;
        if (set_cpuid(cpu) != 0)
                return kvm_failed(err, "KVM_SET_CPUID2");
        if (engine->msr_count == 0)
                kvm_msr_list(cpu);
        return make_policy_state(cpu);
}

static int
kvm_cpu_create(struct cpu_engine *engine, unsigned id, struct cpu **ret_cpu, struct config_error *err)
{
        struct cpu *cpu = calloc(1, sizeof(*cpu));
        int error;

        if (cpu == NULL)
                return -ENOMEM;
        cpu->engine = engine;
        cpu->id = id;
        cpu->fd = -1;
        cpu->vector = -1;
        error = open_cpu(cpu, err);
        if (error != 0) {
                kvm_cpu_destroy(cpu);
                return error;
        }
        *ret_cpu = cpu;
        return 0;
}

/* KVM_RUN returns at once while it is set.  Other threads set it; its order against `events` matters. */
static void
set_immediate_exit(struct cpu *cpu, uint8_t value)
{
        __atomic_store_n(&cpu->run->immediate_exit, value, __ATOMIC_SEQ_CST);
}

/* INIT and SIPI: the kernel's own handling of them needs its own local APIC. */
static void
do_reset_events(struct cpu *cpu, unsigned events)
{
        struct x86_state st;

        if (events & CPU_EVENT_INIT) {
                kvm_state_get(cpu, &st);
                x86_state_init(&st, cpu->id);
                (void)kvm_state_set(cpu, &st);
        }
        if ((events & CPU_EVENT_SIPI) && cpu->mp_state == X86_MP_WAIT_SIPI) {
                kvm_state_get(cpu, &st);
                x86_state_sipi(&st, (uint8_t)atomic_load(&cpu->sipi_vector));
                (void)kvm_state_set(cpu, &st);
        }
}

/* True if KVM took cpu->vector. */
static bool
give_vector(struct cpu *cpu)
{
        struct kvm_interrupt interrupt = { .irq = (uint32_t)cpu->vector };

        if (cpu->vector < 0 || ioctl(cpu->fd, KVM_INTERRUPT, &interrupt) != 0)
                return false;
        cpu->vector = -1;
        if (!cpu->engine->split)
                cpu->mp_state = X86_MP_RUNNING;
        return true;
}

/*
 * Delivers, or asks for the moment when it can be delivered.  With the local APIC in the kernel
 * this is about the PIC only, and KVM's "ready" includes that LINT0 lets it through.
 */
static void
inject(struct cpu *cpu)
{
        const struct cpu_env *env = &cpu->engine->env;
        struct kvm_run *run = cpu->run;

        run->request_interrupt_window = 0;
        if (cpu->vector < 0 && !env->ops->intr_pending(env->ctx, cpu->id))
                return;
        if (run->ready_for_interrupt_injection && run->if_flag) {
                if (cpu->vector < 0)
                        cpu->vector = env->ops->intr_ack(env->ctx, cpu->id);
                if (give_vector(cpu))
                        run->ready_for_interrupt_injection = 0;
                if (cpu->vector < 0 && !env->ops->intr_pending(env->ctx, cpu->id))
                        return;
        }
        run->request_interrupt_window = 1;
}

/* True if there is nothing to run: *exit says so. */
static bool
is_idle(struct cpu *cpu, struct cpu_exit *exit)
{
        if (cpu->mp_state == X86_MP_WAIT_INIT || cpu->mp_state == X86_MP_WAIT_SIPI) {
                exit->reason = CPU_EXIT_WAIT;
                return true;
        }
        if (cpu->mp_state == X86_MP_HALTED) {
                exit->reason = CPU_EXIT_HLT;
                return true;
        }
        return false;
}

/*
 * The effects of the last I/O become visible in the registers only with the next KVM_RUN, which may come
 * out again: for the next part of an access or element of a string, or because a step ends.  True if
 * the machine must decide on that: *exit says so.
 */
static bool
complete(struct cpu *cpu, struct cpu_exit *exit)
{
        while (cpu->incomplete) {
                set_immediate_exit(cpu, 1);
                cpu->incomplete = false;
                if (ioctl(cpu->fd, KVM_RUN, 0) == 0 && kvm_handle_exit(cpu, exit))
                        return true;
        }
        return false;
}

/* KVM_RUN, with CR8 carried both ways where the local APIC is not in the kernel.  Its errno. */
static int
enter(struct cpu *cpu)
{
        const struct cpu_env *env = &cpu->engine->env;
        struct kvm_run *run = cpu->run;
        uint8_t tpr = 0;
        int error;

        if (!cpu->engine->split) {
                tpr = env->ops->tpr_read(env->ctx, cpu->id);
                run->cr8 = tpr;
        }
        cpu->exits++;
        cpu->incomplete = false;
        error = ioctl(cpu->fd, KVM_RUN, 0) != 0 ? errno : 0;
        if (error == 0 && !cpu->engine->split && run->cr8 != tpr)
                env->ops->tpr_write(env->ctx, cpu->id, (uint8_t)run->cr8);
        return error;
}

/* What must be done before the guest goes on; true if *exit says why it does not. */
static bool
take_events(struct cpu *cpu, unsigned events, struct cpu_exit *exit)
{
        if (!cpu->engine->split && (events & (CPU_EVENT_INIT | CPU_EVENT_SIPI))) {
                if (complete(cpu, exit)) {
                        atomic_fetch_or(&cpu->events, events);
                        return true;
                }
                set_immediate_exit(cpu, 0);
                do_reset_events(cpu, events);
        }
        if ((events & CPU_EVENT_NMI) && ioctl(cpu->fd, KVM_NMI) == 0 && cpu->mp_state == X86_MP_HALTED)
                cpu->mp_state = X86_MP_RUNNING;
        inject(cpu);
        if (events & CPU_EVENT_KICK) {
                exit->reason = CPU_EXIT_KICK;
                return true;
        }
        return !cpu->engine->split && is_idle(cpu, exit);
}

static bool
run_once(struct cpu *cpu, struct cpu_exit *exit)
{
        unsigned events;
        int error;

        set_immediate_exit(cpu, 0);
        /* After immediate_exit: an event from here on sets it again and is seen by KVM_RUN. */
        events = atomic_exchange_explicit(&cpu->events, 0, memory_order_seq_cst);
        if (take_events(cpu, events, exit))
                return true;
        error = enter(cpu);
        if (error == 0)
                return kvm_handle_exit(cpu, exit);
        /* EAGAIN: a vCPU that waited for INIT or SIPI has got it. */
        return error != EINTR && error != EAGAIN && kvm_run_failed(cpu, error, exit);
}

static void
kvm_run_cpu(struct cpu *cpu, struct cpu_exit *ret_exit)
{
        /* Written once: kvm_event reads it as soon as `running` has been seen true. */
        if (!pthread_equal(cpu->thread, pthread_self()))
                cpu->thread = pthread_self();
        kvm_debug_resume(cpu);
        atomic_store_explicit(&cpu->running, true, memory_order_seq_cst);
        while (!run_once(cpu, ret_exit))
                ;
        (void)complete(cpu, ret_exit);
        atomic_store_explicit(&cpu->running, false, memory_order_seq_cst);
}

static void
kvm_event(struct cpu *cpu, unsigned event, unsigned argument)
{
        if (event & CPU_EVENT_SIPI)
                atomic_store(&cpu->sipi_vector, argument);
        atomic_fetch_or_explicit(&cpu->events, event, memory_order_seq_cst);
        set_immediate_exit(cpu, 1);
        if (atomic_load_explicit(&cpu->running, memory_order_seq_cst) && !pthread_equal(cpu->thread, pthread_self()))
                (void)pthread_kill(cpu->thread, KICK_SIGNAL);
}

static size_t
kvm_stats(struct cpu *cpu, char *buf, size_t size)
{
        return (size_t)snprintf(buf, size, "exits %llu\nio_exits %llu\nmmio_exits %llu\neoi_exits %llu\n",
            (unsigned long long)cpu->exits, (unsigned long long)cpu->io_exits, (unsigned long long)cpu->mmio_exits,
            (unsigned long long)cpu->eoi_exits);
}

static void
kvm_memory_written(struct cpu_engine *engine, gpa_t gpa, uint64_t len)
{
        /* The hardware sees memory as it is. */
}

const struct cpu_engine_ops cpu_engine_kvm = {
        .name = "kvm",
        .probe = kvm_probe,
        .create = kvm_create,
        .destroy = kvm_destroy,
        .apic = kvm_apics,
        .cpu_create = kvm_cpu_create,
        .cpu_destroy = kvm_cpu_destroy,
        .get_state = kvm_state_get,
        .set_state = kvm_state_set,
        .run = kvm_run_cpu,
        .event = kvm_event,
        .breakpoints_max = 4,
        .set_debug = kvm_set_debug,
        .set_doorbell = kvm_set_doorbell,
        .log_dirty = kvm_log_dirty,
        .take_dirty = kvm_take_dirty,
        .stats = kvm_stats,
        .memory_written = kvm_memory_written,
};
