/* SPDX-License-Identifier: BSD-2-Clause */
/* SMBIOS 2.8 (DSP0134): a 32-bit entry point, and the structures behind it. */
#include "base/bytes.h"
#include "base/md5.h"
#include "base/util.h"
#include "fwtables/private.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define ENTRY_LEN 0x1f
#define TABLE_AT  0x20 /* offset of the structures */

enum {
        TYPE_BIOS = 0,
        TYPE_SYSTEM = 1,
        TYPE_BOARD = 2,
        TYPE_CHASSIS = 3,
        TYPE_PROCESSOR = 4,
        TYPE_MEMORY_ARRAY = 16,
        TYPE_MEMORY_DEVICE = 17,
        TYPE_MEMORY_RANGE = 19,
        TYPE_BOOT = 32,
        TYPE_END = 127,
};

#define HANDLE_BOARD   0x0200
#define HANDLE_CHASSIS 0x0300
#define HANDLE_MEMORY  0x1000
#define HANDLE_NONE    0xfffe
#define STRINGS_MAX    8

struct builder {
        struct blob *b;
        const struct vm_config *vm;
        size_t start; /* of the structure under construction */
        const char *string[STRINGS_MAX];
        unsigned strings;
        unsigned structures;
        size_t longest;
};

static void
begin(struct builder *d, uint8_t type, uint16_t handle)
{
        d->start = d->b->len;
        d->strings = 0;
        blob_u8(d->b, type);
        blob_u8(d->b, 0);
        blob_u16(d->b, handle);
}

/* The formatted part ends here: its length, then the strings. */
static void
end(struct builder *d)
{
        blob_set8(d->b, d->start + 1, (uint8_t)(d->b->len - d->start));
        for (unsigned i = 0; i < d->strings; i++)
                blob_bytes(d->b, d->string[i], strlen(d->string[i]) + 1);
        blob_zero(d->b, d->strings ? 1 : 2);
        d->structures++;
        if (d->b->len - d->start > d->longest)
                d->longest = d->b->len - d->start;
}

/* A string's number; 0 for one that is not there. */
static void
add_text(struct builder *d, const char *text)
{
        if (!text || !*text || d->strings == STRINGS_MAX) {
                blob_u8(d->b, 0);
                return;
        }
        d->string[d->strings++] = text;
        blob_u8(d->b, (uint8_t)d->strings);
}

static void
add_key(struct builder *d, const char *key)
{
        add_text(d, config_get(d->vm->config, key));
}

static void
add_bios(struct builder *d)
{
        begin(d, TYPE_BIOS, 0x0000);
        add_key(d, "bios.vendor");
        add_key(d, "bios.version");
        blob_u16(d->b, FW_MPTABLE_BASE >> 4);
        add_key(d, "bios.release_date");
        blob_u8(d->b, 0);
        blob_u64(d->b, 0x8); /* characteristics are not given */
        blob_u8(d->b, 0x01); /* ACPI */
        blob_u8(d->b, 0x1c); /* a virtual machine, with an SMBIOS that says what to enable */
        blob_u8(d->b, 14);
        blob_u8(d->b, 0);
        blob_u8(d->b, 0xff);
        blob_u8(d->b, 0xff);
        end(d);
}

/* Without -U the identity follows from the VM's name and the host's, so that it stays (RFC 4122, 4.3). */
void
fwtables_default_uuid(const char *vm_name, uint8_t uuid[16])
{
        char text[256], host[128] = "";

        gethostname(host, sizeof(host) - 1);
        snprintf(text, sizeof(text), "%s%s", vm_name, host);
        md5_digest(text, strlen(text), uuid);
        uuid[6] = (uint8_t)((uuid[6] & 0x0f) | 0x30);
        uuid[8] = (uint8_t)((uuid[8] & 0x3f) | 0x80);
}

