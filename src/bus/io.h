/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Dispatch of port and MMIO accesses to devices.
 *
 * A space is a sorted table of ranges.  A device gets the offset within its
 * range and never an absolute address.  Accesses run on vCPU threads with the
 * machine's device lock held (io_space_create gives it), unless the range says
 * IO_UNLOCKED; a device that says so takes its own locks.
 * Ranges may be added, moved and removed at any time with the device lock held.
 */
#ifndef BUS_IO_H
#define BUS_IO_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

struct io_space;

/* @size: 1, 2, 4 or 8; a port access is at most 4.  Reads return the value in the low bytes. */
struct io_ops {
        uint64_t (*read)(void *ctx, uint64_t offset, unsigned size);
        void (*write)(void *ctx, uint64_t offset, unsigned size, uint64_t value);
};

#define IO_UNLOCKED 0x1u

/*
 * A register of a range of which a write of @size bytes (of @value, if @match) is a notification
 * and nothing else: who runs the guest may add 1 to the eventfd @fd instead of calling write.
 */
struct io_doorbell {
        uint32_t offset;
        uint8_t size;
        bool match;
        uint32_t value;
        int fd;
};

/* @address: of the register.  Device lock held. */
typedef void io_doorbell_fn(void *ctx, uint64_t address, const struct io_doorbell *bell, bool on);

int io_space_create(pthread_mutex_t *device_lock, struct io_space **ret_space);
void io_space_destroy(struct io_space *space);

/* Who is to hear of doorbells; none: io_space_set_doorbell has no effect.  Before there are any. */
void io_space_on_doorbell(struct io_space *space, io_doorbell_fn *fn, void *ctx);
/* @bell is in a range at @base, or is no longer. */
void io_space_set_doorbell(struct io_space *space, uint64_t base, const struct io_doorbell *bell, bool on);

/* -EEXIST if it overlaps another range.  @name is for messages and must outlive the range. */
int io_space_add(struct io_space *space, uint64_t base, uint64_t len, const struct io_ops *ops, void *ctx,
    unsigned flags, const char *name);
/* Removes the range that starts at @base; no effect if there is none. */
void io_space_remove(struct io_space *space, uint64_t base);

/* False if no range holds the whole access; then *ret_value is untouched. */
bool io_space_read(struct io_space *space, uint64_t addr, unsigned size, uint64_t *ret_value);
bool io_space_write(struct io_space *space, uint64_t addr, unsigned size, uint64_t value);

#endif
