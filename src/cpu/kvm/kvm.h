/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The KVM engine's own structures.  Source: Linux, Documentation/virt/kvm/api.rst.
 *
 * Interrupts come in one of two ways.  Split: local APICs in the kernel, which handles INIT,
 * SIPI, HLT and timers; the machine's I/O APIC sends messages, its PICs' vectors go in by
 * KVM_INTERRUPT.  User: no irqchip in the kernel; every vector goes in by KVM_INTERRUPT, HLT
 * comes out, INIT and SIPI are done on the state here.
 */
#ifndef CPU_KVM_KVM_H
#define CPU_KVM_KVM_H

#include "base/log.h"
#include "config/config.h"
#include "cpu/cpu.h"
#include "mem/mem.h"

#include <linux/kvm.h>
#include <pthread.h>
#include <stdatomic.h>

#define KVM_IOAPIC_PINS  24u
#define KVM_MESSAGES_MAX 232u /* senders with an irqfd: their GSIs follow the pins' */
#define KVM_ROUTES_MAX   (KVM_IOAPIC_PINS + KVM_MESSAGES_MAX)

/* struct kvm_irq_routing with room. */
struct kvm_route_table {
        struct kvm_irq_routing head;
        struct kvm_irq_routing_entry entry[KVM_ROUTES_MAX];
};
_Static_assert(offsetof(struct kvm_route_table, entry) == sizeof(struct kvm_irq_routing), "as the kernel reads it");

#define KVM_MSRS_MAX 48u

/* struct kvm_msrs with room. */
struct kvm_msr_block {
        struct kvm_msrs head;
        struct kvm_msr_entry entry[KVM_MSRS_MAX];
};
_Static_assert(offsetof(struct kvm_msr_block, entry) == sizeof(struct kvm_msrs), "as the kernel reads it");

struct cpu_engine {
        int kvm;
        int vm;
        size_t run_bytes;
        struct guest_mem *mem;
        struct cpu_config config;
        struct cpu_env env;
        struct kvm_cpuid2 *cpuid;
        uint32_t pkru_offset; /* in KVM's XSAVE area; 0: there is none */
        bool split;    /* the local APICs are in the kernel */
        bool wide_ids; /* KVM_GET_LAPIC and KVM_SET_LAPIC know 32-bit x2APIC ids */
        struct kvm_route_table routes; /* what the level-triggered pins of the I/O APIC and the irqfds send */
        bool routes_stale;             /* KVM has not taken the last change of them */
        struct log_limit routes_limit;
        int message_fd[KVM_MESSAGES_MAX]; /* eventfds that are irqfds; -1: not yet */
        uint32_t msr_index[KVM_MSRS_MAX]; /* MSRs of struct x86_state that this host has */
        uint16_t msr_offset[KVM_MSRS_MAX];
        unsigned msr_count;
        struct kvm_userspace_memory_region slot[MEM_AREAS_MAX];
        unsigned slot_count;
};

/* debug.c's. */
struct kvm_cpu_debug {
        struct cpu_breakpoint point[4]; /* as in the debug registers */
        unsigned point_count;
        bool step, holds_irqs;
        bool stopped; /* and has not run since: at stop_rip, which is stop_pc as a linear address */
        bool passing; /* steps over the breakpoint at stop_pc */
        uint64_t stop_rip;
        gva_t stop_pc;
};

struct cpu {
        struct cpu_engine *engine;
        unsigned id;
        int fd;
        struct kvm_run *run;
        atomic_uint events;     /* CPU_EVENT_* */
        atomic_uint sipi_vector;
        atomic_bool running;    /* `thread` is in or about to enter KVM_RUN */
        pthread_t thread;
        uint8_t mp_state;       /* enum x86_mp_state; the kernel's own where the irqchip is split */
        bool incomplete;        /* the last exit's I/O is finished by the next KVM_RUN */
        int vector;             /* acknowledged, but not yet taken by KVM_INTERRUPT; -1: none */
        struct x86_state *policy; /* what x86/msr.c remembers of the MSRs that it answers */
        struct kvm_cpu_debug debug;
        uint64_t exits, io_exits, mmio_exits, eoi_exits;
        char error[256];
};

