/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Transfers of control between segments and privilege levels: far jumps, calls
 * and returns, IRET, the fast system calls, HLT, and the interrupt flag.
 * SDM 2A-2B by instruction; gates in SDM 3A 5.8.
 */
#include "cpu/soft/sys.h"
#include "x86/cpuid.h"

#define SEL_TI  4u
#define SEL_RPL 3u

static _Noreturn void
raise_gp(struct soft_cpu *v, uint16_t sel)
{
        soft_raise_error(v, X86_VEC_GP, sel & ~SEL_RPL);
}

static bool
is_code64(const struct soft_cpu *v, uint64_t code)
{
        return x86_long_mode(&v->st) && (code & DESC_L);
}

static void
check_offset(struct soft_cpu *v, uint64_t code, uint64_t rip)
{
        if (is_code64(v, code) ? !soft_canonical(v, rip) : rip > desc_limit(code))
                soft_raise_error(v, X86_VEC_GP, 0);
}

static void
check_code_mode(struct soft_cpu *v, uint16_t sel, uint64_t code)
{
        if (x86_long_mode(&v->st) && (code & DESC_L) && (code & DESC_D))
                raise_gp(v, sel);
}

/* A new stack pointer in the width that the new stack has. */
static void
set_sp(struct soft_cpu *v, uint64_t sp)
{
        if (x86_code64(&v->st))
                v->st.gpr[X86_RSP] = sp;
        else
                sys_set_gpr(v, X86_RSP, v->st.seg[X86_SS].attr & X86_SEG_DB ? 4 : 2, sp);
}

/* ---- far JMP and CALL ---- */

struct far {
        bool call;
        unsigned size; /* of what CALL pushes */
        uint16_t sel;
        uint64_t offset;
};

/*
 * From compatibility mode to 64-bit code the stack is already that of 64-bit mode, without SS: so Intel's processors do it.
 * The SDM's text (2A, CALL) does not tell.
 */
static void
push_return(struct soft_cpu *v, unsigned size, bool to_code64, struct sys_stack *stack)
{
        sys_stack_current(v, stack);
        if (to_code64) {
                stack->long_mode = true;
                stack->mask = ~0ull;
        }
        sys_push(v, stack, size, v->st.seg[X86_CS].sel);
        sys_push(v, stack, size, v->next_rip);
}

static void
far_real(struct soft_cpu *v, const struct far *f)
{
        struct sys_stack stack;

        if (f->offset > v->st.seg[X86_CS].limit)
                soft_raise_error(v, X86_VEC_GP, 0);
        if (f->call) {
                push_return(v, f->size, false, &stack);
                sys_stack_commit(v, &stack);
        }
        sys_set_real(v, X86_CS, f->sel, sys_v86(v));
        v->next_rip = f->offset;
}

static void
far_code(struct soft_cpu *v, const struct far *f, uint64_t code)
{
        unsigned cpl = x86_cpl(&v->st);
        struct sys_stack stack;

        if (desc_is_conforming(code) ? desc_dpl(code) > cpl :
                                       (f->sel & SEL_RPL) > cpl || desc_dpl(code) != cpl)
                raise_gp(v, f->sel);
        if (!(code & DESC_P))
                soft_raise_error(v, X86_VEC_NP, f->sel & ~SEL_RPL);
        check_code_mode(v, f->sel, code);
        check_offset(v, code, f->offset);
        code = sys_desc_touch(v, f->sel, code);
        if (f->call) {
                push_return(v, f->size, is_code64(v, code), &stack);
                sys_stack_commit(v, &stack);
        }
        sys_set_cs(v, f->sel, code, cpl);
        v->next_rip = f->offset;
}

struct gate {
        uint16_t sel;
        uint64_t offset;
        unsigned params;
        unsigned size;
        uint64_t code;
};

static void
gate_push_params(struct soft_cpu *v, const struct gate *g, struct sys_stack *stack)
{
        struct sys_stack old;

        sys_stack_current(v, &old);
        for (unsigned i = g->params; i-- > 0;) {
                struct sys_stack at = old;

                at.sp = (old.sp & ~old.mask) | ((old.sp + i * g->size) & old.mask);
                sys_push(v, stack, g->size, sys_pop(v, &at, g->size));
        }
}

