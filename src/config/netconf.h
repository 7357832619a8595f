/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The networks of the guests, as /etc/bhyve/net.conf describes them in the
 * variables of rc.conf(5): read, typed and checked for what can be seen in
 * the file alone.  What the host has (links, addresses, programs) is not
 * looked at here.  bhyvenet builds the networks; bhyve only asks which
 * bridge a tap belongs to.
 *
 * Every mistake becomes a note with its line; a description with errors
 * must not be acted on.
 */
#ifndef CONFIG_NETCONF_H
#define CONFIG_NETCONF_H

#include "base/ip.h"

#include <limits.h>
#include <net/if.h>
#include <stdbool.h>
#include <stddef.h>

#define NETCONF_PATH "/etc/bhyve/net.conf"

#define NETCONF_BRIDGES_MAX 32
#define NETCONF_GLOBS_MAX   64
#define NETCONF_ADDRS_MAX   16
#define NETCONF_TAPS_MAX    256
#define NETCONF_RANGES_MAX  32
#define NETCONF_DOMAIN_MAX  254
#define NETCONF_USER_MAX    33

struct netconf_note {
        unsigned line; /* 0: about the file as a whole */
        bool error;    /* else a warning */
        char text[256];
};

struct netconf_addr {
        struct ip_prefix prefix;
        unsigned line;
};

struct netconf_bridge {
        char name[IFNAMSIZ];
        bool cloned;     /* made by us; else it must exist */
        bool autobridge; /* its globs count */
        unsigned line;   /* where it is named first */
        unsigned mtu;    /* 0: the default */
        char globs[NETCONF_GLOBS_MAX][IFNAMSIZ];
        size_t glob_count;
        unsigned globs_line;
        struct netconf_addr addrs[NETCONF_ADDRS_MAX];
        size_t addr_count;
};

struct netconf_tap {
        char name[IFNAMSIZ];
        unsigned line;
};

struct netconf_range {
        int family;
        uint8_t first[16];
        uint8_t last[16];
        char lease[16];  /* "12h", or empty for the server's default */
        unsigned line;
        size_t bridge; /* the index of the one whose subnet holds it */
};

struct netconf {
        struct netconf_bridge bridges[NETCONF_BRIDGES_MAX];
        size_t bridge_count;
        struct netconf_tap taps[NETCONF_TAPS_MAX];
        size_t tap_count;
        char tap_owner[NETCONF_USER_MAX]; /* who may open the taps; empty: root */
        char tap_group[NETCONF_USER_MAX];
        bool tap_multiqueue; /* they may be opened with several queues */
        bool gateway;
        bool gateway6;
        bool nat;
        char nat_interface[IFNAMSIZ]; /* empty: any that is not a bridge of ours */
        unsigned nat_line;
        bool dnsmasq;
        unsigned dnsmasq_line;
        struct netconf_range ranges[NETCONF_RANGES_MAX];
        size_t range_count;
        char domain[NETCONF_DOMAIN_MAX]; /* never empty */
        bool host_resolver;              /* the host asks our dnsmasq too */
        struct netconf_note *notes;
        size_t note_count;
        size_t error_count;
};

/* Where bhyve and bhyvenet look: $BHYVE_NET_CONF or NETCONF_PATH. */
const char *netconf_path(void);

/* The directory of bhyvenet's state, which holds a copy of the file in force as "net.conf". */
void netconf_state_path(const char *file, char ret_path[PATH_MAX]);

/*
 * Reads a description; mistakes become notes and are no failure.
 * 0 or -ENOMEM, and netconf_load() also what opening and reading give
 * (-EFBIG above 1 MiB).  The caller frees with netconf_destroy().
 */
int netconf_parse(const char *text, size_t len, struct netconf **ret_conf);
int netconf_load(const char *path, struct netconf **ret_conf);
void netconf_destroy(struct netconf *conf);

/* Adds a note; for those who check the description against the host. */
void netconf_error(struct netconf *conf, unsigned line, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
void netconf_warning(struct netconf *conf, unsigned line, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));

/* True for a name that a Linux interface can have. */
bool netconf_ifname_valid(const char *name);
/* True for "tap3" and "vmnet3". */
bool netconf_ifname_is_tap(const char *name);

/* NULL where there is none of that name. */
const struct netconf_bridge *netconf_bridge_find(const struct netconf *conf, const char *name);
/* True if the globs of @bridge match @ifname. */
bool netconf_bridge_wants(const struct netconf_bridge *bridge, const char *ifname);
/* The first bridge whose globs match @ifname, NULL for none. */
const struct netconf_bridge *netconf_bridge_of(const struct netconf *conf, const char *ifname);

#endif
