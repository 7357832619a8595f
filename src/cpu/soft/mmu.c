/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The soft MMU: TLBs that translated code checks inline, how they are filled
 * and flushed, jump caches, and code fetch.  Accesses by C, and those of
 * translated code that miss, are in access.c.
 *
 * A vCPU has one TLB for supervisor accesses, shared by all address spaces
 * (global pages survive a switch, the others are dropped), and for each of the
 * last few PCIDs a TLB for user accesses and one for supervisor accesses that
 * SMAP lets through (RFLAGS.AC).  An entry maps a 4 KiB page.  A tag that
 * matches means that the access is allowed and needs nothing more: no
 * accessed or dirty bit to set, no MMIO, no translated code to forget.
 *
 * Only the vCPU's own thread touches its TLBs.
 */
#include "base/huge.h"
#include "base/util.h"
#include "cpu/soft/mirror.h"
#include "cpu/soft/mmu.h"
#include "cpu/soft/target.h"
#include "x86/paging.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/mman.h>

/* info of an entry */
#define SOFT_TLB_NONGLOBAL 0x1u
#define SOFT_TLB_LARGE     0x2u
#define SOFT_TLB_USER      0x4u

#define JUMP_BYTES (SOFT_JUMP_COUNT * sizeof(struct soft_jump))

/* ---- sets of pages ---- */

static unsigned
filter_bit(gva_t address)
{
        return (unsigned)((address >> MEM_PAGE_SHIFT) * 0x9e3779b97f4a7c15ull >> 52);
}

static void
filter_add(struct filter *f, gva_t address)
{
        f->bit[filter_bit(address) / 64] |= 1ull << filter_bit(address) % 64;
}

static bool
filter_has(const struct filter *f, gva_t address)
{
        return f->bit[filter_bit(address) / 64] >> filter_bit(address) % 64 & 1;
}

static void
filter_clear(struct filter *f)
{
        memset(f, 0, sizeof(*f));
}

static bool
pieces_have(const struct pieces *p, gva_t address)
{
        if (p->count > PIECES_MAX)
                return true;
        for (unsigned n = 0; n < p->count; n++)
                if (p->piece[n].number == address >> p->piece[n].shift)
                        return true;
        return false;
}

static void
pieces_add(struct pieces *p, gva_t address, unsigned shift)
{
        if (pieces_have(p, address))
                return;
        if (p->count < PIECES_MAX) {
                p->piece[p->count].number = address >> shift;
                p->piece[p->count].shift = shift;
        }
        p->count++;
}

/* ---- tables ---- */

static uint64_t
tlb_empty_tag(uint64_t index)
{
        /* Not canonical, and of a page that another index would hold: nothing matches it. */
        return 0x8000000000000000ull | (index ^ 1) << MEM_PAGE_SHIFT;
}

static void
tlb_clear_entry(struct tlb *t, uint64_t index)
{
        t->entry[index] = (struct soft_tlb_entry){ tlb_empty_tag(index), tlb_empty_tag(index), 0, 0 };
}

static void
tlb_clear_chunk(struct tlb *t, unsigned chunk)
{
        for (unsigned i = chunk << TLB_CHUNK_BITS; i < (chunk + 1) << TLB_CHUNK_BITS; i++)
                tlb_clear_entry(t, i);
}

static void
tlb_flush(struct tlb *t)
{
        for (unsigned w = 0; w < TLB_MAP_WORDS; w++) {
                for (uint64_t bits = t->used[w]; bits != 0; bits &= bits - 1)
                        tlb_clear_chunk(t, w * 64 + (unsigned)__builtin_ctzll(bits));
                t->used[w] = 0;
        }
        t->large.count = 0;
}

/* Whether the page that an entry or a stack window maps holds code. */
static bool
maps_code(const struct soft_cpu *v, uint64_t host)
{
        return soft_code_page(v->engine, host - (uint64_t)(uintptr_t)v->mem_base);
}

/* Drops the entries that have any of @info's bits set; or, with @v, only the right to write where there is code. */
static void
tlb_flush_some(struct tlb *t, uint64_t info, const struct soft_cpu *v)
{
        for (unsigned w = 0; w < TLB_MAP_WORDS; w++) {
                for (uint64_t bits = t->used[w]; bits != 0; bits &= bits - 1) {
                        unsigned first = (w * 64 + (unsigned)__builtin_ctzll(bits)) << TLB_CHUNK_BITS;

                        for (unsigned i = first; i < first + (1u << TLB_CHUNK_BITS); i++) {
                                if (t->entry[i].info & info)
                                        tlb_clear_entry(t, i);
                                else if (v != NULL && maps_code(v, t->entry[i].host))
                                        t->entry[i].tag_write = tlb_empty_tag(i);
                        }
                }
        }
}

