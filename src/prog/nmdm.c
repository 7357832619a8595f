/* SPDX-License-Identifier: BSD-2-Clause */
/* nmdm: holds pairs of null modem names, for programs that open them before a VM does, or without one. */
#include "backend/char/nmdm_holder.h"
#include "base/log.h"
#include "base/util.h"

#include <errno.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <unistd.h>

static int
usage(FILE *out)
{
        fprintf(out, "usage: nmdm [-h] name ...\n"
                     "  name  of a pair: nmdm0 stands for /dev/nmdm0A and /dev/nmdm0B\n"
                     "  -h    this help\n");
        return out == stdout ? EXIT_SUCCESS : 2;
}

static int
hold(struct loop *loop, const char *name, struct nmdm_holder **ret_holder)
{
        const char *last = strrchr(name, '/');
        char path[PATH_MAX];
        int n, error;

        last = last == NULL ? name : last + 1;
        if (strncmp(last, "nmdm", 4) != 0 || last[4] == '\0') {
                log_error("%s: a null modem's name begins with nmdm, as in nmdm0", name);
                return -EINVAL;
        }
        n = snprintf(path, sizeof(path), "%s%s", last == name ? "/dev/" : "", name);
        error = n < 0 || (size_t)n >= sizeof(path) ? -ENAMETOOLONG : nmdm_holder_create(loop, path, ret_holder);
        if (error != 0)
                log_error("%s: %s", name, strerror(-error));
        return error;
}

static void
signal_came(void *ctx, unsigned events)
{
        loop_stop(ctx);
}

/* The signals that end us, but for what the parent told us to ignore (nohup). */
static int
open_signals(void)
{
        static const int signals[] = { SIGINT, SIGTERM, SIGHUP };
        struct sigaction old;
        sigset_t set;

        sigemptyset(&set);
        for (size_t i = 0; i < ARRAY_LEN(signals); i++)
                if (sigaction(signals[i], NULL, &old) != 0 || old.sa_handler != SIG_IGN)
                        sigaddset(&set, signals[i]);
        sigprocmask(SIG_BLOCK, &set, NULL);
        return signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
}

/* Holds the @count pairs until a signal ends it. */
static int
run(struct loop *loop, char **names, int count)
{
        struct nmdm_holder **holders = calloc((size_t)count, sizeof(holders[0]));
        struct loop_fd *watch = NULL;
        int fd = open_signals();
        int error = holders == NULL ? -ENOMEM : fd < 0 ? -errno : 0;

        if (error == 0)
                error = loop_fd_add(loop, fd, EPOLLIN, signal_came, loop, &watch);
        for (int i = 0; i < count && error == 0; i++)
                error = hold(loop, names[i], &holders[i]);
        if (error == 0)
                loop_run(loop);
        for (int i = 0; i < count && holders != NULL; i++)
                nmdm_holder_destroy(holders[i]);
        loop_fd_remove(watch);
        if (fd >= 0)
                close(fd);
        free(holders);
        return error;
}

int
main(int argc, char **argv)
{
        pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
        struct loop *loop;
        int c, error;

        log_set_program("nmdm");
        while ((c = getopt(argc, argv, "h")) != -1)
                return usage(c == 'h' ? stdout : stderr);
        if (optind == argc)
                return usage(stderr);
        umask(077);
        error = loop_create(&lock, &loop);
        if (error != 0) {
                log_error("%s", strerror(-error));
                return EXIT_FAILURE;
        }
        error = run(loop, &argv[optind], argc - optind);
        loop_destroy(loop);
        return error == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
