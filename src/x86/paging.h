/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The page walk, shared by the soft engine and the debugger.
 * SDM 3A chapter 4: 32-bit, PAE, 4-level and 5-level paging.
 */
#ifndef X86_PAGING_H
#define X86_PAGING_H

#include "mem/mem.h"
#include "x86/state.h"

/* What a walk is for. */
#define X86_WALK_WRITE 0x01u
#define X86_WALK_USER  0x02u /* user-mode access */
#define X86_WALK_FETCH 0x04u
#define X86_WALK_SET   0x08u /* set accessed and (for a write) dirty bits; else nothing is changed */
#define X86_WALK_AC    0x10u /* supervisor access to user pages allowed despite SMAP (EFLAGS.AC, explicit access) */

struct x86_walk {
        gpa_t gpa;           /* of the address asked for */
        uint64_t page_bytes; /* size of the mapping: 4 KiB, 2 MiB, 4 MiB, 1 GiB; with paging off 1 GiB */
        uint32_t error;      /* #PF error code when the walk failed */
        /* Of the translation, for a TLB: rights of the page itself, not of this access. */
        bool user;
        bool writable;       /* R/W at every level (CR0.WP is the caller's business) */
        bool nx;
        bool global;
        bool dirty;
        uint8_t pkey;        /* protection key of a user or supervisor page */
};

/* A #PF error code bit mask that does not fit is in walk->error.  0, or -1 for #PF. */
int x86_walk(struct guest_mem *mem, const struct x86_state *st, gva_t address, unsigned flags,
    struct x86_walk *ret_walk);

#endif
