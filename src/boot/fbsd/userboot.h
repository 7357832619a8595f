/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Runs a loader object, such as the userboot.so of FreeBSD 10, in a child
 * process, and gives it the callbacks of userboot's interface version 3.
 *
 * The object is native code that the user has chosen to trust: it runs with
 * the user's rights.  What it crashes is only the child.
 */
#ifndef BOOT_FBSD_USERBOOT_H
#define BOOT_FBSD_USERBOOT_H

#include "boot/fbsd/loader.h"

#include <signal.h>

struct userboot {
        const char *path;
        struct guest_mem *mem; /* shared with the child */
        struct console *con;
        const char *host_dir; /* NULL: no host0: */
        const char *const *disks;
        unsigned disk_count;
        const char *const *env; /* "name=value" */
        unsigned env_count;
        const sigset_t *wait_mask; /* open while waiting for the child, so that a signal ends it */
};

/*
 * *@state holds the reset state on entry; it is changed only with
 * LOADER_BOOT.  With LOADER_QUIT, @why (at least 256 bytes) says what went
 * wrong, "" when the user just left.
 */
enum loader_result userboot_run(const struct userboot *ub, struct x86_state *state, char *why,
    size_t why_size);

#endif
