/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Processor state after RESET, INIT and a start-up IPI: SDM 3A table 9-1 and 8.4.
 * The x87 unit starts as after FNINIT and the MTRRs describe a PC's memory, which is
 * how firmware hands them over; there is no firmware here that would do it.
 */
#include "x86/state.h"

#define DATA_ATTR (X86_SEG_P | X86_SEG_S | X86_SEG_WRITE | X86_SEG_ACCESSED)
#define CODE_ATTR (DATA_ATTR | X86_SEG_CODE)
#define LDT_ATTR  (X86_SEG_P | 0x2u)
#define TSS_ATTR  (X86_SEG_P | 0xbu)

#define RESET_CR0   (X86_CR0_ET | X86_CR0_NW | X86_CR0_CD)
#define RESET_PAT   0x0007040600070406ull
#define RESET_MXCSR 0x1f80u
#define RESET_FCW   0x037fu

#define APIC_BASE_RESET 0xfee00000ull
#define APIC_BASE_BSP   0x100ull
#define APIC_BASE_EN    0x800ull

#define MISC_ENABLE_RESET 0x1ull /* fast strings */

/* Enabled, fixed ranges too; write-back where no range says otherwise: SDM 3A 11.11.2.1. */
#define MTRR_DEF  0xc06ull
#define MTRR_WB   0x0606060606060606ull
#define MTRR_WP   0x0505050505050505ull

static void
zero(void *p, size_t n)
{
        for (uint8_t *b = p; n != 0; n--)
                *b++ = 0;
}

static void
set_data_seg(struct x86_seg *seg, uint16_t sel, uint32_t attr)
{
        *seg = (struct x86_seg){ .base = (uint64_t)sel << 4, .limit = 0xffff, .attr = attr, .sel = sel };
}

/* What RESET and INIT set alike. */
static void
set_common(struct x86_state *st)
{
        for (unsigned i = 0; i < X86_GPR_COUNT; i++)
                st->gpr[i] = 0;
        for (unsigned i = 0; i < X86_SREG_COUNT; i++)
                set_data_seg(&st->seg[i], 0, DATA_ATTR);
        set_data_seg(&st->seg[X86_CS], 0xf000, CODE_ATTR);
        st->seg[X86_CS].base = 0xffff0000;
        set_data_seg(&st->ldtr, 0, LDT_ATTR);
        set_data_seg(&st->tr, 0, TSS_ATTR);
        st->gdtr = (struct x86_dtable){ .limit = 0xffff };
        st->idtr = (struct x86_dtable){ .limit = 0xffff };
        st->rip = 0xfff0;
        st->rflags = X86_FL_FIXED;
        st->cr2 = st->cr3 = st->cr4 = st->cr8 = 0;
        st->efer = 0;
        for (unsigned i = 0; i < 4; i++)
                st->dr[i] = 0;
        st->dr6 = 0xffff0ff0;
        st->dr7 = 0x400;
        st->sipi_vector = 0;
        st->shadow_sti = st->shadow_ss = 0;
        st->nmi_blocked = st->nmi_pending = 0;
        st->pending_dbg = 0;
}

/* Below 1 MiB: memory, the frame buffer's window uncached, ROMs write-protected. */
static void
set_mtrrs(struct x86_state *st)
{
        st->mtrr_def_type = MTRR_DEF;
        st->mtrr_fixed[0] = st->mtrr_fixed[1] = MTRR_WB;
        for (unsigned i = 3; i < 11; i++)
                st->mtrr_fixed[i] = MTRR_WP;
}

void
x86_state_reset(struct x86_state *st, unsigned vcpu_id)
{
        zero(st, sizeof(*st));
        set_common(st);
        st->cr0 = RESET_CR0;
        st->xcr0 = 1;
        st->pat = RESET_PAT;
        set_mtrrs(st);
        st->misc_enable = MISC_ENABLE_RESET;
        st->apic_base = APIC_BASE_RESET | APIC_BASE_EN | (vcpu_id == 0 ? APIC_BASE_BSP : 0);
        st->mp_state = vcpu_id == 0 ? X86_MP_RUNNING : X86_MP_WAIT_INIT;
        st->xsave[0] = RESET_FCW & 0xff;
        st->xsave[1] = RESET_FCW >> 8;
        st->xsave[24] = RESET_MXCSR & 0xff;
        st->xsave[25] = RESET_MXCSR >> 8;
}

void
x86_state_init(struct x86_state *st, unsigned vcpu_id)
{
        uint64_t cr0 = st->cr0;

        set_common(st);
        /* INIT leaves the cache control bits as they were. */
        st->cr0 = X86_CR0_ET | (cr0 & (X86_CR0_CD | X86_CR0_NW));
        st->debugctl = 0;
        st->mp_state = vcpu_id == 0 ? X86_MP_RUNNING : X86_MP_WAIT_SIPI;
}

void
x86_state_sipi(struct x86_state *st, uint8_t vector)
{
        set_data_seg(&st->seg[X86_CS], (uint16_t)(vector << 8), CODE_ATTR);
        st->rip = 0;
        st->mp_state = X86_MP_RUNNING;
}
