/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * bhyvectl(8): looks at and controls one VM.
 *
 * A running VM answers over its control socket; of a stopped one the saved
 * state is read and written.  Options are carried out in the order in which the table
 * below has them, as on FreeBSD: what creates first, what destroys last.
 */
#include "base/log.h"
#include "base/parse.h"
#include "base/util.h"
#include "config/vm_config.h"
#include "instance/control.h"
#include "instance/regs.h"
#include "mem/mem.h"

#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define EXIT_ERROR     1
#define DESTROY_WAIT_S 10

struct ctl {
        struct instance *instance;
        unsigned cpu;
        struct x86_seg desc; /* of --desc-base, --desc-limit, --desc-access */
        bool has_base, has_limit, has_access;
        unsigned nvram_offset;
        const char *argument; /* of the option being carried out */
        const char *capability; /* --capname; NULL: none */
        struct config_error err;
};

typedef int ctl_fn(struct ctl *ctl, const char *reg);

static ctl_fn ctl_create, ctl_destroy, ctl_get_all, ctl_stats, ctl_nmi, ctl_reset, ctl_poweroff, ctl_shutdown, ctl_get,
    ctl_set, ctl_get_desc, ctl_set_desc, ctl_lowmem, ctl_highmem, ctl_memmap, ctl_active, ctl_chips, ctl_set_mem,
    ctl_suspended, ctl_x2apic, ctl_set_x2apic, ctl_getcap, ctl_setcap, ctl_lvt, ctl_rtc, ctl_set_rtc, ctl_nvram, ctl_set_nvram, ctl_core,
    ctl_sysenter, ctl_intinfo, ctl_topology;

enum ctl_argument { NO_ARG = no_argument, ARG = required_argument, MAYBE_ARG = optional_argument };

struct ctl_row {
        const char *name;
        enum ctl_argument argument;
        ctl_fn *fn;
        const char *reg;     /* register for fn */
        const char *help;    /* NULL: not in the short list */
        const char *refused; /* why it cannot be had */
};

#define NO_HARDWARE "it is state of VT-x or SVM hardware, and no such hardware runs this VM"
#define NO_PASSTHROUGH "there is no device passthrough"

#define REGISTER(name) \
        { "get-" name, NO_ARG, ctl_get, name, NULL, NULL }, { "set-" name, ARG, ctl_set, name, NULL, NULL }
#define SEGMENT(name)                                                                              \
        REGISTER(name), { "get-desc-" name, NO_ARG, ctl_get_desc, name, NULL, NULL },              \
            { "set-desc-" name, NO_ARG, ctl_set_desc, name, NULL, NULL }
#define TABLE(name)                                                                                \
        { "get-desc-" name, NO_ARG, ctl_get_desc, name, NULL, NULL },                              \
            { "set-desc-" name, NO_ARG, ctl_set_desc, name, NULL, NULL }
#define REFUSED(name, reason) { name, MAYBE_ARG, NULL, NULL, NULL, reason }

