/* SPDX-License-Identifier: BSD-2-Clause */
/* Intel 82371SB data sheet 2.2.10: PIRQRC registers, here eight of them. */
#include "dev/isa/lpc.h"

#include "dev/pci/pcireg.h"

#include <errno.h>
#include <stdlib.h>

#define PIRQ_OFF 0x80u
#define PIRQ_IRQ 0x0fu

unsigned
lpc_pirq_register(unsigned pirq)
{
        return pirq < 4 ? 0x60 + pirq : 0x68 + pirq - 4;
}

/* Firmware's choice, in turn. */
static uint8_t
default_irq(unsigned pirq)
{
        static const uint8_t irqs[] = {10, 11, 5};

        return irqs[pirq % 3];
}

static void
route(struct pci_device *dev, unsigned pirq)
{
        uint8_t value = dev->config[lpc_pirq_register(pirq)];
        bool usable = !(value & PIRQ_OFF) && (LPC_PIRQ_IRQS >> (value & PIRQ_IRQ) & 1);

        pci_bus_route_pirq(dev->bus, pirq, usable ? (int)(value & PIRQ_IRQ) : -1);
}

static bool
lpc_config_write(struct pci_device *dev, unsigned offset, unsigned size, uint32_t value)
{
        bool mine = false;

        for (unsigned pirq = 0; pirq < PCI_PIRQ_COUNT; pirq++) {
                unsigned reg = lpc_pirq_register(pirq);

                if (reg < offset || reg >= offset + size)
                        continue;
                dev->config[reg] = value >> (8 * (reg - offset)) & (PIRQ_OFF | PIRQ_IRQ);
                route(dev, pirq);
                mine = true;
        }
        return mine;
}

static void
set_defaults(struct pci_device *dev)
{
        for (unsigned pirq = 0; pirq < PCI_PIRQ_COUNT; pirq++) {
                dev->config[lpc_pirq_register(pirq)] = default_irq(pirq);
                route(dev, pirq);
        }
}

static void
lpc_destroy(struct pci_device *dev)
{
        free(dev);
}

static const struct pci_device_ops lpc_ops = {
    .name = "lpc",
    .config_write = lpc_config_write,
    .reset = set_defaults,
    .destroy = lpc_destroy,
};

bool
lpc_is(const struct pci_device *dev)
{
        return dev->ops == &lpc_ops;
}

int
lpc_create(const struct device_env *env, const struct device_place *place, const struct config_node *node)
{
        struct pci_ids ids = {.vendor = 0x8086, .device = 0x7000, .class_code = 0x06, .subclass = 0x01};
        struct pci_device *dev;
        int error = pcireg_apply(node, &ids);

        if (error)
                return error;
        dev = calloc(1, sizeof(*dev));
        if (!dev)
                return -ENOMEM;
        pci_device_init(dev, &lpc_ops, &ids);
        error = pci_bus_add(env->pci, dev, place->bus, place->slot, place->func);
        if (error) {
                free(dev);
                return error;
        }
        set_defaults(dev);
        return 0;
}
