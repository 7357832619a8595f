/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The user-mode network: libslirp's TCP/IP in this process, for guests of
 * users without any privilege.  The guest is 10.0.2.15 by DHCP (or fec0::/64
 * by router advertisement), the host 10.0.2.2, the name server 10.0.2.3.
 *
 * libslirp waits in poll(2) for its sockets, on a thread of its own; all calls
 * into it are made under `mutex`.  Frames for the guest go through a ring, and
 * an eventfd tells the loop.  Lock order: device lock, mutex, ring_mutex.
 */
#include "backend/net/net.h"
#include "base/log.h"
#include "base/util.h"

#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <slirp/libslirp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#define RING_FRAMES  2048u /* a power of two */
#define FRAME_BYTES  2048u /* libslirp's MTU is 1500 */
#define TIMERS_MAX   4u
#define POLL_WAIT_MS 10000u

struct slirp_timer {
        bool used;
        int64_t expire_ms; /* 0: not armed */
        SlirpTimerCb callback;
        void *opaque;
};

struct slirp_frame {
        uint16_t len;
        uint8_t data[FRAME_BYTES];
};

struct net_slirp {
        struct net_backend nb;
        Slirp *slirp;                /* mutex */
        pthread_mutex_t mutex;
        pthread_t thread;
        bool has_thread;
        bool stop;                   /* mutex */
        int wake_fd;                 /* wakes the thread */
        struct slirp_timer timer[TIMERS_MAX]; /* mutex */
        struct pollfd *polled;       /* the thread's */
        unsigned polled_count, polled_capacity;

        pthread_mutex_t ring_mutex;  /* guards the ring */
        struct slirp_frame *ring;
        unsigned ring_head, ring_tail;
        int ready_fd;                /* readable while the ring has frames */
        struct loop_fd *ready_watch;
        struct log_limit limit;
};

static struct net_slirp *
to_slirp(struct net_backend *nb)
{
        return container_of(nb, struct net_slirp, nb);
}

static void
signal_fd(int fd)
{
        uint64_t one = 1;
        ssize_t n = write(fd, &one, sizeof(one));

        (void)n;
}

static void
clear_fd(int fd)
{
        uint64_t count;
        ssize_t n = read(fd, &count, sizeof(count));

        (void)n;
}

/* A full ring drops the frame; TCP sends it again. */
static ssize_t
on_send_packet(const void *buf, size_t len, void *opaque)
{
        struct net_slirp *s = opaque;
        bool was_empty = false;

        if (len > FRAME_BYTES)
                return (ssize_t)len;
        pthread_mutex_lock(&s->ring_mutex);
        if (s->ring_tail - s->ring_head < RING_FRAMES) {
                struct slirp_frame *f = &s->ring[s->ring_tail % RING_FRAMES];

                was_empty = s->ring_tail == s->ring_head;
                memcpy(f->data, buf, len);
                f->len = (uint16_t)len;
                s->ring_tail++;
        }
        pthread_mutex_unlock(&s->ring_mutex);
        if (was_empty)
                signal_fd(s->ready_fd);
        return (ssize_t)len;
}

static void
on_guest_error(const char *msg, void *opaque)
{
        struct net_slirp *s = opaque;

        log_guest(&s->limit, "slirp: %s", msg);
}

static int64_t
on_clock_get_ns(void *opaque)
{
        return (int64_t)loop_now_ns();
}

static void *
on_timer_new(SlirpTimerCb callback, void *callback_opaque, void *opaque)
{
        struct net_slirp *s = opaque;

        for (unsigned i = 0; i < TIMERS_MAX; i++) {
                if (s->timer[i].used)
                        continue;
                s->timer[i] = (struct slirp_timer){ .used = true, .callback = callback, .opaque = callback_opaque };
                return &s->timer[i];
        }
        return NULL;
}

static void
on_timer_free(void *timer, void *opaque)
{
        if (timer != NULL)
                ((struct slirp_timer *)timer)->used = false;
}

static void
on_timer_mod(void *timer, int64_t expire_ms, void *opaque)
{
        struct net_slirp *s = opaque;

        if (timer != NULL)
                ((struct slirp_timer *)timer)->expire_ms = expire_ms;
        signal_fd(s->wake_fd);
}

/* The descriptors are asked for anew before each poll. */
static void
on_poll_fd(int fd, void *opaque)
{
}

static void
on_notify(void *opaque)
{
        signal_fd(((struct net_slirp *)opaque)->wake_fd);
}

