/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * ZFS: finding the pool, its file systems, and files.  See zfs.h.
 *
 * A device begins with two labels of 256 KiB: at 16 KiB in each a list of
 * names and values (XDR) that describes the pool, at 128 KiB a ring of
 * uberblocks, of which the youngest good one points at everything.
 * Refused: pools of several top-level devices, RAID-Z, unknown features for
 * reading, encryption.
 */
#include "boot/fs/zfs_impl.h"

#include "base/bytes.h"
#include "base/util.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#define LABEL_BYTES    (256 * KIB)
#define LABELS         2u
#define CONFIG_OFF     (16 * KIB)
#define CONFIG_BYTES   (112 * KIB)
#define RING_OFF       (128 * KIB)
#define RING_BYTES     (128 * KIB)
#define UB_MAGIC       0x00bab10cull
#define UB_ROOT        40
#define UB_TRIES       4u /* uberblocks tried, from the youngest on */

#define MOS_DIRECTORY  1u /* the object with the names of the others */
#define MASTER_NODE    1u /* the same for a file system */
#define NEST_MAX       8u
#define PATH_DEPTH     16u

/* Bonus types. */
#define BONUS_ZNODE    17u
#define BONUS_SA       44u
#define SA_MAGIC       0x2f505au
#define SA_SYMLINK     160u /* where a link's text lies behind the fixed attributes */
#define ZNODE_BYTES    264u
#define DNODE_SPILL    4u

static struct zfs *
to_zfs(struct fs *fs)
{
        return container_of(fs, struct zfs, fs);
}

/* --- The label's list --- */

struct xdr {
        const unsigned char *at, *end;
};

struct pair {
        char name[80];
        uint32_t type, count;
        struct xdr value;
};

#define XDR_BOOLEAN  1u
#define XDR_UINT64   8u
#define XDR_STRING   9u
#define XDR_LIST     19u

static bool
xdr_u32(struct xdr *x, uint32_t *ret)
{
        if (x->end - x->at < 4)
                return false;
        *ret = get_be32(x->at);
        x->at += 4;
        return true;
}

static bool
xdr_text(struct xdr *x, char *to, size_t size)
{
        uint32_t len;

        if (!xdr_u32(x, &len) || len > (size_t)(x->end - x->at) || len >= size)
                return false;
        memcpy(to, x->at, len);
        to[len] = '\0';
        size_t padded = (len + 3u) & ~(size_t)3;
        x->at += padded < (size_t)(x->end - x->at) ? padded : (size_t)(x->end - x->at);
        return true;
}

/* The next pair of a list whose head was skipped; false at its end. */
static bool
next_pair(struct xdr *list, struct pair *p)
{
        uint32_t len, unpacked;
        const unsigned char *start = list->at;

        if (!xdr_u32(list, &len) || !xdr_u32(list, &unpacked) || len < 16 ||
            len > (size_t)(list->end - start))
                return false;
        p->value = (struct xdr){list->at, start + len};
        list->at = start + len;
        return xdr_text(&p->value, p->name, sizeof(p->name)) && xdr_u32(&p->value, &p->type) &&
            xdr_u32(&p->value, &p->count);
}

static bool
skip_list_head(struct xdr *list)
{
        uint32_t version, flags;

        return xdr_u32(list, &version) && xdr_u32(list, &flags);
}

/* What the label says. */
struct label {
        char pool[ZFS_NAME_MAX];
        uint64_t ashift;
        uint64_t tops; /* top-level devices */
        uint64_t state;
        const char *refused; /* what of it cannot be read, or NULL */
};

/* What the reader knows of the features that a pool may need for reading. */
static bool
feature_known(const char *name)
{
        static const char *const known[] = {
                "com.delphix:hole_birth",
                "com.delphix:embedded_data",
                "com.delphix:extensible_dataset",
                "com.delphix:bookmark_written",
                "com.delphix:device_removal",
                "com.delphix:obsolete_counts",
                "com.delphix:zpool_checkpoint",
                "com.delphix:redaction_bookmarks",
                "com.datto:bookmark_v2",
                "com.datto:encryption",
                "org.illumos:lz4_compress",
                "org.illumos:sha512",
                "org.illumos:skein",
                "org.illumos:edonr",
                "org.open-zfs:large_blocks",
                "org.zfsonlinux:large_dnode",
                "org.freebsd:zstd_compress",
                "com.joyent:multi_vdev_crash_dump",
                "com.klarasystems:vdev_zaps_v2",
                "com.klarasystems:large_microzap",
                "org.openzfs:blake3",
                "com.fudosecurity:block_cloning",
                "org.zfsonlinux:allocation_classes",
                "com.delphix:head_errlog",
        };

        for (size_t i = 0; i < ARRAY_LEN(known); i++) {
                if (strcmp(name, known[i]) == 0)
                        return true;
        }
        return false;
}

