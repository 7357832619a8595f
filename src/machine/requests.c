/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What bhyvectl asks of a running VM, one line a request:
 *      info | regs CPU | get CPU NAME | set CPU NAME VALUE | desc CPU NAME
 *      set-desc CPU NAME BASE LIMIT ACCESS | intinfo CPU | cpus
 *      stats | chips CPU | assert-lvt CPU ENTRY | rtc | set-rtc SECONDS | nvram OFFSET | set-nvram OFFSET VALUE
 *      nmi | reset | poweroff | button | core FILE
 */
#include "base/parse.h"
#include "base/util.h"
#include "debug/core.h"
#include "dev/isa/mc146818.h"
#include "dev/isa/pc.h"
#include "instance/regs.h"
#include "machine/private.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#define ARGS_MAX 6

struct request {
        struct machine *machine;
        unsigned argc;
        char *argv[ARGS_MAX];
        FILE *out;
        struct config_error *err;
};

static int
request_number(const struct request *req, unsigned arg, uint64_t max, uint64_t *ret_value)
{
        if (parse_u64(req->argv[arg], ret_value) != 0 || *ret_value > max)
                return config_fail(req->err, "'%s' is not a number that fits here", req->argv[arg]);
        return 0;
}

static int
request_vcpu(const struct request *req, unsigned *ret_vcpu)
{
        unsigned cpus = req->machine->config->cpus;
        uint64_t number;

        if (parse_u64(req->argv[1], &number) != 0 || number >= cpus)
                return config_fail(req->err, "there is no virtual CPU %s; the VM has %u", req->argv[1], cpus);
        *ret_vcpu = (unsigned)number;
        return 0;
}

/* The state of the processor named in the request, with the VM held still for a moment. */
static int
request_state(const struct request *req, unsigned *ret_vcpu, struct x86_state *ret_st)
{
        struct machine *machine = req->machine;

        if (request_vcpu(req, ret_vcpu) != 0)
                return -EINVAL;
        vcpus_park(machine);
        vcpu_get_state(machine, *ret_vcpu, ret_st);
        vcpus_unpark(machine);
        return 0;
}

static int
do_info(const struct request *req)
{
        const struct vm_config *vm = req->machine->config;

        fprintf(req->out, "name %s\ncpus %u\nsockets %u\ncores %u\nthreads %u\n", vm->name, vm->cpus, vm->sockets,
            vm->cores, vm->threads);
        fprintf(req->out, "lowmem %" PRIu64 "\nhighmem %" PRIu64 "\nengine %s\n", mem_low_bytes(req->machine->mem),
            mem_high_bytes(req->machine->mem), req->machine->engine_ops->name);
        return 0;
}

static int
do_regs(const struct request *req)
{
        struct x86_state st;
        unsigned vcpu;

        if (request_state(req, &vcpu, &st) != 0)
                return -EINVAL;
        regs_print(req->out, vcpu, &st);
        return 0;
}

static int
do_get(const struct request *req)
{
        struct x86_state st;
        uint64_t value;
        unsigned vcpu;

        if (request_state(req, &vcpu, &st) != 0)
                return -EINVAL;
        if (regs_get(&st, req->argv[2], &value) != 0)
                return config_fail(req->err, "there is no register %s", req->argv[2]);
        fprintf(req->out, "0x%016" PRIx64 "\n", value);
        return 0;
}

static int
do_desc(const struct request *req)
{
        struct x86_state st;
        struct x86_seg seg;
        unsigned vcpu;

        if (request_state(req, &vcpu, &st) != 0)
                return -EINVAL;
        if (regs_get_desc(&st, req->argv[2], &seg) != 0)
                return config_fail(req->err, "there is no descriptor %s", req->argv[2]);
        fprintf(req->out, "0x%016" PRIx64 "/0x%08x/0x%08x\n", seg.base, seg.limit, seg.attr);
        return 0;
}

/* A processor that is held still is amid no delivery, and no exception but a debug trap waits for its next instruction. */
static int
do_intinfo(const struct request *req)
{
        struct x86_state st;
        unsigned vcpu;

        if (request_state(req, &vcpu, &st) != 0)
                return -EINVAL;
        fprintf(req->out, "pending:\t%s\ncurrent:\tn/a\n",
            st.pending_dbg != 0 ? "exception vector 1" : "n/a");
        return 0;
}

static int
write_state(const struct request *req, unsigned vcpu, const struct x86_state *st)
{
        if (vcpu_set_state(req->machine, vcpu, st) != 0)
                return config_fail(req->err, "the processor refuses this state");
        return 0;
}

