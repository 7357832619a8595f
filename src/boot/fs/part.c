/* SPDX-License-Identifier: BSD-2-Clause */
/* Partition tables.  See part.h. */
#include "boot/fs/part.h"

#include "base/bytes.h"
#include "base/util.h"

#include <stdlib.h>
#include <zlib.h>

#define MBR_TABLE      446
#define MBR_ENTRY_SIZE 16
#define MBR_MAX_CHAIN  32 /* logical partitions followed at the most */

#define GPT_MAX_TABLE_BYTES (64 * PART_SECTOR)

#define BSD_MAGIC    0x82564557u
#define BSD_ENTRIES  148
#define BSD_MAX      20
#define BSD_MIN      8
#define BSD_RAW_PART 2 /* 'c': the whole slice */

static void
table_add(struct part_table *t, const struct blkdev *dev, struct part part)
{
        if (t->count == PART_MAX || part.size_bytes == 0 || part.start_bytes >= dev->size_bytes)
                return;
        if (part.size_bytes > dev->size_bytes - part.start_bytes)
                part.size_bytes = dev->size_bytes - part.start_bytes;
        t->parts[t->count++] = part;
}

/* --- GPT --- */

struct gpt_type {
        unsigned char guid[16]; /* as on disk: the first three fields little-endian */
        enum part_type type;
};

/* 516e7cbX-6ecf-11d6-8ff8-00022d09712b */
#define FREEBSD_GUID(x)                                                                            \
        {                                                                                          \
                0xb0 | (x), 0x7c, 0x6e, 0x51, 0xcf, 0x6e, 0xd6, 0x11, 0x8f, 0xf8, 0x00, 0x02,      \
                    0x2d, 0x09, 0x71, 0x2b                                                         \
        }

static const struct gpt_type gpt_types[] = {
    {FREEBSD_GUID(4), PART_FREEBSD},
    {FREEBSD_GUID(5), PART_FREEBSD_SWAP},
    {FREEBSD_GUID(6), PART_FREEBSD_UFS},
    {FREEBSD_GUID(8), PART_FREEBSD_VINUM},
    {FREEBSD_GUID(0xa), PART_FREEBSD_ZFS},
    {{0x9d, 0x6b, 0xbd, 0x83, 0x41, 0x7f, 0xdc, 0x11, 0xbe, 0x0b, 0x00, 0x15, 0x60, 0xb8, 0x4f,
         0x0f},
        PART_FREEBSD_BOOT},
    {{0x28, 0x73, 0x2a, 0xc1, 0x1f, 0xf8, 0xd2, 0x11, 0xba, 0x4b, 0x00, 0xa0, 0xc9, 0x3e, 0xc9,
         0x3b},
        PART_EFI},
    {{0xa2, 0xa0, 0xd0, 0xeb, 0xe5, 0xb9, 0x33, 0x44, 0x87, 0xc0, 0x68, 0xb6, 0xb7, 0x26, 0x99,
         0xc7},
        PART_BASIC_DATA},
    {{0xaf, 0x3d, 0xc6, 0x0f, 0x83, 0x84, 0x72, 0x47, 0x8e, 0x79, 0x3d, 0x69, 0xd8, 0x47, 0x7d,
         0xe4},
        PART_LINUX},
    {{0x6d, 0xfd, 0x57, 0x06, 0xab, 0xa4, 0xc4, 0x43, 0x84, 0xe5, 0x09, 0x33, 0xc8, 0x4b, 0x4f,
         0x4f},
        PART_LINUX_SWAP},
};

static enum part_type
gpt_type(const unsigned char *guid)
{
        for (size_t i = 0; i < ARRAY_LEN(gpt_types); i++) {
                if (memcmp(guid, gpt_types[i].guid, 16) == 0)
                        return gpt_types[i].type;
        }
        return PART_OTHER;
}

