/* SPDX-License-Identifier: BSD-2-Clause */
/* The virtio network interface. */
#ifndef DEV_VIRTIO_NET_H
#define DEV_VIRTIO_NET_H

#include "dev/device.h"

device_create_fn virtio_net_create_pci;

#endif
