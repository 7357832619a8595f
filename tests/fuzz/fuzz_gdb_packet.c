/* SPDX-License-Identifier: BSD-2-Clause */
/* Fuzzes the debugger's stub: bytes of a client, over a machine of 2 MiB that only remembers its state. */
#include "fuzz.h"

#include "debug/private.h"

#include <stdlib.h>
#include <string.h>

struct target {
        struct x86_state state[2];
};

static void
target_stop(void *ctx)
{
}

static void
target_resume(void *ctx, const bool *run)
{
}

static void
target_get_state(void *ctx, unsigned vcpu, struct x86_state *ret_state)
{
        struct target *t = ctx;

        *ret_state = t->state[vcpu];
}

static int
target_set_state(void *ctx, unsigned vcpu, const struct x86_state *state)
{
        struct target *t = ctx;

        t->state[vcpu] = *state;
        return 0;
}

static int
target_set_debug(void *ctx, unsigned vcpu, const struct cpu_debug *debug)
{
        uint64_t sum = 0;

        for (size_t i = 0; i < debug->breakpoint_count; i++)
                sum += debug->breakpoints[i].address;
        return sum == 1 ? -1 : 0;
}

static void
target_end(void *ctx)
{
}

static const struct stub_ops ops = { target_stop, target_resume, target_get_state, target_set_state, target_set_debug,
        target_end, target_end, target_end };

static void
kick(void *ctx, unsigned vcpu, unsigned event, unsigned arg)
{
}

/* What is dear to make and does not change is made once. */
static void
make_parts(struct stub_config *c)
{
        static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
        const struct x86_model_config model = { .sockets = 1, .cores = 2, .threads = 1, .tsc_hz = 1000000000,
                .lapic_hz = 1000000000 };
        struct irqchip_config chip = { .device_lock = &lock,
                .lapic = { .count = 2, .tsc_hz = 1000000000, .kick = kick } };
        struct x86_cpu_model *m;
        char why[256];

        if (mem_create(-1, 2 << 20, &c->mem) != 0 || x86_model_create(&model, &m, why, sizeof(why)) != 0 ||
            io_space_create(&lock, &chip.ports) != 0 || io_space_create(&lock, &chip.mmio) != 0 ||
            irqchip_create(&chip, &c->irqchip) != 0)
                abort();
        c->model = m;
        c->vcpus = 2;
        c->ops = &ops;
}

static void
answer(struct stub *stub)
{
        struct packet_writer w;

        packet_begin(&w, stub->reply, sizeof(stub->reply));
        if (stub_command(stub, &w)) {
                packet_end(&w);
                if (w.len < 4 || w.len > STUB_REPLY_MAX)
                        abort();
        }
        stub->stopped = true;
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
        static struct stub_config config;
        static struct stub *stub;
        static struct target target;

        if (stub == NULL) {
                make_parts(&config);
                stub = malloc(sizeof(*stub));
        }
        memset(stub, 0, sizeof(*stub));
        for (unsigned i = 0; i < 2; i++)
                x86_state_reset(&target.state[i], i);
        config.ctx = &target;
        stub->config = config;
        stub->fd = stub->listen_fd = stub->st_vcpu = -1;
        stub->st = aligned_alloc(_Alignof(struct x86_state), sizeof(*stub->st));
        stub->target_xml = strdup("<target/>");
        stub->target_xml_len = 9;
        stub->stopped = true;
        packet_reader_reset(&stub->reader);
        stub->reader.check = false;
        for (size_t i = 0; i < size; i++)
                if (packet_feed(&stub->reader, data[i]) == PACKET_DATA)
                        answer(stub);
        free(stub->st);
        free(stub->points);
        free(stub->soft_points);
        free(stub->target_xml);
        return 0;
}
