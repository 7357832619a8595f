/* SPDX-License-Identifier: BSD-2-Clause */
/* The local APICs as a model: what reaches which processor, and when. */
#include "cpu/cpu.h"
#include "irq/lapic.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#define CPUS 4

#define REG(n)  (LAPIC_BASE + (n))
#define ID      REG(0x20)
#define TPR     REG(0x80)
#define PPR     REG(0xa0)
#define EOI     REG(0xb0)
#define LDR     REG(0xd0)
#define DFR     REG(0xe0)
#define SVR     REG(0xf0)
#define ESR     REG(0x280)
#define ICR_LO  REG(0x300)
#define ICR_HI  REG(0x310)
#define LVT_T   REG(0x320)
#define LVT_0   REG(0x350)
#define LVT_E   REG(0x370)
#define T_INIT  REG(0x380)
#define T_NOW   REG(0x390)
#define T_DIV   REG(0x3e0)

#define MSR_BASE 0x1b
#define MSR_DEADLINE 0x6e0

struct rig {
        struct lapic_set *set;
        atomic_uint events[CPUS]; /* CPU_EVENT_* seen */
        atomic_uint sipi[CPUS];
        int eoi;
        int extint;
};

static void
kick(void *ctx, unsigned vcpu, unsigned event, unsigned arg)
{
        struct rig *rig = ctx;

        atomic_fetch_or(&rig->events[vcpu], event);
        if (event == CPU_EVENT_SIPI)
                atomic_store(&rig->sipi[vcpu], arg);
}

static void
eoi(void *ctx, uint8_t vector)
{
        ((struct rig *)ctx)->eoi = vector;
}

static int
extint_ack(void *ctx)
{
        return ((struct rig *)ctx)->extint;
}

static int
setup_set(void **state, bool x2apic_capable)
{
        static struct rig rig;
        struct lapic_config config = {
            .count = CPUS,
            .tsc_hz = 1000000000,
            .x2apic_capable = x2apic_capable,
            .tsc_deadline = true,
            .kick = kick,
            .eoi = eoi,
            .extint_ack = extint_ack,
            .ctx = &rig,
        };

        memset(&rig, 0, sizeof(rig));
        rig.eoi = -1;
        rig.extint = 0x38;
        if (lapic_set_create(&config, &rig.set))
                return -1;
        for (unsigned i = 0; i < CPUS; i++)
                lapic_mmio_write(lapic_get(rig.set, i), SVR, 4, 0x1ff);
        *state = &rig;
        return 0;
}

static int
setup(void **state)
{
        return setup_set(state, true);
}

static int
setup_xapic(void **state)
{
        return setup_set(state, false);
}

static int
teardown(void **state)
{
        struct rig *rig = *state;

        lapic_set_destroy(rig->set);
        return 0;
}

static void
write_reg(struct rig *rig, unsigned cpu, uint64_t reg, uint32_t value)
{
        lapic_mmio_write(lapic_get(rig->set, cpu), reg, 4, value);
}

static uint32_t
read_reg(struct rig *rig, unsigned cpu, uint64_t reg)
{
        return (uint32_t)lapic_mmio_read(lapic_get(rig->set, cpu), reg, 4);
}

static int
ack(struct rig *rig, unsigned cpu)
{
        return lapic_intr_ack(lapic_get(rig->set, cpu));
}

static void
fixed(struct rig *rig, uint32_t dest, bool logical, bool level, uint8_t vector)
{
        struct lapic_message m = {.dest = dest, .logical = logical, .level = level, .vector = vector};

        lapic_deliver(rig->set, &m);
}

static void
lapic_ack_delivers_by_priority(void **state)
{
        struct rig *rig = *state;

        fixed(rig, 1, false, false, 0x41);
        fixed(rig, 1, false, false, 0x82);
        assert_true(atomic_load(&rig->events[1]) & CPU_EVENT_INTR);
        assert_int_equal(atomic_load(&rig->events[0]), 0);
        assert_int_equal(ack(rig, 1), 0x82);
        assert_int_equal(read_reg(rig, 1, PPR), 0x80);
        assert_int_equal(ack(rig, 1), -1); /* 0x41 is below the one in service */
        atomic_store(&rig->events[1], 0);
        write_reg(rig, 1, EOI, 0);
        assert_true(atomic_load(&rig->events[1]) & CPU_EVENT_INTR);
        assert_int_equal(ack(rig, 1), 0x41);
        write_reg(rig, 1, EOI, 0);
        assert_false(lapic_intr_pending(lapic_get(rig->set, 1)));
        assert_int_equal(rig->eoi, -1); /* edge-triggered: nobody is told */
}

