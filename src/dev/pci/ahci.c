/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * AHCI 1.3.1 host bus adapter: the PCI function, the generic host control
 * registers (3.1) and interrupts.  Ports are in ahci_port.c.
 *
 * Commands are started on the loop's thread: a write to a port's CI only
 * wakes it.
 */
#include "dev/pci/ahci.h"
#include "base/log.h"
#include "base/util.h"
#include "dev/blockdev.h"
#include "dev/pci/ahci_port.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#define AHCI_VENDOR 0x8086
#define AHCI_DEVICE 0x2821 /* ICH8 */
#define AHCI_BAR    5u

#define HBA_CAP  0x00
#define HBA_GHC  0x04
#define HBA_IS   0x08
#define HBA_PI   0x0c
#define HBA_VS   0x10
#define HBA_PORTS 0x100u

/* 64-bit addresses, NCQ, CLO, AHCI only, generation 3, 32 slots (3.1.1). */
#define CAP_FIXED   (1u << 31 | 1u << 30 | 1u << 24 | 1u << 18 | 3u << 20 | 31u << 8)
#define GHC_HR      0x00000001u
#define GHC_IE      0x00000002u
#define GHC_AE      0x80000000u
#define AHCI_VERSION 0x00010300u

/* Device lock. */
struct ahci {
        struct pci_device pci;
        int bell_fd;
        struct loop_fd *bell_watch;
        uint32_t ghc, is, implemented;
        unsigned port_count;
        struct ahci_port *port[AHCI_PORTS_MAX]; /* all of port_count are there */
};

static void
update_interrupt(struct ahci *hba, bool news)
{
        bool pending = hba->is != 0 && (hba->ghc & GHC_IE);

        if (!pci_msi_enabled(&hba->pci))
                pci_irq_set(&hba->pci, pending);
        else if (pending && news)
                pci_msi_notify(&hba->pci, 0);
}

/* A bit that is cleared comes back while its port still wants an interrupt (3.1.3). */
static void
collect_ports(struct ahci *hba)
{
        for (unsigned i = 0; i < hba->port_count; i++)
                if (hba->port[i]->is & hba->port[i]->ie)
                        hba->is |= 1u << i;
}

static void
port_raised(struct ahci_port *port)
{
        struct ahci *hba = port->raise_ctx;
        bool wants = (port->is & port->ie) != 0;

        if (wants)
                hba->is |= 1u << port->number;
        update_interrupt(hba, wants);
}

static void
hba_reset(struct ahci *hba)
{
        for (unsigned i = 0; i < hba->port_count; i++)
                ahci_port_reset(hba->port[i]);
        hba->is = 0;
        hba->ghc = GHC_AE;
        pci_irq_set(&hba->pci, false);
}

static void
run_ports(void *ctx, unsigned epoll_events)
{
        struct ahci *hba = ctx;
        uint64_t count;
        ssize_t n = read(hba->bell_fd, &count, sizeof(count));

        (void)n;
        for (unsigned i = 0; i < hba->port_count; i++)
                if (hba->port[i]->present)
                        ahci_port_run(hba->port[i]);
}

static void
ring_bell(struct ahci *hba)
{
        uint64_t one = 1;
        ssize_t n = write(hba->bell_fd, &one, sizeof(one));

        (void)n;
}

static uint32_t
hba_read(struct ahci *hba, unsigned offset)
{
        switch (offset) {
        case HBA_CAP:
                return CAP_FIXED | (hba->port_count - 1);
        case HBA_GHC:
                return hba->ghc;
        case HBA_IS:
                return hba->is;
        case HBA_PI:
                return hba->implemented;
        case HBA_VS:
                return AHCI_VERSION;
        default:
                return 0;
        }
}

static void
hba_write(struct ahci *hba, unsigned offset, uint32_t value)
{
        switch (offset) {
        case HBA_GHC:
                if (value & GHC_HR) {
                        hba_reset(hba);
                        break;
                }
                hba->ghc = GHC_AE | (value & GHC_IE);
                update_interrupt(hba, true);
                break;
        case HBA_IS:
                hba->is &= ~value;
                collect_ports(hba);
                update_interrupt(hba, true);
                break;
        default:
                break;
        }
}

