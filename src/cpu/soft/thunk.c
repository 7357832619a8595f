/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Thunks: the passages between translated code and C.
 *
 * Registers in translated code:
 *   guest registers but R10, R11    in the host register of that name, RSP too
 *   guest R10, R11                  in memory, gs:[gpr]
 *   host R10, R11                   temporaries
 *   GS base                         struct soft_cpu
 * So translated code has no stack, and does not call: it jumps to a thunk with
 * R10 where to come back to; there, the guest's RIP lies first, for most of them
 * (tr_jump_thunk, tr_call_thunk).  Signals are handled on a stack of their own.
 * A thunk that calls C stores all pinned guest registers first, so that a
 * helper that raises finds st.gpr[] complete; it takes the thread's stack from
 * host_sp, 16-byte aligned, and reloads what C may change.
 * The arithmetic flags are saved in flags_saved, or dead, around every call.
 */
#include "cpu/soft/code.h"
#include "cpu/soft/emit.h"
#include "cpu/soft/regs.h"

#include <stddef.h>

#define OFF(field) offsetof(struct soft_cpu, field)

/* And takes the thread's stack. */
static void
thunk_store_regs(struct emit *e)
{
        for (unsigned g = 0; g < X86_GPR_COUNT; g++)
                if (regs_host[g] >= 0)
                        emit_gs_store(e, EMIT_W, (unsigned)regs_host[g], OFF(st.gpr[0]) + 8 * g);
        emit_gs_load(e, EMIT_W, H_RSP, OFF(host_sp));
}

/* C keeps RBX, RBP and R12-R15; @all reloads them too, for helpers that change guest registers. */
static void
thunk_load_regs(struct emit *e, bool all)
{
        for (unsigned g = 0; g < X86_GPR_COUNT; g++) {
                int h = regs_host[g];
                bool kept = h == H_RBX || h == H_RBP || h >= H_R12;

                if (h >= 0 && (all || !kept))
                        emit_gs_load(e, EMIT_W, (unsigned)h, OFF(st.gpr[0]) + 8 * g);
        }
}

/* The guest address at r10, where @record_bytes lie, to st.rip; notes where to come back to. */
static void
thunk_come(struct emit *e, unsigned record_bytes)
{
        uint8_t *absolute[2];

        emit_alu_imm(e, EMIT_W, ALU_ADD, H_R10, (int32_t)record_bytes);
        emit_gs_store(e, EMIT_W, H_R10, OFF(thunk_return));
        emit_rm(e, EMIT_W, 0x8b, H_R10, H_R10, -1, 1, -(int32_t)record_bytes);
        emit_rr(e, EMIT_W, 0x0fba, 4, H_R10); /* bt r10, 62 */
        emit8(e, 62);
        absolute[0] = emit_jcc32(e, CC_B);
        emit_rr(e, EMIT_W, 0x0fba, 6, H_R10); /* btr r10, 63 */
        emit8(e, 63);
        absolute[1] = emit_jcc32(e, CC_AE);
        emit_gs(e, EMIT_W, 0x03, H_R10, OFF(code_page));
        emit_fix32(absolute[0], e->p);
        emit_fix32(absolute[1], e->p);
        emit_gs_store(e, EMIT_W, H_R10, OFF(st.rip));
}

static void
thunk_go_back(struct emit *e)
{
        emit_gs(e, EMIT_D, 0xff, 4, OFF(thunk_return)); /* jmp */
}

/* To the far entry at r10 of a block for st.rip. */
static void
thunk_jump(struct emit *e)
{
        thunk_load_regs(e, true);
        emit_gs_load(e, EMIT_W, H_R11, OFF(st.rip));
        emit8(e, 0x41); /* jmp r10 */
        emit8(e, 0xff);
        emit8(e, 0xe2);
}

static uint8_t *
thunk_align(struct emit *e)
{
        while ((uintptr_t)e->p % 16 != 0)
                emit8(e, 0xcc);
        return emit_here(e);
}

/*
 * What the TLB knows about the page of r11, of @bytes, for a stack access outside the window; if nothing, goes on behind,
 * with r11 as it was.  Mostly the window stays: a program whose stack goes to and fro between two pages
 * has places that hit it and places that miss it, and the processor learns which.  After SOFT_WINDOW_CREDIT misses
 * it moves to the page, as by stack_remember() in access.c.  @shared: NULL in r11 where it stays, for the block's
 * later accesses are to be in it.
 */
