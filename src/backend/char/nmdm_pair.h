/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The names of a virtual null modem's two sides, who holds them, and the
 * terminals behind them: what nmdm.c (a VM's side) and nmdm_holder.c share.
 *
 * For the pair nmdmX there may lie in a directory
 *      nmdmXA, nmdmXB  links to terminals, for programs
 *      .nmdmX.lock     locked by whoever made those that exist
 *      .nmdmX.socket   where a holder gives VMs their side
 *
 * A VM connects, sends the letter of its side and is answered with one of enum
 * nmdm_answer.  The side is its own until the connection ends; if the holder
 * ends it, the line has hung up and the VM begins again.
 */
#ifndef BACKEND_CHAR_NMDM_PAIR_H
#define BACKEND_CHAR_NMDM_PAIR_H

#include "base/util.h"

#include <limits.h>
#include <stdbool.h>
#include <stddef.h>
#include <sys/un.h>

/*
 * How often it is looked whether somebody opened a terminal, and how long he is
 * given then to set it up, which discards what is waiting in it.
 */
#define NMDM_LOOK_NS (100 * NSEC_PER_MSEC)

enum nmdm_answer {
        NMDM_MASTER = 'M', /* with a descriptor: the master of the other side's terminal */
        NMDM_JOIN = 'J',   /* the other side is a VM with the master of yours: open your name */
        NMDM_BUSY = 'B',   /* that side is in use */
};

struct nmdm_pair {
        char name[2][PATH_MAX]; /* of sides A and B */
        char lock_path[PATH_MAX];
        struct sockaddr_un socket;
};

/*
 * @path: of the pair, without a side's letter.  What is for /dev and may not
 * be made there lies in the run directory.  -ENAMETOOLONG.
 */
int nmdm_pair_init(struct nmdm_pair *pair, const char *path);
/* *ret_fd holds the lock until nmdm_unlock.  -EWOULDBLOCK: another process has the pair. */
int nmdm_lock(const struct nmdm_pair *pair, int *ret_fd);
void nmdm_unlock(const struct nmdm_pair *pair, int fd);

/* A new terminal, raw, in place of whatever link has the side's name.  *ret_master hangs up while nobody has it open. */
int nmdm_make_terminal(const struct nmdm_pair *pair, unsigned side, int *ret_master);
int nmdm_make_raw(int fd);
/* Whether some process has the terminal of @master open. */
bool nmdm_terminal_is_open(int master);
/*
 * For others after who closed it: a pseudo terminal stays exclusive (TIOCEXCL, which screen and
 * others set).  -EBUSY: without privilege only a new terminal helps.
 */
int nmdm_free_terminal(int master);
/* Only links are ours to remove. */
void nmdm_remove_link(const char *path);

#endif
