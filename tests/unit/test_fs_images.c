/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The file-system readers against images that other programs made: one tree
 * of files is written by makefs, xorriso, mke2fs and mtools, and every file,
 * link and directory is read back and compared.  A missing tool is a skip.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "boot/fs/fs.h"
#include "boot/fs/hostfs.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static char work[64];

static void
run(const char *fmt, ...)
{
        char cmd[1024];
        va_list ap;
        va_start(ap, fmt);
        vsnprintf(cmd, sizeof(cmd), fmt, ap);
        va_end(ap);
        if (system(cmd) != 0)
                fail_msg("failed: %s", cmd);
}

static void
need_tool(const char *tool)
{
        char cmd[128];

        snprintf(cmd, sizeof(cmd), "PATH=$PATH:/sbin:/usr/sbin command -v %s >/dev/null", tool);
        if (system(cmd) != 0) {
                print_message("skip: %s is not installed\n", tool);
                skip();
        }
}

/* A tree with what readers find hard: deep paths, long names, links, empty and large files. */
static int
make_tree(void **state)
{
        snprintf(work, sizeof(work), "/tmp/bhyve-fs-XXXXXX");
        assert_non_null(mkdtemp(work));
        run("cd %s && mkdir -p tree/boot/kernel tree/boot/defaults tree/a/b/c/d/e/f/g/h/i/j", work);
        run("cd %s/tree && printf 'hello\\n' > boot/loader.conf && : > empty", work);
        run("cd %s/tree && printf deep > a/b/c/d/e/f/g/h/i/j/file", work);
        run("cd %s/tree && head -c 3000001 /dev/urandom > boot/kernel/kernel", work);
        run("cd %s/tree && head -c 98304 /dev/urandom > direct-only", work);
        run("cd %s/tree && seq 1 40000 > numbers && gzip -k numbers && rm numbers", work);
        run("cd %s/tree && seq 1 3000 > small && bzip2 small && seq 1 3000 > other && "
            "zstd -q --rm other",
            work);
        run("cd %s/tree && n=$(printf %%0200d 7) && printf long > boot/$n", work);
        run("cd %s/tree && for i in $(seq 1 300); do printf $i > a/file-with-a-name-$i; done",
            work);
        return 0;
}

static void
add_links(void)
{
        run("cd %s/tree && ln -s loader.conf boot/link && ln -s /boot/kernel kernel && "
            "ln -s ../../../../boot/../boot/link a/b/c/d/up && ln -s loop2 loop1 && "
            "ln -s loop1 loop2 && ln -s $(printf './%%.0s' $(seq 1 60))boot/link longlink && "
            "ln -s ../../../../../../etc/passwd out",
            work);
}

static int
drop_tree(void **state)
{
        run("rm -rf %s", work);
        return 0;
}

static struct fs *
mount_image(struct blkdev *dev, const char *name, const char *want)
{
        char path[256];
        struct fs *fs;

        snprintf(path, sizeof(path), "%s/%s", work, name);
        assert_int_equal(blkdev_open(path, true, dev), 0);
        assert_int_equal(fs_mount(dev, &fs, NULL), 0);
        assert_string_equal(fs->ops->name, want);
        return fs;
}

static void
compare_file(struct fs *a, struct fs *b, const char *path)
{
        struct fs_file fa, fb;

        assert_int_equal(fs_open(a, path, &fa), 0);
        int err = fs_open(b, path, &fb);
        if (err)
                fail_msg("%s: %s", path, strerror(-err));
        assert_int_equal(fa.node.size_bytes, fb.node.size_bytes);
        size_t size = fa.node.size_bytes;
        char *ba = malloc(size + 1), *bb = malloc(size + 1);
        assert_int_equal(fs_read(&fa, 0, ba, size + 1), size);
        assert_int_equal(fs_read(&fb, 0, bb, size + 1), size);
        assert_memory_equal(ba, bb, size);
        /* Odd offsets and lengths too. */
        for (size_t off = 1; off < size; off += 77777)
                for (size_t len = 1; len < 40000; len = len * 3 + 1) {
                        ssize_t n = fs_read(&fb, off, bb, len < size ? len : size);
                        assert_true(n > 0);
                        assert_memory_equal(ba + off, bb, (size_t)n);
                }
        free(ba);
        free(bb);
        fs_close(&fa);
        fs_close(&fb);
}

static unsigned
count_entries(struct fs *fs, const char *path)
{
        struct fs_file dir;
        struct fs_cursor cur = {0};
        struct fs_dirent ent;
        unsigned count = 0;
        int n;

        assert_int_equal(fs_open(fs, path, &dir), 0);
        while ((n = fs_readdir(&dir, &cur, &ent)) == 1)
                count++;
        assert_int_equal(n, 0);
        fs_end_readdir(&dir, &cur);
        fs_close(&dir);
        return count;
}

