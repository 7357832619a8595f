/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Fuzzes the platform as a guest would: an input is a program of port, MMIO,
 * MSR and line operations against one group of chips (FUZZ_TARGET).
 *
 *      u8 operation, u16 place, u8 size, u32 value; repeated
 */
#include "fuzz.h"

#include "base/bytes.h"
#include "base/log.h"
#include "base/util.h"
#include "dev/isa/lpc.h"
#include "dev/isa/ns16550.h"
#include "dev/isa/pc.h"
#include "dev/pci/hostbridge.h"
#include "dev/pci/uart.h"
#include "irq/irqchip.h"

#include <stdlib.h>
#include <string.h>

enum { TARGET_UART, TARGET_PIT, TARGET_IOAPIC, TARGET_LAPIC, TARGET_PCI, TARGET_ISA };

struct range {
        bool port;
        uint64_t base;
        uint32_t len;
};

static const struct range ranges[][4] = {
    [TARGET_UART] = {{true, 0x2000, 8}},
    [TARGET_PIT] = {{true, 0x40, 4}, {true, 0x61, 1}, {true, 0x70, 2}},
    [TARGET_IOAPIC] = {{false, IOAPIC_BASE, 0x50}, {true, 0x20, 2}, {true, 0xa0, 2}, {true, 0x4d0, 2}},
    [TARGET_LAPIC] = {{false, LAPIC_BASE, 0x1000}},
    [TARGET_PCI] = {{true, 0xcf8, 8}, {false, PCI_ECAM_BASE, 0x40000}, {false, PCI_MEM32_BASE, 0x8000},
        {true, 0x2000, 0x100}},
    [TARGET_ISA] = {{false, 0xfed00000, 0x400}, {true, 0x400, 16}, {true, 0x60, 5}, {true, 0xb2, 2}},
};

#define STEP 8

struct rig {
        pthread_mutex_t lock;
        struct loop *loop;
        struct io_space *ports, *mmio;
        struct irqchip *irqchip;
        struct pci_bus *pci;
        struct pc *pc;
        struct config *config;
        struct pci_device msi; /* a function with everything the core offers */
        struct irq_source line[IRQ_GSI_COUNT];
};

static void
ignore_kick(void *ctx, unsigned vcpu, unsigned event, unsigned arg)
{
        if (vcpu >= 2)
                abort();
}

static void
ignore(void *ctx)
{
}

static const struct pc_ops pc_ops = {.reset = ignore, .poweroff = ignore};

static uint64_t
read_value(void *ctx, uint64_t offset, unsigned size)
{
        return offset;
}

static void
write_value(void *ctx, uint64_t offset, unsigned size, uint64_t value)
{
        if (offset + size > 0x1000)
                abort(); /* outside the BAR */
}

static const struct io_ops bar_ops = {.read = read_value, .write = write_value};

static void
must(int error)
{
        if (error)
                abort();
}

static void
add_functions(struct rig *rig)
{
        static const struct pci_device_ops ops = {.name = "fuzz"};
        static const struct pci_ids ids = {.vendor = 0x1af4, .device = 1};
        const struct device_env env = {.lock = &rig->lock, .loop = rig->loop, .pci = rig->pci};
        const struct device_place places[] = {{0, 0, 0}, {0, 1, 0}, {0, 2, 0}};
        const struct config_node node = {.config = rig->config, .prefix = "pci.0.0.0"};

        must(uart_create(&env, &places[2], &node));
        must(hostbridge_create(&env, &places[0], &node));
        must(lpc_create(&env, &places[1], &node));
        pci_device_init(&rig->msi, &ops, &ids);
        must(pci_bar_add(&rig->msi, 0, PCI_BAR_IO, 64, &bar_ops, NULL, 0));
        must(pci_bar_add(&rig->msi, 2, PCI_BAR_MEM64, 0x1000, &bar_ops, NULL, 0));
        must(pci_msix_init(&rig->msi, 1, 5));
        must(pci_msi_init(&rig->msi, 8));
        pci_intx_init(&rig->msi);
        must(pci_bus_add(rig->pci, &rig->msi, 0, 3, 1));
        must(pci_bus_assign(rig->pci));
}

static struct rig *
make_rig(void)
{
        static struct rig rig;
        static bool made;
        struct irqchip_config irq = {.device_lock = &rig.lock};
        struct pci_bus_config pci = {.reset = ignore};
        struct pc_config pc = {.ops = &pc_ops, .low_bytes = 64 * MIB};
        struct config_error err;

        if (made)
                return &rig;
        made = true;
        log_set_level(LOG_LEVEL_ERROR);
        pthread_mutex_init(&rig.lock, NULL);
        must(loop_create(&rig.lock, &rig.loop));
        must(io_space_create(&rig.lock, &rig.ports));
        must(io_space_create(&rig.lock, &rig.mmio));
        must(config_create(&rig.config));
        must(config_check(rig.config, &err));
        irq.ports = pci.ports = pc.ports = rig.ports;
        irq.mmio = pci.mmio = pc.mmio = rig.mmio;
        irq.lapic = (struct lapic_config){.count = 2, .tsc_hz = 1000000000, .x2apic_capable = true,
            .tsc_deadline = true, .kick = ignore_kick};
        must(irqchip_create(&irq, &rig.irqchip));
        pci.irq = pc.irq = irqchip_router(rig.irqchip);
        pc.loop = rig.loop;
        must(pci_bus_create(&pci, &rig.pci));
        must(pc_create(&pc, &rig.pc, &err));
        add_functions(&rig);
        for (unsigned i = 0; i < IRQ_GSI_COUNT; i++)
                irq_source_init(&rig.line[i], pci.irq, i);
        return &rig;
}

