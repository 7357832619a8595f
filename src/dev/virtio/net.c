/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * virtio-net (virtio 1.2, 5.1): a receive, a transmit and a control queue over
 * one network back end, with mergeable buffers, and checksum and segmentation
 * offloads where the back end carries their header.
 *
 * Transmit: chains go to the back end as they are.  Receive: a frame is taken
 * into `frame`, then spread over the driver's buffers; a frame for which there
 * are none waits there, and the back end is not listened to until there are.
 * Both work in batches, with notifications off and one interrupt at the end.
 */
#include "dev/virtio/net.h"
#include "base/bytes.h"
#include "base/util.h"
#include "dev/netdev.h"
#include "dev/virtio/virtio_pci.h"

#include <errno.h>
#include <linux/if_tun.h>
#include <stdlib.h>

#define NET_QUEUE_SIZE         1024u
#define NET_CONTROL_QUEUE_SIZE 64u
#define NET_BATCH              256u /* frames before others get their turn */

#define QUEUE_RX      0u
#define QUEUE_TX      1u
#define QUEUE_CONTROL 2u

#define NET_F_CSUM           (1ull << 0)
#define NET_F_GUEST_CSUM     (1ull << 1)
#define NET_F_GUEST_OFFLOADS (1ull << 2)
#define NET_F_MTU            (1ull << 3)
#define NET_F_MAC            (1ull << 5)
#define NET_F_GUEST_TSO4     (1ull << 7)
#define NET_F_GUEST_TSO6     (1ull << 8)
#define NET_F_GUEST_ECN      (1ull << 9)
#define NET_F_GUEST_UFO      (1ull << 10)
#define NET_F_HOST_TSO4      (1ull << 11)
#define NET_F_HOST_TSO6      (1ull << 12)
#define NET_F_HOST_ECN       (1ull << 13)
#define NET_F_HOST_UFO       (1ull << 14)
#define NET_F_MRG_RXBUF      (1ull << 15)
#define NET_F_STATUS         (1ull << 16)
#define NET_F_CTRL_VQ        (1ull << 17)
#define NET_F_CTRL_RX        (1ull << 18)
#define NET_F_CTRL_MAC_ADDR  (1ull << 23)

#define NET_F_OFFLOADS                                                                             \
        (NET_F_CSUM | NET_F_GUEST_CSUM | NET_F_GUEST_OFFLOADS | NET_F_GUEST_TSO4 |                 \
            NET_F_GUEST_TSO6 | NET_F_GUEST_ECN | NET_F_GUEST_UFO | NET_F_HOST_TSO4 |               \
            NET_F_HOST_TSO6 | NET_F_HOST_ECN | NET_F_HOST_UFO)

/* The header before each frame (5.1.6). */
#define NET_HEADER_BYTES       12u
#define NET_HEADER_OLD_BYTES   10u /* without num_buffers: old drivers that do not merge */
#define NET_HEADER_NUM_BUFFERS 10u

/* Configuration structure (5.1.4). */
#define NET_CFG_MAC    0
#define NET_CFG_STATUS 6
#define NET_CFG_PAIRS  8
#define NET_CFG_MTU    10
#define NET_CFG_BYTES  12
#define NET_S_LINK_UP  1

/* Control commands (5.1.6.5): class, command, data; one byte of answer. */
#define CTRL_RX       0u
#define CTRL_MAC      1u
#define CTRL_MAC_ADDR_SET 1u
#define CTRL_OFFLOADS 5u
#define CTRL_OK       0u
#define CTRL_ERR      1u

/* Device lock. */
struct virtio_net {
        struct virtio_device dev;
        struct net_backend *nb;
        unsigned header_bytes; /* of the driver */
        bool running;
        size_t frame_len;      /* of a frame that waits for buffers, header included; 0: none */
        struct virtq_chain first, chain;
        uint8_t frame[NET_HEADER_BYTES + NET_FRAME_MAX];
};

static struct virtio_net *
to_net(struct virtio_device *dev)
{
        return container_of(dev, struct virtio_net, dev);
}

