/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Instructions that do not end a block.
 *
 * A plain instruction is re-emitted from its decoded form: the same opcode and
 * immediate, host registers for guest ones, [r11] for its memory operand.
 */
#include "cpu/soft/translate.h"

/* The host registers that stand for an instruction's operand fields. */
struct opmap {
        int reg, rm, vvvv;          /* host numbers; -1 if the field is no general register */
        uint8_t guest[2], host[2];  /* guest registers held in temporaries, or in what is borrowed */
        bool load[2], store[2];
        unsigned count;
        int borrowed;               /* host register saved in scratch[2], or -1 */
        int high;                   /* guest register 0-3 whose bits 8-15 are the operand, swapped, or -1 */
};

static bool
is_byte_field(const struct x86_insn *i, bool rm)
{
        return (i->desc->flags & X86_OD_BYTE) || (rm && (i->desc->flags & X86_OD_RM8));
}

bool
tr_is_high_byte(const struct x86_insn *i, unsigned reg, bool rm)
{
        return is_byte_field(i, rm) && !i->vex && !i->rex && reg >= 4 && reg <= 7;
}

static int
borrow_register(const struct tr *t, const struct x86_insn *i)
{
        static const uint8_t candidates[] = { X86_RBX, X86_RBP, X86_RSI, X86_RDI };
        uint16_t used = i->desc->implicit_read | i->desc->implicit_write;

        for (unsigned n = 0; n < sizeof(candidates); n++) {
                unsigned g = candidates[n];

                if (i->has_mem && (regs_host[g] == t->op.base || regs_host[g] == t->op.index))
                        continue;
                if (!(used >> g & 1) && g != i->reg && g != i->vvvv && (i->has_mem || g != i->rm))
                        return regs_host[g];
        }
        return H_RBX;
}

/* A temporary for the guest register @guest: where it is, or one that the other operand does not need.  -1: none is left. */
static int
choose_temp(const struct tr *t, const struct opmap *m, const struct x86_insn *i, unsigned guest)
{
        static const uint8_t order[2][2] = { { T1, T0 }, { T0, T1 } };
        const uint8_t *temps = order[guest == X86_R11];
        int found = tr_temp_find(t, guest), best = -1;

        for (unsigned n = 0; n < 2; n++) {
                int temp = temps[n];

                if ((i->has_mem && (temp == t->op.base || temp == t->op.index)) || (m->count > 0 && m->host[0] == temp))
                        continue;
                if (temp == found)
                        return temp;
                if (best < 0 || (t->temp[best == T1].holds != TR_NOTHING && t->temp[temp == T1].holds == TR_NOTHING))
                        best = temp; /* rather one that holds nothing */
        }
        return best;
}

/* Host register for guest register @guest, used with @access as @bytes wide. */
static int
map_register(const struct tr *t, struct opmap *m, const struct x86_insn *i, unsigned guest, unsigned access, unsigned bytes)
{
        int temp;
        unsigned n;

        if (regs_host[guest] >= 0)
                return regs_host[guest];
        for (n = 0; n < m->count; n++)
                if (m->guest[n] == guest)
                        break;
        if (n == m->count) {
                temp = choose_temp(t, m, i, guest);
                if (temp < 0)
                        temp = m->borrowed = borrow_register(t, i);
                m->guest[n] = (uint8_t)guest;
                m->host[n] = (uint8_t)temp;
                m->load[n] = m->store[n] = false;
                m->count++;
        }
        m->load[n] |= (access & X86_ACC_R) || bytes < 4;
        m->store[n] |= (access & X86_ACC_W) != 0;
        return m->host[n];
}