static const struct ctl_row ctl_rows[] = {
        { "create", NO_ARG, ctl_create, NULL, "make the VM, with nothing loaded", NULL },
        { "set-mem", ARG, ctl_set_mem, NULL, "give a stopped VM new, empty memory of this size", NULL },
        SEGMENT("cs"), SEGMENT("ds"), SEGMENT("es"), SEGMENT("fs"), SEGMENT("gs"), SEGMENT("ss"), SEGMENT("tr"),
        SEGMENT("ldtr"), TABLE("gdtr"), TABLE("idtr"),
        REGISTER("rax"), REGISTER("rbx"), REGISTER("rcx"), REGISTER("rdx"), REGISTER("rsi"), REGISTER("rdi"),
        REGISTER("rbp"), REGISTER("rsp"), REGISTER("r8"), REGISTER("r9"), REGISTER("r10"), REGISTER("r11"),
        REGISTER("r12"), REGISTER("r13"), REGISTER("r14"), REGISTER("r15"), REGISTER("rip"), REGISTER("rflags"),
        REGISTER("cr0"), REGISTER("cr2"), REGISTER("cr3"), REGISTER("cr4"), REGISTER("dr0"), REGISTER("dr1"),
        REGISTER("dr2"), REGISTER("dr3"), REGISTER("dr6"), REGISTER("dr7"), REGISTER("efer"),
        { "get-guest-pat", NO_ARG, ctl_get, "pat", NULL, NULL },
        { "get-tsc-offset", NO_ARG, ctl_get, "tsc-offset", NULL, NULL },
        { "get-guest-sysenter", NO_ARG, ctl_sysenter, NULL, NULL, NULL },
        { "get-intinfo", NO_ARG, ctl_intinfo, NULL, NULL, NULL },
        { "get-lowmem", NO_ARG, ctl_lowmem, NULL, NULL, NULL },
        { "get-highmem", NO_ARG, ctl_highmem, NULL, NULL, NULL },
        { "get-memmap", NO_ARG, ctl_memmap, NULL, NULL, NULL },
        { "get-memseg", NO_ARG, ctl_memmap, NULL, NULL, NULL },
        { "get-active-cpus", NO_ARG, ctl_active, NULL, NULL, NULL },
        { "get-suspended-cpus", NO_ARG, ctl_suspended, NULL, NULL, NULL },
        { "get-cpu-topology", NO_ARG, ctl_topology, NULL, NULL, NULL },
        { "set-x2apic-state", ARG, ctl_set_x2apic, NULL, NULL, NULL },
        { "get-x2apic-state", NO_ARG, ctl_x2apic, NULL, NULL, NULL },
        { "setcap", ARG, ctl_setcap, NULL, NULL, NULL },
        { "getcap", NO_ARG, ctl_getcap, NULL, "whether a running VM has the capability --capname, or what it has", NULL },
        { "assert-lapic-lvt", ARG, ctl_lvt, NULL, "signal this entry of the local vector table of --cpu", NULL },
        { "set-rtc-time", ARG, ctl_set_rtc, NULL, "set a running VM's clock chip, in seconds since 1970", NULL },
        { "get-rtc-time", NO_ARG, ctl_rtc, NULL, "read it", NULL },
        { "set-rtc-nvram", ARG, ctl_set_nvram, NULL, "set the byte of its memory at --rtc-nvram-offset", NULL },
        { "get-rtc-nvram", NO_ARG, ctl_nvram, NULL, "read it", NULL },
        { "get-chips", NO_ARG, ctl_chips, NULL, "the interrupt controllers of a running VM", NULL },
        { "get-stats", NO_ARG, ctl_stats, NULL, "counters of a running VM's processors", NULL },
        { "get-all", NO_ARG, ctl_get_all, NULL, "everything readable", NULL },
        { "core", ARG, ctl_core, NULL, "write an ELF core of a running VM to this file", NULL },
        { "inject-nmi", NO_ARG, ctl_nmi, NULL, "send an NMI to every processor", NULL },
        { "force-reset", NO_ARG, ctl_reset, NULL, "end a running VM as if the guest had reset", NULL },
        { "force-poweroff", NO_ARG, ctl_poweroff, NULL, "end a running VM as if the guest had powered off", NULL },
        { "shutdown", MAYBE_ARG, ctl_shutdown, NULL,
            "press the power button; with =SECONDS, force the VM off when it has not ended by then", NULL },
        { "destroy", NO_ARG, ctl_destroy, NULL, "end the VM if it runs, and remove it", NULL },
        REFUSED("get-eptp", NO_HARDWARE), REFUSED("get-exit-reason", NO_HARDWARE),
        REFUSED("get-io-bitmap-address", NO_HARDWARE), REFUSED("get-io-bitmap", NO_HARDWARE),
        REFUSED("get-msr-bitmap", NO_HARDWARE), REFUSED("get-msr-bitmap-address", NO_HARDWARE),
        REFUSED("get-exception-bitmap", NO_HARDWARE), REFUSED("set-exception-bitmap", NO_HARDWARE),
        REFUSED("get-gpa-pmap", NO_HARDWARE), REFUSED("unassign-pptdev", NO_PASSTHROUGH),
        REFUSED("run", "start bhyve to run the VM"),
        REFUSED("checkpoint", "snapshots are not supported"), REFUSED("suspend", "snapshots are not supported"),
};

/* Options that only say what others work on. */
enum { OPT_VM = 1000, OPT_CPU, OPT_BASE, OPT_LIMIT, OPT_ACCESS, OPT_NVRAM, OPT_CAPABILITY, OPT_HELP };

