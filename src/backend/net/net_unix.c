/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Two guests joined by a pair of Unix datagram sockets: a cable, with neither
 * bridge nor privilege.  Both name the same path; whoever comes first binds
 * PATH.0, the other PATH.1, and each sends to the other's name.  Frames sent
 * while nobody is there are lost, as on a cable.
 */
#include "backend/net/net.h"
#include "base/log.h"
#include "base/util.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#define UNIX_BUFFER_BYTES (4 * 1024 * 1024)

struct net_unix {
        struct net_backend nb;
        int fd;
        struct loop_fd *watch;
        struct sockaddr_un own, peer;
};

static struct net_unix *
to_unix(struct net_backend *nb)
{
        return container_of(nb, struct net_unix, nb);
}

static void
unix_destroy(struct net_backend *nb)
{
        struct net_unix *u = to_unix(nb);

        if (u->watch != NULL)
                loop_fd_remove(u->watch);
        if (u->fd >= 0)
                close(u->fd);
        if (u->own.sun_path[0] != '\0')
                unlink(u->own.sun_path);
        free(u);
}

static void
unix_send(struct net_backend *nb, unsigned queue, const struct iovec *iov, unsigned count)
{
        struct net_unix *u = to_unix(nb);
        struct msghdr message = {
                .msg_name = &u->peer,
                .msg_namelen = sizeof(u->peer),
                .msg_iov = (struct iovec *)(uintptr_t)iov,
                .msg_iovlen = count,
        };

        (void)sendmsg(u->fd, &message, MSG_DONTWAIT | MSG_NOSIGNAL);
}

static ssize_t
unix_receive(struct net_backend *nb, unsigned queue, void *buf, size_t size)
{
        ssize_t n;

        do {
                n = recv(to_unix(nb)->fd, buf, size, MSG_DONTWAIT);
        } while (n < 0 && errno == EINTR);
        return n < 0 ? -errno : n;
}

static void
unix_listen(struct net_backend *nb, unsigned queue, bool on)
{
        (void)loop_fd_modify(to_unix(nb)->watch, on ? EPOLLIN : 0);
}

static const struct net_ops unix_ops = {
        .destroy = unix_destroy,
        .send = unix_send,
        .receive = unix_receive,
        .listen = unix_listen,
};

static void
unix_event(void *ctx, unsigned epoll_events)
{
        struct net_unix *u = ctx;

        if (u->nb.readable != NULL)
                u->nb.readable(u->nb.ctx, 0);
}

static int
unix_address(struct sockaddr_un *addr, const char *path, unsigned end)
{
        int n = snprintf(addr->sun_path, sizeof(addr->sun_path), "%s.%u", path, end);

        addr->sun_family = AF_UNIX;
        return n < 0 || (size_t)n >= sizeof(addr->sun_path) ? -ENAMETOOLONG : 0;
}

/* A name left by a process that died answers to nobody. */
static bool
is_stale(const struct sockaddr_un *addr)
{
        int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
        bool stale = fd >= 0 && connect(fd, (const struct sockaddr *)addr, sizeof(*addr)) != 0 &&
            errno == ECONNREFUSED;

        if (fd >= 0)
                close(fd);
        return stale;
}

static int
bind_end(struct net_unix *u, const char *path, unsigned end)
{
        struct sockaddr_un own = { 0 };
        int error = unix_address(&own, path, end);

        if (error == 0)
                error = unix_address(&u->peer, path, 1 - end);
        if (error != 0)
                return error;
        if (is_stale(&own))
                unlink(own.sun_path);
        if (bind(u->fd, (const struct sockaddr *)&own, sizeof(own)) != 0)
                return -errno;
        u->own = own;
        return 0;
}

static int
unix_setup(struct net_unix *u, const char *path, struct loop *loop)
{
        int bytes = UNIX_BUFFER_BYTES;
        int error;

        u->fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
        if (u->fd < 0)
                return -errno;
        /* A wish: the host's limits may make it less. */
        (void)setsockopt(u->fd, SOL_SOCKET, SO_SNDBUF, &bytes, sizeof(bytes));
        (void)setsockopt(u->fd, SOL_SOCKET, SO_RCVBUF, &bytes, sizeof(bytes));
        error = bind_end(u, path, 0);
        if (error == -EADDRINUSE)
                error = bind_end(u, path, 1);
        if (error != 0)
                return error;
        return loop_fd_add(loop, u->fd, 0, unix_event, u, &u->watch);
}

int
net_unix_open(const struct net_options *options, struct loop *loop, struct net_backend **ret_nb)
{
        struct net_unix *u;
        int error;

        if (options->path == NULL) {
                log_error("network back end 'unix': path= is missing");
                return -EINVAL;
        }
        u = calloc(1, sizeof(*u));
        if (u == NULL)
                return -ENOMEM;
        u->nb.ops = &unix_ops;
        u->nb.queues = 1;
        u->nb.link = true;
        error = unix_setup(u, options->path, loop);
        if (error != 0) {
                log_error("network back end 'unix': %s: %s", options->path,
                    error == -EADDRINUSE ? "two virtual machines are joined there already" : strerror(-error));
                unix_destroy(&u->nb);
                return error;
        }
        *ret_nb = &u->nb;
        return 0;
}
