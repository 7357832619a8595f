/* SPDX-License-Identifier: BSD-2-Clause */
/* ELF files in memory.  See elf.h. */
#include "base/elf.h"

#include <errno.h>
#include <string.h>

static bool
table_ok(const struct elf_image *elf, uint64_t off, unsigned count, unsigned size, size_t entry)
{
        return count == 0 || (size >= entry && elf_bytes(elf, off, (uint64_t)count * size));
}

static int
parse_64(struct elf_image *elf)
{
        Elf64_Ehdr h;

        if (elf->len < sizeof(h))
                return -ENOEXEC;
        memcpy(&h, elf->bytes, sizeof(h));
        elf->type = h.e_type;
        elf->machine = h.e_machine;
        elf->entry = h.e_entry;
        elf->phoff = h.e_phoff;
        elf->shoff = h.e_shoff;
        elf->phnum = h.e_phnum;
        elf->shnum = h.e_shoff ? h.e_shnum : 0;
        elf->phentsize = h.e_phentsize;
        elf->shentsize = h.e_shentsize;
        elf->shstrndx = h.e_shstrndx;
        return 0;
}

static int
parse_32(struct elf_image *elf)
{
        Elf32_Ehdr h;

        if (elf->len < sizeof(h))
                return -ENOEXEC;
        memcpy(&h, elf->bytes, sizeof(h));
        elf->type = h.e_type;
        elf->machine = h.e_machine;
        elf->entry = h.e_entry;
        elf->phoff = h.e_phoff;
        elf->shoff = h.e_shoff;
        elf->phnum = h.e_phnum;
        elf->shnum = h.e_shoff ? h.e_shnum : 0;
        elf->phentsize = h.e_phentsize;
        elf->shentsize = h.e_shentsize;
        elf->shstrndx = h.e_shstrndx;
        return 0;
}

int
elf_parse(const void *bytes, size_t len, struct elf_image *ret_elf)
{
        struct elf_image elf = {.bytes = bytes, .len = len};

        if (len < EI_NIDENT || memcmp(bytes, ELFMAG, SELFMAG) != 0 ||
            elf.bytes[EI_DATA] != ELFDATA2LSB || elf.bytes[EI_VERSION] != EV_CURRENT)
                return -ENOEXEC;
        elf.is_64 = elf.bytes[EI_CLASS] == ELFCLASS64;
        if (!elf.is_64 && elf.bytes[EI_CLASS] != ELFCLASS32)
                return -ENOEXEC;
        int err = elf.is_64 ? parse_64(&elf) : parse_32(&elf);
        if (err)
                return err;
        if (elf.machine != (elf.is_64 ? EM_X86_64 : EM_386))
                return -ENOEXEC;
        if (!table_ok(&elf, elf.phoff, elf.phnum, elf.phentsize, elf.is_64 ? sizeof(Elf64_Phdr) : sizeof(Elf32_Phdr)) ||
            !table_ok(&elf, elf.shoff, elf.shnum, elf.shentsize, elf.is_64 ? sizeof(Elf64_Shdr) : sizeof(Elf32_Shdr)))
                return -EINVAL;
        *ret_elf = elf;
        return 0;
}

const unsigned char *
elf_bytes(const struct elf_image *elf, uint64_t off, uint64_t len)
{
        if (off > elf->len || len > elf->len - off)
                return NULL;
        return elf->bytes + off;
}

bool
elf_phdr(const struct elf_image *elf, unsigned i, Elf64_Phdr *ret_ph)
{
        if (i >= elf->phnum)
                return false;
        const unsigned char *p = elf->bytes + elf->phoff + (uint64_t)i * elf->phentsize;
        if (elf->is_64) {
                memcpy(ret_ph, p, sizeof(*ret_ph));
                return true;
        }
        Elf32_Phdr h;
        memcpy(&h, p, sizeof(h));
        *ret_ph = (Elf64_Phdr){
            .p_type = h.p_type,
            .p_flags = h.p_flags,
            .p_offset = h.p_offset,
            .p_vaddr = h.p_vaddr,
            .p_paddr = h.p_paddr,
            .p_filesz = h.p_filesz,
            .p_memsz = h.p_memsz,
            .p_align = h.p_align,
        };
        return true;
}

bool
elf_shdr(const struct elf_image *elf, unsigned i, Elf64_Shdr *ret_sh)
{
        if (i >= elf->shnum)
                return false;
        const unsigned char *p = elf->bytes + elf->shoff + (uint64_t)i * elf->shentsize;
        if (elf->is_64) {
                memcpy(ret_sh, p, sizeof(*ret_sh));
                return true;
        }
        Elf32_Shdr h;
        memcpy(&h, p, sizeof(h));
        *ret_sh = (Elf64_Shdr){
            .sh_name = h.sh_name,
            .sh_type = h.sh_type,
            .sh_flags = h.sh_flags,
            .sh_addr = h.sh_addr,
            .sh_offset = h.sh_offset,
            .sh_size = h.sh_size,
            .sh_link = h.sh_link,
            .sh_info = h.sh_info,
            .sh_addralign = h.sh_addralign,
            .sh_entsize = h.sh_entsize,
        };
        return true;
}

bool
elf_sym(const struct elf_image *elf, const Elf64_Shdr *symtab, uint64_t i, Elf64_Sym *ret_sym)
{
        size_t entry = elf->is_64 ? sizeof(Elf64_Sym) : sizeof(Elf32_Sym);

        if (i >= symtab->sh_size / entry)
                return false;
        const unsigned char *p = elf_bytes(elf, symtab->sh_offset, symtab->sh_size);
        if (!p)
                return false;
        p += i * entry;
        if (elf->is_64) {
                memcpy(ret_sym, p, sizeof(*ret_sym));
                return true;
        }
        Elf32_Sym s;
        memcpy(&s, p, sizeof(s));
        *ret_sym = (Elf64_Sym){
            .st_name = s.st_name,
            .st_info = s.st_info,
            .st_other = s.st_other,
            .st_shndx = s.st_shndx,
            .st_value = s.st_value,
            .st_size = s.st_size,
        };
        return true;
}

const char *
elf_string(const struct elf_image *elf, const Elf64_Shdr *strtab, uint64_t index)
{
        const unsigned char *p = elf_bytes(elf, strtab->sh_offset, strtab->sh_size);

        if (!p || index >= strtab->sh_size || !memchr(p + index, '\0', strtab->sh_size - index))
                return NULL;
        return (const char *)p + index;
}

size_t
elf_header_bytes(const struct elf_image *elf)
{
        return elf->is_64 ? sizeof(Elf64_Ehdr) : sizeof(Elf32_Ehdr);
}

size_t
elf_word_bytes(const struct elf_image *elf)
{
        return elf->is_64 ? 8 : 4;
}
