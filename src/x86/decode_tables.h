/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The opcode tables that x86_decode() looks instructions up in.
 *
 * Each opcode of a map has a group: a few rows, the first of which that matches
 * the instruction's key (mandatory prefix, ModRM fields, W, L, mode) describes it.
 * No row: the encoding is undefined.
 */
#ifndef X86_DECODE_TABLES_H
#define X86_DECODE_TABLES_H

#include "x86/decode.h"

/* Bits of the key. */
#define X86_KEY_PP    0x0003u /* 0 none, 1: 66, 2: F3, 3: F2 (these two go before 66) */
#define X86_KEY_MOD3  0x0004u
#define X86_KEY_REG   0x0038u
#define X86_KEY_RM    0x01c0u
#define X86_KEY_W     0x0200u
#define X86_KEY_L     0x0400u
#define X86_KEY_M64   0x0800u
#define X86_KEY_B     0x1000u /* REX.B */
#define X86_KEY_O16   0x2000u /* 66 present */
#define X86_KEY_NEVER 0x4000u /* never set in a key: rows reached in another way */

struct x86_oprow {
        uint16_t mask;
        uint16_t value;
        struct x86_opdesc desc;
};

struct x86_opgroup {
        const struct x86_oprow *rows;
        uint8_t count;
        bool modrm; /* a ModRM byte follows the opcode */
};

extern const struct x86_opgroup x86_ops_1b[256];
extern const struct x86_opgroup x86_ops_0f[256];
extern const struct x86_opgroup x86_ops_0f38[256];
extern const struct x86_opgroup x86_ops_0f3a[256];
extern const struct x86_opgroup x86_ops_x87[64]; /* (opcode & 7) * 8 + ModRM.reg */
extern const struct x86_opgroup x86_ops_vex_0f[256];
extern const struct x86_opgroup x86_ops_vex_0f38[256];
extern const struct x86_opgroup x86_ops_vex_0f3a[256];

#endif
