/* SPDX-License-Identifier: BSD-2-Clause */
#include "dev/registry.h"
#include "base/util.h"
#include "dev/isa/lpc.h"
#include "dev/pci/ahci.h"
#include "dev/pci/e1000.h"
#include "dev/pci/hostbridge.h"
#include "dev/pci/uart.h"
#include "dev/virtio/blk.h"
#include "dev/virtio/console.h"
#include "dev/virtio/net.h"
#include "dev/virtio/rnd.h"

#include <string.h>

/* Help texts and option lists are the configuration schema's (config/schema.h). */
static const struct device_emulation device_table[] = {
        { "hostbridge", hostbridge_create },
        { "amd_hostbridge", amd_hostbridge_create },
        { "lpc", lpc_create },
        { "uart", uart_create },
        { "ahci", ahci_create },
        { "ahci-hd", ahci_create_hd },
        { "ahci-cd", ahci_create_cd },
        { "virtio-blk", virtio_blk_create_pci },
        { "virtio-console", virtio_console_create_pci },
        { "virtio-net", virtio_net_create_pci },
        { "e1000", e1000_create },
        { "virtio-rnd", virtio_rnd_create_pci },
};

const struct device_emulation *
device_at(size_t index)
{
        return index < ARRAY_LEN(device_table) ? &device_table[index] : NULL;
}

const struct device_emulation *
device_find(const char *name)
{
        const struct device_emulation *e;

        for (size_t i = 0; (e = device_at(i)) != NULL; i++)
                if (strcmp(e->name, name) == 0)
                        return e;
        return NULL;
}
