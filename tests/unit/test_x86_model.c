/* SPDX-License-Identifier: BSD-2-Clause */
/* CPUID and MSR policy, reset states, and what exceptions amount to while one is delivered. */
#include "cpu/soft/soft.h"
#include "x86/cpuid.h"
#include "x86/msr.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>

#define TSC_HZ 2699998000ull

static struct x86_cpu_model *
model_of(const char *spec)
{
        const struct x86_model_config config = {
                .spec = spec,
                .sockets = 2,
                .cores = 4,
                .threads = 2,
                .x2apic = true,
                .tsc_hz = TSC_HZ,
                .lapic_hz = 1000000000,
        };
        struct x86_cpu_model *model = NULL;
        char why[256] = "";

        if (x86_model_create(&config, &model, why, sizeof(why)) != 0)
                fail_msg("%s: %s", spec, why);
        return model;
}

static struct x86_cpuid
cpuid_in(const struct x86_cpu_model *model, const struct x86_state *st, unsigned vcpu, uint32_t leaf, uint32_t sub)
{
        struct x86_cpuid r;

        x86_model_cpuid(model, st, vcpu, leaf, sub, &r);
        return r;
}

static struct x86_cpuid
cpuid(const struct x86_cpu_model *model, uint32_t leaf, uint32_t sub)
{
        static struct x86_state st;

        x86_state_reset(&st, 0);
        return cpuid_in(model, &st, 0, leaf, sub);
}

static void
model_max_offers_what_kernels_need_and_no_more(void **state)
{
        struct x86_cpu_model *m = model_of(NULL);
        struct x86_cpuid r = cpuid(m, 7, 0);

        assert_int_equal(r.ebx & 1, 1);                         /* FSGSBASE */
        assert_int_equal(r.ebx & (1u << 9), 1u << 9);           /* ERMS */
        assert_int_equal(r.ebx & (1u << 16 | 1u << 17 | 1u << 30), 0); /* AVX-512 */
        r = cpuid(m, 1, 0);
        assert_int_equal(r.ecx & (1u << 5), 0);                 /* VMX */
        assert_int_equal(r.ecx & (1u << 31), 1u << 31);         /* hypervisor */
        assert_int_equal(r.ecx & (1u << 24), 1u << 24);         /* TSC deadline */
        assert_int_equal(cpuid(m, 0x80000007, 0).edx, 1u << 8); /* invariant TSC */
        assert_int_equal(cpuid(m, 0xa, 0).eax, 0);
        assert_int_equal(cpuid(m, 0x40000000, 0).ebx, 0x76796862); /* "bhyv" */
        x86_model_destroy(m);
}

static void
model_minus_feature_takes_what_depends_on_it(void **state)
{
        struct x86_cpu_model *m = model_of("max,-xsave");

        assert_int_equal(cpuid(m, 1, 0).ecx & (1u << 26 | 1u << 28 | 1u << 12), 0); /* XSAVE AVX FMA */
        assert_int_equal(cpuid(m, 7, 0).ebx & (1u << 5), 0);                       /* AVX2 */
        assert_int_equal(cpuid(m, 7, 0).ecx & (1u << 3), 0);                       /* PKU */
        assert_int_equal(cpuid(m, 0xd, 0).eax, 0);
        assert_int_equal(x86_model_xcr0(m), 1);
        assert_int_equal(x86_model_cr4(m) & (X86_CR4_OSXSAVE | X86_CR4_PKE), 0);
        assert_int_equal(x86_model_features(m) >> X86_F_AVX2 & 1, 0);
        x86_model_destroy(m);
}

static void
model_baseline_has_no_more_than_its_level(void **state)
{
        struct x86_cpu_model *m = model_of("x86-64,+sse4_2,-x2apic,vendor=amd");

        /* SSE4.2 needs SSE4.1, which is off. */
        assert_int_equal(cpuid(m, 1, 0).ecx & (1u << 20 | 1u << 19 | 1u << 28 | 1u << 21), 0);
        assert_int_equal(cpuid(m, 0, 0).ebx, 0x68747541); /* "Auth" */
        assert_true(x86_model_is_amd(m));
        x86_model_destroy(m);
}

static void
model_of_amd_lacks_prefetch_of_registers(void **state)
{
        struct x86_cpu_model *intel = model_of("max"), *amd = model_of("max,vendor=amd");

        assert_int_equal(x86_model_features(intel) >> X86_F_PREFETCH_REG & 1, 1);
        assert_int_equal(x86_model_features(amd) >> X86_F_PREFETCH_REG & 1, 0);
        x86_model_destroy(intel);
        x86_model_destroy(amd);
}

static void
host_features_have_what_the_model_takes_from_the_host(void **state)
{
        const uint64_t of_host = 1ull << X86_F_BASE | 1ull << X86_F_SSE2 | 1ull << X86_F_AVX2 | 1ull << X86_F_MOVBE;
        struct x86_cpu_model *m = model_of("max");

        assert_int_equal(x86_host_features() & of_host, x86_model_features(m) & of_host);
        x86_model_destroy(m);
}

