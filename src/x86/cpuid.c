/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Building the CPUID leaves.  SDM 2A, CPUID; APM 3 appendix E.
 *
 * The identity is one that kernels know as free of the flaws that cost time to
 * work around: a recent family-6 model, and IA32_ARCH_CAPABILITIES to say so.
 */
#include "x86/cpuid.h"

#include "base/util.h"
#include "x86/decode.h"
#include "x86/paging.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MODEL_LEAVES_MAX 48

#define MAX_BASIC      0x1fu
#define MAX_EXTENDED   0x80000008u
#define MAX_HYPERVISOR 0x40000010u

#define LINEAR_BITS 48u

#define XSAVE_LEGACY_BYTES 576u
#define XSAVE_AVX_BYTES    256u
#define XSAVE_PKRU_BYTES   8u
#define XCR0_BASE 0x3ull
#define XCR0_AVX  0x4ull
#define XCR0_PKRU 0x200ull

/* The feature words of CPUID that the table below fills. */
enum word {
        W_1_ECX,
        W_1_EDX,
        W_7_EBX,
        W_7_ECX,
        W_7_EDX,
        W_7_1_EAX,
        W_D_1_EAX,
        W_80000001_ECX,
        W_80000001_EDX,
        W_80000007_EDX,
        W_80000008_EBX,
        W_COUNT,
};

/* Who must offer it. */
enum source {
        HOST,   /* the host's processor: guest instructions run on it */
        ENGINE, /* done by the engine, on any host */
        OFF,    /* done by the engine, yet offered only when asked for */
};

/* The lowest baseline that has it. */
enum level {
        L_V1 = 1,
        L_V2,
        L_V3,
        L_MAX,
};

struct feature {
        const char *name;
        uint8_t word;
        uint8_t bit;
        uint8_t source;
        uint8_t level;
        uint8_t insn; /* enum x86_feature, 0 if no instruction depends on it */
        const char *needs;
};

