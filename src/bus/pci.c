/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * PCI core.  One struct pci_bus holds every bus number of the machine; they
 * are all root buses (no bridges), as bhyve's "bus:slot:function" has it.
 */
#include "bus/pci.h"

#include "base/bytes.h"
#include "base/log.h"
#include "base/util.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define BUS_COUNT      256
#define SLOT_COUNT     32
#define FUNC_COUNT     8
#define FUNCS_PER_BUS  (SLOT_COUNT * FUNC_COUNT)
#define FIRST_GSI      16
#define CAP_FIRST      0x40
#define CONFIG_ENABLE  0x80000000u
#define RESET_CPU      0x04u /* reset control register, PIIX3 data sheet 2.5.3 */
#define BIG_BAR_BYTES  (32 * MIB) /* 64-bit BARs above this go above 4 GiB */

#define BAR_FLAG_IO    0x1u
#define BAR_FLAG_MEM64 0x4u

#define MSI_ENABLE      0x0001u
#define MSI_COUNT_SHIFT 4
#define MSI_64BIT       0x0080u
#define MSI_CAP_LEN     14

#define MSIX_ENABLE     0x8000u
#define MSIX_MASK_ALL   0x4000u
#define MSIX_CAP_LEN    12
#define MSIX_ENTRY_LEN  16
#define MSIX_VECTOR_OFF 0x1u
#define MSIX_MAX        2048u

struct pci_msix {
        struct pci_device *dev;
        unsigned count;
        uint64_t pba_offset;
        struct {
                uint64_t address;
                uint32_t data;
                uint32_t control;
                struct irq_message message;
        } *table;
        uint64_t *pending; /* a bit a vector */
};

struct pci_bus {
        struct pci_bus_config config;
        uint32_t config_address; /* 0xcf8 */
        uint8_t reset_control;   /* 0xcf9 */
        int pirq_isa[PCI_PIRQ_COUNT];
        struct pci_device **functions[BUS_COUNT]; /* FUNCS_PER_BUS each */
        struct pci_windows windows[BUS_COUNT];
        struct log_limit limit;
};

typedef void each_fn(struct pci_device *dev, void *arg);

static void
for_each(struct pci_bus *bus, each_fn *fn, void *arg)
{
        for (unsigned b = 0; b < BUS_COUNT; b++) {
                if (!bus->functions[b])
                        continue;
                for (unsigned i = 0; i < FUNCS_PER_BUS; i++) {
                        if (bus->functions[b][i])
                                fn(bus->functions[b][i], arg);
                }
        }
}

void
pci_set16(struct pci_device *dev, unsigned offset, uint16_t value)
{
        put_le16(&dev->config[offset], value);
}

void
pci_set32(struct pci_device *dev, unsigned offset, uint32_t value)
{
        put_le32(&dev->config[offset], value);
}

uint16_t
pci_get16(const struct pci_device *dev, unsigned offset)
{
        return get_le16(&dev->config[offset]);
}

uint32_t
pci_get32(const struct pci_device *dev, unsigned offset)
{
        return get_le32(&dev->config[offset]);
}

/* --- INTx --- */

unsigned
pci_pirq_of(unsigned slot, unsigned pin)
{
        return (slot + pin - 1) % PCI_PIRQ_COUNT;
}

static unsigned
device_pirq(const struct pci_device *dev)
{
        return pci_pirq_of(dev->slot, dev->config[PCI_CFG_INT_PIN]);
}

static bool
has_intx(const struct pci_device *dev)
{
        return dev->config[PCI_CFG_INT_PIN] != 0;
}

static unsigned
pic_gsi(const struct pci_bus *bus, unsigned pirq)
{
        return bus->pirq_isa[pirq] < 0 ? IRQ_GSI_NONE : (unsigned)bus->pirq_isa[pirq];
}

void
pci_intx_init(struct pci_device *dev)
{
        dev->config[PCI_CFG_INT_PIN] = (uint8_t)(1 + dev->func % 4);
        dev->wmask[PCI_CFG_INT_LINE] = 0xff;
}

static void
connect_intx(struct pci_device *dev)
{
        struct pci_bus *bus = dev->bus;
        unsigned pirq;

        if (!has_intx(dev))
                return;
        pci_intx_init(dev); /* the function number is known only now */
        pirq = device_pirq(dev);
        irq_source_init(&dev->intx_apic, bus->config.irq, FIRST_GSI + pirq);
        irq_source_init(&dev->intx_pic, bus->config.irq, pic_gsi(bus, pirq));
}

