/* SPDX-License-Identifier: BSD-2-Clause */
/* The ATA commands of a disk (ACS 7). */
#include "base/bytes.h"
#include "base/util.h"
#include "dev/pci/ahci_port.h"

#define ATA_DATA_SET_MANAGEMENT 0x06
#define ATA_READ_SECTORS        0x20
#define ATA_READ_SECTORS_EXT    0x24
#define ATA_READ_DMA_EXT        0x25
#define ATA_READ_MULTIPLE_EXT   0x29
#define ATA_READ_LOG_EXT        0x2f
#define ATA_WRITE_SECTORS       0x30
#define ATA_WRITE_SECTORS_EXT   0x34
#define ATA_WRITE_DMA_EXT       0x35
#define ATA_WRITE_MULTIPLE_EXT  0x39
#define ATA_READ_VERIFY         0x40
#define ATA_READ_VERIFY_EXT     0x42
#define ATA_READ_LOG_DMA_EXT    0x47
#define ATA_READ_FPDMA          0x60
#define ATA_WRITE_FPDMA         0x61
#define ATA_READ_MULTIPLE       0xc4
#define ATA_WRITE_MULTIPLE      0xc5
#define ATA_SET_MULTIPLE        0xc6
#define ATA_READ_DMA            0xc8
#define ATA_WRITE_DMA           0xca
#define ATA_STANDBY_IMMEDIATE   0xe0
#define ATA_IDLE_IMMEDIATE      0xe1
#define ATA_STANDBY             0xe2
#define ATA_IDLE                0xe3
#define ATA_CHECK_POWER_MODE    0xe5
#define ATA_SLEEP               0xe6
#define ATA_FLUSH_CACHE         0xe7
#define ATA_FLUSH_CACHE_EXT     0xea
#define ATA_IDENTIFY            0xec
#define ATA_SET_FEATURES        0xef

#define FEATURE_WRITE_CACHE_ON 0x02
#define FEATURE_TRANSFER_MODE  0x03
#define FEATURE_SATA_ON        0x10
#define FEATURE_LOOK_AHEAD_OFF 0x55
#define FEATURE_SATA_OFF       0x90
#define FEATURE_LOOK_AHEAD_ON  0xaa

#define LOG_NCQ_ERROR     0x10
#define DSM_TRIM          0x01
#define TRIM_RANGE_BYTES  8u
#define NCQ_DEPTH         32u
#define IDENTIFY_BYTES    512u
#define LBA28_SECTORS_MAX 0x0fffffffull

/* Fields of a host-to-device register FIS. */
#define FIS_COMMAND      2
#define FIS_FEATURES     3
#define FIS_LBA          4
#define FIS_DEVICE       7
#define FIS_LBA_EXP      8
#define FIS_FEATURES_EXP 11
#define FIS_COUNT        12

static void
put_word(uint8_t *data, unsigned word, unsigned value)
{
        put_le16(data + 2 * word, (uint16_t)value);
}

/* ATA strings have the bytes of each word swapped, and are padded with blanks (ACS 3.3.10). */
void
ahci_identify_text(uint8_t *dest, size_t bytes, const char *text)
{
        size_t len = strnlen(text, bytes);

        for (size_t i = 0; i < bytes; i++)
                dest[i ^ 1] = i < len ? (uint8_t)text[i] : ' ';
}

/* All 512 bytes add up to zero (ACS 7.12.7, word 255). */
void
ahci_identify_checksum(uint8_t *data)
{
        uint8_t sum = 0;

        data[510] = 0xa5;
        for (unsigned i = 0; i < IDENTIFY_BYTES - 1; i++)
                sum = (uint8_t)(sum + data[i]);
        data[511] = (uint8_t)-sum;
}

/* What a disk and a CD drive have in common: transfer modes, SATA generation, versions. */
void
ahci_identify_speeds(uint8_t *data, uint8_t transfer_mode)
{
        bool udma = (transfer_mode & 0xf8) == 0x40;
        bool mwdma = (transfer_mode & 0xf8) == 0x20;

        put_word(data, 53, 0x0006);
        put_word(data, 63, 0x0007 | (mwdma ? 0x100u << (transfer_mode & 7) : 0));
        put_word(data, 64, 0x0003);
        for (unsigned word = 65; word <= 68; word++)
                put_word(data, word, 120); /* nanoseconds a word */
        put_word(data, 77, 3 << 1);        /* runs at generation 3 */
        put_word(data, 80, 0x01f0);        /* ATA-4 to ACS-1 */
        put_word(data, 88, 0x007f | (udma ? 0x100u << (transfer_mode & 7) : 0));
        put_word(data, 222, 0x1020);       /* SATA 2.6 */
}

