/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * ext2, ext3 and ext4 for reading: block maps and extents, inline data, 64-bit
 * and meta_bg group descriptors, hashed directories (read in order).  The
 * journal is not replayed: a file system that was not unmounted is read as it
 * stands.  Encrypted and compressed files, and external journals, are refused.
 * Layout after the kernel's documentation, filesystems/ext4.
 */
#include "boot/fs/fs.h"

#include "base/bytes.h"
#include "base/util.h"

#include <errno.h>
#include <stdlib.h>

#define EXT_SB_OFF       1024
#define EXT_SB_SIZE      1024
#define EXT_MAGIC        0xef53
#define EXT_ROOT_INO     2
#define EXT_INODE_MIN    128u
#define EXT_INODE_READ   256u /* of each inode; the rest holds attributes only */
#define EXT_DIRECT       12u
#define EXT_LEVELS       3u
#define EXT_EXTENT_DEPTH 5u
#define EXT_EXTENT_MAGIC 0xf30a
#define EXT_DIR_MAX      (256 * MIB)
#define EXT_INLINE_MAX   60u

#define INCOMPAT_COMPRESSION 0x1u
#define INCOMPAT_JOURNAL_DEV 0x8u
#define INCOMPAT_META_BG     0x10u
#define INCOMPAT_64BIT       0x80u
#define INCOMPAT_KNOWN       0x3f7deu /* all but the two that cannot be read */

#define INODE_ENCRYPT     0x800u
#define INODE_EXTENTS     0x80000u
#define INODE_INLINE_DATA 0x10000000u

struct ext {
        struct fs fs;
        uint32_t block_bytes;
        uint32_t inode_bytes;
        uint32_t inodes_per_group, groups;
        uint32_t first_data_block, blocks_per_group;
        uint32_t desc_bytes;
        bool meta_bg;
        uint32_t first_meta_bg;
        uint32_t compat, ro_compat;
        uint64_t blocks;
};

static struct ext *
to_ext(struct fs *fs)
{
        return container_of(fs, struct ext, fs);
}

static int
parse_super(struct ext *x, const unsigned char *sb)
{
        uint32_t incompat = get_le32(sb + 96), log_block = get_le32(sb + 24);

        if (get_le16(sb + 56) != EXT_MAGIC || log_block > 6)
                return -EINVAL;
        bool dynamic = get_le32(sb + 76) >= 1;
        if (!dynamic)
                incompat = 0;
        if (incompat & ~INCOMPAT_KNOWN)
                return -ENOTSUP;
        x->block_bytes = 1024u << log_block;
        x->inode_bytes = dynamic ? get_le16(sb + 88) : EXT_INODE_MIN;
        x->inodes_per_group = get_le32(sb + 40);
        x->blocks_per_group = get_le32(sb + 32);
        x->first_data_block = get_le32(sb + 20);
        x->blocks = get_le32(sb + 4);
        x->desc_bytes = 32;
        if (incompat & INCOMPAT_64BIT) {
                x->desc_bytes = get_le16(sb + 254);
                x->blocks |= (uint64_t)get_le32(sb + 336) << 32;
        }
        x->meta_bg = (incompat & INCOMPAT_META_BG) != 0;
        x->first_meta_bg = get_le32(sb + 260);
        x->compat = get_le32(sb + 92);
        x->ro_compat = get_le32(sb + 100);

        if (x->inode_bytes < EXT_INODE_MIN || x->inode_bytes > x->block_bytes ||
            (x->inode_bytes & (x->inode_bytes - 1)) || x->inodes_per_group == 0 ||
            x->blocks_per_group == 0 || x->desc_bytes < 32 || x->desc_bytes > x->block_bytes ||
            (x->desc_bytes & (x->desc_bytes - 1)) || x->blocks <= x->first_data_block)
                return -EINVAL;
        uint64_t groups =
            (x->blocks - x->first_data_block + x->blocks_per_group - 1) / x->blocks_per_group;
        if (groups > UINT32_MAX / x->inodes_per_group)
                return -EINVAL;
        x->groups = (uint32_t)groups;
        return 0;
}

