/* SPDX-License-Identifier: BSD-2-Clause */
#include "config/netconf.h"
#include "base/util.h"
#include "config/rcvars.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <fnmatch.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <unistd.h>

#define FILE_BYTES_MAX ((size_t)MIB)
#define NOTES_MAX      100
#define DEFAULT_DOMAIN "bhyve.internal"

const char *
netconf_path(void)
{
        const char *path = getenv("BHYVE_NET_CONF");

        return path != NULL && path[0] != '\0' ? path : NETCONF_PATH;
}

void
netconf_state_path(const char *file, char ret_path[PATH_MAX])
{
        const char *run = getenv("BHYVE_RUN");

        /* The dot keeps it apart from the directories of virtual machines. */
        snprintf(ret_path, PATH_MAX, "%s/.net%s%s",
            run != NULL && run[0] != '\0' ? run : "/run/bhyve", file[0] != '\0' ? "/" : "", file);
}

/* Notes */

static void
note_add(struct netconf *conf, unsigned line, bool error, const char *fmt, va_list ap)
{
        struct netconf_note *grown;

        conf->error_count += error;
        if (conf->note_count >= NOTES_MAX)
                return;
        grown = realloc(conf->notes, (conf->note_count + 1) * sizeof(*grown));
        if (grown == NULL)
                return;
        conf->notes = grown;
        grown += conf->note_count++;
        grown->line = line;
        grown->error = error;
        vsnprintf(grown->text, sizeof(grown->text), fmt, ap);
}

void
netconf_error(struct netconf *conf, unsigned line, const char *fmt, ...)
{
        va_list ap;

        va_start(ap, fmt);
        note_add(conf, line, true, fmt, ap);
        va_end(ap);
}

void
netconf_warning(struct netconf *conf, unsigned line, const char *fmt, ...)
{
        va_list ap;

        va_start(ap, fmt);
        note_add(conf, line, false, fmt, ap);
        va_end(ap);
}

static void
note_syntax(void *ctx, unsigned line, const char *text)
{
        netconf_error(ctx, line, "%s", text);
}

/* Names */

bool
netconf_ifname_valid(const char *name)
{
        if (name[0] == '\0' || strlen(name) >= IFNAMSIZ || strcmp(name, ".") == 0 ||
            strcmp(name, "..") == 0)
                return false;
        for (const char *p = name; *p != '\0'; p++)
                if (*p <= ' ' || *p > '~' || strchr("/:%\"'\\{}", *p) != NULL)
                        return false;
        return true;
}

/* @name is @driver and a number behind it. */
static bool
is_unit_of(const char *name, const char *driver)
{
        size_t len = strlen(driver);

        return strncmp(name, driver, len) == 0 && name[len] != '\0' &&
            strspn(name + len, "0123456789") == strlen(name + len);
}

bool
netconf_ifname_is_tap(const char *name)
{
        return netconf_ifname_valid(name) && (is_unit_of(name, "tap") || is_unit_of(name, "vmnet"));
}

static struct netconf_bridge *
bridge_find(struct netconf *conf, const char *name)
{
        for (size_t i = 0; i < conf->bridge_count; i++)
                if (strcmp(conf->bridges[i].name, name) == 0)
                        return &conf->bridges[i];
        return NULL;
}

const struct netconf_bridge *
netconf_bridge_find(const struct netconf *conf, const char *name)
{
        return bridge_find((struct netconf *)conf, name);
}

bool
netconf_bridge_wants(const struct netconf_bridge *bridge, const char *ifname)
{
        if (strcmp(bridge->name, ifname) == 0)
                return false;
        for (size_t i = 0; i < bridge->glob_count; i++)
                if (fnmatch(bridge->globs[i], ifname, 0) == 0)
                        return true;
        return false;
}

const struct netconf_bridge *
netconf_bridge_of(const struct netconf *conf, const char *ifname)
{
        for (size_t i = 0; i < conf->bridge_count; i++)
                if (netconf_bridge_wants(&conf->bridges[i], ifname))
                        return &conf->bridges[i];
        return NULL;
}

