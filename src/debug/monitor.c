/* SPDX-License-Identifier: BSD-2-Clause */
/* The words of gdb's `monitor` command. */
#include "base/parse.h"
#include "base/util.h"
#include "debug/private.h"
#include "instance/regs.h"
#include "x86/msr.h"
#include "x86/paging.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#define ARGS_MAX 6

/* Where an x86-64 Linux kernel is linked, and how finely it may be moved (its documentation x86/x86_64/mm). */
#define LINUX_TEXT  UINT64_C(0xffffffff81000000)
#define LINUX_LOW   UINT64_C(0xffffffff80000000)
#define LINUX_ALIGN UINT64_C(0x200000)
#define LINUX_SPAN  UINT64_C(0x8000000)

struct monitor {
        struct stub *stub;
        unsigned argc;
        char *argv[ARGS_MAX];
        FILE *out;
};

static bool
number(const struct monitor *m, unsigned arg, uint64_t *ret_value)
{
        char *end;

        /* Addresses as gdb prints them; decimal too. */
        if (arg >= m->argc || m->argv[arg][0] == '\0') {
                fprintf(m->out, "a number is missing\n");
                return false;
        }
        *ret_value = strtoull(m->argv[arg], &end, 0);
        if (*end == '\0')
                return true;
        fprintf(m->out, "'%s' is not a number\n", m->argv[arg]);
        return false;
}

static void
do_registers(const struct monitor *m)
{
        regs_print(m->out, m->stub->vcpu, stub_state(m->stub));
}

static void
do_cpuid(const struct monitor *m)
{
        uint64_t leaf, subleaf = 0;
        struct x86_cpuid c;

        if (!number(m, 1, &leaf) || (m->argc > 2 && !number(m, 2, &subleaf)))
                return;
        x86_model_cpuid(m->stub->config.model, stub_state(m->stub), m->stub->vcpu, (uint32_t)leaf, (uint32_t)subleaf,
            &c);
        fprintf(m->out, "eax 0x%08x ebx 0x%08x ecx 0x%08x edx 0x%08x\n", c.eax, c.ebx, c.ecx, c.edx);
}

/* MSRs that engines keep in the state but x86_msr_read leaves to them. */
static uint64_t *
msr_field(struct x86_state *st, uint32_t msr)
{
        switch (msr) {
        case X86_MSR_EFER:
                return &st->efer;
        case X86_MSR_FS_BASE:
                return &st->seg[X86_FS].base;
        case X86_MSR_GS_BASE:
                return &st->seg[X86_GS].base;
        case X86_MSR_KERNEL_GS_BASE:
                return &st->kernel_gs_base;
        case X86_MSR_APIC_BASE:
                return &st->apic_base;
        default:
                return NULL;
        }
}

static void
do_msr(const struct monitor *m)
{
        struct x86_state *st = stub_state(m->stub);
        uint64_t msr, value, *field;
        enum x86_msr_result result;

        if (!number(m, 1, &msr) || (m->argc > 2 && !number(m, 2, &value)))
                return;
        field = msr_field(st, (uint32_t)msr);
        if (m->argc > 2) {
                result = field != NULL ? X86_MSR_GP :
                                         x86_msr_write(st, m->stub->config.model, (uint32_t)msr, value);
                if (result != X86_MSR_OK || stub_state_changed(m->stub) != 0)
                        fprintf(m->out, "it cannot be written here\n");
                return;
        }
        result = X86_MSR_OK;
        if (field != NULL)
                value = *field;
        else
                result = x86_msr_read(st, m->stub->config.model, (uint32_t)msr, &value);
        if (result == X86_MSR_OK)
                fprintf(m->out, "0x%016" PRIx64 "\n", value);
        else
                fprintf(m->out, "there is no such MSR, or the interrupt controller has it (monitor lapic)\n");
}

static void
do_pic(const struct monitor *m)
{
        char buf[8192] = "";

        i8259_describe(irqchip_pic(m->stub->config.irqchip), buf, sizeof(buf));
        fputs(buf, m->out);
}

