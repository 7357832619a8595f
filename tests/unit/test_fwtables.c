/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The firmware tables: structure, checksums and addresses here; the AML by
 * ACPICA's iasl, which disassembles it and compiles the result again.
 */
#include "base/bytes.h"
#include "base/util.h"
#include "dev/registry.h"
#include "fwtables/fwtables.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

struct rig {
        pthread_mutex_t lock;
        struct loop *loop;
        struct io_space *ports, *mmio;
        struct irq_router *irq;
        struct pci_bus *pci;
        struct guest_mem *mem;
        struct config *config;
        struct vm_config vm;
};

static void
no_line(void *ctx, unsigned gsi, bool level)
{
}

static void
no_msi(void *ctx, uint64_t address, uint32_t data)
{
}

static const struct irq_sink_ops sink = {.line = no_line, .msi = no_msi};

static void
add(struct rig *rig, const char *name, unsigned bus, unsigned slot, unsigned func)
{
        const struct device_env env = {.lock = &rig->lock, .loop = rig->loop, .mem = rig->mem, .pci = rig->pci};
        const struct device_place place = {(uint8_t)bus, (uint8_t)slot, (uint8_t)func};
        struct config_node node = {.config = rig->config};

        snprintf(node.prefix, sizeof(node.prefix), "pci.%u.%u.%u", bus, slot, func);
        assert_int_equal(device_find(name)->create(&env, &place, &node), 0);
}

static int
setup(void **state)
{
        struct rig *rig = calloc(1, sizeof(*rig));
        struct pci_bus_config pci = {0};
        struct config_error err;

        pthread_mutex_init(&rig->lock, NULL);
        assert_int_equal(loop_create(&rig->lock, &rig->loop), 0);
        assert_int_equal(io_space_create(&rig->lock, &rig->ports), 0);
        assert_int_equal(io_space_create(&rig->lock, &rig->mmio), 0);
        assert_int_equal(irq_router_create(&sink, NULL, &rig->irq), 0);
        pci.ports = rig->ports;
        pci.mmio = rig->mmio;
        pci.irq = rig->irq;
        assert_int_equal(pci_bus_create(&pci, &rig->pci), 0);
        assert_int_equal(mem_create(-1, 64 * MIB, &rig->mem), 0);
        assert_int_equal(config_create(&rig->config), 0);
        assert_int_equal(config_check(rig->config, &err), 0);
        rig->vm = (struct vm_config){.config = rig->config, .name = "test", .cpus = 16, .sockets = 4,
            .cores = 2, .threads = 2, .acpi = true, .mptable = true, .bvmcons = true, .bvmdebug_port = 1};
        rig->vm.com_path[0] = rig->vm.com_path[3] = "stdio";
        add(rig, "hostbridge", 0, 0, 0);
        add(rig, "lpc", 0, 1, 0);
        add(rig, "uart", 0, 2, 0);
        add(rig, "uart", 0, 2, 1);
        add(rig, "uart", 0, 31, 7);
        *state = rig;
        return 0;
}

static int
teardown(void **state)
{
        struct rig *rig = *state;

        pci_bus_destroy(rig->pci);
        irq_router_destroy(rig->irq);
        io_space_destroy(rig->ports);
        io_space_destroy(rig->mmio);
        loop_destroy(rig->loop);
        mem_destroy(rig->mem);
        config_destroy(rig->config);
        free(rig);
        return 0;
}

static gpa_t
build(struct rig *rig)
{
        struct config_error err = {{0}};
        gpa_t rsdp = 1;

        assert_int_equal(pci_bus_assign(rig->pci), 0);
        assert_int_equal(fwtables_build(&rig->vm, rig->pci, rig->mem, &rsdp, &err), 0);
        return rsdp;
}

static const uint8_t *
at(struct rig *rig, uint32_t address, size_t len)
{
        const uint8_t *p = mem_at(rig->mem, address, len);

        assert_non_null(p);
        return p;
}

