/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Links, their addresses and routes, over rtnetlink (libnl).  Each call is
 * one question or one change; nothing is cached.  Errors are -errno.
 */
#ifndef NET_LINK_H
#define NET_LINK_H

#include "base/ip.h"

#include <net/if.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum link_kind {
        LINK_OTHER,
        LINK_BRIDGE,
        LINK_TUN, /* taps included */
};

struct link {
        unsigned index;
        char name[IFNAMSIZ];
        enum link_kind kind;
        bool up;      /* administratively */
        bool carrier; /* a tap has one while a process has it open */
        unsigned mtu;
        unsigned master; /* index of its bridge; 0 for none */
        uint8_t mac[6];
        char alias[64];
};

struct link_addr {
        unsigned index; /* of the link */
        struct ip_prefix prefix;
        uint32_t flags; /* IFA_F_* */
        int scope;
        bool has_broadcast;
        uint8_t broadcast[16];
        uint32_t valid_s; /* UINT32_MAX: for ever */
        uint32_t preferred_s;
};

struct link_route {
        unsigned index;
        struct ip_prefix dst; /* length 0: the default route */
        bool has_gateway;
        uint8_t gateway[16];
        bool has_source;
        uint8_t source[16];
        uint32_t priority;
        uint32_t table;
        unsigned protocol, scope, type, tos;
        uint32_t hop_flags; /* RTNH_F_* */
};

struct netlink;

int netlink_open(struct netlink **ret_nl);
void netlink_close(struct netlink *nl);

/* -ENODEV where there is none of that name. */
int link_get(struct netlink *nl, const char *name, struct link *ret_link);
/* An array that the caller frees. */
int link_list(struct netlink *nl, struct link **ret_links, size_t *ret_count);

int link_add_bridge(struct netlink *nl, const char *name, const uint8_t mac[6]);
int link_delete(struct netlink *nl, const char *name);
int link_set_up(struct netlink *nl, const char *name, bool up);
int link_set_alias(struct netlink *nl, const char *name, const char *alias);
int link_set_mac(struct netlink *nl, const char *name, const uint8_t mac[6]);
int link_set_mtu(struct netlink *nl, const char *name, unsigned mtu);
/* @bridge NULL: of none. */
int link_set_master(struct netlink *nl, const char *name, const char *bridge);

/* Addresses and IPv4 and IPv6 unicast routes with one next hop; arrays that the caller frees. */
int link_list_addrs(struct netlink *nl, struct link_addr **ret_addrs, size_t *ret_count);
int link_list_routes(struct netlink *nl, struct link_route **ret_routes, size_t *ret_count);

/* An address that is there already is no error, neither is one to delete that is not. */
int link_add_addr(struct netlink *nl, const struct link_addr *addr);
int link_delete_addr(struct netlink *nl, const struct link_addr *addr);
int link_add_route(struct netlink *nl, const struct link_route *route);
int link_delete_route(struct netlink *nl, const struct link_route *route);

#endif
