/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The KVM engine by itself, with a few bytes of real-mode code; skipped where there is no KVM.
 * The local APICs are in user space, so that HLT comes out, unless a test says otherwise.
 */
#include "base/bytes.h"
#include "config/config.h"
#include "cpu/cpu.h"
#include "mem/mem.h"
#include "x86/cpuid.h"
#include "x86/msr.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <cmocka.h>

#define MEM_BYTES (4ull << 20)
#define CODE      0x1000u
#define DATA_PAGE 0x8000u
#define TEST_PORT 0x80u
#define DEVICE    0xd0001000u /* a page begins here */
#define TSC_HZ    2000000000ull

struct rig {
        const char *irqchip;
        bool ignore_unknown_msrs;
        unsigned vcpus;
        struct guest_mem *mem;
        struct x86_cpu_model *model;
        struct cpu_engine *engine;
        struct cpu *cpu;
        struct x86_state *st;
        struct config_error err;
        uint32_t port_value; /* last written to TEST_PORT, and how often */
        unsigned port_writes;
        bool kicks; /* at each access of a device */
        uint8_t device[4]; /* at DEVICE - 2 */
        gpa_t dirty_first, dirty_end;
        unsigned dirty_ranges;
};

static void
kick(struct rig *rig)
{
        if (rig->kicks)
                cpu_engine_kvm.event(rig->cpu, CPU_EVENT_KICK, 0);
}

static uint32_t
port_in(void *ctx, unsigned vcpu, uint16_t port, unsigned size)
{
        kick(ctx);
        return 0x5a;
}

static void
port_out(void *ctx, unsigned vcpu, uint16_t port, unsigned size, uint32_t value)
{
        struct rig *rig = ctx;

        rig->port_value = rig->port_value << 8 | (uint8_t)value;
        rig->port_writes++;
        kick(rig);
}

static uint64_t
mmio_read(void *ctx, unsigned vcpu, gpa_t gpa, unsigned size)
{
        struct rig *rig = ctx;
        uint64_t value = 0;

        if (gpa >= DEVICE - 2 && gpa + size <= DEVICE + 2)
                memcpy(&value, &rig->device[gpa - (DEVICE - 2)], size);
        kick(rig);
        return value;
}

static void
mmio_write(void *ctx, unsigned vcpu, gpa_t gpa, unsigned size, uint64_t value)
{
        struct rig *rig = ctx;

        if (gpa >= DEVICE - 2 && gpa + size <= DEVICE + 2)
                memcpy(&rig->device[gpa - (DEVICE - 2)], &value, size);
        kick(rig);
}

static int
intr_ack(void *ctx, unsigned vcpu)
{
        return -1;
}

static bool
intr_pending(void *ctx, unsigned vcpu)
{
        return false;
}

static uint8_t
tpr_read(void *ctx, unsigned vcpu)
{
        return 0;
}

static void
tpr_write(void *ctx, unsigned vcpu, uint8_t tpr)
{
}

static const struct cpu_env_ops env_ops = {
        .port_in = port_in,
        .port_out = port_out,
        .mmio_read = mmio_read,
        .mmio_write = mmio_write,
        .intr_ack = intr_ack,
        .intr_pending = intr_pending,
        .tpr_read = tpr_read,
        .tpr_write = tpr_write,
};

static const char *
option(void *ctx, const char *key)
{
        const struct rig *rig = ctx;

        return strcmp(key, "kvm.irqchip") == 0 ? rig->irqchip : NULL;
}

static int
start(struct rig *rig)
{
        const struct x86_model_config model = { .sockets = 1, .cores = 1, .threads = 1, .x2apic = true, .tsc_hz = TSC_HZ };
        const struct cpu_env env = { .ops = &env_ops, .ctx = rig };
        struct cpu_config config = { .vcpu_count = rig->vcpus, .ignore_unknown_msrs = rig->ignore_unknown_msrs, .option = option, .option_ctx = rig };
        char why[200];
        int error;

        if (cpu_engine_kvm.probe(&config, &rig->err) != 0)
                skip();
        assert_int_equal(x86_model_create(&model, &rig->model, why, sizeof(why)), 0);
        config.model = rig->model;
        assert_int_equal(mem_create(-1, MEM_BYTES, &rig->mem), 0);
        rig->st = aligned_alloc(_Alignof(struct x86_state), sizeof(*rig->st));
        error = cpu_engine_kvm.create(&config, rig->mem, &env, &rig->engine, &rig->err);
        return error != 0 ? error : cpu_engine_kvm.cpu_create(rig->engine, 0, &rig->cpu, &rig->err);
}

