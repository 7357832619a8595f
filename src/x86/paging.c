/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The page walk: SDM 3A chapter 4.
 *
 * Entries are read once each, with one atomic load.  Accessed and dirty bits
 * are set by compare-and-exchange, so that an entry which another vCPU changes
 * meanwhile is never damaged: the walk then starts again.
 *
 * Where hardware caches the PDPTEs of PAE paging at MOV CR3, this reads them at
 * each walk, as the AMD manual has it (APM 2 5.3.2).  A table outside memory
 * reads as all ones, as an open bus does; that faults by its reserved bits.
 *
 * Nothing here calls outside this file: the engine walks with the guest's
 * vector registers live in the host's.
 */
#include "x86/paging.h"

#define PTE_P   0x001ull
#define PTE_W   0x002ull
#define PTE_U   0x004ull
#define PTE_A   0x020ull
#define PTE_D   0x040ull
#define PTE_PS  0x080ull
#define PTE_G   0x100ull
#define PTE_NX  (1ull << 63)
#define PTE_KEY_SHIFT 59

#define ADDRESS_MASK  (((1ull << X86_PHYS_BITS) - 1) & ~0xfffull)
#define ADDRESS_RSVD  (((1ull << 52) - 1) & ~((1ull << X86_PHYS_BITS) - 1))
/* PAE: bits 62 to 52 are reserved too. */
#define PAE_RSVD      (ADDRESS_RSVD | 0x7ff0000000000000ull)
#define PDPTE_RSVD    (PAE_RSVD | PTE_NX | 0x1e6ull)

/* How one walk stands: rights gathered so far, and what the access is. */
struct walk {
        struct guest_mem *mem;
        const struct x86_state *st;
        gva_t address;
        unsigned flags;
        uint64_t rights; /* AND of the entries' U and W, and of the inverse of NX */
        uint64_t rsvd;   /* reserved in every entry */
};

enum step {
        STEP_OK,
        STEP_FAULT,
        STEP_RETRY, /* an entry changed under us */
};

/* What lies outside memory reads as ones. */
static uint64_t
load64(const struct walk *w, gpa_t gpa, uint64_t **ret_entry)
{
        *ret_entry = mem_ram(w->mem, gpa);
        return *ret_entry == NULL ? ~0ull : __atomic_load_n(*ret_entry, __ATOMIC_ACQUIRE);
}

static uint32_t
load32(const struct walk *w, gpa_t gpa, uint32_t **ret_entry)
{
        *ret_entry = mem_ram(w->mem, gpa);
        return *ret_entry == NULL ? ~0u : __atomic_load_n(*ret_entry, __ATOMIC_ACQUIRE);
}

static bool
set_bits64(uint64_t *entry, uint64_t old, uint64_t bits)
{
        if ((old & bits) == bits || entry == NULL)
                return true;
        return __atomic_compare_exchange_n(entry, &old, old | bits, false, __ATOMIC_ACQ_REL,
            __ATOMIC_RELAXED);
}

static bool
set_bits32(uint32_t *entry, uint32_t old, uint32_t bits)
{
        if ((old & bits) == bits || entry == NULL)
                return true;
        return __atomic_compare_exchange_n(entry, &old, old | bits, false, __ATOMIC_ACQ_REL,
            __ATOMIC_RELAXED);
}

/* The part of the error code that does not depend on how the walk went: SDM 3A 4.7. */
static uint32_t
error_base(const struct walk *w)
{
        uint32_t error = 0;

        if (w->flags & X86_WALK_WRITE)
                error |= X86_PF_W;
        if (w->flags & X86_WALK_USER)
                error |= X86_PF_U;
        if ((w->flags & X86_WALK_FETCH) &&
            ((w->st->cr4 & X86_CR4_SMEP) ||
                ((w->st->efer & X86_EFER_NXE) && (w->st->cr4 & X86_CR4_PAE))))
                error |= X86_PF_I;
        return error;
}

static enum step
fault(const struct walk *w, struct x86_walk *ret, uint32_t error)
{
        ret->error = error_base(w) | error;
        return STEP_FAULT;
}

/* Protection keys, SDM 3A 4.6.2: true if the key forbids a data access. */
static bool
key_denies(const struct walk *w, const struct x86_walk *ret)
{
        if (w->flags & X86_WALK_FETCH)
                return false;
        return !x86_pkey_allows(w->st, ret->user, ret->pkey, (w->flags & X86_WALK_WRITE) != 0,
            (w->flags & X86_WALK_USER) != 0);
}

