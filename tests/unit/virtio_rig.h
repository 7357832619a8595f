/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A machine with a PCI bus and no CPU, and a small virtio driver for it that
 * speaks both transports, for tests.
 */
#ifndef TESTS_VIRTIO_RIG_H
#define TESTS_VIRTIO_RIG_H

#include "loop_rig.h"

#include "base/bytes.h"
#include "base/util.h"
#include "dev/registry.h"

#define RIG_SLOT      3
#define RIG_MEM_BYTES (4 * MIB)
#define RIG_MSI_ADDR  0xfee00000ull
#define RIG_QUEUES    8
#define RIG_RINGS_AT  0x100000u /* queue i at + i * 0x10000 */
#define RIG_DATA_AT   0x200000u

#define RIG_NEXT  1u
#define RIG_WRITE 2u

struct pci_rig {
        struct loop_rig rig;
        struct guest_mem *mem;
        struct io_space *ports, *mmio;
        struct irq_router *irq;
        struct pci_bus *pci;
        struct config *config;
        struct device_env env;
        unsigned msi_count[8]; /* by data; rig.lock */
        bool line;             /* rig.lock */

        /* The driver's. */
        bool modern;
        uint64_t legacy_bar, modern_bar;
        uint16_t queue_size;
        uint16_t avail[RIG_QUEUES], used[RIG_QUEUES], next_desc[RIG_QUEUES];
};

static inline void
pci_rig_line(void *ctx, unsigned gsi, bool level)
{
        struct pci_rig *r = ctx;

        /* Below are the ISA lines that PIRQs may be routed to. */
        if (gsi >= 16)
                r->line = level;
}

static inline void
pci_rig_msi(void *ctx, uint64_t address, uint32_t data)
{
        struct pci_rig *r = ctx;

        if (address == RIG_MSI_ADDR && data < ARRAY_LEN(r->msi_count))
                r->msi_count[data]++;
}

static inline void
pci_rig_set(struct pci_rig *r, const char *key, const char *value)
{
        struct config_error err;
        char name[96];

        snprintf(name, sizeof(name), "pci.0.%d.0.%s", RIG_SLOT, key);
        if (config_set(r->config, name, value, &err) != 0)
                fail_msg("%s", err.text);
}

static inline void
pci_rig_start(struct pci_rig *r)
{
        static const struct irq_sink_ops sink = { .line = pci_rig_line, .msi = pci_rig_msi };
        struct pci_bus_config bus = { 0 };

        memset(r, 0, sizeof(*r));
        loop_rig_start(&r->rig);
        assert_int_equal(mem_create(-1, RIG_MEM_BYTES, &r->mem), 0);
        assert_int_equal(io_space_create(&r->rig.lock, &r->ports), 0);
        assert_int_equal(io_space_create(&r->rig.lock, &r->mmio), 0);
        assert_int_equal(irq_router_create(&sink, r, &r->irq), 0);
        bus.ports = r->ports;
        bus.mmio = r->mmio;
        bus.irq = r->irq;
        assert_int_equal(pci_bus_create(&bus, &r->pci), 0);
        assert_int_equal(config_create(&r->config), 0);
        r->env = (struct device_env){ .lock = &r->rig.lock, .loop = r->rig.loop, .mem = r->mem, .pci = r->pci,
                .vm_name = "test", .virtio_msix = true };
}

static inline uint32_t
rig_config_read(struct pci_rig *r, unsigned offset, unsigned size)
{
        uint64_t value = 0;

        assert_true(io_space_write(r->ports, 0xcf8, 4, 0x80000000u | RIG_SLOT << 11 | (offset & ~3u)));
        assert_true(io_space_read(r->ports, 0xcfc + (offset & 3), size, &value));
        return (uint32_t)value;
}

static inline void
rig_config_write(struct pci_rig *r, unsigned offset, unsigned size, uint32_t value)
{
        assert_true(io_space_write(r->ports, 0xcf8, 4, 0x80000000u | RIG_SLOT << 11 | (offset & ~3u)));
        assert_true(io_space_write(r->ports, 0xcfc + (offset & 3), size, value));
}

