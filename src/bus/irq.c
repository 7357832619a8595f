/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Interrupt lines as a wired OR: the router counts, for each GSI, the sources
 * that assert it, and tells the sink of the changes only.
 */
#include "bus/irq.h"

#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

struct irq_router {
        const struct irq_sink_ops *ops;
        void *ctx;
        unsigned asserted[IRQ_GSI_COUNT]; /* sources at level 1; device lock */
        unsigned messages;                /* numbers given to senders; device lock */
};

int
irq_router_create(const struct irq_sink_ops *ops, void *ctx, struct irq_router **ret_router)
{
        struct irq_router *router = calloc(1, sizeof(*router));

        if (!router)
                return -ENOMEM;
        router->ops = ops;
        router->ctx = ctx;
        *ret_router = router;
        return 0;
}

void
irq_router_destroy(struct irq_router *router)
{
        free(router);
}

static void
line_up(struct irq_router *router, unsigned gsi)
{
        if (router->asserted[gsi]++ == 0)
                router->ops->line(router->ctx, gsi, true);
}

static void
line_down(struct irq_router *router, unsigned gsi)
{
        if (--router->asserted[gsi] == 0)
                router->ops->line(router->ctx, gsi, false);
}

void
irq_source_init(struct irq_source *source, struct irq_router *router, unsigned gsi)
{
        source->router = router;
        source->gsi = (uint8_t)gsi;
        source->level = false;
}

void
irq_source_route(struct irq_source *source, unsigned gsi)
{
        bool level = source->level;

        if (source->gsi == gsi)
                return;
        irq_line_set(source, false);
        source->gsi = (uint8_t)gsi;
        irq_line_set(source, level);
}

void
irq_line_set(struct irq_source *source, bool level)
{
        if (source->level == level)
                return;
        source->level = level;
        if (source->gsi >= IRQ_GSI_COUNT)
                return; /* not connected */
        if (level)
                line_up(source->router, source->gsi);
        else
                line_down(source->router, source->gsi);
}

void
irq_line_pulse(struct irq_source *source)
{
        irq_line_set(source, true);
        irq_line_set(source, false);
}

void
irq_msi(struct irq_router *router, uint64_t address, uint32_t data)
{
        router->ops->msi(router->ctx, address, data);
}

/*
 * The eventfd is told only here what it sends, not whenever the guest writes a part of an address: nobody
 * else writes to it, and a guest that moves an interrupt changes several registers.
 */
static void
find_fd(struct irq_router *router, struct irq_message *message)
{
        if (message->number == 0)
                message->number = ++router->messages;
        message->fd = router->ops->message_fd(router->ctx, message->number - 1, message->address, message->data);
        message->has_fd = message->fd >= 0;
}

void
irq_message_send(struct irq_router *router, struct irq_message *message, uint64_t address, uint32_t data)
{
        static const uint64_t one = 1;

        if (!message->has_fd || message->address != address || message->data != data) {
                message->address = address;
                message->data = data;
                if (router->ops->message_fd != NULL)
                        find_fd(router, message);
        }
        if (!message->has_fd || write(message->fd, &one, sizeof(one)) != sizeof(one))
                irq_msi(router, address, data);
}
