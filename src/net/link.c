/* SPDX-License-Identifier: BSD-2-Clause */
#include "net/link.h"

#include <errno.h>
#include <linux/if_addr.h>
#include <linux/rtnetlink.h>
#include <netlink/errno.h>
#include <netlink/netlink.h>
#include <netlink/route/addr.h>
#include <netlink/route/link.h>
#include <netlink/route/link/bridge.h>
#include <netlink/route/nexthop.h>
#include <netlink/route/route.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct netlink {
        struct nl_sock *sock;
};

/* libnl has error numbers of its own. */
static int
errno_of(int nle)
{
        switch (nle < 0 ? -nle : nle) {
        case NLE_SUCCESS:
                return 0;
        case NLE_EXIST:
                return -EEXIST;
        case NLE_OBJ_NOTFOUND:
        case NLE_NODEV:
                return -ENODEV;
        case NLE_PERM:
        case NLE_NOACCESS:
                return -EPERM;
        case NLE_BUSY:
                return -EBUSY;
        case NLE_NOADDR:
                return -EADDRNOTAVAIL;
        case NLE_OPNOTSUPP:
                return -EOPNOTSUPP;
        case NLE_INVAL:
                return -EINVAL;
        case NLE_NOMEM:
                return -ENOMEM;
        case NLE_RANGE:
                return -ERANGE;
        default:
                return -EIO;
        }
}

int
netlink_open(struct netlink **ret_nl)
{
        struct netlink *nl = calloc(1, sizeof(*nl));
        int error;

        if (nl == NULL)
                return -ENOMEM;
        nl->sock = nl_socket_alloc();
        error = nl->sock == NULL ? -ENOMEM : errno_of(nl_connect(nl->sock, NETLINK_ROUTE));
        if (error != 0) {
                netlink_close(nl);
                return error;
        }
        *ret_nl = nl;
        return 0;
}

void
netlink_close(struct netlink *nl)
{
        if (nl == NULL)
                return;
        nl_socket_free(nl->sock);
        free(nl);
}

/* Links */

static enum link_kind
kind_of(struct rtnl_link *rl)
{
        const char *type = rtnl_link_get_type(rl);

        if (type == NULL)
                return LINK_OTHER;
        return strcmp(type, "bridge") == 0 ? LINK_BRIDGE
               : strcmp(type, "tun") == 0  ? LINK_TUN
                                           : LINK_OTHER;
}

static void
link_fill(struct rtnl_link *rl, struct link *link)
{
        struct nl_addr *mac = rtnl_link_get_addr(rl);
        const char *alias = rtnl_link_get_ifalias(rl);

        *link = (struct link){
                .index = (unsigned)rtnl_link_get_ifindex(rl),
                .kind = kind_of(rl),
                .up = (rtnl_link_get_flags(rl) & IFF_UP) != 0,
                .carrier = rtnl_link_get_carrier(rl) != 0,
                .mtu = rtnl_link_get_mtu(rl),
                .master = (unsigned)rtnl_link_get_master(rl),
        };
        snprintf(link->name, sizeof(link->name), "%s", rtnl_link_get_name(rl));
        snprintf(link->alias, sizeof(link->alias), "%s", alias != NULL ? alias : "");
        if (mac != NULL && nl_addr_get_len(mac) == sizeof(link->mac))
                memcpy(link->mac, nl_addr_get_binary_addr(mac), sizeof(link->mac));
}

int
link_get(struct netlink *nl, const char *name, struct link *ret_link)
{
        struct rtnl_link *rl;
        int error = errno_of(rtnl_link_get_kernel(nl->sock, 0, name, &rl));

        if (error != 0)
                return error;
        link_fill(rl, ret_link);
        rtnl_link_put(rl);
        return 0;
}

int
link_list(struct netlink *nl, struct link **ret_links, size_t *ret_count)
{
        struct nl_cache *cache;
        struct link *links;
        size_t count = 0;
        int error = errno_of(rtnl_link_alloc_cache(nl->sock, AF_UNSPEC, &cache));

        if (error != 0)
                return error;
        links = calloc((size_t)nl_cache_nitems(cache) + 1, sizeof(*links));
        if (links == NULL) {
                nl_cache_free(cache);
                return -ENOMEM;
        }
        for (struct nl_object *o = nl_cache_get_first(cache); o != NULL; o = nl_cache_get_next(o))
                link_fill((struct rtnl_link *)o, &links[count++]);
        nl_cache_free(cache);
        *ret_links = links;
        *ret_count = count;
        return 0;
}

