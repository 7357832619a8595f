/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The ZFS reader on a pool of our own, tests/fuzz/images/zfs.img.zst: zt/ROOT/default with gzip,
 * zt/other with lzjb, each with a kernel of repeated text, links, a sparse file and long names;
 * and zfs_sa.img.zst, which OpenZFS 2.1 made: zs/ROOT/default with system attributes, lz4, dnodes of
 * 1 KiB, and links whose text lies in the first slot, in the second, and in a block of its own.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "boot/fs/unpack.h"
#include "boot/fs/zfs_impl.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct pool {
        struct blkdev_memory mem;
        struct blkdev dev;
};

static int
open_image(void **state, const char *path)
{
        static char packed[1 << 20];
        struct pool *p = calloc(1, sizeof(*p));
        FILE *f = fopen(path, "r");
        void *bytes;

        assert_non_null(f);
        size_t n = fread(packed, 1, sizeof(packed), f);
        fclose(f);
        assert_int_equal(unpack(packed, n, 128 << 20, &bytes, &p->mem.len), 0);
        p->mem.bytes = bytes;
        blkdev_from_memory(&p->mem, true, &p->dev);
        *state = p;
        return 0;
}

static int
open_pool(void **state)
{
        return open_image(state, "tests/fuzz/images/zfs.img.zst");
}

static int
open_sa_pool(void **state)
{
        return open_image(state, "tests/fuzz/images/zfs_sa.img.zst");
}

static int
close_pool(void **state)
{
        struct pool *p = *state;

        free(p->mem.bytes);
        free(p);
        return 0;
}

static void
check_text(struct fs *fs, const char *path, const char *want)
{
        struct fs_file f;
        char text[64] = "";

        assert_int_equal(fs_open(fs, path, &f), 0);
        assert_int_equal(fs_read(&f, 0, text, sizeof(text) - 1), strlen(want));
        assert_string_equal(text, want);
        assert_int_equal(fs_overwrite(&f, 0, "x", 1), -EROFS);
        fs_close(&f);
}

static void
check_kernel(struct fs *fs)
{
        static const char line[] = "a line of a kernel\n";
        void *bytes;
        size_t len;

        assert_int_equal(fs_load(fs, "/boot/kernel/kernel", 1 << 20, &bytes, &len), 0);
        assert_int_equal(len, 400000);
        for (size_t i = 0; i < len; i++)
                assert_int_equal(((char *)bytes)[i], line[i % (sizeof(line) - 1)]);
        free(bytes);
        assert_int_equal(fs_load(fs, "/boot/sparse", 2 << 20, &bytes, &len), 0);
        assert_int_equal(len, (1 << 20) + 3);
        for (size_t i = 0; i < 1 << 20; i++)
                assert_int_equal(((char *)bytes)[i], 0);
        assert_string_equal((char *)bytes + (1 << 20), "end");
        free(bytes);
}

static void
zfs_reads_files_links_and_large_tables(void **state)
{
        struct pool *p = *state;
        static const char *const names[] = {"zt/ROOT/default", "zt/other"};

        for (size_t i = 0; i < 2; i++) {
                struct fs *fs;
                char name[ZFS_NAME_MAX];
                assert_int_equal(zfs_mount_dataset(&p->dev, names[i], &fs), 0);
                assert_true(zfs_dataset_name(fs, name));
                assert_string_equal(name, names[i]);
                check_kernel(fs);
                check_text(fs, "/boot/link", "a=\"b\"\n");
                check_text(fs, "/longlink", "a=\"b\"\n");
                check_text(fs,
                    "/boot/names/a-name-that-does-not-fit-into-a-small-table-of-names-60", "60\n");
                fs_unmount(fs);
        }
}

static void
zfs_mount_takes_the_root_dataset_when_none_is_named(void **state)
{
        struct pool *p = *state;
        char name[ZFS_NAME_MAX];
        struct fs *fs;

        assert_int_equal(fs_mount(&p->dev, &fs, NULL), 0);
        assert_true(zfs_dataset_name(fs, name));
        assert_string_equal(name, "zt");
        fs_unmount(fs);
        assert_int_equal(zfs_mount_dataset(&p->dev, "zt/none", &fs), -ENOENT);
        assert_int_equal(zfs_mount_dataset(&p->dev, "other/ROOT", &fs), -ENOENT);
}

static void
fs_mount_names_zfs_when_it_refuses_it(void **state)
{
        struct pool *p = *state;
        const char *why = NULL;
        struct fs *fs;

        for (size_t i = 0; i + 20 < 512 * 1024; i++) {
                if (memcmp(p->mem.bytes + i, "type\0\0\0\x09\0\0\0\x01\0\0\0\x04" "file", 20) == 0)
                        memcpy(p->mem.bytes + i + 16, "hole", 4);
        }
        assert_int_equal(fs_mount(&p->dev, &fs, &why), -ENOTSUP);
        assert_string_equal(why, "zfs (neither one disk nor a mirror)");
}

