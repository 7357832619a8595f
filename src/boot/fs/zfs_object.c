/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * ZFS objects: dnodes with their trees of blocks, and ZAP tables of names.
 *
 * A dnode (512 bytes): type 0, log2 of the indirect blocks' size 1, levels 2,
 * pointers 3, bonus type 4, flags 7, block size / 512 at 8, bonus length 10,
 * further slots of 512 bytes 12, last block 16, pointers from 64 on, then the bonus.
 */
#include "boot/fs/zfs_impl.h"

#include "base/bytes.h"
#include "base/util.h"

#include <errno.h>

#define LEVELS_MAX      8u
#define OBJSET_MIN      1024u

#define ZAP_MICRO       ((1ull << 63) + 3)
#define ZAP_HEADER      ((1ull << 63) + 1)
#define ZAP_LEAF        ((1ull << 63) + 0)
#define ZAP_LEAF_MAGIC  0x2ab1eafu
#define ZAP_CHUNK       24u
#define ZAP_CHUNK_DATA  21u
#define ZAP_ENTRY       252u
#define ZAP_ARRAY       251u
#define ZAP_NO_CHUNK    0xffffu
#define ZAP_LEAF_HEADER 48u
#define MZAP_ENTRY      64u

static size_t
block_len(const unsigned char *dnode)
{
        return (size_t)get_le16(dnode + 8) * 512;
}

const unsigned char *
zfs_bonus(const unsigned char *dnode, size_t dnode_len, size_t *ret_len)
{
        size_t at = 64 + (size_t)dnode[3] * ZFS_BLKPTR, len = get_le16(dnode + 10);

        if (at > dnode_len)
                at = dnode_len;
        *ret_len = len < dnode_len - at ? len : dnode_len - at;
        return dnode + at;
}

/* The pointer to block @blkid, copied; *@ret_hole when it or one above it points nowhere. */
static int
find_block(
    struct zfs *z, const unsigned char *dnode, uint64_t blkid, unsigned char *bp, bool *ret_hole)
{
        unsigned levels = dnode[2], count = dnode[3], shift = dnode[1];

        *ret_hole = false;
        if (levels == 0 || levels > LEVELS_MAX || count == 0 || count > 3 || shift < 10 ||
            shift > 24)
                return -EIO;
        unsigned per = shift - 7; /* log2 of the pointers in an indirect block */
        unsigned top = (levels - 1) * per;
        uint64_t index = top >= 64 ? 0 : blkid >> top;
        if (index >= count) {
                *ret_hole = true;
                return 0;
        }
        memcpy(bp, dnode + 64 + index * ZFS_BLKPTR, ZFS_BLKPTR);
        for (unsigned level = levels - 1; level > 0; level--) {
                const unsigned char *bytes;
                size_t len;
                if (zfs_hole(bp))
                        break;
                int err = zfs_block_read(z, bp, &bytes, &len);
                if (err)
                        return err;
                unsigned down = (level - 1) * per;
                index = down >= 64 ? 0 : blkid >> down & ((1ull << per) - 1);
                if ((index + 1) * ZFS_BLKPTR > len)
                        return -EIO;
                memcpy(bp, bytes + index * ZFS_BLKPTR, ZFS_BLKPTR);
        }
        *ret_hole = zfs_hole(bp);
        return 0;
}

/* Block @blkid of the object; *@ret_bytes NULL for a hole. */
static int
get_block(struct zfs *z, const unsigned char *dnode, uint64_t blkid,
    const unsigned char **ret_bytes, size_t *ret_len)
{
        unsigned char bp[ZFS_BLKPTR];
        bool hole;

        *ret_bytes = NULL;
        *ret_len = block_len(dnode);
        int err = find_block(z, dnode, blkid, bp, &hole);
        if (err || hole)
                return err;
        return zfs_block_read(z, bp, ret_bytes, ret_len);
}

int
zfs_dnode_read(struct zfs *z, const unsigned char *dnode, uint64_t off, void *buf, size_t len)
{
        size_t size = block_len(dnode);
        unsigned char *to = buf;

        if (size == 0)
                return -EIO;
        while (len > 0) {
                const unsigned char *bytes;
                size_t have, in = (size_t)(off % size), n = size - in;
                int err = get_block(z, dnode, off / size, &bytes, &have);
                if (err)
                        return err;
                if (n > len)
                        n = len;
                if (!bytes)
                        memset(to, 0, n);
                else if (in + n <= have)
                        memcpy(to, bytes + in, n);
                else
                        return -EIO;
                to += n;
                off += n;
                len -= n;
        }
        return 0;
}

int
zfs_objset_open(struct zfs *z, const unsigned char *bp, struct zfs_objset *ret_os)
{
        const unsigned char *bytes;
        size_t len;
        int err = zfs_block_read(z, bp, &bytes, &len);

        if (err)
                return err;
        if (len < OBJSET_MIN)
                return -EIO;
        memcpy(ret_os->meta, bytes, ZFS_DNODE);
        return 0;
}

int
zfs_dnode_get(struct zfs *z, const struct zfs_objset *os, uint64_t object,
    unsigned char dnode[ZFS_DNODE])
{
        if (object == 0 || object > UINT64_MAX / ZFS_DNODE)
                return -EIO;
        int err = zfs_dnode_read(z, os->meta, object * ZFS_DNODE, dnode, ZFS_DNODE);
        return !err && dnode[0] == 0 ? -EIO : err; /* type 0: a free one */
}

