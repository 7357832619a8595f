/* SPDX-License-Identifier: BSD-2-Clause */
#include "boot/direct.h"
#include "base/bytes.h"
#include "base/util.h"
#include "base/elf.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define EBDA_BASE     0x9fc00u
#define ROM_AREA_BASE 0xe0000u
#define ECAM_BASE     0xe0000000u
#define ECAM_LEN      0x10000000u

int
boot_file_open(const char *path, struct boot_file *ret_file, struct config_error *err)
{
        int fd = open(path, O_RDONLY | O_CLOEXEC), error = 0;
        struct stat st;
        void *p = NULL;

        if (fd < 0)
                return config_fail(err, "%s: %s", path, strerror(errno));
        if (fstat(fd, &st) != 0)
                error = config_fail(err, "%s: %s", path, strerror(errno));
        else if (!S_ISREG(st.st_mode))
                error = config_fail(err, "%s is not a regular file", path);
        else if (st.st_size == 0)
                error = config_fail(err, "%s is empty", path);
        if (error == 0) {
                p = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
                if (p == MAP_FAILED)
                        error = config_fail(err, "%s: %s", path, strerror(errno));
        }
        close(fd);
        if (error != 0)
                return error;
        *ret_file = (struct boot_file){ .path = path, .bytes = p, .len = (size_t)st.st_size };
        return 0;
}

void
boot_file_close(struct boot_file *file)
{
        if (file->bytes != NULL)
                munmap((void *)(uintptr_t)file->bytes, file->len);
        *file = (struct boot_file){ .path = NULL };
}

unsigned
boot_e820_fill(const struct guest_mem *mem, struct boot_e820 entry[BOOT_E820_MAX])
{
        uint64_t low = mem_low_bytes(mem), high = mem_high_bytes(mem);
        unsigned n = 0;

        entry[n++] = (struct boot_e820){ 0, EBDA_BASE, BOOT_E820_RAM };
        entry[n++] = (struct boot_e820){ EBDA_BASE, 0xa0000 - EBDA_BASE, BOOT_E820_RESERVED };
        entry[n++] = (struct boot_e820){ ROM_AREA_BASE, BOOT_KERNEL_MIN - ROM_AREA_BASE, BOOT_E820_RESERVED };
        if (low > BOOT_KERNEL_MIN)
                entry[n++] = (struct boot_e820){ BOOT_KERNEL_MIN, low - BOOT_KERNEL_MIN, BOOT_E820_RAM };
        entry[n++] = (struct boot_e820){ ECAM_BASE, ECAM_LEN, BOOT_E820_RESERVED };
        if (high != 0)
                entry[n++] = (struct boot_e820){ MEM_HIGH_BASE, high, BOOT_E820_RAM };
        return n;
}

static int
load_segment(const struct elf_image *elf, const Elf64_Phdr *ph, const char *path, struct guest_mem *mem,
    struct config_error *err)
{
        const unsigned char *bytes = elf_bytes(elf, ph->p_offset, ph->p_filesz);
        unsigned char *to;

        if (bytes == NULL || ph->p_filesz > ph->p_memsz)
                return config_fail(err, "%s: the file is truncated or damaged: a segment is not all there", path);
        if (ph->p_paddr < BOOT_KERNEL_MIN &&
            (ph->p_paddr < BOOT_FREE_BASE || ph->p_memsz > BOOT_FREE_LIMIT - BOOT_FREE_BASE ||
                ph->p_paddr > BOOT_FREE_LIMIT - ph->p_memsz))
                return config_fail(err, "%s: a segment wants to lie at 0x%llx; kernels lie at 1 MiB and above", path,
                    (unsigned long long)ph->p_paddr);
        to = mem_at(mem, ph->p_paddr, ph->p_memsz);
        if (to == NULL)
                return config_fail(err,
                    "%s: too little memory: a segment needs 0x%llx bytes at 0x%llx; give the VM more with -m", path,
                    (unsigned long long)ph->p_memsz, (unsigned long long)ph->p_paddr);
        memcpy(to, bytes, ph->p_filesz);
        memset(to + ph->p_filesz, 0, ph->p_memsz - ph->p_filesz);
        mem_written(mem, ph->p_paddr, ph->p_memsz);
        return 0;
}

