/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * fuzz_cpu [options]: runs random cases natively and in the soft engine and compares.
 *
 *   -s SEED    first seed (default: from the clock, printed); case N has seed SEED + N
 *   -n COUNT   stop after so many cases
 *   -t SECONDS stop after so long (default 20)
 *   -m INSNS   longest sequence (default 20)
 *   -o NAME    only instructions whose name begins with NAME
 *   -a LIST    avoid the instructions in the comma-separated LIST
 *   -b 32|64   only compatibility mode, or only 64-bit mode
 *   -f COUNT   stop after so many failures (default 5)
 *   -F         compare flags at a fault even where later instructions overwrite them unread
 *   -l         list the decoder's table rows that no case has used
 *   -S         single-step the engine, as a debugger does
 *   -L         map the guest's code by a page of 2 MiB
 *   -M         blocks that fit any linear page
 *   -R         memory by mirrors, from the first access on
 *   -1         run the one case of -s and print it
 *   -C         print the tables of doc/soft-cpu.md and do nothing else
 *   -N         compare the processor with itself: what differs then is not worth comparing
 *
 * The last line says "N passed, N failed"; the exit status is 1 if a case failed.
 */
#include "gen.h"

#include "base/util.h"
#include "x86/cpuid.h"
#include "x86/decode.h"
#include "x86/state.h"

#include <Zydis/Zydis.h>

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define BATCH 64

struct run {
        struct diff_options options;
        struct diff_gen *gen;
        struct diff_native *native;
        struct diff_guest *guest;
        uint64_t seed;
        unsigned long count, passed, failed, skipped, max_failures;
        unsigned long vectors[256];
        unsigned seconds;
        bool one, self, list, step, large, moves, mirrors;
        struct diff_result *theirs;
};

/* ---- comparison ---- */

/* What a difference consists of, as text. */
struct findings {
        char text[8192];
        size_t len;
        unsigned count;
};

static void __attribute__((format(printf, 2, 3)))
found(struct findings *f, const char *format, ...)
{
        va_list ap;
        int n;

        f->count++;
        if (f->len > sizeof(f->text) - 200)
                return;
        va_start(ap, format);
        n = vsnprintf(f->text + f->len, sizeof(f->text) - f->len, format, ap);
        va_end(ap);
        f->len += (size_t)n;
}

static uint64_t
read_bytes(const uint8_t *p, unsigned n)
{
        uint64_t value = 0;

        memcpy(&value, p, n);
        return value;
}

/* Puts components that XSTATE_BV says are in their initial state into that state (SDM 1 13.6). */
static void
normalise_fpu(const uint8_t *from, uint8_t *to)
{
        uint64_t components = read_bytes(from + 512, 8);
        uint16_t fcw = 0x37f;

        memcpy(to, from, DIFF_XSAVE_BYTES);
        if (!(components & 1)) {
                memset(to, 0, 24);
                memset(to + 32, 0, 128);
                memcpy(to, &fcw, 2);
        }
        if (!(components & 2))
                memset(to + 160, 0, 256);
        if (!(components & 4))
                memset(to + 576, 0, 256);
        memset(to + 6, 0, 18);  /* FOP, FIP, FDP: addresses of the host's code */
        memset(to + 28, 0, 4);  /* MXCSR_MASK */
        memset(to + 416, 0, 160);
        for (unsigned i = 0; i < 8; i++)
                memset(to + 32 + 16 * i + 10, 0, 6);
}

/* The instruction at which the native run ended; false if that is none of the sequence. */
static bool
faulting_insn(const struct diff_case *c, const struct diff_result *a, struct x86_insn *ret)
{
        uint64_t at = c->start;

        for (unsigned i = 0; i < c->count; at += c->insns[i].len, i++)
                for (unsigned in = 0; in < c->insns[i].len; in += ret->len) { /* pieces hold several */
                        bool ok = x86_decode(c->insns[i].bytes + in, 15 - in, diff_mode(c), ret) == X86_DECODE_OK;

                        if (!ok || at + in == a->rip) {
                                if (at + in == a->rip)
                                        return ok;
                                break;
                        }
                }
        return false;
}

/* Whether @rip lies inside one of the pieces of several instructions that hide a result in the end. */
static bool
inside_piece(const struct diff_case *c, uint64_t rip)
{
        uint64_t at = c->start;

        for (unsigned i = 0; i < c->count; at += c->insns[i].len, i++)
                if (rip > at && rip < at + c->insns[i].len)
                        return true;
        return false;
}

