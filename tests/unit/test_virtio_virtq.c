/* SPDX-License-Identifier: BSD-2-Clause */
/* Split queues against plain memory: legal drivers and hostile ones. */
#include "base/bytes.h"
#include "base/util.h"
#include "dev/virtio/virtq.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>

#include <cmocka.h>

#define QUEUE_SIZE 8u
#define DESC_AT    0x1000u
#define AVAIL_AT   0x2000u
#define USED_AT    0x3000u
#define DATA_AT    0x10000u
#define TABLE_AT   0x8000u

#define NEXT     1u
#define WRITE    2u
#define INDIRECT 4u

struct driver {
        struct guest_mem *mem;
        struct virtq q;
        uint16_t avail;
};

static struct virtq_chain chain;

static void
put_desc(struct driver *d, gpa_t table, unsigned i, uint64_t addr, uint32_t len, unsigned flags, unsigned next)
{
        uint8_t *p = mem_at(d->mem, table + 16 * i, 16);

        put_le64(p, addr);
        put_le32(p + 8, len);
        put_le16(p + 12, (uint16_t)flags);
        put_le16(p + 14, (uint16_t)next);
}

static void
make_available(struct driver *d, uint16_t head)
{
        put_le16(mem_at(d->mem, AVAIL_AT + 4 + 2 * (d->avail % QUEUE_SIZE), 2), head);
        d->avail++;
        put_le16(mem_at(d->mem, AVAIL_AT + 2, 2), d->avail);
}

static uint16_t
get16(struct driver *d, gpa_t at)
{
        return get_le16(mem_at(d->mem, at, 2));
}

static int
setup(void **state)
{
        struct driver *d = calloc(1, sizeof(*d));

        assert_int_equal(mem_create(-1, 2 * MIB, &d->mem), 0);
        d->q.mem = d->mem;
        d->q.size_max = QUEUE_SIZE;
        virtq_reset(&d->q);
        d->q.desc = DESC_AT;
        d->q.avail = AVAIL_AT;
        d->q.used = USED_AT;
        d->q.indirect = true;
        assert_int_equal(virtq_start(&d->q), 0);
        *state = d;
        return 0;
}

static int
teardown(void **state)
{
        struct driver *d = *state;

        mem_destroy(d->mem);
        free(d);
        return 0;
}

static void
virtq_pop_gives_buffers_in_order(void **state)
{
        struct driver *d = *state;

        put_desc(d, DESC_AT, 5, DATA_AT, 16, NEXT, 2);
        put_desc(d, DESC_AT, 2, DATA_AT + 0x1000, 512, NEXT | WRITE, 7);
        put_desc(d, DESC_AT, 7, DATA_AT + 0x2000, 1, WRITE, 0);
        assert_int_equal(virtq_pop(&d->q, &chain), 0);
        make_available(d, 5);
        assert_int_equal(virtq_pop(&d->q, &chain), 1);
        assert_int_equal(chain.head, 5);
        assert_int_equal(chain.out_count, 1);
        assert_int_equal(chain.in_count, 2);
        assert_int_equal(chain.out_bytes, 16);
        assert_int_equal(chain.in_bytes, 513);
        assert_ptr_equal(chain.iov[1].iov_base, mem_at(d->mem, DATA_AT + 0x1000, 512));
        assert_int_equal(chain.gpa[2], DATA_AT + 0x2000);
        assert_int_equal(virtq_pop(&d->q, &chain), 0);
}

static bool
publish(struct virtq *q)
{
        virtq_show(q);
        return virtq_interrupt_due(q);
}

static void
virtq_push_is_seen_after_publish_only(void **state)
{
        struct driver *d = *state;

        put_desc(d, DESC_AT, 1, DATA_AT, 64, WRITE, 0);
        make_available(d, 1);
        assert_int_equal(virtq_pop(&d->q, &chain), 1);
        assert_int_equal(virtq_chain_write(&chain, 0, "hello", 5), 5);
        virtq_push(&d->q, &chain, 5);
        assert_int_equal(get16(d, USED_AT + 2), 0);
        assert_true(publish(&d->q));
        assert_int_equal(get16(d, USED_AT + 2), 1);
        assert_int_equal(get_le32(mem_at(d->mem, USED_AT + 4, 4)), 1);
        assert_int_equal(get_le32(mem_at(d->mem, USED_AT + 8, 4)), 5);
        assert_memory_equal(mem_at(d->mem, DATA_AT, 5), "hello", 5);
        assert_false(publish(&d->q));
}

