/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * String instructions, PUSHF and POPF: done in C on the whole register state.
 *
 * A repeated instruction runs at the host's speed, a page at a time, where both sides are RAM, counts go upwards and
 * elements do not straddle pages; otherwise element by element.  Registers say how far it got before anything
 * can be raised, so a fault or an interrupt resumes it (SDM 2B, REP).
 */
#include "cpu/soft/code.h"
#include "cpu/soft/mmu.h"

enum string_op {
        STRING_MOVS = 0xa4,
        STRING_CMPS = 0xa6,
        STRING_STOS = 0xaa,
        STRING_LODS = 0xac,
        STRING_SCAS = 0xae,
};

struct string {
        struct soft_cpu *v;
        const struct x86_insn *insn;
        enum string_op op;
        unsigned size;   /* of an element, bytes */
        int64_t step;    /* size, or -size with DF */
        uint64_t mask;   /* of the address size */
        unsigned src_seg;
};

/* Elements between two looks at `kick`. */
#define STRING_BATCH 4096u
#define SHORT_COUNT  32u          /* quadwords for which a loop is faster than a REP, which takes as long to start */
#define BULK_BYTES   (64 * 1024u) /* at once: an interrupt waits for that */

static uint64_t
size_mask(unsigned bytes)
{
        return bytes == 8 ? ~0ull : (1ull << 8 * bytes) - 1;
}

/* Writes an index register or the count as wide as the address size says. */
static void
set_masked(uint64_t *reg, uint64_t mask, uint64_t value)
{
        if (mask == 0xffff)
                *reg = (*reg & ~mask) | (value & mask);
        else
                *reg = value & mask;
}

static void
advance(struct string *s, enum x86_gpr reg, uint64_t elements)
{
        uint64_t *r = &s->v->st.gpr[reg];

        set_masked(r, s->mask, *r + (uint64_t)s->step * elements);
}

static gva_t
source(struct string *s)
{
        return soft_linear(s->v, s->src_seg, s->v->st.gpr[X86_RSI] & s->mask, s->size, X86_ACC_R);
}

static gva_t
destination(struct string *s, unsigned access)
{
        return soft_linear(s->v, X86_ES, s->v->st.gpr[X86_RDI] & s->mask, s->size, access);
}

/* The flags of CMP a, b. */
static void
set_compare_flags(struct string *s, uint64_t a, uint64_t b)
{
        uint64_t flags;

        switch (s->size) {
        case 1:
                __asm__("cmpb %2, %1; pushfq; popq %0" : "=r"(flags) : "q"((uint8_t)a), "q"((uint8_t)b) : "cc");
                break;
        case 2:
                __asm__("cmpw %2, %1; pushfq; popq %0" : "=r"(flags) : "r"((uint16_t)a), "r"((uint16_t)b) : "cc");
                break;
        case 4:
                __asm__("cmpl %2, %1; pushfq; popq %0" : "=r"(flags) : "r"((uint32_t)a), "r"((uint32_t)b) : "cc");
                break;
        default:
                __asm__("cmpq %2, %1; pushfq; popq %0" : "=r"(flags) : "r"(a), "r"(b) : "cc");
                break;
        }
        s->v->st.rflags = (s->v->st.rflags & ~(uint64_t)X86_FL_ARITH) | (flags & X86_FL_ARITH);
}

