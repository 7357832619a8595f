/* SPDX-License-Identifier: BSD-2-Clause */
#include "dev/virtio/virtq.h"
#include "base/bytes.h"

#include <errno.h>

/* virtio 1.2, 2.7.5 and 2.7.6 */
#define DESC_BYTES      16u
#define DESC_F_NEXT     0x1u
#define DESC_F_WRITE    0x2u
#define DESC_F_INDIRECT 0x4u
#define AVAIL_F_NO_INTERRUPT 0x1u
#define USED_F_NO_NOTIFY     0x1u

#define RING_HEADER_BYTES 4u /* flags and index, of both rings */
#define AVAIL_ENTRY_BYTES 2u
#define USED_ENTRY_BYTES  8u
#define EVENT_BYTES       2u

struct desc {
        uint64_t addr;
        uint32_t len;
        uint16_t flags;
        uint16_t next;
};

/* Host addresses of the three areas, good for one call. */
struct rings {
        const uint8_t *desc;
        const uint8_t *avail;
        uint8_t *used;
};

/* A table of descriptors: the queue's own or an indirect one. */
struct table {
        const uint8_t *base;
        uint32_t count;
        bool indirect;
};

static int
virtq_break(struct virtq *q, const char *why)
{
        q->broken = true;
        q->why = why;
        return -EPROTO;
}

static size_t
avail_bytes(const struct virtq *q)
{
        return RING_HEADER_BYTES + (size_t)q->size * AVAIL_ENTRY_BYTES + (q->event_index ? EVENT_BYTES : 0);
}

static size_t
used_bytes(const struct virtq *q)
{
        return RING_HEADER_BYTES + (size_t)q->size * USED_ENTRY_BYTES + (q->event_index ? EVENT_BYTES : 0);
}

static bool
virtq_map(const struct virtq *q, struct rings *ret_rings)
{
        if (!q->ready || q->broken)
                return false;
        ret_rings->desc = mem_at(q->mem, q->desc, (size_t)q->size * DESC_BYTES);
        ret_rings->avail = mem_at(q->mem, q->avail, avail_bytes(q));
        ret_rings->used = mem_at(q->mem, q->used, used_bytes(q));
        return ret_rings->desc != NULL && ret_rings->avail != NULL && ret_rings->used != NULL;
}

/*
 * Loads and stores of the fields both sides look at are sequentially
 * consistent: "store mine, then read yours" must not be reordered on either
 * side, or a notification is lost (2.7.7, 2.7.10).
 */
static uint16_t
ring_load(const uint8_t *p)
{
        return le16toh(__atomic_load_n((const uint16_t *)(const void *)p, __ATOMIC_SEQ_CST));
}

static void
ring_store(uint8_t *p, uint16_t value)
{
        __atomic_store_n((uint16_t *)(void *)p, htole16(value), __ATOMIC_SEQ_CST);
}

/* Pairs with the driver's store of its available index: see new entries after the index. */
static uint16_t
avail_index(const struct rings *r)
{
        return ring_load(r->avail + 2);
}

void
virtq_reset(struct virtq *q)
{
        *q = (struct virtq){
                .mem = q->mem,
                .size_max = q->size_max,
                .size = q->size_max,
                .vector = UINT16_MAX,
        };
}

int
virtq_start(struct virtq *q)
{
        struct rings r;

        q->ready = true;
        if (q->size == 0 || q->size > q->size_max || (q->size & (q->size - 1)) != 0 ||
            q->desc % 16 != 0 || q->avail % 2 != 0 || q->used % 4 != 0) {
                virtq_break(q, "bad size or alignment");
                return -EINVAL;
        }
        if (!virtq_map(q, &r)) {
                virtq_break(q, "rings outside of memory");
                return -EINVAL;
        }
        return 0;
}

/* The copy must not be read again from guest memory by the compiler's choice. */
static void
desc_copy(const struct table *t, uint32_t index, struct desc *ret_desc)
{
        uint8_t raw[DESC_BYTES];

        memcpy(raw, t->base + (size_t)index * DESC_BYTES, sizeof(raw));
        __asm__ volatile("" : : : "memory");
        ret_desc->addr = get_le64(raw);
        ret_desc->len = get_le32(raw + 8);
        ret_desc->flags = get_le16(raw + 12);
        ret_desc->next = get_le16(raw + 14);
}