static uint64_t
pair_u64(const struct pair *p)
{
        return p->type == XDR_UINT64 && p->value.end - p->value.at >= 8 ? get_be64(p->value.at) : 0;
}

static void
read_vdev_tree(struct xdr list, struct label *label)
{
        struct pair p;
        char type[32] = "";

        if (!skip_list_head(&list))
                return;
        while (next_pair(&list, &p)) {
                if (strcmp(p.name, "ashift") == 0)
                        label->ashift = pair_u64(&p);
                if (strcmp(p.name, "type") == 0 && p.type == XDR_STRING)
                        xdr_text(&p.value, type, sizeof(type));
        }
        if (strcmp(type, "raidz") == 0 || strcmp(type, "draid") == 0)
                label->refused = "zfs (RAID-Z)";
        else if (strcmp(type, "disk") != 0 && strcmp(type, "file") != 0 && strcmp(type, "mirror") != 0)
                label->refused = "zfs (neither one disk nor a mirror)";
}

static void
read_features(struct xdr list, struct label *label)
{
        struct pair p;

        if (!skip_list_head(&list))
                return;
        while (next_pair(&list, &p)) {
                if (!feature_known(p.name))
                        label->refused = "zfs (with features not known here)";
        }
}

static int
read_label(const struct blkdev *dev, uint64_t at, struct label *label)
{
        unsigned char *bytes = malloc(CONFIG_BYTES);
        struct pair p;

        if (!bytes)
                return -ENOMEM;
        *label = (struct label){.tops = 1};
        int err = blkdev_read(dev, at + CONFIG_OFF, bytes, CONFIG_BYTES);
        struct xdr list = {bytes + 4, bytes + CONFIG_BYTES};
        if (!err && (bytes[0] != 1 || !skip_list_head(&list)))
                err = -EINVAL;
        while (!err && next_pair(&list, &p)) {
                if (strcmp(p.name, "name") == 0 && p.type == XDR_STRING)
                        xdr_text(&p.value, label->pool, sizeof(label->pool));
                else if (strcmp(p.name, "vdev_children") == 0)
                        label->tops = pair_u64(&p);
                else if (strcmp(p.name, "vdev_tree") == 0 && p.type == XDR_LIST)
                        read_vdev_tree(p.value, label);
                else if (strcmp(p.name, "features_for_read") == 0 && p.type == XDR_LIST)
                        read_features(p.value, label);
        }
        free(bytes);
        if (!err && label->refused == NULL && label->tops > 1)
                label->refused = "zfs (striped over several disks)";
        if (!err && (label->pool[0] == '\0' || label->ashift > 16))
                err = -EINVAL;
        return err;
}

/* --- Uberblocks --- */

struct uberblock {
        uint64_t txg;
        unsigned char root[ZFS_BLKPTR];
};

/* The youngest uberblock older than @before. */
static bool
find_uberblock(const struct blkdev *dev, const struct label *label, uint64_t before,
    struct uberblock *ret)
{
        uint64_t step = label->ashift > 10 ? 1ull << label->ashift : KIB;
        bool found = false;

        if (step > 8 * KIB)
                step = 8 * KIB;
        for (uint64_t l = 0; l < LABELS; l++) {
                for (uint64_t at = 0; at < RING_BYTES; at += step) {
                        unsigned char ub[UB_ROOT + ZFS_BLKPTR];
                        if (blkdev_read(dev, l * LABEL_BYTES + RING_OFF + at, ub, sizeof(ub)))
                                break;
                        uint64_t txg = get_le64(ub + 16);
                        if (get_le64(ub) != UB_MAGIC || txg >= before || (found && txg <= ret->txg))
                                continue;
                        ret->txg = txg;
                        memcpy(ret->root, ub + UB_ROOT, ZFS_BLKPTR);
                        found = true;
                }
        }
        return found;
}

/* --- Datasets --- */