static void
map_operands(const struct tr *t, struct opmap *m, const struct x86_insn *i)
{
        const struct x86_opdesc *d = i->desc;
        unsigned rm_bytes = d->flags & X86_OD_RM8 ? 1 : i->opsize;

        *m = (struct opmap){ .reg = -1, .rm = -1, .vvvv = -1, .borrowed = -1, .high = -1 };
        if (d->reg_kind == X86_OPK_GPR && i->has_modrm) {
                if (tr_is_high_byte(i, i->reg, false))
                        m->reg = i->reg;
                else
                        m->reg = map_register(t, m, i, i->reg, d->reg_access, i->opsize);
        }
        if (d->rm_kind == X86_OPK_GPR && !i->has_mem) {
                if (tr_is_high_byte(i, i->rm, true))
                        m->rm = i->rm;
                else
                        m->rm = map_register(t, m, i, i->rm, d->rm_access, rm_bytes);
        }
        if (d->vvvv_kind == X86_OPK_GPR)
                m->vvvv = map_register(t, m, i, i->vvvv, d->vvvv_access, i->opsize);
}

static void
load_operands(struct tr *t, const struct opmap *m)
{
        if (m->borrowed >= 0)
                emit_gs_store(&t->e, EMIT_W, (unsigned)m->borrowed, OFF(scratch[2]));
        for (unsigned n = 0; n < m->count; n++)
                if (m->host[n] != m->borrowed)
                        tr_temp_take(t, m->host[n], m->guest[n], m->load[n]);
                else if (m->load[n])
                        emit_gs_load(&t->e, EMIT_W, m->host[n], OFF(st.gpr[0]) + 8 * m->guest[n]);
}

static void
store_operands(struct tr *t, const struct opmap *m)
{
        for (unsigned n = 0; n < m->count; n++)
                if (m->store[n] && m->host[n] != m->borrowed)
                        tr_temp_written(t, m->host[n]);
                else if (m->store[n])
                        emit_gs_store(&t->e, EMIT_W, m->host[n], OFF(st.gpr[0]) + 8 * m->guest[n]);
        if (m->borrowed >= 0)
                emit_gs_load(&t->e, EMIT_W, (unsigned)m->borrowed, OFF(scratch[2]));
}

static uint8_t *
put_imm(uint8_t *p, const struct x86_insn *i)
{
        uint64_t imm = (uint64_t)i->imm;

        for (unsigned n = 0; n < i->imm_bytes; n++)
                p = put8(p, (uint8_t)(imm >> 8 * n));
        return p;
}

static uint8_t *
put_modrm(uint8_t *p, const struct x86_insn *i, unsigned reg, unsigned rm, const struct tr_operand *op)
{
        if (i->has_mem)
                return put_address(p, reg, op->base, op->index, op->scale, op->disp);
        return put8(p, 0xc0u | (reg & 7) << 3 | (rm & 7));
}

static void
emit_vex(struct emit *e, const struct x86_insn *i, unsigned reg, unsigned rm, unsigned vvvv,
    const struct tr_operand *op)
{
        unsigned map = i->map == X86_MAP_0F ? 1 : i->map == X86_MAP_0F38 ? 2 : 3;
        unsigned b = i->has_mem ? op->base >> 3 : rm >> 3;
        unsigned x = i->has_mem && op->index >= 0 ? (unsigned)op->index >> 3 : 0;
        uint8_t *p = put8(e->p, 0xc4);

        p = put8(p, (~reg >> 3 & 1) << 7 | (~x & 1) << 6 | (~b & 1) << 5 | map);
        p = put8(p, (unsigned)i->rex_w << 7 | (~vvvv & 0xf) << 3 | (unsigned)i->vex_l << 2 | i->vex_pp);
        p = put8(p, i->opcode);
        if (i->has_modrm)
                p = put_modrm(p, i, reg, rm, op);
        e->p = put_imm(p, i);
}

static bool
is_simd(const struct x86_insn *i)
{
        return i->desc->flags & (X86_OD_SSE | X86_OD_AVX | X86_OD_FPU);
}

