/* SPDX-License-Identifier: BSD-2-Clause */
#include "net/status.h"
#include "config/netconf.h"
#include "net/change.h"
#include "net/dnsmasq.h"
#include "net/nat.h"
#include "net/run.h"

#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct view {
        struct net *net;
        struct link *links;
        size_t link_count;
        struct link_addr *addrs;
        size_t addr_count;
        pid_t supervisor, server;
        FILE *out;
};

static const char *const state_names[] = { "down", "unfinished", "up" };

enum status_state
status_state(const struct net *net)
{
        char path[PATH_MAX];

        if (journal_count(net->journal) == 0)
                return STATUS_DOWN;
        netconf_state_path("net.conf", path);
        return access(path, F_OK) == 0 ? STATUS_UP : STATUS_UNFINISHED;
}

static bool
setting_is_on(const char *path)
{
        char text[16] = "0";

        (void)file_read(path, text, sizeof(text));
        return text[0] != '0';
}

static bool
forwards(bool ipv6)
{
        return setting_is_on(
            ipv6 ? "/proc/sys/net/ipv6/conf/all/forwarding" : "/proc/sys/net/ipv4/ip_forward");
}

static const struct link *
view_link(const struct view *v, const char *name)
{
        for (size_t i = 0; i < v->link_count; i++)
                if (strcmp(v->links[i].name, name) == 0)
                        return &v->links[i];
        return NULL;
}

/* The program that tells the host's resolver of us; NULL for none. */
static const char *
resolver_name(const struct view *v)
{
        for (size_t i = 0; i < journal_count(v->net->journal); i++)
                if (strcmp(journal_at(v->net->journal, i)->kind, "resolver") == 0)
                        return journal_at(v->net->journal, i)->before;
        return NULL;
}

static FILE *
open_leases(const struct view *v)
{
        char path[PATH_MAX];

        if (v->server == 0)
                return NULL;
        netconf_state_path("dnsmasq.leases", path);
        return fopen(path, "re");
}

/* What should be a member and is not. */
typedef void missing_fn(struct view *v, const char *ifname, const char *bridge, void *ctx);

static void
for_each_missing(struct view *v, missing_fn *fn, void *ctx)
{
        const struct netconf *conf = v->net->conf;

        for (size_t i = 0; i < conf->tap_count; i++) {
                const struct netconf_bridge *bridge = netconf_bridge_of(conf, conf->taps[i].name);
                const struct link *tap = view_link(v, conf->taps[i].name);
                const struct link *master = bridge != NULL ? view_link(v, bridge->name) : NULL;

                if (tap == NULL ||
                    (bridge != NULL && (master == NULL || tap->master != master->index)))
                        fn(v, conf->taps[i].name, bridge != NULL ? bridge->name : "", ctx);
        }
}

/* As a table */

static void
column(FILE *out, const char *text, int width)
{
        fprintf(out, "%-*s ", width, text);
}

static void
table_bridge(struct view *v, const struct netconf_bridge *bridge)
{
        const struct link *link = view_link(v, bridge->name);
        char list[2048] = "";
        char text[IP_TEXT_MAX];
        size_t used = 0;

        column(v->out, bridge->name, 10);
        column(v->out, link == NULL ? "missing" : link->up ? "up" : "down", 8);
        for (size_t i = 0; link != NULL && i < v->addr_count && used < sizeof(list) - IP_TEXT_MAX;
             i++)
                if (v->addrs[i].index == link->index && v->addrs[i].scope == 0)
                        used += (size_t)sprintf(list + used, "%s%s", used > 0 ? "," : "",
                            ip_prefix_format(&v->addrs[i].prefix, text));
        column(v->out, used > 0 ? list : "-", 30);
        for (size_t i = 0; link != NULL && i < v->link_count; i++)
                if (v->links[i].master == link->index)
                        fprintf(v->out, "%s%s ", v->links[i].name,
                            !v->links[i].up                                       ? "(down)"
                            : v->links[i].kind == LINK_TUN && v->links[i].carrier ? "(open)"
                                                                                  : "");
        fprintf(v->out, "\n");
}

