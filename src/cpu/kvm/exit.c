/* SPDX-License-Identifier: BSD-2-Clause */
/* What KVM_RUN comes back with. */
#include "base/util.h"
#include "cpu/kvm/kvm.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

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

__attribute__((format(printf, 3, 4))) static bool
fail(struct cpu *cpu, struct cpu_exit *exit, const char *fmt, ...)
{
        va_list args;

        va_start(args, fmt);
        vsnprintf(cpu->error, sizeof(cpu->error), fmt, args);
        va_end(args);
        *exit = (struct cpu_exit){ .reason = CPU_EXIT_ERROR, .error = cpu->error };
        return true;
}

bool
kvm_run_failed(struct cpu *cpu, int error, struct cpu_exit *exit)
{
        return fail(cpu, exit, "KVM_RUN: %s", strerror(error));
}

/* VT-x: bit 31 and a basic exit reason, SDM 3D appendix C; SVM: the exit code, APM 2 appendix C. */
static const char *
entry_reason(uint64_t reason)
{
        switch (reason) {
        case 0x80000021u:
                return "invalid guest state";
        case 0x80000022u:
                return "an MSR that could not be loaded";
        case 0x80000029u:
                return "a machine check";
        case UINT64_MAX:
                return "invalid state of the virtual machine";
        default:
                return "see the processor's manual";
        }
}

static bool
failed_entry(struct cpu *cpu, struct cpu_exit *exit)
{
        unsigned long long reason = cpu->run->fail_entry.hardware_entry_failure_reason;

        return fail(cpu, exit, "KVM: the hardware refused to enter the guest, reason 0x%llx: %s", reason, entry_reason(reason));
}

/* KVM gives the instruction's bytes since Linux 5.14. */
static void
append_bytes(struct cpu *cpu)
{
        const struct kvm_run *run = cpu->run;
        size_t at = strlen(cpu->error), count = run->emulation_failure.insn_size;

        if (run->internal.suberror != KVM_INTERNAL_ERROR_EMULATION || run->emulation_failure.ndata == 0 ||
            !(run->emulation_failure.flags & KVM_INTERNAL_ERROR_EMULATION_FLAG_INSTRUCTION_BYTES))
                return;
        at += (size_t)snprintf(cpu->error + at, sizeof(cpu->error) - at, ", instruction");
        for (size_t i = 0; i < count && i < sizeof(run->emulation_failure.insn_bytes); i++)
                at += (size_t)snprintf(cpu->error + at, sizeof(cpu->error) - at, " %02x", run->emulation_failure.insn_bytes[i]);
}

static bool
internal_error(struct cpu *cpu, struct cpu_exit *exit)
{
        static const char *const what[] = { [KVM_INTERNAL_ERROR_EMULATION] = "an instruction that KVM cannot emulate",
                [KVM_INTERNAL_ERROR_SIMUL_EX] = "exceptions at the same time",
                [KVM_INTERNAL_ERROR_DELIVERY_EV] = "an event that could not be delivered",
                [KVM_INTERNAL_ERROR_UNEXPECTED_EXIT_REASON] = "an exit that KVM does not know" };
        unsigned code = cpu->run->internal.suberror;
        const char *text = code < ARRAY_LEN(what) && what[code] != NULL ? what[code] : "of a kind unknown here";

        (void)fail(cpu, exit, "KVM: internal error %u: %s", code, text);
        append_bytes(cpu);
        return true;
}

bool
kvm_handle_exit(struct cpu *cpu, struct cpu_exit *exit)
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
        case KVM_EXIT_X86_RDMSR:
        case KVM_EXIT_X86_WRMSR:
                kvm_msr_exit(cpu);
                return false;
        case KVM_EXIT_IOAPIC_EOI:
                cpu->eoi_exits++;
                cpu->engine->env.ops->eoi(cpu->engine->env.ctx, cpu->id, run->eoi.vector);
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
                return kvm_debug_exit(cpu, exit);
        case KVM_EXIT_FAIL_ENTRY:
                return failed_entry(cpu, exit);
        case KVM_EXIT_INTERNAL_ERROR:
                return internal_error(cpu, exit);
        default:
                return fail(cpu, exit, "KVM: exit reason %u, which nothing here asked for", run->exit_reason);
        }
}
