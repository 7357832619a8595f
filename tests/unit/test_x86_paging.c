/* SPDX-License-Identifier: BSD-2-Clause */
/* The page walk on tables built as SDM 3A chapter 4 draws them. */
#include "x86/paging.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define RAM_BYTES (16ull << 20)
#define ROOT  0x10000ull
#define L3    0x11000ull
#define L2    0x12000ull
#define L1    0x13000ull
#define FRAME 0x200000ull

#define P   0x001ull
#define W   0x002ull
#define U   0x004ull
#define A   0x020ull
#define D   0x040ull
#define PS  0x080ull
#define G   0x100ull
#define NX  (1ull << 63)
#define ALL (P | W | U)

struct fixture {
        struct guest_mem *mem;
        struct x86_state st;
};

static void
put64(struct fixture *f, gpa_t at, uint64_t value)
{
        assert_int_equal(mem_write(f->mem, at, &value, sizeof(value)), 0);
}

static void
put32(struct fixture *f, gpa_t at, uint32_t value)
{
        assert_int_equal(mem_write(f->mem, at, &value, sizeof(value)), 0);
}

static uint64_t
get64(struct fixture *f, gpa_t at)
{
        uint64_t value;

        assert_int_equal(mem_read(f->mem, at, &value, sizeof(value)), 0);
        return value;
}

static int
setup(void **state)
{
        struct fixture *f = calloc(1, sizeof(*f));

        if (f == NULL || mem_create(-1, RAM_BYTES, &f->mem) != 0)
                return -1;
        f->st.cr0 = X86_CR0_PE | X86_CR0_PG | X86_CR0_WP;
        f->st.cr4 = X86_CR4_PAE | X86_CR4_PGE;
        f->st.efer = X86_EFER_LME | X86_EFER_LMA | X86_EFER_NXE;
        f->st.cr3 = ROOT;
        *state = f;
        return 0;
}

static int
teardown(void **state)
{
        struct fixture *f = *state;

        mem_destroy(f->mem);
        free(f);
        return 0;
}

/* Linear address 0 to FRAME through four levels, with @leaf's rights. */
static void
map4(struct fixture *f, uint64_t leaf)
{
        put64(f, ROOT, L3 | ALL);
        put64(f, L3, L2 | ALL);
        put64(f, L2, L1 | ALL);
        put64(f, L1, FRAME | leaf);
}

static int
walk(struct fixture *f, gva_t address, unsigned flags, struct x86_walk *w)
{
        memset(w, 0, sizeof(*w));
        return x86_walk(f->mem, &f->st, address, flags, w);
}

static void
expect_fault(struct fixture *f, gva_t address, unsigned flags, uint32_t error)
{
        struct x86_walk w;

        assert_int_equal(walk(f, address, flags, &w), -1);
        assert_int_equal(w.error, error);
}

static void
expect_gpa(struct fixture *f, gva_t address, unsigned flags, gpa_t gpa, uint64_t page_bytes)
{
        struct x86_walk w;

        assert_int_equal(walk(f, address, flags, &w), 0);
        assert_int_equal(w.gpa, gpa);
        assert_int_equal(w.page_bytes, page_bytes);
}

static void
paging_4level_maps_4k_2m_1g(void **state)
{
        struct fixture *f = *state;

        map4(f, ALL);
        expect_gpa(f, 0x123, 0, FRAME + 0x123, 0x1000);
        put64(f, L2 + 8, 0x400000 | ALL | PS);
        expect_gpa(f, 0x200000 + 0x54321, 0, 0x400000 + 0x54321, 0x200000);
        put64(f, L3 + 8, 0x40000000 | ALL | PS);
        expect_gpa(f, 0x40000000 + 0x1234567, 0, 0x41234567, 0x40000000);
}

static void
paging_5level_uses_the_fifth_table(void **state)
{
        struct fixture *f = *state;

        f->st.cr4 |= X86_CR4_LA57;
        put64(f, 0x14000 + 8, ROOT | ALL);
        f->st.cr3 = 0x14000;
        map4(f, ALL);
        expect_gpa(f, (1ull << 48) | 0x55, 0, FRAME + 0x55, 0x1000);
        expect_fault(f, 0x55, 0, 0);
}

