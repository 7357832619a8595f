/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Where AMD's processors do not do what Intel's do and neither breaks its manual.
 *
 * The engine does as Intel's, or as the vendor in the guest's CPUID where that is cheap.  On an
 * AMD host the cases below are not generated, or the native result is settled: what may differ is
 * taken from the engine, and only that, before the two are compared again.  On any other host
 * nothing of this applies, but for what newer processors of Intel's have begun to do too.
 */
#include "diff.h"

#include "base/util.h"
#include "x86/decode_tables.h"
#include "x86/state.h"

#include <string.h>

/* A pair of results, with the instructions that they ended at (NULL: none of the sequence). */
struct pair {
        const struct diff_case *c;
        struct diff_result *ours; /* of the processor: to be settled */
        const struct diff_result *theirs;
        const struct x86_insn *insn, *their_insn;
};

struct rule {
        const char *what, *intel, *amd, *manual;
        /* An encoding that is not generated. */
        bool (*avoids)(const struct x86_insn *in, const uint8_t *bytes);
        /* Whether both outcomes are right, or if not: takes from the engine what may differ. */
        bool (*either)(const struct pair *p);
        void (*settle)(const struct pair *p);
        const char *how; /* if none of these: what the test does */
        bool intel_too;  /* some of Intel's do it as AMD's */
};

/* ---- flags ---- */

static bool
may_jump(const struct diff_insn *in)
{
        return in->fix == FIX_REL8 || in->fix == FIX_REL16 || in->fix == FIX_REL32 || in->fix == FIX_ABS32;
}

/*
 * Flags that may be undefined when the run has come to @rip: with all that is undefined anywhere
 * if that is none of the instructions.  *ret_read: an instruction before reads one.
 */
static uint64_t
undefined_at(const struct diff_case *c, uint64_t rip, bool *ret_read)
{
        uint64_t at = c->start, now = 0, ever = 0;
        unsigned landing = 0; /* branches so far lead no further */

        *ret_read = false;
        for (unsigned i = 0; i < c->count; at += c->insns[i].len, i++) {
                const struct diff_insn *insn = &c->insns[i];
                struct x86_insn in;

                if (at == rip)
                        return now;
                if (may_jump(insn) && insn->target > landing)
                        landing = insn->target;
                if (x86_decode(insn->bytes, 15, diff_mode(c), &in) != X86_DECODE_OK)
                        continue;
                if ((in.desc->flags_read & now) || (now && in.len != insn->len)) /* a piece of several */
                        *ret_read = true;
                if (i >= landing)
                        now &= ~(uint64_t)in.desc->flags_written;
                now |= in.desc->flags_undefined;
                ever |= in.desc->flags_undefined;
        }
        return rip == at + 1 ? now : ever; /* behind the INT3 */
}

static void
settle_undefined_flags(const struct pair *p)
{
        bool read;
        uint64_t mask = undefined_at(p->c, p->ours->rip, &read);

        p->ours->rflags = (p->ours->rflags & ~mask) | (p->theirs->rflags & mask);
}

/* ---- encodings ---- */

static bool
is_short_near_branch(const struct x86_insn *in, const uint8_t *bytes)
{
        return x86_insn_is_near_branch(in) && in->mode == X86_MODE_64 && in->opsize_prefix && !in->rex_w;
}

static bool
is_pause_r8(const struct x86_insn *in, const uint8_t *bytes)
{
        return in->desc->sys == X86_SYS_PAUSE && in->rm == X86_R8;
}

static bool
is_far_pointer64(const struct x86_insn *in, const uint8_t *bytes)
{
        unsigned sys = in->desc->sys;

        return in->rex_w && (sys == X86_SYS_LFS || sys == X86_SYS_JMP_FAR_MEM || sys == X86_SYS_CALL_FAR_MEM);
}

/* LOCK MOV CR0 is MOV CR8 (APM 3, MOV CRn); reading the segment of VERR and VERW is done with LOCK as without. */
static bool
is_locked_read(const struct x86_insn *in, const uint8_t *bytes)
{
        unsigned sys = in->desc->sys;

        if (sys == X86_SYS_MOV_CR_R || sys == X86_SYS_MOV_R_CR)
                return in->lock && in->reg == 0;
        return in->lock && (sys == X86_SYS_VERR || sys == X86_SYS_VERW);
}

