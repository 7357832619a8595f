/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * ISO 9660 (ECMA-119) with the Rock Ridge extensions (SUSP IEEE P1281, RRIP
 * IEEE P1282): long names, modes, symbolic links, relocated directories.
 * Without Rock Ridge names lose their version and compare without case.
 * Joliet and files in several extents are not supported.
 */
#include "boot/fs/fs.h"

#include "base/bytes.h"
#include "base/util.h"

#include <ctype.h>
#include <errno.h>
#include <stdlib.h>

#define ISO_SECTOR     2048u
#define ISO_FIRST_VD   16u
#define ISO_MAX_VD     64u
#define ISO_RECORD_MIN 34u
#define ISO_FLAG_DIR   0x02
#define ISO_FLAG_MULTI 0x80
#define ISO_DIR_MAX    (64 * MIB)
#define SUSP_MAX_CONT  16u /* continuation areas followed for one record */

struct cd9660 {
        struct fs fs;
        uint32_t block_bytes;
        bool rock_ridge;
        unsigned skip; /* bytes before the system use entries, from SP */
        unsigned char root[ISO_RECORD_MIN];
};

/* What the priv area of a node holds. */
struct iso_node {
        uint64_t at;     /* byte address of the contents */
        uint64_t record; /* byte address of the directory record */
        bool multi;
};
_Static_assert(sizeof(struct iso_node) <= sizeof(((struct fs_node *)0)->priv), "priv too small");

/* What the system use area of one record says. */
struct rock_ridge {
        char name[FS_NAME_MAX + 1];
        size_t name_len;
        unsigned mode;  /* 0: no PX */
        uint32_t child; /* CL: where a relocated directory lies */
        bool has_child;
        bool relocated; /* RE: not to be listed here */
        bool has_link;
        char link[FS_PATH_MAX];
        size_t link_len;
        bool link_open; /* the last component goes on in the next record */
        bool broken;
};

static struct cd9660 *
to_iso(struct fs *fs)
{
        return container_of(fs, struct cd9660, fs);
}

/* --- System use entries --- */

static void
link_append(struct rock_ridge *rr, const char *text, size_t len)
{
        if (len >= sizeof(rr->link) - rr->link_len) {
                rr->broken = true;
                return;
        }
        memcpy(rr->link + rr->link_len, text, len);
        rr->link_len += len;
        rr->link[rr->link_len] = '\0';
}

/* SL: flags, then components of flags, length and text. */
static void
entry_sl(struct rock_ridge *rr, const unsigned char *e, unsigned len)
{
        rr->has_link = true;
        for (unsigned at = 5; at + 2 <= len;) {
                unsigned flags = e[at], n = e[at + 1];
                if (at + 2 + n > len) {
                        rr->broken = true;
                        return;
                }
                if (!rr->link_open && rr->link_len > 0 && rr->link[rr->link_len - 1] != '/')
                        link_append(rr, "/", 1);
                if (flags & 2)
                        link_append(rr, ".", 1);
                else if (flags & 4)
                        link_append(rr, "..", 2);
                else if (flags & 8)
                        link_append(rr, "/", 1);
                else
                        link_append(rr, (const char *)e + at + 2, n);
                rr->link_open = flags & 1;
                at += 2 + n;
        }
}

static void
entry_nm(struct rock_ridge *rr, const unsigned char *e, unsigned len)
{
        size_t n = len - 5;

        if (e[4] & 6) /* "." and ".." */
                return;
        if (n > FS_NAME_MAX - rr->name_len)
                n = FS_NAME_MAX - rr->name_len;
        memcpy(rr->name + rr->name_len, e + 5, n);
        rr->name_len += n;
        rr->name[rr->name_len] = '\0';
}

