/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Which instructions are generated, and how; and tables of doc/soft-cpu.md, which
 * `fuzz_cpu -C` prints from the decoder's own tables.
 */
#include "gen.h"

#include "x86/decode_tables.h"

static const char in_its_area[] = "its area is read by its counterpart only";
static const char differs[] = "the result differs by processor and time: hidden";
static const char enters_system[] = "enters the system that the test runs under";
static const char emulated[] = "with UMIP, Linux answers in the processor's place";
static const char protection_keys[] = "CR4.PKE is the system's choice";

static const struct diff_sys_rule rules[X86_SYS_COUNT] = {
        [X86_SYS_FXSAVE] = { DIFF_SYS_COMPOSED, in_its_area },
        [X86_SYS_XSAVE] = { DIFF_SYS_COMPOSED, in_its_area },
        [X86_SYS_XSAVEC] = { DIFF_SYS_COMPOSED, in_its_area },
        [X86_SYS_XRSTOR] = { DIFF_SYS_COMPOSED, in_its_area },
        [X86_SYS_FENV] = { DIFF_SYS_COMPOSED, in_its_area },
        [X86_SYS_CPUID] = { DIFF_SYS_COMPOSED, differs },
        [X86_SYS_RDTSC] = { DIFF_SYS_COMPOSED, differs },
        [X86_SYS_RDTSCP] = { DIFF_SYS_COMPOSED, differs },
        [X86_SYS_RDPID] = { DIFF_SYS_COMPOSED, differs },
        [X86_SYS_RDRAND] = { DIFF_SYS_COMPOSED, differs },
        [X86_SYS_RDSEED] = { DIFF_SYS_COMPOSED, differs },
        [X86_SYS_XGETBV] = { DIFF_SYS_COMPOSED, "XCR0 is the system's choice: of a register that is not there" },
        [X86_SYS_LSL] = { DIFF_SYS_COMPOSED, "Linux keeps the processor's number in a limit" },
        [X86_SYS_SYSCALL] = { DIFF_SYS_LEFT_OUT, enters_system },
        [X86_SYS_SYSENTER] = { DIFF_SYS_LEFT_OUT, enters_system },
        [X86_SYS_VMCALL] = { DIFF_SYS_LEFT_OUT, "a hypervisor below the host may answer" },
        [X86_SYS_SLDT] = { DIFF_SYS_LEFT_OUT, emulated },
        [X86_SYS_STR] = { DIFF_SYS_LEFT_OUT, emulated },
        [X86_SYS_SGDT] = { DIFF_SYS_LEFT_OUT, emulated },
        [X86_SYS_SIDT] = { DIFF_SYS_LEFT_OUT, emulated },
        [X86_SYS_SMSW] = { DIFF_SYS_LEFT_OUT, emulated },
        [X86_SYS_RDPKRU] = { DIFF_SYS_LEFT_OUT, protection_keys },
        [X86_SYS_WRPKRU] = { DIFF_SYS_LEFT_OUT, protection_keys },
        [X86_SYS_XSAVEOPT] = { DIFF_SYS_LEFT_OUT, "what it leaves unwritten is the processor's choice" },
};

const struct diff_sys_rule *
diff_sys_rule(unsigned sys)
{
        return &rules[sys];
}

/* ---- the table ---- */

enum kind {
        KIND_INTEGER,
        KIND_X87,
        KIND_MMX,
        KIND_SSE,
        KIND_VEX,
        KIND_BRANCH,
        KIND_STACK,
        KIND_STRING,
        KIND_NOP,
        KIND_UNDEFINED,
        KIND_SYS,
        KIND_SYS_CPL0,
        KIND_COMPOSED,
        KIND_LEFT_OUT,
        KIND_COUNT,
};

static const char *const kind_names[KIND_COUNT] = {
        [KIND_INTEGER] = "integer, flags, LEA, XLAT",
        [KIND_X87] = "x87",
        [KIND_MMX] = "MMX",
        [KIND_SSE] = "SSE to SSE4.2, AES, SHA, GFNI",
        [KIND_VEX] = "VEX: AVX, AVX2, FMA, BMI",
        [KIND_BRANCH] = "near branches, LOOP, near CALL and RET",
        [KIND_STACK] = "PUSH, POP, LEAVE, PUSHF, POPF",
        [KIND_STRING] = "strings",
        [KIND_NOP] = "no operation, hints, prefetches",
        [KIND_UNDEFINED] = "undefined",
        [KIND_SYS] = "done by helpers",
        [KIND_SYS_CPL0] = "privileged: that CPL 3 may not",
        [KIND_COMPOSED] = "done by helpers, in sequences only",
        [KIND_LEFT_OUT] = "left out",
};

static enum kind
kind_of_system(const struct x86_opdesc *d)
{
        switch (rules[d->sys].how) {
        case DIFF_SYS_COMPOSED:
                return KIND_COMPOSED;
        case DIFF_SYS_LEFT_OUT:
                return KIND_LEFT_OUT;
        default:
                return d->flags & X86_OD_CPL0 ? KIND_SYS_CPL0 : KIND_SYS;
        }
}

