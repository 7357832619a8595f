/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * virtio console (virtio 1.2, 5.3) with up to 16 ports, each a listening Unix
 * socket on the host.  The guest sees a port open while somebody is connected.
 *
 * Control messages for the guest are not queued: each port remembers which
 * ones are due, and they go out when the driver has buffers.  Output that the
 * socket does not take stays in its chain, which is taken up again later.
 */
#include "dev/virtio/console.h"
#include "backend/char/chardev.h"
#include "base/bytes.h"
#include "base/log.h"
#include "base/util.h"
#include "dev/virtio/virtio_pci.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define CONSOLE_PORTS      16u
#define CONSOLE_QUEUE_SIZE 64u
#define CONSOLE_NAME_MAX   63u
#define CONSOLE_INPUT      4096u

#define CONSOLE_F_MULTIPORT (1ull << 1)
#define CONSOLE_CFG_PORTS   4
#define CONSOLE_CFG_BYTES   12

#define QUEUE_CONTROL_RX 2u
#define QUEUE_CONTROL_TX 3u

/* Control messages (5.3.6.2): id, event, value; a name follows PORT_NAME. */
#define MESSAGE_BYTES   8u
#define EVENT_DEVICE_READY 0u
#define EVENT_PORT_ADD     1u
#define EVENT_PORT_READY   3u
#define EVENT_PORT_OPEN    6u
#define EVENT_PORT_NAME    7u

/* Messages that are due, sent lowest bit first. */
#define DUE_ADD  0x1u
#define DUE_NAME 0x2u
#define DUE_OPEN 0x4u

struct virtio_console;

struct console_port {
        struct virtio_console *console;
        unsigned number;
        struct chardev *chardev;
        char name[CONSOLE_NAME_MAX + 1];
        unsigned due;
        bool ready;        /* the driver knows the port */
        size_t sent;       /* bytes of the first waiting output chain that are out already */
        size_t input_len;  /* waiting for the driver's buffers */
        uint8_t input[CONSOLE_INPUT];
};

/* Device lock. */
struct virtio_console {
        struct virtio_device dev;
        unsigned port_count;
        struct console_port port[CONSOLE_PORTS];
        struct virtq_chain chain;
};

static struct virtio_console *
to_console(struct virtio_device *dev)
{
        return container_of(dev, struct virtio_console, dev);
}

/* Port 0 has the first two queues, the control queues follow, then the other ports (5.3.2). */
static unsigned
rx_queue(unsigned port)
{
        return port == 0 ? 0 : 2 * (port + 1);
}

static bool
multiport(const struct virtio_console *console)
{
        return virtio_has(&console->dev, CONSOLE_F_MULTIPORT);
}

/* Next chain of @q into console->chain; false if there is none. */
static bool
next_chain(struct virtio_console *console, struct virtq *q)
{
        int got = virtq_pop(q, &console->chain);

        if (got < 0)
                virtio_broken(&console->dev, q);
        return got > 0;
}

static void
send_message(struct console_port *port, unsigned due)
{
        struct virtio_console *console = port->console;
        uint8_t message[MESSAGE_BYTES + CONSOLE_NAME_MAX] = { 0 };
        size_t len = MESSAGE_BYTES;

        put_le32(message, port->number);
        put_le16(message + 4, due == DUE_ADD ? EVENT_PORT_ADD : due == DUE_NAME ? EVENT_PORT_NAME : EVENT_PORT_OPEN);
        put_le16(message + 6, due != DUE_OPEN || chardev_attached(port->chardev));
        if (due == DUE_NAME) {
                memcpy(message + MESSAGE_BYTES, port->name, strlen(port->name));
                len += strlen(port->name);
        }
        virtq_push(&console->dev.queue[QUEUE_CONTROL_RX], &console->chain,
            virtq_chain_write(&console->chain, 0, message, len));
}

static void
send_due(struct virtio_console *console)
{
        struct virtq *q = &console->dev.queue[QUEUE_CONTROL_RX];

        for (unsigned i = 0; i < console->port_count; i++) {
                struct console_port *port = &console->port[i];

                while (port->due != 0 && next_chain(console, q)) {
                        unsigned due = port->due & -port->due;

                        port->due &= ~due;
                        send_message(port, due);
                }
        }
        virtio_publish(&console->dev, q);
}

