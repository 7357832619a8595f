/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Short sequences that random encodings would hardly ever make: branches with known targets,
 * code that overwrites code, the areas of FXSAVE and its kin, selectors, and instructions
 * whose results cannot be compared but whose faults can.
 */
#include "gen.h"

#include "x86/state.h"

#include <string.h>

void
diff_emit(struct diff_insn *out, const void *bytes, unsigned len, enum diff_fix fix, unsigned at, unsigned target)
{
        *out = (struct diff_insn) { .len = (uint8_t)len, .fix = (uint8_t)fix, .fix_at = (uint8_t)at, .target = (uint8_t)target };
        memcpy(out->bytes, bytes, len);
}

/* mov reg, target; jmp or call reg, perhaps behind two pushes; or push target; ret. */
static unsigned
gen_indirect(struct gen *g, struct diff_insn *out, unsigned self)
{
        unsigned reg = g->c->compat || diff_chance(&g->rng, 50) ? diff_below(&g->rng, 3) : X86_R10 + diff_below(&g->rng, 2);
        unsigned pushes = diff_below(&g->rng, 3) == 0 ? 2 : 0, n = 0;
        uint8_t rex = 0x40 | (uint8_t)(reg >> 3), low = reg & 7;
        uint8_t mov[6] = { rex, (uint8_t)(0xb8 + low) }, push[5] = { 0x68 }, ret[1] = { 0xc3 }, push_rax[1] = { 0x50 };
        uint8_t branch[3] = { rex, 0xff, (uint8_t)((diff_below(&g->rng, 2) ? 0xe0 : 0xd0) + low) }; /* jmp, call */
        unsigned skip = reg < 8; /* REX is INC in 32-bit mode, and not wanted here */

        if (diff_below(&g->rng, 3) == 0) {
                diff_emit(&out[0], push, 5, FIX_ABS32, 1, self + 2 + diff_below(&g->rng, 2));
                diff_emit(&out[1], ret, 1, FIX_NONE, 0, 0);
                return 2;
        }
        diff_emit(&out[n++], mov + skip, 6 - skip, FIX_ABS32, 2 - skip, self + 2 + pushes + diff_below(&g->rng, 2));
        while (n <= pushes)
                diff_emit(&out[n++], push_rax, 1, FIX_NONE, 0, 0);
        diff_emit(&out[n++], branch + skip, 3 - skip, FIX_NONE, 0, 0);
        g->known &= ~(1u << reg);
        return n;
}

/* A store into the immediate of an instruction some places ahead, itself made here: the new value must be seen. */
static unsigned
gen_smc(struct gen *g, struct diff_insn *out, unsigned self)
{
        uint8_t store[7] = { diff_below(&g->rng, 2) ? 0xc6 : 0x80, 0x05, 0, 0, 0, 0, (uint8_t)diff_random(&g->rng) };
        uint8_t victim[3] = { 0x83, (uint8_t)(0xc0 + diff_below(&g->rng, 3)), (uint8_t)diff_random(&g->rng) };
        enum diff_fix fix = g->c->compat ? FIX_SMC_ABS : FIX_SMC_RIP;

        diff_emit(&out[0], store, 7, fix, 2, self + 1);
        diff_emit(&out[1], victim, 3, FIX_NONE, 0, 0);
        g->known &= ~(1u << (victim[1] & 7));
        return 2;
}

/*
 * mov ecx, n before, and a LOOP at the end back to the body: the flags and chains of several blocks.
 * Branches may lead behind the MOV: movzx ecx, cl keeps the loop short for the engine too.
 */
static unsigned
gen_loop(struct gen *g, struct diff_insn *out, unsigned self)
{
        uint8_t mov[5] = { 0xb9, (uint8_t)(1 + diff_below(&g->rng, 5)) };
        uint8_t body[3] = { 0x48, 0x11, 0xd0 }; /* adc rax, rdx; dec eax; adc eax, edx in 32-bit mode */
        uint8_t loop[5] = { 0x0f, 0xb6, 0xc9, 0xe2, 0 };

        diff_emit(&out[0], mov, 5, FIX_NONE, 0, 0);
        diff_emit(&out[1], body, 3, FIX_NONE, 0, 0);
        diff_emit(&out[2], loop, 5, FIX_REL8, 4, self + 1);
        g->known &= ~(1u << X86_RCX | 1u << X86_RAX);
        return 3;
}

