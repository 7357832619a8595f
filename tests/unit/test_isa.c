/* SPDX-License-Identifier: BSD-2-Clause */
/* The PC's fixed devices, driven through their ports with a real event loop behind them. */
#include "base/util.h"
#include "dev/isa/bvm.h"
#include "dev/isa/hpet.h"
#include "dev/isa/mc146818.h"
#include "dev/isa/pc.h"
#include "loop_rig.h"

#include <stdatomic.h>
#include <stdint.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>

struct rig {
        struct loop_rig loop;
        struct io_space *ports, *mmio;
        struct irq_router *irq;
        struct pc *pc;
        bool level[IRQ_GSI_COUNT];
        unsigned rises[IRQ_GSI_COUNT];
        unsigned resets, poweroffs, messages;
        bool acpi;
};

static void
on_line(void *ctx, unsigned gsi, bool level)
{
        struct rig *rig = ctx;

        rig->level[gsi] = level;
        rig->rises[gsi] += level;
}

static void
on_msi(void *ctx, uint64_t address, uint32_t data)
{
        ((struct rig *)ctx)->messages++;
}

static void
on_reset(void *ctx)
{
        ((struct rig *)ctx)->resets++;
}

static void
on_poweroff(void *ctx)
{
        ((struct rig *)ctx)->poweroffs++;
}

static void
on_acpi(void *ctx, bool enabled)
{
        ((struct rig *)ctx)->acpi = enabled;
}

static const struct irq_sink_ops sink = {.line = on_line, .msi = on_msi};
static const struct pc_ops pc_ops = {.reset = on_reset, .poweroff = on_poweroff, .acpi_enabled = on_acpi};

static int
setup(void **state)
{
        struct rig *rig = calloc(1, sizeof(*rig));
        struct config_error err;
        struct pc_config config = {
            .rtc_localtime = false,
            .low_bytes = 3072 * MIB,
            .high_bytes = 1024 * MIB,
            .ops = &pc_ops,
            .ctx = rig,
        };

        loop_rig_start(&rig->loop);
        assert_int_equal(io_space_create(&rig->loop.lock, &rig->ports), 0);
        assert_int_equal(io_space_create(&rig->loop.lock, &rig->mmio), 0);
        assert_int_equal(irq_router_create(&sink, rig, &rig->irq), 0);
        config.loop = rig->loop.loop;
        config.ports = rig->ports;
        config.mmio = rig->mmio;
        config.irq = rig->irq;
        assert_int_equal(pc_create(&config, &rig->pc, &err), 0);
        *state = rig;
        return 0;
}

static int
teardown(void **state)
{
        struct rig *rig = *state;

        loop_rig_stop(&rig->loop);
        pc_destroy(rig->pc);
        irq_router_destroy(rig->irq);
        io_space_destroy(rig->ports);
        io_space_destroy(rig->mmio);
        loop_rig_finish(&rig->loop);
        free(rig);
        return 0;
}

static void
out(struct rig *rig, uint16_t port, unsigned size, uint32_t value)
{
        assert_true(io_space_write(rig->ports, port, size, value));
}

static uint32_t
in(struct rig *rig, uint16_t port, unsigned size)
{
        uint64_t value = 0;

        assert_true(io_space_read(rig->ports, port, size, &value));
        return (uint32_t)value & (size == 4 ? UINT32_MAX : (1u << size * 8) - 1);
}

static uint8_t
cmos(struct rig *rig, uint8_t index)
{
        out(rig, 0x70, 1, index);
        return (uint8_t)in(rig, 0x71, 1);
}

static void
cmos_set(struct rig *rig, uint8_t index, uint8_t value)
{
        out(rig, 0x70, 1, index);
        out(rig, 0x71, 1, value);
}

/* --- 8254 --- */

