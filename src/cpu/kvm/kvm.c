/* SPDX-License-Identifier: BSD-2-Clause */
#include "cpu/kvm/kvm.h"
#include "base/util.h"
#include "x86/cpuid.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#define KICK_SIGNAL    SIGUSR1
#define TSS_ADDRESS    0xfffbd000ul /* three pages that no device of ours uses; VT-x real mode needs them */
#define IDENTITY_MAP   0xfffbc000ul
#define CPUID_MAX      128

/* CPUID 1, ECX. */
#define CPUID1_X2APIC       (1u << 21)
#define CPUID1_TSC_DEADLINE (1u << 24)
#define CPUID1_HYPERVISOR   (1u << 31)

static const char *
open_error(int error)
{
        switch (error) {
        case ENOENT:
                return "there is no /dev/kvm; load the module kvm_intel or kvm_amd, or use cpu.engine=soft";
        case EACCES:
        case EPERM:
                return "/dev/kvm may not be opened; join the group kvm, or use cpu.engine=soft";
        default:
                return "/dev/kvm cannot be opened; use cpu.engine=soft";
        }
}

static int
kvm_probe(const char **ret_why)
{
        int fd = open("/dev/kvm", O_RDWR | O_CLOEXEC), error = 0;

        if (fd < 0) {
                error = -errno;
                *ret_why = open_error(errno);
                return error;
        }
        if (ioctl(fd, KVM_GET_API_VERSION, 0) != KVM_API_VERSION) {
                *ret_why = "/dev/kvm speaks an API of before Linux 2.6.22";
                error = -ENOTSUP;
        } else if (ioctl(fd, KVM_CHECK_EXTENSION, KVM_CAP_IMMEDIATE_EXIT) <= 0) {
                *ret_why = "KVM lacks KVM_CAP_IMMEDIATE_EXIT (Linux 4.13)";
                error = -ENOTSUP;
        }
        close(fd);
        return error;
}

static void
add_slot(void *ctx, gpa_t gpa, uint64_t len, void *host, enum mem_kind kind)
{
        struct cpu_engine *engine = ctx;
        struct kvm_userspace_memory_region region = { .slot = engine->slot_count++,
                .flags = kind == MEM_ROM ? KVM_MEM_READONLY : 0,
                .guest_phys_addr = gpa,
                .memory_size = len,
                .userspace_addr = (uintptr_t)host };

        if (engine->slot_error == 0 && ioctl(engine->vm, KVM_SET_USER_MEMORY_REGION, &region) != 0)
                engine->slot_error = -errno;
}

#define FEATURE_EAX 1u
#define FEATURE_EBX 2u
#define FEATURE_ECX 4u
#define FEATURE_EDX 8u

/* Registers of CPUID that hold feature bits: what KVM lacks is taken out of them. */
static const struct {
        uint32_t leaf, subleaf;
        unsigned registers;
} feature_leaves[] = {
        { 1, 0, FEATURE_ECX | FEATURE_EDX },
        { 7, 0, FEATURE_EBX | FEATURE_ECX | FEATURE_EDX },
        { 7, 1, FEATURE_EAX },
        { 0xd, 0, FEATURE_EAX | FEATURE_EDX },
        { 0xd, 1, FEATURE_EAX },
        { 0x80000001u, 0, FEATURE_ECX | FEATURE_EDX },
};

static const struct kvm_cpuid_entry2 *
find_leaf(const struct kvm_cpuid2 *cpuid, uint32_t leaf, uint32_t subleaf)
{
        for (unsigned i = 0; i < cpuid->nent; i++) {
                const struct kvm_cpuid_entry2 *e = &cpuid->entries[i];

                if (e->function == leaf &&
                    (e->index == subleaf || !(e->flags & KVM_CPUID_FLAG_SIGNIFCANT_INDEX)))
                        return e;
        }
        return NULL;
}