/* Registers that walk through memory. */
struct walk {
        bool wide; /* 64-bit mode */
        unsigned at, index;
};

/* A REX prefix in 64-bit mode, for ModRM fields reg, index and rm. */
static unsigned
put_rex(const struct walk *w, uint8_t *p, bool rex_w, unsigned reg, unsigned index, unsigned rm)
{
        p[0] = (uint8_t)(0x40 | rex_w << 3 | (reg >> 3) << 2 | (index >> 3) << 1 | rm >> 3);
        return w->wide ? 1 : 0;
}

/* mov at, an address; xor index, index; mov ecx, turns */
static void
emit_walk_start(struct gen *g, struct diff_insn *out, const struct walk *w)
{
        uint32_t address = diff_chance(&g->rng, 10) ? DIFF_RO : DIFF_DATA;
        uint8_t p[16];
        unsigned n;

        address += diff_below(&g->rng, DIFF_DATA_PAGES * DIFF_PAGE);
        n = put_rex(w, p, false, 0, 0, w->at);
        p[n++] = (uint8_t)(0xb8 | (w->at & 7));
        memcpy(p + n, &address, 4);
        n += 4;
        n += put_rex(w, p + n, false, w->index, 0, w->index);
        p[n++] = 0x31;
        p[n++] = (uint8_t)(0xc0 | (w->index & 7) << 3 | (w->index & 7));
        p[n++] = 0xb9;
        p[n++] = (uint8_t)(1 + diff_below(&g->rng, 12));
        memset(p + n, 0, 3);
        diff_emit(out, p, n + 3, FIX_NONE, 0, 0);
}

/* An access off the pointer, perhaps with the index. */
static void
emit_walk_access(struct gen *g, struct diff_insn *out, const struct walk *w)
{
        static const uint8_t opcodes[] = { 0x8b, 0x89, 0x03, 0x01, 0x13, 0x39, 0x3b, 0x31, 0x8a, 0x88 };
        unsigned reg = diff_below(&g->rng, 2) ? X86_RDX : w->wide && diff_below(&g->rng, 2) ? X86_R11 : X86_RAX;
        bool indexed = diff_below(&g->rng, 2);
        uint8_t p[8];
        unsigned n = put_rex(w, p, diff_below(&g->rng, 2), reg, indexed ? w->index : 0, w->at);

        p[n++] = opcodes[diff_below(&g->rng, sizeof(opcodes))];
        p[n++] = (uint8_t)(0x40 | (reg & 7) << 3 | (indexed || (w->at & 7) == 4 ? 4 : w->at & 7));
        if (indexed)
                p[n++] = (uint8_t)(diff_below(&g->rng, 4) << 6 | (w->index & 7) << 3 | (w->at & 7));
        else if ((w->at & 7) == 4)
                p[n++] = 0x24;
        p[n++] = (uint8_t)diff_random(&g->rng);
        diff_emit(out, p, n, FIX_NONE, 0, 0);
}

/* Adds a number to a register: by ADD, SUB or LEA. */
static unsigned
put_walk_step(struct gen *g, const struct walk *w, uint8_t *p, unsigned reg)
{
        unsigned how = diff_below(&g->rng, 3), n = put_rex(w, p, !diff_chance(&g->rng, 20), how == 2 ? reg : 0, 0, reg);

        p[n++] = how == 2 ? 0x8d : 0x83;
        p[n++] = (uint8_t)(how == 0 ? 0xc0 | (reg & 7) : how == 1 ? 0xe8 | (reg & 7) : 0x40 | (reg & 7) << 3 | (reg & 7));
        if (how == 2 && (reg & 7) == 4)
                p[n++] = 0x24;
        p[n++] = (uint8_t)diff_random(&g->rng);
        return n;
}

