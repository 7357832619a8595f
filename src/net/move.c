/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Moves the addresses and routes of an interface to the bridge that it is a
 * member of, and back.  On Linux a member's own addresses are of no use: all
 * it receives goes to the bridge.  So that the host stays on its network,
 * the bridge takes over the interface's MAC address as well.
 *
 * What there was is one line of text in the journal:
 *      A,ADDRESS,SCOPE,FLAGS,BROADCAST,VALID,PREFERRED
 *      R,DESTINATION,GATEWAY,SOURCE,PRIORITY,TABLE,PROTOCOL,SCOPE,TYPE,TOS,FLAGS
 * with blanks between entries and "-" for what is not set.  Routes that the
 * kernel makes for an address are left to it.
 */
#include "base/log.h"
#include "net/change.h"

#include <errno.h>
#include <linux/if_addr.h>
#include <linux/rtnetlink.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

static void
print_addr(FILE *out, const struct link_addr *addr)
{
        char text[2][IP_TEXT_MAX];

        fprintf(out, "A,%s,%d,%u,%s,%u,%u ", ip_prefix_format(&addr->prefix, text[0]), addr->scope,
            addr->flags,
            addr->has_broadcast ? ip_format(addr->prefix.family, addr->broadcast, text[1]) : "-",
            addr->valid_s, addr->preferred_s);
}

static void
print_route(FILE *out, const struct link_route *r)
{
        char text[3][IP_TEXT_MAX];

        fprintf(out, "R,%s,%s,%s,%u,%u,%u,%u,%u,%u,%u ", ip_prefix_format(&r->dst, text[0]),
            r->has_gateway ? ip_format(r->dst.family, r->gateway, text[1]) : "-",
            r->has_source ? ip_format(r->dst.family, r->source, text[2]) : "-", r->priority,
            r->table, r->protocol, r->scope, r->type, r->tos, r->hop_flags);
}

/* "-" or an address of @family. */
static bool
parse_optional(const char *text, int family, bool *ret_has, uint8_t ret_addr[16])
{
        int got;

        *ret_has = strcmp(text, "-") != 0;
        return !*ret_has || (ip_parse(text, &got, ret_addr) == 0 && got == family);
}

static bool
parse_addr(const char *word, struct link_addr *addr)
{
        char prefix[IP_TEXT_MAX], broadcast[IP_TEXT_MAX];

        *addr = (struct link_addr){ 0 };
        return sscanf(word, "A,%63[^,],%d,%u,%63[^,],%u,%u", prefix, &addr->scope, &addr->flags,
                   broadcast, &addr->valid_s, &addr->preferred_s) == 6 &&
               ip_prefix_parse(prefix, &addr->prefix) == 0 &&
               parse_optional(
                   broadcast, addr->prefix.family, &addr->has_broadcast, addr->broadcast);
}

static bool
parse_route(const char *word, struct link_route *r)
{
        char dst[IP_TEXT_MAX], gateway[IP_TEXT_MAX], source[IP_TEXT_MAX];

        *r = (struct link_route){ 0 };
        return sscanf(word, "R,%63[^,],%63[^,],%63[^,],%u,%u,%u,%u,%u,%u,%u", dst, gateway, source,
                   &r->priority, &r->table, &r->protocol, &r->scope, &r->type, &r->tos,
                   &r->hop_flags) == 10 &&
               ip_prefix_parse(dst, &r->dst) == 0 &&
               parse_optional(gateway, r->dst.family, &r->has_gateway, r->gateway) &&
               parse_optional(source, r->dst.family, &r->has_source, r->source);
}

/* An IPv6 link-local address or route belongs to the link and stays. */
static bool
is_link_local(const struct ip_prefix *prefix)
{
        return prefix->family == AF_INET6 &&
               ((prefix->addr[0] == 0xfe && (prefix->addr[1] & 0xc0) == 0x80) ||
                   prefix->addr[0] == 0xff);
}

static int
print_all(struct net *net, unsigned index, FILE *out)
{
        struct link_addr *addrs;
        struct link_route *routes;
        size_t count;
        int error = link_list_addrs(net->nl, &addrs, &count);

        if (error != 0)
                return error;
        for (size_t i = 0; i < count; i++)
                if (addrs[i].index == index && !is_link_local(&addrs[i].prefix))
                        print_addr(out, &addrs[i]);
        free(addrs);
        error = link_list_routes(net->nl, &routes, &count);
        if (error != 0)
                return error;
        for (size_t i = 0; i < count; i++)
                if (routes[i].index == index && routes[i].protocol != RTPROT_KERNEL &&
                    !is_link_local(&routes[i].dst))
                        print_route(out, &routes[i]);
        free(routes);
        return 0;
}

static int
move_look(struct net *net, const struct journal_record *want, char **ret_before)
{
        struct link link;
        size_t bytes;
        FILE *out;
        int error = link_get(net->nl, want->name, &link);

        if (error != 0)
                return error;
        out = open_memstream(ret_before, &bytes);
        if (out == NULL)
                return -ENOMEM;
        error = print_all(net, link.index, out);
        if (fclose(out) != 0)
                error = -ENOMEM;
        if (error != 0)
                log_error("%s: cannot list its addresses: %s", want->name, strerror(-error));
        return error != 0 ? error : strstr(*ret_before, "A,") == NULL;
}

