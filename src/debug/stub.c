/* SPDX-License-Identifier: BSD-2-Clause */
/* The stub's connection, and stopping and going on. */
#include "base/log.h"
#include "base/util.h"
#include "debug/private.h"
#include "debug/regs.h"

#include <errno.h>
#include <netdb.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#define INPUT_CHUNK 65536

static const struct stub_ops *
ops(const struct stub *stub)
{
        return stub->config.ops;
}

/* ---- output ---- */

static void
flush_out(struct stub *stub)
{
        size_t sent = 0;

        while (sent < stub->out_len) {
                ssize_t n = send(stub->fd, stub->out + sent, stub->out_len - sent, MSG_NOSIGNAL | MSG_DONTWAIT);

                if (n < 0 && errno == EINTR)
                        continue;
                if (n < 0 && errno != EAGAIN)
                        stub->drop = true;
                if (n <= 0)
                        break;
                sent += (size_t)n;
        }
        memmove(stub->out, stub->out + sent, stub->out_len - sent);
        stub->out_len -= sent;
        loop_fd_modify(stub->watch, stub->out_len != 0 ? EPOLLIN | EPOLLOUT : EPOLLIN);
}

static void
send_bytes(struct stub *stub, const void *bytes, size_t len)
{
        if (stub->fd < 0 || stub->drop)
                return;
        if (stub->out_len + len > STUB_OUT_MAX) {
                log_warn("debugger: the client reads nothing: its connection is closed");
                stub->drop = true;
                return;
        }
        memcpy(stub->out + stub->out_len, bytes, len);
        stub->out_len += len;
        flush_out(stub);
}

static void
send_reply(struct stub *stub, struct packet_writer *w)
{
        packet_end(w);
        stub->reply_len = w->len;
        send_bytes(stub, w->data, w->len);
}

static void
report_stop(struct stub *stub)
{
        struct packet_writer w;

        packet_begin(&w, stub->reply, sizeof(stub->reply));
        stub_put_stop(stub, &w);
        send_reply(stub, &w);
}

/* ---- state ---- */

struct x86_state *
stub_state(struct stub *stub)
{
        if (stub->st_vcpu != (int)stub->vcpu) {
                ops(stub)->get_state(stub->config.ctx, stub->vcpu, stub->st);
                stub->st_vcpu = (int)stub->vcpu;
        }
        return stub->st;
}

int
stub_state_changed(struct stub *stub)
{
        int error = ops(stub)->set_state(stub->config.ctx, stub->vcpu, stub->st);

        if (error != 0)
                stub->st_vcpu = -1;
        return error;
}

static void
put_register(struct stub *stub, struct packet_writer *w, unsigned reg)
{
        uint8_t bytes[DEBUG_REG_BYTES_MAX];
        unsigned len = debug_reg_read(stub_state(stub), reg, bytes);

        packet_printf(w, "%02x:", reg);
        packet_put_hex(w, bytes, len);
        packet_put(w, ";");
}

static bool
is_soft_point(const struct stub *stub, gva_t address)
{
        for (size_t i = 0; i < stub->point_count; i++)
                if (stub->points[i].kind == CPU_BP_EXEC && stub->points[i].address == address && stub->soft_points[i])
                        return true;
        return false;
}

static const char *
watch_word(const struct stub *stub, gva_t address)
{
        for (size_t i = 0; i < stub->point_count; i++) {
                if (stub->points[i].address != address)
                        continue;
                if (stub->points[i].kind == CPU_BP_READ)
                        return "rwatch";
                if (stub->points[i].kind == CPU_BP_ACCESS)
                        return "awatch";
        }
        return "watch";
}

void
stub_put_stop(struct stub *stub, struct packet_writer *w)
{
        int signal = !stub->stop_known ? 2 : stub->stop.kind == STUB_STOP_FAULT ? 11 : 5;

        packet_printf(w, "T%02xthread:%x;", (unsigned)signal, stub->stop_vcpu + 1);
        if (stub->stop_known && stub->stop.kind == STUB_STOP_BREAK)
                packet_put(w, is_soft_point(stub, stub->stop.address) ? "swbreak:;" : "hwbreak:;");
        if (stub->stop_known && stub->stop.kind == STUB_STOP_WATCH)
                packet_printf(w, "%s:%llx;", watch_word(stub, stub->stop.address),
                    (unsigned long long)stub->stop.address);
        put_register(stub, w, DEBUG_REG_RIP);
        put_register(stub, w, DEBUG_REG_RBP);
        put_register(stub, w, DEBUG_REG_RSP);
}

