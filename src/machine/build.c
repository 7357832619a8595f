/* SPDX-License-Identifier: BSD-2-Clause */
/* Building a machine: machine_build reads as the list of what there is, in order. */
#include "base/log.h"
#include "base/util.h"
#include "boot/direct.h"
#include "dev/registry.h"
#include "machine/private.h"
#include "machine/tsc.h"
#include "mem/file.h"
#include "x86/cpuid.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/sysinfo.h>
#include <unistd.h>

static int
fail_with(struct config_error *err, const char *what, int error)
{
        if (error != 0)
                config_fail(err, "%s: %s", what, strerror(-error));
        return error;
}

/* Overcommitted memory would end the VM much later, and without a word. */
static int
check_room(uint64_t bytes, struct config_error *err)
{
        struct sysinfo info;
        uint64_t total;

        if (sysinfo(&info) != 0)
                return 0;
        total = ((uint64_t)info.totalram + info.totalswap) * info.mem_unit;
        if (bytes <= total)
                return 0;
        config_fail(err, "no space for %lluM of guest memory: this host has %lluM", (unsigned long long)(bytes / MIB),
            (unsigned long long)(total / MIB));
        return -ENOSPC;
}

static int
build_memory(struct machine *machine, struct config_error *err)
{
        const struct vm_config *vm = machine->config;
        uint64_t loaded_bytes;
        int fd = -1, error;

        if (vm->kernel == NULL) {
                error = instance_memory_open(machine->instance, &fd, &loaded_bytes, err);
                if (error != 0)
                        return error;
                if (loaded_bytes != vm->memory_bytes) {
                        close(fd);
                        return config_fail(err, "VM %s was loaded with -m %lluM; give bhyve the same size", vm->name,
                            (unsigned long long)(loaded_bytes / MIB));
                }
        } else {
                error = check_room(vm->memory_bytes, err);
                if (error != 0)
                        return error;
                fd = mem_file_create(vm->memory_bytes);
                if (fd < 0)
                        return fail_with(err, "guest memory", fd);
        }
        error = mem_create(fd, vm->memory_bytes, &machine->mem);
        if (fd >= 0)
                close(fd);
        if (error == -ENOMEM)
                return config_fail(err, "no space for %lluM of guest memory",
                    (unsigned long long)(vm->memory_bytes / MIB));
        return fail_with(err, "guest memory", error);
}

struct advice {
        bool wired;
        bool in_core;
        int error;
};

static void
advise_area(void *ctx, gpa_t gpa, uint64_t len, void *host, enum mem_kind kind)
{
        struct advice *advice = ctx;

        (void)madvise(host, len, advice->in_core ? MADV_DODUMP : MADV_DONTDUMP);
        if (advice->wired && mlock(host, len) != 0)
                advice->error = -errno;
}

static int
advise_memory(struct machine *machine, struct config_error *err)
{
        struct advice advice = { machine->config->memory_wired, machine->config->memory_in_core, 0 };

        mem_for_each(machine->mem, advise_area, &advice);
        if (advice.error != 0)
                return config_fail(err, "guest memory cannot be locked (-S): %s; see ulimit -l", strerror(-advice.error));
        return 0;
}

static int
build_buses(struct machine *machine, struct config_error *err)
{
        int error = loop_create(&machine->device_lock, &machine->loop);

        if (error == 0)
                error = io_space_create(&machine->device_lock, &machine->ports);
        if (error == 0)
                error = io_space_create(&machine->device_lock, &machine->mmio);
        return fail_with(err, "buses", error);
}

static void
set_doorbell(struct machine *machine, bool port, uint64_t address, const struct io_doorbell *bell, bool on)
{
        const struct cpu_doorbell wanted = { .port = port,
                .size = bell->size,
                .match = bell->match,
                .value = bell->value,
                .address = address,
                .fd = bell->fd };

        /* Where it cannot be had, the guest's writes come to the device. */
        (void)machine->engine_ops->set_doorbell(machine->engine, &wanted, on);
}

static void
set_port_doorbell(void *ctx, uint64_t address, const struct io_doorbell *bell, bool on)
{
        set_doorbell(ctx, true, address, bell, on);
}

static void
set_mmio_doorbell(void *ctx, uint64_t address, const struct io_doorbell *bell, bool on)
{
        set_doorbell(ctx, false, address, bell, on);
}

