/* SPDX-License-Identifier: BSD-2-Clause */
/* Fuzzes the description of networks. */
#include "fuzz.h"

#include "config/netconf.h"

#include <stdlib.h>
#include <string.h>

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
        struct netconf *conf = NULL;

        if (netconf_parse((const char *)data, size, &conf) != 0)
                return 0;
        /* What is sound must name its bridges, and a range must point at one of them. */
        for (size_t i = 0; i < conf->bridge_count; i++)
                if (!netconf_ifname_valid(conf->bridges[i].name))
                        abort();
        for (size_t i = 0; conf->error_count == 0 && i < conf->range_count; i++)
                if (conf->ranges[i].bridge >= conf->bridge_count)
                        abort();
        if (netconf_bridge_of(conf, "tap0") != NULL && conf->bridge_count == 0)
                abort();
        netconf_destroy(conf);
        return 0;
}
