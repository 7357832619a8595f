/* SPDX-License-Identifier: BSD-2-Clause */
/* Block devices for the loaders: range checks, slices, files and memory.  See blkdev.h. */
#include "boot/fs/blkdev.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

static bool
range_ok(const struct blkdev *dev, uint64_t off, size_t len)
{
        return off <= dev->size_bytes && len <= dev->size_bytes - off;
}

int
blkdev_read(const struct blkdev *dev, uint64_t off, void *buf, size_t len)
{
        if (!range_ok(dev, off, len))
                return -EIO;
        return dev->ops->read(dev->ctx, dev->start_bytes + off, buf, len);
}

int
blkdev_write(const struct blkdev *dev, uint64_t off, const void *buf, size_t len)
{
        if (!dev->ops->write)
                return -EROFS;
        if (!range_ok(dev, off, len))
                return -EIO;
        return dev->ops->write(dev->ctx, dev->start_bytes + off, buf, len);
}

int
blkdev_slice(const struct blkdev *dev, uint64_t off, uint64_t len, struct blkdev *ret_dev)
{
        if (off > dev->size_bytes)
                return -ERANGE;
        struct blkdev slice = *dev;
        slice.start_bytes += off;
        slice.size_bytes = dev->size_bytes - off;
        if (len < slice.size_bytes)
                slice.size_bytes = len;
        *ret_dev = slice;
        return 0;
}

/* The descriptor is kept in the context pointer itself. */
static int
file_read(void *ctx, uint64_t off, void *buf, size_t len)
{
        int fd = (int)(intptr_t)ctx;
        unsigned char *to = buf;

        while (len > 0) {
                ssize_t n = pread(fd, to, len, (off_t)off);
                if (n < 0 && errno == EINTR)
                        continue;
                if (n < 0)
                        return -errno;
                if (n == 0)
                        return -EIO;
                to += n;
                off += (uint64_t)n;
                len -= (size_t)n;
        }
        return 0;
}

static int
file_write(void *ctx, uint64_t off, const void *buf, size_t len)
{
        int fd = (int)(intptr_t)ctx;
        const unsigned char *from = buf;

        while (len > 0) {
                ssize_t n = pwrite(fd, from, len, (off_t)off);
                if (n < 0 && errno == EINTR)
                        continue;
                if (n < 0)
                        return -errno;
                from += n;
                off += (uint64_t)n;
                len -= (size_t)n;
        }
        return 0;
}

static const struct blkdev_ops file_ro_ops = {.read = file_read};
static const struct blkdev_ops file_rw_ops = {.read = file_read, .write = file_write};

static int
file_size(int fd, uint64_t *ret_bytes)
{
        struct stat st;

        if (fstat(fd, &st) < 0)
                return -errno;
        if (S_ISREG(st.st_mode)) {
                *ret_bytes = (uint64_t)st.st_size;
                return 0;
        }
        if (!S_ISBLK(st.st_mode))
                return S_ISDIR(st.st_mode) ? -EISDIR : -ENOTBLK;
        return ioctl(fd, BLKGETSIZE64, ret_bytes) < 0 ? -errno : 0;
}

/* As the block back end does: one writer or several readers, until the file is closed. */
static int
lock_file(int fd, bool writable)
{
        struct flock lock = {.l_type = writable ? F_WRLCK : F_RDLCK, .l_whence = SEEK_SET};

        if (fcntl(fd, F_OFD_SETLK, &lock) == 0 || (errno != EAGAIN && errno != EACCES))
                return 0;
        return -EBUSY;
}

int
blkdev_open(const char *path, bool writable, struct blkdev *ret_dev)
{
        /* O_NONBLOCK: a FIFO named by mistake must not hang the open. */
        int flags = O_CLOEXEC | O_NONBLOCK;
        int fd = -1;

        if (writable)
                fd = open(path, flags | O_RDWR);
        if (fd < 0) {
                writable = false;
                fd = open(path, flags | O_RDONLY);
        }
        if (fd < 0)
                return -errno;

        struct blkdev dev = {
            .ops = writable ? &file_rw_ops : &file_ro_ops,
            .ctx = (void *)(intptr_t)fd,
        };
        int err = file_size(fd, &dev.size_bytes);
        if (!err)
                err = lock_file(fd, writable);
        if (err) {
                close(fd);
                return err;
        }
        *ret_dev = dev;
        return 0;
}

void
blkdev_close(struct blkdev *dev)
{
        if (dev->ops == &file_ro_ops || dev->ops == &file_rw_ops)
                close((int)(intptr_t)dev->ctx);
        dev->ops = NULL;
}

static int
memory_read(void *ctx, uint64_t off, void *buf, size_t len)
{
        const struct blkdev_memory *mem = ctx;

        memcpy(buf, mem->bytes + off, len);
        return 0;
}

static int
memory_write(void *ctx, uint64_t off, const void *buf, size_t len)
{
        struct blkdev_memory *mem = ctx;

        memcpy(mem->bytes + off, buf, len);
        return 0;
}

static const struct blkdev_ops memory_ro_ops = {.read = memory_read};
static const struct blkdev_ops memory_rw_ops = {.read = memory_read, .write = memory_write};

void
blkdev_from_memory(struct blkdev_memory *mem, bool writable, struct blkdev *ret_dev)
{
        *ret_dev = (struct blkdev){
            .ops = writable ? &memory_rw_ops : &memory_ro_ops,
            .ctx = mem,
            .size_bytes = mem->len,
        };
}
