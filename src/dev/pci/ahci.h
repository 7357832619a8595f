/* SPDX-License-Identifier: BSD-2-Clause */
/* The AHCI controller with its disks and CD drives. */
#ifndef DEV_PCI_AHCI_H
#define DEV_PCI_AHCI_H

#include "dev/device.h"

/* For "ahci", "ahci-hd" and "ahci-cd": they differ in the type of a port that does not say its own. */
device_create_fn ahci_create;
device_create_fn ahci_create_hd;
device_create_fn ahci_create_cd;

#endif
