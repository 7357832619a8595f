/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Multiboot Specification 0.6.96: ELF32, ELF64 and the header's own addresses (flag 16).
 *
 * Such a kernel comes from a PC's BIOS, and may go back to real mode: it finds a vector table
 * whose interrupts are acknowledged.  There are no BIOS services.
 */
#include "base/bytes.h"
#include "base/util.h"
#include "boot/direct.h"
#include "base/elf.h"

#include <errno.h>
#include <string.h>

#define HEADER_MAGIC    0x1badb002u
#define LOADER_MAGIC    0x2badb002u
#define HEADER_SEARCH   8192u
#define HEADER_BYTES    12u
#define HEADER_BYTES_16 32u /* with the address fields */

#define WANT_ALIGNED_MODULES 0x00000001u
#define WANT_MEMORY          0x00000002u
#define WANT_MANDATORY       0x0000ffffu
#define HAS_ADDRESSES        0x00010000u

#define INFO_MEMORY  0x001u
#define INFO_CMDLINE 0x004u
#define INFO_MODULES 0x008u
#define INFO_MMAP    0x040u
#define INFO_LOADER  0x200u

#define LOW_INFO    0x6000u
#define LOW_MODULES 0x6100u
#define LOW_MMAP    0x6800u
#define LOW_NAME    0x6f00u
#define LOW_STRINGS 0x20000u

#define MODULE_BYTES 16
#define MMAP_BYTES   24

/* Where every PC has had its timer's handler, and an IRET. */
#define BIOS_SEGMENT 0xf000u
#define BIOS_TIMER   0xfea5u
#define BIOS_IRET    0xff53u
#define BIOS_SLAVE   0xfed0u /* IRQ 8 to 15 */

/* Offset of the header in the file, or -1. */
static long
find_header(const struct boot_file *kernel)
{
        size_t limit = kernel->len < HEADER_SEARCH ? kernel->len : HEADER_SEARCH;

        for (size_t at = 0; at + HEADER_BYTES <= limit; at += 4) {
                const unsigned char *p = kernel->bytes + at;

                if (get_le32(p) == HEADER_MAGIC && get_le32(p) + get_le32(p + 4) + get_le32(p + 8) == 0)
                        return (long)at;
        }
        return -1;
}

bool
boot_is_multiboot(const struct boot_file *kernel)
{
        return find_header(kernel) >= 0;
}

/* Loads by the header's address fields: specification 3.1.3. */
static int
load_by_addresses(const struct boot_file *kernel, size_t header_at, struct guest_mem *mem, uint32_t *ret_entry,
    uint64_t *ret_end, struct config_error *err)
{
        const unsigned char *p = kernel->bytes + header_at;
        uint32_t header_addr, load, load_end, bss_end;
        uint64_t from, len, end;

        if (kernel->len - header_at < HEADER_BYTES_16)
                return config_fail(err, "%s: the kernel is truncated", kernel->path);
        header_addr = get_le32(p + 12);
        load = get_le32(p + 16);
        load_end = get_le32(p + 20);
        bss_end = get_le32(p + 24);
        if (header_addr < load || header_addr - load > header_at || load < BOOT_KERNEL_MIN)
                return config_fail(err, "%s: the Multiboot header's addresses make no sense", kernel->path);
        from = header_at - (header_addr - load);
        len = load_end == 0 ? kernel->len - from : (uint64_t)load_end - load;
        if ((load_end != 0 && load_end < load) || len > kernel->len - from)
                return config_fail(err, "%s: the kernel is truncated", kernel->path);
        end = bss_end > load + len ? bss_end : load + len;
        if (mem_at(mem, load, end - load) == NULL)
                return config_fail(err, "%s: too little memory for the kernel; give the VM more with -m",
                    kernel->path);
        *ret_entry = get_le32(p + 28);
        *ret_end = end;
        return mem_write(mem, load, kernel->bytes + from, len);
}

static int
load_kernel(const struct boot_file *kernel, size_t header_at, uint32_t flags, struct guest_mem *mem,
    uint32_t *ret_entry, uint64_t *ret_end, struct config_error *err)
{
        struct elf_image elf;

        if (flags & HAS_ADDRESSES)
                return load_by_addresses(kernel, header_at, mem, ret_entry, ret_end, err);
        if (elf_parse(kernel->bytes, kernel->len, &elf) != 0)
                return config_fail(err, "%s: the Multiboot kernel is no intact ELF file", kernel->path);
        *ret_entry = (uint32_t)elf.entry;
        return boot_load_elf(&elf, kernel->path, mem, ret_end, err);
}

static int
put_string(struct guest_mem *mem, const char *text, uint32_t *cursor, struct config_error *err)
{
        size_t len = strlen(text) + 1;

        if (len > BOOT_LOW_LIMIT - *cursor)
                return config_fail(err, "boot.cmdline and module names are too long");
        if (mem_write(mem, *cursor, text, len) != 0)
                return config_fail(err, "too little memory to boot a kernel");
        *cursor += (uint32_t)len;
        return 0;
}

