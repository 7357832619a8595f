/* SPDX-License-Identifier: BSD-2-Clause */
/* The wire between two programs on a null modem: what one's terminal takes in comes out of the other's. */
#ifndef BACKEND_CHAR_NMDM_RELAY_H
#define BACKEND_CHAR_NMDM_RELAY_H

#include "base/loop.h"

struct nmdm_relay;

/* @ended is called on the loop's thread when a program has closed and all it wrote is delivered.  -errno. */
int nmdm_relay_create(struct loop *loop, loop_fn *ended, void *ctx, struct nmdm_relay **ret_relay);
/* Stops.  NULL is allowed. */
void nmdm_relay_destroy(struct nmdm_relay *relay);

/* @master: of both terminals, which stay the caller's and do not block.  -errno. */
int nmdm_relay_start(struct nmdm_relay *relay, const int master[2]);
/* Harmless where it has not started or has ended.  What is under way is lost. */
void nmdm_relay_stop(struct nmdm_relay *relay);

#endif
