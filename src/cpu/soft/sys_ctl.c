/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Processor control: control and debug registers, MSRs, CPUID, time stamps,
 * TLB invalidation, protection keys, extended control registers.
 */
#include "cpu/soft/sys.h"
#include "x86/cpuid.h"
#include "x86/msr.h"
#include "x86/paging.h"

static _Noreturn void
raise_gp0(struct soft_cpu *v)
{
        soft_raise_error(v, X86_VEC_GP, 0);
}

static uint64_t
edx_eax(const struct soft_cpu *v)
{
        return v->st.gpr[X86_RDX] << 32 | (uint32_t)v->st.gpr[X86_RAX];
}

static void
set_edx_eax(struct soft_cpu *v, uint64_t value)
{
        v->st.gpr[X86_RAX] = (uint32_t)value;
        v->st.gpr[X86_RDX] = value >> 32;
}

/* ---- control registers: SDM 3A 2.5 and 4.1.2 ---- */

#define CR0_BITS                                                                                            \
        (X86_CR0_PE | X86_CR0_MP | X86_CR0_EM | X86_CR0_TS | X86_CR0_ET | X86_CR0_NE | X86_CR0_WP |         \
            X86_CR0_AM | X86_CR0_NW | X86_CR0_CD | X86_CR0_PG)
#define CR0_TLB (X86_CR0_PG | X86_CR0_WP | X86_CR0_PE)
#define CR4_TLB                                                                                             \
        (X86_CR4_PGE | X86_CR4_PAE | X86_CR4_PSE | X86_CR4_PCIDE | X86_CR4_SMEP | X86_CR4_SMAP |            \
            X86_CR4_PKE | X86_CR4_PKS | X86_CR4_LA57)
#define CR4_PDPTE (X86_CR4_PGE | X86_CR4_PAE | X86_CR4_PSE | X86_CR4_SMEP)
#define CR3_KEEP (1ull << 63)

#define TSS_IS_16(attr) (((attr) & 0xd) == 1)

/* Paging is being switched on with EFER.LME: what must hold then. */
static void
check_enter_long(struct soft_cpu *v)
{
        if (!(v->st.cr4 & X86_CR4_PAE) || (v->st.seg[X86_CS].attr & X86_SEG_L) || TSS_IS_16(v->st.tr.attr))
                raise_gp0(v);
}

static void
check_cr0(struct soft_cpu *v, uint64_t value)
{
        uint64_t old = v->st.cr0;

        if (value >> 32 != 0)
                raise_gp0(v);
        if (((value & X86_CR0_PG) && !(value & X86_CR0_PE)) || ((value & X86_CR0_NW) && !(value & X86_CR0_CD)))
                raise_gp0(v);
        if ((value & X86_CR0_PG) && !(old & X86_CR0_PG)) {
                if (v->st.efer & X86_EFER_LME)
                        check_enter_long(v);
                else if ((v->st.cr4 & X86_CR4_PAE) && !x86_pdptes_valid(v->mem, v->st.cr3))
                        raise_gp0(v);
        }
        if (!(value & X86_CR0_PG) && (old & X86_CR0_PG) && (x86_code64(&v->st) || (v->st.cr4 & X86_CR4_PCIDE)))
                raise_gp0(v);
}

static void
write_cr0(struct soft_cpu *v, uint64_t value)
{
        uint64_t old = v->st.cr0;

        check_cr0(v, value);
        value = (value & CR0_BITS) | X86_CR0_ET;
        v->st.cr0 = value;
        if (!(value & X86_CR0_PG))
                v->st.efer &= ~(uint64_t)X86_EFER_LMA;
        else if (v->st.efer & X86_EFER_LME)
                v->st.efer |= X86_EFER_LMA;
        if ((old ^ value) & CR0_TLB)
                soft_tlb_flush_all(v);
}

