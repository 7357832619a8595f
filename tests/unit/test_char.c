/* SPDX-License-Identifier: BSD-2-Clause */
/* Serial lines' host ends, and a 16550A on top of one. */
#include "backend/char/chardev.h"
#include "base/util.h"
#include "loop_rig.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pty.h>
#include <signal.h>
#include <stdint.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <termios.h>

#define BIG (1u << 20)

struct rig {
        struct loop_rig loop;
        struct chardev *dev;
        char path[64];
        size_t room;
        uint8_t *in;
        size_t in_len;
        bool wrote_short, writable;
        bool carrier;
        size_t want;
};

static size_t
on_room(void *ctx)
{
        return ((struct rig *)ctx)->room;
}

static void
on_input(void *ctx, const uint8_t *data, size_t len)
{
        struct rig *rig = ctx;

        assert_true(len <= rig->room);
        memcpy(rig->in + rig->in_len, data, len);
        rig->in_len += len;
        rig->room -= len;
}

static void
on_writable(void *ctx)
{
        ((struct rig *)ctx)->writable = true;
}

static void
on_carrier(void *ctx, bool up)
{
        ((struct rig *)ctx)->carrier = up;
}

static const struct chardev_handler handler = {
    .room = on_room, .input = on_input, .writable = on_writable, .carrier = on_carrier};

static int
setup(void **state)
{
        struct rig *rig = calloc(1, sizeof(*rig));

        rig->in = malloc(BIG);
        rig->room = BIG;
        snprintf(rig->path, sizeof(rig->path), "/tmp/bhyve-test-%d.sock", (int)getpid());
        loop_rig_start(&rig->loop);
        *state = rig;
        return 0;
}

static int
teardown(void **state)
{
        struct rig *rig = *state;

        loop_rig_stop(&rig->loop);
        chardev_close(rig->dev);
        loop_rig_finish(&rig->loop);
        free(rig->in);
        free(rig);
        return 0;
}

static void
open_dev(struct rig *rig, const char *spec)
{
        const char *why = NULL;

        pthread_mutex_lock(&rig->loop.lock);
        assert_int_equal(chardev_open(rig->loop.loop, spec, &rig->dev, &why), 0);
        chardev_set_handler(rig->dev, &handler, rig);
        pthread_mutex_unlock(&rig->loop.lock);
}

static void
open_unix(struct rig *rig)
{
        char spec[128];

        snprintf(spec, sizeof(spec), "unix=%s", rig->path);
        open_dev(rig, spec);
}

static int
attach(struct rig *rig)
{
        struct sockaddr_un address = {.sun_family = AF_UNIX};
        struct timeval patience = {.tv_sec = 10};
        int fd = socket(AF_UNIX, SOCK_STREAM, 0);

        memcpy(address.sun_path, rig->path, strlen(rig->path) + 1);
        assert_int_equal(connect(fd, (struct sockaddr *)&address, sizeof(address)), 0);
        setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
        return fd;
}

static size_t
send_out(struct rig *rig, const void *data, size_t len)
{
        size_t n;

        pthread_mutex_lock(&rig->loop.lock);
        n = chardev_write(rig->dev, data, len);
        pthread_mutex_unlock(&rig->loop.lock);
        return n;
}

static void
read_exactly(int fd, uint8_t *buf, size_t len)
{
        while (len) {
                ssize_t n = read(fd, buf, len);

                assert_true(n > 0);
                buf += n;
                len -= (size_t)n;
        }
}

static bool
got_wanted(void *ctx)
{
        struct rig *rig = ctx;

        return rig->in_len >= rig->want;
}

static bool
is_attached(void *ctx)
{
        return chardev_attached(((struct rig *)ctx)->dev);
}

static bool
is_detached(void *ctx)
{
        return !chardev_attached(((struct rig *)ctx)->dev);
}

/* A null modem in a directory of its own; the terminal at the other end is the user's. */
static void
open_nmdm(struct rig *rig, char *dir, char *peer, size_t size)
{
        char spec[128];

        strcpy(dir, "/tmp/bhyve-nmdm-XXXXXX");
        assert_non_null(mkdtemp(dir));
        snprintf(spec, sizeof(spec), "%s/nmdm0B", dir);
        snprintf(peer, size, "%s/nmdm0A", dir);
        open_dev(rig, spec);
}