static void
emit_legacy(struct emit *e, const struct x86_insn *i, unsigned reg, unsigned rm, const struct tr_operand *op)
{
        unsigned b = i->has_mem ? op->base >> 3 : rm >> 3;
        unsigned x = i->has_mem && op->index >= 0 ? (unsigned)op->index >> 3 : 0;
        unsigned rex = (unsigned)i->rex_w << 3 | (reg >> 3) << 2 | x << 1 | b;
        unsigned opcode = i->opcode;
        bool embedded = !i->has_modrm && i->desc->rm_kind == X86_OPK_GPR && i->desc->imm != X86_IMM_MOFFS;
        uint8_t *p = i->lock ? put8(e->p, 0xf0) : e->p;

        if (is_simd(i) || (i->desc->flags & X86_OD_IGN66) ? i->opsize_prefix :
                                                           i->opsize == 2 && !(i->desc->flags & X86_OD_BYTE))
                p = put8(p, 0x66);
        if (i->rep != 0 && i->map != X86_MAP_1B && i->map != X86_MAP_X87)
                p = put8(p, i->rep);
        if (rex != 0 || i->rex)
                p = put8(p, 0x40 | rex);
        if (i->map == X86_MAP_0F || i->map == X86_MAP_0F38 || i->map == X86_MAP_0F3A)
                p = put8(p, 0x0f);
        if (i->map == X86_MAP_0F38)
                p = put8(p, 0x38);
        if (i->map == X86_MAP_0F3A)
                p = put8(p, 0x3a);
        if (i->map == X86_MAP_1B && opcode >= 0x40 && opcode <= 0x4f) { /* INC, DEC: REX prefixes here */
                e->p = put8(put8(p, 0xff), 0xc0 | (opcode & 8) | (rm & 7));
                return;
        }
        if (i->map == X86_MAP_1B && opcode == 0x82) /* an alias that 64-bit mode lacks */
                opcode = 0x80;
        if (i->desc->imm == X86_IMM_MOFFS) { /* MOV AL/rAX, moffs and back: as MOV with ModRM */
                p = put8(p, opcode <= 0xa1 ? opcode - 0xa0 + 0x8a : opcode - 0xa2 + 0x88);
                e->p = put_address(p, H_RAX, op->base, op->index, op->scale, op->disp);
                return;
        }
        p = put8(p, embedded ? (opcode & ~7u) | (rm & 7) : opcode);
        if (i->has_modrm)
                p = put_modrm(p, i, reg, rm, op);
        e->p = put_imm(p, i);
}

/* xchg low, high of RAX, RCX, RDX or RBX: a register with a REX prefix cannot stand beside AH-BH. */
static void
emit_swap_bytes(struct emit *e, unsigned reg)
{
        emit8(e, 0x86);
        emit8(e, 0xc0 | (reg + 4) << 3 | reg);
}

/* The byte at bits 8 to 15 of @reg in T1 meanwhile: the access may fault, and the register must be as it was then. */
static void
emit_high_in_temp(struct tr *t, const struct x86_insn *i, unsigned reg, unsigned rm)
{
        struct emit *e = &t->e;

        tr_temp_forget(t, T1);
        emit_rorx(e, T1, reg, 8);
        emit_legacy(e, i, T1, rm, &t->op);
        if (!(i->desc->reg_access & X86_ACC_W))
                return;
        emit_swap_bytes(e, reg);
        emit_rr(e, EMIT_D, 0x8a, reg, T1); /* mov reg8, r10b */
        emit_swap_bytes(e, reg);
}

/* Whether AH-BH and something that needs a REX prefix meet; *ret_reg is the register to swap. */
static bool
high_byte_conflict(const struct x86_insn *i, const struct opmap *m, bool *ret_in_reg)
{
        bool high_reg = i->has_modrm && i->desc->reg_kind == X86_OPK_GPR && tr_is_high_byte(i, i->reg, false);
        bool high_rm = !i->has_mem && i->desc->rm_kind == X86_OPK_GPR && tr_is_high_byte(i, i->rm, true);

        *ret_in_reg = high_reg;
        if (high_reg)
                return i->has_mem || m->rm >= 8;
        return high_rm && m->reg >= 8;
}