/* A loop of one block that walks through memory, perhaps out of what is mapped. */
static unsigned
gen_walk(struct gen *g, struct diff_insn *out, unsigned self)
{
        static const uint8_t registers[] = { X86_RBX, X86_RSI, X86_RDI, X86_R8, X86_R10, X86_R12, X86_R13, X86_R15 };
        struct walk w = { .wide = !g->c->compat };
        uint8_t step[16], back[7] = { 0x0f, 0xb6, 0xc9, 0xff, 0xc9, 0x75, 0 }; /* movzx ecx, cl; dec ecx; jne */
        unsigned first = diff_below(&g->rng, w.wide ? sizeof(registers) : 3), n = 0;

        w.at = registers[first];
        w.index = registers[(first + 1 + diff_below(&g->rng, 2)) % (w.wide ? sizeof(registers) : 3)];
        emit_walk_start(g, &out[0], &w);
        emit_walk_access(g, &out[1], &w);
        emit_walk_access(g, &out[2], &w);
        if (diff_below(&g->rng, 4) != 0)
                n = put_walk_step(g, &w, step, w.at);
        if (n == 0 || diff_below(&g->rng, 2))
                n += put_walk_step(g, &w, step + n, w.index);
        diff_emit(&out[3], step, n, FIX_NONE, 0, 0);
        diff_emit(&out[4], back, sizeof(back), FIX_REL8, 6, self + 1);
        g->known &= ~(1u << w.at | 1u << w.index | 1u << X86_RCX | 1u << X86_RDX | 1u << X86_RAX | 1u << X86_R11);
        return 5;
}

/* opcode with ModRM /@reg and the absolute address @at. */
static void
emit_absolute(struct gen *g, struct diff_insn *out, unsigned prefix, unsigned op1, unsigned op2, unsigned reg, uint32_t at)
{
        uint8_t buf[12];
        unsigned n = 0;

        if (prefix)
                buf[n++] = (uint8_t)prefix;
        if (op1)
                buf[n++] = (uint8_t)op1;
        buf[n++] = (uint8_t)op2;
        buf[n++] = (uint8_t)(reg << 3 | (g->c->compat ? 5 : 4));
        if (!g->c->compat)
                buf[n++] = 0x25;
        memcpy(buf + n, &at, 4);
        diff_emit(out, buf, n + 4, FIX_NONE, 0, 0);
}

/* FXSAVE or FXRSTOR; the latter of what the former stored. */
static unsigned
gen_fxsave(struct gen *g, struct diff_insn *out)
{
        bool restore = (g->saved & SAVED_FX) && diff_chance(&g->rng, 50);
        unsigned rex = !g->c->compat && diff_chance(&g->rng, 50) ? 0x48 : 0;

        emit_absolute(g, out, rex, 0x0f, 0xae, restore, DIFF_FX_AREA);
        g->saved = (g->saved & ~SAVED_X) | SAVED_FX;
        return 1;
}

/* XSAVE, XSAVEC or XRSTOR with a mask of x87, SSE and AVX. */
static unsigned
gen_xsave(struct gen *g, struct diff_insn *out)
{
        const uint8_t mask[6] = { 0xb8, (uint8_t)diff_below(&g->rng, 8), 0, 0, 0, 0x99 }; /* mov eax, n; cdq */
        struct diff_insn save;
        bool restore = (g->saved & SAVED_X) && diff_chance(&g->rng, 50);
        bool compact = g->options->features >> X86_F_XSAVEC & 1 && diff_chance(&g->rng, 30);

        /* in one piece, so that no branch and no minimising comes between */
        emit_absolute(g, &save, 0, 0x0f, compact && !restore ? 0xc7 : 0xae, restore ? 5 : 4, DIFF_FX_AREA);
        diff_emit(out, mask, sizeof(mask), FIX_NONE, 0, 0);
        memcpy(out->bytes + out->len, save.bytes, save.len);
        out->len += save.len;
        g->known &= ~(1u << X86_RAX | 1u << X86_RDX);
        g->saved = (g->saved & ~SAVED_FX) | SAVED_X;
        return 1;
}

