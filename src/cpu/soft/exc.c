/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Delivery of exceptions and interrupts: SDM 3A chapter 6, and 20.1 to 20.3
 * for real and virtual-8086 mode.
 *
 * Everything is checked and pushed first; the processor's state changes last.
 * A fault on the way is raised as a new exception; the dispatcher combines it
 * with the one that was being delivered (soft_combine).
 */
#include "cpu/soft/sys.h"

#define SEL_TI  4u
#define SEL_RPL 3u

/* One delivery under way. */
struct delivery {
        const struct soft_event *event;
        uint64_t return_rip;
        uint64_t flags;  /* to push */
        unsigned ext;    /* bit 0 of error codes: not caused by the program itself */
        unsigned type;   /* of the gate */
        uint16_t sel;    /* from the gate */
        uint64_t offset;
        uint64_t code;   /* descriptor of sel */
        unsigned cpl;    /* of the handler */
        unsigned ist;
};

static bool
is_software(const struct soft_event *event)
{
        return event->kind == SOFT_EV_SOFT_INT || event->kind == SOFT_EV_SOFT_EXC;
}

/* RF is set in the image that a fault pushes, so that its restart skips instruction breakpoints. */
static bool
is_fault(const struct soft_event *event)
{
        const uint32_t not_faults = 1u << X86_VEC_DB | 1u << X86_VEC_NMI | 1u << X86_VEC_BP |
            1u << X86_VEC_OF | 1u << X86_VEC_DF | 1u << X86_VEC_MC;

        return event->kind == SOFT_EV_EXCEPTION && event->vector < 32 &&
            !(not_faults & (1u << event->vector));
}

static uint32_t
idt_error(const struct delivery *d)
{
        return (uint32_t)d->event->vector << 3 | 2 | d->ext;
}

/* ---- real mode ---- */

static void
push_real(struct soft_cpu *v, const struct delivery *d, uint64_t flags)
{
        struct sys_stack stack;

        sys_stack_current(v, &stack);
        sys_push(v, &stack, 2, flags);
        sys_push(v, &stack, 2, v->st.seg[X86_CS].sel);
        sys_push(v, &stack, 2, d->return_rip);
        sys_stack_commit(v, &stack);
}

static void
deliver_real(struct soft_cpu *v, const struct delivery *d)
{
        unsigned at = d->event->vector * 4u;
        uint32_t target;

        if (at + 3 > v->st.idtr.limit)
                soft_raise_error(v, X86_VEC_GP, idt_error(d));
        target = (uint32_t)soft_ld(v, (uint32_t)(v->st.idtr.base + at), 4, SOFT_ACC_SYS);
        push_real(v, d, d->flags);
        v->st.rflags &= ~(uint64_t)(X86_FL_IF | X86_FL_TF | X86_FL_AC | X86_FL_RF);
        sys_set_real(v, X86_CS, (uint16_t)(target >> 16), false);
        v->st.rip = target & 0xffff;
}

/* ---- protected and long mode ---- */

static void
read_gate(struct soft_cpu *v, struct delivery *d)
{
        bool lm = x86_long_mode(&v->st);
        unsigned size = lm ? 16 : 8;
        unsigned at = d->event->vector * size;
        uint64_t gate;

        if (at + size - 1 > v->st.idtr.limit)
                soft_raise_error(v, X86_VEC_GP, idt_error(d));
        gate = soft_ld(v, v->st.idtr.base + at, 8, SOFT_ACC_SYS);
        d->type = desc_type(gate);
        d->sel = (uint16_t)(gate >> 16);
        d->offset = (gate & 0xffff) | ((gate >> 32) & 0xffff0000);
        if (lm)
                d->offset |= soft_ld(v, v->st.idtr.base + at + 8, 8, SOFT_ACC_SYS) << 32;
        d->ist = lm ? (gate >> 32) & 7 : 0;
        if ((gate & DESC_S) || (lm ? (d->type & ~1u) != DESC_INT32 :
                                     (d->type & ~8u) != DESC_INT16 && (d->type & ~8u) != DESC_TRAP16 &&
                                         d->type != DESC_TASK_GATE))
                soft_raise_error(v, X86_VEC_GP, idt_error(d));
        if (is_software(d->event) && desc_dpl(gate) < x86_cpl(&v->st))
                soft_raise_error(v, X86_VEC_GP, idt_error(d));
        if (!(gate & DESC_P))
                soft_raise_error(v, X86_VEC_NP, idt_error(d));
        if (!(d->type & 8))
                d->offset &= 0xffff;
}