static void
one_element(struct string *s)
{
        struct soft_cpu *v = s->v;
        uint64_t *rax = &v->st.gpr[X86_RAX];
        uint64_t a, b, m = size_mask(s->size);

        switch (s->op) {
        case STRING_MOVS:
                a = soft_ld(v, source(s), s->size, SOFT_ACC_DATA);
                soft_st(v, destination(s, X86_ACC_W), s->size, a, SOFT_ACC_DATA);
                advance(s, X86_RSI, 1);
                advance(s, X86_RDI, 1);
                break;
        case STRING_CMPS:
                /* processors look at the second operand first */
                b = soft_ld(v, destination(s, X86_ACC_R), s->size, SOFT_ACC_DATA);
                a = soft_ld(v, source(s), s->size, SOFT_ACC_DATA);
                set_compare_flags(s, a, b);
                advance(s, X86_RSI, 1);
                advance(s, X86_RDI, 1);
                break;
        case STRING_STOS:
                soft_st(v, destination(s, X86_ACC_W), s->size, *rax & m, SOFT_ACC_DATA);
                advance(s, X86_RDI, 1);
                break;
        case STRING_LODS:
                a = soft_ld(v, source(s), s->size, SOFT_ACC_DATA);
                *rax = s->size == 4 ? a : (*rax & ~m) | a;
                advance(s, X86_RSI, 1);
                break;
        case STRING_SCAS:
                set_compare_flags(s, *rax & m, soft_ld(v, destination(s, X86_ACC_R), s->size, SOFT_ACC_DATA));
                advance(s, X86_RDI, 1);
                break;
        }
}

/* ---- whole pages ---- */

/* Elements from @offset on that fit in its page, at most @count. */
static uint64_t
elements_in_page(const struct string *s, uint64_t offset, uint64_t count)
{
        uint64_t n = (MEM_PAGE_SIZE - (offset & (MEM_PAGE_SIZE - 1))) / s->size;

        return n < count ? n : count;
}

/* Volatile: not for the compiler to turn into a call. */
static void
copy_short(volatile uint64_t *dst, const volatile uint64_t *src, uint64_t n)
{
        for (uint64_t k = 0; k < n; k++)
                dst[k] = src[k];
}

static void
fill_short(volatile uint64_t *dst, uint64_t value, uint64_t n)
{
        for (uint64_t k = 0; k < n; k++)
                dst[k] = value;
}

static void
copy_up(uint8_t *dst, const uint8_t *src, uint64_t n, unsigned size)
{
        switch (size) {
        case 1:
                __asm__ volatile("rep movsb" : "+D"(dst), "+S"(src), "+c"(n) : : "memory");
                break;
        case 2:
                __asm__ volatile("rep movsw" : "+D"(dst), "+S"(src), "+c"(n) : : "memory");
                break;
        case 4:
                __asm__ volatile("rep movsl" : "+D"(dst), "+S"(src), "+c"(n) : : "memory");
                break;
        default:
                if (n <= SHORT_COUNT)
                        copy_short((volatile uint64_t *)(void *)dst, (const volatile uint64_t *)(const void *)src, n);
                else
                        __asm__ volatile("rep movsq" : "+D"(dst), "+S"(src), "+c"(n) : : "memory");
                break;
        }
}

static void
fill_up(uint8_t *dst, uint64_t value, uint64_t n, unsigned size)
{
        switch (size) {
        case 1:
                __asm__ volatile("rep stosb" : "+D"(dst), "+c"(n) : "a"(value) : "memory");
                break;
        case 2:
                __asm__ volatile("rep stosw" : "+D"(dst), "+c"(n) : "a"(value) : "memory");
                break;
        case 4:
                __asm__ volatile("rep stosl" : "+D"(dst), "+c"(n) : "a"(value) : "memory");
                break;
        default:
                if (n <= SHORT_COUNT)
                        fill_short((volatile uint64_t *)(void *)dst, value, n);
                else
                        __asm__ volatile("rep stosq" : "+D"(dst), "+c"(n) : "a"(value) : "memory");
                break;
        }
}

/* Moves or fills @count elements, within a page. */
static void
do_up(const struct string *s, uint8_t *dst, const uint8_t *src, uint64_t count)
{
        if (s->op == STRING_MOVS)
                copy_up(dst, src, count, s->size);
        else
                fill_up(dst, s->v->st.gpr[X86_RAX], count, s->size);
}

