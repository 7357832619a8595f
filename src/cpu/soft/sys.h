/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What the C helpers for system instructions share: operands, descriptors,
 * segment registers, stacks.  Private to exc.c, task.c and sys*.c.
 *
 * A helper raises before it changes state.  So each reads and checks
 * everything first, and then commits.
 */
#ifndef CPU_SOFT_SYS_H
#define CPU_SOFT_SYS_H

#include "cpu/soft/soft.h"
#include "x86/cpuid.h"

typedef void soft_sys_fn(struct soft_cpu *v, const struct x86_insn *insn);

/* ---- descriptors: SDM 3A 3.4.5 ---- */
#define DESC_TYPE_SHIFT 40
#define DESC_ACCESSED   (1ull << 40)
#define DESC_BUSY       (1ull << 41)
#define DESC_S          (1ull << 44)
#define DESC_P          (1ull << 47)
#define DESC_L          (1ull << 53)
#define DESC_D          (1ull << 54)
#define DESC_G          (1ull << 55)

/* Types of system descriptors. */
enum {
        DESC_TSS16 = 1,
        DESC_LDT = 2,
        DESC_TSS16_BUSY = 3,
        DESC_CALL16 = 4,
        DESC_TASK_GATE = 5,
        DESC_INT16 = 6,
        DESC_TRAP16 = 7,
        DESC_TSS32 = 9,
        DESC_TSS32_BUSY = 11,
        DESC_CALL32 = 12,
        DESC_INT32 = 14,
        DESC_TRAP32 = 15,
};

static inline unsigned
desc_type(uint64_t d)
{
        return (d >> 40) & 0xf;
}

static inline unsigned
desc_dpl(uint64_t d)
{
        return (d >> 45) & 3;
}

static inline bool
desc_is_code(uint64_t d)
{
        return (d & DESC_S) && (d & (8ull << 40));
}

static inline bool
desc_is_conforming(uint64_t d)
{
        return (d & (4ull << 40)) != 0;
}

static inline bool
desc_is_writable_data(uint64_t d)
{
        return (d & DESC_S) && !(d & (8ull << 40)) && (d & (2ull << 40));
}

static inline bool
desc_is_readable(uint64_t d)
{
        return (d & DESC_S) && (!(d & (8ull << 40)) || (d & (2ull << 40)));
}

static inline uint32_t
desc_base(uint64_t d)
{
        return (uint32_t)(((d >> 16) & 0xffffff) | ((d >> 32) & 0xff000000));
}

static inline uint32_t
desc_limit(uint64_t d)
{
        uint32_t limit = (uint32_t)((d & 0xffff) | ((d >> 32) & 0xf0000));

        return d & DESC_G ? limit << 12 | 0xfff : limit;
}

static inline struct x86_seg
desc_seg(uint16_t sel, uint64_t d)
{
        return (struct x86_seg){
                .base = desc_base(d),
                .limit = desc_limit(d),
                .attr = (uint32_t)(d >> 40) & 0xf0ff,
                .sel = sel,
        };
}

/* Linear address of the descriptor that @sel names; false if it is beyond its table. */
bool sys_desc_address(struct soft_cpu *v, uint16_t sel, unsigned bytes, gva_t *ret_address);
/* Reads a descriptor; raises @vector(@sel with RPL replaced by @ext) if it is beyond its table. */
uint64_t sys_desc_load(struct soft_cpu *v, uint16_t sel, unsigned vector, unsigned ext);
/* The same, but returns false instead. */
bool sys_desc_try(struct soft_cpu *v, uint16_t sel, uint64_t *ret_desc);
/* Bits 32 to 63 of the base in the second half of a 16-byte descriptor. */
uint64_t sys_desc_high(struct soft_cpu *v, uint16_t sel);
/* Sets bits of a descriptor in memory, atomically. */
void sys_desc_set(struct soft_cpu *v, uint16_t sel, uint64_t desc, uint64_t bits);
void sys_desc_clear(struct soft_cpu *v, uint16_t sel, uint64_t bits);
/* Sets the accessed bit if it is clear; the descriptor with it set. */
static inline uint64_t
sys_desc_touch(struct soft_cpu *v, uint16_t sel, uint64_t desc)
{
        if (!(desc & DESC_ACCESSED))
                sys_desc_set(v, sel, desc, DESC_ACCESSED);
        return desc | DESC_ACCESSED;
}

