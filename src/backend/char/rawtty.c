/* SPDX-License-Identifier: BSD-2-Clause */
#include "backend/char/rawtty.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#define GUARDIAN_TTY  0
#define GUARDIAN_PIPE 1

/*
 * The child.  It keeps nothing of the parent's open but the terminal and the
 * pipe, lest a lock or a socket outlive the parent.
 */
static void __attribute__((noreturn))
guard(int tty_fd, int pipe_fd, const struct termios *saved)
{
        sigset_t all;
        char byte;
        ssize_t n;

        sigfillset(&all); /* SIGTTOU among them: we may be in the background by then */
        sigprocmask(SIG_SETMASK, &all, NULL);
        prctl(PR_SET_NAME, "tty-guardian");
        if (dup2(tty_fd, 100) < 0 || dup2(pipe_fd, 101) < 0)
                _exit(1);
        dup2(100, GUARDIAN_TTY);
        dup2(101, GUARDIAN_PIPE);
        close_range(2, ~0u, 0);
        do
                n = read(GUARDIAN_PIPE, &byte, 1);
        while (n < 0 && errno == EINTR);
        if (n == 0)
                tcsetattr(GUARDIAN_TTY, TCSANOW, saved);
        _exit(0);
}

static void
start_guardian(struct rawtty *tty)
{
        int fds[2];
        pid_t pid;

        if (pipe2(fds, O_CLOEXEC))
                return;
        pid = fork();
        if (pid == 0) {
                close(fds[1]);
                guard(tty->fd, fds[0], &tty->saved);
        }
        close(fds[0]);
        if (pid < 0) {
                close(fds[1]);
                return;
        }
        tty->guardian = pid;
        tty->pipe_fd = fds[1];
}

int
rawtty_enter(struct rawtty *tty, int fd)
{
        struct termios raw;

        memset(tty, 0, sizeof(*tty));
        tty->fd = -1;
        if (tcgetattr(fd, &raw))
                return -errno;
        tty->fd = fd;
        tty->saved = raw;
        start_guardian(tty);
        cfmakeraw(&raw);
        raw.c_cflag |= CLOCAL;
        if (tcsetattr(fd, TCSANOW, &raw)) {
                int error = -errno;

                rawtty_leave(tty);
                return error;
        }
        return 0;
}

void
rawtty_leave(struct rawtty *tty)
{
        if (tty->fd >= 0 && tty->guardian >= 0)
                tcsetattr(tty->fd, TCSADRAIN, &tty->saved);
        if (tty->guardian > 0) {
                while (write(tty->pipe_fd, "", 1) < 0 && errno == EINTR)
                        ;
                close(tty->pipe_fd);
                while (waitpid(tty->guardian, NULL, 0) < 0 && errno == EINTR)
                        ;
        }
        memset(tty, 0, sizeof(*tty));
        tty->fd = -1;
}
