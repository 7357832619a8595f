/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Fuzzes a PCI device (FUZZ_DEVICE) as a hostile guest: the input is a list of
 * actions on its registers and on guest memory, of which some are what a good
 * driver does, so that the depths are reached.
 */
#include "fuzz.h"

#include "backend/net/net.h"
#include "base/bytes.h"
#include "base/log.h"
#include "base/util.h"
#include "dev/registry.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <errno.h>
#include <string.h>
#include <unistd.h>

#define MEM_BYTES   (2 * MIB)
#define RINGS_AT    0x10000u /* queue i at + i * 0x8000: descriptors, available, used */
#define QUEUE_SIZE  16u
#define LIST_AT     0x40000u
#define RECEIVED_AT 0x41000u
#define TABLE_AT    0x42000u /* + slot * 0x400 */
#define DATA_AT     0x80000u
#define IMAGE_BYTES (256 * KIB)
#define NET_QUEUES  2u
#define QUEUES      (2 * NET_QUEUES + 1)
#define FRAME_BYTES 4096u

struct rig {
        pthread_mutex_t lock;
        struct loop *loop;
        struct guest_mem *mem;
        struct io_space *ports, *mmio;
        struct irq_router *irq;
        struct pci_bus *pci;
        struct config *config;
        uint64_t port_bar, modern_bar, ahci_bar, e1000_bar;
        uint16_t avail[QUEUES];
};

/* The host's side of a network interface: it holds one frame for each queue, and swallows what is sent. */
static struct fake_tap {
        struct net_backend nb;
        bool listening[NET_QUEUES];
        size_t frame_len[NET_QUEUES];
        uint8_t frame[FRAME_BYTES];
} fake_tap;

static void
fake_tap_destroy(struct net_backend *nb)
{
}

static void
fake_tap_send(struct net_backend *nb, unsigned queue, const struct iovec *iov, unsigned count)
{
        volatile uint8_t sink;

        if (queue >= NET_QUEUES)
                abort();
        for (unsigned i = 0; i < count; i++)
                for (size_t n = 0; n < iov[i].iov_len; n++)
                        sink = ((const uint8_t *)iov[i].iov_base)[n];
        (void)sink;
}

static ssize_t
fake_tap_receive(struct net_backend *nb, unsigned queue, void *buf, size_t size)
{
        size_t n = queue < NET_QUEUES ? fake_tap.frame_len[queue] : size + 1;

        if (n == 0)
                return -EAGAIN;
        if (n > size)
                abort();
        memcpy(buf, fake_tap.frame, n);
        fake_tap.frame_len[queue] = 0;
        return (ssize_t)n;
}

static void
fake_tap_listen(struct net_backend *nb, unsigned queue, bool on)
{
        if (queue >= NET_QUEUES)
                abort();
        fake_tap.listening[queue] = on;
}

static int
fake_tap_set_vnet_hdr(struct net_backend *nb, unsigned bytes, unsigned tun_f_flags)
{
        nb->vnet_hdr_bytes = bytes;
        return 0;
}

static int
fake_tap_use_queues(struct net_backend *nb, unsigned count)
{
        if (count == 0 || count > NET_QUEUES)
                abort();
        for (unsigned i = count; i < NET_QUEUES; i++)
                fake_tap.listening[i] = false;
        return 0;
}

/* In the place of the library's. */
int
net_tap_open(const struct net_options *options, struct loop *loop, struct net_backend **ret_nb)
{
        static const struct net_ops ops = { .destroy = fake_tap_destroy, .send = fake_tap_send,
                .receive = fake_tap_receive, .listen = fake_tap_listen, .set_vnet_hdr = fake_tap_set_vnet_hdr,
                .use_queues = fake_tap_use_queues };

        fake_tap.nb = (struct net_backend){ .ops = &ops, .link = true, .queues = options->queues,
                .vnet_hdr_bytes = options->want_vnet_hdr ? 10 : 0 };
        *ret_nb = &fake_tap.nb;
        return 0;
}

struct input {
        const uint8_t *data;
        size_t left;
};

static uint64_t
take(struct input *in, unsigned bytes)
{
        uint64_t v = 0;

        for (unsigned i = 0; i < bytes && in->left != 0; i++, in->left--)
                v |= (uint64_t)*in->data++ << (8 * i);
        return v;
}

static void
ignore_line(void *ctx, unsigned gsi, bool level)
{
}

static void
ignore_msi(void *ctx, uint64_t address, uint32_t data)
{
}

