/* SPDX-License-Identifier: BSD-2-Clause */
/* soft.stats: what the engine and a vCPU have counted, as lines "soft.NAME VALUE". */
#include "cpu/soft/run.h"
#include "x86/cpuid.h"

#include <stdio.h>

static const char *const count_names[SOFT_COUNTS] = {
        [SOFT_COUNT_ENTRIES] = "entries",
        [SOFT_COUNT_LOOKUPS] = "lookups",
        [SOFT_COUNT_INDIRECT] = "indirect_lookups",
        [SOFT_COUNT_TARGETS] = "target_lookups",
        [SOFT_COUNT_TARGET_PAGES] = "target_pages",
        [SOFT_COUNT_LINKS] = "links",
        [SOFT_COUNT_SLOW_READ] = "tlb_read_misses",
        [SOFT_COUNT_SLOW_WRITE] = "tlb_write_misses",
        [SOFT_COUNT_SLOW_STACK] = "tlb_stack_misses",
        [SOFT_COUNT_FILLS] = "tlb_fills",
        [SOFT_COUNT_BOUNCES] = "bounces",
        [SOFT_COUNT_FETCH_FILLS] = "fetch_fills",
        [SOFT_COUNT_STRADDLES] = "stack_straddles",
        [SOFT_COUNT_HELPERS] = "helpers",
        [SOFT_COUNT_IO] = "port_accesses",
        [SOFT_COUNT_MMIO] = "mmio_accesses",
        [SOFT_COUNT_EXCEPTIONS] = "exceptions",
        [SOFT_COUNT_INTERRUPTS] = "interrupts",
        [SOFT_COUNT_KICKS] = "kicks",
        [SOFT_COUNT_SWITCHES] = "space_switches",
        [SOFT_COUNT_JUMP_FLUSHES] = "jump_flushes",
        [SOFT_COUNT_MIRROR_FAULTS] = "mirror_faults",
        [SOFT_COUNT_MIRROR_MAPS] = "mirror_maps",
        [SOFT_COUNT_MIRROR_UNMAPS] = "mirror_unmaps",
        [SOFT_COUNT_MIRROR_FLUSHES] = "mirror_flushes",
        [SOFT_COUNT_CHECKED] = "checked",
        [SOFT_COUNT_NOT_JUDGED] = "not_judged",
};

static const char *const exit_names[CPU_EXIT_COUNT] = {
        [CPU_EXIT_KICK] = "exits_kick",
        [CPU_EXIT_HLT] = "exits_hlt",
        [CPU_EXIT_WAIT] = "exits_wait",
        [CPU_EXIT_PAUSE] = "exits_pause",
        [CPU_EXIT_SHUTDOWN] = "exits_shutdown",
        [CPU_EXIT_DEBUG] = "exits_debug",
        [CPU_EXIT_ERROR] = "exits_error",
};

struct text {
        char *buf;
        size_t size, length; /* length may grow beyond size */
};

static void
line(struct text *t, const char *name, uint64_t value)
{
        int n = snprintf(t->length < t->size ? t->buf + t->length : NULL, t->length < t->size ? t->size - t->length : 0,
            "soft.%s %llu\n", name, (unsigned long long)value);

        t->length += n < 0 ? 0 : (size_t)n;
}

static uint64_t
tsc_to_us(const struct soft_cpu *v, uint64_t ticks)
{
        return (uint64_t)((unsigned __int128)ticks * 1000000 / x86_model_tsc_hz(v->model));
}

size_t
soft_stats(struct cpu *cpu, char *buf, size_t size)
{
        const struct soft_cpu *v = (struct soft_cpu *)(void *)cpu;
        const struct soft_engine *e = v->engine;
        const struct soft_stats *s = &e->stats;
        struct text t = { buf, size, 0 };

        line(&t, "translations", s->translations);
        line(&t, "guest_insns", s->guest_insns);
        line(&t, "translate_us", tsc_to_us(v, s->translate_tsc));
        line(&t, "code_bytes", soft_code_bytes(e));
        line(&t, "evictions", s->evictions);
        line(&t, "evict_max_us", tsc_to_us(v, s->evict_tsc));
        line(&t, "flushes", s->flushes);
        line(&t, "smc_kills", s->smc_kills);
        line(&t, "mirrored_pages", s->mirrored);
        line(&t, "unmirrored_pages", s->unmirrored);
        for (unsigned i = 0; i < SOFT_COUNTS; i++)
                line(&t, count_names[i], v->count[i]);
        for (unsigned i = 0; i < CPU_EXIT_COUNT; i++)
                line(&t, exit_names[i], v->exits[i]);
        return t.length;
}
