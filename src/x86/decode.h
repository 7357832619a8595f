/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Instruction decoding, for the translator.
 *
 * x86_decode() turns bytes into a `struct x86_insn`: prefixes, opcode, operands
 * as encoded, and a pointer to a constant description (`struct x86_opdesc`) of
 * what the instruction reads and writes.  The descriptions are one table per
 * opcode map; they are all the translator knows about most instructions, which
 * it re-emits for the host with other registers and a host address.
 *
 * It does not read memory and does not allocate.  It checks encoding only
 * (length, LOCK, mode, VEX rules); whether the processor offers the
 * instruction is the translator's business (opdesc.feature).
 */
#ifndef X86_DECODE_H
#define X86_DECODE_H

#include <stdbool.h>
#include <stdint.h>

#define X86_INSN_MAX 15

enum x86_map {
        X86_MAP_1B,    /* one-byte opcodes */
        X86_MAP_0F,
        X86_MAP_0F38,
        X86_MAP_0F3A,
        X86_MAP_X87,   /* D8-DF; described by opcode and ModRM */
};

enum x86_mode {
        X86_MODE_16, /* CS.D = 0, not long mode: real, virtual-8086 or protected */
        X86_MODE_32,
        X86_MODE_64,
};

/*
 * How the translator handles an instruction.
 *
 * X86_CLASS_PLAIN covers everything whose effect is confined to the general
 * registers, arithmetic flags, x87, MMX, SSE and AVX registers and at most one
 * ModRM memory operand (or moffs, see opdesc.moffs): it is re-emitted.
 * Everything else has a class of its own.
 */
enum x86_class {
        X86_CLASS_PLAIN,
        X86_CLASS_NOP,        /* NOP, multi-byte NOP, PREFETCHx, ENDBR, hints; its memory operand is not touched */
        X86_CLASS_LEA,
        X86_CLASS_JMP,        /* E9 EB */
        X86_CLASS_JCC,        /* 70-7F, 0F 80-8F; cond in insn.cond */
        X86_CLASS_LOOP,       /* E0-E3: LOOPNE LOOPE LOOP JrCXZ */
        X86_CLASS_CALL,       /* E8 */
        X86_CLASS_JMP_IND,    /* FF /4 */
        X86_CLASS_CALL_IND,   /* FF /2 */
        X86_CLASS_RET,        /* C3, C2 */
        X86_CLASS_PUSH,       /* 50-57, FF /6, 6A, 68: operand by desc (reg in insn.rm for 50-57) */
        X86_CLASS_POP,        /* 58-5F, 8F /0 */
        X86_CLASS_LEAVE,
        X86_CLASS_PUSHF,
        X86_CLASS_POPF,
        X86_CLASS_STRING,     /* MOVS CMPS STOS LODS SCAS, any REP prefix */
        X86_CLASS_FLAG,       /* CLC STC CMC CLD STD (re-emitted, no operands); LAHF SAHF are PLAIN */
        X86_CLASS_XLAT,
        X86_CLASS_SYSTEM,     /* a helper in C does it: insn.sys says which */
        X86_CLASS_UD,         /* valid length, always #UD (UD0 UD1 UD2, undefined opcodes) */
};

