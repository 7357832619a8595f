/* SPDX-License-Identifier: BSD-2-Clause */
#include "dev/virtio/virtio_pci.h"
#include "base/bytes.h"
#include "base/util.h"

#include <errno.h>
#include <stdlib.h>

#define VIRTIO_VENDOR     0x1af4
#define VIRTIO_PAGE_SHIFT 12 /* of queue addresses in the legacy register */

#define BAR_LEGACY 0u
#define BAR_MSIX   1u
#define BAR_MODERN 4u

/* Legacy registers (virtio 1.2, 4.1.4.10; 0.9.5, 2.3). */
#define LEGACY_DEVICE_FEATURES 0
#define LEGACY_DRIVER_FEATURES 4
#define LEGACY_QUEUE_PFN       8
#define LEGACY_QUEUE_SIZE      12
#define LEGACY_QUEUE_SELECT    14
#define LEGACY_QUEUE_NOTIFY    16
#define LEGACY_STATUS          18
#define LEGACY_ISR             19
#define LEGACY_CONFIG_VECTOR   20 /* only while MSI-X is enabled */
#define LEGACY_QUEUE_VECTOR    22
#define LEGACY_CONFIG          20 /* after the vectors, if they are there */
#define LEGACY_VECTORS_BYTES   4

/* The common configuration structure (4.1.4.3). */
#define COMMON_DEVICE_FEATURE_SELECT 0
#define COMMON_DEVICE_FEATURE        4
#define COMMON_DRIVER_FEATURE_SELECT 8
#define COMMON_DRIVER_FEATURE        12
#define COMMON_CONFIG_VECTOR         16
#define COMMON_QUEUE_COUNT           18
#define COMMON_STATUS                20
#define COMMON_GENERATION            21
#define COMMON_QUEUE_SELECT          22
#define COMMON_QUEUE_SIZE            24
#define COMMON_QUEUE_VECTOR          26
#define COMMON_QUEUE_ENABLE          28
#define COMMON_QUEUE_NOTIFY_OFF      30
#define COMMON_QUEUE_DESC            32
#define COMMON_QUEUE_DRIVER          40
#define COMMON_QUEUE_DEVICE          48
#define COMMON_BYTES                 56

/* The modern BAR: a page for each structure. */
#define MODERN_COMMON     0x0000u
#define MODERN_ISR        0x1000u
#define MODERN_CONFIG     0x2000u
#define MODERN_NOTIFY     0x3000u
#define MODERN_PAGE       0x1000u
#define MODERN_BYTES      0x4000u
#define NOTIFY_MULTIPLIER 4u

/* Vendor capabilities (4.1.4). */
#define CAP_COMMON   1
#define CAP_NOTIFY   2
#define CAP_ISR      3
#define CAP_DEVICE   4
#define CAP_PCI_CFG  5
#define CAP_BYTES    16u
#define CAP_LEN      2
#define CAP_TYPE     3
#define CAP_BAR      4
#define CAP_OFFSET   8
#define CAP_LENGTH   12
#define CAP_EXTRA    16u /* the notify multiplier, or the window's data */

/* Device lock, but for notifications. */
struct virtio_pci {
        struct pci_device pci;
        struct virtio_device *dev;
        pthread_mutex_t *lock;
        uint32_t device_feature_select;
        uint32_t driver_feature_select;
        uint16_t queue_select;
        struct io_doorbell legacy_bell[VIRTIO_QUEUES_MAX], modern_bell[VIRTIO_QUEUES_MAX]; /* a queue each */
        uint8_t window_cap; /* config offset of the configuration access capability */
};

static struct virtq *
selected_queue(const struct virtio_pci *t)
{
        return t->queue_select < t->dev->queue_count ? &t->dev->queue[t->queue_select] : NULL;
}

static void
virtio_pci_interrupt(struct virtio_device *dev, uint16_t vector, uint8_t isr_bit)
{
        struct virtio_pci *t = dev->transport;

        if (pci_msix_enabled(&t->pci)) {
                if (vector != VIRTIO_NO_VECTOR)
                        pci_msix_notify(&t->pci, vector);
                return;
        }
        dev->isr |= isr_bit;
        if (pci_msi_enabled(&t->pci))
                pci_msi_notify(&t->pci, 0);
        else
                pci_irq_set(&t->pci, true);
}

