/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Differential test of the soft engine against the processor it runs on.
 *
 * gen.c makes a case: a short instruction sequence with registers, FPU state and
 * memory.  native.c runs it in a child process, guest.c in a tiny long-mode guest at
 * CPL 3 whose page tables map the same addresses.  Both end at the first exception
 * (INT3 closes every sequence).  fuzz_cpu.c compares, minimises and prints.
 */
#ifndef DIFF_H
#define DIFF_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "x86/decode.h"

#define DIFF_PAGE 4096u

/* What is mapped, at the same addresses natively and in the guest; all else faults. */
#define DIFF_CODE       0x10000000u
#define DIFF_CODE_PAGES 2u /* readable, writable, executable */
#define DIFF_CODE_SPAN  0x200000u /* as much is mapped, so that the guest can use one large page */
#define DIFF_BEYOND     (DIFF_CODE + DIFF_CODE_PAGES * DIFF_PAGE) /* read-only, executable, full of INT3 */
#define DIFF_BEYOND_BYTES (DIFF_CODE_SPAN - DIFF_CODE_PAGES * DIFF_PAGE)
#define DIFF_DATA       0x20000000u
#define DIFF_DATA_PAGES 2u
#define DIFF_RO         0x20004000u /* one page, read-only */
#define DIFF_STACK      0x20008000u /* one page */

/* Where FXSAVE, XSAVE and FNSAVE of the sequences write: the end of the code pages, which little else uses. */
#define DIFF_FX_AREA (DIFF_CODE + 0x1800u)
#define DIFF_FN_AREA (DIFF_CODE + 0x1c00u)

/* Order of the pages in images: code, data, stack, and last the read-only one. */
#define DIFF_IMAGE_PAGES (DIFF_CODE_PAGES + DIFF_DATA_PAGES + 2u)
#define DIFF_IMAGE_BYTES (DIFF_IMAGE_PAGES * DIFF_PAGE)
#define DIFF_DATA_AT     (DIFF_CODE_PAGES * DIFF_PAGE)
#define DIFF_STACK_AT    (DIFF_DATA_AT + DIFF_DATA_PAGES * DIFF_PAGE)
#define DIFF_RO_AT       (DIFF_STACK_AT + DIFF_PAGE)

/* Selectors of a 64-bit Linux process; the guest's are the same. */
#define DIFF_CS64 0x33u
#define DIFF_CS32 0x23u
#define DIFF_DS   0x2bu

/* And of the LDT, the same on both sides: code with base DIFF_CODE, data DIFF_DATA, stack DIFF_STACK. */
#define DIFF_LDT_CS16 0x07u
#define DIFF_LDT_CS32 0x0fu
#define DIFF_LDT_DS   0x17u
#define DIFF_LDT_SS16 0x1fu
#define DIFF_LDT_SS32 0x27u
#define DIFF_LDT_COUNT 5u

#define DIFF_XSAVE_BYTES 832u /* legacy area, header, YMM */
#define DIFF_INSNS_MAX   24u
#define DIFF_TIMEOUT     0xfeu /* in diff_result.vector: it did not end */
#define DIFF_SYSCALL     0xfdu /* a system call was tried */

enum diff_fix {
        FIX_NONE,
        FIX_REL8,  /* branch to another instruction of the sequence */
        FIX_REL16,
        FIX_REL32,
        FIX_ABS32, /* its address */
        FIX_RIP,   /* RIP-relative to fix_address */
        FIX_SMC_RIP, /* RIP-relative to the last byte of another instruction */
        FIX_SMC_ABS,
};

struct diff_insn {
        uint8_t bytes[16];
        uint8_t len;
        uint8_t fix;      /* enum diff_fix */
        uint8_t fix_at;   /* offset of the field in bytes[] */
        uint8_t target;   /* index of an instruction; the count is the INT3 at the end */
        uint32_t fix_address;
};

struct diff_case {
        uint64_t seed;
        bool compat;   /* compatibility mode: 32-bit or 16-bit code */
        bool segments; /* in segments of the LDT, with bases and limits */
        bool code16;   /* 16-bit code segment; only with segments */
        bool stack16;  /* 16-bit stack segment */
        bool stepped;  /* the engine is single-stepped */
        bool all_flags; /* compare flags that are overwritten unread, too */
        bool amd;       /* the host's processor is AMD's */
        unsigned count;
        struct diff_insn insns[DIFF_INSNS_MAX];
        uint64_t start; /* address of the first instruction */
        uint64_t gpr[16];
        uint64_t rflags;
        uint64_t fs_base, gs_base;
        uint8_t xsave[DIFF_XSAVE_BYTES] __attribute__((aligned(64)));
        uint8_t image[DIFF_IMAGE_BYTES]; /* with the code in place after diff_layout() */
};

/* A prefix that says where or how wide, and does not choose the instruction: of address size or segment; REX, in 64-bit mode. */
static inline bool
diff_is_address_prefix(uint8_t byte)
{
        return byte == 0x67 || (byte & 0xe7) == 0x26 || byte >> 1 == 0x64 >> 1 || byte >> 4 == 4;
}

/* The mode in which its code is decoded. */
static inline enum x86_mode
diff_mode(const struct diff_case *c)
{
        return !c->compat ? X86_MODE_64 : c->code16 ? X86_MODE_16 : X86_MODE_32;
}

