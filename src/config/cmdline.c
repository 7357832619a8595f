/* SPDX-License-Identifier: BSD-2-Clause */
#include "config/cmdline.h"
#include "base/log.h"
#include "base/parse.h"
#include "base/util.h"
#include "config/schema.h"

#include <ctype.h>
#include <errno.h>
#include <getopt.h>
#include <stdlib.h>
#include <string.h>

typedef int option_fn(struct config *config, const char *argument, struct config_error *err);

struct option_row {
        char letter;
        const char *argument; /* name of the argument in the usage text, or NULL */
        const char *key;      /* set to `value`, or to the argument */
        const char *value;
        option_fn *fn;        /* instead of key */
        const char *help;
        const char *refused;
};

static option_fn option_cpus, option_memory, option_pin, option_gdb, option_ioapic;

static const struct option_row option_rows[] = {
        { 'a', NULL, "x86.x2apic", "false", NULL, "local APIC in xAPIC mode (the default)", NULL },
        { 'A', NULL, "acpi_tables", "true", NULL, "ACPI tables (the default)", NULL },
        { 'b', NULL, "debug.bvmcons", "true", NULL, "low-level console at port 0x220", NULL },
        { 'c', "cpus", NULL, NULL, option_cpus, "[cpus=]n[,sockets=n][,cores=n][,threads=n]", NULL },
        { 'C', NULL, "memory.guest_in_core", "true", NULL, "guest memory is part of core dumps", NULL },
        { 'D', NULL, "destroy_on_poweroff", "true", NULL, "destroy the VM on power-off", NULL },
        { 'e', NULL, "x86.strictio", "true", NULL, "end on access to a port that nothing emulates", NULL },
        { 'f', "fwcfg", NULL, NULL, NULL, NULL, "only a boot ROM reads fw_cfg, and boot ROMs are not supported" },
        { 'g', "port", "debug.bvmdebug", NULL, NULL, "debug port at 0x224, bridged to a TCP port", NULL },
        { 'G', "gdb", NULL, NULL, option_gdb, "[w][address:]port or [w]socket for a debugger", NULL },
        { 'h', NULL, NULL, NULL, NULL, "this help", NULL },
        { 'H', NULL, "x86.vmexit_on_hlt", "true", NULL, "a halted virtual CPU sleeps (always does)", NULL },
        { 'I', NULL, NULL, NULL, option_ioapic, "obsolete", NULL },
        { 'k', "file", NULL, NULL, config_load, "read key=value lines", NULL },
        { 'K', "layout", "keyboard.layout", NULL, NULL, NULL, "there is no frame buffer yet" },
        { 'l', "lpc", NULL, NULL, cmdline_lpc, "help, or device[,configuration] on the LPC bus", NULL },
        { 'm', "memory", NULL, NULL, option_memory, "memory size, with K, M, G or T", NULL },
        { 'n', "numa", NULL, NULL, NULL, NULL, "NUMA domains are described by a boot ROM, and there is none" },
        { 'o', "key=value", NULL, NULL, config_assign, "set a configuration key", NULL },
        { 'p', "pin", NULL, NULL, option_pin, "vcpu:hostcpu; pin a virtual CPU", NULL },
        { 'P', NULL, "x86.vmexit_on_pause", "true", NULL, "leave the guest on PAUSE", NULL },
        { 'r', "file", NULL, NULL, NULL, NULL, "snapshots are not supported" },
        { 's', "slot", NULL, NULL, cmdline_slot, "help, or [bus:]slot[:function],device[,options]", NULL },
        { 'S', NULL, "memory.wired", "true", NULL, "lock guest memory in host memory", NULL },
        { 'u', NULL, "rtc.use_localtime", "false", NULL, "the clock chip holds UTC", NULL },
        { 'U', "uuid", "uuid", NULL, NULL, "UUID of the machine", NULL },
        { 'w', NULL, "x86.strictmsr", "false", NULL, "ignore unknown MSRs", NULL },
        { 'W', NULL, "virtio_msix", "false", NULL, "virtio devices use MSI, not MSI-X", NULL },
        { 'x', NULL, "x86.x2apic", "true", NULL, "local APIC in x2APIC mode", NULL },
        { 'Y', NULL, "x86.mptable", "false", NULL, "no MP table", NULL },
};

