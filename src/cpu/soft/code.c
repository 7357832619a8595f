/* SPDX-License-Identifier: BSD-2-Clause */
/* The code cache; see code.h. */
#include "cpu/soft/code.h"
#include "base/huge.h"
#include "base/parse.h"
#include "base/util.h"
#include "cpu/soft/emit.h"
#include "cpu/soft/observe.h"
#include "cpu/soft/run.h"
#include "cpu/soft/target.h"
#include "mem/file.h"

#include <errno.h>
#include <linux/futex.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#define CODE_BYTES      (64 * MIB)
#define CODE_HASH_BITS  18
#define REGION_BYTES    (512 * KIB)
/* What a block may need. */
#define CODE_ROOM       (64 * KIB)
#define META_ROOM       (32 * KIB)

/* ---- lock: after Drepper's "Futexes are tricky", mutex 2 ---- */

void
soft_futex(_Atomic uint32_t *word, int op, uint32_t value)
{
        syscall(SYS_futex, word, op | FUTEX_PRIVATE_FLAG, value, NULL, NULL, 0);
}

void
soft_lock_acquire(struct soft_lock *lock)
{
        uint32_t c = 0;

        if (atomic_compare_exchange_strong_explicit(&lock->word, &c, 1, memory_order_acquire,
                memory_order_relaxed))
                return;
        while (atomic_exchange_explicit(&lock->word, 2, memory_order_acquire) != 0)
                soft_futex(&lock->word, FUTEX_WAIT, 2);
}

void
soft_lock_release(struct soft_lock *lock)
{
        if (atomic_exchange_explicit(&lock->word, 0, memory_order_release) == 2)
                soft_futex(&lock->word, FUTEX_WAKE, 1);
}

/* ---- memory ---- */

