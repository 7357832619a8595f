/* SPDX-License-Identifier: BSD-2-Clause */
/* The 16550A as a register model. */
#include "dev/isa/ns16550.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

enum { DATA, IER, IIR, LCR, MCR, LSR, MSR, SCR, FCR = IIR };

struct rig {
        struct ns16550 uart;
        bool intr;
        unsigned edges;
        uint8_t sent[64];
        unsigned sent_count;
        unsigned takes; /* how many characters the line takes */
        uint64_t timeout_ns;
        bool dtr, rts, brk;
        unsigned ready;
};

static void
on_intr(void *ctx, bool level)
{
        struct rig *rig = ctx;

        rig->intr = level;
        rig->edges += level;
}

static size_t
on_transmit(void *ctx, const uint8_t *data, size_t len)
{
        struct rig *rig = ctx;

        if (len > rig->takes)
                len = rig->takes;
        memcpy(rig->sent + rig->sent_count, data, len);
        rig->sent_count += (unsigned)len;
        rig->takes -= (unsigned)len;
        return len;
}

static void
on_ready(void *ctx)
{
        ((struct rig *)ctx)->ready++;
}

static void
on_modem(void *ctx, bool dtr, bool rts)
{
        struct rig *rig = ctx;

        rig->dtr = dtr;
        rig->rts = rts;
}

static void
on_break(void *ctx, bool on)
{
        ((struct rig *)ctx)->brk = on;
}

static void
on_timeout(void *ctx, uint64_t ns)
{
        ((struct rig *)ctx)->timeout_ns = ns;
}

static const struct ns16550_ops ops = {
    .intr = on_intr,
    .transmit = on_transmit,
    .rx_ready = on_ready,
    .modem = on_modem,
    .send_break = on_break,
    .arm_timeout = on_timeout,
};

static int
setup(void **state)
{
        static struct rig rig;

        memset(&rig, 0, sizeof(rig));
        rig.takes = sizeof(rig.sent);
        ns16550_init(&rig.uart, &ops, &rig);
        ns16550_write(&rig.uart, MCR, 0x0b); /* DTR, RTS, OUT2 */
        *state = &rig;
        return 0;
}

static void
put(struct rig *rig, unsigned reg, uint8_t value)
{
        ns16550_write(&rig->uart, reg, value);
}

static uint8_t
get(struct rig *rig, unsigned reg)
{
        return ns16550_read(&rig->uart, reg);
}

static void
receive(struct rig *rig, const char *text)
{
        for (; *text; text++)
                ns16550_receive(&rig->uart, (uint8_t)*text);
}

static void
ns16550_is_recognised_as_16550a(void **state)
{
        struct rig *rig = *state;

        put(rig, FCR, 0x01);
        assert_int_equal(get(rig, IIR) & 0xc0, 0xc0);
        put(rig, FCR, 0x00);
        assert_int_equal(get(rig, IIR) & 0xc0, 0);
        put(rig, SCR, 0xa5);
        assert_int_equal(get(rig, SCR), 0xa5);
        put(rig, LCR, 0x83);
        put(rig, DATA, 0x01);
        put(rig, IER, 0x02);
        assert_int_equal(get(rig, DATA), 0x01);
        assert_int_equal(get(rig, IER), 0x02);
        put(rig, LCR, 0x03);
        assert_int_equal(get(rig, IER), 0);
        put(rig, IER, 0xff);
        assert_int_equal(get(rig, IER), 0x0f);
        assert_int_equal(rig->sent_count, 0);
}

static void
ns16550_loopback_mirrors_modem_lines_and_data(void **state)
{
        struct rig *rig = *state;

        ns16550_set_lines(&rig->uart, true, true, true);
        put(rig, MCR, 0x1a); /* loop, RTS, OUT2 */
        assert_int_equal(get(rig, MSR) & 0xf0, 0x90);
        put(rig, DATA, 'x');
        assert_int_equal(rig->sent_count, 0);
        assert_true(get(rig, LSR) & 1);
        assert_int_equal(get(rig, DATA), 'x');
        assert_int_equal(ns16550_rx_room(&rig->uart), 0); /* the line is cut off */
        put(rig, MCR, 0x0b);
        assert_int_equal(get(rig, MSR) & 0xf0, 0xb0);
}

static void
ns16550_transmit_interrupt_follows_enable_and_empty(void **state)
{
        struct rig *rig = *state;

        put(rig, IER, 0x02);
        assert_true(rig->intr); /* empty already */
        assert_int_equal(get(rig, IIR), 0x02);
        assert_false(rig->intr);
        assert_int_equal(get(rig, IIR), 0x01);
        put(rig, DATA, 'a');
        assert_true(rig->intr);
        assert_int_equal(rig->sent[0], 'a');
        assert_int_equal(get(rig, LSR) & 0x60, 0x60);
}

