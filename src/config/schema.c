/* SPDX-License-Identifier: BSD-2-Clause */
#include "config/schema.h"
#include "base/parse.h"
#include "base/util.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define STRING(name_, default_, help_)                                                             \
        { .name = name_, .type = CONFIG_STRING, .fallback = default_, .help = help_ }
#define BOOL(name_, default_, help_)                                                               \
        { .name = name_, .type = CONFIG_BOOL, .fallback = default_, .help = help_ }
#define UINT(name_, default_, min_, max_, help_)                                                   \
        { .name = name_, .type = CONFIG_UINT, .fallback = default_, .min = min_, .max = max_, .help = help_ }
#define SIZE(name_, default_, min_, max_, help_)                                                   \
        { .name = name_, .type = CONFIG_SIZE, .fallback = default_, .min = min_, .max = max_, .help = help_ }
#define CHOICE(name_, default_, choices_, help_)                                                   \
        { .name = name_, .type = CONFIG_CHOICE, .fallback = default_, .choices = choices_, .help = help_ }
#define REFUSED(name_, reason_)                                                                    \
        { .name = name_, .type = CONFIG_STRING, .help = "not available", .refused = reason_ }
#define DEV(devices_, type_, name_, default_, help_)                                               \
        { .name = "pci.#.#.#." name_, .type = type_, .fallback = default_, .devices = devices_, .help = help_ }
#define DEV_UINT(devices_, name_, default_, min_, max_, help_)                                     \
        { .name = "pci.#.#.#." name_, .type = CONFIG_UINT, .fallback = default_, .min = min_,      \
            .max = max_, .devices = devices_, .help = help_ }

#define NEEDS_PASSTHROUGH "device passthrough needs an IOMMU and the device itself; neither CPU engine offers it"
#define NEEDS_ROM         "NUMA domains are described by a boot ROM, and there is none"
#define BLOCK             "virtio-blk nvme"
#define AHCI              "ahci ahci-hd ahci-cd"
#define NET               "virtio-net e1000"
#define IDS               "hostbridge amd_hostbridge lpc virtio-blk virtio-net virtio-rnd"

