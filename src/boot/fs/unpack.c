/* SPDX-License-Identifier: BSD-2-Clause */
/* Decompression of whole files.  See unpack.h. */
#include "boot/fs/unpack.h"

#include <bzlib.h>
#include <errno.h>
#include <limits.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>
#include <zstd.h>

/* What comes out, growing up to a limit. */
struct sink {
        unsigned char *buf;
        size_t len, room, limit;
};

enum unpack_kind
unpack_kind(const void *buf, size_t len)
{
        if (len >= 18 && memcmp(buf, "\x1f\x8b\x08", 3) == 0)
                return UNPACK_GZIP;
        if (len >= 14 && memcmp(buf, "BZh", 3) == 0 &&
            memcmp((const char *)buf + 4, "1AY&SY", 6) == 0)
                return UNPACK_BZIP2;
        if (len >= 8 && memcmp(buf, "\x28\xb5\x2f\xfd", 4) == 0)
                return UNPACK_ZSTD;
        return UNPACK_NONE;
}

/* Makes room for at least one more byte, with one to spare for the NUL. */
static int
sink_grow(struct sink *s)
{
        if (s->len < s->room)
                return 0;
        if (s->room == s->limit)
                return -EFBIG;
        size_t room = s->room ? s->room : 64 * 1024;
        room = room > s->limit / 2 ? s->limit : room * 2;
        unsigned char *buf = realloc(s->buf, room + 1);
        if (!buf)
                return -ENOMEM;
        s->buf = buf;
        s->room = room;
        return 0;
}

static unsigned
clamp_uint(size_t n)
{
        return n > UINT_MAX ? UINT_MAX : (unsigned)n;
}

static int
gunzip(const unsigned char *in, size_t len, struct sink *s)
{
        z_stream z = {0};
        int err = 0, zerr = Z_OK;

        if (inflateInit2(&z, 16 + MAX_WBITS) != Z_OK)
                return -ENOMEM;
        z.next_in = (unsigned char *)in;
        while (!err) {
                err = sink_grow(s);
                if (err)
                        break;
                unsigned give = clamp_uint(len - (size_t)(z.next_in - in));
                unsigned room = clamp_uint(s->room - s->len);
                z.avail_in = give;
                z.next_out = s->buf + s->len;
                z.avail_out = room;
                zerr = inflate(&z, Z_NO_FLUSH);
                s->len += room - z.avail_out;
                if (zerr == Z_STREAM_END) {
                        size_t left = len - (size_t)(z.next_in - in);
                        if (unpack_kind(z.next_in, left) != UNPACK_GZIP)
                                break; /* what follows the last member is ignored */
                        inflateReset(&z);
                } else if (zerr != Z_OK || (z.avail_in == give && z.avail_out == room)) {
                        err = -EIO;
                }
        }
        inflateEnd(&z);
        return err;
}

static int
bunzip2(const unsigned char *in, size_t len, struct sink *s)
{
        const unsigned char *next = in, *end = in + len;
        int err = 0;

        while (!err && unpack_kind(next, (size_t)(end - next)) == UNPACK_BZIP2) {
                bz_stream z = {0};
                int zerr = BZ_OK;
                if (BZ2_bzDecompressInit(&z, 0, 0) != BZ_OK)
                        return -ENOMEM;
                while (!err && zerr != BZ_STREAM_END) {
                        err = sink_grow(s);
                        if (err)
                                break;
                        unsigned give = clamp_uint((size_t)(end - next));
                        unsigned room = clamp_uint(s->room - s->len);
                        z.next_in = (char *)next;
                        z.avail_in = give;
                        z.next_out = (char *)s->buf + s->len;
                        z.avail_out = room;
                        zerr = BZ2_bzDecompress(&z);
                        next += give - z.avail_in;
                        s->len += room - z.avail_out;
                        if ((zerr != BZ_OK && zerr != BZ_STREAM_END) ||
                            (zerr == BZ_OK && z.avail_in == give && z.avail_out == room))
                                err = -EIO;
                }
                BZ2_bzDecompressEnd(&z);
        }
        return err;
}

static int
unzstd(const unsigned char *in, size_t len, struct sink *s)
{
        ZSTD_DStream *z = ZSTD_createDStream();
        ZSTD_inBuffer src = {in, len, 0};
        size_t hint = 1;
        int err = 0;

        if (!z)
                return -ENOMEM;
        while (!err && !(hint == 0 && src.pos == src.size)) {
                err = sink_grow(s);
                if (err)
                        break;
                ZSTD_outBuffer dst = {s->buf, s->room, s->len};
                size_t before = src.pos;
                hint = ZSTD_decompressStream(z, &dst, &src);
                if (ZSTD_isError(hint) || (src.pos == before && dst.pos == s->len))
                        err = -EIO;
                s->len = dst.pos;
        }
        ZSTD_freeDStream(z);
        return err;
}

int
unpack(const void *buf, size_t len, size_t limit, void **ret_out, size_t *ret_len)
{
        struct sink s = {.limit = limit};
        int err;

        switch (unpack_kind(buf, len)) {
        case UNPACK_GZIP:
                err = gunzip(buf, len, &s);
                break;
        case UNPACK_BZIP2:
                err = bunzip2(buf, len, &s);
                break;
        case UNPACK_ZSTD:
                err = unzstd(buf, len, &s);
                break;
        default:
                err = -EINVAL;
        }
        if (!err && !s.buf)
                err = -EIO;
        if (err) {
                free(s.buf);
                return err;
        }
        s.buf[s.len] = '\0';
        *ret_out = s.buf;
        *ret_len = s.len;
        return 0;
}
