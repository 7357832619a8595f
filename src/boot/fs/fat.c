/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * FAT12, FAT16 and FAT32 with long names (Microsoft's FAT specification 1.03),
 * for reading and for overwriting allocated clusters.
 */
#include "boot/fs/fs.h"

#include "base/bytes.h"
#include "base/util.h"

#include <ctype.h>
#include <errno.h>
#include <stdlib.h>

#define FAT_DIRENT      32u
#define FAT_ATTR_DIR    0x10
#define FAT_ATTR_VOLUME 0x08
#define FAT_ATTR_LFN    0x0f
#define FAT_LFN_UNITS   13u
#define FAT_LFN_MAX     20u
#define FAT_DIR_MAX     (2 * MIB) /* 65536 entries of 32 bytes */

struct fat {
        struct fs fs;
        unsigned bits; /* 12, 16 or 32 */
        uint32_t cluster_bytes;
        uint32_t clusters; /* data clusters; numbers run from 2 to clusters + 1 */
        uint64_t fat_at, data_at;
        uint64_t root_at, root_bytes; /* FAT12 and FAT16: the fixed root directory */
        uint32_t root_cluster;        /* FAT32 */
        /* Where the last read in a chain stopped, so that reading on is not quadratic. */
        uint32_t last_first, last_index, last_cluster;
};

/* What the priv area of a node holds. */
struct fat_node {
        uint32_t first; /* 0: the fixed root, or an empty file */
        bool fixed_root;
};

static struct fat *
to_fat(struct fs *fs)
{
        return container_of(fs, struct fat, fs);
}

static int
parse_bpb(struct fat *f, const unsigned char *b)
{
        uint32_t sector = get_le16(b + 11), per_cluster = b[13], reserved = get_le16(b + 14);
        uint32_t fats = b[16], root_entries = get_le16(b + 17);
        uint32_t total = get_le16(b + 19) ? get_le16(b + 19) : get_le32(b + 32);
        uint32_t fat_sectors = get_le16(b + 22) ? get_le16(b + 22) : get_le32(b + 36);

        if (b[510] != 0x55 || b[511] != 0xaa ||
            (sector != 512 && sector != 1024 && sector != 2048 && sector != 4096) ||
            per_cluster == 0 || (per_cluster & (per_cluster - 1)) || reserved == 0 || fats == 0 ||
            fats > 4 || fat_sectors == 0 || (b[0] != 0xeb && b[0] != 0xe9))
                return -EINVAL;
        uint64_t root_sectors = ((uint64_t)root_entries * FAT_DIRENT + sector - 1) / sector;
        uint64_t data_sector = reserved + (uint64_t)fats * fat_sectors + root_sectors;
        if (data_sector >= total)
                return -EINVAL;
        f->cluster_bytes = sector * per_cluster;
        f->clusters = (uint32_t)((total - data_sector) / per_cluster);
        f->fat_at = (uint64_t)reserved * sector;
        f->data_at = data_sector * sector;
        f->root_at = (data_sector - root_sectors) * sector;
        f->root_bytes = (uint64_t)root_entries * FAT_DIRENT;
        f->bits = f->clusters < 4085 ? 12 : f->clusters < 65525 ? 16 : 32;
        if (get_le16(b + 22) == 0)
                f->bits = 32;
        f->root_cluster = f->bits == 32 ? get_le32(b + 44) : 0;
        if ((f->bits == 32) != (root_entries == 0))
                return -EINVAL;
        return 0;
}

static int
fat_mount(const struct blkdev *dev, struct fs **ret_fs)
{
        unsigned char bpb[512];

        if (blkdev_read(dev, 0, bpb, sizeof(bpb)))
                return -EINVAL;
        struct fat *f = calloc(1, sizeof(*f));
        if (!f)
                return -ENOMEM;
        int err = parse_bpb(f, bpb);
        if (err) {
                free(f);
                return err;
        }
        f->fs.ops = &fat_ops;
        f->fs.dev = *dev;
        *ret_fs = &f->fs;
        return 0;
}

static void
fat_unmount(struct fs *fs)
{
        free(to_fat(fs));
}

static bool
cluster_ok(const struct fat *f, uint32_t cluster)
{
        return cluster >= 2 && cluster - 2 < f->clusters;
}

/* The cluster after @cluster; -EIO at the chain's end, as callers stay inside the file. */
static int
next_cluster(struct fat *f, uint32_t cluster, uint32_t *ret_next)
{
        unsigned char e[4] = {0};
        uint64_t at = f->fat_at + (uint64_t)cluster * f->bits / 8;

        int err = blkdev_read(&f->fs.dev, at, e, f->bits == 32 ? 4 : 2);
        if (err)
                return err;
        uint32_t next = get_le32(e);
        if (f->bits == 12)
                next = (cluster & 1 ? next >> 4 : next) & 0xfff;
        else if (f->bits == 32)
                next &= 0x0fffffff;
        if (!cluster_ok(f, next))
                return -EIO;
        *ret_next = next;
        return 0;
}

/* Cluster number @index of the chain that begins at @first. */
static int
chain_seek(struct fat *f, uint32_t first, uint32_t index, uint32_t *ret_cluster)
{
        uint32_t at = 0, cluster = first;

        if (f->last_first == first && first != 0 && f->last_index <= index) {
                at = f->last_index;
                cluster = f->last_cluster;
        }
        if (index > f->clusters || !cluster_ok(f, cluster))
                return -EIO;
        for (; at < index; at++) {
                int err = next_cluster(f, cluster, &cluster);
                if (err)
                        return err;
        }
        f->last_first = first;
        f->last_index = index;
        f->last_cluster = cluster;
        *ret_cluster = cluster;
        return 0;
}

static const struct fat_node *
fat_priv(const struct fs_node *node)
{
        return (const struct fat_node *)node->priv.words;
}

static int
fat_map(struct fs *fs, const struct fs_node *node, uint64_t off, uint64_t *ret_dev_off,
    uint64_t *ret_len)
{
        struct fat *f = to_fat(fs);
        const struct fat_node *fn = fat_priv(node);
        uint32_t cluster;

        if (fn->fixed_root) {
                if (off >= f->root_bytes)
                        return -EIO;
                *ret_dev_off = f->root_at + off;
                *ret_len = f->root_bytes - off;
                return 0;
        }
        if (off / f->cluster_bytes > UINT32_MAX)
                return -EIO;
        int err = chain_seek(f, fn->first, (uint32_t)(off / f->cluster_bytes), &cluster);
        if (err)
                return err;
        *ret_dev_off =
            f->data_at + (uint64_t)(cluster - 2) * f->cluster_bytes + off % f->cluster_bytes;
        *ret_len = f->cluster_bytes - off % f->cluster_bytes;
        return 0;
}

static int
fat_read(struct fs *fs, const struct fs_node *node, uint64_t off, void *buf, size_t len)
{
        unsigned char *to = buf;

        while (len > 0) {
                uint64_t at, n;
                int err = fat_map(fs, node, off, &at, &n);
                if (err)
                        return err;
                if (n > len)
                        n = len;
                err = blkdev_read(&fs->dev, at, to, (size_t)n);
                if (err)
                        return err;
                to += n;
                off += n;
                len -= (size_t)n;
        }
        return 0;
}

static int
fat_root(struct fs *fs, struct fs_node *ret_node)
{
        struct fat *f = to_fat(fs);
        struct fat_node *fn = (struct fat_node *)ret_node->priv.words;

        memset(ret_node, 0, sizeof(*ret_node));
        ret_node->type = FS_TYPE_DIR;
        ret_node->mode = 0755;
        ret_node->ino = 1;
        ret_node->size_bytes = f->bits == 32 ? FAT_DIR_MAX : f->root_bytes;
        fn->first = f->root_cluster;
        fn->fixed_root = f->bits != 32;
        return 0;
}

/* --- Directories --- */

/* The long name that precedes a short entry, in UCS-2, collected from its parts. */
struct long_name {
        uint16_t units[FAT_LFN_MAX * FAT_LFN_UNITS];
        unsigned parts; /* 0: none */
        unsigned next;  /* number of the part expected next */
        unsigned char sum;
};

static void
long_name_part(struct long_name *ln, const unsigned char *e)
{
        static const unsigned char places[FAT_LFN_UNITS] = {
            1, 3, 5, 7, 9, 14, 16, 18, 20, 22, 24, 28, 30};
        unsigned number = e[0] & 0x3f;

        if (e[0] & 0x40) {
                memset(ln, 0, sizeof(*ln));
                ln->parts = ln->next = number;
                ln->sum = e[13];
        }
        if (number == 0 || number > FAT_LFN_MAX || number != ln->next || e[13] != ln->sum) {
                ln->parts = 0;
                return;
        }
        for (unsigned i = 0; i < FAT_LFN_UNITS; i++)
                ln->units[(number - 1) * FAT_LFN_UNITS + i] = get_le16(e + places[i]);
        ln->next--;
}

static unsigned char
short_sum(const unsigned char *e)
{
        unsigned char sum = 0;

        for (unsigned i = 0; i < 11; i++)
                sum = (unsigned char)(((sum & 1) << 7) + (sum >> 1) + e[i]);
        return sum;
}

/* One UCS-2 unit in UTF-8; surrogates become '?'. */
static size_t
put_utf8(char *to, unsigned c)
{
        if (c < 0x80) {
                to[0] = (char)c;
                return 1;
        }
        if (c < 0x800) {
                to[0] = (char)(0xc0 | c >> 6);
                to[1] = (char)(0x80 | (c & 0x3f));
                return 2;
        }
        if (c >= 0xd800 && c < 0xe000) {
                to[0] = '?';
                return 1;
        }
        to[0] = (char)(0xe0 | c >> 12);
        to[1] = (char)(0x80 | (c >> 6 & 0x3f));
        to[2] = (char)(0x80 | (c & 0x3f));
        return 3;
}

static void
long_name_text(const struct long_name *ln, char *name)
{
        size_t len = 0;

        for (unsigned i = 0; i < ln->parts * FAT_LFN_UNITS && ln->units[i] != 0; i++) {
                if (len + 3 > FS_NAME_MAX)
                        break;
                len += put_utf8(name + len, ln->units[i]);
        }
        name[len] = '\0';
}

static void
short_name_text(const unsigned char *e, char *name)
{
        size_t len = 0;

        for (unsigned i = 0; i < 11; i++) {
                if (i == 8 && e[8] != ' ')
                        name[len++] = '.';
                if (e[i] != ' ')
                        name[len++] = (char)tolower(i == 0 && e[i] == 0x05 ? 0xe5 : e[i]);
        }
        name[len] = '\0';
}

/* Where the entry at @pos lies on the device; 0 = past the directory's last cluster. */
static int
dirent_at(
    struct fs *fs, const struct fs_node *dir, uint64_t pos, unsigned char *e, uint64_t *ret_at)
{
        uint64_t n;

        if (pos >= dir->size_bytes || fat_map(fs, dir, pos, ret_at, &n))
                return 0;
        int err = blkdev_read(&fs->dev, *ret_at, e, FAT_DIRENT);
        return err ? err : 1;
}

static int
fat_readdir(
    struct fs *fs, const struct fs_node *dir, struct fs_cursor *cur, struct fs_dirent *ret_ent)
{
        struct long_name ln = {.parts = 0};
        unsigned char e[FAT_DIRENT];
        uint64_t at;

        for (;;) {
                int n = dirent_at(fs, dir, cur->pos, e, &at);
                if (n <= 0 || e[0] == 0)
                        return n < 0 ? n : 0;
                cur->pos += FAT_DIRENT;
                if (e[0] == 0xe5 || e[0] == '.') {
                        ln.parts = 0;
                } else if ((e[11] & 0x3f) == FAT_ATTR_LFN) {
                        long_name_part(&ln, e);
                } else if (!(e[11] & FAT_ATTR_VOLUME)) {
                        break;
                }
        }
        if (ln.parts && ln.next == 0 && ln.sum == short_sum(e))
                long_name_text(&ln, ret_ent->name);
        else
                short_name_text(e, ret_ent->name);
        ret_ent->type = e[11] & FAT_ATTR_DIR ? FS_TYPE_DIR : FS_TYPE_FILE;
        ret_ent->ref = at;
        return 1;
}

static int
fat_node(struct fs *fs, const struct fs_dirent *ent, struct fs_node *ret_node)
{
        struct fat *f = to_fat(fs);
        struct fat_node *fn = (struct fat_node *)ret_node->priv.words;
        unsigned char e[FAT_DIRENT];

        int err = blkdev_read(&fs->dev, ent->ref, e, sizeof(e));
        if (err)
                return err;
        memset(ret_node, 0, sizeof(*ret_node));
        bool dir = e[11] & FAT_ATTR_DIR;
        ret_node->type = dir ? FS_TYPE_DIR : FS_TYPE_FILE;
        ret_node->mode = dir ? 0755 : 0644;
        ret_node->size_bytes = dir ? FAT_DIR_MAX : get_le32(e + 28);
        ret_node->ino = ent->ref;
        fn->first = get_le16(e + 26);
        if (f->bits == 32)
                fn->first |= (uint32_t)(get_le16(e + 20) & 0x0fff) << 16;
        return 0;
}

const struct fs_ops fat_ops = {
    .name = "fat",
    .ignore_case = true,
    .mount = fat_mount,
    .unmount = fat_unmount,
    .root = fat_root,
    .readdir = fat_readdir,
    .node = fat_node,
    .read = fat_read,
    .map = fat_map,
};
