/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The whole architectural state of one x86-64 processor, as both engines,
 * the loaders, the saved instance and the debugger see it.
 * Plain data: it may be copied, saved and compared.
 */
#ifndef X86_STATE_H
#define X86_STATE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef uint64_t gpa_t; /* guest-physical address */
typedef uint64_t gva_t; /* guest-linear address */

enum x86_gpr {
        X86_RAX,
        X86_RCX,
        X86_RDX,
        X86_RBX,
        X86_RSP,
        X86_RBP,
        X86_RSI,
        X86_RDI,
        X86_R8,
        X86_R9,
        X86_R10,
        X86_R11,
        X86_R12,
        X86_R13,
        X86_R14,
        X86_R15,
        X86_GPR_COUNT,
};

/* In the order of their encoding in MOV Sreg. */
enum x86_sreg {
        X86_ES,
        X86_CS,
        X86_SS,
        X86_DS,
        X86_FS,
        X86_GS,
        X86_SREG_COUNT,
};

enum x86_vector {
        X86_VEC_DE = 0,
        X86_VEC_DB = 1,
        X86_VEC_NMI = 2,
        X86_VEC_BP = 3,
        X86_VEC_OF = 4,
        X86_VEC_BR = 5,
        X86_VEC_UD = 6,
        X86_VEC_NM = 7,
        X86_VEC_DF = 8,
        X86_VEC_TS = 10,
        X86_VEC_NP = 11,
        X86_VEC_SS = 12,
        X86_VEC_GP = 13,
        X86_VEC_PF = 14,
        X86_VEC_MF = 16,
        X86_VEC_AC = 17,
        X86_VEC_MC = 18,
        X86_VEC_XM = 19,
};

/* RFLAGS, SDM 1 3.4.3. */
#define X86_FL_CF    0x1u
#define X86_FL_FIXED 0x2u
#define X86_FL_PF    0x4u
#define X86_FL_AF    0x10u
#define X86_FL_ZF    0x40u
#define X86_FL_SF    0x80u
#define X86_FL_TF    0x100u
#define X86_FL_IF    0x200u
#define X86_FL_DF    0x400u
#define X86_FL_OF    0x800u
#define X86_FL_IOPL  0x3000u
#define X86_FL_NT    0x4000u
#define X86_FL_RF    0x10000u
#define X86_FL_VM    0x20000u
#define X86_FL_AC    0x40000u
#define X86_FL_VIF   0x80000u
#define X86_FL_VIP   0x100000u
#define X86_FL_ID    0x200000u
#define X86_FL_ARITH (X86_FL_CF | X86_FL_PF | X86_FL_AF | X86_FL_ZF | X86_FL_SF | X86_FL_OF)

/* CR0, SDM 3A 2.5. */
#define X86_CR0_PE 0x1u
#define X86_CR0_MP 0x2u
#define X86_CR0_EM 0x4u
#define X86_CR0_TS 0x8u
#define X86_CR0_ET 0x10u
#define X86_CR0_NE 0x20u
#define X86_CR0_WP 0x10000u
#define X86_CR0_AM 0x40000u
#define X86_CR0_NW 0x20000000u
#define X86_CR0_CD 0x40000000u
#define X86_CR0_PG 0x80000000u

#define X86_CR4_VME        0x1u
#define X86_CR4_PVI        0x2u
#define X86_CR4_TSD        0x4u
#define X86_CR4_DE         0x8u
#define X86_CR4_PSE        0x10u
#define X86_CR4_PAE        0x20u
#define X86_CR4_MCE        0x40u
#define X86_CR4_PGE        0x80u
#define X86_CR4_PCE        0x100u
#define X86_CR4_OSFXSR     0x200u
#define X86_CR4_OSXMMEXCPT 0x400u
#define X86_CR4_UMIP       0x800u
#define X86_CR4_LA57       0x1000u
#define X86_CR4_FSGSBASE   0x10000u
#define X86_CR4_PCIDE      0x20000u
#define X86_CR4_OSXSAVE    0x40000u
#define X86_CR4_SMEP       0x100000u
#define X86_CR4_SMAP       0x200000u
#define X86_CR4_PKE        0x400000u
#define X86_CR4_PKS        0x1000000u

#define X86_EFER_SCE 0x1u
#define X86_EFER_LME 0x100u
#define X86_EFER_LMA 0x400u
#define X86_EFER_NXE 0x800u

/*
 * A segment register with its hidden part.  attr holds bits 8-23 of the
 * descriptor's second word shifted down by 8: type 0-3, S 4, DPL 5-6, P 7,
 * AVL 12, L 13, D/B 14, G 15; and X86_SEG_UNUSABLE above them.
 * limit is in bytes, the granularity already applied.
 */
#define X86_SEG_TYPE     0x000fu
#define X86_SEG_ACCESSED 0x0001u
#define X86_SEG_WRITE    0x0002u /* data: writable; code: readable */
#define X86_SEG_DOWN     0x0004u /* data: expand down; code: conforming */
#define X86_SEG_CODE     0x0008u
#define X86_SEG_S        0x0010u
#define X86_SEG_DPL      0x0060u
#define X86_SEG_DPL_SHIFT 5
#define X86_SEG_P        0x0080u
#define X86_SEG_AVL      0x1000u
#define X86_SEG_L        0x2000u
#define X86_SEG_DB       0x4000u
#define X86_SEG_G        0x8000u
#define X86_SEG_UNUSABLE 0x10000u

