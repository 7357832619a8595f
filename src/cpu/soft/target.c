/* SPDX-License-Identifier: BSD-2-Clause */
#include "cpu/soft/target.h"
#include "base/util.h"
#include "cpu/soft/mirror.h"
#include "cpu/soft/mmu.h"

#include <sys/mman.h>
#include <unistd.h>

#define CHUNK_BYTES (1ull << SOFT_MIRROR_SHIFT)
#define MAP_BYTES   (CHUNK_BYTES * sizeof(uint32_t))
#define PIECE_BYTES (2 * MIB) /* of a map, that become memory at one go */
#define PIECE_SLOTS (PIECE_BYTES / sizeof(uint32_t))
#define PIECES      (MAP_BYTES / PIECE_BYTES)
#define PAGE_SLOTS  (MEM_PAGE_SIZE / sizeof(uint32_t))
#define MAPS_MAX    24u        /* of one address space */
#define SET_MAX     (1u << 17) /* slots of one address space that lead to code */
#define PAGES_MAX   8192u      /* pages of slots of a vCPU: when there are so many, the other address spaces' maps go */
#define REFUSED_MAX 65536u     /* lookups of an address space for which there was no room then, until it starts over */

/* In the table, for chunks without a map: no address of a user's makes a canonical one of it, in 48 bits or 57. */
#define NO_MAP (1ull << 62)

struct target_map {
        uint8_t pages[CHUNK_BYTES >> MEM_PAGE_SHIFT]; /* by guest page: a bit for each page of slots that is not as it was made */
        uint64_t pieces[PIECES / 64];                 /* that are memory */
        uint64_t number;                              /* linear address >> SOFT_MIRROR_SHIFT */
        uint32_t *slot;                               /* addresses of code */
        struct target_map *next_free;
};
_Static_assert(MEM_PAGE_SIZE / PAGE_SLOTS <= 8, "a byte for each guest page");

struct target_maps {
        struct target_map *map[MAPS_MAX];
        unsigned count;
        unsigned pages;
        unsigned refused;
        unsigned set_count;
        /* What leads to code: address, and the block's far entry, by which it is known to be dead.  Pages of their own. */
        struct {
                gva_t address;
                const uint8_t *far;
        } set[SET_MAX] __attribute__((aligned(MEM_PAGE_SIZE)));
};

bool
soft_targets_wanted(const struct soft_engine *e)
{
        /* A kick closes them by a signal, which ThreadSanitizer holds back. */
        return !SOFT_USER_LOOKS && (uintptr_t)e->code_x + e->code_size <= 4 * GIB && !(e->disabled & SOFT_OFF_TARGET) && e->observer == NULL;
}

/* ---- the table ---- */

static uint64_t *
table_of(struct soft_cpu *v)
{
        return (uint64_t *)(void *)((uint8_t *)v + SOFT_TARGET_TABLE);
}

void
soft_targets_begin(struct soft_cpu *v)
{
        for (unsigned n = 0; n < SOFT_MIRROR_CHUNKS; n++)
                table_of(v)[n] = NO_MAP;
}

static void
show(struct soft_cpu *v, const struct target_map *m)
{
        table_of(v)[m->number] = (uint64_t)(uintptr_t)m->slot - (m->number << SOFT_MIRROR_SHIFT) * sizeof(*m->slot);
}

static void
hide(struct soft_cpu *v, const struct target_map *m)
{
        table_of(v)[m->number] = NO_MAP;
}

static void
hide_all(struct soft_cpu *v, const struct target_maps *t)
{
        for (unsigned n = 0; t != NULL && n < t->count; n++)
                hide(v, t->map[n]);
}

static void
show_all(struct soft_cpu *v, const struct target_maps *t)
{
        for (unsigned n = 0; t != NULL && n < t->count; n++)
                show(v, t->map[n]);
}

void
soft_targets_close(struct soft_cpu *v)
{
        v->targets_closed = true;
        hide_all(v, v->mmu->current->targets);
}

