/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * ZFS pools on one disk or a mirror (any one side), for reading: the file
 * system that the pool's bootfs property names, else its root one.
 */
#ifndef BOOT_FS_ZFS_H
#define BOOT_FS_ZFS_H

#include "boot/fs/fs.h"

#define ZFS_NAME_MAX 256u

/* "pool/ROOT/default" for a mounted ZFS; false when @fs is another file system. */
bool zfs_dataset_name(struct fs *fs, char name[ZFS_NAME_MAX]);

/* What keeps the pool on @dev from being read, after -ENOTSUP: static text, "zfs (RAID-Z)" for one. */
const char *zfs_refusal(const struct blkdev *dev);

/* Mounts the dataset @name, the pool's name in front, of the pool on @dev.  -ENOENT; as fs_mount().
 */
int zfs_mount_dataset(const struct blkdev *dev, const char *name, struct fs **ret_fs);

/* Calls @fn with the name of each child of the dataset @name of the mounted pool. */
int zfs_list_children(struct fs *fs, const char *name, void (*fn)(void *ctx, const char *child),
    void *ctx);

#endif
