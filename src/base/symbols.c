/* SPDX-License-Identifier: BSD-2-Clause */
#include "base/symbols.h"

#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

struct symbol {
        uint64_t address, size;
        const char *name;
};

struct symbols {
        const uint8_t *file;
        size_t bytes;
        struct symbol *symbol; /* by address */
        size_t count;
};

static const void *
part(const struct symbols *s, uint64_t offset, uint64_t len)
{
        return offset > s->bytes || len > s->bytes - offset ? NULL : s->file + offset;
}

static int
compare(const void *a, const void *b)
{
        const struct symbol *x = a, *y = b;

        if (x->address != y->address)
                return x->address < y->address ? -1 : 1;
        return (x->size > y->size) - (x->size < y->size);
}

static void
add_symbols(struct symbols *s, const Elf64_Sym *table, uint64_t count, const char *names, uint64_t names_len)
{
        for (uint64_t i = 0; i < count; i++) {
                Elf64_Sym sym;

                memcpy(&sym, &table[i], sizeof(sym));
                if (ELF64_ST_TYPE(sym.st_info) != STT_FUNC && ELF64_ST_TYPE(sym.st_info) != STT_NOTYPE)
                        continue;
                if (sym.st_shndx == SHN_UNDEF || sym.st_name >= names_len || names[sym.st_name] == '\0')
                        continue;
                s->symbol[s->count++] = (struct symbol){ sym.st_value, sym.st_size, names + sym.st_name };
        }
        qsort(s->symbol, s->count, sizeof(s->symbol[0]), compare);
}

static bool
section(const struct symbols *s, const Elf64_Ehdr *eh, uint64_t index, Elf64_Shdr *ret_section)
{
        const void *at = part(s, eh->e_shoff + index * sizeof(*ret_section), sizeof(*ret_section));

        if (at == NULL || index >= eh->e_shnum)
                return false;
        memcpy(ret_section, at, sizeof(*ret_section));
        return true;
}

static int
read_table(struct symbols *s)
{
        Elf64_Shdr table, strings;
        Elf64_Ehdr eh;
        const char *names;
        const void *rows;

        if (s->bytes < sizeof(eh))
                return -ENOEXEC;
        memcpy(&eh, s->file, sizeof(eh));
        if (memcmp(eh.e_ident, ELFMAG, SELFMAG) != 0 || eh.e_ident[EI_CLASS] != ELFCLASS64 ||
            eh.e_shentsize != sizeof(Elf64_Shdr))
                return -ENOEXEC;
        for (uint64_t i = 0; section(s, &eh, i, &table); i++) {
                if (table.sh_type != SHT_SYMTAB || !section(s, &eh, table.sh_link, &strings))
                        continue;
                rows = part(s, table.sh_offset, table.sh_size);
                names = part(s, strings.sh_offset, strings.sh_size);
                if (rows == NULL || names == NULL || strings.sh_size == 0 || names[strings.sh_size - 1] != '\0')
                        return -ENOEXEC;
                s->symbol = malloc((table.sh_size / sizeof(Elf64_Sym) + 1) * sizeof(s->symbol[0]));
                if (s->symbol == NULL)
                        return -ENOMEM;
                add_symbols(s, rows, table.sh_size / sizeof(Elf64_Sym), names, strings.sh_size);
                return 0;
        }
        return -ENOEXEC;
}

int
symbols_open(const char *path, struct symbols **ret_symbols)
{
        struct symbols *s = calloc(1, sizeof(*s));
        int fd = open(path, O_RDONLY | O_CLOEXEC);
        struct stat st;
        void *file = MAP_FAILED;
        int error = 0;

        if (s == NULL)
                error = -ENOMEM;
        else if (fd < 0 || fstat(fd, &st) != 0)
                error = -errno;
        else if (st.st_size == 0)
                error = -ENOEXEC;
        else if ((file = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_PRIVATE, fd, 0)) == MAP_FAILED)
                error = -errno;
        if (fd >= 0)
                close(fd);
        if (error == 0) {
                s->file = file;
                s->bytes = (size_t)st.st_size;
                error = read_table(s);
        }
        if (error != 0) {
                symbols_close(s);
                return error;
        }
        *ret_symbols = s;
        return 0;
}

void
symbols_close(struct symbols *symbols)
{
        if (symbols == NULL)
                return;
        if (symbols->file != NULL)
                munmap((void *)(uintptr_t)symbols->file, symbols->bytes);
        free(symbols->symbol);
        free(symbols);
}

const char *
symbols_at(const struct symbols *symbols, uint64_t address)
{
        size_t low = 0, high = symbols->count;
        const struct symbol *found;

        while (low < high) {
                size_t middle = (low + high) / 2;

                if (symbols->symbol[middle].address <= address)
                        low = middle + 1;
                else
                        high = middle;
        }
        if (low == 0)
                return NULL;
        found = &symbols->symbol[low - 1];
        /* Up to the next, for assembly often gives no sizes; the last has nothing else. */
        if (low == symbols->count && address != found->address && address - found->address >= found->size)
                return NULL;
        return found->name;
}

bool
symbols_find(const struct symbols *symbols, const char *name, uint64_t *ret_address)
{
        for (size_t i = 0; i < symbols->count; i++) {
                if (strcmp(symbols->symbol[i].name, name) == 0) {
                        *ret_address = symbols->symbol[i].address;
                        return true;
                }
        }
        return false;
}
