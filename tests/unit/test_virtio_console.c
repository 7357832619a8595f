/* SPDX-License-Identifier: BSD-2-Clause */
/* virtio-console: ports, their names, and bytes both ways over a Unix socket. */
#include "virtio_rig.h"

#include <errno.h>
#include <sys/socket.h>
#include <sys/un.h>

#define F_MULTIPORT (1ull << 1)
#define F_VERSION_1 (1ull << 32)

#define CONTROL_RX 2
#define CONTROL_TX 3
#define OUT_AT  RIG_DATA_AT
#define IN_AT   (RIG_DATA_AT + 0x1000u)
#define CTRL_AT (RIG_DATA_AT + 0x2000u)

struct console_rig {
        struct pci_rig r;
        char path[64];
        int fd;
};

static void
offer_control(struct console_rig *c, unsigned count)
{
        for (unsigned i = 0; i < count; i++) {
                rig_put_desc(&c->r, CONTROL_RX, i, CTRL_AT + 128 * i, 128, RIG_WRITE, 0);
                rig_offer(&c->r, CONTROL_RX, i);
        }
}

static void
send_control(struct console_rig *c, uint32_t id, uint16_t event, uint16_t value)
{
        uint8_t *p = mem_at(c->r.mem, OUT_AT, 8);

        put_le32(p, id);
        put_le16(p + 4, event);
        put_le16(p + 6, value);
        rig_put_desc(&c->r, CONTROL_TX, 0, OUT_AT, 8, 0, 0);
        rig_offer(&c->r, CONTROL_TX, 0);
        rig_take_used(&c->r, CONTROL_TX, NULL);
}

static void
expect_control(struct console_rig *c, uint32_t id, uint16_t event, uint16_t value)
{
        unsigned head;
        const uint8_t *p;

        assert_true(rig_take_used(&c->r, CONTROL_RX, &head) >= 8);
        p = mem_at(c->r.mem, CTRL_AT + 128 * head, 128);
        assert_int_equal(get_le32(p), id);
        assert_int_equal(get_le16(p + 4), event);
        assert_int_equal(get_le16(p + 6), value);
}

static void
console_connect(struct console_rig *c)
{
        struct sockaddr_un addr = { .sun_family = AF_UNIX };

        snprintf(addr.sun_path, sizeof(addr.sun_path), "%s", c->path);
        c->fd = socket(AF_UNIX, SOCK_STREAM, 0);
        assert_int_equal(connect(c->fd, (struct sockaddr *)&addr, sizeof(addr)), 0);
}

static void
console_start(struct console_rig *c)
{
        memset(c, 0, sizeof(*c));
        pci_rig_start(&c->r);
        snprintf(c->path, sizeof(c->path), "/tmp/bhyve-console-test-%d", (int)getpid());
        unlink(c->path);
        pci_rig_set(&c->r, "port.0.name", "org.test.port");
        pci_rig_set(&c->r, "port.0.path", c->path);
        assert_int_equal(pci_rig_create(&c->r, "virtio-console"), 0);
        assert_int_equal(modern_init(&c->r, F_VERSION_1 | F_MULTIPORT, 4, false), 15);
        offer_control(c, 8);
        send_control(c, UINT32_MAX, 0, 1);
        expect_control(c, 0, 1, 1);
        send_control(c, 0, 3, 1);
        expect_control(c, 0, 7, 1);
        assert_memory_equal(mem_at(c->r.mem, CTRL_AT + 128 + 8, 13), "org.test.port", 13);
        expect_control(c, 0, 6, 0);
}

static void
console_finish(struct console_rig *c)
{
        if (c->fd > 0)
                close(c->fd);
        pci_rig_finish(&c->r);
        unlink(c->path);
}

static void
virtio_console_opens_and_closes_with_the_connection(void **state)
{
        struct console_rig c;

        console_start(&c);
        assert_int_equal(rig_config_read(&c.r, PCI_CFG_VENDOR, 4), 0x10031af4);
        assert_int_equal(modern_get(&c.r, 0x2004, 4), 1);
        console_connect(&c);
        expect_control(&c, 0, 6, 1);
        close(c.fd);
        c.fd = 0;
        expect_control(&c, 0, 6, 0);
        console_finish(&c);
}

