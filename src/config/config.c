/* SPDX-License-Identifier: BSD-2-Clause */
#include "config/config.h"
#include "base/parse.h"
#include "base/util.h"
#include "config/schema.h"

#include <errno.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#define EXPAND_DEPTH_MAX 16
#define EXPAND_BYTES_MAX 4096

struct config_value {
        char *name;
        char *text;     /* as the user wrote it */
        char *expanded; /* after config_check */
        const struct config_key *key;
};

struct config {
        struct config_value *value; /* sorted by name */
        size_t count;
        size_t capacity;
};

int
config_fail(struct config_error *err, const char *fmt, ...)
{
        va_list ap;

        va_start(ap, fmt);
        vsnprintf(err->text, sizeof(err->text), fmt, ap);
        va_end(ap);
        return -EINVAL;
}

int
config_create(struct config **ret_config)
{
        struct config *config = calloc(1, sizeof(*config));

        if (config == NULL)
                return -ENOMEM;
        *ret_config = config;
        return 0;
}

static void
value_finish(struct config_value *value)
{
        free(value->name);
        free(value->text);
        free(value->expanded);
}

void
config_destroy(struct config *config)
{
        if (config == NULL)
                return;
        for (size_t i = 0; i < config->count; i++)
                value_finish(&config->value[i]);
        free(config->value);
        free(config);
}

/* Index of @name, or of where it would go; *ret_found says which. */
static size_t
config_index(const struct config *config, const char *name, bool *ret_found)
{
        size_t low = 0, high = config->count;

        *ret_found = false;
        while (low < high) {
                size_t middle = (low + high) / 2;
                int order = strcmp(config->value[middle].name, name);

                if (order == 0) {
                        *ret_found = true;
                        return middle;
                }
                if (order < 0)
                        low = middle + 1;
                else
                        high = middle;
        }
        return low;
}

static struct config_value *
config_find(const struct config *config, const char *name)
{
        bool found;
        size_t i = config_index(config, name, &found);

        return found ? &config->value[i] : NULL;
}

static int
config_insert(struct config *config, size_t at, const char *name, char *text)
{
        struct config_value *value;
        char *copy = strdup(name);

        if (copy == NULL)
                return -ENOMEM;
        if (config->count == config->capacity) {
                size_t capacity = config->capacity == 0 ? 32 : config->capacity * 2;

                value = realloc(config->value, capacity * sizeof(*value));
                if (value == NULL) {
                        free(copy);
                        return -ENOMEM;
                }
                config->value = value;
                config->capacity = capacity;
        }
        value = &config->value[at];
        memmove(value + 1, value, (config->count - at) * sizeof(*value));
        *value = (struct config_value){ .name = copy, .text = text };
        config->count++;
        return 0;
}

static int
unknown_key(const char *name, struct config_error *err)
{
        char nearest[128];

        if (config_nearest_key(name, nearest, sizeof(nearest)) != NULL)
                return config_fail(err, "unknown configuration key '%s'; did you mean '%s'?", name, nearest);
        return config_fail(err, "unknown configuration key '%s' (bhyve_config(5) lists them)", name);
}

int
config_set(struct config *config, const char *name, const char *value, struct config_error *err)
{
        const struct config_key *key = config_find_key(name, NULL);
        bool found;
        size_t at;
        char *text;
        int error;

        if (key == NULL)
                return unknown_key(name, err);
        if (key->refused != NULL)
                return config_fail(err, "configuration key '%s' is not available: %s", name, key->refused);
        text = strdup(value);
        if (text == NULL)
                return config_fail(err, "out of memory");
        at = config_index(config, name, &found);
        if (found) {
                free(config->value[at].text);
                config->value[at].text = text;
                return 0;
        }
        error = config_insert(config, at, name, text);
        if (error != 0) {
                free(text);
                return config_fail(err, "out of memory");
        }
        return 0;
}

int
config_assign(struct config *config, const char *assignment, struct config_error *err)
{
        const char *equals = strchr(assignment, '=');
        char name[128];

        if (equals == NULL || equals == assignment)
                return config_fail(err, "'%s' is not of the form key=value", assignment);
        if ((size_t)(equals - assignment) >= sizeof(name))
                return config_fail(err, "the key in '%.40s...' is too long", assignment);
        memcpy(name, assignment, (size_t)(equals - assignment));
        name[equals - assignment] = '\0';
        return config_set(config, name, equals + 1, err);
}

int
config_load(struct config *config, const char *path, struct config_error *err)
{
        struct config_error line_err;
        FILE *file = fopen(path, "re");
        unsigned number = 0;
        char *line = NULL;
        size_t size = 0;
        int error = 0;

        if (file == NULL)
                return config_fail(err, "configuration file %s: %s", path, strerror(errno));
        while (error == 0 && getline(&line, &size, file) >= 0) {
                number++;
                line[strcspn(line, "\r\n")] = '\0';
                if (line[0] == '\0' || line[0] == '#')
                        continue;
                error = config_assign(config, line, &line_err);
                if (error != 0)
                        config_fail(err, "%.200s:%u: %.280s", path, number, line_err.text);
        }
        if (error == 0 && ferror(file))
                error = config_fail(err, "configuration file %s: %s", path, strerror(errno));
        free(line);
        fclose(file);
        return error;
}