static bool
is_repeated_loop(const struct x86_insn *in, const uint8_t *bytes)
{
        return in->desc->class == X86_CLASS_LOOP && in->opcode < 0xe2 && in->rep;
}

static bool
is_narrow_permutation(const struct x86_insn *in, const uint8_t *bytes)
{
        return in->vex && in->map == X86_MAP_0F3A && (in->opcode == 0x00 || in->opcode == 0x01) && !in->rex_w;
}

static bool
is_wide_element(const struct x86_insn *in, const uint8_t *bytes)
{
        if (!in->vex || in->mode == X86_MODE_64 || in->map != X86_MAP_0F3A || (in->opcode != 0x16 && in->opcode != 0x22))
                return false;
        while (*bytes != 0xc4) /* segment and address size prefixes */
                bytes++;
        return bytes[2] & 0x80;
}

/* Instructions of AVX-512, which the guest does not have, on its mask registers. */
static bool
is_mask_operation(const struct x86_insn *in, const uint8_t *bytes)
{
        if (!in->vex)
                return false;
        if (in->map == X86_MAP_0F3A)
                return in->opcode >= 0x30 && in->opcode <= 0x33;
        return in->map == X86_MAP_0F && ((in->opcode >= 0x41 && in->opcode <= 0x4b) ||
            (in->opcode >= 0x90 && in->opcode <= 0x93) || in->opcode >> 1 == 0x98 >> 1);
}

/* Whether the bytes are 0F 01 @modrm or 0F 01 @other behind a 66, F2 or F3. */
static bool
is_prefixed_0f01(const uint8_t *bytes, uint8_t modrm, uint8_t other)
{
        bool prefix = false;

        for (; *bytes != 0x0f; bytes++) {
                bool known = *bytes == 0x66 || *bytes == 0xf2 || *bytes == 0xf3;

                if (!known && !diff_is_address_prefix(*bytes))
                        return false;
                prefix |= known;
        }
        return prefix && bytes[1] == 0x01 && (bytes[2] == modrm || bytes[2] == other);
}

static bool
is_prefixed_pkru(const struct x86_insn *in, const uint8_t *bytes)
{
        return is_prefixed_0f01(bytes, 0xee, 0xef);
}

static bool
is_prefixed_hypercall(const struct x86_insn *in, const uint8_t *bytes)
{
        return is_prefixed_0f01(bytes, 0xc1, 0xd9);
}

/* ---- faults ---- */

/* The offset of the memory operand @in where @r ended, not yet cut to the address size. */
static uint64_t
operand_offset(const struct x86_insn *in, const struct diff_result *r)
{
        uint64_t offset = (uint64_t)in->disp;

        if (in->mem_base == X86_BASE_RIP)
                offset += r->rip + in->len;
        else if (in->mem_base >= 0)
                offset += r->gpr[in->mem_base];
        if (in->mem_index >= 0)
                offset += r->gpr[in->mem_index] * in->mem_scale;
        return offset;
}

/* Whether the memory operand where @r ended is not aligned to its size; the bases of all but FS and GS are. */
static bool
is_unaligned(const struct diff_case *c, const struct diff_result *r)
{
        struct x86_insn in;
        uint64_t base;

        if (x86_decode(c->image + (r->rip - DIFF_CODE), 15, diff_mode(c), &in) != X86_DECODE_OK)
                return false;
        base = in.mem_seg == X86_FS ? r->fs_base : in.mem_seg == X86_GS ? r->gs_base : 0;
        return (base + operand_offset(&in, r)) & (x86_insn_mem_bytes(&in) - 1);
}

static bool
is_unaligned_sha(const struct pair *p)
{
        const struct x86_insn *in = p->their_insn;

        return in && p->theirs->vector == X86_VEC_GP && in->desc->feature == X86_F_SHA && in->has_mem &&
            is_unaligned(p->c, p->theirs);
}

static bool
is_unaligned_vector(const struct pair *p)
{
        return p->insn && p->ours->vector == X86_VEC_AC && x86_insn_mem_bytes(p->insn) >= 16 &&
            is_unaligned(p->c, p->ours);
}

