/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The 82545EM's receiver (3.2): address and VLAN filters, buffers of 256 bytes
 * to 16 KiB.
 *
 * A frame is taken into `frame`, then spread over descriptors; one for which
 * there are too few waits there, and the back end is not listened to until the
 * driver adds some.  Checksums are left to the guest (IXSM), a CRC that is to
 * be kept is zeros, and delays (RDTR, RADV) are taken as 0: ITR does their work.
 */
#include "dev/pci/e1000_impl.h"

#include "base/bytes.h"

#include <errno.h>

#define RX_BATCH     256u  /* frames before others get their turn */
#define FRAME_NORMAL 1518u /* without CRC, with a VLAN tag; longer ones need RCTL.LPE */
#define RA_COUNT     16u
#define RA_VALID     0x80000000u

#define STATUS_DD   0x01u
#define STATUS_EOP  0x02u
#define STATUS_IXSM 0x04u
#define STATUS_VP   0x08u

static bool
match_exact(const struct e1000 *nic, const uint8_t *to)
{
        for (unsigned i = 0; i < RA_COUNT; i++) {
                const uint32_t *ra = &nic->reg[E1000_RA / 4 + 2 * i];

                if ((ra[1] & RA_VALID) && ra[0] == get_le32(to) && (ra[1] & 0xffff) == get_le16(to + 4))
                        return true;
        }
        return false;
}

/* RCTL.MO says which 12 bits of the address are the table's index (13.5.1). */
static bool
match_hash(const struct e1000 *nic, const uint8_t *to)
{
        static const uint8_t shift[4] = { 4, 3, 2, 0 };
        unsigned hash = (unsigned)get_le16(to + 4) >> shift[nic->reg[E1000_RCTL / 4] >> 12 & 3] & 0xfff;

        return nic->reg[E1000_MTA / 4 + hash / 32] >> (hash % 32) & 1;
}

static bool
address_wanted(const struct e1000 *nic, const uint8_t *to)
{
        static const uint8_t broadcast[6] = { 0xff, 0xff, 0xff, 0xff, 0xff, 0xff };
        uint32_t rctl = nic->reg[E1000_RCTL / 4];

        if (memcmp(to, broadcast, sizeof(broadcast)) == 0 && (rctl & RCTL_BAM))
                return true;
        if (to[0] & 1)
                return (rctl & RCTL_MPE) || match_exact(nic, to) || match_hash(nic, to);
        return (rctl & RCTL_UPE) || match_exact(nic, to);
}

static bool
vlan_wanted(const struct e1000 *nic, unsigned tag)
{
        unsigned id = tag & 0xfff;

        return !(nic->reg[E1000_RCTL / 4] & RCTL_VFE) || (nic->reg[E1000_VFTA / 4 + id / 32] >> (id % 32) & 1);
}

/* Checks the VLAN, and takes the tag out if the driver wants it apart. */
static bool
accept_vlan(struct e1000 *nic, size_t *len)
{
        struct e1000_rx *rx = &nic->rx;

        rx->tagged = false;
        if (*len < E1000_HEADER_BYTES + 4 || get_be16(rx->frame + 12) != (nic->reg[E1000_VET / 4] & 0xffff))
                return true;
        rx->tag = get_be16(rx->frame + 14);
        if (!vlan_wanted(nic, rx->tag))
                return false;
        if (!(nic->reg[E1000_CTRL / 4] & CTRL_VME))
                return true;
        rx->tagged = true;
        memmove(rx->frame + 12, rx->frame + 16, *len - 16);
        *len -= 4;
        return true;
}

static void
count_frame(struct e1000 *nic, size_t len)
{
        const uint8_t *to = nic->rx.frame;

        e1000_count(nic, E1000_GPRC, E1000_TPR, E1000_GORC, len);
        if (to[0] & 1)
                nic->reg[(to[0] == 0xff ? E1000_BPRC : E1000_MPRC) / 4]++;
}

/* Takes a frame from the back end: 0 with rx.len set if it is wanted; -errno as net_ops.receive. */
static int
take_frame(struct e1000 *nic)
{
        struct e1000_rx *rx = &nic->rx;
        ssize_t got = nic->nb->ops->receive(nic->nb, 0, rx->frame, NET_FRAME_MAX);
        size_t len = got > 0 ? (size_t)got : 0;

        if (got < 0)
                return (int)got;
        if (len < E1000_HEADER_BYTES || !address_wanted(nic, rx->frame))
                return 0;
        if (len > FRAME_NORMAL && !(nic->reg[E1000_RCTL / 4] & RCTL_LPE))
                return 0;
        if (!accept_vlan(nic, &len))
                return 0;
        memset(rx->frame + len, 0, E1000_FRAME_MIN + E1000_CRC_BYTES);
        if (len < E1000_FRAME_MIN)
                len = E1000_FRAME_MIN;
        if (!(nic->reg[E1000_RCTL / 4] & RCTL_SECRC))
                len += E1000_CRC_BYTES;
        rx->len = len;
        return 0;
}

