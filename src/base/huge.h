/* SPDX-License-Identifier: BSD-2-Clause */
/* Memory that starts where a huge page of the host can. */
#ifndef BASE_HUGE_H
#define BASE_HUGE_H

#include <stddef.h>

#define HUGE_PAGE_BYTES ((size_t)2 << 20)

/*
 * Anonymous memory of @bytes, a multiple of pages, with protection @prot as for mmap(2), at a multiple of HUGE_PAGE_BYTES.
 * @flags: 0 or MAP_32BIT.  NULL with errno set.  munmap(2) gives it back.
 */
void *huge_map(size_t bytes, int prot, int flags);

#endif