static inline uint32_t
diff_code_base(const struct diff_case *c)
{
        return c->segments ? DIFF_CODE : 0;
}

static inline unsigned
diff_cs(const struct diff_case *c)
{
        if (c->segments)
                return c->code16 ? DIFF_LDT_CS16 : DIFF_LDT_CS32;
        return c->compat ? DIFF_CS32 : DIFF_CS64;
}

static inline unsigned
diff_ss(const struct diff_case *c)
{
        if (c->segments)
                return c->stack16 ? DIFF_LDT_SS16 : DIFF_LDT_SS32;
        return DIFF_DS;
}

static inline unsigned
diff_ds(const struct diff_case *c)
{
        return c->segments ? DIFF_LDT_DS : DIFF_DS;
}

struct diff_result {
        uint32_t vector;
        uint32_t error;
        uint64_t cr2;
        uint64_t rip; /* with the code segment's base */
        uint64_t rflags;
        uint64_t gpr[16];
        uint64_t fs_base, gs_base;
        uint8_t xsave[DIFF_XSAVE_BYTES] __attribute__((aligned(64)));
        uint8_t image[DIFF_IMAGE_BYTES];
};

struct diff_rng {
        uint64_t state;
};

static inline uint64_t
diff_random(struct diff_rng *rng)
{
        rng->state ^= rng->state << 13;
        rng->state ^= rng->state >> 7;
        rng->state ^= rng->state << 17;
        return rng->state * 0x2545f4914f6cdd1dull;
}

static inline unsigned
diff_below(struct diff_rng *rng, unsigned n)
{
        return (unsigned)((diff_random(rng) >> 32) % n);
}

/* True in @percent of 100 calls. */
static inline bool
diff_chance(struct diff_rng *rng, unsigned percent)
{
        return diff_below(rng, 100) < percent;
}

/* ---- gen.c ---- */

/* What to leave out of the generated code. */
struct diff_options {
        bool only64;
        bool only32;
        const char *only;   /* nothing but instructions whose name begins so; NULL: all */
        const char *avoid;  /* names, separated by commas, that are left out */
        unsigned max_insns;
        bool all_flags;
        bool stepped;
        bool amd;           /* the host's processor is AMD's */
        uint64_t features;  /* 1 << enum x86_feature: what guest and host both have */
};

struct diff_gen;

int diff_gen_create(const struct diff_options *options, struct diff_gen **ret_gen);
void diff_gen_destroy(struct diff_gen *gen);
/* Names the table rows that no case so far has used. */
void diff_gen_unused(const struct diff_gen *gen, void (*fn)(void *ctx, const char *name, bool compat), void *ctx);
/* Makes the case that belongs to @seed; all of @c is set. */
void diff_generate(struct diff_gen *gen, struct diff_case *c, uint64_t seed);
/* Puts the instructions into the image with all fields fixed; again after a change of insns[]. */
void diff_layout(struct diff_case *c);

/* ---- classes.c ---- */
/* Prints how many rows of the decoder's tables there are of each class, and what is not generated. */
void diff_print_classes(FILE *out);

/* ---- vendor.c: where processors, AMD's above all, differ from the engine ---- */
/* Whether the processor does something else with @in, of @bytes (no description: undefined), than the engine. */
bool diff_vendor_avoids(const struct x86_insn *in, const uint8_t *bytes);
/* Whether an instruction of @c, on an AMD host, reads a flag that one before leaves undefined. */
bool diff_vendor_reads_undefined(const struct diff_case *c);
/*
 * Takes over from @theirs, of the engine, what may differ in @ours, of the processor, which ended at
 * @insn and @their_insn (NULL: at none of the sequence).
 */
void diff_vendor_settle(const struct diff_case *c, const struct x86_insn *insn, const struct x86_insn *their_insn,
    struct diff_result *ours, const struct diff_result *theirs);
/* Prints the table of differences. */
void diff_vendor_print(FILE *out);

/* ---- native.c ---- */
struct diff_native;

int diff_native_create(unsigned batch, struct diff_native **ret_native);
void diff_native_destroy(struct diff_native *native);
/* Slots for cases, @batch of them. */
struct diff_case *diff_native_case(struct diff_native *native, unsigned index);
const struct diff_result *diff_native_result(struct diff_native *native, unsigned index);
/* Runs the first @count cases.  False if the child died (it is started again). */
bool diff_native_run(struct diff_native *native, unsigned count);

/* ---- guest.c ---- */
struct diff_guest;

int diff_guest_create(const char *disable, struct diff_guest **ret_guest); /* @disable: soft.disable, or NULL */
void diff_guest_destroy(struct diff_guest *guest);
void diff_guest_run(struct diff_guest *guest, const struct diff_case *c, struct diff_result *ret_result);
/* From now on cases run as a debugger single-steps them: one cpu_run() an instruction. */
void diff_guest_step(struct diff_guest *guest);
/* From now on the code is mapped by one page of 2 MiB. */
void diff_guest_large_page(struct diff_guest *guest);
/* Features that the guest's CPUID offers, as in diff_options. */
uint64_t diff_guest_features(const struct diff_guest *guest);

#endif
