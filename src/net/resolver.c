/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Makes the host itself ask our DNS server for the guests' names, through
 * what manages its resolver: systemd-resolved, openresolv or Debian's
 * resolvconf, all of which can be told and told back.  Where there is none
 * of them the change is not made and the user is told what to write.
 */
#include "base/log.h"
#include "base/util.h"
#include "config/netconf.h"
#include "net/change.h"
#include "net/run.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

/* The first IPv4 address of the bridge, else its first. */
static const struct ip_prefix *
server_of(const struct netconf_bridge *bridge)
{
        for (size_t i = 0; i < bridge->addr_count; i++)
                if (bridge->addrs[i].prefix.family == AF_INET)
                        return &bridge->addrs[i].prefix;
        return bridge->addr_count > 0 ? &bridge->addrs[0].prefix : NULL;
}

/* What is asked of each manager: 0, or what the program gave. */
struct manager {
        const char *name;
        int (*set)(
            const char *bridge, const char *server, const char *domain, char *said, size_t bytes);
        int (*revert)(const char *bridge, char *said, size_t bytes);
};

static int
resolved_set(const char *bridge, const char *server, const char *domain, char *said, size_t bytes)
{
        const char *const dns[] = { "resolvectl", "dns", bridge, server, NULL };
        const char *const domains[] = { "resolvectl", "domain", bridge, domain, NULL };
        const char *const no_default[] = { "resolvectl", "default-route", bridge, "false", NULL };
        int status = run(dns, NULL, said, bytes);

        if (status == 0)
                status = run(domains, NULL, said, bytes);
        /* Other names go on to the host's own servers; older versions lack the verb and do so
         * anyway. */
        if (status == 0)
                (void)run(no_default, NULL, NULL, 0);
        return status;
}

static int
resolved_revert(const char *bridge, char *said, size_t bytes)
{
        const char *const argv[] = { "resolvectl", "revert", bridge, NULL };

        return run(argv, NULL, said, bytes);
}

/* Debian's resolvconf puts names that begin so before all others. */
static const char *
record_name(const char *bridge, char name[64])
{
        snprintf(name, 64, "lo.bhyvenet-%s", bridge);
        return name;
}

static void
resolv_conf_text(const char *server, const char *domain, char *text, size_t bytes)
{
        snprintf(text, bytes, "search %s\nnameserver %s\n", domain, server);
}

static int
openresolv_set(const char *bridge, const char *server, const char *domain, char *said, size_t bytes)
{
        char name[64], text[512];
        const char *const argv[] = { "resolvconf", "-m", "0", "-a", record_name(bridge, name),
                NULL };

        resolv_conf_text(server, domain, text, sizeof(text));
        return run(argv, text, said, bytes);
}

static int
resolvconf_set(const char *bridge, const char *server, const char *domain, char *said, size_t bytes)
{
        char name[64], text[512];
        const char *const argv[] = { "resolvconf", "-a", record_name(bridge, name), NULL };

        resolv_conf_text(server, domain, text, sizeof(text));
        return run(argv, text, said, bytes);
}

static int
resolvconf_revert(const char *bridge, char *said, size_t bytes)
{
        char name[64];
        const char *const argv[] = { "resolvconf", "-d", record_name(bridge, name), NULL };

        return run(argv, NULL, said, bytes);
}

static const struct manager managers[] = {
        { "resolved", resolved_set, resolved_revert },
        { "openresolv", openresolv_set, resolvconf_revert },
        { "resolvconf", resolvconf_set, resolvconf_revert },
};

static const struct manager *
manager_find(const char *name)
{
        for (size_t i = 0; i < ARRAY_LEN(managers); i++)
                if (strcmp(managers[i].name, name) == 0)
                        return &managers[i];
        return NULL;
}

/* The one that this host has; NULL for none. */
static const struct manager *
manager_present(void)
{
        const char *const resolved[] = { "resolvectl", "status", NULL };
        const char *const version[] = { "resolvconf", "--version", NULL };
        char said[256];

        if (run(resolved, NULL, NULL, 0) == 0)
                return manager_find("resolved");
        if (!run_exists("resolvconf"))
                return NULL;
        (void)run(version, NULL, said, sizeof(said));
        return manager_find(strstr(said, "openresolv") != NULL ? "openresolv" : "resolvconf");
}

/* True if /etc/resolv.conf asks @server already. */
static bool
is_asked(const char *server)
{
        char text[4096], line[128];

        snprintf(line, sizeof(line), "nameserver %s\n", server);
        return file_read("/etc/resolv.conf", text, sizeof(text)) == 0 && strstr(text, line) != NULL;
}

/* The wanted record has no manager yet; what is before is its name. */
static int
resolver_look(struct net *net, const struct journal_record *want, char **ret_before)
{
        const struct netconf_bridge *bridge = netconf_bridge_find(net->conf, want->name);
        const struct ip_prefix *server = bridge != NULL ? server_of(bridge) : NULL;
        const struct manager *manager;
        char text[IP_TEXT_MAX];

        if (server == NULL)
                return 1;
        ip_format(server->family, server->addr, text);
        if (is_asked(text))
                return 1;
        manager = manager_present();
        if (manager == NULL) {
                log_info("neither systemd-resolved nor resolvconf runs here: for this host to find "
                         "guests by name, put "
                         "the lines `nameserver %s' and `search %s' first in /etc/resolv.conf",
                    text, net->conf->domain);
                return 1;
        }
        *ret_before = strdup(manager->name);
        return *ret_before != NULL ? 0 : -ENOMEM;
}

static int
resolver_make(struct net *net, const struct journal_record *record)
{
        const struct netconf_bridge *bridge = netconf_bridge_find(net->conf, record->name);
        const struct ip_prefix *server = bridge != NULL ? server_of(bridge) : NULL;
        const struct manager *manager = manager_find(record->before);
        char text[IP_TEXT_MAX], said[256];

        if (manager == NULL || server == NULL)
                return 0;
        ip_format(server->family, server->addr, text);
        /* A host that cannot find guests by name is no reason to leave the guests without a
         * network. */
        if (manager->set(record->name, text, net->conf->domain, said, sizeof(said)) != 0)
                log_warn(
                    "%s: the host's resolver was not told of %s: %s", record->name, text, said);
        return 0;
}

static int
resolver_undo(struct net *net, const struct journal_record *record)
{
        const struct manager *manager = manager_find(record->before);
        struct link link;
        char said[256] = "";

        if (manager == NULL)
                return 0;
        /* systemd-resolved forgets a link's servers with the link. */
        if (manager->revert == resolved_revert && link_get(net->nl, record->name, &link) == -ENODEV)
                return 0;
        if (manager->revert(record->name, said, sizeof(said)) != 0)
                log_warn("%s: the host's resolver could not be set back: %s", record->name, said);
        return 0;
}

const struct change_ops change_resolver = {
        .kind = "resolver", .look = resolver_look, .make = resolver_make, .undo = resolver_undo,
};