/* CALL through a gate to more privilege: SDM 3A 5.8.5. */
static void
gate_call_outer(struct soft_cpu *v, const struct gate *g)
{
        unsigned dpl = desc_dpl(g->code);
        bool lm = x86_long_mode(&v->st);
        struct sys_stack stack;
        uint64_t ss_desc = 0;

        if (lm)
                stack = (struct sys_stack){
                        .sp = sys_tss_rsp(v, dpl, 0),
                        .mask = ~0ull,
                        .long_mode = true,
                        .how = sys_access_at(dpl),
                };
        else
                sys_stack_from_tss(v, dpl, 0, &stack, &ss_desc);
        check_offset(v, g->code, g->offset);
        sys_push(v, &stack, g->size, v->st.seg[X86_SS].sel);
        sys_push(v, &stack, g->size, v->st.gpr[X86_RSP]);
        gate_push_params(v, g, &stack);
        sys_push(v, &stack, g->size, v->st.seg[X86_CS].sel);
        sys_push(v, &stack, g->size, v->next_rip);
        if (lm) {
                sys_set_null(v, X86_SS, (uint16_t)dpl, dpl);
        } else {
                stack.ss = desc_seg(stack.ss.sel, sys_desc_touch(v, stack.ss.sel, ss_desc));
                sys_set_seg(v, X86_SS, &stack.ss);
        }
        sys_set_cs(v, g->sel, g->code, dpl);
        v->st.gpr[X86_RSP] = stack.sp;
        v->next_rip = g->offset;
}

static void
gate_same(struct soft_cpu *v, const struct far *f, const struct gate *g)
{
        unsigned cpl = x86_cpl(&v->st);
        struct sys_stack stack;

        check_offset(v, g->code, g->offset);
        if (f->call) {
                push_return(v, g->size, is_code64(v, g->code), &stack);
                sys_stack_commit(v, &stack);
        }
        sys_set_cs(v, g->sel, g->code, cpl);
        v->next_rip = g->offset;
}

static void
read_call_gate(struct soft_cpu *v, const struct far *f, uint64_t desc, struct gate *g)
{
        g->sel = (uint16_t)(desc >> 16);
        g->offset = (desc & 0xffff) | ((desc >> 32) & 0xffff0000);
        g->params = (desc >> 32) & 31;
        g->size = desc_type(desc) == DESC_CALL16 ? 2 : 4;
        if (g->size == 2)
                g->offset &= 0xffff;
        if (x86_long_mode(&v->st)) {
                uint64_t high = sys_desc_high(v, f->sel);

                if (high & 0x1f0000000000ull)
                        raise_gp(v, f->sel);
                g->offset |= high << 32;
                g->params = 0;
                g->size = 8;
        }
}

static void
far_call_gate(struct soft_cpu *v, const struct far *f, uint64_t desc)
{
        unsigned cpl = x86_cpl(&v->st);
        struct gate g;

        read_call_gate(v, f, desc, &g);
        if ((g.sel & ~SEL_RPL) == 0)
                soft_raise_error(v, X86_VEC_GP, 0);
        g.code = sys_desc_load(v, g.sel, X86_VEC_GP, 0);
        if (!desc_is_code(g.code) || desc_dpl(g.code) > cpl ||
            (!f->call && !desc_is_conforming(g.code) && desc_dpl(g.code) != cpl))
                raise_gp(v, g.sel);
        if (x86_long_mode(&v->st) && (!(g.code & DESC_L) || (g.code & DESC_D)))
                raise_gp(v, g.sel);
        if (!(g.code & DESC_P))
                soft_raise_error(v, X86_VEC_NP, g.sel & ~SEL_RPL);
        g.code = sys_desc_touch(v, g.sel, g.code);
        if (f->call && !desc_is_conforming(g.code) && desc_dpl(g.code) < cpl)
                gate_call_outer(v, &g);
        else
                gate_same(v, f, &g);
}

