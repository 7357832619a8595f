/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The test device that processor test suites talk to (-l pc-testdev), and the
 * few firmware-configuration keys that they read (-l fwcfg,qemu).
 *
 *   0xe0-0xe3     latches: what was written is read
 *   0xe4          takes what a test flushes; no effect
 *   0xf4          a write of CODE ends the process with status CODE << 1 | 1
 *   0x2000-0x2017 bit 0 is the level of interrupt line 0-23
 *   0xff000000    64 KiB of device memory
 *   0x510, 0x511  fw_cfg selector and data
 */
#ifndef DEV_ISA_PC_TESTDEV_H
#define DEV_ISA_PC_TESTDEV_H

#include "bus/io.h"
#include "bus/irq.h"

struct pc_testdev;

struct pc_testdev_config {
        struct io_space *ports;
        struct io_space *mmio;
        struct irq_router *irq;
        bool device;
        bool fwcfg;
        unsigned cpus;
        uint64_t ram_bytes;
        void (*exit)(void *ctx, uint8_t status);
        void *ctx;
};

int pc_testdev_create(const struct pc_testdev_config *config, struct pc_testdev **ret_dev);
void pc_testdev_destroy(struct pc_testdev *dev);

#endif