static void
lapic_tpr_holds_lower_classes_off(void **state)
{
        struct rig *rig = *state;
        struct lapic *l = lapic_get(rig->set, 0);

        lapic_tpr_write(l, 5);
        assert_int_equal(read_reg(rig, 0, TPR), 0x50);
        fixed(rig, 0, false, false, 0x5f);
        assert_false(lapic_intr_pending(l));
        fixed(rig, 0, false, false, 0x60);
        assert_int_equal(ack(rig, 0), 0x60);
        write_reg(rig, 0, EOI, 0);
        atomic_store(&rig->events[0], 0);
        lapic_tpr_write(l, 4);
        assert_true(atomic_load(&rig->events[0]) & CPU_EVENT_INTR);
        assert_int_equal(ack(rig, 0), 0x5f);
}

static void
lapic_eoi_of_level_vector_is_broadcast(void **state)
{
        struct rig *rig = *state;

        fixed(rig, 0, false, true, 0x51);
        assert_int_equal(ack(rig, 0), 0x51);
        write_reg(rig, 0, EOI, 0);
        assert_int_equal(rig->eoi, 0x51);
        rig->eoi = -1;
        write_reg(rig, 0, SVR, 0x11ff); /* the guest sends the EOI to the I/O APIC itself */
        fixed(rig, 0, false, true, 0x51);
        assert_int_equal(ack(rig, 0), 0x51);
        write_reg(rig, 0, EOI, 0);
        assert_int_equal(rig->eoi, -1);
}

static void
lapic_logical_destination_flat_and_cluster(void **state)
{
        struct rig *rig = *state;

        for (unsigned i = 0; i < CPUS; i++)
                write_reg(rig, i, LDR, 1u << (24 + i));
        fixed(rig, 0x0a, true, false, 0x40);
        assert_int_equal(ack(rig, 0), -1);
        assert_int_equal(ack(rig, 1), 0x40);
        assert_int_equal(ack(rig, 2), -1);
        assert_int_equal(ack(rig, 3), 0x40);
        for (unsigned i = 0; i < CPUS; i++) {
                write_reg(rig, i, DFR, 0x0fffffff);
                write_reg(rig, i, LDR, (i / 2) << 28 | 1u << (24 + i % 2));
                write_reg(rig, i, EOI, 0);
        }
        fixed(rig, 0x12, true, false, 0x40); /* cluster 1, member 1 */
        for (unsigned i = 0; i < CPUS; i++)
                assert_int_equal(ack(rig, i), i == 3 ? 0x40 : -1);
}

static void
lapic_x2apic_logical_destination_is_derived_from_id(void **state)
{
        struct rig *rig = *state;
        struct lapic *l = lapic_get(rig->set, 2);
        uint64_t value;

        assert_int_equal(lapic_msr_read(l, 0x80d, &value), -1); /* not yet in x2APIC mode */
        assert_int_equal(lapic_msr_write(l, MSR_BASE, LAPIC_BASE | 0xc00), 0);
        assert_false(lapic_mmio_owns(l, LAPIC_BASE));
        assert_int_equal(lapic_msr_read(l, 0x80d, &value), 0);
        assert_int_equal(value, 4);
        assert_int_equal(lapic_msr_read(l, 0x802, &value), 0);
        assert_int_equal(value, 2);
        fixed(rig, 4, true, false, 0x33);
        assert_int_equal(ack(rig, 2), 0x33);
        assert_int_equal(lapic_msr_write(l, 0x80b, 1), -1); /* EOI takes 0 only */
        assert_int_equal(lapic_msr_write(l, 0x80b, 0), 0);
        assert_int_equal(lapic_msr_write(l, 0x83f, 0x44), 0);
        assert_int_equal(ack(rig, 2), 0x44);
        assert_int_equal(lapic_msr_write(l, 0x80e, 0), -1);
        assert_int_equal(lapic_msr_write(l, MSR_BASE, LAPIC_BASE | 0x800), -1); /* back only through off */
        assert_int_equal(lapic_msr_write(l, MSR_BASE, LAPIC_BASE), 0);
        assert_int_equal(lapic_msr_write(l, MSR_BASE, LAPIC_BASE | 0xc00), -1);
        assert_int_equal(lapic_msr_write(l, MSR_BASE, LAPIC_BASE | 0x800), 0);
        assert_true(lapic_mmio_owns(l, LAPIC_BASE + 0xfff));
}

