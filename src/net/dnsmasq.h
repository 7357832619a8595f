/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * DHCP and DNS for the guests, served by dnsmasq(8) on the bridges that have
 * an address: its configuration is generated from net.conf, the host's own
 * dnsmasq.conf is not read, and no other interface is listened on.
 *
 * A small process of ours starts dnsmasq, starts it again should it end, and
 * tells it when /etc/hosts changes.  Entries of /etc/hosts are served but
 * for loopback addresses, and the host's name leads to its bridge address.
 */
#ifndef NET_DNSMASQ_H
#define NET_DNSMASQ_H

#include <stdbool.h>
#include <stdio.h>
#include <sys/types.h>

struct netconf;

/* Writes dnsmasq's configuration; @upstream: the resolv.conf with the servers that it asks. */
void dnsmasq_print_conf(const struct netconf *conf, const char *upstream, FILE *out);

/* Writes the hosts it serves: the text @hosts of /etc/hosts, sifted, and @hostname. */
void dnsmasq_print_hosts(
    const struct netconf *conf, const char *hosts, const char *hostname, FILE *out);

/* The resolv.conf that names the servers of the host's networks. */
const char *dnsmasq_upstream(void);

/* The process ids, 0 for none; @ret_server is dnsmasq's own. */
void dnsmasq_pids(pid_t *ret_supervisor, pid_t *ret_server);

/* A lease that is out. */
struct dnsmasq_lease {
        long long expires; /* seconds since 1970; 0: never */
        char mac[64];
        char address[64];
        char name[256]; /* empty if the guest gave none */
};

/* Reads the next lease of @file, dnsmasq's own list; false at the end. */
bool dnsmasq_read_lease(FILE *file, struct dnsmasq_lease *ret_lease);

#endif
