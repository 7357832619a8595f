/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Local APICs.  Section numbers are those of SDM 3A, chapter 11.
 *
 * Who touches what: ISR, TPR and the MMIO/MSR view belong to the vCPU's
 * thread; IRR and TMR are set by anybody; an INIT from another processor
 * resets all of it.  So every register is an atomic; IRR uses sequentially
 * consistent operations, the rest relaxed ones (a guest that races its own
 * APIC programming gets one of the two outcomes).  The timer is guarded by
 * lapic->lock, a leaf lock; kick() is never called under it.
 */
#include "irq/lapic_private.h"

#include "base/util.h"
#include "cpu/cpu.h"

#include <errno.h>
#include <stdlib.h>

#define LVT_MODE(lvt)   (((lvt) >> 8) & 7)
#define LVT_VECTOR(lvt) ((uint8_t)(lvt))

#define MSR_APIC_BASE    0x1bu
#define MSR_TSC_DEADLINE 0x6e0u
#define MSR_X2APIC_FIRST 0x800u
#define MSR_X2APIC_LAST  0x8ffu

#define SVR_NO_BROADCAST 0x1000u
#define SVR_WRITABLE     0x13ffu

/* Version 0x14, 6 LVT entries, EOI-broadcast suppression (11.4.8). */
#define VERSION (0x14u | (LVT_COUNT - 1) << 16 | 1u << 24)

#define ICR_WRITABLE 0x000ccfffu

/* ESR, 11.5.3. */
#define ESR_SEND_ILLEGAL    0x20u
#define ESR_RECEIVE_ILLEGAL 0x40u
#define ESR_REGISTER        0x80u

static void
kick(struct lapic *l, unsigned event, unsigned arg)
{
        l->set->config.kick(l->set->config.ctx, l->vcpu, event, arg);
}

static bool
is_enabled(const struct lapic *l)
{
        return (l->base & BASE_ENABLE) && (load(&l->svr) & SVR_ENABLE);
}

/* The highest vector of a 256-bit register, or -1. */
static int
highest(const reg_t *words)
{
        for (int i = 7; i >= 0; i--) {
                uint32_t word = atomic_load(&words[i]);

                if (word)
                        return i * 32 + 31 - __builtin_clz(word);
        }
        return -1;
}

/* 11.8.3.1 */
uint32_t
lapic_ppr(const struct lapic *l)
{
        uint32_t tpr = load(&l->tpr);
        int in_service = highest(l->isr);
        uint32_t isr_class = in_service < 0 ? 0 : (uint32_t)in_service & 0xf0;

        return (tpr & 0xf0) >= isr_class ? tpr : isr_class;
}

static void
set_error(struct lapic *l, uint32_t bit);

/* Takes a fixed interrupt; vectors below 16 are illegal (11.5.2). */
static void
accept_vector(struct lapic *l, uint8_t vector, bool level)
{
        uint32_t bit = 1u << (vector & 31);

        if (!is_enabled(l))
                return;
        if (vector < 16) {
                set_error(l, ESR_RECEIVE_ILLEGAL);
                return;
        }
        if (level)
                atomic_fetch_or(&l->tmr[vector / 32], bit);
        else
                atomic_fetch_and(&l->tmr[vector / 32], ~bit);
        if (!(atomic_fetch_or(&l->irr[vector / 32], bit) & bit))
                kick(l, CPU_EVENT_INTR, 0);
}

/* Errors collect until the guest writes ESR; the LVT entry fires once for each new one. */
static void
set_error(struct lapic *l, uint32_t bit)
{
        uint32_t lvt = load(&l->lvt[LVT_ERROR]);

        if (atomic_fetch_or(&l->esr_pending, bit) & bit)
                return;
        if (!(lvt & LVT_MASKED))
                accept_vector(l, LVT_VECTOR(lvt), false);
}

