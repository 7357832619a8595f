/* SPDX-License-Identifier: BSD-2-Clause */
/* virtio-net over the back ends that need no privilege. */
#include "virtio_rig.h"

#include "backend/net/net.h"

#include <arpa/inet.h>
#include <errno.h>
#include <sys/socket.h>

#define RX 0
#define TX 1
#define CTRL 2
#define TX_AT RIG_DATA_AT
#define RX_AT (RIG_DATA_AT + 0x20000u)
#define RX_BUFFER 2048u
#define HEADER 12u

#define F_MAC         (1ull << 5)
#define F_MRG_RXBUF   (1ull << 15)
#define F_STATUS      (1ull << 16)
#define F_CTRL_VQ     (1ull << 17)
#define F_EVENT_IDX   (1ull << 29)
#define F_VERSION_1   (1ull << 32)

struct net_rig {
        struct pci_rig r;
        unsigned header;
};

static void
net_start(struct net_rig *n, const char *backend, const char *path, uint64_t features)
{
        memset(n, 0, sizeof(*n));
        pci_rig_start(&n->r);
        if (backend != NULL)
                pci_rig_set(&n->r, "backend", backend);
        if (path != NULL)
                pci_rig_set(&n->r, "path", path);
        assert_int_equal(pci_rig_create(&n->r, "virtio-net"), 0);
        n->header = HEADER;
        if (features & F_VERSION_1) {
                assert_int_equal(modern_init(&n->r, features, 3, false), 1 | 2 | 4 | 8);
        } else {
                legacy_init(&n->r, (uint32_t)features, 3, false);
                if (!(features & F_MRG_RXBUF))
                        n->header = 10;
        }
}

/* The control queue has a size of its own: the rig's layout is for the one used. */
static void
use_queue_size(struct net_rig *n, uint16_t size)
{
        n->r.queue_size = size;
}

static void
offer_rx(struct net_rig *n, unsigned count, unsigned bytes)
{
        use_queue_size(n, 1024);
        for (unsigned i = 0; i < count; i++) {
                unsigned head = n->r.next_desc[RX]++ % 1024;

                rig_put_desc(&n->r, RX, head, RX_AT + (head % 64) * RX_BUFFER, bytes, RIG_WRITE, 0);
                rig_offer(&n->r, RX, head);
        }
}

/* Sends header and @len bytes at TX_AT + 64 as two buffers; waits until the device gives them back. */
static void
send_frame(struct net_rig *n, const void *frame, unsigned len)
{
        use_queue_size(n, 1024);
        memset(mem_at(n->r.mem, TX_AT, n->header), 0, n->header);
        memcpy(mem_at(n->r.mem, TX_AT + 64, len + 1), frame, len);
        rig_put_desc(&n->r, TX, 0, TX_AT, n->header, RIG_NEXT, 1);
        rig_put_desc(&n->r, TX, 1, TX_AT + 64, len, 0, 0);
        rig_offer(&n->r, TX, 0);
        rig_take_used(&n->r, TX, NULL);
}

/* Waits for a frame in the next receive buffer; its length without header. */
static uint32_t
receive_frame(struct net_rig *n, uint8_t **ret_frame)
{
        unsigned head;
        uint32_t len = rig_take_used(&n->r, RX, &head);
        uint8_t *p = mem_at(n->r.mem, RX_AT + (head % 64) * RX_BUFFER, RX_BUFFER);

        assert_true(len > n->header);
        if (n->header == HEADER)
                assert_int_equal(get_le16(p + 10), 1);
        *ret_frame = p + n->header;
        return len - n->header;
}

static void
fill(uint8_t *frame, unsigned len, unsigned seed)
{
        for (unsigned i = 0; i < len; i++)
                frame[i] = (uint8_t)(i * 13 + seed + i / 251);
}

static char *
meeting_place(char *buf, size_t size)
{
        snprintf(buf, size, "/tmp/bhyve-net-test-%d", (int)getpid());
        return buf;
}