static uint64_t
disk_sectors(const struct ahci_port *port)
{
        const struct block_info *info = block_info(port->block);

        return info->size_bytes / info->sector_bytes;
}

/* Logical sectors of other than 512 bytes, and several in a physical one (ACS 7.12.7, word 106). */
static void
identify_sector_size(uint8_t *data, const struct block_info *info)
{
        unsigned ratio = info->physical_bytes / info->sector_bytes;
        unsigned word = 0x4000;

        if (info->sector_bytes > 512) {
                word |= 0x1000;
                put_le32(data + 2 * 117, info->sector_bytes / 2);
        }
        if (ratio > 1)
                word |= 0x2000 | (unsigned)__builtin_ctz(ratio);
        put_word(data, 106, word);
        put_word(data, 209, 0x4000);
}

static void
identify_capacity(uint8_t *data, uint64_t sectors)
{
        put_word(data, 1, 16383);
        put_word(data, 3, 16);
        put_word(data, 6, 63);
        put_le32(data + 2 * 60, (uint32_t)(sectors < LBA28_SECTORS_MAX ? sectors : LBA28_SECTORS_MAX));
        put_le64(data + 2 * 100, sectors);
}

static void
identify_fill(const struct ahci_port *port, uint8_t *data)
{
        const struct block_info *info = block_info(port->block);

        put_word(data, 0, 0x0040);
        identify_capacity(data, disk_sectors(port));
        ahci_identify_text(data + 2 * 10, 20, port->serial);
        ahci_identify_text(data + 2 * 23, 8, port->revision);
        ahci_identify_text(data + 2 * 27, 40, port->model);
        put_word(data, 47, 0x8000 | 128);
        put_word(data, 49, 0x0b00); /* IORDY, LBA, DMA */
        put_word(data, 50, 0x4000);
        put_word(data, 59, 0x0100 | port->mult_sectors);
        ahci_identify_speeds(data, port->transfer_mode);
        if (info->can_discard) {
                put_word(data, 69, 0x4020); /* trimmed sectors read as zeros */
                put_word(data, 105, 1);
                put_word(data, 169, 1);
        }
        put_word(data, 75, NCQ_DEPTH - 1);
        put_word(data, 76, 0x010e); /* NCQ, generations 1 to 3 */
        put_word(data, 82, 0x0068); /* look-ahead, write cache, power management */
        put_word(data, 83, 0x7400); /* flush cache (ext), 48-bit addresses */
        put_word(data, 84, 0x4000);
        put_word(data, 85, 0x0068);
        put_word(data, 86, 0x3400);
        put_word(data, 87, 0x4000);
        identify_sector_size(data, info);
        put_word(data, 217, port->rotation_rate);
        ahci_identify_checksum(data);
}

static void
ata_identify(struct ahci_command *c)
{
        uint8_t data[IDENTIFY_BYTES] = { 0 };

        identify_fill(c->port, data);
        if (ahci_data_put(c, data, sizeof(data)))
                ahci_done_pio(c, sizeof(data));
        else
                ahci_fail(c, ATA_ERROR_ABRT);
}

static uint64_t
fis_lba(const uint8_t *fis, bool ext)
{
        uint64_t low = (uint64_t)fis[FIS_LBA] | (uint64_t)fis[FIS_LBA + 1] << 8 |
            (uint64_t)fis[FIS_LBA + 2] << 16;

        if (!ext)
                return low | (uint64_t)(fis[FIS_DEVICE] & 0x0f) << 24;
        return low | (uint64_t)fis[FIS_LBA_EXP] << 24 | (uint64_t)fis[FIS_LBA_EXP + 1] << 32 |
            (uint64_t)fis[FIS_LBA_EXP + 2] << 40;
}

