/* SPDX-License-Identifier: BSD-2-Clause */
/* Tells what networks there are, as a table for people or as JSON. */
#ifndef NET_STATUS_H
#define NET_STATUS_H

#include <stdbool.h>
#include <stdio.h>

struct net;

enum status_state {
        STATUS_DOWN,
        STATUS_UNFINISHED, /* a run of `bhyvenet up' was stopped half-way */
        STATUS_UP,
};

enum status_state status_state(const struct net *net);

/* Prints all to @out.  0 or -errno. */
int status_print(struct net *net, bool json, FILE *out);

#endif
