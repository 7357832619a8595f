/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * System instructions: the table, operands, and the instructions that only
 * touch memory or the stack in ways a helper does better.
 */
#include "cpu/soft/sys.h"

uint64_t
soft_ea(struct soft_cpu *v, const struct x86_insn *insn, uint64_t rip_next)
{
        uint64_t ea = (uint64_t)insn->disp;

        if (insn->mem_base == X86_BASE_RIP)
                ea += rip_next;
        else if (insn->mem_base >= 0)
                ea += v->st.gpr[insn->mem_base];
        if (insn->mem_index >= 0)
                ea += v->st.gpr[insn->mem_index] * insn->mem_scale;
        return ea & sys_mask(insn->asize);
}

static _Noreturn void
raise_segment(struct soft_cpu *v, unsigned seg)
{
        soft_raise_error(v, seg == X86_SS ? X86_VEC_SS : X86_VEC_GP, 0);
}

static bool
limit_allows(const struct x86_seg *seg, uint32_t first, uint32_t last)
{
        if (last < first)
                return false;
        if (!(seg->attr & X86_SEG_CODE) && (seg->attr & X86_SEG_DOWN))
                return first > seg->limit && last <= (seg->attr & X86_SEG_DB ? 0xffffffffu : 0xffffu);
        return last <= seg->limit;
}

gva_t
soft_linear(struct soft_cpu *v, unsigned seg, uint64_t offset, unsigned size, unsigned access)
{
        const struct x86_seg *s = &v->st.seg[seg];

        if (x86_code64(&v->st)) {
                uint64_t linear = offset + (seg >= X86_FS ? s->base : 0);

                if (!soft_canonical(v, linear) || !soft_canonical(v, linear + size - 1))
                        raise_segment(v, seg);
                return linear;
        }
        if (s->attr & X86_SEG_UNUSABLE)
                raise_segment(v, seg);
        if ((access & X86_ACC_W) && sys_protected(v) &&
            ((s->attr & X86_SEG_CODE) || !(s->attr & X86_SEG_WRITE)))
                raise_segment(v, seg);
        if ((access & X86_ACC_R) && sys_protected(v) && (s->attr & X86_SEG_CODE) &&
            !(s->attr & X86_SEG_WRITE))
                raise_segment(v, seg);
        if (!limit_allows(s, (uint32_t)offset, (uint32_t)offset + (size - 1)))
                raise_segment(v, seg);
        return (uint32_t)(s->base + offset);
}

gva_t
sys_operand(struct soft_cpu *v, const struct x86_insn *insn, unsigned size, unsigned access)
{
        return soft_linear(v, insn->mem_seg, soft_ea(v, insn, v->next_rip), size, access);
}

uint64_t
sys_read_rm(struct soft_cpu *v, const struct x86_insn *insn, unsigned size)
{
        if (insn->has_mem)
                return soft_ld(v, sys_operand(v, insn, size, X86_ACC_R), size, SOFT_ACC_DATA);
        return v->st.gpr[insn->rm] & sys_mask(size);
}

void
sys_write_rm(struct soft_cpu *v, const struct x86_insn *insn, unsigned size, uint64_t value)
{
        if (insn->has_mem)
                soft_st(v, sys_operand(v, insn, size, X86_ACC_W), size, value, SOFT_ACC_DATA);
        else
                sys_set_gpr(v, insn->rm, size, value);
}

void
sys_ud(struct soft_cpu *v, const struct x86_insn *insn)
{
        soft_raise(v, X86_VEC_UD);
}

void
sys_nop(struct soft_cpu *v, const struct x86_insn *insn)
{
}

/* ---- stacks ---- */

static uint64_t
stack_mask(const struct soft_cpu *v, const struct x86_seg *ss)
{
        if (x86_code64(&v->st))
                return ~0ull;
        return ss->attr & X86_SEG_DB ? 0xffffffff : 0xffff;
}

void
sys_stack_current(struct soft_cpu *v, struct sys_stack *ret_stack)
{
        *ret_stack = (struct sys_stack){
                .ss = v->st.seg[X86_SS],
                .sp = v->st.gpr[X86_RSP],
                .mask = stack_mask(v, &v->st.seg[X86_SS]),
                .long_mode = x86_code64(&v->st),
                .how = SOFT_ACC_DATA,
        };
}