static const SlirpCb slirp_callbacks = {
        .send_packet = on_send_packet,
        .guest_error = on_guest_error,
        .clock_get_ns = on_clock_get_ns,
        .timer_new = on_timer_new,
        .timer_free = on_timer_free,
        .timer_mod = on_timer_mod,
        .register_poll_fd = on_poll_fd,
        .unregister_poll_fd = on_poll_fd,
        .notify = on_notify,
};

static short
poll_events(int slirp_events)
{
        return (short)((slirp_events & SLIRP_POLL_IN ? POLLIN : 0) | (slirp_events & SLIRP_POLL_OUT ? POLLOUT : 0) |
            (slirp_events & SLIRP_POLL_PRI ? POLLPRI : 0) | (slirp_events & SLIRP_POLL_ERR ? POLLERR : 0) |
            (slirp_events & SLIRP_POLL_HUP ? POLLHUP : 0));
}

static int
slirp_revents(short revents)
{
        return (revents & POLLIN ? SLIRP_POLL_IN : 0) | (revents & POLLOUT ? SLIRP_POLL_OUT : 0) |
            (revents & POLLPRI ? SLIRP_POLL_PRI : 0) | (revents & POLLERR ? SLIRP_POLL_ERR : 0) |
            (revents & POLLHUP ? SLIRP_POLL_HUP : 0);
}

/* Index 0 is the wake descriptor's.  Without memory for more, the rest waits for the next round. */
static int
add_poll(int fd, int events, void *opaque)
{
        struct net_slirp *s = opaque;

        if (s->polled_count == s->polled_capacity) {
                unsigned capacity = 2 * s->polled_capacity;
                struct pollfd *more = reallocarray(s->polled, capacity, sizeof(*more));

                if (more == NULL)
                        return -1;
                s->polled = more;
                s->polled_capacity = capacity;
        }
        s->polled[s->polled_count] = (struct pollfd){ .fd = fd, .events = poll_events(events) };
        return (int)s->polled_count++;
}

static int
get_revents(int index, void *opaque)
{
        struct net_slirp *s = opaque;

        return index < 0 ? 0 : slirp_revents(s->polled[index].revents);
}

static void
run_timers(struct net_slirp *s, int64_t now_ms)
{
        for (unsigned i = 0; i < TIMERS_MAX; i++) {
                struct slirp_timer *t = &s->timer[i];

                if (!t->used || t->expire_ms == 0 || t->expire_ms > now_ms)
                        continue;
                t->expire_ms = 0;
                t->callback(t->opaque);
        }
}

static uint32_t
limit_to_timers(const struct net_slirp *s, uint32_t wait_ms, int64_t now_ms)
{
        for (unsigned i = 0; i < TIMERS_MAX; i++) {
                const struct slirp_timer *t = &s->timer[i];

                if (!t->used || t->expire_ms == 0)
                        continue;
                if (t->expire_ms <= now_ms)
                        return 0;
                if (t->expire_ms - now_ms < wait_ms)
                        wait_ms = (uint32_t)(t->expire_ms - now_ms);
        }
        return wait_ms;
}

static int64_t
now_ms(void)
{
        return (int64_t)(loop_now_ns() / NSEC_PER_MSEC);
}

static void *
slirp_main(void *arg)
{
        struct net_slirp *s = arg;

        pthread_mutex_lock(&s->mutex);
        while (!s->stop) {
                uint32_t wait_ms = POLL_WAIT_MS;
                int n;

                s->polled[0] = (struct pollfd){ .fd = s->wake_fd, .events = POLLIN };
                s->polled_count = 1;
                slirp_pollfds_fill(s->slirp, &wait_ms, add_poll, s);
                wait_ms = limit_to_timers(s, wait_ms < POLL_WAIT_MS ? wait_ms : POLL_WAIT_MS, now_ms());
                pthread_mutex_unlock(&s->mutex);
                n = poll(s->polled, s->polled_count, (int)wait_ms);
                if (n > 0 && s->polled[0].revents != 0)
                        clear_fd(s->wake_fd);
                pthread_mutex_lock(&s->mutex);
                if (s->stop)
                        break;
                slirp_pollfds_poll(s->slirp, n < 0, get_revents, s);
                run_timers(s, now_ms());
        }
        pthread_mutex_unlock(&s->mutex);
        return NULL;
}

static void
slirp_stop(struct net_slirp *s)
{
        if (!s->has_thread)
                return;
        pthread_mutex_lock(&s->mutex);
        s->stop = true;
        pthread_mutex_unlock(&s->mutex);
        signal_fd(s->wake_fd);
        pthread_join(s->thread, NULL);
}

