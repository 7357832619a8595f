/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The table of ranges is read under a read-write lock and the entry copied
 * out; the device is called after that lock is dropped.  A device whose range
 * is removed meanwhile may be called once more, with an offset of the old
 * range, so devices outlive the vCPUs (they are destroyed after all stopped).
 */
#include "bus/io.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

struct io_range {
        uint64_t base;
        uint64_t len;
        const struct io_ops *ops;
        void *ctx;
        unsigned flags;
        const char *name;
};

struct io_space {
        pthread_mutex_t *device_lock;
        pthread_rwlock_t table_lock;
        struct io_range *ranges; /* table_lock; sorted by base */
        size_t count;
        size_t capacity;
        io_doorbell_fn *doorbell; /* NULL: nobody cares */
        void *doorbell_ctx;
};

int
io_space_create(pthread_mutex_t *device_lock, struct io_space **ret_space)
{
        struct io_space *space = calloc(1, sizeof(*space));

        if (!space)
                return -ENOMEM;
        space->device_lock = device_lock;
        pthread_rwlock_init(&space->table_lock, NULL);
        *ret_space = space;
        return 0;
}

void
io_space_destroy(struct io_space *space)
{
        if (!space)
                return;
        pthread_rwlock_destroy(&space->table_lock);
        free(space->ranges);
        free(space);
}

void
io_space_on_doorbell(struct io_space *space, io_doorbell_fn *fn, void *ctx)
{
        space->doorbell = fn;
        space->doorbell_ctx = ctx;
}

void
io_space_set_doorbell(struct io_space *space, uint64_t base, const struct io_doorbell *bell, bool on)
{
        if (space->doorbell != NULL)
                space->doorbell(space->doorbell_ctx, base + bell->offset, bell, on);
}

/* The index of the first range whose base is above @addr. */
static size_t
upper_bound(const struct io_space *space, uint64_t addr)
{
        size_t low = 0, high = space->count;

        while (low < high) {
                size_t mid = (low + high) / 2;

                if (space->ranges[mid].base <= addr)
                        low = mid + 1;
                else
                        high = mid;
        }
        return low;
}

static bool
overlaps(const struct io_space *space, size_t at, uint64_t base, uint64_t len)
{
        const struct io_range *r = space->ranges;

        if (at > 0 && base - r[at - 1].base < r[at - 1].len)
                return true;
        return at < space->count && r[at].base - base < len;
}

static int
grow(struct io_space *space)
{
        size_t capacity = space->capacity ? space->capacity * 2 : 32;
        struct io_range *ranges;

        if (space->count < space->capacity)
                return 0;
        ranges = realloc(space->ranges, capacity * sizeof(*ranges));
        if (!ranges)
                return -ENOMEM;
        space->ranges = ranges;
        space->capacity = capacity;
        return 0;
}

static int
insert(struct io_space *space, const struct io_range *range)
{
        size_t at = upper_bound(space, range->base);
        int error;

        if (overlaps(space, at, range->base, range->len))
                return -EEXIST;
        error = grow(space);
        if (error)
                return error;
        memmove(&space->ranges[at + 1], &space->ranges[at],
            (space->count - at) * sizeof(*space->ranges));
        space->ranges[at] = *range;
        space->count++;
        return 0;
}

int
io_space_add(struct io_space *space, uint64_t base, uint64_t len, const struct io_ops *ops, void *ctx,
    unsigned flags, const char *name)
{
        struct io_range range = {base, len, ops, ctx, flags, name};
        int error;

        if (!len || base + len - 1 < base)
                return -EINVAL;
        pthread_rwlock_wrlock(&space->table_lock);
        error = insert(space, &range);
        pthread_rwlock_unlock(&space->table_lock);
        return error;
}

void
io_space_remove(struct io_space *space, uint64_t base)
{
        size_t at;

        pthread_rwlock_wrlock(&space->table_lock);
        at = upper_bound(space, base);
        if (at > 0 && space->ranges[at - 1].base == base) {
                memmove(&space->ranges[at - 1], &space->ranges[at],
                    (space->count - at) * sizeof(*space->ranges));
                space->count--;
        }
        pthread_rwlock_unlock(&space->table_lock);
}

/* False unless one range holds the whole access. */
static bool
find(struct io_space *space, uint64_t addr, unsigned size, struct io_range *ret_range)
{
        bool found = false;
        size_t at;

        pthread_rwlock_rdlock(&space->table_lock);
        at = upper_bound(space, addr);
        if (at > 0) {
                const struct io_range *r = &space->ranges[at - 1];
                uint64_t offset = addr - r->base;

                found = offset < r->len && size <= r->len - offset;
                if (found)
                        *ret_range = *r;
        }
        pthread_rwlock_unlock(&space->table_lock);
        return found;
}

bool
io_space_read(struct io_space *space, uint64_t addr, unsigned size, uint64_t *ret_value)
{
        struct io_range r;

        if (!find(space, addr, size, &r))
                return false;
        if (r.flags & IO_UNLOCKED) {
                *ret_value = r.ops->read(r.ctx, addr - r.base, size);
                return true;
        }
        pthread_mutex_lock(space->device_lock);
        *ret_value = r.ops->read(r.ctx, addr - r.base, size);
        pthread_mutex_unlock(space->device_lock);
        return true;
}

bool
io_space_write(struct io_space *space, uint64_t addr, unsigned size, uint64_t value)
{
        struct io_range r;

        if (!find(space, addr, size, &r))
                return false;
        if (r.flags & IO_UNLOCKED) {
                r.ops->write(r.ctx, addr - r.base, size, value);
                return true;
        }
        pthread_mutex_lock(space->device_lock);
        r.ops->write(r.ctx, addr - r.base, size, value);
        pthread_mutex_unlock(space->device_lock);
        return true;
}