/* KVM knows some feature bits by the guest's control registers, and says 0 for them. */
static void
cut_features(struct kvm_cpuid_entry2 *e, const struct kvm_cpuid2 *supported)
{
        const struct kvm_cpuid_entry2 *has = find_leaf(supported, e->function, e->index);
        unsigned registers = 0;

        for (unsigned i = 0; i < ARRAY_LEN(feature_leaves); i++) {
                if (feature_leaves[i].leaf == e->function && feature_leaves[i].subleaf == e->index)
                        registers = feature_leaves[i].registers;
        }
        e->eax &= (registers & FEATURE_EAX) ? (has == NULL ? 0 : has->eax) : ~0u;
        e->ebx &= (registers & FEATURE_EBX) ? (has == NULL ? 0 : has->ebx) : ~0u;
        e->ecx &= (registers & FEATURE_ECX) ? (has == NULL ? 0 : has->ecx | (e->function == 1 ? CPUID1_HYPERVISOR : 0))
                                            : ~0u;
        e->edx &= (registers & FEATURE_EDX) ? (has == NULL ? 0 : has->edx) : ~0u;
        if (e->function == 1)
                e->ecx &= ~(CPUID1_X2APIC | CPUID1_TSC_DEADLINE);
}

static struct kvm_cpuid2 *
alloc_cpuid(void)
{
        struct kvm_cpuid2 *cpuid = calloc(1, sizeof(*cpuid) + CPUID_MAX * sizeof(cpuid->entries[0]));

        if (cpuid != NULL)
                cpuid->nent = CPUID_MAX;
        return cpuid;
}

/*
 * The machine's model, without what KVM does not support, and without what only a
 * local APIC in the kernel could do: x2APIC and the TSC deadline.
 */
static int
read_cpuid(struct cpu_engine *engine)
{
        struct kvm_cpuid2 *supported = alloc_cpuid();
        const struct x86_cpuid_leaf *leaf;
        unsigned count;
        int error = 0;

        engine->cpuid = alloc_cpuid();
        if (supported == NULL || engine->cpuid == NULL)
                error = -ENOMEM;
        else if (ioctl(engine->kvm, KVM_GET_SUPPORTED_CPUID, supported) != 0)
                error = -errno;
        if (error != 0) {
                free(supported);
                return error;
        }
        leaf = x86_model_leaves(engine->config.model, &count);
        engine->cpuid->nent = count < CPUID_MAX ? count : CPUID_MAX;
        for (unsigned i = 0; i < engine->cpuid->nent; i++) {
                struct kvm_cpuid_entry2 *e = &engine->cpuid->entries[i];

                *e = (struct kvm_cpuid_entry2){ .function = leaf[i].leaf,
                        .index = leaf[i].subleaf,
                        .flags = leaf[i].indexed ? KVM_CPUID_FLAG_SIGNIFCANT_INDEX : 0,
                        .eax = leaf[i].value.eax,
                        .ebx = leaf[i].value.ebx,
                        .ecx = leaf[i].value.ecx,
                        .edx = leaf[i].value.edx };
                cut_features(e, supported);
        }
        free(supported);
        return 0;
}

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
        if (engine->vm >= 0)
                close(engine->vm);
        if (engine->kvm >= 0)
                close(engine->kvm);
        free(engine->cpuid);
        free(engine);
}

static int
open_vm(struct cpu_engine *engine)
{
        uint64_t identity_map = IDENTITY_MAP;
        int n;

        engine->kvm = open("/dev/kvm", O_RDWR | O_CLOEXEC);
        if (engine->kvm < 0)
                return -errno;
        engine->vm = ioctl(engine->kvm, KVM_CREATE_VM, 0);
        if (engine->vm < 0)
                return -errno;
        n = ioctl(engine->kvm, KVM_GET_VCPU_MMAP_SIZE, 0);
        if (n < 0)
                return -errno;
        engine->run_bytes = (size_t)n;
        (void)ioctl(engine->vm, KVM_SET_IDENTITY_MAP_ADDR, &identity_map);
        if (ioctl(engine->vm, KVM_SET_TSS_ADDR, TSS_ADDRESS) != 0)
                return -errno;
        mem_for_each(engine->mem, add_slot, engine);
        return engine->slot_error;
}

