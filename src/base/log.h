/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Messages to the user on standard error, "program: text".
 * The level is the only mutable global of the project besides signal flags.
 */
#ifndef BASE_LOG_H
#define BASE_LOG_H

#include <stdint.h>

enum log_level {
        LOG_LEVEL_ERROR,
        LOG_LEVEL_WARN,
        LOG_LEVEL_INFO,
        LOG_LEVEL_DEBUG,
};

/* A message that a guest can cause is printed at most once a second; zero-initialise. */
struct log_limit {
        uint64_t last_ns;
        uint64_t suppressed;
};

void log_set_program(const char *name);
void log_set_level(enum log_level level);

void log_error(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
void log_warn(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
void log_info(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
void log_debug(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

/* A warning about something the guest did; rate limited by @limit, which any thread may share. */
void log_guest(struct log_limit *limit, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

#endif