static const struct feature feature_table[] = {
        { "fpu", W_1_EDX, 0, ENGINE, L_V1, X86_F_FPU, NULL },
        { "vme", W_1_EDX, 1, ENGINE, L_V1, 0, NULL },
        { "de", W_1_EDX, 2, ENGINE, L_V1, 0, NULL },
        { "pse", W_1_EDX, 3, ENGINE, L_V1, 0, NULL },
        { "tsc", W_1_EDX, 4, ENGINE, L_V1, 0, NULL },
        { "msr", W_1_EDX, 5, ENGINE, L_V1, 0, NULL },
        { "pae", W_1_EDX, 6, ENGINE, L_V1, 0, NULL },
        { "mce", W_1_EDX, 7, ENGINE, L_V1, 0, NULL },
        { "cx8", W_1_EDX, 8, ENGINE, L_V1, 0, NULL },
        { "apic", W_1_EDX, 9, ENGINE, L_V1, 0, NULL },
        { "sep", W_1_EDX, 11, ENGINE, L_V1, X86_F_SYSENTER, NULL },
        { "mtrr", W_1_EDX, 12, ENGINE, L_V1, 0, NULL },
        { "pge", W_1_EDX, 13, ENGINE, L_V1, 0, NULL },
        { "mca", W_1_EDX, 14, ENGINE, L_V1, 0, NULL },
        { "cmov", W_1_EDX, 15, ENGINE, L_V1, X86_F_CMOV, NULL },
        { "pat", W_1_EDX, 16, ENGINE, L_V1, 0, NULL },
        { "pse36", W_1_EDX, 17, ENGINE, L_V1, 0, NULL },
        { "clflush", W_1_EDX, 19, ENGINE, L_V1, X86_F_CLFLUSH, NULL },
        { "mmx", W_1_EDX, 23, HOST, L_V1, X86_F_MMX, "fpu" },
        { "fxsr", W_1_EDX, 24, HOST, L_V1, 0, "fpu" },
        { "sse", W_1_EDX, 25, HOST, L_V1, X86_F_SSE, "fxsr" },
        { "sse2", W_1_EDX, 26, HOST, L_V1, X86_F_SSE2, "sse" },
        { "pni", W_1_ECX, 0, HOST, L_V2, X86_F_SSE3, "sse2" },
        { "pclmulqdq", W_1_ECX, 1, HOST, L_MAX, X86_F_PCLMUL, "sse2" },
        { "monitor", W_1_ECX, 3, OFF, L_MAX, X86_F_MONITOR, NULL },
        { "ssse3", W_1_ECX, 9, HOST, L_V2, X86_F_SSSE3, "pni" },
        { "fma", W_1_ECX, 12, HOST, L_V3, X86_F_FMA, "avx" },
        { "cx16", W_1_ECX, 13, HOST, L_V2, X86_F_CX16, NULL },
        { "pcid", W_1_ECX, 17, ENGINE, L_V1, 0, NULL },
        { "sse4_1", W_1_ECX, 19, HOST, L_V2, X86_F_SSE41, "ssse3" },
        { "sse4_2", W_1_ECX, 20, HOST, L_V2, X86_F_SSE42, "sse4_1" },
        { "x2apic", W_1_ECX, 21, ENGINE, L_V1, 0, "apic" },
        { "movbe", W_1_ECX, 22, HOST, L_V3, X86_F_MOVBE, NULL },
        { "popcnt", W_1_ECX, 23, HOST, L_V2, X86_F_POPCNT, NULL },
        { "tsc_deadline_timer", W_1_ECX, 24, ENGINE, L_V1, 0, "apic" },
        { "aes", W_1_ECX, 25, HOST, L_MAX, X86_F_AES, "sse2" },
        { "xsave", W_1_ECX, 26, HOST, L_V3, X86_F_XSAVE, "fxsr" },
        { "avx", W_1_ECX, 28, HOST, L_V3, X86_F_AVX, "xsave" },
        { "f16c", W_1_ECX, 29, HOST, L_V3, X86_F_F16C, "avx" },
        { "rdrand", W_1_ECX, 30, HOST, L_MAX, X86_F_RDRAND, NULL },
        { "hypervisor", W_1_ECX, 31, ENGINE, L_V1, 0, NULL },
        { "fsgsbase", W_7_EBX, 0, ENGINE, L_V1, X86_F_FSGSBASE, NULL },
        { "tsc_adjust", W_7_EBX, 1, ENGINE, L_V1, 0, "tsc" },
        { "bmi1", W_7_EBX, 3, HOST, L_V3, X86_F_BMI1, "avx" },
        { "avx2", W_7_EBX, 5, HOST, L_V3, X86_F_AVX2, "avx" },
        { "smep", W_7_EBX, 7, ENGINE, L_V1, 0, NULL },
        { "bmi2", W_7_EBX, 8, HOST, L_V3, X86_F_BMI2, "avx" },
        { "erms", W_7_EBX, 9, ENGINE, L_V1, 0, NULL },
        { "invpcid", W_7_EBX, 10, ENGINE, L_V1, X86_F_INVPCID, NULL },
        { "rdseed", W_7_EBX, 18, HOST, L_MAX, X86_F_RDSEED, NULL },
        { "adx", W_7_EBX, 19, HOST, L_MAX, X86_F_ADX, NULL },
        { "smap", W_7_EBX, 20, ENGINE, L_V1, X86_F_SMAP, NULL },
        { "clflushopt", W_7_EBX, 23, ENGINE, L_MAX, X86_F_CLFLUSHOPT, NULL },
        { "clwb", W_7_EBX, 24, ENGINE, L_MAX, X86_F_CLWB, NULL },
        { "sha_ni", W_7_EBX, 29, HOST, L_MAX, X86_F_SHA, "sse2" },
        { "umip", W_7_ECX, 2, ENGINE, L_V1, 0, NULL },
        { "pku", W_7_ECX, 3, ENGINE, L_MAX, X86_F_PKU, "xsave" },
        { "gfni", W_7_ECX, 8, HOST, L_MAX, X86_F_GFNI, "sse2" },
        { "vaes", W_7_ECX, 9, HOST, L_MAX, X86_F_VAES, "avx" },
        { "vpclmulqdq", W_7_ECX, 10, HOST, L_MAX, X86_F_VPCLMUL, "avx" },
        { "la57", W_7_ECX, 16, OFF, L_MAX, 0, NULL },
        { "rdpid", W_7_ECX, 22, ENGINE, L_V1, X86_F_RDPID, NULL },
        { "movdiri", W_7_ECX, 27, HOST, L_MAX, X86_F_MOVDIRI, NULL },
        { "movdir64b", W_7_ECX, 28, ENGINE, L_MAX, X86_F_MOVDIR64B, NULL },
        { "pks", W_7_ECX, 31, ENGINE, L_MAX, 0, NULL },
        { "fsrm", W_7_EDX, 4, ENGINE, L_V1, 0, NULL },
        { "serialize", W_7_EDX, 14, HOST, L_MAX, X86_F_SERIALIZE, NULL },
        { "spec_ctrl", W_7_EDX, 26, ENGINE, L_V1, 0, NULL },
        { "intel_stibp", W_7_EDX, 27, ENGINE, L_V1, 0, "spec_ctrl" },
        { "arch_capabilities", W_7_EDX, 29, ENGINE, L_V1, 0, NULL },
        { "spec_ctrl_ssbd", W_7_EDX, 31, OFF, L_MAX, 0, "spec_ctrl" },
        { "xsaveopt", W_D_1_EAX, 0, HOST, L_MAX, X86_F_XSAVEOPT, "xsave" },
        { "xsavec", W_D_1_EAX, 1, HOST, L_MAX, X86_F_XSAVEC, "xsave" },
        { "xgetbv1", W_D_1_EAX, 2, HOST, L_MAX, 0, "xsave" },
        /* Done with the host's XSAVEC, as no supervisor state is offered. */
        { "xsaves", W_D_1_EAX, 3, ENGINE, L_MAX, X86_F_XSAVES, "xsavec" },
        { "lahf_lm", W_80000001_ECX, 0, HOST, L_V2, X86_F_LAHF64, NULL },
        { "abm", W_80000001_ECX, 5, HOST, L_V3, X86_F_LZCNT, NULL },
        { "3dnowprefetch", W_80000001_ECX, 8, ENGINE, L_V1, X86_F_PREFETCHW, NULL },
        { "syscall", W_80000001_EDX, 11, ENGINE, L_V1, X86_F_SYSCALL, NULL },
        { "nx", W_80000001_EDX, 20, ENGINE, L_V1, 0, NULL },
        { "pdpe1gb", W_80000001_EDX, 26, ENGINE, L_V1, 0, NULL },
        { "rdtscp", W_80000001_EDX, 27, ENGINE, L_V1, X86_F_RDTSCP, NULL },
        { "lm", W_80000001_EDX, 29, ENGINE, L_V1, 0, NULL },
        { "constant_tsc", W_80000007_EDX, 8, ENGINE, L_V1, 0, "tsc" },
};

