/* SPDX-License-Identifier: BSD-2-Clause */
#include "debug/regs.h"

#include "base/bytes.h"
#include "base/util.h"

#include <string.h>

/* The XSAVE area's legacy region (SDM 1 10.5.1) and the header behind it (13.4.2). */
#define XS_FCW     0u
#define XS_FSW     2u
#define XS_FTW     4u
#define XS_FOP     6u
#define XS_FIP     8u
#define XS_FDP     16u
#define XS_MXCSR   24u
#define XS_ST      32u
#define XS_XMM     160u
#define XS_HEADER  512u
#define XS_YMM_HI  576u
#define XS_BV_X87  1u
#define XS_BV_SSE  2u
#define XS_BV_AVX  4u

#define CORE     "org.gnu.gdb.i386.core"
#define SSE      "org.gnu.gdb.i386.sse"
#define SEGMENTS "org.gnu.gdb.i386.segments"
#define AVX      "org.gnu.gdb.i386.avx"
#define SYSTEM   "org.bhyve.system"

enum reg_kind {
        REG_PLAIN,  /* a field of the state */
        REG_XSAVE,  /* the same in the XSAVE area; bv: what must be marked as in use */
        REG_FTAG,   /* two bits a register, from one and the contents */
        REG_FISEG, REG_FIOFF, REG_FOSEG, REG_FOOFF,
};

struct reg_row {
        const char *name, *type, *feature;
        uint8_t bits;  /* as GDB sees it */
        uint8_t bytes; /* of the field */
        uint8_t kind;
        uint8_t bv;
        uint16_t offset;
};

#define ST(field) offsetof(struct x86_state, field)
#define GPR(name, n)  { name, "int64", CORE, 64, 8, REG_PLAIN, 0, ST(gpr) + 8 * (n) }
#define PTR(name, n)  { name, "data_ptr", CORE, 64, 8, REG_PLAIN, 0, ST(gpr) + 8 * (n) }
#define SEL(name, n)  { name, "int32", CORE, 32, 2, REG_PLAIN, 0, ST(seg) + sizeof(struct x86_seg) * (n) + offsetof(struct x86_seg, sel) }
#define FPU(n)        { "st" #n, "i387_ext", CORE, 80, 10, REG_XSAVE, XS_BV_X87, XS_ST + 16 * (n) }
#define FCTL(name, kind, bytes, offset) { name, "int", CORE, 32, bytes, kind, XS_BV_X87, offset }
#define XMM(n)        { "xmm" #n, "vec128", SSE, 128, 16, REG_XSAVE, XS_BV_SSE, XS_XMM + 16 * (n) }
#define YMM(n)        { "ymm" #n "h", "uint128", AVX, 128, 16, REG_XSAVE, XS_BV_AVX, XS_YMM_HI + 16 * (n) }
#define BASE(name, n) { name, "int", SEGMENTS, 64, 8, REG_PLAIN, 0, ST(seg) + sizeof(struct x86_seg) * (n) + offsetof(struct x86_seg, base) }
#define SYS(name, field) { name, "uint64", SYSTEM, 64, 8, REG_PLAIN, 0, ST(field) }

static const struct reg_row reg_rows[] = {
        GPR("rax", X86_RAX), GPR("rbx", X86_RBX), GPR("rcx", X86_RCX), GPR("rdx", X86_RDX), GPR("rsi", X86_RSI),
        GPR("rdi", X86_RDI), PTR("rbp", X86_RBP), PTR("rsp", X86_RSP), GPR("r8", 8), GPR("r9", 9), GPR("r10", 10),
        GPR("r11", 11), GPR("r12", 12), GPR("r13", 13), GPR("r14", 14), GPR("r15", 15),
        { "rip", "code_ptr", CORE, 64, 8, REG_PLAIN, 0, ST(rip) },
        { "eflags", "i386_eflags", CORE, 32, 4, REG_PLAIN, 0, ST(rflags) },
        SEL("cs", X86_CS), SEL("ss", X86_SS), SEL("ds", X86_DS), SEL("es", X86_ES), SEL("fs", X86_FS), SEL("gs", X86_GS),
        FPU(0), FPU(1), FPU(2), FPU(3), FPU(4), FPU(5), FPU(6), FPU(7),
        FCTL("fctrl", REG_XSAVE, 2, XS_FCW), FCTL("fstat", REG_XSAVE, 2, XS_FSW), FCTL("ftag", REG_FTAG, 4, XS_FTW),
        FCTL("fiseg", REG_FISEG, 4, XS_FIP), FCTL("fioff", REG_FIOFF, 4, XS_FIP), FCTL("foseg", REG_FOSEG, 4, XS_FDP),
        FCTL("fooff", REG_FOOFF, 4, XS_FDP), FCTL("fop", REG_XSAVE, 2, XS_FOP),
        XMM(0), XMM(1), XMM(2), XMM(3), XMM(4), XMM(5), XMM(6), XMM(7), XMM(8), XMM(9), XMM(10), XMM(11), XMM(12),
        XMM(13), XMM(14), XMM(15),
        { "mxcsr", "i386_mxcsr", SSE, 32, 4, REG_XSAVE, XS_BV_SSE, XS_MXCSR },
        BASE("fs_base", X86_FS), BASE("gs_base", X86_GS),
        YMM(0), YMM(1), YMM(2), YMM(3), YMM(4), YMM(5), YMM(6), YMM(7), YMM(8), YMM(9), YMM(10), YMM(11), YMM(12),
        YMM(13), YMM(14), YMM(15),
        SYS("k_gs_base", kernel_gs_base), SYS("cr0", cr0), SYS("cr2", cr2), SYS("cr3", cr3), SYS("cr4", cr4),
        SYS("cr8", cr8), SYS("efer", efer), SYS("dr0", dr[0]), SYS("dr1", dr[1]), SYS("dr2", dr[2]), SYS("dr3", dr[3]),
        SYS("dr6", dr6), SYS("dr7", dr7), SYS("xcr0", xcr0),
};

