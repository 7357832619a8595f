/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A block device as the loaders' file-system readers see it: a range of
 * bytes with checked access.  A partition is a struct blkdev too, a slice of
 * another one; slices are plain values and own nothing.
 *
 * Everything read through it may have been written by an attacker.  There is
 * no caching: the host's page cache lies below.
 */
#ifndef BOOT_FS_BLKDEV_H
#define BOOT_FS_BLKDEV_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Both take a range that blkdev_read and blkdev_write have checked; 0 or -errno. */
struct blkdev_ops {
        int (*read)(void *ctx, uint64_t off, void *buf, size_t len);
        int (*write)(void *ctx, uint64_t off, const void *buf, size_t len); /* NULL: read-only */
};

struct blkdev {
        const struct blkdev_ops *ops;
        void *ctx;
        uint64_t start_bytes; /* added to every offset */
        uint64_t size_bytes;
};

/* -EIO when the range leaves the device. */
int blkdev_read(const struct blkdev *dev, uint64_t off, void *buf, size_t len);

/* In addition -EROFS when the device cannot be written. */
int blkdev_write(const struct blkdev *dev, uint64_t off, const void *buf, size_t len);

/* The part [off, off + len) of @dev, cut at its end; -ERANGE when it begins beyond. */
int blkdev_slice(const struct blkdev *dev, uint64_t off, uint64_t len, struct blkdev *ret_dev);

/*
 * A regular file or a block device of the host.  Where @writable is asked for
 * but not permitted it is opened for reading only.  -EBUSY when a VM uses it.
 * blkdev_close() ends it, after which no slice of it may be used.
 */
int blkdev_open(const char *path, bool writable, struct blkdev *ret_dev);
void blkdev_close(struct blkdev *dev);

/* Over @len bytes of memory, which stay the caller's; @writable memory is changed in place. */
struct blkdev_memory {
        unsigned char *bytes;
        size_t len;
};
void blkdev_from_memory(struct blkdev_memory *mem, bool writable, struct blkdev *ret_dev);

#endif