static void
write_cr3(struct soft_cpu *v, uint64_t value)
{
        bool keep = false;

        if (x86_long_mode(&v->st)) {
                if (v->st.cr4 & X86_CR4_PCIDE) {
                        keep = (value & CR3_KEEP) != 0;
                        value &= ~CR3_KEEP;
                }
                if (value >> X86_PHYS_BITS != 0)
                        raise_gp0(v);
        } else {
                value = (uint32_t)value;
                if ((v->st.cr0 & X86_CR0_PG) && (v->st.cr4 & X86_CR4_PAE) && !x86_pdptes_valid(v->mem, value))
                        raise_gp0(v);
        }
        v->st.cr3 = value;
        soft_tlb_switch(v, keep);
}

static void
check_cr4(struct soft_cpu *v, uint64_t value)
{
        uint64_t old = v->st.cr4, changed = old ^ value;
        bool lm = x86_long_mode(&v->st);

        if (value & ~x86_model_cr4(v->model))
                raise_gp0(v);
        if ((value & changed & X86_CR4_PCIDE) && (!lm || (v->st.cr3 & 0xfff) != 0))
                raise_gp0(v);
        if (lm && (!(value & X86_CR4_PAE) || (changed & X86_CR4_LA57)))
                raise_gp0(v);
        if (!lm && (v->st.cr0 & X86_CR0_PG) && (value & X86_CR4_PAE) && (changed & CR4_PDPTE) &&
            !x86_pdptes_valid(v->mem, v->st.cr3))
                raise_gp0(v);
}

static void
write_cr4(struct soft_cpu *v, uint64_t value)
{
        uint64_t changed = v->st.cr4 ^ value;

        check_cr4(v, value);
        v->st.cr4 = value;
        if (changed & CR4_TLB)
                soft_tlb_flush_all(v);
}

static void
write_cr8(struct soft_cpu *v, uint64_t value)
{
        if (value > 15)
                raise_gp0(v);
        v->st.cr8 = value;
        soft_fpu_put(v);
        v->env->ops->tpr_write(v->env->ctx, v->id, (uint8_t)value);
        __atomic_store_n(&v->intr_hint, 1, __ATOMIC_SEQ_CST); /* a lower priority may let one through */
}

void
soft_write_cr(struct soft_cpu *v, unsigned cr, uint64_t value)
{
        switch (cr) {
        case 0:
                write_cr0(v, value);
                break;
        case 2:
                v->st.cr2 = value;
                break;
        case 3:
                write_cr3(v, value);
                break;
        case 4:
                write_cr4(v, value);
                break;
        case 8:
                write_cr8(v, value);
                break;
        default:
                soft_raise(v, X86_VEC_UD);
        }
}

static uint64_t
read_cr(struct soft_cpu *v, unsigned cr)
{
        switch (cr) {
        case 0:
                return v->st.cr0;
        case 2:
                return v->st.cr2;
        case 3:
                return v->st.cr3;
        case 4:
                return v->st.cr4;
        case 8:
                soft_fpu_put(v);
                v->st.cr8 = v->env->ops->tpr_read(v->env->ctx, v->id);
                return v->st.cr8;
        default:
                soft_raise(v, X86_VEC_UD);
        }
}

static unsigned
register_size(const struct soft_cpu *v)
{
        return x86_code64(&v->st) ? 8 : 4;
}

static void
require_cr(struct soft_cpu *v, unsigned cr)
{
        if (cr != 0 && cr != 2 && cr != 3 && cr != 4 && cr != 8)
                soft_raise(v, X86_VEC_UD);
        sys_require_cpl0(v);
}

void
sys_mov_cr_r(struct soft_cpu *v, const struct x86_insn *insn)
{
        require_cr(v, insn->reg);
        soft_write_cr(v, insn->reg, v->st.gpr[insn->rm] & sys_mask(register_size(v)));
}

void
sys_mov_r_cr(struct soft_cpu *v, const struct x86_insn *insn)
{
        require_cr(v, insn->reg);
        sys_set_gpr(v, insn->rm, register_size(v), read_cr(v, insn->reg));
}

