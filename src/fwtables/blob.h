/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A table under construction: bytes are appended, sizes and checksums fixed up
 * behind, and the whole is copied to the guest once.  Running out of room is
 * remembered, so that only the end need check.
 */
#ifndef FWTABLES_BLOB_H
#define FWTABLES_BLOB_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct blob {
        uint8_t *bytes;
        size_t len;
        size_t capacity;
        bool failed;
};

void blob_init(struct blob *blob);
void blob_finish(struct blob *blob);

void blob_bytes(struct blob *blob, const void *data, size_t len);
void blob_zero(struct blob *blob, size_t len);
void blob_u8(struct blob *blob, uint8_t value);
void blob_u16(struct blob *blob, uint16_t value);
void blob_u32(struct blob *blob, uint32_t value);
void blob_u64(struct blob *blob, uint64_t value);
/* @text without its NUL, cut or padded with blanks to @len. */
void blob_text(struct blob *blob, const char *text, size_t len);

/* Change what is there already; positions beyond the end are ignored. */
void blob_set8(struct blob *blob, size_t at, uint8_t value);
void blob_set16(struct blob *blob, size_t at, uint16_t value);
void blob_set32(struct blob *blob, size_t at, uint32_t value);
/* Makes the bytes [from, to) sum up to 0 by the one at @at. */
void blob_checksum(struct blob *blob, size_t from, size_t to, size_t at);

#endif
