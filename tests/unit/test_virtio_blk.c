/* SPDX-License-Identifier: BSD-2-Clause */
/* virtio-blk and virtio-rnd through PCI, as old and new drivers see them. */
#include "virtio_rig.h"

#include <errno.h>
#include <sys/stat.h>

#define IMAGE_BYTES (1 * MIB)

#define T_IN           0
#define T_OUT          1
#define T_FLUSH        4
#define T_GET_ID       8
#define T_DISCARD      11
#define T_WRITE_ZEROES 13

#define HEADER_AT RIG_DATA_AT
#define STATUS_AT (RIG_DATA_AT + 0x800u)
#define BUFFER_AT (RIG_DATA_AT + 0x1000u)

#define F_FLUSH     (1ull << 9)
#define F_EVENT_IDX (1ull << 29)
#define F_VERSION_1 (1ull << 32)
#define F_ALL       UINT64_MAX

struct blk_rig {
        struct pci_rig r;
        char *path;
};

static void
blk_start(struct blk_rig *b, const char *key, const char *value)
{
        pci_rig_start(&b->r);
        b->path = rig_image(IMAGE_BYTES);
        pci_rig_set(&b->r, "path", b->path);
        if (key != NULL)
                pci_rig_set(&b->r, key, value);
        assert_int_equal(pci_rig_create(&b->r, "virtio-blk"), 0);
}

static void
blk_finish(struct blk_rig *b)
{
        pci_rig_finish(&b->r);
        rig_image_free(b->path);
}

/* One request with its data in one buffer at BUFFER_AT; the status byte. */
static int
blk_request(struct blk_rig *b, uint32_t type, uint64_t sector, uint32_t len, bool device_writes)
{
        struct pci_rig *r = &b->r;
        uint8_t *header = mem_at(r->mem, HEADER_AT, 16);
        uint8_t *status = mem_at(r->mem, STATUS_AT, 1);
        unsigned head = 77;
        uint32_t written;

        put_le32(header, type);
        put_le32(header + 4, 0);
        put_le64(header + 8, sector);
        *status = 0xee;
        rig_put_desc(r, 0, 0, HEADER_AT, 16, RIG_NEXT, len != 0 ? 1 : 2);
        rig_put_desc(r, 0, 1, BUFFER_AT, len, RIG_NEXT | (device_writes ? RIG_WRITE : 0), 2);
        rig_put_desc(r, 0, 2, STATUS_AT, 1, RIG_WRITE, 0);
        rig_offer(r, 0, 0);
        written = rig_take_used(r, 0, &head);
        assert_int_equal(head, 0);
        if (*status == 0 && type == T_IN)
                assert_int_equal(written, len + 1);
        else if (type != T_GET_ID)
                assert_int_equal(written, 1);
        return *status;
}

static bool
buffer_is_image(struct blk_rig *b, uint64_t offset, unsigned len)
{
        const uint8_t *p = mem_at(b->r.mem, BUFFER_AT, len);

        for (unsigned i = 0; i < len; i++)
                if (p[i] != (uint8_t)((offset + i) / 512 + offset + i))
                        return false;
        return true;
}

static void
check_read_and_write(struct blk_rig *b)
{
        uint8_t *buf = mem_at(b->r.mem, BUFFER_AT, 8192);
        uint8_t disk[512];
        FILE *f;

        assert_int_equal(blk_request(b, T_IN, 3, 4096, true), 0);
        assert_true(buffer_is_image(b, 3 * 512, 4096));
        memset(buf, 0x42, 512);
        assert_int_equal(blk_request(b, T_OUT, 7, 512, false), 0);
        assert_int_equal(blk_request(b, T_FLUSH, 0, 0, false), 0);
        f = fopen(b->path, "rb");
        assert_int_equal(fseek(f, 7 * 512, SEEK_SET), 0);
        assert_int_equal(fread(disk, 1, 512, f), 512);
        fclose(f);
        assert_memory_equal(disk, buf, 512);
        assert_int_equal(blk_request(b, T_IN, 8, 512, true), 0);
        assert_true(buffer_is_image(b, 8 * 512, 512));
}

