/* SPDX-License-Identifier: BSD-2-Clause */
/* The MP table: MultiProcessor Specification 1.4, chapter 4. */
#include "dev/isa/acpi_pm.h"
#include "fwtables/private.h"
#include "irq/ioapic.h"
#include "irq/lapic.h"

#define FLOATING_LEN 16
#define ISA_LINES    16

enum { ENTRY_CPU, ENTRY_BUS, ENTRY_IOAPIC, ENTRY_IO_INT, ENTRY_LOCAL_INT };
enum { INT_VECTORED, INT_NMI, INT_SMI, INT_EXTINT };

#define CPU_ENABLED 1
#define CPU_BSP     2
#define CPU_SIGNATURE 0x600u /* family 6; CPUID says it exactly */
#define CPU_FEATURES  0x201u /* FPU and APIC */
#define FLAGS_CONFORM   0x0
#define FLAGS_LEVEL_LOW 0xf

struct builder {
        struct blob *b;
        unsigned entries;
        unsigned bus_nr;
};

static void
add_floating_pointer(struct blob *b)
{
        blob_text(b, "_MP_", 4);
        blob_u32(b, FW_MPTABLE_BASE + FLOATING_LEN);
        blob_u8(b, 1);
        blob_u8(b, 4);
        blob_u8(b, 0);
        blob_zero(b, 5); /* a configuration table follows; virtual wire mode */
        blob_checksum(b, 0, FLOATING_LEN, 10);
}

static void
add_cpu(struct builder *d, unsigned i)
{
        blob_u8(d->b, ENTRY_CPU);
        blob_u8(d->b, (uint8_t)FW_APIC_ID(i));
        blob_u8(d->b, 0x14);
        blob_u8(d->b, CPU_ENABLED | (i == 0 ? CPU_BSP : 0));
        blob_u32(d->b, CPU_SIGNATURE);
        blob_u32(d->b, CPU_FEATURES);
        blob_zero(d->b, 8);
        d->entries++;
}

static void
add_bus(struct builder *d, unsigned id, const char *type)
{
        blob_u8(d->b, ENTRY_BUS);
        blob_u8(d->b, (uint8_t)id);
        blob_text(d->b, type, 6);
        d->entries++;
}

static void
add_ioapic(struct builder *d)
{
        blob_u8(d->b, ENTRY_IOAPIC);
        blob_u8(d->b, FW_IOAPIC_ID);
        blob_u8(d->b, 0x11);
        blob_u8(d->b, 1);
        blob_u32(d->b, IOAPIC_BASE);
        d->entries++;
}

static void
add_interrupt(struct builder *d, uint8_t entry, uint8_t type, uint16_t flags, unsigned bus, unsigned irq,
    uint8_t apic, unsigned pin)
{
        blob_u8(d->b, entry);
        blob_u8(d->b, type);
        blob_u16(d->b, flags);
        blob_u8(d->b, (uint8_t)bus);
        blob_u8(d->b, (uint8_t)irq);
        blob_u8(d->b, apic);
        blob_u8(d->b, (uint8_t)pin);
        d->entries++;
}

static void
add_isa_interrupts(struct builder *d, unsigned isa_bus)
{
        add_interrupt(d, ENTRY_IO_INT, INT_EXTINT, FLAGS_CONFORM, isa_bus, 0, FW_IOAPIC_ID, 0);
        for (unsigned irq = 0; irq < ISA_LINES; irq++) {
                uint16_t flags = irq == ACPI_SCI ? FLAGS_LEVEL_LOW : FLAGS_CONFORM;

                if (irq == 2)
                        continue; /* the cascade */
                add_interrupt(d, ENTRY_IO_INT, INT_VECTORED, flags, isa_bus, irq, FW_IOAPIC_ID, irq ? irq : 2);
        }
}

static void
add_pci_interrupt(void *ctx, unsigned slot, unsigned pin)
{
        struct builder *d = ctx;

        add_interrupt(d, ENTRY_IO_INT, INT_VECTORED, FLAGS_LEVEL_LOW, d->bus_nr, slot << 2 | (pin - 1),
            FW_IOAPIC_ID, 16 + pci_pirq_of(slot, pin));
}

static bool
bus_exists(struct pci_bus *pci, unsigned bus_nr)
{
        struct pci_windows w;

        pci_bus_windows(pci, bus_nr, &w);
        return bus_nr == 0 || w.io_base;
}

static void
add_buses(struct builder *d, struct pci_bus *pci, unsigned isa_bus)
{
        for (unsigned nr = 0; nr <= pci_bus_last(pci); nr++) {
                if (bus_exists(pci, nr))
                        add_bus(d, nr, "PCI");
        }
        add_bus(d, isa_bus, "ISA");
}

/* ISA's bus id follows the last PCI bus's; buses of 255 would leave none, and no I/O interrupts. */
void
mptable_build(struct blob *b, const struct vm_config *vm, struct pci_bus *pci)
{
        struct builder d = {.b = b};
        unsigned isa_bus = (pci_bus_last(pci) + 1) & 0xff;
        size_t start;

        add_floating_pointer(b);
        start = b->len;
        blob_text(b, "PCMP", 4);
        blob_u16(b, 0);
        blob_u8(b, 4);
        blob_u8(b, 0);
        blob_text(b, "BHYVE", 8);
        blob_text(b, "Hypervisor", 12);
        blob_zero(b, 6); /* no OEM table */
        blob_u16(b, 0);
        blob_u32(b, LAPIC_BASE);
        blob_zero(b, 4);
        for (unsigned i = 0; i < vm->cpus; i++)
                add_cpu(&d, i);
        add_buses(&d, pci, isa_bus);
        add_ioapic(&d);
        add_isa_interrupts(&d, isa_bus);
        for (; d.bus_nr <= pci_bus_last(pci); d.bus_nr++)
                fw_for_each_pin(pci, d.bus_nr, add_pci_interrupt, &d);
        add_interrupt(&d, ENTRY_LOCAL_INT, INT_EXTINT, FLAGS_CONFORM, isa_bus, 0, 0xff, 0);
        add_interrupt(&d, ENTRY_LOCAL_INT, INT_NMI, FLAGS_CONFORM, isa_bus, 0, 0xff, 1);
        blob_set16(b, start + 4, (uint16_t)(b->len - start));
        blob_set16(b, start + 34, (uint16_t)d.entries);
        blob_checksum(b, start, b->len, start + 7);
}
