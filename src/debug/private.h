/* SPDX-License-Identifier: BSD-2-Clause */
/* What the files of the stub share. */
#ifndef DEBUG_PRIVATE_H
#define DEBUG_PRIVATE_H

#include "debug/packet.h"
#include "debug/stub.h"

#include <stdio.h>

#define STUB_VCPUS_MAX 64
#define STUB_REPLY_MAX (PACKET_MAX + 4)
#define STUB_OUT_MAX   (4u << 20) /* a client that lets more than this wait is dropped */

enum stub_action { STUB_HOLD, STUB_CONTINUE, STUB_STEP };

struct stub_vcpu {
        struct stub_stop pending; /* happened while another stop was being reported */
        bool has_pending;
        bool stepping;            /* as the engine was told */
};

struct stub {
        struct stub_config config;
        int listen_fd, fd; /* fd: the client, or -1 */
        struct loop_fd *listen_watch, *watch;

        struct packet_reader reader;
        char reply[STUB_REPLY_MAX];
        size_t reply_len; /* the last one, for a client that asks again */
        uint8_t *out;     /* not yet sent */
        size_t out_len;
        bool no_ack;
        bool drop;        /* the connection is to be closed */

        bool stopped;     /* the vCPUs are, by us */
        bool trapped;     /* for a fault that ends the VM */
        unsigned vcpu;    /* that g, m and so on are about */
        unsigned step_vcpu; /* that `s` is about: Hc */
        unsigned stop_vcpu; /* of the last stop reply */
        struct stub_stop stop;
        bool stop_known;  /* `stop` is why we are stopped; else it was the client */
        struct stub_vcpu v[STUB_VCPUS_MAX];

        struct x86_state *st; /* of st_vcpu, while stopped */
        int st_vcpu;          /* -1: none */

        struct cpu_breakpoint *points;
        bool *soft_points; /* set by Z0, in the same order */
        size_t point_count, point_room;
        bool points_dirty; /* the engine does not know yet of these, or of step_irqs */

        bool physical;   /* memory packets are about physical addresses */
        bool step_irqs;  /* steps may enter interrupt handlers */
        char *target_xml;
        size_t target_xml_len;
};

/* stub.c */
/* Stops the guest and tells the client why, as after Ctrl-C. */
void stub_interrupt(struct stub *stub);
/* @action: per vCPU.  May report a pending stop instead. */
void stub_go(struct stub *stub, const enum stub_action *action);
/* Removes all breakpoints and lets everything run. */
void stub_release(struct stub *stub);
/* The state of the current vCPU. */
struct x86_state *stub_state(struct stub *stub);
int stub_state_changed(struct stub *stub);
void stub_put_stop(struct stub *stub, struct packet_writer *w);

/* commands.c: answers the packet in stub->reader.  False: no reply now (the guest runs). */
bool stub_command(struct stub *stub, struct packet_writer *w);

/* memory.c: -EFAULT if not all of it is memory.  A read may be cut short where the mapping ends: *ret_done. */
int stub_read(struct stub *stub, gva_t address, void *buf, size_t len, size_t *ret_done);
int stub_write(struct stub *stub, gva_t address, const void *buf, size_t len);

/* monitor.c */
void stub_monitor(struct stub *stub, char *line, FILE *out);

#endif
