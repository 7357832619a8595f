/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * ACPI tables (ACPI 6.4 chapter 5) at bhyve's offsets from FW_ACPI_BASE.
 * The blob's first byte is at FW_ACPI_BASE, so that offset and address differ
 * by that alone.
 */
#include "dev/isa/acpi_pm.h"
#include "dev/isa/hpet.h"
#include "fwtables/private.h"
#include "irq/ioapic.h"
#include "irq/lapic.h"

#include <string.h>

#define RSDP_AT 0x000u
#define RSDT_AT 0x040u
#define XSDT_AT 0x080u
#define MADT_AT 0x100u
#define FADT_AT 0x200u
#define HPET_AT 0x340u
#define MCFG_AT 0x380u
#define FACS_AT 0x3c0u
#define DSDT_AT 0x400u

#define HEADER_LEN   36
#define FADT_FLAGS_X (1u << 0 /* WBINVD */ | 1u << 2 /* C1 everywhere */ | 1u << 5 /* no sleep button */ | \
    1u << 6 /* no RTC wake */ | 1u << 8 /* 32-bit timer */ | 1u << 10 /* reset register */)
#define BOOT_ARCH_LEGACY 0x1u
#define BOOT_ARCH_8042   0x2u
#define GAS_MEMORY 0
#define GAS_IO     1

size_t
fw_table_begin(struct blob *b, const char *signature, uint8_t revision)
{
        size_t start = b->len;
        char oem_id[9] = "BV";

        strncat(oem_id, signature, 4);
        blob_text(b, signature, 4);
        blob_u32(b, 0);
        blob_u8(b, revision);
        blob_u8(b, 0);
        blob_text(b, "BHYVE", 6);
        blob_text(b, oem_id, 8);
        blob_u32(b, 1);
        blob_text(b, "BHYV", 4);
        blob_u32(b, 1);
        return start;
}

void
fw_table_end(struct blob *b, size_t start)
{
        blob_set32(b, start + 4, (uint32_t)(b->len - start));
        blob_checksum(b, start, b->len, start + 9);
}

/* Fills up to @offset; a table that ran into the next one's place is our own mistake. */
static void
advance_to(struct blob *b, size_t offset)
{
        if (b->len > offset)
                b->failed = true;
        else
                blob_zero(b, offset - b->len);
}

static void
add_rsdp(struct blob *b)
{
        blob_text(b, "RSD PTR ", 8);
        blob_u8(b, 0);
        blob_text(b, "BHYVE", 6);
        blob_u8(b, 2);
        blob_u32(b, FW_ACPI_BASE + RSDT_AT);
        blob_u32(b, HEADER_LEN);
        blob_u64(b, FW_ACPI_BASE + XSDT_AT);
        blob_zero(b, 4);
        blob_checksum(b, RSDP_AT, RSDP_AT + 20, RSDP_AT + 8);
        blob_checksum(b, RSDP_AT, RSDP_AT + HEADER_LEN, RSDP_AT + 32);
}

static void
add_root_tables(struct blob *b)
{
        static const uint32_t tables[] = {FADT_AT, MADT_AT, HPET_AT, MCFG_AT};
        size_t start;

        advance_to(b, RSDT_AT);
        start = fw_table_begin(b, "RSDT", 1);
        for (unsigned i = 0; i < 4; i++)
                blob_u32(b, FW_ACPI_BASE + tables[i]);
        fw_table_end(b, start);
        advance_to(b, XSDT_AT);
        start = fw_table_begin(b, "XSDT", 1);
        for (unsigned i = 0; i < 4; i++)
                blob_u64(b, FW_ACPI_BASE + tables[i]);
        fw_table_end(b, start);
}

/* ISA IRQ @irq is on I/O APIC pin @gsi; @flags: MPS INTI flags (5.2.12.5). */
static void
add_override(struct blob *b, uint8_t irq, uint32_t gsi, uint16_t flags)
{
        blob_u8(b, 2);
        blob_u8(b, 10);
        blob_u8(b, 0);
        blob_u8(b, irq);
        blob_u32(b, gsi);
        blob_u16(b, flags);
}

static void
add_madt(struct blob *b, const struct vm_config *vm)
{
        size_t start;

        advance_to(b, MADT_AT);
        start = fw_table_begin(b, "APIC", 3);
        blob_u32(b, LAPIC_BASE);
        blob_u32(b, 1); /* the 8259s are there, too */
        for (unsigned i = 0; i < vm->cpus; i++) {
                blob_u8(b, 0);
                blob_u8(b, 8);
                blob_u8(b, (uint8_t)i);
                blob_u8(b, (uint8_t)FW_APIC_ID(i));
                blob_u32(b, 1);
        }
        blob_u8(b, 1);
        blob_u8(b, 12);
        blob_u8(b, FW_IOAPIC_ID);
        blob_u8(b, 0);
        blob_u32(b, IOAPIC_BASE);
        blob_u32(b, 0);
        add_override(b, 0, 2, 0);
        add_override(b, ACPI_SCI, ACPI_SCI, 0xf); /* level, active low */
        blob_u8(b, 4); /* NMI is LINT1 of all */
        blob_u8(b, 6);
        blob_u8(b, 0xff);
        blob_u16(b, 5);
        blob_u8(b, 1);
        fw_table_end(b, start);
}