static uint8_t
sum(const uint8_t *p, size_t len)
{
        uint8_t total = 0;

        while (len--)
                total = (uint8_t)(total + *p++);
        return total;
}

static const uint8_t *
table(struct rig *rig, uint32_t address, const char *signature)
{
        const uint8_t *p = at(rig, address, 36);
        uint32_t len = get_le32(p + 4);

        assert_memory_equal(p, signature, 4);
        assert_in_range(len, 36, 0x8000);
        assert_int_equal(sum(at(rig, address, len), len), 0);
        return p;
}

static void
fwtables_acpi_lies_where_bhyve_has_it(void **state)
{
        struct rig *rig = *state;
        static const char *const names[] = {"FACP", "APIC", "HPET", "MCFG"};
        static const uint32_t places[] = {0xf2600, 0xf2500, 0xf2740, 0xf2780};
        const uint8_t *p, *rsdt, *xsdt;

        assert_int_equal(build(rig), 0xf2400);
        p = at(rig, 0xf2400, 36);
        assert_memory_equal(p, "RSD PTR ", 8);
        assert_int_equal(sum(p, 20), 0);
        assert_int_equal(sum(p, 36), 0);
        rsdt = table(rig, get_le32(p + 16), "RSDT");
        xsdt = table(rig, (uint32_t)get_le64(p + 24), "XSDT");
        assert_int_equal(get_le32(rsdt + 4), 36 + 4 * 4);
        for (unsigned i = 0; i < 4; i++) {
                assert_int_equal(get_le32(rsdt + 36 + 4 * i), places[i]);
                assert_int_equal(get_le64(xsdt + 36 + 8 * i), places[i]);
                table(rig, places[i], names[i]);
        }
        p = at(rig, 0xf2600, 268);
        assert_int_equal(get_le32(p + 4), 268);
        assert_int_equal(get_le32(p + 36), 0xf27c0);
        assert_int_equal(get_le32(p + 40), 0xf2800);
        assert_memory_equal(at(rig, 0xf27c0, 64), "FACS", 4);
        table(rig, 0xf2800, "DSDT");
}

static void
fwtables_madt_lists_every_processor(void **state)
{
        struct rig *rig = *state;
        const uint8_t *p;
        unsigned cpus = 0, overrides = 0;

        build(rig);
        p = table(rig, 0xf2500, "APIC");
        for (uint32_t i = 44; i < get_le32(p + 4); i += p[i + 1]) {
                assert_int_not_equal(p[i + 1], 0);
                cpus += p[i] == 0;
                overrides += p[i] == 2;
        }
        assert_int_equal(cpus, 16);
        assert_int_equal(overrides, 2);
}

static void
fwtables_mptable_counts_its_entries(void **state)
{
        struct rig *rig = *state;
        const uint8_t *p;
        unsigned entries, found = 0;
        uint32_t i;

        build(rig);
        p = at(rig, 0xf0000, 16);
        assert_memory_equal(p, "_MP_", 4);
        assert_int_equal(sum(p, 16), 0);
        p = at(rig, get_le32(p + 4), 0x1000 - 16);
        assert_memory_equal(p, "PCMP", 4);
        assert_int_equal(sum(p, get_le16(p + 4)), 0);
        entries = get_le16(p + 34);
        for (i = 44; i < get_le16(p + 4); i += p[i] == 0 ? 20 : 8)
                found++;
        assert_int_equal(i, get_le16(p + 4));
        assert_int_equal(found, entries);
}