static size_t
buffer_bytes(const struct e1000 *nic)
{
        uint32_t rctl = nic->reg[E1000_RCTL / 4];
        unsigned shift = rctl >> 16 & 3;

        return (rctl & RCTL_BSEX) && shift != 0 ? 32768u >> shift : 2048u >> shift;
}

static uint32_t
free_descriptors(const struct e1000_ring *ring)
{
        return ring->tail >= ring->head ? ring->tail - ring->head : ring->tail + ring->count - ring->head;
}

/* Fills one descriptor; a buffer that is not memory loses its bytes.  -EFAULT if it cannot be read. */
static int
fill_descriptor(struct e1000 *nic, struct e1000_ring *ring, const uint8_t *bytes, size_t len, bool last)
{
        gpa_t at = ring->base + (gpa_t)ring->head * E1000_DESC_BYTES;
        uint8_t status = (uint8_t)(STATUS_DD | (last ? STATUS_EOP | STATUS_IXSM : 0) |
            (last && nic->rx.tagged ? STATUS_VP : 0));
        uint8_t desc[E1000_DESC_BYTES];
        int error = mem_read(nic->mem, at, desc, sizeof(desc));
        uint8_t *done = mem_at(nic->mem, at + 12, 1);

        if (error != 0 || done == NULL)
                return error != 0 ? error : -EFAULT;
        (void)mem_write(nic->mem, get_le64(desc), bytes, len);
        memset(desc + 8, 0, 8);
        put_le16(desc + 8, (uint16_t)len);
        put_le16(desc + 14, last && nic->rx.tagged ? nic->rx.tag : 0);
        (void)mem_write(nic->mem, at + 8, desc + 8, 8);
        /* Pairs with the driver's reading of the status before the rest. */
        __atomic_store_n(done, status, __ATOMIC_RELEASE);
        mem_written(nic->mem, at + 12, 1);
        ring->head = ring->head + 1 == ring->count ? 0 : ring->head + 1;
        return 0;
}

/* The waiting frame to the driver: 0, also if it can never be; -EAGAIN while descriptors are too few. */
static int
give_frame(struct e1000 *nic, struct e1000_ring *ring)
{
        struct e1000_rx *rx = &nic->rx;
        size_t size = buffer_bytes(nic);
        size_t needed = (rx->len + size - 1) / size;
        int error = 0;

        if (ring->count == 0 || (needed < ring->count && needed > free_descriptors(ring)))
                return -EAGAIN;
        if (needed < ring->count) {
                for (size_t done = 0; error == 0 && done < rx->len; done += size) {
                        size_t part = rx->len - done < size ? rx->len - done : size;

                        error = fill_descriptor(nic, ring, rx->frame + done, part, done + part == rx->len);
                }
                count_frame(nic, rx->len);
        }
        rx->len = 0;
        return error;
}

/* What the driver is to hear after frames came. */
static uint32_t
receive_causes(const struct e1000 *nic, const struct e1000_ring *ring)
{
        unsigned threshold = nic->reg[E1000_RCTL / 4] >> 8 & 3;

        return ICR_RXT0 | (free_descriptors(ring) <= ring->count >> (threshold + 1) ? ICR_RXDMT0 : 0);
}

void
e1000_rx_run(struct e1000 *nic)
{
        struct e1000_ring ring = e1000_ring_get(nic, E1000_RDBAL);
        uint32_t head = ring.head;
        bool on = (nic->reg[E1000_RCTL / 4] & RCTL_EN) && e1000_may_dma(nic);
        unsigned countdown = RX_BATCH;
        int error = 0;

        if (!on)
                nic->rx.len = 0;
        while (on && error == 0 && countdown-- != 0) {
                if (nic->rx.len == 0)
                        error = take_frame(nic);
                if (error == 0 && nic->rx.len != 0)
                        error = give_frame(nic, &ring);
        }
        if (error == -EFAULT) {
                log_guest(&nic->limit, "e1000: receive descriptors are not in memory");
                ring.head = ring.tail;
        }
        if (ring.head != head) {
                *e1000_reg(nic, E1000_RDH) = ring.head;
                e1000_raise(nic, receive_causes(nic, &ring));
        }
        if (nic->listening != (on && nic->rx.len == 0)) {
                nic->listening = !nic->listening;
                nic->nb->ops->listen(nic->nb, 0, nic->listening);
        }
}
