/* SPDX-License-Identifier: BSD-2-Clause */
/* Compressed files in memory: gzip, bzip2 and zstd, told apart by their first bytes. */
#ifndef BOOT_FS_UNPACK_H
#define BOOT_FS_UNPACK_H

#include <stddef.h>

enum unpack_kind {
        UNPACK_NONE,
        UNPACK_GZIP,
        UNPACK_BZIP2,
        UNPACK_ZSTD,
};

enum unpack_kind unpack_kind(const void *buf, size_t len);

/*
 * Decompresses; members or frames behind one another are joined.  -EFBIG when
 * more than @limit bytes come out, -EIO when the data is damaged or cut short.
 * The caller frees *@ret_out, which has a NUL behind it.
 */
int unpack(const void *buf, size_t len, size_t limit, void **ret_out, size_t *ret_len);

#endif
