/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The functions of an ELF file, by address and by name.  The file is as
 * untrusted as any: whatever is wrong with it, it only has fewer symbols.
 */
#ifndef BASE_SYMBOLS_H
#define BASE_SYMBOLS_H

#include <stdbool.h>
#include <stdint.h>

struct symbols;

/* -errno; -ENOEXEC if it is no ELF file for x86 with a symbol table. */
int symbols_open(const char *path, struct symbols **ret_symbols);
/* NULL is allowed. */
void symbols_close(struct symbols *symbols);

/* The function that holds @address: the last that starts at or below it; NULL if there is none. */
const char *symbols_at(const struct symbols *symbols, uint64_t address);
bool symbols_find(const struct symbols *symbols, const char *name, uint64_t *ret_address);

#endif