static void
compare_fpu(const struct diff_case *c, const struct diff_result *a, const struct diff_result *b, struct findings *f)
{
        uint8_t x[DIFF_XSAVE_BYTES], y[DIFF_XSAVE_BYTES];
        unsigned registers = c->compat ? 8 : 16;
        struct x86_insn in;

        normalise_fpu(a->xsave, x);
        normalise_fpu(b->xsave, y);
        if (a->vector != X86_VEC_BP && faulting_insn(c, a, &in) && (in.desc->flags & X86_OD_FPU) && in.map != X86_MAP_X87)
                memcpy(y, x, 160); /* MMX: TOP may be 0 already when memory faults */
        if (memcmp(x, y, sizeof(x)) == 0)
                return;
        if (memcmp(x, y, 5) != 0)
                found(f, "  x87 native FCW %04lx FSW %04lx FTW %02x  engine %04lx %04lx %02x\n", read_bytes(x, 2),
                    read_bytes(x + 2, 2), x[4], read_bytes(y, 2), read_bytes(y + 2, 2), y[4]);
        if (memcmp(x + 24, y + 24, 4) != 0)
                found(f, "  MXCSR native %08lx engine %08lx\n", read_bytes(x + 24, 4), read_bytes(y + 24, 4));
        for (unsigned i = 0; i < 8; i++)
                if (memcmp(x + 32 + 16 * i, y + 32 + 16 * i, 10) != 0)
                        found(f, "  st%u native %04lx:%016lx engine %04lx:%016lx\n", i, read_bytes(x + 40 + 16 * i, 2),
                            read_bytes(x + 32 + 16 * i, 8), read_bytes(y + 40 + 16 * i, 2), read_bytes(y + 32 + 16 * i, 8));
        for (unsigned i = 0; i < registers; i++)
                for (unsigned h = 0; h < 2; h++) {
                        const uint8_t *p = x + (h ? 576 : 160) + 16 * i, *q = y + (h ? 576 : 160) + 16 * i;

                        if (memcmp(p, q, 16) != 0)
                                found(f, "  %cmm%u native %016lx:%016lx engine %016lx:%016lx\n", h ? 'y' : 'x', i,
                                    read_bytes(p + 8, 8), read_bytes(p, 8), read_bytes(q + 8, 8), read_bytes(q, 8));
                }
}

static const char *const gpr_names[16] = { "rax", "rcx", "rdx", "rbx", "rsp", "rbp", "rsi", "rdi", "r8", "r9", "r10",
        "r11", "r12", "r13", "r14", "r15" };

/* The flags that the instructions at RIP overwrite, where the case has written over its code. */
static uint64_t
stale_in_written_code(const struct diff_case *c, const struct diff_result *a)
{
        uint64_t at = a->rip - DIFF_CODE, start = c->start - DIFF_CODE, stale = 0;
        struct x86_insn in;

        if (memcmp(c->image + start, a->image + start, DIFF_INSNS_MAX * 15) == 0)
                return 0;
        for (unsigned i = 0; i < DIFF_INSNS_MAX && at < DIFF_DATA_AT - 15; at += in.len, i++) {
                if (x86_decode(a->image + at, 15, diff_mode(c), &in) != X86_DECODE_OK)
                        break;
                stale |= in.desc->flags_written & X86_FL_ARITH;
        }
        return stale;
}

/* The flags that the instructions of a piece at @at overwrite, from @rip on; *ret_known: one is there. */
static uint64_t
overwritten(const struct diff_case *c, const struct diff_insn *piece, uint64_t at, uint64_t rip, bool *ret_known)
{
        uint64_t flags = 0;
        struct x86_insn in;

        for (unsigned n = 0; n < piece->len; n += in.len) {
                *ret_known |= at + n == rip;
                if (x86_decode(piece->bytes + n, 15 - n, diff_mode(c), &in) != X86_DECODE_OK)
                        break;
                if (at + n >= rip)
                        flags |= in.desc->flags_written & X86_FL_ARITH;
        }
        return flags;
}

/*
 * The flags that need not be compared: the engine does not keep flags at a fault that the
 * faulting instruction or later ones overwrite (doc/soft-cpu.md).
 */