static void
model_refuses_unknown_words(void **state)
{
        static const char *const bad[] = { "pentium", "max,+nonsense", "max,avx", "max,vendor=short", "max,family=x",
                "max,colour=red" };
        char why[128];

        for (unsigned i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
                const struct x86_model_config config = { .spec = bad[i], .tsc_hz = TSC_HZ };
                struct x86_cpu_model *m = NULL;

                why[0] = '\0';
                assert_int_equal(x86_model_create(&config, &m, why, sizeof(why)), -EINVAL);
                assert_null(m);
                assert_true(why[0] != '\0');
        }
}

static void
model_topology_leaves_agree(void **state)
{
        struct x86_cpu_model *m = model_of("max");
        struct x86_state st;
        struct x86_cpuid r;

        x86_state_reset(&st, 5);
        r = cpuid_in(m, &st, 5, 1, 0);
        assert_int_equal(r.ebx >> 24, 5);
        assert_int_equal(r.ebx >> 16 & 0xff, 8);
        r = cpuid_in(m, &st, 5, 0xb, 0);
        assert_int_equal(r.eax, 1);
        assert_int_equal(r.ebx, 2);
        assert_int_equal(r.edx, 5);
        r = cpuid_in(m, &st, 5, 0xb, 1);
        assert_int_equal(r.eax, 3);
        assert_int_equal(r.ebx, 8);
        assert_int_equal(r.ecx, 2u << 8 | 1);
        assert_int_equal(cpuid_in(m, &st, 5, 0xb, 2).ecx, 2);
        x86_model_destroy(m);
}

static void
model_state_shows_in_cpuid(void **state)
{
        struct x86_cpu_model *m = model_of("max");
        struct x86_state st;

        if (!(x86_model_xcr0(m) & 4)) {
                x86_model_destroy(m);
                skip();
        }
        x86_state_reset(&st, 0);
        assert_int_equal(cpuid_in(m, &st, 0, 1, 0).ecx & (1u << 27), 0);
        assert_int_equal(cpuid_in(m, &st, 0, 0xd, 0).ebx, 576);
        st.cr4 = X86_CR4_OSXSAVE;
        st.xcr0 = 7;
        assert_int_equal(cpuid_in(m, &st, 0, 1, 0).ecx & (1u << 27), 1u << 27);
        assert_int_equal(cpuid_in(m, &st, 0, 0xd, 0).ebx, 832);
        st.apic_base = 0xfee00000;
        assert_int_equal(cpuid_in(m, &st, 0, 1, 0).edx & (1u << 9), 0);
        x86_model_destroy(m);
}

/* Linux computes in 32 bits: kHz of the crystal times the numerator must fit. */
static void
model_tsc_leaf_is_exact_enough_and_fits(void **state)
{
        struct x86_cpu_model *m = model_of("max");
        struct x86_cpuid r = cpuid(m, 0x15, 0);
        double hz = (double)r.ecx * r.ebx / r.eax;

        assert_int_equal(r.ecx, 1000000000);
        assert_true((uint64_t)(r.ecx / 1000) * r.ebx <= 0xffffffffull);
        assert_true(hz > TSC_HZ * (1 - 1e-6) && hz < TSC_HZ * (1 + 1e-6));
        x86_model_destroy(m);
}

static void
msr_reserved_bits_are_refused(void **state)
{
        static const struct {
                uint32_t msr;
                uint64_t good, bad;
        } cases[] = {
                { X86_MSR_PAT, 0x0007040600070406ull, 0x0207040600070406ull },
                { 0x2ff, 0xc06, 0x1000 },
                { 0x2ff, 0x806, 0x802 },
                { 0x250, 0x0606060606060606ull, 0x0606060606060602ull },
                { 0x201, 0xfffff800, 0x400 },
                { 0x200, 0x6, 0x100000000000006ull },
                { X86_MSR_LSTAR, 0xffffffff81000000ull, 0x8000000000000000ull },
                { X86_MSR_SFMASK, 0x47700, 0x100000000ull },
                { X86_MSR_SPEC_CTRL, 1, 0x100 },
                { X86_MSR_PRED_CMD, 1, 2 },
                { 0xda0, 0, 1 },
        };
        struct x86_cpu_model *m = model_of("max");
        struct x86_state st;

        x86_state_reset(&st, 0);
        for (unsigned i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
                assert_int_equal(x86_msr_write(&st, m, cases[i].msr, cases[i].good), X86_MSR_OK);
                assert_int_equal(x86_msr_write(&st, m, cases[i].msr, cases[i].bad), X86_MSR_GP);
        }
        x86_model_destroy(m);
}

