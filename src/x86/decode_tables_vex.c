/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Opcodes behind VEX, SDM 2D tables A-3 to A-5 ("v" prefixed), 2C for W and L.
 * decode_rows.h explains the notation.  Scalar operations ignore L.
 */
#include "x86/decode_rows.h"

#define FP4(nm)                                                                                    \
        GM(M(NP, "v" nm "ps", AV | FX, V(W), H(R), W(R, VL), FT(AVX)),                             \
            M(P66, "v" nm "pd", AV | FX, V(W), H(R), W(R, VL), FT(AVX)),                           \
            M(PF3, "v" nm "ss", AV | FX, V(W), H(R), W(R, 4), FT(AVX)),                            \
            M(PF2, "v" nm "sd", AV | FX, V(W), H(R), W(R, 8), FT(AVX)))
#define PSPD(nm)                                                                                   \
        GM(M(NP, "v" nm "ps", AV, V(W), H(R), W(R, VL), FT(AVX)),                                  \
            M(P66, "v" nm "pd", AV, V(W), H(R), W(R, VL), FT(AVX)))
/* Integer: 128 bits came with AVX, 256 with AVX2. */
#define VEC(nm)                                                                                    \
        GM(M(P66 | L0, "v" nm, AV, V(W), H(R), W(R, 16), FT(AVX)),                                 \
            M(P66 | L1, "v" nm, AV, V(W), H(R), W(R, 32), FT(AVX2)))
#define VEC_I(nm)                                                                                  \
        GM(M(P66 | L0, "v" nm, AV, V(W), H(R), W(R, 16), I(1), FT(AVX)),                           \
            M(P66 | L1, "v" nm, AV, V(W), H(R), W(R, 32), I(1), FT(AVX2)))
/* Shifts by a count in an XMM register: 16 bytes whatever L. */
#define VEC_16(nm)                                                                                 \
        GM(M(P66 | L0, "v" nm, AV, V(W), H(R), W(R, 16), FT(AVX)),                                 \
            M(P66 | L1, "v" nm, AV, V(W), H(R), W(R, 16), FT(AVX2)))
#define UNARY_(pp, nm)                                                                             \
        M((pp) | L0, "v" nm, AV, V(W), W(R, 16), FT(AVX)),                                         \
            M((pp) | L1, "v" nm, AV, V(W), W(R, 32), FT(AVX2))
#define UNARY(nm) GM(UNARY_(P66, nm))
#define UNARY_I(pp, nm)                                                                            \
        M((pp) | L0, "v" nm, AV, V(W), W(R, 16), I(1), FT(AVX)),                                   \
            M((pp) | L1, "v" nm, AV, V(W), W(R, 32), I(1), FT(AVX2))
#define SHIFT(n, nm)                                                                               \
        M(P66 | L0 | N(n), "v" nm, AV | RO, EXT, H(W), WR(R), I(1), FT(AVX)),                      \
            M(P66 | L1 | N(n), "v" nm, AV | RO, EXT, H(W), WR(R), I(1), FT(AVX2))
#define EXTEND(nm, bytes)                                                                          \
        GM(M(P66 | L0, "v" nm, AV, V(W), W(R, bytes), FT(AVX)),                                    \
            M(P66 | L1, "v" nm, AV, V(W), W(R, 2 * (bytes)), FT(AVX2)))
#define LOAD(pp, nm)  M(pp, nm, AV, V(W), W(R, VL), FT(AVX))
#define STORE(pp, nm) M(pp, nm, AV, V(R), W(W, VL), FT(AVX))
#define LOADA(pp, nm)  M(pp, nm, AVA, V(W), W(R, VL), FT(AVX))
#define STOREA(pp, nm) M(pp, nm, AVA, V(R), W(W, VL), FT(AVX))
#define X128(match, nm, ...) M((match) | L0, nm, AV, FT(AVX), __VA_ARGS__)

