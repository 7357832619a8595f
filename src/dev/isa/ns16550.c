/* SPDX-License-Identifier: BSD-2-Clause */
#include "dev/isa/ns16550.h"

#include "base/util.h"

#include <string.h>

enum { REG_DATA, REG_IER, REG_IIR_FCR, REG_LCR, REG_MCR, REG_LSR, REG_MSR, REG_SCR };

#define IER_RX   0x01u
#define IER_TX   0x02u
#define IER_LSR  0x04u
#define IER_MSR  0x08u
#define IER_MASK 0x0fu

#define IIR_MSR     0x00u
#define IIR_NONE    0x01u
#define IIR_TX      0x02u
#define IIR_RX      0x04u
#define IIR_LSR     0x06u
#define IIR_TIMEOUT 0x0cu
#define IIR_FIFO    0xc0u

#define FCR_ENABLE   0x01u
#define FCR_RX_RESET 0x02u
#define FCR_TX_RESET 0x04u
#define FCR_DMA      0x08u
#define FCR_TRIGGER  0xc0u

#define LCR_8N1   0x03u
#define LCR_BREAK 0x40u
#define LCR_DLAB  0x80u

#define MCR_DTR  0x01u
#define MCR_RTS  0x02u
#define MCR_OUT1 0x04u
#define MCR_OUT2 0x08u
#define MCR_LOOP 0x10u
#define MCR_MASK 0x1fu

#define LSR_DR     0x01u
#define LSR_OE     0x02u
#define LSR_BI     0x10u
#define LSR_THRE   0x20u
#define LSR_TEMT   0x40u
#define LSR_FIFO   0x80u
#define LSR_ERRORS 0x1eu

#define MSR_DCTS   0x01u
#define MSR_DDSR   0x02u
#define MSR_TERI   0x04u
#define MSR_DDCD   0x08u
#define MSR_DELTAS 0x0fu
#define MSR_CTS    0x10u
#define MSR_DSR    0x20u
#define MSR_RI     0x40u
#define MSR_DCD    0x80u

#define CLOCK_HZ 1843200u

static bool
has_fifo(const struct ns16550 *u)
{
        return u->fcr & FCR_ENABLE;
}

static unsigned
rx_capacity(const struct ns16550 *u)
{
        return has_fifo(u) ? NS16550_FIFO_LEN : 1;
}

static unsigned
rx_trigger(const struct ns16550 *u)
{
        static const uint8_t levels[] = {1, 4, 8, 14};

        return has_fifo(u) ? levels[u->fcr >> 6] : 1;
}

/* Data sheet table IV: the sources in order of priority. */
static uint8_t
interrupt_id(const struct ns16550 *u)
{
        if ((u->ier & IER_LSR) && (u->lsr & LSR_ERRORS))
                return IIR_LSR;
        if ((u->ier & IER_RX) && u->rx_count >= rx_trigger(u))
                return IIR_RX;
        if ((u->ier & IER_RX) && u->timeout_pending)
                return IIR_TIMEOUT;
        if ((u->ier & IER_TX) && u->thre_pending)
                return IIR_TX;
        if ((u->ier & IER_MSR) && (u->msr & MSR_DELTAS))
                return IIR_MSR;
        return IIR_NONE;
}

/* On a PC, OUT2 connects the interrupt output to the bus. */
static void
update_intr(struct ns16550 *u)
{
        bool level = interrupt_id(u) != IIR_NONE && (u->mcr & MCR_OUT2);

        if (level == u->level)
                return;
        u->level = level;
        u->ops->intr(u->ctx, level);
}

/* --- Receiver --- */

static bool
rx_has_errors(const struct ns16550 *u)
{
        for (unsigned i = 0; i < u->rx_count; i++) {
                if (u->rx[(u->rx_head + i) % NS16550_FIFO_LEN].errors)
                        return true;
        }
        return false;
}

/* Error bits show with the character that is next to be read. */
static void
show_rx(struct ns16550 *u)
{
        u->lsr &= (uint8_t) ~(LSR_DR | LSR_FIFO);
        if (u->rx_count)
                u->lsr |= LSR_DR | u->rx[u->rx_head].errors;
        if (has_fifo(u) && rx_has_errors(u))
                u->lsr |= LSR_FIFO;
}

/* Four characters of 10 bits (data sheet, FIFO interrupt mode). */
static uint64_t
timeout_ns(const struct ns16550 *u)
{
        unsigned divisor = u->dll | (unsigned)u->dlm << 8;

        return 40ull * 16 * (divisor ? divisor : 1) * NSEC_PER_SEC / CLOCK_HZ;
}

/* It runs only while it could tell the guest something new. */
static void
restart_timeout(struct ns16550 *u)
{
        bool wanted = u->rx_count && has_fifo(u) && u->rx_count < rx_trigger(u);

        u->timeout_pending = false;
        u->ops->arm_timeout(u->ctx, wanted ? timeout_ns(u) : 0);
}

