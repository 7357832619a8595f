/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The menu that FreeBSD's start-up scripts show before the countdown, in plain text, and its
 * second page with options for the kernel.  Whatever a key changes is shown anew.
 *
 * A guest asks for it with "beastie-start" in its /boot/loader.rc, or by having the newer
 * loader's /boot/lua/menu.lua; beastie_disable="YES" in loader.conf takes it away.
 */
#include "boot/fbsd/loader_impl.h"

#include "base/util.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define MENU_LUA    "/boot/lua/menu.lua"
#define ESCAPE      27
#define BACKSPACE   8
#define DELETE      127
#define KERNELS_MAX 16u
#define ENTRIES_MAX 256u /* of /boot that are looked at */

struct menu {
        struct loader *l;
        char kernel[KERNELS_MAX][64]; /* in /boot; 0 is what is configured, and loaded when the menu appears */
        unsigned kernels, chosen;
};

#define OPTION_VARS 7

/* An option of the second page: variables, which are unset where it is off. */
struct option {
        char key;
        const char *label;
        bool inverted; /* the variables take away what the label says */
        bool presence; /* the kernel looks whether the first is there, whatever its value */
        struct {
                const char *name, *value;
        } var[OPTION_VARS];
};

static const struct option options[] = {
        { 'a', "[A]CPI Support", true, false, { { "hint.acpi.0.disabled", "1" } } },
        { 'm', "Safe [M]ode", false, false,
            { { "kern.smp.disabled", "1" }, { "hw.ata.ata_dma", "0" }, { "hw.ata.atapi_dma", "0" }, { "hw.ata.wc", "0" },
                { "hw.eisa_slots", "0" }, { "kern.eventtimer.periodic", "1" }, { "kern.geom.part.check_integrity", "0" } } },
        { 's', "[S]ingle User", false, true, { { "boot_single", "YES" } } },
        { 'v', "[V]erbose", false, true, { { "boot_verbose", "YES" } } },
};

static const struct option *const option_single = &options[2];

#define OPTION_FIRST '3' /* the digit of the first option */

bool
loader_has_menu(struct loader *l)
{
        const char *disable = env_get(&l->env, "beastie_disable");
        const char *delay = env_get(&l->env, "autoboot_delay");
        enum fs_type type;

        if ((disable && strcasecmp(disable, "YES") == 0) || (delay && delay[0] == '-'))
                return false;
        return l->beastie || dev_find(&l->devs, MENU_LUA, &type) == 0;
}

static void
show_left(struct loader *l, long left)
{
        console_printf(l->con, "\rAutoboot in %ld second%s. [Space] to pause ", left, left == 1 ? "" : "s");
}

/* --- Options --- */

static bool
option_is_set(const struct loader *l, const struct option *o)
{
        const char *value = env_get(&l->env, o->var[0].name);

        return value && (o->presence || strcmp(value, "0") != 0);
}

static void
option_set(struct loader *l, const struct option *o, bool set)
{
        for (unsigned i = 0; i < OPTION_VARS && o->var[i].name; i++) {
                if (set)
                        env_set(&l->env, o->var[i].name, o->var[i].value);
                else
                        env_unset(&l->env, o->var[i].name);
        }
}

static void
show_options(struct loader *l)
{
        console_printf(l->con, "\n\n  1. Back to Main Menu [Backspace]\n"
                               "  2. Load System [D]efaults\n\n"
                               "  Boot Options:\n");
        for (unsigned i = 0; i < ARRAY_LEN(options); i++)
                console_printf(l->con, "  %c. %s: %s\n", (char)(OPTION_FIRST + i), options[i].label,
                    option_is_set(l, &options[i]) != options[i].inverted ? "On" : "Off");
        console_printf(l->con, "\n");
}

/* The second page: CONSOLE_STOP, CONSOLE_END, or 0 when the first is wanted again. */
static int
change_options(struct loader *l)
{
        for (;;) {
                show_options(l);
                int key = console_get(l->con, -1);
                if (key == CONSOLE_STOP || key == CONSOLE_END)
                        return key;
                key = tolower(key);
                if (key == '1' || key == BACKSPACE || key == DELETE)
                        return 0;
                for (unsigned i = 0; i < ARRAY_LEN(options); i++) {
                        const struct option *o = &options[i];
                        if (key == '2' || key == 'd')
                                option_set(l, o, false);
                        else if (key == o->key || key == (int)(OPTION_FIRST + i))
                                option_set(l, o, !option_is_set(l, o));
                }
        }
}

/* --- Kernels --- */

