/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The decoder: prefixes, VEX, opcode, ModRM, immediates (SDM 2A chapter 2).
 * What each instruction reads and writes stands in decode_tables_*.c.
 *
 * Processor differences are decided as Intel does: 66 does not shorten near
 * branches in 64-bit mode, LOCK MOV CR0 is undefined, 3DNow! and XOP do not exist.
 */
#include "x86/decode.h"
#include "x86/decode_tables.h"

#include "x86/state.h"

#include <stddef.h>

/* Bytes still to be decoded.  A read past the end sets a flag and yields 0. */
struct cursor {
        const uint8_t *start;
        const uint8_t *at;
        const uint8_t *end;
        bool over;
};

struct prefixes {
        uint8_t rex;
        bool address;
        bool illegal_vex; /* 66, F2, F3, LOCK or REX: none may stand before VEX */
};

static uint8_t
take8(struct cursor *c)
{
        if (c->at >= c->end) {
                c->over = true;
                return 0;
        }
        return *c->at++;
}

static uint64_t
take(struct cursor *c, unsigned bytes)
{
        const uint8_t *at = c->at;
        uint64_t value = 0;

        if ((size_t)(c->end - at) < bytes) {
                c->at = c->end;
                c->over = true;
                return 0;
        }
        c->at += bytes;
        for (unsigned i = bytes; i-- > 0;)
                value = value << 8 | at[i];
        return value;
}

static int32_t
take32(struct cursor *c)
{
        const uint8_t *at = c->at;

        if (c->end - at < 4) {
                c->at = c->end;
                c->over = true;
                return 0;
        }
        c->at += 4;
        return (int32_t)(at[0] | (uint32_t)at[1] << 8 | (uint32_t)at[2] << 16 | (uint32_t)at[3] << 24);
}

static int64_t
sign_extend(uint64_t value, unsigned bytes)
{
        unsigned shift = 64 - 8 * bytes;

        return bytes == 0 ? 0 : (int64_t)(value << shift) >> shift;
}

/* Legacy prefixes; from PREFIX_SEGMENT on, that of an enum x86_sreg. */
enum { PREFIX_NONE, PREFIX_OPSIZE, PREFIX_ADDRESS, PREFIX_LOCK, PREFIX_REP, PREFIX_SEGMENT };

static const uint8_t legacy_prefix[256] = {
        [0x26] = PREFIX_SEGMENT + X86_ES, [0x2e] = PREFIX_SEGMENT + X86_CS, [0x36] = PREFIX_SEGMENT + X86_SS,
        [0x3e] = PREFIX_SEGMENT + X86_DS, [0x64] = PREFIX_SEGMENT + X86_FS, [0x65] = PREFIX_SEGMENT + X86_GS,
        [0x66] = PREFIX_OPSIZE, [0x67] = PREFIX_ADDRESS, [0xf0] = PREFIX_LOCK, [0xf2] = PREFIX_REP, [0xf3] = PREFIX_REP,
};

static void
note_prefix(struct x86_insn *in, struct prefixes *p, uint8_t byte)
{
        unsigned prefix = legacy_prefix[byte], sreg = prefix - PREFIX_SEGMENT;

        switch (prefix) {
        case PREFIX_OPSIZE:
                in->opsize_prefix = true;
                break;
        case PREFIX_ADDRESS:
                p->address = true;
                break;
        case PREFIX_LOCK:
                in->lock = true;
                break;
        case PREFIX_REP:
                in->rep = byte;
                break;
        default:
                if (in->mode != X86_MODE_64 || sreg == X86_FS || sreg == X86_GS) /* others are ignored there, SDM 1 3.3.7.1 */
                        in->seg_override = (uint8_t)sreg;
                break;
        }
}

/* Reads prefixes; returns the first byte that is none.  A REX followed by another prefix has no effect. */
static uint8_t
read_prefixes(struct cursor *c, struct x86_insn *in, struct prefixes *p)
{
        uint8_t byte = take8(c);

        for (;;) {
                if (in->mode == X86_MODE_64 && (byte & 0xf0) == 0x40) {
                        p->rex = byte;
                } else if (legacy_prefix[byte] != PREFIX_NONE) {
                        note_prefix(in, p, byte);
                        p->rex = 0;
                } else {
                        break;
                }
                if (c->over)
                        return 0;
                byte = take8(c);
        }
        in->rex = p->rex != 0;
        in->rex_w = p->rex >> 3 & 1;
        p->illegal_vex = p->rex != 0 || in->opsize_prefix || in->rep != 0 || in->lock;
        return byte;
}

