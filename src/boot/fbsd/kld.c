/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Loading ET_REL modules (amd64 KLDs).  The kernel links them itself; here
 * each section gets a place, written into sh_addr of the section headers that
 * go along as metadata: first code and data in the file's order, then the
 * symbol table, its strings, the section names, and the relocations.
 */
#include "boot/fbsd/preload.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#ifndef SHT_X86_64_UNWIND
#define SHT_X86_64_UNWIND 0x70000001
#endif

#define KLD_SECTIONS_MAX 65535u

struct layout {
        const struct elf_image *image;
        Elf64_Shdr *sh;
        unsigned count;
        gpa_t start, at;
        gpa_t limit;
};

static int
place(struct layout *l, Elf64_Shdr *sh)
{
        uint64_t align = sh->sh_addralign > 1 ? sh->sh_addralign : 1;

        if ((align & (align - 1)) || align > MEM_PAGE_SIZE)
                return -EINVAL;
        l->at = (l->at + align - 1) & ~(align - 1);
        if (l->at > l->limit || sh->sh_size > l->limit - l->at)
                return -EFBIG;
        sh->sh_addr = l->at;
        l->at += sh->sh_size;
        return 0;
}

static bool
is_contents(const Elf64_Shdr *sh)
{
        return sh->sh_size > 0 &&
            (sh->sh_type == SHT_PROGBITS || sh->sh_type == SHT_NOBITS ||
                sh->sh_type == SHT_X86_64_UNWIND);
}

static bool
is_relocation(const Elf64_Shdr *sh)
{
        return sh->sh_type == SHT_REL || sh->sh_type == SHT_RELA;
}

static int
place_matching(struct layout *l, bool (*match)(const Elf64_Shdr *sh))
{
        for (unsigned i = 0; i < l->count; i++) {
                int err = match(&l->sh[i]) ? place(l, &l->sh[i]) : 0;
                if (err)
                        return err;
        }
        return 0;
}

/* The one symbol table, its strings, and the section names. */
static int
place_symbols(struct layout *l)
{
        Elf64_Shdr *symtab = NULL;
        unsigned names = l->image->shstrndx;

        for (unsigned i = 0; i < l->count; i++) {
                if (l->sh[i].sh_type != SHT_SYMTAB)
                        continue;
                if (symtab)
                        return -EINVAL;
                symtab = &l->sh[i];
        }
        if (!symtab || symtab->sh_link >= l->count ||
            l->sh[symtab->sh_link].sh_type != SHT_STRTAB || names == 0 || names >= l->count ||
            l->sh[names].sh_type != SHT_STRTAB)
                return -EINVAL;
        int err = place(l, symtab);
        if (!err)
                err = place(l, &l->sh[symtab->sh_link]);
        if (!err && names != symtab->sh_link)
                err = place(l, &l->sh[names]);
        return err;
}

static int
place_all(struct layout *l)
{
        for (unsigned i = 0; i < l->count; i++) {
                elf_shdr(l->image, i, &l->sh[i]);
                l->sh[i].sh_addr = 0;
        }
        int err = place_matching(l, is_contents);
        if (!err)
                err = place_symbols(l);
        return err ? err : place_matching(l, is_relocation);
}

static int
copy_all(struct preload *pl, const struct layout *l)
{
        int err = preload_clear(pl, l->start, l->at - l->start);

        for (unsigned i = 0; i < l->count && !err; i++) {
                const Elf64_Shdr *sh = &l->sh[i];
                if (sh->sh_addr == 0 || sh->sh_type == SHT_NOBITS)
                        continue;
                const unsigned char *bytes = elf_bytes(l->image, sh->sh_offset, sh->sh_size);
                err = bytes ? preload_put(pl, sh->sh_addr, bytes, sh->sh_size) : -EINVAL;
        }
        return err;
}

static int
load_rel(struct preload *pl, struct layout *l, struct preload_file *file)
{
        l->sh = calloc(l->count, sizeof(*l->sh));
        if (!l->sh)
                return -ENOMEM;
        int err = place_all(l);
        if (!err)
                err = copy_all(pl, l);
        if (!err)
                err = preload_add_md(file, MODINFOMD_SHDR, l->sh, l->count * sizeof(*l->sh));
        if (!err)
                err = preload_add_md(
                    file, MODINFOMD_ELFHDR, l->image->bytes, elf_header_bytes(l->image));
        if (!err)
                err = preload_read_modules(l->image, file, false);
        free(l->sh);
        return err;
}

int
preload_rel_module(struct preload *pl, const char *name, const struct elf_image *image,
    const struct preload_say *say, struct preload_file **ret_file)
{
        struct layout l = {.image = image, .count = image->shnum, .limit = pl->limit};
        struct preload_file *file;

        if (!image->is_64 || image->shentsize != sizeof(Elf64_Shdr) || l.count == 0 ||
            l.count > KLD_SECTIONS_MAX)
                return -ENOEXEC;
        l.start = l.at = (pl->next + MEM_PAGE_SIZE - 1) & ~(gpa_t)(MEM_PAGE_SIZE - 1);
        int err = preload_new_file(name, PRELOAD_TYPE_OBJ_MODULE, &file);
        if (err)
                return err;
        say->say(say->ctx, "%s ", name);
        err = load_rel(pl, &l, file);
        if (err) {
                say->say(say->ctx, "\n");
                preload_free_file(file);
                return err;
        }
        file->addr = l.start;
        file->size = l.at - l.start;
        say->say(say->ctx, "size 0x%llx at 0x%llx\n", (unsigned long long)file->size,
            (unsigned long long)file->addr);
        preload_append(pl, file);
        *ret_file = file;
        return 0;
}