struct x86_cpu_model {
        struct x86_cpuid_leaf leaf[MODEL_LEAVES_MAX];
        unsigned leaf_count;
        uint32_t word[W_COUNT];
        uint64_t features;
        unsigned msr_features;
        uint64_t cr4, efer, xcr0;
        bool amd;
        uint64_t tsc_hz;
        uint64_t lapic_hz;
        unsigned sockets, cores, threads;
        char vendor[13];
        char brand[49];
        unsigned family, model, stepping;
};

/* ---- the host ---- */

static struct x86_cpuid
host_cpuid(uint32_t leaf, uint32_t subleaf)
{
        struct x86_cpuid r;

        __asm__ volatile("cpuid"
                         : "=a"(r.eax), "=b"(r.ebx), "=c"(r.ecx), "=d"(r.edx)
                         : "a"(leaf), "c"(subleaf));
        return r;
}

uint64_t
x86_host_xcr0(void)
{
        uint32_t lo, hi;

        if (!(host_cpuid(1, 0).ecx & (1u << 27)))
                return 0;
        __asm__ volatile("xgetbv" : "=a"(lo), "=d"(hi) : "c"(0));
        return (uint64_t)hi << 32 | lo;
}

static void
host_words(uint32_t word[W_COUNT])
{
        struct x86_cpuid r = host_cpuid(1, 0);
        uint32_t basic = host_cpuid(0, 0).eax;

        memset(word, 0, W_COUNT * sizeof(word[0]));
        word[W_1_ECX] = r.ecx;
        word[W_1_EDX] = r.edx;
        if (basic >= 7) {
                r = host_cpuid(7, 0);
                word[W_7_EBX] = r.ebx;
                word[W_7_ECX] = r.ecx;
                word[W_7_EDX] = r.edx;
        }
        if (basic >= 0xd)
                word[W_D_1_EAX] = host_cpuid(0xd, 1).eax;
        r = host_cpuid(0x80000001, 0);
        word[W_80000001_ECX] = r.ecx;
        word[W_80000001_EDX] = r.edx;
        /* What the host's system does not switch on cannot run either. */
        if (!(x86_host_xcr0() & 2))
                word[W_1_ECX] &= ~(1u << 26);
        if ((x86_host_xcr0() & 6) != 6)
                word[W_1_ECX] &= ~(1u << 28);
}

/* ---- features ---- */

static const struct feature *
feature_find(const char *name, size_t len)
{
        for (unsigned i = 0; i < ARRAY_LEN(feature_table); i++)
                if (strlen(feature_table[i].name) == len && memcmp(feature_table[i].name, name, len) == 0)
                        return &feature_table[i];
        return NULL;
}

static bool
feature_on(const struct x86_cpu_model *m, const struct feature *f)
{
        return m->word[f->word] >> f->bit & 1;
}

static bool
model_has(const struct x86_cpu_model *m, const char *name)
{
        return feature_on(m, feature_find(name, strlen(name)));
}

static void
feature_set(struct x86_cpu_model *m, const struct feature *f, bool on)
{
        if (on)
                m->word[f->word] |= 1u << f->bit;
        else
                m->word[f->word] &= ~(1u << f->bit);
}

static void
features_of_level(struct x86_cpu_model *m, const uint32_t host[W_COUNT], enum level level)
{
        memset(m->word, 0, sizeof(m->word));
        for (unsigned i = 0; i < ARRAY_LEN(feature_table); i++) {
                const struct feature *f = &feature_table[i];

                if (f->level > level || f->source == OFF)
                        continue;
                if (f->source == HOST && !(host[f->word] >> f->bit & 1))
                        continue;
                feature_set(m, f, true);
        }
}

/* Switches off what needs something that is off, until nothing changes. */
static void
features_settle(struct x86_cpu_model *m)
{
        bool changed;

        do {
                changed = false;
                for (unsigned i = 0; i < ARRAY_LEN(feature_table); i++) {
                        const struct feature *f = &feature_table[i];

                        if (f->needs != NULL && feature_on(m, f) && !model_has(m, f->needs)) {
                                feature_set(m, f, false);
                                changed = true;
                        }
                }
        } while (changed);
}

