/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The soft MMU's own state of a vCPU, for mmu.c and access.c only: mmu.c keeps
 * the TLBs, access.c looks into them and owns the bounce buffer.
 */
#ifndef CPU_SOFT_MMU_H
#define CPU_SOFT_MMU_H

#include "cpu/soft/code.h"

#define PAGE_MASK       ((uint64_t)MEM_PAGE_SIZE - 1)
#define SOFT_ASPACES    8
#define ITLB_COUNT      1024u
#define TLB_CHUNK_BITS  4 /* entries that one bit of the used map stands for */
#define TLB_MAP_WORDS   (((1u << SOFT_TLB_USER_BITS) >> TLB_CHUNK_BITS) / 64)
#define JUMP_CHUNK_BITS 2 /* the same for jump caches: a cache line of the host */
#define JUMP_USED_WORDS ((SOFT_JUMP_COUNT >> JUMP_CHUNK_BITS) / 64)
#define LARGE_SHIFT     30 /* each large page lies in one piece of 1 GiB, or is one */
#define PIECES_MAX      64u
#define NONGLOBAL_MAX   256u

/* Linear pages: one that is not in it was not added; one that is may have been. */
struct filter {
        uint64_t bit[64];
};

/* Linear pieces that are large pages, or have some. */
struct pieces {
        struct {
                uint64_t number;
                unsigned shift; /* of addresses, for their numbers */
        } piece[PIECES_MAX];
        unsigned count; /* more than there is room for: any may be one */
};

struct tlb {
        struct soft_tlb_entry *entry;
        unsigned bits;
        struct pieces large;           /* of 1 GiB, of whose large pages it may hold parts */
        /* Of the supervisor's: where non-global entries are, to be dropped at a switch. */
        uint16_t nonglobal[NONGLOBAL_MAX];
        unsigned nonglobal_count;      /* NONGLOBAL_MAX + 1: more than there is room for */
        uint64_t used[TLB_MAP_WORDS];  /* chunks that are not empty */
};

/* A cache of indirect jumps.  Most of it stays untouched in most address spaces. */
struct jumps {
        struct soft_jump *slot;
        bool huge; /* pages */
        struct filter pages;           /* that it may know code in */
        uint64_t used[JUMP_USED_WORDS];        /* chunks that are not empty */
        uint64_t words[JUMP_USED_WORDS / 64];  /* words of `used` that are not 0 */
};

/* What is cached of one PCID. */
struct aspace {
        struct tlb user;
        struct tlb access;             /* supervisor with SMAP suspended */
        struct jumps jumps;            /* at CPL 3 */
        struct target_maps *targets;   /* at CPL 3, of target.c; NULL: it has never had any */
        struct mirror *mirror;         /* at CPL 3, of mirror.c; NULL: nothing is mapped there */
        unsigned age;                  /* milliseconds that it was found in user mode, for mirror.c */
        unsigned filled;               /* how often an empty entry of its TLB got a page */
        bool reloaded;                 /* its root was loaded again */
        bool old;                      /* it uses mirrors */
        unsigned unmapped;             /* faults in them that only bring what it had in the TLB */
        uint64_t root;                 /* of its page tables then */
        gva_t stack;                   /* and the stack pointer */
        unsigned pcid;
        uint64_t space;                /* changes with every flush: ITLB entries of before are void */
        bool valid;
        uint64_t last_used;
};

struct itlb_entry {
        uint64_t tag; /* page address | user bit; ~0 if empty */
        gpa_t gpa;    /* page, or ~0 if it is not RAM */
        uint64_t space; /* of the address space it belongs to */
        bool global;    /* it belongs to every one */
        bool large;   /* 2 MiB or more */
};

/* Part of an access: within one page. */
struct bounce_piece {
        gpa_t gpa;
        unsigned len;
        enum mem_kind kind;
};

struct stack_window {
        uint64_t tag, host;
};