/* MXCSR.MM, which the guest's CPUID does not offer, is no reserved bit of the processor's. */
static bool
is_misaligned_mode(const struct pair *p)
{
        static const char *const names[] = { "ldmxcsr", "vldmxcsr", "fxrstor", "xrstor" };

        if (!p->their_insn || p->theirs->vector != X86_VEC_GP || !(p->ours->xsave[26] & 2))
                return false;
        for (unsigned i = 0; i < ARRAY_LEN(names); i++)
                if (strcmp(p->their_insn->desc->name, names[i]) == 0)
                        return true;
        return false;
}

/* The outer stack pointer is read before the selector is judged. */
static bool
is_far_return(const struct pair *p)
{
        return p->insn && p->insn->desc->sys == X86_SYS_RET_FAR && p->theirs->vector == X86_VEC_GP &&
            (p->ours->vector == X86_VEC_PF || p->ours->vector == X86_VEC_AC || p->ours->vector == X86_VEC_SS) &&
            p->ours->rip == p->theirs->rip;
}

static bool
is_beyond_4g(const struct pair *p)
{
        bool at_end = p->theirs->cr2 < 64 || (p->theirs->cr2 >= 0xffffffc0 && p->theirs->cr2 <= 0xffffffff);

        if (!p->c->compat || p->c->segments || p->ours->rip != p->theirs->rip)
                return false;
        return (p->ours->vector == X86_VEC_GP || p->ours->vector == X86_VEC_SS) &&
            ((p->theirs->vector == X86_VEC_PF && at_end) || p->theirs->vector == X86_VEC_AC);
}

static bool
is_masked_wrap(const struct pair *p)
{
        const struct x86_insn *in = p->their_insn;

        if (!in || in->desc->sys != X86_SYS_VMASKMOV || in->asize == 8)
                return false;
        if (p->theirs->vector == X86_VEC_PF)
                return ((p->ours->cr2 ^ p->theirs->cr2) & (in->asize == 2 ? 0xffff : 0xffffffff)) == 0;
        return in->asize == 2 && (p->theirs->vector == X86_VEC_GP || p->theirs->vector == X86_VEC_SS);
}

static bool
is_refused_masked_wrap(const struct pair *p)
{
        const struct x86_insn *in = p->insn;

        if (!in || in->desc->sys != X86_SYS_VMASKMOV || in->asize != 4 || !p->c->segments)
                return false;
        return (p->ours->vector == X86_VEC_GP || p->ours->vector == X86_VEC_SS) &&
            (uint32_t)operand_offset(in, p->ours) > UINT32_MAX - x86_insn_mem_bytes(in) + 1;
}

static bool
is_short_movsxd(const struct pair *p)
{
        return p->insn && strcmp(p->insn->desc->name, "movsxd") == 0 && p->insn->opsize == 2 && p->insn->has_mem &&
            p->ours->vector != X86_VEC_BP;
}

/* Whether the instruction, or the piece of several, has a REP of a string instruction. */
static bool
has_repeated_string(const struct diff_case *c, const struct diff_insn *insn)
{
        struct x86_insn in;

        for (unsigned at = 0; at < insn->len; at += in.len) {
                if (x86_decode(insn->bytes + at, 15 - at, diff_mode(c), &in) != X86_DECODE_OK)
                        return false;
                if (in.desc->class == X86_CLASS_STRING && in.rep)
                        return true;
        }
        return false;
}

static bool
is_overwritten_string(const struct pair *p)
{
        uint64_t at = p->c->start - DIFF_CODE;

        for (unsigned i = 0; i < p->c->count; at += p->c->insns[i].len, i++)
                if (has_repeated_string(p->c, &p->c->insns[i]) &&
                    memcmp(p->c->image + at, p->theirs->image + at, p->c->insns[i].len) != 0)
                        return true;
        return false;
}

/* Whether both ended with the same in the registers that the mode has. */
static bool
has_same_registers(const struct pair *p)
{
        uint64_t mask = p->c->compat ? UINT32_MAX : UINT64_MAX;

        for (unsigned i = 0; i < (p->c->compat ? 8u : 16u); i++)
                if ((p->ours->gpr[i] ^ p->theirs->gpr[i]) & mask)
                        return false;
        return true;
}

static bool
is_unreadable_pair(const struct pair *p)
{
        const struct x86_insn *in = p->insn;

        return in && in->desc->class == X86_CLASS_STRING && (in->opcode == 0xa6 || in->opcode == 0xa7) &&
            p->ours->rip == p->theirs->rip && p->ours->vector != X86_VEC_BP && p->theirs->vector != X86_VEC_BP &&
            has_same_registers(p);
}

