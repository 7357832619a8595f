/* SPDX-License-Identifier: BSD-2-Clause */
#include "config/vm_config.h"
#include "base/parse.h"
#include "base/util.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define PCI_BUSES 256
#define PCI_SLOTS 32
#define PCI_FUNCS 8

int
vm_name_check(const char *name, struct config_error *err)
{
        size_t len = strlen(name);

        if (len == 0 || len > VM_NAME_MAX)
                return config_fail(err, "a VM name has 1 to %d characters", VM_NAME_MAX);
        if (strchr(name, '/') != NULL)
                return config_fail(err, "VM name '%s' has a slash in it", name);
        if (name[0] == '.' || name[0] == '-')
                return config_fail(err, "VM name '%s' starts with '%c'", name, name[0]);
        for (size_t i = 0; i < len; i++) {
                if ((unsigned char)name[i] <= ' ' || name[i] == 0x7f)
                        return config_fail(err, "a VM name has no spaces or control characters");
        }
        return 0;
}

static int
fill_topology(struct vm_config *vm, struct config_error *err)
{
        const struct config *config = vm->config;
        bool topology = config_is_set(config, "sockets") || config_is_set(config, "cores") ||
                        config_is_set(config, "threads");

        vm->cpus = (unsigned)config_get_uint(config, "cpus");
        vm->sockets = (unsigned)config_get_uint(config, "sockets");
        vm->cores = (unsigned)config_get_uint(config, "cores");
        vm->threads = (unsigned)config_get_uint(config, "threads");
        if (!topology)
                vm->sockets = vm->cpus;
        if (!config_is_set(config, "cpus"))
                vm->cpus = vm->sockets * vm->cores * vm->threads;
        if (vm->sockets * vm->cores * vm->threads != vm->cpus)
                return config_fail(err, "%u sockets of %u cores of %u threads do not make %u virtual CPUs",
                    vm->sockets, vm->cores, vm->threads, vm->cpus);
        if (vm->cpus > VM_CPUS_MAX)
                return config_fail(err, "%u virtual CPUs are too many; at most %d", vm->cpus, VM_CPUS_MAX);
        return 0;
}

static int
fill_pins(struct vm_config *vm, struct config_error *err)
{
        for (unsigned i = 0; i < VM_CPUS_MAX; i++) {
                char name[32];
                const char *text;

                snprintf(name, sizeof(name), "vcpu.%u.cpuset", i);
                text = config_get(vm->config, name);
                if (text == NULL)
                        continue;
                if (i >= vm->cpus)
                        return config_fail(err, "%s: the VM has only %u virtual CPUs", name, vm->cpus);
                if (parse_cpuset(text, &vm->cpuset[i]) != 0)
                        return config_fail(err, "%s: '%s' is not a list of host CPUs", name, text);
                vm->pinned[i] = true;
        }
        return 0;
}

struct fill_pci_ctx {
        struct vm_config *vm;
        struct config_error *err;
        int error;
};

static void
fill_pci_one(void *opaque, const char *name, const char *value)
{
        struct fill_pci_ctx *ctx = opaque;
        unsigned bus, slot, func;
        char tail[16];
        struct vm_pci_device *dev;

        if (ctx->error != 0 || sscanf(name, "pci.%u.%u.%u.%15s", &bus, &slot, &func, tail) != 4 ||
            strcmp(tail, "device") != 0)
                return;
        if (bus >= PCI_BUSES || slot >= PCI_SLOTS || func >= PCI_FUNCS) {
                ctx->error = config_fail(ctx->err,
                    "%s: no such place; buses are 0 to 255, slots 0 to 31, functions 0 to 7", name);
                return;
        }
        if (ctx->vm->pci_count == VM_PCI_MAX) {
                ctx->error = config_fail(ctx->err, "too many devices; at most %d", VM_PCI_MAX);
                return;
        }
        dev = &ctx->vm->pci[ctx->vm->pci_count++];
        dev->bus = (uint8_t)bus;
        dev->slot = (uint8_t)slot;
        dev->func = (uint8_t)func;
        dev->device = value;
        dev->node.config = ctx->vm->config;
        snprintf(dev->node.prefix, sizeof(dev->node.prefix), "pci.%u.%u.%u", bus, slot, func);
}

static int
pci_order(const void *a, const void *b)
{
        const struct vm_pci_device *x = a, *y = b;

        return (x->bus << 8 | x->slot << 3 | x->func) - (y->bus << 8 | y->slot << 3 | y->func);
}

/* A device with functions but no function 0 is never found by a guest. */
static int
check_functions(const struct vm_config *vm, struct config_error *err)
{
        for (unsigned i = 0; i < vm->pci_count; i++) {
                const struct vm_pci_device *dev = &vm->pci[i], *before = i == 0 ? NULL : dev - 1;
                bool first = before == NULL || before->bus != dev->bus || before->slot != dev->slot;

                if (first && dev->func != 0)
                        return config_fail(err, "%s: the slot has no function 0, so that no guest will find it",
                            dev->node.prefix);
                if (!first && before->func == dev->func)
                        return config_fail(err, "%s: the slot is used twice", dev->node.prefix);
        }
        return 0;
}

