/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * System instructions that kernels execute all the time, in line.
 *
 * Only at CPL 0 in 64-bit mode, where they need no check that could fail
 * (RDTSC and RDPKRU also elsewhere, where CR4 is looked at).  Everything else, and
 * all of it while single-stepping, is left to the helpers in sys*.c, which
 * remain the reference.
 */
#include "cpu/soft/translate.h"

#define SYS_FLAGS_KEPT (~(uint64_t)(X86_FL_ARITH | X86_FL_RF | X86_FL_VM))

/* op dword gs:[st.rflags], imm32 */
static void
emit_rflags_op(struct emit *e, unsigned op, uint32_t imm)
{
        emit_gs(e, EMIT_D, 0x81, op, OFF(st.rflags));
        emit32(e, imm);
}

static void
tr_cli(struct tr *t)
{
        tr_flags_clobber(t);
        emit_rflags_op(&t->e, ALU_AND, ~X86_FL_IF);
}

/* Left to the helper where condition @cc holds. */
static void
leave_if(struct tr *t, const struct x86_insn *i, unsigned cc)
{
        struct tr_cold *c = tr_cold_add(t, COLD_SYS, emit_jcc32(&t->e, cc));

        c->arg = (uint64_t)(uintptr_t)tr_keep_insn(t, i);
}

/*
 * If an interrupt may be waiting, the helper does it, with the shadow of one
 * instruction.  If none is, whatever arrives later is taken at a later check.
 */
static void
tr_sti(struct tr *t, const struct x86_insn *i)
{
        struct emit *e = &t->e;

        if (t->flags == TR_FLAGS_HOST)
                tr_flags_save(t);
        emit_gs_cmp_imm8(e, OFF(intr_hint), 0);
        leave_if(t, i, CC_NE);
        emit_rflags_op(e, ALU_OR, X86_FL_IF);
}

static void
tr_stac(struct tr *t, bool set)
{
        struct emit *e = &t->e;

        tr_flags_clobber(t);
        emit_rflags_op(e, set ? ALU_OR : ALU_AND, set ? X86_FL_AC : ~X86_FL_AC);
        emit_gs_load(e, EMIT_W, T1, set ? OFF(tlb_access) : OFF(tlb_kernel));
        emit_gs_store(e, EMIT_W, T1, OFF(tlb));
}

static void
tr_swapgs(struct tr *t)
{
        struct emit *e = &t->e;

        emit_gs_load(e, EMIT_W, T0, OFF(st.kernel_gs_base));
        emit_gs_load(e, EMIT_W, T1, OFF(seg_base[X86_GS]));
        emit_gs_store(e, EMIT_W, T0, OFF(seg_base[X86_GS]));
        emit_gs_store(e, EMIT_W, T0, OFF(st.seg[X86_GS].base));
        emit_gs_store(e, EMIT_W, T1, OFF(st.kernel_gs_base));
}

/* Linux reads PKRU twice in each page fault of a user's. */
static void
tr_rdpkru(struct tr *t, const struct x86_insn *i)
{
        struct emit *e = &t->e;

        if (t->flags == TR_FLAGS_HOST)
                tr_flags_save(t);
        emit_gs(e, EMIT_D, 0xf7, 0, OFF(st.cr4)); /* test */
        emit32(e, X86_CR4_PKE);
        leave_if(t, i, CC_E);
        emit_rr(e, EMIT_D, 0x85, H_RCX, H_RCX); /* test ecx, ecx */
        leave_if(t, i, CC_NE);
        emit_gs_load(e, EMIT_D, H_RAX, OFF(st.xsave) + X86_XSAVE_PKRU);
        emit_rr(e, EMIT_D, 0x31, H_RDX, H_RDX); /* xor edx, edx */
        t->flags = TR_FLAGS_SAVED;
}

static bool
reads_simple_cr(const struct x86_insn *i)
{
        bool has_host_register = i->rm != X86_RSP && i->rm != X86_R10 && i->rm != X86_R11;

        return has_host_register && (i->reg == 0 || (i->reg >= 2 && i->reg <= 4));
}

static void
tr_mov_r_cr(struct tr *t, const struct x86_insn *i)
{
        static const uint32_t at[] = { [0] = OFF(st.cr0), [2] = OFF(st.cr2), [3] = OFF(st.cr3), [4] = OFF(st.cr4) };

        emit_gs_load(&t->e, EMIT_W, i->rm, at[i->reg]);
}