static uint32_t
register_read(struct ahci *hba, unsigned offset)
{
        unsigned port = (offset - HBA_PORTS) / AHCI_PORT_BYTES;

        if (offset < HBA_PORTS)
                return hba_read(hba, offset);
        return port < hba->port_count ? ahci_port_read(hba->port[port], offset % AHCI_PORT_BYTES) : 0;
}

static void
register_write(struct ahci *hba, unsigned offset, uint32_t value)
{
        unsigned port = (offset - HBA_PORTS) / AHCI_PORT_BYTES;

        if (offset < HBA_PORTS)
                hba_write(hba, offset, value);
        else if (port < hba->port_count && ahci_port_write(hba->port[port], offset % AHCI_PORT_BYTES, value))
                ring_bell(hba);
}

/* Registers are read in any width; writes are of whole registers, as drivers make them (3). */
static uint64_t
ahci_bar_read(void *ctx, uint64_t offset, unsigned size)
{
        unsigned base = (unsigned)offset & ~3u;
        uint64_t value = register_read(ctx, base);

        if (size == 8)
                value |= (uint64_t)register_read(ctx, base + 4) << 32;
        value >>= 8 * (offset & 3);
        return size == 8 ? value : value & ((1ull << (8 * size)) - 1);
}

static void
ahci_bar_write(void *ctx, uint64_t offset, unsigned size, uint64_t value)
{
        if (size < 4 || offset % 4 != 0)
                return;
        register_write(ctx, (unsigned)offset, (uint32_t)value);
        if (size == 8)
                register_write(ctx, (unsigned)offset + 4, (uint32_t)(value >> 32));
}

static const struct io_ops ahci_bar_ops = { ahci_bar_read, ahci_bar_write };

static void
ahci_irq_mode_changed(struct pci_device *pci)
{
        update_interrupt(container_of(pci, struct ahci, pci), false);
}

static void
ahci_reset(struct pci_device *pci)
{
        hba_reset(container_of(pci, struct ahci, pci));
}

static void
ahci_free(struct ahci *hba)
{
        for (unsigned i = 0; i < hba->port_count; i++) {
                if (hba->port[i] == NULL)
                        continue;
                block_close(hba->port[i]->block);
                free(hba->port[i]);
        }
        if (hba->bell_watch != NULL)
                loop_fd_remove(hba->bell_watch);
        if (hba->bell_fd >= 0)
                close(hba->bell_fd);
        free(hba);
}

static void
ahci_destroy(struct pci_device *pci)
{
        ahci_free(container_of(pci, struct ahci, pci));
}

static const struct pci_device_ops ahci_ops = {
        .name = "ahci",
        .irq_mode_changed = ahci_irq_mode_changed,
        .reset = ahci_reset,
        .destroy = ahci_destroy,
};

static void
copy_text(char *dest, size_t size, const char *text, const char *fallback)
{
        snprintf(dest, size, "%s", text != NULL ? text : fallback);
}

static void
port_describe(struct ahci_port *port, const struct config_node *node)
{
        const char *rate = config_node_get_port(node, port->number, "nmrr");
        char serial[BLOCKDEV_IDENT_BYTES + 1] = "BHYVE";

        if (port->block != NULL)
                blockdev_default_serial(port->block, serial);
        copy_text(port->serial, sizeof(port->serial), config_node_get_port(node, port->number, "ser"), serial);
        copy_text(port->revision, sizeof(port->revision), config_node_get_port(node, port->number, "rev"),
            "001");
        copy_text(port->model, sizeof(port->model), config_node_get_port(node, port->number, "model"),
            port->atapi ? "BHYVE SATA DVD ROM" : "BHYVE SATA DISK");
        port->rotation_rate = rate != NULL ? (uint16_t)strtoul(rate, NULL, 0) : 1;
}

static void
port_batch(void *ctx)
{
        ahci_port_run(ctx);
}

static int
port_open(struct ahci_port *port, struct loop *loop, const struct config_node *node)
{
        char prefix[16];
        int error;

        snprintf(prefix, sizeof(prefix), "port.%u.", port->number);
        if (!port->atapi || config_node_get_port(node, port->number, "path") != NULL) {
                error = blockdev_open(node, prefix, port->atapi, loop, &port->block);
                if (error != 0)
                        return error;
                block_set_batch_hook(port->block, port_batch, port);
        }
        port->present = true;
        port_describe(port, node);
        return 0;
}