static void
far_task(struct soft_cpu *v, const struct far *f, uint16_t tss)
{
        soft_task_switch(v, tss, f->call ? SOFT_TASK_CALL : SOFT_TASK_JMP, v->next_rip, 0, NULL);
        v->next_rip = v->st.rip;
}

static void
far_system(struct soft_cpu *v, const struct far *f, uint64_t desc)
{
        unsigned type = desc_type(desc);
        bool lm = x86_long_mode(&v->st);
        bool known = type == DESC_CALL32 ||
            (!lm && (type == DESC_CALL16 || type == DESC_TASK_GATE || type == DESC_TSS16 || type == DESC_TSS32));

        if (!known || desc_dpl(desc) < x86_cpl(&v->st) || desc_dpl(desc) < (f->sel & SEL_RPL))
                raise_gp(v, f->sel);
        if (!(desc & DESC_P))
                soft_raise_error(v, X86_VEC_NP, f->sel & ~SEL_RPL);
        if (type == DESC_CALL16 || type == DESC_CALL32)
                far_call_gate(v, f, desc);
        else
                far_task(v, f, type == DESC_TASK_GATE ? (uint16_t)(desc >> 16) : f->sel);
}

static void
far_transfer(struct soft_cpu *v, const struct far *f)
{
        uint64_t desc;

        if (!sys_protected(v)) {
                far_real(v, f);
                return;
        }
        if ((f->sel & ~SEL_RPL) == 0)
                soft_raise_error(v, X86_VEC_GP, 0);
        desc = sys_desc_load(v, f->sel, X86_VEC_GP, 0);
        if (!(desc & DESC_S))
                far_system(v, f, desc);
        else if (desc_is_code(desc))
                far_code(v, f, desc);
        else
                raise_gp(v, f->sel);
}

static void
far_direct(struct soft_cpu *v, const struct x86_insn *insn, bool call)
{
        const struct far f = {
                .call = call,
                .size = insn->opsize,
                .sel = insn->imm2,
                .offset = (uint64_t)insn->imm & sys_mask(insn->opsize),
        };

        far_transfer(v, &f);
}

static void
far_indirect(struct soft_cpu *v, const struct x86_insn *insn, bool call)
{
        gva_t address = sys_operand(v, insn, insn->opsize + 2, X86_ACC_R);
        uint64_t offset = soft_ld(v, address, insn->opsize, SOFT_ACC_DATA); /* first: it decides on CR2 */
        const struct far f = {
                .call = call,
                .size = insn->opsize,
                .offset = offset,
                .sel = (uint16_t)soft_ld(v, address + insn->opsize, 2, SOFT_ACC_DATA),
        };

        far_transfer(v, &f);
}

void
sys_call_far(struct soft_cpu *v, const struct x86_insn *insn)
{
        far_direct(v, insn, true);
}

void
sys_jmp_far(struct soft_cpu *v, const struct x86_insn *insn)
{
        far_direct(v, insn, false);
}

void
sys_call_far_mem(struct soft_cpu *v, const struct x86_insn *insn)
{
        far_indirect(v, insn, true);
}

void
sys_jmp_far_mem(struct soft_cpu *v, const struct x86_insn *insn)
{
        far_indirect(v, insn, false);
}

/* ---- far returns ---- */

/* The code segment that RETF and IRET return to, checked. */
static uint64_t
return_code(struct soft_cpu *v, uint16_t sel, uint64_t rip)
{
        unsigned rpl = sel & SEL_RPL;
        uint64_t code;

        if ((sel & ~SEL_RPL) == 0)
                soft_raise_error(v, X86_VEC_GP, 0);
        code = sys_desc_load(v, sel, X86_VEC_GP, 0);
        if (!desc_is_code(code) || rpl < x86_cpl(&v->st) ||
            (desc_is_conforming(code) ? desc_dpl(code) > rpl : desc_dpl(code) != rpl))
                raise_gp(v, sel);
        check_code_mode(v, sel, code);
        if (!(code & DESC_P))
                soft_raise_error(v, X86_VEC_NP, sel & ~SEL_RPL);
        check_offset(v, code, rip);
        return sys_desc_touch(v, sel, code);
}

