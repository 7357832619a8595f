/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * PCI: configuration space, BARs, INTx, MSI and MSI-X of emulated functions.
 *
 * A device embeds a struct pci_device in its own state, fills its identity
 * with pci_device_init, adds BARs and capabilities, then pci_bus_add.  When
 * all are there pci_bus_assign gives every BAR an address, as firmware would.
 * The core decodes mechanism 1 (0xcf8/0xcfc) and ECAM, keeps each BAR mapped
 * where the guest put it, and routes interrupts; the device sees offsets in
 * its BARs and, through optional hooks, writes to its config space.
 *
 * Everything here runs with the device lock held (or before vCPUs run).
 * Source of layouts: PCI Local Bus 3.0 chapter 6, PCI Express 4.0 7.2.2.
 */
#ifndef BUS_PCI_H
#define BUS_PCI_H

#include "bus/io.h"
#include "bus/irq.h"

#include <stddef.h>

#define PCI_ECAM_BASE   0xe0000000ull
#define PCI_ECAM_LEN    0x10000000ull /* 256 buses */
#define PCI_IO_BASE     0x2000ull
#define PCI_IO_LIMIT    0x10000ull
#define PCI_MEM32_BASE  0xc0000000ull
#define PCI_MEM32_LIMIT 0xe0000000ull
#define PCI_MEM64_BASE  0xd000000000ull
#define PCI_MEM64_LIMIT 0xfd00000000ull

#define PCI_PIRQ_COUNT 8 /* PIRQA-PIRQH drive GSI 16-23 */
#define PCI_BAR_COUNT  6

/* Offsets in the type 0 header. */
#define PCI_CFG_VENDOR    0x00
#define PCI_CFG_DEVICE    0x02
#define PCI_CFG_COMMAND   0x04
#define PCI_CFG_STATUS    0x06
#define PCI_CFG_REVISION  0x08
#define PCI_CFG_PROGIF    0x09
#define PCI_CFG_SUBCLASS  0x0a
#define PCI_CFG_CLASS     0x0b
#define PCI_CFG_HEADER    0x0e
#define PCI_CFG_BAR0      0x10
#define PCI_CFG_SUBVENDOR 0x2c
#define PCI_CFG_SUBDEVICE 0x2e
#define PCI_CFG_CAP_PTR   0x34
#define PCI_CFG_INT_LINE  0x3c
#define PCI_CFG_INT_PIN   0x3d

#define PCI_CMD_IO     0x0001u
#define PCI_CMD_MEM    0x0002u
#define PCI_CMD_MASTER 0x0004u
#define PCI_CMD_INTX_OFF 0x0400u

#define PCI_STATUS_INTX 0x0008u
#define PCI_STATUS_CAPS 0x0010u

#define PCI_CAP_MSI    0x05
#define PCI_CAP_VENDOR 0x09
#define PCI_CAP_EXP    0x10
#define PCI_CAP_MSIX   0x11

struct pci_bus;
struct pci_device;
struct pci_msix;

enum pci_bar_kind {
        PCI_BAR_NONE,
        PCI_BAR_IO,
        PCI_BAR_MEM32,
        PCI_BAR_MEM64, /* takes two BAR registers */
        PCI_BAR_UPPER, /* the second of them; the core's own */
};

/* All optional, but name. */
struct pci_device_ops {
        const char *name;
        /* Sees a read before the core; returns true with *ret_value set to have answered it. */
        bool (*config_read)(struct pci_device *dev, unsigned offset, unsigned size, uint32_t *ret_value);
        /* Sees a write before the core; returns true to have handled it. */
        bool (*config_write)(struct pci_device *dev, unsigned offset, unsigned size, uint32_t value);
        /* After the core changed MSI, MSI-X or command bits: the interrupt mode may have changed. */
        void (*irq_mode_changed)(struct pci_device *dev);
        /* Back to the state after power-on.  The core resets the config space itself. */
        void (*reset)(struct pci_device *dev);
        /* Frees the device; the core has already taken it off the bus. */
        void (*destroy)(struct pci_device *dev);
};

struct pci_ids {
        uint16_t vendor, device;
        uint16_t subvendor, subdevice;
        uint8_t class_code, subclass, prog_if, revision;
};

struct pci_bar {
        enum pci_bar_kind kind;
        uint64_t size;      /* bytes, a power of two */
        uint64_t addr;      /* what the guest's register says */
        uint64_t assigned;  /* what pci_bus_assign gave it */
        uint64_t mapped_at; /* where it is in the I/O space */
        bool mapped;
        const struct io_ops *ops;
        void *ctx;
        unsigned io_flags;
        const struct io_doorbell *bells; /* the device's */
        unsigned bell_count;
};

