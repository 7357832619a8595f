/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * virtio-blk (virtio 1.2, 5.2): one queue over one image of the block back end.
 *
 * Requests wait for the back end in structures of their own, as many as the
 * queue has entries; a queue that claims more in flight than that waits.
 * A driver that does not take VIRTIO_BLK_F_FLUSH gets a write-through disk.
 */
#include "dev/virtio/blk.h"
#include "base/bytes.h"
#include "base/log.h"
#include "base/util.h"
#include "dev/blockdev.h"
#include "dev/virtio/virtio_pci.h"

#include <errno.h>
#include <stdlib.h>

#define BLK_QUEUE_SIZE  256u
#define BLK_SEG_MAX     (VIRTQ_CHAIN_MAX - 2) /* a header and a status beside the data */
#define BLK_SECTOR      512u
#define BLK_IDENT_BYTES 20u
#define BLK_DISCARD_SECTORS_MAX (1u << 22)
#define BLK_ZEROES_SECTORS_MAX  (1u << 17)

#define BLK_F_SEG_MAX      (1ull << 2)
#define BLK_F_RO           (1ull << 5)
#define BLK_F_BLK_SIZE     (1ull << 6)
#define BLK_F_FLUSH        (1ull << 9)
#define BLK_F_TOPOLOGY     (1ull << 10)
#define BLK_F_DISCARD      (1ull << 13)
#define BLK_F_WRITE_ZEROES (1ull << 14)

/* Request types and status (5.2.6). */
#define BLK_T_IN           0u
#define BLK_T_OUT          1u
#define BLK_T_FLUSH        4u
#define BLK_T_GET_ID       8u
#define BLK_T_DISCARD      11u
#define BLK_T_WRITE_ZEROES 13u
#define BLK_S_OK     0u
#define BLK_S_IOERR  1u
#define BLK_S_UNSUPP 2u

#define BLK_HEADER_BYTES  16u
#define BLK_SEGMENT_BYTES 16u /* of discard and write zeroes */
#define BLK_SEGMENT_UNMAP 0x1u

/* Configuration structure (5.2.4). */
#define BLK_CFG_CAPACITY         0
#define BLK_CFG_SEG_MAX          12
#define BLK_CFG_BLK_SIZE         20
#define BLK_CFG_PHYSICAL_EXP     24
#define BLK_CFG_MIN_IO           26
#define BLK_CFG_DISCARD_MAX      36
#define BLK_CFG_DISCARD_SEGS     40
#define BLK_CFG_DISCARD_ALIGN    44
#define BLK_CFG_ZEROES_MAX       48
#define BLK_CFG_ZEROES_SEGS      52
#define BLK_CFG_ZEROES_UNMAP     56
#define BLK_CFG_BYTES            60

struct blk_request {
        struct block_request io;
        struct virtio_blk *blk;
        struct blk_request *next; /* free ones */
        gpa_t status_gpa;
        uint64_t in_data;         /* bytes the device may write before the status */
        bool flush_after;         /* write-through: the flush is still to come */
        struct virtq_chain chain;
};

struct virtio_blk {
        struct virtio_device dev;
        struct block *block;
        char ident[BLOCKDEV_IDENT_BYTES + 1];
        struct blk_request *free_requests;
        struct blk_request *requests;
};

static struct virtio_blk *
to_blk(struct virtio_device *dev)
{
        return container_of(dev, struct virtio_blk, dev);
}

/* Returns the chain with @status; @in_bytes of data are in it. */
static void
blk_answer(struct blk_request *r, uint8_t status, uint64_t in_bytes)
{
        struct virtio_blk *blk = r->blk;

        mem_write(blk->dev.mem, r->status_gpa, &status, 1);
        virtq_push(&blk->dev.queue[0], &r->chain, in_bytes + 1);
        r->next = blk->free_requests;
        blk->free_requests = r;
}

static uint8_t
blk_status(int error)
{
        if (error == 0)
                return BLK_S_OK;
        return error == -EOPNOTSUPP ? BLK_S_UNSUPP : BLK_S_IOERR;
}

