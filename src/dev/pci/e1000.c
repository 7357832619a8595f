/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Intel 82545EM (copper): the PCI function, its registers in BAR 0 and through
 * the IOADDR/IODATA pair of BAR 2 (by which drivers reset it), and its
 * interrupt pin.  EEPROM and PHY are in e1000_nvm.c, the rings in e1000_tx.c
 * and e1000_rx.c; those are worked through on the loop's thread, to which a
 * write to a tail register only rings.
 *
 * Not there: MSI, flash, wake-up, flow control, loopback and most statistics;
 * their registers keep what is written, or read as 0.
 */
#include "dev/pci/e1000.h"
#include "dev/pci/e1000_impl.h"

#include "base/bytes.h"
#include "base/util.h"
#include "dev/netdev.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#define BAR_REGISTERS 0u
#define BAR_PORTS     2u
#define REGISTER_BYTES 0x20000u
#define PORT_BYTES    8u
#define PORT_IOADDR   0u
#define PORT_IODATA   4u

#define ITR_UNIT_NS 256u

#define STATUS_FIXED   0x00000081u /* full duplex, 1000 Mb/s */
#define STATUS_LINK_UP 0x00000002u
#define RA_VALID       0x80000000u

/* Registers that keep what is written, in the bits of the mask. */
struct register_range {
        uint16_t first, last;
        uint32_t mask;
};

static const struct register_range plain_registers[] = {
        { E1000_CTRL_EXT, E1000_CTRL_EXT, ~0x2000u },
        { E1000_FCAL, E1000_FCT, UINT32_MAX },
        { E1000_VET, E1000_VET, 0xffff },
        { E1000_ITR, E1000_ITR, 0xffff },
        { E1000_RCTL, E1000_RCTL, 0x07ffffff },
        { E1000_FCTTV, E1000_TXCW, UINT32_MAX },
        { E1000_TCTL, E1000_TCTL, UINT32_MAX },
        { E1000_TIPG, E1000_TIPG, UINT32_MAX },
        { E1000_AIFS, E1000_AIFS, 0xffff },
        { E1000_LEDCTL, E1000_LEDCTL, UINT32_MAX },
        { E1000_PBA, E1000_PBA, 0xffff },
        { E1000_FCRTL, E1000_FCRTH, UINT32_MAX },
        { E1000_RDBAL, E1000_RADV, UINT32_MAX },
        { E1000_TDBAL, E1000_TSPMT, UINT32_MAX },
        { E1000_RXCSUM, E1000_RXCSUM, 0x7ff },
        { E1000_MTA, E1000_MTA + 0x1ff, UINT32_MAX },
        { E1000_RA, E1000_RA + 0x7f, UINT32_MAX },
        { E1000_VFTA, E1000_VFTA + 0x1ff, UINT32_MAX },
        { E1000_WUC, E1000_WUFC, UINT32_MAX },
        { E1000_MANC, E1000_MANC, UINT32_MAX },
};

struct e1000_ring
e1000_ring_get(struct e1000 *nic, unsigned first_register)
{
        const uint32_t *reg = e1000_reg(nic, first_register);
        struct e1000_ring ring = {
                .base = (reg[RING_BAL / 4] & ~15u) | (uint64_t)reg[RING_BAH / 4] << 32,
                .count = (reg[RING_LEN / 4] & 0xfff80) / E1000_DESC_BYTES,
                .head = reg[RING_HEAD / 4] & 0xffff,
                .tail = reg[RING_TAIL / 4] & 0xffff,
        };

        if (ring.head >= ring.count || ring.tail >= ring.count)
                ring.count = 0;
        return ring;
}

bool
e1000_may_dma(struct e1000 *nic)
{
        return pci_get16(&nic->pci, PCI_CFG_COMMAND) & PCI_CMD_MASTER;
}

void
e1000_ring_bell(struct e1000 *nic)
{
        uint64_t one = 1;
        ssize_t n = write(nic->bell_fd, &one, sizeof(one));

        (void)n;
}

void
e1000_count(struct e1000 *nic, unsigned packets, unsigned total, unsigned octets, size_t len)
{
        uint32_t *low = e1000_reg(nic, octets);
        uint64_t bytes = (low[0] | (uint64_t)low[1] << 32) + len;

        ++*e1000_reg(nic, packets);
        ++*e1000_reg(nic, total);
        low[0] = (uint32_t)bytes;
        low[1] = (uint32_t)(bytes >> 32);
}

/* The pin is high while a cause is wanted, but rises no more often than ITR allows (13.4.18). */
static void
update_interrupt(struct e1000 *nic)
{
        bool pending = *e1000_reg(nic, E1000_ICR) & *e1000_reg(nic, E1000_IMS);
        uint64_t now;

        if (pending == nic->irq_level)
                return;
        if (pending) {
                now = loop_now_ns();
                if (now < nic->next_irq_ns) {
                        loop_timer_arm(nic->throttle, nic->next_irq_ns);
                        return;
                }
                nic->next_irq_ns = now + (uint64_t)*e1000_reg(nic, E1000_ITR) * ITR_UNIT_NS;
        }
        nic->irq_level = pending;
        pci_irq_set(&nic->pci, pending);
}