static void
rtnl_link_set_mac(struct rtnl_link *rl, const uint8_t mac[6])
{
        struct nl_addr *addr = nl_addr_build(AF_LLC, mac, 6);

        rtnl_link_set_addr(rl, addr);
        nl_addr_put(addr);
}

int
link_add_bridge(struct netlink *nl, const char *name, const uint8_t mac[6])
{
        struct rtnl_link *rl = rtnl_link_bridge_alloc();
        int error;

        if (rl == NULL)
                return -ENOMEM;
        rtnl_link_set_name(rl, name);
        rtnl_link_set_mac(rl, mac);
        error = errno_of(rtnl_link_add(nl->sock, rl, NLM_F_CREATE | NLM_F_EXCL));
        rtnl_link_put(rl);
        return error;
}

int
link_delete(struct netlink *nl, const char *name)
{
        struct rtnl_link *rl = rtnl_link_alloc();
        int error;

        if (rl == NULL)
                return -ENOMEM;
        rtnl_link_set_name(rl, name);
        error = errno_of(rtnl_link_delete(nl->sock, rl));
        rtnl_link_put(rl);
        return error;
}

/* Sends what @changes holds for @name; consumes @changes. */
static int
link_change(struct netlink *nl, const char *name, struct rtnl_link *changes)
{
        struct rtnl_link *rl;
        int error;

        if (changes == NULL)
                return -ENOMEM;
        error = errno_of(rtnl_link_get_kernel(nl->sock, 0, name, &rl));
        if (error == 0) {
                error = errno_of(rtnl_link_change(nl->sock, rl, changes, 0));
                rtnl_link_put(rl);
        }
        rtnl_link_put(changes);
        return error;
}

int
link_set_up(struct netlink *nl, const char *name, bool up)
{
        struct rtnl_link *changes = rtnl_link_alloc();

        if (changes != NULL && up)
                rtnl_link_set_flags(changes, IFF_UP);
        else if (changes != NULL)
                rtnl_link_unset_flags(changes, IFF_UP);
        return link_change(nl, name, changes);
}

int
link_set_alias(struct netlink *nl, const char *name, const char *alias)
{
        struct rtnl_link *changes = rtnl_link_alloc();

        if (changes != NULL)
                rtnl_link_set_ifalias(changes, alias);
        return link_change(nl, name, changes);
}

int
link_set_mac(struct netlink *nl, const char *name, const uint8_t mac[6])
{
        struct rtnl_link *changes = rtnl_link_alloc();

        if (changes != NULL)
                rtnl_link_set_mac(changes, mac);
        return link_change(nl, name, changes);
}

int
link_set_mtu(struct netlink *nl, const char *name, unsigned mtu)
{
        struct rtnl_link *changes = rtnl_link_alloc();

        if (changes != NULL)
                rtnl_link_set_mtu(changes, mtu);
        return link_change(nl, name, changes);
}

int
link_set_master(struct netlink *nl, const char *name, const char *bridge)
{
        struct rtnl_link *changes;
        struct link master = { 0 };
        int error = bridge != NULL ? link_get(nl, bridge, &master) : 0;

        if (error != 0)
                return error;
        changes = rtnl_link_alloc();
        if (changes != NULL)
                rtnl_link_set_master(changes, (int)master.index);
        return link_change(nl, name, changes);
}

/* Addresses */

static void
addr_bytes(struct nl_addr *na, uint8_t ret_addr[16])
{
        memset(ret_addr, 0, 16);
        if (na != NULL && nl_addr_get_len(na) <= 16)
                memcpy(ret_addr, nl_addr_get_binary_addr(na), nl_addr_get_len(na));
}

static void
addr_fill(struct rtnl_addr *ra, struct link_addr *addr)
{
        *addr = (struct link_addr){
                .index = (unsigned)rtnl_addr_get_ifindex(ra),
                .prefix = { .family = rtnl_addr_get_family(ra),
                    .len = (unsigned)rtnl_addr_get_prefixlen(ra) },
                .flags = rtnl_addr_get_flags(ra),
                .scope = rtnl_addr_get_scope(ra),
                .has_broadcast = rtnl_addr_get_broadcast(ra) != NULL,
                .valid_s = rtnl_addr_get_valid_lifetime(ra),
                .preferred_s = rtnl_addr_get_preferred_lifetime(ra),
        };
        addr_bytes(rtnl_addr_get_local(ra), addr->prefix.addr);
        addr_bytes(rtnl_addr_get_broadcast(ra), addr->broadcast);
}