static void
lapic_icr_starts_processors(void **state)
{
        struct rig *rig = *state;

        write_reg(rig, 0, ICR_HI, 3u << 24);
        write_reg(rig, 0, ICR_LO, 0x4500); /* INIT */
        assert_int_equal(atomic_load(&rig->events[3]), CPU_EVENT_INIT);
        assert_int_equal(read_reg(rig, 3, SVR), 0xff); /* and its APIC is reset */
        write_reg(rig, 0, ICR_LO, 0x8500); /* the old de-assert */
        assert_int_equal(atomic_load(&rig->events[3]), CPU_EVENT_INIT);
        write_reg(rig, 0, ICR_LO, 0x4600 | 0x9a);
        assert_int_equal(atomic_load(&rig->sipi[3]), 0x9a);
        assert_int_equal(atomic_load(&rig->events[1]), 0);
        write_reg(rig, 0, ICR_LO, 0xc0400); /* NMI, all but self */
        assert_int_equal(atomic_load(&rig->events[0]), 0);
        assert_true(atomic_load(&rig->events[1]) & CPU_EVENT_NMI);
        assert_true(atomic_load(&rig->events[2]) & CPU_EVENT_NMI);
        write_reg(rig, 1, ICR_LO, 0x40000 | 0x77); /* self */
        assert_int_equal(ack(rig, 1), 0x77);
        write_reg(rig, 1, EOI, 0);
        write_reg(rig, 1, ICR_LO, 0x80000 | 0x78); /* all */
        assert_int_equal(ack(rig, 0), 0x78);
        assert_int_equal(ack(rig, 1), 0x78);
}

static void
lapic_illegal_vectors_are_errors(void **state)
{
        struct rig *rig = *state;

        write_reg(rig, 0, LVT_E, 0xee);
        write_reg(rig, 0, ICR_LO, 0x40005);
        assert_int_equal(ack(rig, 0), 0xee);
        assert_int_equal(read_reg(rig, 0, ESR), 0); /* a write comes first */
        write_reg(rig, 0, ESR, 0);
        assert_int_equal(read_reg(rig, 0, ESR), 0x20);
        fixed(rig, 0, false, false, 3);
        write_reg(rig, 0, ESR, 0);
        assert_int_equal(read_reg(rig, 0, ESR), 0x40);
        write_reg(rig, 0, ESR, 0);
        assert_int_equal(read_reg(rig, 0, ESR), 0);
}

static void
lapic_disabled_by_software_takes_nothing(void **state)
{
        struct rig *rig = *state;

        write_reg(rig, 0, LVT_0, 0x700);
        write_reg(rig, 0, SVR, 0xff);
        assert_int_equal(read_reg(rig, 0, LVT_0), 0x10700);
        write_reg(rig, 0, LVT_0, 0x700);
        assert_int_equal(read_reg(rig, 0, LVT_0), 0x10700); /* the mask stays */
        fixed(rig, 0, false, false, 0x50);
        assert_false(lapic_intr_pending(lapic_get(rig->set, 0)));
}

static void
lapic_lint0_extint_passes_the_pic(void **state)
{
        struct rig *rig = *state;
        struct lapic *l = lapic_get(rig->set, 0);

        write_reg(rig, 1, LVT_0, 0x10700);
        lapic_lint(rig->set, 0, true);
        assert_true(lapic_intr_pending(l));
        assert_false(lapic_intr_pending(lapic_get(rig->set, 1)));
        assert_int_equal(lapic_intr_ack(l), 0x38);
        lapic_lint(rig->set, 0, false);
        assert_false(lapic_intr_pending(l));
        write_reg(rig, 0, LVT_0, 0x10700);
        lapic_lint(rig->set, 0, true);
        assert_false(lapic_intr_pending(l));
        atomic_store(&rig->events[0], 0);
        write_reg(rig, 0, LVT_0, 0x700); /* unmasked while the PIC asks */
        assert_true(atomic_load(&rig->events[0]) & CPU_EVENT_INTR);
}

