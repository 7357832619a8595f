/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * bhyve's own character ports: the low-level console at 0x220 (bvmcons) and
 * the debug port at 0x224 (bvmdebug), which FreeBSD's kernel debugger speaks
 * gdb's protocol on.  A 16-bit read is a signature, a 32-bit write sends the
 * low byte, a 32-bit read takes one or gives -1.  Device lock held.
 *
 * What is written while no debugger is attached waits for it, and reads give
 * -1, which a guest polls; so no vCPU is ever held in the port.
 */
#ifndef DEV_ISA_BVM_H
#define DEV_ISA_BVM_H

#include "backend/char/chardev.h"
#include "bus/io.h"

#define BVM_CONSOLE_PORT      0x220
#define BVM_CONSOLE_SIGNATURE 0x6276u
#define BVM_DEBUG_PORT        0x224
#define BVM_DEBUG_SIGNATURE   0x4256u
#define BVM_PORT_LEN          4

struct bvm;

/* @chardev becomes the port's to close.  @waiting: said once while nobody is attached; NULL: nothing. */
int bvm_create(struct chardev *chardev, uint16_t signature, const char *waiting, struct bvm **ret_bvm);
void bvm_destroy(struct bvm *bvm);

extern const struct io_ops bvm_io_ops; /* ctx: struct bvm */

#endif
