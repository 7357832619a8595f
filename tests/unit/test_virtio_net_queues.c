/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * virtio-net with several pairs of queues (virtio 1.2, 5.1.6.5.6), over a tap
 * of the test's own in the place of the library's.
 */
#include "virtio_rig.h"

#include "backend/net/net.h"

#include <errno.h>

#define PAIRS      3u
#define CTRL       (2 * PAIRS)
#define RX(i)      (2 * (i))
#define TX(i)      (2 * (i) + 1)
#define HEADER     12u
#define FRAME      60u
#define TX_AT      RIG_DATA_AT
#define RX_AT      (RIG_DATA_AT + 0x20000u)
#define ACK_AT     (RIG_DATA_AT + 0x40000u)
#define F_CTRL_VQ   (1ull << 17)
#define F_MQ        (1ull << 22)
#define F_VERSION_1 (1ull << 32)

/* The host's side: remembers what was sent, and holds one frame for the guest at each queue. */
static struct fake_tap {
        struct net_backend nb;
        unsigned used, refuse_beyond;
        bool listening[PAIRS];
        unsigned sent[PAIRS];
        uint8_t last[PAIRS];
        uint8_t inbox[PAIRS]; /* 0: nothing */
} tap;

static void
fake_destroy(struct net_backend *nb)
{
}

static void
fake_send(struct net_backend *nb, unsigned queue, const struct iovec *iov, unsigned count)
{
        tap.sent[queue]++;
        tap.last[queue] = *(uint8_t *)iov[0].iov_base;
}

static ssize_t
fake_receive(struct net_backend *nb, unsigned queue, void *buf, size_t size)
{
        if (tap.inbox[queue] == 0)
                return -EAGAIN;
        memset(buf, tap.inbox[queue], FRAME);
        tap.inbox[queue] = 0;
        return FRAME;
}

static void
fake_listen(struct net_backend *nb, unsigned queue, bool on)
{
        assert_true(queue < tap.used || !on);
        tap.listening[queue] = on;
}

static int
fake_use_queues(struct net_backend *nb, unsigned count)
{
        assert_in_range(count, 1, PAIRS);
        if (count > tap.refuse_beyond)
                return -ENOMEM;
        for (unsigned i = count; i < PAIRS; i++)
                tap.listening[i] = false;
        tap.used = count;
        return 0;
}

int
net_tap_open(const struct net_options *options, struct loop *loop, struct net_backend **ret_nb)
{
        static const struct net_ops ops = { .destroy = fake_destroy, .send = fake_send, .receive = fake_receive,
                .listen = fake_listen, .use_queues = fake_use_queues };

        tap = (struct fake_tap){ .nb = { .ops = &ops, .queues = options->queues, .link = true }, .used = 1,
                .refuse_beyond = PAIRS };
        *ret_nb = &tap.nb;
        return 0;
}

static void
start(struct pci_rig *r, uint64_t features)
{
        pci_rig_start(r);
        pci_rig_set(r, "backend", "tap0");
        pci_rig_set(r, "queues", "3");
        assert_int_equal(pci_rig_create(r, "virtio-net"), 0);
        rig_enable_msix(r, 8);
        modern_init(r, F_VERSION_1 | F_CTRL_VQ | features, CTRL + 1, true);
        r->queue_size = 1024;
}

/* Commands the number of pairs over queue @queue, whose size is @size; the answer. */
static int
set_pairs(struct pci_rig *r, unsigned queue, uint16_t size, const void *command, unsigned len)
{
        uint8_t *ack = mem_at(r->mem, ACK_AT + 64, 1);

        r->queue_size = size;
        memcpy(mem_at(r->mem, ACK_AT, len), command, len);
        *ack = 0xee;
        rig_put_desc(r, queue, 0, ACK_AT, len, RIG_NEXT, 1);
        rig_put_desc(r, queue, 1, ACK_AT + 64, 1, RIG_WRITE, 0);
        rig_offer(r, queue, 0);
        rig_take_used(r, queue, NULL);
        r->queue_size = 1024;
        return *ack;
}

static void
put_frame(struct pci_rig *r, unsigned pair, uint8_t value)
{
        uint64_t at = TX_AT + pair * 4096;

        memset(mem_at(r->mem, at, HEADER), 0, HEADER);
        memset(mem_at(r->mem, at + HEADER, FRAME), value, FRAME);
        rig_put_desc(r, TX(pair), 0, at, HEADER + FRAME, 0, 0);
        rig_offer(r, TX(pair), 0);
}

static void
put_buffer(struct pci_rig *r, unsigned pair)
{
        rig_put_desc(r, RX(pair), 0, RX_AT + pair * 4096, 2048, RIG_WRITE, 0);
        rig_offer(r, RX(pair), 0);
}

/* A frame comes to the host's queue @queue, if the device listens there. */
static bool
host_sends(struct pci_rig *r, unsigned queue, uint8_t value)
{
        bool listened;

        pthread_mutex_lock(&r->rig.lock);
        listened = tap.listening[queue];
        tap.inbox[queue] = value;
        if (listened)
                tap.nb.readable(tap.nb.ctx, queue);
        pthread_mutex_unlock(&r->rig.lock);
        return listened;
}

