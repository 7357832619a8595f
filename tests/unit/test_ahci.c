/* SPDX-License-Identifier: BSD-2-Clause */
/* The AHCI controller, its disks and CD drives, through PCI as a driver sees them. */
#include "virtio_rig.h"

#include <sys/stat.h>

#define IMAGE_BYTES (1 * MIB)
#define LIST_AT     0x100000u
#define RECEIVED_AT 0x101000u
#define TABLE_AT    0x110000u /* + slot * TABLE_STRIDE */
#define TABLE_STRIDE 0x2000u
#define DATA_AT     0x200000u

#define GHC  0x04
#define HIS  0x08
#define PORT 0x100
#define P_CLB  0x00
#define P_FB   0x08
#define P_IS   0x10
#define P_IE   0x14
#define P_CMD  0x18
#define P_TFD  0x20
#define P_SIG  0x24
#define P_SSTS 0x28
#define P_SCTL 0x2c
#define P_SERR 0x30
#define P_SACT 0x34
#define P_CI   0x38

struct ahci_rig {
        struct pci_rig r;
        char *path;
        uint64_t abar;
        unsigned port;
};

static uint32_t
get(struct ahci_rig *a, unsigned offset)
{
        uint64_t value = 0;

        assert_true(io_space_read(a->r.mmio, a->abar + offset, 4, &value));
        return (uint32_t)value;
}

static void
put(struct ahci_rig *a, unsigned offset, uint32_t value)
{
        assert_true(io_space_write(a->r.mmio, a->abar + offset, 4, value));
}

static uint32_t
pget(struct ahci_rig *a, unsigned offset)
{
        return get(a, PORT + 0x80 * a->port + offset);
}

static void
pput(struct ahci_rig *a, unsigned offset, uint32_t value)
{
        put(a, PORT + 0x80 * a->port + offset, value);
}

static void
start_port(struct ahci_rig *a)
{
        pput(a, P_CLB, LIST_AT);
        pput(a, P_FB, RECEIVED_AT);
        pput(a, P_IS, UINT32_MAX);
        pput(a, P_SERR, UINT32_MAX);
        pput(a, P_IE, 0x7dc0007f);
        pput(a, P_CMD, 0x10);
        pput(a, P_CMD, 0x11);
}

static void
ahci_start(struct ahci_rig *a, const char *type, const char *key, const char *value)
{
        memset(a, 0, sizeof(*a));
        pci_rig_start(&a->r);
        a->path = rig_image(IMAGE_BYTES);
        pci_rig_set(&a->r, "port.0.type", type);
        pci_rig_set(&a->r, "port.0.path", a->path);
        if (key != NULL)
                pci_rig_set(&a->r, key, value);
        assert_int_equal(pci_rig_create(&a->r, "ahci"), 0);
        a->abar = rig_config_read(&a->r, PCI_CFG_BAR0 + 20, 4) & ~15u;
        put(a, GHC, 0x80000002);
        start_port(a);
}

static void
ahci_finish(struct ahci_rig *a)
{
        pci_rig_finish(&a->r);
        rig_image_free(a->path);
}

/* Fills slot @slot's header and FIS; @prds buffers of @prd_bytes each from DATA_AT on. */
static uint8_t *
prepare(struct ahci_rig *a, unsigned slot, uint8_t command, unsigned prds, uint32_t prd_bytes)
{
        uint8_t *header = mem_at(a->r.mem, LIST_AT + 32 * slot, 32);
        uint64_t table = TABLE_AT + slot * TABLE_STRIDE;
        uint8_t *fis = mem_at(a->r.mem, table, TABLE_STRIDE);

        memset(header, 0, 32);
        memset(fis, 0, TABLE_STRIDE);
        put_le16(header, 5);
        put_le16(header + 2, (uint16_t)prds);
        put_le64(header + 8, table);
        fis[0] = 0x27;
        fis[1] = 0x80;
        fis[2] = command;
        fis[7] = 0x40;
        for (unsigned i = 0; i < prds; i++) {
                put_le64(fis + 0x80 + 16 * i, DATA_AT + (uint64_t)i * prd_bytes);
                put_le32(fis + 0x80 + 16 * i + 12, prd_bytes - 1);
        }
        return fis;
}

