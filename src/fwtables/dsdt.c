/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The DSDT: root buses with their windows and interrupt routing, the PCI-ISA
 * bridge with its link devices, ISA devices, what the system keeps for itself,
 * and how to switch off.
 */
#include "dev/isa/acpi_pm.h"
#include "dev/isa/hpet.h"
#include "dev/isa/lpc.h"
#include "dev/isa/pc.h"
#include "fwtables/aml.h"
#include "fwtables/private.h"

#include <stdio.h>

#define FIRST_PCI_GSI 16

struct builder {
        struct blob *b;
        const struct vm_config *vm;
        struct pci_bus *pci;
        const struct pci_device *lpc; /* NULL: none on bus 0 */
        unsigned bus_nr;
        bool apic; /* which of the two routing tables */
};

static const struct pci_device *
find_lpc(struct pci_bus *pci)
{
        for (unsigned i = 0; i < 256; i++) {
                const struct pci_device *dev = pci_bus_find(pci, 0, i / 8, i % 8);

                if (dev && lpc_is(dev))
                        return dev;
        }
        return NULL;
}

static void
link_name(char name[5], unsigned pirq)
{
        snprintf(name, 5, "LNK%c", (char)('A' + pirq));
}

static void
register_name(char name[5], unsigned pirq)
{
        snprintf(name, 5, "PIR%c", (char)('A' + pirq));
}

static void
count_pin(void *ctx, unsigned slot, unsigned pin)
{
        unsigned *count = ctx;

        ++*count;
}

/* One element of _PRT: address, pin, source, source index (ACPI 6.4, 6.2.13). */
static void
add_route(void *ctx, unsigned slot, unsigned pin)
{
        const struct builder *d = ctx;
        unsigned pirq = pci_pirq_of(slot, pin);
        size_t package = aml_package_begin(d->b, 4);
        char path[32] = "\\_SB_.PC00.ISA_.";

        aml_int(d->b, slot << 16 | 0xffff);
        aml_int(d->b, pin - 1);
        if (d->apic) {
                aml_int(d->b, 0);
                aml_int(d->b, FIRST_PCI_GSI + pirq);
        } else {
                link_name(path + 16, pirq);
                aml_path(d->b, path);
                aml_int(d->b, 0);
        }
        aml_end(d->b, package);
}

static void
add_routes(struct builder *d, const char *name, bool apic)
{
        unsigned count = 0;
        size_t package;

        d->apic = apic;
        fw_for_each_pin(d->pci, d->bus_nr, count_pin, &count);
        aml_name(d->b, name);
        package = aml_package_begin(d->b, count);
        fw_for_each_pin(d->pci, d->bus_nr, add_route, d);
        aml_end(d->b, package);
}

/* Two tables: one for the I/O APIC, one (with an LPC bridge) for the PICs. */
static void
add_prt(struct builder *d)
{
        size_t method, condition;

        add_routes(d, "APRT", true);
        if (d->lpc)
                add_routes(d, "PPRT", false);
        method = aml_method_begin(d->b, "_PRT", 0);
        if (d->lpc) {
                condition = aml_if_begin(d->b);
                aml_path(d->b, "\\PICM");
                aml_op(d->b, AML_RETURN);
                aml_path(d->b, "APRT");
                aml_end(d->b, condition);
                aml_op(d->b, AML_RETURN);
                aml_path(d->b, "PPRT");
        } else {
                aml_op(d->b, AML_RETURN);
                aml_path(d->b, "APRT");
        }
        aml_end(d->b, method);
}

static void
add_windows(struct builder *d)
{
        struct pci_windows w;
        struct aml_resources r;

        pci_bus_windows(d->pci, d->bus_nr, &w);
        aml_name(d->b, "_CRS");
        r = aml_resources_begin(d->b);
        aml_bus_range(d->b, (uint16_t)d->bus_nr, (uint16_t)d->bus_nr);
        if (d->bus_nr == 0) {
                aml_io(d->b, 0xcf8, 8);
                aml_io_window(d->b, 0, 0xcf8);
                aml_io_window(d->b, 0xd00, PCI_IO_BASE);
        }
        aml_io_window(d->b, (uint16_t)w.io_base, (uint32_t)w.io_limit);
        aml_memory32_window(d->b, (uint32_t)w.mem32_base, w.mem32_limit);
        aml_memory64_window(d->b, w.mem64_base, w.mem64_limit);
        aml_resources_end(d->b, &r);
}

/* --- The PCI interrupt links in the LPC bridge --- */

static void
add_pirq_fields(struct builder *d)
{
        size_t field;
        char name[5];

        aml_pci_region(d->b, "PIRR", lpc_pirq_register(0), 12);
        field = aml_field_begin(d->b, "PIRR");
        for (unsigned pirq = 0; pirq < PCI_PIRQ_COUNT; pirq++) {
                if (pirq == 4)
                        aml_field_skip(d->b, 32);
                register_name(name, pirq);
                aml_field(d->b, name, 8);
        }
        aml_end(d->b, field);
}

