/* SPDX-License-Identifier: BSD-2-Clause */
/* The fixed devices of a PC, in the order they are put in. */
#include "dev/isa/pc.h"
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

static void
platform_poweroff(void *ctx)
{
        machine_end(ctx, MACHINE_END_POWEROFF);
}

static const struct pc_ops platform_pc_ops = {
        .reset = platform_reset,
        .poweroff = platform_poweroff,
};

static int
create_pc(struct machine *machine, struct config_error *err)
{
        const struct vm_config *vm = machine->config;
        struct pc_config config = { .loop = machine->loop,
                .ports = machine->ports,
                .mmio = machine->mmio,
                .irq = irqchip_router(machine->irqchip),
                .rtc_localtime = vm->rtc_localtime,
                .low_bytes = mem_low_bytes(machine->mem),
                .high_bytes = mem_high_bytes(machine->mem),
                .ops = &platform_pc_ops,
                .ctx = machine };

        for (unsigned i = 0; i < PC_COM_COUNT; i++)
                config.com_path[i] = vm->com_path[i];
        return pc_create(&config, &machine->pc, err);
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
        if (error != 0) {
                config_fail(err, "platform: %s", strerror(-error));
                return error;
        }
        return create_pc(machine, err);
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
        pc_destroy(machine->pc);
        irqchip_destroy(machine->irqchip);
}

bool
platform_press_power_button(struct machine *machine)
{
        return pc_press_power_button(machine->pc);
}
