/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The dispatcher: runs a vCPU, delivers what is pending between blocks, and implements
 * struct cpu_engine_ops.
 */
#include "base/log.h"
#include "base/parse.h"
#include "base/util.h"
#include "cpu/soft/observe.h"
#include "cpu/soft/cover.h"
#include "cpu/soft/mirror.h"
#include "cpu/soft/run.h"
#include "cpu/soft/ticker.h"
#include "cpu/soft/translate.h"
#include "x86/cpuid.h"

#include <asm/prctl.h>
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#define DR6_BS 0x4000u
#define TICK_MS 4u /* between a guest's timer interrupts, more or less */

#ifndef SS_AUTODISARM /* glibc 2.36 has it in no header that can be included beside signal.h */
#define SS_AUTODISARM (1u << 31)
#endif

__thread struct soft_cpu *soft_current;

/* ---- unwinding ---- */

static _Noreturn void
soft_unwind(struct soft_cpu *v, enum soft_left how)
{
        register uint64_t code __asm__("rdi") = how;

        __asm__ volatile("jmp *%0" : : "r"(v->engine->thunks.unwind), "r"(code));
        __builtin_unreachable();
}

static _Noreturn void
soft_raise_event(struct soft_cpu *v, unsigned vector, bool has_error, uint32_t error)
{
        v->event = (struct soft_event){ SOFT_EV_EXCEPTION, (uint8_t)vector, has_error, error };
        soft_unwind(v, SOFT_LEFT_EVENT);
}

_Noreturn void
soft_raise(struct soft_cpu *v, unsigned vector)
{
        soft_raise_event(v, vector, false, 0);
}

_Noreturn void
soft_raise_error(struct soft_cpu *v, unsigned vector, uint32_t error)
{
        soft_raise_event(v, vector, true, error);
}

_Noreturn void
soft_raise_pf(struct soft_cpu *v, gva_t address, uint32_t error)
{
        v->st.cr2 = address;
        soft_raise_event(v, X86_VEC_PF, true, error);
}

_Noreturn void
soft_exit(struct soft_cpu *v)
{
        soft_unwind(v, SOFT_LEFT_EXIT);
}

_Noreturn void
soft_call_raise(struct soft_cpu *v, unsigned vector)
{
        if (vector == SOFT_RAISE_BREAK) {
                soft_debug_exit(v, CPU_DEBUG_BREAK, soft_linear_rip(v));
                soft_exit(v);
        }
        if (vector == X86_VEC_GP)
                soft_raise_error(v, vector, 0);
        soft_raise(v, vector);
}

/* ---- flags ---- */

void
soft_flags_in(struct soft_cpu *v)
{
        uint32_t s = v->flags_saved;

        v->st.rflags = (v->st.rflags & ~(uint64_t)X86_FL_ARITH) |
            (s >> 8 & (X86_FL_ARITH & 0xff)) | (s & 1 ? X86_FL_OF : 0);
}

void
soft_flags_out(struct soft_cpu *v)
{
        uint64_t f = v->st.rflags;

        v->flags_saved = (uint32_t)((f & 0xff) << 8 | (f & X86_FL_OF ? 1 : 0));
}

/* ---- FPU ---- */

void
soft_fpu_put(struct soft_cpu *v)
{
        static const uint32_t mxcsr = 0x1f80;
        uint32_t mask = v->engine->xsave_mask;

        if (!v->fpu_live)
                return;
        v->fpu_live = false;
        if (mask != 0)
                __asm__ volatile("xsave64 %0" : "+m"(v->st.xsave) : "a"(mask), "d"(0) : "memory");
        else
                __asm__ volatile("fxsave64 %0" : "+m"(v->st.xsave) : : "memory");
        __asm__ volatile("fninit; ldmxcsr %0" : : "m"(mxcsr));
}

void
soft_fpu_get(struct soft_cpu *v)
{
        uint32_t mask = v->engine->xsave_mask;

        if (v->fpu_live)
                return;
        v->fpu_live = true;
        if (mask != 0)
                __asm__ volatile("xrstor64 %0" : : "m"(v->st.xsave), "a"(mask), "d"(0) : "memory");
        else
                __asm__ volatile("fxrstor64 %0" : : "m"(v->st.xsave) : "memory");
}

/* ---- mode ---- */

