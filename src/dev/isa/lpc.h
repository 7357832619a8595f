/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The PCI-ISA bridge, 8086:7000 (PIIX3), as far as guests use it: the PIRQ
 * routing registers 0x60-0x63 and 0x68-0x6b.  What is behind it is in pc.h.
 */
#ifndef DEV_ISA_LPC_H
#define DEV_ISA_LPC_H

#include "dev/device.h"

device_create_fn lpc_create;

/* True for the bridge; so the tables know in which slot the PIRQ registers are. */
bool lpc_is(const struct pci_device *dev);

/* The offset of PIRQ @pirq's register in config space, and the ISA IRQs it may be given. */
unsigned lpc_pirq_register(unsigned pirq);
#define LPC_PIRQ_IRQS (1u << 5 | 1u << 10 | 1u << 11)

#endif