static const struct option ctl_common[] = {
        { "vm", required_argument, NULL, OPT_VM },           { "cpu", required_argument, NULL, OPT_CPU },
        { "desc-base", required_argument, NULL, OPT_BASE },  { "desc-limit", required_argument, NULL, OPT_LIMIT },
        { "desc-access", required_argument, NULL, OPT_ACCESS }, { "help", no_argument, NULL, OPT_HELP },
        { "rtc-nvram-offset", required_argument, NULL, OPT_NVRAM },
        { "capname", required_argument, NULL, OPT_CAPABILITY },
};

#define OPTION_COUNT (ARRAY_LEN(ctl_common) + ARRAY_LEN(ctl_rows))

static bool
is_running(const struct ctl *ctl)
{
        return instance_is_locked(ctl->instance);
}

static int
request(struct ctl *ctl, FILE *out, const char *fmt, ...)
{
        char line[CONTROL_LINE_MAX];
        va_list ap;

        va_start(ap, fmt);
        vsnprintf(line, sizeof(line), fmt, ap);
        va_end(ap);
        return control_request(ctl->instance, line, out, &ctl->err);
}

/* The saved state of the processor chosen: the boot processor's is all that a loader leaves. */
static int
load_state(struct ctl *ctl, struct instance_state **ret_state)
{
        struct instance_state *state = aligned_alloc(_Alignof(struct instance_state), sizeof(*state));
        int error;

        if (state == NULL)
                return config_fail(&ctl->err, "out of memory");
        error = instance_state_load(ctl->instance, state, &ctl->err);
        if (error == 0 && ctl->cpu >= state->cpu_count)
                error = config_fail(&ctl->err, "VM %s is stopped, and virtual CPU %u has no saved state",
                    instance_name(ctl->instance), ctl->cpu);
        if (error != 0)
                free(state);
        else
                *ret_state = state;
        return error;
}

static int
ctl_create(struct ctl *ctl, const char *reg)
{
        /* It was made when it was opened. */
        return 0;
}

static int
ctl_set_mem(struct ctl *ctl, const char *reg)
{
        uint64_t bytes;
        int fd, error;

        if (parse_size(ctl->argument, &bytes) == 0 && bytes < MIB)
                bytes *= MIB; /* FreeBSD's unit */
        else if (parse_size(ctl->argument, &bytes) != 0)
                bytes = 0;
        if (bytes == 0 || bytes % (2 * MIB) != 0)
                return config_fail(&ctl->err, "--set-mem: '%s' is not a size that is a multiple of 2M", ctl->argument);
        if (is_running(ctl))
                return config_fail(&ctl->err, "VM %s is running: its memory stays", instance_name(ctl->instance));
        error = instance_memory_create(ctl->instance, bytes, &fd, &ctl->err);
        if (error == 0)
                close(fd);
        return error;
}

static int
wait_stopped(struct ctl *ctl, unsigned seconds)
{
        const struct timespec tick = { .tv_nsec = 20 * 1000 * 1000 };

        for (unsigned i = 0; i < seconds * 50 && is_running(ctl); i++)
                nanosleep(&tick, NULL);
        return is_running(ctl) ? -ETIMEDOUT : 0;
}

static int
ctl_destroy(struct ctl *ctl, const char *reg)
{
        if (is_running(ctl)) {
                int error = request(ctl, stdout, "poweroff");

                if (error != 0 && error != -EPIPE)
                        return error;
                if (wait_stopped(ctl, DESTROY_WAIT_S) != 0)
                        return config_fail(&ctl->err, "VM %s does not end", instance_name(ctl->instance));
        }
        return instance_destroy(ctl->instance, &ctl->err);
}

static int
ctl_get_all(struct ctl *ctl, const char *reg)
{
        struct instance_state *state;
        int error;

        if (is_running(ctl)) {
                error = request(ctl, stdout, "info");
                if (error == 0)
                        error = request(ctl, stdout, "regs %u", ctl->cpu);
                return error != 0 ? error : request(ctl, stdout, "chips %u", ctl->cpu);
        }
        error = ctl_memmap(ctl, NULL);
        if (error == 0)
                error = load_state(ctl, &state);
        if (error != 0)
                return error;
        regs_print(stdout, ctl->cpu, &state->cpu[ctl->cpu]);
        free(state);
        return 0;
}

static int
ctl_stats(struct ctl *ctl, const char *reg)
{
        return request(ctl, stdout, "stats");
}

static int
ctl_chips(struct ctl *ctl, const char *reg)
{
        return request(ctl, stdout, "chips %u", ctl->cpu);
}

