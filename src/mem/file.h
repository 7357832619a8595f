/* SPDX-License-Identifier: BSD-2-Clause */
/* A file for guest memory that lives as long as the process. */
#ifndef MEM_FILE_H
#define MEM_FILE_H

#include <stdint.h>

/*
 * A file of @size_bytes in memory, of huge pages where the host gives them; the caller closes it.  Huge pages of a file are
 * to be had on a tmpfs mounted for them, which needs no privilege but a user namespace; what the host refuses there
 * is a file of memfd_create(2), whose pages are huge if the host's administrator has allowed that for all.
 * -errno if there is none at all.
 */
int mem_file_create(uint64_t size_bytes);

#endif
