/* SPDX-License-Identifier: BSD-2-Clause */
#include "net/dnsmasq.h"
#include "base/log.h"
#include "config/netconf.h"
#include "net/change.h"
#include "net/run.h"
#include "net/supervisor.h"

#include <errno.h>
#include <limits.h>
#include <netdb.h>
#include <pwd.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define PROGRAM        "dnsmasq"
#define RESOLVED_SERVERS "/run/systemd/resolve/resolv.conf"

/* Its configuration */

static bool
bridge_is_served(const struct netconf_bridge *bridge)
{
        return bridge->addr_count > 0;
}

static void
print_range(const struct netconf *conf, const struct netconf_range *range, FILE *out)
{
        char first[IP_TEXT_MAX], last[IP_TEXT_MAX];

        fprintf(out, "dhcp-range=%s,%s", ip_format(range->family, range->first, first),
            ip_format(range->family, range->last, last));
        if (range->lease[0] != '\0')
                fprintf(out, ",%s", range->lease);
        fprintf(out, "\n");
}

/* Guests find their IPv6 addresses by router advertisements, unless a range hands them out. */
static void
print_advertisements(const struct netconf *conf, const struct netconf_bridge *bridge, FILE *out)
{
        struct ip_prefix network;
        char text[IP_TEXT_MAX];
        bool any = false;

        for (size_t i = 0; i < bridge->addr_count; i++) {
                network = ip_prefix_network(&bridge->addrs[i].prefix);
                if (network.family != AF_INET6 || network.len != 64)
                        continue;
                fprintf(out, "dhcp-range=%s,ra-stateless,ra-names\n",
                    ip_format(AF_INET6, network.addr, text));
                any = true;
        }
        if (any && !conf->gateway6) /* no default route through a host that does not forward */
                fprintf(out, "ra-param=%s,60,0\n", bridge->name);
        if (any)
                fprintf(out, "enable-ra\n");
}

void
dnsmasq_print_conf(const struct netconf *conf, const char *upstream, FILE *out)
{
        char path[PATH_MAX];

        fprintf(out, "domain-needed\n"
                     "bogus-priv\n"
                     "bind-dynamic\n"
                     "except-interface=lo\n"
                     "no-hosts\n"
                     "expand-hosts\n"
                     "no-ping\n"
                     "dhcp-authoritative\n"
                     "domain=%s\n"
                     "local=/%s/\n"
                     "resolv-file=%s\n", conf->domain, conf->domain, upstream);
        netconf_state_path("hosts", path);
        fprintf(out, "addn-hosts=%s\n", path);
        netconf_state_path("dnsmasq.leases", path);
        fprintf(out, "dhcp-leasefile=%s\n", path);
        netconf_state_path("dnsmasq.pid", path);
        fprintf(out, "pid-file=%s\n", path);
        if (getpwnam(PROGRAM) != NULL)
                fprintf(out, "user=" PROGRAM "\n");
        for (size_t i = 0; i < conf->bridge_count; i++)
                if (bridge_is_served(&conf->bridges[i])) {
                        fprintf(out, "interface=%s\n", conf->bridges[i].name);
                        print_advertisements(conf, &conf->bridges[i], out);
                }
        for (size_t i = 0; i < conf->range_count; i++)
                print_range(conf, &conf->ranges[i], out);
}

/* 127.0.0.0/8, ::1 and the multicast names that Debian lists: of no use to another host. */
static bool
is_local_only(int family, const uint8_t addr[16])
{
        static const uint8_t v6_loopback[16] = { [15] = 1 };

        if (family == AF_INET)
                return addr[0] == 127;
        return memcmp(addr, v6_loopback, 16) == 0 || addr[0] == 0xff ||
               (addr[0] == 0xfe && addr[1] == 0);
}

static void
print_hosts_line(char *line, FILE *out)
{
        char *save = NULL;
        uint8_t addr[16];
        char *word;
        int family;

        line[strcspn(line, "#")] = '\0';
        word = strtok_r(line, " \t\r", &save);
        if (word == NULL || ip_parse(word, &family, addr) != 0 || is_local_only(family, addr))
                return;
        fprintf(out, "%s", word);
        while ((word = strtok_r(NULL, " \t\r", &save)) != NULL)
                fprintf(out, " %s", word);
        fprintf(out, "\n");
}

void
dnsmasq_print_hosts(const struct netconf *conf, const char *hosts, const char *hostname, FILE *out)
{
        char *copy = strdup(hosts);
        char *rest = copy;
        char text[IP_TEXT_MAX];
        char *line;

        while (rest != NULL && (line = strsep(&rest, "\n")) != NULL)
                print_hosts_line(line, out);
        free(copy);
        if (hostname[0] == '\0' || strcmp(hostname, "localhost") == 0)
                return;
        for (size_t i = 0; i < conf->bridge_count; i++)
                for (size_t j = 0; j < conf->bridges[i].addr_count; j++) {
                        const struct ip_prefix *prefix = &conf->bridges[i].addrs[j].prefix;

                        fprintf(out, "%s %s\n", ip_format(prefix->family, prefix->addr, text),
                            hostname);
                }
}