/* Splits at the next comma in place; *cursor becomes NULL after the last item. */
static char *
next_item(char **cursor)
{
        char *item = *cursor, *comma;

        if (item == NULL)
                return NULL;
        comma = strchr(item, ',');
        if (comma != NULL)
                *comma++ = '\0';
        *cursor = comma;
        return item;
}

static int
option_cpus(struct config *config, const char *argument, struct config_error *err)
{
        static const char *const names[] = { "cpus", "sockets", "cores", "threads" };
        char text[128], *cursor = text, *item;

        if ((size_t)snprintf(text, sizeof(text), "%s", argument) >= sizeof(text))
                return config_fail(err, "-c: the argument is too long");
        while ((item = next_item(&cursor)) != NULL) {
                char *equals = strchr(item, '=');
                const char *name = "cpus", *value = item;
                bool known = equals == NULL;

                if (equals != NULL) {
                        *equals = '\0';
                        name = item;
                        value = equals + 1;
                }
                for (unsigned i = 0; i < ARRAY_LEN(names); i++)
                        known = known || strcmp(names[i], name) == 0;
                if (!known)
                        return config_fail(err, "-c: unknown word '%s'; use cpus, sockets, cores or threads", name);
                if (config_set(config, name, value, err) != 0)
                        return -EINVAL;
        }
        return 0;
}

/* As bhyve(8) says, a bare number below 1 MiB counts in MiB. */
static int
option_memory(struct config *config, const char *argument, struct config_error *err)
{
        char text[64];
        uint64_t value;

        if (parse_u64(argument, &value) == 0 && value < MIB) {
                snprintf(text, sizeof(text), "%lluM", (unsigned long long)value);
                return config_set(config, "memory.size", text, err);
        }
        return config_set(config, "memory.size", argument, err);
}

static int
option_pin(struct config *config, const char *argument, struct config_error *err)
{
        const char *colon = strchr(argument, ':'), *earlier;
        char name[48], vcpu[16], cpus[256];
        uint64_t number;

        snprintf(vcpu, sizeof(vcpu), "%.*s", colon == NULL ? 0 : (int)(colon - argument), argument);
        if (parse_u64(vcpu, &number) != 0 || number > 255 || parse_u64(colon + 1, &number) != 0)
                return config_fail(err, "-p: '%s' is not of the form vcpu:hostcpu", argument);
        snprintf(name, sizeof(name), "vcpu.%s.cpuset", vcpu);
        earlier = config_get(config, name);
        if ((size_t)snprintf(cpus, sizeof(cpus), "%s%s%s", earlier == NULL ? "" : earlier,
                earlier == NULL ? "" : ",", colon + 1) >= sizeof(cpus))
                return config_fail(err, "-p: too many host CPUs for virtual CPU %s", vcpu);
        return config_set(config, name, cpus, err);
}

static int
option_gdb(struct config *config, const char *argument, struct config_error *err)
{
        const char *text = argument, *colon;
        char address[128];

        if (*text == 'w') {
                if (config_set(config, "gdb.wait", "true", err) != 0)
                        return -EINVAL;
                text++;
        }
        if (strchr(text, '/') != NULL)
                return config_set(config, "gdb.socket", text, err);
        colon = strrchr(text, ':');
        if (colon != NULL) {
                snprintf(address, sizeof(address), "%.*s", (int)(colon - text), text);
                if (config_set(config, "gdb.address", address, err) != 0)
                        return -EINVAL;
                text = colon + 1;
        }
        return config_set(config, "gdb.port", text, err);
}

static int
option_ioapic(struct config *config, const char *argument, struct config_error *err)
{
        log_warn("-I is obsolete: there always is an I/O APIC");
        return 0;
}