static bool
seg_is_flat(const struct x86_seg *s)
{
        return s->base == 0 && s->limit == 0xffffffff && (s->attr & X86_SEG_P) &&
            !(s->attr & (X86_SEG_UNUSABLE | X86_SEG_CODE | X86_SEG_DOWN)) && (s->attr & X86_SEG_WRITE);
}

static uint32_t
mode_of_segments(const struct x86_state *st)
{
        uint32_t mode;

        if (x86_code64(st))
                return X86_MODE_64;
        mode = st->seg[X86_CS].attr & X86_SEG_DB ? X86_MODE_32 : X86_MODE_16;
        if (st->seg[X86_SS].attr & X86_SEG_DB)
                mode |= SOFT_MODE_SS32;
        if (!seg_is_flat(&st->seg[X86_DS]) || !seg_is_flat(&st->seg[X86_ES]) || !seg_is_flat(&st->seg[X86_SS]))
                mode |= SOFT_MODE_SEGS;
        return mode;
}

static bool
wants_step(const struct soft_cpu *v)
{
        return (v->st.rflags & X86_FL_TF) || (v->st.dr7 & 0xff) || v->run->debug_step || v->watching;
}

void
soft_mode_update(struct soft_cpu *v)
{
        const struct x86_state *st = &v->st;
        unsigned cpl = x86_cpl(st);
        uint32_t mode = mode_of_segments(st);

        v->align_checks = cpl == 3 && (st->cr0 & X86_CR0_AM) && (st->rflags & X86_FL_AC);
        v->watching = soft_debug_watches(v) || v->align_checks;
        if (cpl == 3)
                mode |= SOFT_MODE_USER;
        else if (cpl != 0)
                mode |= SOFT_MODE_CPL12;
        if (!(st->cr0 & X86_CR0_PE) || (st->rflags & X86_FL_VM))
                mode |= SOFT_MODE_REAL;
        if (st->cr0 & X86_CR0_EM)
                mode |= SOFT_MODE_EM | SOFT_MODE_NOSSE;
        if (!(st->cr4 & X86_CR4_OSFXSR))
                mode |= SOFT_MODE_NOSSE;
        if (!(st->cr4 & X86_CR4_OSXSAVE) || (st->xcr0 & 6) != 6)
                mode |= SOFT_MODE_NOAVX;
        if (wants_step(v))
                mode |= SOFT_MODE_STEP;
        v->fpu_trap = (st->cr0 & (X86_CR0_TS | X86_CR0_EM)) != 0;
        /* The same offset may mean other code once CS has another base, and none with another limit. */
        if (!(mode & X86_MODE_64) &&
            (v->run->cs_base != st->seg[X86_CS].base || v->run->cs_limit != st->seg[X86_CS].limit)) {
                v->run->cs_base = st->seg[X86_CS].base;
                v->run->cs_limit = st->seg[X86_CS].limit;
                soft_jump_flush(v);
        }
        v->mode = mode;
        atomic_store_explicit(&v->run->in_user, mode & SOFT_MODE_USER, memory_order_relaxed);
        soft_mmu_select(v); /* and soft_jumps_arm(), which looks at `kick` */
}

void
soft_ac_update(struct soft_cpu *v)
{
        soft_mmu_select(v);
}

/* ---- events ---- */

static void
reload_derived(struct soft_cpu *v)
{
        for (unsigned i = 0; i < X86_SREG_COUNT; i++)
                v->seg_base[i] = v->st.seg[i].base;
        soft_flags_out(v);
        soft_tlb_flush_all(v);
        soft_tlb_switch(v, false);
        soft_mode_update(v);
}

/* One NMI is held while another is handled (SDM 3A 6.7.1); two if none has been delivered yet. */
static void
take_nmis(struct soft_cpu *v, unsigned count)
{
        unsigned limit = v->st.nmi_blocked ? 1 : 2;

        count += v->st.nmi_pending;
        v->st.nmi_pending = (uint8_t)(count < limit ? count : limit);
}

/* With the lock, so that nobody fills a region in which blocks have died meanwhile. */
static void
take_stale_jumps(struct soft_cpu *v)
{
        struct soft_run *r = v->run;

        soft_lock_acquire(&v->engine->lock);
        atomic_store(&r->jumps_stale, 0);
        if (atomic_exchange(&r->jumps_lost, 0))
                soft_jump_flush(v);
        else
                soft_jump_forget_dead(v);
        soft_lock_release(&v->engine->lock);
}