/* Reading the ISR acknowledges (4.1.4.5). */
static uint8_t
isr_read(struct virtio_pci *t)
{
        uint8_t isr = t->dev->isr;

        t->dev->isr = 0;
        pci_irq_set(&t->pci, false);
        return isr;
}

static void
device_reset(struct virtio_pci *t)
{
        virtio_reset(t->dev);
        t->queue_select = 0;
        t->device_feature_select = 0;
        t->driver_feature_select = 0;
        pci_irq_set(&t->pci, false);
}

static void
status_write(struct virtio_pci *t, uint8_t status)
{
        if (status == 0)
                device_reset(t);
        else
                virtio_set_status(t->dev, status);
}

/* A vector that the function does not have reads back as none (4.1.5.1.2). */
static uint16_t
vector_check(const struct virtio_pci *t, uint64_t vector)
{
        return vector < pci_msix_count(&t->pci) ? (uint16_t)vector : VIRTIO_NO_VECTOR;
}

/* 0.9.5, 2.3: one number gives all three areas, the used ring on a page of its own. */
static void
legacy_set_queue(struct virtio_pci *t, uint32_t pfn)
{
        struct virtq *q = selected_queue(t);
        uint16_t vector;

        if (q == NULL)
                return;
        vector = q->vector;
        virtq_reset(q);
        q->vector = vector;
        virtio_set_features(t->dev, t->dev->features);
        if (pfn == 0)
                return;
        q->desc = (gpa_t)pfn << VIRTIO_PAGE_SHIFT;
        q->avail = q->desc + 16ull * q->size;
        q->used = (q->avail + 6 + 2ull * q->size + MEM_PAGE_SIZE - 1) & ~(gpa_t)(MEM_PAGE_SIZE - 1);
        virtio_start_queue(t->dev, t->queue_select);
}

static unsigned
legacy_config_start(const struct virtio_pci *t)
{
        return LEGACY_CONFIG + (pci_msix_enabled(&t->pci) ? LEGACY_VECTORS_BYTES : 0);
}

static uint32_t
legacy_read(struct virtio_pci *t, unsigned offset, unsigned size)
{
        const struct virtq *q = selected_queue(t);
        unsigned config = legacy_config_start(t);

        if (offset >= config)
                return virtio_config_read(t->dev, offset - config, size);
        switch (offset) {
        case LEGACY_DEVICE_FEATURES:
                return (uint32_t)t->dev->offered;
        case LEGACY_DRIVER_FEATURES:
                return (uint32_t)t->dev->features;
        case LEGACY_QUEUE_PFN:
                return q != NULL && q->ready ? (uint32_t)(q->desc >> VIRTIO_PAGE_SHIFT) : 0;
        case LEGACY_QUEUE_SIZE:
                return q != NULL ? q->size_max : 0;
        case LEGACY_QUEUE_SELECT:
                return t->queue_select;
        case LEGACY_STATUS:
                return t->dev->status;
        case LEGACY_ISR:
                return isr_read(t);
        case LEGACY_CONFIG_VECTOR:
                return t->dev->config_vector;
        case LEGACY_QUEUE_VECTOR:
                return q != NULL ? q->vector : VIRTIO_NO_VECTOR;
        default:
                return 0;
        }
}

static void
legacy_write(struct virtio_pci *t, unsigned offset, unsigned size, uint32_t value)
{
        struct virtq *q = selected_queue(t);
        unsigned config = legacy_config_start(t);

        if (offset >= config) {
                virtio_config_write(t->dev, offset - config, size, value);
                return;
        }
        switch (offset) {
        case LEGACY_DRIVER_FEATURES:
                virtio_set_features(t->dev, value & t->dev->offered);
                break;
        case LEGACY_QUEUE_PFN:
                legacy_set_queue(t, value);
                break;
        case LEGACY_QUEUE_SELECT:
                t->queue_select = (uint16_t)value;
                break;
        case LEGACY_STATUS:
                status_write(t, (uint8_t)value);
                break;
        case LEGACY_CONFIG_VECTOR:
                t->dev->config_vector = vector_check(t, value);
                break;
        case LEGACY_QUEUE_VECTOR:
                if (q != NULL)
                        q->vector = vector_check(t, value);
                break;
        default:
                break;
        }
}