/* It is done again from its start. */
static bool
is_partial_popa(const struct pair *p)
{
        const struct x86_insn *in = p->insn;

        return in && in->desc->sys == X86_SYS_POPA && p->ours->rip == p->theirs->rip && p->ours->vector == p->theirs->vector &&
            p->ours->vector != X86_VEC_BP && p->ours->cr2 == p->theirs->cr2;
}

/* ---- parts of the state ---- */

/* What lies below the host's kernel sees INT1 first. */
static void
settle_int1(const struct pair *p)
{
        uint64_t at = p->ours->rip - DIFF_CODE; /* perhaps inside an instruction, where a branch led */
        struct x86_insn in;

        if (p->ours->vector != X86_VEC_DB || at >= DIFF_DATA_AT - 15 ||
            x86_decode(p->ours->image + at, 15, diff_mode(p->c), &in) != X86_DECODE_OK)
                return;
        if (in.map == X86_MAP_1B && in.opcode == 0xf1 && p->theirs->rip == p->ours->rip + in.len)
                p->ours->rip = p->theirs->rip;
}

/* An operand in two pages: either may be tried first. */
static void
settle_fault_address(const struct pair *p)
{
        static const char *const names[] = { "fxsave", "fxrstor", "xsave", "xsaveopt", "xsavec", "xrstor" };

        if (!p->insn || p->ours->vector != X86_VEC_PF || p->theirs->vector != X86_VEC_PF || p->ours->error != p->theirs->error)
                return;
        for (unsigned i = 0; i < ARRAY_LEN(names); i++)
                if (strcmp(p->insn->desc->name, names[i]) == 0)
                        p->ours->cr2 = p->theirs->cr2;
}

static void
settle_string_flags(const struct pair *p)
{
        const struct x86_insn *in = p->insn;
        uint64_t mask = X86_FL_ARITH;

        if (in && in->desc->class == X86_CLASS_STRING && in->desc->flags_maybe && p->ours->vector != X86_VEC_BP)
                p->ours->rflags = (p->ours->rflags & ~mask) | (p->theirs->rflags & mask);
}

/* The bytes of an XMM or YMM register in an XSAVE area of the standard format. */
static uint8_t *
vector_half(uint8_t *xsave, unsigned reg, unsigned half)
{
        return xsave + (half ? 576 : 160) + 16 * reg;
}

static bool
is_zero(const uint8_t *p, unsigned n)
{
        while (n > 0 && p[n - 1] == 0)
                n--;
        return n == 0;
}

/* What Intel's processors do before they gather: spread the mask's signs, clear what is beyond the operands. */
static void
settle_gather_mask(const struct pair *p)
{
        const struct x86_insn *in = p->insn;
        uint8_t *upper;
        unsigned size;

        if (!in || in->desc->sys != X86_SYS_GATHER || p->ours->vector == X86_VEC_BP)
                return;
        size = in->rex_w ? 8 : 4;
        for (unsigned half = 0; half < 2; half++) {
                uint8_t *mask = vector_half(p->ours->xsave, in->vvvv, half);

                for (unsigned i = 0; i < 16; i += size)
                        memset(mask + i, half <= in->vex_l && (mask[i + size - 1] & 0x80) ? 0xff : 0, size);
        }
        upper = vector_half(p->ours->xsave, in->reg, 1);
        if ((!in->vex_l || (!in->rex_w && (in->opcode & 1))) && /* elements of 4 bytes, indexes of 8 */
            is_zero(p->theirs->xsave + (upper - p->ours->xsave), 16))
                memset(upper, 0, 16);
}

/* ---- the table ---- */