static unsigned
address_size(enum x86_mode mode, bool prefix)
{
        switch (mode) {
        case X86_MODE_64:
                return prefix ? 4 : 8;
        case X86_MODE_32:
                return prefix ? 2 : 4;
        default:
                return prefix ? 4 : 2;
        }
}

static unsigned
operand_size(const struct x86_insn *in)
{
        uint32_t flags = in->desc->flags;
        bool small = in->opsize_prefix && !(flags & (X86_OD_SSE | X86_OD_IGN66));

        if (flags & X86_OD_BYTE)
                return 1;
        if (in->mode == X86_MODE_64) {
                if (in->rex_w || (flags & X86_OD_FORCE64))
                        return 8;
                if (small)
                        return 2;
                return flags & X86_OD_DEF64 ? 8 : 4;
        }
        if (flags & (X86_OD_SSE | X86_OD_AVX | X86_OD_IGN66))
                return 4;
        return (in->mode == X86_MODE_32) != small ? 4 : 2;
}

/* SDM 2A table 2-1. */
static void
read_mem16(struct cursor *c, struct x86_insn *in)
{
        static const int8_t bases[8] = { X86_RBX, X86_RBX, X86_RBP, X86_RBP, X86_RSI, X86_RDI, X86_RBP,
                X86_RBX };
        static const int8_t indexes[8] = { X86_RSI, X86_RDI, X86_RSI, X86_RDI, -1, -1, -1, -1 };
        unsigned rm = in->modrm & 7;

        in->mem_base = bases[rm];
        in->mem_index = indexes[rm];
        if (in->mod == 0 && rm == 6) {
                in->mem_base = -1;
                in->disp = sign_extend(take(c, 2), 2);
        } else if (in->mod == 1) {
                in->disp = (int8_t)take8(c);
        } else if (in->mod == 2) {
                in->disp = sign_extend(take(c, 2), 2);
        }
        in->mem_seg = in->mem_base == X86_RBP ? X86_SS : X86_DS;
}

/* SDM 2A tables 2-2 and 2-3. */
static void
read_sib(struct cursor *c, struct x86_insn *in, uint8_t rex, bool vsib)
{
        uint8_t sib = take8(c);
        unsigned index = (sib >> 3 & 7) | (rex & 2) << 2;
        unsigned base = (sib & 7) | (rex & 1) << 3;

        in->mem_scale = (uint8_t)(1u << (sib >> 6));
        if (index != 4 || vsib)
                in->mem_index = (int8_t)index;
        else
                in->mem_scale = 1;
        if ((base & 7) == 5 && in->mod == 0)
                in->disp = take32(c);
        else
                in->mem_base = (int8_t)base;
}

static void
read_mem(struct cursor *c, struct x86_insn *in, uint8_t rex)
{
        unsigned rm = in->modrm & 7;

        if (rm == 4) {
                read_sib(c, in, rex, in->desc->flags & X86_OD_VSIB);
        } else if (rm == 5 && in->mod == 0) {
                in->mem_base = in->mode == X86_MODE_64 ? X86_BASE_RIP : -1;
                in->disp = take32(c);
        } else {
                in->mem_base = (int8_t)(rm | (rex & 1) << 3);
        }
        if (in->mod == 1)
                in->disp = (int8_t)take8(c);
        else if (in->mod == 2)
                in->disp = take32(c);
        in->mem_seg = in->mem_base == X86_RSP || in->mem_base == X86_RBP ? X86_SS : X86_DS;
}

static bool
imm_is_unsigned(const struct x86_insn *in)
{
        if (in->map != X86_MAP_1B)
                return false;
        switch (in->opcode) {
        case 0xc2: /* RET */
        case 0xca:
        case 0xcd: /* INT */
        case 0xd4: /* AAM AAD */
        case 0xd5:
        case 0xe4: /* IN OUT */
        case 0xe5:
        case 0xe6:
        case 0xe7:
                return true;
        default:
                return false;
        }
}

static void
read_moffs(struct cursor *c, struct x86_insn *in)
{
        in->has_mem = true;
        in->mem_seg = X86_DS;
        in->disp = (int64_t)take(c, in->asize);
}

