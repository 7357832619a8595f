/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Host taps: Ethernet interfaces whose other end is a file descriptor, one
 * frame a read or write.
 *
 * tap_open() does what a guest's start asks of a tap: it makes the interface
 * where it does not exist and the user may, brings it up, and joins it to
 * the bridge whose line in net.conf names it.  A tap that it made goes away
 * when the last descriptor is closed; one that bhyvenet made stays.
 *
 * Frames carry no packet information header.  With TAP_VNET_HDR a struct
 * virtio_net_hdr of vnet_hdr_bytes precedes each frame in both directions.
 */
#ifndef BACKEND_NET_TAP_H
#define BACKEND_NET_TAP_H

#include "config/netconf.h"

#include <net/if.h>
#include <stdbool.h>
#include <stddef.h>

enum tap_flags {
        TAP_VNET_HDR = 1 << 0,
        TAP_MULTI_QUEUE = 1 << 1, /* wanted, not required: see multi_queue */
};

struct tap {
        int fd; /* non-blocking, close-on-exec */
        char name[IFNAMSIZ];
        char bridge[IFNAMSIZ];   /* the bridge it is a member of; empty for none */
        bool created;            /* did not exist before */
        bool up;                 /* false only where the user may not change it */
        bool multi_queue;        /* tap_open_queue() works */
        unsigned vnet_hdr_bytes; /* 0 without TAP_VNET_HDR; 10 at first */
};

/*
 * Opens @name ("tap0", "vmnet1"); @flags of enum tap_flags.  Bridges are
 * looked up in the file in force under bhyvenet's state directory, else in
 * netconf_path(); no file is no mistake, and neither is a bridge that does
 * not exist yet (a warning).
 * 0; -EINVAL: not a tap's name or another kind of interface has it; -EBUSY:
 * another process has it open; -EPERM, -EACCES: not allowed; -ENOENT,
 * -ENODEV, -ENXIO: the host has no taps.  tap_explain() puts them in words.
 */
int tap_open(const char *name, unsigned flags, struct tap *ret_tap);

/* As tap_open(), with the bridges of @conf; NULL for none. */
int tap_open_with(
    const char *name, unsigned flags, const struct netconf *conf, struct tap *ret_tap);

/* One more queue of an open tap, attached; the descriptor is the caller's.  0 or -errno. */
int tap_open_queue(const struct tap *tap, int *ret_fd);
/* Whether the host uses the queue @fd, of a tap with several; an attached one is not attached again.  0 or -errno. */
int tap_attach_queue(int fd, bool attached);

/* The size of the header before each frame: 10, or 12 for mergeable buffers.  0 or -errno. */
int tap_set_vnet_hdr_bytes(struct tap *tap, unsigned bytes);

/* What the host may send unfinished: TUN_F_CSUM, TUN_F_TSO4 and so on; 0 for none.  0 or -errno. */
int tap_set_offload(const struct tap *tap, unsigned tun_f_flags);

/* Accepts a tap that was never opened, if its fd is -1. */
void tap_close(struct tap *tap);

/* What went wrong and what to do, for @error of tap_open(); written to @buf, which is returned. */
const char *tap_explain(const char *name, int error, char *buf, size_t bytes);

/*
 * Makes a tap that stays; for bhyvenet.  @multi_queue: it may be opened with
 * several queues.  @uid and @gid: who may open it besides root, or -1.  @mac marks it as the caller's before it becomes
 * permanent.  -EEXIST where an interface of that name exists.
 */
int tap_create_persistent(const char *name, bool multi_queue, int uid, int gid, const unsigned char mac[6]);

#endif