const struct x86_opgroup x86_ops_vex_0f[256] = {
        [0x10] = GM(LOAD(NP, "vmovups"), LOAD(P66, "vmovupd"), M(PF3 | MEM, "vmovss", AV, V(W), W(R, 4), FT(AVX)),
            M(PF3, "vmovss", AV, V(W), H(R), WR(R), FT(AVX)), M(PF2 | MEM, "vmovsd", AV, V(W), W(R, 8), FT(AVX)),
            M(PF2, "vmovsd", AV, V(W), H(R), WR(R), FT(AVX))),
        [0x11] = GM(STORE(NP, "vmovups"), STORE(P66, "vmovupd"), M(PF3 | MEM, "vmovss", AV, V(R), W(W, 4), FT(AVX)),
            M(PF3, "vmovss", AV, V(R), H(R), WR(W), FT(AVX)), M(PF2 | MEM, "vmovsd", AV, V(R), W(W, 8), FT(AVX)),
            M(PF2, "vmovsd", AV, V(R), H(R), WR(W), FT(AVX))),
        [0x12] = GM(X128(NP | MEM, "vmovlps", V(W), H(R), W(R, 8)), X128(NP | REG, "vmovhlps", V(W), H(R), WR(R)),
            X128(P66 | MEM, "vmovlpd", V(W), H(R), W(R, 8)), LOAD(PF3, "vmovsldup"),
            M(PF2 | L0, "vmovddup", AV, V(W), W(R, 8), FT(AVX)), M(PF2 | L1, "vmovddup", AV, V(W), W(R, 32), FT(AVX))),
        [0x13] = GM(X128(NP | MEM, "vmovlps", V(R), W(W, 8)), X128(P66 | MEM, "vmovlpd", V(R), W(W, 8))),
        [0x14] = PSPD("unpckl"),
        [0x15] = PSPD("unpckh"),
        [0x16] = GM(X128(NP | MEM, "vmovhps", V(W), H(R), W(R, 8)), X128(NP | REG, "vmovlhps", V(W), H(R), WR(R)),
            X128(P66 | MEM, "vmovhpd", V(W), H(R), W(R, 8)), LOAD(PF3, "vmovshdup")),
        [0x17] = GM(X128(NP | MEM, "vmovhps", V(R), W(W, 8)), X128(P66 | MEM, "vmovhpd", V(R), W(W, 8))),
        [0x28] = GM(LOADA(NP, "vmovaps"), LOADA(P66, "vmovapd")),
        [0x29] = GM(STOREA(NP, "vmovaps"), STOREA(P66, "vmovapd")),
        [0x2a] = GM(M(PF3, "vcvtsi2ss", AV | FX, V(W), H(R), E_(R), FT(AVX)), M(PF2, "vcvtsi2sd", AV | FX, V(W), H(R), E_(R), FT(AVX))),
        [0x2b] = GM(STOREA(NP | MEM, "vmovntps"), STOREA(P66 | MEM, "vmovntpd")),
        [0x2c] = GM(M(PF3, "vcvttss2si", AV | FX, G_(W), W(R, 4), FT(AVX)), M(PF2, "vcvttsd2si", AV | FX, G_(W), W(R, 8), FT(AVX))),
        [0x2d] = GM(M(PF3, "vcvtss2si", AV | FX, G_(W), W(R, 4), FT(AVX)), M(PF2, "vcvtsd2si", AV | FX, G_(W), W(R, 8), FT(AVX))),
        [0x2e] = GM(M(NP, "vucomiss", AV | FX, V(R), W(R, 4), FW(ALL), FT(AVX)), M(P66, "vucomisd", AV | FX, V(R), W(R, 8), FW(ALL), FT(AVX))),
        [0x2f] = GM(M(NP, "vcomiss", AV | FX, V(R), W(R, 4), FW(ALL), FT(AVX)), M(P66, "vcomisd", AV | FX, V(R), W(R, 8), FW(ALL), FT(AVX))),
        [0x50] = GM(M(NP | REG, "vmovmskps", AV, G_(W), WR(R), FT(AVX)), M(P66 | REG, "vmovmskpd", AV, G_(W), WR(R), FT(AVX))),
        [0x51] = GM(M(NP, "vsqrtps", AV | FX, V(W), W(R, VL), FT(AVX)), M(P66, "vsqrtpd", AV | FX, V(W), W(R, VL), FT(AVX)),
            M(PF3, "vsqrtss", AV | FX, V(W), H(R), W(R, 4), FT(AVX)), M(PF2, "vsqrtsd", AV | FX, V(W), H(R), W(R, 8), FT(AVX))),
        [0x52] = GM(LOAD(NP, "vrsqrtps"), M(PF3, "vrsqrtss", AV, V(W), H(R), W(R, 4), FT(AVX))),
        [0x53] = GM(LOAD(NP, "vrcpps"), M(PF3, "vrcpss", AV, V(W), H(R), W(R, 4), FT(AVX))),
        [0x54] = PSPD("and"),
        [0x55] = PSPD("andn"),
        [0x56] = PSPD("or"),
        [0x57] = PSPD("xor"),
        [0x58] = FP4("add"),
        [0x59] = FP4("mul"),
        [0x5a] = GM(M(NP, "vcvtps2pd", AV | FX, V(W), W(R, HALF), FT(AVX)), M(P66, "vcvtpd2ps", AV | FX, V(W), W(R, VL), FT(AVX)),
            M(PF3, "vcvtss2sd", AV | FX, V(W), H(R), W(R, 4), FT(AVX)), M(PF2, "vcvtsd2ss", AV | FX, V(W), H(R), W(R, 8), FT(AVX))),
        [0x5b] = GM(M(NP, "vcvtdq2ps", AV | FX, V(W), W(R, VL), FT(AVX)), M(P66, "vcvtps2dq", AV | FX, V(W), W(R, VL), FT(AVX)),
            M(PF3, "vcvttps2dq", AV | FX, V(W), W(R, VL), FT(AVX))),
        [0x5c] = FP4("sub"),
        [0x5d] = FP4("min"),
        [0x5e] = FP4("div"),
        [0x5f] = FP4("max"),
        [0x60] = VEC("punpcklbw"),
        [0x61] = VEC("punpcklwd"),
        [0x62] = VEC("punpckldq"),
        [0x63] = VEC("packsswb"),
        [0x64] = VEC("pcmpgtb"),
        [0x65] = VEC("pcmpgtw"),
        [0x66] = VEC("pcmpgtd"),
        [0x67] = VEC("packuswb"),
        [0x68] = VEC("punpckhbw"),
        [0x69] = VEC("punpckhwd"),
        [0x6a] = VEC("punpckhdq"),
        [0x6b] = VEC("packssdw"),
        [0x6c] = VEC("punpcklqdq"),
        [0x6d] = VEC("punpckhqdq"),
        [0x6e] = GM(X128(P66, "vmovd", V(W), E_(R))),
        [0x6f] = GM(LOADA(P66, "vmovdqa"), LOAD(PF3, "vmovdqu")),
        [0x70] = GM(UNARY_I(P66, "pshufd"), UNARY_I(PF3, "pshufhw"), UNARY_I(PF2, "pshuflw")),
        [0x71] = GM(SHIFT(2, "psrlw"), SHIFT(4, "psraw"), SHIFT(6, "psllw")),
        [0x72] = GM(SHIFT(2, "psrld"), SHIFT(4, "psrad"), SHIFT(6, "pslld")),
        [0x73] = GM(SHIFT(2, "psrlq"), SHIFT(3, "psrldq"), SHIFT(6, "psllq"), SHIFT(7, "pslldq")),
        [0x74] = VEC("pcmpeqb"),
        [0x75] = VEC("pcmpeqw"),
        [0x76] = VEC("pcmpeqd"),
        [0x77] = G(R(NP | L0, "vzeroupper", AV, FT(AVX)), R(NP | L1, "vzeroall", AV, FT(AVX))),
        [0x7c] = GM(M(P66, "vhaddpd", AV | FX, V(W), H(R), W(R, VL), FT(AVX)), M(PF2, "vhaddps", AV | FX, V(W), H(R), W(R, VL), FT(AVX))),
        [0x7d] = GM(M(P66, "vhsubpd", AV | FX, V(W), H(R), W(R, VL), FT(AVX)), M(PF2, "vhsubps", AV | FX, V(W), H(R), W(R, VL), FT(AVX))),
        [0x7e] = GM(X128(P66, "vmovd", V(R), E_(W)), X128(PF3, "vmovq", V(W), W(R, 8))),
        [0x7f] = GM(STOREA(P66, "vmovdqa"), STORE(PF3, "vmovdqu")),
        [0xae] = GM(M(NP | MEM | L0 | N(2), "vldmxcsr", AV | FX, EXT, MM(R, 4), FT(AVX)),
            M(NP | MEM | L0 | N(3), "vstmxcsr", AV, EXT, MM(W, 4), FT(AVX))),
        [0xc2] = GM(M(NP, "vcmpps", AV | FX, V(W), H(R), W(R, VL), I(1), FT(AVX)),
            M(P66, "vcmppd", AV | FX, V(W), H(R), W(R, VL), I(1), FT(AVX)),
            M(PF3, "vcmpss", AV | FX, V(W), H(R), W(R, 4), I(1), FT(AVX)),
            M(PF2, "vcmpsd", AV | FX, V(W), H(R), W(R, 8), I(1), FT(AVX))),
        [0xc4] = GM(X128(P66, "vpinsrw", V(W), H(R), EN(R, 2), I(1))),
        [0xc5] = GM(X128(P66 | REG, "vpextrw", G_(W), WR(R), I(1))),
        [0xc6] = GM(M(NP, "vshufps", AV, V(W), H(R), W(R, VL), I(1), FT(AVX)), M(P66, "vshufpd", AV, V(W), H(R), W(R, VL), I(1), FT(AVX))),
        [0xd0] = GM(M(P66, "vaddsubpd", AV | FX, V(W), H(R), W(R, VL), FT(AVX)), M(PF2, "vaddsubps", AV | FX, V(W), H(R), W(R, VL), FT(AVX))),
        [0xd1] = VEC_16("psrlw"),
        [0xd2] = VEC_16("psrld"),
        [0xd3] = VEC_16("psrlq"),
        [0xd4] = VEC("paddq"),
        [0xd5] = VEC("pmullw"),
        [0xd6] = GM(X128(P66, "vmovq", V(R), W(W, 8))),
        [0xd7] = GM(M(P66 | REG | L0, "vpmovmskb", AV, G_(W), WR(R), FT(AVX)), M(P66 | REG | L1, "vpmovmskb", AV, G_(W), WR(R), FT(AVX2))),
        [0xd8] = VEC("psubusb"),
        [0xd9] = VEC("psubusw"),
        [0xda] = VEC("pminub"),
        [0xdb] = VEC("pand"),
        [0xdc] = VEC("paddusb"),
        [0xdd] = VEC("paddusw"),
        [0xde] = VEC("pmaxub"),
        [0xdf] = VEC("pandn"),
        [0xe0] = VEC("pavgb"),
        [0xe1] = VEC_16("psraw"),
        [0xe2] = VEC_16("psrad"),
        [0xe3] = VEC("pavgw"),
        [0xe4] = VEC("pmulhuw"),
        [0xe5] = VEC("pmulhw"),
        [0xe6] = GM(M(P66, "vcvttpd2dq", AV | FX, V(W), W(R, VL), FT(AVX)), M(PF3, "vcvtdq2pd", AV, V(W), W(R, HALF), FT(AVX)),
            M(PF2, "vcvtpd2dq", AV | FX, V(W), W(R, VL), FT(AVX))),
        [0xe7] = GM(STOREA(P66 | MEM, "vmovntdq")),
        [0xe8] = VEC("psubsb"),
        [0xe9] = VEC("psubsw"),
        [0xea] = VEC("pminsw"),
        [0xeb] = VEC("por"),
        [0xec] = VEC("paddsb"),
        [0xed] = VEC("paddsw"),
        [0xee] = VEC("pmaxsw"),
        [0xef] = VEC("pxor"),
        [0xf0] = GM(LOAD(PF2 | MEM, "vlddqu")),
        [0xf1] = VEC_16("psllw"),
        [0xf2] = VEC_16("pslld"),
        [0xf3] = VEC_16("psllq"),
        [0xf4] = VEC("pmuludq"),
        [0xf5] = VEC("pmaddwd"),
        [0xf6] = VEC("psadbw"),
        [0xf7] = GM(X128(P66 | REG, "vmaskmovdqu", SY(MASKMOV), V(R), WR(R), IR(DI))),
        [0xf8] = VEC("psubb"),
        [0xf9] = VEC("psubw"),
        [0xfa] = VEC("psubd"),
        [0xfb] = VEC("psubq"),
        [0xfc] = VEC("paddb"),
        [0xfd] = VEC("paddw"),
        [0xfe] = VEC("paddd"),
};

