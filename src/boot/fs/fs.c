/* SPDX-License-Identifier: BSD-2-Clause */
/* Paths, files and whole-file loading over the file-system readers.  See fs.h. */
#include "boot/fs/fs.h"

#include "base/util.h"
#include "boot/fs/unpack.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

/* Directory entries looked at in one directory: a bound on time, not on real directories. */
#define DIRENTS_MAX (1u << 20)

static const struct fs_ops *const all_fs[] = {
    &ufs_ops,
    &cd9660_ops,
    &ext_ops,
    &zfs_ops,
    &fat_ops,
};

int
fs_mount(const struct blkdev *dev, struct fs **ret_fs, const char **ret_why)
{
        int result = -EINVAL;

        for (size_t i = 0; i < ARRAY_LEN(all_fs); i++) {
                int err = all_fs[i]->mount(dev, ret_fs);
                if (!err)
                        return 0;
                if (err == -EINVAL || err == -EIO)
                        continue;
                result = err;
                if (ret_why)
                        *ret_why = all_fs[i]->refusal ? all_fs[i]->refusal(dev) : all_fs[i]->name;
        }
        return result;
}

void
fs_unmount(struct fs *fs)
{
        if (fs)
                fs->ops->unmount(fs);
}

/* A path being resolved: the chain of directories from the root, and what is left of the text. */
struct walk {
        struct fs *fs;
        unsigned links;
        unsigned depth; /* of the innermost directory in nodes[] */
        char rest[2 * FS_PATH_MAX];
        struct fs_node nodes[FS_DEPTH_MAX];
};

static bool
name_is(const struct fs *fs, const char *entry, const char *name, size_t len)
{
        if (entry[len] != '\0')
                return false;
        return fs->ops->ignore_case ? strncasecmp(entry, name, len) == 0
                                    : memcmp(entry, name, len) == 0;
}

static int
dir_lookup(struct fs *fs, const struct fs_node *dir, const char *name, size_t len,
    struct fs_node *ret_node)
{
        struct fs_cursor cur = {0};
        struct fs_dirent ent;

        if (dir->type != FS_TYPE_DIR)
                return -ENOTDIR;
        if (len > FS_NAME_MAX)
                return -ENAMETOOLONG;
        for (unsigned i = 0; i < DIRENTS_MAX; i++) {
                int n = fs->ops->readdir(fs, dir, &cur, &ent);
                if (n <= 0)
                        return n ? n : -ENOENT;
                if (strlen(ent.name) >= len && name_is(fs, ent.name, name, len))
                        return fs->ops->node(fs, &ent, ret_node);
        }
        return -EIO;
}

/* Puts a link's text in front of what is left. */
static int
walk_follow(struct walk *w, const struct fs_node *link)
{
        char text[FS_PATH_MAX];

        if (++w->links > FS_LINKS_MAX)
                return -ELOOP;
        if (!w->fs->ops->readlink)
                return -EINVAL;
        ssize_t n = w->fs->ops->readlink(w->fs, link, text, sizeof(text) - 1);
        if (n < 0)
                return (int)n;
        text[n] = '\0';
        size_t len = strlen(text), rest = strlen(w->rest);
        if (len == 0)
                return -ENOENT;
        if (len + rest >= sizeof(w->rest))
                return -ENAMETOOLONG;
        memmove(w->rest + len, w->rest, rest + 1); /* rest is empty or begins with '/' */
        memcpy(w->rest, text, len);
        if (text[0] == '/')
                w->depth = 0;
        return 0;
}

/* Takes the first component off w->rest and steps into it. */
static int
walk_step(struct walk *w)
{
        char name[FS_NAME_MAX + 2];
        size_t skip = strspn(w->rest, "/");
        size_t len = strcspn(w->rest + skip, "/");

        if (len > FS_NAME_MAX)
                return -ENAMETOOLONG;
        memcpy(name, w->rest + skip, len);
        name[len] = '\0';
        memmove(w->rest, w->rest + skip + len, strlen(w->rest + skip + len) + 1);

        struct fs_node *here = &w->nodes[w->depth];
        if (len == 0 || strcmp(name, ".") == 0)
                return here->type == FS_TYPE_DIR ? 0 : -ENOTDIR;
        if (strcmp(name, "..") == 0) {
                if (here->type != FS_TYPE_DIR)
                        return -ENOTDIR;
                w->depth -= w->depth > 0;
                return 0;
        }
        if (w->depth + 1 == FS_DEPTH_MAX)
                return -ENAMETOOLONG;
        int err = dir_lookup(w->fs, here, name, len, here + 1);
        if (err)
                return err;
        if (here[1].type == FS_TYPE_LINK)
                return walk_follow(w, here + 1);
        w->depth++;
        return 0;
}

static int
walk_path(struct fs *fs, const char *path, struct fs_node *ret_node)
{
        if (strlen(path) >= FS_PATH_MAX)
                return -ENAMETOOLONG;
        struct walk *w = calloc(1, sizeof(*w));
        if (!w)
                return -ENOMEM;
        w->fs = fs;
        strcpy(w->rest, path);
        int err = fs->ops->root(fs, &w->nodes[0]);
        if (!err && w->nodes[0].type != FS_TYPE_DIR)
                err = -EIO; /* a damaged image */
        while (!err && w->rest[0] != '\0')
                err = walk_step(w);
        if (!err)
                *ret_node = w->nodes[w->depth];
        free(w);
        return err;
}

