/* SPDX-License-Identifier: BSD-2-Clause */
/* SDM 4, model-specific registers; the ones that keep a value or have a constant one. */
#include "x86/msr.h"

#include "base/util.h"

#include <stddef.h>

/* IA32_ARCH_CAPABILITIES: the processor needs none of the work-arounds (SDM 4 table 2-2). */
#define ARCH_CAPABILITIES                                                                                   \
        (1ull << 0 /* RDCL_NO */ | 1ull << 1 /* IBRS_ALL */ | 1ull << 3 /* SKIP_L1DFL_VMENTRY */ |          \
            1ull << 4 /* SSB_NO */ | 1ull << 5 /* MDS_NO */ | 1ull << 6 /* IF_PSCHANGE_MC_NO */ |           \
            1ull << 8 /* TAA_NO */ | 1ull << 13 /* SBDR_SSDP_NO */ | 1ull << 14 /* FBSDP_NO */ |            \
            1ull << 15 /* PSDP_NO */ | 1ull << 20 /* BHI_NO */ | 1ull << 24 /* PBRSB_NO */ |                \
            1ull << 26 /* GDS_NO */ | 1ull << 27 /* RFDS_NO */ | 1ull << 62 /* ITS_NO */)

#define MSR_PLATFORM_INFO 0xceu

#define MISC_ENABLE_MASK ((1ull << 0) | (1ull << 3) | (1ull << 7) | (1ull << 11) | (1ull << 12) | (1ull << 16) | \
        (1ull << 18) | (1ull << 22) | (1ull << 23) | (1ull << 34))

#define MTRR_CAP      0x508ull /* 8 variable ranges, fixed ranges, write combining */
#define MTRR_PHYS_MASK (((1ull << 46) - 1) & ~0xfffull)

enum check {
        CHECK_MASK,      /* no bits beyond the mask */
        CHECK_IGNORE,    /* bits beyond the mask are dropped */
        CHECK_CANONICAL,
        CHECK_PAT,
        CHECK_MTRR_FIXED,
        CHECK_MTRR_DEF,
};

/* An MSR, or a range of @count consecutive ones, that a field of the state holds. */
struct msr_field {
        uint32_t first;
        uint32_t count;
        uint16_t offset;
        uint16_t stride;
        uint8_t check;
        unsigned needs; /* enum x86_msr_feature bits, all of them */
        uint64_t mask;
};

#define AT(field) offsetof(struct x86_state, field), 8

static const struct msr_field fields[] = {
        { X86_MSR_SYSENTER_CS, 1, AT(sysenter_cs), CHECK_IGNORE, X86_MF_SEP, 0xffffffff },
        { X86_MSR_SYSENTER_ESP, 1, AT(sysenter_esp), CHECK_CANONICAL, X86_MF_SEP, 0 },
        { X86_MSR_SYSENTER_EIP, 1, AT(sysenter_eip), CHECK_CANONICAL, X86_MF_SEP, 0 },
        { 0x1a0, 1, AT(misc_enable), CHECK_IGNORE, 0, MISC_ENABLE_MASK },
        { 0x1d9, 1, AT(debugctl), CHECK_MASK, 0, 0x3 },
        { X86_MSR_PAT, 1, AT(pat), CHECK_PAT, 0, 0 },
        { 0x2ff, 1, AT(mtrr_def_type), CHECK_MTRR_DEF, X86_MF_MTRR, 0xcff },
        { 0x250, 1, AT(mtrr_fixed[0]), CHECK_MTRR_FIXED, X86_MF_MTRR, 0 },
        { 0x258, 2, AT(mtrr_fixed[1]), CHECK_MTRR_FIXED, X86_MF_MTRR, 0 },
        { 0x268, 8, AT(mtrr_fixed[3]), CHECK_MTRR_FIXED, X86_MF_MTRR, 0 },
        { X86_MSR_STAR, 1, AT(star), CHECK_MASK, 0, ~0ull },
        { X86_MSR_LSTAR, 1, AT(lstar), CHECK_CANONICAL, 0, 0 },
        { X86_MSR_CSTAR, 1, AT(cstar), CHECK_CANONICAL, 0, 0 },
        { X86_MSR_SFMASK, 1, AT(sfmask), CHECK_MASK, 0, 0xffffffff },
        { X86_MSR_KERNEL_GS_BASE, 1, AT(kernel_gs_base), CHECK_CANONICAL, 0, 0 },
        { X86_MSR_TSC_AUX, 1, AT(tsc_aux), CHECK_MASK, X86_MF_RDTSCP, 0xffffffff },
        { X86_MSR_PKRS, 1, AT(pkrs), CHECK_MASK, X86_MF_PKS, 0xffffffff },
};