/* [bus:]slot[:function] */
static int
parse_place(const char *text, char *prefix, size_t size, struct config_error *err)
{
        static const unsigned limits[3] = { 255, 31, 7 };
        uint64_t number[3] = { 0, 0, 0 };
        char part[16];
        unsigned count = 0, first;
        const char *p = text;

        for (const char *c = text; *c != '\0'; c++)
                count += *c == ':';
        if (count > 2)
                return config_fail(err, "-s: '%s' is not [bus:]slot[:function]", text);
        first = count == 2 ? 0 : 1;
        for (unsigned i = first; i <= first + count; i++) {
                size_t len = strcspn(p, ":");

                snprintf(part, sizeof(part), "%.*s", (int)(len < 15 ? len : 15), p);
                if (parse_u64(part, &number[i]) != 0 || number[i] > limits[i])
                        return config_fail(err,
                            "-s: '%s' is not [bus:]slot[:function]; buses are 0 to 255, slots 0 to 31, functions 0 to 7",
                            text);
                p += len + (p[len] == ':');
        }
        snprintf(prefix, size, "pci.%u.%u.%u", (unsigned)number[0], (unsigned)number[1], (unsigned)number[2]);
        return 0;
}

static int
slot_set(struct config *config, const char *prefix, const char *key, const char *value,
    struct config_error *err)
{
        char name[128];

        snprintf(name, sizeof(name), "%s.%s", prefix, key);
        return config_set(config, name, value, err);
}

/* "key=value", or "key" alone for true. */
static int
slot_option(struct config *config, const char *prefix, char *item, struct config_error *err)
{
        char *equals = strchr(item, '=');

        if (*item == '\0')
                return 0;
        if (equals != NULL)
                *equals = '\0';
        return slot_set(config, prefix, item, equals == NULL ? "true" : equals + 1, err);
}

static int
slot_plain(struct config *config, const char *prefix, const struct config_device *device, char *options,
    struct config_error *err)
{
        char *item;
        bool first = true;

        while ((item = next_item(&options)) != NULL) {
                char *equals = strchr(item, '=');
                int error;

                /* A path may have a '=' in it; a first item with one is an option only if its name is. */
                if (first && device->first != NULL) {
                        char name[160];

                        snprintf(name, sizeof(name), "%s.%.*s", prefix,
                            equals == NULL ? 0 : (int)(equals - item), item);
                        first = false;
                        if (config_find_key(name, device->name) == NULL) {
                                error = slot_set(config, prefix, device->first, item, err);
                                if (error != 0)
                                        return error;
                                continue;
                        }
                }
                error = slot_option(config, prefix, item, err);
                if (error != 0)
                        return error;
        }
        return 0;
}

/* name=/path[,ro] */
static int
slot_share(struct config *config, const char *prefix, char *options, struct config_error *err)
{
        char *item = next_item(&options), *equals = item == NULL ? NULL : strchr(item, '=');

        if (equals == NULL)
                return config_fail(err, "-s: virtio-9p wants sharename=/path");
        *equals = '\0';
        if (slot_set(config, prefix, "sharename", item, err) != 0 ||
            slot_set(config, prefix, "path", equals + 1, err) != 0)
                return -EINVAL;
        while ((item = next_item(&options)) != NULL) {
                if (slot_option(config, prefix, item, err) != 0)
                        return -EINVAL;
        }
        return 0;
}

static int
slot_ports(struct config *config, const char *prefix, char *options, struct config_error *err)
{
        char *item, key[32];

        for (unsigned n = 0; (item = next_item(&options)) != NULL; n++) {
                char *equals = strchr(item, '=');

                if (equals == NULL)
                        return config_fail(err, "-s: virtio-console wants portname=/path/to/socket");
                *equals = '\0';
                snprintf(key, sizeof(key), "port.%u.name", n);
                if (slot_set(config, prefix, key, item, err) != 0)
                        return -EINVAL;
                snprintf(key, sizeof(key), "port.%u.path", n);
                if (slot_set(config, prefix, key, equals + 1, err) != 0)
                        return -EINVAL;
        }
        return 0;
}

#define AHCI_PORTS 32

/* Starts port @n: "hd:path", "cd:path", or a path alone with the emulation's own type. */
static int
slot_ahci_port(struct config *config, const char *prefix, unsigned n, const char *type, const char *path,
    struct config_error *err)
{
        char key[32];

