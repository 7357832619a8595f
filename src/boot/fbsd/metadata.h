/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What a FreeBSD kernel is handed besides its own image: the environment and
 * the preload metadata, both widths.
 */
#ifndef BOOT_FBSD_METADATA_H
#define BOOT_FBSD_METADATA_H

#include "boot/fbsd/env.h"
#include "boot/fbsd/preload.h"

/* Flags of the boot, FreeBSD's sys/reboot.h. */
#define HOWTO_ASKNAME   0x1u
#define HOWTO_SINGLE    0x2u
#define HOWTO_DFLTROOT  0x20u
#define HOWTO_KDB       0x40u
#define HOWTO_VERBOSE   0x800u
#define HOWTO_SERIAL    0x1000u
#define HOWTO_CDROM     0x2000u
#define HOWTO_GDB       0x8000u
#define HOWTO_MUTE      0x10000u
#define HOWTO_PAUSE     0x100000u
#define HOWTO_MULTIPLE  0x20000000u
#define HOWTO_BOOTINFO  0x80000000u

struct metadata_place {
        gpa_t envp;
        gpa_t modulep;
        gpa_t kernend;
        uint32_t howto;
};

/* The flags that @args ("-s -v ...", NULL: none) and the boot_* variables ask for. */
uint32_t metadata_howto(const struct env *env, const char *args);

/*
 * Adds the records that only the kernel gets (HOWTO, ENVP, KERNEND, SMAP) and
 * writes the environment and all records behind the last file.  -EFBIG when
 * they do not fit below the limit.
 */
int metadata_write(struct preload *pl, const struct env *env, struct metadata_place *ret_place);

#endif