void
sys_clts(struct soft_cpu *v, const struct x86_insn *insn)
{
        sys_require_cpl0(v);
        v->st.cr0 &= ~(uint64_t)X86_CR0_TS;
}

/* ---- debug registers: SDM 3B 17.2 ---- */

#define DR6_FIXED 0xffff0ff0ull
#define DR6_BITS  0xe00full
#define DR6_BD    0x2000ull
#define DR7_FIXED 0x400ull
#define DR7_BITS  0xffff23ffull
#define DR7_GD    0x2000ull

static unsigned
debug_register(struct soft_cpu *v, unsigned reg)
{
        if (reg > 7 || ((reg == 4 || reg == 5) && (v->st.cr4 & X86_CR4_DE)))
                soft_raise(v, X86_VEC_UD);
        sys_require_cpl0(v);
        if (v->st.dr7 & DR7_GD) {
                v->st.dr6 = (v->st.dr6 & ~0xfull) | DR6_BD;
                soft_raise(v, X86_VEC_DB);
        }
        return reg == 4 || reg == 5 ? reg + 2 : reg;
}

void
sys_mov_dr_r(struct soft_cpu *v, const struct x86_insn *insn)
{
        unsigned reg = debug_register(v, insn->reg);
        uint64_t value = v->st.gpr[insn->rm] & sys_mask(register_size(v));

        if (reg >= 4 && value >> 32 != 0)
                raise_gp0(v);
        if (reg < 4)
                v->st.dr[reg] = value;
        else if (reg == 6)
                v->st.dr6 = (value & DR6_BITS) | DR6_FIXED;
        else
                v->st.dr7 = (value & DR7_BITS) | DR7_FIXED;
}

void
sys_mov_r_dr(struct soft_cpu *v, const struct x86_insn *insn)
{
        unsigned reg = debug_register(v, insn->reg);
        uint64_t value = reg < 4 ? v->st.dr[reg] : reg == 6 ? v->st.dr6 : v->st.dr7;

        sys_set_gpr(v, insn->rm, register_size(v), value);
}

/* ---- TLB and caches ---- */

void
sys_invlpg(struct soft_cpu *v, const struct x86_insn *insn)
{
        uint64_t address;

        sys_require_cpl0(v);
        address = soft_ea(v, insn, v->next_rip);
        if (x86_code64(&v->st)) {
                if (insn->mem_seg >= X86_FS)
                        address += v->st.seg[insn->mem_seg].base;
                if (!soft_canonical(v, address))
                        return;
        } else {
                address = (uint32_t)(address + v->st.seg[insn->mem_seg].base);
        }
        soft_tlb_invlpg(v, address);
}

void
sys_invpcid(struct soft_cpu *v, const struct x86_insn *insn)
{
        uint64_t type = v->st.gpr[insn->reg] & sys_mask(register_size(v));
        uint64_t pcid, address;
        gva_t at;

        sys_require_cpl0(v);
        at = sys_operand(v, insn, 16, X86_ACC_R);
        pcid = soft_ld(v, at, 8, SOFT_ACC_DATA);
        address = soft_ld(v, at + 8, 8, SOFT_ACC_DATA);
        if (type > 3 || pcid > 0xfff)
                raise_gp0(v);
        if (type < 2 && !(v->st.cr4 & X86_CR4_PCIDE) && pcid != 0)
                raise_gp0(v);
        if (type == 0 && !sys_canonical_base(v, address))
                raise_gp0(v);
        switch (type) {
        case 0:
                soft_tlb_inv_address(v, (unsigned)pcid, address);
                break;
        case 1:
                soft_tlb_flush_pcid(v, (unsigned)pcid);
                break;
        case 2:
                soft_tlb_flush_all(v);
                break;
        default:
                soft_tlb_flush_all_nonglobal(v);
        }
}

void
sys_invd(struct soft_cpu *v, const struct x86_insn *insn)
{
        sys_require_cpl0(v);
}

/* ---- MSRs ---- */

