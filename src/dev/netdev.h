/* SPDX-License-Identifier: BSD-2-Clause */
/* What all network interfaces do with their part of the configuration. */
#ifndef DEV_NETDEV_H
#define DEV_NETDEV_H

#include "backend/net/net.h"
#include "dev/device.h"

#define NETDEV_MTU_DEFAULT 1500u

/*
 * The interface's address: `mac` of @node, or 00:a0:98 and the first three bytes of the
 * MD5 of "slot-function-vmname", as bhyve makes it.  -EINVAL, having said what is wrong.
 */
int netdev_mac(const struct config_node *node, const struct device_place *place, const char *vm_name,
    uint8_t ret_mac[6]);

/* net_open with the options of @node, and so many @queues wanted. */
int netdev_open(const struct config_node *node, struct loop *loop, bool want_vnet_hdr, unsigned queues,
    net_readable_fn *readable, void *ctx, struct net_backend **ret_nb);

#endif
