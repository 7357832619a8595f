/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Writing x86-64 instructions as bytes.
 *
 * The caller makes sure that there is room.  Opcodes of the 0F map are given
 * as 0x0fXX.  emit_gs_*() address `struct soft_cpu` by gs:[offset].
 */
#ifndef CPU_SOFT_EMIT_H
#define CPU_SOFT_EMIT_H

#include <assert.h>
#include <stdbool.h>
#include <stdint.h>

struct emit {
        uint8_t *p;     /* next byte, in the writable mapping */
        intptr_t delta; /* what to add for the executable mapping */
};

enum host_reg {
        H_RAX, H_RCX, H_RDX, H_RBX, H_RSP, H_RBP, H_RSI, H_RDI,
        H_R8, H_R9, H_R10, H_R11, H_R12, H_R13, H_R14, H_R15,
};

#define EMIT_W 1 /* 64-bit operand */
#define EMIT_D 0

static inline uint8_t *
emit_here(const struct emit *e)
{
        return e->p + e->delta;
}

static inline void
emit8(struct emit *e, unsigned v)
{
        *e->p++ = (uint8_t)v;
}

static inline void
emit16(struct emit *e, unsigned v)
{
        emit8(e, v);
        emit8(e, v >> 8);
}

static inline void
emit32(struct emit *e, uint32_t v)
{
        __builtin_memcpy(e->p, &v, 4);
        e->p += 4;
}

static inline void
emit64(struct emit *e, uint64_t v)
{
        __builtin_memcpy(e->p, &v, 8);
        e->p += 8;
}

/*
 * What writes an instruction takes the place of the next byte and returns it, so that it can stay in a register:
 * a byte that is stored might be one of struct emit, for all the compiler knows.
 */
static inline uint8_t *
put8(uint8_t *p, unsigned v)
{
        *p = (uint8_t)v;
        return p + 1;
}

static inline uint8_t *
put32(uint8_t *p, uint32_t v)
{
        __builtin_memcpy(p, &v, 4);
        return p + 4;
}

static inline uint8_t *
put_opcode(uint8_t *p, unsigned opcode)
{
        if (opcode > 0xff)
                p = put8(p, opcode >> 8);
        return put8(p, opcode);
}

/* A REX prefix where one is needed; @force for SPL-DIL. */
static inline uint8_t *
put_rex(uint8_t *p, int w, unsigned reg, unsigned index, unsigned base, bool force)
{
        unsigned rex = 0x40u | (unsigned)w << 3 | (reg >> 3) << 2 | (index >> 3) << 1 | base >> 3;

        return rex != 0x40 || force ? put8(p, rex) : p;
}

static inline uint8_t *
put_rr(uint8_t *p, int w, unsigned opcode, unsigned reg, unsigned rm)
{
        p = put_opcode(put_rex(p, w, reg, 0, rm, false), opcode);
        return put8(p, 0xc0u | (reg & 7) << 3 | (rm & 7));
}

/* op reg, rm: both registers. */
static inline void
emit_rr(struct emit *e, int w, unsigned opcode, unsigned reg, unsigned rm)
{
        e->p = put_rr(e->p, w, opcode, reg, rm);
}

/* ModRM, SIB and displacement of [base + index*scale + disp]; index < 0: none, and never RSP; base < 0: none. */
static inline uint8_t *
put_address(uint8_t *p, unsigned reg, int base, int index, unsigned scale, int32_t disp)
{
        unsigned r = (reg & 7) << 3;
        unsigned ss = scale == 8 ? 3 : scale == 4 ? 2 : scale == 2 ? 1 : 0;
        unsigned mod;

        assert(index != H_RSP);
        if (base < 0) { /* [index*scale + disp32], or [disp32] */
                p = put8(p, r | 4);
                p = put8(p, ss << 6 | (index < 0 ? 4u : (unsigned)index & 7) << 3 | 5);
                return put32(p, (uint32_t)disp);
        }
        if (disp == 0 && (base & 7) != 5)
                mod = 0;
        else if (disp >= -128 && disp <= 127)
                mod = 0x40;
        else
                mod = 0x80;
        if (index >= 0 || (base & 7) == 4) {
                p = put8(p, mod | r | 4);
                p = put8(p, ss << 6 | (index < 0 ? 4u : (unsigned)index & 7) << 3 | ((unsigned)base & 7));
        } else {
                p = put8(p, mod | r | ((unsigned)base & 7));
        }
        if (mod == 0x40)
                return put8(p, (uint8_t)disp);
        return mod == 0x80 ? put32(p, (uint32_t)disp) : p;
}

/* op reg, [base + index*scale + disp] */
static inline void
emit_rm(struct emit *e, int w, unsigned opcode, unsigned reg, int base, int index, unsigned scale, int32_t disp)
{
        uint8_t *p = put_rex(e->p, w, reg, index < 0 ? 0 : (unsigned)index, base < 0 ? 0 : (unsigned)base, false);

        e->p = put_address(put_opcode(p, opcode), reg, base, index, scale, disp);
}

