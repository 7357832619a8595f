/* SPDX-License-Identifier: BSD-2-Clause */
/* MD5 (RFC 1321), for identities that bhyve derives with it; not for security. */
#ifndef BASE_MD5_H
#define BASE_MD5_H

#include <stddef.h>
#include <stdint.h>

void md5_digest(const void *data, size_t len, uint8_t ret_digest[16]);

#endif