static void
blk_submit(struct blk_request *r)
{
        int error = block_submit(r->blk->block, &r->io);

        if (error != 0)
                blk_answer(r, blk_status(error), 0);
}

static void
blk_done(struct block_request *io, int error)
{
        struct blk_request *r = container_of(io, struct blk_request, io);

        if (error == 0 && r->flush_after) {
                r->flush_after = false;
                r->io.op = BLOCK_FLUSH;
                blk_submit(r);
                return;
        }
        if (error != 0)
                log_guest(&r->blk->dev.limit, "virtio-blk: %s of %llu bytes at %llu failed: %s",
                    io->op == BLOCK_READ ? "read" : "write or flush", (unsigned long long)io->length,
                    (unsigned long long)io->offset, strerror(-error));
        blk_answer(r, blk_status(error), io->op == BLOCK_READ && error == 0 ? io->length : 0);
}

/* Takes the status byte, the last one that the device may write, off the chain. */
static int
blk_split_status(struct blk_request *r)
{
        struct virtq_chain *c = &r->chain;
        unsigned last = c->out_count + c->in_count - 1u;

        if (c->in_count == 0 || c->out_bytes < BLK_HEADER_BYTES)
                return -EPROTO;
        c->iov[last].iov_len--;
        r->status_gpa = c->gpa[last] + c->iov[last].iov_len;
        r->in_data = c->in_bytes - 1;
        return 0;
}

/* The data a driver wants written: what follows the header, which ends anywhere. */
static void
blk_out_data(struct blk_request *r)
{
        struct virtq_chain *c = &r->chain;
        size_t skip = BLK_HEADER_BYTES;
        unsigned i = 0;

        while (i < c->out_count && skip >= c->iov[i].iov_len)
                skip -= c->iov[i++].iov_len;
        if (i < c->out_count) {
                c->iov[i].iov_base = (uint8_t *)c->iov[i].iov_base + skip;
                c->iov[i].iov_len -= skip;
        }
        r->io.iov = &c->iov[i];
        r->io.iov_count = c->out_count - i;
        r->io.length = c->out_bytes - BLK_HEADER_BYTES;
}

static void
blk_in_data(struct blk_request *r)
{
        const struct virtq_chain *c = &r->chain;

        r->io.iov = &c->iov[c->out_count];
        r->io.iov_count = c->in_count;
        if (c->iov[c->out_count + c->in_count - 1].iov_len == 0)
                r->io.iov_count--;
        r->io.length = r->in_data;
}

static void
blk_transfer(struct blk_request *r, enum block_op op, uint64_t sector)
{
        r->io.op = op;
        if (op == BLOCK_READ)
                blk_in_data(r);
        else
                blk_out_data(r);
        if (r->io.length % BLK_SECTOR != 0 || sector > UINT64_MAX / BLK_SECTOR) {
                blk_answer(r, BLK_S_IOERR, 0);
                return;
        }
        r->io.offset = sector * BLK_SECTOR;
        r->flush_after = op == BLOCK_WRITE && !virtio_has(&r->blk->dev, BLK_F_FLUSH);
        blk_submit(r);
}

static void
blk_flush(struct blk_request *r)
{
        r->io.op = BLOCK_FLUSH;
        blk_submit(r);
}

static void
blk_get_id(struct blk_request *r)
{
        size_t n = r->in_data < BLK_IDENT_BYTES ? (size_t)r->in_data : BLK_IDENT_BYTES;

        virtq_chain_write(&r->chain, 0, r->blk->ident, n);
        blk_answer(r, BLK_S_OK, n);
}