const struct config_key config_keys[] = {
        STRING("name", NULL, "name of the VM"),
        UINT("cpus", "1", 1, 16, "number of virtual CPUs"),
        UINT("sockets", "1", 1, 16, "processor packages"),
        UINT("cores", "1", 1, 16, "cores in each package"),
        UINT("threads", "1", 1, 16, "threads in each core"),
        { .name = "vcpu.#.cpuset", .type = CONFIG_CPUSET, .help = "host CPUs that the virtual CPU may run on" },
        SIZE("memory.size", "256M", 2 * MIB, 1024 * GIB, "guest memory; a multiple of 2M"),
        BOOL("memory.wired", "false", "lock guest memory in host memory"),
        BOOL("memory.guest_in_core", "false", "guest memory is part of core dumps"),
        BOOL("acpi_tables", "true", "build ACPI tables"),
        BOOL("acpi_tables_in_memory", "true", "put the ACPI tables in guest memory"),
        BOOL("destroy_on_poweroff", "false", "destroy the VM when the guest powers off"),
        STRING("gdb.address", "localhost", "address that the debugger's port listens on"),
        UINT("gdb.port", "0", 0, 65535, "TCP port for a debugger; 0: none"),
        STRING("gdb.socket", NULL, "path of a Unix socket for a debugger, instead of a TCP port"),
        BOOL("gdb.wait", "false", "wait for the debugger before the first instruction"),
        BOOL("rtc.use_localtime", "true", "the guest's clock chip holds local time, not UTC"),
        { .name = "uuid", .type = CONFIG_UUID, .help = "UUID of the machine, in SMBIOS" },
        BOOL("virtio_msix", "true", "virtio devices offer MSI-X; else MSI"),
        BOOL("config.dump", "false", "print the configuration and exit"),
        REFUSED("keyboard.layout", "there is no frame buffer yet that a keyboard would belong to"),
        REFUSED("domain.#.size", NEEDS_ROM),
        REFUSED("domain.#.cpus", NEEDS_ROM),
        REFUSED("domain.#.domain_policy", NEEDS_ROM),
        REFUSED("domains", NEEDS_ROM),

        BOOL("x86.mptable", "true", "build an MP table"),
        BOOL("x86.x2apic", "false", "local APICs start in x2APIC mode"),
        BOOL("x86.strictio", "false", "end the VM on an access to a port that nothing emulates"),
        BOOL("x86.strictmsr", "true", "an unknown MSR faults; else it reads 0 and writes are dropped"),
        BOOL("x86.vmexit_on_hlt", "false", "accepted: a halted virtual CPU always sleeps"),
        BOOL("x86.vmexit_on_pause", "false", "leave the guest on PAUSE and yield the host CPU"),
        BOOL("x86.verbosemsr", "false", "report accesses to unknown MSRs"),

        STRING("bios.vendor", "BHYVE", "SMBIOS"),
        STRING("bios.version", "14.0", "SMBIOS"),
        STRING("bios.release_date", "10/17/2021", "SMBIOS"),
        STRING("system.family_name", "Virtual Machine", "SMBIOS"),
        STRING("system.manufacturer", "FreeBSD", "SMBIOS"),
        STRING("system.product_name", "BHYVE", "SMBIOS"),
        STRING("system.serial_number", "None", "SMBIOS"),
        STRING("system.sku", "None", "SMBIOS"),
        STRING("system.version", "1.0", "SMBIOS"),
        STRING("board.manufacturer", "FreeBSD", "SMBIOS"),
        STRING("board.product_name", "BHYVE", "SMBIOS"),
        STRING("board.version", "1.0", "SMBIOS"),
        STRING("board.serial_number", "None", "SMBIOS"),
        STRING("board.asset_tag", "None", "SMBIOS"),
        STRING("board.location", "None", "SMBIOS"),
        STRING("chassis.manufacturer", "FreeBSD", "SMBIOS"),
        STRING("chassis.version", "1.0", "SMBIOS"),
        STRING("chassis.serial_number", "None", "SMBIOS"),
        STRING("chassis.asset_tag", "None", "SMBIOS"),
        STRING("chassis.sku", "None", "SMBIOS"),

        /* Our own. */
        CHOICE("cpu.engine", "auto", "auto|soft|kvm", "what runs the guest's instructions"),
        STRING("kvm.device", "/dev/kvm", "KVM's device"),
        CHOICE("kvm.irqchip", "auto", "auto|split|user", "where KVM has the local APICs: split: in the kernel; user: in bhyve; auto: in the kernel if it can"),
        STRING("cpu.model", "max", "processor to show: max, x86-64, x86-64-v2 or x86-64-v3, then ,+feature ,-feature ,vendor=... ,family=N"),
        STRING("boot.kernel", NULL, "kernel to boot without a loader: bzImage, PVH or Multiboot ELF"),
        STRING("boot.initrd", NULL, "initial RAM disk (Multiboot: comma-separated modules) for boot.kernel"),
        STRING("boot.cmdline", "", "command line for boot.kernel"),
        BOOL("debug.dump", "false", "print the processors' state when the VM ends by a fault"),
        STRING("debug.symbols", NULL, "ELF file of the guest's kernel, whose names soft.profile uses"),
        BOOL("debug.trap", "false", "a fault or halt that would end the VM stops it in the debugger (-G); SIGQUIT ends it with a dump"),
        BOOL("debug.bvmcons", "false", "low-level console at port 0x220"),
        UINT("debug.bvmdebug", "0", 0, 65535, "TCP port behind the debug port at 0x224; 0: none"),
        STRING("debug.bvmdebug_address", "127.0.0.1", "address that the debug port's TCP side listens on"),
        BOOL("soft.stats", "false", "print the translator's counters when the VM ends"),
        STRING("soft.trace", NULL, "file for a trace of what is executed (slow)"),
        CHOICE("soft.trace_kind", "instructions", "instructions|blocks", "what a line of the trace stands for"),
        STRING("soft.trace_range", NULL, "FROM-TO: trace these linear addresses only, TO with them"),
        CHOICE("soft.trace_cpl", NULL, "0|1|2|3", "trace this privilege level only"),
        STRING("soft.profile", NULL, "file for samples of where the guest is, in folded form"),
        BOOL("soft.perfmap", "false", "name translated blocks for perf, in /tmp/perf-PID.map when the VM ends"),
        STRING("soft.cover", NULL, "file for the kernel's blocks that were executed, in drcov's form"),
        SIZE("soft.cache_size", "64M", 1 * MIB, 1024 * MIB, "room for translated code"),
        UINT("soft.check", "0", 0, 65535, "how often each translated block is run twice, the plain way too, and compared; the VM ends if they differ"),
        STRING("soft.disable", NULL, "optimisations of the translator to switch off: link, share, inline, large, move, fixed, mirror, tlb, target"),

        /* lpc, by -l */
        STRING("lpc.com1.path", NULL, "first serial port: stdio, a terminal device, a null modem (nmdmXA or B), tcp=[address:]port, or unix=path"),
        STRING("lpc.com2.path", NULL, "second serial port"),
        STRING("lpc.com3.path", NULL, "third serial port"),
        STRING("lpc.com4.path", NULL, "fourth serial port"),
        REFUSED("lpc.bootrom", "boot ROMs are not supported; boot with bhyveload or boot.kernel"),
        REFUSED("lpc.bootvars", "boot ROMs are not supported; boot with bhyveload or boot.kernel"),
        CHOICE("lpc.fwcfg", "none", "none|qemu", "firmware configuration ports, with the keys that test kernels read"),
        BOOL("lpc.pc-testdev", "false", "device for processor tests: latches, interrupt lines, memory, exit port 0xf4"),
        REFUSED("lpc.tpm.type", "no TPM is emulated"),
        REFUSED("lpc.tpm.path", "no TPM is emulated"),
        REFUSED("lpc.tpm.version", "no TPM is emulated"),

        /* PCI functions, by -s */
        { .name = "pci.#.#.#.device", .type = CONFIG_DEVICE, .help = "emulation in this bus, slot and function" },
        DEV(BLOCK, CONFIG_STRING, "path", NULL, "image file or block device"),
        DEV(BLOCK, CONFIG_BOOL, "nocache", "false", "bypass the host's cache (O_DIRECT)"),
        DEV(BLOCK, CONFIG_BOOL, "direct", "false", "every write reaches the medium before it completes (O_SYNC)"),
        DEV(BLOCK, CONFIG_BOOL, "sync", "false", "the same as direct"),
        DEV(BLOCK, CONFIG_BOOL, "ro", "false", "read only"),
        DEV(BLOCK, CONFIG_BOOL, "nodelete", "false", "do not offer discard"),
        DEV(BLOCK, CONFIG_STRING, "sectorsize", NULL, "logical[/physical] sector size in bytes"),
        DEV(BLOCK, CONFIG_STRING, "ser", NULL, "serial number"),
        { .name = "pci.#.#.#.engine", .type = CONFIG_CHOICE, .choices = "uring|threads", .devices = BLOCK,
            .help = "host I/O" },
        DEV_UINT(BLOCK, "bootindex", NULL, 0, 65535, "order in which a boot ROM tries devices"),
        { .name = "pci.#.#.#.port.#.type", .type = CONFIG_CHOICE, .choices = "hd|cd", .devices = AHCI,
            .help = "disk or CD drive" },
        DEV(AHCI, CONFIG_STRING, "port.#.path", NULL, "image file or block device; a CD drive may be empty"),
        DEV(AHCI, CONFIG_BOOL, "port.#.nocache", "false", "bypass the host's cache (O_DIRECT)"),
        DEV(AHCI, CONFIG_BOOL, "port.#.direct", "false", "every write reaches the medium before it completes (O_SYNC)"),
        DEV(AHCI, CONFIG_BOOL, "port.#.sync", "false", "the same as direct"),
        DEV(AHCI, CONFIG_BOOL, "port.#.ro", "false", "read only"),
        DEV(AHCI, CONFIG_BOOL, "port.#.nodelete", "false", "do not offer discard"),
        DEV(AHCI, CONFIG_STRING, "port.#.sectorsize", NULL, "logical[/physical] sector size in bytes"),
        { .name = "pci.#.#.#.port.#.engine", .type = CONFIG_CHOICE, .choices = "uring|threads", .devices = AHCI,
            .help = "host I/O" },
        DEV(AHCI, CONFIG_STRING, "port.#.ser", NULL, "serial number"),
        DEV(AHCI, CONFIG_STRING, "port.#.rev", NULL, "firmware revision (001)"),
        DEV(AHCI, CONFIG_STRING, "port.#.model", NULL, "model"),
        DEV_UINT(AHCI, "port.#.nmrr", NULL, 0, 65534, "rotation rate; 1: does not rotate"),
        DEV_UINT(AHCI, "port.#.bootindex", NULL, 0, 65535, "order in which a boot ROM tries devices"),
        DEV("nvme", CONFIG_STRING, "ram", NULL, "size of a disk in memory, MiB"),
        DEV_UINT("nvme", "maxq", "16", 1, 64, "queues"),
        DEV_UINT("nvme", "qsz", "2058", 2, 65536, "entries in each queue"),
        DEV_UINT("nvme", "ioslots", "8", 1, 256, "requests in flight"),
        DEV_UINT("nvme", "sectsz", NULL, 512, 8192, "sector size"),
        DEV("nvme", CONFIG_STRING, "eui64", NULL, "EUI-64 identifier"),
        DEV("nvme", CONFIG_STRING, "dsm", "auto", "data set management"),
        DEV(NET, CONFIG_STRING, "backend", NULL, "tapN, or slirp"),
        DEV(NET, CONFIG_STRING, "type", NULL, "type of the back end"),
        DEV(NET, CONFIG_STRING, "path", NULL, "path of the back end"),
        DEV(NET, CONFIG_STRING, "mac", NULL, "Ethernet address"),
        DEV_UINT("virtio-net", "mtu", "1500", 68, 65535, "largest packet"),
        DEV_UINT("virtio-net", "queues", "1", 1, 16, "pairs of queues; more than one needs a tap with several"),
        DEV(NET, CONFIG_STRING, "hostfwd", NULL, "slirp: forwarded ports, proto:addr:port-addr:port, separated by ;"),
        DEV(NET, CONFIG_BOOL, "open", "true", "slirp: the guest reaches the outside"),
        DEV(NET, CONFIG_STRING, "bridge", NULL, "bridge to attach to"),
        DEV(NET, CONFIG_STRING, "socket", NULL, "socket of the back end"),
        DEV(NET, CONFIG_STRING, "peerhook", NULL, "netgraph"),
        DEV(NET, CONFIG_STRING, "hook", NULL, "netgraph"),
        DEV("uart", CONFIG_STRING, "path", NULL, "stdio, a terminal device, a null modem (nmdmXA or B), tcp=[address:]port, or unix=path"),
        DEV("virtio-console", CONFIG_STRING, "port.#.name", NULL, "name of the port"),
        DEV("virtio-console", CONFIG_STRING, "port.#.path", NULL, "Unix socket of the port"),
        DEV("virtio-9p", CONFIG_STRING, "sharename", NULL, "name of the share"),
        DEV("virtio-9p", CONFIG_STRING, "path", NULL, "directory on the host"),
        DEV("virtio-9p", CONFIG_BOOL, "ro", "false", "read only"),
        DEV(IDS, CONFIG_STRING, "pcireg.vendor", NULL, "PCI vendor id"),
        DEV(IDS, CONFIG_STRING, "pcireg.device", NULL, "PCI device id"),
        DEV("lpc", CONFIG_STRING, "pcireg.revid", NULL, "PCI revision"),
        DEV("lpc", CONFIG_STRING, "pcireg.subvendor", NULL, "PCI subsystem vendor id"),
        DEV("lpc", CONFIG_STRING, "pcireg.subdevice", NULL, "PCI subsystem id"),
};

