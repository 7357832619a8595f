/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The kinds of changes that bhyvenet makes to a host.  Each can be looked
 * at, made and undone, any number of times with the same result: so a run
 * that was killed is healed by running again, whichever way.
 *
 *      bridge NAME, tap NAME     the link is made           arg: its MAC address at first
 *      up NAME                   it is brought up
 *      member NAME               it joins a bridge          arg: the bridge
 *      move NAME                 its addresses and routes   arg: the bridge
 *                                go to its bridge
 *      addr NAME                 it gets an address         arg: the address
 *      forward ipv4|ipv6         the host forwards
 *      nat bhyve                 the nftables table
 *      dnsmasq dnsmasq           DHCP and DNS are served
 *      resolver NAME             the host asks our DNS      arg: through which program
 */
#ifndef NET_CHANGE_H
#define NET_CHANGE_H

#include "net/journal.h"
#include "net/link.h"

#include <stdbool.h>

struct netconf;

struct net {
        struct netconf *conf; /* NULL while undoing */
        struct netlink *nl;
        struct journal *journal;
        bool verbose;
};

struct change_ops {
        const char *kind;
        bool arg_is_key; /* two changes of a name differ by their argument */
        /*
         * Before a record exists: 1 where all is as wanted and nothing needs
         * doing or undoing; 0 with what is there now in @ret_before (malloced,
         * or left NULL); -errno where it must not be done, with a message.
         */
        int (*look)(struct net *net, const struct journal_record *want, char **ret_before);
        /* 0 or -errno with a message; what is done already is passed over. */
        int (*make)(struct net *net, const struct journal_record *record);
        int (*undo)(struct net *net, const struct journal_record *record);
};

/* NULL for an unknown kind. */
const struct change_ops *change_ops_find(const char *kind);

/* The link of that name is one that this record made. */
bool change_owns_link(const struct journal_record *record, const struct link *link);

/* The kinds with files of their own. */
extern const struct change_ops change_move;
extern const struct change_ops change_forward;
extern const struct change_ops change_nat;
extern const struct change_ops change_dnsmasq;
extern const struct change_ops change_resolver;

#endif
