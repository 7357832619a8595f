/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What modules a kernel or KLD declares: the linker set "modmetadata_set", an
 * array of pointers to {int version, int type, pointer data, pointer name}
 * (FreeBSD's sys/module.h).  It is read from the file, so pointers are
 * followed through segments (linked files) or relocations (ET_REL).
 *
 * A file without the set, or with a damaged one, holds one module of its own name.
 */
#include "boot/fbsd/preload.h"

#include "base/bytes.h"
#include "base/util.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define MDT_DEPEND  1
#define MDT_VERSION 3

#define MODULES_MAX 4096u
#define NAME_MAX_BYTES 256u
#define SEARCH_BUDGET  20000000u

/* A place in the file: an address in a linked file, section and offset in an ET_REL one. */
struct place {
        unsigned section;
        uint64_t at;
};

struct reader {
        const struct elf_image *image;
        bool rel;
        uint64_t *budget; /* table entries that may still be looked at: ends hostile searches */
};

/* Bytes from @p on to the end of what is there; NULL when it is nowhere in the file. */
static const unsigned char *
bytes_at(const struct reader *r, struct place p, uint64_t *ret_room)
{
        Elf64_Phdr ph;
        Elf64_Shdr sh;

        if (r->rel) {
                if (!elf_shdr(r->image, p.section, &sh) || sh.sh_type == SHT_NOBITS ||
                    p.at > sh.sh_size || !elf_bytes(r->image, sh.sh_offset, sh.sh_size))
                        return NULL;
                *ret_room = sh.sh_size - p.at;
                return r->image->bytes + sh.sh_offset + p.at;
        }
        for (unsigned i = 0; elf_phdr(r->image, i, &ph); i++) {
                uint64_t in = p.at - ph.p_vaddr;
                if (ph.p_type != PT_LOAD || p.at < ph.p_vaddr || in >= ph.p_filesz ||
                    !elf_bytes(r->image, ph.p_offset, ph.p_filesz))
                        continue;
                *ret_room = ph.p_filesz - in;
                return r->image->bytes + ph.p_offset + in;
        }
        return NULL;
}

/* The RELA entry for offset @p.at of section @p.section: where it points. */
static bool
relocated(const struct reader *r, struct place p, struct place *ret)
{
        Elf64_Shdr sh, symtab;
        Elf64_Sym sym;

        for (unsigned i = 0; *r->budget > 0 && elf_shdr(r->image, i, &sh); i++) {
                --*r->budget;
                if (sh.sh_type != SHT_RELA || sh.sh_info != p.section)
                        continue;
                const unsigned char *bytes = elf_bytes(r->image, sh.sh_offset, sh.sh_size);
                for (uint64_t at = 0; bytes && at + sizeof(Elf64_Rela) <= sh.sh_size;
                    at += sizeof(Elf64_Rela)) {
                        Elf64_Rela rela;
                        if (*r->budget == 0)
                                return false;
                        --*r->budget;
                        memcpy(&rela, bytes + at, sizeof(rela));
                        if (rela.r_offset != p.at)
                                continue;
                        if (!elf_shdr(r->image, sh.sh_link, &symtab) ||
                            !elf_sym(r->image, &symtab, ELF64_R_SYM(rela.r_info), &sym))
                                return false;
                        ret->section = sym.st_shndx;
                        ret->at = sym.st_value + (uint64_t)rela.r_addend;
                        return true;
                }
        }
        return false;
}

/* The pointer stored at @p. */
static bool
pointer_at(const struct reader *r, struct place p, struct place *ret)
{
        uint64_t room;
        size_t n = elf_word_bytes(r->image);
        const unsigned char *b = bytes_at(r, p, &room);

        if (!b || room < n)
                return false;
        if (r->rel)
                return relocated(r, p, ret);
        *ret = (struct place){.at = n == 8 ? get_le64(b) : get_le32(b)};
        return true;
}

static bool
ints_at(const struct reader *r, struct place p, int *ret, unsigned count)
{
        uint64_t room;
        const unsigned char *b = bytes_at(r, p, &room);

        if (!b || room < 4ull * count)
                return false;
        for (unsigned i = 0; i < count; i++)
                ret[i] = (int)get_le32(b + 4 * i);
        return true;
}

static const char *
string_at(const struct reader *r, struct place p)
{
        uint64_t room;
        const unsigned char *b = bytes_at(r, p, &room);

        if (b && room > NAME_MAX_BYTES)
                room = NAME_MAX_BYTES;
        return b && memchr(b, '\0', (size_t)room) ? (const char *)b : NULL;
}

/* One entry of the set: @p is where its struct lies. */
static int
read_entry(const struct reader *r, struct place p, struct preload_file *file, bool kernel)
{
        unsigned word = (unsigned)elf_word_bytes(r->image);
        struct place data = p, name = p, at;
        int head[2], v[3];

        if (!ints_at(r, p, head, 2))
                return -EINVAL;
        data.at += 8;
        name.at += 8 + word;
        if (head[1] != MDT_DEPEND && head[1] != MDT_VERSION)
                return 0;
        if (head[1] == MDT_DEPEND && kernel)
                return 0;
        const char *text = pointer_at(r, name, &at) ? string_at(r, at) : NULL;
        unsigned count = head[1] == MDT_DEPEND ? 3 : 1;
        if (!text || !pointer_at(r, data, &at) || !ints_at(r, at, v, count))
                return -EINVAL;
        struct preload_mod mod = {.name = (char *)text, .version = v[0]};
        if (head[1] == MDT_DEPEND)
                mod = (struct preload_mod){
                    .name = (char *)text, .minimum = v[0], .version = v[1], .maximum = v[2]};
        return preload_add_mod(file, head[1] == MDT_DEPEND, &mod);
}

static bool
find_set(const struct elf_image *image, unsigned *ret_section, Elf64_Shdr *ret_sh)
{
        Elf64_Shdr names;

        if (!elf_shdr(image, image->shstrndx, &names))
                return false;
        for (unsigned i = 0; elf_shdr(image, i, ret_sh); i++) {
                const char *name = elf_string(image, &names, ret_sh->sh_name);
                if (name && strcmp(name, "set_modmetadata_set") == 0) {
                        *ret_section = i;
                        return true;
                }
        }
        return false;
}

/* "/boot/modules/foo.ko" holds module foo. */
static int
add_own_name(struct preload_file *file)
{
        const char *base = strrchr(file->name, '/');
        char name[NAME_MAX_BYTES] = "";

        base = base ? base + 1 : file->name;
        strncat(name, base, sizeof(name) - 1);
        char *dot = strrchr(name, '.');
        if (dot)
                *dot = '\0';
        struct preload_mod mod = {.name = name, .version = 1};
        return preload_add_mod(file, false, &mod);
}

int
preload_read_modules(const struct elf_image *image, struct preload_file *file, bool kernel)
{
        uint64_t budget = SEARCH_BUDGET;
        struct reader r = {.image = image, .rel = image->type == ET_REL, .budget = &budget};
        struct place p = {0}, entry;
        Elf64_Shdr sh;

        if (find_set(image, &p.section, &sh)) {
                uint64_t word = elf_word_bytes(image), count = sh.sh_size / word;
                p.at = r.rel ? 0 : sh.sh_addr;
                for (uint64_t i = 0; i < count && i < MODULES_MAX; i++, p.at += word) {
                        if (!pointer_at(&r, p, &entry) ||
                            read_entry(&r, entry, file, kernel) == -EINVAL)
                                break;
                }
        }
        return file->mods ? 0 : add_own_name(file);
}