static void
virtq_indexes_wrap_at_16_bits(void **state)
{
        struct driver *d = *state;

        put_desc(d, DESC_AT, 3, DATA_AT, 64, WRITE, 0);
        for (unsigned i = 0; i < 70000; i++) {
                make_available(d, 3);
                assert_int_equal(virtq_pop(&d->q, &chain), 1);
                virtq_push(&d->q, &chain, 0);
                assert_true(publish(&d->q));
        }
        assert_int_equal(get16(d, USED_AT + 2), (uint16_t)70000);
        assert_int_equal(virtq_pop(&d->q, &chain), 0);
}

static void
virtq_written_memory_is_reported(void *ctx, gpa_t gpa, uint64_t len)
{
        uint64_t *bytes = ctx;

        if (gpa >= DATA_AT)
                *bytes += len;
}

static void
virtq_push_reports_just_the_bytes_written(void **state)
{
        struct driver *d = *state;
        uint64_t bytes = 0;

        mem_set_written_hook(d->mem, virtq_written_memory_is_reported, &bytes);
        put_desc(d, DESC_AT, 0, DATA_AT, 64, NEXT, 1);
        put_desc(d, DESC_AT, 1, DATA_AT + 0x1000, 100, NEXT | WRITE, 2);
        put_desc(d, DESC_AT, 2, DATA_AT + 0x3000, 100, WRITE, 0);
        make_available(d, 0);
        assert_int_equal(virtq_pop(&d->q, &chain), 1);
        virtq_push(&d->q, &chain, 130);
        assert_int_equal(bytes, 130);
}

static void
virtq_indirect_table_is_followed(void **state)
{
        struct driver *d = *state;

        put_desc(d, TABLE_AT, 0, DATA_AT, 16, NEXT, 2);
        put_desc(d, TABLE_AT, 2, DATA_AT + 64, 32, WRITE, 0);
        put_desc(d, DESC_AT, 4, TABLE_AT, 48, INDIRECT, 0);
        make_available(d, 4);
        assert_int_equal(virtq_pop(&d->q, &chain), 1);
        assert_int_equal(chain.head, 4);
        assert_int_equal(chain.out_bytes, 16);
        assert_int_equal(chain.in_bytes, 32);
}

static void
virtq_interrupt_follows_the_flag(void **state)
{
        struct driver *d = *state;

        put_desc(d, DESC_AT, 0, DATA_AT, 1, WRITE, 0);
        put_le16(mem_at(d->mem, AVAIL_AT, 2), 1);
        make_available(d, 0);
        assert_int_equal(virtq_pop(&d->q, &chain), 1);
        virtq_push(&d->q, &chain, 0);
        assert_false(publish(&d->q));
        put_le16(mem_at(d->mem, AVAIL_AT, 2), 0);
        make_available(d, 0);
        assert_int_equal(virtq_pop(&d->q, &chain), 1);
        virtq_push(&d->q, &chain, 0);
        assert_true(publish(&d->q));
}

static void
virtq_interrupt_follows_the_event_index(void **state)
{
        struct driver *d = *state;

        d->q.event_index = true;
        put_desc(d, DESC_AT, 0, DATA_AT, 1, WRITE, 0);
        /* The driver wants to hear of the entry with index 2, that is the third. */
        put_le16(mem_at(d->mem, AVAIL_AT + 4 + 2 * QUEUE_SIZE, 2), 2);
        for (unsigned i = 0; i < 5; i++) {
                make_available(d, 0);
                assert_int_equal(virtq_pop(&d->q, &chain), 1);
                virtq_push(&d->q, &chain, 0);
                assert_int_equal(publish(&d->q), i == 2);
        }
}

/* What was shown may be asked about later, once for all; the driver may have moved its wish on by then. */
static void
virtq_interrupt_asked_for_late(void **state)
{
        struct driver *d = *state;
        uint8_t *wish = mem_at(d->mem, AVAIL_AT + 4 + 2 * QUEUE_SIZE, 2);

        d->q.event_index = true;
        put_desc(d, DESC_AT, 0, DATA_AT, 1, WRITE, 0);
        put_le16(wish, 1);
        for (unsigned i = 0; i < 6; i++) {
                make_available(d, 0);
                assert_int_equal(virtq_pop(&d->q, &chain), 1);
                virtq_push(&d->q, &chain, 0);
                virtq_show(&d->q);
                assert_int_equal(get16(d, USED_AT + 2), i + 1);
                if (i == 2) {
                        assert_true(virtq_interrupt_due(&d->q));
                        assert_false(virtq_interrupt_due(&d->q));
                }
        }
        put_le16(wish, 6);
        assert_false(virtq_interrupt_due(&d->q));
}

static void
virtq_notify_enable_finds_late_chains(void **state)
{
        struct driver *d = *state;

        virtq_notify_disable(&d->q);
        assert_int_equal(get16(d, USED_AT), 1);
        make_available(d, 0);
        assert_true(virtq_notify_enable(&d->q));
        assert_int_equal(get16(d, USED_AT), 0);
        d->q.event_index = true;
        put_desc(d, DESC_AT, 0, DATA_AT, 1, WRITE, 0);
        assert_int_equal(virtq_pop(&d->q, &chain), 1);
        assert_false(virtq_notify_enable(&d->q));
        assert_int_equal(get16(d, USED_AT + 4 + 8 * QUEUE_SIZE), 1);
}