/* ---- the specification string ---- */

struct spec {
        struct x86_cpu_model *model;
        uint32_t host[W_COUNT];
        char *why;
        size_t why_size;
};

static int
spec_error(const struct spec *s, const char *what, const char *text, size_t len)
{
        snprintf(s->why, s->why_size, "%s '%.*s'", what, (int)len, text);
        return -EINVAL;
}

static int
spec_feature(const struct spec *s, const char *text, size_t len, bool on)
{
        const struct feature *f = feature_find(text, len);

        if (f == NULL)
                return spec_error(s, "unknown CPU feature", text, len);
        if (on && f->source == HOST && !(s->host[f->word] >> f->bit & 1))
                return spec_error(s, "this host's processor lacks", text, len);
        feature_set(s->model, f, on);
        return 0;
}

static int
spec_vendor(const struct spec *s, const char *text, size_t len)
{
        if (len == 5 && memcmp(text, "intel", 5) == 0)
                text = "GenuineIntel";
        else if (len == 3 && memcmp(text, "amd", 3) == 0)
                text = "AuthenticAMD";
        else if (len != 12)
                return spec_error(s, "a CPU vendor has 12 characters, not", text, len);
        memcpy(s->model->vendor, text, 12);
        return 0;
}

static int
spec_number(const struct spec *s, const char *text, size_t len, unsigned max, unsigned *ret)
{
        char buf[16], *end;
        unsigned long value;

        if (len == 0 || len >= sizeof(buf))
                return spec_error(s, "not a number:", text, len);
        memcpy(buf, text, len);
        buf[len] = '\0';
        errno = 0;
        value = strtoul(buf, &end, 0);
        if (*end != '\0' || errno != 0 || value > max || buf[0] == '-')
                return spec_error(s, "number out of range:", text, len);
        *ret = (unsigned)value;
        return 0;
}

static int
spec_assignment(const struct spec *s, const char *text, size_t len, const char *value)
{
        struct x86_cpu_model *m = s->model;
        size_t key_len = (size_t)(value - text) - 1, value_len = len - key_len - 1;

        if (key_len == 6 && memcmp(text, "vendor", 6) == 0)
                return spec_vendor(s, value, value_len);
        if (key_len == 6 && memcmp(text, "family", 6) == 0)
                return spec_number(s, value, value_len, 0xff + 0xf, &m->family);
        if (key_len == 5 && memcmp(text, "model", 5) == 0)
                return spec_number(s, value, value_len, 0xff, &m->model);
        if (key_len == 8 && memcmp(text, "stepping", 8) == 0)
                return spec_number(s, value, value_len, 0xf, &m->stepping);
        if (key_len == 4 && memcmp(text, "name", 4) == 0 && value_len < sizeof(m->brand)) {
                memcpy(m->brand, value, value_len);
                m->brand[value_len] = '\0';
                return 0;
        }
        return spec_error(s, "unknown CPU model setting", text, len);
}

static int
spec_baseline(const struct spec *s, const char *text, size_t len)
{
        static const struct {
                const char *name;
                enum level level;
        } baselines[] = {
                { "max", L_MAX },
                { "host", L_MAX },
                { "x86-64", L_V1 },
                { "x86-64-v2", L_V2 },
                { "x86-64-v3", L_V3 },
        };

        for (unsigned i = 0; i < ARRAY_LEN(baselines); i++) {
                if (strlen(baselines[i].name) == len && memcmp(baselines[i].name, text, len) == 0) {
                        features_of_level(s->model, s->host, baselines[i].level);
                        return 0;
                }
        }
        return spec_error(s, "unknown CPU model", text, len);
}

static int
spec_word(const struct spec *s, const char *text, size_t len, bool first)
{
        const char *equals = memchr(text, '=', len);

        if (len > 1 && (text[0] == '+' || text[0] == '-'))
                return spec_feature(s, text + 1, len - 1, text[0] == '+');
        if (equals != NULL)
                return spec_assignment(s, text, len, equals + 1);
        if (first)
                return spec_baseline(s, text, len);
        return spec_error(s, "expected +FEATURE, -FEATURE or KEY=VALUE, not", text, len);
}

static int
spec_parse(struct spec *s, const char *text)
{
        bool first = true;

        features_of_level(s->model, s->host, L_MAX);
        while (*text != '\0') {
                size_t len = strcspn(text, ",");
                int error = spec_word(s, text, len, first);

                if (error != 0)
                        return error;
                first = false;
                text += len;
                if (*text == ',')
                        text++;
        }
        return 0;
}

/* ---- leaves ---- */

static struct x86_cpuid *
leaf_add(struct x86_cpu_model *m, uint32_t leaf, uint32_t subleaf, bool indexed)
{
        struct x86_cpuid_leaf *l = &m->leaf[m->leaf_count++];

        *l = (struct x86_cpuid_leaf){ .leaf = leaf, .subleaf = subleaf, .indexed = indexed };
        return &l->value;
}