static gva_t
stack_linear(struct soft_cpu *v, const struct sys_stack *stack, uint64_t sp, unsigned size)
{
        if (stack->long_mode) {
                if (!soft_canonical(v, sp) || !soft_canonical(v, sp + size - 1))
                        soft_raise_error(v, X86_VEC_SS, stack->error);
                return sp;
        }
        if ((stack->ss.attr & X86_SEG_UNUSABLE) || !limit_allows(&stack->ss, (uint32_t)sp, (uint32_t)sp + size - 1))
                soft_raise_error(v, X86_VEC_SS, stack->error);
        return (uint32_t)(stack->ss.base + sp);
}

void
sys_push(struct soft_cpu *v, struct sys_stack *stack, unsigned size, uint64_t value)
{
        uint64_t sp = (stack->sp - size) & stack->mask;

        soft_st(v, stack_linear(v, stack, sp, size), size, value & sys_mask(size), stack->how);
        stack->sp = (stack->sp & ~stack->mask) | sp;
}

uint64_t
sys_pop(struct soft_cpu *v, struct sys_stack *stack, unsigned size)
{
        uint64_t sp = stack->sp & stack->mask;
        uint64_t value = soft_ld(v, stack_linear(v, stack, sp, size), size, stack->how);

        stack->sp = (stack->sp & ~stack->mask) | ((sp + size) & stack->mask);
        return value;
}

void
sys_stack_commit(struct soft_cpu *v, const struct sys_stack *stack)
{
        v->st.gpr[X86_RSP] = stack->sp;
}

void
sys_pusha(struct soft_cpu *v, const struct x86_insn *insn)
{
        struct sys_stack stack;

        sys_stack_current(v, &stack);
        for (unsigned i = 0; i < 8; i++)
                sys_push(v, &stack, insn->opsize, v->st.gpr[i]);
        sys_stack_commit(v, &stack);
}

void
sys_popa(struct soft_cpu *v, const struct x86_insn *insn)
{
        struct sys_stack stack;
        uint64_t value[8];

        sys_stack_current(v, &stack);
        for (unsigned i = 8; i-- > 0;)
                value[i] = sys_pop(v, &stack, insn->opsize);
        sys_stack_commit(v, &stack);
        for (unsigned i = 0; i < 8; i++)
                if (i != X86_RSP)
                        sys_set_gpr(v, i, insn->opsize, value[i]);
}

/* SDM 2A, ENTER: the frame pointers of the enclosing procedures are copied. */
void
sys_enter(struct soft_cpu *v, const struct x86_insn *insn)
{
        unsigned size = insn->opsize;
        unsigned level = insn->imm2 & 31;
        struct sys_stack stack, outer;
        uint64_t frame, sp;

        sys_stack_current(v, &stack);
        outer = stack;
        outer.sp = v->st.gpr[X86_RBP];
        sys_push(v, &stack, size, v->st.gpr[X86_RBP]);
        frame = stack.sp;
        for (unsigned i = 1; i < level; i++) {
                outer.sp = (outer.sp - size) & stack.mask;
                sys_push(v, &stack, size,
                    soft_ld(v, stack_linear(v, &outer, outer.sp, size), size, SOFT_ACC_DATA));
        }
        if (level > 0)
                sys_push(v, &stack, size, frame);
        sp = (stack.sp - (uint64_t)insn->imm) & stack.mask;
        soft_probe_write(v, stack_linear(v, &stack, sp, size), size, SOFT_ACC_DATA);
        stack.sp = (stack.sp & ~stack.mask) | sp;
        sys_stack_commit(v, &stack);
        sys_set_gpr(v, X86_RBP, size, frame);
}