static void
update_intx(struct pci_device *dev)
{
        bool level = dev->intx_level && !pci_msi_enabled(dev) && !pci_msix_enabled(dev) &&
            !(pci_get16(dev, PCI_CFG_COMMAND) & PCI_CMD_INTX_OFF);

        if (!has_intx(dev) || !dev->intx_apic.router)
                return;
        irq_line_set(&dev->intx_apic, level);
        irq_line_set(&dev->intx_pic, level);
}

void
pci_irq_set(struct pci_device *dev, bool level)
{
        dev->intx_level = level;
        if (level)
                dev->config[PCI_CFG_STATUS] |= PCI_STATUS_INTX;
        else
                dev->config[PCI_CFG_STATUS] &= (uint8_t)~PCI_STATUS_INTX;
        update_intx(dev);
}

struct reroute {
        unsigned pirq, gsi;
};

static void
reroute_device(struct pci_device *dev, void *arg)
{
        const struct reroute *r = arg;

        if (has_intx(dev) && device_pirq(dev) == r->pirq)
                irq_source_route(&dev->intx_pic, r->gsi);
}

void
pci_bus_route_pirq(struct pci_bus *bus, unsigned pirq, int isa_irq)
{
        struct reroute r = {.pirq = pirq};

        if (pirq >= PCI_PIRQ_COUNT)
                return;
        bus->pirq_isa[pirq] = isa_irq;
        r.gsi = pic_gsi(bus, pirq);
        for_each(bus, reroute_device, &r);
}

/* --- BARs --- */

static struct io_space *
bar_space(const struct pci_device *dev, const struct pci_bar *bar)
{
        return bar->kind == PCI_BAR_IO ? dev->bus->config.ports : dev->bus->config.mmio;
}

static void
bar_set_doorbells(struct pci_device *dev, struct pci_bar *bar, bool on)
{
        for (unsigned i = 0; i < bar->bell_count; i++)
                io_space_set_doorbell(bar_space(dev, bar), bar->mapped_at, &bar->bells[i], on);
}

static void
bar_unmap(struct pci_device *dev, struct pci_bar *bar)
{
        if (!bar->mapped)
                return;
        bar_set_doorbells(dev, bar, false);
        io_space_remove(bar_space(dev, bar), bar->mapped_at);
        bar->mapped = false;
}

static bool
bar_decodes(const struct pci_device *dev, const struct pci_bar *bar)
{
        uint16_t command = pci_get16(dev, PCI_CFG_COMMAND);

        switch (bar->kind) {
        case PCI_BAR_IO:
                return (command & PCI_CMD_IO) && bar->addr && bar->addr + bar->size <= PCI_IO_LIMIT;
        case PCI_BAR_MEM32:
                return (command & PCI_CMD_MEM) && bar->addr && bar->addr + bar->size <= 4 * GIB;
        case PCI_BAR_MEM64:
                return (command & PCI_CMD_MEM) && bar->addr && bar->addr + bar->size > bar->addr;
        default:
                return false;
        }
}

/* The address that the BAR's registers say. */
static uint64_t
bar_register(const struct pci_device *dev, unsigned index)
{
        uint64_t value = pci_get32(dev, PCI_CFG_BAR0 + 4 * index);

        if (dev->bar[index].kind == PCI_BAR_IO)
                return value & ~3ull;
        if (dev->bar[index].kind == PCI_BAR_MEM64)
                value |= (uint64_t)pci_get32(dev, PCI_CFG_BAR0 + 4 * index + 4) << 32;
        return value & ~15ull;
}

static void
bar_set_register(struct pci_device *dev, unsigned index, uint64_t addr)
{
        enum pci_bar_kind kind = dev->bar[index].kind;
        uint32_t flags = kind == PCI_BAR_IO ? BAR_FLAG_IO : kind == PCI_BAR_MEM64 ? BAR_FLAG_MEM64 : 0;

        pci_set32(dev, PCI_CFG_BAR0 + 4 * index, (uint32_t)addr | flags);
        if (kind == PCI_BAR_MEM64)
                pci_set32(dev, PCI_CFG_BAR0 + 4 * index + 4, (uint32_t)(addr >> 32));
}

static void
bar_map(struct pci_device *dev, struct pci_bar *bar)
{
        int error;

        if (bar->mapped || !bar_decodes(dev, bar))
                return;
        error = io_space_add(bar_space(dev, bar), bar->addr, bar->size, bar->ops, bar->ctx, bar->io_flags,
            dev->ops->name);
        if (error) {
                log_guest(&dev->bus->limit, "pci %u:%u.%u: a BAR at %#llx overlaps something else",
                    dev->bus_nr, dev->slot, dev->func, (unsigned long long)bar->addr);
                return;
        }
        bar->mapped = true;
        bar->mapped_at = bar->addr;
        bar_set_doorbells(dev, bar, true);
}

