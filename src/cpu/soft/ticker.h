/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A thread that asks vCPUs a thousand times a second where they are: for the profile, and for a while after a vCPU has
 * translated code that might be hot.  It also looks whether a vCPU that had to be stopped by a signal has answered the kick.
 * Without such vCPUs it sleeps.
 *
 * The answer is given by the signal handler in user code (kick.c), or by the dispatcher, at the vCPU's next look at events.
 */
#ifndef CPU_SOFT_TICKER_H
#define CPU_SOFT_TICKER_H

#include "cpu/soft/soft.h"

#include <stdbool.h>

struct soft_engine;
struct soft_ticker;

/* @always: for the whole time.  -errno. */
int soft_ticker_start(struct soft_engine *engine, bool always, struct soft_ticker **ret_ticker);
/* NULL is allowed.  After it vCPUs are asked no more. */
void soft_ticker_stop(struct soft_ticker *ticker);

/* This vCPU, whose thread it is, wants to be asked for a while. */
void soft_ticker_want(struct soft_ticker *ticker, struct soft_cpu *v);
/* If this vCPU has not answered a kick a millisecond later, it is kicked again.  For signal handlers too. */
void soft_ticker_watch(struct soft_ticker *ticker, struct soft_cpu *v);
/* Before a vCPU goes: it is asked no more.  NULL is allowed. */
void soft_ticker_forget(struct soft_ticker *ticker, struct soft_cpu *v);

#endif
