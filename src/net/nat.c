/* SPDX-License-Identifier: BSD-2-Clause */
#include "net/nat.h"
#include "base/log.h"
#include "config/netconf.h"
#include "net/change.h"

#include <errno.h>
#include <nftables/libnftables.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#define TABLE "inet bhyve"

/* natd_interface, or all that are not ours. */
static void
print_outside(const struct netconf *conf, FILE *out)
{
        if (conf->nat_interface[0] != '\0') {
                fprintf(out, "oifname \"%s\"", conf->nat_interface);
                return;
        }
        fprintf(out, "oifname != {");
        for (size_t i = 0; i < conf->bridge_count; i++)
                fprintf(out, "%s \"%s\"", i > 0 ? "," : "", conf->bridges[i].name);
        fprintf(out, " }");
}

static void
print_rule(const struct netconf *conf, const struct ip_prefix *prefix, FILE *out)
{
        struct ip_prefix network = ip_prefix_network(prefix);
        char text[IP_TEXT_MAX];

        fprintf(out, "                %s saddr %s ", network.family == AF_INET ? "ip" : "ip6",
            ip_prefix_format(&network, text));
        print_outside(conf, out);
        fprintf(out, " masquerade\n");
}

void
nat_print_rules(const struct netconf *conf, FILE *out)
{
        fprintf(out, "table " TABLE " {\n"
                     "        chain postrouting {\n"
                     "                type nat hook postrouting priority 100; policy accept;\n");
        for (size_t i = 0; i < conf->bridge_count; i++)
                for (size_t j = 0; j < conf->bridges[i].addr_count; j++)
                        print_rule(conf, &conf->bridges[i].addrs[j].prefix, out);
        fprintf(out, "        }\n}\n");
}

/* Runs @command; -EIO where nftables refuses it, with its words in the log unless @quiet. */
static int
nft(const char *command, bool quiet, char **ret_output)
{
        struct nft_ctx *ctx = nft_ctx_new(NFT_CTX_DEFAULT);
        int error;

        if (ctx == NULL)
                return -ENOMEM;
        nft_ctx_buffer_output(ctx);
        nft_ctx_buffer_error(ctx);
        error = nft_run_cmd_from_buffer(ctx, command) == 0 ? 0 : -EIO;
        if (error != 0 && !quiet)
                log_error("nftables: %s", nft_ctx_get_error_buffer(ctx));
        if (error == 0 && ret_output != NULL) {
                *ret_output = strdup(nft_ctx_get_output_buffer(ctx));
                error = *ret_output != NULL ? 0 : -ENOMEM;
        }
        nft_ctx_free(ctx);
        return error;
}

char *
nat_query(const char *command)
{
        char *output = NULL;

        return nft(command, true, &output) == 0 ? output : NULL;
}

static int
nat_look(struct net *net, const struct journal_record *want, char **ret_before)
{
        if (nft("list table " TABLE, true, NULL) != 0)
                return 0;
        log_error(
            "the nftables table '" TABLE "' exists and was not made by bhyvenet: remove it with "
            "`nft delete table " TABLE "' if nothing needs it");
        return -EEXIST;
}

/* Replaces the table in one transaction, so that a rerun cuts no connection. */
static int
nat_make(struct net *net, const struct journal_record *record)
{
        char *command = NULL;
        size_t bytes;
        FILE *out = open_memstream(&command, &bytes);
        int error;

        if (out == NULL)
                return -ENOMEM;
        fprintf(out, "add table " TABLE "\ndelete table " TABLE "\n");
        nat_print_rules(net->conf, out);
        error = fclose(out) != 0 ? -ENOMEM : nft(command, false, NULL);
        free(command);
        return error;
}

static int
nat_undo(struct net *net, const struct journal_record *record)
{
        return nft("add table " TABLE "\ndelete table " TABLE "\n", false, NULL);
}

const struct change_ops change_nat = {
        .kind = "nat", .look = nat_look, .make = nat_make, .undo = nat_undo,
};
