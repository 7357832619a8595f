/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Fuzzes the partition tables: the input is the disk's first sectors (and, for
 * the backup GPT, its last).  CRCs are made right, or nothing would be reached.
 */
#include "fuzz.h"

#include "base/bytes.h"
#include "boot/fs/part.h"

#include <stdlib.h>
#include <zlib.h>

#define DISK (256 * 1024)

static void
mend_gpt(unsigned char *disk)
{
        unsigned char *h = disk + 512;

        if (memcmp(h, "EFI", 3) != 0)
                return;
        memcpy(h, "EFI PART", 8);
        put_le32(h + 8, 0x10000);
        put_le32(h + 12, 92);
        put_le64(h + 24, 1);
        uint64_t at = get_le64(h + 72) * 512, len = (uint64_t)get_le32(h + 80) * get_le32(h + 84);
        if (at < DISK && len <= DISK - at)
                put_le32(h + 88, (uint32_t)crc32(0, disk + at, (uInt)len));
        put_le32(h + 16, 0);
        put_le32(h + 16, (uint32_t)crc32(0, h, 92));
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
        unsigned char *disk = calloc(1, DISK);
        struct blkdev_memory mem = {disk, DISK};
        struct part_table table;
        struct blkdev dev, slice;

        if (!disk)
                return 0;
        memcpy(disk, data, size < DISK ? size : DISK);
        mend_gpt(disk);
        blkdev_from_memory(&mem, false, &dev);
        part_scan(&dev, &table);
        for (unsigned i = 0; i < table.count; i++) {
                const struct part *p = &table.parts[i];
                struct part_table inner;
                if (p->start_bytes > DISK || p->size_bytes > DISK - p->start_bytes)
                        abort();
                part_boot_rank(&table, p);
                if (blkdev_slice(&dev, p->start_bytes, p->size_bytes, &slice) == 0)
                        part_scan(&slice, &inner);
        }
        free(disk);
        return 0;
}
