/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Holding a null modem's pair of names, so that programs can open either side
 * before a VM does, and stay while VMs come and go (nmdm_pair.h has the names).
 *
 * A VM that is one side gets the master of the other side's terminal, so that
 * nothing of what passes between them comes by here.  When it ends, the
 * terminal is hung up and the name leads to a new one.
 *
 * Two programs without a VM are joined while both are there (nmdm_relay.h).
 */
#ifndef BACKEND_CHAR_NMDM_HOLDER_H
#define BACKEND_CHAR_NMDM_HOLDER_H

#include "base/loop.h"

struct nmdm_holder;

/*
 * @path: of the pair, such as /dev/nmdm0.  While a VM has made the pair, or
 * another holder, this one waits until that ends.  -errno.
 */
int nmdm_holder_create(struct loop *loop, const char *path, struct nmdm_holder **ret_holder);
/* Hangs up and removes the names.  NULL is allowed. */
void nmdm_holder_destroy(struct nmdm_holder *holder);

#endif
