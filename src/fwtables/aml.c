/* SPDX-License-Identifier: BSD-2-Clause */
#include "fwtables/aml.h"

#include <string.h>

#define OP_NAME       0x08
#define OP_BYTE       0x0a
#define OP_WORD       0x0b
#define OP_DWORD      0x0c
#define OP_QWORD      0x0e
#define OP_SCOPE      0x10
#define OP_BUFFER     0x11
#define OP_PACKAGE    0x12
#define OP_METHOD     0x14
#define OP_DUAL_NAME  0x2e
#define OP_MULTI_NAME 0x2f
#define OP_EXT        0x5b
#define EXT_REGION    0x80
#define EXT_FIELD     0x81
#define EXT_DEVICE    0x82
#define REGION_PCI    0x02
#define FIELD_BYTE    0x01

/* Length and type of what a memory or I/O window is, 6.4.3.5. */
#define SPACE_MEMORY 0
#define SPACE_IO     1
#define SPACE_BUS    2
#define WINDOW_FIXED 0x0c /* minimum and maximum fixed, positive decode, a bridge's */

void
aml_op(struct blob *b, enum aml_op op)
{
        blob_u8(b, (uint8_t)op);
}

/* Three bytes of PkgLength, whatever it turns out to be: 20.2.4. */
static size_t
pkg_begin(struct blob *b)
{
        size_t mark = b->len;

        blob_zero(b, 3);
        return mark;
}

void
aml_end(struct blob *b, size_t mark)
{
        size_t len = b->len - mark;

        if (len >= 1u << 20)
                b->failed = true;
        blob_set8(b, mark, (uint8_t)(0x80 | (len & 15)));
        blob_set8(b, mark + 1, (uint8_t)(len >> 4));
        blob_set8(b, mark + 2, (uint8_t)(len >> 12));
}

/* 20.2.2 */
void
aml_path(struct blob *b, const char *path)
{
        size_t count;

        if (*path == '\\')
                blob_u8(b, (uint8_t)*path++);
        if (!*path) {
                blob_u8(b, 0);
                return;
        }
        count = (strlen(path) + 1) / 5; /* names of four, dots between them */
        if (count == 2)
                blob_u8(b, OP_DUAL_NAME);
        if (count > 2) {
                blob_u8(b, OP_MULTI_NAME);
                blob_u8(b, (uint8_t)count);
        }
        for (size_t i = 0; i < count; i++)
                blob_bytes(b, path + 5 * i, 4);
}

void
aml_int(struct blob *b, uint64_t value)
{
        if (value <= 1) {
                blob_u8(b, (uint8_t)value);
        } else if (value <= UINT8_MAX) {
                blob_u8(b, OP_BYTE);
                blob_u8(b, (uint8_t)value);
        } else if (value <= UINT16_MAX) {
                blob_u8(b, OP_WORD);
                blob_u16(b, (uint16_t)value);
        } else if (value <= UINT32_MAX) {
                blob_u8(b, OP_DWORD);
                blob_u32(b, (uint32_t)value);
        } else {
                blob_u8(b, OP_QWORD);
                blob_u64(b, value);
        }
}

static unsigned
hex_digit(char c)
{
        return c <= '9' ? (unsigned)(c - '0') : (unsigned)(c - 'A' + 10);
}

/* Three letters of five bits and four hexadecimal digits, big-endian (19.6.37). */
void
aml_eisaid(struct blob *b, const char *id)
{
        unsigned letters = (unsigned)(id[0] & 31) << 10 | (unsigned)(id[1] & 31) << 5 | (unsigned)(id[2] & 31);

        blob_u8(b, OP_DWORD);
        blob_u8(b, (uint8_t)(letters >> 8));
        blob_u8(b, (uint8_t)letters);
        blob_u8(b, (uint8_t)(hex_digit(id[3]) << 4 | hex_digit(id[4])));
        blob_u8(b, (uint8_t)(hex_digit(id[5]) << 4 | hex_digit(id[6])));
}

void
aml_name(struct blob *b, const char *name)
{
        blob_u8(b, OP_NAME);
        aml_path(b, name);
}

void
aml_name_int(struct blob *b, const char *name, uint64_t value)
{
        aml_name(b, name);
        aml_int(b, value);
}

size_t
aml_scope_begin(struct blob *b, const char *path)
{
        size_t mark;

        blob_u8(b, OP_SCOPE);
        mark = pkg_begin(b);
        aml_path(b, path);
        return mark;
}

size_t
aml_device_begin(struct blob *b, const char *name)
{
        size_t mark;

        blob_u8(b, OP_EXT);
        blob_u8(b, EXT_DEVICE);
        mark = pkg_begin(b);
        aml_path(b, name);
        return mark;
}

size_t
aml_method_begin(struct blob *b, const char *name, unsigned args)
{
        size_t mark;

        blob_u8(b, OP_METHOD);
        mark = pkg_begin(b);
        aml_path(b, name);
        blob_u8(b, (uint8_t)args);
        return mark;
}

