/* SPDX-License-Identifier: BSD-2-Clause */
/* The virtio block device. */
#ifndef DEV_VIRTIO_BLK_H
#define DEV_VIRTIO_BLK_H

#include "backend/block/block.h"
#include "dev/device.h"
#include "dev/virtio/virtio.h"

device_create_fn virtio_blk_create_pci;

/*
 * The device without a transport.  Takes @block over on success.  @serial may be
 * NULL for the one derived from the path; 20 bytes of it are used.
 */
int virtio_blk_create(struct guest_mem *mem, struct loop *loop, struct block *block, const char *serial,
    struct virtio_device **ret_dev);

#endif