static void
read_imm(struct cursor *c, struct x86_insn *in)
{
        unsigned bytes = in->desc->imm;

        switch (bytes) {
        case 0:
                return;
        case X86_IMM_MOFFS:
                read_moffs(c, in);
                return;
        case X86_IMM_Z:
                bytes = in->opsize == 2 ? 2 : 4;
                break;
        case X86_IMM_V:
                bytes = in->opsize;
                break;
        case X86_IMM_FAR:
                in->imm_bytes = in->opsize == 2 ? 2 : 4;
                in->imm = (int64_t)take(c, in->imm_bytes);
                in->imm2 = (uint16_t)take(c, 2);
                return;
        case X86_IMM_ENTER:
                in->imm_bytes = 2;
                in->imm = (int64_t)take(c, 2);
                in->imm2 = take8(c);
                return;
        case X86_IMM_IS4:
                bytes = 1;
                break;
        default:
                break;
        }
        in->imm_bytes = (uint8_t)bytes;
        if (bytes == 1)
                in->imm = (int8_t)take8(c);
        else if (bytes == 4)
                in->imm = take32(c);
        else
                in->imm = sign_extend(take(c, bytes), bytes);
        if (imm_is_unsigned(in))
                in->imm = (int64_t)((uint64_t)in->imm & ((1ull << 8 * bytes) - 1));
}

static const struct x86_opdesc *
find_row(const struct x86_opgroup *group, unsigned key)
{
        for (unsigned i = 0; i < group->count; i++) {
                const struct x86_oprow *row = &group->rows[i];

                if ((key & row->mask) == row->value)
                        return &row->desc;
        }
        return NULL;
}

static unsigned
make_key(const struct x86_insn *in, unsigned pp, uint8_t rex)
{
        unsigned key = pp;

        if (in->has_modrm)
                key |= (in->mod == 3 ? X86_KEY_MOD3 : 0) | (in->modrm & 0x38u) | (in->modrm & 7u) << 6;
        key |= in->rex_w ? X86_KEY_W : 0;
        key |= in->vex_l ? X86_KEY_L : 0;
        key |= in->mode == X86_MODE_64 ? X86_KEY_M64 : 0;
        key |= rex & 1 ? X86_KEY_B : 0;
        key |= in->opsize_prefix ? X86_KEY_O16 : 0;
        return key;
}

/* Tables of legacy opcodes, after the escape bytes; in->opcode and in->map are set. */
static const struct x86_opgroup *
read_opcode(struct cursor *c, struct x86_insn *in, uint8_t byte)
{
        in->map = X86_MAP_1B;
        in->opcode = byte;
        if (byte >= 0xd8 && byte <= 0xdf) {
                in->map = X86_MAP_X87;
                return NULL;
        }
        if (byte != 0x0f)
                return &x86_ops_1b[byte];
        in->map = X86_MAP_0F;
        in->opcode = take8(c);
        if (in->opcode == 0x38) {
                in->map = X86_MAP_0F38;
                in->opcode = take8(c);
                return &x86_ops_0f38[in->opcode];
        }
        if (in->opcode == 0x3a) {
                in->map = X86_MAP_0F3A;
                in->opcode = take8(c);
                return &x86_ops_0f3a[in->opcode];
        }
        return &x86_ops_0f[in->opcode];
}

/*
 * Reads the rest of a VEX prefix (SDM 2A 2.3.5) and the opcode.
 * NULL for an undefined map.  *rex gets R, X and B as a REX prefix holds them.
 */
static const struct x86_opgroup *
read_vex(struct cursor *c, struct x86_insn *in, uint8_t first, uint8_t *rex)
{
        uint8_t b1 = take8(c), b2 = b1;
        unsigned map = 1;

        *rex = ~b1 >> 5 & 4;
        if (first == 0xc4) {
                *rex = ~b1 >> 5 & 7;
                map = b1 & 0x1f;
                b2 = take8(c);
                in->rex_w = b2 >> 7;
        }
        if (in->mode != X86_MODE_64)
                *rex = 0;
        in->vex = true;
        in->vvvv = ~b2 >> 3 & 15;
        in->vex_l = b2 >> 2 & 1;
        in->vex_pp = b2 & 3;
        in->opcode = take8(c);
        switch (map) {
        case 1:
                in->map = X86_MAP_0F;
                return &x86_ops_vex_0f[in->opcode];
        case 2:
                in->map = X86_MAP_0F38;
                return &x86_ops_vex_0f38[in->opcode];
        case 3:
                in->map = X86_MAP_0F3A;
                return &x86_ops_vex_0f3a[in->opcode];
        default:
                return NULL;
        }
}

