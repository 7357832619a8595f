/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A driver's side of virtio-blk in slot 5 and of two virtio-net in slots 6 and 7 on one cable, by MSI-X.
 * Output and end as platform.c's.
 */
#include "long.h"
#include "virtio.h"

#define SECTOR 512

#define BLK_IN    0u
#define BLK_OUT   1u
#define BLK_FLUSH 4u
#define NET_HEADER_BYTES 10u /* without mergeable buffers, 5.1.6 */
#define FRAME_BYTES      300u

enum { VECTOR_BLK = 0x50, VECTOR_RX_A, VECTOR_TX_A, VECTOR_RX_B, VECTOR_TX_B };

static u8 memory[5][VIRTQ_BYTES] __attribute__((aligned(4096)));
static struct virtio_device blk_device;
static struct virtq blk;

struct nic {
        struct virtio_device dev;
        struct virtq rx, tx;
        u8 received[2048];
        u8 sent[NET_HEADER_BYTES + FRAME_BYTES];
        u32 rx_vector, tx_vector;
};
static struct nic nic_a, nic_b;

void
trap(struct frame *f)
{
        if (f->vector < 32)
                stray_exception(f);
        count[f->vector]++;
        APIC[APIC_EOI] = 0;
        leave();
}

/* Its status byte; 5.2.6. */
static u8
blk_request(u32 type, u64 sector, u8 *data, u32 length)
{
        struct {
                u32 type, reserved;
                u64 sector;
        } header = { type, 0, sector };
        volatile u8 status = 0xee;
        u32 before = count[VECTOR_BLK];
        u16 last = length == 0 ? 1 : 2;

        virtq_describe(&blk, 0, &header, sizeof(header), VIRTQ_NEXT);
        if (length != 0)
                virtq_describe(&blk, 1, data, length, (u16)(VIRTQ_NEXT | (type == BLK_IN ? VIRTQ_DEVICE : 0)));
        virtq_describe(&blk, last, &status, 1, VIRTQ_DEVICE);
        virtq_put(&blk, 0);
        wait_for(VECTOR_BLK, before + 1);
        return status;
}

static void
test_blk(void)
{
        static u8 out[4 * SECTOR], in[4 * SECTOR];
        unsigned same = 0;

        virtio_open(&blk_device, 5, 0x3100);
        virtq_open(&blk, &blk_device, 0, memory[0], VECTOR_BLK);
        out8(blk_device.port + VIRTIO_STATUS, 7);
        for (unsigned i = 0; i < sizeof(out); i++)
                out[i] = (u8)(i * 7 + (i >> 8));
        check("blk-write", blk_request(BLK_OUT, 3, out, sizeof(out)), 0);
        check("blk-flush", blk_request(BLK_FLUSH, 0, 0, 0), 0);
        check("blk-read", blk_request(BLK_IN, 3, in, sizeof(in)), 0);
        for (unsigned i = 0; i < sizeof(in); i++)
                same += in[i] == out[i];
        check("blk-same", same, sizeof(in));
        check("blk-beyond-the-end", blk_request(BLK_IN, 1u << 20, in, SECTOR), 1);
        check("blk-requests-and-interrupts", virtq_used(&blk) << 8 | count[VECTOR_BLK], 4 << 8 | 4);
}

static void
nic_open(struct nic *nic, unsigned slot, u16 port, u8 *queues, u32 rx_vector, u32 tx_vector)
{
        nic->rx_vector = rx_vector;
        nic->tx_vector = tx_vector;
        virtio_open(&nic->dev, slot, port);
        virtq_open(&nic->rx, &nic->dev, 0, queues, rx_vector);
        virtq_open(&nic->tx, &nic->dev, 1, queues + VIRTQ_BYTES, tx_vector);
        out8(port + VIRTIO_STATUS, 7);
}

/* A frame of @seed from one to the other; the bytes that arrived as they were. */
static unsigned
pass(struct nic *from, struct nic *to, u8 seed)
{
        u32 received = count[to->rx_vector], sent = count[from->tx_vector];
        u8 *frame = from->sent + NET_HEADER_BYTES;
        unsigned same = 0;

        virtq_describe(&to->rx, 0, to->received, sizeof(to->received), VIRTQ_DEVICE);
        virtq_put(&to->rx, 0);
        for (unsigned i = 0; i < FRAME_BYTES; i++)
                frame[i] = (u8)(i < 6 ? 0xff : seed + i);
        virtq_describe(&from->tx, 0, from->sent, sizeof(from->sent), 0);
        virtq_put(&from->tx, 0);
        wait_for(from->tx_vector, sent + 1);
        wait_for(to->rx_vector, received + 1);
        for (unsigned i = 0; i < FRAME_BYTES; i++)
                same += to->received[NET_HEADER_BYTES + i] == frame[i];
        return same;
}

static void
test_net(void)
{
        nic_open(&nic_a, 6, 0x3200, memory[1], VECTOR_RX_A, VECTOR_TX_A);
        nic_open(&nic_b, 7, 0x3300, memory[3], VECTOR_RX_B, VECTOR_TX_B);
        check("net-there", pass(&nic_a, &nic_b, 1), FRAME_BYTES);
        check("net-length", nic_b.rx.used[2], NET_HEADER_BYTES + FRAME_BYTES);
        check("net-back", pass(&nic_b, &nic_a, 100), FRAME_BYTES);
        check("net-there-again", pass(&nic_a, &nic_b, 200), FRAME_BYTES);
        check("net-interrupts", count[VECTOR_RX_A] << 12 | count[VECTOR_TX_A] << 8 | count[VECTOR_RX_B] << 4 | count[VECTOR_TX_B],
            0x1221);
}

int
main(void)
{
        mask_pic();
        fill_idt();
        APIC[APIC_SVR] = 0x1ff;
        test_blk();
        test_net();
        end();
}