/* If (register & 0x80): the link is off. */
static size_t
if_off(struct blob *b, const char *reg)
{
        size_t condition = aml_if_begin(b);

        aml_op(b, AML_AND);
        aml_path(b, reg);
        aml_int(b, 0x80);
        aml_op(b, AML_ZERO); /* no target */
        return condition;
}

static void
add_link_status(struct blob *b, const char *reg)
{
        size_t method = aml_method_begin(b, "_STA", 0);
        size_t condition = if_off(b, reg);

        aml_op(b, AML_RETURN);
        aml_int(b, 0x09);
        aml_end(b, condition);
        aml_op(b, AML_RETURN);
        aml_int(b, 0x0b);
        aml_end(b, method);
}

/* The IRQ mask is the word behind the descriptor's first byte. */
static void
create_mask_field(struct blob *b, const char *name)
{
        aml_op(b, AML_CREATE_WORD_FIELD);
        if (name)
                aml_path(b, name);
        else
                aml_op(b, AML_ARG0);
        aml_int(b, 1);
        aml_path(b, "IRQM");
}

static void
add_link_current(struct blob *b, const char *reg)
{
        struct aml_resources r;
        size_t method, condition;

        aml_name(b, "CRSB");
        r = aml_resources_begin(b);
        aml_irq_shared(b, 0);
        aml_resources_end(b, &r);
        method = aml_method_begin(b, "_CRS", 0);
        create_mask_field(b, "CRSB");
        condition = if_off(b, reg);
        aml_op(b, AML_STORE);
        aml_int(b, 0);
        aml_path(b, "IRQM");
        aml_end(b, condition);
        condition = aml_else_begin(b);
        aml_op(b, AML_AND);
        aml_path(b, reg);
        aml_int(b, 0x0f);
        aml_op(b, AML_LOCAL0);
        aml_op(b, AML_SHIFT_LEFT);
        aml_int(b, 1);
        aml_op(b, AML_LOCAL0);
        aml_path(b, "IRQM");
        aml_end(b, condition);
        aml_op(b, AML_RETURN);
        aml_path(b, "CRSB");
        aml_end(b, method);
}

static void
add_link_control(struct blob *b, const char *reg)
{
        size_t method = aml_method_begin(b, "_DIS", 0);

        aml_op(b, AML_STORE);
        aml_int(b, 0x80);
        aml_path(b, reg);
        aml_end(b, method);
        method = aml_method_begin(b, "_SRS", 1);
        create_mask_field(b, NULL);
        aml_op(b, AML_FIND_RIGHT_BIT);
        aml_path(b, "IRQM");
        aml_op(b, AML_LOCAL0);
        aml_op(b, AML_DECREMENT);
        aml_op(b, AML_LOCAL0);
        aml_op(b, AML_STORE);
        aml_op(b, AML_LOCAL0);
        aml_path(b, reg);
        aml_end(b, method);
}

static void
add_link(struct blob *b, unsigned pirq)
{
        char name[5], reg[5];
        struct aml_resources r;
        size_t device;

        link_name(name, pirq);
        register_name(reg, pirq);
        device = aml_device_begin(b, name);
        aml_name(b, "_HID");
        aml_eisaid(b, "PNP0C0F");
        aml_name_int(b, "_UID", pirq + 1);
        add_link_status(b, reg);
        aml_name(b, "_PRS");
        r = aml_resources_begin(b);
        aml_irq_shared(b, LPC_PIRQ_IRQS);
        aml_resources_end(b, &r);
        add_link_current(b, reg);
        add_link_control(b, reg);
        aml_end(b, device);
}

/* --- ISA devices --- */

struct isa_device {
        const char *name;
        const char *hid;
        uint16_t port[2];
        uint8_t len[2];
        int irq; /* -1: none */
};

static void
add_isa_device(struct blob *b, const struct isa_device *isa)
{
        size_t device = aml_device_begin(b, isa->name);
        struct aml_resources r;

        aml_name(b, "_HID");
        aml_eisaid(b, isa->hid);
        aml_name(b, "_CRS");
        r = aml_resources_begin(b);
        for (unsigned i = 0; i < 2 && isa->len[i]; i++)
                aml_io(b, isa->port[i], isa->len[i]);
        if (isa->irq >= 0)
                aml_irq(b, (unsigned)isa->irq);
        aml_resources_end(b, &r);
        aml_end(b, device);
}

static void
add_com(struct blob *b, unsigned i)
{
        char name[5] = {'C', 'O', 'M', (char)('1' + i), 0};
        size_t device = aml_device_begin(b, name);
        struct aml_resources r;

        aml_name(b, "_HID");
        aml_eisaid(b, "PNP0501");
        aml_name_int(b, "_UID", i + 1);
        aml_name(b, "_CRS");
        r = aml_resources_begin(b);
        aml_io(b, pc_coms[i].port, 8);
        aml_irq(b, pc_coms[i].irq);
        aml_resources_end(b, &r);
        aml_end(b, device);
}