int
fs_open(struct fs *fs, const char *path, struct fs_file *ret_file)
{
        int err;

        ret_file->fs = fs;
        if (fs->ops->open_path)
                err = fs->ops->open_path(fs, path, &ret_file->node);
        else
                err = walk_path(fs, path, &ret_file->node);
        if (err)
                ret_file->fs = NULL;
        return err;
}

void
fs_close(struct fs_file *file)
{
        if (file->fs && file->fs->ops->release)
                file->fs->ops->release(file->fs, &file->node);
        file->fs = NULL;
}

ssize_t
fs_read(struct fs_file *file, uint64_t off, void *buf, size_t len)
{
        const struct fs_node *node = &file->node;

        if (node->type == FS_TYPE_DIR)
                return -EISDIR;
        if (node->type != FS_TYPE_FILE)
                return -EINVAL;
        if (off >= node->size_bytes)
                return 0;
        if (len > node->size_bytes - off)
                len = (size_t)(node->size_bytes - off);
        int err = file->fs->ops->read(file->fs, node, off, buf, len);
        return err ? err : (ssize_t)len;
}

int
fs_readdir(struct fs_file *dir, struct fs_cursor *cur, struct fs_dirent *ret_ent)
{
        struct fs *fs = dir->fs;

        if (dir->node.type != FS_TYPE_DIR)
                return -ENOTDIR;
        int n = fs->ops->readdir(fs, &dir->node, cur, ret_ent);
        if (n == 1 && ret_ent->type == FS_TYPE_UNKNOWN && fs->ops->node) {
                struct fs_node node;
                if (fs->ops->node(fs, ret_ent, &node) == 0)
                        ret_ent->type = node.type;
        }
        return n;
}

void
fs_end_readdir(struct fs_file *dir, struct fs_cursor *cur)
{
        if (dir->fs->ops->end_cursor)
                dir->fs->ops->end_cursor(dir->fs, cur);
        memset(cur, 0, sizeof(*cur));
}

int
fs_overwrite(struct fs_file *file, uint64_t off, const void *buf, size_t len)
{
        struct fs *fs = file->fs;
        const unsigned char *from = buf;

        if (file->node.type != FS_TYPE_FILE || off > file->node.size_bytes ||
            len > file->node.size_bytes - off)
                return -EINVAL;
        if (!fs->ops->map)
                return -ENOTSUP;
        while (len > 0) {
                uint64_t at, n;
                int err = fs->ops->map(fs, &file->node, off, &at, &n);
                if (err)
                        return err;
                if (n > len)
                        n = len;
                err = blkdev_write(&fs->dev, at, from, (size_t)n);
                if (err)
                        return err;
                from += n;
                off += n;
                len -= (size_t)n;
        }
        return 0;
}

static const char *const packed_suffixes[] = {"", ".gz", ".bz2", ".zst"};

/* Opens @path or its compressed form. */
static int
open_any(struct fs *fs, const char *path, struct fs_file *ret_file)
{
        char name[FS_PATH_MAX + 8];

        if (strlen(path) >= FS_PATH_MAX)
                return -ENAMETOOLONG;
        for (size_t i = 0; i < ARRAY_LEN(packed_suffixes); i++) {
                snprintf(name, sizeof(name), "%s%s", path, packed_suffixes[i]);
                int err = fs_open(fs, name, ret_file);
                if (err != -ENOENT)
                        return err;
        }
        return -ENOENT;
}

static int
read_whole(struct fs_file *file, size_t limit, unsigned char **ret_buf, size_t *ret_len)
{
        if (file->node.type == FS_TYPE_DIR)
                return -EISDIR;
        if (file->node.size_bytes > limit)
                return -EFBIG;
        size_t len = (size_t)file->node.size_bytes;
        unsigned char *buf = malloc(len + 1);
        if (!buf)
                return -ENOMEM;
        ssize_t n = fs_read(file, 0, buf, len);
        if (n < 0) {
                free(buf);
                return (int)n;
        }
        buf[n] = '\0';
        *ret_buf = buf;
        *ret_len = (size_t)n;
        return 0;
}

int
fs_load(struct fs *fs, const char *path, size_t limit, void **ret_buf, size_t *ret_len)
{
        struct fs_file file;
        unsigned char *buf = NULL;
        size_t len = 0;

        int err = open_any(fs, path, &file);
        if (err)
                return err;
        err = read_whole(&file, limit, &buf, &len);
        fs_close(&file);
        if (err)
                return err;
        if (unpack_kind(buf, len) == UNPACK_NONE) {
                *ret_buf = buf;
                *ret_len = len;
                return 0;
        }
        err = unpack(buf, len, limit, ret_buf, ret_len);
        free(buf);
        return err;
}

int
fs_find(struct fs *fs, const char *path, enum fs_type *ret_type)
{
        struct fs_file file;
        int err = open_any(fs, path, &file);

        if (err)
                return err;
        *ret_type = file.node.type;
        fs_close(&file);
        return 0;
}

enum fs_type
fs_type_of_mode(uint64_t mode)
{
        switch (mode & 0xf000) {
        case 0x8000:
                return FS_TYPE_FILE;
        case 0x4000:
                return FS_TYPE_DIR;
        case 0xa000:
                return FS_TYPE_LINK;
        default:
                return FS_TYPE_OTHER;
        }
}

enum fs_type
fs_type_of_dirent(unsigned type)
{
        switch (type) {
        case 4:
                return FS_TYPE_DIR;
        case 8:
                return FS_TYPE_FILE;
        case 10:
                return FS_TYPE_LINK;
        default:
                return FS_TYPE_UNKNOWN;
        }
}
