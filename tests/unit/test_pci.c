/* SPDX-License-Identifier: BSD-2-Clause */
/* Configuration space, BARs, INTx, MSI and MSI-X, driven through the ports as a guest does. */
#include "bus/pci.h"
#include "base/util.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <cmocka.h>

struct rig {
        pthread_mutex_t lock;
        struct io_space *ports, *mmio;
        struct irq_router *irq;
        struct pci_bus *pci;
        bool line[IRQ_GSI_COUNT];
        unsigned messages, resets, device_resets;
        uint64_t address;
        uint32_t data;
        int fd; /* what the sink gives senders of messages; -1: nothing */
        unsigned asked;
        uint64_t written[3]; /* last value written to each BAR */
        struct pci_device dev;
};

static void
on_line(void *ctx, unsigned gsi, bool level)
{
        ((struct rig *)ctx)->line[gsi] = level;
}

static void
on_msi(void *ctx, uint64_t address, uint32_t data)
{
        struct rig *rig = ctx;

        rig->messages++;
        rig->address = address;
        rig->data = data;
}

static int
on_message_fd(void *ctx, unsigned number, uint64_t address, uint32_t data)
{
        struct rig *rig = ctx;

        assert_int_equal(number, 0); /* one of the vectors sends in these tests */
        rig->asked++;
        rig->address = address;
        rig->data = data;
        return rig->fd;
}

static void
on_reset(void *ctx)
{
        ((struct rig *)ctx)->resets++;
}

static uint64_t
bar_read(void *ctx, uint64_t offset, unsigned size)
{
        return offset + 0x1000;
}

static void
bar_write(void *ctx, uint64_t offset, unsigned size, uint64_t value)
{
        *(uint64_t *)ctx = value;
}

static void
dev_reset(struct pci_device *dev)
{
        container_of(dev, struct rig, dev)->device_resets++;
}

static const struct irq_sink_ops sink = {.line = on_line, .msi = on_msi, .message_fd = on_message_fd};
static const struct io_ops bar_ops = {.read = bar_read, .write = bar_write};
static const struct pci_device_ops dev_ops = {.name = "test", .reset = dev_reset};
static const struct pci_ids dev_ids = {.vendor = 0x1af4, .device = 0x1001, .class_code = 1, .subvendor = 0x1af4};

static int
setup(void **state)
{
        struct rig *rig = calloc(1, sizeof(*rig));
        struct pci_bus_config config = {.reset = on_reset, .reset_ctx = rig};

        rig->fd = -1;
        pthread_mutex_init(&rig->lock, NULL);
        assert_int_equal(io_space_create(&rig->lock, &rig->ports), 0);
        assert_int_equal(io_space_create(&rig->lock, &rig->mmio), 0);
        assert_int_equal(irq_router_create(&sink, rig, &rig->irq), 0);
        config.ports = rig->ports;
        config.mmio = rig->mmio;
        config.irq = rig->irq;
        assert_int_equal(pci_bus_create(&config, &rig->pci), 0);
        pci_device_init(&rig->dev, &dev_ops, &dev_ids);
        assert_int_equal(pci_bar_add(&rig->dev, 0, PCI_BAR_IO, 40, &bar_ops, &rig->written[0], 0), 0);
        assert_int_equal(pci_msix_init(&rig->dev, 1, 3), 0);
        assert_int_equal(pci_bar_add(&rig->dev, 2, PCI_BAR_MEM64, 0x4000, &bar_ops, &rig->written[1], 0), 0);
        assert_int_equal(pci_msi_init(&rig->dev, 4), 0);
        pci_intx_init(&rig->dev);
        assert_int_equal(pci_bus_add(rig->pci, &rig->dev, 0, 3, 0), 0);
        assert_int_equal(pci_bus_assign(rig->pci), 0);
        *state = rig;
        return 0;
}

static int
teardown(void **state)
{
        struct rig *rig = *state;

        pci_bus_destroy(rig->pci);
        irq_router_destroy(rig->irq);
        io_space_destroy(rig->ports);
        io_space_destroy(rig->mmio);
        free(rig);
        return 0;
}

static uint32_t
cfg_read(struct rig *rig, unsigned slot, unsigned reg, unsigned size)
{
        uint64_t value = 0;

        assert_true(io_space_write(rig->ports, 0xcf8, 4, 0x80000000u | slot << 11 | (reg & 0xfc)));
        assert_true(io_space_read(rig->ports, 0xcfc + (reg & 3), size, &value));
        return (uint32_t)value;
}

