/* SPDX-License-Identifier: BSD-2-Clause */
#include "net/change.h"
#include "backend/net/tap.h"
#include "base/log.h"
#include "base/util.h"
#include "config/netconf.h"

#include <errno.h>
#include <grp.h>
#include <linux/if_addr.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

/* The name that our links bear beside their own; `ip link' shows it. */
#define LINK_ALIAS "bhyvenet"

static int
fail(const struct journal_record *record, int error, const char *doing)
{
        log_error("%s: cannot %s: %s", record->name, doing, strerror(-error));
        return error;
}

static bool
mac_parse(const char *text, uint8_t mac[6])
{
        return sscanf(text, "%2hhx:%2hhx:%2hhx:%2hhx:%2hhx:%2hhx", &mac[0], &mac[1], &mac[2],
                   &mac[3], &mac[4], &mac[5]) == 6;
}

bool
change_owns_link(const struct journal_record *record, const struct link *link)
{
        uint8_t mac[6];

        if (strcmp(link->alias, LINK_ALIAS) == 0)
                return true;
        return mac_parse(record->arg, mac) && memcmp(mac, link->mac, sizeof(mac)) == 0;
}

/* bridge */

static int
bridge_look(struct net *net, const struct journal_record *want, char **ret_before)
{
        struct link link;
        int error = link_get(net->nl, want->name, &link);

        if (error == -ENODEV)
                return 0;
        if (error != 0)
                return fail(want, error, "look at it");
        log_error("%s exists and was not made by bhyvenet: to use it as it is, take it out of "
                  "cloned_interfaces, else remove it or choose another name", want->name);
        return -EEXIST;
}

static int
bridge_set_mtu(struct net *net, const struct journal_record *record)
{
        const struct netconf_bridge *bridge = netconf_bridge_find(net->conf, record->name);
        struct link link;
        int error = link_get(net->nl, record->name, &link);

        if (error != 0 || bridge == NULL || bridge->mtu == 0 || bridge->mtu == link.mtu)
                return error;
        return link_set_mtu(net->nl, record->name, bridge->mtu);
}

static int
bridge_make(struct net *net, const struct journal_record *record)
{
        struct link link;
        uint8_t mac[6];
        int error = link_get(net->nl, record->name, &link);

        if (error == 0 && (link.kind != LINK_BRIDGE || !change_owns_link(record, &link)))
                return bridge_look(net, record, NULL);
        if (error == -ENODEV && mac_parse(record->arg, mac))
                error = link_add_bridge(net->nl, record->name, mac);
        if (error == 0)
                error = link_set_alias(net->nl, record->name, LINK_ALIAS);
        if (error == 0)
                error = bridge_set_mtu(net, record);
        return error == 0 ? 0 : fail(record, error, "make the bridge");
}

/* Removes a link that @record made; another of that name stays. */
static int
made_link_undo(struct net *net, const struct journal_record *record)
{
        struct link link;
        int error = link_get(net->nl, record->name, &link);

        if (error == -ENODEV || (error == 0 && !change_owns_link(record, &link)))
                return 0;
        if (error == 0)
                error = link_delete(net->nl, record->name);
        return error == 0 || error == -ENODEV ? 0 : fail(record, error, "remove it");
}

static const struct change_ops change_bridge = {
        .kind = "bridge", .look = bridge_look, .make = bridge_make, .undo = made_link_undo,
};

/* tap */

static int
tap_look(struct net *net, const struct journal_record *want, char **ret_before)
{
        struct link link;
        int error = link_get(net->nl, want->name, &link);

        if (error == -ENODEV)
                return 0;
        if (error != 0)
                return fail(want, error, "look at it");
        /* One that a guest has open, or that another program prepared, serves as well. */
        if (link.kind == LINK_TUN)
                return 1;
        log_error("%s exists and is not a tap: rename it, or name another tap in cloned_interfaces",
            want->name);
        return -EEXIST;
}

static int
tap_users(const struct netconf *conf, int *ret_uid, int *ret_gid)
{
        const struct passwd *user = conf->tap_owner[0] != '\0' ? getpwnam(conf->tap_owner) : NULL;
        const struct group *group = conf->tap_group[0] != '\0' ? getgrnam(conf->tap_group) : NULL;

        if ((conf->tap_owner[0] != '\0' && user == NULL) ||
            (conf->tap_group[0] != '\0' && group == NULL)) {
                log_error("tap_owner or tap_group: there is no user '%s' or no group '%s'",
                    conf->tap_owner, conf->tap_group);
                return -EINVAL;
        }
        *ret_uid = user != NULL ? (int)user->pw_uid : -1;
        *ret_gid = group != NULL ? (int)group->gr_gid : -1;
        return 0;
}

static int
tap_create(struct net *net, const struct journal_record *record)
{
        uint8_t mac[6];
        char text[256];
        int uid, gid;
        int error = tap_users(net->conf, &uid, &gid);

        if (error != 0)
                return error;
        error = mac_parse(record->arg, mac)
            ? tap_create_persistent(record->name, net->conf->tap_multiqueue, uid, gid, mac)
            : -EINVAL;
        if (error != 0)
                log_error("%s", tap_explain(record->name, error, text, sizeof(text)));
        return error;
}

static int
tap_make(struct net *net, const struct journal_record *record)
{
        struct link link;
        bool exists = link_get(net->nl, record->name, &link) == 0;
        int error = 0;

        if (exists && link.kind != LINK_TUN)
                return tap_look(net, record, NULL);
        /* Another's tap that came meanwhile serves as well, and stays another's. */
        if (exists && !change_owns_link(record, &link))
                return 0;
        if (!exists)
                error = tap_create(net, record);
        if (error != 0)
                return error;
        error = link_set_alias(net->nl, record->name, LINK_ALIAS);
        return error == 0 ? 0 : fail(record, error, "name it");
}

