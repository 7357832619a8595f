/* SPDX-License-Identifier: BSD-2-Clause */
#include "config/rcvars.h"

#include <errno.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct reader {
        const char *at;
        const char *end;
        unsigned line;
        rcvars_error_fn *error_fn;
        void *ctx;
        struct rcvars *vars;
        FILE *value; /* the value being read */
};

static int __attribute__((format(printf, 3, 4)))
reader_fail(struct reader *r, unsigned line, const char *fmt, ...)
{
        char text[256];
        va_list ap;

        va_start(ap, fmt);
        vsnprintf(text, sizeof(text), fmt, ap);
        va_end(ap);
        r->error_fn(r->ctx, line, text);
        return -EINVAL;
}

/* The character @ahead of the next one; '\0' behind the end. */
static char
reader_peek(const struct reader *r, size_t ahead)
{
        return (size_t)(r->end - r->at) > ahead ? r->at[ahead] : '\0';
}

static char
reader_take(struct reader *r)
{
        if (*r->at == '\n')
                r->line++;
        return *r->at++;
}

static void
reader_skip_line(struct reader *r)
{
        while (r->at < r->end && *r->at != '\n')
                r->at++;
}

static bool
is_name_char(char c, bool first)
{
        return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_' ||
            (!first && c >= '0' && c <= '9');
}

static size_t
reader_name_length(const struct reader *r)
{
        size_t n = 0;

        while (is_name_char(reader_peek(r, n), n == 0))
                n++;
        return n;
}

static struct rcvar *
vars_find(const struct rcvars *vars, const char *name, size_t len)
{
        for (size_t i = 0; i < vars->count; i++)
                if (strncmp(vars->var[i].name, name, len) == 0 && vars->var[i].name[len] == '\0')
                        return &vars->var[i];
        return NULL;
}

const struct rcvar *
rcvars_find(const struct rcvars *vars, const char *name)
{
        return vars_find(vars, name, strlen(name));
}

/* At a dollar sign: writes the value of the variable named behind it. */
static int
reader_expand(struct reader *r)
{
        const struct rcvar *var;
        const char *name;
        size_t len;
        bool braces;

        reader_take(r);
        if (reader_peek(r, 0) == '(')
                return reader_fail(r, r->line, "commands in $( ) are not run; write the value");
        braces = reader_peek(r, 0) == '{';
        if (braces)
                reader_take(r);
        name = r->at;
        len = reader_name_length(r);
        r->at += len;
        if (len == 0 || (braces && reader_peek(r, 0) != '}'))
                return reader_fail(r, r->line, "expected a variable's name behind '$'");
        if (braces)
                reader_take(r);
        var = vars_find(r->vars, name, len);
        if (var == NULL)
                return reader_fail(
                    r, r->line, "${%.*s} is not set above this line", (int)len, name);
        fputs(var->value, r->value);
        return 0;
}

static int
reader_single_quoted(struct reader *r)
{
        unsigned begun = r->line;

        reader_take(r);
        while (r->at < r->end && *r->at != '\'')
                fputc(reader_take(r), r->value);
        if (r->at == r->end)
                return reader_fail(r, begun, "the quote ' that begins here is not closed");
        reader_take(r);
        return 0;
}

/* A backslash quotes what the shell lets it quote there, and joins lines. */
static void
reader_backslash(struct reader *r, bool in_quotes)
{
        char c;

        reader_take(r);
        if (r->at == r->end)
                return;
        c = reader_take(r);
        if (c == '\n')
                return;
        if (in_quotes && strchr("\"\\$`", c) == NULL)
                fputc('\\', r->value);
        fputc(c, r->value);
}

static int
reader_double_quoted(struct reader *r)
{
        unsigned begun = r->line;
        int error;

        reader_take(r);
        while (r->at < r->end && *r->at != '"') {
                if (*r->at == '\\') {
                        reader_backslash(r, true);
                } else if (*r->at == '$') {
                        error = reader_expand(r);
                        if (error != 0)
                                return error;
                } else if (*r->at == '`') {
                        return reader_fail(
                            r, r->line, "commands in ` ` are not run; write the value");
                } else {
                        fputc(reader_take(r), r->value);
                }
        }
        if (r->at == r->end)
                return reader_fail(r, begun, "the quote \" that begins here is not closed");
        reader_take(r);
        return 0;
}

