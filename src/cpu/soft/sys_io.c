/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Port input and output: IN, OUT, INS, OUTS, with IOPL and the I/O permission
 * bitmap of the TSS (SDM 1 19.5).
 */
#include "cpu/soft/sys.h"

/* The bitmap is read as a word, so that an access across a byte boundary is covered. */
static void
check_bitmap(struct soft_cpu *v, uint16_t port, unsigned size)
{
        uint64_t tss = v->st.tr.base;
        uint32_t limit = v->st.tr.limit, at;
        unsigned bits;

        if (!(v->st.tr.attr & 8) || !(v->st.tr.attr & X86_SEG_P) || limit < 0x67)
                soft_raise_error(v, X86_VEC_GP, 0);
        at = (uint32_t)soft_ld(v, tss + 0x66, 2, SOFT_ACC_SYS) + port / 8u;
        if (at + 1 > limit)
                soft_raise_error(v, X86_VEC_GP, 0);
        bits = (unsigned)soft_ld(v, tss + at, 2, SOFT_ACC_SYS) >> (port & 7);
        if (bits & ((1u << size) - 1))
                soft_raise_error(v, X86_VEC_GP, 0);
}

static void
check_port(struct soft_cpu *v, uint16_t port, unsigned size)
{
        if (!(v->st.cr0 & X86_CR0_PE))
                return;
        if (sys_v86(v) || x86_cpl(&v->st) > sys_iopl(v))
                check_bitmap(v, port, size);
}

static uint32_t
port_in(struct soft_cpu *v, uint16_t port, unsigned size)
{
        v->count[SOFT_COUNT_IO]++;
        soft_fpu_put(v);
        return v->env->ops->port_in(v->env->ctx, v->id, port, size);
}

static void
port_out(struct soft_cpu *v, uint16_t port, unsigned size, uint32_t value)
{
        v->count[SOFT_COUNT_IO]++;
        soft_fpu_put(v);
        v->env->ops->port_out(v->env->ctx, v->id, port, size, value);
}

/* Ports are at most 4 bytes wide, REX.W or not. */
static unsigned
io_size(const struct x86_insn *insn)
{
        if (!(insn->opcode & 1))
                return 1;
        return insn->opsize == 2 ? 2 : 4;
}

/* E4-E7 name the port in an immediate, EC-EF in DX. */
static uint16_t
io_port(const struct soft_cpu *v, const struct x86_insn *insn)
{
        return insn->opcode & 8 ? (uint16_t)v->st.gpr[X86_RDX] : (uint8_t)insn->imm;
}

void
sys_in(struct soft_cpu *v, const struct x86_insn *insn)
{
        unsigned size = io_size(insn);
        uint16_t port = io_port(v, insn);

        check_port(v, port, size);
        sys_set_gpr(v, X86_RAX, size, port_in(v, port, size));
}

void
sys_out(struct soft_cpu *v, const struct x86_insn *insn)
{
        unsigned size = io_size(insn);
        uint16_t port = io_port(v, insn);

        check_port(v, port, size);
        port_out(v, port, size, (uint32_t)(v->st.gpr[X86_RAX] & sys_mask(size)));
}

/* ---- strings ---- */

static void
ins_one(struct soft_cpu *v, const struct x86_insn *insn, uint16_t port, unsigned size)
{
        uint64_t offset = v->st.gpr[X86_RDI] & sys_mask(insn->asize);
        gva_t address = soft_linear(v, X86_ES, offset, size, X86_ACC_W);

        soft_probe_write(v, address, size, SOFT_ACC_DATA);
        soft_st(v, address, size, port_in(v, port, size), SOFT_ACC_DATA);
        sys_set_gpr(v, X86_RDI, insn->asize,
            v->st.gpr[X86_RDI] + (v->st.rflags & X86_FL_DF ? -(uint64_t)size : size));
}

static void
outs_one(struct soft_cpu *v, const struct x86_insn *insn, uint16_t port, unsigned size)
{
        uint64_t offset = v->st.gpr[X86_RSI] & sys_mask(insn->asize);
        gva_t address = soft_linear(v, insn->mem_seg, offset, size, X86_ACC_R);

        port_out(v, port, size, (uint32_t)soft_ld(v, address, size, SOFT_ACC_DATA));
        sys_set_gpr(v, X86_RSI, insn->asize,
            v->st.gpr[X86_RSI] + (v->st.rflags & X86_FL_DF ? -(uint64_t)size : size));
}

/* With REP, each iteration is complete before the next; an event may come between them. */
static void
io_string(struct soft_cpu *v, const struct x86_insn *insn,
    void (*one)(struct soft_cpu *, const struct x86_insn *, uint16_t, unsigned))
{
        unsigned size = io_size(insn);
        uint16_t port = (uint16_t)v->st.gpr[X86_RDX];
        uint64_t mask = sys_mask(insn->asize);

        if (insn->rep == 0) {
                check_port(v, port, size);
                one(v, insn, port, size);
                return;
        }
        check_port(v, port, size); /* even if nothing is to be done */
        while ((v->st.gpr[X86_RCX] & mask) != 0) {
                check_port(v, port, size);
                one(v, insn, port, size);
                sys_set_gpr(v, X86_RCX, insn->asize, v->st.gpr[X86_RCX] - 1);
                if ((v->st.gpr[X86_RCX] & mask) != 0 &&
                    (__atomic_load_n(&v->kick, __ATOMIC_RELAXED) != 0 || (v->st.rflags & X86_FL_TF))) {
                        v->next_rip = v->st.rip;
                        return;
                }
        }
}

void
sys_ins(struct soft_cpu *v, const struct x86_insn *insn)
{
        io_string(v, insn, ins_one);
}

void
sys_outs(struct soft_cpu *v, const struct x86_insn *insn)
{
        io_string(v, insn, outs_one);
}