static void
thunk_window(struct emit *e, unsigned bytes, bool shared)
{
        uint8_t *slow[3], *stays;

        emit_gs_store(e, EMIT_W, H_R11, OFF(scratch[3]));
        emit_mov_rr(e, EMIT_D, H_R10, H_R11);
        emit_alu_imm(e, EMIT_D, ALU_AND, H_R10, MEM_PAGE_SIZE - 1);
        emit_alu_imm(e, EMIT_D, ALU_CMP, H_R10, (int32_t)(MEM_PAGE_SIZE - bytes));
        slow[0] = emit_jcc32(e, CC_A);
        emit_mov_rr(e, EMIT_W, H_R10, H_R11);
        emit_rr(e, EMIT_W, 0xc1, 5, H_R10); /* shr */
        emit8(e, MEM_PAGE_SHIFT - 5);
        emit_gs(e, EMIT_D, 0x23, H_R10, OFF(tlb_mask)); /* and */
        emit_gs(e, EMIT_W, 0x03, H_R10, OFF(tlb));
        emit_alu_imm(e, EMIT_W, ALU_AND, H_R11, -MEM_PAGE_SIZE);
        emit_rm(e, EMIT_W, 0x3b, H_R11, H_R10, -1, 1, offsetof(struct soft_tlb_entry, tag_write)); /* cmp */
        slow[1] = emit_jcc32(e, CC_NE);
        emit_rm(e, EMIT_D, 0x8b, H_R11, H_R10, -1, 1, offsetof(struct soft_tlb_entry, info));
        emit_gs(e, EMIT_D, 0x85, H_R11, OFF(window_refused)); /* test */
        slow[2] = emit_jcc32(e, CC_NE);
        emit_rm(e, EMIT_W, 0x8b, H_R10, H_R10, -1, 1, offsetof(struct soft_tlb_entry, host));
        emit_gs_load(e, EMIT_W, H_R11, OFF(scratch[3]));
        emit_gs_store_imm32(e, OFF(bounce_kind), 0);
        emit_gs(e, EMIT_D, 0x83, ALU_SUB, OFF(window_credit));
        emit8(e, 1);
        stays = emit_jcc32(e, CC_NS);
        emit_alu_imm(e, EMIT_W, ALU_AND, H_R11, -MEM_PAGE_SIZE);
        emit_gs_store(e, EMIT_W, H_R11, OFF(stack_tag));
        emit_gs_store(e, EMIT_W, H_R10, OFF(stack_host));
        emit_rr(e, EMIT_W, 0x2b, H_R10, H_R11); /* sub */
        emit_gs_store(e, EMIT_W, H_R10, OFF(stack_delta));
        emit_gs_store_imm32(e, OFF(window_credit), SOFT_WINDOW_CREDIT);
        emit_gs(e, EMIT_W, 0x03, H_R10, OFF(scratch[3]));
        emit_mov_rr(e, EMIT_W, H_R11, H_R10);
        thunk_go_back(e);
        emit_fix32(stays, e->p);
        if (shared) {
                emit_mov_imm(e, H_R11, 0);
        } else {
                emit_alu_imm(e, EMIT_D, ALU_AND, H_R11, MEM_PAGE_SIZE - 1);
                emit_rr(e, EMIT_W, 0x03, H_R11, H_R10);
        }
        thunk_go_back(e);
        for (unsigned i = 0; i < sizeof(slow) / sizeof(slow[0]); i++)
                emit_fix32(slow[i], e->p);
        emit_gs_load(e, EMIT_W, H_R11, OFF(scratch[3]));
}
_Static_assert(sizeof(struct soft_tlb_entry) == 1u << 5, "thunk_window shifts by it");

/* Memory accesses: r11 linear address; returns r11 host address.  @window: bytes of the stack, or 0. */
static uint8_t *
thunk_access(struct emit *e, uintptr_t fn, unsigned info, unsigned window)
{
        uint8_t *start = thunk_align(e);

        thunk_come(e, 8);
        if (window != 0)
                thunk_window(e, window, fn == (uintptr_t)soft_slow_stack);
        thunk_store_regs(e);
        emit_gs_load(e, EMIT_W, H_RDI, OFF(self));
        emit_mov_rr(e, EMIT_W, H_RSI, H_R11);
        emit_mov_imm(e, H_RDX, info);
        emit_call_c(e, fn);
        emit_mov_rr(e, EMIT_W, H_R11, H_RAX);
        thunk_load_regs(e, false);
        thunk_go_back(e);
        return start;
}

