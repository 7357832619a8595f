/* SPDX-License-Identifier: BSD-2-Clause */
/* The fixed devices of a PC, in the order they are put in. */
#include "dev/isa/pc.h"
#include "dev/isa/pc_testdev.h"
#include "machine/private.h"

#include "base/util.h"
#include "dev/isa/pc.h"
#include "fwtables/fwtables.h"

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

static void
platform_test_exit(void *ctx, uint8_t status)
{
        machine_end(ctx, (enum machine_end)(MACHINE_END_TEST + status));
}

static const struct pc_ops pc_ops = {
        .reset = platform_reset,
        .poweroff = platform_poweroff,
};

static int
create_irqchip(struct machine *machine)
{
        const struct irqchip_config config = { .device_lock = &machine->device_lock,
                .ports = machine->ports,
                .mmio = machine->mmio,
                .lapic = { .count = machine->config->cpus,
                    .tsc_hz = machine->tsc_hz,
                    .x2apic_capable = x86_model_has_x2apic(machine->model),
                    .x2apic_start = machine->config->x2apic,
                    .tsc_deadline = true,
                    .kick = platform_kick,
                    .ctx = machine,
                    .apics = machine->apics,
                    .engine = machine->engine } };

        return irqchip_create(&config, &machine->irqchip);
}

static int
create_pci(struct machine *machine)
{
        const struct pci_bus_config config = { .ports = machine->ports,
                .mmio = machine->mmio,
                .irq = irqchip_router(machine->irqchip),
                .reset = platform_reset,
                .reset_ctx = machine };

        return pci_bus_create(&config, &machine->pci);
}

static int
create_pc(struct machine *machine, struct config_error *err)
{
        struct pc_config config = { .loop = machine->loop,
                .ports = machine->ports,
                .mmio = machine->mmio,
                .irq = irqchip_router(machine->irqchip),
                .rtc_localtime = machine->config->rtc_localtime,
                .low_bytes = mem_low_bytes(machine->mem),
                .high_bytes = mem_high_bytes(machine->mem),
                .bvmcons = machine->config->bvmcons,
                .bvmdebug_port = machine->config->bvmdebug_port,
                .bvmdebug_address = machine->config->bvmdebug_address,
                .ops = &pc_ops,
                .ctx = machine };

        for (unsigned i = 0; i < PC_COM_COUNT; i++)
                config.com_path[i] = machine->config->com_path[i];
        return pc_create(&config, &machine->pc, err);
}

static int
create_testdev(struct machine *machine, struct config_error *err)
{
        const struct pc_testdev_config config = { .ports = machine->ports,
                .mmio = machine->mmio,
                .irq = irqchip_router(machine->irqchip),
                .device = machine->config->pc_testdev,
                .fwcfg = machine->config->fwcfg,
                .cpus = machine->config->cpus,
                .ram_bytes = mem_low_bytes(machine->mem) + mem_high_bytes(machine->mem),
                .exit = platform_test_exit,
                .ctx = machine };
        int error;

        if (!config.device && !config.fwcfg)
                return 0;
        error = pc_testdev_create(&config, &machine->testdev);
        if (error != 0)
                config_fail(err, "test device: %s", strerror(-error));
        return error;
}

int
platform_create(struct machine *machine, struct config_error *err)
{
        int error = create_irqchip(machine);

        if (error == 0)
                error = create_pci(machine);
        if (error != 0) {
                config_fail(err, "platform: %s", strerror(-error));
                return error;
        }
        error = create_pc(machine, err);
        return error != 0 ? error : create_testdev(machine, err);
}

int
platform_put_tables(struct machine *machine, gpa_t *ret_rsdp, struct config_error *err)
{
        return fwtables_build(machine->config, machine->pci, machine->mem, ret_rsdp, err);
}

/* 18.2 interrupts a second, and no other: all else is masked but the 8259s' cascade. */
void
platform_start_tick(struct machine *machine)
{
        static const struct {
                uint8_t port, value;
        } writes[] = { { 0x43, 0x34 }, { 0x40, 0 }, { 0x40, 0 }, { 0x21, 0xfa } };

        for (unsigned i = 0; i < ARRAY_LEN(writes); i++)
                (void)io_space_write(machine->ports, writes[i].port, 1, writes[i].value);
}

void
platform_destroy(struct machine *machine)
{
        pci_bus_destroy(machine->pci);
        pc_testdev_destroy(machine->testdev);
        pc_destroy(machine->pc);
        irqchip_destroy(machine->irqchip);
}

bool
platform_press_power_button(struct machine *machine)
{
        return pc_press_power_button(machine->pc);
}
