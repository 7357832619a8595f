/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Watching the guest run, for its developer: soft.trace, soft.profile and soft.perfmap.
 *
 * A trace has a line (the vCPU, its privilege and its address) for each
 * instruction or block of instructions within a range of addresses and at a
 * privilege level, if those are given.  What is traced is entered from the
 * dispatcher only, one instruction at a time where those are wanted; the rest of
 * the guest runs as ever.  A block ends where the range begins.  A profile asks
 * every running vCPU a thousand times a second where it is; the answer comes
 * at the next check for events, so it names the end of a block rather than the
 * instruction.  It is written when the VM ends, in the folded form that
 * flame graph tools read: "kernel;0xADDRESS COUNT", or by name where debug.symbols
 * is the kernel's ELF file.  A map names the translated blocks for perf(1), in
 * /tmp/perf-PID.map, when the VM ends.
 */
#ifndef CPU_SOFT_OBSERVE_H
#define CPU_SOFT_OBSERVE_H

#include "cpu/soft/soft.h"

struct soft_observer;

/* Opens what the configuration asks for; *ret_observer is NULL if that is nothing.  -errno. */
int soft_observe_start(struct soft_engine *engine, struct soft_observer **ret_observer);
/* Writes the profile and the map, and closes the files.  NULL is allowed. */
void soft_observe_stop(struct soft_observer *observer);

/* Whether a map for perf is wanted. */
bool soft_observe_wants_map(const struct soft_engine *engine);

/* Whether every running vCPU is to be asked where it is, all the time.  The observer may be NULL. */
bool soft_observe_profiles(const struct soft_observer *observer);

/* Before a vCPU is destroyed: what is wanted of its state at the end. */
void soft_observe_cpu_ends(struct soft_observer *observer, const struct soft_cpu *v);

/* These on the vCPU's thread; the observer may be NULL. */
/* Whether what is at st.rip is traced: nothing but the dispatcher may enter it. */
bool soft_observe_traces(struct soft_cpu *v);
/* Whether a traced range begins at @linear. */
bool soft_observe_begins(const struct soft_observer *observer, gva_t linear);
/* Writes a line for st.rip.  True if that is to be a single instruction. */
bool soft_observe_entry(struct soft_cpu *v);
/* With the FPU state put away. */
void soft_observe_sample(struct soft_observer *observer, const struct soft_cpu *v);

#endif