/* Handles one entry; CE's three numbers go to @cont. */
static void
susp_entry(struct rock_ridge *rr, const unsigned char *e, unsigned len, uint32_t cont[3])
{
        if (memcmp(e, "NM", 2) == 0 && len >= 5) {
                entry_nm(rr, e, len);
        } else if (memcmp(e, "SL", 2) == 0 && len >= 5) {
                entry_sl(rr, e, len);
        } else if (memcmp(e, "PX", 2) == 0 && len >= 12) {
                rr->mode = get_le32(e + 4);
        } else if (memcmp(e, "CL", 2) == 0 && len >= 8) {
                rr->has_child = true;
                rr->child = get_le32(e + 4);
        } else if (memcmp(e, "RE", 2) == 0) {
                rr->relocated = true;
        } else if (memcmp(e, "CE", 2) == 0 && len >= 28) {
                cont[0] = get_le32(e + 4);
                cont[1] = get_le32(e + 12);
                cont[2] = get_le32(e + 20);
        }
}

static void
susp_area(struct rock_ridge *rr, const unsigned char *area, size_t size, uint32_t cont[3])
{
        for (size_t at = 0; at + 4 <= size;) {
                unsigned len = area[at + 2];
                if (len < 4 || at + len > size || memcmp(area + at, "ST", 2) == 0)
                        return;
                susp_entry(rr, area + at, len, cont);
                at += len;
        }
}

/* Reads everything the record's system use area and its continuations say. */
static int
susp_parse(struct cd9660 *iso, const unsigned char *rec, struct rock_ridge *rr)
{
        unsigned char area[ISO_SECTOR];
        unsigned start = 33u + rec[32] + !(rec[32] & 1) + iso->skip;
        uint32_t cont[3] = {0};

        memset(rr, 0, sizeof(*rr));
        if (start < rec[0])
                susp_area(rr, rec + start, rec[0] - start, cont);
        for (unsigned i = 0; i < SUSP_MAX_CONT && cont[2] != 0; i++) {
                if (cont[2] > sizeof(area))
                        return -EIO;
                uint64_t at = (uint64_t)cont[0] * iso->block_bytes + cont[1];
                size_t len = cont[2];
                int err = blkdev_read(&iso->fs.dev, at, area, len);
                if (err)
                        return err;
                memset(cont, 0, sizeof(cont));
                susp_area(rr, area, len, cont);
        }
        return rr->broken ? -EIO : 0;
}

/* --- Volume --- */

/* Rock Ridge is in use when the root's "." record begins its system use area with SP. */
static void
detect_rock_ridge(struct cd9660 *iso)
{
        unsigned char rec[256];
        uint64_t at = (uint64_t)get_le32(iso->root + 2) * iso->block_bytes;

        if (blkdev_read(&iso->fs.dev, at, rec, sizeof(rec)) || rec[0] < ISO_RECORD_MIN)
                return;
        unsigned start = 33u + rec[32] + !(rec[32] & 1);
        /* CD-ROM XA puts 14 bytes of its own in front. */
        for (unsigned xa = 0; xa <= 14; xa += 14) {
                if (start + xa + 7 > rec[0])
                        return;
                const unsigned char *e = rec + start + xa;
                if (memcmp(e, "SP", 2) != 0 || e[4] != 0xbe || e[5] != 0xef)
                        continue;
                iso->rock_ridge = true;
                iso->skip = e[6];
                return;
        }
}

static int
parse_volume(struct cd9660 *iso)
{
        unsigned char vd[ISO_SECTOR];

        for (unsigned i = 0; i < ISO_MAX_VD; i++) {
                uint64_t at = (uint64_t)(ISO_FIRST_VD + i) * ISO_SECTOR;
                if (blkdev_read(&iso->fs.dev, at, vd, sizeof(vd)) ||
                    memcmp(vd + 1, "CD001", 5) != 0 || vd[0] == 255)
                        return -EINVAL;
                if (vd[0] != 1)
                        continue;
                uint32_t block = get_le16(vd + 128);
                if (block != 512 && block != 1024 && block != 2048)
                        return -EINVAL;
                iso->block_bytes = block;
                memcpy(iso->root, vd + 156, sizeof(iso->root));
                return 0;
        }
        return -EINVAL;
}

