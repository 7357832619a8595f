/* SPDX-License-Identifier: BSD-2-Clause */
#include "backend/char/nmdm_relay.h"

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

/* Bytes under way in one direction, and how often they are filled up before others on the loop have their turn. */
#define BYTES_MAX 4096
#define TURNS_MAX 16

struct end {
        struct nmdm_relay *relay;
        int fd;
        struct loop_fd *watch; /* NULL: hung up, which would be reported without end */
        size_t at, len;        /* of what came from here and still has to go there */
        char bytes[BYTES_MAX];
};

struct nmdm_relay {
        struct loop *loop;
        loop_fn *ended;
        void *ctx;
        struct end end[2];
};

static void
pump(struct end *from, struct end *to)
{
        for (unsigned turn = 0; turn < TURNS_MAX || from->watch == NULL; turn++) {
                ssize_t n;

                if (from->at == from->len) {
                        n = read(from->fd, from->bytes, sizeof(from->bytes));
                        if (n <= 0)
                                return;
                        from->at = 0;
                        from->len = (size_t)n;
                }
                n = write(to->fd, from->bytes + from->at, from->len - from->at);
                if (n <= 0)
                        return;
                from->at += (size_t)n;
        }
}

static void
watch_end(struct end *end, const struct end *other)
{
        if (end->watch != NULL)
                loop_fd_modify(end->watch, (end->at == end->len ? EPOLLIN : 0u) | (other->at != other->len ? EPOLLOUT : 0u));
}

/* Whether nothing can come from @end any more that could go to @other. */
static bool
is_over(const struct end *end, const struct end *other)
{
        return end->watch == NULL && (end->at == end->len || other->watch == NULL);
}

static void
end_ready(void *ctx, unsigned events)
{
        struct end *end = ctx;
        struct nmdm_relay *relay = end->relay;
        struct end *other = &relay->end[end == &relay->end[0]];

        if (events & (EPOLLHUP | EPOLLERR)) {
                loop_fd_remove(end->watch);
                end->watch = NULL;
        }
        pump(end, other);
        pump(other, end);
        if (is_over(end, other) || is_over(other, end)) {
                nmdm_relay_stop(relay);
                relay->ended(relay->ctx);
                return;
        }
        watch_end(end, other);
        watch_end(other, end);
}

int
nmdm_relay_create(struct loop *loop, loop_fn *ended, void *ctx, struct nmdm_relay **ret_relay)
{
        struct nmdm_relay *relay = calloc(1, sizeof(*relay));

        if (relay == NULL)
                return -ENOMEM;
        relay->loop = loop;
        relay->ended = ended;
        relay->ctx = ctx;
        relay->end[0].relay = relay->end[1].relay = relay;
        *ret_relay = relay;
        return 0;
}

void
nmdm_relay_destroy(struct nmdm_relay *relay)
{
        if (relay == NULL)
                return;
        nmdm_relay_stop(relay);
        free(relay);
}

int
nmdm_relay_start(struct nmdm_relay *relay, const int master[2])
{
        int error = 0;

        for (unsigned side = 0; side < 2 && error == 0; side++) {
                struct end *end = &relay->end[side];

                end->fd = master[side];
                end->at = end->len = 0;
                error = loop_fd_add(relay->loop, end->fd, EPOLLIN, end_ready, end, &end->watch);
        }
        if (error != 0)
                nmdm_relay_stop(relay);
        return error;
}

void
nmdm_relay_stop(struct nmdm_relay *relay)
{
        for (unsigned side = 0; side < 2; side++) {
                loop_fd_remove(relay->end[side].watch);
                relay->end[side].watch = NULL;
        }
}