static void
cfg_write(struct rig *rig, unsigned reg, unsigned size, uint32_t value)
{
        assert_true(io_space_write(rig->ports, 0xcf8, 4, 0x80000000u | 3 << 11 | (reg & 0xfc)));
        assert_true(io_space_write(rig->ports, 0xcfc + (reg & 3), size, value));
}

static unsigned
find_cap(struct rig *rig, uint8_t id)
{
        unsigned at = cfg_read(rig, 3, PCI_CFG_CAP_PTR, 1);

        while (at && cfg_read(rig, 3, at, 1) != id)
                at = cfg_read(rig, 3, at + 1, 1);
        assert_int_not_equal(at, 0);
        return at;
}

static void
pci_mechanism1_and_ecam_see_the_same(void **state)
{
        struct rig *rig = *state;
        uint64_t value = 0;

        assert_int_equal(cfg_read(rig, 3, 0, 4), 0x10011af4);
        assert_int_equal(cfg_read(rig, 3, 2, 2), 0x1001);
        assert_int_equal(cfg_read(rig, 4, 0, 4), 0xffffffff);
        assert_true(io_space_read(rig->mmio, PCI_ECAM_BASE + (3 << 15), 4, &value));
        assert_int_equal(value, 0x10011af4);
        assert_true(io_space_read(rig->mmio, PCI_ECAM_BASE + (3 << 15) + 0x100, 4, &value));
        assert_int_equal(value, 0xffffffff);
        assert_true(io_space_read(rig->mmio, PCI_ECAM_BASE + (200u << 20), 2, &value));
        assert_int_equal(value, 0xffff);
        cfg_write(rig, 0, 4, 0); /* identity is read-only */
        assert_int_equal(cfg_read(rig, 3, 0, 4), 0x10011af4);
        io_space_write(rig->ports, 0xcf8, 4, 3 << 11); /* not enabled */
        assert_true(io_space_read(rig->ports, 0xcfc, 4, &value));
        assert_int_equal(value, 0xffffffff);
}

static void
pci_reset_control_resets_on_bit_2(void **state)
{
        struct rig *rig = *state;
        uint64_t value = 0;

        io_space_write(rig->ports, 0xcf9, 1, 2);
        assert_int_equal(rig->resets, 0);
        io_space_read(rig->ports, 0xcf9, 1, &value);
        assert_int_equal(value, 2);
        io_space_write(rig->ports, 0xcf9, 1, 6);
        assert_int_equal(rig->resets, 1);
}

static void
pci_bar_sizing_and_relocation(void **state)
{
        struct rig *rig = *state;
        uint64_t value = 0;
        uint32_t old = cfg_read(rig, 3, 0x10, 4);

        assert_int_equal(old, 0x2001);
        assert_true(io_space_read(rig->ports, 0x2010, 1, &value));
        assert_int_equal(value, 0x1010);
        cfg_write(rig, 0x10, 4, 0xffffffff);
        assert_int_equal(cfg_read(rig, 3, 0x10, 4), 0xffffffc1); /* 40 bytes became 64 */
        assert_false(io_space_read(rig->ports, 0x2010, 1, &value));
        cfg_write(rig, 0x10, 4, 0x3040);
        assert_true(io_space_write(rig->ports, 0x3044, 2, 0x55aa));
        assert_int_equal(rig->written[0], 0x55aa);
        cfg_write(rig, PCI_CFG_COMMAND, 2, PCI_CMD_MEM);
        assert_false(io_space_read(rig->ports, 0x3044, 1, &value));
        cfg_write(rig, PCI_CFG_COMMAND, 2, PCI_CMD_MEM | PCI_CMD_IO);
        assert_true(io_space_read(rig->ports, 0x3044, 1, &value));
}

static void
pci_bar64_moves_above_4g(void **state)
{
        struct rig *rig = *state;
        uint64_t value = 0;

        assert_int_equal(cfg_read(rig, 3, 0x18, 4) & 15, 4);
        cfg_write(rig, 0x18, 4, 0xffffffff);
        cfg_write(rig, 0x1c, 4, 0xffffffff);
        assert_int_equal(cfg_read(rig, 3, 0x18, 4), 0xffffc004);
        assert_int_equal(cfg_read(rig, 3, 0x1c, 4), 0xffffffff);
        cfg_write(rig, 0x18, 4, 0x8000);
        cfg_write(rig, 0x1c, 4, 0xd0);
        assert_true(io_space_read(rig->mmio, 0xd000008008, 8, &value));
        assert_int_equal(value, 0x1008);
}