static uint64_t
stale_flags(const struct diff_case *c, const struct diff_result *a)
{
        uint64_t at = c->start, stale = 0;
        bool known = false;

        /* The processor and the engine differ about RF in the trap after an iteration of REP. */
        if (a->vector == X86_VEC_DB)
                return X86_FL_RF;
        if (c->all_flags || a->vector == X86_VEC_BP)
                return 0;
        for (unsigned i = 0; i < c->count; at += c->insns[i].len, i++)
                stale |= overwritten(c, &c->insns[i], at, a->rip, &known);
        return known ? stale : stale | stale_in_written_code(c, a);
}

static void
compare_registers(const struct diff_case *c, const struct diff_result *a, const struct diff_result *b, struct findings *f)
{
        uint64_t mask = c->compat ? 0xffffffff : ~0ull;

        for (unsigned i = 0; i < (c->compat ? 8u : 16u); i++)
                if ((a->gpr[i] ^ b->gpr[i]) & mask)
                        found(f, "  %s native %016lx engine %016lx (was %016lx)\n", gpr_names[i], a->gpr[i], b->gpr[i], c->gpr[i]);
        if ((a->rip ^ b->rip) & mask)
                found(f, "  rip native %lx engine %lx\n", a->rip, b->rip);
        if ((a->rflags ^ b->rflags) & ~stale_flags(c, a))
                found(f, "  rflags native %lx engine %lx differ in %lx\n", a->rflags, b->rflags, a->rflags ^ b->rflags);
        if (a->fs_base != b->fs_base || a->gs_base != b->gs_base)
                found(f, "  bases native %lx %lx engine %lx %lx\n", a->fs_base, a->gs_base, b->fs_base, b->gs_base);
}

static bool
is_narrow(uint64_t value)
{
        return value >> 32 == 0 || value >= ~0ull << 31;
}

/*
 * Against what the decoder says that instructions write, by which translated code knows for how long an address
 * register's memory is where it was: accesses rely on it.  @a is the processor's result.
 */
static void
check_writes(const struct diff_case *c, const struct diff_result *a, struct findings *f)
{
        uint16_t writes = 0;
        unsigned insns = 0;
        struct x86_insn in;
        int64_t change;

        if (c->compat) /* the kernel's way there and back changes upper halves */
                return;
        for (unsigned i = 0; i < c->count; i++) {
                for (unsigned at = 0; at < c->insns[i].len; at += in.len, insns++) {
                        if (x86_decode(c->insns[i].bytes + at, c->insns[i].len - at, diff_mode(c), &in) != X86_DECODE_OK)
                                return;
                        if (in.desc->class != X86_CLASS_PLAIN && in.desc->class != X86_CLASS_LEA && in.desc->class != X86_CLASS_NOP)
                                return;
                        writes |= x86_insn_writes(&in);
                }
        }
        for (unsigned i = 0; i < 16; i++)
                if (a->gpr[i] != c->gpr[i] && !(writes >> i & 1))
                        found(f, "  %s is written, and x86_insn_writes() does not tell\n", gpr_names[i]);
        if (insns != 1 || a->vector != 3)
                return;
        for (unsigned i = 0; i < 16; i++)
                if (x86_insn_adds(&in, i, &change) && a->gpr[i] - c->gpr[i] != (uint64_t)change)
                        found(f, "  %s does not change as x86_insn_adds() tells\n", gpr_names[i]);
        if (!x86_insn_extends(&in))
                return;
        for (unsigned i = 0; i < 16; i++)
                if ((writes >> i & 1) && !is_narrow(a->gpr[i]))
                        found(f, "  %s is more than 32 bits, and x86_insn_extends() does not tell\n", gpr_names[i]);
}

/*
 * FOP, FIP and FDP in what FXSAVE, XSAVE and FNSAVE stored: addresses of the host's code.
 * And MXCSR: whether XSAVEC without SSE stores it differs from run to run.
 */
static bool
is_fpu_pointer(uint32_t address)
{
        return (address >= DIFF_FX_AREA + 6 && address < DIFF_FX_AREA + 32) ||
            (address >= DIFF_FN_AREA + 6 && address < DIFF_FN_AREA + 28);
}