static void
virtio_blk_works_for_an_old_driver(void **state)
{
        for (unsigned msix = 0; msix < 2; msix++) {
                struct blk_rig b;

                blk_start(&b, NULL, NULL);
                assert_int_equal(rig_config_read(&b.r, PCI_CFG_VENDOR, 4), 0x10011af4);
                assert_int_equal(rig_config_read(&b.r, PCI_CFG_SUBVENDOR, 4), 0x00021af4);
                assert_int_equal(rig_config_read(&b.r, PCI_CFG_REVISION, 1), 0);
                if (msix)
                        rig_enable_msix(&b.r, 2);
                legacy_init(&b.r, F_FLUSH, 1, msix);
                assert_int_equal(legacy_get(&b.r, 12, 2), 256);
                assert_int_equal(legacy_get(&b.r, msix ? 24 : 20, 4), IMAGE_BYTES / 512);
                assert_int_equal(legacy_get(&b.r, (msix ? 24 : 20) + 20, 4), 512);
                check_read_and_write(&b);
                pthread_mutex_lock(&b.r.rig.lock);
                if (msix)
                        assert_true(b.r.msi_count[1] >= 4);
                else
                        assert_true(b.r.line);
                pthread_mutex_unlock(&b.r.rig.lock);
                if (!msix) {
                        assert_int_equal(legacy_get(&b.r, 19, 1), 1);
                        assert_false(b.r.line);
                        assert_int_equal(legacy_get(&b.r, 19, 1), 0);
                }
                blk_finish(&b);
        }
}

static void
virtio_blk_works_for_a_new_driver(void **state)
{
        for (unsigned msix = 0; msix < 2; msix++) {
                struct blk_rig b;

                blk_start(&b, NULL, NULL);
                if (msix)
                        rig_enable_msix(&b.r, 2);
                assert_int_equal(modern_init(&b.r, F_ALL & ~F_EVENT_IDX, 1, msix), 1 | 2 | 4 | 8);
                assert_int_equal(modern_get(&b.r, 0x2000, 8), IMAGE_BYTES / 512);
                assert_int_equal(modern_get(&b.r, 18, 2), 1);
                check_read_and_write(&b);
                if (msix)
                        assert_true(b.r.msi_count[1] >= 4);
                else
                        assert_int_equal(modern_get(&b.r, 0x1000, 1), 1);
                blk_finish(&b);
        }
}

static void
virtio_blk_sends_msi_where_msix_is_not_wanted(void **state)
{
        struct blk_rig b;
        unsigned cap;

        pci_rig_start(&b.r);
        b.r.env.virtio_msix = false;
        b.path = rig_image(IMAGE_BYTES);
        pci_rig_set(&b.r, "path", b.path);
        assert_int_equal(pci_rig_create(&b.r, "virtio-blk"), 0);
        assert_int_equal(rig_find_cap(&b.r, PCI_CAP_MSIX, 0), 0);
        cap = rig_find_cap(&b.r, PCI_CAP_MSI, 0);
        assert_true(cap != 0);
        rig_config_write(&b.r, cap + 4, 4, (uint32_t)RIG_MSI_ADDR);
        rig_config_write(&b.r, cap + 8, 4, 0);
        rig_config_write(&b.r, cap + 12, 2, 5);
        rig_config_write(&b.r, cap + 2, 2, 1);
        legacy_init(&b.r, F_FLUSH, 1, false);
        check_read_and_write(&b);
        assert_true(b.r.msi_count[5] >= 4);
        assert_false(b.r.line);
        blk_finish(&b);
}

static void
virtio_pci_capabilities_describe_the_modern_bar(void **state)
{
        struct blk_rig b;
        unsigned seen = 0;

        blk_start(&b, NULL, NULL);
        for (unsigned nth = 0; nth < 5; nth++) {
                unsigned cap = rig_find_cap(&b.r, PCI_CAP_VENDOR, nth);

                assert_true(cap != 0);
                seen |= 1u << rig_config_read(&b.r, cap + 3, 1);
                assert_true(rig_config_read(&b.r, cap + 8, 4) < 0x4000);
                if (rig_config_read(&b.r, cap + 3, 1) == 2)
                        assert_int_equal(rig_config_read(&b.r, cap + 16, 4), 4);
        }
        assert_int_equal(seen, 0x3e);
        assert_int_equal(rig_find_cap(&b.r, PCI_CAP_VENDOR, 5), 0);
        blk_finish(&b);
}

