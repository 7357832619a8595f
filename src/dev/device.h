/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What every emulated PCI function is made from, and how it is made.
 *
 * A create function reads its keys from the configuration node, says on
 * standard error what is wrong with them, and adds the function to the bus;
 * from then on the bus owns it (pci_bus_destroy frees it).
 */
#ifndef DEV_DEVICE_H
#define DEV_DEVICE_H

#include "base/loop.h"
#include "bus/pci.h"
#include "config/config.h"
#include "mem/mem.h"

/* All of it outlives the devices. */
struct device_env {
        pthread_mutex_t *lock; /* the device lock */
        struct loop *loop;
        struct guest_mem *mem;
        struct pci_bus *pci;
        const char *vm_name;
        bool doorbells;   /* the engine may ring doorbells itself (struct io_doorbell) */
        bool virtio_msix; /* virtio functions offer MSI-X, else MSI */
};

struct device_place {
        uint8_t bus, slot, func;
};

/* Device lock held, or before the machine runs.  0 or -errno, then it has been said why. */
typedef int device_create_fn(const struct device_env *env, const struct device_place *place,
    const struct config_node *node);

#endif
