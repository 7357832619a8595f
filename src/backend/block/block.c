/* SPDX-License-Identifier: BSD-2-Clause */
#include "backend/block/block.h"
#include "backend/block/private.h"
#include "base/log.h"
#include "base/md5.h"

#include <errno.h>
#include <liburing.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>

#define RING_ENTRIES 256u

/* With io_uring one thread is enough for the rest. */
#define WORKERS_BESIDE_RING 1u
#define WORKERS_ALONE       4u

/* Guarded by the device lock; the image does not change. */
struct block {
        struct image image;
        bool has_ring;
        struct io_uring ring;
        struct loop_fd *ring_watch;
        struct workers *workers;
        struct loop_fd *workers_watch;
        unsigned ring_in_flight;
        unsigned workers_in_flight;
        void (*batch)(void *ctx); /* may be NULL */
        void *batch_ctx;
};

static void
block_end_batch(struct block *block)
{
        block_kick(block);
        if (block->batch != NULL)
                block->batch(block->batch_ctx);
}

static void
block_finish(struct block_request *request, int error)
{
        request->done(request, error);
}

static void
block_to_workers(struct block *block, struct block_request *request)
{
        block->workers_in_flight++;
        workers_submit(block->workers, request);
}

/* A transfer that came back short, or only interrupted, is finished by a thread. */
static void
ring_result(struct block_request *request, int result)
{
        struct block *block = request->block;
        bool is_transfer = request->op == BLOCK_READ || request->op == BLOCK_WRITE;

        if (result == -EINTR || result == -EAGAIN || result == -ECANCELED) {
                block_to_workers(block, request);
        } else if (result < 0) {
                block_finish(request, result);
        } else if (is_transfer && (uint64_t)result < request->length) {
                request->progress = (uint64_t)result;
                block_to_workers(block, request);
        } else {
                block_finish(request, 0);
        }
}

static void
ring_reap(struct block *block)
{
        struct io_uring_cqe *cqe;

        while (io_uring_peek_cqe(&block->ring, &cqe) == 0) {
                struct block_request *request = io_uring_cqe_get_data(cqe);
                int result = cqe->res;

                io_uring_cqe_seen(&block->ring, cqe);
                block->ring_in_flight--;
                ring_result(request, result);
        }
}

static void
ring_ready(void *ctx, unsigned epoll_events)
{
        struct block *block = ctx;

        ring_reap(block);
        block_end_batch(block);
}

static void
workers_reap(struct block *block, bool wait)
{
        struct block_request *request = workers_collect(block->workers, wait);

        while (request != NULL) {
                struct block_request *next = request->next;

                block->workers_in_flight--;
                block_finish(request, request->error);
                request = next;
        }
}

static void
workers_ready(void *ctx, unsigned epoll_events)
{
        struct block *block = ctx;

        workers_reap(block, false);
        block_end_batch(block);
}

static int
block_start_ring(struct block *block, struct loop *loop)
{
        int error = io_uring_queue_init(RING_ENTRIES, &block->ring, 0);

        if (error != 0) {
                log_debug("%s: no io_uring (%s), using threads", block->image.path, strerror(-error));
                return 0;
        }
        block->has_ring = true;
        return loop_fd_add(loop, block->ring.ring_fd, EPOLLIN, ring_ready, block, &block->ring_watch);
}

int
block_open(const struct block_options *options, struct loop *loop, struct block **ret_block)
{
        struct block *block = calloc(1, sizeof(*block));
        int error;

        if (block == NULL)
                return -ENOMEM;
        error = image_open(options, &block->image);
        if (error != 0) {
                free(block);
                return error;
        }
        if (options->engine == BLOCK_ENGINE_AUTO)
                error = block_start_ring(block, loop);
        if (error == 0)
                error = workers_create(&block->image,
                    block->has_ring ? WORKERS_BESIDE_RING : WORKERS_ALONE, &block->workers);
        if (error == 0)
                error = loop_fd_add(loop, workers_event_fd(block->workers), EPOLLIN, workers_ready, block,
                    &block->workers_watch);
        if (error != 0) {
                log_error("%s: %s", block->image.path, strerror(-error));
                block_close(block);
                return error;
        }
        *ret_block = block;
        return 0;
}