static void
tlb_drop_nonglobal(struct tlb *t)
{
        if (t->nonglobal_count > NONGLOBAL_MAX) {
                tlb_flush_some(t, SOFT_TLB_NONGLOBAL, NULL);
        } else {
                for (unsigned i = 0; i < t->nonglobal_count; i++)
                        if (t->entry[t->nonglobal[i]].info & SOFT_TLB_NONGLOBAL)
                                tlb_clear_entry(t, t->nonglobal[i]);
        }
        t->nonglobal_count = 0;
}

static void
tlb_note_nonglobal(struct tlb *t, uint64_t index)
{
        if (t->nonglobal_count < NONGLOBAL_MAX)
                t->nonglobal[t->nonglobal_count++] = (uint16_t)index;
        else
                t->nonglobal_count = NONGLOBAL_MAX + 1;
}

static void
tlb_invalidate(struct tlb *t, gva_t address)
{
        uint64_t page = address & ~PAGE_MASK;
        uint64_t mask = (1ull << t->bits) - 1;
        uint64_t index = (address >> MEM_PAGE_SHIFT) & mask;

        if (t->entry == NULL)
                return;
        if (t->entry[index].tag_read == page || t->entry[index].tag_write == page) {
                bool large = t->entry[index].info & SOFT_TLB_LARGE;

                tlb_clear_entry(t, index);
                if (!large)
                        return;
        }
        /* The address may lie in a large page whose other pieces are cached (SDM 3A 4.10.4.1). */
        if (pieces_have(&t->large, address))
                tlb_flush_some(t, SOFT_TLB_LARGE, NULL);
}

static int
tlb_create(struct tlb *t, unsigned bits)
{
        void *p = mmap(NULL, sizeof(t->entry[0]) << bits, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1,
            0);

        if (p == MAP_FAILED)
                return -errno;
        t->entry = p;
        t->bits = bits;
        for (unsigned i = 0; i < 1u << bits >> TLB_CHUNK_BITS; i++)
                tlb_clear_chunk(t, i);
        return 0;
}

static void
tlb_destroy(struct tlb *t)
{
        if (t->entry != NULL)
                munmap(t->entry, sizeof(t->entry[0]) << t->bits);
}

/* ---- jump caches ---- */

/* Empty slots are all zeros, but for the pair of address 0. */
static void
jumps_begin(struct soft_jump *j)
{
        j[0].address = SOFT_JUMP_NONE(0);
        j[1].address = SOFT_JUMP_NONE(1);
}

/* An empty cache.  Memory comes with the first use of each page. */
struct soft_jump *
soft_jumps_create(void)
{
        struct soft_jump *j = huge_map(JUMP_BYTES, PROT_READ | PROT_WRITE, 0);

        if (j == NULL)
                return NULL;
        (void)madvise(j, JUMP_BYTES, MADV_NOHUGEPAGE);
        jumps_begin(j);
        return j;
}

void
soft_jumps_destroy(struct soft_jump *j)
{
        if (j != NULL)
                munmap(j, JUMP_BYTES);
}

/*
 * Has the cache, which is empty, in huge pages from now on, or in small ones: it is looked into all over, which takes
 * many entries of the host's TLB, but most address spaces do not live long enough to be worth the memory.
 */
static void
jumps_resize(struct jumps *j, bool huge)
{
        if (j->huge == huge)
                return;
        j->huge = huge;
        (void)madvise(j->slot, JUMP_BYTES, MADV_DONTNEED);
        (void)madvise(j->slot, JUMP_BYTES, huge ? MADV_HUGEPAGE : MADV_NOHUGEPAGE);
        jumps_begin(j->slot);
}

/* Calls @fn for each chunk that is not empty. */
static inline void
jumps_each(struct jumps *j, void (*fn)(const struct soft_engine *e, struct jumps *j, unsigned first), const struct soft_engine *e)
{
        for (unsigned g = 0; g < ARRAY_LEN(j->words); g++)
                for (uint64_t words = j->words[g]; words != 0; words &= words - 1) {
                        unsigned w = g * 64 + (unsigned)__builtin_ctzll(words);

                        for (uint64_t bits = j->used[w]; bits != 0; bits &= bits - 1)
                                fn(e, j, (w * 64 + (unsigned)__builtin_ctzll(bits)) << JUMP_CHUNK_BITS);
                }
}