static void
chardev_nmdm_joins_and_cleans_up(void **state)
{
        struct rig *rig = *state;
        char dir[64], peer[128];
        uint8_t buf[16];
        int fd;

        open_nmdm(rig, dir, peer, sizeof(peer));
        assert_false(chardev_carrier(rig->dev));
        send_out(rig, "missed", 6);
        fd = open(peer, O_RDWR | O_NOCTTY);
        assert_true(fd >= 0);
        assert_true(loop_rig_wait(&rig->loop, is_attached, rig));
        assert_true(rig->carrier && chardev_carrier(rig->dev));
        read_exactly(fd, buf, 6);
        assert_memory_equal(buf, "missed", 6);
        assert_int_equal(write(fd, "\003\rx", 3), 3);
        rig->want = 3;
        assert_true(loop_rig_wait(&rig->loop, got_wanted, rig));
        assert_memory_equal(rig->in, "\003\rx", 3);
        close(fd);
        assert_true(loop_rig_wait(&rig->loop, is_detached, rig));
        assert_false(rig->carrier);
        fd = open(peer, O_RDWR | O_NOCTTY); /* and again */
        assert_true(loop_rig_wait(&rig->loop, is_attached, rig));
        loop_rig_stop(&rig->loop);
        chardev_close(rig->dev);
        rig->dev = NULL;
        assert_int_equal(read(fd, buf, 1), 0); /* hung up */
        close(fd);
        assert_int_equal(rmdir(dir), 0); /* nothing is left */
        assert_int_equal(pthread_create(&rig->loop.thread, NULL, loop_rig_main, rig->loop.loop), 0);
}

static void
chardev_nmdm_joins_two_vms_and_survives_the_maker(void **state)
{
        struct rig *rig = *state;
        struct rig other = {.room = BIG, .in = malloc(BIG), .loop = rig->loop};
        char dir[64], peer[128];
        const char *why = NULL;
        struct chardev *third = NULL;

        open_nmdm(rig, dir, peer, sizeof(peer));
        pthread_mutex_lock(&rig->loop.lock);
        assert_int_equal(chardev_open(rig->loop.loop, peer, &other.dev, &why), 0);
        chardev_set_handler(other.dev, &handler, &other);
        assert_int_equal(chardev_open(rig->loop.loop, peer, &third, &why), 0); /* a terminal may be shared */
        chardev_close(third);
        pthread_mutex_unlock(&rig->loop.lock);
        assert_true(loop_rig_wait(&rig->loop, is_attached, rig));
        send_out(rig, "to A", 4);
        other.want = 4;
        assert_true(loop_rig_wait(&rig->loop, got_wanted, &other));
        assert_memory_equal(other.in, "to A", 4);
        pthread_mutex_lock(&rig->loop.lock);
        chardev_close(rig->dev); /* the maker goes */
        pthread_mutex_unlock(&rig->loop.lock);
        usleep(300000);
        snprintf(peer, sizeof(peer), "%s/nmdm0B", dir);
        open_dev(rig, peer); /* and comes back to the other's pair */
        pthread_mutex_lock(&rig->loop.lock);
        assert_int_equal(chardev_write(other.dev, (const uint8_t *)"to B", 4), 4);
        pthread_mutex_unlock(&rig->loop.lock);
        rig->want = 4;
        assert_true(loop_rig_wait(&rig->loop, got_wanted, rig));
        assert_memory_equal(rig->in, "to B", 4);
        pthread_mutex_lock(&rig->loop.lock);
        chardev_close(other.dev);
        pthread_mutex_unlock(&rig->loop.lock);
        loop_rig_stop(&rig->loop);
        chardev_close(rig->dev);
        rig->dev = NULL;
        assert_int_equal(rmdir(dir), 0);
        assert_int_equal(pthread_create(&rig->loop.thread, NULL, loop_rig_main, rig->loop.loop), 0);
        free(other.in);
}