static void
do_lapic(const struct monitor *m)
{
        char buf[8192] = "";

        (void)stub_state(m->stub); /* brings the local APIC with it, where the engine has it */
        lapic_describe(irqchip_lapic(m->stub->config.irqchip, m->stub->vcpu), buf, sizeof(buf));
        fputs(buf, m->out);
}

static void
do_ioapic(const struct monitor *m)
{
        char buf[8192] = "";

        ioapic_describe(irqchip_ioapic(m->stub->config.irqchip), buf, sizeof(buf));
        fputs(buf, m->out);
}

static void
do_tlb(const struct monitor *m)
{
        struct x86_walk w;
        uint64_t address;

        if (!number(m, 1, &address))
                return;
        if (x86_walk(m->stub->config.mem, stub_state(m->stub), address, X86_WALK_AC, &w) != 0) {
                fprintf(m->out, "0x%" PRIx64 " is not mapped (page fault error code 0x%x)\n", address, w.error);
                return;
        }
        fprintf(m->out, "0x%" PRIx64 " -> 0x%" PRIx64 ", page of %" PRIu64 " KiB: %s, %s, %s%s%s\n", address, w.gpa,
            w.page_bytes / 1024, w.user ? "user" : "supervisor", w.writable ? "writable" : "read-only",
            w.nx ? "not executable" : "executable", w.global ? ", global" : "", w.dirty ? ", dirty" : "");
}

static void
do_nmi(const struct monitor *m)
{
        m->stub->config.ops->inject_nmi(m->stub->config.ctx);
}

static void
do_reset(const struct monitor *m)
{
        m->stub->config.ops->reset(m->stub->config.ctx);
}

static void
do_poweroff(const struct monitor *m)
{
        m->stub->config.ops->poweroff(m->stub->config.ctx);
}

static void
dump_physical(const struct monitor *m, uint64_t address, uint64_t len)
{
        uint8_t line[16];

        for (uint64_t done = 0; done < len; done += sizeof(line)) {
                unsigned part = len - done < sizeof(line) ? (unsigned)(len - done) : (unsigned)sizeof(line);

                if (mem_read(m->stub->config.mem, address + done, line, part) != 0) {
                        fprintf(m->out, "0x%" PRIx64 " is not memory\n", address + done);
                        return;
                }
                fprintf(m->out, "0x%09" PRIx64 ":", address + done);
                for (unsigned i = 0; i < part; i++)
                        fprintf(m->out, " %02x", line[i]);
                fprintf(m->out, "\n");
        }
}

static void
do_phys(const struct monitor *m)
{
        uint64_t address, len = 64;
        bool on;

        if (m->argc > 1 && parse_bool(m->argv[1], &on) == 0 && strlen(m->argv[1]) > 1) {
                m->stub->physical = on;
        } else if (m->argc > 1) {
                if (number(m, 1, &address) && (m->argc < 3 || number(m, 2, &len)))
                        dump_physical(m, address, len < 4096 ? len : 4096);
                return;
        }
        fprintf(m->out, "memory is read and written by %s address\n", m->stub->physical ? "physical" : "linear");
}

static void
do_step_irqs(const struct monitor *m)
{
        bool on;

        if (m->argc > 1 && parse_bool(m->argv[1], &on) == 0) {
                m->stub->step_irqs = on;
                m->stub->points_dirty = true; /* the engine is told with the next step */
        }
        fprintf(m->out, "steps %s interrupt handlers\n", m->stub->step_irqs ? "may enter" : "do not enter");
}

/* ---- kaslr ---- */

static bool
mapped(const struct monitor *m, gva_t address)
{
        struct x86_walk w;

        return x86_walk(m->stub->config.mem, stub_state(m->stub), address, X86_WALK_AC, &w) == 0;
}

/* The kernel's banner between @from and @to, copied up to its line's end. */
static bool
find_banner(const struct monitor *m, gva_t from, gva_t to, char *ret_text, size_t size)
{
        static const char word[] = "Linux version ";
        char page[MEM_PAGE_SIZE + 128];
        bool physical = m->stub->physical;
        bool found = false;

        m->stub->physical = false;
        for (gva_t at = from; at < to && !found; at += MEM_PAGE_SIZE) {
                size_t done;
                char *p;

                if (stub_read(m->stub, at, page, sizeof(page) - 1, &done) != 0)
                        continue;
                page[done] = '\0';
                p = memmem(page, done, word, sizeof(word) - 1);
                if (p == NULL || p[sizeof(word) - 1] < '2' || p[sizeof(word) - 1] > '9')
                        continue;
                snprintf(ret_text, size, "%.*s", (int)strcspn(p, "(\n"), p);
                found = true;
        }
        m->stub->physical = physical;
        return found;
}