/* The handler's code segment and privilege. */
static void
read_code(struct soft_cpu *v, struct delivery *d)
{
        unsigned cpl = x86_cpl(&v->st);
        uint32_t error = (d->sel & ~SEL_RPL) | d->ext;

        if ((d->sel & ~SEL_RPL) == 0)
                soft_raise_error(v, X86_VEC_GP, d->ext);
        d->code = sys_desc_load(v, d->sel, X86_VEC_GP, d->ext);
        if (!desc_is_code(d->code) || desc_dpl(d->code) > cpl)
                soft_raise_error(v, X86_VEC_GP, error);
        if (!(d->code & DESC_P))
                soft_raise_error(v, X86_VEC_NP, error);
        if (x86_long_mode(&v->st) && (!(d->code & DESC_L) || (d->code & DESC_D)))
                soft_raise_error(v, X86_VEC_GP, error);
        d->cpl = desc_is_conforming(d->code) ? cpl : desc_dpl(d->code);
        if (sys_v86(v) && d->cpl != 0)
                soft_raise_error(v, X86_VEC_GP, error);
        d->code = sys_desc_touch(v, d->sel, d->code);
}

/* Flags, CS and shadows as the handler starts with. */
static void
enter_handler(struct soft_cpu *v, const struct delivery *d)
{
        uint64_t clear = X86_FL_TF | X86_FL_VM | X86_FL_RF | X86_FL_NT;

        if (!(d->type & 1))
                clear |= X86_FL_IF;
        v->st.rflags &= ~clear;
        sys_set_cs(v, d->sel, d->code, d->cpl);
        v->st.rip = d->offset;
}

uint64_t
sys_tss_rsp(struct soft_cpu *v, unsigned index, unsigned ext)
{
        unsigned at = 4 + index * 8;

        if (at + 7 > v->st.tr.limit)
                soft_raise_error(v, X86_VEC_TS, (v->st.tr.sel & ~SEL_RPL) | ext);
        return soft_ld(v, v->st.tr.base + at, 8, SOFT_ACC_SYS);
}

static void
store_frame(struct soft_cpu *v, gva_t at, const uint64_t *frame, unsigned words, enum soft_access how)
{
        uint64_t *host = (at & 0xfff) <= 0x1000 - 8 * words ? soft_host_rw(v, at, 8 * words, how) : NULL;

        if (host == NULL) {
                soft_st_bytes(v, at, frame, 8 * words, how);
                return;
        }
        for (unsigned i = 0; i < words; i++)
                host[i] = frame[i];
}

/* SDM 3A 6.14: a frame of five or six quadwords on an aligned stack. */
static void
deliver_long(struct soft_cpu *v, struct delivery *d)
{
        unsigned cpl = x86_cpl(&v->st);
        const unsigned words = d->event->has_error ? 6 : 5;
        uint64_t frame[6], *f = frame;
        uint64_t sp = v->st.gpr[X86_RSP];

        read_code(v, d);
        if (d->ist != 0)
                sp = sys_tss_rsp(v, d->ist + 3, d->ext);
        else if (d->cpl < cpl)
                sp = sys_tss_rsp(v, d->cpl, d->ext);
        sp = (sp & ~0xfull) - words * 8;
        if (!soft_canonical(v, sp) || !soft_canonical(v, sp + words * 8 - 1))
                soft_raise_error(v, X86_VEC_SS, d->ext);
        if (!soft_canonical(v, d->offset))
                soft_raise_error(v, X86_VEC_GP, d->ext);
        if (d->event->has_error)
                *f++ = d->event->error;
        *f++ = d->return_rip;
        *f++ = v->st.seg[X86_CS].sel;
        *f++ = d->flags;
        *f++ = v->st.gpr[X86_RSP];
        *f++ = v->st.seg[X86_SS].sel;
        store_frame(v, sp, frame, words, sys_access_at(d->cpl));
        v->st.gpr[X86_RSP] = sp;
        if (d->cpl < cpl)
                sys_set_null(v, X86_SS, (uint16_t)d->cpl, d->cpl);
        enter_handler(v, d);
}

