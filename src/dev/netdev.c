/* SPDX-License-Identifier: BSD-2-Clause */
#include "dev/netdev.h"
#include "base/log.h"
#include "base/md5.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

static const uint8_t mac_prefix[3] = { 0x00, 0xa0, 0x98 };

static void
derive_mac(const struct device_place *place, const char *vm_name, uint8_t ret_mac[6])
{
        uint8_t digest[16];
        char text[80];

        snprintf(text, sizeof(text), "%u-%u-%s", place->slot, place->func, vm_name);
        md5_digest(text, strlen(text), digest);
        memcpy(ret_mac, mac_prefix, 3);
        memcpy(ret_mac + 3, digest, 3);
}

/* A unicast address that is not all zeros. */
static int
parse_mac(const char *text, uint8_t ret_mac[6])
{
        static const uint8_t zeros[6];
        uint8_t mac[6];
        int end = -1;

        if (sscanf(text, "%2hhx:%2hhx:%2hhx:%2hhx:%2hhx:%2hhx%n", &mac[0], &mac[1], &mac[2], &mac[3], &mac[4],
                &mac[5], &end) != 6 || text[end] != '\0')
                return -EINVAL;
        if ((mac[0] & 1) || memcmp(mac, zeros, sizeof(mac)) == 0)
                return -EINVAL;
        memcpy(ret_mac, mac, sizeof(mac));
        return 0;
}

int
netdev_mac(const struct config_node *node, const struct device_place *place, const char *vm_name,
    uint8_t ret_mac[6])
{
        const char *text = config_node_get(node, "mac");

        if (text == NULL) {
                derive_mac(place, vm_name, ret_mac);
                return 0;
        }
        if (parse_mac(text, ret_mac) != 0) {
                log_error("%s.mac: '%s' is not a unicast Ethernet address (xx:xx:xx:xx:xx:xx)", node->prefix,
                    text);
                return -EINVAL;
        }
        return 0;
}

int
netdev_open(const struct config_node *node, struct loop *loop, bool want_vnet_hdr, unsigned queues,
    net_readable_fn *readable, void *ctx, struct net_backend **ret_nb)
{
        struct net_options options = {
                .backend = config_node_get(node, "backend"),
                .path = config_node_get(node, "path"),
                .hostfwd = config_node_get(node, "hostfwd"),
                .restricted = !config_node_bool(node, "open"),
                .want_vnet_hdr = want_vnet_hdr,
                .queues = queues,
        };

        return net_open(&options, loop, readable, ctx, ret_nb);
}
