/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What firmware would have left in memory for the guest: ACPI, SMBIOS and
 * MultiProcessor tables, at bhyve's addresses.  (The memory map, E820, goes
 * with the boot protocols.)  Called once, after pci_bus_assign.
 */
#ifndef FWTABLES_FWTABLES_H
#define FWTABLES_FWTABLES_H

#include "bus/pci.h"
#include "config/vm_config.h"
#include "mem/mem.h"

#define FW_MPTABLE_BASE 0xf0000u
#define FW_SMBIOS_BASE  0xf1000u
#define FW_ACPI_BASE    0xf2400u
#define FW_LIMIT        0x100000u

/* *ret_rsdp: address of ACPI's root pointer, 0 where the configuration wants no tables. */
int fwtables_build(const struct vm_config *vm, struct pci_bus *pci, struct guest_mem *mem, gpa_t *ret_rsdp,
    struct config_error *err);

/* APIC ids by vCPU number; as CPUID reports them. */
#define FW_APIC_ID(vcpu) (vcpu)

/* The UUID of a VM that was given none. */
void fwtables_default_uuid(const char *vm_name, uint8_t uuid[16]);

#endif