static void
throttle_over(void *ctx)
{
        update_interrupt(ctx);
}

void
e1000_raise(struct e1000 *nic, uint32_t causes)
{
        *e1000_reg(nic, E1000_ICR) |= causes;
        update_interrupt(nic);
}

static void
load_address(struct e1000 *nic)
{
        const uint16_t *mac = nic->eeprom.word;

        *e1000_reg(nic, E1000_RA) = mac[0] | (uint32_t)mac[1] << 16;
        *e1000_reg(nic, E1000_RA + 4) = mac[2] | RA_VALID;
}

static void
reset_registers(struct e1000 *nic)
{
        memset(nic->reg, 0, sizeof(nic->reg));
        *e1000_reg(nic, E1000_CTRL) = CTRL_SLU | 0x201; /* full duplex, 1000 Mb/s */
        *e1000_reg(nic, E1000_VET) = 0x8100;
        *e1000_reg(nic, E1000_PBA) = 48; /* KiB of 64 for receiving */
        *e1000_reg(nic, E1000_LEDCTL) = 0x07068302;
        load_address(nic);
        e1000_eeprom_write_pins(&nic->eeprom, 0);
        nic->next_irq_ns = 0;
        e1000_tx_reset(nic);
        update_interrupt(nic);
        /* The receiver is off now. */
        e1000_rx_run(nic);
}

static void
update_link(struct e1000 *nic)
{
        if (nic->link == nic->nb->link)
                return;
        nic->link = nic->nb->link;
        e1000_raise(nic, ICR_LSC);
}

static void
net_readable(void *ctx, unsigned queue)
{
        struct e1000 *nic = ctx;

        update_link(nic);
        e1000_rx_run(nic);
}

static void
run_rings(void *ctx, unsigned epoll_events)
{
        struct e1000 *nic = ctx;
        uint64_t count;
        ssize_t n = read(nic->bell_fd, &count, sizeof(count));

        (void)n;
        if (e1000_tx_run(nic))
                e1000_ring_bell(nic);
        e1000_rx_run(nic);
}

static uint32_t
read_and_clear(struct e1000 *nic, unsigned offset)
{
        uint32_t value = *e1000_reg(nic, offset);

        *e1000_reg(nic, offset) = 0;
        return value;
}

static uint32_t
register_read(struct e1000 *nic, unsigned offset)
{
        uint32_t value;

        if (offset >= E1000_REG_END)
                return 0;
        switch (offset) {
        case E1000_STATUS:
                return STATUS_FIXED | (nic->link ? STATUS_LINK_UP : 0);
        case E1000_EECD:
                return e1000_eeprom_read_pins(&nic->eeprom);
        case E1000_ICR:
                value = read_and_clear(nic, E1000_ICR);
                update_interrupt(nic);
                return value;
        default:
                if (offset >= E1000_STATS && offset < E1000_STATS_END)
                        return read_and_clear(nic, offset);
                return *e1000_reg(nic, offset);
        }
}

static void
write_control(struct e1000 *nic, uint32_t value)
{
        if (value & CTRL_RST) {
                reset_registers(nic);
                return;
        }
        *e1000_reg(nic, E1000_CTRL) = value & ~CTRL_PHY_RST;
        if (value & CTRL_PHY_RST) {
                e1000_phy_reset(nic);
                e1000_raise(nic, ICR_LSC);
        }
}

static void
write_plain(struct e1000 *nic, unsigned offset, uint32_t value)
{
        for (size_t i = 0; i < ARRAY_LEN(plain_registers); i++) {
                const struct register_range *range = &plain_registers[i];

                if (offset >= range->first && offset <= range->last)
                        *e1000_reg(nic, offset) = value & range->mask;
        }
}

static void
register_write(struct e1000 *nic, unsigned offset, uint32_t value)
{
        if (offset >= E1000_REG_END)
                return;
        switch (offset) {
        case E1000_CTRL:
                write_control(nic, value);
                break;
        case E1000_EECD:
                e1000_eeprom_write_pins(&nic->eeprom, value);
                break;
        case E1000_EERD:
                *e1000_reg(nic, E1000_EERD) = e1000_eeprom_read_word(&nic->eeprom, value);
                break;
        case E1000_MDIC:
                e1000_mdic_write(nic, value);
                break;
        case E1000_ICR:
                *e1000_reg(nic, E1000_ICR) &= ~value;
                update_interrupt(nic);
                break;
        case E1000_ICS:
                e1000_raise(nic, value);
                break;
        case E1000_IMS:
                *e1000_reg(nic, E1000_IMS) |= value;
                update_interrupt(nic);
                break;
        case E1000_IMC:
                *e1000_reg(nic, E1000_IMS) &= ~value;
                update_interrupt(nic);
                break;
        default:
                write_plain(nic, offset, value);
                if (offset == E1000_RDT || offset == E1000_TDT || offset == E1000_RCTL || offset == E1000_TCTL)
                        e1000_ring_bell(nic);
        }
}

