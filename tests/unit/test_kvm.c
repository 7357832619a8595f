/* SPDX-License-Identifier: BSD-2-Clause */
/* What of the KVM engine needs no KVM: conversions and tables. */
#include "cpu/kvm/kvm.h"
#include "irq/lapic.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#define X2APIC   (1u << 21)
#define DEADLINE (1u << 24)
#define BASE_X2  0xfee00c00ull
#define BASE_X1  0xfee00800ull

static uint32_t
word(const struct kvm_lapic_state *regs, unsigned offset)
{
        uint32_t value;

        memcpy(&value, &regs->regs[offset], sizeof(value));
        return value;
}

static void
kvm_apic_registers_are_16_bytes_apart(void **state)
{
        struct x86_apic apic = { .base = BASE_X1, .reg = { [2] = 3u << 24, [8] = 0x20, [0x30] = 0x4030, [0x3f] = 7 } };
        struct kvm_lapic_state regs;
        struct x86_apic back;

        kvm_apic_pack(&apic, true, &regs);
        assert_int_equal(word(&regs, 0x20), 0x03000000);
        assert_int_equal(word(&regs, 0x80), 0x20);
        assert_int_equal(word(&regs, 0x300), 0x4030);
        assert_int_equal(word(&regs, 0x3f0), 7);
        kvm_apic_unpack(&regs, BASE_X1, true, &back);
        assert_memory_equal(&back, &apic, sizeof(apic));
}

static void
kvm_apic_x2apic_id_as_the_kernel_wants_it(void **state)
{
        struct x86_apic apic = { .base = BASE_X2, .reg = { [2] = 0x123 } };
        struct kvm_lapic_state regs;
        struct x86_apic back;

        kvm_apic_pack(&apic, true, &regs);
        assert_int_equal(word(&regs, 0x20), 0x123);
        kvm_apic_unpack(&regs, BASE_X2, true, &back);
        assert_int_equal(back.reg[2], 0x123);

        apic.reg[2] = 5;
        kvm_apic_pack(&apic, false, &regs);
        assert_int_equal(word(&regs, 0x20), 0x05000000);
        kvm_apic_unpack(&regs, BASE_X2, false, &back);
        assert_int_equal(back.reg[2], 5);
}

static void
kvm_routes_one_entry_a_pin(void **state)
{
        struct kvm_route_table table = { .head = { .nr = 0 } };

        assert_true(kvm_route_set(&table, 9, 0xfee00000, 0xc031));
        assert_true(kvm_route_set(&table, 16, 0xfee01000, 0xc041));
        assert_false(kvm_route_set(&table, 9, 0xfee00000, 0xc031));
        assert_int_equal(table.head.nr, 2);
        assert_true(kvm_route_set(&table, 9, 0xfee00000, 0xc051));
        assert_int_equal(table.head.nr, 2);
        assert_int_equal(table.entry[0].gsi, 9);
        assert_int_equal(table.entry[0].type, KVM_IRQ_ROUTING_MSI);
        assert_int_equal(table.entry[0].u.msi.data, 0xc051);
        assert_int_equal(table.entry[1].gsi, 16);
        assert_int_equal(table.entry[1].u.msi.address_lo, 0xfee01000);
}

static void
kvm_routes_have_room_for_every_gsi(void **state)
{
        struct kvm_route_table table = { .head = { .nr = 0 } };

        for (unsigned gsi = 0; gsi < KVM_ROUTES_MAX; gsi++)
                assert_true(kvm_route_set(&table, gsi, 0xfee00000, gsi));
        assert_true(kvm_route_set(&table, 3, 0xfee00000, 99));
        assert_int_equal(table.head.nr, KVM_ROUTES_MAX);
}

struct supported {
        struct kvm_cpuid2 head;
        struct kvm_cpuid_entry2 entry[2];
};

static void
kvm_cpuid_takes_out_what_kvm_lacks(void **state)
{
        struct supported has = { { .nent = 2 },
                { { .function = 1, .ecx = 0x00002000, .edx = 0x0f8bfbff },
                    { .function = 7, .index = 0, .flags = KVM_CPUID_FLAG_SIGNIFCANT_INDEX, .ebx = 0x9 } } };
        struct kvm_cpuid_entry2 e = { .function = 1, .eax = 0x806f8, .ebx = 0x10800, .ecx = ~0u, .edx = ~0u };

        kvm_cut_cpuid(&e, &has.head, 0);
        assert_int_equal(e.eax, 0x806f8); /* no feature bits */
        assert_int_equal(e.ebx, 0x10800);
        assert_int_equal(e.ecx, 0x80002000); /* the hypervisor bit is ours */
        assert_int_equal(e.edx, 0x0f8bfbff);
        e = (struct kvm_cpuid_entry2){ .function = 7, .flags = KVM_CPUID_FLAG_SIGNIFCANT_INDEX, .eax = 2, .ebx = 0xf, .ecx = 1 };
        kvm_cut_cpuid(&e, &has.head, 0);
        assert_int_equal(e.eax, 2);
        assert_int_equal(e.ebx, 9);
        assert_int_equal(e.ecx, 0);
        e = (struct kvm_cpuid_entry2){ .function = 7, .index = 1, .flags = KVM_CPUID_FLAG_SIGNIFCANT_INDEX, .eax = 0x10 };
        kvm_cut_cpuid(&e, &has.head, 0); /* a leaf that KVM does not have */
        assert_int_equal(e.eax, 0);
}