int
link_list_addrs(struct netlink *nl, struct link_addr **ret_addrs, size_t *ret_count)
{
        struct nl_cache *cache;
        struct link_addr *addrs;
        size_t count = 0;
        int error = errno_of(rtnl_addr_alloc_cache(nl->sock, &cache));

        if (error != 0)
                return error;
        addrs = calloc((size_t)nl_cache_nitems(cache) + 1, sizeof(*addrs));
        if (addrs == NULL) {
                nl_cache_free(cache);
                return -ENOMEM;
        }
        for (struct nl_object *o = nl_cache_get_first(cache); o != NULL; o = nl_cache_get_next(o)) {
                int family = rtnl_addr_get_family((struct rtnl_addr *)o);

                if (family == AF_INET || family == AF_INET6)
                        addr_fill((struct rtnl_addr *)o, &addrs[count++]);
        }
        nl_cache_free(cache);
        *ret_addrs = addrs;
        *ret_count = count;
        return 0;
}

static struct nl_addr *
nl_addr_of(int family, const uint8_t addr[16], unsigned prefix_len)
{
        struct nl_addr *na = nl_addr_build(family, addr, ip_bytes(family));

        if (na != NULL)
                nl_addr_set_prefixlen(na, (int)prefix_len);
        return na;
}

/* The kernel's form of @addr; NULL without memory. */
static struct rtnl_addr *
rtnl_addr_of(const struct link_addr *addr)
{
        struct rtnl_addr *ra = rtnl_addr_alloc();
        struct nl_addr *na;

        if (ra == NULL)
                return NULL;
        rtnl_addr_set_ifindex(ra, (int)addr->index);
        rtnl_addr_set_family(ra, addr->prefix.family);
        na = nl_addr_of(addr->prefix.family, addr->prefix.addr, addr->prefix.len);
        rtnl_addr_set_local(ra, na);
        nl_addr_put(na);
        rtnl_addr_set_prefixlen(ra, (int)addr->prefix.len);
        rtnl_addr_set_scope(ra, addr->scope);
        if (addr->flags != 0)
                rtnl_addr_set_flags(ra, addr->flags);
        if (addr->has_broadcast) {
                na = nl_addr_of(
                    addr->prefix.family, addr->broadcast, 8 * ip_bytes(addr->prefix.family));
                rtnl_addr_set_broadcast(ra, na);
                nl_addr_put(na);
        }
        if (addr->valid_s != UINT32_MAX) {
                rtnl_addr_set_valid_lifetime(ra, addr->valid_s);
                rtnl_addr_set_preferred_lifetime(ra, addr->preferred_s);
        }
        return ra;
}

int
link_add_addr(struct netlink *nl, const struct link_addr *addr)
{
        struct rtnl_addr *ra = rtnl_addr_of(addr);
        int error;

        if (ra == NULL)
                return -ENOMEM;
        error = errno_of(rtnl_addr_add(nl->sock, ra, NLM_F_EXCL));
        rtnl_addr_put(ra);
        return error == -EEXIST ? 0 : error;
}

int
link_delete_addr(struct netlink *nl, const struct link_addr *addr)
{
        struct rtnl_addr *ra = rtnl_addr_of(addr);
        int error;

        if (ra == NULL)
                return -ENOMEM;
        error = errno_of(rtnl_addr_delete(nl->sock, ra, 0));
        rtnl_addr_put(ra);
        return error == -EADDRNOTAVAIL || error == -ENODEV ? 0 : error;
}

/* Routes */

static bool
route_is_wanted(struct rtnl_route *rr)
{
        int family = rtnl_route_get_family(rr);

        return (family == AF_INET || family == AF_INET6) &&
               rtnl_route_get_type(rr) == RTN_UNICAST &&
               rtnl_route_get_table(rr) != RT_TABLE_LOCAL && rtnl_route_get_nnexthops(rr) == 1;
}

