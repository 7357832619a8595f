/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The fixed devices of a PC in one call: 8254, CMOS clock, HPET, ACPI
 * hardware, keyboard controller, system ports, COM and debug ports.  The interrupt
 * controllers are irq/irqchip.h's, and exist before.
 */
#ifndef DEV_ISA_PC_H
#define DEV_ISA_PC_H

#include "base/loop.h"
#include "bus/io.h"
#include "bus/irq.h"
#include "config/config.h"

#define PC_COM_COUNT 4

struct pc;
struct mc146818;

struct pc_ops {
        void (*reset)(void *ctx);    /* by keyboard controller or port 0x92 */
        void (*poweroff)(void *ctx); /* ACPI S5 */
        void (*acpi_enabled)(void *ctx, bool enabled); /* optional */
};

struct pc_config {
        struct loop *loop;
        struct io_space *ports;
        struct io_space *mmio;
        struct irq_router *irq;
        bool rtc_localtime;
        uint64_t low_bytes, high_bytes; /* RAM below and above 4 GiB */
        const char *com_path[PC_COM_COUNT]; /* NULL: no such port */
        bool bvmcons;                 /* low-level console on standard input and output */
        uint16_t bvmdebug_port;       /* TCP port of the debug port; 0: none */
        const char *bvmdebug_address; /* NULL: 127.0.0.1 */
        const struct pc_ops *ops;
        void *ctx;
};

int pc_create(const struct pc_config *config, struct pc **ret_pc, struct config_error *err);
/* Pending console output is written, terminals are put back.  Device lock held, or no other thread. */
void pc_destroy(struct pc *pc);
void pc_reset(struct pc *pc);

/* False if the guest has not enabled ACPI.  Device lock held. */
bool pc_press_power_button(struct pc *pc);
struct mc146818 *pc_rtc(struct pc *pc);

/* Port and IRQ of COM1 to COM4. */
struct pc_com {
        uint16_t port;
        uint8_t irq;
};
extern const struct pc_com pc_coms[PC_COM_COUNT];

#endif
