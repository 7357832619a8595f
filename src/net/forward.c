/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Forwarding of IPv4 and IPv6, switched on for the whole host as
 * gateway_enable says, and off again with every setting as it was.
 *
 * Writing net.ipv4.ip_forward also writes the forwarding setting of each
 * interface, and net.ipv4.conf.all.accept_redirects (Linux
 * Documentation/networking/ip-sysctl.rst, ip_forward).  An IPv6 router
 * ignores router advertisements and drops the routes it has from them unless
 * accept_ra is 2 (same text, accept_ra), so interfaces that heed them are set
 * to 2 first: else the host would lose its own default route.
 *
 * The journal keeps the settings as "FILE=VALUE" under /proc/sys/net with
 * blanks between them, the one that changes the others first.
 */
#include "base/log.h"
#include "net/change.h"
#include "net/run.h"

#include <dirent.h>
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SYSCTL_ROOT "/proc/sys/net/"
#define SETTING_MAX 320 /* the longest name of a file under it */

struct family {
        const char *name;
        const char *master; /* the setting that changes the others */
        const char *conf;   /* the directory of per-interface settings */
        const char *interface_settings[3];
        const char *all_setting; /* of "all", besides the master */
};

static const struct family families[] = {
        { "ipv4", "ipv4/ip_forward", "ipv4/conf", { "forwarding" },
            "ipv4/conf/all/accept_redirects" },
        { "ipv6", "ipv6/conf/all/forwarding", "ipv6/conf", { "forwarding", "accept_ra" }, NULL },
};

static const struct family *
family_of(const struct journal_record *record)
{
        return strcmp(record->name, families[0].name) == 0 ? &families[0] : &families[1];
}

/* Without the line's end; -errno. */
static int
setting_read(const char *name, char *value, size_t bytes)
{
        char path[PATH_MAX];
        int error;

        snprintf(path, sizeof(path), SYSCTL_ROOT "%s", name);
        error = file_read(path, value, bytes);
        if (error == 0)
                value[strcspn(value, "\n")] = '\0';
        return error;
}

static int
setting_write(const char *name, const char *value)
{
        char path[PATH_MAX];
        char now[64];
        int error = setting_read(name, now, sizeof(now));

        /* Writing a master setting has effects even if its value stays. */
        if (error != 0 || strcmp(now, value) == 0)
                return error;
        snprintf(path, sizeof(path), SYSCTL_ROOT "%s", name);
        return file_write(path, value);
}

static void
print_setting(FILE *out, const char *name)
{
        char value[64];

        if (setting_read(name, value, sizeof(value)) == 0)
                fprintf(out, "%s=%s ", name, value);
}

typedef int interface_fn(const struct family *family, const char *interface, void *ctx);

static int
for_each_interface(const struct family *family, interface_fn *fn, void *ctx)
{
        char path[PATH_MAX];
        struct dirent *entry;
        int error = 0;
        DIR *dir;

        snprintf(path, sizeof(path), SYSCTL_ROOT "%s", family->conf);
        dir = opendir(path);
        if (dir == NULL)
                return -errno;
        while (error == 0 && (entry = readdir(dir)) != NULL)
                if (entry->d_name[0] != '.' && strcmp(entry->d_name, "all") != 0)
                        error = fn(family, entry->d_name, ctx);
        closedir(dir);
        return error;
}

static int
print_interface(const struct family *family, const char *interface, void *ctx)
{
        char name[SETTING_MAX];

        for (size_t i = 0; family->interface_settings[i] != NULL; i++) {
                snprintf(name, sizeof(name), "%s/%s/%s", family->conf, interface,
                    family->interface_settings[i]);
                print_setting(ctx, name);
        }
        return 0;
}

static int
forward_look(struct net *net, const struct journal_record *want, char **ret_before)
{
        const struct family *family = family_of(want);
        char value[64];
        size_t bytes;
        FILE *out;
        int error = setting_read(family->master, value, sizeof(value));

        if (error != 0) {
                log_error("%s is not there: the kernel lacks %s", family->master, family->name);
                return error;
        }
        if (strcmp(value, "0") != 0)
                return 1;
        out = open_memstream(ret_before, &bytes);
        if (out == NULL)
                return -ENOMEM;
        print_setting(out, family->master);
        if (family->all_setting != NULL)
                print_setting(out, family->all_setting);
        error = for_each_interface(family, print_interface, out);
        return fclose(out) != 0 ? -ENOMEM : error;
}

/* An interface that heeds router advertisements shall go on doing so. */
static int
keep_advertisements(const struct family *family, const char *interface, void *ctx)
{
        char name[SETTING_MAX], value[64];

        snprintf(name, sizeof(name), "%s/%s/accept_ra", family->conf, interface);
        if (strcmp(interface, "default") == 0 || setting_read(name, value, sizeof(value)) != 0 ||
            strcmp(value, "1") != 0)
                return 0;
        return setting_write(name, "2");
}

static int
forward_make(struct net *net, const struct journal_record *record)
{
        const struct family *family = family_of(record);
        char value[64];
        int error = setting_read(family->master, value, sizeof(value));

        if (error == 0 && strcmp(value, "0") == 0 && family == &families[1])
                error = for_each_interface(family, keep_advertisements, NULL);
        if (error == 0)
                error = setting_write(family->master, "1");
        if (error != 0)
                log_error("cannot switch forwarding of %s on: %s", record->name, strerror(-error));
        return error;
}

static int
forward_undo(struct net *net, const struct journal_record *record)
{
        char *copy = strdup(record->before);
        char *save = NULL;
        char *value;
        int first_error = copy == NULL ? -ENOMEM : 0;

        for (char *w = copy != NULL ? strtok_r(copy, " ", &save) : NULL; w != NULL;
             w = strtok_r(NULL, " ", &save)) {
                int error = 0;

                value = strchr(w, '=');
                if (value != NULL) {
                        *value = '\0';
                        error = setting_write(w, value + 1);
                }
                /* An interface that is gone needs nothing. */
                if (error != 0 && error != -ENOENT && first_error == 0) {
                        log_error("cannot set %s back to %s: %s", w, value + 1, strerror(-error));
                        first_error = error;
                }
        }
        free(copy);
        return first_error;
}

const struct change_ops change_forward = {
        .kind = "forward", .look = forward_look, .make = forward_make, .undo = forward_undo,
};