const char *
dnsmasq_upstream(void)
{
        /* systemd-resolved names only itself in /etc/resolv.conf. */
        return access(RESOLVED_SERVERS, R_OK) == 0 ? RESOLVED_SERVERS : "/etc/resolv.conf";
}

/* Its state */

void
dnsmasq_pids(pid_t *ret_supervisor, pid_t *ret_server)
{
        *ret_supervisor = supervisor_pid();
        *ret_server = *ret_supervisor != 0 ? supervisor_read_pid("dnsmasq.pid") : 0;
}

bool
dnsmasq_read_lease(FILE *file, struct dnsmasq_lease *ret_lease)
{
        struct dnsmasq_lease lease;
        char line[1024];

        while (fgets(line, sizeof(line), file) != NULL) {
                /* "duid ..." stands between the IPv4 and the IPv6 leases */
                if (sscanf(line, "%lld %63s %63s %255s", &lease.expires, lease.mac, lease.address,
                        lease.name) != 4)
                        continue;
                if (strcmp(lease.name, "*") == 0)
                        lease.name[0] = '\0';
                *ret_lease = lease;
                return true;
        }
        return false;
}

/* The change */

static int
dnsmasq_look(struct net *net, const struct journal_record *want, char **ret_before)
{
        if (run_exists(PROGRAM))
                return 0;
        log_error("dnsmasq is not installed: `apt install dnsmasq-base' (or your system's package "
                  "dnsmasq), or set "
                  "dnsmasq_enable=\"NO\"");
        return -ENOENT;
}

/* Writes @text to the state file unless it is there already; 1 if it was not. */
static int
refresh(const char *file, const char *text)
{
        char path[PATH_MAX], now[65536];
        int error;

        netconf_state_path(file, path);
        if (file_read(path, now, sizeof(now)) == 0 && strcmp(now, text) == 0)
                return 0;
        error = file_replace(path, text);
        return error != 0 ? error : 1;
}

static int
write_conf(const struct netconf *conf)
{
        char *text = NULL;
        size_t bytes;
        FILE *out = open_memstream(&text, &bytes);
        int changed;

        if (out == NULL)
                return -ENOMEM;
        dnsmasq_print_conf(conf, dnsmasq_upstream(), out);
        changed = fclose(out) != 0 ? -ENOMEM : refresh("dnsmasq.conf", text);
        free(text);
        return changed;
}

static int
write_hosts(void *ctx)
{
        char hosts[65536], hostname[HOST_NAME_MAX + 1] = "";
        char *text = NULL;
        size_t bytes;
        FILE *out = open_memstream(&text, &bytes);
        int changed;

        if (out == NULL)
                return -ENOMEM;
        if (file_read("/etc/hosts", hosts, sizeof(hosts)) != 0)
                hosts[0] = '\0';
        gethostname(hostname, sizeof(hostname) - 1);
        hostname[strcspn(hostname, ".")] = '\0';
        dnsmasq_print_hosts(ctx, hosts, hostname, out);
        changed = fclose(out) != 0 ? -ENOMEM : refresh("hosts", text);
        free(text);
        return changed;
}

static int
start(struct netconf *conf)
{
        char conf_option[PATH_MAX + 32], path[PATH_MAX], words[512];
        const char *const argv[] = { PROGRAM, "--keep-in-foreground", conf_option, NULL };
        int error;

        netconf_state_path("dnsmasq.conf", path);
        snprintf(conf_option, sizeof(conf_option), "--conf-file=%s", path);
        error = supervisor_start(argv, write_hosts, conf, words, sizeof(words));
        if (error == -EADDRINUSE)
                log_error("dnsmasq cannot serve the bridge: another DNS or DHCP server holds the "
                          "port (%s): stop it, or "
                          "bind it to its own interfaces",
                    words);
        else if (error != 0)
                log_error(
                    "dnsmasq does not start: %s", words[0] != '\0' ? words : strerror(-error));
        return error;
}

static int
dnsmasq_make(struct net *net, const struct journal_record *record)
{
        int error = dnsmasq_look(net, record, NULL);
        int changed;

        if (error != 0)
                return error;
        changed = write_conf(net->conf);
        error = changed < 0 ? changed : write_hosts(net->conf);
        if (error < 0) {
                log_error("cannot write dnsmasq's configuration: %s", strerror(-error));
                return error;
        }
        if (supervisor_pid() != 0 && changed == 0)
                return 0;
        error = supervisor_stop();
        return error != 0 ? error : start(net->conf);
}

static int
dnsmasq_undo(struct net *net, const struct journal_record *record)
{
        static const char *const files[] = { "dnsmasq.conf", "hosts", "dnsmasq.leases",
                "dnsmasq.pid", "dnsmasq.conf.new", "hosts.new", NULL };
        char path[PATH_MAX];
        int error = supervisor_stop();

        for (size_t i = 0; files[i] != NULL; i++) {
                netconf_state_path(files[i], path);
                (void)unlink(path);
        }
        return error;
}

const struct change_ops change_dnsmasq = {
        .kind = PROGRAM, .look = dnsmasq_look, .make = dnsmasq_make, .undo = dnsmasq_undo,
};
