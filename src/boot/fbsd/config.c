/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What FreeBSD's start-up scripts do: read loader.conf(5) and nextboot.conf,
 * find the kernel, load the modules asked for.
 */
#include "boot/fbsd/loader_impl.h"

#include "boot/fbsd/conf.h"
#include "boot/fbsd/words.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define DEFAULTS       "/boot/defaults/loader.conf"
#define DEFAULT_FILES  "/boot/device.hints /boot/loader.conf /boot/loader.conf.local"
#define DEFAULT_DIR    "/boot/loader.conf.d"
#define NEXTBOOT       "/boot/nextboot.conf"
#define DIR_FILES_MAX  64u

/* --- The table of modules --- */

struct conf_module *
loader_conf_module(struct loader *l, const char *name, size_t len, bool create)
{
        struct conf_module **at = &l->modules;

        for (; *at; at = &(*at)->next) {
                if (strlen((*at)->name) == len && memcmp((*at)->name, name, len) == 0)
                        return *at;
        }
        if (!create)
                return NULL;
        struct conf_module *m = calloc(1, sizeof(*m));
        if (!m || !(m->name = strndup(name, len))) {
                free(m);
                return NULL;
        }
        *at = m;
        return m;
}

void
loader_free_modules(struct loader *l)
{
        for (struct conf_module *m = l->modules, *next; m; m = next) {
                next = m->next;
                free(m->name);
                free(m->file);
                free(m->type);
                free(m->args);
                free(m->before);
                free(m->after);
                free(m->error);
                free(m);
        }
        l->modules = NULL;
}

static void
replace(char **field, const char *value)
{
        free(*field);
        *field = strdup(value);
}

/* Handles X_load and its relatives; false when @name is none. */
static bool
assign_module(struct loader *l, const char *name, const char *value)
{
        static const struct {
                const char *suffix;
                size_t field; /* 0: the switch itself */
        } suffixes[] = {
            {"_load", 0},
            {"_name", offsetof(struct conf_module, file)},
            {"_type", offsetof(struct conf_module, type)},
            {"_flags", offsetof(struct conf_module, args)},
            {"_before", offsetof(struct conf_module, before)},
            {"_after", offsetof(struct conf_module, after)},
            {"_error", offsetof(struct conf_module, error)},
        };
        size_t len = strlen(name);

        for (size_t i = 0; i < sizeof(suffixes) / sizeof(suffixes[0]); i++) {
                size_t n = strlen(suffixes[i].suffix);
                if (len <= n || strcmp(name + len - n, suffixes[i].suffix) != 0)
                        continue;
                struct conf_module *m = loader_conf_module(l, name, len - n, true);
                if (!m)
                        return true;
                if (suffixes[i].field == 0)
                        m->load = strcasecmp(value, "YES") == 0;
                else
                        replace((char **)((char *)m + suffixes[i].field), value);
                return true;
        }
        return false;
}

/* --- Reading files --- */

struct conf_file {
        struct loader *l;
        const char *path;
};

static void
assign(void *ctx, const char *name, const char *value)
{
        struct conf_file *f = ctx;
        char why[128];

        if (strcmp(name, "exec") == 0) {
                loader_command(f->l, value, false);
                return;
        }
        if (assign_module(f->l, name, value))
                return;
        int err = loader_setenv(f->l, name, value);
        if (err)
                console_printf(f->l->con, "%s: can't set %s=%s: %s\n", f->path, name, value,
                    dev_strerror(&f->l->devs, err, why, sizeof(why)));
}

static void
bad_line(void *ctx, unsigned number, const char *line, const char *why)
{
        struct conf_file *f = ctx;

        console_printf(f->l->con, "Warning: %s on file %s, line %u\n%s\n^\n", why, f->path, number,
            line);
}

