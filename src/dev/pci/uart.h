/* SPDX-License-Identifier: BSD-2-Clause */
/* A serial port on PCI: a 16550A in an I/O BAR. */
#ifndef DEV_PCI_UART_H
#define DEV_PCI_UART_H

#include "dev/device.h"

device_create_fn uart_create;

#endif
