/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The host's end of a guest's network interface: a tap, the user-mode network
 * (slirp), or one end of a pair of Unix sockets that joins two guests.
 *
 * A frame is one call each way.  Where vnet_hdr_bytes is not 0, a struct
 * virtio_net_hdr of that size precedes each frame in both directions and may
 * ask the other side to finish checksums or segments.
 *
 * A tap may have several queues, each a path of its own in both directions;
 * the guest's queue pairs go with them by number.  Queue 0 is always in use,
 * the others from use_queues() on.
 *
 * All calls are made with the device lock held; the readable callback comes on
 * the loop's thread.
 */
#ifndef BACKEND_NET_NET_H
#define BACKEND_NET_NET_H

#include "base/loop.h"

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>
#include <sys/uio.h>

#define NET_FRAME_MAX (65535u + 18u) /* a segmented packet with its Ethernet and VLAN headers */

struct net_options {
        const char *backend; /* "tap0", "vmnet1", "slirp", "unix" */
        const char *path;    /* unix: where the two ends meet */
        const char *hostfwd; /* slirp: proto:hostaddr:hostport-guestaddr:guestport;... */
        bool restricted;     /* slirp: the guest does not reach the outside */
        bool want_vnet_hdr;
        unsigned queues;     /* wanted; 0 is 1 */
};

struct net_backend;

struct net_ops {
        void (*destroy)(struct net_backend *nb);
        /* Sends a frame, or drops it; never waits. */
        void (*send)(struct net_backend *nb, unsigned queue, const struct iovec *iov, unsigned count);
        /* Takes a frame: its bytes, -EAGAIN if there is none, another -errno if the link is gone. */
        ssize_t (*receive)(struct net_backend *nb, unsigned queue, void *buf, size_t size);
        /* Whether the readable callback is wanted for a queue in use. */
        void (*listen)(struct net_backend *nb, unsigned queue, bool on);
        /* Optional, with a header: its size, and TUN_F_ flags of what may come unfinished. */
        int (*set_vnet_hdr)(struct net_backend *nb, unsigned bytes, unsigned tun_f_flags);
        /* With several queues: the first @count are in use, and not listened to if they were not before. */
        int (*use_queues)(struct net_backend *nb, unsigned count);
};

/* Frames may be waiting at @queue; level-triggered. */
typedef void net_readable_fn(void *ctx, unsigned queue);

struct net_backend {
        const struct net_ops *ops;
        net_readable_fn *readable;
        void *ctx;
        unsigned vnet_hdr_bytes; /* 0: frames only */
        unsigned queues;         /* that may be used: at least 1 */
        bool link;
};

/*
 * Says what is wrong on standard error.  A tap that cannot be opened, or a
 * missing @options->backend, gives an interface without link, as bhyve does;
 * other mistakes give -errno.  A tap without the queues that are wanted gives one.
 */
int net_open(const struct net_options *options, struct loop *loop, net_readable_fn *readable, void *ctx,
    struct net_backend **ret_nb);
/* NULL is fine. */
void net_close(struct net_backend *nb);

/* The kinds, for net_open.  -errno, having said why. */
int net_tap_open(const struct net_options *options, struct loop *loop, struct net_backend **ret_nb);
int net_slirp_open(const struct net_options *options, struct loop *loop, struct net_backend **ret_nb);
int net_unix_open(const struct net_options *options, struct loop *loop, struct net_backend **ret_nb);

/* One forwarded port; addresses in network order, 0 for none given. */
struct net_hostfwd {
        bool udp;
        unsigned host_addr, guest_addr;
        unsigned short host_port, guest_port;
};

/* Reads one item up to ';' or the end; *ret_end points there.  -EINVAL. */
int net_parse_hostfwd(const char *text, struct net_hostfwd *ret_fwd, const char **ret_end);

#endif
