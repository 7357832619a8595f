/* SPDX-License-Identifier: BSD-2-Clause */
#include "base/parse.h"
#include "base/util.h"

#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define DISTANCE_LEN_MAX 96

/* A number at the start of @text; *ret_end is what follows it. */
static int
parse_prefix(const char *text, uint64_t *ret_value, const char **ret_end)
{
        bool hex = text[0] == '0' && (text[1] == 'x' || text[1] == 'X');
        unsigned long long value;
        char *end;

        if (!isdigit((unsigned char)text[0]) || (hex && !isxdigit((unsigned char)text[2])))
                return -EINVAL;
        errno = 0;
        value = strtoull(text, &end, hex ? 16 : 10);
        if (errno != 0)
                return -errno;
        *ret_value = value;
        *ret_end = end;
        return 0;
}

int
parse_u64(const char *text, uint64_t *ret_value)
{
        const char *end;
        uint64_t value;
        int error = parse_prefix(text, &value, &end);

        if (error != 0)
                return error;
        if (*end != '\0')
                return -EINVAL;
        *ret_value = value;
        return 0;
}

int
parse_size(const char *text, uint64_t *ret_bytes)
{
        static const char suffixes[] = "KMGT";
        const char *end, *suffix;
        uint64_t value;
        int error = parse_prefix(text, &value, &end);

        if (error != 0)
                return error;
        if (*end != '\0' && (suffix = strchr(suffixes, toupper((unsigned char)*end))) != NULL) {
                if (__builtin_mul_overflow(value, KIB << (10 * (suffix - suffixes)), &value))
                        return -ERANGE;
                end++;
        }
        if (toupper((unsigned char)*end) == 'B')
                end++;
        if (*end != '\0')
                return -EINVAL;
        *ret_bytes = value;
        return 0;
}

int
parse_bool(const char *text, bool *ret_value)
{
        static const char *const words[2][4] = {
                { "false", "off", "no", "0" },
                { "true", "on", "yes", "1" },
        };

        for (unsigned v = 0; v < 2; v++) {
                for (unsigned i = 0; i < ARRAY_LEN(words[v]); i++) {
                        if (strcasecmp(text, words[v][i]) == 0) {
                                *ret_value = v != 0;
                                return 0;
                        }
                }
        }
        return -EINVAL;
}

static int
hex_digit(char c)
{
        if (c >= '0' && c <= '9')
                return c - '0';
        c = (char)(c | 0x20);
        return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

int
parse_uuid(const char *text, uint8_t ret_uuid[16])
{
        uint8_t uuid[16];
        unsigned n = 0;

        for (unsigned i = 0; i < 36; i++) {
                int high, low;

                if (i == 8 || i == 13 || i == 18 || i == 23) {
                        if (text[i] != '-')
                                return -EINVAL;
                        continue;
                }
                high = hex_digit(text[i]);
                low = high < 0 ? -1 : hex_digit(text[i + 1]);
                if (low < 0)
                        return -EINVAL;
                uuid[n++] = (uint8_t)(high << 4 | low);
                i++;
        }
        if (text[36] != '\0')
                return -EINVAL;
        memcpy(ret_uuid, uuid, sizeof(uuid));
        return 0;
}

int
parse_cpuset(const char *text, cpu_set_t *ret_set)
{
        cpu_set_t set;

        CPU_ZERO(&set);
        for (;;) {
                uint64_t first, last;

                if (parse_prefix(text, &first, &text) != 0)
                        return -EINVAL;
                last = first;
                if (*text == '-' && parse_prefix(text + 1, &last, &text) != 0)
                        return -EINVAL;
                if (last < first || last >= CPU_SETSIZE)
                        return -EINVAL;
                for (uint64_t cpu = first; cpu <= last; cpu++)
                        CPU_SET(cpu, &set);
                if (*text == '\0')
                        break;
                if (*text++ != ',')
                        return -EINVAL;
        }
        *ret_set = set;
        return 0;
}

unsigned
parse_distance(const char *a, const char *b)
{
        unsigned row[DISTANCE_LEN_MAX + 1];
        size_t a_len = strnlen(a, DISTANCE_LEN_MAX), b_len = strnlen(b, DISTANCE_LEN_MAX);

        for (unsigned j = 0; j <= b_len; j++)
                row[j] = j;
        for (unsigned i = 1; i <= a_len; i++) {
                unsigned diagonal = row[0];

                row[0] = i;
                for (unsigned j = 1; j <= b_len; j++) {
                        unsigned best = diagonal + (a[i - 1] != b[j - 1]);

                        if (row[j - 1] + 1 < best)
                                best = row[j - 1] + 1;
                        if (row[j] + 1 < best)
                                best = row[j] + 1;
                        diagonal = row[j];
                        row[j] = best;
                }
        }
        return row[b_len];
}