/* C4 and C5 are LES and LDS outside 64-bit mode, except where their ModRM would name a register. */
static bool
is_vex(const struct cursor *c, const struct x86_insn *in, uint8_t byte)
{
        if (byte != 0xc4 && byte != 0xc5)
                return false;
        if (in->mode == X86_MODE_64)
                return true;
        return c->at < c->end && (*c->at & 0xc0) == 0xc0;
}

static void
read_modrm(struct cursor *c, struct x86_insn *in, uint8_t rex)
{
        in->has_modrm = true;
        in->modrm = take8(c);
        in->mod = in->modrm >> 6;
        in->reg = (in->modrm >> 3 & 7) | (rex & 4) << 1;
        /* MOV to and from control and debug registers takes every mod for 3, SDM 2B. */
        if (in->map == X86_MAP_0F && in->opcode >= 0x20 && in->opcode <= 0x23 && !in->vex)
                in->mod = 3;
        if (in->mod == 3)
                in->rm = (in->modrm & 7) | (rex & 1) << 3;
}

/* MMX, segment and EXT fields have 3 bits; segment, control and debug registers have holes. */
static bool
registers_valid(struct x86_insn *in)
{
        if (in->desc->reg_kind <= X86_OPK_XMM && in->desc->rm_kind <= X86_OPK_XMM)
                return true;
        switch (in->desc->reg_kind) {
        case X86_OPK_MMX:
                in->reg &= 7;
                break;
        case X86_OPK_EXT:
                in->reg &= 7;
                break;
        case X86_OPK_SREG:
                in->reg &= 7;
                if (in->reg > X86_GS || (in->desc->sys == X86_SYS_MOV_SREG_R && in->reg == X86_CS))
                        return false;
                break;
        case X86_OPK_CR:
                if (in->reg > 8 || !(0x11d >> in->reg & 1))
                        return false;
                break;
        case X86_OPK_DR:
                if (in->reg > 7)
                        return false;
                break;
        default:
                break;
        }
        if (in->desc->rm_kind == X86_OPK_MMX && in->mod == 3)
                in->rm &= 7;
        return true;
}

static bool
vex_valid(struct x86_insn *in)
{
        uint32_t flags = in->desc->flags;

        if (in->desc->vvvv_kind == X86_OPK_NONE && in->vvvv != 0)
                return false;
        if (in->mode != X86_MODE_64)
                in->vvvv &= 7;
        /* Gathers: destination, index and mask are three registers (SDM 2C VPGATHERDD). */
        if (flags & X86_OD_VSIB)
                return in->reg != in->vvvv && in->reg != in->mem_index && in->vvvv != in->mem_index;
        return true;
}

static bool
encoding_valid(struct x86_insn *in)
{
        uint32_t flags = in->desc->flags;

        if ((flags & (X86_OD_NO64 | X86_OD_ONLY64)) && (in->mode == X86_MODE_64) != !!(flags & X86_OD_ONLY64))
                return false;
        if ((flags & (X86_OD_MEMONLY | X86_OD_REGONLY)) && (in->mod == 3) != !!(flags & X86_OD_REGONLY))
                return false;
        if (in->lock && (!(flags & X86_OD_LOCKABLE) || in->mod == 3))
                return false;
        if ((flags & X86_OD_VSIB) && ((in->modrm & 7) != 4 || in->asize == 2))
                return false;
        return registers_valid(in) && (!in->vex || vex_valid(in));
}

static void
finish_segments(struct x86_insn *in)
{
        if (in->has_mem && in->seg_override != 0xff)
                in->mem_seg = in->seg_override;
        if (in->desc->class != X86_CLASS_SYSTEM)
                return;
        switch (in->desc->sys) {
        case X86_SYS_PUSH_SREG:
        case X86_SYS_POP_SREG:
                in->reg = in->opcode >> 3 & 7;
                break;
        case X86_SYS_LFS:
                if (in->map == X86_MAP_1B)
                        in->imm2 = in->opcode == 0xc4 ? X86_ES : X86_DS;
                else
                        in->imm2 = in->opcode & 7;
                break;
        default:
                break;
        }
}

/* Outside 64-bit mode there are no 64-bit general registers and no vector registers above 7: SDM 2A 2.3.5. */
static void
narrow_vex(struct x86_insn *in)
{
        const struct x86_opdesc *d = in->desc;

        if (d->reg_kind == X86_OPK_GPR || d->rm_kind == X86_OPK_GPR || d->vvvv_kind == X86_OPK_GPR ||
            d->implicit_read != 0) /* VPCMPESTRI */
                in->rex_w = 0;
        if (d->imm == X86_IMM_IS4)
                in->imm &= 0x7f;
}

