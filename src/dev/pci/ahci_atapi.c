/* SPDX-License-Identifier: BSD-2-Clause */
/* A CD or DVD drive: the ATA side (ACS 7) and the packet commands (MMC 6). */
#include "base/bytes.h"
#include "base/util.h"
#include "dev/pci/ahci_port.h"

#include <errno.h>

#define ATA_DEVICE_RESET    0x08
#define ATA_PACKET          0xa0
#define ATA_IDENTIFY_PACKET 0xa1
#define ATA_IDENTIFY        0xec
#define IDENTIFY_BYTES      512u

#define MMC_TEST_UNIT_READY   0x00
#define MMC_REQUEST_SENSE     0x03
#define MMC_INQUIRY           0x12
#define MMC_START_STOP        0x1b
#define MMC_PREVENT_REMOVAL   0x1e
#define MMC_READ_CAPACITY     0x25
#define MMC_READ_10           0x28
#define MMC_SYNCHRONIZE_CACHE 0x35
#define MMC_READ_TOC          0x43
#define MMC_GET_CONFIGURATION 0x46
#define MMC_GET_EVENT_STATUS  0x4a
#define MMC_READ_DISC_INFO    0x51
#define MMC_MODE_SENSE_10     0x5a
#define MMC_REPORT_LUNS       0xa0
#define MMC_READ_12           0xa8

#define SENSE_NOT_READY       0x02
#define SENSE_ILLEGAL_REQUEST 0x05
#define ASC_INVALID_COMMAND   0x20
#define ASC_LBA_OUT_OF_RANGE  0x21
#define ASC_INVALID_FIELD     0x24
#define ASC_NO_MEDIUM         0x3a

#define CD_BLOCK_BYTES     2048u
#define CD_MSF_OFFSET      150u /* frames before block 0 */
#define CD_FRAMES          75u  /* a second */
#define CD_BLOCKS_MAX      405000u /* more is a DVD: 90 minutes */
#define CD_TRACK_DATA      0x14
#define CD_LEAD_OUT        0xaa
#define PROFILE_CD_ROM     0x0008
#define PROFILE_DVD_ROM    0x0010

static uint32_t
medium_blocks(const struct ahci_port *port)
{
        uint64_t blocks = port->block == NULL ? 0 : block_info(port->block)->size_bytes / CD_BLOCK_BYTES;

        return blocks < UINT32_MAX ? (uint32_t)blocks : UINT32_MAX;
}

/* Answers with @len bytes, at most as many as the initiator allocated for them. */
static void
answer(struct ahci_command *c, const void *data, size_t len, size_t allocated)
{
        if (ahci_data_put(c, data, len < allocated ? len : allocated))
                ahci_done_packet(c);
        else
                ahci_fail_packet(c, SENSE_ILLEGAL_REQUEST, ASC_INVALID_FIELD);
}

static void
invalid_field(struct ahci_command *c)
{
        ahci_fail_packet(c, SENSE_ILLEGAL_REQUEST, ASC_INVALID_FIELD);
}

static bool
has_medium(struct ahci_command *c)
{
        if (c->port->block != NULL)
                return true;
        ahci_fail_packet(c, SENSE_NOT_READY, ASC_NO_MEDIUM);
        return false;
}

static void
mmc_test_unit_ready(struct ahci_command *c)
{
        if (has_medium(c))
                ahci_done_packet(c);
}

static void
mmc_request_sense(struct ahci_command *c)
{
        uint8_t data[18] = { 0x80 | 0x70 };

        data[2] = c->port->sense_key;
        data[7] = sizeof(data) - 8;
        data[12] = c->port->sense_asc;
        answer(c, data, sizeof(data), c->packet[4]);
}

static void
put_padded(uint8_t *dest, size_t bytes, const char *text)
{
        memset(dest, ' ', bytes);
        memcpy(dest, text, strnlen(text, bytes));
}

static void
mmc_inquiry(struct ahci_command *c)
{
        uint8_t data[36] = { 0x05, 0x80, 0x00, 0x21, sizeof(data) - 5 };

        if (c->packet[1] & 1) {
                invalid_field(c);
                return;
        }
        put_padded(data + 8, 8, "BHYVE");
        put_padded(data + 16, 16, "BHYVE DVD-ROM");
        put_padded(data + 32, 4, c->port->revision);
        answer(c, data, sizeof(data), get_be16(c->packet + 3));
}

static void
mmc_read_capacity(struct ahci_command *c)
{
        uint8_t data[8];

        if (!has_medium(c))
                return;
        put_be32(data, medium_blocks(c->port) - 1);
        put_be32(data + 4, CD_BLOCK_BYTES);
        answer(c, data, sizeof(data), sizeof(data));
}

