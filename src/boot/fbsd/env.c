/* SPDX-License-Identifier: BSD-2-Clause */
/* The loader's environment.  See env.h. */
#include "boot/fbsd/env.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* Where @name is, or would be. */
static size_t
position(const struct env *env, const char *name)
{
        size_t low = 0, high = env->count;

        while (low < high) {
                size_t mid = low + (high - low) / 2;
                if (strcmp(env->vars[mid].name, name) < 0)
                        low = mid + 1;
                else
                        high = mid;
        }
        return low;
}

static struct env_var *
find(const struct env *env, const char *name)
{
        size_t at = position(env, name);

        return at < env->count && strcmp(env->vars[at].name, name) == 0 ? &env->vars[at] : NULL;
}

static int
insert(struct env *env, char *name, char *value)
{
        size_t at = position(env, name);

        if (env->count == env->room) {
                size_t room = env->room ? 2 * env->room : 64;
                struct env_var *vars = reallocarray(env->vars, room, sizeof(*vars));
                if (!vars)
                        return -ENOMEM;
                env->vars = vars;
                env->room = room;
        }
        memmove(&env->vars[at + 1], &env->vars[at], (env->count - at) * sizeof(env->vars[0]));
        env->vars[at] = (struct env_var){name, value};
        env->count++;
        return 0;
}

int
env_set(struct env *env, const char *name, const char *value)
{
        if (name[0] == '\0' || strchr(name, '='))
                return -EINVAL;
        char *copy = strdup(value);
        if (!copy)
                return -ENOMEM;
        struct env_var *var = find(env, name);
        if (var) {
                free(var->value);
                var->value = copy;
                return 0;
        }
        char *key = strdup(name);
        if (key && insert(env, key, copy) == 0)
                return 0;
        free(key);
        free(copy);
        return -ENOMEM;
}

int
env_put(struct env *env, const char *assignment)
{
        const char *eq = strchrnul(assignment, '=');
        char *name = strndup(assignment, (size_t)(eq - assignment));

        if (!name)
                return -ENOMEM;
        int err = env_set(env, name, *eq ? eq + 1 : "");
        free(name);
        return err;
}

int
env_unset(struct env *env, const char *name)
{
        struct env_var *var = find(env, name);

        if (!var)
                return -ENOENT;
        free(var->name);
        free(var->value);
        size_t at = (size_t)(var - env->vars);
        env->count--;
        memmove(var, var + 1, (env->count - at) * sizeof(*var));
        return 0;
}

const char *
env_get(const struct env *env, const char *name)
{
        const struct env_var *var = find(env, name);

        return var ? var->value : NULL;
}

void
env_finish(struct env *env)
{
        for (size_t i = 0; i < env->count; i++) {
                free(env->vars[i].name);
                free(env->vars[i].value);
        }
        free(env->vars);
        memset(env, 0, sizeof(*env));
}
