/* SPDX-License-Identifier: BSD-2-Clause */
/* What all kinds have in common: the output ring, the waiting, the hand-over of input. */
#include "backend/char/chardev_impl.h"

#include "base/util.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#define FLUSH_DELAY_NS NSEC_PER_MSEC

static void
flush(struct chardev *dev);

/* --- Output --- */

static void
watch_output(struct chardev *dev, bool on)
{
        if (!dev->out_watch)
                return;
        if (dev->out_watch == dev->in_watch)
                loop_fd_modify(dev->in_watch, (dev->in_watching ? EPOLLIN : 0u) | (on ? EPOLLOUT : 0u));
        else
                loop_fd_modify(dev->out_watch, on ? EPOLLOUT : 0);
}

/* A write that does not block on sockets, whatever the descriptor's flags. */
static ssize_t
write_some(int fd, const uint8_t *data, size_t len)
{
        ssize_t n = send(fd, data, len, MSG_DONTWAIT | MSG_NOSIGNAL);
        struct pollfd poll_fd = {.fd = fd, .events = POLLOUT};

        if (n >= 0 || errno != ENOTSOCK)
                return n;
        if (poll(&poll_fd, 1, 0) <= 0 || !(poll_fd.revents & POLLOUT)) {
                errno = poll_fd.revents & (POLLERR | POLLHUP) ? EPIPE : EAGAIN;
                return -1;
        }
        return write(fd, data, len);
}

/* A kind's hangup may attach someone else, so this is the last thing a caller does. */
static void
lost(struct chardev *dev)
{
        chardev_detach(dev);
        if (dev->kind->hangup)
                dev->kind->hangup(dev);
}

static void
flush_done(struct chardev *dev)
{
        if (dev->blocked && dev->used < CHARDEV_BACKLOG) {
                dev->blocked = false;
                if (dev->handler)
                        dev->handler->writable(dev->handler_ctx);
        }
}

static void
flush(struct chardev *dev)
{
        while (dev->used && dev->out_fd >= 0) {
                size_t run = CHARDEV_BACKLOG - dev->head;
                ssize_t n = write_some(
                    dev->out_fd, dev->ring + dev->head, run < dev->used ? run : dev->used);

                if (n < 0 && errno == EINTR)
                        continue;
                if (n < 0 && errno == EAGAIN) {
                        watch_output(dev, true);
                        break;
                }
                if (n < 0) {
                        lost(dev);
                        break;
                }
                dev->head = (dev->head + (size_t)n) % CHARDEV_BACKLOG;
                dev->used -= (size_t)n;
        }
        flush_done(dev);
}

static void
flush_timer_fired(void *ctx)
{
        struct chardev *dev = ctx;

        dev->flush_armed = false;
        flush(dev);
}

static void
put(struct chardev *dev, const uint8_t *data, size_t len)
{
        size_t tail = (dev->head + dev->used) % CHARDEV_BACKLOG;
        size_t run = CHARDEV_BACKLOG - tail;

        if (run > len)
                run = len;
        memcpy(dev->ring + tail, data, run);
        memcpy(dev->ring, data + run, len - run);
        dev->used += len;
}

/* Nobody reads: the oldest bytes make room. */
static size_t
keep_backlog(struct chardev *dev, const uint8_t *data, size_t len)
{
        size_t keep = len < CHARDEV_BACKLOG ? len : CHARDEV_BACKLOG;
        size_t room = CHARDEV_BACKLOG - dev->used;

        if (keep > room) {
                dev->head = (dev->head + keep - room) % CHARDEV_BACKLOG;
                dev->used -= keep - room;
        }
        put(dev, data + len - keep, keep);
        return len;
}

size_t
chardev_write(struct chardev *dev, const uint8_t *data, size_t len)
{
        size_t room = CHARDEV_BACKLOG - dev->used;

        if (dev->out_fd < 0)
                return keep_backlog(dev, data, len);
        if (len > room) {
                len = room;
                dev->blocked = true;
        }
        put(dev, data, len);
        if (!dev->flush_armed) {
                dev->flush_armed = true;
                loop_timer_arm(dev->flush_timer, loop_now_ns() + FLUSH_DELAY_NS);
        }
        return len;
}

