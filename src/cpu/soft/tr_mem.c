/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Guest memory in translated code.
 *
 * An access computes the linear address in T0, checks it against the TLB
 * entry that its page number selects, and leaves the host address in T0:
 *
 *      lea   r11, [address]
 *      rorx  r10, r11, 7               ; page number times the size of an entry
 *      and   r10d, mask
 *      add   r10, gs:[tlb]
 *      sub   r11, [r10 + tag]          ; offset in the page, if the tag fits
 *      cmp   r11, 4096 - size          ; also catches accesses across pages
 *      ja    cold
 *      add   r11, [r10 + host]
 *
 * Accesses relative to the stack pointer are checked against the one page that
 * the last of them hit.  The cold path calls C, which fills the TLB and
 * returns the host address, or a bounce buffer for MMIO, page-crossing and
 * watched accesses; a store is then made there by a copy of the access and
 * carried out by the commit thunk.
 */
#include "cpu/soft/translate.h"

#define ENTRY_SHIFT 5 /* log2 of sizeof(struct soft_tlb_entry) */
_Static_assert(sizeof(struct soft_tlb_entry) == 1u << ENTRY_SHIFT, "the index computation shifts by it");

void
tr_load_guest(struct tr *t, unsigned host, unsigned guest)
{
        if (regs_host[guest] >= 0)
                emit_mov_rr(&t->e, EMIT_W, host, (unsigned)regs_host[guest]);
        else
                emit_gs_load(&t->e, EMIT_W, host, OFF(st.gpr[0]) + 8 * guest);
}

/* Where an address register can be used from: a host register, perhaps a temporary that does not hold @other. */
static int
ea_reg(struct tr *t, int guest, int other)
{
        unsigned temp;

        if (guest < 0)
                return -1;
        if (regs_host[guest] >= 0)
                return regs_host[guest];
        if (tr_temp_find(t, (unsigned)guest) >= 0)
                return tr_temp_find(t, (unsigned)guest);
        temp = other >= 0 && tr_temp_find(t, (unsigned)other) == T1 ? T0 : T1;
        tr_temp_take(t, temp, (unsigned)guest, true);
        return (int)temp;
}

unsigned
tr_ea_reg(struct tr *t, unsigned guest)
{
        return (unsigned)ea_reg(t, (int)guest, -1);
}

void
tr_ea(struct tr *t, const struct x86_insn *i, unsigned dst, int32_t extra, unsigned bytes)
{
        struct emit *e = &t->e;
        int64_t disp = i->disp + extra;
        int base, index;
        bool wide;

        if (i->mem_base == X86_BASE_RIP || (i->mem_base < 0 && i->mem_index < 0)) {
                uint64_t at = (uint64_t)disp + (i->mem_base == X86_BASE_RIP ? t->next : 0);

                if (t->moves && i->mem_base == X86_BASE_RIP) {
                        tr_emit_rip(t, dst, at);
                        if (i->asize != 8 || bytes != 8)
                                emit_mov_rr(e, EMIT_D, dst, dst);
                        return;
                }
                at = i->asize == 8 ? at : i->asize == 4 ? (uint32_t)at : at & 0xffff;
                emit_mov_imm(e, dst, bytes == 8 ? at : (uint32_t)at);
                return;
        }
        base = ea_reg(t, i->mem_base, i->mem_index);
        index = ea_reg(t, i->mem_index, i->mem_base);
        wide = i->asize == 8 && bytes == 8;
        if (wide && base >= 0 && index < 0 && disp == 0)
                emit_mov_rr(e, EMIT_W, dst, (unsigned)base);
        else
                emit_rm(e, wide, 0x8d, dst, base, index, i->mem_scale, (int32_t)disp);
        if (i->asize == 2)
                emit_rr(e, EMIT_D, 0x0fb7, dst, dst);
}

void
tr_ea_t0(struct tr *t, const struct x86_insn *i, int32_t extra)
{
        tr_temps_store(t);
        tr_ea(t, i, T0, extra, 8);
        tr_temp_forget(t, T0);
}