/* MSRs that read as a constant, and how they take a write. */
enum on_write {
        WRITE_GP,
        WRITE_IGNORE,
};

struct msr_constant {
        uint32_t first;
        uint32_t count;
        uint8_t on_write;
        unsigned needs;
        uint64_t value;
};

static const struct msr_constant constants[] = {
        { 0x00, 2, WRITE_IGNORE, 0, 0 },               /* P5_MC_ADDR, P5_MC_TYPE */
        { 0x17, 1, WRITE_GP, 0, 0 },                   /* IA32_PLATFORM_ID */
        { 0x2a, 1, WRITE_IGNORE, 0, 0 },               /* EBL_CR_POWERON */
        { 0x3a, 1, WRITE_GP, 0, 1 },                   /* IA32_FEATURE_CONTROL: locked, no VMX */
        { 0x79, 1, WRITE_IGNORE, 0, 0 },               /* IA32_BIOS_UPDT_TRIG */
        { 0x8b, 1, WRITE_IGNORE, 0, 0x2b00000000ull << 8 }, /* IA32_BIOS_SIGN_ID: revision in the high half */
        { 0xfe, 1, WRITE_GP, X86_MF_MTRR, MTRR_CAP },
        { X86_MSR_ARCH_CAPABILITIES, 1, WRITE_GP, X86_MF_ARCH_CAPABILITIES, ARCH_CAPABILITIES },
        { 0x179, 1, WRITE_GP, X86_MF_MCE, 0 },         /* IA32_MCG_CAP: no banks */
        { 0x17a, 1, WRITE_IGNORE, X86_MF_MCE, 0 },     /* IA32_MCG_STATUS */
        { 0x198, 1, WRITE_GP, 0, 0 },                  /* IA32_PERF_STATUS */
        { 0x199, 1, WRITE_IGNORE, 0, 0 },              /* IA32_PERF_CTL */
        { 0x19a, 3, WRITE_IGNORE, 0, 0 },              /* thermal */
        { 0x1db, 4, WRITE_GP, 0, 0 },                  /* last branch and interrupt */
        { 0x1fc, 1, WRITE_IGNORE, 0, 0 },              /* MSR_POWER_CTL */
};

static bool
canonical(const struct x86_cpu_model *model, uint64_t value)
{
        unsigned shift = 64 - x86_model_linear_bits(model);

        return (uint64_t)((int64_t)(value << shift) >> shift) == value;
}

/* Memory types 0, 1, 4, 5, 6; the PAT has 7 (UC-) too: SDM 3A 11.11 and 11.12. */
static bool
types_valid(uint64_t value, unsigned allowed)
{
        for (unsigned i = 0; i < 64; i += 8)
                if ((value >> i & 0xff) > 7 || !(allowed >> (value >> i & 7) & 1))
                        return false;
        return true;
}

#define TYPES_MTRR 0x73u
#define TYPES_PAT  0xf3u

static bool
check(const struct x86_cpu_model *model, const struct msr_field *f, uint64_t value)
{
        switch (f->check) {
        case CHECK_MASK:
                return (value & ~f->mask) == 0;
        case CHECK_CANONICAL:
                return canonical(model, value);
        case CHECK_PAT:
                return types_valid(value, TYPES_PAT);
        case CHECK_MTRR_FIXED:
                return types_valid(value, TYPES_MTRR);
        case CHECK_MTRR_DEF:
                return (value & ~f->mask) == 0 && types_valid(value & 0xff, TYPES_MTRR);
        default:
                return true;
        }
}

static const struct msr_field *
field_find(const struct x86_cpu_model *model, uint32_t msr)
{
        unsigned has = x86_model_msr_features(model);

        for (unsigned i = 0; i < ARRAY_LEN(fields); i++)
                if (msr - fields[i].first < fields[i].count)
                        return (fields[i].needs & ~has) == 0 ? &fields[i] : NULL;
        return NULL;
}

static const struct msr_constant *
constant_find(const struct x86_cpu_model *model, uint32_t msr)
{
        unsigned has = x86_model_msr_features(model);

        for (unsigned i = 0; i < ARRAY_LEN(constants); i++)
                if (msr - constants[i].first < constants[i].count)
                        return (constants[i].needs & ~has) == 0 ? &constants[i] : NULL;
        return NULL;
}

bool
x86_msr_is_constant(const struct x86_cpu_model *model, uint32_t msr)
{
        return msr == MSR_PLATFORM_INFO || constant_find(model, msr) != NULL;
}

static uint64_t *
field_at(struct x86_state *st, const struct msr_field *f, uint32_t msr)
{
        return (uint64_t *)(void *)((uint8_t *)st + f->offset + (msr - f->first) * f->stride);
}

