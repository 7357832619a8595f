/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The page walk, shared by the soft engine and the debugger.
 * SDM 3A chapter 4: 32-bit, PAE, 4-level and 5-level paging.
 */
#ifndef X86_PAGING_H
#define X86_PAGING_H

#include "mem/mem.h"
#include "x86/state.h"

/* MAXPHYADDR: what CPUID 0x80000008 says, and above which entries' bits are reserved. */
#define X86_PHYS_BITS 46

/* #PF error code, SDM 3A 4.7. */
#define X86_PF_P    0x1u
#define X86_PF_W    0x2u
#define X86_PF_U    0x4u
#define X86_PF_RSVD 0x8u
#define X86_PF_I    0x10u
#define X86_PF_PK   0x20u

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
        bool accessed;       /* at every level, before this walk: those of 64-bit mode */
        bool dirty;
        uint8_t pkey;        /* protection key of a user or supervisor page */
};

/* A #PF error code bit mask that does not fit is in walk->error.  0, or -1 for #PF. */
int x86_walk(struct guest_mem *mem, const struct x86_state *st, gva_t address, unsigned flags,
    struct x86_walk *ret_walk);

/* Whether MOV CR3 under PAE paging may load the PDPTEs that @cr3 points to: SDM 3A 4.4.1. */
bool x86_pdptes_valid(struct guest_mem *mem, uint64_t cr3);

/*
 * Whether the protection key @pkey of a user or supervisor page allows a data
 * access: SDM 3A 4.6.2.  A TLB that keeps translations over changes of PKRU and
 * PKRS must ask this again.
 */
static inline bool
x86_pkey_allows(const struct x86_state *st, bool user_page, unsigned pkey, bool write, bool user_access)
{
        uint32_t keys;

        if (user_page)
                keys = st->cr4 & X86_CR4_PKE ? x86_pkru(st) : 0;
        else
                keys = st->cr4 & X86_CR4_PKS ? (uint32_t)st->pkrs : 0;
        keys >>= pkey * 2;
        if (keys & 1)
                return false;
        return !(keys & 2) || !write || (!user_access && !(st->cr0 & X86_CR0_WP));
}

#endif
