/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The decoder against Zydis: random byte strings in every mode, biased towards prefixes,
 * escapes and VEX, must be accepted or refused alike, with the same length, operands,
 * memory operand, accesses and flags.  Known differences are listed with their reason.
 *
 * DECODE_SEED and DECODE_COUNT (strings for each mode) in the environment change the run.
 */
#include "x86/decode.h"
#include "x86/state.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <Zydis/Zydis.h>

#define REPORT_MAX 25

struct rng {
        uint64_t state;
};

struct compare {
        ZydisDecoder decoder;
        enum x86_mode mode;
        struct rng rng;
        unsigned mismatches;
        unsigned long accepted;
};

/* What an instruction does, in a form that both decoders can be reduced to. */
struct summary {
        unsigned len;
        uint32_t gpr_read, gpr_written;
        uint32_t xmm, mmx; /* registers named by the encoding */
        int base, index;
        unsigned scale, seg, mem_bytes, mem_access;
        int64_t disp;
        bool has_mem;
        uint32_t flags_read, flags_written;
};

static uint64_t
rng_next(struct rng *rng)
{
        rng->state ^= rng->state << 13;
        rng->state ^= rng->state >> 7;
        rng->state ^= rng->state << 17;
        return rng->state * 0x2545f4914f6cdd1dull >> 16;
}

static unsigned
rng_below(struct rng *rng, unsigned n)
{
        return (unsigned)(rng_next(rng) % n);
}

static void
random_bytes(struct rng *rng, uint8_t *buf, size_t len)
{
        static const uint8_t prefixes[] = { 0x66, 0x66, 0xf2, 0xf3, 0xf3, 0x67, 0xf0, 0x2e, 0x65, 0x64, 0x36,
                0x26, 0x3e };
        size_t at = 0;

        for (size_t i = 0; i < len; i++)
                buf[i] = (uint8_t)rng_next(rng);
        while (at < 4 && rng_below(rng, 10) < 3)
                buf[at++] = prefixes[rng_below(rng, sizeof(prefixes))];
        if (rng_below(rng, 4) == 0)
                buf[at++] = (uint8_t)(0x40 | rng_below(rng, 16));
        switch (rng_below(rng, 8)) {
        case 0:
        case 1:
                buf[at++] = 0x0f;
                break;
        case 2:
                buf[at++] = 0x0f;
                buf[at++] = rng_below(rng, 3) ? 0x38 : 0x3a;
                break;
        case 3:
                buf[at++] = 0xc5;
                buf[at] |= 0xc0;
                buf[at] |= rng_below(rng, 2) ? 0x38 : 0;
                break;
        case 4:
                buf[at++] = 0xc4;
                buf[at] = (uint8_t)((buf[at] & 0xe0) | (rng_below(rng, 5) ? 1 + rng_below(rng, 3) : buf[at] & 31));
                buf[at] |= rng_below(rng, 2) ? 0xc0 : 0;
                buf[at + 1] |= rng_below(rng, 2) ? 0x78 : 0;
                break;
        case 5:
                buf[at++] = (uint8_t)(0xd8 | rng_below(rng, 8));
                break;
        default:
                break;
        }
}

/* ---- ours ---- */

static unsigned
gpr_of(const struct x86_insn *in, unsigned number, bool byte)
{
        return byte && !in->rex && number >= 4 && number < 8 ? number - 4 : number;
}

static void
add_operand(const struct x86_insn *in, struct summary *s, unsigned kind, unsigned access, unsigned number, bool byte)
{
        switch (kind) {
        case X86_OPK_GPR:
                number = gpr_of(in, number, byte);
                s->gpr_read |= access & X86_ACC_R ? 1u << number : 0;
                s->gpr_written |= access & X86_ACC_W ? 1u << number : 0;
                break;
        case X86_OPK_XMM:
                s->xmm |= 1u << number;
                break;
        case X86_OPK_MMX:
                s->mmx |= 1u << number;
                break;
        default:
                break;
        }
}

