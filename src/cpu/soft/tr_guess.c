/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Guesses at where registers point.
 *
 * What the table of mirrors says about a pointer is on the way from one load to the next of a chain: two loads for each
 * of the guest's.  Most pointers point into a few chunks (the heap, the stack, the program), so a block compares the
 * pointer's upper half with the number of one of these instead, and adds what is known of that chunk: the processor predicts the
 * comparison, and waits for nothing.
 *
 *      rorx  r10, base, 32
 *      cmp   r10d, gs:[near[n].number]
 *      jne   variant
 *      mov   r11, gs:[near[n].delta]   ; unless it is there
 *      op    [base + r11 + disp]
 *
 * Which chunk it is likely to be is found out when the block is translated, by doing its loads with the registers as they are
 * then.  Where the guess is wrong the block goes on in its variant that makes no guesses (SOFT_MODE_NOSHARE).
 */
#include "base/util.h"
#include "cpu/soft/mirror.h"
#include "cpu/soft/translate.h"

static bool
guesses(const struct tr *t)
{
        return t->mirrors && !(t->mode & SOFT_MODE_NOSHARE);
}

void
tr_guess_begin(struct tr *t)
{
        if (!guesses(t))
                return;
        for (unsigned g = 0; g < X86_GPR_COUNT; g++)
                t->guess[g] = (struct tr_guess){ .value = t->v->st.gpr[g], .valued = true, .near = -1 };
}

int
tr_guess_known(const struct tr *t, unsigned guest)
{
        return guesses(t) ? t->guess[guest].near : -1;
}

/* Leaves for the variant that makes no guesses, at this instruction, unless the upper half of @host is that of a near chunk. */
static void
emit_check(struct tr *t, unsigned host, int near, int keep)
{
        struct emit *e = &t->e;
        unsigned temp = keep < 0 ? tr_temp_spare(t) : keep == T0 ? T1 : T0;

        tr_flags_clobber(t);
        tr_temp_forget(t, temp);
        emit_rorx(e, temp, host, SOFT_MIRROR_SHIFT);
        emit_gs(e, EMIT_D, 0x3b, temp, TR_NEAR_NUMBER(near));
        tr_jump_noshare(t, CC_NE, t->rip);
}

static bool
may_check(const struct tr *t)
{
        return guesses(t) && !tr_flags_held(t);
}

/* Whether a check is worth its bytes: the access waits for the register, or there will be another off it. */
static bool
pays(const struct tr *t, unsigned guest)
{
        int64_t change;

        if (t->guess[guest].fresh)
                return true;
        for (unsigned n = t->at; n + 1 < t->count && x86_insn_adds(&t->insn[n], guest, &change); n++)
                if (t->insn[n + 1].has_mem && t->insn[n + 1].mem_base == (int)guest)
                        return true;
        return false;
}

int
tr_guess_check(struct tr *t, unsigned guest, unsigned host, int keep)
{
        struct tr_guess *g = &t->guess[guest];
        int near = may_check(t) && g->valued && pays(t, guest) ? soft_mirror_near(t->v, g->value) : -1;

        if (near >= 0) {
                emit_check(t, host, near, keep);
                g->near = (int8_t)near;
                g->drift = 0;
        }
        return near;
}

/* The operand's address this time. */
static bool
address_now(const struct tr *t, const struct x86_insn *i, gva_t *ret_address)
{
        gva_t at = (gva_t)i->disp;

        if (i->asize != 8)
                return false;
        if (i->mem_base == X86_BASE_RIP)
                at += t->next - tr_page(t) + (t->v->st.rip & ~(gva_t)(MEM_PAGE_SIZE - 1));
        else if (i->mem_base >= 0)
                at += t->guess[i->mem_base].value;
        if (i->mem_index >= 0)
                at += t->guess[i->mem_index].value * i->mem_scale;
        if (i->has_mem && (i->mem_seg == X86_FS || i->mem_seg == X86_GS))
                at += t->v->seg_base[i->mem_seg];
        *ret_address = at;
        return (i->mem_base < 0 || i->mem_base == X86_BASE_RIP || t->guess[i->mem_base].valued) &&
            (i->mem_index < 0 || t->guess[i->mem_index].valued);
}