static void
map_bars(struct pci_device *dev, void *arg)
{
        for (unsigned i = 0; i < PCI_BAR_COUNT; i++)
                bar_map(dev, &dev->bar[i]);
}

static bool
unmap_stale_bars(struct pci_device *dev)
{
        bool any = false;

        for (unsigned i = 0; i < PCI_BAR_COUNT; i++) {
                struct pci_bar *bar = &dev->bar[i];

                if (bar->kind == PCI_BAR_NONE || bar->kind == PCI_BAR_UPPER)
                        continue;
                bar->addr = bar_register(dev, i);
                if (bar->mapped && (!bar_decodes(dev, bar) || bar->mapped_at != bar->addr)) {
                        bar_unmap(dev, bar);
                        any = true;
                }
        }
        return any;
}

/* Makes the mappings follow the registers; what one BAR left another may have been waiting for. */
static void
update_bars(struct pci_device *dev)
{
        if (unmap_stale_bars(dev))
                for_each(dev->bus, map_bars, NULL);
        else
                map_bars(dev, NULL);
}

static uint64_t
round_up_pow2(uint64_t size, uint64_t least)
{
        uint64_t result = least;

        while (result < size && result < 1ull << 62)
                result <<= 1;
        return result;
}

void
pci_bar_doorbells(struct pci_device *dev, unsigned index, const struct io_doorbell *bells, unsigned count)
{
        dev->bar[index].bells = bells;
        dev->bar[index].bell_count = count;
}

int
pci_bar_add(struct pci_device *dev, unsigned index, enum pci_bar_kind kind, uint64_t size,
    const struct io_ops *ops, void *ctx, unsigned io_flags)
{
        unsigned last = kind == PCI_BAR_MEM64 ? index + 1 : index;
        uint64_t rounded = round_up_pow2(size, kind == PCI_BAR_IO ? 4 : 16);
        uint64_t mask = ~(rounded - 1);

        if (last >= PCI_BAR_COUNT || dev->bar[index].kind != PCI_BAR_NONE ||
            dev->bar[last].kind != PCI_BAR_NONE || !size)
                return -EINVAL;
        dev->bar[index] = (struct pci_bar){
            .kind = kind, .size = rounded, .ops = ops, .ctx = ctx, .io_flags = io_flags};
        put_le32(&dev->wmask[PCI_CFG_BAR0 + 4 * index], (uint32_t)mask);
        if (kind == PCI_BAR_MEM64) {
                dev->bar[last].kind = PCI_BAR_UPPER;
                put_le32(&dev->wmask[PCI_CFG_BAR0 + 4 * last], (uint32_t)(mask >> 32));
        }
        bar_set_register(dev, index, 0);
        return 0;
}

/* How far the windows are given away. */
struct next_free {
        uint64_t io, mem32, mem64;
        int error;
};

static bool
take(uint64_t *next, uint64_t limit, uint64_t size, uint64_t *ret_addr)
{
        uint64_t addr = (*next + size - 1) & ~(size - 1);

        if (addr < *next || addr > limit || size > limit - addr)
                return false;
        *next = addr + size;
        *ret_addr = addr;
        return true;
}

/* Memory BARs start on pages of their own, so that a guest may map each alone. */
static bool
assign_bar(struct next_free *w, struct pci_bar *bar)
{
        uint64_t size = bar->size < 4096 ? 4096 : bar->size;

        if (bar->kind == PCI_BAR_IO)
                return take(&w->io, PCI_IO_LIMIT, bar->size, &bar->assigned);
        if (bar->kind == PCI_BAR_MEM64 && bar->size > BIG_BAR_BYTES)
                return take(&w->mem64, PCI_MEM64_LIMIT, size, &bar->assigned);
        return take(&w->mem32, PCI_MEM32_LIMIT, size, &bar->assigned);
}

static bool
shares_slot(const struct pci_device *dev)
{
        for (unsigned func = 0; func < FUNC_COUNT; func++) {
                if (func != dev->func && pci_bus_find(dev->bus, dev->bus_nr, dev->slot, func))
                        return true;
        }
        return false;
}