static void
paging_accessed_and_dirty_are_set_when_asked(void **state)
{
        struct fixture *f = *state;
        struct x86_walk w;

        map4(f, ALL);
        assert_int_equal(walk(f, 0, 0, &w), 0);
        assert_int_equal(get64(f, L1) & (A | D), 0);
        assert_int_equal(walk(f, 0, X86_WALK_SET, &w), 0);
        assert_false(w.dirty);
        assert_int_equal(get64(f, ROOT) & (A | D), A);
        assert_int_equal(get64(f, L1) & (A | D), A);
        assert_int_equal(walk(f, 0, X86_WALK_SET | X86_WALK_WRITE, &w), 0);
        assert_true(w.dirty);
        assert_int_equal(get64(f, L2) & (A | D), A);
        assert_int_equal(get64(f, L1) & (A | D), A | D);
}

static void
paging_refused_write_leaves_leaf_untouched(void **state)
{
        struct fixture *f = *state;

        map4(f, P | U);
        expect_fault(f, 0, X86_WALK_SET | X86_WALK_WRITE | X86_WALK_USER, X86_PF_P | X86_PF_W | X86_PF_U);
        assert_int_equal(get64(f, L1) & (A | D), 0);
}

static void
paging_write_protect_binds_supervisor_only_with_wp(void **state)
{
        struct fixture *f = *state;

        map4(f, P | U);
        expect_fault(f, 0, X86_WALK_WRITE, X86_PF_P | X86_PF_W);
        f->st.cr0 &= ~(uint64_t)X86_CR0_WP;
        expect_gpa(f, 0, X86_WALK_WRITE, FRAME, 0x1000);
}

static void
paging_smep_and_smap_guard_user_pages(void **state)
{
        struct fixture *f = *state;

        map4(f, ALL);
        f->st.cr4 |= X86_CR4_SMEP | X86_CR4_SMAP;
        expect_fault(f, 0, X86_WALK_FETCH, X86_PF_P | X86_PF_I);
        expect_fault(f, 0, 0, X86_PF_P);
        expect_gpa(f, 0, X86_WALK_AC, FRAME, 0x1000);
        expect_gpa(f, 0, X86_WALK_USER | X86_WALK_FETCH, FRAME, 0x1000);
}

static void
paging_nx_is_reserved_without_nxe(void **state)
{
        struct fixture *f = *state;

        map4(f, ALL | NX);
        expect_fault(f, 0, X86_WALK_FETCH, X86_PF_P | X86_PF_I);
        expect_gpa(f, 0, 0, FRAME, 0x1000);
        f->st.efer &= ~(uint64_t)X86_EFER_NXE;
        expect_fault(f, 0, 0, X86_PF_P | X86_PF_RSVD);
        expect_fault(f, 0, X86_WALK_FETCH, X86_PF_P | X86_PF_RSVD);
}

static void
paging_reserved_bits_fault_at_each_level(void **state)
{
        static const gpa_t table[] = { ROOT, L3, L2, L1 };
        struct fixture *f = *state;

        for (unsigned i = 0; i < 4; i++) {
                map4(f, ALL);
                put64(f, table[i], get64(f, table[i]) | 1ull << X86_PHYS_BITS);
                expect_fault(f, 0, X86_WALK_USER, X86_PF_P | X86_PF_U | X86_PF_RSVD);
        }
        map4(f, ALL);
        put64(f, ROOT, L3 | ALL | PS);
        expect_fault(f, 0, 0, X86_PF_P | X86_PF_RSVD);
        put64(f, ROOT, L3 | ALL);
        put64(f, L2, 0x200000 | ALL | PS | 1ull << 13);
        expect_fault(f, 0, 0, X86_PF_P | X86_PF_RSVD);
}

static void
paging_not_present_and_tables_outside_memory_fault(void **state)
{
        struct fixture *f = *state;

        map4(f, 0);
        expect_fault(f, 0, X86_WALK_WRITE, X86_PF_W);
        put64(f, L2, (RAM_BYTES + 0x100000) | ALL);
        expect_fault(f, 0, 0, X86_PF_P | X86_PF_RSVD);
}

static void
paging_protection_keys_deny_data_not_fetch(void **state)
{
        struct fixture *f = *state;
        struct x86_walk w;

        f->st.cr4 |= X86_CR4_PKE;
        map4(f, ALL | 3ull << 59);
        assert_int_equal(walk(f, 0, X86_WALK_USER | X86_WALK_WRITE, &w), 0);
        assert_int_equal(w.pkey, 3);
        x86_set_pkru(&f->st, 2u << 6);
        expect_fault(f, 0, X86_WALK_USER | X86_WALK_WRITE, X86_PF_P | X86_PF_U | X86_PF_W | X86_PF_PK);
        expect_gpa(f, 0, X86_WALK_USER, FRAME, 0x1000);
        x86_set_pkru(&f->st, 1u << 6);
        expect_fault(f, 0, X86_WALK_USER, X86_PF_P | X86_PF_U | X86_PF_PK);
        expect_gpa(f, 0, X86_WALK_USER | X86_WALK_FETCH, FRAME, 0x1000);
}