static bool
is_mtrr_var(const struct x86_cpu_model *model, uint32_t msr)
{
        return msr - 0x200 < 16 && (x86_model_msr_features(model) & X86_MF_MTRR);
}

static bool
mtrr_var_valid(uint32_t msr, uint64_t value)
{
        if (msr & 1)
                return (value & ~(MTRR_PHYS_MASK | 0x800)) == 0;
        return (value & ~(MTRR_PHYS_MASK | 0xff)) == 0 && types_valid(value & 0xff, TYPES_MTRR);
}

static uint64_t
spec_ctrl_mask(unsigned has)
{
        return 1 | 1u << 10 /* BHI_DIS_S */ | (has & X86_MF_STIBP ? 2 : 0) | (has & X86_MF_SSBD ? 4 : 0);
}

/* AMD's: HWCR, SYSCFG, NB_CFG, interrupt pending and P-states read as zero; LFENCE serialises. */
static bool
amd_read(uint32_t msr, uint64_t *ret_value)
{
        if (msr == 0xc0011029) {
                *ret_value = 2;
                return true;
        }
        if (msr - 0xc0010000 < 0x200 || msr - 0xc0011000 < 0x40) {
                *ret_value = 0;
                return true;
        }
        return false;
}

enum x86_msr_result
x86_msr_read(const struct x86_state *st, const struct x86_cpu_model *model, uint32_t msr, uint64_t *ret_value)
{
        const struct msr_field *f = field_find(model, msr);
        const struct msr_constant *c;

        if (f != NULL) {
                *ret_value = *field_at((struct x86_state *)(uintptr_t)st, f, msr);
                return X86_MSR_OK;
        }
        if (is_mtrr_var(model, msr)) {
                *ret_value = st->mtrr_var[msr - 0x200];
                return X86_MSR_OK;
        }
        if (msr == X86_MSR_SPEC_CTRL && (x86_model_msr_features(model) & X86_MF_SPEC_CTRL)) {
                *ret_value = st->spec_ctrl;
                return X86_MSR_OK;
        }
        if (msr == X86_MSR_PRED_CMD && (x86_model_msr_features(model) & X86_MF_SPEC_CTRL))
                return X86_MSR_GP;
        if (msr == 0xda0 && (x86_model_msr_features(model) & X86_MF_XSAVES)) {
                *ret_value = 0; /* IA32_XSS: no supervisor states */
                return X86_MSR_OK;
        }
        if (msr == MSR_PLATFORM_INFO) { /* ratio to 100 MHz */
                *ret_value = x86_model_tsc_hz(model) / 100000000 << 8;
                return X86_MSR_OK;
        }
        c = constant_find(model, msr);
        if (c != NULL) {
                *ret_value = c->value;
                return X86_MSR_OK;
        }
        return x86_model_is_amd(model) && amd_read(msr, ret_value) ? X86_MSR_OK : X86_MSR_UNKNOWN;
}

enum x86_msr_result
x86_msr_write(struct x86_state *st, const struct x86_cpu_model *model, uint32_t msr, uint64_t value)
{
        const struct msr_field *f = field_find(model, msr);
        const struct msr_constant *c;
        unsigned has = x86_model_msr_features(model);
        uint64_t old;

        if (f != NULL) {
                if (!check(model, f, value))
                        return X86_MSR_GP;
                *field_at(st, f, msr) = f->check == CHECK_IGNORE ? value & f->mask : value;
                return X86_MSR_OK;
        }
        if (is_mtrr_var(model, msr)) {
                if (!mtrr_var_valid(msr, value))
                        return X86_MSR_GP;
                st->mtrr_var[msr - 0x200] = value;
                return X86_MSR_OK;
        }
        if (msr == X86_MSR_SPEC_CTRL && (has & X86_MF_SPEC_CTRL)) {
                if (value & ~spec_ctrl_mask(has))
                        return X86_MSR_GP;
                st->spec_ctrl = value;
                return X86_MSR_OK;
        }
        if (msr == X86_MSR_PRED_CMD && (has & X86_MF_SPEC_CTRL))
                return value & ~1ull ? X86_MSR_GP : X86_MSR_OK;
        if (msr == 0xda0 && (has & X86_MF_XSAVES))
                return value != 0 ? X86_MSR_GP : X86_MSR_OK;
        c = constant_find(model, msr);
        if (c != NULL)
                return c->on_write == WRITE_GP ? X86_MSR_GP : X86_MSR_OK;
        return x86_model_is_amd(model) && amd_read(msr, &old) ? X86_MSR_OK : X86_MSR_UNKNOWN;
}
