/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * PCI configuration by mechanism 1, and a driver's side of virtio by the legacy interface (virtio 1.2, 4.1.4.10)
 * with MSI-X (PCI 3.0 6.8.2), for test guests.
 */
#ifndef GUEST_VIRTIO_H
#define GUEST_VIRTIO_H

#include "guest.h"

/* Registers in I/O BAR 0. */
#define VIRTIO_PFN    8
#define VIRTIO_SIZE   12
#define VIRTIO_SELECT 14
#define VIRTIO_NOTIFY 16
#define VIRTIO_STATUS 18
#define VIRTIO_VECTOR 22
#define VIRTIO_CONFIG 24

#define VIRTQ_NEXT   1u
#define VIRTQ_DEVICE 2u /* for the device to write */
#define VIRTQ_BYTES  0x8000u /* of 1024 entries at most */

/* In the MSI-X capability's first word. */
#define MSIX_ENABLE   (1u << 31)
#define MSIX_MASK_ALL (1u << 30)

struct virtio_device {
        unsigned slot;
        u16 port;
        unsigned msix_cap;
        volatile u32 *msix_table; /* of each vector: address, its upper half, data, mask */
        volatile u32 *msix_pending;
};

struct virtq {
        struct virtio_device *dev;
        u16 index, size;
        volatile struct {
                u64 address;
                u32 length;
                u16 flags, next;
        } *desc;
        volatile u16 *available; /* flags, index, heads */
        volatile u32 *used;      /* flags and index, then a head and a length each */
};

static inline u32
pci_read(unsigned slot, unsigned offset)
{
        u32 value;

        __asm__ volatile("outl %0, %w1" : : "a"(0x80000000u | slot << 11 | offset), "Nd"(0xcf8));
        __asm__ volatile("inl %w1, %0" : "=a"(value) : "Nd"(0xcfc));
        return value;
}

static inline void
pci_write(unsigned slot, unsigned offset, u32 value)
{
        (void)pci_read(slot, offset);
        __asm__ volatile("outl %0, %w1" : : "a"(value), "Nd"(0xcfc));
}

/* The function, its BAR 0 moved to @port, reset and told of a driver.  MSI-X is on; its table is where BAR 1 begins. */
static inline void
virtio_open(struct virtio_device *dev, unsigned slot, u16 port)
{
        word base = pci_read(slot, 0x14) & ~15u;

        dev->slot = slot;
        dev->port = port;
        pci_write(slot, 0x10, port);
        pci_write(slot, 4, 7);
        dev->msix_cap = pci_read(slot, 0x34) & 0xff;
        while ((pci_read(slot, dev->msix_cap) & 0xff) != 0x11)
                dev->msix_cap = pci_read(slot, dev->msix_cap) >> 8 & 0xff;
        dev->msix_table = (volatile u32 *)base;
        dev->msix_pending = (volatile u32 *)(base + (pci_read(slot, dev->msix_cap + 8) & ~7u));
        pci_write(slot, dev->msix_cap, pci_read(slot, dev->msix_cap) | MSIX_ENABLE);
        out8(port + VIRTIO_STATUS, 0);
        out8(port + VIRTIO_STATUS, 3);
}

/* Queue @index in @memory (VIRTQ_BYTES, on a page, zero), with the MSI-X entry of the same number to processor 0. */
static inline void
virtq_open(struct virtq *q, struct virtio_device *dev, u16 index, void *memory, u32 vector)
{
        volatile u32 *entry = dev->msix_table + 4 * index;

        entry[0] = 0xfee00000;
        entry[1] = 0;
        entry[2] = vector;
        entry[3] = 0;
        out16(dev->port + VIRTIO_SELECT, index);
        q->dev = dev;
        q->index = index;
        q->size = in16(dev->port + VIRTIO_SIZE);
        q->desc = memory;
        q->available = (volatile u16 *)&q->desc[q->size];
        q->used = (volatile u32 *)(((word)&q->available[3 + q->size] + 4095) & ~4095ul);
        __asm__ volatile("outl %0, %1" : : "a"((u32)((word)memory >> 12)), "Nd"((u16)(dev->port + VIRTIO_PFN)));
        out16(dev->port + VIRTIO_VECTOR, index);
}

static inline void
virtq_describe(struct virtq *q, u16 i, const volatile void *data, u32 length, u16 flags)
{
        q->desc[i].address = (word)data;
        q->desc[i].length = length;
        q->desc[i].flags = flags;
        q->desc[i].next = (u16)(i + 1);
}

/* Gives the device the chain that begins at @head. */
static inline void
virtq_put(struct virtq *q, u16 head)
{
        q->available[2 + q->available[1] % q->size] = head;
        q->available[1]++;
        out16(q->dev->port + VIRTIO_NOTIFY, q->index);
}

/* How many chains the device has given back. */
static inline u16
virtq_used(const struct virtq *q)
{
        return (u16)(q->used[0] >> 16);
}

#endif
