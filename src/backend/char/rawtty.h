/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A terminal in raw mode that is put back however the process ends: a small
 * child waits for the process's death and restores the terminal then, so that
 * even SIGKILL leaves a usable shell.
 */
#ifndef BACKEND_CHAR_RAWTTY_H
#define BACKEND_CHAR_RAWTTY_H

#include <sys/types.h>
#include <termios.h>

struct rawtty {
        int fd;
        struct termios saved;
        int pipe_fd;    /* its end tells the child that we died */
        pid_t guardian; /* 0: none */
};

/* Saves the state of @fd, which stays the caller's, and makes it raw.  -errno. */
int rawtty_enter(struct rawtty *tty, int fd);
/* Puts it back.  Harmless if rawtty_enter failed or was not called on a zeroed struct. */
void rawtty_leave(struct rawtty *tty);

#endif