static void
virtio_pci_config_window_reaches_the_device(void **state)
{
        struct blk_rig b;
        unsigned cap = 0;

        blk_start(&b, NULL, NULL);
        for (unsigned nth = 0; nth < 5; nth++)
                if (rig_config_read(&b.r, rig_find_cap(&b.r, PCI_CAP_VENDOR, nth) + 3, 1) == 5)
                        cap = rig_find_cap(&b.r, PCI_CAP_VENDOR, nth);
        assert_true(cap != 0);
        rig_config_write(&b.r, cap + 4, 1, 4);
        rig_config_write(&b.r, cap + 8, 4, 0x2000);
        rig_config_write(&b.r, cap + 12, 4, 4);
        assert_int_equal(rig_config_read(&b.r, cap + 16, 4), IMAGE_BYTES / 512);
        rig_config_write(&b.r, cap + 8, 4, 20);
        rig_config_write(&b.r, cap + 12, 4, 1);
        rig_config_write(&b.r, cap + 16, 1, 3);
        assert_int_equal(modern_get(&b.r, 20, 1), 3);
        /* Out of the BAR: nothing happens. */
        rig_config_write(&b.r, cap + 8, 4, 0xfffffffc);
        rig_config_write(&b.r, cap + 12, 4, 4);
        rig_config_read(&b.r, cap + 16, 4);
        blk_finish(&b);
}

static void
virtio_features_that_were_not_offered_are_refused(void **state)
{
        struct blk_rig b;

        blk_start(&b, NULL, NULL);
        modern_put(&b.r, 20, 1, 3);
        modern_put(&b.r, 8, 4, 1);
        modern_put(&b.r, 12, 4, 1 | 0x40000000);
        modern_put(&b.r, 20, 1, 3 | 8);
        assert_int_equal(modern_get(&b.r, 20, 1), 3);
        modern_put(&b.r, 12, 4, 0);
        modern_put(&b.r, 20, 1, 3 | 8);
        assert_int_equal(modern_get(&b.r, 20, 1), 3);
        modern_put(&b.r, 12, 4, 1);
        modern_put(&b.r, 20, 1, 3 | 8);
        assert_int_equal(modern_get(&b.r, 20, 1), 3 | 8);
        blk_finish(&b);
}

static void
virtio_wild_vectors_and_queues_read_back_as_none(void **state)
{
        struct blk_rig b;

        blk_start(&b, NULL, NULL);
        modern_put(&b.r, 16, 2, 2);
        assert_int_equal(modern_get(&b.r, 16, 2), 0xffff);
        modern_put(&b.r, 16, 2, 1);
        assert_int_equal(modern_get(&b.r, 16, 2), 1);
        modern_put(&b.r, 22, 2, 9);
        assert_int_equal(modern_get(&b.r, 24, 2), 0);
        modern_put(&b.r, 28, 2, 1);
        modern_put(&b.r, 0x3000 + 4 * 900, 2, 900);
        legacy_put(&b.r, 16, 2, 0xffff);
        blk_finish(&b);
}

static void
virtio_blk_bad_ranges_fail_without_harm(void **state)
{
        struct blk_rig b;

        blk_start(&b, NULL, NULL);
        modern_init(&b.r, F_ALL & ~F_EVENT_IDX, 1, false);
        assert_int_equal(blk_request(&b, T_IN, IMAGE_BYTES / 512, 512, true), 1);
        assert_int_equal(blk_request(&b, T_IN, IMAGE_BYTES / 512 - 1, 1024, true), 1);
        assert_int_equal(blk_request(&b, T_OUT, UINT64_MAX, 512, false), 1);
        assert_int_equal(blk_request(&b, T_OUT, UINT64_MAX / 512, 512, false), 1);
        assert_int_equal(blk_request(&b, T_IN, 0, 511, true), 1);
        assert_int_equal(blk_request(&b, 99, 0, 512, true), 2);
        assert_int_equal(blk_request(&b, T_DISCARD, 0, 8, false), 1);
        assert_int_equal(blk_request(&b, T_IN, 0, 512, true), 0);
        assert_true(buffer_is_image(&b, 0, 512));
        blk_finish(&b);
}