int
boot_load_elf(const struct elf_image *elf, const char *path, struct guest_mem *mem, uint64_t *ret_end,
    struct config_error *err)
{
        uint64_t end = 0;
        Elf64_Phdr ph;

        for (unsigned i = 0; elf_phdr(elf, i, &ph); i++) {
                if (ph.p_type != PT_LOAD || ph.p_memsz == 0)
                        continue;
                if (load_segment(elf, &ph, path, mem, err) != 0)
                        return -EINVAL;
                if (ph.p_paddr + ph.p_memsz > end)
                        end = ph.p_paddr + ph.p_memsz;
        }
        if (end == 0)
                return config_fail(err, "%s has nothing to load", path);
        *ret_end = end;
        return 0;
}

int
boot_place_module(const struct boot_file *module, struct guest_mem *mem, uint64_t *cursor, gpa_t *ret_gpa,
    struct config_error *err)
{
        uint64_t at = (*cursor + MEM_PAGE_SIZE - 1) & ~(uint64_t)(MEM_PAGE_SIZE - 1);

        if (at >= MEM_HIGH_BASE || mem_write(mem, at, module->bytes, module->len) != 0)
                return config_fail(err, "%s: too little memory for it behind the kernel; give the VM more with -m",
                    module->path);
        *ret_gpa = at;
        *cursor = at + module->len;
        return 0;
}

void
boot_flat32(struct x86_state *st, uint32_t entry)
{
        const struct x86_seg data = { .limit = 0xffffffff, .attr = 0xc093, .sel = 0x18 };

        x86_state_reset(st, 0);
        st->cr0 = X86_CR0_PE | X86_CR0_ET;
        for (unsigned i = 0; i < X86_SREG_COUNT; i++)
                st->seg[i] = data;
        st->seg[X86_CS] = (struct x86_seg){ .limit = 0xffffffff, .attr = 0xc09b, .sel = 0x10 };
        st->tr = (struct x86_seg){ .limit = 0x67, .attr = 0x8b };
        st->rip = entry;
        st->rflags = X86_FL_FIXED;
        memset(st->gpr, 0, sizeof(st->gpr));
}

static const char *
machine_name(unsigned machine)
{
        switch (machine) {
        case EM_AARCH64:
                return "an AArch64";
        case EM_ARM:
                return "an ARM";
        case EM_RISCV:
                return "a RISC-V";
        case EM_PPC64:
                return "a PowerPC";
        default:
                return "another processor's";
        }
}

static int
boot_elf(const struct boot_request *request, struct guest_mem *mem, struct x86_state *st,
    struct config_error *err)
{
        const struct boot_file *kernel = &request->kernel;
        struct elf_image elf;
        uint32_t entry;
        unsigned machine = kernel->len >= 20 ? get_le16(kernel->bytes + 18) : 0;

        if (kernel->len >= 20 && machine != EM_386 && machine != EM_X86_64)
                return config_fail(err, "%s is %s kernel; this machine is an x86-64", kernel->path,
                    machine_name(machine));
        if (elf_parse(kernel->bytes, kernel->len, &elf) != 0)
                return config_fail(err, "%s: the ELF file is truncated or damaged", kernel->path);
        if (!boot_pvh_entry(&elf, &entry))
                return config_fail(err,
                    "%s is an ELF file with neither a PVH nor a Multiboot entry; use the bzImage, or bhyveload",
                    kernel->path);
        return boot_pvh(request, &elf, entry, mem, st, err);
}

int
boot_direct(const struct boot_request *request, struct guest_mem *mem, struct x86_state *st,
    struct config_error *err)
{
        const struct boot_file *kernel = &request->kernel;

        if (boot_is_linux(kernel))
                return boot_linux(request, mem, st, err);
        if (boot_is_multiboot(kernel))
                return boot_multiboot(request, mem, st, err);
        if (kernel->len >= 4 && memcmp(kernel->bytes, ELFMAG, SELFMAG) == 0)
                return boot_elf(request, mem, st, err);
        if (kernel->len >= 60 && memcmp(kernel->bytes + 56, "ARM\x64", 4) == 0)
                return config_fail(err, "%s is an AArch64 kernel; this machine is an x86-64", kernel->path);
        return config_fail(err, "%s is no kernel that can be booted: neither a bzImage nor an ELF file (or it is truncated)",
            kernel->path);
}