const size_t config_key_count = ARRAY_LEN(config_keys);

const struct config_device config_devices[] = {
        { "hostbridge", NULL, CONFIG_STYLE_PLAIN, "PCI host bridge", NULL },
        { "amd_hostbridge", NULL, CONFIG_STYLE_PLAIN, "PCI host bridge with AMD's vendor id", NULL },
        { "lpc", NULL, CONFIG_STYLE_PLAIN, "PCI-ISA bridge; carries the -l devices", NULL },
        { "virtio-blk", "path", CONFIG_STYLE_PLAIN, "block device: file or device[,options]", NULL },
        { "virtio-rnd", NULL, CONFIG_STYLE_PLAIN, "source of random numbers", NULL },
        { "virtio-net", "backend", CONFIG_STYLE_PLAIN, "network interface: tapN or slirp[,options]", NULL },
        { "uart", "path", CONFIG_STYLE_UART, "PCI serial port: stdio, a terminal device, tcp=address:port", NULL },
        { "virtio-console", NULL, CONFIG_STYLE_PORTS, "console ports: name=/socket,...", NULL },
        { "virtio-9p", NULL, CONFIG_STYLE_SHARE, "host directory: name=/path[,ro]", "not implemented yet" },
        { "ahci", NULL, CONFIG_STYLE_AHCI, "AHCI controller: hd:file[,options],cd:file[,options],...", NULL },
        { "ahci-hd", "path", CONFIG_STYLE_AHCI, "AHCI disk: file or device[,options]", NULL },
        { "ahci-cd", "path", CONFIG_STYLE_AHCI, "AHCI CD drive: ISO image or device[,options]", NULL },
        { "nvme", "path", CONFIG_STYLE_PLAIN, "NVMe disk", "not implemented yet; use virtio-blk" },
        { "e1000", "backend", CONFIG_STYLE_PLAIN, "Intel 82545EM network interface: tapN or slirp[,options]", NULL },
        { "virtio-scsi", NULL, CONFIG_STYLE_PLAIN, "SCSI", "its back end, FreeBSD's CTL, does not exist on Linux; use virtio-blk" },
        { "virtio-input", NULL, CONFIG_STYLE_PLAIN, "input device", "not implemented: there is no frame buffer yet" },
        { "fbuf", NULL, CONFIG_STYLE_PLAIN, "frame buffer", "not implemented; use a serial console" },
        { "xhci", NULL, CONFIG_STYLE_XHCI, "USB controller", "not implemented: there is no frame buffer for its tablet" },
        { "hda", NULL, CONFIG_STYLE_PLAIN, "sound", "its back end, OSS devices, does not exist on Linux" },
        { "passthru", NULL, CONFIG_STYLE_PLAIN, "host PCI device", NEEDS_PASSTHROUGH },
};