static void
kvm_cpuid_local_apic_features_depend_on_where_it_is(void **state)
{
        struct supported has = { { .nent = 1 }, { { .function = 1, .ecx = X2APIC | DEADLINE } } };
        struct kvm_cpuid_entry2 e = { .function = 1, .ecx = X2APIC | DEADLINE };

        kvm_cut_cpuid(&e, &has.head, X2APIC | DEADLINE);
        assert_int_equal(e.ecx, X2APIC | DEADLINE);
        kvm_cut_cpuid(&e, &has.head, X2APIC);
        assert_int_equal(e.ecx, X2APIC);
        kvm_cut_cpuid(&e, &has.head, 0);
        assert_int_equal(e.ecx, 0);
        kvm_cut_cpuid(&e, &has.head, X2APIC); /* what the model does not offer does not come back */
        assert_int_equal(e.ecx, 0);
}

/* An AMD processor, say, which has no AVX-512 to leave room for. */
static void
kvm_xsave_areas_differ_in_where_pkru_is(void **state)
{
        static uint8_t mine[X86_XSAVE_BYTES], back[X86_XSAVE_BYTES];
        static struct kvm_xsave area;
        uint8_t *bytes = (uint8_t *)area.region;

        mine[0] = 0x7f;
        mine[512] = 7; /* x87, SSE, AVX; PKRU counts anyway */
        mine[831] = 0x11;
        mine[X86_XSAVE_PKRU] = 0x55;
        kvm_xsave_pack(mine, 832, bytes);
        assert_int_equal(bytes[512] | bytes[513] << 8, 0x207);
        assert_int_equal(bytes[831], 0x11);
        assert_int_equal(bytes[832], 0x55);
        kvm_xsave_unpack(bytes, 832, back);
        mine[513] = 2;
        assert_memory_equal(back, mine, sizeof(mine));
        kvm_xsave_pack(mine, 0, bytes); /* the host has no PKRU */
        assert_int_equal(bytes[512] | bytes[513] << 8, 7);
        bytes[832] = 0x99; /* not valid, so not PKRU */
        kvm_xsave_unpack(bytes, 832, back);
        assert_int_equal(back[X86_XSAVE_PKRU], 0);
}

static void
kvm_cpuid_says_where_the_processor_has_xsave_components(void **state)
{
        struct {
                struct kvm_cpuid2 head;
                struct kvm_cpuid_entry2 entry[3];
        } has = { { .nent = 3 },
                { { .function = 0xd, .index = 0, .flags = 1, .eax = 0x207 },
                    { .function = 0xd, .index = 2, .flags = 1, .eax = 256, .ebx = 576 },
                    { .function = 0xd, .index = 9, .flags = 1, .eax = 8, .ebx = 832 } } },
          cpuid = { { .nent = 3 },
                  { { .function = 0xd, .index = 0, .flags = 1, .eax = 0x207, .ebx = 2696, .ecx = 2696 },
                      { .function = 0xd, .index = 2, .flags = 1, .eax = 256, .ebx = 576 },
                      { .function = 0xd, .index = 9, .flags = 1, .eax = 8, .ebx = 2688 } } };

        kvm_place_xsave(&cpuid.head, &has.head);
        assert_int_equal(cpuid.entry[0].ecx, 840);
        assert_int_equal(cpuid.entry[1].ebx, 576);
        assert_int_equal(cpuid.entry[2].ebx, 832);
}

static void
no_kick(void *ctx, unsigned vcpu, unsigned event, unsigned arg)
{
}

/* The machine's local APICs and the kernel's are told in the same words. */
static void
kvm_apic_carries_a_local_apic_over(void **state)
{
        struct lapic_config config = { .count = 2, .tsc_hz = 1000000000, .x2apic_capable = true, .tsc_deadline = true, .kick = no_kick };
        struct lapic_set *set;
        struct x86_apic before, after, again;
        struct kvm_lapic_state regs;

        assert_int_equal(lapic_set_create(&config, &set), 0);
        lapic_mmio_write(lapic_get(set, 1), LAPIC_BASE + 0xf0, 4, 0x1ff);
        lapic_mmio_write(lapic_get(set, 1), LAPIC_BASE + 0x80, 4, 0x30);
        lapic_mmio_write(lapic_get(set, 1), LAPIC_BASE + 0x320, 4, 0x40041);
        assert_int_equal(lapic_msr_write(lapic_get(set, 1), 0x6e0, UINT64_MAX), 0);
        lapic_get_state(lapic_get(set, 1), &before);
        assert_int_equal(before.tsc_deadline, UINT64_MAX);
        kvm_apic_pack(&before, true, &regs);
        kvm_apic_unpack(&regs, before.base, true, &after);
        assert_memory_equal(after.reg, before.reg, sizeof(before.reg));
        after.tsc_deadline = before.tsc_deadline;
        lapic_set_state(lapic_get(set, 1), &after);
        lapic_get_state(lapic_get(set, 1), &again);
        assert_memory_equal(&again, &before, sizeof(before));
        lapic_set_destroy(set);
}

int
main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(kvm_apic_registers_are_16_bytes_apart),
                cmocka_unit_test(kvm_apic_x2apic_id_as_the_kernel_wants_it),
                cmocka_unit_test(kvm_routes_one_entry_a_pin),
                cmocka_unit_test(kvm_routes_have_room_for_every_gsi),
                cmocka_unit_test(kvm_cpuid_takes_out_what_kvm_lacks),
                cmocka_unit_test(kvm_cpuid_local_apic_features_depend_on_where_it_is),
                cmocka_unit_test(kvm_xsave_areas_differ_in_where_pkru_is),
                cmocka_unit_test(kvm_cpuid_says_where_the_processor_has_xsave_components),
                cmocka_unit_test(kvm_apic_carries_a_local_apic_over),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