/* Instructions done by C helpers, X86_CLASS_SYSTEM. */
enum x86_sys {
        X86_SYS_NONE,
        /* control transfer: the translation block ends after them */
        X86_SYS_CALL_FAR, X86_SYS_JMP_FAR, X86_SYS_CALL_FAR_MEM, X86_SYS_JMP_FAR_MEM, X86_SYS_RET_FAR,
        X86_SYS_IRET, X86_SYS_INT, X86_SYS_INT3, X86_SYS_INTO, X86_SYS_INT1,
        X86_SYS_SYSCALL, X86_SYS_SYSRET, X86_SYS_SYSENTER, X86_SYS_SYSEXIT,
        X86_SYS_HLT, X86_SYS_PAUSE, X86_SYS_MWAIT, X86_SYS_MONITOR, X86_SYS_RSM, X86_SYS_VMCALL,
        X86_SYS_CLI, X86_SYS_STI,
        /* segments */
        X86_SYS_MOV_SREG_R, /* 8E: to a segment register */
        X86_SYS_MOV_R_SREG, /* 8C */
        X86_SYS_PUSH_SREG, X86_SYS_POP_SREG, /* insn.reg the enum x86_sreg */
        X86_SYS_LFS, /* LDS LES LSS LFS LGS: insn.reg the GPR, insn.imm2 the enum x86_sreg */
        X86_SYS_LAR, X86_SYS_LSL, X86_SYS_VERR, X86_SYS_VERW, X86_SYS_ARPL,
        X86_SYS_SLDT, X86_SYS_STR, X86_SYS_LLDT, X86_SYS_LTR,
        X86_SYS_SGDT, X86_SYS_SIDT, X86_SYS_LGDT, X86_SYS_LIDT, X86_SYS_SMSW, X86_SYS_LMSW,
        X86_SYS_SWAPGS, X86_SYS_RDFSBASE, X86_SYS_RDGSBASE, X86_SYS_WRFSBASE, X86_SYS_WRGSBASE,
        /* processor control */
        X86_SYS_MOV_CR_R, X86_SYS_MOV_R_CR, X86_SYS_MOV_DR_R, X86_SYS_MOV_R_DR, X86_SYS_CLTS,
        X86_SYS_INVLPG, X86_SYS_INVPCID, X86_SYS_INVD, X86_SYS_WBINVD,
        X86_SYS_RDMSR, X86_SYS_WRMSR, X86_SYS_CPUID, X86_SYS_RDTSC, X86_SYS_RDTSCP, X86_SYS_RDPMC, X86_SYS_RDPID,
        X86_SYS_XGETBV, X86_SYS_XSETBV, X86_SYS_CLAC, X86_SYS_STAC, X86_SYS_RDPKRU, X86_SYS_WRPKRU,
        X86_SYS_FXSAVE, X86_SYS_FXRSTOR, X86_SYS_XSAVE, X86_SYS_XSAVEOPT, X86_SYS_XSAVEC, X86_SYS_XSAVES,
        X86_SYS_XRSTOR, X86_SYS_XRSTORS,
        X86_SYS_RDRAND, X86_SYS_RDSEED,
        /* ports */
        X86_SYS_IN, X86_SYS_OUT, X86_SYS_INS, X86_SYS_OUTS,
        /* memory or stack in ways a helper does better */
        X86_SYS_PUSHA, X86_SYS_POPA, X86_SYS_ENTER, X86_SYS_BOUND, X86_SYS_CMPXCHG8B /* and 16B */,
        X86_SYS_MASKMOV, /* MASKMOVQ, MASKMOVDQU */
        X86_SYS_VMASKMOV, /* VMASKMOVPS/PD, VPMASKMOVD/Q: faults of masked-out elements are suppressed */
        X86_SYS_GATHER, /* VPGATHERxx, VGATHERxxx */
        X86_SYS_CLFLUSH, /* CLFLUSH CLFLUSHOPT CLWB: faults like a byte read */
        X86_SYS_FENV, /* FNSTENV FLDENV FNSAVE FRSTOR: 14/28 or 94/108 bytes */
        X86_SYS_BCD, /* DAA DAS AAA AAS AAM AAD SALC: not in 64-bit mode */
        X86_SYS_MOVDIR64B, X86_SYS_CLDEMOTE,
        X86_SYS_COUNT,
};

/* What an operand field names. */
enum x86_opkind {
        X86_OPK_NONE,
        X86_OPK_GPR,
        X86_OPK_XMM,  /* XMM or YMM by VEX.L */
        X86_OPK_MMX,
        X86_OPK_SREG,
        X86_OPK_CR,
        X86_OPK_DR,
        X86_OPK_EXT,  /* ModRM.reg extends the opcode */
};

#define X86_ACC_R  1u
#define X86_ACC_W  2u
#define X86_ACC_RW 3u

/* Memory operand sizes that depend on the instruction. */
#define X86_MSZ_OPSIZE 0xff /* insn.opsize */
#define X86_MSZ_VL     0xfe /* 16, or 32 with VEX.L */
#define X86_MSZ_HALFVL 0xfd
#define X86_MSZ_QUARTVL 0xfc
#define X86_MSZ_EIGHTHVL 0xfb