static void
do_kaslr(const struct monitor *m)
{
        const struct x86_state *st = stub_state(m->stub);
        gva_t entry = st->lstar != 0 ? st->lstar : st->rip, base;
        char banner[128];

        if (!x86_long_mode(st) || entry < LINUX_LOW || !mapped(m, entry)) {
                fprintf(m->out, "this processor runs no 64-bit Linux kernel (yet)\n");
                return;
        }
        /* Nothing below the kernel's first byte stays mapped: the start of the mapping is its base. */
        base = entry & ~(LINUX_ALIGN - 1);
        while (base - LINUX_ALIGN >= LINUX_LOW && mapped(m, base - LINUX_ALIGN))
                base -= LINUX_ALIGN;
        if (base < LINUX_TEXT || !find_banner(m, base, base + LINUX_SPAN, banner, sizeof(banner))) {
                fprintf(m->out, "no Linux kernel is recognised (it maps its text late in its start)\n");
                return;
        }
        fprintf(m->out, "%s\ntext at 0x%" PRIx64 ", slide 0x%" PRIx64 "\nadd-symbol-file vmlinux -o 0x%" PRIx64 "\n",
            banner, base, base - LINUX_TEXT, base - LINUX_TEXT);
}

static void do_help(const struct monitor *m);

static const struct {
        const char *word, *second; /* second: NULL if arguments follow */
        void (*fn)(const struct monitor *m);
        const char *usage, *help;
} rows[] = {
        { "help", NULL, do_help, "help", "this list" },
        { "info", "registers", do_registers, "info registers", "all of the current processor's registers" },
        { "cpuid", NULL, do_cpuid, "cpuid LEAF [SUBLEAF]", "what CPUID says" },
        { "msr", NULL, do_msr, "msr NUMBER [VALUE]", "read or write a model-specific register" },
        { "pic", NULL, do_pic, "pic", "the 8259 pair" },
        { "lapic", NULL, do_lapic, "lapic", "the current processor's local APIC" },
        { "ioapic", NULL, do_ioapic, "ioapic", "the I/O APIC" },
        { "tlb", NULL, do_tlb, "tlb ADDRESS", "walk the page tables" },
        { "phys", NULL, do_phys, "phys on|off, phys ADDRESS [LENGTH]", "physical addresses in memory commands; a dump" },
        { "kaslr", NULL, do_kaslr, "kaslr", "where a Linux kernel has moved itself" },
        { "step-irqs", NULL, do_step_irqs, "step-irqs on|off", "whether steps may enter interrupt handlers" },
        { "inject-nmi", NULL, do_nmi, "inject-nmi", "send an NMI to every processor" },
        { "reset", NULL, do_reset, "reset", "end the VM as if the guest had reset" },
        { "poweroff", NULL, do_poweroff, "poweroff", "end the VM as if the guest had powered off" },
};

static void
do_help(const struct monitor *m)
{
        for (size_t i = 0; i < ARRAY_LEN(rows); i++)
                fprintf(m->out, "%-36s %s\n", rows[i].usage, rows[i].help);
}

void
stub_monitor(struct stub *stub, char *line, FILE *out)
{
        struct monitor m = { .stub = stub, .out = out };
        char *word;

        while (m.argc < ARGS_MAX && (word = strsep(&line, " \t\n")) != NULL)
                if (*word != '\0')
                        m.argv[m.argc++] = word;
        for (size_t i = 0; m.argc > 0 && i < ARRAY_LEN(rows); i++) {
                if (strcmp(m.argv[0], rows[i].word) != 0)
                        continue;
                if (rows[i].second != NULL && (m.argc < 2 || strcmp(m.argv[1], rows[i].second) != 0))
                        continue;
                rows[i].fn(&m);
                return;
        }
        fprintf(out, "unknown command; see monitor help\n");
}