void
soft_targets_open(struct soft_cpu *v)
{
        if (!v->targets_closed)
                return;
        v->targets_closed = false;
        show_all(v, v->mmu->current->targets);
}

void
soft_targets_switch(struct soft_cpu *v, struct aspace *from, struct aspace *to)
{
        hide_all(v, from->targets);
        v->targets_full = false;
        if (!v->targets_closed)
                show_all(v, to->targets);
}

/* ---- maps ---- */

static uint32_t *
slot_of(const struct target_map *m, gva_t address)
{
        return &m->slot[address & (CHUNK_BYTES - 1)];
}

static uint32_t
slot_value(const uint8_t *code)
{
        return (uint32_t)(uintptr_t)code;
}

static size_t
guest_page(gva_t address)
{
        return (address & (CHUNK_BYTES - 1)) >> MEM_PAGE_SHIFT;
}

/* The bit of target_map.pages for the page that @address has its slot in. */
static unsigned
page_bit(gva_t address)
{
        return address % MEM_PAGE_SIZE / PAGE_SLOTS;
}

static struct target_map *
map_find(const struct target_maps *t, gva_t address)
{
        for (unsigned n = 0; t != NULL && n < t->count; n++)
                if (t->map[n]->number == address >> SOFT_MIRROR_SHIFT)
                        return t->map[n];
        return NULL;
}

static struct target_map *
map_create(struct soft_cpu *v)
{
        struct target_map *m = v->mmu->free_maps;

        if (m != NULL) {
                v->mmu->free_maps = m->next_free;
                return m;
        }
        m = soft_map(sizeof(*m), PROT_READ | PROT_WRITE);
        if (m == NULL)
                return NULL;
        m->slot = soft_map(MAP_BYTES, PROT_NONE);
        if (m->slot == NULL) {
                munmap(m, sizeof(*m));
                return NULL;
        }
        return m;
}

static void
map_destroy(struct target_map *m)
{
        munmap(m->slot, MAP_BYTES);
        munmap(m, sizeof(*m));
}

