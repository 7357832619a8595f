/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The split irqchip: local APICs in the kernel, the I/O APIC, PICs and PIT ours.
 * Sources: Linux, Documentation/virt/kvm/api.rst, and SDM 3A chapter 11.
 *
 * Messages of those who send one again and again (MSI-X vectors) go in by a write to an irqfd, whose
 * GSI has a route with the message; all others by KVM_SIGNAL_MSI.  The kernel tells of an EOI
 * (KVM_EXIT_IOAPIC_EOI) only for vectors that the routes of the reserved GSIs, the lowest, name, so those
 * hold what the I/O APIC's level-triggered pins send; nothing is ever raised by their numbers.
 */
#include "base/bytes.h"
#include "base/log.h"
#include "base/parse.h"
#include "base/util.h"
#include "cpu/kvm/kvm.h"

#include <errno.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <unistd.h>

#define REG_BYTES   16u
#define REG_ID      2u
#define BASE_X2APIC 0x400u
#define LVT_TIMER   0x32u
/* LVT timer bits 18-17: TSC deadline. */
#define TIMER_MODE_MASK     0x60000u
#define TIMER_MODE_DEADLINE 0x40000u

#define MSR_APIC_BASE    0x1bu
#define MSR_TSC_DEADLINE 0x6e0u

/* With the local APICs in user space there is no x2APIC mode to start in (-x). */
static int
check_start_mode(const struct cpu_engine *engine, struct config_error *err)
{
        const char *text = kvm_option(&engine->config, "x86.x2apic");
        bool x2apic = false;

        if (text == NULL || parse_bool(text, &x2apic) != 0 || !x2apic)
                return 0;
        config_fail(err, "x86.x2apic (-x): KVM has x2APIC mode only with local APICs in the kernel (kvm.irqchip)");
        return -ENOTSUP;
}

int
kvm_apic_create(struct cpu_engine *engine, struct config_error *err)
{
        const char *wanted = kvm_option(&engine->config, "kvm.irqchip");

        for (unsigned i = 0; i < KVM_MESSAGES_MAX; i++)
                engine->message_fd[i] = -1;
        if (wanted != NULL && strcmp(wanted, "user") == 0)
                return check_start_mode(engine, err);
        if (!kvm_has(engine, KVM_CAP_SPLIT_IRQCHIP) || !kvm_has(engine, KVM_CAP_SIGNAL_MSI)) {
                if (wanted == NULL || strcmp(wanted, "split") != 0)
                        return check_start_mode(engine, err);
                config_fail(err, "kvm.irqchip=split: KVM lacks KVM_CAP_SPLIT_IRQCHIP (Linux 4.4)");
                return -ENOTSUP;
        }
        if (kvm_enable(engine, KVM_CAP_SPLIT_IRQCHIP, KVM_IOAPIC_PINS) != 0)
                return kvm_failed(err, "KVM_ENABLE_CAP(KVM_CAP_SPLIT_IRQCHIP)");
        engine->split = true;
        /* Ids beyond 8 bits as they are, not cut; without it (before Linux 4.8) there are at most 255. */
        engine->wide_ids = kvm_has(engine, KVM_CAP_X2APIC_API) &&
            kvm_enable(engine, KVM_CAP_X2APIC_API, KVM_X2APIC_API_USE_32BIT_IDS) == 0;
        return 0;
}

/* Closing an eventfd takes it off the VM. */
void
kvm_apic_destroy(struct cpu_engine *engine)
{
        for (unsigned i = 0; engine->split && i < KVM_MESSAGES_MAX; i++) {
                if (engine->message_fd[i] >= 0)
                        close(engine->message_fd[i]);
        }
}

static void
send_message(struct cpu_engine *engine, uint64_t address, uint32_t data)
{
        struct kvm_msi msi = { .address_lo = (uint32_t)address, .address_hi = (uint32_t)(address >> 32), .data = data };

        /* As on the bus: whether anybody took it, the sender does not learn. */
        (void)ioctl(engine->vm, KVM_SIGNAL_MSI, &msi);
}

static bool
same_message(const struct kvm_irq_routing_msi *a, const struct kvm_irq_routing_msi *b)
{
        return a->address_lo == b->address_lo && a->address_hi == b->address_hi && a->data == b->data;
}

bool
kvm_route_set(struct kvm_route_table *table, unsigned gsi, uint64_t address, uint32_t data)
{
        struct kvm_irq_routing_entry entry = { .gsi = gsi,
                .type = KVM_IRQ_ROUTING_MSI,
                .u.msi = { .address_lo = (uint32_t)address, .address_hi = (uint32_t)(address >> 32), .data = data } };
        unsigned i;

        for (i = 0; i < table->head.nr; i++) {
                if (table->entry[i].gsi != gsi)
                        continue;
                if (same_message(&table->entry[i].u.msi, &entry.u.msi))
                        return false;
                break;
        }
        table->entry[i] = entry;
        if (i == table->head.nr)
                table->head.nr++;
        return true;
}

