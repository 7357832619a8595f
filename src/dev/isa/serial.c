/* SPDX-License-Identifier: BSD-2-Clause */
#include "dev/isa/serial.h"

#include "dev/isa/ns16550.h"

#include <errno.h>
#include <stdlib.h>

#define REG_MSR 6

struct serial {
        struct ns16550 uart;
        struct chardev *chardev;
        struct loop_timer *timeout;
        serial_intr_fn *intr;
        void *ctx;
};

static void
uart_intr(void *ctx, bool level)
{
        struct serial *serial = ctx;

        serial->intr(serial->ctx, level);
}

static size_t
uart_transmit(void *ctx, const uint8_t *data, size_t len)
{
        struct serial *serial = ctx;

        return serial->chardev ? chardev_write(serial->chardev, data, len) : len;
}

static void
uart_rx_ready(void *ctx)
{
        struct serial *serial = ctx;

        if (serial->chardev)
                chardev_resume(serial->chardev);
}

static void
uart_arm_timeout(void *ctx, uint64_t ns)
{
        struct serial *serial = ctx;

        if (ns)
                loop_timer_arm(serial->timeout, loop_now_ns() + ns);
        else
                loop_timer_cancel(serial->timeout);
}

static const struct ns16550_ops uart_ops = {
    .intr = uart_intr,
    .transmit = uart_transmit,
    .rx_ready = uart_rx_ready,
    .arm_timeout = uart_arm_timeout,
};

static size_t
line_room(void *ctx)
{
        struct serial *serial = ctx;

        return ns16550_rx_room(&serial->uart);
}

static void
line_input(void *ctx, const uint8_t *data, size_t len)
{
        struct serial *serial = ctx;

        for (size_t i = 0; i < len; i++)
                ns16550_receive(&serial->uart, data[i]);
}

static void
line_writable(void *ctx)
{
        struct serial *serial = ctx;

        ns16550_tx_ready(&serial->uart);
}

/* DTR of the other side is our DSR and DCD; it never holds us off by CTS. */
static void
line_carrier(void *ctx, bool up)
{
        struct serial *serial = ctx;

        ns16550_set_lines(&serial->uart, true, up, up);
}

static const struct chardev_handler line_handler = {
    .room = line_room,
    .input = line_input,
    .writable = line_writable,
    .carrier = line_carrier,
};

static void
timeout_fired(void *ctx)
{
        struct serial *serial = ctx;

        ns16550_rx_timeout(&serial->uart);
}

int
serial_create(struct loop *loop, struct chardev *chardev, serial_intr_fn *intr, void *ctx,
    struct serial **ret_serial)
{
        struct serial *serial = calloc(1, sizeof(*serial));
        int error;

        if (!serial)
                return -ENOMEM;
        error = loop_timer_create(loop, timeout_fired, serial, &serial->timeout);
        if (error) {
                free(serial);
                return error;
        }
        serial->intr = intr;
        serial->ctx = ctx;
        serial->chardev = chardev;
        ns16550_init(&serial->uart, &uart_ops, serial);
        line_carrier(serial, !chardev || chardev_carrier(chardev));
        ns16550_read(&serial->uart, REG_MSR); /* power-on: no change is pending */
        if (chardev)
                chardev_set_handler(chardev, &line_handler, serial);
        *ret_serial = serial;
        return 0;
}

void
serial_destroy(struct serial *serial)
{
        if (!serial)
                return;
        chardev_close(serial->chardev);
        loop_timer_destroy(serial->timeout);
        free(serial);
}

void
serial_reset(struct serial *serial)
{
        ns16550_reset(&serial->uart);
}

/* Wider accesses than a byte reach the registers in turn, as on an 8-bit bus. */
static uint64_t
serial_read(void *ctx, uint64_t offset, unsigned size)
{
        struct serial *serial = ctx;
        uint64_t value = 0;

        for (unsigned i = 0; i < size; i++)
                value |= (uint64_t)ns16550_read(&serial->uart, (unsigned)offset + i) << (8 * i);
        return value;
}

static void
serial_write(void *ctx, uint64_t offset, unsigned size, uint64_t value)
{
        struct serial *serial = ctx;

        for (unsigned i = 0; i < size; i++)
                ns16550_write(&serial->uart, (unsigned)offset + i, (uint8_t)(value >> (8 * i)));
}

const struct io_ops serial_io_ops = {
    .read = serial_read,
    .write = serial_write,
};