void
sys_bound(struct soft_cpu *v, const struct x86_insn *insn)
{
        unsigned size = insn->opsize;
        gva_t address = sys_operand(v, insn, size * 2, X86_ACC_R);
        unsigned shift = 64 - size * 8;
        int64_t lower = (int64_t)(soft_ld(v, address, size, SOFT_ACC_DATA) << shift);
        int64_t upper = (int64_t)(soft_ld(v, address + size, size, SOFT_ACC_DATA) << shift);
        int64_t index = (int64_t)(v->st.gpr[insn->reg] << shift);

        if (index < lower || index > upper)
                soft_raise(v, X86_VEC_BR);
}

/* ---- compare and exchange ---- */

static bool
host_cmpxchg8b(void *p, uint64_t *expected, uint64_t desired)
{
        return __atomic_compare_exchange_n((uint64_t *)p, expected, desired, false, __ATOMIC_SEQ_CST,
            __ATOMIC_SEQ_CST);
}

static bool
host_cmpxchg16b(void *p, uint64_t expected[2], uint64_t low, uint64_t high)
{
        bool equal;

        __asm__ volatile("lock cmpxchg16b %1"
                         : "=@ccz"(equal), "+m"(*(struct { uint64_t q[2]; } *)p), "+a"(expected[0]),
                         "+d"(expected[1])
                         : "b"(low), "c"(high)
                         : "memory");
        return equal;
}

static void
set_zf(struct soft_cpu *v, bool zf)
{
        v->st.rflags = (v->st.rflags & ~(uint64_t)X86_FL_ZF) | (zf ? X86_FL_ZF : 0);
}

static void
cmpxchg16b(struct soft_cpu *v, const struct x86_insn *insn)
{
        gva_t address = sys_operand(v, insn, 16, X86_ACC_RW);
        uint64_t value[2] = { v->st.gpr[X86_RAX], v->st.gpr[X86_RDX] };
        uint64_t desired[2] = { v->st.gpr[X86_RBX], v->st.gpr[X86_RCX] };
        uint64_t old[2] = { value[0], value[1] };
        bool equal;
        void *p;

        if (address % 16 != 0)
                soft_raise_error(v, X86_VEC_GP, 0);
        p = soft_host_rw(v, address, 16, SOFT_ACC_DATA);
        if (p != NULL) {
                equal = host_cmpxchg16b(p, old, desired[0], desired[1]);
        } else {
                soft_probe_write(v, address, 16, SOFT_ACC_DATA);
                old[0] = soft_ld(v, address, 8, SOFT_ACC_DATA);
                old[1] = soft_ld(v, address + 8, 8, SOFT_ACC_DATA);
                equal = old[0] == value[0] && old[1] == value[1];
                soft_st_bytes(v, address, equal ? desired : old, 16, SOFT_ACC_DATA);
        }
        if (!equal) {
                v->st.gpr[X86_RAX] = old[0];
                v->st.gpr[X86_RDX] = old[1];
        }
        set_zf(v, equal);
}

static uint64_t
pair(const struct soft_cpu *v, unsigned high, unsigned low)
{
        return v->st.gpr[high] << 32 | (uint32_t)v->st.gpr[low];
}

void
sys_cmpxchg8b(struct soft_cpu *v, const struct x86_insn *insn)
{
        uint64_t value = pair(v, X86_RDX, X86_RAX);
        uint64_t desired = pair(v, X86_RCX, X86_RBX);
        uint64_t old = value;
        gva_t address;
        bool equal;
        void *p;

        if (insn->rex_w) {
                cmpxchg16b(v, insn);
                return;
        }
        address = sys_operand(v, insn, 8, X86_ACC_RW);
        p = soft_host_rw(v, address, 8, SOFT_ACC_DATA);
        if (p != NULL) {
                equal = host_cmpxchg8b(p, &old, desired);
        } else {
                soft_probe_write(v, address, 8, SOFT_ACC_DATA);
                old = soft_ld(v, address, 8, SOFT_ACC_DATA);
                equal = old == value;
                soft_st(v, address, 8, equal ? desired : old, SOFT_ACC_DATA);
        }
        if (!equal) {
                v->st.gpr[X86_RAX] = (uint32_t)old;
                v->st.gpr[X86_RDX] = old >> 32;
        }
        set_zf(v, equal);
}