static int
bonus_u64(struct zfs *z, uint64_t object, size_t at, uint64_t *ret)
{
        unsigned char dnode[ZFS_DNODE];
        size_t len;
        int err = zfs_dnode_get(z, &z->mos, object, dnode);

        if (err)
                return err;
        const unsigned char *bonus = zfs_bonus(dnode, ZFS_DNODE, &len);
        if (at + 8 > len)
                return -EIO;
        *ret = get_le64(bonus + at);
        return 0;
}

/* Fields of a DSL directory and a DSL dataset. */
#define DIR_HEAD       8
#define DIR_PARENT     16
#define DIR_CHILDREN   32
#define DATASET_DIR    0
#define DATASET_BP     128

/* The directory object of "pool/a/b". */
static int
find_dir(struct zfs *z, const char *name, uint64_t *ret_dir)
{
        size_t pool = strlen(z->pool);

        if (strncmp(name, z->pool, pool) != 0 || (name[pool] != '\0' && name[pool] != '/'))
                return -ENOENT;
        int err = zfs_zap_lookup(z, &z->mos, MOS_DIRECTORY, "root_dataset", ret_dir);
        name += pool;
        for (unsigned depth = 0; !err && *name == '/' && depth < PATH_DEPTH; depth++) {
                char part[ZFS_NAME_MAX];
                size_t len = strcspn(++name, "/");
                uint64_t children;
                if (len >= sizeof(part))
                        return -ENAMETOOLONG;
                memcpy(part, name, len);
                part[len] = '\0';
                name += len;
                err = bonus_u64(z, *ret_dir, DIR_CHILDREN, &children);
                if (!err)
                        err = zfs_zap_lookup(z, &z->mos, children, part, ret_dir);
        }
        return err;
}

/* The name that @dir has among the children of @parent. */
static int
name_in_parent(struct zfs *z, uint64_t parent, uint64_t dir, struct zfs_zap_entry *e)
{
        unsigned char dnode[ZFS_DNODE];
        uint64_t children, pos = 0;
        int n = bonus_u64(z, parent, DIR_CHILDREN, &children);

        if (!n)
                n = zfs_dnode_get(z, &z->mos, children, dnode);
        if (n)
                return n;
        while ((n = zfs_zap_next(z, dnode, &pos, e)) == 1) {
                if (e->value == dir)
                        return 0;
        }
        return n ? n : -EIO;
}

/* Builds "pool/a/b" from the inside out. */
static int
dataset_path(struct zfs *z, uint64_t dataset, char *name, size_t size)
{
        uint64_t dir, parent;
        char path[ZFS_NAME_MAX] = "";
        struct zfs_zap_entry e;

        int err = bonus_u64(z, dataset, DATASET_DIR, &dir);
        for (unsigned depth = 0; !err && depth < PATH_DEPTH; depth++) {
                err = bonus_u64(z, dir, DIR_PARENT, &parent);
                if (err || parent == 0)
                        break;
                err = name_in_parent(z, parent, dir, &e);
                char longer[ZFS_NAME_MAX];
                if (!err && snprintf(longer, sizeof(longer), "/%s%s", e.name, path) >=
                    (int)sizeof(longer))
                        err = -ENAMETOOLONG;
                if (!err)
                        strcpy(path, longer);
                dir = parent;
        }
        if (!err && snprintf(name, size, "%s%s", z->pool, path) >= (int)size)
                err = -ENAMETOOLONG;
        return err;
}

static int
open_dataset(struct zfs *z, uint64_t dataset)
{
        unsigned char dnode[ZFS_DNODE];
        size_t len;
        int err = zfs_dnode_get(z, &z->mos, dataset, dnode);

        if (err)
                return err;
        const unsigned char *bonus = zfs_bonus(dnode, ZFS_DNODE, &len);
        if (len < DATASET_BP + ZFS_BLKPTR || zfs_hole(bonus + DATASET_BP))
                return -EIO;
        err = zfs_objset_open(z, bonus + DATASET_BP, &z->os);
        return err ? err : zfs_zap_lookup(z, &z->os, MASTER_NODE, "ROOT", &z->root);
}

/* The dataset to mount when none is named: bootfs, else the pool's root. */
static int
default_dataset(struct zfs *z, uint64_t *ret_dataset)
{
        uint64_t props, dir;

        if (zfs_zap_lookup(z, &z->mos, MOS_DIRECTORY, "pool_props", &props) == 0 &&
            zfs_zap_lookup(z, &z->mos, props, "bootfs", ret_dataset) == 0 && *ret_dataset != 0)
                return 0;
        int err = find_dir(z, z->pool, &dir);
        return err ? err : bonus_u64(z, dir, DIR_HEAD, ret_dataset);
}