static void
virtio_blk_identity_is_the_serial_or_comes_from_the_path(void **state)
{
        struct blk_rig b;

        blk_start(&b, "ser", "DISK-ONE");
        modern_init(&b.r, F_ALL & ~F_EVENT_IDX, 1, false);
        assert_int_equal(blk_request(&b, T_GET_ID, 0, 20, true), 0);
        assert_memory_equal(mem_at(b.r.mem, BUFFER_AT, 20), "DISK-ONE\0\0\0\0\0\0\0\0\0\0\0", 20);
        blk_finish(&b);
        memset(&b, 0, sizeof(b));
        blk_start(&b, NULL, NULL);
        modern_init(&b.r, F_ALL & ~F_EVENT_IDX, 1, false);
        assert_int_equal(blk_request(&b, T_GET_ID, 0, 20, true), 0);
        assert_memory_equal(mem_at(b.r.mem, BUFFER_AT, 6), "BHYVE-", 6);
        assert_int_equal(blk_request(&b, T_GET_ID, 0, 5, true), 0);
        blk_finish(&b);
}

static int
blk_range_request(struct blk_rig *b, uint32_t type, uint64_t sector, uint32_t sectors, uint32_t flags)
{
        uint8_t *p = mem_at(b->r.mem, BUFFER_AT, 16);

        put_le64(p, sector);
        put_le32(p + 8, sectors);
        put_le32(p + 12, flags);
        return blk_request(b, type, 0, 16, false);
}

static void
virtio_blk_discard_and_write_zeroes_clear_their_range(void **state)
{
        struct blk_rig b;
        uint8_t zeros[1024] = { 0 };
        struct stat before;
        struct stat after;

        blk_start(&b, NULL, NULL);
        modern_init(&b.r, F_ALL & ~F_EVENT_IDX, 1, false);
        assert_int_equal(blk_request(&b, T_FLUSH, 0, 0, false), 0);
        assert_int_equal(stat(b.path, &before), 0);
        assert_int_equal(blk_range_request(&b, T_DISCARD, 256, 256, 0), 0);
        assert_int_equal(stat(b.path, &after), 0);
        assert_true(after.st_blocks < before.st_blocks);
        assert_int_equal(blk_range_request(&b, T_WRITE_ZEROES, 2, 1, 0), 0);
        assert_int_equal(blk_range_request(&b, T_WRITE_ZEROES, 3, 1, 1), 0);
        assert_int_equal(blk_request(&b, T_IN, 2, 1024, true), 0);
        assert_memory_equal(mem_at(b.r.mem, BUFFER_AT, 1024), zeros, 1024);
        assert_int_equal(blk_range_request(&b, T_DISCARD, 0, 8, 1), 2);
        assert_int_equal(blk_range_request(&b, T_WRITE_ZEROES, 0, 8, 2), 2);
        assert_int_equal(blk_range_request(&b, T_DISCARD, IMAGE_BYTES / 512, 8, 0), 1);
        assert_int_equal(blk_range_request(&b, T_WRITE_ZEROES, UINT64_MAX, 8, 0), 1);
        assert_int_equal(blk_range_request(&b, T_WRITE_ZEROES, 0, UINT32_MAX, 0), 1);
        assert_int_equal(blk_request(&b, T_IN, 4, 512, true), 0);
        assert_true(buffer_is_image(&b, 4 * 512, 512));
        blk_finish(&b);
}

static void
virtio_blk_read_only_is_offered_and_kept(void **state)
{
        struct blk_rig b;

        blk_start(&b, "ro", "true");
        modern_init(&b.r, F_ALL & ~F_EVENT_IDX, 1, false);
        assert_true((legacy_get(&b.r, 0, 4) & 1u << 5) != 0);
        assert_int_equal(legacy_get(&b.r, 0, 4) & (1u << 13 | 1u << 14), 0);
        assert_int_equal(blk_request(&b, T_OUT, 0, 512, false), 1);
        assert_int_equal(blk_request(&b, T_IN, 0, 512, true), 0);
        assert_true(buffer_is_image(&b, 0, 512));
        blk_finish(&b);
}

static void
virtio_blk_sectorsize_is_shown(void **state)
{
        struct blk_rig b;

        blk_start(&b, "sectorsize", "4096/8192");
        modern_init(&b.r, F_ALL & ~F_EVENT_IDX, 1, false);
        assert_int_equal(modern_get(&b.r, 0x2000 + 20, 4), 4096);
        assert_int_equal(modern_get(&b.r, 0x2000 + 24, 1), 1);
        assert_int_equal(modern_get(&b.r, 0x2000, 8), IMAGE_BYTES / 512);
        blk_finish(&b);
}