static void
paging_global_needs_pge(void **state)
{
        struct fixture *f = *state;
        struct x86_walk w;

        map4(f, ALL | G);
        assert_int_equal(walk(f, 0, 0, &w), 0);
        assert_true(w.global);
        f->st.cr4 &= ~(uint64_t)X86_CR4_PGE;
        assert_int_equal(walk(f, 0, 0, &w), 0);
        assert_false(w.global);
}

static void
paging_pae_uses_pdptes(void **state)
{
        struct fixture *f = *state;

        f->st.efer = 0;
        f->st.cr3 = ROOT + 0x20;
        put64(f, ROOT + 0x20 + 3 * 8, L2 | P);
        put64(f, L2 + 511 * 8, L1 | ALL);
        put64(f, L1 + 511 * 8, FRAME | ALL);
        expect_gpa(f, 0xffffffff, X86_WALK_USER, FRAME + 0xfff, 0x1000);
        expect_fault(f, 0, 0, 0);
        assert_true(x86_pdptes_valid(f->mem, f->st.cr3));
        put64(f, ROOT + 0x20 + 3 * 8, L2 | P | W);
        assert_false(x86_pdptes_valid(f->mem, f->st.cr3));
        expect_fault(f, 0xffffffff, 0, X86_PF_P | X86_PF_RSVD);
}

static void
paging_32bit_maps_4k_and_4m_with_pse36(void **state)
{
        struct fixture *f = *state;

        f->st.efer = 0;
        f->st.cr4 = X86_CR4_PSE;
        put32(f, ROOT + 4, (uint32_t)(L1 | ALL));
        put32(f, L1 + 8, (uint32_t)(FRAME | ALL));
        put32(f, ROOT + 8, (uint32_t)(0x400000 | ALL | PS | 1u << 13));
        expect_gpa(f, 0x402010, X86_WALK_USER, FRAME + 0x10, 0x1000);
        expect_gpa(f, 0x800000 + 0x345678, 0, 0x100400000ull + 0x345678, 0x400000);
        put32(f, ROOT + 8, (uint32_t)(0x400000 | ALL | PS | 1u << 21));
        expect_fault(f, 0x800000, 0, X86_PF_P | X86_PF_RSVD);
        f->st.cr4 = 0;
        put32(f, ROOT + 8, (uint32_t)(L1 | ALL | PS));
        expect_gpa(f, 0x802000, 0, FRAME, 0x1000);
}

static void
paging_off_is_identity(void **state)
{
        struct fixture *f = *state;

        f->st.cr0 = X86_CR0_PE;
        f->st.efer = 0;
        expect_gpa(f, 0xfee00123, X86_WALK_USER | X86_WALK_WRITE, 0xfee00123, 1ull << 30);
}

int
main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test_setup_teardown(paging_4level_maps_4k_2m_1g, setup, teardown),
                cmocka_unit_test_setup_teardown(paging_5level_uses_the_fifth_table, setup, teardown),
                cmocka_unit_test_setup_teardown(paging_accessed_and_dirty_are_set_when_asked, setup, teardown),
                cmocka_unit_test_setup_teardown(paging_refused_write_leaves_leaf_untouched, setup, teardown),
                cmocka_unit_test_setup_teardown(paging_write_protect_binds_supervisor_only_with_wp, setup, teardown),
                cmocka_unit_test_setup_teardown(paging_smep_and_smap_guard_user_pages, setup, teardown),
                cmocka_unit_test_setup_teardown(paging_nx_is_reserved_without_nxe, setup, teardown),
                cmocka_unit_test_setup_teardown(paging_reserved_bits_fault_at_each_level, setup, teardown),
                cmocka_unit_test_setup_teardown(paging_not_present_and_tables_outside_memory_fault, setup, teardown),
                cmocka_unit_test_setup_teardown(paging_protection_keys_deny_data_not_fetch, setup, teardown),
                cmocka_unit_test_setup_teardown(paging_global_needs_pge, setup, teardown),
                cmocka_unit_test_setup_teardown(paging_pae_uses_pdptes, setup, teardown),
                cmocka_unit_test_setup_teardown(paging_32bit_maps_4k_and_4m_with_pse36, setup, teardown),
                cmocka_unit_test_setup_teardown(paging_off_is_identity, setup, teardown),
        };

        return cmocka_run_group_tests_name("x86 paging", tests, NULL, NULL);
}