static int
do_set(const struct request *req)
{
        struct machine *machine = req->machine;
        struct x86_state st;
        uint64_t value;
        unsigned vcpu;
        int error;

        if (request_vcpu(req, &vcpu) != 0 || request_number(req, 3, UINT64_MAX, &value) != 0)
                return -EINVAL;
        vcpus_park(machine);
        vcpu_get_state(machine, vcpu, &st);
        if (regs_set(&st, req->argv[2], value) != 0)
                error = config_fail(req->err, "there is no register %s", req->argv[2]);
        else
                error = write_state(req, vcpu, &st);
        vcpus_unpark(machine);
        return error;
}

static int
do_set_desc(const struct request *req)
{
        struct machine *machine = req->machine;
        uint64_t base, limit, access;
        struct x86_state st;
        struct x86_seg seg;
        unsigned vcpu;
        int error;

        if (request_vcpu(req, &vcpu) != 0 || request_number(req, 3, UINT64_MAX, &base) != 0 ||
            request_number(req, 4, UINT32_MAX, &limit) != 0 || request_number(req, 5, UINT32_MAX, &access) != 0)
                return -EINVAL;
        vcpus_park(machine);
        vcpu_get_state(machine, vcpu, &st);
        error = regs_get_desc(&st, req->argv[2], &seg);
        seg.base = base;
        seg.limit = (uint32_t)limit;
        seg.attr = (uint32_t)access;
        if (error != 0)
                error = config_fail(req->err, "there is no descriptor %s", req->argv[2]);
        else if ((error = regs_set_desc(&st, req->argv[2], &seg)) == 0)
                error = write_state(req, vcpu, &st);
        vcpus_unpark(machine);
        return error;
}

static int
do_stats(const struct request *req)
{
        struct machine *machine = req->machine;
        char buf[16384];

        vcpus_park(machine);
        for (unsigned i = 0; i < machine->config->cpus; i++) {
                buf[0] = '\0';
                machine->engine_ops->stats(machine->vcpu[i].cpu, buf, sizeof(buf));
                fprintf(req->out, "virtual CPU %u\n%s", i, buf);
        }
        vcpus_unpark(machine);
        return 0;
}

static int
do_chips(const struct request *req)
{
        struct irqchip *chip = req->machine->irqchip;
        char buf[8192] = "";
        struct x86_state st;
        unsigned vcpu;

        /* The state brings the local APIC with it. */
        if (request_state(req, &vcpu, &st) != 0)
                return -EINVAL;
        lapic_describe(irqchip_lapic(chip, vcpu), buf, sizeof(buf));
        fprintf(req->out, "%s", buf);
        ioapic_describe(irqchip_ioapic(chip), buf, sizeof(buf));
        fprintf(req->out, "%s", buf);
        i8259_describe(irqchip_pic(chip), buf, sizeof(buf));
        fprintf(req->out, "%s", buf);
        return 0;
}

static int
do_rtc(const struct request *req)
{
        fprintf(req->out, "%lld\n", (long long)mc146818_time(pc_rtc(req->machine->pc)));
        return 0;
}

static int
do_set_rtc(const struct request *req)
{
        uint64_t seconds;

        if (request_number(req, 1, INT64_MAX, &seconds) != 0)
                return -EINVAL;
        mc146818_set_time(pc_rtc(req->machine->pc), (time_t)seconds);
        return 0;
}

static int
do_nvram(const struct request *req)
{
        uint64_t offset;
        uint8_t value;

        if (request_number(req, 1, UINT32_MAX, &offset) != 0)
                return -EINVAL;
        if (mc146818_nvram_read(pc_rtc(req->machine->pc), (unsigned)offset, &value) != 0)
                return config_fail(req->err, "the clock chip's memory goes from 0x0e to 0x7f");
        fprintf(req->out, "0x%02x\n", value);
        return 0;
}

static int
do_set_nvram(const struct request *req)
{
        uint64_t offset, value;

        if (request_number(req, 1, UINT32_MAX, &offset) != 0 || request_number(req, 2, UINT8_MAX, &value) != 0)
                return -EINVAL;
        if (mc146818_nvram_write(pc_rtc(req->machine->pc), (unsigned)offset, (uint8_t)value) != 0)
                return config_fail(req->err, "the clock chip's memory goes from 0x0e to 0x7f");
        return 0;
}

static int
do_nmi(const struct request *req)
{
        for (unsigned i = 0; i < req->machine->config->cpus; i++)
                lapic_inject_nmi(irqchip_lapics(req->machine->irqchip), i);
        return 0;
}