static int
mount_named(struct zfs *z, const char *name)
{
        uint64_t dataset, dir;
        int err = 0;

        if (name) {
                err = find_dir(z, name, &dir);
                if (!err)
                        err = bonus_u64(z, dir, DIR_HEAD, &dataset);
        } else {
                err = default_dataset(z, &dataset);
        }
        if (!err)
                err = open_dataset(z, dataset);
        return err ? err : dataset_path(z, dataset, z->dataset, sizeof(z->dataset));
}

static int
open_pool(struct zfs *z, const struct label *label)
{
        struct uberblock ub = {.txg = 0};
        uint64_t before = UINT64_MAX;
        int err = -EIO;

        for (unsigned i = 0; i < UB_TRIES && find_uberblock(&z->fs.dev, label, before, &ub); i++) {
                err = zfs_objset_open(z, ub.root, &z->mos);
                if (!err)
                        return 0;
                before = ub.txg;
                ub.txg = 0;
        }
        return err;
}

static void
zfs_unmount(struct fs *fs)
{
        struct zfs *z = to_zfs(fs);

        zfs_block_drop_all(z);
        free(z);
}

static int
read_either_label(const struct blkdev *dev, struct label *label)
{
        int err = read_label(dev, 0, label);

        return err ? read_label(dev, LABEL_BYTES, label) : 0;
}

const char *
zfs_refusal(const struct blkdev *dev)
{
        struct label label;

        if (read_either_label(dev, &label) != 0 || label.refused == NULL)
                return "zfs (damaged, or encrypted)";
        return label.refused;
}

int
zfs_mount_dataset(const struct blkdev *dev, const char *name, struct fs **ret_fs)
{
        struct label label;
        int err = read_either_label(dev, &label);

        if (err)
                return err == -ENOMEM ? err : -EINVAL;
        if (label.refused != NULL)
                return -ENOTSUP;
        struct zfs *z = calloc(1, sizeof(*z));
        if (!z)
                return -ENOMEM;
        z->fs.ops = &zfs_ops;
        z->fs.dev = *dev;
        strcpy(z->pool, label.pool);
        err = open_pool(z, &label);
        if (!err)
                err = mount_named(z, name);
        if (err) {
                zfs_unmount(&z->fs);
                /* It is a ZFS, so nothing else: damage is no reason to try further. */
                return err == -ENOENT || err == -ENOMEM ? err : -ENOTSUP;
        }
        *ret_fs = &z->fs;
        return 0;
}

static int
zfs_mount(const struct blkdev *dev, struct fs **ret_fs)
{
        int err = zfs_mount_dataset(dev, NULL, ret_fs);

        return err == -ENOENT ? -ENOTSUP : err;
}

bool
zfs_dataset_name(struct fs *fs, char name[ZFS_NAME_MAX])
{
        if (fs->ops != &zfs_ops)
                return false;
        strcpy(name, to_zfs(fs)->dataset);
        return true;
}

int
zfs_list_children(
    struct fs *fs, const char *name, void (*fn)(void *ctx, const char *child), void *ctx)
{
        unsigned char dnode[ZFS_DNODE];
        struct zfs *z = to_zfs(fs);
        struct zfs_zap_entry e;
        uint64_t dir, children, pos = 0;
        int n = find_dir(z, name, &dir);

        if (!n)
                n = bonus_u64(z, dir, DIR_CHILDREN, &children);
        if (!n)
                n = zfs_dnode_get(z, &z->mos, children, dnode);
        if (n)
                return n;
        while ((n = zfs_zap_next(z, dnode, &pos, &e)) == 1) {
                if (e.name[0] != '$' && e.name[0] != '%') /* ZFS's own */
                        fn(ctx, e.name);
        }
        return n;
}

/* --- Files --- */

/* Length of the header of a system attribute area, 0 when there is none. */
static size_t
sa_header(const unsigned char *sa, size_t len)
{
        if (len < 8 || get_le32(sa) != SA_MAGIC)
                return 0;
        return (size_t)(get_le16(sa + 4) >> 10) * 8;
}