static int
cd9660_mount(const struct blkdev *dev, struct fs **ret_fs)
{
        struct cd9660 *iso = calloc(1, sizeof(*iso));

        if (!iso)
                return -ENOMEM;
        iso->fs.ops = &cd9660_ops;
        iso->fs.dev = *dev;
        int err = parse_volume(iso);
        if (err) {
                free(iso);
                return err;
        }
        detect_rock_ridge(iso);
        *ret_fs = &iso->fs;
        return 0;
}

static void
cd9660_unmount(struct fs *fs)
{
        free(to_iso(fs));
}

/* --- Nodes --- */

static struct iso_node *
iso_priv(struct fs_node *node)
{
        return (struct iso_node *)node->priv.words;
}

static void
fill_node(struct cd9660 *iso, const unsigned char *rec, struct fs_node *node)
{
        struct iso_node *in = iso_priv(node);

        node->type = rec[25] & ISO_FLAG_DIR ? FS_TYPE_DIR : FS_TYPE_FILE;
        node->size_bytes = get_le32(rec + 10);
        node->mode = node->type == FS_TYPE_DIR ? 0555 : 0444;
        in->at = ((uint64_t)get_le32(rec + 2) + rec[1]) * iso->block_bytes;
        in->multi = (rec[25] & ISO_FLAG_MULTI) != 0;
        node->ino = in->at;
}

/* A relocated directory: its first record, ".", tells its size. */
static int
fill_child(struct cd9660 *iso, uint32_t block, struct fs_node *node)
{
        unsigned char rec[ISO_RECORD_MIN];
        uint64_t at = (uint64_t)block * iso->block_bytes;

        int err = blkdev_read(&iso->fs.dev, at, rec, sizeof(rec));
        if (err)
                return err;
        if (rec[0] < ISO_RECORD_MIN)
                return -EIO;
        fill_node(iso, rec, node);
        return node->type == FS_TYPE_DIR ? 0 : -EIO;
}

/* The record at byte @at; records never cross a sector. */
static int
read_record(struct cd9660 *iso, uint64_t at, unsigned char *rec)
{
        size_t room = ISO_SECTOR - at % ISO_SECTOR;

        memset(rec, 0, 256);
        int err = blkdev_read(&iso->fs.dev, at, rec, 1);
        if (err || rec[0] == 0)
                return err;
        if (rec[0] < ISO_RECORD_MIN || rec[0] > room)
                return -EIO;
        err = blkdev_read(&iso->fs.dev, at, rec, rec[0]);
        return err ? err : 33u + rec[32] > rec[0] ? -EIO : 0;
}

static int
cd9660_root(struct fs *fs, struct fs_node *ret_node)
{
        struct cd9660 *iso = to_iso(fs);

        memset(ret_node, 0, sizeof(*ret_node));
        fill_node(iso, iso->root, ret_node);
        return 0;
}

static int
cd9660_node(struct fs *fs, const struct fs_dirent *ent, struct fs_node *ret_node)
{
        struct cd9660 *iso = to_iso(fs);
        unsigned char rec[256];
        struct rock_ridge rr;

        int err = read_record(iso, ent->ref, rec);
        if (err)
                return err;
        if (rec[0] == 0)
                return -EIO;
        memset(ret_node, 0, sizeof(*ret_node));
        fill_node(iso, rec, ret_node);
        iso_priv(ret_node)->record = ent->ref;
        if (!iso->rock_ridge)
                return 0;
        err = susp_parse(iso, rec, &rr);
        if (err)
                return err;
        if (rr.has_child)
                return fill_child(iso, rr.child, ret_node);
        if (rr.has_link)
                ret_node->type = FS_TYPE_LINK;
        if (rr.mode)
                ret_node->mode = rr.mode & 07777;
        return 0;
}