static void
leaf_set(struct x86_cpu_model *m, uint32_t leaf, uint32_t eax, uint32_t ebx, uint32_t ecx, uint32_t edx)
{
        *leaf_add(m, leaf, 0, false) = (struct x86_cpuid){ eax, ebx, ecx, edx };
}

static void
leaf_set_sub(struct x86_cpu_model *m, uint32_t leaf, uint32_t subleaf, uint32_t eax, uint32_t ebx, uint32_t ecx,
    uint32_t edx)
{
        *leaf_add(m, leaf, subleaf, true) = (struct x86_cpuid){ eax, ebx, ecx, edx };
}

static uint32_t
name_word(const char *name)
{
        uint32_t w;

        memcpy(&w, name, sizeof(w));
        return w;
}

/* Bits to number @count things. */
static unsigned
width(unsigned count)
{
        unsigned bits = 0;

        while ((1u << bits) < count)
                bits++;
        return bits;
}

static uint32_t
signature(const struct x86_cpu_model *m)
{
        unsigned base = m->family < 0xf ? m->family : 0xf;

        return m->stepping | (m->model & 0xf) << 4 | base << 8 | (m->model >> 4) << 16 | (m->family - base) << 20;
}

static void
leaves_identity(struct x86_cpu_model *m)
{
        unsigned logical = m->cores * m->threads;

        leaf_set(m, 0, MAX_BASIC, name_word(m->vendor), name_word(m->vendor + 8), name_word(m->vendor + 4));
        leaf_set(m, 1, signature(m), (logical > 128 ? 255 : 1u << width(logical)) << 16 | 8u << 8,
            m->word[W_1_ECX], m->word[W_1_EDX] | (logical > 1 ? 1u << 28 : 0));
        leaf_set(m, 2, 0x00feff01, 0, 0, 0xf0);
        leaf_set(m, 6, 1u << 2 /* ARAT */, 0, 0, 0);
        leaf_set_sub(m, 7, 0, 2, m->word[W_7_EBX], m->word[W_7_ECX], m->word[W_7_EDX]);
        /* BHI_CTRL: kernels then set a bit in SPEC_CTRL once, instead of clearing history at every entry. */
        leaf_set_sub(m, 7, 2, 0, 0, 0, model_has(m, "spec_ctrl") ? 1u << 4 : 0);
        leaf_set_sub(m, 7, 1, m->word[W_7_1_EAX], 0, 0, 0);
}

/* One cache of leaf 4: @ways of 64-byte lines, shared by 1 << @share_bits logical processors. */
static void
leaf_cache(struct x86_cpu_model *m, uint32_t subleaf, uint32_t type, uint32_t level, unsigned share_bits,
    uint32_t ways, uint32_t sets)
{
        uint32_t cores = (1u << width(m->cores)) - 1;

        leaf_set_sub(m, 4, subleaf,
            type | level << 5 | 1u << 8 | ((1u << share_bits) - 1) << 14 | (cores > 63 ? 63 : cores) << 26,
            (ways - 1) << 22 | 63, sets - 1, 0);
}

static void
leaves_topology(struct x86_cpu_model *m)
{
        unsigned smt = width(m->threads), package = width(m->cores * m->threads);
        static const uint32_t leaves[] = { 0xb, 0x1f };

        leaf_cache(m, 0, 1, 1, smt, 8, 64);
        leaf_cache(m, 1, 2, 1, smt, 8, 64);
        leaf_cache(m, 2, 3, 2, smt, 16, 1024);
        leaf_cache(m, 3, 3, 3, package, 16, 16384);
        for (unsigned i = 0; i < ARRAY_LEN(leaves); i++) {
                leaf_set_sub(m, leaves[i], 0, smt, m->threads, 1u << 8, 0);
                leaf_set_sub(m, leaves[i], 1, package, m->cores * m->threads, 2u << 8 | 1, 0);
        }
}

uint32_t
x86_xsave_bytes(uint64_t xcr0)
{
        if (xcr0 & XCR0_PKRU)
                return X86_XSAVE_PKRU + XSAVE_PKRU_BYTES;
        return xcr0 & XCR0_AVX ? XSAVE_LEGACY_BYTES + XSAVE_AVX_BYTES : XSAVE_LEGACY_BYTES;
}

uint32_t
x86_xsavec_bytes(uint64_t xcr0)
{
        return XSAVE_LEGACY_BYTES + (xcr0 & XCR0_AVX ? XSAVE_AVX_BYTES : 0) +
            (xcr0 & XCR0_PKRU ? XSAVE_PKRU_BYTES : 0);
}