unsigned
debug_reg_count(void)
{
        return ARRAY_LEN(reg_rows);
}

unsigned
debug_reg_bytes(unsigned reg)
{
        return reg_rows[reg].bits / 8;
}

void
debug_reg_describe(unsigned reg, const char **ret_name, const char **ret_type, unsigned *ret_bits,
    const char **ret_feature)
{
        *ret_name = reg_rows[reg].name;
        *ret_type = reg_rows[reg].type;
        *ret_bits = reg_rows[reg].bits;
        *ret_feature = reg_rows[reg].feature;
}

/* What the two tag bits say of the value in register @r (SDM 1 8.1.7). */
static unsigned
tag_of(const uint8_t *xsave, unsigned r)
{
        unsigned top = get_le16(xsave + XS_FSW) >> 11 & 7;
        const uint8_t *st = xsave + XS_ST + 16 * ((r - top) & 7);
        unsigned exponent = get_le16(st + 8) & 0x7fff;
        uint64_t mantissa = get_le64(st);

        if (!(xsave[XS_FTW] >> r & 1))
                return 3;
        if (exponent == 0 && mantissa == 0)
                return 1;
        return exponent == 0 || exponent == 0x7fff || !(mantissa >> 63) ? 2 : 0;
}

static uint32_t
tags_read(const uint8_t *xsave)
{
        uint32_t tags = 0;

        for (unsigned r = 0; r < 8; r++)
                tags |= tag_of(xsave, r) << 2 * r;
        return tags;
}

static void
tags_write(uint8_t *xsave, uint32_t tags)
{
        xsave[XS_FTW] = 0;
        for (unsigned r = 0; r < 8; r++)
                if ((tags >> 2 * r & 3) != 3)
                        xsave[XS_FTW] |= (uint8_t)(1u << r);
}

unsigned
debug_reg_read(const struct x86_state *st, unsigned reg, uint8_t bytes[DEBUG_REG_BYTES_MAX])
{
        const struct reg_row *row = &reg_rows[reg];

        memset(bytes, 0, DEBUG_REG_BYTES_MAX);
        switch (row->kind) {
        case REG_PLAIN:
                memcpy(bytes, (const uint8_t *)st + row->offset, row->bytes);
                break;
        case REG_XSAVE:
                memcpy(bytes, st->xsave + row->offset, row->bytes);
                break;
        case REG_FTAG:
                put_le32(bytes, tags_read(st->xsave));
                break;
        case REG_FISEG:
        case REG_FOSEG:
                put_le32(bytes, get_le16(st->xsave + row->offset + 4));
                break;
        default:
                put_le32(bytes, get_le32(st->xsave + row->offset));
                break;
        }
        return row->bits / 8;
}

void
debug_reg_write(struct x86_state *st, unsigned reg, const uint8_t *bytes)
{
        const struct reg_row *row = &reg_rows[reg];

        switch (row->kind) {
        case REG_PLAIN:
                memcpy((uint8_t *)st + row->offset, bytes, row->bytes);
                if (row->offset == ST(rflags))
                        st->rflags |= X86_FL_FIXED;
                break;
        case REG_XSAVE:
                memcpy(st->xsave + row->offset, bytes, row->bytes);
                break;
        case REG_FTAG:
                tags_write(st->xsave, get_le32(bytes));
                break;
        case REG_FISEG:
        case REG_FOSEG:
                put_le16(st->xsave + row->offset + 4, get_le16(bytes));
                break;
        default:
                put_le32(st->xsave + row->offset, get_le32(bytes));
                break;
        }
        st->xsave[XS_HEADER] |= row->bv;
}