/* DSP0134 7.2.1: the first three fields are little-endian, whatever RFC 4122 says. */
static void
add_uuid(struct builder *d)
{
        uint8_t uuid[16];

        if (d->vm->has_uuid)
                memcpy(uuid, d->vm->uuid, sizeof(uuid));
        else
                fwtables_default_uuid(d->vm->name, uuid);
        blob_u32(d->b, get_be32(uuid));
        blob_u16(d->b, get_be16(uuid + 4));
        blob_u16(d->b, get_be16(uuid + 6));
        blob_bytes(d->b, uuid + 8, 8);
}

static void
add_system(struct builder *d)
{
        begin(d, TYPE_SYSTEM, 0x0100);
        add_key(d, "system.manufacturer");
        add_key(d, "system.product_name");
        add_key(d, "system.version");
        add_key(d, "system.serial_number");
        add_uuid(d);
        blob_u8(d->b, 6); /* woken by the power switch */
        add_key(d, "system.sku");
        add_key(d, "system.family_name");
        end(d);
}

static void
add_board(struct builder *d)
{
        begin(d, TYPE_BOARD, HANDLE_BOARD);
        add_key(d, "board.manufacturer");
        add_key(d, "board.product_name");
        add_key(d, "board.version");
        add_key(d, "board.serial_number");
        add_key(d, "board.asset_tag");
        blob_u8(d->b, 0x01); /* a hosting board */
        add_key(d, "board.location");
        blob_u16(d->b, HANDLE_CHASSIS);
        blob_u8(d->b, 0x0a); /* motherboard */
        blob_u8(d->b, 0);
        end(d);
}

static void
add_chassis(struct builder *d)
{
        begin(d, TYPE_CHASSIS, HANDLE_CHASSIS);
        add_key(d, "chassis.manufacturer");
        blob_u8(d->b, 0x02); /* unknown form */
        add_key(d, "chassis.version");
        add_key(d, "chassis.serial_number");
        add_key(d, "chassis.asset_tag");
        blob_u8(d->b, 3); /* safe, at boot: board, power supply, temperature */
        blob_u8(d->b, 3);
        blob_u8(d->b, 3);
        blob_u8(d->b, 2); /* security: unknown */
        blob_u32(d->b, 0);
        blob_u8(d->b, 0);
        blob_u8(d->b, 0);
        blob_u8(d->b, 0);
        blob_u8(d->b, 0);
        add_key(d, "chassis.sku");
        end(d);
}

static void
add_processor(struct builder *d, unsigned socket)
{
        unsigned cores = d->vm->cores, threads = d->vm->cores * d->vm->threads;
        char name[32];

        snprintf(name, sizeof(name), "CPU #%u", socket);
        begin(d, TYPE_PROCESSOR, (uint16_t)(0x0400 + socket));
        add_text(d, name);
        blob_u8(d->b, 3);    /* a central processor */
        blob_u8(d->b, 2);    /* family: unknown */
        add_text(d, " ");
        blob_u64(d->b, 0);
        add_text(d, "None");
        blob_u8(d->b, 0);
        blob_zero(d->b, 6);  /* speeds: unknown */
        blob_u8(d->b, 0x41); /* populated, enabled */
        blob_u8(d->b, 6);    /* upgrade: none */
        blob_u16(d->b, 0xffff);
        blob_u16(d->b, 0xffff);
        blob_u16(d->b, 0xffff);
        blob_zero(d->b, 3);
        blob_u8(d->b, (uint8_t)cores);
        blob_u8(d->b, (uint8_t)cores);
        blob_u8(d->b, (uint8_t)threads);
        blob_u16(d->b, 0x4); /* 64-bit capable */
        blob_u16(d->b, 2);
        end(d);
}