struct expansion {
        char text[EXPAND_BYTES_MAX];
        size_t len;
};

static int
expand_append(struct expansion *out, const char *text, size_t len)
{
        if (len >= sizeof(out->text) - out->len)
                return -E2BIG;
        memcpy(out->text + out->len, text, len);
        out->len += len;
        out->text[out->len] = '\0';
        return 0;
}

/* Appends @text to @out with %(name) and %% replaced. */
static int
expand(const struct config *config, const char *text, unsigned depth, struct expansion *out,
    struct config_error *err)
{
        if (depth == EXPAND_DEPTH_MAX)
                return config_fail(err, "%%(name) substitution goes round in a circle");
        while (*text != '\0') {
                size_t plain = strcspn(text, "%");
                const char *close, *inner;
                char name[128];

                if (expand_append(out, text, plain) != 0)
                        return config_fail(err, "value is too long after substitution");
                text += plain;
                if (*text == '\0')
                        break;
                close = text[1] == '(' ? strchr(text, ')') : NULL;
                if (close == NULL || (size_t)(close - text) >= sizeof(name)) {
                        if (expand_append(out, "%", 1) != 0)
                                return config_fail(err, "value is too long after substitution");
                        text += text[1] == '%' ? 2 : 1;
                        continue;
                }
                snprintf(name, sizeof(name), "%.*s", (int)(close - text - 2), text + 2);
                inner = config_get(config, name);
                if (inner == NULL)
                        return config_fail(err, "%%(%s) has no value", name);
                if (config_find(config, name) != NULL)
                        inner = config_find(config, name)->text;
                if (expand(config, inner, depth + 1, out, err) != 0)
                        return -EINVAL;
                text = close + 1;
        }
        return 0;
}

/* The emulation in the slot that @name ("pci.B.S.F.key") belongs to. */
static const char *
slot_device(const struct config *config, const char *name, char *slot, size_t size)
{
        const char *end = name;

        if (strncmp(name, "pci.", 4) != 0)
                return NULL;
        for (unsigned dots = 0; *end != '\0' && dots < 4; end++) {
                if (*end == '.')
                        dots++;
        }
        snprintf(slot, size, "%.*sdevice", (int)(end - name), name);
        return config_get(config, slot);
}

static bool
choice_fits(const char *choices, const char *text)
{
        size_t len = strlen(text);

        for (const char *p = choices; p != NULL; p = strchr(p, '|') == NULL ? NULL : strchr(p, '|') + 1) {
                if (strncmp(p, text, len) == 0 && (p[len] == '|' || p[len] == '\0') && len != 0)
                        return true;
        }
        return false;
}

static int
check_device(const char *text, const char *name, struct config_error *err)
{
        const struct config_device *device = config_find_device(text);
        const char *nearest = config_nearest_device(text);

        if (device == NULL && nearest != NULL)
                return config_fail(err, "%s: unknown device '%s'; did you mean '%s'?", name, text, nearest);
        if (device == NULL)
                return config_fail(err, "%s: unknown device '%s' (bhyve -s help lists them)", name, text);
        if (device->refused != NULL)
                return config_fail(err, "%s: device '%s' is not available: %s", name, text, device->refused);
        return 0;
}

static int
check_number(const struct config_key *key, const char *name, const char *text, struct config_error *err)
{
        bool size = key->type == CONFIG_SIZE;
        uint64_t value;
        int error = size ? parse_size(text, &value) : parse_u64(text, &value);

        if (error == -EINVAL)
                return config_fail(err, "%s: '%s' is not a %s", name, text,
                    size ? "size (a number with an optional K, M, G or T)" : "number");
        if (error == 0 && value >= key->min && value <= key->max)
                return 0;
        if (size)
                return config_fail(err, "%s: %s is out of range; it must be %lluM to %lluM", name, text,
                    (unsigned long long)(key->min / MIB), (unsigned long long)(key->max / MIB));
        return config_fail(err, "%s: %s is out of range; it must be %llu to %llu", name, text,
            (unsigned long long)key->min, (unsigned long long)key->max);
}

