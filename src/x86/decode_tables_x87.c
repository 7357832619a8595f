/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * x87 opcodes D8-DF, SDM 2D A.5.  Aliases that the manual leaves out but processors have
 * (DC D0, DE D0, DF C0 and so on) are described as what they do.
 */
#include "x86/decode_rows.h"

#define NW   (FP | I66)  /* does not wait for pending errors */
#define XF   FT(FPU), EXT

/* Memory and register rows of an arithmetic opcode. */
#define ARITH(mem, bytes, reg) GM(M(MEM, mem, MX, XF, MM(R, bytes)), M(REG, reg, MX, XF))
#define STI(nm)       M(REG, nm, MX, XF)
#define LD(nm, bytes) M(MEM, nm, MX, XF, MM(R, bytes))
#define ST(nm, bytes) M(MEM, nm, MX, XF, MM(W, bytes))
#define ONE(n, nm)    M(REG | LO(n), nm, MX, XF)
#define ONE_NW(n, nm) M(REG | LO(n), nm, NW, XF)
#define FCMOV(nm, fr) M(REG, nm, MX, XF, FR(fr))
#define FCOMI(nm)     M(REG, nm, MX, XF, FW(ALL))
#define FENV(nm, fl, a) M(MEM, nm, fl, XF, SY(FENV), .rm_access = X86_ACC_##a)

#define X(op, reg) [((op) & 7) * 8 + (reg)]