/* The one of that name, made if needed; NULL, with a note, if there are too many. */
static struct netconf_bridge *
bridge_get(struct netconf *conf, const char *name, unsigned line)
{
        struct netconf_bridge *bridge = bridge_find(conf, name);

        if (bridge != NULL)
                return bridge;
        if (conf->bridge_count == NETCONF_BRIDGES_MAX) {
                netconf_error(conf, line, "more than %d bridges", NETCONF_BRIDGES_MAX);
                return NULL;
        }
        bridge = &conf->bridges[conf->bridge_count++];
        snprintf(bridge->name, sizeof(bridge->name), "%s", name);
        bridge->line = line;
        return bridge;
}

/* Words of a value */

typedef void word_fn(struct netconf *conf, const struct rcvar *var, char *word, void *ctx);

static void
for_each_word(struct netconf *conf, const struct rcvar *var, word_fn *fn, void *ctx)
{
        char *copy = strdup(var->value);
        char *save = NULL;

        if (copy == NULL)
                return;
        for (char *w = strtok_r(copy, " \t\r\n", &save); w != NULL;
             w = strtok_r(NULL, " \t\r\n", &save))
                fn(conf, var, w, ctx);
        free(copy);
}

static bool
parse_bool(struct netconf *conf, const struct rcvar *var)
{
        static const char *const yes[] = { "yes", "true", "on", "1" };
        static const char *const no[] = { "no", "false", "off", "0" };

        for (size_t i = 0; i < ARRAY_LEN(yes); i++) {
                if (strcasecmp(var->value, yes[i]) == 0)
                        return true;
                if (strcasecmp(var->value, no[i]) == 0)
                        return false;
        }
        netconf_error(conf, var->line, "%s: '%s' is neither YES nor NO", var->name, var->value);
        return false;
}

/* cloned_interfaces */

static void
tap_add(struct netconf *conf, const struct rcvar *var, const char *name)
{
        struct netconf_tap *tap;

        for (size_t i = 0; i < conf->tap_count; i++)
                if (strcmp(conf->taps[i].name, name) == 0) {
                        netconf_warning(conf, var->line, "%s: %s is named twice", var->name, name);
                        return;
                }
        if (conf->tap_count == NETCONF_TAPS_MAX) {
                netconf_error(
                    conf, var->line, "%s: more than %d taps", var->name, NETCONF_TAPS_MAX);
                return;
        }
        tap = &conf->taps[conf->tap_count++];
        snprintf(tap->name, sizeof(tap->name), "%s", name);
        tap->line = var->line;
}

static void
word_cloned(struct netconf *conf, const struct rcvar *var, char *word, void *ctx)
{
        struct netconf_bridge *bridge;

        if (!netconf_ifname_valid(word)) {
                netconf_error(conf, var->line,
                    "%s: '%s' cannot be an interface's name (at most %d characters)", var->name,
                    word, IFNAMSIZ - 1);
        } else if (netconf_ifname_is_tap(word)) {
                tap_add(conf, var, word);
        } else if (is_unit_of(word, "bridge")) {
                bridge = bridge_get(conf, word, var->line);
                if (bridge != NULL && bridge->cloned)
                        netconf_warning(conf, var->line, "%s: %s is named twice", var->name, word);
                if (bridge != NULL)
                        bridge->cloned = true;
        } else {
                netconf_error(conf, var->line,
                    "%s: '%s': only bridgeN, tapN and vmnetN can be made (N is a number)",
                    var->name, word);
        }
}

static void
set_cloned(struct netconf *conf, const struct rcvar *var)
{
        for_each_word(conf, var, word_cloned, NULL);
}

/* autobridge_interfaces, autobridge_NAME */