void
lapic_fire_lvt(struct lapic *l, unsigned entry)
{
        uint32_t lvt = load(&l->lvt[entry]);

        if (lvt & LVT_MASKED)
                return;
        switch (LVT_MODE(lvt)) {
        case LAPIC_FIXED:
                accept_vector(l, LVT_VECTOR(lvt), lvt & LVT_LEVEL);
                break;
        case LAPIC_SMI:
                kick(l, CPU_EVENT_SMI, 0);
                break;
        case LAPIC_NMI:
                kick(l, CPU_EVENT_NMI, 0);
                break;
        case LAPIC_EXTINT:
                kick(l, CPU_EVENT_INTR, 0);
                break;
        default:
                break;
        }
}

/* --- Reset --- */

static void
reset_words(reg_t *words)
{
        for (unsigned i = 0; i < 8; i++)
                atomic_store(&words[i], 0);
}

/* 11.4.7.1; the ids stay. */
static void
reset_registers(struct lapic *l)
{
        lapic_timer_reset(l);
        store(&l->tpr, 0);
        store(&l->ldr, 0);
        store(&l->dfr, UINT32_MAX);
        store(&l->svr, 0xff);
        store(&l->esr, 0);
        atomic_store(&l->esr_pending, 0);
        store(&l->icr_low, 0);
        store(&l->icr_high, 0);
        for (unsigned i = 0; i < LVT_COUNT; i++)
                store(&l->lvt[i], LVT_MASKED);
        reset_words(l->isr);
        reset_words(l->tmr);
        reset_words(l->irr);
        l->extint = false;
}

/*
 * Besides what hardware does, LINT0 of the boot processor passes the PIC's
 * interrupts: firmware's virtual wire mode (MultiProcessor Specification 1.4,
 * 3.6.2.2), which guests without firmware may count on.
 */
static void
reset_lapic(struct lapic *l)
{
        reset_registers(l);
        store(&l->xapic_id, l->id & 0xff);
        l->base = LAPIC_BASE | BASE_ENABLE | (l->vcpu == 0 ? BASE_BSP : 0);
        if (l->set->config.x2apic_start)
                l->base |= BASE_X2APIC;
        l->idle = false;
        if (l->vcpu == 0)
                store(&l->lvt[LVT_LINT0], LAPIC_EXTINT << 8);
}

void
lapic_set_reset(struct lapic_set *set)
{
        atomic_store(&set->lint, 0);
        for (unsigned i = 0; i < set->config.count; i++)
                reset_lapic(&set->lapics[i]);
}

int
lapic_set_create(const struct lapic_config *config, struct lapic_set **ret_set)
{
        struct lapic_set *set;
        int error;

        if (!config->count || config->count > LAPIC_MAX_COUNT || !config->tsc_hz)
                return -EINVAL;
        set = calloc(1, sizeof(*set));
        if (!set)
                return -ENOMEM;
        set->config = *config;
        set->lapics = calloc(config->count, sizeof(*set->lapics));
        if (!set->lapics) {
                free(set);
                return -ENOMEM;
        }
        for (unsigned i = 0; i < config->count; i++) {
                struct lapic *l = &set->lapics[i];

                l->set = set;
                l->vcpu = i;
                l->id = config->ids ? config->ids[i] : i;
                pthread_mutex_init(&l->lock, NULL);
        }
        set->config.ids = NULL;
        lapic_set_reset(set);
        error = lapic_timer_start(set);
        if (error) {
                lapic_set_destroy(set);
                return error;
        }
        *ret_set = set;
        return 0;
}

void
lapic_set_destroy(struct lapic_set *set)
{
        if (!set)
                return;
        lapic_timer_stop(set);
        for (unsigned i = 0; i < set->config.count; i++)
                pthread_mutex_destroy(&set->lapics[i].lock);
        free(set->lapics);
        free(set);
}

struct lapic *
lapic_get(struct lapic_set *set, unsigned vcpu)
{
        return vcpu < set->config.count ? &set->lapics[vcpu] : NULL;
}

uint64_t
lapic_base_msr(const struct lapic *l)
{
        return l->base;
}

uint32_t
lapic_id(const struct lapic *l)
{
        return l->id;
}

/* --- Messages, 11.6 and 11.7 --- */

/* 11.12.10.2: derived from the id. */
static uint32_t
x2apic_ldr(const struct lapic *l)
{
        return (l->id >> 4) << 16 | 1u << (l->id & 15);
}

