/* SPDX-License-Identifier: BSD-2-Clause */
/* The 8259 pair, the I/O APIC, shared lines, and port and MMIO dispatch. */
#include "bus/io.h"
#include "bus/irq.h"
#include "irq/i8259.h"
#include "irq/ioapic.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

/* --- 8259 --- */

struct pic_rig {
        pthread_mutex_t lock;
        struct io_space *ports;
        struct i8259_pair *pic;
        bool intr;
};

static void
pic_intr(void *ctx, bool level)
{
        ((struct pic_rig *)ctx)->intr = level;
}

static void
out(struct pic_rig *rig, uint16_t port, uint8_t value)
{
        assert_true(io_space_write(rig->ports, port, 1, value));
}

static uint8_t
in(struct pic_rig *rig, uint16_t port)
{
        uint64_t value = 0;

        assert_true(io_space_read(rig->ports, port, 1, &value));
        return (uint8_t)value;
}

/* As Linux initialises them: vectors 0x30 and 0x38. */
static void
init_pics(struct pic_rig *rig, uint8_t icw4)
{
        out(rig, 0x20, 0x11);
        out(rig, 0x21, 0x30);
        out(rig, 0x21, 0x04);
        out(rig, 0x21, icw4);
        out(rig, 0xa0, 0x11);
        out(rig, 0xa1, 0x38);
        out(rig, 0xa1, 0x02);
        out(rig, 0xa1, 0x01);
        out(rig, 0x21, 0x00);
        out(rig, 0xa1, 0x00);
}

static int
pic_setup(void **state)
{
        static struct pic_rig rig;

        memset(&rig, 0, sizeof(rig));
        pthread_mutex_init(&rig.lock, NULL);
        if (io_space_create(&rig.lock, &rig.ports) || i8259_create(pic_intr, &rig, &rig.pic) ||
            i8259_attach(rig.pic, rig.ports))
                return -1;
        init_pics(&rig, 0x01);
        *state = &rig;
        return 0;
}

static int
pic_teardown(void **state)
{
        struct pic_rig *rig = *state;

        i8259_destroy(rig->pic);
        io_space_destroy(rig->ports);
        return 0;
}

static void
i8259_serves_by_priority_and_nests(void **state)
{
        struct pic_rig *rig = *state;

        i8259_set_irq(rig->pic, 4, true);
        assert_true(rig->intr);
        assert_int_equal(i8259_ack(rig->pic), 0x34);
        assert_false(rig->intr);
        i8259_set_irq(rig->pic, 5, true);
        assert_false(rig->intr); /* lower than the one in service */
        i8259_set_irq(rig->pic, 1, true);
        assert_true(rig->intr);
        assert_int_equal(i8259_ack(rig->pic), 0x31);
        out(rig, 0x20, 0x20);
        out(rig, 0x20, 0x20);
        assert_int_equal(i8259_ack(rig->pic), 0x35);
        out(rig, 0x20, 0x65); /* specific EOI */
        out(rig, 0x20, 0x0b);
        assert_int_equal(in(rig, 0x20), 0);
}

static void
i8259_slave_cascades(void **state)
{
        struct pic_rig *rig = *state;

        i8259_set_irq(rig->pic, 12, true);
        assert_true(rig->intr);
        assert_int_equal(i8259_ack(rig->pic), 0x3c);
        out(rig, 0xa0, 0x0b);
        assert_int_equal(in(rig, 0xa0), 0x10);
        i8259_set_irq(rig->pic, 8, true);
        assert_false(rig->intr); /* without special fully nested mode the cascade is in service */
        out(rig, 0xa0, 0x20);
        out(rig, 0x20, 0x20);
        assert_int_equal(i8259_ack(rig->pic), 0x38);
}

static void
i8259_withdrawn_request_is_spurious(void **state)
{
        struct pic_rig *rig = *state;

        i8259_set_irq(rig->pic, 3, true);
        i8259_set_irq(rig->pic, 3, false);
        assert_false(rig->intr);
        assert_int_equal(i8259_ack(rig->pic), 0x37);
}

static void
i8259_level_input_asks_again_after_eoi(void **state)
{
        struct pic_rig *rig = *state;

        out(rig, 0x4d0, 0x20);
        assert_int_equal(in(rig, 0x4d0), 0x20);
        i8259_set_irq(rig->pic, 5, true);
        assert_int_equal(i8259_ack(rig->pic), 0x35);
        out(rig, 0x20, 0x20);
        assert_true(rig->intr);
        i8259_set_irq(rig->pic, 5, false);
        assert_false(rig->intr);
        out(rig, 0x4d0, 0xff); /* IRQ 0 to 2 stay edge-triggered */
        assert_int_equal(in(rig, 0x4d0), 0xf8);
}

