/* SPDX-License-Identifier: BSD-2-Clause */
/* The host bridge, 1275:1275, or 1022:7432 as amd_hostbridge: an identity and nothing behind it. */
#ifndef DEV_PCI_HOSTBRIDGE_H
#define DEV_PCI_HOSTBRIDGE_H

#include "dev/device.h"

device_create_fn hostbridge_create;
device_create_fn amd_hostbridge_create;

#endif
