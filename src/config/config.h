/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The configuration: a tree of string values under dotted names, as
 * bhyve_config(5) describes.  Command line options, -o and -k all end up here.
 *
 * Use: config_create, config_set and config_load in the order the user gave
 * them, config_check once; from then on it is read only, every value is known
 * to be of its type and in range, and %(name) has been substituted.
 * Which names exist, with types, defaults and limits, is the table in schema.c.
 */
#ifndef CONFIG_CONFIG_H
#define CONFIG_CONFIG_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

struct config;

/* One line for the user: what is wrong, and what to do. */
struct config_error {
        char text[512];
};

int config_create(struct config **ret_config);
void config_destroy(struct config *config);

/* A later value replaces an earlier one.  -EINVAL and @err for a name that does not exist. */
int config_set(struct config *config, const char *name, const char *value, struct config_error *err);
/* The same for "name=value". */
int config_assign(struct config *config, const char *assignment, struct config_error *err);
/* Reads "name=value" lines; empty lines and lines that start with # are skipped. */
int config_load(struct config *config, const char *path, struct config_error *err);
/* Substitutes, and checks every value.  -EINVAL and @err for the first that is wrong. */
int config_check(struct config *config, struct config_error *err);
/* "name=value" lines: the defaults of plain keys in the table's order, then every value set, sorted. */
void config_dump(const struct config *config, FILE *out);

/* The value, else the default, else NULL.  It lives as long as @config.  After config_check only. */
const char *config_get(const struct config *config, const char *name);
/* False or 0 where there is neither value nor default. */
bool config_get_bool(const struct config *config, const char *name);
uint64_t config_get_uint(const struct config *config, const char *name); /* numbers and sizes */
/* Whether the user set it, now or before config_check. */
bool config_is_set(const struct config *config, const char *name);

/* Calls @fn for each value set whose name starts with @prefix, sorted by name. */
void config_for_each(const struct config *config, const char *prefix,
    void (*fn)(void *ctx, const char *name, const char *value), void *ctx);

/*
 * A subtree, such as "pci.0.3.0" or "lpc.com1": what a device gets of the configuration.
 * The getters take the rest of the name.
 */
struct config_node {
        const struct config *config;
        char prefix[64];
};

const char *config_node_get(const struct config_node *node, const char *key);
/* The value of port.@number.@key, for a device with several ports. */
const char *config_node_get_port(const struct config_node *node, unsigned number, const char *key);
bool config_node_bool(const struct config_node *node, const char *key);
uint64_t config_node_uint(const struct config_node *node, const char *key);

__attribute__((format(printf, 2, 3))) int config_fail(struct config_error *err, const char *fmt, ...);

#endif