static void
route_fill(struct rtnl_route *rr, struct link_route *route)
{
        struct rtnl_nexthop *hop = rtnl_route_nexthop_n(rr, 0);
        struct nl_addr *dst = rtnl_route_get_dst(rr);

        *route = (struct link_route){
                .index = (unsigned)rtnl_route_nh_get_ifindex(hop),
                .dst = { .family = rtnl_route_get_family(rr),
                    .len = dst != NULL ? nl_addr_get_prefixlen(dst) : 0 },
                .has_gateway = rtnl_route_nh_get_gateway(hop) != NULL,
                .has_source = rtnl_route_get_pref_src(rr) != NULL,
                .priority = rtnl_route_get_priority(rr),
                .table = rtnl_route_get_table(rr),
                .protocol = rtnl_route_get_protocol(rr),
                .scope = rtnl_route_get_scope(rr),
                .type = rtnl_route_get_type(rr),
                .tos = rtnl_route_get_tos(rr),
                .hop_flags = rtnl_route_nh_get_flags(hop) & RTNH_F_ONLINK,
        };
        addr_bytes(dst, route->dst.addr);
        addr_bytes(rtnl_route_nh_get_gateway(hop), route->gateway);
        addr_bytes(rtnl_route_get_pref_src(rr), route->source);
}

int
link_list_routes(struct netlink *nl, struct link_route **ret_routes, size_t *ret_count)
{
        struct nl_cache *cache;
        struct link_route *routes;
        size_t count = 0;
        int error = errno_of(rtnl_route_alloc_cache(nl->sock, AF_UNSPEC, 0, &cache));

        if (error != 0)
                return error;
        routes = calloc((size_t)nl_cache_nitems(cache) + 1, sizeof(*routes));
        if (routes == NULL) {
                nl_cache_free(cache);
                return -ENOMEM;
        }
        for (struct nl_object *o = nl_cache_get_first(cache); o != NULL; o = nl_cache_get_next(o))
                if (route_is_wanted((struct rtnl_route *)o))
                        route_fill((struct rtnl_route *)o, &routes[count++]);
        nl_cache_free(cache);
        *ret_routes = routes;
        *ret_count = count;
        return 0;
}

static void
rtnl_route_set_hop(struct rtnl_route *rr, const struct link_route *route)
{
        struct rtnl_nexthop *hop = rtnl_route_nh_alloc();
        struct nl_addr *na;

        if (hop == NULL)
                return;
        rtnl_route_nh_set_ifindex(hop, (int)route->index);
        if (route->hop_flags != 0)
                rtnl_route_nh_set_flags(hop, route->hop_flags);
        if (route->has_gateway) {
                na = nl_addr_of(route->dst.family, route->gateway, 8 * ip_bytes(route->dst.family));
                rtnl_route_nh_set_gateway(hop, na);
                nl_addr_put(na);
        }
        rtnl_route_add_nexthop(rr, hop);
}

static struct rtnl_route *
rtnl_route_of(const struct link_route *route)
{
        struct rtnl_route *rr = rtnl_route_alloc();
        struct nl_addr *na;

        if (rr == NULL)
                return NULL;
        rtnl_route_set_family(rr, (uint8_t)route->dst.family);
        na = nl_addr_of(route->dst.family, route->dst.addr, route->dst.len);
        rtnl_route_set_dst(rr, na);
        nl_addr_put(na);
        if (route->has_source) {
                na = nl_addr_of(route->dst.family, route->source, 8 * ip_bytes(route->dst.family));
                rtnl_route_set_pref_src(rr, na);
                nl_addr_put(na);
        }
        rtnl_route_set_priority(rr, route->priority);
        rtnl_route_set_table(rr, route->table);
        rtnl_route_set_protocol(rr, (uint8_t)route->protocol);
        rtnl_route_set_scope(rr, (uint8_t)route->scope);
        rtnl_route_set_type(rr, (uint8_t)route->type);
        rtnl_route_set_tos(rr, (uint8_t)route->tos);
        rtnl_route_set_hop(rr, route);
        return rr;
}

int
link_add_route(struct netlink *nl, const struct link_route *route)
{
        struct rtnl_route *rr = rtnl_route_of(route);
        int error;

        if (rr == NULL)
                return -ENOMEM;
        error = errno_of(rtnl_route_add(nl->sock, rr, NLM_F_EXCL));
        rtnl_route_put(rr);
        return error == -EEXIST ? 0 : error;
}

int
link_delete_route(struct netlink *nl, const struct link_route *route)
{
        struct rtnl_route *rr = rtnl_route_of(route);
        int error;

        if (rr == NULL)
                return -ENOMEM;
        error = errno_of(rtnl_route_delete(nl->sock, rr, 0));
        rtnl_route_put(rr);
        return error == -ENODEV ? 0 : error;
}