static void
virtio_net_frames_cross_to_the_other_guest(void **state)
{
        static const uint64_t features[][2] = {
                { F_VERSION_1 | F_MRG_RXBUF, F_VERSION_1 | F_MRG_RXBUF },
                { F_VERSION_1, 0 },
                { 0, F_MRG_RXBUF },
                { F_VERSION_1 | F_MRG_RXBUF | F_EVENT_IDX, F_EVENT_IDX },
        };

        for (unsigned i = 0; i < ARRAY_LEN(features); i++) {
                struct net_rig a;
                struct net_rig b;
                char path[64];
                uint8_t out[1514];
                uint8_t *in;

                net_start(&a, "unix", meeting_place(path, sizeof(path)), features[i][0]);
                net_start(&b, "unix", path, features[i][1]);
                offer_rx(&a, 8, RX_BUFFER);
                offer_rx(&b, 8, RX_BUFFER);
                for (unsigned len = 14; len <= sizeof(out); len += 500) {
                        fill(out, len, len);
                        send_frame(&a, out, len);
                        assert_int_equal(receive_frame(&b, &in), len);
                        assert_memory_equal(in, out, len);
                        send_frame(&b, in, len);
                        assert_int_equal(receive_frame(&a, &in), len);
                        assert_memory_equal(in, out, len);
                }
                pci_rig_finish(&a.r);
                pci_rig_finish(&b.r);
        }
}

static void
virtio_net_third_end_of_a_pair_is_refused(void **state)
{
        struct net_rig a;
        struct net_rig b;
        struct pci_rig c;
        char path[64];

        net_start(&a, "unix", meeting_place(path, sizeof(path)), F_VERSION_1);
        net_start(&b, "unix", path, F_VERSION_1);
        pci_rig_start(&c);
        pci_rig_set(&c, "backend", "unix");
        pci_rig_set(&c, "path", path);
        assert_int_equal(pci_rig_create(&c, "virtio-net"), -EADDRINUSE);
        pci_rig_finish(&c);
        pci_rig_finish(&a.r);
        pci_rig_finish(&b.r);
}

static void
virtio_net_large_frame_is_spread_over_merged_buffers(void **state)
{
        struct net_rig a;
        struct net_rig b;
        char path[64];
        uint8_t out[1500];
        uint8_t in[1500];
        unsigned head;
        unsigned done = 0;
        unsigned buffers;

        net_start(&a, "unix", meeting_place(path, sizeof(path)), F_VERSION_1);
        net_start(&b, "unix", path, F_VERSION_1 | F_MRG_RXBUF | F_EVENT_IDX);
        fill(out, sizeof(out), 3);
        /* Three buffers of 256 are too few: the frame waits for more, and comes whole. */
        offer_rx(&b, 3, 256);
        send_frame(&a, out, sizeof(out));
        usleep(20000);
        assert_int_equal(get_le16(mem_at(b.r.mem, ring_used(&b.r, RX) + 2, 2)), 0);
        offer_rx(&b, 10, 256);
        buffers = (sizeof(out) + HEADER + 255) / 256;
        for (unsigned i = 0; i < buffers; i++) {
                uint32_t len = rig_take_used(&b.r, RX, &head);
                uint8_t *p = mem_at(b.r.mem, RX_AT + head * RX_BUFFER, 256);
                unsigned skip = i == 0 ? HEADER : 0;

                assert_int_equal(head, i);
                if (i == 0)
                        assert_int_equal(get_le16(p + 10), buffers);
                memcpy(in + done, p + skip, len - skip);
                done += len - skip;
        }
        assert_int_equal(done, sizeof(out));
        assert_memory_equal(in, out, sizeof(out));
        pci_rig_finish(&a.r);
        pci_rig_finish(&b.r);
}