static int
check_value(const struct config_key *key, const char *name, const char *text, struct config_error *err)
{
        uint8_t uuid[16];
        cpu_set_t cpus;
        bool flag;

        switch (key->type) {
        case CONFIG_STRING:
                return 0;
        case CONFIG_BOOL:
                return parse_bool(text, &flag) == 0 ? 0
                                                    : config_fail(err, "%s: '%s' is neither true nor false", name, text);
        case CONFIG_UINT:
        case CONFIG_SIZE:
                return check_number(key, name, text, err);
        case CONFIG_CHOICE:
                return choice_fits(key->choices, text)
                           ? 0
                           : config_fail(err, "%s: '%s' is not one of %s", name, text, key->choices);
        case CONFIG_UUID:
                return parse_uuid(text, uuid) == 0 ? 0 : config_fail(err, "%s: '%s' is not a UUID", name, text);
        case CONFIG_CPUSET:
                return parse_cpuset(text, &cpus) == 0
                           ? 0
                           : config_fail(err, "%s: '%s' is not a list of host CPUs such as 0-2,5", name, text);
        case CONFIG_DEVICE:
                return check_device(text, name, err);
        }
        return -EINVAL;
}

static int
config_check_value(struct config *config, struct config_value *value, struct config_error *err)
{
        struct expansion out = { .len = 0 };
        struct config_error inner;
        char slot[128];
        const char *device = slot_device(config, value->name, slot, sizeof(slot));

        if (device == NULL && strncmp(value->name, "pci.", 4) == 0)
                return config_fail(err, "%s is set but %s is not", value->name, slot);
        value->key = config_find_key(value->name, device);
        if (value->key == NULL)
                return config_fail(err, "%s: device '%s' has no such option", value->name, device);
        out.text[0] = '\0';
        if (expand(config, value->text, 0, &out, &inner) != 0)
                return config_fail(err, "%s: %.400s", value->name, inner.text);
        free(value->expanded);
        value->expanded = strdup(out.text);
        if (value->expanded == NULL)
                return config_fail(err, "out of memory");
        return check_value(value->key, value->name, value->expanded, err);
}

int
config_check(struct config *config, struct config_error *err)
{
        for (unsigned pass = 0; pass < 2; pass++) {
                for (size_t i = 0; i < config->count; i++) {
                        struct config_value *value = &config->value[i];
                        bool device = config_name_fits("pci.#.#.#.device", value->name);

                        /* Devices first: they decide which keys their slots have. */
                        if (device == (pass == 0) && config_check_value(config, value, err) != 0)
                                return -EINVAL;
                }
        }
        return 0;
}

static const char *
value_text(const struct config_value *value)
{
        return value->expanded != NULL ? value->expanded : value->text;
}

void
config_dump(const struct config *config, FILE *out)
{
        for (size_t i = 0; i < config_key_count; i++) {
                const struct config_key *key = &config_keys[i];

                if (key->fallback != NULL && strpbrk(key->name, "#*") == NULL &&
                    config_find(config, key->name) == NULL)
                        fprintf(out, "%s=%s\n", key->name, key->fallback);
        }
        for (size_t i = 0; i < config->count; i++)
                fprintf(out, "%s=%s\n", config->value[i].name, value_text(&config->value[i]));
}

const char *
config_get(const struct config *config, const char *name)
{
        const struct config_value *value = config_find(config, name);
        const struct config_key *key;
        char slot[128];

        if (value != NULL)
                return value_text(value);
        if (config_name_fits("pci.#.#.#.device", name))
                return NULL;
        key = config_find_key(name, slot_device(config, name, slot, sizeof(slot)));
        return key == NULL ? NULL : key->fallback;
}

bool
config_get_bool(const struct config *config, const char *name)
{
        const char *text = config_get(config, name);
        bool value = false;

        if (text != NULL)
                (void)parse_bool(text, &value);
        return value;
}

uint64_t
config_get_uint(const struct config *config, const char *name)
{
        const char *text = config_get(config, name);
        uint64_t value = 0;

        if (text != NULL)
                (void)parse_size(text, &value);
        return value;
}

bool
config_is_set(const struct config *config, const char *name)
{
        return config_find(config, name) != NULL;
}

void
config_for_each(const struct config *config, const char *prefix,
    void (*fn)(void *ctx, const char *name, const char *value), void *ctx)
{
        size_t len = strlen(prefix);
        bool found;

        for (size_t i = config_index(config, prefix, &found); i < config->count; i++) {
                if (strncmp(config->value[i].name, prefix, len) != 0)
                        break;
                fn(ctx, config->value[i].name, value_text(&config->value[i]));
        }
}

static const char *
node_name(const struct config_node *node, const char *key, char *buf, size_t size)
{
        snprintf(buf, size, "%s.%s", node->prefix, key);
        return buf;
}

const char *
config_node_get(const struct config_node *node, const char *key)
{
        char name[128];

        return config_get(node->config, node_name(node, key, name, sizeof(name)));
}

const char *
config_node_get_port(const struct config_node *node, unsigned number, const char *key)
{
        char name[32];

        snprintf(name, sizeof(name), "port.%u.%s", number, key);
        return config_node_get(node, name);
}

bool
config_node_bool(const struct config_node *node, const char *key)
{
        char name[128];

        return config_get_bool(node->config, node_name(node, key, name, sizeof(name)));
}

uint64_t
config_node_uint(const struct config_node *node, const char *key)
{
        char name[128];

        return config_get_uint(node->config, node_name(node, key, name, sizeof(name)));
}