static void
lapic_lowest_priority_goes_to_one(void **state)
{
        struct rig *rig = *state;
        struct lapic_message m = {.dest = UINT32_MAX, .mode = LAPIC_LOWEST, .vector = 0x61};
        unsigned taken = 0;

        lapic_tpr_write(lapic_get(rig->set, 0), 3);
        lapic_tpr_write(lapic_get(rig->set, 1), 2);
        lapic_tpr_write(lapic_get(rig->set, 2), 1);
        lapic_tpr_write(lapic_get(rig->set, 3), 2);
        lapic_deliver(rig->set, &m);
        assert_int_equal(ack(rig, 2), 0x61);
        for (unsigned i = 0; i < CPUS; i++)
                taken += lapic_intr_pending(lapic_get(rig->set, i));
        assert_int_equal(taken, 0);
}

static void
lapic_msi_decodes_address_and_data(void **state)
{
        struct rig *rig = *state;

        lapic_msi(rig->set, 0xfee02000, 0x4071);
        assert_int_equal(ack(rig, 2), 0x71);
        lapic_msi(rig->set, 0xfed02000, 0x72); /* not an interrupt address */
        assert_int_equal(ack(rig, 2), -1);
        lapic_msi(rig->set, 0xfeeff000, 0x82); /* to all */
        assert_int_equal(ack(rig, 0), 0x82);
        assert_int_equal(ack(rig, 3), 0x82);
}

/* Waits up to a second for an event from the timer's thread. */
static bool
wait_for_intr(struct rig *rig, unsigned cpu)
{
        for (int i = 0; i < 1000; i++) {
                if (atomic_load(&rig->events[cpu]) & CPU_EVENT_INTR)
                        return true;
                usleep(1000);
        }
        return false;
}

static void
lapic_timer_one_shot_fires_once(void **state)
{
        struct rig *rig = *state;

        write_reg(rig, 1, T_DIV, 0xb);
        write_reg(rig, 1, LVT_T, 0xef);
        write_reg(rig, 1, T_INIT, 5000000); /* 5 ms */
        assert_in_range(read_reg(rig, 1, T_NOW), 1, 5000000);
        assert_true(wait_for_intr(rig, 1));
        assert_int_equal(ack(rig, 1), 0xef);
        write_reg(rig, 1, EOI, 0);
        assert_int_equal(read_reg(rig, 1, T_NOW), 0);
        atomic_store(&rig->events[1], 0);
        usleep(12000);
        assert_int_equal(atomic_load(&rig->events[1]), 0);
}

static void
lapic_timer_periodic_goes_on_until_stopped(void **state)
{
        struct rig *rig = *state;

        write_reg(rig, 0, LVT_T, 0x200ee);
        write_reg(rig, 0, T_DIV, 0xb);
        write_reg(rig, 0, T_INIT, 2000000);
        for (int i = 0; i < 3; i++) {
                assert_true(wait_for_intr(rig, 0));
                atomic_store(&rig->events[0], 0);
                assert_int_equal(ack(rig, 0), 0xee);
                write_reg(rig, 0, EOI, 0);
        }
        write_reg(rig, 0, T_INIT, 0);
        usleep(1000);
        ack(rig, 0);
        write_reg(rig, 0, EOI, 0);
        atomic_store(&rig->events[0], 0);
        usleep(6000);
        assert_int_equal(atomic_load(&rig->events[0]), 0);
}

static void
lapic_timer_tsc_deadline(void **state)
{
        struct rig *rig = *state;
        struct lapic *l = lapic_get(rig->set, 0);
        uint64_t value;

        lapic_set_tsc_offset(l, 0 - __builtin_ia32_rdtsc()); /* the guest's TSC starts at 0 */
        assert_int_equal(lapic_msr_write(l, MSR_DEADLINE, 1), 0);
        assert_int_equal(lapic_msr_read(l, MSR_DEADLINE, &value), 0);
        assert_int_equal(value, 0); /* ignored in another mode */
        write_reg(rig, 0, LVT_T, 0x400ec);
        assert_int_equal(lapic_msr_write(l, MSR_DEADLINE, 1), 0); /* long past */
        assert_int_equal(ack(rig, 0), 0xec);
        write_reg(rig, 0, EOI, 0);
        lapic_msr_write(l, MSR_DEADLINE, UINT64_MAX);
        lapic_msr_read(l, MSR_DEADLINE, &value);
        assert_true(value == UINT64_MAX);
        assert_false(lapic_intr_pending(l));
        write_reg(rig, 0, LVT_T, 0xec); /* another mode disarms */
        lapic_msr_read(l, MSR_DEADLINE, &value);
        assert_int_equal(value, 0);
}