static void
reset_rig(struct rig *rig)
{
        pthread_mutex_lock(&rig->lock);
        for (unsigned i = 0; i < IRQ_GSI_COUNT; i++)
                irq_line_set(&rig->line[i], false);
        pc_reset(rig->pc);
        pci_bus_reset(rig->pci);
        irqchip_reset(rig->irqchip);
        pthread_mutex_unlock(&rig->lock);
}

static uint64_t
pick(const struct range *group, uint16_t place, bool *ret_port)
{
        const struct range *r = &group[place >> 14];

        if (!r->len)
                r = &group[0];
        *ret_port = r->port;
        return r->base + (place & 0x3fff) * (r->len > 0x4000 ? 16 : 1) % r->len;
}

static void
access_memory(struct rig *rig, struct lapic *lapic, uint64_t address, unsigned size, bool write, uint64_t value)
{
        uint64_t result = 0;

        if (lapic_mmio_owns(lapic, address)) {
                if (write)
                        lapic_mmio_write(lapic, address, size, value);
                else
                        lapic_mmio_read(lapic, address, size);
        } else if (write) {
                io_space_write(rig->mmio, address, size, value);
        } else {
                io_space_read(rig->mmio, address, size, &result);
        }
}

static void
access_any(struct rig *rig, struct lapic *lapic, const uint8_t *op, bool write)
{
        unsigned size = 1u << (op[3] & 3);
        uint32_t value = get_le32(op + 4);
        uint64_t result;
        bool port;
        uint64_t address = pick(ranges[FUZZ_TARGET], get_le16(op + 1), &port);

        if (!port) {
                access_memory(rig, lapic, address, size, write, value | (uint64_t)value << 32);
                return;
        }
        size = size > 4 ? 4 : size;
        if (write)
                io_space_write(rig->ports, address, size, value);
        else
                io_space_read(rig->ports, address, size, &result);
}

static void
set_line(struct rig *rig, const uint8_t *op)
{
        pthread_mutex_lock(&rig->lock);
        irq_line_set(&rig->line[op[1] % IRQ_GSI_COUNT], op[2] & 1);
        pci_irq_set(&rig->msi, op[2] & 2);
        pci_msix_notify(&rig->msi, get_le32(op + 4));
        pci_msi_notify(&rig->msi, get_le32(op + 4));
        irq_msi(irqchip_router(rig->irqchip), 0xfee00000u | get_le16(op + 1) << 4, get_le32(op + 4));
        pthread_mutex_unlock(&rig->lock);
}

static void
access_msr(struct lapic *lapic, const uint8_t *op)
{
        uint32_t msr = op[3] & 0x40 ? 0x800u + op[1] : op[3] & 0x20 ? 0x6e0 : 0x1b;
        uint64_t value = get_le32(op + 4);

        if (msr == 0x1b)
                value = LAPIC_BASE | (value & 0xc00);
        if (op[2] & 1)
                lapic_msr_read(lapic, msr, &value);
        else
                lapic_msr_write(lapic, msr, value);
}

static void
run(struct rig *rig, const uint8_t *op)
{
        struct lapic *lapic = irqchip_lapic(rig->irqchip, op[0] >> 7);

        switch (op[0] & 7) {
        case 0:
        case 1:
        case 2:
                access_any(rig, lapic, op, true);
                break;
        case 3:
        case 4:
                access_any(rig, lapic, op, false);
                break;
        case 5:
                set_line(rig, op);
                break;
        case 6:
                access_msr(lapic, op);
                break;
        default:
                if (lapic_intr_pending(lapic) && lapic_intr_ack(lapic) < 0)
                        abort(); /* it said there was one */
                lapic_tpr_write(lapic, op[1] & 15);
                break;
        }
}

/* The model alone, with a line that takes and gives as the input says. */
struct uart_rig {
        struct ns16550 uart;
        unsigned takes;
};

static void
uart_intr(void *ctx, bool level)
{
}

static size_t
uart_transmit(void *ctx, const uint8_t *data, size_t len)
{
        struct uart_rig *rig = ctx;

        return len < rig->takes ? len : rig->takes;
}

static void
uart_timeout(void *ctx, uint64_t ns)
{
}

static void
run_uart(const uint8_t *data, size_t size)
{
        static const struct ns16550_ops ops = {
            .intr = uart_intr, .transmit = uart_transmit, .rx_ready = ignore, .arm_timeout = uart_timeout};
        struct uart_rig rig = {.takes = 0};

        ns16550_init(&rig.uart, &ops, &rig);
        for (size_t i = 0; i + 2 <= size; i += 2) {
                rig.takes = data[i] >> 6;
                if (data[i] & 0x20)
                        ns16550_write(&rig.uart, data[i] & 7, data[i + 1]);
                else if (data[i] & 0x10)
                        ns16550_read(&rig.uart, data[i] & 7);
                else if (data[i] & 0x08)
                        ns16550_receive(&rig.uart, data[i + 1]);
                else if (data[i] & 0x04)
                        ns16550_receive_break(&rig.uart);
                else if (data[i] & 0x02)
                        ns16550_rx_timeout(&rig.uart);
                else
                        ns16550_tx_ready(&rig.uart);
                if (rig.uart.rx_count > NS16550_FIFO_LEN || rig.uart.tx_count > NS16550_FIFO_LEN)
                        abort();
        }
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
        struct rig *rig = make_rig();

        if (FUZZ_TARGET == TARGET_UART)
                run_uart(data, size);
        for (size_t i = 0; i + STEP <= size; i += STEP)
                run(rig, data + i);
        reset_rig(rig);
        return 0;
}