/* The driver's buffers hold what is left of the frame: chains are taken until it is all there. */
static int
rx_spread(struct virtio_net *net, size_t len)
{
        struct virtq *q = &net->dev.queue[QUEUE_RX];
        struct virtq_chain *chain = &net->first;
        bool mergeable = virtio_has(&net->dev, NET_F_MRG_RXBUF);
        uint16_t count = 0;
        size_t done = 0;
        uint8_t num_buffers[2];

        while (done < len) {
                int got = virtq_pop(q, chain);
                size_t n;

                if (got > 0)
                        count++;
                if (got <= 0 || (!mergeable && chain->in_bytes < len)) {
                        virtq_rewind(q, count, got > 0 ? count - 1u : count);
                        return got > 0 ? -EMSGSIZE : got < 0 ? got : -EAGAIN;
                }
                n = virtq_chain_write(chain, 0, net->frame + done, len - done);
                virtq_push(q, chain, n);
                done += n;
                chain = &net->chain;
        }
        if (net->header_bytes < NET_HEADER_BYTES)
                return 0;
        put_le16(num_buffers, count);
        virtq_chain_write(&net->first, NET_HEADER_NUM_BUFFERS, num_buffers, sizeof(num_buffers));
        virtq_chain_written(q, &net->first, NET_HEADER_BYTES);
        return 0;
}

/* Takes a frame from the back end into `frame`, with a header before it; as net_ops.receive. */
static ssize_t
rx_take(struct virtio_net *net)
{
        unsigned own_header = net->nb->vnet_hdr_bytes != 0 ? 0 : net->header_bytes;
        ssize_t n;

        memset(net->frame, 0, own_header);
        n = net->nb->ops->receive(net->nb, net->frame + own_header, sizeof(net->frame) - own_header);
        return n <= 0 ? n : n + (ssize_t)own_header;
}

static void
update_link(struct virtio_net *net)
{
        uint16_t status = net->nb->link ? NET_S_LINK_UP : 0;

        if (get_le16(net->dev.config + NET_CFG_STATUS) == status)
                return;
        put_le16(net->dev.config + NET_CFG_STATUS, status);
        virtio_config_changed(&net->dev);
}

/* One frame to the driver: 0; -EAGAIN when there is no frame or no buffer for it. */
static int
rx_frame(struct virtio_net *net)
{
        int error;

        if (net->frame_len == 0) {
                ssize_t n = rx_take(net);

                if (n <= 0)
                        return n == 0 ? 0 : (int)n;
                net->frame_len = (size_t)n;
        }
        error = rx_spread(net, net->frame_len);
        /* What fits in no single buffer, or finds the queue broken, is lost. */
        if (error != -EAGAIN)
                net->frame_len = 0;
        return error == -EMSGSIZE ? 0 : error;
}

static void
rx_run(struct virtio_net *net)
{
        struct virtq *q = &net->dev.queue[QUEUE_RX];
        unsigned countdown = NET_BATCH;
        int error = 0;

        if (!net->running || !q->ready)
                return;
        while (error == 0 && countdown-- != 0)
                error = rx_frame(net);
        if (error == -EPROTO && q->broken)
                virtio_broken(&net->dev, q);
        virtio_publish(&net->dev, q);
        if (net->frame_len == 0)
                return;
        /* Out of buffers: the driver is to say when there are some. */
        net->nb->ops->listen(net->nb, false);
        if (virtq_notify_more(q))
                virtio_ring_bell(&net->dev, QUEUE_RX);
}

static void
net_readable(void *ctx)
{
        struct virtio_net *net = ctx;

        update_link(net);
        rx_run(net);
}

/* The driver added buffers. */
static void
rx_notify(struct virtio_net *net)
{
        if (!net->running || net->dev.queue[QUEUE_RX].broken)
                return;
        virtq_notify_disable(&net->dev.queue[QUEUE_RX]);
        rx_run(net);
        if (net->frame_len == 0)
                net->nb->ops->listen(net->nb, true);
}

