/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Entering a FreeBSD kernel.  See entry.h.
 *
 * Low memory for amd64:                For i386:
 *   0x1000  stack: 0, modulep, kernend   0x1000  stack, filled from its end
 *                                        0x2000  bootinfo, kernel name
 *   0x2000  PML4, 0x3000 PDPT, 0x4000 PD 0x3000  GDT
 *   0x5000  GDT                          0x4000  TSS
 */
#include "boot/fbsd/entry.h"

#include "base/bytes.h"
#include "base/util.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#define STACK       0x1000u
#define PML4        0x2000u
#define PDPT        0x3000u
#define PD          0x4000u
#define GDT_64      0x5000u
#define BOOTINFO    0x2000u
#define GDT_32      0x3000u
#define TSS_BYTES   104u

#define BOOTINFO_BYTES   136u
#define BOOTINFO_VERSION 1u

/* Page-table entries, SDM 3A 4.5. */
#define PTE_PRESENT 0x1u
#define PTE_WRITE   0x2u
#define PTE_USER    0x4u
#define PTE_LARGE   0x80u

static int
put_page_table(struct guest_mem *mem, gpa_t at, uint64_t first, uint64_t step)
{
        unsigned char page[MEM_PAGE_SIZE];

        for (unsigned i = 0; i < 512; i++)
                put_le64(page + 8 * i, first + i * step);
        return mem_write(mem, at, page, sizeof(page));
}

static int
put_page_tables(struct guest_mem *mem)
{
        const uint64_t flags = PTE_PRESENT | PTE_WRITE | PTE_USER;

        int err = put_page_table(mem, PML4, PDPT | flags, 0);
        if (!err)
                err = put_page_table(mem, PDPT, PD | flags, 0);
        return err ? err : put_page_table(mem, PD, flags | PTE_LARGE, 2 * MIB);
}

static int
put_gdt(struct guest_mem *mem, gpa_t at, const uint64_t *entries, unsigned count,
    struct x86_state *state)
{
        for (unsigned i = 0; i < count; i++) {
                unsigned char bytes[8];
                put_le64(bytes, entries[i]);
                int err = mem_write(mem, at + 8 * i, bytes, sizeof(bytes));
                if (err)
                        return err;
        }
        state->gdtr = (struct x86_dtable){.base = at, .limit = (uint16_t)(8 * count - 1)};
        return 0;
}

static void
set_data_segments(struct x86_state *state, uint16_t sel, uint32_t limit, uint32_t attr)
{
        for (unsigned i = 0; i < X86_SREG_COUNT; i++) {
                if (i != X86_CS)
                        state->seg[i] =
                            (struct x86_seg){.sel = sel, .limit = limit, .attr = attr};
        }
}

int
entry_registers_amd64(struct guest_mem *mem, uint64_t entry, gpa_t cr3, gpa_t gdt_at, gpa_t sp,
    struct x86_state *state)
{
        static const uint64_t gdt[] = {0, 0x0020980000000000, 0x0000900000000000};
        int err = put_gdt(mem, gdt_at, gdt, ARRAY_LEN(gdt), state);

        if (err)
                return err;
        state->cr0 = X86_CR0_PE | X86_CR0_PG | X86_CR0_NE | X86_CR0_ET;
        state->cr3 = cr3;
        state->cr4 = X86_CR4_PAE;
        state->efer = X86_EFER_LME | X86_EFER_LMA;
        state->rflags = X86_FL_FIXED;
        state->rip = entry;
        state->gpr[X86_RSP] = sp;
        state->seg[X86_CS] = (struct x86_seg){.sel = 8, .attr = 0x209b};
        set_data_segments(state, 0x10, 0, 0x93);
        state->tr = (struct x86_seg){.attr = 0x8b};
        state->ldtr = (struct x86_seg){.attr = X86_SEG_UNUSABLE};
        return 0;
}

int
entry_amd64(struct guest_mem *mem, uint64_t entry, const struct metadata_place *place,
    struct x86_state *state)
{
        unsigned char stack[16] = {0};

        put_le32(stack + 4, (uint32_t)place->modulep);
        put_le32(stack + 8, (uint32_t)place->kernend);
        int err = mem_write(mem, STACK, stack, sizeof(stack));
        if (!err)
                err = put_page_tables(mem);
        return err ? err : entry_registers_amd64(mem, entry, PML4, GDT_64, STACK, state);
}