static void
lapic_idle_vcpu_looks_after_its_own_timer(void **state)
{
        struct rig *rig = *state;
        struct lapic *l = lapic_get(rig->set, 0);
        uint64_t deadline;

        write_reg(rig, 0, T_DIV, 0xb);
        write_reg(rig, 0, LVT_T, 0xd0);
        assert_true(lapic_idle_begin(l) == LAPIC_NO_DEADLINE);
        lapic_idle_end(l);
        write_reg(rig, 0, T_INIT, 3000000);
        deadline = lapic_idle_begin(l);
        assert_true(deadline != LAPIC_NO_DEADLINE);
        usleep(8000);
        assert_int_equal(atomic_load(&rig->events[0]), 0); /* the thread left it alone */
        lapic_idle_end(l);
        assert_int_equal(ack(rig, 0), 0xd0);
}

/* What has run down stays at 0 when the mode changes, and has fired by the old entry, though nobody polled it before. */
static void
lapic_timer_that_ran_down_has_no_count_for_another_mode(void **state)
{
        struct rig *rig = *state;
        struct lapic *l = lapic_get(rig->set, 0);

        write_reg(rig, 0, T_DIV, 0xb);
        write_reg(rig, 0, LVT_T, 0xd0);
        write_reg(rig, 0, T_INIT, 1000000);
        lapic_idle_begin(l); /* the thread leaves it alone */
        usleep(3000);
        write_reg(rig, 0, LVT_T, 0x200d1);
        assert_int_equal(read_reg(rig, 0, T_NOW), 0);
        assert_int_equal(ack(rig, 0), 0xd0);
        write_reg(rig, 0, EOI, 0);
        usleep(3000);
        lapic_idle_end(l);
        assert_int_equal(ack(rig, 0), -1);
}

/* SDM 3A 11.4.6: several processors may then share one. */
static void
lapic_xapic_id_is_writable_without_x2apic(void **state)
{
        struct rig *rig = *state;
        struct lapic *l = lapic_get(rig->set, 1);

        write_reg(rig, 1, ID, 0xa5ffffff);
        assert_int_equal(read_reg(rig, 1, ID), 0xa5000000);
        fixed(rig, 1, false, false, 0x41);
        assert_int_equal(ack(rig, 1), -1);
        write_reg(rig, 2, ID, 0xa5000000);
        fixed(rig, 0xa5, false, false, 0x42);
        assert_int_equal(ack(rig, 1), 0x42);
        assert_int_equal(ack(rig, 2), 0x42);
        assert_int_equal(lapic_id(l), 1);
        assert_int_equal(lapic_msr_write(l, MSR_BASE, LAPIC_BASE | 0xc00), -1); /* no x2APIC */
        assert_int_equal(lapic_msr_write(l, MSR_BASE, LAPIC_BASE), 0);
        assert_int_equal(lapic_msr_write(l, MSR_BASE, LAPIC_BASE | 0x800), 0);
        assert_int_equal(read_reg(rig, 1, ID), 0x01000000);
}

static void
lapic_xapic_id_is_read_only_with_x2apic(void **state)
{
        struct rig *rig = *state;

        write_reg(rig, 1, ID, 0xa5000000);
        assert_int_equal(read_reg(rig, 1, ID), 0x01000000);
}

static void
lapic_wild_accesses_are_harmless(void **state)
{
        struct rig *rig = *state;
        struct lapic *l = lapic_get(rig->set, 0);

        for (unsigned offset = 0; offset < 0x1000; offset += 4) {
                lapic_mmio_read(l, LAPIC_BASE + offset, 8);
                lapic_mmio_write(l, LAPIC_BASE + offset, 4, 0xffffffff);
                lapic_mmio_write(l, LAPIC_BASE + offset, 1, 0);
        }
        write_reg(rig, 0, ESR, 0);
        assert_true(read_reg(rig, 0, ESR) & 0x80); /* illegal register address */
}