static enum kind
kind_of(const struct x86_opdesc *d, unsigned map, bool vex)
{
        switch (d->class) {
        case X86_CLASS_SYSTEM:
                return kind_of_system(d);
        case X86_CLASS_UD:
                return KIND_UNDEFINED;
        case X86_CLASS_NOP:
                return KIND_NOP;
        case X86_CLASS_STRING:
                return KIND_STRING;
        case X86_CLASS_PUSH:
        case X86_CLASS_POP:
        case X86_CLASS_LEAVE:
        case X86_CLASS_PUSHF:
        case X86_CLASS_POPF:
                return KIND_STACK;
        case X86_CLASS_PLAIN:
                break;
        case X86_CLASS_LEA:
        case X86_CLASS_FLAG:
        case X86_CLASS_XLAT:
                return KIND_INTEGER;
        default:
                return KIND_BRANCH;
        }
        if (vex)
                return KIND_VEX;
        if (map == X86_MAP_X87)
                return KIND_X87;
        if (d->flags & X86_OD_FPU)
                return KIND_MMX;
        return d->flags & X86_OD_SSE ? KIND_SSE : KIND_INTEGER;
}

struct counts {
        unsigned rows[KIND_COUNT], mode[2][KIND_COUNT];
        unsigned sys[X86_SYS_COUNT];
};

static void
count_groups(struct counts *counts, const struct x86_opgroup *groups, unsigned count, unsigned map, bool vex)
{
        for (unsigned i = 0; i < count; i++)
                for (unsigned j = 0; j < groups[i].count; j++) {
                        const struct x86_oprow *row = &groups[i].rows[j];
                        enum kind kind = kind_of(&row->desc, map, vex);

                        if (row->mask & X86_KEY_NEVER)
                                continue;
                        counts->rows[kind]++;
                        counts->sys[row->desc.sys]++;
                        for (unsigned compat = 0; compat < 2; compat++)
                                counts->mode[compat][kind] += diff_row_exists(row, compat);
                }
}

bool
diff_row_exists(const struct x86_oprow *row, bool compat)
{
        if (compat ? row->desc.flags & X86_OD_ONLY64 : row->desc.flags & X86_OD_NO64)
                return false;
        return !(row->mask & X86_KEY_M64) || ((row->value & X86_KEY_M64) != 0) != compat;
}

static const char *
name_of(unsigned sys)
{
        for (unsigned i = 0; i < 256; i++)
                for (unsigned map = 0; map < 2; map++) {
                        const struct x86_opgroup *g = map ? &x86_ops_0f[i] : &x86_ops_1b[i];

                        for (unsigned j = 0; j < g->count; j++)
                                if (g->rows[j].desc.sys == sys)
                                        return g->rows[j].desc.name;
                }
        for (unsigned i = 0; i < 64; i++)
                for (unsigned j = 0; j < x86_ops_x87[i].count; j++)
                        if (x86_ops_x87[i].rows[j].desc.sys == sys)
                                return x86_ops_x87[i].rows[j].desc.name;
        return "?";
}

static void
print_reasons(const struct counts *counts, enum diff_sys_how how, FILE *out)
{
        for (unsigned first = 1; first < X86_SYS_COUNT; first++) {
                const char *why = rules[first].why, *comma = "| ";
                bool seen = false;

                for (unsigned sys = 1; sys < first; sys++)
                        seen |= rules[sys].why == why;
                if (rules[first].how != how || seen)
                        continue;
                for (unsigned sys = first; sys < X86_SYS_COUNT; sys++)
                        if (rules[sys].why == why && counts->sys[sys] != 0) {
                                fprintf(out, "%s%s", comma, name_of(sys));
                                comma = ", ";
                        }
                fprintf(out, " | %s | %s |\n", how == DIFF_SYS_COMPOSED ? "in sequences" : "left out", why);
        }
}

void
diff_print_classes(FILE *out)
{
        struct counts counts = { 0 };
        unsigned sum[3] = { 0 };

        count_groups(&counts, x86_ops_1b, 256, X86_MAP_1B, false);
        count_groups(&counts, x86_ops_0f, 256, X86_MAP_0F, false);
        count_groups(&counts, x86_ops_0f38, 256, X86_MAP_0F38, false);
        count_groups(&counts, x86_ops_0f3a, 256, X86_MAP_0F3A, false);
        count_groups(&counts, x86_ops_x87, 64, X86_MAP_X87, false);
        count_groups(&counts, x86_ops_vex_0f, 256, X86_MAP_0F, true);
        count_groups(&counts, x86_ops_vex_0f38, 256, X86_MAP_0F38, true);
        count_groups(&counts, x86_ops_vex_0f3a, 256, X86_MAP_0F3A, true);
        fprintf(out, "| class | rows | in 64-bit mode | in compatibility mode |\n| --- | --- | --- | --- |\n");
        for (unsigned k = 0; k < KIND_COUNT; k++) {
                fprintf(out, "| %s | %u | %u | %u |\n", kind_names[k], counts.rows[k], counts.mode[0][k], counts.mode[1][k]);
                sum[0] += counts.rows[k];
                sum[1] += counts.mode[0][k];
                sum[2] += counts.mode[1][k];
        }
        fprintf(out, "| all | %u | %u | %u |\n", sum[0], sum[1], sum[2]);
        fprintf(out, "\n| instructions | generated | reason |\n| --- | --- | --- |\n");
        print_reasons(&counts, DIFF_SYS_COMPOSED, out);
        print_reasons(&counts, DIFF_SYS_LEFT_OUT, out);
}
