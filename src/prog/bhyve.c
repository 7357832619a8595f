/* SPDX-License-Identifier: BSD-2-Clause */
/* bhyve(8): runs a virtual machine. */
#include "base/log.h"
#include "config/cmdline.h"
#include "config/vm_config.h"
#include "instance/instance.h"
#include "machine/machine.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>

#define EXIT_ERROR 4

/* A VM that bhyve boots itself lives as long as bhyve; one that bhyveload made stays. */
static void
finish_instance(const struct vm_config *vm, struct instance *instance, enum machine_end end)
{
        struct config_error err;

        if (vm->kernel != NULL || (vm->destroy_on_poweroff && end == MACHINE_END_POWEROFF)) {
                if (instance_destroy(instance, &err) != 0)
                        log_warn("%s", err.text);
        } else {
                /* What the loader left has been started: it cannot be started again. */
                instance_state_drop(instance);
        }
        instance_close(instance);
}

static int
run_vm(const struct vm_config *vm, struct config_error *err)
{
        struct machine *machine;
        struct instance *instance;
        enum machine_end end;
        int signal_number = 0;

        if (instance_open(vm->name, INSTANCE_LOCK | (vm->kernel != NULL ? INSTANCE_CREATE : 0), &instance, err) != 0)
                return EXIT_ERROR;
        if (machine_build(vm, instance, &machine, err) != 0) {
                struct config_error ignored;

                if (vm->kernel != NULL)
                        (void)instance_destroy(instance, &ignored);
                instance_close(instance);
                return EXIT_ERROR;
        }
        end = machine_run(machine, &signal_number);
        machine_destroy(machine);
        finish_instance(vm, instance, end);
        if (end == MACHINE_END_SIGNAL) {
                sigset_t set;

                sigemptyset(&set);
                sigaddset(&set, signal_number);
                signal(signal_number, SIG_DFL);
                raise(signal_number);
                sigprocmask(SIG_UNBLOCK, &set, NULL);
        }
        err->text[0] = '\0';
        return end >= MACHINE_END_TEST ? (int)end - MACHINE_END_TEST : (int)end;
}

static int
run_config(struct config *config, int argc, char **argv, struct config_error *err)
{
        enum cmdline_action action;
        struct vm_config vm;

        if (cmdline_parse(config, argc, argv, &action, err) != 0)
                return EXIT_ERROR;
        switch (action) {
        case CMDLINE_USAGE:
                cmdline_usage(stdout);
                return 0;
        case CMDLINE_SLOT_HELP:
                cmdline_slot_help(stdout);
                return 0;
        case CMDLINE_LPC_HELP:
                cmdline_lpc_help(stdout);
                return 0;
        case CMDLINE_RUN:
                break;
        }
        if (config_check(config, err) != 0)
                return EXIT_ERROR;
        if (config_get_bool(config, "config.dump")) {
                config_dump(config, stdout);
                return 0;
        }
        if (vm_config_fill(config, &vm, err) != 0)
                return EXIT_ERROR;
        return run_vm(&vm, err);
}

int
main(int argc, char **argv)
{
        struct config_error err = { "" };
        struct config *config;
        int status;

        log_set_program("bhyve");
        signal(SIGPIPE, SIG_IGN); /* a console whose reader has gone is no reason to end */
        if (config_create(&config) != 0) {
                log_error("out of memory");
                return EXIT_ERROR;
        }
        status = run_config(config, argc, argv, &err);
        if (err.text[0] != '\0')
                log_error("%s", err.text);
        config_destroy(config);
        return status;
}