static void
table_missing(struct view *v, const char *ifname, const char *bridge, void *ctx)
{
        fprintf(v->out, "missing    %s%s%s; `bhyvenet up' mends it\n", ifname,
            bridge[0] != '\0' ? " of " : "", bridge);
}

static void
table_leases(struct view *v)
{
        struct dnsmasq_lease lease;
        FILE *file = open_leases(v);
        bool first = true;

        while (file != NULL && dnsmasq_read_lease(file, &lease)) {
                if (first)
                        fprintf(v->out, "\n%-24s %-24s %s\n", "GUEST", "ADDRESS", "MAC");
                first = false;
                fprintf(v->out, "%-24s %-24s %s\n", lease.name[0] != '\0' ? lease.name : "-",
                    lease.address, lease.mac);
        }
        if (file != NULL)
                fclose(file);
}

static void
table_nat(struct view *v)
{
        if (journal_find(v->net->journal, "nat", "bhyve") == NULL)
                fprintf(v->out, "nat        off\n");
        else
                fprintf(v->out, "nat        through %s\n",
                    v->net->conf->nat_interface[0] != '\0' ? v->net->conf->nat_interface
                                                           : "any other interface");
}

static void
table_print(struct view *v)
{
        const struct netconf *conf = v->net->conf;
        const char *resolver = resolver_name(v);

        fprintf(v->out, "networks   %s%s\n\n", state_names[status_state(v->net)],
            status_state(v->net) == STATUS_UNFINISHED
                ? " (a run was stopped half-way; run `bhyvenet up' or `bhyvenet "
                  "down')"
                : "");
        column(v->out, "BRIDGE", 10);
        column(v->out, "STATE", 8);
        column(v->out, "ADDRESSES", 30);
        fprintf(v->out, "MEMBERS\n");
        for (size_t i = 0; i < conf->bridge_count; i++)
                table_bridge(v, &conf->bridges[i]);
        fprintf(v->out, "\n");
        if (status_state(v->net) != STATUS_DOWN)
                for_each_missing(v, table_missing, NULL);
        fprintf(v->out, "forwarding ipv4 %s, ipv6 %s\n", forwards(false) ? "on" : "off",
            forwards(true) ? "on" : "off");
        table_nat(v);
        if (v->server != 0)
                fprintf(v->out, "dnsmasq    pid %d, domain %s\n", (int)v->server, conf->domain);
        else
                fprintf(v->out, "dnsmasq    %s\n", v->supervisor != 0 ? "starting again" : "off");
        fprintf(v->out, "resolver   %s\n", resolver != NULL ? resolver : "not told");
        table_leases(v);
}

/* As JSON */

static void
json_string(FILE *out, const char *text)
{
        fputc('"', out);
        for (const unsigned char *p = (const unsigned char *)text; *p != '\0'; p++) {
                if (*p == '"' || *p == '\\')
                        fprintf(out, "\\%c", *p);
                else if (*p < ' ' || *p >= 0x7f)
                        fprintf(out, "\\u%04x", *p);
                else
                        fputc(*p, out);
        }
        fputc('"', out);
}

static void
json_field(FILE *out, const char *name, const char *value)
{
        fprintf(out, "\"%s\": ", name);
        json_string(out, value);
}

static const char *
json_bool(bool value)
{
        return value ? "true" : "false";
}

static void
json_members(struct view *v, unsigned bridge)
{
        const char *comma = "";

        for (size_t i = 0; i < v->link_count; i++) {
                const struct link *link = &v->links[i];

                if (link->master != bridge)
                        continue;
                fprintf(v->out, "%s{", comma);
                json_field(v->out, "name", link->name);
                fprintf(v->out, ", \"tap\": %s, \"up\": %s, \"carrier\": %s}",
                    json_bool(link->kind == LINK_TUN), json_bool(link->up),
                    json_bool(link->carrier));
                comma = ", ";
        }
}

