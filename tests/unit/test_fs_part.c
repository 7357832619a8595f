/* SPDX-License-Identifier: BSD-2-Clause */
/* Partition tables written by hand, whole and damaged. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "base/bytes.h"
#include "boot/fs/fs.h"
#include "boot/fs/part.h"
#include "boot/fs/unpack.h"

#include <errno.h>
#include <stdlib.h>
#include <zlib.h>

#define SECTORS 4096u

struct disk {
        unsigned char bytes[SECTORS * 512];
        struct blkdev_memory mem;
        struct blkdev dev;
        struct part_table table;
};

static int
make_disk(void **state)
{
        struct disk *d = calloc(1, sizeof(*d));

        d->mem = (struct blkdev_memory){d->bytes, sizeof(d->bytes)};
        blkdev_from_memory(&d->mem, false, &d->dev);
        *state = d;
        return 0;
}

static int
drop_disk(void **state)
{
        free(*state);
        return 0;
}

static void
put_mbr(
    unsigned char *sector, unsigned i, unsigned flag, unsigned type, uint32_t start, uint32_t size)
{
        unsigned char *e = sector + 446 + 16 * i;

        e[0] = (unsigned char)flag;
        e[4] = (unsigned char)type;
        put_le32(e + 8, start);
        put_le32(e + 12, size);
        sector[510] = 0x55;
        sector[511] = 0xaa;
}

static void
put_gpt(struct disk *d, uint64_t lba, uint64_t table_lba)
{
        unsigned char *h = d->bytes + lba * 512, *t = d->bytes + table_lba * 512;
        static const unsigned char ufs[16] = {0xb6, 0x7c, 0x6e, 0x51, 0xcf, 0x6e, 0xd6, 0x11, 0x8f,
            0xf8, 0x00, 0x02, 0x2d, 0x09, 0x71, 0x2b};

        memcpy(t + 128, ufs, 16);
        put_le64(t + 128 + 32, 100);
        put_le64(t + 128 + 40, 199);
        put_le64(t + 128 + 48, 1ull << 59);
        memcpy(h, "EFI PART", 8);
        put_le32(h + 8, 0x10000);
        put_le32(h + 12, 92);
        put_le64(h + 24, lba);
        put_le64(h + 72, table_lba);
        put_le32(h + 80, 128);
        put_le32(h + 84, 128);
        put_le32(h + 88, (uint32_t)crc32(0, t, 128 * 128));
        put_le32(h + 16, 0);
        put_le32(h + 16, (uint32_t)crc32(0, h, 92));
}

static void
check_ufs_partition(const struct disk *d)
{
        assert_int_equal(d->table.scheme, PART_SCHEME_GPT);
        assert_int_equal(d->table.count, 1);
        const struct part *p = part_find(&d->table, 2);
        assert_non_null(p);
        assert_int_equal(p->type, PART_FREEBSD_UFS);
        assert_true(p->active);
        assert_int_equal(p->start_bytes, 100 * 512);
        assert_int_equal(p->size_bytes, 100 * 512);
        assert_true(part_boot_rank(&d->table, p) > 0);
}

static void
part_scan_reads_gpt_behind_a_protective_mbr(void **state)
{
        struct disk *d = *state;

        put_mbr(d->bytes, 0, 0, 0xee, 1, SECTORS - 1);
        put_gpt(d, 1, 2);
        part_scan(&d->dev, &d->table);
        check_ufs_partition(d);
}

static void
part_scan_uses_the_backup_gpt_when_the_first_is_damaged(void **state)
{
        struct disk *d = *state;

        put_mbr(d->bytes, 0, 0, 0xee, 1, SECTORS - 1);
        put_gpt(d, 1, 2);
        put_gpt(d, SECTORS - 1, SECTORS - 33);
        d->bytes[512 + 40]++;
        part_scan(&d->dev, &d->table);
        check_ufs_partition(d);
        d->bytes[(SECTORS - 33) * 512 + 5]++;
        part_scan(&d->dev, &d->table);
        assert_int_not_equal(d->table.scheme, PART_SCHEME_GPT);
}

static void
part_scan_cuts_a_partition_at_the_end_of_the_disk(void **state)
{
        struct disk *d = *state;

        put_mbr(d->bytes, 0, 0x80, 0xa5, 63, 0xffffffff);
        put_mbr(d->bytes, 1, 0, 0xa5, 0xfffffff0, 0xffffffff);
        part_scan(&d->dev, &d->table);
        assert_int_equal(d->table.scheme, PART_SCHEME_MBR);
        assert_int_equal(d->table.count, 1);
        assert_int_equal(d->table.parts[0].size_bytes, (SECTORS - 63) * 512);
}

static void
part_scan_finds_logical_partitions_and_ends_loops(void **state)
{
        struct disk *d = *state;

        put_mbr(d->bytes, 0, 0, 0x0f, 1000, 2000);
        put_mbr(d->bytes + 1000 * 512, 0, 0, 0x83, 10, 20);
        put_mbr(d->bytes + 1000 * 512, 1, 0, 0x05, 500, 100);
        put_mbr(d->bytes + 1500 * 512, 0, 0, 0xa5, 7, 9);
        part_scan(&d->dev, &d->table);
        assert_int_equal(d->table.count, 2);
        assert_int_equal(part_find(&d->table, 5)->start_bytes, 1010 * 512);
        assert_int_equal(part_find(&d->table, 6)->start_bytes, 1507 * 512);
        assert_int_equal(part_find(&d->table, 6)->type, PART_FREEBSD);
        put_mbr(d->bytes + 1500 * 512, 1, 0, 0x05, 500, 100); /* itself */
        part_scan(&d->dev, &d->table);
        assert_true(d->table.count < 64);
}