void
loader_read_conf_file(struct loader *l, const char *path, bool must_exist)
{
        static const struct conf_ops ops = {.assign = assign, .bad_line = bad_line};
        struct conf_file f = {.l = l, .path = path};
        char why[128];
        void *text;
        size_t len;

        int err = dev_load(&l->devs, path, LOADER_TEXT_MAX, &text, &len);
        if (err) {
                if (must_exist || err != -ENOENT)
                        console_printf(l->con, "Warning: unable to open file %s: %s\n", path,
                            dev_strerror(&l->devs, err, why, sizeof(why)));
                return;
        }
        conf_parse(text, len, &ops, &f);
        free(text);
}

static bool
already_read(struct loader *l, const char *path)
{
        for (unsigned i = 0; i < l->conf_count; i++) {
                if (strcmp(l->confs_read[i], path) == 0)
                        return true;
        }
        if (l->conf_count == LOADER_CONFS_MAX)
                return true;
        char *copy = strdup(path);
        if (copy)
                l->confs_read[l->conf_count++] = copy;
        return !copy;
}

/* Reads the files of loader_conf_files; a file may change that list, which is then read in turn. */
static void
read_listed_files(struct loader *l)
{
        bool again = true;

        while (again) {
                const char *list = env_get(&l->env, "loader_conf_files");
                char *copy = strdup(list ? list : DEFAULT_FILES), *save = NULL;
                again = false;
                for (char *path = copy ? strtok_r(copy, " \t;", &save) : NULL; path;
                    path = strtok_r(NULL, " \t;", &save)) {
                        if (already_read(l, path))
                                continue;
                        loader_read_conf_file(l, path, false);
                        again = true;
                }
                free(copy);
        }
}

static int
by_name(const void *a, const void *b)
{
        return strcmp(a, b);
}

/* The files *.conf of a directory in the order of their names. */
static void
read_conf_dir(struct loader *l, const char *path)
{
        char (*names)[FS_NAME_MAX + 1] = calloc(DIR_FILES_MAX, sizeof(*names));
        struct fs_cursor cur = {0};
        struct fs_dirent ent;
        struct fs_file dir;
        unsigned count = 0;

        if (!names || dev_open(&l->devs, path, &dir)) {
                free(names);
                return;
        }
        while (count < DIR_FILES_MAX && fs_readdir(&dir, &cur, &ent) == 1) {
                size_t len = strlen(ent.name);
                if (len > 5 && strcmp(ent.name + len - 5, ".conf") == 0)
                        strcpy(names[count++], ent.name);
        }
        fs_end_readdir(&dir, &cur);
        fs_close(&dir);
        qsort(names, count, sizeof(*names), by_name);
        for (unsigned i = 0; i < count; i++) {
                char file[FS_PATH_MAX];
                snprintf(file, sizeof(file), "%.700s/%s", path, names[i]);
                if (!already_read(l, file))
                        loader_read_conf_file(l, file, true);
        }
        free(names);
}

static void
read_conf_dirs(struct loader *l)
{
        const char *list = env_get(&l->env, "loader_conf_dirs");
        char *copy = strdup(list ? list : DEFAULT_DIR), *save = NULL;

        for (char *path = copy ? strtok_r(copy, " \t;", &save) : NULL; path;
            path = strtok_r(NULL, " \t;", &save))
                read_conf_dir(l, path);
        free(copy);
}

/* --- nextboot --- */

/* The first line with NO and a space in place of YES, which is as long. */
static void
disable_nextboot(struct loader *l, const char *path, size_t yes_at)
{
        struct fs_file file;
        char why[128];

        int err = dev_open(&l->devs, path, &file);
        if (!err) {
                err = fs_overwrite(&file, yes_at, "NO\" ", 4);
                fs_close(&file);
        }
        if (err)
                console_printf(l->con, "%s stays in force: it cannot be rewritten: %s\n", path,
                    dev_strerror(&l->devs, err, why, sizeof(why)));
}

