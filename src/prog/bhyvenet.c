/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * bhyvenet: the networks of the guests, from the rc.conf variables that
 * FreeBSD people know.  This file reads the command line, says what is wrong
 * with net.conf, and calls src/net; see bhyvenet(8).
 */
#include "base/log.h"
#include "base/util.h"
#include "config/netconf.h"
#include "net/change.h"
#include "net/check.h"
#include "net/plan.h"
#include "net/run.h"
#include "net/status.h"

#include <errno.h>
#include <getopt.h>
#include <limits.h>
#include <linux/capability.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#define EXIT_USAGE 2
#define EXIT_DOWN  3

struct options {
        const char *file;
        bool json;
        bool verbose;
        char **operands; /* behind the verb */
};

static int
usage(FILE *out)
{
        fprintf(out, "usage: bhyvenet [-v] [-f file] up\n"
                     "       bhyvenet [-v] down\n"
                     "       bhyvenet [-f file] check\n"
                     "       bhyvenet [-f file] status [--json]\n"
                     "       bhyvenet [-v] addm bridge interface\n"
                     "       bhyvenet [-v] deletem bridge interface\n");
        return EXIT_USAGE;
}

/* True where links may be changed: CAP_NET_ADMIN is effective. */
static bool
may_change_links(void)
{
        struct __user_cap_header_struct header = { .version = _LINUX_CAPABILITY_VERSION_3 };
        struct __user_cap_data_struct data[_LINUX_CAPABILITY_U32S_3] = { 0 };

        return syscall(SYS_capget, &header, data) == 0 &&
               (data[0].effective & (1u << CAP_NET_ADMIN)) != 0;
}

static int
open_journal(struct net *net, bool write_it)
{
        char path[PATH_MAX];
        int error = journal_open(write_it, &net->journal);

        netconf_state_path("", path);
        if (error == -EXDEV)
                log_error("%s belongs to another network namespace: set BHYVE_RUN to another "
                          "directory, or run there",
                    path);
        else if (error == -EACCES || error == -EPERM)
                log_error("%s: not allowed; run as root", path);
        else if (error != 0)
                log_error("%s: %s", path, strerror(-error));
        return error;
}

static int
net_open(struct net *net, bool write_it)
{
        int error;

        if (write_it && !may_change_links()) {
                log_error("not allowed to change networks: run as root (CAP_NET_ADMIN is needed)");
                return -EPERM;
        }
        error = netlink_open(&net->nl);
        if (error != 0) {
                log_error("cannot talk to the kernel's rtnetlink: %s", strerror(-error));
                return error;
        }
        return open_journal(net, write_it);
}

static void
net_finish(struct net *net)
{
        journal_close(net->journal);
        netlink_close(net->nl);
        netconf_destroy(net->conf);
}

static int
load_conf(const char *path, struct netconf **ret_conf)
{
        int error = netconf_load(path, ret_conf);

        if (error == -ENOENT)
                log_error("%s does not exist; bhyvenet(8) shows what to write there", path);
        else if (error != 0)
                log_error("%s: %s", path, error == -EFBIG ? "too large" : strerror(-error));
        return error;
}

/* FILE:LINE: error: text, as compilers print it. */
static void
print_notes(const char *path, const struct netconf *conf)
{
        for (size_t i = 0; i < conf->note_count; i++) {
                const struct netconf_note *note = &conf->notes[i];

                fprintf(stderr, "%s:", path);
                if (note->line != 0)
                        fprintf(stderr, "%u:", note->line);
                fprintf(stderr, " %s: %s\n", note->error ? "error" : "warning", note->text);
        }
}

/* Loads, checks against the host and prints what is wrong; -EINVAL for errors. */
static int
load_and_check(struct net *net, const char *path)
{
        int error = load_conf(path, &net->conf);

        if (error != 0)
                return error;
        if (net->conf->error_count == 0)
                error = check_host(net);
        if (error != 0)
                log_error("cannot look at this host's links: %s", strerror(-error));
        print_notes(path, net->conf);
        return error != 0 ? error : net->conf->error_count > 0 ? -EINVAL : 0;
}

/* Keeps the file in force where bhyve finds it. */
static int
keep_conf(const char *path)
{
        const size_t bytes = (size_t)MIB + 2;
        char *text = malloc(bytes);
        char kept[PATH_MAX];
        int error = text != NULL ? file_read(path, text, bytes) : -ENOMEM;

        netconf_state_path("net.conf", kept);
        if (error == 0)
                error = file_replace(kept, text);
        if (error != 0)
                log_error("%s: %s", kept, strerror(-error));
        free(text);
        return error;
}