static void
slirp_destroy(struct net_backend *nb)
{
        struct net_slirp *s = to_slirp(nb);

        slirp_stop(s);
        if (s->ready_watch != NULL)
                loop_fd_remove(s->ready_watch);
        if (s->slirp != NULL)
                slirp_cleanup(s->slirp);
        if (s->wake_fd >= 0)
                close(s->wake_fd);
        if (s->ready_fd >= 0)
                close(s->ready_fd);
        pthread_mutex_destroy(&s->mutex);
        pthread_mutex_destroy(&s->ring_mutex);
        free(s->polled);
        free(s->ring);
        free(s);
}

/* libslirp wants a frame in one piece; its MTU bounds what it takes. */
static void
slirp_send(struct net_backend *nb, unsigned queue, const struct iovec *iov, unsigned count)
{
        struct net_slirp *s = to_slirp(nb);
        uint8_t frame[FRAME_BYTES];
        size_t len = 0;

        for (unsigned i = 0; i < count; i++) {
                if (iov[i].iov_len > sizeof(frame) - len)
                        return;
                memcpy(frame + len, iov[i].iov_base, iov[i].iov_len);
                len += iov[i].iov_len;
        }
        pthread_mutex_lock(&s->mutex);
        slirp_input(s->slirp, frame, (int)len);
        pthread_mutex_unlock(&s->mutex);
        /* There may be new sockets to wait for. */
        signal_fd(s->wake_fd);
}

static ssize_t
slirp_receive(struct net_backend *nb, unsigned queue, void *buf, size_t size)
{
        struct net_slirp *s = to_slirp(nb);
        ssize_t len = -EAGAIN;

        pthread_mutex_lock(&s->ring_mutex);
        if (s->ring_head != s->ring_tail) {
                const struct slirp_frame *f = &s->ring[s->ring_head % RING_FRAMES];

                len = (ssize_t)(f->len < size ? f->len : size);
                memcpy(buf, f->data, (size_t)len);
                s->ring_head++;
        }
        if (s->ring_head == s->ring_tail)
                clear_fd(s->ready_fd);
        pthread_mutex_unlock(&s->ring_mutex);
        return len;
}

static void
slirp_listen(struct net_backend *nb, unsigned queue, bool on)
{
        (void)loop_fd_modify(to_slirp(nb)->ready_watch, on ? EPOLLIN : 0);
}

static const struct net_ops slirp_ops = {
        .destroy = slirp_destroy,
        .send = slirp_send,
        .receive = slirp_receive,
        .listen = slirp_listen,
};

static void
slirp_event(void *ctx, unsigned epoll_events)
{
        struct net_slirp *s = ctx;

        if (s->nb.readable != NULL)
                s->nb.readable(s->nb.ctx, 0);
}

/* Copies up to one of the @stops into @buf; the place behind the stop, or NULL. */
static const char *
hostfwd_part(const char *text, char stop, char *buf, size_t size)
{
        size_t len = strcspn(text, ":-;");

        if (len >= size || (text[len] != stop && !(stop == ';' && text[len] == '\0')))
                return NULL;
        memcpy(buf, text, len);
        buf[len] = '\0';
        return text[len] == stop && stop != ';' ? text + len + 1 : text + len;
}

static int
parse_port(const char *text, unsigned short *ret_port)
{
        char *end;
        unsigned long port = strtoul(text, &end, 10);

        if (end == text || *end != '\0' || port == 0 || port > USHRT_MAX)
                return -EINVAL;
        *ret_port = (unsigned short)port;
        return 0;
}

static int
parse_address(const char *text, unsigned *ret_addr)
{
        struct in_addr addr = { 0 };

        if (*text != '\0' && inet_pton(AF_INET, text, &addr) != 1)
                return -EINVAL;
        *ret_addr = addr.s_addr;
        return 0;
}

int
net_parse_hostfwd(const char *text, struct net_hostfwd *ret_fwd, const char **ret_end)
{
        char proto[8], host[32], host_port[8], guest[32], guest_port[8];
        struct net_hostfwd fwd = { 0 };

        text = hostfwd_part(text, ':', proto, sizeof(proto));
        if (text != NULL)
                text = hostfwd_part(text, ':', host, sizeof(host));
        if (text != NULL)
                text = hostfwd_part(text, '-', host_port, sizeof(host_port));
        if (text != NULL)
                text = hostfwd_part(text, ':', guest, sizeof(guest));
        if (text != NULL)
                text = hostfwd_part(text, ';', guest_port, sizeof(guest_port));
        if (text == NULL || (strcmp(proto, "tcp") != 0 && strcmp(proto, "udp") != 0) ||
            parse_address(host, &fwd.host_addr) != 0 || parse_address(guest, &fwd.guest_addr) != 0 ||
            parse_port(host_port, &fwd.host_port) != 0 || parse_port(guest_port, &fwd.guest_port) != 0)
                return -EINVAL;
        fwd.udp = strcmp(proto, "udp") == 0;
        *ret_fwd = fwd;
        *ret_end = text;
        return 0;
}