static void
chardev_nmdm_replaces_a_stale_link(void **state)
{
        struct rig *rig = *state;
        char dir[] = "/tmp/bhyve-nmdm-XXXXXX", spec[128], link[128], target[128] = "";

        assert_non_null(mkdtemp(dir));
        snprintf(link, sizeof(link), "%s/nmdm7A", dir);
        snprintf(spec, sizeof(spec), "%s/nmdm7B", dir);
        assert_int_equal(symlink("/dev/null", link), 0);
        open_dev(rig, spec);
        assert_true(readlink(link, target, sizeof(target) - 1) > 0);
        assert_memory_equal(target, "/dev/pts/", 9);
        pthread_mutex_lock(&rig->loop.lock);
        chardev_close(rig->dev);
        rig->dev = NULL;
        pthread_mutex_unlock(&rig->loop.lock);
        assert_int_equal(rmdir(dir), 0);
}

static bool
is_writable(void *ctx)
{
        return ((struct rig *)ctx)->writable;
}

static void
chardev_socket_passes_both_ways(void **state)
{
        struct rig *rig = *state;
        uint8_t buf[16];
        int fd;

        open_unix(rig);
        fd = attach(rig);
        assert_int_equal(write(fd, "hello", 5), 5);
        rig->want = 5;
        assert_true(loop_rig_wait(&rig->loop, got_wanted, rig));
        assert_memory_equal(rig->in, "hello", 5);
        assert_int_equal(send_out(rig, "world", 5), 5);
        read_exactly(fd, buf, 5);
        assert_memory_equal(buf, "world", 5);
        close(fd);
        assert_true(loop_rig_wait(&rig->loop, is_detached, rig));
}

static void
chardev_late_client_sees_the_last_64k(void **state)
{
        struct rig *rig = *state;
        uint8_t *text = malloc(100000), *seen = malloc(CHARDEV_BACKLOG);
        int fd;

        for (size_t i = 0; i < 100000; i++)
                text[i] = (uint8_t)(i / 251 + i);
        open_unix(rig);
        for (size_t i = 0; i < 100000; i += 1000)
                assert_int_equal(send_out(rig, text + i, 1000), 1000);
        fd = attach(rig);
        read_exactly(fd, seen, CHARDEV_BACKLOG);
        assert_memory_equal(seen, text + 100000 - CHARDEV_BACKLOG, CHARDEV_BACKLOG);
        close(fd);
        assert_true(loop_rig_wait(&rig->loop, is_detached, rig));
        send_out(rig, "again", 5);
        fd = attach(rig);
        read_exactly(fd, seen, 5);
        assert_memory_equal(seen, "again", 5);
        close(fd);
        free(text);
        free(seen);
}

static void
chardev_slow_reader_loses_nothing(void **state)
{
        struct rig *rig = *state;
        uint8_t *seen = malloc(BIG), chunk[1000];
        size_t sent = 0, got = 0;
        int fd;

        open_unix(rig);
        fd = attach(rig);
        assert_true(loop_rig_wait(&rig->loop, is_attached, rig));
        fcntl(fd, F_SETFL, O_NONBLOCK);
        while (got < BIG) {
                ssize_t n;

                if (sent < BIG) {
                        for (size_t i = 0; i < sizeof(chunk); i++)
                                chunk[i] = (uint8_t)((sent + i) / 253 + sent + i);
                        sent += send_out(rig, chunk, sent + 1000 > BIG ? BIG - sent : 1000);
                        if (sent % 65536 < 60000 && sent < BIG)
                                continue; /* let it fill up */
                }
                n = read(fd, seen + got, BIG - got);
                if (n > 0)
                        got += (size_t)n;
                else
                        usleep(200);
        }
        for (size_t i = 0; i < BIG; i++) {
                if (seen[i] != (uint8_t)(i / 253 + i))
                        fail_msg("byte %zu differs", i);
        }
        close(fd);
        free(seen);
}

