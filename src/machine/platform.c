/* SPDX-License-Identifier: BSD-2-Clause */
/* The fixed devices of a PC, in the order they are put in. */
#include "machine/private.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static void
platform_kick(void *ctx, unsigned vcpu, unsigned event, unsigned arg)
{
        vcpu_event(ctx, vcpu, event, arg);
}

static void
platform_reset(void *ctx)
{
        machine_end(ctx, MACHINE_END_RESET);
}

int
platform_create(struct machine *machine, struct config_error *err)
{
        const struct irqchip_config config = { .device_lock = &machine->device_lock,
                .ports = machine->ports,
                .mmio = machine->mmio,
                .lapic = { .count = machine->config->cpus,
                    .tsc_hz = machine->tsc_hz,
                    .x2apic_capable = true,
                    .x2apic_start = machine->config->x2apic,
                    .tsc_deadline = true,
                    .kick = platform_kick,
                    .ctx = machine } };
        int error = irqchip_create(&config, &machine->irqchip);

        if (error == 0) {
                const struct pci_bus_config pci = { .ports = machine->ports,
                        .mmio = machine->mmio,
                        .irq = irqchip_router(machine->irqchip),
                        .reset = platform_reset,
                        .reset_ctx = machine };

                error = pci_bus_create(&pci, &machine->pci);
        }
        if (error != 0)
                config_fail(err, "platform: %s", strerror(-error));
        return error;
}

int
platform_put_tables(struct machine *machine, gpa_t *ret_rsdp, struct config_error *err)
{
        *ret_rsdp = 0;
        return 0;
}

void
platform_destroy(struct machine *machine)
{
        pci_bus_destroy(machine->pci);
        irqchip_destroy(machine->irqchip);
}

bool
platform_press_power_button(struct machine *machine)
{
        return false;
}
