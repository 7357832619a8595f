/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The grammar of loader.conf: lines of name=value, where a name has letters,
 * digits, '_', '.' and '-', and a value is "quoted" (\" and \\ inside) or a
 * bare word of the same characters; '#' begins a comment.
 */
#ifndef BOOT_FBSD_CONF_H
#define BOOT_FBSD_CONF_H

#include <stddef.h>

struct conf_ops {
        void (*assign)(void *ctx, const char *name, const char *value);
        /* A line that is no assignment: its number from 1 on, its text, what is wrong with it. */
        void (*bad_line)(void *ctx, unsigned number, const char *line, const char *why);
};

/* Calls @ops for each line of @text; a bad line does not end the reading. */
void conf_parse(const char *text, size_t len, const struct conf_ops *ops, void *ctx);

#endif