/* --- Input --- */

static void
watch_input(struct chardev *dev, bool on)
{
        if (!dev->in_watch || dev->in_watching == on)
                return;
        dev->in_watching = on;
        loop_fd_modify(dev->in_watch, on ? EPOLLIN : 0);
        if (dev->in_watch == dev->out_watch && dev->used)
                watch_output(dev, true);
}

static size_t
handler_room(const struct chardev *dev)
{
        return dev->handler ? dev->handler->room(dev->handler_ctx) : 0;
}

/* Hands over what was read, as far as the handler takes it; true when all of it is gone. */
static bool
deliver(struct chardev *dev)
{
        while (dev->in_pos < dev->in_len) {
                size_t room = handler_room(dev);
                size_t len = dev->in_len - dev->in_pos;
                const uint8_t *data = dev->in_buf + dev->in_pos;

                if (!room)
                        return false;
                if (len > room)
                        len = room;
                dev->in_pos += len; /* first: the handler may come back through chardev_resume */
                dev->handler->input(dev->handler_ctx, data, len);
        }
        return true;
}

static void
read_more(struct chardev *dev)
{
        ssize_t n;

        if (!deliver(dev))
                return;
        n = read(dev->in_fd, dev->in_buf, sizeof(dev->in_buf));
        if (n > 0) {
                dev->in_pos = 0;
                dev->in_len = (size_t)n;
                deliver(dev);
        } else if (n == 0 || (errno != EAGAIN && errno != EINTR)) {
                lost(dev);
        }
}

static void
read_timer_fired(void *ctx)
{
        struct chardev *dev = ctx;

        if (!dev->in_unpollable || dev->in_fd < 0)
                return;
        read_more(dev);
        if (dev->in_fd >= 0)
                chardev_resume(dev);
}

void
chardev_resume(struct chardev *dev)
{
        if (!deliver(dev) || !handler_room(dev) || dev->in_fd < 0)
                return;
        if (dev->in_unpollable)
                loop_timer_arm(dev->read_timer, loop_now_ns());
        watch_input(dev, true);
}

/* A hang-up cannot be masked; what was sent before it is read as from a file. */
static void
stop_polling(struct chardev *dev)
{
        if (dev->out_watch == dev->in_watch)
                dev->out_watch = NULL;
        loop_fd_remove(dev->in_watch);
        dev->in_watch = NULL;
        dev->in_watching = false;
        dev->in_unpollable = true;
}

static void
input_ready(void *ctx, unsigned events)
{
        struct chardev *dev = ctx;

        if ((events & EPOLLOUT) && dev->out_fd >= 0) {
                watch_output(dev, false);
                flush(dev);
        }
        if (!(events & (EPOLLIN | EPOLLHUP | EPOLLERR)) || dev->in_fd < 0)
                return;
        if (handler_room(dev))
                read_more(dev);
        else if (events & (EPOLLHUP | EPOLLERR))
                stop_polling(dev);
        else
                watch_input(dev, false);
}

static void
output_ready(void *ctx, unsigned events)
{
        struct chardev *dev = ctx;

        if (events & EPOLLOUT) {
                watch_output(dev, false);
                flush(dev);
        } else if (dev->out_fd >= 0) {
                lost(dev);
        }
}

/* --- Attaching --- */

static void
set_carrier(struct chardev *dev, bool up)
{
        if (dev->carrier == up)
                return;
        dev->carrier = up;
        if (dev->kind->has_carrier && dev->handler && dev->handler->carrier)
                dev->handler->carrier(dev->handler_ctx, up);
        if (dev->handler && dev->handler->attached)
                dev->handler->attached(dev->handler_ctx, up);
}

/* Regular files and /dev/null cannot be polled and never block. */
static int
watch_fds(struct chardev *dev)
{
        int error = -EPERM;

        if (dev->in_fd >= 0)
                error = loop_fd_add(dev->loop, dev->in_fd, EPOLLIN, input_ready, dev, &dev->in_watch);
        if (error && error != -EPERM)
                return error;
        dev->in_unpollable = error == -EPERM;
        dev->in_watching = !error;
        if (dev->in_fd == dev->out_fd) {
                dev->out_watch = dev->in_watch;
                return 0;
        }
        error = loop_fd_add(dev->loop, dev->out_fd, 0, output_ready, dev, &dev->out_watch);
        return error == -EPERM ? 0 : error;
}

