/* SPDX-License-Identifier: BSD-2-Clause */
#include "cpu/soft/mirror.h"
#include "base/log.h"
#include "base/util.h"
#include "cpu/soft/mmu.h"
#include "cpu/soft/sys.h"
#include "cpu/soft/target.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>

#define CHUNK_BYTES  (1ull << SOFT_MIRROR_SHIFT)
#define CHUNK_PAGES  (CHUNK_BYTES >> MEM_PAGE_SHIFT)
#define CHUNKS_MAX   24u /* of one address space: enough for programs, libraries, heap and stack wherever they are put */
#define PIECE_BYTES  (2 * MIB)
#define PIECE_PAGES  (PIECE_BYTES >> MEM_PAGE_SHIFT)
#define PIECES       (CHUNK_PAGES / PIECE_PAGES)
/*
 * What translated code may add to an address: an index of 32 bits, signed or not, times 8;
 * a displacement, the drift, the stack pointer's in two blocks, an operand's size.
 */
#define GUARD_STACK  (2 * SOFT_BLOCK_INSNS * SOFT_MIRROR_STACK_STEP)
#define GUARD_BELOW  (8 * 2 * GIB + 2 * GIB + SOFT_MIRROR_DRIFT + GUARD_STACK + 2 * MIB)
#define GUARD_ABOVE  (8 * 4 * GIB + 2 * GIB + SOFT_MIRROR_DRIFT + GUARD_STACK + 2 * MIB)
#define WINDOW_BYTES (GUARD_BELOW + CHUNK_BYTES + GUARD_ABOVE)
#define TABLE_BYTES  (SOFT_MIRROR_CHUNKS * sizeof(uint64_t))
/* The index is 32 bits of an address, whatever it is. */
#define RESERVED_BYTES (SOFT_MIRROR_TABLE + (sizeof(uint64_t) << SOFT_MIRROR_SHIFT))

#define AROUND_PAGES 16u  /* that are mapped together if they can be */
#define AHEAD_PAGES  128u /* the same, behind what is mapped already: it is gone through from end to end */

/*
 * An address space begins to use mirrors when it was found in user mode for several times as long as it would have needed to
 * earn the mapping of what came into its TLB: a page costs some five microseconds, its code is translated again, and code that
 * goes by the TLB takes half as long again.  So one with little memory begins soon, and one that lives on what it has just
 * got, as a starting program does, late.  Milliseconds.
 */
#define AGE_LEAST 4u
#define AGE_OLD   100u /* at the latest, and where mappings are lost time and again */
#define AGE_MAX   4000u
#define AGE_PAGES 14u  /* for each millisecond */

/* What is mapped of a page. */
#define PAGE_THERE 0x1u
#define PAGE_WRITE 0x2u
#define PAGE_LARGE 0x4u /* a piece of a large page: an invalidation of one address in it is for all of it */
#define PAGE_PIECE 0x8u /* mapped at one go with its piece of 2 MiB */

struct chunk {
        gpa_t page[CHUNK_PAGES]; /* with PAGE_*; 0: not mapped.  First: a page of the host's is a piece */
        uint64_t number;  /* linear address >> SOFT_MIRROR_SHIFT */
        uint8_t *window;  /* host address of its first byte */
        unsigned maps;    /* mappings in it */
        uint64_t used[PIECES / 64]; /* pieces with something mapped in */
        struct chunk *next_free;
};
_Static_assert(PIECE_PAGES * sizeof(gpa_t) == MEM_PAGE_SIZE, "chunk_clear gives back the memory of whole pieces");

struct mirror {
        struct chunk *chunk[CHUNKS_MAX];
        unsigned count;
        bool huge; /* pieces of pages beyond 2 MiB are mapped */
        struct soft_near near[SOFT_NEARS];
        unsigned near_count; /* how many chunks have been looked at for them */
};

struct mirrors {
        uint8_t *trap; /* an inaccessible window, for chunks that have none */
        struct chunk *free;
        unsigned chunk_count;
};

/* ---- host memory ---- */

/* Accesses to [at, at + bytes) must not find what was there: no way to go on without. */
static void
make_inaccessible(void *at, size_t bytes)
{
        if (mmap(at, bytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED, -1, 0) != MAP_FAILED)
                return;
        log_error("soft engine: the host refuses to unmap memory; see vm.max_map_count");
        abort();
}

struct soft_cpu *
soft_mirror_cpu_alloc(void)
{
        size_t bytes = RESERVED_BYTES;
        uint8_t *p = soft_map(bytes, PROT_NONE);
        struct soft_cpu *v;

        if (p == NULL) { /* address space may be limited */
                bytes = SOFT_TARGET_TABLE;
                p = soft_map(bytes, PROT_NONE);
        }
        if (p == NULL)
                return NULL;
        if (mprotect(p, SOFT_TARGET_TABLE, PROT_READ | PROT_WRITE) != 0) {
                munmap(p, bytes);
                return NULL;
        }
        v = (struct soft_cpu *)(void *)p;
        v->reserved_bytes = bytes;
        return v;
}

