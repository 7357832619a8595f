/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Linux by the 64-bit boot protocol: Documentation/arch/x86/boot.rst of the
 * kernel, "64-bit Boot Protocol", and zero-page.rst.  Offsets below are those
 * of the setup header in the file and, the same, in struct boot_params.
 */
#include "base/bytes.h"
#include "base/util.h"
#include "boot/direct.h"

#include <errno.h>
#include <string.h>

#define HDR_SETUP_SECTS     0x1f1
#define HDR_SYSSIZE         0x1f4
#define HDR_BOOT_FLAG       0x1fe
#define HDR_JUMP            0x200
#define HDR_MAGIC           0x202
#define HDR_VERSION         0x206
#define HDR_LOADER_TYPE     0x210
#define HDR_LOADFLAGS       0x211
#define HDR_RAMDISK_IMAGE   0x218
#define HDR_RAMDISK_SIZE    0x21c
#define HDR_CMDLINE         0x228
#define HDR_INITRD_MAX      0x22c
#define HDR_XLOADFLAGS      0x236
#define HDR_CMDLINE_SIZE    0x238
#define HDR_PREF_ADDRESS    0x258
#define HDR_INIT_SIZE       0x260
#define HDR_END_MIN         0x268

#define ZERO_PAGE_RSDP      0x070
#define ZERO_PAGE_E820_N    0x1e8
#define ZERO_PAGE_E820      0x2d0

#define LOADED_HIGH         0x01
#define XLF_KERNEL_64       0x01
#define LOADER_UNDEFINED    0xff
#define PROTOCOL_64BIT      0x020c
#define ENTRY_64            0x200

/* Where things of ours lie, inside BOOT_LOW_BASE to BOOT_LOW_LIMIT. */
#define LOW_GDT       0x500u
#define LOW_ZERO_PAGE 0x7000u
#define LOW_STACK_TOP 0x8ff0u
#define LOW_PML4      0x9000u
#define LOW_PDPT      0xa000u
#define LOW_PD        0xb000u /* four pages: 4 GiB */
#define LOW_CMDLINE   0x20000u

#define BOOT_CS 0x10
#define BOOT_DS 0x18

#define PTE_P  0x01u
#define PTE_RW 0x02u
#define PTE_PS 0x80u

bool
boot_is_linux(const struct boot_file *kernel)
{
        return kernel->len >= HDR_MAGIC + 4 && get_le16(kernel->bytes + HDR_BOOT_FLAG) == 0xaa55 &&
               memcmp(kernel->bytes + HDR_MAGIC, "HdrS", 4) == 0;
}

/* What the setup header says, checked against the file. */
struct linux_image {
        size_t setup_bytes; /* boot sector and real-mode code, which this protocol skips */
        size_t kernel_bytes;
        uint64_t load;
        uint64_t init_size;
        uint32_t cmdline_size;
        uint32_t initrd_max;
};

static int
linux_parse(const struct boot_file *kernel, struct linux_image *ret_image, struct config_error *err)
{
        const unsigned char *hdr = kernel->bytes;
        unsigned sects = hdr[HDR_SETUP_SECTS] == 0 ? 4 : hdr[HDR_SETUP_SECTS];
        uint64_t need = (uint64_t)get_le32(hdr + HDR_SYSSIZE) * 16;
        size_t setup_bytes = (sects + 1) * 512;

        if (kernel->len < HDR_END_MIN || kernel->len <= setup_bytes)
                return config_fail(err, "%s: the kernel is truncated", kernel->path);
        if (get_le16(hdr + HDR_VERSION) < PROTOCOL_64BIT || !(hdr[HDR_LOADFLAGS] & LOADED_HIGH) ||
            !(get_le16(hdr + HDR_XLOADFLAGS) & XLF_KERNEL_64))
                return config_fail(err, "%s is not a 64-bit Linux kernel (boot protocol %u.%u)", kernel->path,
                    hdr[HDR_VERSION + 1], hdr[HDR_VERSION]);
        if (need > kernel->len - setup_bytes)
                return config_fail(err, "%s: the kernel is truncated: %llu bytes of %llu are there", kernel->path,
                    (unsigned long long)kernel->len, (unsigned long long)(need + setup_bytes));
        *ret_image = (struct linux_image){ .setup_bytes = setup_bytes,
                .kernel_bytes = kernel->len - setup_bytes,
                .load = get_le64(hdr + HDR_PREF_ADDRESS),
                .init_size = get_le32(hdr + HDR_INIT_SIZE),
                .cmdline_size = get_le32(hdr + HDR_CMDLINE_SIZE),
                .initrd_max = get_le32(hdr + HDR_INITRD_MAX) };
        return 0;
}

