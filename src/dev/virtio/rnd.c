/* SPDX-License-Identifier: BSD-2-Clause */
/* virtio entropy device (virtio 1.2, 5.4): random bytes of the host's kernel. */
#include "dev/virtio/rnd.h"
#include "base/util.h"
#include "dev/virtio/virtio_pci.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/random.h>

#define RND_QUEUE_SIZE 64u
/* A chain gets at most so much, so that one driver does not keep the loop. */
#define RND_CHUNK_BYTES 4096u

struct virtio_rnd {
        struct virtio_device dev;
        struct virtq_chain chain; /* the one being filled */
};

static size_t
rnd_fill(const struct virtq_chain *chain)
{
        uint8_t bytes[RND_CHUNK_BYTES];
        size_t len = chain->in_bytes < sizeof(bytes) ? (size_t)chain->in_bytes : sizeof(bytes);
        ssize_t got = getrandom(bytes, len, 0);

        return got <= 0 ? 0 : virtq_chain_write(chain, 0, bytes, (size_t)got);
}

static void
rnd_notify(struct virtio_device *dev, unsigned queue)
{
        struct virtio_rnd *rnd = container_of(dev, struct virtio_rnd, dev);
        struct virtq *q = &dev->queue[queue];
        unsigned countdown = RND_QUEUE_SIZE;
        int got = 0;

        while (countdown-- != 0 && (got = virtq_pop(q, &rnd->chain)) > 0)
                virtq_push(q, &rnd->chain, rnd_fill(&rnd->chain));
        if (got < 0)
                virtio_broken(dev, q);
        virtio_publish(dev, q);
        if (virtq_notify_enable(q))
                virtio_ring_bell(dev, queue);
}

static void
rnd_destroy(struct virtio_device *dev)
{
        free(container_of(dev, struct virtio_rnd, dev));
}

static const struct virtio_ops rnd_ops = {
        .name = "virtio-rnd",
        .device_id = VIRTIO_ID_ENTROPY,
        .notify = rnd_notify,
        .destroy = rnd_destroy,
};

int
virtio_rnd_create(struct guest_mem *mem, struct loop *loop, struct virtio_device **ret_dev)
{
        static const uint16_t queue_sizes[] = { RND_QUEUE_SIZE };
        struct virtio_rnd *rnd = calloc(1, sizeof(*rnd));
        int error;

        if (rnd == NULL)
                return -ENOMEM;
        error = virtio_init(&rnd->dev, &rnd_ops, mem, loop, 0, queue_sizes, 1);
        if (error != 0) {
                free(rnd);
                return error;
        }
        *ret_dev = &rnd->dev;
        return 0;
}

int
virtio_rnd_create_pci(const struct device_env *env, const struct device_place *place,
    const struct config_node *node)
{
        static const struct virtio_pci_class crypto_entropy = { 0x10, 0x10 };
        struct virtio_device *dev;
        int error = virtio_rnd_create(env->mem, env->loop, &dev);

        if (error != 0)
                return error;
        error = virtio_pci_create(env, place, dev, crypto_entropy);
        if (error != 0) {
                virtio_finish(dev);
                rnd_destroy(dev);
        }
        return error;
}
