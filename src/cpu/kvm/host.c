/* SPDX-License-Identifier: BSD-2-Clause */
/* What the host's KVM has: the device, the capabilities, the limits, CPUID. */
#include "base/util.h"
#include "cpu/kvm/kvm.h"
#include "x86/cpuid.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#define CPUID_MAX 128

/* CPUID 1, ECX. */
#define CPUID1_X2APIC       (1u << 21)
#define CPUID1_TSC_DEADLINE (1u << 24)
#define CPUID1_HYPERVISOR   (1u << 31)

#define XSAVE_LEGACY_BYTES 576u /* with the header, SDM 1 13.4 */
#define XSAVE_PKRU         9u   /* component */

/* What this engine cannot do without; all but the last are older than what any distribution has. */
static const struct {
        int number;
        const char *name, *since;
} needed[] = {
        { KVM_CAP_USER_MEMORY, "KVM_CAP_USER_MEMORY", "2.6.26" },
        { KVM_CAP_SET_TSS_ADDR, "KVM_CAP_SET_TSS_ADDR", "2.6.26" },
        { KVM_CAP_VCPU_EVENTS, "KVM_CAP_VCPU_EVENTS", "2.6.33" },
        { KVM_CAP_DEBUGREGS, "KVM_CAP_DEBUGREGS", "2.6.35" },
        { KVM_CAP_XSAVE, "KVM_CAP_XSAVE", "2.6.36" },
        { KVM_CAP_READONLY_MEM, "KVM_CAP_READONLY_MEM", "3.7" },
        { KVM_CAP_IMMEDIATE_EXIT, "KVM_CAP_IMMEDIATE_EXIT", "4.11" },
};

const char *
kvm_option(const struct cpu_config *config, const char *key)
{
        return config->option == NULL ? NULL : config->option(config->option_ctx, key);
}

const char *
kvm_device(const struct cpu_config *config)
{
        const char *path = kvm_option(config, "kvm.device");

        return path == NULL ? "/dev/kvm" : path;
}

int
kvm_has(const struct cpu_engine *engine, int capability)
{
        int n = ioctl(engine->vm >= 0 ? engine->vm : engine->kvm, KVM_CHECK_EXTENSION, (long)capability);

        return n > 0 ? n : 0;
}

static int
open_error(const char *path, int error, struct config_error *why)
{
        switch (error) {
        case ENOENT:
        case ENXIO:
        case ENODEV:
                config_fail(why, "there is no %s; load the module kvm_intel or kvm_amd, or use cpu.engine=soft", path);
                break;
        case EACCES:
        case EPERM:
                config_fail(why, "%s may not be opened; join the group kvm, or use cpu.engine=soft", path);
                break;
        default:
                config_fail(why, "%s cannot be opened (%s); use cpu.engine=soft", path, strerror(error));
                break;
        }
        return -error;
}

static int
check_api(int fd, const char *path, struct config_error *why)
{
        int version = ioctl(fd, KVM_GET_API_VERSION, 0);

        if (version < 0) {
                config_fail(why, "%s is not KVM's device (KVM_GET_API_VERSION: %s)", path, strerror(errno));
                return -ENOTSUP;
        }
        if (version != KVM_API_VERSION) {
                config_fail(why, "%s speaks version %d of KVM's API; version %d came with Linux 2.6.22", path, version,
                    KVM_API_VERSION);
                return -ENOTSUP;
        }
        for (unsigned i = 0; i < ARRAY_LEN(needed); i++) {
                if (ioctl(fd, KVM_CHECK_EXTENSION, (long)needed[i].number) > 0)
                        continue;
                config_fail(why, "KVM lacks %s (Linux %s); use cpu.engine=soft", needed[i].name, needed[i].since);
                return -ENOTSUP;
        }
        return 0;
}

int
kvm_open(const struct cpu_config *config, int *ret_fd, struct config_error *why)
{
        const char *path = kvm_device(config);
        int fd = open(path, O_RDWR | O_CLOEXEC), error;

        if (fd < 0)
                return open_error(path, errno, why);
        error = check_api(fd, path, why);
        if (error != 0)
                close(fd);
        else
                *ret_fd = fd;
        return error;
}

