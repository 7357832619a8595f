/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * soft.cover=FILE: which blocks of the guest's kernel were executed, written
 * when the VM ends in the form of drcov, which coverage viewers read.  A block
 * counts when it is translated, which happens just before it is first executed.
 */
#ifndef CPU_SOFT_COVER_H
#define CPU_SOFT_COVER_H

#include "cpu/soft/soft.h"

struct soft_cover;

/* *ret_cover stays NULL without soft.cover.  -errno if the file cannot be made. */
int soft_cover_create(const struct cpu_config *config, struct soft_cover **ret_cover);
/* Writes the file.  NULL is allowed. */
void soft_cover_destroy(struct soft_cover *cover);

/* Engine lock held; touches no vector register.  @cover may be NULL. */
void soft_cover_block(struct soft_cover *cover, gva_t address, unsigned len);

#endif