static const struct rule rules[] = {
        { "a register as operand of 0F 0D", "no operation", "#UD; so does the engine where CPUID names AMD",
          "SDM 2D A.3; APM 3, PREFETCH", .how = "compared" },
        { "POP of a segment register, and PUSH with a 32-bit operand", "access 2 bytes",
          "access the whole operand; so does the engine where CPUID names AMD", "SDM 2B, PUSH: either", .how = "compared" },
        { "66 before a near branch in 64-bit mode", "ignored", "16-bit operand: RIP is cut",
          "SDM 2D A.2.5 (f64); APM 1 3.7.9", .avoids = is_short_near_branch },
        { "F3 90 with REX.B", "PAUSE", "XCHG R8, RAX", "SDM 2B, PAUSE", .avoids = is_pause_r8 },
        { "F2, F3 before LOOPE, LOOPNE", "ignored", "choose the condition", "SDM 2A 2.1.1: reserved",
          .avoids = is_repeated_loop },
        { "LOCK before MOV CR0, VERR, VERW", "#UD", "MOV CR8; ignored", "SDM 2A, LOCK; APM 3, MOV CRn",
          .avoids = is_locked_read },
        { "far pointers in memory with REX.W", "64-bit offset", "32-bit offset",
          "SDM 2A, JMP, CALL, LDS; APM 3, JMP (Far), CALL (Far), LDS", .avoids = is_far_pointer64 },
        { "VPEXTRD, VPINSRD with VEX.W outside 64-bit mode", "W is ignored", "#UD", "SDM 2B, PEXTRD, PINSRD",
          .avoids = is_wide_element },
        { "VPERMQ, VPERMPD without VEX.W", "#UD", "W is ignored", "SDM 2C, VPERMQ, VPERMPD",
          .avoids = is_narrow_permutation },
        { "66, F2, F3 before RDPKRU, WRPKRU", "#UD", "ignored", "SDM 2B, RDPKRU; 2C, WRPKRU", .avoids = is_prefixed_pkru },
        { "66, F2, F3 before VMCALL, VMMCALL", "#UD", "ignored; the hypervisor below the host answers", "SDM 2A 2.1.1; APM 3, VMMCALL",
          .avoids = is_prefixed_hypercall },
        { "mask registers beyond K7", "#UD", "the number's highest bit is ignored (Zen 4)", "SDM 2A 2.6.1, EVEX and VEX",
          .avoids = is_mask_operation },
        { "bit 17 of MXCSR", "reserved: #GP", "MM, where CPUID offers MisAlignSse", "SDM 1 10.2.3; APM 1 4.2.2",
          .either = is_misaligned_mode },
        { "operands of SHA instructions that are not aligned", "#GP", "allowed", "SDM 2A 2.4.4",
          .either = is_unaligned_sha },
        { "#AC for operands of 16 bytes and more that need no alignment", "not raised", "raised",
          "SDM 3A 6.15, #AC: either", .either = is_unaligned_vector },
        { "far RET to a bad selector, while the outer stack pointer cannot be read", "#GP", "#PF, #SS, #AC",
          "SDM 2B, RET: no order", .either = is_far_return },
        { "operands across 4 GiB in a flat segment", "#PF, #AC", "#GP, #SS", "SDM 3A 5.3: either",
          .either = is_beyond_4g },
        { "VMASKMOV across the end of 16-bit or 32-bit addresses", "goes beyond", "goes on at 0", "SDM 3A 5.3: either",
          .either = is_masked_wrap },
        { "VMASKMOV across the end of the 32-bit addresses of a segment with a base", "goes beyond", "#GP, #SS (Zen 5)", "SDM 3A 5.3: either",
          .either = is_refused_masked_wrap },
        { "MOVSXD of 16 bits", "reads 2 bytes", "reads 4, so faults and #AC differ", "SDM 2B, MOVSXD",
          .either = is_short_movsxd },
        { "REP of a string instruction that overwrites itself", "ends at once", "goes on to its end (a Xeon with AMX, too)",
          "SDM 3A 8.1.3: either", .either = is_overwritten_string, .intel_too = true },
        { "CMPS with two operands that cannot be read", "the fault of ES:rDI", "that of DS:rSI (Zen 4)", "SDM 2A, CMPS: no order",
          .either = is_unreadable_pair },
        { "POPA that faults", "pops nothing", "has popped what could be read (Zen 5)", "SDM 2A, POPA: either", .either = is_partial_popa },
        { "upper halves of RCX, RSI, RDI at a REP with 67 in 64-bit mode that faults or does nothing", "cleared",
          "kept", "SDM 1 3.4.1.1", .how = "cleared before" },
        { "flags when a REP of CMPS or SCAS faults", "those before the instruction", "those of the last iteration",
          "SDM 2B, REP", .settle = settle_string_flags },
        { "CR2 of FXSAVE, XSAVE and their kin across pages", "the first byte that cannot be accessed", "another byte",
          "SDM 2: no order", .settle = settle_fault_address },
        { "RIP that #DB of INT1 saves", "behind it", "behind it, but at it where a hypervisor below the host handles it",
          "SDM 2A, INT1", .settle = settle_int1 },
        { "mask and result of a gather that faults",
          "mask spread over its elements, what lies beyond the elements cleared",
          "no change but of what was gathered", "SDM 2C, VPGATHERQD: either", .settle = settle_gather_mask },
        { "flags that are undefined (below)", "computed", "kept", "SDM 2; APM 3", .settle = settle_undefined_flags },
};

