/* SPDX-License-Identifier: BSD-2-Clause */
/* The code cache; see code.h. */
#include "cpu/soft/code.h"
#include "base/parse.h"
#include "base/util.h"
#include "cpu/soft/emit.h"
#include "cpu/soft/run.h"

#include <errno.h>
#include <linux/futex.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#define CODE_BYTES      (64 * MIB)
#define CODE_HASH_BITS  16
#define PAGE_HASH_BITS  13

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

static void *
code_map(size_t bytes)
{
        void *p = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

        return p == MAP_FAILED ? NULL : p;
}

/* The same memory twice, so that no page is ever writable and executable. */
static int
code_map_twice(struct soft_engine *e)
{
        void *w, *x;

        e->code_fd = memfd_create("bhyve-code", MFD_CLOEXEC);
        if (e->code_fd < 0)
                return -errno;
        if (ftruncate(e->code_fd, (off_t)e->code_size) != 0)
                return -errno;
        w = mmap(NULL, e->code_size, PROT_READ | PROT_WRITE, MAP_SHARED, e->code_fd, 0);
        if (w == MAP_FAILED)
                return -errno;
        e->code_w = w;
        x = mmap(NULL, e->code_size, PROT_READ | PROT_EXEC, MAP_SHARED, e->code_fd, 0);
        if (x == MAP_FAILED)
                return -errno;
        e->code_x = x;
        return 0;
}

