/* SPDX-License-Identifier: BSD-2-Clause */
/* A loop on a thread of its own, as the machine has it, for tests of devices and back ends. */
#ifndef TESTS_LOOP_RIG_H
#define TESTS_LOOP_RIG_H

#include "base/loop.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#define RIG_PATIENCE_MS 10000

struct loop_rig {
        pthread_mutex_t lock;
        struct loop *loop;
        pthread_t thread;
};

static inline void *
loop_rig_main(void *arg)
{
        loop_run(arg);
        return NULL;
}

static inline void
loop_rig_start(struct loop_rig *rig)
{
        pthread_mutex_init(&rig->lock, NULL);
        assert_int_equal(loop_create(&rig->lock, &rig->loop), 0);
        assert_int_equal(pthread_create(&rig->thread, NULL, loop_rig_main, rig->loop), 0);
}

/* Stops the thread; devices are destroyed between this and loop_rig_finish. */
static inline void
loop_rig_stop(struct loop_rig *rig)
{
        loop_stop(rig->loop);
        pthread_join(rig->thread, NULL);
}

static inline void
loop_rig_finish(struct loop_rig *rig)
{
        loop_destroy(rig->loop);
        pthread_mutex_destroy(&rig->lock);
}

/* Waits, without the lock, until @fn says yes with the lock held. */
static inline bool
loop_rig_wait(struct loop_rig *rig, bool (*fn)(void *ctx), void *ctx)
{
        for (unsigned ms = 0; ms < RIG_PATIENCE_MS; ms++) {
                bool yes;

                pthread_mutex_lock(&rig->lock);
                yes = fn(ctx);
                pthread_mutex_unlock(&rig->lock);
                if (yes)
                        return true;
                usleep(1000);
        }
        return false;
}

/* A fresh file of @bytes, whose byte i is i / 512 + i; the caller unlinks and frees the path. */
static inline char *
rig_image(size_t bytes)
{
        char *path = strdup("/var/tmp/bhyve-test-XXXXXX");
        int fd = mkstemp(path);
        unsigned char *data = malloc(bytes);

        assert_true(fd >= 0 && data != NULL);
        for (size_t i = 0; i < bytes; i++)
                data[i] = (unsigned char)(i / 512 + i);
        assert_int_equal(write(fd, data, bytes), bytes);
        close(fd);
        free(data);
        return path;
}

static inline void
rig_image_free(char *path)
{
        unlink(path);
        free(path);
}

#endif