static void
pci_bar_waits_for_a_place_that_is_taken(void **state)
{
        struct rig *rig = *state;
        uint64_t value = 0;
        uint32_t table = cfg_read(rig, 3, 0x14, 4);

        cfg_write(rig, 0x18, 4, table); /* onto the MSI-X table */
        cfg_write(rig, 0x1c, 4, 0);
        assert_false(io_space_read(rig->mmio, table + 0x3000, 4, &value));
        cfg_write(rig, 0x14, 4, 0xd8000000);
        assert_true(io_space_read(rig->mmio, table + 0x3000, 4, &value));
        assert_int_equal(value, 0x4000);
}

static void
pci_intx_reaches_its_pin_and_obeys_the_mask(void **state)
{
        struct rig *rig = *state;

        pci_bus_route_pirq(rig->pci, pci_pirq_of(3, 1), 11);
        pci_irq_set(&rig->dev, true);
        assert_true(rig->line[16 + 3]);
        assert_true(rig->line[11]);
        assert_true(cfg_read(rig, 3, PCI_CFG_STATUS, 2) & PCI_STATUS_INTX);
        pci_bus_route_pirq(rig->pci, pci_pirq_of(3, 1), 5);
        assert_false(rig->line[11]);
        assert_true(rig->line[5]);
        cfg_write(rig, PCI_CFG_COMMAND, 2, PCI_CMD_INTX_OFF);
        assert_false(rig->line[19] || rig->line[5]);
        cfg_write(rig, PCI_CFG_COMMAND, 2, 0);
        assert_true(rig->line[19] && rig->line[5]);
        pci_irq_set(&rig->dev, false);
        assert_false(rig->line[19] || rig->line[5]);
}

static void
pci_msi_uses_no_more_vectors_than_granted(void **state)
{
        struct rig *rig = *state;
        unsigned cap = find_cap(rig, PCI_CAP_MSI);

        pci_msi_notify(&rig->dev, 0);
        assert_int_equal(rig->messages, 0);
        cfg_write(rig, cap + 4, 4, 0xfee01003);
        cfg_write(rig, cap + 8, 4, 0);
        cfg_write(rig, cap + 12, 2, 0x40);
        cfg_write(rig, cap + 2, 2, 0x0071); /* enabled, asks for 128 vectors */
        pci_msi_notify(&rig->dev, 6);
        assert_int_equal(rig->messages, 1);
        assert_int_equal(rig->address, 0xfee01000);
        assert_int_equal(rig->data, 0x42); /* four were offered */
        pci_irq_set(&rig->dev, true);
        assert_false(rig->line[19]);
}

static void
msix_entry(struct rig *rig, unsigned vector, uint32_t address, uint32_t data, uint32_t control)
{
        uint64_t table = cfg_read(rig, 3, 0x14, 4) + 16 * vector;

        assert_true(io_space_write(rig->mmio, table, 8, address));
        assert_true(io_space_write(rig->mmio, table + 8, 4, data));
        assert_true(io_space_write(rig->mmio, table + 12, 4, control));
}

static void
pci_msix_masks_and_remembers(void **state)
{
        struct rig *rig = *state;
        unsigned cap = find_cap(rig, PCI_CAP_MSIX);
        uint64_t pba, value = 0;

        assert_int_equal(cfg_read(rig, 3, cap + 2, 2), 2);
        pba = cfg_read(rig, 3, 0x14, 4) + (cfg_read(rig, 3, cap + 8, 4) & ~7u);
        msix_entry(rig, 1, 0xfee00000, 0x51, 1);
        cfg_write(rig, cap + 2, 2, 0x8000);
        pci_msix_notify(&rig->dev, 1);
        pci_msix_notify(&rig->dev, 1);
        assert_int_equal(rig->messages, 0);
        assert_true(io_space_read(rig->mmio, pba, 8, &value));
        assert_int_equal(value, 2);
        msix_entry(rig, 1, 0xfee00000, 0x52, 0);
        assert_int_equal(rig->messages, 1);
        assert_int_equal(rig->data, 0x52);
        cfg_write(rig, cap + 2, 2, 0xc000);
        pci_msix_notify(&rig->dev, 1);
        assert_int_equal(rig->messages, 1);
        cfg_write(rig, cap + 2, 2, 0x8000);
        assert_int_equal(rig->messages, 2);
        pci_msix_notify(&rig->dev, 3); /* there is no such vector */
        pci_msix_notify(&rig->dev, 4000000000u);
        assert_int_equal(rig->messages, 2);
}

static uint64_t
taken_from(int fd)
{
        uint64_t count = 0;
        ssize_t n = read(fd, &count, sizeof(count));

        return n == sizeof(count) ? count : 0;
}

