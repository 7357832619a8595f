/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * ZFS blocks: following a block pointer to decompressed bytes.
 *
 * A pointer has up to three addresses, of which any serves; sizes count 512
 * bytes.  Checksums fletcher2 and fletcher4 are verified, others are not.
 */
#include "boot/fs/zfs_impl.h"

#include "base/bytes.h"
#include "base/util.h"

#include <errno.h>
#include <stdlib.h>

#define DATA_START   0x400000u /* behind the two front labels and the boot area */
#define DVAS         3u
#define GANG_BYTES   512u
#define GANG_DEPTH   3u
#define METHOD_OFF   2u
#define CKSUM_FLETCHER2 6u
#define CKSUM_FLETCHER4 7u

static uint64_t
prop(const unsigned char *bp)
{
        return get_le64(bp + 48);
}

static bool
is_embedded(const unsigned char *bp)
{
        return prop(bp) >> 39 & 1;
}

static unsigned
method(const unsigned char *bp)
{
        return prop(bp) >> 32 & 0x7f;
}

static size_t
packed_len(const unsigned char *bp)
{
        if (is_embedded(bp))
                return (prop(bp) >> 25 & 0x7f) + 1;
        return ((prop(bp) >> 16 & 0xffff) + 1) * 512;
}

size_t
zfs_block_len(const unsigned char *bp)
{
        if (is_embedded(bp))
                return (prop(bp) & 0x1ffffff) + 1;
        return ((prop(bp) & 0xffff) + 1) * 512;
}

bool
zfs_hole(const unsigned char *bp)
{
        return !is_embedded(bp) && get_le64(bp) == 0 && get_le64(bp + 8) == 0;
}

/* Small data lies in the pointer itself, in all of it but the properties and the birth time. */
static void
read_embedded(const unsigned char *bp, unsigned char *packed)
{
        unsigned char all[112];

        memcpy(all, bp, 48);
        memcpy(all + 48, bp + 56, 24);
        memcpy(all + 72, bp + 88, 40);
        memcpy(packed, all, packed_len(bp) < sizeof(all) ? packed_len(bp) : sizeof(all));
}

static bool
checksum_ok(const unsigned char *bp, const unsigned char *bytes, size_t len)
{
        uint64_t a = 0, b = 0, c = 0, d = 0;
        unsigned kind = prop(bp) >> 40 & 0xff;

#ifdef FUZZING_BUILD_MODE_UNSAFE_FOR_PRODUCTION
        return true; /* or no change would get any further than here */
#endif
        if (kind == CKSUM_FLETCHER4) {
                for (size_t i = 0; i + 4 <= len; i += 4) {
                        a += get_le32(bytes + i);
                        b += a;
                        c += b;
                        d += c;
                }
        } else if (kind == CKSUM_FLETCHER2) {
                for (size_t i = 0; i + 16 <= len; i += 16) {
                        a += get_le64(bytes + i);
                        b += get_le64(bytes + i + 8);
                        c += a;
                        d += b;
                }
        } else {
                return true;
        }
        return a == get_le64(bp + 96) && b == get_le64(bp + 104) && c == get_le64(bp + 112) &&
            d == get_le64(bp + 120);
}

static int read_packed(struct zfs *z, const unsigned char *bp, unsigned char *to, size_t len,
    unsigned depth);

/* A gang: the block is in pieces that a header of three pointers lists. */
static int
read_gang(struct zfs *z, uint64_t at, unsigned char *to, size_t len, unsigned depth)
{
        unsigned char header[GANG_BYTES];

        if (depth == GANG_DEPTH)
                return -EIO;
        int err = blkdev_read(&z->fs.dev, at, header, sizeof(header));
        for (unsigned i = 0; i < 3 && !err && len > 0; i++) {
                const unsigned char *piece = header + i * ZFS_BLKPTR;
                if (zfs_hole(piece))
                        continue;
                size_t n = packed_len(piece);
                if (is_embedded(piece) || n > len)
                        return -EIO;
                err = read_packed(z, piece, to, n, depth + 1);
                to += n;
                len -= n;
        }
        return !err && len > 0 ? -EIO : err;
}

