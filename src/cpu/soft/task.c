/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Hardware task switches: SDM 3A chapter 7.  Not in long mode.
 *
 * The new task's descriptor and TSS are checked before anything changes.  Then
 * the old task is saved and the new one loaded; a fault while its segment
 * registers are loaded happens in the new task.
 */
#include "cpu/soft/sys.h"

#define SEL_TI  4u
#define SEL_RPL 3u

/* Offsets in the two kinds of TSS: SDM 3A figures 7-2 and 7-10. */
struct tss_layout {
        unsigned size;      /* of registers */
        unsigned limit_min;
        unsigned cr3;       /* 0: none */
        unsigned eip, eflags, gpr, sreg, ldt;
        unsigned sreg_count;
        unsigned sreg_step;
};

static const struct tss_layout tss32 = { 4, 0x67, 0x1c, 0x20, 0x24, 0x28, 0x48, 0x60, 6, 4 };
static const struct tss_layout tss16 = { 2, 0x2b, 0, 0x0e, 0x10, 0x12, 0x22, 0x2a, 4, 2 };

/* Everything a TSS holds for a task. */
struct task {
        uint64_t gpr[8];
        uint16_t sel[X86_SREG_COUNT];
        uint32_t eip, eflags, cr3;
        uint16_t ldt;
        bool trap;
};

static const struct tss_layout *
layout_of(uint32_t attr)
{
        return attr & 8 ? &tss32 : &tss16;
}

static void
task_load(struct soft_cpu *v, uint64_t base, const struct tss_layout *l, struct task *t)
{
        *t = (struct task){ .trap = false };
        if (l->cr3 != 0)
                t->cr3 = (uint32_t)soft_ld(v, (uint32_t)(base + l->cr3), 4, SOFT_ACC_SYS);
        t->eip = (uint32_t)soft_ld(v, (uint32_t)(base + l->eip), l->size, SOFT_ACC_SYS);
        t->eflags = (uint32_t)soft_ld(v, (uint32_t)(base + l->eflags), l->size, SOFT_ACC_SYS);
        for (unsigned i = 0; i < 8; i++)
                t->gpr[i] = soft_ld(v, (uint32_t)(base + l->gpr + i * l->size), l->size, SOFT_ACC_SYS);
        for (unsigned i = 0; i < l->sreg_count; i++)
                t->sel[i] = (uint16_t)soft_ld(v, (uint32_t)(base + l->sreg + i * l->sreg_step), 2, SOFT_ACC_SYS);
        t->ldt = (uint16_t)soft_ld(v, (uint32_t)(base + l->ldt), 2, SOFT_ACC_SYS);
        if (l == &tss32)
                t->trap = soft_ld(v, (uint32_t)(base + 0x64), 1, SOFT_ACC_SYS) & 1;
}

/* The old task's dynamic fields; CR3 and the LDT are static. */
static void
task_save(struct soft_cpu *v, uint32_t eip, uint32_t eflags)
{
        const struct tss_layout *l = layout_of(v->st.tr.attr);
        uint64_t base = v->st.tr.base;

        soft_st(v, (uint32_t)(base + l->eip), l->size, eip, SOFT_ACC_SYS);
        soft_st(v, (uint32_t)(base + l->eflags), l->size, eflags, SOFT_ACC_SYS);
        for (unsigned i = 0; i < 8; i++)
                soft_st(v, (uint32_t)(base + l->gpr + i * l->size), l->size, v->st.gpr[i], SOFT_ACC_SYS);
        for (unsigned i = 0; i < l->sreg_count; i++)
                soft_st(v, (uint32_t)(base + l->sreg + i * l->sreg_step), 2, v->st.seg[i].sel, SOFT_ACC_SYS);
}