static int
set_route(struct cpu_engine *engine, unsigned gsi, uint64_t address, uint32_t data)
{
        int error;

        if (!kvm_route_set(&engine->routes, gsi, address, data) && !engine->routes_stale)
                return 0;
        engine->routes_stale = ioctl(engine->vm, KVM_SET_GSI_ROUTING, &engine->routes) != 0;
        if (!engine->routes_stale)
                return 0;
        error = -errno;
        log_guest(&engine->routes_limit, "KVM_SET_GSI_ROUTING: %s; level-triggered interrupts may stop", strerror(-error));
        return error;
}

static void
watch_eoi(struct cpu_engine *engine, unsigned pin, uint64_t address, uint32_t data)
{
        if (pin < KVM_IOAPIC_PINS)
                (void)set_route(engine, pin, address, data);
}

static int
open_irqfd(struct cpu_engine *engine, unsigned gsi)
{
        int fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK), error = 0;
        struct kvm_irqfd irqfd = { .fd = (uint32_t)fd, .gsi = gsi };

        if (fd < 0)
                return -errno;
        if (ioctl(engine->vm, KVM_IRQFD, &irqfd) != 0) {
                error = -errno;
                close(fd);
        }
        return error != 0 ? error : fd;
}

/* The route is there before the irqfd, so that a write never meets one that sends something else. */
static int
message_fd(struct cpu_engine *engine, unsigned number, uint64_t address, uint32_t data)
{
        unsigned gsi = KVM_IOAPIC_PINS + number;
        int error;

        if (number >= KVM_MESSAGES_MAX || gsi >= (unsigned)kvm_has(engine, KVM_CAP_IRQ_ROUTING) ||
            !kvm_has(engine, KVM_CAP_IRQFD))
                return -ENOTSUP;
        error = set_route(engine, gsi, address, data);
        if (error != 0)
                return error;
        if (engine->message_fd[number] < 0)
                engine->message_fd[number] = open_irqfd(engine, gsi);
        return engine->message_fd[number];
}

/* Without wide_ids the kernel wants and gives 8 bits of id in bits 31-24, in x2APIC mode too. */
void
kvm_apic_pack(const struct x86_apic *apic, bool wide_ids, struct kvm_lapic_state *ret_regs)
{
        memset(ret_regs, 0, sizeof(*ret_regs));
        for (unsigned n = 0; n < ARRAY_LEN(apic->reg); n++)
                put_le32(&ret_regs->regs[n * REG_BYTES], apic->reg[n]);
        if ((apic->base & BASE_X2APIC) && !wide_ids)
                put_le32(&ret_regs->regs[REG_ID * REG_BYTES], apic->reg[REG_ID] << 24);
}

void
kvm_apic_unpack(const struct kvm_lapic_state *regs, uint64_t base, bool wide_ids, struct x86_apic *ret_apic)
{
        memset(ret_apic, 0, sizeof(*ret_apic));
        ret_apic->base = base;
        for (unsigned n = 0; n < ARRAY_LEN(ret_apic->reg); n++)
                ret_apic->reg[n] = get_le32(&regs->regs[n * REG_BYTES]);
        if ((base & BASE_X2APIC) && !wide_ids)
                ret_apic->reg[REG_ID] >>= 24;
}

static bool
in_deadline_mode(const struct x86_apic *apic)
{
        return (apic->reg[LVT_TIMER] & TIMER_MODE_MASK) == TIMER_MODE_DEADLINE;
}

static void
get_apic(struct cpu *cpu, struct x86_apic *ret_apic)
{
        struct kvm_lapic_state regs = { { 0 } };
        uint64_t base = 0;

        (void)ioctl(cpu->fd, KVM_GET_LAPIC, &regs);
        (void)kvm_msr(cpu, KVM_GET_MSRS, MSR_APIC_BASE, &base);
        kvm_apic_unpack(&regs, base, cpu->engine->wide_ids, ret_apic);
        if (in_deadline_mode(ret_apic))
                (void)kvm_msr(cpu, KVM_GET_MSRS, MSR_TSC_DEADLINE, &ret_apic->tsc_deadline);
}

/* The mode first, which decides how the registers are read; the deadline last, for its mode must be set. */
static int
set_apic(struct cpu *cpu, const struct x86_apic *apic)
{
        struct kvm_lapic_state regs;
        uint64_t base = apic->base, deadline = apic->tsc_deadline;
        int error = kvm_msr(cpu, KVM_SET_MSRS, MSR_APIC_BASE, &base);

        kvm_apic_pack(apic, cpu->engine->wide_ids, &regs);
        if (error == 0 && ioctl(cpu->fd, KVM_SET_LAPIC, &regs) != 0)
                error = -errno;
        if (error == 0 && in_deadline_mode(apic))
                error = kvm_msr(cpu, KVM_SET_MSRS, MSR_TSC_DEADLINE, &deadline);
        return error;
}

static const struct cpu_apic_ops apic_ops = {
        .message = send_message,
        .message_fd = message_fd,
        .watch_eoi = watch_eoi,
        .get = get_apic,
        .set = set_apic,
};

const struct cpu_apic_ops *
kvm_apics(const struct cpu_engine *engine)
{
        return engine->split ? &apic_ops : NULL;
}