static int
fill_pci(struct vm_config *vm, struct config_error *err)
{
        struct fill_pci_ctx ctx = { vm, err, 0 };
        const struct vm_pci_device *lpc = NULL;

        config_for_each(vm->config, "pci.", fill_pci_one, &ctx);
        if (ctx.error != 0)
                return ctx.error;
        qsort(vm->pci, vm->pci_count, sizeof(vm->pci[0]), pci_order);
        for (unsigned i = 0; i < vm->pci_count; i++) {
                if (strcmp(vm->pci[i].device, "lpc") != 0)
                        continue;
                if (lpc != NULL)
                        return config_fail(err, "%s: there is an lpc device already", vm->pci[i].node.prefix);
                lpc = &vm->pci[i];
                if (lpc->bus != 0)
                        return config_fail(err, "%s: lpc must be on bus 0", lpc->node.prefix);
        }
        for (unsigned i = 0; i < ARRAY_LEN(vm->com_path); i++) {
                char name[32];

                snprintf(name, sizeof(name), "lpc.com%u.path", i + 1);
                vm->com_path[i] = config_get(vm->config, name);
                if (vm->com_path[i] != NULL && lpc == NULL)
                        return config_fail(err, "com%u needs the lpc device: add -s 31,lpc", i + 1);
        }
        return check_functions(vm, err);
}

/* Standard input and output serve one line; a second would leave the terminal raw. */
static int
check_stdio(const struct vm_config *vm, struct config_error *err)
{
        unsigned users = vm->bvmcons;

        for (unsigned i = 0; i < ARRAY_LEN(vm->com_path); i++)
                users += vm->com_path[i] != NULL && strcmp(vm->com_path[i], "stdio") == 0;
        for (unsigned i = 0; i < vm->pci_count; i++) {
                const char *path;

                if (strcmp(vm->pci[i].device, "uart") != 0)
                        continue;
                path = config_node_get(&vm->pci[i].node, "path");
                users += path != NULL && strcmp(path, "stdio") == 0;
        }
        if (users > 1)
                return config_fail(err, "stdio is given to %u lines; give it to one", users);
        return 0;
}

static void
fill_flags(struct vm_config *vm)
{
        const struct config *config = vm->config;

        vm->memory_wired = config_get_bool(config, "memory.wired");
        vm->memory_in_core = config_get_bool(config, "memory.guest_in_core");
        vm->acpi = config_get_bool(config, "acpi_tables") && config_get_bool(config, "acpi_tables_in_memory");
        vm->mptable = config_get_bool(config, "x86.mptable");
        vm->x2apic = config_get_bool(config, "x86.x2apic");
        vm->pc_testdev = config_get_bool(config, "lpc.pc-testdev");
        vm->fwcfg = strcmp(config_get(config, "lpc.fwcfg"), "qemu") == 0;
        vm->strict_io = config_get_bool(config, "x86.strictio");
        vm->strict_msr = config_get_bool(config, "x86.strictmsr");
        vm->exit_on_pause = config_get_bool(config, "x86.vmexit_on_pause");
        vm->rtc_localtime = config_get_bool(config, "rtc.use_localtime");
        vm->virtio_msix = config_get_bool(config, "virtio_msix");
        vm->destroy_on_poweroff = config_get_bool(config, "destroy_on_poweroff");
        vm->debug_dump = config_get_bool(config, "debug.dump");
        vm->debug_trap = config_get_bool(config, "debug.trap");
        vm->bvmcons = config_get_bool(config, "debug.bvmcons");
        vm->bvmdebug_port = (uint16_t)config_get_uint(config, "debug.bvmdebug");
        vm->bvmdebug_address = config_get(config, "debug.bvmdebug_address");
        vm->gdb_port = (uint16_t)config_get_uint(config, "gdb.port");
        vm->gdb_address = config_get(config, "gdb.address");
        vm->gdb_socket = config_get(config, "gdb.socket");
        vm->gdb_wait = config_get_bool(config, "gdb.wait");
        vm->soft_stats = config_get_bool(config, "soft.stats");
}

int
vm_config_fill(const struct config *config, struct vm_config *ret_vm, struct config_error *err)
{
        struct vm_config *vm = ret_vm;
        const char *uuid = config_get(config, "uuid");

        memset(vm, 0, sizeof(*vm));
        vm->config = config;
        vm->name = config_get(config, "name");
        if (vm->name == NULL)
                return config_fail(err, "no VM name given");
        if (vm_name_check(vm->name, err) != 0 || fill_topology(vm, err) != 0 || fill_pins(vm, err) != 0 ||
            fill_pci(vm, err) != 0)
                return -EINVAL;
        vm->memory_bytes = config_get_uint(config, "memory.size");
        if (vm->memory_bytes % (2 * MIB) != 0)
                return config_fail(err, "memory.size: %s is not a multiple of 2M", config_get(config, "memory.size"));
        vm->has_uuid = uuid != NULL && parse_uuid(uuid, vm->uuid) == 0;
        vm->engine = config_get(config, "cpu.engine");
        vm->cpu_model = config_get(config, "cpu.model");
        vm->kernel = config_get(config, "boot.kernel");
        vm->initrd = config_get(config, "boot.initrd");
        vm->cmdline = config_get(config, "boot.cmdline");
        if (vm->kernel == NULL && (vm->initrd != NULL || config_is_set(config, "boot.cmdline")))
                return config_fail(err, "boot.initrd and boot.cmdline mean nothing without boot.kernel");
        fill_flags(vm);
        if (check_stdio(vm, err) != 0)
                return -EINVAL;
        return 0;
}