static void
tr_rdtsc(struct tr *t, const struct x86_insn *i)
{
        struct emit *e = &t->e;

        if (t->flags == TR_FLAGS_HOST)
                tr_flags_save(t);
        if (t->mode & (SOFT_MODE_USER | SOFT_MODE_CPL12)) {
                emit_gs(e, EMIT_D, 0xf7, 0, OFF(st.cr4)); /* test */
                emit32(e, X86_CR4_TSD);
                leave_if(t, i, CC_NE);
        }
        emit8(e, 0x0f); /* rdtsc */
        emit8(e, 0x31);
        emit_rr(e, EMIT_W, 0xc1, 4, H_RDX); /* shl rdx, 32 */
        emit8(e, 32);
        emit_rr(e, EMIT_W, 0x09, H_RAX, H_RDX); /* or rdx, rax */
        emit_gs(e, EMIT_W, 0x03, H_RDX, OFF(st.tsc_offset));
        emit_mov_rr(e, EMIT_D, H_RAX, H_RDX);
        emit_rr(e, EMIT_W, 0xc1, 5, H_RDX); /* shr rdx, 32 */
        emit8(e, 32);
        t->flags = TR_FLAGS_SAVED;
}

static void
pushf_access(struct tr *t, const struct x86_insn *i)
{
        emit_gs_load(&t->e, EMIT_W, T1, OFF(scratch[1]));
        emit_rm(&t->e, EMIT_W, 0x89, T1, T0, -1, 1, 0);
        tr_stack_adjust(t, -8);
}

/* RFLAGS from flags_saved and st.rflags into scratch[1], then pushed. */
static void
tr_pushf(struct tr *t, const struct x86_insn *i)
{
        struct emit *e = &t->e;
        struct tr_cold *c;

        if (t->flags == TR_FLAGS_HOST)
                tr_flags_save(t);
        emit_gs_load(e, EMIT_D, T1, OFF(st.rflags));
        emit_alu_imm(e, EMIT_D, ALU_AND, T1, (int32_t)SYS_FLAGS_KEPT);
        emit_gs_load(e, EMIT_D, T0, OFF(flags_saved));
        emit_rr(e, EMIT_D, 0x0fb6, T0, T0); /* OF: bit 0 to bit 11 */
        emit_rr(e, EMIT_D, 0xc1, 4, T0);
        emit8(e, 11);
        emit_rr(e, EMIT_D, 0x09, T0, T1);
        emit_gs(e, EMIT_D, 0x0fb6, T0, OFF(flags_saved) + 1);
        emit_alu_imm(e, EMIT_D, ALU_AND, T0, X86_FL_ARITH & 0xff);
        emit_rr(e, EMIT_D, 0x09, T0, T1);
        emit_gs_store(e, EMIT_W, T1, OFF(scratch[1]));
        tr_stack_addr(t, -8);
        c = tr_stack_check(t, 8, X86_ACC_W);
        t->flags = TR_FLAGS_SAVED;
        pushf_access(t, i);
        tr_mem_done(t, c, i, pushf_access, TR_FLAGS_SAVED);
}

bool
tr_sys_is_inline(const struct tr *t, const struct x86_insn *i)
{
        if ((t->mode & SOFT_MODE_STEP) || (t->eng->disabled & SOFT_OFF_INLINE))
                return false;
        if (i->desc->class == X86_CLASS_PUSHF)
                return t->bits == X86_MODE_64 && i->opsize == 8;
        if (i->desc->class != X86_CLASS_SYSTEM)
                return false;
        switch (i->desc->sys) {
        case X86_SYS_RDTSC:
        case X86_SYS_RDPKRU:
                return true;
        case X86_SYS_MOV_R_CR:
                return t->bits == X86_MODE_64 && !(t->mode & (SOFT_MODE_USER | SOFT_MODE_CPL12)) && reads_simple_cr(i);
        case X86_SYS_CLI:
        case X86_SYS_STI:
        case X86_SYS_STAC:
        case X86_SYS_CLAC:
        case X86_SYS_SWAPGS:
                return t->bits == X86_MODE_64 && !(t->mode & (SOFT_MODE_USER | SOFT_MODE_CPL12));
        default:
                return false;
        }
}

void
tr_sys_inline(struct tr *t, const struct x86_insn *i)
{
        if (i->desc->class == X86_CLASS_PUSHF) {
                tr_pushf(t, i);
                return;
        }
        switch (i->desc->sys) {
        case X86_SYS_RDTSC:
                tr_rdtsc(t, i);
                break;
        case X86_SYS_RDPKRU:
                tr_rdpkru(t, i);
                break;
        case X86_SYS_MOV_R_CR:
                tr_mov_r_cr(t, i);
                break;
        case X86_SYS_CLI:
                tr_cli(t);
                break;
        case X86_SYS_STI:
                tr_sti(t, i);
                break;
        case X86_SYS_SWAPGS:
                tr_swapgs(t);
                break;
        default:
                tr_stac(t, i->desc->sys == X86_SYS_STAC);
                break;
        }
}