/* The stack segment of a return to privilege @rpl. */
static struct x86_seg
return_stack(struct soft_cpu *v, uint16_t sel, unsigned rpl, uint64_t code)
{
        uint64_t desc;

        if ((sel & ~SEL_RPL) == 0) {
                if (!is_code64(v, code) || rpl == 3 || (sel & SEL_RPL) != rpl)
                        soft_raise_error(v, X86_VEC_GP, 0);
                return (struct x86_seg){
                        .limit = 0xffffffff,
                        .attr = X86_SEG_UNUSABLE | rpl << X86_SEG_DPL_SHIFT,
                        .sel = sel,
                };
        }
        desc = sys_desc_load(v, sel, X86_VEC_GP, 0);
        if ((sel & SEL_RPL) != rpl || !desc_is_writable_data(desc) || desc_dpl(desc) != rpl)
                raise_gp(v, sel);
        if (!(desc & DESC_P))
                soft_raise_error(v, X86_VEC_SS, sel & ~SEL_RPL);
        return desc_seg(sel, sys_desc_touch(v, sel, desc));
}

static void
ret_real(struct soft_cpu *v, const struct x86_insn *insn)
{
        struct sys_stack stack;
        uint64_t rip;
        uint16_t cs;

        sys_stack_current(v, &stack);
        rip = sys_pop(v, &stack, insn->opsize);
        cs = (uint16_t)sys_pop(v, &stack, insn->opsize);
        if (rip > v->st.seg[X86_CS].limit)
                soft_raise_error(v, X86_VEC_GP, 0);
        stack.sp = (stack.sp & ~stack.mask) | ((stack.sp + (uint16_t)insn->imm) & stack.mask);
        sys_stack_commit(v, &stack);
        sys_set_real(v, X86_CS, cs, sys_v86(v));
        v->next_rip = rip;
}

static void
ret_protected(struct soft_cpu *v, const struct x86_insn *insn)
{
        unsigned cpl = x86_cpl(&v->st), size = insn->opsize, rpl;
        uint16_t release = (uint16_t)insn->imm, cs, ss;
        struct sys_stack stack;
        struct x86_seg ss_seg;
        uint64_t rip, sp, code;

        sys_stack_current(v, &stack);
        rip = sys_pop(v, &stack, size);
        cs = (uint16_t)sys_pop(v, &stack, size);
        rpl = cs & SEL_RPL;
        code = return_code(v, cs, rip);
        stack.sp = (stack.sp & ~stack.mask) | ((stack.sp + release) & stack.mask);
        if (rpl == cpl) {
                sys_stack_commit(v, &stack);
                sys_set_cs(v, cs, code, rpl);
                v->next_rip = rip;
                return;
        }
        sp = sys_pop(v, &stack, size);
        ss = (uint16_t)sys_pop(v, &stack, size);
        ss_seg = return_stack(v, ss, rpl, code);
        sys_set_cs(v, cs, code, rpl);
        sys_set_seg(v, X86_SS, &ss_seg);
        set_sp(v, sp + release);
        sys_drop_segments(v, rpl);
        v->next_rip = rip;
}

void
sys_ret_far(struct soft_cpu *v, const struct x86_insn *insn)
{
        if (sys_protected(v))
                ret_protected(v, insn);
        else
                ret_real(v, insn);
}

/* ---- IRET ---- */

static void
set_flags(struct soft_cpu *v, uint64_t flags, uint64_t mask)
{
        v->st.rflags = (v->st.rflags & ~mask) | (flags & mask) | X86_FL_FIXED;
}

static uint64_t
iret_real_mask(const struct soft_cpu *v, unsigned size)
{
        uint64_t mask = exc_flags_mask(v, sys_v86(v) ? 3 : 0, size) & ~(uint64_t)(X86_FL_VIF | X86_FL_VIP);

        return sys_v86(v) ? mask & ~(uint64_t)X86_FL_IOPL : mask;
}

