/* SPDX-License-Identifier: BSD-2-Clause */
/* The list of loaded files.  See preload.h. */
#include "boot/fbsd/preload.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

int
preload_put(struct preload *pl, gpa_t gpa, const void *bytes, uint64_t len)
{
        if (gpa > pl->limit || len > pl->limit - gpa)
                return -EFBIG;
        return mem_write(pl->mem, gpa, bytes, (size_t)len) ? -EFBIG : 0;
}

int
preload_clear(struct preload *pl, gpa_t gpa, uint64_t len)
{
        if (gpa > pl->limit || len > pl->limit - gpa)
                return -EFBIG;
        void *at = len ? mem_at(pl->mem, gpa, (size_t)len) : NULL;
        if (!at)
                return len ? -EFBIG : 0;
        memset(at, 0, (size_t)len);
        mem_written(pl->mem, gpa, len);
        return 0;
}

int
preload_new_file(const char *name, const char *type, struct preload_file **ret_file)
{
        struct preload_file *file = calloc(1, sizeof(*file));

        if (!file)
                return -ENOMEM;
        file->name = strdup(name);
        file->type = strdup(type);
        if (!file->name || !file->type) {
                preload_free_file(file);
                return -ENOMEM;
        }
        *ret_file = file;
        return 0;
}

static void
free_mods(struct preload_mod *mod)
{
        while (mod) {
                struct preload_mod *next = mod->next;
                free(mod->name);
                free(mod);
                mod = next;
        }
}

void
preload_free_file(struct preload_file *file)
{
        for (struct preload_md *md = file->md, *next; md; md = next) {
                next = md->next;
                free(md);
        }
        free_mods(file->mods);
        free_mods(file->depends);
        free(file->name);
        free(file->type);
        free(file->args);
        free(file);
}

void
preload_append(struct preload *pl, struct preload_file *file)
{
        struct preload_file **at = &pl->files;

        while (*at)
                at = &(*at)->next;
        *at = file;
        pl->next = file->addr + file->size;
}

struct preload_file *
preload_find(const struct preload *pl, const char *name, const char *type)
{
        for (struct preload_file *f = pl->files; f; f = f->next) {
                if ((!name || strcmp(f->name, name) == 0) && (!type || strcmp(f->type, type) == 0))
                        return f;
        }
        return NULL;
}

static bool
version_ok(const struct preload_mod *mod, const struct preload_mod *want)
{
        return !want || mod->version == want->version ||
            (mod->version >= want->minimum && mod->version <= want->maximum);
}

const struct preload_mod *
preload_find_module(const struct preload *pl, const char *name, const struct preload_mod *want)
{
        for (const struct preload_file *f = pl->files; f; f = f->next) {
                for (const struct preload_mod *m = f->mods; m; m = m->next) {
                        if (strcmp(m->name, name) == 0 && version_ok(m, want))
                                return m;
                }
        }
        return NULL;
}

void
preload_discard(struct preload *pl, struct preload_file *file)
{
        struct preload_file **at = &pl->files;
        gpa_t end = 0;

        for (; *at && *at != file; at = &(*at)->next) {
                if (!file)
                        break;
                end = (*at)->addr + (*at)->size;
        }
        struct preload_file *f = *at;
        *at = NULL;
        pl->next = end;
        while (f) {
                struct preload_file *next = f->next;
                preload_free_file(f);
                f = next;
        }
}

int
preload_add_md(struct preload_file *file, uint32_t type, const void *data, size_t len)
{
        if (len > UINT32_MAX)
                return -EINVAL;
        struct preload_md *md = malloc(sizeof(*md) + len);
        if (!md)
                return -ENOMEM;
        md->type = type;
        md->len = (uint32_t)len;
        memcpy(md->data, data, len);
        md->next = file->md;
        file->md = md;
        return 0;
}

void
preload_drop_md(struct preload_file *file, uint32_t type)
{
        for (struct preload_md **at = &file->md; *at;) {
                struct preload_md *md = *at;
                if (md->type != type) {
                        at = &md->next;
                        continue;
                }
                *at = md->next;
                free(md);
        }
}

struct preload_md *
preload_find_md(const struct preload_file *file, uint32_t type)
{
        for (struct preload_md *md = file->md; md; md = md->next) {
                if (md->type == type)
                        return md;
        }
        return NULL;
}

int
preload_add_mod(struct preload_file *file, bool depend, const struct preload_mod *mod)
{
        struct preload_mod **list = depend ? &file->depends : &file->mods;

        while (*list)
                list = &(*list)->next;
        struct preload_mod *copy = malloc(sizeof(*copy));
        if (!copy)
                return -ENOMEM;
        *copy = *mod;
        copy->next = NULL;
        copy->name = strdup(mod->name);
        if (!copy->name) {
                free(copy);
                return -ENOMEM;
        }
        *list = copy;
        return 0;
}

int
preload_raw(struct preload *pl, const char *name, const char *type, const void *bytes, size_t len,
    struct preload_file **ret_file)
{
        struct preload_file *file;

        if (!pl->files)
                return -ENODEV;
        int err = preload_new_file(name, type, &file);
        if (err)
                return err;
        file->addr = (pl->next + MEM_PAGE_SIZE - 1) & ~(gpa_t)(MEM_PAGE_SIZE - 1);
        file->size = len;
        err = preload_put(pl, file->addr, bytes, len);
        if (err) {
                preload_free_file(file);
                return err;
        }
        preload_append(pl, file);
        *ret_file = file;
        return 0;
}