/* 11.6.2.2 */
static bool
match_logical(const struct lapic *l, uint32_t dest)
{
        uint32_t ldr = load(&l->ldr) >> 24;

        if (is_x2apic(l)) {
                ldr = x2apic_ldr(l);
                return ldr >> 16 == dest >> 16 && (ldr & dest & 0xffff);
        }
        if (load(&l->dfr) >> 28 == 0xf)
                return ldr & dest & 0xff;
        return ldr >> 4 == (dest >> 4 & 0xf) && (ldr & dest & 0xf);
}

static bool
match(const struct lapic *l, const struct lapic_message *m)
{
        if (!(l->base & BASE_ENABLE))
                return false;
        if (m->dest == UINT32_MAX)
                return true;
        if (m->logical)
                return match_logical(l, m->dest);
        return m->dest == 0xff || m->dest == (is_x2apic(l) ? l->id : load(&l->xapic_id));
}

static void
deliver_to(struct lapic *l, const struct lapic_message *m)
{
        switch (m->mode) {
        case LAPIC_FIXED:
        case LAPIC_LOWEST:
                accept_vector(l, m->vector, m->level);
                break;
        case LAPIC_SMI:
                kick(l, CPU_EVENT_SMI, 0);
                break;
        case LAPIC_NMI:
                kick(l, CPU_EVENT_NMI, 0);
                break;
        case LAPIC_INIT:
                reset_registers(l);
                kick(l, CPU_EVENT_INIT, 0);
                break;
        case LAPIC_STARTUP:
                kick(l, CPU_EVENT_SIPI, m->vector);
                break;
        case LAPIC_EXTINT:
                l->extint = true;
                kick(l, CPU_EVENT_INTR, 0);
                break;
        case LAPIC_RESERVED:
                break;
        }
}

/* 11.6.2.4: the processor with the lowest priority, taken in turn among equals. */
static void
deliver_lowest(struct lapic_set *set, const struct lapic_message *m)
{
        unsigned count = set->config.count;
        unsigned first = atomic_fetch_add(&set->next_lowest, 1) % count;
        struct lapic *best = NULL;

        for (unsigned i = 0; i < count; i++) {
                struct lapic *l = &set->lapics[(first + i) % count];

                if (match(l, m) && is_enabled(l) && (!best || lapic_ppr(l) < lapic_ppr(best)))
                        best = l;
        }
        if (best)
                deliver_to(best, m);
}

/* 11.11.  Bit 3, the redirection hint, lets the message go to one of many. */
static void
message_to_msi(const struct lapic_message *m, uint64_t *ret_address, uint32_t *ret_data)
{
        *ret_address = LAPIC_BASE | (m->dest & 0xff) << 12 | (m->mode == LAPIC_LOWEST) << 3 | m->logical << 2;
        *ret_data = (uint32_t)m->level << 15 | 1u << 14 | (uint32_t)m->mode << 8 | m->vector;
}

void
lapic_watch_eoi(struct lapic_set *set, unsigned pin, const struct lapic_message *m)
{
        uint64_t address;
        uint32_t data;

        if (!set->config.apics)
                return;
        message_to_msi(m, &address, &data);
        set->config.apics->watch_eoi(set->config.engine, pin, address, data);
}

void
lapic_deliver(struct lapic_set *set, const struct lapic_message *m)
{
        if (set->config.apics) {
                uint64_t address;
                uint32_t data;

                message_to_msi(m, &address, &data);
                set->config.apics->message(set->config.engine, address, data);
                return;
        }
        if (m->mode == LAPIC_LOWEST) {
                deliver_lowest(set, m);
                return;
        }
        for (unsigned i = 0; i < set->config.count; i++) {
                if (match(&set->lapics[i], m))
                        deliver_to(&set->lapics[i], m);
        }
}

/* 11.11; false if it is no interrupt message. */
static bool
message_from_msi(uint64_t address, uint32_t data, struct lapic_message *ret_message)
{
        *ret_message = (struct lapic_message){
            .dest = address >> 12 & 0xff,
            .logical = address & 0x4,
            .level = data & 0x8000,
            .mode = data >> 8 & 7,
            .vector = (uint8_t)data,
        };
        if (ret_message->dest == 0xff)
                ret_message->dest = UINT32_MAX;
        return address >> 20 == 0xfee && ret_message->mode != LAPIC_STARTUP;
}