static void
add_memory_array(struct builder *d, uint64_t bytes)
{
        begin(d, TYPE_MEMORY_ARRAY, HANDLE_MEMORY);
        blob_u8(d->b, 3); /* system board */
        blob_u8(d->b, 3); /* system memory */
        blob_u8(d->b, 2); /* error correction: unknown */
        blob_u32(d->b, bytes / KIB < 0x80000000u ? (uint32_t)(bytes / KIB) : 0x80000000u);
        blob_u16(d->b, HANDLE_NONE);
        blob_u16(d->b, 1);
        blob_u64(d->b, bytes / KIB < 0x80000000u ? 0 : bytes);
        end(d);
}

static void
add_memory_device(struct builder *d, uint64_t bytes)
{
        uint64_t mib = bytes / MIB;

        begin(d, TYPE_MEMORY_DEVICE, 0x1100);
        blob_u16(d->b, HANDLE_MEMORY);
        blob_u16(d->b, HANDLE_NONE);
        blob_u16(d->b, 64);
        blob_u16(d->b, 64);
        blob_u16(d->b, mib < 0x7fff ? (uint16_t)mib : 0x7fff);
        blob_u8(d->b, 2); /* form: unknown */
        blob_u8(d->b, 0);
        blob_zero(d->b, 2);
        blob_u8(d->b, 2); /* type: unknown */
        blob_u16(d->b, 0x4);
        blob_u16(d->b, 0);
        blob_zero(d->b, 5);
        blob_u32(d->b, mib < 0x7fff ? 0 : (uint32_t)mib);
        blob_u16(d->b, 0);
        end(d);
}

/* @first and @last in KiB. */
static void
add_memory_range(struct builder *d, uint16_t handle, uint64_t base, uint64_t bytes)
{
        if (!bytes)
                return;
        begin(d, TYPE_MEMORY_RANGE, handle);
        blob_u32(d->b, (uint32_t)(base / KIB));
        blob_u32(d->b, (uint32_t)((base + bytes) / KIB - 1));
        blob_u16(d->b, HANDLE_MEMORY);
        blob_u8(d->b, 1);
        end(d);
}

static void
add_entry_point(struct blob *b, const struct builder *d, size_t table_len)
{
        struct blob entry;

        blob_init(&entry);
        blob_text(&entry, "_SM_", 4);
        blob_u8(&entry, 0);
        blob_u8(&entry, ENTRY_LEN);
        blob_u8(&entry, 2);
        blob_u8(&entry, 8);
        blob_u16(&entry, (uint16_t)d->longest);
        blob_zero(&entry, 6);
        blob_text(&entry, "_DMI_", 5);
        blob_u8(&entry, 0);
        blob_u16(&entry, (uint16_t)table_len);
        blob_u32(&entry, FW_SMBIOS_BASE + TABLE_AT);
        blob_u16(&entry, (uint16_t)d->structures);
        blob_u8(&entry, 0x28);
        blob_checksum(&entry, 0x10, ENTRY_LEN, 0x15);
        blob_checksum(&entry, 0, ENTRY_LEN, 4);
        for (size_t i = 0; i < entry.len; i++)
                blob_set8(b, i, entry.bytes[i]);
        b->failed |= entry.failed;
        blob_finish(&entry);
}

void
smbios_build(struct blob *b, const struct vm_config *vm, uint64_t low_bytes, uint64_t high_bytes)
{
        struct builder d = {.b = b, .vm = vm};

        blob_zero(b, TABLE_AT);
        add_bios(&d);
        add_system(&d);
        add_board(&d);
        add_chassis(&d);
        for (unsigned socket = 0; socket < vm->sockets; socket++)
                add_processor(&d, socket);
        add_memory_array(&d, low_bytes + high_bytes);
        add_memory_device(&d, low_bytes + high_bytes);
        add_memory_range(&d, 0x1300, 0, low_bytes);
        add_memory_range(&d, 0x1301, MEM_HIGH_BASE, high_bytes);
        begin(&d, TYPE_BOOT, 0x2000);
        blob_zero(b, 7); /* no errors at boot */
        end(&d);
        begin(&d, TYPE_END, 0x7f00);
        end(&d);
        add_entry_point(b, &d, b->len - TABLE_AT);
}