static void
stop_guest(struct stub *stub)
{
        if (stub->stopped)
                return;
        ops(stub)->stop(stub->config.ctx);
        stub->stopped = true;
        stub->st_vcpu = -1;
}

static void
report_stop_of(struct stub *stub, unsigned vcpu, const struct stub_stop *stop)
{
        stub->stop_known = stop != NULL;
        if (stop != NULL)
                stub->stop = *stop;
        stub->vcpu = stub->step_vcpu = stub->stop_vcpu = vcpu;
        report_stop(stub);
}

void
stub_interrupt(struct stub *stub)
{
        if (stub->stopped)
                return;
        stop_guest(stub);
        report_stop_of(stub, stub->vcpu, NULL);
}

void
stub_vcpu_stopped(struct stub *stub, unsigned vcpu, const struct stub_stop *stop)
{
        bool first = !stub->stopped;
        bool fault = stop->kind == STUB_STOP_FAULT;

        if (stub->fd < 0 && !fault) {
                if (stub->trapped)
                        return;
                stop_guest(stub); /* the client vanished: go on */
                stub_release(stub);
                return;
        }
        stop_guest(stub);
        stub->trapped = stub->trapped || fault;
        if (fault && stub->fd < 0)
                log_error("virtual CPU %u is stopped for a debugger; attach one to see why, or end the VM", vcpu);
        if (first) {
                report_stop_of(stub, vcpu, stop);
                return;
        }
        stub->v[vcpu].pending = *stop;
        stub->v[vcpu].has_pending = true;
}

/* Whether what a vCPU stopped for earlier still matters. */
static bool
pending_counts(const struct stub *stub, const struct stub_stop *stop)
{
        if (stop->kind == STUB_STOP_FAULT)
                return true;
        for (size_t i = 0; i < stub->point_count; i++)
                if (stub->points[i].address == stop->address)
                        return stop->kind != STUB_STOP_STEP;
        return false;
}

static bool
report_pending(struct stub *stub, const enum stub_action *action)
{
        for (unsigned i = 0; i < stub->config.vcpus; i++) {
                struct stub_vcpu *v = &stub->v[i];

                if (!v->has_pending || action[i] == STUB_HOLD)
                        continue;
                v->has_pending = false;
                if (pending_counts(stub, &v->pending)) {
                        report_stop_of(stub, i, &v->pending);
                        return true;
                }
        }
        return false;
}

static void
tell_engine(struct stub *stub, const enum stub_action *action)
{
        for (unsigned i = 0; i < stub->config.vcpus; i++) {
                bool step = action[i] == STUB_STEP;
                const struct cpu_debug debug = { .single_step = step,
                        .step_holds_irqs = !stub->step_irqs,
                        .breakpoints = stub->points,
                        .breakpoint_count = stub->point_count };

                if (!stub->points_dirty && stub->v[i].stepping == step)
                        continue;
                if (ops(stub)->set_debug(stub->config.ctx, i, &debug) != 0)
                        log_warn("debugger: the CPU engine has no room for %zu breakpoints", stub->point_count);
                stub->v[i].stepping = step;
        }
        stub->points_dirty = false;
}

void
stub_go(struct stub *stub, const enum stub_action *action)
{
        bool run[STUB_VCPUS_MAX];

        if (report_pending(stub, action))
                return;
        tell_engine(stub, action);
        for (unsigned i = 0; i < stub->config.vcpus; i++)
                run[i] = action[i] != STUB_HOLD;
        stub->stopped = stub->trapped = false;
        stub->st_vcpu = -1;
        ops(stub)->resume(stub->config.ctx, run);
}

