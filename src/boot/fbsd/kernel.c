/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Loading kernels and ET_DYN modules: every PT_LOAD segment to its place, then
 * the symbol table and its strings, each behind one word with its length.
 *
 * A kernel is linked high (KERNBASE) and loaded low: the entry's address
 * without its low 24 bits is taken off every address, as FreeBSD's loader
 * does; the kernel relocates itself while it starts.
 */
#include "boot/fbsd/preload.h"

#include "base/bytes.h"

#include <errno.h>
#include <string.h>

#define KERNEL_PHDR_ROOM 4096u /* the program headers must lie in the file's first page */

static uint64_t
round_up(uint64_t v, uint64_t to)
{
        return (v + to - 1) & ~(to - 1);
}

/* What loading segments found out. */
struct extent {
        gpa_t first, last;
        bool any;
};

static int
load_segment(struct preload *pl, const struct elf_image *image, const Elf64_Phdr *ph, uint64_t off,
    struct extent *ext)
{
        const unsigned char *bytes = elf_bytes(image, ph->p_offset, ph->p_filesz);
        gpa_t at = ph->p_vaddr + off;

        if (!image->is_64)
                at = (uint32_t)at;
        if (!bytes || ph->p_memsz < ph->p_filesz)
                return -EINVAL;
        int err = preload_put(pl, at, bytes, ph->p_filesz);
        if (!err)
                err = preload_clear(pl, at + ph->p_filesz, ph->p_memsz - ph->p_filesz);
        if (err)
                return err;
        if (!ext->any || at < ext->first)
                ext->first = at;
        if (!ext->any || at + ph->p_memsz > ext->last)
                ext->last = at + ph->p_memsz;
        ext->any = true;
        return 0;
}

static void
say_segment(const struct preload_say *say, const Elf64_Phdr *ph)
{
        if (!(ph->p_flags & PF_W)) {
                say->say(say->ctx, "text=0x%llx ", (unsigned long long)ph->p_filesz);
                return;
        }
        say->say(say->ctx, "data=0x%llx", (unsigned long long)ph->p_filesz);
        if (ph->p_memsz > ph->p_filesz)
                say->say(say->ctx, "+0x%llx", (unsigned long long)(ph->p_memsz - ph->p_filesz));
        say->say(say->ctx, " ");
}

static int
load_segments(struct preload *pl, const struct elf_image *image, uint64_t off,
    const struct preload_say *say, struct extent *ext)
{
        Elf64_Phdr ph;

        if (image->phoff + (uint64_t)image->phnum * image->phentsize > KERNEL_PHDR_ROOM)
                return -EINVAL;
        for (unsigned i = 0; elf_phdr(image, i, &ph); i++) {
                if (ph.p_type != PT_LOAD)
                        continue;
                int err = load_segment(pl, image, &ph, off, ext);
                if (err)
                        return err;
                say_segment(say, &ph);
        }
        return ext->any ? 0 : -ENOEXEC;
}

/* The symbol table that no segment has loaded already, and its strings. */
static bool
find_symbols(const struct elf_image *image, Elf64_Shdr *ret_sym, Elf64_Shdr *ret_str)
{
        Elf64_Shdr sh;

        for (unsigned i = 0; elf_shdr(image, i, &sh); i++) {
                if (sh.sh_type == SHT_SYMTAB && !(sh.sh_flags & SHF_ALLOC) && sh.sh_size > 0 &&
                    elf_shdr(image, sh.sh_link, ret_str) && ret_str->sh_type == SHT_STRTAB) {
                        *ret_sym = sh;
                        return true;
                }
        }
        return false;
}

/* One table behind its length word; *@at moves on. */
static int
put_table(struct preload *pl, const struct elf_image *image, const Elf64_Shdr *sh, gpa_t *at)
{
        unsigned char word[8];
        size_t n = elf_word_bytes(image);
        const unsigned char *bytes = elf_bytes(image, sh->sh_offset, sh->sh_size);

        if (!bytes)
                return -EINVAL;
        put_le64(word, sh->sh_size);
        int err = preload_put(pl, *at, word, n);
        if (!err)
                err = preload_put(pl, *at + n, bytes, sh->sh_size);
        if (err)
                return err;
        *at = round_up(*at + n + sh->sh_size, n);
        return 0;
}