static void
set_lba(uint8_t *fis, uint64_t lba, uint16_t count)
{
        for (unsigned i = 0; i < 3; i++) {
                fis[4 + i] = (uint8_t)(lba >> (8 * i));
                fis[8 + i] = (uint8_t)(lba >> (24 + 8 * i));
        }
        put_le16(fis + 12, count);
}

struct bits {
        struct ahci_rig *a;
        unsigned offset;
        uint32_t mask, want;
};

static bool
bits_are(void *ctx)
{
        struct bits *b = ctx;
        uint32_t value;

        pthread_mutex_unlock(&b->a->r.rig.lock);
        value = pget(b->a, b->offset);
        pthread_mutex_lock(&b->a->r.rig.lock);
        return (value & b->mask) == b->want;
}

static void
wait_bits(struct ahci_rig *a, unsigned offset, uint32_t mask, uint32_t want)
{
        struct bits b = { a, offset, mask, want };

        if (!loop_rig_wait(&a->r.rig, bits_are, &b))
                fail_msg("port register %#x is %#x, not %#x under %#x", offset, pget(a, offset), want, mask);
}

/* Issues slot 0 and waits for its end; the task file. */
static uint32_t
issue(struct ahci_rig *a)
{
        uint32_t is;

        pput(a, P_IS, UINT32_MAX);
        put(a, HIS, UINT32_MAX);
        pput(a, P_CI, 1);
        for (unsigned ms = 0; (is = pget(a, P_IS)) == 0 || ((is & 0x40000001) == 0); ms++) {
                assert_true(ms < RIG_PATIENCE_MS);
                usleep(1000);
        }
        if (is & 0x40000000) {
                uint32_t tfd = pget(a, P_TFD);

                /* Recovery as drivers do it: stop and start (6.2.2.2). */
                pput(a, P_CMD, 0x10);
                pput(a, P_IS, UINT32_MAX);
                pput(a, P_CMD, 0x11);
                return tfd;
        }
        wait_bits(a, P_CI, 1, 0);
        return pget(a, P_TFD);
}

static bool
data_is_image(struct ahci_rig *a, uint64_t offset, unsigned len)
{
        const uint8_t *p = mem_at(a->r.mem, DATA_AT, len);

        for (unsigned i = 0; i < len; i++)
                if (p[i] != (uint8_t)((offset + i) / 512 + offset + i))
                        return false;
        return true;
}

static void
ahci_controller_says_what_it_is(void **state)
{
        struct ahci_rig a;

        ahci_start(&a, "hd", NULL, NULL);
        assert_int_equal(rig_config_read(&a.r, PCI_CFG_VENDOR, 4), 0x28218086);
        assert_int_equal(rig_config_read(&a.r, PCI_CFG_REVISION, 4), 0x01060100);
        assert_int_equal(get(&a, 0x10), 0x10300);
        assert_int_equal(get(&a, 0x0c), 1);
        assert_int_equal(get(&a, 0x00) & 0x1f, 0);
        assert_int_equal(pget(&a, P_SIG), 0x101);
        assert_int_equal(pget(&a, P_SSTS), 0x133);
        assert_int_equal(pget(&a, P_TFD) & 0x89, 0);
        ahci_finish(&a);
}

