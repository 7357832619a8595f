/* SPDX-License-Identifier: BSD-2-Clause */
/* The loader's devices and paths.  See dev.h. */
#include "boot/fbsd/dev.h"

#include "boot/fs/hostfs.h"
#include "boot/fs/zfs.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* A disk device's name, parsed. */
struct disk_name {
        unsigned unit;
        unsigned gpt;   /* 0: none given */
        unsigned slice; /* 0: none given */
        int bsd;        /* -1: none given */
};

/* A partition that may hold a root file system. */
struct candidate {
        struct blkdev dev;
        char name[DEV_NAME_MAX];
        unsigned rank;
};

struct candidates {
        unsigned count;
        struct candidate list[16];
};

int
dev_add_disk(struct devs *devs, const char *path)
{
        struct dev_disk *disk = &devs->disks[devs->disk_count];

        if (devs->disk_count == DEV_DISKS_MAX)
                return -ENOSPC;
        int err = blkdev_open(path, true, &disk->dev);
        if (err)
                return err;
        disk->path = strdup(path);
        devs->disk_count++;
        return 0;
}

int
dev_set_host(struct devs *devs, const char *dir)
{
        return hostfs_mount(dir, &devs->host);
}

/* --- Names --- */

/* A decimal number of at most six digits at *@at. */
static bool
take_number(const char **at, unsigned *ret_value)
{
        unsigned value = 0, digits = 0;

        for (; isdigit((unsigned char)**at) && digits < 6; digits++)
                value = value * 10 + (unsigned)(*(*at)++ - '0');
        *ret_value = value;
        return digits > 0;
}

static int
parse_disk_name(const char *name, struct disk_name *ret)
{
        struct disk_name dn = {.bsd = -1};
        const char *p = name + strlen("disk");

        if (!take_number(&p, &dn.unit))
                return -EINVAL;
        if (*p == 'p' && isdigit((unsigned char)p[1])) {
                p++;
                take_number(&p, &dn.gpt);
        } else if (*p == 's' && isdigit((unsigned char)p[1])) {
                p++;
                take_number(&p, &dn.slice);
        }
        if (*p >= 'a' && *p <= 't')
                dn.bsd = *p++ - 'a';
        if (*p != '\0')
                return -EINVAL;
        *ret = dn;
        return 0;
}

/* The length of the device name in front of ':', 0 when @spec has none. */
static size_t
device_len(const char *spec)
{
        size_t prefix = strncmp(spec, "zfs:", 4) == 0 ? 4 : 0;
        const char *colon = strchr(spec + prefix, ':');

        return spec[0] == '/' || !colon ? 0 : (size_t)(colon - spec);
}

bool
dev_has_path(const char *spec)
{
        return device_len(spec) > 0 || strchr(spec, '/');
}

/* --- Partitions --- */

static void
add_candidate(struct candidates *c, const struct blkdev *dev, const char *name, unsigned rank)
{
        unsigned at = c->count;

        if (rank == 0 || c->count == sizeof(c->list) / sizeof(c->list[0]))
                return;
        for (; at > 0 && c->list[at - 1].rank < rank; at--)
                c->list[at] = c->list[at - 1];
        c->list[at].dev = *dev;
        c->list[at].rank = rank;
        snprintf(c->list[at].name, sizeof(c->list[at].name), "%s", name);
        c->count++;
}

static void
part_name(const struct part_table *t, const struct part *p, const char *disk, char *name)
{
        if (t->scheme == PART_SCHEME_BSD)
                snprintf(name, DEV_NAME_MAX, "%.300s%c", disk, 'a' + (int)p->index);
        else
                snprintf(name, DEV_NAME_MAX, "%.300s%c%u", disk,
                    t->scheme == PART_SCHEME_GPT ? 'p' : 's', p->index);
}

/*
 * Collects what @dev may be booted from: the partitions of its table, with
 * those of labels inside (one level: an image may nest them without end), best
 * first; itself when it has no table.
 */
static void
find_candidates(const struct blkdev *dev, const char *name, unsigned rank, bool inner,
    struct candidates *c)
{
        struct part_table table;