/* Reads and checks the header at @lba and its table, which the caller frees.  NULL: not valid. */
static unsigned char *
gpt_read_table(const struct blkdev *dev, uint64_t lba, uint32_t *ret_count, uint32_t *ret_entry)
{
        unsigned char h[PART_SECTOR];

        if (lba > UINT64_MAX / PART_SECTOR || blkdev_read(dev, lba * PART_SECTOR, h, sizeof(h)))
                return NULL;
        uint32_t hdr_len = get_le32(h + 12);
        if (memcmp(h, "EFI PART", 8) != 0 || get_le32(h + 8) != 0x10000 || hdr_len < 92 ||
            hdr_len > sizeof(h) || get_le64(h + 24) != lba)
                return NULL;
        uint32_t crc = get_le32(h + 16);
        put_le32(h + 16, 0);
        if ((uint32_t)crc32(0, h, hdr_len) != crc)
                return NULL;

        uint64_t table_lba = get_le64(h + 72);
        uint32_t count = get_le32(h + 80), entry = get_le32(h + 84);
        if (entry < 128 || entry > PART_SECTOR || count > GPT_MAX_TABLE_BYTES / entry ||
            table_lba > UINT64_MAX / PART_SECTOR)
                return NULL;
        size_t len = (size_t)count * entry;
        unsigned char *table = malloc(len ? len : 1);
        if (!table)
                return NULL;
        if (blkdev_read(dev, table_lba * PART_SECTOR, table, len) ||
            (uint32_t)crc32(0, table, (uInt)len) != get_le32(h + 88)) {
                free(table);
                return NULL;
        }
        *ret_count = count;
        *ret_entry = entry;
        return table;
}

static bool
gpt_scan(const struct blkdev *dev, struct part_table *t)
{
        static const unsigned char unused[16];
        uint32_t count, entry;
        unsigned char *table = gpt_read_table(dev, 1, &count, &entry);

        if (!table && dev->size_bytes >= 2 * PART_SECTOR)
                table = gpt_read_table(dev, dev->size_bytes / PART_SECTOR - 1, &count, &entry);
        if (!table)
                return false;
        t->scheme = PART_SCHEME_GPT;
        for (uint32_t i = 0; i < count; i++) {
                const unsigned char *e = table + (size_t)i * entry;
                uint64_t first = get_le64(e + 32), last = get_le64(e + 40);
                if (memcmp(e, unused, 16) == 0 || last < first || last >= UINT64_MAX / PART_SECTOR)
                        continue;
                table_add(t, dev,
                    (struct part){
                        .index = i + 1,
                        .type = gpt_type(e),
                        .active = (get_le64(e + 48) >> 59) & 1,
                        .start_bytes = first * PART_SECTOR,
                        .size_bytes = (last - first + 1) * PART_SECTOR,
                    });
        }
        free(table);
        return true;
}

/* --- MBR --- */

static enum part_type
mbr_type(unsigned char id)
{
        switch (id) {
        case 0xa5:
                return PART_FREEBSD;
        case 0x01:
        case 0x04:
        case 0x06:
        case 0x0b:
        case 0x0c:
        case 0x0e:
                return PART_FAT;
        case 0xef:
                return PART_EFI;
        case 0x82:
                return PART_LINUX_SWAP;
        case 0x83:
                return PART_LINUX;
        default:
                return PART_OTHER;
        }
}

static bool
mbr_is_extended(unsigned char id)
{
        return id == 0x05 || id == 0x0f || id == 0x85;
}

static struct part
mbr_part(const unsigned char *e, unsigned index, uint64_t base_sector)
{
        return (struct part){
            .index = index,
            .type = mbr_type(e[4]),
            .active = (e[0] & 0x80) != 0,
            .start_bytes = (base_sector + get_le32(e + 8)) * PART_SECTOR,
            .size_bytes = (uint64_t)get_le32(e + 12) * PART_SECTOR,
        };
}

/* Logical partitions: a chain of tables, each naming one partition and the next table. */
static void
mbr_scan_logical(const struct blkdev *dev, uint32_t ext_sector, struct part_table *t)
{
        uint64_t at = ext_sector;

        for (unsigned i = 0; i < MBR_MAX_CHAIN; i++) {
                unsigned char s[PART_SECTOR];
                if (blkdev_read(dev, at * PART_SECTOR, s, sizeof(s)) || s[510] != 0x55 ||
                    s[511] != 0xaa)
                        return;
                const unsigned char *e = s + MBR_TABLE;
                if (e[4] != 0)
                        table_add(t, dev, mbr_part(e, 5 + i, at));
                e += MBR_ENTRY_SIZE;
                if (!mbr_is_extended(e[4]) || get_le32(e + 8) == 0)
                        return;
                at = (uint64_t)ext_sector + get_le32(e + 8);
        }
}

static bool
mbr_plausible(const unsigned char *s)
{
        for (unsigned i = 0; i < 4; i++) {
                unsigned char flag = s[MBR_TABLE + i * MBR_ENTRY_SIZE];
                if (flag != 0 && flag != 0x80)
                        return false;
        }
        return true;
}

static void
mbr_scan(const struct blkdev *dev, const unsigned char *s, struct part_table *t)
{
        if (!mbr_plausible(s))
                return;
        for (unsigned i = 0; i < 4; i++) {
                const unsigned char *e = s + MBR_TABLE + i * MBR_ENTRY_SIZE;
                if (e[4] == 0)
                        continue;
                t->scheme = PART_SCHEME_MBR;
                if (mbr_is_extended(e[4]))
                        mbr_scan_logical(dev, get_le32(e + 8), t);
                else
                        table_add(t, dev, mbr_part(e, i + 1, 0));
        }
}