/* To the ticker's question where the vCPU is. */
static void
answer(struct soft_cpu *v)
{
        if (soft_observe_profiles(v->engine->observer)) {
                soft_fpu_put(v);
                soft_observe_sample(v->engine->observer, v);
        }
        if ((v->mode & (SOFT_MODE_BITS | SOFT_MODE_USER)) == (X86_MODE_64 | SOFT_MODE_USER))
                soft_mirror_sample(v, 1);
}

static void
take_events(struct soft_cpu *v)
{
        struct soft_run *r = v->run;
        uint32_t events;

        v->count[SOFT_COUNT_KICKS]++;
        __atomic_store_n(&v->kick, 0, __ATOMIC_SEQ_CST);
        soft_jumps_arm(v);
        if (atomic_load(&r->jumps_stale) || atomic_load(&r->jumps_lost))
                take_stale_jumps(v);
        if (atomic_exchange(&r->watch_stale, 0))
                soft_mmu_watch(v);
        if (atomic_exchange(&r->asked, 0))
                answer(v);
        soft_mirror_report(v);
        events = atomic_exchange(&r->events, 0);
        if (events & CPU_EVENT_KICK)
                r->kicked = true;
        if (events & CPU_EVENT_NMI)
                take_nmis(v, atomic_exchange(&r->nmis, 0));
        if (events & CPU_EVENT_INIT) {
                soft_fpu_put(v);
                x86_state_init(&v->st, v->id);
                v->event.kind = v->delivering.kind = SOFT_EV_NONE;
                reload_derived(v);
        }
        if ((events & CPU_EVENT_SIPI) && v->st.mp_state == X86_MP_WAIT_SIPI) {
                x86_state_sipi(&v->st, (uint8_t)atomic_load(&r->sipi_vector));
                reload_derived(v);
        }
}

static void
guarded_deliver(struct soft_cpu *v, void *arg)
{
        soft_deliver(v, arg);
}

/*
 * Delivers @ev.  A fault on the way combines with it (SDM 3A 6.15, table 6-5).
 * False: triple fault.
 */
static bool
deliver(struct soft_cpu *v, struct soft_event ev)
{
        v->count[ev.kind == SOFT_EV_INTR || ev.kind == SOFT_EV_NMI ? SOFT_COUNT_INTERRUPTS : SOFT_COUNT_EXCEPTIONS]++;
        for (;;) {
                struct soft_event next;

                v->delivering = ev;
                soft_flags_out(v);
                if (v->engine->thunks.guard(v, guarded_deliver, &v->delivering) != SOFT_LEFT_EVENT)
                        break;
                next = v->event;
                v->event.kind = SOFT_EV_NONE;
                if (!soft_combine(&v->delivering, &next, &ev))
                        return false;
        }
        v->delivering.kind = SOFT_EV_NONE;
        v->event.kind = SOFT_EV_NONE;
        soft_flags_out(v);
        soft_mode_update(v);
        return true;
}

/* The vector to deliver, or -1; RFLAGS.IF is set. */
static int
take_interrupt(struct soft_cpu *v)
{
        const struct cpu_env *env = v->env;
        int vector = -1;

        soft_fpu_put(v);
        __atomic_store_n(&v->intr_hint, 0, __ATOMIC_SEQ_CST);
        if (env->ops->intr_pending(env->ctx, v->id)) {
                vector = env->ops->intr_ack(env->ctx, v->id);
                __atomic_store_n(&v->intr_hint, 1, __ATOMIC_RELAXED);
        }
        return vector;
}

