/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Variables in the syntax of rc.conf(5): name="value", one or more a line,
 * with comments, both kinds of quotes, backslashes, and ${name} for a value
 * assigned earlier in the same file.  A later assignment replaces an earlier
 * one.  The text is never run by a shell: command substitution and anything
 * that is not an assignment is an error at its line.
 */
#ifndef CONFIG_RCVARS_H
#define CONFIG_RCVARS_H

#include <stddef.h>

struct rcvar {
        char *name;
        char *value;
        unsigned line; /* of the assignment, from 1 */
};

struct rcvars {
        struct rcvar *var;
        size_t count;
};

typedef void rcvars_error_fn(void *ctx, unsigned line, const char *text);

/*
 * Reads @len bytes of @text.  Each mistake is told to @error_fn and its line
 * skipped; what could be read is in @ret_vars.  0 or -ENOMEM.  The caller
 * frees with rcvars_finish(), in both cases.
 */
int rcvars_parse(const char *text, size_t len, rcvars_error_fn *error_fn, void *ctx,
    struct rcvars *ret_vars);
void rcvars_finish(struct rcvars *vars);

/* NULL where it is not set. */
const struct rcvar *rcvars_find(const struct rcvars *vars, const char *name);

#endif
