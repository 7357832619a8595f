/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Descriptors and segment registers: SDM 3A chapters 3 and 5, and the
 * instructions that load, store and examine them.
 */
#include "cpu/soft/sys.h"

#define SEL_TI  4u
#define SEL_RPL 3u

/* ---- descriptors ---- */

bool
sys_desc_address(struct soft_cpu *v, uint16_t sel, unsigned bytes, gva_t *ret_address)
{
        unsigned index = sel & ~7u;
        uint64_t base = v->st.gdtr.base;
        uint32_t limit = v->st.gdtr.limit;

        if (sel & SEL_TI) {
                if ((v->st.ldtr.attr & X86_SEG_UNUSABLE) || !(v->st.ldtr.attr & X86_SEG_P))
                        return false;
                base = v->st.ldtr.base;
                limit = v->st.ldtr.limit;
        }
        if (index + (bytes - 1) > limit)
                return false;
        *ret_address = base + index;
        if (!x86_long_mode(&v->st))
                *ret_address = (uint32_t)*ret_address;
        return true;
}

bool
sys_desc_try(struct soft_cpu *v, uint16_t sel, uint64_t *ret_desc)
{
        gva_t address;

        if (!sys_desc_address(v, sel, 8, &address))
                return false;
        *ret_desc = soft_ld(v, address, 8, SOFT_ACC_SYS);
        return true;
}

uint64_t
sys_desc_load(struct soft_cpu *v, uint16_t sel, unsigned vector, unsigned ext)
{
        uint64_t desc;

        if (!sys_desc_try(v, sel, &desc))
                soft_raise_error(v, vector, (sel & ~SEL_RPL) | ext);
        return desc;
}

uint64_t
sys_desc_high(struct soft_cpu *v, uint16_t sel)
{
        gva_t address;

        if (!sys_desc_address(v, sel, 16, &address))
                soft_raise_error(v, X86_VEC_GP, sel & ~SEL_RPL);
        return soft_ld(v, address + 8, 8, SOFT_ACC_SYS);
}

/* Changes the second word of a descriptor: the bits are all there. */
static void
desc_update(struct soft_cpu *v, uint16_t sel, uint32_t set, uint32_t clear)
{
        gva_t address;
        uint32_t *p, old;

        if (!sys_desc_address(v, sel, 8, &address))
                return;
        p = soft_host_rw(v, address + 4, 4, SOFT_ACC_SYS);
        if (p != NULL) {
                if (set != 0)
                        __atomic_fetch_or(p, set, __ATOMIC_SEQ_CST);
                if (clear != 0)
                        __atomic_fetch_and(p, ~clear, __ATOMIC_SEQ_CST);
                return;
        }
        old = (uint32_t)soft_ld(v, address + 4, 4, SOFT_ACC_SYS);
        soft_st(v, address + 4, 4, (old | set) & ~clear, SOFT_ACC_SYS);
}

void
sys_desc_set(struct soft_cpu *v, uint16_t sel, uint64_t desc, uint64_t bits)
{
        if ((desc & bits) != bits)
                desc_update(v, sel, (uint32_t)(bits >> 32), 0);
}

void
sys_desc_clear(struct soft_cpu *v, uint16_t sel, uint64_t bits)
{
        desc_update(v, sel, 0, (uint32_t)(bits >> 32));
}

/* ---- segment registers ---- */

void
sys_set_null(struct soft_cpu *v, unsigned sreg, uint16_t sel, unsigned dpl)
{
        struct x86_seg seg = {
                .limit = 0xffffffff,
                .attr = X86_SEG_UNUSABLE | dpl << X86_SEG_DPL_SHIFT,
                .sel = sel,
        };

        sys_set_seg(v, sreg, &seg);
}