/*
 * An x87 error that is pending comes before a fault of the next instruction's operand (SDM 1 8.6), of an MMX
 * instruction too.  FNSTCW and FNSTSW do not wait, nor do CVTPI2PS and CVTPI2PD from memory.
 */
static bool
waits_for_x87(const struct x86_insn *i)
{
        if (i->map != X86_MAP_X87)
                return (i->desc->flags & X86_OD_FPU) && !(i->map == X86_MAP_0F && i->opcode == 0x2a);
        return !((i->opcode == 0xd9 || i->opcode == 0xdd) && (i->modrm >> 3 & 7) == 7);
}

/* T0: offset in @seg.  Makes it linear where that is not the same thing. */
static void
tr_segment(struct tr *t, unsigned seg, unsigned size, unsigned acc)
{
        struct emit *e = &t->e;

        if (t->bits == X86_MODE_64) {
                if (seg == X86_FS || seg == X86_GS)
                        emit_gs(e, EMIT_W, 0x03, T0, OFF(seg_base[0]) + 8 * seg);
                return;
        }
        if (!(t->mode & SOFT_MODE_SEGS) && (seg == X86_DS || seg == X86_ES || seg == X86_SS))
                return;
        if (waits_for_x87(&t->insn[t->at]))
                emit8(e, 0x9b); /* fwait */
        tr_call_thunk(t, t->eng->thunks.seg, t->rip);
        emit64(e, size | seg << 8 | acc << 16);
}

void
tr_emit_op(struct tr *t, int w, unsigned opcode, unsigned reg)
{
        emit_rm(&t->e, w, opcode, reg, t->op.base, t->op.index, t->op.scale, t->op.disp);
}

static unsigned
size_class(unsigned size)
{
        for (unsigned c = 0; c < sizeof(regs_size_of_class); c++)
                if (regs_size_of_class[c] >= size)
                        return c;
        return sizeof(regs_size_of_class) - 1;
}

static struct tr_cold *
tr_cold_access(struct tr *t, uint8_t *from, unsigned size, unsigned acc, bool ss, bool stack)
{
        struct tr_cold *c = tr_cold_add(t, COLD_ACCESS, from);

        c->size_class = (uint8_t)size_class(size);
        c->acc = (uint8_t)acc;
        c->ss = ss;
        c->stack = stack;
        c->window = stack && !t->stack_shared; /* what is shared must stay the window */
        c->back = t->e.p;
        return c;
}

unsigned
tr_tag_offset(unsigned acc)
{
        return acc & X86_ACC_W ? offsetof(struct soft_tlb_entry, tag_write) :
                                 offsetof(struct soft_tlb_entry, tag_read);
}

/* T1 = T0 >> @bits, or what else has the same low bits.  Flags may be lost. */
void
tr_shift_right(struct tr *t, unsigned bits)
{
        struct emit *e = &t->e;

        if (t->eng->bmi2) {
                emit_rorx(e, T1, T0, bits);
        } else {
                emit_mov_rr(e, EMIT_W, T1, T0);
                emit_rr(e, EMIT_W, 0xc1, 5, T1); /* shr */
                emit8(e, bits);
        }
}

uint8_t *
tr_emit_tlb_lookup(struct tr *t, unsigned bytes, unsigned acc)
{
        struct emit *e = &t->e;
        unsigned index_bits = t->mode & SOFT_MODE_USER ? SOFT_TLB_USER_BITS : SOFT_TLB_KERN_BITS;
        uint8_t *miss;

        tr_temps_forget(t);
        tr_shift_right(t, MEM_PAGE_SHIFT - ENTRY_SHIFT);
        emit_alu_imm(e, EMIT_D, ALU_AND, T1, (int32_t)(((1u << index_bits) - 1) << ENTRY_SHIFT));
        emit_gs(e, EMIT_W, 0x03, T1, OFF(tlb));
        emit_rm(e, EMIT_W, 0x2b, T0, T1, -1, 1, (int32_t)tr_tag_offset(acc));
        emit_alu_imm(e, EMIT_W, ALU_CMP, T0, (int32_t)(MEM_PAGE_SIZE - bytes));
        miss = emit_jcc32(e, CC_A);
        emit_rm(e, EMIT_W, 0x03, T0, T1, -1, 1, offsetof(struct soft_tlb_entry, host));
        return miss;
}