static void
leaves_xsave(struct x86_cpu_model *m)
{
        if (!model_has(m, "xsave"))
                return;
        leaf_set_sub(m, 0xd, 0, (uint32_t)m->xcr0, x86_xsave_bytes(m->xcr0), x86_xsave_bytes(m->xcr0), 0);
        leaf_set_sub(m, 0xd, 1, m->word[W_D_1_EAX],
            m->word[W_D_1_EAX] & 0xa ? x86_xsavec_bytes(m->xcr0) : 0, 0, 0);
        if (m->xcr0 & XCR0_AVX)
                leaf_set_sub(m, 0xd, 2, XSAVE_AVX_BYTES, XSAVE_LEGACY_BYTES, 0, 0);
        if (m->xcr0 & XCR0_PKRU)
                leaf_set_sub(m, 0xd, 9, XSAVE_PKRU_BYTES, X86_XSAVE_PKRU, 0, 0);
}

/*
 * The fraction closest to @value / @unit whose numerator times @unit in kHz still fits 32 bits:
 * kernels compute with that many.  Continued fractions; off by less than 1 ppm.
 */
static void
best_fraction(uint64_t value, uint64_t unit, uint32_t *ret_num, uint32_t *ret_den)
{
        uint64_t limit = 0xffffffffull / (unit / 1000 != 0 ? unit / 1000 : 1);
        uint64_t n0 = 0, n1 = 1, d0 = 1, d1 = 0, a = value, b = unit;

        while (b != 0) {
                uint64_t q = a / b, n2 = q * n1 + n0, d2 = q * d1 + d0, r = a % b;

                if (n2 > limit || d2 > 0xffffffffull) {
                        /* The last step as far as it goes, if that is nearer than none of it. */
                        uint64_t k = (limit - n0) / n1;

                        if (2 * k > q) {
                                n1 = k * n1 + n0;
                                d1 = k * d1 + d0;
                        }
                        break;
                }
                n0 = n1;
                n1 = n2;
                d0 = d1;
                d1 = d2;
                a = b;
                b = r;
        }
        *ret_num = (uint32_t)n1;
        *ret_den = (uint32_t)d1;
}

/* The crystal clock of leaf 0x15 is what Linux takes for the local APIC timer's, so it is that. */
static void
leaves_clock(struct x86_cpu_model *m)
{
        uint32_t num, den, mhz = (uint32_t)((m->tsc_hz + 500000) / 1000000);

        best_fraction(m->tsc_hz, m->lapic_hz, &num, &den);
        leaf_set(m, 0x15, den, num, (uint32_t)m->lapic_hz, 0);
        leaf_set(m, 0x16, mhz, mhz, 100, 0);
}

static void
leaves_hypervisor(struct x86_cpu_model *m)
{
        static const char name[] = "bhyve bhyve ";

        if (!model_has(m, "hypervisor"))
                return;
        leaf_set(m, 0x40000000, MAX_HYPERVISOR, name_word(name), name_word(name + 4), name_word(name + 8));
        leaf_set(m, 0x40000010, (uint32_t)(m->tsc_hz / 1000), (uint32_t)(m->lapic_hz / 1000), 0, 0);
}

static void
leaves_extended(struct x86_cpu_model *m)
{
        char brand[48] = { 0 };

        memcpy(brand, m->brand, strnlen(m->brand, 47));
        leaf_set(m, 0x80000000, MAX_EXTENDED, 0, 0, 0);
        if (m->amd) {
                m->leaf[m->leaf_count - 1].value.ebx = name_word(m->vendor);
                m->leaf[m->leaf_count - 1].value.ecx = name_word(m->vendor + 8);
                m->leaf[m->leaf_count - 1].value.edx = name_word(m->vendor + 4);
        }
        leaf_set(m, 0x80000001, m->amd ? signature(m) : 0, 0, m->word[W_80000001_ECX],
            m->word[W_80000001_EDX] | (m->amd ? m->word[W_1_EDX] & 0x0183f3ffu : 0));
        for (unsigned i = 0; i < 3; i++)
                leaf_set(m, 0x80000002 + i, name_word(brand + i * 16), name_word(brand + i * 16 + 4),
                    name_word(brand + i * 16 + 8), name_word(brand + i * 16 + 12));
        leaf_set(m, 0x80000006, 0, 0, 1024u << 16 | 8u << 12 | 64, 0);
        leaf_set(m, 0x80000007, 0, 0, 0, m->word[W_80000007_EDX]);
        leaf_set(m, 0x80000008, LINEAR_BITS << 8 | X86_PHYS_BITS, m->word[W_80000008_EBX],
            m->amd ? width(m->cores * m->threads) << 12 | (m->cores * m->threads - 1) : 0, 0);
        if (model_has(m, "la57"))
                m->leaf[m->leaf_count - 1].value.eax = 57u << 8 | X86_PHYS_BITS;
}

/* ---- what follows from the features ---- */

static bool
is_amd(const char *vendor)
{
        return memcmp(vendor, "AuthenticAMD", 12) == 0 || memcmp(vendor, "HygonGenuine", 12) == 0;
}