/* VZEROUPPER and VZEROALL: what XSAVE then takes for initial state is the processor's affair (SDM 1 13.6). */
static bool
has_vzero(const struct diff_case *c)
{
        struct x86_insn in;

        for (unsigned i = 0; i < c->count; i++)
                if (x86_decode(c->insns[i].bytes, 15, diff_mode(c), &in) == X86_DECODE_OK && in.vex && in.opcode == 0x77)
                        return true;
        return false;
}

/* A call that faults for its target may have stored the return address (SDM 2A, CALL, does not say). */
static bool
is_return_of_failed_call(const struct diff_case *c, const struct diff_result *a, uint32_t address)
{
        uint32_t sp = (uint32_t)a->gpr[X86_RSP] + (c->segments ? DIFF_STACK : 0);
        struct x86_insn in;

        if (a->vector == X86_VEC_BP || !faulting_insn(c, a, &in) || sp - address > 16)
                return false;
        return in.desc->class == X86_CLASS_CALL_IND || in.desc->sys == X86_SYS_CALL_FAR || in.desc->sys == X86_SYS_CALL_FAR_MEM;
}

static void
compare_memory(const struct diff_case *c, const struct diff_result *a, const struct diff_result *b, struct findings *f)
{
        bool vzero;

        if (memcmp(a->image, b->image, DIFF_RO_AT) == 0)
                return;
        vzero = has_vzero(c);
        for (unsigned i = 0; i < DIFF_RO_AT; i++) {
                uint32_t address = i < DIFF_DATA_AT ? DIFF_CODE + i :
                    i < DIFF_STACK_AT ? DIFF_DATA + i - DIFF_DATA_AT : DIFF_STACK + i - DIFF_STACK_AT;

                if (a->image[i] != b->image[i] && !is_fpu_pointer(address) && !is_return_of_failed_call(c, a, address) &&
                    !(vzero && address >= DIFF_FX_AREA && address < DIFF_FX_AREA + DIFF_XSAVE_BYTES))
                        found(f, "  [%x] native %02x engine %02x (was %02x)\n", address, a->image[i], b->image[i], c->image[i]);
        }
}

static bool
has_error(unsigned vector)
{
        return vector == X86_VEC_DF || (vector >= X86_VEC_TS && vector <= X86_VEC_PF) || vector == X86_VEC_AC;
}

/*
 * Whether an instruction that is left out stands where the run ended: stored there, or in the middle of another.
 * A hypervisor may have answered VMCALL, and Linux what UMIP refuses.
 */
static bool
ended_at_left_out(const struct diff_case *c, const struct diff_result *b)
{
        uint64_t at = b->rip - DIFF_CODE;
        struct x86_insn in;

        return at <= DIFF_DATA_AT - 15 && x86_decode(b->image + at, 15, diff_mode(c), &in) == X86_DECODE_OK &&
            diff_sys_rule(in.desc->sys)->how == DIFF_SYS_LEFT_OUT;
}

