/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The 82545EM's transmitter (3.3-3.5): legacy, context and data descriptors,
 * VLAN tags, checksums and TCP segmentation.
 *
 * A frame is copied from guest memory once, finished in our own memory and
 * sent.  One that makes no sense (a buffer that is not memory, more than
 * NET_FRAME_MAX bytes, a header longer than the frame) is dropped, and its
 * descriptors are given back all the same.  Delays (TIDV, TADV) are taken as 0.
 */
#include "dev/pci/e1000_impl.h"

#include "base/bytes.h"

#define TX_BATCH     256u  /* descriptors and frames before others get their turn */
#define SEGMENTS_MAX 2048u /* of one packet; 64 KiB in the smallest segments that TCP makes are fewer */

/* Descriptor bytes and bits; CMD is at the same place in all three kinds. */
#define DESC_CMD     11u
#define DESC_STATUS  12u
#define CMD_EOP      0x01u
#define CMD_IC       0x04u /* legacy: insert a checksum */
#define CMD_TSE      0x04u
#define CMD_RS       0x08u
#define CMD_RPS      0x10u
#define CMD_DEXT     0x20u
#define CMD_VLE      0x40u
#define STATUS_DD    0x01u
#define DTYP_DATA    1u
#define TUCMD_TCP    0x01u
#define TUCMD_IPV4   0x02u
#define OPTION_IXSM  0x01u
#define OPTION_TXSM  0x02u

#define TCP_FLAGS_LAST 0x09u /* FIN and PSH are the last segment's */
#define IPV6_HEADER_BYTES 40u

static void
load_context(struct e1000 *nic, const uint8_t desc[E1000_DESC_BYTES])
{
        struct e1000_tx_context *c = &nic->tx.context[desc[DESC_CMD] & CMD_TSE ? 1 : 0];

        *c = (struct e1000_tx_context){
                .ip_start = desc[0],
                .ip_offset = desc[1],
                .ip_end = get_le16(desc + 2),
                .tcp_start = desc[4],
                .tcp_offset = desc[5],
                .tcp_end = get_le16(desc + 6),
                .tcp = desc[DESC_CMD] & TUCMD_TCP,
                .ipv4 = desc[DESC_CMD] & TUCMD_IPV4,
                .header_bytes = desc[13],
                .mss = get_le16(desc + 14),
        };
}

/* The ones' complement sum of [@start, @end). */
static uint32_t
sum_bytes(const uint8_t *bytes, size_t start, size_t end, uint32_t sum)
{
        size_t i = start;

        for (; i + 1 < end; i += 2)
                sum += get_be16(bytes + i);
        if (i < end)
                sum += (uint32_t)bytes[i] << 8;
        while (sum >> 16)
                sum = (sum & 0xffff) + (sum >> 16);
        return sum;
}

/*
 * Puts the checksum of bytes @start to @last (0: the frame's end) at @offset,
 * over what the driver left there.  Places outside the frame are left alone.
 */
static void
put_checksum(uint8_t *frame, size_t len, size_t start, size_t offset, size_t last, uint32_t sum, bool udp)
{
        size_t end = last == 0 || last >= len ? len : last + 1;
        uint16_t value;

        if (start >= end || offset + 2 > len)
                return;
        value = (uint16_t)~sum_bytes(frame, start, end, sum);
        put_be16(frame + offset, udp && value == 0 ? 0xffff : value);
}

static void
send_frame(struct e1000 *nic, const uint8_t *frame, size_t len, const uint8_t *tag)
{
        static const uint8_t zeros[E1000_FRAME_MIN];
        size_t pad = len < E1000_FRAME_MIN && (nic->reg[E1000_TCTL / 4] & TCTL_PSP) ? E1000_FRAME_MIN - len : 0;
        struct iovec iov[4] = {
                { (void *)frame, 12 },
                { (void *)tag, tag != NULL ? 4 : 0 },
                { (void *)(frame + 12), len - 12 },
                { (void *)zeros, pad },
        };
        struct iovec plain[2] = { { (void *)frame, len }, iov[3] };

        if (tag != NULL)
                nic->nb->ops->send(nic->nb, 0, iov, pad != 0 ? 4 : 3);
        else
                nic->nb->ops->send(nic->nb, 0, plain, pad != 0 ? 2 : 1);
        e1000_count(nic, E1000_GPTC, E1000_TPT, E1000_GOTC, len + pad + E1000_CRC_BYTES);
}

