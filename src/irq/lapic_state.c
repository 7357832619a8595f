/* SPDX-License-Identifier: BSD-2-Clause */
/* A local APIC's registers all at once: as text, and to and from struct x86_apic. */
#include "irq/lapic_private.h"

#include "base/util.h"
#include "x86/state.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void
put_words(uint32_t *to, const reg_t *words)
{
        for (unsigned i = 0; i < 8; i++)
                to[i] = load(&words[i]);
}

static void
take_words(reg_t *words, const uint32_t *from)
{
        for (unsigned i = 0; i < 8; i++)
                store(&words[i], from[i]);
}

void
lapic_get_state(struct lapic *l, struct x86_apic *ret_apic)
{
        static const unsigned regs[] = { REG_ID, REG_VERSION, REG_TPR, REG_PPR, REG_LDR, REG_DFR, REG_SVR, REG_ESR,
                REG_ICR_LOW, REG_ICR_HIGH, REG_TIMER_INITIAL, REG_TIMER_CURRENT, REG_TIMER_DIVIDE };
        uint32_t *to = ret_apic->reg;

        memset(ret_apic, 0, sizeof(*ret_apic));
        ret_apic->base = l->base;
        ret_apic->tsc_deadline = lapic_timer_tsc_deadline(l);
        for (unsigned i = 0; i < ARRAY_LEN(regs); i++)
                to[regs[i]] = lapic_read_reg(l, regs[i]);
        for (unsigned i = 0; i < LVT_COUNT; i++)
                to[REG_LVT_TIMER + i] = load(&l->lvt[i]);
        put_words(&to[REG_ISR], l->isr);
        put_words(&to[REG_TMR], l->tmr);
        put_words(&to[REG_IRR], l->irr);
}

void
lapic_set_state(struct lapic *l, const struct x86_apic *apic)
{
        const uint32_t *from = apic->reg;

        l->base = apic->base;
        store(&l->tpr, from[REG_TPR] & 0xff);
        store(&l->ldr, is_x2apic(l) ? 0 : from[REG_LDR]); /* x2APIC derives it from the id */
        store(&l->dfr, from[REG_DFR]);
        store(&l->svr, from[REG_SVR]);
        store(&l->esr, from[REG_ESR]);
        store(&l->icr_low, from[REG_ICR_LOW]);
        store(&l->icr_high, from[REG_ICR_HIGH]);
        for (unsigned i = 0; i < LVT_COUNT; i++)
                store(&l->lvt[i], from[REG_LVT_TIMER + i]);
        take_words(l->isr, &from[REG_ISR]);
        take_words(l->tmr, &from[REG_TMR]);
        take_words(l->irr, &from[REG_IRR]);
        lapic_timer_set(l, apic);
}

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
