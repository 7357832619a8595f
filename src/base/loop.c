/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The event loop over epoll, one timerfd for all timers, one eventfd for
 * loop_post and loop_stop.  The list of timers, the dead descriptors and every
 * callback are guarded by the lock given to loop_create; the queue of posted
 * calls by a lock of its own, so that loop_post may be called with or without
 * the other.
 */
#include "base/loop.h"

#include "base/util.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

#define LOOP_BATCH 32

struct loop_fd {
        struct loop *loop;
        struct loop_fd *next; /* on the list of the living or of the dead */
        int fd;
        loop_fd_fn *fn; /* NULL once removed */
        void *ctx;
};

struct loop_timer {
        struct loop *loop;
        struct loop_timer *next; /* by deadline */
        uint64_t deadline_ns;    /* 0: not armed */
        loop_fn *fn;
        void *ctx;
};

struct loop_call {
        struct loop_call *next;
        loop_fn *fn;
        void *ctx;
};

struct loop {
        pthread_mutex_t *lock;
        int epoll_fd;
        int event_fd;
        int timer_fd;
        atomic_bool stop;
        struct loop_timer *timers; /* lock */
        uint64_t timer_fd_ns;      /* lock: what timer_fd is set to; 0: off */
        struct loop_fd *living;    /* lock */
        struct loop_fd *dead;      /* lock: freed after a batch, which may still name them */
        pthread_mutex_t post_lock;
        struct loop_call *calls; /* post_lock */
        struct loop_call **calls_end;
};

uint64_t
loop_now_ns(void)
{
        struct timespec ts;

        clock_gettime(CLOCK_MONOTONIC, &ts);
        return (uint64_t)ts.tv_sec * NSEC_PER_SEC + (uint64_t)ts.tv_nsec;
}

static int
watch_own_fd(struct loop *loop, int *fd)
{
        struct epoll_event event = {.events = EPOLLIN, .data.ptr = fd};

        return epoll_ctl(loop->epoll_fd, EPOLL_CTL_ADD, *fd, &event) ? -errno : 0;
}

int
loop_create(pthread_mutex_t *lock, struct loop **ret_loop)
{
        struct loop *loop = calloc(1, sizeof(*loop));
        int error;

        if (!loop)
                return -ENOMEM;
        loop->lock = lock;
        loop->calls_end = &loop->calls;
        pthread_mutex_init(&loop->post_lock, NULL);
        loop->event_fd = loop->timer_fd = -1;
        loop->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
        if (loop->epoll_fd < 0)
                goto fail_errno;
        loop->event_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
        if (loop->event_fd < 0)
                goto fail_errno;
        loop->timer_fd = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
        if (loop->timer_fd < 0)
                goto fail_errno;
        error = watch_own_fd(loop, &loop->event_fd);
        if (!error)
                error = watch_own_fd(loop, &loop->timer_fd);
        if (error)
                goto fail;
        *ret_loop = loop;
        return 0;
fail_errno:
        error = -errno;
fail:
        loop_destroy(loop);
        return error;
}

static void
free_fds(struct loop_fd **list)
{
        while (*list) {
                struct loop_fd *lfd = *list;

                *list = lfd->next;
                free(lfd);
        }
}

void
loop_destroy(struct loop *loop)
{
        if (!loop)
                return;
        free_fds(&loop->living);
        free_fds(&loop->dead);
        while (loop->calls) {
                struct loop_call *call = loop->calls;

                loop->calls = call->next;
                free(call);
        }
        if (loop->timer_fd >= 0)
                close(loop->timer_fd);
        if (loop->event_fd >= 0)
                close(loop->event_fd);
        if (loop->epoll_fd >= 0)
                close(loop->epoll_fd);
        pthread_mutex_destroy(&loop->post_lock);
        free(loop);
}

static void
wake(struct loop *loop)
{
        uint64_t one = 1;

        while (write(loop->event_fd, &one, sizeof(one)) < 0 && errno == EINTR)
                ;
}

static void
drain(int fd)
{
        uint64_t count;

        while (read(fd, &count, sizeof(count)) < 0 && errno == EINTR)
                ;
}

/* Lock held.  Makes the timerfd fire for the first timer. */
static void
set_timer_fd(struct loop *loop)
{
        uint64_t ns = loop->timers ? loop->timers->deadline_ns : 0;
        struct itimerspec spec = {
            .it_value = {.tv_sec = (time_t)(ns / NSEC_PER_SEC), .tv_nsec = (long)(ns % NSEC_PER_SEC)},
        };

        if (ns == loop->timer_fd_ns)
                return;
        loop->timer_fd_ns = ns;
        timerfd_settime(loop->timer_fd, TFD_TIMER_ABSTIME, &spec, NULL);
}

static void
run_timers(struct loop *loop)
{
        uint64_t now = loop_now_ns();

        drain(loop->timer_fd);
        loop->timer_fd_ns = 0;
        while (loop->timers && loop->timers->deadline_ns <= now) {
                struct loop_timer *timer = loop->timers;

                loop->timers = timer->next;
                timer->deadline_ns = 0;
                timer->fn(timer->ctx);
        }
        set_timer_fd(loop);
}

