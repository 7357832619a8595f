/* SPDX-License-Identifier: BSD-2-Clause */
#include "dev/isa/pc.h"

#include "dev/isa/acpi_pm.h"
#include "dev/isa/bvm.h"
#include "dev/isa/hpet.h"
#include "dev/isa/i8042.h"
#include "dev/isa/i8254.h"
#include "dev/isa/mc146818.h"
#include "dev/isa/ns16550.h"
#include "dev/isa/serial.h"
#include "dev/isa/sysports.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct com {
        struct serial *serial;
        struct irq_source irq;
};

struct pc {
        const struct pc_ops *ops;
        void *ctx;
        struct i8254 *pit;
        struct mc146818 *rtc;
        struct hpet *hpet;
        struct acpi_pm *pm;
        struct i8042 *kbc;
        struct sysports sysports;
        struct com com[PC_COM_COUNT];
        struct bvm *console, *debug;
};

struct pc_bvm {
        const char *name;
        uint16_t port;
        uint16_t signature;
        const char *waiting;
};

const struct pc_com pc_coms[PC_COM_COUNT] = {
    {0x3f8, 4},
    {0x2f8, 3},
    {0x3e8, 4},
    {0x2e8, 3},
};

static void
wants_reset(void *ctx)
{
        struct pc *pc = ctx;

        pc->ops->reset(pc->ctx);
}

static void
wants_poweroff(void *ctx)
{
        struct pc *pc = ctx;

        pc->ops->poweroff(pc->ctx);
}

static void
acpi_changed(void *ctx, bool enabled)
{
        struct pc *pc = ctx;

        if (pc->ops->acpi_enabled)
                pc->ops->acpi_enabled(pc->ctx, enabled);
}

static const struct acpi_pm_ops pm_ops = {
    .poweroff = wants_poweroff,
    .acpi_enabled = acpi_changed,
};

static int
add_timers(struct pc *pc, const struct pc_config *c)
{
        const struct mc146818_config rtc = {c->rtc_localtime, c->low_bytes, c->high_bytes};
        int error = i8254_create(c->loop, c->irq, &pc->pit);

        if (!error)
                error = io_space_add(c->ports, 0x40, 4, &i8254_io_ops, pc->pit, 0, "8254");
        if (!error)
                error = mc146818_create(c->loop, c->irq, &rtc, &pc->rtc);
        if (!error)
                error = io_space_add(c->ports, 0x70, 2, &mc146818_io_ops, pc->rtc, 0, "MC146818");
        if (!error)
                error = hpet_create(c->loop, c->irq, &pc->hpet);
        if (!error)
                error = io_space_add(c->mmio, HPET_BASE, HPET_LEN, &hpet_io_ops, pc->hpet, 0, "HPET");
        return error;
}

static int
add_controls(struct pc *pc, const struct pc_config *c)
{
        int error = acpi_pm_create(c->irq, &pm_ops, pc, &pc->pm);

        if (!error)
                error = acpi_pm_attach(pc->pm, c->ports);
        if (!error)
                error = i8042_create(c->irq, wants_reset, pc, &pc->kbc);
        if (!error)
                error = i8042_attach(pc->kbc, c->ports);
        sysports_init(&pc->sysports, pc->pit, wants_reset, pc);
        if (!error)
                error = sysports_attach(&pc->sysports, c->ports);
        return error;
}

static void
com_intr(void *ctx, bool level)
{
        struct com *com = ctx;

        irq_line_set(&com->irq, level);
}

static int
add_com(struct pc *pc, const struct pc_config *c, unsigned i, struct config_error *err)
{
        struct com *com = &pc->com[i];
        struct chardev *chardev = NULL;
        const char *why = "";
        int error;

        if (!c->com_path[i])
                return 0;
        error = chardev_open(c->loop, c->com_path[i], &chardev, &why);
        if (error) {
                config_fail(err, "com%u: %s: %s (%s)", i + 1, c->com_path[i], why, strerror(-error));
                return error;
        }
        irq_source_init(&com->irq, c->irq, pc_coms[i].irq);
        error = serial_create(c->loop, chardev, com_intr, com, &com->serial);
        if (error) {
                chardev_close(chardev);
                return error;
        }
        return io_space_add(
            c->ports, pc_coms[i].port, NS16550_PORTS, &serial_io_ops, com->serial, 0, "COM port");
}

