/* SPDX-License-Identifier: BSD-2-Clause */
#include "base/log.h"
#include "base/util.h"

#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <time.h>

static const char *log_program = "bhyve";
static enum log_level log_threshold = LOG_LEVEL_INFO;

void
log_set_program(const char *name)
{
        log_program = name;
}

void
log_set_level(enum log_level level)
{
        log_threshold = level;
}

/* One write a message, so that threads do not mix their lines. */
static void
log_vprint(enum log_level level, const char *fmt, va_list ap)
{
        char text[1024];

        if (level > log_threshold)
                return;
        vsnprintf(text, sizeof(text), fmt, ap);
        fprintf(stderr, "%s: %s%s\n", log_program, level == LOG_LEVEL_WARN ? "warning: " : "", text);
}

#define LOG_FUNCTION(name, level)                                                                  \
        void name(const char *fmt, ...)                                                            \
        {                                                                                          \
                va_list ap;                                                                        \
                va_start(ap, fmt);                                                                 \
                log_vprint(level, fmt, ap);                                                        \
                va_end(ap);                                                                        \
        }

LOG_FUNCTION(log_error, LOG_LEVEL_ERROR)
LOG_FUNCTION(log_warn, LOG_LEVEL_WARN)
LOG_FUNCTION(log_info, LOG_LEVEL_INFO)
LOG_FUNCTION(log_debug, LOG_LEVEL_DEBUG)

static bool
log_limit_passes(struct log_limit *limit)
{
        struct timespec now;
        uint64_t now_ns;
        uint64_t last_ns = __atomic_load_n(&limit->last_ns, __ATOMIC_RELAXED);

        clock_gettime(CLOCK_MONOTONIC, &now);
        now_ns = (uint64_t)now.tv_sec * NSEC_PER_SEC + (uint64_t)now.tv_nsec;
        if (last_ns != 0 && now_ns - last_ns < NSEC_PER_SEC) {
                __atomic_fetch_add(&limit->suppressed, 1, __ATOMIC_RELAXED);
                return false;
        }
        __atomic_store_n(&limit->last_ns, now_ns, __ATOMIC_RELAXED);
        return true;
}

void
log_guest(struct log_limit *limit, const char *fmt, ...)
{
        va_list ap;

        if (!log_limit_passes(limit))
                return;
        va_start(ap, fmt);
        log_vprint(LOG_LEVEL_WARN, fmt, ap);
        va_end(ap);
}