static void
read_nextboot(struct loader *l)
{
        static const char enabled[] = "nextboot_enable=\"YES\"";
        const char *conf = env_get(&l->env, "nextboot_conf");
        char *path = strdup(conf ? conf : NEXTBOOT);
        void *text;
        size_t len;

        if (!path || dev_load(&l->devs, path, LOADER_TEXT_MAX, &text, &len)) {
                free(path);
                return;
        }
        bool on = len >= sizeof(enabled) - 1 && memcmp(text, enabled, sizeof(enabled) - 1) == 0;
        free(text);
        if (on) {
                loader_read_conf_file(l, path, true);
                disable_nextboot(l, path, sizeof(enabled) - 1 - strlen("YES\""));
        }
        free(path);
}

void
loader_read_config(struct loader *l)
{
        loader_read_conf_file(l, DEFAULTS, false);
        read_listed_files(l);
        read_conf_dirs(l);
        read_nextboot(l);
}

/* --- The kernel --- */

/* Loads @name from the directory @dir, which goes to the front of the module path when it works. */
static int
load_kernel_from(struct loader *l, const char *dir, const char *name, const struct words *args)
{
        const char *old = env_get(&l->env, "module_path");
        char path[2 * FS_PATH_MAX];
        enum fs_type type;

        if (dev_find(&l->devs, dir, &type) || type != FS_TYPE_DIR)
                return -1;
        if (dev_has_path(name))
                snprintf(path, sizeof(path), "%.1000s", name);
        else
                snprintf(path, sizeof(path), "%.1000s/%.1000s", dir, name);
        if (loader_load_kld(l, path, args->count, args->word))
                return -1;
        /* A kernel from elsewhere says nothing about where its modules are. */
        size_t len = strlen(dir);
        old = old ? old : LOADER_MODULE_PATH;
        if (dev_has_path(name) ||
            (strncmp(old, dir, len) == 0 && (old[len] == ';' || old[len] == '\0')))
                return 0;
        snprintf(path, sizeof(path), "%.1000s;%.1000s", dir, old);
        env_set(&l->env, "module_path", path);
        return 0;
}

/* Tries each name of the bootfile list in each place that $kernel may mean. */
static int
load_kernel_named(
    struct loader *l, const char *kernel, const char *bootfile, const struct words *args)
{
        char dir[FS_PATH_MAX];

        snprintf(dir, sizeof(dir), "/boot/%.900s", kernel);
        if (!dev_has_path(kernel) && load_kernel_from(l, dir, bootfile, args) == 0)
                return 0;
        if (l->error[0] && strncmp(l->error, "can't find", 10) != 0)
                return -1;
        if (load_kernel_from(l, kernel, bootfile, args) == 0)
                return 0;
        if (dev_has_path(bootfile) && loader_load_kld(l, bootfile, args->count, args->word) == 0)
                return 0;
        return loader_load_kld(l, kernel, args->count, args->word);
}

static int
load_kernel(struct loader *l, const char *wanted)
{
        const char *kernel = wanted ? wanted : env_get(&l->env, "kernel");
        const char *list = env_get(&l->env, "bootfile"),
                   *options = env_get(&l->env, "kernel_options");
        struct words args;
        const char *why;
        int err = -1;

        if (words_split(options ? options : "", &l->env, &args, &why))
                return loader_fail(l, "kernel_options: %s", why);
        char *kernel_name = strdup(kernel ? kernel : "kernel");
        char *copy = strdup(list ? list : "kernel"), *save = NULL;
        l->error[0] = '\0';
        for (char *file = copy && kernel_name ? strtok_r(copy, ";", &save) : NULL; file && err;
            file = strtok_r(NULL, ";", &save))
                err = load_kernel_named(l, kernel_name, file, &args);
        free(copy);
        free(kernel_name);
        words_finish(&args);
        return err;
}

/* --- Modules --- */

static bool
verbose(const struct loader *l)
{
        const char *v = env_get(&l->env, "verbose_loading");

        return v && strcasecmp(v, "YES") == 0;
}

