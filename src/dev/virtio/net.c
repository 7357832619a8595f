/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * virtio-net (virtio 1.2, 5.1): pairs of a receive and a transmit queue, and a
 * control queue, over one network back end, with mergeable buffers, and checksum
 * and segmentation offloads where the back end carries their header.
 *
 * Pair i goes with queue i of the back end.  The driver uses the first at once,
 * others when it has asked for them (VIRTIO_NET_F_MQ); frames that it puts into
 * the others' transmit queues nevertheless go out by the first.
 *
 * Transmit: chains go to the back end as they are.  Receive: a frame is taken
 * into the pair's `frame`, then spread over the driver's buffers; a frame for
 * which there are none waits there, and the back end's queue is not listened to
 * until there are.  Both work in batches, with notifications off and one
 * interrupt at the end.
 *
 * A driver that sends frame after frame would notify for each, and be
 * interrupted after each: while frames follow each other within TX_BUSY_NS, the
 * queue is looked at every TX_POLL_NS instead.
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
#define NET_PAIRS_MAX          16u  /* as the schema has it */

#define TX_BUSY_NS 100000u
#define TX_POLL_NS 40000u

/* Queues of pair i (5.1.2). */
#define QUEUE_RX(i) (2u * (i))
#define QUEUE_TX(i) (2u * (i) + 1u)

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
#define NET_F_MQ             (1ull << 22)
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
#define CTRL_MQ       4u
#define CTRL_MQ_PAIRS_SET 0u
#define CTRL_OFFLOADS 5u
#define CTRL_OK       0u
#define CTRL_ERR      1u

/* One receive and one transmit queue. */
struct net_pair {
        struct virtio_net *net;
        struct loop_timer *tx_poll; /* armed: the driver's notifications are off */
        uint64_t tx_sent_ns;        /* when the last frames were sent */
        size_t frame_len; /* of a frame that waits for buffers, header included; 0: none */
        uint8_t frame[NET_HEADER_BYTES + NET_FRAME_MAX];
};

/* Device lock. */
struct virtio_net {
        struct virtio_device dev;
        struct net_backend *nb;
        unsigned header_bytes; /* of the driver */
        bool running;
        unsigned pairs_used;   /* of the back end's queues */
        struct net_pair *pair;
        struct virtq_chain first, chain;
};

static struct virtio_net *
to_net(struct virtio_device *dev)
{
        return container_of(dev, struct virtio_net, dev);
}

/* 5.1.2: behind all pairs, but behind the first for a driver that knows no other. */
static unsigned
control_queue(const struct virtio_net *net)
{
        return 2 * (virtio_has(&net->dev, NET_F_MQ) ? net->nb->queues : 1);
}

