/* SPDX-License-Identifier: BSD-2-Clause */
/* The grammar of loader.conf.  See conf.h. */
#include "boot/fbsd/conf.h"

#include <ctype.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

static bool
word_char(char c)
{
        return isalnum((unsigned char)c) || c == '_' || c == '.' || c == '-';
}

static char *
skip_space(char *p)
{
        while (*p == ' ' || *p == '\t' || *p == '\r')
                p++;
        return p;
}

/* Takes a quoted value off *@at, unescaping it in place; NULL when the closing quote is missing. */
static char *
quoted_value(char **at)
{
        char *from = *at + 1, *to = *at, *start = *at;

        while (*from && *from != '"') {
                if (*from == '\\' && from[1])
                        from++;
                *to++ = *from++;
        }
        if (*from != '"')
                return NULL;
        *to = '\0';
        *at = from + 1;
        return start;
}

static char *
bare_value(char **at)
{
        char *start = *at;

        while (word_char(**at))
                ++*at;
        return *at == start ? NULL : start;
}

/* Cuts @line up into a name and a value; returns what is wrong, or NULL.  *@ret_name NULL: empty.
 */
static const char *
parse_line(char *line, char **ret_name, char **ret_value)
{
        char *p = skip_space(line);

        *ret_name = NULL;
        if (*p == '\0' || *p == '#')
                return NULL;
        char *name = p;
        while (word_char(*p))
                p++;
        char *name_end = p;
        p = skip_space(p);
        if (name_end == name || *p != '=')
                return "syntax error";
        p = skip_space(p + 1);
        bool quoted = *p == '"';
        char *value = quoted ? quoted_value(&p) : bare_value(&p);
        if (!value)
                return quoted ? "missing closing quote" : "syntax error";
        char *value_end = p;
        p = skip_space(p);
        if (*p != '\0' && *p != '#')
                return "syntax error";
        *name_end = '\0';
        if (!quoted)
                *value_end = '\0';
        *ret_name = name;
        *ret_value = value;
        return NULL;
}

static void
parse_one(const char *line, size_t len, unsigned number, const struct conf_ops *ops, void *ctx)
{
        char *copy = strndup(line, len), *shown = strndup(line, len);
        char *name, *value;

        if (copy && shown) {
                const char *why = parse_line(copy, &name, &value);
                if (why)
                        ops->bad_line(ctx, number, shown, why);
                else if (name)
                        ops->assign(ctx, name, value);
        }
        free(copy);
        free(shown);
}

void
conf_parse(const char *text, size_t len, const struct conf_ops *ops, void *ctx)
{
        unsigned number = 1;

        for (size_t at = 0; at < len; number++) {
                const char *nl = memchr(text + at, '\n', len - at);
                size_t n = nl ? (size_t)(nl - (text + at)) : len - at;
                parse_one(text + at, n, number, ops, ctx);
                at += n + 1;
        }
}
