/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Fuzzes one file-system reader (FUZZ_OPS) over changed copies of good images
 * (FUZZ_IMAGES): the tree is walked, files are read, loaded and overwritten.
 */
#include "fuzz.h"

#include "base/util.h"
#include "boot/fs/fs.h"
#include "boot/fs/unpack.h"

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define IMAGE_MAX   (64u << 20)
#define SECTOR      512u
#define CHANGES_MAX 64u
#define DEPTH_MAX   6u
#define ENTRIES_MAX 200u /* looked at per input */

struct image {
        void *bytes;
        size_t len;
        uint32_t *used; /* the sectors that the reader reads, of those that hold anything */
        size_t used_count;
};

struct change {
        uint64_t at;
        unsigned len;
        uint8_t value[4];
};

/* An image seen through its changes. */
struct view {
        const struct image *image;
        unsigned count;
        struct change change[CHANGES_MAX];
        unsigned entries;
        bool *touched; /* a flag for each sector that is read, or NULL */
};

static int
view_read(void *ctx, uint64_t off, void *buf, size_t len)
{
        struct view *v = ctx;

        memcpy(buf, (const char *)v->image->bytes + off, len);
        for (unsigned i = 0; i < v->count; i++) {
                const struct change *c = &v->change[i];
                for (unsigned j = 0; j < c->len; j++) {
                        if (c->at + j >= off && c->at + j - off < len)
                                ((uint8_t *)buf)[c->at + j - off] = c->value[j];
                }
        }
        for (uint64_t s = off / SECTOR; v->touched && len > 0 && s <= (off + len - 1) / SECTOR; s++)
                v->touched[s] = true;
        return 0;
}

static int
view_write(void *ctx, uint64_t off, const void *buf, size_t len)
{
        return 0;
}

static const struct blkdev_ops view_ops = {view_read, view_write};

static void
use_file(struct fs *fs, const char *path, struct fs_file *file)
{
        char buf[4096];
        void *all;
        size_t len;
        uint64_t size = file->node.size_bytes;

        fs_read(file, 0, buf, sizeof(buf));
        fs_read(file, size / 2 + 1, buf, sizeof(buf));
        fs_read(file, size > 100 ? size - 100 : 0, buf, sizeof(buf));
        fs_overwrite(file, size / 3, "x", 1);
        if (fs_load(fs, path, 1 << 18, &all, &len) == 0)
                free(all);
}

static void
walk(struct view *v, struct fs *fs, const char *path, unsigned depth)
{
        struct fs_file dir;
        struct fs_cursor cur = {0};
        struct fs_dirent ent;

        if (fs_open(fs, path, &dir))
                return;
        if (dir.node.type == FS_TYPE_FILE)
                use_file(fs, path, &dir);
        while (dir.node.type == FS_TYPE_DIR && depth < DEPTH_MAX && v->entries < ENTRIES_MAX &&
            fs_readdir(&dir, &cur, &ent) == 1) {
                char sub[FS_PATH_MAX];
                v->entries++;
                if (snprintf(sub, sizeof(sub), "%s/%s", path, ent.name) < (int)sizeof(sub))
                        walk(v, fs, sub, depth + 1);
        }
        fs_end_readdir(&dir, &cur);
        fs_close(&dir);
}

static void
use_image(struct view *v)
{
        struct blkdev dev = { .ops = &view_ops, .ctx = v, .size_bytes = v->image->len };
        struct fs *fs;

        if (FUZZ_OPS.mount(&dev, &fs))
                return;
        walk(v, fs, "", 0);
        fs_unmount(fs);
}

static void
load_image(const char *name, struct image *image)
{
        static char packed[1 << 20];
        const char *dir = getenv("FUZZ_IMAGES_DIR");
        char path[512];

        snprintf(path, sizeof(path), "%s/%s", dir ? dir : "tests/fuzz/images", name);
        FILE *f = fopen(path, "r");
        if (!f) {
                perror(path);
                exit(1);
        }
        size_t n = fread(packed, 1, sizeof(packed), f);
        fclose(f);
        if (unpack(packed, n, IMAGE_MAX, &image->bytes, &image->len) || image->len % SECTOR != 0)
                abort();
}

/* Lists the sectors in which a change can have an effect. */
static void
find_used(struct image *image)
{
        static const char zeros[SECTOR];
        size_t sectors = image->len / SECTOR;
        struct view v = { .image = image, .touched = calloc(sectors, sizeof(bool)) };

        use_image(&v);
        image->used = calloc(sectors, sizeof(*image->used));
        for (size_t s = 0; s < sectors; s++) {
                if (v.touched[s] && memcmp((char *)image->bytes + s * SECTOR, zeros, SECTOR) != 0)
                        image->used[image->used_count++] = (uint32_t)s;
        }
        free(v.touched);
        if (image->used_count == 0)
                abort();
}

static const struct image *
choose_image(unsigned which)
{
        static const char *const names[] = { FUZZ_IMAGES };
        static struct image images[ARRAY_LEN(names)];
        struct image *image = &images[which % ARRAY_LEN(names)];

        if (image->bytes == NULL) {
                load_image(names[which % ARRAY_LEN(names)], image);
                find_used(image);
        }
        return image;
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
        static struct view v;

        if (size < 1)
                return 0;
        v = (struct view){ .image = choose_image(data[0]) };
        for (size_t at = 1; at + 4 < size && v.count < CHANGES_MAX;) {
                struct change *c = &v.change[v.count++];
                uint64_t off = (data[at] | (uint64_t)data[at + 1] << 8 | (uint64_t)data[at + 2] << 16) * 2;
                c->at = v.image->used[off / SECTOR % v.image->used_count] * (uint64_t)SECTOR + off % SECTOR;
                c->len = 1 + data[at + 3] % 4;
                for (unsigned i = 0; i < c->len && at + 4 + i < size; i++)
                        c->value[i] = data[at + 4 + i];
                at += 4 + c->len;
        }
        use_image(&v);
        return 0;
}