static void
virtio_blk_second_disk_on_the_same_image_is_refused(void **state)
{
        struct blk_rig b;
        struct pci_rig other;

        blk_start(&b, NULL, NULL);
        pci_rig_start(&other);
        pci_rig_set(&other, "path", b.path);
        assert_int_equal(pci_rig_create(&other, "virtio-blk"), -EBUSY);
        assert_null(pci_bus_find(other.pci, 0, RIG_SLOT, 0));
        pci_rig_finish(&other);
        blk_finish(&b);
}

static bool
needs_reset(void *ctx)
{
        struct pci_rig *r = ctx;
        uint64_t status = 0;

        pthread_mutex_unlock(&r->rig.lock);
        status = modern_get(r, 20, 1);
        pthread_mutex_lock(&r->rig.lock);
        return (status & 0x40) != 0;
}

static void
virtio_blk_broken_ring_needs_a_reset_and_works_after_it(void **state)
{
        struct blk_rig b;

        blk_start(&b, NULL, NULL);
        rig_enable_msix(&b.r, 2);
        modern_put(&b.r, 16, 2, 0);
        modern_init(&b.r, F_ALL & ~F_EVENT_IDX, 1, true);
        modern_put(&b.r, 16, 2, 0);
        rig_put_desc(&b.r, 0, 0, HEADER_AT, 16, RIG_NEXT, 0);
        rig_offer(&b.r, 0, 0);
        assert_true(loop_rig_wait(&b.r.rig, needs_reset, &b.r));
        assert_int_equal(b.r.msi_count[0], 1);
        /* A request without a status byte, after a reset. */
        b.r.avail[0] = b.r.used[0] = 0;
        memset(mem_at(b.r.mem, ring_base(0), 0x10000), 0, 0x10000);
        modern_init(&b.r, F_ALL & ~F_EVENT_IDX, 1, true);
        rig_put_desc(&b.r, 0, 0, HEADER_AT, 16, 0, 0);
        rig_offer(&b.r, 0, 0);
        assert_true(loop_rig_wait(&b.r.rig, needs_reset, &b.r));
        b.r.avail[0] = b.r.used[0] = 0;
        memset(mem_at(b.r.mem, ring_base(0), 0x10000), 0, 0x10000);
        assert_int_equal(modern_init(&b.r, F_ALL & ~F_EVENT_IDX, 1, true), 1 | 2 | 4 | 8);
        check_read_and_write(&b);
        blk_finish(&b);
}

static void
virtio_blk_many_requests_at_once_all_come_back(void **state)
{
        enum { CHAINS = 85, ROUNDS = 8 };
        struct blk_rig b;
        struct pci_rig *r = &b.r;

        blk_start(&b, NULL, NULL);
        modern_init(r, F_ALL, 1, false);
        for (unsigned round = 0; round < ROUNDS; round++) {
                bool seen[CHAINS] = { false };

                for (unsigned i = 0; i < CHAINS; i++) {
                        uint64_t header = HEADER_AT + 0x100000 + 32 * i;

                        put_le32(mem_at(r->mem, header, 4), T_IN);
                        put_le64(mem_at(r->mem, header + 8, 8), i);
                        *(uint8_t *)mem_at(r->mem, header + 16, 1) = 0xee;
                        rig_put_desc(r, 0, 3 * i, header, 16, RIG_NEXT, 3 * i + 1);
                        rig_put_desc(r, 0, 3 * i + 1, BUFFER_AT + 512 * i, 512, RIG_NEXT | RIG_WRITE, 3 * i + 2);
                        rig_put_desc(r, 0, 3 * i + 2, header + 16, 1, RIG_WRITE, 0);
                        rig_offer(r, 0, 3 * i);
                }
                for (unsigned i = 0; i < CHAINS; i++) {
                        unsigned head;

                        assert_int_equal(rig_take_used(r, 0, &head), 513);
                        assert_false(seen[head / 3]);
                        seen[head / 3] = true;
                        assert_int_equal(*(uint8_t *)mem_at(r->mem, HEADER_AT + 0x100000 + 32 * (head / 3) + 16, 1),
                            0);
                }
                assert_true(buffer_is_image(&b, 0, 512 * CHAINS));
        }
        blk_finish(&b);
}