struct x86_seg {
        uint64_t base;
        uint32_t limit;
        uint32_t attr;
        uint16_t sel;
        uint16_t pad[3];
};

/* GDTR and IDTR. */
struct x86_dtable {
        uint64_t base;
        uint16_t limit;
        uint16_t pad[3];
};

enum x86_mp_state {
        X86_MP_RUNNING,
        X86_MP_WAIT_INIT, /* an application processor after reset: waits for INIT */
        X86_MP_WAIT_SIPI,
        X86_MP_HALTED,
};

/* XSAVE area: 512 legacy + 64 header + 256 YMM_Hi128 + room for PKRU in the standard format. */
#define X86_XSAVE_BYTES 2752

/* Where PKRU lies in it; its valid bit in XSTATE_BV is not used, the bytes always count. */
#define X86_XSAVE_PKRU 2688

struct x86_state {
        uint64_t gpr[X86_GPR_COUNT];
        uint64_t rip;
        uint64_t rflags;
        struct x86_seg seg[X86_SREG_COUNT];
        struct x86_seg ldtr;
        struct x86_seg tr;
        struct x86_dtable gdtr;
        struct x86_dtable idtr;
        uint64_t cr0, cr2, cr3, cr4, cr8;
        uint64_t xcr0;
        uint64_t efer;
        uint64_t dr[4];
        uint64_t dr6, dr7;

        /* Model-specific registers that an engine switches or acts on. */
        uint64_t star, lstar, cstar, sfmask;
        uint64_t kernel_gs_base; /* the FS and GS bases are in seg[] */
        uint64_t sysenter_cs, sysenter_esp, sysenter_eip;
        uint64_t pat;
        uint64_t tsc_aux;
        uint64_t tsc_offset; /* guest TSC = host TSC + tsc_offset */
        uint64_t tsc_adjust;
        uint64_t apic_base;
        uint64_t misc_enable;
        uint64_t debugctl;
        uint64_t spec_ctrl;
        uint64_t mtrr_def_type;
        uint64_t mtrr_fixed[11];
        uint64_t mtrr_var[16];
        uint64_t pkrs;

        /* Events: SDM 3A 6.6-6.8. */
        uint8_t mp_state;       /* enum x86_mp_state */
        uint8_t sipi_vector;
        uint8_t shadow_sti;     /* interrupts held off for one instruction after STI */
        uint8_t shadow_ss;      /* the same after MOV SS and POP SS; holds debug traps too */
        uint8_t nmi_blocked;    /* between an NMI's delivery and the next IRET */
        uint8_t nmi_pending;
        uint8_t pad[2];
        uint64_t pending_dbg;   /* DR6 bits of debug traps not yet delivered */

        uint8_t xsave[X86_XSAVE_BYTES] __attribute__((aligned(64))); /* standard format */
};

/*
 * The registers of one local APIC, as both engines' and the kernel's are told in.
 * reg[n] is what the processor reads at MMIO offset 16 * n or from MSR 0x800 + n in the
 * mode that @base says (SDM 3A 11.4.1, 11.12.1.2): the id is in bits 31-24 of reg[2] in
 * xAPIC mode, all of reg[2] in x2APIC mode.
 */
struct x86_apic {
        uint64_t base;         /* IA32_APIC_BASE */
        uint64_t tsc_deadline; /* IA32_TSC_DEADLINE; 0: not armed */
        uint32_t reg[64];
};

/* Sets @st to the state after RESET (SDM 3A table 9-1).  Only vCPU 0 starts running. */
void x86_state_reset(struct x86_state *st, unsigned vcpu_id);

/*
 * The same after INIT: what INIT leaves alone (MSRs, FPU, MTRRs, TSC) stays.
 * mp_state becomes X86_MP_WAIT_SIPI for an application processor.
 */
void x86_state_init(struct x86_state *st, unsigned vcpu_id);

/* Start-up IPI: real mode at @vector * 0x1000. */
void x86_state_sipi(struct x86_state *st, uint8_t vector);

static inline unsigned
x86_cpl(const struct x86_state *st)
{
        if (!(st->cr0 & X86_CR0_PE))
                return 0;
        if (st->rflags & X86_FL_VM)
                return 3;
        return (st->seg[X86_SS].attr & X86_SEG_DPL) >> X86_SEG_DPL_SHIFT;
}

static inline uint32_t
x86_pkru(const struct x86_state *st)
{
        return *(const uint32_t *)(const void *)&st->xsave[X86_XSAVE_PKRU];
}

static inline void
x86_set_pkru(struct x86_state *st, uint32_t pkru)
{
        *(uint32_t *)(void *)&st->xsave[X86_XSAVE_PKRU] = pkru;
}

static inline bool
x86_long_mode(const struct x86_state *st)
{
        return (st->efer & X86_EFER_LMA) != 0;
}

static inline bool
x86_code64(const struct x86_state *st)
{
        return x86_long_mode(st) && (st->seg[X86_CS].attr & X86_SEG_L);
}

#endif