const size_t config_device_count = ARRAY_LEN(config_devices);

const struct config_device *
config_find_device(const char *name)
{
        for (size_t i = 0; i < config_device_count; i++) {
                if (strcmp(config_devices[i].name, name) == 0)
                        return &config_devices[i];
        }
        return NULL;
}

bool
config_name_fits(const char *pattern, const char *name)
{
        while (*pattern != '\0') {
                if (*pattern == '#' || *pattern == '*') {
                        const char *start = name;

                        while (*name != '\0' && *name != '.' &&
                            (*pattern == '*' || isdigit((unsigned char)*name)))
                                name++;
                        if (name == start)
                                return false;
                        pattern++;
                } else if (*pattern++ != *name++) {
                        return false;
                }
        }
        return *name == '\0';
}

static bool
word_in_list(const char *list, const char *word)
{
        size_t len = strlen(word);

        for (const char *p = list; (p = strstr(p, word)) != NULL; p += len) {
                if ((p == list || p[-1] == ' ') && (p[len] == ' ' || p[len] == '\0'))
                        return true;
        }
        return false;
}

const struct config_key *
config_find_key(const char *name, const char *device)
{
        for (size_t i = 0; i < config_key_count; i++) {
                const struct config_key *key = &config_keys[i];

                if (key->devices != NULL && device != NULL && !word_in_list(key->devices, device))
                        continue;
                if (config_name_fits(key->name, name))
                        return key;
        }
        return NULL;
}