/* Registers are read in any width; writes are of whole registers, as drivers make them (13.3). */
static uint64_t
bar_read(void *ctx, uint64_t offset, unsigned size)
{
        unsigned base = (unsigned)offset & ~3u;
        unsigned skip = (unsigned)offset & 3;
        uint64_t value = register_read(ctx, base);

        if (skip + size > 4)
                value |= (uint64_t)register_read(ctx, base + 4) << 32;
        value >>= 8 * skip;
        return size == 8 ? value : value & ((1ull << (8 * size)) - 1);
}

static void
bar_write(void *ctx, uint64_t offset, unsigned size, uint64_t value)
{
        if (size < 4 || offset % 4 != 0)
                return;
        register_write(ctx, (unsigned)offset, (uint32_t)value);
        if (size == 8)
                register_write(ctx, (unsigned)offset + 4, (uint32_t)(value >> 32));
}

static uint64_t
port_read(void *ctx, uint64_t offset, unsigned size)
{
        struct e1000 *nic = ctx;

        if (size != 4)
                return 0;
        if (offset == PORT_IOADDR)
                return nic->io_address;
        return offset == PORT_IODATA ? register_read(nic, nic->io_address & ~3u) : 0;
}

static void
port_write(void *ctx, uint64_t offset, unsigned size, uint64_t value)
{
        struct e1000 *nic = ctx;

        if (size != 4)
                return;
        if (offset == PORT_IOADDR)
                nic->io_address = (uint32_t)value;
        else if (offset == PORT_IODATA)
                register_write(nic, nic->io_address & ~3u, (uint32_t)value);
}

static const struct io_ops bar_ops = { bar_read, bar_write };
static const struct io_ops port_ops = { port_read, port_write };

/* The command register changed: the driver may have allowed what waits. */
static void
e1000_irq_mode_changed(struct pci_device *pci)
{
        e1000_ring_bell(container_of(pci, struct e1000, pci));
}

static void
e1000_reset(struct pci_device *pci)
{
        struct e1000 *nic = container_of(pci, struct e1000, pci);

        nic->io_address = 0;
        e1000_phy_reset(nic);
        reset_registers(nic);
}

static void
e1000_free(struct e1000 *nic)
{
        net_close(nic->nb);
        if (nic->throttle != NULL)
                loop_timer_destroy(nic->throttle);
        if (nic->bell_watch != NULL)
                loop_fd_remove(nic->bell_watch);
        if (nic->bell_fd >= 0)
                close(nic->bell_fd);
        free(nic);
}

static void
e1000_destroy(struct pci_device *pci)
{
        e1000_free(container_of(pci, struct e1000, pci));
}

static const struct pci_device_ops e1000_ops = {
        .name = "e1000",
        .irq_mode_changed = e1000_irq_mode_changed,
        .reset = e1000_reset,
        .destroy = e1000_destroy,
};

/* What the host gives: the bell, the timer, the network. */
static int
open_host_side(struct e1000 *nic, const struct device_env *env, const struct config_node *node)
{
        int error;

        nic->bell_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
        if (nic->bell_fd < 0)
                return -errno;
        error = loop_fd_add(env->loop, nic->bell_fd, EPOLLIN, run_rings, nic, &nic->bell_watch);
        if (error == 0)
                error = loop_timer_create(env->loop, throttle_over, nic, &nic->throttle);
        if (error == 0)
                error = netdev_open(node, env->loop, false, 1, net_readable, nic, &nic->nb);
        return error;
}

static int
add_function(struct e1000 *nic, const struct device_env *env, const struct device_place *place)
{
        int error;

        pci_intx_init(&nic->pci);
        error = pci_bar_add(&nic->pci, BAR_REGISTERS, PCI_BAR_MEM32, REGISTER_BYTES, &bar_ops, nic, 0);
        if (error == 0)
                error = pci_bar_add(&nic->pci, BAR_PORTS, PCI_BAR_IO, PORT_BYTES, &port_ops, nic, 0);
        if (error == 0)
                error = pci_bus_add(env->pci, &nic->pci, place->bus, place->slot, place->func);
        return error;
}

int
e1000_create(const struct device_env *env, const struct device_place *place, const struct config_node *node)
{
        static const struct pci_ids ids = { .vendor = 0x8086, .device = 0x100f, .subvendor = 0x8086,
                .subdevice = 0x1001, .class_code = 0x02, .revision = 0x01 };
        struct e1000 *nic = calloc(1, sizeof(*nic));
        uint8_t mac[6];
        int error;

        if (nic == NULL)
                return -ENOMEM;
        nic->bell_fd = -1;
        nic->mem = env->mem;
        pci_device_init(&nic->pci, &e1000_ops, &ids);
        error = netdev_mac(node, place, env->vm_name, mac);
        if (error == 0)
                error = open_host_side(nic, env, node);
        if (error == 0)
                error = add_function(nic, env, place);
        if (error != 0) {
                e1000_free(nic);
                return error;
        }
        nic->link = nic->nb->link;
        nic->nb->ops->listen(nic->nb, 0, false);
        e1000_eeprom_init(&nic->eeprom, mac, &ids);
        e1000_reset(&nic->pci);
        return 0;
}