static int
ctl_core(struct ctl *ctl, const char *reg)
{
        char cwd[256] = "";

        /* The process that writes it may run elsewhere. */
        if (ctl->argument[0] != '/' && (getcwd(cwd, sizeof(cwd) - 1) == NULL || strlen(cwd) == 0))
                return config_fail(&ctl->err, "--core: give the file's whole path");
        if (cwd[0] != '\0')
                strcat(cwd, "/");
        if (strlen(cwd) + strlen(ctl->argument) + sizeof("core ") > CONTROL_LINE_MAX - 2 ||
            strchr(ctl->argument, '\n') != NULL)
                return config_fail(&ctl->err, "--core: the file's path is too long");
        return request(ctl, stdout, "core %s%s", cwd, ctl->argument);
}

static int
ctl_rtc(struct ctl *ctl, const char *reg)
{
        return request(ctl, stdout, "rtc");
}

static int
ctl_set_rtc(struct ctl *ctl, const char *reg)
{
        return request(ctl, stdout, "set-rtc %s", ctl->argument);
}

static int
ctl_nvram(struct ctl *ctl, const char *reg)
{
        return request(ctl, stdout, "nvram %u", ctl->nvram_offset);
}

static int
ctl_set_nvram(struct ctl *ctl, const char *reg)
{
        return request(ctl, stdout, "set-nvram %u %s", ctl->nvram_offset, ctl->argument);
}

static int
ctl_nmi(struct ctl *ctl, const char *reg)
{
        return request(ctl, stdout, "nmi");
}

static int
ctl_reset(struct ctl *ctl, const char *reg)
{
        return request(ctl, stdout, "reset");
}

static int
ctl_poweroff(struct ctl *ctl, const char *reg)
{
        return request(ctl, stdout, "poweroff");
}

static int
ctl_shutdown(struct ctl *ctl, const char *reg)
{
        uint64_t seconds = 0;
        int error;

        if (ctl->argument != NULL && (parse_u64(ctl->argument, &seconds) != 0 || seconds > 86400))
                return config_fail(&ctl->err, "--shutdown: '%s' is not a number of seconds", ctl->argument);
        error = request(ctl, stdout, "button");
        /* A guest without ACPI cannot be asked; with a time limit it need not be. */
        if (ctl->argument == NULL || (error != 0 && error != -EPROTO))
                return error;
        if (error == 0 && wait_stopped(ctl, (unsigned)seconds) == 0)
                return 0;
        return request(ctl, stdout, "poweroff");
}

static void
print_register(const char *name, uint64_t value)
{
        printf("%s\t\t0x%016" PRIx64 "\n", name, value);
}

static int
ctl_get(struct ctl *ctl, const char *reg)
{
        struct instance_state *state;
        uint64_t value;
        int error;

        if (is_running(ctl)) {
                printf("%s[%u]\t", reg, ctl->cpu);
                fflush(stdout);
                return request(ctl, stdout, "get %u %s", ctl->cpu, reg);
        }
        error = load_state(ctl, &state);
        if (error != 0)
                return error;
        error = regs_get(&state->cpu[ctl->cpu], reg, &value);
        if (error == 0)
                printf("%s[%u]\t0x%016" PRIx64 "\n", reg, ctl->cpu, value);
        free(state);
        return error;
}

static int
ctl_set(struct ctl *ctl, const char *reg)
{
        struct instance_state *state;
        uint64_t value;
        int error;

        if (parse_u64(ctl->argument, &value) != 0)
                return config_fail(&ctl->err, "--set-%s: '%s' is not a number", reg, ctl->argument);
        if (is_running(ctl))
                return request(ctl, stdout, "set %u %s %s", ctl->cpu, reg, ctl->argument);
        error = load_state(ctl, &state);
        if (error != 0)
                return error;
        error = regs_set(&state->cpu[ctl->cpu], reg, value);
        if (error == 0)
                error = instance_state_save(ctl->instance, state, &ctl->err);
        free(state);
        return error;
}

static int
ctl_get_desc(struct ctl *ctl, const char *reg)
{
        struct instance_state *state;
        struct x86_seg seg;
        int error;

        if (is_running(ctl)) {
                printf("%s desc[%u]\t", reg, ctl->cpu);
                fflush(stdout);
                return request(ctl, stdout, "desc %u %s", ctl->cpu, reg);
        }
        error = load_state(ctl, &state);
        if (error != 0)
                return error;
        error = regs_get_desc(&state->cpu[ctl->cpu], reg, &seg);
        if (error == 0)
                printf("%s desc[%u]\t0x%016" PRIx64 "/0x%08x/0x%08x\n", reg, ctl->cpu, seg.base, seg.limit, seg.attr);
        free(state);
        return error;
}

