/* SPDX-License-Identifier: BSD-2-Clause */
/* A host directory as a file system.  See hostfs.h. */
#include "boot/fs/hostfs.h"

#include "base/util.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

struct hostfs {
        struct fs fs;
        int root_fd;
};

static const struct fs_ops hostfs_ops;

int
hostfs_mount(const char *path, struct fs **ret_fs)
{
        struct hostfs *h = calloc(1, sizeof(*h));

        if (!h)
                return -ENOMEM;
        h->fs.ops = &hostfs_ops;
        h->root_fd = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);
        if (h->root_fd < 0) {
                int err = -errno;
                free(h);
                return err;
        }
        *ret_fs = &h->fs;
        return 0;
}

static void
hostfs_unmount(struct fs *fs)
{
        struct hostfs *h = container_of(fs, struct hostfs, fs);

        close(h->root_fd);
        free(h);
}

static int
open_inside(struct hostfs *h, const char *path)
{
        /* O_NONBLOCK: opening a FIFO must not wait for its writer. */
        struct open_how how = {
            .flags = O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY,
            .resolve = RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS,
        };
        const char *name = path[0] ? path : "/";

        for (unsigned tries = 0;; tries++) {
                long fd = syscall(SYS_openat2, h->root_fd, name, &how, sizeof(how));
                if (fd >= 0)
                        return (int)fd;
                /* EAGAIN: something was renamed while the path was walked. */
                if (errno != EINTR && !(errno == EAGAIN && tries < 16))
                        return -errno;
        }
}

static int
hostfs_open_path(struct fs *fs, const char *path, struct fs_node *ret_node)
{
        struct hostfs *h = container_of(fs, struct hostfs, fs);
        struct stat st;

        int fd = open_inside(h, path);
        if (fd < 0)
                return fd;
        int err = fstat(fd, &st) < 0 ? -errno : 0;
        if (!err && !S_ISREG(st.st_mode) && !S_ISDIR(st.st_mode))
                err = -EINVAL;
        if (err) {
                close(fd);
                return err;
        }
        *ret_node = (struct fs_node){
            .type = S_ISDIR(st.st_mode) ? FS_TYPE_DIR : FS_TYPE_FILE,
            .size_bytes = (uint64_t)st.st_size,
            .ino = st.st_ino,
            .mode = st.st_mode & 07777,
        };
        ret_node->priv.words[0] = (uint64_t)fd;
        return 0;
}

static void
hostfs_release(struct fs *fs, struct fs_node *node)
{
        close((int)node->priv.words[0]);
}

static int
hostfs_read(struct fs *fs, const struct fs_node *node, uint64_t off, void *buf, size_t len)
{
        unsigned char *to = buf;

        while (len > 0) {
                ssize_t n = pread((int)node->priv.words[0], to, len, (off_t)off);
                if (n < 0 && errno == EINTR)
                        continue;
                if (n < 0)
                        return -errno;
                if (n == 0)
                        return -EIO; /* the file shrank meanwhile */
                to += n;
                off += (uint64_t)n;
                len -= (size_t)n;
        }
        return 0;
}

static enum fs_type
dt_type(unsigned char dt)
{
        switch (dt) {
        case DT_REG:
                return FS_TYPE_FILE;
        case DT_DIR:
                return FS_TYPE_DIR;
        case DT_LNK:
                return FS_TYPE_LINK;
        case DT_UNKNOWN:
                return FS_TYPE_UNKNOWN;
        default:
                return FS_TYPE_OTHER;
        }
}

/* The cursor owns a DIR over a descriptor of its own. */
static DIR *
start_listing(const struct fs_node *dir)
{
        int fd = openat((int)dir->priv.words[0], ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        DIR *d = fd < 0 ? NULL : fdopendir(fd);

        if (!d && fd >= 0)
                close(fd);
        return d;
}

static int
hostfs_readdir(
    struct fs *fs, const struct fs_node *dir, struct fs_cursor *cur, struct fs_dirent *ret_ent)
{
        if (!cur->handle && !(cur->handle = start_listing(dir)))
                return -errno;
        for (;;) {
                errno = 0;
                struct dirent *d = readdir(cur->handle);
                if (!d)
                        return -errno;
                if (strcmp(d->d_name, ".") == 0 || strcmp(d->d_name, "..") == 0)
                        continue;
                snprintf(ret_ent->name, sizeof(ret_ent->name), "%s", d->d_name);
                ret_ent->type = dt_type(d->d_type);
                ret_ent->ref = d->d_ino;
                return 1;
        }
}

static void
hostfs_end_cursor(struct fs *fs, struct fs_cursor *cur)
{
        if (cur->handle)
                closedir(cur->handle);
}

static const struct fs_ops hostfs_ops = {
    .name = "host",
    .unmount = hostfs_unmount,
    .readdir = hostfs_readdir,
    .read = hostfs_read,
    .open_path = hostfs_open_path,
    .release = hostfs_release,
    .end_cursor = hostfs_end_cursor,
};
