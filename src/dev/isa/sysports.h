/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The single ports of a PC: 0x61 (speaker and counter 2), 0x80 and 0x84
 * (POST codes, delay), 0x92 (fast reset, A20).  Device lock held.
 */
#ifndef DEV_ISA_SYSPORTS_H
#define DEV_ISA_SYSPORTS_H

#include "bus/io.h"
#include "dev/isa/i8254.h"

struct sysports {
        struct i8254 *pit;
        void (*reset)(void *ctx);
        void *ctx;
        uint8_t port61; /* bits 1-3 as written */
        bool refresh;   /* bit 4 toggles with memory refresh */
        uint8_t port92;
};

void sysports_init(struct sysports *ports, struct i8254 *pit, void (*reset)(void *ctx), void *ctx);
void sysports_reset(struct sysports *ports);
int sysports_attach(struct sysports *ports, struct io_space *space);

#endif