static int
ctl_set_desc(struct ctl *ctl, const char *reg)
{
        struct instance_state *state;
        struct x86_seg seg;
        int error;

        if (!ctl->has_base || !ctl->has_limit)
                return config_fail(&ctl->err, "--set-desc-%s wants --desc-base, --desc-limit and --desc-access", reg);
        if (is_running(ctl))
                return request(ctl, stdout, "set-desc %u %s 0x%" PRIx64 " 0x%x 0x%x", ctl->cpu, reg, ctl->desc.base,
                    ctl->desc.limit, ctl->desc.attr);
        error = load_state(ctl, &state);
        if (error != 0)
                return error;
        error = regs_get_desc(&state->cpu[ctl->cpu], reg, &seg);
        seg.base = ctl->desc.base;
        seg.limit = ctl->desc.limit;
        if (ctl->has_access)
                seg.attr = ctl->desc.attr;
        if (error == 0)
                error = regs_set_desc(&state->cpu[ctl->cpu], reg, &seg);
        if (error == 0)
                error = instance_state_save(ctl->instance, state, &ctl->err);
        free(state);
        return error;
}

/* What a running VM answers, which the caller frees. */
static int
answer(struct ctl *ctl, const char *line, char **ret_text)
{
        char *text = NULL;
        size_t len;
        FILE *out = open_memstream(&text, &len);
        int error;

        if (out == NULL)
                return config_fail(&ctl->err, "out of memory");
        error = request(ctl, out, "%s", line);
        fclose(out);
        if (error == 0 && text == NULL)
                error = config_fail(&ctl->err, "out of memory");
        if (error != 0)
                free(text);
        else
                *ret_text = text;
        return error;
}

/* Sizes of memory below and above 4 GiB. */
static int
memory_sizes(struct ctl *ctl, uint64_t *ret_low, uint64_t *ret_high)
{
        char *text, *low, *high;
        uint64_t bytes;
        int fd, error;

        if (!is_running(ctl)) {
                error = instance_memory_open(ctl->instance, &fd, &bytes, &ctl->err);
                if (error != 0)
                        return error;
                close(fd);
                *ret_low = bytes < MEM_LOW_LIMIT ? bytes : MEM_LOW_LIMIT;
                *ret_high = bytes - *ret_low;
                return 0;
        }
        error = answer(ctl, "info", &text);
        if (error != 0)
                return error;
        low = strstr(text, "lowmem ");
        high = strstr(text, "highmem ");
        if (low == NULL || high == NULL)
                error = config_fail(&ctl->err, "the answer cannot be read");
        if (error == 0) {
                *ret_low = strtoull(low + 7, NULL, 10);
                *ret_high = strtoull(high + 8, NULL, 10);
        }
        free(text);
        return error;
}

static int
ctl_lowmem(struct ctl *ctl, const char *reg)
{
        uint64_t low, high;
        int error = memory_sizes(ctl, &low, &high);

        if (error == 0)
                print_register("lowmem", low);
        return error;
}

static int
ctl_highmem(struct ctl *ctl, const char *reg)
{
        uint64_t low, high;
        int error = memory_sizes(ctl, &low, &high);

        if (error == 0)
                print_register("highmem", high);
        return error;
}

static int
ctl_memmap(struct ctl *ctl, const char *reg)
{
        uint64_t low, high;
        int error = memory_sizes(ctl, &low, &high);

        if (error != 0)
                return error;
        printf("0x%012x 0x%012" PRIx64 " rwx\n", 0, low);
        if (high != 0)
                printf("0x%012llx 0x%012" PRIx64 " rwx\n", (unsigned long long)MEM_HIGH_BASE, high);
        return 0;
}

/* What a running VM answers under @name: the rest of that line, which is freed by the caller. */
static int
answer_line(struct ctl *ctl, const char *question, const char *name, char **ret_text)
{
        char *text, *line, *rest;
        size_t name_len = strlen(name);
        int error = answer(ctl, question, &text);

        if (error != 0)
                return error;
        rest = text;
        while ((line = strsep(&rest, "\n")) != NULL && strncmp(line, name, name_len) != 0)
                ;
        *ret_text = line == NULL ? NULL : strdup(line + name_len);
        free(text);
        return *ret_text == NULL ? config_fail(&ctl->err, "the answer cannot be read") : 0;
}

