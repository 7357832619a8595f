/* SPDX-License-Identifier: BSD-2-Clause */
/* Requests done to the end by the calling thread. */
#include "backend/block/private.h"
#include "base/util.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#define ZERO_BUFFER_BYTES (256 * KIB)

/* Copies the part of @from that begins @skip bytes into it; the number of entries. */
static unsigned
iov_from(const struct iovec *from, unsigned count, uint64_t skip, struct iovec *ret_iov)
{
        unsigned n = 0;

        for (unsigned i = 0; i < count; i++) {
                if (skip >= from[i].iov_len) {
                        skip -= from[i].iov_len;
                        continue;
                }
                ret_iov[n].iov_base = (uint8_t *)from[i].iov_base + skip;
                ret_iov[n].iov_len = from[i].iov_len - skip;
                skip = 0;
                n++;
        }
        return n;
}

/* What lies behind the end of the file reads as zeros: it may have been cut under us. */
static void
iov_clear(const struct iovec *iov, unsigned count)
{
        for (unsigned i = 0; i < count; i++)
                memset(iov[i].iov_base, 0, iov[i].iov_len);
}

static int
transfer(const struct image *image, const struct block_request *request)
{
        /* A rest is seldom aligned as O_DIRECT wants it. */
        int fd = request->progress == 0 ? image_fd_for(image, request) : image->fd_buffered;
        uint64_t done = request->progress;
        struct iovec iov[BLOCK_IOV_MAX];

        while (done < request->length) {
                unsigned count = iov_from(request->iov, request->iov_count, done, iov);
                off_t offset = (off_t)(request->offset + done);
                ssize_t n = request->op == BLOCK_READ ? preadv(fd, iov, (int)count, offset) :
                                                        pwritev(fd, iov, (int)count, offset);

                if (n < 0 && errno != EINTR && errno != EAGAIN)
                        return -errno;
                if (n == 0 && request->op == BLOCK_READ) {
                        iov_clear(iov, count);
                        return 0;
                }
                if (n == 0)
                        return -EIO;
                if (n > 0) {
                        done += (uint64_t)n;
                        fd = image->fd_buffered;
                }
        }
        return 0;
}

static int
flush(const struct image *image)
{
        int result;

        do {
                result = fdatasync(image->fd);
        } while (result != 0 && errno == EINTR);
        return result == 0 ? 0 : -errno;
}

static int
write_zeroes_by_hand(const struct image *image, uint64_t offset, uint64_t length)
{
        void *zeros = calloc(1, ZERO_BUFFER_BYTES);
        int error = zeros == NULL ? -ENOMEM : 0;

        while (error == 0 && length != 0) {
                size_t chunk = length < ZERO_BUFFER_BYTES ? (size_t)length : ZERO_BUFFER_BYTES;
                ssize_t n = pwrite(image->fd_buffered, zeros, chunk, (off_t)offset);

                if (n > 0) {
                        offset += (uint64_t)n;
                        length -= (uint64_t)n;
                } else if (n == 0) {
                        error = -EIO;
                } else if (errno != EINTR) {
                        error = -errno;
                }
        }
        free(zeros);
        return error;
}

static int
space_allocate(const struct image *image, int mode, uint64_t offset, uint64_t length)
{
        int result;

        do {
                result = fallocate(image->fd, mode | FALLOC_FL_KEEP_SIZE, (off_t)offset, (off_t)length);
        } while (result != 0 && errno == EINTR);
        return result == 0 ? 0 : -errno;
}

static int
write_zeroes(const struct image *image, uint64_t offset, uint64_t length, bool may_unmap)
{
        int error = -EOPNOTSUPP;

        if (may_unmap && image->info.can_discard)
                error = space_allocate(image, FALLOC_FL_PUNCH_HOLE, offset, length);
        if (error != 0)
                error = space_allocate(image, FALLOC_FL_ZERO_RANGE, offset, length);
        if (error != 0)
                error = write_zeroes_by_hand(image, offset, length);
        return error;
}

/* A hint: a host that cannot free the space keeps it. */
static int
discard(const struct image *image, uint64_t offset, uint64_t length)
{
        int error;

        if (image->is_device) {
                uint64_t range[2] = { offset, length };

                error = ioctl(image->fd, BLKDISCARD, range) == 0 ? 0 : -errno;
        } else {
                error = space_allocate(image, FALLOC_FL_PUNCH_HOLE, offset, length);
        }
        return error == -EOPNOTSUPP ? 0 : error;
}

int
image_execute(const struct image *image, const struct block_request *request)
{
        switch (request->op) {
        case BLOCK_READ:
        case BLOCK_WRITE:
                return transfer(image, request);
        case BLOCK_FLUSH:
                return flush(image);
        case BLOCK_DISCARD:
                return discard(image, request->offset, request->length);
        case BLOCK_WRITE_ZEROES:
                return write_zeroes(image, request->offset, request->length, request->may_unmap);
        }
        return -EOPNOTSUPP;
}