/* FNSAVE, FRSTOR, FNSTENV, FLDENV; within a case in one format, for the FIP of the one lies in the registers of the other. */
static unsigned
gen_fnsave(struct gen *g, struct diff_insn *out)
{
        bool restore = (g->saved & SAVED_FN) && diff_chance(&g->rng, 50), whole = diff_chance(&g->rng, 50);

        emit_absolute(g, out, g->fn_prefix, 0, whole ? 0xdd : 0xd9, restore ? 4 : 6, DIFF_FN_AREA);
        g->saved |= SAVED_FN;
        return 1;
}

/* A selector, mostly of a descriptor that both sides have, into a register; then an instruction that uses it. */
static unsigned
gen_selector(struct gen *g, struct diff_insn *out)
{
        static const uint16_t selectors[] = { 0, 3, 0x10, 0x18, DIFF_CS32, DIFF_DS, DIFF_CS64, DIFF_LDT_CS16,
                DIFF_LDT_CS32, DIFF_LDT_DS, DIFF_LDT_SS16, DIFF_LDT_SS32, 0x2f, 0xfff8 };
        static const uint8_t sregs[] = { X86_ES, X86_DS, X86_FS, X86_GS };
        uint16_t sel = selectors[diff_below(&g->rng, sizeof(selectors) / sizeof(selectors[0]))];
        unsigned reg = diff_below(&g->rng, 3), other = diff_below(&g->rng, 3), n = 3;
        uint8_t mov[5] = { (uint8_t)(0xb8 + reg), (uint8_t)sel, (uint8_t)(sel >> 8) };
        uint8_t use[3] = { 0x0f, 0x02, (uint8_t)(0xc0 | other << 3 | reg) }; /* lar */

        switch (diff_below(&g->rng, 4)) {
        case 0:
                use[1] = 0x03; /* lsl */
                break;
        case 1: /* verr, verw */
                use[1] = 0x00;
                use[2] = (uint8_t)(0xc0 | (4 + diff_below(&g->rng, 2)) << 3 | reg);
                break;
        case 2: /* mov sreg, reg */
                use[0] = 0x8e;
                use[1] = (uint8_t)(0xc0 | sregs[diff_below(&g->rng, 4)] << 3 | reg);
                n = 2;
                break;
        default:
                break;
        }
        diff_emit(&out[0], mov, 5, FIX_NONE, 0, 0);
        diff_emit(&out[1], use, n, FIX_NONE, 0, 0);
        g->known &= ~(1u << reg | 1u << other);
        return 2;
}

/* Instructions whose results differ from processor to processor and from time to time: not seen, but whether they fault. */
static unsigned
gen_hidden(struct gen *g, struct diff_insn *out)
{
        static const struct {
                uint8_t len, feature, bytes[15];
                uint16_t written;
        } hidden[] = {
                { 10, X86_F_BASE, { 0x0f, 0xa2, 0x31, 0xc0, 0x31, 0xdb, 0x31, 0xc9, 0x31, 0xd2 }, 0xf }, /* cpuid; xor all */
                { 6, X86_F_BASE, { 0x0f, 0x31, 0x31, 0xc0, 0x31, 0xd2 }, 0x5 }, /* rdtsc; xor eax, eax; xor edx, edx */
                { 9, X86_F_RDTSCP, { 0x0f, 0x01, 0xf9, 0x31, 0xc0, 0x31, 0xc9, 0x31, 0xd2 }, 0x7 },
                { 6, X86_F_RDPID, { 0xf3, 0x0f, 0xc7, 0xf9, 0x31, 0xc9 }, 0x2 }, /* rdpid ecx; xor ecx, ecx */
                { 5, X86_F_RDRAND, { 0x0f, 0xc7, 0xf1, 0x31, 0xc9 }, 0x2 }, /* rdrand ecx; xor ecx, ecx */
                { 5, X86_F_RDSEED, { 0x0f, 0xc7, 0xfa, 0x31, 0xd2 }, 0x4 }, /* rdseed edx; xor edx, edx */
                { 6, X86_F_RDRAND, { 0x66, 0x0f, 0xc7, 0xf1, 0x31, 0xc9 }, 0x2 },
                { 8, X86_F_XSAVE, { 0xb9, 2, 0, 0, 0, 0x0f, 0x01, 0xd0 }, 0x2 }, /* mov ecx, 2; xgetbv: there is no such register */
        };
        unsigned n = diff_below(&g->rng, sizeof(hidden) / sizeof(hidden[0]));

        if (!(g->options->features >> hidden[n].feature & 1))
                n = 0;
        diff_emit(out, hidden[n].bytes, hidden[n].len, FIX_NONE, 0, 0);
        g->known &= ~(uint32_t)hidden[n].written;
        return 1;
}

