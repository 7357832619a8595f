/* SPDX-License-Identifier: BSD-2-Clause */
#include "backend/net/net.h"
#include "base/log.h"
#include "base/util.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static void
none_destroy(struct net_backend *nb)
{
        free(nb);
}

static void
none_send(struct net_backend *nb, unsigned queue, const struct iovec *iov, unsigned count)
{
}

static ssize_t
none_receive(struct net_backend *nb, unsigned queue, void *buf, size_t size)
{
        return -EAGAIN;
}

static void
none_listen(struct net_backend *nb, unsigned queue, bool on)
{
}

static const struct net_ops none_ops = {
        .destroy = none_destroy,
        .send = none_send,
        .receive = none_receive,
        .listen = none_listen,
};

/* An interface whose cable is not plugged in. */
static int
none_open(struct net_backend **ret_nb)
{
        struct net_backend *nb = calloc(1, sizeof(*nb));

        if (nb == NULL)
                return -ENOMEM;
        nb->ops = &none_ops;
        nb->queues = 1;
        *ret_nb = nb;
        return 0;
}

struct net_kind {
        const char *prefix;
        int (*open)(const struct net_options *options, struct loop *loop, struct net_backend **ret_nb);
        const char *refused;
};

static const struct net_kind net_kinds[] = {
        { "tap", net_tap_open, NULL },
        { "vmnet", net_tap_open, NULL },
        { "slirp", net_slirp_open, NULL },
        { "unix", net_unix_open, NULL },
        { "netgraph", NULL, "netgraph is a facility of FreeBSD; use tapN with a bridge" },
        { "vale", NULL, "netmap is a facility of FreeBSD; use tapN with a bridge" },
        { "netmap", NULL, "netmap is a facility of FreeBSD; use tapN with a bridge" },
};

static const struct net_kind *
find_kind(const char *backend)
{
        for (unsigned i = 0; i < ARRAY_LEN(net_kinds); i++)
                if (strncmp(backend, net_kinds[i].prefix, strlen(net_kinds[i].prefix)) == 0)
                        return &net_kinds[i];
        return NULL;
}

/* -EINVAL, having said why, for a back end that there is not, or not as it is wanted. */
static int
check_kind(const struct net_options *options, const struct net_kind *kind)
{
        if (kind == NULL || kind->open == NULL) {
                log_error("network back end '%s': %s", options->backend,
                    kind != NULL ? kind->refused : "not tapN, vmnetN, slirp or unix");
                return -EINVAL;
        }
        if (options->queues > 1 && kind->open != net_tap_open) {
                log_error("network back end '%s': queues=%u: only a tap has several queues", options->backend,
                    options->queues);
                return -EINVAL;
        }
        return 0;
}

int
net_open(const struct net_options *options, struct loop *loop, net_readable_fn *readable, void *ctx,
    struct net_backend **ret_nb)
{
        const struct net_kind *kind = options->backend == NULL ? NULL : find_kind(options->backend);
        struct net_backend *nb;
        int error = options->backend == NULL ? 0 : check_kind(options, kind);

        if (error != 0)
                return error;
        error = kind == NULL ? none_open(&nb) : kind->open(options, loop, &nb);
        if (error != 0 && kind != NULL && kind->open == net_tap_open)
                error = none_open(&nb);
        if (error != 0)
                return error;
        nb->readable = readable;
        nb->ctx = ctx;
        *ret_nb = nb;
        return 0;
}

void
net_close(struct net_backend *nb)
{
        if (nb != NULL)
                nb->ops->destroy(nb);
}