static void
derive_registers(struct x86_cpu_model *m)
{
        static const struct {
                const char *name;
                uint64_t cr4;
        } bits[] = {
                { "vme", X86_CR4_VME | X86_CR4_PVI },
                { "tsc", X86_CR4_TSD },
                { "de", X86_CR4_DE },
                { "pse", X86_CR4_PSE },
                { "pae", X86_CR4_PAE },
                { "mce", X86_CR4_MCE },
                { "pge", X86_CR4_PGE },
                { "fxsr", X86_CR4_OSFXSR },
                { "sse", X86_CR4_OSXMMEXCPT },
                { "umip", X86_CR4_UMIP },
                { "la57", X86_CR4_LA57 },
                { "fsgsbase", X86_CR4_FSGSBASE },
                { "pcid", X86_CR4_PCIDE },
                { "xsave", X86_CR4_OSXSAVE },
                { "smep", X86_CR4_SMEP },
                { "smap", X86_CR4_SMAP },
                { "pku", X86_CR4_PKE },
                { "pks", X86_CR4_PKS },
        };

        m->cr4 = X86_CR4_PCE;
        for (unsigned i = 0; i < ARRAY_LEN(bits); i++)
                if (model_has(m, bits[i].name))
                        m->cr4 |= bits[i].cr4;
        m->efer = (model_has(m, "syscall") ? X86_EFER_SCE : 0) | (model_has(m, "nx") ? X86_EFER_NXE : 0) |
            (model_has(m, "lm") ? X86_EFER_LME | X86_EFER_LMA : 0);
        m->xcr0 = !model_has(m, "xsave") ? 1 :
            XCR0_BASE | (model_has(m, "avx") ? XCR0_AVX : 0) | (model_has(m, "pku") ? XCR0_PKRU : 0);
}

/* SDM 2D A.3 has PREFETCHW's register forms as no operation; APM 3, PREFETCH: #UD. */
static uint64_t
features_of_vendor(bool amd)
{
        return 1ull << X86_F_BASE | (amd ? 0 : 1ull << X86_F_PREFETCH_REG);
}

static void
derive_features(struct x86_cpu_model *m)
{
        static const struct {
                const char *name;
                unsigned bit;
        } msrs[] = {
                { "spec_ctrl", X86_MF_SPEC_CTRL },
                { "arch_capabilities", X86_MF_ARCH_CAPABILITIES },
                { "rdtscp", X86_MF_RDTSCP },
                { "xsaves", X86_MF_XSAVES },
                { "pks", X86_MF_PKS },
                { "mtrr", X86_MF_MTRR },
                { "sep", X86_MF_SEP },
                { "mca", X86_MF_MCE },
                { "tsc_adjust", X86_MF_TSC_ADJUST },
                { "spec_ctrl_ssbd", X86_MF_SSBD },
                { "intel_stibp", X86_MF_STIBP },
        };

        m->features = features_of_vendor(m->amd);
        for (unsigned i = 0; i < ARRAY_LEN(feature_table); i++)
                if (feature_table[i].insn != 0 && feature_on(m, &feature_table[i]))
                        m->features |= 1ull << feature_table[i].insn;
        for (unsigned i = 0; i < ARRAY_LEN(msrs); i++)
                if (model_has(m, msrs[i].name))
                        m->msr_features |= msrs[i].bit;
        if (model_has(m, "rdpid"))
                m->msr_features |= X86_MF_RDTSCP;
}

static void
model_build(struct x86_cpu_model *m)
{
        m->amd = is_amd(m->vendor);
        if (m->family == 0) {
                m->family = m->amd ? 0x19 : 6;
                m->model = m->amd ? 0x11 : 0x8f;
                m->stepping = m->amd ? 1 : 8;
        }
        if (m->amd) {
                feature_set(m, feature_find("arch_capabilities", 17), false);
                /* 0x80000008 EBX: LFENCE and others need no work-around, AMD_SSB_NO. */
                m->word[W_80000008_EBX] = 1u << 26;
        }
        features_settle(m);
        derive_registers(m);
        derive_features(m);
        leaves_identity(m);
        leaves_topology(m);
        leaves_xsave(m);
        leaves_clock(m);
        leaves_hypervisor(m);
        leaves_extended(m);
}

int
x86_model_create(const struct x86_model_config *config, struct x86_cpu_model **ret_model, char *why,
    size_t why_size)
{
        struct x86_cpu_model *m = calloc(1, sizeof(*m));
        struct spec spec = { .model = m, .why = why, .why_size = why_size };
        uint64_t ten_mhz;
        int error;

        if (m == NULL)
                return -ENOMEM;
        m->sockets = config->sockets != 0 ? config->sockets : 1;
        m->cores = config->cores != 0 ? config->cores : 1;
        m->threads = config->threads != 0 ? config->threads : 1;
        m->tsc_hz = config->tsc_hz;
        m->lapic_hz = config->lapic_hz != 0 ? config->lapic_hz : 1000000000;
        memcpy(m->vendor, "GenuineIntel", 13);
        ten_mhz = (m->tsc_hz + 5000000) / 10000000; /* rounded: it was measured, and is never quite the same */
        snprintf(m->brand, sizeof(m->brand), "bhyve virtual processor @ %u.%02uGHz", (unsigned)(ten_mhz / 100), (unsigned)(ten_mhz % 100));
        host_words(spec.host);
        error = spec_parse(&spec, config->spec != NULL ? config->spec : "max");
        if (error != 0) {
                free(m);
                return error;
        }
        if (!config->x2apic)
                feature_set(m, feature_find("x2apic", 6), false);
        model_build(m);
        *ret_model = m;
        return 0;
}

