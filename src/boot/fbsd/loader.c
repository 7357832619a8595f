/* SPDX-License-Identifier: BSD-2-Clause */
/* The loader: its life and its prompt.  See loader.h. */
#include "boot/fbsd/loader_impl.h"

#include "base/util.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define LOADER_RC       "/boot/loader.rc"
#define LOADER_RC_LOCAL "/boot/loader.rc.local"
#define BOOT_CONF       "/boot/boot.conf"

int
loader_create(struct guest_mem *mem, struct console *con, struct loader **ret_loader)
{
        struct loader *l = calloc(1, sizeof(*l));

        if (!l)
                return -ENOMEM;
        l->mem = mem;
        l->con = con;
        l->preload.mem = mem;
        /* An amd64 kernel starts with the first GiB mapped, and everything must be there. */
        l->preload.limit = mem_low_bytes(mem) < GIB ? mem_low_bytes(mem) : GIB;
        env_set(&l->env, "LINES", "24");
        env_set(&l->env, "console", "userboot");
        env_set(&l->env, "interpret", "OK");
        env_set(&l->env, "prompt", "${interpret}");
        env_set(&l->env, "smbios.bios.vendor", "BHYVE");
        env_set(&l->env, "boot_serial", "1");
        *ret_loader = l;
        return 0;
}

void
loader_destroy(struct loader *l)
{
        if (!l)
                return;
        loader_unload(l);
        loader_free_modules(l);
        for (unsigned i = 0; i < l->conf_count; i++)
                free(l->confs_read[i]);
        dev_finish(&l->devs);
        env_finish(&l->env);
        free(l);
}

int
loader_add_disk(struct loader *l, const char *path)
{
        return dev_add_disk(&l->devs, path);
}

int
loader_set_host(struct loader *l, const char *dir)
{
        return dev_set_host(&l->devs, dir);
}

int
loader_put(struct loader *l, const char *assignment)
{
        return env_put(&l->env, assignment);
}

/* Scripts that bring FreeBSD's own start-up code want what is built in here. */
static bool
is_standard_script(const char *text)
{
        return strstr(text, "loader.4th") || strstr(text, "initialize");
}

/* The file of commands that a guest may have in place of the standard one. */
static void
run_rc(struct loader *l, bool *ret_standard)
{
        void *text;
        size_t len;

        *ret_standard = true;
        if (dev_load(&l->devs, LOADER_RC, LOADER_TEXT_MAX, &text, &len) == 0) {
                *ret_standard = is_standard_script(text);
                l->beastie = strstr(text, "beastie-start") != NULL;
                free(text);
                if (!*ret_standard)
                        loader_include(l, LOADER_RC);
                return;
        }
        enum fs_type type;
        if (dev_find(&l->devs, BOOT_CONF, &type) == 0) {
                loader_include(l, BOOT_CONF);
                *ret_standard = false;
        }
}

static void
start_up(struct loader *l)
{
        bool standard;
        enum fs_type type;

        run_rc(l, &standard);
        if (l->result != LOADER_RUNNING)
                return;
        if (standard) {
                loader_read_config(l);
                if (dev_find(&l->devs, LOADER_RC_LOCAL, &type) == 0)
                        loader_include(l, LOADER_RC_LOCAL);
        }
        if (l->result != LOADER_RUNNING)
                return;
        if (!loader_has_kernel(l))
                loader_load_configured(l, NULL);
        const char *delay = env_get(&l->env, "autoboot_delay");
        bool menu = loader_has_menu(l);
        if (l->autoboot_tried || !loader_has_kernel(l) || (!menu && delay && strcasecmp(delay, "NO") == 0))
                return;
        if ((menu ? loader_menu(l) : loader_autoboot(l, NULL, NULL)) && l->error[0])
                console_printf(l->con, "%s\n", l->error);
}

/* $prompt with its ${NAME}s replaced, and a space. */
static void
show_prompt(struct loader *l, char *prompt, size_t size)
{
        const char *at = env_get(&l->env, "prompt");
        FILE *out = fmemopen(prompt, size - 1, "w");

        prompt[0] = prompt[size - 1] = '\0';
        if (!out)
                return;
        if (!at)
                at = ">";
        while (*at) {
                const char *end = at[0] == '$' && at[1] == '{' ? strchr(at, '}') : NULL;
                if (!end) {
                        fputc(*at++, out);
                        continue;
                }
                char *name = strndup(at + 2, (size_t)(end - at) - 2);
                const char *value = name ? env_get(&l->env, name) : NULL;
                fputs(value ? value : "", out);
                free(name);
                at = end + 1;
        }
        fputc(' ', out);
        fclose(out);
}

static void
interact(struct loader *l)
{
        char line[CONSOLE_LINE_MAX], prompt[128];

        while (l->result == LOADER_RUNNING) {
                show_prompt(l, prompt, sizeof(prompt));
                int err = console_read_line(l->con, prompt, line, sizeof(line));
                if (err == CONSOLE_END) {
                        console_printf(l->con, "\n");
                        l->result = LOADER_QUIT;
                } else if (err == CONSOLE_STOP) {
                        l->result = LOADER_STOPPED;
                } else {
                        loader_command(l, line, false);
                }
        }
}

enum loader_result
loader_run(struct loader *l, struct x86_state *state)
{
        l->state = state;
        l->result = LOADER_RUNNING;
        dev_choose_current(&l->devs);
        env_set(&l->env, "currdev", l->devs.current);
        env_set(&l->env, "loaddev", l->devs.current);
        console_printf(l->con, "\nbhyve/Linux FreeBSD loader\n\n");
        start_up(l);
        interact(l);
        return l->result;
}