static void
word_autobridge(struct netconf *conf, const struct rcvar *var, char *word, void *ctx)
{
        struct netconf_bridge *bridge;

        if (!netconf_ifname_valid(word)) {
                netconf_error(conf, var->line,
                    "%s: '%s' cannot be an interface's name (at most %d characters)", var->name,
                    word, IFNAMSIZ - 1);
                return;
        }
        bridge = bridge_get(conf, word, var->line);
        if (bridge != NULL)
                bridge->autobridge = true;
}

static void
set_autobridge(struct netconf *conf, const struct rcvar *var)
{
        for_each_word(conf, var, word_autobridge, NULL);
}

static void
bridge_add_glob(struct netconf *conf, const struct rcvar *var, struct netconf_bridge *bridge,
    const char *glob)
{
        if (!netconf_ifname_valid(glob)) {
                netconf_error(conf, var->line,
                    "%s: '%s' cannot match an interface (at most %d characters)", var->name, glob,
                    IFNAMSIZ - 1);
        } else if (bridge->glob_count == NETCONF_GLOBS_MAX) {
                netconf_error(
                    conf, var->line, "%s: more than %d names", var->name, NETCONF_GLOBS_MAX);
        } else {
                snprintf(bridge->globs[bridge->glob_count++], IFNAMSIZ, "%s", glob);
                bridge->globs_line = var->line;
        }
}

static void
word_glob(struct netconf *conf, const struct rcvar *var, char *word, void *ctx)
{
        bridge_add_glob(conf, var, ctx, word);
}

static void
set_bridge_members(struct netconf *conf, const struct rcvar *var)
{
        struct netconf_bridge *bridge = bridge_find(conf, var->name + strlen("autobridge_"));

        if (bridge == NULL || !bridge->autobridge)
                netconf_error(conf, var->line, "%s has no effect: add %s to autobridge_interfaces",
                    var->name, var->name + strlen("autobridge_"));
        else
                for_each_word(conf, var, word_glob, bridge);
}

/* ifconfig_NAME, ifconfig_NAME_ipv6, ifconfig_NAME_aliasN: the words of ifconfig(8) */

struct ifconfig {
        struct netconf_bridge *bridge;
        enum {
                WANT_WORD,
                WANT_INET,
                WANT_INET6,
                WANT_NETMASK,
                WANT_PREFIXLEN,
                WANT_MTU,
                WANT_MEMBER,
        } want;
        bool has_length; /* the latest address has its subnet's size */
};

static const struct {
        const char *word;
        int want;
} ifconfig_words[] = {
        { "inet", WANT_INET },
        { "inet6", WANT_INET6 },
        { "netmask", WANT_NETMASK },
        { "prefixlen", WANT_PREFIXLEN },
        { "mtu", WANT_MTU },
        { "addm", WANT_MEMBER },
        { "up", WANT_WORD },
        { "alias", WANT_WORD },
};

static void
ifconfig_keyword(
    struct netconf *conf, const struct rcvar *var, const char *word, struct ifconfig *ic)
{
        for (size_t i = 0; i < ARRAY_LEN(ifconfig_words); i++)
                if (strcmp(word, ifconfig_words[i].word) == 0) {
                        ic->want = ifconfig_words[i].want;
                        return;
                }
        if (strcasecmp(word, "DHCP") == 0 || strcasecmp(word, "SYNCDHCP") == 0)
                netconf_error(conf, var->line,
                    "%s: no DHCP client is run on a bridge; the address of a member "
                    "moves to the bridge by itself",
                    var->name);
        else
                netconf_error(conf, var->line,
                    "%s: '%s' is not understood (inet, inet6, netmask, prefixlen, "
                    "mtu, addm, up)",
                    var->name, word);
}

/* An address must say how large its subnet is. */
static void
ifconfig_close_addr(struct netconf *conf, const struct rcvar *var, struct ifconfig *ic)
{
        char text[IP_TEXT_MAX];
        const struct ip_prefix *prefix;

        if (ic->has_length || ic->bridge->addr_count == 0)
                return;
        prefix = &ic->bridge->addrs[ic->bridge->addr_count - 1].prefix;
        netconf_error(conf, var->line, "%s: %s needs the size of its subnet, such as %s/%u",
            var->name, ip_format(prefix->family, prefix->addr, text), text,
            prefix->family == AF_INET ? 24 : 64);
        ic->has_length = true;
}

