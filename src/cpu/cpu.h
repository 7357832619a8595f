/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The one interface to a CPU engine: KVM or the project's own translator.
 *
 * A machine holds one `struct cpu_engine` and one `struct cpu` for each virtual
 * CPU.  Each vCPU has a thread that calls cpu_run() in a loop.  Port and MMIO
 * accesses reach the machine through `struct cpu_env` on that thread, in the
 * middle of the guest's instruction; cpu_run() returns only for what the
 * machine itself must decide.
 */
#ifndef CPU_CPU_H
#define CPU_CPU_H

#include "mem/mem.h"
#include "x86/state.h"

struct config_error;
struct cpu;
struct cpu_engine;
struct x86_cpu_model;

enum cpu_exit_reason {
        CPU_EXIT_KICK,     /* cpu_kick() was called with nothing to deliver: look at the machine's state */
        CPU_EXIT_HLT,      /* HLT: sleep until an event (see cpu_event_pending) */
        CPU_EXIT_WAIT,     /* mp_state is not running: wait for INIT and SIPI */
        CPU_EXIT_PAUSE,    /* PAUSE, where asked for */
        CPU_EXIT_SHUTDOWN, /* triple fault */
        CPU_EXIT_DEBUG,    /* a debug condition of the host's debugger, see `debug` */
        CPU_EXIT_ERROR,    /* the engine cannot go on: `error` says why */
        CPU_EXIT_COUNT,
};

enum cpu_debug_cause {
        CPU_DEBUG_STEP,
        CPU_DEBUG_BREAK, /* a breakpoint, before the instruction at address */
        CPU_DEBUG_WATCH, /* a watchpoint, after the access to address */
};

struct cpu_exit {
        enum cpu_exit_reason reason;
        union {
                struct {
                        enum cpu_debug_cause cause;
                        gva_t address;
                } debug;
                const char *error;
        };
};

/*
 * What the machine gives an engine.  All run on the vCPU's own thread, with no
 * engine lock held.  @size is 1, 2, 4 (ports) or 1 to 8 bytes.
 */
struct cpu_env_ops {
        uint32_t (*port_in)(void *ctx, unsigned vcpu, uint16_t port, unsigned size);
        void (*port_out)(void *ctx, unsigned vcpu, uint16_t port, unsigned size, uint32_t value);
        uint64_t (*mmio_read)(void *ctx, unsigned vcpu, gpa_t gpa, unsigned size);
        void (*mmio_write)(void *ctx, unsigned vcpu, gpa_t gpa, unsigned size, uint64_t value);
        /*
         * The vector to deliver now, taken from the local APIC or (ExtINT) the
         * PIC and acknowledged there; -1 if there is none.  Called with RFLAGS.IF set.
         * From the PIC alone where the engine has local APICs of its own (struct cpu_apic_ops).
         */
        int (*intr_ack)(void *ctx, unsigned vcpu);
        /* Whether intr_ack would return a vector; does not change anything. */
        bool (*intr_pending)(void *ctx, unsigned vcpu);
        /* CR8, the task priority of the local APIC: 0 to 15. */
        uint8_t (*tpr_read)(void *ctx, unsigned vcpu);
        void (*tpr_write)(void *ctx, unsigned vcpu, uint8_t tpr);
        /*
         * MSRs of the machine, not of the processor core: APIC base, x2APIC
         * (0x800-0x8ff), TSC deadline.  0, or -1 for #GP.
         */
        int (*msr_read)(void *ctx, unsigned vcpu, uint32_t msr, uint64_t *ret_value);
        int (*msr_write)(void *ctx, unsigned vcpu, uint32_t msr, uint64_t value);
        /* A local APIC of the engine's own finished a level-triggered vector. */
        void (*eoi)(void *ctx, unsigned vcpu, uint8_t vector);
        /* The guest moved its TSC, which its local APIC's deadline is told in.  May be NULL. */
        void (*tsc_moved)(void *ctx, unsigned vcpu, uint64_t tsc_offset);
};

struct cpu_env {
        const struct cpu_env_ops *ops;
        void *ctx;
};

/* Bits of cpu_event(). */
#define CPU_EVENT_INTR 0x01u /* intr_pending may have changed */
#define CPU_EVENT_NMI  0x02u
#define CPU_EVENT_INIT 0x04u
#define CPU_EVENT_SIPI 0x08u /* vector in the event's argument */
#define CPU_EVENT_KICK 0x10u /* leave cpu_run() */
#define CPU_EVENT_SMI  0x20u

/* Debugger control, see cpu_set_debug(). */
struct cpu_breakpoint {
        gva_t address;
        uint32_t length; /* bytes; 1 for execution */
        enum { CPU_BP_EXEC, CPU_BP_WRITE, CPU_BP_READ, CPU_BP_ACCESS } kind;
};

struct cpu_debug {
        bool single_step;         /* leave after one instruction */
        bool step_holds_irqs;     /* do not deliver interrupts while stepping */
        /*
         * Give every vCPU the same CPU_BP_EXEC ones, while none of them runs.  A breakpoint that
         * was reported (or where a step ended) is passed when the vCPU runs again from there.
         */
        const struct cpu_breakpoint *breakpoints;
        size_t breakpoint_count;
};