/* Leaves the driver's header out if the back end has none; false if the frame is shorter than that. */
static bool
tx_trim(struct virtio_net *net, struct virtq_chain *c, struct iovec **ret_iov, unsigned *ret_count)
{
        size_t skip = net->nb->vnet_hdr_bytes != 0 ? 0 : net->header_bytes;
        unsigned i = 0;

        if (c->out_bytes <= net->header_bytes || c->out_bytes > sizeof(net->frame))
                return false;
        while (skip >= c->iov[i].iov_len)
                skip -= c->iov[i++].iov_len;
        c->iov[i].iov_base = (uint8_t *)c->iov[i].iov_base + skip;
        c->iov[i].iov_len -= skip;
        *ret_iov = &c->iov[i];
        *ret_count = c->out_count - i;
        return true;
}

static void
tx_notify(struct virtio_net *net)
{
        struct virtq *q = &net->dev.queue[QUEUE_TX];
        unsigned countdown = NET_BATCH;
        int got = 0;

        if (!net->running)
                return;
        virtq_notify_disable(q);
        while (countdown-- != 0 && (got = virtq_pop(q, &net->chain)) > 0) {
                struct iovec *iov;
                unsigned count;

                if (tx_trim(net, &net->chain, &iov, &count))
                        net->nb->ops->send(net->nb, iov, count);
                virtq_push(q, &net->chain, 0);
        }
        if (got < 0)
                virtio_broken(&net->dev, q);
        virtio_publish(&net->dev, q);
        if (got > 0 || virtq_notify_enable(q))
                virtio_ring_bell(&net->dev, QUEUE_TX);
}

static unsigned
tun_offloads(uint64_t features)
{
        return (features & NET_F_GUEST_CSUM ? TUN_F_CSUM : 0) |
            (features & NET_F_GUEST_TSO4 ? TUN_F_TSO4 : 0) | (features & NET_F_GUEST_TSO6 ? TUN_F_TSO6 : 0) |
            (features & NET_F_GUEST_ECN ? TUN_F_TSO_ECN : 0) | (features & NET_F_GUEST_UFO ? TUN_F_UFO : 0);
}

static void
set_offloads(struct virtio_net *net, uint64_t features)
{
        if (net->nb->vnet_hdr_bytes != 0)
                (void)net->nb->ops->set_vnet_hdr(net->nb, net->header_bytes, tun_offloads(features));
}

/* Nothing is filtered: a promiscuous interface obeys every wish about what to receive. */
static uint8_t
control_command(struct virtio_net *net, unsigned class, unsigned command, const struct virtq_chain *c)
{
        uint8_t data[8];

        switch (class) {
        case CTRL_RX:
                return CTRL_OK;
        case CTRL_MAC:
                if (command == CTRL_MAC_ADDR_SET && virtq_chain_read(c, 2, data, 6) == 6)
                        memcpy(net->dev.config + NET_CFG_MAC, data, 6);
                return CTRL_OK;
        case CTRL_OFFLOADS:
                if (!virtio_has(&net->dev, NET_F_GUEST_OFFLOADS) || virtq_chain_read(c, 2, data, 8) != 8 ||
                    (get_le64(data) & ~net->dev.features) != 0)
                        return CTRL_ERR;
                set_offloads(net, get_le64(data));
                return CTRL_OK;
        default:
                return CTRL_ERR;
        }
}

static void
control_notify(struct virtio_net *net)
{
        struct virtq *q = &net->dev.queue[QUEUE_CONTROL];
        unsigned countdown = NET_CONTROL_QUEUE_SIZE;
        int got = 0;

        while (countdown-- != 0 && (got = virtq_pop(q, &net->chain)) > 0) {
                uint8_t head[2] = { 0xff, 0xff };
                uint8_t ack;

                virtq_chain_read(&net->chain, 0, head, sizeof(head));
                ack = control_command(net, head[0], head[1], &net->chain);
                virtq_push(q, &net->chain, virtq_chain_write(&net->chain, 0, &ack, 1));
        }
        if (got < 0)
                virtio_broken(&net->dev, q);
        virtio_publish(&net->dev, q);
        if (virtq_notify_enable(q))
                virtio_ring_bell(&net->dev, QUEUE_CONTROL);
}