/* Makes the device in slot RIG_SLOT from what pci_rig_set said. */
static inline int
pci_rig_create(struct pci_rig *r, const char *emulation)
{
        struct device_place place = { 0, RIG_SLOT, 0 };
        struct config_node node = { .config = r->config };
        struct config_error err;
        int error;

        pci_rig_set(r, "device", emulation);
        if (config_check(r->config, &err) != 0)
                fail_msg("%s", err.text);
        snprintf(node.prefix, sizeof(node.prefix), "pci.0.%d.0", RIG_SLOT);
        assert_non_null(device_find(emulation));
        pthread_mutex_lock(&r->rig.lock);
        error = device_find(emulation)->create(&r->env, &place, &node);
        if (error == 0)
                error = pci_bus_assign(r->pci);
        pthread_mutex_unlock(&r->rig.lock);
        if (error != 0)
                return error;
        rig_config_write(r, PCI_CFG_COMMAND, 2, PCI_CMD_IO | PCI_CMD_MEM | PCI_CMD_MASTER);
        r->legacy_bar = rig_config_read(r, PCI_CFG_BAR0, 4) & ~3u;
        r->modern_bar = (rig_config_read(r, PCI_CFG_BAR0 + 16, 4) & ~15u) |
            (uint64_t)rig_config_read(r, PCI_CFG_BAR0 + 20, 4) << 32;
        return 0;
}

static inline void
pci_rig_finish(struct pci_rig *r)
{
        loop_rig_stop(&r->rig);
        pthread_mutex_lock(&r->rig.lock);
        pci_bus_destroy(r->pci);
        pthread_mutex_unlock(&r->rig.lock);
        irq_router_destroy(r->irq);
        io_space_destroy(r->ports);
        io_space_destroy(r->mmio);
        mem_destroy(r->mem);
        config_destroy(r->config);
        loop_rig_finish(&r->rig);
}

static inline uint64_t
legacy_get(struct pci_rig *r, unsigned offset, unsigned size)
{
        uint64_t value = 0;

        assert_true(io_space_read(r->ports, r->legacy_bar + offset, size, &value));
        return value;
}

static inline void
legacy_put(struct pci_rig *r, unsigned offset, unsigned size, uint64_t value)
{
        assert_true(io_space_write(r->ports, r->legacy_bar + offset, size, value));
}

static inline uint64_t
modern_get(struct pci_rig *r, unsigned offset, unsigned size)
{
        uint64_t value = 0;

        assert_true(io_space_read(r->mmio, r->modern_bar + offset, size, &value));
        return value;
}

static inline void
modern_put(struct pci_rig *r, unsigned offset, unsigned size, uint64_t value)
{
        assert_true(io_space_write(r->mmio, r->modern_bar + offset, size, value));
}

static inline uint64_t
ring_base(unsigned queue)
{
        return RIG_RINGS_AT + queue * 0x10000u;
}

static inline uint64_t
ring_used(struct pci_rig *r, unsigned queue)
{
        uint64_t avail_end = ring_base(queue) + 16u * r->queue_size + 6 + 2u * r->queue_size;

        return (avail_end + 4095) & ~4095ull;
}

/* Finds a capability; 0 if there is none. */
static inline unsigned
rig_find_cap(struct pci_rig *r, uint8_t id, unsigned nth)
{
        unsigned cap = rig_config_read(r, PCI_CFG_CAP_PTR, 1);

        while (cap != 0 && (rig_config_read(r, cap, 1) != id || nth-- != 0))
                cap = rig_config_read(r, cap + 1, 1);
        return cap;
}

/* Switches MSI-X on with vector i sending data i. */
static inline void
rig_enable_msix(struct pci_rig *r, unsigned vectors)
{
        unsigned cap = rig_find_cap(r, PCI_CAP_MSIX, 0);
        uint64_t bar;

        assert_true(cap != 0);
        bar = rig_config_read(r, PCI_CFG_BAR0 + 4 * (rig_config_read(r, cap + 4, 4) & 7), 4) & ~15u;
        for (unsigned i = 0; i < vectors; i++) {
                assert_true(io_space_write(r->mmio, bar + 16 * i, 4, RIG_MSI_ADDR));
                assert_true(io_space_write(r->mmio, bar + 16 * i + 4, 4, 0));
                assert_true(io_space_write(r->mmio, bar + 16 * i + 8, 4, i));
                assert_true(io_space_write(r->mmio, bar + 16 * i + 12, 4, 0));
        }
        rig_config_write(r, cap + 2, 2, 0x8000);
}

