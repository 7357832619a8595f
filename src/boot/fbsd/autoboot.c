/* SPDX-License-Identifier: BSD-2-Clause */
/* Booting: the countdown, the root file system for the kernel, and entering what is loaded. */
#include "boot/fbsd/loader_impl.h"

#include "boot/fbsd/entry.h"
#include "boot/fbsd/words.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <time.h>

#define DELAY_DEFAULT 10
#define DELAY_MAX     100000

/* --- vfs.root.mountfrom from /etc/fstab --- */

/* The entry for "/" of a table: true with its fields. */
static bool
root_of_fstab(char *text, char **ret_dev, char **ret_type, char **ret_options)
{
        char *save = NULL;

        for (char *line = strtok_r(text, "\n", &save); line; line = strtok_r(NULL, "\n", &save)) {
                char *save_word = NULL;
                char *dev = strtok_r(line, " \t\r", &save_word);
                char *dir = strtok_r(NULL, " \t\r", &save_word);
                char *type = strtok_r(NULL, " \t\r", &save_word);
                char *options = strtok_r(NULL, " \t\r", &save_word);
                if (!dev || dev[0] == '#' || !dir || strcmp(dir, "/") != 0 || !type || !options)
                        continue;
                *ret_dev = dev;
                *ret_type = type;
                *ret_options = options;
                return true;
        }
        return false;
}

static void
set_root_mount(struct loader *l)
{
        const char *rootdev = env_get(&l->env, "rootdev");
        char path[DEV_NAME_MAX + 64], from[512], *dev, *type, *options;
        void *text;
        size_t len;

        if (env_get(&l->env, "vfs.root.mountfrom"))
                return;
        const char *root = rootdev ? rootdev : l->devs.current;
        snprintf(path, sizeof(path), "%.319s/etc/fstab", root);
        /* A ZFS that /etc/fstab does not name is its own root: "zfs:pool/x:" without its end. */
        if (strncmp(root, "zfs:", 4) == 0) {
                snprintf(from, sizeof(from), "%.*s", (int)strlen(root) - 1, root);
                env_set(&l->env, "vfs.root.mountfrom", from);
        }
        if (dev_load(&l->devs, path, LOADER_TEXT_MAX, &text, &len))
                return;
        if (root_of_fstab(text, &dev, &type, &options)) {
                snprintf(from, sizeof(from), "%.100s:%.400s", type, dev);
                env_set(&l->env, "vfs.root.mountfrom", from);
                if (!env_get(&l->env, "vfs.root.mountfrom.options"))
                        env_set(&l->env, "vfs.root.mountfrom.options", options);
        }
        free(text);
}

/* --- Entering --- */

static int
exec_foreign(struct loader *l)
{
        struct boot_request *r = &l->foreign.request;
        struct config_error err = {0};

        r->cmdline = l->foreign.cmdline ? l->foreign.cmdline : "";
        if (boot_direct(r, l->mem, l->state, &err))
                return loader_fail(l, "%s", err.text);
        l->result = LOADER_BOOT;
        return 0;
}

int
loader_exec(struct loader *l)
{
        struct metadata_place place;
        struct preload *pl = &l->preload;

        if (l->foreign.request.kernel.bytes)
                return exec_foreign(l);
        if (!pl->files)
                return loader_fail(l, "no bootable kernel");
        set_root_mount(l);
        int err = metadata_write(pl, &l->env, &place);
        if (!err)
                err = pl->is_64 ? entry_amd64(l->mem, pl->entry, &place, l->state)
                                : entry_i386(l->mem, pl->entry, &place, pl->files, l->state);
        if (err)
                return loader_fail(l, "can't boot '%s': %s", pl->files->name,
                    err == -EFBIG ? "the guest's memory is too small" : strerror(-err));
        l->result = LOADER_BOOT;
        return 0;
}

/* --- The countdown --- */