        if (n == AHCI_PORTS)
                return config_fail(err, "-s: an AHCI controller has at most %d ports", AHCI_PORTS);
        snprintf(key, sizeof(key), "port.%u.type", n);
        if (slot_set(config, prefix, key, type, err) != 0)
                return -EINVAL;
        snprintf(key, sizeof(key), "port.%u.path", n);
        return *path == '\0' ? 0 : slot_set(config, prefix, key, path, err);
}

/* Items that begin with hd: or cd: start a port; the others are options of the last one. */
static int
slot_ahci(struct config *config, const char *prefix, const struct config_device *device, char *options,
    struct config_error *err)
{
        const char *own_type = strcmp(device->name, "ahci-cd") == 0 ? "cd" : "hd";
        bool takes_path = strcmp(device->name, "ahci") != 0;
        char *item, port_prefix[64];
        unsigned n = 0;
        int error = 0;

        while (error == 0 && (item = next_item(&options)) != NULL) {
                if (strncmp(item, "hd:", 3) == 0) {
                        error = slot_ahci_port(config, prefix, n++, "hd", item + 3, err);
                } else if (strncmp(item, "cd:", 3) == 0) {
                        error = slot_ahci_port(config, prefix, n++, "cd", item + 3, err);
                } else if (n == 0 && takes_path) {
                        error = slot_ahci_port(config, prefix, n++, own_type, item, err);
                } else if (n == 0) {
                        error = config_fail(err, "-s: ahci wants hd:path or cd:path before '%s'", item);
                } else {
                        snprintf(port_prefix, sizeof(port_prefix), "%s.port.%u", prefix, n - 1);
                        error = slot_option(config, port_prefix, item, err);
                }
        }
        return error;
}

static int
slot_options(struct config *config, const char *prefix, const struct config_device *device, char *options,
    struct config_error *err)
{
        if (options == NULL)
                return 0;
        switch (device->style) {
        case CONFIG_STYLE_UART:
                return slot_set(config, prefix, device->first, options, err);
        case CONFIG_STYLE_SHARE:
                return slot_share(config, prefix, options, err);
        case CONFIG_STYLE_PORTS:
                return slot_ports(config, prefix, options, err);
        case CONFIG_STYLE_AHCI:
                return slot_ahci(config, prefix, device, options, err);
        case CONFIG_STYLE_PLAIN:
        case CONFIG_STYLE_XHCI:
                return slot_plain(config, prefix, device, options, err);
        }
        return -EINVAL;
}

int
cmdline_slot(struct config *config, const char *text, struct config_error *err)
{
        char copy[4096], prefix[48], key[64], *cursor = copy, *place, *name;
        const struct config_device *device;

        if ((size_t)snprintf(copy, sizeof(copy), "%s", text) >= sizeof(copy))
                return config_fail(err, "-s: the argument is too long");
        place = next_item(&cursor);
        name = next_item(&cursor);
        if (name == NULL)
                return config_fail(err, "-s: '%s' names no device; the form is slot,device[,options]", text);
        if (parse_place(place, prefix, sizeof(prefix), err) != 0)
                return -EINVAL;
        device = config_find_device(name);
        if (device == NULL) {
                const char *nearest = config_nearest_device(name);

                return nearest == NULL
                           ? config_fail(err, "-s: unknown device '%s' (bhyve -s help lists them)", name)
                           : config_fail(err, "-s: unknown device '%s'; did you mean '%s'?", name, nearest);
        }
        if (device->refused != NULL)
                return config_fail(err, "-s: device '%s' is not available: %s", name, device->refused);
        snprintf(key, sizeof(key), "%s.device", prefix);
        if (config_is_set(config, key))
                return config_fail(err, "-s: slot %s is used twice (%s is there already)", place,
                    config_get(config, key));
        if (config_set(config, key, name, err) != 0)
                return -EINVAL;
        return slot_options(config, prefix, device, cursor, err);
}