static void
pci_msix_sends_by_eventfd_what_the_table_says(void **state)
{
        struct rig *rig = *state;
        unsigned cap = find_cap(rig, PCI_CAP_MSIX);

        rig->fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
        msix_entry(rig, 1, 0xfee00000, 0x51, 0);
        cfg_write(rig, cap + 2, 2, 0x8000);
        pci_msix_notify(&rig->dev, 1);
        pci_msix_notify(&rig->dev, 1);
        assert_int_equal(taken_from(rig->fd), 2);
        assert_int_equal(rig->asked, 1);
        assert_int_equal(rig->data, 0x51);
        msix_entry(rig, 1, 0xfee01000, 0x51, 1); /* masked, and to another processor */
        pci_msix_notify(&rig->dev, 1);
        assert_int_equal(taken_from(rig->fd), 0);
        assert_int_equal(rig->asked, 1);
        msix_entry(rig, 1, 0xfee01000, 0x52, 0);
        assert_int_equal(taken_from(rig->fd), 1);
        assert_int_equal(rig->asked, 2);
        assert_int_equal(rig->address, 0xfee01000);
        assert_int_equal(rig->data, 0x52);
        assert_int_equal(rig->messages, 0);
        close(rig->fd);
        rig->fd = -1; /* cannot be had for this one */
        msix_entry(rig, 1, 0xfee01000, 0x53, 0);
        pci_msix_notify(&rig->dev, 1);
        assert_int_equal(rig->messages, 1);
        assert_int_equal(rig->data, 0x53);
}

static void
pci_reset_restores_config_and_bars(void **state)
{
        struct rig *rig = *state;
        uint64_t value = 0;

        cfg_write(rig, 0x10, 4, 0x3040);
        cfg_write(rig, find_cap(rig, PCI_CAP_MSIX) + 2, 2, 0x8000);
        pci_irq_set(&rig->dev, true);
        pci_bus_reset(rig->pci);
        assert_int_equal(rig->device_resets, 1);
        assert_int_equal(cfg_read(rig, 3, 0x10, 4), 0x2001);
        assert_false(pci_msix_enabled(&rig->dev));
        assert_true(io_space_read(rig->ports, 0x2000, 1, &value));
        assert_false(rig->line[19]);
}

static void
pci_add_refuses_what_is_wrong(void **state)
{
        struct rig *rig = *state;
        struct pci_device other;

        pci_device_init(&other, &dev_ops, &dev_ids);
        assert_int_equal(pci_bus_add(rig->pci, &other, 0, 3, 0), -EEXIST);
        assert_int_equal(pci_bus_add(rig->pci, &other, 0, 32, 0), -EINVAL);
        assert_int_equal(pci_bus_add(rig->pci, &other, 256, 0, 0), -EINVAL);
        assert_int_equal(pci_bar_add(&other, 5, PCI_BAR_MEM64, 16, &bar_ops, NULL, 0), -EINVAL);
        assert_int_equal(pci_msi_init(&other, 3), -EINVAL);
        while (pci_cap_add(&other, PCI_CAP_VENDOR, 20) > 0)
                ;
        assert_int_equal(pci_cap_add(&other, PCI_CAP_VENDOR, 20), -ENOSPC);
        assert_int_equal(pci_msix_init(&other, 0, 2049), -EINVAL);
}

int
main(void)
{
        const struct CMUnitTest tests[] = {
            cmocka_unit_test_setup_teardown(pci_mechanism1_and_ecam_see_the_same, setup, teardown),
            cmocka_unit_test_setup_teardown(pci_reset_control_resets_on_bit_2, setup, teardown),
            cmocka_unit_test_setup_teardown(pci_bar_sizing_and_relocation, setup, teardown),
            cmocka_unit_test_setup_teardown(pci_bar64_moves_above_4g, setup, teardown),
            cmocka_unit_test_setup_teardown(pci_bar_waits_for_a_place_that_is_taken, setup, teardown),
            cmocka_unit_test_setup_teardown(pci_intx_reaches_its_pin_and_obeys_the_mask, setup, teardown),
            cmocka_unit_test_setup_teardown(pci_msi_uses_no_more_vectors_than_granted, setup, teardown),
            cmocka_unit_test_setup_teardown(pci_msix_masks_and_remembers, setup, teardown),
            cmocka_unit_test_setup_teardown(pci_msix_sends_by_eventfd_what_the_table_says, setup, teardown),
            cmocka_unit_test_setup_teardown(pci_reset_restores_config_and_bars, setup, teardown),
            cmocka_unit_test_setup_teardown(pci_add_refuses_what_is_wrong, setup, teardown),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