/* Offset to linear address where segments are not flat: r11 offset; info for soft_slow_seg lies behind the guest address. */
static uint8_t *
thunk_seg(struct emit *e)
{
        uint8_t *start = thunk_align(e);

        thunk_come(e, 16);
        thunk_store_regs(e);
        emit_gs_load(e, EMIT_W, H_RDI, OFF(self));
        emit_mov_rr(e, EMIT_W, H_RSI, H_R11);
        emit_gs_load(e, EMIT_W, H_RDX, OFF(thunk_return));
        emit_rm(e, EMIT_D, 0x8b, H_RDX, H_RDX, -1, 1, -8);
        emit_call_c(e, (uintptr_t)soft_slow_seg);
        emit_mov_rr(e, EMIT_W, H_R11, H_RAX);
        thunk_load_regs(e, false);
        thunk_go_back(e);
        return start;
}

/* Leaves translated code: st.rip is set, registers are stored; @code to return from enter(). */
static void
thunk_emit_leave(struct emit *e, enum soft_left code, bool load_sp)
{
        static const uint8_t saved[] = { H_R15, H_R14, H_R13, H_R12, H_RBP, H_RBX };

        if (load_sp)
                emit_gs_load(e, EMIT_W, H_RSP, OFF(host_sp));
        emit_mov_imm(e, H_RAX, code);
        for (unsigned i = 0; i < sizeof(saved); i++) {
                e->p = put_rex(e->p, 0, 0, 0, saved[i], false);
                emit8(e, 0x58 | (saved[i] & 7)); /* pop */
        }
        emit8(e, 0x5f); /* pop rdi: the outer host_sp */
        emit_gs_store(e, EMIT_W, H_RDI, OFF(host_sp));
        emit8(e, 0xc3);
}

/* int enter(v, code) and int guard(v, fn, arg): the frame that raise unwinds to. */
static uint8_t *
thunk_enter(struct emit *e, bool guard)
{
        static const uint8_t saved[] = { H_RBX, H_RBP, H_R12, H_R13, H_R14, H_R15 };
        uint8_t *start = thunk_align(e);

        /* gs:[host_sp] is pushed, so that guards nest; 7 pushes and the return address keep alignment. */
        emit_gs(e, 0, 0xff, 6, OFF(host_sp));
        for (unsigned i = 0; i < sizeof(saved); i++) {
                e->p = put_rex(e->p, 0, 0, 0, saved[i], false);
                emit8(e, 0x50 | (saved[i] & 7)); /* push */
        }
        emit_gs_store(e, EMIT_W, H_RSP, OFF(host_sp));
        if (guard) {
                emit_mov_rr(e, EMIT_W, H_RAX, H_RSI);
                emit_mov_rr(e, EMIT_W, H_RSI, H_RDX);
                emit8(e, 0xff); /* call rax */
                emit8(e, 0xd0);
                thunk_emit_leave(e, SOFT_LEFT_NORMAL, false);
        } else {
                emit_mov_rr(e, EMIT_W, H_R10, H_RSI);
                thunk_jump(e);
        }
        return start;
}

/* After a C call that returned a code address in rax: go there, or to the dispatcher if it is NULL. */
static void
thunk_goto_rax(struct emit *e)
{
        uint8_t *out;

        emit_mov_rr(e, EMIT_W, H_R10, H_RAX);
        emit_rr(e, EMIT_W, 0x85, H_R10, H_R10); /* test */
        out = emit_jcc32(e, CC_E);
        thunk_jump(e);
        emit_fix32(out, e->p);
        thunk_emit_leave(e, SOFT_LEFT_NORMAL, true);
}

static void
emit_jump_c(struct emit *e, uintptr_t fn)
{
        thunk_store_regs(e);
        emit_gs_load(e, EMIT_W, H_RDI, OFF(self));
        emit_mov_rr(e, EMIT_W, H_RSI, H_R11);
        emit_call_c(e, fn);
        thunk_goto_rax(e);
}

/* Jumped to, with one argument in r11 for fn(v, r11). */
static uint8_t *
thunk_jump_c(struct emit *e, uintptr_t fn)
{
        uint8_t *start = thunk_align(e);

        emit_jump_c(e, fn);
        return start;
}

/* Jumps to the guest address in r11 if the jump cache has it, in its slot or, with @pair, in the other of the pair. */
static void
thunk_jump_slot(struct emit *e, unsigned pair)
{
        uint8_t *absent;

        emit_mov_rr(e, EMIT_W, H_R10, H_R11);
        emit_rr(e, EMIT_W, 0xc1, 5, H_R10); /* shr */
        emit8(e, SOFT_JUMP_SHIFT);
        emit_rm(e, EMIT_D, 0x8d, H_R10, H_R10, H_R11, 4, 0); /* lea: see soft_jump_slot */
        emit_alu_imm(e, EMIT_D, ALU_AND, H_R10, (SOFT_JUMP_COUNT - 1) * sizeof(struct soft_jump));
        if (pair != 0)
                emit_alu_imm(e, EMIT_D, ALU_XOR, H_R10, (int32_t)(pair * sizeof(struct soft_jump)));
        emit_gs(e, EMIT_W, 0x03, H_R10, OFF(jump_cache));
        emit_rm(e, EMIT_W, 0x3b, H_R11, H_R10, -1, 1, 0);
        absent = emit_jcc32(e, CC_NE);
        emit_rm(e, EMIT_D, 0xff, 4, H_R10, -1, 1, offsetof(struct soft_jump, code)); /* jmp */
        emit_fix32(absent, e->p);
}

