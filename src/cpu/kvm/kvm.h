/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The KVM engine's own structures.  The interrupt controllers are the
 * machine's: no irqchip is created in the kernel, vectors go in by
 * KVM_INTERRUPT, and HLT comes out.  Source: Linux, Documentation/virt/kvm/api.rst.
 */
#ifndef CPU_KVM_KVM_H
#define CPU_KVM_KVM_H

#include "cpu/cpu.h"
#include "mem/mem.h"

#include <linux/kvm.h>
#include <pthread.h>
#include <stdatomic.h>

struct cpu_engine {
        int kvm;
        int vm;
        size_t run_bytes;
        struct guest_mem *mem;
        struct cpu_config config;
        struct cpu_env env;
        struct kvm_cpuid2 *cpuid;
        unsigned slot_count;
        int slot_error;
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
        uint8_t mp_state;       /* enum x86_mp_state: the kernel does not know of INIT and SIPI */
        bool incomplete;        /* the last exit's I/O is finished by the next KVM_RUN */
        gva_t watched[4];    /* what the debug registers hold for the debugger */
        uint8_t watch_slots; /* bit n: register n watches data */
        bool stepping;
        uint64_t exits, io_exits, mmio_exits;
        char error[160];
};

/* state.c */
void kvm_state_get(struct cpu *cpu, struct x86_state *ret_state);
int kvm_state_set(struct cpu *cpu, const struct x86_state *state);

#endif