/* A processor in real mode, about to execute @code. */
static void
start_code(struct rig *rig, const uint8_t *code, size_t len)
{
        assert_int_equal(start(rig), 0);
        assert_int_equal(mem_write(rig->mem, CODE, code, len), 0);
        x86_state_reset(rig->st, 0);
        rig->st->seg[X86_CS].base = rig->st->seg[X86_CS].sel = 0;
        rig->st->rip = CODE;
        rig->st->gpr[X86_RSP] = 0x7000;
        assert_int_equal(cpu_engine_kvm.set_state(rig->cpu, rig->st), 0);
}

static enum cpu_exit_reason
run(struct rig *rig)
{
        struct cpu_exit exit;

        do
                cpu_engine_kvm.run(rig->cpu, &exit);
        while (exit.reason == CPU_EXIT_KICK);
        cpu_engine_kvm.get_state(rig->cpu, rig->st);
        return exit.reason;
}

static int
setup(void **state)
{
        struct rig *rig = calloc(1, sizeof(*rig));

        rig->irqchip = "user";
        rig->vcpus = 1;
        *state = rig;
        return rig == NULL ? -1 : 0;
}

static int
teardown(void **state)
{
        struct rig *rig = *state;

        cpu_engine_kvm.cpu_destroy(rig->cpu);
        cpu_engine_kvm.destroy(rig->engine);
        mem_destroy(rig->mem);
        x86_model_destroy(rig->model);
        free(rig->st);
        free(rig);
        return 0;
}

static void
kvm_ports_and_registers_go_both_ways(void **state)
{
        /* in $0x80, %al; inc %ax; out %ax, $0x80; hlt */
        static const uint8_t code[] = { 0xe4, 0x80, 0x40, 0xe7, 0x80, 0xf4 };
        struct rig *rig = *state;

        start_code(rig, code, sizeof(code));
        assert_int_equal(run(rig), CPU_EXIT_HLT);
        assert_int_equal(rig->port_value, 0x5b);
        assert_int_equal(rig->st->gpr[X86_RAX], 0x5b);
        assert_int_equal(rig->st->rip, CODE + sizeof(code));
        assert_int_equal(rig->st->mp_state, X86_MP_HALTED);
}

/* The kernel comes out once for each part of such an access, and for each element of a string. */
static void
kvm_accesses_in_parts_survive_kicks(void **state)
{
        /* mov %eax, 0xffe; mov 0xffe, %ebx; mov $4, %cx; mov $0x8000, %si; mov $0x80, %dx; rep outsb %cs:(%si); hlt */
        static const uint8_t code[] = { 0x66, 0xa3, 0xfe, 0x0f, 0x66, 0x8b, 0x1e, 0xfe, 0x0f, 0xb9, 4, 0, 0xbe, 0, 0x80,
                0xba, 0x80, 0, 0xf3, 0x2e, 0x6e, 0xf4 };
        struct rig *rig = *state;

        start_code(rig, code, sizeof(code));
        rig->kicks = true;
        assert_int_equal(mem_write(rig->mem, DATA_PAGE, "\1\2\3\4", 4), 0);
        rig->st->seg[X86_DS].base = DEVICE - MEM_PAGE_SIZE;
        rig->st->gpr[X86_RAX] = 0x44332211;
        assert_int_equal(cpu_engine_kvm.set_state(rig->cpu, rig->st), 0);
        assert_int_equal(run(rig), CPU_EXIT_HLT);
        assert_memory_equal(rig->device, "\x11\x22\x33\x44", 4);
        assert_int_equal(rig->st->gpr[X86_RBX], 0x44332211);
        assert_int_equal(rig->port_writes, 4);
        assert_int_equal(rig->port_value, 0x01020304);
}

