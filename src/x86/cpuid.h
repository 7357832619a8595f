/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The virtual processor's identity: what CPUID says, and with it which
 * instructions, control bits and MSRs exist.  Both engines use one model.
 *
 * A model is built once from the host's CPUID, cut down to what the engine
 * does, and then read only; all vCPUs share it.
 *
 * The specification string is a comma-separated list: first a baseline,
 *   max         everything that host and engine offer (the default)
 *   x86-64, x86-64-v2, x86-64-v3   the psABI's levels, with what every system needs
 * then +FEATURE, -FEATURE (Linux's names), vendor=NAME (12 characters, or
 * intel, amd), family=N, model=N, stepping=N, name=BRAND.
 * A feature that is switched off takes with it what depends on it.
 */
#ifndef X86_CPUID_H
#define X86_CPUID_H

#include "x86/state.h"

struct x86_cpu_model;

struct x86_model_config {
        const char *spec;     /* NULL: max */
        unsigned sockets;
        unsigned cores;       /* in a socket */
        unsigned threads;     /* in a core */
        bool x2apic;
        uint64_t tsc_hz;
        uint64_t lapic_hz;    /* of the local APIC's timer before its divider */
};

/* CPUID's result for one leaf, in the order that struct cpuid results are always named. */
struct x86_cpuid {
        uint32_t eax, ebx, ecx, edx;
};

struct x86_cpuid_leaf {
        uint32_t leaf;
        uint32_t subleaf;
        bool indexed; /* the subleaf matters */
        struct x86_cpuid value;
};

/*
 * 0, or -EINVAL with the reason in @why (of @why_size bytes), which names the
 * word of the specification that is wrong; -ENOMEM.
 */
int x86_model_create(const struct x86_model_config *config, struct x86_cpu_model **ret_model, char *why,
    size_t why_size);
void x86_model_destroy(struct x86_cpu_model *model);

/* CPUID as vCPU @vcpu_id in state @st sees it. */
void x86_model_cpuid(const struct x86_cpu_model *model, const struct x86_state *st, unsigned vcpu_id,
    uint32_t leaf, uint32_t subleaf, struct x86_cpuid *ret);

/* All leaves, without what depends on the state of a vCPU; for engines that hand them on. */
const struct x86_cpuid_leaf *x86_model_leaves(const struct x86_cpu_model *model, unsigned *ret_count);

/* Which instructions exist: bits 1 << enum x86_feature. */
uint64_t x86_model_features(const struct x86_cpu_model *model);
/* Of the host's processor, whatever the engines do with them. */
uint64_t x86_host_features(void);
bool x86_host_is_amd(void);
uint64_t x86_host_xcr0(void); /* what its kernel uses; 0 without XSAVE */
/* Bits of CR4, EFER and XCR0 that may be set. */
uint64_t x86_model_cr4(const struct x86_cpu_model *model);
uint64_t x86_model_efer(const struct x86_cpu_model *model);
uint64_t x86_model_xcr0(const struct x86_cpu_model *model);
/* AMD's or Hygon's ways with SYSCALL, SYSENTER and PUSH and POP of segment registers. */
bool x86_model_is_amd(const struct x86_cpu_model *model);
/* Bits of a linear address that the processor can do: 48, or 57 with 5-level paging. */
unsigned x86_model_linear_bits(const struct x86_cpu_model *model);
bool x86_model_has_x2apic(const struct x86_cpu_model *model);
uint64_t x86_model_tsc_hz(const struct x86_cpu_model *model);

/* Features that decide on MSRs. */
enum x86_msr_feature {
        X86_MF_SPEC_CTRL = 1u << 0,
        X86_MF_ARCH_CAPABILITIES = 1u << 1,
        X86_MF_RDTSCP = 1u << 2,
        X86_MF_XSAVES = 1u << 3,
        X86_MF_PKS = 1u << 4,
        X86_MF_MTRR = 1u << 5,
        X86_MF_SEP = 1u << 6,
        X86_MF_MCE = 1u << 7,
        X86_MF_TSC_ADJUST = 1u << 8,
        X86_MF_SSBD = 1u << 9,
        X86_MF_STIBP = 1u << 10,
        X86_MF_FLUSH_L1D = 1u << 11,
};
unsigned x86_model_msr_features(const struct x86_cpu_model *model);

/* Bytes of an XSAVE area of the standard format for the components in @xcr0. */
uint32_t x86_xsave_bytes(uint64_t xcr0);
/* And of the compacted format. */
uint32_t x86_xsavec_bytes(uint64_t xcr0);

#endif