static uint64_t
legacy_bar_read(void *ctx, uint64_t offset, unsigned size)
{
        struct virtio_pci *t = ctx;
        uint32_t value;

        pthread_mutex_lock(t->lock);
        value = legacy_read(t, (unsigned)offset, size);
        pthread_mutex_unlock(t->lock);
        return value;
}

static void
legacy_bar_write(void *ctx, uint64_t offset, unsigned size, uint64_t value)
{
        struct virtio_pci *t = ctx;

        if (offset == LEGACY_QUEUE_NOTIFY) {
                virtio_ring_bell(t->dev, (unsigned)(value & 0xffff));
                return;
        }
        pthread_mutex_lock(t->lock);
        legacy_write(t, (unsigned)offset, size, (uint32_t)value);
        pthread_mutex_unlock(t->lock);
}

static const struct io_ops legacy_bar_ops = { legacy_bar_read, legacy_bar_write };

static uint32_t
feature_half(uint64_t features, uint32_t select)
{
        return select < 2 ? (uint32_t)(features >> (32 * select)) : 0;
}

/* The whole structure as bytes, so that any width of access reads it right. */
static void
common_image(const struct virtio_pci *t, uint8_t image[COMMON_BYTES])
{
        const struct virtio_device *dev = t->dev;
        const struct virtq *q = selected_queue(t);

        memset(image, 0, COMMON_BYTES);
        put_le32(image + COMMON_DEVICE_FEATURE_SELECT, t->device_feature_select);
        put_le32(image + COMMON_DEVICE_FEATURE, feature_half(dev->offered, t->device_feature_select));
        put_le32(image + COMMON_DRIVER_FEATURE_SELECT, t->driver_feature_select);
        put_le32(image + COMMON_DRIVER_FEATURE, feature_half(dev->features, t->driver_feature_select));
        put_le16(image + COMMON_CONFIG_VECTOR, dev->config_vector);
        put_le16(image + COMMON_QUEUE_COUNT, (uint16_t)dev->queue_count);
        image[COMMON_STATUS] = dev->status;
        image[COMMON_GENERATION] = dev->config_generation;
        put_le16(image + COMMON_QUEUE_SELECT, t->queue_select);
        if (q == NULL)
                return;
        put_le16(image + COMMON_QUEUE_SIZE, q->size);
        put_le16(image + COMMON_QUEUE_VECTOR, q->vector);
        put_le16(image + COMMON_QUEUE_ENABLE, q->ready);
        put_le16(image + COMMON_QUEUE_NOTIFY_OFF, t->queue_select);
        put_le64(image + COMMON_QUEUE_DESC, q->desc);
        put_le64(image + COMMON_QUEUE_DRIVER, q->avail);
        put_le64(image + COMMON_QUEUE_DEVICE, q->used);
}

static uint64_t
common_read(const struct virtio_pci *t, unsigned offset, unsigned size)
{
        uint8_t image[COMMON_BYTES + 8] = { 0 };

        if (offset >= COMMON_BYTES)
                return 0;
        common_image(t, image);
        return get_le64(image + offset);
}

static void
set_driver_feature(struct virtio_pci *t, uint32_t value)
{
        uint64_t features = t->dev->features;

        /* 3.1.1: settled once FEATURES_OK is set. */
        if (t->driver_feature_select > 1 || (t->dev->status & VIRTIO_STATUS_FEATURES_OK))
                return;
        if (t->driver_feature_select == 0)
                features = (features & ~(uint64_t)UINT32_MAX) | value;
        else
                features = (features & UINT32_MAX) | (uint64_t)value << 32;
        virtio_set_features(t->dev, features);
}