void
lapic_msi(struct lapic_set *set, uint64_t address, uint32_t data)
{
        struct lapic_message m;

        if (message_from_msi(address, data, &m))
                lapic_deliver(set, &m);
}

int
lapic_message_fd(struct lapic_set *set, unsigned number, uint64_t address, uint32_t data)
{
        const struct cpu_apic_ops *apics = set->config.apics;
        struct lapic_message m;

        if (!apics || !apics->message_fd || !message_from_msi(address, data, &m))
                return -ENOTSUP;
        message_to_msi(&m, &address, &data);
        return apics->message_fd(set->config.engine, number, address, data);
}

void
lapic_lint(struct lapic_set *set, unsigned pin, bool level)
{
        unsigned bit = 1u << pin;
        unsigned old = level ? atomic_fetch_or(&set->lint, bit) : atomic_fetch_and(&set->lint, ~bit);

        if (!level || (old & bit))
                return;
        for (unsigned i = 0; i < set->config.count; i++) {
                struct lapic *l = &set->lapics[i];

                if (set->config.apics || !(l->base & BASE_ENABLE)) /* the pins are INTR and NMI then (11.4.3) */
                        kick(l, pin == 0 ? CPU_EVENT_INTR : CPU_EVENT_NMI, 0);
                else
                        lapic_fire_lvt(l, LVT_LINT0 + pin);
        }
}

int
lapic_assert_lvt(struct lapic_set *set, unsigned vcpu, unsigned pin)
{
        static const unsigned entries[] = { LVT_LINT0, LVT_LINT1, LVT_TIMER, LVT_ERROR, LVT_PERF, LVT_THERMAL };

        if (vcpu >= set->config.count || pin >= ARRAY_LEN(entries))
                return -EINVAL;
        lapic_fire_lvt(&set->lapics[vcpu], entries[pin]);
        return 0;
}

void
lapic_inject_nmi(struct lapic_set *set, unsigned vcpu)
{
        if (vcpu < set->config.count)
                kick(&set->lapics[vcpu], CPU_EVENT_NMI, 0);
}

static void
send_to_all(struct lapic *from, const struct lapic_message *m, bool self_too)
{
        for (unsigned i = 0; i < from->set->config.count; i++) {
                struct lapic *l = &from->set->lapics[i];

                if ((self_too || l != from) && (l->base & BASE_ENABLE))
                        deliver_to(l, m);
        }
}

/* 11.6.1 */
static void
send_ipi(struct lapic *l, uint32_t icr, uint32_t dest)
{
        struct lapic_message m = {
            .dest = dest,
            .logical = icr & 0x800,
            .mode = icr >> 8 & 7,
            .vector = (uint8_t)icr,
        };

        if (m.mode == LAPIC_INIT && (icr & 0xc000) == 0x8000)
                return; /* INIT level de-assert: nothing on processors of today */
        if (m.mode == LAPIC_EXTINT || m.mode == LAPIC_RESERVED)
                return;
        if ((m.mode == LAPIC_FIXED || m.mode == LAPIC_LOWEST) && m.vector < 16) {
                set_error(l, ESR_SEND_ILLEGAL);
                return;
        }
        switch (icr >> 18 & 3) {
        case 0:
                lapic_deliver(l->set, &m);
                break;
        case 1:
                deliver_to(l, &m);
                break;
        default:
                send_to_all(l, &m, (icr >> 18 & 3) == 2);
                break;
        }
}

/* --- What the processor sees --- */

/* ExtINT reaches the processor past IRR and priorities (11.8.1 note). */
static bool
extint_pending(const struct lapic *l)
{
        uint32_t lint0 = load(&l->lvt[LVT_LINT0]);

        if (l->set->config.apics) /* the engine asks when its LINT0 would pass it */
                return atomic_load(&l->set->lint) & 1;
        if (l->extint)
                return true;
        if (!(atomic_load(&l->set->lint) & 1))
                return false;
        if (!(l->base & BASE_ENABLE))
                return l->vcpu == 0;
        return !(lint0 & LVT_MASKED) && LVT_MODE(lint0) == LAPIC_EXTINT;
}

