/* SPDX-License-Identifier: BSD-2-Clause */
/* target.xml: the registers as GDB's target descriptions want them. */
#include "debug/regs.h"

#include "base/util.h"

#include <string.h>

struct flag_row {
        const char *name;
        unsigned first, last;
};

static const struct flag_row eflags[] = { { "CF", 0, 0 }, { "", 1, 1 }, { "PF", 2, 2 }, { "AF", 4, 4 }, { "ZF", 6, 6 },
        { "SF", 7, 7 }, { "TF", 8, 8 }, { "IF", 9, 9 }, { "DF", 10, 10 }, { "OF", 11, 11 }, { "IOPL", 12, 13 },
        { "NT", 14, 14 }, { "RF", 16, 16 }, { "VM", 17, 17 }, { "AC", 18, 18 }, { "VIF", 19, 19 }, { "VIP", 20, 20 },
        { "ID", 21, 21 } };
static const struct flag_row mxcsr[] = { { "IE", 0, 0 }, { "DE", 1, 1 }, { "ZE", 2, 2 }, { "OE", 3, 3 }, { "UE", 4, 4 },
        { "PE", 5, 5 }, { "DAZ", 6, 6 }, { "IM", 7, 7 }, { "DM", 8, 8 }, { "ZM", 9, 9 }, { "OM", 10, 10 },
        { "UM", 11, 11 }, { "PM", 12, 12 }, { "RC", 13, 14 }, { "FZ", 15, 15 } };

static void
print_flags(FILE *out, const char *id, const struct flag_row *rows, size_t count)
{
        fprintf(out, "<flags id=\"%s\" size=\"4\">", id);
        for (size_t i = 0; i < count; i++)
                fprintf(out, "<field name=\"%s\" start=\"%u\" end=\"%u\"/>", rows[i].name, rows[i].first, rows[i].last);
        fprintf(out, "</flags>\n");
}

static void
print_vector_types(FILE *out)
{
        static const struct {
                const char *id, *type;
                unsigned count;
        } rows[] = { { "v4_float", "ieee_single", 4 }, { "v2_double", "ieee_double", 2 }, { "v16_int8", "int8", 16 },
                { "v8_int16", "int16", 8 }, { "v4_int32", "int32", 4 }, { "v2_int64", "int64", 2 } };

        for (size_t i = 0; i < ARRAY_LEN(rows); i++)
                fprintf(out, "<vector id=\"%s\" type=\"%s\" count=\"%u\"/>", rows[i].id, rows[i].type, rows[i].count);
        fprintf(out, "\n<union id=\"vec128\">");
        for (size_t i = 0; i < ARRAY_LEN(rows); i++)
                fprintf(out, "<field name=\"%s\" type=\"%s\"/>", rows[i].id, rows[i].id);
        fprintf(out, "<field name=\"uint128\" type=\"uint128\"/></union>\n");
}

static void
print_types(FILE *out, const char *feature)
{
        if (strcmp(feature, "org.gnu.gdb.i386.core") == 0)
                print_flags(out, "i386_eflags", eflags, ARRAY_LEN(eflags));
        if (strcmp(feature, "org.gnu.gdb.i386.sse") == 0) {
                print_vector_types(out);
                print_flags(out, "i386_mxcsr", mxcsr, ARRAY_LEN(mxcsr));
        }
}

void
debug_target_xml(FILE *out)
{
        const char *name, *type, *feature, *last = NULL;
        unsigned bits;

        fprintf(out, "<?xml version=\"1.0\"?>\n<!DOCTYPE target SYSTEM \"gdb-target.dtd\">\n<target version=\"1.0\">\n"
                     "<architecture>i386:x86-64</architecture>\n");
        for (unsigned i = 0; i < debug_reg_count(); i++) {
                debug_reg_describe(i, &name, &type, &bits, &feature);
                if (last == NULL || strcmp(last, feature) != 0) {
                        fprintf(out, "%s<feature name=\"%s\">\n", last == NULL ? "" : "</feature>\n", feature);
                        print_types(out, feature);
                }
                fprintf(out, "<reg name=\"%s\" bitsize=\"%u\" type=\"%s\" regnum=\"%u\"/>\n", name, bits, type, i);
                last = feature;
        }
        fprintf(out, "</feature>\n</target>\n");
}
