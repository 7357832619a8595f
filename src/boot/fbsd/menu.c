/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The menu that FreeBSD's start-up scripts show before the countdown, in plain text.
 *
 * A guest asks for it with "beastie-start" in its /boot/loader.rc, or by having the newer
 * loader's /boot/lua/menu.lua; beastie_disable="YES" in loader.conf takes it away.
 */
#include "boot/fbsd/loader_impl.h"

#include <strings.h>

#define MENU_LUA "/boot/lua/menu.lua"
#define ESCAPE   27

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

static int
boot(struct loader *l, bool single)
{
        if (single)
                env_set(&l->env, "boot_single", "YES");
        console_printf(l->con, "\nBooting...\n");
        return loader_exec(l);
}

int
loader_menu(struct loader *l)
{
        const char *delay = env_get(&l->env, "autoboot_delay");
        int key;

        l->autoboot_tried = true;
        console_printf(l->con, "Welcome to FreeBSD\n\n"
                               "  1. Boot Multi User [Enter]\n"
                               "  2. Boot [S]ingle User\n"
                               "  3. [Esc]ape to loader prompt\n"
                               "  4. Reboot\n\n");
        if (delay && strcasecmp(delay, "NO") == 0)
                key = console_get(l->con, -1);
        else
                key = loader_count_down(l, loader_delay(delay), show_left);
        for (;; key = console_get(l->con, -1)) {
                switch (key) {
                case CONSOLE_STOP:
                        l->result = LOADER_STOPPED;
                        return 0;
                case CONSOLE_TIMEOUT:
                case CONSOLE_END: /* where no key can come there is nobody to wait for */
                case '1':
                case '\r':
                case '\n':
                        return boot(l, false);
                case '2':
                case 's':
                case 'S':
                        return boot(l, true);
                case '3':
                case ESCAPE:
                        console_printf(l->con, "\nType '?' for a list of commands, 'help' for more detailed help.\n");
                        return 0;
                case '4':
                case 'r':
                case 'R':
                        console_printf(l->con, "\n");
                        l->result = LOADER_REBOOT;
                        return 0;
                default:
                        break;
                }
        }
}