/* Addresses come as one 64-bit or two 32-bit writes (4.1.3.1). */
static void
set_address(gpa_t *addr, unsigned offset_in_field, unsigned size, uint64_t value)
{
        if (size == 8 && offset_in_field == 0)
                *addr = value;
        else if (size == 4 && offset_in_field == 0)
                *addr = (*addr & ~(gpa_t)UINT32_MAX) | (uint32_t)value;
        else if (size == 4 && offset_in_field == 4)
                *addr = (*addr & UINT32_MAX) | value << 32;
}

static void
common_write_queue(struct virtio_pci *t, unsigned offset, unsigned size, uint64_t value)
{
        struct virtq *q = selected_queue(t);

        if (q == NULL)
                return;
        if (offset == COMMON_QUEUE_VECTOR) {
                q->vector = vector_check(t, value & 0xffff);
                return;
        }
        /* 4.1.4.3.2: an enabled queue is changed by reset only. */
        if (q->ready)
                return;
        if (offset == COMMON_QUEUE_SIZE)
                q->size = (uint16_t)value;
        else if (offset == COMMON_QUEUE_ENABLE && value == 1)
                virtio_start_queue(t->dev, t->queue_select);
        else if (offset >= COMMON_QUEUE_DEVICE)
                set_address(&q->used, offset - COMMON_QUEUE_DEVICE, size, value);
        else if (offset >= COMMON_QUEUE_DRIVER)
                set_address(&q->avail, offset - COMMON_QUEUE_DRIVER, size, value);
        else if (offset >= COMMON_QUEUE_DESC)
                set_address(&q->desc, offset - COMMON_QUEUE_DESC, size, value);
}

static void
common_write(struct virtio_pci *t, unsigned offset, unsigned size, uint64_t value)
{
        switch (offset) {
        case COMMON_DEVICE_FEATURE_SELECT:
                t->device_feature_select = (uint32_t)value;
                break;
        case COMMON_DRIVER_FEATURE_SELECT:
                t->driver_feature_select = (uint32_t)value;
                break;
        case COMMON_DRIVER_FEATURE:
                set_driver_feature(t, (uint32_t)value);
                break;
        case COMMON_CONFIG_VECTOR:
                t->dev->config_vector = vector_check(t, value & 0xffff);
                break;
        case COMMON_STATUS:
                status_write(t, (uint8_t)value);
                break;
        case COMMON_QUEUE_SELECT:
                t->queue_select = (uint16_t)value;
                break;
        default:
                if (offset >= COMMON_QUEUE_SIZE && offset < COMMON_BYTES)
                        common_write_queue(t, offset, size, value);
                break;
        }
}

static uint64_t
modern_read(struct virtio_pci *t, unsigned offset, unsigned size)
{
        unsigned in_page = offset % MODERN_PAGE;
        uint64_t value;

        switch (offset - in_page) {
        case MODERN_COMMON:
                return common_read(t, in_page, size);
        case MODERN_ISR:
                return in_page == 0 ? isr_read(t) : 0;
        case MODERN_CONFIG:
                value = virtio_config_read(t->dev, in_page, size < 4 ? size : 4);
                if (size == 8)
                        value |= (uint64_t)virtio_config_read(t->dev, in_page + 4, 4) << 32;
                return value;
        default:
                return 0;
        }
}

static void
modern_write(struct virtio_pci *t, unsigned offset, unsigned size, uint64_t value)
{
        unsigned in_page = offset % MODERN_PAGE;

        switch (offset - in_page) {
        case MODERN_COMMON:
                common_write(t, in_page, size, value);
                break;
        case MODERN_CONFIG:
                virtio_config_write(t->dev, in_page, size < 4 ? size : 4, (uint32_t)value);
                if (size == 8)
                        virtio_config_write(t->dev, in_page + 4, 4, (uint32_t)(value >> 32));
                break;
        case MODERN_NOTIFY:
                virtio_ring_bell(t->dev, in_page / NOTIFY_MULTIPLIER);
                break;
        default:
                break;
        }
}

static uint64_t
modern_bar_read(void *ctx, uint64_t offset, unsigned size)
{
        struct virtio_pci *t = ctx;
        uint64_t value;

        pthread_mutex_lock(t->lock);
        value = modern_read(t, (unsigned)offset, size);
        pthread_mutex_unlock(t->lock);
        return size == 8 ? value : value & ((1ull << (8 * size)) - 1);
}

