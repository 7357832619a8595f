/* SPDX-License-Identifier: BSD-2-Clause */
/* What the files of the block back end share. */
#ifndef BACKEND_BLOCK_PRIVATE_H
#define BACKEND_BLOCK_PRIVATE_H

#include "backend/block/block.h"

/* An open image.  Nothing here changes after image_open. */
struct image {
        char *path;
        int fd;            /* the lock is on this one */
        int fd_buffered;   /* through the page cache: the same as fd unless nocache */
        bool is_device;
        uint32_t dio_memory_align; /* what O_DIRECT asks of buffers and offsets; 1 without it */
        uint32_t dio_offset_align;
        struct block_info info;
};

int image_open(const struct block_options *options, struct image *ret_image);
void image_close(struct image *image);

/* The descriptor for a request: fd, or fd_buffered if it is not aligned for O_DIRECT. */
int image_fd_for(const struct image *image, const struct block_request *request);

/* Does the rest of a request (from progress on) and returns 0 or -errno. */
int image_execute(const struct image *image, const struct block_request *request);

/* A pool of threads that execute requests; their results come back through an eventfd. */
struct workers;

int workers_create(const struct image *image, unsigned count, struct workers **ret_workers);
void workers_destroy(struct workers *workers);
void workers_submit(struct workers *workers, struct block_request *request);
/* The requests that are finished, linked by next; waits for one if @wait. */
struct block_request *workers_collect(struct workers *workers, bool wait);
/* Readable while there is something to collect. */
int workers_event_fd(const struct workers *workers);

#endif