static void
mmc_read(struct ahci_command *c, uint32_t lba, uint32_t count)
{
        uint32_t blocks = medium_blocks(c->port);

        if (!has_medium(c))
                return;
        if (lba > blocks || count > blocks - lba)
                ahci_fail_packet(c, SENSE_ILLEGAL_REQUEST, ASC_LBA_OUT_OF_RANGE);
        else if (count == 0)
                ahci_done_packet(c);
        else
                ahci_transfer(c, false, (uint64_t)lba * CD_BLOCK_BYTES, (uint64_t)count * CD_BLOCK_BYTES);
}

/* An address in a table of contents: blocks, or minutes, seconds and frames. */
static void
put_toc_address(uint8_t *dest, uint32_t lba, bool msf)
{
        uint32_t frames = lba + CD_MSF_OFFSET;

        if (!msf) {
                put_be32(dest, lba);
                return;
        }
        dest[0] = 0;
        dest[1] = (uint8_t)(frames / CD_FRAMES / 60);
        dest[2] = (uint8_t)(frames / CD_FRAMES % 60);
        dest[3] = (uint8_t)(frames % CD_FRAMES);
}

static size_t
toc_add_track(uint8_t *data, size_t len, uint8_t track, uint32_t lba, bool msf)
{
        uint8_t *p = data + len;

        memset(p, 0, 8);
        p[1] = CD_TRACK_DATA;
        p[2] = track;
        put_toc_address(p + 4, lba, msf);
        return len + 8;
}

/* One data track and the lead-out; or the one session that there is. */
static void
mmc_read_toc(struct ahci_command *c)
{
        unsigned format = c->packet[2] & 0x0f ? c->packet[2] & 0x0f : c->packet[9] >> 6;
        bool msf = (c->packet[1] & 2) != 0;
        uint8_t first = c->packet[6];
        uint8_t data[4 + 2 * 8] = { 0, 0, 1, 1 };
        size_t len = 4;

        if (!has_medium(c))
                return;
        if (format > 1 || (format == 0 && first > 1 && first != CD_LEAD_OUT)) {
                invalid_field(c);
                return;
        }
        if (format == 1 || first <= 1)
                len = toc_add_track(data, len, 1, 0, msf);
        if (format == 0)
                len = toc_add_track(data, len, CD_LEAD_OUT, medium_blocks(c->port), msf);
        put_be16(data, (uint16_t)(len - 2));
        answer(c, data, len, get_be16(c->packet + 7));
}

/* The profile list is the only feature told of. */
static void
mmc_get_configuration(struct ahci_command *c)
{
        unsigned profile = medium_blocks(c->port) > CD_BLOCKS_MAX ? PROFILE_DVD_ROM : PROFILE_CD_ROM;
        uint8_t data[20] = { 0 };
        size_t len = get_be16(c->packet + 2) == 0 ? sizeof(data) : 8;

        put_be32(data, (uint32_t)(len - 4));
        put_be16(data + 6, c->port->block == NULL ? 0 : (uint16_t)profile);
        data[10] = 0x03; /* persistent, current */
        data[11] = 8;
        put_be16(data + 12, PROFILE_DVD_ROM);
        data[14] = profile == PROFILE_DVD_ROM;
        put_be16(data + 16, PROFILE_CD_ROM);
        data[18] = profile == PROFILE_CD_ROM;
        answer(c, data, len, get_be16(c->packet + 7));
}

/* Polled media events: nothing ever happens. */
static void
mmc_get_event_status(struct ahci_command *c)
{
        uint8_t data[8] = { 0, 6, 0x04, 0x10 };
        bool media = (c->packet[4] & 0x10) != 0;

        if (!(c->packet[1] & 1)) {
                invalid_field(c);
                return;
        }
        if (!media) {
                data[1] = 2;
                data[2] = 0x80;
        }
        data[5] = c->port->block != NULL ? 0x02 : 0;
        answer(c, data, media ? 8 : 4, get_be16(c->packet + 7));
}

static void
mmc_read_disc_info(struct ahci_command *c)
{
        uint8_t data[34] = { 0, sizeof(data) - 2, 0x0e, 1, 1, 1, 1 };

        if (has_medium(c))
                answer(c, data, sizeof(data), get_be16(c->packet + 7));
}

