/* SPDX-License-Identifier: BSD-2-Clause */
/* Prints the configuration keys and devices as the lists of bhyve_config(5). */
#include "config/schema.h"

#include <stdio.h>
#include <string.h>

/* '#' and '*' as the manual writes them: N and NAME; a key below a PCI slot without its place. */
static void
print_name(const char *name)
{
        static const char place[] = "pci.#.#.#.";

        if (strncmp(name, place, sizeof(place) - 1) == 0 && strcmp(name, "pci.#.#.#.device") != 0)
                name += sizeof(place) - 1;
        for (; *name != '\0'; name++) {
                if (*name == '#')
                        fputs("N", stdout);
                else if (*name == '*')
                        fputs("NAME", stdout);
                else
                        putchar(*name);
        }
}

static void
print_text(const char *text)
{
        for (; *text != '\0'; text++)
                fputs(*text == '\\' ? "\\e" : (char[]){ *text, '\0' }, stdout);
}

static void
print_key(const struct config_key *key)
{
        static const char *const types[] = { [CONFIG_STRING] = "string", [CONFIG_BOOL] = "boolean",
                [CONFIG_UINT] = "number", [CONFIG_SIZE] = "size", [CONFIG_CHOICE] = "choice", [CONFIG_UUID] = "UUID",
                [CONFIG_CPUSET] = "host CPUs", [CONFIG_DEVICE] = "device" };

        printf(".It Va ");
        print_name(key->name);
        printf(" Pq %s", key->choices != NULL ? key->choices : types[key->type]);
        if (key->fallback != NULL && key->fallback[0] != '\0')
                printf(" , default %s", key->fallback);
        putchar('\n');
        print_text(key->help);
        if (key->refused != NULL) {
                fputs(": ", stdout);
                print_text(key->refused);
        }
        if (key->devices != NULL)
                printf(" (%s)", key->devices);
        puts(".");
}

int
main(void)
{
        puts(".Bl -tag -width Ds");
        for (size_t i = 0; i < config_key_count; i++)
                print_key(&config_keys[i]);
        puts(".El");
        return 0;
}