static void
chardev_full_output_says_when_to_go_on(void **state)
{
        struct rig *rig = *state;
        static uint8_t chunk[4096];
        uint8_t *seen = malloc(BIG);
        size_t sent = 0, n;
        int fd;

        open_unix(rig);
        fd = attach(rig);
        assert_true(loop_rig_wait(&rig->loop, is_attached, rig));
        for (int stalled = 0; stalled < 20;) {
                n = send_out(rig, chunk, sizeof(chunk));
                sent += n;
                stalled = n ? 0 : stalled + 1;
                if (!n)
                        usleep(5000);
        }
        rig->writable = false;
        send_out(rig, chunk, 1);
        read_exactly(fd, seen, sent);
        assert_true(loop_rig_wait(&rig->loop, is_writable, rig));
        close(fd);
        free(seen);
}

static void
chardev_waits_for_room(void **state)
{
        struct rig *rig = *state;
        int fd;

        rig->room = 3;
        open_unix(rig);
        fd = attach(rig);
        assert_int_equal(write(fd, "0123456789", 10), 10);
        close(fd); /* what was sent before the hang-up arrives all the same */
        rig->want = 3;
        assert_true(loop_rig_wait(&rig->loop, got_wanted, rig));
        usleep(20000);
        assert_int_equal(rig->in_len, 3);
        pthread_mutex_lock(&rig->loop.lock);
        rig->room = 100;
        chardev_resume(rig->dev);
        pthread_mutex_unlock(&rig->loop.lock);
        rig->want = 10;
        assert_true(loop_rig_wait(&rig->loop, got_wanted, rig));
        assert_memory_equal(rig->in, "0123456789", 10);
}

static void
chardev_second_client_is_turned_away(void **state)
{
        struct rig *rig = *state;
        uint8_t buf[64];
        int first, second;

        open_unix(rig);
        first = attach(rig);
        assert_true(loop_rig_wait(&rig->loop, is_attached, rig));
        second = attach(rig);
        while (read(second, buf, sizeof(buf)) > 0)
                ;
        close(second);
        send_out(rig, "x", 1);
        read_exactly(first, buf, 1);
        close(first);
}

static void
chardev_bad_specs_are_refused(void **state)
{
        struct rig *rig = *state;
        static const char *const bad[] = {"", "stdiox", "tcp=", "tcp=nonsense:99999", "tcp=127.0.0.1:", "unix=",
            "/dev/null", "/nonexistent", "com1"};

        for (unsigned i = 0; i < ARRAY_LEN(bad); i++) {
                const char *why = NULL;

                assert_true(chardev_open(rig->loop.loop, bad[i], &rig->dev, &why) < 0);
                assert_non_null(why);
        }
        rig->dev = NULL;
}

static void
chardev_tty_is_raw_while_open(void **state)
{
        struct rig *rig = *state;
        struct termios before = {0}, during = {0}, after = {0}; /* padding too is compared */
        char name[64];
        uint8_t buf[8];
        int master, slave;

        assert_int_equal(openpty(&master, &slave, name, NULL, NULL), 0);
        tcgetattr(slave, &before);
        open_dev(rig, name);
        tcgetattr(slave, &during);
        assert_false(during.c_lflag & (ICANON | ECHO | ISIG));
        send_out(rig, "a\nb", 3);
        read_exactly(master, buf, 3);
        assert_memory_equal(buf, "a\nb", 3);
        loop_rig_stop(&rig->loop);
        chardev_close(rig->dev);
        rig->dev = NULL;
        tcgetattr(slave, &after);
        assert_memory_equal(&before, &after, sizeof(before));
        assert_int_equal(pthread_create(&rig->loop.thread, NULL, loop_rig_main, rig->loop.loop), 0);
        close(master);
        close(slave);
}

/* A process with the terminal raw that is killed outright. */
static void
chardev_terminal_is_restored_after_sigkill(void **state)
{
        struct termios before = {0}, now = {0};
        int master, slave, ready[2];
        char byte;
        pid_t pid;

        assert_int_equal(openpty(&master, &slave, NULL, NULL, NULL), 0);
        tcgetattr(slave, &before);
        assert_int_equal(pipe(ready), 0);
        pid = fork();
        if (pid == 0) {
                pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
                struct loop *loop;
                struct chardev *dev;
                const char *why;

                dup2(slave, 0);
                dup2(slave, 1);
                if (loop_create(&lock, &loop) || chardev_open(loop, "stdio", &dev, &why))
                        _exit(1);
                if (write(ready[1], "", 1) != 1)
                        _exit(1);
                pause();
                _exit(0);
        }
        close(ready[1]);
        assert_int_equal(read(ready[0], &byte, 1), 1);
        tcgetattr(slave, &now);
        assert_false(now.c_lflag & ICANON);
        kill(pid, SIGKILL);
        waitpid(pid, NULL, 0);
        for (int i = 0; i < 5000; i++) {
                tcgetattr(slave, &now);
                if (!memcmp(&now, &before, sizeof(now)))
                        break;
                usleep(1000);
        }
        assert_memory_equal(&now, &before, sizeof(now));
        close(ready[0]);
        close(master);
        close(slave);
}

