/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Finding and loading kernels, modules and raw files: the module path,
 * linker.hints, dependencies; and the commands about them.
 */
#include "boot/fbsd/loader_impl.h"

#include "base/bytes.h"
#include "boot/fbsd/words.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define HINTS_MAX     (1u << 20)
#define HINTS_VERSION 1
#define HINT_VERSION  3 /* the record type that names a module's file */

static const char *const kld_suffixes[] = {".ko", "", ".debug", NULL};
static const char *const no_suffix[] = {"", NULL};

static void
say(void *ctx, const char *fmt, ...)
{
        struct loader *l = ctx;
        va_list ap;

        va_start(ap, fmt);
        console_vprintf(l->con, fmt, ap);
        va_end(ap);
}

static bool
is_file(struct loader *l, const char *path)
{
        enum fs_type type;

        return dev_find(&l->devs, path, &type) == 0 && type == FS_TYPE_FILE;
}

/* The first of @dir/@name with each suffix that is a file. */
static bool
lookup_in(struct loader *l, const char *dir, size_t dir_len, const char *name, size_t name_len,
    const char *const *suffixes, char *path, size_t size)
{
        const char *slash = dir_len > 0 && dir[dir_len - 1] != '/' ? "/" : "";

        for (; *suffixes; suffixes++) {
                int n = snprintf(path, size, "%.*s%s%.*s%s", (int)dir_len, dir, slash,
                    (int)name_len, name, *suffixes);
                if (n > 0 && (size_t)n < size && is_file(l, path))
                        return true;
        }
        return false;
}

/* Calls @try for each directory of module_path until it answers true. */
static bool
each_module_dir(struct loader *l,
    bool (*try)(struct loader *l, const char *dir, size_t len, void *ctx), void *ctx)
{
        const char *at = env_get(&l->env, "module_path");

        if (!at)
                at = LOADER_MODULE_PATH;
        while (*at) {
                size_t len = strcspn(at, ";");
                if (len > 0 && try(l, at, len, ctx))
                        return true;
                at += len;
                at += *at == ';';
        }
        return false;
}

struct search {
        const char *name;
        const char *const *suffixes;
        const struct preload_mod *want;
        char *path;
        size_t size;
};

static bool
try_file(struct loader *l, const char *dir, size_t len, void *ctx)
{
        struct search *s = ctx;

        return lookup_in(l, dir, len, s->name, strlen(s->name), s->suffixes, s->path, s->size);
}

/* A file by its name: as it stands when it has a path, else on the module path. */
static bool
find_file(struct loader *l, const char *name, const char *const *suffixes, char *path, size_t size)
{
        struct search s = {.name = name, .suffixes = suffixes, .path = path, .size = size};

        if (dev_has_path(name)) {
                snprintf(path, size, "%s", name);
                return is_file(l, path);
        }
        return each_module_dir(l, try_file, &s);
}

/* --- linker.hints --- */

/* A counted string at @at of @end; NULL when it does not fit. */
static const unsigned char *
counted(const unsigned char *at, const unsigned char *end, size_t *ret_len)
{
        if (at >= end || (size_t)(end - at) < 1u + at[0])
                return NULL;
        *ret_len = at[0];
        return at + 1;
}

/* The file that the hints name for a module; its length, 0 for none. */
static size_t
search_hints(
    const unsigned char *hints, size_t len, const struct search *s, const unsigned char **ret)
{
        const unsigned char *end = hints + len;
        size_t name_len = strlen(s->name), found = 0;
        int best = -1;

        for (const unsigned char *rec = hints; end - rec >= 8;) {
                uint32_t rec_len = get_le32(rec);
                const unsigned char *at = rec + 8, *name, *file;
                size_t n;
                if (rec_len < 4 || rec_len > (size_t)(end - rec) - 4)
                        break;
                const unsigned char *rec_end = rec + 4 + rec_len;
                uint32_t type = get_le32(rec + 4);
                rec = rec_end;
                if (type != HINT_VERSION || !(name = counted(at, rec_end, &n)) || n != name_len ||
                    memcmp(name, s->name, n) != 0)
                        continue;
                /* The version is aligned as seen from the hints' first record. */
                at = hints + (((size_t)(name + n - hints) + 3) & ~(size_t)3);
                if (at > rec_end || rec_end - at < 4)
                        continue;
                int version = (int)get_le32(at);
                if (!(file = counted(at + 4, rec_end, &n)))
                        continue;
                bool exact = !s->want || version == s->want->version;
                bool fits = exact ||
                    (version >= s->want->minimum && version <= s->want->maximum && version > best);
                if (!fits)
                        continue;
                best = version;
                *ret = file;
                found = n;
                if (exact)
                        break;
        }
        return found;
}