int
cmdline_lpc(struct config *config, const char *text, struct config_error *err)
{
        const char *comma = strchr(text, ',');
        char device[32], key[64];

        snprintf(device, sizeof(device), "%.*s",
            comma == NULL ? (int)sizeof(device) - 1 : (int)(comma - text), text);
        if (strlen(device) == 4 && strncmp(device, "com", 3) == 0 && device[3] >= '1' && device[3] <= '4') {
                if (comma == NULL || comma[1] == '\0')
                        return config_fail(err, "-l: %s wants stdio, a terminal device or tcp=address:port", device);
                snprintf(key, sizeof(key), "lpc.%s.path", device);
                return config_set(config, key, comma + 1, err);
        }
        if (strcmp(device, "tpm") == 0)
                return config_set(config, "lpc.tpm.type", comma == NULL ? "" : comma + 1, err);
        if (strcmp(device, "bootrom") == 0 || strcmp(device, "fwcfg") == 0 || strcmp(device, "pc-testdev") == 0) {
                snprintf(key, sizeof(key), "lpc.%s", device);
                return config_set(config, key, comma == NULL ? "true" : comma + 1, err);
        }
        return config_fail(err, "-l: unknown device '%s' (bhyve -l help lists them)", device);
}

static int
apply_option(struct config *config, const struct option_row *row, const char *argument, struct config_error *err)
{
        if (row->refused != NULL)
                return config_fail(err, "-%c is not available: %s", row->letter, row->refused);
        if (row->fn != NULL)
                return row->fn(config, argument, err);
        return config_set(config, row->key, row->value != NULL ? row->value : argument, err);
}

static const struct option_row *
find_option(int letter)
{
        for (size_t i = 0; i < ARRAY_LEN(option_rows); i++) {
                if (option_rows[i].letter == letter)
                        return &option_rows[i];
        }
        return NULL;
}

static void
option_letters(char *buf)
{
        *buf++ = ':';
        for (size_t i = 0; i < ARRAY_LEN(option_rows); i++) {
                *buf++ = option_rows[i].letter;
                if (option_rows[i].argument != NULL)
                        *buf++ = ':';
        }
        *buf = '\0';
}

static int
cmdline_name(struct config *config, int argc, char **argv, struct config_error *err)
{
        if (optind + 1 < argc)
                return config_fail(err, "'%s' after the VM's name '%s': options come before the name",
                    argv[optind + 1], argv[optind]);
        if (optind < argc)
                return config_set(config, "name", argv[optind], err);
        return 0;
}

int
cmdline_parse(struct config *config, int argc, char **argv, enum cmdline_action *ret_action,
    struct config_error *err)
{
        char letters[2 * ARRAY_LEN(option_rows) + 4] = "+";
        int letter;

        option_letters(letters + 1);
        optind = 1;
        while ((letter = getopt(argc, argv, letters)) != -1) {
                if (letter == '?')
                        return config_fail(err, "unknown option -%c (bhyve -h lists them)", optopt);
                if (letter == ':')
                        return config_fail(err, "option -%c wants an argument", optopt);
                if (letter == 'h') {
                        *ret_action = CMDLINE_USAGE;
                        return 0;
                }
                if ((letter == 's' || letter == 'l') && strcmp(optarg, "help") == 0) {
                        *ret_action = letter == 's' ? CMDLINE_SLOT_HELP : CMDLINE_LPC_HELP;
                        return 0;
                }
                if (apply_option(config, find_option(letter), optarg, err) != 0)
                        return -EINVAL;
        }
        *ret_action = CMDLINE_RUN;
        return cmdline_name(config, argc, argv, err);
}

void
cmdline_usage(FILE *out)
{
        fprintf(out, "Usage: bhyve [options] vmname\n");
        for (size_t i = 0; i < ARRAY_LEN(option_rows); i++) {
                const struct option_row *row = &option_rows[i];

                if (row->refused == NULL)
                        fprintf(out, "  -%c %-10s %s\n", row->letter, row->argument == NULL ? "" : row->argument,
                            row->help);
        }
        fprintf(out, "A kernel without a loader: -o boot.kernel=FILE [-o boot.initrd=FILE] [-o boot.cmdline=TEXT]\n");
}

void
cmdline_slot_help(FILE *out)
{
        for (size_t i = 0; i < config_device_count; i++) {
                if (config_devices[i].refused == NULL)
                        fprintf(out, "%-16s %s\n", config_devices[i].name, config_devices[i].help);
        }
}

void
cmdline_lpc_help(FILE *out)
{
        for (unsigned i = 1; i <= 4; i++)
                fprintf(out, "com%u\n", i);
}