/* The driver's buffers hold what is left of the frame: chains are taken until it is all there. */
static int
rx_spread(struct virtio_net *net, struct virtq *q, const struct net_pair *pair)
{
        struct virtq_chain *chain = &net->first;
        bool mergeable = virtio_has(&net->dev, NET_F_MRG_RXBUF);
        uint16_t count = 0;
        size_t len = pair->frame_len;
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
                n = virtq_chain_write(chain, 0, pair->frame + done, len - done);
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

/* Takes a frame from the back end into the pair's `frame`, with a header before it; as net_ops.receive. */
static ssize_t
rx_take(struct virtio_net *net, unsigned i)
{
        struct net_pair *pair = &net->pair[i];
        unsigned own_header = net->nb->vnet_hdr_bytes != 0 ? 0 : net->header_bytes;
        ssize_t n;

        memset(pair->frame, 0, own_header);
        n = net->nb->ops->receive(net->nb, i, pair->frame + own_header, sizeof(pair->frame) - own_header);
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
rx_frame(struct virtio_net *net, unsigned i)
{
        struct net_pair *pair = &net->pair[i];
        int error;

        if (pair->frame_len == 0) {
                ssize_t n = rx_take(net, i);

                if (n <= 0)
                        return n == 0 ? 0 : (int)n;
                pair->frame_len = (size_t)n;
        }
        error = rx_spread(net, &net->dev.queue[QUEUE_RX(i)], pair);
        /* What fits in no single buffer, or finds the queue broken, is lost. */
        if (error != -EAGAIN)
                pair->frame_len = 0;
        return error == -EMSGSIZE ? 0 : error;
}

static void
rx_run(struct virtio_net *net, unsigned i)
{
        struct virtq *q = &net->dev.queue[QUEUE_RX(i)];
        unsigned countdown = NET_BATCH;
        int error = 0;

        if (!net->running || !q->ready)
                return;
        while (error == 0 && countdown-- != 0)
                error = rx_frame(net, i);
        if (error == -EPROTO && q->broken)
                virtio_broken(&net->dev, q);
        virtio_publish(&net->dev, q);
        if (net->pair[i].frame_len == 0)
                return;
        /* Out of buffers: the driver is to say when there are some. */
        net->nb->ops->listen(net->nb, i, false);
        if (virtq_notify_more(q))
                virtio_ring_bell(&net->dev, QUEUE_RX(i));
}

static void
net_readable(void *ctx, unsigned queue)
{
        struct virtio_net *net = ctx;

        update_link(net);
        rx_run(net, queue);
}

/* The driver added buffers. */
static void
rx_notify(struct virtio_net *net, unsigned i)
{
        struct virtq *q = &net->dev.queue[QUEUE_RX(i)];

        if (q->broken)
                return;
        virtq_notify_disable(q);
        rx_run(net, i);
        if (net->pair[i].frame_len == 0)
                net->nb->ops->listen(net->nb, i, true);
}

/* Leaves the driver's header out if the back end has none; false if the frame is shorter than that. */
static bool
tx_trim(struct virtio_net *net, struct virtq_chain *c, struct iovec **ret_iov, unsigned *ret_count)
{
        size_t skip = net->nb->vnet_hdr_bytes != 0 ? 0 : net->header_bytes;
        unsigned i = 0;

        if (c->out_bytes <= net->header_bytes || c->out_bytes > NET_HEADER_BYTES + NET_FRAME_MAX)
                return false;
        while (skip >= c->iov[i].iov_len)
                skip -= c->iov[i++].iov_len;
        c->iov[i].iov_base = (uint8_t *)c->iov[i].iov_base + skip;
        c->iov[i].iov_len -= skip;
        *ret_iov = &c->iov[i];
        *ret_count = c->out_count - i;
        return true;
}

/* Sends up to NET_BATCH frames, whose number goes to @ret_sent; what virtq_pop gave last. */
static int
tx_send(struct virtio_net *net, unsigned i, unsigned *ret_sent)
{
        struct virtq *q = &net->dev.queue[QUEUE_TX(i)];
        unsigned queue = i < net->pairs_used ? i : 0;
        unsigned sent = 0;
        int got = 0;

        while (sent < NET_BATCH && (got = virtq_pop(q, &net->chain)) > 0) {
                struct iovec *iov;
                unsigned count;

                if (tx_trim(net, &net->chain, &iov, &count))
                        net->nb->ops->send(net->nb, queue, iov, count);
                virtq_push(q, &net->chain, 0);
                sent++;
        }
        *ret_sent = sent;
        return got;
}

/* Whether the frames just sent came soon after those before. */
static bool
tx_is_busy(struct net_pair *pair, unsigned sent, uint64_t now)
{
        bool busy = sent != 0 && now - pair->tx_sent_ns < TX_BUSY_NS;

        if (sent != 0)
                pair->tx_sent_ns = now;
        return busy;
}

static void
tx_run(struct virtio_net *net, unsigned i)
{
        struct virtq *q = &net->dev.queue[QUEUE_TX(i)];
        struct net_pair *pair = &net->pair[i];
        uint64_t now;
        unsigned sent;
        int got;

        virtq_notify_disable(q);
        got = tx_send(net, i, &sent);
        now = loop_now_ns();
        if (got == 0 && tx_is_busy(pair, sent, now)) {
                virtq_show(q);
                loop_timer_arm(pair->tx_poll, now + TX_POLL_NS);
                return;
        }
        if (got < 0)
                virtio_broken(&net->dev, q);
        virtio_publish(&net->dev, q);
        if (got > 0 || virtq_notify_enable(q))
                virtio_ring_bell(&net->dev, QUEUE_TX(i));
}

/* The interrupt for what the last look found is due by now, unless the driver has looked by itself. */
static void
tx_poll(void *ctx)
{
        struct net_pair *pair = ctx;
        struct virtio_net *net = pair->net;
        unsigned i = (unsigned)(pair - net->pair);

        virtio_publish(&net->dev, &net->dev.queue[QUEUE_TX(i)]);
        tx_run(net, i);
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

/* The first @count pairs are in use from now on.  A frame that waits at another is lost. */
static int
use_pairs(struct virtio_net *net, unsigned count)
{
        const struct net_ops *ops = net->nb->ops;
        unsigned before = net->pairs_used;
        int error = net->nb->queues > 1 ? ops->use_queues(net->nb, count) : 0;

        if (error != 0) {
                (void)ops->use_queues(net->nb, before);
                return error;
        }
        net->pairs_used = count;
        for (unsigned i = count; i < before; i++)
                net->pair[i].frame_len = 0;
        for (unsigned i = before; i < count; i++)
                ops->listen(net->nb, i, true);
        return 0;
}

static uint8_t
control_pairs(struct virtio_net *net, unsigned command, const struct virtq_chain *c)
{
        uint8_t data[2];
        unsigned count;

        if (!virtio_has(&net->dev, NET_F_MQ) || command != CTRL_MQ_PAIRS_SET ||
            virtq_chain_read(c, 2, data, sizeof(data)) != sizeof(data))
                return CTRL_ERR;
        count = get_le16(data);
        return count != 0 && count <= net->nb->queues && use_pairs(net, count) == 0 ? CTRL_OK : CTRL_ERR;
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
        case CTRL_MQ:
                return control_pairs(net, command, c);
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
        unsigned queue = control_queue(net);
        struct virtq *q = &net->dev.queue[queue];
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
                virtio_ring_bell(&net->dev, queue);
}

static void
net_notify(struct virtio_device *dev, unsigned queue)
{
        struct virtio_net *net = to_net(dev);

        if (queue == control_queue(net))
                control_notify(net);
        else if (!net->running || queue / 2 >= net->nb->queues)
                return;
        else if (queue == QUEUE_TX(queue / 2))
                tx_run(net, queue / 2);
        else if (queue / 2 < net->pairs_used)
                rx_notify(net, queue / 2);
}

static void
net_start(struct virtio_device *dev)
{
        struct virtio_net *net = to_net(dev);
        bool long_header = virtio_has(dev, NET_F_MRG_RXBUF) || virtio_has(dev, VIRTIO_F_VERSION_1);

        net->header_bytes = long_header ? NET_HEADER_BYTES : NET_HEADER_OLD_BYTES;
        set_offloads(net, dev->features);
        net->running = true;
        (void)use_pairs(net, 1);
        /* Old drivers may have put frames there already. */
        virtio_ring_bell(dev, QUEUE_TX(0));
}

static void
net_reset(struct virtio_device *dev)
{
        struct virtio_net *net = to_net(dev);

        net->running = false;
        net->nb->ops->listen(net->nb, 0, false);
        if (net->pairs_used > 1)
                (void)use_pairs(net, 1);
        net->pairs_used = 0;
        for (unsigned i = 0; i < net->nb->queues; i++) {
                net->pair[i].frame_len = 0;
                loop_timer_cancel(net->pair[i].tx_poll);
        }
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

        for (unsigned i = 0; net->pair != NULL && i < net->nb->queues; i++)
                loop_timer_destroy(net->pair[i].tx_poll);
        net_close(net->nb);
        free(net->pair);
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
            (mtu != NETDEV_MTU_DEFAULT ? NET_F_MTU : 0) | (nb->vnet_hdr_bytes != 0 ? NET_F_OFFLOADS : 0) |
            (nb->queues > 1 ? NET_F_MQ : 0);
}

/* The host's side: the back end, and a pair for each of its queues. */
static int
net_open_pairs(struct virtio_net *net, struct loop *loop, const struct config_node *node)
{
        int error = netdev_open(node, loop, true, (unsigned)config_node_uint(node, "queues"), net_readable, net,
            &net->nb);

        if (error != 0)
                return error;
        net->pair = calloc(net->nb->queues, sizeof(*net->pair));
        if (net->pair == NULL)
                return -ENOMEM;
        for (unsigned i = 0; error == 0 && i < net->nb->queues; i++) {
                net->pair[i].net = net;
                error = loop_timer_create(loop, tx_poll, &net->pair[i], &net->pair[i].tx_poll);
        }
        return error;
}

static int
net_setup(struct virtio_net *net, const struct device_env *env, const struct device_place *place,
    const struct config_node *node)
{
        uint16_t queue_sizes[2 * NET_PAIRS_MAX + 1];
        unsigned mtu = (unsigned)config_node_uint(node, "mtu");
        unsigned data_queues;
        int error = netdev_mac(node, place, env->vm_name, net->dev.config + NET_CFG_MAC);

        if (error == 0)
                error = net_open_pairs(net, env->loop, node);
        if (error != 0)
                return error;
        data_queues = 2 * net->nb->queues;
        for (unsigned i = 0; i < data_queues; i++)
                queue_sizes[i] = NET_QUEUE_SIZE;
        queue_sizes[data_queues] = NET_CONTROL_QUEUE_SIZE;
        net->dev.config_len = NET_CFG_BYTES;
        put_le16(net->dev.config + NET_CFG_STATUS, net->nb->link ? NET_S_LINK_UP : 0);
        put_le16(net->dev.config + NET_CFG_PAIRS, (uint16_t)net->nb->queues);
        put_le16(net->dev.config + NET_CFG_MTU, (uint16_t)mtu);
        return virtio_init(&net->dev, &net_ops, env->mem, env->loop, net_features(net->nb, mtu), queue_sizes,
            data_queues + 1);
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
                net_destroy(&net->dev);
                return error;
        }
        error = virtio_pci_create(env, place, &net->dev, ethernet);
        if (error != 0) {
                virtio_finish(&net->dev);
                net_destroy(&net->dev);
        }
        return error;
}
