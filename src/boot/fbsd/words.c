/* SPDX-License-Identifier: BSD-2-Clause */
/* Splitting a command line.  See words.h. */
#include "boot/fbsd/words.h"

#include <ctype.h>
#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct splitter {
        const char *at;
        const struct env *env;
        struct words *words;
        FILE *out; /* the word being put together */
        char *buf;
        size_t len;
        bool open; /* there is a word, perhaps an empty one in quotes */
        const char *why;
};

static int
start_word(struct splitter *s)
{
        if (s->open)
                return 0;
        s->out = open_memstream(&s->buf, &s->len);
        s->open = s->out != NULL;
        return s->open ? 0 : -ENOMEM;
}

static int
end_word(struct splitter *s)
{
        if (!s->open)
                return 0;
        s->open = false;
        if (fclose(s->out) != 0)
                return -ENOMEM;
        if (s->words->count == WORDS_MAX) {
                free(s->buf);
                s->why = "too many words";
                return -E2BIG;
        }
        s->words->word[s->words->count++] = s->buf;
        return 0;
}

static bool
name_char(char c)
{
        return isalnum((unsigned char)c) || c == '_' || c == '.';
}

static int
expand_variable(struct splitter *s)
{
        char close = *s->at == '{' ? '}' : *s->at == '(' ? ')' : '\0';
        const char *name = s->at + (close != '\0'), *end = name;

        if (close)
                end = strchr(name, close);
        else
                while (name_char(*end))
                        end++;
        if (!end) {
                s->why = "missing end of a variable's name";
                return -EINVAL;
        }
        char *key = strndup(name, (size_t)(end - name));
        if (!key)
                return -ENOMEM;
        const char *value = env_get(s->env, key);
        if (value)
                fputs(value, s->out);
        free(key);
        s->at = end + (close != '\0');
        return 0;
}

/* \NNN in octal or \0xNN; @s->at is behind the backslash, at a digit. */
static void
put_number(struct splitter *s)
{
        unsigned value = 0;

        if (s->at[0] == '0' && (s->at[1] == 'x' || s->at[1] == 'X') &&
            isxdigit((unsigned char)s->at[2])) {
                char digits[3] = {s->at[2], '\0', '\0'};
                if (isxdigit((unsigned char)s->at[3]))
                        digits[1] = s->at[3];
                s->at += 2 + strlen(digits);
                value = (unsigned)strtoul(digits, NULL, 16);
        } else {
                for (int i = 0; i < 3 && *s->at >= '0' && *s->at <= '7'; i++)
                        value = value * 8 + (unsigned)(*s->at++ - '0');
        }
        if (value & 0xff)
                fputc((int)(value & 0xff), s->out);
}

static void
put_escape(struct splitter *s)
{
        static const char from[] = "bfrntsv", to[] = "\b\f\r\n\t \v";
        const char *found = *s->at ? strchr(from, *s->at) : NULL;

        if (*s->at >= '0' && *s->at <= '7') {
                put_number(s);
        } else if (found) {
                fputc(to[found - from], s->out);
                s->at++;
        } else if (*s->at) {
                fputc(*s->at++, s->out);
        }
}

static int
split(struct splitter *s)
{
        char quote = '\0';
        int err = 0;

        while (!err && *s->at) {
                char c = *s->at++;
                if (isspace((unsigned char)c) && !quote) {
                        err = end_word(s);
                        continue;
                }
                err = start_word(s);
                if (err)
                        break;
                if (quote ? c == quote : c == '"' || c == '\'')
                        quote = quote ? '\0' : c;
                else if (c == '\\')
                        put_escape(s);
                else if (c == '$' && (*s->at == '{' || *s->at == '(' || name_char(*s->at)))
                        err = expand_variable(s);
                else
                        fputc(c, s->out);
        }
        if (!err && quote) {
                s->why = "unbalanced quotes";
                err = -EINVAL;
        }
        return err ? err : end_word(s);
}

int
words_split(const char *line, const struct env *env, struct words *ret_words, const char **ret_why)
{
        struct splitter s = {.at = line, .env = env, .words = ret_words, .why = "out of memory"};

        memset(ret_words, 0, sizeof(*ret_words));
        int err = split(&s);
        if (!err)
                return 0;
        if (s.open) {
                fclose(s.out);
                free(s.buf);
        }
        words_finish(ret_words);
        *ret_why = s.why;
        return err;
}

void
words_finish(struct words *words)
{
        for (int i = 0; i < words->count; i++)
                free(words->word[i]);
        memset(words, 0, sizeof(*words));
}

char *
words_join(int count, char *const *word)
{
        size_t len = 1;

        if (count <= 0)
                return NULL;
        for (int i = 0; i < count; i++)
                len += strlen(word[i]) + 1;
        char *text = calloc(1, len);
        for (int i = 0; text && i < count; i++) {
                if (i > 0)
                        strcat(text, " ");
                strcat(text, word[i]);
        }
        return text;
}