static int
linux_load_kernel(const struct boot_file *kernel, const struct linux_image *image, struct guest_mem *mem,
    struct config_error *err)
{
        uint64_t need = image->init_size > image->kernel_bytes ? image->init_size : image->kernel_bytes;

        if (image->load < BOOT_KERNEL_MIN || image->load >= MEM_HIGH_BASE)
                return config_fail(err, "%s: the kernel wants to lie at 0x%llx", kernel->path,
                    (unsigned long long)image->load);
        if (mem_at(mem, image->load, need) == NULL)
                return config_fail(err, "%s: too little memory: the kernel needs %lluM; give the VM more with -m",
                    kernel->path, (unsigned long long)((image->load + need + MIB - 1) / MIB));
        return mem_write(mem, image->load, kernel->bytes + image->setup_bytes, image->kernel_bytes);
}

/* As high as the kernel allows, so that it is out of the way of what the kernel unpacks. */
static int
linux_load_initrd(const struct boot_file *initrd, const struct linux_image *image, struct guest_mem *mem,
    uint8_t *zero_page, struct config_error *err)
{
        uint64_t limit = (uint64_t)image->initrd_max + 1;
        uint64_t kernel_end = image->load + image->init_size, at;

        if (limit > mem_low_bytes(mem))
                limit = mem_low_bytes(mem);
        at = limit < initrd->len ? 0 : (limit - initrd->len) & ~(uint64_t)(MEM_PAGE_SIZE - 1);
        if (at < kernel_end || mem_write(mem, at, initrd->bytes, initrd->len) != 0)
                return config_fail(err, "%s: too little memory for kernel and initrd: %lluM more are needed",
                    initrd->path, (unsigned long long)((kernel_end + initrd->len - limit + 2 * MIB) / MIB));
        put_le32(zero_page + HDR_RAMDISK_IMAGE, (uint32_t)at);
        put_le32(zero_page + HDR_RAMDISK_SIZE, (uint32_t)initrd->len);
        return 0;
}

static int
linux_put_cmdline(const struct boot_request *request, const struct linux_image *image, struct guest_mem *mem,
    uint8_t *zero_page, struct config_error *err)
{
        size_t len = strlen(request->cmdline);

        if (len > image->cmdline_size || LOW_CMDLINE + len + 1 > BOOT_LOW_LIMIT)
                return config_fail(err, "boot.cmdline has %zu characters; the kernel takes %u", len,
                    image->cmdline_size);
        put_le32(zero_page + HDR_CMDLINE, LOW_CMDLINE);
        return mem_write(mem, LOW_CMDLINE, request->cmdline, len + 1);
}

static void
linux_fill_zero_page(const struct boot_request *request, const struct guest_mem *mem, uint8_t *zero_page)
{
        const unsigned char *hdr = request->kernel.bytes;
        size_t hdr_end = HDR_MAGIC + hdr[HDR_JUMP + 1]; /* the jump's target is where the header ends */
        struct boot_e820 map[BOOT_E820_MAX];
        unsigned count = boot_e820_fill(mem, map);

        if (hdr_end < HDR_END_MIN || hdr_end > ZERO_PAGE_E820)
                hdr_end = HDR_END_MIN;
        if (hdr_end > request->kernel.len)
                hdr_end = request->kernel.len;
        memcpy(zero_page + HDR_SETUP_SECTS, hdr + HDR_SETUP_SECTS, hdr_end - HDR_SETUP_SECTS);
        zero_page[HDR_LOADER_TYPE] = LOADER_UNDEFINED;
        put_le64(zero_page + ZERO_PAGE_RSDP, request->rsdp);
        zero_page[ZERO_PAGE_E820_N] = (uint8_t)count;
        for (unsigned i = 0; i < count; i++) {
                uint8_t *entry = zero_page + ZERO_PAGE_E820 + i * 20;

                put_le64(entry, map[i].base);
                put_le64(entry + 8, map[i].len);
                put_le32(entry + 16, map[i].type);
        }
}