/* Cases in which processors may do one thing or another, and the engine does the other. */
static bool
is_free_to_differ(const struct diff_case *c, const struct diff_result *a, const struct diff_result *b)
{
        struct x86_insn in;

        /* A large page in the guest maps as writable what is read-only natively. */
        if (a->vector == X86_VEC_PF && (a->error & 2) && a->cr2 - DIFF_BEYOND < DIFF_BEYOND_BYTES &&
            (b->vector != X86_VEC_PF || b->cr2 != a->cr2))
                return true;
        if ((b->vector == X86_VEC_UD || b->vector == X86_VEC_GP) && a->vector != b->vector && ended_at_left_out(c, b))
                return true;
        /* A single-step trap before what hides the time, and the like. */
        if (a->vector == X86_VEC_DB && inside_piece(c, a->rip) && a->rip == b->rip)
                return true;
        /* A store that an unmasked x87 error suppresses may fault or not. */
        if (faulting_insn(c, b, &in) && b->vector != X86_VEC_BP && in.map == X86_MAP_X87 && (in.desc->rm_access & X86_ACC_W) &&
            (a->vector != b->vector || a->rip != b->rip || memcmp(a->xsave, b->xsave, 2) != 0))
                return true;
        /* Operands of VCVTPH2PS and VCVTPS2PH: AMD's processors report #AC, Intel's do not (SDM 2A table 2-26). */
        if (faulting_insn(c, b, &in) && b->vector == X86_VEC_AC && in.desc->feature == X86_F_F16C)
                return true;
        if (a->vector == X86_VEC_BP || !faulting_insn(c, a, &in))
                return false;
        /* Across the end of the 4 GiB of a flat segment: SDM 3A 5.3. */
        if (c->compat && !c->segments && (a->vector == X86_VEC_PF || a->vector == X86_VEC_AC) && (b->vector == X86_VEC_GP || b->vector == X86_VEC_SS))
                return true;
        /* An operand that is misaligned and outside its stack segment, which MOV SS may have loaded, may get #GP or #SS. */
        if ((c->segments || (c->compat && (in.desc->flags & X86_OD_ALIGN)) || in.desc->sys == X86_SYS_CMPXCHG8B || in.desc->sys == X86_SYS_FXRSTOR) &&
            a->vector == X86_VEC_GP && b->vector == X86_VEC_SS)
                return true;
        /* VCVTPS2PH may have set MXCSR's flags when its store faults. */
        if (in.desc->feature == X86_F_F16C && in.has_mem)
                return true;
        /* What the mask leaves out may fault or not: SDM 2B, MASKMOVDQU. */
        if (in.desc->sys == X86_SYS_MASKMOV)
                return true;
        /* The first bound may be judged before the second is read. */
        if (in.desc->sys == X86_SYS_BOUND && a->vector == X86_VEC_BR)
                return true;
        /* Operands of 10 bytes are 8 and 2, for the alignment and the segment's limit; larger ones are many pieces. */
        if (a->vector == X86_VEC_AC && c->segments &&
            ((in.map == X86_MAP_X87 && in.desc->mem_bytes == 10) || in.desc->sys == X86_SYS_FXRSTOR))
                return true;
        /* Stores of 10 bytes may have written the first 8. */
        if (in.map == X86_MAP_X87 && in.desc->mem_bytes == 10 && a->vector == b->vector)
                return true;
        /* A single-step trap may come between the elements of a gather: SDM 2C, VGATHERDPS. */
        if (in.desc->sys == X86_SYS_GATHER && a->vector == X86_VEC_DB)
                return true;
        return false;
}

/* Which byte of a masked or gathered operand CR2 names is the processor's choice. */
static uint64_t
cr2_mask(const struct diff_case *c, const struct diff_result *a)
{
        struct x86_insn in;

        if (!faulting_insn(c, a, &in))
                return ~0ull;
        if (in.desc->sys == X86_SYS_VMASKMOV || in.desc->sys == X86_SYS_GATHER)
                return ~0xfffull;
        if (in.desc->sys == X86_SYS_FXRSTOR || in.desc->sys == X86_SYS_MASKMOV)
                return 0;
        /* In what order the words of a frame are read is the processor's affair. */
        if (in.desc->sys == X86_SYS_RET_FAR || in.desc->sys == X86_SYS_IRET)
                return 0;
        return ~0ull;
}

static void
compare_fault(const struct diff_case *c, const struct diff_result *a, const struct diff_result *b, struct findings *f)
{
        uint32_t ignore = 0;

        if (a->vector != b->vector) {
                found(f, "  vector native %u (error %x) engine %u (error %x)\n", a->vector, a->error, b->vector, b->error);
                return;
        }
        if (a->vector == X86_VEC_PF && ((a->cr2 ^ b->cr2) & cr2_mask(c, a)))
                found(f, "  cr2 native %lx engine %lx\n", a->cr2, b->cr2);
        /* Linux has the other half of the address space, and the last page of this: present there, absent in the guest */
        if (a->vector == X86_VEC_PF && a->cr2 >= (1ull << 47) - DIFF_PAGE)
                ignore = 1;
        if (has_error(a->vector) && ((a->error ^ b->error) & ~ignore))
                found(f, "  vector %u error native %x engine %x cr2 %lx\n", a->vector, a->error, b->error, a->cr2);
}

static void
compare(const struct diff_case *c, const struct diff_result *a, const struct diff_result *b, struct findings *f)
{
        f->len = 0;
        f->count = 0;
        f->text[0] = 0;
        check_writes(c, a, f);
        compare_fault(c, a, b, f);
        compare_registers(c, a, b, f);
        compare_fpu(c, a, b, f);
        compare_memory(c, a, b, f);
}

