/* SPDX-License-Identifier: BSD-2-Clause */
/* Opening, locking and measuring disk images and block devices. */
#include "backend/block/private.h"
#include "base/log.h"
#include "base/util.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

static int
open_flags(const struct block_options *options, bool read_only)
{
        return (read_only ? O_RDONLY : O_RDWR) | (options->nocache ? O_DIRECT : 0) |
            (options->sync ? O_SYNC : 0) | O_CLOEXEC | O_NONBLOCK;
}

static int
image_open_file(const struct block_options *options, struct image *image)
{
        image->info.read_only = options->read_only;
        image->fd = open(options->path, open_flags(options, options->read_only));
        if (image->fd < 0 && !options->read_only && (errno == EACCES || errno == EROFS || errno == EPERM)) {
                image->fd = open(options->path, open_flags(options, true));
                if (image->fd >= 0) {
                        log_warn("%s: cannot be written, the guest gets it read-only", options->path);
                        image->info.read_only = true;
                }
        }
        if (image->fd < 0) {
                int error = -errno;

                if (error == -EINVAL && options->nocache)
                        log_error("%s: nocache: the file system does not support O_DIRECT", options->path);
                else
                        log_error("%s: %s", options->path, strerror(-error));
                return error;
        }
        return 0;
}

/* Open-file-description locks: they hold for this open file, not for the process. */
static int
image_lock(struct image *image)
{
        struct flock lock = {
                .l_type = image->info.read_only ? F_RDLCK : F_WRLCK,
                .l_whence = SEEK_SET,
        };
        int result = fcntl(image->fd, F_OFD_SETLK, &lock);

        if (result != 0 && errno == EINVAL)
                result = flock(image->fd, (image->info.read_only ? LOCK_SH : LOCK_EX) | LOCK_NB);
        if (result == 0)
                return 0;
        if (errno == EAGAIN || errno == EACCES) {
                log_error("%s: in use by another virtual machine or by another disk of this one",
                    image->path);
                return -EBUSY;
        }
        log_error("%s: cannot be locked: %s", image->path, strerror(errno));
        return -errno;
}

/* A device's attribute in sysfs; partitions find it at their disk. */
static uint64_t
device_attribute(dev_t device, const char *name, uint64_t fallback)
{
        static const char *const where[] = { "queue", "../queue" };
        char path[128];

        for (unsigned i = 0; i < ARRAY_LEN(where); i++) {
                unsigned long long value;
                FILE *f;
                int n;

                snprintf(path, sizeof(path), "/sys/dev/block/%u:%u/%s/%s", major(device), minor(device),
                    where[i], name);
                f = fopen(path, "re");
                if (f == NULL)
                        continue;
                n = fscanf(f, "%llu", &value);
                fclose(f);
                if (n == 1)
                        return value;
        }
        return fallback;
}

static int
measure_device(struct image *image, const struct stat *st)
{
        struct block_info *info = &image->info;
        unsigned physical;
        int logical;

        if (ioctl(image->fd, BLKGETSIZE64, &info->size_bytes) != 0 ||
            ioctl(image->fd, BLKSSZGET, &logical) != 0 || ioctl(image->fd, BLKPBSZGET, &physical) != 0)
                return -errno;
        info->sector_bytes = (uint32_t)logical;
        info->physical_bytes = physical;
        info->can_discard = device_attribute(st->st_rdev, "discard_max_bytes", 0) != 0;
        info->rotational = device_attribute(st->st_rdev, "rotational", 0) != 0;
        image->dio_offset_align = (uint32_t)logical;
        image->dio_memory_align = (uint32_t)device_attribute(st->st_rdev, "dma_alignment", 511) + 1;
        image->is_device = true;
        return 0;
}