static void
modern_bar_write(void *ctx, uint64_t offset, unsigned size, uint64_t value)
{
        struct virtio_pci *t = ctx;

        if (offset >= MODERN_NOTIFY) {
                virtio_ring_bell(t->dev, (unsigned)(offset - MODERN_NOTIFY) / NOTIFY_MULTIPLIER);
                return;
        }
        pthread_mutex_lock(t->lock);
        modern_write(t, (unsigned)offset, size, value);
        pthread_mutex_unlock(t->lock);
}

static const struct io_ops modern_bar_ops = { modern_bar_read, modern_bar_write };

/* The window that the configuration access capability points to (4.1.4.9); false if it points nowhere. */
static bool
window_target(const struct virtio_pci *t, unsigned *ret_offset, unsigned *ret_size)
{
        const uint8_t *cap = t->pci.config + t->window_cap;
        uint32_t offset = get_le32(cap + CAP_OFFSET);
        uint32_t size = get_le32(cap + CAP_LENGTH);

        if (cap[CAP_BAR] != BAR_MODERN || (size != 1 && size != 2 && size != 4) || offset % size != 0 ||
            offset >= MODERN_BYTES)
                return false;
        *ret_offset = offset;
        *ret_size = size;
        return true;
}

static bool
virtio_pci_config_read(struct pci_device *pci, unsigned offset, unsigned size, uint32_t *ret_value)
{
        struct virtio_pci *t = container_of(pci, struct virtio_pci, pci);
        unsigned target;
        unsigned width;

        if (t->window_cap == 0 || offset != t->window_cap + CAP_EXTRA || !window_target(t, &target, &width) ||
            size != width)
                return false;
        *ret_value = (uint32_t)modern_read(t, target, width);
        return true;
}

static bool
virtio_pci_config_write(struct pci_device *pci, unsigned offset, unsigned size, uint32_t value)
{
        struct virtio_pci *t = container_of(pci, struct virtio_pci, pci);
        unsigned target;
        unsigned width;

        if (t->window_cap == 0 || offset != t->window_cap + CAP_EXTRA || !window_target(t, &target, &width) ||
            size != width)
                return false;
        modern_write(t, target, width, value);
        return true;
}

static void
virtio_pci_reset(struct pci_device *pci)
{
        device_reset(container_of(pci, struct virtio_pci, pci));
}

static void
virtio_pci_destroy(struct pci_device *pci)
{
        struct virtio_pci *t = container_of(pci, struct virtio_pci, pci);

        virtio_finish(t->dev);
        t->dev->ops->destroy(t->dev);
        free(t);
}

static const struct pci_device_ops virtio_pci_ops = {
        .name = "virtio",
        .config_read = virtio_pci_config_read,
        .config_write = virtio_pci_config_write,
        .reset = virtio_pci_reset,
        .destroy = virtio_pci_destroy,
};

static int
capability_add(struct virtio_pci *t, uint8_t type, uint32_t offset, uint32_t length, unsigned extra_bytes)
{
        unsigned len = CAP_BYTES + extra_bytes;
        int cap = pci_cap_add(&t->pci, PCI_CAP_VENDOR, len);

        if (cap < 0)
                return cap;
        t->pci.config[cap + CAP_LEN] = (uint8_t)len;
        t->pci.config[cap + CAP_TYPE] = type;
        t->pci.config[cap + CAP_BAR] = BAR_MODERN;
        pci_set32(&t->pci, (unsigned)cap + CAP_OFFSET, offset);
        pci_set32(&t->pci, (unsigned)cap + CAP_LENGTH, length);
        return cap;
}

