/* SPDX-License-Identifier: BSD-2-Clause */
#include "net/run.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

bool
run_find(const char *program, char *path, size_t path_bytes)
{
        const char *dirs = getenv("PATH");
        char list[4096];
        char *save = NULL;
        struct stat st;

        /* A user's PATH often lacks the sbin directories. */
        snprintf(list, sizeof(list), "%s:/usr/local/sbin:/usr/sbin:/sbin:/usr/bin:/bin",
            dirs != NULL ? dirs : "");
        for (char *dir = strtok_r(list, ":", &save); dir != NULL;
             dir = strtok_r(NULL, ":", &save)) {
                snprintf(path, path_bytes, "%s/%s", dir, program);
                if (dir[0] == '/' && access(path, X_OK) == 0 && stat(path, &st) == 0 &&
                    S_ISREG(st.st_mode))
                        return true;
        }
        return false;
}

bool
run_exists(const char *program)
{
        char path[PATH_MAX];

        return run_find(program, path, sizeof(path));
}

/* In the child: never returns. */
static void
child(const char *path, const char *const argv[], int in, int out)
{
        if (dup2(in, STDIN_FILENO) < 0 || dup2(out, STDOUT_FILENO) < 0 ||
            dup2(out, STDERR_FILENO) < 0)
                _exit(127);
        execv(path, (char *const *)argv);
        _exit(127);
}

/* An anonymous file that holds @text, at its beginning; -errno. */
static int
file_with(const char *text)
{
        int fd = memfd_create("run", MFD_CLOEXEC);

        if (fd < 0)
                return -errno;
        if (text != NULL && write(fd, text, strlen(text)) < 0) {
                close(fd);
                return -EIO;
        }
        lseek(fd, 0, SEEK_SET);
        return fd;
}

static int
wait_for(pid_t pid)
{
        int status;

        while (waitpid(pid, &status, 0) < 0)
                if (errno != EINTR)
                        return -errno;
        return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

int
run(const char *const argv[], const char *input, char *output, size_t output_bytes)
{
        char path[PATH_MAX];
        int in, out, status;
        ssize_t n;
        pid_t pid;

        if (!run_find(argv[0], path, sizeof(path)))
                return -ENOENT;
        in = file_with(input);
        out = file_with(NULL);
        pid = in < 0 || out < 0 ? -1 : fork();
        if (pid == 0)
                child(path, argv, in, out);
        status = pid < 0 ? -errno : wait_for(pid);
        if (output != NULL) {
                n = out < 0 ? 0 : pread(out, output, output_bytes - 1, 0);
                output[n > 0 ? n : 0] = '\0';
        }
        if (in >= 0)
                close(in);
        if (out >= 0)
                close(out);
        return status;
}

int
file_replace(const char *path, const char *text)
{
        char fresh[PATH_MAX];
        size_t bytes = strlen(text);
        int error = 0;
        int fd;

        if ((size_t)snprintf(fresh, sizeof(fresh), "%s.new", path) >= sizeof(fresh))
                return -ENAMETOOLONG;
        fd = open(fresh, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0644);
        if (fd < 0)
                return -errno;
        if (write(fd, text, bytes) != (ssize_t)bytes || fchmod(fd, 0644) < 0)
                error = -EIO;
        close(fd);
        if (error == 0 && rename(fresh, path) < 0)
                error = -errno;
        return error;
}

int
file_read(const char *path, char *buf, size_t bytes)
{
        int fd = open(path, O_RDONLY | O_CLOEXEC);
        ssize_t n;
        int error = 0;

        if (fd < 0)
                return -errno;
        n = read(fd, buf, bytes - 1);
        if (n < 0)
                error = -errno;
        else
                buf[n] = '\0';
        close(fd);
        return error;
}

int
file_write(const char *path, const char *text)
{
        int fd = open(path, O_WRONLY | O_CLOEXEC);
        int error = 0;

        if (fd < 0)
                return -errno;
        if (write(fd, text, strlen(text)) < 0)
                error = -errno;
        close(fd);
        return error;
}