static void
summarise_ours(const struct x86_insn *in, struct summary *s)
{
        const struct x86_opdesc *d = in->desc;
        bool byte = d->flags & X86_OD_BYTE;

        s->len = in->len;
        add_operand(in, s, d->reg_kind, d->reg_access, in->reg, byte);
        if (!in->has_mem)
                add_operand(in, s, d->rm_kind, d->rm_access, in->rm, byte || (d->flags & X86_OD_RM8));
        add_operand(in, s, d->vvvv_kind, d->vvvv_access, in->vvvv, false);
        if (d->imm == X86_IMM_IS4)
                s->xmm |= 1u << ((in->imm >> 4 & 15) & (in->mode == X86_MODE_64 ? 15 : 7));
        s->gpr_read |= d->implicit_read;
        s->gpr_written |= d->implicit_write;
        s->flags_read = d->flags_read;
        s->flags_written = d->flags_written | d->flags_maybe;
        if (in->has_mem && d->class != X86_CLASS_NOP && d->class != X86_CLASS_UD) {
                s->has_mem = true;
                s->base = in->mem_base;
                s->index = in->mem_index;
                s->scale = in->mem_index >= 0 ? in->mem_scale : 0;
                s->disp = in->disp;
                s->seg = d->class == X86_CLASS_LEA ? 0 : in->mem_seg;
                s->mem_bytes = x86_insn_mem_bytes(in);
                s->mem_access = d->class == X86_CLASS_LEA ? 0 : d->rm_access;
        }
}

/* ---- Zydis ---- */

static int
zydis_gpr(ZydisRegister reg)
{
        ZydisRegister full = ZydisRegisterGetLargestEnclosing(ZYDIS_MACHINE_MODE_LONG_64, reg);

        if (ZydisRegisterGetClass(reg) == ZYDIS_REGCLASS_INVALID)
                return -1;
        if (full >= ZYDIS_REGISTER_EAX && full <= ZYDIS_REGISTER_R15D)
                return full - ZYDIS_REGISTER_EAX;
        if (full >= ZYDIS_REGISTER_RAX && full <= ZYDIS_REGISTER_R15)
                return full - ZYDIS_REGISTER_RAX;
        if (reg == ZYDIS_REGISTER_RIP || reg == ZYDIS_REGISTER_EIP)
                return X86_BASE_RIP;
        return -1;
}

static unsigned
zydis_access(ZydisOperandActions actions)
{
        return (actions & ZYDIS_OPERAND_ACTION_MASK_READ ? X86_ACC_R : 0) |
            (actions & ZYDIS_OPERAND_ACTION_MASK_WRITE ? X86_ACC_W : 0);
}

static unsigned
zydis_seg(ZydisRegister reg)
{
        switch (reg) {
        case ZYDIS_REGISTER_ES:
                return X86_ES;
        case ZYDIS_REGISTER_CS:
                return X86_CS;
        case ZYDIS_REGISTER_SS:
                return X86_SS;
        case ZYDIS_REGISTER_FS:
                return X86_FS;
        case ZYDIS_REGISTER_GS:
                return X86_GS;
        default:
                return X86_DS;
        }
}

static void
add_zydis_reg(const ZydisDecodedOperand *op, struct summary *s)
{
        ZydisRegisterClass class = ZydisRegisterGetClass(op->reg.value);
        unsigned access = zydis_access(op->actions);
        int gpr = zydis_gpr(op->reg.value);
        unsigned id = (unsigned)ZydisRegisterGetId(op->reg.value);

        if (gpr >= 0 && gpr < 16) {
                s->gpr_read |= access & X86_ACC_R ? 1u << gpr : 0;
                s->gpr_written |= access & X86_ACC_W ? 1u << gpr : 0;
        } else if (op->visibility != ZYDIS_OPERAND_VISIBILITY_EXPLICIT) {
                return;
        } else if (class == ZYDIS_REGCLASS_XMM || class == ZYDIS_REGCLASS_YMM) {
                s->xmm |= 1u << id;
        } else if (class == ZYDIS_REGCLASS_MMX) {
                s->mmx |= 1u << id;
        }
}

static void
summarise_zydis(const ZydisDecodedInstruction *zi, const ZydisDecodedOperand *ops,
    struct summary *s)
{
        const ZydisAccessedFlags *f = zi->cpu_flags;

