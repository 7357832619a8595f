/* SPDX-License-Identifier: BSD-2-Clause */
/* The virtio entropy device. */
#ifndef DEV_VIRTIO_RND_H
#define DEV_VIRTIO_RND_H

#include "dev/device.h"
#include "dev/virtio/virtio.h"

device_create_fn virtio_rnd_create_pci;

int virtio_rnd_create(struct guest_mem *mem, struct loop *loop, struct virtio_device **ret_dev);

#endif