/* The same as thunk_jump_c with a guest address in r11, which is not in its slot. */
static uint8_t *
thunk_lookup(struct emit *e, uintptr_t fn)
{
        uint8_t *start = thunk_align(e);

        thunk_jump_slot(e, SOFT_JUMP_PAIR(0));
        emit_jump_c(e, fn);
        return start;
}

/* Whether what is not in a target map may be in the jump cache. */
enum cached { CACHED_NOT, CACHED_WHEN_FULL, CACHED };

/* Where jumps by target maps lead that do not come to code: r11 guest address. */
static uint8_t *
thunk_lookup_target(struct emit *e, enum cached cached)
{
        uint8_t *start = thunk_align(e), *grows = NULL;

        regs_emit_save_flags(e, H_R10);
        if (cached == CACHED_WHEN_FULL) {
                emit_gs_cmp_imm8(e, OFF(targets_full), 0);
                grows = emit_jcc32(e, CC_E);
        }
        if (cached != CACHED_NOT) {
                thunk_jump_slot(e, 0);
                thunk_jump_slot(e, SOFT_JUMP_PAIR(0));
        }
        if (grows != NULL)
                emit_fix32(grows, e->p);
        emit_jump_c(e, (uintptr_t)soft_call_lookup_target);
        return start;
}

static uint8_t *
thunk_sys(struct emit *e)
{
        uint8_t *start = thunk_align(e);
        uint8_t *out;

        thunk_come(e, 8);
        thunk_store_regs(e);
        emit_gs_load(e, EMIT_W, H_RDI, OFF(self));
        emit_mov_rr(e, EMIT_W, H_RSI, H_R11);
        emit_call_c(e, (uintptr_t)soft_call_sys);
        emit_rr(e, EMIT_D, 0x85, H_RAX, H_RAX);
        out = emit_jcc32(e, CC_NE);
        thunk_load_regs(e, true);
        thunk_go_back(e);
        emit_fix32(out, e->p);
        thunk_emit_leave(e, SOFT_LEFT_NORMAL, true);
        return start;
}

static uint8_t *
thunk_sys_end(struct emit *e)
{
        uint8_t *start = thunk_align(e);

        emit_gs_store(e, EMIT_W, H_R10, OFF(st.rip));
        thunk_store_regs(e);
        emit_gs_load(e, EMIT_W, H_RDI, OFF(self));
        emit_mov_rr(e, EMIT_W, H_RSI, H_R11);
        emit_call_c(e, (uintptr_t)soft_call_sys_end);
        thunk_goto_rax(e);
        return start;
}

/* After a slow store.  r11: address of the next instruction.  Keeps the host's flags unless they are saved. */
static uint8_t *
thunk_commit(struct emit *e, bool saved)
{
        uint8_t *start = thunk_align(e);
        uint8_t *out;

        emit_gs_store(e, EMIT_W, H_R10, OFF(thunk_return));
        emit_gs_store(e, EMIT_W, H_R11, OFF(st.rip));
        if (!saved)
                regs_emit_save_flags(e, H_R10);
        thunk_store_regs(e);
        emit_gs_load(e, EMIT_W, H_RDI, OFF(self));
        emit_call_c(e, (uintptr_t)soft_slow_commit);
        emit_rr(e, EMIT_D, 0x85, H_RAX, H_RAX);
        out = emit_jcc32(e, CC_NE);
        thunk_load_regs(e, false);
        if (!saved)
                regs_emit_restore_flags(e);
        thunk_go_back(e);
        emit_fix32(out, e->p);
        thunk_emit_leave(e, SOFT_LEFT_NORMAL, true);
        return start;
}

static uint8_t *
thunk_stack_mirror(struct emit *e)
{
        uint8_t *start = thunk_align(e);

        regs_emit_stack_mirror(e);
        emit_rr(e, EMIT_D, 0xff, 4, H_R11); /* jmp */
        return start;
}

