/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Environment and preload metadata.  See metadata.h.
 *
 * A record is {u32 type, u32 length, data padded to the kernel's word}.  Per
 * file: NAME, TYPE, ARGS, ADDR, SIZE, then the metadata, newest first; at the
 * end a record of zeros.  ADDR and SIZE have the width of a word.  Addresses
 * are physical; the kernel adds KERNBASE.
 */
#include "boot/fbsd/metadata.h"

#include "base/bytes.h"
#include "base/util.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SMAP_ENTRY   20u
#define SMAP_RAM     1u
#define BASE_MEMORY  (640 * KIB)

static const struct {
        char letter;
        const char *variable;
        uint32_t flag;
} howto_flags[] = {
    {'a', "boot_askname", HOWTO_ASKNAME},
    {'C', "boot_cdrom", HOWTO_CDROM},
    {'d', "boot_ddb", HOWTO_KDB},
    {'r', "boot_dfltroot", HOWTO_DFLTROOT},
    {'D', "boot_multicons", HOWTO_MULTIPLE},
    {'m', "boot_mute", HOWTO_MUTE},
    {'p', "boot_pause", HOWTO_PAUSE},
    {'g', "boot_gdb", HOWTO_GDB},
    {'h', "boot_serial", HOWTO_SERIAL},
    {'s', "boot_single", HOWTO_SINGLE},
    {'v', "boot_verbose", HOWTO_VERBOSE},
};

static uint32_t
howto_letters(const char *args)
{
        uint32_t howto = 0;

        for (const char *p = args; *p; p++) {
                bool word_start = p == args || isspace((unsigned char)p[-1]);
                if (*p != '-' || !word_start)
                        continue;
                while (isalpha((unsigned char)p[1])) {
                        p++;
                        for (size_t i = 0; i < ARRAY_LEN(howto_flags); i++)
                                howto |= *p == howto_flags[i].letter ? howto_flags[i].flag : 0;
                }
        }
        return howto;
}

/* The first console named is the primary one. */
static uint32_t
howto_console(const char *console)
{
        const char *serial = strstr(console, "comconsole"), *video = strstr(console, "vidconsole");

        if (strstr(console, "nullconsole"))
                return HOWTO_MUTE;
        if (serial && video)
                return HOWTO_MULTIPLE | (serial < video ? HOWTO_SERIAL : 0);
        return serial ? HOWTO_SERIAL : 0;
}

uint32_t
metadata_howto(const struct env *env, const char *args)
{
        uint32_t howto = args ? howto_letters(args) : 0;
        const char *console = env_get(env, "console");

        for (size_t i = 0; i < ARRAY_LEN(howto_flags); i++) {
                if (env_get(env, howto_flags[i].variable))
                        howto |= howto_flags[i].flag;
        }
        return console ? howto | howto_console(console) : howto;
}

/* --- Records --- */

struct writer {
        FILE *out;
        unsigned word;
};

static void
put_record(struct writer *w, uint32_t type, const void *data, size_t len)
{
        static const char zeros[8];
        unsigned char head[8];

        put_le32(head, type);
        put_le32(head + 4, (uint32_t)len);
        fwrite(head, 1, sizeof(head), w->out);
        if (len > 0)
                fwrite(data, 1, len, w->out);
        fwrite(zeros, 1, -len & (w->word - 1), w->out);
}

static void
put_word_record(struct writer *w, uint32_t type, uint64_t value)
{
        unsigned char bytes[8];

        put_le64(bytes, value);
        put_record(w, type, bytes, w->word);
}

static void
put_string_record(struct writer *w, uint32_t type, const char *text)
{
        put_record(w, type, text, strlen(text) + 1);
}

static void
put_file(struct writer *w, const struct preload_file *file)
{
        put_string_record(w, MODINFO_NAME, file->name);
        put_string_record(w, MODINFO_TYPE, file->type);
        if (file->args)
                put_string_record(w, MODINFO_ARGS, file->args);
        put_word_record(w, MODINFO_ADDR, file->addr);
        put_word_record(w, MODINFO_SIZE, file->size);
        for (const struct preload_md *md = file->md; md; md = md->next)
                put_record(w, MODINFO_METADATA | md->type, md->data, md->len);
}

/* All records as bytes, which the caller frees. */
static int
format_records(const struct preload *pl, char **ret_bytes, size_t *ret_len)
{
        struct writer w = {.word = pl->is_64 ? 8 : 4};

        w.out = open_memstream(ret_bytes, ret_len);
        if (!w.out)
                return -ENOMEM;
        for (const struct preload_file *f = pl->files; f; f = f->next)
                put_file(&w, f);
        put_record(&w, MODINFO_END, NULL, 0);
        return fclose(w.out) ? -ENOMEM : 0;
}

static int
format_env(const struct env *env, char **ret_bytes, size_t *ret_len)
{
        FILE *out = open_memstream(ret_bytes, ret_len);

        if (!out)
                return -ENOMEM;
        for (size_t i = 0; i < env->count; i++)
                fprintf(out, "%s=%s%c", env->vars[i].name, env->vars[i].value, '\0');
        fputc('\0', out);
        return fclose(out) ? -ENOMEM : 0;
}

static void
put_smap(unsigned char *entry, uint64_t base, uint64_t len)
{
        put_le64(entry, base);
        put_le64(entry + 8, len);
        put_le32(entry + 16, SMAP_RAM);
}

static int
add_smap(const struct preload *pl, struct preload_file *kernel)
{
        unsigned char smap[3 * SMAP_ENTRY];
        uint64_t high = mem_high_bytes(pl->mem);

        put_smap(smap, 0, BASE_MEMORY);
        put_smap(smap + SMAP_ENTRY, MIB, mem_low_bytes(pl->mem) - MIB);
        put_smap(smap + 2 * SMAP_ENTRY, MEM_HIGH_BASE, high);
        return preload_add_md(kernel, MODINFOMD_SMAP, smap, (high ? 3 : 2) * SMAP_ENTRY);
}

static int
add_word_md(const struct preload *pl, struct preload_file *kernel, uint32_t type, uint64_t value)
{
        unsigned char bytes[8];

        put_le64(bytes, value);
        return preload_add_md(kernel, type, bytes, pl->is_64 ? 8 : 4);
}

static gpa_t
page_up(gpa_t gpa)
{
        return (gpa + MEM_PAGE_SIZE - 1) & ~(gpa_t)(MEM_PAGE_SIZE - 1);
}

static gpa_t
end_of_files(const struct preload *pl)
{
        gpa_t end = 0;

        for (const struct preload_file *f = pl->files; f; f = f->next)
                end = f->addr + f->size > end ? f->addr + f->size : end;
        return page_up(end);
}

static int
write_env(struct preload *pl, const struct env *env, gpa_t at, gpa_t *ret_end)
{
        char *bytes = NULL;
        size_t len = 0;
        int err = format_env(env, &bytes, &len);

        if (!err)
                err = preload_put(pl, at, bytes, len);
        free(bytes);
        *ret_end = page_up(at + len);
        return err;
}

/* Where the metadata ends is known only when they are formatted, and stands in them. */
static int
write_records(struct preload *pl, struct preload_file *kernel, struct metadata_place *place)
{
        struct preload_md *kernend = preload_find_md(kernel, MODINFOMD_KERNEND);
        char *bytes = NULL;
        size_t len = 0;

        int err = format_records(pl, &bytes, &len);
        free(bytes);
        if (err)
                return err;
        place->kernend = page_up(place->modulep + len);
        if (pl->is_64)
                put_le64(kernend->data, place->kernend);
        else
                put_le32(kernend->data, (uint32_t)place->kernend);
        bytes = NULL;
        err = format_records(pl, &bytes, &len);
        if (!err)
                err = preload_put(pl, place->modulep, bytes, len);
        free(bytes);
        return err;
}

int
metadata_write(struct preload *pl, const struct env *env, struct metadata_place *ret_place)
{
        static const uint32_t kernel_only[] = {
            MODINFOMD_HOWTO, MODINFOMD_ENVP, MODINFOMD_KERNEND, MODINFOMD_SMAP};
        struct preload_file *kernel = pl->files;
        struct metadata_place place = {.howto = metadata_howto(env, kernel->args)};
        unsigned char howto[4];

        /* A boot that failed may have left them. */
        for (size_t i = 0; i < ARRAY_LEN(kernel_only); i++)
                preload_drop_md(kernel, kernel_only[i]);
        place.envp = end_of_files(pl);
        int err = write_env(pl, env, place.envp, &place.modulep);
        put_le32(howto, place.howto);
        if (!err)
                err = preload_add_md(kernel, MODINFOMD_HOWTO, howto, sizeof(howto));
        if (!err)
                err = add_word_md(pl, kernel, MODINFOMD_ENVP, place.envp);
        if (!err)
                err = add_word_md(pl, kernel, MODINFOMD_KERNEND, 0);
        if (!err)
                err = add_smap(pl, kernel);
        if (!err)
                err = write_records(pl, kernel, &place);
        if (!err)
                *ret_place = place;
        return err;
}