bool
diff_vendor_avoids(const struct x86_insn *in, const uint8_t *bytes)
{
        static const struct x86_opdesc nothing;
        struct x86_insn copy = *in;

        if (!copy.desc)
                copy.desc = &nothing;
        for (unsigned i = 0; i < ARRAY_LEN(rules); i++)
                if (rules[i].avoids && rules[i].avoids(&copy, bytes))
                        return true;
        return false;
}

bool
diff_vendor_reads_undefined(const struct diff_case *c)
{
        bool read = false;

        if (c->amd)
                (void)undefined_at(c, 0, &read);
        return read;
}

void
diff_vendor_settle(const struct diff_case *c, const struct x86_insn *insn, const struct x86_insn *their_insn,
    struct diff_result *ours, const struct diff_result *theirs)
{
        const struct pair p = { .c = c, .ours = ours, .theirs = theirs, .insn = insn, .their_insn = their_insn };

        for (unsigned i = 0; i < ARRAY_LEN(rules); i++)
                if (rules[i].either && (c->amd || rules[i].intel_too) && rules[i].either(&p)) {
                        *ours = *theirs;
                        return;
                }
        for (unsigned i = 0; i < ARRAY_LEN(rules); i++)
                if (rules[i].settle && c->amd)
                        rules[i].settle(&p);
}

/* Row @n of the one-byte and 0F maps, of eight an opcode; NULL where there is none, or it leaves no flags undefined. */
static const struct x86_opdesc *
undefining_row(unsigned n)
{
        const struct x86_opgroup *g = n < 2048 ? &x86_ops_1b[n / 8] : &x86_ops_0f[n / 8 - 256];

        return n % 8 < g->count && g->rows[n % 8].desc.flags_undefined ? &g->rows[n % 8].desc : NULL;
}

static bool
is_first_of_name(unsigned n, const char *name)
{
        for (unsigned i = 0; i < n; i++)
                if (undefining_row(i) && strcmp(undefining_row(i)->name, name) == 0)
                        return false;
        return true;
}

static void
print_undefined(FILE *out)
{
        static const char names[6][3] = { "CF", "PF", "AF", "ZF", "SF", "OF" };
        static const uint16_t bits[6] = { X86_FL_CF, X86_FL_PF, X86_FL_AF, X86_FL_ZF, X86_FL_SF, X86_FL_OF };

        fprintf(out, "\n| instruction | undefined flags |\n| --- | --- |\n");
        for (unsigned n = 0; n < 4096; n++) {
                const struct x86_opdesc *d = undefining_row(n);
                const char *comma = "";

                if (!d || !is_first_of_name(n, d->name))
                        continue;
                fprintf(out, "| %s | ", d->name);
                for (unsigned i = 0; i < 6; i++)
                        if (d->flags_undefined & bits[i]) {
                                fprintf(out, "%s%s", comma, names[i]);
                                comma = ", ";
                        }
                fprintf(out, " |\n");
        }
}

void
diff_vendor_print(FILE *out)
{
        fprintf(out, "Where AMD's processors differ. What no section of the APM is named for was seen on Zen 3, Zen 4 or Zen 5.\n\n");
        fprintf(out, "| differs | Intel, and the engine | AMD | manuals | on an AMD host |\n");
        fprintf(out, "| --- | --- | --- | --- | --- |\n");
        for (unsigned i = 0; i < ARRAY_LEN(rules); i++) {
                const struct rule *r = &rules[i];

                fprintf(out, "| %s | %s | %s | %s | %s |\n", r->what, r->intel, r->amd, r->manual,
                    r->how ? r->how : r->avoids ? "not generated" : "either is right");
        }
        print_undefined(out);
}