static void
ahci_identify_describes_the_disk(void **state)
{
        struct ahci_rig a;
        uint8_t *id;
        uint8_t sum = 0;

        ahci_start(&a, "hd", "port.0.ser", "SERIAL-7");
        id = mem_at(a.r.mem, DATA_AT, 512);
        prepare(&a, 0, 0xec, 1, 512);
        assert_int_equal(issue(&a) & 0xff, 0x50);
        assert_memory_equal(id + 20, "ESIRLA7-            ", 20);
        assert_memory_equal(id + 54, "HBVY EASATD SI K", 16);
        assert_int_equal(get_le64(id + 200), IMAGE_BYTES / 512);
        assert_int_equal(get_le32(id + 120), IMAGE_BYTES / 512);
        assert_true((get_le16(id + 2 * 83) & 1u << 10) != 0);
        assert_true((get_le16(id + 2 * 169) & 1) != 0);
        for (unsigned i = 0; i < 512; i++)
                sum = (uint8_t)(sum + id[i]);
        assert_int_equal(sum, 0);
        assert_int_equal(get_le32(mem_at(a.r.mem, LIST_AT + 4, 4)), 512);
        /* The PIO setup FIS with its end status, and the register FIS. */
        assert_int_equal(*(uint8_t *)mem_at(a.r.mem, RECEIVED_AT + 0x20, 1), 0x5f);
        assert_int_equal(*(uint8_t *)mem_at(a.r.mem, RECEIVED_AT + 0x2f, 1), 0x50);
        assert_int_equal(*(uint8_t *)mem_at(a.r.mem, RECEIVED_AT + 0x40, 1), 0x34);
        ahci_finish(&a);
}

static void
ahci_dma_reads_and_writes_the_disk(void **state)
{
        struct ahci_rig a;
        uint8_t disk[1024];
        FILE *f;

        ahci_start(&a, "hd", NULL, NULL);
        set_lba(prepare(&a, 0, 0x25, 3, 512), 5, 3);
        assert_int_equal(issue(&a) & 0xff, 0x50);
        assert_true(data_is_image(&a, 5 * 512, 1536));
        assert_int_equal(get_le32(mem_at(a.r.mem, LIST_AT + 4, 4)), 1536);
        memset(mem_at(a.r.mem, DATA_AT, 1024), 0x99, 1024);
        set_lba(prepare(&a, 0, 0x35, 2, 512), 9, 2);
        assert_int_equal(issue(&a) & 0xff, 0x50);
        prepare(&a, 0, 0xea, 0, 0);
        assert_int_equal(issue(&a) & 0xff, 0x50);
        f = fopen(a.path, "rb");
        assert_int_equal(fseek(f, 9 * 512, SEEK_SET), 0);
        assert_int_equal(fread(disk, 1, 1024, f), 1024);
        fclose(f);
        assert_memory_equal(disk, mem_at(a.r.mem, DATA_AT, 1024), 1024);
        /* LBA28. */
        set_lba(prepare(&a, 0, 0xc8, 1, 512), 20, 1);
        assert_int_equal(issue(&a) & 0xff, 0x50);
        assert_true(data_is_image(&a, 20 * 512, 512));
        ahci_finish(&a);
}

static void
ahci_transfer_of_many_small_buffers_is_whole(void **state)
{
        struct ahci_rig a;

        ahci_start(&a, "hd", NULL, NULL);
        /* More buffers than one request of the back end takes. */
        set_lba(prepare(&a, 0, 0x25, 500, 1024), 100, 1000);
        assert_int_equal(issue(&a) & 0xff, 0x50);
        assert_true(data_is_image(&a, 100 * 512, 512000));
        assert_int_equal(get_le32(mem_at(a.r.mem, LIST_AT + 4, 4)), 512000);
        ahci_finish(&a);
}

static void
ahci_queued_commands_end_by_set_device_bits(void **state)
{
        struct ahci_rig a;

        ahci_start(&a, "hd", NULL, NULL);
        for (unsigned slot = 0; slot < 32; slot++) {
                uint8_t *fis = prepare(&a, slot, 0x60, 1, 512);

                set_lba(fis, slot, 0);
                fis[3] = 1;
                put_le64(fis + 0x80, DATA_AT + 512 * slot);
        }
        pput(&a, P_SACT, UINT32_MAX);
        pput(&a, P_CI, UINT32_MAX);
        wait_bits(&a, P_SACT, UINT32_MAX, 0);
        assert_int_equal(pget(&a, P_CI), 0);
        assert_int_equal(pget(&a, P_IS) & 0x40000009, 8);
        assert_int_equal(*(uint8_t *)mem_at(a.r.mem, RECEIVED_AT + 0x58, 1), 0xa1);
        assert_true(data_is_image(&a, 0, 32 * 512));
        ahci_finish(&a);
}

