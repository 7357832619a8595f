/* SPDX-License-Identifier: BSD-2-Clause */
#include "backend/char/nmdm_holder.h"

#include "backend/char/nmdm_pair.h"
#include "backend/char/nmdm_relay.h"
#include "base/log.h"
#include "base/util.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

/* How often we look whether who has the pair gave it up. */
#define RETRY_NS (200 * NSEC_PER_MSEC)

/* Connections at once: one for each side, and those that are being refused. */
#define CALLERS_MAX 8

struct caller {
        struct nmdm_holder *holder;
        int fd; /* -1: free */
        struct loop_fd *watch;
        int side;        /* that this VM is; -1: it has not said */
        bool has_master; /* of the other side's terminal */
};

struct nmdm_holder {
        struct loop *loop;
        struct nmdm_pair pair;
        int lock_fd; /* -1: somebody else has the pair */
        int master[2]; /* of each side's terminal; -1: none, and no link */
        int listen_fd;
        struct loop_fd *listen_watch;
        struct caller callers[CALLERS_MAX];
        struct nmdm_relay *relay; /* between two programs */
        struct loop_timer *timer; /* to take the pair, or to look for programs */
        bool open[2];             /* the last look found a program there */
        bool told;                /* that we wait */
};

static void
close_fd(int *fd)
{
        if (*fd >= 0)
                close(*fd);
        *fd = -1;
}

/* Hangs the side's terminal up and, if @anew, puts a new one in its place. */
static void
renew_terminal(struct nmdm_holder *h, unsigned side, bool anew)
{
        int old = h->master[side];
        int error;

        h->master[side] = -1;
        nmdm_remove_link(h->pair.name[side]);
        error = anew ? nmdm_make_terminal(&h->pair, side, &h->master[side]) : 0;
        if (error)
                log_error("%s: %s", h->pair.name[side], strerror(-error));
        close_fd(&old); /* last: who is hung up finds the new one */
}

/* ---- two programs ---- */

static void
look_again(void *ctx)
{
        struct nmdm_holder *h = ctx;

        loop_timer_arm(h->timer, loop_now_ns() + NMDM_LOOK_NS);
}

static bool
vm_is_there(const struct nmdm_holder *h)
{
        for (unsigned i = 0; i < CALLERS_MAX; i++)
                if (h->callers[i].has_master)
                        return true;
        return false;
}

static void
look_at_side(struct nmdm_holder *h, unsigned side)
{
        bool open = h->master[side] >= 0 && nmdm_terminal_is_open(h->master[side]);

        if (h->open[side] && !open && h->master[side] >= 0 && nmdm_free_terminal(h->master[side]) == -EBUSY)
                renew_terminal(h, side, true);
        h->open[side] = open;
}

/* Joins two programs; looks no more while they are joined, or while there is a VM. */
static void
look(struct nmdm_holder *h)
{
        bool both = h->open[0] && h->open[1];

        if (vm_is_there(h))
                return;
        look_at_side(h, 0);
        look_at_side(h, 1);
        if (!both || !h->open[0] || !h->open[1] || nmdm_relay_start(h->relay, h->master) != 0)
                look_again(h);
}

/* ---- VMs ---- */

static struct caller *
vm_of_side(struct nmdm_holder *h, int side)
{
        for (unsigned i = 0; i < CALLERS_MAX; i++)
                if (h->callers[i].fd >= 0 && h->callers[i].side == side)
                        return &h->callers[i];
        return NULL;
}

static void
end_caller(struct caller *c)
{
        struct nmdm_holder *h = c->holder;

        loop_fd_remove(c->watch);
        c->watch = NULL;
        close_fd(&c->fd);
        if (!c->has_master)
                return;
        c->has_master = false;
        renew_terminal(h, !c->side, true);
        renew_terminal(h, (unsigned)c->side, true);
        look_again(h);
}

static int
answer(const struct caller *c, char text, int fd)
{
        union {
                struct cmsghdr align;
                char space[CMSG_SPACE(sizeof(int))];
        } control = {0};
        struct iovec iov = {.iov_base = &text, .iov_len = 1};
        struct msghdr message = {.msg_iov = &iov, .msg_iovlen = 1};

        if (fd >= 0) {
                struct cmsghdr *header;

                message.msg_control = &control;
                message.msg_controllen = sizeof(control);
                header = CMSG_FIRSTHDR(&message);
                header->cmsg_level = SOL_SOCKET;
                header->cmsg_type = SCM_RIGHTS;
                header->cmsg_len = CMSG_LEN(sizeof(fd));
                memcpy(CMSG_DATA(header), &fd, sizeof(fd));
        }
        return sendmsg(c->fd, &message, MSG_NOSIGNAL | MSG_DONTWAIT) == 1 ? 0 : -errno;
}