/* The same for what is 0 or 1. */
static int
answer_flag(struct ctl *ctl, const char *name, bool *ret_set)
{
        char *value;
        int error = answer_line(ctl, "cpus", name, &value);

        if (error != 0)
                return error;
        *ret_set = strcmp(value, " 1") == 0;
        free(value);
        return 0;
}

static int
print_cpu_set(struct ctl *ctl, const char *name)
{
        char *set = NULL;
        int error = is_running(ctl) ? answer_line(ctl, "cpus", name, &set) : 0;

        if (error == 0)
                printf("%s cpus:\t%s\n", name, set == NULL || set[0] == '\0' ? " (none)" : set);
        free(set);
        return error;
}

static int
ctl_active(struct ctl *ctl, const char *reg)
{
        return print_cpu_set(ctl, "active");
}

static int
ctl_suspended(struct ctl *ctl, const char *reg)
{
        return print_cpu_set(ctl, "suspended");
}

static int
ctl_topology(struct ctl *ctl, const char *reg)
{
        static const char *const names[] = { "cpus", "sockets", "cores", "threads" };
        int error = 0;

        for (size_t i = 0; i < ARRAY_LEN(names) && error == 0; i++) {
                char *value;

                error = answer_line(ctl, "info", names[i], &value);
                if (error != 0)
                        break;
                printf("%s%s=%s%s", i == 0 ? "cpu_topology:\t" : "", names[i], value + 1,
                    i + 1 < ARRAY_LEN(names) ? ", " : "\n");
                free(value);
        }
        return error;
}

static int
ctl_x2apic(struct ctl *ctl, const char *reg)
{
        bool on;
        int error = answer_flag(ctl, "x2apic", &on);

        if (error == 0)
                printf("x2apic_state is %s on vcpu %u\n", on ? "enabled" : "disabled", ctl->cpu);
        return error;
}

/* The value of an option that may be 0 or 1. */
static int
argument_flag(struct ctl *ctl, const char *option, bool *ret_value)
{
        *ret_value = ctl->argument[0] == '1';
        if (strcmp(ctl->argument, "0") != 0 && strcmp(ctl->argument, "1") != 0)
                return config_fail(&ctl->err, "--%s: '%s' is neither 0 nor 1", option, ctl->argument);
        return 0;
}

/* Scripts may say what is so already. */
static int
ctl_set_x2apic(struct ctl *ctl, const char *reg)
{
        bool wanted, on;
        int error = argument_flag(ctl, "set-x2apic-state", &wanted);

        if (error == 0)
                error = answer_flag(ctl, "x2apic", &on);
        if (error == 0 && on != wanted)
                error = config_fail(&ctl->err, "--set-x2apic-state: the mode stays as it is: start bhyve with %s",
                    wanted ? "-x" : "-a");
        return error;
}

/* What a capability is here, and why it stays so. */
static const struct {
        const char *name;
        const char *flag; /* in a running VM's answer; NULL: always @set */
        bool set;
        const char *why; /* NULL: it is not available */
} ctl_capabilities[] = {
        { "hlt_exit", NULL, true, "a halted processor always sleeps" },
        { "mtrap_exit", NULL, false, "single steps are a debugger's (bhyve -G)" },
        { "pause_exit", "pause_exit", false, "it is bhyve's option -P" },
        { "unrestricted_guest", NULL, false, NULL },
        { "enable_invpcid", NULL, false, NULL },
};

/* The row of --capname if that is available. */
static int
find_capability(struct ctl *ctl, size_t *ret_row)
{
        for (size_t i = 0; i < ARRAY_LEN(ctl_capabilities); i++) {
                if (strcmp(ctl_capabilities[i].name, ctl->capability) == 0 && ctl_capabilities[i].why != NULL) {
                        *ret_row = i;
                        return 0;
                }
        }
        return config_fail(&ctl->err, "capability '%s' is not available: " NO_HARDWARE, ctl->capability);
}

static int
capability_is_set(struct ctl *ctl, size_t row, bool *ret_set)
{
        *ret_set = ctl_capabilities[row].set;
        return ctl_capabilities[row].flag == NULL ? 0 : answer_flag(ctl, ctl_capabilities[row].flag, ret_set);
}