static void
connect_doorbells(struct machine *machine)
{
        if (machine->engine_ops->set_doorbell == NULL)
                return;
        io_space_on_doorbell(machine->ports, set_port_doorbell, machine);
        io_space_on_doorbell(machine->mmio, set_mmio_doorbell, machine);
}

static int
build_pci_devices(struct machine *machine, struct config_error *err)
{
        const struct vm_config *vm = machine->config;
        const struct device_env env = { .lock = &machine->device_lock,
                .loop = machine->loop,
                .mem = machine->mem,
                .pci = machine->pci,
                .vm_name = vm->name,
                .doorbells = machine->engine_ops->set_doorbell != NULL,
                .virtio_msix = vm->virtio_msix };

        connect_doorbells(machine);
        for (unsigned i = 0; i < vm->pci_count; i++) {
                const struct vm_pci_device *dev = &vm->pci[i];
                const struct device_place place = { dev->bus, dev->slot, dev->func };
                const struct device_emulation *emulation = device_find(dev->device);
                int error;

                if (emulation == NULL)
                        return config_fail(err, "%s: device '%s' is not available in this build", dev->node.prefix,
                            dev->device);
                error = emulation->create(&env, &place, &dev->node);
                /* The device has said what is wrong with its options. */
                if (error != 0)
                        return config_fail(err, "%s: %s could not be made", dev->node.prefix, dev->device);
        }
        return fail_with(err, "PCI addresses", pci_bus_assign(machine->pci));
}

#define BOOT_PATHS_BYTES 4096

/* @paths: of BOOT_PATHS_BYTES, holds the modules' names as long as the request lives. */
static int
open_boot_files(const struct vm_config *vm, struct boot_request *request, char *paths, struct config_error *err)
{
        char *cursor = paths, *path;

        if (boot_file_open(vm->kernel, &request->kernel, err) != 0)
                return -EINVAL;
        if (vm->initrd == NULL)
                return 0;
        if ((size_t)snprintf(paths, BOOT_PATHS_BYTES, "%s", vm->initrd) >= BOOT_PATHS_BYTES)
                return config_fail(err, "boot.initrd is too long");
        while ((path = strsep(&cursor, ",")) != NULL) {
                struct boot_file *module = &request->module[request->module_count];

                if (request->module_count == BOOT_MODULES_MAX)
                        return config_fail(err, "boot.initrd: at most %d files", BOOT_MODULES_MAX);
                if (boot_file_open(path, module, err) != 0)
                        return -EINVAL;
                request->module_count++;
        }
        return 0;
}

static int
load_kernel(struct machine *machine, gpa_t rsdp, struct x86_state *st, struct config_error *err)
{
        struct boot_request request = { .cmdline = machine->config->cmdline, .rsdp = rsdp };
        char paths[BOOT_PATHS_BYTES];
        int error = open_boot_files(machine->config, &request, paths, err);

        if (error == 0)
                error = boot_direct(&request, machine->mem, st, err);
        if (error == 0 && !boot_is_linux(&request.kernel) && boot_is_multiboot(&request.kernel))
                platform_start_tick(machine);
        boot_file_close(&request.kernel);
        for (unsigned i = 0; i < request.module_count; i++)
                boot_file_close(&request.module[i]);
        return error;
}

/* What bhyveload left for the boot processor. */
static int
load_saved(struct machine *machine, struct x86_state *st, struct config_error *err)
{
        struct instance_state *state = aligned_alloc(_Alignof(struct instance_state), sizeof(*state));
        int error;

        if (state == NULL)
                return fail_with(err, "saved state", -ENOMEM);
        error = instance_state_load(machine->instance, state, err);
        if (error == 0)
                *st = state->cpu[0];
        free(state);
        return error;
}

/* What is in irqchip after reset, the PIC's way through LINT0 among it, is where the engine's begins. */
static int
set_engine_apic(struct machine *machine, unsigned vcpu, struct config_error *err)
{
        struct x86_apic apic;

        lapic_get_state(irqchip_lapic(machine->irqchip, vcpu), &apic);
        return fail_with(err, "local APIC", machine->apics->set(machine->vcpu[vcpu].cpu, &apic));
}