#define FMA_PACKED(nm)                                                                             \
        GM(M(P66 | W0, nm "ps", AV | FX, V(RW), H(R), W(R, VL), FT(FMA)),                          \
            M(P66 | W1, nm "pd", AV | FX, V(RW), H(R), W(R, VL), FT(FMA)))
#define FMA_SCALAR(nm)                                                                             \
        GM(M(P66 | W0, nm "ss", AV | FX, V(RW), H(R), W(R, 4), FT(FMA)),                           \
            M(P66 | W1, nm "sd", AV | FX, V(RW), H(R), W(R, 8), FT(FMA)))
#define FMA_ROWS(base, order)                                                                      \
        [(base) + 6] = FMA_PACKED("vfmaddsub" order), [(base) + 7] = FMA_PACKED("vfmsubadd" order), \
        [(base) + 8] = FMA_PACKED("vfmadd" order), [(base) + 9] = FMA_SCALAR("vfmadd" order),      \
        [(base) + 10] = FMA_PACKED("vfmsub" order), [(base) + 11] = FMA_SCALAR("vfmsub" order),    \
        [(base) + 12] = FMA_PACKED("vfnmadd" order), [(base) + 13] = FMA_SCALAR("vfnmadd" order),  \
        [(base) + 14] = FMA_PACKED("vfnmsub" order), [(base) + 15] = FMA_SCALAR("vfnmsub" order)
