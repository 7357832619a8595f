/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What the machine is built from: the checked configuration as typed fields.
 * Devices read the rest through their config_node.
 */
#ifndef CONFIG_VM_CONFIG_H
#define CONFIG_VM_CONFIG_H

#include "config/config.h"

#include <sched.h>

#define VM_CPUS_MAX     16
#define VM_NAME_MAX     64
#define VM_PCI_MAX      256

struct vm_pci_device {
        uint8_t bus;
        uint8_t slot;
        uint8_t func;
        const char *device;      /* name of the emulation */
        struct config_node node; /* pci.BUS.SLOT.FUNC */
};

struct vm_config {
        const struct config *config; /* the caller's; outlives this */
        const char *name;

        unsigned cpus;
        unsigned sockets;
        unsigned cores;   /* in a socket */
        unsigned threads; /* in a core */
        bool pinned[VM_CPUS_MAX];
        cpu_set_t cpuset[VM_CPUS_MAX];

        uint64_t memory_bytes;
        bool memory_wired;
        bool memory_in_core;

        bool acpi;
        bool mptable;
        bool x2apic;
        bool strict_io;
        bool strict_msr;
        bool exit_on_pause;
        bool rtc_localtime;
        bool virtio_msix;
        bool destroy_on_poweroff;
        bool pc_testdev;
        bool fwcfg;
        bool has_uuid;
        uint8_t uuid[16];

        const char *engine;
        const char *cpu_model;
        const char *kernel; /* NULL: bhyveload filled the VM */
        const char *initrd; /* NULL: none */
        const char *cmdline;

        bool debug_dump;
        bool debug_trap;
        bool bvmcons;
        uint16_t bvmdebug_port;
        const char *bvmdebug_address;
        uint16_t gdb_port;
        const char *gdb_address;
        const char *gdb_socket; /* NULL: TCP */
        bool gdb_wait;
        bool soft_stats;

        const char *com_path[4]; /* NULL: the port does not exist */

        struct vm_pci_device pci[VM_PCI_MAX]; /* sorted by bus, slot, function */
        unsigned pci_count;
};

/* 0 if @name may name a VM: 1 to VM_NAME_MAX characters, no slash, not starting with a dot or dash. */
int vm_name_check(const char *name, struct config_error *err);

/* @config has passed config_check.  What depends on more than one value is checked here. */
int vm_config_fill(const struct config *config, struct vm_config *ret_vm, struct config_error *err);

#endif