static uint64_t
guest_tsc(const struct soft_cpu *v)
{
        return __builtin_ia32_rdtsc() + v->st.tsc_offset;
}

static int
write_efer(struct soft_cpu *v, uint64_t value)
{
        uint64_t old = v->st.efer;

        if (value & ~x86_model_efer(v->model))
                return -1;
        if (((old ^ value) & X86_EFER_LME) && (v->st.cr0 & X86_CR0_PG))
                return -1;
        v->st.efer = (value & ~(uint64_t)X86_EFER_LMA) | (old & X86_EFER_LMA);
        if ((old ^ v->st.efer) & X86_EFER_NXE)
                soft_tlb_flush_all(v);
        return 0;
}

static int
write_segment_base(struct soft_cpu *v, unsigned sreg, uint64_t value)
{
        if (!sys_canonical_base(v, value))
                return -1;
        sys_set_base(v, sreg, value);
        return 0;
}

static bool
is_machine_msr(uint32_t msr)
{
        return msr == X86_MSR_TSC_DEADLINE || msr == X86_MSR_APIC_BASE ||
            (msr >= X86_MSR_X2APIC_FIRST && msr <= X86_MSR_X2APIC_LAST);
}

static int
read_policy(struct soft_cpu *v, uint32_t msr, uint64_t *ret_value)
{
        enum x86_msr_result result = x86_msr_read(&v->st, v->model, msr, ret_value);

        if (result == X86_MSR_UNKNOWN && v->ignore_unknown_msrs) {
                *ret_value = 0;
                return 0;
        }
        return result == X86_MSR_OK ? 0 : -1;
}

static int
write_policy(struct soft_cpu *v, uint32_t msr, uint64_t value)
{
        enum x86_msr_result result = x86_msr_write(&v->st, v->model, msr, value);

        if (result == X86_MSR_UNKNOWN && v->ignore_unknown_msrs)
                return 0;
        return result == X86_MSR_OK ? 0 : -1;
}

int
soft_rdmsr(struct soft_cpu *v, uint32_t msr, uint64_t *ret_value)
{
        switch (msr) {
        case X86_MSR_FS_BASE:
                *ret_value = v->st.seg[X86_FS].base;
                return 0;
        case X86_MSR_GS_BASE:
                *ret_value = v->st.seg[X86_GS].base;
                return 0;
        case X86_MSR_KERNEL_GS_BASE:
                *ret_value = v->st.kernel_gs_base;
                return 0;
        case X86_MSR_EFER:
                *ret_value = v->st.efer;
                return 0;
        case X86_MSR_TSC:
                *ret_value = guest_tsc(v);
                return 0;
        case X86_MSR_TSC_ADJUST:
                if (!(x86_model_msr_features(v->model) & X86_MF_TSC_ADJUST))
                        return -1;
                *ret_value = v->st.tsc_adjust;
                return 0;
        default:
                if (!is_machine_msr(msr))
                        return read_policy(v, msr, ret_value);
                soft_fpu_put(v);
                return v->env->ops->msr_read(v->env->ctx, v->id, msr, ret_value);
        }
}

#define APIC_BASE_EXTD 0x400ull

/* What CPUID says limits IA32_APIC_BASE; the rest of its rules are the local APIC's. */
static bool
apic_base_valid(const struct soft_cpu *v, uint64_t value)
{
        return value >> X86_PHYS_BITS == 0 && (!(value & APIC_BASE_EXTD) || x86_model_has_x2apic(v->model));
}

static int
write_machine_msr(struct soft_cpu *v, uint32_t msr, uint64_t value)
{
        if (msr == X86_MSR_APIC_BASE && !apic_base_valid(v, value))
                return -1;
        soft_fpu_put(v);
        if (v->env->ops->msr_write(v->env->ctx, v->id, msr, value) != 0)
                return -1;
        if (msr == X86_MSR_APIC_BASE)
                v->st.apic_base = value;
        return 0;
}