        part_scan(dev, &table);
        for (unsigned i = 0; i < table.count; i++) {
                const struct part *p = &table.parts[i];
                struct blkdev slice;
                char sub[DEV_NAME_MAX];
                unsigned r = part_boot_rank(&table, p);
                if (table.scheme == PART_SCHEME_BSD && r)
                        r = rank;
                if (blkdev_slice(dev, p->start_bytes, p->size_bytes, &slice))
                        continue;
                part_name(&table, p, name, sub);
                if (p->type == PART_FREEBSD && !inner)
                        find_candidates(&slice, sub, r, true, c);
                else
                        add_candidate(c, &slice, sub, r);
        }
        if (table.scheme == PART_SCHEME_NONE)
                add_candidate(c, dev, name, rank);
}

/* A ZFS goes by the name of its dataset. */
static void
name_zfs(struct fs *fs, struct candidate *c)
{
        char dataset[ZFS_NAME_MAX];

        if (zfs_dataset_name(fs, dataset))
                snprintf(c->name, sizeof(c->name), "zfs:%s", dataset);
}

/* The first candidate that mounts; else the device itself, for an ISO with a table of its own. */
static int
best_partition(const struct blkdev *dev, const char *name, struct candidate *ret)
{
        struct candidates c = {.count = 0};
        int result = -EINVAL;
        const char *why;
        struct fs *fs;

        find_candidates(dev, name, 1, false, &c);
        for (unsigned i = 0; i <= c.count; i++) {
                struct candidate raw = {.dev = *dev};
                snprintf(raw.name, sizeof(raw.name), "%s", name);
                struct candidate *try = i < c.count ? &c.list[i] : &raw;
                int err = fs_mount(&try->dev, &fs, &why);
                if (!err) {
                        name_zfs(fs, try);
                        fs_unmount(fs);
                }
                if (!err || (err == -ENOTSUP && result == -EINVAL))
                        *ret = *try;
                if (!err)
                        return 0;
                if (err != -EINVAL)
                        result = err;
        }
        if (result == -EINVAL) {
                ret->dev = *dev;
                snprintf(ret->name, sizeof(ret->name), "%s", name);
        }
        return result;
}

static int
slice_of(const struct blkdev *dev, unsigned index, enum part_scheme scheme, struct blkdev *ret)
{
        struct part_table table;

        part_scan(dev, &table);
        const struct part *p = table.scheme == scheme ? part_find(&table, index) : NULL;
        return p ? blkdev_slice(dev, p->start_bytes, p->size_bytes, ret) : -ENXIO;
}

/* The range of the disk that @name (without ':') means. */
static int
find_range(struct devs *devs, const char *name, struct blkdev *ret)
{
        struct disk_name dn;
        struct blkdev dev;

        int err = parse_disk_name(name, &dn);
        if (err)
                return err;
        if (dn.unit >= devs->disk_count)
                return -ENXIO;
        dev = devs->disks[dn.unit].dev;
        if (dn.gpt)
                err = slice_of(&dev, dn.gpt, PART_SCHEME_GPT, &dev);
        else if (dn.slice)
                err = slice_of(&dev, dn.slice, PART_SCHEME_MBR, &dev);
        if (!err && dn.bsd >= 0)
                err = slice_of(&dev, (unsigned)dn.bsd, PART_SCHEME_BSD, &dev);
        if (err)
                return err;
        if (!dn.gpt && dn.bsd < 0) {
                struct candidate best;
                best_partition(&dev, name, &best);
                dev = best.dev;
        }
        *ret = dev;
        return 0;
}

/* --- Mounting --- */

static struct fs *
find_mount(struct devs *devs, const char *name)
{
        for (unsigned i = 0; i < devs->mount_count; i++) {
                if (strcmp(devs->mounts[i].name, name) == 0)
                        return devs->mounts[i].fs;
        }
        return NULL;
}

