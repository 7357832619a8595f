/* SPDX-License-Identifier: BSD-2-Clause */
#include "net/plan.h"
#include "base/log.h"
#include "config/netconf.h"
#include "net/change.h"
#include "net/run.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* The changes that a description asks for, in the order in which they are made. */
struct plan {
        struct journal_record *wants;
        size_t count;
        int error; /* -ENOMEM once memory ran out */
};

static void
plan_finish(struct plan *plan)
{
        for (size_t i = 0; i < plan->count; i++)
                free(plan->wants[i].arg);
        free(plan->wants);
}

static void
plan_want(struct plan *plan, const char *kind, const char *name, const char *arg)
{
        struct journal_record *grown = realloc(plan->wants, (plan->count + 1) * sizeof(*grown));
        struct journal_record *want;

        if (grown == NULL) {
                plan->error = -ENOMEM;
                return;
        }
        plan->wants = grown;
        want = &grown[plan->count];
        *want = (struct journal_record){ .arg = strdup(arg) };
        if (want->arg == NULL) {
                plan->error = -ENOMEM;
                return;
        }
        snprintf(want->kind, sizeof(want->kind), "%s", kind);
        snprintf(want->name, sizeof(want->name), "%s", name);
        plan->count++;
}

static uint64_t
fnv1a(uint64_t hash, const char *text)
{
        for (; *text != '\0'; text++)
                hash = (hash ^ (unsigned char)*text) * 0x100000001b3;
        return hash;
}

/* A locally administered address that this machine gives the link of that name each time. */
static const char *
mac_for(const char *name, char text[18])
{
        char machine[64] = "";
        uint64_t hash;

        (void)file_read("/etc/machine-id", machine, sizeof(machine));
        hash = fnv1a(fnv1a(0xcbf29ce484222325, machine), name);
        snprintf(text, 18, "02:%02x:%02x:%02x:%02x:%02x", (unsigned)(hash >> 32 & 0xff),
            (unsigned)(hash >> 24 & 0xff), (unsigned)(hash >> 16 & 0xff),
            (unsigned)(hash >> 8 & 0xff), (unsigned)(hash & 0xff));
        return text;
}

static void
want_links(struct plan *plan, const struct netconf *conf)
{
        char mac[18];

        for (size_t i = 0; i < conf->bridge_count; i++)
                if (conf->bridges[i].cloned)
                        plan_want(plan, "bridge", conf->bridges[i].name,
                            mac_for(conf->bridges[i].name, mac));
        for (size_t i = 0; i < conf->bridge_count; i++)
                plan_want(plan, "up", conf->bridges[i].name, "");
        for (size_t i = 0; i < conf->tap_count; i++)
                plan_want(plan, "tap", conf->taps[i].name, mac_for(conf->taps[i].name, mac));
}

/* A tap is brought up in its bridge, so that it gets no address of its own before. */
static void
want_member(struct plan *plan, const char *bridge, const char *ifname, bool is_tap)
{
        plan_want(plan, "member", ifname, bridge);
        plan_want(plan, "up", ifname, "");
        if (!is_tap)
                plan_want(plan, "move", ifname, bridge);
}

static bool
is_planned_tap(const struct netconf *conf, const char *name)
{
        for (size_t i = 0; i < conf->tap_count; i++)
                if (strcmp(conf->taps[i].name, name) == 0)
                        return true;
        return false;
}

/* Planned taps, whether they exist or not, then what exists already and a glob matches. */
static void
want_members(struct plan *plan, const struct netconf *conf, const struct link *links, size_t count)
{
        const struct netconf_bridge *bridge;

        for (size_t i = 0; i < conf->tap_count; i++) {
                bridge = netconf_bridge_of(conf, conf->taps[i].name);
                if (bridge != NULL)
                        want_member(plan, bridge->name, conf->taps[i].name, true);
                else
                        plan_want(plan, "up", conf->taps[i].name, "");
        }
        for (size_t i = 0; i < count; i++) {
                bridge = netconf_bridge_of(conf, links[i].name);
                if (bridge != NULL && links[i].kind != LINK_BRIDGE &&
                    strcmp(links[i].name, "lo") != 0 && !is_planned_tap(conf, links[i].name))
                        want_member(plan, bridge->name, links[i].name, links[i].kind == LINK_TUN);
        }
}