/* Delivers one pending exception, trap, NMI or interrupt.  1: did; 0: none; -1: triple fault. */
static int
deliver_pending(struct soft_cpu *v)
{
        struct soft_event ev = v->event;
        bool shadow = v->st.shadow_ss || v->st.shadow_sti;

        if (ev.kind != SOFT_EV_NONE) {
                v->event.kind = SOFT_EV_NONE;
        } else if (v->st.pending_dbg != 0 && !v->st.shadow_ss) {
                v->st.dr6 = (v->st.dr6 & ~0xfull) | v->st.pending_dbg;
                v->st.pending_dbg = 0;
                ev = (struct soft_event){ SOFT_EV_EXCEPTION, X86_VEC_DB, false, 0 };
        } else if (v->st.nmi_pending && !v->st.nmi_blocked && !shadow && !v->run->hold_irqs) {
                v->st.nmi_pending--;
                ev = (struct soft_event){ SOFT_EV_NMI, X86_VEC_NMI, false, 0 };
        } else if (v->intr_hint && (v->st.rflags & X86_FL_IF) && !shadow && !v->run->hold_irqs) {
                int vector = take_interrupt(v);

                if (vector < 0)
                        return 0;
                /* For what runs on without being translated, when the ticker has stopped. */
                if ((v->mode & (SOFT_MODE_BITS | SOFT_MODE_USER)) == (X86_MODE_64 | SOFT_MODE_USER) && atomic_load(&v->run->ticks) == 0)
                        soft_mirror_sample(v, TICK_MS);
                ev = (struct soft_event){ SOFT_EV_INTR, (uint8_t)vector, false, 0 };
        } else {
                return 0;
        }
        v->st.mp_state = X86_MP_RUNNING;
        return deliver(v, ev) ? 1 : -1;
}

/* ---- running ---- */

static void
guarded_find(struct soft_cpu *v, void *arg)
{
        *(struct soft_block **)arg = soft_find_block(v, 0);
}

/* Instruction breakpoints of the guest (SDM 3B 17.3.1.1). */
static bool
guest_breakpoint(struct soft_cpu *v)
{
        gva_t linear = soft_linear_rip(v);
        uint64_t hits = 0;

        if ((v->st.dr7 & 0xff) == 0 || (v->st.rflags & X86_FL_RF) || v->st.shadow_ss)
                return false;
        for (unsigned n = 0; n < 4; n++)
                if ((v->st.dr7 >> 2 * n & 3) && (v->st.dr7 >> (16 + 4 * n) & 3) == 0 && v->st.dr[n] == linear)
                        hits |= 1ull << n;
        v->st.pending_dbg |= hits;
        return hits != 0;
}

/*
 * Where to enter translated code for st.rip: from the jump cache, else by find_block(), which may raise (then
 * *ret_left says so).  NULL: nowhere.  Between soft_world_enter and soft_world_leave.
 */
static const uint8_t *
entry_code(struct soft_cpu *v, enum soft_left *ret_left)
{
        /* A kick may mean that the cache is stale. */
        bool cached = !(v->mode & SOFT_MODE_STEP) && !v->kick && !soft_observe_traces(v);
        const uint8_t *code = cached ? soft_jump_find(v, v->st.rip) : NULL;
        struct soft_block *b = NULL;

        *ret_left = SOFT_LEFT_NORMAL;
        if (code != NULL)
                return code;
        *ret_left = (enum soft_left)v->engine->thunks.guard(v, guarded_find, &b);
        if (*ret_left != SOFT_LEFT_NORMAL || b == NULL)
                return NULL;
        if (cached && !soft_check_due(v, b))
                soft_jump_set(v, v->st.rip, b->entry_far);
        return b->entry_far;
}

/* Goes through translated code from st.rip.  False: there was none to run. */
static bool
enter_code(struct soft_cpu *v, enum soft_left *ret_left)
{
        const uint8_t *code;

        v->run->guest_hits = 0;
        if (v->check != NULL && !(v->mode & SOFT_MODE_STEP) && soft_check_run(v, ret_left))
                return true;
        soft_world_enter(v);
        /* Loops of user code do not look, and who kicked before we were inside did not stop us. */
        if ((v->mode & (SOFT_MODE_USER | SOFT_MODE_STEP)) == SOFT_MODE_USER && __atomic_load_n(&v->kick, __ATOMIC_SEQ_CST)) {
                soft_world_leave(v);
                *ret_left = SOFT_LEFT_EVENT;
                return false;
        }
        soft_mirror_near_update(v);
        code = entry_code(v, ret_left);
        if (code != NULL) {
                v->st.shadow_ss = v->st.shadow_sti = 0;
                v->entered_handler = false;
                v->count[SOFT_COUNT_ENTRIES]++;
                *ret_left = (enum soft_left)v->engine->thunks.enter(v, code);
                soft_flags_in(v);
        }
        soft_world_leave(v);
        return code != NULL;
}

