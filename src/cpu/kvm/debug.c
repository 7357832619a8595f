/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The host's debugger: single steps, and breakpoints and watchpoints in the debug registers.
 *
 * The debugger passes the breakpoint that it stopped at by running on from there.  RFLAGS.RF would do on
 * hardware, but KVM's emulator does not heed it for breakpoints of the host; so one instruction is
 * stepped with that breakpoint out of the way.
 */
#include "base/util.h"
#include "cpu/kvm/kvm.h"

#include <errno.h>
#include <string.h>
#include <sys/ioctl.h>

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

static bool
stops_at(const struct cpu_breakpoint *bp, gva_t pc)
{
        return bp->kind == CPU_BP_EXEC && bp->address == pc;
}

/* While cpu->passing, one step without the breakpoint that is passed; else as the debugger wants it. */
static int
apply(struct cpu *cpu)
{
        const struct kvm_cpu_debug *debug = &cpu->debug;
        struct kvm_guest_debug control = { .control = 0 };
        bool step = debug->step || debug->passing;

        for (unsigned i = 0; i < debug->point_count; i++) {
                control.arch.debugreg[i] = debug->point[i].address;
                if (!debug->passing || !stops_at(&debug->point[i], debug->stop_pc))
                        control.arch.debugreg[7] |= breakpoint_bits(&debug->point[i], i);
        }
        if (step || debug->point_count != 0)
                control.control = KVM_GUESTDBG_ENABLE;
        if (debug->point_count != 0)
                control.control |= KVM_GUESTDBG_USE_HW_BP;
        if (step)
                control.control |= KVM_GUESTDBG_SINGLESTEP;
        /* Since Linux 5.15; before it, a step may end in an interrupt's handler. */
        if (step && (debug->holds_irqs || !debug->step))
                control.control |= (unsigned)kvm_has(cpu->engine, KVM_CAP_SET_GUEST_DEBUG2) & KVM_GUESTDBG_BLOCKIRQ;
        return ioctl(cpu->fd, KVM_SET_GUEST_DEBUG, &control) != 0 ? -errno : 0;
}

int
kvm_set_debug(struct cpu *cpu, const struct cpu_debug *wanted)
{
        struct kvm_cpu_debug *debug = &cpu->debug;

        if (wanted->breakpoint_count > ARRAY_LEN(debug->point))
                return -ENOSPC;
        debug->step = wanted->single_step;
        debug->holds_irqs = wanted->step_holds_irqs;
        debug->passing = false;
        debug->point_count = (unsigned)wanted->breakpoint_count;
        for (unsigned i = 0; i < debug->point_count; i++)
                debug->point[i] = wanted->breakpoints[i];
        return apply(cpu);
}

void
kvm_debug_resume(struct cpu *cpu)
{
        struct kvm_cpu_debug *debug = &cpu->debug;
        struct kvm_regs regs;
        bool at_point = false;

        if (!debug->stopped || debug->passing || ioctl(cpu->fd, KVM_GET_REGS, &regs) != 0)
                return;
        debug->stopped = false;
        for (unsigned i = 0; i < debug->point_count; i++)
                at_point |= stops_at(&debug->point[i], debug->stop_pc);
        if (!at_point || regs.rip != debug->stop_rip)
                return;
        debug->passing = true;
        (void)apply(cpu);
}

/* The watchpoints among DR6's hits. */
static unsigned
watch_hits(const struct cpu *cpu, const struct kvm_debug_exit_arch *arch)
{
        unsigned hits = 0;

        if (arch->exception != X86_VEC_DB)
                return 0;
        for (unsigned i = 0; i < cpu->debug.point_count; i++) {
                if ((arch->dr6 >> i & 1) && cpu->debug.point[i].kind != CPU_BP_EXEC)
                        hits |= 1u << i;
        }
        return hits;
}

bool
kvm_debug_exit(struct cpu *cpu, struct cpu_exit *exit)
{
        const struct kvm_debug_exit_arch *arch = &cpu->run->debug.arch;
        struct kvm_cpu_debug *debug = &cpu->debug;
        unsigned hits = watch_hits(cpu, arch);
        bool passed = debug->passing;
        struct kvm_regs regs;

        if (passed) {
                debug->passing = false;
                (void)apply(cpu);
                if (hits == 0 && !debug->step)
                        return false;
        }
        debug->stopped = ioctl(cpu->fd, KVM_GET_REGS, &regs) == 0;
        debug->stop_rip = regs.rip;
        debug->stop_pc = arch->pc;
        exit->reason = CPU_EXIT_DEBUG;
        exit->debug.cause = hits != 0 ? CPU_DEBUG_WATCH : debug->step ? CPU_DEBUG_STEP : CPU_DEBUG_BREAK;
        exit->debug.address = hits != 0 ? debug->point[__builtin_ctz(hits)].address : arch->pc;
        return true;
}