static void
i8259_masked_and_auto_eoi(void **state)
{
        struct pic_rig *rig = *state;

        out(rig, 0x21, 0x10);
        i8259_set_irq(rig->pic, 4, true);
        assert_false(rig->intr);
        out(rig, 0x21, 0x00);
        assert_true(rig->intr);
        init_pics(rig, 0x03);
        i8259_set_irq(rig->pic, 4, false);
        i8259_set_irq(rig->pic, 4, true);
        assert_int_equal(i8259_ack(rig->pic), 0x34);
        out(rig, 0x20, 0x0b);
        assert_int_equal(in(rig, 0x20), 0);
        out(rig, 0x20, 0x0c); /* poll */
        assert_int_equal(in(rig, 0x20), 0);
}

/* --- I/O APIC --- */

struct apic_rig {
        struct ioapic *ioapic;
        struct lapic_message last;
        unsigned sent;
};

static void
apic_send(void *ctx, unsigned pin, const struct lapic_message *m)
{
        struct apic_rig *rig = ctx;

        rig->last = *m;
        rig->sent++;
}

static int
apic_setup(void **state)
{
        static struct apic_rig rig;

        memset(&rig, 0, sizeof(rig));
        *state = &rig;
        return ioapic_create(apic_send, &rig, &rig.ioapic);
}

static int
apic_teardown(void **state)
{
        ioapic_destroy(((struct apic_rig *)*state)->ioapic);
        return 0;
}

static void
apic_write(struct apic_rig *rig, uint8_t index, uint32_t value)
{
        ioapic_io_ops.write(rig->ioapic, 0x00, 4, index);
        ioapic_io_ops.write(rig->ioapic, 0x10, 4, value);
}

static uint32_t
apic_read(struct apic_rig *rig, uint8_t index)
{
        ioapic_io_ops.write(rig->ioapic, 0x00, 4, index);
        return (uint32_t)ioapic_io_ops.read(rig->ioapic, 0x10, 4);
}

static void
ioapic_edge_sends_once_an_edge(void **state)
{
        struct apic_rig *rig = *state;

        assert_int_equal(apic_read(rig, 0x01), 0x170020);
        apic_write(rig, 0x10 + 2 * 4 + 1, 3u << 24);
        apic_write(rig, 0x10 + 2 * 4, 0x0931);
        ioapic_set_pin(rig->ioapic, 4, true);
        ioapic_set_pin(rig->ioapic, 4, true);
        assert_int_equal(rig->sent, 1);
        assert_int_equal(rig->last.vector, 0x31);
        assert_int_equal(rig->last.dest, 3);
        assert_int_equal(rig->last.mode, LAPIC_LOWEST);
        assert_true(rig->last.logical);
        ioapic_set_pin(rig->ioapic, 4, false);
        ioapic_set_pin(rig->ioapic, 4, true);
        assert_int_equal(rig->sent, 2);
}

static void
ioapic_level_waits_for_eoi(void **state)
{
        struct apic_rig *rig = *state;

        apic_write(rig, 0x10 + 2 * 16, 0x8040);
        ioapic_set_pin(rig->ioapic, 16, true);
        assert_int_equal(rig->sent, 1);
        assert_true(rig->last.level);
        assert_true(apic_read(rig, 0x10 + 2 * 16) & 0x4000);
        ioapic_eoi(rig->ioapic, 0x41); /* another vector */
        assert_int_equal(rig->sent, 1);
        ioapic_eoi(rig->ioapic, 0x40); /* still asserted */
        assert_int_equal(rig->sent, 2);
        ioapic_set_pin(rig->ioapic, 16, false);
        ioapic_io_ops.write(rig->ioapic, 0x40, 4, 0x40); /* the EOI register */
        assert_int_equal(rig->sent, 2);
        assert_false(apic_read(rig, 0x10 + 2 * 16) & 0x4000);
}

static void
ioapic_masked_level_is_sent_when_unmasked(void **state)
{
        struct apic_rig *rig = *state;

        apic_write(rig, 0x10 + 2 * 17, 0x18050);
        ioapic_set_pin(rig->ioapic, 17, true);
        assert_int_equal(rig->sent, 0);
        apic_write(rig, 0x10 + 2 * 17, 0x8050);
        assert_int_equal(rig->sent, 1);
        apic_write(rig, 0x10 + 2 * 17, 0x10050); /* to edge and back: acknowledges by hand */
        apic_write(rig, 0x10 + 2 * 17, 0x8050);
        assert_int_equal(rig->sent, 2);
}

static void
ioapic_wild_registers_are_harmless(void **state)
{
        struct apic_rig *rig = *state;

        for (unsigned i = 0; i < 256; i++)
                apic_write(rig, (uint8_t)i, 0xffffffff);
        for (unsigned i = 0; i < 256; i++)
                apic_read(rig, (uint8_t)i);
        ioapic_set_pin(rig->ioapic, 1000, true);
        assert_int_equal(apic_read(rig, 0xf0), 0xffffffff);
}

