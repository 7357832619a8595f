/* SPDX-License-Identifier: BSD-2-Clause */
/* What an engine reaches of the machine: ports, MMIO, the local APIC. */
#include "base/log.h"
#include "machine/private.h"

#include <inttypes.h>

static struct lapic *
env_lapic(struct machine *machine, unsigned vcpu)
{
        return irqchip_lapic(machine->irqchip, vcpu);
}

static void
env_unhandled_port(struct machine *machine, const char *what, uint16_t port, unsigned size)
{
        if (!machine->config->strict_io)
                return;
        log_error("%s of %u bytes at port 0x%x, which nothing emulates (-e)", what, size, port);
        machine_end(machine, MACHINE_END_ERROR);
}

static uint32_t
env_port_in(void *ctx, unsigned vcpu, uint16_t port, unsigned size)
{
        struct machine *machine = ctx;
        uint64_t value;

        if (io_space_read(machine->ports, port, size, &value))
                return (uint32_t)value;
        env_unhandled_port(machine, "read", port, size);
        return size == 4 ? 0xffffffffu : (1u << (8 * size)) - 1;
}

static void
env_port_out(void *ctx, unsigned vcpu, uint16_t port, unsigned size, uint32_t value)
{
        struct machine *machine = ctx;

        if (!io_space_write(machine->ports, port, size, value))
                env_unhandled_port(machine, "write", port, size);
}

static uint64_t
env_mmio_read(void *ctx, unsigned vcpu, gpa_t gpa, unsigned size)
{
        struct machine *machine = ctx;
        struct lapic *lapic = env_lapic(machine, vcpu);
        uint64_t value;

        if (lapic_mmio_owns(lapic, gpa))
                return lapic_mmio_read(lapic, gpa, size);
        if (io_space_read(machine->mmio, gpa, size, &value))
                return value;
        return UINT64_MAX >> (64 - 8 * size);
}

static void
env_mmio_write(void *ctx, unsigned vcpu, gpa_t gpa, unsigned size, uint64_t value)
{
        struct machine *machine = ctx;
        struct lapic *lapic = env_lapic(machine, vcpu);

        if (lapic_mmio_owns(lapic, gpa))
                lapic_mmio_write(lapic, gpa, size, value);
        else
                (void)io_space_write(machine->mmio, gpa, size, value);
}

static int
env_intr_ack(void *ctx, unsigned vcpu)
{
        return lapic_intr_ack(env_lapic(ctx, vcpu));
}

static bool
env_intr_pending(void *ctx, unsigned vcpu)
{
        return lapic_intr_pending(env_lapic(ctx, vcpu));
}

static uint8_t
env_tpr_read(void *ctx, unsigned vcpu)
{
        return lapic_tpr_read(env_lapic(ctx, vcpu));
}

static void
env_tpr_write(void *ctx, unsigned vcpu, uint8_t tpr)
{
        lapic_tpr_write(env_lapic(ctx, vcpu), tpr);
}

static int
env_msr_read(void *ctx, unsigned vcpu, uint32_t msr, uint64_t *ret_value)
{
        return lapic_msr_read(env_lapic(ctx, vcpu), msr, ret_value);
}

static int
env_msr_write(void *ctx, unsigned vcpu, uint32_t msr, uint64_t value)
{
        return lapic_msr_write(env_lapic(ctx, vcpu), msr, value);
}

static void
env_eoi(void *ctx, unsigned vcpu, uint8_t vector)
{
        struct machine *machine = ctx;

        irqchip_eoi(machine->irqchip, vector);
}

static void
env_tsc_moved(void *ctx, unsigned vcpu, uint64_t tsc_offset)
{
        lapic_set_tsc_offset(env_lapic(ctx, vcpu), tsc_offset);
}

const struct cpu_env_ops machine_env_ops = {
        .port_in = env_port_in,
        .port_out = env_port_out,
        .mmio_read = env_mmio_read,
        .mmio_write = env_mmio_write,
        .intr_ack = env_intr_ack,
        .intr_pending = env_intr_pending,
        .tpr_read = env_tpr_read,
        .tpr_write = env_tpr_write,
        .msr_read = env_msr_read,
        .msr_write = env_msr_write,
        .eoi = env_eoi,
        .tsc_moved = env_tsc_moved,
};