/* Runs translated code from st.rip.  SOFT_LEFT_EVENT also if there was none to run. */
static enum soft_left
run_code(struct soft_cpu *v)
{
        /* The shadow lasts for one instruction, and so does passing a breakpoint. */
        bool single = v->st.shadow_ss || (v->st.shadow_sti && (v->intr_hint || v->st.nmi_pending)) ||
            soft_debug_skips(v) || v->run->plainly;
        bool trap = v->st.rflags & X86_FL_TF;
        bool resume = v->st.rflags & X86_FL_RF;
        enum soft_left left;
        bool ran;

        soft_fpu_get(v);
        if (soft_observe_traces(v) && soft_observe_entry(v))
                single = true;
        if (single)
                v->mode |= SOFT_MODE_STEP;
        v->run->plainly = false;
        ran = enter_code(v, &left);
        /* RF that IRET has just loaded is for the next instruction. */
        if (resume && left != SOFT_LEFT_EVENT)
                v->st.rflags &= ~(uint64_t)X86_FL_RF;
        if (trap && left == SOFT_LEFT_NORMAL && ran && !v->entered_handler)
                v->st.pending_dbg |= DR6_BS;
        if (left != SOFT_LEFT_EVENT)
                v->st.pending_dbg |= v->run->guest_hits;
        if (single)
                soft_mode_update(v);
        return left == SOFT_LEFT_NORMAL && !ran ? SOFT_LEFT_EVENT : left;
}

/* One turn of the dispatcher.  True: cpu_run() returns with v->exit. */
static bool
turn(struct soft_cpu *v)
{
        struct soft_run *r = v->run;
        enum soft_left left;
        int delivered;

        if (v->kick) {
                take_events(v);
                soft_world_serve(v);
        }
        if (r->kicked) {
                r->kicked = false;
                v->exit.reason = CPU_EXIT_KICK;
                return true;
        }
        if (v->st.mp_state == X86_MP_WAIT_INIT || v->st.mp_state == X86_MP_WAIT_SIPI) {
                v->exit.reason = CPU_EXIT_WAIT;
                return true;
        }
        delivered = deliver_pending(v);
        if (delivered < 0) {
                v->exit.reason = CPU_EXIT_SHUTDOWN;
                return true;
        }
        if (delivered > 0)
                return soft_debug_done(v);
        if (v->st.mp_state == X86_MP_HALTED) {
                if (soft_debug_ends_halt(v))
                        return true;
                v->exit.reason = CPU_EXIT_HLT;
                return true;
        }
        if (soft_debug_stops_here(v))
                return true;
        if ((v->mode & SOFT_MODE_STEP) && guest_breakpoint(v))
                return false;
        left = run_code(v);
        if (left == SOFT_LEFT_EVENT)
                r->watch_hit = false;
        if (left != SOFT_LEFT_EXIT)
                return left == SOFT_LEFT_NORMAL && soft_debug_done(v);
        if (v->exit.reason == CPU_EXIT_HLT)
                v->st.mp_state = X86_MP_HALTED;
        soft_mode_update(v);
        if ((v->exit.reason == CPU_EXIT_HLT || v->exit.reason == CPU_EXIT_PAUSE) && soft_debug_done(v))
                return true;
        /* A halt may end at once. */
        return v->exit.reason != CPU_EXIT_HLT || !v->kick;
}

/* Translated code has the guest's RSP: handlers that want the stack that RSP points to must not run in this thread. */
static void
block_handlers(void)
{
        sigset_t set;

        sigemptyset(&set);
        for (int sig = 1; sig < NSIG; sig++) {
                struct sigaction sa;

                if (sigaction(sig, NULL, &sa) == 0 && sa.sa_handler != SIG_DFL && sa.sa_handler != SIG_IGN &&
                    !(sa.sa_flags & SA_ONSTACK))
                        sigaddset(&set, sig);
        }
        pthread_sigmask(SIG_BLOCK, &set, NULL);
}

