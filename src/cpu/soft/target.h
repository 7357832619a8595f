/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Target maps: where user code that uses mirrors finds the code of an indirect jump's target.
 *
 * A map is an array of addresses of code, of 32 bits, one for each byte of a chunk of 4 GiB of linear addresses (as mirror.h
 * cuts them).  Of its 16 GiB what is used is memory: a page of the host's for each 1024 bytes of guest code that are jumped to.  A
 * table by bits 32 and up of the address says where the map is, less four times its first address:
 *
 *      rorx  r10, r11, 32
 *      mov   r10d, r10d
 *      mov   r10, gs:[r10 * 8 + table]
 *      mov   r10d, [r10 + r11 * 4]
 *      jmp   r10
 *
 * So there is nothing to compare, and the guest's flags stay in the host's register: a target that overwrites them has
 * not had them saved for it.  The jump cache, which all other code uses, can be one table of a few megabytes, but wants a
 * comparison.
 *
 * What is not in a map leads to a thunk that looks it up.  What has no map leads to an address that no processor
 * accepts: the signal handler goes on at that thunk.
 *
 * Only the vCPU's own thread touches its maps.
 */
#ifndef CPU_SOFT_TARGET_H
#define CPU_SOFT_TARGET_H

#include "cpu/soft/code.h"

struct aspace;
struct target_maps; /* of one address space */

/* Whether code uses them. */
bool soft_targets_wanted(const struct soft_engine *e);
/* No chunk has a map yet.  The table is memory by now. */
void soft_targets_begin(struct soft_cpu *v);
void soft_targets_destroy(struct soft_cpu *v);

/*
 * From now on jumps to @address, in user code of the current address space, lead to @b, or to the jump cache if that uses no
 * mirrors.  False: there is no room; they come to C, or to the jump cache (v->targets_full).
 */
bool soft_target_set(struct soft_cpu *v, gva_t address, const struct soft_block *b);
/* Forgets @address in every address space. */
void soft_target_forget(struct soft_cpu *v, gva_t address);
/* Forgets what leads to blocks that died; engine lock held. */
void soft_targets_forget_dead(struct soft_cpu *v);
/* Forgets those in @page of @a, and instructions that reach into it from the page before. */
void soft_targets_drop_page(struct soft_cpu *v, struct aspace *a, gva_t page);
/* Forgets all of @a.  True if there was anything. */
bool soft_targets_flush(struct soft_cpu *v, struct aspace *a);
/* The same, and keeps its maps: the process goes on. */
bool soft_targets_clear(struct soft_cpu *v, struct aspace *a);
/* The current address space is another. */
void soft_targets_switch(struct soft_cpu *v, struct aspace *from, struct aspace *to);

/* All jumps by maps lead to C, until they are opened again.  In this vCPU's thread, or in a signal handler of it. */
void soft_targets_close(struct soft_cpu *v);
void soft_targets_open(struct soft_cpu *v);

/* Whether the instruction at @pc, in translated code, is a jump by a map, or what loads the address of its map. */
bool soft_target_jumps(const uint8_t *pc);

/* Whether maps may lead to @b. */
static inline bool
soft_targets_lead_to(const struct soft_engine *e, const struct soft_block *b)
{
        return (b->mode & SOFT_MODE_MIRROR) && soft_targets_wanted(e);
}

/* Where such a block is entered from maps: flags are in the host's register, the guest's RIP is in R11. */
static inline uint8_t *
soft_target_entry(const struct soft_block *b)
{
        return b->mode & SOFT_MODE_MOVES ? b->entry_far + SOFT_TARGET_ENTRY : b->entry;
}

#endif