static void
net_notify(struct virtio_device *dev, unsigned queue)
{
        struct virtio_net *net = to_net(dev);

        if (queue == QUEUE_RX)
                rx_notify(net);
        else if (queue == QUEUE_TX)
                tx_notify(net);
        else
                control_notify(net);
}

static void
net_start(struct virtio_device *dev)
{
        struct virtio_net *net = to_net(dev);
        bool long_header = virtio_has(dev, NET_F_MRG_RXBUF) || virtio_has(dev, VIRTIO_F_VERSION_1);

        net->header_bytes = long_header ? NET_HEADER_BYTES : NET_HEADER_OLD_BYTES;
        set_offloads(net, dev->features);
        net->running = true;
        net->nb->ops->listen(net->nb, true);
        /* Old drivers may have put frames there already. */
        virtio_ring_bell(dev, QUEUE_TX);
}

static void
net_reset(struct virtio_device *dev)
{
        struct virtio_net *net = to_net(dev);

        net->running = false;
        net->frame_len = 0;
        net->nb->ops->listen(net->nb, false);
}

/* Old drivers set the address by writing it (5.1.4, legacy). */
static void
net_config_write(struct virtio_device *dev, unsigned offset, unsigned size, uint32_t value)
{
        uint8_t bytes[4];

        if (virtio_has(dev, VIRTIO_F_VERSION_1) || offset + size > NET_CFG_MAC + 6)
                return;
        put_le32(bytes, value);
        memcpy(dev->config + offset, bytes, size);
}

static void
net_destroy(struct virtio_device *dev)
{
        struct virtio_net *net = to_net(dev);

        net_close(net->nb);
        free(net);
}

static const struct virtio_ops net_ops = {
        .name = "virtio-net",
        .device_id = VIRTIO_ID_NET,
        .notify = net_notify,
        .start = net_start,
        .reset = net_reset,
        .config_write = net_config_write,
        .destroy = net_destroy,
};

static uint64_t
net_features(const struct net_backend *nb, unsigned mtu)
{
        return NET_F_MAC | NET_F_STATUS | NET_F_MRG_RXBUF | NET_F_CTRL_VQ | NET_F_CTRL_RX | NET_F_CTRL_MAC_ADDR |
            (mtu != NETDEV_MTU_DEFAULT ? NET_F_MTU : 0) | (nb->vnet_hdr_bytes != 0 ? NET_F_OFFLOADS : 0);
}

static int
net_setup(struct virtio_net *net, const struct device_env *env, const struct device_place *place,
    const struct config_node *node)
{
        static const uint16_t queue_sizes[] = { NET_QUEUE_SIZE, NET_QUEUE_SIZE, NET_CONTROL_QUEUE_SIZE };
        unsigned mtu = (unsigned)config_node_uint(node, "mtu");
        int error = netdev_mac(node, place, env->vm_name, net->dev.config + NET_CFG_MAC);

        if (error == 0)
                error = netdev_open(node, env->loop, true, net_readable, net, &net->nb);
        if (error != 0)
                return error;
        net->dev.config_len = NET_CFG_BYTES;
        put_le16(net->dev.config + NET_CFG_STATUS, net->nb->link ? NET_S_LINK_UP : 0);
        put_le16(net->dev.config + NET_CFG_PAIRS, 1);
        put_le16(net->dev.config + NET_CFG_MTU, (uint16_t)mtu);
        return virtio_init(&net->dev, &net_ops, env->mem, env->loop, net_features(net->nb, mtu), queue_sizes,
            ARRAY_LEN(queue_sizes));
}

int
virtio_net_create_pci(const struct device_env *env, const struct device_place *place,
    const struct config_node *node)
{
        static const struct virtio_pci_class ethernet = { 0x02, 0x00 };
        struct virtio_net *net = calloc(1, sizeof(*net));
        int error;

        if (net == NULL)
                return -ENOMEM;
        error = net_setup(net, env, place, node);
        if (error != 0) {
                net_close(net->nb);
                free(net);
                return error;
        }
        error = virtio_pci_create(env, place, &net->dev, ethernet);
        if (error != 0) {
                virtio_finish(&net->dev);
                net_destroy(&net->dev);
        }
        return error;
}