/* Compares again without what the host's processor may do otherwise. */
static void
compare_settled(const struct diff_case *c, const struct diff_result *a, const struct diff_result *b, struct findings *f)
{
        static struct diff_result settled;
        struct x86_insn in, their_in;
        bool known = faulting_insn(c, a, &in), their_known = faulting_insn(c, b, &their_in);

        settled = *a;
        diff_vendor_settle(c, known ? &in : NULL, their_known ? &their_in : NULL, &settled, b);
        compare(c, &settled, b, f);
}

static bool
differs(const struct diff_case *c, const struct diff_result *a, const struct diff_result *b, struct findings *f)
{
        f->count = 0;
        if (is_free_to_differ(c, a, b))
                return false;
        compare(c, a, b, f);
        if (f->count != 0)
                compare_settled(c, a, b, f);
        return f->count != 0;
}

/* ---- printing ---- */

static void
print_insn(const struct diff_case *c, uint64_t at, const uint8_t *bytes, unsigned len)
{
        ZydisDisassembledInstruction insn;
        ZydisMachineMode mode = !c->compat ? ZYDIS_MACHINE_MODE_LONG_64 :
            c->code16                      ? ZYDIS_MACHINE_MODE_LONG_COMPAT_16 :
                                             ZYDIS_MACHINE_MODE_LONG_COMPAT_32;
        bool ok = ZYAN_SUCCESS(ZydisDisassembleIntel(mode, at, bytes, len, &insn));

        printf("  %lx:", at);
        for (unsigned i = 0; i < 15; i++)
                printf(i < len ? " %02x" : "   ", bytes[i]);
        printf(" %s\n", ok ? insn.text : "(undefined)");
}

static void
print_case(const struct diff_case *c)
{
        uint64_t at = c->start;

        printf("seed %lu, %s mode%s%s%s, flags %lx\n", c->seed, c->compat ? "compatibility" : "64-bit",
            c->segments ? ", segments" : "", c->code16 ? ", 16-bit code" : "", c->stack16 ? ", 16-bit stack" : "", c->rflags);
        for (unsigned i = 0; i < c->count; i++) {
                print_insn(c, at, c->image + (at - DIFF_CODE), c->insns[i].len);
                at += c->insns[i].len;
        }
        for (unsigned i = 0; i < 16; i++)
                printf("  %-3s %016lx%s", gpr_names[i], c->gpr[i], i % 4 == 3 ? "\n" : "");
        printf("  mxcsr %lx fcw %lx fsw %lx ftw %x\n", read_bytes(c->xsave + 24, 4), read_bytes(c->xsave, 2),
            read_bytes(c->xsave + 2, 2), c->xsave[4]);
}

/* ---- running ---- */

/* Runs the case in slot 0 on both sides; false where it cannot be judged. */
static bool
run_both(struct run *r, struct findings *f, bool *ret_differs)
{
        struct diff_case *c = diff_native_case(r->native, 0);
        const struct diff_result *ours = diff_native_result(r->native, 0);

        if (!diff_native_run(r->native, 1) || ours->vector >= DIFF_SYSCALL)
                return false;
        diff_guest_run(r->guest, c, r->theirs);
        *ret_differs = differs(c, ours, r->theirs, f);
        return true;
}

static void
drop_insn(struct diff_case *c, unsigned index)
{
        memmove(&c->insns[index], &c->insns[index + 1], (c->count - index - 1) * sizeof(c->insns[0]));
        c->count--;
        for (unsigned i = 0; i < c->count; i++)
                if (c->insns[i].target > index)
                        c->insns[i].target--;
        diff_layout(c);
}

/* Leaves out instructions as long as the case in slot 0 goes on failing. */
static void
minimise(struct run *r, struct findings *f)
{
        struct diff_case *c = diff_native_case(r->native, 0);
        struct diff_case *keep = malloc(sizeof(*keep));
        bool again = keep != NULL, fails;

        while (again) {
                again = false;
                for (unsigned i = c->count; i-- > 0 && c->count > 1;) {
                        *keep = *c;
                        drop_insn(c, i);
                        if (!diff_vendor_reads_undefined(c) && run_both(r, f, &fails) && fails)
                                again = true;
                        else
                                *c = *keep;
                }
        }
        free(keep);
        if (!run_both(r, f, &fails) || !fails)
                printf("(it does not fail every time)\n");
}