struct pci_device {
        const struct pci_device_ops *ops;
        struct pci_bus *bus;
        uint8_t bus_nr, slot, func;
        uint8_t config[256];
        uint8_t wmask[256]; /* bits the guest may change */
        uint8_t initial[256]; /* config after pci_bus_assign, for reset */
        struct pci_bar bar[PCI_BAR_COUNT];
        uint8_t cap_next;   /* first free byte for capabilities */
        uint8_t cap_last;   /* where to link the next one */
        uint8_t msi_cap, msix_cap; /* config offsets; 0: none */
        struct pci_msix *msix;
        struct irq_source intx_apic, intx_pic;
        bool intx_level;
};

struct pci_bus_config {
        struct io_space *ports;
        struct io_space *mmio;
        struct irq_router *irq;
        /* Reset control register 0xcf9: the guest asked for a reset. */
        void (*reset)(void *ctx);
        void *reset_ctx;
};

int pci_bus_create(const struct pci_bus_config *config, struct pci_bus **ret_bus);
/* Destroys the devices still on it, too. */
void pci_bus_destroy(struct pci_bus *bus);
/* Machine reset: every function, config space, BARs as assigned, PIRQ routing. */
void pci_bus_reset(struct pci_bus *bus);

/* Fills the header.  Subsystem ids 0:0 stay so. */
void pci_device_init(struct pci_device *dev, const struct pci_device_ops *ops, const struct pci_ids *ids);

/* -EEXIST if the function is taken, -EINVAL if out of range. */
int pci_bus_add(struct pci_bus *bus, struct pci_device *dev, unsigned bus_nr, unsigned slot, unsigned func);
/* Undoes what pci_bus_add and the init functions did; for error paths and destroy. */
void pci_bus_remove(struct pci_device *dev);
struct pci_device *pci_bus_find(struct pci_bus *bus, unsigned bus_nr, unsigned slot, unsigned func);
/* The highest bus number in use. */
unsigned pci_bus_last(const struct pci_bus *bus);
/* Gives all BARs addresses and enables decoding; -ENOSPC when a window is full. */
int pci_bus_assign(struct pci_bus *bus);
/*
 * The address windows of a bus, after pci_bus_assign: those of several root
 * buses lie one behind the other.  A window that is not there has limit == base.
 */
struct pci_windows {
        uint64_t io_base, io_limit;
        uint64_t mem32_base, mem32_limit;
        uint64_t mem64_base, mem64_limit;
};
void pci_bus_windows(const struct pci_bus *bus, unsigned bus_nr, struct pci_windows *ret_windows);
/* PIRQ @pirq (0-7) drives ISA IRQ @isa_irq in PIC mode; -1: none.  For the LPC bridge. */
void pci_bus_route_pirq(struct pci_bus *bus, unsigned pirq, int isa_irq);
/* The PIRQ of a slot's pin (1-4: INTA-INTD). */
unsigned pci_pirq_of(unsigned slot, unsigned pin);

/*
 * Adds BAR @index before pci_bus_assign; @size is rounded up to a power of two.
 * The offset given to @ops is within the BAR.  @io_flags: IO_UNLOCKED or 0.
 */
int pci_bar_add(struct pci_device *dev, unsigned index, enum pci_bar_kind kind, uint64_t size,
    const struct io_ops *ops, void *ctx, unsigned io_flags);

/*
 * Appends a capability of @len bytes (header included); the offset in config
 * space, or -ENOSPC.  The guest may change nothing in it unless the caller
 * sets wmask.
 */
int pci_cap_add(struct pci_device *dev, uint8_t id, unsigned len);

/* One function's INTx pin; pin A unless the function number says otherwise. */
void pci_intx_init(struct pci_device *dev);
/* Level of the pin.  Masked by the command register and while MSI or MSI-X is enabled. */
void pci_irq_set(struct pci_device *dev, bool level);

/* @count: 1, 2, 4 ... 32 vectors; 64-bit, with no per-vector mask. */
int pci_msi_init(struct pci_device *dev, unsigned count);
bool pci_msi_enabled(const struct pci_device *dev);
void pci_msi_notify(struct pci_device *dev, unsigned vector);

/* Registers of the BAR that are doorbells; @bells live as long as the device.  After pci_bar_add. */
void pci_bar_doorbells(struct pci_device *dev, unsigned index, const struct io_doorbell *bells, unsigned count);

/* @count: 1 to 2048 vectors; table and pending bits get BAR @bar (32-bit memory) to themselves. */
int pci_msix_init(struct pci_device *dev, unsigned bar, unsigned count);
bool pci_msix_enabled(const struct pci_device *dev);
unsigned pci_msix_count(const struct pci_device *dev);
/* Sends vector @vector, or sets its pending bit while it is masked.  Wild vectors are dropped. */
void pci_msix_notify(struct pci_device *dev, unsigned vector);

/* Little-endian fields of the device's own config space. */
void pci_set16(struct pci_device *dev, unsigned offset, uint16_t value);
void pci_set32(struct pci_device *dev, unsigned offset, uint32_t value);
uint16_t pci_get16(const struct pci_device *dev, unsigned offset);
uint32_t pci_get32(const struct pci_device *dev, unsigned offset);

#endif