/* ---- segment registers ---- */

/* The one way to change a segment register: keeps the translator's copy of the base. */
static inline void
sys_set_seg(struct soft_cpu *v, unsigned sreg, const struct x86_seg *seg)
{
        v->st.seg[sreg] = *seg;
        v->seg_base[sreg] = seg->base;
}

static inline void
sys_set_base(struct soft_cpu *v, unsigned sreg, uint64_t base)
{
        v->st.seg[sreg].base = base;
        v->seg_base[sreg] = base;
}

/* A null selector in a data segment register, or in SS in 64-bit mode (then @dpl is the CPL). */
void sys_set_null(struct soft_cpu *v, unsigned sreg, uint16_t sel, unsigned dpl);
/* As real mode and (with @v86) virtual-8086 mode load a segment register. */
void sys_set_real(struct soft_cpu *v, unsigned sreg, uint16_t sel, bool v86);
/* CS from a checked descriptor, with @cpl as RPL. */
void sys_set_cs(struct soft_cpu *v, uint16_t sel, uint64_t desc, unsigned cpl);
/* Changes CPL where SS does not say it: conforming code, real to protected. */
void sys_set_cpl(struct soft_cpu *v, unsigned cpl);
/* After a return to less privilege: data segments it may not use become null. */
void sys_drop_segments(struct soft_cpu *v, unsigned cpl);

/* ---- operands ---- */

/* What base registers are checked for: the widest that the model has, whatever CR4.LA57 says. */
static inline bool
sys_canonical_base(const struct soft_cpu *v, uint64_t address)
{
        unsigned shift = 64 - x86_model_linear_bits(v->model);

        return (uint64_t)((int64_t)(address << shift) >> shift) == address;
}

static inline uint64_t
sys_mask(unsigned size)
{
        return size == 8 ? ~0ull : (1ull << (size * 8)) - 1;
}

/* Writes a general register as an instruction of operand size 2, 4 or 8 does. */
static inline void
sys_set_gpr(struct soft_cpu *v, unsigned reg, unsigned size, uint64_t value)
{
        if (size == 8)
                v->st.gpr[reg] = value;
        else if (size == 4)
                v->st.gpr[reg] = (uint32_t)value;
        else if (size == 2)
                v->st.gpr[reg] = (v->st.gpr[reg] & ~0xffffull) | (value & 0xffff);
        else
                v->st.gpr[reg] = (v->st.gpr[reg] & ~0xffull) | (value & 0xff);
}

/* Linear address of the memory operand. */
gva_t sys_operand(struct soft_cpu *v, const struct x86_insn *insn, unsigned size, unsigned access);
/* Reads or writes the r/m operand. */
uint64_t sys_read_rm(struct soft_cpu *v, const struct x86_insn *insn, unsigned size);
void sys_write_rm(struct soft_cpu *v, const struct x86_insn *insn, unsigned size, uint64_t value);

static inline unsigned
sys_iopl(const struct soft_cpu *v)
{
        return (v->st.rflags >> 12) & 3;
}

static inline bool
sys_protected(const struct soft_cpu *v)
{
        return (v->st.cr0 & X86_CR0_PE) && !(v->st.rflags & X86_FL_VM);
}

static inline bool
sys_v86(const struct soft_cpu *v)
{
        return (v->st.rflags & X86_FL_VM) != 0;
}

static inline void
sys_require_cpl0(struct soft_cpu *v)
{
        if (x86_cpl(&v->st) != 0)
                soft_raise_error(v, X86_VEC_GP, 0);
}

/* #UD outside protected mode. */
static inline void
sys_require_protected(struct soft_cpu *v)
{
        if (!sys_protected(v))
                soft_raise(v, X86_VEC_UD);
}

static inline enum soft_access
sys_access_at(unsigned cpl)
{
        return cpl == 3 ? SOFT_ACC_USER : SOFT_ACC_SYS;
}

/* ---- stacks that are being built or taken down before they are current ---- */