struct cpu_config {
        const struct x86_cpu_model *model; /* CPUID and MSR policy, shared by all vCPUs */
        unsigned vcpu_count;
        bool exit_on_pause;
        bool ignore_unknown_msrs; /* bhyve -w */
        const char *(*option)(void *ctx, const char *key); /* soft.* and kvm.* keys; NULL when unset */
        void *option_ctx;
};

/*
 * Local APICs that an engine has itself, in place of the machine's (src/irq/lapic.c): KVM's,
 * in the kernel.  The I/O APIC and the PICs are the machine's in any case.  INIT, SIPI and HLT
 * are then the engine's business: CPU_EXIT_WAIT and CPU_EXIT_HLT do not come.
 */
struct cpu_apic_ops {
        /* An interrupt message, as a device or the I/O APIC writes it (SDM 3A 11.11).  Any thread. */
        void (*message)(struct cpu_engine *engine, uint64_t address, uint32_t data);
        /*
         * Optional: an eventfd, the engine's and always the same for one sender @number (from 0), of which a write
         * sends this message until the next call for that sender.  -errno if it cannot be had.  Any thread,
         * one at a time.
         */
        int (*message_fd)(struct cpu_engine *engine, unsigned number, uint64_t address, uint32_t data);
        /*
         * The message of the I/O APIC's @pin, level-triggered: the end of its interrupt must be
         * told (eoi of struct cpu_env_ops).  Any thread, one at a time.
         */
        void (*watch_eoi)(struct cpu_engine *engine, unsigned pin, uint64_t address, uint32_t data);
        /* As get_state and set_state. */
        void (*get)(struct cpu *cpu, struct x86_apic *ret_apic);
        int (*set)(struct cpu *cpu, const struct x86_apic *apic);
};

/* A register of which a write of @size bytes (of @value, if @match) is a notification and nothing else. */
struct cpu_doorbell {
        bool port; /* else MMIO */
        uint8_t size;
        bool match;
        uint32_t value;
        gpa_t address;
        int fd; /* eventfd */
};

struct cpu_engine_ops {
        const char *name;
        /*
         * 0 if this host can run the engine, else -errno and the reason in @why.
         * Of @config only the options are looked at.
         */
        int (*probe)(const struct cpu_config *config, struct config_error *why);
        /* -errno, with what failed in @err where strerror alone would not help. */
        int (*create)(const struct cpu_config *config, struct guest_mem *mem, const struct cpu_env *env,
            struct cpu_engine **ret_engine, struct config_error *err);
        void (*destroy)(struct cpu_engine *engine);
        /* Its own local APICs; NULL (the function, or what it returns): it uses the machine's. */
        const struct cpu_apic_ops *(*apic)(const struct cpu_engine *engine);
        /* As create. */
        int (*cpu_create)(struct cpu_engine *engine, unsigned id, struct cpu **ret_cpu, struct config_error *err);
        void (*cpu_destroy)(struct cpu *cpu);
        /* Only from the vCPU's thread, or while it is not in run. */
        void (*get_state)(struct cpu *cpu, struct x86_state *ret_state);
        int (*set_state)(struct cpu *cpu, const struct x86_state *state);
        void (*run)(struct cpu *cpu, struct cpu_exit *ret_exit);
        /* From any thread: records the event and makes a running or about-to-run vCPU notice. */
        void (*event)(struct cpu *cpu, unsigned event, unsigned argument);
        /* 0: any number of breakpoints, of any length; else they are debug registers. */
        unsigned breakpoints_max;
        int (*set_debug)(struct cpu *cpu, const struct cpu_debug *debug);
        /*
         * Optional: such a write adds 1 to the eventfd instead of calling port_out or mmio_write.
         * -errno if it cannot be had, and then the write comes as ever.  Any thread, one at a time.
         */
        int (*set_doorbell)(struct cpu_engine *engine, const struct cpu_doorbell *bell, bool on);
        /*
         * Optional: from log_dirty(true) on, take_dirty calls @fn for the pages that the guest has written
         * since it was last asked.  What devices write is told by the hook of mem.h instead.
         */
        int (*log_dirty)(struct cpu_engine *engine, bool on);
        int (*take_dirty)(struct cpu_engine *engine, mem_written_fn *fn, void *ctx);
        /* Counters as "name value" lines into @buf; the length it would take. */
        size_t (*stats)(struct cpu *cpu, char *buf, size_t size);
        /* Devices wrote [gpa, gpa+len) of guest memory: forget code translated from it.  Any thread. */
        void (*memory_written)(struct cpu_engine *engine, gpa_t gpa, uint64_t len);
};

extern const struct cpu_engine_ops cpu_engine_soft;
extern const struct cpu_engine_ops cpu_engine_kvm;

/*
 * The engine that @name ("auto", "soft", "kvm") asks for; for auto, KVM only
 * where the host's processor has VT-x or SVM and /dev/kvm opens.  NULL, and
 * the reason in @why, if it is unknown or cannot run here.  @why also says why auto
 * chose what it did.
 */
const struct cpu_engine_ops *cpu_engine_select(const char *name, const struct cpu_config *config, struct config_error *why);

#endif