/* A port that the configuration does not mention is there, with nothing at it. */
static int
port_create(struct ahci *hba, const struct device_env *env, const struct config_node *node, unsigned number,
    const char *default_type)
{
        const char *type = config_node_get_port(node, number, "type");
        struct ahci_port *port = calloc(1, sizeof(*port));

        if (port == NULL)
                return -ENOMEM;
        hba->port[number] = port;
        port->number = number;
        port->mem = env->mem;
        port->raise = port_raised;
        port->raise_ctx = hba;
        if (type == NULL && config_node_get_port(node, number, "path") == NULL)
                return 0;
        if (type == NULL)
                type = default_type;
        if (strcmp(type, "hd") != 0 && strcmp(type, "cd") != 0) {
                log_error("%s.port.%u.type: '%s' is neither hd nor cd", node->prefix, number, type);
                return -EINVAL;
        }
        port->atapi = strcmp(type, "cd") == 0;
        return port_open(port, env->loop, node);
}

static unsigned
count_ports(const struct config_node *node)
{
        unsigned count = 0;

        for (unsigned i = 0; i < AHCI_PORTS_MAX; i++)
                if (config_node_get_port(node, i, "path") != NULL ||
                    config_node_get_port(node, i, "type") != NULL)
                        count = i + 1;
        return count;
}

static int
ahci_create_ports(struct ahci *hba, const struct device_env *env, const struct config_node *node,
    const char *default_type)
{
        int error = 0;

        hba->port_count = count_ports(node);
        if (hba->port_count == 0) {
                log_error("%s: the controller has neither disk nor CD: port.0.path is not set", node->prefix);
                return -EINVAL;
        }
        for (unsigned i = 0; i < hba->port_count && error == 0; i++) {
                error = port_create(hba, env, node, i, default_type);
                if (error == 0 && hba->port[i]->present)
                        hba->implemented |= 1u << i;
        }
        return error;
}

static int
ahci_join_bus(struct ahci *hba, const struct device_env *env, const struct device_place *place)
{
        static const struct pci_ids ids = { .vendor = AHCI_VENDOR, .device = AHCI_DEVICE, .class_code = 0x01,
                .subclass = 0x06, .prog_if = 0x01 };
        int error;

        pci_device_init(&hba->pci, &ahci_ops, &ids);
        pci_intx_init(&hba->pci);
        error = pci_bar_add(&hba->pci, AHCI_BAR, PCI_BAR_MEM32,
            HBA_PORTS + AHCI_PORT_BYTES * (uint64_t)hba->port_count, &ahci_bar_ops, hba, 0);
        if (error == 0)
                error = pci_msi_init(&hba->pci, 1);
        if (error == 0)
                error = pci_bus_add(env->pci, &hba->pci, place->bus, place->slot, place->func);
        if (error != 0)
                pci_bus_remove(&hba->pci);
        return error;
}

static int
create(const struct device_env *env, const struct device_place *place, const struct config_node *node,
    const char *default_type)
{
        struct ahci *hba = calloc(1, sizeof(*hba));
        int error;

        if (hba == NULL)
                return -ENOMEM;
        hba->bell_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
        error = hba->bell_fd < 0 ? -errno :
                                   loop_fd_add(env->loop, hba->bell_fd, EPOLLIN, run_ports, hba, &hba->bell_watch);
        if (error == 0)
                error = ahci_create_ports(hba, env, node, default_type);
        if (error == 0)
                error = ahci_join_bus(hba, env, place);
        if (error != 0) {
                ahci_free(hba);
                return error;
        }
        hba_reset(hba);
        return 0;
}

int
ahci_create(const struct device_env *env, const struct device_place *place, const struct config_node *node)
{
        return create(env, place, node, "hd");
}

int
ahci_create_hd(const struct device_env *env, const struct device_place *place, const struct config_node *node)
{
        return create(env, place, node, "hd");
}

int
ahci_create_cd(const struct device_env *env, const struct device_place *place, const struct config_node *node)
{
        return create(env, place, node, "cd");
}