/* Identity page tables for the first 4 GiB, and the two descriptors that the protocol names. */
static int
linux_put_tables(struct guest_mem *mem)
{
        uint8_t *table = mem_at(mem, LOW_PML4, LOW_PD + 4 * MEM_PAGE_SIZE - LOW_PML4);
        uint8_t gdt[32] = { 0 };

        if (table == NULL)
                return -EFAULT;
        memset(table, 0, LOW_PD - LOW_PML4);
        put_le64(table, LOW_PDPT | PTE_P | PTE_RW);
        for (unsigned i = 0; i < 4; i++)
                put_le64(table + (LOW_PDPT - LOW_PML4) + i * 8, (LOW_PD + i * MEM_PAGE_SIZE) | PTE_P | PTE_RW);
        for (uint64_t i = 0; i < 2048; i++)
                put_le64(table + (LOW_PD - LOW_PML4) + i * 8, i * 2 * MIB | PTE_P | PTE_RW | PTE_PS);
        mem_written(mem, LOW_PML4, LOW_PD + 4 * MEM_PAGE_SIZE - LOW_PML4);
        put_le64(gdt + BOOT_CS, 0x00af9b000000ffffull);
        put_le64(gdt + BOOT_DS, 0x00cf93000000ffffull);
        return mem_write(mem, LOW_GDT, gdt, sizeof(gdt));
}

static void
linux_enter(struct x86_state *st, uint64_t load)
{
        const struct x86_seg data = { .limit = 0xffffffff, .attr = 0xc093, .sel = BOOT_DS };

        x86_state_reset(st, 0);
        memset(st->gpr, 0, sizeof(st->gpr));
        for (unsigned i = 0; i < X86_SREG_COUNT; i++)
                st->seg[i] = data;
        st->seg[X86_CS] = (struct x86_seg){ .limit = 0xffffffff, .attr = 0xa09b, .sel = BOOT_CS };
        st->tr = (struct x86_seg){ .limit = 0x67, .attr = 0x8b };
        st->gdtr = (struct x86_dtable){ .base = LOW_GDT, .limit = 31 };
        st->idtr = (struct x86_dtable){ .base = 0, .limit = 0 };
        st->cr0 = X86_CR0_PE | X86_CR0_ET | X86_CR0_NE | X86_CR0_PG;
        st->cr3 = LOW_PML4;
        st->cr4 = X86_CR4_PAE;
        st->efer = X86_EFER_LME | X86_EFER_LMA;
        st->rflags = X86_FL_FIXED;
        st->rip = load + ENTRY_64;
        st->gpr[X86_RSI] = LOW_ZERO_PAGE;
        st->gpr[X86_RSP] = LOW_STACK_TOP;
}

int
boot_linux(const struct boot_request *request, struct guest_mem *mem, struct x86_state *st,
    struct config_error *err)
{
        struct linux_image image = { 0 };
        uint8_t zero_page[MEM_PAGE_SIZE] = { 0 };

        if (linux_parse(&request->kernel, &image, err) != 0)
                return -EINVAL;
        if (request->module_count > 1)
                return config_fail(err, "boot.initrd: Linux takes one initrd, not a list");
        linux_fill_zero_page(request, mem, zero_page);
        if (linux_load_kernel(&request->kernel, &image, mem, err) != 0 ||
            linux_put_cmdline(request, &image, mem, zero_page, err) != 0)
                return -EINVAL;
        if (request->module_count == 1 &&
            linux_load_initrd(&request->module[0], &image, mem, zero_page, err) != 0)
                return -EINVAL;
        if (linux_put_tables(mem) != 0 || mem_write(mem, LOW_ZERO_PAGE, zero_page, sizeof(zero_page)) != 0)
                return config_fail(err, "too little memory to boot a kernel");
        linux_enter(st, image.load);
        return 0;
}