/* Refused here, before there is anything to undo. */
int
kvm_check_limits(const struct cpu_engine *engine, struct config_error *err)
{
        int cpus_max = kvm_has(engine, KVM_CAP_MAX_VCPUS), slots_max = kvm_has(engine, KVM_CAP_NR_MEMSLOTS);

        if (cpus_max == 0) /* api.rst, 4.7: then this is the limit, and without it 4 */
                cpus_max = kvm_has(engine, KVM_CAP_NR_VCPUS);
        if (cpus_max == 0)
                cpus_max = 4;
        if (engine->config.vcpu_count > (unsigned)cpus_max) {
                config_fail(err, "%u virtual CPUs; this KVM allows %d (KVM_CAP_MAX_VCPUS)", engine->config.vcpu_count,
                    cpus_max);
                return -E2BIG;
        }
        if (slots_max == 0)
                slots_max = 32;
        if (engine->slot_count > (unsigned)slots_max) {
                config_fail(err, "guest memory is in %u pieces; this KVM allows %d (KVM_CAP_NR_MEMSLOTS)",
                    engine->slot_count, slots_max);
                return -E2BIG;
        }
        return 0;
}

#define FEATURE_EAX 1u
#define FEATURE_EBX 2u
#define FEATURE_ECX 4u
#define FEATURE_EDX 8u

/* Registers of CPUID that hold feature bits: what KVM lacks is taken out of them. */
static const struct {
        uint32_t leaf, subleaf;
        unsigned registers;
} feature_leaves[] = {
        { 1, 0, FEATURE_ECX | FEATURE_EDX },
        { 7, 0, FEATURE_EBX | FEATURE_ECX | FEATURE_EDX },
        { 7, 1, FEATURE_EAX },
        { 0xd, 0, FEATURE_EAX | FEATURE_EDX },
        { 0xd, 1, FEATURE_EAX },
        { 0x80000001u, 0, FEATURE_ECX | FEATURE_EDX },
        { 0x80000007u, 0, FEATURE_EDX },
};

static const struct kvm_cpuid_entry2 *
find_leaf(const struct kvm_cpuid2 *cpuid, uint32_t leaf, uint32_t subleaf)
{
        for (unsigned i = 0; i < cpuid->nent; i++) {
                const struct kvm_cpuid_entry2 *e = &cpuid->entries[i];

                if (e->function == leaf &&
                    (e->index == subleaf || !(e->flags & KVM_CPUID_FLAG_SIGNIFCANT_INDEX)))
                        return e;
        }
        return NULL;
}

void
kvm_cut_cpuid(struct kvm_cpuid_entry2 *e, const struct kvm_cpuid2 *supported, uint32_t apic_features)
{
        static const struct kvm_cpuid_entry2 none = { 0 };
        const struct kvm_cpuid_entry2 *has = find_leaf(supported, e->function, e->index);
        unsigned registers = 0;
        uint32_t ecx;

        if (has == NULL)
                has = &none;
        ecx = has->ecx;
        for (unsigned i = 0; i < ARRAY_LEN(feature_leaves); i++) {
                if (feature_leaves[i].leaf == e->function && feature_leaves[i].subleaf == e->index)
                        registers = feature_leaves[i].registers;
        }
        if (e->function == 1)
                ecx = (ecx & ~(CPUID1_X2APIC | CPUID1_TSC_DEADLINE)) | CPUID1_HYPERVISOR | apic_features;
        e->eax &= (registers & FEATURE_EAX) ? has->eax : ~0u;
        e->ebx &= (registers & FEATURE_EBX) ? has->ebx : ~0u;
        e->ecx &= (registers & FEATURE_ECX) ? ecx : ~0u;
        e->edx &= (registers & FEATURE_EDX) ? has->edx : ~0u;
}