static void
add_isa_devices(struct builder *d)
{
        static const struct isa_device devices[] = {
            {"PIC_", "PNP0000", {0x20, 0xa0}, {2, 2}, 2},
            {"TIMR", "PNP0100", {0x40, 0}, {4, 0}, 0},
            {"RTC_", "PNP0B00", {0x70, 0}, {2, 0}, 8},
            {"KBD_", "PNP0303", {0x60, 0x64}, {1, 1}, 1},
            {"SPKR", "PNP0800", {0x61, 0}, {1, 0}, -1},
        };

        for (unsigned i = 0; i < sizeof(devices) / sizeof(devices[0]); i++)
                add_isa_device(d->b, &devices[i]);
        for (unsigned i = 0; i < PC_COM_COUNT; i++) {
                if (d->vm->com_path[i])
                        add_com(d->b, i);
        }
}

/* Ports and memory that no driver may claim; the debug ports among them. */
static void
add_system_resources(struct builder *d)
{
        struct blob *b = d->b;
        size_t device = aml_device_begin(b, "SIO_");
        struct aml_resources r;

        aml_name(b, "_HID");
        aml_eisaid(b, "PNP0C02");
        aml_name(b, "_CRS");
        r = aml_resources_begin(b);
        if (d->vm->bvmcons)
                aml_io(b, 0x220, 4);
        if (d->vm->bvmdebug_port)
                aml_io(b, 0x224, 4);
        aml_io(b, 0x80, 1);
        aml_io(b, 0x84, 1);
        aml_io(b, 0x92, 1);
        aml_io(b, ACPI_SMI_CMD, 2);
        aml_io(b, 0x4d0, 2);
        aml_io(b, ACPI_PM1A_EVENT, 4);
        aml_io(b, ACPI_PM1A_CONTROL, 2);
        aml_io(b, ACPI_PM_TIMER, 4);
        aml_memory32(b, PCI_ECAM_BASE, PCI_ECAM_LEN, true);
        aml_resources_end(b, &r);
        aml_end(b, device);
}

static void
add_lpc(struct builder *d)
{
        size_t device = aml_device_begin(d->b, "ISA_");

        aml_name_int(d->b, "_ADR", (uint32_t)d->lpc->slot << 16 | d->lpc->func);
        add_pirq_fields(d);
        for (unsigned pirq = 0; pirq < PCI_PIRQ_COUNT; pirq++)
                add_link(d->b, pirq);
        add_isa_devices(d);
        aml_end(d->b, device);
}

static void
add_root_bus(struct builder *d)
{
        char name[8];
        size_t device;

        snprintf(name, sizeof(name), "PC%02X", d->bus_nr);
        device = aml_device_begin(d->b, name);
        aml_name(d->b, "_HID");
        aml_eisaid(d->b, "PNP0A03");
        aml_name_int(d->b, "_ADR", 0); /* FreeBSD's driver misses it, though _HID is enough */
        aml_name_int(d->b, "_UID", d->bus_nr);
        aml_name_int(d->b, "_BBN", d->bus_nr);
        add_windows(d);
        add_prt(d);
        if (d->bus_nr == 0 && d->lpc)
                add_lpc(d);
        aml_end(d->b, device);
}

static void
add_hpet(struct blob *b)
{
        size_t device = aml_device_begin(b, "HPET");
        struct aml_resources r;

        aml_name(b, "_HID");
        aml_eisaid(b, "PNP0103");
        aml_name_int(b, "_UID", 0);
        aml_name(b, "_CRS");
        r = aml_resources_begin(b);
        aml_memory32(b, (uint32_t)HPET_BASE, (uint32_t)HPET_LEN, false);
        aml_resources_end(b, &r);
        aml_end(b, device);
}

/* Only S5, soft off: SLP_TYP for PM1a and PM1b control. */
static void
add_sleep_states(struct blob *b)
{
        size_t package;

        aml_name(b, "_S5_");
        package = aml_package_begin(b, 2);
        aml_int(b, ACPI_SLP_TYP_S5);
        aml_int(b, ACPI_SLP_TYP_S5);
        aml_end(b, package);
}

/* The guest says which controllers it uses: 0 PIC, 1 I/O APIC. */
static void
add_pic_method(struct blob *b)
{
        size_t method;

        aml_name_int(b, "PICM", 0);
        method = aml_method_begin(b, "_PIC", 1);
        aml_op(b, AML_STORE);
        aml_op(b, AML_ARG0);
        aml_path(b, "PICM");
        aml_end(b, method);
}

void
dsdt_build(struct blob *b, const struct vm_config *vm, struct pci_bus *pci)
{
        struct builder d = {.b = b, .vm = vm, .pci = pci, .lpc = find_lpc(pci)};
        size_t start = fw_table_begin(b, "DSDT", 2);
        size_t scope;

        add_sleep_states(b);
        add_pic_method(b);
        scope = aml_scope_begin(b, "\\_SB_");
        for (d.bus_nr = 0; d.bus_nr <= pci_bus_last(pci); d.bus_nr++) {
                struct pci_windows w;

                pci_bus_windows(pci, d.bus_nr, &w);
                if (d.bus_nr == 0 || w.io_base)
                        add_root_bus(&d);
        }
        add_hpet(b);
        add_system_resources(&d);
        aml_end(b, scope);
        fw_table_end(b, start);
}