static void
chunk_clear(const struct soft_engine *e, struct jumps *j, unsigned first)
{
        memset(&j->slot[first], 0, sizeof(j->slot[0]) << JUMP_CHUNK_BITS);
        j->used[(first >> JUMP_CHUNK_BITS) / 64] = 0;
}

/* True if there was anything in it. */
static bool
jumps_clear(struct jumps *j)
{
        bool any = false;

        jumps_each(j, chunk_clear, NULL);
        for (unsigned g = 0; g < ARRAY_LEN(j->words); g++) {
                any |= j->words[g] != 0;
                j->words[g] = 0;
        }
        jumps_begin(j->slot);
        filter_clear(&j->pages);
        return any;
}

static void
jumps_forget(struct jumps *j, unsigned slot)
{
        j->slot[slot] = (struct soft_jump){ SOFT_JUMP_NONE(slot), NULL };
}

static void
jumps_forget_address(struct jumps *j, gva_t address)
{
        unsigned slot = soft_jump_slot(address);

        if (j->slot[slot].address == address)
                jumps_forget(j, slot);
        if (j->slot[SOFT_JUMP_PAIR(slot)].address == address)
                jumps_forget(j, SOFT_JUMP_PAIR(slot));
}

/* What is in the address's slot goes to the other of the pair: it is as much at home there. */
static void
jumps_set(struct jumps *j, gva_t address, uint8_t *code)
{
        unsigned slot = soft_jump_slot(address), chunk = slot >> JUMP_CHUNK_BITS;
        struct soft_jump *first = &j->slot[slot], *second = &j->slot[SOFT_JUMP_PAIR(slot)];

        j->used[chunk / 64] |= 1ull << chunk % 64;
        j->words[chunk / 64 / 64] |= 1ull << chunk / 64 % 64;
        filter_add(&j->pages, address);
        filter_add(&j->pages, address + X86_INSN_MAX);
        if (first->code != NULL && first->address != address)
                *second = *first;
        else if (second->address == address)
                jumps_forget(j, SOFT_JUMP_PAIR(slot));
        *first = (struct soft_jump){ address, code };
}

static void
kernel_jumps_flush(struct soft_cpu *v)
{
        struct soft_mmu *m = v->mmu;

        if (jumps_clear(&m->kernel_jumps))
                v->count[SOFT_COUNT_JUMP_FLUSHES]++;
        m->kernel_jumps_nonglobal = false;
}

static void
aspace_jumps_flush(struct soft_cpu *v, struct aspace *a)
{
        if (jumps_clear(&a->jumps) | soft_targets_flush(v, a))
                v->count[SOFT_COUNT_JUMP_FLUSHES]++;
}

void
soft_jump_flush(struct soft_cpu *v)
{
        kernel_jumps_flush(v);
        for (unsigned i = 0; i < SOFT_ASPACES; i++)
                aspace_jumps_flush(v, &v->mmu->aspace[i]);
}

void
soft_jump_flush_user(struct soft_cpu *v)
{
        aspace_jumps_flush(v, v->mmu->current);
}

void
soft_jump_flush_old(struct soft_cpu *v)
{
        soft_jump_flush_user(v);
        jumps_resize(&v->mmu->current->jumps, true);
}

const uint8_t *
soft_jump_find(const struct soft_cpu *v, gva_t address)
{
        const struct soft_jump *first = &v->jumps[soft_jump_slot(address)];
        const struct soft_jump *second = &v->jumps[SOFT_JUMP_PAIR(soft_jump_slot(address))];

        return first->address == address ? first->code : second->address == address ? second->code : NULL;
}

/* Forgets the jumps to @page, and to instructions that reach into it from the page before. */
static void
jumps_drop_page(struct jumps *j, gva_t page)
{
        unsigned first = soft_jump_slot(page) & ~1u;

        if (!filter_has(&j->pages, page))
                return;
        /* A page's addresses lie in consecutive pairs of slots: soft_jump_slot grows with the address, by one for 4 bytes. */
        for (unsigned i = 0; i < (MEM_PAGE_SIZE >> SOFT_JUMP_LOW) + 4; i++) {
                unsigned slot = (first + i) % SOFT_JUMP_COUNT;

                if ((j->slot[slot].address & ~PAGE_MASK) == page)
                        jumps_forget(j, slot);
        }
        for (gva_t before = page - X86_INSN_MAX + 1; before != page; before++)
                jumps_forget_address(j, before);
}