void
soft_mirror_cpu_free(struct soft_cpu *v)
{
        munmap(v, v->reserved_bytes);
}

bool
soft_mirror_possible(const struct soft_cpu *v)
{
        return v->reserved_bytes == RESERVED_BYTES && v->engine->bmi2 && mem_has_file(v->mem) &&
            !(__atomic_load_n(&v->engine->disabled, __ATOMIC_RELAXED) & SOFT_OFF_MIRROR);
}

static unsigned
old_at(const struct aspace *a)
{
        unsigned age = AGE_LEAST + a->filled / AGE_PAGES;

        return a->reloaded || age > AGE_OLD ? AGE_OLD : age;
}

/* Its age @ms milliseconds later. */
static unsigned
older(const struct aspace *a, unsigned ms)
{
        return a->age + (a->age < AGE_MAX ? ms : 0);
}

void
soft_mirror_sample(struct soft_cpu *v, unsigned ms)
{
        struct aspace *a = v->mmu->current;
        unsigned before = a->age;
        gpa_t gpa;

        if (!soft_mirror_possible(v))
                return;
        a->age = older(a, ms);
        a->stack = v->st.gpr[X86_RSP];
        if (!a->old && a->age >= old_at(a)) {
                a->old = true;
                a->unmapped = a->filled;
                soft_jump_flush_user(v);
        }
        if (before < AGE_OLD && a->age >= AGE_OLD)
                soft_jump_flush_old(v);
        gpa = a->old ? soft_fetch_try(v, v->st.rip) : ~(gpa_t)0;
        if (gpa != ~(gpa_t)0)
                soft_code_sampled(v->engine, gpa, ms);
}

bool
soft_mirror_sample_running(struct soft_cpu *v, const struct soft_block *b, gva_t rsp, unsigned ms)
{
        struct aspace *a = v->mmu->current;
        unsigned age = older(a, ms);

        if (!soft_mirror_possible(v))
                return true;
        if ((!a->old && age >= old_at(a)) || (a->age < AGE_OLD && age >= AGE_OLD) || (a->old && !(b->mode & SOFT_MODE_MIRROR)))
                return false;
        a->age = age;
        a->stack = rsp;
        if (a->old)
                soft_code_sampled(v->engine, b->paddr, ms);
        return true;
}

/*
 * The host has no more addresses to give: all code goes by the TLB from now on.  In a signal handler, or with the guest's
 * FPU state in the host's registers: the dispatcher reports it.
 */
static void
give_up(struct soft_cpu *v)
{
        if (__atomic_fetch_or(&v->engine->disabled, SOFT_OFF_MIRROR, __ATOMIC_RELAXED) & SOFT_OFF_MIRROR)
                return;
        atomic_store(&v->engine->mirrors_refused, true);
        soft_code_flush(v);
}

void
soft_mirror_report(struct soft_cpu *v)
{
        if (!atomic_exchange(&v->engine->mirrors_refused, false))
                return;
        soft_fpu_put(v);
        log_warn("soft engine: addresses for fast access to guest memory cannot be had (ulimit -v?); programs will run slower");
}

/* ---- the table ---- */

static uint64_t *
table_of(struct soft_cpu *v)
{
        return (uint64_t *)(void *)((uint8_t *)v + SOFT_MIRROR_TABLE);
}

/* What to add to addresses in chunk @number for those of its @window. */
static uint64_t
distance(uint64_t number, const uint8_t *window)
{
        return (uint64_t)(uintptr_t)window - (number << SOFT_MIRROR_SHIFT);
}

static void
table_set(struct soft_cpu *v, uint64_t number, const uint8_t *window)
{
        table_of(v)[number] = distance(number, window);
}

static void
table_trap(struct soft_cpu *v, uint64_t number)
{
        table_set(v, number, v->mirrors->trap);
}

/* No chunk has this number.  Registers can; they are led to the window of nothing. */
#define NEAR_NONE 0xffffffffu

static void
nears_empty(const struct soft_cpu *v, struct soft_near near[SOFT_NEARS])
{
        for (unsigned n = 0; n < SOFT_NEARS; n++)
                near[n] = (struct soft_near){ NEAR_NONE, distance(NEAR_NONE, v->mirrors->trap) };
}

static void
nears_forget(const struct soft_cpu *v, struct mirror *m)
{
        nears_empty(v, m->near);
        m->near_count = 0;
}

/* Has translated code see those of @m; NULL: none. */
static void
nears_show(struct soft_cpu *v, const struct mirror *m)
{
        if (m == NULL)
                nears_empty(v, v->near);
        else
                memcpy(v->near, m->near, sizeof(v->near));
}