/* What Linux's pit_calibrate_tsc does: counter 2, mode 0, output seen at port 0x61. */
static void
i8254_counter_2_takes_its_time(void **state)
{
        struct rig *rig = *state;
        uint64_t begin, ns;

        out(rig, 0x61, 1, (in(rig, 0x61, 1) & ~2u) | 1);
        out(rig, 0x43, 1, 0xb0);
        out(rig, 0x42, 1, 11932 & 0xff); /* 10 ms */
        out(rig, 0x42, 1, 11932 >> 8);
        begin = loop_now_ns();
        assert_false(in(rig, 0x61, 1) & 0x20);
        while (!(in(rig, 0x61, 1) & 0x20))
                ;
        ns = loop_now_ns() - begin;
        assert_true(ns >= 9900000);
}

static bool
irq0_rose_5_times(void *ctx)
{
        return ((struct rig *)ctx)->rises[0] >= 5;
}

static void
i8254_counter_0_interrupts_periodically(void **state)
{
        struct rig *rig = *state;
        unsigned rises;

        out(rig, 0x43, 1, 0x34);
        out(rig, 0x40, 1, 1193 & 0xff); /* 1 ms */
        out(rig, 0x40, 1, 1193 >> 8);
        assert_true(loop_rig_wait(&rig->loop, irq0_rose_5_times, rig));
        out(rig, 0x43, 1, 0x30); /* stops */
        rises = rig->rises[0];
        usleep(5000);
        assert_int_equal(rig->rises[0], rises);
        assert_false(rig->level[0]);
}

static void
i8254_latch_and_read_back(void **state)
{
        struct rig *rig = *state;
        unsigned first, second;

        out(rig, 0x43, 1, 0x34);
        out(rig, 0x40, 1, 0);
        out(rig, 0x40, 1, 0);
        out(rig, 0x43, 1, 0x00);
        first = in(rig, 0x40, 1);
        usleep(1000);
        first |= in(rig, 0x40, 1) << 8; /* the same moment's */
        out(rig, 0x43, 1, 0xc2);        /* count and status of counter 0 */
        assert_int_equal(in(rig, 0x40, 1) & 0x3f, 0x34);
        second = in(rig, 0x40, 1);
        second |= in(rig, 0x40, 1) << 8;
        assert_true(((first - second) & 0xffff) >= 1100);
}

static void
i8254_extremes_are_harmless(void **state)
{
        struct rig *rig = *state;

        for (unsigned control = 0; control < 256; control++) {
                out(rig, 0x43, 1, control);
                for (unsigned c = 0; c < 3; c++) {
                        out(rig, (uint16_t)(0x40 + c), 1, 1);
                        out(rig, (uint16_t)(0x40 + c), 1, 0);
                        in(rig, (uint16_t)(0x40 + c), 1);
                }
        }
        assert_int_equal(in(rig, 0x43, 1), 0xff);
}

/* --- MC146818 --- */

static void
mc146818_tells_the_host_time(void **state)
{
        struct rig *rig = *state;
        time_t now = time(NULL);
        struct tm tm;

        gmtime_r(&now, &tm);
        cmos_set(rig, 0x0b, 0x06); /* binary, 24 hours */
        assert_in_range((cmos(rig, 0) - tm.tm_sec + 60) % 60, 0, 2);
        assert_int_equal(cmos(rig, 7), tm.tm_mday);
        assert_int_equal(cmos(rig, 9), tm.tm_year % 100);
        assert_int_equal(cmos(rig, 0x32), 20);
        assert_int_equal(cmos(rig, 0x0d), 0x80);
        cmos_set(rig, 0x0b, 0x02);
        assert_int_equal(cmos(rig, 8), (tm.tm_mon + 1) / 10 << 4 | (tm.tm_mon + 1) % 10);
}

