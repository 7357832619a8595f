/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Faults that the host's processor raises in translated code.
 *
 * They arrive as signals.  The block that was running knows where its instructions are and where flags were, so that the
 * guest's state is complete, and the fault is the guest's, or one of a mirror that is dealt with (mirror.h).
 */
#include "base/util.h"
#include "cpu/soft/mirror.h"
#include "cpu/soft/regs.h"
#include "cpu/soft/run.h"
#include "cpu/soft/target.h"

#include <signal.h>
#include <ucontext.h>

static const int host_signals[] = { SIGFPE, SIGSEGV, SIGBUS };
static struct sigaction host_old_actions[ARRAY_LEN(host_signals)];

/* What the host raised, as the guest would see it; -1 if it is none of the guest's doing. */
static int
host_fault_vector(const struct soft_cpu *v, const siginfo_t *si, const ucontext_t *uc)
{
        const uint8_t *at = si->si_addr;

        switch (uc->uc_mcontext.gregs[REG_TRAPNO]) {
        case X86_VEC_DE:
        case X86_VEC_MF:
        case X86_VEC_GP:
                return (int)uc->uc_mcontext.gregs[REG_TRAPNO];
        case X86_VEC_XM:
                return v->st.cr4 & X86_CR4_OSXMMEXCPT ? X86_VEC_XM : X86_VEC_UD;
        case X86_VEC_PF:
                return at >= v->engine->guard_page && at < v->engine->guard_page + 2 * MEM_PAGE_SIZE ? X86_VEC_SS :
                                                                                                       -1;
        default:
                return -1;
        }
}

static void
host_fault_regs(struct soft_cpu *v, const struct soft_block *b, const ucontext_t *uc)
{
        static const uint8_t greg[16] = { REG_RAX, REG_RCX, REG_RDX, REG_RBX, REG_RSP, REG_RBP, REG_RSI, REG_RDI,
                REG_R8, REG_R9, REG_R10, REG_R11, REG_R12, REG_R13, REG_R14, REG_R15 };
        uint64_t at = (uint64_t)uc->uc_mcontext.gregs[REG_RIP] - (uint64_t)(uintptr_t)b->entry;
        uint64_t fl = (uint64_t)uc->uc_mcontext.gregs[REG_EFL];
        unsigned n = 0;

        for (unsigned g = 0; g < X86_GPR_COUNT; g++)
                if (regs_host[g] >= 0)
                        v->st.gpr[g] = (uint64_t)uc->uc_mcontext.gregs[greg[regs_host[g]]];
        if (at >= b->cold_off) /* a slow access: its thunk has set st.rip */
                return;
        while (n + 1 < b->insn_count && b->place[n + 1].host <= at)
                n++;
        v->st.rip = soft_block_rip(v, b) + b->place[n].guest;
        v->st.gpr[X86_RSP] += (uint64_t)(int64_t)b->place[n].stack;
        if (at >= b->place[0].host && (b->flags_host >> n & 1)) /* what loads a loop's temporaries comes before */
                v->flags_saved = (uint32_t)((fl & 0xff) << 8 | (fl & X86_FL_OF ? 1 : 0));
}

static void
leave(struct soft_cpu *v, ucontext_t *uc, enum soft_left how)
{
        uc->uc_mcontext.gregs[REG_RDI] = how;
        uc->uc_mcontext.gregs[REG_RIP] = (greg_t)(uintptr_t)v->engine->thunks.unwind;
}

/* The instruction at st.rip is done again, by way of the TLB. */
static void
leave_plainly(struct soft_cpu *v, ucontext_t *uc)
{
        v->run->plainly = true;
        soft_check_interrupted(v);
        leave(v, uc, SOFT_LEFT_NORMAL);
}

/* True: it was an access by a mirror, and has been dealt with. */
static bool
host_mirror_fault(struct soft_cpu *v, const struct soft_block *b, const siginfo_t *si, ucontext_t *uc)
{
        enum soft_mirror_answer answer;

        if (!(b->mode & SOFT_MODE_MIRROR) || uc->uc_mcontext.gregs[REG_TRAPNO] != X86_VEC_PF)
                return false;
        host_fault_regs(v, b, uc);
        answer = soft_mirror_fault(v, b, si->si_addr, uc->uc_mcontext.gregs[REG_ERR] & X86_PF_W);
        if (answer == SOFT_MIRROR_ELSEWHERE)
                return false;
        if (answer == SOFT_MIRROR_AGAIN)
                return true;
        if (answer == SOFT_MIRROR_PLAINLY)
                leave_plainly(v, uc);
        else
                leave(v, uc, SOFT_LEFT_EVENT);
        return true;
}