static bool
mirrors_create(struct soft_cpu *v)
{
        struct mirrors *m = soft_map(sizeof(*m), PROT_READ | PROT_WRITE);
        uint8_t *trap;

        if (m == NULL) {
                give_up(v);
                return false;
        }
        trap = soft_map(WINDOW_BYTES, PROT_NONE);
        if (trap == NULL || mprotect((uint8_t *)v + SOFT_TARGET_TABLE, 2 * TABLE_BYTES, PROT_READ | PROT_WRITE) != 0) {
                if (trap != NULL)
                        munmap(trap, WINDOW_BYTES);
                munmap(m, sizeof(*m));
                give_up(v);
                return false;
        }
        m->trap = trap + GUARD_BELOW;
        v->mirrors = m;
        for (uint64_t n = 0; n < SOFT_MIRROR_CHUNKS; n++)
                table_trap(v, n);
        soft_targets_begin(v);
        nears_show(v, NULL);
        return true;
}

bool
soft_mirror_wanted(struct soft_cpu *v)
{
        return soft_mirror_possible(v) && ((v->engine->disabled & SOFT_OFF_TLB) || v->mmu->current->old) &&
            (v->mirrors != NULL || mirrors_create(v));
}

/* ---- the stack ---- */

uint64_t
soft_mirror_of_stack(struct soft_cpu *v, gva_t rsp)
{
        uint64_t number = rsp >> SOFT_MIRROR_SHIFT;

        return number < SOFT_MIRROR_CHUNKS ? table_of(v)[number] : distance(number, v->mirrors->trap);
}

bool
soft_mirror_loads_stack(const uint8_t *pc, const uint8_t **ret_next)
{
        /* mov r10, gs:[r10 * 8 + disp32]; mov gs:[disp32], r10 */
        static const uint8_t load[] = { 0x65, 0x4e, 0x8b, 0x14, 0xd5 }, store[] = { 0x65, 0x4c, 0x89, 0x14, 0x25 };
        static const uint32_t to = offsetof(struct soft_cpu, stack_mirror);

        *ret_next = pc + sizeof(load) + sizeof(to);
        return memcmp(pc, load, sizeof(load)) == 0 && memcmp(*ret_next, store, sizeof(store)) == 0 &&
            memcmp(*ret_next + sizeof(store), &to, sizeof(to)) == 0;
}

/* ---- chunks ---- */

static struct chunk *
chunk_create(struct soft_cpu *v)
{
        struct mirrors *m = v->mirrors;
        struct chunk *c = m->free;
        uint8_t *window;

        if (c != NULL) {
                m->free = c->next_free;
                return c;
        }
        if (m->chunk_count == CHUNKS_MAX * SOFT_ASPACES)
                return NULL;
        window = soft_map(WINDOW_BYTES, PROT_NONE);
        if (window == NULL) {
                give_up(v);
                return NULL;
        }
        c = soft_map(sizeof(*c), PROT_READ | PROT_WRITE);
        if (c == NULL) {
                munmap(window, WINDOW_BYTES);
                give_up(v);
                return NULL;
        }
        c->window = window + GUARD_BELOW;
        m->chunk_count++;
        return c;
}

static void
chunk_destroy(struct chunk *c)
{
        munmap(c->window - GUARD_BELOW, WINDOW_BYTES);
        munmap(c, sizeof(*c));
}

static void
count_maps(struct soft_cpu *v, struct chunk *c, int change)
{
        c->maps += (unsigned)change;
        atomic_fetch_add_explicit(&v->engine->mirror_maps, (uint32_t)change, memory_order_relaxed);
}

/* Unmaps all that is mapped in @c. */
static void
chunk_clear(struct soft_cpu *v, struct chunk *c)
{
        size_t first = PIECES, end = 0;

        for (size_t w = 0; w < ARRAY_LEN(c->used); w++) {
                for (uint64_t bits = c->used[w]; bits != 0; bits &= bits - 1) {
                        size_t piece = w * 64 + (size_t)__builtin_ctzll(bits);

                        first = piece < first ? piece : first;
                        end = piece + 1;
                }
                c->used[w] = 0;
        }
        if (end != 0) {
                make_inaccessible(c->window + first * PIECE_BYTES, (end - first) * PIECE_BYTES);
                /* Zero from now on; the next process has its memory elsewhere. */
                if (madvise(&c->page[first * PIECE_PAGES], (end - first) * MEM_PAGE_SIZE, MADV_DONTNEED) != 0)
                        memset(&c->page[first * PIECE_PAGES], 0, (end - first) * MEM_PAGE_SIZE);
        }
        count_maps(v, c, -(int)c->maps);
}

/* Forgets what is mapped in @piece, which stays mapped. */
static void
piece_forget(struct soft_cpu *v, struct chunk *c, size_t piece)
{
        gpa_t *page = &c->page[piece * PIECE_PAGES];
        bool whole = false;
        int maps = 0;

        for (size_t n = 0; n < PIECE_PAGES; n++) {
                whole |= (page[n] & PAGE_PIECE) != 0;
                maps += (page[n] & (PAGE_THERE | PAGE_PIECE)) == PAGE_THERE;
        }
        count_maps(v, c, -(maps + whole));
        memset(page, 0, PIECE_PAGES * sizeof(*page));
        c->used[piece / 64] &= ~(1ull << piece % 64);
}

