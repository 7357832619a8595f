/* SPDX-License-Identifier: BSD-2-Clause */
#include "cpu/soft/observe.h"

#include "base/log.h"
#include "base/parse.h"
#include "base/symbols.h"
#include "cpu/soft/run.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define PROFILE_SLOTS     (1u << 16)

struct profile_slot {
        uint64_t rip;
        uint64_t count;
        bool user;
};

struct soft_observer {
        struct soft_engine *engine;
        FILE *trace;
        bool trace_blocks;
        gva_t trace_from, trace_to;   /* linear, both with it */
        int trace_cpl;                /* -1: any */
        FILE *profile;
        pthread_mutex_t lock;         /* slot, lost */
        struct profile_slot *slot;    /* open addressing */
        uint64_t lost;                /* samples without room */
        FILE *map;                    /* for perf */
        uint64_t lstar;               /* where the guest took system calls */
};

static const char *
option(const struct soft_engine *e, const char *key)
{
        return e->config->option == NULL ? NULL : e->config->option(e->config->option_ctx, key);
}

static int
open_output(const struct soft_engine *e, const char *key, FILE **ret_file)
{
        const char *path = option(e, key);

        if (path == NULL || *path == '\0')
                return 0;
        *ret_file = fopen(path, "we");
        if (*ret_file != NULL)
                return 0;
        log_error("%s=%s: cannot be written", key, path);
        return -errno;
}

bool
soft_observe_wants_map(const struct soft_engine *e)
{
        const char *wanted = option(e, "soft.perfmap");
        bool on = false;

        return wanted != NULL && parse_bool(wanted, &on) == 0 && on;
}

/* soft.perfmap: the file where perf looks for names of code that this process has made. */
static int
open_map(const struct soft_engine *e, FILE **ret_file)
{
        char path[64];

        if (!soft_observe_wants_map(e))
                return 0;
        snprintf(path, sizeof(path), "/tmp/perf-%ld.map", (long)getpid());
        *ret_file = fopen(path, "wxe"); /* a directory that others may write to: no file of theirs */
        if (*ret_file != NULL)
                return 0;
        log_error("soft.perfmap: %s: %m", path);
        return -errno;
}

/* "FROM-TO".  -EINVAL. */
static int
parse_range(const char *text, gva_t *ret_from, gva_t *ret_to)
{
        const char *dash = strchr(text, '-');
        char from[32];

        if (dash == NULL || (size_t)(dash - text) >= sizeof(from))
                return -EINVAL;
        memcpy(from, text, (size_t)(dash - text));
        from[dash - text] = '\0';
        return parse_u64(from, ret_from) != 0 || parse_u64(dash + 1, ret_to) != 0 || *ret_to < *ret_from ? -EINVAL : 0;
}

static int
trace_start(struct soft_observer *o)
{
        const char *kind = option(o->engine, "soft.trace_kind");
        const char *cpl = option(o->engine, "soft.trace_cpl");
        const char *range = option(o->engine, "soft.trace_range");

        o->trace_blocks = kind != NULL && strcmp(kind, "blocks") == 0;
        o->trace_cpl = cpl == NULL ? -1 : cpl[0] - '0';
        o->trace_to = UINT64_MAX;
        if (range != NULL && parse_range(range, &o->trace_from, &o->trace_to) != 0) {
                log_error("soft.trace_range=%s: two addresses with - between them are wanted, the lower first", range);
                return -EINVAL;
        }
        return 0;
}

static int
profile_start(struct soft_observer *o)
{
        o->slot = calloc(PROFILE_SLOTS, sizeof(o->slot[0]));
        if (o->slot == NULL)
                return -ENOMEM;
        return 0;
}

int
soft_observe_start(struct soft_engine *engine, struct soft_observer **ret_observer)
{
        struct soft_observer *o = calloc(1, sizeof(*o));
        int error;

        if (o == NULL)
                return -ENOMEM;
        o->engine = engine;
        pthread_mutex_init(&o->lock, NULL);
        error = open_output(engine, "soft.trace", &o->trace);
        if (error == 0)
                error = trace_start(o);
        if (error == 0)
                error = open_output(engine, "soft.profile", &o->profile);
        if (error == 0)
                error = open_map(engine, &o->map);
        if (error == 0 && o->profile != NULL)
                error = profile_start(o);
        if (error != 0 || (o->trace == NULL && o->profile == NULL && o->map == NULL)) {
                soft_observe_stop(o);
                o = NULL;
        }
        *ret_observer = o;
        return error;
}

/* debug.symbols; *ret_slide: how far a Linux kernel has moved itself, by where it takes system calls. */
static struct symbols *
kernel_symbols(struct soft_observer *o, uint64_t *ret_slide)
{
        const char *path = option(o->engine, "debug.symbols");
        uint64_t entry;
        struct symbols *symbols;
        int error;

        *ret_slide = 0;
        if (path == NULL)
                return NULL;
        error = symbols_open(path, &symbols);
        if (error != 0) {
                log_error("debug.symbols: %s: %s", path, strerror(-error));
                return NULL;
        }
        if (o->lstar != 0 && symbols_find(symbols, "entry_SYSCALL_64", &entry))
                *ret_slide = o->lstar - entry;
        return symbols;
}

