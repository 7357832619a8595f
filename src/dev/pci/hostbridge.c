/* SPDX-License-Identifier: BSD-2-Clause */
#include "dev/pci/hostbridge.h"

#include "dev/pci/pcireg.h"

#include <errno.h>
#include <stdlib.h>

static void
hostbridge_destroy(struct pci_device *dev)
{
        free(dev);
}

static const struct pci_device_ops hostbridge_ops = {
    .name = "hostbridge",
    .destroy = hostbridge_destroy,
};

static int
create(const struct device_env *env, const struct device_place *place, const struct config_node *node,
    uint16_t vendor, uint16_t device)
{
        struct pci_ids ids = {.vendor = vendor, .device = device, .class_code = 0x06};
        struct pci_device *dev;
        int error = pcireg_apply(node, &ids);

        if (error)
                return error;
        dev = calloc(1, sizeof(*dev));
        if (!dev)
                return -ENOMEM;
        pci_device_init(dev, &hostbridge_ops, &ids);
        error = pci_bus_add(env->pci, dev, place->bus, place->slot, place->func);
        if (error)
                free(dev);
        return error;
}

int
hostbridge_create(const struct device_env *env, const struct device_place *place,
    const struct config_node *node)
{
        return create(env, place, node, 0x1275, 0x1275);
}

int
amd_hostbridge_create(const struct device_env *env, const struct device_place *place,
    const struct config_node *node)
{
        return create(env, place, node, 0x1022, 0x7432);
}