static void
piece_clear(struct soft_cpu *v, struct chunk *c, size_t piece)
{
        piece_forget(v, c, piece);
        make_inaccessible(c->window + piece * PIECE_BYTES, PIECE_BYTES);
        v->count[SOFT_COUNT_MIRROR_UNMAPS]++;
}

/* Pages from @first to @end, and with whole pieces what the host has for them. */
static void
pages_clear(struct soft_cpu *v, struct chunk *c, size_t first, size_t end)
{
        for (size_t page = first; page < end; page++) {
                if (c->page[page] == 0)
                        continue;
                count_maps(v, c, -1);
                c->page[page] = 0;
        }
        make_inaccessible(c->window + (first << MEM_PAGE_SHIFT), (end - first) << MEM_PAGE_SHIFT);
        for (size_t piece = (first + PIECE_PAGES - 1) / PIECE_PAGES; (piece + 1) * PIECE_PAGES <= end; piece++)
                (void)madvise(&c->page[piece * PIECE_PAGES], MEM_PAGE_SIZE, MADV_DONTNEED);
        v->count[SOFT_COUNT_MIRROR_UNMAPS]++;
}

static struct chunk *
chunk_find(const struct mirror *m, uint64_t number)
{
        for (unsigned n = 0; n < m->count; n++)
                if (m->chunk[n]->number == number)
                        return m->chunk[n];
        return NULL;
}

/* ---- mirrors ---- */

void
soft_mirror_switch(struct soft_cpu *v, struct aspace *from, struct aspace *to)
{
        if (from->mirror != NULL)
                for (unsigned n = 0; n < from->mirror->count; n++)
                        table_trap(v, from->mirror->chunk[n]->number);
        if (to->mirror != NULL)
                for (unsigned n = 0; n < to->mirror->count; n++)
                        table_set(v, to->mirror->chunk[n]->number, to->mirror->chunk[n]->window);
        if (v->mirrors != NULL)
                nears_show(v, to->mirror);
}

void
soft_mirror_flush(struct soft_cpu *v, struct aspace *a)
{
        struct mirror *m = a->mirror;

        if (m == NULL || m->count == 0)
                return;
        v->count[SOFT_COUNT_MIRROR_FLUSHES]++;
        while (m->count != 0) {
                struct chunk *c = m->chunk[--m->count];

                if (a == v->mmu->current)
                        table_trap(v, c->number);
                chunk_clear(v, c);
                c->next_free = v->mirrors->free;
                v->mirrors->free = c;
        }
        m->huge = false;
        nears_forget(v, m);
        if (a == v->mmu->current) {
                nears_show(v, m);
                v->stack_mirror = soft_mirror_of_stack(v, v->st.gpr[X86_RSP]);
        }
}

void
soft_mirror_invalidate(struct soft_cpu *v, struct aspace *a, gva_t address)
{
        size_t page = (address & (CHUNK_BYTES - 1)) >> MEM_PAGE_SHIFT;
        struct chunk *c;

        if (a->mirror == NULL)
                return;
        if (a->mirror->huge) {
                soft_mirror_flush(v, a);
                return;
        }
        c = chunk_find(a->mirror, address >> SOFT_MIRROR_SHIFT);
        if (c == NULL || !(c->used[page / PIECE_PAGES / 64] >> page / PIECE_PAGES % 64 & 1))
                return;
        if (c->page[page] & (PAGE_LARGE | PAGE_PIECE)) {
                piece_clear(v, c, page / PIECE_PAGES);
                return;
        }
        if (c->page[page] != 0)
                pages_clear(v, c, page, page + 1);
        /* The page was not there as part of a large one; others around it may be (SDM 3A 4.10.4.1). */
        for (size_t p = page / PIECE_PAGES * PIECE_PAGES, n = 0; n < PIECE_PAGES; n++)
                if (c->page[p + n] & PAGE_LARGE) {
                        piece_clear(v, c, page / PIECE_PAGES);
                        return;
                }
}

static void
chunk_watch_piece(struct soft_cpu *v, struct chunk *c, size_t piece)
{
        for (size_t p = piece * PIECE_PAGES; p < (piece + 1) * PIECE_PAGES; p++) {
                if (!(c->page[p] & PAGE_WRITE) || !soft_code_page(v->engine, c->page[p]))
                        continue;
                if (c->page[p] & PAGE_PIECE) {
                        piece_clear(v, c, piece);
                        return;
                }
                pages_clear(v, c, p, p + 1);
        }
}

