/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Brings the host from what it has to what net.conf describes, and back.
 * All print their own messages and return 0 or -errno.
 */
#ifndef NET_PLAN_H
#define NET_PLAN_H

struct net;

/*
 * Makes every change that the description asks for and that is not made yet,
 * and undoes those that it asks for no more.  Where the host was untouched
 * and one change fails, all are undone.
 */
int plan_up(struct net *net);

/* Undoes every change, the last first; goes on past one that fails and keeps its record. */
int plan_down(struct net *net);

/* One member more or less on a bridge, until it is asked back or the networks go down. */
int plan_add_member(struct net *net, const char *bridge, const char *ifname);
int plan_delete_member(struct net *net, const char *bridge, const char *ifname);

#endif
