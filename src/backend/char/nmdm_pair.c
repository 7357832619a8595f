/* SPDX-License-Identifier: BSD-2-Clause */
#include "backend/char/nmdm_pair.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <termios.h>
#include <unistd.h>

static int
run_directory(char *dir, size_t size)
{
        const char *run = getenv("BHYVE_RUN"), *runtime = getenv("XDG_RUNTIME_DIR");
        int n;

        if (run && *run)
                n = snprintf(dir, size, "%s", run);
        else if (geteuid() == 0)
                n = snprintf(dir, size, "/run/bhyve");
        else if (runtime && *runtime)
                n = snprintf(dir, size, "%s/bhyve", runtime);
        else
                n = snprintf(dir, size, "/tmp/bhyve-%u", (unsigned)geteuid());
        if (n < 0 || (size_t)n >= size)
                return -ENAMETOOLONG;
        (void)mkdir(dir, 0700);
        return 0;
}

int
nmdm_pair_init(struct nmdm_pair *pair, const char *path)
{
        char dir[PATH_MAX - NAME_MAX];
        const char *name = strrchr(path, '/') + 1;
        size_t dir_len = (size_t)(name - 1 - path);
        int error, n;

        if (strlen(name) > NAME_MAX - 16 || dir_len >= sizeof(dir))
                return -ENAMETOOLONG;
        memcpy(dir, path, dir_len);
        dir[dir_len] = 0;
        if (!strcmp(dir, "/dev") && access(dir, W_OK)) {
                error = run_directory(dir, sizeof(dir));
                if (error)
                        return error;
        }
        for (unsigned side = 0; side < 2; side++)
                snprintf(pair->name[side], sizeof(pair->name[side]), "%s/%s%c", dir, name, 'A' + (int)side);
        snprintf(pair->lock_path, sizeof(pair->lock_path), "%s/.%s.lock", dir, name);
        pair->socket = (struct sockaddr_un){.sun_family = AF_UNIX};
        n = snprintf(pair->socket.sun_path, sizeof(pair->socket.sun_path), "%s/.%s.socket", dir, name);
        return n < 0 || (size_t)n >= sizeof(pair->socket.sun_path) ? -ENAMETOOLONG : 0;
}

/* True if the file we locked is still the one of that name: its last holder removes it. */
static bool
is_current(int fd, const char *path)
{
        struct stat ours, named;

        return !fstat(fd, &ours) && !stat(path, &named) && ours.st_dev == named.st_dev &&
            ours.st_ino == named.st_ino;
}

int
nmdm_lock(const struct nmdm_pair *pair, int *ret_fd)
{
        int fd;

        for (;;) {
                fd = open(pair->lock_path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
                if (fd < 0)
                        return -errno;
                if (flock(fd, LOCK_EX | LOCK_NB)) {
                        int error = -errno;

                        close(fd);
                        return error;
                }
                if (is_current(fd, pair->lock_path))
                        break;
                close(fd);
        }
        *ret_fd = fd;
        return 0;
}

void
nmdm_unlock(const struct nmdm_pair *pair, int fd)
{
        unlink(pair->lock_path);
        close(fd);
}

void
nmdm_remove_link(const char *path)
{
        struct stat st;

        if (!lstat(path, &st) && S_ISLNK(st.st_mode))
                unlink(path);
}

int
nmdm_make_raw(int fd)
{
        struct termios raw;

        if (tcgetattr(fd, &raw))
                return -errno;
        cfmakeraw(&raw);
        raw.c_cflag |= CLOCAL;
        return tcsetattr(fd, TCSANOW, &raw) ? -errno : 0;
}

bool
nmdm_terminal_is_open(int master)
{
        struct pollfd poll_fd = {.fd = master, .events = POLLIN};

        return poll(&poll_fd, 1, 0) >= 0 && !(poll_fd.revents & POLLHUP);
}

int
nmdm_free_terminal(int master)
{
        int fd = ioctl(master, TIOCGPTPEER, O_RDWR | O_NOCTTY | O_CLOEXEC);

        if (fd < 0)
                return -errno;
        ioctl(fd, TIOCNXCL);
        close(fd);
        return 0;
}

/*
 * The terminal is opened and closed once: from then on the master hangs up
 * while nobody has it open, which is how we know.
 */
static int
prepare_terminal(int master, char *name, size_t size)
{
        int fd, error;

        if (grantpt(master) || unlockpt(master) || ptsname_r(master, name, size))
                return -EIO;
        fd = open(name, O_RDWR | O_NOCTTY | O_CLOEXEC);
        if (fd < 0)
                return -errno;
        error = nmdm_make_raw(fd);
        close(fd);
        return error;
}

int
nmdm_make_terminal(const struct nmdm_pair *pair, unsigned side, int *ret_master)
{
        char terminal[64];
        int master = posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC | O_NONBLOCK);
        int error;

        if (master < 0)
                return -errno;
        error = prepare_terminal(master, terminal, sizeof(terminal));
        if (!error) {
                nmdm_remove_link(pair->name[side]);
                if (symlink(terminal, pair->name[side]))
                        error = -errno;
        }
        if (error) {
                close(master);
                return error;
        }
        *ret_master = master;
        return 0;
}
