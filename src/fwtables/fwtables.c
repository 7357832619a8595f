/* SPDX-License-Identifier: BSD-2-Clause */
#include "fwtables/fwtables.h"

#include "fwtables/private.h"

#include <errno.h>
#include <string.h>

void
fw_for_each_pin(struct pci_bus *pci, unsigned bus_nr, void (*fn)(void *ctx, unsigned slot, unsigned pin),
    void *ctx)
{
        for (unsigned slot = 0; slot < 32; slot++) {
                unsigned pins = 0;

                for (unsigned func = 0; func < 8; func++) {
                        const struct pci_device *dev = pci_bus_find(pci, bus_nr, slot, func);

                        if (dev)
                                pins |= 1u << dev->config[PCI_CFG_INT_PIN];
                }
                for (unsigned pin = 1; pin <= 4; pin++) {
                        if (pins >> pin & 1)
                                fn(ctx, slot, pin);
                }
        }
}

/* Copies a finished table to [base, limit) of guest memory. */
static int
put(struct blob *b, struct guest_mem *mem, gpa_t base, gpa_t limit, const char *what, struct config_error *err)
{
        int error = 0;

        if (b->failed)
                error = -ENOMEM;
        else if (b->len > limit - base)
                error = -ENOSPC;
        else
                error = mem_write(mem, base, b->bytes, b->len);
        blob_finish(b);
        if (error)
                config_fail(err, "%s: %s", what, strerror(-error));
        return error;
}

int
fwtables_build(const struct vm_config *vm, struct pci_bus *pci, struct guest_mem *mem, gpa_t *ret_rsdp,
    struct config_error *err)
{
        struct blob b;
        int error = 0;

        *ret_rsdp = 0;
        blob_init(&b);
        if (vm->mptable) {
                mptable_build(&b, vm, pci);
                error = put(&b, mem, FW_MPTABLE_BASE, FW_SMBIOS_BASE, "MP table", err);
        }
        if (!error) {
                smbios_build(&b, vm, mem_low_bytes(mem), mem_high_bytes(mem));
                error = put(&b, mem, FW_SMBIOS_BASE, FW_ACPI_BASE, "SMBIOS", err);
        }
        if (!error && vm->acpi) {
                acpi_build(&b, vm, pci);
                error = put(&b, mem, FW_ACPI_BASE, FW_LIMIT, "ACPI tables", err);
        }
        if (!error && vm->acpi)
                *ret_rsdp = FW_ACPI_BASE;
        return error;
}