int
chardev_attach(struct chardev *dev, int in_fd, int out_fd)
{
        int error;

        dev->in_fd = in_fd;
        dev->out_fd = out_fd;
        error = watch_fds(dev);
        if (error) {
                chardev_detach(dev);
                return error;
        }
        set_carrier(dev, true);
        chardev_resume(dev);
        flush(dev);
        return 0;
}

void
chardev_detach(struct chardev *dev)
{
        if (dev->out_watch != dev->in_watch)
                loop_fd_remove(dev->out_watch);
        loop_fd_remove(dev->in_watch);
        dev->in_watch = dev->out_watch = NULL;
        dev->in_fd = dev->out_fd = -1;
        dev->in_watching = dev->in_unpollable = false;
        dev->in_pos = dev->in_len = 0;
        set_carrier(dev, false);
        flush_done(dev);
}

void
chardev_set_handler(struct chardev *dev, const struct chardev_handler *handler, void *ctx)
{
        dev->handler = handler;
        dev->handler_ctx = ctx;
        if (handler)
                chardev_resume(dev);
}

bool
chardev_attached(const struct chardev *dev)
{
        return dev->out_fd >= 0;
}

bool
chardev_carrier(const struct chardev *dev)
{
        return dev->carrier || !dev->kind->has_carrier;
}

static const struct {
        const char *prefix;
        const struct chardev_kind *kind;
        bool whole; /* nothing follows */
} kinds[] = {
    {"stdio", &chardev_stdio, true},
    {"tcp=", &chardev_tcp, false},
    {"unix=", &chardev_unix, false},
    {"/", &chardev_tty, false},
};

static const struct chardev_kind *
find_kind(const char *spec, const char **ret_arg)
{
        if (chardev_is_nmdm(spec)) {
                *ret_arg = spec;
                return &chardev_nmdm;
        }
        for (size_t i = 0; i < ARRAY_LEN(kinds); i++) {
                size_t len = strlen(kinds[i].prefix);

                if (strncmp(spec, kinds[i].prefix, len) != 0 || (kinds[i].whole && spec[len]))
                        continue;
                *ret_arg = spec[0] == '/' ? spec : spec + len;
                return kinds[i].kind;
        }
        return NULL;
}

int
chardev_open(struct loop *loop, const char *spec, struct chardev **ret_dev, const char **ret_why)
{
        const char *arg = NULL;
        const struct chardev_kind *kind = find_kind(spec, &arg);
        struct chardev *dev;
        int error = -ENOMEM;

        if (!kind) {
                *ret_why = "not stdio, tcp=[addr:]port, unix=path, a null modem or the path of a terminal";
                return -EINVAL;
        }
        *ret_why = "out of memory";
        dev = calloc(1, sizeof(*dev));
        if (!dev)
                return error;
        dev->loop = loop;
        dev->in_fd = dev->out_fd = -1;
        dev->ring = malloc(CHARDEV_BACKLOG);
        if (dev->ring)
                error = loop_timer_create(loop, flush_timer_fired, dev, &dev->flush_timer);
        if (!error)
                error = loop_timer_create(loop, read_timer_fired, dev, &dev->read_timer);
        if (!error) {
                dev->kind = kind;
                error = kind->open(dev, arg, ret_why);
        }
        if (error) {
                chardev_close(dev);
                return error;
        }
        *ret_dev = dev;
        return 0;
}

void
chardev_close(struct chardev *dev)
{
        if (!dev)
                return;
        dev->handler = NULL;
        if (dev->used)
                flush(dev);
        chardev_detach(dev);
        if (dev->kind)
                dev->kind->close(dev);
        loop_timer_destroy(dev->flush_timer);
        loop_timer_destroy(dev->read_timer);
        free(dev->ring);
        free(dev);
}
