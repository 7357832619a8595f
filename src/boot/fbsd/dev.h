/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The loader's devices and its paths.
 *
 *   host0:/path           the host's directory given with -h
 *   disk0:/path           disk 0: its best partition, or the whole disk where it has no table
 *   disk0p2:/path         GPT partition 2
 *   disk0s1:/path         MBR slice 1, or the best partition of its BSD label
 *   disk0s1a: disk0a:     a BSD partition
 *   zfs:pool/ROOT/x:      a ZFS file system, of a pool on any of the disks
 *   /path, path           on the current device
 *
 * File systems are mounted when first used and stay mounted.
 */
#ifndef BOOT_FBSD_DEV_H
#define BOOT_FBSD_DEV_H

#include "boot/fs/fs.h"
#include "boot/fs/part.h"

#define DEV_DISKS_MAX  32u
#define DEV_MOUNTS_MAX 64u
#define DEV_NAME_MAX   320u /* zfs:POOL/DATASET is the longest */

struct dev_disk {
        char *path;
        struct blkdev dev;
};

struct dev_mount {
        char name[DEV_NAME_MAX]; /* without ':' */
        struct blkdev dev;
        struct fs *fs;
};

struct devs {
        unsigned disk_count;
        struct dev_disk disks[DEV_DISKS_MAX];
        unsigned mount_count;
        struct dev_mount mounts[DEV_MOUNTS_MAX];
        struct fs *host; /* NULL: there is no host0: */
        char current[DEV_NAME_MAX]; /* the current device with its ':' */
        const char *why; /* static text about the last -ENOTSUP: the file system's name */
};

/* -errno; -ENOSPC beyond DEV_DISKS_MAX.  The disk is written to only for nextboot.conf. */
int dev_add_disk(struct devs *devs, const char *path);
int dev_set_host(struct devs *devs, const char *dir);

/* Makes the first disk's boot partition (or host0:) the current device. */
void dev_choose_current(struct devs *devs);

/* -ENXIO or -EINVAL when @name ("disk0p2:") is no device; it need not hold a file system. */
int dev_check(struct devs *devs, const char *name);

/* True when @spec names a device or has a directory in it. */
bool dev_has_path(const char *spec);

/* The mounted file system and the path on it that @spec means; *@ret_path points into @spec. */
int dev_resolve(struct devs *devs, const char *spec, struct fs **ret_fs, const char **ret_path);

/* fs_open, fs_load and fs_find over dev_resolve. */
int dev_open(struct devs *devs, const char *spec, struct fs_file *ret_file);
int dev_load(struct devs *devs, const char *spec, size_t limit, void **ret_buf, size_t *ret_len);
int dev_find(struct devs *devs, const char *spec, enum fs_type *ret_type);

/* Calls @line for each child of the ZFS dataset @name ("pool/ROOT"). */
int dev_list_zfs(struct devs *devs, const char *name, void (*line)(void *ctx, const char *text),
    void *ctx);

/* Calls @line for each line of what lsdev shows. */
void dev_list(
    struct devs *devs, bool verbose, void (*line)(void *ctx, const char *text), void *ctx);

/* "No such file or directory" and so on; for -ENOTSUP it names the file system. */
const char *dev_strerror(const struct devs *devs, int err, char *buf, size_t size);

void dev_finish(struct devs *devs);

#endif