static int
read_packed(struct zfs *z, const unsigned char *bp, unsigned char *to, size_t len, unsigned depth)
{
        int result = -EIO;

        for (unsigned i = 0; i < DVAS; i++) {
                uint64_t w0 = get_le64(bp + 16 * i), w1 = get_le64(bp + 16 * i + 8);
                uint64_t off = (w1 & ~(1ull << 63)) << 9;
                if ((w0 == 0 && w1 == 0) || off >> 9 != (w1 & ~(1ull << 63)) ||
                    off > UINT64_MAX - DATA_START)
                        continue;
                if (w0 >> 32 & 0xffffff) /* on another top-level device */
                        continue;
                off += DATA_START;
                int err = w1 >> 63 ? read_gang(z, off, to, len, depth)
                                   : blkdev_read(&z->fs.dev, off, to, len);
                if (!err && !(w1 >> 63) && !checksum_ok(bp, to, len))
                        err = -EIO;
                if (!err)
                        return 0;
                result = err;
        }
        return result;
}

static int
read_block(struct zfs *z, const unsigned char *bp, unsigned char *out, size_t out_len)
{
        size_t len = packed_len(bp);
        unsigned char *packed = malloc(len);
        int err = 0;

        if (!packed)
                return -ENOMEM;
        memset(packed, 0, len);
        if (is_embedded(bp))
                read_embedded(bp, packed);
        else
                err = read_packed(z, bp, packed, len, 0);
        if (!err && method(bp) == METHOD_OFF) {
                if (len < out_len)
                        err = -EIO;
                else
                        memcpy(out, packed, out_len);
        } else if (!err) {
                err = zfs_unpack(method(bp), packed, len, out, out_len);
        }
        free(packed);
        return err;
}

static struct zfs_block *
find_slot(struct zfs *z, const unsigned char *bp, bool *ret_hit)
{
        struct zfs_block *oldest = &z->cache[0];

        *ret_hit = false;
        for (unsigned i = 0; i < ZFS_CACHE; i++) {
                struct zfs_block *b = &z->cache[i];
                if (b->bytes && memcmp(b->key, bp, ZFS_BLKPTR) == 0) {
                        *ret_hit = true;
                        return b;
                }
                if (!b->bytes || (oldest->bytes && b->used < oldest->used))
                        oldest = b;
        }
        return oldest;
}

int
zfs_block_read(struct zfs *z, const unsigned char *bp, const unsigned char **ret_bytes,
    size_t *ret_len)
{
        bool hit;
        struct zfs_block *b = find_slot(z, bp, &hit);

        if (!hit) {
                size_t len = zfs_block_len(bp);
                if (!(prop(bp) >> 63))
                        return -ENOTSUP; /* big-endian */
                if (!is_embedded(bp) && prop(bp) >> 61 & 1)
                        return -ENOTSUP; /* encrypted */
                if (zfs_hole(bp) || len > ZFS_BLOCK_MAX)
                        return -EIO;
                free(b->bytes);
                b->bytes = malloc(len);
                if (!b->bytes)
                        return -ENOMEM;
                int err = read_block(z, bp, b->bytes, len);
                if (err) {
                        free(b->bytes);
                        b->bytes = NULL;
                        return err;
                }
                b->len = len;
                memcpy(b->key, bp, ZFS_BLKPTR);
        }
        b->used = ++z->clock;
        *ret_bytes = b->bytes;
        *ret_len = b->len;
        return 0;
}

void
zfs_block_drop_all(struct zfs *z)
{
        for (unsigned i = 0; i < ZFS_CACHE; i++) {
                free(z->cache[i].bytes);
                z->cache[i].bytes = NULL;
        }
}