struct sys_stack {
        struct x86_seg ss;
        uint64_t sp;
        uint64_t mask;   /* of the stack pointer: 64, 32 or 16 bits */
        bool long_mode;  /* no segment checks */
        uint32_t error;  /* of the #SS for a stack without room */
        enum soft_access how;
};

void sys_stack_current(struct soft_cpu *v, struct sys_stack *ret_stack);
void sys_push(struct soft_cpu *v, struct sys_stack *stack, unsigned size, uint64_t value);
uint64_t sys_pop(struct soft_cpu *v, struct sys_stack *stack, unsigned size);
/* Makes the pushes and pops count: the stack pointer of the current stack. */
void sys_stack_commit(struct soft_cpu *v, const struct sys_stack *stack);
/* SS:SP for privilege @dpl from the TSS, checked; @ext goes into error codes. */
void sys_stack_from_tss(struct soft_cpu *v, unsigned dpl, unsigned ext, struct sys_stack *ret_stack,
    uint64_t *ret_ss_desc);
/* RSP0-2 (@index 0-2) or IST1-7 (@index 4-10) of a 64-bit TSS; index is (offset - 4) / 8. */
uint64_t sys_tss_rsp(struct soft_cpu *v, unsigned index, unsigned ext);

/* ---- task.c ---- */
enum soft_task_cause {
        SOFT_TASK_JMP,
        SOFT_TASK_CALL,
        SOFT_TASK_IRET,
        SOFT_TASK_EVENT,
};

/*
 * Switches to the task whose TSS @sel names, leaving at @return_rip; @ext goes
 * into error codes.  st.rip becomes the new task's.  An error code of the event is pushed if given.
 */
void soft_task_switch(struct soft_cpu *v, uint16_t sel, enum soft_task_cause cause, uint64_t return_rip,
    unsigned ext, const struct soft_event *event);

/* ---- exc.c ---- */
/* Delivers @event as if it had happened before @return_rip; st.rip becomes the handler's. */
void exc_deliver_at(struct soft_cpu *v, const struct soft_event *event, uint64_t return_rip);
/* Flags that a return or POPF at @cpl with @size bytes may change. */
uint64_t exc_flags_mask(const struct soft_cpu *v, unsigned cpl, unsigned size);

/* ---- the groups of instructions ---- */
soft_sys_fn sys_call_far, sys_jmp_far, sys_call_far_mem, sys_jmp_far_mem, sys_ret_far, sys_iret, sys_int, sys_int3,
    sys_into, sys_int1, sys_syscall, sys_sysret, sys_sysenter, sys_sysexit, sys_hlt, sys_pause, sys_mwait,
    sys_monitor, sys_ud, sys_cli, sys_sti;
soft_sys_fn sys_mov_sreg_r, sys_mov_r_sreg, sys_push_sreg, sys_pop_sreg, sys_lfs, sys_lar, sys_lsl, sys_verr,
    sys_verw, sys_arpl, sys_sldt, sys_str, sys_lldt, sys_ltr, sys_sgdt, sys_sidt, sys_lgdt, sys_lidt, sys_smsw,
    sys_lmsw, sys_swapgs, sys_rdfsbase, sys_rdgsbase, sys_wrfsbase, sys_wrgsbase;
soft_sys_fn sys_mov_cr_r, sys_mov_r_cr, sys_mov_dr_r, sys_mov_r_dr, sys_clts, sys_invlpg, sys_invpcid, sys_invd,
    sys_rdmsr, sys_wrmsr, sys_cpuid, sys_rdtsc, sys_rdtscp, sys_rdpmc, sys_rdpid, sys_xgetbv, sys_xsetbv,
    sys_clac, sys_stac, sys_rdpkru, sys_wrpkru, sys_rdrand, sys_rdseed;
soft_sys_fn sys_fxsave, sys_fxrstor, sys_xsave, sys_xsavec, sys_xsaves, sys_xrstor, sys_xrstors, sys_fenv,
    sys_maskmov, sys_vmaskmov, sys_gather;
soft_sys_fn sys_in, sys_out, sys_ins, sys_outs;
soft_sys_fn sys_pusha, sys_popa, sys_enter, sys_bound, sys_cmpxchg8b, sys_clflush, sys_bcd, sys_movdir64b, sys_nop;

#endif
