/* SPDX-License-Identifier: BSD-2-Clause */
/* One-byte opcodes, SDM 2D table A-2.  decode_rows.h explains the notation. */
#include "x86/decode_rows.h"

/* The eight classic operations: r/m,r  r,r/m  accumulator,imm.  @acw: AX unless nothing is written. */
#define ALU(base, nm, lock, acc, acw, fr)                                                          \
        [(base)] = GM(M(ANY, nm, (lock) | BY, E_(acc), G_(R), FR(fr), FW(ALL))),                   \
        [(base) + 1] = GM(M(ANY, nm, lock, E_(acc), G_(R), FR(fr), FW(ALL))),                      \
        [(base) + 2] = GM(M(ANY, nm, BY, G_(acc), E_(R), FR(fr), FW(ALL))),                        \
        [(base) + 3] = GM(M(ANY, nm, NO, G_(acc), E_(R), FR(fr), FW(ALL))),                        \
        [(base) + 4] = G(R(ANY, nm, BY, I(1), IR(AX), IW(acw), FR(fr), FW(ALL))),                  \
        [(base) + 5] = G(R(ANY, nm, NO, I(X86_IMM_Z), IR(AX), IW(acw), FR(fr), FW(ALL)))

#define GRP1(fl, im)                                                                               \
        GM(M(N(0), "add", (fl) | LK, EXT, E_(RW), I(im), FW(ALL)),                                 \
            M(N(1), "or", (fl) | LK, EXT, E_(RW), I(im), FW(ALL)),                                 \
            M(N(2), "adc", (fl) | LK, EXT, E_(RW), I(im), FR(CF), FW(ALL)),                        \
            M(N(3), "sbb", (fl) | LK, EXT, E_(RW), I(im), FR(CF), FW(ALL)),                        \
            M(N(4), "and", (fl) | LK, EXT, E_(RW), I(im), FW(ALL)),                                \
            M(N(5), "sub", (fl) | LK, EXT, E_(RW), I(im), FW(ALL)),                                \
            M(N(6), "xor", (fl) | LK, EXT, E_(RW), I(im), FW(ALL)),                                \
            M(N(7), "cmp", fl, EXT, E_(R), I(im), FW(ALL)))

/* By an immediate: each with a second row for a count of 0. */
#define SHIFT_IMM(n, nm, fl, fr, fw)                                                               \
        M(N(n), nm, (fl) | ZC, EXT, E_(RW), I(1), FR(fr), FW(fw)),                                 \
            M(NEVER, nm, fl, EXT, E_(RW), I(1))
/* OF is defined for a count of 1 only; for others processors leave it alone or not. */
#define ROTATE_IMM(n, nm, fl, fr)                                                                  \
        M(N(n), nm, (fl) | ZC, EXT, E_(RW), I(1), FR(fr), FW(CF), FM(OF)),                         \
            M(NEVER, nm, fl, EXT, E_(RW), I(1))
#define GRP2_IMM(fl)                                                                               \
        GM(ROTATE_IMM(0, "rol", fl, 0), ROTATE_IMM(1, "ror", fl, 0), ROTATE_IMM(2, "rcl", fl, CF), \
            ROTATE_IMM(3, "rcr", fl, CF),                                                          \
            SHIFT_IMM(4, "shl", fl, 0, ALL), SHIFT_IMM(5, "shr", fl, 0, ALL),                      \
            SHIFT_IMM(6, "shl", fl, 0, ALL), SHIFT_IMM(7, "sar", fl, 0, ALL))
#define SHIFT_1(n, nm, fl, fr, fw) M(N(n), nm, fl, EXT, E_(RW), FR(fr), FW(fw))
#define GRP2_1(fl)                                                                                 \
        GM(SHIFT_1(0, "rol", fl, 0, CF | OF), SHIFT_1(1, "ror", fl, 0, CF | OF),           \
            SHIFT_1(2, "rcl", fl, CF, CF | OF), SHIFT_1(3, "rcr", fl, CF, CF | OF),        \
            SHIFT_1(4, "shl", fl, 0, ALL), SHIFT_1(5, "shr", fl, 0, ALL),                          \
            SHIFT_1(6, "shl", fl, 0, ALL), SHIFT_1(7, "sar", fl, 0, ALL))