static void
emit_operation(struct tr *t, const struct x86_insn *i, struct opmap *m)
{
        unsigned reg = m->reg >= 0 ? (unsigned)m->reg : i->reg;
        unsigned rm = m->rm >= 0 ? (unsigned)m->rm : i->rm;
        bool in_reg;

        if (i->vex) {
                emit_vex(&t->e, i, reg, rm, m->vvvv >= 0 ? (unsigned)m->vvvv : i->vvvv, &t->op);
                return;
        }
        if (!high_byte_conflict(i, m, &in_reg)) {
                emit_legacy(&t->e, i, reg, rm, &t->op);
                return;
        }
        if (t->mirrors && i->has_mem) {
                emit_high_in_temp(t, i, reg - 4, rm);
                return;
        }
        if (in_reg && i->map == X86_MAP_0F && i->opcode == 0xb0) { /* CMPXCHG: AL takes part, so no swap */
                tr_temp_forget(t, T1);
                emit_mov_rr(&t->e, EMIT_D, T1, reg - 4);
                emit_rr(&t->e, EMIT_D, 0xc1, 5, T1); /* its flags are overwritten */
                emit8(&t->e, 8);
                emit_legacy(&t->e, i, T1, rm, &t->op);
                return;
        }
        emit_swap_bytes(&t->e, (in_reg ? reg : rm) - 4);
        emit_legacy(&t->e, i, in_reg ? reg - 4 : reg, in_reg ? rm : rm - 4, &t->op);
        emit_swap_bytes(&t->e, (in_reg ? reg : rm) - 4);
}

/* The operation itself, once T0 holds the host address of the memory operand, if there is one. */
static void
plain_access(struct tr *t, const struct x86_insn *i)
{
        struct opmap m;

        map_operands(t, &m, i);
        tr_flags_for(t);
        tr_flags_note(t);
        load_operands(t, &m);
        emit_operation(t, i, &m);
        store_operands(t, &m);
        tr_flags_written(t);
}

/* BT, BTS, BTR, BTC m, r: the bit offset reaches beyond the operand (SDM 2A, BT). */
static void
bitstring_access(struct tr *t, const struct x86_insn *i)
{
        struct emit *e = &t->e;

        tr_load_guest(t, T1, i->reg);
        emit_alu_imm(e, EMIT_D, ALU_AND, T1, i->opsize * 8 - 1);
        tr_flags_for(t);
        emit_legacy(e, i, T1, 0, &t->op);
        tr_flags_written(t);
}

static struct tr_cold *
bitstring_mem(struct tr *t, const struct x86_insn *i, unsigned acc)
{
        struct emit *e = &t->e;

        tr_flags_clobber(t);
        tr_ea_t0(t, i, 0);
        tr_load_guest(t, T1, i->reg);
        if (i->opsize == 2)
                emit_rr(e, EMIT_W, 0x0fbf, T1, T1); /* movsx */
        else if (i->opsize == 4)
                emit_rr(e, EMIT_W, 0x63, T1, T1); /* movsxd */
        emit_rr(e, EMIT_W, 0xc1, 7, T1); /* sar */
        emit8(e, 3);
        emit_alu_imm(e, EMIT_W, ALU_AND, T1, -(int32_t)i->opsize);
        emit_rr(e, EMIT_W, 0x03, T0, T1);
        if (i->asize == 4)
                emit_mov_rr(e, EMIT_D, T0, T0);
        else if (i->asize == 2)
                emit_rr(e, EMIT_D, 0x0fb7, T0, T0);
        return tr_check(t, i->mem_seg, i->opsize, acc);
}