        s->len = zi->length;
        if (f) {
                s->flags_read = f->tested & (X86_FL_ARITH | X86_FL_DF);
                s->flags_written =
                    (f->modified | f->set_0 | f->set_1 | f->undefined) & (X86_FL_ARITH | X86_FL_DF);
        }
        for (unsigned i = 0; i < zi->operand_count; i++) {
                const ZydisDecodedOperand *op = &ops[i];

                if (op->type == ZYDIS_OPERAND_TYPE_REGISTER)
                        add_zydis_reg(op, s);
                if (op->type != ZYDIS_OPERAND_TYPE_MEMORY || op->visibility == ZYDIS_OPERAND_VISIBILITY_HIDDEN || s->has_mem)
                        continue;
                s->has_mem = true;
                s->base = op->mem.base == ZYDIS_REGISTER_NONE ? -1 : zydis_gpr(op->mem.base);
                s->index = op->mem.index == ZYDIS_REGISTER_NONE ? -1 : zydis_gpr(op->mem.index);
                s->scale = s->index >= 0 ? op->mem.scale : 0;
                s->disp = op->mem.disp.has_displacement ? op->mem.disp.value : 0;
                s->seg = op->mem.type == ZYDIS_MEMOP_TYPE_AGEN ? 0 : zydis_seg(op->mem.segment);
                s->mem_bytes = op->mem.type == ZYDIS_MEMOP_TYPE_AGEN ? 0 : op->size / 8;
                s->mem_access = op->mem.type == ZYDIS_MEMOP_TYPE_AGEN ? 0 : zydis_access(op->actions);
        }
}

/* ---- comparison ---- */

static bool
encodings_differ(const struct summary *a, const struct summary *b)
{
        return a->len != b->len || a->xmm != b->xmm || a->mmx != b->mmx || a->has_mem != b->has_mem ||
            a->base != b->base || a->index != b->index || a->scale != b->scale || a->seg != b->seg ||
            a->disp != b->disp;
}

static bool
effects_differ(const struct summary *a, const struct summary *b)
{
        return a->gpr_read != b->gpr_read || a->gpr_written != b->gpr_written || a->flags_read != b->flags_read ||
            a->flags_written != b->flags_written || a->mem_bytes != b->mem_bytes || a->mem_access != b->mem_access;
}

static void
print_summary(const char *who, const struct summary *s)
{
        print_error("  %-6s len %u gpr r %04x w %04x xmm %04x mmx %02x mem %d base %d index %d*%u seg %u disp %llx "
                    "bytes %u acc %u flags r %x w %x\n",
            who, s->len, s->gpr_read, s->gpr_written, s->xmm, s->mmx, s->has_mem, s->base, s->index, s->scale, s->seg,
            (unsigned long long)s->disp, s->mem_bytes, s->mem_access, s->flags_read, s->flags_written);
}

static void
report(struct compare *cmp, const uint8_t *bytes, unsigned len, const char *what, const char *name, const char *zname)
{
        char text[64] = "";

        cmp->mismatches++;
        for (unsigned i = 0; i < len; i++)
                snprintf(text + strlen(text), sizeof(text) - strlen(text), "%02x ", bytes[i]);
        print_error("mode %d: %s: %s ours %s zydis %s\n", cmp->mode, text, what, name, zname);
}

#include "test_decode_known.h"

static void
compare_accepted(struct compare *cmp, const uint8_t *bytes, const struct x86_insn *in,
    const ZydisDecodedInstruction *zi, const ZydisDecodedOperand *ops)
{
        struct summary ours = { 0 }, theirs = { 0 };
        bool wrong;

        summarise_ours(in, &ours);
        summarise_zydis(zi, ops, &theirs);
        settle_known(in, zi, &ours, &theirs);
        wrong = encodings_differ(&ours, &theirs);
        if (in->desc->class != X86_CLASS_SYSTEM && in->desc->class != X86_CLASS_UD)
                wrong |= effects_differ(&ours, &theirs);
        if (!wrong)
                return;
        report(cmp, bytes, zi->length, "differs", in->desc->name, ZydisMnemonicGetString(zi->mnemonic));
        print_summary("ours", &ours);
        print_summary("zydis", &theirs);
}