static void
virtio_console_carries_bytes_both_ways(void **state)
{
        struct console_rig c;
        char buf[32] = { 0 };
        unsigned head;

        console_start(&c);
        console_connect(&c);
        expect_control(&c, 0, 6, 1);
        memcpy(mem_at(c.r.mem, OUT_AT, 16), "hello from guest", 16);
        rig_put_desc(&c.r, 1, 0, OUT_AT, 6, RIG_NEXT, 1);
        rig_put_desc(&c.r, 1, 1, OUT_AT + 6, 10, 0, 0);
        rig_offer(&c.r, 1, 0);
        rig_take_used(&c.r, 1, NULL);
        for (size_t n = 0; n < 16;) {
                ssize_t got = read(c.fd, buf + n, sizeof(buf) - n);

                assert_true(got > 0);
                n += (size_t)got;
        }
        assert_memory_equal(buf, "hello from guest", 16);
        assert_int_equal(write(c.fd, "hello guest", 11), 11);
        rig_put_desc(&c.r, 0, 0, IN_AT, 4, RIG_WRITE, 0);
        rig_put_desc(&c.r, 0, 1, IN_AT + 4, 64, RIG_WRITE, 0);
        rig_offer(&c.r, 0, 0);
        rig_offer(&c.r, 0, 1);
        assert_int_equal(rig_take_used(&c.r, 0, &head), 4);
        assert_int_equal(head, 0);
        assert_int_equal(rig_take_used(&c.r, 0, &head), 7);
        assert_memory_equal(mem_at(c.r.mem, IN_AT, 11), "hello guest", 11);
        console_finish(&c);
}

static void
virtio_console_slow_reader_loses_nothing(void **state)
{
        enum { CHUNK = 32768, CHUNKS = 64 };
        struct console_rig c;
        size_t total = 0;
        unsigned taken = 0;
        static unsigned char buf[CHUNK];

        console_start(&c);
        console_connect(&c);
        expect_control(&c, 0, 6, 1);
        for (unsigned i = 0; i < CHUNK; i++)
                *(uint8_t *)mem_at(c.r.mem, OUT_AT + 0x10000 + i, 1) = (uint8_t)(i % 253);
        for (unsigned i = 0; i < CHUNKS; i++) {
                rig_put_desc(&c.r, 1, i % 64, OUT_AT + 0x10000, CHUNK, 0, 0);
                rig_offer(&c.r, 1, i % 64);
        }
        while (total < (size_t)CHUNK * CHUNKS) {
                ssize_t got = read(c.fd, buf, sizeof(buf));

                assert_true(got > 0);
                for (ssize_t i = 0; i < got; i++)
                        assert_int_equal(buf[i], (total + (size_t)i) % CHUNK % 253);
                total += (size_t)got;
        }
        for (; taken < CHUNKS; taken++)
                rig_take_used(&c.r, 1, NULL);
        console_finish(&c);
}

static void
virtio_console_malformed_control_messages_are_ignored(void **state)
{
        struct console_rig c;

        console_start(&c);
        send_control(&c, 77, 3, 1);
        send_control(&c, 0, 99, 1);
        rig_put_desc(&c.r, CONTROL_TX, 0, OUT_AT, 3, 0, 0);
        rig_offer(&c.r, CONTROL_TX, 0);
        rig_take_used(&c.r, CONTROL_TX, NULL);
        console_connect(&c);
        expect_control(&c, 0, 6, 1);
        console_finish(&c);
}

static void
virtio_console_without_ports_is_refused(void **state)
{
        struct pci_rig r;

        pci_rig_start(&r);
        assert_int_equal(pci_rig_create(&r, "virtio-console"), -EINVAL);
        pci_rig_finish(&r);
}

int
main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(virtio_console_opens_and_closes_with_the_connection),
                cmocka_unit_test(virtio_console_carries_bytes_both_ways),
                cmocka_unit_test(virtio_console_slow_reader_loses_nothing),
                cmocka_unit_test(virtio_console_malformed_control_messages_are_ignored),
                cmocka_unit_test(virtio_console_without_ports_is_refused),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
