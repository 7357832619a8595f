/* SPDX-License-Identifier: BSD-2-Clause */
/* Fuzzes the grammars: loader.conf, command lines, compressed data. */
#include "fuzz.h"

#include "boot/fbsd/conf.h"
#include "boot/fbsd/words.h"
#include "boot/fs/unpack.h"

#include <stdlib.h>
#include <string.h>

static void
assign(void *ctx, const char *name, const char *value)
{
        env_set(ctx, name, value);
}

static void
bad_line(void *ctx, unsigned number, const char *line, const char *why)
{
        if (strlen(line) > (1u << 20))
                abort();
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
        static const struct conf_ops ops = {assign, bad_line};
        struct env env = {0};
        struct words words;
        const char *why;
        void *out;
        size_t len;

        conf_parse((const char *)data, size, &ops, &env);
        char *line = strndup((const char *)data, size);
        if (line && words_split(line, &env, &words, &why) == 0) {
                char *joined = words_join(words.count, words.word);
                free(joined);
                words_finish(&words);
        }
        free(line);
        env_finish(&env);
        if (unpack(data, size, 1 << 20, &out, &len) == 0)
                free(out);
        return 0;
}