static ssize_t
cd9660_readlink(struct fs *fs, const struct fs_node *node, char *buf, size_t size)
{
        struct cd9660 *iso = to_iso(fs);
        unsigned char rec[256];
        struct rock_ridge rr;

        int err = read_record(iso, ((const struct iso_node *)node->priv.words)->record, rec);
        if (!err)
                err = susp_parse(iso, rec, &rr);
        if (err)
                return err;
        if (rr.link_len > size)
                return -ENAMETOOLONG;
        memcpy(buf, rr.link, rr.link_len);
        return (ssize_t)rr.link_len;
}

static int
cd9660_read(struct fs *fs, const struct fs_node *node, uint64_t off, void *buf, size_t len)
{
        const struct iso_node *in = (const struct iso_node *)node->priv.words;

        return in->multi ? -EFBIG : blkdev_read(&fs->dev, in->at + off, buf, len);
}

static int
cd9660_map(struct fs *fs, const struct fs_node *node, uint64_t off, uint64_t *ret_dev_off,
    uint64_t *ret_len)
{
        return -EROFS;
}

/* Without Rock Ridge: "KERNEL.;1" becomes "kernel". */
static void
plain_name(const unsigned char *rec, struct fs_dirent *ent)
{
        size_t len = rec[32];

        for (size_t i = 0; i < len; i++)
                ent->name[i] = (char)tolower(rec[33 + i]);
        ent->name[len] = '\0';
        char *version = strchr(ent->name, ';');
        if (version)
                *version = '\0';
        len = strlen(ent->name);
        if (len > 0 && ent->name[len - 1] == '.')
                ent->name[len - 1] = '\0';
}

/* 1: list it; 0: skip it. */
static int
fill_dirent(struct cd9660 *iso, const unsigned char *rec, uint64_t at, struct fs_dirent *ent)
{
        struct rock_ridge rr;

        if (rec[32] == 1 && rec[33] <= 1) /* "." and ".." */
                return 0;
        ent->ref = at;
        ent->type = rec[25] & ISO_FLAG_DIR ? FS_TYPE_DIR : FS_TYPE_FILE;
        plain_name(rec, ent);
        if (!iso->rock_ridge)
                return ent->name[0] != '\0';
        int err = susp_parse(iso, rec, &rr);
        if (err)
                return err;
        if (rr.has_link)
                ent->type = FS_TYPE_LINK;
        if (rr.has_child)
                ent->type = FS_TYPE_DIR;
        if (rr.name_len > 0)
                memcpy(ent->name, rr.name, rr.name_len + 1);
        return !rr.relocated && ent->name[0] != '\0' && !strchr(ent->name, '/');
}

static int
cd9660_readdir(
    struct fs *fs, const struct fs_node *dir, struct fs_cursor *cur, struct fs_dirent *ret_ent)
{
        struct cd9660 *iso = to_iso(fs);
        const struct iso_node *in = (const struct iso_node *)dir->priv.words;
        uint64_t size = dir->size_bytes < ISO_DIR_MAX ? dir->size_bytes : ISO_DIR_MAX;
        unsigned char rec[256];

        while (cur->pos < size) {
                uint64_t at = in->at + cur->pos;
                int n = read_record(iso, at, rec);
                if (n)
                        return n;
                if (rec[0] == 0) { /* the rest of the sector is unused */
                        cur->pos += ISO_SECTOR - at % ISO_SECTOR;
                        continue;
                }
                cur->pos += rec[0];
                n = fill_dirent(iso, rec, at, ret_ent);
                if (n)
                        return n;
        }
        return 0;
}

const struct fs_ops cd9660_ops = {
    .name = "cd9660",
    .ignore_case = false,
    .mount = cd9660_mount,
    .unmount = cd9660_unmount,
    .root = cd9660_root,
    .readdir = cd9660_readdir,
    .node = cd9660_node,
    .read = cd9660_read,
    .readlink = cd9660_readlink,
    .map = cd9660_map,
};