static void
ahci_failed_queued_command_is_in_the_log(void **state)
{
        struct ahci_rig a;
        uint8_t *fis;
        uint8_t *log;

        ahci_start(&a, "hd", NULL, NULL);
        log = mem_at(a.r.mem, DATA_AT, 512);
        fis = prepare(&a, 3, 0x60, 1, 512);
        set_lba(fis, IMAGE_BYTES / 512, 0);
        fis[3] = 1;
        pput(&a, P_SACT, 8);
        pput(&a, P_CI, 8);
        wait_bits(&a, P_IS, 0x40000000, 0x40000000);
        assert_int_equal(pget(&a, P_SACT), 8);
        pput(&a, P_CMD, 0x10);
        pput(&a, P_IS, UINT32_MAX);
        pput(&a, P_CMD, 0x11);
        assert_int_equal(pget(&a, P_SACT), 0);
        fis = prepare(&a, 0, 0x2f, 1, 512);
        set_lba(fis, 0x10, 1);
        assert_int_equal(issue(&a) & 0xff, 0x50);
        assert_int_equal(log[0], 3);
        assert_int_equal(log[2] & 1, 1);
        assert_int_equal(log[3], 4);
        ahci_finish(&a);
}

static void
ahci_bad_commands_fail_and_the_port_recovers(void **state)
{
        struct ahci_rig a;

        ahci_start(&a, "hd", NULL, NULL);
        prepare(&a, 0, 0x00, 0, 0);
        assert_int_equal(issue(&a), 0x451);
        set_lba(prepare(&a, 0, 0x25, 1, 512), IMAGE_BYTES / 512, 1);
        assert_int_equal(issue(&a), 0x451);
        set_lba(prepare(&a, 0, 0x25, 1, 512), 0xffffffffffffull, 0);
        assert_int_equal(issue(&a), 0x451);
        /* Scatter list too short, absent, or in no memory. */
        set_lba(prepare(&a, 0, 0x25, 1, 512), 0, 2);
        assert_int_equal(issue(&a), 0x451);
        set_lba(prepare(&a, 0, 0x25, 0, 0), 0, 1);
        assert_int_equal(issue(&a), 0x451);
        put_le64(prepare(&a, 0, 0xec, 1, 512) + 0x80, UINT64_MAX - 100);
        assert_int_equal(issue(&a), 0x451);
        prepare(&a, 0, 0xa1, 1, 512);
        assert_int_equal(issue(&a), 0x451);
        set_lba(prepare(&a, 0, 0x25, 1, 512), 5, 1);
        assert_int_equal(issue(&a) & 0xff, 0x50);
        assert_true(data_is_image(&a, 5 * 512, 512));
        ahci_finish(&a);
}

static void
ahci_command_list_outside_of_memory_is_a_bus_error(void **state)
{
        struct ahci_rig a;

        ahci_start(&a, "hd", NULL, NULL);
        pput(&a, P_CMD, 0);
        pput(&a, P_CLB, 0xfee00000);
        pput(&a, P_CMD, 0x11);
        pput(&a, P_CI, 1);
        wait_bits(&a, P_IS, 0x20000000, 0x20000000);
        pput(&a, P_CMD, 0);
        start_port(&a);
        /* The table, and what should be a FIS. */
        prepare(&a, 0, 0xec, 1, 512);
        put_le64(mem_at(a.r.mem, LIST_AT + 8, 8), UINT64_MAX);
        pput(&a, P_CI, 1);
        wait_bits(&a, P_IS, 0x20000000, 0x20000000);
        pput(&a, P_CMD, 0);
        start_port(&a);
        prepare(&a, 0, 0xec, 1, 512)[0] = 0x42;
        pput(&a, P_CI, 1);
        wait_bits(&a, P_IS, 0x20000000, 0x20000000);
        ahci_finish(&a);
}

