/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * UFS1 and UFS2 (little-endian), for reading, and for overwriting allocated
 * blocks.  Soft updates and journals do not change how a clean file is read;
 * a file system that was not unmounted is read as it stands.
 *
 * Layout: a superblock names the sizes; cylinder groups of fpg fragments each
 * hold ipg inodes; an inode points at 12 blocks, and at trees of one, two and
 * three levels.  Block addresses count fragments; 0 is a hole.
 */
#include "boot/fs/fs.h"

#include "base/bytes.h"
#include "base/util.h"

#include <errno.h>
#include <stdlib.h>

#define SB_SIZE       1376
#define SB_OFF_UFS1   8192
#define SB_OFF_UFS2   65536
#define UFS1_MAGIC    0x011954u
#define UFS2_MAGIC    0x19540119u
#define UFS_ROOT_INO  2
#define UFS_DIRECT    12
#define UFS_LEVELS    3
#define UFS_DIR_BLOCK 512u
#define UFS_BLOCK_MIN 4096u
#define UFS_BLOCK_MAX 65536u
#define UFS_DIR_MAX   (64 * MIB)

struct ufs {
        struct fs fs;
        bool v2;
        uint32_t bsize, fsize, ipg, fpg, ncg, inopb, nindir;
        uint32_t iblkno, old_cgoffset, old_cgmask;
        uint32_t symlink_max; /* texts shorter than this are in the inode */
        struct {
                uint64_t frag; /* 0: nothing read yet */
                unsigned char *block;
        } indirect[UFS_LEVELS]; /* the last pointer block used at each level */
};

static struct ufs *
to_ufs(struct fs *fs)
{
        return container_of(fs, struct ufs, fs);
}

static bool
power_of_2(uint32_t v)
{
        return v && !(v & (v - 1));
}

static unsigned
inode_size(const struct ufs *u)
{
        return u->v2 ? 256 : 128;
}

static int
parse_super(struct ufs *u, const unsigned char *sb, uint64_t at)
{
        uint32_t magic = get_le32(sb + 1372);

        if (magic == UFS2_MAGIC ? get_le64(sb + 1000) != at
                                : magic != UFS1_MAGIC || at == SB_OFF_UFS2)
                return -EINVAL;
        u->v2 = magic == UFS2_MAGIC;
        u->iblkno = get_le32(sb + 16);
        u->old_cgoffset = u->v2 ? 0 : get_le32(sb + 24);
        u->old_cgmask = get_le32(sb + 28);
        u->ncg = get_le32(sb + 44);
        u->bsize = get_le32(sb + 48);
        u->fsize = get_le32(sb + 52);
        u->ipg = get_le32(sb + 184);
        u->fpg = get_le32(sb + 188);
        u->symlink_max = get_le32(sb + 1320);

        if (!power_of_2(u->bsize) || u->bsize < UFS_BLOCK_MIN || u->bsize > UFS_BLOCK_MAX ||
            !power_of_2(u->fsize) || u->fsize < 512 || u->fsize > u->bsize ||
            u->bsize / u->fsize > 8 || u->ncg == 0 || u->fpg == 0 || u->ipg == 0)
                return -EINVAL;
        u->inopb = u->bsize / inode_size(u);
        u->nindir = u->bsize / (u->v2 ? 8 : 4);
        uint32_t inline_max = u->v2 ? 120 : 60;
        if (u->symlink_max > inline_max)
                u->symlink_max = inline_max;
        return 0;
}

static int
ufs_mount(const struct blkdev *dev, struct fs **ret_fs)
{
        static const uint64_t places[] = {SB_OFF_UFS2, SB_OFF_UFS1, 0, 262144};
        unsigned char sb[SB_SIZE];
        struct ufs *u = calloc(1, sizeof(*u));

        if (!u)
                return -ENOMEM;
        for (size_t i = 0; i < ARRAY_LEN(places); i++) {
                if (blkdev_read(dev, places[i], sb, sizeof(sb)) || parse_super(u, sb, places[i]))
                        continue;
                u->fs.ops = &ufs_ops;
                u->fs.dev = *dev;
                *ret_fs = &u->fs;
                return 0;
        }
        free(u);
        return -EINVAL;
}

static void
ufs_unmount(struct fs *fs)
{
        struct ufs *u = to_ufs(fs);

        for (unsigned i = 0; i < UFS_LEVELS; i++)
                free(u->indirect[i].block);
        free(u);
}