static void
virtio_net_frame_without_room_is_dropped_not_cut(void **state)
{
        struct net_rig a;
        struct net_rig b;
        char path[64];
        uint8_t out[1000];
        uint8_t *in;

        net_start(&a, "unix", meeting_place(path, sizeof(path)), F_VERSION_1);
        net_start(&b, "unix", path, F_VERSION_1);
        offer_rx(&b, 1, 256);
        fill(out, sizeof(out), 1);
        send_frame(&a, out, sizeof(out));
        send_frame(&a, out, 100);
        assert_int_equal(receive_frame(&b, &in), 100);
        assert_memory_equal(in, out, 100);
        pci_rig_finish(&a.r);
        pci_rig_finish(&b.r);
}

static void
virtio_net_burst_arrives_in_order(void **state)
{
        enum { FRAMES = 600 };
        struct net_rig a;
        struct net_rig b;
        char path[64];

        net_start(&a, "unix", meeting_place(path, sizeof(path)), F_VERSION_1 | F_EVENT_IDX);
        net_start(&b, "unix", path, F_VERSION_1 | F_EVENT_IDX | F_MRG_RXBUF);
        for (unsigned i = 0; i < FRAMES; i++) {
                uint8_t out[60];
                uint8_t *in;

                if (i % 32 == 0)
                        offer_rx(&b, 32, RX_BUFFER);
                fill(out, sizeof(out), i);
                send_frame(&a, out, sizeof(out));
                assert_int_equal(receive_frame(&b, &in), sizeof(out));
                assert_memory_equal(in, out, sizeof(out));
        }
        pci_rig_finish(&a.r);
        pci_rig_finish(&b.r);
}

struct interrupts {
        struct net_rig *n;
        unsigned seen;
};

static bool
has_interrupt(void *ctx)
{
        struct interrupts *wanted = ctx;

        return wanted->n->r.msi_count[TX + 1] > wanted->seen;
}

/* However fast the frames come, the driver hears of the one that it named. */
static void
virtio_net_last_frame_of_a_burst_interrupts(void **state)
{
        enum { FRAMES = 50 };
        struct interrupts wanted = { 0 };
        struct net_rig n;
        uint8_t out[60] = { 0 };

        memset(&n, 0, sizeof(n));
        pci_rig_start(&n.r);
        assert_int_equal(pci_rig_create(&n.r, "virtio-net"), 0);
        n.header = HEADER;
        rig_enable_msix(&n.r, 4);
        modern_init(&n.r, F_VERSION_1 | F_EVENT_IDX, 3, true);
        use_queue_size(&n, 1024);
        wanted.n = &n;
        for (unsigned burst = 0; burst < 20; burst++) {
                put_le16(mem_at(n.r.mem, ring_base(TX) + 16 * 1024 + 4 + 2 * 1024, 2),
                    (uint16_t)(n.r.used[TX] + FRAMES - 1));
                for (unsigned i = 0; i < FRAMES; i++)
                        send_frame(&n, out, sizeof(out));
                assert_true(loop_rig_wait(&n.r.rig, has_interrupt, &wanted));
                wanted.seen++;
        }
        pci_rig_finish(&n.r);
}

static void
virtio_net_malformed_frames_are_given_back_unsent(void **state)
{
        struct net_rig a;
        struct net_rig b;
        char path[64];
        uint8_t out[60];
        uint8_t *in;

        net_start(&a, "unix", meeting_place(path, sizeof(path)), F_VERSION_1);
        net_start(&b, "unix", path, F_VERSION_1);
        offer_rx(&b, 4, RX_BUFFER);
        use_queue_size(&a, 1024);
        /* No header, half a header, a header with nothing behind it, writable buffers, far too long. */
        rig_put_desc(&a.r, TX, 5, TX_AT, 0, 0, 0);
        rig_put_desc(&a.r, TX, 6, TX_AT, 7, 0, 0);
        rig_put_desc(&a.r, TX, 7, TX_AT, HEADER, 0, 0);
        rig_put_desc(&a.r, TX, 8, TX_AT, 100, RIG_WRITE, 0);
        rig_put_desc(&a.r, TX, 9, 0, 2 * MIB, 0, 0);
        for (unsigned head = 5; head <= 9; head++) {
                unsigned got;

                rig_offer(&a.r, TX, head);
                assert_int_equal(rig_take_used(&a.r, TX, &got), 0);
                assert_int_equal(got, head);
        }
        fill(out, sizeof(out), 9);
        send_frame(&a, out, sizeof(out));
        assert_int_equal(receive_frame(&b, &in), sizeof(out));
        assert_memory_equal(in, out, sizeof(out));
        pci_rig_finish(&a.r);
        pci_rig_finish(&b.r);
}