static int
do_assert_lvt(const struct request *req)
{
        uint64_t pin;
        unsigned vcpu;

        if (request_vcpu(req, &vcpu) != 0 || request_number(req, 2, UINT32_MAX, &pin) != 0)
                return -EINVAL;
        if (lapic_assert_lvt(irqchip_lapics(req->machine->irqchip), vcpu, (unsigned)pin) != 0)
                return config_fail(req->err, "the local vector table has the entries 0 to 5");
        return 0;
}

/* One line: what it is about, and the processors of the set. */
static void
print_cpus(FILE *out, const char *what, uint64_t set)
{
        fprintf(out, "%s", what);
        for (unsigned i = 0; i < VM_CPUS_MAX; i++) {
                if (set & 1ull << i)
                        fprintf(out, " %u", i);
        }
        fprintf(out, "\n");
}

/* Which processors the guest has started and which the debugger holds, and what bhyve's flags made of them. */
static int
do_cpus(const struct request *req)
{
        struct machine *machine = req->machine;
        uint64_t active = 0, held = 0;

        _Static_assert(VM_CPUS_MAX <= 64, "one bit each");
        pthread_mutex_lock(&machine->park_lock);
        for (unsigned i = 0; i < machine->config->cpus; i++) {
                active |= (uint64_t)!machine->vcpu[i].inactive << i;
                /* Nothing else that stops all of them lets requests in. */
                held |= (uint64_t)(machine->vcpu[i].held || machine->park_requests != 0) << i;
        }
        pthread_mutex_unlock(&machine->park_lock);
        print_cpus(req->out, "active", active);
        print_cpus(req->out, "suspended", held);
        fprintf(req->out, "x2apic %d\npause_exit %d\n", machine->config->x2apic, machine->config->exit_on_pause);
        return 0;
}

static int
do_reset(const struct request *req)
{
        machine_end(req->machine, MACHINE_END_RESET);
        return 0;
}

static int
do_poweroff(const struct request *req)
{
        machine_end(req->machine, MACHINE_END_POWEROFF);
        return 0;
}

/* The file's name is the rest of the line. */
static int
do_core(const struct request *req)
{
        struct machine *machine = req->machine;
        unsigned cpus = machine->config->cpus;
        struct x86_state *states = aligned_alloc(_Alignof(struct x86_state), cpus * sizeof(*states));
        int error;

        if (states == NULL)
                return config_fail(req->err, "out of memory");
        vcpus_park(machine);
        for (unsigned i = 0; i < cpus; i++)
                vcpu_get_state(machine, i, &states[i]);
        error = core_write(req->argv[1], machine->mem, states, cpus, req->err);
        vcpus_unpark(machine);
        free(states);
        return error;
}

static int
do_button(const struct request *req)
{
        if (!platform_press_power_button(req->machine))
                return config_fail(req->err, "the guest has not enabled ACPI: it has no power button");
        return 0;
}

static const struct {
        const char *verb;
        unsigned argc; /* the verb counts */
        int (*fn)(const struct request *req);
} request_rows[] = {
        { "info", 1, do_info },
        { "regs", 2, do_regs },
        { "get", 3, do_get },
        { "set", 4, do_set },
        { "intinfo", 2, do_intinfo },
        { "desc", 3, do_desc },
        { "set-desc", 6, do_set_desc },
        { "stats", 1, do_stats },
        { "chips", 2, do_chips },
        { "rtc", 1, do_rtc },
        { "set-rtc", 2, do_set_rtc },
        { "nvram", 2, do_nvram },
        { "set-nvram", 3, do_set_nvram },
        { "nmi", 1, do_nmi },
        { "assert-lvt", 3, do_assert_lvt },
        { "cpus", 1, do_cpus },
        { "reset", 1, do_reset },
        { "poweroff", 1, do_poweroff },
        { "button", 1, do_button },
};

int
machine_request(void *ctx, char *line, FILE *out, struct config_error *err)
{
        struct request req = { .machine = ctx, .out = out, .err = err };
        char *word;

        if (strncmp(line, "core ", 5) == 0) {
                req.argv[0] = strsep(&line, " ");
                req.argv[1] = line;
                req.argc = 2;
                return do_core(&req);
        }
        while (req.argc < ARGS_MAX && (word = strsep(&line, " ")) != NULL)
                req.argv[req.argc++] = word;
        for (unsigned i = 0; i < ARRAY_LEN(request_rows); i++) {
                if (req.argc == request_rows[i].argc && strcmp(req.argv[0], request_rows[i].verb) == 0)
                        return request_rows[i].fn(&req);
        }
        return config_fail(err, "unknown request '%s' (bhyvectl of another version?)", req.argv[0]);
}
