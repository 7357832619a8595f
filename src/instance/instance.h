/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Named VMs: what a node under /dev/vmm is on FreeBSD.
 *
 * A VM is the directory BHYVE_RUN/NAME; BHYVE_RUN defaults to /run/bhyve for
 * root and $XDG_RUNTIME_DIR/bhyve for others.  In it are
 *      lock      an open-file-description lock, held by the process that loads or
 *                runs the VM; the kernel drops it however that process ends
 *      memory    symbolic link to the memory file (tmpfs), absent for a VM
 *                that bhyve boots directly and for one not yet loaded
 *      state     the processors' saved state, with a version
 *      control   socket, while the VM runs (control.h)
 *
 * bhyveload: instance_open(CREATE | LOCK), instance_memory_create, mem_create on
 * the descriptor, fill it, instance_state_save, instance_close.
 * bhyve: instance_open(LOCK), instance_memory_open, instance_state_load.
 *
 * Functions return 0 or -errno, and then one line in @err that names the VM.
 * An instance belongs to one thread.
 */
#ifndef INSTANCE_INSTANCE_H
#define INSTANCE_INSTANCE_H

#include "config/config.h"
#include "x86/state.h"

#define INSTANCE_CPUS_MAX 16

struct instance;

#define INSTANCE_CREATE 0x1u /* make the VM if it does not exist */
#define INSTANCE_LOCK   0x2u /* -EBUSY if another process loads or runs it */

/* -ENOENT if it does not exist and CREATE is not given. */
int instance_open(const char *name, unsigned flags, struct instance **ret_instance, struct config_error *err);
/* Gives up the lock.  What the VM is stays. */
void instance_close(struct instance *instance);

/*
 * Removes the VM, memory and all.  -EBUSY while another process holds the lock.
 * The handle stays to be closed.
 */
int instance_destroy(struct instance *instance, struct config_error *err);

const char *instance_name(const struct instance *instance);
/* Directory of the VM: a descriptor for openat, the instance's own. */
int instance_dir_fd(const struct instance *instance);
/* Whether some process (this one too) holds the lock. */
bool instance_is_locked(const struct instance *instance);

/*
 * A new memory file of @size_bytes, all zero; an earlier one and the saved state are
 * forgotten.  *ret_fd is the caller's to close.  -ENOSPC if the host has no room for it.
 */
int instance_memory_create(struct instance *instance, uint64_t size_bytes, int *ret_fd, struct config_error *err);
/* -ENOENT if the VM was not loaded. */
int instance_memory_open(struct instance *instance, int *ret_fd, uint64_t *ret_size_bytes,
    struct config_error *err);

/* What is saved between bhyveload and bhyve: [0, cpu_count) of the boot processor first. */
struct instance_state {
        unsigned cpu_count; /* bhyveload saves one: the others start from reset */
        struct x86_state cpu[INSTANCE_CPUS_MAX];
};

int instance_state_save(struct instance *instance, const struct instance_state *state, struct config_error *err);
/* -ENOENT: nothing saved; -EPROTO: another version's. */
int instance_state_load(struct instance *instance, struct instance_state *ret_state, struct config_error *err);
/* Forgets it: what the loader left can be started only once. */
void instance_state_drop(struct instance *instance);

#endif
