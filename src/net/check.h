/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Compares a description of networks with the host that shall carry them,
 * before anything is changed: what is found becomes notes of the description.
 */
#ifndef NET_CHECK_H
#define NET_CHECK_H

struct net;

/* 0, also with notes; -errno where the host could not be looked at. */
int check_host(struct net *net);

#endif