struct ticks {
        unsigned order[4];
        unsigned count;
};

struct tick {
        struct ticks *ticks;
        unsigned id;
};

static void
tick(void *ctx)
{
        struct tick *t = ctx;

        t->ticks->order[t->ticks->count++] = t->id;
}

static bool
three_ticks(void *ctx)
{
        return ((struct ticks *)ctx)->count == 3;
}

static void
loop_timers_run_in_order_and_can_be_cancelled(void **state)
{
        struct rig *rig = *state;
        struct ticks ticks = {{0}, 0};
        struct tick tick_of[4];
        struct loop_timer *timer[4];
        uint64_t now = loop_now_ns();

        pthread_mutex_lock(&rig->loop.lock);
        for (unsigned i = 0; i < 4; i++) {
                tick_of[i] = (struct tick){&ticks, i};
                assert_int_equal(loop_timer_create(rig->loop.loop, tick, &tick_of[i], &timer[i]), 0);
        }
        loop_timer_arm(timer[0], now + 30 * NSEC_PER_MSEC);
        loop_timer_arm(timer[1], now + 20 * NSEC_PER_MSEC);
        loop_timer_arm(timer[2], now + 10 * NSEC_PER_MSEC);
        loop_timer_arm(timer[3], now + 15 * NSEC_PER_MSEC);
        loop_timer_cancel(timer[3]);
        loop_timer_arm(timer[1], now + 40 * NSEC_PER_MSEC);
        pthread_mutex_unlock(&rig->loop.lock);
        assert_true(loop_rig_wait(&rig->loop, three_ticks, &ticks));
        assert_int_equal(ticks.order[0], 2);
        assert_int_equal(ticks.order[1], 0);
        assert_int_equal(ticks.order[2], 1);
        pthread_mutex_lock(&rig->loop.lock);
        for (unsigned i = 0; i < 4; i++)
                loop_timer_destroy(timer[i]);
        pthread_mutex_unlock(&rig->loop.lock);
}

int
main(void)
{
        const struct CMUnitTest tests[] = {
            cmocka_unit_test_setup_teardown(chardev_socket_passes_both_ways, setup, teardown),
            cmocka_unit_test_setup_teardown(chardev_late_client_sees_the_last_64k, setup, teardown),
            cmocka_unit_test_setup_teardown(chardev_slow_reader_loses_nothing, setup, teardown),
            cmocka_unit_test_setup_teardown(chardev_full_output_says_when_to_go_on, setup, teardown),
            cmocka_unit_test_setup_teardown(chardev_waits_for_room, setup, teardown),
            cmocka_unit_test_setup_teardown(chardev_second_client_is_turned_away, setup, teardown),
            cmocka_unit_test_setup_teardown(chardev_bad_specs_are_refused, setup, teardown),
            cmocka_unit_test_setup_teardown(chardev_tty_is_raw_while_open, setup, teardown),
            cmocka_unit_test(chardev_terminal_is_restored_after_sigkill),
            cmocka_unit_test_setup_teardown(chardev_nmdm_joins_and_cleans_up, setup, teardown),
            cmocka_unit_test_setup_teardown(chardev_nmdm_joins_two_vms_and_survives_the_maker, setup, teardown),
            cmocka_unit_test_setup_teardown(chardev_nmdm_replaces_a_stale_link, setup, teardown),
            cmocka_unit_test_setup_teardown(loop_timers_run_in_order_and_can_be_cancelled, setup, teardown),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