static int
control(struct net_rig *n, const void *command, unsigned len)
{
        uint8_t *ack = mem_at(n->r.mem, TX_AT + 0x800, 1);

        use_queue_size(n, 64);
        memcpy(mem_at(n->r.mem, TX_AT, len), command, len);
        *ack = 0xee;
        rig_put_desc(&n->r, CTRL, 0, TX_AT, len, RIG_NEXT, 1);
        rig_put_desc(&n->r, CTRL, 1, TX_AT + 0x800, 1, RIG_WRITE, 0);
        rig_offer(&n->r, CTRL, 0);
        rig_take_used(&n->r, CTRL, NULL);
        return *ack;
}

static void
virtio_net_control_queue_answers(void **state)
{
        struct net_rig n;

        net_start(&n, NULL, NULL, F_VERSION_1 | F_CTRL_VQ | F_STATUS | F_MAC);
        assert_int_equal(control(&n, "\x00\x00\x01", 3), 0);
        assert_int_equal(control(&n, "\x01\x01\x02\x11\x22\x33\x44\x55", 8), 0);
        assert_int_equal(modern_get(&n.r, 0x2000, 4), 0x33221102);
        assert_int_equal(control(&n, "\x77\x00", 2), 1);
        assert_int_equal(control(&n, "\x05\x00\xff\xff\xff\xff\xff\xff\xff\xff", 10), 1);
        pci_rig_finish(&n.r);
}

static void
virtio_net_address_is_bhyves_or_the_users(void **state)
{
        struct net_rig n;
        struct pci_rig r;

        /* md5("3-0-test") begins with these three bytes. */
        net_start(&n, NULL, NULL, F_VERSION_1);
        assert_int_equal(modern_get(&n.r, 0x2000, 4), 0x0098a000 | (uint32_t)0x3f << 24);
        assert_int_equal(modern_get(&n.r, 0x2004, 2), 0xb6 | 0x6d << 8);
        pci_rig_finish(&n.r);
        pci_rig_start(&r);
        pci_rig_set(&r, "mac", "02:00:00:aa:bb:cc");
        assert_int_equal(pci_rig_create(&r, "virtio-net"), 0);
        assert_int_equal(modern_get(&r, 0x2000, 4), 0xaa000002);
        pci_rig_finish(&r);
        for (const char *const *bad = (const char *const[]){ "01:00:00:00:00:01", "00:00:00:00:00:00", "1:2:3",
                 "02:00:00:aa:bb:cc:dd", "xx", NULL }; *bad != NULL; bad++) {
                pci_rig_start(&r);
                pci_rig_set(&r, "mac", *bad);
                assert_int_equal(pci_rig_create(&r, "virtio-net"), -EINVAL);
                pci_rig_finish(&r);
        }
}

static void
virtio_net_without_a_back_end_has_no_link(void **state)
{
        struct net_rig n;
        uint8_t frame[60] = { 0 };

        net_start(&n, NULL, NULL, F_VERSION_1 | F_STATUS);
        assert_int_equal(modern_get(&n.r, 0x2006, 2), 0);
        send_frame(&n, frame, sizeof(frame));
        pci_rig_finish(&n.r);
}

static void
virtio_net_tap_that_cannot_be_opened_leaves_no_link(void **state)
{
        struct net_rig n;

        net_start(&n, "tapestry", NULL, F_VERSION_1 | F_STATUS);
        assert_int_equal(modern_get(&n.r, 0x2006, 2), 0);
        pci_rig_finish(&n.r);
}