/* Moves or fills up to @count elements, page after page for as long as the TLB has them; 0: it cannot be done here. */
static uint64_t
bulk(struct string *s, uint64_t count)
{
        struct soft_cpu *v = s->v;
        bool moves = s->op == STRING_MOVS;
        gva_t dst_at, src_at = 0;
        uint8_t *dst, *src = NULL;
        uint64_t n, done = 0;

        /* Only where linear addresses are offsets: no segment limit can end it early. */
        if (v->watching || s->step < 0 || !(v->mode & SOFT_MODE_BITS & X86_MODE_64) || !(moves || s->op == STRING_STOS))
                return 0;
        if (moves) {
                src_at = source(s);
                src = soft_host_read(v, src_at, s->size);
                if (src == NULL)
                        return 0;
        }
        dst_at = destination(s, X86_ACC_W);
        dst = soft_host_rw(v, dst_at, s->size, SOFT_ACC_DATA);
        if (dst == NULL)
                return 0;
        do {
                n = elements_in_page(s, dst_at, count - done);
                if (moves)
                        n = elements_in_page(s, src_at, n);
                if (n == 0)
                        break;
                do_up(s, dst, src, n);
                done += n;
                dst_at += n * s->size;
                src_at += n * s->size;
                dst = mmu_tlb_hit(v, dst_at, true, SOFT_ACC_DATA);
                src = moves ? mmu_tlb_hit(v, src_at, false, SOFT_ACC_DATA) : dst;
                /* An address of 32 bits may wrap at the next page. */
        } while (done < count && done * s->size < BULK_BYTES && s->mask == ~0ull && dst != NULL && src != NULL);
        if (moves)
                advance(s, X86_RSI, done);
        advance(s, X86_RDI, done);
        return done;
}

static bool
is_compare(enum string_op op)
{
        return op == STRING_CMPS || op == STRING_SCAS;
}

static void
repeat(struct string *s)
{
        struct soft_cpu *v = s->v;
        uint64_t *rcx = &v->st.gpr[X86_RCX];
        uint64_t before = v->st.rflags;
        bool step = v->st.rflags & X86_FL_TF; /* a trap after each iteration */
        uint64_t kills = soft_code_kills(v->engine);
        unsigned batch = STRING_BATCH;

        if (s->mask == 0xffffffff) { /* 32-bit addresses: processors clear the upper halves before they look */
                v->st.gpr[X86_RCX] &= s->mask;
                if (s->op == STRING_MOVS)
                        v->st.gpr[X86_RSI] &= s->mask;
                if (s->op == STRING_MOVS || s->op == STRING_STOS)
                        v->st.gpr[X86_RDI] &= s->mask;
        }
        while ((*rcx & s->mask) != 0) {
                /* a fault finds the flags from before the instruction: SDM 2B, REP */
                uint64_t done = 0;

                v->st.rflags = before;
                done = step ? 0 : bulk(s, *rcx & s->mask);

                if (done == 0) {
                        one_element(s);
                        done = 1;
                }
                set_masked(rcx, s->mask, *rcx - done);
                if (is_compare(s->op) && !(v->st.rflags & X86_FL_ZF) != (s->insn->rep == 0xf2))
                        break;
                /* It may have overwritten itself: the rest is done by what stands there then. */
                if ((*rcx & s->mask) != 0 && (step || --batch == 0 || soft_code_kills(v->engine) != kills || __atomic_load_n(&v->kick, __ATOMIC_RELAXED))) {
                        v->next_rip = v->st.rip; /* once more from here */
                        v->st.rflags = before;   /* as processors show it to the trap or interrupt */
                        return;
                }
        }
}

void
soft_string(struct soft_cpu *v, const struct x86_insn *insn)
{
        struct string s = {
                .v = v,
                .insn = insn,
                .op = insn->opcode & 0xfe,
                .size = insn->opsize,
                .step = v->st.rflags & X86_FL_DF ? -(int64_t)insn->opsize : insn->opsize,
                .mask = size_mask(insn->asize),
                .src_seg = insn->seg_override == 0xff ? X86_DS : insn->seg_override,
        };

        if (insn->rep != 0)
                repeat(&s);
        else
                one_element(&s);
}