static void
report(struct run *r, uint64_t seed, const char *first_findings)
{
        struct diff_case *c = diff_native_case(r->native, 0);
        static const char line[] = "----------------------------------------";
        struct findings *f = calloc(1, sizeof(*f));
        bool fails = false;

        diff_generate(r->gen, c, seed);
        if (f && run_both(r, f, &fails) && fails) {
                minimise(r, f);
                printf("%s\n", line);
                print_case(c);
                printf("%s", f->text);
        } else {
                printf("%s\n", line);
                diff_generate(r->gen, c, seed);
                print_case(c);
                printf("%s(it failed once, after others, and not again alone)\n", first_findings);
        }
        fflush(stdout);
        free(f);
}

static void
judge_batch(struct run *r, unsigned count, uint64_t first)
{
        uint64_t failed[BATCH];
        char *texts[BATCH];
        unsigned failures = 0;
        struct findings *f = calloc(1, sizeof(*f));

        for (unsigned i = 0; f && i < count; i++) {
                const struct diff_case *c = diff_native_case(r->native, i);
                const struct diff_result *ours = diff_native_result(r->native, i);

                if (ours->vector >= DIFF_SYSCALL) {
                        r->skipped++;
                        continue;
                }
                r->vectors[ours->vector & 255]++;
                diff_guest_run(r->guest, c, r->theirs);
                if (differs(c, ours, r->theirs, f)) {
                        texts[failures] = strdup(f->text);
                        failed[failures++] = first + i;
                } else {
                        r->passed++;
                }
        }
        free(f);
        for (unsigned i = 0; i < failures; i++) {
                if (r->failed < r->max_failures) {
                        r->failed++;
                        report(r, failed[i], texts[i] ? texts[i] : "");
                }
                free(texts[i]);
        }
}

/* One batch at a time; a batch in which the child died is skipped. */
static void
run_all(struct run *r)
{
        time_t end = time(NULL) + r->seconds;
        uint64_t seed = r->seed;
        unsigned long done = 0;

        while (done < r->count && time(NULL) < end && r->failed < r->max_failures) {
                unsigned n = r->count - done < BATCH ? (unsigned)(r->count - done) : BATCH;

                for (unsigned i = 0; i < n; i++)
                        diff_generate(r->gen, diff_native_case(r->native, i), seed + i);
                if (diff_native_run(r->native, n))
                        judge_batch(r, n, seed);
                else
                        r->skipped += n;
                seed += n;
                done += n;
        }
}

/* The processor against itself: twice the same batch. */
static void
run_self(struct run *r)
{
        struct diff_result *before = malloc(BATCH * sizeof(*before));
        struct findings *f = calloc(1, sizeof(*f));
        time_t end = time(NULL) + r->seconds;

        for (uint64_t seed = r->seed; before && f && time(NULL) < end && r->failed < r->max_failures; seed += BATCH) {
                for (unsigned i = 0; i < BATCH; i++)
                        diff_generate(r->gen, diff_native_case(r->native, i), seed + i);
                if (!diff_native_run(r->native, BATCH))
                        continue;
                for (unsigned i = 0; i < BATCH; i++)
                        before[i] = *diff_native_result(r->native, i);
                if (!diff_native_run(r->native, BATCH))
                        continue;
                for (unsigned i = 0; i < BATCH; i++) {
                        const struct diff_result *again = diff_native_result(r->native, i);

                        if (again->vector >= DIFF_SYSCALL || before[i].vector >= DIFF_SYSCALL) {
                                r->skipped++;
                        } else if (differs(diff_native_case(r->native, i), &before[i], again, f)) {
                                r->failed++;
                                print_case(diff_native_case(r->native, i));
                                printf("%s", f->text);
                        } else {
                                r->passed++;
                                r->vectors[again->vector & 255]++;
                        }
                }
        }
        free(before);
        free(f);
}

static void
run_one(struct run *r)
{
        struct diff_case *c = diff_native_case(r->native, 0);
        struct findings *f = calloc(1, sizeof(*f));
        bool fails = false;

        diff_generate(r->gen, c, r->seed);
        print_case(c);
        fflush(stdout);
        if (f && run_both(r, f, &fails)) {
                printf("native vector %u rip %lx\n%s", diff_native_result(r->native, 0)->vector,
                    diff_native_result(r->native, 0)->rip, f->text);
                r->failed += fails;
                r->passed += !fails;
        } else {
                r->skipped++;
        }
        free(f);
}

