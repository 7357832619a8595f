/* SPDX-License-Identifier: BSD-2-Clause */
#include "mem/mem.h"
#include "base/util.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

static int
mem_map(struct guest_mem *mem, gpa_t gpa, uint64_t len, int fd, uint64_t offset)
{
        int flags = MAP_FIXED | (fd < 0 ? MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE : MAP_SHARED);
        void *p = mmap(mem->base + gpa, len, PROT_READ | PROT_WRITE, flags, fd, (off_t)offset);

        if (p == MAP_FAILED)
                return -errno;
        /* Only a hint: fewer host page faults and TLB misses where the host gives huge pages. */
        (void)madvise(p, len, MADV_HUGEPAGE);
        mem->area[mem->area_count++] = (struct mem_area){ gpa, len, MEM_RAM };
        return 0;
}

static void
mem_close(struct guest_mem *mem)
{
        if (mem->fd >= 0)
                close(mem->fd);
        free(mem);
}

int
mem_create(int fd, uint64_t size_bytes, struct guest_mem **ret_mem)
{
        struct guest_mem *mem;
        void *base;
        int error;

        if (size_bytes == 0 || size_bytes % (2 * MIB) != 0)
                return -EINVAL;
        mem = calloc(1, sizeof(*mem));
        if (mem == NULL)
                return -ENOMEM;
        mem->low_bytes = size_bytes < MEM_LOW_LIMIT ? size_bytes : MEM_LOW_LIMIT;
        mem->high_bytes = size_bytes - mem->low_bytes;
        mem->reserved = MEM_HIGH_BASE + mem->high_bytes;
        mem->fd = fd < 0 ? -1 : fcntl(fd, F_DUPFD_CLOEXEC, 0);
        base = mmap(NULL, mem->reserved + 2 * MIB, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE,
            -1, 0);
        if (base == MAP_FAILED) {
                error = -errno;
                mem_close(mem);
                return error;
        }
        /* Huge pages want host and guest addresses to agree modulo 2 MiB. */
        mem->base = (uint8_t *)(((uintptr_t)base + 2 * MIB - 1) & ~(uintptr_t)(2 * MIB - 1));
        munmap(base, (size_t)(mem->base - (uint8_t *)base));
        munmap(mem->base + mem->reserved, 2 * MIB - (size_t)(mem->base - (uint8_t *)base));
        error = mem_map(mem, 0, mem->low_bytes, fd, 0);
        if (error == 0 && mem->high_bytes != 0)
                error = mem_map(mem, MEM_HIGH_BASE, mem->high_bytes, fd, mem->low_bytes);
        if (error != 0) {
                mem_destroy(mem);
                return error;
        }
        *ret_mem = mem;
        return 0;
}

void
mem_destroy(struct guest_mem *mem)
{
        if (mem == NULL)
                return;
        munmap(mem->base, mem->reserved);
        mem_close(mem);
}

uint64_t
mem_low_bytes(const struct guest_mem *mem)
{
        return mem->low_bytes;
}

uint64_t
mem_high_bytes(const struct guest_mem *mem)
{
        return mem->high_bytes;
}

uint8_t *
mem_base(const struct guest_mem *mem)
{
        return mem->base;
}

gpa_t
mem_limit(const struct guest_mem *mem)
{
        return mem->reserved;
}

static const struct mem_area *
mem_find(const struct guest_mem *mem, gpa_t gpa, uint64_t len)
{
        for (unsigned i = 0; i < mem->area_count; i++) {
                const struct mem_area *a = &mem->area[i];

                if (gpa >= a->gpa && gpa - a->gpa < a->len && len <= a->len - (gpa - a->gpa))
                        return a;
        }
        return NULL;
}

bool
mem_has_file(const struct guest_mem *mem)
{
        return mem->fd >= 0;
}

int
mem_map_again(const struct guest_mem *mem, gpa_t gpa, uint64_t len, void *at, int prot)
{
        uint64_t offset = gpa < MEM_HIGH_BASE ? gpa : gpa - MEM_HIGH_BASE + mem->low_bytes;

        if (mem->fd < 0)
                return -ENOTSUP;
        if (mem_find(mem, gpa, len) == NULL)
                return -EFAULT;
        return mmap(at, len, prot, MAP_SHARED | MAP_FIXED, mem->fd, (off_t)offset) == MAP_FAILED ? -errno : 0;
}

enum mem_kind
mem_kind(const struct guest_mem *mem, gpa_t gpa)
{
        const struct mem_area *a = mem_find(mem, gpa, 1);

        return a == NULL ? MEM_NONE : a->kind;
}

int
mem_read(const struct guest_mem *mem, gpa_t gpa, void *buf, size_t len)
{
        if (mem_find(mem, gpa, len) == NULL)
                return -EFAULT;
        memcpy(buf, mem->base + gpa, len);
        return 0;
}

int
mem_write(struct guest_mem *mem, gpa_t gpa, const void *buf, size_t len)
{
        const struct mem_area *a = mem_find(mem, gpa, len);

        if (a == NULL || a->kind != MEM_RAM)
                return -EFAULT;
        memcpy(mem->base + gpa, buf, len);
        mem_written(mem, gpa, len);
        return 0;
}

void *
mem_at(const struct guest_mem *mem, gpa_t gpa, size_t len)
{
        const struct mem_area *a = mem_find(mem, gpa, len);

        return a == NULL || a->kind != MEM_RAM ? NULL : mem->base + gpa;
}

void
mem_written(struct guest_mem *mem, gpa_t gpa, uint64_t len)
{
        if (mem->written != NULL && len != 0)
                mem->written(mem->written_ctx, gpa, len);
}

void
mem_set_written_hook(struct guest_mem *mem, mem_written_fn *fn, void *ctx)
{
        mem->written = fn;
        mem->written_ctx = ctx;
}

void
mem_for_each(const struct guest_mem *mem,
    void (*fn)(void *ctx, gpa_t gpa, uint64_t len, void *host, enum mem_kind kind), void *ctx)
{
        for (unsigned i = 0; i < mem->area_count; i++) {
                const struct mem_area *a = &mem->area[i];

                fn(ctx, a->gpa, a->len, mem->base + a->gpa, a->kind);
        }
}
