/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Moves traffic between a guest and the host for `make bench`.
 *
 *      traffic serve                           on the host, until killed; says "ready"
 *      traffic up|down|out|in ADDRESS SECONDS  in the guest
 *
 * up and down move TCP to and from the host and print megabytes a second; out
 * and in send frames of 64 bytes (18 bytes of UDP) and print packets a second
 * that arrived.  Built static.  It checks no contents: tests do.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

enum { PORT_SINK = 7200, PORT_SOURCE = 7201, PORT_PACKETS = 7202 };
enum { PAYLOAD_BYTES = 18, CHUNK_BYTES = 65536 };

/* A datagram of one byte asks for the count so far, one of two bytes for a flood of so many seconds. */
enum { ASK_BYTES = 1, FLOOD_BYTES = 2 };

static double
now(void)
{
        struct timespec t;

        clock_gettime(CLOCK_MONOTONIC, &t);
        return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static struct sockaddr_in
address_of(const char *host, uint16_t port)
{
        struct sockaddr_in a = { .sin_family = AF_INET, .sin_port = htons(port) };

        a.sin_addr.s_addr = host == NULL ? htonl(INADDR_ANY) : inet_addr(host);
        return a;
}

static int
open_bound(int type, uint16_t port)
{
        struct sockaddr_in a = address_of(NULL, port);
        int fd = socket(AF_INET, type, 0), one = 1;

        setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
        if (bind(fd, (struct sockaddr *)&a, sizeof(a)) != 0 || (type == SOCK_STREAM && listen(fd, 4) != 0)) {
                perror("traffic");
                exit(1);
        }
        return fd;
}

static int
open_connected(int type, const char *host, uint16_t port)
{
        struct sockaddr_in a = address_of(host, port);
        int fd = socket(AF_INET, type, 0);

        if (connect(fd, (struct sockaddr *)&a, sizeof(a)) != 0) {
                perror("traffic");
                exit(1);
        }
        return fd;
}

static uint64_t
send_for(int fd, double seconds)
{
        static char buf[CHUNK_BYTES];
        double end = now() + seconds;
        uint64_t total = 0;
        ssize_t n;

        while (now() < end && (n = send(fd, buf, sizeof(buf), MSG_NOSIGNAL)) > 0)
                total += (uint64_t)n;
        return total;
}

static uint64_t
receive_for(int fd, double seconds)
{
        static char buf[4 * CHUNK_BYTES];
        double end = now() + seconds;
        uint64_t total = 0;
        ssize_t n;

        while (now() < end && (n = recv(fd, buf, sizeof(buf), 0)) > 0)
                total += (uint64_t)n;
        return total;
}

static void
set_timeout(int fd, long ms)
{
        struct timeval t = { .tv_sec = ms / 1000, .tv_usec = ms % 1000 * 1000 };

        setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &t, sizeof(t));
}

/* Packets that were sent, or the kernel's refusals left out. */
static uint64_t
flood(int fd, double seconds)
{
        char payload[PAYLOAD_BYTES] = { 0 };
        double end = now() + seconds;
        uint64_t total = 0;

        while (now() < end) {
                for (unsigned i = 0; i < 32; i++)
                        total += send(fd, payload, sizeof(payload), MSG_NOSIGNAL) == PAYLOAD_BYTES;
        }
        return total;
}

static void
serve_sink(void)
{
        int fd = open_bound(SOCK_STREAM, PORT_SINK);

        for (;;) {
                int peer = accept(fd, NULL, NULL);
                uint64_t total = receive_for(peer, 1e9);

                if (send(peer, &total, sizeof(total), MSG_NOSIGNAL) < 0)
                        perror("traffic");
                close(peer);
        }
}

static void
serve_source(void)
{
        int fd = open_bound(SOCK_STREAM, PORT_SOURCE);

        for (;;) {
                int peer = accept(fd, NULL, NULL);

                send_for(peer, 1e9);
                close(peer);
        }
}