static void
forget_conf(void)
{
        char kept[PATH_MAX];

        netconf_state_path("net.conf", kept);
        (void)unlink(kept);
}

static int
verb_up(struct net *net, const struct options *options)
{
        int error = net_open(net, true);

        if (error == 0)
                error = load_and_check(net, options->file);
        if (error == 0)
                error = plan_up(net);
        if (error == 0)
                error = keep_conf(options->file);
        return error == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}

static int
verb_down(struct net *net, const struct options *options)
{
        int error = net_open(net, true);

        if (error == 0)
                error = plan_down(net);
        if (error == 0)
                forget_conf();
        return error == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}

static int
verb_check(struct net *net, const struct options *options)
{
        int error = net_open(net, false);

        if (error == 0)
                error = load_and_check(net, options->file);
        if (error == 0)
                printf("%s: no errors\n", options->file);
        return error == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}

/* The file in force if the networks are up, else the one that would be. */
static int
load_for_status(struct net *net, const struct options *options)
{
        char kept[PATH_MAX];

        netconf_state_path("net.conf", kept);
        if (journal_count(net->journal) > 0 && netconf_load(kept, &net->conf) == 0)
                return 0;
        if (netconf_load(options->file, &net->conf) == 0)
                return 0;
        return netconf_parse("", 0, &net->conf);
}

static int
verb_status(struct net *net, const struct options *options)
{
        int error = net_open(net, false);

        if (error == 0)
                error = load_for_status(net, options);
        if (error == 0)
                error = status_print(net, options->json, stdout);
        if (error != 0)
                return EXIT_FAILURE;
        return status_state(net) == STATUS_UP ? EXIT_SUCCESS : EXIT_DOWN;
}

static int
verb_addm(struct net *net, const struct options *options)
{
        int error = net_open(net, true);

        if (error == 0)
                error = plan_add_member(net, options->operands[0], options->operands[1]);
        return error == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}

static int
verb_deletem(struct net *net, const struct options *options)
{
        int error = net_open(net, true);

        if (error == 0)
                error = plan_delete_member(net, options->operands[0], options->operands[1]);
        return error == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}

static const struct verb {
        const char *name;
        int operands;
        int (*fn)(struct net *net, const struct options *options);
} verbs[] = {
        { "up", 0, verb_up },
        { "down", 0, verb_down },
        { "check", 0, verb_check },
        { "status", 0, verb_status },
        { "addm", 2, verb_addm },
        { "deletem", 2, verb_deletem },
};

static const struct verb *
verb_find(const char *name)
{
        for (size_t i = 0; i < ARRAY_LEN(verbs); i++)
                if (strcmp(verbs[i].name, name) == 0)
                        return &verbs[i];
        return NULL;
}

/* The state directory must mean the same to the process that keeps dnsmasq running. */
static void
make_run_absolute(void)
{
        const char *run = getenv("BHYVE_RUN");
        char here[PATH_MAX], path[2 * PATH_MAX];

        if (run == NULL || run[0] == '\0' || run[0] == '/' || getcwd(here, sizeof(here)) == NULL)
                return;
        snprintf(path, sizeof(path), "%s/%s", here, run);
        setenv("BHYVE_RUN", path, 1);
}

/* 0, or the exit code plus one where the program is to end. */
static int
parse_options(int argc, char **argv, struct options *options)
{
        static const struct option longs[] = { { "json", no_argument, NULL, 'j' },
                { "file", required_argument, NULL, 'f' }, { "verbose", no_argument, NULL, 'v' },
                { "help", no_argument, NULL, 'h' }, { 0 } };
        int c;

        while ((c = getopt_long(argc, argv, "f:hv", longs, NULL)) != -1) {
                switch (c) {
                case 'f':
                        options->file = optarg;
                        break;
                case 'j':
                        options->json = true;
                        break;
                case 'v':
                        options->verbose = true;
                        break;
                case 'h':
                        usage(stdout);
                        return EXIT_SUCCESS + 1;
                default:
                        return usage(stderr) + 1;
                }
        }
        return 0;
}

int
main(int argc, char **argv)
{
        struct options options = { .file = netconf_path() };
        struct net net = { 0 };
        const struct verb *verb;
        int status;

        log_set_program("bhyvenet");
        umask(022);
        make_run_absolute();
        status = parse_options(argc, argv, &options);
        if (status != 0)
                return status - 1;
        verb = optind < argc ? verb_find(argv[optind]) : NULL;
        if (verb == NULL || argc - optind - 1 != verb->operands)
                return usage(stderr);
        options.operands = &argv[optind + 1];
        net.verbose = options.verbose;
        status = verb->fn(&net, &options);
        net_finish(&net);
        return status;
}
