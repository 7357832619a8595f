/* SPDX-License-Identifier: BSD-2-Clause */
/* What all disk controllers do with their part of the configuration. */
#ifndef DEV_BLOCKDEV_H
#define DEV_BLOCKDEV_H

#include "backend/block/block.h"
#include "config/config.h"

/*
 * Opens the disk that @node describes (path, nocache, direct, sync, ro, nodelete,
 * sectorsize), below @prefix ("" or "port.0.").  @read_only forces ro.  Says what is wrong.
 */
int blockdev_open(const struct config_node *node, const char *prefix, bool read_only, struct loop *loop,
    struct block **ret_block);

#define BLOCKDEV_IDENT_BYTES 20

/* The serial number bhyve derives from the path, "BHYVE-XXXX-XXXX-XXXX", with its NUL. */
void blockdev_default_serial(const struct block *block, char ret_ident[BLOCKDEV_IDENT_BYTES + 1]);

#endif