static int
load_one(struct loader *l, const struct conf_module *m)
{
        const char *file = m->file ? m->file : m->name;
        struct words args;
        const char *why;

        if (m->type && m->type[0])
                return loader_load_raw(l, file, m->type);
        if (words_split(m->args ? m->args : "", &l->env, &args, &why))
                return loader_fail(l, "%s", why);
        int err = dev_has_path(file) ? loader_load_kld(l, file, args.count, args.word)
                                     : loader_load_module(l, file, NULL, args.count, args.word);
        words_finish(&args);
        return err;
}

static int
load_configured_module(struct loader *l, const struct conf_module *m)
{
        if (m->before && loader_command(l, m->before, false))
                console_printf(l->con, "Module %s: error executing %s\n", m->name, m->before);
        if (verbose(l))
                console_printf(l->con, "%s...", m->file ? m->file : m->name);
        int err = load_one(l, m);
        if (err && strncmp(l->error, "warning:", 8) == 0)
                err = 0;
        if (err) {
                if (verbose(l))
                        console_printf(l->con, "failed!\n");
                console_printf(l->con, "%s\n", l->error);
                if (m->error)
                        loader_command(l, m->error, false);
                return err;
        }
        if (verbose(l))
                console_printf(l->con, "ok\n");
        if (m->after && loader_command(l, m->after, false))
                console_printf(l->con, "Module %s: error executing %s\n", m->name, m->after);
        return 0;
}

int
loader_load_configured(struct loader *l, const char *kernel)
{
        if (load_kernel(l, kernel)) {
                if (l->error[0])
                        console_printf(l->con, "%s\n", l->error);
                return -1;
        }
        for (const struct conf_module *m = l->modules; m; m = m->next) {
                /* A memory root that is missing ends in a kernel without a root. */
                if (m->load && load_configured_module(l, m) && m->type &&
                    strcmp(m->type, "mfs_root") == 0) {
                        loader_unload(l);
                        return -1;
                }
        }
        return 0;
}

/* --- Commands --- */

int
cmd_start(struct loader *l, int argc, char **argv)
{
        loader_read_config(l);
        return 0;
}

int
cmd_read_conf(struct loader *l, int argc, char **argv)
{
        if (argc != 2)
                return loader_fail(l, "wrong number of arguments");
        loader_read_conf_file(l, argv[1], true);
        read_listed_files(l);
        return 0;
}

static int
switch_module(struct loader *l, int argc, char **argv, int on)
{
        if (argc != 2)
                return loader_fail(l, "wrong number of arguments");
        struct conf_module *m = loader_conf_module(l, argv[1], strlen(argv[1]), on == 1);
        if (!m)
                return loader_fail(l, "%s was not found", argv[1]);
        m->load = on < 0 ? !m->load : on;
        console_printf(l->con, "%s will %sbe loaded.\n", argv[1], m->load ? "" : "not ");
        return 0;
}

int
cmd_enable_module(struct loader *l, int argc, char **argv)
{
        return switch_module(l, argc, argv, 1);
}

int
cmd_disable_module(struct loader *l, int argc, char **argv)
{
        return switch_module(l, argc, argv, 0);
}

int
cmd_toggle_module(struct loader *l, int argc, char **argv)
{
        return switch_module(l, argc, argv, -1);
}

static void
show_field(struct loader *l, const char *label, const char *value)
{
        if (value && value[0])
                console_page(l->con, "%-13s%s\n", label, value);
}

int
cmd_show_module(struct loader *l, int argc, char **argv)
{
        bool found = false;

        console_page_start(l->con, loader_page_lines(l));
        for (const struct conf_module *m = l->modules; m; m = m->next) {
                if (argc > 1 && strcmp(m->name, argv[1]) != 0)
                        continue;
                found = true;
                show_field(l, "Name:", m->name);
                show_field(l, "Path:", m->file);
                show_field(l, "Type:", m->type);
                show_field(l, "Flags:", m->args);
                show_field(l, "Before load:", m->before);
                show_field(l, "After load:", m->after);
                show_field(l, "Error:", m->error);
                show_field(l, "Status:", m->load ? "Load" : "Don't load");
        }
        return found || argc < 2 ? 0 : loader_fail(l, "%s was not found", argv[1]);
}