static void
receive_message(struct virtio_console *console, const uint8_t message[MESSAGE_BYTES])
{
        uint32_t id = get_le32(message);
        unsigned event = get_le16(message + 4);

        if (event == EVENT_DEVICE_READY) {
                for (unsigned i = 0; i < console->port_count; i++)
                        console->port[i].due = DUE_ADD;
        } else if (event == EVENT_PORT_READY && id < console->port_count) {
                console->port[id].ready = true;
                console->port[id].due |= DUE_NAME | DUE_OPEN;
        }
}

static void
control_notify(struct virtio_console *console)
{
        struct virtq *q = &console->dev.queue[QUEUE_CONTROL_TX];
        unsigned countdown = CONSOLE_QUEUE_SIZE;

        while (countdown-- != 0 && next_chain(console, q)) {
                uint8_t message[MESSAGE_BYTES];

                if (virtq_chain_read(&console->chain, 0, message, sizeof(message)) == sizeof(message))
                        receive_message(console, message);
                virtq_push(q, &console->chain, 0);
        }
        virtio_publish(&console->dev, q);
        send_due(console);
}

/* Hands waiting input to the driver. */
static void
port_deliver(struct console_port *port)
{
        struct virtio_console *console = port->console;
        struct virtq *q = &console->dev.queue[rx_queue(port->number)];
        size_t done = 0;

        while (done < port->input_len && next_chain(console, q)) {
                size_t n = virtq_chain_write(&console->chain, 0, port->input + done, port->input_len - done);

                virtq_push(q, &console->chain, n);
                done += n;
        }
        memmove(port->input, port->input + done, port->input_len - done);
        port->input_len -= done;
        virtio_publish(&console->dev, q);
}

static void
port_rx_notify(struct console_port *port)
{
        port_deliver(port);
        if (port->input_len < CONSOLE_INPUT)
                chardev_resume(port->chardev);
}

/* Writes the first waiting chain as far as the socket takes it; true if it is done with. */
static bool
port_write_chain(struct console_port *port, const struct virtq_chain *chain)
{
        size_t skip = port->sent;

        for (unsigned i = 0; i < chain->out_count; i++) {
                const struct iovec *v = &chain->iov[i];
                size_t n;

                if (skip >= v->iov_len) {
                        skip -= v->iov_len;
                        continue;
                }
                n = chardev_write(port->chardev, (const uint8_t *)v->iov_base + skip, v->iov_len - skip);
                port->sent += n;
                if (n < v->iov_len - skip)
                        return false;
                skip = 0;
        }
        port->sent = 0;
        return true;
}

static void
port_tx_notify(struct console_port *port)
{
        struct virtio_console *console = port->console;
        struct virtq *q = &console->dev.queue[rx_queue(port->number) + 1];
        unsigned countdown = CONSOLE_QUEUE_SIZE;

        while (countdown-- != 0 && next_chain(console, q)) {
                if (!port_write_chain(port, &console->chain)) {
                        virtq_rewind(q, 1, 0);
                        break;
                }
                virtq_push(q, &console->chain, 0);
        }
        virtio_publish(&console->dev, q);
}

static void
console_notify(struct virtio_device *dev, unsigned queue)
{
        struct virtio_console *console = to_console(dev);
        unsigned number = queue < 2 ? 0 : queue / 2 - 1;

        if (queue == QUEUE_CONTROL_RX)
                send_due(console);
        else if (queue == QUEUE_CONTROL_TX)
                control_notify(console);
        else if (queue % 2 == 0)
                port_rx_notify(&console->port[number]);
        else
                port_tx_notify(&console->port[number]);
        if (virtq_notify_more(&dev->queue[queue]))
                virtio_ring_bell(dev, queue);
}

static size_t
port_room(void *ctx)
{
        const struct console_port *port = ctx;
        const struct virtio_console *console = port->console;
        bool open = (console->dev.status & VIRTIO_STATUS_DRIVER_OK) && (port->ready || !multiport(console));

        return open ? CONSOLE_INPUT - port->input_len : 0;
}

static void
port_input(void *ctx, const uint8_t *data, size_t len)
{
        struct console_port *port = ctx;

        if (len > CONSOLE_INPUT - port->input_len)
                len = CONSOLE_INPUT - port->input_len;
        memcpy(port->input + port->input_len, data, len);
        port->input_len += len;
        port_deliver(port);
}

static void
port_writable(void *ctx)
{
        port_tx_notify(ctx);
}

static void
port_attached(void *ctx, bool is)
{
        struct console_port *port = ctx;

        if (!port->ready)
                return;
        port->due |= DUE_OPEN;
        send_due(port->console);
}