/* With VME, 16-bit IRET at an IOPL below 3 changes VIF in place of IF: SDM 3A 20.4. */
static void
iret_vme_flags(struct soft_cpu *v, uint64_t flags)
{
        uint64_t mask = 0xffff & ~(uint64_t)(X86_FL_IF | X86_FL_IOPL);

        if ((flags & X86_FL_TF) || ((flags & X86_FL_IF) && (v->st.rflags & X86_FL_VIP)))
                soft_raise_error(v, X86_VEC_GP, 0);
        set_flags(v, flags, mask & exc_flags_mask(v, 0, 2));
        v->st.rflags &= ~(uint64_t)X86_FL_VIF;
        if (flags & X86_FL_IF)
                v->st.rflags |= X86_FL_VIF;
}

static void
iret_real(struct soft_cpu *v, const struct x86_insn *insn)
{
        bool vme = sys_v86(v) && sys_iopl(v) < 3;
        struct sys_stack stack;
        uint64_t rip, flags;
        uint16_t cs;

        if (vme && (!(v->st.cr4 & X86_CR4_VME) || insn->opsize != 2))
                soft_raise_error(v, X86_VEC_GP, 0);
        sys_stack_current(v, &stack);
        rip = sys_pop(v, &stack, insn->opsize);
        cs = (uint16_t)sys_pop(v, &stack, insn->opsize);
        flags = sys_pop(v, &stack, insn->opsize);
        if (rip > v->st.seg[X86_CS].limit)
                soft_raise_error(v, X86_VEC_GP, 0);
        if (vme)
                iret_vme_flags(v, flags);
        else
                set_flags(v, flags, iret_real_mask(v, insn->opsize));
        sys_stack_commit(v, &stack);
        sys_set_real(v, X86_CS, cs, sys_v86(v));
        v->next_rip = rip;
}

static void
iret_task(struct soft_cpu *v)
{
        uint16_t link = (uint16_t)soft_ld(v, v->st.tr.base, 2, SOFT_ACC_SYS);

        v->st.nmi_blocked = 0;
        soft_task_switch(v, link, SOFT_TASK_IRET, v->next_rip, 0, NULL);
        v->next_rip = v->st.rip;
}

static void
iret_to_v86(struct soft_cpu *v, struct sys_stack *stack, uint64_t rip, uint16_t cs, uint64_t flags)
{
        static const uint8_t order[] = { X86_SS, X86_ES, X86_DS, X86_FS, X86_GS };
        uint32_t sp = (uint32_t)sys_pop(v, stack, 4);
        uint16_t sel[sizeof(order)];

        for (unsigned i = 0; i < sizeof(order); i++)
                sel[i] = (uint16_t)sys_pop(v, stack, 4);
        if (rip > 0xffff)
                soft_raise_error(v, X86_VEC_GP, 0);
        set_flags(v, flags, exc_flags_mask(v, 0, 4) | X86_FL_VM);
        for (unsigned i = 0; i < sizeof(order); i++)
                sys_set_real(v, order[i], sel[i], true);
        sys_set_real(v, X86_CS, cs, true);
        v->st.gpr[X86_RSP] = sp;
        v->next_rip = rip;
}

static void
iret_outer(struct soft_cpu *v, const struct x86_insn *insn, struct sys_stack *stack, uint64_t rip, uint16_t cs,
    uint64_t flags)
{
        unsigned cpl = x86_cpl(&v->st), rpl = cs & SEL_RPL;
        uint64_t sp = sys_pop(v, stack, insn->opsize);
        uint16_t ss = (uint16_t)sys_pop(v, stack, insn->opsize);
        uint64_t code = return_code(v, cs, rip);
        struct x86_seg ss_seg = return_stack(v, ss, rpl, code);

        set_flags(v, flags, exc_flags_mask(v, cpl, insn->opsize));
        sys_set_cs(v, cs, code, rpl);
        sys_set_seg(v, X86_SS, &ss_seg);
        set_sp(v, sp);
        if (rpl > cpl)
                sys_drop_segments(v, rpl);
        v->next_rip = rip;
}