static int
ext_mount(const struct blkdev *dev, struct fs **ret_fs)
{
        unsigned char sb[EXT_SB_SIZE];

        if (blkdev_read(dev, EXT_SB_OFF, sb, sizeof(sb)))
                return -EINVAL;
        struct ext *x = calloc(1, sizeof(*x));
        if (!x)
                return -ENOMEM;
        int err = parse_super(x, sb);
        if (err) {
                free(x);
                return err;
        }
        x->fs.ops = &ext_ops;
        x->fs.dev = *dev;
        *ret_fs = &x->fs;
        return 0;
}

static void
ext_unmount(struct fs *fs)
{
        free(to_ext(fs));
}

static int
read_block(struct ext *x, uint64_t block, uint64_t off, void *buf, size_t len)
{
        if (block >= x->blocks)
                return -EIO;
        return blkdev_read(&x->fs.dev, block * x->block_bytes + off, buf, len);
}

/* sparse_super: backups only in groups 0, 1 and powers of 3, 5 and 7. */
static bool
group_has_super(const struct ext *x, uint32_t group)
{
        if (group <= 1 || !(x->ro_compat & 1))
                return true;
        for (uint32_t base = 3; base <= 7; base += 2) {
                uint64_t p = base;
                while (p < group)
                        p *= base;
                if (p == group)
                        return true;
        }
        return false;
}

/* The block that holds the descriptor of @group. */
static uint64_t
desc_block(const struct ext *x, uint32_t group)
{
        uint32_t per_block = x->block_bytes / x->desc_bytes;
        uint32_t index = group / per_block;
        uint64_t super_block = x->first_data_block;

        if (!x->meta_bg || index < x->first_meta_bg)
                return super_block + 1 + index;
        uint64_t first = (uint64_t)index * per_block;
        uint64_t block = x->first_data_block + first * x->blocks_per_group;
        return block + group_has_super(x, (uint32_t)first);
}

static int
read_inode(struct ext *x, uint64_t ino, unsigned char *inode)
{
        unsigned char desc[64] = {0};
        size_t desc_len = x->desc_bytes < sizeof(desc) ? x->desc_bytes : sizeof(desc);

        if (ino == 0 || (ino - 1) / x->inodes_per_group >= x->groups)
                return -EIO;
        uint32_t group = (uint32_t)((ino - 1) / x->inodes_per_group);
        uint32_t per_block = x->block_bytes / x->desc_bytes;
        int err = read_block(
            x, desc_block(x, group), (uint64_t)(group % per_block) * x->desc_bytes, desc, desc_len);
        if (err)
                return err;
        uint64_t table = get_le32(desc + 8);
        if (desc_len == 64)
                table |= (uint64_t)get_le32(desc + 40) << 32;
        uint64_t off = (ino - 1) % x->inodes_per_group * x->inode_bytes;
        size_t len = x->inode_bytes < EXT_INODE_READ ? x->inode_bytes : EXT_INODE_READ;
        uint64_t block = table + off / x->block_bytes;
        return block < table ? -EIO : read_block(x, block, off % x->block_bytes, inode, len);
}

static uint32_t
inode_flags(const struct fs_node *node)
{
        return get_le32(node->priv.bytes + 32);
}

static int
load_node(struct ext *x, uint64_t ino, struct fs_node *node)
{
        memset(node, 0, sizeof(*node));
        int err = read_inode(x, ino, node->priv.bytes);
        if (err)
                return err;
        unsigned mode = get_le16(node->priv.bytes);
        if (mode == 0)
                return -EIO;
        node->ino = ino;
        node->type = fs_type_of_mode(mode);
        node->mode = mode & 07777;
        node->size_bytes =
            get_le32(node->priv.bytes + 4) | (uint64_t)get_le32(node->priv.bytes + 108) << 32;
        if (node->size_bytes > INT64_MAX)
                return -EIO;
        return inode_flags(node) & INODE_ENCRYPT ? -ENOTSUP : 0;
}

static int
ext_root(struct fs *fs, struct fs_node *ret_node)
{
        return load_node(to_ext(fs), EXT_ROOT_INO, ret_node);
}

static int
ext_node(struct fs *fs, const struct fs_dirent *ent, struct fs_node *ret_node)
{
        return load_node(to_ext(fs), ent->ref, ret_node);
}

/* --- Block maps --- */