static void
zfs_falls_back_to_the_second_label_and_older_uberblocks(void **state)
{
        struct pool *p = *state;
        struct fs *fs;

        memset(p->mem.bytes, 0, 256 * 1024);
        assert_int_equal(zfs_mount_dataset(&p->dev, "zt/other", &fs), 0);
        check_kernel(fs);
        fs_unmount(fs);
        memset(p->mem.bytes + 256 * 1024, 0, 256 * 1024);
        assert_int_equal(zfs_mount_dataset(&p->dev, "zt/other", &fs), -EINVAL);
}

static void
zfs_unpack_lz4_follows_matches_and_refuses_wild_ones(void **state)
{
        static const unsigned char good[] = {0, 0, 0, 7, 0x22, 'a', 'b', 2, 0, 0x10, 'c'};
        static const unsigned char longer[] = {0, 0, 0, 9, 0x1f, 'z', 1, 0, 255, 6, 0x20, 'e', 'f'};
        unsigned char out[300], bad[sizeof(good)];

        assert_int_equal(zfs_unpack(15, good, sizeof(good), out, 9), 0);
        assert_memory_equal(out, "ababababc", 9);
        assert_int_equal(zfs_unpack(15, good, sizeof(good), out, 8), -EIO);
        assert_int_equal(zfs_unpack(15, good, sizeof(good), out, 10), -EIO);
        assert_int_equal(zfs_unpack(15, longer, sizeof(longer), out, 1 + 280 + 2), 0);
        assert_int_equal(out[280], 'z');
        assert_int_equal(out[282], 'f');
        memcpy(bad, good, sizeof(good));
        bad[7] = 3; /* before the beginning */
        assert_int_equal(zfs_unpack(15, bad, sizeof(bad), out, 9), -EIO);
        bad[7] = 0;
        assert_int_equal(zfs_unpack(15, bad, sizeof(bad), out, 9), -EIO);
        assert_int_equal(zfs_unpack(15, good, 8, out, 9), -EIO);
        assert_int_equal(zfs_unpack(99, good, 8, out, 9), -ENOTSUP);
}

static void
links_of_large_dnodes_are_read(void **state)
{
        static const struct {
                const char *name, *start;
                char fill;
                size_t len;
        } links[] = {
                { "link", "short", '\0', 5 },
                { "longlink", "/a/very/long/target/", 'x', 200 },
                { "hugelink", "", 'y', 900 },
        };
        struct pool *p = *state;
        struct fs_cursor cur = { 0 };
        struct fs_dirent ent;
        struct fs_file dir;
        struct fs *fs;
        char text[1000];
        unsigned seen = 0;

        assert_int_equal(zfs_mount_dataset(&p->dev, NULL, &fs), 0);
        check_text(fs, "/etc/link", "short\n");
        assert_int_equal(fs_open(fs, "/etc", &dir), 0);
        while (fs_readdir(&dir, &cur, &ent) == 1) {
                for (unsigned i = 0; i < 3; i++) {
                        struct fs_node node;
                        size_t start = strlen(links[i].start);
                        if (strcmp(ent.name, links[i].name) != 0)
                                continue;
                        assert_int_equal(fs->ops->node(fs, &ent, &node), 0);
                        assert_int_equal(fs->ops->readlink(fs, &node, text, sizeof(text)), (int)links[i].len);
                        assert_memory_equal(text, links[i].start, start);
                        for (size_t at = start; at < links[i].len; at++)
                                assert_int_equal(text[at], links[i].fill);
                        seen++;
                }
        }
        fs_end_readdir(&dir, &cur);
        fs_close(&dir);
        assert_int_equal(seen, 3);
        fs_unmount(fs);
}

int
main(void)
{
#define POOL_TEST(t) cmocka_unit_test_setup_teardown(t, open_pool, close_pool)
        const struct CMUnitTest tests[] = {
            cmocka_unit_test_setup_teardown(links_of_large_dnodes_are_read, open_sa_pool, close_pool),
            POOL_TEST(zfs_reads_files_links_and_large_tables),
            POOL_TEST(zfs_mount_takes_the_root_dataset_when_none_is_named),
            POOL_TEST(fs_mount_names_zfs_when_it_refuses_it),
            POOL_TEST(zfs_falls_back_to_the_second_label_and_older_uberblocks),
            cmocka_unit_test(zfs_unpack_lz4_follows_matches_and_refuses_wild_ones),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