void *
soft_map(size_t bytes, int prot)
{
        void *p = mmap(NULL, bytes, prot, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

        return p == MAP_FAILED ? NULL : p;
}

/*
 * The same memory twice, so that no page is ever writable and executable.  Of huge pages: code that is spread widely
 * misses the host's TLB.
 */
static int
code_map_file(struct soft_engine *e, int fd)
{
        e->code_w = huge_map(e->code_size, PROT_NONE, 0);
        e->code_x = huge_map(e->code_size, PROT_NONE, MAP_32BIT); /* target maps hold addresses of 32 bits */
        if (e->code_x == NULL)
                e->code_x = huge_map(e->code_size, PROT_NONE, 0);
        if (e->code_w == NULL || e->code_x == NULL ||
            mmap(e->code_w, e->code_size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, fd, 0) == MAP_FAILED ||
            mmap(e->code_x, e->code_size, PROT_READ | PROT_EXEC, MAP_SHARED | MAP_FIXED, fd, 0) == MAP_FAILED)
                return -errno;
        return 0;
}

/* The same of shared anonymous memory, which perf takes for generated code; mremap() maps it again where the old size is 0. */
static int
code_map_anonymous(struct soft_engine *e)
{
        void *w, *x;

        w = mmap(NULL, e->code_size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
        if (w == MAP_FAILED)
                return -errno;
        e->code_w = w;
        x = mremap(w, 0, e->code_size, MREMAP_MAYMOVE);
        if (x == MAP_FAILED)
                return -errno;
        e->code_x = x;
        return mprotect(x, e->code_size, PROT_READ | PROT_EXEC) == 0 ? 0 : -errno;
}

static int
code_map_twice(struct soft_engine *e)
{
        int fd, error;

        if (soft_observe_wants_map(e))
                return code_map_anonymous(e);
        fd = mem_file_create(e->code_size);
        if (fd < 0)
                return fd;
        error = code_map_file(e, fd);
        close(fd);
        return error;
}

/* soft.cache_size has been checked by the configuration: a number of bytes with a suffix. */
static size_t
code_bytes(const struct soft_engine *e)
{
        const char *s = e->config->option == NULL ? NULL :
                                                   e->config->option(e->config->option_ctx, "soft.cache_size");
        uint64_t bytes;

        return s != NULL && parse_size(s, &bytes) == 0 ? (bytes + MIB - 1) / MIB * MIB : CODE_BYTES;
}

/* Blocks that fit in a region's metadata. */
static size_t
order_max(const struct soft_engine *e)
{
        return e->region_meta / sizeof(struct soft_block);
}

static size_t
page_bytes(const struct soft_engine *e)
{
        return (e->code_pages_limit >> MEM_PAGE_SHIFT) * sizeof(e->pages[0]);
}

static size_t
bitmap_bytes(const struct soft_engine *e)
{
        return (e->code_pages_limit >> MEM_PAGE_SHIFT) / 8 + 8;
}

static size_t
dead_bytes(const struct soft_engine *e)
{
        return e->code_size / SOFT_CODE_ALIGN / 8;
}

/* What the thunks have left, in at least two regions. */
static void
code_divide(struct soft_engine *e)
{
        size_t count = e->code_size / REGION_BYTES;

        e->code_base = (e->code_base + SOFT_CODE_ALIGN * 64 - 1) & ~(SOFT_CODE_ALIGN * 64 - 1); /* whole words of e->dead */
        e->region_count = count > SOFT_REGIONS_MAX ? SOFT_REGIONS_MAX : (unsigned)count;
        e->region_code = (e->code_size - e->code_base) / e->region_count & ~(SOFT_CODE_ALIGN * 64 - 1);
        e->region_meta = e->region_code / 2 * 3 & ~(size_t)63;
}

/* The pages of the region that is filled next, at once: one by one they would cost two page faults each. */
static void
region_populate(struct soft_engine *e)
{
        size_t start = (e->code_base + e->region_now * e->region_code) & ~(size_t)(MEM_PAGE_SIZE - 1);
        size_t bytes = e->code_base + (e->region_now + 1) * e->region_code - start;

        (void)madvise(e->code_w + start, bytes, MADV_POPULATE_WRITE);
        (void)madvise(e->code_x + start, bytes, MADV_POPULATE_READ);
}

int
soft_code_create(struct soft_engine *e)
{
        int error;

        e->code_size = code_bytes(e);
        e->code_pages_limit = mem_limit(e->mem);
        error = code_map_twice(e);
        if (error != 0)
                return error;
        soft_thunks_emit(e);
        code_divide(e);
        e->meta = soft_map(e->region_count * e->region_meta, PROT_READ | PROT_WRITE);
        e->hash = huge_map(sizeof(e->hash[0]) << CODE_HASH_BITS, PROT_READ | PROT_WRITE, 0);
        e->dead = soft_map(dead_bytes(e), PROT_READ | PROT_WRITE);
        e->order = soft_map(e->region_count * order_max(e) * sizeof(e->order[0]), PROT_READ | PROT_WRITE);
        e->pages = soft_map(page_bytes(e), PROT_READ | PROT_WRITE);
        e->code_pages = soft_map(bitmap_bytes(e), PROT_READ | PROT_WRITE);
        if (e->meta != NULL) /* all of it is going to be used, bit by bit */
                (void)madvise(e->meta, e->region_count * e->region_meta, MADV_HUGEPAGE);
        if (e->meta == NULL || e->hash == NULL || e->dead == NULL || e->order == NULL || e->pages == NULL || e->code_pages == NULL)
                return -ENOMEM;
        (void)madvise(e->hash, sizeof(e->hash[0]) << CODE_HASH_BITS, MADV_HUGEPAGE); /* looked into all over */
        for (unsigned i = 0; i < e->region_count; i++)
                e->region[i].order = e->order + i * order_max(e);
        region_populate(e);
        return 0;
}

static void
code_unmap(void *p, size_t bytes)
{
        if (p != NULL)
                munmap(p, bytes);
}

void
soft_code_destroy(struct soft_engine *e)
{
        code_unmap(e->code_w, e->code_size);
        code_unmap(e->code_x, e->code_size);
        code_unmap(e->meta, e->region_count * e->region_meta);
        code_unmap(e->hash, sizeof(e->hash[0]) << CODE_HASH_BITS);
        code_unmap(e->dead, dead_bytes(e));
        code_unmap(e->order, e->region_count * order_max(e) * sizeof(e->order[0]));
        code_unmap(e->pages, page_bytes(e));
        code_unmap(e->code_pages, bitmap_bytes(e));
}

/* ---- regions ---- */

static struct soft_region *
region_now(struct soft_engine *e)
{
        return &e->region[e->region_now];
}

uint8_t *
soft_code_here(const struct soft_engine *e)
{
        return e->code_w + e->code_base + e->region_now * e->region_code + e->region[e->region_now].code_used;
}

void
soft_code_take(struct soft_engine *e, const uint8_t *end)
{
        struct soft_region *r = region_now(e);

        r->code_used = (r->code_used + (size_t)(end - soft_code_here(e)) + SOFT_CODE_ALIGN - 1) & ~(SOFT_CODE_ALIGN - 1);
}

size_t
soft_code_bytes(const struct soft_engine *e)
{
        size_t bytes = 0;

        for (unsigned i = 0; i < e->region_count; i++)
                bytes += e->region[i].code_used;
        return bytes;
}

void *
soft_meta_alloc(struct soft_engine *e, size_t bytes)
{
        struct soft_region *r = region_now(e);
        void *p = e->meta + e->region_now * e->region_meta + r->meta_used;

        r->meta_used += (bytes + 15) & ~(size_t)15;
        return p;
}

/* ---- blocks ---- */

/* Blocks of a page lie side by side, for whoever looks for one looks for others of that page soon. */
static size_t
code_hash(gpa_t paddr, gva_t vaddr, uint32_t mode)
{
        gva_t page = mode & SOFT_MODE_MOVES ? 0 : vaddr >> 12;
        uint64_t h = ((paddr >> MEM_PAGE_SHIFT) ^ (page << 7) ^ (uint64_t)mode << 40) * 0x9e3779b97f4a7c15ull;

        return ((h >> (64 - CODE_HASH_BITS)) + paddr % MEM_PAGE_SIZE / 8) % ((size_t)1 << CODE_HASH_BITS);
}

struct soft_block *
soft_code_find(struct soft_engine *e, gpa_t paddr, gpa_t paddr2, gva_t vaddr, uint32_t mode)
{
        struct soft_block *b = __atomic_load_n(&e->hash[code_hash(paddr, vaddr, mode)], __ATOMIC_ACQUIRE);

        for (; b != NULL; b = __atomic_load_n(&b->hash_next, __ATOMIC_ACQUIRE))
                if (b->paddr == paddr && (b->vaddr == vaddr || (mode & SOFT_MODE_MOVES)) && b->mode == mode &&
                    (b->page[1] == ~(gpa_t)0 || b->page[1] == paddr2))
                        return b;
        return NULL;
}

static struct soft_page *
page_of(struct soft_engine *e, gpa_t page)
{
        return &e->pages[page >> MEM_PAGE_SHIFT];
}

/* How many pages a block was read from: two linear pages may be one. */
static unsigned
block_pages(const struct soft_block *b)
{
        return b->page[1] == ~(gpa_t)0 || b->page[1] == b->page[0] ? 1 : 2;
}

/* Granules of 64 bytes touched by the bytes [start, end) of a page. */
static uint64_t
page_granules(unsigned start, unsigned end)
{
        unsigned first = start / 64, last = (end - 1) / 64;

        if (end <= start)
                return 0;
        return (~0ull >> (63 - last)) & (~0ull << first);
}

/* The granules of page @which that block @b depends on. */
static uint64_t
block_granules(const struct soft_block *b, unsigned which)
{
        unsigned start = (unsigned)(b->paddr & (MEM_PAGE_SIZE - 1));
        unsigned end = start + b->len;

        uint64_t beyond = end > MEM_PAGE_SIZE ? page_granules(0, end - MEM_PAGE_SIZE) : 0;

        if (which == 1)
                return beyond;
        return page_granules(start, end < MEM_PAGE_SIZE ? end : MEM_PAGE_SIZE) |
            page_granules(b->ahead_start, b->ahead_end) | (block_pages(b) == 1 ? beyond : 0);
}

/* Which of a block's pages @page is. */
static unsigned
page_index(const struct soft_block *b, gpa_t page)
{
        return b->page[0] != page;
}

static void
page_add_block(struct soft_page *p, struct soft_block *b, unsigned which)
{
        b->page_next[which] = p->blocks;
        b->page_prev[which] = &p->blocks;
        if (p->blocks != NULL)
                p->blocks->page_prev[page_index(p->blocks, b->page[which])] = &b->page_next[which];
        p->blocks = b;
        p->granules |= block_granules(b, which);
}

static void
page_remove_block(struct soft_block *b, unsigned which)
{
        struct soft_block *next = b->page_next[which];

        *b->page_prev[which] = next;
        if (next != NULL)
                next->page_prev[page_index(next, b->page[which])] = b->page_prev[which];
}

void
soft_code_insert(struct soft_engine *e, struct soft_block *b)
{
        struct soft_region *r = region_now(e);
        struct soft_block **bucket = &e->hash[code_hash(b->paddr, b->vaddr, b->mode)];

        b->hash_next = *bucket;
        __atomic_store_n(bucket, b, __ATOMIC_RELEASE); /* soft_code_find may be looking */
        r->order[r->order_count] = b;
        atomic_fetch_add_explicit(&r->order_count, 1, memory_order_release);
        for (unsigned i = 0; i < block_pages(b); i++)
                page_add_block(page_of(e, b->page[i]), b, i);
}

/* A 4-byte store that is atomic for vCPUs running the code: the field is aligned. */
static void
code_patch(uint8_t *field, intptr_t delta, const uint8_t *exec_target)
{
        int32_t rel = (int32_t)(exec_target - (field + delta + 4));

        __atomic_store_n((int32_t *)(void *)field, rel, __ATOMIC_RELEASE);
}

void
soft_code_link(struct soft_engine *e, struct soft_exit *x, struct soft_block *to)
{
        x->to = to;
        x->next_in = to->incoming;
        x->prev_in = &to->incoming;
        if (to->incoming != NULL)
                to->incoming->prev_in = &x->next_in;
        to->incoming = x;
        code_patch(x->patch, e->code_x - e->code_w,
            to == x->block && x->turn != NULL ? x->turn : x->flags_saved ? to->entry_saved : to->entry);
}

static void
code_unlink(struct soft_exit *x)
{
        *x->prev_in = x->next_in;
        if (x->next_in != NULL)
                x->next_in->prev_in = x->prev_in;
        x->to = NULL;
}

static void
code_lead_to_stub(struct soft_engine *e, struct soft_exit *x)
{
        code_unlink(x);
        code_patch(x->patch, e->code_x - e->code_w, x->stub);
}

void
soft_code_unlink_exits(struct soft_engine *e, struct soft_block *b)
{
        soft_lock_acquire(&e->lock);
        for (struct soft_exit *x = b->exits; x != NULL; x = x->next)
                if (x->to != NULL)
                        code_lead_to_stub(e, x);
        soft_lock_release(&e->lock);
}

/* Takes @b out of everything that leads to it.  Who is inside may go on, also to where it is linked. */
static void
code_remove(struct soft_engine *e, struct soft_block *b)
{
        struct soft_block **l = &e->hash[code_hash(b->paddr, b->vaddr, b->mode)];
        size_t far;

        while (*l != b)
                l = &(*l)->hash_next;
        __atomic_store_n(l, b->hash_next, __ATOMIC_RELEASE); /* b keeps its own, for who stands on it */
        for (unsigned i = 0; i < block_pages(b); i++)
                page_remove_block(b, i);
        while (b->incoming != NULL)
                code_lead_to_stub(e, b->incoming);
        for (struct soft_exit *x = b->exits; x != NULL; x = x->next)
                if (x->to != NULL)
                        code_unlink(x);
        b->dead = true;
        far = (size_t)(b->entry_far - e->code_x) / SOFT_CODE_ALIGN;
        atomic_fetch_or_explicit(&e->dead[far / 64], 1ull << far % 64, memory_order_relaxed);
}

/* The instruction at @entry, of 7 bytes at a multiple of 16, becomes a jump to @thunk. */
static void
entry_lead_away(struct soft_engine *e, uint8_t *entry, const uint8_t *thunk)
{
        uint64_t *field = (uint64_t *)(void *)(entry - (e->code_x - e->code_w));
        uint32_t rel = (uint32_t)(thunk - (entry + 5));

        __atomic_store_n(field, (*field & ~0xffffffffffull) | 0xe9 | (uint64_t)rel << 8, __ATOMIC_RELEASE);
}

/* Jump caches and target maps may name a block that moves at any address: from there, C looks for the block that is there now. */
static void
code_lead_away(struct soft_engine *e, struct soft_block *b)
{
        entry_lead_away(e, b->entry_far, e->thunks.lookup_dead);
        if (soft_targets_lead_to(e, b))
                entry_lead_away(e, b->entry_far + SOFT_TARGET_ENTRY, e->thunks.lookup_unmapped);
}

static void
code_kill(struct soft_engine *e, struct soft_block *b)
{
        code_remove(e, b);
        atomic_fetch_add_explicit(&e->stats.smc_kills, 1, memory_order_relaxed);
        if (b->mode & SOFT_MODE_MOVES)
                code_lead_away(e, b);
        else
                soft_jumps_stale(e, b->vaddr);
}

/*
 * Kills the blocks of @page that read any of @granules.  True if there are or were any: one that has been
 * evicted may still be running.
 */
static bool
page_written(struct soft_engine *e, gpa_t page, uint64_t granules)
{
        struct soft_page *p = page_of(e, page);
        uint64_t left = 0;

        if (!(p->granules & granules))
                return false;
        /* Where code is written it is rather a compiler's output than a library: what comes next is for its own linear address. */
        if (p->seen == SOFT_SEEN_MOVES)
                granules = ~0ull;
        for (struct soft_block *b = p->blocks, *next; b != NULL; b = next) {
                unsigned which = page_index(b, page);
                uint64_t g = block_granules(b, which);

                next = b->page_next[which];
                if (g & granules)
                        code_kill(e, b);
                else
                        left |= g;
        }
        p->granules = left;
        if (p->blocks == NULL) {
                p->seen = 0;
                p->ms = p->faults = p->hot_at = 0;
                atomic_fetch_and_explicit(&e->code_pages[(page >> MEM_PAGE_SHIFT) / 64],
                    ~(1ull << ((page >> MEM_PAGE_SHIFT) % 64)), memory_order_relaxed);
        }
        return true;
}

bool
soft_code_written(struct soft_engine *e, gpa_t gpa, uint64_t len)
{
        bool any = false;

        for (gpa_t page = gpa & ~(gpa_t)(MEM_PAGE_SIZE - 1); page < gpa + len; page += MEM_PAGE_SIZE) {
                unsigned start = page < gpa ? (unsigned)(gpa - page) : 0;
                unsigned end = gpa + len - page < MEM_PAGE_SIZE ? (unsigned)(gpa + len - page) : MEM_PAGE_SIZE;

                if (!soft_code_page(e, page))
                        continue;
                soft_lock_acquire(&e->lock);
                any |= page_written(e, page, page_granules(start, end));
                soft_lock_release(&e->lock);
        }
        return any;
}

bool
soft_code_moves(const struct soft_engine *e, gpa_t gpa)
{
        return (e->disabled & SOFT_OFF_FIXED) ||
            __atomic_load_n(&e->pages[gpa >> MEM_PAGE_SHIFT].seen, __ATOMIC_RELAXED) == SOFT_SEEN_MOVES;
}

/* Kills the blocks that were read from @gpa's page and have, of the bits @mask, those of @mode. */
static void
page_kill(struct soft_engine *e, gpa_t gpa, uint32_t mask, uint32_t mode)
{
        gpa_t page = gpa & ~(gpa_t)(MEM_PAGE_SIZE - 1);

        for (struct soft_block *b = page_of(e, gpa)->blocks, *next; b != NULL; b = next) {
                next = b->page_next[page_index(b, page)];
                if ((b->mode & mask) == mode)
                        code_kill(e, b);
        }
}

bool
soft_code_seen(struct soft_engine *e, gpa_t gpa, gva_t vaddr)
{
        struct soft_page *p = page_of(e, gpa);
        gva_t page = vaddr & ~(gva_t)(MEM_PAGE_SIZE - 1);

        if (soft_code_moves(e, gpa))
                return true;
        if (p->seen == 0)
                p->seen = page;
        if (p->seen == page)
                return false;
        page_kill(e, gpa, SOFT_MODE_USER | SOFT_MODE_MOVES, SOFT_MODE_USER);
        __atomic_store_n(&p->seen, SOFT_SEEN_MOVES, __ATOMIC_RELAXED);
        return true;
}

/* ---- mirrors ---- */

bool
soft_code_mirrored(const struct soft_engine *e, gpa_t gpa)
{
        return (e->disabled & SOFT_OFF_TLB) || __atomic_load_n(&e->pages[gpa >> MEM_PAGE_SHIFT].hot_at, __ATOMIC_RELAXED) == 0;
}

/* Whether code at @gpa has been translated for mirrors. */
static bool
has_mirror_block(const struct soft_page *p, gpa_t gpa)
{
        gpa_t page = gpa & ~(gpa_t)(MEM_PAGE_SIZE - 1);

        for (const struct soft_block *b = p->blocks; b != NULL; b = b->page_next[page_index(b, page)])
                if ((b->mode & SOFT_MODE_MIRROR) && gpa >= b->paddr && gpa < b->paddr + b->len)
                        return true;
        return false;
}

void
soft_code_sampled(struct soft_engine *e, gpa_t gpa, unsigned ms)
{
        struct soft_page *p = page_of(e, gpa);

        soft_lock_acquire(&e->lock);
        if (p->ms < UINT16_MAX - ms)
                p->ms = (uint16_t)(p->ms + ms);
        if (p->ms >= p->hot_at)
                __atomic_store_n(&p->hot_at, 0, __ATOMIC_RELAXED);
        /* A loop of blocks that do not use them would not end by itself.  Young processes may share the page: they keep theirs. */
        if (p->hot_at == 0 && !has_mirror_block(p, gpa)) {
                page_kill(e, gpa, SOFT_MODE_USER | SOFT_MODE_MIRROR, SOFT_MODE_USER);
                atomic_fetch_add_explicit(&e->stats.mirrored, 1, memory_order_relaxed);
        }
        soft_lock_release(&e->lock);
}

void
soft_code_faulted(struct soft_engine *e, gpa_t gpa)
{
        struct soft_page *p = page_of(e, gpa);

        soft_lock_acquire(&e->lock);
        if (p->faults < UINT16_MAX)
                p->faults++;
        if (p->hot_at == 0 && p->faults > SOFT_MIRROR_FAULTS_FREE + SOFT_MIRROR_FAULTS_EACH * p->ms) {
                uint16_t ms = p->ms < UINT16_MAX / 4 ? (uint16_t)(p->ms * 3 + SOFT_MIRROR_MS_AGAIN) : UINT16_MAX;

                __atomic_store_n(&p->hot_at, ms, __ATOMIC_RELAXED);
                page_kill(e, gpa, SOFT_MODE_MIRROR, SOFT_MODE_MIRROR);
                p->faults = 0;
                atomic_fetch_add_explicit(&e->stats.unmirrored, 1, memory_order_relaxed);
        }
        soft_lock_release(&e->lock);
}

/* ---- eviction ---- */

/* Nothing leads to the blocks of @r any more, but for vCPUs that are in them. */
static void
region_retire(struct soft_engine *e, struct soft_region *r)
{
        for (size_t n = 0; n < r->order_count; n++) {
                struct soft_block *b = r->order[n];

                if (!b->dead)
                        code_remove(e, b);
        }
}

/* The region that is filled next has no dead blocks any more; who has not looked for them must forget all jumps. */
static void
region_revive(struct soft_engine *e)
{
        size_t start = e->code_base + e->region_now * e->region_code, granules = e->region_code / SOFT_CODE_ALIGN;

        for (unsigned i = 0; i < e->cpu_count; i++)
                if (e->cpus[i] != NULL && atomic_load(&e->cpus[i]->run->jumps_stale))
                        atomic_store(&e->cpus[i]->run->jumps_lost, 1);
        memset(&e->dead[start / SOFT_CODE_ALIGN / 64], 0, granules / 8);
}

bool
soft_code_room(struct soft_engine *e)
{
        struct soft_region *r = region_now(e);
        unsigned next = (e->region_now + 1) % e->region_count;
        uint64_t start = __builtin_ia32_rdtsc();

        if (e->region_code - r->code_used >= CODE_ROOM && e->region_meta - r->meta_used >= META_ROOM)
                return true;
        if (e->region[next].order_count != 0 && !soft_world_passed(e, e->retired_passes))
                return false;
        e->region_now = next;
        r = region_now(e);
        if (r->code_used == 0)
                region_populate(e);
        region_revive(e);
        r->code_used = r->meta_used = 0;
        atomic_store_explicit(&r->order_count, 0, memory_order_relaxed);
        r = &e->region[(next + 1) % e->region_count];
        if (r->order_count != 0) {
                region_retire(e, r);
                soft_jumps_stale_dead(e);
                soft_world_passes(e, e->retired_passes);
                atomic_fetch_add_explicit(&e->stats.evictions, 1, memory_order_relaxed);
                soft_code_waited(e, start);
        }
        return true;
}

void
soft_code_waited(struct soft_engine *e, uint64_t since)
{
        uint64_t ticks = __builtin_ia32_rdtsc() - since;
        uint64_t longest = atomic_load_explicit(&e->stats.evict_tsc, memory_order_relaxed);

        while (ticks > longest && !atomic_compare_exchange_weak_explicit(&e->stats.evict_tsc, &longest, ticks,
            memory_order_relaxed, memory_order_relaxed))
                continue;
}

void
soft_code_reset(struct soft_engine *e)
{
        for (unsigned i = 0; i < e->region_count; i++) {
                struct soft_region *r = &e->region[i];

                region_retire(e, r);
                r->code_used = r->meta_used = 0;
                r->order_count = 0;
        }
        e->region_now = 0;
        memset(e->dead, 0, dead_bytes(e));
        atomic_fetch_add_explicit(&e->stats.flushes, 1, memory_order_relaxed);
}

void
soft_code_each(const struct soft_engine *e, void (*fn)(void *ctx, const struct soft_block *b), void *ctx)
{
        for (unsigned i = 0; i < e->region_count; i++)
                for (size_t n = 0; n < e->region[i].order_count; n++)
                        fn(ctx, e->region[i].order[n]);
}

/* Blocks of a region are emitted upwards, so their order of insertion is the order of their code. */
struct soft_block *
soft_code_at(struct soft_engine *e, const uint8_t *host)
{
        size_t offset = (size_t)(host - e->code_x), low = 0, high;
        struct soft_region *r;

        if (offset < e->code_base || (offset - e->code_base) / e->region_code >= e->region_count)
                return NULL;
        r = &e->region[(offset - e->code_base) / e->region_code];
        high = atomic_load_explicit(&r->order_count, memory_order_acquire);
        while (low < high) {
                size_t mid = (low + high) / 2;
                struct soft_block *b = r->order[mid];

                if (host < b->entry)
                        high = mid;
                else if (host >= b->entry + b->host_len)
                        low = mid + 1;
                else
                        return b;
        }
        return NULL;
}