void
soft_jump_forget(struct soft_cpu *v, gva_t address)
{
        struct soft_mmu *m = v->mmu;

        jumps_forget_address(&m->kernel_jumps, address);
        for (unsigned i = 0; i < SOFT_ASPACES; i++)
                jumps_forget_address(&m->aspace[i].jumps, address);
        soft_target_forget(v, address);
}

static void
chunk_forget_dead(const struct soft_engine *e, struct jumps *j, unsigned first)
{
        for (unsigned slot = first; slot < first + (1u << JUMP_CHUNK_BITS); slot++)
                if (j->slot[slot].code != NULL && soft_code_dead(e, j->slot[slot].code))
                        jumps_forget(j, slot);
}

void
soft_jump_forget_dead(struct soft_cpu *v)
{
        jumps_each(&v->mmu->kernel_jumps, chunk_forget_dead, v->engine);
        for (unsigned i = 0; i < SOFT_ASPACES; i++)
                jumps_each(&v->mmu->aspace[i].jumps, chunk_forget_dead, v->engine);
        soft_targets_forget_dead(v);
}

void
soft_jump_set(struct soft_cpu *v, gva_t address, uint8_t *code)
{
        struct soft_mmu *m = v->mmu;
        struct itlb_entry *it = &m->itlb[(address >> MEM_PAGE_SHIFT) & (ITLB_COUNT - 1)];

        if (!(v->mode & SOFT_MODE_USER) && !it->global)
                m->kernel_jumps_nonglobal = true;
        jumps_set(v->mode & SOFT_MODE_USER ? &m->current->jumps : &m->kernel_jumps, address, code);
}

static void
stack_forget(struct soft_cpu *v)
{
        v->stack_tag = SOFT_STACK_NONE;
        v->stack_host = (uint64_t)(uintptr_t)v->engine->guard_page;
        v->stack_delta = v->stack_host - v->stack_tag;
        v->window_credit = 0;
        v->mmu->stack_other = (struct stack_window){ v->stack_tag, v->stack_host };
}

/* ---- creation ---- */

static int
aspace_create(struct aspace *a)
{
        int error = tlb_create(&a->user, SOFT_TLB_USER_BITS);

        if (error == 0)
                error = tlb_create(&a->access, SOFT_TLB_KERN_BITS);
        if (error != 0)
                return error;
        a->jumps.slot = soft_jumps_create();
        return a->jumps.slot == NULL ? -ENOMEM : 0;
}

static void
itlb_flush(struct soft_mmu *m)
{
        for (unsigned i = 0; i < ITLB_COUNT; i++)
                m->itlb[i].tag = ~0ull;
}

static size_t
writes_bytes(const struct soft_cpu *v)
{
        return ((v->engine->code_pages_limit >> MEM_PAGE_SHIFT) / 64 + 1) * sizeof(uint64_t);
}