static void
must(bool fine)
{
        if (!fine)
                abort();
}

static void
set(struct config *config, const char *key, const char *value)
{
        struct config_error err;
        char name[64];

        snprintf(name, sizeof(name), "pci.0.3.0.%s", key);
        must(config_set(config, name, value, &err) == 0);
}

/* A disk that vanishes with the process. */
static void
make_image(char *path, size_t size)
{
        int fd = open("/var/tmp", O_TMPFILE | O_RDWR, 0600);

        must(fd >= 0 && ftruncate(fd, IMAGE_BYTES) == 0);
        snprintf(path, size, "/proc/self/fd/%d", fd);
}

static void
configure(struct rig *r)
{
        struct config *config = r->config;
        char path[96];

        if (strcmp(FUZZ_DEVICE, "virtio-blk") == 0) {
                make_image(path, sizeof(path));
                set(config, "path", path);
        } else if (strcmp(FUZZ_DEVICE, "virtio-net") == 0 || strcmp(FUZZ_DEVICE, "e1000") == 0) {
                set(config, "backend", "tap0");
                if (strcmp(FUZZ_DEVICE, "virtio-net") == 0)
                        set(config, "queues", "2");
        } else if (strcmp(FUZZ_DEVICE, "virtio-console") == 0) {
                snprintf(path, sizeof(path), "/tmp/bhyve-fuzz-%d", (int)getpid());
                set(config, "port.0.name", "fuzz");
                set(config, "port.0.path", path);
        } else if (strcmp(FUZZ_DEVICE, "ahci") == 0) {
                make_image(path, sizeof(path));
                set(config, "port.0.path", path);
                make_image(path, sizeof(path));
                set(config, "port.1.path", path);
                set(config, "port.1.type", "cd");
        }
}

static struct rig *
rig_create(void)
{
        static const struct irq_sink_ops sink = { .line = ignore_line, .msi = ignore_msi };
        static struct rig r;
        struct device_place place = { 0, 3, 0 };
        struct config_node node = { .prefix = "pci.0.3.0" };
        struct device_env env = { .lock = &r.lock, .vm_name = "fuzz", .virtio_msix = true };
        struct pci_bus_config bus = { 0 };
        struct config_error err;
        struct pci_device *dev;

        log_set_level(LOG_LEVEL_ERROR);
        pthread_mutex_init(&r.lock, NULL);
        must(loop_create(&r.lock, &r.loop) == 0 && mem_create(-1, MEM_BYTES, &r.mem) == 0);
        must(io_space_create(&r.lock, &r.ports) == 0 && io_space_create(&r.lock, &r.mmio) == 0);
        must(irq_router_create(&sink, &r, &r.irq) == 0);
        bus.ports = r.ports;
        bus.mmio = r.mmio;
        bus.irq = r.irq;
        must(pci_bus_create(&bus, &r.pci) == 0 && config_create(&r.config) == 0);
        set(r.config, "device", FUZZ_DEVICE);
        configure(&r);
        must(config_check(r.config, &err) == 0);
        node.config = r.config;
        env.loop = r.loop;
        env.mem = r.mem;
        env.pci = r.pci;
        must(device_find(FUZZ_DEVICE) != NULL);
        must(device_find(FUZZ_DEVICE)->create(&env, &place, &node) == 0);
        must(pci_bus_assign(r.pci) == 0);
        if (strcmp(FUZZ_DEVICE, "virtio-console") == 0)
                unlink(config_node_get(&node, "port.0.path"));
        dev = pci_bus_find(r.pci, 0, 3, 0);
        r.port_bar = dev->bar[0].assigned;
        r.modern_bar = dev->bar[4].assigned;
        r.ahci_bar = dev->bar[5].assigned;
        if (strcmp(FUZZ_DEVICE, "e1000") == 0) {
                r.e1000_bar = dev->bar[0].assigned;
                r.port_bar = dev->bar[2].assigned;
        }
        return &r;
}

static void
reset(struct rig *r)
{
        io_space_write(r->ports, 0xcf8, 4, 0x80000000u | 3u << 11 | 4);
        pthread_mutex_lock(&r->lock);
        pci_bus_reset(r->pci);
        pthread_mutex_unlock(&r->lock);
        memset(mem_at(r->mem, 0, MEM_BYTES), 0, MEM_BYTES);
        memset(r->avail, 0, sizeof(r->avail));
        memset(fake_tap.frame_len, 0, sizeof(fake_tap.frame_len));
        io_space_write(r->ports, 0xcf8, 4, 0x80000000u | 3u << 11 | 4);
        io_space_write(r->ports, 0xcfc, 2, 7);
}

