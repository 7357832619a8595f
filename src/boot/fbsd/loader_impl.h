/* SPDX-License-Identifier: BSD-2-Clause */
/* What the loader's own files share: its state and the calls between them. */
#ifndef BOOT_FBSD_LOADER_IMPL_H
#define BOOT_FBSD_LOADER_IMPL_H

#include "boot/direct.h"
#include "boot/fbsd/dev.h"
#include "boot/fbsd/env.h"
#include "boot/fbsd/loader.h"
#include "boot/fbsd/preload.h"

/* Bounds on what a file named in a configuration may bring with it. */
#define LOADER_TEXT_MAX   (1u << 20)
#define LOADER_NEST_MAX   16u
#define LOADER_CONFS_MAX  64u

/* Where modules are looked for when $module_path does not say. */
#define LOADER_MODULE_PATH "/boot/kernel;/boot/modules"

/* What loader.conf says of one module: X_load, X_name, ... */
struct conf_module {
        struct conf_module *next;
        char *name;
        bool load;
        char *file, *type, *args, *before, *after, *error; /* NULL: not given */
};

/* A Linux or Multiboot kernel and what goes with it, held until boot. */
struct foreign {
        struct boot_request request;
        char *cmdline;
};

struct loader {
        struct guest_mem *mem;
        struct console *con;
        struct env env;
        struct devs devs;
        struct preload preload;
        struct foreign foreign;
        struct conf_module *modules;
        char *confs_read[LOADER_CONFS_MAX];
        unsigned conf_count;
        unsigned nest; /* include and exec inside one another */
        bool autoboot_tried;
        bool beastie; /* the guest's loader.rc starts the menu */
        char error[512]; /* the last command's message, without newline; "" if it printed its own */
        enum loader_result result;
        struct x86_state *state;
};

/* --- commands.c, cmd_*.c --- */

/* 0, or -1 with the message in loader->error. */
typedef int command_fn(struct loader *l, int argc, char **argv);

struct command {
        const char *name;
        const char *help; /* one line; NULL: not listed */
        command_fn *run;
};

/* Ends with a NULL name. */
extern const struct command loader_commands[];

command_fn cmd_load, cmd_load_geli, cmd_unload, cmd_lsmod, cmd_pnpscan;
command_fn cmd_boot, cmd_autoboot, cmd_boot_conf, cmd_reboot, cmd_quit;
command_fn cmd_ls, cmd_lsdev, cmd_more, cmd_cat, cmd_include, cmd_try_include;
command_fn cmd_set, cmd_unset, cmd_show, cmd_echo, cmd_read, cmd_nothing;
command_fn cmd_start, cmd_read_conf, cmd_enable_module, cmd_disable_module, cmd_toggle_module;
command_fn cmd_show_module, cmd_help, cmd_list, cmd_lszfs;

/* Sets loader->error and returns -1. */
int loader_fail(struct loader *l, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* Runs one line; prints the message of a failing command unless @quiet. */
int loader_command(struct loader *l, const char *line, bool quiet);
/* Runs the lines of a file: '@' in front of a line is ignored, '-' ignores its failure. */
int loader_include(struct loader *l, const char *path);
/* Option letters as getopt takes them, without its globals; -1 at the end, '?' for a bad one. */
struct options {
        int argc;
        char **argv;
        int at;
        const char *next; /* in a group of letters */
        const char *arg;
};
int loader_option(struct loader *l, struct options *opt, const char *letters);

unsigned loader_page_lines(const struct loader *l);

/* --- env hooks --- */
int loader_setenv(struct loader *l, const char *name, const char *value);

/* --- files.c: loading --- */

/* Loads a kernel or KLD with its dependencies.  @name may lack a path and ".ko". */
int loader_load_kld(struct loader *l, const char *name, int argc, char *const *argv);
int loader_load_module(struct loader *l, const char *name, const struct preload_mod *want, int argc,
    char *const *argv);
int loader_load_raw(struct loader *l, const char *name, const char *type);
void loader_unload(struct loader *l);
bool loader_has_kernel(const struct loader *l);

/* --- config.c --- */

/* Reads the default configuration files, nextboot.conf, and what they name. */
void loader_read_config(struct loader *l);
void loader_read_conf_file(struct loader *l, const char *path, bool must_exist);
/* Loads the kernel, found as loader.conf(5) says, and the modules it asks for. */
int loader_load_configured(struct loader *l, const char *kernel);
struct conf_module *loader_conf_module(struct loader *l, const char *name, size_t len, bool create);
void loader_free_modules(struct loader *l);

/* --- autoboot.c --- */

/* Counts down and boots; returns when a key is pressed or booting fails. */
int loader_autoboot(struct loader *l, const char *delay, const char *prompt);
/*
 * Waits @delay seconds for a key, and has @show say every second how many are left: the key,
 * or CONSOLE_TIMEOUT, CONSOLE_END, CONSOLE_STOP.
 */
int loader_count_down(struct loader *l, long delay, void (*show)(struct loader *l, long left));
/* Seconds of an autoboot_delay; NULL and what is no number: the default. */
long loader_delay(const char *text);
/* Enters what is loaded. */
int loader_exec(struct loader *l);

/* --- menu.c --- */

/* Whether the guest's start-up shows a menu. */
bool loader_has_menu(struct loader *l);
/* Shows it, with its own countdown, and does what is chosen; returns for the prompt, or when booting fails. */
int loader_menu(struct loader *l);

#endif
