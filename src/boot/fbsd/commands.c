/* SPDX-License-Identifier: BSD-2-Clause */
/* The table of commands, running one line, and command files. */
#include "boot/fbsd/loader_impl.h"

#include "boot/fbsd/words.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

const struct command loader_commands[] = {
    {"?", "list commands", cmd_list},
    {"autoboot", "boot automatically after a delay", cmd_autoboot},
    {"boot", "boot a file or loaded kernel", cmd_boot},
    {"boot-conf", "load kernel and modules as configured, then autoboot", cmd_boot_conf},
    {"cat", "show contents of a file", cmd_cat},
    {"disable-module", "do not load a module with the kernel", cmd_disable_module},
    {"echo", "echo arguments", cmd_echo},
    {"enable-module", "load a module with the kernel", cmd_enable_module},
    {"help", "detailed help", cmd_help},
    {"include", "read commands from a file", cmd_include},
    {"load", "load a kernel or module", cmd_load},
    {"load_geli", "load a geli key", cmd_load_geli},
    {"ls", "list files", cmd_ls},
    {"lsdev", "list all devices", cmd_lsdev},
    {"lsmod", "list loaded modules", cmd_lsmod},
    {"lszfs", "list child datasets of a zfs dataset", cmd_lszfs},
    {"more", "show contents of a file", cmd_more},
    {"pnpscan", "scan for PnP devices", cmd_pnpscan},
    {"quit", "exit the loader", cmd_quit},
    {"read", "read input from the terminal", cmd_read},
    {"read-conf", "read a configuration file", cmd_read_conf},
    {"reboot", "reboot the system", cmd_reboot},
    {"set", "set a variable", cmd_set},
    {"show", "show variable(s)", cmd_show},
    {"show-module", "show what is configured for a module", cmd_show_module},
    {"toggle-module", "switch loading a module with the kernel", cmd_toggle_module},
    {"try-include", "read commands from a file if it exists", cmd_try_include},
    {"unload", "unload all modules", cmd_unload},
    {"unset", "unset a variable", cmd_unset},
    /* Words that scripts of FreeBSD's loaders use and that have their effect without being run. */
    {"initialize", NULL, cmd_start},
    {"start", NULL, cmd_start},
    {"check-password", NULL, cmd_nothing},
    {"beastie-start", NULL, cmd_nothing},
    {"bcachestat", NULL, cmd_nothing},
    {"dcachestat", NULL, cmd_nothing},
    {"reloadbe", NULL, cmd_nothing},
    {NULL, NULL, NULL},
};

int
loader_fail(struct loader *l, const char *fmt, ...)
{
        va_list ap;

        va_start(ap, fmt);
        vsnprintf(l->error, sizeof(l->error), fmt, ap);
        va_end(ap);
        return -1;
}

static const struct command *
find_command(const char *name)
{
        for (const struct command *c = loader_commands; c->name; c++) {
                if (strcmp(c->name, name) == 0)
                        return c;
        }
        return NULL;
}

static int
run_words(struct loader *l, struct words *w)
{
        const struct command *c = find_command(w->word[0]);

        if (!c)
                return loader_fail(l, "%s not found", w->word[0]);
        return c->run(l, w->count, w->word);
}

int
loader_command(struct loader *l, const char *line, bool quiet)
{
        struct words w;
        const char *why;
        int err = 0;

        l->error[0] = '\0';
        if (words_split(line, &l->env, &w, &why))
                err = loader_fail(l, "%s", why);
        else if (w.count > 0 && w.word[0][0] != '\\' && w.word[0][0] != '#')
                err = run_words(l, &w);
        words_finish(&w);
        if (err && !quiet && l->error[0])
                console_printf(l->con, "%s\n", l->error);
        return err;
}

/* FreeBSD's own scripts: what they do is built in. */
static bool
is_script(const char *path)
{
        const char *dot = strrchr(path, '.');

        return dot && (strcmp(dot, ".4th") == 0 || strcmp(dot, ".lua") == 0);
}

static int
include_text(struct loader *l, char *text)
{
        char *save = NULL;
        int err = 0;

        for (char *line = strtok_r(text, "\n", &save); line && !err && l->result == LOADER_RUNNING;
            line = strtok_r(NULL, "\n", &save)) {
                bool ignore = false;
                while (*line == ' ' || *line == '\t')
                        line++;
                while (*line == '@' || *line == '-')
                        ignore |= *line++ == '-';
                if (line[0] == '\\' && (line[1] == ' ' || line[1] == '\0' || line[1] == '\t'))
                        continue;
                err = loader_command(l, line, ignore);
                if (ignore)
                        err = 0;
        }
        return err;
}

int
loader_include(struct loader *l, const char *path)
{
        void *text;
        size_t len;
        char why[128];

        if (is_script(path))
                return 0;
        if (l->nest == LOADER_NEST_MAX)
                return loader_fail(l, "'%s': files include one another too deeply", path);
        int err = dev_load(&l->devs, path, LOADER_TEXT_MAX, &text, &len);
        if (err)
                return loader_fail(l, "can't open '%s': %s", path,
                    dev_strerror(&l->devs, err, why, sizeof(why)));
        l->nest++;
        err = include_text(l, text);
        l->nest--;
        free(text);
        l->error[0] = '\0'; /* shown with its line */
        return err;
}

int
loader_option(struct loader *l, struct options *opt, const char *letters)
{
        if (!opt->next || *opt->next == '\0') {
                const char *word = opt->at < opt->argc ? opt->argv[opt->at] : NULL;
                if (!word || word[0] != '-' || word[1] == '\0')
                        return -1;
                opt->at++;
                if (strcmp(word, "--") == 0)
                        return -1;
                opt->next = word + 1;
        }
        char c = *opt->next++;
        const char *known = c == ':' ? NULL : strchr(letters, c);
        if (!known) {
                loader_fail(l, "%s: illegal option -- %c", opt->argv[0], c);
                return '?';
        }
        if (known[1] != ':')
                return c;
        opt->arg = *opt->next ? opt->next : opt->at < opt->argc ? opt->argv[opt->at++] : NULL;
        opt->next = NULL;
        if (!opt->arg) {
                loader_fail(l, "%s: option requires an argument -- %c", opt->argv[0], c);
                return '?';
        }
        return c;
}

unsigned
loader_page_lines(const struct loader *l)
{
        const char *lines = env_get(&l->env, "LINES");

        return lines ? (unsigned)strtoul(lines, NULL, 10) : 24;
}

int
cmd_list(struct loader *l, int argc, char **argv)
{
        console_page_start(l->con, loader_page_lines(l));
        console_page(l->con, "Available commands:\n");
        for (const struct command *c = loader_commands; c->name; c++) {
                if (c->help && !console_page(l->con, "  %-15s  %s\n", c->name, c->help))
                        break;
        }
        return 0;
}

int
cmd_nothing(struct loader *l, int argc, char **argv)
{
        return 0;
}