/* Old drivers: reset, features, queues, DRIVER_OK (0.9.5, 2.2.1).  Vector i + 1 for queue i. */
static inline void
legacy_init(struct pci_rig *r, uint32_t features, unsigned queues, bool msix)
{
        r->modern = false;
        legacy_put(r, 18, 1, 0);
        legacy_put(r, 18, 1, 1 | 2);
        legacy_put(r, 4, 4, legacy_get(r, 0, 4) & features);
        for (unsigned q = 0; q < queues; q++) {
                legacy_put(r, 14, 2, q);
                r->queue_size = (uint16_t)legacy_get(r, 12, 2);
                if (msix)
                        legacy_put(r, 22, 2, q + 1);
                legacy_put(r, 8, 4, ring_base(q) >> 12);
        }
        legacy_put(r, 18, 1, 1 | 2 | 4);
}

/* New drivers (1.2, 3.1.1); what the device's status says at the end. */
static inline unsigned
modern_init(struct pci_rig *r, uint64_t features, unsigned queues, bool msix)
{
        r->modern = true;
        modern_put(r, 20, 1, 0);
        modern_put(r, 20, 1, 1 | 2);
        for (unsigned half = 0; half < 2; half++) {
                modern_put(r, 0, 4, half);
                modern_put(r, 8, 4, half);
                modern_put(r, 12, 4, modern_get(r, 4, 4) & (uint32_t)(features >> (32 * half)));
        }
        modern_put(r, 20, 1, 1 | 2 | 8);
        for (unsigned q = 0; q < queues; q++) {
                modern_put(r, 22, 2, q);
                r->queue_size = (uint16_t)modern_get(r, 24, 2);
                if (msix)
                        modern_put(r, 26, 2, q + 1);
                modern_put(r, 32, 4, ring_base(q));
                modern_put(r, 36, 4, 0);
                modern_put(r, 40, 8, ring_base(q) + 16u * r->queue_size);
                modern_put(r, 48, 8, ring_used(r, q));
                modern_put(r, 28, 2, 1);
        }
        modern_put(r, 20, 1, modern_get(r, 20, 1) | 4);
        return (unsigned)modern_get(r, 20, 1);
}

static inline void
rig_put_desc(struct pci_rig *r, unsigned queue, unsigned i, uint64_t addr, uint32_t len, unsigned flags,
    unsigned next)
{
        uint8_t *p = mem_at(r->mem, ring_base(queue) + 16 * i, 16);

        put_le64(p, addr);
        put_le32(p + 8, len);
        put_le16(p + 12, (uint16_t)flags);
        put_le16(p + 14, (uint16_t)next);
}

static inline void
rig_notify(struct pci_rig *r, unsigned queue)
{
        if (r->modern)
                modern_put(r, 0x3000 + 4 * queue, 2, queue);
        else
                legacy_put(r, 16, 2, queue);
}

/* Makes the chain that begins at @head available and rings the bell. */
static inline void
rig_offer(struct pci_rig *r, unsigned queue, unsigned head)
{
        uint64_t avail = ring_base(queue) + 16u * r->queue_size;

        put_le16(mem_at(r->mem, avail + 4 + 2u * (r->avail[queue] % r->queue_size), 2), (uint16_t)head);
        r->avail[queue]++;
        __atomic_store_n((uint16_t *)mem_at(r->mem, avail + 2, 2), r->avail[queue], __ATOMIC_SEQ_CST);
        rig_notify(r, queue);
}

struct rig_used {
        struct pci_rig *r;
        unsigned queue;
};

static inline bool
rig_has_used(void *ctx)
{
        struct rig_used *u = ctx;
        uint16_t *index = mem_at(u->r->mem, ring_used(u->r, u->queue) + 2, 2);

        return __atomic_load_n(index, __ATOMIC_SEQ_CST) != u->r->used[u->queue];
}

/* Waits for the next used entry; its length. */
static inline uint32_t
rig_take_used(struct pci_rig *r, unsigned queue, unsigned *ret_head)
{
        struct rig_used u = { r, queue };
        uint64_t at = ring_used(r, queue) + 4 + 8u * (r->used[queue] % r->queue_size);

        assert_true(loop_rig_wait(&r->rig, rig_has_used, &u));
        r->used[queue]++;
        if (ret_head != NULL)
                *ret_head = get_le32(mem_at(r->mem, at, 4));
        return get_le32(mem_at(r->mem, at + 4, 4));
}

#endif