static void
lapic_state_comes_back_as_it_was(void **state)
{
        struct rig *rig = *state;
        struct x86_apic before, after;

        write_reg(rig, 1, TPR, 0x20);
        write_reg(rig, 1, LDR, 0x08000000);
        write_reg(rig, 1, LVT_T, 0x20041);
        write_reg(rig, 1, T_DIV, 0xb);
        fixed(rig, 1, false, true, 0x61);
        assert_int_equal(ack(rig, 1), 0x61);
        fixed(rig, 1, false, false, 0x82);
        lapic_get_state(lapic_get(rig->set, 1), &before);
        assert_int_equal(before.base, LAPIC_BASE | 0x800);
        assert_int_equal(before.reg[2], 1u << 24);
        assert_int_equal(before.reg[0x13], 2); /* in service, level-triggered, requested */
        assert_int_equal(before.reg[0x1b], 2);
        assert_int_equal(before.reg[0x24], 4);
        lapic_set_reset(rig->set);
        lapic_set_state(lapic_get(rig->set, 1), &before);
        lapic_get_state(lapic_get(rig->set, 1), &after);
        assert_memory_equal(&after, &before, sizeof(before));
        assert_int_equal(ack(rig, 1), 0x82);
        write_reg(rig, 1, EOI, 0);
        write_reg(rig, 1, EOI, 0);
        assert_int_equal(rig->eoi, 0x61);
}

static void
lapic_state_starts_the_timer_again(void **state)
{
        struct rig *rig = *state;
        struct x86_apic apic;
        uint32_t left;

        write_reg(rig, 0, LVT_T, 0x41);
        write_reg(rig, 0, T_DIV, 0xb);
        write_reg(rig, 0, T_INIT, 4000000000u);
        lapic_get_state(lapic_get(rig->set, 0), &apic);
        lapic_set_reset(rig->set);
        assert_int_equal(read_reg(rig, 0, T_NOW), 0);
        apic.reg[0x39] = 3000000000u;
        lapic_set_state(lapic_get(rig->set, 0), &apic);
        left = read_reg(rig, 0, T_NOW);
        assert_true(left <= 3000000000u && left > 2000000000u);
        apic.reg[0x39] = 0; /* it has run down */
        lapic_set_state(lapic_get(rig->set, 0), &apic);
        assert_int_equal(read_reg(rig, 0, T_NOW), 0);
}

int
main(void)
{
        const struct CMUnitTest tests[] = {
            cmocka_unit_test_setup_teardown(lapic_ack_delivers_by_priority, setup, teardown),
            cmocka_unit_test_setup_teardown(lapic_tpr_holds_lower_classes_off, setup, teardown),
            cmocka_unit_test_setup_teardown(lapic_eoi_of_level_vector_is_broadcast, setup, teardown),
            cmocka_unit_test_setup_teardown(lapic_logical_destination_flat_and_cluster, setup, teardown),
            cmocka_unit_test_setup_teardown(lapic_x2apic_logical_destination_is_derived_from_id, setup, teardown),
            cmocka_unit_test_setup_teardown(lapic_icr_starts_processors, setup, teardown),
            cmocka_unit_test_setup_teardown(lapic_illegal_vectors_are_errors, setup, teardown),
            cmocka_unit_test_setup_teardown(lapic_disabled_by_software_takes_nothing, setup, teardown),
            cmocka_unit_test_setup_teardown(lapic_lint0_extint_passes_the_pic, setup, teardown),
            cmocka_unit_test_setup_teardown(lapic_lowest_priority_goes_to_one, setup, teardown),
            cmocka_unit_test_setup_teardown(lapic_msi_decodes_address_and_data, setup, teardown),
            cmocka_unit_test_setup_teardown(lapic_timer_one_shot_fires_once, setup, teardown),
            cmocka_unit_test_setup_teardown(lapic_timer_periodic_goes_on_until_stopped, setup, teardown),
            cmocka_unit_test_setup_teardown(lapic_timer_tsc_deadline, setup, teardown),
            cmocka_unit_test_setup_teardown(lapic_idle_vcpu_looks_after_its_own_timer, setup, teardown),
            cmocka_unit_test_setup_teardown(lapic_timer_that_ran_down_has_no_count_for_another_mode, setup, teardown),
            cmocka_unit_test_setup_teardown(lapic_xapic_id_is_writable_without_x2apic, setup_xapic, teardown),
            cmocka_unit_test_setup_teardown(lapic_xapic_id_is_read_only_with_x2apic, setup, teardown),
            cmocka_unit_test_setup_teardown(lapic_wild_accesses_are_harmless, setup, teardown),
            cmocka_unit_test_setup_teardown(lapic_state_comes_back_as_it_was, setup, teardown),
            cmocka_unit_test_setup_teardown(lapic_state_starts_the_timer_again, setup, teardown),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
