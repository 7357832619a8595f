/* SPDX-License-Identifier: BSD-2-Clause */
#include "base/ip.h"
#include "base/bytes.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

unsigned
ip_bytes(int family)
{
        return family == AF_INET ? 4 : 16;
}

int
ip_parse(const char *text, int *ret_family, uint8_t ret_addr[16])
{
        uint8_t addr[16] = { 0 };
        int family = strchr(text, ':') != NULL ? AF_INET6 : AF_INET;

        if (inet_pton(family, text, addr) != 1)
                return -EINVAL;
        *ret_family = family;
        memcpy(ret_addr, addr, sizeof(addr));
        return 0;
}

/* A decimal number of at most three digits and nothing else. */
static int
ip_parse_length(const char *text, unsigned max, unsigned *ret_len)
{
        char *end;
        unsigned long len;

        if (text[0] < '0' || text[0] > '9' || strlen(text) > 3)
                return -EINVAL;
        len = strtoul(text, &end, 10);
        if (*end != '\0' || len > max)
                return -EINVAL;
        *ret_len = (unsigned)len;
        return 0;
}

int
ip_prefix_parse(const char *text, struct ip_prefix *ret_prefix)
{
        struct ip_prefix prefix = { 0 };
        const char *slash = strchr(text, '/');
        size_t addr_chars = slash != NULL ? (size_t)(slash - text) : strlen(text);
        char addr[IP_TEXT_MAX];

        if (addr_chars >= sizeof(addr))
                return -EINVAL;
        memcpy(addr, text, addr_chars);
        addr[addr_chars] = '\0';
        if (ip_parse(addr, &prefix.family, prefix.addr) != 0)
                return -EINVAL;
        prefix.len = 8 * ip_bytes(prefix.family);
        if (slash != NULL && ip_parse_length(slash + 1, prefix.len, &prefix.len) != 0)
                return -EINVAL;
        *ret_prefix = prefix;
        return 0;
}

int
ip_netmask_parse(const char *text, unsigned *ret_len)
{
        uint8_t addr[16];
        uint32_t mask;
        int family;
        char *end;

        if (strncmp(text, "0x", 2) == 0 && strlen(text) == 10) {
                mask = (uint32_t)strtoul(text, &end, 16);
                if (*end != '\0')
                        return -EINVAL;
        } else {
                if (ip_parse(text, &family, addr) != 0 || family != AF_INET)
                        return -EINVAL;
                mask = get_be32(addr);
        }
        if ((~mask & (~mask + 1)) != 0)
                return -EINVAL;
        *ret_len = (unsigned)__builtin_popcount(mask);
        return 0;
}

const char *
ip_format(int family, const uint8_t addr[16], char *buf)
{
        if (inet_ntop(family, addr, buf, IP_TEXT_MAX) == NULL)
                buf[0] = '\0';
        return buf;
}

const char *
ip_prefix_format(const struct ip_prefix *prefix, char *buf)
{
        size_t used;

        ip_format(prefix->family, prefix->addr, buf);
        used = strlen(buf);
        snprintf(buf + used, IP_TEXT_MAX - used, "/%u", prefix->len);
        return buf;
}

/* The mask of byte @index of a prefix of @len bits. */
static uint8_t
ip_mask_byte(unsigned len, unsigned index)
{
        if (len >= 8 * (index + 1))
                return 0xff;
        if (len <= 8 * index)
                return 0;
        return (uint8_t)(0xff << (8 - len % 8));
}

struct ip_prefix
ip_prefix_network(const struct ip_prefix *prefix)
{
        struct ip_prefix network = *prefix;

        for (unsigned i = 0; i < sizeof(network.addr); i++)
                network.addr[i] &= ip_mask_byte(network.len, i);
        return network;
}

bool
ip_prefix_contains(const struct ip_prefix *prefix, int family, const uint8_t addr[16])
{
        if (family != prefix->family)
                return false;
        for (unsigned i = 0; i < ip_bytes(family); i++)
                if (((addr[i] ^ prefix->addr[i]) & ip_mask_byte(prefix->len, i)) != 0)
                        return false;
        return true;
}

bool
ip_prefix_overlaps(const struct ip_prefix *a, const struct ip_prefix *b)
{
        return a->len <= b->len ? ip_prefix_contains(a, b->family, b->addr) :
                                  ip_prefix_contains(b, a->family, a->addr);
}

bool
ip_prefix_equal(const struct ip_prefix *a, const struct ip_prefix *b)
{
        return a->family == b->family && a->len == b->len &&
            memcmp(a->addr, b->addr, ip_bytes(a->family)) == 0;
}

bool
ip_prefix_is_edge(const struct ip_prefix *prefix)
{
        uint32_t host, host_mask;

        /* RFC 3021: a /31 has no edges. */
        if (prefix->family != AF_INET || prefix->len >= 31)
                return false;
        host_mask = UINT32_MAX >> prefix->len;
        host = get_be32(prefix->addr) & host_mask;
        return host == 0 || host == host_mask;
}