/* Each case spoils a good chain 0 -> 1 in one way. */
struct hostile {
        const char *what;
        void (*spoil)(struct driver *d);
};

static void
spoil_loop(struct driver *d)
{
        put_desc(d, DESC_AT, 1, DATA_AT, 16, NEXT, 0);
        put_desc(d, DESC_AT, 0, DATA_AT, 16, NEXT, 1);
}

static void
spoil_next(struct driver *d)
{
        put_desc(d, DESC_AT, 0, DATA_AT, 16, NEXT, QUEUE_SIZE);
}

static void
spoil_address(struct driver *d)
{
        put_desc(d, DESC_AT, 1, 0xfee00000, 16, WRITE, 0);
}

static void
spoil_end_of_memory(struct driver *d)
{
        put_desc(d, DESC_AT, 1, 2 * MIB - 8, 16, WRITE, 0);
}

static void
spoil_address_wrap(struct driver *d)
{
        put_desc(d, DESC_AT, 1, UINT64_MAX - 7, 16, WRITE, 0);
}

static void
spoil_length(struct driver *d)
{
        put_desc(d, DESC_AT, 1, DATA_AT, UINT32_MAX, WRITE, 0);
}

static void
spoil_order(struct driver *d)
{
        put_desc(d, DESC_AT, 0, DATA_AT, 16, NEXT | WRITE, 1);
        put_desc(d, DESC_AT, 1, DATA_AT, 16, 0, 0);
}

static void
spoil_indirect_in_indirect(struct driver *d)
{
        put_desc(d, TABLE_AT, 0, TABLE_AT, 16, INDIRECT, 0);
        put_desc(d, DESC_AT, 0, TABLE_AT, 16, INDIRECT, 0);
}

static void
spoil_indirect_length(struct driver *d)
{
        put_desc(d, DESC_AT, 0, TABLE_AT, 17, INDIRECT, 0);
}

static void
spoil_indirect_empty(struct driver *d)
{
        put_desc(d, DESC_AT, 0, TABLE_AT, 0, INDIRECT, 0);
}

static void
spoil_indirect_with_next(struct driver *d)
{
        put_desc(d, DESC_AT, 0, TABLE_AT, 16, INDIRECT | NEXT, 1);
}

static void
spoil_indirect_address(struct driver *d)
{
        put_desc(d, DESC_AT, 0, 2 * MIB - 8, 16, INDIRECT, 0);
}

static void
spoil_indirect_too_many(struct driver *d)
{
        for (unsigned i = 0; i < 300; i++)
                put_desc(d, TABLE_AT, i, DATA_AT, 16, NEXT, i + 1);
        put_desc(d, DESC_AT, 0, TABLE_AT, 301 * 16, INDIRECT, 0);
}

static void
spoil_head(struct driver *d)
{
        put_le16(mem_at(d->mem, AVAIL_AT + 4, 2), QUEUE_SIZE);
}

static void
spoil_index(struct driver *d)
{
        put_le16(mem_at(d->mem, AVAIL_AT + 2, 2), QUEUE_SIZE + 1);
}

static void
virtq_hostile_ring_breaks_the_queue_only(void **state)
{
        static const struct hostile cases[] = {
                { "descriptor loop", spoil_loop },
                { "next out of range", spoil_next },
                { "buffer in MMIO", spoil_address },
                { "buffer across the end of memory", spoil_end_of_memory },
                { "buffer across the end of addresses", spoil_address_wrap },
                { "huge buffer", spoil_length },
                { "readable after writable", spoil_order },
                { "nested indirect", spoil_indirect_in_indirect },
                { "odd indirect length", spoil_indirect_length },
                { "empty indirect", spoil_indirect_empty },
                { "indirect with next", spoil_indirect_with_next },
                { "indirect outside of memory", spoil_indirect_address },
                { "indirect with too many buffers", spoil_indirect_too_many },
                { "head out of range", spoil_head },
                { "index too far ahead", spoil_index },
        };

        for (unsigned i = 0; i < ARRAY_LEN(cases); i++) {
                struct driver *d;
                void *fresh;

                setup(&fresh);
                d = fresh;
                put_desc(d, DESC_AT, 0, DATA_AT, 16, NEXT, 1);
                put_desc(d, DESC_AT, 1, DATA_AT + 16, 16, WRITE, 0);
                make_available(d, 0);
                cases[i].spoil(d);
                if (virtq_pop(&d->q, &chain) != -EPROTO)
                        fail_msg("%s was accepted", cases[i].what);
                assert_true(d->q.broken);
                assert_non_null(d->q.why);
                assert_int_equal(virtq_pop(&d->q, &chain), -EPROTO);
                virtq_reset(&d->q);
                assert_int_equal(virtq_pop(&d->q, &chain), 0);
                teardown(&fresh);
        }
}

