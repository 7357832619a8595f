/* SPDX-License-Identifier: BSD-2-Clause */
#include "dev/blockdev.h"
#include "base/log.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

static const char *
prefixed(char *buf, size_t size, const char *prefix, const char *key)
{
        snprintf(buf, size, "%s%s", prefix, key);
        return buf;
}

static bool
option_bool(const struct config_node *node, const char *prefix, const char *key)
{
        char name[64];

        return config_node_bool(node, prefixed(name, sizeof(name), prefix, key));
}

static const char *
option_text(const struct config_node *node, const char *prefix, const char *key)
{
        char name[64];

        return config_node_get(node, prefixed(name, sizeof(name), prefix, key));
}

int
blockdev_open(const struct config_node *node, const char *prefix, bool read_only, struct loop *loop,
    struct block **ret_block)
{
        const char *sector_size = option_text(node, prefix, "sectorsize");
        const char *engine = option_text(node, prefix, "engine");
        struct block_options options = {
                .path = option_text(node, prefix, "path"),
                .nocache = option_bool(node, prefix, "nocache"),
                .sync = option_bool(node, prefix, "direct") || option_bool(node, prefix, "sync"),
                .read_only = read_only || option_bool(node, prefix, "ro"),
                .no_delete = option_bool(node, prefix, "nodelete"),
        };

        if (engine != NULL && strcmp(engine, "threads") == 0)
                options.engine = BLOCK_ENGINE_THREADS;
        if (options.path == NULL) {
                log_error("%s.%spath: the disk has no file or device", node->prefix, prefix);
                return -EINVAL;
        }
        if (sector_size != NULL &&
            block_parse_sector_size(sector_size, &options.sector_bytes, &options.physical_bytes) != 0) {
                log_error("%s.%ssectorsize: '%s' is not LOGICAL[/PHYSICAL] with powers of two from 512 to "
                          "65536", node->prefix, prefix, sector_size);
                return -EINVAL;
        }
        return block_open(&options, loop, ret_block);
}

void
blockdev_default_serial(const struct block *block, char ret_ident[BLOCKDEV_IDENT_BYTES + 1])
{
        uint8_t d[16];

        block_path_digest(block, d);
        snprintf(ret_ident, BLOCKDEV_IDENT_BYTES + 1, "BHYVE-%02X%02X-%02X%02X-%02X%02X", d[0], d[1], d[2],
            d[3], d[4], d[5]);
}
