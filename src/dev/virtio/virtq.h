/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Split virtqueues, the device's side (virtio 1.2, 2.7; the layout of 0.9.5 is the same).
 *
 * Everything in a ring is the guest's and may change at any moment.  Each
 * descriptor is copied once, then checked, then used; every walk has a
 * countdown.  The first breach of the rules breaks the queue: virtq_pop then
 * gives -EPROTO until the queue is reset, and nothing else is harmed.
 *
 * Use: virtq_pop until it gives 0, virtq_push for each finished chain in any
 * order, once a batch virtq_show, and virtq_interrupt_due then or later.  Around a batch, virtq_notify_disable and
 * virtq_notify_enable keep the guest from ringing the bell in vain.
 * All calls are made with the device lock held.
 */
#ifndef DEV_VIRTIO_VIRTQ_H
#define DEV_VIRTIO_VIRTQ_H

#include "mem/mem.h"

#include <stdbool.h>
#include <stdint.h>
#include <sys/uio.h>

#define VIRTQ_SIZE_MAX  1024u
#define VIRTQ_CHAIN_MAX 256u /* buffers in a chain */

struct virtq {
        struct guest_mem *mem;
        uint16_t size_max;    /* what the device offers: a power of two */
        uint16_t size;        /* what the driver chose */
        uint16_t vector;      /* MSI-X vector, VIRTIO_NO_VECTOR for none */
        bool ready;           /* the driver gave it memory and switched it on */
        bool broken;
        const char *why;      /* what broke it */
        bool event_index;     /* VIRTIO_F_EVENT_IDX was negotiated */
        bool indirect;        /* VIRTIO_F_INDIRECT_DESC was negotiated */
        gpa_t desc;           /* the three areas */
        gpa_t avail;
        gpa_t used;
        uint16_t avail_next;  /* next available entry to take */
        uint16_t used_next;   /* next used entry to fill */
        uint16_t used_shown;  /* used index that the driver sees */
        uint16_t used_told;   /* used index at the last virtq_interrupt_due */
};

/* A chain of buffers: out_count that the device reads, then in_count that it writes. */
struct virtq_chain {
        uint16_t head;
        uint16_t out_count;
        uint16_t in_count;
        uint64_t out_bytes;
        uint64_t in_bytes;
        struct iovec iov[VIRTQ_CHAIN_MAX];
        gpa_t gpa[VIRTQ_CHAIN_MAX];
};

/* Back to the state after power-on; size_max and mem stay. */
void virtq_reset(struct virtq *q);

/* Switches the queue on.  -EINVAL if size or addresses cannot be right; then it is broken. */
int virtq_start(struct virtq *q);

/* 1 with a chain, 0 if none is waiting, -EPROTO if the queue is broken. */
int virtq_pop(struct virtq *q, struct virtq_chain *ret_chain);
/*
 * Takes back the last @popped chains, so that they come again, of which the first
 * @pushed were pushed; none of these may have been published.
 */
void virtq_rewind(struct virtq *q, unsigned popped, unsigned pushed);
bool virtq_has_chain(struct virtq *q);

/* Returns a chain to the driver with @written bytes put into its writable part. */
void virtq_push(struct virtq *q, const struct virtq_chain *chain, uint64_t written);
/* The first @bytes of the writable part were changed once more after virtq_push. */
void virtq_chain_written(struct virtq *q, const struct virtq_chain *chain, uint64_t bytes);
/* Shows the driver what was pushed. */
void virtq_show(struct virtq *q);
/* True if the driver wants an interrupt for what was shown since this was asked last. */
bool virtq_interrupt_due(struct virtq *q);

void virtq_notify_disable(struct virtq *q);
/* True if chains came in the meantime: the caller goes round again. */
bool virtq_notify_enable(struct virtq *q);
/* The same, but for chains beyond those that are there now, which were not enough. */
bool virtq_notify_more(struct virtq *q);

/* Copies between a chain and a buffer from byte @offset on; the number of bytes copied. */
size_t virtq_chain_read(const struct virtq_chain *chain, size_t offset, void *buf, size_t len);
size_t virtq_chain_write(const struct virtq_chain *chain, size_t offset, const void *buf, size_t len);

#endif