static void
mc146818_takes_a_new_time(void **state)
{
        struct rig *rig = *state;

        cmos_set(rig, 0x0b, 0x82); /* SET, BCD */
        cmos_set(rig, 0, 0x30);
        cmos_set(rig, 2, 0x59);
        cmos_set(rig, 4, 0x23);
        cmos_set(rig, 7, 0x31);
        cmos_set(rig, 8, 0x12);
        cmos_set(rig, 9, 0x99);
        cmos_set(rig, 0x32, 0x19);
        cmos_set(rig, 0x0b, 0x02);
        assert_in_range(mc146818_time(pc_rtc(rig->pc)), 946684770, 946684775);
        cmos_set(rig, 0x0b, 0x00); /* 12 hours */
        assert_int_equal(cmos(rig, 4), 0x91); /* 11 pm */
}

static void
mc146818_has_memory_sizes(void **state)
{
        struct rig *rig = *state;

        assert_int_equal(cmos(rig, 0x15) | cmos(rig, 0x16) << 8, 640);
        assert_int_equal(cmos(rig, 0x34) | cmos(rig, 0x35) << 8, (3072 - 16) * 16);
        assert_int_equal(cmos(rig, 0x5b) | cmos(rig, 0x5c) << 8 | cmos(rig, 0x5d) << 16, 1024 * 16);
        cmos_set(rig, 0x0f, 0x55);
        assert_int_equal(cmos(rig, 0x0f), 0x55);
}

static bool
irq8_is_up(void *ctx)
{
        return ((struct rig *)ctx)->level[8];
}

static void
mc146818_interrupts(void **state)
{
        struct rig *rig = *state;

        cmos(rig, 0x0c);
        cmos_set(rig, 0x0b, 0x42); /* periodic, 1024 Hz */
        assert_true(loop_rig_wait(&rig->loop, irq8_is_up, rig));
        assert_int_equal(cmos(rig, 0x0c) & 0xc0, 0xc0);
        assert_false(rig->level[8]);
        cmos_set(rig, 0x0b, 0x12); /* each second */
        assert_true(loop_rig_wait(&rig->loop, irq8_is_up, rig));
        assert_int_equal(cmos(rig, 0x0c) & 0x90, 0x90);
        cmos_set(rig, 0x0b, 0x02);
}

/* --- HPET --- */

static uint64_t
hpet_get(struct rig *rig, unsigned reg, unsigned size)
{
        uint64_t value = 0;

        assert_true(io_space_read(rig->mmio, HPET_BASE + reg, size, &value));
        return value;
}

static void
hpet_set(struct rig *rig, unsigned reg, unsigned size, uint64_t value)
{
        assert_true(io_space_write(rig->mmio, HPET_BASE + reg, size, value));
}

static void
hpet_counts_while_enabled(void **state)
{
        struct rig *rig = *state;
        uint64_t a, b;

        assert_int_equal(hpet_get(rig, 4, 4), 10000000); /* femtoseconds */
        assert_int_equal(hpet_get(rig, 0xf0, 8), 0);
        hpet_set(rig, 0x10, 8, 1);
        a = hpet_get(rig, 0xf0, 8);
        usleep(2000);
        b = hpet_get(rig, 0xf0, 8);
        assert_true(b - a >= 200000);
        hpet_set(rig, 0x10, 8, 0);
        a = hpet_get(rig, 0xf0, 8);
        usleep(1000);
        assert_int_equal(hpet_get(rig, 0xf0, 8), a);
        hpet_set(rig, 0xf0, 8, 0x123456789);
        assert_int_equal(hpet_get(rig, 0xf4, 4), 1);
}

static bool
irq20_is_up(void *ctx)
{
        return ((struct rig *)ctx)->level[20];
}

static void
hpet_level_interrupt_stays_until_cleared(void **state)
{
        struct rig *rig = *state;

        hpet_set(rig, 0x10, 8, 1);
        hpet_set(rig, 0x100, 8, 20 << 9 | 6); /* pin 20, level, on */
        hpet_set(rig, 0x108, 8, hpet_get(rig, 0xf0, 8) + 100000);
        assert_true(loop_rig_wait(&rig->loop, irq20_is_up, rig));
        assert_int_equal(hpet_get(rig, 0x20, 8), 1);
        hpet_set(rig, 0x20, 8, 1);
        assert_false(rig->level[20]);
        hpet_set(rig, 0x100, 8, 3 << 9 | 6); /* not among the pins it may have */
        hpet_set(rig, 0x108, 8, hpet_get(rig, 0xf0, 8) + 10000);
        usleep(5000);
        assert_false(rig->level[3]);
}