struct soft_mmu {
        /* A bit for each guest page that a TLB or a mirror of this vCPU may let it write to: soft_mmu_let_write(). */
        _Atomic uint64_t *writes;
        struct stack_window stack_other; /* of the privilege that is not current: supervisor or user */
        bool stack_user;
        struct stack_window check_windows[2]; /* the current one and the other, and whose they are, from before */
        bool check_user;
        struct tlb kernel;
        struct tlb watched;            /* always empty: what is looked into while v->watching or v->checking */
        struct aspace aspace[SOFT_ASPACES];
        struct aspace *current;
        struct target_map *free_maps;  /* private to target.c, as the next */
        unsigned target_pages;         /* of all address spaces' maps */
        struct jumps kernel_jumps;
        bool kernel_jumps_nonglobal;
        uint32_t kernel_jump_mode, user_jump_mode;
        uint64_t clock;
        uint64_t last_space;
        struct itlb_entry itlb[ITLB_COUNT];
        struct pieces large_code;      /* large pages in which jump caches or the ITLB may know code */
        struct bounce_piece piece[2];  /* of the last access that went through the bounce buffer; access.c */
        unsigned pieces;
        uint8_t bounce[128] __attribute__((aligned(64)));
        uint8_t *bounce_at;
};

/* Explicit supervisor accesses go by RFLAGS.AC; without SMAP there is only one kind. */
static inline bool
mmu_smap_suspended(const struct soft_cpu *v)
{
        return (v->st.cr4 & X86_CR4_SMAP) && (v->st.rflags & X86_FL_AC);
}

static inline bool
mmu_is_user(const struct soft_cpu *v, enum soft_access how)
{
        return how == SOFT_ACC_USER || (how == SOFT_ACC_DATA && x86_cpl(&v->st) == 3);
}

/* The TLB for an access of kind @how, as the mode stands. */
static inline struct tlb *
mmu_tlb_for(struct soft_cpu *v, enum soft_access how)
{
        struct soft_mmu *m = v->mmu;

        if (v->checking)
                return &m->watched;
        if (mmu_is_user(v, how))
                return &m->current->user;
        if (how == SOFT_ACC_DATA && mmu_smap_suspended(v))
                return &m->current->access;
        return &m->kernel;
}

/* Where the TLB for an access of kind @how has the page of @address, if it has it. */
static inline struct soft_tlb_entry *
mmu_entry(struct soft_cpu *v, gva_t address, enum soft_access how)
{
        struct tlb *t = mmu_tlb_for(v, how);

        return &t->entry[(address >> MEM_PAGE_SHIFT) & ((1ull << t->bits) - 1)];
}

/*
 * Walks for one page and fills the TLB; raises #PF.  Returns the host address of @address if the access may
 * simply be made there; else NULL, with its guest-physical address in *ret_gpa.
 */
uint8_t *mmu_tlb_fill(struct soft_cpu *v, gva_t address, bool write, enum soft_access how, gpa_t *ret_gpa,
    enum mem_kind *ret_kind);
/*
 * The host address of @address, in the TLB afterwards, if all of its page can be read (and written, if @write)
 * without a fault and without setting a dirty bit; else NULL.
 */
void *mmu_tlb_enter_quietly(struct soft_cpu *v, gva_t address, bool write);

/* The host address of @address if the TLB has its page for that; else NULL. */
static inline uint8_t *
mmu_tlb_hit(struct soft_cpu *v, gva_t address, bool write, enum soft_access how)
{
        const struct soft_tlb_entry *entry = mmu_entry(v, address, how);
        uint64_t tag = write ? entry->tag_write : entry->tag_read;

        return tag == (address & ~PAGE_MASK) ? (uint8_t *)(uintptr_t)entry->host + (address & PAGE_MASK) : NULL;
}

/* A host address if the access is to RAM within one page and needs no more than being made. */
static inline uint8_t *
mmu_translate(struct soft_cpu *v, gva_t address, bool write, enum soft_access how, gpa_t *ret_gpa,
    enum mem_kind *ret_kind)
{
        uint8_t *host = mmu_tlb_hit(v, address, write, how);

        return host != NULL ? host : mmu_tlb_fill(v, address, write, how, ret_gpa, ret_kind);
}

#endif
