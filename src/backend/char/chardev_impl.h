/* SPDX-License-Identifier: BSD-2-Clause */
/* What the kinds of chardev share; for this folder only. */
#ifndef BACKEND_CHAR_CHARDEV_IMPL_H
#define BACKEND_CHAR_CHARDEV_IMPL_H

#include "backend/char/chardev.h"

/*
 * A kind opens its descriptors and says with chardev_attach and
 * chardev_detach which of them carry the line at present.
 */
struct chardev_kind {
        /* @arg: the part of the text form after the prefix. */
        int (*open)(struct chardev *dev, const char *arg, const char **ret_why);
        void (*close)(struct chardev *dev);
        /* The other side hung up; the core has detached already. */
        void (*hangup)(struct chardev *dev);
        /* The guest sees DCD fall while nobody is attached; else the line seems always up. */
        bool has_carrier;
};

struct chardev {
        struct loop *loop;
        const struct chardev_kind *kind;
        void *state; /* the kind's own */
        const struct chardev_handler *handler;
        void *handler_ctx;

        int in_fd, out_fd; /* -1: nobody is attached */
        struct loop_fd *in_watch, *out_watch;
        bool in_watching;    /* in_watch waits for input */
        bool in_unpollable;  /* a regular file, or hung up: always readable */
        struct loop_timer *read_timer; /* reads it */
        bool carrier;
        uint8_t in_buf[4096]; /* read, and not yet taken by the handler */
        size_t in_pos, in_len;

        uint8_t *ring; /* output, CHARDEV_BACKLOG bytes */
        size_t head, used;
        bool blocked; /* chardev_write took less than given */
        struct loop_timer *flush_timer;
        bool flush_armed;
};

extern const struct chardev_kind chardev_stdio;
extern const struct chardev_kind chardev_tty;
extern const struct chardev_kind chardev_tcp;
extern const struct chardev_kind chardev_unix;
extern const struct chardev_kind chardev_nmdm;

/* A path whose last part is nmdm...A or nmdm...B. */
bool chardev_is_nmdm(const char *path);

/* Descriptors stay the kind's; @in_fd and @out_fd may be the same; an @in_fd of -1: output only. */
int chardev_attach(struct chardev *dev, int in_fd, int out_fd);
void chardev_detach(struct chardev *dev);

#endif