/* Byte address of a fragment; -EIO where it cannot lie on any device. */
static int
frag_to_byte(const struct ufs *u, uint64_t frag, uint64_t *ret_off)
{
        return __builtin_mul_overflow(frag, (uint64_t)u->fsize, ret_off) ? -EIO : 0;
}

static int
read_inode(struct ufs *u, uint64_t ino, unsigned char *inode)
{
        uint64_t cg = ino / u->ipg, off;

        if (cg >= u->ncg)
                return -EIO;
        uint64_t start = cg * u->fpg + (uint64_t)u->old_cgoffset * (cg & (uint32_t)~u->old_cgmask);
        uint64_t block = (ino % u->ipg) / u->inopb;
        int err = frag_to_byte(u, start + u->iblkno + block * (u->bsize / u->fsize), &off);
        if (err)
                return err;
        off += (ino % u->inopb) * inode_size(u);
        return blkdev_read(&u->fs.dev, off, inode, inode_size(u));
}

static int
load_node(struct ufs *u, uint64_t ino, struct fs_node *node)
{
        memset(node, 0, sizeof(*node));
        int err = read_inode(u, ino, node->priv.bytes);
        if (err)
                return err;
        unsigned mode = get_le16(node->priv.bytes);
        if (mode == 0)
                return -EIO; /* a directory entry for a free inode */
        node->ino = ino;
        node->type = fs_type_of_mode(mode);
        node->mode = mode & 07777;
        node->size_bytes = get_le64(node->priv.bytes + (u->v2 ? 16 : 8));
        if (node->size_bytes > INT64_MAX)
                return -EIO;
        return 0;
}

static int
ufs_root(struct fs *fs, struct fs_node *ret_node)
{
        return load_node(to_ufs(fs), UFS_ROOT_INO, ret_node);
}

static int
ufs_node(struct fs *fs, const struct fs_dirent *ent, struct fs_node *ret_node)
{
        return load_node(to_ufs(fs), ent->ref, ret_node);
}

/* Pointer @i of the inode: 0-11 direct, 12-14 the indirect trees. */
static uint64_t
inode_pointer(const struct ufs *u, const struct fs_node *node, unsigned i)
{
        const unsigned char *p = node->priv.bytes;

        return u->v2 ? get_le64(p + 112 + 8 * i) : get_le32(p + 40 + 4 * i);
}

static int
indirect_pointer(struct ufs *u, unsigned level, uint64_t frag, uint64_t index, uint64_t *ret_frag)
{
        unsigned char **block = &u->indirect[level].block;

        if (!*block && !(*block = malloc(u->bsize)))
                return -ENOMEM;
        if (u->indirect[level].frag != frag) {
                uint64_t off;
                u->indirect[level].frag = 0;
                int err = frag_to_byte(u, frag, &off);
                if (!err)
                        err = blkdev_read(&u->fs.dev, off, *block, u->bsize);
                if (err)
                        return err;
                u->indirect[level].frag = frag;
        }
        *ret_frag = u->v2 ? get_le64(*block + 8 * index) : get_le32(*block + 4 * index);
        return 0;
}

/* The fragment where block @lbn of the file begins, 0 for a hole. */
static int
block_map(struct ufs *u, const struct fs_node *node, uint64_t lbn, uint64_t *ret_frag)
{
        if (lbn < UFS_DIRECT) {
                *ret_frag = inode_pointer(u, node, (unsigned)lbn);
                return 0;
        }
        lbn -= UFS_DIRECT;
        uint64_t span = u->nindir; /* blocks under the tree being looked at */
        unsigned level = 0;
        while (lbn >= span) {
                lbn -= span;
                span *= u->nindir; /* at most 16384^3 */
                if (++level == UFS_LEVELS)
                        return -EIO;
        }
        uint64_t frag = inode_pointer(u, node, UFS_DIRECT + level);
        for (unsigned left = level + 1; left > 0 && frag != 0; left--) {
                span /= u->nindir;
                int err = indirect_pointer(u, left - 1, frag, lbn / span, &frag);
                if (err)
                        return err;
                lbn %= span;
        }
        *ret_frag = frag;
        return 0;
}

/*
 * Where byte @off lies and how many bytes follow it there, up to @want; a
 * run of adjacent blocks is one piece.  *@ret_frag is 0 for a hole.
 */