#define SHIFT_CL(n, nm, fl, fr, fm) M(N(n), nm, fl, EXT, E_(RW), IR(CX), FR(fr), FM(fm))
#define GRP2_CL(fl)                                                                                \
        GM(SHIFT_CL(0, "rol", fl, 0, CF | OF), SHIFT_CL(1, "ror", fl, 0, CF | OF),         \
            SHIFT_CL(2, "rcl", fl, CF, CF | OF), SHIFT_CL(3, "rcr", fl, CF, CF | OF),      \
            SHIFT_CL(4, "shl", fl, 0, ALL), SHIFT_CL(5, "shr", fl, 0, ALL),                        \
            SHIFT_CL(6, "shl", fl, 0, ALL), SHIFT_CL(7, "sar", fl, 0, ALL))

#define JCC(base, cc, nm)                                                                          \
        [(base) + 0x##cc] = G(R(ANY, "j" nm, F64, CL(JCC), I(1), FR(CC_FLAGS_##cc)))

#define INC_REG(n) [0x40 + (n)] = G(R(N64, "inc", NO, ER(RW), FW(ALL & ~CF)))
#define DEC_REG(n) [0x48 + (n)] = G(R(N64, "dec", NO, ER(RW), FW(ALL & ~CF)))
#define PUSH_REG(n) [0x50 + (n)] = G(R(ANY, "push", D64, CL(PUSH), ER(R), IRW(SP)))
#define POP_REG(n) [0x58 + (n)] = G(R(ANY, "pop", D64, CL(POP), ER(W), IRW(SP)))
#define XCHG_REG(n) [0x90 + (n)] = G(R(ANY, "xchg", NO, ER(RW), IRW(AX)))
#define MOV_REG8(n) [0xb0 + (n)] = G(R(ANY, "mov", BY, ER(W), I(1)))
#define MOV_REG(n) [0xb8 + (n)] = G(R(ANY, "mov", NO, ER(W), I(X86_IMM_V)))

/* String operations: with a REP prefix RCX counts, and flags may stay as they are. */
#define STRING(op, nm, fl, rd, wr, fr, fw)                                                         \
        [op] = G(R(NOREP, nm, fl, CL(STRING), IR(rd), IW(wr), FR((fr) | DF), FW(fw)),              \
            R(REP, nm, fl, CL(STRING), IR((rd) | CX), IW((wr) | CX), FR((fr) | DF), FM(fw)))
#define STRING_PORT(op, nm, fl, s, ix)                                                             \
        [op] = G(R(NOREP, nm, fl, SY(s), IR((ix) | DX), IW(ix), FR(DF)),                           \
            R(REP, nm, fl, SY(s), IR((ix) | DX | CX), IW((ix) | CX), FR(DF)))

const struct x86_opgroup x86_ops_1b[256] = {
        ALU(0x00, "add", LK, RW, AX, 0),
        ALU(0x08, "or", LK, RW, AX, 0),
        ALU(0x10, "adc", LK, RW, AX, CF),
        ALU(0x18, "sbb", LK, RW, AX, CF),
        ALU(0x20, "and", LK, RW, AX, 0),
        ALU(0x28, "sub", LK, RW, AX, 0),
        ALU(0x30, "xor", LK, RW, AX, 0),
        ALU(0x38, "cmp", NO, R, 0, 0),
        [0x06] = G(R(ANY, "push", ONO64, SY(PUSH_SREG), IRW(SP))),
        [0x07] = G(R(ANY, "pop", ONO64 | END, SY(POP_SREG), IRW(SP))),
        [0x0e] = G(R(ANY, "push", ONO64, SY(PUSH_SREG), IRW(SP))),
        [0x16] = G(R(ANY, "push", ONO64, SY(PUSH_SREG), IRW(SP))),
        [0x17] = G(R(ANY, "pop", ONO64 | END, SY(POP_SREG), IRW(SP))),
        [0x1e] = G(R(ANY, "push", ONO64, SY(PUSH_SREG), IRW(SP))),
        [0x1f] = G(R(ANY, "pop", ONO64 | END, SY(POP_SREG), IRW(SP))),
        [0x27] = G(R(ANY, "daa", ONO64, SY(BCD), IRW(AX), FR(AF | CF), FW(ALL), FU(OF))),
        [0x2f] = G(R(ANY, "das", ONO64, SY(BCD), IRW(AX), FR(AF | CF), FW(ALL), FU(OF))),
        [0x37] = G(R(ANY, "aaa", ONO64, SY(BCD), IRW(AX), FR(AF), FW(ALL), FU(OF | SF | ZF | PF))),
        [0x3f] = G(R(ANY, "aas", ONO64, SY(BCD), IRW(AX), FR(AF), FW(ALL), FU(OF | SF | ZF | PF))),
        INC_REG(0), INC_REG(1), INC_REG(2), INC_REG(3), INC_REG(4), INC_REG(5), INC_REG(6), INC_REG(7),
        DEC_REG(0), DEC_REG(1), DEC_REG(2), DEC_REG(3), DEC_REG(4), DEC_REG(5), DEC_REG(6), DEC_REG(7),
        PUSH_REG(0), PUSH_REG(1), PUSH_REG(2), PUSH_REG(3), PUSH_REG(4), PUSH_REG(5), PUSH_REG(6),
        PUSH_REG(7),
        POP_REG(0), POP_REG(1), POP_REG(2), POP_REG(3), POP_REG(4), POP_REG(5), POP_REG(6), POP_REG(7),
        [0x60] = G(R(ANY, "pusha", ONO64, SY(PUSHA))),
        [0x61] = G(R(ANY, "popa", ONO64, SY(POPA))),
        [0x62] = GM(M(MEM | N64, "bound", NO, SY(BOUND), G_(R))),
        [0x63] = GM(M(N64, "arpl", PROT, SY(ARPL), EN(RW, 2), G_(R), FW(ZF)),
            M(M64 | W0 | O16, "movsxd", NO, G_(W), EN(R, 2)), M(M64, "movsxd", NO, G_(W), EN(R, 4))),
        [0x68] = G(R(ANY, "push", D64, CL(PUSH), I(X86_IMM_Z), IRW(SP))),
        [0x69] = GM(M(ANY, "imul", NO, G_(W), E_(R), I(X86_IMM_Z), FW(ALL), FU(SF | ZF | AF | PF))),
        [0x6a] = G(R(ANY, "push", D64, CL(PUSH), I(1), IRW(SP))),
        [0x6b] = GM(M(ANY, "imul", NO, G_(W), E_(R), I(1), FW(ALL), FU(SF | ZF | AF | PF))),
        STRING_PORT(0x6c, "insb", BY, INS, DI),
        STRING_PORT(0x6d, "ins", NO, INS, DI),
        STRING_PORT(0x6e, "outsb", BY, OUTS, SI),
        STRING_PORT(0x6f, "outs", NO, OUTS, SI),
        ALL_CC(JCC, 0x70),
        [0x80] = GRP1(BY, 1),
        [0x81] = GRP1(NO, X86_IMM_Z),
        [0x82] = GRP1(BY | ONO64, 1),
        [0x83] = GRP1(NO, 1),
        [0x84] = GM(M(ANY, "test", BY, E_(R), G_(R), FW(ALL))),
        [0x85] = GM(M(ANY, "test", NO, E_(R), G_(R), FW(ALL))),
        [0x86] = GM(M(ANY, "xchg", BY | LK, E_(RW), G_(RW))),
        [0x87] = GM(M(ANY, "xchg", LK, E_(RW), G_(RW))),
        [0x88] = GM(M(ANY, "mov", BY, E_(W), G_(R))),
        [0x89] = GM(M(ANY, "mov", NO, E_(W), G_(R))),
        [0x8a] = GM(M(ANY, "mov", BY, G_(W), E_(R))),
        [0x8b] = GM(M(ANY, "mov", NO, G_(W), E_(R))),
        [0x8c] = GM(M(ANY, "mov", NO, SY(MOV_R_SREG), EN(W, 2), .reg_kind = X86_OPK_SREG, .reg_access = X86_ACC_R)),
        [0x8d] = GM(M(ANY, "lea", MO, CL(LEA), G_(W))),
        [0x8e] = GM(M(ANY, "mov", END, SY(MOV_SREG_R), EN(R, 2), .reg_kind = X86_OPK_SREG, .reg_access = X86_ACC_W)),
        [0x8f] = GM(M(N(0), "pop", D64, CL(POP), EXT, E_(W), IRW(SP))),
        [0x90] = G(R(PF3, "pause", END, SY(PAUSE)), R(REXB, "xchg", NO, ER(RW), IRW(AX)),
            R(ANY, "nop", NO, CL(NOP))),
        XCHG_REG(1), XCHG_REG(2), XCHG_REG(3), XCHG_REG(4), XCHG_REG(5), XCHG_REG(6), XCHG_REG(7),
        [0x98] = G(R(ANY, "cbw", NO, IRW(AX))),
        [0x99] = G(R(ANY, "cwd", NO, IR(AX), IW(DX))),
        [0x9a] = G(R(ANY, "callf", ONO64 | END, SY(CALL_FAR), I(X86_IMM_FAR), IRW(SP))),
        [0x9b] = G(R(ANY, "fwait", MX, FT(FPU))),
        [0x9c] = G(R(ANY, "pushf", D64, CL(PUSHF), IRW(SP), FR(ALL | DF))),
        [0x9d] = G(R(ANY, "popf", D64, CL(POPF), IRW(SP), FW(ALL | DF))),
        [0x9e] = G(R(M64, "sahf", NO, IR(AX), FW(ALL & ~OF), FT(LAHF64)),
            R(ANY, "sahf", NO, IR(AX), FW(ALL & ~OF))),
        [0x9f] = G(R(M64, "lahf", NO, IW(AX), FR(ALL & ~OF), FT(LAHF64)),
            R(ANY, "lahf", NO, IW(AX), FR(ALL & ~OF))),
        [0xa0] = G(R(ANY, "mov", BY, IW(AX), MM(R, X86_MSZ_OPSIZE), I(X86_IMM_MOFFS))),
        [0xa1] = G(R(ANY, "mov", NO, IW(AX), MM(R, X86_MSZ_OPSIZE), I(X86_IMM_MOFFS))),
        [0xa2] = G(R(ANY, "mov", BY, IR(AX), MM(W, X86_MSZ_OPSIZE), I(X86_IMM_MOFFS))),
        [0xa3] = G(R(ANY, "mov", NO, IR(AX), MM(W, X86_MSZ_OPSIZE), I(X86_IMM_MOFFS))),
        STRING(0xa4, "movsb", BY, SI | DI, SI | DI, 0, 0),
        STRING(0xa5, "movs", NO, SI | DI, SI | DI, 0, 0),
        STRING(0xa6, "cmpsb", BY, SI | DI, SI | DI, 0, ALL),
        STRING(0xa7, "cmps", NO, SI | DI, SI | DI, 0, ALL),
        [0xa8] = G(R(ANY, "test", BY, I(1), IR(AX), FW(ALL))),
        [0xa9] = G(R(ANY, "test", NO, I(X86_IMM_Z), IR(AX), FW(ALL))),
        STRING(0xaa, "stosb", BY, DI | AX, DI, 0, 0),
        STRING(0xab, "stos", NO, DI | AX, DI, 0, 0),
        STRING(0xac, "lodsb", BY, SI, SI | AX, 0, 0),
        STRING(0xad, "lods", NO, SI, SI | AX, 0, 0),
        STRING(0xae, "scasb", BY, DI | AX, DI, 0, ALL),
        STRING(0xaf, "scas", NO, DI | AX, DI, 0, ALL),
        MOV_REG8(0), MOV_REG8(1), MOV_REG8(2), MOV_REG8(3), MOV_REG8(4), MOV_REG8(5), MOV_REG8(6),
        MOV_REG8(7),
        MOV_REG(0), MOV_REG(1), MOV_REG(2), MOV_REG(3), MOV_REG(4), MOV_REG(5), MOV_REG(6), MOV_REG(7),
        [0xc0] = GRP2_IMM(BY),
        [0xc1] = GRP2_IMM(NO),
        [0xc2] = G(R(ANY, "ret", F64, CL(RET), I(2), IRW(SP))),
        [0xc3] = G(R(ANY, "ret", F64, CL(RET), IRW(SP))),
        [0xc4] = GM(M(MEM | N64, "les", END, SY(LFS), G_(W))),
        [0xc5] = GM(M(MEM | N64, "lds", END, SY(LFS), G_(W))),
        [0xc6] = GM(M(N(0), "mov", BY, EXT, E_(W), I(1))),
        [0xc7] = GM(M(N(0), "mov", NO, EXT, E_(W), I(X86_IMM_Z))),
        [0xc8] = G(R(ANY, "enter", D64, SY(ENTER), I(X86_IMM_ENTER), IRW(SP | BP))),
        [0xc9] = G(R(ANY, "leave", D64, CL(LEAVE), IR(BP), IW(SP | BP))),
        [0xca] = G(R(ANY, "retf", END, SY(RET_FAR), I(2), IRW(SP))),
        [0xcb] = G(R(ANY, "retf", END, SY(RET_FAR), IRW(SP))),
        [0xcc] = G(R(ANY, "int3", END, SY(INT3))),
        [0xcd] = G(R(ANY, "int", END, SY(INT), I(1))),
        [0xce] = G(R(ANY, "into", ONO64 | END, SY(INTO), FR(OF))),
        [0xcf] = G(R(ANY, "iret", END, SY(IRET), IRW(SP), FW(ALL | DF))),
        [0xd0] = GRP2_1(BY),
        [0xd1] = GRP2_1(NO),
        [0xd2] = GRP2_CL(BY),
        [0xd3] = GRP2_CL(NO),
        [0xd4] = G(R(ANY, "aam", ONO64, SY(BCD), I(1), IRW(AX), FW(ALL))),
        [0xd5] = G(R(ANY, "aad", ONO64, SY(BCD), I(1), IRW(AX), FW(ALL))),
        [0xd6] = G(R(ANY, "salc", ONO64, SY(BCD), IW(AX), FR(CF))),
        [0xd7] = G(R(ANY, "xlat", NO, CL(XLAT), IR(AX | BX), IW(AX))),
        [0xe0] = G(R(ANY, "loopne", F64, CL(LOOP), I(1), IRW(CX), FR(ZF))),
        [0xe1] = G(R(ANY, "loope", F64, CL(LOOP), I(1), IRW(CX), FR(ZF))),
        [0xe2] = G(R(ANY, "loop", F64, CL(LOOP), I(1), IRW(CX))),
        [0xe3] = G(R(ANY, "jrcxz", F64, CL(LOOP), I(1), IR(CX))),
        [0xe4] = G(R(ANY, "in", BY, SY(IN), I(1), IW(AX))),
        [0xe5] = G(R(ANY, "in", NO, SY(IN), I(1), IW(AX))),
        [0xe6] = G(R(ANY, "out", BY, SY(OUT), I(1), IR(AX))),
        [0xe7] = G(R(ANY, "out", NO, SY(OUT), I(1), IR(AX))),
        [0xe8] = G(R(ANY, "call", F64, CL(CALL), I(X86_IMM_Z), IRW(SP))),
        [0xe9] = G(R(ANY, "jmp", F64, CL(JMP), I(X86_IMM_Z))),
        [0xea] = G(R(ANY, "jmpf", ONO64 | END, SY(JMP_FAR), I(X86_IMM_FAR))),
        [0xeb] = G(R(ANY, "jmp", F64, CL(JMP), I(1))),
        [0xec] = G(R(ANY, "in", BY, SY(IN), IR(DX), IW(AX))),
        [0xed] = G(R(ANY, "in", NO, SY(IN), IR(DX), IW(AX))),
        [0xee] = G(R(ANY, "out", BY, SY(OUT), IR(DX | AX))),
        [0xef] = G(R(ANY, "out", NO, SY(OUT), IR(DX | AX))),
        [0xf1] = G(R(ANY, "int1", END, SY(INT1))),
        [0xf4] = G(R(ANY, "hlt", CPL0 | END, SY(HLT))),
        [0xf5] = G(R(ANY, "cmc", NO, CL(FLAG), FR(CF), FW(CF))),
        /* DIV and IDIV leave flags undefined; processors leave some of them alone, depending on the operands. */
        [0xf6] = GM(M(N2(0), "test", BY, EXT, E_(R), I(1), FW(ALL)),
            M(N(2), "not", BY | LK, EXT, E_(RW)), M(N(3), "neg", BY | LK, EXT, E_(RW), FW(ALL)),
            M(N(4), "mul", BY, EXT, E_(R), IRW(AX), FW(ALL), FU(SF | ZF | AF | PF)),
            M(N(5), "imul", BY, EXT, E_(R), IRW(AX), FW(ALL), FU(SF | ZF | AF | PF)),
            M(N(6), "div", BY | FX, EXT, E_(R), IRW(AX), FM(ALL)),
            M(N(7), "idiv", BY | FX, EXT, E_(R), IRW(AX), FM(ALL))),
        [0xf7] = GM(M(N2(0), "test", NO, EXT, E_(R), I(X86_IMM_Z), FW(ALL)),
            M(N(2), "not", LK, EXT, E_(RW)), M(N(3), "neg", LK, EXT, E_(RW), FW(ALL)),
            M(N(4), "mul", NO, EXT, E_(R), IR(AX), IW(AX | DX), FW(ALL), FU(SF | ZF | AF | PF)),
            M(N(5), "imul", NO, EXT, E_(R), IR(AX), IW(AX | DX), FW(ALL), FU(SF | ZF | AF | PF)),
            M(N(6), "div", FX, EXT, E_(R), IRW(AX | DX), FM(ALL)),
            M(N(7), "idiv", FX, EXT, E_(R), IRW(AX | DX), FM(ALL))),
        [0xf8] = G(R(ANY, "clc", NO, CL(FLAG), FW(CF))),
        [0xf9] = G(R(ANY, "stc", NO, CL(FLAG), FW(CF))),
        [0xfa] = G(R(ANY, "cli", END, SY(CLI))),
        [0xfb] = G(R(ANY, "sti", END, SY(STI))),
        [0xfc] = G(R(ANY, "cld", NO, CL(FLAG), FW(DF))),
        [0xfd] = G(R(ANY, "std", NO, CL(FLAG), FW(DF))),
        [0xfe] = GM(M(N(0), "inc", BY | LK, EXT, E_(RW), FW(ALL & ~CF)),
            M(N(1), "dec", BY | LK, EXT, E_(RW), FW(ALL & ~CF))),
        [0xff] = GM(M(N(0), "inc", LK, EXT, E_(RW), FW(ALL & ~CF)),
            M(N(1), "dec", LK, EXT, E_(RW), FW(ALL & ~CF)),
            M(N(2), "call", F64, CL(CALL_IND), EXT, E_(R), IRW(SP)),
            M(N(3), "callf", MO | END, SY(CALL_FAR_MEM), EXT, IRW(SP), .rm_access = X86_ACC_R),
            M(N(4), "jmp", F64, CL(JMP_IND), EXT, E_(R)),
            M(N(5), "jmpf", MO | END, SY(JMP_FAR_MEM), EXT, .rm_access = X86_ACC_R),
            M(N(6), "push", D64, CL(PUSH), EXT, E_(R), IRW(SP))),
};
