/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * One virtual machine: built from a vm_config, run to its end, destroyed.
 *
 *      machine_build(...)    everything but running
 *      machine_run(...)      returns when the guest, a signal or bhyvectl ended it
 *      machine_destroy(...)  in the reverse order of building
 *
 * The caller's thread becomes the event loop's while machine_run lasts.
 */
#ifndef MACHINE_MACHINE_H
#define MACHINE_MACHINE_H

#include "config/vm_config.h"
#include "instance/instance.h"

struct machine;

/* Why a machine ended; the first five are bhyve's exit statuses. */
enum machine_end {
        MACHINE_END_RESET = 0,
        MACHINE_END_POWEROFF = 1,
        MACHINE_END_HALT = 2,
        MACHINE_END_TRIPLE_FAULT = 3,
        MACHINE_END_ERROR = 4,
        MACHINE_END_SIGNAL = 5, /* *ret_signal should be raised again with its default action */
        MACHINE_RUNNING = 6,
        MACHINE_END_TEST = 0x100, /* added to the exit status that pc-testdev was given */
};

/*
 * @instance: locked by the caller, whose it stays.  Without boot.kernel its memory and
 * state are what bhyveload left.  0 or -errno with @err.
 */
int machine_build(const struct vm_config *config, struct instance *instance, struct machine **ret_machine,
    struct config_error *err);
void machine_destroy(struct machine *machine);

enum machine_end machine_run(struct machine *machine, int *ret_signal);

/* Any thread, device lock held or not; the first call decides. */
void machine_end(struct machine *machine, enum machine_end end);

#endif