/* TSC and TSC_ADJUST move together: SDM 3B 17.17.3. */
static void
move_tsc(struct soft_cpu *v, uint64_t delta)
{
        v->st.tsc_offset += delta;
        v->st.tsc_adjust += delta;
        if (v->env->ops->tsc_moved == NULL)
                return;
        soft_fpu_put(v);
        v->env->ops->tsc_moved(v->env->ctx, v->id, v->st.tsc_offset);
}

int
soft_wrmsr(struct soft_cpu *v, uint32_t msr, uint64_t value)
{
        switch (msr) {
        case X86_MSR_FS_BASE:
                return write_segment_base(v, X86_FS, value);
        case X86_MSR_GS_BASE:
                return write_segment_base(v, X86_GS, value);
        case X86_MSR_EFER:
                return write_efer(v, value);
        case X86_MSR_TSC:
                move_tsc(v, value - guest_tsc(v));
                return 0;
        case X86_MSR_TSC_ADJUST:
                if (!(x86_model_msr_features(v->model) & X86_MF_TSC_ADJUST))
                        return -1;
                move_tsc(v, value - v->st.tsc_adjust);
                return 0;
        default:
                if (is_machine_msr(msr))
                        return write_machine_msr(v, msr, value);
                return write_policy(v, msr, value);
        }
}

void
sys_rdmsr(struct soft_cpu *v, const struct x86_insn *insn)
{
        uint64_t value;

        sys_require_cpl0(v);
        if (soft_rdmsr(v, (uint32_t)v->st.gpr[X86_RCX], &value) != 0)
                raise_gp0(v);
        set_edx_eax(v, value);
}

void
sys_wrmsr(struct soft_cpu *v, const struct x86_insn *insn)
{
        uint32_t msr = (uint32_t)v->st.gpr[X86_RCX];

        sys_require_cpl0(v);
        if (soft_wrmsr(v, msr, edx_eax(v)) != 0)
                raise_gp0(v);
        if (msr == X86_MSR_EFER && !(insn->desc->flags & X86_OD_END))
                soft_mode_update(v);
}

/* ---- identification and time ---- */

void
sys_cpuid(struct soft_cpu *v, const struct x86_insn *insn)
{
        struct x86_cpuid r;

        x86_model_cpuid(v->model, &v->st, v->id, (uint32_t)v->st.gpr[X86_RAX], (uint32_t)v->st.gpr[X86_RCX], &r);
        v->st.gpr[X86_RAX] = r.eax;
        v->st.gpr[X86_RBX] = r.ebx;
        v->st.gpr[X86_RCX] = r.ecx;
        v->st.gpr[X86_RDX] = r.edx;
}

static void
require_tsc(struct soft_cpu *v)
{
        if ((v->st.cr4 & X86_CR4_TSD) && x86_cpl(&v->st) != 0)
                raise_gp0(v);
}

void
sys_rdtsc(struct soft_cpu *v, const struct x86_insn *insn)
{
        require_tsc(v);
        set_edx_eax(v, guest_tsc(v));
}

void
sys_rdtscp(struct soft_cpu *v, const struct x86_insn *insn)
{
        require_tsc(v);
        set_edx_eax(v, guest_tsc(v));
        v->st.gpr[X86_RCX] = (uint32_t)v->st.tsc_aux;
}

/* There are no performance counters: CPUID leaf 0xA is empty. */
void
sys_rdpmc(struct soft_cpu *v, const struct x86_insn *insn)
{
        raise_gp0(v);
}

void
sys_rdpid(struct soft_cpu *v, const struct x86_insn *insn)
{
        sys_set_gpr(v, insn->rm, register_size(v), (uint32_t)v->st.tsc_aux);
}

/* ---- extended control registers: SDM 1 13.3 ---- */

static void
require_osxsave(struct soft_cpu *v)
{
        if (!(v->st.cr4 & X86_CR4_OSXSAVE))
                soft_raise(v, X86_VEC_UD);
}

