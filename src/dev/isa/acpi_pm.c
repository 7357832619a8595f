/* SPDX-License-Identifier: BSD-2-Clause */
/* The timer's overflow (TMR_STS) is never reported: guests read the 32-bit timer instead. */
#include "dev/isa/acpi_pm.h"

#include "base/loop.h"
#include "base/util.h"

#include <errno.h>
#include <stdlib.h>

#define TIMER_HZ 3579545ull

/* PM1 status and enable, 4.8.3.1. */
#define PM1_GLOBAL   0x0020u
#define PM1_POWER    0x0100u
#define PM1_SLEEP    0x0200u
#define PM1_RTC      0x0400u
#define PM1_WAKE     0x8000u
#define STATUS_BITS  (PM1_GLOBAL | PM1_POWER | PM1_SLEEP | PM1_RTC | PM1_WAKE)
#define ENABLE_BITS  (0x0001u | PM1_GLOBAL | PM1_POWER | PM1_SLEEP | PM1_RTC)

/* PM1 control, 4.8.3.2. */
#define CONTROL_SCI_EN  0x0001u
#define CONTROL_SLP_TYP(control) ((control) >> 10 & 7)
#define CONTROL_SLP_EN  0x2000u
#define CONTROL_BITS    0x1c02u /* remembered: BM_RLD and SLP_TYP */

struct acpi_pm {
        const struct acpi_pm_ops *ops;
        void *ctx;
        uint16_t status, enable, control;
        uint8_t smi[2]; /* command and data ports as last written */
        struct irq_source sci;
};

static void
update_sci(struct acpi_pm *pm)
{
        irq_line_set(&pm->sci, (pm->control & CONTROL_SCI_EN) && (pm->status & pm->enable));
}

static void
set_acpi(struct acpi_pm *pm, bool on)
{
        bool was_on = pm->control & CONTROL_SCI_EN;

        pm->control = (uint16_t)((pm->control & ~CONTROL_SCI_EN) | (on ? CONTROL_SCI_EN : 0));
        update_sci(pm);
        if (on != was_on && pm->ops->acpi_enabled)
                pm->ops->acpi_enabled(pm->ctx, on);
}

bool
acpi_pm_press_power_button(struct acpi_pm *pm)
{
        if (!(pm->control & CONTROL_SCI_EN))
                return false;
        pm->status |= PM1_POWER;
        update_sci(pm);
        return true;
}

/* The bytes of @value go to a 16-bit register at @at of the block that @offset counts in. */
static uint16_t
merge(uint16_t old, uint64_t at, uint64_t offset, unsigned size, uint64_t value, uint16_t *ret_mask)
{
        uint16_t mask = 0;

        for (unsigned i = 0; i < size; i++) {
                uint64_t byte = offset + i - at;

                if (byte > 1)
                        continue;
                mask |= (uint16_t)(0xff << (8 * byte));
                old = (uint16_t)((old & ~(0xff << (8 * byte))) | (value >> (8 * i) & 0xff) << (8 * byte));
        }
        *ret_mask = mask;
        return old;
}

static uint64_t
event_read(void *ctx, uint64_t offset, unsigned size)
{
        const struct acpi_pm *pm = ctx;
        uint64_t block = pm->status | (uint64_t)pm->enable << 16;

        return block >> (8 * offset);
}

static void
event_write(void *ctx, uint64_t offset, unsigned size, uint64_t value)
{
        struct acpi_pm *pm = ctx;
        uint16_t mask, bits;

        bits = merge(0, 0, offset, size, value, &mask);
        pm->status &= (uint16_t) ~(bits & mask & STATUS_BITS);
        bits = merge(pm->enable, 2, offset, size, value, &mask);
        pm->enable = bits & ENABLE_BITS;
        update_sci(pm);
}

static uint64_t
control_read(void *ctx, uint64_t offset, unsigned size)
{
        const struct acpi_pm *pm = ctx;

        return pm->control >> (8 * offset);
}

static void
control_write(void *ctx, uint64_t offset, unsigned size, uint64_t value)
{
        struct acpi_pm *pm = ctx;
        uint16_t mask, bits = merge(pm->control, 0, offset, size, value, &mask);

        /* SCI_EN is the firmware's: it changes through SMI_CMD only. */
        pm->control = (uint16_t)((pm->control & CONTROL_SCI_EN) | (bits & CONTROL_BITS));
        if ((bits & CONTROL_SLP_EN) && CONTROL_SLP_TYP(bits) == ACPI_SLP_TYP_S5)
                pm->ops->poweroff(pm->ctx);
}

static uint64_t
timer_read(void *ctx, uint64_t offset, unsigned size)
{
        uint32_t ticks = (uint32_t)((unsigned __int128)loop_now_ns() * TIMER_HZ / NSEC_PER_SEC);

        return ticks >> (8 * offset);
}

static void
timer_write(void *ctx, uint64_t offset, unsigned size, uint64_t value)
{
}

static uint64_t
smi_read(void *ctx, uint64_t offset, unsigned size)
{
        const struct acpi_pm *pm = ctx;

        return pm->smi[offset];
}

static void
smi_write(void *ctx, uint64_t offset, unsigned size, uint64_t value)
{
        struct acpi_pm *pm = ctx;

        pm->smi[offset] = (uint8_t)value;
        if (offset == 0 && (value & 0xff) == ACPI_ENABLE)
                set_acpi(pm, true);
        else if (offset == 0 && (value & 0xff) == ACPI_DISABLE)
                set_acpi(pm, false);
}

static const struct io_ops event_ops = {.read = event_read, .write = event_write};
static const struct io_ops control_ops = {.read = control_read, .write = control_write};
static const struct io_ops timer_ops = {.read = timer_read, .write = timer_write};
static const struct io_ops smi_ops = {.read = smi_read, .write = smi_write};

int
acpi_pm_attach(struct acpi_pm *pm, struct io_space *ports)
{
        int error = io_space_add(ports, ACPI_PM1A_EVENT, 4, &event_ops, pm, 0, "PM1a event");

        if (!error)
                error = io_space_add(ports, ACPI_PM1A_CONTROL, 2, &control_ops, pm, 0, "PM1a control");
        if (!error)
                error = io_space_add(ports, ACPI_PM_TIMER, 4, &timer_ops, pm, IO_UNLOCKED, "PM timer");
        if (!error)
                error = io_space_add(ports, ACPI_SMI_CMD, 2, &smi_ops, pm, 0, "SMI command");
        return error;
}

void
acpi_pm_reset(struct acpi_pm *pm)
{
        pm->status = pm->enable = 0;
        set_acpi(pm, false);
        pm->control = 0;
}

int
acpi_pm_create(struct irq_router *irq, const struct acpi_pm_ops *ops, void *ctx, struct acpi_pm **ret_pm)
{
        struct acpi_pm *pm = calloc(1, sizeof(*pm));

        if (!pm)
                return -ENOMEM;
        pm->ops = ops;
        pm->ctx = ctx;
        irq_source_init(&pm->sci, irq, ACPI_SCI);
        *ret_pm = pm;
        return 0;
}

void
acpi_pm_destroy(struct acpi_pm *pm)
{
        free(pm);
}
