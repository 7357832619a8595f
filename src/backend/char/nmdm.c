/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The virtual null modem: what FreeBSD's nmdm(4) is to bhyve.
 *
 * Of a pair nmdmXA and nmdmXB the VM opens one; the other appears as a link to
 * a pseudo terminal, for gdb, cu or screen.  A second VM that opens that other
 * name finds the link and becomes the terminal's user, so that two VMs are
 * joined whichever starts first.  Who made the pair holds a lock on .nmdmX.lock
 * beside it; a link without a holder is stale, and is replaced, never followed.
 * When the maker goes, the other VM makes the pair anew for its own side.
 *
 * The names live in /dev where we may write there, else in the run directory
 * ($BHYVE_RUN, $XDG_RUNTIME_DIR/bhyve); another directory may be given.
 *
 * A program cannot open a name before a VM has: there is no driver to make it.
 */
#include "backend/char/chardev_impl.h"

#include "base/util.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <termios.h>
#include <unistd.h>

/*
 * How often we look whether somebody opened the terminal, and how long he is
 * given then to set it up, which discards what is waiting in it.
 */
#define LOOK_NS (100 * NSEC_PER_MSEC)

struct nmdm {
        struct chardev *dev;
        char own[PATH_MAX];  /* the name we were given */
        char peer[PATH_MAX]; /* the other side's */
        char lock_path[PATH_MAX];
        int lock_fd; /* held: the pair is ours */
        int fd;      /* master of our pair, or the other VM's terminal; -1: neither yet */
        bool linked;
        bool seen;   /* the last look found the terminal open */
        struct loop_timer *look;
};

bool
chardev_is_nmdm(const char *path)
{
        const char *name = strrchr(path, '/');
        size_t len;

        if (!name || strncmp(name, "/nmdm", 5) != 0)
                return false;
        len = strlen(name);
        return len > 6 && (name[len - 1] == 'A' || name[len - 1] == 'B');
}

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

static int
set_names(struct nmdm *nmdm, const char *path)
{
        char dir[PATH_MAX - NAME_MAX];
        const char *name = strrchr(path, '/') + 1;
        size_t len = strlen(name), dir_len = (size_t)(name - 1 - path);
        int error;

        if (len > NAME_MAX - 8 || dir_len >= sizeof(dir))
                return -ENAMETOOLONG;
        memcpy(dir, path, dir_len);
        dir[dir_len] = 0;
        if (!strcmp(dir, "/dev") && access(dir, W_OK)) {
                error = run_directory(dir, sizeof(dir));
                if (error)
                        return error;
        }
        snprintf(nmdm->own, sizeof(nmdm->own), "%s/%s", dir, name);
        snprintf(nmdm->peer, sizeof(nmdm->peer), "%s/%.*s%c", dir, (int)len - 1, name,
            name[len - 1] == 'A' ? 'B' : 'A');
        snprintf(nmdm->lock_path, sizeof(nmdm->lock_path), "%s/.%.*s.lock", dir, (int)len - 1, name);
        return 0;
}

/* True if the file we locked is still the one of that name: its last holder removes it. */
static bool
is_current(int fd, const char *path)
{
        struct stat ours, named;

        return !fstat(fd, &ours) && !stat(path, &named) && ours.st_dev == named.st_dev &&
            ours.st_ino == named.st_ino;
}

/* -EWOULDBLOCK if another process has the pair. */
static int
take_lock(struct nmdm *nmdm)
{
        int fd;

        for (;;) {
                fd = open(nmdm->lock_path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
                if (fd < 0)
                        return -errno;
                if (flock(fd, LOCK_EX | LOCK_NB)) {
                        int error = -errno;

                        close(fd);
                        return error;
                }
                if (is_current(fd, nmdm->lock_path))
                        break;
                close(fd);
        }
        nmdm->lock_fd = fd;
        return 0;
}

/* Only links are ours to remove. */
static void
remove_link(const char *path)
{
        struct stat st;

        if (!lstat(path, &st) && S_ISLNK(st.st_mode))
                unlink(path);
}

static void
drop_lock(struct nmdm *nmdm)
{
        if (nmdm->lock_fd < 0)
                return;
        if (nmdm->linked)
                remove_link(nmdm->peer);
        nmdm->linked = false;
        unlink(nmdm->lock_path);
        close(nmdm->lock_fd);
        nmdm->lock_fd = -1;
}

static int
make_raw(int fd)
{
        struct termios raw;

        if (tcgetattr(fd, &raw))
                return -errno;
        cfmakeraw(&raw);
        raw.c_cflag |= CLOCAL;
        return tcsetattr(fd, TCSANOW, &raw) ? -errno : 0;
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
        error = make_raw(fd);
        close(fd);
        return error;
}

static int
make_pair(struct nmdm *nmdm)
{
        char name[64];
        int error;

        nmdm->fd = posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC | O_NONBLOCK);
        if (nmdm->fd < 0)
                return -errno;
        error = prepare_terminal(nmdm->fd, name, sizeof(name));
        if (error)
                return error;
        remove_link(nmdm->own);
        remove_link(nmdm->peer);
        if (symlink(name, nmdm->peer))
                return -errno;
        nmdm->linked = true;
        return 0;
}