/* @pattern with its wild cards replaced by the same components of @name, where it has them. */
static void
fill_pattern(const char *pattern, const char *name, char *buf, size_t size)
{
        size_t n = 0;

        while (*pattern != '\0' && n + 1 < size) {
                size_t p_len = strcspn(pattern, "."), n_len = strcspn(name, ".");

                if ((*pattern == '#' && isdigit((unsigned char)*name)) || (*pattern == '*' && n_len != 0))
                        n += (size_t)snprintf(buf + n, size - n, "%.*s", (int)n_len, name);
                else
                        n += (size_t)snprintf(buf + n, size - n, "%.*s", (int)p_len, pattern);
                pattern += p_len;
                name += n_len;
                if (*pattern == '.' && n + 1 < size) {
                        buf[n++] = '.';
                        pattern++;
                }
                if (*name == '.')
                        name++;
        }
        buf[n < size ? n : size - 1] = '\0';
}

const char *
config_nearest_key(const char *name, char *buf, size_t size)
{
        unsigned best = (unsigned)strlen(name) / 2 + 1;
        char text[128];

        buf[0] = '\0';
        for (size_t i = 0; i < config_key_count; i++) {
                unsigned distance;

                if (config_keys[i].refused != NULL)
                        continue;
                fill_pattern(config_keys[i].name, name, text, sizeof(text));
                distance = parse_distance(name, text);
                if (distance < best) {
                        best = distance;
                        snprintf(buf, size, "%s", text);
                }
        }
        return buf[0] == '\0' ? NULL : buf;
}

const char *
config_nearest_device(const char *name)
{
        unsigned best = (unsigned)strlen(name) / 2 + 1;
        const char *nearest = NULL;

        for (size_t i = 0; i < config_device_count; i++) {
                unsigned distance = parse_distance(name, config_devices[i].name);

                if (distance < best && config_devices[i].refused == NULL) {
                        best = distance;
                        nearest = config_devices[i].name;
                }
        }
        return nearest;
}