static void
want_addrs(struct plan *plan, const struct netconf *conf)
{
        char text[IP_TEXT_MAX];

        for (size_t i = 0; i < conf->bridge_count; i++)
                for (size_t j = 0; j < conf->bridges[i].addr_count; j++)
                        plan_want(plan, "addr", conf->bridges[i].name,
                            ip_prefix_format(&conf->bridges[i].addrs[j].prefix, text));
}

static void
want_names(struct plan *plan, const struct netconf *conf)
{
        if (!conf->dnsmasq)
                return;
        plan_want(plan, "dnsmasq", "dnsmasq", "");
        for (size_t i = 0; i < conf->bridge_count && conf->host_resolver; i++)
                if (conf->bridges[i].addr_count > 0)
                        plan_want(plan, "resolver", conf->bridges[i].name, "");
}

static int
plan_make(struct plan *plan, struct net *net)
{
        const struct netconf *conf = net->conf;
        struct link *links;
        size_t count;
        int error = link_list(net->nl, &links, &count);

        if (error != 0)
                return error;
        /* Translation first: guests are never forwarded with their own addresses. */
        if (conf->nat)
                plan_want(plan, "nat", "bhyve", "");
        if (conf->gateway)
                plan_want(plan, "forward", "ipv4", "");
        if (conf->gateway6)
                plan_want(plan, "forward", "ipv6", "");
        want_links(plan, conf);
        want_addrs(plan, conf);
        want_members(plan, conf, links, count);
        want_names(plan, conf);
        free(links);
        return plan->error;
}

/* Records and wants */

static bool
is_same_change(const struct journal_record *a, const struct journal_record *b)
{
        const struct change_ops *ops = change_ops_find(a->kind);

        return strcmp(a->kind, b->kind) == 0 && strcmp(a->name, b->name) == 0 &&
            (ops == NULL || !ops->arg_is_key || strcmp(a->arg, b->arg) == 0);
}

static int
record_of(const struct net *net, const struct journal_record *want)
{
        for (size_t i = 0; i < journal_count(net->journal); i++)
                if (is_same_change(journal_at(net->journal, i), want))
                        return (int)i;
        return -1;
}

static void
say(const struct net *net, const char *verb, const struct journal_record *record)
{
        if (net->verbose)
                log_info("%s %s %s%s%s", verb, record->kind, record->name,
                    record->arg[0] != '\0' ? " " : "", record->arg);
}

static int
undo_record(struct net *net, size_t index)
{
        const struct journal_record *record = journal_at(net->journal, index);
        const struct change_ops *ops = change_ops_find(record->kind);
        int error;

        say(net, "undo", record);
        error = ops != NULL ? ops->undo(net, record) : -EINVAL;
        if (error == 0)
                error = journal_remove(net->journal, index);
        return error;
}

/* Looks, and writes the record.  1: nothing is to be made; 0: made next; -errno. */
static int
record_want(struct net *net, const struct journal_record *want)
{
        struct journal_record record = *want;
        int done;

        record.before = NULL;
        done = change_ops_find(want->kind)->look(net, want, &record.before);
        if (done == 0) {
                done = journal_add(net->journal, &record);
                if (done != 0)
                        log_error("cannot write the journal: %s", strerror(-done));
        }
        free(record.before);
        return done;
}

static int
fulfil(struct net *net, const struct journal_record *want)
{
        int index = record_of(net, want);
        int done = 0;

        if (index < 0) {
                done = record_want(net, want);
                if (done == 0)
                        index = record_of(net, want);
        }
        if (done != 0)
                return done < 0 ? done : 0;
        say(net, "make", want);
        return change_ops_find(want->kind)->make(net, journal_at(net->journal, (size_t)index));
}

static int
undo_unwanted(struct net *net, const struct plan *plan)
{
        int error = 0;

        for (size_t i = journal_count(net->journal); error == 0 && i-- > 0;) {
                const struct journal_record *record = journal_at(net->journal, i);
                bool wanted = record->by_hand;

                for (size_t j = 0; j < plan->count && !wanted; j++)
                        wanted = is_same_change(record, &plan->wants[j]);
                if (!wanted)
                        error = undo_record(net, i);
        }
        return error;
}