static int
file_create(const struct soft_engine *e)
{
        int fd = memfd_create("target map", MFD_CLOEXEC);
        uint32_t *slot;

        if (fd < 0)
                return -1;
        slot = ftruncate(fd, PIECE_BYTES) != 0 ? MAP_FAILED : mmap(NULL, PIECE_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
        if (slot == MAP_FAILED) {
                close(fd);
                return -1;
        }
        for (size_t n = 0; n < PIECE_SLOTS; n++)
                slot[n] = slot_value(e->thunks.lookup_target);
        munmap(slot, PIECE_BYTES);
        return fd;
}

/* Whether there is the file that pieces are mapped from. */
static bool
file_ready(struct soft_engine *e)
{
        soft_lock_acquire(&e->lock);
        if (e->target_file < 0)
                e->target_file = file_create(e);
        soft_lock_release(&e->lock);
        return e->target_file >= 0;
}

/* Makes memory of the piece that @address has its slot in. */
static bool
piece_create(struct soft_cpu *v, struct target_map *m, gva_t address)
{
        size_t piece = (address & (CHUNK_BYTES - 1)) / PIECE_SLOTS;
        struct soft_engine *e = v->engine;

        if (m->pieces[piece / 64] >> piece % 64 & 1)
                return true;
        if (atomic_load_explicit(&e->mirror_maps, memory_order_relaxed) >= e->mirror_maps_max || !file_ready(e) ||
            mmap(&m->slot[piece * PIECE_SLOTS], PIECE_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_FIXED | MAP_NORESERVE,
                e->target_file, 0) == MAP_FAILED)
                return false;
        m->pieces[piece / 64] |= 1ull << piece % 64;
        atomic_fetch_add_explicit(&e->mirror_maps, 1, memory_order_relaxed);
        return true;
}

/* None of the map is memory any more. */
static void
map_clear(struct soft_cpu *v, struct target_map *m)
{
        unsigned pieces = 0;
        size_t first = PIECES, end = 0;

        for (size_t w = 0; w < ARRAY_LEN(m->pieces); w++)
                if (m->pieces[w] != 0) {
                        first = first == PIECES ? w * 64 + (size_t)__builtin_ctzll(m->pieces[w]) : first;
                        end = w * 64 + 64 - (size_t)__builtin_clzll(m->pieces[w]);
                        pieces += (unsigned)__builtin_popcountll(m->pieces[w]);
                }
        if (end == 0)
                return;
        (void)madvise(m->pages, sizeof(m->pages), MADV_DONTNEED);
        if (mmap(&m->slot[first * PIECE_SLOTS], (end - first) * PIECE_BYTES, PROT_NONE,
                MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED, -1, 0) == MAP_FAILED) {
                /* Private pages of a file: at least what was stored in them goes. */
                (void)madvise(&m->slot[first * PIECE_SLOTS], (end - first) * PIECE_BYTES, MADV_DONTNEED);
                return;
        }
        memset(m->pieces, 0, sizeof(m->pieces));
        atomic_fetch_sub_explicit(&v->engine->mirror_maps, pieces, memory_order_relaxed);
}

static struct target_maps *
maps_here(struct soft_cpu *v)
{
        struct aspace *a = v->mmu->current;

        if (a->targets == NULL)
                a->targets = soft_map(sizeof(*a->targets), PROT_READ | PROT_WRITE);
        return a->targets;
}

static struct target_map *
map_here(struct soft_cpu *v, struct target_maps *t, gva_t address)
{
        struct target_map *m = map_find(t, address);

        if (m != NULL || t->count == MAPS_MAX)
                return m;
        m = map_create(v);
        if (m == NULL)
                return NULL;
        m->number = address >> SOFT_MIRROR_SHIFT;
        t->map[t->count++] = m;
        if (!v->targets_closed)
                show(v, m);
        return m;
}

/* Makes room if need be.  False: there is none; the jump cache serves what is not in the maps. */
static bool
make_room(struct soft_cpu *v, struct target_maps *t)
{
        struct soft_mmu *m = v->mmu;

        for (unsigned n = 0; n < SOFT_ASPACES && m->target_pages >= PAGES_MAX; n++)
                if (&m->aspace[n] != m->current)
                        soft_targets_flush(v, &m->aspace[n]);
        if (t->set_count < SET_MAX && m->target_pages < PAGES_MAX)
                return true;
        v->targets_full = ++t->refused < REFUSED_MAX;
        if (!v->targets_full)
                soft_targets_flush(v, m->current);
        return !v->targets_full;
}

bool
soft_target_set(struct soft_cpu *v, gva_t address, const struct soft_block *b)
{
        struct target_maps *t = maps_here(v);
        struct target_map *m;
        bool room;

        if (t == NULL || address >> SOFT_MIRROR_SHIFT >= SOFT_MIRROR_CHUNKS)
                return false;
        room = make_room(v, t);
        m = map_here(v, t, address);
        /* The piece is wanted in any case: without it each jump is a signal. */
        if (m == NULL || !piece_create(v, m, address) || !room)
                return false;
        if (!(m->pages[guest_page(address)] >> page_bit(address) & 1)) {
                m->pages[guest_page(address)] |= (uint8_t)(1u << page_bit(address));
                t->pages++;
                v->mmu->target_pages++;
                v->count[SOFT_COUNT_TARGET_PAGES]++;
        }
        *slot_of(m, address) = slot_value(soft_targets_lead_to(v->engine, b) ? soft_target_entry(b) : v->engine->thunks.lookup_cached);
        t->set[t->set_count].address = address;
        t->set[t->set_count++].far = b->entry_far;
        return true;
}

/* ---- forgetting ---- */

static void
forget(struct soft_cpu *v, const struct target_maps *t, gva_t address)
{
        struct target_map *m = map_find(t, address);

        if (m != NULL && (m->pages[guest_page(address)] >> page_bit(address) & 1))
                *slot_of(m, address) = slot_value(v->engine->thunks.lookup_target);
}

void
soft_target_forget(struct soft_cpu *v, gva_t address)
{
        for (unsigned n = 0; n < SOFT_ASPACES; n++)
                forget(v, v->mmu->aspace[n].targets, address);
}

/* What leads to blocks that died, or @all. */
static void
maps_forget(struct soft_cpu *v, struct target_maps *t, bool all)
{
        unsigned left = 0;

        for (unsigned n = 0; n < t->set_count; n++) {
                if (all || soft_code_dead(v->engine, t->set[n].far))
                        forget(v, t, t->set[n].address);
                else
                        t->set[left++] = t->set[n];
        }
        t->set_count = left;
}

void
soft_targets_forget_dead(struct soft_cpu *v)
{
        for (unsigned n = 0; n < SOFT_ASPACES; n++)
                if (v->mmu->aspace[n].targets != NULL)
                        maps_forget(v, v->mmu->aspace[n].targets, false);
}

void
soft_targets_drop_page(struct soft_cpu *v, struct aspace *a, gva_t page)
{
        struct target_map *m = map_find(a->targets, page);

        if (a->targets == NULL)
                return;
        for (unsigned bits = m == NULL ? 0 : m->pages[guest_page(page)]; bits != 0; bits &= bits - 1) {
                uint32_t *slot = slot_of(m, page) + (unsigned)__builtin_ctz(bits) * PAGE_SLOTS;

                for (unsigned n = 0; n < PAGE_SLOTS; n++)
                        slot[n] = slot_value(v->engine->thunks.lookup_target);
        }
        for (gva_t before = page - X86_INSN_MAX + 1; before != page; before++)
                forget(v, a->targets, before);
}

bool
soft_targets_flush(struct soft_cpu *v, struct aspace *a)
{
        struct target_maps *t = a->targets;
        bool any = t != NULL && t->count != 0;

        while (any && t->count != 0) {
                struct target_map *m = t->map[--t->count];

                if (a == v->mmu->current)
                        hide(v, m);
                map_clear(v, m);
                m->next_free = v->mmu->free_maps;
                v->mmu->free_maps = m;
        }
        if (any) {
                (void)madvise(t->set, t->set_count * sizeof(t->set[0]), MADV_DONTNEED);
                v->mmu->target_pages -= t->pages;
                t->pages = t->set_count = t->refused = 0;
                v->targets_full = false;
        }
        return any;
}

bool
soft_targets_clear(struct soft_cpu *v, struct aspace *a)
{
        struct target_maps *t = a->targets;
        bool any = t != NULL && t->set_count != 0;

        if (any) {
                maps_forget(v, t, true);
                v->targets_full = false;
        }
        return any;
}

void
soft_targets_destroy(struct soft_cpu *v)
{
        for (unsigned n = 0; n < SOFT_ASPACES; n++) {
                struct aspace *a = &v->mmu->aspace[n];

                soft_targets_flush(v, a);
                if (a->targets != NULL)
                        munmap(a->targets, sizeof(*a->targets));
        }
        for (struct target_map *m = v->mmu->free_maps, *next; m != NULL; m = next) {
                next = m->next_free;
                map_destroy(m);
        }
}

/* ---- in translated code ---- */

bool
soft_target_jumps(const uint8_t *pc)
{
        static const uint8_t load[] = { 0x65, 0x4e, 0x8b, 0x14, 0xd5 };             /* mov r10, gs:[r10 * 8 + disp32] */
        static const uint8_t jump[] = { 0x47, 0x8b, 0x14, 0x9a, 0x41, 0xff, 0xe2 }; /* mov r10d, [r10 + r11 * 4]; jmp r10 */

        if (memcmp(pc, load, sizeof(load)) == 0)
                pc += sizeof(load) + 4;
        return memcmp(pc, jump, sizeof(jump)) == 0;
}
