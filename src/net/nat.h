/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Network address translation with nftables, in a table of its own, "inet
 * bhyve": packets of the guests' subnets that leave through natd_interface
 * get the host's address there.  Other tables are never touched.
 */
#ifndef NET_NAT_H
#define NET_NAT_H

#include <stdio.h>

struct netconf;

/* Writes the table as nft(8) reads it. */
void nat_print_rules(const struct netconf *conf, FILE *out);

/* Text that `nft @command' gives, or NULL where it fails; the caller frees. */
char *nat_query(const char *command);

#endif