/* Discard and write zeroes carry one segment, as the configuration says. */
static void
blk_range(struct blk_request *r, enum block_op op)
{
        uint8_t segment[BLK_SEGMENT_BYTES];
        uint64_t sector;
        uint32_t sectors;
        uint32_t flags;

        if (r->chain.out_bytes != BLK_HEADER_BYTES + BLK_SEGMENT_BYTES) {
                blk_answer(r, BLK_S_IOERR, 0);
                return;
        }
        virtq_chain_read(&r->chain, BLK_HEADER_BYTES, segment, sizeof(segment));
        sector = get_le64(segment);
        sectors = get_le32(segment + 8);
        flags = get_le32(segment + 12);
        /* 5.2.6.2: unknown flags, and unmap on a discard, are unsupported. */
        if ((flags & ~(op == BLOCK_WRITE_ZEROES ? BLK_SEGMENT_UNMAP : 0)) != 0) {
                blk_answer(r, BLK_S_UNSUPP, 0);
                return;
        }
        if (sectors > (op == BLOCK_DISCARD ? BLK_DISCARD_SECTORS_MAX : BLK_ZEROES_SECTORS_MAX) ||
            sector > UINT64_MAX / BLK_SECTOR) {
                blk_answer(r, BLK_S_IOERR, 0);
                return;
        }
        r->io.op = op;
        r->io.may_unmap = (flags & BLK_SEGMENT_UNMAP) != 0;
        r->io.offset = sector * BLK_SECTOR;
        r->io.length = (uint64_t)sectors * BLK_SECTOR;
        r->flush_after = !virtio_has(&r->blk->dev, BLK_F_FLUSH);
        blk_submit(r);
}

static void
blk_start(struct blk_request *r)
{
        uint8_t header[BLK_HEADER_BYTES];
        uint64_t sector;

        virtq_chain_read(&r->chain, 0, header, sizeof(header));
        sector = get_le64(header + 8);
        r->io = (struct block_request){ .done = blk_done };
        r->flush_after = false;
        switch (get_le32(header)) {
        case BLK_T_IN:
                blk_transfer(r, BLOCK_READ, sector);
                break;
        case BLK_T_OUT:
                blk_transfer(r, BLOCK_WRITE, sector);
                break;
        case BLK_T_FLUSH:
                blk_flush(r);
                break;
        case BLK_T_GET_ID:
                blk_get_id(r);
                break;
        case BLK_T_DISCARD:
                blk_range(r, BLOCK_DISCARD);
                break;
        case BLK_T_WRITE_ZEROES:
                blk_range(r, BLOCK_WRITE_ZEROES);
                break;
        default:
                blk_answer(r, BLK_S_UNSUPP, 0);
                break;
        }
}

/* Starts waiting chains while there are structures for them; -EPROTO if the driver broke the queue. */
static int
blk_start_waiting(struct virtio_blk *blk)
{
        struct virtq *q = &blk->dev.queue[0];
        unsigned countdown = BLK_QUEUE_SIZE;

        while (blk->free_requests != NULL && countdown-- != 0) {
                struct blk_request *r = blk->free_requests;
                int got = virtq_pop(q, &r->chain);

                if (got <= 0)
                        return got;
                if (blk_split_status(r) != 0) {
                        q->broken = true;
                        q->why = "a request without header or status";
                        return -EPROTO;
                }
                blk->free_requests = r->next;
                blk_start(r);
        }
        return 0;
}

static void
blk_notify(struct virtio_device *dev, unsigned queue)
{
        struct virtio_blk *blk = to_blk(dev);
        struct virtq *q = &dev->queue[0];

        virtq_notify_disable(q);
        if (blk_start_waiting(blk) != 0)
                virtio_broken(dev, q);
        block_kick(blk->block);
        /* What the page cache had is done by now. */
        block_poll(blk->block);
        virtio_publish(dev, q);
        if (virtq_notify_enable(q) && blk->free_requests != NULL)
                virtio_ring_bell(dev, 0);
}

/* After completions: tell the driver, and go on with chains that found no structure. */
static void
blk_batch(void *ctx)
{
        struct virtio_blk *blk = ctx;

        virtio_publish(&blk->dev, &blk->dev.queue[0]);
        if (virtq_has_chain(&blk->dev.queue[0]))
                virtio_ring_bell(&blk->dev, 0);
}

static void
blk_reset(struct virtio_device *dev)
{
        block_drain(to_blk(dev)->block);
}

static void
blk_destroy(struct virtio_device *dev)
{
        struct virtio_blk *blk = to_blk(dev);

        block_close(blk->block);
        free(blk->requests);
        free(blk);
}

static const struct virtio_ops blk_ops = {
        .name = "virtio-blk",
        .device_id = VIRTIO_ID_BLOCK,
        .notify = blk_notify,
        .reset = blk_reset,
        .destroy = blk_destroy,
};