static const struct change_ops change_tap = {
        .kind = "tap", .look = tap_look, .make = tap_make, .undo = made_link_undo,
};

/* up */

static int
up_look(struct net *net, const struct journal_record *want, char **ret_before)
{
        struct link link;
        int error = link_get(net->nl, want->name, &link);

        return error != 0 ? fail(want, error, "look at it") : link.up;
}

static int
up_make(struct net *net, const struct journal_record *record)
{
        int error = link_set_up(net->nl, record->name, true);

        return error == 0 ? 0 : fail(record, error, "bring it up");
}

static int
up_undo(struct net *net, const struct journal_record *record)
{
        int error = link_set_up(net->nl, record->name, false);

        return error == 0 || error == -ENODEV ? 0 : fail(record, error, "bring it down");
}

static const struct change_ops change_up = {
        .kind = "up", .look = up_look, .make = up_make, .undo = up_undo,
};

/* member */

/* 1: @name is a member of @bridge; 0: of none; -EBUSY: of another; else -errno. */
static int
membership(struct net *net, const char *name, const char *bridge)
{
        struct link port, master;
        int error = link_get(net->nl, name, &port);

        if (error == 0)
                error = link_get(net->nl, bridge, &master);
        if (error != 0)
                return error;
        if (port.master == 0)
                return 0;
        return port.master == master.index ? 1 : -EBUSY;
}

static int
member_look(struct net *net, const struct journal_record *want, char **ret_before)
{
        int is = membership(net, want->name, want->arg);

        if (is == -EBUSY)
                log_error("%s belongs to another bridge or bond and cannot join %s: take it out "
                          "there first",
                    want->name, want->arg);
        else if (is < 0)
                return fail(want, is, "look at it");
        return is;
}

static int
member_make(struct net *net, const struct journal_record *record)
{
        int error = member_look(net, record, NULL);

        if (error != 0)
                return error == 1 ? 0 : error;
        error = link_set_master(net->nl, record->name, record->arg);
        if (error == 0)
                return 0;
        log_error("%s: cannot join %s: %s%s", record->name, record->arg, strerror(-error),
            error == -EOPNOTSUPP || error == -EBUSY
                ? " (a wireless interface cannot be bridged; use a private "
                  "network with natd_enable)"
                : "");
        return error;
}

static int
member_undo(struct net *net, const struct journal_record *record)
{
        int error;

        if (membership(net, record->name, record->arg) != 1)
                return 0;
        error = link_set_master(net->nl, record->name, NULL);
        return error == 0 || error == -ENODEV ? 0
                                              : fail(record, error, "take it out of its bridge");
}

static const struct change_ops change_member = {
        .kind = "member",
        .arg_is_key = true,
        .look = member_look,
        .make = member_make,
        .undo = member_undo,
};

/* addr */

static int
addr_fill(struct net *net, const struct journal_record *record, struct link_addr *addr)
{
        struct link link;
        int error = link_get(net->nl, record->name, &link);

        *addr = (struct link_addr){
                .index = link.index, .valid_s = UINT32_MAX, .preferred_s = UINT32_MAX
        };
        if (error == 0)
                error = ip_prefix_parse(record->arg, &addr->prefix);
        if (error != 0)
                return error;
        if (addr->prefix.family == AF_INET6)
                addr->flags = IFA_F_NODAD; /* a bridge without a live member could not finish it */
        if (addr->prefix.family == AF_INET && addr->prefix.len < 31) {
                addr->has_broadcast = true;
                memcpy(addr->broadcast, addr->prefix.addr, sizeof(addr->broadcast));
                for (unsigned bit = addr->prefix.len; bit < 32; bit++)
                        addr->broadcast[bit / 8] |= (uint8_t)(0x80 >> bit % 8);
        }
        return 0;
}

static int
addr_look(struct net *net, const struct journal_record *want, char **ret_before)
{
        struct link_addr wanted, *addrs;
        size_t count;
        int found = 0;
        int error = addr_fill(net, want, &wanted);

        if (error == 0)
                error = link_list_addrs(net->nl, &addrs, &count);
        if (error != 0)
                return fail(want, error, "look at its addresses");
        for (size_t i = 0; i < count; i++)
                if (addrs[i].index == wanted.index &&
                    ip_prefix_equal(&addrs[i].prefix, &wanted.prefix))
                        found = 1;
        free(addrs);
        return found;
}

static int
addr_make(struct net *net, const struct journal_record *record)
{
        struct link_addr addr;
        int error = addr_fill(net, record, &addr);

        if (error == 0)
                error = link_add_addr(net->nl, &addr);
        if (error != 0)
                log_error("%s: cannot set %s: %s", record->name, record->arg, strerror(-error));
        return error;
}

static int
addr_undo(struct net *net, const struct journal_record *record)
{
        struct link_addr addr;
        int error = addr_fill(net, record, &addr);

        if (error == 0)
                error = link_delete_addr(net->nl, &addr);
        return error == 0 || error == -ENODEV ? 0 : fail(record, error, "take its address away");
}

static const struct change_ops change_addr = {
        .kind = "addr", .arg_is_key = true, .look = addr_look, .make = addr_make, .undo = addr_undo,
};

const struct change_ops *
change_ops_find(const char *kind)
{
        static const struct change_ops *const all[] = { &change_bridge, &change_tap, &change_up,
                &change_member, &change_move, &change_addr, &change_forward, &change_nat,
                &change_dnsmasq, &change_resolver };

        for (size_t i = 0; i < ARRAY_LEN(all); i++)
                if (strcmp(all[i]->kind, kind) == 0)
                        return all[i];
        return NULL;
}