static void
kvm_step_over_an_access_survives_kicks(void **state)
{
        /* in $0x80, %al; nop; hlt */
        static const uint8_t code[] = { 0xe4, 0x80, 0x90, 0xf4 };
        const struct cpu_debug step = { .single_step = true };
        struct rig *rig = *state;

        start_code(rig, code, sizeof(code));
        rig->kicks = true;
        assert_int_equal(cpu_engine_kvm.set_debug(rig->cpu, &step), 0);
        assert_int_equal(run(rig), CPU_EXIT_DEBUG);
        assert_int_equal(rig->st->gpr[X86_RAX] & 0xff, 0x5a);
        assert_int_equal(rig->st->rip, CODE + 2);
        assert_int_equal(run(rig), CPU_EXIT_DEBUG);
        assert_int_equal(rig->st->rip, CODE + 3);
}

static void
fill_state(struct x86_state *st)
{
        for (unsigned i = 0; i < X86_GPR_COUNT; i++)
                st->gpr[i] = 0x1111111111111111ull * i;
        st->rip = 0x1234;
        st->cr2 = 0x5000;
        st->dr[1] = 0x4321;
        st->lstar = 0xffffffff81000000;
        st->star = 0x0023001000000000;
        st->sfmask = 0x47700;
        st->sysenter_cs = 0x10;
        st->sysenter_esp = 0xfffffe0000003000;
        st->kernel_gs_base = 0xffff888000000000;
        st->pat = 0x0007010600070106;
        st->mtrr_def_type = 0xc06;
        st->mtrr_var[0] = 0xe0000000;
        st->mtrr_var[1] = 0x3fffe0000800;
        st->tsc_offset = 0x123456789abcull;
        st->nmi_blocked = 1;
        st->xsave[0x20] = 0x55; /* ST0 */
        st->xsave[512] = 1;     /* XSTATE_BV: x87 */
}

static void
round_trip(struct rig *rig)
{
        struct x86_state *back = aligned_alloc(_Alignof(struct x86_state), sizeof(*back));

        assert_int_equal(start(rig), 0);
        x86_state_reset(rig->st, 0);
        fill_state(rig->st);
        assert_int_equal(cpu_engine_kvm.set_state(rig->cpu, rig->st), 0);
        cpu_engine_kvm.get_state(rig->cpu, back);
        assert_memory_equal(back->gpr, rig->st->gpr, sizeof(back->gpr));
        assert_int_equal(back->rip, rig->st->rip);
        assert_int_equal(back->cr2, rig->st->cr2);
        assert_memory_equal(back->dr, rig->st->dr, sizeof(back->dr));
        assert_int_equal(back->lstar, rig->st->lstar);
        assert_int_equal(back->star, rig->st->star);
        assert_int_equal(back->sfmask, rig->st->sfmask);
        assert_int_equal(back->sysenter_esp, rig->st->sysenter_esp);
        assert_int_equal(back->kernel_gs_base, rig->st->kernel_gs_base);
        assert_int_equal(back->pat, rig->st->pat);
        assert_memory_equal(back->mtrr_fixed, rig->st->mtrr_fixed, sizeof(back->mtrr_fixed));
        assert_memory_equal(back->mtrr_var, rig->st->mtrr_var, sizeof(back->mtrr_var));
        if (back->tsc_offset != 0) /* software KVM cannot offset the counter */
                assert_int_equal(back->tsc_offset, rig->st->tsc_offset);
        assert_int_equal(back->nmi_blocked, 1);
        assert_int_equal(back->xsave[0x20], 0x55);
        assert_memory_equal(back->seg, rig->st->seg, sizeof(back->seg));
        free(back);
}

#define XCR0_AVX  4u
#define XCR0_PKRU 0x200u

static void
kvm_avx_and_pkru_come_back(void **state)
{
        struct rig *rig = *state;
        uint64_t offered;

        assert_int_equal(start(rig), 0);
        offered = x86_model_xcr0(rig->model) & x86_host_xcr0(); /* PKRU is in the model because the soft engine has it anyway */
        if (!(offered & XCR0_AVX))
                skip();
        x86_state_reset(rig->st, 0);
        rig->st->xcr0 = offered & (7 | XCR0_PKRU);
        put_le64(rig->st->xsave + 512, 7); /* XSTATE_BV */
        for (unsigned i = 0; i < 256; i++)
                rig->st->xsave[576 + i] = (uint8_t)(i ^ 0x5a);
        if (offered & XCR0_PKRU)
                put_le32(rig->st->xsave + X86_XSAVE_PKRU, 0x55aa);
        assert_int_equal(cpu_engine_kvm.set_state(rig->cpu, rig->st), 0);
        cpu_engine_kvm.get_state(rig->cpu, rig->st);
        assert_int_equal(rig->st->xcr0, offered & (7 | XCR0_PKRU));
        assert_int_equal(get_le64(rig->st->xsave + 512) & 7, 7);
        for (unsigned i = 0; i < 256; i++)
                assert_int_equal(rig->st->xsave[576 + i], (uint8_t)(i ^ 0x5a));
        if (offered & XCR0_PKRU)
                assert_int_equal(get_le32(rig->st->xsave + X86_XSAVE_PKRU), 0x55aa);
}

