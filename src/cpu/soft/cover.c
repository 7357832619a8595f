/* SPDX-License-Identifier: BSD-2-Clause */
#include "cpu/soft/cover.h"

#include "base/log.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>

#define BLOCKS_MAX   (1u << 24)
#define MODULE_BYTES 0x100000000ull /* offsets in the file have 32 bits */

struct cover_block {
        gva_t address;
        uint32_t len;
        uint32_t pad;
};

struct soft_cover {
        FILE *file;
        struct cover_block *block; /* BLOCKS_MAX, most of them never touched */
        size_t count;
};

void
soft_cover_block(struct soft_cover *cover, gva_t address, unsigned len)
{
        if (cover != NULL && len != 0 && cover->count < BLOCKS_MAX)
                cover->block[cover->count++] = (struct cover_block){ address, len, 0 };
}

/* By address, the longest first. */
static int
compare_blocks(const void *a, const void *b)
{
        const struct cover_block *x = a, *y = b;

        if (x->address != y->address)
                return x->address < y->address ? -1 : 1;
        return (x->len < y->len) - (x->len > y->len);
}

static void
sort_blocks(struct soft_cover *c)
{
        size_t kept = 0;

        qsort(c->block, c->count, sizeof(c->block[0]), compare_blocks);
        for (size_t i = 0; i < c->count; i++)
                if (kept == 0 || c->block[kept - 1].address != c->block[i].address)
                        c->block[kept++] = c->block[i];
        c->count = kept;
}

/* Each 4 GiB of address space with code is a module; how many.  Prints their lines if @print. */
static unsigned
print_modules(const struct soft_cover *c, bool print)
{
        unsigned count = 0;

        for (size_t i = 0; i < c->count; i++) {
                gva_t base = c->block[i].address & ~(MODULE_BYTES - 1);

                if (i > 0 && base == (c->block[i - 1].address & ~(MODULE_BYTES - 1)))
                        continue;
                if (print)
                        fprintf(c->file, "%3u, 0x%016llx, 0x%016llx, 0x0, 0x0, 0x0, guest-%08llx\n", count,
                            (unsigned long long)base, (unsigned long long)(base + MODULE_BYTES - 1),
                            (unsigned long long)(base >> 32));
                count++;
        }
        return count;
}

static void
print_blocks(const struct soft_cover *c)
{
        unsigned module = 0;

        for (size_t i = 0; i < c->count; i++) {
                const struct cover_block *b = &c->block[i];
                uint32_t start = (uint32_t)b->address;
                uint16_t tail[2];

                if (i > 0 && (b->address ^ b[-1].address) >= MODULE_BYTES)
                        module++;
                tail[0] = (uint16_t)b->len;
                tail[1] = (uint16_t)module;
                fwrite(&start, sizeof(start), 1, c->file);
                fwrite(tail, sizeof(tail), 1, c->file);
        }
}

int
soft_cover_create(const struct cpu_config *config, struct soft_cover **ret_cover)
{
        const char *path = config->option == NULL ? NULL : config->option(config->option_ctx, "soft.cover");
        struct soft_cover *c;
        int error;

        if (path == NULL)
                return 0;
        c = calloc(1, sizeof(*c));
        if (c == NULL)
                return -ENOMEM;
        c->block = mmap(NULL, BLOCKS_MAX * sizeof(c->block[0]), PROT_READ | PROT_WRITE,
            MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
        c->file = c->block == MAP_FAILED ? NULL : fopen(path, "we");
        if (c->file == NULL) {
                error = -errno;
                log_error("soft.cover: %s: %m", path);
                soft_cover_destroy(c);
                return error;
        }
        *ret_cover = c;
        return 0;
}

void
soft_cover_destroy(struct soft_cover *cover)
{
        if (cover == NULL)
                return;
        if (cover->file != NULL) {
                sort_blocks(cover);
                fprintf(cover->file, "DRCOV VERSION: 2\nDRCOV FLAVOR: drcov\nModule Table: version 2, count %u\n"
                    "Columns: id, base, end, entry, checksum, timestamp, path\n", print_modules(cover, false));
                print_modules(cover, true);
                fprintf(cover->file, "BB Table: %zu bbs\n", cover->count);
                print_blocks(cover);
                if (fclose(cover->file) != 0)
                        log_error("soft.cover: %m");
        }
        if (cover->block != MAP_FAILED)
                munmap(cover->block, BLOCKS_MAX * sizeof(cover->block[0]));
        free(cover);
}
