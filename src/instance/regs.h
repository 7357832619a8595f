/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Registers by the names that bhyvectl(8) uses: rax ... r15, rip, rflags, cr0-cr4,
 * dr0-dr7, efer; cs ... tr, ldtr (selectors); desc-cs ... desc-ldtr, desc-gdtr, desc-idtr.
 */
#ifndef INSTANCE_REGS_H
#define INSTANCE_REGS_H

#include "x86/state.h"

#include <stdio.h>

/* -ENOENT: no such register. */
int regs_get(const struct x86_state *st, const char *name, uint64_t *ret_value);
int regs_set(struct x86_state *st, const char *name, uint64_t value);

/* A descriptor: @name as in "cs", "gdtr". */
int regs_get_desc(const struct x86_state *st, const char *name, struct x86_seg *ret_seg);
int regs_set_desc(struct x86_state *st, const char *name, const struct x86_seg *seg);

/* Calls @fn with every name that regs_get knows, in the order of --get-all. */
void regs_for_each(void (*fn)(void *ctx, const char *name), void *ctx);

/* Everything as text, for -o debug.dump and bhyvectl --get-all. */
void regs_print(FILE *out, unsigned vcpu, const struct x86_state *st);

#endif