static void
ahci_trim_clears_each_range(void **state)
{
        struct ahci_rig a;
        uint8_t *ranges;
        uint8_t zeros[512] = { 0 };
        struct stat before;
        struct stat after;
        uint8_t *fis;

        ahci_start(&a, "hd", NULL, NULL);
        prepare(&a, 0, 0xe7, 0, 0);
        issue(&a);
        assert_int_equal(stat(a.path, &before), 0);
        fis = prepare(&a, 0, 0x06, 1, 512);
        fis[3] = 1;
        set_lba(fis, 0, 1);
        ranges = mem_at(a.r.mem, DATA_AT, 512);
        memset(ranges, 0, 512);
        put_le64(ranges + 8, 256ull | 128ull << 48);
        put_le64(ranges + 24, 1024ull | 64ull << 48);
        assert_int_equal(issue(&a) & 0xff, 0x50);
        assert_int_equal(stat(a.path, &after), 0);
        assert_true(after.st_blocks <= before.st_blocks - 192);
        set_lba(prepare(&a, 0, 0x25, 1, 512), 1024 + 63, 1);
        issue(&a);
        assert_memory_equal(mem_at(a.r.mem, DATA_AT, 512), zeros, 512);
        set_lba(prepare(&a, 0, 0x25, 1, 512), 1024 + 64, 1);
        issue(&a);
        assert_true(data_is_image(&a, (1024 + 64) * 512, 512));
        ahci_finish(&a);
}

static void
ahci_resets_bring_the_device_back(void **state)
{
        struct ahci_rig a;
        uint8_t *fis;

        ahci_start(&a, "hd", NULL, NULL);
        /* COMRESET. */
        pput(&a, P_CMD, 0x10);
        pput(&a, P_SCTL, 0x301);
        assert_int_equal(pget(&a, P_SSTS), 0);
        pput(&a, P_SCTL, 0x300);
        assert_int_equal(pget(&a, P_SSTS), 0x133);
        assert_int_equal(pget(&a, P_TFD), 0x150);
        assert_true((pget(&a, P_SERR) & 1u << 26) != 0);
        pput(&a, P_CMD, 0x11);
        /* Software reset. */
        fis = prepare(&a, 0, 0, 0, 0);
        fis[1] = 0;
        fis[15] = 4;
        pput(&a, P_CI, 1);
        wait_bits(&a, P_CI, 1, 0);
        pput(&a, P_IS, UINT32_MAX);
        fis[15] = 0;
        pput(&a, P_CI, 1);
        wait_bits(&a, P_IS, 1, 1);
        assert_int_equal(get_le32(mem_at(a.r.mem, RECEIVED_AT + 0x44, 4)) & 0xffffff, 1);
        /* HBA reset. */
        put(&a, GHC, 0x80000001);
        assert_int_equal(get(&a, GHC), 0x80000000);
        assert_int_equal(pget(&a, P_CLB), 0);
        put(&a, GHC, 0x80000002);
        start_port(&a);
        set_lba(prepare(&a, 0, 0x25, 1, 512), 5, 1);
        assert_int_equal(issue(&a) & 0xff, 0x50);
        ahci_finish(&a);
}

static void
ahci_interrupt_line_follows_status_and_enable(void **state)
{
        struct ahci_rig a;

        ahci_start(&a, "hd", NULL, NULL);
        prepare(&a, 0, 0xe7, 0, 0);
        issue(&a);
        assert_int_equal(get(&a, HIS), 1);
        assert_true(a.r.line);
        put(&a, HIS, 1);
        assert_int_equal(get(&a, HIS), 1);
        pput(&a, P_IS, UINT32_MAX);
        put(&a, HIS, 1);
        assert_int_equal(get(&a, HIS), 0);
        assert_false(a.r.line);
        pput(&a, P_IE, 0);
        prepare(&a, 0, 0xe7, 0, 0);
        issue(&a);
        assert_false(a.r.line);
        pput(&a, P_IE, 1);
        assert_true(a.r.line);
        put(&a, GHC, 0x80000000);
        assert_false(a.r.line);
        ahci_finish(&a);
}

static void
ahci_write_to_a_read_only_disk_fails(void **state)
{
        struct ahci_rig a;

        ahci_start(&a, "hd", "port.0.ro", "true");
        set_lba(prepare(&a, 0, 0x35, 1, 512), 0, 1);
        assert_int_equal(issue(&a), 0x451);
        ahci_finish(&a);
}