/* ext2's map: 12 blocks, then trees of one to three levels. */
static int
map_indirect(struct ext *x, const unsigned char *iblock, uint64_t lbn, uint64_t *ret_block)
{
        uint64_t per = x->block_bytes / 4, span = per;
        unsigned level = 0;

        if (lbn < EXT_DIRECT) {
                *ret_block = get_le32(iblock + 4 * lbn);
                return 0;
        }
        lbn -= EXT_DIRECT;
        while (lbn >= span) {
                lbn -= span;
                span *= per;
                if (++level == EXT_LEVELS)
                        return -EIO;
        }
        uint64_t block = get_le32(iblock + 4 * (EXT_DIRECT + level));
        for (unsigned left = level + 1; left > 0 && block != 0; left--) {
                unsigned char p[4];
                span /= per;
                int err = read_block(x, block, 4 * (lbn / span), p, sizeof(p));
                if (err)
                        return err;
                lbn %= span;
                block = get_le32(p);
        }
        *ret_block = block;
        return 0;
}

/* The last of @count 12-byte entries whose first block is not beyond @lbn; NULL if none. */
static const unsigned char *
extent_search(const unsigned char *entries, unsigned count, uint64_t lbn)
{
        const unsigned char *found = NULL;

        for (unsigned i = 0; i < count && get_le32(entries + 12 * i) <= lbn; i++)
                found = entries + 12 * i;
        return found;
}

/* *@ret_run blocks from *@ret_block on; block 0 is a hole of at least one block. */
static int
leaf_result(const unsigned char *e, uint64_t lbn, uint64_t *ret_block, uint64_t *ret_run)
{
        *ret_block = 0;
        *ret_run = 1;
        if (!e)
                return 0;
        uint64_t first = get_le32(e), len = get_le16(e + 4);
        bool unwritten = len > 32768;
        if (unwritten)
                len -= 32768;
        if (lbn - first >= len)
                return 0;
        *ret_run = len - (lbn - first);
        if (!unwritten)
                *ret_block = (get_le32(e + 8) | (uint64_t)get_le16(e + 6) << 32) + (lbn - first);
        return 0;
}

static int
map_extents(struct ext *x, const unsigned char *iblock, uint64_t lbn, uint64_t *ret_block,
    uint64_t *ret_run)
{
        unsigned char *buf = NULL;
        const unsigned char *node = iblock;
        size_t room = 60;
        int err = -EIO;
        unsigned above = EXT_EXTENT_DEPTH + 1;

        for (;;) {
                unsigned count = get_le16(node + 2), depth = get_le16(node + 6);
                if (get_le16(node) != EXT_EXTENT_MAGIC || count > (room - 12) / 12 ||
                    depth >= above)
                        break;
                above = depth;
                const unsigned char *e = extent_search(node + 12, count, lbn);
                if (depth == 0 || !e) {
                        err = leaf_result(depth == 0 ? e : NULL, lbn, ret_block, ret_run);
                        break;
                }
                uint64_t child = get_le32(e + 4) | (uint64_t)get_le16(e + 8) << 32;
                if (!buf && !(buf = malloc(x->block_bytes))) {
                        err = -ENOMEM;
                        break;
                }
                if (read_block(x, child, 0, buf, x->block_bytes))
                        break;
                node = buf;
                room = x->block_bytes;
        }
        free(buf);
        return err;
}

static int
map_block(
    struct ext *x, const struct fs_node *node, uint64_t lbn, uint64_t *ret_block, uint64_t *ret_run)
{
        const unsigned char *iblock = node->priv.bytes + 40;

        *ret_run = 1;
        if (inode_flags(node) & INODE_EXTENTS)
                return map_extents(x, iblock, lbn, ret_block, ret_run);
        return map_indirect(x, iblock, lbn, ret_block);
}

/* --- Contents --- */

static int
ext_read(struct fs *fs, const struct fs_node *node, uint64_t off, void *buf, size_t len)
{
        struct ext *x = to_ext(fs);
        unsigned char *to = buf;

        if (inode_flags(node) & INODE_INLINE_DATA) {
                /* What does not fit the block map's place is in an attribute, which is not read. */
                if (off > EXT_INLINE_MAX || len > EXT_INLINE_MAX - off)
                        return -ENOTSUP;
                memcpy(buf, node->priv.bytes + 40 + off, len);
                return 0;
        }
        while (len > 0) {
                uint64_t block, run;
                int err = map_block(x, node, off / x->block_bytes, &block, &run);
                if (err)
                        return err;
                uint64_t in = off % x->block_bytes;
                uint64_t n = run * x->block_bytes - in;
                if (n > len)
                        n = len;
                if (block == 0)
                        memset(to, 0, (size_t)n);
                else if ((err = read_block(x, block, in, to, (size_t)n)))
                        return err;
                to += n;
                off += n;
                len -= (size_t)n;
        }
        return 0;
}

