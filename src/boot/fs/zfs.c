/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * ZFS is recognised and refused by name: reading a pool is not supported.
 * A label lies in the first 256 KiB; its uberblock ring begins 128 KiB into
 * it, one slot per KiB (larger slots keep the magic at the same places).
 */
#include "boot/fs/fs.h"

#include "base/bytes.h"
#include "base/util.h"

#include <errno.h>

#define ZFS_RING_OFF   (128 * KIB)
#define ZFS_RING_BYTES (128 * KIB)
#define ZFS_UB_BYTES   KIB
#define ZFS_UB_MAGIC   0x00bab10cull

static int
zfs_mount(const struct blkdev *dev, struct fs **ret_fs)
{
        unsigned char ub[8];

        for (uint64_t at = 0; at < ZFS_RING_BYTES; at += ZFS_UB_BYTES) {
                if (blkdev_read(dev, ZFS_RING_OFF + at, ub, sizeof(ub)))
                        break;
                if (get_le64(ub) == ZFS_UB_MAGIC || get_be64(ub) == ZFS_UB_MAGIC)
                        return -ENOTSUP;
        }
        return -EINVAL;
}

const struct fs_ops zfs_ops = {
    .name = "zfs",
    .mount = zfs_mount,
};
