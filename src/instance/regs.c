/* SPDX-License-Identifier: BSD-2-Clause */
#include "instance/regs.h"
#include "base/util.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>

struct reg_row {
        const char *name;
        size_t offset;
};

#define GPR(name, index) { name, offsetof(struct x86_state, gpr[index]) }
#define REG(name) { #name, offsetof(struct x86_state, name) }

static const struct reg_row reg_rows[] = {
        GPR("rax", X86_RAX), GPR("rbx", X86_RBX), GPR("rcx", X86_RCX), GPR("rdx", X86_RDX),
        GPR("rsi", X86_RSI), GPR("rdi", X86_RDI), GPR("rbp", X86_RBP), GPR("rsp", X86_RSP),
        GPR("r8", X86_R8), GPR("r9", X86_R9), GPR("r10", X86_R10), GPR("r11", X86_R11),
        GPR("r12", X86_R12), GPR("r13", X86_R13), GPR("r14", X86_R14), GPR("r15", X86_R15),
        REG(rip), REG(rflags), REG(cr0), REG(cr2), REG(cr3), REG(cr4), REG(cr8),
        { "dr0", offsetof(struct x86_state, dr[0]) }, { "dr1", offsetof(struct x86_state, dr[1]) },
        { "dr2", offsetof(struct x86_state, dr[2]) }, { "dr3", offsetof(struct x86_state, dr[3]) },
        REG(dr6), REG(dr7), REG(efer), REG(xcr0), REG(pat),
        { "tsc-offset", offsetof(struct x86_state, tsc_offset) },
        { "sysenter-cs", offsetof(struct x86_state, sysenter_cs) },
        { "sysenter-esp", offsetof(struct x86_state, sysenter_esp) },
        { "sysenter-eip", offsetof(struct x86_state, sysenter_eip) },
};

static const struct reg_row seg_rows[] = {
        { "cs", offsetof(struct x86_state, seg[X86_CS]) }, { "ds", offsetof(struct x86_state, seg[X86_DS]) },
        { "es", offsetof(struct x86_state, seg[X86_ES]) }, { "fs", offsetof(struct x86_state, seg[X86_FS]) },
        { "gs", offsetof(struct x86_state, seg[X86_GS]) }, { "ss", offsetof(struct x86_state, seg[X86_SS]) },
        { "tr", offsetof(struct x86_state, tr) }, { "ldtr", offsetof(struct x86_state, ldtr) },
};

static const struct reg_row dtable_rows[] = {
        { "gdtr", offsetof(struct x86_state, gdtr) },
        { "idtr", offsetof(struct x86_state, idtr) },
};

static const char *const mp_names[] = { "running", "waiting for INIT", "waiting for SIPI", "halted" };

static const struct reg_row *
find_row(const struct reg_row *rows, size_t count, const char *name)
{
        for (size_t i = 0; i < count; i++) {
                if (strcmp(rows[i].name, name) == 0)
                        return &rows[i];
        }
        return NULL;
}

static const void *
row_at(const struct x86_state *st, const struct reg_row *row)
{
        return (const char *)st + row->offset;
}

int
regs_get(const struct x86_state *st, const char *name, uint64_t *ret_value)
{
        const struct reg_row *row = find_row(reg_rows, ARRAY_LEN(reg_rows), name);

        if (row != NULL) {
                memcpy(ret_value, row_at(st, row), sizeof(*ret_value));
                return 0;
        }
        row = find_row(seg_rows, ARRAY_LEN(seg_rows), name);
        if (row == NULL)
                return -ENOENT;
        *ret_value = ((const struct x86_seg *)row_at(st, row))->sel;
        return 0;
}

int
regs_set(struct x86_state *st, const char *name, uint64_t value)
{
        const struct reg_row *row = find_row(reg_rows, ARRAY_LEN(reg_rows), name);

        if (row != NULL) {
                memcpy((char *)st + row->offset, &value, sizeof(value));
                return 0;
        }
        row = find_row(seg_rows, ARRAY_LEN(seg_rows), name);
        if (row == NULL)
                return -ENOENT;
        ((struct x86_seg *)((char *)st + row->offset))->sel = (uint16_t)value;
        return 0;
}

int
regs_get_desc(const struct x86_state *st, const char *name, struct x86_seg *ret_seg)
{
        const struct reg_row *row = find_row(seg_rows, ARRAY_LEN(seg_rows), name);

        if (row != NULL) {
                *ret_seg = *(const struct x86_seg *)row_at(st, row);
                return 0;
        }
        row = find_row(dtable_rows, ARRAY_LEN(dtable_rows), name);
        if (row == NULL)
                return -ENOENT;
        *ret_seg = (struct x86_seg){ .base = ((const struct x86_dtable *)row_at(st, row))->base,
                .limit = ((const struct x86_dtable *)row_at(st, row))->limit };
        return 0;
}

int
regs_set_desc(struct x86_state *st, const char *name, const struct x86_seg *seg)
{
        const struct reg_row *row = find_row(seg_rows, ARRAY_LEN(seg_rows), name);

        if (row != NULL) {
                *(struct x86_seg *)((char *)st + row->offset) = *seg;
                return 0;
        }
        row = find_row(dtable_rows, ARRAY_LEN(dtable_rows), name);
        if (row == NULL)
                return -ENOENT;
        *(struct x86_dtable *)((char *)st + row->offset) =
            (struct x86_dtable){ .base = seg->base, .limit = (uint16_t)seg->limit };
        return 0;
}

void
regs_for_each(void (*fn)(void *ctx, const char *name), void *ctx)
{
        for (size_t i = 0; i < ARRAY_LEN(reg_rows); i++)
                fn(ctx, reg_rows[i].name);
        for (size_t i = 0; i < ARRAY_LEN(seg_rows); i++)
                fn(ctx, seg_rows[i].name);
}

void
regs_print(FILE *out, unsigned vcpu, const struct x86_state *st)
{
        fprintf(out, "virtual CPU %u (%s, CPL %u)\n", vcpu,
            st->mp_state < ARRAY_LEN(mp_names) ? mp_names[st->mp_state] : "?", x86_cpl(st));
        for (size_t i = 0; i < ARRAY_LEN(reg_rows); i++) {
                uint64_t value;

                memcpy(&value, row_at(st, &reg_rows[i]), sizeof(value));
                fprintf(out, "%-12s 0x%016" PRIx64 "\n", reg_rows[i].name, value);
        }
        for (size_t i = 0; i < ARRAY_LEN(seg_rows); i++) {
                const struct x86_seg *seg = row_at(st, &seg_rows[i]);

                fprintf(out, "%-12s 0x%04x base 0x%016" PRIx64 " limit 0x%08x access 0x%05x\n", seg_rows[i].name,
                    seg->sel, seg->base, seg->limit, seg->attr);
        }
        for (size_t i = 0; i < ARRAY_LEN(dtable_rows); i++) {
                const struct x86_dtable *table = row_at(st, &dtable_rows[i]);

                fprintf(out, "%-12s base 0x%016" PRIx64 " limit 0x%04x\n", dtable_rows[i].name, table->base,
                    table->limit);
        }
}