static uint8_t *
thunk_leave(struct emit *e)
{
        uint8_t *start = thunk_align(e);

        emit_gs_store(e, EMIT_W, H_R11, OFF(st.rip));
        thunk_store_regs(e);
        thunk_emit_leave(e, SOFT_LEFT_NORMAL, true);
        return start;
}

/* An exception known when the block was translated: r10 rip, r11 vector. */
static uint8_t *
thunk_raise(struct emit *e)
{
        uint8_t *start = thunk_align(e);

        emit_gs_store(e, EMIT_W, H_R10, OFF(st.rip));
        thunk_store_regs(e);
        emit_gs_load(e, EMIT_W, H_RDI, OFF(self));
        emit_mov_rr(e, EMIT_W, H_RSI, H_R11);
        emit_call_c(e, (uintptr_t)soft_call_raise);
        return start;
}

/* Where soft_raise and soft_exit go: rsp and the result are set here; rdi: enum soft_left. */
static uint8_t *
thunk_unwind(struct emit *e)
{
        static const uint8_t saved[] = { H_R15, H_R14, H_R13, H_R12, H_RBP, H_RBX };
        uint8_t *start = thunk_align(e);

        emit_mov_rr(e, EMIT_W, H_RAX, H_RDI);
        emit_gs_load(e, EMIT_W, H_RSP, OFF(host_sp));
        for (unsigned i = 0; i < sizeof(saved); i++) {
                e->p = put_rex(e->p, 0, 0, 0, saved[i], false);
                emit8(e, 0x58 | (saved[i] & 7));
        }
        emit8(e, 0x5f);
        emit_gs_store(e, EMIT_W, H_RDI, OFF(host_sp));
        emit8(e, 0xc3);
        return start;
}

void
soft_thunks_emit(struct soft_engine *eng)
{
        struct emit e = { eng->code_w, eng->code_x - eng->code_w };
        struct soft_thunks *t = &eng->thunks;

        for (unsigned ss = 0; ss < 3; ss++) {
                for (unsigned c = 0; c < 7; c++) {
                        unsigned info = regs_size_of_class[c] | (ss > 0 ? SOFT_SLOW_STACK : 0) |
                            (ss == 2 ? SOFT_SLOW_WINDOW : 0);
                        unsigned window = ss == 2 ? regs_size_of_class[c] : 0;
                        uintptr_t slow = (uintptr_t)soft_slow_access;

                        t->load[ss][c] = thunk_access(&e, slow, info | SOFT_SLOW_READ, window);
                        t->store[ss][c] = thunk_access(&e, slow, info | SOFT_SLOW_WRITE, window);
                        t->rmw[ss][c] = thunk_access(&e, slow, info | SOFT_SLOW_READ | SOFT_SLOW_WRITE, window);
                }
        }
        t->stack = thunk_access(&e, (uintptr_t)soft_slow_stack, 0, 1);
        t->group[0] = thunk_access(&e, (uintptr_t)soft_slow_group, false, 0);
        t->group[1] = thunk_access(&e, (uintptr_t)soft_slow_group, true, 0);
        t->seg = thunk_seg(&e);
        t->commit[0] = thunk_commit(&e, false);
        t->commit[1] = thunk_commit(&e, true);
        t->sys = thunk_sys(&e);
        t->sys_end = thunk_sys_end(&e);
        t->link = thunk_jump_c(&e, (uintptr_t)soft_call_link);
        t->lookup = thunk_lookup(&e, (uintptr_t)soft_call_lookup);
        t->lookup_indirect = thunk_lookup(&e, (uintptr_t)soft_call_lookup_indirect);
        t->lookup_dead = thunk_jump_c(&e, (uintptr_t)soft_call_lookup);
        t->lookup_target = thunk_lookup_target(&e, CACHED_WHEN_FULL);
        t->lookup_unmapped = thunk_lookup_target(&e, CACHED_NOT);
        t->lookup_cached = thunk_lookup_target(&e, CACHED);
        t->lookup_step = thunk_jump_c(&e, (uintptr_t)soft_call_lookup_indirect);
        if (eng->bmi2)
                t->stack_mirror = thunk_stack_mirror(&e);
        t->leave = thunk_leave(&e);
        t->raise = thunk_raise(&e);
        t->unwind = thunk_unwind(&e);
        t->enter = (int (*)(struct soft_cpu *, const uint8_t *))(uintptr_t)thunk_enter(&e, false);
        t->guard = (int (*)(struct soft_cpu *, void (*)(struct soft_cpu *, void *), void *))(uintptr_t)
            thunk_enter(&e, true);
        thunk_align(&e);
        eng->code_base = (size_t)(e.p - eng->code_w);
}