static uint32_t
packet(struct ahci_rig *a, const uint8_t *cdb, uint32_t bytes)
{
        uint8_t *fis = prepare(a, 0, 0xa0, bytes != 0, bytes != 0 ? bytes : 1);

        fis[3] = 1;
        memcpy(fis + 0x40, cdb, 12);
        put_le16(mem_at(a->r.mem, LIST_AT, 2), 5 | 0x20);
        return issue(a);
}

static void
ahci_cd_answers_packet_commands(void **state)
{
        struct ahci_rig a;
        uint8_t *data;

        ahci_start(&a, "cd", NULL, NULL);
        data = mem_at(a.r.mem, DATA_AT, 4096);
        assert_int_equal(pget(&a, P_SIG), 0xeb140101);
        prepare(&a, 0, 0xec, 1, 512);
        assert_int_equal(issue(&a) & 1, 1);
        prepare(&a, 0, 0xa1, 1, 512);
        assert_int_equal(issue(&a) & 0xff, 0x50);
        assert_int_equal(get_le16(data), 0x85c0);
        assert_int_equal(packet(&a, (const uint8_t[12]){ 0x00 }, 0) & 0xff, 0x50);
        assert_int_equal(packet(&a, (const uint8_t[12]){ 0x12, 0, 0, 0, 36 }, 36) & 0xff, 0x50);
        assert_int_equal(data[0], 5);
        assert_memory_equal(data + 8, "BHYVE   BHYVE DVD-ROM   001 ", 28);
        assert_int_equal(packet(&a, (const uint8_t[12]){ 0x25 }, 8) & 0xff, 0x50);
        assert_int_equal(get_be32(data), IMAGE_BYTES / 2048 - 1);
        assert_int_equal(get_be32(data + 4), 2048);
        assert_int_equal(packet(&a, (const uint8_t[12]){ 0x28, 0, 0, 0, 0, 3, 0, 0, 2 }, 4096) & 0xff, 0x50);
        assert_true(data_is_image(&a, 3 * 2048, 4096));
        assert_int_equal(packet(&a, (const uint8_t[12]){ 0xa8, 0, 0, 0, 0, 1, 0, 0, 0, 1 }, 2048) & 0xff, 0x50);
        assert_true(data_is_image(&a, 2048, 2048));
        assert_int_equal(packet(&a, (const uint8_t[12]){ 0x43, 0, 0, 0, 0, 0, 0, 0, 20 }, 20) & 0xff, 0x50);
        assert_int_equal(get_be16(data), 18);
        assert_int_equal(data[14], 0xaa);
        assert_int_equal(get_be32(data + 16), IMAGE_BYTES / 2048);
        ahci_finish(&a);
}

static void
ahci_cd_reports_errors_by_sense(void **state)
{
        struct ahci_rig a;
        uint8_t *data;

        ahci_start(&a, "cd", NULL, NULL);
        data = mem_at(a.r.mem, DATA_AT, 18);
        assert_int_equal(packet(&a, (const uint8_t[12]){ 0x28, 0, 0xff, 0xff, 0xff, 0xff, 0, 0xff, 0xff }, 2048) &
                0xf0ff, 0x5051);
        assert_int_equal(packet(&a, (const uint8_t[12]){ 0x03, 0, 0, 0, 18 }, 18) & 0xff, 0x50);
        assert_int_equal(data[2], 5);
        assert_int_equal(data[12], 0x21);
        assert_int_equal(packet(&a, (const uint8_t[12]){ 0x2a, 0, 0, 0, 0, 0, 0, 0, 1 }, 2048) & 1, 1);
        assert_int_equal(packet(&a, (const uint8_t[12]){ 0x03, 0, 0, 0, 18 }, 18) & 0xff, 0x50);
        assert_int_equal(data[12], 0x20);
        assert_int_equal(packet(&a, (const uint8_t[12]){ 0x03, 0, 0, 0, 18 }, 18) & 0xff, 0x50);
        assert_int_equal(data[2], 0);
        /* More allocated than the scatter list holds. */
        assert_int_equal(packet(&a, (const uint8_t[12]){ 0x12, 0, 0, 0, 36 }, 8) & 1, 1);
        ahci_finish(&a);
}