/* T0: linear address; becomes the host address. */
static struct tr_cold *
tr_tlb_check(struct tr *t, unsigned size, unsigned acc, bool ss)
{
        uint8_t *miss = tr_emit_tlb_lookup(t, regs_size_of_class[size_class(size)], acc);

        return tr_cold_access(t, miss, size, acc, ss, false);
}

/* The same against the stack's page, which may be written. */
static struct tr_cold *
tr_window_check(struct tr *t, unsigned size, unsigned acc)
{
        struct emit *e = &t->e;
        uint8_t *miss;

        tr_temps_forget(t);
        emit_gs(e, EMIT_W, 0x2b, T0, OFF(stack_tag));
        emit_alu_imm(e, EMIT_W, ALU_CMP, T0, (int32_t)(MEM_PAGE_SIZE - regs_size_of_class[size_class(size)]));
        miss = emit_jcc32(e, CC_A);
        emit_gs(e, EMIT_W, 0x03, T0, OFF(stack_host));
        return tr_cold_access(t, miss, size, acc, true, true);
}

/* Whether stack accesses are checked against the window.  The variant that checks each is there for those that miss it. */
static bool
has_window(const struct tr *t)
{
        if (t->mode & SOFT_MODE_NOSHARE)
                return false;
        return t->bits == X86_MODE_64 || (!(t->mode & SOFT_MODE_SEGS) && (t->mode & SOFT_MODE_SS32));
}

/* T0: offset in @seg; becomes the host address. */
struct tr_cold *
tr_check(struct tr *t, unsigned seg, unsigned size, unsigned acc)
{
        tr_segment(t, seg, size, acc);
        return tr_tlb_check(t, size, acc, seg == X86_SS);
}

struct tr_cold *
tr_mem(struct tr *t, const struct x86_insn *i, unsigned size, unsigned acc, int32_t extra)
{
        if (t->mirrors) {
                tr_mirror_mem(t, i, extra);
                return NULL;
        }
        if (tr_group_access(t))
                return NULL;
        if (i->mem_base == X86_RSP && i->mem_index < 0 && i->mem_seg == X86_SS && i->asize == 8 &&
            tr_stack_shared(t, i->disp + extra, size))
                return NULL;
        t->op = TR_AT_T0;
        tr_flags_clobber(t);
        tr_ea_t0(t, i, extra);
        return i->mem_base == X86_RSP && i->mem_seg == X86_SS ? tr_stack_check(t, size, acc) :
                                                               tr_check(t, i->mem_seg, size, acc);
}

/*
 * Ends a store that began with tr_mem: @access emitted it at c->back, with the
 * flags in state @before; the cold path repeats it on the bounce buffer.
 */
void
tr_mem_done(struct tr *t, struct tr_cold *c, const struct x86_insn *i, tr_access_fn *access, enum tr_flags before)
{
        if (c == NULL) /* checked with others: there is no cold path */
                return;
        c->insn = i;
        c->access = access;
        c->flags = before;
        c->done = t->e.p;
}

/* T0: linear address of an operand that must be aligned: that comes before page faults (SDM 3A 6.9). */
static void
emit_align_check(struct tr *t, const struct tr_cold *c)
{
        struct emit *e = &t->e;
        uint8_t *aligned;

        emit_rr(e, EMIT_D, 0xf7, 0, T0); /* test r11d, imm32 */
        emit32(e, x86_insn_mem_bytes(c->insn) - 1);
        aligned = emit_jcc32(e, CC_E);
        tr_emit_rip(t, T1, c->rip);
        emit_mov_imm(e, T0, X86_VEC_GP);
        emit_jmp_to(e, t->eng->thunks.raise);
        emit_fix32(aligned, e->p);
}