/* An FPU or SSE instruction may have to raise #NM: looked at once a block, for CR0 cannot change within. */
static void
check_fpu(struct tr *t)
{
        struct tr_cold *c;

        if (t->fpu_checked)
                return;
        tr_flags_clobber(t);
        emit_gs_cmp_imm8(&t->e, OFF(fpu_trap), 0);
        c = tr_cold_add(t, COLD_RAISE, emit_jcc32(&t->e, CC_NE));
        c->arg = X86_VEC_NM;
        t->fpu_checked = true;
}

/* True if the instruction does not exist in the present mode or model. */
static bool
is_undefined(const struct tr *t, const struct x86_insn *i)
{
        const struct x86_opdesc *d = i->desc;

        if (d->class == X86_CLASS_UD)
                return true;
        if (!(t->v->features >> d->feature & 1))
                return true;
        if ((d->flags & X86_OD_PROT) && (t->mode & SOFT_MODE_REAL))
                return true;
        if ((d->flags & X86_OD_SSE) && (t->mode & SOFT_MODE_NOSSE))
                return true;
        if ((d->flags & X86_OD_AVX) && (t->mode & (SOFT_MODE_NOAVX | SOFT_MODE_REAL)))
                return true;
        /* MMX with EM (SDM 3A table 2-2); x87 traps with #NM instead. */
        return (d->flags & X86_OD_FPU) && i->map != X86_MAP_X87 && i->map != X86_MAP_1B && (t->mode & SOFT_MODE_EM);
}

static void
tr_plain(struct tr *t, const struct x86_insn *i)
{
        const struct x86_opdesc *d = i->desc;
        unsigned size = x86_insn_mem_bytes(i);
        tr_access_fn *access = plain_access;
        enum tr_flags before;
        struct tr_cold *c;

        if (i->has_mem || (d->flags & (X86_OD_FPU | X86_OD_SSE | X86_OD_AVX | X86_OD_RAISES)))
                tr_temps_store(t);
        if (d->flags & (X86_OD_FPU | X86_OD_SSE | X86_OD_AVX))
                check_fpu(t);
        if (!i->has_mem || size == 0) {
                plain_access(t, i);
                return;
        }
        if ((d->flags & X86_OD_BITSTR) && i->has_mem) {
                c = bitstring_mem(t, i, d->rm_access);
                access = bitstring_access;
        } else if (tr_group_access(t)) {
                access(t, i);
                return;
        } else {
                c = tr_mem(t, i, size, d->rm_access, 0);
        }
        before = t->flags;
        access(t, i);
        if (d->rm_access & X86_ACC_W) {
                if (c != NULL)
                        tr_temps_forget(t); /* the cold path loses them */
                tr_mem_done(t, c, i, access, before);
        }
}

static void
tr_lea(struct tr *t, const struct x86_insn *i)
{
        int dst = regs_host[i->reg];

        if (i->opsize >= 4 && i->opsize <= i->asize) {
                if (dst >= 0) {
                        tr_ea(t, i, (unsigned)dst, 0, i->opsize);
                        return;
                }
                dst = tr_temp_find(t, i->reg) >= 0 ? tr_temp_find(t, i->reg) : i->reg == X86_R11 ? T0 : T1;
                tr_temps_store(t);
                tr_ea(t, i, (unsigned)dst, 0, i->opsize);
                tr_temp_take(t, (unsigned)dst, i->reg, false);
                tr_temp_written(t, (unsigned)dst);
                return;
        }
        tr_ea_t0(t, i, 0);
        tr_temps_forget(t);
        if (dst < 0)
                dst = T1;
        if (i->opsize == 2) {
                if (dst == T1)
                        tr_load_guest(t, T1, i->reg);
                emit8(&t->e, 0x66);
                emit_rr(&t->e, EMIT_D, 0x8b, (unsigned)dst, T0);
        } else {
                emit_mov_rr(&t->e, i->opsize == 8, (unsigned)dst, T0);
        }
        if (dst == T1)
                emit_gs_store(&t->e, EMIT_W, T1, OFF(st.gpr[0]) + 8 * i->reg);
}

