/* SPDX-License-Identifier: BSD-2-Clause */
#include "dev/pci/pcireg.h"

#include "base/log.h"

#include <errno.h>
#include <stdlib.h>

/* *ret_value is untouched where the key is not set. */
static int
get(const struct config_node *node, const char *key, unsigned long limit, unsigned long *ret_value)
{
        const char *text = config_node_get(node, key);
        unsigned long value;
        char *end;

        if (!text)
                return 0;
        errno = 0;
        value = strtoul(text, &end, 0);
        if (errno || end == text || *end || value > limit) {
                log_error("%s.%s: '%s' is not a number up to %#lx", node->prefix, key, text, limit);
                return -EINVAL;
        }
        *ret_value = value;
        return 0;
}

int
pcireg_apply(const struct config_node *node, struct pci_ids *ids)
{
        unsigned long vendor = ids->vendor, device = ids->device, revision = ids->revision;
        unsigned long subvendor = ids->subvendor, subdevice = ids->subdevice;

        if (get(node, "pcireg.vendor", 0xffff, &vendor) || get(node, "pcireg.device", 0xffff, &device) ||
            get(node, "pcireg.revid", 0xff, &revision) ||
            get(node, "pcireg.subvendor", 0xffff, &subvendor) ||
            get(node, "pcireg.subdevice", 0xffff, &subdevice))
                return -EINVAL;
        ids->vendor = (uint16_t)vendor;
        ids->device = (uint16_t)device;
        ids->revision = (uint8_t)revision;
        ids->subvendor = (uint16_t)subvendor;
        ids->subdevice = (uint16_t)subdevice;
        return 0;
}
