/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The guest side: a machine of one vCPU and 16 MB that runs cases at CPL 3.
 *
 * Its page tables map the arena of diff.h; a large supervisor page in the upper half holds GDT,
 * IDT, TSS, the kernel stack and one HLT for each vector.  A case ends when a vector's
 * HLT leaves cpu_run(); the frame on the kernel stack says where and how.
 */
#include "diff.h"

#include "config/config.h"
#include "cpu/cpu.h"
#include "mem/mem.h"
#include "x86/cpuid.h"
#include "x86/state.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define MEM_BYTES  (16u << 20)
#define KERNEL     0xffff800000000000ull /* linear address of physical 0 */
#define PML4       0x1000u
#define PDPT       0x2000u
#define PD_LOW     0x3000u
#define PD_KERNEL  0x4000u
#define PDPT_KERNEL 0xb000u
#define PT_CODE    0x5000u
#define PT_DATA    0x6000u
#define GDT        0x7000u
#define IDT        0x8000u
#define TSS        0x9000u
#define LDT        0xc000u
#define HANDLERS   0xa000u /* 16 bytes a vector */
#define STACK_TOP  0x20000u
#define USER_PAGES 0x100000u /* the image but its code */
#define CODE_PAGES 0x400000u

#define PTE_P   0x1u
#define PTE_W   0x2u
#define PTE_U   0x4u
#define PTE_PS  0x80u
#define PTE_NX  0x8000000000000000ull

#define ATTR_CODE64 (X86_SEG_P | X86_SEG_S | X86_SEG_CODE | X86_SEG_WRITE | X86_SEG_ACCESSED | X86_SEG_L | X86_SEG_G)
#define ATTR_CODE32 (X86_SEG_P | X86_SEG_S | X86_SEG_CODE | X86_SEG_WRITE | X86_SEG_ACCESSED | X86_SEG_DB | X86_SEG_G)
#define ATTR_DATA   (X86_SEG_P | X86_SEG_S | X86_SEG_WRITE | X86_SEG_ACCESSED | X86_SEG_DB | X86_SEG_G)
#define DPL3        X86_SEG_DPL

struct diff_guest {
        struct guest_mem *mem;
        struct x86_cpu_model *model;
        struct cpu_engine *engine;
        struct cpu *cpu;
        struct x86_state *base; /* every case starts from it */
        struct x86_state *state;
        pthread_t watchdog;
        bool watched;
        _Atomic bool ending;
        _Atomic unsigned long runs; /* odd while the vCPU runs */
        bool large; /* the code is mapped by one page of 2 MiB, all of it writable */
};

/* ---- what the engine asks of a machine: nothing is there ---- */

static uint32_t
env_port_in(void *ctx, unsigned vcpu, uint16_t port, unsigned size)
{
        return 0xffffffff;
}

static void
env_port_out(void *ctx, unsigned vcpu, uint16_t port, unsigned size, uint32_t value)
{
}

static uint64_t
env_mmio_read(void *ctx, unsigned vcpu, gpa_t gpa, unsigned size)
{
        return ~0ull;
}

static void
env_mmio_write(void *ctx, unsigned vcpu, gpa_t gpa, unsigned size, uint64_t value)
{
}

static int
env_intr_ack(void *ctx, unsigned vcpu)
{
        return -1;
}

static bool
env_intr_pending(void *ctx, unsigned vcpu)
{
        return false;
}

static uint8_t
env_tpr_read(void *ctx, unsigned vcpu)
{
        return 0;
}

static void
env_tpr_write(void *ctx, unsigned vcpu, uint8_t tpr)
{
}

static int
env_msr_read(void *ctx, unsigned vcpu, uint32_t msr, uint64_t *ret_value)
{
        return -1;
}

static int
env_msr_write(void *ctx, unsigned vcpu, uint32_t msr, uint64_t value)
{
        return -1;
}

static const struct cpu_env_ops env_ops = {
        .port_in = env_port_in,
        .port_out = env_port_out,
        .mmio_read = env_mmio_read,
        .mmio_write = env_mmio_write,
        .intr_ack = env_intr_ack,
        .intr_pending = env_intr_pending,
        .tpr_read = env_tpr_read,
        .tpr_write = env_tpr_write,
        .msr_read = env_msr_read,
        .msr_write = env_msr_write,
};