static void
fwtables_smbios_structures_end_where_it_says(void **state)
{
        struct rig *rig = *state;
        static const uint8_t uuid[16] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
        const uint8_t *entry, *p, *end;
        unsigned structures = 0;

        rig->vm.has_uuid = true;
        memcpy(rig->vm.uuid, uuid, 16);
        build(rig);
        entry = at(rig, 0xf1000, 32);
        assert_memory_equal(entry, "_SM_", 4);
        assert_int_equal(sum(entry, 31), 0);
        assert_int_equal(sum(entry + 16, 15), 0);
        p = at(rig, get_le32(entry + 0x18), get_le16(entry + 0x16));
        end = p + get_le16(entry + 0x16);
        while (p < end) {
                if (p[0] == 1) {
                        assert_int_equal(get_le32(p + 8), 0x00010203);
                        assert_int_equal(get_le16(p + 12), 0x0405);
                        assert_memory_equal(p + 16, uuid + 8, 8);
                }
                for (p += p[1]; p[0] || p[1]; p++)
                        assert_true(p + 2 < end);
                p += 2;
                structures++;
        }
        assert_ptr_equal(p, end);
        assert_int_equal(structures, get_le16(entry + 0x1c));
}

static void
fwtables_left_out_where_not_wanted(void **state)
{
        struct rig *rig = *state;

        rig->vm.acpi = rig->vm.mptable = false;
        assert_int_equal(build(rig), 0);
        assert_int_equal(at(rig, 0xf0000, 1)[0], 0);
        assert_int_equal(at(rig, 0xf2400, 1)[0], 0);
}

static void
run_iasl(struct rig *rig, uint32_t address, const char *name)
{
        const uint8_t *p = at(rig, address, 36);
        char dir[] = "/tmp/fwtables.XXXXXX", command[512];
        FILE *f;

        assert_non_null(mkdtemp(dir));
        snprintf(command, sizeof(command), "%s/%s.aml", dir, name);
        f = fopen(command, "wb");
        assert_non_null(f);
        fwrite(p, 1, get_le32(p + 4), f);
        fclose(f);
        /* Warnings about the disassembly are errors in our bytes; remarks are taste; 3073: _HID beside _ADR. */
        snprintf(command, sizeof(command),
            "cd %s && iasl -d %s.aml >log 2>&1 && ! grep -iE 'warning|error' log && "
            "iasl -we -vr -vw 3073 %s.dsl >log2 2>&1 || { cat log log2; exit 1; }",
            dir, name, name);
        assert_int_equal(system(command), 0);
        snprintf(command, sizeof(command), "rm -r %s", dir);
        assert_int_equal(system(command), 0);
}

static void
fwtables_iasl_understands_them(void **state)
{
        struct rig *rig = *state;

        if (system("iasl -v >/dev/null 2>&1")) {
                print_message("iasl is not installed\n");
                skip();
        }
        build(rig);
        run_iasl(rig, 0xf2800, "dsdt");
        run_iasl(rig, 0xf2500, "apic");
        run_iasl(rig, 0xf2600, "facp");
        run_iasl(rig, 0xf2740, "hpet");
        run_iasl(rig, 0xf2780, "mcfg");
}

static void
fwtables_second_root_bus_makes_valid_aml(void **state)
{
        struct rig *rig = *state;

        if (system("iasl -v >/dev/null 2>&1")) {
                print_message("iasl is not installed\n");
                skip();
        }
        add(rig, "hostbridge", 5, 0, 0);
        add(rig, "uart", 5, 3, 0);
        build(rig);
        run_iasl(rig, 0xf2800, "dsdt");
}

int
main(void)
{
        const struct CMUnitTest tests[] = {
            cmocka_unit_test_setup_teardown(fwtables_acpi_lies_where_bhyve_has_it, setup, teardown),
            cmocka_unit_test_setup_teardown(fwtables_madt_lists_every_processor, setup, teardown),
            cmocka_unit_test_setup_teardown(fwtables_mptable_counts_its_entries, setup, teardown),
            cmocka_unit_test_setup_teardown(fwtables_smbios_structures_end_where_it_says, setup, teardown),
            cmocka_unit_test_setup_teardown(fwtables_left_out_where_not_wanted, setup, teardown),
            cmocka_unit_test_setup_teardown(fwtables_iasl_understands_them, setup, teardown),
            cmocka_unit_test_setup_teardown(fwtables_second_root_bus_makes_valid_aml, setup, teardown),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