/* The plan for the host as it is, with what it does not want undone. */
static int
plan_prepare(struct plan *plan, struct net *net)
{
        int error = plan_make(plan, net);

        if (error != 0)
                log_error("cannot plan the changes: %s", strerror(-error));
        return error != 0 ? error : undo_unwanted(net, plan);
}

int
plan_up(struct net *net)
{
        struct plan plan = { 0 };
        bool fresh = journal_count(net->journal) == 0;
        int error = plan_prepare(&plan, net);

        /* A link that went away may have matched a glob before. */
        if (error == 0 && !fresh) {
                plan_finish(&plan);
                plan = (struct plan){ 0 };
                error = plan_prepare(&plan, net);
        }
        for (size_t i = 0; error == 0 && i < plan.count; i++)
                error = fulfil(net, &plan.wants[i]);
        plan_finish(&plan);
        if (error != 0 && fresh && journal_count(net->journal) > 0) {
                log_error("undoing what was done so far");
                (void)plan_down(net);
        }
        return error;
}

int
plan_down(struct net *net)
{
        int first_error = 0;
        int error;

        for (size_t i = journal_count(net->journal); i-- > 0;) {
                error = undo_record(net, i);
                if (error != 0 && first_error == 0)
                        first_error = error;
        }
        if (first_error != 0)
                log_error("some changes could not be undone and are kept on record; run `bhyvenet "
                          "down' again");
        return first_error;
}

/* Members by hand */

static int
check_member_names(struct net *net, const char *bridge, const char *ifname)
{
        struct link link;

        if (link_get(net->nl, bridge, &link) != 0 || link.kind != LINK_BRIDGE) {
                log_error("%s is not a bridge on this host; `bhyvenet status' lists them", bridge);
                return -ENODEV;
        }
        if (link_get(net->nl, ifname, &link) != 0) {
                log_error("%s does not exist on this host", ifname);
                return -ENODEV;
        }
        return 0;
}

/* The changes of want_member(), marked as asked for by hand. */
int
plan_add_member(struct net *net, const char *bridge, const char *ifname)
{
        struct plan plan = { 0 };
        struct link link = { 0 };
        int error = check_member_names(net, bridge, ifname);

        if (error != 0)
                return error;
        (void)link_get(net->nl, ifname, &link);
        want_member(&plan, bridge, ifname, link.kind == LINK_TUN);
        error = plan.error;
        for (size_t i = 0; error == 0 && i < plan.count; i++) {
                plan.wants[i].by_hand = true;
                error = fulfil(net, &plan.wants[i]);
        }
        plan_finish(&plan);
        return error;
}

static bool
is_member_change(const struct journal_record *record, const char *bridge, const char *ifname)
{
        return strcmp(record->name, ifname) == 0 &&
            ((strcmp(record->kind, "member") == 0 && strcmp(record->arg, bridge) == 0) ||
                (strcmp(record->kind, "move") == 0 && strcmp(record->arg, bridge) == 0) ||
                (strcmp(record->kind, "up") == 0 && record->by_hand));
}

int
plan_delete_member(struct net *net, const char *bridge, const char *ifname)
{
        struct link port, master;
        int error = check_member_names(net, bridge, ifname);

        if (error != 0)
                return error;
        (void)link_get(net->nl, ifname, &port);
        (void)link_get(net->nl, bridge, &master);
        if (port.master == 0 || port.master != master.index) {
                log_error("%s is not a member of %s", ifname, bridge);
                return -EINVAL;
        }
        for (size_t i = journal_count(net->journal); error == 0 && i-- > 0;)
                if (is_member_change(journal_at(net->journal, i), bridge, ifname))
                        error = undo_record(net, i);
        /* One that joined by itself or by another's hand leaves as well: the user asks for it. */
        if (error == 0 && link_get(net->nl, ifname, &port) == 0 && port.master == master.index) {
                error = link_set_master(net->nl, ifname, NULL);
                if (error != 0)
                        log_error(
                            "%s: cannot take it out of %s: %s", ifname, bridge, strerror(-error));
        }
        return error;
}
