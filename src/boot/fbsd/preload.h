/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The list of files loaded into the guest for a FreeBSD kernel: the kernel
 * first, then modules and raw files, each with its place, its metadata
 * records, the modules it holds and those it depends on.
 *
 * preload_kernel() and preload_module() copy ELF files to guest memory;
 * preload_raw() copies a file as it is.  None prints anything but the
 * progress text given to @say.
 */
#ifndef BOOT_FBSD_PRELOAD_H
#define BOOT_FBSD_PRELOAD_H

#include "base/elf.h"
#include "mem/mem.h"

/* Record types of the metadata, FreeBSD's sys/linker.h and machine/metadata.h. */
#define MODINFO_END      0x0000u
#define MODINFO_NAME     0x0001u
#define MODINFO_TYPE     0x0002u
#define MODINFO_ADDR     0x0003u
#define MODINFO_SIZE     0x0004u
#define MODINFO_ARGS     0x0006u
#define MODINFO_METADATA 0x8000u

#define MODINFOMD_ELFHDR  0x0002u
#define MODINFOMD_SSYM    0x0003u
#define MODINFOMD_ESYM    0x0004u
#define MODINFOMD_DYNAMIC 0x0005u
#define MODINFOMD_ENVP    0x0006u
#define MODINFOMD_HOWTO   0x0007u
#define MODINFOMD_KERNEND 0x0008u
#define MODINFOMD_SHDR    0x0009u
#define MODINFOMD_SMAP    0x1001u

#define PRELOAD_TYPE_KERNEL     "elf kernel"
#define PRELOAD_TYPE_MODULE     "elf module"
#define PRELOAD_TYPE_OBJ_MODULE "elf obj module"

struct preload_md {
        struct preload_md *next;
        uint32_t type;
        uint32_t len;
        unsigned char data[];
};

/* A module inside a file, or one that a file depends on. */
struct preload_mod {
        struct preload_mod *next;
        char *name;
        int version;          /* of a module held */
        int minimum, maximum; /* of a module wanted; version is the one preferred */
};

struct preload_file {
        struct preload_file *next;
        char *name;
        char *type;
        char *args; /* NULL: none */
        gpa_t addr;
        uint64_t size;
        struct preload_md *md; /* newest first */
        struct preload_mod *mods;
        struct preload_mod *depends;
};

struct preload {
        struct guest_mem *mem;
        gpa_t limit; /* nothing may be loaded at or above it */
        struct preload_file *files;
        gpa_t next; /* where the next file may begin */
        bool is_64; /* the kernel's width, and its entry: */
        uint64_t entry;
};

/* Where progress text ("text=0x... ") goes. */
struct preload_say {
        void (*say)(void *ctx, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
        void *ctx;
};

/*
 * Loads @image as the kernel.  -ENOEXEC: no kernel; -EEXIST: there is one;
 * -EFBIG: it does not fit below the limit; -EINVAL: damaged.
 */
int preload_kernel(struct preload *pl, const char *name, const struct elf_image *image,
    const struct preload_say *say, struct preload_file **ret_file);

/* A KLD: ET_REL for a 64-bit kernel, ET_DYN for either.  -ENODEV: there is no kernel yet. */
int preload_module(struct preload *pl, const char *name, const struct elf_image *image,
    const struct preload_say *say, struct preload_file **ret_file);

/* The ET_REL half of preload_module(). */
int preload_rel_module(struct preload *pl, const char *name, const struct elf_image *image,
    const struct preload_say *say, struct preload_file **ret_file);

/* Any bytes, under the type @type. */
int preload_raw(struct preload *pl, const char *name, const char *type, const void *bytes,
    size_t len, struct preload_file **ret_file);

/* NULL matches everything. */
struct preload_file *preload_find(const struct preload *pl, const char *name, const char *type);

/* The file that holds module @name in a version that @want (NULL: any) accepts. */
const struct preload_mod *preload_find_module(const struct preload *pl, const char *name,
    const struct preload_mod *want);

/* Forgets @file and all behind it; NULL: everything. */
void preload_discard(struct preload *pl, struct preload_file *file);

int preload_add_md(struct preload_file *file, uint32_t type, const void *data, size_t len);
/* Removes the records of this type. */
void preload_drop_md(struct preload_file *file, uint32_t type);
struct preload_md *preload_find_md(const struct preload_file *file, uint32_t type);

/* Notes the modules that @image declares in its linker set, or one named after the file. */
int preload_read_modules(const struct elf_image *image, struct preload_file *file, bool kernel);

/* Adds one module held (@depend false) or wanted. */
int preload_add_mod(struct preload_file *file, bool depend, const struct preload_mod *mod);

/* For the loaders of each kind: checked copying and clearing below the limit. */
int preload_put(struct preload *pl, gpa_t gpa, const void *bytes, uint64_t len);
int preload_clear(struct preload *pl, gpa_t gpa, uint64_t len);
int preload_new_file(const char *name, const char *type, struct preload_file **ret_file);
void preload_free_file(struct preload_file *file);
void preload_append(struct preload *pl, struct preload_file *file);

#endif