static inline uint8_t *
put_gs(uint8_t *p, int w, unsigned opcode, unsigned reg, unsigned long offset)
{
        p = put_rex(put8(p, 0x65), w, reg, 0, 0, false);
        p = put8(put_opcode(p, opcode), 4 | (reg & 7) << 3);
        return put32(put8(p, 0x25), (uint32_t)offset);
}

/* op reg, gs:[offset]; reg may be an opcode extension. */
static inline void
emit_gs(struct emit *e, int w, unsigned opcode, unsigned reg, unsigned long offset)
{
        e->p = put_gs(e->p, w, opcode, reg, offset);
}

static inline void
emit_gs_load(struct emit *e, int w, unsigned reg, unsigned long offset)
{
        emit_gs(e, w, 0x8b, reg, offset);
}

static inline void
emit_gs_store(struct emit *e, int w, unsigned reg, unsigned long offset)
{
        emit_gs(e, w, 0x89, reg, offset);
}

/* mov dword gs:[offset], imm */
static inline void
emit_gs_store_imm32(struct emit *e, unsigned long offset, uint32_t imm)
{
        e->p = put32(put_gs(e->p, EMIT_D, 0xc7, 0, offset), imm);
}

/* cmp dword gs:[offset], imm8 */
static inline void
emit_gs_cmp_imm8(struct emit *e, unsigned long offset, unsigned imm)
{
        e->p = put8(put_gs(e->p, EMIT_D, 0x83, 7, offset), imm);
}

/* rorx dst, src, bits: 64 bits; flags kept.  Wants BMI2. */
static inline void
emit_rorx(struct emit *e, unsigned dst, unsigned src, unsigned bits)
{
        uint8_t *p = put8(e->p, 0xc4);

        p = put8(p, (~dst >> 3 & 1) << 7 | 1u << 6 | (~src >> 3 & 1) << 5 | 3);
        p = put8(put8(p, 0xfb), 0xf0);
        e->p = put8(put8(p, 0xc0 | (dst & 7) << 3 | (src & 7)), bits);
}

static inline void
emit_mov_rr(struct emit *e, int w, unsigned dst, unsigned src)
{
        emit_rr(e, w, 0x8b, dst, src);
}

/* The shortest move of a constant to a 64-bit register; flags kept. */
static inline void
emit_mov_imm(struct emit *e, unsigned reg, uint64_t imm)
{
        uint8_t *p = e->p;

        if (imm <= UINT32_MAX) {
                p = put8(put_rex(p, 0, 0, 0, reg, false), 0xb8 | (reg & 7));
                e->p = put32(p, (uint32_t)imm);
        } else if ((int64_t)imm == (int32_t)imm) {
                e->p = put32(put_rr(p, EMIT_W, 0xc7, 0, reg), (uint32_t)imm);
        } else {
                e->p = put8(put_rex(p, EMIT_W, 0, 0, reg, false), 0xb8 | (reg & 7));
                emit64(e, imm);
        }
}

/* op reg, imm32 (81 /ext), sign-extended */
static inline void
emit_alu_imm(struct emit *e, int w, unsigned ext, unsigned reg, int32_t imm)
{
        if (imm >= -128 && imm <= 127)
                e->p = put8(put_rr(e->p, w, 0x83, ext, reg), (uint8_t)imm);
        else
                e->p = put32(put_rr(e->p, w, 0x81, ext, reg), (uint32_t)imm);
}

#define ALU_ADD 0u
#define ALU_OR  1u
#define ALU_AND 4u
#define ALU_SUB 5u
#define ALU_XOR 6u
#define ALU_CMP 7u

#define CC_O  0x0u
#define CC_B  0x2u
#define CC_AE 0x3u
#define CC_E  0x4u
#define CC_NE 0x5u
#define CC_A  0x7u
#define CC_NS 0x9u

/* Jumps whose displacement is filled in later: returns the address of the 4 bytes. */
static inline uint8_t *
emit_jcc32(struct emit *e, unsigned cc)
{
        e->p = put32(put8(put8(e->p, 0x0f), 0x80 | cc), 0);
        return e->p - 4;
}

static inline uint8_t *
emit_jmp32(struct emit *e)
{
        e->p = put32(put8(e->p, 0xe9), 0);
        return e->p - 4;
}

/* Fills in a 4-byte displacement to @target, an address in the same mapping as @field. */
static inline void
emit_fix32(uint8_t *field, const uint8_t *target)
{
        int32_t rel = (int32_t)(target - (field + 4));

        __builtin_memcpy(field, &rel, 4);
}

static inline void
emit_jmp_to(struct emit *e, const uint8_t *exec_target)
{
        uint8_t *f = emit_jmp32(e);

        emit_fix32(f, exec_target - e->delta);
}

static inline void
emit_jcc_to(struct emit *e, unsigned cc, const uint8_t *exec_target)
{
        uint8_t *f = emit_jcc32(e, cc);

        emit_fix32(f, exec_target - e->delta);
}

static inline void
emit_call_c(struct emit *e, uintptr_t fn)
{
        e->p = put8(put_rex(e->p, EMIT_W, 0, 0, H_RAX, false), 0xb8 | H_RAX);
        emit64(e, fn);
        emit8(e, 0xff); /* call rax */
        emit8(e, 0xd0);
}

#endif