static void
add_kernel(struct menu *m, const char *name)
{
        char path[128];
        enum fs_type type;

        for (unsigned i = 0; i < m->kernels; i++) {
                if (strcmp(m->kernel[i], name) == 0)
                        return;
        }
        if (m->kernels == KERNELS_MAX || strlen(name) >= sizeof(m->kernel[0]))
                return;
        snprintf(path, sizeof(path), "/boot/%s/kernel", name);
        if (m->kernels == 0 || dev_find(&m->l->devs, path, &type) == 0)
                strcpy(m->kernel[m->kernels++], name);
}

static int
compare_names(const void *a, const void *b)
{
        return strcmp(a, b);
}

/* Those that $kernels names, and other directories of /boot with a kernel in them. */
static void
find_kernels(struct menu *m)
{
        const char *kernel = env_get(&m->l->env, "kernel"), *listed = env_get(&m->l->env, "kernels");
        const char *detect = env_get(&m->l->env, "kernels_autodetect");
        char *list = strdup(listed ? listed : ""), *save = NULL;
        struct fs_cursor cur = { 0 };
        struct fs_dirent ent;
        struct fs_file boot;

        add_kernel(m, kernel ? kernel : "kernel");
        for (char *name = list ? strtok_r(list, " ,;", &save) : NULL; name; name = strtok_r(NULL, " ,;", &save))
                add_kernel(m, name);
        free(list);
        if ((detect && strcasecmp(detect, "NO") == 0) || dev_open(&m->l->devs, "/boot", &boot))
                return;
        unsigned first = m->kernels, looked = 0;
        while (boot.node.type == FS_TYPE_DIR && looked++ < ENTRIES_MAX && fs_readdir(&boot, &cur, &ent) == 1)
                add_kernel(m, ent.name);
        fs_end_readdir(&boot, &cur);
        fs_close(&boot);
        qsort(m->kernel[first], m->kernels - first, sizeof(m->kernel[0]), compare_names);
}

/* --- The first page --- */

static void
show_menu(const struct menu *m)
{
        bool single = option_is_set(m->l, option_single);

        console_printf(m->l->con, "\n  1. Boot %s [Enter]\n"
                                  "  2. Boot %s\n"
                                  "  3. [Esc]ape to loader prompt\n"
                                  "  4. Reboot\n\n"
                                  "  Options:\n"
                                  "  5. [K]ernel: %s (%u of %u)\n"
                                  "  6. Configure Boot [O]ptions...\n\n",
            single ? "Single User" : "Multi User", single ? "[M]ulti User" : "[S]ingle User", m->kernel[m->chosen],
            m->chosen + 1, m->kernels);
}

static int
boot(struct menu *m, bool single)
{
        struct loader *l = m->l;

        option_set(l, option_single, single);
        console_printf(l->con, "\nBooting...\n");
        if (m->chosen != 0) {
                loader_unload(l);
                if (loader_load_configured(l, m->kernel[m->chosen]))
                        return loader_fail(l, "can't load '%s'", m->kernel[m->chosen]);
        }
        return loader_exec(l);
}

/* False where the menu ends with this key, and *@ret_error is what came of it. */
static bool
take_key(struct menu *m, int key, int *ret_error)
{
        struct loader *l = m->l;
        bool single = option_is_set(l, option_single);

        *ret_error = 0;
        switch (key) {
        case 'o':
        case '6':
                key = change_options(l);
                if (key != 0)
                        return take_key(m, key, ret_error);
                show_menu(m);
                return true;
        case 'k':
        case '5':
                m->chosen = (m->chosen + 1) % m->kernels;
                show_menu(m);
                return true;
        case CONSOLE_STOP:
                l->result = LOADER_STOPPED;
                return false;
        case CONSOLE_TIMEOUT:
        case CONSOLE_END: /* where no key can come there is nobody to wait for */
        case '1':
        case '\r':
        case '\n':
                *ret_error = boot(m, single);
                return false;
        case '2':
                *ret_error = boot(m, !single);
                return false;
        case 'm':
        case 's':
                *ret_error = boot(m, key == 's');
                return false;
        case '3':
        case ESCAPE:
                console_printf(l->con, "\nType '?' for a list of commands, 'help' for more detailed help.\n");
                return false;
        case '4':
        case 'r':
                console_printf(l->con, "\n");
                l->result = LOADER_REBOOT;
                return false;
        default:
                return true;
        }
}

int
loader_menu(struct loader *l)
{
        const char *delay = env_get(&l->env, "autoboot_delay");
        struct menu m = { .l = l };
        int key, error;

        l->autoboot_tried = true;
        find_kernels(&m);
        console_printf(l->con, "Welcome to FreeBSD\n");
        show_menu(&m);
        if (delay && strcasecmp(delay, "NO") == 0)
                key = console_get(l->con, -1);
        else
                key = loader_count_down(l, loader_delay(delay), show_left);
        while (take_key(&m, key < 0 ? key : tolower(key), &error))
                key = console_get(l->con, -1);
        return error;
}