static void
virtio_net_unknown_back_end_is_refused(void **state)
{
        for (const char *const *bad = (const char *const[]){ "bogus", "netgraph", "vale0:1", "unix", NULL };
             *bad != NULL; bad++) {
                struct pci_rig r;

                pci_rig_start(&r);
                pci_rig_set(&r, "backend", *bad);
                assert_int_equal(pci_rig_create(&r, "virtio-net"), -EINVAL);
                pci_rig_finish(&r);
        }
}

static void
virtio_net_reset_and_start_again_works(void **state)
{
        struct net_rig a;
        struct net_rig b;
        char path[64];
        uint8_t out[60];
        uint8_t *in;

        net_start(&a, "unix", meeting_place(path, sizeof(path)), F_VERSION_1);
        net_start(&b, "unix", path, F_VERSION_1);
        for (unsigned round = 0; round < 5; round++) {
                offer_rx(&b, 2, RX_BUFFER);
                fill(out, sizeof(out), round);
                send_frame(&a, out, sizeof(out));
                assert_int_equal(receive_frame(&b, &in), sizeof(out));
                modern_put(&b.r, 20, 1, 0);
                memset(mem_at(b.r.mem, RIG_RINGS_AT, 0x40000), 0, 0x40000);
                memset(b.r.avail, 0, sizeof(b.r.avail));
                memset(b.r.used, 0, sizeof(b.r.used));
                modern_init(&b.r, F_VERSION_1, 3, false);
        }
        pci_rig_finish(&a.r);
        pci_rig_finish(&b.r);
}

static const uint8_t guest_mac[6] = { 0x02, 0, 0, 0, 0, 0x15 };

static void
arp_request(uint8_t frame[42], const char *from, const char *to)
{
        memset(frame, 0xff, 6);
        memcpy(frame + 6, guest_mac, 6);
        memcpy(frame + 12, "\x08\x06\x00\x01\x08\x00\x06\x04\x00\x01", 10);
        memcpy(frame + 22, guest_mac, 6);
        inet_pton(AF_INET, from, frame + 28);
        memset(frame + 32, 0, 6);
        inet_pton(AF_INET, to, frame + 38);
}

static void
slirp_answers_for_the_host_address(void **state)
{
        struct net_rig n;
        uint8_t frame[42];
        uint8_t *in;
        uint32_t len;

        net_start(&n, "slirp", NULL, F_VERSION_1 | F_MRG_RXBUF | F_STATUS);
        assert_int_equal(modern_get(&n.r, 0x2006, 2), 1);
        offer_rx(&n, 32, RX_BUFFER);
        arp_request(frame, "10.0.2.15", "10.0.2.2");
        send_frame(&n, frame, sizeof(frame));
        /* Router advertisements may come before. */
        do {
                len = receive_frame(&n, &in);
        } while (in[12] != 0x08 || in[13] != 0x06);
        assert_true(len >= 42);
        assert_int_equal(in[21], 2);
        assert_memory_equal(in + 28, "\x0a\x00\x02\x02", 4);
        assert_memory_equal(in, guest_mac, 6);
        pci_rig_finish(&n.r);
}

