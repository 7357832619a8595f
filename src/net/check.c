/* SPDX-License-Identifier: BSD-2-Clause */
#include "net/check.h"
#include "config/netconf.h"
#include "net/change.h"
#include "net/nat.h"
#include "net/run.h"

#include <grp.h>
#include <pwd.h>
#include <stdlib.h>
#include <string.h>

struct host {
        struct link *links;
        size_t link_count;
        struct link_addr *addrs;
        size_t addr_count;
        struct link_route *routes;
        size_t route_count;
};

static int
host_load(struct netlink *nl, struct host *host)
{
        int error = link_list(nl, &host->links, &host->link_count);

        if (error == 0)
                error = link_list_addrs(nl, &host->addrs, &host->addr_count);
        if (error == 0)
                error = link_list_routes(nl, &host->routes, &host->route_count);
        return error;
}

static void
host_finish(struct host *host)
{
        free(host->links);
        free(host->addrs);
        free(host->routes);
}

static const struct link *
host_link(const struct host *host, const char *name)
{
        for (size_t i = 0; i < host->link_count; i++)
                if (strcmp(host->links[i].name, name) == 0)
                        return &host->links[i];
        return NULL;
}

static const struct link *
host_link_at(const struct host *host, unsigned index)
{
        for (size_t i = 0; i < host->link_count; i++)
                if (host->links[i].index == index)
                        return &host->links[i];
        return NULL;
}

static void
check_bridge(struct net *net, const struct host *host, const struct netconf_bridge *bridge)
{
        const struct link *link = host_link(host, bridge->name);
        const struct journal_record *record = journal_find(net->journal, "bridge", bridge->name);

        if (!bridge->cloned && (link == NULL || link->kind != LINK_BRIDGE))
                netconf_error(net->conf, bridge->line,
                    "%s does not exist: add it to cloned_interfaces", bridge->name);
        else if (bridge->cloned && link != NULL &&
                 (record == NULL || !change_owns_link(record, link)))
                netconf_error(net->conf, bridge->line,
                    "%s exists and was not made by bhyvenet: to use it as it is, take "
                    "it out of cloned_interfaces, else remove it or choose another name",
                    bridge->name);
}

static bool
is_in_file(const struct netconf *conf, const char *name)
{
        for (size_t i = 0; i < conf->tap_count; i++)
                if (strcmp(conf->taps[i].name, name) == 0)
                        return true;
        return false;
}

/* A member that is named in full should exist; a tap may still come, with its guest. */
static void
check_members(struct net *net, const struct host *host, const struct netconf_bridge *bridge)
{
        for (size_t i = 0; i < bridge->glob_count; i++)
                if (strpbrk(bridge->globs[i], "*?[") == NULL &&
                    !netconf_ifname_is_tap(bridge->globs[i]) &&
                    !is_in_file(net->conf, bridge->globs[i]) &&
                    host_link(host, bridge->globs[i]) == NULL)
                        netconf_warning(net->conf, bridge->globs_line,
                            "%s does not exist on this host and does not join "
                            "%s",
                            bridge->globs[i], bridge->name);
}

/* What belongs to a bridge of ours or to one of its members is no stranger. */
static bool
is_ours(const struct netconf *conf, const char *name)
{
        return netconf_bridge_find(conf, name) != NULL || netconf_bridge_of(conf, name) != NULL;
}