#define BROADCAST(match, nm, bytes)                                                                \
        M((match) | MEM, nm, AV, V(W), W(R, bytes), FT(AVX)), M((match) | REG, nm, AV, V(W), WR(R), FT(AVX2))
#define BROADCAST2(nm, bytes) GM(M(P66 | W0, nm, AV, V(W), W(R, bytes), FT(AVX2)))
#define VARSHIFT(nm)                                                                               \
        M(P66 | W0, nm "d", AV, V(W), H(R), W(R, VL), FT(AVX2)),                                   \
            M(P66 | W1, nm "q", AV, V(W), H(R), W(R, VL), FT(AVX2))
#define MASKED(nm, f, acc_reg, acc_mem, match)                                                     \
        M(P66 | MEM | (match), nm, AV, SY(VMASKMOV), V(acc_reg), H(R), MM(acc_mem, VL), FT(f))
#define GATHER(nm, w)                                                                              \
        M(P66 | MEM | (w), nm, AV | X86_OD_VSIB, SY(GATHER), V(RW), H(RW), .rm_access = X86_ACC_R, FT(AVX2))
#define AES(nm)                                                                                    \
        GM(M(P66 | L0, nm, AV, V(W), H(R), W(R, 16), FT(AES)), M(P66 | L1, nm, AV, V(W), H(R), W(R, 32), FT(VAES)))