/* A TCP connection from the host to a forwarded port arrives as a SYN at the guest. */
static void
slirp_forwards_a_host_port_to_the_guest(void **state)
{
        struct sockaddr_in addr = { .sin_family = AF_INET };
        socklen_t addr_len = sizeof(addr);
        struct pci_rig other;
        struct net_rig n;
        char fwd[64];
        uint8_t frame[42];
        uint8_t *in;
        int fd = socket(AF_INET, SOCK_STREAM, 0);

        addr.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
        assert_int_equal(bind(fd, (struct sockaddr *)&addr, sizeof(addr)), 0);
        assert_int_equal(getsockname(fd, (struct sockaddr *)&addr, &addr_len), 0);
        close(fd);
        memset(&n, 0, sizeof(n));
        pci_rig_start(&n.r);
        pci_rig_set(&n.r, "backend", "slirp");
        snprintf(fwd, sizeof(fwd), "tcp:127.0.0.1:%u-10.0.2.15:22", ntohs(addr.sin_port));
        pci_rig_set(&n.r, "hostfwd", fwd);
        assert_int_equal(pci_rig_create(&n.r, "virtio-net"), 0);
        n.header = HEADER;
        modern_init(&n.r, F_VERSION_1, 3, false);
        offer_rx(&n, 32, RX_BUFFER);
        arp_request(frame, "10.0.2.15", "10.0.2.2");
        send_frame(&n, frame, sizeof(frame));
        fd = socket(AF_INET, SOCK_STREAM, 0);
        assert_int_equal(connect(fd, (struct sockaddr *)&addr, sizeof(addr)), 0);
        do {
                receive_frame(&n, &in);
        } while (in[12] != 0x08 || in[13] != 0x00 || in[23] != IPPROTO_TCP);
        assert_int_equal(get_be16(in + 36), 22);
        assert_int_equal(in[47] & 0x3f, 0x02);
        /* The same port again is refused, by name. */
        pci_rig_start(&other);
        pci_rig_set(&other, "backend", "slirp");
        pci_rig_set(&other, "hostfwd", fwd);
        assert_int_equal(pci_rig_create(&other, "virtio-net"), -EADDRINUSE);
        pci_rig_finish(&other);
        close(fd);
        pci_rig_finish(&n.r);
}

static void
slirp_hostfwd_is_read_as_bhyve_writes_it(void **state)
{
        struct net_hostfwd fwd;
        const char *end;

        assert_int_equal(net_parse_hostfwd("tcp:1.2.3.4:80-10.0.2.15:8080;udp::53-:53", &fwd, &end), 0);
        assert_false(fwd.udp);
        assert_int_equal(fwd.host_addr, inet_addr("1.2.3.4"));
        assert_int_equal(fwd.host_port, 80);
        assert_int_equal(fwd.guest_addr, inet_addr("10.0.2.15"));
        assert_int_equal(fwd.guest_port, 8080);
        assert_int_equal(*end, ';');
        assert_int_equal(net_parse_hostfwd(end + 1, &fwd, &end), 0);
        assert_true(fwd.udp);
        assert_int_equal(fwd.host_addr, 0);
        assert_int_equal(fwd.guest_port, 53);
        assert_int_equal(*end, '\0');
        for (const char *const *bad = (const char *const[]){ "", "tcp", "tcp:::-:", "sctp::1-:1", "tcp::0-:1",
                 "tcp::1-:65536", "tcp::1:1", "tcp:x:1-:1", "tcp::1-:1x", "tcp::1-y:1", NULL }; *bad != NULL; bad++)
                assert_int_equal(net_parse_hostfwd(*bad, &fwd, &end), -EINVAL);
}

int
main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(virtio_net_frames_cross_to_the_other_guest),
                cmocka_unit_test(virtio_net_third_end_of_a_pair_is_refused),
                cmocka_unit_test(virtio_net_large_frame_is_spread_over_merged_buffers),
                cmocka_unit_test(virtio_net_frame_without_room_is_dropped_not_cut),
                cmocka_unit_test(virtio_net_burst_arrives_in_order),
                cmocka_unit_test(virtio_net_last_frame_of_a_burst_interrupts),
                cmocka_unit_test(virtio_net_malformed_frames_are_given_back_unsent),
                cmocka_unit_test(virtio_net_control_queue_answers),
                cmocka_unit_test(virtio_net_address_is_bhyves_or_the_users),
                cmocka_unit_test(virtio_net_without_a_back_end_has_no_link),
                cmocka_unit_test(virtio_net_tap_that_cannot_be_opened_leaves_no_link),
                cmocka_unit_test(virtio_net_unknown_back_end_is_refused),
                cmocka_unit_test(virtio_net_reset_and_start_again_works),
                cmocka_unit_test(slirp_answers_for_the_host_address),
                cmocka_unit_test(slirp_forwards_a_host_port_to_the_guest),
                cmocka_unit_test(slirp_hostfwd_is_read_as_bhyve_writes_it),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