size_t
aml_package_begin(struct blob *b, unsigned elements)
{
        size_t mark;

        blob_u8(b, OP_PACKAGE);
        mark = pkg_begin(b);
        blob_u8(b, (uint8_t)elements);
        return mark;
}

size_t
aml_if_begin(struct blob *b)
{
        aml_op(b, AML_IF);
        return pkg_begin(b);
}

size_t
aml_else_begin(struct blob *b)
{
        aml_op(b, AML_ELSE);
        return pkg_begin(b);
}

void
aml_pci_region(struct blob *b, const char *name, unsigned offset, unsigned len)
{
        blob_u8(b, OP_EXT);
        blob_u8(b, EXT_REGION);
        aml_path(b, name);
        blob_u8(b, REGION_PCI);
        aml_int(b, offset);
        aml_int(b, len);
}

size_t
aml_field_begin(struct blob *b, const char *region)
{
        size_t mark;

        blob_u8(b, OP_EXT);
        blob_u8(b, EXT_FIELD);
        mark = pkg_begin(b);
        aml_path(b, region);
        blob_u8(b, FIELD_BYTE);
        return mark;
}

/* A field's length is a PkgLength too, here always below 64. */
void
aml_field(struct blob *b, const char *name, unsigned bits)
{
        aml_path(b, name);
        blob_u8(b, (uint8_t)bits);
}

void
aml_field_skip(struct blob *b, unsigned bits)
{
        blob_u8(b, 0);
        blob_u8(b, (uint8_t)bits);
}

struct aml_resources
aml_resources_begin(struct blob *b)
{
        struct aml_resources r;

        blob_u8(b, OP_BUFFER);
        r.package = pkg_begin(b);
        blob_u8(b, OP_WORD);
        r.size_at = b->len;
        blob_u16(b, 0);
        r.start = b->len;
        return r;
}

void
aml_resources_end(struct blob *b, const struct aml_resources *r)
{
        blob_u8(b, 0x79); /* end tag */
        blob_u8(b, 0);    /* a checksum of 0 counts as right */
        blob_set16(b, r->size_at, (uint16_t)(b->len - r->start));
        aml_end(b, r->package);
}

void
aml_io(struct blob *b, uint16_t base, uint8_t len)
{
        blob_u8(b, 0x47);
        blob_u8(b, 1); /* decodes 16 bits */
        blob_u16(b, base);
        blob_u16(b, base);
        blob_u8(b, 1);
        blob_u8(b, len);
}

void
aml_irq(struct blob *b, unsigned irq)
{
        blob_u8(b, 0x22);
        blob_u16(b, (uint16_t)(1u << irq));
}

void
aml_irq_shared(struct blob *b, uint16_t irqs)
{
        blob_u8(b, 0x23);
        blob_u16(b, irqs);
        blob_u8(b, 0x18);
}

void
aml_memory32(struct blob *b, uint32_t base, uint32_t len, bool writable)
{
        blob_u8(b, 0x86);
        blob_u16(b, 9);
        blob_u8(b, writable);
        blob_u32(b, base);
        blob_u32(b, len);
}

void
aml_bus_range(struct blob *b, uint16_t first, uint16_t last)
{
        blob_u8(b, 0x88);
        blob_u16(b, 13);
        blob_u8(b, SPACE_BUS);
        blob_u8(b, WINDOW_FIXED);
        blob_u8(b, 0);
        blob_u16(b, 0);
        blob_u16(b, first);
        blob_u16(b, last);
        blob_u16(b, 0);
        blob_u16(b, (uint16_t)(last - first + 1));
}

void
aml_io_window(struct blob *b, uint16_t base, uint32_t limit)
{
        if (limit <= base)
                return;
        blob_u8(b, 0x88);
        blob_u16(b, 13);
        blob_u8(b, SPACE_IO);
        blob_u8(b, WINDOW_FIXED);
        blob_u8(b, 3); /* the whole range, ISA and other */
        blob_u16(b, 0);
        blob_u16(b, base);
        blob_u16(b, (uint16_t)(limit - 1));
        blob_u16(b, 0);
        blob_u16(b, (uint16_t)(limit - base));
}

void
aml_memory32_window(struct blob *b, uint32_t base, uint64_t limit)
{
        if (limit <= base)
                return;
        blob_u8(b, 0x87);
        blob_u16(b, 23);
        blob_u8(b, SPACE_MEMORY);
        blob_u8(b, WINDOW_FIXED);
        blob_u8(b, 1); /* read-write, not cacheable */
        blob_u32(b, 0);
        blob_u32(b, base);
        blob_u32(b, (uint32_t)(limit - 1));
        blob_u32(b, 0);
        blob_u32(b, (uint32_t)(limit - base));
}

void
aml_memory64_window(struct blob *b, uint64_t base, uint64_t limit)
{
        if (limit <= base)
                return;
        blob_u8(b, 0x8a);
        blob_u16(b, 43);
        blob_u8(b, SPACE_MEMORY);
        blob_u8(b, WINDOW_FIXED);
        blob_u8(b, 1);
        blob_u64(b, 0);
        blob_u64(b, base);
        blob_u64(b, limit - 1);
        blob_u64(b, 0);
        blob_u64(b, limit - base);
}