/* The vector that may be delivered now, or -1. */
static int
deliverable(const struct lapic *l)
{
        int vector = highest(l->irr);

        if (vector < 0 || !is_enabled(l))
                return -1;
        return ((uint32_t)vector & 0xf0) > (lapic_ppr(l) & 0xf0) ? vector : -1;
}

bool
lapic_intr_pending(struct lapic *l)
{
        return deliverable(l) >= 0 || extint_pending(l);
}

/* What lowered a priority, or took an interrupt, may let a waiting one in. */
static void
priority_changed(struct lapic *l)
{
        if (lapic_intr_pending(l))
                kick(l, CPU_EVENT_INTR, 0);
}

int
lapic_intr_ack(struct lapic *l)
{
        int vector;

        if (extint_pending(l)) {
                l->extint = false;
                vector = l->set->config.extint_ack(l->set->config.ctx);
                priority_changed(l); /* there may be more, of the PIC or of this APIC */
                return vector;
        }
        vector = deliverable(l);
        if (vector < 0)
                return -1;
        atomic_fetch_and(&l->irr[vector / 32], ~(1u << (vector & 31)));
        atomic_fetch_or(&l->isr[vector / 32], 1u << (vector & 31));
        return vector;
}

/* 11.8.5 */
static void
write_eoi(struct lapic *l)
{
        int vector = highest(l->isr);
        uint32_t bit;

        if (vector < 0)
                return;
        bit = 1u << (vector & 31);
        atomic_fetch_and(&l->isr[vector / 32], ~bit);
        if ((atomic_load(&l->tmr[vector / 32]) & bit) && !(load(&l->svr) & SVR_NO_BROADCAST))
                l->set->config.eoi(l->set->config.ctx, (uint8_t)vector);
        priority_changed(l);
}

uint8_t
lapic_tpr_read(const struct lapic *l)
{
        return (uint8_t)(load(&l->tpr) >> 4);
}

void
lapic_tpr_write(struct lapic *l, uint8_t tpr)
{
        store(&l->tpr, (uint32_t)(tpr & 0xf) << 4);
        priority_changed(l);
}

/* --- Registers --- */

static uint32_t
lvt_writable(const struct lapic *l, unsigned entry)
{
        switch (entry) {
        case LVT_TIMER:
                return l->set->config.tsc_deadline ? 0x700ff : 0x300ff;
        case LVT_LINT0:
        case LVT_LINT1:
                return 0x1a7ff;
        case LVT_ERROR:
                return 0x100ff;
        default:
                return 0x107ff;
        }
}

/* While the APIC is disabled by software the mask bits stay set (11.4.7.2). */
static void
write_lvt(struct lapic *l, unsigned entry, uint32_t value)
{
        value &= lvt_writable(l, entry);
        if (!(load(&l->svr) & SVR_ENABLE))
                value |= LVT_MASKED;
        if (entry == LVT_TIMER)
                lapic_timer_write_lvt(l, value);
        else
                store(&l->lvt[entry], value);
        if (entry == LVT_LINT0 && extint_pending(l))
                kick(l, CPU_EVENT_INTR, 0);
}

static void
write_svr(struct lapic *l, uint32_t value)
{
        store(&l->svr, value & SVR_WRITABLE);
        if (!(value & SVR_ENABLE)) {
                for (unsigned i = 0; i < LVT_COUNT; i++)
                        atomic_fetch_or(&l->lvt[i], LVT_MASKED);
        }
        priority_changed(l);
}

