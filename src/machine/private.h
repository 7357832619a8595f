/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What the files of src/machine share.
 *
 * Locks, in their order: device_lock, then park_lock.  No engine calls back
 * into the machine with a lock of its own held.
 */
#ifndef MACHINE_PRIVATE_H
#define MACHINE_PRIVATE_H

#include "base/loop.h"
#include "bus/io.h"
#include "bus/pci.h"
#include "cpu/cpu.h"
#include "debug/stub.h"
#include "instance/control.h"
#include "irq/irqchip.h"
#include "machine/machine.h"
#include "mem/mem.h"

#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>

struct vcpu {
        struct machine *machine;
        unsigned id;
        struct cpu *cpu;
        pthread_t thread;
        bool started;
        atomic_uint wake;  /* futex: non-zero when something happened since run() was entered */
        bool dead_halted;  /* park_lock: halted with interrupts off: only an NMI or INIT helps */
        bool inactive;     /* park_lock: waits for INIT or SIPI */
        bool parked;       /* park_lock */
        bool held;         /* park_lock: by the debugger */
        struct stub_stop stop; /* park_lock: what it was held for */
        uint64_t cpu_ns; /* loop thread: host CPU time its thread had used when last looked at */
        enum machine_end last; /* own thread: how the VM ends once the debugger lets go; 0: it does not */
};

struct machine {
        const struct vm_config *config;
        struct instance *instance;

        pthread_mutex_t device_lock;
        struct loop *loop;
        struct guest_mem *mem;
        struct io_space *ports;
        struct io_space *mmio;
        struct irqchip *irqchip;
        struct pci_bus *pci;
        struct pc *pc;
        struct pc_testdev *testdev; /* NULL: none */
        struct x86_cpu_model *model;
        uint64_t tsc_hz;
        uint64_t tsc_offset;

        const struct cpu_engine_ops *engine_ops;
        struct config_error engine_why; /* why cpu.engine=auto chose it */
        struct cpu_engine *engine;
        const struct cpu_apic_ops *apics; /* the engine's local APICs; NULL: irqchip's are used */
        struct vcpu vcpu[VM_CPUS_MAX];

        struct loop_timer *halt_watch; /* NULL: HLT comes out of the engine */

        struct control *control;
        struct stub *stub; /* NULL: no debugger may come */
        sigset_t signals; /* caught, in the loop's thread */
        int signal_fd;    /* their numbers, a byte each */
        struct loop_fd *signal_watch;
        int end_signal; /* loop thread */

        atomic_int end; /* enum machine_end */
        struct log_limit *io_limit;

        pthread_mutex_t park_lock;
        pthread_cond_t park_cond;
        unsigned park_requests; /* park_lock: vCPUs stay out of the guest while it is not 0 */
};

/* vcpu.c */
int engine_select(struct machine *machine, struct config_error *err);
int engine_create(struct machine *machine, struct config_error *err);
int vcpus_create(struct machine *machine, struct config_error *err);
void vcpus_destroy(struct machine *machine);
int vcpus_start(struct machine *machine);
void vcpus_join(struct machine *machine);
/*
 * The state of a vCPU that does not run, CR8 and, where the engine has it, the local APIC's copy
 * in irqchip brought up to date.
 */
void vcpu_get_state(struct machine *machine, unsigned id, struct x86_state *ret_state);
int vcpu_set_state(struct machine *machine, unsigned id, const struct x86_state *state);
/* Records an event and wakes the vCPU if it sleeps; any thread. */
void vcpu_event(struct machine *machine, unsigned id, unsigned event, unsigned argument);
/*
 * Brings every vCPU out of the guest, so that states can be read and written;
 * loop thread with device_lock held (given up while it waits).
 */
void vcpus_park(struct machine *machine);
void vcpus_unpark(struct machine *machine);

/* debug.c */
int debug_create(struct machine *machine, struct config_error *err);
/* On the vCPU's thread: it waits for the debugger before it enters the guest again.  False: there is none. */
bool debug_hold(struct vcpu *vcpu, const struct stub_stop *stop);

/* env.c */
extern const struct cpu_env_ops machine_env_ops;

/* platform.c */
int platform_create(struct machine *machine, struct config_error *err);
/* After the PCI devices: tables for the guest.  *ret_rsdp: 0 without ACPI. */
int platform_put_tables(struct machine *machine, gpa_t *ret_rsdp, struct config_error *err);
/* Timer and interrupt controllers as a PC's BIOS leaves them. */
void platform_start_tick(struct machine *machine);
void platform_destroy(struct machine *machine);
/* False if the guest has not enabled ACPI. */
bool platform_press_power_button(struct machine *machine);

/* life.c */
int life_start(struct machine *machine, struct config_error *err);
void life_stop(struct machine *machine);

/* requests.c: what bhyvectl asks. */
int machine_request(void *ctx, char *line, FILE *out, struct config_error *err);

#endif
