/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Model-specific registers: those of struct x86_state that KVM keeps, to and fro; and those that the
 * shared policy (x86/msr.c) answers in KVM's stead, so that a guest finds the same on both engines.
 */
#include "base/log.h"
#include "base/util.h"
#include "cpu/kvm/kvm.h"
#include "x86/msr.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>

/* Consecutive MSRs in consecutive fields. */
struct msr_row {
        uint32_t first;
        uint32_t count;
        size_t offset;
};

#define ROW(first_, count_, field) { first_, count_, offsetof(struct x86_state, field) }

static const struct msr_row rows[] = {
        ROW(X86_MSR_TSC_ADJUST, 1, tsc_adjust),
        ROW(X86_MSR_SPEC_CTRL, 1, spec_ctrl),
        ROW(X86_MSR_SYSENTER_CS, 3, sysenter_cs),
        ROW(0x1a0, 1, misc_enable),
        ROW(0x1d9, 1, debugctl),
        ROW(0x200, 16, mtrr_var),
        ROW(0x250, 1, mtrr_fixed[0]),
        ROW(0x258, 2, mtrr_fixed[1]),
        ROW(0x268, 8, mtrr_fixed[3]),
        ROW(X86_MSR_PAT, 1, pat),
        ROW(0x2ff, 1, mtrr_def_type),
        ROW(X86_MSR_STAR, 4, star),
        ROW(X86_MSR_KERNEL_GS_BASE, 1, kernel_gs_base),
        ROW(X86_MSR_TSC_AUX, 1, tsc_aux),
};
_Static_assert(offsetof(struct x86_state, sysenter_eip) == offsetof(struct x86_state, sysenter_cs) + 16 &&
                offsetof(struct x86_state, sfmask) == offsetof(struct x86_state, star) + 24,
    "MSRs of one row lie together");

int
kvm_msr(struct cpu *cpu, unsigned long request, uint32_t msr, uint64_t *value)
{
        struct kvm_msr_block block = { .head = { .nmsrs = 1 }, .entry = { { .index = msr, .data = *value } } };

        if (ioctl(cpu->fd, request, &block) != 1)
                return -EIO;
        *value = block.entry[0].data;
        return 0;
}

/* One at a time: what this host lacks must not keep the others from being read. */
void
kvm_msr_list(struct cpu *cpu)
{
        struct cpu_engine *engine = cpu->engine;

        for (unsigned i = 0; i < ARRAY_LEN(rows); i++) {
                for (unsigned j = 0; j < rows[i].count; j++) {
                        uint32_t msr = rows[i].first + j;
                        uint64_t value = 0;

                        if (engine->msr_count == KVM_MSRS_MAX || kvm_msr(cpu, KVM_GET_MSRS, msr, &value) != 0)
                                continue;
                        engine->msr_index[engine->msr_count] = msr;
                        engine->msr_offset[engine->msr_count++] = (uint16_t)(rows[i].offset + 8 * j);
                }
        }
}

void
kvm_msrs_get(struct cpu *cpu, struct x86_state *st)
{
        const struct cpu_engine *engine = cpu->engine;
        struct kvm_msr_block block = { .head = { .nmsrs = engine->msr_count } };
        int n;

        for (unsigned i = 0; i < engine->msr_count; i++)
                block.entry[i].index = engine->msr_index[i];
        n = ioctl(cpu->fd, KVM_GET_MSRS, &block);
        for (int i = 0; i < n; i++)
                memcpy((char *)st + engine->msr_offset[i], &block.entry[i].data, 8);
}

/* A value that KVM refuses is no error if it is what the MSR holds already. */
int
kvm_msrs_set(struct cpu *cpu, const struct x86_state *st)
{
        const struct cpu_engine *engine = cpu->engine;
        unsigned done = 0;

        while (done < engine->msr_count) {
                struct kvm_msr_block block = { .head = { .nmsrs = engine->msr_count - done } };
                uint64_t value = 0;
                int n;

                for (unsigned i = done; i < engine->msr_count; i++) {
                        block.entry[i - done].index = engine->msr_index[i];
                        memcpy(&block.entry[i - done].data, (const char *)st + engine->msr_offset[i], 8);
                }
                n = ioctl(cpu->fd, KVM_SET_MSRS, &block);
                if (n < 0)
                        return -errno;
                done += (unsigned)n;
                if (done == engine->msr_count)
                        break;
                if (kvm_msr(cpu, KVM_GET_MSRS, engine->msr_index[done], &value) != 0 || value != block.entry[n].data)
                        return -EINVAL;
                done++;
        }
        return 0;
}

/* Answered here although KVM has answers of its own; what the hardware needs of its guests is KVM's to say. */
static bool
is_ours(const struct x86_cpu_model *model, uint32_t msr)
{
        return msr != X86_MSR_ARCH_CAPABILITIES && x86_msr_is_constant(model, msr);
}

#define FILTER_MSRS 0x400u

static int
set_filter(struct cpu_engine *engine)
{
        uint8_t allowed[FILTER_MSRS / 8];
        struct kvm_msr_filter filter = { .flags = KVM_MSR_FILTER_DEFAULT_ALLOW,
                .ranges = { { .flags = KVM_MSR_FILTER_READ | KVM_MSR_FILTER_WRITE, .nmsrs = FILTER_MSRS, .bitmap = allowed } } };

        memset(allowed, 0xff, sizeof(allowed));
        for (uint32_t msr = 0; msr < FILTER_MSRS; msr++) {
                if (is_ours(engine->config.model, msr))
                        allowed[msr / 8] &= (uint8_t)~(1u << (msr & 7));
        }
        return ioctl(engine->vm, KVM_X86_SET_MSR_FILTER, &filter);
}

int
kvm_msr_create(struct cpu_engine *engine, struct config_error *err)
{
        if (!kvm_has(engine, KVM_CAP_X86_USER_SPACE_MSR)) {
                if (engine->config.ignore_unknown_msrs)
                        log_warn("-w has no effect: KVM lacks KVM_CAP_X86_USER_SPACE_MSR (Linux 5.10)");
                return 0;
        }
        if (kvm_enable(engine, KVM_CAP_X86_USER_SPACE_MSR, KVM_MSR_EXIT_REASON_UNKNOWN | KVM_MSR_EXIT_REASON_FILTER) != 0)
                return kvm_failed(err, "KVM_ENABLE_CAP(KVM_CAP_X86_USER_SPACE_MSR)");
        if (kvm_has(engine, KVM_CAP_X86_MSR_FILTER) && set_filter(engine) != 0)
                return kvm_failed(err, "KVM_X86_SET_MSR_FILTER");
        return 0;
}

void
kvm_msr_exit(struct cpu *cpu)
{
        struct kvm_run *run = cpu->run;
        const struct cpu_config *config = &cpu->engine->config;
        enum x86_msr_result result;
        uint64_t value = 0;

        if (run->exit_reason == KVM_EXIT_X86_WRMSR)
                result = x86_msr_write(cpu->policy, config->model, run->msr.index, run->msr.data);
        else
                result = x86_msr_read(cpu->policy, config->model, run->msr.index, &value);
        if (run->exit_reason == KVM_EXIT_X86_RDMSR)
                run->msr.data = value;
        run->msr.error = result == X86_MSR_GP || (result == X86_MSR_UNKNOWN && !config->ignore_unknown_msrs);
        cpu->incomplete = true;
}
