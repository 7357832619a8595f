/* SPDX-License-Identifier: BSD-2-Clause */
/* Commands about files and devices: ls, lsdev, more, cat, include, help. */
#include "boot/fbsd/loader_impl.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static char
type_letter(enum fs_type type)
{
        switch (type) {
        case FS_TYPE_DIR:
                return 'd';
        case FS_TYPE_FILE:
                return ' ';
        case FS_TYPE_LINK:
                return 'l';
        default:
                return '?';
        }
}

static uint64_t
entry_size(struct loader *l, const char *dir, const char *name)
{
        char path[FS_PATH_MAX + FS_NAME_MAX + 2];
        struct fs_file file;

        snprintf(path, sizeof(path), "%.1023s/%s", dir, name);
        if (dev_open(&l->devs, path, &file))
                return 0;
        uint64_t size = file.node.size_bytes;
        fs_close(&file);
        return size;
}

static int
list_dir(struct loader *l, const char *path, struct fs_file *dir, bool sizes)
{
        struct fs_cursor cur = {0};
        struct fs_dirent ent;
        bool more;
        int n;

        console_page_start(l->con, loader_page_lines(l));
        more = console_page(l->con, "%s\n", path);
        while (more && (n = fs_readdir(dir, &cur, &ent)) == 1) {
                char letter = type_letter(ent.type);
                if (sizes)
                        more = console_page(l->con, " %c %8llu %s\n", letter,
                            (unsigned long long)entry_size(l, path, ent.name), ent.name);
                else
                        more = console_page(l->con, " %c  %s\n", letter, ent.name);
        }
        fs_end_readdir(dir, &cur);
        return more ? n : 0;
}

int
cmd_ls(struct loader *l, int argc, char **argv)
{
        struct options opt = {.argc = argc, .argv = argv, .at = 1};
        bool sizes = false;
        char path[FS_PATH_MAX], why[128];
        struct fs_file dir;

        for (int c; (c = loader_option(l, &opt, "l")) != -1;) {
                if (c == '?')
                        return -1;
                sizes = true;
        }
        const char *name = opt.at < argc ? argv[opt.at] : "";
        size_t len = strlen(name);
        bool bare = len == 0 || name[len - 1] == ':';
        snprintf(path, sizeof(path), "%s%s", name, bare ? "/" : "");
        int err = dev_open(&l->devs, path, &dir);
        if (err)
                return loader_fail(l, "open '%s' failed: %s", path,
                    dev_strerror(&l->devs, err, why, sizeof(why)));
        err = dir.node.type == FS_TYPE_DIR ? list_dir(l, path, &dir, sizes) : -ENOTDIR;
        fs_close(&dir);
        return err ? loader_fail(l, "%s: %s", path, dev_strerror(&l->devs, err, why, sizeof(why)))
                   : 0;
}

static void
print_line(void *ctx, const char *text)
{
        struct loader *l = ctx;

        console_page(l->con, "%s\n", text);
}

int
cmd_lsdev(struct loader *l, int argc, char **argv)
{
        struct options opt = {.argc = argc, .argv = argv, .at = 1};
        bool verbose = false;

        for (int c; (c = loader_option(l, &opt, "v")) != -1;) {
                if (c == '?')
                        return -1;
                verbose = true;
        }
        console_page_start(l->con, loader_page_lines(l));
        dev_list(&l->devs, verbose, print_line, l);
        return 0;
}

/* Shows text with what a terminal might take for commands made visible. */
static void
page_text(struct loader *l, char *text, size_t len)
{
        for (size_t i = 0; i < len; i++) {
                unsigned char c = (unsigned char)text[i];
                if ((c < ' ' && c != '\n' && c != '\t') || c == 0x7f)
                        text[i] = c == '\r' ? ' ' : '?';
        }
        console_page(l->con, "%s", text);
        if (len > 0 && text[len - 1] != '\n')
                console_page(l->con, "\n");
}

static int
show_files(struct loader *l, int argc, char **argv, bool frame)
{
        char why[128];

        if (argc < 2)
                return loader_fail(l, "no filename specified");
        console_page_start(l->con, frame ? loader_page_lines(l) : 0);
        for (int i = 1; i < argc; i++) {
                void *text;
                size_t len;
                int err = dev_load(&l->devs, argv[i], LOADER_TEXT_MAX, &text, &len);
                if (err)
                        return loader_fail(l, "can't open '%s': %s", argv[i],
                            dev_strerror(&l->devs, err, why, sizeof(why)));
                if (frame)
                        console_page(l->con, "*** FILE %s BEGIN ***\n", argv[i]);
                page_text(l, text, len);
                if (frame)
                        console_page(l->con, "*** FILE %s END ***\n", argv[i]);
                free(text);
        }
        return 0;
}

