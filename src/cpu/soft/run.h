/* SPDX-License-Identifier: BSD-2-Clause */
/* The dispatcher's own state of a vCPU. */
#ifndef CPU_SOFT_RUN_H
#define CPU_SOFT_RUN_H

#include "cpu/soft/code.h"

struct soft_run {
        /* Set by any thread, with soft_cpu.kick after it; taken by take_events(). */
        _Atomic uint32_t events;      /* CPU_EVENT_* */
        _Atomic uint32_t nmis;        /* that arrived with CPU_EVENT_NMI */
        _Atomic uint32_t sipi_vector;
        _Atomic uint32_t jumps_stale; /* blocks died: empty the jump caches */
        _Atomic uint32_t watch_stale; /* pages have code now: drop rights to write */

        bool kicked;
        bool debug_step;              /* the debugger steps */
        bool hold_irqs;
        uint64_t cs_base;             /* that the jump caches fit */
};

/* host.c: what the host's processor offers, and the guard page behind SOFT_STACK_NONE. */
void soft_run_probe_host(struct soft_engine *e);
int soft_run_map_guard(struct soft_engine *e);
void soft_run_unmap(struct soft_engine *e);

/* The jump caches of every vCPU may name blocks that died. */
void soft_jumps_stale(struct soft_engine *e);

#endif