static void
json_bridge(struct view *v, const struct netconf_bridge *bridge)
{
        const struct link *link = view_link(v, bridge->name);
        char text[IP_TEXT_MAX];
        const char *comma = "";

        fprintf(v->out, "{");
        json_field(v->out, "name", bridge->name);
        fprintf(v->out, ", \"exists\": %s, \"up\": %s, \"addresses\": [", json_bool(link != NULL),
            json_bool(link != NULL && link->up));
        for (size_t i = 0; link != NULL && i < v->addr_count; i++)
                if (v->addrs[i].index == link->index && v->addrs[i].scope == 0) {
                        fprintf(
                            v->out, "%s\"%s\"", comma, ip_prefix_format(&v->addrs[i].prefix, text));
                        comma = ", ";
                }
        fprintf(v->out, "], \"members\": [");
        if (link != NULL)
                json_members(v, link->index);
        fprintf(v->out, "]}");
}

static void
json_missing(struct view *v, const char *ifname, const char *bridge, void *ctx)
{
        bool *any = ctx;

        fprintf(v->out, "%s{", *any ? ", " : "");
        json_field(v->out, "name", ifname);
        fprintf(v->out, ", ");
        json_field(v->out, "bridge", bridge);
        fprintf(v->out, "}");
        *any = true;
}

static void
json_leases(struct view *v)
{
        struct dnsmasq_lease lease;
        FILE *file = open_leases(v);
        const char *comma = "";

        while (file != NULL && dnsmasq_read_lease(file, &lease)) {
                fprintf(v->out, "%s{", comma);
                json_field(v->out, "name", lease.name);
                fprintf(v->out, ", ");
                json_field(v->out, "address", lease.address);
                fprintf(v->out, ", ");
                json_field(v->out, "mac", lease.mac);
                fprintf(v->out, ", \"expires\": %lld}", lease.expires);
                comma = ", ";
        }
        if (file != NULL)
                fclose(file);
}

static void
json_print(struct view *v)
{
        const struct netconf *conf = v->net->conf;
        const char *resolver = resolver_name(v);
        bool any_missing = false;

        fprintf(v->out, "{");
        json_field(v->out, "state", state_names[status_state(v->net)]);
        fprintf(v->out, ", \"bridges\": [");
        for (size_t i = 0; i < conf->bridge_count; i++) {
                fprintf(v->out, "%s", i > 0 ? ", " : "");
                json_bridge(v, &conf->bridges[i]);
        }
        fprintf(v->out, "], \"missing\": [");
        if (status_state(v->net) != STATUS_DOWN)
                for_each_missing(v, json_missing, &any_missing);
        fprintf(v->out,
            "], \"forwarding\": {\"ipv4\": %s, \"ipv6\": %s}, \"nat\": {\"enabled\": %s, ",
            json_bool(forwards(false)), json_bool(forwards(true)),
            json_bool(journal_find(v->net->journal, "nat", "bhyve") != NULL));
        json_field(v->out, "interface", conf->nat_interface);
        fprintf(v->out, "}, \"dnsmasq\": {\"running\": %s, \"pid\": %d, ",
            json_bool(v->server != 0), (int)v->server);
        json_field(v->out, "domain", conf->domain);
        fprintf(v->out, ", \"leases\": [");
        json_leases(v);
        fprintf(v->out, "]}, ");
        json_field(v->out, "resolver", resolver != NULL ? resolver : "");
        fprintf(v->out, "}\n");
}

int
status_print(struct net *net, bool json, FILE *out)
{
        struct view v = { .net = net, .out = out };
        int error = link_list(net->nl, &v.links, &v.link_count);

        if (error == 0)
                error = link_list_addrs(net->nl, &v.addrs, &v.addr_count);
        if (error == 0) {
                dnsmasq_pids(&v.supervisor, &v.server);
                if (json)
                        json_print(&v);
                else
                        table_print(&v);
        }
        free(v.links);
        free(v.addrs);
        return error;
}