static void
iret_same(struct soft_cpu *v, const struct x86_insn *insn, struct sys_stack *stack, uint64_t rip, uint16_t cs,
    uint64_t flags)
{
        uint64_t code = return_code(v, cs, rip);

        set_flags(v, flags, exc_flags_mask(v, x86_cpl(&v->st), insn->opsize));
        sys_set_cs(v, cs, code, cs & SEL_RPL);
        sys_stack_commit(v, stack);
        v->next_rip = rip;
}

static void
iret_protected(struct soft_cpu *v, const struct x86_insn *insn)
{
        unsigned size = insn->opsize;
        struct sys_stack stack;
        uint64_t rip, flags;
        uint16_t cs;

        if (v->st.rflags & X86_FL_NT) {
                if (x86_long_mode(&v->st))
                        soft_raise_error(v, X86_VEC_GP, 0);
                iret_task(v);
                return;
        }
        sys_stack_current(v, &stack);
        rip = sys_pop(v, &stack, size);
        cs = (uint16_t)sys_pop(v, &stack, size);
        flags = sys_pop(v, &stack, size);
        if ((flags & X86_FL_VM) && size == 4 && x86_cpl(&v->st) == 0 && !x86_long_mode(&v->st))
                iret_to_v86(v, &stack, rip, cs, flags);
        else if (x86_code64(&v->st) || (cs & SEL_RPL) != x86_cpl(&v->st))
                iret_outer(v, insn, &stack, rip, cs, flags);
        else
                iret_same(v, insn, &stack, rip, cs, flags);
}

void
sys_iret(struct soft_cpu *v, const struct x86_insn *insn)
{
        if (sys_protected(v))
                iret_protected(v, insn);
        else
                iret_real(v, insn);
        v->st.nmi_blocked = 0;
}

/* ---- fast system calls ---- */

#define ATTR_FLAT   (X86_SEG_P | X86_SEG_S | X86_SEG_WRITE | X86_SEG_ACCESSED | X86_SEG_G)
#define ATTR_DATA   (ATTR_FLAT | X86_SEG_DB)
#define ATTR_CODE32 (ATTR_FLAT | X86_SEG_CODE | X86_SEG_DB)
#define ATTR_CODE64 (ATTR_FLAT | X86_SEG_CODE | X86_SEG_L)

static void
set_flat(struct soft_cpu *v, unsigned sreg, unsigned sel, uint32_t attr, unsigned dpl)
{
        const struct x86_seg seg = {
                .limit = 0xffffffff,
                .attr = attr | dpl << X86_SEG_DPL_SHIFT,
                .sel = (uint16_t)sel,
        };

        sys_set_seg(v, sreg, &seg);
}

/* The single-step trap of SYSCALL and SYSRET is by TF as they leave it: SDM 2B, SYSRET. */
static void
step_by_new_flags(struct soft_cpu *v)
{
        if (v->st.rflags & X86_FL_TF)
                v->st.pending_dbg |= 0x4000; /* DR6.BS */
        else
                v->entered_handler = true;
}

/* Outside long mode, as AMD's processors have it: APM 3, SYSCALL. */
static void
syscall_legacy(struct soft_cpu *v)
{
        v->st.gpr[X86_RCX] = (uint32_t)v->next_rip;
        v->st.rflags &= ~(uint64_t)(X86_FL_IF | X86_FL_VM | X86_FL_RF);
        v->next_rip = (uint32_t)v->st.star;
        set_flat(v, X86_CS, (v->st.star >> 32) & 0xfffc, ATTR_CODE32, 0);
        set_flat(v, X86_SS, ((v->st.star >> 32) & 0xfffc) + 8, ATTR_DATA, 0);
}

