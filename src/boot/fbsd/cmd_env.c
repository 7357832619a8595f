/* SPDX-License-Identifier: BSD-2-Clause */
/* Commands about variables and the terminal: set, unset, show, echo, read. */
#include "boot/fbsd/loader_impl.h"

#include "boot/fbsd/words.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* currdev must name a device, loaddev never changes. */
int
loader_setenv(struct loader *l, const char *name, const char *value)
{
        if (strcmp(name, "loaddev") == 0)
                return -EPERM;
        if (strcmp(name, "currdev") == 0) {
                int err = dev_check(&l->devs, value);
                if (err)
                        return err;
                snprintf(l->devs.current, sizeof(l->devs.current), "%s", value);
        }
        return env_set(&l->env, name, value);
}

int
cmd_set(struct loader *l, int argc, char **argv)
{
        char why[128];

        if (argc != 2)
                return loader_fail(l, "wrong number of arguments");
        char *eq = strchr(argv[1], '=');
        if (eq)
                *eq = '\0';
        int err = loader_setenv(l, argv[1], eq ? eq + 1 : "");
        return err ? loader_fail(l, "%s", dev_strerror(&l->devs, err, why, sizeof(why))) : 0;
}

int
cmd_unset(struct loader *l, int argc, char **argv)
{
        if (argc != 2)
                return loader_fail(l, "wrong number of arguments");
        if (strcmp(argv[1], "currdev") == 0 || strcmp(argv[1], "loaddev") == 0)
                return loader_fail(l, "%s", strerror(EPERM));
        int err = env_unset(&l->env, argv[1]);
        return err ? loader_fail(l, "%s", strerror(-err)) : 0;
}

int
cmd_show(struct loader *l, int argc, char **argv)
{
        if (argc > 1) {
                const char *value = env_get(&l->env, argv[1]);
                if (!value)
                        return loader_fail(l, "variable '%s' not found", argv[1]);
                console_printf(l->con, "%s\n", value);
                return 0;
        }
        console_page_start(l->con, loader_page_lines(l));
        for (size_t i = 0; i < l->env.count; i++) {
                if (!console_page(l->con, "%s=%s\n", l->env.vars[i].name, l->env.vars[i].value))
                        break;
        }
        return 0;
}

int
cmd_echo(struct loader *l, int argc, char **argv)
{
        struct options opt = {.argc = argc, .argv = argv, .at = 1};
        bool newline = true;

        for (int c; (c = loader_option(l, &opt, "n")) != -1;) {
                if (c == '?')
                        return -1;
                newline = false;
        }
        char *text = words_join(argc - opt.at, argv + opt.at);
        console_printf(l->con, "%s%s", text ? text : "", newline ? "\n" : "");
        free(text);
        return 0;
}

int
cmd_read(struct loader *l, int argc, char **argv)
{
        struct options opt = {.argc = argc, .argv = argv, .at = 1};
        const char *prompt = "";
        long timeout = -1;
        char line[CONSOLE_LINE_MAX], *end;

        for (int c; (c = loader_option(l, &opt, "p:t:")) != -1;) {
                if (c == '?')
                        return -1;
                if (c == 'p') {
                        prompt = opt.arg;
                        continue;
                }
                timeout = strtol(opt.arg, &end, 0);
                if (end == opt.arg || timeout < 0 || timeout > 1000000)
                        return loader_fail(l, "bad timeout '%s'", opt.arg);
        }
        console_printf(l->con, "%s", prompt);
        if (timeout >= 0) {
                int c = console_get(l->con, (int)timeout * 1000);
                if (c == CONSOLE_TIMEOUT)
                        return 0;
                l->con->unget = c;
        }
        int err = console_read_line(l->con, "", line, sizeof(line));
        if (err == CONSOLE_STOP)
                l->result = LOADER_STOPPED;
        if (!err && opt.at < argc)
                loader_setenv(l, argv[opt.at], line);
        return 0;
}
