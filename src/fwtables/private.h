/* SPDX-License-Identifier: BSD-2-Clause */
/* What the files of src/fwtables share. */
#ifndef FWTABLES_PRIVATE_H
#define FWTABLES_PRIVATE_H

#include "fwtables/blob.h"
#include "fwtables/fwtables.h"

#define FW_IOAPIC_ID 0

/* A table header (ACPI 6.4, 5.2.6); fw_table_end sets its length and checksum. */
size_t fw_table_begin(struct blob *b, const char *signature, uint8_t revision);
void fw_table_end(struct blob *b, size_t start);

/* Every table of ACPI's area, its first byte for FW_ACPI_BASE. */
void acpi_build(struct blob *b, const struct vm_config *vm, struct pci_bus *pci);
void dsdt_build(struct blob *b, const struct vm_config *vm, struct pci_bus *pci);
void mptable_build(struct blob *b, const struct vm_config *vm, struct pci_bus *pci);
void smbios_build(struct blob *b, const struct vm_config *vm, uint64_t low_bytes, uint64_t high_bytes);

/* Calls @fn for each function with an interrupt pin. */
void fw_for_each_pin(struct pci_bus *pci, unsigned bus_nr,
    void (*fn)(void *ctx, unsigned slot, unsigned pin), void *ctx);

#endif
