/* SPDX-License-Identifier: BSD-2-Clause */
/* What lapic.c, lapic_timer.c and lapic_state.c share.  Section numbers are those of SDM 3A, chapter 11. */
#ifndef IRQ_LAPIC_PRIVATE_H
#define IRQ_LAPIC_PRIVATE_H

#include "irq/lapic.h"

#include <pthread.h>
#include <stdatomic.h>

/* Register numbers: MMIO offset / 16, x2APIC MSR - 0x800 (11.4.1, 11.12.1.2). */
enum {
        REG_ID = 0x02,
        REG_VERSION = 0x03,
        REG_TPR = 0x08,
        REG_APR = 0x09,
        REG_PPR = 0x0a,
        REG_EOI = 0x0b,
        REG_RRD = 0x0c,
        REG_LDR = 0x0d,
        REG_DFR = 0x0e,
        REG_SVR = 0x0f,
        REG_ISR = 0x10,
        REG_TMR = 0x18,
        REG_IRR = 0x20,
        REG_ESR = 0x28,
        REG_ICR_LOW = 0x30,
        REG_ICR_HIGH = 0x31,
        REG_LVT_TIMER = 0x32,
        REG_LVT_ERROR = 0x37,
        REG_TIMER_INITIAL = 0x38,
        REG_TIMER_CURRENT = 0x39,
        REG_TIMER_DIVIDE = 0x3e,
        REG_SELF_IPI = 0x3f,
};

enum { LVT_TIMER, LVT_THERMAL, LVT_PERF, LVT_LINT0, LVT_LINT1, LVT_ERROR, LVT_COUNT };

#define BASE_BSP    0x100u
#define BASE_X2APIC 0x400u
#define BASE_ENABLE 0x800u
#define BASE_ADDR   0xffffffffff000ull

#define LVT_MASKED      0x10000u
#define LVT_LEVEL       0x8000u
#define TIMER_MODE(lvt) (((lvt) >> 17) & 3)

enum { TIMER_ONE_SHOT, TIMER_PERIODIC, TIMER_TSC_DEADLINE };

#define SVR_ENABLE       0x100u

typedef _Atomic uint32_t reg_t;

struct lapic {
        struct lapic_set *set;
        unsigned vcpu;
        uint32_t id;
        _Atomic uint64_t base;
        reg_t xapic_id; /* in xAPIC mode; bits 0-7 */
        reg_t tpr, ldr, dfr, svr, esr, esr_pending, icr_low, icr_high;
        reg_t lvt[LVT_COUNT];
        reg_t isr[8], tmr[8], irr[8];
        atomic_bool extint; /* an ExtINT message came (not LINT0) */
        _Atomic uint64_t tsc_offset;

        pthread_mutex_t lock;
        reg_t initial, divide;    /* written under lock */
        uint64_t period_ns;       /* lock; 0 unless periodic */
        uint64_t tsc_deadline;    /* lock; 0: not armed */
        _Atomic uint64_t deadline_ns; /* written under lock; LAPIC_NO_DEADLINE: not armed */
        atomic_bool idle;             /* the vCPU's thread looks after the timer itself */
};

struct lapic_set {
        struct lapic_config config;
        struct lapic *lapics;
        atomic_uint lint; /* levels of pins 0 and 1 */
        atomic_uint next_lowest;

        pthread_t thread;
        bool thread_running;
        pthread_mutex_t timer_lock;
        pthread_cond_t timer_cond;
        _Atomic uint64_t wakeup_ns; /* when the thread wakes by itself */
        bool stop;                  /* timer_lock */
};

static inline uint32_t
load(const reg_t *reg)
{
        return atomic_load_explicit(reg, memory_order_relaxed);
}

static inline void
store(reg_t *reg, uint32_t value)
{
        atomic_store_explicit(reg, value, memory_order_relaxed);
}

static inline bool
is_x2apic(const struct lapic *l)
{
        return (l->base & (BASE_ENABLE | BASE_X2APIC)) == (BASE_ENABLE | BASE_X2APIC);
}

/* lapic.c */
/* A local interrupt whose LVT entry says how it is delivered (11.5.1); no lock held. */
void lapic_fire_lvt(struct lapic *l, unsigned entry);
/* A register as the processor reads it (REG_*). */
uint32_t lapic_read_reg(struct lapic *l, unsigned reg);
uint32_t lapic_ppr(const struct lapic *l);

/* lapic_timer.c */
int lapic_timer_start(struct lapic_set *set);
void lapic_timer_stop(struct lapic_set *set);
void lapic_timer_reset(struct lapic *l);
void lapic_timer_write_initial(struct lapic *l, uint32_t value);
uint32_t lapic_timer_current(struct lapic *l);
void lapic_timer_write_divide(struct lapic *l, uint32_t value);
uint64_t lapic_timer_tsc_deadline(struct lapic *l);
void lapic_timer_write_tsc_deadline(struct lapic *l, uint64_t value);
/* As @apic says; what its LVT entry says is in place. */
void lapic_timer_set(struct lapic *l, const struct x86_apic *apic);
/* The timer's LVT entry becomes @lvt, and its mode takes effect. */
void lapic_timer_write_lvt(struct lapic *l, uint32_t lvt);

#endif