static void
ifconfig_addr(struct netconf *conf, const struct rcvar *var, const char *word, struct ifconfig *ic)
{
        struct netconf_bridge *bridge = ic->bridge;
        int family = ic->want == WANT_INET ? AF_INET : AF_INET6;
        struct ip_prefix prefix;

        if (ip_prefix_parse(word, &prefix) != 0 || prefix.family != family) {
                netconf_error(conf, var->line, "%s: '%s' is not an %s address", var->name, word,
                    family == AF_INET ? "IPv4" : "IPv6");
                ic->has_length = true;
                return;
        }
        if (bridge->addr_count == NETCONF_ADDRS_MAX) {
                netconf_error(
                    conf, var->line, "%s: more than %d addresses", var->name, NETCONF_ADDRS_MAX);
                return;
        }
        ic->has_length = strchr(word, '/') != NULL;
        bridge->addrs[bridge->addr_count++] = (struct netconf_addr){ prefix, var->line };
}

static void
ifconfig_length(
    struct netconf *conf, const struct rcvar *var, const char *word, struct ifconfig *ic)
{
        int family = ic->want == WANT_NETMASK ? AF_INET : AF_INET6;
        struct ip_prefix *prefix;
        char text[IP_TEXT_MAX + 8];
        struct ip_prefix probe;
        unsigned len;
        bool good;

        if (ic->want == WANT_NETMASK) {
                good = ip_netmask_parse(word, &len) == 0;
        } else {
                snprintf(text, sizeof(text), "::/%.8s", word);
                good = ip_prefix_parse(text, &probe) == 0;
                len = good ? probe.len : 0;
        }
        prefix = ic->bridge->addr_count > 0 ? &ic->bridge->addrs[ic->bridge->addr_count - 1].prefix
                                            : NULL;
        if (!good)
                netconf_error(conf, var->line, "%s: '%s' is not a %s", var->name, word,
                    family == AF_INET ? "netmask" : "prefix length");
        else if (prefix == NULL || prefix->family != family)
                netconf_error(conf, var->line, "%s: '%s' stands behind no address of its kind",
                    var->name, word);
        else
                prefix->len = len;
        ic->has_length = true;
}

static void
ifconfig_mtu(struct netconf *conf, const struct rcvar *var, const char *word, struct ifconfig *ic)
{
        char *end;
        unsigned long mtu = strtoul(word, &end, 10);

        if (*end != '\0' || mtu < 68 || mtu > 65535)
                netconf_error(
                    conf, var->line, "%s: '%s' is not an MTU (68 to 65535)", var->name, word);
        else
                ic->bridge->mtu = (unsigned)mtu;
}

static void
word_ifconfig(struct netconf *conf, const struct rcvar *var, char *word, void *ctx)
{
        struct ifconfig *ic = ctx;

        if (ic->want == WANT_WORD) {
                /* ifconfig(8) takes an IPv4 address without "inet" as well. */
                if (isdigit((unsigned char)word[0]))
                        ic->want = WANT_INET;
                else {
                        if (strcmp(word, "netmask") != 0 && strcmp(word, "prefixlen") != 0)
                                ifconfig_close_addr(conf, var, ic);
                        ifconfig_keyword(conf, var, word, ic);
                        return;
                }
        }
        switch (ic->want) {
        case WANT_WORD:
                break;
        case WANT_INET:
        case WANT_INET6:
                ifconfig_addr(conf, var, word, ic);
                break;
        case WANT_NETMASK:
        case WANT_PREFIXLEN:
                ifconfig_length(conf, var, word, ic);
                break;
        case WANT_MTU:
                ifconfig_mtu(conf, var, word, ic);
                break;
        case WANT_MEMBER:
                bridge_add_glob(conf, var, ic->bridge, word);
                break;
        }
        ic->want = WANT_WORD;
}