/* XINUSE, which XGETBV 1 shows: the host's own for what is live there. */
static uint64_t
state_in_use(struct soft_cpu *v)
{
        uint32_t lo, hi;
        uint64_t in_use;

        soft_fpu_get(v);
        __asm__ volatile("xgetbv" : "=a"(lo), "=d"(hi) : "c"(1));
        in_use = lo & 7;
        if (x86_pkru(&v->st) != 0)
                in_use |= 0x200;
        return in_use & v->st.xcr0;
}

void
sys_xgetbv(struct soft_cpu *v, const struct x86_insn *insn)
{
        uint32_t index = (uint32_t)v->st.gpr[X86_RCX];
        struct x86_cpuid r;

        require_osxsave(v);
        if (index == 0) {
                set_edx_eax(v, v->st.xcr0);
                return;
        }
        x86_model_cpuid(v->model, &v->st, v->id, 0xd, 1, &r);
        if (index != 1 || !(r.eax & 4))
                raise_gp0(v);
        set_edx_eax(v, state_in_use(v));
}

void
sys_xsetbv(struct soft_cpu *v, const struct x86_insn *insn)
{
        uint64_t value = edx_eax(v);

        require_osxsave(v);
        sys_require_cpl0(v);
        if ((uint32_t)v->st.gpr[X86_RCX] != 0 || (value & ~x86_model_xcr0(v->model)) || !(value & 1) ||
            ((value & 4) && !(value & 2)))
                raise_gp0(v);
        v->st.xcr0 = value;
}

/* ---- SMAP and protection keys ---- */

void
sys_clac(struct soft_cpu *v, const struct x86_insn *insn)
{
        if (x86_cpl(&v->st) != 0 || sys_v86(v))
                soft_raise(v, X86_VEC_UD);
        if (v->st.rflags & X86_FL_AC) {
                v->st.rflags &= ~(uint64_t)X86_FL_AC;
                soft_ac_update(v);
        }
}

void
sys_stac(struct soft_cpu *v, const struct x86_insn *insn)
{
        if (x86_cpl(&v->st) != 0 || sys_v86(v))
                soft_raise(v, X86_VEC_UD);
        if (!(v->st.rflags & X86_FL_AC)) {
                v->st.rflags |= X86_FL_AC;
                soft_ac_update(v);
        }
}

static void
require_pkru(struct soft_cpu *v)
{
        if (!(v->st.cr4 & X86_CR4_PKE))
                soft_raise(v, X86_VEC_UD);
        if ((uint32_t)v->st.gpr[X86_RCX] != 0)
                raise_gp0(v);
}

void
sys_rdpkru(struct soft_cpu *v, const struct x86_insn *insn)
{
        require_pkru(v);
        set_edx_eax(v, x86_pkru(&v->st));
}

void
sys_wrpkru(struct soft_cpu *v, const struct x86_insn *insn)
{
        uint32_t value = (uint32_t)v->st.gpr[X86_RAX];

        require_pkru(v);
        if ((uint32_t)v->st.gpr[X86_RDX] != 0)
                raise_gp0(v);
        x86_set_pkru(&v->st, value); /* the TLB keeps no translation that depends on keys */
}

/* ---- random numbers: the host's ---- */

static void
set_random(struct soft_cpu *v, const struct x86_insn *insn, uint64_t value, bool ok)
{
        sys_set_gpr(v, insn->rm, insn->opsize, ok ? value : 0);
        v->st.rflags = (v->st.rflags & ~(uint64_t)X86_FL_ARITH) | (ok ? X86_FL_CF : 0);
}

void
sys_rdrand(struct soft_cpu *v, const struct x86_insn *insn)
{
        uint64_t value;
        bool ok;

        __asm__ volatile("rdrand %0" : "=r"(value), "=@ccc"(ok));
        set_random(v, insn, value, ok);
}

void
sys_rdseed(struct soft_cpu *v, const struct x86_insn *insn)
{
        uint64_t value;
        bool ok;

        __asm__ volatile("rdseed %0" : "=r"(value), "=@ccc"(ok));
        set_random(v, insn, value, ok);
}