void
stub_release(struct stub *stub)
{
        enum stub_action all[STUB_VCPUS_MAX];

        for (unsigned i = 0; i < STUB_VCPUS_MAX; i++) {
                all[i] = STUB_CONTINUE;
                stub->v[i].has_pending = false;
        }
        if (stub->point_count != 0)
                stub->points_dirty = true;
        stub->point_count = 0;
        stub_go(stub, all);
}

/* ---- connection ---- */

static void
client_close(struct stub *stub)
{
        loop_fd_remove(stub->watch);
        close(stub->fd);
        stub->fd = -1;
        stub->watch = NULL;
        stub->out_len = 0;
        log_info("debugger: the client is gone");
        if (stub->trapped)
                return; /* the last state waits for the next */
        stop_guest(stub);
        stub_release(stub);
}

static void
handle_data(struct stub *stub)
{
        struct packet_writer w;
        bool ack = !stub->no_ack;

        if (ack)
                send_bytes(stub, "+", 1);
        /* While the guest runs, nothing but an interrupt makes sense. */
        if (!stub->stopped && strcmp((const char *)stub->reader.data, "vCtrlC") != 0)
                return;
        packet_begin(&w, stub->reply, sizeof(stub->reply));
        if (stub_command(stub, &w))
                send_reply(stub, &w);
        if (strcmp((const char *)stub->reader.data, "vCtrlC") == 0)
                stub_interrupt(stub);
}

static void
handle_byte(struct stub *stub, uint8_t byte)
{
        switch (packet_feed(&stub->reader, byte)) {
        case PACKET_DATA:
                handle_data(stub);
                break;
        case PACKET_BAD:
                if (!stub->no_ack)
                        send_bytes(stub, "-", 1);
                break;
        case PACKET_NAK:
                if (!stub->no_ack && stub->reply_len != 0)
                        send_bytes(stub, stub->reply, stub->reply_len);
                break;
        case PACKET_BREAK:
                stub_interrupt(stub);
                break;
        case PACKET_NONE:
        case PACKET_ACK:
                break;
        }
}

static void
client_event(void *ctx, unsigned events)
{
        static const size_t chunk = INPUT_CHUNK;
        struct stub *stub = ctx;
        uint8_t *buf;
        ssize_t n;

        if (events & EPOLLOUT)
                flush_out(stub);
        if (events & ~(unsigned)EPOLLOUT) {
                buf = malloc(chunk);
                n = buf == NULL ? -1 : recv(stub->fd, buf, chunk, MSG_DONTWAIT);
                if (n == 0 || (n < 0 && errno != EAGAIN && errno != EINTR))
                        stub->drop = true;
                for (ssize_t i = 0; i < n && !stub->drop; i++)
                        handle_byte(stub, buf[i]);
                free(buf);
        }
        if (stub->drop)
                client_close(stub);
}