/* SS:ESP for privilege @dpl from a 16- or 32-bit TSS. */
static void
tss_stack_pointer(struct soft_cpu *v, unsigned dpl, unsigned ext, uint16_t *ret_ss, uint32_t *ret_sp)
{
        bool wide = (v->st.tr.attr & 8) != 0;
        unsigned at = wide ? 4 + dpl * 8 : 2 + dpl * 4;
        gva_t base = v->st.tr.base + at;

        if (at + (wide ? 5 : 3) > v->st.tr.limit)
                soft_raise_error(v, X86_VEC_TS, (v->st.tr.sel & ~SEL_RPL) | ext);
        *ret_sp = (uint32_t)soft_ld(v, (uint32_t)base, wide ? 4 : 2, SOFT_ACC_SYS);
        *ret_ss = (uint16_t)soft_ld(v, (uint32_t)(base + (wide ? 4 : 2)), 2, SOFT_ACC_SYS);
}

void
sys_stack_from_tss(struct soft_cpu *v, unsigned dpl, unsigned ext, struct sys_stack *ret_stack,
    uint64_t *ret_ss_desc)
{
        uint32_t sp, error;
        uint16_t ss;
        uint64_t desc;

        tss_stack_pointer(v, dpl, ext, &ss, &sp);
        error = (ss & ~SEL_RPL) | ext;
        if ((ss & ~SEL_RPL) == 0)
                soft_raise_error(v, X86_VEC_TS, ext);
        desc = sys_desc_load(v, ss, X86_VEC_TS, ext);
        if ((ss & SEL_RPL) != dpl || desc_dpl(desc) != dpl || !desc_is_writable_data(desc))
                soft_raise_error(v, X86_VEC_TS, error);
        if (!(desc & DESC_P))
                soft_raise_error(v, X86_VEC_SS, error);
        *ret_stack = (struct sys_stack){
                .ss = desc_seg(ss, desc),
                .sp = sp,
                .mask = desc & DESC_D ? 0xffffffff : 0xffff,
                .error = error,
                .how = sys_access_at(dpl),
        };
        *ret_ss_desc = desc;
}

static void
push_frame(struct soft_cpu *v, const struct delivery *d, struct sys_stack *stack, bool outer)
{
        static const uint8_t v86_sregs[] = { X86_GS, X86_FS, X86_DS, X86_ES };
        unsigned size = d->type & 8 ? 4 : 2;

        if (sys_v86(v))
                for (unsigned i = 0; i < sizeof(v86_sregs); i++)
                        sys_push(v, stack, size, v->st.seg[v86_sregs[i]].sel);
        if (outer) {
                sys_push(v, stack, size, v->st.seg[X86_SS].sel);
                sys_push(v, stack, size, v->st.gpr[X86_RSP]);
        }
        sys_push(v, stack, size, d->flags);
        sys_push(v, stack, size, v->st.seg[X86_CS].sel);
        sys_push(v, stack, size, d->return_rip);
        if (d->event->has_error)
                sys_push(v, stack, size, d->event->error);
}

static void
check_handler_offset(struct soft_cpu *v, const struct delivery *d)
{
        if (d->offset > desc_limit(d->code))
                soft_raise_error(v, X86_VEC_GP, d->ext);
}