static bool
try_module(struct loader *l, const char *dir, size_t len, void *ctx)
{
        struct search *s = ctx;
        void *hints = NULL;
        size_t hints_len = 0, file_len = 0;
        const unsigned char *file;
        bool found = false;

        int n = snprintf(s->path, s->size, "%.*s/linker.hints", (int)len, dir);
        if (n > 0 && (size_t)n < s->size &&
            dev_load(&l->devs, s->path, HINTS_MAX, &hints, &hints_len) == 0 && hints_len > 4 &&
            get_le32(hints) == HINTS_VERSION)
                file_len = search_hints((unsigned char *)hints + 4, hints_len - 4, s, &file);
        if (file_len)
                found = lookup_in(
                    l, dir, len, (const char *)file, file_len, no_suffix, s->path, s->size);
        free(hints);
        return found || (file_len == 0 && try_file(l, dir, len, ctx));
}

/* --- Loading --- */

bool
loader_has_kernel(const struct loader *l)
{
        return l->preload.files || l->foreign.request.kernel.bytes;
}

static void
free_foreign(struct foreign *f)
{
        free((void *)f->request.kernel.path);
        free((void *)f->request.kernel.bytes);
        for (unsigned i = 0; i < f->request.module_count; i++) {
                free((void *)f->request.module[i].path);
                free((void *)f->request.module[i].bytes);
        }
        free(f->cmdline);
        memset(f, 0, sizeof(*f));
}

void
loader_unload(struct loader *l)
{
        preload_discard(&l->preload, NULL);
        free_foreign(&l->foreign);
        env_unset(&l->env, "kernelname");
}

/* Takes over @bytes when it is a Linux or Multiboot kernel. */
static bool
take_foreign(
    struct loader *l, const char *path, void *bytes, size_t len, int argc, char *const *argv)
{
        struct boot_file file = {.path = path, .bytes = bytes, .len = len};
        struct foreign *f = &l->foreign;

        if (loader_has_kernel(l) || !(boot_is_linux(&file) || boot_is_multiboot(&file)))
                return false;
        f->request.kernel = file;
        f->request.kernel.path = strdup(path);
        f->cmdline = words_join(argc, argv);
        console_printf(l->con, "%s %s size=0x%zx\n", path,
            boot_is_linux(&file) ? "Linux kernel" : "Multiboot kernel", len);
        env_set(&l->env, "kernelname", path);
        return true;
}

static int
load_failed(struct loader *l, const char *path, int err)
{
        switch (err) {
        case -ENOEXEC:
                return loader_fail(l, "don't know how to load module '%s'", path);
        case -EEXIST:
                return loader_fail(l, "can't load file '%s': kernel already loaded", path);
        case -ENODEV:
                return loader_fail(
                    l, "can't load file '%s': can't load module before kernel", path);
        case -EFBIG:
                return loader_fail(l,
                    "can't load file '%s': it does not fit into the guest's memory (%llu MB)", path,
                    (unsigned long long)l->preload.limit >> 20);
        case -EINVAL:
                return loader_fail(l, "can't load file '%s': damaged ELF file", path);
        default:
                return loader_fail(l, "can't load file '%s': %s", path, strerror(-err));
        }
}

static int
load_dependencies(struct loader *l, struct preload_file *file)
{
        for (const struct preload_mod *m = file->depends; m; m = m->next) {
                if (preload_find_module(&l->preload, m->name, m))
                        continue;
                console_printf(l->con, "loading required module '%s'\n", m->name);
                if (l->nest == LOADER_NEST_MAX)
                        return loader_fail(l, "module '%s': dependencies nest too deeply", m->name);
                l->nest++;
                int err = loader_load_module(l, m->name, m, 0, NULL);
                l->nest--;
                if (err)
                        return err;
                if (!preload_find_module(&l->preload, m->name, m))
                        return loader_fail(
                            l, "module '%s' exists but with wrong version", m->name);
        }
        return 0;
}