static void
for_each_piece(struct soft_cpu *v, struct mirror *m, void (*fn)(struct soft_cpu *v, struct chunk *c, size_t piece))
{
        for (unsigned n = 0; n < m->count; n++)
                for (size_t w = 0; w < PIECES / 64; w++)
                        for (uint64_t bits = m->chunk[n]->used[w]; bits != 0; bits &= bits - 1)
                                fn(v, m->chunk[n], w * 64 + (size_t)__builtin_ctzll(bits));
}

void
soft_mirror_watch(struct soft_cpu *v)
{
        for (unsigned n = 0; n < SOFT_ASPACES; n++)
                if (v->mmu->aspace[n].mirror != NULL)
                        for_each_piece(v, v->mmu->aspace[n].mirror, chunk_watch_piece);
}

void
soft_mirror_destroy(struct soft_cpu *v)
{
        if (v->mirrors == NULL)
                return;
        for (unsigned n = 0; n < SOFT_ASPACES; n++) {
                soft_mirror_flush(v, &v->mmu->aspace[n]);
                if (v->mmu->aspace[n].mirror != NULL)
                        munmap(v->mmu->aspace[n].mirror, sizeof(*v->mmu->aspace[n].mirror));
        }
        for (struct chunk *c = v->mirrors->free, *next; c != NULL; c = next) {
                next = c->next_free;
                chunk_destroy(c);
        }
        munmap(v->mirrors->trap - GUARD_BELOW, WINDOW_BYTES);
        munmap(v->mirrors, sizeof(*v->mirrors));
        v->mirrors = NULL;
}

/* ---- faults ---- */

/* 0: memory of the guest is there, and may be accessed so. */
static int
walk(struct soft_cpu *v, gva_t address, bool write, bool set, struct x86_walk *ret_walk)
{
        unsigned flags = X86_WALK_USER | (write ? X86_WALK_WRITE : 0) | (set ? X86_WALK_SET : 0);

        ret_walk->error = 0;
        if (!soft_canonical(v, address) || x86_walk(v->mem, &v->st, address, flags, ret_walk) != 0)
                return -1;
        return mem_kind(v->mem, ret_walk->gpa) == MEM_RAM && (ret_walk->pkey == 0 || !(v->st.cr4 & X86_CR4_PKE)) ? 0 : -1;
}

/* Whether all of a piece may be mapped at one go: there is no code in it. */
static bool
piece_mappable(struct soft_cpu *v, gpa_t gpa)
{
        if (gpa + PIECE_BYTES > v->engine->code_pages_limit)
                return false;
        for (gpa_t p = gpa; p < gpa + PIECE_BYTES; p += MEM_PAGE_SIZE)
                if (!soft_mmu_let_write(v, p))
                        return false;
        return true;
}

static bool
make_room(struct soft_cpu *v)
{
        if (atomic_load_explicit(&v->engine->mirror_maps, memory_order_relaxed) < v->engine->mirror_maps_max)
                return true;
        /* Windows stay where they are: the block that faulted may know one of them. */
        for (unsigned n = 0; n < SOFT_ASPACES; n++) {
                struct mirror *m = v->mmu->aspace[n].mirror;

                for (unsigned k = 0; m != NULL && k < m->count; k++)
                        chunk_clear(v, m->chunk[k]);
        }
        v->count[SOFT_COUNT_MIRROR_FLUSHES]++;
        return atomic_load_explicit(&v->engine->mirror_maps, memory_order_relaxed) < v->engine->mirror_maps_max;
}

static bool
map_piece(struct soft_cpu *v, struct chunk *c, size_t piece, gpa_t gpa, bool writable)
{
        uint8_t *at = c->window + piece * PIECE_BYTES;

        if (mem_map_again(v->mem, gpa, PIECE_BYTES, at, PROT_READ | (writable ? PROT_WRITE : 0)) != 0)
                return false;
        piece_forget(v, c, piece);
        for (size_t n = 0; n < PIECE_PAGES; n++)
                c->page[piece * PIECE_PAGES + n] = (gpa + (n << MEM_PAGE_SHIFT)) | PAGE_THERE | PAGE_LARGE | PAGE_PIECE |
                    (writable ? PAGE_WRITE : 0);
        c->used[piece / 64] |= 1ull << piece % 64;
        count_maps(v, c, 1);
        v->count[SOFT_COUNT_MIRROR_MAPS]++;
        return true;
}

/*
 * A page of tables is often used for the next process; but that has its stack elsewhere, in Linux.  So the root is the same process's
 * if the stack is still where it was.
 */
void
soft_mirror_reload(struct soft_cpu *v, struct aspace *a)
{
        uint64_t root = v->st.cr3 & ~PAGE_MASK;
        struct x86_walk w;

        a->reloaded = a->age != 0 && a->root == root && walk(v, a->stack, false, false, &w) == 0;
        a->age = a->reloaded ? a->age - a->age / 4 : 0;
        a->old = a->reloaded && a->age >= AGE_OLD;
        if (!a->reloaded)
                a->filled = 0;
        a->root = root;
}