const struct x86_opgroup x86_ops_x87[64] = {
        X(0xd8, 0) = ARITH("fadd", 4, "fadd"),
        X(0xd8, 1) = ARITH("fmul", 4, "fmul"),
        X(0xd8, 2) = ARITH("fcom", 4, "fcom"),
        X(0xd8, 3) = ARITH("fcomp", 4, "fcomp"),
        X(0xd8, 4) = ARITH("fsub", 4, "fsub"),
        X(0xd8, 5) = ARITH("fsubr", 4, "fsubr"),
        X(0xd8, 6) = ARITH("fdiv", 4, "fdiv"),
        X(0xd8, 7) = ARITH("fdivr", 4, "fdivr"),

        X(0xd9, 0) = GM(LD("fld", 4), STI("fld")),
        X(0xd9, 1) = GM(STI("fxch")),
        X(0xd9, 2) = GM(ST("fst", 4), ONE(0, "fnop")),
        X(0xd9, 3) = GM(ST("fstp", 4), STI("fstp1")),
        X(0xd9, 4) = GM(FENV("fldenv", FP | FX, R), ONE(0, "fchs"), ONE(1, "fabs"), ONE(4, "ftst"),
            ONE(5, "fxam")),
        X(0xd9, 5) = GM(LD("fldcw", 2), ONE(0, "fld1"), ONE(1, "fldl2t"), ONE(2, "fldl2e"),
            ONE(3, "fldpi"), ONE(4, "fldlg2"), ONE(5, "fldln2"), ONE(6, "fldz")),
        X(0xd9, 6) = GM(FENV("fnstenv", FP, W), ONE(0, "f2xm1"), ONE(1, "fyl2x"), ONE(2, "fptan"),
            ONE(3, "fpatan"), ONE(4, "fxtract"), ONE(5, "fprem1"), ONE(6, "fdecstp"),
            ONE(7, "fincstp")),
        X(0xd9, 7) = GM(M(MEM, "fnstcw", NW, XF, MM(W, 2)), ONE(0, "fprem"), ONE(1, "fyl2xp1"),
            ONE(2, "fsqrt"), ONE(3, "fsincos"), ONE(4, "frndint"), ONE(5, "fscale"), ONE(6, "fsin"),
            ONE(7, "fcos")),

        X(0xda, 0) = GM(LD("fiadd", 4), FCMOV("fcmovb", CF)),
        X(0xda, 1) = GM(LD("fimul", 4), FCMOV("fcmove", ZF)),
        X(0xda, 2) = GM(LD("ficom", 4), FCMOV("fcmovbe", CF | ZF)),
        X(0xda, 3) = GM(LD("ficomp", 4), FCMOV("fcmovu", PF)),
        X(0xda, 4) = GM(LD("fisub", 4)),
        X(0xda, 5) = GM(LD("fisubr", 4), ONE(1, "fucompp")),
        X(0xda, 6) = GM(LD("fidiv", 4)),
        X(0xda, 7) = GM(LD("fidivr", 4)),

        X(0xdb, 0) = GM(LD("fild", 4), FCMOV("fcmovnb", CF)),
        X(0xdb, 1) = GM(ST("fisttp", 4), FCMOV("fcmovne", ZF)),
        X(0xdb, 2) = GM(ST("fist", 4), FCMOV("fcmovnbe", CF | ZF)),
        X(0xdb, 3) = GM(ST("fistp", 4), FCMOV("fcmovnu", PF)),
        X(0xdb, 4) = GM(ONE_NW(0, "feni8087"), ONE_NW(1, "fdisi8087"), ONE_NW(2, "fnclex"),
            ONE_NW(3, "fninit"), ONE_NW(4, "fsetpm287")),
        X(0xdb, 5) = GM(LD("fld", 10), FCOMI("fucomi")),
        X(0xdb, 6) = GM(FCOMI("fcomi")),
        X(0xdb, 7) = GM(ST("fstp", 10)),

        X(0xdc, 0) = ARITH("fadd", 8, "fadd"),
        X(0xdc, 1) = ARITH("fmul", 8, "fmul"),
        X(0xdc, 2) = ARITH("fcom", 8, "fcom2"),
        X(0xdc, 3) = ARITH("fcomp", 8, "fcomp3"),
        X(0xdc, 4) = ARITH("fsub", 8, "fsubr"),
        X(0xdc, 5) = ARITH("fsubr", 8, "fsub"),
        X(0xdc, 6) = ARITH("fdiv", 8, "fdivr"),
        X(0xdc, 7) = ARITH("fdivr", 8, "fdiv"),

        X(0xdd, 0) = GM(LD("fld", 8), STI("ffree")),
        X(0xdd, 1) = GM(ST("fisttp", 8), STI("fxch4")),
        X(0xdd, 2) = GM(ST("fst", 8), STI("fst")),
        X(0xdd, 3) = GM(ST("fstp", 8), STI("fstp")),
        X(0xdd, 4) = GM(FENV("frstor", FP | FX, R), STI("fucom")),
        X(0xdd, 5) = GM(STI("fucomp")),
        X(0xdd, 6) = GM(FENV("fnsave", FP, W)),
        X(0xdd, 7) = GM(M(MEM, "fnstsw", NW, XF, MM(W, 2))),

        X(0xde, 0) = ARITH("fiadd", 2, "faddp"),
        X(0xde, 1) = ARITH("fimul", 2, "fmulp"),
        X(0xde, 2) = ARITH("ficom", 2, "fcomp5"),
        X(0xde, 3) = GM(LD("ficomp", 2), ONE(1, "fcompp")),
        X(0xde, 4) = ARITH("fisub", 2, "fsubrp"),
        X(0xde, 5) = ARITH("fisubr", 2, "fsubp"),
        X(0xde, 6) = ARITH("fidiv", 2, "fdivrp"),
        X(0xde, 7) = ARITH("fidivr", 2, "fdivp"),

        X(0xdf, 0) = GM(LD("fild", 2), STI("ffreep")),
        X(0xdf, 1) = GM(ST("fisttp", 2), STI("fxch7")),
        X(0xdf, 2) = GM(ST("fist", 2), STI("fstp8")),
        X(0xdf, 3) = GM(ST("fistp", 2), STI("fstp9")),
        X(0xdf, 4) = GM(LD("fbld", 10), M(REG | LO(0), "fnstsw", NW, XF, IW(AX))),
        X(0xdf, 5) = GM(LD("fild", 8), FCOMI("fucomip")),
        X(0xdf, 6) = GM(ST("fbstp", 10), FCOMI("fcomip")),
        X(0xdf, 7) = GM(ST("fistp", 8)),
};
