/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Partition tables: GPT (UEFI 2.10 chapter 5), MBR with logical partitions,
 * and BSD labels (whole disk or inside an MBR slice).
 *
 * part_scan() lists one level.  A BSD label inside a slice is found by
 * scanning the slice.  A damaged table is treated as absent.
 */
#ifndef BOOT_FS_PART_H
#define BOOT_FS_PART_H

#include "boot/fs/blkdev.h"

#define PART_SECTOR 512u
#define PART_MAX    128u

enum part_scheme {
        PART_SCHEME_NONE,
        PART_SCHEME_GPT,
        PART_SCHEME_MBR,
        PART_SCHEME_BSD,
};

enum part_type {
        PART_OTHER,
        PART_FREEBSD, /* an MBR slice or GPT entry that holds a BSD label */
        PART_FREEBSD_BOOT,
        PART_FREEBSD_UFS,
        PART_FREEBSD_ZFS,
        PART_FREEBSD_SWAP,
        PART_FREEBSD_VINUM,
        PART_FAT,
        PART_EFI,
        PART_BASIC_DATA,
        PART_LINUX,
        PART_LINUX_SWAP,
};

struct part {
        unsigned index; /* 1... for GPT and MBR; 0 = 'a' for a BSD label */
        enum part_type type;
        bool active; /* the MBR's active flag or GPT's bootme attribute */
        uint64_t start_bytes;
        uint64_t size_bytes;
};

struct part_table {
        enum part_scheme scheme;
        unsigned count;
        struct part parts[PART_MAX];
};

/* Always fills @ret_table; the scheme is PART_SCHEME_NONE where no table is recognised. */
void part_scan(const struct blkdev *dev, struct part_table *ret_table);

/* The entry with @index, or NULL. */
const struct part *part_find(const struct part_table *table, unsigned index);

/* How good a root a partition may be: 0 is not at all; larger is better. */
unsigned part_boot_rank(const struct part_table *table, const struct part *part);

/* "FreeBSD UFS" and the like, for listings. */
const char *part_type_name(enum part_type type);

#endif