void
x86_model_destroy(struct x86_cpu_model *model)
{
        free(model);
}

/* ---- asking ---- */

static const struct x86_cpuid_leaf *
leaf_find(const struct x86_cpu_model *m, uint32_t leaf, uint32_t subleaf)
{
        for (unsigned i = 0; i < m->leaf_count; i++) {
                const struct x86_cpuid_leaf *l = &m->leaf[i];

                if (l->leaf == leaf && (!l->indexed || l->subleaf == subleaf))
                        return l;
        }
        return NULL;
}

/* Above the highest leaf, the data of the highest basic leaf is returned: SDM 2A. */
static uint32_t
leaf_clamp(const struct x86_cpu_model *m, uint32_t leaf)
{
        if (leaf <= MAX_BASIC || (leaf >= 0x80000000 && leaf <= MAX_EXTENDED))
                return leaf;
        if (leaf >= 0x40000000 && leaf <= MAX_HYPERVISOR && (m->word[W_1_ECX] >> 31))
                return leaf;
        return MAX_BASIC;
}

static void
apply_state(const struct x86_cpu_model *m, const struct x86_state *st, unsigned vcpu_id, uint32_t leaf,
    uint32_t subleaf, struct x86_cpuid *r)
{
        switch (leaf) {
        case 1:
                r->ebx |= vcpu_id << 24;
                if (st->cr4 & X86_CR4_OSXSAVE)
                        r->ecx |= 1u << 27;
                if (!(st->apic_base & 0x800))
                        r->edx &= ~(1u << 9);
                break;
        case 7:
                if (subleaf == 0 && (st->cr4 & X86_CR4_PKE))
                        r->ecx |= 1u << 4;
                break;
        case 0xb:
        case 0x1f:
                r->ecx |= subleaf & 0xff;
                r->edx = vcpu_id;
                break;
        case 0xd:
                if (!(m->word[W_1_ECX] >> 26 & 1))
                        break;
                if (subleaf == 0)
                        r->ebx = x86_xsave_bytes(st->xcr0);
                else if (subleaf == 1 && r->ebx != 0)
                        r->ebx = x86_xsavec_bytes(st->xcr0);
                break;
        default:
                break;
        }
}

void
x86_model_cpuid(const struct x86_cpu_model *model, const struct x86_state *st, unsigned vcpu_id, uint32_t leaf,
    uint32_t subleaf, struct x86_cpuid *ret)
{
        const struct x86_cpuid_leaf *l;

        leaf = leaf_clamp(model, leaf);
        l = leaf_find(model, leaf, subleaf);
        if (l != NULL)
                *ret = l->value;
        else
                *ret = (struct x86_cpuid){ 0, 0, 0, 0 };
        apply_state(model, st, vcpu_id, leaf, subleaf, ret);
}

const struct x86_cpuid_leaf *
x86_model_leaves(const struct x86_cpu_model *model, unsigned *ret_count)
{
        *ret_count = model->leaf_count;
        return model->leaf;
}

uint64_t
x86_model_features(const struct x86_cpu_model *model)
{
        return model->features;
}

bool
x86_host_is_amd(void)
{
        const struct x86_cpuid id = host_cpuid(0, 0);
        const uint32_t vendor[3] = { id.ebx, id.edx, id.ecx };

        return is_amd((const char *)vendor);
}

uint64_t
x86_host_features(void)
{
        uint64_t features = features_of_vendor(x86_host_is_amd());
        uint32_t word[W_COUNT];

        host_words(word);
        for (unsigned i = 0; i < ARRAY_LEN(feature_table); i++)
                if (word[feature_table[i].word] >> feature_table[i].bit & 1)
                        features |= 1ull << feature_table[i].insn;
        return features;
}

uint64_t
x86_model_cr4(const struct x86_cpu_model *model)
{
        return model->cr4;
}

uint64_t
x86_model_efer(const struct x86_cpu_model *model)
{
        return model->efer;
}

uint64_t
x86_model_xcr0(const struct x86_cpu_model *model)
{
        return model->xcr0;
}

bool
x86_model_is_amd(const struct x86_cpu_model *model)
{
        return model->amd;
}

unsigned
x86_model_linear_bits(const struct x86_cpu_model *model)
{
        return model->cr4 & X86_CR4_LA57 ? 57 : LINEAR_BITS;
}

bool
x86_model_has_x2apic(const struct x86_cpu_model *model)
{
        return model_has(model, "x2apic");
}

uint64_t
x86_model_tsc_hz(const struct x86_cpu_model *model)
{
        return model->tsc_hz;
}

unsigned
x86_model_msr_features(const struct x86_cpu_model *model)
{
        return model->msr_features;
}