static void
check_overlap(struct net *net, const struct host *host, const struct netconf_addr *addr)
{
        char ours[IP_TEXT_MAX], theirs[IP_TEXT_MAX];
        const struct link *link;

        for (size_t i = 0; i < host->addr_count; i++) {
                link = host_link_at(host, host->addrs[i].index);
                if (link == NULL || is_ours(net->conf, link->name) ||
                    !ip_prefix_overlaps(&addr->prefix, &host->addrs[i].prefix))
                        continue;
                netconf_error(net->conf, addr->line,
                    "%s overlaps %s of this host's %s; choose another subnet",
                    ip_prefix_format(&addr->prefix, ours),
                    ip_prefix_format(&host->addrs[i].prefix, theirs), link->name);
                return;
        }
        for (size_t i = 0; i < host->route_count; i++) {
                link = host_link_at(host, host->routes[i].index);
                if (link == NULL || host->routes[i].dst.len == 0 ||
                    is_ours(net->conf, link->name) ||
                    !ip_prefix_overlaps(&addr->prefix, &host->routes[i].dst))
                        continue;
                netconf_error(net->conf, addr->line,
                    "%s overlaps %s, which this host reaches through %s; choose another "
                    "subnet",
                    ip_prefix_format(&addr->prefix, ours),
                    ip_prefix_format(&host->routes[i].dst, theirs), link->name);
                return;
        }
}

static void
check_taps(struct net *net, const struct host *host)
{
        const struct netconf *conf = net->conf;
        const struct link *link;

        for (size_t i = 0; i < conf->tap_count; i++) {
                link = host_link(host, conf->taps[i].name);
                if (link != NULL && link->kind != LINK_TUN)
                        netconf_error(net->conf, conf->taps[i].line,
                            "%s exists and is not a tap: rename it, or name "
                            "another tap here",
                            conf->taps[i].name);
        }
        if (conf->tap_owner[0] != '\0' && getpwnam(conf->tap_owner) == NULL)
                netconf_error(net->conf, 0, "tap_owner: there is no user '%s'", conf->tap_owner);
        if (conf->tap_group[0] != '\0' && getgrnam(conf->tap_group) == NULL)
                netconf_error(net->conf, 0, "tap_group: there is no group '%s'", conf->tap_group);
}

/* A firewall that drops what is not its own is a common reason for guests without a network. */
static void
check_firewall(struct net *net)
{
        char bridged[8] = "0";
        char *chains;

        (void)file_read("/proc/sys/net/bridge/bridge-nf-call-iptables", bridged, sizeof(bridged));
        if (!net->conf->gateway && bridged[0] != '1')
                return;
        chains = nat_query("list chains");
        for (char *line = chains; line != NULL; line = strchr(line, '\n')) {
                line += *line == '\n';
                if (strncmp(line + strspn(line, " \t"), "type filter hook forward", 24) == 0 &&
                    strcspn(line, "\n") > 11 &&
                    strncmp(line + strcspn(line, "\n") - 12, "policy drop;", 12) == 0) {
                        netconf_warning(net->conf, 0,
                            "a firewall on this host drops what is forwarded (a chain with hook "
                            "forward and policy drop, as Docker sets it): allow the bridges there, "
                            "such as "
                            "`iptables -I FORWARD -i bridge0 -j ACCEPT' and the same with -o");
                        break;
                }
        }
        free(chains);
}

static void
check_programs(struct net *net, const struct host *host)
{
        const struct netconf *conf = net->conf;

        if (conf->nat && conf->nat_interface[0] != '\0' &&
            host_link(host, conf->nat_interface) == NULL)
                netconf_warning(net->conf, conf->nat_line,
                    "natd_interface: %s does not exist on this host yet", conf->nat_interface);
        if (conf->dnsmasq && !run_exists("dnsmasq"))
                netconf_error(net->conf, conf->dnsmasq_line,
                    "dnsmasq is not installed: `apt install dnsmasq-base' (or "
                    "your system's package dnsmasq), or set dnsmasq_enable=\"NO\"");
}

int
check_host(struct net *net)
{
        struct host host = { 0 };
        int error = host_load(net->nl, &host);

        for (size_t i = 0; error == 0 && i < net->conf->bridge_count; i++) {
                const struct netconf_bridge *bridge = &net->conf->bridges[i];

                check_bridge(net, &host, bridge);
                check_members(net, &host, bridge);
                for (size_t j = 0; j < bridge->addr_count; j++)
                        check_overlap(net, &host, &bridge->addrs[j]);
        }
        if (error == 0) {
                check_taps(net, &host);
                check_programs(net, &host);
                check_firewall(net);
        }
        host_finish(&host);
        return error;
}