static int
ext_map(struct fs *fs, const struct fs_node *node, uint64_t off, uint64_t *ret_dev_off,
    uint64_t *ret_len)
{
        struct ext *x = to_ext(fs);
        uint64_t block, run;

        if (inode_flags(node) & INODE_INLINE_DATA)
                return -ENOTSUP;
        int err = map_block(x, node, off / x->block_bytes, &block, &run);
        if (err)
                return err;
        if (block == 0)
                return -ENOSPC;
        if (block >= x->blocks)
                return -EIO;
        *ret_dev_off = block * x->block_bytes + off % x->block_bytes;
        *ret_len = run * x->block_bytes - off % x->block_bytes;
        return 0;
}

static ssize_t
ext_readlink(struct fs *fs, const struct fs_node *node, char *buf, size_t size)
{
        uint64_t len = node->size_bytes;

        if (len > size)
                return -ENAMETOOLONG;
        if (len < EXT_INLINE_MAX && !(inode_flags(node) & INODE_EXTENTS)) {
                memcpy(buf, node->priv.bytes + 40, (size_t)len);
                return (ssize_t)len;
        }
        int err = ext_read(fs, node, 0, buf, (size_t)len);
        return err ? err : (ssize_t)len;
}

static enum fs_type
dirent_type(unsigned char t)
{
        switch (t) {
        case 1:
                return FS_TYPE_FILE;
        case 2:
                return FS_TYPE_DIR;
        case 7:
                return FS_TYPE_LINK;
        default:
                return FS_TYPE_UNKNOWN;
        }
}

/*
 * The record at @pos of the directory; its length, or -errno.  The byte behind
 * the name's length is the type, or 0 where a name's length has 16 bits.
 */
static int
read_dirent(
    struct fs *fs, const struct fs_node *dir, uint64_t pos, uint64_t end, struct fs_dirent *ent)
{
        unsigned char h[8];

        if (end - pos < 12)
                return -EIO;
        int err = ext_read(fs, dir, pos, h, sizeof(h));
        if (err)
                return err;
        unsigned reclen = get_le16(h + 4), namlen = h[6];
        if (reclen < 12 || reclen % 4 != 0 || reclen > end - pos || namlen + 8 > reclen)
                return -EIO;
        ent->ref = get_le32(h);
        ent->type = dirent_type(h[7]);
        err = ext_read(fs, dir, pos + 8, ent->name, namlen);
        if (err)
                return err;
        ent->name[namlen] = '\0';
        return (int)reclen;
}

static bool
is_dot(const char *name)
{
        return name[0] == '\0' || strcmp(name, ".") == 0 || strcmp(name, "..") == 0;
}

static int
ext_readdir(
    struct fs *fs, const struct fs_node *dir, struct fs_cursor *cur, struct fs_dirent *ret_ent)
{
        struct ext *x = to_ext(fs);
        uint64_t size = dir->size_bytes < EXT_DIR_MAX ? dir->size_bytes : EXT_DIR_MAX;
        bool inlined = inode_flags(dir) & INODE_INLINE_DATA;

        /* Inline directories begin with the parent's inode number instead of "." and "..". */
        if (inlined && size > EXT_INLINE_MAX)
                size = EXT_INLINE_MAX;
        if (inlined && cur->pos < 4)
                cur->pos = 4;
        while (cur->pos < size) {
                uint64_t end = inlined ? size : (cur->pos / x->block_bytes + 1) * x->block_bytes;
                int n = read_dirent(fs, dir, cur->pos, end, ret_ent);
                if (n < 0)
                        return n;
                cur->pos += (unsigned)n;
                if (ret_ent->ref != 0 && !is_dot(ret_ent->name) && !strchr(ret_ent->name, '/'))
                        return 1;
        }
        return 0;
}

const struct fs_ops ext_ops = {
    .name = "ext",
    .mount = ext_mount,
    .unmount = ext_unmount,
    .root = ext_root,
    .readdir = ext_readdir,
    .node = ext_node,
    .read = ext_read,
    .readlink = ext_readlink,
    .map = ext_map,
};
