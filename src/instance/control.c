/* SPDX-License-Identifier: BSD-2-Clause */
#include "instance/control.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#define CLIENTS_MAX 8

struct control_client {
        struct control *control;
        int fd; /* -1: free */
        struct loop_fd *watch;
        char line[CONTROL_LINE_MAX];
        size_t len;
};

struct control {
        struct loop *loop;
        int fd;
        int dir;
        struct loop_fd *watch;
        control_fn *fn;
        void *ctx;
        struct control_client client[CLIENTS_MAX];
};

/* A socket's path is short; going through the directory's descriptor makes it so. */
static void
control_address(int dir_fd, struct sockaddr_un *ret_address)
{
        *ret_address = (struct sockaddr_un){ .sun_family = AF_UNIX };
        snprintf(ret_address->sun_path, sizeof(ret_address->sun_path), "/proc/self/fd/%d/control", dir_fd);
}

static void
client_close(struct control_client *client)
{
        if (client->fd < 0)
                return;
        loop_fd_remove(client->watch);
        close(client->fd);
        client->fd = -1;
}

/* The answer is bounded and the peer is ours: wait a moment rather than keep a queue. */
static void
client_send(struct control_client *client, const char *text, size_t len)
{
        struct timeval limit = { .tv_sec = 1 };

        (void)setsockopt(client->fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof(limit));
        while (len != 0) {
                ssize_t n = send(client->fd, text, len, MSG_NOSIGNAL);

                if (n < 0 && errno == EINTR)
                        continue;
                if (n <= 0)
                        return;
                text += n;
                len -= (size_t)n;
        }
}

static void
client_answer(struct control_client *client)
{
        struct control *control = client->control;
        struct config_error err = { "" };
        char *text = NULL;
        size_t len = 0;
        FILE *out = open_memstream(&text, &len);

        if (out == NULL)
                return;
        if (control->fn(control->ctx, client->line, out, &err) == 0)
                fprintf(out, "ok\n");
        else
                fprintf(out, "error %s\n", err.text);
        if (fclose(out) == 0)
                client_send(client, text, len);
        free(text);
}

static void
client_ready(void *ctx, unsigned events)
{
        struct control_client *client = ctx;
        ssize_t n = recv(client->fd, client->line + client->len, sizeof(client->line) - 1 - client->len,
            MSG_DONTWAIT);
        char *end;

        if (n < 0 && (errno == EAGAIN || errno == EINTR))
                return;
        if (n > 0) {
                client->len += (size_t)n;
                client->line[client->len] = '\0';
                end = strchr(client->line, '\n');
                if (end == NULL && client->len < sizeof(client->line) - 1)
                        return;
                if (end != NULL) {
                        *end = '\0';
                        client_answer(client);
                }
        }
        client_close(client);
}

static void
control_accept(void *ctx, unsigned events)
{
        struct control *control = ctx;
        int fd = accept4(control->fd, NULL, NULL, SOCK_CLOEXEC);

        if (fd < 0)
                return;
        for (unsigned i = 0; i < CLIENTS_MAX; i++) {
                struct control_client *client = &control->client[i];

                if (client->fd >= 0)
                        continue;
                client->len = 0;
                client->fd = fd;
                if (loop_fd_add(control->loop, fd, EPOLLIN, client_ready, client, &client->watch) == 0)
                        return;
                client->fd = -1;
                break;
        }
        close(fd);
}

int
control_listen(struct instance *instance, struct loop *loop, control_fn *fn, void *ctx,
    struct control **ret_control, struct config_error *err)
{
        struct control *control = calloc(1, sizeof(*control));
        struct sockaddr_un address;
        int error = 0;

        if (control == NULL)
                return -ENOMEM;
        control->loop = loop;
        control->fn = fn;
        control->ctx = ctx;
        control->dir = instance_dir_fd(instance);
        for (unsigned i = 0; i < CLIENTS_MAX; i++)
                control->client[i] = (struct control_client){ .control = control, .fd = -1 };
        control->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
        control_address(control->dir, &address);
        /* The lock is ours: a socket that stands there belongs to a dead process. */
        (void)unlinkat(control->dir, "control", 0);
        if (control->fd < 0 || bind(control->fd, (struct sockaddr *)&address, sizeof(address)) != 0 ||
            listen(control->fd, CLIENTS_MAX) != 0)
                error = -errno;
        if (error == 0)
                error = loop_fd_add(loop, control->fd, EPOLLIN, control_accept, control, &control->watch);
        if (error != 0) {
                config_fail(err, "VM %s: control socket: %s", instance_name(instance), strerror(-error));
                control_close(control);
                return error;
        }
        *ret_control = control;
        return 0;
}

void
control_close(struct control *control)
{
        if (control == NULL)
                return;
        for (unsigned i = 0; i < CLIENTS_MAX; i++)
                client_close(&control->client[i]);
        if (control->watch != NULL)
                loop_fd_remove(control->watch);
        if (control->fd >= 0) {
                close(control->fd);
                (void)unlinkat(control->dir, "control", 0);
        }
        free(control);
}

static int
read_answer(FILE *stream, FILE *out, const char *name, struct config_error *err)
{
        char *line = NULL;
        size_t size = 0;
        int result = -EPIPE;

        while (result == -EPIPE && getline(&line, &size, stream) > 0) {
                line[strcspn(line, "\n")] = '\0';
                if (strcmp(line, "ok") == 0) {
                        result = 0;
                } else if (strncmp(line, "error ", 6) == 0) {
                        config_fail(err, "VM %s: %s", name, line + 6);
                        result = -EPROTO;
                } else {
                        fprintf(out, "%s\n", line);
                }
        }
        if (result == -EPIPE)
                config_fail(err, "VM %s ended before it answered", name);
        free(line);
        return result;
}

int
control_request(struct instance *instance, const char *line, FILE *out, struct config_error *err)
{
        const char *name = instance_name(instance);
        struct sockaddr_un address;
        FILE *stream;
        int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0), error;

        control_address(instance_dir_fd(instance), &address);
        if (fd < 0 || connect(fd, (struct sockaddr *)&address, sizeof(address)) != 0) {
                error = errno == ENOENT ? -ECONNREFUSED : -errno;
                config_fail(err, "VM %s is not running", name);
                if (fd >= 0)
                        close(fd);
                return error;
        }
        stream = fdopen(fd, "r+");
        if (stream == NULL) {
                close(fd);
                return -ENOMEM;
        }
        fprintf(stream, "%s\n", line);
        error = fflush(stream) != 0 ? -EPIPE : read_answer(stream, out, name, err);
        fclose(stream);
        return error;
}