static int
print_capability(struct ctl *ctl, size_t row)
{
        const char *name = ctl_capabilities[row].name;
        bool set;
        int error = capability_is_set(ctl, row, &set);

        if (error == 0 && ctl_capabilities[row].why == NULL)
                printf("Capability \"%s\" is not available\n", name);
        else if (error == 0)
                printf("Capability \"%s\" is %s on vcpu %u\n", name, set ? "set" : "not set", ctl->cpu);
        return error;
}

static int
ctl_getcap(struct ctl *ctl, const char *reg)
{
        size_t row;
        int error = 0;

        if (ctl->capability != NULL) {
                error = find_capability(ctl, &row);
                return error != 0 ? error : print_capability(ctl, row);
        }
        for (row = 0; row < ARRAY_LEN(ctl_capabilities) && error == 0; row++)
                error = print_capability(ctl, row);
        return error;
}

static int
ctl_setcap(struct ctl *ctl, const char *reg)
{
        bool wanted, set;
        size_t row;
        int error = argument_flag(ctl, "setcap", &wanted);

        if (error == 0 && ctl->capability == NULL)
                error = config_fail(&ctl->err, "--setcap wants --capname");
        if (error == 0)
                error = find_capability(ctl, &row);
        if (error == 0)
                error = capability_is_set(ctl, row, &set);
        if (error == 0 && set != wanted)
                error = config_fail(&ctl->err, "--setcap: %s stays %s: %s", ctl->capability, set ? "set" : "not set",
                    ctl_capabilities[row].why);
        return error;
}

static int
ctl_sysenter(struct ctl *ctl, const char *reg)
{
        int error = ctl_get(ctl, "sysenter-cs");

        if (error == 0)
                error = ctl_get(ctl, "sysenter-esp");
        return error != 0 ? error : ctl_get(ctl, "sysenter-eip");
}

static int
ctl_intinfo(struct ctl *ctl, const char *reg)
{
        return request(ctl, stdout, "intinfo %u", ctl->cpu);
}

static int
ctl_lvt(struct ctl *ctl, const char *reg)
{
        return request(ctl, stdout, "assert-lvt %u %s", ctl->cpu, ctl->argument);
}

static void
usage(FILE *out)
{
        fprintf(out, "Usage: bhyvectl --vm=NAME [--cpu=N] --ACTION...\n");
        for (size_t i = 0; i < ARRAY_LEN(ctl_rows); i++) {
                if (ctl_rows[i].help != NULL)
                        fprintf(out, "  --%-16s %s\n", ctl_rows[i].name, ctl_rows[i].help);
        }
        fprintf(out, "  --get-REG, --set-REG=VALUE   rax to r15, rip, rflags, cr0 to cr4, dr0 to dr7, efer, cs to gs, tr, ldtr\n"
                     "  --get-desc-SEG, --set-desc-SEG with --desc-base=, --desc-limit=, --desc-access=\n"
                     "  --get-lowmem --get-highmem --get-memmap --get-active-cpus --get-suspended-cpus --get-cpu-topology\n"
                     "  --get-x2apic-state --get-guest-pat --get-tsc-offset --get-guest-sysenter --get-intinfo\n"
                     "  --set-x2apic-state=, --setcap= with --capname=: 0 or 1, where it is so already\n");
}

static void
fill_options(struct option *options)
{
        memcpy(options, ctl_common, sizeof(ctl_common));
        for (size_t i = 0; i < ARRAY_LEN(ctl_rows); i++)
                options[ARRAY_LEN(ctl_common) + i] =
                    (struct option){ ctl_rows[i].name, (int)ctl_rows[i].argument, NULL, (int)i };
        options[OPTION_COUNT] = (struct option){ NULL, 0, NULL, 0 };
}

static int
common_number(struct ctl *ctl, const char *option, uint64_t max, uint64_t *ret_value)
{
        if (parse_u64(optarg, ret_value) == 0 && *ret_value <= max)
                return 0;
        return config_fail(&ctl->err, "--%s: '%s' is not a number that fits", option, optarg);
}