static void
deliver_outer(struct soft_cpu *v, const struct delivery *d)
{
        static const uint8_t data[] = { X86_ES, X86_DS, X86_FS, X86_GS };
        bool v86 = sys_v86(v);
        struct sys_stack stack;
        uint64_t ss_desc;

        sys_stack_from_tss(v, d->cpl, d->ext, &stack, &ss_desc);
        check_handler_offset(v, d);
        ss_desc = sys_desc_touch(v, stack.ss.sel, ss_desc);
        push_frame(v, d, &stack, true);
        stack.ss = desc_seg(stack.ss.sel, ss_desc);
        if (v86)
                for (unsigned i = 0; i < sizeof(data); i++)
                        sys_set_null(v, data[i], 0, 0);
        enter_handler(v, d);
        sys_set_seg(v, X86_SS, &stack.ss);
        sys_stack_commit(v, &stack);
}

static void
deliver_inner(struct soft_cpu *v, const struct delivery *d)
{
        struct sys_stack stack;

        sys_stack_current(v, &stack);
        stack.error = d->ext;
        check_handler_offset(v, d);
        push_frame(v, d, &stack, false);
        sys_stack_commit(v, &stack);
        enter_handler(v, d);
}

static void
deliver_protected(struct soft_cpu *v, struct delivery *d)
{
        if (d->type == DESC_TASK_GATE) {
                soft_task_switch(v, d->sel, SOFT_TASK_EVENT, d->return_rip, d->ext, d->event);
                return;
        }
        read_code(v, d);
        if (d->cpl < x86_cpl(&v->st))
                deliver_outer(v, d);
        else
                deliver_inner(v, d);
}

void
exc_deliver_at(struct soft_cpu *v, const struct soft_event *event, uint64_t return_rip)
{
        struct delivery d = {
                .event = event,
                .return_rip = return_rip,
                .flags = v->st.rflags,
                .ext = is_software(event) ? 0 : 1,
        };

        /* What MOV SS held back does not outlive an exception of the instruction after it. */
        if (event->kind == SOFT_EV_EXCEPTION || event->kind == SOFT_EV_PRIV_EXC)
                v->st.pending_dbg = 0;
        if (is_fault(event))
                d.flags |= X86_FL_RF;
        else if (event->kind == SOFT_EV_EXCEPTION || is_software(event))
                d.flags &= ~(uint64_t)X86_FL_RF;
        if (!(v->st.cr0 & X86_CR0_PE)) {
                deliver_real(v, &d);
        } else {
                read_gate(v, &d);
                if (x86_long_mode(&v->st))
                        deliver_long(v, &d);
                else
                        deliver_protected(v, &d);
        }
        v->st.shadow_sti = v->st.shadow_ss = 0;
        if (event->kind == SOFT_EV_NMI)
                v->st.nmi_blocked = 1;
        if (event->vector == X86_VEC_DB &&
            (event->kind == SOFT_EV_EXCEPTION || event->kind == SOFT_EV_PRIV_EXC))
                v->st.dr7 &= ~0x2000ull; /* GD: SDM 3B 17.2.4 */
}

void
soft_deliver(struct soft_cpu *v, const struct soft_event *event)
{
        exc_deliver_at(v, event, v->st.rip);
        soft_mode_update(v);
}

/* ---- exceptions while delivering: SDM 3A tables 6-4 and 6-5 ---- */

static bool
is_contributory(unsigned vector)
{
        return vector == X86_VEC_DE || (vector >= X86_VEC_TS && vector <= X86_VEC_GP);
}

bool
soft_combine(const struct soft_event *first, const struct soft_event *second, struct soft_event *ret)
{
        bool was_fault = first->kind == SOFT_EV_EXCEPTION;

        *ret = *second;
        if (!was_fault || second->kind != SOFT_EV_EXCEPTION)
                return true;
        if (first->vector == X86_VEC_DF)
                return !(is_contributory(second->vector) || second->vector == X86_VEC_PF);
        if ((is_contributory(first->vector) && is_contributory(second->vector)) ||
            (first->vector == X86_VEC_PF &&
                (is_contributory(second->vector) || second->vector == X86_VEC_PF)))
                *ret = (struct soft_event){
                        .kind = SOFT_EV_EXCEPTION,
                        .vector = X86_VEC_DF,
                        .has_error = true,
                };
        return true;
}

/* ---- flags ---- */

