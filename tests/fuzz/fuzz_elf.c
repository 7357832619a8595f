/* SPDX-License-Identifier: BSD-2-Clause */
/* Fuzzes loading kernels and modules: the first byte chooses what the file is tried as. */
#include "fuzz.h"

#include "base/util.h"
#include "boot/fbsd/entry.h"
#include "boot/fbsd/metadata.h"

#include <stdlib.h>

static void
say(void *ctx, const char *fmt, ...)
{
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
        static struct guest_mem *mem;
        static const struct preload_say quiet = {.say = say};
        struct preload_file *file;
        struct elf_image image;
        struct env env = {0};
        struct metadata_place place;
        struct x86_state state = {0};

        if (!mem && mem_create(-1, 16 * MIB, &mem))
                abort();
        if (size < 1 || elf_parse(data + 1, size - 1, &image))
                return 0;
        struct preload pl = {.mem = mem, .limit = 16 * MIB};
        if (data[0] & 1) {
                preload_kernel(&pl, "/boot/kernel/kernel", &image, &quiet, &file);
        } else {
                struct preload_file *kernel;
                if (preload_new_file("kernel", PRELOAD_TYPE_KERNEL, &kernel))
                        return 0;
                kernel->addr = 2 * MIB;
                kernel->size = 1 * MIB;
                preload_append(&pl, kernel);
                pl.is_64 = image.is_64;
        }
        preload_module(&pl, "/boot/modules/x.ko", &image, &quiet, &file);
        if (pl.files && metadata_write(&pl, &env, &place) == 0) {
                if (pl.is_64)
                        entry_amd64(mem, pl.entry, &place, &state);
                else
                        entry_i386(mem, pl.entry, &place, pl.files, &state);
        }
        preload_discard(&pl, NULL);
        return 0;
}