void
sys_syscall(struct soft_cpu *v, const struct x86_insn *insn)
{
        unsigned cs = (v->st.star >> 32) & 0xfffc;

        if (!(v->st.efer & X86_EFER_SCE) || !sys_protected(v))
                soft_raise(v, X86_VEC_UD);
        if (!x86_code64(&v->st) && !x86_model_is_amd(v->model))
                soft_raise(v, X86_VEC_UD);
        if (!x86_long_mode(&v->st)) {
                syscall_legacy(v);
                return;
        }
        v->st.gpr[X86_RCX] = v->next_rip;
        v->st.gpr[X86_R11] = v->st.rflags & ~(uint64_t)X86_FL_RF;
        v->st.rflags = (v->st.rflags & ~(v->st.sfmask | X86_FL_RF)) | X86_FL_FIXED;
        v->next_rip = x86_code64(&v->st) ? v->st.lstar : v->st.cstar;
        step_by_new_flags(v);
        set_flat(v, X86_CS, cs, ATTR_CODE64, 0);
        set_flat(v, X86_SS, cs + 8, ATTR_DATA, 0);
}

/* The flags that SYSRET loads from R11: SDM 2B. */
#define SYSRET_FLAGS 0x3c7fd7ull

static void
sysret_legacy(struct soft_cpu *v)
{
        unsigned sel = (unsigned)(v->st.star >> 48);

        v->st.rflags |= X86_FL_IF;
        v->next_rip = (uint32_t)v->st.gpr[X86_RCX];
        set_flat(v, X86_CS, sel | 3, ATTR_CODE32, 3);
        set_flat(v, X86_SS, (sel + 8) | 3, ATTR_DATA, 3);
}

void
sys_sysret(struct soft_cpu *v, const struct x86_insn *insn)
{
        unsigned sel = (unsigned)(v->st.star >> 48);
        bool to64 = insn->opsize == 8;

        if (!(v->st.efer & X86_EFER_SCE) || (!x86_code64(&v->st) && !x86_model_is_amd(v->model)))
                soft_raise(v, X86_VEC_UD);
        if (!sys_protected(v) || x86_cpl(&v->st) != 0)
                soft_raise_error(v, X86_VEC_GP, 0);
        if (!x86_long_mode(&v->st)) {
                sysret_legacy(v);
                return;
        }
        if (to64 && !soft_canonical(v, v->st.gpr[X86_RCX]))
                soft_raise_error(v, X86_VEC_GP, 0);
        v->st.rflags = (v->st.gpr[X86_R11] & SYSRET_FLAGS) | X86_FL_FIXED;
        step_by_new_flags(v);
        v->next_rip = to64 ? v->st.gpr[X86_RCX] : (uint32_t)v->st.gpr[X86_RCX];
        set_flat(v, X86_CS, (sel + (to64 ? 16 : 0)) | 3, to64 ? ATTR_CODE64 : ATTR_CODE32, 3);
        set_flat(v, X86_SS, (sel + 8) | 3, ATTR_DATA, 3);
}

void
sys_sysenter(struct soft_cpu *v, const struct x86_insn *insn)
{
        unsigned cs = v->st.sysenter_cs & 0xfffc;
        bool lm = x86_long_mode(&v->st);

        if (lm && x86_model_is_amd(v->model))
                soft_raise(v, X86_VEC_UD);
        if (!(v->st.cr0 & X86_CR0_PE) || cs == 0)
                soft_raise_error(v, X86_VEC_GP, 0);
        v->st.rflags &= ~(uint64_t)(X86_FL_VM | X86_FL_IF | X86_FL_RF);
        set_flat(v, X86_CS, cs, lm ? ATTR_CODE64 : ATTR_CODE32, 0);
        set_flat(v, X86_SS, cs + 8, ATTR_DATA, 0);
        v->st.gpr[X86_RSP] = lm ? v->st.sysenter_esp : (uint32_t)v->st.sysenter_esp;
        v->next_rip = lm ? v->st.sysenter_eip : (uint32_t)v->st.sysenter_eip;
}