static int
load_node(struct zfs *z, uint64_t object, struct fs_node *node)
{
        size_t len;
        uint64_t mode, size;

        memset(node, 0, sizeof(*node));
        int err = zfs_dnode_get(z, &z->os, object, node->priv.bytes);
        if (err)
                return err;
        const unsigned char *bonus = zfs_bonus(node->priv.bytes, ZFS_DNODE, &len);
        unsigned type = node->priv.bytes[4];
        if (type == BONUS_ZNODE && len >= ZNODE_BYTES) {
                mode = get_le64(bonus + 72);
                size = get_le64(bonus + 80);
        } else if (type == BONUS_SA) {
                size_t head = sa_header(bonus, len);
                if (head == 0 || head + 16 > len)
                        return -EIO;
                mode = get_le64(bonus + head);
                size = get_le64(bonus + head + 8);
        } else {
                return -EIO;
        }
        node->type = fs_type_of_mode(mode);
        node->mode = mode & 07777;
        node->size_bytes = size;
        node->ino = object;
        return size > INT64_MAX ? -EIO : 0;
}

static int
zfs_root(struct fs *fs, struct fs_node *ret_node)
{
        struct zfs *z = to_zfs(fs);

        return load_node(z, z->root, ret_node);
}

static int
zfs_node(struct fs *fs, const struct fs_dirent *ent, struct fs_node *ret_node)
{
        return load_node(to_zfs(fs), ent->ref, ret_node);
}

static int
zfs_read(struct fs *fs, const struct fs_node *node, uint64_t off, void *buf, size_t len)
{
        return zfs_dnode_read(to_zfs(fs), node->priv.bytes, off, buf, len);
}

static int
zfs_map(struct fs *fs, const struct fs_node *node, uint64_t off, uint64_t *ret_dev_off,
    uint64_t *ret_len)
{
        return -EROFS; /* nothing is ever overwritten in place */
}

/* The text of a link whose attributes spilled into a block of their own. */
static int
read_spilled(struct zfs *z, const unsigned char *dnode, size_t dnode_len, char *buf, size_t len)
{
        const unsigned char *bytes;
        size_t have;

        if (!(dnode[7] & DNODE_SPILL))
                return -EIO;
        int err = zfs_block_read(z, dnode + dnode_len - ZFS_BLKPTR, &bytes, &have);
        if (err)
                return err;
        size_t head = sa_header(bytes, have);
        if (head == 0 || head > have || len > have - head)
                return -EIO;
        memcpy(buf, bytes + head, len);
        return 0;
}

static ssize_t
zfs_readlink(struct fs *fs, const struct fs_node *node, char *buf, size_t size)
{
        unsigned char dnode[ZFS_DNODE_MAX];
        struct zfs *z = to_zfs(fs);
        size_t dnode_len, have, len = (size_t)node->size_bytes;

        if (node->size_bytes > size)
                return -ENAMETOOLONG;
        int err = zfs_dnode_get_whole(z, &z->os, node->ino, dnode, &dnode_len);
        if (err)
                return err;
        const unsigned char *bonus = zfs_bonus(dnode, dnode_len, &have);
        size_t at = dnode[4] == BONUS_SA ? sa_header(bonus, have) + SA_SYMLINK : ZNODE_BYTES;
        if (at <= have && len <= have - at) {
                memcpy(buf, bonus + at, len);
                return (ssize_t)len;
        }
        err = dnode[4] == BONUS_SA ? read_spilled(z, dnode, dnode_len, buf, len)
                                   : zfs_dnode_read(z, dnode, 0, buf, len);
        return err ? err : (ssize_t)len;
}

static int
zfs_readdir(
    struct fs *fs, const struct fs_node *dir, struct fs_cursor *cur, struct fs_dirent *ret_ent)
{
        struct zfs_zap_entry e;
        int n;

        while ((n = zfs_zap_next(to_zfs(fs), dir->priv.bytes, &cur->pos, &e)) == 1) {
                if (strchr(e.name, '/'))
                        continue;
                strcpy(ret_ent->name, e.name);
                ret_ent->ref = e.value & 0xffffffffffffull;
                ret_ent->type = fs_type_of_dirent(e.value >> 60);
                return 1;
        }
        return n;
}

const struct fs_ops zfs_ops = {
    .name = "zfs",
    .mount = zfs_mount,
    .refusal = zfs_refusal,
    .unmount = zfs_unmount,
    .root = zfs_root,
    .readdir = zfs_readdir,
    .node = zfs_node,
    .read = zfs_read,
    .readlink = zfs_readlink,
    .map = zfs_map,
};
