/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Booting a kernel without a loader: Linux's bzImage by the 64-bit boot
 * protocol, ELF by PVH or by Multiboot 1.
 *
 * boot_direct() recognises the kernel, puts it, its initrd or modules and its
 * parameters into guest memory, and sets the boot processor to enter it.  The
 * files are hostile: each offset is checked.  Firmware tables are not its
 * business; they lie in 0xe0000-0xfffff and stay out of its way.
 *
 * Low memory that it uses for itself: BOOT_LOW_BASE to BOOT_LOW_LIMIT.  For Multiboot kernels
 * there is a real-mode vector table at 0, with handlers behind the firmware tables.
 */
#ifndef BOOT_DIRECT_H
#define BOOT_DIRECT_H

#include "config/config.h"
#include "mem/mem.h"
#include "x86/state.h"

#include <stddef.h>

#define BOOT_MODULES_MAX 16
#define BOOT_LOW_BASE    0x500u
#define BOOT_LOW_LIMIT   0x40000u
#define BOOT_KERNEL_MIN  0x100000u /* kernels lie at 1 MiB and above */
/* Low memory that stays free when an ELF kernel boots: small real-mode programs may lie there. */
#define BOOT_FREE_BASE   0x8000u
#define BOOT_FREE_LIMIT  0x20000u

struct boot_file {
        const char *path;
        const unsigned char *bytes;
        size_t len;
};

struct boot_request {
        struct boot_file kernel;
        struct boot_file module[BOOT_MODULES_MAX]; /* Linux and PVH: [0] is the initrd */
        unsigned module_count;
        const char *cmdline;
        gpa_t rsdp; /* ACPI's root pointer; 0: none */
};

/* Maps a file to read.  The error names it.  boot_file_close undoes it. */
int boot_file_open(const char *path, struct boot_file *ret_file, struct config_error *err);
void boot_file_close(struct boot_file *file);

/* 0, or -EINVAL with @err.  @st becomes the state of the boot processor. */
int boot_direct(const struct boot_request *request, struct guest_mem *mem, struct x86_state *st,
    struct config_error *err);

/* ---- the three protocols, and what they share ---- */

struct elf_image;

bool boot_is_linux(const struct boot_file *kernel);
int boot_linux(const struct boot_request *request, struct guest_mem *mem, struct x86_state *st,
    struct config_error *err);
/* Whether @elf has a PVH entry; *ret_entry is its physical address. */
bool boot_pvh_entry(const struct elf_image *elf, uint32_t *ret_entry);
int boot_pvh(const struct boot_request *request, const struct elf_image *elf, uint32_t entry,
    struct guest_mem *mem, struct x86_state *st, struct config_error *err);
bool boot_is_multiboot(const struct boot_file *kernel);
int boot_multiboot(const struct boot_request *request, struct guest_mem *mem, struct x86_state *st,
    struct config_error *err);

enum boot_e820_type {
        BOOT_E820_RAM = 1,
        BOOT_E820_RESERVED = 2,
};

#define BOOT_E820_MAX 8

struct boot_e820 {
        uint64_t base, len;
        enum boot_e820_type type;
};

/* The memory map that guests are told; returns the number of entries. */
unsigned boot_e820_fill(const struct guest_mem *mem, struct boot_e820 entry[BOOT_E820_MAX]);

/* Copies the PT_LOAD segments to their physical addresses; *ret_end: end of the highest. */
int boot_load_elf(const struct elf_image *elf, const char *path, struct guest_mem *mem, uint64_t *ret_end,
    struct config_error *err);

/*
 * Puts @module on pages from *cursor on, which advances.  -EINVAL with @err if it does not fit
 * below the end of low memory.
 */
int boot_place_module(const struct boot_file *module, struct guest_mem *mem, uint64_t *cursor,
    gpa_t *ret_gpa, struct config_error *err);

/* 32-bit protected mode without paging, flat 4 GiB segments, interrupts off, at @entry. */
void boot_flat32(struct x86_state *st, uint32_t entry);

#endif
