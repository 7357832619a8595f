/* SPDX-License-Identifier: BSD-2-Clause */
/* ZFS's compression methods.  Every input is hostile: lengths are checked byte by byte. */
#include "boot/fs/zfs_impl.h"

#include "base/bytes.h"

#include <errno.h>
#include <stdlib.h>
#include <zlib.h>
#include <zstd.h>

enum {
        METHOD_ON = 1,
        METHOD_LZJB = 3,
        METHOD_GZIP_1 = 5,
        METHOD_GZIP_9 = 13,
        METHOD_ZLE = 14,
        METHOD_LZ4 = 15,
        METHOD_ZSTD = 16,
};

struct stream {
        const unsigned char *in, *in_end;
        unsigned char *start, *out, *out_end;
};

static bool
copy_literals(struct stream *s, size_t n)
{
        if (n > (size_t)(s->in_end - s->in) || n > (size_t)(s->out_end - s->out))
                return false;
        memcpy(s->out, s->in, n);
        s->in += n;
        s->out += n;
        return true;
}

/* Repeats what was written @distance bytes ago; the ranges may overlap, so each piece is what is there by then. */
static bool
copy_match(struct stream *s, size_t distance, size_t n)
{
        if (distance == 0 || distance > (size_t)(s->out - s->start) ||
            n > (size_t)(s->out_end - s->out))
                return false;
        const unsigned char *from = s->out - distance;
        while (n > 0) {
                size_t piece = n < (size_t)(s->out - from) ? n : (size_t)(s->out - from);
                memcpy(s->out, from, piece);
                s->out += piece;
                n -= piece;
        }
        return true;
}

/* Groups of eight items behind a byte of flags: a literal, or 6 bits length and 10 bits distance.
 */
static int
unpack_lzjb(struct stream *s)
{
        while (s->out < s->out_end) {
                if (s->in == s->in_end)
                        return -EIO;
                unsigned flags = *s->in++;
                for (unsigned bit = 0; bit < 8 && s->out < s->out_end; bit++) {
                        if (!(flags >> bit & 1)) {
                                if (!copy_literals(s, 1))
                                        return -EIO;
                                continue;
                        }
                        if (s->in_end - s->in < 2)
                                return -EIO;
                        size_t n = (s->in[0] >> 2) + 3u;
                        size_t distance = (size_t)(s->in[0] & 3) << 8 | s->in[1];
                        s->in += 2;
                        if (n > (size_t)(s->out_end - s->out))
                                n = (size_t)(s->out_end - s->out);
                        if (!copy_match(s, distance, n))
                                return -EIO;
                }
        }
        return 0;
}

/* Runs: up to 64 literal bytes, or more than 64 less 64 zeros. */
static int
unpack_zle(struct stream *s)
{
        while (s->in < s->in_end && s->out < s->out_end) {
                size_t n = 1u + *s->in++;
                if (n <= 64) {
                        if (!copy_literals(s, n))
                                return -EIO;
                        continue;
                }
                n -= 64;
                if (n > (size_t)(s->out_end - s->out))
                        return -EIO;
                memset(s->out, 0, n);
                s->out += n;
        }
        return s->out == s->out_end ? 0 : -EIO;
}

/* A nibble of 15 goes on in bytes until one is not 255. */
static bool
lz4_length(struct stream *s, size_t *n)
{
        if (*n != 15)
                return true;
        for (;;) {
                if (s->in == s->in_end)
                        return false;
                unsigned more = *s->in++;
                *n += more;
                if (more != 255)
                        return true;
        }
}

/* The LZ4 block format, behind its length in 4 big-endian bytes. */
static int
unpack_lz4(struct stream *s)
{
        if (s->in_end - s->in < 4)
                return -EIO;
        uint32_t len = get_be32(s->in);
        s->in += 4;
        if (len > (size_t)(s->in_end - s->in))
                return -EIO;
        s->in_end = s->in + len;
        while (s->in < s->in_end) {
                unsigned token = *s->in++;
                size_t literals = token >> 4, match = token & 15;
                if (!lz4_length(s, &literals) || !copy_literals(s, literals))
                        return -EIO;
                if (s->in == s->in_end)
                        break; /* the last sequence has literals only */
                if (s->in_end - s->in < 2)
                        return -EIO;
                size_t distance = get_le16(s->in);
                s->in += 2;
                if (!lz4_length(s, &match) || !copy_match(s, distance, match + 4))
                        return -EIO;
        }
        return s->out == s->out_end ? 0 : -EIO;
}

static int
unpack_zlib(struct stream *s)
{
        uLongf len = (uLongf)(s->out_end - s->out);

        if (uncompress(s->out, &len, s->in, (uLong)(s->in_end - s->in)) != Z_OK ||
            len != (uLongf)(s->out_end - s->out))
                return -EIO;
        return 0;
}

/* Behind the length (4 bytes, big-endian) and the level (4) lies a frame without its magic number.
 */
static int
unpack_zstd(struct stream *s)
{
        if (s->in_end - s->in < 8)
                return -EIO;
        size_t len = get_be32(s->in), room = (size_t)(s->out_end - s->out);
        if (len > (size_t)(s->in_end - s->in) - 8)
                return -EIO;
        unsigned char *frame = malloc(len + 4);
        if (!frame)
                return -ENOMEM;
        put_le32(frame, ZSTD_MAGICNUMBER);
        memcpy(frame + 4, s->in + 8, len);
        size_t n = ZSTD_decompress(s->out, room, frame, len + 4);
        free(frame);
        return ZSTD_isError(n) || n != room ? -EIO : 0;
}

int
zfs_unpack(unsigned method, const unsigned char *in, size_t len, unsigned char *out, size_t out_len)
{
        struct stream s = {in, in + len, out, out, out + out_len};

        if (method >= METHOD_GZIP_1 && method <= METHOD_GZIP_9)
                return unpack_zlib(&s);
        switch (method) {
        case METHOD_ON:
        case METHOD_LZJB:
                return unpack_lzjb(&s);
        case METHOD_ZLE:
                return unpack_zle(&s);
        case METHOD_LZ4:
                return unpack_lz4(&s);
        case METHOD_ZSTD:
                return unpack_zstd(&s);
        default:
                return -ENOTSUP;
        }
}