static void
run(struct rig *r)
{
        for (unsigned i = 0; i < 4; i++)
                loop_run_once(r->loop, 0);
}

static void
put_memory(struct rig *r, gpa_t at, const void *bytes, size_t len)
{
        (void)mem_write(r->mem, at, bytes, len);
}

/* An address that is good more often than not. */
static uint64_t
take_address(struct input *in)
{
        uint8_t kind = (uint8_t)take(in, 1);

        if (kind == 0xff)
                return take(in, 8);
        if (kind >= 0xf8)
                return MEM_BYTES - take(in, 1);
        if (kind >= 0xf0)
                return RINGS_AT + take(in, 2);
        return DATA_AT + (uint64_t)kind * 1024 + take(in, 1);
}

static void
modern_write(struct rig *r, unsigned offset, unsigned size, uint64_t value)
{
        io_space_write(r->mmio, r->modern_bar + offset, size, value);
}

static void
do_virtio_setup(struct rig *r, struct input *in)
{
        uint64_t features = ~take(in, 4) | 1ull << 32;

        modern_write(r, 20, 1, 0);
        modern_write(r, 20, 1, 3);
        for (unsigned half = 0; half < 2; half++) {
                uint64_t offered = 0;

                modern_write(r, 0, 4, half);
                modern_write(r, 8, 4, half);
                io_space_read(r->mmio, r->modern_bar + 4, 4, &offered);
                modern_write(r, 12, 4, offered & features >> (32 * half));
        }
        modern_write(r, 20, 1, 11);
        for (unsigned q = 0; q < QUEUES; q++) {
                uint64_t base = RINGS_AT + q * 0x8000;

                modern_write(r, 22, 2, q);
                modern_write(r, 24, 2, QUEUE_SIZE);
                modern_write(r, 26, 2, q);
                modern_write(r, 32, 8, base);
                modern_write(r, 40, 8, base + 0x1000);
                modern_write(r, 48, 8, base + 0x2000);
                modern_write(r, 28, 2, 1);
        }
        modern_write(r, 20, 1, 15);
        memset(r->avail, 0, sizeof(r->avail));
}

static void
do_descriptor(struct rig *r, struct input *in)
{
        unsigned queue = take(in, 1) % QUEUES;
        unsigned index = take(in, 1) % QUEUE_SIZE;
        uint8_t desc[16];

        put_le64(desc, take_address(in));
        put_le32(desc + 8, (uint32_t)take(in, 2));
        put_le16(desc + 12, (uint16_t)(take(in, 1) & 7));
        put_le16(desc + 14, (uint16_t)(take(in, 1) % (QUEUE_SIZE + 1)));
        put_memory(r, RINGS_AT + queue * 0x8000 + 16 * index, desc, sizeof(desc));
}

static void
offer(struct rig *r, unsigned queue, unsigned head)
{
        uint64_t ring = RINGS_AT + queue * 0x8000 + 0x1000;
        uint8_t word[2];

        put_le16(word, (uint16_t)head);
        put_memory(r, ring + 4 + 2 * (r->avail[queue] % QUEUE_SIZE), word, 2);
        r->avail[queue]++;
        put_le16(word, r->avail[queue]);
        put_memory(r, ring + 2, word, 2);
        modern_write(r, 0x3000 + 4 * queue, 2, queue);
        run(r);
}

static void
do_available(struct rig *r, struct input *in)
{
        unsigned queue = take(in, 1) % QUEUES;

        offer(r, queue, take(in, 1) % (QUEUE_SIZE + 1));
}

/* A header of a block request at a place that descriptors may name. */
static void
do_block_header(struct rig *r, struct input *in)
{
        uint8_t header[32] = { 0 };
        uint64_t at = take_address(in);

        put_le32(header, (uint32_t)take(in, 1) % 16);
        put_le64(header + 8, take(in, 2));
        put_le64(header + 16, take(in, 2));
        put_le32(header + 24, (uint32_t)take(in, 2));
        put_le32(header + 28, (uint32_t)take(in, 1));
        put_memory(r, at, header, sizeof(header));
}

static void
ahci_write(struct rig *r, unsigned offset, uint32_t value)
{
        io_space_write(r->mmio, r->ahci_bar + offset, 4, value);
}