static void
serve_packets(void)
{
        int fd = open_bound(SOCK_DGRAM, PORT_PACKETS);
        uint64_t count = 0;

        for (;;) {
                struct sockaddr_in peer;
                socklen_t len = sizeof(peer);
                unsigned char buf[64];
                ssize_t n = recvfrom(fd, buf, sizeof(buf), 0, (struct sockaddr *)&peer, &len);

                if (n == PAYLOAD_BYTES) {
                        count++;
                } else if (n == ASK_BYTES) {
                        sendto(fd, &count, sizeof(count), 0, (struct sockaddr *)&peer, len);
                } else if (n == FLOOD_BYTES) {
                        connect(fd, (struct sockaddr *)&peer, len);
                        flood(fd, buf[0]);
                        peer.sin_family = AF_UNSPEC;
                        connect(fd, (struct sockaddr *)&peer, len);
                }
        }
}

static int
serve(void)
{
        static void (*const servers[])(void) = { serve_sink, serve_source, serve_packets };

        for (unsigned i = 0; i < 3; i++) {
                if (fork() == 0)
                        servers[i]();
        }
        sleep(1);
        puts("ready");
        fflush(stdout);
        pause();
        return 0;
}

static double
run_up(const char *host, double seconds)
{
        int fd = open_connected(SOCK_STREAM, host, PORT_SINK);
        double start = now();
        uint64_t total = 0;

        send_for(fd, seconds);
        shutdown(fd, SHUT_WR);
        if (recv(fd, &total, sizeof(total), MSG_WAITALL) != sizeof(total))
                return 0;
        return (double)total / 1e6 / (now() - start);
}

static double
run_down(const char *host, double seconds)
{
        int fd = open_connected(SOCK_STREAM, host, PORT_SOURCE);
        double start = now();

        return (double)receive_for(fd, seconds) / 1e6 / (now() - start);
}

/* What the host has counted; asks again where question or answer is lost. */
static uint64_t
ask_count(int fd)
{
        uint64_t count = 0;

        set_timeout(fd, 500);
        for (unsigned i = 0; i < 10; i++) {
                if (send(fd, "", ASK_BYTES, 0) == ASK_BYTES && recv(fd, &count, sizeof(count), 0) == sizeof(count))
                        return count;
        }
        return 0;
}

static double
run_out(const char *host, double seconds)
{
        int fd = open_connected(SOCK_DGRAM, host, PORT_PACKETS);
        uint64_t before = ask_count(fd);
        double start = now(), took;

        flood(fd, seconds);
        took = now() - start;
        return (double)(ask_count(fd) - before) / took;
}

static double
run_in(const char *host, double seconds)
{
        int fd = open_connected(SOCK_DGRAM, host, PORT_PACKETS);
        unsigned char ask[FLOOD_BYTES] = { (unsigned char)seconds, 0 }, buf[64];
        uint64_t total = 0;
        double first = 0, last = 0;

        set_timeout(fd, 1500);
        if (send(fd, ask, sizeof(ask), 0) != FLOOD_BYTES)
                return 0;
        while (recv(fd, buf, sizeof(buf), 0) == PAYLOAD_BYTES) {
                last = now();
                if (total++ == 0)
                        first = last;
        }
        return last > first ? (double)total / (last - first) : 0;
}

int
main(int argc, char **argv)
{
        static const struct {
                const char *name;
                double (*run)(const char *host, double seconds);
        } modes[] = { { "up", run_up }, { "down", run_down }, { "out", run_out }, { "in", run_in } };

        signal(SIGPIPE, SIG_IGN);
        if (argc == 2 && strcmp(argv[1], "serve") == 0)
                return serve();
        for (unsigned i = 0; argc == 4 && i < sizeof(modes) / sizeof(modes[0]); i++) {
                if (strcmp(argv[1], modes[i].name) == 0) {
                        printf("traffic %s %.1f\n", argv[1], modes[i].run(argv[2], atof(argv[3])));
                        return 0;
                }
        }
        fprintf(stderr, "usage: traffic serve | up|down|out|in ADDRESS SECONDS\n");
        return 2;
}