static bool
is_value_end(char c)
{
        return c == '\0' || strchr(" \t\r\n;", c) != NULL;
}

static int
reader_value(struct reader *r)
{
        int error = 0;
        char c;

        while (error == 0 && r->at < r->end && !is_value_end(c = *r->at)) {
                if (c == '"')
                        error = reader_double_quoted(r);
                else if (c == '\'')
                        error = reader_single_quoted(r);
                else if (c == '\\')
                        reader_backslash(r, false);
                else if (c == '$')
                        error = reader_expand(r);
                else if (strchr("`&|<>()", c) != NULL)
                        error = reader_fail(
                            r, r->line, "'%c' must be quoted: no shell reads this file", c);
                else
                        fputc(reader_take(r), r->value);
        }
        return error;
}

/* Takes both strings over, also when it fails. */
static int
vars_set(struct rcvars *vars, char *name, char *value, unsigned line)
{
        struct rcvar *var = vars_find(vars, name, strlen(name));
        struct rcvar *grown;

        if (var != NULL) {
                free(var->value);
                free(name);
                var->value = value;
                var->line = line;
                return 0;
        }
        grown = realloc(vars->var, (vars->count + 1) * sizeof(*grown));
        if (grown == NULL) {
                free(name);
                free(value);
                return -ENOMEM;
        }
        vars->var = grown;
        vars->var[vars->count++] = (struct rcvar){ name, value, line };
        return 0;
}

/* Behind a value only a comment, a semicolon or the end of the line may stand. */
static int
reader_statement_end(struct reader *r, const char *name)
{
        const char *from = r->at;
        char c;

        while ((c = reader_peek(r, 0)) == ' ' || c == '\t' || c == '\r')
                r->at++;
        if (c == '#' && r->at != from)
                reader_skip_line(r);
        else if (c == ';')
                r->at++;
        else if (r->at < r->end && c != '\n')
                return reader_fail(r, r->line,
                    "text behind the value of %s; put a value with blanks in quotes", name);
        return 0;
}

/* At the first character of the value. */
static int
reader_assign(struct reader *r, char *name)
{
        unsigned line = r->line;
        char *value = NULL;
        size_t value_bytes;
        int error;

        r->value = open_memstream(&value, &value_bytes);
        if (r->value == NULL) {
                free(name);
                return -ENOMEM;
        }
        error = reader_value(r);
        if (fclose(r->value) != 0)
                error = -ENOMEM;
        if (error == 0)
                error = reader_statement_end(r, name);
        if (error != 0) {
                free(name);
                free(value);
                return error;
        }
        return vars_set(r->vars, name, value, line);
}

static int
reader_statement(struct reader *r)
{
        size_t len = reader_name_length(r);
        char *name;

        if (len > 0 && reader_peek(r, len) == '+' && reader_peek(r, len + 1) == '=')
                return reader_fail(r, r->line, "+= is not understood; write %.*s=\"${%.*s} ...\"",
                    (int)len, r->at, (int)len, r->at);
        if (len == 0 || reader_peek(r, len) != '=')
                return reader_fail(r, r->line, "expected name=\"value\"");
        name = strndup(r->at, len);
        if (name == NULL)
                return -ENOMEM;
        r->at += len + 1;
        return reader_assign(r, name);
}

int
rcvars_parse(const char *text, size_t len, rcvars_error_fn *error_fn, void *ctx,
    struct rcvars *ret_vars)
{
        struct reader r = { .at = text, .end = text + len, .line = 1, .error_fn = error_fn,
                .ctx = ctx, .vars = ret_vars };
        int error;

        *ret_vars = (struct rcvars){ 0 };
        if (memchr(text, '\0', len) != NULL) {
                reader_fail(&r, 1, "not a text file: it holds a zero byte");
                return 0;
        }
        while (r.at < r.end) {
                if (strchr(" \t\r\n;", *r.at) != NULL) {
                        reader_take(&r);
                } else if (*r.at == '#') {
                        reader_skip_line(&r);
                } else {
                        error = reader_statement(&r);
                        if (error == -ENOMEM)
                                return error;
                        if (error != 0)
                                reader_skip_line(&r);
                }
        }
        return 0;
}

void
rcvars_finish(struct rcvars *vars)
{
        for (size_t i = 0; i < vars->count; i++) {
                free(vars->var[i].name);
                free(vars->var[i].value);
        }
        free(vars->var);
        *vars = (struct rcvars){ 0 };
}
