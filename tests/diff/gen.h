/* SPDX-License-Identifier: BSD-2-Clause */
/* What the files that make cases share: gen.c, compose.c and classes.c. */
#ifndef DIFF_GEN_H
#define DIFF_GEN_H

#include "diff.h"

#include "x86/decode_tables.h"

#define LEAVES_MAX 4096

/* One row of the decoder's tables. */
struct leaf {
        const struct x86_oprow *row;
        uint8_t map; /* enum x86_map */
        uint8_t opcode;
        uint8_t x87_reg;
        bool vex, modrm;
        unsigned long uses;
};

struct leaves {
        unsigned count;
        struct leaf leaf[LEAVES_MAX];
};

struct diff_gen {
        struct diff_options options;
        struct leaves leaves[2]; /* 64-bit mode, compatibility mode */
};

/* One case being made. */
struct gen {
        struct diff_rng rng;
        struct diff_case *c;
        const struct diff_options *options;
        struct leaves *leaves;
        uint32_t known; /* registers that still hold c->gpr[] */
        int base;       /* of the last memory operand without an index, and its address; -1: none */
        uint32_t near;
        unsigned fn_prefix; /* 66 for the 16-bit format of FNSAVE and its kin */
        bool temporaries; /* R10 and R11 often: the engine keeps them in no register of their own */
        unsigned saved; /* SAVED_*: state that an earlier instruction stored */
};

#define SAVED_FX 1u
#define SAVED_X  2u
#define SAVED_FN 4u

/* ---- compose.c: what random operands would hardly ever do ---- */

/* One instruction, or several in one piece, with a field that is filled in later. */
void diff_emit(struct diff_insn *out, const void *bytes, unsigned len, enum diff_fix fix, unsigned at, unsigned target);
/* Puts a composite of up to five instructions at @out, which is number @self; how many. */
unsigned diff_compose(struct gen *g, struct diff_insn *out, unsigned self);

/* ---- classes.c ---- */

enum diff_sys_how {
        DIFF_SYS_ROWS,     /* random encodings of the table rows */
        DIFF_SYS_COMPOSED, /* by compose.c only */
        DIFF_SYS_LEFT_OUT,
};

/* How instructions that a helper of the engine does are generated. */
struct diff_sys_rule {
        enum diff_sys_how how;
        const char *why; /* of all but DIFF_SYS_ROWS */
};

const struct diff_sys_rule *diff_sys_rule(unsigned sys);
/* Whether a row of the decoder's tables is an instruction in that mode. */
bool diff_row_exists(const struct x86_oprow *row, bool compat);

#endif