static const char *
option(void *ctx, const char *key)
{
        return strcmp(key, "soft.disable") == 0 ? ctx : NULL;
}

/* ---- memory ---- */

static void
put64(struct diff_guest *g, gpa_t gpa, uint64_t value)
{
        (void)mem_write(g->mem, gpa, &value, sizeof(value));
}

static uint64_t
get64(const struct diff_guest *g, gpa_t gpa)
{
        uint64_t value = 0;

        (void)mem_read(g->mem, gpa, &value, sizeof(value));
        return value;
}

static void
map_pages(struct diff_guest *g, gpa_t table, uint32_t address, unsigned pages, gpa_t gpa, uint64_t flags)
{
        for (unsigned i = 0; i < pages; i++)
                put64(g, table + ((address >> 12) + i) % 512 * 8, (gpa + i * DIFF_PAGE) | flags);
}

static void
build_page_tables(struct diff_guest *g)
{
        uint64_t table = PTE_P | PTE_W | PTE_U, user = PTE_P | PTE_W | PTE_U;

        put64(g, PML4, PDPT | table);
        put64(g, PDPT, PD_LOW | table);
        put64(g, PML4 + 256 * 8, PDPT_KERNEL | PTE_P | PTE_W);
        put64(g, PDPT_KERNEL, PD_KERNEL | PTE_P | PTE_W);
        put64(g, PD_KERNEL, 0 | PTE_P | PTE_W | PTE_PS);
        put64(g, PD_LOW + (DIFF_CODE >> 21) * 8, PT_CODE | table);
        put64(g, PD_LOW + (DIFF_DATA >> 21) * 8, PT_DATA | table);
        map_pages(g, PT_CODE, DIFF_CODE, DIFF_CODE_PAGES, CODE_PAGES, user);
        map_pages(g, PT_CODE, DIFF_BEYOND, DIFF_BEYOND_BYTES / DIFF_PAGE, CODE_PAGES + DIFF_BEYOND - DIFF_CODE, PTE_P | PTE_U);
        map_pages(g, PT_DATA, DIFF_DATA, DIFF_DATA_PAGES, USER_PAGES + DIFF_DATA_AT, user | PTE_NX);
        map_pages(g, PT_DATA, DIFF_STACK, 1, USER_PAGES + DIFF_STACK_AT, user | PTE_NX);
        map_pages(g, PT_DATA, DIFF_RO, 1, USER_PAGES + DIFF_RO_AT, PTE_P | PTE_U | PTE_NX);
}

static uint64_t
descriptor(uint32_t attr)
{
        return 0xffffull | (uint64_t)(attr & 0xff) << 40 | 0xfull << 48 | (uint64_t)(attr >> 12 & 15) << 52;
}

/* A segment of the LDT, by selector. */
static struct x86_seg
ldt_segment(unsigned sel)
{
        const uint32_t code = DIFF_CODE_PAGES * DIFF_PAGE - 1, data = DIFF_DATA_PAGES * DIFF_PAGE - 1;
        struct x86_seg s = { .sel = (uint16_t)sel, .attr = (ATTR_DATA & ~X86_SEG_G) | DPL3, .base = DIFF_STACK, .limit = DIFF_PAGE - 1 };

        if (sel == DIFF_LDT_CS16 || sel == DIFF_LDT_CS32) {
                s.attr = (ATTR_CODE32 & ~X86_SEG_G) | DPL3;
                s.base = DIFF_CODE;
                s.limit = code;
        } else if (sel == DIFF_LDT_DS) {
                s.base = DIFF_DATA;
                s.limit = data;
        }
        if (sel == DIFF_LDT_CS16 || sel == DIFF_LDT_SS16)
                s.attr &= ~X86_SEG_DB;
        return s;
}

static uint64_t
ldt_descriptor(unsigned sel)
{
        struct x86_seg s = ldt_segment(sel);

        return (s.limit & 0xffff) | (s.base & 0xffffff) << 16 | (uint64_t)(s.attr & 0xff) << 40 |
            (uint64_t)(s.limit >> 16) << 48 | (uint64_t)(s.attr >> 12 & 15) << 52 | s.base >> 24 << 56;
}