static void
part_scan_subtracts_where_a_bsd_label_counts_from_the_disk(void **state)
{
        struct disk *d = *state;
        struct blkdev slice;
        unsigned char *s = d->bytes + 64 * 512;

        put_mbr(d->bytes, 0, 0x80, 0xa5, 63, 2000);
        put_le32(s, 0x82564557);
        put_le32(s + 132, 0x82564557);
        put_le32(s + 40, 512);
        put_le16(s + 138, 8);
        put_le32(s + 148, 500); /* a */
        put_le32(s + 152, 63 + 16);
        s[160] = 7;
        put_le32(s + 148 + 32, 2000); /* c */
        put_le32(s + 152 + 32, 63);
        part_scan(&d->dev, &d->table);
        const struct part *p = part_find(&d->table, 1);
        assert_int_equal(blkdev_slice(&d->dev, p->start_bytes, p->size_bytes, &slice), 0);
        part_scan(&slice, &d->table);
        assert_int_equal(d->table.scheme, PART_SCHEME_BSD);
        assert_int_equal(d->table.count, 1);
        assert_int_equal(d->table.parts[0].start_bytes, 16 * 512);
        assert_int_equal(d->table.parts[0].type, PART_FREEBSD_UFS);
        put_le16(s + 138, 21);
        part_scan(&slice, &d->table);
        assert_int_equal(d->table.scheme, PART_SCHEME_NONE);
}

static void
blkdev_read_refuses_what_leaves_a_slice(void **state)
{
        struct disk *d = *state;
        struct blkdev slice;
        char buf[16];

        assert_int_equal(blkdev_slice(&d->dev, 1000, 100, &slice), 0);
        assert_int_equal(blkdev_read(&slice, 84, buf, 16), 0);
        assert_int_equal(blkdev_read(&slice, 85, buf, 16), -EIO);
        assert_int_equal(blkdev_read(&slice, UINT64_MAX, buf, 16), -EIO);
        assert_int_equal(blkdev_write(&slice, 0, buf, 16), -EROFS);
        assert_int_equal(blkdev_slice(&slice, 101, 1, &slice), -ERANGE);
        assert_int_equal(blkdev_slice(&slice, 50, UINT64_MAX, &slice), 0);
        assert_int_equal(slice.size_bytes, 50);
        assert_int_equal(slice.start_bytes, 1050);
}

static void
unpack_refuses_cut_and_damaged_data(void **state)
{
        unsigned char packed[4096];
        void *out;
        size_t len, plain_len = 100000;
        unsigned char *plain = calloc(1, plain_len);
        z_stream z = {.next_in = plain,
            .avail_in = (uInt)plain_len,
            .next_out = packed,
            .avail_out = sizeof(packed)};

        assert_int_equal(deflateInit2(&z, 9, Z_DEFLATED, 31, 9, Z_DEFAULT_STRATEGY), Z_OK);
        assert_int_equal(deflate(&z, Z_FINISH), Z_STREAM_END);
        size_t n = sizeof(packed) - z.avail_out;
        deflateEnd(&z);
        assert_int_equal(unpack(packed, n, 200000, &out, &len), 0);
        assert_int_equal(len, plain_len);
        free(out);
        assert_int_equal(unpack(packed, n, 99999, &out, &len), -EFBIG);
        assert_int_equal(unpack(packed, n - 9, 200000, &out, &len), -EIO);
        packed[n - 5] ^= 1; /* the CRC */
        assert_int_equal(unpack(packed, n, 200000, &out, &len), -EIO);
        free(plain);
}

int
main(void)
{
#define DISK_TEST(t) cmocka_unit_test_setup_teardown(t, make_disk, drop_disk)
        const struct CMUnitTest tests[] = {
            DISK_TEST(part_scan_reads_gpt_behind_a_protective_mbr),
            DISK_TEST(part_scan_uses_the_backup_gpt_when_the_first_is_damaged),
            DISK_TEST(part_scan_cuts_a_partition_at_the_end_of_the_disk),
            DISK_TEST(part_scan_finds_logical_partitions_and_ends_loops),
            DISK_TEST(part_scan_subtracts_where_a_bsd_label_counts_from_the_disk),
            DISK_TEST(blkdev_read_refuses_what_leaves_a_slice),
            DISK_TEST(unpack_refuses_cut_and_damaged_data),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