static int
put_modules(const struct boot_request *request, struct guest_mem *mem, uint64_t end, uint32_t *strings,
    uint8_t *list, struct config_error *err)
{
        for (unsigned i = 0; i < request->module_count; i++) {
                const struct boot_file *module = &request->module[i];
                gpa_t at;

                if (boot_place_module(module, mem, &end, &at, err) != 0)
                        return -EINVAL;
                put_le32(list + i * MODULE_BYTES, (uint32_t)at);
                put_le32(list + i * MODULE_BYTES + 4, (uint32_t)(at + module->len));
                put_le32(list + i * MODULE_BYTES + 8, *strings);
                if (put_string(mem, module->path, strings, err) != 0)
                        return -EINVAL;
        }
        return 0;
}

static uint32_t
put_mmap(const struct guest_mem *mem, uint8_t *table)
{
        struct boot_e820 map[BOOT_E820_MAX];
        unsigned count = boot_e820_fill(mem, map);

        for (unsigned i = 0; i < count; i++) {
                uint8_t *entry = table + i * MMAP_BYTES;

                put_le32(entry, MMAP_BYTES - 4); /* size: of what follows it */
                put_le64(entry + 4, map[i].base);
                put_le64(entry + 12, map[i].len);
                put_le32(entry + 20, map[i].type);
        }
        return count * MMAP_BYTES;
}

/* Handlers that end the interrupt at the 8259s, which have vectors 0x08 and 0x70, and the vectors of real mode. */
static int
put_vectors(struct guest_mem *mem)
{
        static const uint8_t timer[] = { 0x50, 0xb0, 0x20, 0xe6, 0x20, 0x58, 0xcf }; /* push ax; EOI; pop ax; iret */
        static const uint8_t slave[] = { 0x50, 0xb0, 0x20, 0xe6, 0xa0, 0xe6, 0x20, 0x58, 0xcf };
        uint8_t table[256 * 4];

        for (unsigned v = 0; v < 256; v++) {
                put_le16(table + v * 4, v >> 3 == 0x08 >> 3 ? BIOS_TIMER : v >> 3 == 0x70 >> 3 ? BIOS_SLAVE
                                                                                                : BIOS_IRET);
                put_le16(table + v * 4 + 2, BIOS_SEGMENT);
        }
        if (mem_write(mem, 0, table, sizeof(table)) != 0 ||
            mem_write(mem, BIOS_SEGMENT * 16 + BIOS_TIMER, timer, sizeof(timer)) != 0 ||
            mem_write(mem, BIOS_SEGMENT * 16 + BIOS_SLAVE, slave, sizeof(slave)) != 0)
                return -EINVAL;
        return mem_write(mem, BIOS_SEGMENT * 16 + BIOS_IRET, timer + sizeof(timer) - 1, 1);
}

int
boot_multiboot(const struct boot_request *request, struct guest_mem *mem, struct x86_state *st,
    struct config_error *err)
{
        const struct boot_file *kernel = &request->kernel;
        size_t header_at = (size_t)find_header(kernel);
        uint32_t flags = get_le32(kernel->bytes + header_at + 4), entry = 0, strings = LOW_STRINGS;
        uint8_t info[88] = { 0 }, list[BOOT_MODULES_MAX * MODULE_BYTES] = { 0 };
        uint8_t mmap[BOOT_E820_MAX * MMAP_BYTES] = { 0 };
        uint64_t end;

        if (flags & WANT_MANDATORY & ~(WANT_ALIGNED_MODULES | WANT_MEMORY))
                return config_fail(err, "%s wants Multiboot features 0x%x; only aligned modules and memory sizes exist",
                    kernel->path, flags & WANT_MANDATORY);
        if (load_kernel(kernel, header_at, flags, mem, &entry, &end, err) != 0)
                return -EINVAL;
        put_le32(info, INFO_MEMORY | INFO_CMDLINE | INFO_MODULES | INFO_MMAP | INFO_LOADER);
        put_le32(info + 4, 639);
        put_le32(info + 8, (uint32_t)((mem_low_bytes(mem) - BOOT_KERNEL_MIN) / KIB));
        put_le32(info + 16, strings);
        if (put_string(mem, request->cmdline, &strings, err) != 0 ||
            put_modules(request, mem, end, &strings, list, err) != 0)
                return -EINVAL;
        put_le32(info + 20, request->module_count);
        put_le32(info + 24, LOW_MODULES);
        put_le32(info + 44, put_mmap(mem, mmap));
        put_le32(info + 48, LOW_MMAP);
        put_le32(info + 64, LOW_NAME);
        if (put_vectors(mem) != 0 || mem_write(mem, LOW_INFO, info, sizeof(info)) != 0 ||
            mem_write(mem, LOW_MODULES, list, sizeof(list)) != 0 ||
            mem_write(mem, LOW_MMAP, mmap, sizeof(mmap)) != 0 || mem_write(mem, LOW_NAME, "bhyve", 6) != 0)
                return config_fail(err, "too little memory to boot a kernel");
        boot_flat32(st, entry);
        st->gpr[X86_RAX] = LOADER_MAGIC;
        st->gpr[X86_RBX] = LOW_INFO;
        return 0;
}