#define BMI(match, nm, f, ...) M((match) | L0, nm, VG, FT(f), __VA_ARGS__)

const struct x86_opgroup x86_ops_vex_0f38[256] = {
        [0x00] = VEC("pshufb"),
        [0x01] = VEC("phaddw"),
        [0x02] = VEC("phaddd"),
        [0x03] = VEC("phaddsw"),
        [0x04] = VEC("pmaddubsw"),
        [0x05] = VEC("phsubw"),
        [0x06] = VEC("phsubd"),
        [0x07] = VEC("phsubsw"),
        [0x08] = VEC("psignb"),
        [0x09] = VEC("psignw"),
        [0x0a] = VEC("psignd"),
        [0x0b] = VEC("pmulhrsw"),
        [0x0c] = GM(M(P66 | W0, "vpermilps", AV, V(W), H(R), W(R, VL), FT(AVX))),
        [0x0d] = GM(M(P66 | W0, "vpermilpd", AV, V(W), H(R), W(R, VL), FT(AVX))),
        [0x0e] = GM(M(P66 | W0, "vtestps", AV, V(R), W(R, VL), FW(ALL), FT(AVX))),
        [0x0f] = GM(M(P66 | W0, "vtestpd", AV, V(R), W(R, VL), FW(ALL), FT(AVX))),
        [0x13] = GM(M(P66 | W0, "vcvtph2ps", AV | FX, V(W), W(R, HALF), FT(F16C))),
        [0x16] = GM(M(P66 | W0 | L1, "vpermps", AV, V(W), H(R), W(R, 32), FT(AVX2))),
        [0x17] = GM(M(P66, "vptest", AV, V(R), W(R, VL), FW(ALL), FT(AVX))),
        [0x18] = GM(BROADCAST(P66 | W0, "vbroadcastss", 4)),
        [0x19] = GM(BROADCAST(P66 | W0 | L1, "vbroadcastsd", 8)),
        [0x1a] = GM(M(P66 | W0 | L1 | MEM, "vbroadcastf128", AV, V(W), W(R, 16), FT(AVX))),
        [0x1c] = UNARY("pabsb"),
        [0x1d] = UNARY("pabsw"),
        [0x1e] = UNARY("pabsd"),
        [0x20] = EXTEND("pmovsxbw", 8),
        [0x21] = EXTEND("pmovsxbd", 4),
        [0x22] = EXTEND("pmovsxbq", 2),
        [0x23] = EXTEND("pmovsxwd", 8),
        [0x24] = EXTEND("pmovsxwq", 4),
        [0x25] = EXTEND("pmovsxdq", 8),
        [0x28] = VEC("pmuldq"),
        [0x29] = VEC("pcmpeqq"),
        [0x2a] = GM(M(P66 | L0 | MEM, "vmovntdqa", AVA, V(W), W(R, 16), FT(AVX)), M(P66 | L1 | MEM, "vmovntdqa", AVA, V(W), W(R, 32), FT(AVX2))),
        [0x2b] = VEC("packusdw"),
        [0x2c] = GM(MASKED("vmaskmovps", AVX, W, R, W0)),
        [0x2d] = GM(MASKED("vmaskmovpd", AVX, W, R, W0)),
        [0x2e] = GM(MASKED("vmaskmovps", AVX, R, W, W0)),
        [0x2f] = GM(MASKED("vmaskmovpd", AVX, R, W, W0)),
        [0x30] = EXTEND("pmovzxbw", 8),
        [0x31] = EXTEND("pmovzxbd", 4),
        [0x32] = EXTEND("pmovzxbq", 2),
        [0x33] = EXTEND("pmovzxwd", 8),
        [0x34] = EXTEND("pmovzxwq", 4),
        [0x35] = EXTEND("pmovzxdq", 8),
        [0x36] = GM(M(P66 | W0 | L1, "vpermd", AV, V(W), H(R), W(R, 32), FT(AVX2))),
        [0x37] = VEC("pcmpgtq"),
        [0x38] = VEC("pminsb"),
        [0x39] = VEC("pminsd"),
        [0x3a] = VEC("pminuw"),
        [0x3b] = VEC("pminud"),
        [0x3c] = VEC("pmaxsb"),
        [0x3d] = VEC("pmaxsd"),
        [0x3e] = VEC("pmaxuw"),
        [0x3f] = VEC("pmaxud"),
        [0x40] = VEC("pmulld"),
        [0x41] = GM(X128(P66, "vphminposuw", V(W), W(R, 16))),
        [0x45] = GM(VARSHIFT("vpsrlv")),
        [0x46] = GM(M(P66 | W0, "vpsravd", AV, V(W), H(R), W(R, VL), FT(AVX2))),
        [0x47] = GM(VARSHIFT("vpsllv")),
        [0x58] = BROADCAST2("vpbroadcastd", 4),
        [0x59] = BROADCAST2("vpbroadcastq", 8),
        [0x5a] = GM(M(P66 | W0 | L1 | MEM, "vbroadcasti128", AV, V(W), W(R, 16), FT(AVX2))),
        [0x78] = BROADCAST2("vpbroadcastb", 1),
        [0x79] = BROADCAST2("vpbroadcastw", 2),
        [0x8c] = GM(MASKED("vpmaskmovd", AVX2, W, R, W0), MASKED("vpmaskmovq", AVX2, W, R, W1)),
        [0x8e] = GM(MASKED("vpmaskmovd", AVX2, R, W, W0), MASKED("vpmaskmovq", AVX2, R, W, W1)),
        [0x90] = GM(GATHER("vpgatherdd", W0), GATHER("vpgatherdq", W1)),
        [0x91] = GM(GATHER("vpgatherqd", W0), GATHER("vpgatherqq", W1)),
        [0x92] = GM(GATHER("vgatherdps", W0), GATHER("vgatherdpd", W1)),
        [0x93] = GM(GATHER("vgatherqps", W0), GATHER("vgatherqpd", W1)),
        FMA_ROWS(0x90, "132"),
        FMA_ROWS(0xa0, "213"),
        FMA_ROWS(0xb0, "231"),
        [0xcf] = GM(M(P66 | W0, "vgf2p8mulb", AV, V(W), H(R), W(R, VL), FT(GFNI))),
        [0xdb] = GM(M(P66 | L0, "vaesimc", AV, V(W), W(R, 16), FT(AES))),
        [0xdc] = AES("vaesenc"),
        [0xdd] = AES("vaesenclast"),
        [0xde] = AES("vaesdec"),
        [0xdf] = AES("vaesdeclast"),
        [0xf2] = GM(BMI(NP, "andn", BMI1, G_(W), B(R), E_(R), FW(ALL))),
        [0xf3] = GM(BMI(NP | N(1), "blsr", BMI1, EXT, B(W), E_(R), FW(ALL)), BMI(NP | N(2), "blsmsk", BMI1, EXT, B(W), E_(R), FW(ALL)),
            BMI(NP | N(3), "blsi", BMI1, EXT, B(W), E_(R), FW(ALL))),
        [0xf5] = GM(BMI(NP, "bzhi", BMI2, G_(W), E_(R), B(R), FW(ALL)), BMI(PF3, "pext", BMI2, G_(W), B(R), E_(R)),
            BMI(PF2, "pdep", BMI2, G_(W), B(R), E_(R))),
        [0xf6] = GM(BMI(PF2, "mulx", BMI2, G_(W), B(W), E_(R), IR(DX))),
        [0xf7] = GM(BMI(NP, "bextr", BMI1, G_(W), E_(R), B(R), FW(ALL)), BMI(P66, "shlx", BMI2, G_(W), E_(R), B(R)),
            BMI(PF3, "sarx", BMI2, G_(W), E_(R), B(R)), BMI(PF2, "shrx", BMI2, G_(W), E_(R), B(R))),
};