/* Whether the rights of the whole walk permit the access: SDM 3A 4.6.1. */
static bool
rights_deny(const struct walk *w, const struct x86_walk *ret)
{
        const struct x86_state *st = w->st;

        if (w->flags & X86_WALK_USER) {
                if (!ret->user || ((w->flags & X86_WALK_WRITE) && !ret->writable))
                        return true;
                return (w->flags & X86_WALK_FETCH) && ret->nx;
        }
        if (w->flags & X86_WALK_FETCH)
                return ret->nx || (ret->user && (st->cr4 & X86_CR4_SMEP));
        if (ret->user && (st->cr4 & X86_CR4_SMAP) && !(w->flags & X86_WALK_AC))
                return true;
        return (w->flags & X86_WALK_WRITE) && !ret->writable && (st->cr0 & X86_CR0_WP);
}

/* Fills in the translation from the leaf entry and checks the access. */
static enum step
finish(const struct walk *w, uint64_t leaf, gpa_t base, uint64_t page_bytes, struct x86_walk *ret)
{
        ret->gpa = base | (w->address & (page_bytes - 1));
        ret->page_bytes = page_bytes;
        ret->user = (w->rights & PTE_U) != 0;
        ret->writable = (w->rights & PTE_W) != 0;
        ret->nx = !(w->rights & PTE_NX);
        ret->global = (leaf & PTE_G) && (w->st->cr4 & X86_CR4_PGE);
        ret->accessed = (w->rights & PTE_A) != 0;
        ret->dirty = (leaf & PTE_D) || (w->flags & X86_WALK_WRITE);
        ret->pkey = 0;
        if (w->st->efer & X86_EFER_LMA)
                ret->pkey = (leaf >> PTE_KEY_SHIFT) & 0xf;
        if (__builtin_expect(rights_deny(w, ret), false))
                return fault(w, ret, X86_PF_P | (key_denies(w, ret) ? X86_PF_PK : 0));
        if (__builtin_expect(ret->pkey != 0 || (w->st->cr4 & (X86_CR4_PKE | X86_CR4_PKS)), false) &&
            key_denies(w, ret))
                return fault(w, ret, X86_PF_P | X86_PF_PK);
        ret->error = 0;
        return STEP_OK;
}

static uint64_t
leaf_bits(const struct walk *w)
{
        if (!(w->flags & X86_WALK_SET))
                return 0;
        return w->flags & X86_WALK_WRITE ? PTE_A | PTE_D : PTE_A;
}

static enum step
finish64(const struct walk *w, uint64_t leaf, uint64_t *entry, uint64_t page_bytes,
    struct x86_walk *ret)
{
        enum step step;

        /* Bits 12 (PAT) excepted, the low address bits of a large page are reserved. */
        if (page_bytes > MEM_PAGE_SIZE && (leaf & (page_bytes - 1) & ~0x1fffull))
                return fault(w, ret, X86_PF_P | X86_PF_RSVD);
        step = finish(w, leaf, leaf & ADDRESS_MASK & ~(page_bytes - 1), page_bytes, ret);
        if (step != STEP_OK)
                return step;
        return set_bits64(entry, leaf, leaf_bits(w)) ? STEP_OK : STEP_RETRY;
}

/*
 * 4-level and 5-level tables, and the lower two levels of PAE, from the table
 * at @table whose entries each span 1 << @shift bytes.
 */
static enum step
walk64(struct walk *w, gpa_t table, unsigned shift, struct x86_walk *ret)
{
        for (;; shift -= 9) {
                uint64_t *entry;
                uint64_t e = load64(w, table + ((w->address >> shift) & 0x1ff) * 8, &entry);

                if (__builtin_expect(!(e & PTE_P), false))
                        return fault(w, ret, 0);
                if (__builtin_expect((e & w->rsvd) != 0, false))
                        return fault(w, ret, X86_PF_P | X86_PF_RSVD);
                w->rights &= e ^ PTE_NX;
                if (shift == 12)
                        return finish64(w, e, entry, MEM_PAGE_SIZE, ret);
                if (e & PTE_PS) {
                        if (shift > 30)
                                return fault(w, ret, X86_PF_P | X86_PF_RSVD);
                        return finish64(w, e, entry, 1ull << shift, ret);
                }
                if ((w->flags & X86_WALK_SET) && !set_bits64(entry, e, PTE_A))
                        return STEP_RETRY;
                table = e & ADDRESS_MASK;
        }
}