static int
kvm_create(const struct cpu_config *config, struct guest_mem *mem, const struct cpu_env *env,
    struct cpu_engine **ret_engine)
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
        error = sigaction(KICK_SIGNAL, &action, NULL) != 0 ? -errno : open_vm(engine);
        if (error == 0)
                error = read_cpuid(engine);
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
kvm_cpu_create(struct cpu_engine *engine, unsigned id, struct cpu **ret_cpu)
{
        struct cpu *cpu = calloc(1, sizeof(*cpu));
        int error = 0;

        if (cpu == NULL)
                return -ENOMEM;
        cpu->engine = engine;
        cpu->id = id;
        cpu->fd = ioctl(engine->vm, KVM_CREATE_VCPU, (unsigned long)id);
        if (cpu->fd < 0)
                error = -errno;
        if (error == 0) {
                void *p = mmap(NULL, engine->run_bytes, PROT_READ | PROT_WRITE, MAP_SHARED, cpu->fd, 0);

                if (p == MAP_FAILED)
                        error = -errno;
                else
                        cpu->run = p;
        }
        if (error == 0)
                error = set_cpuid(cpu);
        if (error != 0) {
                kvm_cpu_destroy(cpu);
                return error;
        }
        *ret_cpu = cpu;
        return 0;
}

static void
do_io(struct cpu *cpu)
{
        struct kvm_run *run = cpu->run;
        const struct cpu_env *env = &cpu->engine->env;
        uint8_t *data = (uint8_t *)run + run->io.data_offset;

        cpu->io_exits++;
        for (unsigned i = 0; i < run->io.count; i++, data += run->io.size) {
                uint32_t value = 0;

                if (run->io.direction == KVM_EXIT_IO_IN) {
                        value = env->ops->port_in(env->ctx, cpu->id, run->io.port, run->io.size);
                        memcpy(data, &value, run->io.size);
                } else {
                        memcpy(&value, data, run->io.size);
                        env->ops->port_out(env->ctx, cpu->id, run->io.port, run->io.size, value);
                }
        }
}

static void
do_mmio(struct cpu *cpu)
{
        struct kvm_run *run = cpu->run;
        const struct cpu_env *env = &cpu->engine->env;
        uint64_t value = 0;

        cpu->mmio_exits++;
        if (run->mmio.is_write) {
                memcpy(&value, run->mmio.data, run->mmio.len);
                env->ops->mmio_write(env->ctx, cpu->id, run->mmio.phys_addr, run->mmio.len, value);
        } else {
                value = env->ops->mmio_read(env->ctx, cpu->id, run->mmio.phys_addr, run->mmio.len);
                memcpy(run->mmio.data, &value, run->mmio.len);
        }
}

static bool
fail(struct cpu *cpu, struct cpu_exit *exit, const char *what, uint64_t number)
{
        snprintf(cpu->error, sizeof(cpu->error), "KVM: %s (0x%llx)", what, (unsigned long long)number);
        *exit = (struct cpu_exit){ .reason = CPU_EXIT_ERROR, .error = cpu->error };
        return true;
}

static bool
debug_exit(struct cpu *cpu, struct cpu_exit *exit)
{
        const struct kvm_debug_exit_arch *arch = &cpu->run->debug.arch;
        unsigned hits = arch->exception == X86_VEC_DB ? (unsigned)arch->dr6 & cpu->watch_slots : 0;

        exit->reason = CPU_EXIT_DEBUG;
        exit->debug.cause = hits != 0 ? CPU_DEBUG_WATCH : cpu->stepping ? CPU_DEBUG_STEP : CPU_DEBUG_BREAK;
        exit->debug.address = hits != 0 ? cpu->watched[__builtin_ctz(hits)] : arch->pc;
        return true;
}

