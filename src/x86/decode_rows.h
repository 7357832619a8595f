/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The notation of the opcode tables; only decode_tables_*.c include it.
 *
 *   [0x58] = GM(M(NP, "addps", SA | FX, V(RW), W(R, 16), FT(SSE)), ...),
 *
 * An opcode's group G() or, with a ModRM byte, GM() lists rows R() or M(): what of
 * the key must match, the name, X86_OD_* flags, then the operands.  Operand letters
 * are those of the SDM's opcode maps (2D appendix A.2): E and G general registers,
 * V, W and H vector registers (ModRM.reg, ModRM.rm, VEX.vvvv), P and Q MMX, B a general
 * register in VEX.vvvv.  Each takes its access; those in ModRM.rm the bytes in memory.
 */
#ifndef X86_DECODE_ROWS_H
#define X86_DECODE_ROWS_H

#include "x86/decode_tables.h"
#include "x86/state.h"

/* Matches: mask in the upper half, value in the lower. */
#define KEY(mask, value) ((uint32_t)(mask) << 16 | (value))
#define ANY   KEY(0, 0)
#define NP    KEY(X86_KEY_PP, 0)
#define P66   KEY(X86_KEY_PP, 1)
#define PF3   KEY(X86_KEY_PP, 2)
#define PF2   KEY(X86_KEY_PP, 3)
#define REP   KEY(2, 2)
#define NOREP KEY(2, 0)
#define MEM   KEY(X86_KEY_MOD3, 0)
#define REG   KEY(X86_KEY_MOD3, X86_KEY_MOD3)
#define N(n)  KEY(X86_KEY_REG, (n) << 3)  /* ModRM.reg */
#define N2(n) KEY(0x30, (n) << 3)         /* ModRM.reg n or n + 1 */
#define LO(n) KEY(X86_KEY_RM, (n) << 6)   /* ModRM.rm */
#define W0    KEY(X86_KEY_W, 0)
#define W1    KEY(X86_KEY_W, X86_KEY_W)
#define L0    KEY(X86_KEY_L, 0)
#define L1    KEY(X86_KEY_L, X86_KEY_L)
#define M64   KEY(X86_KEY_M64, X86_KEY_M64)
#define N64   KEY(X86_KEY_M64, 0)
#define REXB  KEY(X86_KEY_B, X86_KEY_B)
#define O16   KEY(X86_KEY_O16, X86_KEY_O16)
#define NEVER KEY(X86_KEY_NEVER, X86_KEY_NEVER)

#define R(match, nm, fl, ...)                                                                      \
        {                                                                                          \
                .mask = (match) >> 16, .value = (match) & 0xffff, .desc = {                        \
                        .name = nm,                                                                \
                        .flags = (fl),                                                             \
                        __VA_ARGS__                                                                \
                }                                                                                  \
        }
#define M(match, nm, fl, ...) R(match, nm, (fl) | X86_OD_MODRM, __VA_ARGS__)
#define GROUP(has_modrm, ...)                                                                      \
        {                                                                                          \
                .rows = (const struct x86_oprow[]) { __VA_ARGS__ },                                \
                .count = sizeof((const struct x86_oprow[]) { __VA_ARGS__ }) /                      \
                    sizeof(struct x86_oprow),                                                      \
                .modrm = has_modrm                                                                 \
        }
#define G(...)  GROUP(false, __VA_ARGS__)
#define GM(...) GROUP(true, __VA_ARGS__)

/* Operands. */
#define E_(a)    .rm_kind = X86_OPK_GPR, .rm_access = X86_ACC_##a, .mem_bytes = X86_MSZ_OPSIZE
#define EN(a, n) .rm_kind = X86_OPK_GPR, .rm_access = X86_ACC_##a, .mem_bytes = (n)
#define ER(a)    .rm_kind = X86_OPK_GPR, .rm_access = X86_ACC_##a /* register only */
#define MM(a, n) .rm_access = X86_ACC_##a, .mem_bytes = (n)       /* memory only */
#define G_(a)    .reg_kind = X86_OPK_GPR, .reg_access = X86_ACC_##a
#define EXT      .reg_kind = X86_OPK_EXT
#define V(a)     .reg_kind = X86_OPK_XMM, .reg_access = X86_ACC_##a
#define W(a, n)  .rm_kind = X86_OPK_XMM, .rm_access = X86_ACC_##a, .mem_bytes = (n)
#define WR(a)    .rm_kind = X86_OPK_XMM, .rm_access = X86_ACC_##a
#define P(a)     .reg_kind = X86_OPK_MMX, .reg_access = X86_ACC_##a
#define Q(a, n)  .rm_kind = X86_OPK_MMX, .rm_access = X86_ACC_##a, .mem_bytes = (n)
#define QR(a)    .rm_kind = X86_OPK_MMX, .rm_access = X86_ACC_##a
#define H(a)     .vvvv_kind = X86_OPK_XMM, .vvvv_access = X86_ACC_##a
#define B(a)     .vvvv_kind = X86_OPK_GPR, .vvvv_access = X86_ACC_##a
#define I(n)     .imm = (n)
#define VL       X86_MSZ_VL
#define HALF     X86_MSZ_HALFVL
#define QUART    X86_MSZ_QUARTVL
#define EIGHTH   X86_MSZ_EIGHTHVL

