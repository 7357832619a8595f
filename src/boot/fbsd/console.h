/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The loader's console: text out, keys in, one line at a time with editing
 * and history, and a pager.  What lies behind it is two functions.
 *
 * Keys at the prompt: left, right, Home, End, ^A ^E ^B ^F move; Backspace,
 * Delete, ^D, ^K, ^U, ^W delete; up, down, ^P, ^N go through the history.
 */
#ifndef BOOT_FBSD_CONSOLE_H
#define BOOT_FBSD_CONSOLE_H

#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>

#define CONSOLE_LINE_MAX 256
#define CONSOLE_HISTORY  64

/* Besides a byte, what a read may give. */
#define CONSOLE_END     (-1) /* no key will ever come again */
#define CONSOLE_TIMEOUT (-2)
#define CONSOLE_STOP    (-3) /* the program is told to end */

struct console_ops {
        /* Waits @timeout_ms (-1: for ever) for a byte. */
        int (*get)(void *ctx, int timeout_ms);
        void (*put)(void *ctx, const char *text, size_t len);
};

struct console {
        const struct console_ops *ops;
        void *ctx;
        bool interactive; /* someone watches: page long output */
        int unget;        /* a byte read ahead, or CONSOLE_TIMEOUT */
        char *history[CONSOLE_HISTORY];
        unsigned history_count;
        unsigned lines_per_page; /* 0: not paging */
        unsigned lines_shown;
        bool page_quit;
};

void console_init(struct console *con, const struct console_ops *ops, void *ctx, bool interactive);
void console_finish(struct console *con);

void console_printf(struct console *con, const char *fmt, ...)
    __attribute__((format(printf, 2, 3)));
void console_vprintf(struct console *con, const char *fmt, va_list ap);

/* A byte, CONSOLE_END, CONSOLE_TIMEOUT or CONSOLE_STOP. */
int console_get(struct console *con, int timeout_ms);

/* The line without its end, after showing @prompt: 0, CONSOLE_END or CONSOLE_STOP. */
int console_read_line(struct console *con, const char *prompt, char *line, size_t size);

/*
 * Between these, console_page() counts lines and asks after each page;
 * it answers false when the user has seen enough.
 */
void console_page_start(struct console *con, unsigned lines_per_page);
bool console_page(struct console *con, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

#endif