uint32_t
lapic_read_reg(struct lapic *l, unsigned reg)
{
        switch (reg) {
        case REG_ID:
                return is_x2apic(l) ? l->id : load(&l->xapic_id) << 24;
        case REG_VERSION:
                return VERSION;
        case REG_TPR:
                return load(&l->tpr);
        case REG_PPR:
                return lapic_ppr(l);
        case REG_LDR:
                return is_x2apic(l) ? x2apic_ldr(l) : load(&l->ldr);
        case REG_DFR:
                return load(&l->dfr);
        case REG_SVR:
                return load(&l->svr);
        case REG_ISR ... REG_ISR + 7:
                return load(&l->isr[reg - REG_ISR]);
        case REG_TMR ... REG_TMR + 7:
                return load(&l->tmr[reg - REG_TMR]);
        case REG_IRR ... REG_IRR + 7:
                return load(&l->irr[reg - REG_IRR]);
        case REG_ESR:
                return load(&l->esr);
        case REG_ICR_LOW:
                return load(&l->icr_low);
        case REG_ICR_HIGH:
                return load(&l->icr_high);
        case REG_LVT_TIMER ... REG_LVT_ERROR:
                return load(&l->lvt[reg - REG_LVT_TIMER]);
        case REG_TIMER_INITIAL:
                return l->initial;
        case REG_TIMER_CURRENT:
                return lapic_timer_current(l);
        case REG_TIMER_DIVIDE:
                return l->divide;
        case REG_APR:
        case REG_RRD:
        case REG_EOI:
                return 0;
        default:
                set_error(l, ESR_REGISTER);
                return 0;
        }
}

/* The writes that both modes share. */
static void
write_reg(struct lapic *l, unsigned reg, uint32_t value)
{
        switch (reg) {
        case REG_TPR:
                store(&l->tpr, value & 0xff);
                priority_changed(l);
                break;
        case REG_EOI:
                write_eoi(l);
                break;
        case REG_LDR:
                store(&l->ldr, value & 0xff000000);
                break;
        case REG_DFR:
                store(&l->dfr, value | 0x0fffffff);
                break;
        case REG_SVR:
                write_svr(l, value);
                break;
        case REG_ESR:
                store(&l->esr, atomic_exchange(&l->esr_pending, 0));
                break;
        case REG_ICR_HIGH:
                store(&l->icr_high, value & 0xff000000);
                break;
        case REG_ICR_LOW:
                store(&l->icr_low, value & ICR_WRITABLE);
                send_ipi(l, value, load(&l->icr_high) >> 24);
                break;
        case REG_LVT_TIMER ... REG_LVT_ERROR:
                write_lvt(l, reg - REG_LVT_TIMER, value);
                break;
        case REG_TIMER_INITIAL:
                lapic_timer_write_initial(l, value);
                break;
        case REG_TIMER_DIVIDE:
                lapic_timer_write_divide(l, value);
                break;
        case REG_ID: /* 11.4.6: writable on some; here on those without x2APIC */
                if (!l->set->config.x2apic_capable)
                        store(&l->xapic_id, value >> 24);
                break;
        case REG_VERSION:
        case REG_APR:
        case REG_PPR:
        case REG_RRD:
        case REG_ISR ... REG_IRR + 7:
        case REG_TIMER_CURRENT:
                break;
        default:
                set_error(l, ESR_REGISTER);
                break;
        }
}

bool
lapic_mmio_owns(const struct lapic *l, uint64_t gpa)
{
        uint64_t base = atomic_load_explicit(&l->base, memory_order_relaxed);

        if (l->set->config.apics)
                return false;
        return (base & (BASE_ENABLE | BASE_X2APIC)) == BASE_ENABLE && gpa - (base & BASE_ADDR) < 0x1000;
}

/* Registers are 32 bits on 16-byte boundaries; other accesses are undefined (11.4.1). */
uint64_t
lapic_mmio_read(struct lapic *l, uint64_t gpa, unsigned size)
{
        unsigned offset = gpa & 0xfff;
        unsigned shift = (offset & 15) * 8;

        if (shift >= 32)
                return 0;
        return lapic_read_reg(l, offset >> 4) >> shift;
}

void
lapic_mmio_write(struct lapic *l, uint64_t gpa, unsigned size, uint64_t value)
{
        unsigned offset = gpa & 0xfff;

        if ((offset & 15) || size < 4)
                return;
        if (offset >> 4 == REG_SELF_IPI) {
                set_error(l, ESR_REGISTER);
                return;
        }
        write_reg(l, offset >> 4, (uint32_t)value);
}