static void
build_tables(struct diff_guest *g)
{
        uint64_t handler = KERNEL + HANDLERS;

        put64(g, GDT + 0x10, descriptor(ATTR_CODE64));
        put64(g, GDT + 0x18, descriptor(ATTR_DATA));
        put64(g, GDT + DIFF_CS32 - 3, descriptor(ATTR_CODE32 | DPL3));
        put64(g, GDT + DIFF_DS - 3, descriptor(ATTR_DATA | DPL3));
        put64(g, GDT + DIFF_CS64 - 3, descriptor(ATTR_CODE64 | DPL3));
        put64(g, GDT + 0x78, 0x0040f50000000000); /* Linux keeps the processor's number there */
        for (unsigned i = 0; i < DIFF_LDT_COUNT; i++)
                put64(g, LDT + i * 8, ldt_descriptor(i * 8 | 7));
        put64(g, TSS + 4, KERNEL + STACK_TOP);
        put64(g, TSS + 0x60, 0xffffull << 48); /* no I/O bitmap */
        for (unsigned v = 0; v < 256; v++, handler += 16) {
                /* INT3, INTO and INT1 may be used from CPL 3, as under Linux */
                uint64_t dpl = v == X86_VEC_BP || v == X86_VEC_OF || v == 0x80 ? 3 : 0;

                put64(g, IDT + v * 16, (handler & 0xffff) | 0x10u << 16 | (0x8eull | dpl << 5) << 40 | handler >> 16 << 48);
                put64(g, IDT + v * 16 + 8, handler >> 32);
                put64(g, HANDLERS + v * 16, 0xfdebf4); /* 1: hlt; jmp 1b */
        }
}

/* ---- state ---- */

static struct x86_seg
segment(uint16_t sel, uint32_t attr)
{
        return (struct x86_seg) { .sel = sel, .limit = 0xffffffff, .attr = attr };
}

static void
build_state(struct diff_guest *g)
{
        struct x86_state *st = g->base;

        x86_state_reset(st, 0);
        st->cr0 = X86_CR0_PE | X86_CR0_MP | X86_CR0_ET | X86_CR0_NE | X86_CR0_WP | X86_CR0_AM | X86_CR0_PG;
        st->cr3 = PML4;
        st->cr4 = X86_CR4_PAE | X86_CR4_PGE | X86_CR4_OSFXSR | X86_CR4_OSXMMEXCPT | X86_CR4_UMIP |
            X86_CR4_FSGSBASE | X86_CR4_OSXSAVE | X86_CR4_SMEP;
        st->cr4 &= x86_model_cr4(g->model);
        st->xcr0 = 7;
        st->efer = X86_EFER_SCE | X86_EFER_LME | X86_EFER_LMA | X86_EFER_NXE;
        st->gdtr = (struct x86_dtable) { .base = KERNEL + GDT, .limit = 0x7f };
        st->idtr = (struct x86_dtable) { .base = KERNEL + IDT, .limit = 0xfff };
        st->tr = (struct x86_seg) { .sel = 0x40, .base = KERNEL + TSS, .limit = 0x67, .attr = X86_SEG_P | 11 };
        st->ldtr = (struct x86_seg) { .sel = 0x48, .base = KERNEL + LDT, .limit = DIFF_LDT_COUNT * 8 - 1, .attr = X86_SEG_P | 2 };
        for (unsigned i = 0; i < X86_SREG_COUNT; i++)
                st->seg[i] = segment(DIFF_DS, ATTR_DATA | DPL3);
        st->seg[X86_FS] = st->seg[X86_GS] = (struct x86_seg) { .attr = X86_SEG_UNUSABLE };
}