/* Passes over all entries of one kind with @from and @to as the links' indexes. */
typedef int entry_fn(struct net *net, const char *word, unsigned from, unsigned to);

static int
for_each_entry(
    struct net *net, const char *entries, char kind, entry_fn *fn, unsigned from, unsigned to)
{
        char *copy = strdup(entries);
        char *save = NULL;
        int error = copy == NULL ? -ENOMEM : 0;

        for (char *w = copy != NULL ? strtok_r(copy, " ", &save) : NULL; w != NULL;
             w = strtok_r(NULL, " ", &save))
                if (error == 0 && w[0] == kind)
                        error = fn(net, w, from, to);
        free(copy);
        return error;
}

static int
entry_add_addr(struct net *net, const char *word, unsigned from, unsigned to)
{
        struct link_addr addr;

        if (!parse_addr(word, &addr))
                return -EINVAL;
        addr.index = to;
        return link_add_addr(net->nl, &addr);
}

/* On a bridge, whose first member may not be live yet; the address was in use here a moment ago. */
static int
entry_add_addr_unprobed(struct net *net, const char *word, unsigned from, unsigned to)
{
        struct link_addr addr;

        if (!parse_addr(word, &addr))
                return -EINVAL;
        addr.index = to;
        if (addr.prefix.family == AF_INET6)
                addr.flags |= IFA_F_NODAD;
        return link_add_addr(net->nl, &addr);
}

static int
entry_delete_addr(struct net *net, const char *word, unsigned from, unsigned to)
{
        struct link_addr addr;

        if (!parse_addr(word, &addr))
                return -EINVAL;
        addr.index = from;
        return link_delete_addr(net->nl, &addr);
}

static int
entry_delete_route(struct net *net, const char *word, unsigned from, unsigned to)
{
        struct link_route route;

        if (!parse_route(word, &route))
                return -EINVAL;
        route.index = from;
        return link_delete_route(net->nl, &route);
}

/* First the routes without a gateway: those with one are found through them. */
static int
add_route_if(struct net *net, const char *word, unsigned to, bool has_gateway)
{
        struct link_route route;

        if (!parse_route(word, &route))
                return -EINVAL;
        route.index = to;
        return route.has_gateway == has_gateway ? link_add_route(net->nl, &route) : 0;
}

static int
entry_add_direct_route(struct net *net, const char *word, unsigned from, unsigned to)
{
        return add_route_if(net, word, to, false);
}

static int
entry_add_gateway_route(struct net *net, const char *word, unsigned from, unsigned to)
{
        return add_route_if(net, word, to, true);
}

/* @from may be 0, no link. */
static int
move_entries(struct net *net, const char *entries, entry_fn *add_addr, unsigned from, unsigned to)
{
        int error = for_each_entry(net, entries, 'A', add_addr, from, to);

        if (error == 0 && from != 0)
                error = for_each_entry(net, entries, 'R', entry_delete_route, from, to);
        if (error == 0 && from != 0)
                error = for_each_entry(net, entries, 'A', entry_delete_addr, from, to);
        /* Addresses of one subnet go with the first of them; those of the target may have gone too.
         */
        if (error == 0)
                error = for_each_entry(net, entries, 'A', add_addr, from, to);
        if (error == 0)
                error = for_each_entry(net, entries, 'R', entry_add_direct_route, from, to);
        if (error == 0)
                error = for_each_entry(net, entries, 'R', entry_add_gateway_route, from, to);
        return error;
}

static int
move_make(struct net *net, const struct journal_record *record)
{
        struct link from, to;
        int error = link_get(net->nl, record->name, &from);

        if (error == 0)
                error = link_get(net->nl, record->arg, &to);
        if (error == 0 && journal_find(net->journal, "bridge", record->arg) != NULL &&
            memcmp(from.mac, to.mac, sizeof(to.mac)) != 0)
                error = link_set_mac(net->nl, record->arg, from.mac);
        if (error == 0)
                error = move_entries(
                    net, record->before, entry_add_addr_unprobed, from.index, to.index);
        if (error != 0)
                log_error("%s: cannot move its addresses to %s: %s", record->name, record->arg,
                    strerror(-error));
        return error;
}

static int
move_undo(struct net *net, const struct journal_record *record)
{
        struct link from = { 0 }, to;
        int error = link_get(net->nl, record->name, &to);

        if (error == -ENODEV)
                return 0;
        /* A bridge that is gone took its addresses along; index 0 is no link. */
        if (error == 0 && link_get(net->nl, record->arg, &from) != 0)
                from.index = 0;
        if (error == 0)
                error = move_entries(net, record->before, entry_add_addr, from.index, to.index);
        if (error != 0)
                log_error("%s: cannot give its addresses back: %s", record->name, strerror(-error));
        return error;
}

const struct change_ops change_move = {
        .kind = "move", .arg_is_key = true, .look = move_look, .make = move_make, .undo = move_undo,
};
