/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A virtio device without its transport: features, status, queues,
 * configuration bytes, and the way from the driver's notification to the
 * device's work.
 *
 * A device embeds a struct virtio_device, fills what virtio_init asks for, and
 * hands it to a transport (virtio_pci_create), which owns it from then on.
 * Notifications may come from any thread (virtio_ring_bell); the work is done
 * on the loop's thread with the device lock held, as is everything else here.
 */
#ifndef DEV_VIRTIO_VIRTIO_H
#define DEV_VIRTIO_VIRTIO_H

#include "base/log.h"
#include "base/loop.h"
#include "dev/virtio/virtq.h"

/* Device types (virtio 1.2, 5). */
#define VIRTIO_ID_NET     1u
#define VIRTIO_ID_BLOCK   2u
#define VIRTIO_ID_CONSOLE 3u
#define VIRTIO_ID_ENTROPY 4u

/* Device status (2.1). */
#define VIRTIO_STATUS_ACKNOWLEDGE 0x01u
#define VIRTIO_STATUS_DRIVER      0x02u
#define VIRTIO_STATUS_DRIVER_OK   0x04u
#define VIRTIO_STATUS_FEATURES_OK 0x08u
#define VIRTIO_STATUS_NEEDS_RESET 0x40u
#define VIRTIO_STATUS_FAILED      0x80u

/* Features of no device in particular (6). */
#define VIRTIO_F_INDIRECT_DESC (1ull << 28)
#define VIRTIO_F_EVENT_IDX     (1ull << 29)
#define VIRTIO_F_VERSION_1     (1ull << 32)

#define VIRTIO_NO_VECTOR   0xffffu
#define VIRTIO_ISR_QUEUE   0x1u
#define VIRTIO_ISR_CONFIG  0x2u
#define VIRTIO_CONFIG_MAX  64u
#define VIRTIO_QUEUES_MAX  64u

struct virtio_device;

/* Optional, all but name, device_id, notify and destroy. */
struct virtio_ops {
        const char *name;
        uint16_t device_id;
        /* Queue @queue may have chains.  On the loop's thread. */
        void (*notify)(struct virtio_device *dev, unsigned queue);
        /* The driver is ready (DRIVER_OK); features are settled. */
        void (*start)(struct virtio_device *dev);
        /* Ends what is in flight; the queues are reset after it. */
        void (*reset)(struct virtio_device *dev);
        /* The driver wrote configuration bytes; config[] is as before. */
        void (*config_write)(struct virtio_device *dev, unsigned offset, unsigned size, uint32_t value);
        /* Called before a read of config[], to bring it up to date. */
        void (*config_refresh)(struct virtio_device *dev);
        /* Frees the device after virtio_finish. */
        void (*destroy)(struct virtio_device *dev);
};

/* Device lock, but for `bell`. */
struct virtio_device {
        const struct virtio_ops *ops;
        struct guest_mem *mem;
        struct loop *loop;
        uint64_t offered;          /* features */
        uint64_t features;         /* what the driver took */
        uint8_t status;
        uint8_t isr;
        uint8_t config_generation;
        uint16_t config_vector;
        unsigned queue_count;
        struct virtq *queue;
        unsigned config_len;
        uint8_t config[VIRTIO_CONFIG_MAX]; /* the device's configuration structure, little-endian */
        uint64_t bell;             /* atomic: queues that were notified */
        bool bell_is_shared;       /* others ring bell_fd too, and do not say for which queue */
        int bell_fd;
        struct loop_fd *bell_watch;
        struct log_limit limit;

        /* The transport's: sends an interrupt for @vector, or by line with @isr_bit. */
        void *transport;
        void (*interrupt)(struct virtio_device *dev, uint16_t vector, uint8_t isr_bit);
};

/*
 * @queue_sizes: @queue_count powers of two, at most VIRTQ_SIZE_MAX.  Features of the
 * transport and rings are added to @offered.
 */
int virtio_init(struct virtio_device *dev, const struct virtio_ops *ops, struct guest_mem *mem,
    struct loop *loop, uint64_t offered, const uint16_t *queue_sizes, unsigned queue_count);
/* Resets, and frees what virtio_init made. */
void virtio_finish(struct virtio_device *dev);

void virtio_reset(struct virtio_device *dev);
/* The driver wrote the status register.  Zero resets. */
void virtio_set_status(struct virtio_device *dev, uint8_t status);
void virtio_set_features(struct virtio_device *dev, uint64_t features);
/* The driver switched queue @index on, its addresses and size being set. */
void virtio_start_queue(struct virtio_device *dev, unsigned index);

/* From any thread, without the device lock. */
void virtio_ring_bell(struct virtio_device *dev, unsigned queue);

/* Shows the driver what was pushed on @q, with an interrupt if it wants one. */
void virtio_publish(struct virtio_device *dev, struct virtq *q);
/* The configuration changed. */
void virtio_config_changed(struct virtio_device *dev);
/* The driver broke the rules: the device asks for a reset. */
void virtio_broken(struct virtio_device *dev, const struct virtq *q);

/* Reads and writes of config[]; out of range reads 0 and writes nothing. */
uint32_t virtio_config_read(struct virtio_device *dev, unsigned offset, unsigned size);
void virtio_config_write(struct virtio_device *dev, unsigned offset, unsigned size, uint32_t value);

static inline bool
virtio_has(const struct virtio_device *dev, uint64_t feature)
{
        return (dev->features & feature) != 0;
}

#endif