void
sys_set_real(struct soft_cpu *v, unsigned sreg, uint16_t sel, bool v86)
{
        const struct x86_seg *old = &v->st.seg[sreg];
        uint32_t attr = X86_SEG_P | X86_SEG_S | X86_SEG_WRITE | X86_SEG_ACCESSED;
        struct x86_seg seg = { .base = (uint64_t)sel << 4, .limit = 0xffff, .sel = sel };

        if (v86) {
                attr |= X86_SEG_DPL;
        } else {
                /* Real mode keeps the limit and default size that protected mode left. */
                if (sreg == X86_CS)
                        attr |= X86_SEG_CODE;
                if (!(old->attr & X86_SEG_UNUSABLE)) {
                        attr |= old->attr & (X86_SEG_DB | X86_SEG_G);
                        seg.limit = old->limit;
                }
        }
        seg.attr = attr;
        sys_set_seg(v, sreg, &seg);
}

void
sys_set_cs(struct soft_cpu *v, uint16_t sel, uint64_t desc, unsigned cpl)
{
        struct x86_seg seg = desc_seg((uint16_t)((sel & ~SEL_RPL) | cpl), desc);

        sys_set_seg(v, X86_CS, &seg);
}

void
sys_set_cpl(struct soft_cpu *v, unsigned cpl)
{
        struct x86_seg *ss = &v->st.seg[X86_SS];

        ss->attr = (ss->attr & ~X86_SEG_DPL) | cpl << X86_SEG_DPL_SHIFT;
}

void
sys_drop_segments(struct soft_cpu *v, unsigned cpl)
{
        static const uint8_t sregs[] = { X86_ES, X86_DS, X86_FS, X86_GS };

        for (unsigned i = 0; i < sizeof(sregs); i++) {
                struct x86_seg *seg = &v->st.seg[sregs[i]];
                unsigned dpl = (seg->attr & X86_SEG_DPL) >> X86_SEG_DPL_SHIFT;

                if ((seg->attr & X86_SEG_UNUSABLE) || dpl >= cpl)
                        continue;
                if ((seg->attr & X86_SEG_CODE) && (seg->attr & X86_SEG_DOWN))
                        continue;
                /* The base stays: 64-bit mode goes on using that of FS and GS. */
                seg->sel = 0;
                seg->attr |= X86_SEG_UNUSABLE;
        }
}

static void
load_ss(struct soft_cpu *v, uint16_t sel)
{
        unsigned cpl = x86_cpl(&v->st);
        struct x86_seg seg;
        uint64_t desc;

        if ((sel & ~SEL_RPL) == 0) {
                if (!x86_code64(&v->st) || cpl == 3 || (sel & SEL_RPL) != cpl)
                        soft_raise_error(v, X86_VEC_GP, 0);
                sys_set_null(v, X86_SS, sel, cpl);
                return;
        }
        desc = sys_desc_load(v, sel, X86_VEC_GP, 0);
        if ((sel & SEL_RPL) != cpl || !desc_is_writable_data(desc) || desc_dpl(desc) != cpl)
                soft_raise_error(v, X86_VEC_GP, sel & ~SEL_RPL);
        if (!(desc & DESC_P))
                soft_raise_error(v, X86_VEC_SS, sel & ~SEL_RPL);
        seg = desc_seg(sel, sys_desc_touch(v, sel, desc));
        sys_set_seg(v, X86_SS, &seg);
}

static void
load_data(struct soft_cpu *v, unsigned sreg, uint16_t sel)
{
        unsigned cpl = x86_cpl(&v->st);
        struct x86_seg seg;
        uint64_t desc;

        if ((sel & ~SEL_RPL) == 0) {
                sys_set_null(v, sreg, sel, 0);
                return;
        }
        desc = sys_desc_load(v, sel, X86_VEC_GP, 0);
        if (!desc_is_readable(desc))
                soft_raise_error(v, X86_VEC_GP, sel & ~SEL_RPL);
        if (!(desc_is_code(desc) && desc_is_conforming(desc)) &&
            ((sel & SEL_RPL) > desc_dpl(desc) || cpl > desc_dpl(desc)))
                soft_raise_error(v, X86_VEC_GP, sel & ~SEL_RPL);
        if (!(desc & DESC_P))
                soft_raise_error(v, X86_VEC_NP, sel & ~SEL_RPL);
        seg = desc_seg(sel, sys_desc_touch(v, sel, desc));
        sys_set_seg(v, sreg, &seg);
}