static const struct chardev_handler port_handler = {
        .room = port_room,
        .input = port_input,
        .writable = port_writable,
        .attached = port_attached,
};

static void
console_start(struct virtio_device *dev)
{
        struct virtio_console *console = to_console(dev);

        for (unsigned i = 0; i < console->port_count && !multiport(console); i++)
                chardev_resume(console->port[i].chardev);
}

static void
console_reset(struct virtio_device *dev)
{
        struct virtio_console *console = to_console(dev);

        for (unsigned i = 0; i < console->port_count; i++) {
                struct console_port *port = &console->port[i];

                port->due = 0;
                port->ready = false;
                port->sent = 0;
                port->input_len = 0;
        }
}

static void
console_destroy(struct virtio_device *dev)
{
        struct virtio_console *console = to_console(dev);

        for (unsigned i = 0; i < console->port_count; i++)
                chardev_close(console->port[i].chardev);
        free(console);
}

static const struct virtio_ops console_ops = {
        .name = "virtio-console",
        .device_id = VIRTIO_ID_CONSOLE,
        .notify = console_notify,
        .start = console_start,
        .reset = console_reset,
        .destroy = console_destroy,
};

static int
port_open(struct virtio_console *console, struct loop *loop, const struct config_node *node, const char *path)
{
        struct console_port *port = &console->port[console->port_count];
        const char *name = config_node_get_port(node, console->port_count, "name");
        const char *why = "";
        char spec[256];
        int error;

        port->console = console;
        port->number = console->port_count;
        if (name == NULL || strlen(name) > CONSOLE_NAME_MAX ||
            (size_t)snprintf(spec, sizeof(spec), "unix=%s", path) >= sizeof(spec)) {
                log_error("%s.port.%u: a port has a name of at most %u characters and a path", node->prefix,
                    port->number, CONSOLE_NAME_MAX);
                return -EINVAL;
        }
        snprintf(port->name, sizeof(port->name), "%s", name);
        error = chardev_open(loop, spec, &port->chardev, &why);
        if (error != 0) {
                log_error("%s.port.%u: %s: %s (%s)", node->prefix, port->number, path, why, strerror(-error));
                return error;
        }
        console->port_count++;
        return 0;
}

static int
console_open_ports(struct virtio_console *console, struct loop *loop, const struct config_node *node)
{
        const char *path;
        int error = 0;

        while (error == 0 && console->port_count < CONSOLE_PORTS &&
            (path = config_node_get_port(node, console->port_count, "path")) != NULL)
                error = port_open(console, loop, node, path);
        if (error == 0 &&
            (console->port_count == 0 || config_node_get_port(node, CONSOLE_PORTS, "path") != NULL)) {
                log_error("%s: a console has 1 to %u ports, numbered from 0", node->prefix, CONSOLE_PORTS);
                error = -EINVAL;
        }
        return error;
}

static int
console_setup(struct virtio_console *console, const struct device_env *env, const struct config_node *node)
{
        uint16_t queue_sizes[2 * (CONSOLE_PORTS + 1)];
        int error = console_open_ports(console, env->loop, node);

        if (error != 0)
                return error;
        for (unsigned i = 0; i < ARRAY_LEN(queue_sizes); i++)
                queue_sizes[i] = CONSOLE_QUEUE_SIZE;
        console->dev.config_len = CONSOLE_CFG_BYTES;
        put_le32(console->dev.config + CONSOLE_CFG_PORTS, console->port_count);
        error = virtio_init(&console->dev, &console_ops, env->mem, env->loop, CONSOLE_F_MULTIPORT, queue_sizes,
            2 * (console->port_count + 1));
        for (unsigned i = 0; i < console->port_count && error == 0; i++)
                chardev_set_handler(console->port[i].chardev, &port_handler, &console->port[i]);
        return error;
}

int
virtio_console_create_pci(const struct device_env *env, const struct device_place *place,
    const struct config_node *node)
{
        static const struct virtio_pci_class simple_communication = { 0x07, 0x80 };
        struct virtio_console *console = calloc(1, sizeof(*console));
        int error;

        if (console == NULL)
                return -ENOMEM;
        error = console_setup(console, env, node);
        if (error != 0) {
                console_destroy(&console->dev);
                return error;
        }
        error = virtio_pci_create(env, place, &console->dev, simple_communication);
        if (error != 0) {
                virtio_finish(&console->dev);
                console_destroy(&console->dev);
        }
        return error;
}