/*
 * Where a component lies in the XSAVE area is the processor's to say, which executes XSAVE itself:
 * leaf 0xd from 2 on.  In subleaf 0, ECX is what all components of the model (EAX) take; EBX is KVM's.
 */
void
kvm_place_xsave(struct kvm_cpuid2 *cpuid, const struct kvm_cpuid2 *supported)
{
        uint32_t end = XSAVE_LEGACY_BYTES;

        for (unsigned i = 0; i < cpuid->nent; i++) {
                struct kvm_cpuid_entry2 *e = &cpuid->entries[i];
                const struct kvm_cpuid_entry2 *has = find_leaf(supported, e->function, e->index);

                if (e->function != 0xd || e->index < 2 || has == NULL)
                        continue;
                e->eax = has->eax;
                e->ebx = has->ebx;
                if (e->eax + e->ebx > end)
                        end = e->eax + e->ebx;
        }
        for (unsigned i = 0; i < cpuid->nent; i++) {
                if (cpuid->entries[i].function == 0xd && cpuid->entries[i].index == 0)
                        cpuid->entries[i].ecx = end;
        }
}

static struct kvm_cpuid2 *
alloc_cpuid(void)
{
        struct kvm_cpuid2 *cpuid = calloc(1, sizeof(*cpuid) + CPUID_MAX * sizeof(cpuid->entries[0]));

        if (cpuid != NULL)
                cpuid->nent = CPUID_MAX;
        return cpuid;
}

static void
fill_cpuid(struct cpu_engine *engine, const struct kvm_cpuid2 *supported)
{
        uint32_t apic_features = 0;
        unsigned count;
        const struct kvm_cpuid_entry2 *pkru;
        const struct x86_cpuid_leaf *leaf = x86_model_leaves(engine->config.model, &count);

        /* KVM passes neither on to a local APIC in user space. */
        if (engine->split)
                apic_features = CPUID1_X2APIC | (kvm_has(engine, KVM_CAP_TSC_DEADLINE_TIMER) ? CPUID1_TSC_DEADLINE : 0);
        engine->cpuid->nent = count < CPUID_MAX ? count : CPUID_MAX;
        for (unsigned i = 0; i < engine->cpuid->nent; i++) {
                struct kvm_cpuid_entry2 *e = &engine->cpuid->entries[i];

                *e = (struct kvm_cpuid_entry2){ .function = leaf[i].leaf,
                        .index = leaf[i].subleaf,
                        .flags = leaf[i].indexed ? KVM_CPUID_FLAG_SIGNIFCANT_INDEX : 0,
                        .eax = leaf[i].value.eax,
                        .ebx = leaf[i].value.ebx,
                        .ecx = leaf[i].value.ecx,
                        .edx = leaf[i].value.edx };
                kvm_cut_cpuid(e, supported, apic_features);
        }
        kvm_place_xsave(engine->cpuid, supported);
        pkru = find_leaf(supported, 0xd, XSAVE_PKRU);
        engine->pkru_offset = pkru != NULL && pkru->index == XSAVE_PKRU ? pkru->ebx : 0;
}

int
kvm_read_cpuid(struct cpu_engine *engine, struct config_error *err)
{
        struct kvm_cpuid2 *supported = alloc_cpuid();
        int error = 0;

        engine->cpuid = alloc_cpuid();
        if (supported == NULL || engine->cpuid == NULL)
                error = -ENOMEM;
        else if (ioctl(engine->kvm, KVM_GET_SUPPORTED_CPUID, supported) != 0)
                error = kvm_failed(err, "KVM_GET_SUPPORTED_CPUID");
        else
                fill_cpuid(engine, supported);
        free(supported);
        return error;
}

int
kvm_enable(const struct cpu_engine *engine, uint32_t capability, uint64_t argument)
{
        struct kvm_enable_cap cap = { .cap = capability, .args = { argument } };

        return ioctl(engine->vm, KVM_ENABLE_CAP, &cap) != 0 ? -errno : 0;
}

int
kvm_failed(struct config_error *err, const char *call)
{
        int error = errno;

        config_fail(err, "%s: %s", call, strerror(error));
        return -error;
}