void
sys_clflush(struct soft_cpu *v, const struct x86_insn *insn)
{
        (void)soft_ld(v, sys_operand(v, insn, 1, X86_ACC_R), 1, SOFT_ACC_DATA);
}

void
sys_movdir64b(struct soft_cpu *v, const struct x86_insn *insn)
{
        uint8_t line[64];
        gva_t source = sys_operand(v, insn, 64, X86_ACC_R);
        gva_t target;

        soft_ld_bytes(v, source, line, sizeof(line), SOFT_ACC_DATA); /* processors read before they look at the target */
        target = soft_linear(v, X86_ES, v->st.gpr[insn->reg] & sys_mask(insn->asize), 64, X86_ACC_W);
        if (target % 64 != 0)
                soft_raise_error(v, X86_VEC_GP, 0);
        soft_st_bytes(v, target, line, sizeof(line), SOFT_ACC_DATA);
}

/* ---- decimal arithmetic: SDM 2A ---- */

static void
set_szp(struct soft_cpu *v, uint8_t result)
{
        uint64_t fl = v->st.rflags & ~(uint64_t)(X86_FL_SF | X86_FL_ZF | X86_FL_PF);

        if (result & 0x80)
                fl |= X86_FL_SF;
        if (result == 0)
                fl |= X86_FL_ZF;
        if (!__builtin_parity(result))
                fl |= X86_FL_PF;
        v->st.rflags = fl;
}

static void
set_flag(struct soft_cpu *v, uint64_t flag, bool on)
{
        v->st.rflags = on ? v->st.rflags | flag : v->st.rflags & ~flag;
}

/* DAA and DAS; OF is undefined and hardware clears it. */
static void
decimal_adjust(struct soft_cpu *v, bool subtract)
{
        uint8_t al = (uint8_t)v->st.gpr[X86_RAX], old = al;
        bool cf = v->st.rflags & X86_FL_CF, carry = false;
        bool af = (al & 0xf) > 9 || (v->st.rflags & X86_FL_AF);

        if (af) {
                carry = cf || (subtract ? al < 6 : al > 0xf9);
                al = (uint8_t)(subtract ? al - 6 : al + 6);
        }
        if (old > 0x99 || cf) {
                al = (uint8_t)(subtract ? al - 0x60 : al + 0x60);
                carry = true;
        }
        sys_set_gpr(v, X86_RAX, 1, al);
        set_szp(v, al);
        set_flag(v, X86_FL_AF, af);
        set_flag(v, X86_FL_CF, carry);
        set_flag(v, X86_FL_OF, false);
}

/* AAA and AAS. */
static void
ascii_adjust(struct soft_cpu *v, bool subtract)
{
        uint16_t ax = (uint16_t)v->st.gpr[X86_RAX];
        bool adjust = (ax & 0xf) > 9 || (v->st.rflags & X86_FL_AF);

        if (adjust)
                ax = (uint16_t)(subtract ? ax - 0x106 : ax + 0x106);
        ax &= 0xff0f;
        sys_set_gpr(v, X86_RAX, 2, ax);
        set_szp(v, (uint8_t)ax);
        set_flag(v, X86_FL_AF, adjust);
        set_flag(v, X86_FL_CF, adjust);
        set_flag(v, X86_FL_OF, false);
}

static void
aam(struct soft_cpu *v, uint8_t base)
{
        uint8_t al = (uint8_t)v->st.gpr[X86_RAX];

        if (base == 0)
                soft_raise(v, X86_VEC_DE);
        sys_set_gpr(v, X86_RAX, 2, (uint64_t)(al / base) << 8 | al % base);
        set_szp(v, al % base);
        set_flag(v, X86_FL_AF | X86_FL_CF | X86_FL_OF, false);
}

static void
aad(struct soft_cpu *v, uint8_t base)
{
        uint16_t ax = (uint16_t)v->st.gpr[X86_RAX];
        uint8_t old = (uint8_t)ax, product = (uint8_t)((ax >> 8) * base);
        uint8_t al = (uint8_t)(old + product);

        sys_set_gpr(v, X86_RAX, 2, al);
        set_szp(v, al);
        /* undefined (SDM 2A, AAD); processors set them as the addition does */
        set_flag(v, X86_FL_CF, al < old);
        set_flag(v, X86_FL_AF, (al ^ old ^ product) & 0x10);
        set_flag(v, X86_FL_OF, (al ^ old) & (al ^ product) & 0x80);
}

