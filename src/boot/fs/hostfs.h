/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A directory of the host as a read-only file system: host0: at the loader's
 * prompt.  The kernel resolves each path with the directory as its root
 * (openat2, RESOLVE_IN_ROOT), so that "..", absolute links and links made
 * while we look all stay inside.  Only regular files and directories open.
 */
#ifndef BOOT_FS_HOSTFS_H
#define BOOT_FS_HOSTFS_H

#include "boot/fs/fs.h"

/* Holds @path open until fs_unmount(). */
int hostfs_mount(const char *path, struct fs **ret_fs);

#endif