static uint64_t
blk_features(const struct block_info *info)
{
        uint64_t features = BLK_F_SEG_MAX | BLK_F_BLK_SIZE | BLK_F_FLUSH | BLK_F_TOPOLOGY;

        if (info->read_only)
                return features | BLK_F_RO;
        return features | BLK_F_WRITE_ZEROES | (info->can_discard ? BLK_F_DISCARD : 0);
}

static void
blk_fill_config(uint8_t *config, const struct block_info *info)
{
        put_le64(config + BLK_CFG_CAPACITY, info->size_bytes / BLK_SECTOR);
        put_le32(config + BLK_CFG_SEG_MAX, BLK_SEG_MAX);
        put_le32(config + BLK_CFG_BLK_SIZE, info->sector_bytes);
        if (info->physical_bytes > info->sector_bytes)
                config[BLK_CFG_PHYSICAL_EXP] =
                    (uint8_t)__builtin_ctz(info->physical_bytes / info->sector_bytes);
        put_le16(config + BLK_CFG_MIN_IO, (uint16_t)(info->physical_bytes / info->sector_bytes));
        put_le32(config + BLK_CFG_DISCARD_MAX, BLK_DISCARD_SECTORS_MAX);
        put_le32(config + BLK_CFG_DISCARD_SEGS, 1);
        put_le32(config + BLK_CFG_DISCARD_ALIGN, info->physical_bytes / BLK_SECTOR);
        put_le32(config + BLK_CFG_ZEROES_MAX, BLK_ZEROES_SECTORS_MAX);
        put_le32(config + BLK_CFG_ZEROES_SEGS, 1);
        config[BLK_CFG_ZEROES_UNMAP] = info->can_discard;
}

static int
blk_allocate_requests(struct virtio_blk *blk)
{
        blk->requests = calloc(BLK_QUEUE_SIZE, sizeof(*blk->requests));
        if (blk->requests == NULL)
                return -ENOMEM;
        for (unsigned i = BLK_QUEUE_SIZE; i-- != 0;) {
                blk->requests[i].blk = blk;
                blk->requests[i].next = blk->free_requests;
                blk->free_requests = &blk->requests[i];
        }
        return 0;
}

int
virtio_blk_create(struct guest_mem *mem, struct loop *loop, struct block *block, const char *serial,
    struct virtio_device **ret_dev)
{
        static const uint16_t queue_sizes[] = { BLK_QUEUE_SIZE };
        const struct block_info *info = block_info(block);
        struct virtio_blk *blk = calloc(1, sizeof(*blk));
        int error;

        if (blk == NULL)
                return -ENOMEM;
        blk->block = block;
        blockdev_default_serial(block, blk->ident);
        if (serial != NULL) {
                memset(blk->ident, 0, sizeof(blk->ident));
                memcpy(blk->ident, serial, strnlen(serial, BLK_IDENT_BYTES));
        }
        blk->dev.config_len = BLK_CFG_BYTES;
        blk_fill_config(blk->dev.config, info);
        error = blk_allocate_requests(blk);
        if (error == 0)
                error = virtio_init(&blk->dev, &blk_ops, mem, loop, blk_features(info), queue_sizes, 1);
        if (error != 0) {
                free(blk->requests);
                free(blk);
                return error;
        }
        block_set_batch_hook(block, blk_batch, blk);
        *ret_dev = &blk->dev;
        return 0;
}

int
virtio_blk_create_pci(const struct device_env *env, const struct device_place *place,
    const struct config_node *node)
{
        static const struct virtio_pci_class mass_storage_other = { 0x01, 0x80 };
        struct virtio_device *dev;
        struct block *block;
        int error = blockdev_open(node, "", false, env->loop, &block);

        if (error != 0)
                return error;
        error = virtio_blk_create(env->mem, env->loop, block, config_node_get(node, "ser"), &dev);
        if (error != 0) {
                block_close(block);
                return error;
        }
        error = virtio_pci_create(env, place, dev, mass_storage_other);
        if (error != 0) {
                virtio_finish(dev);
                blk_destroy(dev);
        }
        return error;
}
