/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Fuzzes the loader as a whole, over a file system of the fuzzer's own: the
 * input is cut at bytes 0xff into keys typed, then the contents of
 * loader.conf, linker.hints, loader.help, fstab and a file of commands; every
 * other path with "kernel" in it is a small kernel.
 */
#include "fuzz.h"

#include "base/util.h"
#include "boot/fbsd/loader_impl.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PARTS 6u

struct part_bytes {
        const uint8_t *bytes;
        size_t len;
};

struct world {
        struct part_bytes part[PARTS];
        struct part_bytes kernel;
        size_t typed;
        unsigned keys; /* given in all: ends endless loops */
};

struct world_fs {
        struct fs fs;
        struct world *world;
};

static const struct part_bytes *
file_for(const struct world *w, const char *path)
{
        static const char *const names[PARTS] = {
            "", "loader.conf", "linker.hints", "loader.help", "fstab", "commands"};

        for (unsigned i = 1; i < PARTS; i++) {
                if (strstr(path, names[i]))
                        return &w->part[i];
        }
        return strstr(path, "/kernel/kernel") && !strstr(path, "kernel.") ? &w->kernel : NULL;
}

static int
world_open(struct fs *fs, const char *path, struct fs_node *ret_node)
{
        struct world *w = container_of(fs, struct world_fs, fs)->world;
        const struct part_bytes *p = file_for(w, path);
        size_t len = strlen(path);

        memset(ret_node, 0, sizeof(*ret_node));
        if (!p && len > 6 && strcmp(path + len - 6, "kernel") == 0) {
                ret_node->type = FS_TYPE_DIR;
                return 0;
        }
        if (!p)
                return -ENOENT;
        ret_node->type = FS_TYPE_FILE;
        ret_node->size_bytes = p->len;
        ret_node->priv.handle = (void *)p;
        return 0;
}

static int
world_read(struct fs *fs, const struct fs_node *node, uint64_t off, void *buf, size_t len)
{
        const struct part_bytes *p = node->priv.handle;

        memcpy(buf, p->bytes + off, len);
        return 0;
}

static int
world_readdir(
    struct fs *fs, const struct fs_node *dir, struct fs_cursor *cur, struct fs_dirent *ret_ent)
{
        if (cur->pos++ > 3)
                return 0;
        snprintf(ret_ent->name, sizeof(ret_ent->name), "%u.conf", (unsigned)cur->pos);
        ret_ent->type = FS_TYPE_FILE;
        return 1;
}

static void
world_unmount(struct fs *fs)
{
        free(container_of(fs, struct world_fs, fs));
}

static const struct fs_ops world_ops = {
    .name = "world",
    .unmount = world_unmount,
    .open_path = world_open,
    .read = world_read,
    .readdir = world_readdir,
};

static int
world_get(void *ctx, int timeout_ms)
{
        struct world *w = ctx;

        if (++w->keys > 100000)
                return CONSOLE_STOP;
        return w->typed < w->part[0].len ? w->part[0].bytes[w->typed++] : CONSOLE_END;
}

static void
world_put(void *ctx, const char *text, size_t len)
{
}

static void
load_kernel(struct world *w)
{
        static uint8_t kernel[65536];
        static size_t len;
        const char *dir = getenv("FUZZ_IMAGES_DIR");
        char path[512];

        snprintf(path, sizeof(path), "%s/../corpus/elf/k64", dir ? dir : "tests/fuzz/images");
        FILE *f = len ? NULL : fopen(path, "r");
        if (f) {
                len = fread(kernel, 1, sizeof(kernel), f);
                fclose(f);
        }
        /* The corpus has a byte in front. */
        w->kernel = (struct part_bytes){kernel + 1, len ? len - 1 : 0};
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
        static const struct console_ops ops = {world_get, world_put};
        static struct guest_mem *mem;
        struct world w = {.typed = 0};
        struct x86_state state = {0};
        struct console con;
        struct loader *l;

        if (!mem && mem_create(-1, 16 * MIB, &mem))
                abort();
        for (unsigned i = 0; i < PARTS; i++) {
                const uint8_t *end = size ? memchr(data, 0xff, size) : NULL;
                size_t n = end ? (size_t)(end - data) : size;
                w.part[i] = (struct part_bytes){data, n};
                data += n + (end != NULL);
                size -= n + (end != NULL);
        }
        load_kernel(&w);
        console_init(&con, &ops, &w, false);
        struct world_fs *fs = calloc(1, sizeof(*fs));
        if (!fs || loader_create(mem, &con, &l))
                abort();
        fs->fs.ops = &world_ops;
        fs->world = &w;
        l->devs.host = &fs->fs;
        loader_run(l, &state);
        loader_destroy(l);
        console_finish(&con);
        return 0;
}