/* Generic address, 5.2.3.2. */
static void
add_gas(struct blob *b, uint8_t space, uint8_t bits, uint8_t access, uint64_t address)
{
        blob_u8(b, space);
        blob_u8(b, bits);
        blob_u8(b, 0);
        blob_u8(b, access);
        blob_u64(b, address);
}

/* The 32-bit half of the FADT, 5.2.9, up to RESET_REG. */
static void
add_fadt_legacy(struct blob *b)
{
        blob_u32(b, FW_ACPI_BASE + FACS_AT);
        blob_u32(b, FW_ACPI_BASE + DSDT_AT);
        blob_u8(b, 0);
        blob_u8(b, 0); /* preferred profile: not said */
        blob_u16(b, ACPI_SCI);
        blob_u32(b, ACPI_SMI_CMD);
        blob_u8(b, ACPI_ENABLE);
        blob_u8(b, ACPI_DISABLE);
        blob_u8(b, 0);
        blob_u8(b, 0);
        blob_u32(b, ACPI_PM1A_EVENT);
        blob_u32(b, 0);
        blob_u32(b, ACPI_PM1A_CONTROL);
        blob_u32(b, 0);
        blob_u32(b, 0);
        blob_u32(b, ACPI_PM_TIMER);
        blob_zero(b, 8); /* no general-purpose events */
        blob_u8(b, 4);
        blob_u8(b, 2);
        blob_u8(b, 0);
        blob_u8(b, 4);
        blob_zero(b, 4);
        blob_u16(b, 0xfff); /* no C2 */
        blob_u16(b, 0xfff); /* no C3 */
        blob_zero(b, 8); /* cache flush sizes, duty cycle, day and month alarm */
        blob_u8(b, 0x32); /* century */
        blob_u16(b, BOOT_ARCH_LEGACY | BOOT_ARCH_8042);
        blob_u8(b, 0);
        blob_u32(b, FADT_FLAGS_X);
}

static void
add_fadt(struct blob *b)
{
        size_t start;

        advance_to(b, FADT_AT);
        start = fw_table_begin(b, "FACP", 5);
        add_fadt_legacy(b);
        add_gas(b, GAS_IO, 8, 1, 0xcf9);
        blob_u8(b, 0x06);
        blob_zero(b, 3);
        /* The X_ fields; X_FIRMWARE_CTRL is 0 where FIRMWARE_CTRL is not. */
        blob_u64(b, 0);
        blob_u64(b, FW_ACPI_BASE + DSDT_AT);
        add_gas(b, GAS_IO, 32, 2, ACPI_PM1A_EVENT);
        add_gas(b, GAS_IO, 0, 0, 0);
        add_gas(b, GAS_IO, 16, 2, ACPI_PM1A_CONTROL);
        add_gas(b, GAS_IO, 0, 0, 0);
        add_gas(b, GAS_IO, 0, 0, 0);
        add_gas(b, GAS_IO, 32, 3, ACPI_PM_TIMER);
        add_gas(b, GAS_IO, 0, 0, 0);
        add_gas(b, GAS_IO, 0, 0, 0);
        add_gas(b, GAS_IO, 0, 0, 0); /* sleep control */
        add_gas(b, GAS_IO, 0, 0, 0); /* sleep status */
        fw_table_end(b, start);
}

static void
add_hpet(struct blob *b)
{
        size_t start;

        advance_to(b, HPET_AT);
        start = fw_table_begin(b, "HPET", 1);
        blob_u32(b, (uint32_t)HPET_CAPS);
        add_gas(b, GAS_MEMORY, 0, 0, HPET_BASE);
        blob_u8(b, 0);
        blob_u16(b, 0);
        blob_u8(b, 0);
        fw_table_end(b, start);
}

static void
add_mcfg(struct blob *b)
{
        size_t start;

        advance_to(b, MCFG_AT);
        start = fw_table_begin(b, "MCFG", 1);
        blob_zero(b, 8);
        blob_u64(b, PCI_ECAM_BASE);
        blob_u16(b, 0);
        blob_u8(b, 0);
        blob_u8(b, 0xff);
        blob_zero(b, 4);
        fw_table_end(b, start);
}

static void
add_facs(struct blob *b)
{
        advance_to(b, FACS_AT);
        blob_text(b, "FACS", 4);
        blob_u32(b, 64);
        blob_zero(b, 24);
        blob_u8(b, 2);
        blob_zero(b, 31);
}

void
acpi_build(struct blob *b, const struct vm_config *vm, struct pci_bus *pci)
{
        add_rsdp(b);
        add_root_tables(b);
        add_madt(b, vm);
        add_fadt(b);
        add_hpet(b);
        add_mcfg(b);
        add_facs(b);
        advance_to(b, DSDT_AT);
        dsdt_build(b, vm, pci);
}
