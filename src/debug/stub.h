/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A server of GDB's remote protocol for one machine, whatever runs in it.
 *
 * It listens, takes one client at a time, stops every virtual CPU when one
 * attaches, and lets all go on when it detaches or vanishes.  Virtual CPU n is
 * thread n + 1.  Breakpoints, watchpoints and steps are the CPU engine's: guest
 * memory is never patched.  All of it runs on the event loop's thread with the
 * device lock held; what it needs of the machine is in struct stub_ops.
 *
 * Not offered: non-stop mode, reverse execution, tracepoints, more than one client.
 */
#ifndef DEBUG_STUB_H
#define DEBUG_STUB_H

#include "base/loop.h"
#include "config/config.h"
#include "cpu/cpu.h"
#include "irq/irqchip.h"
#include "mem/mem.h"
#include "x86/cpuid.h"

struct stub;

enum stub_stop_kind {
        STUB_STOP_STEP,
        STUB_STOP_BREAK,
        STUB_STOP_WATCH,
        STUB_STOP_FAULT, /* what would have ended the VM (debug.trap) */
};

struct stub_stop {
        enum stub_stop_kind kind;
        gva_t address; /* of the breakpoint or watchpoint */
};

struct stub_ops {
        /* Brings every vCPU out of the guest; may give the device lock up while it waits. */
        void (*stop)(void *ctx);
        /* Undoes one stop(): the vCPUs with @run[n] go on, the others stay held. */
        void (*resume)(void *ctx, const bool *run);
        /* While stopped. */
        void (*get_state)(void *ctx, unsigned vcpu, struct x86_state *ret_state);
        int (*set_state)(void *ctx, unsigned vcpu, const struct x86_state *state);
        int (*set_debug)(void *ctx, unsigned vcpu, const struct cpu_debug *debug);
        void (*inject_nmi)(void *ctx);
        void (*reset)(void *ctx);
        void (*poweroff)(void *ctx);
};

struct stub_config {
        struct loop *loop;
        struct guest_mem *mem;
        struct irqchip *irqchip;
        const struct x86_cpu_model *model;
        unsigned vcpus;
        const char *address; /* host name or address to listen on */
        uint16_t port;
        const char *socket;  /* path of a Unix socket instead, or NULL */
        unsigned points_max; /* breakpoints and watchpoints, as debug registers have them; 0: any */
        bool wait;           /* hold the guest before its first instruction */
        const struct stub_ops *ops;
        void *ctx;
};

/* With the device lock held, before the vCPUs run.  0, or -errno with @err. */
int stub_create(const struct stub_config *config, struct stub **ret_stub, struct config_error *err);
/* Tells a client that the guest is gone.  NULL is allowed. */
void stub_destroy(struct stub *stub);

/* vCPU @vcpu left the guest for @stop, and is held. */
void stub_vcpu_stopped(struct stub *stub, unsigned vcpu, const struct stub_stop *stop);

#endif