/* What may be mapped of a page that a walk has found, with PAGE_*; 0: nothing. */
static gpa_t
mappable(struct soft_cpu *v, struct mirror *m, const struct x86_walk *w, bool write)
{
        gpa_t gpa = w->gpa & ~PAGE_MASK;
        bool writable = w->dirty && w->writable && soft_mmu_let_write(v, gpa);

        if (write && !writable)
                return 0; /* over translated code */
        m->huge |= w->page_bytes > PIECE_BYTES;
        return gpa | PAGE_THERE | (writable ? PAGE_WRITE : 0) | (w->page_bytes > MEM_PAGE_SIZE ? PAGE_LARGE : 0);
}

/* ---- reviews ---- */

/* Whether page @page of @c may stay mapped as it is: the page tables say the same, and need not be told of an access. */
static bool
page_stands(struct soft_cpu *v, struct mirror *m, const struct chunk *c, size_t page)
{
        const gpa_t same = ~(gpa_t)(PAGE_WRITE | PAGE_PIECE);
        gpa_t known = c->page[page], now;
        struct x86_walk w;

        if (walk(v, c->number << SOFT_MIRROR_SHIFT | page << MEM_PAGE_SHIFT, false, false, &w) != 0 || !w.accessed)
                return false;
        now = mappable(v, m, &w, false);
        return (now & same) == (known & same) && (now & PAGE_WRITE) >= (known & PAGE_WRITE);
}

/* Pages to be dropped, from @first to @end, and between them what is not mapped anyway; @end is 0: none. */
struct range {
        size_t first, end;
};

static void
drop_range(struct soft_cpu *v, struct chunk *c, struct range *r)
{
        if (r->end != 0)
                pages_clear(v, c, r->first, r->end);
        r->end = 0;
}

static void
piece_review(struct soft_cpu *v, struct mirror *m, struct chunk *c, size_t piece, struct range *drop)
{
        size_t from = piece * PIECE_PAGES;
        bool whole = false; /* its large page stands: all pages of it do */
        bool any = false;

        for (size_t page = from; page < from + PIECE_PAGES; page++) {
                bool of_piece = c->page[page] & PAGE_PIECE;

                if (c->page[page] == 0)
                        continue;
                if ((of_piece && whole) || page_stands(v, m, c, page)) {
                        drop_range(v, c, drop);
                        whole |= of_piece;
                        any = true;
                } else if (of_piece) {
                        piece_clear(v, c, piece);
                        return;
                } else {
                        drop->first = drop->end == 0 ? page : drop->first;
                        drop->end = page + 1;
                }
        }
        if (!any) { /* all of it: the host's page table goes, too */
                drop->first = drop->end == 0 || drop->first > from ? from : drop->first;
                drop->end = from + PIECE_PAGES;
                c->used[piece / 64] &= ~(1ull << piece % 64);
        }
}

void
soft_mirror_review(struct soft_cpu *v, struct aspace *a)
{
        struct mirror *m = a->mirror;

        for (unsigned n = 0; m != NULL && n < m->count; n++) {
                struct range drop = { 0 };

                for (size_t w = 0; w < PIECES / 64; w++)
                        for (uint64_t bits = m->chunk[n]->used[w]; bits != 0; bits &= bits - 1)
                                piece_review(v, m, m->chunk[n], w * 64 + (size_t)__builtin_ctzll(bits), &drop);
                drop_range(v, m->chunk[n], &drop);
        }
}

/* Maps @count pages from page @page of @c on, which are alike and lie one after the other in guest memory too. */
static bool
map_run(struct soft_cpu *v, struct chunk *c, size_t page, size_t count, gpa_t first)
{
        int prot = PROT_READ | (first & PAGE_WRITE ? PROT_WRITE : 0);

        if (mem_map_again(v->mem, first & ~PAGE_MASK, count << MEM_PAGE_SHIFT,
            c->window + (page << MEM_PAGE_SHIFT), prot) != 0)
                return false;
        for (size_t n = 0; n < count; n++) {
                count_maps(v, c, c->page[page + n] == 0 || (c->page[page + n] & PAGE_PIECE)); /* one of its own now */
                c->page[page + n] = first + (n << MEM_PAGE_SHIFT);
        }
        c->used[page / PIECE_PAGES / 64] |= 1ull << page / PIECE_PAGES % 64;
        v->count[SOFT_COUNT_MIRROR_MAPS]++;
        return true;
}

/* What may be mapped of page @page of @c, if nothing is yet; 0: nothing. */
static gpa_t
neighbour(struct soft_cpu *v, struct mirror *m, const struct chunk *c, size_t page)
{
        struct x86_walk w;

        if (c->page[page] != 0 || walk(v, c->number << SOFT_MIRROR_SHIFT | page << MEM_PAGE_SHIFT, false, true, &w) != 0)
                return 0;
        return mappable(v, m, &w, false);
}

/*
 * Maps page @page, which is as @known says, and with it the neighbours that lie beside it in guest memory too: that
 * costs no more.
 */