static void
load_case(struct diff_guest *g, const struct diff_case *c)
{
        struct x86_state *st = g->state;

        memcpy(st, g->base, sizeof(*st));
        (void)mem_write(g->mem, CODE_PAGES, c->image, DIFF_DATA_AT);
        (void)mem_write(g->mem, USER_PAGES + DIFF_DATA_AT, c->image + DIFF_DATA_AT, DIFF_IMAGE_BYTES - DIFF_DATA_AT);
        memcpy(st->gpr, c->gpr, sizeof(st->gpr));
        st->rip = c->start - diff_code_base(c);
        st->rflags = c->rflags;
        st->seg[X86_CS] = c->compat ? segment(DIFF_CS32, ATTR_CODE32 | DPL3) : segment(DIFF_CS64, ATTR_CODE64 | DPL3);
        if (c->segments) {
                st->seg[X86_CS] = ldt_segment(diff_cs(c));
                st->seg[X86_SS] = ldt_segment(diff_ss(c));
                st->seg[X86_DS] = st->seg[X86_ES] = ldt_segment(diff_ds(c));
        }
        st->seg[X86_FS].base = c->fs_base;
        st->seg[X86_GS].base = c->gs_base;
        memcpy(st->xsave, c->xsave, DIFF_XSAVE_BYTES);
}

static bool
has_error_code(unsigned vector)
{
        return vector == X86_VEC_DF || (vector >= X86_VEC_TS && vector <= X86_VEC_PF) || vector == X86_VEC_AC;
}

static void
save_case(struct diff_guest *g, const struct diff_case *c, struct diff_result *r)
{
        const struct x86_state *st = g->state;
        gpa_t frame = st->gpr[X86_RSP] - KERNEL;

        memcpy(r->gpr, st->gpr, sizeof(r->gpr));
        memcpy(r->xsave, st->xsave, DIFF_XSAVE_BYTES);
        (void)mem_read(g->mem, CODE_PAGES, r->image, DIFF_DATA_AT);
        (void)mem_read(g->mem, USER_PAGES + DIFF_DATA_AT, r->image + DIFF_DATA_AT, DIFF_IMAGE_BYTES - DIFF_DATA_AT);
        r->fs_base = st->seg[X86_FS].base;
        r->gs_base = st->seg[X86_GS].base;
        r->cr2 = st->cr2;
        r->vector = (uint32_t)((st->rip - KERNEL - HANDLERS) / 16);
        if (st->rip < KERNEL + HANDLERS || st->rip >= KERNEL + HANDLERS + 0x1000) {
                r->vector = DIFF_TIMEOUT;
                return;
        }
        r->error = 0;
        if (has_error_code(r->vector)) {
                r->error = (uint32_t)get64(g, frame);
                frame += 8;
        }
        r->rip = get64(g, frame) + diff_code_base(c);
        r->rflags = get64(g, frame + 16);
        r->gpr[X86_RSP] = get64(g, frame + 24);
}

/* Gets a vCPU out of a case that takes five seconds or more: natively all end at once. */
static void *
watchdog_main(void *arg)
{
        struct diff_guest *g = arg;
        unsigned long before = 0;
        unsigned ticks = 0;

        while (!atomic_load(&g->ending)) {
                unsigned long now = atomic_load(&g->runs);

                ticks = now == before && (now & 1) ? ticks + 1 : 0;
                if (ticks == 50)
                        cpu_engine_soft.event(g->cpu, CPU_EVENT_KICK, 0);
                before = now;
                usleep(100000);
        }
        return NULL;
}

/* What a case stored beyond the code pages, where a large page lets it. */
static void
restore_beyond(struct diff_guest *g)
{
        uint8_t *p = mem_at(g->mem, CODE_PAGES + DIFF_BEYOND - DIFF_CODE, DIFF_BEYOND_BYTES);

        if (p[0] == 0xcc && memcmp(p, p + 1, DIFF_BEYOND_BYTES - 1) == 0)
                return;
        for (unsigned at = 0; at < DIFF_BEYOND_BYTES; at += DIFF_PAGE) {
                static uint8_t page[DIFF_PAGE];

                memset(page, 0xcc, DIFF_PAGE);
                (void)mem_write(g->mem, CODE_PAGES + DIFF_BEYOND - DIFF_CODE + at, page, DIFF_PAGE);
        }
}