/* Features an instruction needs; the translator holds the mask that CPUID offers. */
enum x86_feature {
        X86_F_BASE, X86_F_FPU, X86_F_CMOV, X86_F_MMX, X86_F_SSE, X86_F_SSE2, X86_F_SSE3, X86_F_SSSE3, X86_F_SSE41,
        X86_F_SSE42, X86_F_POPCNT, X86_F_AES, X86_F_PCLMUL, X86_F_AVX, X86_F_F16C, X86_F_FMA, X86_F_AVX2,
        X86_F_BMI1, X86_F_BMI2, X86_F_LZCNT, X86_F_MOVBE, X86_F_ADX, X86_F_SHA, X86_F_CX16, X86_F_XSAVE,
        X86_F_XSAVEOPT, X86_F_XSAVEC, X86_F_XSAVES, X86_F_RDRAND, X86_F_RDSEED, X86_F_FSGSBASE, X86_F_RDTSCP,
        X86_F_RDPID, X86_F_CLFLUSH, X86_F_CLFLUSHOPT, X86_F_CLWB, X86_F_MONITOR, X86_F_INVPCID, X86_F_SMAP,
        X86_F_PKU, X86_F_VAES, X86_F_VPCLMUL, X86_F_GFNI, X86_F_MOVDIRI, X86_F_MOVDIR64B, X86_F_LAHF64,
        X86_F_SYSCALL, X86_F_SYSENTER, X86_F_PREFETCHW, X86_F_SERIALIZE,
        X86_F_PREFETCH_REG, /* 0F 0D with a register is no operation: Intel's processors */
        X86_F_COUNT,
};

/* opdesc.flags */
#define X86_OD_MODRM      0x0001u
#define X86_OD_LOCKABLE   0x0002u /* LOCK allowed with a memory destination */
#define X86_OD_BYTE       0x0004u /* 8-bit operation: opsize 1 */
#define X86_OD_DEF64      0x0008u /* 64-bit operand by default in 64-bit mode */
#define X86_OD_NO64       0x0010u /* #UD in 64-bit mode */
#define X86_OD_ONLY64     0x0020u
#define X86_OD_FPU        0x0040u /* x87 or MMX: #NM with TS or EM, waits for pending x87 errors */
#define X86_OD_SSE        0x0080u /* legacy SSE: #UD without OSFXSR or with EM, #NM with TS */
#define X86_OD_AVX        0x0100u /* VEX vector: #UD without OSXSAVE and XCR0, #NM with TS */
#define X86_OD_PROT       0x0200u /* #UD in real and virtual-8086 mode */
#define X86_OD_CPL0       0x0400u /* #GP unless CPL is 0 (helpers check; here for information) */
#define X86_OD_MEMONLY    0x0800u /* register form is #UD */
#define X86_OD_REGONLY    0x1000u
#define X86_OD_RM8        0x2000u /* the rm operand is a byte whatever opsize (MOVZX Eb) */
#define X86_OD_END        0x4000u /* the block ends after it (SYSTEM that may change the mode or flow) */
#define X86_OD_RAISES     0x8000u /* may raise #DE or a floating-point error on the host: needs a side-table entry */
#define X86_OD_BITSTR     0x10000u /* BT BTS BTR BTC m,r: the bit lies (reg >> log2 bits) operands beyond the address */
#define X86_OD_ALIGN      0x20000u /* #GP(0) unless the memory operand is aligned to its size */
#define X86_OD_FORCE64    0x40000u /* 64-bit operand in 64-bit mode whatever the prefixes */
#define X86_OD_IGN66      0x80000u /* 66 does not change the operand size */
#define X86_OD_ZEROCOUNT  0x100000u /* internal: the next row describes it when the masked count is 0 */
#define X86_OD_VSIB       0x200000u /* the index is a vector register; SIB is required */

struct x86_opdesc {
        const char *name;
        uint8_t class;      /* enum x86_class */
        uint8_t sys;        /* enum x86_sys */
        uint8_t feature;    /* enum x86_feature */
        uint8_t reg_kind;   /* enum x86_opkind of ModRM.reg */
        uint8_t reg_access; /* X86_ACC_* */
        uint8_t rm_kind;    /* kind of ModRM.rm when it is a register (or of the opcode's low 3 bits) */
        uint8_t rm_access;  /* for the register and the memory form alike */
        uint8_t vvvv_kind;
        uint8_t vvvv_access;
        uint8_t mem_bytes;  /* bytes the memory form touches, or X86_MSZ_*; 0: none */
        uint8_t imm;        /* 0, 1, 2, 4, or X86_IMM_* below */
        uint16_t flags_read;    /* arithmetic flags and DF, as X86_FL_* */
        uint16_t flags_written; /* written or left undefined whatever the operands are */
        uint16_t flags_maybe;   /* written for some operands only (shift by CL): read and written */
        uint16_t flags_undefined; /* of those written: undefined by the manuals, and kept by AMD's processors */
        uint32_t flags;         /* X86_OD_* */
        uint16_t implicit_read;  /* GPRs used without being encoded, 1 << enum x86_gpr */
        uint16_t implicit_write;
};