static bool
map_around(struct soft_cpu *v, struct mirror *m, struct chunk *c, size_t page, gpa_t known)
{
        size_t first = page, end = page + 1;
        size_t ahead = page != 0 && c->page[page - 1] != 0 ? AHEAD_PAGES : AROUND_PAGES;

        while (first % AROUND_PAGES != 0 && neighbour(v, m, c, first - 1) == known - ((page - first + 1) << MEM_PAGE_SHIFT))
                first--;
        while (end % ahead != 0 && neighbour(v, m, c, end) == known + ((end - page) << MEM_PAGE_SHIFT))
                end++;
        return map_run(v, c, first, end - first, known - ((page - first) << MEM_PAGE_SHIFT));
}

static enum soft_mirror_answer
map_page(struct soft_cpu *v, struct mirror *m, struct chunk *c, gva_t address, bool write)
{
        size_t page = (address & (CHUNK_BYTES - 1)) >> MEM_PAGE_SHIFT, piece = page / PIECE_PAGES;
        gpa_t found, piece_gpa;
        struct x86_walk w;

        if (v->watching)
                return SOFT_MIRROR_PLAINLY;
        if (walk(v, address, write, true, &w) != 0) {
                if (w.error == 0)
                        return SOFT_MIRROR_PLAINLY;
                v->event = (struct soft_event){ SOFT_EV_EXCEPTION, X86_VEC_PF, true, w.error };
                v->st.cr2 = address;
                return SOFT_MIRROR_RAISE;
        }
        found = mappable(v, m, &w, write);
        if (found == 0)
                return SOFT_MIRROR_PLAINLY;
        if ((c->page[page] & PAGE_THERE) && (!write || (c->page[page] & PAGE_WRITE)))
                return SOFT_MIRROR_PLAINLY; /* that is not what it lacked */
        if (!make_room(v))
                return SOFT_MIRROR_PLAINLY;
        piece_gpa = (found & ~PAGE_MASK) - (page % PIECE_PAGES << MEM_PAGE_SHIFT);
        if (w.page_bytes >= PIECE_BYTES && mem_kind(v->mem, piece_gpa) == MEM_RAM &&
            piece_mappable(v, piece_gpa) && map_piece(v, c, piece, piece_gpa, found & PAGE_WRITE))
                return SOFT_MIRROR_AGAIN;
        return map_around(v, m, c, page, found) ? SOFT_MIRROR_AGAIN : SOFT_MIRROR_PLAINLY;
}

/* A window for the chunk of @key, if @address, which is accessed off it, is mapped.  True: there was none before. */
static bool
add_chunk(struct soft_cpu *v, struct mirror *m, gva_t key, gva_t address)
{
        uint64_t number = key >> SOFT_MIRROR_SHIFT;
        struct x86_walk w;
        struct chunk *c;

        if (number >= SOFT_MIRROR_CHUNKS || chunk_find(m, number) != NULL || m->count == CHUNKS_MAX)
                return false;
        if (walk(v, address, false, false, &w) != 0)
                return false;
        c = chunk_create(v);
        if (c == NULL)
                return false;
        c->number = number;
        m->chunk[m->count++] = c;
        table_set(v, number, c->window);
        return true;
}

/* The instruction at st.rip uses a chunk without a window: gives it one.  False: there is none to give. */
static bool
add_chunks(struct soft_cpu *v, struct mirror *m, const struct soft_block *b)
{
        gva_t at = v->st.rip & PAGE_MASK;
        struct x86_insn i;
        bool any = false;

        if (x86_decode(v->mem_base + b->page[0] + at, at > MEM_PAGE_SIZE - X86_INSN_MAX ? MEM_PAGE_SIZE - at : X86_INSN_MAX,
            X86_MODE_64, &i) != X86_DECODE_OK)
                return false;
        if (i.has_mem) {
                gva_t address = soft_ea(v, &i, v->st.rip + i.len);

                if (i.mem_seg == X86_FS || i.mem_seg == X86_GS) {
                        address += v->seg_base[i.mem_seg];
                        any |= add_chunk(v, m, v->seg_base[i.mem_seg], address);
                }
                if (i.mem_base == X86_BASE_RIP)
                        any |= add_chunk(v, m, v->st.rip, address);
                else if (i.mem_base >= 0)
                        any |= add_chunk(v, m, v->st.gpr[i.mem_base], address);
                any |= add_chunk(v, m, address, address);
        }
        /* PUSH, POP, CALL, RET, LEAVE */
        any |= add_chunk(v, m, v->st.gpr[X86_RSP], v->st.gpr[X86_RSP]);
        any |= add_chunk(v, m, v->st.gpr[X86_RSP], v->st.gpr[X86_RSP] - 8);
        if (i.desc->class == X86_CLASS_LEAVE)
                any |= add_chunk(v, m, v->st.gpr[X86_RBP], v->st.gpr[X86_RBP]);
        return any;
}