static void
ns16550_full_line_holds_transmitter(void **state)
{
        struct rig *rig = *state;

        put(rig, FCR, 0x01);
        rig->takes = 0;
        for (int i = 0; i < 16; i++)
                put(rig, DATA, (uint8_t)('a' + i));
        assert_int_equal(get(rig, LSR) & 0x60, 0);
        rig->takes = 10;
        ns16550_tx_ready(&rig->uart);
        assert_int_equal(get(rig, LSR) & 0x60, 0);
        rig->takes = 10;
        ns16550_tx_ready(&rig->uart);
        assert_int_equal(get(rig, LSR) & 0x60, 0x60);
        assert_int_equal(rig->sent_count, 16);
        assert_memory_equal(rig->sent, "abcdefghijklmnop", 16);
}

static void
ns16550_trigger_level_and_timeout(void **state)
{
        struct rig *rig = *state;

        put(rig, LCR, 0x80);
        put(rig, DATA, 1); /* 115200 */
        put(rig, LCR, 0x03);
        put(rig, FCR, 0x81); /* 8 characters */
        put(rig, IER, 0x01);
        receive(rig, "1234567");
        assert_false(rig->intr);
        assert_in_range(rig->timeout_ns, 340000, 350000); /* four characters */
        ns16550_rx_timeout(&rig->uart);
        assert_int_equal(get(rig, IIR), 0xcc);
        assert_int_equal(get(rig, DATA), '1');
        assert_false(rig->intr);
        receive(rig, "89");
        assert_int_equal(get(rig, IIR), 0xc4);
        assert_int_equal(rig->timeout_ns, 0);
        for (char c = '2'; c <= '9'; c++)
                assert_int_equal(get(rig, DATA), c);
        assert_false(rig->intr);
        assert_int_equal(get(rig, LSR) & 1, 0);
        assert_int_equal(rig->ready, 2); /* once by FCR, once when drained */
}

static void
ns16550_overrun_is_told_once(void **state)
{
        struct rig *rig = *state;

        put(rig, IER, 0x05);
        receive(rig, "ab");
        assert_int_equal(get(rig, IIR), 0x06);
        assert_int_equal(get(rig, LSR) & 0x1f, 0x03);
        assert_int_equal(get(rig, LSR) & 0x1f, 0x01);
        assert_int_equal(get(rig, DATA), 'a');
        put(rig, FCR, 0x01);
        receive(rig, "0123456789abcdefX");
        assert_true(get(rig, LSR) & 0x02);
        for (int i = 0; i < 16; i++)
                assert_int_equal(get(rig, DATA), "0123456789abcdef"[i]);
        assert_int_equal(get(rig, DATA), 0);
}

static void
ns16550_break_is_received_in_its_place(void **state)
{
        struct rig *rig = *state;

        put(rig, FCR, 0x01);
        put(rig, IER, 0x05);
        receive(rig, "a");
        ns16550_receive_break(&rig->uart);
        assert_int_equal(get(rig, LSR) & 0x91, 0x81); /* somewhere in the FIFO, not at its head */
        assert_int_equal(get(rig, DATA), 'a');
        assert_int_equal(get(rig, IIR), 0xc6);
        assert_int_equal(get(rig, LSR) & 0x91, 0x91);
        assert_int_equal(get(rig, DATA), 0);
        assert_int_equal(get(rig, LSR) & 0x91, 0);
        put(rig, LCR, 0x43);
        assert_true(rig->brk);
        put(rig, LCR, 0x03);
        assert_false(rig->brk);
}

static void
ns16550_modem_status_interrupt(void **state)
{
        struct rig *rig = *state;

        put(rig, IER, 0x08);
        ns16550_set_lines(&rig->uart, true, false, true);
        assert_true(rig->intr);
        assert_int_equal(get(rig, IIR), 0x00);
        assert_int_equal(get(rig, MSR), 0x99);
        assert_false(rig->intr);
        assert_int_equal(get(rig, MSR), 0x90);
        assert_true(rig->dtr && rig->rts);
        put(rig, MCR, 0x08);
        assert_false(rig->dtr || rig->rts);
}

static void
ns16550_out2_gates_the_interrupt(void **state)
{
        struct rig *rig = *state;

        put(rig, MCR, 0x03);
        put(rig, IER, 0x01);
        receive(rig, "a");
        assert_false(rig->intr);
        put(rig, MCR, 0x0b);
        assert_true(rig->intr);
        ns16550_reset(&rig->uart);
        assert_false(rig->intr);
        assert_int_equal(get(rig, LSR), 0x60);
}

int
main(void)
{
        const struct CMUnitTest tests[] = {
            cmocka_unit_test_setup(ns16550_is_recognised_as_16550a, setup),
            cmocka_unit_test_setup(ns16550_loopback_mirrors_modem_lines_and_data, setup),
            cmocka_unit_test_setup(ns16550_transmit_interrupt_follows_enable_and_empty, setup),
            cmocka_unit_test_setup(ns16550_full_line_holds_transmitter, setup),
            cmocka_unit_test_setup(ns16550_trigger_level_and_timeout, setup),
            cmocka_unit_test_setup(ns16550_overrun_is_told_once, setup),
            cmocka_unit_test_setup(ns16550_break_is_received_in_its_place, setup),
            cmocka_unit_test_setup(ns16550_modem_status_interrupt, setup),
            cmocka_unit_test_setup(ns16550_out2_gates_the_interrupt, setup),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