static void
virtio_blk_reset_with_requests_in_flight_is_clean(void **state)
{
        struct blk_rig b;
        struct pci_rig *r = &b.r;

        blk_start(&b, "nocache", "true");
        put_le32(mem_at(r->mem, HEADER_AT, 4), T_IN);
        put_le64(mem_at(r->mem, HEADER_AT + 8, 8), 8);
        for (unsigned round = 0; round < 20; round++) {
                r->avail[0] = r->used[0] = 0;
                memset(mem_at(r->mem, ring_base(0), 0x10000), 0, 0x10000);
                modern_init(r, F_ALL, 1, false);
                for (unsigned i = 0; i < 80; i++) {
                        rig_put_desc(r, 0, 3 * i, HEADER_AT, 16, RIG_NEXT, 3 * i + 1);
                        rig_put_desc(r, 0, 3 * i + 1, BUFFER_AT, 4096, RIG_NEXT | RIG_WRITE, 3 * i + 2);
                        rig_put_desc(r, 0, 3 * i + 2, STATUS_AT, 1, RIG_WRITE, 0);
                        rig_offer(r, 0, 3 * i);
                }
                modern_put(r, 20, 1, 0);
                assert_int_equal(modern_get(r, 20, 1), 0);
                /* Nothing may touch the buffer from here on. */
                memset(mem_at(r->mem, BUFFER_AT, 4096), 0x77, 4096);
                usleep(2000);
                for (unsigned i = 0; i < 4096; i++)
                        assert_int_equal(*(uint8_t *)mem_at(r->mem, BUFFER_AT + i, 1), 0x77);
        }
        blk_finish(&b);
}

static void
virtio_rnd_fills_buffers_with_random_bytes(void **state)
{
        struct pci_rig r;
        uint8_t zeros[64] = { 0 };

        pci_rig_start(&r);
        assert_int_equal(pci_rig_create(&r, "virtio-rnd"), 0);
        assert_int_equal(rig_config_read(&r, PCI_CFG_VENDOR, 4), 0x10051af4);
        assert_int_equal(rig_config_read(&r, PCI_CFG_SUBVENDOR, 4), 0x00041af4);
        legacy_init(&r, 0, 1, false);
        rig_put_desc(&r, 0, 0, BUFFER_AT, 64, RIG_WRITE, 0);
        rig_offer(&r, 0, 0);
        assert_int_equal(rig_take_used(&r, 0, NULL), 64);
        assert_memory_not_equal(mem_at(r.mem, BUFFER_AT, 64), zeros, 64);
        /* Nothing to write into: it comes back empty. */
        rig_put_desc(&r, 0, 1, BUFFER_AT, 64, 0, 0);
        rig_offer(&r, 0, 1);
        assert_int_equal(rig_take_used(&r, 0, NULL), 0);
        pci_rig_finish(&r);
}

int
main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(virtio_blk_works_for_an_old_driver),
                cmocka_unit_test(virtio_blk_works_for_a_new_driver),
                cmocka_unit_test(virtio_blk_sends_msi_where_msix_is_not_wanted),
                cmocka_unit_test(virtio_pci_capabilities_describe_the_modern_bar),
                cmocka_unit_test(virtio_pci_config_window_reaches_the_device),
                cmocka_unit_test(virtio_features_that_were_not_offered_are_refused),
                cmocka_unit_test(virtio_wild_vectors_and_queues_read_back_as_none),
                cmocka_unit_test(virtio_blk_bad_ranges_fail_without_harm),
                cmocka_unit_test(virtio_blk_identity_is_the_serial_or_comes_from_the_path),
                cmocka_unit_test(virtio_blk_discard_and_write_zeroes_clear_their_range),
                cmocka_unit_test(virtio_blk_read_only_is_offered_and_kept),
                cmocka_unit_test(virtio_blk_sectorsize_is_shown),
                cmocka_unit_test(virtio_blk_second_disk_on_the_same_image_is_refused),
                cmocka_unit_test(virtio_blk_broken_ring_needs_a_reset_and_works_after_it),
                cmocka_unit_test(virtio_blk_many_requests_at_once_all_come_back),
                cmocka_unit_test(virtio_blk_reset_with_requests_in_flight_is_clean),
                cmocka_unit_test(virtio_rnd_fills_buffers_with_random_bytes),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