/* The interface in "ifconfig_bridge0_alias1"; empty if there is none. */
static void
ifconfig_name(const char *variable, char name[IFNAMSIZ])
{
        const char *from = variable + strlen("ifconfig_");
        size_t len = strcspn(from, "_");

        snprintf(name, IFNAMSIZ, "%.*s", (int)(len < IFNAMSIZ ? len : 0), from);
}

static void
set_ifconfig(struct netconf *conf, const struct rcvar *var)
{
        struct ifconfig ic = { .want = WANT_WORD, .has_length = true };
        char name[IFNAMSIZ];

        ifconfig_name(var->name, name);
        ic.bridge = bridge_find(conf, name);
        if (ic.bridge == NULL) {
                netconf_warning(conf, var->line,
                    "%s is left alone: %s is neither in cloned_interfaces nor in "
                    "autobridge_interfaces as a bridge",
                    var->name, name);
                return;
        }
        for_each_word(conf, var, word_ifconfig, &ic);
        ifconfig_close_addr(conf, var, &ic);
        if (ic.want != WANT_WORD)
                netconf_error(conf, var->line, "%s: a value is missing at the end", var->name);
}

/* The gateway and NAT */

static void
set_gateway(struct netconf *conf, const struct rcvar *var)
{
        conf->gateway = parse_bool(conf, var);
}

static void
set_gateway6(struct netconf *conf, const struct rcvar *var)
{
        conf->gateway6 = parse_bool(conf, var);
}

static void
set_nat(struct netconf *conf, const struct rcvar *var)
{
        conf->nat = parse_bool(conf, var);
        conf->nat_line = var->line;
}

static void
set_nat_interface(struct netconf *conf, const struct rcvar *var)
{
        uint8_t addr[16];
        int family;

        if (ip_parse(var->value, &family, addr) == 0)
                netconf_error(conf, var->line, "%s: name the interface that has the address %s",
                    var->name, var->value);
        else if (!netconf_ifname_valid(var->value))
                netconf_error(conf, var->line, "%s: '%s' cannot be an interface's name", var->name,
                    var->value);
        else
                snprintf(conf->nat_interface, sizeof(conf->nat_interface), "%s", var->value);
}

/* DHCP and names */

static void
set_dnsmasq(struct netconf *conf, const struct rcvar *var)
{
        conf->dnsmasq = parse_bool(conf, var);
        conf->dnsmasq_line = var->line;
}

static bool
is_lease_time(const char *text)
{
        size_t digits = strspn(text, "0123456789");

        if (strcmp(text, "infinite") == 0)
                return true;
        return digits > 0 && digits <= 9 && strlen(text) <= digits + 1 &&
               strchr("smhdw", text[digits]) != NULL;
}

static void
word_range(struct netconf *conf, const struct rcvar *var, char *word, void *ctx)
{
        struct netconf_range range = { .line = var->line };
        char *first = strsep(&word, ",");
        char *last = strsep(&word, ",");
        char *lease = word;
        int last_family;

        if (last == NULL || ip_parse(first, &range.family, range.first) != 0 ||
            ip_parse(last, &last_family, range.last) != 0 || range.family != last_family) {
                netconf_error(conf, var->line, "%s: '%s%s%s' is not FIRST,LAST or FIRST,LAST,TIME",
                    var->name, first, last != NULL ? "," : "", last != NULL ? last : "");
        } else if (lease != NULL && !is_lease_time(lease)) {
                netconf_error(conf, var->line,
                    "%s: '%s' is not a lease time (such as 45m, 12h, infinite)", var->name, lease);
        } else if (conf->range_count == NETCONF_RANGES_MAX) {
                netconf_error(
                    conf, var->line, "%s: more than %d ranges", var->name, NETCONF_RANGES_MAX);
        } else {
                snprintf(range.lease, sizeof(range.lease), "%s", lease != NULL ? lease : "");
                conf->ranges[conf->range_count++] = range;
        }
}

