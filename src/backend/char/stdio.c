/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Standard input and output as a serial line.  Input may be a terminal (made
 * raw), a pipe, a socket, a file or /dev/null; its end leaves output working.
 */
#include "backend/char/chardev_impl.h"
#include "backend/char/rawtty.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

struct stdio_state {
        struct rawtty tty;
        bool raw;
        int out_fd; /* our own open file, so that O_NONBLOCK is not the whole session's */
        bool input_ended;
};

/*
 * A terminal or pipe opened again is a file description of our own; a regular
 * file would lose its offset and cannot block anyway.
 */
static int
own_output(void)
{
        struct stat st;
        int fd = -1;

        if (!fstat(STDOUT_FILENO, &st) && (S_ISCHR(st.st_mode) || S_ISFIFO(st.st_mode)))
                fd = open("/proc/self/fd/1", O_WRONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
        if (fd < 0)
                fd = fcntl(STDOUT_FILENO, F_DUPFD_CLOEXEC, 3);
        return fd;
}

static int
stdio_open(struct chardev *dev, const char *arg, const char **ret_why)
{
        struct stdio_state *state = calloc(1, sizeof(*state));
        int error;

        if (!state)
                return -ENOMEM;
        dev->state = state;
        state->tty.fd = -1;
        state->out_fd = own_output();
        if (state->out_fd < 0) {
                *ret_why = "standard output is closed";
                return -EBADF;
        }
        if (isatty(STDIN_FILENO)) {
                error = rawtty_enter(&state->tty, STDIN_FILENO);
                if (error) {
                        *ret_why = "cannot make the terminal raw";
                        return error;
                }
                state->raw = true;
        }
        error = chardev_attach(dev, STDIN_FILENO, state->out_fd);
        if (error)
                *ret_why = "standard input or output cannot be used";
        return error;
}

static void
stdio_close(struct chardev *dev)
{
        struct stdio_state *state = dev->state;

        if (!state)
                return;
        if (state->raw)
                rawtty_leave(&state->tty);
        if (state->out_fd >= 0)
                close(state->out_fd);
        free(state);
}

/* The first time it is the end of input, and output goes on; the second, the end of output. */
static void
stdio_hangup(struct chardev *dev)
{
        struct stdio_state *state = dev->state;

        if (state->input_ended)
                return;
        state->input_ended = true;
        chardev_attach(dev, -1, state->out_fd);
}

const struct chardev_kind chardev_stdio = {
    .open = stdio_open,
    .close = stdio_close,
    .hangup = stdio_hangup,
};