static int
capabilities_add(struct virtio_pci *t)
{
        int cap = capability_add(t, CAP_COMMON, MODERN_COMMON, COMMON_BYTES, 0);

        if (cap >= 0)
                cap = capability_add(t, CAP_ISR, MODERN_ISR, 1, 0);
        if (cap >= 0)
                cap = capability_add(t, CAP_DEVICE, MODERN_CONFIG, MODERN_PAGE, 0);
        if (cap >= 0)
                cap = capability_add(t, CAP_NOTIFY, MODERN_NOTIFY, MODERN_PAGE, 4);
        if (cap < 0)
                return cap;
        pci_set32(&t->pci, (unsigned)cap + CAP_EXTRA, NOTIFY_MULTIPLIER);
        cap = capability_add(t, CAP_PCI_CFG, 0, 0, 4);
        if (cap < 0)
                return cap;
        t->window_cap = (uint8_t)cap;
        memset(t->pci.wmask + cap + CAP_BAR, 0xff, 1);
        memset(t->pci.wmask + cap + CAP_OFFSET, 0xff, 12);
        return 0;
}

/* A notification says which queue by its value (legacy) or its place (4.1.4.4). */
static void
doorbells_add(struct virtio_pci *t)
{
        t->dev->bell_is_shared = true;
        for (unsigned i = 0; i < t->dev->queue_count; i++) {
                t->legacy_bell[i] = (struct io_doorbell){ LEGACY_QUEUE_NOTIFY, 2, true, i, t->dev->bell_fd };
                t->modern_bell[i] =
                    (struct io_doorbell){ MODERN_NOTIFY + i * NOTIFY_MULTIPLIER, 2, false, 0, t->dev->bell_fd };
        }
        pci_bar_doorbells(&t->pci, BAR_LEGACY, t->legacy_bell, t->dev->queue_count);
        pci_bar_doorbells(&t->pci, BAR_MODERN, t->modern_bell, t->dev->queue_count);
}

static int
virtio_pci_fill(struct virtio_pci *t, const struct device_env *env)
{
        int error = pci_bar_add(&t->pci, BAR_LEGACY, PCI_BAR_IO,
            LEGACY_CONFIG + LEGACY_VECTORS_BYTES + t->dev->config_len, &legacy_bar_ops, t, IO_UNLOCKED);

        if (error == 0)
                error = pci_bar_add(&t->pci, BAR_MODERN, PCI_BAR_MEM64, MODERN_BYTES, &modern_bar_ops, t,
                    IO_UNLOCKED);
        if (error == 0)
                error = capabilities_add(t);
        if (error == 0 && env->doorbells)
                doorbells_add(t);
        if (error == 0)
                error = env->virtio_msix ? pci_msix_init(&t->pci, BAR_MSIX, t->dev->queue_count + 1) :
                                           pci_msi_init(&t->pci, 1);
        if (error == 0)
                pci_intx_init(&t->pci);
        return error;
}

/* 4.1.2.1: the ids of old drivers; 0x1000 plus the type less one is no rule. */
static uint16_t
transitional_id(uint16_t device_id)
{
        switch (device_id) {
        case VIRTIO_ID_NET:
                return 0x1000;
        case VIRTIO_ID_BLOCK:
                return 0x1001;
        case VIRTIO_ID_CONSOLE:
                return 0x1003;
        default:
                return 0x1005; /* VIRTIO_ID_ENTROPY */
        }
}

int
virtio_pci_create(const struct device_env *env, const struct device_place *place,
    struct virtio_device *dev, struct virtio_pci_class class_codes)
{
        struct pci_ids ids = {
                .vendor = VIRTIO_VENDOR,
                .device = transitional_id(dev->ops->device_id),
                .subvendor = VIRTIO_VENDOR,
                .subdevice = dev->ops->device_id,
                .class_code = class_codes.class_code,
                .subclass = class_codes.subclass,
        };
        struct virtio_pci *t = calloc(1, sizeof(*t));
        int error;

        if (t == NULL)
                return -ENOMEM;
        t->dev = dev;
        t->lock = env->lock;
        dev->transport = t;
        dev->interrupt = virtio_pci_interrupt;
        pci_device_init(&t->pci, &virtio_pci_ops, &ids);
        error = virtio_pci_fill(t, env);
        if (error == 0)
                error = pci_bus_add(env->pci, &t->pci, place->bus, place->slot, place->func);
        if (error != 0) {
                pci_bus_remove(&t->pci);
                free(t);
        }
        return error;
}