static void
compare_one(struct compare *cmp, const uint8_t *bytes)
{
        ZydisDecodedInstruction zi;
        ZydisDecodedOperand ops[ZYDIS_MAX_OPERAND_COUNT];
        struct x86_insn in;
        enum x86_decode_result ours = x86_decode(bytes, X86_INSN_MAX + 1, cmp->mode, &in);
        bool theirs = ZYAN_SUCCESS(ZydisDecoderDecodeFull(&cmp->decoder, bytes, X86_INSN_MAX + 1, &zi, ops));

        if (ours == X86_DECODE_OK && theirs) {
                cmp->accepted++;
                compare_accepted(cmp, bytes, &in, &zi, ops);
        } else if (ours == X86_DECODE_OK && !known_ours_only(&in)) {
                report(cmp, bytes, in.len, "only ours", in.desc->name, "-");
        } else if (ours != X86_DECODE_OK && theirs && !known_zydis_only(&zi)) {
                report(cmp, bytes, zi.length, "only zydis", "-", ZydisMnemonicGetString(zi.mnemonic));
        }
}

static unsigned long
setting(const char *name, unsigned long otherwise)
{
        const char *text = getenv(name);

        return text ? strtoul(text, NULL, 0) : otherwise;
}

static void
compare_mode(enum x86_mode mode, ZydisMachineMode zmode, ZydisStackWidth width)
{
        unsigned long count = setting("DECODE_COUNT", 400000), max = setting("DECODE_REPORTS", REPORT_MAX);
        struct compare cmp = { .mode = mode, .rng.state = setting("DECODE_SEED", 0x5eed) * 7919 + 1 };

        assert_true(ZYAN_SUCCESS(ZydisDecoderInit(&cmp.decoder, zmode, width)));
        for (unsigned long i = 0; i < count && cmp.mismatches < max; i++) {
                uint8_t bytes[24];

                random_bytes(&cmp.rng, bytes, sizeof(bytes));
                compare_one(&cmp, bytes);
        }
        assert_int_equal(cmp.mismatches, 0);
        assert_true(cmp.accepted > count / 3);
}

static void
decode_agrees_with_zydis_in_64_bit_mode(void **state)
{
        compare_mode(X86_MODE_64, ZYDIS_MACHINE_MODE_LONG_64, ZYDIS_STACK_WIDTH_64);
}

static void
decode_agrees_with_zydis_in_32_bit_mode(void **state)
{
        compare_mode(X86_MODE_32, ZYDIS_MACHINE_MODE_LEGACY_32, ZYDIS_STACK_WIDTH_32);
}

static void
decode_agrees_with_zydis_in_16_bit_mode(void **state)
{
        compare_mode(X86_MODE_16, ZYDIS_MACHINE_MODE_LEGACY_16, ZYDIS_STACK_WIDTH_16);
}

static enum x86_decode_result
decode_bytes(const char *bytes, unsigned avail, struct x86_insn *ret)
{
        return x86_decode((const uint8_t *)bytes, avail, X86_MODE_64, ret);
}

static void
decode_reports_short_until_the_last_byte(void **state)
{
        static const char insn[] = "\x66\x41\x81\x84\x24\x78\x56\x34\x12\xcd\xab"; /* add word [r12+disp32], imm16 */
        struct x86_insn in;

        for (unsigned i = 0; i < sizeof(insn) - 1; i++)
                assert_int_equal(decode_bytes(insn, i, &in), X86_DECODE_SHORT);
        assert_int_equal(decode_bytes(insn, sizeof(insn) - 1, &in), X86_DECODE_OK);
        assert_int_equal(in.imm, (int16_t)0xabcd);
        assert_int_equal(in.disp, 0x12345678);
}

static void
decode_refuses_more_than_15_bytes(void **state)
{
        struct x86_insn in;

        assert_int_equal(decode_bytes("\x66\x66\x66\x66\x66\x66\x66\x66\x66\x66\x66\x66\x66\x66\x90\x90", 16, &in),
            X86_DECODE_OK);
        assert_int_equal(in.len, 15);
        assert_int_equal(decode_bytes("\x66\x66\x66\x66\x66\x66\x66\x66\x66\x66\x66\x66\x66\x66\x66\x90", 16, &in),
            X86_DECODE_TOO_LONG);
}