static bool
three_messages(void *ctx)
{
        return ((struct rig *)ctx)->messages >= 3;
}

static void
hpet_periodic_message(void **state)
{
        struct rig *rig = *state;

        hpet_set(rig, 0x120, 8, 0x404c); /* timer 1: message, periodic, accumulate, on */
        hpet_set(rig, 0x130, 8, 0xfee00000ull << 32 | 0x41);
        hpet_set(rig, 0x128, 8, 100000);
        hpet_set(rig, 0x128, 8, 100000);
        hpet_set(rig, 0x10, 8, 1);
        assert_true(loop_rig_wait(&rig->loop, three_messages, rig));
        hpet_set(rig, 0x120, 8, 0);
        for (unsigned reg = 0; reg < 0x400; reg += 4)
                hpet_set(rig, reg, 4, UINT32_MAX);
}

/* --- ACPI hardware --- */

static void
acpi_power_button_needs_acpi(void **state)
{
        struct rig *rig = *state;

        assert_false(pc_press_power_button(rig->pc));
        out(rig, 0xb2, 1, 0xa0);
        assert_true(rig->acpi);
        assert_int_equal(in(rig, 0x404, 2) & 1, 1);
        out(rig, 0x402, 2, 0x100);
        assert_true(pc_press_power_button(rig->pc));
        assert_true(rig->level[9]);
        assert_int_equal(in(rig, 0x400, 2), 0x100);
        assert_int_equal(in(rig, 0x400, 4), 0x01000100);
        out(rig, 0x400, 2, 0x100);
        assert_false(rig->level[9]);
        assert_int_equal(in(rig, 0x400, 2), 0);
        out(rig, 0xb2, 1, 0xa1);
        assert_false(rig->acpi);
}

static void
acpi_s5_switches_off(void **state)
{
        struct rig *rig = *state;

        out(rig, 0x404, 2, 3 << 10 | 0x2000); /* S3 does not exist */
        assert_int_equal(rig->poweroffs, 0);
        out(rig, 0x404, 2, 5 << 10);
        assert_int_equal(rig->poweroffs, 0);
        out(rig, 0x404, 2, 5 << 10 | 0x2000);
        assert_int_equal(rig->poweroffs, 1);
}

static void
acpi_timer_runs_at_3_58_mhz(void **state)
{
        struct rig *rig = *state;
        uint32_t a = in(rig, 0x408, 4);

        usleep(10000);
        assert_true(in(rig, 0x408, 4) - a >= 35000);
}

/* --- 8042 and the reset ports --- */

static void
i8042_answers_and_resets(void **state)
{
        struct rig *rig = *state;

        out(rig, 0x64, 1, 0xaa);
        assert_int_equal(in(rig, 0x64, 1) & 1, 1);
        assert_int_equal(in(rig, 0x60, 1), 0x55);
        assert_int_equal(in(rig, 0x64, 1) & 1, 0);
        out(rig, 0x60, 1, 0xf2);
        assert_int_equal(in(rig, 0x60, 1), 0xfa);
        assert_int_equal(in(rig, 0x60, 1), 0xab);
        for (int i = 0; i < 40; i++)
                out(rig, 0x60, 1, 0xee); /* more than it can queue */
        while (in(rig, 0x64, 1) & 1)
                in(rig, 0x60, 1);
        out(rig, 0x64, 1, 0xfe);
        assert_int_equal(rig->resets, 1);
        out(rig, 0x92, 1, 1);
        assert_int_equal(rig->resets, 2);
        assert_int_equal(in(rig, 0x84, 1), 0xff);
}

/* --- The debug port --- */