static void
ahci_ports_are_apart_and_may_be_empty(void **state)
{
        struct ahci_rig a;
        char *second = rig_image(64 * KIB);

        memset(&a, 0, sizeof(a));
        pci_rig_start(&a.r);
        a.path = rig_image(IMAGE_BYTES);
        pci_rig_set(&a.r, "port.0.path", a.path);
        pci_rig_set(&a.r, "port.2.path", second);
        pci_rig_set(&a.r, "port.3.type", "cd");
        assert_int_equal(pci_rig_create(&a.r, "ahci-hd"), 0);
        a.abar = rig_config_read(&a.r, PCI_CFG_BAR0 + 20, 4) & ~15u;
        put(&a, GHC, 0x80000002);
        assert_int_equal(get(&a, 0x0c), 0xd);
        assert_int_equal(get(&a, 0) & 0x1f, 3);
        a.port = 1;
        assert_int_equal(pget(&a, P_SSTS), 0);
        start_port(&a);
        pput(&a, P_CI, 1);
        assert_int_equal(pget(&a, P_CI), 0);
        a.port = 2;
        start_port(&a);
        prepare(&a, 0, 0xec, 1, 512);
        assert_int_equal(issue(&a) & 0xff, 0x50);
        assert_int_equal(get_le64(mem_at(a.r.mem, DATA_AT + 200, 8)), 128);
        a.port = 3;
        start_port(&a);
        assert_int_equal(packet(&a, (const uint8_t[12]){ 0x00 }, 0) & 0xf001, 0x2001);
        assert_int_equal(packet(&a, (const uint8_t[12]){ 0x28, 0, 0, 0, 0, 0, 0, 0, 1 }, 2048) & 0xf001, 0x2001);
        ahci_finish(&a);
        rig_image_free(second);
}

static void
ahci_stop_with_commands_in_flight_is_clean(void **state)
{
        struct ahci_rig a;

        ahci_start(&a, "hd", "port.0.nocache", "true");
        for (unsigned round = 0; round < 20; round++) {
                for (unsigned slot = 0; slot < 8; slot++) {
                        uint8_t *fis = prepare(&a, slot, 0x60, 1, 65536);

                        set_lba(fis, 128 * slot, 0);
                        fis[3] = 128;
                }
                pput(&a, P_SACT, 0xff);
                pput(&a, P_CI, 0xff);
                pput(&a, P_CMD, 0x10);
                assert_int_equal(pget(&a, P_CI) | pget(&a, P_SACT), 0);
                memset(mem_at(a.r.mem, DATA_AT, 65536), 0x77, 65536);
                usleep(1000);
                for (unsigned i = 0; i < 65536; i += 4096)
                        assert_int_equal(*(uint8_t *)mem_at(a.r.mem, DATA_AT + i, 1), 0x77);
                pput(&a, P_CMD, 0x11);
        }
        ahci_finish(&a);
}

int
main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(ahci_controller_says_what_it_is),
                cmocka_unit_test(ahci_identify_describes_the_disk),
                cmocka_unit_test(ahci_dma_reads_and_writes_the_disk),
                cmocka_unit_test(ahci_transfer_of_many_small_buffers_is_whole),
                cmocka_unit_test(ahci_queued_commands_end_by_set_device_bits),
                cmocka_unit_test(ahci_failed_queued_command_is_in_the_log),
                cmocka_unit_test(ahci_bad_commands_fail_and_the_port_recovers),
                cmocka_unit_test(ahci_command_list_outside_of_memory_is_a_bus_error),
                cmocka_unit_test(ahci_trim_clears_each_range),
                cmocka_unit_test(ahci_resets_bring_the_device_back),
                cmocka_unit_test(ahci_interrupt_line_follows_status_and_enable),
                cmocka_unit_test(ahci_write_to_a_read_only_disk_fails),
                cmocka_unit_test(ahci_cd_answers_packet_commands),
                cmocka_unit_test(ahci_cd_reports_errors_by_sense),
                cmocka_unit_test(ahci_ports_are_apart_and_may_be_empty),
                cmocka_unit_test(ahci_stop_with_commands_in_flight_is_clean),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