static long
now_ms(void)
{
        struct timespec ts;

        clock_gettime(CLOCK_MONOTONIC, &ts);
        return ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

int
loader_count_down(struct loader *l, long delay, void (*show)(struct loader *l, long left))
{
        long end = now_ms() + delay * 1000;

        for (;;) {
                long left_ms = end - now_ms();
                if (left_ms <= 0)
                        return CONSOLE_TIMEOUT;
                long left = (left_ms + 999) / 1000;
                show(l, left);
                int c = console_get(l->con, (int)(left_ms - (left - 1) * 1000));
                if (c != CONSOLE_TIMEOUT)
                        return c;
        }
}

long
loader_delay(const char *text)
{
        char *end;
        long delay = text ? strtol(text, &end, 0) : DELAY_DEFAULT;

        if (text && end == text)
                return DELAY_DEFAULT;
        return delay > DELAY_MAX ? DELAY_MAX : delay;
}

static const char *
kernel_name(struct loader *l)
{
        const char *name = env_get(&l->env, "kernelname");

        return name ? name : "kernel";
}

static void
show_left(struct loader *l, long left)
{
        console_printf(l->con, "\rBooting [%s] in %ld second%s... ", kernel_name(l), left, left == 1 ? "" : "s");
}

int
loader_autoboot(struct loader *l, const char *delay_text, const char *prompt)
{
        l->autoboot_tried = true;
        if (!loader_has_kernel(l) && loader_load_configured(l, NULL))
                return loader_fail(l, "no valid kernel found");
        long delay = loader_delay(delay_text ? delay_text : env_get(&l->env, "autoboot_delay"));
        int key = CONSOLE_TIMEOUT;

        if (delay >= 0) {
                console_printf(l->con, "%s\n",
                    prompt
                        ? prompt
                        : "Hit [Enter] to boot immediately, or any other key for command prompt.");
                key = loader_count_down(l, delay, show_left);
        }
        /* Where no key can come there is nobody to wait for. */
        bool boot = key == CONSOLE_TIMEOUT || key == CONSOLE_END || key == '\r' || key == '\n';
        if (boot)
                console_printf(l->con, "\rBooting [%s]...               ", kernel_name(l));
        console_printf(l->con, "\n");
        if (key == CONSOLE_STOP)
                l->result = LOADER_STOPPED;
        return boot ? loader_exec(l) : 0;
}

/* --- Commands --- */

int
cmd_autoboot(struct loader *l, int argc, char **argv)
{
        char *end;

        if (argc > 3)
                return loader_fail(l, "too many arguments");
        if (argc > 1) {
                strtol(argv[1], &end, 0);
                if (*end != '\0' || end == argv[1])
                        return loader_fail(l, "bad delay '%s'", argv[1]);
        }
        return loader_autoboot(l, argc > 1 ? argv[1] : NULL, argc > 2 ? argv[2] : NULL);
}

/* Replaces the arguments of what is loaded. */
static void
set_args(struct loader *l, int argc, char **argv)
{
        char **args = l->preload.files ? &l->preload.files->args : &l->foreign.cmdline;

        if (argc <= 0)
                return;
        free(*args);
        *args = words_join(argc, argv);
}

int
cmd_boot(struct loader *l, int argc, char **argv)
{
        int at = 1;

        l->autoboot_tried = true;
        if (argc > 1 && argv[1][0] != '-' && !l->foreign.request.kernel.bytes) {
                loader_unload(l);
                if (loader_load_configured(l, argv[1]))
                        return loader_fail(l, "can't find '%s'", argv[1]);
                at = 2;
        } else if (!loader_has_kernel(l) && loader_load_configured(l, NULL)) {
                return loader_fail(l, "no bootable kernel");
        }
        set_args(l, argc - at, argv + at);
        console_printf(l->con, "Booting...\n");
        return loader_exec(l);
}

int
cmd_boot_conf(struct loader *l, int argc, char **argv)
{
        bool named = argc > 1 && argv[1][0] != '-';

        loader_unload(l);
        if (loader_load_configured(l, named ? argv[1] : NULL))
                return loader_fail(l, named ? "can't find '%s'" : "no bootable kernel",
                    named ? argv[1] : "");
        set_args(l, argc - 1 - named, argv + 1 + named);
        return loader_autoboot(l, NULL, NULL);
}

int
cmd_reboot(struct loader *l, int argc, char **argv)
{
        l->result = LOADER_REBOOT;
        return 0;
}

int
cmd_quit(struct loader *l, int argc, char **argv)
{
        l->result = LOADER_QUIT;
        return 0;
}