static int
chain_add(struct virtq *q, struct virtq_chain *chain, const struct desc *d)
{
        unsigned n = chain->out_count + chain->in_count;
        void *p;

        if (d->len == 0)
                return 0;
        if (n == VIRTQ_CHAIN_MAX)
                return virtq_break(q, "chain too long");
        p = mem_at(q->mem, d->addr, d->len);
        if (p == NULL)
                return virtq_break(q, "buffer outside of memory");
        chain->iov[n] = (struct iovec){ p, d->len };
        chain->gpa[n] = d->addr;
        if (d->flags & DESC_F_WRITE) {
                chain->in_count++;
                chain->in_bytes += d->len;
        } else if (chain->in_count != 0) {
                return virtq_break(q, "readable buffer after a writable one");
        } else {
                chain->out_count++;
                chain->out_bytes += d->len;
        }
        return 0;
}

/* virtio 1.2, 2.7.5.3: one level, never with NEXT, a whole number of descriptors. */
static int
table_enter(struct virtq *q, struct table *t, const struct desc *d)
{
        if (!q->indirect || t->indirect || (d->flags & DESC_F_NEXT) || d->len == 0 ||
            d->len % DESC_BYTES != 0 || d->len / DESC_BYTES > VIRTQ_SIZE_MAX)
                return virtq_break(q, "bad indirect descriptor");
        t->base = mem_at(q->mem, d->addr, d->len);
        if (t->base == NULL)
                return virtq_break(q, "indirect table outside of memory");
        t->count = d->len / DESC_BYTES;
        t->indirect = true;
        return 0;
}

static int
chain_collect(struct virtq *q, const struct rings *r, struct virtq_chain *chain)
{
        struct table t = { r->desc, q->size, false };
        uint32_t countdown = t.count;
        uint32_t index = chain->head;
        struct desc d;
        int error;

        for (;;) {
                if (countdown-- == 0)
                        return virtq_break(q, "descriptors form a loop");
                desc_copy(&t, index, &d);
                if (d.flags & DESC_F_INDIRECT) {
                        error = table_enter(q, &t, &d);
                        if (error != 0)
                                return error;
                        countdown = t.count;
                        index = 0;
                        continue;
                }
                error = chain_add(q, chain, &d);
                if (error != 0)
                        return error;
                if (!(d.flags & DESC_F_NEXT))
                        return 0;
                if (d.next >= t.count)
                        return virtq_break(q, "descriptor index out of range");
                index = d.next;
        }
}

int
virtq_pop(struct virtq *q, struct virtq_chain *ret_chain)
{
        struct rings r;
        uint16_t avail;
        uint16_t head;
        int error;

        if (q->broken)
                return -EPROTO;
        if (!virtq_map(q, &r))
                return 0;
        avail = avail_index(&r);
        if (avail == q->avail_next)
                return 0;
        if ((uint16_t)(avail - q->avail_next) > q->size)
                return virtq_break(q, "available index out of range");
        head = ring_load(r.avail + RING_HEADER_BYTES +
            (size_t)(q->avail_next & (q->size - 1)) * AVAIL_ENTRY_BYTES);
        if (head >= q->size)
                return virtq_break(q, "descriptor index out of range");
        ret_chain->head = head;
        ret_chain->out_count = 0;
        ret_chain->in_count = 0;
        ret_chain->out_bytes = 0;
        ret_chain->in_bytes = 0;
        error = chain_collect(q, &r, ret_chain);
        if (error != 0)
                return error;
        q->avail_next++;
        return 1;
}

void
virtq_rewind(struct virtq *q, unsigned popped, unsigned pushed)
{
        q->avail_next = (uint16_t)(q->avail_next - popped);
        q->used_next = (uint16_t)(q->used_next - pushed);
}

bool
virtq_has_chain(struct virtq *q)
{
        struct rings r;

        return virtq_map(q, &r) && avail_index(&r) != q->avail_next;
}

void
virtq_chain_written(struct virtq *q, const struct virtq_chain *chain, uint64_t bytes)
{
        for (unsigned i = chain->out_count; i < chain->out_count + chain->in_count && bytes != 0; i++) {
                uint64_t n = bytes < chain->iov[i].iov_len ? bytes : chain->iov[i].iov_len;

                mem_written(q->mem, chain->gpa[i], n);
                bytes -= n;
        }
}