static void
push_rx(struct ns16550 *u, uint8_t data, uint8_t errors)
{
        if (u->rx_count >= rx_capacity(u)) {
                u->lsr |= LSR_OE;
                update_intr(u);
                return;
        }
        u->rx[(u->rx_head + u->rx_count) % NS16550_FIFO_LEN] = (struct ns16550_rx){data, errors};
        u->rx_count++;
        show_rx(u);
        restart_timeout(u);
        update_intr(u);
}

size_t
ns16550_rx_room(const struct ns16550 *u)
{
        if (u->mcr & MCR_LOOP)
                return 0;
        return rx_capacity(u) - u->rx_count;
}

void
ns16550_receive(struct ns16550 *u, uint8_t data)
{
        if (!(u->mcr & MCR_LOOP))
                push_rx(u, data, 0);
}

void
ns16550_receive_break(struct ns16550 *u)
{
        if (!(u->mcr & MCR_LOOP))
                push_rx(u, 0, LSR_BI);
}

void
ns16550_rx_timeout(struct ns16550 *u)
{
        if (!u->rx_count || !has_fifo(u))
                return;
        u->timeout_pending = true;
        update_intr(u);
}

static uint8_t
read_data(struct ns16550 *u)
{
        uint8_t data;

        if (!u->rx_count)
                return 0;
        data = u->rx[u->rx_head].data;
        u->rx_head = (u->rx_head + 1) % NS16550_FIFO_LEN;
        u->rx_count--;
        show_rx(u);
        restart_timeout(u);
        update_intr(u);
        /* More is asked for when the FIFO is empty, so that a burst comes as one. */
        if (!u->rx_count)
                u->ops->rx_ready(u->ctx);
        return data;
}

static void
clear_rx(struct ns16550 *u)
{
        u->rx_head = u->rx_count = 0;
        show_rx(u);
        restart_timeout(u);
}

/* --- Transmitter --- */

static void
transmitter_empty(struct ns16550 *u)
{
        u->tx_count = 0;
        u->lsr |= LSR_THRE | LSR_TEMT;
        u->thre_pending = true;
}

static void
push_tx(struct ns16550 *u)
{
        size_t sent = u->ops->transmit(u->ctx, u->tx, u->tx_count);

        memmove(u->tx, u->tx + sent, u->tx_count - sent);
        u->tx_count -= (unsigned)sent;
        if (!u->tx_count)
                transmitter_empty(u);
}

void
ns16550_tx_ready(struct ns16550 *u)
{
        if (!u->tx_count)
                return;
        push_tx(u);
        update_intr(u);
}

static void
write_data(struct ns16550 *u, uint8_t data)
{
        if (u->mcr & MCR_LOOP) {
                push_rx(u, data, 0);
                u->thre_pending = true;
                update_intr(u);
                return;
        }
        if (u->tx_count == (has_fifo(u) ? NS16550_FIFO_LEN : 1))
                u->tx_count--; /* overrun: the last character is overwritten */
        u->tx[u->tx_count++] = data;
        u->lsr &= (uint8_t) ~(LSR_THRE | LSR_TEMT);
        u->thre_pending = false;
        push_tx(u);
        update_intr(u);
}

/* --- Modem lines --- */

/* In loop-back the outputs are the inputs (data sheet 8.7). */
static uint8_t
line_state(const struct ns16550 *u)
{
        uint8_t state = 0;

        if (!(u->mcr & MCR_LOOP))
                return u->inputs;
        state |= u->mcr & MCR_RTS ? MSR_CTS : 0;
        state |= u->mcr & MCR_DTR ? MSR_DSR : 0;
        state |= u->mcr & MCR_OUT1 ? MSR_RI : 0;
        state |= u->mcr & MCR_OUT2 ? MSR_DCD : 0;
        return state;
}

static void
update_lines(struct ns16550 *u)
{
        uint8_t old = u->msr & (uint8_t)~MSR_DELTAS, now = line_state(u);
        uint8_t changed = old ^ now;

        u->msr = now | (u->msr & MSR_DELTAS);
        u->msr |= changed >> 4 & (MSR_DCTS | MSR_DDSR | MSR_DDCD);
        if ((changed & MSR_RI) && !(now & MSR_RI))
                u->msr |= MSR_TERI;
        update_intr(u);
}

void
ns16550_set_lines(struct ns16550 *u, bool cts, bool dsr, bool dcd)
{
        u->inputs = (uint8_t)((cts ? MSR_CTS : 0) | (dsr ? MSR_DSR : 0) | (dcd ? MSR_DCD : 0));
        update_lines(u);
}

static uint8_t
read_msr(struct ns16550 *u)
{
        uint8_t value = u->msr;

        u->msr &= (uint8_t)~MSR_DELTAS;
        update_intr(u);
        return value;
}