/* host.c */
const char *kvm_option(const struct cpu_config *config, const char *key);
const char *kvm_device(const struct cpu_config *config);
/* The device, checked for what is needed.  -errno, with what the user can do in @why. */
int kvm_open(const struct cpu_config *config, int *ret_fd, struct config_error *why);
/* What KVM_CHECK_EXTENSION says of the VM, or of KVM before there is one; 0: it lacks it. */
int kvm_has(const struct cpu_engine *engine, int capability);
/* -E2BIG, with @err, if there are more vCPUs or slots than this KVM allows. */
int kvm_check_limits(const struct cpu_engine *engine, struct config_error *err);
/* Makes engine->cpuid: the machine's model, without what KVM does not support. */
int kvm_read_cpuid(struct cpu_engine *engine, struct config_error *err);
/*
 * Takes from @e what @supported lacks.  Of x2APIC and the TSC deadline @apic_features decides
 * (bits of leaf 1, ECX): whether KVM does them depends on where the local APICs are.
 */
void kvm_cut_cpuid(struct kvm_cpuid_entry2 *e, const struct kvm_cpuid2 *supported, uint32_t apic_features);
/* KVM_ENABLE_CAP on the VM; -errno, and errno. */
int kvm_enable(const struct cpu_engine *engine, uint32_t capability, uint64_t argument);
/* Makes leaf 0xd of @cpuid say where the processor puts the components of the XSAVE area. */
void kvm_place_xsave(struct kvm_cpuid2 *cpuid, const struct kvm_cpuid2 *supported);
/* -errno, with "@call: reason" in @err. */
int kvm_failed(struct config_error *err, const char *call);

/* apic.c */
/* Before any vCPU: puts the local APICs into the kernel, if kvm.irqchip and KVM allow it. */
int kvm_apic_create(struct cpu_engine *engine, struct config_error *err);
void kvm_apic_destroy(struct cpu_engine *engine);
const struct cpu_apic_ops *kvm_apics(const struct cpu_engine *engine);
/* @gsi (below KVM_ROUTES_MAX) sends this; false if the table said so already. */
bool kvm_route_set(struct kvm_route_table *table, unsigned gsi, uint64_t address, uint32_t data);
void kvm_apic_pack(const struct x86_apic *apic, bool wide_ids, struct kvm_lapic_state *ret_regs);
void kvm_apic_unpack(const struct kvm_lapic_state *regs, uint64_t base, bool wide_ids, struct x86_apic *ret_apic);

/* memory.c; the last three are struct cpu_engine_ops's. */
void kvm_slots_list(struct cpu_engine *engine);
int kvm_slots_create(struct cpu_engine *engine, struct config_error *err);
int kvm_set_doorbell(struct cpu_engine *engine, const struct cpu_doorbell *bell, bool on);
int kvm_log_dirty(struct cpu_engine *engine, bool on);
int kvm_take_dirty(struct cpu_engine *engine, mem_written_fn *fn, void *ctx);

/* debug.c */
int kvm_set_debug(struct cpu *cpu, const struct cpu_debug *wanted);
/* Before the guest goes on. */
void kvm_debug_resume(struct cpu *cpu);
/* As kvm_handle_exit. */
bool kvm_debug_exit(struct cpu *cpu, struct cpu_exit *exit);

/* exit.c */
/* True if the machine must decide: *exit is filled in. */
bool kvm_handle_exit(struct cpu *cpu, struct cpu_exit *exit);
/* True; fills *exit in. */
bool kvm_run_failed(struct cpu *cpu, int error, struct cpu_exit *exit);

/* state.c */
void kvm_state_get(struct cpu *cpu, struct x86_state *ret_state);
int kvm_state_set(struct cpu *cpu, const struct x86_state *state);

/* Between KVM's XSAVE area, which has PKRU at @pkru_offset (0: nowhere), and that of struct x86_state. */
void kvm_xsave_unpack(const uint8_t *area, uint32_t pkru_offset, uint8_t *ret_xsave);
void kvm_xsave_pack(const uint8_t *xsave, uint32_t pkru_offset, uint8_t *ret_area);

/* msr.c */
/* Before any vCPU: unknown MSRs, and constant ones, come out to the shared policy. */
int kvm_msr_create(struct cpu_engine *engine, struct config_error *err);
void kvm_msr_exit(struct cpu *cpu);
/* With the first vCPU: which of the state's MSRs there are. */
void kvm_msr_list(struct cpu *cpu);
void kvm_msrs_get(struct cpu *cpu, struct x86_state *st);
/* -EINVAL if KVM refuses a value. */
int kvm_msrs_set(struct cpu *cpu, const struct x86_state *st);
/* @request is KVM_GET_MSRS or KVM_SET_MSRS; -EIO if the host does not know the MSR, or its value. */
int kvm_msr(struct cpu *cpu, unsigned long request, uint32_t msr, uint64_t *value);

#endif