/* ---- PUSHF, POPF ---- */

static bool
is_v86(const struct soft_cpu *v)
{
        return v->st.rflags & X86_FL_VM;
}

static unsigned
iopl(const struct soft_cpu *v)
{
        return (v->st.rflags & X86_FL_IOPL) >> 12;
}

static uint64_t
stack_mask(const struct soft_cpu *v)
{
        if (x86_code64(&v->st))
                return ~0ull;
        return v->st.seg[X86_SS].attr & X86_SEG_DB ? 0xffffffffu : 0xffff;
}

/* SDM 2B, PUSHF. */
void
soft_pushf(struct soft_cpu *v, const struct x86_insn *insn)
{
        uint64_t mask = stack_mask(v);
        uint64_t sp = (v->st.gpr[X86_RSP] - insn->opsize) & mask;
        uint64_t flags = v->st.rflags & ~(uint64_t)(X86_FL_RF | X86_FL_VM);

        if (is_v86(v) && iopl(v) < 3) {
                if (insn->opsize != 2 || !(v->st.cr4 & X86_CR4_VME))
                        soft_raise_error(v, X86_VEC_GP, 0);
                /* VME: IF is a copy of VIF, IOPL reads as 3. */
                flags = (flags & ~(uint64_t)X86_FL_IF) | X86_FL_IOPL |
                    (v->st.rflags & X86_FL_VIF ? X86_FL_IF : 0);
        }
        soft_st(v, soft_linear(v, X86_SS, sp, insn->opsize, X86_ACC_W), insn->opsize, flags, SOFT_ACC_DATA);
        set_masked(&v->st.gpr[X86_RSP], mask, sp);
}

/* Virtual-8086 mode with IOPL below 3 and VME: IF goes to VIF. */
static uint64_t
popf_vme(struct soft_cpu *v, uint64_t value)
{
        const uint64_t changed = X86_FL_ARITH | X86_FL_TF | X86_FL_DF | X86_FL_NT;

        if (((value & X86_FL_IF) && (v->st.rflags & X86_FL_VIP)) || (value & X86_FL_TF))
                soft_raise_error(v, X86_VEC_GP, 0);
        return (v->st.rflags & ~(changed | X86_FL_VIF)) | (value & changed) |
            (value & X86_FL_IF ? X86_FL_VIF : 0);
}

/* SDM 2B, POPF, table 4-21. */
void
soft_popf(struct soft_cpu *v, const struct x86_insn *insn)
{
        uint64_t mask = stack_mask(v);
        uint64_t sp = v->st.gpr[X86_RSP] & mask;
        uint64_t changed = X86_FL_ARITH | X86_FL_TF | X86_FL_DF | X86_FL_NT;
        unsigned cpl = x86_cpl(&v->st);
        uint64_t value, flags;

        if (is_v86(v) && iopl(v) < 3 && (insn->opsize != 2 || !(v->st.cr4 & X86_CR4_VME)))
                soft_raise_error(v, X86_VEC_GP, 0);
        value = soft_ld(v, soft_linear(v, X86_SS, sp, insn->opsize, X86_ACC_R), insn->opsize, SOFT_ACC_DATA);
        if (is_v86(v) && iopl(v) < 3) {
                flags = popf_vme(v, value);
        } else {
                if (insn->opsize != 2)
                        changed |= X86_FL_AC | X86_FL_ID;
                if (cpl <= iopl(v))
                        changed |= X86_FL_IF;
                if (cpl == 0)
                        changed |= X86_FL_IOPL;
                flags = (v->st.rflags & ~changed) | (value & changed);
        }
        v->st.rflags = (flags & ~(uint64_t)X86_FL_RF) | X86_FL_FIXED;
        set_masked(&v->st.gpr[X86_RSP], mask, sp + insn->opsize);
}
