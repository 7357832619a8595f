/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The virtual null modem: what FreeBSD's nmdm(4) is to bhyve.
 *
 * Of a pair nmdmXA and nmdmXB the VM opens one; the other is a link to a pseudo
 * terminal, for gdb, cu or screen, whose master the VM has.  The VM makes the
 * pair itself, or is given its side by nmdm(8), which holds pairs so that
 * programs can open their side before.  A second VM that opens the other name
 * becomes the terminal's user, so that two VMs are joined whichever starts
 * first.  A link without a holder is stale, and is replaced, never followed.
 * When the maker goes, the other VM makes the pair anew for its own side.
 *
 * The names live in /dev where we may write there, else in the run directory
 * ($BHYVE_RUN, $XDG_RUNTIME_DIR/bhyve); another directory may be given.
 */
#include "backend/char/chardev_impl.h"
#include "backend/char/nmdm_pair.h"

#include "base/util.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

/* A holder answers at once; one that is stopped must not stop the VM. */
#define ANSWER_MS 1000

struct nmdm {
        struct chardev *dev;
        struct nmdm_pair pair;
        unsigned side;
        int lock_fd;   /* held: the pair is ours */
        int holder_fd; /* the connection to the pair's holder */
        struct loop_fd *holder_watch;
        int fd;        /* the other side's master, or our side's terminal; -1: neither yet */
        bool master;   /* fd is the master */
        bool seen;     /* the last look found the terminal open */
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
set_names(struct nmdm *nmdm, const char *path)
{
        char pair[PATH_MAX];
        size_t len = strlen(path);

        if (len >= sizeof(pair))
                return -ENAMETOOLONG;
        snprintf(pair, sizeof(pair), "%.*s", (int)len - 1, path);
        nmdm->side = path[len - 1] == 'B';
        return nmdm_pair_init(&nmdm->pair, pair);
}

static int
make_pair(struct nmdm *nmdm)
{
        nmdm_remove_link(nmdm->pair.name[nmdm->side]);
        nmdm->master = true;
        return nmdm_make_terminal(&nmdm->pair, !nmdm->side, &nmdm->fd);
}

/* The other VM made the pair: our name is a link to its terminal. */
static int
join_pair(struct nmdm *nmdm)
{
        int error;

        nmdm->master = false;
        nmdm->fd = open(nmdm->pair.name[nmdm->side], O_RDWR | O_NOCTTY | O_CLOEXEC | O_NONBLOCK);
        if (nmdm->fd < 0)
                return errno == ENOENT ? -EBUSY : -errno;
        error = isatty(nmdm->fd) ? nmdm_make_raw(nmdm->fd) : -ENOTTY;
        return error ? error : chardev_attach(nmdm->dev, nmdm->fd, nmdm->fd);
}

static void
end_pair(struct nmdm *nmdm)
{
        if (nmdm->lock_fd >= 0) {
                if (nmdm->fd >= 0)
                        nmdm_remove_link(nmdm->pair.name[!nmdm->side]);
                nmdm_unlock(&nmdm->pair, nmdm->lock_fd);
        }
        loop_fd_remove(nmdm->holder_watch);
        nmdm->holder_watch = NULL;
        if (nmdm->holder_fd >= 0)
                close(nmdm->holder_fd);
        if (nmdm->fd >= 0)
                close(nmdm->fd);
        nmdm->lock_fd = nmdm->holder_fd = nmdm->fd = -1;
}

static void
look_again(struct nmdm *nmdm)
{
        loop_timer_arm(nmdm->look, loop_now_ns() + NMDM_LOOK_NS);
}

static void
holder_gone(void *ctx, unsigned events)
{
        struct nmdm *nmdm = ctx;

        chardev_detach(nmdm->dev);
        end_pair(nmdm);
        look_again(nmdm);
}

/* The holder's answer and, with NMDM_MASTER, a descriptor in *ret_fd. */
static int
receive_answer(int socket, char *ret_answer, int *ret_fd)
{
        union {
                struct cmsghdr align;
                char space[CMSG_SPACE(sizeof(int))];
        } control;
        struct iovec iov = {.iov_base = ret_answer, .iov_len = 1};
        struct msghdr message = {
            .msg_iov = &iov, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof(control)};
        struct pollfd poll_fd = {.fd = socket, .events = POLLIN};
        struct cmsghdr *header;
        ssize_t n;

        if (poll(&poll_fd, 1, ANSWER_MS) <= 0)
                return -ETIMEDOUT;
        n = recvmsg(socket, &message, MSG_CMSG_CLOEXEC);
        if (n != 1)
                return n < 0 ? -errno : -ECONNRESET;
        header = CMSG_FIRSTHDR(&message);
        if (header && header->cmsg_type == SCM_RIGHTS)
                memcpy(ret_fd, CMSG_DATA(header), sizeof(*ret_fd));
        return *ret_answer == NMDM_MASTER && *ret_fd < 0 ? -EPROTO : 0;
}

static int
connect_to_holder(struct nmdm *nmdm)
{
        nmdm->holder_fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
        if (nmdm->holder_fd < 0 || connect(nmdm->holder_fd, (const struct sockaddr *)&nmdm->pair.socket,
                sizeof(nmdm->pair.socket)))
                return -errno;
        return 0;
}

static int
ask_holder(struct nmdm *nmdm)
{
        char answer = 'A' + (int)nmdm->side;
        int error;

        if (send(nmdm->holder_fd, &answer, 1, MSG_NOSIGNAL) != 1)
                return -errno;
        error = receive_answer(nmdm->holder_fd, &answer, &nmdm->fd);
        if (!error)
                error = loop_fd_add(nmdm->dev->loop, nmdm->holder_fd, 0, holder_gone, nmdm, &nmdm->holder_watch);
        if (error)
                return error;
        nmdm->master = answer == NMDM_MASTER;
        if (answer == NMDM_JOIN)
                return join_pair(nmdm);
        return nmdm->master ? 0 : -EBUSY;
}

static int
begin(struct nmdm *nmdm)
{
        int error = nmdm_lock(&nmdm->pair, &nmdm->lock_fd);

        if (!error)
                error = make_pair(nmdm);
        else if (error == -EWOULDBLOCK)
                error = connect_to_holder(nmdm) ? join_pair(nmdm) : ask_holder(nmdm);
        if (error)
                end_pair(nmdm);
        else if (nmdm->master)
                look_again(nmdm);
        return error;
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
        open_now = nmdm_terminal_is_open(nmdm->fd);
        if (open_now && nmdm->seen && !chardev_attach(nmdm->dev, nmdm->fd, nmdm->fd)) {
                nmdm->seen = false;
                return;
        }
        nmdm->seen = open_now;
        look_again(nmdm);
}

/* The other side closed.  Where it had the pair, that becomes our part; where nobody else could open it, all begins anew. */
static void
nmdm_hangup(struct chardev *dev)
{
        struct nmdm *nmdm = dev->state;

        nmdm->seen = false;
        if (!nmdm->master || nmdm_free_terminal(nmdm->fd) == -EBUSY)
                end_pair(nmdm);
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
        nmdm->fd = nmdm->lock_fd = nmdm->holder_fd = -1;
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
        end_pair(nmdm);
        free(nmdm);
}

const struct chardev_kind chardev_nmdm = {
    .open = nmdm_open,
    .close = nmdm_close,
    .hangup = nmdm_hangup,
    .has_carrier = true,
};
