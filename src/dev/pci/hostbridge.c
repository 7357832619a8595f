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

/*
 * FreeBSD uses MSI only where it sees a PCI Express device, and bhyve's host
 * bridge has always been the one: here a root complex integrated endpoint,
 * which has no link (PCI Express 4.0, 7.5.3).
 */
#define EXPRESS_CAP_BYTES 60u
#define EXPRESS_CAP_FLAGS 0x02u
#define EXPRESS_VERSION_2_INTEGRATED 0x0092u

static int
add_express(struct pci_device *dev)
{
        int cap = pci_cap_add(dev, PCI_CAP_EXP, EXPRESS_CAP_BYTES);

        if (cap < 0)
                return cap;
        pci_set16(dev, (unsigned)cap + EXPRESS_CAP_FLAGS, EXPRESS_VERSION_2_INTEGRATED);
        return 0;
}

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
        error = add_express(dev);
        if (!error)
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