static int
common_option(struct ctl *ctl, int option)
{
        uint64_t value;

        switch (option) {
        case OPT_CPU:
                if (common_number(ctl, "cpu", INSTANCE_CPUS_MAX - 1, &value) != 0)
                        return -EINVAL;
                ctl->cpu = (unsigned)value;
                return 0;
        case OPT_NVRAM:
                if (common_number(ctl, "rtc-nvram-offset", UINT8_MAX, &value) != 0)
                        return -EINVAL;
                ctl->nvram_offset = (unsigned)value;
                return 0;
        case OPT_CAPABILITY:
                ctl->capability = optarg;
                return 0;
        case OPT_BASE:
                ctl->has_base = true;
                return common_number(ctl, "desc-base", UINT64_MAX, &ctl->desc.base);
        case OPT_LIMIT:
                if (common_number(ctl, "desc-limit", UINT32_MAX, &value) != 0)
                        return -EINVAL;
                ctl->has_limit = true;
                ctl->desc.limit = (uint32_t)value;
                return 0;
        default:
                if (common_number(ctl, "desc-access", UINT32_MAX, &value) != 0)
                        return -EINVAL;
                ctl->has_access = true;
                ctl->desc.attr = (uint32_t)value;
                return 0;
        }
}

struct chosen {
        const char *vm;
        bool row[ARRAY_LEN(ctl_rows)];
        const char *argument[ARRAY_LEN(ctl_rows)];
        bool any, help;
};

/* --get-vmcs-*, --get-vmcb-*, --get-avic-* */
static bool
is_hardware_option(const char *text)
{
        static const char *const words[] = { "vmcs", "vmcb", "avic" };

        for (unsigned i = 0; i < ARRAY_LEN(words); i++) {
                if (strlen(text) > 6 && strncmp(text + 6, words[i], 4) == 0)
                        return true;
        }
        return false;
}

static int
parse_options(struct ctl *ctl, int argc, char **argv, struct chosen *chosen)
{
        struct option options[OPTION_COUNT + 1];
        int option;

        fill_options(options);
        opterr = 0;
        while ((option = getopt_long(argc, argv, "", options, NULL)) != -1) {
                if (option == '?' && is_hardware_option(argv[optind - 1]))
                        return config_fail(&ctl->err, "%s is not available: " NO_HARDWARE, argv[optind - 1]);
                if (option == '?')
                        return config_fail(&ctl->err, "unknown or incomplete option '%s' (bhyvectl --help lists them)",
                            argv[optind - 1]);
                if (option == OPT_HELP) {
                        chosen->help = true;
                } else if (option == OPT_VM) {
                        chosen->vm = optarg;
                } else if (option > OPT_VM) {
                        if (common_option(ctl, option) != 0)
                                return -EINVAL;
                } else {
                        if (ctl_rows[option].refused != NULL)
                                return config_fail(&ctl->err, "--%s is not available: %s", ctl_rows[option].name,
                                    ctl_rows[option].refused);
                        chosen->any = chosen->row[option] = true;
                        chosen->argument[option] = optarg;
                }
        }
        if (optind < argc)
                return config_fail(&ctl->err, "'%s' is not an option", argv[optind]);
        return 0;
}

static int
carry_out(struct ctl *ctl, const struct chosen *chosen)
{
        int error = 0;

        for (size_t i = 0; error == 0 && i < ARRAY_LEN(ctl_rows); i++) {
                if (!chosen->row[i])
                        continue;
                ctl->argument = chosen->argument[i];
                error = ctl_rows[i].fn(ctl, ctl_rows[i].reg);
                fflush(stdout);
        }
        return error;
}

int
main(int argc, char **argv)
{
        struct ctl ctl = { .cpu = 0 };
        struct chosen chosen = { .vm = NULL };
        int error;

        log_set_program("bhyvectl");
        error = parse_options(&ctl, argc, argv, &chosen);
        if (error == 0 && chosen.help) {
                usage(stdout);
                return 0;
        }
        if (error == 0 && chosen.vm == NULL)
                error = config_fail(&ctl.err, "which VM? give --vm=NAME");
        if (error == 0 && !chosen.any)
                error = config_fail(&ctl.err, "nothing to do (bhyvectl --help lists what can be done)");
        if (error == 0)
                error = instance_open(chosen.vm, chosen.row[0] ? INSTANCE_CREATE : 0, &ctl.instance, &ctl.err);
        if (error == 0) {
                error = carry_out(&ctl, &chosen);
                instance_close(ctl.instance);
        }
        if (error != 0) {
                log_error("%s", ctl.err.text[0] != '\0' ? ctl.err.text : strerror(-error));
                return EXIT_ERROR;
        }
        return 0;
}
