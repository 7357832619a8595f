/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The registers that the stub shows, in GDB's order: number, place in the `g`
 * packet and description in target.xml all come from one table.
 */
#ifndef DEBUG_REGS_H
#define DEBUG_REGS_H

#include "x86/state.h"

#include <stdio.h>

#define DEBUG_REG_BYTES_MAX 16

/* Numbers that stop replies name. */
#define DEBUG_REG_RBP 6u
#define DEBUG_REG_RSP 7u
#define DEBUG_REG_RIP 16u

unsigned debug_reg_count(void);
/* Writes the register's bytes as GDB wants them; how many. */
unsigned debug_reg_read(const struct x86_state *st, unsigned reg, uint8_t bytes[DEBUG_REG_BYTES_MAX]);
unsigned debug_reg_bytes(unsigned reg);
/* @bytes: debug_reg_bytes(reg) of them.  Segment registers are loaded by selector only: hidden parts stay. */
void debug_reg_write(struct x86_state *st, unsigned reg, const uint8_t *bytes);

/* target_xml.c */
void debug_target_xml(FILE *out);
/* The name, type and feature of a register, for target_xml.c. */
void debug_reg_describe(unsigned reg, const char **ret_name, const char **ret_type, unsigned *ret_bits,
    const char **ret_feature);

#endif
