/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Reading files from the file systems a guest may boot from.
 *
 * fs_mount() finds which file system a device holds; fs_open() walks a path
 * through symbolic links (bounded; absolute links and ".." stay inside the
 * file system) and fs_read() reads.  fs_load() takes a whole file into memory
 * and undoes gzip, bzip2 or zstd compression on the way.
 *
 * A file system is one struct fs_ops in one file.  It supplies directories
 * entry by entry, nodes, file contents and link texts; everything about paths
 * is here.  The one form of writing is fs_overwrite(): bytes that already
 * have their place on the disk are replaced, for nextboot.conf.
 *
 * Images are hostile: each reader checks what it reads, ends every chain and
 * answers -EIO or -EINVAL to nonsense.  Not thread-safe: one thread per mount.
 */
#ifndef BOOT_FS_FS_H
#define BOOT_FS_FS_H

#include "boot/fs/blkdev.h"

#include <sys/types.h>

#define FS_NAME_MAX  255u
#define FS_PATH_MAX  1024u
#define FS_LINKS_MAX 32u /* symbolic links followed in one path */
#define FS_DEPTH_MAX 64u /* directories in one path */

enum fs_type {
        FS_TYPE_UNKNOWN, /* in directory entries: the node tells */
        FS_TYPE_FILE,
        FS_TYPE_DIR,
        FS_TYPE_LINK,
        FS_TYPE_OTHER,
};

/* A file or directory; what else its file system needs is in priv. */
struct fs_node {
        enum fs_type type;
        uint64_t size_bytes;
        uint64_t ino;
        uint16_t mode; /* permission bits */
        union {
                unsigned char bytes[512];
                uint64_t words[64];
                void *handle;
        } priv;
};

struct fs_dirent {
        char name[FS_NAME_MAX + 1];
        enum fs_type type;
        uint64_t ref; /* for ops->node: an inode number, a record's place */
};

/* A position in a directory: zero to start with, advanced by readdir. */
struct fs_cursor {
        uint64_t pos;
        void *handle;
};

struct fs {
        const struct fs_ops *ops;
        struct blkdev dev;
};

struct fs_ops {
        const char *name;
        bool ignore_case;

        /* -EINVAL when the device does not hold this file system; -ENOTSUP when an unreadable kind.
         */
        int (*mount)(const struct blkdev *dev, struct fs **ret_fs);
        /* After -ENOTSUP: what the unreadable kind is called, static text; NULL: by the name. */
        const char *(*refusal)(const struct blkdev *dev);
        void (*unmount)(struct fs *fs);
        int (*root)(struct fs *fs, struct fs_node *ret_node);
        /* 1 with an entry, 0 at the end, -errno.  Never "." or "..". */
        int (*readdir)(struct fs *fs, const struct fs_node *dir, struct fs_cursor *cur,
            struct fs_dirent *ret_ent);
        int (*node)(struct fs *fs, const struct fs_dirent *ent, struct fs_node *ret_node);
        /* Exactly @len bytes; the caller keeps within the node's size. */
        int (*read)(struct fs *fs, const struct fs_node *node, uint64_t off, void *buf, size_t len);
        /* NULL: there are none.  The length without NUL, at most @size. */
        ssize_t (*readlink)(struct fs *fs, const struct fs_node *node, char *buf, size_t size);
        /* NULL: cannot.  Where byte @off of the file lies, and how many follow there. */
        int (*map)(struct fs *fs, const struct fs_node *node, uint64_t off, uint64_t *ret_dev_off,
            uint64_t *ret_len);

        /* For a file system that resolves paths itself; then root, node and readlink may be NULL.
         */
        int (*open_path)(struct fs *fs, const char *path, struct fs_node *ret_node);
        void (*release)(struct fs *fs, struct fs_node *node);
        void (*end_cursor)(struct fs *fs, struct fs_cursor *cur);
};

struct fs_file {
        struct fs *fs;
        struct fs_node node;
};

/*
 * Tries every file system on @dev (which must outlive the mount).  -EINVAL
 * when none fits; -ENOTSUP, with *@ret_why (static text) naming the file
 * system, when it is known but cannot be read.
 */
int fs_mount(const struct blkdev *dev, struct fs **ret_fs, const char **ret_why);
void fs_unmount(struct fs *fs);

/* @path counts from the root; a leading '/' changes nothing. */
int fs_open(struct fs *fs, const char *path, struct fs_file *ret_file);
void fs_close(struct fs_file *file);

/* Bytes read, fewer than @len only at the end of the file; -EISDIR for a directory. */
ssize_t fs_read(struct fs_file *file, uint64_t off, void *buf, size_t len);

/* 1 with an entry, 0 at the end, -errno.  fs_end_readdir() in any case. */
int fs_readdir(struct fs_file *dir, struct fs_cursor *cur, struct fs_dirent *ret_ent);
void fs_end_readdir(struct fs_file *dir, struct fs_cursor *cur);

/* Replaces bytes inside the file.  -EROFS, -ENOTSUP or -ENOSPC (a hole) when that is impossible. */
int fs_overwrite(struct fs_file *file, uint64_t off, const void *buf, size_t len);

/*
 * The whole of a regular file, decompressed when it is compressed; where
 * @path does not exist, @path with .gz, .bz2 or .zst behind it.  -EFBIG
 * beyond @limit bytes.  The caller frees *@ret_buf, which has a NUL behind it.
 */
int fs_load(struct fs *fs, const char *path, size_t limit, void **ret_buf, size_t *ret_len);

/* Whether a decompressed or plain @path would be found: its node's type, or -errno. */
int fs_find(struct fs *fs, const char *path, enum fs_type *ret_type);

/*
 * For the file systems: the type in an inode's mode and in a directory entry,
 * by the numbers that they have had in every Unix.
 */
enum fs_type fs_type_of_mode(uint64_t mode);
enum fs_type fs_type_of_dirent(unsigned type);

extern const struct fs_ops ufs_ops, cd9660_ops, fat_ops, ext_ops, zfs_ops;

#endif