static void
assign_device(struct pci_device *dev, void *arg)
{
        struct next_free *w = arg;
        uint16_t command = pci_get16(dev, PCI_CFG_COMMAND);

        for (unsigned i = 0; i < PCI_BAR_COUNT; i++) {
                struct pci_bar *bar = &dev->bar[i];

                if (bar->kind == PCI_BAR_NONE || bar->kind == PCI_BAR_UPPER)
                        continue;
                if (!assign_bar(w, bar)) {
                        w->error = -ENOSPC;
                        continue;
                }
                bar_set_register(dev, i, bar->assigned);
                command |= bar->kind == PCI_BAR_IO ? PCI_CMD_IO : PCI_CMD_MEM;
        }
        pci_set16(dev, PCI_CFG_COMMAND, command);
        if (shares_slot(dev))
                dev->config[PCI_CFG_HEADER] |= 0x80;
        if (has_intx(dev)) {
                unsigned isa_irq = pic_gsi(dev->bus, device_pirq(dev));

                dev->config[PCI_CFG_INT_LINE] = (uint8_t)isa_irq; /* IRQ_GSI_NONE: not connected */
        }
        memcpy(dev->initial, dev->config, sizeof(dev->initial));
        update_bars(dev);
}

static void
assign_bus(struct pci_bus *bus, unsigned b, struct next_free *next)
{
        struct pci_windows *w = &bus->windows[b];

        w->io_base = next->io;
        w->mem32_base = next->mem32;
        w->mem64_base = next->mem64;
        for (unsigned i = 0; i < FUNCS_PER_BUS; i++) {
                if (bus->functions[b][i])
                        assign_device(bus->functions[b][i], next);
        }
        w->io_limit = next->io;
        w->mem32_limit = next->mem32;
        w->mem64_limit = next->mem64;
}

int
pci_bus_assign(struct pci_bus *bus)
{
        struct next_free next = {.io = PCI_IO_BASE, .mem32 = PCI_MEM32_BASE, .mem64 = PCI_MEM64_BASE};
        struct pci_windows *last = &bus->windows[pci_bus_last(bus)];

        for (unsigned b = 0; b < BUS_COUNT; b++) {
                if (bus->functions[b])
                        assign_bus(bus, b, &next);
        }
        last->io_limit = PCI_IO_LIMIT;
        last->mem32_limit = PCI_MEM32_LIMIT;
        last->mem64_limit = PCI_MEM64_LIMIT;
        return next.error;
}

void
pci_bus_windows(const struct pci_bus *bus, unsigned bus_nr, struct pci_windows *ret_windows)
{
        *ret_windows = bus->windows[bus_nr % BUS_COUNT];
}

/* --- Capabilities and MSI --- */

int
pci_cap_add(struct pci_device *dev, uint8_t id, unsigned len)
{
        unsigned offset = dev->cap_next ? dev->cap_next : CAP_FIRST;

        len = (len + 3) & ~3u;
        if (len < 2 || offset + len > sizeof(dev->config))
                return -ENOSPC;
        dev->config[offset] = id;
        dev->config[offset + 1] = 0;
        if (dev->cap_last)
                dev->config[dev->cap_last + 1] = (uint8_t)offset;
        else
                dev->config[PCI_CFG_CAP_PTR] = (uint8_t)offset;
        dev->config[PCI_CFG_STATUS] |= PCI_STATUS_CAPS;
        dev->cap_last = (uint8_t)offset;
        dev->cap_next = offset + len < sizeof(dev->config) ? (uint8_t)(offset + len) : 0xff;
        return (int)offset;
}

int
pci_msi_init(struct pci_device *dev, unsigned count)
{
        int cap;

        if (!count || count > 32 || (count & (count - 1)))
                return -EINVAL;
        cap = pci_cap_add(dev, PCI_CAP_MSI, MSI_CAP_LEN);
        if (cap < 0)
                return cap;
        dev->msi_cap = (uint8_t)cap;
        pci_set16(dev, (unsigned)cap + 2, (uint16_t)(MSI_64BIT | (unsigned)__builtin_ctz(count) << 1));
        put_le16(&dev->wmask[cap + 2], MSI_ENABLE | 7 << MSI_COUNT_SHIFT);
        put_le32(&dev->wmask[cap + 4], 0xfffffffc);
        put_le32(&dev->wmask[cap + 8], 0xffffffff);
        put_le16(&dev->wmask[cap + 12], 0xffff);
        return 0;
}

bool
pci_msi_enabled(const struct pci_device *dev)
{
        return dev->msi_cap && (pci_get16(dev, dev->msi_cap + 2u) & MSI_ENABLE);
}

