/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Reading ELF files of both widths (little-endian x86) that lie in memory.
 *
 * elf_parse() checks the header; elf_phdr() and elf_shdr() give one entry of
 * a table in the 64-bit form; elf_bytes() gives a range of the file.  Nothing
 * is trusted: each call checks what it touches.  The file's bytes stay the
 * caller's and must outlive the struct.
 */
#ifndef BASE_ELF_H
#define BASE_ELF_H

#include <elf.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct elf_image {
        const unsigned char *bytes;
        size_t len;
        bool is_64;
        uint16_t type;    /* ET_* */
        uint16_t machine; /* EM_* */
        uint64_t entry;
        uint64_t phoff, shoff;
        unsigned phnum, shnum;
        unsigned phentsize, shentsize;
        unsigned shstrndx;
};

/*
 * -ENOEXEC when @bytes are no ELF file for i386 or x86-64; -EINVAL when they
 * are, but a table does not lie in the file.
 */
int elf_parse(const void *bytes, size_t len, struct elf_image *ret_elf);

/* Entry @i of the program header table; false beyond its end. */
bool elf_phdr(const struct elf_image *elf, unsigned i, Elf64_Phdr *ret_ph);

/* Entry @i of the section header table; false beyond its end. */
bool elf_shdr(const struct elf_image *elf, unsigned i, Elf64_Shdr *ret_sh);

/* Symbol @i of the table @symtab; false beyond its end. */
bool elf_sym(const struct elf_image *elf, const Elf64_Shdr *symtab, uint64_t i, Elf64_Sym *ret_sym);

/* [off, off + len) of the file, or NULL when it does not lie in it. */
const unsigned char *elf_bytes(const struct elf_image *elf, uint64_t off, uint64_t len);

/* The string at @index of the table @strtab, or NULL when it does not end inside. */
const char *elf_string(const struct elf_image *elf, const Elf64_Shdr *strtab, uint64_t index);

/* Bytes of the file header and of a machine word. */
size_t elf_header_bytes(const struct elf_image *elf);
size_t elf_word_bytes(const struct elf_image *elf);

#endif