/*
 * True: it was a jump by a target map, of a chunk that has none, and has been dealt with.  To an address that is no user's the
 * branch may have to fault itself, before it has done anything (SDM 2A, JMP, CALL, RET).
 */
static bool
host_target_fault(struct soft_cpu *v, const struct soft_block *b, ucontext_t *uc)
{
        const uint8_t *pc = (const uint8_t *)(uintptr_t)uc->uc_mcontext.gregs[REG_RIP];

        if (!(b->mode & SOFT_MODE_MIRROR) || !soft_target_jumps(pc))
                return false;
        if (b->indirect && pc < b->entry + b->cold_off && (uint64_t)uc->uc_mcontext.gregs[REG_R11] >> SOFT_MIRROR_SHIFT >= SOFT_MIRROR_CHUNKS) {
                host_fault_regs(v, b, uc);
                /* The branch has moved the host's RSP, to where the guest's is behind it. */
                v->st.gpr[X86_RSP] = (uint64_t)uc->uc_mcontext.gregs[REG_RSP] + (uint64_t)(int64_t)b->undo;
                leave_plainly(v, uc);
        } else {
                uc->uc_mcontext.gregs[REG_RIP] = (greg_t)(uintptr_t)v->engine->thunks.lookup_unmapped;
        }
        return true;
}

/* True: v->stack_mirror was looked up for a stack pointer that is no user's address, and what it is then has been put in its place. */
static bool
host_stack_fault(struct soft_cpu *v, ucontext_t *uc)
{
        const uint8_t *next;

        if (!soft_mirror_loads_stack((const uint8_t *)(uintptr_t)uc->uc_mcontext.gregs[REG_RIP], &next))
                return false;
        uc->uc_mcontext.gregs[REG_R10] = (greg_t)soft_mirror_of_stack(v, (gva_t)uc->uc_mcontext.gregs[REG_RSP]);
        uc->uc_mcontext.gregs[REG_RIP] = (greg_t)(uintptr_t)next;
        return true;
}

static void
host_fault(int sig, siginfo_t *si, void *context)
{
        struct soft_cpu *v = soft_current;
        ucontext_t *uc = context;
        const uint8_t *pc = (const uint8_t *)(uintptr_t)uc->uc_mcontext.gregs[REG_RIP];
        struct soft_block *b;
        int vector;

        if (v != NULL && pc >= v->engine->code_x && pc < v->engine->code_x + v->engine->code_size) {
                if (host_stack_fault(v, uc))
                        return;
                b = soft_code_at(v->engine, pc);
                if (b != NULL && host_target_fault(v, b, uc))
                        return;
                vector = host_fault_vector(v, si, uc);
                if (b != NULL && vector < 0 && host_mirror_fault(v, b, si, uc))
                        return;
                if (b != NULL && vector >= 0) {
                        host_fault_regs(v, b, uc);
                        v->event = (struct soft_event){ SOFT_EV_EXCEPTION, (uint8_t)vector,
                                vector == X86_VEC_GP || vector == X86_VEC_SS, 0 };
                        leave(v, uc, SOFT_LEFT_EVENT);
                        return;
                }
        }
        /* Not ours: let it happen again under the action that stood before. */
        for (unsigned i = 0; i < ARRAY_LEN(host_signals); i++)
                if (host_signals[i] == sig)
                        sigaction(sig, &host_old_actions[i], NULL);
}

void
soft_faults_install(void)
{
        struct sigaction sa = { .sa_sigaction = host_fault, .sa_flags = SA_SIGINFO | SA_NODEFER | SA_ONSTACK };

        sigaddset(&sa.sa_mask, SOFT_KICK_SIGNAL);
        for (unsigned i = 0; i < ARRAY_LEN(host_signals); i++) {
                struct sigaction old;

                sigaction(host_signals[i], &sa, &old);
                if (old.sa_sigaction != host_fault)
                        host_old_actions[i] = old;
        }
}