void
soft_load_sreg(struct soft_cpu *v, unsigned sreg, uint16_t sel)
{
        if (!sys_protected(v))
                sys_set_real(v, sreg, sel, sys_v86(v));
        else if (sreg == X86_SS)
                load_ss(v, sel);
        else
                load_data(v, sreg, sel);
}

/* MOV SS and POP SS hold off interrupts and debug traps for one instruction: SDM 3A 6.8.3. */
static void
shadow_after(struct soft_cpu *v, unsigned sreg)
{
        if (sreg == X86_SS)
                v->st.shadow_ss = 1;
}

void
sys_mov_sreg_r(struct soft_cpu *v, const struct x86_insn *insn)
{
        unsigned sreg = insn->reg & 7;

        if (sreg == X86_CS || sreg >= X86_SREG_COUNT)
                soft_raise(v, X86_VEC_UD);
        soft_load_sreg(v, sreg, (uint16_t)sys_read_rm(v, insn, 2));
        shadow_after(v, sreg);
}

void
sys_mov_r_sreg(struct soft_cpu *v, const struct x86_insn *insn)
{
        unsigned sreg = insn->reg & 7;

        if (sreg >= X86_SREG_COUNT)
                soft_raise(v, X86_VEC_UD);
        sys_write_rm(v, insn, insn->has_mem ? 2 : insn->opsize, v->st.seg[sreg].sel);
}

/* The register that PUSH and POP encode in the opcode: 06 0E 16 1E, 0F A0, 0F A8. */
static unsigned
opcode_sreg(const struct x86_insn *insn)
{
        return (insn->opcode >> 3) & 7;
}

/* With a 32-bit operand only 16 bits are written, yet the stack moves by 4: SDM 2B, PUSH. */
void
sys_push_sreg(struct soft_cpu *v, const struct x86_insn *insn)
{
        unsigned size = insn->opsize;
        uint16_t sel = v->st.seg[opcode_sreg(insn)].sel;
        struct sys_stack stack;

        sys_stack_current(v, &stack);
        if (size == 4 && !x86_model_is_amd(v->model)) { /* SDM 2B, PUSH: a move of 16 bits */
                stack.sp = (stack.sp & ~stack.mask) | ((stack.sp - 2) & stack.mask);
                size = 2;
        }
        sys_push(v, &stack, size, sel);
        sys_stack_commit(v, &stack);
}

void
sys_pop_sreg(struct soft_cpu *v, const struct x86_insn *insn)
{
        /* Intel's processors read no more than the selector, whatever the operand size. */
        unsigned sreg = opcode_sreg(insn), size = x86_model_is_amd(v->model) ? insn->opsize : 2;
        struct sys_stack stack;
        uint64_t value;

        sys_stack_current(v, &stack);
        value = sys_pop(v, &stack, size);
        stack.sp = (stack.sp & ~stack.mask) | ((stack.sp + insn->opsize - size) & stack.mask);
        soft_load_sreg(v, sreg, (uint16_t)value);
        sys_stack_commit(v, &stack);
        shadow_after(v, sreg);
}

void
sys_lfs(struct soft_cpu *v, const struct x86_insn *insn)
{
        gva_t address = sys_operand(v, insn, insn->opsize + 2, X86_ACC_R);
        uint64_t offset = soft_ld(v, address, insn->opsize, SOFT_ACC_DATA);
        uint16_t sel = (uint16_t)soft_ld(v, address + insn->opsize, 2, SOFT_ACC_DATA);

        soft_load_sreg(v, insn->imm2, sel);
        sys_set_gpr(v, insn->reg, insn->opsize, offset);
        shadow_after(v, insn->imm2);
}

/* ---- examining descriptors ---- */

static void
set_zf(struct soft_cpu *v, bool zf)
{
        v->st.rflags = (v->st.rflags & ~(uint64_t)X86_FL_ZF) | (zf ? X86_FL_ZF : 0);
}

