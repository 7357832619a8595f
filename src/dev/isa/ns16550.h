/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * 16550A UART as a pure register model (National Semiconductor PC16550D data
 * sheet): no clock, no descriptors, no I/O space.  The owner gives callbacks
 * for what leaves the chip, and calls in with what arrives.
 */
#ifndef DEV_ISA_NS16550_H
#define DEV_ISA_NS16550_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define NS16550_FIFO_LEN 16u
#define NS16550_PORTS    8u

struct ns16550_ops {
        /* The interrupt output. */
        void (*intr)(void *ctx, bool level);
        /* Takes characters off the transmitter; returns how many (fewer: call ns16550_tx_ready later). */
        size_t (*transmit)(void *ctx, const uint8_t *data, size_t len);
        /* The receiver has room again. */
        void (*rx_ready)(void *ctx);
        /* Modem outputs changed; optional. */
        void (*modem)(void *ctx, bool dtr, bool rts);
        /* The guest holds the line in break, or lets go; optional. */
        void (*send_break)(void *ctx, bool on);
        /* Call ns16550_rx_timeout after @ns unless armed again; 0 cancels. */
        void (*arm_timeout)(void *ctx, uint64_t ns);
};

struct ns16550_rx {
        uint8_t data;
        uint8_t errors; /* LSR bits that belong to it */
};

struct ns16550 {
        const struct ns16550_ops *ops;
        void *ctx;
        uint8_t ier, fcr, lcr, mcr, lsr, msr, scr, dll, dlm;
        struct ns16550_rx rx[NS16550_FIFO_LEN];
        unsigned rx_head, rx_count;
        uint8_t tx[NS16550_FIFO_LEN];
        unsigned tx_count;
        uint8_t inputs;    /* MSR bits 4-7 of the line itself */
        bool thre_pending; /* "transmitter empty" not yet read from IIR */
        bool timeout_pending;
        bool level;
};

void ns16550_init(struct ns16550 *uart, const struct ns16550_ops *ops, void *ctx);
/* MR input; the modem lines of the other side stay. */
void ns16550_reset(struct ns16550 *uart);

uint8_t ns16550_read(struct ns16550 *uart, unsigned reg);
void ns16550_write(struct ns16550 *uart, unsigned reg, uint8_t value);

/* Characters from the line: how many fit, and one. */
size_t ns16550_rx_room(const struct ns16550 *uart);
void ns16550_receive(struct ns16550 *uart, uint8_t data);
void ns16550_receive_break(struct ns16550 *uart);
void ns16550_rx_timeout(struct ns16550 *uart);
void ns16550_tx_ready(struct ns16550 *uart);
/* CTS, DSR and DCD of the other side. */
void ns16550_set_lines(struct ns16550 *uart, bool cts, bool dsr, bool dcd);

#endif