static void
soft_run(struct cpu *cpu, struct cpu_exit *ret_exit)
{
        struct soft_cpu *v = (struct soft_cpu *)(void *)cpu;
        /*
         * Disarmed while it is in use: else the kernel would take a guest's RSP that points into it for
         * a signal handler's, and go on there.
         */
        stack_t stack = { .ss_sp = v->run->signal_stack, .ss_size = sizeof(v->run->signal_stack), .ss_flags = (int)SS_AUTODISARM };
        stack_t old;

        syscall(SYS_sigaltstack, &stack, &old);
        if (soft_current != v) {
                syscall(SYS_arch_prctl, ARCH_SET_GS, v);
                block_handlers();
                soft_kick_listen(v);
                soft_current = v;
        }
        soft_fpu_get(v);
        soft_kick(v); /* look at events first */
        __atomic_store_n(&v->intr_hint, 1, __ATOMIC_RELAXED);
        atomic_store(&v->run->in_run, true);
        while (!turn(v))
                continue;
        atomic_store(&v->run->in_run, false);
        soft_fpu_put(v);
        syscall(SYS_sigaltstack, &old, NULL);
        v->exits[v->exit.reason]++;
        *ret_exit = v->exit;
}

static void
soft_event_op(struct cpu *cpu, unsigned event, unsigned argument)
{
        struct soft_cpu *v = (struct soft_cpu *)(void *)cpu;

        if (event & CPU_EVENT_SIPI)
                atomic_store(&v->run->sipi_vector, argument);
        if (event & CPU_EVENT_INTR)
                __atomic_store_n(&v->intr_hint, 1, __ATOMIC_SEQ_CST);
        if (event & CPU_EVENT_NMI)
                atomic_fetch_add(&v->run->nmis, 1);
        atomic_fetch_or(&v->run->events, event);
        soft_kick(v);
}

/* ---- engine ---- */

static int
soft_probe(const struct cpu_config *config, struct config_error *why)
{
        return 0; /* the translator runs on every x86-64 host */
}

static void
soft_destroy(struct cpu_engine *engine)
{
        struct soft_engine *e = (struct soft_engine *)(void *)engine;

        if (e == NULL)
                return;
        soft_ticker_stop(e->ticker);
        soft_observe_stop(e->observer);
        soft_code_destroy(e);
        soft_run_unmap(e);
        free(e->breaks);
        soft_cover_destroy(e->cover);
        soft_jumps_destroy(e->no_jumps);
        if (e->target_file >= 0)
                close(e->target_file);
        free(e);
}

static void
soft_written_hook(void *ctx, gpa_t gpa, uint64_t len)
{
        struct soft_engine *e = ctx;

        soft_code_written(e, gpa, len);
}

/* soft.disable: names of optimisations.  -EINVAL for one that there is not. */
static int
parse_disable(struct soft_engine *e)
{
        static const struct {
                const char *name;
                uint32_t bit;
        } names[] = { { "link", SOFT_OFF_LINK }, { "share", SOFT_OFF_SHARE }, { "inline", SOFT_OFF_INLINE },
                { "large", SOFT_OFF_LARGE }, { "move", SOFT_OFF_MOVE },
                { "fixed", SOFT_OFF_FIXED }, { "mirror", SOFT_OFF_MIRROR }, { "tlb", SOFT_OFF_TLB },
                { "target", SOFT_OFF_TARGET } };
        const char *s = e->config->option == NULL ? NULL : e->config->option(e->config->option_ctx, "soft.disable");

        while (s != NULL && *s != '\0') {
                size_t len = strcspn(s, ","), i;

                for (i = 0; i < ARRAY_LEN(names); i++)
                        if (strlen(names[i].name) == len && strncmp(names[i].name, s, len) == 0)
                                break;
                if (i == ARRAY_LEN(names)) {
                        log_error("soft.disable=%s: there are link, share, inline, large, move, fixed, mirror, tlb and target", s);
                        return -EINVAL;
                }
                e->disabled |= names[i].bit;
                s += len + (s[len] == ',');
        }
        return 0;
}

/* soft.check has been checked by the configuration. */
static uint16_t
parse_check(const struct soft_engine *e)
{
        const char *s = e->config->option == NULL ? NULL : e->config->option(e->config->option_ctx, "soft.check");
        uint64_t count;

        return s != NULL && parse_u64(s, &count) == 0 ? (uint16_t)count : 0;
}

static int
soft_create(const struct cpu_config *config, struct guest_mem *mem, const struct cpu_env *env,
    struct cpu_engine **ret_engine, struct config_error *err)
{
        struct soft_engine *e = calloc(1, sizeof(*e));
        int error;