/* The guest may have been granted fewer vectors than it was offered. */
void
pci_msi_notify(struct pci_device *dev, unsigned vector)
{
        uint16_t control;
        unsigned offered, granted;
        uint64_t address;

        if (!pci_msi_enabled(dev))
                return;
        control = pci_get16(dev, dev->msi_cap + 2u);
        offered = control >> 1 & 7;
        granted = control >> MSI_COUNT_SHIFT & 7;
        if (granted > offered)
                granted = offered;
        address = pci_get32(dev, dev->msi_cap + 4u) | (uint64_t)pci_get32(dev, dev->msi_cap + 8u) << 32;
        vector &= (1u << granted) - 1;
        irq_msi(dev->bus->config.irq, address, pci_get16(dev, dev->msi_cap + 12u) | vector);
}

static uint16_t
msix_control(const struct pci_device *dev)
{
        return pci_get16(dev, dev->msix_cap + 2u);
}

bool
pci_msix_enabled(const struct pci_device *dev)
{
        return dev->msix_cap && (msix_control(dev) & MSIX_ENABLE);
}

unsigned
pci_msix_count(const struct pci_device *dev)
{
        return dev->msix ? dev->msix->count : 0;
}

static bool
msix_masked(const struct pci_msix *x, unsigned vector)
{
        return (msix_control(x->dev) & MSIX_MASK_ALL) || (x->table[vector].control & MSIX_VECTOR_OFF);
}

void
pci_msix_notify(struct pci_device *dev, unsigned vector)
{
        struct pci_msix *x = dev->msix;

        if (!x || vector >= x->count || !pci_msix_enabled(dev))
                return;
        if (msix_masked(x, vector))
                x->pending[vector / 64] |= 1ull << (vector & 63);
        else
                irq_message_send(dev->bus->config.irq, &x->table[vector].message, x->table[vector].address,
                    x->table[vector].data);
}

static void
msix_flush_one(struct pci_msix *x, unsigned vector)
{
        uint64_t bit = 1ull << (vector & 63);

        if (!(x->pending[vector / 64] & bit) || !pci_msix_enabled(x->dev) || msix_masked(x, vector))
                return;
        x->pending[vector / 64] &= ~bit;
        pci_msix_notify(x->dev, vector);
}

static void
msix_flush(struct pci_msix *x)
{
        for (unsigned word = 0; word < (x->count + 63) / 64; word++) {
                uint64_t bits = x->pending[word];

                for (; bits; bits &= bits - 1)
                        msix_flush_one(x, word * 64 + (unsigned)__builtin_ctzll(bits));
        }
}

static uint32_t
msix_read32(const struct pci_msix *x, uint64_t offset)
{
        uint64_t vector = offset / MSIX_ENTRY_LEN;

        if (offset >= x->pba_offset) {
                uint64_t bit = (offset - x->pba_offset) * 8;

                if (bit >= (x->count + 63) / 64 * 64)
                        return 0;
                return (uint32_t)(x->pending[bit / 64] >> (bit & 32));
        }
        if (vector >= x->count)
                return 0;
        switch (offset & 12) {
        case 0:
                return (uint32_t)x->table[vector].address;
        case 4:
                return (uint32_t)(x->table[vector].address >> 32);
        case 8:
                return x->table[vector].data;
        default:
                return x->table[vector].control;
        }
}

static void
msix_write32(struct pci_msix *x, uint64_t offset, uint32_t value)
{
        uint64_t vector = offset / MSIX_ENTRY_LEN;

        if (offset >= x->pba_offset || vector >= x->count)
                return;
        switch (offset & 12) {
        case 0:
                x->table[vector].address &= ~(uint64_t)UINT32_MAX;
                x->table[vector].address |= value & ~3u;
                break;
        case 4:
                x->table[vector].address &= UINT32_MAX;
                x->table[vector].address |= (uint64_t)value << 32;
                break;
        case 8:
                x->table[vector].data = value;
                break;
        default:
                x->table[vector].control = value & MSIX_VECTOR_OFF;
                msix_flush_one(x, (unsigned)vector);
                break;
        }
}

/* The guest must use aligned 4- or 8-byte accesses (PCI 3.0 6.8.2); others read 0. */
static uint64_t
msix_read(void *ctx, uint64_t offset, unsigned size)
{
        if (size < 4 || (offset & (size - 1)))
                return 0;
        if (size == 4)
                return msix_read32(ctx, offset);
        return msix_read32(ctx, offset) | (uint64_t)msix_read32(ctx, offset + 4) << 32;
}

static void
msix_write(void *ctx, uint64_t offset, unsigned size, uint64_t value)
{
        if (size < 4 || (offset & (size - 1)))
                return;
        msix_write32(ctx, offset, (uint32_t)value);
        if (size == 8)
                msix_write32(ctx, offset + 4, (uint32_t)(value >> 32));
}