/* ---- stack ---- */

/* mov [t->op], host, @size bytes */
static void
emit_store_op(struct tr *t, unsigned host, unsigned size)
{
        if (size == 2)
                emit8(&t->e, 0x66);
        tr_emit_op(t, size == 8, 0x89, host);
}

/* mov host, [t->op]; 2 and 4 bytes are zero-extended */
static void
emit_load_op(struct tr *t, unsigned host, unsigned size)
{
        tr_emit_op(t, size == 8, size == 2 ? 0x0fb7 : 0x8b, host);
}

static void
push_access(struct tr *t, const struct x86_insn *i)
{
        struct emit *e = &t->e;
        unsigned host = T1;

        if (i->has_mem) {
                emit_gs_load(e, EMIT_W, T1, OFF(scratch[1]));
        } else if (i->desc->rm_kind == X86_OPK_GPR) {
                if (regs_host[i->rm] >= 0)
                        host = (unsigned)regs_host[i->rm];
                else
                        tr_load_guest(t, T1, i->rm);
        } else {
                emit_mov_imm(e, T1, (uint64_t)i->imm);
        }
        emit_store_op(t, host, i->opsize);
        tr_stack_adjust(t, -(int32_t)i->opsize);
}

static void
tr_push(struct tr *t, const struct x86_insn *i)
{
        struct tr_cold *c;
        enum tr_flags before;

        if (i->has_mem) {
                tr_mem(t, i, i->opsize, X86_ACC_R, 0);
                tr_temp_forget(t, T1);
                emit_load_op(t, T1, i->opsize);
                emit_gs_store(&t->e, EMIT_W, T1, OFF(scratch[1]));
        }
        c = tr_stack_access(t, -(int32_t)i->opsize, i->opsize, X86_ACC_W);
        before = t->flags;
        push_access(t, i);
        tr_mem_done(t, c, i, push_access, before);
}

static void
pop_mem_access(struct tr *t, const struct x86_insn *i)
{
        emit_gs_load(&t->e, EMIT_W, T1, OFF(scratch[1]));
        emit_store_op(t, T1, i->opsize);
        tr_stack_adjust(t, i->opsize);
}

/* Writes T1 to a guest register; 2 bytes leave the rest alone. */
static void
write_register(struct tr *t, unsigned guest, unsigned size)
{
        struct emit *e = &t->e;

        if (regs_host[guest] < 0) {
                if (size == 2)
                        emit8(e, 0x66);
                emit_gs_store(e, size != 2, T1, OFF(st.gpr[0]) + 8 * guest);
                return;
        }
        if (size == 2)
                emit8(e, 0x66);
        emit_rr(e, size == 8, 0x8b, (unsigned)regs_host[guest], T1);
}

static void
tr_pop(struct tr *t, const struct x86_insn *i)
{
        struct tr_cold *c;
        enum tr_flags before;

        tr_stack_access(t, 0, i->opsize, X86_ACC_R);
        if (tr_stack_is_direct(t, i)) {
                emit_load_op(t, (unsigned)regs_host[i->rm], i->opsize);
                tr_stack_adjust(t, i->opsize);
                return;
        }
        emit_load_op(t, T1, i->opsize);
        if (!i->has_mem) {
                if (i->rm != X86_RSP || i->opsize == 2)
                        tr_stack_adjust(t, i->opsize);
                write_register(t, i->rm, i->opsize);
                return;
        }
        emit_gs_store(&t->e, EMIT_W, T1, OFF(scratch[1]));
        /* The address is computed with the stack pointer already raised (SDM 2B, POP). */
        c = tr_mem(t, i, i->opsize, X86_ACC_W, i->mem_base == X86_RSP ? i->opsize : 0);
        tr_temp_forget(t, T1);
        before = t->flags;
        pop_mem_access(t, i);
        tr_mem_done(t, c, i, pop_mem_access, before);
}