/* Shifts by an immediate of which no bit counts leave the flags alone. */
static void
apply_zero_count(struct x86_insn *in)
{
        if ((in->imm & (in->opsize == 8 ? 63 : 31)) == 0) {
                const char *row = (const char *)in->desc - offsetof(struct x86_oprow, desc);

                in->desc = &((const struct x86_oprow *)row + 1)->desc;
        }
}

/* The mandatory prefix, as keys have it. */
static unsigned
key_prefix(const struct x86_insn *in)
{
        if (in->vex)
                return in->vex_pp;
        return in->rep == 0 ? in->opsize_prefix : in->rep == 0xf3 ? 2 : 3;
}

static const struct x86_opdesc *
look_up(struct x86_insn *in, const struct x86_opgroup *group, uint8_t rex)
{
        if (in->map == X86_MAP_X87)
                group = &x86_ops_x87[(in->opcode & 7) << 3 | (in->modrm >> 3 & 7)];
        if (group->count != 0 && group->rows[0].mask == 0)
                return &group->rows[0].desc;
        return find_row(group, make_key(in, key_prefix(in), rex));
}

/* Everything after the prefixes.  False: undefined, or bytes ran out (c->over). */
static bool
decode_rest(struct cursor *c, struct x86_insn *in, const struct prefixes *p, uint8_t byte)
{
        const struct x86_opgroup *group;
        uint8_t rex = p->rex;

        if (is_vex(c, in, byte)) {
                if (p->illegal_vex)
                        return false;
                group = read_vex(c, in, byte, &rex);
                if (!group)
                        return false;
        } else {
                group = read_opcode(c, in, byte);
        }
        if (c->over || (group && group->count == 0))
                return false;
        if (!group || group->modrm)
                read_modrm(c, in, rex);
        else
                in->rm = (in->opcode & 7) | (rex & 1) << 3;
        in->cond = in->opcode & 15;
        if (c->over)
                return false;
        in->desc = look_up(in, group, rex);
        if (!in->desc)
                return false;
        in->opsize = (uint8_t)operand_size(in);
        if (in->has_modrm && in->mod != 3) {
                in->has_mem = true;
                if (in->asize == 2)
                        read_mem16(c, in);
                else
                        read_mem(c, in, rex);
        }
        read_imm(c, in);
        finish_segments(in);
        if (in->vex && in->mode != X86_MODE_64)
                narrow_vex(in);
        if (in->desc->flags & X86_OD_ZEROCOUNT)
                apply_zero_count(in);
        return !c->over && encoding_valid(in);
}

enum x86_decode_result
x86_decode(const uint8_t *bytes, unsigned avail, enum x86_mode mode, struct x86_insn *in)
{
        struct cursor c = { .start = bytes, .at = bytes };
        struct prefixes p = { 0 };
        uint8_t byte;
        bool ok;

        *in = (struct x86_insn) { .mode = (uint8_t)mode, .mem_base = -1, .mem_index = -1, .mem_scale = 1,
                .mem_seg = X86_DS, .seg_override = 0xff };
        c.end = bytes + (avail > X86_INSN_MAX ? X86_INSN_MAX : avail);
        byte = read_prefixes(&c, in, &p);
        in->asize = (uint8_t)address_size(mode, p.address);
        ok = !c.over && decode_rest(&c, in, &p, byte);
        in->len = (uint8_t)(c.at - c.start);
        if (c.over)
                return avail < X86_INSN_MAX ? X86_DECODE_SHORT : X86_DECODE_TOO_LONG;
        return ok ? X86_DECODE_OK : X86_DECODE_UD;
}

bool
x86_insn_is_near_branch(const struct x86_insn *insn)
{
        switch (insn->desc->class) {
        case X86_CLASS_JMP:
        case X86_CLASS_JCC:
        case X86_CLASS_LOOP:
        case X86_CLASS_CALL:
        case X86_CLASS_JMP_IND:
        case X86_CLASS_CALL_IND:
        case X86_CLASS_RET:
                return true;
        default:
                return false;
        }
}