/* A VM wants to be @side: its own name goes, for nobody would be at the other end. */
static int
give_side(struct caller *c, int side)
{
        struct nmdm_holder *h = c->holder;
        const struct caller *peer = vm_of_side(h, !side);
        int error;

        if (vm_of_side(h, side))
                return answer(c, NMDM_BUSY, -1);
        c->side = side;
        if (peer && peer->has_master)
                return answer(c, NMDM_JOIN, -1);
        if (h->master[!side] < 0)
                return -ENXIO;
        error = answer(c, NMDM_MASTER, h->master[!side]);
        if (error)
                return error;
        nmdm_relay_stop(h->relay);
        c->has_master = true;
        renew_terminal(h, (unsigned)side, false);
        return 0;
}

static void
caller_speaks(void *ctx, unsigned events)
{
        struct caller *c = ctx;
        char letter;
        ssize_t n = recv(c->fd, &letter, 1, MSG_DONTWAIT);

        if (n < 0 && (errno == EAGAIN || errno == EINTR))
                return;
        if (n != 1 || c->side >= 0 || (letter != 'A' && letter != 'B') || give_side(c, letter - 'A'))
                end_caller(c);
}

static void
caller_waits(void *ctx, unsigned events)
{
        struct nmdm_holder *h = ctx;
        int fd = accept4(h->listen_fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
        struct caller *c = NULL;

        for (unsigned i = 0; i < CALLERS_MAX && !c; i++)
                if (h->callers[i].fd < 0)
                        c = &h->callers[i];
        if (fd < 0)
                return;
        if (c && !loop_fd_add(h->loop, fd, EPOLLIN, caller_speaks, c, &c->watch)) {
                c->fd = fd;
                c->side = -1;
                c->has_master = false;
        } else {
                close(fd);
        }
}

/* ---- the pair ---- */

static int
listen_for_vms(struct nmdm_holder *h)
{
        unlink(h->pair.socket.sun_path);
        h->listen_fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
        if (h->listen_fd < 0 || bind(h->listen_fd, (const struct sockaddr *)&h->pair.socket, sizeof(h->pair.socket)) ||
            listen(h->listen_fd, CALLERS_MAX))
                return -errno;
        return loop_fd_add(h->loop, h->listen_fd, EPOLLIN, caller_waits, h, &h->listen_watch);
}

static void
give_up_pair(struct nmdm_holder *h)
{
        if (h->lock_fd < 0)
                return;
        loop_fd_remove(h->listen_watch);
        h->listen_watch = NULL;
        if (h->listen_fd >= 0)
                unlink(h->pair.socket.sun_path);
        close_fd(&h->listen_fd);
        for (unsigned i = 0; i < CALLERS_MAX; i++) {
                h->callers[i].has_master = false; /* no new terminals */
                end_caller(&h->callers[i]);
        }
        nmdm_relay_stop(h->relay);
        for (unsigned side = 0; side < 2; side++)
                renew_terminal(h, side, false);
        nmdm_unlock(&h->pair, h->lock_fd);
        h->lock_fd = -1;
}

static int
take_pair(struct nmdm_holder *h)
{
        int error = nmdm_lock(&h->pair, &h->lock_fd);

        if (error)
                return error;
        for (unsigned side = 0; side < 2 && !error; side++)
                error = nmdm_make_terminal(&h->pair, side, &h->master[side]);
        if (!error)
                error = listen_for_vms(h);
        if (error) {
                give_up_pair(h);
                return error;
        }
        log_info("%s, %s", h->pair.name[0], h->pair.name[1]);
        look_again(h);
        return 0;
}

static void
wait_for_pair(struct nmdm_holder *h, int error)
{
        loop_timer_arm(h->timer, loop_now_ns() + RETRY_NS);
        if (!h->told)
                log_warn("%s: %s", h->pair.name[0],
                    error == -EWOULDBLOCK ? "waiting until who has this pair gives it up" : strerror(-error));
        h->told = true;
}

static void
tick(void *ctx)
{
        struct nmdm_holder *h = ctx;
        int error;

        if (h->lock_fd >= 0) {
                look(h);
                return;
        }
        error = take_pair(h);
        if (error)
                wait_for_pair(h, error);
}

int
nmdm_holder_create(struct loop *loop, const char *path, struct nmdm_holder **ret_holder)
{
        struct nmdm_holder *h = calloc(1, sizeof(*h));
        int error;

        if (!h)
                return -ENOMEM;
        h->loop = loop;
        h->lock_fd = h->listen_fd = h->master[0] = h->master[1] = -1;
        for (unsigned i = 0; i < CALLERS_MAX; i++)
                h->callers[i] = (struct caller){.holder = h, .fd = -1, .side = -1};
        error = loop_timer_create(loop, tick, h, &h->timer);
        if (!error)
                error = nmdm_relay_create(loop, look_again, h, &h->relay);
        if (!error)
                error = nmdm_pair_init(&h->pair, path);
        if (!error)
                error = take_pair(h);
        if (error == -EWOULDBLOCK)
                wait_for_pair(h, error);
        else if (error) {
                nmdm_holder_destroy(h);
                return error;
        }
        *ret_holder = h;
        return 0;
}

void
nmdm_holder_destroy(struct nmdm_holder *holder)
{
        if (!holder)
                return;
        give_up_pair(holder);
        loop_timer_destroy(holder->timer);
        nmdm_relay_destroy(holder->relay);
        free(holder);
}
