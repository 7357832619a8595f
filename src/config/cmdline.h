/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * bhyve(8)'s command line into the configuration.  One table holds every
 * option of every FreeBSD release: what it sets, or why it is refused.
 */
#ifndef CONFIG_CMDLINE_H
#define CONFIG_CMDLINE_H

#include "config/config.h"

enum cmdline_action {
        CMDLINE_RUN,
        CMDLINE_USAGE,
        CMDLINE_SLOT_HELP,
        CMDLINE_LPC_HELP,
};

int cmdline_parse(struct config *config, int argc, char **argv, enum cmdline_action *ret_action,
    struct config_error *err);

/* The argument of -s and of -l. */
int cmdline_slot(struct config *config, const char *text, struct config_error *err);
int cmdline_lpc(struct config *config, const char *text, struct config_error *err);

void cmdline_usage(FILE *out);
void cmdline_slot_help(FILE *out);
void cmdline_lpc_help(FILE *out);

#endif
