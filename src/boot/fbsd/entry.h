/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The state in which a FreeBSD kernel is entered: stack, page tables and
 * segments in low memory, and the boot processor's registers.
 */
#ifndef BOOT_FBSD_ENTRY_H
#define BOOT_FBSD_ENTRY_H

#include "boot/fbsd/metadata.h"

/* Long mode: the first GiB mapped everywhere, RIP at the kernel's virtual entry. */
int entry_amd64(struct guest_mem *mem, uint64_t entry, const struct metadata_place *place,
    struct x86_state *state);

/* 32-bit flat without paging; @file is the kernel, for its name and symbols. */
int entry_i386(struct guest_mem *mem, uint64_t entry, const struct metadata_place *place,
    const struct preload_file *file, struct x86_state *state);

/* The registers alone, with the GDT at @gdt_at (i386: a TSS a page behind it). */
int entry_registers_amd64(struct guest_mem *mem, uint64_t entry, gpa_t cr3, gpa_t gdt_at, gpa_t sp,
    struct x86_state *state);
int entry_registers_i386(struct guest_mem *mem, uint64_t entry, gpa_t gdt_at, gpa_t sp,
    struct x86_state *state);

#endif