void
sys_bcd(struct soft_cpu *v, const struct x86_insn *insn)
{
        switch (insn->opcode) {
        case 0x27:
        case 0x2f:
                decimal_adjust(v, insn->opcode == 0x2f);
                break;
        case 0x37:
        case 0x3f:
                ascii_adjust(v, insn->opcode == 0x3f);
                break;
        case 0xd4:
                aam(v, (uint8_t)insn->imm);
                break;
        case 0xd5:
                aad(v, (uint8_t)insn->imm);
                break;
        default: /* 0xd6, SALC */
                sys_set_gpr(v, X86_RAX, 1, v->st.rflags & X86_FL_CF ? 0xff : 0);
        }
}

/* ---- the table ---- */

struct sys_entry {
        soft_sys_fn *fn;
        bool mode; /* may change what soft_mode_update() looks at */
};

static const struct sys_entry sys_table[X86_SYS_COUNT] = {
        [X86_SYS_NONE] = { sys_ud, false },
        [X86_SYS_CALL_FAR] = { sys_call_far, true },
        [X86_SYS_JMP_FAR] = { sys_jmp_far, true },
        [X86_SYS_CALL_FAR_MEM] = { sys_call_far_mem, true },
        [X86_SYS_JMP_FAR_MEM] = { sys_jmp_far_mem, true },
        [X86_SYS_RET_FAR] = { sys_ret_far, true },
        [X86_SYS_IRET] = { sys_iret, true },
        [X86_SYS_INT] = { sys_int, true },
        [X86_SYS_INT3] = { sys_int3, true },
        [X86_SYS_INTO] = { sys_into, true },
        [X86_SYS_INT1] = { sys_int1, true },
        [X86_SYS_SYSCALL] = { sys_syscall, true },
        [X86_SYS_SYSRET] = { sys_sysret, true },
        [X86_SYS_SYSENTER] = { sys_sysenter, true },
        [X86_SYS_SYSEXIT] = { sys_sysexit, true },
        [X86_SYS_HLT] = { sys_hlt, false },
        [X86_SYS_PAUSE] = { sys_pause, false },
        [X86_SYS_MWAIT] = { sys_mwait, false },
        [X86_SYS_MONITOR] = { sys_monitor, false },
        [X86_SYS_RSM] = { sys_ud, false },
        [X86_SYS_VMCALL] = { sys_ud, false },
        [X86_SYS_CLI] = { sys_cli, false },
        [X86_SYS_STI] = { sys_sti, false },
        [X86_SYS_MOV_SREG_R] = { sys_mov_sreg_r, true },
        [X86_SYS_MOV_R_SREG] = { sys_mov_r_sreg, false },
        [X86_SYS_PUSH_SREG] = { sys_push_sreg, false },
        [X86_SYS_POP_SREG] = { sys_pop_sreg, true },
        [X86_SYS_LFS] = { sys_lfs, true },
        [X86_SYS_LAR] = { sys_lar, false },
        [X86_SYS_LSL] = { sys_lsl, false },
        [X86_SYS_VERR] = { sys_verr, false },
        [X86_SYS_VERW] = { sys_verw, false },
        [X86_SYS_ARPL] = { sys_arpl, false },
        [X86_SYS_SLDT] = { sys_sldt, false },
        [X86_SYS_STR] = { sys_str, false },
        [X86_SYS_LLDT] = { sys_lldt, false },
        [X86_SYS_LTR] = { sys_ltr, false },
        [X86_SYS_SGDT] = { sys_sgdt, false },
        [X86_SYS_SIDT] = { sys_sidt, false },
        [X86_SYS_LGDT] = { sys_lgdt, false },
        [X86_SYS_LIDT] = { sys_lidt, false },
        [X86_SYS_SMSW] = { sys_smsw, false },
        [X86_SYS_LMSW] = { sys_lmsw, true },
        [X86_SYS_SWAPGS] = { sys_swapgs, false },
        [X86_SYS_RDFSBASE] = { sys_rdfsbase, false },
        [X86_SYS_RDGSBASE] = { sys_rdgsbase, false },
        [X86_SYS_WRFSBASE] = { sys_wrfsbase, false },
        [X86_SYS_WRGSBASE] = { sys_wrgsbase, false },
        [X86_SYS_MOV_CR_R] = { sys_mov_cr_r, true },
        [X86_SYS_MOV_R_CR] = { sys_mov_r_cr, false },
        [X86_SYS_MOV_DR_R] = { sys_mov_dr_r, true },
        [X86_SYS_MOV_R_DR] = { sys_mov_r_dr, false },
        [X86_SYS_CLTS] = { sys_clts, true },
        [X86_SYS_INVLPG] = { sys_invlpg, false },
        [X86_SYS_INVPCID] = { sys_invpcid, false },
        [X86_SYS_INVD] = { sys_invd, false },
        [X86_SYS_WBINVD] = { sys_invd, false },
        [X86_SYS_RDMSR] = { sys_rdmsr, false },
        [X86_SYS_WRMSR] = { sys_wrmsr, false },
        [X86_SYS_CPUID] = { sys_cpuid, false },
        [X86_SYS_RDTSC] = { sys_rdtsc, false },
        [X86_SYS_RDTSCP] = { sys_rdtscp, false },
        [X86_SYS_RDPMC] = { sys_rdpmc, false },
        [X86_SYS_RDPID] = { sys_rdpid, false },
        [X86_SYS_XGETBV] = { sys_xgetbv, false },
        [X86_SYS_XSETBV] = { sys_xsetbv, true },
        [X86_SYS_CLAC] = { sys_clac, false },
        [X86_SYS_STAC] = { sys_stac, false },
        [X86_SYS_RDPKRU] = { sys_rdpkru, false },
        [X86_SYS_WRPKRU] = { sys_wrpkru, false },
        [X86_SYS_FXSAVE] = { sys_fxsave, false },
        [X86_SYS_FXRSTOR] = { sys_fxrstor, false },
        [X86_SYS_XSAVE] = { sys_xsave, false },
        [X86_SYS_XSAVEOPT] = { sys_xsave, false },
        [X86_SYS_XSAVEC] = { sys_xsavec, false },
        [X86_SYS_XSAVES] = { sys_xsaves, false },
        [X86_SYS_XRSTOR] = { sys_xrstor, false },
        [X86_SYS_XRSTORS] = { sys_xrstors, false },
        [X86_SYS_RDRAND] = { sys_rdrand, false },
        [X86_SYS_RDSEED] = { sys_rdseed, false },
        [X86_SYS_IN] = { sys_in, false },
        [X86_SYS_OUT] = { sys_out, false },
        [X86_SYS_INS] = { sys_ins, false },
        [X86_SYS_OUTS] = { sys_outs, false },
        [X86_SYS_PUSHA] = { sys_pusha, false },
        [X86_SYS_POPA] = { sys_popa, false },
        [X86_SYS_ENTER] = { sys_enter, false },
        [X86_SYS_BOUND] = { sys_bound, false },
        [X86_SYS_CMPXCHG8B] = { sys_cmpxchg8b, false },
        [X86_SYS_MASKMOV] = { sys_maskmov, false },
        [X86_SYS_VMASKMOV] = { sys_vmaskmov, false },
        [X86_SYS_GATHER] = { sys_gather, false },
        [X86_SYS_CLFLUSH] = { sys_clflush, false },
        [X86_SYS_FENV] = { sys_fenv, false },
        [X86_SYS_BCD] = { sys_bcd, false },
        [X86_SYS_MOVDIR64B] = { sys_movdir64b, false },
        [X86_SYS_CLDEMOTE] = { sys_nop, false },
};

void
soft_sys(struct soft_cpu *v, const struct x86_insn *insn)
{
        const struct sys_entry *entry = &sys_table[insn->desc->sys];

        entry->fn(v, insn);
        if (entry->mode && !(insn->desc->flags & X86_OD_END))
                soft_mode_update(v);
}
