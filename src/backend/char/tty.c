/* SPDX-License-Identifier: BSD-2-Clause */
/* A terminal device of the host, such as /dev/ttyS0 or the slave of a pty. */
#include "backend/char/chardev_impl.h"
#include "backend/char/rawtty.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

struct tty_state {
        int fd;
        struct rawtty tty;
};

static int
tty_open(struct chardev *dev, const char *path, const char **ret_why)
{
        struct tty_state *state = calloc(1, sizeof(*state));
        int error;

        if (!state)
                return -ENOMEM;
        dev->state = state;
        state->tty.fd = -1;
        state->fd = open(path, O_RDWR | O_NOCTTY | O_NONBLOCK | O_CLOEXEC);
        if (state->fd < 0) {
                *ret_why = "cannot open the terminal";
                return -errno;
        }
        if (!isatty(state->fd)) {
                *ret_why = "not a terminal";
                return -ENOTTY;
        }
        error = rawtty_enter(&state->tty, state->fd);
        if (error) {
                *ret_why = "cannot make the terminal raw";
                return error;
        }
        return chardev_attach(dev, state->fd, state->fd);
}

static void
tty_close(struct chardev *dev)
{
        struct tty_state *state = dev->state;

        if (!state)
                return;
        rawtty_leave(&state->tty);
        if (state->fd >= 0)
                close(state->fd);
        free(state);
}

const struct chardev_kind chardev_tty = {
    .open = tty_open,
    .close = tty_close,
};