/* Queued commands have it in the features (ACS 7.16); zero is the most that the field could say. */
static uint32_t
sector_count(const struct ahci_command *c, bool ext)
{
        uint32_t count = c->fis[FIS_COUNT];

        if (c->queued)
                count = c->fis[FIS_FEATURES] | (uint32_t)c->fis[FIS_FEATURES_EXP] << 8;
        else if (ext)
                count = get_le16(c->fis + FIS_COUNT);
        if (count != 0)
                return count;
        return ext ? 65536 : 256;
}

static bool
range_is_on_disk(const struct ahci_command *c, bool ext)
{
        uint64_t lba = fis_lba(c->fis, ext);
        uint64_t sectors = disk_sectors(c->port);

        return lba <= sectors && sector_count(c, ext) <= sectors - lba;
}

static void
ata_transfer(struct ahci_command *c, bool to_device, bool ext)
{
        const struct block_info *info = block_info(c->port->block);

        if (!range_is_on_disk(c, ext) || (to_device && info->read_only)) {
                ahci_fail(c, ATA_ERROR_ABRT);
                return;
        }
        ahci_transfer(c, to_device, fis_lba(c->fis, ext) * info->sector_bytes,
            (uint64_t)sector_count(c, ext) * info->sector_bytes);
}

static void
ata_verify(struct ahci_command *c, bool ext)
{
        if (range_is_on_disk(c, ext))
                ahci_done(c);
        else
                ahci_fail(c, ATA_ERROR_ABRT);
}

static void
flush_done(struct block_request *io, int error)
{
        struct ahci_command *c = container_of(io, struct ahci_command, io);

        if (error == 0)
                ahci_done(c);
        else
                ahci_fail(c, ATA_ERROR_ABRT);
}

static void
ata_flush(struct ahci_command *c)
{
        c->io = (struct block_request){ .op = BLOCK_FLUSH, .done = flush_done };
        if (block_submit(c->port->block, &c->io) != 0)
                ahci_fail(c, ATA_ERROR_ABRT);
}

static void trim_next(struct ahci_command *c);

static void
trim_done(struct block_request *io, int error)
{
        struct ahci_command *c = container_of(io, struct ahci_command, io);

        if (error != 0)
                ahci_fail(c, ATA_ERROR_ABRT);
        else
                trim_next(c);
}

/* Discards the next range that is not empty (ACS 7.10.3: 48 bits of LBA, 16 of count). */
static void
trim_next(struct ahci_command *c)
{
        uint32_t sector_bytes = block_info(c->port->block)->sector_bytes;
        uint64_t range = 0;

        while (c->range_next < sizeof(c->ranges) / TRIM_RANGE_BYTES && range >> 48 == 0)
                range = get_le64(c->ranges + TRIM_RANGE_BYTES * c->range_next++);
        if (range >> 48 == 0) {
                ahci_done(c);
                return;
        }
        c->io = (struct block_request){
                .op = BLOCK_DISCARD,
                .offset = (range & 0xffffffffffffull) * sector_bytes,
                .length = (range >> 48) * sector_bytes,
                .done = trim_done,
        };
        if (block_submit(c->port->block, &c->io) != 0)
                ahci_fail(c, ATA_ERROR_ABRT);
}

static void
ata_data_set_management(struct ahci_command *c)
{
        if (c->fis[FIS_FEATURES] != DSM_TRIM || get_le16(c->fis + FIS_COUNT) != 1 ||
            !block_info(c->port->block)->can_discard || !ahci_data_get(c, c->ranges, sizeof(c->ranges))) {
                ahci_fail(c, ATA_ERROR_ABRT);
                return;
        }
        c->range_next = 0;
        trim_next(c);
}

/* Log 10h tells which queued command failed, and how (ACS A.14). */
static void
ata_read_log(struct ahci_command *c)
{
        const struct ahci_port *port = c->port;
        uint8_t log[512] = { 0 };
        uint8_t sum = 0;

        if (c->fis[FIS_LBA] != LOG_NCQ_ERROR || get_le16(c->fis + FIS_COUNT) != 1) {
                ahci_fail(c, ATA_ERROR_ABRT);
                return;
        }
        memcpy(log, port->failed_fis, 14);
        log[0] = (uint8_t)((port->failed_queued ? 0 : 0x80) | (port->failed_tag & 0x1f));
        log[1] = 0;
        log[2] = port->failed_status;
        log[3] = port->failed_error;
        for (unsigned i = 0; i < sizeof(log) - 1; i++)
                sum = (uint8_t)(sum + log[i]);
        log[511] = (uint8_t)-sum;
        if (!ahci_data_put(c, log, sizeof(log)))
                ahci_fail(c, ATA_ERROR_ABRT);
        else if (c->fis[FIS_COMMAND] == ATA_READ_LOG_DMA_EXT)
                ahci_done(c);
        else
                ahci_done_pio(c, sizeof(log));
}