static int
add_bvm(const struct pc_config *c, const char *path, const struct pc_bvm *kind, struct bvm **ret_bvm,
    struct config_error *err)
{
        struct chardev *chardev = NULL;
        const char *why = "";
        int error = chardev_open(c->loop, path, &chardev, &why);

        if (error) {
                config_fail(err, "%s: %s: %s (%s)", kind->name, path, why, strerror(-error));
                return error;
        }
        error = bvm_create(chardev, kind->signature, kind->waiting, ret_bvm);
        if (error) {
                chardev_close(chardev);
                return error;
        }
        return io_space_add(c->ports, kind->port, BVM_PORT_LEN, &bvm_io_ops, *ret_bvm, 0, kind->name);
}

static int
add_bvm_ports(struct pc *pc, const struct pc_config *c, struct config_error *err)
{
        static const struct pc_bvm console = {"bvmcons", BVM_CONSOLE_PORT, BVM_CONSOLE_SIGNATURE, NULL};
        static const struct pc_bvm debug = {"bvmdebug", BVM_DEBUG_PORT, BVM_DEBUG_SIGNATURE,
            "Waiting for connection from gdb"};
        char path[320];
        int error = 0;

        if (c->bvmcons)
                error = add_bvm(c, "stdio", &console, &pc->console, err);
        if (error || !c->bvmdebug_port)
                return error;
        snprintf(path, sizeof(path), "tcp=%s:%u", c->bvmdebug_address ? c->bvmdebug_address : "127.0.0.1",
            c->bvmdebug_port);
        return add_bvm(c, path, &debug, &pc->debug, err);
}

int
pc_create(const struct pc_config *config, struct pc **ret_pc, struct config_error *err)
{
        struct pc *pc = calloc(1, sizeof(*pc));
        int error;

        if (!pc)
                return config_fail(err, "platform: out of memory");
        pc->ops = config->ops;
        pc->ctx = config->ctx;
        error = add_timers(pc, config);
        if (!error)
                error = add_controls(pc, config);
        if (error)
                config_fail(err, "platform devices: %s", strerror(-error));
        for (unsigned i = 0; !error && i < PC_COM_COUNT; i++)
                error = add_com(pc, config, i, err);
        if (!error)
                error = add_bvm_ports(pc, config, err);
        if (error) {
                pc_destroy(pc);
                return error;
        }
        *ret_pc = pc;
        return 0;
}

void
pc_destroy(struct pc *pc)
{
        if (!pc)
                return;
        for (unsigned i = 0; i < PC_COM_COUNT; i++)
                serial_destroy(pc->com[i].serial);
        bvm_destroy(pc->console);
        bvm_destroy(pc->debug);
        i8042_destroy(pc->kbc);
        acpi_pm_destroy(pc->pm);
        hpet_destroy(pc->hpet);
        mc146818_destroy(pc->rtc);
        i8254_destroy(pc->pit);
        free(pc);
}

void
pc_reset(struct pc *pc)
{
        i8254_reset(pc->pit);
        mc146818_reset(pc->rtc);
        hpet_reset(pc->hpet);
        acpi_pm_reset(pc->pm);
        i8042_reset(pc->kbc);
        sysports_reset(&pc->sysports);
        for (unsigned i = 0; i < PC_COM_COUNT; i++) {
                if (pc->com[i].serial)
                        serial_reset(pc->com[i].serial);
        }
}

bool
pc_press_power_button(struct pc *pc)
{
        return acpi_pm_press_power_button(pc->pm);
}

struct mc146818 *
pc_rtc(struct pc *pc)
{
        return pc->rtc;
}