static struct mirror *
mirror_here(struct soft_cpu *v)
{
        struct aspace *a = v->mmu->current;

        if (a->mirror == NULL) {
                a->mirror = soft_map(sizeof(*a->mirror), PROT_READ | PROT_WRITE);
                if (a->mirror != NULL)
                        nears_forget(v, a->mirror);
        }
        return a->mirror;
}

/* ---- chunks that are guessed ---- */

/*
 * Code is shared by processes, so a near chunk means the same in each: the stack, or one of the first two of a kind:
 * programs at fixed addresses and their heap, position-independent ones and theirs, libraries and mappings.
 */
#define NEAR_STACK (SOFT_NEARS - 1)

static unsigned
near_kind(uint64_t number)
{
        return number < 0x5000 ? 0 : number < 0x7000 ? 2 : 4;
}

static int
near_find(const struct mirror *m, uint64_t number)
{
        for (unsigned n = 0; n < SOFT_NEARS; n++)
                if (m->near[n].number == number)
                        return (int)n;
        return -1;
}

/* Where the chunk goes that is not there yet; -1: nowhere. */
static int
near_free(const struct soft_cpu *v, const struct mirror *m, uint64_t number)
{
        unsigned kind = near_kind(number);

        if (number == v->st.gpr[X86_RSP] >> SOFT_MIRROR_SHIFT && m->near[NEAR_STACK].number == NEAR_NONE)
                return NEAR_STACK;
        for (unsigned n = kind; n < kind + 2; n++)
                if (m->near[n].number == NEAR_NONE)
                        return (int)n;
        return -1;
}

/* Which near chunk @c is, or becomes; -1: none. */
static int
near_take(struct soft_cpu *v, struct mirror *m, const struct chunk *c)
{
        int n = near_find(m, c->number);

        if (n < 0) {
                n = near_free(v, m, c->number);
                if (n >= 0)
                        m->near[n] = (struct soft_near){ c->number, distance(c->number, c->window) };
        }
        return n;
}

int
soft_mirror_near(struct soft_cpu *v, gva_t address)
{
        struct mirror *m = mirror_here(v);
        struct chunk *c;
        int n;

        if (m == NULL)
                return -1;
        add_chunk(v, m, address, address);
        c = chunk_find(m, address >> SOFT_MIRROR_SHIFT);
        if (c == NULL)
                return -1;
        n = near_take(v, m, c);
        nears_show(v, m);
        return n;
}

void
soft_mirror_near_update(struct soft_cpu *v)
{
        struct mirror *m = v->mmu->current->mirror;

        if (m == NULL || m->near_count == m->count)
                return;
        for (; m->near_count < m->count; m->near_count++)
                near_take(v, m, m->chunk[m->near_count]);
        nears_show(v, m);
}

bool
soft_mirror_peek(struct soft_cpu *v, gva_t address, unsigned size, uint64_t *ret_value)
{
        struct x86_walk w;

        if ((address & PAGE_MASK) > MEM_PAGE_SIZE - size || walk(v, address, false, false, &w) != 0)
                return false;
        *ret_value = 0;
        memcpy(ret_value, v->mem_base + w.gpa, size);
        return true;
}

/* ---- faults of accesses ---- */

static bool
in_window(const uint8_t *at, const uint8_t *window)
{
        return (uint64_t)(at - (window - GUARD_BELOW)) < WINDOW_BYTES;
}

static bool
in_table(struct soft_cpu *v, const uint8_t *at)
{
        return (uint64_t)(at - (const uint8_t *)table_of(v)) < RESERVED_BYTES - SOFT_MIRROR_TABLE;
}

enum soft_mirror_answer
soft_mirror_fault(struct soft_cpu *v, const struct soft_block *b, const uint8_t *at, bool write)
{
        struct mirror *m = mirror_here(v);
        enum soft_mirror_answer answer;

        v->count[SOFT_COUNT_MIRROR_FAULTS]++;
        if (v->mmu->current->unmapped != 0)
                v->mmu->current->unmapped--;
        else
                soft_code_faulted(v->engine, b->page[0]);
        if (m == NULL)
                return SOFT_MIRROR_PLAINLY;
        for (unsigned n = 0; n < m->count; n++) {
                uint64_t offset = (uint64_t)(at - m->chunk[n]->window);

                if (offset < CHUNK_BYTES)
                        return map_page(v, m, m->chunk[n], m->chunk[n]->number << SOFT_MIRROR_SHIFT | offset, write);
                if (in_window(at, m->chunk[n]->window))
                        return SOFT_MIRROR_PLAINLY;
        }
        if (!in_window(at, v->mirrors->trap) && !in_table(v, at))
                return SOFT_MIRROR_ELSEWHERE;
        answer = add_chunks(v, m, b) ? SOFT_MIRROR_AGAIN : SOFT_MIRROR_PLAINLY;
        v->stack_mirror = soft_mirror_of_stack(v, v->st.gpr[X86_RSP]);
        return answer;
}