static bool
parse_options(struct run *r, int argc, char **argv)
{
        int c;

        while ((c = getopt(argc, argv, "s:n:t:m:o:a:b:f:1CNFlSLMR")) >= 0) {
                switch (c) {
                case 's':
                        r->seed = strtoull(optarg, NULL, 0);
                        break;
                case 'n':
                        r->count = strtoul(optarg, NULL, 0);
                        break;
                case 't':
                        r->seconds = (unsigned)strtoul(optarg, NULL, 0);
                        break;
                case 'm':
                        r->options.max_insns = (unsigned)strtoul(optarg, NULL, 0);
                        break;
                case 'o':
                        r->options.only = optarg;
                        break;
                case 'a':
                        r->options.avoid = optarg;
                        break;
                case 'b':
                        r->options.only32 = strcmp(optarg, "32") == 0;
                        r->options.only64 = !r->options.only32;
                        break;
                case 'f':
                        r->max_failures = strtoul(optarg, NULL, 0);
                        break;
                case '1':
                        r->one = true;
                        break;
                case 'S':
                        r->step = r->options.stepped = true;
                        break;
                case 'L':
                        r->large = true;
                        break;
                case 'M':
                        r->moves = true;
                        break;
                case 'R':
                        r->mirrors = true;
                        break;
                case 'l':
                        r->list = true;
                        break;
                case 'F':
                        r->options.all_flags = true;
                        break;
                case 'C':
                        diff_print_classes(stdout);
                        fprintf(stdout, "\n");
                        diff_vendor_print(stdout);
                        exit(0);
                case 'N':
                        r->self = true;
                        break;
                default:
                        return false;
                }
        }
        return optind == argc && r->options.max_insns > 0 && r->options.max_insns <= DIFF_INSNS_MAX - 4;
}

static void
print_unused(void *ctx, const char *name, bool compat)
{
        printf("not used%s: %s\n", compat ? " in compatibility mode" : "", name);
}

static void
print_totals(const struct run *r)
{
        if (r->list)
                diff_gen_unused(r->gen, print_unused, NULL);
        for (unsigned i = 0; i < 256; i++)
                if (r->vectors[i])
                        printf("ended by vector %u: %lu\n", i, r->vectors[i]);
        printf("%lu not judged (no end in time, system calls)\n", r->skipped);
        printf("%lu passed, %lu failed\n", r->passed, r->failed);
}

/* What the engine is to do without. */
static const char *
disable_of(const struct run *r)
{
        static const char *const names[2][2] = { { NULL, "tlb" }, { "fixed", "fixed,tlb" } };

        return names[r->moves][r->mirrors];
}

int
main(int argc, char **argv)
{
        struct run r = { .seed = (uint64_t)time(NULL) * 1000003, .count = ~0ul, .seconds = 20, .max_failures = 5,
                .options.max_insns = 20 };

        if (!parse_options(&r, argc, argv)) {
                fprintf(stderr, "usage: fuzz_cpu [-1NFlSLMR] [-s seed] [-n count] [-t seconds] [-m insns] [-o name] [-a names] [-b 32|64] [-f failures]\n");
                return 2;
        }
        printf("seed %lu\n", r.seed);
        fflush(stdout);
        r.theirs = malloc(sizeof(*r.theirs));
        if (!r.theirs || diff_native_create(BATCH, &r.native) || diff_guest_create(disable_of(&r), &r.guest)) {
                fprintf(stderr, "fuzz_cpu: cannot set up the two sides\n");
                return 2;
        }
        r.options.amd = x86_host_is_amd();
        r.options.features = (diff_guest_features(r.guest) & x86_host_features()) | 1ull << X86_F_PREFETCH_REG; /* or refused by both */
        if (diff_gen_create(&r.options, &r.gen))
                return 2;
        if (r.large)
                diff_guest_large_page(r.guest);
        if (r.step)
                diff_guest_step(r.guest);
        if (r.one)
                run_one(&r);
        else if (r.self)
                run_self(&r);
        else
                run_all(&r);
        print_totals(&r);
        diff_gen_destroy(r.gen);
        diff_native_destroy(r.native);
        diff_guest_destroy(r.guest);
        free(r.theirs);
        return r.failed != 0;
}