static void
do_ahci_setup(struct rig *r, struct input *in)
{
        ahci_write(r, 4, 0x80000002);
        for (unsigned port = 0x100; port < 0x200; port += 0x80) {
                ahci_write(r, port + 0x18, 0);
                ahci_write(r, port + 0x00, LIST_AT);
                ahci_write(r, port + 0x08, RECEIVED_AT);
                ahci_write(r, port + 0x10, UINT32_MAX);
                ahci_write(r, port + 0x14, UINT32_MAX);
                ahci_write(r, port + 0x18, 0x11);
        }
}

static void
do_ahci_command(struct rig *r, struct input *in)
{
        unsigned port = 0x100 + 0x80 * (take(in, 1) & 1);
        unsigned slot = take(in, 1) % 32;
        uint8_t header[32] = { 5 };
        uint8_t table[0x100] = { 0x27, 0x80 };
        unsigned prds = take(in, 1) % 8;

        put_le16(header + 2, (uint16_t)prds);
        put_le64(header + 8, TABLE_AT + slot * 0x400);
        for (unsigned i = 2; i < 16; i++)
                table[i] = (uint8_t)take(in, 1);
        for (unsigned i = 0; i < 12; i++)
                table[0x40 + i] = (uint8_t)take(in, 1);
        for (unsigned i = 0; i < prds; i++) {
                put_le64(table + 0x80 + 16 * i, take_address(in));
                put_le32(table + 0x8c + 16 * i, (uint32_t)take(in, 2));
        }
        put_memory(r, LIST_AT + 32 * slot, header, sizeof(header));
        put_memory(r, TABLE_AT + slot * 0x400, table, sizeof(table));
        if (table[2] == 0x60 || table[2] == 0x61)
                ahci_write(r, port + 0x34, 1u << slot);
        ahci_write(r, port + 0x38, 1u << slot);
        run(r);
}

static void
do_frame(struct rig *r, struct input *in)
{
        unsigned queue = take(in, 1) % NET_QUEUES;

        fake_tap.frame_len[queue] = take(in, 2) % FRAME_BYTES;
        for (unsigned i = 0; i < 18; i++)
                fake_tap.frame[i] = (uint8_t)take(in, 1);
        if (!fake_tap.listening[queue])
                return;
        pthread_mutex_lock(&r->lock);
        fake_tap.nb.readable(fake_tap.nb.ctx, queue);
        pthread_mutex_unlock(&r->lock);
        run(r);
}

/* A command as a good driver's, in the control queue of a device with all its pairs. */
static void
do_net_control(struct rig *r, struct input *in)
{
        uint8_t command[10] = { (uint8_t)(take(in, 1) % 6), (uint8_t)(take(in, 1) % 2) };
        unsigned len = 2 + take(in, 1) % 9;
        uint64_t table = RINGS_AT + (QUEUES - 1) * 0x8000;
        uint8_t desc[32] = { 0 };

        for (unsigned i = 2; i < sizeof(command); i++)
                command[i] = (uint8_t)take(in, 1);
        put_memory(r, DATA_AT, command, sizeof(command));
        put_le64(desc, DATA_AT);
        put_le32(desc + 8, len);
        put_le16(desc + 12, 1);
        put_le16(desc + 14, 1);
        put_le64(desc + 16, DATA_AT + 64);
        put_le32(desc + 24, 1);
        put_le16(desc + 28, 2);
        put_memory(r, table, desc, sizeof(desc));
        offer(r, QUEUES - 1, 0);
}

static void
e1000_write(struct rig *r, unsigned offset, uint32_t value)
{
        io_space_write(r->mmio, r->e1000_bar + offset, 4, value);
}

/* Rings with odd sizes of buffers and filters; they wrap soon. */
static void
do_e1000_setup(struct rig *r, struct input *in)
{
        for (unsigned ring = 0x2800; ring <= 0x3800; ring += 0x1000) {
                e1000_write(r, ring, LIST_AT + ring);
                e1000_write(r, ring + 4, 0);
                e1000_write(r, ring + 8, 16 * QUEUE_SIZE);
                e1000_write(r, ring + 0x10, 0);
                e1000_write(r, ring + 0x18, 0);
        }
        for (unsigned i = 0; i < QUEUE_SIZE; i++) {
                uint8_t desc[16] = { 0 };

                put_le64(desc, take_address(in));
                put_memory(r, LIST_AT + 0x2800 + 16 * i, desc, sizeof(desc));
        }
        e1000_write(r, 0x00, (uint32_t)take(in, 1) << 30);
        e1000_write(r, 0xd0, UINT32_MAX);
        e1000_write(r, 0x400, 0xa);
        e1000_write(r, 0x100, (uint32_t)take(in, 4) | 0x1a);
        e1000_write(r, 0x2818, QUEUE_SIZE - 1);
}