/* Without an address a port is opened to this host only. */
static int
forward_port(struct net_slirp *s, const char *text, const struct net_hostfwd *fwd)
{
        struct in_addr host = { fwd->host_addr != 0 ? fwd->host_addr : htonl(INADDR_LOOPBACK) };
        struct in_addr guest = { fwd->guest_addr };

        if (slirp_add_hostfwd(s->slirp, fwd->udp, host, fwd->host_port, guest, fwd->guest_port) == 0)
                return 0;
        log_error("slirp: hostfwd '%.*s': port %u of the host cannot be had: %s; choose another", (int)strcspn(text, ";"), text,
            fwd->host_port, strerror(errno));
        return -EADDRINUSE;
}

static int
forward_ports(struct net_slirp *s, const char *text)
{
        while (*text != '\0') {
                struct net_hostfwd fwd;
                const char *end;
                int error;

                if (net_parse_hostfwd(text, &fwd, &end) != 0) {
                        log_error("slirp: hostfwd '%.*s' is not proto:hostaddr:hostport-guestaddr:guestport",
                            (int)strcspn(text, ";"), text);
                        return -EINVAL;
                }
                error = forward_port(s, text, &fwd);
                if (error != 0)
                        return error;
                text = *end == ';' ? end + 1 : end;
        }
        return 0;
}

static Slirp *
make_network(struct net_slirp *s, bool restricted)
{
        SlirpConfig config = {
                .version = 4,
                .restricted = restricted,
                .in_enabled = true,
                .in6_enabled = true,
                .vprefix_len = 64,
        };

        inet_pton(AF_INET, "10.0.2.0", &config.vnetwork);
        inet_pton(AF_INET, "255.255.255.0", &config.vnetmask);
        inet_pton(AF_INET, "10.0.2.2", &config.vhost);
        inet_pton(AF_INET, "10.0.2.15", &config.vdhcp_start);
        inet_pton(AF_INET, "10.0.2.3", &config.vnameserver);
        inet_pton(AF_INET6, "fec0::", &config.vprefix_addr6);
        inet_pton(AF_INET6, "fec0::2", &config.vhost6);
        inet_pton(AF_INET6, "fec0::3", &config.vnameserver6);
        return slirp_new(&config, &slirp_callbacks, s);
}

static int
start_thread(struct net_slirp *s)
{
        sigset_t all, old;
        int error;

        sigfillset(&all);
        pthread_sigmask(SIG_SETMASK, &all, &old);
        error = pthread_create(&s->thread, NULL, slirp_main, s);
        pthread_sigmask(SIG_SETMASK, &old, NULL);
        if (error != 0)
                return -error;
        pthread_setname_np(s->thread, "slirp");
        s->has_thread = true;
        return 0;
}

static int
slirp_setup(struct net_slirp *s, const struct net_options *options, struct loop *loop)
{
        int error;

        s->polled_capacity = 16;
        s->polled = calloc(s->polled_capacity, sizeof(*s->polled));
        s->ring = calloc(RING_FRAMES, sizeof(*s->ring));
        s->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
        s->ready_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
        if (s->polled == NULL || s->ring == NULL || s->wake_fd < 0 || s->ready_fd < 0)
                return -ENOMEM;
        s->slirp = make_network(s, options->restricted);
        if (s->slirp == NULL)
                return -ENOMEM;
        error = options->hostfwd != NULL ? forward_ports(s, options->hostfwd) : 0;
        if (error == 0)
                error = loop_fd_add(loop, s->ready_fd, 0, slirp_event, s, &s->ready_watch);
        return error != 0 ? error : start_thread(s);
}

int
net_slirp_open(const struct net_options *options, struct loop *loop, struct net_backend **ret_nb)
{
        struct net_slirp *s = calloc(1, sizeof(*s));
        int error;

        if (s == NULL)
                return -ENOMEM;
        s->nb.ops = &slirp_ops;
        s->nb.queues = 1;
        s->nb.link = true;
        s->wake_fd = s->ready_fd = -1;
        pthread_mutex_init(&s->mutex, NULL);
        pthread_mutex_init(&s->ring_mutex, NULL);
        error = slirp_setup(s, options, loop);
        if (error != 0) {
                slirp_destroy(&s->nb);
                return error;
        }
        *ret_nb = &s->nb;
        return 0;
}