/* Every file under @path of @host is the same in @image, and no directory has more or fewer
 * entries. */
static void
compare_tree(struct fs *host, struct fs *image, const char *path)
{
        struct fs_file dir;
        struct fs_cursor cur = {0};
        struct fs_dirent ent;
        unsigned count = 0;

        assert_int_equal(fs_open(host, path, &dir), 0);
        while (fs_readdir(&dir, &cur, &ent) == 1) {
                char sub[1024];
                snprintf(sub, sizeof(sub), "%s/%s", path, ent.name);
                count++;
                if (ent.type == FS_TYPE_DIR)
                        compare_tree(host, image, sub);
                else if (ent.type == FS_TYPE_FILE)
                        compare_file(host, image, sub);
        }
        fs_end_readdir(&dir, &cur);
        fs_close(&dir);
        unsigned extra = path[0] == '\0' && strcmp(image->ops->name, "ext") == 0; /* lost+found */
        assert_int_equal(count_entries(image, path) - extra, count);
}

static void
check_loaded(struct fs *fs, const char *path, unsigned last)
{
        char tail[16];
        void *buf;
        size_t len;

        assert_int_equal(fs_load(fs, path, 1 << 20, &buf, &len), 0);
        snprintf(tail, sizeof(tail), "\n%u\n", last);
        assert_true(len > strlen(tail));
        assert_string_equal((char *)buf + len - strlen(tail), tail);
        free(buf);
        assert_int_equal(fs_load(fs, path, 1000, &buf, &len), -EFBIG);
}

static void
check_links(struct fs *fs)
{
        struct fs_file f;
        static const char *const same[] = {"/boot/link", "a/b/c/d/up", "/longlink",
            "/a/../boot/loader.conf", "//boot/./loader.conf"};

        for (size_t i = 0; i < sizeof(same) / sizeof(same[0]); i++) {
                char text[8] = "";
                assert_int_equal(fs_open(fs, same[i], &f), 0);
                assert_int_equal(fs_read(&f, 0, text, sizeof(text)), 6);
                assert_string_equal(text, "hello\n");
                fs_close(&f);
        }
        assert_int_equal(fs_open(fs, "/kernel/kernel", &f), 0);
        assert_int_equal(f.node.size_bytes, 3000001);
        fs_close(&f);
        assert_int_equal(fs_open(fs, "/loop1", &f), -ELOOP);
        assert_int_equal(fs_open(fs, "/out", &f), -ENOENT);
        assert_int_equal(fs_open(fs, "/empty/x", &f), -ENOTDIR);
        assert_int_equal(fs_open(fs, "/no/such", &f), -ENOENT);
}

static void
check_image(const char *name, const char *kind, bool links)
{
        char path[128];
        struct blkdev dev;
        struct fs *host, *fs = mount_image(&dev, name, kind);

        snprintf(path, sizeof(path), "%s/tree", work);
        assert_int_equal(hostfs_mount(path, &host), 0);
        compare_tree(host, fs, "");
        check_loaded(fs, "/numbers", 40000);
        check_loaded(fs, "/small", 3000);
        check_loaded(fs, "/other", 3000);
        if (links)
                check_links(fs);
        fs_unmount(fs);
        fs_unmount(host);
        blkdev_close(&dev);
}

static void
check_overwrite(const char *name, const char *kind)
{
        struct blkdev dev;
        struct fs *fs = mount_image(&dev, name, kind);
        struct fs_file f;
        char text[8] = "";

        assert_int_equal(fs_open(fs, "/boot/loader.conf", &f), 0);
        assert_int_equal(fs_overwrite(&f, 1, "OL", 2), 0);
        assert_int_equal(fs_overwrite(&f, 5, "xx", 2), -EINVAL);
        fs_close(&f);
        fs_unmount(fs);
        blkdev_close(&dev);
        fs = mount_image(&dev, name, kind);
        assert_int_equal(fs_open(fs, "/boot/loader.conf", &f), 0);
        assert_int_equal(fs_read(&f, 0, text, sizeof(text)), 6);
        assert_string_equal(text, "hOLlo\n");
        fs_close(&f);
        fs_unmount(fs);
        blkdev_close(&dev);
}

