/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Taps, in a network namespace of the test's own: needs root and
 * /dev/net/tun, and is skipped by name without them.
 */
#include "backend/net/tap.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/if_packet.h>
#include <linux/if_tun.h>
#include <linux/sockios.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "netconf_rig.h"

static int
enter_namespace(void **state)
{
        static bool able;
        int socket_fd;

        if (unshare(CLONE_NEWNET) == 0 && access("/dev/net/tun", R_OK | W_OK) == 0)
                able = true;
        if (!able)
                print_message("skipped: taps need root and /dev/net/tun\n");
        socket_fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
        if (able && ioctl(socket_fd, SIOCBRADDBR, "bridge0") != 0)
                able = false;
        close(socket_fd);
        *state = &able;
        return 0;
}

static void
need_taps(void **state)
{
        if (!*(bool *)*state)
                skip();
}

static short
flags_of(const char *name)
{
        int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
        struct ifreq ifr = { 0 };

        snprintf(ifr.ifr_name, sizeof(ifr.ifr_name), "%s", name);
        assert_int_equal(ioctl(fd, SIOCGIFFLAGS, &ifr), 0);
        close(fd);
        return ifr.ifr_flags;
}

static void
tap_open_makes_it_up_and_joined(void **state)
{
        struct netconf *conf;
        struct tap tap;

        need_taps(state);
        conf = conf_of("autobridge_interfaces=bridge0\nautobridge_bridge0=\"re0 tap*\"\n");
        assert_int_equal(tap_open_with("tap5", 0, conf, &tap), 0);
        assert_true(tap.created && tap.up);
        assert_string_equal(tap.bridge, "bridge0");
        assert_true(flags_of("tap5") & IFF_UP);
        assert_true(fcntl(tap.fd, F_GETFD) & FD_CLOEXEC);
        assert_true(fcntl(tap.fd, F_GETFL) & O_NONBLOCK);
        tap_close(&tap);
        assert_int_equal(if_nametoindex("tap5"), 0);
        assert_int_equal(tap_open_with("vmnet0", 0, conf, &tap), 0);
        assert_string_equal(tap.bridge, "");
        tap_close(&tap);
        netconf_destroy(conf);
}

static void
tap_open_without_its_bridge_has_no_link(void **state)
{
        struct netconf *conf;
        struct tap tap;

        need_taps(state);
        conf = conf_of("autobridge_interfaces=bridge7\nautobridge_bridge7=tap*\n");
        assert_int_equal(tap_open_with("tap5", 0, conf, &tap), 0);
        assert_string_equal(tap.bridge, "");
        assert_true(tap.up);
        tap_close(&tap);
        netconf_destroy(conf);
}

static void
tap_open_twice_is_busy(void **state)
{
        struct tap first, second;

        need_taps(state);
        assert_int_equal(tap_open_with("tap1", 0, NULL, &first), 0);
        assert_int_equal(tap_open_with("tap1", 0, NULL, &second), -EBUSY);
        tap_close(&first);
}

static void
tap_open_wrong_names_refused(void **state)
{
        struct tap tap;
        char text[256];

        assert_int_equal(tap_open_with("bridge0", 0, NULL, &tap), -EINVAL);
        assert_int_equal(tap_open_with("tap", 0, NULL, &tap), -EINVAL);
        assert_int_equal(tap_open_with("tap%d", 0, NULL, &tap), -EINVAL);
        assert_int_equal(tap_open_with("tap01234567890123", 0, NULL, &tap), -EINVAL);
        assert_non_null(strstr(tap_explain("bridge0", -EINVAL, text, sizeof(text)), "tapN"));
        assert_non_null(strstr(tap_explain("tap0", -EPERM, text, sizeof(text)), "slirp"));
        assert_non_null(strstr(tap_explain("tap0", -EBUSY, text, sizeof(text)), "another process"));
}

static void
tap_open_name_of_a_bridge_refused(void **state)
{
        struct tap tap;
        int fd;

        need_taps(state);
        fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
        assert_int_equal(ioctl(fd, SIOCBRADDBR, "tap9"), 0);
        assert_int_equal(tap_open_with("tap9", TAP_VNET_HDR, NULL, &tap), -EINVAL);
        ioctl(fd, SIOCBRDELBR, "tap9");
        close(fd);
}

static void
tap_vnet_header_and_offloads(void **state)
{
        struct tap tap;

        need_taps(state);
        assert_int_equal(tap_open_with("tap2", TAP_VNET_HDR, NULL, &tap), 0);
        assert_int_equal(tap.vnet_hdr_bytes, 10);
        assert_int_equal(tap_set_vnet_hdr_bytes(&tap, 12), 0);
        assert_int_equal(tap_set_offload(&tap, TUN_F_CSUM | TUN_F_TSO4 | TUN_F_TSO6), 0);
        assert_int_equal(tap_set_offload(&tap, TUN_F_TSO4), -EINVAL);
        assert_int_equal(tap_set_offload(&tap, 0), 0);
        tap_close(&tap);
        assert_int_equal(tap_open_with("tap2", 0, NULL, &tap), 0);
        assert_int_equal(tap_set_vnet_hdr_bytes(&tap, 12), -EINVAL);
        tap_close(&tap);
}