static void
net_pairs_are_used_when_the_driver_asks(void **state)
{
        struct pci_rig r;

        start(&r, F_MQ);
        assert_int_equal(modern_get(&r, 0x2008, 2), PAIRS);
        assert_int_equal(tap.used, 1);
        /* Before: a frame of the second pair goes out by the first queue, and nothing comes in. */
        put_frame(&r, 1, 0x11);
        put_buffer(&r, 1);
        rig_take_used(&r, TX(1), NULL);
        assert_int_equal(tap.sent[0], 1);
        assert_int_equal(tap.last[0], 0x11);
        assert_int_equal(tap.sent[1], 0);
        assert_false(tap.listening[1]);

        assert_int_equal(set_pairs(&r, CTRL, 64, "\x04\x00\x02\x00", 4), 0);
        assert_int_equal(tap.used, 2);
        put_frame(&r, 1, 0x22);
        rig_take_used(&r, TX(1), NULL);
        assert_int_equal(tap.last[1], 0x22);
        assert_int_equal(tap.sent[0], 1);
        assert_false(tap.listening[2]);
        pci_rig_finish(&r);
}

static void
net_pairs_receive_with_their_own_interrupts(void **state)
{
        struct pci_rig r;

        start(&r, F_MQ);
        assert_int_equal(set_pairs(&r, CTRL, 64, "\x04\x00\x03\x00", 4), 0);
        for (unsigned i = 0; i < PAIRS; i++) {
                uint8_t value = (uint8_t)(0x31 + i);

                put_buffer(&r, i);
                assert_true(host_sends(&r, i, value));
                assert_int_equal(rig_take_used(&r, RX(i), NULL), HEADER + FRAME);
                assert_int_equal(*(uint8_t *)mem_at(r.mem, RX_AT + i * 4096 + HEADER, 1), value);
        }
        pthread_mutex_lock(&r.rig.lock);
        for (unsigned i = 0; i < PAIRS; i++)
                assert_int_equal(r.msi_count[RX(i) + 1], 1);
        pthread_mutex_unlock(&r.rig.lock);
        pci_rig_finish(&r);
}

static void
net_pairs_wrong_numbers_are_refused(void **state)
{
        struct pci_rig r;

        start(&r, F_MQ);
        assert_int_equal(set_pairs(&r, CTRL, 64, "\x04\x00\x02\x00", 4), 0);
        assert_int_equal(set_pairs(&r, CTRL, 64, "\x04\x00\x00\x00", 4), 1);
        assert_int_equal(set_pairs(&r, CTRL, 64, "\x04\x00\x04\x00", 4), 1);
        assert_int_equal(set_pairs(&r, CTRL, 64, "\x04\x00\xff\xff", 4), 1);
        assert_int_equal(set_pairs(&r, CTRL, 64, "\x04\x00\x01", 3), 1);
        assert_int_equal(set_pairs(&r, CTRL, 64, "\x04\x01\x01\x00", 4), 1);
        assert_int_equal(tap.used, 2);
        /* What the host cannot give leaves all as it was. */
        tap.refuse_beyond = 2;
        assert_int_equal(set_pairs(&r, CTRL, 64, "\x04\x00\x03\x00", 4), 1);
        assert_int_equal(tap.used, 2);
        assert_true(tap.listening[1]);
        pci_rig_finish(&r);
}

static void
net_pairs_fewer_again(void **state)
{
        struct pci_rig r;

        start(&r, F_MQ);
        assert_int_equal(set_pairs(&r, CTRL, 64, "\x04\x00\x03\x00", 4), 0);
        /* A frame waits at the third pair for a buffer: it is lost with the pair. */
        assert_true(host_sends(&r, 2, 0x44));
        assert_false(tap.listening[2]);
        assert_int_equal(set_pairs(&r, CTRL, 64, "\x04\x00\x01\x00", 4), 0);
        assert_int_equal(tap.used, 1);
        assert_true(tap.listening[0]);
        assert_int_equal(set_pairs(&r, CTRL, 64, "\x04\x00\x03\x00", 4), 0);
        put_buffer(&r, 2);
        assert_true(host_sends(&r, 2, 0x45));
        rig_take_used(&r, RX(2), NULL);
        assert_int_equal(*(uint8_t *)mem_at(r.mem, RX_AT + 2 * 4096 + HEADER, 1), 0x45);
        /* And after a reset there is one. */
        modern_put(&r, 20, 1, 0);
        assert_int_equal(tap.used, 1);
        assert_false(tap.listening[0] || tap.listening[1] || tap.listening[2]);
        pci_rig_finish(&r);
}

static void
net_pairs_driver_that_knows_one(void **state)
{
        struct pci_rig r;

        start(&r, 0);
        /* 5.1.2: its control queue is the third; it may not ask for pairs. */
        assert_int_equal(set_pairs(&r, 2, 1024, "\x04\x00\x02\x00", 4), 1);
        assert_int_equal(set_pairs(&r, 2, 1024, "\x00\x00\x01", 3), 0);
        assert_int_equal(tap.used, 1);
        put_frame(&r, 0, 0x66);
        rig_take_used(&r, TX(0), NULL);
        assert_int_equal(tap.last[0], 0x66);
        pci_rig_finish(&r);
}

static void
net_pairs_only_of_a_tap(void **state)
{
        for (const char *const *backend = (const char *const[]){ "slirp", "unix", NULL }; *backend != NULL; backend++) {
                struct pci_rig r;

                pci_rig_start(&r);
                pci_rig_set(&r, "backend", *backend);
                pci_rig_set(&r, "path", "/tmp/bhyve-net-test-queues");
                pci_rig_set(&r, "queues", "2");
                assert_int_equal(pci_rig_create(&r, "virtio-net"), -EINVAL);
                pci_rig_finish(&r);
        }
}

int
main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(net_pairs_are_used_when_the_driver_asks),
                cmocka_unit_test(net_pairs_receive_with_their_own_interrupts),
                cmocka_unit_test(net_pairs_wrong_numbers_are_refused),
                cmocka_unit_test(net_pairs_fewer_again),
                cmocka_unit_test(net_pairs_driver_that_knows_one),
                cmocka_unit_test(net_pairs_only_of_a_tap),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