static void
write_mcr(struct ns16550 *u, uint8_t value)
{
        uint8_t old = u->mcr;

        u->mcr = value & MCR_MASK;
        if (((old ^ u->mcr) & (MCR_DTR | MCR_RTS)) && !(u->mcr & MCR_LOOP) && u->ops->modem)
                u->ops->modem(u->ctx, u->mcr & MCR_DTR, u->mcr & MCR_RTS);
        update_lines(u);
        if ((old & MCR_LOOP) && !(u->mcr & MCR_LOOP))
                u->ops->rx_ready(u->ctx);
}

/* --- The rest --- */

static uint8_t
read_iir(struct ns16550 *u)
{
        uint8_t id = interrupt_id(u);

        if (id == IIR_TX) {
                u->thre_pending = false;
                update_intr(u);
        }
        return id | (has_fifo(u) ? IIR_FIFO : 0);
}

static uint8_t
read_lsr(struct ns16550 *u)
{
        uint8_t value = u->lsr;

        u->lsr &= (uint8_t)~LSR_ERRORS;
        if (u->rx_count)
                u->rx[u->rx_head].errors = 0;
        show_rx(u);
        update_intr(u);
        return value;
}

static void
write_ier(struct ns16550 *u, uint8_t value)
{
        value &= IER_MASK;
        /* Enabling "transmitter empty" while it is empty asks at once. */
        if ((value & ~u->ier & IER_TX) && (u->lsr & LSR_THRE))
                u->thre_pending = true;
        u->ier = value;
        update_intr(u);
}

static void
write_fcr(struct ns16550 *u, uint8_t value)
{
        bool toggled = (value ^ u->fcr) & FCR_ENABLE;

        if (((value & FCR_TX_RESET) || toggled) && u->tx_count)
                transmitter_empty(u);
        u->fcr = value & FCR_ENABLE ? value & (FCR_ENABLE | FCR_DMA | FCR_TRIGGER) : 0;
        if ((value & FCR_RX_RESET) || toggled)
                clear_rx(u);
        update_intr(u);
        if (ns16550_rx_room(u))
                u->ops->rx_ready(u->ctx);
}

static void
write_lcr(struct ns16550 *u, uint8_t value)
{
        bool changed = (value ^ u->lcr) & LCR_BREAK;

        u->lcr = value;
        if (changed && u->ops->send_break)
                u->ops->send_break(u->ctx, value & LCR_BREAK);
}

uint8_t
ns16550_read(struct ns16550 *u, unsigned reg)
{
        switch (reg & 7) {
        case REG_DATA:
                return u->lcr & LCR_DLAB ? u->dll : read_data(u);
        case REG_IER:
                return u->lcr & LCR_DLAB ? u->dlm : u->ier;
        case REG_IIR_FCR:
                return read_iir(u);
        case REG_LCR:
                return u->lcr;
        case REG_MCR:
                return u->mcr;
        case REG_LSR:
                return read_lsr(u);
        case REG_MSR:
                return read_msr(u);
        default:
                return u->scr;
        }
}

void
ns16550_write(struct ns16550 *u, unsigned reg, uint8_t value)
{
        switch (reg & 7) {
        case REG_DATA:
                if (u->lcr & LCR_DLAB)
                        u->dll = value;
                else
                        write_data(u, value);
                break;
        case REG_IER:
                if (u->lcr & LCR_DLAB)
                        u->dlm = value;
                else
                        write_ier(u, value);
                break;
        case REG_IIR_FCR:
                write_fcr(u, value);
                break;
        case REG_LCR:
                write_lcr(u, value);
                break;
        case REG_MCR:
                write_mcr(u, value);
                break;
        case REG_SCR:
                u->scr = value;
                break;
        default: /* LSR and MSR: factory test only */
                break;
        }
}

/* 9600 8N1, as firmware leaves it: FreeBSD takes its console's speed from there. */
static void
set_defaults(struct ns16550 *u)
{
        u->lcr = LCR_8N1;
        u->dll = CLOCK_HZ / 16 / 9600;
        u->dlm = 0;
        u->lsr = LSR_THRE | LSR_TEMT;
}

void
ns16550_init(struct ns16550 *u, const struct ns16550_ops *ops, void *ctx)
{
        memset(u, 0, sizeof(*u));
        u->ops = ops;
        u->ctx = ctx;
        set_defaults(u);
}

/* Data sheet table I, and set_defaults. */
void
ns16550_reset(struct ns16550 *u)
{
        u->ier = u->fcr = u->mcr = u->scr = 0;
        u->tx_count = 0;
        u->thre_pending = false;
        set_defaults(u);
        clear_rx(u);
        u->msr = u->inputs;
        update_intr(u);
        if (u->ops->modem)
                u->ops->modem(u->ctx, false, false);
        u->ops->rx_ready(u->ctx);
}