static void
tap_queues_where_the_tap_has_them(void **state)
{
        static const unsigned char mac[6] = { 2, 0x62, 0x68, 0, 0, 1 };
        struct tap tap;
        int fd;

        need_taps(state);
        assert_int_equal(tap_open_with("tap3", TAP_MULTI_QUEUE | TAP_VNET_HDR, NULL, &tap), 0);
        assert_true(tap.multi_queue);
        assert_int_equal(tap_open_queue(&tap, &fd), 0);
        close(fd);
        tap_close(&tap);
        assert_int_equal(tap_create_persistent("tap3", false, -1, -1, mac), 0);
        assert_int_equal(tap_create_persistent("tap3", false, -1, -1, mac), -EEXIST);
        assert_int_equal(tap_open_with("tap3", TAP_MULTI_QUEUE | TAP_VNET_HDR, NULL, &tap), 0);
        assert_false(tap.multi_queue || tap.created);
        assert_int_equal(tap_open_queue(&tap, &fd), -EOPNOTSUPP);
        tap_close(&tap);
        assert_int_not_equal(if_nametoindex("tap3"), 0);
}

static void
tap_persistent_with_queues_is_one_guests_at_a_time(void **state)
{
        static const unsigned char mac[6] = { 2, 0x62, 0x68, 0, 0, 2 };
        struct tap tap, other;
        int fd;

        need_taps(state);
        assert_int_equal(tap_create_persistent("tap4", true, -1, -1, mac), 0);
        for (unsigned flags = 0; flags <= TAP_MULTI_QUEUE; flags += TAP_MULTI_QUEUE) {
                assert_int_equal(tap_open_with("tap4", flags, NULL, &tap), 0);
                assert_true(tap.multi_queue && !tap.created);
                assert_int_equal(tap_open_with("tap4", flags, NULL, &other), -EBUSY);
                assert_int_equal(tap_open_queue(&tap, &fd), 0);
                close(fd);
                tap_close(&tap);
        }
}

/* Frames come to attached queues only: here to the second, the first being detached. */
static void
tap_queue_detached_gets_no_frames(void **state)
{
        static const unsigned char frame[60] = { 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 2, 0, 0, 0, 0, 9, 0x88, 0xb5 };
        struct sockaddr_ll to = { .sll_family = AF_PACKET };
        unsigned char got[2048];
        struct tap tap;
        int fd, packets;

        need_taps(state);
        packets = socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC, 0);
        assert_int_equal(tap_open_with("tap6", TAP_MULTI_QUEUE, NULL, &tap), 0);
        assert_int_equal(tap_open_queue(&tap, &fd), 0);
        to.sll_ifindex = (int)if_nametoindex("tap6");
        for (unsigned round = 0; round < 2; round++) {
                assert_int_equal(tap_attach_queue(tap.fd, false), 0);
                assert_int_equal(tap_attach_queue(tap.fd, false), -EINVAL);
                while (read(fd, got, sizeof(got)) > 0)
                        ;
                for (unsigned i = 0; i < 8; i++)
                        assert_int_equal(sendto(packets, frame, sizeof(frame), 0, (struct sockaddr *)&to, sizeof(to)),
                            sizeof(frame));
                for (unsigned i = 0; i < 8; i++)
                        do
                                assert_true(read(fd, got, sizeof(got)) > 0);
                        while (memcmp(got, frame, sizeof(frame)) != 0);
                assert_true(read(tap.fd, got, sizeof(got)) < 0);
                assert_int_equal(tap_attach_queue(tap.fd, true), 0);
        }
        close(packets);
        close(fd);
        tap_close(&tap);
}

/* A broadcast frame written to one tap of a bridge arrives at the other. */
static void
tap_frames_cross_the_bridge(void **state)
{
        static const unsigned char frame[64] = { 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 2, 0, 0, 0, 0,
                9, 0x88, 0xb5, 42 };
        unsigned char got[2048];
        struct netconf *conf;
        struct tap a, b;
        int fd;
        struct ifreq ifr = { .ifr_name = "bridge0", .ifr_flags = IFF_UP };
        bool arrived = false;

        need_taps(state);
        fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
        assert_int_equal(ioctl(fd, SIOCSIFFLAGS, &ifr), 0);
        close(fd);
        conf = conf_of("autobridge_interfaces=bridge0\nautobridge_bridge0=tap*\n");
        assert_int_equal(tap_open_with("tap0", 0, conf, &a), 0);
        assert_int_equal(tap_open_with("tap1", 0, conf, &b), 0);
        for (int tries = 0; tries < 200 && !arrived; tries++) {
                assert_int_equal(write(a.fd, frame, sizeof(frame)), sizeof(frame));
                usleep(10000);
                while (read(b.fd, got, sizeof(got)) > 0)
                        arrived |= memcmp(got, frame, sizeof(frame)) == 0;
        }
        assert_true(arrived);
        tap_close(&a);
        tap_close(&b);
        netconf_destroy(conf);
}

int
main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(tap_open_makes_it_up_and_joined),
                cmocka_unit_test(tap_open_without_its_bridge_has_no_link),
                cmocka_unit_test(tap_open_twice_is_busy),
                cmocka_unit_test(tap_open_wrong_names_refused),
                cmocka_unit_test(tap_open_name_of_a_bridge_refused),
                cmocka_unit_test(tap_vnet_header_and_offloads),
                cmocka_unit_test(tap_queues_where_the_tap_has_them),
                cmocka_unit_test(tap_persistent_with_queues_is_one_guests_at_a_time),
                cmocka_unit_test(tap_queue_detached_gets_no_frames),
                cmocka_unit_test(tap_frames_cross_the_bridge),
        };

        return cmocka_run_group_tests(tests, enter_namespace, NULL);
}
