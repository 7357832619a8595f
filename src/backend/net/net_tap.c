/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A tap as a network back end.  Each of its queues is a descriptor; those that
 * the guest does not use are detached, so that the host puts no frames there.
 */
#include "backend/net/net.h"
#include "backend/net/tap.h"
#include "base/log.h"
#include "base/util.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

struct tap_queue {
        struct net_tap *owner;
        int fd;
        struct loop_fd *watch; /* NULL while it is not in use, or the interface is gone */
};

struct net_tap {
        struct net_backend nb;
        struct tap tap; /* its descriptor is queue 0 */
        struct loop *loop;
        struct log_limit limit;
        struct tap_queue queue[];
};

static struct net_tap *
to_tap(struct net_backend *nb)
{
        return container_of(nb, struct net_tap, nb);
}

static void
unwatch(struct tap_queue *q)
{
        if (q->watch != NULL)
                loop_fd_remove(q->watch);
        q->watch = NULL;
}

static void
tap_destroy(struct net_backend *nb)
{
        struct net_tap *t = to_tap(nb);

        for (unsigned i = 0; i < nb->queues; i++) {
                unwatch(&t->queue[i]);
                if (i != 0)
                        close(t->queue[i].fd);
        }
        tap_close(&t->tap);
        free(t);
}

static void
tap_send(struct net_backend *nb, unsigned queue, const struct iovec *iov, unsigned count)
{
        struct net_tap *t = to_tap(nb);
        ssize_t n;

        do {
                n = writev(t->queue[queue].fd, iov, (int)count);
        } while (n < 0 && errno == EINTR);
        /* EAGAIN is a full queue, EINVAL a header that makes no sense, EIO an interface that is down. */
}

static ssize_t
tap_receive(struct net_backend *nb, unsigned queue, void *buf, size_t size)
{
        struct net_tap *t = to_tap(nb);
        ssize_t n;

        do {
                n = read(t->queue[queue].fd, buf, size);
        } while (n < 0 && errno == EINTR);
        if (n >= 0)
                return n;
        /* A tap that is down gives EIO until it is up again. */
        return errno == EIO ? -EAGAIN : -errno;
}

static void
tap_listen(struct net_backend *nb, unsigned queue, bool on)
{
        struct net_tap *t = to_tap(nb);

        if (t->queue[queue].watch != NULL)
                (void)loop_fd_modify(t->queue[queue].watch, on ? EPOLLIN : 0);
}

static int
tap_set_vnet_hdr(struct net_backend *nb, unsigned bytes, unsigned tun_f_flags)
{
        struct net_tap *t = to_tap(nb);
        int error = tap_set_vnet_hdr_bytes(&t->tap, bytes);

        if (error != 0)
                return error;
        nb->vnet_hdr_bytes = bytes;
        return tap_set_offload(&t->tap, tun_f_flags);
}

static void
tap_gone(struct net_tap *t)
{
        log_guest(&t->limit, "%s: the interface is gone; the guest has no link", t->tap.name);
        for (unsigned i = 0; i < t->nb.queues; i++)
                unwatch(&t->queue[i]);
        t->nb.link = false;
}

static void
tap_event(void *ctx, unsigned epoll_events)
{
        struct tap_queue *q = ctx;
        struct net_tap *t = q->owner;

        /* The interface was deleted: nothing will ever come, and EPOLLERR would come for ever. */
        if ((epoll_events & (EPOLLERR | EPOLLHUP)) && !(epoll_events & EPOLLIN))
                tap_gone(t);
        if (t->nb.readable != NULL)
                t->nb.readable(t->nb.ctx, (unsigned)(q - t->queue));
}

static int
use_queue(struct tap_queue *q)
{
        int error = tap_attach_queue(q->fd, true);

        if (error == 0)
                error = loop_fd_add(q->owner->loop, q->fd, 0, tap_event, q, &q->watch);
        if (error != 0)
                (void)tap_attach_queue(q->fd, false);
        return error;
}

static int
tap_use_queues(struct net_backend *nb, unsigned count)
{
        struct net_tap *t = to_tap(nb);

        for (unsigned i = 1; nb->link && i < nb->queues; i++) {
                struct tap_queue *q = &t->queue[i];
                int error = 0;

                if (i >= count && q->watch != NULL) {
                        unwatch(q);
                        error = tap_attach_queue(q->fd, false);
                } else if (i < count && q->watch == NULL) {
                        error = use_queue(q);
                }
                if (error != 0)
                        return error;
        }
        return 0;
}

static const struct net_ops tap_ops = {
        .destroy = tap_destroy,
        .send = tap_send,
        .receive = tap_receive,
        .listen = tap_listen,
        .set_vnet_hdr = tap_set_vnet_hdr,
        .use_queues = tap_use_queues,
};

/* The queues beyond the first, not in use yet. */
static int
open_queues(struct net_tap *t, unsigned count)
{
        while (t->nb.queues < count) {
                struct tap_queue *q = &t->queue[t->nb.queues];
                int error = tap_open_queue(&t->tap, &q->fd);

                if (error != 0)
                        return error;
                t->nb.queues++;
                q->owner = t;
                error = tap_attach_queue(q->fd, false);
                if (error != 0)
                        return error;
        }
        return 0;
}

static int
tap_setup(struct net_tap *t, unsigned queues)
{
        int error = 0;

        t->nb.ops = &tap_ops;
        t->nb.vnet_hdr_bytes = t->tap.vnet_hdr_bytes;
        t->nb.queues = 1;
        t->nb.link = true;
        t->queue[0] = (struct tap_queue){ .owner = t, .fd = t->tap.fd };
        if (queues > 1 && !t->tap.multi_queue)
                log_warn("%s has one queue, not %u: the guest gets one; make the tap anew with several "
                         "(tap_multiqueue_enable in net.conf, or `ip tuntap add %s mode tap multi_queue')",
                    t->tap.name, queues, t->tap.name);
        else
                error = open_queues(t, queues);
        if (error != 0) {
                log_warn("%s: queue %u of %u cannot be had: %s; the guest's interface has no link", t->tap.name,
                    t->nb.queues, queues, strerror(-error));
                return error;
        }
        return loop_fd_add(t->loop, t->tap.fd, 0, tap_event, &t->queue[0], &t->queue[0].watch);
}

int
net_tap_open(const struct net_options *options, struct loop *loop, struct net_backend **ret_nb)
{
        unsigned queues = options->queues > 1 ? options->queues : 1;
        struct net_tap *t = calloc(1, sizeof(*t) + queues * sizeof(t->queue[0]));
        char text[512];
        int error;

        if (t == NULL)
                return -ENOMEM;
        t->loop = loop;
        error = tap_open(options->backend,
            (options->want_vnet_hdr ? TAP_VNET_HDR : 0) | (queues > 1 ? TAP_MULTI_QUEUE : 0), &t->tap);
        if (error != 0) {
                log_warn("%s; the guest's interface has no link",
                    tap_explain(options->backend, error, text, sizeof(text)));
                free(t);
                return error;
        }
        error = tap_setup(t, queues);
        if (error != 0) {
                tap_destroy(&t->nb);
                return error;
        }
        *ret_nb = &t->nb;
        return 0;
}