int
cmd_more(struct loader *l, int argc, char **argv)
{
        return show_files(l, argc, argv, true);
}

int
cmd_cat(struct loader *l, int argc, char **argv)
{
        return show_files(l, argc, argv, false);
}

int
cmd_include(struct loader *l, int argc, char **argv)
{
        int err = 0;

        if (argc < 2)
                return loader_fail(l, "no filename specified");
        for (int i = 1; i < argc && !err; i++)
                err = loader_include(l, argv[i]);
        return err;
}

int
cmd_try_include(struct loader *l, int argc, char **argv)
{
        enum fs_type type;

        for (int i = 1; i < argc; i++) {
                if (dev_find(&l->devs, argv[i], &type) == 0 && loader_include(l, argv[i]))
                        return -1;
        }
        return 0;
}

/* --- help --- */

struct topic {
        const char *topic, *subtopic, *description;
};

/* "# Ttopic Ssubtopic Ddescription", cut up in place; false when it has no topic. */
static bool
parse_topic(char *line, struct topic *t)
{
        char *save = NULL;

        *t = (struct topic){"", "", ""};
        for (char *w = strtok_r(line + 1, " \t", &save); w; w = strtok_r(NULL, " \t", &save)) {
                if (w[0] == 'T')
                        t->topic = w + 1;
                else if (w[0] == 'S')
                        t->subtopic = w + 1;
                else if (w[0] == 'D') {
                        t->description = w + 1;
                        if (save && *save) /* the rest of the line belongs to it */
                                w[strlen(w)] = ' ';
                        break;
                }
        }
        return t->topic[0] != '\0';
}

static bool
show_help(struct loader *l, char *text, const char *topic, const char *subtopic)
{
        char *save = NULL;
        bool matched = false, printing = false, index = strcmp(topic, "index") == 0;
        struct topic t;

        for (char *line = strtok_r(text, "\n", &save); line; line = strtok_r(NULL, "\n", &save)) {
                if (line[0] != '#') {
                        if (printing && !console_page(l->con, "%s\n", line))
                                break;
                        continue;
                }
                printing = false;
                if (!parse_topic(line, &t))
                        continue;
                if (index || (strcmp(t.topic, topic) == 0 && t.subtopic[0] && !subtopic)) {
                        matched = true;
                        console_page(l->con, "    %s %s\t%s\n", t.topic, t.subtopic, t.description);
                } else if (strcmp(t.topic, topic) == 0 &&
                    strcmp(t.subtopic, subtopic ? subtopic : "") == 0) {
                        matched = printing = true;
                }
        }
        return matched;
}

/* Without the guest's help file: one line from our own table. */
static bool
show_own_help(struct loader *l, const char *topic)
{
        for (const struct command *c = loader_commands; c->name; c++) {
                if (c->help && strcmp(c->name, topic) == 0) {
                        console_page(l->con, "%s: %s\n", c->name, c->help);
                        return true;
                }
        }
        return false;
}

int
cmd_help(struct loader *l, int argc, char **argv)
{
        const char *topic = argc > 1 ? argv[1] : "help";
        const char *subtopic = argc > 2 ? argv[2] : NULL;
        char path[FS_PATH_MAX];
        void *text;
        size_t len;
        bool found = false;

        if (argc > 3)
                return loader_fail(l, "usage is 'help <topic> [<subtopic>]'");
        const char *loaddev = env_get(&l->env, "loaddev");
        snprintf(path, sizeof(path), "%s/boot/loader.help", loaddev ? loaddev : "");
        console_page_start(l->con, loader_page_lines(l));
        if (dev_load(&l->devs, path, LOADER_TEXT_MAX, &text, &len) == 0) {
                found = show_help(l, text, topic, subtopic);
                free(text);
        } else if (argc == 1) {
                return cmd_list(l, argc, argv);
        }
        if (found || show_own_help(l, topic))
                return 0;
        return loader_fail(l, "no help available for '%s'", topic);
}
