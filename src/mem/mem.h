/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Guest memory.
 *
 * RAM is [0, lowmem) and [4 GiB, 4 GiB + highmem), backed by one file that may
 * outlive the process (the instance's memory file: byte 0 of highmem follows
 * the last byte of lowmem).  Everything is mapped into one reservation, so the
 * host address of a guest-physical address is always base + gpa; holes are
 * inaccessible.
 *
 * Guest addresses are checked here and nowhere else.  Readers and writers
 * other than the CPU engines use mem_read/mem_write or mem_at, and say with
 * mem_written what they changed through a pointer, so that translated code
 * and dirty tracking stay right.  No pointer outlives the call it was got in,
 * except for block I/O in flight.
 */
#ifndef MEM_MEM_H
#define MEM_MEM_H

#include "x86/state.h"

#include <stddef.h>

#define MEM_PAGE_SHIFT 12
#define MEM_PAGE_SIZE  4096u
#define MEM_LOW_LIMIT  0xc0000000ull  /* RAM below 4 GiB ends here at the most: 3 GiB */
#define MEM_HIGH_BASE  0x100000000ull

enum mem_kind {
        MEM_NONE, /* no memory: MMIO */
        MEM_RAM,
        MEM_ROM,  /* reads as memory; the CPU's writes are dropped */
};

typedef void mem_written_fn(void *ctx, gpa_t gpa, uint64_t len);

#define MEM_AREAS_MAX 2 /* below and above 4 GiB */

struct mem_area {
        gpa_t gpa;
        uint64_t len;
        enum mem_kind kind;
};

/* Fields are private to mem.c and the inline functions below. */
struct guest_mem {
        uint8_t *base;         /* host address of gpa 0 */
        uint64_t reserved;     /* bytes of address space from base */
        uint64_t low_bytes;
        uint64_t high_bytes;
        int fd;                /* that RAM is mapped from, or -1 */
        struct mem_area area[MEM_AREAS_MAX];
        unsigned area_count;
        mem_written_fn *written; /* set before any vCPU runs */
        void *written_ctx;
};

/*
 * Maps @size_bytes of @fd (which stays the caller's; -1 for anonymous memory)
 * as RAM.  @size_bytes is a multiple of 2 MiB.  -errno on failure.
 */
int mem_create(int fd, uint64_t size_bytes, struct guest_mem **ret_mem);
void mem_destroy(struct guest_mem *mem);

uint64_t mem_low_bytes(const struct guest_mem *mem);
uint64_t mem_high_bytes(const struct guest_mem *mem);

/* The kind of the page that holds @gpa. */
enum mem_kind mem_kind(const struct guest_mem *mem, gpa_t gpa);

/*
 * Maps RAM a second time, the page-aligned range [gpa, gpa + len), at the host address @at in place of what is
 * mapped there, with @prot of mmap(2).  Async-signal-safe.  -ENOTSUP: it is anonymous; -EFAULT: not all of it is
 * RAM; else what mmap says.
 */
int mem_map_again(const struct guest_mem *mem, gpa_t gpa, uint64_t len, void *at, int prot);
/* Whether it can. */
bool mem_has_file(const struct guest_mem *mem);

/* Host address of gpa 0.  For engines only. */
uint8_t *mem_base(const struct guest_mem *mem);
/* One past the highest address that mem_base() + gpa may be used for. */
gpa_t mem_limit(const struct guest_mem *mem);

/* Host address of the byte at @gpa if its page is RAM below or above 4 GiB, else NULL. */
static inline void *
mem_ram(const struct guest_mem *mem, gpa_t gpa)
{
        return gpa < mem->low_bytes || gpa - MEM_HIGH_BASE < mem->high_bytes ? mem->base + gpa : NULL;
}

/* Copies; -EFAULT, with nothing copied, unless the whole range is RAM (or ROM, for reading). */
int mem_read(const struct guest_mem *mem, gpa_t gpa, void *buf, size_t len);
int mem_write(struct guest_mem *mem, gpa_t gpa, const void *buf, size_t len);

/* Host pointer to a range that is RAM throughout, else NULL. */
void *mem_at(const struct guest_mem *mem, gpa_t gpa, size_t len);

/* Says that [gpa, gpa + len) was changed through a pointer. */
void mem_written(struct guest_mem *mem, gpa_t gpa, uint64_t len);

/* The engine's hook for mem_write and mem_written. */
void mem_set_written_hook(struct guest_mem *mem, mem_written_fn *fn, void *ctx);

/* Areas for slot-based engines: calls @fn for each contiguous area. */
void mem_for_each(const struct guest_mem *mem,
    void (*fn)(void *ctx, gpa_t gpa, uint64_t len, void *host, enum mem_kind kind), void *ctx);

#endif
