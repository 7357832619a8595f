/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Stands in for a guest's network card: opens a tap of the host as bhyve
 * does and passes frames between it and a tap of its own, "tap0", in another
 * network namespace.
 *
 *      tapwire TAP NAMESPACE [plain]
 *
 * Without "plain" both ends carry unfinished checksums and large segments,
 * as virtio-net does.  Says "ready" once frames pass; ends when killed.
 */
#include "backend/net/tap.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/if_tun.h>
#include <poll.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define FRAME_MAX (65536 + 64)
#define BATCH     64

static void
die(const char *what, int error)
{
        char text[256];

        printf("%s\n", tap_explain(what, error, text, sizeof(text)));
        exit(1);
}

static void
set_offloads(struct tap *tap)
{
        int error = tap_set_vnet_hdr_bytes(tap, 12);

        if (error == 0)
                error = tap_set_offload(tap, TUN_F_CSUM | TUN_F_TSO4 | TUN_F_TSO6);
        if (error != 0)
                die(tap->name, error);
}

static void
pass(int from, int to)
{
        static unsigned char frame[FRAME_MAX];
        struct pollfd room = { .fd = to, .events = POLLOUT };

        for (int i = 0; i < BATCH; i++) {
                ssize_t n = read(from, frame, sizeof(frame));

                if (n <= 0)
                        return;
                while (write(to, frame, (size_t)n) < 0 && errno == EAGAIN)
                        poll(&room, 1, 100);
        }
}

int
main(int argc, char **argv)
{
        unsigned flags = argc > 3 ? 0 : TAP_VNET_HDR;
        struct tap host, guest;
        struct pollfd fds[2];
        int ns, error;

        if (argc < 3)
                return 2;
        error = tap_open(argv[1], flags, &host);
        if (error != 0)
                die(argv[1], error);
        ns = open(argv[2], O_RDONLY | O_CLOEXEC);
        if (ns < 0 || setns(ns, CLONE_NEWNET) < 0)
                die(argv[2], -errno);
        error = tap_open_with("tap0", flags, NULL, &guest);
        if (error != 0)
                die("tap0", error);
        if (flags != 0) {
                set_offloads(&host);
                set_offloads(&guest);
        }
        printf("ready\n");
        fflush(stdout);
        for (;;) {
                fds[0] = (struct pollfd){ .fd = host.fd, .events = POLLIN };
                fds[1] = (struct pollfd){ .fd = guest.fd, .events = POLLIN };
                if (poll(fds, 2, -1) < 0 && errno != EINTR)
                        return 1;
                if ((fds[0].revents | fds[1].revents) & (POLLERR | POLLHUP | POLLNVAL))
                        return 1;
                pass(host.fd, guest.fd);
                pass(guest.fd, host.fd);
        }
}