void
block_close(struct block *block)
{
        if (block == NULL)
                return;
        if (block->workers != NULL)
                block_drain(block);
        if (block->ring_watch != NULL)
                loop_fd_remove(block->ring_watch);
        if (block->workers_watch != NULL)
                loop_fd_remove(block->workers_watch);
        workers_destroy(block->workers);
        if (block->has_ring)
                io_uring_queue_exit(&block->ring);
        image_close(&block->image);
        free(block);
}

const struct block_info *
block_info(const struct block *block)
{
        return &block->image.info;
}

void
block_path_digest(const struct block *block, uint8_t ret_digest[16])
{
        md5_digest(block->image.path, strlen(block->image.path), ret_digest);
}

static int
block_check(const struct block *block, const struct block_request *request)
{
        const struct block_info *info = &block->image.info;
        uint64_t end;

        if (request->op == BLOCK_FLUSH)
                return 0;
        if (__builtin_add_overflow(request->offset, request->length, &end) || end > info->size_bytes ||
            request->iov_count > BLOCK_IOV_MAX)
                return -EINVAL;
        if (request->op != BLOCK_READ && info->read_only)
                return -EROFS;
        if (request->op == BLOCK_DISCARD && !info->can_discard)
                return -EOPNOTSUPP;
        return 0;
}

static struct io_uring_sqe *
ring_entry(struct block *block)
{
        struct io_uring_sqe *sqe = io_uring_get_sqe(&block->ring);

        if (sqe == NULL) {
                io_uring_submit(&block->ring);
                sqe = io_uring_get_sqe(&block->ring);
        }
        return sqe;
}

/* False if this request is not for the ring. */
static bool
block_to_ring(struct block *block, struct block_request *request)
{
        int fd = image_fd_for(&block->image, request);
        struct io_uring_sqe *sqe;

        if (!block->has_ring || request->op == BLOCK_DISCARD || request->op == BLOCK_WRITE_ZEROES)
                return false;
        sqe = ring_entry(block);
        if (sqe == NULL)
                return false;
        switch (request->op) {
        case BLOCK_READ:
                io_uring_prep_readv(sqe, fd, request->iov, request->iov_count, request->offset);
                break;
        case BLOCK_WRITE:
                io_uring_prep_writev(sqe, fd, request->iov, request->iov_count, request->offset);
                break;
        default:
                io_uring_prep_fsync(sqe, block->image.fd, IORING_FSYNC_DATASYNC);
                break;
        }
        io_uring_sqe_set_data(sqe, request);
        block->ring_in_flight++;
        return true;
}

int
block_submit(struct block *block, struct block_request *request)
{
        int error = block_check(block, request);

        if (error != 0)
                return error;
        request->block = block;
        request->progress = 0;
        if (!block_to_ring(block, request))
                block_to_workers(block, request);
        return 0;
}

void
block_kick(struct block *block)
{
        if (block->has_ring && io_uring_sq_ready(&block->ring) != 0)
                io_uring_submit(&block->ring);
}

void
block_set_batch_hook(struct block *block, void (*fn)(void *ctx), void *ctx)
{
        block->batch = fn;
        block->batch_ctx = ctx;
}

void
block_poll(struct block *block)
{
        if (block->has_ring)
                ring_reap(block);
        block_kick(block);
}

void
block_drain(struct block *block)
{
        while (block->ring_in_flight != 0 || block->workers_in_flight != 0) {
                if (block->ring_in_flight != 0) {
                        io_uring_submit_and_wait(&block->ring, 1);
                        ring_reap(block);
                } else {
                        workers_reap(block, true);
                }
        }
}

int
block_parse_sector_size(const char *text, uint32_t *ret_sector_bytes, uint32_t *ret_physical_bytes)
{
        unsigned long value[2];
        char *end;

        value[0] = value[1] = strtoul(text, &end, 10);
        if (end != text && *end == '/') {
                text = end + 1;
                value[1] = strtoul(text, &end, 10);
        }
        if (end == text || *end != '\0')
                return -EINVAL;
        for (int i = 0; i < 2; i++)
                if (value[i] < BLOCK_SECTOR || value[i] > BLOCK_SECTOR_MAX || (value[i] & (value[i] - 1)) != 0)
                        return -EINVAL;
        if (value[1] < value[0])
                return -EINVAL;
        *ret_sector_bytes = (uint32_t)value[0];
        *ret_physical_bytes = (uint32_t)value[1];
        return 0;
}