static const struct io_ops msix_ops = {.read = msix_read, .write = msix_write};

static void
msix_reset(struct pci_msix *x)
{
        memset(x->pending, 0, (x->count + 63) / 64 * sizeof(*x->pending));
        for (unsigned i = 0; i < x->count; i++) {
                x->table[i].address = 0;
                x->table[i].data = 0;
                x->table[i].control = MSIX_VECTOR_OFF;
        }
}

static void
msix_free(struct pci_msix *x)
{
        if (!x)
                return;
        free(x->table);
        free(x->pending);
        free(x);
}

static struct pci_msix *
msix_alloc(struct pci_device *dev, unsigned count)
{
        struct pci_msix *x = calloc(1, sizeof(*x));

        if (!x)
                return NULL;
        x->dev = dev;
        x->count = count;
        x->pba_offset = (count * MSIX_ENTRY_LEN + 4095ull) & ~4095ull;
        x->table = calloc(count, sizeof(*x->table));
        x->pending = calloc((count + 63) / 64, sizeof(*x->pending));
        if (!x->table || !x->pending) {
                msix_free(x);
                return NULL;
        }
        msix_reset(x);
        return x;
}

int
pci_msix_init(struct pci_device *dev, unsigned bar, unsigned count)
{
        struct pci_msix *x;
        int cap, error;

        if (!count || count > MSIX_MAX || dev->msix)
                return -EINVAL;
        x = msix_alloc(dev, count);
        if (!x)
                return -ENOMEM;
        cap = pci_cap_add(dev, PCI_CAP_MSIX, MSIX_CAP_LEN);
        error = cap < 0 ? cap : pci_bar_add(dev, bar, PCI_BAR_MEM32, x->pba_offset + 4096, &msix_ops, x, 0);
        if (error) {
                msix_free(x);
                return error;
        }
        dev->msix = x;
        dev->msix_cap = (uint8_t)cap;
        pci_set16(dev, (unsigned)cap + 2, (uint16_t)(count - 1));
        put_le16(&dev->wmask[cap + 2], MSIX_ENABLE | MSIX_MASK_ALL);
        pci_set32(dev, (unsigned)cap + 4, bar);
        pci_set32(dev, (unsigned)cap + 8, (uint32_t)x->pba_offset | bar);
        return 0;
}

/* --- Configuration space --- */

void
pci_device_init(struct pci_device *dev, const struct pci_device_ops *ops, const struct pci_ids *ids)
{
        memset(dev, 0, sizeof(*dev));
        dev->ops = ops;
        pci_set16(dev, PCI_CFG_VENDOR, ids->vendor);
        pci_set16(dev, PCI_CFG_DEVICE, ids->device);
        pci_set16(dev, PCI_CFG_SUBVENDOR, ids->subvendor);
        pci_set16(dev, PCI_CFG_SUBDEVICE, ids->subdevice);
        dev->config[PCI_CFG_REVISION] = ids->revision;
        dev->config[PCI_CFG_PROGIF] = ids->prog_if;
        dev->config[PCI_CFG_SUBCLASS] = ids->subclass;
        dev->config[PCI_CFG_CLASS] = ids->class_code;
        pci_set16(dev, PCI_CFG_COMMAND, PCI_CMD_MASTER);
        put_le16(&dev->wmask[PCI_CFG_COMMAND],
            PCI_CMD_IO | PCI_CMD_MEM | PCI_CMD_MASTER | PCI_CMD_INTX_OFF | 0x140);
        dev->wmask[0x0c] = 0xff; /* cache line size: remembered */
}

struct pci_device *
pci_bus_find(struct pci_bus *bus, unsigned bus_nr, unsigned slot, unsigned func)
{
        if (bus_nr >= BUS_COUNT || slot >= SLOT_COUNT || func >= FUNC_COUNT || !bus->functions[bus_nr])
                return NULL;
        return bus->functions[bus_nr][slot * FUNC_COUNT + func];
}

unsigned
pci_bus_last(const struct pci_bus *bus)
{
        for (unsigned b = BUS_COUNT - 1; b > 0; b--) {
                if (bus->functions[b])
                        return b;
        }
        return 0;
}