/* FAT knows neither links nor case; it goes first, before links join the tree. */
static void
fat_reads_what_mtools_wrote(void **state)
{
        need_tool("mkfs.fat");
        need_tool("mcopy");
        static const struct {
                unsigned bits, kib;
        } kinds[] = {{12, 8000}, {16, 32768}, {32, 70000}};
        for (size_t i = 0; i < 3; i++) {
                run("cd %s && PATH=$PATH:/sbin:/usr/sbin && rm -f fat.img && "
                    "truncate -s %uK fat.img && mkfs.fat -F %u %s fat.img >/dev/null && "
                    "mcopy -s -i fat.img tree/* ::/",
                    work, kinds[i].kib, kinds[i].bits, kinds[i].bits == 32 ? "-s 1" : "");
                check_image("fat.img", "fat", false);
                check_overwrite("fat.img", "fat");
        }
        run("rm %s/fat.img", work);
        add_links();
}

static void
cd9660_reads_rock_ridge(void **state)
{
        need_tool("xorriso");
        run("cd %s && xorriso -as mkisofs -quiet -R -o r.iso tree 2>/dev/null", work);
        check_image("r.iso", "cd9660", true);
}

static void
cd9660_without_rock_ridge_ignores_case_and_version(void **state)
{
        need_tool("xorriso");
        struct blkdev dev;
        struct fs_file f;
        run("cd %s && xorriso -as mkisofs -quiet --norock -o p.iso tree/boot 2>/dev/null", work);
        struct fs *fs = mount_image(&dev, "p.iso", "cd9660");
        assert_int_equal(fs_open(fs, "/kernel/kernel", &f), 0);
        assert_int_equal(f.node.size_bytes, 3000001);
        fs_close(&f);
        fs_unmount(fs);
        blkdev_close(&dev);
}

static void
ufs_reads_what_makefs_wrote(void **state)
{
        need_tool("makefs");
        static const struct {
                unsigned version, block, frag;
        } kinds[] = {{1, 4096, 512}, {1, 8192, 1024}, {1, 16384, 2048}, {1, 65536, 8192},
            {2, 4096, 4096}, {2, 8192, 1024}, {2, 16384, 2048}, {2, 32768, 4096},
            {2, 65536, 65536}};
        for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++) {
                run("cd %s && makefs -t ffs -b 10%% -o version=%u,bsize=%u,fsize=%u u.img tree "
                    ">/dev/null",
                    work, kinds[i].version, kinds[i].block, kinds[i].frag);
                check_image("u.img", "ufs", true);
                check_overwrite("u.img", "ufs");
        }
}

static void
ext_reads_what_mke2fs_wrote(void **state)
{
        need_tool("mke2fs");
        static const char *const kinds[] = {"-t ext2 -b 1024", "-t ext3 -b 4096", "-t ext4",
            "-t ext4 -b 1024 -O 64bit,meta_bg,^resize_inode", "-t ext4 -O ^extents,^64bit",
            "-t ext2 -r 0 -b 2048"};
        for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++) {
                run("cd %s && rm -f e.img && PATH=$PATH:/sbin:/usr/sbin mke2fs -q %s -d tree "
                    "e.img 40M 2>/dev/null",
                    work, kinds[i]);
                check_image("e.img", "ext", true);
                check_overwrite("e.img", "ext");
        }
}

static void
hostfs_keeps_inside_its_directory(void **state)
{
        char path[128], text[8] = "";
        struct fs *fs;
        struct fs_file f;

        run("cd %s/tree && ln -s /etc/passwd absolute && mkfifo fifo && ln -s .. parent", work);
        snprintf(path, sizeof(path), "%s/tree", work);
        assert_int_equal(hostfs_mount(path, &fs), 0);
        check_links(fs);
        assert_int_equal(fs_open(fs, "/absolute", &f), -ENOENT);
        assert_int_equal(fs_open(fs, "../../../etc/passwd", &f), -ENOENT);
        assert_int_equal(fs_open(fs, "/fifo", &f), -EINVAL);
        assert_int_equal(fs_open(fs, "/parent/parent/boot/loader.conf", &f), 0);
        assert_int_equal(fs_read(&f, 0, text, sizeof(text)), 6);
        assert_int_equal(fs_overwrite(&f, 0, "x", 1), -ENOTSUP);
        fs_close(&f);
        fs_unmount(fs);
        run("cd %s/tree && rm absolute fifo parent", work);
}

int
main(void)
{
        const struct CMUnitTest tests[] = {
            cmocka_unit_test(fat_reads_what_mtools_wrote),
            cmocka_unit_test(cd9660_reads_rock_ridge),
            cmocka_unit_test(cd9660_without_rock_ridge_ignores_case_and_version),
            cmocka_unit_test(ufs_reads_what_makefs_wrote),
            cmocka_unit_test(ext_reads_what_mke2fs_wrote),
            cmocka_unit_test(hostfs_keeps_inside_its_directory),
        };
        return cmocka_run_group_tests(tests, make_tree, drop_tree);
}