static void
set_ranges(struct netconf *conf, const struct rcvar *var)
{
        for_each_word(conf, var, word_range, NULL);
}

static bool
is_domain(const char *text)
{
        size_t label = 0;

        if (strlen(text) >= NETCONF_DOMAIN_MAX)
                return false;
        for (const char *p = text; *p != '\0'; p++) {
                if (*p == '.' ? label == 0
                              : !isalnum((unsigned char)*p) && (*p != '-' || label == 0))
                        return false;
                label = *p == '.' ? 0 : label + 1;
                if (label > 63)
                        return false;
        }
        return label > 0;
}

static void
set_domain(struct netconf *conf, const struct rcvar *var)
{
        if (!is_domain(var->value))
                netconf_error(
                    conf, var->line, "%s: '%s' is not a domain name", var->name, var->value);
        else
                snprintf(conf->domain, sizeof(conf->domain), "%s", var->value);
}

static void
set_host_resolver(struct netconf *conf, const struct rcvar *var)
{
        conf->host_resolver = parse_bool(conf, var);
}

/* How the taps are made */

static void
set_tap_user(struct netconf *conf, const struct rcvar *var)
{
        char *field = strcmp(var->name, "tap_owner") == 0 ? conf->tap_owner : conf->tap_group;

        if (strlen(var->value) >= NETCONF_USER_MAX || strpbrk(var->value, " \t\n:") != NULL)
                netconf_error(conf, var->line, "%s: '%s' is not a name", var->name, var->value);
        else
                snprintf(field, NETCONF_USER_MAX, "%s", var->value);
}

static void
set_tap_multiqueue(struct netconf *conf, const struct rcvar *var)
{
        conf->tap_multiqueue = parse_bool(conf, var);
}

/* The table of variables, in the order in which they are looked at; '*' stands for an interface. */
static const struct {
        const char *name;
        void (*set)(struct netconf *conf, const struct rcvar *var);
} variables[] = {
        { "cloned_interfaces", set_cloned },
        { "autobridge_interfaces", set_autobridge },
        { "autobridge_*", set_bridge_members },
        { "ifconfig_*", set_ifconfig },
        { "gateway_enable", set_gateway },
        { "ipv6_gateway_enable", set_gateway6 },
        { "natd_enable", set_nat },
        { "natd_interface", set_nat_interface },
        { "dnsmasq_enable", set_dnsmasq },
        { "dhcp_range", set_ranges },
        { "domain", set_domain },
        { "host_resolver_enable", set_host_resolver },
        { "tap_owner", set_tap_user },
        { "tap_group", set_tap_user },
        { "tap_multiqueue_enable", set_tap_multiqueue },
};

/* The index of the first entry that covers @name, or the table's length. */
static size_t
variable_index(const char *name)
{
        size_t i;

        for (i = 0; i < ARRAY_LEN(variables); i++)
                if (fnmatch(variables[i].name, name, 0) == 0)
                        break;
        return i;
}

static void
set_all(struct netconf *conf, const struct rcvars *vars)
{
        for (size_t i = 0; i < ARRAY_LEN(variables); i++)
                for (size_t j = 0; j < vars->count; j++)
                        if (variable_index(vars->var[j].name) == i)
                                variables[i].set(conf, &vars->var[j]);
        for (size_t j = 0; j < vars->count; j++)
                if (variable_index(vars->var[j].name) == ARRAY_LEN(variables))
                        netconf_warning(conf, vars->var[j].line,
                            "%s is not a variable of bhyvenet and is left alone",
                            vars->var[j].name);
}

/* What can be wrong between the variables */