/* Bits that a guest may set in an x2APIC register; -1: not writable (11.12.1.2, 11.12.1.3). */
static int64_t
x2apic_writable(const struct lapic *l, unsigned reg)
{
        switch (reg) {
        case REG_TPR:
                return 0xff;
        case REG_EOI:
        case REG_ESR:
                return 0;
        case REG_SVR:
                return SVR_WRITABLE;
        case REG_LVT_TIMER ... REG_LVT_ERROR:
                return lvt_writable(l, reg - REG_LVT_TIMER) | 0x5000; /* status bits are ignored */
        case REG_TIMER_INITIAL:
                return UINT32_MAX;
        case REG_TIMER_DIVIDE:
                return 0xb;
        case REG_SELF_IPI:
                return 0xff;
        default:
                return -1;
        }
}

static int
x2apic_write(struct lapic *l, unsigned reg, uint64_t value)
{
        int64_t writable = x2apic_writable(l, reg);

        if (reg == REG_ICR_LOW) {
                if ((uint32_t)value & ~(ICR_WRITABLE | 0x1000u))
                        return -1;
                store(&l->icr_low, (uint32_t)value & ICR_WRITABLE);
                store(&l->icr_high, (uint32_t)(value >> 32));
                send_ipi(l, (uint32_t)value, (uint32_t)(value >> 32));
                return 0;
        }
        if (writable < 0 || (value & ~(uint64_t)writable))
                return -1;
        if (reg == REG_SELF_IPI)
                send_ipi(l, 1u << 18 | (uint8_t)value, 0);
        else
                write_reg(l, reg, (uint32_t)value);
        return 0;
}

static int
x2apic_read(struct lapic *l, unsigned reg, uint64_t *ret_value)
{
        switch (reg) {
        case REG_ICR_LOW:
                *ret_value = load(&l->icr_low) | (uint64_t)load(&l->icr_high) << 32;
                return 0;
        case REG_ID:
        case REG_VERSION:
        case REG_TPR:
        case REG_PPR:
        case REG_LDR:
        case REG_SVR:
        case REG_ISR ... REG_ESR:
        case REG_LVT_TIMER ... REG_TIMER_CURRENT:
        case REG_TIMER_DIVIDE:
                *ret_value = lapic_read_reg(l, reg);
                return 0;
        default:
                return -1;
        }
}

/* 11.12.5: the allowed transitions between disabled, xAPIC and x2APIC. */
static int
write_base(struct lapic *l, uint64_t value)
{
        uint64_t old = l->base;
        bool enable = value & BASE_ENABLE, x2 = value & BASE_X2APIC;

        if (value & ~(BASE_ADDR | BASE_ENABLE | BASE_X2APIC | BASE_BSP))
                return -1;
        if (x2 && (!enable || !l->set->config.x2apic_capable))
                return -1;
        if (x2 && !(old & BASE_ENABLE))
                return -1;
        if (enable && !x2 && (old & BASE_X2APIC))
                return -1;
        if ((old & BASE_ENABLE) && !enable) {
                reset_registers(l);
                store(&l->xapic_id, l->id & 0xff);
        }
        l->base = (value & ~(uint64_t)BASE_BSP) | (old & BASE_BSP);
        return 0;
}

int
lapic_msr_read(struct lapic *l, uint32_t msr, uint64_t *ret_value)
{
        if (msr == MSR_APIC_BASE) {
                *ret_value = l->base;
                return 0;
        }
        if (msr == MSR_TSC_DEADLINE && l->set->config.tsc_deadline) {
                *ret_value = lapic_timer_tsc_deadline(l);
                return 0;
        }
        if (msr < MSR_X2APIC_FIRST || msr > MSR_X2APIC_LAST || !is_x2apic(l))
                return -1;
        return x2apic_read(l, msr - MSR_X2APIC_FIRST, ret_value);
}

int
lapic_msr_write(struct lapic *l, uint32_t msr, uint64_t value)
{
        if (msr == MSR_APIC_BASE)
                return write_base(l, value);
        if (msr == MSR_TSC_DEADLINE && l->set->config.tsc_deadline) {
                lapic_timer_write_tsc_deadline(l, value);
                return 0;
        }
        if (msr < MSR_X2APIC_FIRST || msr > MSR_X2APIC_LAST || !is_x2apic(l))
                return -1;
        return x2apic_write(l, msr - MSR_X2APIC_FIRST, value);
}

