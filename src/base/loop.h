/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The event loop: one thread that waits for file descriptors and timers.
 *
 * Callbacks run on the loop's thread with the lock given to loop_create held
 * (the machine's device lock), so that devices see one caller at a time.
 * Timers are one-shot, on CLOCK_MONOTONIC, and may be armed from any thread
 * that holds the lock.  loop_post queues a call from any thread without it.
 */
#ifndef BASE_LOOP_H
#define BASE_LOOP_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

struct loop;
struct loop_fd;
struct loop_timer;

typedef void loop_fd_fn(void *ctx, unsigned epoll_events);
typedef void loop_fn(void *ctx);

int loop_create(pthread_mutex_t *lock, struct loop **ret_loop);
void loop_destroy(struct loop *loop);

/* Runs until loop_stop(); the caller's thread becomes the loop's. */
void loop_run(struct loop *loop);
void loop_stop(struct loop *loop);
/* One round: waits at most @timeout_ms (-1: for ever), calls what is due. */
void loop_run_once(struct loop *loop, int timeout_ms);

/* @events: EPOLLIN and so on, level-triggered.  The descriptor stays the caller's. */
int loop_fd_add(struct loop *loop, int fd, unsigned events, loop_fd_fn *fn, void *ctx,
    struct loop_fd **ret_fd);
int loop_fd_modify(struct loop_fd *lfd, unsigned events);
/* After it returns the callback is not running (called with the lock held) and never runs again. */
void loop_fd_remove(struct loop_fd *lfd);

int loop_timer_create(struct loop *loop, loop_fn *fn, void *ctx, struct loop_timer **ret_timer);
void loop_timer_destroy(struct loop_timer *timer);
/* @deadline_ns: CLOCK_MONOTONIC; replaces an earlier deadline. */
void loop_timer_arm(struct loop_timer *timer, uint64_t deadline_ns);
void loop_timer_cancel(struct loop_timer *timer);

void loop_post(struct loop *loop, loop_fn *fn, void *ctx);

/* CLOCK_MONOTONIC in nanoseconds. */
uint64_t loop_now_ns(void);

#endif
