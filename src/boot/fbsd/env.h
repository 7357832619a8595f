/* SPDX-License-Identifier: BSD-2-Clause */
/* The loader's environment: variables in the order of their names, as the kernel receives them. */
#ifndef BOOT_FBSD_ENV_H
#define BOOT_FBSD_ENV_H

#include <stddef.h>

struct env_var {
        char *name;
        char *value;
};

struct env {
        struct env_var *vars;
        size_t count, room;
};

/* Copies both strings.  -EINVAL for an empty name or one with '='; -ENOMEM. */
int env_set(struct env *env, const char *name, const char *value);
/* "name=value"; without '=' the value is empty. */
int env_put(struct env *env, const char *assignment);
/* -ENOENT when there is none. */
int env_unset(struct env *env, const char *name);
/* NULL when there is none; valid until the variable changes. */
const char *env_get(const struct env *env, const char *name);
void env_finish(struct env *env);

#endif