static void
virtq_indirect_without_the_feature_breaks_the_queue(void **state)
{
        struct driver *d = *state;

        d->q.indirect = false;
        put_desc(d, TABLE_AT, 0, DATA_AT, 16, 0, 0);
        put_desc(d, DESC_AT, 0, TABLE_AT, 16, INDIRECT, 0);
        make_available(d, 0);
        assert_int_equal(virtq_pop(&d->q, &chain), -EPROTO);
}

static void
virtq_empty_buffers_are_left_out(void **state)
{
        struct driver *d = *state;

        put_desc(d, DESC_AT, 0, DATA_AT, 0, NEXT, 1);
        put_desc(d, DESC_AT, 1, DATA_AT, 0, WRITE, 0);
        make_available(d, 0);
        assert_int_equal(virtq_pop(&d->q, &chain), 1);
        assert_int_equal(chain.out_count + chain.in_count, 0);
        virtq_push(&d->q, &chain, 0);
        assert_true(publish(&d->q));
}

static void
virtq_start_refuses_impossible_places(void **state)
{
        static const struct {
                uint16_t size;
                gpa_t desc, avail, used;
        } bad[] = {
                { 0, DESC_AT, AVAIL_AT, USED_AT },
                { 6, DESC_AT, AVAIL_AT, USED_AT },
                { 16, DESC_AT, AVAIL_AT, USED_AT },
                { 8, DESC_AT + 8, AVAIL_AT, USED_AT },
                { 8, DESC_AT, AVAIL_AT + 1, USED_AT },
                { 8, DESC_AT, AVAIL_AT, USED_AT + 2 },
                { 8, 2 * MIB - 16, AVAIL_AT, USED_AT },
                { 8, DESC_AT, 0xfee00000, USED_AT },
                { 8, DESC_AT, AVAIL_AT, UINT64_MAX - 3 },
        };
        struct driver *d = *state;

        for (unsigned i = 0; i < ARRAY_LEN(bad); i++) {
                virtq_reset(&d->q);
                d->q.size = bad[i].size;
                d->q.desc = bad[i].desc;
                d->q.avail = bad[i].avail;
                d->q.used = bad[i].used;
                assert_int_equal(virtq_start(&d->q), -EINVAL);
                assert_int_equal(virtq_pop(&d->q, &chain), -EPROTO);
                assert_false(publish(&d->q));
                assert_false(virtq_notify_enable(&d->q));
        }
}

static void
virtq_chain_copies_stop_at_its_end(void **state)
{
        struct driver *d = *state;
        char buf[64];

        put_desc(d, DESC_AT, 0, DATA_AT, 3, NEXT, 1);
        put_desc(d, DESC_AT, 1, DATA_AT + 100, 4, NEXT, 2);
        put_desc(d, DESC_AT, 2, DATA_AT + 200, 2, WRITE, 0);
        memcpy(mem_at(d->mem, DATA_AT, 3), "abc", 3);
        memcpy(mem_at(d->mem, DATA_AT + 100, 4), "defg", 4);
        make_available(d, 0);
        assert_int_equal(virtq_pop(&d->q, &chain), 1);
        assert_int_equal(virtq_chain_read(&chain, 2, buf, sizeof(buf)), 5);
        assert_memory_equal(buf, "cdefg", 5);
        assert_int_equal(virtq_chain_read(&chain, 7, buf, 1), 0);
        assert_int_equal(virtq_chain_write(&chain, 1, "xyz", 3), 1);
        assert_memory_equal(mem_at(d->mem, DATA_AT + 200, 3), "\0x\0", 3);
}

int
main(void)
{
#define TEST(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)
        const struct CMUnitTest tests[] = {
                TEST(virtq_pop_gives_buffers_in_order),
                TEST(virtq_push_is_seen_after_publish_only),
                TEST(virtq_indexes_wrap_at_16_bits),
                TEST(virtq_push_reports_just_the_bytes_written),
                TEST(virtq_indirect_table_is_followed),
                TEST(virtq_interrupt_follows_the_flag),
                TEST(virtq_interrupt_follows_the_event_index),
                TEST(virtq_interrupt_asked_for_late),
                TEST(virtq_notify_enable_finds_late_chains),
                TEST(virtq_hostile_ring_breaks_the_queue_only),
                TEST(virtq_indirect_without_the_feature_breaks_the_queue),
                TEST(virtq_empty_buffers_are_left_out),
                TEST(virtq_start_refuses_impossible_places),
                TEST(virtq_chain_copies_stop_at_its_end),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