/* Puts an ELF file that lies in memory into the guest, with what it depends on. */
static int
load_elf(
    struct loader *l, const char *path, const struct elf_image *image, int argc, char *const *argv)
{
        struct preload_say out = {.say = say, .ctx = l};
        struct preload_file *file;
        bool kernel = image->type == ET_EXEC;

        if (l->foreign.request.kernel.bytes)
                return load_failed(l, path, -EEXIST);
        int err = kernel ? preload_kernel(&l->preload, path, image, &out, &file)
                         : preload_module(&l->preload, path, image, &out, &file);
        if (err)
                return load_failed(l, path, err);
        file->args = words_join(argc, argv);
        if (kernel)
                env_set(&l->env, "kernelname", path);
        err = load_dependencies(l, file);
        if (err)
                preload_discard(&l->preload, file);
        return err;
}

static int
load_path(struct loader *l, const char *path, int argc, char *const *argv)
{
        struct elf_image image;
        char why[128];
        void *bytes;
        size_t len;

        int err = dev_load(&l->devs, path, (size_t)mem_low_bytes(l->mem), &bytes, &len);
        if (err == -EFBIG)
                return load_failed(l, path, err);
        if (err)
                return loader_fail(l, "can't load file '%s': %s", path,
                    dev_strerror(&l->devs, err, why, sizeof(why)));
        if (take_foreign(l, path, bytes, len, argc, argv))
                return 0;
        err = elf_parse(bytes, len, &image);
        if (err)
                load_failed(l, path, err);
        else
                err = load_elf(l, path, &image, argc, argv);
        free(bytes);
        return err ? -1 : 0;
}

int
loader_load_kld(struct loader *l, const char *name, int argc, char *const *argv)
{
        char path[FS_PATH_MAX];

        if (!find_file(l, name, kld_suffixes, path, sizeof(path)))
                return loader_fail(l, "can't find '%s'", name);
        if (preload_find(&l->preload, path, NULL))
                return loader_fail(l, "warning: KLD '%s' already loaded", path);
        return load_path(l, path, argc, argv);
}

int
loader_load_module(struct loader *l, const char *name, const struct preload_mod *want, int argc,
    char *const *argv)
{
        char path[FS_PATH_MAX];
        struct search s = {.name = name, .suffixes = kld_suffixes, .want = want, .path = path,
            .size = sizeof(path)};

        if (preload_find_module(&l->preload, name, want))
                return loader_fail(l, "warning: module '%s' already loaded", name);
        if (!each_module_dir(l, try_module, &s))
                return loader_fail(l, "can't find '%s'", name);
        return loader_load_kld(l, path, argc, argv);
}

/* An initrd, or a module of a Multiboot kernel. */
static int
add_foreign_file(struct loader *l, const char *path, void *bytes, size_t len)
{
        struct boot_request *r = &l->foreign.request;

        if (r->module_count == BOOT_MODULES_MAX) {
                free(bytes);
                return loader_fail(l, "can't load file '%s': too many files", path);
        }
        r->module[r->module_count++] =
            (struct boot_file){.path = strdup(path), .bytes = bytes, .len = len};
        console_printf(l->con, "%s size=0x%zx\n", path, len);
        return 0;
}

int
loader_load_raw(struct loader *l, const char *name, const char *type)
{
        char path[FS_PATH_MAX], why[128];
        struct preload_file *file;
        void *bytes;
        size_t len;

        if (!loader_has_kernel(l))
                return loader_fail(l, "can't load file before kernel");
        if (!find_file(l, name, no_suffix, path, sizeof(path)))
                return loader_fail(l, "can't find '%s'", name);
        if (preload_find(&l->preload, path, type))
                return loader_fail(l, "warning: file '%s' already loaded", path);
        int err = dev_load(&l->devs, path, (size_t)mem_low_bytes(l->mem), &bytes, &len);
        if (err)
                return loader_fail(l, "can't open '%s': %s", path,
                    dev_strerror(&l->devs, err, why, sizeof(why)));
        if (l->foreign.request.kernel.bytes)
                return add_foreign_file(l, path, bytes, len);
        err = preload_raw(&l->preload, path, type, bytes, len, &file);
        free(bytes);
        return err ? load_failed(l, path, err) : 0;
}

/* --- Commands --- */

static int
load_with_type(struct loader *l, const char *type, int argc, char **argv, int at)
{
        if (at + 1 != argc || type[0] == '\0')
                return loader_fail(l, "invalid load type");
        if (strcmp(type, "kernel") == 0 || strcmp(type, PRELOAD_TYPE_KERNEL) == 0)
                return loader_load_kld(l, argv[at], 0, NULL);
        return loader_load_raw(l, argv[at], type);
}