/* The checksums that a data descriptor's options want. */
static void
finish_checksums(struct e1000 *nic, const struct e1000_tx_context *c, uint8_t *frame, size_t len, uint32_t tcp_sum)
{
        if (nic->tx.options & OPTION_TXSM)
                put_checksum(frame, len, c->tcp_start, c->tcp_offset, c->tcp_end, tcp_sum, !c->tcp);
        if (nic->tx.options & OPTION_IXSM)
                put_checksum(frame, len, c->ip_start, c->ip_offset, c->ip_end, 0, false);
}

/* Segment @index's header fields (3.5.7); the places were checked by can_segment. */
static void
patch_segment(const struct e1000_tx_context *c, uint8_t *piece, size_t len, unsigned index, bool last)
{
        uint8_t *ip = piece + c->ip_start;
        uint8_t *tcp = piece + c->tcp_start;

        if (c->ipv4) {
                put_be16(ip + 2, (uint16_t)(len - c->ip_start));
                put_be16(ip + 4, (uint16_t)(get_be16(ip + 4) + index));
        } else {
                put_be16(ip + 4, (uint16_t)(len - c->ip_start - IPV6_HEADER_BYTES));
        }
        if (!c->tcp) {
                put_be16(tcp + 4, (uint16_t)(len - c->tcp_start));
                return;
        }
        put_be32(tcp + 4, get_be32(tcp + 4) + index * c->mss);
        if (!last)
                tcp[13] &= (uint8_t)~TCP_FLAGS_LAST;
}

static bool
can_segment(const struct e1000_tx_context *c, size_t len)
{
        unsigned tcp_bytes = c->tcp ? 14 : 8;

        return c->mss != 0 && c->header_bytes >= E1000_HEADER_BYTES && c->header_bytes < len &&
            c->ip_start + (c->ipv4 ? 20u : IPV6_HEADER_BYTES) <= c->header_bytes &&
            c->tcp_start + tcp_bytes <= c->header_bytes && c->ip_offset + 2u <= c->header_bytes &&
            c->tcp_offset + 2u <= c->header_bytes && (len - c->header_bytes) / c->mss < SEGMENTS_MAX;
}

/* Sends the frame in segments; how many. */
static unsigned
send_segments(struct e1000 *nic, const uint8_t *tag)
{
        struct e1000_tx *tx = &nic->tx;
        const struct e1000_tx_context *c = &tx->context[1];
        unsigned index = 0;

        if (!can_segment(c, tx->len))
                return 0;
        for (size_t done = c->header_bytes; done < tx->len; index++) {
                size_t part = tx->len - done < c->mss ? tx->len - done : c->mss;
                size_t len = c->header_bytes + part;

                memcpy(tx->piece, tx->frame, c->header_bytes);
                memcpy(tx->piece + c->header_bytes, tx->frame + done, part);
                done += part;
                patch_segment(c, tx->piece, len, index, done == tx->len);
                /* The driver's pseudo-header sum has no length in it. */
                finish_checksums(nic, c, tx->piece, len, (uint32_t)(len - c->tcp_start));
                send_frame(nic, tx->piece, len, tag);
        }
        return index;
}

/* The frame is complete with @desc; how many went out. */
static unsigned
finish_frame(struct e1000 *nic, const uint8_t desc[E1000_DESC_BYTES])
{
        struct e1000_tx *tx = &nic->tx;
        uint8_t tag[4];
        bool tagged = (desc[DESC_CMD] & CMD_VLE) && (nic->reg[E1000_CTRL / 4] & CTRL_VME);

        if (tx->bad || tx->len < E1000_HEADER_BYTES)
                return 0;
        put_be16(tag, (uint16_t)nic->reg[E1000_VET / 4]);
        put_be16(tag + 2, get_le16(desc + 14));
        if (tx->segment)
                return send_segments(nic, tagged ? tag : NULL);
        if (tx->extended)
                finish_checksums(nic, &tx->context[0], tx->frame, tx->len, 0);
        else if (desc[DESC_CMD] & CMD_IC)
                put_checksum(tx->frame, tx->len, desc[13], desc[10], 0, 0, false);
        send_frame(nic, tx->frame, tx->len, tagged ? tag : NULL);
        return 1;
}