static int
map_run(struct ufs *u, const struct fs_node *node, uint64_t off, uint64_t want, uint64_t *ret_frag,
    uint64_t *ret_at, uint64_t *ret_len)
{
        uint64_t lbn = off / u->bsize, frag, next, at;
        uint64_t len = u->bsize - off % u->bsize;

        int err = block_map(u, node, lbn, &frag);
        if (!err)
                err = frag_to_byte(u, frag, &at);
        if (err)
                return err;
        for (next = frag; len < want; len += u->bsize) {
                uint64_t step = next ? next + u->bsize / u->fsize : 0;
                if (block_map(u, node, ++lbn, &next) || next != step)
                        break;
        }
        *ret_frag = frag;
        *ret_at = at + off % u->bsize;
        *ret_len = len;
        return 0;
}

static int
ufs_read(struct fs *fs, const struct fs_node *node, uint64_t off, void *buf, size_t len)
{
        struct ufs *u = to_ufs(fs);
        unsigned char *to = buf;

        while (len > 0) {
                uint64_t frag, at, n;
                int err = map_run(u, node, off, len, &frag, &at, &n);
                if (err)
                        return err;
                if (n > len)
                        n = len;
                if (frag == 0)
                        memset(to, 0, (size_t)n);
                else if ((err = blkdev_read(&u->fs.dev, at, to, (size_t)n)))
                        return err;
                to += n;
                off += n;
                len -= (size_t)n;
        }
        return 0;
}

static int
ufs_map(struct fs *fs, const struct fs_node *node, uint64_t off, uint64_t *ret_dev_off,
    uint64_t *ret_len)
{
        uint64_t frag;
        int err = map_run(to_ufs(fs), node, off, 1, &frag, ret_dev_off, ret_len);

        return err ? err : frag == 0 ? -ENOSPC : 0;
}

static ssize_t
ufs_readlink(struct fs *fs, const struct fs_node *node, char *buf, size_t size)
{
        struct ufs *u = to_ufs(fs);
        uint64_t len = node->size_bytes;

        if (len > size)
                return -ENAMETOOLONG;
        if (len < u->symlink_max) {
                memcpy(buf, node->priv.bytes + (u->v2 ? 112 : 40), (size_t)len);
                return (ssize_t)len;
        }
        int err = ufs_read(fs, node, 0, buf, (size_t)len);
        return err ? err : (ssize_t)len;
}

/* One record at @pos of a directory block; its length, or -EIO.  An unused record has ref 0. */
static int
parse_dirent(const unsigned char *block, unsigned pos, struct fs_dirent *ent)
{
        unsigned room = UFS_DIR_BLOCK - pos;
        const unsigned char *rec = block + pos;

        if (room < 12)
                return -EIO;
        unsigned reclen = get_le16(rec + 4), namlen = rec[7];
        if (reclen < 12 || reclen % 4 != 0 || reclen > room || namlen + 8 > reclen)
                return -EIO;
        ent->ref = get_le32(rec);
        ent->type = fs_type_of_dirent(rec[6]);
        memcpy(ent->name, rec + 8, namlen);
        ent->name[namlen] = '\0';
        return (int)reclen;
}

static bool
is_dot(const char *name)
{
        return name[0] == '\0' || strcmp(name, ".") == 0 || strcmp(name, "..") == 0;
}

static int
ufs_readdir(
    struct fs *fs, const struct fs_node *dir, struct fs_cursor *cur, struct fs_dirent *ret_ent)
{
        unsigned char block[UFS_DIR_BLOCK];
        uint64_t loaded = UINT64_MAX;
        uint64_t size = dir->size_bytes < UFS_DIR_MAX ? dir->size_bytes : UFS_DIR_MAX;

        while (cur->pos < size) {
                uint64_t at = cur->pos & ~(uint64_t)(UFS_DIR_BLOCK - 1);
                if (at != loaded) {
                        int err = ufs_read(fs, dir, at, block, sizeof(block));
                        if (err)
                                return err;
                        loaded = at;
                }
                int n = parse_dirent(block, (unsigned)(cur->pos - at), ret_ent);
                if (n < 0)
                        return n;
                cur->pos += (unsigned)n;
                if (ret_ent->ref != 0 && !is_dot(ret_ent->name))
                        return 1;
        }
        return 0;
}

const struct fs_ops ufs_ops = {
    .name = "ufs",
    .mount = ufs_mount,
    .unmount = ufs_unmount,
    .root = ufs_root,
    .readdir = ufs_readdir,
    .node = ufs_node,
    .read = ufs_read,
    .readlink = ufs_readlink,
    .map = ufs_map,
};