static uint32_t
symbol_bound(const struct preload_file *file, uint32_t type)
{
        const struct preload_md *md = preload_find_md(file, type);

        return md && md->len >= 4 ? get_le32(md->data) : 0;
}

/* FreeBSD's machine/bootinfo.h, version 1, with the kernel's name behind it. */
static int
put_bootinfo(struct guest_mem *mem, const struct metadata_place *place,
    const struct preload_file *file)
{
        unsigned char bi[BOOTINFO_BYTES + 256] = {0};

        put_le32(bi, BOOTINFO_VERSION);
        put_le32(bi + 4, BOOTINFO + BOOTINFO_BYTES);
        put_le32(bi + 48, BOOTINFO_BYTES);
        put_le32(bi + 52, 1);
        put_le32(bi + 56, 640);
        put_le32(bi + 60, (uint32_t)((mem_low_bytes(mem) - MIB) / KIB));
        put_le32(bi + 64, symbol_bound(file, MODINFOMD_SSYM));
        put_le32(bi + 68, symbol_bound(file, MODINFOMD_ESYM));
        put_le32(bi + 72, (uint32_t)place->kernend);
        put_le32(bi + 76, (uint32_t)place->envp);
        put_le32(bi + 80, (uint32_t)place->modulep);
        snprintf((char *)bi + BOOTINFO_BYTES, sizeof(bi) - BOOTINFO_BYTES, "%s", file->name);
        return mem_write(mem, BOOTINFO, bi, sizeof(bi));
}

static int
put_stack_32(struct guest_mem *mem, const struct metadata_place *place, gpa_t *ret_sp)
{
        const uint32_t words[] = {
            0xbeefface, /* a return address that the kernel takes for "new boot blocks" */
            place->howto | HOWTO_BOOTINFO,
            0, /* boot device */
            0, 0, 0,
            BOOTINFO,
            (uint32_t)place->modulep,
            (uint32_t)place->kernend,
        };
        unsigned char bytes[sizeof(words)];
        gpa_t sp = STACK + MEM_PAGE_SIZE - sizeof(words);

        for (unsigned i = 0; i < ARRAY_LEN(words); i++)
                put_le32(bytes + 4 * i, words[i]);
        *ret_sp = sp;
        return mem_write(mem, sp, bytes, sizeof(bytes));
}

int
entry_registers_i386(struct guest_mem *mem, uint64_t entry, gpa_t gdt_at, gpa_t sp,
    struct x86_state *state)
{
        const gpa_t tss_at = gdt_at + MEM_PAGE_SIZE;
        /* Null, code, data; a 32-bit TSS. */
        const uint64_t gdt[] = {0, 0x00cf9a000000ffff, 0x00cf92000000ffff,
            0x0000890000000000 | (tss_at & 0xffffff) << 16 | (TSS_BYTES - 1)};
        unsigned char tss[TSS_BYTES] = {0};

        int err = put_gdt(mem, gdt_at, gdt, ARRAY_LEN(gdt), state);
        if (!err)
                err = mem_write(mem, tss_at, tss, sizeof(tss));
        if (err)
                return err;
        state->cr0 = X86_CR0_PE | X86_CR0_NE | X86_CR0_ET;
        state->cr4 = 0;
        state->efer = 0;
        state->rflags = X86_FL_FIXED;
        state->rip = entry;
        state->gpr[X86_RSP] = sp;
        state->seg[X86_CS] = (struct x86_seg){.sel = 8, .limit = 0xffffffff, .attr = 0xc09b};
        set_data_segments(state, 0x10, 0xffffffff, 0xc093);
        state->tr = (struct x86_seg){
            .sel = 0x18, .base = tss_at, .limit = TSS_BYTES - 1, .attr = 0x8b};
        state->ldtr = (struct x86_seg){.attr = X86_SEG_UNUSABLE};
        return 0;
}

int
entry_i386(struct guest_mem *mem, uint64_t entry, const struct metadata_place *place,
    const struct preload_file *file, struct x86_state *state)
{
        gpa_t sp;

        int err = put_bootinfo(mem, place, file);
        if (!err)
                err = put_stack_32(mem, place, &sp);
        return err ? err : entry_registers_i386(mem, entry & 0xffffff, GDT_32, sp, state);
}