void
sys_sysexit(struct soft_cpu *v, const struct x86_insn *insn)
{
        unsigned cs = v->st.sysenter_cs & 0xfffc;
        bool to64 = insn->opsize == 8;

        if (!sys_protected(v) || x86_cpl(&v->st) != 0)
                soft_raise_error(v, X86_VEC_GP, 0);
        if (x86_long_mode(&v->st) && x86_model_is_amd(v->model))
                soft_raise(v, X86_VEC_UD);
        if (cs == 0)
                soft_raise_error(v, X86_VEC_GP, 0);
        if (to64 && (!soft_canonical(v, v->st.gpr[X86_RCX]) || !soft_canonical(v, v->st.gpr[X86_RDX])))
                soft_raise_error(v, X86_VEC_GP, 0);
        set_flat(v, X86_CS, (cs + (to64 ? 32 : 16)) | 3, to64 ? ATTR_CODE64 : ATTR_CODE32, 3);
        set_flat(v, X86_SS, (cs + (to64 ? 40 : 24)) | 3, ATTR_DATA, 3);
        v->st.gpr[X86_RSP] = to64 ? v->st.gpr[X86_RCX] : (uint32_t)v->st.gpr[X86_RCX];
        v->next_rip = to64 ? v->st.gpr[X86_RDX] : (uint32_t)v->st.gpr[X86_RDX];
}

/* ---- waiting ---- */

static _Noreturn void
leave(struct soft_cpu *v, enum cpu_exit_reason reason)
{
        v->st.rip = v->next_rip;
        v->st.shadow_sti = v->st.shadow_ss = 0;
        v->st.rflags &= ~(uint64_t)X86_FL_RF;
        v->exit = (struct cpu_exit){ .reason = reason };
        soft_exit(v);
}

void
sys_hlt(struct soft_cpu *v, const struct x86_insn *insn)
{
        sys_require_cpl0(v);
        /* A single-step trap that is due wakes the processor at once. */
        if (!(v->st.rflags & X86_FL_TF))
                leave(v, CPU_EXIT_HLT);
}

void
sys_pause(struct soft_cpu *v, const struct x86_insn *insn)
{
        if (v->exit_on_pause)
                leave(v, CPU_EXIT_PAUSE);
        __builtin_ia32_pause();
}

void
sys_monitor(struct soft_cpu *v, const struct x86_insn *insn)
{
        sys_require_cpl0(v);
        if ((uint32_t)v->st.gpr[X86_RCX] != 0)
                soft_raise_error(v, X86_VEC_GP, 0);
        (void)soft_ld(v, soft_linear(v, insn->mem_seg, v->st.gpr[X86_RAX] & sys_mask(insn->asize), 1, X86_ACC_R), 1,
            SOFT_ACC_DATA);
}

/* No store is watched: MWAIT ends at once, as it may. */
void
sys_mwait(struct soft_cpu *v, const struct x86_insn *insn)
{
        sys_require_cpl0(v);
        if ((uint32_t)v->st.gpr[X86_RCX] > 1)
                soft_raise_error(v, X86_VEC_GP, 0);
        __builtin_ia32_pause();
}

/* ---- the interrupt flag: SDM 2A CLI, 2B STI ---- */

/* Whether CLI and STI act on VIF; raises where neither may be changed. */
static bool
uses_vif(struct soft_cpu *v)
{
        unsigned cpl = x86_cpl(&v->st);

        if (cpl <= sys_iopl(v) || !(v->st.cr0 & X86_CR0_PE))
                return false;
        if (sys_v86(v) ? (v->st.cr4 & X86_CR4_VME) != 0 : cpl == 3 && (v->st.cr4 & X86_CR4_PVI))
                return true;
        soft_raise_error(v, X86_VEC_GP, 0);
}

void
sys_cli(struct soft_cpu *v, const struct x86_insn *insn)
{
        v->st.rflags &= uses_vif(v) ? ~(uint64_t)X86_FL_VIF : ~(uint64_t)X86_FL_IF;
}

void
sys_sti(struct soft_cpu *v, const struct x86_insn *insn)
{
        if (uses_vif(v)) {
                if (v->st.rflags & X86_FL_VIP)
                        soft_raise_error(v, X86_VEC_GP, 0);
                v->st.rflags |= X86_FL_VIF;
                return;
        }
        if (!(v->st.rflags & X86_FL_IF))
                v->st.shadow_sti = 1;
        v->st.rflags |= X86_FL_IF;
}
