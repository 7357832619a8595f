/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * An ELF core file of a stopped machine, for gdb and crash.
 *
 * Its segments are the kernel half of the address space of the first processor
 * that runs in it, as its page tables map it, and all of guest memory by
 * physical address (addresses below the kernel's are physical).  Each processor
 * is a thread; its control registers are in a note that crash reads.
 */
#ifndef DEBUG_CORE_H
#define DEBUG_CORE_H

#include "config/config.h"
#include "mem/mem.h"
#include "x86/state.h"

/* Writes @path anew (mode 0600).  0, or -EINVAL with @err. */
int core_write(const char *path, struct guest_mem *mem, const struct x86_state *states, unsigned count,
    struct config_error *err);

#endif
