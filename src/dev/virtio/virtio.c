/* SPDX-License-Identifier: BSD-2-Clause */
#include "dev/virtio/virtio.h"

#include <endian.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

static void
virtio_answer_bell(void *ctx, unsigned epoll_events)
{
        struct virtio_device *dev = ctx;
        uint64_t queues;
        uint64_t count;
        ssize_t n = read(dev->bell_fd, &count, sizeof(count));

        (void)n;
        /* Pairs with virtio_ring_bell: what the driver put before it rang is seen after this. */
        queues = __atomic_exchange_n(&dev->bell, 0, __ATOMIC_SEQ_CST);
        if (dev->bell_is_shared)
                queues = UINT64_MAX >> (64 - dev->queue_count);
        while (queues != 0) {
                unsigned i = (unsigned)__builtin_ctzll(queues);

                queues &= queues - 1;
                if (dev->queue[i].ready)
                        dev->ops->notify(dev, i);
        }
}

void
virtio_ring_bell(struct virtio_device *dev, unsigned queue)
{
        uint64_t one = 1;
        ssize_t n;

        if (queue >= dev->queue_count)
                return;
        /* Pairs with the exchange in virtio_answer_bell; only the first ring needs to wake the loop. */
        if (__atomic_fetch_or(&dev->bell, 1ull << queue, __ATOMIC_SEQ_CST) != 0)
                return;
        n = write(dev->bell_fd, &one, sizeof(one));
        (void)n;
}

int
virtio_init(struct virtio_device *dev, const struct virtio_ops *ops, struct guest_mem *mem,
    struct loop *loop, uint64_t offered, const uint16_t *queue_sizes, unsigned queue_count)
{
        int error = -ENOMEM;

        dev->ops = ops;
        dev->mem = mem;
        dev->loop = loop;
        dev->offered = offered | VIRTIO_F_INDIRECT_DESC | VIRTIO_F_EVENT_IDX | VIRTIO_F_VERSION_1;
        dev->config_vector = VIRTIO_NO_VECTOR;
        dev->bell_fd = -1;
        dev->queue = calloc(queue_count, sizeof(*dev->queue));
        if (dev->queue == NULL)
                return -ENOMEM;
        for (unsigned i = 0; i < queue_count; i++) {
                dev->queue[i].mem = mem;
                dev->queue[i].size_max = queue_sizes[i];
                virtq_reset(&dev->queue[i]);
        }
        dev->queue_count = queue_count;
        dev->bell_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
        if (dev->bell_fd < 0)
                error = -errno;
        else
                error = loop_fd_add(loop, dev->bell_fd, EPOLLIN, virtio_answer_bell, dev, &dev->bell_watch);
        if (error != 0) {
                if (dev->bell_fd >= 0)
                        close(dev->bell_fd);
                free(dev->queue);
                dev->queue = NULL;
        }
        return error;
}

void
virtio_finish(struct virtio_device *dev)
{
        virtio_reset(dev);
        loop_fd_remove(dev->bell_watch);
        close(dev->bell_fd);
        free(dev->queue);
}

void
virtio_reset(struct virtio_device *dev)
{
        if (dev->ops->reset != NULL)
                dev->ops->reset(dev);
        for (unsigned i = 0; i < dev->queue_count; i++)
                virtq_reset(&dev->queue[i]);
        dev->features = 0;
        dev->status = 0;
        dev->isr = 0;
        dev->config_vector = VIRTIO_NO_VECTOR;
        __atomic_store_n(&dev->bell, 0, __ATOMIC_SEQ_CST);
}

void
virtio_set_features(struct virtio_device *dev, uint64_t features)
{
        dev->features = features;
        for (unsigned i = 0; i < dev->queue_count; i++) {
                dev->queue[i].event_index = virtio_has(dev, VIRTIO_F_EVENT_IDX);
                dev->queue[i].indirect = virtio_has(dev, VIRTIO_F_INDIRECT_DESC);
        }
}

/* virtio 1.2, 3.1.1: a driver that takes what was not offered does not get FEATURES_OK. */
static uint8_t
virtio_settle_features(const struct virtio_device *dev, uint8_t status)
{
        bool fine = (dev->features & ~dev->offered) == 0 && virtio_has(dev, VIRTIO_F_VERSION_1);

        return fine ? status : (uint8_t)(status & ~VIRTIO_STATUS_FEATURES_OK);
}

void
virtio_set_status(struct virtio_device *dev, uint8_t status)
{
        uint8_t news = (uint8_t)(status & ~dev->status);

        if (status == 0) {
                virtio_reset(dev);
                return;
        }
        if (news & VIRTIO_STATUS_FEATURES_OK)
                status = virtio_settle_features(dev, status);
        dev->status = (uint8_t)(status | (dev->status & VIRTIO_STATUS_NEEDS_RESET));
        if ((news & VIRTIO_STATUS_DRIVER_OK) && dev->ops->start != NULL)
                dev->ops->start(dev);
}

void
virtio_start_queue(struct virtio_device *dev, unsigned index)
{
        struct virtq *q = &dev->queue[index];

        if (virtq_start(q) != 0)
                virtio_broken(dev, q);
}

void
virtio_publish(struct virtio_device *dev, struct virtq *q)
{
        virtq_show(q);
        if (virtq_interrupt_due(q))
                dev->interrupt(dev, q->vector, VIRTIO_ISR_QUEUE);
}

void
virtio_config_changed(struct virtio_device *dev)
{
        dev->config_generation++;
        if (dev->status & VIRTIO_STATUS_DRIVER_OK)
                dev->interrupt(dev, dev->config_vector, VIRTIO_ISR_CONFIG);
}

void
virtio_broken(struct virtio_device *dev, const struct virtq *q)
{
        log_guest(&dev->limit, "%s: the guest's driver broke queue %u (%s); it needs a reset",
            dev->ops->name, (unsigned)(q - dev->queue), q->why);
        if (dev->status & VIRTIO_STATUS_NEEDS_RESET)
                return;
        dev->status |= VIRTIO_STATUS_NEEDS_RESET;
        virtio_config_changed(dev);
}

uint32_t
virtio_config_read(struct virtio_device *dev, unsigned offset, unsigned size)
{
        uint32_t value = 0;

        if (size > sizeof(value) || offset > dev->config_len || size > dev->config_len - offset)
                return 0;
        if (dev->ops->config_refresh != NULL)
                dev->ops->config_refresh(dev);
        memcpy(&value, dev->config + offset, size);
        return le32toh(value);
}

void
virtio_config_write(struct virtio_device *dev, unsigned offset, unsigned size, uint32_t value)
{
        if (size > sizeof(value) || offset > dev->config_len || size > dev->config_len - offset)
                return;
        if (dev->ops->config_write != NULL)
                dev->ops->config_write(dev, offset, size, value);
}
