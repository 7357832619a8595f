/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * PVH: an ELF kernel entered in 32-bit protected mode at the address in a Xen
 * note.  Source: Xen's docs/misc/pvh.pandoc and public/arch-x86/hvm/start_info.h.
 */
#include "base/bytes.h"
#include "base/util.h"
#include "boot/direct.h"
#include "base/elf.h"

#include <errno.h>
#include <string.h>

#define XEN_NOTE_PHYS32_ENTRY 18
#define START_INFO_MAGIC      0x336ec578u

#define LOW_START_INFO 0x6000u
#define LOW_MODULES    0x6100u
#define LOW_MEMMAP     0x6800u
#define LOW_CMDLINE    0x20000u

#define MODULE_BYTES 32
#define MEMMAP_BYTES 24

/* Searches one PT_NOTE segment. */
static bool
note_entry(const unsigned char *notes, uint64_t len, uint32_t *ret_entry)
{
        while (len >= 12) {
                uint64_t name_len = get_le32(notes), desc_len = get_le32(notes + 4);
                uint64_t desc_at = 12 + ((name_len + 3) & ~3ull);
                uint64_t total = desc_at + ((desc_len + 3) & ~3ull);

                if (desc_at + desc_len > len)
                        return false;
                if (get_le32(notes + 8) == XEN_NOTE_PHYS32_ENTRY && name_len == 4 &&
                    memcmp(notes + 12, "Xen", 4) == 0 && desc_len >= 4) {
                        *ret_entry = get_le32(notes + desc_at);
                        return true;
                }
                if (total > len)
                        return false;
                notes += total;
                len -= total;
        }
        return false;
}

bool
boot_pvh_entry(const struct elf_image *elf, uint32_t *ret_entry)
{
        Elf64_Phdr ph;

        for (unsigned i = 0; elf_phdr(elf, i, &ph); i++) {
                const unsigned char *notes;

                if (ph.p_type != PT_NOTE)
                        continue;
                notes = elf_bytes(elf, ph.p_offset, ph.p_filesz);
                if (notes != NULL && note_entry(notes, ph.p_filesz, ret_entry))
                        return true;
        }
        return false;
}

static void
put_memmap(const struct guest_mem *mem, uint8_t *table, unsigned *ret_count)
{
        struct boot_e820 map[BOOT_E820_MAX];
        unsigned count = boot_e820_fill(mem, map);

        for (unsigned i = 0; i < count; i++) {
                put_le64(table + i * MEMMAP_BYTES, map[i].base);
                put_le64(table + i * MEMMAP_BYTES + 8, map[i].len);
                put_le32(table + i * MEMMAP_BYTES + 16, map[i].type);
        }
        *ret_count = count;
}

static int
put_modules(const struct boot_request *request, struct guest_mem *mem, uint64_t end, uint8_t *list,
    struct config_error *err)
{
        for (unsigned i = 0; i < request->module_count; i++) {
                gpa_t at;

                if (boot_place_module(&request->module[i], mem, &end, &at, err) != 0)
                        return -EINVAL;
                put_le64(list + i * MODULE_BYTES, at);
                put_le64(list + i * MODULE_BYTES + 8, request->module[i].len);
        }
        return 0;
}

int
boot_pvh(const struct boot_request *request, const struct elf_image *elf, uint32_t entry, struct guest_mem *mem,
    struct x86_state *st, struct config_error *err)
{
        uint8_t info[56] = { 0 };
        uint8_t list[BOOT_MODULES_MAX * MODULE_BYTES] = { 0 };
        uint8_t memmap[BOOT_E820_MAX * MEMMAP_BYTES] = { 0 };
        size_t cmdline_len = strlen(request->cmdline);
        unsigned map_count;
        uint64_t end;

        if (LOW_CMDLINE + cmdline_len >= BOOT_LOW_LIMIT)
                return config_fail(err, "boot.cmdline is too long");
        if (boot_load_elf(elf, request->kernel.path, mem, &end, err) != 0 ||
            put_modules(request, mem, end, list, err) != 0)
                return -EINVAL;
        put_memmap(mem, memmap, &map_count);
        put_le32(info, START_INFO_MAGIC);
        put_le32(info + 4, 1); /* version: has the memory map */
        put_le32(info + 12, request->module_count);
        put_le64(info + 16, LOW_MODULES);
        put_le64(info + 24, LOW_CMDLINE);
        put_le64(info + 32, request->rsdp);
        put_le64(info + 40, LOW_MEMMAP);
        put_le32(info + 48, map_count);
        if (mem_write(mem, LOW_START_INFO, info, sizeof(info)) != 0 ||
            mem_write(mem, LOW_MODULES, list, sizeof(list)) != 0 ||
            mem_write(mem, LOW_MEMMAP, memmap, sizeof(memmap)) != 0 ||
            mem_write(mem, LOW_CMDLINE, request->cmdline, cmdline_len + 1) != 0)
                return config_fail(err, "too little memory to boot a kernel");
        boot_flat32(st, entry);
        st->gpr[X86_RBX] = LOW_START_INFO;
        return 0;
}