int
cmd_load(struct loader *l, int argc, char **argv)
{
        struct options opt = {.argc = argc, .argv = argv, .at = 1};
        const char *type = NULL;
        bool kld = false;

        for (int c; (c = loader_option(l, &opt, "kt:")) != -1;) {
                if (c == '?')
                        return -1;
                if (c == 'k')
                        kld = true;
                else
                        type = opt.arg;
        }
        int at = opt.at;
        if (type)
                return load_with_type(l, type, argc, argv, at);
        if (at >= argc)
                return loader_fail(l, "no filename specified");
        /* Before there is a kernel, a bare name is one. */
        if (kld || dev_has_path(argv[at]) || !loader_has_kernel(l))
                return loader_load_kld(l, argv[at], argc - at - 1, argv + at + 1);
        return loader_load_module(l, argv[at], NULL, argc - at - 1, argv + at + 1);
}

int
cmd_load_geli(struct loader *l, int argc, char **argv)
{
        struct options opt = {.argc = argc, .argv = argv, .at = 1};
        char type[128], *end;
        long number = 0;

        for (int c; (c = loader_option(l, &opt, "n:")) != -1;) {
                if (c == '?')
                        return -1;
                number = strtol(opt.arg, &end, 0);
                if (end == opt.arg)
                        return loader_fail(l, "bad key index '%s'", opt.arg);
        }
        if (argc - opt.at != 2)
                return loader_fail(l, "usage is [-n key#] <prov> <file>");
        snprintf(type, sizeof(type), "%.80s:geli_keyfile%ld", argv[opt.at], number);
        return loader_load_raw(l, argv[opt.at + 1], type);
}

int
cmd_unload(struct loader *l, int argc, char **argv)
{
        loader_unload(l);
        return 0;
}

static bool
list_file(struct loader *l, const struct preload_file *f, bool verbose)
{
        bool more = console_page(l->con, " 0x%llx: %s (%s, 0x%llx)\n", (unsigned long long)f->addr,
            f->name, f->type, (unsigned long long)f->size);

        if (f->args)
                more = console_page(l->con, "    args: %s\n", f->args);
        if (f->mods)
                console_page(l->con, "  modules: ");
        for (const struct preload_mod *m = f->mods; m; m = m->next)
                more = console_page(l->con, "%s.%d %s", m->name, m->version, m->next ? "" : "\n");
        for (const struct preload_md *md = f->md; verbose && md; md = md->next)
                more = console_page(l->con, "      0x%04x, 0x%x\n", md->type, md->len);
        return more;
}

int
cmd_lsmod(struct loader *l, int argc, char **argv)
{
        struct options opt = {.argc = argc, .argv = argv, .at = 1};
        const struct boot_request *r = &l->foreign.request;
        bool verbose = false, more = true;

        for (int c; (c = loader_option(l, &opt, "v")) != -1;) {
                if (c == '?')
                        return -1;
                verbose = true;
        }
        console_page_start(l->con, loader_page_lines(l));
        for (const struct preload_file *f = l->preload.files; f && more; f = f->next)
                more = list_file(l, f, verbose);
        if (r->kernel.bytes)
                console_page(l->con, " %s (%s, 0x%zx)\n", r->kernel.path,
                    boot_is_linux(&r->kernel) ? "linux kernel" : "multiboot kernel", r->kernel.len);
        for (unsigned i = 0; i < r->module_count; i++)
                console_page(l->con, " %s (module, 0x%zx)\n", r->module[i].path, r->module[i].len);
        return 0;
}

int
cmd_pnpscan(struct loader *l, int argc, char **argv)
{
        console_printf(l->con, "PnP scan summary:\n");
        return 0;
}

static void
list_line(void *ctx, const char *text)
{
        struct loader *l = ctx;

        console_page(l->con, "%s\n", text);
}

int
cmd_lszfs(struct loader *l, int argc, char **argv)
{
        char why[128];

        if (argc != 2)
                return loader_fail(l, "a single dataset must be supplied");
        console_page_start(l->con, loader_page_lines(l));
        int err = dev_list_zfs(&l->devs, argv[1], list_line, l);
        return err ? loader_fail(l, "%s", dev_strerror(&l->devs, err, why, sizeof(why))) : 0;
}