/* The TSS descriptor of the task to enter, checked for the kind of switch. */
static uint64_t
check_target(struct soft_cpu *v, uint16_t sel, enum soft_task_cause cause, unsigned ext)
{
        unsigned vector = cause == SOFT_TASK_IRET ? X86_VEC_TS : X86_VEC_GP;
        uint32_t error = (sel & ~SEL_RPL) | ext;
        unsigned type;
        uint64_t desc;

        if (sel & SEL_TI)
                soft_raise_error(v, vector, error);
        if ((sel & ~SEL_RPL) == 0)
                soft_raise_error(v, vector, error);
        desc = sys_desc_load(v, sel, vector, ext);
        type = desc_type(desc);
        if ((desc & DESC_S) || (type & ~(8u | 2u)) != 1)
                soft_raise_error(v, vector, error);
        if (!(type & 2) != (cause != SOFT_TASK_IRET))
                soft_raise_error(v, vector, error);
        if (!(desc & DESC_P))
                soft_raise_error(v, X86_VEC_NP, error);
        if (desc_limit(desc) < layout_of(type)->limit_min)
                soft_raise_error(v, X86_VEC_TS, error);
        return desc;
}

static void
load_ldt(struct soft_cpu *v, uint16_t sel, unsigned ext)
{
        uint64_t desc;

        v->st.ldtr = (struct x86_seg){ .attr = X86_SEG_UNUSABLE | DESC_LDT, .sel = sel };
        if ((sel & ~SEL_RPL) == 0)
                return;
        if (sel & SEL_TI)
                soft_raise_error(v, X86_VEC_TS, (sel & ~SEL_RPL) | ext);
        desc = sys_desc_load(v, sel, X86_VEC_TS, ext);
        if ((desc & DESC_S) || desc_type(desc) != DESC_LDT || !(desc & DESC_P))
                soft_raise_error(v, X86_VEC_TS, (sel & ~SEL_RPL) | ext);
        v->st.ldtr = desc_seg(sel, desc);
}

static void
load_cs(struct soft_cpu *v, uint16_t sel, unsigned ext)
{
        uint32_t error = (sel & ~SEL_RPL) | ext;
        unsigned rpl = sel & SEL_RPL;
        uint64_t desc;

        if ((sel & ~SEL_RPL) == 0)
                soft_raise_error(v, X86_VEC_TS, error);
        desc = sys_desc_load(v, sel, X86_VEC_TS, ext);
        if (!desc_is_code(desc) || (desc_is_conforming(desc) ? desc_dpl(desc) > rpl : desc_dpl(desc) != rpl))
                soft_raise_error(v, X86_VEC_TS, error);
        if (!(desc & DESC_P))
                soft_raise_error(v, X86_VEC_NP, error);
        sys_set_cs(v, sel, sys_desc_touch(v, sel, desc), rpl);
}

static void
load_ss(struct soft_cpu *v, uint16_t sel, unsigned cpl, unsigned ext)
{
        uint32_t error = (sel & ~SEL_RPL) | ext;
        struct x86_seg seg;
        uint64_t desc;

        if ((sel & ~SEL_RPL) == 0)
                soft_raise_error(v, X86_VEC_TS, error);
        desc = sys_desc_load(v, sel, X86_VEC_TS, ext);
        if ((sel & SEL_RPL) != cpl || desc_dpl(desc) != cpl || !desc_is_writable_data(desc))
                soft_raise_error(v, X86_VEC_TS, error);
        if (!(desc & DESC_P))
                soft_raise_error(v, X86_VEC_SS, error);
        seg = desc_seg(sel, sys_desc_touch(v, sel, desc));
        sys_set_seg(v, X86_SS, &seg);
}

static void
load_data(struct soft_cpu *v, unsigned sreg, uint16_t sel, unsigned cpl, unsigned ext)
{
        uint32_t error = (sel & ~SEL_RPL) | ext;
        struct x86_seg seg;
        uint64_t desc;

        if ((sel & ~SEL_RPL) == 0) {
                sys_set_null(v, sreg, sel, 0);
                return;
        }
        desc = sys_desc_load(v, sel, X86_VEC_TS, ext);
        if (!desc_is_readable(desc) || (!(desc_is_code(desc) && desc_is_conforming(desc)) &&
                                           (desc_dpl(desc) < cpl || desc_dpl(desc) < (sel & SEL_RPL))))
                soft_raise_error(v, X86_VEC_TS, error);
        if (!(desc & DESC_P))
                soft_raise_error(v, X86_VEC_NP, error);
        seg = desc_seg(sel, sys_desc_touch(v, sel, desc));
        sys_set_seg(v, sreg, &seg);
}

/* Segment registers as selectors without descriptors yet, while those are being loaded. */
static void
set_selectors(struct soft_cpu *v, const struct task *t)
{
        for (unsigned i = 0; i < X86_SREG_COUNT; i++)
                sys_set_null(v, i, t->sel[i], 0);
}