static void
tr_leave(struct tr *t, const struct x86_insn *i)
{
        struct emit *e = &t->e;
        bool wide = t->bits == X86_MODE_64;

        if (t->mirrors) {
                tr_mirror_off(t, X86_RBP, 0, true);
        } else {
                tr_flags_clobber(t);
                emit_mov_rr(e, wide, T0, H_RBP);
                if (!wide && !(t->mode & SOFT_MODE_SS32))
                        emit_rr(e, EMIT_D, 0x0fb7, T0, T0);
                tr_stack_check(t, i->opsize, X86_ACC_R);
        }
        emit_load_op(t, T1, i->opsize);
        emit_gs_store(e, EMIT_W, T1, OFF(scratch[1]));
        if (wide || (t->mode & SOFT_MODE_SS32)) {
                emit_rm(e, wide, 0x8d, H_RSP, H_RBP, -1, 1, i->opsize);
        } else {
                emit_rm(e, EMIT_D, 0x8d, T1, H_RBP, -1, 1, i->opsize);
                emit8(e, 0x66);
                emit_rr(e, EMIT_D, 0x8b, H_RSP, T1);
        }
        emit_gs_load(e, EMIT_W, T1, OFF(scratch[1]));
        write_register(t, X86_RBP, i->opsize);
}

/* ---- the rest ---- */

static void
tr_flag_insn(struct tr *t, const struct x86_insn *i)
{
        if (i->opcode != 0xfc && i->opcode != 0xfd) { /* CLC STC CMC */
                tr_flags_for(t);
                emit8(&t->e, i->opcode);
                tr_flags_written(t);
                return;
        }
        tr_flags_clobber(t);
        emit_gs(&t->e, EMIT_D, 0x81, i->opcode == 0xfc ? ALU_AND : ALU_OR, OFF(st.rflags));
        emit32(&t->e, i->opcode == 0xfc ? ~X86_FL_DF : X86_FL_DF);
}

static void
tr_xlat(struct tr *t, const struct x86_insn *i)
{
        struct emit *e = &t->e;

        tr_flags_clobber(t);
        emit_rr(e, EMIT_D, 0x0fb6, T0, H_RAX);
        emit_rm(e, i->asize == 8, 0x8d, T0, T0, H_RBX, 1, 0);
        if (i->asize == 2)
                emit_rr(e, EMIT_D, 0x0fb7, T0, T0);
        tr_check(t, i->seg_override == 0xff ? X86_DS : i->seg_override, 1, X86_ACC_R);
        emit_rm(e, EMIT_D, 0x8a, H_RAX, T0, -1, 1, 0);
}

void
tr_insn(struct tr *t, const struct x86_insn *i)
{
        if (is_undefined(t, i)) {
                tr_raise(t, X86_VEC_UD);
                return;
        }
        if (tr_sys_is_inline(t, i)) {
                tr_sys_inline(t, i);
                return;
        }
        switch (i->desc->class) {
        case X86_CLASS_PLAIN:
                tr_plain(t, i);
                break;
        case X86_CLASS_NOP:
                break;
        case X86_CLASS_LEA:
                tr_lea(t, i);
                break;
        case X86_CLASS_PUSH:
                tr_push(t, i);
                break;
        case X86_CLASS_POP:
                tr_pop(t, i);
                break;
        case X86_CLASS_LEAVE:
                tr_leave(t, i);
                break;
        case X86_CLASS_FLAG:
                tr_flag_insn(t, i);
                break;
        case X86_CLASS_XLAT:
                tr_xlat(t, i);
                break;
        case X86_CLASS_POPF:
                tr_sys(t, i, true);
                break;
        case X86_CLASS_SYSTEM:
                tr_sys(t, i, i->desc->flags & X86_OD_END);
                break;
        default: /* STRING, PUSHF */
                tr_sys(t, i, false);
                break;
        }
}