static void
bvmdebug_speaks_through_its_port(void **state)
{
        struct rig *rig = *state;
        struct chardev *chardev;
        struct bvm *bvm;
        struct sockaddr_un address = {.sun_family = AF_UNIX};
        char spec[128];
        const char *why;
        uint8_t buf[3] = {0};
        int fd = socket(AF_UNIX, SOCK_STREAM, 0);

        snprintf(address.sun_path, sizeof(address.sun_path), "/tmp/bhyve-bvm-%d", (int)getpid());
        snprintf(spec, sizeof(spec), "unix=%s", address.sun_path);
        pthread_mutex_lock(&rig->loop.lock);
        assert_int_equal(chardev_open(rig->loop.loop, spec, &chardev, &why), 0);
        assert_int_equal(bvm_create(chardev, BVM_DEBUG_SIGNATURE, NULL, &bvm), 0);
        pthread_mutex_unlock(&rig->loop.lock);
        assert_int_equal(io_space_add(rig->ports, BVM_DEBUG_PORT, 4, &bvm_io_ops, bvm, 0, "test"), 0);
        assert_int_equal(in(rig, 0x224, 2), 0x4256);
        assert_int_equal(in(rig, 0x224, 1), 0xff);
        assert_int_equal(in(rig, 0x224, 4), 0xffffffff);
        out(rig, 0x224, 4, '$'); /* nobody there yet: it waits */
        assert_int_equal(connect(fd, (struct sockaddr *)&address, sizeof(address)), 0);
        assert_int_equal(read(fd, buf, 1), 1);
        assert_int_equal(buf[0], '$');
        assert_int_equal(write(fd, "+\003", 2), 2);
        for (unsigned i = 0; i < 2; i++) {
                uint32_t byte;

                for (unsigned ms = 0; (byte = in(rig, 0x224, 4)) == UINT32_MAX && ms < 5000; ms++)
                        usleep(1000);
                assert_int_equal(byte, i == 0 ? '+' : 3);
        }
        close(fd);
        pthread_mutex_lock(&rig->loop.lock);
        io_space_remove(rig->ports, BVM_DEBUG_PORT);
        bvm_destroy(bvm);
        pthread_mutex_unlock(&rig->loop.lock);
}

int
main(void)
{
        const struct CMUnitTest tests[] = {
            cmocka_unit_test_setup_teardown(i8254_counter_2_takes_its_time, setup, teardown),
            cmocka_unit_test_setup_teardown(i8254_counter_0_interrupts_periodically, setup, teardown),
            cmocka_unit_test_setup_teardown(i8254_latch_and_read_back, setup, teardown),
            cmocka_unit_test_setup_teardown(i8254_extremes_are_harmless, setup, teardown),
            cmocka_unit_test_setup_teardown(mc146818_tells_the_host_time, setup, teardown),
            cmocka_unit_test_setup_teardown(mc146818_takes_a_new_time, setup, teardown),
            cmocka_unit_test_setup_teardown(mc146818_has_memory_sizes, setup, teardown),
            cmocka_unit_test_setup_teardown(mc146818_interrupts, setup, teardown),
            cmocka_unit_test_setup_teardown(hpet_counts_while_enabled, setup, teardown),
            cmocka_unit_test_setup_teardown(hpet_level_interrupt_stays_until_cleared, setup, teardown),
            cmocka_unit_test_setup_teardown(hpet_periodic_message, setup, teardown),
            cmocka_unit_test_setup_teardown(acpi_power_button_needs_acpi, setup, teardown),
            cmocka_unit_test_setup_teardown(acpi_s5_switches_off, setup, teardown),
            cmocka_unit_test_setup_teardown(acpi_timer_runs_at_3_58_mhz, setup, teardown),
            cmocka_unit_test_setup_teardown(i8042_answers_and_resets, setup, teardown),
            cmocka_unit_test_setup_teardown(bvmdebug_speaks_through_its_port, setup, teardown),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
