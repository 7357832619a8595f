/* SPDX-License-Identifier: BSD-2-Clause */
#include "dev/isa/bvm.h"

#include "base/log.h"

#include <errno.h>
#include <stdlib.h>

#define INPUT_LEN 256u
#define NO_DATA   0xffffffffu

struct bvm {
        struct chardev *chardev;
        uint16_t signature;
        const char *waiting;
        bool said; /* that we wait */
        uint8_t input[INPUT_LEN];
        unsigned head, count;
};

static size_t
input_room(void *ctx)
{
        const struct bvm *bvm = ctx;

        return INPUT_LEN - bvm->count;
}

static void
take_input(void *ctx, const uint8_t *data, size_t len)
{
        struct bvm *bvm = ctx;

        for (size_t i = 0; i < len; i++)
                bvm->input[(bvm->head + bvm->count++) % INPUT_LEN] = data[i];
}

static void
output_ready(void *ctx)
{
}

static const struct chardev_handler handler = {
    .room = input_room,
    .input = take_input,
    .writable = output_ready,
};

static void
say_waiting(struct bvm *bvm)
{
        bool attached = chardev_attached(bvm->chardev);

        if (!attached && !bvm->said && bvm->waiting)
                log_warn("%s", bvm->waiting);
        bvm->said = !attached;
}

static uint32_t
next_byte(struct bvm *bvm)
{
        uint8_t byte;

        say_waiting(bvm);
        if (!bvm->count)
                return NO_DATA;
        byte = bvm->input[bvm->head];
        bvm->head = (bvm->head + 1) % INPUT_LEN;
        if (--bvm->count == 0)
                chardev_resume(bvm->chardev);
        return byte;
}

static uint64_t
bvm_read(void *ctx, uint64_t offset, unsigned size)
{
        struct bvm *bvm = ctx;

        if (offset == 0 && size == 2)
                return bvm->signature;
        if (offset == 0 && size == 4)
                return next_byte(bvm);
        return UINT64_MAX; /* as an empty bus, which ISA probes rely on */
}

/* A reader so slow that 64 KiB wait for it loses what comes then: the port cannot say "not yet". */
static void
bvm_write(void *ctx, uint64_t offset, unsigned size, uint64_t value)
{
        struct bvm *bvm = ctx;
        uint8_t byte = (uint8_t)value;

        if (offset != 0 || size != 4)
                return;
        say_waiting(bvm);
        chardev_write(bvm->chardev, &byte, 1);
}

const struct io_ops bvm_io_ops = {
    .read = bvm_read,
    .write = bvm_write,
};

int
bvm_create(struct chardev *chardev, uint16_t signature, const char *waiting, struct bvm **ret_bvm)
{
        struct bvm *bvm = calloc(1, sizeof(*bvm));

        if (!bvm)
                return -ENOMEM;
        bvm->chardev = chardev;
        bvm->signature = signature;
        bvm->waiting = waiting;
        chardev_set_handler(chardev, &handler, bvm);
        *ret_bvm = bvm;
        return 0;
}

void
bvm_destroy(struct bvm *bvm)
{
        if (!bvm)
                return;
        chardev_close(bvm->chardev);
        free(bvm);
}