static void
kvm_state_comes_back_as_it_was(void **state)
{
        round_trip(*state);
}

static void
kvm_state_comes_back_with_the_split_irqchip(void **state)
{
        struct rig *rig = *state;

        rig->irqchip = "split";
        round_trip(rig);
}

static void
kvm_mp_state_is_the_kernels_with_the_split_irqchip(void **state)
{
        static const uint8_t states[] = { X86_MP_WAIT_INIT, X86_MP_WAIT_SIPI, X86_MP_HALTED, X86_MP_RUNNING };
        struct rig *rig = *state;

        rig->irqchip = "split";
        assert_int_equal(start(rig), 0);
        for (unsigned i = 0; i < sizeof(states); i++) {
                x86_state_reset(rig->st, 0);
                rig->st->mp_state = states[i];
                assert_int_equal(cpu_engine_kvm.set_state(rig->cpu, rig->st), 0);
                cpu_engine_kvm.get_state(rig->cpu, rig->st);
                assert_int_equal(rig->st->mp_state, states[i]);
        }
}

static void
kvm_local_apic_comes_back_from_the_kernel(void **state)
{
        struct rig *rig = *state;
        struct x86_apic set = { .base = 0xfee00900, .reg = { [3] = 0x50014, [8] = 0x20, [0xe] = ~0u, [0xf] = 0x1ff, [0x35] = 0x700, [0x36] = 0x400 } };
        const struct cpu_apic_ops *apics;
        struct x86_apic got;

        rig->irqchip = "split";
        assert_int_equal(start(rig), 0);
        apics = cpu_engine_kvm.apic(rig->engine);
        assert_non_null(apics);
        for (unsigned entry = 0x32; entry <= 0x37; entry++)
                set.reg[entry] |= entry == 0x35 || entry == 0x36 ? 0 : 0x10000;
        set.reg[0x24] = 4; /* vector 0x82 requested */
        assert_int_equal(apics->set(rig->cpu, &set), 0);
        apics->get(rig->cpu, &got);
        assert_int_equal(got.base, set.base);
        assert_int_equal(got.reg[8], 0x20);
        assert_int_equal(got.reg[0xf], 0x1ff);
        assert_int_equal(got.reg[0x24], 4);
        assert_int_equal(got.reg[0x35], 0x700);
        assert_int_equal(got.reg[0x36], 0x400);
}

static void
kvm_no_apics_of_its_own_without_split(void **state)
{
        struct rig *rig = *state;

        assert_int_equal(start(rig), 0);
        assert_null(cpu_engine_kvm.apic(rig->engine));
}

static void
kvm_impossible_state_is_refused(void **state)
{
        struct rig *rig = *state;

        assert_int_equal(start(rig), 0);
        x86_state_reset(rig->st, 0);
        rig->st->cr0 = 0x80000000; /* paging without protection */
        assert_int_not_equal(cpu_engine_kvm.set_state(rig->cpu, rig->st), 0);
        x86_state_reset(rig->st, 0);
        rig->st->mtrr_var[0] = 2; /* a type that does not exist */
        assert_int_not_equal(cpu_engine_kvm.set_state(rig->cpu, rig->st), 0);
        x86_state_reset(rig->st, 0);
        assert_int_equal(cpu_engine_kvm.set_state(rig->cpu, rig->st), 0);
}