/* Whether @desc can be seen from the CPL and the selector's RPL. */
static bool
desc_visible(const struct soft_cpu *v, uint16_t sel, uint64_t desc)
{
        if (desc_is_code(desc) && desc_is_conforming(desc))
                return true;
        return desc_dpl(desc) >= x86_cpl(&v->st) && desc_dpl(desc) >= (sel & SEL_RPL);
}

/* Types of system descriptors that LAR and LSL accept: SDM 2A tables 3-53 and 3-55. */
#define LAR_TYPES_LEGACY ((1u << 1) | (1u << 2) | (1u << 3) | (1u << 4) | (1u << 5) | (1u << 9) | (1u << 11) | (1u << 12))
#define LAR_TYPES_LONG   ((1u << 2) | (1u << 9) | (1u << 11) | (1u << 12))
#define LSL_TYPES_LEGACY ((1u << 1) | (1u << 2) | (1u << 3) | (1u << 9) | (1u << 11))
#define LSL_TYPES_LONG   ((1u << 2) | (1u << 9) | (1u << 11))

static bool
desc_examine(struct soft_cpu *v, uint16_t sel, unsigned legacy, unsigned longm, uint64_t *ret_desc)
{
        unsigned types = x86_long_mode(&v->st) ? longm : legacy;
        uint64_t desc;

        if ((sel & ~SEL_RPL) == 0 || !sys_desc_try(v, sel, &desc))
                return false;
        if (!(desc & DESC_S) && !(types & (1u << desc_type(desc))))
                return false;
        if (!desc_visible(v, sel, desc))
                return false;
        *ret_desc = desc;
        return true;
}

void
sys_lar(struct soft_cpu *v, const struct x86_insn *insn)
{
        uint16_t sel;
        uint64_t desc = 0;
        bool ok;

        sys_require_protected(v);
        sel = (uint16_t)sys_read_rm(v, insn, 2);
        ok = desc_examine(v, sel, LAR_TYPES_LEGACY, LAR_TYPES_LONG, &desc);
        if (ok)
                sys_set_gpr(v, insn->reg, insn->opsize, (desc >> 32) & 0x00ffff00);
        set_zf(v, ok);
}

void
sys_lsl(struct soft_cpu *v, const struct x86_insn *insn)
{
        uint16_t sel;
        uint64_t desc = 0;
        bool ok;

        sys_require_protected(v);
        sel = (uint16_t)sys_read_rm(v, insn, 2);
        ok = desc_examine(v, sel, LSL_TYPES_LEGACY, LSL_TYPES_LONG, &desc);
        if (ok)
                sys_set_gpr(v, insn->reg, insn->opsize, desc_limit(desc));
        set_zf(v, ok);
}

static void
verify(struct soft_cpu *v, const struct x86_insn *insn, bool write)
{
        uint16_t sel;
        uint64_t desc;
        bool ok;

        sys_require_protected(v);
        sel = (uint16_t)sys_read_rm(v, insn, 2);
        ok = (sel & ~SEL_RPL) != 0 && sys_desc_try(v, sel, &desc) && (desc & DESC_S) &&
            (write ? desc_is_writable_data(desc) : desc_is_readable(desc)) && desc_visible(v, sel, desc);
        set_zf(v, ok);
}

void
sys_verr(struct soft_cpu *v, const struct x86_insn *insn)
{
        verify(v, insn, false);
}

void
sys_verw(struct soft_cpu *v, const struct x86_insn *insn)
{
        verify(v, insn, true);
}

void
sys_arpl(struct soft_cpu *v, const struct x86_insn *insn)
{
        uint16_t target, source = (uint16_t)v->st.gpr[insn->reg];

        sys_require_protected(v);
        target = (uint16_t)sys_read_rm(v, insn, 2);
        if ((target & SEL_RPL) < (source & SEL_RPL)) {
                sys_write_rm(v, insn, 2, (target & ~SEL_RPL) | (source & SEL_RPL));
                set_zf(v, true);
        } else {
                set_zf(v, false);
        }
}

