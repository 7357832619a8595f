/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * IPv4 and IPv6 addresses and prefixes as values: parse, print, compare.
 * An address is kept in network byte order in the first 4 or 16 bytes of
 * its array and the rest is zero.  No names are resolved here.
 */
#ifndef BASE_IP_H
#define BASE_IP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define IP_TEXT_MAX 64 /* holds any address with a prefix length */

struct ip_prefix {
        int family; /* AF_INET or AF_INET6 */
        uint8_t addr[16];
        unsigned len; /* bits of the network part */
};

/* 4 or 16 bytes. */
unsigned ip_bytes(int family);

/* "192.168.16.1" or "fd00::1"; the family follows from the text.  0 or -EINVAL. */
int ip_parse(const char *text, int *ret_family, uint8_t ret_addr[16]);

/* "192.168.16.1/24"; an address without a length gets the whole address as prefix.  0 or -EINVAL.
 */
int ip_prefix_parse(const char *text, struct ip_prefix *ret_prefix);

/* The length of "255.255.255.0" or "0xffffff00".  0 or -EINVAL, also for a mask with holes. */
int ip_netmask_parse(const char *text, unsigned *ret_len);

/* Written to @buf of IP_TEXT_MAX bytes, which is returned. */
const char *ip_format(int family, const uint8_t addr[16], char *buf);
const char *ip_prefix_format(const struct ip_prefix *prefix, char *buf);

/* The same prefix with the host part zero. */
struct ip_prefix ip_prefix_network(const struct ip_prefix *prefix);

bool ip_prefix_contains(const struct ip_prefix *prefix, int family, const uint8_t addr[16]);
bool ip_prefix_overlaps(const struct ip_prefix *a, const struct ip_prefix *b);
bool ip_prefix_equal(const struct ip_prefix *a, const struct ip_prefix *b);

/* True for an IPv4 address that is its subnet's own number or its broadcast address. */
bool ip_prefix_is_edge(const struct ip_prefix *prefix);

#endif