/* mov $msr, %ecx; rdmsr; hlt */
static void
start_rdmsr(struct rig *rig, uint32_t msr)
{
        uint8_t code[] = { 0x66, 0xb9, (uint8_t)msr, (uint8_t)(msr >> 8), (uint8_t)(msr >> 16), (uint8_t)(msr >> 24), 0x0f, 0x32, 0xf4 };
        const uint16_t handler[2] = { CODE + sizeof(code), 0 };

        start_code(rig, code, sizeof(code));
        /* #GP: mov $0xbad, %ax; hlt */
        assert_int_equal(mem_write(rig->mem, 13 * 4, handler, sizeof(handler)), 0);
        assert_int_equal(mem_write(rig->mem, handler[0], "\xb8\xad\x0b\xf4", 4), 0);
        assert_int_equal(run(rig), CPU_EXIT_HLT);
}

static void
kvm_constant_msr_is_the_shared_policys(void **state)
{
        struct rig *rig = *state;
        uint64_t expected;

        start_rdmsr(rig, 0xce);
        assert_int_equal(x86_msr_read(rig->st, rig->model, 0xce, &expected), X86_MSR_OK);
        assert_int_equal((uint32_t)rig->st->gpr[X86_RAX] | rig->st->gpr[X86_RDX] << 32, expected);
}

static void
kvm_unknown_msr_faults(void **state)
{
        struct rig *rig = *state;

        start_rdmsr(rig, 0x12345678);
        assert_int_equal(rig->st->gpr[X86_RAX], 0xbad);
}

static void
kvm_unknown_msr_reads_0_where_ignored(void **state)
{
        struct rig *rig = *state;

        rig->ignore_unknown_msrs = true;
        start_rdmsr(rig, 0x12345678);
        assert_int_equal(rig->st->gpr[X86_RAX], 0);
}

static void
kvm_doorbell_rings_instead_of_the_port(void **state)
{
        /* mov $7, %ax; out %ax, $0x80; inc %ax; out %ax, $0x80; hlt */
        static const uint8_t code[] = { 0xb8, 7, 0, 0xe7, 0x80, 0x40, 0xe7, 0x80, 0xf4 };
        struct rig *rig = *state;
        struct cpu_doorbell bell = { .port = true, .size = 2, .match = true, .value = 7, .address = TEST_PORT, .fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC) };
        uint64_t count = 0;

        start_code(rig, code, sizeof(code));
        assert_int_equal(cpu_engine_kvm.set_doorbell(rig->engine, &bell, true), 0);
        assert_int_equal(run(rig), CPU_EXIT_HLT);
        assert_int_equal(read(bell.fd, &count, sizeof(count)), sizeof(count));
        assert_int_equal(count, 1);
        assert_int_equal(rig->port_writes, 1); /* the other value comes out */
        assert_int_equal(rig->port_value & 0xff, 8);
        assert_int_equal(cpu_engine_kvm.set_doorbell(rig->engine, &bell, false), 0);
        x86_state_reset(rig->st, 0);
        rig->st->seg[X86_CS].base = rig->st->seg[X86_CS].sel = 0;
        rig->st->rip = CODE;
        assert_int_equal(cpu_engine_kvm.set_state(rig->cpu, rig->st), 0);
        assert_int_equal(run(rig), CPU_EXIT_HLT);
        assert_int_equal(rig->port_writes, 3);
        close(bell.fd);
}

/* The bit of @vector among the requests (IRR) of the local APIC, which is then cleared. */
static bool
was_requested(struct rig *rig, unsigned vector)
{
        const struct cpu_apic_ops *apics = cpu_engine_kvm.apic(rig->engine);
        struct x86_apic apic;
        bool requested;

        apics->get(rig->cpu, &apic);
        requested = apic.reg[0x20 + vector / 32] >> (vector % 32) & 1;
        memset(&apic.reg[0x20], 0, 8 * sizeof(apic.reg[0]));
        assert_int_equal(apics->set(rig->cpu, &apic), 0);
        return requested;
}

static void
write_one(int fd)
{
        uint64_t one = 1;

        assert_int_equal(write(fd, &one, sizeof(one)), sizeof(one));
}

