/* SPDX-License-Identifier: BSD-2-Clause */
/* Memory slots, the log of written pages, and registers whose writes only wake a thread (ioeventfd). */
#include "base/util.h"
#include "cpu/kvm/kvm.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>

static void
add_slot(void *ctx, gpa_t gpa, uint64_t len, void *host, enum mem_kind kind)
{
        struct cpu_engine *engine = ctx;
        struct kvm_userspace_memory_region *slot = &engine->slot[engine->slot_count];

        *slot = (struct kvm_userspace_memory_region){ .slot = engine->slot_count++,
                .flags = kind == MEM_ROM ? KVM_MEM_READONLY : 0,
                .guest_phys_addr = gpa,
                .memory_size = len,
                .userspace_addr = (uintptr_t)host };
}

void
kvm_slots_list(struct cpu_engine *engine)
{
        mem_for_each(engine->mem, add_slot, engine);
}

int
kvm_slots_create(struct cpu_engine *engine, struct config_error *err)
{
        for (unsigned i = 0; i < engine->slot_count; i++) {
                if (ioctl(engine->vm, KVM_SET_USER_MEMORY_REGION, &engine->slot[i]) != 0)
                        return kvm_failed(err, "KVM_SET_USER_MEMORY_REGION");
        }
        return 0;
}

/* ROM has no log: the guest cannot write it. */
int
kvm_log_dirty(struct cpu_engine *engine, bool on)
{
        for (unsigned i = 0; i < engine->slot_count; i++) {
                struct kvm_userspace_memory_region *slot = &engine->slot[i];

                if (slot->flags & KVM_MEM_READONLY)
                        continue;
                slot->flags = on ? KVM_MEM_LOG_DIRTY_PAGES : 0;
                if (ioctl(engine->vm, KVM_SET_USER_MEMORY_REGION, slot) != 0)
                        return -errno;
        }
        return 0;
}

static bool
is_dirty(const uint64_t *bitmap, uint64_t page)
{
        return bitmap[page / 64] >> (page % 64) & 1;
}

/* @pages in a row are told at once. */
static void
tell_dirty(gpa_t gpa, const uint64_t *bitmap, uint64_t pages, mem_written_fn *fn, void *ctx)
{
        for (uint64_t first = 0, end; first < pages; first = end + 1) {
                for (end = first; end < pages && is_dirty(bitmap, end); end++)
                        ;
                if (end != first)
                        fn(ctx, gpa + (first << MEM_PAGE_SHIFT), (end - first) << MEM_PAGE_SHIFT);
        }
}

int
kvm_take_dirty(struct cpu_engine *engine, mem_written_fn *fn, void *ctx)
{
        for (unsigned i = 0; i < engine->slot_count; i++) {
                const struct kvm_userspace_memory_region *slot = &engine->slot[i];
                uint64_t pages = slot->memory_size >> MEM_PAGE_SHIFT;
                struct kvm_dirty_log log = { .slot = slot->slot };
                int error = 0;

                if (!(slot->flags & KVM_MEM_LOG_DIRTY_PAGES))
                        continue;
                log.dirty_bitmap = calloc((pages + 63) / 64, sizeof(uint64_t));
                if (log.dirty_bitmap == NULL)
                        return -ENOMEM;
                if (ioctl(engine->vm, KVM_GET_DIRTY_LOG, &log) != 0)
                        error = -errno;
                else
                        tell_dirty(slot->guest_phys_addr, log.dirty_bitmap, pages, fn, ctx);
                free(log.dirty_bitmap);
                if (error != 0)
                        return error;
        }
        return 0;
}

/* A write of any size to MMIO is the kernel's quickest case, where it knows it (Linux 4.4). */
int
kvm_set_doorbell(struct cpu_engine *engine, const struct cpu_doorbell *bell, bool on)
{
        struct kvm_ioeventfd io = { .addr = bell->address,
                .len = bell->size,
                .fd = bell->fd,
                .datamatch = bell->value,
                .flags = (bell->port ? KVM_IOEVENTFD_FLAG_PIO : 0) | (bell->match ? KVM_IOEVENTFD_FLAG_DATAMATCH : 0) |
                    (on ? 0 : KVM_IOEVENTFD_FLAG_DEASSIGN) };

        if (!bell->port && !bell->match && kvm_has(engine, KVM_CAP_IOEVENTFD_ANY_LENGTH))
                io.len = 0;
        return ioctl(engine->vm, KVM_IOEVENTFD, &io) != 0 ? -errno : 0;
}