/* Blocks that fit in the metadata. */
static size_t
order_bytes(const struct soft_engine *e)
{
        return sizeof(e->order[0]) * (e->meta_size / sizeof(struct soft_block));
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

int
soft_code_create(struct soft_engine *e)
{
        size_t bitmap;
        int error;

        e->code_fd = -1;
        e->code_size = code_bytes(e);
        e->meta_size = e->code_size / 2 * 3;
        e->code_pages_limit = mem_limit(e->mem);
        bitmap = (e->code_pages_limit >> MEM_PAGE_SHIFT) / 8 + 8;
        error = code_map_twice(e);
        if (error != 0)
                return error;
        e->meta = code_map(e->meta_size);
        e->hash = code_map(sizeof(e->hash[0]) << CODE_HASH_BITS);
        e->order = code_map(order_bytes(e));
        e->page_hash = code_map(sizeof(e->page_hash[0]) << PAGE_HASH_BITS);
        e->code_pages = code_map(bitmap);
        if (e->meta == NULL || e->hash == NULL || e->order == NULL || e->page_hash == NULL || e->code_pages == NULL)
                return -ENOMEM;
        soft_thunks_emit(e);
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
        if (e->code_fd >= 0)
                close(e->code_fd);
        code_unmap(e->meta, e->meta_size);
        code_unmap(e->hash, sizeof(e->hash[0]) << CODE_HASH_BITS);
        code_unmap(e->order, order_bytes(e));
        code_unmap(e->page_hash, sizeof(e->page_hash[0]) << PAGE_HASH_BITS);
        code_unmap(e->code_pages, (e->code_pages_limit >> MEM_PAGE_SHIFT) / 8 + 8);
}

void
soft_code_reset(struct soft_engine *e)
{
        for (size_t i = 0; i < (size_t)1 << PAGE_HASH_BITS; i++) {
                for (struct soft_page *p = e->page_hash[i]; p != NULL; p = p->hash_next)
                        e->code_pages[(p->gpa >> MEM_PAGE_SHIFT) / 64] = 0;
                e->page_hash[i] = NULL;
        }
        memset(e->hash, 0, sizeof(e->hash[0]) << CODE_HASH_BITS);
        e->code_used = e->code_base;
        e->meta_used = 0;
        e->order_count = 0;
        atomic_fetch_add_explicit(&e->stats.flushes, 1, memory_order_relaxed);
}

void *
soft_meta_alloc(struct soft_engine *e, size_t bytes)
{
        void *p;

        bytes = (bytes + 15) & ~(size_t)15;
        if (bytes > e->meta_size - e->meta_used)
                return NULL;
        p = e->meta + e->meta_used;
        e->meta_used += bytes;
        return p;
}

/* ---- blocks ---- */

static size_t
code_hash(gpa_t paddr, gva_t vaddr, uint32_t mode)
{
        uint64_t h = (paddr ^ (vaddr >> 12 << 7) ^ (uint64_t)mode << 40) * 0x9e3779b97f4a7c15ull;

        return h >> (64 - CODE_HASH_BITS);
}

struct soft_block *
soft_code_find(struct soft_engine *e, gpa_t paddr, gpa_t paddr2, gva_t vaddr, uint32_t mode)
{
        struct soft_block *b = __atomic_load_n(&e->hash[code_hash(paddr, vaddr, mode)], __ATOMIC_ACQUIRE);

        for (; b != NULL; b = __atomic_load_n(&b->hash_next, __ATOMIC_ACQUIRE))
                if (b->paddr == paddr && b->vaddr == vaddr && b->mode == mode &&
                    (b->page[1] == ~(gpa_t)0 || b->page[1] == paddr2))
                        return b;
        return NULL;
}

static struct soft_page **
page_bucket(struct soft_engine *e, gpa_t page)
{
        return &e->page_hash[(page >> MEM_PAGE_SHIFT) & (((size_t)1 << PAGE_HASH_BITS) - 1)];
}

static struct soft_page *
page_find(struct soft_engine *e, gpa_t page)
{
        for (struct soft_page *p = *page_bucket(e, page); p != NULL; p = p->hash_next)
                if (p->gpa == page)
                        return p;
        return NULL;
}

static struct soft_page *
page_get(struct soft_engine *e, gpa_t page)
{
        struct soft_page *p = page_find(e, page);
        struct soft_page **bucket = page_bucket(e, page);

        if (p != NULL)
                return p;
        p = soft_meta_alloc(e, sizeof(*p)); /* the translator left room */
        *p = (struct soft_page){ .hash_next = *bucket, .gpa = page };
        *bucket = p;
        return p;
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

        if (which == 1)
                return page_granules(0, end - MEM_PAGE_SIZE);
        return page_granules(start, end < MEM_PAGE_SIZE ? end : MEM_PAGE_SIZE) |
            page_granules(b->ahead_start, b->ahead_end);
}

void
soft_code_insert(struct soft_engine *e, struct soft_block *b)
{
        struct soft_block **bucket = &e->hash[code_hash(b->paddr, b->vaddr, b->mode)];

        b->hash_next = *bucket;
        __atomic_store_n(bucket, b, __ATOMIC_RELEASE); /* soft_code_find may be looking */
        e->order[e->order_count] = b;
        atomic_fetch_add_explicit(&e->order_count, 1, memory_order_release);
        for (unsigned i = 0; i < 2 && b->page[i] != ~(gpa_t)0; i++) {
                struct soft_page *p = page_get(e, b->page[i]);

                b->page_next[i] = p->blocks;
                p->blocks = b;
                p->granules |= block_granules(b, i);
        }
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
        to->incoming = x;
        code_patch(x->patch, e->code_x - e->code_w, x->flags_saved ? to->entry_saved : to->entry);
}

static void
code_unlink_incoming(struct soft_engine *e, struct soft_block *b)
{
        while (b->incoming != NULL) {
                struct soft_exit *x = b->incoming;

                b->incoming = x->next_in;
                x->to = NULL;
                code_patch(x->patch, e->code_x - e->code_w, x->stub);
        }
}

static void
code_unlink_outgoing(struct soft_block *b)
{
        for (unsigned i = 0; i < b->exit_count; i++) {
                struct soft_exit *x = &b->exit[i];

                if (x->to == NULL)
                        continue;
                for (struct soft_exit **in = &x->to->incoming; *in != NULL; in = &(*in)->next_in) {
                        if (*in == x) {
                                *in = x->next_in;
                                break;
                        }
                }
                x->to = NULL;
        }
}

static void
page_remove_block(struct soft_engine *e, gpa_t page, struct soft_block *b)
{
        struct soft_page *p = page_find(e, page);

        for (struct soft_block **l = &p->blocks; *l != NULL; l = &(*l)->page_next[(*l)->page[0] != page]) {
                if (*l == b) {
                        *l = b->page_next[b->page[0] != page];
                        return;
                }
        }
}

static void
code_kill(struct soft_engine *e, struct soft_block *b)
{
        struct soft_block **l = &e->hash[code_hash(b->paddr, b->vaddr, b->mode)];

        while (*l != b)
                l = &(*l)->hash_next;
        __atomic_store_n(l, b->hash_next, __ATOMIC_RELEASE); /* b keeps its own, for who stands on it */
        for (unsigned i = 0; i < 2 && b->page[i] != ~(gpa_t)0; i++)
                page_remove_block(e, b->page[i], b);
        code_unlink_incoming(e, b);
        code_unlink_outgoing(b);
        b->dead = true;
        soft_jumps_stale(e, b->vaddr);
        atomic_fetch_add_explicit(&e->stats.smc_kills, 1, memory_order_relaxed);
}

/* Kills the blocks of @page that read any of @granules. */
static bool
page_written(struct soft_engine *e, gpa_t page, uint64_t granules)
{
        struct soft_page *p = page_find(e, page);
        uint64_t left = 0;
        bool any = false;

        if (p == NULL || !(p->granules & granules))
                return false;
        for (struct soft_block *b = p->blocks, *next; b != NULL; b = next) {
                unsigned which = b->page[0] != page;
                uint64_t g = block_granules(b, which);

                next = b->page_next[which];
                if (g & granules) {
                        code_kill(e, b);
                        any = true;
                } else {
                        left |= g;
                }
        }
        p->granules = left;
        if (p->blocks == NULL)
                atomic_fetch_and_explicit(&e->code_pages[(page >> MEM_PAGE_SHIFT) / 64],
                    ~(1ull << ((page >> MEM_PAGE_SHIFT) % 64)), memory_order_relaxed);
        return any;
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

/* Blocks are emitted upwards, so their order of insertion is the order of their code. */
struct soft_block *
soft_code_at(struct soft_engine *e, const uint8_t *host)
{
        size_t low = 0, high = atomic_load_explicit(&e->order_count, memory_order_acquire);

        while (low < high) {
                size_t mid = (low + high) / 2;
                struct soft_block *b = e->order[mid];

                if (host < b->entry)
                        high = mid;
                else if (host >= b->entry + b->host_len)
                        low = mid + 1;
                else
                        return b;
        }
        return NULL;
}
