/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * ACPI fixed hardware (ACPI 6.4, 4.8.3): PM1a event block 0x400, control
 * 0x404, PM timer 0x408, SMI command port 0xb2, power button, SCI.
 * Device lock held, but for the timer, which needs none.
 */
#ifndef DEV_ISA_ACPI_PM_H
#define DEV_ISA_ACPI_PM_H

#include "bus/io.h"
#include "bus/irq.h"

#define ACPI_PM1A_EVENT   0x400
#define ACPI_PM1A_CONTROL 0x404
#define ACPI_PM_TIMER     0x408
#define ACPI_SMI_CMD      0xb2
#define ACPI_ENABLE       0xa0
#define ACPI_DISABLE      0xa1
#define ACPI_SCI          9
#define ACPI_SLP_TYP_S5   5

struct acpi_pm;

struct acpi_pm_ops {
        /* The guest switched itself off. */
        void (*poweroff)(void *ctx);
        /* It took or gave back the power button; optional. */
        void (*acpi_enabled)(void *ctx, bool enabled);
};

int acpi_pm_create(struct irq_router *irq, const struct acpi_pm_ops *ops, void *ctx, struct acpi_pm **ret_pm);
void acpi_pm_destroy(struct acpi_pm *pm);
void acpi_pm_reset(struct acpi_pm *pm);
int acpi_pm_attach(struct acpi_pm *pm, struct io_space *ports);

/* False if the guest has not enabled ACPI: nobody would notice. */
bool acpi_pm_press_power_button(struct acpi_pm *pm);

#endif
