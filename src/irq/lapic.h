/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The local APICs of all processors: xAPIC and x2APIC, timers, IPIs.
 * SDM 3A chapter 11 (numbered 10 in older editions).
 *
 * None of these functions needs the device lock: registers are atomics, the
 * timer has a lock of its own.  Those that say so belong to the vCPU's thread.
 * A thread of the set ("apic-timer") fires the timers of running vCPUs; a vCPU
 * that sleeps in HLT waits for its own timer (lapic_idle_begin).
 *
 * Where the engine has local APICs itself (lapic_config.apics), messages go to those, and what
 * is here holds the state after reset and what lapic_set_state was given, for lapic_describe.
 */
#ifndef IRQ_LAPIC_H
#define IRQ_LAPIC_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define LAPIC_BASE      0xfee00000ull
#define LAPIC_MAX_COUNT 255u
#define LAPIC_TIMER_HZ  1000000000ull /* before the divider */

#define LAPIC_NO_DEADLINE UINT64_MAX

struct cpu_apic_ops;
struct cpu_engine;
struct x86_apic;

struct lapic;
struct lapic_set;

/* Delivery modes, SDM 3A 11.6.1. */
enum lapic_mode {
        LAPIC_FIXED,
        LAPIC_LOWEST,
        LAPIC_SMI,
        LAPIC_RESERVED,
        LAPIC_NMI,
        LAPIC_INIT,
        LAPIC_STARTUP,
        LAPIC_EXTINT,
};

struct lapic_message {
        uint32_t dest;
        bool logical;
        bool level;     /* level-triggered: EOI is reported */
        enum lapic_mode mode;
        uint8_t vector;
};

struct lapic_config {
        unsigned count;          /* APIC ids are 0 .. count-1 */
        const uint32_t *ids;     /* APIC id of each vCPU; NULL: its number */
        uint64_t tsc_hz;         /* of the host's and the guest's TSC */
        bool x2apic_capable;     /* may be switched to x2APIC; if not, the guest may change the xAPIC id */
        bool x2apic_start;       /* starts in it (bhyve -x) */
        bool tsc_deadline;       /* CPUID offers it */
        /* The engine's event(): @event is CPU_EVENT_*, @arg the SIPI vector.  Any thread. */
        void (*kick)(void *ctx, unsigned vcpu, unsigned event, unsigned arg);
        /* A level-triggered vector was finished; on the vCPU's thread, no lock held. */
        void (*eoi)(void *ctx, uint8_t vector);
        /* Takes the interrupt of the PIC (vector, spurious included); no lock held. */
        int (*extint_ack)(void *ctx);
        void *ctx;
        const struct cpu_apic_ops *apics; /* NULL: the engine has none */
        struct cpu_engine *engine;        /* theirs */
};

int lapic_set_create(const struct lapic_config *config, struct lapic_set **ret_set);
void lapic_set_destroy(struct lapic_set *set);
/* Machine reset; no vCPU runs. */
void lapic_set_reset(struct lapic_set *set);
struct lapic *lapic_get(struct lapic_set *set, unsigned vcpu);

/* Interrupt messages, from any thread: of the I/O APIC, and MSI (0xfeexxxxx). */
void lapic_deliver(struct lapic_set *set, const struct lapic_message *message);
/* The I/O APIC's @pin is about to send a level-triggered @message, whose EOI it must hear of. */
void lapic_watch_eoi(struct lapic_set *set, unsigned pin, const struct lapic_message *message);
void lapic_msi(struct lapic_set *set, uint64_t address, uint32_t data);
/* As message_fd of struct irq_sink_ops; the engine's own local APICs only. */
int lapic_message_fd(struct lapic_set *set, unsigned number, uint64_t address, uint32_t data);
/* Pin 0 or 1 of every local APIC: LINT0 is the PIC's output, LINT1 is NMI. */
void lapic_lint(struct lapic_set *set, unsigned pin, bool level);
/*
 * Signals an entry of a processor's LVT, by FreeBSD's numbers: 0 LINT0, 1 LINT1, 2 timer, 3 error, 4 performance
 * counters, 5 thermal (bhyvectl --assert-lapic-lvt).  -EINVAL: there is no such entry.
 */
int lapic_assert_lvt(struct lapic_set *set, unsigned vcpu, unsigned pin);
/* NMI to one processor whatever its LVT says (bhyvectl --inject-nmi). */
void lapic_inject_nmi(struct lapic_set *set, unsigned vcpu);

/* The vCPU's own thread only: */
bool lapic_mmio_owns(const struct lapic *lapic, uint64_t gpa);
uint64_t lapic_mmio_read(struct lapic *lapic, uint64_t gpa, unsigned size);
void lapic_mmio_write(struct lapic *lapic, uint64_t gpa, unsigned size, uint64_t value);
/* IA32_APIC_BASE, x2APIC 0x800-0x8ff, IA32_TSC_DEADLINE: 0, or -1 for #GP or not ours. */
int lapic_msr_read(struct lapic *lapic, uint32_t msr, uint64_t *ret_value);
int lapic_msr_write(struct lapic *lapic, uint32_t msr, uint64_t value);
/*
 * As in struct cpu_env_ops: of the PIC alone if the engine has local APICs.  Calls kick for its own vCPU when more is pending
 * afterwards, so an engine clears its CPU_EVENT_INTR before it asks.
 */
int lapic_intr_ack(struct lapic *lapic);
bool lapic_intr_pending(struct lapic *lapic);
uint8_t lapic_tpr_read(const struct lapic *lapic); /* CR8: 0-15 */
void lapic_tpr_write(struct lapic *lapic, uint8_t tpr);

/*
 * The vCPU is going to sleep: returns the CLOCK_MONOTONIC time, or
 * LAPIC_NO_DEADLINE, at which it must wake for its timer.  Then, awake for
 * whatever reason, it calls lapic_idle_end, which fires a timer that is due.
 */
uint64_t lapic_idle_begin(struct lapic *lapic);
void lapic_idle_end(struct lapic *lapic);

/* guest TSC = host TSC + @offset; any thread. */
void lapic_set_tsc_offset(struct lapic *lapic, uint64_t offset);
uint64_t lapic_base_msr(const struct lapic *lapic);
uint32_t lapic_id(const struct lapic *lapic);

/*
 * All registers.  No vCPU runs.  Where they are the engine's, set makes this a copy of them.
 */
void lapic_get_state(struct lapic *lapic, struct x86_apic *ret_apic);
void lapic_set_state(struct lapic *lapic, const struct x86_apic *apic);

/* Registers as text for the debugger; the length it would take. */
size_t lapic_describe(const struct lapic *lapic, char *buf, size_t size);

#endif