static void
profile_write(struct soft_observer *o, struct symbols *symbols, uint64_t slide)
{
        for (unsigned i = 0; i < PROFILE_SLOTS; i++) {
                const char *name = NULL;

                if (o->slot[i].count == 0)
                        continue;
                if (symbols != NULL && !o->slot[i].user)
                        name = symbols_at(symbols, o->slot[i].rip - slide);
                if (name != NULL)
                        fprintf(o->profile, "kernel;%s %llu\n", name, (unsigned long long)o->slot[i].count);
                else
                        fprintf(o->profile, "%s;0x%llx %llu\n", o->slot[i].user ? "user" : "kernel",
                            (unsigned long long)o->slot[i].rip, (unsigned long long)o->slot[i].count);
        }
        if (o->lost != 0)
                fprintf(o->profile, "lost %llu\n", (unsigned long long)o->lost);
}

struct map_context {
        FILE *map;
        struct symbols *symbols;
        uint64_t slide;
};

static void
map_block(void *ctx, const struct soft_block *b)
{
        const struct map_context *c = ctx;
        bool user = b->mode & SOFT_MODE_USER;
        const char *name = NULL;

        if (c->symbols != NULL && !user)
                name = symbols_at(c->symbols, b->vaddr - c->slide);
        fprintf(c->map, "%llx %x guest-%s-0x%llx%s%s\n", (unsigned long long)(uintptr_t)b->entry, b->host_len,
            user ? "user" : "kernel", (unsigned long long)b->vaddr, name != NULL ? "-" : "", name != NULL ? name : "");
}

/* What the cache holds at the end; of evicted blocks nothing is left. */
static void
map_write(struct soft_observer *o, struct symbols *symbols, uint64_t slide)
{
        const struct soft_engine *e = o->engine;
        struct map_context c = { o->map, symbols, slide };

        fprintf(o->map, "%llx %zx guest-thunks\n", (unsigned long long)(uintptr_t)e->code_x, e->code_base);
        soft_code_each(e, map_block, &c);
}

void
soft_observe_stop(struct soft_observer *o)
{
        struct symbols *symbols;
        uint64_t slide;

        if (o == NULL)
                return;
        symbols = kernel_symbols(o, &slide);
        if (o->slot != NULL)
                profile_write(o, symbols, slide);
        if (o->map != NULL && o->engine->code_x != NULL)
                map_write(o, symbols, slide);
        symbols_close(symbols);
        if (o->profile != NULL)
                fclose(o->profile);
        if (o->map != NULL)
                fclose(o->map);
        if (o->trace != NULL)
                fclose(o->trace);
        free(o->slot);
        pthread_mutex_destroy(&o->lock);
        free(o);
}

bool
soft_observe_profiles(const struct soft_observer *o)
{
        return o != NULL && o->profile != NULL;
}

bool
soft_observe_traces(struct soft_cpu *v)
{
        const struct soft_observer *o = v->engine->observer;
        gva_t linear;

        if (__builtin_expect(o == NULL || o->trace == NULL, true))
                return false;
        linear = soft_linear_rip(v);
        return linear >= o->trace_from && linear <= o->trace_to &&
            (o->trace_cpl < 0 || o->trace_cpl == (int)x86_cpl(&v->st));
}

void
soft_observe_cpu_ends(struct soft_observer *o, const struct soft_cpu *v)
{
        if (o != NULL && v->st.lstar != 0)
                o->lstar = v->st.lstar;
}

bool
soft_observe_begins(const struct soft_observer *o, gva_t linear)
{
        return o != NULL && o->trace != NULL && linear == o->trace_from;
}

bool
soft_observe_entry(struct soft_cpu *v)
{
        const struct soft_observer *o = v->engine->observer;

        soft_fpu_put(v);
        fprintf(o->trace, "%u %u 0x%llx\n", v->id, x86_cpl(&v->st), (unsigned long long)soft_linear_rip(v));
        soft_fpu_get(v);
        return !o->trace_blocks;
}

void
soft_observe_sample(struct soft_observer *o, const struct soft_cpu *v)
{
        uint64_t hash = v->st.rip * 0x9e3779b97f4a7c15ull >> 48;

        pthread_mutex_lock(&o->lock);
        for (unsigned tries = 0; tries < 64; tries++) {
                struct profile_slot *s = &o->slot[(hash + tries) % PROFILE_SLOTS];

                if (s->count != 0 && s->rip != v->st.rip)
                        continue;
                s->rip = v->st.rip;
                s->user = x86_cpl(&v->st) == 3;
                s->count++;
                pthread_mutex_unlock(&o->lock);
                return;
        }
        o->lost++;
        pthread_mutex_unlock(&o->lock);
}