int
pci_bus_add(struct pci_bus *bus, struct pci_device *dev, unsigned bus_nr, unsigned slot, unsigned func)
{
        if (bus_nr >= BUS_COUNT || slot >= SLOT_COUNT || func >= FUNC_COUNT)
                return -EINVAL;
        if (pci_bus_find(bus, bus_nr, slot, func))
                return -EEXIST;
        if (!bus->functions[bus_nr])
                bus->functions[bus_nr] = calloc(FUNCS_PER_BUS, sizeof(*bus->functions[bus_nr]));
        if (!bus->functions[bus_nr])
                return -ENOMEM;
        dev->bus = bus;
        dev->bus_nr = (uint8_t)bus_nr;
        dev->slot = (uint8_t)slot;
        dev->func = (uint8_t)func;
        bus->functions[bus_nr][slot * FUNC_COUNT + func] = dev;
        connect_intx(dev);
        return 0;
}

void
pci_bus_remove(struct pci_device *dev)
{
        if (dev->bus) {
                pci_irq_set(dev, false);
                for (unsigned i = 0; i < PCI_BAR_COUNT; i++)
                        bar_unmap(dev, &dev->bar[i]);
                dev->bus->functions[dev->bus_nr][dev->slot * FUNC_COUNT + dev->func] = NULL;
                dev->bus = NULL;
        }
        msix_free(dev->msix);
        dev->msix = NULL;
        dev->msix_cap = 0;
}

static bool
covers(unsigned offset, unsigned size, unsigned first, unsigned len)
{
        return offset < first + len && first < offset + size;
}

static void
config_written(struct pci_device *dev, unsigned offset, unsigned size)
{
        bool command = covers(offset, size, PCI_CFG_COMMAND, 2);
        bool msi = dev->msi_cap && covers(offset, size, dev->msi_cap + 2u, 2);
        bool msix = dev->msix_cap && covers(offset, size, dev->msix_cap + 2u, 2);

        if (command || covers(offset, size, PCI_CFG_BAR0, 4 * PCI_BAR_COUNT))
                update_bars(dev);
        if (!command && !msi && !msix)
                return;
        update_intx(dev);
        if (msix)
                msix_flush(dev->msix);
        if (dev->ops->irq_mode_changed)
                dev->ops->irq_mode_changed(dev);
}

static uint32_t
size_mask(unsigned size)
{
        return size >= 4 ? UINT32_MAX : (1u << size * 8) - 1;
}

static void
config_write(struct pci_device *dev, unsigned offset, unsigned size, uint32_t value)
{
        if (dev->ops->config_write && dev->ops->config_write(dev, offset, size, value))
                return;
        for (unsigned i = 0; i < size; i++) {
                uint8_t *byte = &dev->config[offset + i];
                uint8_t mask = dev->wmask[offset + i];

                *byte = (uint8_t)((*byte & ~mask) | (value >> (8 * i) & mask));
        }
        config_written(dev, offset, size);
}

static uint32_t
config_read(struct pci_device *dev, unsigned offset, unsigned size)
{
        uint32_t value = 0;

        if (dev->ops->config_read && dev->ops->config_read(dev, offset, size, &value))
                return value & size_mask(size);
        for (unsigned i = 0; i < size; i++)
                value |= (uint32_t)dev->config[offset + i] << (8 * i);
        return value;
}

/* @address: bus 27:20, slot 19:15, function 14:12, register 11:0, as in ECAM. */
static struct pci_device *
decode(struct pci_bus *bus, uint64_t address, unsigned size, unsigned *ret_offset)
{
        unsigned offset = address & 0xfff;

        /* Conventional functions: nothing behind 256 bytes. */
        if (offset + size > 256)
                return NULL;
        *ret_offset = offset;
        return pci_bus_find(bus, address >> 20 & 0xff, address >> 15 & 31, address >> 12 & 7);
}

static uint32_t
access_read(struct pci_bus *bus, uint64_t address, unsigned size)
{
        unsigned offset = 0;
        struct pci_device *dev = decode(bus, address, size, &offset);

        return dev ? config_read(dev, offset, size) : size_mask(size);
}

static void
access_write(struct pci_bus *bus, uint64_t address, unsigned size, uint32_t value)
{
        unsigned offset = 0;
        struct pci_device *dev = decode(bus, address, size, &offset);

        if (dev)
                config_write(dev, offset, size, value);
}

static uint64_t
ecam_read(void *ctx, uint64_t offset, unsigned size)
{
        if (size == 8)
                return access_read(ctx, offset, 4) | (uint64_t)access_read(ctx, offset + 4, 4) << 32;
        return access_read(ctx, offset, size);
}

static void
ecam_write(void *ctx, uint64_t offset, unsigned size, uint64_t value)
{
        if (size == 8) {
                access_write(ctx, offset, 4, (uint32_t)value);
                access_write(ctx, offset + 4, 4, (uint32_t)(value >> 32));
                return;
        }
        access_write(ctx, offset, size, (uint32_t)value);
}

