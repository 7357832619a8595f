/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * virtio over PCI, transitional: the registers of 0.9.5 in I/O BAR 0 for old
 * drivers (FreeBSD 10 knows no others), the structures of 1.x in memory BAR 4
 * for new ones (virtio 1.2, 4.1).  Interrupts by MSI-X (BAR 1), else MSI, else INTx.
 *
 * Notifications take no lock: they only ring the device's bell.
 */
#ifndef DEV_VIRTIO_VIRTIO_PCI_H
#define DEV_VIRTIO_VIRTIO_PCI_H

#include "dev/device.h"
#include "dev/virtio/virtio.h"

struct virtio_pci_class {
        uint8_t class_code, subclass;
};

/*
 * Puts @dev, initialised, on the bus.  On success the bus owns it and ends it with
 * virtio_finish and ops->destroy; on failure the caller still does.
 */
int virtio_pci_create(const struct device_env *env, const struct device_place *place,
    struct virtio_device *dev, struct virtio_pci_class class_codes);

#endif
