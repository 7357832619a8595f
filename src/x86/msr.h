/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Model-specific registers: numbers, which exist, their reserved bits.
 * What has an effect beyond being remembered (EFER, segment bases, the TSC,
 * the local APIC's) is the engine's; everything else is here.
 */
#ifndef X86_MSR_H
#define X86_MSR_H

#include "x86/cpuid.h"
#include "x86/state.h"

#define X86_MSR_TSC            0x10u
#define X86_MSR_APIC_BASE      0x1bu
#define X86_MSR_TSC_ADJUST     0x3bu
#define X86_MSR_SPEC_CTRL      0x48u
#define X86_MSR_PRED_CMD       0x49u
#define X86_MSR_ARCH_CAPABILITIES 0x10au
#define X86_MSR_SYSENTER_CS    0x174u
#define X86_MSR_SYSENTER_ESP   0x175u
#define X86_MSR_SYSENTER_EIP   0x176u
#define X86_MSR_PAT            0x277u
#define X86_MSR_PKRS           0x6e1u
#define X86_MSR_TSC_DEADLINE   0x6e0u
#define X86_MSR_X2APIC_FIRST   0x800u
#define X86_MSR_X2APIC_LAST    0x8ffu
#define X86_MSR_EFER           0xc0000080u
#define X86_MSR_STAR           0xc0000081u
#define X86_MSR_LSTAR          0xc0000082u
#define X86_MSR_CSTAR          0xc0000083u
#define X86_MSR_SFMASK         0xc0000084u
#define X86_MSR_FS_BASE        0xc0000100u
#define X86_MSR_GS_BASE        0xc0000101u
#define X86_MSR_KERNEL_GS_BASE 0xc0000102u
#define X86_MSR_TSC_AUX        0xc0000103u

enum x86_msr_result {
        X86_MSR_OK,
        X86_MSR_GP,      /* it exists, but the access is not allowed */
        X86_MSR_UNKNOWN, /* it does not exist */
};

/* Whether it reads the same at all times, whatever is written; for an engine that has it from elsewhere. */
bool x86_msr_is_constant(const struct x86_cpu_model *model, uint32_t msr);
enum x86_msr_result x86_msr_read(const struct x86_state *st, const struct x86_cpu_model *model, uint32_t msr,
    uint64_t *ret_value);
enum x86_msr_result x86_msr_write(struct x86_state *st, const struct x86_cpu_model *model, uint32_t msr,
    uint64_t value);

#endif
