/* SPDX-License-Identifier: BSD-2-Clause */
/* A local APIC's registers all at once: as text, and to and from struct x86_apic. */
#include "irq/lapic_private.h"

#include <stdio.h>
#include <stdlib.h>

static const char *
mode_name(const struct lapic *l)
{
        if (!(l->base & BASE_ENABLE))
                return "off";
        return is_x2apic(l) ? "x2apic" : "xapic";
}

static void
describe_vectors(FILE *out, const char *name, const reg_t *words)
{
        fprintf(out, "%s", name);
        for (unsigned v = 0; v < 256; v++) {
                if (load(&words[v / 32]) >> (v & 31) & 1)
                        fprintf(out, " %02x", v);
        }
        fputc('\n', out);
}

size_t
lapic_describe(const struct lapic *l, char *buf, size_t size)
{
        char *text = NULL;
        size_t len = 0;
        FILE *out = open_memstream(&text, &len);

        if (!out)
                return 0;
        fprintf(out, "id %u mode %s svr %03x tpr %02x ppr %02x esr %02x icr %08x:%08x\n", l->id,
            mode_name(l), load(&l->svr), load(&l->tpr), lapic_ppr(l), load(&l->esr), load(&l->icr_high),
            load(&l->icr_low));
        fprintf(out, "lvt timer %05x thermal %05x perf %05x lint0 %05x lint1 %05x error %05x\n",
            load(&l->lvt[LVT_TIMER]), load(&l->lvt[LVT_THERMAL]), load(&l->lvt[LVT_PERF]),
            load(&l->lvt[LVT_LINT0]), load(&l->lvt[LVT_LINT1]), load(&l->lvt[LVT_ERROR]));
        describe_vectors(out, "isr", l->isr);
        describe_vectors(out, "irr", l->irr);
        describe_vectors(out, "tmr", l->tmr);
        fclose(out);
        if (text && size)
                snprintf(buf, size, "%s", text);
        free(text);
        return len;
}
