/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * ACPI Machine Language, byte by byte (ACPI 6.4 chapter 20), as far as the
 * DSDT needs it.  aml_*_begin returns a mark that aml_end takes; names are
 * four characters, or paths such as "\\_SB.PC00".
 */
#ifndef FWTABLES_AML_H
#define FWTABLES_AML_H

#include "fwtables/blob.h"

enum aml_op {
        AML_ZERO = 0x00,
        AML_ONE = 0x01,
        AML_LOCAL0 = 0x60,
        AML_ARG0 = 0x68,
        AML_STORE = 0x70,
        AML_DECREMENT = 0x76,
        AML_SHIFT_LEFT = 0x79,
        AML_AND = 0x7b,
        AML_FIND_RIGHT_BIT = 0x82,
        AML_CREATE_WORD_FIELD = 0x8b,
        AML_IF = 0xa0,
        AML_ELSE = 0xa1,
        AML_RETURN = 0xa4,
};

void aml_op(struct blob *b, enum aml_op op);
void aml_path(struct blob *b, const char *path);
void aml_int(struct blob *b, uint64_t value);
void aml_eisaid(struct blob *b, const char *id); /* "PNP0A03" */

/* Name (@name, ...): the object follows. */
void aml_name(struct blob *b, const char *name);
void aml_name_int(struct blob *b, const char *name, uint64_t value);

size_t aml_scope_begin(struct blob *b, const char *path);
size_t aml_device_begin(struct blob *b, const char *name);
size_t aml_method_begin(struct blob *b, const char *name, unsigned args);
size_t aml_package_begin(struct blob *b, unsigned elements);
size_t aml_if_begin(struct blob *b);   /* the condition follows */
size_t aml_else_begin(struct blob *b);
void aml_end(struct blob *b, size_t mark);

/* OperationRegion (@name, PCI_Config, @offset, @len). */
void aml_pci_region(struct blob *b, const char *name, unsigned offset, unsigned len);
/* Field (@region, ByteAcc, NoLock, Preserve): then fields in order. */
size_t aml_field_begin(struct blob *b, const char *region);
void aml_field(struct blob *b, const char *name, unsigned bits);
void aml_field_skip(struct blob *b, unsigned bits);

/* Resource templates (ACPI 6.4, 6.4). */
struct aml_resources {
        size_t package;
        size_t size_at;
        size_t start;
};
struct aml_resources aml_resources_begin(struct blob *b);
void aml_resources_end(struct blob *b, const struct aml_resources *r);
void aml_io(struct blob *b, uint16_t base, uint8_t len);
void aml_irq(struct blob *b, unsigned irq);              /* edge, high */
void aml_irq_shared(struct blob *b, uint16_t irqs);      /* level, low, shared: a mask */
void aml_memory32(struct blob *b, uint32_t base, uint32_t len, bool writable);
void aml_bus_range(struct blob *b, uint16_t first, uint16_t last);
/* Windows [base, limit) that a bridge passes on. */
void aml_io_window(struct blob *b, uint16_t base, uint32_t limit);
void aml_memory32_window(struct blob *b, uint32_t base, uint64_t limit);
void aml_memory64_window(struct blob *b, uint64_t base, uint64_t limit);

#endif