int
tr_guess_address(struct tr *t, const struct x86_insn *i, unsigned host)
{
        gva_t at;
        int near = may_check(t) && address_now(t, i, &at) ? soft_mirror_near(t->v, at) : -1;

        if (near >= 0)
                emit_check(t, host, near, (int)host);
        return near;
}

void
tr_guess_add(struct tr *t, unsigned host, int near)
{
        emit_gs(&t->e, EMIT_W, 0x03, host, TR_NEAR_DELTA(near));
}

/* ---- what instructions do ---- */

/* What an operand named by ModRM has this time. */
static bool
operand_now(const struct tr *t, const struct x86_insn *i, unsigned size, uint64_t *ret_value)
{
        gva_t at;

        if (i->has_mem)
                return address_now(t, i, &at) && soft_mirror_peek(t->v, at, size, ret_value);
        *ret_value = t->guess[i->rm].value;
        if (size < 4)
                *ret_value &= (1ull << size * 8) - 1;
        return t->guess[i->rm].valued && !tr_is_high_byte(i, i->rm, true);
}

/* ADD, OR, AND, SUB, XOR by number; nothing else. */
static bool
compute(unsigned operation, uint64_t a, uint64_t b, uint64_t *ret_value)
{
        switch (operation) {
        case 0:
                *ret_value = a + b;
                return true;
        case 1:
                *ret_value = a | b;
                return true;
        case 4:
                *ret_value = a & b;
                return true;
        case 5:
                *ret_value = a - b;
                return true;
        case 6:
                *ret_value = a ^ b;
                return true;
        default:
                return false;
        }
}

/* One-byte opcodes: the register that is written, and its value this time; -1: it is not told. */
static int
result_of_byte(const struct tr *t, const struct x86_insn *i, uint64_t *ret_value)
{
        const struct tr_guess *reg = &t->guess[i->reg];
        uint64_t rm, count;

        switch (i->opcode) {
        case 0x01: case 0x09: case 0x21: case 0x29: case 0x31: /* op rm, reg */
        case 0x03: case 0x0b: case 0x23: case 0x2b: case 0x33: /* op reg, rm */
                if ((i->has_mem && !(i->opcode & 2)) || !reg->valued || !operand_now(t, i, i->opsize, &rm))
                        return -1;
                if (i->opcode & 2)
                        return compute(i->opcode >> 3, reg->value, rm, ret_value) ? i->reg : -1;
                return compute(i->opcode >> 3, rm, reg->value, ret_value) ? i->rm : -1;
        case 0x05: case 0x0d: case 0x25: case 0x2d: case 0x35: /* op rAX, imm */
                return t->guess[X86_RAX].valued && compute(i->opcode >> 3, t->guess[X86_RAX].value, (uint64_t)i->imm, ret_value) ?
                    X86_RAX : -1;
        case 0x63: /* MOVSXD */
                if (!operand_now(t, i, 4, &rm))
                        return -1;
                *ret_value = (uint64_t)(int32_t)rm;
                return i->reg;
        case 0x81: case 0x83:
                return !i->has_mem && operand_now(t, i, i->opsize, &rm) && compute(i->reg & 7, rm, (uint64_t)i->imm, ret_value) ?
                    i->rm : -1;
        case 0x89:
                *ret_value = reg->value;
                return !i->has_mem && reg->valued ? i->rm : -1;
        case 0x8b:
                return operand_now(t, i, i->opsize, ret_value) ? i->reg : -1;
        case 0x8d:
                return address_now(t, i, ret_value) ? i->reg : -1;
        case 0xc1: case 0xd3: /* SHL, SHR by a number, by CL */
                count = i->opcode == 0xc1 ? (uint64_t)i->imm : t->guess[X86_RCX].value;
                count &= i->opsize * 8u - 1;
                if (i->has_mem || !operand_now(t, i, i->opsize, &rm) || (i->reg & 6) != 4 ||
                    (i->opcode == 0xd3 && !t->guess[X86_RCX].valued))
                        return -1;
                rm = i->opsize == 4 ? (uint32_t)rm : rm;
                *ret_value = i->reg & 1 ? rm >> count : rm << count;
                return i->rm;
        default:
                if ((i->opcode & 0xf8) == 0xb8) {
                        *ret_value = (uint64_t)i->imm;
                        return i->rm;
                }
                if (i->desc->class == X86_CLASS_POP && !i->has_mem && t->guess[X86_RSP].valued &&
                    soft_mirror_peek(t->v, t->guess[X86_RSP].value, 8, ret_value))
                        return i->rm;
                return -1;
        }
}

