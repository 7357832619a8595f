/* SPDX-License-Identifier: BSD-2-Clause */
/* ELF files in memory.  See elf.h. */
#include "base/elf.h"

#include <errno.h>
#include <string.h>

/* Where a field lies in the forms of both widths. */
struct field {
        uint8_t at_32, bytes_32, at_64;
};

/* An entry of a table. */
struct record {
        uint8_t bytes_32, bytes_64;
        struct field field[11]; /* a width of 0 ends them */
};

#define FIELD(type, name) \
        { offsetof(Elf32_##type, name), sizeof(((Elf32_##type *)0)->name), offsetof(Elf64_##type, name) }
#define RECORD(type) .bytes_32 = sizeof(Elf32_##type), .bytes_64 = sizeof(Elf64_##type)

static const struct record ehdr = { RECORD(Ehdr), {
        FIELD(Ehdr, e_type), FIELD(Ehdr, e_machine), FIELD(Ehdr, e_entry), FIELD(Ehdr, e_phoff), FIELD(Ehdr, e_shoff),
        FIELD(Ehdr, e_phentsize), FIELD(Ehdr, e_phnum), FIELD(Ehdr, e_shentsize), FIELD(Ehdr, e_shnum),
        FIELD(Ehdr, e_shstrndx) } };
static const struct record phdr = { RECORD(Phdr), {
        FIELD(Phdr, p_type), FIELD(Phdr, p_flags), FIELD(Phdr, p_offset), FIELD(Phdr, p_vaddr), FIELD(Phdr, p_paddr),
        FIELD(Phdr, p_filesz), FIELD(Phdr, p_memsz), FIELD(Phdr, p_align) } };
static const struct record shdr = { RECORD(Shdr), {
        FIELD(Shdr, sh_name), FIELD(Shdr, sh_type), FIELD(Shdr, sh_flags), FIELD(Shdr, sh_addr), FIELD(Shdr, sh_offset),
        FIELD(Shdr, sh_size), FIELD(Shdr, sh_link), FIELD(Shdr, sh_info), FIELD(Shdr, sh_addralign),
        FIELD(Shdr, sh_entsize) } };
static const struct record sym = { RECORD(Sym), {
        FIELD(Sym, st_name), FIELD(Sym, st_info), FIELD(Sym, st_other), FIELD(Sym, st_shndx), FIELD(Sym, st_value),
        FIELD(Sym, st_size) } };

static size_t
record_bytes(const struct elf_image *elf, const struct record *record)
{
        return elf->is_64 ? record->bytes_64 : record->bytes_32;
}

/* The record at @from in its 64-bit form; all numbers are little-endian. */
static void
read_record(const struct elf_image *elf, const struct record *record, const unsigned char *from, void *ret_64)
{
        if (elf->is_64) {
                memcpy(ret_64, from, record->bytes_64);
                return;
        }
        memset(ret_64, 0, record->bytes_64);
        for (const struct field *f = record->field; f->bytes_32 != 0; f++)
                memcpy((char *)ret_64 + f->at_64, from + f->at_32, f->bytes_32);
}

static bool
table_ok(const struct elf_image *elf, const struct record *record, uint64_t off, unsigned count, unsigned size)
{
        return count == 0 || (size >= record_bytes(elf, record) && elf_bytes(elf, off, (uint64_t)count * size));
}

int
elf_parse(const void *bytes, size_t len, struct elf_image *ret_elf)
{
        struct elf_image elf = {.bytes = bytes, .len = len};
        Elf64_Ehdr h;

        if (len < EI_NIDENT || memcmp(bytes, ELFMAG, SELFMAG) != 0 ||
            elf.bytes[EI_DATA] != ELFDATA2LSB || elf.bytes[EI_VERSION] != EV_CURRENT)
                return -ENOEXEC;
        elf.is_64 = elf.bytes[EI_CLASS] == ELFCLASS64;
        if ((!elf.is_64 && elf.bytes[EI_CLASS] != ELFCLASS32) || len < elf_header_bytes(&elf))
                return -ENOEXEC;
        read_record(&elf, &ehdr, bytes, &h);
        if (h.e_machine != (elf.is_64 ? EM_X86_64 : EM_386))
                return -ENOEXEC;
        elf.type = h.e_type;
        elf.machine = h.e_machine;
        elf.entry = h.e_entry;
        elf.phoff = h.e_phoff;
        elf.shoff = h.e_shoff;
        elf.phnum = h.e_phnum;
        elf.shnum = h.e_shoff ? h.e_shnum : 0;
        elf.phentsize = h.e_phentsize;
        elf.shentsize = h.e_shentsize;
        elf.shstrndx = h.e_shstrndx;
        if (!table_ok(&elf, &phdr, elf.phoff, elf.phnum, elf.phentsize) ||
            !table_ok(&elf, &shdr, elf.shoff, elf.shnum, elf.shentsize))
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
        read_record(elf, &phdr, elf->bytes + elf->phoff + (uint64_t)i * elf->phentsize, ret_ph);
        return true;
}

bool
elf_shdr(const struct elf_image *elf, unsigned i, Elf64_Shdr *ret_sh)
{
        if (i >= elf->shnum)
                return false;
        read_record(elf, &shdr, elf->bytes + elf->shoff + (uint64_t)i * elf->shentsize, ret_sh);
        return true;
}

bool
elf_sym(const struct elf_image *elf, const Elf64_Shdr *symtab, uint64_t i, Elf64_Sym *ret_sym)
{
        const unsigned char *p = elf_bytes(elf, symtab->sh_offset, symtab->sh_size);

        if (!p || i >= symtab->sh_size / record_bytes(elf, &sym))
                return false;
        read_record(elf, &sym, p + i * record_bytes(elf, &sym), ret_sym);
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
        return record_bytes(elf, &ehdr);
}

size_t
elf_word_bytes(const struct elf_image *elf)
{
        return elf->is_64 ? 8 : 4;
}