/* Up to four transmit descriptors, of which some are context descriptors that fit what follows. */
static void
do_e1000_send(struct rig *r, struct input *in)
{
        unsigned count = 1 + take(in, 1) % 4;
        unsigned tail = r->avail[0];

        for (unsigned i = 0; i < count; i++, tail = (tail + 1) % QUEUE_SIZE) {
                uint8_t kind = (uint8_t)take(in, 1);
                uint8_t desc[16];

                put_le64(desc, kind & 1 ? take_address(in) : take(in, 8));
                put_le32(desc + 8, (uint32_t)take(in, 4));
                put_le32(desc + 12, (uint32_t)take(in, 4));
                if (kind & 2)
                        desc[10] &= 0x10;
                put_memory(r, LIST_AT + 0x3800 + 16 * tail, desc, sizeof(desc));
        }
        r->avail[0] = (uint16_t)tail;
        e1000_write(r, 0x3818, tail);
        run(r);
}

static void
do_e1000_receive(struct rig *r, struct input *in)
{
        do_frame(r, in);
        e1000_write(r, 0x2818, (uint32_t)take(in, 1) % QUEUE_SIZE);
        run(r);
}

static void
do_memory(struct rig *r, struct input *in)
{
        uint64_t at = take_address(in);
        uint8_t bytes[32];
        unsigned len = take(in, 1) % sizeof(bytes);

        for (unsigned i = 0; i < len; i++)
                bytes[i] = (uint8_t)take(in, 1);
        put_memory(r, at, bytes, len);
}

/* The registers in memory: a device has one of these. */
static uint64_t
memory_bar(const struct rig *r)
{
        if (r->e1000_bar != 0)
                return r->e1000_bar;
        return r->ahci_bar != 0 ? r->ahci_bar : r->modern_bar;
}

static void
do_register(struct rig *r, struct input *in)
{
        uint8_t how = (uint8_t)take(in, 1);
        unsigned size = 1u << (how >> 1 & 3);
        uint64_t offset = take(in, 2);
        uint64_t value = 0;
        struct io_space *space = how & 8 ? r->ports : r->mmio;
        uint64_t base = how & 8 ? r->port_bar : memory_bar(r);

        if (how & 8 && size == 8)
                size = 4;
        if (how & 1)
                io_space_write(space, base + offset % 0x6000, size, take(in, size));
        else
                io_space_read(space, base + offset % 0x6000, size, &value);
        run(r);
}

static void
do_config(struct rig *r, struct input *in)
{
        uint8_t offset = (uint8_t)take(in, 1);

        io_space_write(r->ports, 0xcf8, 4, 0x80000000u | 3u << 11 | (offset & 0xfc));
        /* BARs stay where they are. */
        if (offset >= 0x28)
                io_space_write(r->ports, 0xcfc + (offset & 3), 1u << take(in, 1) % 3, take(in, 4));
        run(r);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
        static void (*const actions[])(struct rig *r, struct input *in) = {
                do_virtio_setup, do_descriptor, do_available, do_block_header, do_memory, do_register,
                do_config, do_frame, do_descriptor, do_available, do_net_control,
        };
        static void (*const ahci_actions[])(struct rig *r, struct input *in) = {
                do_ahci_setup, do_ahci_command, do_memory, do_register, do_config, do_ahci_command,
        };
        static void (*const e1000_actions[])(struct rig *r, struct input *in) = {
                do_e1000_setup, do_e1000_send, do_memory, do_register, do_config, do_e1000_receive, do_e1000_send,
        };
        static struct rig *r;
        struct input in = { data, size };
        unsigned countdown = 500;

        if (r == NULL)
                r = rig_create();
        reset(r);
        if (r->e1000_bar != 0)
                do_e1000_setup(r, &in);
        else if (r->ahci_bar != 0)
                do_ahci_setup(r, &in);
        else
                do_virtio_setup(r, &in);
        while (in.left != 0 && countdown-- != 0) {
                uint8_t action = (uint8_t)take(&in, 1);

                if (r->e1000_bar != 0)
                        e1000_actions[action % ARRAY_LEN(e1000_actions)](r, &in);
                else if (r->ahci_bar != 0)
                        ahci_actions[action % ARRAY_LEN(ahci_actions)](r, &in);
                else
                        actions[action % ARRAY_LEN(actions)](r, &in);
        }
        return 0;
}