static void
mmc_mode_sense(struct ahci_command *c)
{
        unsigned page = c->packet[2] & 0x3f;
        size_t allocated = get_be16(c->packet + 7);
        uint8_t recovery[16] = { 0, 14, 0x70, 0, 0, 0, 0, 0, 0x01, 6, 0, 5 };
        uint8_t capabilities[30] = { 0, 28, 0x70, 0, 0, 0, 0, 0, 0x2a, 20, 0x3f, 0, 0x71, 0x60, 0x29 };

        if (c->packet[2] >> 6 == 3) /* saved values: there are none */
                ahci_fail_packet(c, SENSE_ILLEGAL_REQUEST, 0x39);
        else if (page == 0x01)
                answer(c, recovery, sizeof(recovery), allocated);
        else if (page == 0x2a)
                answer(c, capabilities, sizeof(capabilities), allocated);
        else
                invalid_field(c);
}

static void
mmc_report_luns(struct ahci_command *c)
{
        uint8_t data[16] = { 0, 0, 0, 8 };

        answer(c, data, sizeof(data), get_be32(c->packet + 6));
}

static void
atapi_packet(struct ahci_command *c)
{
        switch (c->packet[0]) {
        case MMC_TEST_UNIT_READY:
                mmc_test_unit_ready(c);
                break;
        case MMC_REQUEST_SENSE:
                mmc_request_sense(c);
                break;
        case MMC_INQUIRY:
                mmc_inquiry(c);
                break;
        case MMC_START_STOP:
        case MMC_PREVENT_REMOVAL:
        case MMC_SYNCHRONIZE_CACHE:
                ahci_done_packet(c);
                break;
        case MMC_READ_CAPACITY:
                mmc_read_capacity(c);
                break;
        case MMC_READ_10:
                mmc_read(c, get_be32(c->packet + 2), get_be16(c->packet + 7));
                break;
        case MMC_READ_12:
                mmc_read(c, get_be32(c->packet + 2), get_be32(c->packet + 6));
                break;
        case MMC_READ_TOC:
                mmc_read_toc(c);
                break;
        case MMC_GET_CONFIGURATION:
                mmc_get_configuration(c);
                break;
        case MMC_GET_EVENT_STATUS:
                mmc_get_event_status(c);
                break;
        case MMC_READ_DISC_INFO:
                mmc_read_disc_info(c);
                break;
        case MMC_MODE_SENSE_10:
                mmc_mode_sense(c);
                break;
        case MMC_REPORT_LUNS:
                mmc_report_luns(c);
                break;
        default:
                ahci_fail_packet(c, SENSE_ILLEGAL_REQUEST, ASC_INVALID_COMMAND);
                break;
        }
}

static void
put_word(uint8_t *data, unsigned word, unsigned value)
{
        put_le16(data + 2 * word, (uint16_t)value);
}

static void
atapi_identify(struct ahci_command *c)
{
        const struct ahci_port *port = c->port;
        uint8_t data[IDENTIFY_BYTES] = { 0 };

        put_word(data, 0, 0x85c0); /* packet device, CD, removable, 12-byte packets */
        ahci_identify_text(data + 2 * 10, 20, port->serial);
        ahci_identify_text(data + 2 * 23, 8, port->revision);
        ahci_identify_text(data + 2 * 27, 40, port->model);
        put_word(data, 49, 0x0b00);
        put_word(data, 50, 0x4000);
        ahci_identify_speeds(data, port->transfer_mode);
        put_word(data, 76, 0x000e);
        put_word(data, 82, 0x0218); /* device reset, packet, power management */
        put_word(data, 83, 0x4000);
        put_word(data, 84, 0x4000);
        put_word(data, 85, 0x0218);
        put_word(data, 87, 0x4000);
        ahci_identify_checksum(data);
        if (ahci_data_put(c, data, sizeof(data)))
                ahci_done_pio(c, sizeof(data));
        else
                ahci_fail(c, ATA_ERROR_ABRT);
}

/* IDENTIFY DEVICE is refused with the signature, so that the driver sees what is there (ACS 7.12.3). */
static void
atapi_refuse_identify(struct ahci_command *c)
{
        c->fis[4] = 1;
        c->fis[5] = 0x14;
        c->fis[6] = 0xeb;
        c->fis[12] = 1;
        ahci_fail(c, ATA_ERROR_ABRT);
}

void
ahci_atapi_command(struct ahci_command *c)
{
        switch (c->fis[2]) {
        case ATA_PACKET:
                atapi_packet(c);
                break;
        case ATA_IDENTIFY_PACKET:
                atapi_identify(c);
                break;
        case ATA_IDENTIFY:
                atapi_refuse_identify(c);
                break;
        case ATA_DEVICE_RESET:
                ahci_done(c);
                break;
        default:
                if (!ahci_common_command(c))
                        ahci_fail(c, ATA_ERROR_ABRT);
                break;
        }
}