int
zfs_dnode_get_whole(struct zfs *z, const struct zfs_objset *os, uint64_t object, unsigned char *dnode,
    size_t *ret_len)
{
        int err = zfs_dnode_get(z, os, object, dnode);

        if (err)
                return err;
        size_t len = (dnode[12] + 1u) * ZFS_DNODE;
        if (len > ZFS_DNODE_MAX)
                return -EIO;
        err = zfs_dnode_read(z, os->meta, object * ZFS_DNODE, dnode, len);
        if (!err)
                *ret_len = len;
        return err;
}

/* --- ZAP --- */

/* A small table: one block of 64-byte entries {value 0, name 14}. */
static int
micro_next(const unsigned char *block, size_t len, uint64_t *pos, struct zfs_zap_entry *e)
{
        for (uint64_t i = *pos; (i + 2) * MZAP_ENTRY <= len; i++) {
                const unsigned char *p = block + (i + 1) * MZAP_ENTRY;
                if (p[14] == '\0')
                        continue;
                e->value = get_le64(p);
                memcpy(e->name, p + 14, MZAP_ENTRY - 14);
                e->name[MZAP_ENTRY - 14] = '\0';
                *pos = i + 1;
                return 1;
        }
        return 0;
}

/* The chunks of a leaf block. */
struct leaf {
        const unsigned char *chunks;
        size_t count;
};

static bool
leaf_open(const unsigned char *block, size_t len, struct leaf *leaf)
{
        size_t table = len / 32 * 2; /* 16-bit hash entries, one per 32 bytes */

        if (len < 512 || get_le64(block) != ZAP_LEAF || get_le32(block + 24) != ZAP_LEAF_MAGIC)
                return false;
        leaf->chunks = block + ZAP_LEAF_HEADER + table;
        leaf->count = (len - ZAP_LEAF_HEADER - table) / ZAP_CHUNK;
        return true;
}

/* Bytes from a chain of array chunks; false when it is broken. */
static bool
leaf_array(const struct leaf *leaf, unsigned chunk, unsigned char *to, size_t len)
{
        while (len > 0) {
                if (chunk >= leaf->count)
                        return false;
                const unsigned char *p = leaf->chunks + chunk * ZAP_CHUNK;
                size_t n = len < ZAP_CHUNK_DATA ? len : ZAP_CHUNK_DATA;
                if (p[0] != ZAP_ARRAY)
                        return false;
                memcpy(to, p + 1, n);
                to += n;
                len -= n;
                chunk = get_le16(p + 22);
        }
        return true;
}

/* One entry; false when it is no single number of 8 bytes under a name that fits. */
static bool
leaf_entry(const struct leaf *leaf, const unsigned char *p, struct zfs_zap_entry *e)
{
        unsigned char value[8];
        size_t name_len = get_le16(p + 6);

        if (p[0] != ZAP_ENTRY || p[1] != 8 || get_le16(p + 10) < 1 || name_len == 0 ||
            name_len > sizeof(e->name))
                return false;
        if (!leaf_array(leaf, get_le16(p + 4), (unsigned char *)e->name, name_len) ||
            !leaf_array(leaf, get_le16(p + 8), value, sizeof(value)))
                return false;
        e->name[name_len - 1] = '\0';
        e->value = get_be64(value);
        return true;
}

/* A large table: every block behind the header that is a leaf.  *@pos is block << 16 | chunk. */
static int
fat_next(struct zfs *z, const unsigned char *dnode, uint64_t *pos, struct zfs_zap_entry *e)
{
        uint64_t last = get_le64(dnode + 16);
        uint64_t blkid = *pos >> 16, chunk = *pos & 0xffff;

        for (blkid = blkid ? blkid : 1; blkid <= last && blkid < 1u << 20; blkid++, chunk = 0) {
                const unsigned char *block;
                struct leaf leaf;
                size_t len;
                int err = get_block(z, dnode, blkid, &block, &len);
                if (err)
                        return err;
                if (!block || !leaf_open(block, len, &leaf))
                        continue;
                for (; chunk < leaf.count && chunk < 0xffff; chunk++) {
                        if (!leaf_entry(&leaf, leaf.chunks + chunk * ZAP_CHUNK, e))
                                continue;
                        *pos = blkid << 16 | (chunk + 1);
                        return 1;
                }
        }
        return 0;
}

int
zfs_zap_next(
    struct zfs *z, const unsigned char *dnode, uint64_t *pos, struct zfs_zap_entry *ret_entry)
{
        const unsigned char *block;
        size_t len;
        int err = get_block(z, dnode, 0, &block, &len);

        if (err)
                return err;
        if (!block || len < 512)
                return -EIO;
        if (get_le64(block) == ZAP_MICRO)
                return micro_next(block, len, pos, ret_entry);
        return get_le64(block) == ZAP_HEADER ? fat_next(z, dnode, pos, ret_entry) : -EIO;
}

int
zfs_zap_lookup(struct zfs *z, const struct zfs_objset *os, uint64_t object, const char *name,
    uint64_t *ret_value)
{
        unsigned char dnode[ZFS_DNODE];
        struct zfs_zap_entry e;
        uint64_t pos = 0;
        int n = zfs_dnode_get(z, os, object, dnode);

        if (n)
                return n;
        while ((n = zfs_zap_next(z, dnode, &pos, &e)) == 1) {
                if (strcmp(e.name, name) == 0) {
                        *ret_value = e.value;
                        return 0;
                }
        }
        return n ? n : -ENOENT;
}
