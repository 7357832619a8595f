/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The layers of the ZFS reader: blocks (zfs_block.c), objects and name tables
 * (zfs_object.c), pool and file system (zfs.c).  Layout after "ZFS On-Disk
 * Specification" and OpenZFS's module/zfs; little-endian pools only.
 */
#ifndef BOOT_FS_ZFS_IMPL_H
#define BOOT_FS_ZFS_IMPL_H

#include "boot/fs/zfs.h"

#define ZFS_BLKPTR     128u
#define ZFS_DNODE      512u
#define ZFS_DNODE_MAX  (32 * ZFS_DNODE) /* a large one takes several slots */
#define ZFS_BLOCK_MAX  (32u << 20)
#define ZFS_CACHE      8u

/* One decompressed block, kept. */
struct zfs_block {
        unsigned char key[ZFS_BLKPTR]; /* the pointer it was read by */
        unsigned char *bytes;          /* NULL: unused */
        size_t len;
        uint64_t used; /* when it was used last */
};

struct zfs_objset {
        unsigned char meta[ZFS_DNODE]; /* the dnode of the table of dnodes */
};

struct zfs {
        struct fs fs;
        char pool[ZFS_NAME_MAX];
        char dataset[ZFS_NAME_MAX];
        struct zfs_objset mos; /* the pool's own objects */
        struct zfs_objset os;  /* the mounted file system's */
        uint64_t root;
        struct zfs_block cache[ZFS_CACHE];
        uint64_t clock;
};

/* --- zfs_block.c --- */

/* Whether a block pointer points nowhere. */
bool zfs_hole(const unsigned char *bp);
/* The block's length when decompressed. */
size_t zfs_block_len(const unsigned char *bp);
/* Its contents, good until the next call.  -EIO, -ENOTSUP (encrypted, big-endian). */
int zfs_block_read(struct zfs *z, const unsigned char *bp, const unsigned char **ret_bytes,
    size_t *ret_len);
void zfs_block_drop_all(struct zfs *z);

/* zfs_unpack.c: exactly @out_len bytes come out, or -EIO. */
int zfs_unpack(unsigned method, const unsigned char *in, size_t len, unsigned char *out,
    size_t out_len);

/* --- zfs_object.c --- */

int zfs_objset_open(struct zfs *z, const unsigned char *bp, struct zfs_objset *ret_os);
int zfs_dnode_get(struct zfs *z, const struct zfs_objset *os, uint64_t object,
    unsigned char dnode[ZFS_DNODE]);
/* Contents of an object: @len bytes at @off; holes read as zeros. */
int zfs_dnode_read(struct zfs *z, const unsigned char *dnode, uint64_t off, void *buf, size_t len);
/* The same with all of a large dnode's slots, @dnode of ZFS_DNODE_MAX bytes; its length goes to *@ret_len. */
int zfs_dnode_get_whole(struct zfs *z, const struct zfs_objset *os, uint64_t object, unsigned char *dnode,
    size_t *ret_len);
/* The bonus area of a dnode of which @dnode_len bytes are there, and its length. */
const unsigned char *zfs_bonus(const unsigned char *dnode, size_t dnode_len, size_t *ret_len);

struct zfs_zap_entry {
        char name[FS_NAME_MAX + 1];
        uint64_t value;
};

/* Goes through a table: 1 with an entry, 0 at the end, -errno.  *@pos starts at 0. */
int zfs_zap_next(struct zfs *z, const unsigned char *dnode, uint64_t *pos,
    struct zfs_zap_entry *ret_entry);
int zfs_zap_lookup(struct zfs *z, const struct zfs_objset *os, uint64_t object, const char *name,
    uint64_t *ret_value);

#endif
