/* SPDX-License-Identifier: BSD-2-Clause */
/* Intel 82545EM network interface (PCI 8086:100f), which Linux's e1000 and FreeBSD's em drive. */
#ifndef DEV_PCI_E1000_H
#define DEV_PCI_E1000_H

#include "dev/device.h"

device_create_fn e1000_create;

#endif
