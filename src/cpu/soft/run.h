/* SPDX-License-Identifier: BSD-2-Clause */
/* The dispatcher's own state of a vCPU. */
#ifndef CPU_SOFT_RUN_H
#define CPU_SOFT_RUN_H

#include "cpu/soft/code.h"

#define SOFT_SIGNAL_STACK 65536u /* the frame is up to 12 KiB (AVX-512, AMX); the rest is for a sanitizer's handler */

struct soft_run {
        /* Set by any thread, with soft_cpu.kick after it; taken by take_events(). */
        _Atomic uint32_t events;      /* CPU_EVENT_* */
        _Atomic uint32_t nmis;        /* that arrived with CPU_EVENT_NMI */
        _Atomic uint32_t sipi_vector;
        _Atomic uint32_t jumps_stale; /* blocks died: jump caches may name them */
        _Atomic uint32_t jumps_lost;  /* and cannot be told any more: all jumps */
        _Atomic uint32_t asked;       /* the ticker asks where it is */
        _Atomic uint32_t ticks;       /* how often it will */
        _Atomic bool in_run;          /* inside cpu_run() */
        _Atomic uint32_t watch_stale; /* pages have code now: drop rights to write */
        _Atomic uint32_t passes;      /* times it went into translated code, and out: odd inside */
        _Atomic bool in_user;         /* at CPL 3 */
        _Atomic bool translating;
        _Atomic bool stopping;        /* a signal is on its way */
        _Atomic bool watched;         /* the ticker is to look whether it has answered */
        _Atomic int thread;           /* that runs it, as tgkill() wants it */

        uint8_t signal_stack[SOFT_SIGNAL_STACK]; /* for signals in translated code, where RSP is the guest's */

        bool kicked;
        bool plainly;                 /* the next instruction could not be done by a mirror */
        bool debug_step;              /* the debugger steps */
        bool hold_irqs;
        uint64_t cs_base, cs_limit;   /* that the jump caches fit */

        /* debug.c */
        struct cpu_breakpoint *watch; /* the debugger's watchpoints */
        size_t watch_count;
        bool watch_hit;               /* by the present instruction, at watch_address */
        gva_t watch_address;
        uint64_t guest_hits;          /* the guest's data breakpoints that it hit, bits of DR6 */
        bool skip_break;              /* the debugger knows of the breakpoint at skip_rip */
        gva_t skip_rip;
};

/* debug.c */
int soft_set_debug(struct cpu *cpu, const struct cpu_debug *debug);
/* The debugger's breakpoint at st.rip, not yet reported: fills in v->exit. */
bool soft_debug_stops_here(struct soft_cpu *v);
/* The next instruction stands at a breakpoint that was reported, and is to run. */
bool soft_debug_skips(const struct soft_cpu *v);
/* After an instruction or a delivery.  True: v->exit says what the debugger wants to know. */
bool soft_debug_done(struct soft_cpu *v);
/* A step that holds interrupts ends a halt where an interrupt would; fills in v->exit. */
bool soft_debug_ends_halt(struct soft_cpu *v);
void soft_debug_exit(struct soft_cpu *v, enum cpu_debug_cause cause, gva_t address);
/* Whether accesses to data are watched, for the debugger or by the guest. */
bool soft_debug_watches(const struct soft_cpu *v);

/* stats.c: `stats` of struct cpu_engine_ops. */
size_t soft_stats(struct cpu *cpu, char *buf, size_t size);

/* The vCPU that this thread runs; NULL: none yet. */
extern __thread struct soft_cpu *soft_current;

/* fault.c: takes the signals of such faults; what stood before gets those that are not ours. */
void soft_faults_install(void);

/* lookup.c: the block at st.rip; NULL if the cache is full (the dispatcher makes room).  Raises. */
struct soft_block *soft_find_block(struct soft_cpu *v, uint32_t variant);
/* The arithmetic flags: flags_saved is what translated code reads and writes, st.rflags what C does. */
void soft_flags_in(struct soft_cpu *v);
void soft_flags_out(struct soft_cpu *v);

/* ---- check.c: soft.check ---- */

/* -ENOMEM. */
int soft_check_create(struct soft_cpu *v);
void soft_check_destroy(struct soft_cpu *v);
/*
 * Runs the block at st.rip if it is still to be checked; outside translated code.  False: it is not, and nothing
 * was done.  *ret_left: SOFT_LEFT_EXIT with v->exit filled in where the two ways differ.
 */
bool soft_check_run(struct soft_cpu *v, enum soft_left *ret_left);
/* The block that is being checked leaves for another; @flags: it has handed over the arithmetic flags. */
void soft_check_leaves(struct soft_cpu *v, bool flags);
/* It leaves for its own variant at st.rip, which is to be checked. */
void soft_check_variant(struct soft_cpu *v, uint32_t variant);

/* Where @b, which runs, starts. */
static inline gva_t
soft_block_rip(const struct soft_cpu *v, const struct soft_block *b)
{
        return b->mode & SOFT_MODE_MOVES ? v->code_page | (b->vaddr & (MEM_PAGE_SIZE - 1)) : b->vaddr;
}

static inline bool
soft_check_due(const struct soft_cpu *v, const struct soft_block *b)
{
        return b->checks < v->engine->check_count;
}

/* host.c: what the host's processor offers, and the guard page behind SOFT_STACK_NONE. */
void soft_run_probe_host(struct soft_engine *e);
int soft_run_map_guard(struct soft_engine *e);
void soft_run_unmap(struct soft_engine *e);

/* A block at @address died: jump caches may name it.  This thread's vCPU forgets it at once, others soon. */
void soft_jumps_stale(struct soft_engine *e, gva_t address);
/* The same of many blocks.  Engine lock held. */
void soft_jumps_stale_dead(struct soft_engine *e);
/* All blocks died. */
void soft_jumps_stale_all(struct soft_engine *e);

/* ---- kick.c ---- */

#define SOFT_KICK_SIGNAL SIGUSR1
/* After soft_faults_install(). */
void soft_kick_install(void);
/* This thread runs @v from now on. */
void soft_kick_listen(struct soft_cpu *v);

/* ---- world.c: who is in translated code ---- */

/* Around all use of the code cache by a vCPU.  Waits while nobody may enter. */
void soft_world_enter(struct soft_cpu *v);
void soft_world_leave(struct soft_cpu *v);
/* The same with all others outside. */
void soft_world_enter_alone(struct soft_cpu *v);
void soft_world_leave_alone(struct soft_cpu *v);
/* What the vCPUs' passes are now. */
void soft_world_passes(struct soft_engine *e, uint32_t passes[SOFT_CPUS_MAX]);
/* Whether each vCPU has been outside translated code since soft_world_passes() stored @passes. */
bool soft_world_passed(struct soft_engine *e, const uint32_t passes[SOFT_CPUS_MAX]);
/* Does what the code cache waits for: flush_wanted, room_wanted.  Outside translated code. */
void soft_world_serve(struct soft_cpu *v);

#endif
