/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The loader: what FreeBSD's loader does for its user, over guest memory,
 * devices and a console.
 *
 * loader_create(), loader_add_disk()/loader_set_host()/loader_put(), then
 * loader_run(): it reads loader.conf, loads what that asks for, counts down,
 * serves the OK prompt, and returns when the user boots or leaves.  After
 * LOADER_BOOT the guest's memory is ready and *state is the state of the boot
 * processor.  One thread; no globals.
 */
#ifndef BOOT_FBSD_LOADER_H
#define BOOT_FBSD_LOADER_H

#include "boot/fbsd/console.h"
#include "mem/mem.h"

enum loader_result {
        LOADER_RUNNING, /* not over yet; never returned */
        LOADER_BOOT,
        LOADER_QUIT,   /* the quit command, or the console's end */
        LOADER_REBOOT, /* the reboot command */
        LOADER_STOPPED /* CONSOLE_STOP */
};

struct loader;

/* Everything given stays the caller's and outlives the loader. */
int loader_create(struct guest_mem *mem, struct console *con, struct loader **ret_loader);
void loader_destroy(struct loader *loader);

int loader_add_disk(struct loader *loader, const char *path);
int loader_set_host(struct loader *loader, const char *dir);
/* "name=value" for the environment, before loader_run(). */
int loader_put(struct loader *loader, const char *assignment);

/* *@state holds the reset state on entry; it is changed only with LOADER_BOOT. */
enum loader_result loader_run(struct loader *loader, struct x86_state *state);

#endif
