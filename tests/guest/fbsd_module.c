/* SPDX-License-Identifier: BSD-2-Clause */
/* A module for fbsd_kernel.c: MODULE, which needs NEEDS.  Its code begins with known bytes. */
struct mod_metadata {
        int version, type;
        const void *data;
        const char *name;
};

__asm__(".text\n.long 0x0c0ffee0\n");

static const int my_version = 1;
static const int wanted[3] = {1, 1, 2000000};
static const struct mod_metadata held = {1, 3, &my_version, MODULE};
static const struct mod_metadata needs = {1, 1, wanted, NEEDS};
static const void *const entries[2] __attribute__((section("set_modmetadata_set"), used)) = {
    &held, &needs};
