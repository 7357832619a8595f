/* SPDX-License-Identifier: BSD-2-Clause */
/* A tap as a network back end. */
#include "backend/net/net.h"
#include "backend/net/tap.h"
#include "base/log.h"
#include "base/util.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <unistd.h>

struct net_tap {
        struct net_backend nb;
        struct tap tap;
        struct loop_fd *watch;
        struct log_limit limit;
};

static struct net_tap *
to_tap(struct net_backend *nb)
{
        return container_of(nb, struct net_tap, nb);
}

static void
tap_destroy(struct net_backend *nb)
{
        struct net_tap *t = to_tap(nb);

        if (t->watch != NULL)
                loop_fd_remove(t->watch);
        tap_close(&t->tap);
        free(t);
}

static void
tap_send(struct net_backend *nb, const struct iovec *iov, unsigned count)
{
        struct net_tap *t = to_tap(nb);
        ssize_t n;

        do {
                n = writev(t->tap.fd, iov, (int)count);
        } while (n < 0 && errno == EINTR);
        /* EAGAIN is a full queue, EINVAL a header that makes no sense, EIO an interface that is down. */
}

static ssize_t
tap_receive(struct net_backend *nb, void *buf, size_t size)
{
        struct net_tap *t = to_tap(nb);
        ssize_t n;

        do {
                n = read(t->tap.fd, buf, size);
        } while (n < 0 && errno == EINTR);
        if (n >= 0)
                return n;
        /* A tap that is down gives EIO until it is up again. */
        return errno == EIO ? -EAGAIN : -errno;
}

static void
tap_listen(struct net_backend *nb, bool on)
{
        struct net_tap *t = to_tap(nb);

        if (t->watch != NULL)
                (void)loop_fd_modify(t->watch, on ? EPOLLIN : 0);
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

static const struct net_ops tap_ops = {
        .destroy = tap_destroy,
        .send = tap_send,
        .receive = tap_receive,
        .listen = tap_listen,
        .set_vnet_hdr = tap_set_vnet_hdr,
};

static void
tap_event(void *ctx, unsigned epoll_events)
{
        struct net_tap *t = ctx;

        /* The interface was deleted: nothing will ever come, and EPOLLERR would come for ever. */
        if ((epoll_events & (EPOLLERR | EPOLLHUP)) && !(epoll_events & EPOLLIN)) {
                log_guest(&t->limit, "%s: the interface is gone; the guest has no link", t->tap.name);
                loop_fd_remove(t->watch);
                t->watch = NULL;
                t->nb.link = false;
        }
        if (t->nb.readable != NULL)
                t->nb.readable(t->nb.ctx);
}

int
net_tap_open(const struct net_options *options, struct loop *loop, struct net_backend **ret_nb)
{
        struct net_tap *t = calloc(1, sizeof(*t));
        char text[512];
        int error;

        if (t == NULL)
                return -ENOMEM;
        t->tap.fd = -1;
        error = tap_open(options->backend, options->want_vnet_hdr ? TAP_VNET_HDR : 0, &t->tap);
        if (error != 0) {
                log_warn("%s; the guest's interface has no link",
                    tap_explain(options->backend, error, text, sizeof(text)));
                free(t);
                return error;
        }
        t->nb.ops = &tap_ops;
        t->nb.vnet_hdr_bytes = t->tap.vnet_hdr_bytes;
        t->nb.link = true;
        error = loop_fd_add(loop, t->tap.fd, 0, tap_event, t, &t->watch);
        if (error != 0) {
                tap_destroy(&t->nb);
                return error;
        }
        *ret_nb = &t->nb;
        return 0;
}