static void
check_members(struct netconf *conf)
{
        const struct netconf_bridge *first, *b;

        for (size_t i = 0; i < conf->bridge_count; i++)
                if (conf->bridges[i].autobridge && conf->bridges[i].glob_count == 0)
                        netconf_warning(conf, conf->bridges[i].line,
                            "%s gets no members: autobridge_%s is not set", conf->bridges[i].name,
                            conf->bridges[i].name);
        for (size_t t = 0; t < conf->tap_count; t++) {
                first = netconf_bridge_of(conf, conf->taps[t].name);
                for (b = conf->bridges; first != NULL && b < conf->bridges + conf->bridge_count;
                     b++)
                        if (b != first && netconf_bridge_wants(b, conf->taps[t].name))
                                netconf_error(conf, b->globs_line,
                                    "%s is a member of %s already (line %u) and cannot "
                                    "join %s too",
                                    conf->taps[t].name, first->name, first->globs_line, b->name);
        }
}

static void
check_addr_pair(struct netconf *conf, size_t bridge, size_t other, const struct netconf_addr *a,
    const struct netconf_addr *b)
{
        char text[2][IP_TEXT_MAX];

        if (bridge == other || !ip_prefix_overlaps(&a->prefix, &b->prefix))
                return;
        netconf_error(conf, b->line, "%s of %s overlaps %s of %s (line %u); choose another subnet",
            ip_prefix_format(&b->prefix, text[0]), conf->bridges[other].name,
            ip_prefix_format(&a->prefix, text[1]), conf->bridges[bridge].name, a->line);
}

/* @bridge's address against those of all later bridges. */
static void
check_addr(struct netconf *conf, size_t bridge, const struct netconf_addr *addr)
{
        char text[IP_TEXT_MAX];

        if (ip_prefix_is_edge(&addr->prefix))
                netconf_error(conf, addr->line,
                    "%s is the number or the broadcast address of its subnet, not a "
                    "host's",
                    ip_prefix_format(&addr->prefix, text));
        for (size_t other = bridge + 1; other < conf->bridge_count; other++)
                for (size_t i = 0; i < conf->bridges[other].addr_count; i++)
                        check_addr_pair(conf, bridge, other, addr, &conf->bridges[other].addrs[i]);
}

static size_t
count_addrs(const struct netconf *conf)
{
        size_t count = 0;

        for (size_t i = 0; i < conf->bridge_count; i++)
                count += conf->bridges[i].addr_count;
        return count;
}

static void
check_nat(struct netconf *conf)
{
        if (!conf->nat)
                return;
        if (count_addrs(conf) == 0)
                netconf_error(conf, conf->nat_line,
                    "natd_enable: no bridge has an address, so there is no network "
                    "to translate; set ifconfig_bridge0=\"inet 192.168.16.1/24\"");
        if (!conf->gateway && !conf->gateway6)
                netconf_warning(conf, conf->nat_line,
                    "natd_enable without gateway_enable=\"YES\": packets of guests "
                    "are not forwarded");
        if (conf->nat_interface[0] != '\0' && (bridge_find(conf, conf->nat_interface) != NULL ||
            netconf_ifname_is_tap(conf->nat_interface)))
                netconf_error(conf, conf->nat_line,
                    "natd_interface: %s is on the inside; name the interface that leads "
                    "to other networks",
                    conf->nat_interface);
}

/* The bridge with a subnet that holds both ends; -1 for none. */
static int
range_bridge(const struct netconf *conf, const struct netconf_range *range)
{
        for (size_t i = 0; i < conf->bridge_count; i++)
                for (size_t j = 0; j < conf->bridges[i].addr_count; j++)
                        if (ip_prefix_contains(
                                &conf->bridges[i].addrs[j].prefix, range->family, range->first) &&
                            ip_prefix_contains(
                                &conf->bridges[i].addrs[j].prefix, range->family, range->last))
                                return (int)i;
        return -1;
}

