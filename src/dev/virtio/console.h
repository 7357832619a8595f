/* SPDX-License-Identifier: BSD-2-Clause */
/* The virtio console: named ports between guest and Unix sockets of the host. */
#ifndef DEV_VIRTIO_CONSOLE_H
#define DEV_VIRTIO_CONSOLE_H

#include "dev/device.h"

device_create_fn virtio_console_create_pci;

#endif