/* --- Lines --- */

struct line_rig {
        unsigned changes;
        bool level[IRQ_GSI_COUNT];
};

static void
line_changed(void *ctx, unsigned gsi, bool level)
{
        struct line_rig *rig = ctx;

        rig->changes++;
        rig->level[gsi] = level;
}

static void
no_msi(void *ctx, uint64_t address, uint32_t data)
{
}

static void
irq_line_is_asserted_while_any_source_is(void **state)
{
        static const struct irq_sink_ops ops = {.line = line_changed, .msi = no_msi};
        struct line_rig rig = {0};
        struct irq_router *router;
        struct irq_source a, b;

        assert_int_equal(irq_router_create(&ops, &rig, &router), 0);
        irq_source_init(&a, router, 16);
        irq_source_init(&b, router, 16);
        irq_line_set(&a, true);
        irq_line_set(&b, true);
        irq_line_set(&a, false);
        assert_int_equal(rig.changes, 1);
        assert_true(rig.level[16]);
        irq_source_route(&b, 17);
        assert_false(rig.level[16]);
        assert_true(rig.level[17]);
        irq_source_route(&b, IRQ_GSI_NONE);
        assert_false(rig.level[17]);
        irq_line_set(&b, false);
        irq_line_pulse(&a);
        assert_false(rig.level[16]);
        irq_router_destroy(router);
}

/* --- Dispatch --- */

static uint64_t
echo_offset(void *ctx, uint64_t offset, unsigned size)
{
        return offset | (uint64_t)size << 8;
}

static void
keep_value(void *ctx, uint64_t offset, unsigned size, uint64_t value)
{
        *(uint64_t *)ctx = value;
}

static void
io_dispatch_finds_ranges_and_refuses_overlap(void **state)
{
        static const struct io_ops ops = {.read = echo_offset, .write = keep_value};
        pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
        struct io_space *space;
        uint64_t value = 7, kept = 0;

        assert_int_equal(io_space_create(&lock, &space), 0);
        for (uint64_t base = 0x1000; base < 0x11000; base += 0x100)
                assert_int_equal(io_space_add(space, base, 0x80, &ops, &kept, 0, "test"), 0);
        assert_int_equal(io_space_add(space, 0x107f, 2, &ops, NULL, 0, "test"), -EEXIST);
        assert_int_equal(io_space_add(space, 0xfff, 2, &ops, NULL, 0, "test"), -EEXIST);
        assert_int_equal(io_space_add(space, 0x1080, 0x80, &ops, &kept, IO_UNLOCKED, "test"), 0);
        assert_int_equal(io_space_add(space, 5, 0, &ops, NULL, 0, "test"), -EINVAL);
        assert_int_equal(io_space_add(space, UINT64_MAX, 2, &ops, NULL, 0, "test"), -EINVAL);
        assert_true(io_space_read(space, 0x5042, 2, &value));
        assert_int_equal(value, 0x242);
        assert_false(io_space_read(space, 0x507f, 2, &value)); /* across the end */
        assert_false(io_space_read(space, 0x5080, 1, &value));
        assert_false(io_space_read(space, 0, 1, &value));
        assert_int_equal(value, 0x242);
        assert_true(io_space_write(space, 0x1080, 4, 99));
        assert_int_equal(kept, 99);
        io_space_remove(space, 0x5000);
        io_space_remove(space, 0x5001);
        assert_false(io_space_read(space, 0x5042, 2, &value));
        io_space_destroy(space);
}

int
main(void)
{
        const struct CMUnitTest tests[] = {
            cmocka_unit_test_setup_teardown(i8259_serves_by_priority_and_nests, pic_setup, pic_teardown),
            cmocka_unit_test_setup_teardown(i8259_slave_cascades, pic_setup, pic_teardown),
            cmocka_unit_test_setup_teardown(i8259_withdrawn_request_is_spurious, pic_setup, pic_teardown),
            cmocka_unit_test_setup_teardown(i8259_level_input_asks_again_after_eoi, pic_setup, pic_teardown),
            cmocka_unit_test_setup_teardown(i8259_masked_and_auto_eoi, pic_setup, pic_teardown),
            cmocka_unit_test_setup_teardown(ioapic_edge_sends_once_an_edge, apic_setup, apic_teardown),
            cmocka_unit_test_setup_teardown(ioapic_level_waits_for_eoi, apic_setup, apic_teardown),
            cmocka_unit_test_setup_teardown(ioapic_masked_level_is_sent_when_unmasked, apic_setup, apic_teardown),
            cmocka_unit_test_setup_teardown(ioapic_wild_registers_are_harmless, apic_setup, apic_teardown),
            cmocka_unit_test(irq_line_is_asserted_while_any_source_is),
            cmocka_unit_test(io_dispatch_finds_ranges_and_refuses_overlap),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
