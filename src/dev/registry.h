/* SPDX-License-Identifier: BSD-2-Clause */
/* The table of PCI emulations that -s names. */
#ifndef DEV_REGISTRY_H
#define DEV_REGISTRY_H

#include "dev/device.h"

struct device_emulation {
        const char *name;
        device_create_fn *create;
};

/* NULL if there is none of that name. */
const struct device_emulation *device_find(const char *name);
/* The table's entries in order; NULL behind the last. */
const struct device_emulation *device_at(size_t index);

#endif