/* MOVZX and MOVSX. */
static int
result_of_extension(const struct tr *t, const struct x86_insn *i, uint64_t *ret_value)
{
        unsigned size = i->opcode & 1 ? 2 : 1;

        if ((i->opcode & 0xf6) != 0xb6 || !operand_now(t, i, size, ret_value))
                return -1;
        if (i->opcode & 8)
                *ret_value = (uint64_t)(size == 1 ? (int64_t)(int8_t)*ret_value : (int64_t)(int16_t)*ret_value);
        return i->reg;
}

/* What common instructions leave in the register that they write; false: it is not told. */
static bool
result(const struct tr *t, const struct x86_insn *i, unsigned *ret_gpr, struct tr_guess *ret_result)
{
        struct tr_guess g = { .valued = true, .fresh = true, .near = -1 };
        bool byte = i->map == X86_MAP_1B;
        int gpr;

        if (i->opsize < 4 || i->vex || (!byte && i->map != X86_MAP_0F))
                return false;
        gpr = byte ? result_of_byte(t, i, &g.value) : result_of_extension(t, i, &g.value);
        if (gpr < 0)
                return false;
        if (i->opsize == 4)
                g.value = (uint32_t)g.value;
        *ret_gpr = (unsigned)gpr;
        *ret_result = g;
        return true;
}

/* A copy of a pointer, or one to something near it, which leads to the same chunk: of which register, and how far; -1: none. */
static int
copied(const struct x86_insn *i, int64_t *ret_drift)
{
        *ret_drift = 0;
        if (i->opsize != 8 || i->map != X86_MAP_1B || i->vex)
                return -1;
        if ((i->opcode == 0x89 || i->opcode == 0x8b) && !i->has_mem)
                return i->opcode == 0x89 ? i->reg : i->rm;
        if (i->opcode != 0x8d || i->asize != 8 || i->mem_base < 0 || i->mem_base == X86_BASE_RIP || i->mem_index >= 0)
                return -1;
        *ret_drift = i->disp;
        return i->mem_base;
}

void
tr_guess_follow(struct tr *t, const struct x86_insn *i)
{
        bool ends = tr_ends_addresses(i), told;
        struct tr_guess of_result = { .near = -1 };
        uint16_t written = x86_insn_writes(i);
        int64_t change;
        unsigned gpr = 0;
        int from;

        if (!guesses(t))
                return;
        told = !ends && result(t, i, &gpr, &of_result);
        from = copied(i, &change);
        if (told && from >= 0) {
                of_result.near = t->guess[from].near;
                of_result.drift = t->guess[from].drift + change;
        }
        for (unsigned n = 0; n < X86_GPR_COUNT; n++) {
                struct tr_guess *g = &t->guess[n];

                if (ends || !x86_insn_adds(i, n, &change)) {
                        g->valued = false;
                        g->near = -1;
                } else {
                        g->value += (uint64_t)change;
                        g->drift += change;
                }
        }
        if (told && written >> gpr & 1)
                t->guess[gpr] = of_result;
        for (unsigned n = 0; n < X86_GPR_COUNT; n++)
                if (t->guess[n].drift < -(int64_t)SOFT_MIRROR_DRIFT || t->guess[n].drift > (int64_t)SOFT_MIRROR_DRIFT)
                        t->guess[n].near = -1;
}