void
virtq_push(struct virtq *q, const struct virtq_chain *chain, uint64_t written)
{
        struct rings r;
        size_t offset;

        virtq_chain_written(q, chain, written);
        if (!virtq_map(q, &r))
                return;
        offset = RING_HEADER_BYTES + (size_t)(q->used_next & (q->size - 1)) * USED_ENTRY_BYTES;
        put_le32(r.used + offset, chain->head);
        put_le32(r.used + offset + 4, (uint32_t)written);
        mem_written(q->mem, q->used + offset, USED_ENTRY_BYTES);
        q->used_next++;
}

void
virtq_show(struct virtq *q)
{
        struct rings r;

        if (q->used_next == q->used_shown || !virtq_map(q, &r))
                return;
        ring_store(r.used + 2, q->used_next);
        mem_written(q->mem, q->used, RING_HEADER_BYTES);
        q->used_shown = q->used_next;
}

/*
 * virtio 1.2, 2.7.7.2: an interrupt is due when the used index passes used_event.
 * Asked late, it is due for less: the driver may have looked by itself.
 */
bool
virtq_interrupt_due(struct virtq *q)
{
        struct rings r;
        uint16_t old = q->used_told;
        uint16_t event;

        if (q->used_shown == old || !virtq_map(q, &r))
                return false;
        q->used_told = q->used_shown;
        /* Pairs with the driver's barrier between storing used_event or flags and its last look. */
        if (!q->event_index)
                return (ring_load(r.avail) & AVAIL_F_NO_INTERRUPT) == 0;
        event = ring_load(r.avail + RING_HEADER_BYTES + (size_t)q->size * AVAIL_ENTRY_BYTES);
        return (uint16_t)(q->used_told - event - 1) < (uint16_t)(q->used_told - old);
}

void
virtq_notify_disable(struct virtq *q)
{
        struct rings r;

        /* With the event index the driver stays silent until avail_event moves. */
        if (q->event_index || !virtq_map(q, &r))
                return;
        ring_store(r.used, USED_F_NO_NOTIFY);
        mem_written(q->mem, q->used, RING_HEADER_BYTES);
}

/* Asks for a notification of the chain with index @seen; true if it is there by now. */
static bool
notify_enable_at(struct virtq *q, const struct rings *r, uint16_t seen)
{
        size_t event = RING_HEADER_BYTES + (size_t)q->size * USED_ENTRY_BYTES;

        if (q->event_index) {
                ring_store(r->used + event, seen);
                mem_written(q->mem, q->used + event, EVENT_BYTES);
        } else {
                ring_store(r->used, 0);
                mem_written(q->mem, q->used, RING_HEADER_BYTES);
        }
        /* Pairs with the driver's barrier between storing its index and reading flags or event. */
        return avail_index(r) != seen;
}

bool
virtq_notify_enable(struct virtq *q)
{
        struct rings r;

        return virtq_map(q, &r) && notify_enable_at(q, &r, q->avail_next);
}

bool
virtq_notify_more(struct virtq *q)
{
        struct rings r;

        return virtq_map(q, &r) && notify_enable_at(q, &r, avail_index(&r));
}

/* Copies through @iov from @offset on; @to_chain gives the direction. */
static size_t
iov_copy(const struct iovec *iov, unsigned count, size_t offset, void *buf, size_t len, bool to_chain)
{
        size_t done = 0;

        for (unsigned i = 0; i < count && done < len; i++) {
                size_t n = iov[i].iov_len;

                if (offset >= n) {
                        offset -= n;
                        continue;
                }
                n -= offset;
                if (n > len - done)
                        n = len - done;
                if (to_chain)
                        memcpy((uint8_t *)iov[i].iov_base + offset, (uint8_t *)buf + done, n);
                else
                        memcpy((uint8_t *)buf + done, (uint8_t *)iov[i].iov_base + offset, n);
                offset = 0;
                done += n;
        }
        return done;
}

size_t
virtq_chain_read(const struct virtq_chain *chain, size_t offset, void *buf, size_t len)
{
        return iov_copy(chain->iov, chain->out_count, offset, buf, len, false);
}

size_t
virtq_chain_write(const struct virtq_chain *chain, size_t offset, const void *buf, size_t len)
{
        return iov_copy(chain->iov + chain->out_count, chain->in_count, offset, (void *)(uintptr_t)buf, len,
            true);
}