static void
load_segments(struct soft_cpu *v, const struct task *t, unsigned ext)
{
        static const uint8_t data[] = { X86_DS, X86_ES, X86_FS, X86_GS };
        unsigned cpl = t->sel[X86_CS] & SEL_RPL;

        if (v->st.rflags & X86_FL_VM) {
                load_ldt(v, t->ldt, ext);
                for (unsigned i = 0; i < X86_SREG_COUNT; i++)
                        sys_set_real(v, i, t->sel[i], true);
                return;
        }
        set_selectors(v, t);
        load_ldt(v, t->ldt, ext);
        sys_set_cpl(v, cpl);
        load_ss(v, t->sel[X86_SS], cpl, ext);
        load_cs(v, t->sel[X86_CS], ext);
        for (unsigned i = 0; i < sizeof(data); i++)
                load_data(v, data[i], t->sel[data[i]], cpl, ext);
}

static void
push_error(struct soft_cpu *v, const struct soft_event *event, const struct tss_layout *l)
{
        struct sys_stack stack;

        sys_stack_current(v, &stack);
        stack.error = 1;
        sys_push(v, &stack, l->size, event->error);
        sys_stack_commit(v, &stack);
}

/* Busy bits, link and NT: SDM 3A table 7-2. */
static void
link_tasks(struct soft_cpu *v, uint16_t sel, uint64_t desc, uint64_t base, enum soft_task_cause cause)
{
        if (cause == SOFT_TASK_JMP || cause == SOFT_TASK_IRET)
                sys_desc_clear(v, v->st.tr.sel, DESC_BUSY);
        if (cause != SOFT_TASK_IRET)
                sys_desc_set(v, sel, desc, DESC_BUSY);
        if (cause == SOFT_TASK_CALL || cause == SOFT_TASK_EVENT)
                soft_st(v, (uint32_t)base, 2, v->st.tr.sel, SOFT_ACC_SYS);
}

static void
enter_task(struct soft_cpu *v, const struct task *t, const struct tss_layout *l, enum soft_task_cause cause)
{
        if (l->cr3 != 0 && (v->st.cr0 & X86_CR0_PG) && t->cr3 != (uint32_t)v->st.cr3) {
                v->st.cr3 = t->cr3;
                soft_tlb_switch(v, false);
        }
        v->st.rflags = (t->eflags & 0x003f7fd5u) | X86_FL_FIXED;
        if (cause == SOFT_TASK_CALL || cause == SOFT_TASK_EVENT)
                v->st.rflags |= X86_FL_NT;
        for (unsigned i = 0; i < 8; i++)
                v->st.gpr[i] = t->gpr[i];
        v->st.rip = t->eip;
        v->st.cr0 |= X86_CR0_TS;
        v->st.dr7 &= ~0x155ull; /* the local enable bits, SDM 3B 17.2.4 */
}

void
soft_task_switch(struct soft_cpu *v, uint16_t sel, enum soft_task_cause cause, uint64_t return_rip, unsigned ext,
    const struct soft_event *event)
{
        uint64_t desc = check_target(v, sel, cause, ext);
        uint32_t attr = (uint32_t)(desc >> 40) & 0xf0ff;
        const struct tss_layout *l = layout_of(attr);
        uint32_t base = desc_base(desc);
        uint32_t flags = (uint32_t)v->st.rflags;
        struct task t;

        task_load(v, base, l, &t);
        soft_probe_write(v, (uint32_t)v->st.tr.base, layout_of(v->st.tr.attr)->limit_min + 1, SOFT_ACC_SYS);
        if (cause == SOFT_TASK_IRET)
                flags &= ~(uint32_t)X86_FL_NT;
        task_save(v, (uint32_t)return_rip, flags);
        link_tasks(v, sel, desc, base, cause);
        v->st.tr = desc_seg(sel, desc);
        v->st.tr.attr |= 2;
        enter_task(v, &t, l, cause);
        load_segments(v, &t, ext);
        if (event != NULL && event->has_error)
                push_error(v, event, l);
        if (v->st.rip > v->st.seg[X86_CS].limit)
                soft_raise_error(v, X86_VEC_GP, ext);
        if (t.trap)
                v->st.pending_dbg |= 0x8000; /* DR6.BT */
}
