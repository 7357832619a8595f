/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Disks of the host for the guest's disk controllers: raw image files and
 * block devices.
 *
 * Reads, writes and flushes go through io_uring where the host has it, else
 * through a few threads, which also do what io_uring cannot (discard).
 * A flush is fdatasync: when it is done, all writes that were done before it
 * was submitted are on stable storage.
 *
 * An image is locked while it is open: writers exclude everybody, readers
 * exclude writers, in this process and in others (QEMU's locks included).
 *
 * All calls are made with the device lock held, and submissions come from the
 * loop's thread (the kernel ties a request to the thread that submitted it).
 * Completions are called on the loop's thread, or out of block_drain.
 */
#ifndef BACKEND_BLOCK_BLOCK_H
#define BACKEND_BLOCK_BLOCK_H

#include "base/loop.h"

#include <stdbool.h>
#include <stdint.h>
#include <sys/uio.h>

#define BLOCK_IOV_MAX    1024u
#define BLOCK_SECTOR     512u
#define BLOCK_SECTOR_MAX 65536u

enum block_engine {
        BLOCK_ENGINE_AUTO,
        BLOCK_ENGINE_THREADS,
};

struct block_options {
        const char *path;
        bool nocache;            /* O_DIRECT: around the page cache */
        bool sync;               /* O_SYNC: each write is stable when it is done */
        bool read_only;
        bool no_delete;          /* no discard */
        uint32_t sector_bytes;   /* logical sector; 0: what the file says */
        uint32_t physical_bytes; /* physical sector; 0: what the file says */
        enum block_engine engine;
};

struct block_info {
        uint64_t size_bytes;      /* a multiple of sector_bytes */
        uint32_t sector_bytes;
        uint32_t physical_bytes;
        bool read_only;
        bool can_discard;
        bool rotational;
};

enum block_op {
        BLOCK_READ,
        BLOCK_WRITE,
        BLOCK_FLUSH,
        BLOCK_DISCARD,      /* the range may read as anything afterwards; here it reads as zeros */
        BLOCK_WRITE_ZEROES,
};

/* Stays the caller's, who keeps it and the buffers until done() is called. */
struct block_request {
        enum block_op op;
        bool may_unmap;         /* BLOCK_WRITE_ZEROES may free the space */
        uint64_t offset;        /* in bytes; op, offset and length are for all ops but BLOCK_FLUSH */
        uint64_t length;        /* in bytes; of reads and writes the sum of iov */
        const struct iovec *iov;
        unsigned iov_count;
        /* @error: 0 or -errno. */
        void (*done)(struct block_request *request, int error);

        /* The back end's own. */
        struct block *block;
        struct block_request *next;
        uint64_t progress; /* bytes done by a short transfer */
        int error;
};

struct block;

/*
 * Opens and locks.  Says what is wrong on standard error, with the path.
 * -EBUSY if the image is in use.  What may not be written is opened
 * read-only with a warning.
 */
int block_open(const struct block_options *options, struct loop *loop, struct block **ret_block);
/* Waits for what is in flight; NULL is fine. */
void block_close(struct block *block);

const struct block_info *block_info(const struct block *block);
/* An identity for the path that stays the same from run to run: its MD5, 16 bytes. */
void block_path_digest(const struct block *block, uint8_t ret_digest[16]);

/* 0: done() will be called; -EINVAL (range), -EROFS, -EOPNOTSUPP: it will not. */
int block_submit(struct block *block, struct block_request *request);
/* Sends what was submitted; once a batch. */
void block_kick(struct block *block);
/* Called after each batch of completions: the time to tell the guest. */
void block_set_batch_hook(struct block *block, void (*fn)(void *ctx), void *ctx);
/* Completes what is already done, without waiting and without the batch hook, and sends what done() submitted. */
void block_poll(struct block *block);
/* Returns when nothing is in flight; calls done() of all that was. */
void block_drain(struct block *block);

/* Reads "512" or "512/4096" as in the option sectorsize; -EINVAL. */
int block_parse_sector_size(const char *text, uint32_t *ret_sector_bytes, uint32_t *ret_physical_bytes);

#endif