static void
msr_follows_cpuid_and_unknown_does_not_exist(void **state)
{
        struct x86_cpu_model *m = model_of("max,-arch_capabilities,-rdtscp,-rdpid,-mtrr");
        struct x86_state st;
        uint64_t value = 1;

        x86_state_reset(&st, 0);
        assert_int_equal(x86_msr_read(&st, m, 0x10a, &value), X86_MSR_UNKNOWN);
        assert_int_equal(x86_msr_read(&st, m, X86_MSR_TSC_AUX, &value), X86_MSR_UNKNOWN);
        assert_int_equal(x86_msr_read(&st, m, 0x200, &value), X86_MSR_UNKNOWN);
        assert_int_equal(x86_msr_read(&st, m, 0x12345678, &value), X86_MSR_UNKNOWN);
        assert_int_equal(x86_msr_read(&st, m, 0x179, &value), X86_MSR_OK);
        assert_int_equal(value, 0);
        x86_model_destroy(m);
        m = model_of("max");
        assert_int_equal(x86_msr_read(&st, m, 0x10a, &value), X86_MSR_OK);
        assert_int_equal(value & 0x21, 0x21); /* RDCL_NO, MDS_NO */
        assert_int_equal(x86_msr_write(&st, m, 0x10a, value), X86_MSR_GP);
        x86_model_destroy(m);
}

static void
state_reset_init_and_sipi_follow_the_manual(void **state)
{
        struct x86_state st;

        x86_state_reset(&st, 1);
        assert_int_equal(st.seg[X86_CS].base + st.rip, 0xfffffff0);
        assert_int_equal(st.cr0, 0x60000010);
        assert_int_equal(st.mp_state, X86_MP_WAIT_INIT);
        assert_int_equal(st.apic_base, 0xfee00800);
        st.pat = 5;
        st.cr0 = X86_CR0_PE | X86_CR0_CD;
        st.efer = X86_EFER_LME;
        x86_state_init(&st, 1);
        assert_int_equal(st.pat, 5);
        assert_int_equal(st.cr0, 0x40000010);
        assert_int_equal(st.efer, 0);
        assert_int_equal(st.mp_state, X86_MP_WAIT_SIPI);
        x86_state_sipi(&st, 0x9a);
        assert_int_equal(st.seg[X86_CS].sel, 0x9a00);
        assert_int_equal(st.seg[X86_CS].base, 0x9a000);
        assert_int_equal(st.rip, 0);
        assert_int_equal(st.mp_state, X86_MP_RUNNING);
}

static struct soft_event
exception(unsigned vector)
{
        return (struct soft_event){ .kind = SOFT_EV_EXCEPTION, .vector = (uint8_t)vector };
}

/* SDM 3A table 6-5: rows the first exception, columns the second; classes benign, contributory, page fault. */
static void
exc_combination_follows_the_table(void **state)
{
        static const uint8_t of_class[3] = { X86_VEC_UD, X86_VEC_NP, X86_VEC_PF };
        static const bool doubles[3][3] = {
                { false, false, false },
                { false, true, false },
                { false, true, true },
        };

        for (unsigned i = 0; i < 3; i++) {
                for (unsigned j = 0; j < 3; j++) {
                        struct soft_event first = exception(of_class[i]), second = exception(of_class[j]), r;

                        assert_true(soft_combine(&first, &second, &r));
                        assert_int_equal(r.vector, doubles[i][j] ? X86_VEC_DF : of_class[j]);
                        assert_int_equal(r.has_error, doubles[i][j]);
                }
        }
}

static void
exc_fault_while_double_fault_is_shutdown(void **state)
{
        struct soft_event df = exception(X86_VEC_DF), gp = exception(X86_VEC_GP), pf = exception(X86_VEC_PF);
        struct soft_event intr = { .kind = SOFT_EV_INTR, .vector = 0x30 }, r;

        assert_false(soft_combine(&df, &gp, &r));
        assert_false(soft_combine(&df, &pf, &r));
        assert_true(soft_combine(&intr, &gp, &r));
        assert_int_equal(r.vector, X86_VEC_GP);
}

int
main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(model_max_offers_what_kernels_need_and_no_more),
                cmocka_unit_test(model_minus_feature_takes_what_depends_on_it),
                cmocka_unit_test(model_baseline_has_no_more_than_its_level),
                cmocka_unit_test(model_of_amd_lacks_prefetch_of_registers),
                cmocka_unit_test(host_features_have_what_the_model_takes_from_the_host),
                cmocka_unit_test(model_refuses_unknown_words),
                cmocka_unit_test(model_topology_leaves_agree),
                cmocka_unit_test(model_state_shows_in_cpuid),
                cmocka_unit_test(model_tsc_leaf_is_exact_enough_and_fits),
                cmocka_unit_test(msr_reserved_bits_are_refused),
                cmocka_unit_test(msr_follows_cpuid_and_unknown_does_not_exist),
                cmocka_unit_test(state_reset_init_and_sipi_follow_the_manual),
                cmocka_unit_test(exc_combination_follows_the_table),
                cmocka_unit_test(exc_fault_while_double_fault_is_shutdown),
        };

        return cmocka_run_group_tests_name("x86 model", tests, NULL, NULL);
}