/* ---- table registers ---- */

static void
require_no_umip(struct soft_cpu *v)
{
        if ((v->st.cr4 & X86_CR4_UMIP) && x86_cpl(&v->st) != 0)
                soft_raise_error(v, X86_VEC_GP, 0);
}

void
sys_sldt(struct soft_cpu *v, const struct x86_insn *insn)
{
        sys_require_protected(v);
        require_no_umip(v);
        sys_write_rm(v, insn, insn->has_mem ? 2 : insn->opsize, v->st.ldtr.sel);
}

void
sys_str(struct soft_cpu *v, const struct x86_insn *insn)
{
        sys_require_protected(v);
        require_no_umip(v);
        sys_write_rm(v, insn, insn->has_mem ? 2 : insn->opsize, v->st.tr.sel);
}

/* The descriptor of an LDT or TSS that LLDT or LTR names, checked. */
static struct x86_seg
load_system(struct soft_cpu *v, uint16_t sel, unsigned types)
{
        struct x86_seg seg;
        uint64_t desc;

        if (sel & SEL_TI)
                soft_raise_error(v, X86_VEC_GP, sel & ~SEL_RPL);
        desc = sys_desc_load(v, sel, X86_VEC_GP, 0);
        if ((desc & DESC_S) || !(types & (1u << desc_type(desc))))
                soft_raise_error(v, X86_VEC_GP, sel & ~SEL_RPL);
        if (!(desc & DESC_P))
                soft_raise_error(v, X86_VEC_NP, sel & ~SEL_RPL);
        seg = desc_seg(sel, desc);
        if (x86_long_mode(&v->st)) {
                uint64_t high = sys_desc_high(v, sel);

                /* The type field of the upper half must be zero: SDM 3A 7.2.3. */
                if (high & 0x1f0000000000ull)
                        soft_raise_error(v, X86_VEC_GP, sel & ~SEL_RPL);
                seg.base |= high << 32;
                if (!sys_canonical_base(v, seg.base))
                        soft_raise_error(v, X86_VEC_GP, sel & ~SEL_RPL);
        }
        return seg;
}

void
sys_lldt(struct soft_cpu *v, const struct x86_insn *insn)
{
        uint16_t sel;

        sys_require_protected(v);
        sys_require_cpl0(v);
        sel = (uint16_t)sys_read_rm(v, insn, 2);
        if ((sel & ~SEL_RPL) == 0)
                v->st.ldtr = (struct x86_seg){ .attr = X86_SEG_UNUSABLE | DESC_LDT, .sel = sel };
        else
                v->st.ldtr = load_system(v, sel, 1u << DESC_LDT);
}

void
sys_ltr(struct soft_cpu *v, const struct x86_insn *insn)
{
        unsigned types = 1u << DESC_TSS32 | (x86_long_mode(&v->st) ? 0 : 1u << DESC_TSS16);
        struct x86_seg seg;
        uint16_t sel;

        sys_require_protected(v);
        sys_require_cpl0(v);
        sel = (uint16_t)sys_read_rm(v, insn, 2);
        if ((sel & ~SEL_RPL) == 0)
                soft_raise_error(v, X86_VEC_GP, 0);
        seg = load_system(v, sel, types);
        sys_desc_set(v, sel, 0, DESC_BUSY);
        seg.attr |= 2;
        v->st.tr = seg;
}

static void
store_table(struct soft_cpu *v, const struct x86_insn *insn, const struct x86_dtable *table)
{
        unsigned size = x86_code64(&v->st) ? 8 : 4;
        uint8_t bytes[10];
        gva_t address;

        require_no_umip(v);
        address = sys_operand(v, insn, 2 + size, X86_ACC_W);
        bytes[0] = (uint8_t)table->limit;
        bytes[1] = (uint8_t)(table->limit >> 8);
        for (unsigned i = 0; i < size; i++)
                bytes[2 + i] = (uint8_t)(table->base >> (8 * i));
        soft_st_bytes(v, address, bytes, 2 + size, SOFT_ACC_DATA);
}

