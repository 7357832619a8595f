/* SPDX-License-Identifier: BSD-2-Clause */
#include "backend/block/private.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

#define WORKERS_MAX 8

struct workers {
        const struct image *image;
        int event_fd;
        unsigned count;
        pthread_t thread[WORKERS_MAX];
        pthread_mutex_t mutex;         /* guards all below; a leaf: nothing is locked under it */
        pthread_cond_t work_there;
        pthread_cond_t result_there;
        struct block_request *queue;   /* oldest first */
        struct block_request **queue_end;
        struct block_request *finished;
        struct block_request **finished_end;
        bool stop;
};

static struct block_request *
workers_take(struct workers *w)
{
        struct block_request *request;

        pthread_mutex_lock(&w->mutex);
        while (w->queue == NULL && !w->stop)
                pthread_cond_wait(&w->work_there, &w->mutex);
        request = w->queue;
        if (request != NULL) {
                w->queue = request->next;
                if (w->queue == NULL)
                        w->queue_end = &w->queue;
        }
        pthread_mutex_unlock(&w->mutex);
        return request;
}

static void
workers_finish(struct workers *w, struct block_request *request)
{
        uint64_t one = 1;
        ssize_t n;

        pthread_mutex_lock(&w->mutex);
        request->next = NULL;
        *w->finished_end = request;
        w->finished_end = &request->next;
        pthread_cond_signal(&w->result_there);
        /* It cannot fail: the counter has room for 2^64 - 2. */
        n = write(w->event_fd, &one, sizeof(one));
        (void)n;
        pthread_mutex_unlock(&w->mutex);
}

static void *
workers_main(void *arg)
{
        struct workers *w = arg;
        struct block_request *request;

        while ((request = workers_take(w)) != NULL) {
                request->error = image_execute(w->image, request);
                workers_finish(w, request);
        }
        return NULL;
}

static int
workers_start_thread(struct workers *w)
{
        sigset_t all;
        sigset_t old;
        int error;

        /* Signals are for the threads that wait for them. */
        sigfillset(&all);
        pthread_sigmask(SIG_SETMASK, &all, &old);
        error = pthread_create(&w->thread[w->count], NULL, workers_main, w);
        pthread_sigmask(SIG_SETMASK, &old, NULL);
        if (error != 0)
                return -error;
        pthread_setname_np(w->thread[w->count], "block");
        w->count++;
        return 0;
}

int
workers_create(const struct image *image, unsigned count, struct workers **ret_workers)
{
        struct workers *w = calloc(1, sizeof(*w));
        int error;

        if (w == NULL)
                return -ENOMEM;
        w->image = image;
        w->queue_end = &w->queue;
        w->finished_end = &w->finished;
        pthread_mutex_init(&w->mutex, NULL);
        pthread_cond_init(&w->work_there, NULL);
        pthread_cond_init(&w->result_there, NULL);
        w->event_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
        error = w->event_fd < 0 ? -errno : 0;
        for (unsigned i = 0; i < count && i < WORKERS_MAX && error == 0; i++)
                error = workers_start_thread(w);
        if (error != 0) {
                workers_destroy(w);
                return error;
        }
        *ret_workers = w;
        return 0;
}

void
workers_destroy(struct workers *w)
{
        if (w == NULL)
                return;
        pthread_mutex_lock(&w->mutex);
        w->stop = true;
        pthread_cond_broadcast(&w->work_there);
        pthread_mutex_unlock(&w->mutex);
        for (unsigned i = 0; i < w->count; i++)
                pthread_join(w->thread[i], NULL);
        pthread_cond_destroy(&w->result_there);
        pthread_cond_destroy(&w->work_there);
        pthread_mutex_destroy(&w->mutex);
        if (w->event_fd >= 0)
                close(w->event_fd);
        free(w);
}

void
workers_submit(struct workers *w, struct block_request *request)
{
        pthread_mutex_lock(&w->mutex);
        request->next = NULL;
        *w->queue_end = request;
        w->queue_end = &request->next;
        pthread_cond_signal(&w->work_there);
        pthread_mutex_unlock(&w->mutex);
}

struct block_request *
workers_collect(struct workers *w, bool wait)
{
        struct block_request *list;
        uint64_t count;
        ssize_t n;

        pthread_mutex_lock(&w->mutex);
        while (wait && w->finished == NULL)
                pthread_cond_wait(&w->result_there, &w->mutex);
        list = w->finished;
        w->finished = NULL;
        w->finished_end = &w->finished;
        n = read(w->event_fd, &count, sizeof(count));
        (void)n;
        pthread_mutex_unlock(&w->mutex);
        return list;
}

int
workers_event_fd(const struct workers *w)
{
        return w->event_fd;
}