static int
add_word(struct preload_file *file, const struct elf_image *image, uint32_t type, uint64_t value)
{
        unsigned char word[8];

        put_le64(word, value);
        return preload_add_md(file, type, word, elf_word_bytes(image));
}

static int
load_symbols(struct preload *pl, const struct elf_image *image, struct preload_file *file,
    const struct preload_say *say, gpa_t *end)
{
        Elf64_Shdr sym, str;
        gpa_t at = round_up(*end, elf_word_bytes(image));
        gpa_t start = at;
        unsigned n = (unsigned)elf_word_bytes(image);

        if (!find_symbols(image, &sym, &str)) {
                *end = at;
                return 0;
        }
        int err = put_table(pl, image, &sym, &at);
        if (!err)
                err = put_table(pl, image, &str, &at);
        if (err)
                return err;
        say->say(say->ctx, "syms=[0x%x+0x%llx+0x%x+0x%llx]", n, (unsigned long long)sym.sh_size, n,
            (unsigned long long)str.sh_size);
        *end = at;
        err = add_word(file, image, MODINFOMD_SSYM, start);
        return err ? err : add_word(file, image, MODINFOMD_ESYM, at);
}

static int
add_header_records(const struct elf_image *image, struct preload_file *file)
{
        Elf64_Phdr ph;

        for (unsigned i = 0; elf_phdr(image, i, &ph); i++) {
                if (ph.p_type == PT_DYNAMIC)
                        return add_word(file, image, MODINFOMD_DYNAMIC, ph.p_vaddr);
        }
        return 0;
}

/* Everything that kernels and ET_DYN modules have in common; @off is added to each address. */
static int
load_image(struct preload *pl, const struct elf_image *image, uint64_t off, bool kernel,
    const struct preload_say *say, struct preload_file *file)
{
        struct extent ext = {.any = false};
        size_t shdr_bytes = (size_t)image->shnum * image->shentsize;

        int err = load_segments(pl, image, off, say, &ext);
        if (!err && shdr_bytes)
                err = preload_add_md(file, MODINFOMD_SHDR, image->bytes + image->shoff, shdr_bytes);
        gpa_t end = ext.last;
        if (!err)
                err = load_symbols(pl, image, file, say, &end);
        say->say(say->ctx, "\n");
        if (!err)
                err = add_header_records(image, file);
        if (!err)
                err = preload_add_md(
                    file, MODINFOMD_ELFHDR, image->bytes, elf_header_bytes(image));
        if (!err)
                err = preload_read_modules(image, file, kernel);
        file->addr = ext.first;
        file->size = end - ext.first;
        return err;
}

int
preload_kernel(struct preload *pl, const char *name, const struct elf_image *image,
    const struct preload_say *say, struct preload_file **ret_file)
{
        struct preload_file *file;
        uint64_t base = image->entry & ~(uint64_t)(MEM_PAGE_SIZE - 1);

        if (image->type != ET_EXEC || base == 0)
                return -ENOEXEC;
        if (pl->files)
                return -EEXIST;
        base &= image->is_64 ? 0xffffffffff000000ull : 0xff000000ull;
        int err = preload_new_file(name, PRELOAD_TYPE_KERNEL, &file);
        if (err)
                return err;
        say->say(say->ctx, "%s ", name);
        err = load_image(pl, image, -base, true, say, file);
        if (err) {
                preload_free_file(file);
                return err;
        }
        pl->is_64 = image->is_64;
        pl->entry = image->entry;
        preload_append(pl, file);
        *ret_file = file;
        return 0;
}

int
preload_module(struct preload *pl, const char *name, const struct elf_image *image,
    const struct preload_say *say, struct preload_file **ret_file)
{
        struct preload_file *file;

        if (!pl->files)
                return -ENODEV;
        if (image->is_64 != pl->is_64)
                return -ENOEXEC;
        if (image->type == ET_REL)
                return preload_rel_module(pl, name, image, say, ret_file);
        if (image->type != ET_DYN)
                return -ENOEXEC;
        int err = preload_new_file(name, PRELOAD_TYPE_MODULE, &file);
        if (err)
                return err;
        say->say(say->ctx, "%s ", name);
        err = load_image(pl, image, round_up(pl->next, MEM_PAGE_SIZE), false, say, file);
        if (err) {
                preload_free_file(file);
                return err;
        }
        preload_append(pl, file);
        *ret_file = file;
        return 0;
}
