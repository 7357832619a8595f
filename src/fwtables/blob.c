/* SPDX-License-Identifier: BSD-2-Clause */
#include "fwtables/blob.h"

#include "base/bytes.h"

#include <stdlib.h>
#include <string.h>

void
blob_init(struct blob *blob)
{
        memset(blob, 0, sizeof(*blob));
}

void
blob_finish(struct blob *blob)
{
        free(blob->bytes);
        memset(blob, 0, sizeof(*blob));
}

static uint8_t *
extend(struct blob *blob, size_t len)
{
        uint8_t *place;

        if (blob->failed)
                return NULL;
        if (len > blob->capacity - blob->len) {
                size_t capacity = (blob->len + len) * 2 + 256;
                uint8_t *bytes = realloc(blob->bytes, capacity);

                if (!bytes) {
                        blob->failed = true;
                        return NULL;
                }
                blob->bytes = bytes;
                blob->capacity = capacity;
        }
        place = blob->bytes + blob->len;
        blob->len += len;
        return place;
}

void
blob_bytes(struct blob *blob, const void *data, size_t len)
{
        uint8_t *place = extend(blob, len);

        if (place && len)
                memcpy(place, data, len);
}

void
blob_zero(struct blob *blob, size_t len)
{
        uint8_t *place = extend(blob, len);

        if (place)
                memset(place, 0, len);
}

void
blob_u8(struct blob *blob, uint8_t value)
{
        blob_bytes(blob, &value, 1);
}

void
blob_u16(struct blob *blob, uint16_t value)
{
        uint8_t raw[2];

        put_le16(raw, value);
        blob_bytes(blob, raw, sizeof(raw));
}

void
blob_u32(struct blob *blob, uint32_t value)
{
        uint8_t raw[4];

        put_le32(raw, value);
        blob_bytes(blob, raw, sizeof(raw));
}

void
blob_u64(struct blob *blob, uint64_t value)
{
        uint8_t raw[8];

        put_le64(raw, value);
        blob_bytes(blob, raw, sizeof(raw));
}

void
blob_text(struct blob *blob, const char *text, size_t len)
{
        for (size_t i = 0; i < len; i++) {
                blob_u8(blob, *text ? (uint8_t)*text : ' ');
                text += *text != 0;
        }
}

void
blob_set8(struct blob *blob, size_t at, uint8_t value)
{
        if (at < blob->len)
                blob->bytes[at] = value;
}

void
blob_set16(struct blob *blob, size_t at, uint16_t value)
{
        blob_set8(blob, at, (uint8_t)value);
        blob_set8(blob, at + 1, (uint8_t)(value >> 8));
}

void
blob_set32(struct blob *blob, size_t at, uint32_t value)
{
        blob_set16(blob, at, (uint16_t)value);
        blob_set16(blob, at + 2, (uint16_t)(value >> 16));
}

void
blob_checksum(struct blob *blob, size_t from, size_t to, size_t at)
{
        uint8_t sum = 0;

        blob_set8(blob, at, 0);
        for (size_t i = from; i < to && i < blob->len; i++)
                sum = (uint8_t)(sum + blob->bytes[i]);
        blob_set8(blob, at, (uint8_t)-sum);
}