static struct loop_call *
take_calls(struct loop *loop)
{
        struct loop_call *calls;

        pthread_mutex_lock(&loop->post_lock);
        calls = loop->calls;
        loop->calls = NULL;
        loop->calls_end = &loop->calls;
        pthread_mutex_unlock(&loop->post_lock);
        return calls;
}

static void
run_calls(struct loop *loop)
{
        struct loop_call *call;

        drain(loop->event_fd);
        call = take_calls(loop);
        while (call) {
                struct loop_call *next = call->next;

                call->fn(call->ctx);
                free(call);
                call = next;
        }
}

static void
dispatch(struct loop *loop, const struct epoll_event *event)
{
        struct loop_fd *lfd = event->data.ptr;

        if (event->data.ptr == &loop->event_fd)
                run_calls(loop);
        else if (event->data.ptr == &loop->timer_fd)
                run_timers(loop);
        else if (lfd->fn)
                lfd->fn(lfd->ctx, event->events);
}

void
loop_run_once(struct loop *loop, int timeout_ms)
{
        struct epoll_event events[LOOP_BATCH];
        int n = epoll_wait(loop->epoll_fd, events, LOOP_BATCH, timeout_ms);

        pthread_mutex_lock(loop->lock);
        for (int i = 0; i < n; i++)
                dispatch(loop, &events[i]);
        free_fds(&loop->dead);
        pthread_mutex_unlock(loop->lock);
}

void
loop_run(struct loop *loop)
{
        /* Pairs with the release in loop_stop. */
        while (!atomic_load_explicit(&loop->stop, memory_order_acquire))
                loop_run_once(loop, -1);
}

void
loop_stop(struct loop *loop)
{
        atomic_store_explicit(&loop->stop, true, memory_order_release);
        wake(loop);
}

int
loop_fd_add(struct loop *loop, int fd, unsigned events, loop_fd_fn *fn, void *ctx,
    struct loop_fd **ret_fd)
{
        struct loop_fd *lfd = calloc(1, sizeof(*lfd));
        struct epoll_event event = {.events = events, .data.ptr = lfd};

        if (!lfd)
                return -ENOMEM;
        *lfd = (struct loop_fd){.loop = loop, .fd = fd, .fn = fn, .ctx = ctx};
        if (epoll_ctl(loop->epoll_fd, EPOLL_CTL_ADD, fd, &event)) {
                int error = -errno;

                free(lfd);
                return error;
        }
        lfd->next = loop->living;
        loop->living = lfd;
        *ret_fd = lfd;
        return 0;
}

int
loop_fd_modify(struct loop_fd *lfd, unsigned events)
{
        struct epoll_event event = {.events = events, .data.ptr = lfd};

        return epoll_ctl(lfd->loop->epoll_fd, EPOLL_CTL_MOD, lfd->fd, &event) ? -errno : 0;
}

void
loop_fd_remove(struct loop_fd *lfd)
{
        struct loop *loop;
        struct loop_fd **link;

        if (!lfd)
                return;
        loop = lfd->loop;
        epoll_ctl(loop->epoll_fd, EPOLL_CTL_DEL, lfd->fd, NULL);
        for (link = &loop->living; *link != lfd; link = &(*link)->next)
                ;
        *link = lfd->next;
        lfd->fn = NULL;
        lfd->next = loop->dead;
        loop->dead = lfd;
}

int
loop_timer_create(struct loop *loop, loop_fn *fn, void *ctx, struct loop_timer **ret_timer)
{
        struct loop_timer *timer = calloc(1, sizeof(*timer));

        if (!timer)
                return -ENOMEM;
        *timer = (struct loop_timer){.loop = loop, .fn = fn, .ctx = ctx};
        *ret_timer = timer;
        return 0;
}

void
loop_timer_destroy(struct loop_timer *timer)
{
        if (!timer)
                return;
        loop_timer_cancel(timer);
        free(timer);
}

static void
unlink_timer(struct loop_timer *timer)
{
        struct loop_timer **link = &timer->loop->timers;

        if (!timer->deadline_ns)
                return;
        while (*link != timer)
                link = &(*link)->next;
        *link = timer->next;
        timer->deadline_ns = 0;
}

void
loop_timer_arm(struct loop_timer *timer, uint64_t deadline_ns)
{
        struct loop_timer **link = &timer->loop->timers;

        unlink_timer(timer);
        timer->deadline_ns = deadline_ns ? deadline_ns : 1;
        while (*link && (*link)->deadline_ns <= timer->deadline_ns)
                link = &(*link)->next;
        timer->next = *link;
        *link = timer;
        set_timer_fd(timer->loop);
}

void
loop_timer_cancel(struct loop_timer *timer)
{
        unlink_timer(timer);
        set_timer_fd(timer->loop);
}

void
loop_post(struct loop *loop, loop_fn *fn, void *ctx)
{
        struct loop_call *call = malloc(sizeof(*call));

        if (!call)
                abort(); /* a lost completion would hang the guest */
        *call = (struct loop_call){.fn = fn, .ctx = ctx};
        pthread_mutex_lock(&loop->post_lock);
        *loop->calls_end = call;
        loop->calls_end = &call->next;
        pthread_mutex_unlock(&loop->post_lock);
        wake(loop);
}
