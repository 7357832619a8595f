/* SPDX-License-Identifier: BSD-2-Clause */
/* The pcireg.* keys, with which a function's identity can be changed. */
#ifndef DEV_PCI_PCIREG_H
#define DEV_PCI_PCIREG_H

#include "bus/pci.h"
#include "config/config.h"

/* Replaces what the user gave; -EINVAL, and it has been said, for what is no 16-bit number. */
int pcireg_apply(const struct config_node *node, struct pci_ids *ids);

#endif