/* Look-ahead changes nothing here; switching the write cache off would be a promise we do not keep. */
static void
ata_set_features(struct ahci_command *c)
{
        switch (c->fis[FIS_FEATURES]) {
        case FEATURE_TRANSFER_MODE:
                c->port->transfer_mode = c->fis[FIS_COUNT];
                ahci_done(c);
                break;
        case FEATURE_WRITE_CACHE_ON:
        case FEATURE_LOOK_AHEAD_OFF:
        case FEATURE_LOOK_AHEAD_ON:
        case FEATURE_SATA_ON:
        case FEATURE_SATA_OFF:
                ahci_done(c);
                break;
        default:
                ahci_fail(c, ATA_ERROR_ABRT);
                break;
        }
}

static void
ata_set_multiple(struct ahci_command *c)
{
        uint8_t sectors = c->fis[FIS_COUNT];

        if (sectors > 128 || (sectors & (sectors - 1)) != 0) {
                ahci_fail(c, ATA_ERROR_ABRT);
                return;
        }
        c->port->mult_sectors = sectors;
        ahci_done(c);
}

bool
ahci_common_command(struct ahci_command *c)
{
        switch (c->fis[FIS_COMMAND]) {
        case ATA_SET_FEATURES:
                ata_set_features(c);
                return true;
        case ATA_CHECK_POWER_MODE:
                c->fis[FIS_COUNT] = 0xff; /* active: there is no other mode to be in */
                ahci_done(c);
                return true;
        case ATA_STANDBY_IMMEDIATE:
        case ATA_IDLE_IMMEDIATE:
        case ATA_STANDBY:
        case ATA_IDLE:
        case ATA_SLEEP:
                ahci_done(c);
                return true;
        default:
                return false;
        }
}

static bool
ata_transfer_command(struct ahci_command *c)
{
        switch (c->fis[FIS_COMMAND]) {
        case ATA_READ_SECTORS:
        case ATA_READ_MULTIPLE:
        case ATA_READ_DMA:
                ata_transfer(c, false, false);
                return true;
        case ATA_READ_SECTORS_EXT:
        case ATA_READ_DMA_EXT:
        case ATA_READ_MULTIPLE_EXT:
        case ATA_READ_FPDMA:
                ata_transfer(c, false, true);
                return true;
        case ATA_WRITE_SECTORS:
        case ATA_WRITE_MULTIPLE:
        case ATA_WRITE_DMA:
                ata_transfer(c, true, false);
                return true;
        case ATA_WRITE_SECTORS_EXT:
        case ATA_WRITE_DMA_EXT:
        case ATA_WRITE_MULTIPLE_EXT:
        case ATA_WRITE_FPDMA:
                ata_transfer(c, true, true);
                return true;
        default:
                return false;
        }
}

void
ahci_ata_command(struct ahci_command *c)
{
        if (ata_transfer_command(c) || ahci_common_command(c))
                return;
        switch (c->fis[FIS_COMMAND]) {
        case ATA_READ_VERIFY:
                ata_verify(c, false);
                break;
        case ATA_READ_VERIFY_EXT:
                ata_verify(c, true);
                break;
        case ATA_IDENTIFY:
                ata_identify(c);
                break;
        case ATA_FLUSH_CACHE:
        case ATA_FLUSH_CACHE_EXT:
                ata_flush(c);
                break;
        case ATA_DATA_SET_MANAGEMENT:
                ata_data_set_management(c);
                break;
        case ATA_READ_LOG_EXT:
        case ATA_READ_LOG_DMA_EXT:
                ata_read_log(c);
                break;
        case ATA_SET_MULTIPLE:
                ata_set_multiple(c);
                break;
        default:
                ahci_fail(c, ATA_ERROR_ABRT);
                break;
        }
}