static int
keep_mount(struct devs *devs, const char *name, const struct blkdev *dev, struct fs *fs)
{
        if (devs->mount_count == DEV_MOUNTS_MAX) {
                fs_unmount(fs);
                return -EMFILE;
        }
        struct dev_mount *m = &devs->mounts[devs->mount_count++];
        m->dev = *dev;
        m->fs = fs;
        snprintf(m->name, sizeof(m->name), "%s", name);
        return 0;
}

static int
mount_disk(struct devs *devs, const char *name, struct fs **ret_fs)
{
        struct blkdev dev;

        *ret_fs = find_mount(devs, name);
        if (*ret_fs)
                return 0;
        int err = find_range(devs, name, &dev);
        if (!err)
                err = fs_mount(&dev, ret_fs, &devs->why);
        if (err)
                return err == -EINVAL ? -ENXIO : err;
        return keep_mount(devs, name, &dev, *ret_fs);
}

/* Looks for the pool of "zfs:pool/dataset" on every partition and disk. */
static int
mount_zfs(struct devs *devs, const char *name, struct fs **ret_fs)
{
        int result = -ENXIO;

        *ret_fs = find_mount(devs, name);
        if (*ret_fs)
                return 0;
        for (unsigned i = 0; i < devs->disk_count; i++) {
                struct candidates c = {.count = 0};
                find_candidates(&devs->disks[i].dev, "", 1, false, &c);
                for (unsigned j = 0; j < c.count; j++) {
                        int err = zfs_mount_dataset(
                            &c.list[j].dev, name + strlen("zfs:"), ret_fs);
                        if (!err)
                                return keep_mount(devs, name, &c.list[j].dev, *ret_fs);
                        if (err == -ENOTSUP) {
                                devs->why = zfs_refusal(&c.list[j].dev);
                                result = err;
                        }
                }
        }
        return result;
}

static int
mount_device(struct devs *devs, const char *name, struct fs **ret_fs)
{
        if (strcmp(name, "host0") == 0 || strcmp(name, "host") == 0) {
                if (!devs->host)
                        return -ENOENT;
                *ret_fs = devs->host;
                return 0;
        }
        if (strncmp(name, "disk", 4) == 0)
                return mount_disk(devs, name, ret_fs);
        return strncmp(name, "zfs:", 4) == 0 ? mount_zfs(devs, name, ret_fs) : -ENXIO;
}

int
dev_check(struct devs *devs, const char *name)
{
        char copy[DEV_NAME_MAX];
        struct blkdev dev;
        size_t len = device_len(name);

        if (len == 0 || len >= sizeof(copy) || name[len + 1] != '\0')
                return -EINVAL;
        memcpy(copy, name, len);
        copy[len] = '\0';
        if (strncmp(copy, "disk", 4) == 0)
                return find_range(devs, copy, &dev);
        if (strncmp(copy, "zfs:", 4) == 0) {
                struct fs *fs;
                return mount_zfs(devs, copy, &fs);
        }
        return strcmp(copy, "host0") == 0 ? 0 : -ENXIO;
}

int
dev_resolve(struct devs *devs, const char *spec, struct fs **ret_fs, const char **ret_path)
{
        char name[DEV_NAME_MAX];
        size_t len = device_len(spec);
        const char *from = len ? spec : devs->current;
        size_t name_len = len ? len : device_len(devs->current);

        if (name_len == 0)
                return -ENXIO;
        if (name_len >= sizeof(name))
                return -ENAMETOOLONG;
        memcpy(name, from, name_len);
        name[name_len] = '\0';
        *ret_path = len ? spec + len + 1 : spec;
        return mount_device(devs, name, ret_fs);
}

void
dev_choose_current(struct devs *devs)
{
        struct candidate best;

        snprintf(devs->current, sizeof(devs->current), "host0:");
        for (unsigned i = 0; i < devs->disk_count; i++) {
                char name[DEV_NAME_MAX];
                snprintf(name, sizeof(name), "disk%u", i);
                int err = best_partition(&devs->disks[i].dev, name, &best);
                if (i == 0 || !err)
                        snprintf(devs->current, sizeof(devs->current), "%.318s:", best.name);
                if (!err)
                        return;
        }
}

/* --- Files --- */

