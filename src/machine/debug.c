/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Between the debugger's stub and the vCPU threads.
 *
 * A vCPU that leaves the guest for the debugger is held: its thread waits in
 * vcpu_park, and the loop's thread tells the stub.  Held or parked, a vCPU's
 * state may be read and written.
 */
#include "base/log.h"
#include "base/util.h"
#include "machine/private.h"

static void
debug_stop(void *ctx)
{
        vcpus_park(ctx);
}

static void
debug_resume(void *ctx, const bool *run)
{
        struct machine *machine = ctx;

        pthread_mutex_lock(&machine->park_lock);
        for (unsigned i = 0; i < machine->config->cpus; i++)
                machine->vcpu[i].held = !run[i];
        pthread_mutex_unlock(&machine->park_lock);
        vcpus_unpark(machine);
}

static void
debug_get_state(void *ctx, unsigned vcpu, struct x86_state *ret_state)
{
        vcpu_get_state(ctx, vcpu, ret_state);
}

static int
debug_set_state(void *ctx, unsigned vcpu, const struct x86_state *state)
{
        return vcpu_set_state(ctx, vcpu, state);
}

static int
debug_set_debug(void *ctx, unsigned vcpu, const struct cpu_debug *debug)
{
        struct machine *machine = ctx;

        return machine->engine_ops->set_debug(machine->vcpu[vcpu].cpu, debug);
}

static void
debug_nmi(void *ctx)
{
        struct machine *machine = ctx;

        for (unsigned i = 0; i < machine->config->cpus; i++)
                lapic_inject_nmi(irqchip_lapics(machine->irqchip), i);
}

static void
debug_reset(void *ctx)
{
        machine_end(ctx, MACHINE_END_RESET);
}

static void
debug_poweroff(void *ctx)
{
        machine_end(ctx, MACHINE_END_POWEROFF);
}

static const struct stub_ops debug_ops = {
        .stop = debug_stop,
        .resume = debug_resume,
        .get_state = debug_get_state,
        .set_state = debug_set_state,
        .set_debug = debug_set_debug,
        .inject_nmi = debug_nmi,
        .reset = debug_reset,
        .poweroff = debug_poweroff,
};

int
debug_create(struct machine *machine, struct config_error *err)
{
        const struct vm_config *vm = machine->config;
        const struct stub_config config = { .loop = machine->loop,
                .mem = machine->mem,
                .irqchip = machine->irqchip,
                .model = machine->model,
                .vcpus = vm->cpus,
                .address = vm->gdb_address,
                .port = vm->gdb_port,
                .socket = vm->gdb_socket,
                .points_max = machine->engine_ops->breakpoints_max,
                .wait = vm->gdb_wait,
                .ops = &debug_ops,
                .ctx = machine };
        int error;

        if (vm->gdb_port == 0 && vm->gdb_socket == NULL) {
                if (vm->gdb_wait)
                        return config_fail(err, "gdb.wait: there is no gdb.port that a debugger could come to");
                return 0;
        }
        pthread_mutex_lock(&machine->device_lock);
        error = stub_create(&config, &machine->stub, err);
        pthread_mutex_unlock(&machine->device_lock);
        return error;
}

/* Loop thread. */
static void
tell_stub(void *ctx)
{
        struct vcpu *vcpu = ctx;
        struct machine *machine = vcpu->machine;
        struct stub_stop stop;
        bool held;

        pthread_mutex_lock(&machine->park_lock);
        held = vcpu->held;
        stop = vcpu->stop;
        pthread_mutex_unlock(&machine->park_lock);
        /* A debugger that went away in the meantime has let it go. */
        if (held && machine->stub != NULL)
                stub_vcpu_stopped(machine->stub, vcpu->id, &stop);
}

bool
debug_hold(struct vcpu *vcpu, const struct stub_stop *stop)
{
        struct machine *machine = vcpu->machine;

        if (machine->stub == NULL)
                return false;
        pthread_mutex_lock(&machine->park_lock);
        vcpu->held = vcpu->parked = true; /* it goes straight to vcpu_park */
        vcpu->stop = *stop;
        pthread_mutex_unlock(&machine->park_lock);
        loop_post(machine->loop, tell_stub, vcpu);
        return true;
}