static enum step
walk_pae(struct walk *w, struct x86_walk *ret)
{
        uint64_t *entry;
        uint64_t e = load64(w, (w->st->cr3 & 0xffffffe0) + ((w->address >> 30) & 3) * 8, &entry);

        if (!(e & PTE_P))
                return fault(w, ret, 0);
        if (e & PDPTE_RSVD)
                return fault(w, ret, X86_PF_P | X86_PF_RSVD);
        return walk64(w, e & ADDRESS_MASK, 21, ret);
}

static enum step
finish32(const struct walk *w, uint32_t leaf, uint32_t *entry, gpa_t base, uint64_t page_bytes,
    struct x86_walk *ret)
{
        enum step step = finish(w, leaf, base, page_bytes, ret);

        if (step != STEP_OK)
                return step;
        return set_bits32(entry, leaf, (uint32_t)leaf_bits(w)) ? STEP_OK : STEP_RETRY;
}

/* 32-bit paging with PSE-36: SDM 3A 4.3. */
static enum step
walk32(struct walk *w, struct x86_walk *ret)
{
        uint32_t *entry;
        uint32_t e = load32(w, (w->st->cr3 & 0xfffff000) + ((w->address >> 22) & 0x3ff) * 4, &entry);

        if (!(e & PTE_P))
                return fault(w, ret, 0);
        w->rights &= e | PTE_NX;
        if ((e & PTE_PS) && (w->st->cr4 & X86_CR4_PSE)) {
                if (e & (1u << 21))
                        return fault(w, ret, X86_PF_P | X86_PF_RSVD);
                return finish32(w, e, entry, (e & 0xffc00000) | ((uint64_t)(e & 0x1fe000) << 19),
                    4ull << 20, ret);
        }
        if ((w->flags & X86_WALK_SET) && !set_bits32(entry, e, PTE_A))
                return STEP_RETRY;
        e = load32(w, (e & 0xfffff000) + ((w->address >> 12) & 0x3ff) * 4, &entry);
        if (!(e & PTE_P))
                return fault(w, ret, 0);
        w->rights &= e | PTE_NX;
        return finish32(w, e, entry, e & 0xfffff000, MEM_PAGE_SIZE, ret);
}

static void
walk_off(gva_t address, struct x86_walk *ret)
{
        *ret = (struct x86_walk){
                .gpa = address,
                .page_bytes = 1ull << 30,
                .user = true,
                .writable = true,
                .dirty = true,
        };
}

static enum step
walk_once(struct walk *w, struct x86_walk *ret)
{
        const struct x86_state *st = w->st;

        w->rights = ~0ull;
        if (st->efer & X86_EFER_LMA)
                return walk64(w, st->cr3 & ADDRESS_MASK, st->cr4 & X86_CR4_LA57 ? 48 : 39, ret);
        if (st->cr4 & X86_CR4_PAE)
                return walk_pae(w, ret);
        return walk32(w, ret);
}

int
x86_walk(struct guest_mem *mem, const struct x86_state *st, gva_t address, unsigned flags,
    struct x86_walk *ret_walk)
{
        struct walk w = { .mem = mem, .st = st, .address = address, .flags = flags };
        enum step step;

        if (!(st->cr0 & X86_CR0_PG)) {
                walk_off(address, ret_walk);
                return 0;
        }
        w.rsvd = st->efer & X86_EFER_LMA ? ADDRESS_RSVD : PAE_RSVD;
        if (!(st->efer & X86_EFER_NXE))
                w.rsvd |= PTE_NX;
        do {
                step = walk_once(&w, ret_walk);
        } while (step == STEP_RETRY);
        return step == STEP_OK ? 0 : -1;
}

bool
x86_pdptes_valid(struct guest_mem *mem, uint64_t cr3)
{
        struct walk w = { .mem = mem };

        for (unsigned i = 0; i < 4; i++) {
                uint64_t *entry;
                uint64_t e = load64(&w, (cr3 & 0xffffffe0) + i * 8, &entry);

                if ((e & PTE_P) && (e & PDPTE_RSVD))
                        return false;
        }
        return true;
}