static void
decode_knows_shifts_that_leave_flags_alone(void **state)
{
        struct x86_insn in;

        assert_int_equal(decode_bytes("\xc1\xe0\x20", 3, &in), X86_DECODE_OK); /* shl eax, 32 */
        assert_int_equal(in.desc->flags_written | in.desc->flags_maybe, 0);
        assert_int_equal(decode_bytes("\x48\xc1\xe0\x20", 4, &in), X86_DECODE_OK); /* shl rax, 32 */
        assert_int_equal(in.desc->flags_written, X86_FL_ARITH);
        assert_int_equal(decode_bytes("\xd3\xe0", 2, &in), X86_DECODE_OK); /* shl eax, cl */
        assert_int_equal(in.desc->flags_written, 0);
        assert_int_equal(in.desc->flags_maybe, X86_FL_ARITH);
}

static void
decode_marks_what_the_translator_must_see(void **state)
{
        struct x86_insn in;

        assert_int_equal(decode_bytes("\x0f\xa3\x03", 3, &in), X86_DECODE_OK); /* bt [rbx], eax */
        assert_true(in.desc->flags & X86_OD_BITSTR);
        assert_int_equal(decode_bytes("\x0f\xa3\xc3", 3, &in), X86_DECODE_OK); /* bt ebx, eax */
        assert_false(in.desc->flags & X86_OD_BITSTR);
        assert_int_equal(decode_bytes("\x0f\x28\x03", 3, &in), X86_DECODE_OK); /* movaps xmm0, [rbx] */
        assert_true(in.desc->flags & X86_OD_ALIGN);
        assert_int_equal(decode_bytes("\x0f\x10\x03", 3, &in), X86_DECODE_OK); /* movups xmm0, [rbx] */
        assert_false(in.desc->flags & X86_OD_ALIGN);
        assert_int_equal(decode_bytes("\x0f\xb2\x03", 3, &in), X86_DECODE_OK); /* lss eax, [rbx] */
        assert_int_equal(in.imm2, X86_SS);
        assert_int_equal(decode_bytes("\x0f\xa9", 2, &in), X86_DECODE_OK); /* pop gs */
        assert_int_equal(in.reg, X86_GS);
        assert_int_equal(decode_bytes("\x0f\x0d\xc0", 3, &in), X86_DECODE_OK); /* with a register: Intel's NOP */
        assert_int_equal(in.desc->feature, X86_F_PREFETCH_REG);
        assert_int_equal(decode_bytes("\x0f\x0d\x08", 3, &in), X86_DECODE_OK); /* prefetchw [rax] */
        assert_int_equal(in.desc->feature, X86_F_BASE);
}

static void
decode_knows_undefined_flags(void **state)
{
        static const struct {
                const char *bytes;
                unsigned flags;
        } table[] = {
                { "\x0f\xaf\xc0", X86_FL_SF | X86_FL_ZF | X86_FL_AF | X86_FL_PF }, /* imul eax, eax */
                { "\x6b\xc0\x03", X86_FL_SF | X86_FL_ZF | X86_FL_AF | X86_FL_PF }, /* imul eax, eax, 3 */
                { "\x48\xf7\xe0", X86_FL_SF | X86_FL_ZF | X86_FL_AF | X86_FL_PF }, /* mul rax */
                { "\x0f\xbc\xc0", X86_FL_ARITH & ~X86_FL_ZF }, /* bsf eax, eax */
                { "\x48\x01\xc0", 0 }, /* add rax, rax */
        };

        for (unsigned i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
                struct x86_insn in;

                assert_int_equal(decode_bytes(table[i].bytes, 3, &in), X86_DECODE_OK);
                assert_int_equal(in.desc->flags_undefined, table[i].flags);
                assert_int_equal(in.desc->flags_undefined & ~in.desc->flags_written, 0);
        }
}

int
main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(decode_agrees_with_zydis_in_64_bit_mode),
                cmocka_unit_test(decode_agrees_with_zydis_in_32_bit_mode),
                cmocka_unit_test(decode_agrees_with_zydis_in_16_bit_mode),
                cmocka_unit_test(decode_reports_short_until_the_last_byte),
                cmocka_unit_test(decode_refuses_more_than_15_bytes),
                cmocka_unit_test(decode_knows_shifts_that_leave_flags_alone),
                cmocka_unit_test(decode_marks_what_the_translator_must_see),
                cmocka_unit_test(decode_knows_undefined_flags),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