#define CL(c)  .class = X86_CLASS_##c
#define SY(s)  .class = X86_CLASS_SYSTEM, .sys = X86_SYS_##s
#define FT(f)  .feature = X86_F_##f
#define FR(x)  .flags_read = (x)
#define FW(x)  .flags_written = (x)
#define FM(x)  .flags_maybe = (x)
#define FU(x)  .flags_undefined = (x)
#define IR(x)  .implicit_read = (x)
#define IW(x)  .implicit_write = (x)
#define IRW(x) .implicit_read = (x), .implicit_write = (x)

/* Flags. */
#define ALL (X86_FL_ARITH)
#define CF  X86_FL_CF
#define PF  X86_FL_PF
#define AF  X86_FL_AF
#define ZF  X86_FL_ZF
#define SF  X86_FL_SF
#define OF  X86_FL_OF
#define DF  X86_FL_DF

/* Registers. */
#define AX (1u << X86_RAX)
#define CX (1u << X86_RCX)
#define DX (1u << X86_RDX)
#define BX (1u << X86_RBX)
#define SP (1u << X86_RSP)
#define BP (1u << X86_RBP)
#define SI (1u << X86_RSI)
#define DI (1u << X86_RDI)

/* Shorthands for X86_OD_*. */
#define NO    0
#define LK    X86_OD_LOCKABLE
#define BY    X86_OD_BYTE
#define D64   X86_OD_DEF64
#define F64   X86_OD_FORCE64
#define I66   X86_OD_IGN66
#define ONO64 X86_OD_NO64
#define ON64  X86_OD_ONLY64
#define FP    X86_OD_FPU
#define SS    X86_OD_SSE
#define SA    (X86_OD_SSE | X86_OD_ALIGN)
#define AV    (X86_OD_AVX | X86_OD_PROT)
#define AVA   (X86_OD_AVX | X86_OD_PROT | X86_OD_ALIGN)
#define VG    (X86_OD_PROT | X86_OD_IGN66) /* VEX on general registers */
#define MO    X86_OD_MEMONLY
#define RO    X86_OD_REGONLY
#define FX    X86_OD_RAISES
#define MX    (X86_OD_FPU | X86_OD_RAISES | X86_OD_IGN66)
#define PROT  X86_OD_PROT
#define CPL0  X86_OD_CPL0
#define END   X86_OD_END
#define RM8   X86_OD_RM8
#define ZC    X86_OD_ZEROCOUNT

/* What each condition code reads. */
#define CC_FLAGS_0 OF
#define CC_FLAGS_1 OF
#define CC_FLAGS_2 CF
#define CC_FLAGS_3 CF
#define CC_FLAGS_4 ZF
#define CC_FLAGS_5 ZF
#define CC_FLAGS_6 (CF | ZF)
#define CC_FLAGS_7 (CF | ZF)
#define CC_FLAGS_8 SF
#define CC_FLAGS_9 SF
#define CC_FLAGS_A PF
#define CC_FLAGS_B PF
#define CC_FLAGS_C (SF | OF)
#define CC_FLAGS_D (SF | OF)
#define CC_FLAGS_E (SF | OF | ZF)
#define CC_FLAGS_F (SF | OF | ZF)

#define ALL_CC(X, base)                                                                            \
        X(base, 0, "o"), X(base, 1, "no"), X(base, 2, "b"), X(base, 3, "nb"), X(base, 4, "z"),     \
            X(base, 5, "nz"), X(base, 6, "be"), X(base, 7, "nbe"), X(base, 8, "s"),                \
            X(base, 9, "ns"), X(base, A, "p"), X(base, B, "np"), X(base, C, "l"),                  \
            X(base, D, "nl"), X(base, E, "le"), X(base, F, "nle")

#endif