static int
set_boot_states(struct machine *machine, gpa_t rsdp, struct config_error *err)
{
        struct x86_state *st = aligned_alloc(_Alignof(struct x86_state), sizeof(*st));
        int error = st == NULL ? fail_with(err, "processor state", -ENOMEM) : 0;

        for (unsigned i = 0; error == 0 && i < machine->config->cpus; i++) {
                if (i != 0)
                        x86_state_reset(st, i);
                else if (machine->config->kernel != NULL)
                        error = load_kernel(machine, rsdp, st, err);
                else
                        error = load_saved(machine, st, err);
                if (error != 0)
                        break;
                st->tsc_offset = machine->tsc_offset;
                lapic_set_tsc_offset(irqchip_lapic(machine->irqchip, i), st->tsc_offset);
                st->apic_base = lapic_base_msr(irqchip_lapic(machine->irqchip, i));
                error = fail_with(err, "processor state", machine->engine_ops->set_state(machine->vcpu[i].cpu, st));
                if (error == 0 && machine->apics != NULL)
                        error = set_engine_apic(machine, i, err);
        }
        free(st);
        return error;
}

static int
choose_engine(struct machine *machine, struct config_error *err)
{
        int error = engine_select(machine, err);

        if (error != 0)
                return error;
        machine->tsc_hz = tsc_hz();
        machine->tsc_offset = 0 - __builtin_ia32_rdtsc();
        return 0;
}

static int
build_model(struct machine *machine, struct config_error *err)
{
        const struct vm_config *vm = machine->config;
        const struct x86_model_config config = {
                .spec = vm->cpu_model,
                .sockets = vm->sockets,
                .cores = vm->cores,
                .threads = vm->threads,
                .x2apic = true,
                .tsc_hz = machine->tsc_hz,
                .lapic_hz = LAPIC_TIMER_HZ,
        };
        char why[256];
        int error = x86_model_create(&config, &machine->model, why, sizeof(why));

        if (error == -EINVAL)
                return config_fail(err, "cpu.model=%s: %s", vm->cpu_model, why);
        return fail_with(err, "cpu.model", error);
}

static int
build(struct machine *machine, struct config_error *err)
{
        gpa_t rsdp = 0;
        int error;

        if ((error = choose_engine(machine, err)) != 0 || (error = build_model(machine, err)) != 0 ||
            (error = build_buses(machine, err)) != 0 ||
            (error = life_start(machine, err)) != 0 || (error = build_memory(machine, err)) != 0 ||
            (error = advise_memory(machine, err)) != 0 || (error = engine_create(machine, err)) != 0 ||
            (error = platform_create(machine, err)) != 0 ||
            (error = build_pci_devices(machine, err)) != 0 ||
            (error = platform_put_tables(machine, &rsdp, err)) != 0 || (error = vcpus_create(machine, err)) != 0 ||
            (error = set_boot_states(machine, rsdp, err)) != 0 || (error = debug_create(machine, err)) != 0)
                return error;
        return control_listen(machine->instance, machine->loop, machine_request, machine, &machine->control, err);
}

int
machine_build(const struct vm_config *config, struct instance *instance, struct machine **ret_machine,
    struct config_error *err)
{
        struct machine *machine = calloc(1, sizeof(*machine));
        int error;

        if (machine == NULL)
                return fail_with(err, "machine", -ENOMEM);
        machine->config = config;
        machine->instance = instance;
        machine->signal_fd = -1;
        atomic_init(&machine->end, MACHINE_RUNNING);
        pthread_mutex_init(&machine->device_lock, NULL);
        pthread_mutex_init(&machine->park_lock, NULL);
        pthread_cond_init(&machine->park_cond, NULL);
        error = build(machine, err);
        if (error != 0) {
                machine_destroy(machine);
                return error;
        }
        *ret_machine = machine;
        return 0;
}

void
machine_destroy(struct machine *machine)
{
        if (machine == NULL)
                return;
        pthread_mutex_lock(&machine->device_lock);
        loop_timer_destroy(machine->halt_watch);
        stub_destroy(machine->stub);
        control_close(machine->control);
        platform_destroy(machine);
        life_stop(machine);
        pthread_mutex_unlock(&machine->device_lock);
        vcpus_destroy(machine);
        x86_model_destroy(machine->model);
        mem_destroy(machine->mem);
        io_space_destroy(machine->mmio);
        io_space_destroy(machine->ports);
        loop_destroy(machine->loop);
        pthread_cond_destroy(&machine->park_cond);
        pthread_mutex_destroy(&machine->park_lock);
        pthread_mutex_destroy(&machine->device_lock);
        free(machine);
}
