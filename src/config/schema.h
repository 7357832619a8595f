/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The one table of configuration names and the one table of device emulations.
 * The checker, the command line, config.dump, the help texts and the test of
 * the manual pages all read them, so that they cannot drift apart.
 */
#ifndef CONFIG_SCHEMA_H
#define CONFIG_SCHEMA_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum config_type {
        CONFIG_STRING,
        CONFIG_BOOL,
        CONFIG_UINT,   /* min to max */
        CONFIG_SIZE,   /* bytes, min to max, with suffixes */
        CONFIG_CHOICE, /* one of `choices`, separated by '|' */
        CONFIG_UUID,
        CONFIG_CPUSET,
        CONFIG_DEVICE, /* the name of an emulation */
};

/*
 * In `name`, '#' stands for a number as a whole component and '*' for any text as
 * one.  `devices` limits a key below pci.#.#.# to the emulations named (separated
 * by spaces).  `refused`: the key exists in bhyve_config(5) but cannot work here,
 * and this says why.
 */
struct config_key {
        const char *name;
        enum config_type type;
        const char *fallback;
        const char *help;
        uint64_t min, max;
        const char *choices;
        const char *devices;
        const char *refused;
};

/*
 * An emulation of -s.  `first` is the key of the first option when it is not
 * written as name=value; NULL if there is none.  `style` says how the rest is read.
 */
enum config_device_style {
        CONFIG_STYLE_PLAIN,    /* [first][,key=value][,flag]... */
        CONFIG_STYLE_UART,     /* first is a path or tcp=addr:port, taken whole */
        CONFIG_STYLE_SHARE,    /* name=/path[,ro] */
        CONFIG_STYLE_PORTS,    /* name=/path,... as port.N.name and port.N.path */
        CONFIG_STYLE_AHCI,     /* [hd:|cd:]path[,key=value]... as port.N.* */
        CONFIG_STYLE_XHCI,     /* tablet,... as slot.N.device */
};

struct config_device {
        const char *name;
        const char *first;
        enum config_device_style style;
        const char *help;
        const char *refused;
};

extern const struct config_key config_keys[];
extern const size_t config_key_count;
extern const struct config_device config_devices[];
extern const size_t config_device_count;

const struct config_device *config_find_device(const char *name);

/* Whether @pattern (with # and *) fits @name. */
bool config_name_fits(const char *pattern, const char *name);

/*
 * The key that @name is.  @device: the emulation in the same slot, or NULL if not
 * known, when any emulation's key will do.
 */
const struct config_key *config_find_key(const char *name, const char *device);

/* The known name nearest to @name, or NULL if none is near.  @buf holds it. */
const char *config_nearest_key(const char *name, char *buf, size_t size);
const char *config_nearest_device(const char *name);

#endif