unsigned
x86_insn_mem_bytes(const struct x86_insn *in)
{
        unsigned vector = in->vex_l ? 32 : 16;

        if (!in->has_mem)
                return 0;
        switch (in->desc->mem_bytes) {
        case X86_MSZ_OPSIZE:
                return in->opsize;
        case X86_MSZ_VL:
                return vector;
        case X86_MSZ_HALFVL:
                return vector / 2;
        case X86_MSZ_QUARTVL:
                return vector / 4;
        case X86_MSZ_EIGHTHVL:
                return vector / 8;
        default:
                return in->desc->mem_bytes;
        }
}

uint16_t
x86_insn_writes(const struct x86_insn *in)
{
        const struct x86_opdesc *d = in->desc;
        uint16_t written = d->implicit_write;

        if (d->reg_kind == X86_OPK_GPR && (d->reg_access & X86_ACC_W))
                written |= (uint16_t)(1u << (d->flags & X86_OD_BYTE ? in->reg & 3 : in->reg) | 1u << in->reg);
        if (d->rm_kind == X86_OPK_GPR && !in->has_mem && (d->rm_access & X86_ACC_W))
                written |= (uint16_t)(1u << (d->flags & (X86_OD_BYTE | X86_OD_RM8) ? in->rm & 3 : in->rm) | 1u << in->rm);
        if (d->vvvv_kind == X86_OPK_GPR && (d->vvvv_access & X86_ACC_W))
                written |= (uint16_t)(1u << in->vvvv);
        if (d->class == X86_CLASS_POP && !in->has_mem)
                written |= (uint16_t)(1u << in->rm);
        return written;
}

/* With an operand of 32 bits: those that write one register, whatever the flags and operands are. */
static bool
writes_always(const struct x86_insn *in)
{
        unsigned opcode = in->opcode;

        if (opcode < 0x40) /* ADD to CMP: r/m32, r32 and r32, r/m32 */
                return (opcode & 7) == 1 || (opcode & 7) == 3;
        if (opcode == 0xc1) /* shifts: a count of 0 is none */
                return (in->imm & 31) != 0;
        return opcode == 0x69 || opcode == 0x6b || opcode == 0x81 || opcode == 0x83 || opcode == 0x89 || opcode == 0x8b ||
            (opcode >= 0xb8 && opcode <= 0xbf);
}

bool
x86_insn_extends(const struct x86_insn *in)
{
        unsigned opcode = in->opcode;

        if (in->opsize < 4 || in->vex || in->desc->implicit_write != 0)
                return false;
        if (in->desc->class == X86_CLASS_LEA)
                return in->opsize == 4;
        if (in->desc->class != X86_CLASS_PLAIN)
                return false;
        if (in->map == X86_MAP_0F) /* MOVZX, MOVSX; IMUL */
                return opcode == 0xb6 || opcode == 0xb7 || opcode == 0xbe || opcode == 0xbf || (opcode == 0xaf && in->opsize == 4);
        if (in->map != X86_MAP_1B)
                return false;
        if (opcode == 0x63) /* MOVSXD */
                return true;
        if ((opcode == 0x81 || opcode == 0x83) && (in->reg & 7) == 4 && in->imm >= 0) /* AND with a positive number */
                return true;
        return in->opsize == 4 && writes_always(in);
}

bool
x86_insn_adds(const struct x86_insn *in, unsigned gpr, int64_t *ret_change)
{
        const struct x86_opdesc *d = in->desc;

        *ret_change = 0;
        if ((d->class == X86_CLASS_PUSH || d->class == X86_CLASS_POP) && gpr == X86_RSP) {
                *ret_change = d->class == X86_CLASS_PUSH ? -(int64_t)in->opsize : in->opsize;
                return d->class == X86_CLASS_PUSH || in->has_mem || in->rm != X86_RSP;
        }
        if (!(x86_insn_writes(in) >> gpr & 1))
                return true;
        if (in->opsize != 8)
                return false;
        if (d->class == X86_CLASS_LEA && in->mem_base == (int)gpr && in->mem_index < 0 && in->asize == 8) {
                *ret_change = in->disp;
                return true;
        }
        if (in->map != X86_MAP_1B || in->has_mem || in->rm != gpr)
                return false;
        if ((in->opcode == 0x81 || in->opcode == 0x83) && ((in->reg & 7) == 0 || (in->reg & 7) == 5)) {
                *ret_change = (in->reg & 7) == 0 ? in->imm : -in->imm;
                return true;
        }
        if (in->opcode == 0xff && (in->reg & 7) < 2) {
                *ret_change = (in->reg & 7) == 0 ? 1 : -1;
                return true;
        }
        return false;
}