static void
kvm_message_fd_sends_what_it_was_last_told(void **state)
{
        struct rig *rig = *state;
        const struct cpu_apic_ops *apics;
        int fd, other;

        rig->irqchip = "split";
        assert_int_equal(start(rig), 0);
        apics = cpu_engine_kvm.apic(rig->engine);
        x86_state_reset(rig->st, 0);
        assert_int_equal(cpu_engine_kvm.set_state(rig->cpu, rig->st), 0);
        assert_int_equal(apics->set(rig->cpu, &(struct x86_apic){ .base = 0xfee00900, .reg = { [0xf] = 0x1ff } }), 0);
        fd = apics->message_fd(rig->engine, 0, 0xfee00000, 0x4041);
        other = apics->message_fd(rig->engine, 5, 0xfee00000, 0x4051);
        assert_true(fd >= 0 && other >= 0 && fd != other);
        write_one(fd);
        assert_true(was_requested(rig, 0x41));
        assert_int_equal(apics->message_fd(rig->engine, 0, 0xfee00000, 0x4042), fd);
        write_one(fd);
        assert_false(was_requested(rig, 0x41));
        write_one(fd);
        assert_true(was_requested(rig, 0x42));
        write_one(other);
        assert_true(was_requested(rig, 0x51));
        apics->watch_eoi(rig->engine, 16, 0xfee00000, 0xc061); /* the same table */
        write_one(fd);
        assert_true(was_requested(rig, 0x42));
        assert_int_equal(apics->message_fd(rig->engine, 0, 0xfee07000, 0x4042), fd); /* to nobody */
        write_one(fd);
        assert_false(was_requested(rig, 0x42));
        assert_int_equal(apics->message_fd(rig->engine, 1u << 20, 0xfee00000, 0x4041), -ENOTSUP);
}

static void
note_dirty(void *ctx, gpa_t gpa, uint64_t len)
{
        struct rig *rig = ctx;

        if (rig->dirty_ranges++ == 0)
                rig->dirty_first = gpa;
        rig->dirty_end = gpa + len;
}

static void
kvm_dirty_log_names_written_pages_once(void **state)
{
        /* mov %al, 0x8123; mov %al, 0x9123; hlt */
        static const uint8_t code[] = { 0xa2, 0x23, 0x81, 0xa2, 0x23, 0x91, 0xf4 };
        struct rig *rig = *state;

        start_code(rig, code, sizeof(code));
        assert_int_equal(cpu_engine_kvm.log_dirty(rig->engine, true), 0);
        assert_int_equal(cpu_engine_kvm.take_dirty(rig->engine, note_dirty, rig), 0);
        assert_int_equal(rig->dirty_ranges, 0);
        assert_int_equal(run(rig), CPU_EXIT_HLT);
        assert_int_equal(cpu_engine_kvm.take_dirty(rig->engine, note_dirty, rig), 0);
        assert_int_equal(rig->dirty_ranges, 1);
        assert_int_equal(rig->dirty_first, DATA_PAGE);
        assert_int_equal(rig->dirty_end, DATA_PAGE + 2 * MEM_PAGE_SIZE);
        assert_int_equal(cpu_engine_kvm.take_dirty(rig->engine, note_dirty, rig), 0);
        assert_int_equal(rig->dirty_ranges, 1);
        assert_int_equal(cpu_engine_kvm.log_dirty(rig->engine, false), 0);
}

static void
kvm_more_processors_than_kvm_allows(void **state)
{
        struct rig *rig = *state;

        rig->vcpus = 1u << 30;
        assert_int_equal(start(rig), -E2BIG);
        assert_non_null(strstr(rig->err.text, "KVM_CAP_MAX_VCPUS"));
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int
main(void)
{
        const struct CMUnitTest tests[] = {
                TEST(kvm_ports_and_registers_go_both_ways),
                TEST(kvm_accesses_in_parts_survive_kicks),
                TEST(kvm_step_over_an_access_survives_kicks),
                TEST(kvm_state_comes_back_as_it_was),
                TEST(kvm_avx_and_pkru_come_back),
                TEST(kvm_state_comes_back_with_the_split_irqchip),
                TEST(kvm_mp_state_is_the_kernels_with_the_split_irqchip),
                TEST(kvm_local_apic_comes_back_from_the_kernel),
                TEST(kvm_no_apics_of_its_own_without_split),
                TEST(kvm_impossible_state_is_refused),
                TEST(kvm_constant_msr_is_the_shared_policys),
                TEST(kvm_unknown_msr_faults),
                TEST(kvm_unknown_msr_reads_0_where_ignored),
                TEST(kvm_doorbell_rings_instead_of_the_port),
                TEST(kvm_message_fd_sends_what_it_was_last_told),
                TEST(kvm_dirty_log_names_written_pages_once),
                TEST(kvm_more_processors_than_kvm_allows),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