static void
begin_frame(struct e1000_tx *tx, const uint8_t desc[E1000_DESC_BYTES])
{
        tx->started = true;
        tx->bad = false;
        tx->len = 0;
        tx->extended = desc[DESC_CMD] & CMD_DEXT;
        tx->segment = tx->extended && (desc[DESC_CMD] & CMD_TSE);
        tx->options = tx->extended ? desc[13] : 0;
}

/* Adds a legacy or data descriptor's buffer; how many frames went out with it. */
static unsigned
add_buffer(struct e1000 *nic, const uint8_t desc[E1000_DESC_BYTES])
{
        struct e1000_tx *tx = &nic->tx;
        size_t len = desc[DESC_CMD] & CMD_DEXT ? get_le32(desc + 8) & 0xfffff : get_le16(desc + 8);
        unsigned sent;

        if (!tx->started)
                begin_frame(tx, desc);
        if (!tx->bad && len <= sizeof(tx->frame) - tx->len &&
            (len == 0 || mem_read(nic->mem, get_le64(desc), tx->frame + tx->len, len) == 0))
                tx->len += len;
        else
                tx->bad = true;
        if (!(desc[DESC_CMD] & CMD_EOP))
                return 0;
        sent = finish_frame(nic, desc);
        tx->started = false;
        return sent;
}

static unsigned
run_descriptor(struct e1000 *nic, const uint8_t desc[E1000_DESC_BYTES])
{
        if ((desc[DESC_CMD] & CMD_DEXT) && desc[10] >> 4 != DTYP_DATA) {
                load_context(nic, desc);
                return 0;
        }
        return add_buffer(nic, desc);
}

/* One descriptor; the work it was, or 0 if it cannot be read. */
static unsigned
next_descriptor(struct e1000 *nic, struct e1000_ring *ring, uint32_t *causes)
{
        gpa_t at = ring->base + (gpa_t)ring->head * E1000_DESC_BYTES;
        uint8_t desc[E1000_DESC_BYTES];
        uint8_t status;
        unsigned work;

        if (mem_read(nic->mem, at, desc, sizeof(desc)) != 0)
                return 0;
        work = 1 + run_descriptor(nic, desc);
        if (desc[DESC_CMD] & (CMD_RS | CMD_RPS)) {
                status = desc[DESC_STATUS] | STATUS_DD;
                (void)mem_write(nic->mem, at + DESC_STATUS, &status, 1);
                *causes |= ICR_TXDW;
        }
        ring->head = ring->head + 1 == ring->count ? 0 : ring->head + 1;
        return work;
}

bool
e1000_tx_run(struct e1000 *nic)
{
        struct e1000_ring ring = e1000_ring_get(nic, E1000_TDBAL);
        uint32_t causes = 0;
        unsigned work = 0;

        if (!(nic->reg[E1000_TCTL / 4] & TCTL_EN) || !e1000_may_dma(nic) || ring.count == 0 || ring.head == ring.tail)
                return false;
        while (ring.head != ring.tail && work < TX_BATCH) {
                unsigned done = next_descriptor(nic, &ring, &causes);

                if (done == 0) {
                        log_guest(&nic->limit, "e1000: transmit descriptors are not in memory");
                        ring.head = ring.tail;
                }
                work += done;
        }
        *e1000_reg(nic, E1000_TDH) = ring.head;
        if (ring.head == ring.tail)
                causes |= ICR_TXQE;
        e1000_raise(nic, causes);
        return ring.head != ring.tail;
}

void
e1000_tx_reset(struct e1000 *nic)
{
        memset(nic->tx.context, 0, sizeof(nic->tx.context));
        nic->tx.started = false;
}