static void
check_range(struct netconf *conf, struct netconf_range *range)
{
        char first[IP_TEXT_MAX], last[IP_TEXT_MAX];
        int bridge = range_bridge(conf, range);

        ip_format(range->family, range->first, first);
        ip_format(range->family, range->last, last);
        if (memcmp(range->first, range->last, sizeof(range->first)) > 0)
                netconf_error(conf, range->line, "dhcp_range: %s is behind %s", first, last);
        else if (bridge < 0)
                netconf_error(conf, range->line,
                    "dhcp_range: %s to %s lies in no bridge's subnet; set it inside the "
                    "subnet of an ifconfig_bridgeN line",
                    first, last);
        else
                range->bridge = (size_t)bridge;
}

static void
check_dnsmasq(struct netconf *conf)
{
        for (size_t i = 0; i < conf->range_count; i++)
                check_range(conf, &conf->ranges[i]);
        if (!conf->dnsmasq && conf->range_count > 0)
                netconf_warning(conf, conf->ranges[0].line,
                    "dhcp_range has no effect without dnsmasq_enable=\"YES\"");
        if (conf->dnsmasq && count_addrs(conf) == 0)
                netconf_error(conf, conf->dnsmasq_line,
                    "dnsmasq_enable: no bridge has an address to serve; set "
                    "ifconfig_bridge0=\"inet 192.168.16.1/24\"");
        else if (conf->dnsmasq && conf->range_count == 0)
                netconf_warning(conf, conf->dnsmasq_line,
                    "dhcp_range is not set: guests get names but no addresses");
}

static void
check_all(struct netconf *conf)
{
        check_members(conf);
        for (size_t i = 0; i < conf->bridge_count; i++)
                for (size_t j = 0; j < conf->bridges[i].addr_count; j++)
                        check_addr(conf, i, &conf->bridges[i].addrs[j]);
        check_nat(conf);
        check_dnsmasq(conf);
}

static int
compare_notes(const void *a, const void *b)
{
        const struct netconf_note *x = a, *y = b;

        return x->line != y->line ? (x->line < y->line ? -1 : 1) : y->error - x->error;
}

int
netconf_parse(const char *text, size_t len, struct netconf **ret_conf)
{
        struct netconf *conf = calloc(1, sizeof(*conf));
        struct rcvars vars;
        int error;

        if (conf == NULL)
                return -ENOMEM;
        conf->host_resolver = true;
        snprintf(conf->domain, sizeof(conf->domain), "%s", DEFAULT_DOMAIN);
        error = rcvars_parse(text, len, note_syntax, conf, &vars);
        if (error == 0) {
                set_all(conf, &vars);
                check_all(conf);
                if (conf->note_count > 1)
                        qsort(conf->notes, conf->note_count, sizeof(*conf->notes), compare_notes);
                *ret_conf = conf;
        } else {
                netconf_destroy(conf);
        }
        rcvars_finish(&vars);
        return error;
}

/* Reads until the end or until @buf is full. */
static ssize_t
read_all(int fd, char *buf, size_t bytes)
{
        size_t done = 0;
        ssize_t n;

        while (done < bytes) {
                n = read(fd, buf + done, bytes - done);
                if (n < 0 && errno == EINTR)
                        continue;
                if (n < 0)
                        return -errno;
                if (n == 0)
                        break;
                done += (size_t)n;
        }
        return (ssize_t)done;
}

int
netconf_load(const char *path, struct netconf **ret_conf)
{
        int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY);
        ssize_t bytes;
        char *text;
        int error;

        if (fd < 0)
                return -errno;
        text = malloc(FILE_BYTES_MAX + 1);
        bytes = text != NULL ? read_all(fd, text, FILE_BYTES_MAX + 1) : -ENOMEM;
        close(fd);
        if (bytes < 0)
                error = (int)bytes;
        else if ((size_t)bytes > FILE_BYTES_MAX)
                error = -EFBIG;
        else
                error = netconf_parse(text, (size_t)bytes, ret_conf);
        free(text);
        return error;
}

void
netconf_destroy(struct netconf *conf)
{
        if (conf == NULL)
                return;
        free(conf->notes);
        free(conf);
}