/* Whether a store may leave memory as it is: FIST and its kin with an unmasked invalid operation. */
static bool
may_not_store(const struct tr_cold *c)
{
        const uint32_t both = X86_OD_FPU | X86_OD_RAISES;

        return (c->insn->desc->flags & both) == both;
}

void
tr_emit_cold_access(struct tr *t, struct tr_cold *c)
{
        struct emit *e = &t->e;
        const struct soft_thunks *th = &t->eng->thunks;
        unsigned kind = c->window ? 2 : c->ss;
        uint8_t *const *thunk = !(c->acc & X86_ACC_W) ? th->load[kind] :
            c->acc & X86_ACC_R || may_not_store(c)    ? th->rmw[kind] :
                                                        th->store[kind];
        uint8_t *f;

        if (c->stack)
                emit_gs(e, EMIT_W, 0x03, T0, OFF(stack_tag));
        else
                emit_rm(e, EMIT_W, 0x03, T0, T1, -1, 1, (int32_t)tr_tag_offset(c->acc));
        if (waits_for_x87(c->insn)) {
                tr_emit_rip(t, T1, c->rip);
                emit_gs_store(e, EMIT_W, T1, OFF(st.rip));
                emit8(e, 0x9b); /* fwait */
        }
        if (c->insn->desc->flags & X86_OD_ALIGN)
                emit_align_check(t, c);
        tr_call_thunk(t, thunk[c->size_class], c->rip);
        if (!(c->acc & X86_ACC_W)) {
                f = emit_jmp32(e);
                emit_fix32(f, c->back);
                return;
        }
        emit_gs_cmp_imm8(e, OFF(bounce_kind), 0);
        f = emit_jcc32(e, CC_E);
        emit_fix32(f, c->back);
        t->flags = c->flags;
        t->at = c->at;
        t->rip = c->rip;
        t->next = c->next;
        t->temp[0].holds = t->temp[1].holds = TR_NOTHING;
        t->op = TR_AT_T0;
        c->access(t, c->insn);
        tr_temps_forget(t);
        if (c->leave_in == TR_LEAVE_SCRATCH)
                emit_gs_load(e, EMIT_W, T0, OFF(scratch[1]));
        else if (c->leave_in >= 0)
                emit_mov_rr(e, EMIT_W, T0, (unsigned)c->leave_in);
        else
                tr_emit_rip(t, T0, c->leave_at);
        tr_jump_thunk(t, th->commit[t->flags != TR_FLAGS_HOST]);
        f = emit_jmp32(e);
        emit_fix32(f, c->done);
}

/* ---- the stack ---- */

void
tr_stack_addr(struct tr *t, int32_t disp)
{
        struct emit *e = &t->e;

        emit_rm(e, t->bits == X86_MODE_64, 0x8d, T0, H_RSP, -1, 1, disp);
        if (t->bits != X86_MODE_64 && !(t->mode & SOFT_MODE_SS32))
                emit_rr(e, EMIT_D, 0x0fb7, T0, T0);
}

struct tr_cold *
tr_stack_check(struct tr *t, unsigned size, unsigned acc)
{
        if (has_window(t))
                return tr_window_check(t, size, acc);
        return tr_check(t, X86_SS, size, acc);
}

/* Adds @delta to the stack pointer.  T0 may be lost; flags and T1 are kept. */
void
tr_stack_adjust(struct tr *t, int32_t delta)
{
        struct emit *e = &t->e;

        if (t->mirrors) {
                t->stack_late += delta;
                if (!tr_stack_is_direct(t, &t->insn[t->at]))
                        tr_stack_catch_up(t, NULL);
                return;
        }
        if (t->bits == X86_MODE_64 || (t->mode & SOFT_MODE_SS32)) {
                emit_rm(e, t->bits == X86_MODE_64, 0x8d, H_RSP, H_RSP, -1, 1, delta);
                return;
        }
        tr_temp_forget(t, T0);
        emit_rm(e, EMIT_D, 0x8d, T0, H_RSP, -1, 1, delta);
        emit8(e, 0x66); /* mov sp, r11w */
        emit_rr(e, EMIT_D, 0x8b, H_RSP, T0);
}