uint64_t
exc_flags_mask(const struct soft_cpu *v, unsigned cpl, unsigned size)
{
        uint64_t mask = X86_FL_ARITH | X86_FL_TF | X86_FL_DF | X86_FL_NT;

        if (size > 2)
                mask |= X86_FL_RF | X86_FL_AC | X86_FL_ID;
        if (cpl <= sys_iopl(v))
                mask |= X86_FL_IF;
        if (cpl == 0) {
                mask |= X86_FL_IOPL;
                if (size > 2)
                        mask |= X86_FL_VIF | X86_FL_VIP;
        }
        return mask;
}

/* ---- INT n and its kin ---- */

static void
software(struct soft_cpu *v, enum soft_event_kind kind, unsigned vector)
{
        const struct soft_event event = { .kind = (uint8_t)kind, .vector = (uint8_t)vector };

        exc_deliver_at(v, &event, v->next_rip);
        v->entered_handler = true;
        v->next_rip = v->st.rip;
}

/* Bit of the software interrupt redirection bitmap, below the I/O bitmap: SDM 3A 7.2.2 and 20.3. */
static bool
redirected(struct soft_cpu *v, unsigned vector)
{
        unsigned map;

        if (!(v->st.tr.attr & 8) || v->st.tr.limit < 0x67)
                soft_raise_error(v, X86_VEC_GP, 0);
        map = (unsigned)soft_ld(v, v->st.tr.base + 0x66, 2, SOFT_ACC_SYS);
        if (map < 32 || map - 32 + vector / 8 > v->st.tr.limit)
                soft_raise_error(v, X86_VEC_GP, 0);
        return !(soft_ld(v, v->st.tr.base + map - 32 + vector / 8, 1, SOFT_ACC_SYS) >> (vector & 7) & 1);
}

/* INT n that the 8086 program handles itself: methods 5 and 6 of SDM 3A 20.3.3. */
static void
int_v86_redirected(struct soft_cpu *v, unsigned vector)
{
        const struct soft_event event = { .kind = SOFT_EV_SOFT_INT, .vector = (uint8_t)vector };
        const struct delivery d = { .event = &event, .return_rip = v->next_rip };
        uint64_t flags = v->st.rflags & 0xffff;
        uint32_t target = (uint32_t)soft_ld(v, vector * 4u, 4, SOFT_ACC_DATA);

        if (sys_iopl(v) < 3) {
                flags |= X86_FL_IOPL;
                flags &= ~(uint64_t)X86_FL_IF;
                if (v->st.rflags & X86_FL_VIF)
                        flags |= X86_FL_IF;
        }
        push_real(v, &d, flags);
        v->st.rflags &= ~(uint64_t)(X86_FL_TF | X86_FL_NT | (sys_iopl(v) < 3 ? X86_FL_VIF : X86_FL_IF));
        sys_set_real(v, X86_CS, (uint16_t)(target >> 16), true);
        v->entered_handler = true;
        v->next_rip = target & 0xffff;
}

void
sys_int(struct soft_cpu *v, const struct x86_insn *insn)
{
        unsigned vector = (uint8_t)insn->imm;

        if (sys_v86(v)) {
                if ((v->st.cr4 & X86_CR4_VME) && redirected(v, vector)) {
                        int_v86_redirected(v, vector);
                        return;
                }
                if (sys_iopl(v) < 3)
                        soft_raise_error(v, X86_VEC_GP, 0);
        }
        software(v, SOFT_EV_SOFT_INT, vector);
}

void
sys_int3(struct soft_cpu *v, const struct x86_insn *insn)
{
        software(v, SOFT_EV_SOFT_EXC, X86_VEC_BP);
}

void
sys_into(struct soft_cpu *v, const struct x86_insn *insn)
{
        if (v->st.rflags & X86_FL_OF)
                software(v, SOFT_EV_SOFT_EXC, X86_VEC_OF);
}

void
sys_int1(struct soft_cpu *v, const struct x86_insn *insn)
{
        software(v, SOFT_EV_PRIV_EXC, X86_VEC_DB);
}