int
dev_open(struct devs *devs, const char *spec, struct fs_file *ret_file)
{
        struct fs *fs;
        const char *path;
        int err = dev_resolve(devs, spec, &fs, &path);

        ret_file->fs = NULL;
        return err ? err : fs_open(fs, path, ret_file);
}

int
dev_load(struct devs *devs, const char *spec, size_t limit, void **ret_buf, size_t *ret_len)
{
        struct fs *fs;
        const char *path;
        int err = dev_resolve(devs, spec, &fs, &path);

        return err ? err : fs_load(fs, path, limit, ret_buf, ret_len);
}

int
dev_find(struct devs *devs, const char *spec, enum fs_type *ret_type)
{
        struct fs *fs;
        const char *path;
        int err = dev_resolve(devs, spec, &fs, &path);

        return err ? err : fs_find(fs, path, ret_type);
}

/* --- Listing --- */

static void
list_parts(const struct blkdev *dev, const char *name, bool verbose, bool inner,
    void (*line)(void *ctx, const char *text), void *ctx)
{
        struct part_table table;
        char text[512], sub[DEV_NAME_MAX];

        part_scan(dev, &table);
        for (unsigned i = 0; i < table.count; i++) {
                const struct part *p = &table.parts[i];
                struct blkdev slice;
                part_name(&table, p, name, sub);
                int n = snprintf(text, sizeof(text), "      %s: %s", sub, part_type_name(p->type));
                if (verbose)
                        snprintf(text + n, sizeof(text) - (size_t)n, "\t%lluKB at %lluKB",
                            (unsigned long long)p->size_bytes / 1024,
                            (unsigned long long)p->start_bytes / 1024);
                line(ctx, text);
                if (p->type == PART_FREEBSD && !inner &&
                    blkdev_slice(dev, p->start_bytes, p->size_bytes, &slice) == 0)
                        list_parts(&slice, sub, verbose, true, line, ctx);
        }
}

int
dev_list_zfs(
    struct devs *devs, const char *name, void (*line)(void *ctx, const char *text), void *ctx)
{
        char device[DEV_NAME_MAX];
        struct fs *fs;

        if (snprintf(device, sizeof(device), "zfs:%s", name) >= (int)sizeof(device))
                return -ENAMETOOLONG;
        int err = mount_zfs(devs, device, &fs);
        return err ? err : zfs_list_children(fs, name, line, ctx);
}

void
dev_list(struct devs *devs, bool verbose, void (*line)(void *ctx, const char *text), void *ctx)
{
        char text[512], name[DEV_NAME_MAX];

        line(ctx, "host devices:");
        line(ctx, "    host0:   Host filesystem");
        line(ctx, "disk devices:");
        for (unsigned i = 0; i < devs->disk_count; i++) {
                snprintf(name, sizeof(name), "disk%u", i);
                snprintf(text, sizeof(text), "    %s:   Guest drive image%s%.400s", name,
                    verbose ? "\t" : "", verbose ? devs->disks[i].path : "");
                line(ctx, text);
                list_parts(&devs->disks[i].dev, name, verbose, false, line, ctx);
        }
        if (strncmp(devs->current, "zfs:", 4) == 0) {
                line(ctx, "zfs devices:");
                snprintf(text, sizeof(text), "    %s", devs->current);
                line(ctx, text);
        }
}

const char *
dev_strerror(const struct devs *devs, int err, char *buf, size_t size)
{
        if (err == -ENOTSUP && devs->why)
                snprintf(buf, size, "%s file systems of this kind cannot be read", devs->why);
        else if (err == -ENXIO)
                snprintf(buf, size, "Device not configured");
        else
                snprintf(buf, size, "%s", strerror(-err));
        return buf;
}

void
dev_finish(struct devs *devs)
{
        for (unsigned i = 0; i < devs->mount_count; i++)
                fs_unmount(devs->mounts[i].fs);
        for (unsigned i = 0; i < devs->disk_count; i++) {
                free(devs->disks[i].path);
                blkdev_close(&devs->disks[i].dev);
        }
        fs_unmount(devs->host);
        memset(devs, 0, sizeof(*devs));
}
