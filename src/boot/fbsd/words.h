/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Splitting a command line: spaces separate words, quotes of either kind keep
 * them together, $NAME ${NAME} $(NAME) stand for variables (one word each,
 * expanded in quotes too), \b \f \r \n \t \s(space) \v \0xNN \NNN and \CHAR
 * are escapes.
 */
#ifndef BOOT_FBSD_WORDS_H
#define BOOT_FBSD_WORDS_H

#include "boot/fbsd/env.h"

#define WORDS_MAX 32

struct words {
        int count;
        char *word[WORDS_MAX + 1]; /* NULL behind the last */
};

/* 0; -EINVAL with *@ret_why (static text) for an unbalanced line; -E2BIG; -ENOMEM. */
int words_split(const char *line, const struct env *env, struct words *ret_words,
    const char **ret_why);
void words_finish(struct words *words);

/* The words from @first on, joined by spaces; the caller frees it.  NULL if there are none. */
char *words_join(int count, char *const *word);

#endif