#define X86_IMM_Z     0xf0 /* 2 with 16-bit operand size, else 4 */
#define X86_IMM_V     0xf1 /* 2, 4 or 8: MOV r64, imm64 */
#define X86_IMM_FAR   0xf2 /* 16:16 or 16:32; selector in imm2 */
#define X86_IMM_ENTER 0xf3 /* imm16 in imm, imm8 in imm2 */
#define X86_IMM_MOFFS 0xf4 /* address of A0-A3 in disp; mem_base = -1, mem_index = -1 */
#define X86_IMM_IS4   0xf5 /* VEX /is4 register in imm bits 4-7 */

struct x86_insn {
        const struct x86_opdesc *desc;
        uint8_t len;        /* bytes, 1 to 15 */
        uint8_t map;        /* enum x86_map */
        uint8_t opcode;
        uint8_t mode;       /* enum x86_mode */
        uint8_t opsize;     /* 1, 2, 4, 8: effective operand size */
        uint8_t asize;      /* 2, 4, 8: effective address size */
        uint8_t rep;        /* 0, 0xf2, 0xf3: the last of them */
        bool opsize_prefix; /* 66 present */
        bool lock;
        bool vex;
        bool rex;           /* a REX prefix is present (matters for SPL-DIL against AH-BH) */
        uint8_t rex_w, vex_l, vex_pp, vvvv; /* vvvv already inverted: 0-15; rex_w is VEX.W too */
        uint8_t cond;       /* low 4 opcode bits of Jcc, SETcc, CMOVcc */
        bool has_modrm;
        uint8_t modrm;      /* as encoded */
        uint8_t mod;
        uint8_t reg;        /* with REX.R: 0-15 */
        uint8_t rm;         /* with REX.B: 0-15, register form; or the register in the opcode's low bits */
        bool has_mem;       /* mod != 3, or moffs */
        int8_t mem_base;    /* 0-15, -1 none, X86_BASE_RIP */
        int8_t mem_index;   /* 0-15, -1 none */
        uint8_t mem_scale;  /* 1, 2, 4, 8 */
        uint8_t mem_seg;    /* enum x86_sreg after overrides and defaults */
        uint8_t seg_override; /* enum x86_sreg, or 0xff */
        int64_t disp;       /* sign-extended displacement (moffs: the address) */
        int64_t imm;        /* sign-extended from its size (imm16 of RET, ENTER, IN/OUT imm8: zero-extended) */
        uint8_t imm_bytes;
        uint16_t imm2;
};

#define X86_BASE_RIP 16

enum x86_decode_result {
        X86_DECODE_OK,
        X86_DECODE_SHORT,    /* more bytes are needed than @avail */
        X86_DECODE_TOO_LONG, /* over 15 bytes: #GP */
        X86_DECODE_UD,       /* invalid encoding: #UD; insn->len covers what was consumed */
};

/*
 * Decodes one instruction from @bytes, of which @avail can be read.
 * On X86_DECODE_OK every field of @insn is set.
 */
enum x86_decode_result x86_decode(const uint8_t *bytes, unsigned avail, enum x86_mode mode,
    struct x86_insn *insn);

/* JMP, Jcc, LOOP and JrCXZ, CALL, RET within the segment. */
bool x86_insn_is_near_branch(const struct x86_insn *insn);

/* Bytes that the memory operand touches (0: none, or not a fixed number). */
unsigned x86_insn_mem_bytes(const struct x86_insn *insn);

/* The general registers that its operands, named or implied, write: a bit for each.  Not the RSP of stack instructions. */
uint16_t x86_insn_writes(const struct x86_insn *insn);

/*
 * Whether these hold numbers of 32 bits afterwards, zero- or sign-extended to 64, in 64-bit mode.  Says yes only for common
 * instructions, and where it is certain.
 */
bool x86_insn_extends(const struct x86_insn *insn);

/*
 * Whether it adds a known number to general register @gpr, in 64-bit mode, or leaves it alone (0); the RSP of PUSH and POP is told
 * too, but not that of other stack instructions.
 */
bool x86_insn_adds(const struct x86_insn *insn, unsigned gpr, int64_t *ret_change);

#endif