static int
writes_create(struct soft_cpu *v)
{
        void *p = mmap(NULL, writes_bytes(v), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

        if (p == MAP_FAILED)
                return -errno;
        v->mmu->writes = p;
        return 0;
}

int
soft_mmu_create(struct soft_cpu *v)
{
        struct soft_mmu *m;
        int error;

        if (posix_memalign((void **)&m, 64, sizeof(*m)) != 0)
                return -ENOMEM;
        memset(m, 0, sizeof(*m));
        v->mmu = m;
        error = writes_create(v);
        if (error == 0)
                error = tlb_create(&m->kernel, SOFT_TLB_KERN_BITS);
        if (error == 0)
                error = tlb_create(&m->watched, SOFT_TLB_USER_BITS);
        for (unsigned i = 0; i < SOFT_ASPACES && error == 0; i++)
                error = aspace_create(&m->aspace[i]);
        m->kernel_jumps.slot = soft_jumps_create();
        if (error != 0 || m->kernel_jumps.slot == NULL)
                return error != 0 ? error : -ENOMEM;
        jumps_resize(&m->kernel_jumps, true);
        itlb_flush(m);
        m->current = &m->aspace[0];
        m->current->valid = true;
        stack_forget(v);
        soft_mmu_select(v);
        return 0;
}

void
soft_mmu_destroy(struct soft_cpu *v)
{
        struct soft_mmu *m = v->mmu;

        if (m == NULL)
                return;
        soft_targets_destroy(v);
        soft_mirror_destroy(v);
        for (unsigned i = 0; i < SOFT_ASPACES; i++) {
                tlb_destroy(&m->aspace[i].user);
                tlb_destroy(&m->aspace[i].access);
                soft_jumps_destroy(m->aspace[i].jumps.slot);
        }
        tlb_destroy(&m->kernel);
        tlb_destroy(&m->watched);
        soft_jumps_destroy(m->kernel_jumps.slot);
        if (m->writes != NULL)
                munmap((void *)m->writes, writes_bytes(v));
        free(m);
        v->mmu = NULL;
}

void
soft_mmu_select(struct soft_cpu *v)
{
        struct soft_mmu *m = v->mmu;
        bool user = x86_cpl(&v->st) == 3;
        struct tlb *t;

        v->tlb_kernel = m->kernel.entry;
        v->tlb_access = v->st.cr4 & X86_CR4_SMAP ? m->current->access.entry : m->kernel.entry;
        t = v->watching ? &m->watched : mmu_tlb_for(v, SOFT_ACC_DATA);
        if (t == &m->watched)
                stack_forget(v);
        v->tlb = t->entry;
        v->tlb_mask = (uint32_t)(((1u << (user ? SOFT_TLB_USER_BITS : SOFT_TLB_KERN_BITS)) - 1) * sizeof(t->entry[0]));
        /* The window does not follow RFLAGS.AC. */
        v->window_refused = !user && (v->st.cr4 & X86_CR4_SMAP) ? SOFT_TLB_USER : 0;
        if (m->stack_user != user) { /* each privilege has a stack window of its own */
                struct stack_window w = { v->stack_tag, v->stack_host };

                v->stack_tag = m->stack_other.tag;
                v->stack_host = m->stack_other.host;
                v->stack_delta = v->stack_host - v->stack_tag;
                m->stack_other = w;
                m->stack_user = user;
        }
        if (user) {
                if (m->user_jump_mode != v->mode) {
                        for (unsigned i = 0; i < SOFT_ASPACES; i++)
                                aspace_jumps_flush(v, &m->aspace[i]);
                        m->user_jump_mode = v->mode;
                }
                v->jumps = m->current->jumps.slot;
        } else {
                if (m->kernel_jump_mode != v->mode) {
                        kernel_jumps_flush(v);
                        m->kernel_jump_mode = v->mode;
                }
                v->jumps = m->kernel_jumps.slot;
        }
        soft_jumps_arm(v);
}

void
soft_mmu_check_begin(struct soft_cpu *v)
{
        struct soft_mmu *m = v->mmu;

        m->check_windows[0] = (struct stack_window){ v->stack_tag, v->stack_host };
        m->check_windows[1] = m->stack_other;
        m->check_user = m->stack_user;
        v->checking = true;
        soft_mmu_select(v);
}

void
soft_mmu_check_end(struct soft_cpu *v)
{
        struct soft_mmu *m = v->mmu;

        v->checking = false;
        m->stack_user = m->check_user;
        v->stack_tag = m->check_windows[0].tag;
        v->stack_host = m->check_windows[0].host;
        v->stack_delta = v->stack_host - v->stack_tag;
        m->stack_other = m->check_windows[1];
}

/* ---- flushes ---- */

static void
code_flush_lookups(struct soft_cpu *v)
{
        itlb_flush(v->mmu);
        soft_jump_flush(v);
        v->mmu->large_code.count = 0;
}

static void
aspace_flush_tlbs(struct soft_cpu *v, struct aspace *a)
{
        a->space = ++v->mmu->last_space;
        tlb_flush(&a->user);
        tlb_flush(&a->access);
}

static void
aspace_flush(struct soft_cpu *v, struct aspace *a)
{
        aspace_flush_tlbs(v, a);
        soft_mirror_flush(v, a);
        aspace_jumps_flush(v, a);
}

/* CR3 was loaded with the root that @a has, which is current, and its process is the same. */
static void
aspace_renew(struct soft_cpu *v, struct aspace *a)
{
        aspace_flush_tlbs(v, a);
        soft_mirror_review(v, a);
        if (jumps_clear(&a->jumps) | soft_targets_clear(v, a))
                v->count[SOFT_COUNT_JUMP_FLUSHES]++;
}

void
soft_tlb_flush_all(struct soft_cpu *v)
{
        struct soft_mmu *m = v->mmu;

        tlb_flush(&m->kernel);
        for (unsigned i = 0; i < SOFT_ASPACES; i++) {
                aspace_flush(v, &m->aspace[i]);
                if (&m->aspace[i] != m->current)
                        m->aspace[i].valid = false;
        }
        code_flush_lookups(v);
        stack_forget(v);
}

/* What the shared tables hold of the current address space and of no other. */
static void
kernel_drop_nonglobal(struct soft_cpu *v)
{
        struct soft_mmu *m = v->mmu;

        tlb_drop_nonglobal(&m->kernel);
        if (m->kernel_jumps_nonglobal)
                kernel_jumps_flush(v);
        stack_forget(v);
}

void
soft_tlb_flush_nonglobal(struct soft_cpu *v)
{
        kernel_drop_nonglobal(v);
        aspace_flush(v, v->mmu->current);
}

static struct aspace *
aspace_find(struct soft_mmu *m, unsigned pcid)
{
        for (unsigned i = 0; i < SOFT_ASPACES; i++)
                if (m->aspace[i].valid && m->aspace[i].pcid == pcid)
                        return &m->aspace[i];
        return NULL;
}

void
soft_tlb_flush_pcid(struct soft_cpu *v, unsigned pcid)
{
        struct aspace *a = aspace_find(v->mmu, pcid);

        if (a == v->mmu->current)
                soft_tlb_flush_nonglobal(v);
        else if (a != NULL)
                aspace_flush(v, a);
}

void
soft_tlb_flush_all_nonglobal(struct soft_cpu *v)
{
        kernel_drop_nonglobal(v);
        for (unsigned i = 0; i < SOFT_ASPACES; i++)
                aspace_flush(v, &v->mmu->aspace[i]);
}

/* Code seen at @address, in any address space, may have another translation now. */
static void
code_invalidate(struct soft_cpu *v, struct aspace *a, gva_t address)
{
        struct soft_mmu *m = v->mmu;
        gva_t page = address & ~PAGE_MASK;
        struct itlb_entry *it = &m->itlb[(address >> MEM_PAGE_SHIFT) & (ITLB_COUNT - 1)];

        if (pieces_have(&m->large_code, address)) { /* it may lie in a large page that other addresses share */
                code_flush_lookups(v);
                return;
        }
        if ((it->tag & ~PAGE_MASK) == page)
                it->tag = ~0ull;
        jumps_drop_page(&m->kernel_jumps, page);
        jumps_drop_page(&a->jumps, page);
        soft_targets_drop_page(v, a, page);
}

void
soft_tlb_invlpg(struct soft_cpu *v, gva_t address)
{
        struct soft_mmu *m = v->mmu;

        tlb_invalidate(&m->kernel, address);
        tlb_invalidate(&m->current->user, address);
        soft_mirror_invalidate(v, m->current, address);
        for (unsigned i = 0; i < SOFT_ASPACES; i++)
                if (m->aspace[i].valid) /* a global page may be in any */
                        tlb_invalidate(&m->aspace[i].access, address);
        code_invalidate(v, m->current, address);
        stack_forget(v);
}

void
soft_tlb_inv_address(struct soft_cpu *v, unsigned pcid, gva_t address)
{
        struct aspace *a = aspace_find(v->mmu, pcid);

        if (a == v->mmu->current) {
                soft_tlb_invlpg(v, address);
        } else if (a != NULL) {
                tlb_invalidate(&a->user, address);
                soft_mirror_invalidate(v, a, address);
                tlb_invalidate(&a->access, address);
                code_invalidate(v, a, address);
        }
}

static struct aspace *
aspace_take(struct soft_cpu *v, unsigned pcid)
{
        struct soft_mmu *m = v->mmu;
        struct aspace *oldest = NULL;

        for (unsigned i = 0; i < SOFT_ASPACES; i++) {
                struct aspace *a = &m->aspace[i];

                if (a == m->current)
                        continue;
                if (!a->valid) {
                        oldest = a;
                        break;
                }
                if (oldest == NULL || a->last_used < oldest->last_used)
                        oldest = a;
        }
        oldest->valid = true;
        oldest->pcid = pcid;
        return oldest;
}

void
soft_tlb_switch(struct soft_cpu *v, bool keep)
{
        struct soft_mmu *m = v->mmu;
        unsigned pcid = v->st.cr4 & X86_CR4_PCIDE ? (unsigned)(v->st.cr3 & 0xfff) : 0;
        struct aspace *a = aspace_find(m, pcid);

        v->count[SOFT_COUNT_SWITCHES]++;
        kernel_drop_nonglobal(v);
        if (a == NULL || !keep || !(v->st.cr4 & X86_CR4_PCIDE)) {
                if (a == NULL)
                        a = aspace_take(v, pcid);
                soft_mirror_reload(v, a);
                if (a->reloaded && a == m->current)
                        aspace_renew(v, a);
                else
                        aspace_flush(v, a);
                if (a->age == 0)
                        jumps_resize(&a->jumps, false);
        }
        a->last_used = ++m->clock;
        if (a != m->current) {
                soft_mirror_switch(v, m->current, a);
                soft_targets_switch(v, m->current, a);
        }
        m->current = a;
        soft_mmu_select(v);
}

bool
soft_mmu_may_write(const struct soft_cpu *v, gpa_t gpa)
{
        uint64_t page = gpa >> MEM_PAGE_SHIFT;

        return atomic_load(&v->mmu->writes[page / 64]) >> page % 64 & 1;
}

bool
soft_mmu_let_write(struct soft_cpu *v, gpa_t gpa)
{
        uint64_t page = gpa >> MEM_PAGE_SHIFT;

        /* Before it is looked for code: watch_page() does these two the other way round. */
        if (!(atomic_load_explicit(&v->mmu->writes[page / 64], memory_order_relaxed) >> page % 64 & 1))
                atomic_fetch_or(&v->mmu->writes[page / 64], 1ull << page % 64);
        return !soft_code_page(v->engine, gpa);
}

void
soft_mmu_watch(struct soft_cpu *v)
{
        struct soft_mmu *m = v->mmu;

        tlb_flush_some(&m->kernel, 0, v);
        for (unsigned i = 0; i < SOFT_ASPACES; i++) {
                tlb_flush_some(&m->aspace[i].user, 0, v);
                tlb_flush_some(&m->aspace[i].access, 0, v);
        }
        soft_mirror_watch(v);
        if (maps_code(v, v->stack_host) || maps_code(v, m->stack_other.host))
                stack_forget(v);
}

/* ---- translation ---- */

static unsigned
walk_flags(struct soft_cpu *v, bool user, bool write, enum soft_access how)
{
        bool smap_off = !(v->st.cr4 & X86_CR4_SMAP) || (how == SOFT_ACC_DATA && mmu_smap_suspended(v));

        return (write ? X86_WALK_WRITE : 0) | (user ? X86_WALK_USER : 0) | (smap_off ? X86_WALK_AC : 0);
}

/*
 * Fills the TLB with what a walk for one page gave.  Returns the host address
 * of @address if the access may simply be made there, else NULL.
 */
static uint8_t *
tlb_enter(struct soft_cpu *v, gva_t address, bool write, enum soft_access how, const struct x86_walk *w,
    enum mem_kind kind)
{
        struct tlb *t = mmu_tlb_for(v, how);
        bool user = mmu_is_user(v, how);
        struct soft_tlb_entry *entry;
        uint64_t index, page = address & ~PAGE_MASK;
        bool writable;

        if (kind == MEM_NONE || (kind == MEM_ROM && write))
                return NULL;
        index = (address >> MEM_PAGE_SHIFT) & ((1ull << t->bits) - 1);
        entry = &t->entry[index];
        /* Protection keys change without a flush: such pages are looked up each time. */
        if (v->checking || (w->pkey != 0 && (v->st.cr4 & (X86_CR4_PKE | X86_CR4_PKS))))
                return soft_code_page(v->engine, w->gpa) && write ? NULL : v->mem_base + w->gpa;
        writable = kind == MEM_RAM && w->dirty && (w->writable || (!user && !(v->st.cr0 & X86_CR0_WP))) &&
            soft_mmu_let_write(v, w->gpa);
        t->used[(index >> TLB_CHUNK_BITS) / 64] |= 1ull << (index >> TLB_CHUNK_BITS) % 64;
        if (t == &v->mmu->current->user)
                v->mmu->current->filled += entry->tag_read == tlb_empty_tag(index);
        entry->tag_read = page;
        entry->tag_write = writable ? page : tlb_empty_tag(index);
        entry->host = (uint64_t)(uintptr_t)(v->mem_base + (w->gpa & ~PAGE_MASK));
        entry->info = (w->global ? 0 : SOFT_TLB_NONGLOBAL) | (w->page_bytes > MEM_PAGE_SIZE ? SOFT_TLB_LARGE : 0) |
            (w->user ? SOFT_TLB_USER : 0);
        if (w->page_bytes > MEM_PAGE_SIZE)
                pieces_add(&t->large, address, LARGE_SHIFT);
        if (!w->global && t == &v->mmu->kernel)
                tlb_note_nonglobal(t, index);
        if (write && !writable)
                return NULL; /* over translated code */
        return v->mem_base + w->gpa;
}

uint8_t *
mmu_tlb_fill(struct soft_cpu *v, gva_t address, bool write, enum soft_access how, gpa_t *ret_gpa,
    enum mem_kind *ret_kind)
{
        struct x86_walk w;

        v->count[SOFT_COUNT_FILLS]++;
        if (x86_walk(v->mem, &v->st, address, walk_flags(v, mmu_is_user(v, how), write, how) | X86_WALK_SET, &w) != 0)
                soft_raise_pf(v, address, w.error);
        *ret_gpa = w.gpa;
        *ret_kind = mem_kind(v->mem, w.gpa);
        return tlb_enter(v, address, write, how, &w, *ret_kind);
}

void *
mmu_tlb_enter_quietly(struct soft_cpu *v, gva_t address, bool write)
{
        unsigned flags = walk_flags(v, x86_cpl(&v->st) == 3, write, SOFT_ACC_DATA);
        struct x86_walk w;

        if (v->watching || (x86_code64(&v->st) && !soft_canonical(v, address)))
                return NULL;
        if (x86_walk(v->mem, &v->st, address, flags, &w) != 0 || (write && !w.dirty))
                return NULL;
        v->count[SOFT_COUNT_FILLS]++;
        if (x86_walk(v->mem, &v->st, address, flags | X86_WALK_SET, &w) != 0)
                return NULL;
        return tlb_enter(v, address, write, SOFT_ACC_DATA, &w, mem_kind(v->mem, w.gpa));
}

/* ---- code fetch ---- */

static gpa_t
fetch_walk(struct soft_cpu *v, gva_t address, bool raise)
{
        struct soft_mmu *m = v->mmu;
        bool user = x86_cpl(&v->st) == 3;
        uint64_t tag = (address & ~PAGE_MASK) | user;
        struct itlb_entry *it = &m->itlb[(address >> MEM_PAGE_SHIFT) & (ITLB_COUNT - 1)];
        struct x86_walk w;

        if (it->tag != tag || (!it->global && it->space != m->current->space)) {
                unsigned flags = X86_WALK_FETCH | X86_WALK_SET | (user ? X86_WALK_USER : 0);

                if (x86_walk(v->mem, &v->st, address, flags, &w) != 0) {
                        if (raise)
                                soft_raise_pf(v, address, w.error);
                        return ~(gpa_t)0;
                }
                it->tag = tag;
                it->gpa = w.gpa & ~PAGE_MASK;
                it->global = w.global;
                it->space = m->current->space;
                v->count[SOFT_COUNT_FETCH_FILLS]++;
                it->large = w.page_bytes >= 2 * MIB;
                if (mem_kind(v->mem, w.gpa) == MEM_NONE)
                        it->gpa = ~(gpa_t)0;
                if (it->large)
                        pieces_add(&m->large_code, address, (unsigned)__builtin_ctzll(w.page_bytes));
        }
        return it->gpa == ~(gpa_t)0 ? it->gpa : it->gpa | (address & PAGE_MASK);
}

gpa_t
soft_fetch(struct soft_cpu *v, gva_t address)
{
        if (x86_code64(&v->st) && !soft_canonical(v, address))
                soft_raise_error(v, X86_VEC_GP, 0);
        return fetch_walk(v, address, true);
}

bool
soft_fetch_was_large(const struct soft_cpu *v, gva_t address)
{
        return v->mmu->itlb[(address >> MEM_PAGE_SHIFT) & (ITLB_COUNT - 1)].large;
}

gpa_t
soft_fetch_try(struct soft_cpu *v, gva_t address)
{
        if (x86_code64(&v->st) && !soft_canonical(v, address))
                return ~(gpa_t)0;
        return fetch_walk(v, address, false);
}