/* --- Mechanism 1: 0xcf8 and 0xcfc; 0xcf9 as a byte is the reset control register --- */

static uint64_t
address_read(void *ctx, uint64_t offset, unsigned size)
{
        const struct pci_bus *bus = ctx;

        if (size == 1 && offset == 1)
                return bus->reset_control;
        if (size == 4)
                return bus->config_address;
        return size_mask(size);
}

static void
write_reset_control(struct pci_bus *bus, uint8_t value)
{
        bus->reset_control = value & (uint8_t)~RESET_CPU;
        if ((value & RESET_CPU) && bus->config.reset)
                bus->config.reset(bus->config.reset_ctx);
}

static void
address_write(void *ctx, uint64_t offset, unsigned size, uint64_t value)
{
        struct pci_bus *bus = ctx;

        if (size == 1 && offset == 1)
                write_reset_control(bus, (uint8_t)value);
        else if (size == 4)
                bus->config_address = (uint32_t)value & 0x80fffffc;
}

/* Bits 23:2 of CONFIG_ADDRESS are bus, slot, function and register, as ECAM has them 4 bits higher. */
static uint64_t
mechanism1(const struct pci_bus *bus, uint64_t offset)
{
        return (uint64_t)(bus->config_address & 0xffff00) << 4 | (bus->config_address & 0xfc) | offset;
}

static uint64_t
data_read(void *ctx, uint64_t offset, unsigned size)
{
        struct pci_bus *bus = ctx;

        if (!(bus->config_address & CONFIG_ENABLE))
                return size_mask(size);
        return access_read(bus, mechanism1(bus, offset), size);
}

static void
data_write(void *ctx, uint64_t offset, unsigned size, uint64_t value)
{
        struct pci_bus *bus = ctx;

        if (bus->config_address & CONFIG_ENABLE)
                access_write(bus, mechanism1(bus, offset), size, (uint32_t)value);
}

static const struct io_ops address_ops = {.read = address_read, .write = address_write};
static const struct io_ops data_ops = {.read = data_read, .write = data_write};
static const struct io_ops ecam_ops = {.read = ecam_read, .write = ecam_write};

static int
claim_ranges(struct pci_bus *bus)
{
        int error = io_space_add(bus->config.ports, 0xcf8, 4, &address_ops, bus, 0, "pci address");

        if (!error)
                error = io_space_add(bus->config.ports, 0xcfc, 4, &data_ops, bus, 0, "pci data");
        if (!error)
                error = io_space_add(
                    bus->config.mmio, PCI_ECAM_BASE, PCI_ECAM_LEN, &ecam_ops, bus, 0, "pci ecam");
        return error;
}

static void
release_ranges(struct pci_bus *bus)
{
        io_space_remove(bus->config.ports, 0xcf8);
        io_space_remove(bus->config.ports, 0xcfc);
        io_space_remove(bus->config.mmio, PCI_ECAM_BASE);
}

int
pci_bus_create(const struct pci_bus_config *config, struct pci_bus **ret_bus)
{
        struct pci_bus *bus = calloc(1, sizeof(*bus));
        int error;

        if (!bus)
                return -ENOMEM;
        bus->config = *config;
        for (unsigned i = 0; i < PCI_PIRQ_COUNT; i++)
                bus->pirq_isa[i] = -1;
        error = claim_ranges(bus);
        if (error) {
                release_ranges(bus);
                free(bus);
                return error;
        }
        *ret_bus = bus;
        return 0;
}

static void
destroy_device(struct pci_device *dev, void *arg)
{
        const struct pci_device_ops *ops = dev->ops;

        pci_bus_remove(dev);
        if (ops->destroy)
                ops->destroy(dev);
}

void
pci_bus_destroy(struct pci_bus *bus)
{
        if (!bus)
                return;
        for_each(bus, destroy_device, NULL);
        release_ranges(bus);
        for (unsigned b = 0; b < BUS_COUNT; b++)
                free(bus->functions[b]);
        free(bus);
}

static void
reset_device(struct pci_device *dev, void *arg)
{
        if (dev->ops->reset)
                dev->ops->reset(dev);
        pci_irq_set(dev, false);
        memcpy(dev->config, dev->initial, sizeof(dev->config));
        if (dev->msix)
                msix_reset(dev->msix);
        update_bars(dev);
        update_intx(dev);
}

void
pci_bus_reset(struct pci_bus *bus)
{
        bus->config_address = 0;
        bus->reset_control = 0;
        for_each(bus, reset_device, NULL);
}
