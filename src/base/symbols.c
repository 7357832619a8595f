/* SPDX-License-Identifier: BSD-2-Clause */
#include "base/symbols.h"

#include "base/elf.h"

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
        struct elf_image elf;
        struct symbol *symbol; /* by address */
        size_t count;
};

static int
compare(const void *a, const void *b)
{
        const struct symbol *x = a, *y = b;

        if (x->address != y->address)
                return x->address < y->address ? -1 : 1;
        return (x->size > y->size) - (x->size < y->size);
}

static void
add_symbol(struct symbols *s, const Elf64_Shdr *strings, const Elf64_Sym *sym)
{
        unsigned type = ELF64_ST_TYPE(sym->st_info);
        const char *name;

        if ((type != STT_FUNC && type != STT_NOTYPE) || sym->st_shndx == SHN_UNDEF)
                return;
        name = elf_string(&s->elf, strings, sym->st_name);
        if (name != NULL && name[0] != '\0')
                s->symbol[s->count++] = (struct symbol){ sym->st_value, sym->st_size, name };
}

static int
read_table(struct symbols *s)
{
        Elf64_Shdr table, strings;
        Elf64_Sym sym;
        uint64_t count;

        if (elf_parse(s->file, s->bytes, &s->elf) != 0)
                return -ENOEXEC;
        for (unsigned i = 0; elf_shdr(&s->elf, i, &table); i++) {
                if (table.sh_type != SHT_SYMTAB || !elf_shdr(&s->elf, table.sh_link, &strings))
                        continue;
                for (count = 0; elf_sym(&s->elf, &table, count, &sym); count++)
                        continue;
                s->symbol = malloc((count + 1) * sizeof(s->symbol[0]));
                if (s->symbol == NULL)
                        return -ENOMEM;
                for (uint64_t n = 0; elf_sym(&s->elf, &table, n, &sym); n++)
                        add_symbol(s, &strings, &sym);
                qsort(s->symbol, s->count, sizeof(s->symbol[0]), compare);
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