/* IRET, far RET, and outside 64-bit mode far JMP and CALL, to the instruction after next or the one behind it. */
static unsigned
gen_far(struct gen *g, struct diff_insn *out, unsigned self)
{
        static const struct {
                uint8_t len, at, bytes[15];
        } forms[2][4] = {
                { { 13, 7, { 0x6a, DIFF_DS, 0x54, 0x9c, 0x6a, DIFF_CS64, 0x68, 0, 0, 0, 0, 0x48, 0xcf } }, /* iretq */
                  { 9, 3, { 0x6a, DIFF_CS64, 0x68, 0, 0, 0, 0, 0x48, 0xcb } },
                  { 11, 3, { 0x6a, DIFF_CS64, 0x68, 0, 0, 0, 0, 0x48, 0xca, 16, 0 } },
                  { 9, 3, { 0x6a, DIFF_CS64 | 4, 0x68, 0, 0, 0, 0, 0x48, 0xcb } } }, /* of the LDT: #GP */
                { { 9, 4, { 0x9c, 0x6a, DIFF_CS32, 0x68, 0, 0, 0, 0, 0xcf } },
                  { 8, 3, { 0x6a, DIFF_CS32, 0x68, 0, 0, 0, 0, 0xcb } },
                  { 7, 1, { 0xea, 0, 0, 0, 0, DIFF_CS32, 0 } },
                  { 7, 1, { 0x9a, 0, 0, 0, 0, DIFF_CS32, 0 } } },
        };
        unsigned n = diff_below(&g->rng, 4), mode = g->c->compat;

        diff_emit(out, forms[mode][n].bytes, forms[mode][n].len, FIX_ABS32, forms[mode][n].at,
            self + 1 + diff_below(&g->rng, 2));
        return 1;
}

/* The same through a pointer in memory: mov [at], target; mov word [at + 4], selector; jmp or call far [at]. */
static unsigned
gen_far_memory(struct gen *g, struct diff_insn *out, unsigned self)
{
        uint32_t at = DIFF_DATA + diff_below(&g->rng, 64) * 32;
        uint8_t *bytes;

        emit_absolute(g, &out[0], 0, 0, 0xc7, 0, at);
        bytes = out[0].bytes + out[0].len;
        memset(bytes, 0, 4);
        out[0].fix = FIX_ABS32;
        out[0].fix_at = out[0].len;
        out[0].target = (uint8_t)(self + 3 + diff_below(&g->rng, 2));
        out[0].len += 4;
        emit_absolute(g, &out[1], 0x66, 0, 0xc7, 0, at + 4);
        out[1].bytes[out[1].len++] = g->c->compat ? DIFF_CS32 : DIFF_CS64;
        out[1].bytes[out[1].len++] = 0;
        emit_absolute(g, &out[2], 0, 0, 0xff, diff_chance(&g->rng, 50) ? 5 : 3, at);
        return 3;
}

unsigned
diff_compose(struct gen *g, struct diff_insn *out, unsigned self)
{
        switch (diff_below(&g->rng, 13)) {
        case 0:
                return gen_indirect(g, out, self);
        case 1:
                return gen_smc(g, out, self);
        case 2:
                return gen_fxsave(g, out);
        case 3:
                return gen_xsave(g, out);
        case 4:
                return gen_fnsave(g, out);
        case 5:
                return gen_selector(g, out);
        case 6:
                return gen_hidden(g, out);
        case 7:
                return gen_far(g, out, self);
        case 8:
                return gen_far_memory(g, out, self);
        case 9:
        case 10:
        case 11:
                return gen_walk(g, out, self);
        default:
                return gen_loop(g, out, self);
        }
}