/* --- BSD label --- */

static enum part_type
bsd_type(unsigned char id)
{
        switch (id) {
        case 1:
                return PART_FREEBSD_SWAP;
        case 7:
                return PART_FREEBSD_UFS;
        case 14:
                return PART_FREEBSD_VINUM;
        case 27:
                return PART_FREEBSD_ZFS;
        default:
                return PART_OTHER;
        }
}

/*
 * Offsets in a label may count from the start of the disk or of the slice;
 * partition 'c' begins at the slice's start and so tells which.
 */
static bool
bsd_scan(const struct blkdev *dev, struct part_table *t)
{
        unsigned char s[PART_SECTOR];

        if (blkdev_read(dev, PART_SECTOR, s, sizeof(s)) || get_le32(s) != BSD_MAGIC ||
            get_le32(s + 132) != BSD_MAGIC)
                return false;
        unsigned count = get_le16(s + 138);
        if (get_le32(s + 40) != PART_SECTOR || count < BSD_MIN || count > BSD_MAX)
                return false;
        uint32_t base = get_le32(s + BSD_ENTRIES + BSD_RAW_PART * 16 + 4);

        t->scheme = PART_SCHEME_BSD;
        for (unsigned i = 0; i < count; i++) {
                const unsigned char *e = s + BSD_ENTRIES + i * 16;
                uint32_t size = get_le32(e), start = get_le32(e + 4);
                if (i == BSD_RAW_PART || size == 0 || start < base)
                        continue;
                table_add(t, dev,
                    (struct part){
                        .index = i,
                        .type = bsd_type(e[12]),
                        .start_bytes = (uint64_t)(start - base) * PART_SECTOR,
                        .size_bytes = (uint64_t)size * PART_SECTOR,
                    });
        }
        return true;
}

void
part_scan(const struct blkdev *dev, struct part_table *ret_table)
{
        struct part_table *t = ret_table;
        unsigned char s[PART_SECTOR];

        memset(t, 0, sizeof(*t));
        if (bsd_scan(dev, t))
                return;
        if (blkdev_read(dev, 0, s, sizeof(s)))
                return;
        bool has_mbr = s[510] == 0x55 && s[511] == 0xaa;
        bool protective = false;
        for (unsigned i = 0; has_mbr && i < 4; i++)
                protective |= s[MBR_TABLE + i * MBR_ENTRY_SIZE + 4] == 0xee;
        if ((!has_mbr || protective) && gpt_scan(dev, t))
                return;
        if (has_mbr)
                mbr_scan(dev, s, t);
}

const struct part *
part_find(const struct part_table *table, unsigned index)
{
        for (unsigned i = 0; i < table->count; i++) {
                if (table->parts[i].index == index)
                        return &table->parts[i];
        }
        return NULL;
}

static unsigned
mbr_rank(const struct part *part)
{
        switch (part->type) {
        case PART_FREEBSD:
                return part->active ? 6 : 5;
        case PART_LINUX:
                return part->active ? 4 : 3;
        case PART_FAT:
        case PART_EFI:
                return 1;
        default:
                return 0;
        }
}

unsigned
part_boot_rank(const struct part_table *table, const struct part *part)
{
        if (table->scheme == PART_SCHEME_MBR)
                return mbr_rank(part);
        switch (part->type) {
        case PART_FREEBSD_UFS:
        case PART_FREEBSD_ZFS:
                return part->active ? 6 : 5;
        case PART_LINUX:
                return 3;
        case PART_BASIC_DATA:
                return 2;
        case PART_EFI:
        case PART_FAT:
                return 1;
        default:
                return 0;
        }
}

const char *
part_type_name(enum part_type type)
{
        static const char *const names[] = {
            [PART_OTHER] = "unknown",
            [PART_FREEBSD] = "FreeBSD",
            [PART_FREEBSD_BOOT] = "FreeBSD boot",
            [PART_FREEBSD_UFS] = "FreeBSD UFS",
            [PART_FREEBSD_ZFS] = "FreeBSD ZFS",
            [PART_FREEBSD_SWAP] = "FreeBSD swap",
            [PART_FREEBSD_VINUM] = "FreeBSD vinum",
            [PART_FAT] = "DOS/Windows",
            [PART_EFI] = "EFI",
            [PART_BASIC_DATA] = "MS basic data",
            [PART_LINUX] = "Linux",
            [PART_LINUX_SWAP] = "Linux swap",
        };
        return names[type];
}