static int
measure_file(struct image *image, const struct stat *st)
{
        struct block_info *info = &image->info;

        info->size_bytes = (uint64_t)st->st_size;
        info->sector_bytes = BLOCK_SECTOR;
        info->physical_bytes = (uint32_t)st->st_blksize;
        if (info->physical_bytes < BLOCK_SECTOR || info->physical_bytes > BLOCK_SECTOR_MAX ||
            (info->physical_bytes & (info->physical_bytes - 1)) != 0)
                info->physical_bytes = BLOCK_SECTOR;
        info->can_discard = true;
        image->dio_memory_align = 4096;
        image->dio_offset_align = 4096;
#ifdef STATX_DIOALIGN
        {
                struct statx sx;

                if (statx(image->fd, "", AT_EMPTY_PATH, STATX_DIOALIGN, &sx) == 0 &&
                    (sx.stx_mask & STATX_DIOALIGN) && sx.stx_dio_mem_align != 0) {
                        image->dio_memory_align = sx.stx_dio_mem_align;
                        image->dio_offset_align = sx.stx_dio_offset_align;
                }
        }
#endif
        return 0;
}

static int
image_apply_options(const struct block_options *options, struct image *image)
{
        struct block_info *info = &image->info;

        if (options->sector_bytes != 0) {
                if (image->is_device && options->sector_bytes < info->sector_bytes) {
                        log_error("%s: sectorsize %u is smaller than the device's, %u", image->path,
                            options->sector_bytes, info->sector_bytes);
                        return -EINVAL;
                }
                info->sector_bytes = options->sector_bytes;
                info->physical_bytes =
                    options->physical_bytes != 0 ? options->physical_bytes : options->sector_bytes;
        }
        info->size_bytes -= info->size_bytes % info->sector_bytes;
        info->can_discard = info->can_discard && !options->no_delete && !info->read_only;
        if (!options->nocache)
                image->dio_memory_align = image->dio_offset_align = 1;
        if (info->size_bytes == 0) {
                log_error("%s: smaller than one sector of %u bytes", image->path, info->sector_bytes);
                return -EINVAL;
        }
        return 0;
}

static int
image_measure(const struct block_options *options, struct image *image)
{
        struct stat st;
        int error;

        if (fstat(image->fd, &st) != 0)
                error = -errno;
        else if (S_ISBLK(st.st_mode))
                error = measure_device(image, &st);
        else if (S_ISREG(st.st_mode))
                error = measure_file(image, &st);
        else {
                log_error("%s: neither a file nor a block device", image->path);
                return -EINVAL;
        }
        if (error != 0) {
                log_error("%s: %s", image->path, strerror(-error));
                return error;
        }
        return image_apply_options(options, image);
}

/* Requests that O_DIRECT refuses go through the page cache; the kernel keeps the two coherent. */
static int
image_open_buffered(const struct block_options *options, struct image *image)
{
        char path[64];

        image->fd_buffered = image->fd;
        if (!options->nocache)
                return 0;
        snprintf(path, sizeof(path), "/proc/self/fd/%d", image->fd);
        image->fd_buffered = open(path, open_flags(options, image->info.read_only) & ~O_DIRECT);
        if (image->fd_buffered < 0) {
                int error = -errno;

                log_error("%s: %s", image->path, strerror(-error));
                return error;
        }
        return 0;
}

int
image_open(const struct block_options *options, struct image *ret_image)
{
        struct image image = { .fd = -1, .fd_buffered = -1 };
        int error;

        image.path = strdup(options->path);
        if (image.path == NULL)
                return -ENOMEM;
        error = image_open_file(options, &image);
        if (error == 0)
                error = image_measure(options, &image);
        if (error == 0)
                error = image_lock(&image);
        if (error == 0)
                error = image_open_buffered(options, &image);
        if (error != 0) {
                image_close(&image);
                return error;
        }
        *ret_image = image;
        return 0;
}

void
image_close(struct image *image)
{
        if (image->fd_buffered >= 0 && image->fd_buffered != image->fd)
                close(image->fd_buffered);
        if (image->fd >= 0)
                close(image->fd);
        free(image->path);
}

int
image_fd_for(const struct image *image, const struct block_request *request)
{
        uintptr_t bits = 0;

        if (image->fd == image->fd_buffered)
                return image->fd;
        if ((request->offset | request->length) % image->dio_offset_align != 0)
                return image->fd_buffered;
        for (unsigned i = 0; i < request->iov_count; i++)
                bits |= (uintptr_t)request->iov[i].iov_base | request->iov[i].iov_len;
        return bits % image->dio_memory_align == 0 && bits % BLOCK_SECTOR == 0 ? image->fd :
                                                                                  image->fd_buffered;
}
