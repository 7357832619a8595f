/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A listening socket, TCP or Unix, with one client at a time: further ones are
 * turned away at once.  TCP listens on 127.0.0.1 unless an address is given.
 */
#include "backend/char/chardev_impl.h"

#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

struct socket_state {
        int listen_fd;
        int client_fd;
        struct loop_fd *watch;
        char *path; /* of a Unix socket */
};

static void
refuse(int fd)
{
        static const char text[] = "the line is in use\r\n";

        send(fd, text, sizeof(text) - 1, MSG_DONTWAIT | MSG_NOSIGNAL);
        close(fd);
}

static void
socket_hangup(struct chardev *dev)
{
        struct socket_state *state = dev->state;

        close(state->client_fd);
        state->client_fd = -1;
}

/* Who closed and comes again may be heard before the end of the first connection is. */
static bool
has_gone(int fd)
{
        char byte;

        return recv(fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT) == 0;
}

static void
client_waits(void *ctx, unsigned events)
{
        struct chardev *dev = ctx;
        struct socket_state *state = dev->state;
        int one = 1;
        int fd = accept4(state->listen_fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);

        if (fd < 0)
                return;
        if (state->client_fd >= 0 && has_gone(state->client_fd)) {
                chardev_detach(dev);
                socket_hangup(dev);
        }
        if (state->client_fd >= 0) {
                refuse(fd);
                return;
        }
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
        state->client_fd = fd;
        if (chardev_attach(dev, fd, fd)) {
                close(fd);
                state->client_fd = -1;
        }
}

static int
listen_on(struct chardev *dev, int family, const struct sockaddr *address, socklen_t len)
{
        struct socket_state *state = dev->state;
        int one = 1;

        state->listen_fd = socket(family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
        if (state->listen_fd < 0)
                return -errno;
        setsockopt(state->listen_fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
        if (bind(state->listen_fd, address, len) || listen(state->listen_fd, 4))
                return -errno;
        return loop_fd_add(dev->loop, state->listen_fd, EPOLLIN, client_waits, dev, &state->watch);
}

static struct socket_state *
new_state(struct chardev *dev)
{
        struct socket_state *state = calloc(1, sizeof(*state));

        if (state)
                state->listen_fd = state->client_fd = -1;
        dev->state = state;
        return state;
}

/* "port", "addr:port" or "[addr]:port" into @host and *ret_port. */
static int
split_address(const char *arg, char *host, size_t size, const char **ret_port)
{
        const char *colon = strrchr(arg, ':');
        size_t len = colon ? (size_t)(colon - arg) : 0;

        snprintf(host, size, "127.0.0.1");
        *ret_port = colon ? colon + 1 : arg;
        if (!len)
                return 0;
        if (arg[0] == '[' && colon[-1] == ']') {
                arg++;
                len -= 2;
        }
        if (len >= size)
                return -EINVAL;
        snprintf(host, size, "%.*s", (int)len, arg);
        return 0;
}

static int
tcp_open(struct chardev *dev, const char *arg, const char **ret_why)
{
        struct addrinfo hints = {
            .ai_flags = AI_PASSIVE | AI_NUMERICSERV, .ai_socktype = SOCK_STREAM};
        struct addrinfo *info = NULL;
        char host[256];
        const char *port;
        int error;

        *ret_why = "out of memory";
        if (!new_state(dev))
                return -ENOMEM;
        *ret_why = "not an address and port";
        if (split_address(arg, host, sizeof(host), &port) || !*port ||
            getaddrinfo(host, port, &hints, &info))
                return -EINVAL;
        error = listen_on(dev, info->ai_family, info->ai_addr, info->ai_addrlen);
        freeaddrinfo(info);
        *ret_why = "cannot listen on that address";
        return error;
}

/* A socket that nobody listens on any more is in nobody's use. */
static void
remove_stale(const struct sockaddr_un *address)
{
        int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

        if (fd < 0)
                return;
        if (connect(fd, (const struct sockaddr *)address, sizeof(*address)) && errno == ECONNREFUSED)
                unlink(address->sun_path);
        close(fd);
}

static int
unix_open(struct chardev *dev, const char *arg, const char **ret_why)
{
        struct sockaddr_un address = {.sun_family = AF_UNIX};
        struct socket_state *state = new_state(dev);
        int error;

        *ret_why = "out of memory";
        if (!state)
                return -ENOMEM;
        *ret_why = "the path of the socket is empty or too long";
        if (!*arg || strlen(arg) >= sizeof(address.sun_path))
                return -EINVAL;
        memcpy(address.sun_path, arg, strlen(arg) + 1);
        remove_stale(&address);
        error = listen_on(dev, AF_UNIX, (const struct sockaddr *)&address, sizeof(address));
        *ret_why = "cannot listen on that path";
        if (!error)
                state->path = strdup(arg);
        return error;
}

static void
socket_close(struct chardev *dev)
{
        struct socket_state *state = dev->state;

        if (!state)
                return;
        loop_fd_remove(state->watch);
        if (state->client_fd >= 0)
                close(state->client_fd);
        if (state->listen_fd >= 0)
                close(state->listen_fd);
        if (state->path)
                unlink(state->path);
        free(state->path);
        free(state);
}

const struct chardev_kind chardev_tcp = {
    .open = tcp_open,
    .close = socket_close,
    .hangup = socket_hangup,
};

const struct chardev_kind chardev_unix = {
    .open = unix_open,
    .close = socket_close,
    .hangup = socket_hangup,
};