/* True if the machine must decide: *exit is filled in. */
static bool
handle_exit(struct cpu *cpu, struct cpu_exit *exit)
{
        struct kvm_run *run = cpu->run;

        switch (run->exit_reason) {
        case KVM_EXIT_IO:
                do_io(cpu);
                cpu->incomplete = true;
                return false;
        case KVM_EXIT_MMIO:
                do_mmio(cpu);
                cpu->incomplete = true;
                return false;
        case KVM_EXIT_HLT:
                cpu->mp_state = X86_MP_HALTED;
                return false;
        case KVM_EXIT_IRQ_WINDOW_OPEN:
        case KVM_EXIT_INTR:
        case KVM_EXIT_SET_TPR:
                return false;
        case KVM_EXIT_SHUTDOWN:
                exit->reason = CPU_EXIT_SHUTDOWN;
                return true;
        case KVM_EXIT_DEBUG:
                return debug_exit(cpu, exit);
        case KVM_EXIT_FAIL_ENTRY:
                return fail(cpu, exit, "the hardware refused to enter the guest, reason",
                    run->fail_entry.hardware_entry_failure_reason);
        case KVM_EXIT_INTERNAL_ERROR:
                return fail(cpu, exit, "internal error (an instruction that it cannot emulate?), code",
                    run->internal.suberror);
        default:
                return fail(cpu, exit, "an exit that nothing expects, reason", run->exit_reason);
        }
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

/* Delivers, or asks for the moment when it can be delivered. */
static void
inject(struct cpu *cpu)
{
        const struct cpu_env *env = &cpu->engine->env;
        struct kvm_run *run = cpu->run;
        int vector;

        run->request_interrupt_window = 0;
        if (!env->ops->intr_pending(env->ctx, cpu->id))
                return;
        if (run->ready_for_interrupt_injection && run->if_flag) {
                vector = env->ops->intr_ack(env->ctx, cpu->id);
                if (vector >= 0) {
                        struct kvm_interrupt interrupt = { .irq = (uint32_t)vector };

                        if (ioctl(cpu->fd, KVM_INTERRUPT, &interrupt) == 0)
                                cpu->mp_state = X86_MP_RUNNING;
                }
                if (!env->ops->intr_pending(env->ctx, cpu->id))
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

/* The effects of the last I/O become visible in the registers only with the next KVM_RUN. */
static void
complete(struct cpu *cpu)
{
        if (!cpu->incomplete)
                return;
        cpu->run->immediate_exit = 1;
        (void)ioctl(cpu->fd, KVM_RUN, 0);
        cpu->incomplete = false;
}

static bool
run_once(struct cpu *cpu, struct cpu_exit *exit)
{
        const struct cpu_env *env = &cpu->engine->env;
        struct kvm_run *run = cpu->run;
        uint8_t tpr;

        run->immediate_exit = 0;
        /* After immediate_exit: an event from here on sets it again and is seen by KVM_RUN. */
        unsigned events = atomic_exchange_explicit(&cpu->events, 0, memory_order_seq_cst);

        if (events & (CPU_EVENT_INIT | CPU_EVENT_SIPI)) {
                complete(cpu);
                run->immediate_exit = 0;
                do_reset_events(cpu, events);
        }
        if ((events & CPU_EVENT_NMI) && ioctl(cpu->fd, KVM_NMI) == 0 && cpu->mp_state == X86_MP_HALTED)
                cpu->mp_state = X86_MP_RUNNING;
        inject(cpu);
        if (events & CPU_EVENT_KICK) {
                exit->reason = CPU_EXIT_KICK;
                return true;
        }
        if (is_idle(cpu, exit))
                return true;
        tpr = env->ops->tpr_read(env->ctx, cpu->id);
        run->cr8 = tpr;
        cpu->exits++;
        cpu->incomplete = false;
        if (ioctl(cpu->fd, KVM_RUN, 0) != 0) {
                if (errno == EINTR || errno == EAGAIN)
                        return false;
                return fail(cpu, exit, "KVM_RUN failed, errno", (uint64_t)errno);
        }
        if (run->cr8 != tpr)
                env->ops->tpr_write(env->ctx, cpu->id, (uint8_t)run->cr8);
        return handle_exit(cpu, exit);
}

static void
kvm_run_cpu(struct cpu *cpu, struct cpu_exit *ret_exit)
{
        cpu->thread = pthread_self();
        atomic_store_explicit(&cpu->running, true, memory_order_seq_cst);
        while (!run_once(cpu, ret_exit))
                ;
        complete(cpu);
        atomic_store_explicit(&cpu->running, false, memory_order_seq_cst);
}

static void
kvm_event(struct cpu *cpu, unsigned event, unsigned argument)
{
        if (event & CPU_EVENT_SIPI)
                atomic_store(&cpu->sipi_vector, argument);
        atomic_fetch_or_explicit(&cpu->events, event, memory_order_seq_cst);
        cpu->run->immediate_exit = 1;
        if (atomic_load_explicit(&cpu->running, memory_order_seq_cst) && !pthread_equal(cpu->thread, pthread_self()))
                (void)pthread_kill(cpu->thread, KICK_SIGNAL);
}

/* DR7 for up to four hardware breakpoints: SDM 3B 17.2.4. */
static uint64_t
breakpoint_bits(const struct cpu_breakpoint *bp, unsigned i)
{
        static const uint64_t kinds[] = { [CPU_BP_EXEC] = 0, [CPU_BP_WRITE] = 1, [CPU_BP_READ] = 3, [CPU_BP_ACCESS] = 3 };
        uint64_t length = bp->length == 8 ? 2 : bp->length == 0 ? 0 : bp->length - 1;

        if (bp->kind == CPU_BP_EXEC)
                length = 0;
        return 2ull << (2 * i) | (kinds[bp->kind] | length << 2) << (16 + 4 * i);
}

static int
kvm_set_debug(struct cpu *cpu, const struct cpu_debug *debug)
{
        struct kvm_guest_debug control = { .control = 0 };

        if (debug->breakpoint_count > ARRAY_LEN(cpu->watched))
                return -ENOSPC;
        cpu->stepping = debug->single_step;
        cpu->watch_slots = 0;
        if (debug->single_step || debug->breakpoint_count != 0)
                control.control = KVM_GUESTDBG_ENABLE;
        if (debug->single_step)
                control.control |= KVM_GUESTDBG_SINGLESTEP | (debug->step_holds_irqs ? KVM_GUESTDBG_BLOCKIRQ : 0);
        if (debug->breakpoint_count != 0)
                control.control |= KVM_GUESTDBG_USE_HW_BP;
        for (unsigned i = 0; i < debug->breakpoint_count; i++) {
                control.arch.debugreg[i] = cpu->watched[i] = debug->breakpoints[i].address;
                if (debug->breakpoints[i].kind != CPU_BP_EXEC)
                        cpu->watch_slots |= (uint8_t)(1u << i);
                control.arch.debugreg[7] |= breakpoint_bits(&debug->breakpoints[i], i);
        }
        return ioctl(cpu->fd, KVM_SET_GUEST_DEBUG, &control) != 0 ? -errno : 0;
}

static size_t
kvm_stats(struct cpu *cpu, char *buf, size_t size)
{
        return (size_t)snprintf(buf, size, "exits %llu\nio_exits %llu\nmmio_exits %llu\n",
            (unsigned long long)cpu->exits, (unsigned long long)cpu->io_exits, (unsigned long long)cpu->mmio_exits);
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
        .cpu_create = kvm_cpu_create,
        .cpu_destroy = kvm_cpu_destroy,
        .get_state = kvm_state_get,
        .set_state = kvm_state_set,
        .run = kvm_run_cpu,
        .event = kvm_event,
        .breakpoints_max = 4,
        .set_debug = kvm_set_debug,
        .stats = kvm_stats,
        .memory_written = kvm_memory_written,
};