#define V3I(match, nm, fl, bytes, f) M(P66 | (match), nm, AV | (fl), V(W), H(R), W(R, bytes), I(1), FT(f))
#define V2I(match, nm, fl, bytes, f) M(P66 | (match), nm, AV | (fl), V(W), W(R, bytes), I(1), FT(f))
#define BLENDV(match, nm, bytes, f)  M(P66 | W0 | (match), nm, AV, V(W), H(R), W(R, bytes), I(X86_IMM_IS4), FT(f))

const struct x86_opgroup x86_ops_vex_0f3a[256] = {
        [0x00] = GM(V2I(W1 | L1, "vpermq", NO, 32, AVX2)),
        [0x01] = GM(V2I(W1 | L1, "vpermpd", NO, 32, AVX2)),
        [0x02] = GM(V3I(W0, "vpblendd", NO, VL, AVX2)),
        [0x04] = GM(V2I(W0, "vpermilps", NO, VL, AVX)),
        [0x05] = GM(V2I(W0, "vpermilpd", NO, VL, AVX)),
        [0x06] = GM(V3I(W0 | L1, "vperm2f128", NO, 32, AVX)),
        [0x08] = GM(V2I(0, "vroundps", FX, VL, AVX)),
        [0x09] = GM(V2I(0, "vroundpd", FX, VL, AVX)),
        [0x0a] = GM(V3I(0, "vroundss", FX, 4, AVX)),
        [0x0b] = GM(V3I(0, "vroundsd", FX, 8, AVX)),
        [0x0c] = GM(V3I(0, "vblendps", NO, VL, AVX)),
        [0x0d] = GM(V3I(0, "vblendpd", NO, VL, AVX)),
        [0x0e] = VEC_I("pblendw"),
        [0x0f] = VEC_I("palignr"),
        [0x14] = GM(X128(P66, "vpextrb", V(R), EN(W, 1), I(1))),
        [0x15] = GM(X128(P66, "vpextrw", V(R), EN(W, 2), I(1))),
        [0x16] = GM(X128(P66, "vpextrd", V(R), E_(W), I(1))),
        [0x17] = GM(X128(P66, "vextractps", V(R), EN(W, 4), I(1))),
        [0x18] = GM(V3I(W0 | L1, "vinsertf128", NO, 16, AVX)),
        [0x19] = GM(M(P66 | W0 | L1, "vextractf128", AV, V(R), W(W, 16), I(1), FT(AVX))),
        [0x1d] = GM(M(P66 | W0, "vcvtps2ph", AV | FX, V(R), W(W, HALF), I(1), FT(F16C))),
        [0x20] = GM(X128(P66, "vpinsrb", V(W), H(R), EN(R, 1), I(1))),
        [0x21] = GM(X128(P66, "vinsertps", V(W), H(R), W(R, 4), I(1))),
        [0x22] = GM(X128(P66, "vpinsrd", V(W), H(R), E_(R), I(1))),
        [0x38] = GM(V3I(W0 | L1, "vinserti128", NO, 16, AVX2)),
        [0x39] = GM(M(P66 | W0 | L1, "vextracti128", AV, V(R), W(W, 16), I(1), FT(AVX2))),
        [0x40] = GM(V3I(0, "vdpps", FX, VL, AVX)),
        [0x41] = GM(V3I(L0, "vdppd", FX, 16, AVX)),
        [0x42] = VEC_I("mpsadbw"),
        [0x44] = GM(V3I(L0, "vpclmulqdq", NO, 16, PCLMUL), V3I(L1, "vpclmulqdq", NO, 32, VPCLMUL)),
        [0x46] = GM(V3I(W0 | L1, "vperm2i128", NO, 32, AVX2)),
        [0x4a] = GM(BLENDV(0, "vblendvps", VL, AVX)),
        [0x4b] = GM(BLENDV(0, "vblendvpd", VL, AVX)),
        [0x4c] = GM(BLENDV(L0, "vpblendvb", 16, AVX), BLENDV(L1, "vpblendvb", 32, AVX2)),
        [0x60] = GM(X128(P66, "vpcmpestrm", V(R), W(R, 16), I(1), IR(AX | DX), FW(ALL))),
        [0x61] = GM(X128(P66, "vpcmpestri", V(R), W(R, 16), I(1), IR(AX | DX), IW(CX), FW(ALL))),
        [0x62] = GM(X128(P66, "vpcmpistrm", V(R), W(R, 16), I(1), FW(ALL))),
        [0x63] = GM(X128(P66, "vpcmpistri", V(R), W(R, 16), I(1), IW(CX), FW(ALL))),
        [0xce] = GM(V3I(W1, "vgf2p8affineqb", NO, VL, GFNI)),
        [0xcf] = GM(V3I(W1, "vgf2p8affineinvqb", NO, VL, GFNI)),
        [0xdf] = GM(V2I(L0, "vaeskeygenassist", NO, 16, AES)),
        [0xf0] = GM(BMI(PF2, "rorx", BMI2, G_(W), E_(R), I(1))),
};