void
diff_guest_run(struct diff_guest *g, const struct diff_case *c, struct diff_result *ret_result)
{
        struct cpu_exit exit;

        for (unsigned tries = 0; tries < 2; tries++) { /* the watchdog's kick may come one case late */
                load_case(g, c);
                (void)cpu_engine_soft.set_state(g->cpu, g->state);
                atomic_fetch_add(&g->runs, 1);
                do
                        cpu_engine_soft.run(g->cpu, &exit);
                while (exit.reason == CPU_EXIT_DEBUG && exit.debug.cause == CPU_DEBUG_STEP);
                atomic_fetch_add(&g->runs, 1);
                if (exit.reason != CPU_EXIT_KICK)
                        break;
        }
        cpu_engine_soft.get_state(g->cpu, g->state);
        save_case(g, c, ret_result);
        if (g->large)
                restore_beyond(g);
        if (exit.reason != CPU_EXIT_HLT) {
                ret_result->vector = 0x1000u + exit.reason;
                if (exit.reason == CPU_EXIT_ERROR)
                        fprintf(stderr, "the engine gave up: %s\n", exit.error);
        }
}

void
diff_guest_step(struct diff_guest *g)
{
        const struct cpu_debug debug = { .single_step = true };

        (void)cpu_engine_soft.set_debug(g->cpu, &debug);
}

void
diff_guest_large_page(struct diff_guest *g)
{
        put64(g, PD_LOW + (DIFF_CODE >> 21) * 8, CODE_PAGES | PTE_P | PTE_W | PTE_U | PTE_PS);
        g->large = true;
}

uint64_t
diff_guest_features(const struct diff_guest *g)
{
        return x86_model_features(g->model);
}

static int
create_engine(struct diff_guest *g, const char *disable)
{
        const struct x86_model_config model = { .spec = x86_host_is_amd() ? "max,vendor=amd" : NULL, .sockets = 1, .cores = 1, .threads = 1, .tsc_hz = 2000000000, .lapic_hz = 100000000 };
        const struct cpu_env env = { .ops = &env_ops, .ctx = g };
        struct cpu_config config = { .vcpu_count = 1, .option = option, .option_ctx = (void *)(uintptr_t)disable };
        char why[200] = "";
        struct config_error err;
        int error = x86_model_create(&model, &g->model, why, sizeof(why));

        if (error)
                return error;
        config.model = g->model;
        error = cpu_engine_soft.create(&config, g->mem, &env, &g->engine, &err);
        return error ? error : cpu_engine_soft.cpu_create(g->engine, 0, &g->cpu, &err);
}

int
diff_guest_create(const char *disable, struct diff_guest **ret_guest)
{
        struct diff_guest *g = calloc(1, sizeof(*g));
        int error = -ENOMEM, fd;

        if (!g || posix_memalign((void **)&g->base, 64, sizeof(*g->base)) ||
            posix_memalign((void **)&g->state, 64, sizeof(*g->state)))
                goto fail;
        memset(g->base, 0, sizeof(*g->base));
        fd = memfd_create("guest", MFD_CLOEXEC);
        if (fd < 0 || ftruncate(fd, MEM_BYTES))
                goto fail;
        error = mem_create(fd, MEM_BYTES, &g->mem);
        close(fd);
        if (!error)
                error = create_engine(g, disable);
        if (error)
                goto fail;
        memset(mem_at(g->mem, CODE_PAGES, DIFF_CODE_SPAN), 0xcc, DIFF_CODE_SPAN);
        build_page_tables(g);
        build_tables(g);
        build_state(g);
        error = -pthread_create(&g->watchdog, NULL, watchdog_main, g);
        if (error)
                goto fail;
        g->watched = true;
        *ret_guest = g;
        return 0;
fail:
        diff_guest_destroy(g);
        return error;
}

void
diff_guest_destroy(struct diff_guest *g)
{
        if (!g)
                return;
        atomic_store(&g->ending, true);
        if (g->watched)
                pthread_join(g->watchdog, NULL);
        if (g->cpu)
                cpu_engine_soft.cpu_destroy(g->cpu);
        if (g->engine)
                cpu_engine_soft.destroy(g->engine);
        x86_model_destroy(g->model);
        mem_destroy(g->mem);
        free(g->base);
        free(g->state);
        free(g);
}
