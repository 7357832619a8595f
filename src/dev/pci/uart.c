/* SPDX-License-Identifier: BSD-2-Clause */
/* The identity is a one-port card of SIIG's that FreeBSD's and Linux's drivers know, as in bhyve. */
#include "dev/pci/uart.h"

#include "base/log.h"
#include "base/util.h"
#include "dev/isa/ns16550.h"
#include "dev/isa/serial.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

struct uart {
        struct pci_device pci;
        struct serial *serial;
};

static void
uart_intr(void *ctx, bool level)
{
        struct uart *uart = ctx;

        pci_irq_set(&uart->pci, level);
}

static void
uart_reset(struct pci_device *dev)
{
        serial_reset(container_of(dev, struct uart, pci)->serial);
}

static void
uart_destroy(struct pci_device *dev)
{
        struct uart *uart = container_of(dev, struct uart, pci);

        serial_destroy(uart->serial);
        free(uart);
}

static const struct pci_device_ops uart_ops = {
    .name = "uart",
    .reset = uart_reset,
    .destroy = uart_destroy,
};

static int
open_line(const struct config_node *node, struct loop *loop, struct chardev **ret_chardev)
{
        const char *path = config_node_get(node, "path");
        const char *why = "";
        int error;

        *ret_chardev = NULL;
        if (!path)
                return 0;
        error = chardev_open(loop, path, ret_chardev, &why);
        if (error)
                log_error("%s: %s: %s (%s)", node->prefix, path, why, strerror(-error));
        return error;
}

int
uart_create(const struct device_env *env, const struct device_place *place, const struct config_node *node)
{
        static const struct pci_ids ids = {.vendor = 0x131f, .device = 0x2000, .class_code = 0x07};
        struct uart *uart = calloc(1, sizeof(*uart));
        struct chardev *chardev = NULL;
        int error;

        if (!uart)
                return -ENOMEM;
        pci_device_init(&uart->pci, &uart_ops, &ids);
        error = open_line(node, env->loop, &chardev);
        if (!error)
                error = serial_create(env->loop, chardev, uart_intr, uart, &uart->serial);
        if (error) {
                chardev_close(chardev);
                free(uart);
                return error;
        }
        pci_intx_init(&uart->pci);
        error = pci_bar_add(&uart->pci, 0, PCI_BAR_IO, NS16550_PORTS, &serial_io_ops, uart->serial, 0);
        if (!error)
                error = pci_bus_add(env->pci, &uart->pci, place->bus, place->slot, place->func);
        if (error)
                uart_destroy(&uart->pci);
        return error;
}