        if (e == NULL)
                return -ENOMEM;
        e->target_file = -1;
        e->mem = mem;
        e->env = *env;
        e->config_copy = *config;
        e->config = &e->config_copy;
        e->features = x86_model_features(config->model);
        soft_run_probe_host(e);
        error = soft_run_map_guard(e);
        e->no_jumps = soft_jumps_create();
        if (e->no_jumps == NULL)
                error = -ENOMEM;
        if (error == 0)
                error = parse_disable(e);
        e->check_count = parse_check(e);
        if (error == 0)
                error = soft_code_create(e);
        if (error == 0)
                error = soft_cover_create(config, &e->cover);
        if (error == 0)
                error = soft_observe_start(e, &e->observer);
        if (error == 0)
                error = soft_ticker_start(e, soft_observe_profiles(e->observer), &e->ticker);
        if (error != 0) {
                soft_destroy((struct cpu_engine *)(void *)e);
                return error;
        }
        mem_set_written_hook(mem, soft_written_hook, e);
        soft_faults_install();
        soft_kick_install();
        *ret_engine = (struct cpu_engine *)(void *)e;
        return 0;
}

static void
soft_cpu_destroy(struct cpu *cpu)
{
        struct soft_cpu *v = (struct soft_cpu *)(void *)cpu;

        if (v == NULL)
                return;
        if (soft_current == v)
                soft_current = NULL;
        soft_observe_cpu_ends(v->engine->observer, v);
        soft_ticker_forget(v->engine->ticker, v);
        soft_mmu_destroy(v);
        soft_check_destroy(v);
        free(v->tr);
        if (v->run != NULL)
                free(v->run->watch);
        free(v->run);
        soft_mirror_cpu_free(v);
}

static int
soft_cpu_create(struct cpu_engine *engine, unsigned id, struct cpu **ret_cpu, struct config_error *err)
{
        struct soft_engine *e = (struct soft_engine *)(void *)engine;
        struct soft_cpu *v;
        int error;

        if (id >= ARRAY_LEN(e->cpus))
                return -EINVAL;
        v = soft_mirror_cpu_alloc();
        if (v == NULL)
                return -ENOMEM;
        v->self = v;
        v->id = id;
        v->engine = e;
        v->mem = e->mem;
        v->mem_base = mem_base(e->mem);
        v->env = &e->env;
        v->model = e->config->model;
        v->features = e->features;
        v->exit_on_pause = e->config->exit_on_pause;
        v->ignore_unknown_msrs = e->config->ignore_unknown_msrs;
        v->run = calloc(1, sizeof(*v->run));
        v->tr = calloc(1, sizeof(*v->tr));
        x86_state_reset(&v->st, id);
        error = v->run == NULL || v->tr == NULL ? -ENOMEM : soft_mmu_create(v);
        if (error == 0 && e->check_count != 0)
                error = soft_check_create(v);
        if (error != 0) {
                soft_cpu_destroy((struct cpu *)(void *)v);
                return error;
        }
        e->cpus[id] = v;
        if (id >= e->cpu_count)
                e->cpu_count = id + 1;
        reload_derived(v);
        *ret_cpu = (struct cpu *)(void *)v;
        return 0;
}

static void
soft_get_state(struct cpu *cpu, struct x86_state *ret_state)
{
        struct soft_cpu *v = (struct soft_cpu *)(void *)cpu;

        soft_fpu_put(v);
        *ret_state = v->st;
}

static int
soft_set_state(struct cpu *cpu, const struct x86_state *state)
{
        struct soft_cpu *v = (struct soft_cpu *)(void *)cpu;

        v->fpu_live = false;
        v->st = *state;
        v->event.kind = v->delivering.kind = SOFT_EV_NONE;
        reload_derived(v);
        return 0;
}

static void
soft_memory_written(struct cpu_engine *engine, gpa_t gpa, uint64_t len)
{
        soft_code_written((struct soft_engine *)(void *)engine, gpa, len);
}

const struct cpu_engine_ops cpu_engine_soft = {
        .name = "soft",
        .probe = soft_probe,
        .create = soft_create,
        .destroy = soft_destroy,
        .cpu_create = soft_cpu_create,
        .cpu_destroy = soft_cpu_destroy,
        .get_state = soft_get_state,
        .set_state = soft_set_state,
        .run = soft_run,
        .event = soft_event_op,
        .set_debug = soft_set_debug,
        .stats = soft_stats,
        .memory_written = soft_memory_written,
};