static void
load_table(struct soft_cpu *v, const struct x86_insn *insn, struct x86_dtable *table)
{
        unsigned size = x86_code64(&v->st) ? 8 : 4;
        gva_t address;
        uint64_t base;
        uint16_t limit;

        sys_require_cpl0(v);
        address = sys_operand(v, insn, 2 + size, X86_ACC_R);
        limit = (uint16_t)soft_ld(v, address, 2, SOFT_ACC_DATA);
        base = soft_ld(v, address + 2, size, SOFT_ACC_DATA);
        if (size == 8 && !sys_canonical_base(v, base))
                soft_raise_error(v, X86_VEC_GP, 0);
        if (size == 4 && insn->opsize == 2)
                base &= 0xffffff;
        table->base = base;
        table->limit = limit;
}

void
sys_sgdt(struct soft_cpu *v, const struct x86_insn *insn)
{
        store_table(v, insn, &v->st.gdtr);
}

void
sys_sidt(struct soft_cpu *v, const struct x86_insn *insn)
{
        store_table(v, insn, &v->st.idtr);
}

void
sys_lgdt(struct soft_cpu *v, const struct x86_insn *insn)
{
        load_table(v, insn, &v->st.gdtr);
}

void
sys_lidt(struct soft_cpu *v, const struct x86_insn *insn)
{
        load_table(v, insn, &v->st.idtr);
}

void
sys_smsw(struct soft_cpu *v, const struct x86_insn *insn)
{
        require_no_umip(v);
        sys_write_rm(v, insn, insn->has_mem ? 2 : insn->opsize, v->st.cr0);
}

/* LMSW changes PE, MP, EM and TS, and cannot clear PE. */
void
sys_lmsw(struct soft_cpu *v, const struct x86_insn *insn)
{
        uint64_t value;

        sys_require_cpl0(v);
        value = sys_read_rm(v, insn, 2) & 0xf;
        soft_write_cr(v, 0, (v->st.cr0 & ~0xeull) | value);
}

/* ---- FS and GS bases ---- */

void
sys_swapgs(struct soft_cpu *v, const struct x86_insn *insn)
{
        uint64_t base = v->st.seg[X86_GS].base;

        if (!x86_code64(&v->st))
                soft_raise(v, X86_VEC_UD);
        sys_require_cpl0(v);
        sys_set_base(v, X86_GS, v->st.kernel_gs_base);
        v->st.kernel_gs_base = base;
}

static void
require_fsgsbase(struct soft_cpu *v)
{
        if (!x86_code64(&v->st) || !(v->st.cr4 & X86_CR4_FSGSBASE))
                soft_raise(v, X86_VEC_UD);
}

static void
read_base(struct soft_cpu *v, const struct x86_insn *insn, unsigned sreg)
{
        require_fsgsbase(v);
        sys_set_gpr(v, insn->rm, insn->opsize, v->st.seg[sreg].base);
}

static void
write_base(struct soft_cpu *v, const struct x86_insn *insn, unsigned sreg)
{
        uint64_t base = v->st.gpr[insn->rm] & sys_mask(insn->opsize);

        require_fsgsbase(v);
        if (!sys_canonical_base(v, base))
                soft_raise_error(v, X86_VEC_GP, 0);
        sys_set_base(v, sreg, base);
}

void
sys_rdfsbase(struct soft_cpu *v, const struct x86_insn *insn)
{
        read_base(v, insn, X86_FS);
}

void
sys_rdgsbase(struct soft_cpu *v, const struct x86_insn *insn)
{
        read_base(v, insn, X86_GS);
}

void
sys_wrfsbase(struct soft_cpu *v, const struct x86_insn *insn)
{
        write_base(v, insn, X86_FS);
}

void
sys_wrgsbase(struct soft_cpu *v, const struct x86_insn *insn)
{
        write_base(v, insn, X86_GS);
}
