/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What the host's debugger asks of the translator: breakpoints, watchpoints,
 * single steps; and the guest's own data breakpoints (DR0-DR3).
 *
 * A breakpoint ends the block in front of it, and a block that starts at one
 * only leaves for the debugger; guest memory is not touched.  While anything is
 * watched, every block is one instruction long and the TLB that translated code
 * looks at is empty, so that each access comes by here.
 */
#include "cpu/soft/run.h"

#include <errno.h>
#include <stdlib.h>

#define DR7_ENABLES 0xffu

bool
soft_debug_breaks(const struct soft_engine *e, gva_t linear)
{
        size_t low = 0, high = e->break_count;

        while (low < high) {
                size_t middle = (low + high) / 2;

                if (e->breaks[middle] == linear)
                        return true;
                if (e->breaks[middle] < linear)
                        low = middle + 1;
                else
                        high = middle;
        }
        return false;
}

bool
soft_debug_skips(const struct soft_cpu *v)
{
        return v->run->skip_break && v->run->skip_rip == soft_linear_rip(v);
}

void
soft_debug_exit(struct soft_cpu *v, enum cpu_debug_cause cause, gva_t address)
{
        v->run->skip_break = true;
        v->run->skip_rip = soft_linear_rip(v);
        v->run->watch_hit = false;
        v->exit.reason = CPU_EXIT_DEBUG;
        v->exit.debug.cause = cause;
        v->exit.debug.address = address;
}

bool
soft_debug_stops_here(struct soft_cpu *v)
{
        gva_t linear = soft_linear_rip(v);

        if (v->engine->break_count == 0 || soft_debug_skips(v) || !soft_debug_breaks(v->engine, linear))
                return false;
        soft_debug_exit(v, CPU_DEBUG_BREAK, linear);
        return true;
}

bool
soft_debug_done(struct soft_cpu *v)
{
        struct soft_run *r = v->run;

        r->skip_break = false;
        if (r->watch_hit)
                soft_debug_exit(v, CPU_DEBUG_WATCH, r->watch_address);
        else if (r->debug_step)
                soft_debug_exit(v, CPU_DEBUG_STEP, soft_linear_rip(v));
        else
                return false;
        return true;
}

bool
soft_debug_ends_halt(struct soft_cpu *v)
{
        struct soft_run *r = v->run;

        if (!r->debug_step || !r->hold_irqs)
                return false;
        soft_fpu_put(v);
        if (!v->st.nmi_pending && !((v->st.rflags & X86_FL_IF) && v->env->ops->intr_pending(v->env->ctx, v->id)))
                return false;
        v->st.mp_state = X86_MP_RUNNING;
        return soft_debug_done(v);
}

/* ---- watching ---- */

static bool
guest_watches(const struct soft_cpu *v)
{
        if ((v->st.dr7 & DR7_ENABLES) == 0)
                return false;
        for (unsigned n = 0; n < 4; n++)
                if ((v->st.dr7 >> 2 * n & 3) && (v->st.dr7 >> (16 + 4 * n) & 1))
                        return true;
        return false;
}

bool
soft_debug_watches(const struct soft_cpu *v)
{
        return v->run->watch_count != 0 || guest_watches(v);
}

static bool
overlaps(gva_t a, uint64_t a_len, gva_t b, uint64_t b_len)
{
        return a - b < b_len || b - a < a_len;
}

/* SDM 3B 17.2.4, 17.2.5: R/W is 1 for writes, 3 for reads and writes. */
static void
check_guest(struct soft_cpu *v, gva_t address, uint64_t len, bool write)
{
        static const uint8_t length[4] = { 1, 2, 8, 4 };

        for (unsigned n = 0; n < 4; n++) {
                unsigned kind = (unsigned)(v->st.dr7 >> (16 + 4 * n));
                unsigned bytes = length[kind >> 2 & 3];

                if ((v->st.dr7 >> 2 * n & 3) && (kind & 1) && (write || (kind & 3) == 3) &&
                    overlaps(address, len, v->st.dr[n] & ~(uint64_t)(bytes - 1), bytes))
                        v->run->guest_hits |= 1ull << n;
        }
}

void
soft_watch(struct soft_cpu *v, gva_t address, uint64_t len, bool write)
{
        struct soft_run *r = v->run;

        for (size_t i = 0; i < r->watch_count && !r->watch_hit; i++) {
                const struct cpu_breakpoint *b = &r->watch[i];

                if (b->kind != (write ? CPU_BP_READ : CPU_BP_WRITE) && overlaps(address, len, b->address, b->length)) {
                        r->watch_hit = true;
                        r->watch_address = b->address;
                }
        }
        check_guest(v, address, len, write);
}

/* ---- set_debug ---- */

static int
compare_addresses(const void *a, const void *b)
{
        gva_t x = *(const gva_t *)a, y = *(const gva_t *)b;

        return (x > y) - (x < y);
}

/* The engine's list of execution breakpoints; translations are forgotten if it changes. */
static int
set_breaks(struct soft_cpu *v, const struct cpu_debug *debug)
{
        struct soft_engine *e = v->engine;
        gva_t *list = malloc((debug->breakpoint_count + 1) * sizeof(*list));
        size_t n = 0;

        if (list == NULL)
                return -ENOMEM;
        for (size_t i = 0; i < debug->breakpoint_count; i++)
                if (debug->breakpoints[i].kind == CPU_BP_EXEC)
                        list[n++] = debug->breakpoints[i].address;
        qsort(list, n, sizeof(*list), compare_addresses);
        if (n == e->break_count && (n == 0 || memcmp(list, e->breaks, n * sizeof(*list)) == 0)) {
                free(list);
                return 0;
        }
        free(e->breaks);
        e->breaks = list;
        e->break_count = n;
        soft_code_flush(v);
        return 0;
}

static int
set_watches(struct soft_cpu *v, const struct cpu_debug *debug)
{
        struct cpu_breakpoint *list = malloc((debug->breakpoint_count + 1) * sizeof(*list));
        size_t n = 0;

        if (list == NULL)
                return -ENOMEM;
        for (size_t i = 0; i < debug->breakpoint_count; i++)
                if (debug->breakpoints[i].kind != CPU_BP_EXEC && debug->breakpoints[i].length != 0)
                        list[n++] = debug->breakpoints[i];
        free(v->run->watch);
        v->run->watch = list;
        v->run->watch_count = n;
        return 0;
}

int
soft_set_debug(struct cpu *cpu, const struct cpu_debug *debug)
{
        struct soft_cpu *v = (struct soft_cpu *)(void *)cpu;
        int error = set_breaks(v, debug);

        if (error == 0)
                error = set_watches(v, debug);
        if (error != 0)
                return error;
        v->run->debug_step = debug->single_step;
        v->run->hold_irqs = debug->single_step && debug->step_holds_irqs;
        v->run->watch_hit = false;
        soft_mode_update(v);
        return 0;
}