static void
accept_event(void *ctx, unsigned events)
{
        struct stub *stub = ctx;
        int fd = accept4(stub->listen_fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
        const int one = 1;

        if (fd < 0)
                return;
        if (stub->fd >= 0) {
                log_warn("debugger: a second client is turned away");
                close(fd);
                return;
        }
        (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
        if (loop_fd_add(stub->config.loop, fd, EPOLLIN, client_event, stub, &stub->watch) != 0) {
                close(fd);
                return;
        }
        stub->fd = fd;
        stub->no_ack = stub->drop = stub->physical = stub->step_irqs = false;
        stub->points_dirty = true;
        stub->reply_len = 0;
        packet_reader_reset(&stub->reader);
        log_info("debugger: a client is here; the guest is stopped");
        stop_guest(stub);
        if (!stub->trapped) {
                stub->vcpu = stub->step_vcpu = stub->stop_vcpu = 0;
                stub->stop_known = false;
        }
}

static int
listen_unix(const char *path)
{
        struct sockaddr_un sun = { .sun_family = AF_UNIX };
        int fd;

        if (strlen(path) >= sizeof(sun.sun_path))
                return -ENAMETOOLONG;
        memcpy(sun.sun_path, path, strlen(path) + 1);
        fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
        if (fd < 0)
                return -errno;
        /* A socket that nobody listens on any more is in nobody's way. */
        if (connect(fd, (struct sockaddr *)&sun, sizeof(sun)) != 0 && errno == ECONNREFUSED)
                (void)unlink(path);
        close(fd);
        fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
        if (fd < 0)
                return -errno;
        if (bind(fd, (struct sockaddr *)&sun, sizeof(sun)) != 0 || listen(fd, 4) != 0) {
                int error = -errno;

                close(fd);
                return error;
        }
        return fd;
}

static int
listen_tcp(const char *host, uint16_t port)
{
        const struct addrinfo hints = { .ai_socktype = SOCK_STREAM, .ai_flags = AI_PASSIVE | AI_NUMERICSERV };
        const int one = 1;
        struct addrinfo *info;
        char service[8];
        int fd, error = 0;

        snprintf(service, sizeof(service), "%u", port);
        if (strcmp(host, "localhost") == 0)
                host = "127.0.0.1";
        if (getaddrinfo(host, service, &hints, &info) != 0)
                return -EADDRNOTAVAIL;
        fd = socket(info->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
        if (fd < 0)
                error = -errno;
        if (error == 0)
                (void)setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
        if (error == 0 && (bind(fd, info->ai_addr, info->ai_addrlen) != 0 || listen(fd, 4) != 0))
                error = -errno;
        freeaddrinfo(info);
        if (error == 0)
                return fd;
        if (fd >= 0)
                close(fd);
        return error;
}

static int
start_listening(struct stub *stub, struct config_error *err)
{
        const struct stub_config *c = &stub->config;
        int error;

        stub->listen_fd = c->socket != NULL ? listen_unix(c->socket) : listen_tcp(c->address, c->port);
        if (stub->listen_fd < 0) {
                if (c->socket != NULL)
                        return config_fail(err, "-G %s: %s", c->socket, strerror(-stub->listen_fd));
                return config_fail(err, "-G %s:%u: %s", c->address, c->port, strerror(-stub->listen_fd));
        }
        error = loop_fd_add(c->loop, stub->listen_fd, EPOLLIN, accept_event, stub, &stub->listen_watch);
        return error != 0 ? config_fail(err, "-G: %s", strerror(-error)) : 0;
}

static int
make_target_xml(struct stub *stub)
{
        FILE *out = open_memstream(&stub->target_xml, &stub->target_xml_len);

        if (out == NULL)
                return -ENOMEM;
        debug_target_xml(out);
        return fclose(out) != 0 ? -ENOMEM : 0;
}

int
stub_create(const struct stub_config *config, struct stub **ret_stub, struct config_error *err)
{
        struct stub *stub = calloc(1, sizeof(*stub));
        int error;

        if (stub == NULL)
                return config_fail(err, "-G: out of memory");
        stub->config = *config;
        stub->listen_fd = stub->fd = stub->st_vcpu = -1;
        stub->out = malloc(STUB_OUT_MAX);
        stub->st = aligned_alloc(_Alignof(struct x86_state), sizeof(*stub->st));
        if (stub->out == NULL || stub->st == NULL || make_target_xml(stub) != 0)
                error = config_fail(err, "-G: out of memory");
        else
                error = start_listening(stub, err);
        if (error != 0) {
                stub_destroy(stub);
                return error;
        }
        if (config->wait)
                stop_guest(stub);
        *ret_stub = stub;
        return 0;
}

void
stub_destroy(struct stub *stub)
{
        struct packet_writer w;

        if (stub == NULL)
                return;
        if (stub->fd >= 0) {
                packet_begin(&w, stub->reply, sizeof(stub->reply));
                packet_put(&w, "W00");
                send_reply(stub, &w);
                loop_fd_remove(stub->watch);
                close(stub->fd);
        }
        if (stub->listen_watch != NULL)
                loop_fd_remove(stub->listen_watch);
        if (stub->listen_fd >= 0) {
                close(stub->listen_fd);
                if (stub->config.socket != NULL)
                        (void)unlink(stub->config.socket);
        }
        free(stub->out);
        free(stub->st);
        free(stub->points);
        free(stub->soft_points);
        free(stub->target_xml);
        free(stub);
}