/* The other VM made the pair: our name is a link to its terminal. */
static int
join_pair(struct nmdm *nmdm)
{
        int error;

        nmdm->fd = open(nmdm->own, O_RDWR | O_NOCTTY | O_CLOEXEC | O_NONBLOCK);
        if (nmdm->fd < 0)
                return errno == ENOENT ? -EBUSY : -errno;
        error = isatty(nmdm->fd) ? make_raw(nmdm->fd) : -ENOTTY;
        return error ? error : chardev_attach(nmdm->dev, nmdm->fd, nmdm->fd);
}

static void
close_fd(struct nmdm *nmdm)
{
        if (nmdm->fd >= 0)
                close(nmdm->fd);
        nmdm->fd = -1;
}

static void
look_again(struct nmdm *nmdm)
{
        loop_timer_arm(nmdm->look, loop_now_ns() + LOOK_NS);
}

static int
begin(struct nmdm *nmdm)
{
        int error = take_lock(nmdm);

        if (error == -EWOULDBLOCK)
                error = join_pair(nmdm);
        else if (!error)
                error = make_pair(nmdm);
        if (error) {
                close_fd(nmdm);
                drop_lock(nmdm);
        } else if (nmdm->lock_fd >= 0) {
                look_again(nmdm);
        }
        return error;
}

static bool
terminal_is_open(int master)
{
        struct pollfd poll_fd = {.fd = master, .events = POLLIN};

        return poll(&poll_fd, 1, 0) >= 0 && !(poll_fd.revents & POLLHUP);
}

static void
look(void *ctx)
{
        struct nmdm *nmdm = ctx;
        bool open_now;

        if (nmdm->fd < 0) {
                if (begin(nmdm))
                        look_again(nmdm);
                return;
        }
        open_now = terminal_is_open(nmdm->fd);
        if (open_now && nmdm->seen && !chardev_attach(nmdm->dev, nmdm->fd, nmdm->fd)) {
                nmdm->seen = false;
                return;
        }
        nmdm->seen = open_now;
        look_again(nmdm);
}

/* The other side closed.  Where it was the maker of the pair, that becomes our part. */
static void
nmdm_hangup(struct chardev *dev)
{
        struct nmdm *nmdm = dev->state;

        nmdm->seen = false;
        if (nmdm->lock_fd < 0)
                close_fd(nmdm);
        look_again(nmdm);
}

static int
nmdm_open(struct chardev *dev, const char *path, const char **ret_why)
{
        struct nmdm *nmdm = calloc(1, sizeof(*nmdm));
        int error;

        if (!nmdm)
                return -ENOMEM;
        dev->state = nmdm;
        nmdm->dev = dev;
        nmdm->fd = nmdm->lock_fd = -1;
        error = loop_timer_create(dev->loop, look, nmdm, &nmdm->look);
        if (error)
                return error;
        *ret_why = "cannot make the null modem's names there";
        error = set_names(nmdm, path);
        if (!error)
                error = begin(nmdm);
        if (error == -EBUSY)
                *ret_why = "that side of the null modem is in use";
        return error;
}

static void
nmdm_close(struct chardev *dev)
{
        struct nmdm *nmdm = dev->state;

        if (!nmdm)
                return;
        loop_timer_destroy(nmdm->look);
        close_fd(nmdm);
        drop_lock(nmdm);
        free(nmdm);
}

const struct chardev_kind chardev_nmdm = {
    .open = nmdm_open,
    .close = nmdm_close,
    .hangup = nmdm_hangup,
    .has_carrier = true,
};
