/* SPDX-License-Identifier: BSD-2-Clause */
#include "dev/isa/pc_testdev.h"

#include "base/bytes.h"

#include <errno.h>
#include <stdlib.h>

#define LATCH_PORT  0xe0u
#define FLUSH_PORT  0xe4u
#define EXIT_PORT   0xf4u
#define IRQ_PORT    0x2000u
#define FWCFG_PORT  0x510u
#define MEMORY_BASE 0xff000000ull
#define MEMORY_LEN  0x10000u

enum fwcfg_key {
        FWCFG_SIGNATURE = 0x00,
        FWCFG_ID = 0x01,
        FWCFG_RAM_SIZE = 0x03,
        FWCFG_CPUS = 0x05,
        FWCFG_CPUS_MAX = 0x0f,
        FWCFG_FILES = 0x19,
};

struct pc_testdev {
        struct pc_testdev_config config;
        struct irq_source line[IRQ_GSI_COUNT];
        uint8_t latch[4];
        uint8_t memory[MEMORY_LEN];
        uint8_t fwcfg[8]; /* the selected item */
        unsigned fwcfg_at;
};

static uint64_t
bytes_read(const uint8_t *from, uint64_t room, uint64_t offset, unsigned size)
{
        uint8_t value[8] = { 0 };

        for (unsigned i = 0; i < size && offset + i < room; i++)
                value[i] = from[offset + i];
        return get_le64(value);
}

static void
bytes_write(uint8_t *to, uint64_t room, uint64_t offset, unsigned size, uint64_t value)
{
        for (unsigned i = 0; i < size && offset + i < room; i++)
                to[offset + i] = (uint8_t)(value >> (8 * i));
}

static uint64_t
latch_read(void *ctx, uint64_t offset, unsigned size)
{
        struct pc_testdev *d = ctx;

        return bytes_read(d->latch, sizeof(d->latch), offset, size);
}

static void
latch_write(void *ctx, uint64_t offset, unsigned size, uint64_t value)
{
        struct pc_testdev *d = ctx;

        bytes_write(d->latch, sizeof(d->latch), offset, size, value);
}

static uint64_t
memory_read(void *ctx, uint64_t offset, unsigned size)
{
        struct pc_testdev *d = ctx;

        return bytes_read(d->memory, MEMORY_LEN, offset, size);
}

static void
memory_write(void *ctx, uint64_t offset, unsigned size, uint64_t value)
{
        struct pc_testdev *d = ctx;

        bytes_write(d->memory, MEMORY_LEN, offset, size, value);
}

static uint64_t
zero_read(void *ctx, uint64_t offset, unsigned size)
{
        return 0;
}

static void
drop_write(void *ctx, uint64_t offset, unsigned size, uint64_t value)
{
}

static void
exit_write(void *ctx, uint64_t offset, unsigned size, uint64_t value)
{
        struct pc_testdev *d = ctx;

        d->config.exit(d->config.ctx, (uint8_t)(value << 1 | 1));
}

static void
irq_write(void *ctx, uint64_t offset, unsigned size, uint64_t value)
{
        struct pc_testdev *d = ctx;

        irq_line_set(&d->line[offset], value & 1);
}

static void
fwcfg_select(struct pc_testdev *d, unsigned key)
{
        uint64_t value = 0;

        switch (key) {
        case FWCFG_SIGNATURE:
                value = get_le32("QEMU");
                break;
        case FWCFG_ID:
                value = 1;
                break;
        case FWCFG_RAM_SIZE:
                value = d->config.ram_bytes;
                break;
        case FWCFG_CPUS:
        case FWCFG_CPUS_MAX:
                value = d->config.cpus;
                break;
        case FWCFG_FILES: /* a count of no files, big-endian */
        default:
                break;
        }
        put_le64(d->fwcfg, value);
        d->fwcfg_at = 0;
}

static uint64_t
fwcfg_read(void *ctx, uint64_t offset, unsigned size)
{
        struct pc_testdev *d = ctx;

        return d->fwcfg_at < sizeof(d->fwcfg) ? d->fwcfg[d->fwcfg_at++] : 0;
}

static void
fwcfg_write(void *ctx, uint64_t offset, unsigned size, uint64_t value)
{
        if (offset == 0 && size == 2)
                fwcfg_select(ctx, (unsigned)value);
}

static const struct io_ops latch_ops = { .read = latch_read, .write = latch_write };
static const struct io_ops memory_ops = { .read = memory_read, .write = memory_write };
static const struct io_ops flush_ops = { .read = zero_read, .write = drop_write };
static const struct io_ops exit_ops = { .read = zero_read, .write = exit_write };
static const struct io_ops irq_ops = { .read = zero_read, .write = irq_write };
static const struct io_ops fwcfg_ops = { .read = fwcfg_read, .write = fwcfg_write };

static int
attach_device(struct pc_testdev *d)
{
        struct io_space *ports = d->config.ports;
        int error = io_space_add(ports, LATCH_PORT, 4, &latch_ops, d, 0, "test latches");

        for (unsigned i = 0; i < IRQ_GSI_COUNT; i++)
                irq_source_init(&d->line[i], d->config.irq, i);
        if (error == 0)
                error = io_space_add(ports, FLUSH_PORT, 4, &flush_ops, d, 0, "test flush");
        if (error == 0)
                error = io_space_add(ports, EXIT_PORT, 4, &exit_ops, d, 0, "test exit");
        if (error == 0)
                error = io_space_add(ports, IRQ_PORT, IRQ_GSI_COUNT, &irq_ops, d, 0, "test interrupts");
        if (error == 0)
                error = io_space_add(d->config.mmio, MEMORY_BASE, MEMORY_LEN, &memory_ops, d, 0, "test memory");
        return error;
}

int
pc_testdev_create(const struct pc_testdev_config *config, struct pc_testdev **ret_dev)
{
        struct pc_testdev *d = calloc(1, sizeof(*d));
        int error = 0;

        if (d == NULL)
                return -ENOMEM;
        d->config = *config;
        if (config->device)
                error = attach_device(d);
        if (error == 0 && config->fwcfg)
                error = io_space_add(config->ports, FWCFG_PORT, 2, &fwcfg_ops, d, 0, "fw_cfg");
        if (error != 0) {
                free(d);
                return error;
        }
        *ret_dev = d;
        return 0;
}

void
pc_testdev_destroy(struct pc_testdev *dev)
{
        free(dev);
}
