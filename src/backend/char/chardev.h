/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Host ends of serial lines: standard input and output, a terminal device, a
 * listening TCP or Unix socket, one side of a virtual null modem.
 *
 * Whoever owns a line opens a chardev by its text form, sets a handler, and
 * calls chardev_resume whenever it can take input again.  Output is collected
 * for a millisecond, so that a guest's console does not cost a system call a
 * character.  While nobody is attached, the last CHARDEV_BACKLOG bytes are
 * kept for the next who attaches; while a reader is slow, chardev_write takes
 * less than it was given and handler->writable says when to go on: nothing is
 * lost.
 *
 * Everything runs with the device lock held (or before the loop runs).
 */
#ifndef BACKEND_CHAR_CHARDEV_H
#define BACKEND_CHAR_CHARDEV_H

#include "base/loop.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define CHARDEV_BACKLOG 65536u

struct chardev;

struct chardev_handler {
        /* How many bytes input() may be given now. */
        size_t (*room)(void *ctx);
        void (*input)(void *ctx, const uint8_t *data, size_t len);
        /* chardev_write has space again after it took less than it was given. */
        void (*writable)(void *ctx);
        /* DCD changed: the other side came or went; optional. */
        void (*carrier)(void *ctx, bool up);
        /* Somebody came or went, also on lines without a carrier; optional. */
        void (*attached)(void *ctx, bool is);
};

/*
 * @spec: "stdio", "tcp=[addr:]port", "unix=path", ".../nmdmXA" or "...B", or the path of a terminal.
 * On failure -errno and, in *ret_why, static text that says what is wrong.
 */
int chardev_open(struct loop *loop, const char *spec, struct chardev **ret_dev, const char **ret_why);
/* Writes what it can of pending output and puts terminals back as they were.  NULL is allowed. */
void chardev_close(struct chardev *dev);
/* From here on input arrives. */
void chardev_set_handler(struct chardev *dev, const struct chardev_handler *handler, void *ctx);
/* The handler has room again. */
void chardev_resume(struct chardev *dev);
/* The number of bytes taken. */
size_t chardev_write(struct chardev *dev, const uint8_t *data, size_t len);
/* Whether somebody reads what is written now, or it goes to the backlog. */
bool chardev_attached(const struct chardev *dev);
/* What DCD says: whether somebody is attached; always true of lines without a carrier of their own. */
bool chardev_carrier(const struct chardev *dev);

#endif
