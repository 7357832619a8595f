/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * From guest code to host code, a block at a time.
 *
 * 1. Decode up to the first instruction that ends a block, or the page's end.
 * 2. Walk backwards to see which arithmetic flags are live before each
 *    instruction; at exits within the page, look ahead into the target.
 * 3. Emit.  Most instructions are the guest's own with other registers and a
 *    host address; memory checks destroy the host's flags, so live flags are
 *    saved before them (LAHF, SETO) and restored where an instruction wants them.
 * 4. Emit the cold paths behind the block: TLB misses, links, exits.
 *
 * Flags that are overwritten before anybody reads them are not saved: a page
 * fault in between shows the handler a stale value of them (doc/soft-cpu.md).
 */
#include "cpu/soft/translate.h"

#include "cpu/soft/cover.h"
#include "cpu/soft/observe.h"
#include "cpu/soft/target.h"

#define TR_AHEAD      8 /* instructions looked at behind an exit */
#define TR_SIDES      3 /* conditional branches that a block goes on behind */

uint16_t
tr_live_after(const struct tr *t)
{
        return t->live[t->at + 1];
}

void
tr_flags_save(struct tr *t)
{
        unsigned temp = tr_temp_spare(t);

        tr_temp_forget(t, temp);
        regs_emit_save_flags(&t->e, temp);
        t->flags = TR_FLAGS_SAVED;
}

bool
tr_flags_held(const struct tr *t)
{
        return t->flags == TR_FLAGS_HOST && t->live[t->at] != 0;
}

void
tr_flags_clobber(struct tr *t)
{
        if (t->flags != TR_FLAGS_HOST)
                return;
        if (tr_flags_held(t))
                tr_flags_save(t);
        else
                t->flags = TR_FLAGS_DEAD;
        tr_flags_note(t);
}

void
tr_flags_for(struct tr *t)
{
        const struct x86_opdesc *d = t->insn[t->at].desc;
        uint16_t wanted = d->flags_read | (d->flags_maybe & tr_live_after(t));

        if (d->flags_written | d->flags_maybe)
                wanted |= tr_live_after(t) & ~d->flags_written;
        if ((wanted & X86_FL_ARITH) && t->flags == TR_FLAGS_SAVED) {
                regs_emit_restore_flags(&t->e);
                t->flags = TR_FLAGS_HOST;
        }
}

void
tr_flags_written(struct tr *t)
{
        const struct x86_opdesc *d = t->insn[t->at].desc;

        if ((d->flags_written | d->flags_maybe) & X86_FL_ARITH)
                t->flags = TR_FLAGS_HOST;
}

void
tr_flags_note(struct tr *t)
{
        uint64_t bit = 1ull << t->at;

        t->b->flags_host = (t->b->flags_host & ~bit) | (t->flags == TR_FLAGS_HOST ? bit : 0);
}

struct tr_cold *
tr_cold_add(struct tr *t, int kind, uint8_t *from)
{
        struct tr_cold *c = &t->cold[t->cold_count++];

        *c = (struct tr_cold){ .kind = kind, .from = from, .insn = &t->insn[t->at], .at = t->at, .rip = t->rip,
                .next = t->next, .leave_at = t->next, .leave_in = -1, .flags = t->flags };
        return c;
}

/* lea r10, [what follows]; jmp thunk */
void
tr_jump_thunk(struct tr *t, const uint8_t *thunk)
{
        struct emit *e = &t->e;

        emit8(e, 0x4c);
        emit8(e, 0x8d);
        emit8(e, 0x15);
        emit32(e, 5); /* the jump's length */
        emit_jmp_to(e, thunk);
}

gva_t
tr_page(const struct tr *t)
{
        return t->b->vaddr & ~(gva_t)(MEM_PAGE_SIZE - 1);
}

void
tr_call_thunk(struct tr *t, const uint8_t *thunk, gva_t rip)
{
        tr_jump_thunk(t, thunk);
        emit64(&t->e, t->moves ? (rip - tr_page(t)) | SOFT_RIP_MOVES : rip);
}

void
tr_emit_rip(struct tr *t, unsigned reg, gva_t rip)
{
        int64_t left = (int64_t)(rip - tr_page(t));

        if (!t->moves) {
                emit_mov_imm(&t->e, reg, rip);
                return;
        }
        emit_gs_load(&t->e, EMIT_W, reg, OFF(code_page));
        while (left != 0) { /* once, but for what an operand can reach beyond 2 GiB */
                int32_t step = left > INT32_MAX ? INT32_MAX : left < INT32_MIN ? INT32_MIN : (int32_t)left;

                emit_rm(&t->e, EMIT_W, 0x8d, reg, (int)reg, -1, 1, step);
                left -= step;
        }
}

/* Raises @vector (#GP with error code 0) at the current instruction. */
void
tr_raise(struct tr *t, unsigned vector)
{
        tr_temps_forget(t);
        if (t->flags == TR_FLAGS_HOST)
                tr_flags_save(t);
        tr_emit_rip(t, T1, t->rip);
        emit_mov_imm(&t->e, T0, vector);
        emit_jmp_to(&t->e, t->eng->thunks.raise);
        t->ended = true;
}

gva_t
tr_wrap_rip(const struct tr *t, const struct x86_insn *i, uint64_t rip)
{
        if (t->bits == X86_MODE_64)
                return rip;
        return i->opsize == 2 ? rip & 0xffff : (uint32_t)rip;
}

bool
tr_leads_back(const struct tr *t, const struct x86_insn *i, gva_t next)
{
        return tr_wrap_rip(t, i, next + (uint64_t)i->imm) == t->b->vaddr;
}

/* ---- decoding ---- */

struct tr_source {
        const uint8_t *page;  /* host address of the first page */
        const uint8_t *page2; /* of the next, or NULL */
        unsigned offset;      /* of the block in the page */
};

/* Decodes at @offset in the source page.  Bytes of the next page are used only if @cross. */
static enum x86_decode_result
tr_decode(const struct tr_source *s, unsigned offset, enum x86_mode mode, bool cross, struct x86_insn *i)
{
        uint8_t buf[X86_INSN_MAX];
        unsigned left = MEM_PAGE_SIZE - offset;

        if (left >= X86_INSN_MAX)
                return x86_decode(s->page + offset, X86_INSN_MAX, mode, i);
        memcpy(buf, s->page + offset, left);
        if (!cross || s->page2 == NULL)
                return x86_decode(buf, left, mode, i);
        memcpy(buf + left, s->page2, X86_INSN_MAX - left);
        return x86_decode(buf, X86_INSN_MAX, mode, i);
}

static bool
tr_ends_block(const struct tr *t, const struct x86_insn *i)
{
        if (tr_sys_is_inline(t, i))
                return false;
        if (x86_insn_is_near_branch(i) || i->desc->class == X86_CLASS_POPF || i->desc->class == X86_CLASS_UD)
                return true;
        return i->desc->class == X86_CLASS_SYSTEM && (i->desc->flags & X86_OD_END);
}

/* True if every arithmetic flag is overwritten before it is read, by the code at @target in this page. */
static bool
tr_flags_dead_at(struct tr *t, const struct tr_source *s, gva_t target)
{
        int64_t offset = (int64_t)s->offset + (int64_t)(target - t->b->vaddr);
        uint16_t unknown = X86_FL_ARITH;
        unsigned start, at;

        if (t->mode & SOFT_MODE_STEP || t->eng->break_count != 0 || offset < 0 || offset >= MEM_PAGE_SIZE)
                return false;
        start = at = (unsigned)offset;
        for (unsigned n = 0; n < TR_AHEAD && at < MEM_PAGE_SIZE; n++) {
                struct x86_insn i;

                if (tr_decode(s, at, t->bits, false, &i) != X86_DECODE_OK)
                        break;
                if (i.desc->flags_read & unknown)
                        break;
                if (x86_insn_is_near_branch(&i) || i.desc->class == X86_CLASS_SYSTEM || i.desc->class >= X86_CLASS_PUSHF)
                        break;
                at += i.len;
                unknown &= (uint16_t)~i.desc->flags_written;
                if (unknown == 0)
                        break;
        }
        if (unknown != 0)
                return false;
        /* The block depends on these bytes too. */
        if (t->b->ahead_end == 0) {
                t->b->ahead_start = (uint16_t)start;
                t->b->ahead_end = (uint16_t)at;
        } else {
                t->b->ahead_start = start < t->b->ahead_start ? (uint16_t)start : t->b->ahead_start;
                t->b->ahead_end = at > t->b->ahead_end ? (uint16_t)at : t->b->ahead_end;
        }
        return true;
}

static gva_t
tr_linear(const struct tr *t, gva_t rip)
{
        return t->bits == X86_MODE_64 ? rip : (uint32_t)(t->v->st.seg[X86_CS].base + rip);
}

static bool
tr_breaks(const struct tr *t, gva_t rip)
{
        if (t->eng->break_count == 0 || (t->mode & SOFT_MODE_STEP))
                return false;
        return soft_debug_breaks(t->eng, tr_linear(t, rip));
}

/*
 * Whether the block goes on behind this branch: forward ones are taken less often than not, and behind a backward one
 * in a loop there may be more of that loop.  Coverage wants to know what was executed, and not what stands behind a branch.
 */
static bool
tr_goes_on(const struct tr *t, const struct x86_insn *i, gva_t next)
{
        if (i->desc->class != X86_CLASS_JCC || t->eng->cover != NULL)
                return false;
        return i->imm > 0 || ((t->mode & SOFT_MODE_HEAD) && !tr_leads_back(t, i, next));
}

/* Decodes the block.  False: its first instruction needs the next page, which is not there. */
static bool
tr_decode_block(struct tr *t, const struct tr_source *s)
{
        unsigned max = t->mode & SOFT_MODE_STEP ? 1 : SOFT_BLOCK_INSNS;
        unsigned at = s->offset, sides = 0;
        gva_t rip = t->b->vaddr;

        t->raise = -1;
        while (t->count < max && at < MEM_PAGE_SIZE) {
                struct x86_insn *i = &t->insn[t->count];
                enum x86_decode_result r;

                if (t->count != 0 && soft_observe_begins(t->eng->observer, tr_linear(t, rip)))
                        break;
                if (tr_breaks(t, rip)) {
                        if (t->count == 0) {
                                t->raise = SOFT_RAISE_BREAK;
                                at++;
                        }
                        break;
                }
                r = tr_decode(s, at, t->bits, t->count == 0, i);
                if (r == X86_DECODE_SHORT) {
                        if (t->count == 0)
                                return false;
                        break;
                }
                t->rip_of[t->count] = rip;
                if (r != X86_DECODE_OK) {
                        t->raise = r == X86_DECODE_UD ? X86_VEC_UD : X86_VEC_GP;
                        at += i->len != 0 ? i->len : 1;
                        break;
                }
                t->count++;
                at += i->len;
                rip = t->bits == X86_MODE_64 ? rip + i->len : (uint32_t)(rip + i->len);
                if (t->bits == X86_MODE_16 && rip > 0xffff)
                        break;
                if (tr_goes_on(t, i, rip) && sides < TR_SIDES)
                        sides++;
                else if (tr_ends_block(t, i))
                        break;
        }
        t->rip_of[t->count] = rip;
        t->b->len = (uint16_t)(at - s->offset);
        return true;
}

/* ---- liveness ---- */

static bool
tr_has_target(const struct x86_insn *i)
{
        switch (i->desc->class) {
        case X86_CLASS_JCC:
        case X86_CLASS_LOOP:
        case X86_CLASS_JMP:
        case X86_CLASS_CALL:
                return true;
        default:
                return false;
        }
}

/* Looks behind the exits, whether flags are dead there. */
static void
tr_look_ahead(struct tr *t, const struct tr_source *s)
{
        const struct x86_insn *last = &t->insn[t->count - 1];

        t->taken_dead = 0;
        t->end_dead = false;
        for (unsigned n = 0; n < t->count; n++) {
                const struct x86_insn *i = &t->insn[n];

                if (tr_has_target(i) &&
                    tr_flags_dead_at(t, s, tr_wrap_rip(t, i, t->rip_of[n + 1] + (uint64_t)i->imm)))
                        t->taken_dead |= 1ull << n;
        }
        if (t->raise >= 0)
                return;
        if (last->desc->class == X86_CLASS_JCC || last->desc->class == X86_CLASS_LOOP || !tr_ends_block(t, last))
                t->end_dead = tr_flags_dead_at(t, s, t->rip_of[t->count]);
        else
                t->end_dead = t->taken_dead >> (t->count - 1) & 1;
}

static void
tr_liveness(struct tr *t, const struct tr_source *s)
{
        uint16_t live = X86_FL_ARITH;

        if (t->count > 0)
                tr_look_ahead(t, s);
        if (t->count > 0 && t->end_dead)
                live = 0;
        t->live[t->count] = live;
        for (unsigned n = t->count; n-- > 0;) {
                const struct x86_opdesc *d = t->insn[n].desc;

                live &= (uint16_t)~d->flags_written;
                live |= d->flags_read & X86_FL_ARITH;
                if (tr_has_target(&t->insn[n]) && !(t->taken_dead >> n & 1))
                        live = X86_FL_ARITH;
                if (d->class == X86_CLASS_SYSTEM && tr_sys_is_inline(t, &t->insn[n]) && d->sys != X86_SYS_STI &&
                    d->sys != X86_SYS_RDTSC)
                        ; /* touches no arithmetic flag */
                else if (d->class == X86_CLASS_SYSTEM || d->class == X86_CLASS_PUSHF || d->class == X86_CLASS_POPF ||
                    d->class == X86_CLASS_STRING)
                        live = X86_FL_ARITH;
                t->live[n] = live;
        }
}

/* ---- emission ---- */

static void
tr_emit_cold(struct tr *t)
{
        for (unsigned n = 0; n < t->cold_count; n++) {
                struct tr_cold *c = &t->cold[n];
                struct soft_exit *x = (struct soft_exit *)(uintptr_t)c->arg;

                emit_fix32(c->from, t->e.p);
                switch (c->kind) {
                case COLD_ACCESS:
                        tr_emit_cold_access(t, c);
                        break;
                case COLD_EXIT:
                        x->stub = emit_here(&t->e);
                        if (c->flags == TR_FLAGS_HOST)
                                regs_emit_save_flags(&t->e, T1);
                        emit_mov_imm(&t->e, T0, (uint64_t)(uintptr_t)x);
                        emit_jmp_to(&t->e, t->eng->thunks.link);
                        break;
                case COLD_RAISE:
                        if (c->flags == TR_FLAGS_HOST)
                                regs_emit_save_flags(&t->e, T1);
                        tr_emit_rip(t, T1, c->rip);
                        emit_mov_imm(&t->e, T0, c->arg);
                        emit_jmp_to(&t->e, t->eng->thunks.raise);
                        break;
                case COLD_FAR:
                        tr_far_emit_cold(t, c);
                        break;
                case COLD_STACK:
                        tr_stack_emit_cold(t, c);
                        break;
                case COLD_GROUP:
                        tr_group_emit_cold(t, c);
                        break;
                case COLD_SYS:
                        emit_mov_imm(&t->e, T0, c->arg);
                        tr_emit_rip(t, T1, c->rip);
                        emit_jmp_to(&t->e, t->eng->thunks.sys_end);
                        break;
                case COLD_LOOKUP:
                        tr_emit_rip(t, T1, c->rip);
                        emit_gs_store(&t->e, EMIT_W, T1, offsetof(struct soft_cpu, scratch[2]));
                        emit_mov_imm(&t->e, T1, c->arg);
                        emit_gs_store(&t->e, EMIT_W, T1, offsetof(struct soft_cpu, scratch[3]));
                        emit_jmp_to(&t->e, t->mode & SOFT_MODE_STEP ? t->eng->thunks.lookup_step : t->eng->thunks.lookup_indirect);
                        break;
                case COLD_LEAVE:
                        tr_emit_rip(t, T0, c->arg);
                        emit_jmp_to(&t->e, t->eng->thunks.leave);
                        break;
                }
        }
}

/* Whether flags that come in are saved before they are wanted: something that destroys the host's comes first. */
static bool
tr_saves_flags_first(const struct tr *t)
{
        for (unsigned n = 0; n < t->count; n++) {
                const struct x86_insn *i = &t->insn[n];
                enum x86_class class = i->desc->class;

                if (t->mirrors && (class == X86_CLASS_PUSH || class == X86_CLASS_POP))
                        continue;
                if (t->targets && x86_insn_is_near_branch(i))
                        return class == X86_CLASS_LOOP;
                if (class != X86_CLASS_PLAIN && class != X86_CLASS_LEA && class != X86_CLASS_NOP)
                        return class != X86_CLASS_JCC;
                if (class == X86_CLASS_PLAIN && i->has_mem && !t->mirrors)
                        return true;
                if ((i->desc->flags_read | i->desc->flags_written | i->desc->flags_maybe) & X86_FL_ARITH)
                        return false;
        }
        return false;
}

/* By way of the thunk that sets v->stack_mirror.  Returns the displacement of where to go on. */
static uint8_t *
tr_emit_stack_mirror(struct tr *t)
{
        uint8_t *field;

        emit8(&t->e, 0x4c); /* lea r11, [rip + ...] */
        emit8(&t->e, 0x8d);
        emit8(&t->e, 0x1d);
        emit32(&t->e, 0);
        field = t->e.p - 4;
        emit_jmp_to(&t->e, t->eng->thunks.stack_mirror);
        return field;
}

/*
 * Code at the far end of a jump through the cache, and of all that comes from C: notes the page, and where the stack is.
 * Flags are saved, or dead.  Of a block that moves, the first instruction, where its code starts, is what code_lead_away() replaces.
 * @over: what follows is not the body.  Returns the displacement of where to go on; NULL: here.
 */
static uint8_t *
tr_emit_far_entry(struct tr *t, bool over)
{
        t->b->entry_far = emit_here(&t->e);
        if (t->moves) {
                emit_alu_imm(&t->e, EMIT_W, ALU_AND, T0, -MEM_PAGE_SIZE);
                emit_gs_store(&t->e, EMIT_W, T0, OFF(code_page));
        }
        if (t->mirrors)
                return tr_emit_stack_mirror(t);
        return t->moves && over ? emit_jmp32(&t->e) : NULL;
}

/* The same where a target map leads, and flags are kept. */
static void
tr_emit_target_entry(struct tr *t)
{
        while (emit_here(&t->e) != t->b->entry_far + SOFT_TARGET_ENTRY)
                emit8(&t->e, 0xcc);
        emit8(&t->e, 0x4d); /* lea r11, [r11 - offset]: always 7 bytes */
        emit8(&t->e, 0x8d);
        emit8(&t->e, 0x9b);
        emit32(&t->e, -(uint32_t)(t->b->vaddr & (MEM_PAGE_SIZE - 1)));
        emit_gs_store(&t->e, EMIT_W, T0, OFF(code_page));
}

/* Leaves if something has asked for it.  Flags are saved, or dead. */
static void
tr_emit_kick_check(struct tr *t)
{
        struct tr_cold *c;

        emit_gs_cmp_imm8(&t->e, OFF(kick), 0);
        c = tr_cold_add(t, COLD_LEAVE, emit_jcc32(&t->e, CC_NE));
        c->arg = t->b->vaddr;
}

/*
 * The ways in: flags in the host's register, and saved; and from other pages, where a kick is noticed anyway.  The body
 * starts with the state it prefers.
 */
static void
tr_emit_entries(struct tr *t)
{
        struct soft_block *b = t->b;
        bool looks = t->looks && (t->mode & SOFT_MODE_HEAD), stay_saved, loaded;
        bool mapped = t->moves && t->targets;
        uint8_t *over, *way_in, *restored = NULL;

        b->flags_in = t->live[0] != 0;
        stay_saved = b->flags_in && tr_saves_flags_first(t);
        over = tr_emit_far_entry(t, looks || t->loops || stay_saved);
        if (mapped)
                tr_emit_target_entry(t);
        if (mapped && b->flags_in && !looks && !t->loops && !stay_saved)
                restored = emit_jmp32(&t->e);
        b->entry = emit_here(&t->e);
        if (b->flags_in && (looks || t->loops || stay_saved))
                tr_flags_save(t);
        b->entry_saved = emit_here(&t->e);
        way_in = t->e.p;
        t->flags = b->flags_in ? TR_FLAGS_SAVED : TR_FLAGS_DEAD;
        if (t->loops)
                tr_loop_enter(t);
        loaded = t->e.p != way_in;
        if (looks)
                tr_emit_kick_check(t);
        if (!loaded)
                way_in = t->e.p;
        if (over != NULL)
                emit_fix32(over, way_in);
        else if (!t->moves)
                b->entry_far = way_in + t->e.delta;
        if (!b->flags_in || stay_saved)
                return;
        regs_emit_restore_flags(&t->e);
        t->flags = TR_FLAGS_HOST;
        if (!looks && !t->loops)
                b->entry = emit_here(&t->e);
        if (restored != NULL)
                emit_fix32(restored, t->e.p);
}

static void
tr_temps_forget_guests(struct tr *t)
{
        for (unsigned n = 0; n < 2; n++)
                if (t->temp[n].holds == TR_GUEST)
                        tr_temp_forget(t, n == 0 ? T0 : T1);
}

/* What the temporaries hold is left there by those that look for it there. */
static void
tr_prepare_temps(struct tr *t, const struct x86_insn *i)
{
        switch (i->desc->class) {
        case X86_CLASS_PLAIN:
                if (i->has_mem && (i->desc->flags & X86_OD_BITSTR))
                        tr_temps_forget(t);
                break;
        case X86_CLASS_LEA:
        case X86_CLASS_NOP:
        case X86_CLASS_JCC:
        case X86_CLASS_JMP:
                break;
        case X86_CLASS_PUSH:
        case X86_CLASS_POP:
                if (!tr_stack_is_direct(t, i))
                        tr_temp_forget(t, T1);
                tr_temps_forget_guests(t);
                break;
        case X86_CLASS_CALL:
        case X86_CLASS_CALL_IND:
        case X86_CLASS_JMP_IND:
        case X86_CLASS_RET:
                if (t->mirrors)
                        tr_temps_forget_guests(t);
                else
                        tr_temps_forget(t);
                break;
        default:
                tr_temps_forget(t);
                break;
        }
}

/* Nothing has been emitted yet. */
static void
tr_begin(struct tr *t)
{
        t->e.p = soft_code_here(t->eng);
        t->b->exits = NULL;
        t->b->indirect = false;
        t->b->flags_host = 0;
        t->temp[0] = t->temp[1] = t->loop_end[0] = t->loop_end[1] = (struct tr_temp){ .holds = TR_NOTHING };
        t->at = t->cold_count = t->sides = t->narrow = 0;
        t->rip = t->b->vaddr;
        t->fpu_checked = t->ended = t->stack_group_used = t->stack_shared = t->stack_anchored = false;
        t->sp = t->stack_late = 0;
        t->loop_at = NULL;
        tr_guess_begin(t);
}

static void
tr_emit_block(struct tr *t)
{
        struct soft_block *b = t->b;

        tr_begin(t);
        tr_emit_entries(t);
        tr_group_plan(t);
        for (t->at = 0; t->at < t->count && !t->ended; t->at++) {
                t->rip = t->rip_of[t->at];
                t->next = t->rip_of[t->at + 1];
                t->op = TR_AT_T0;
                tr_prepare_temps(t, &t->insn[t->at]);
                tr_stack_prepare(t);
                tr_stack_catch_up(t, &t->insn[t->at]);
                t->place[t->at] = (struct soft_place){ (uint16_t)(emit_here(&t->e) - b->entry), (uint16_t)(t->rip - b->vaddr),
                        (int16_t)t->stack_late };
                tr_flags_note(t);
                if (x86_insn_is_near_branch(&t->insn[t->at]))
                        tr_flow(t, &t->insn[t->at]);
                else
                        tr_insn(t, &t->insn[t->at]);
                tr_stack_follow(t);
                if (t->mirrors) {
                        tr_mirror_follow(t, &t->insn[t->at]);
                        tr_guess_follow(t, &t->insn[t->at]);
                        tr_stack_settle(t);
                }
        }
        b->insn_count = (uint8_t)t->count;
        b->raises = t->raise >= 0;
        b->place = soft_meta_alloc(t->eng, t->count * sizeof(*b->place));
        for (unsigned n = 0; n < t->count; n++)
                b->place[n] = t->place[n];
        tr_stack_catch_up(t, NULL);
        if (!t->ended && t->raise >= 0) {
                t->rip = t->rip_of[t->count];
                tr_raise(t, (unsigned)t->raise);
        }
        if (!t->ended) {
                t->at = t->count - 1;
                tr_exit(t, t->rip_of[t->count], t->end_dead, false);
        }
        b->cold_off = (uint32_t)(emit_here(&t->e) - b->entry);
        tr_emit_cold(t);
        b->host_len = (uint32_t)(emit_here(&t->e) - b->entry);
}

/*
 * Translates the block at @vaddr (offset in CS), whose first byte is at @paddr.
 * Engine lock held.  NULL, with *ret_short: its first instruction reaches into
 * the next page, which cannot be fetched.
 */
static struct soft_block *
tr_run(struct tr *t, gva_t vaddr, gpa_t paddr, gpa_t paddr2, bool *ret_short)
{
        struct soft_engine *eng = t->eng;
        struct tr_source s = {
                .page = t->v->mem_base + (paddr & ~(gpa_t)(MEM_PAGE_SIZE - 1)),
                .page2 = paddr2 == ~(gpa_t)0 ? NULL : t->v->mem_base + paddr2,
                .offset = (unsigned)(paddr & (MEM_PAGE_SIZE - 1)),
        };

        *ret_short = false;
        t->b = soft_meta_alloc(eng, sizeof(*t->b));
        *t->b = (struct soft_block){ .paddr = paddr, .vaddr = vaddr, .mode = t->mode };
        t->b->page[0] = paddr & ~(gpa_t)(MEM_PAGE_SIZE - 1);
        t->b->page[1] = ~(gpa_t)0;
        if (!tr_decode_block(t, &s)) {
                *ret_short = true;
                return NULL;
        }
        if (s.offset + t->b->len > MEM_PAGE_SIZE)
                t->b->page[1] = paddr2;
        tr_liveness(t, &s);
        t->e.delta = eng->code_x - eng->code_w;
        t->loops = t->count > 0 && tr_loop_found(t);
        t->loop_turn = 0;
        t->loop_temp[0].holds = t->loop_temp[1].holds = TR_NOTHING;
        do
                tr_emit_block(t);
        while (t->loops && tr_loop_again(t));
        soft_code_take(eng, t->e.p);
        soft_code_insert(eng, t->b);
        tr_loop_link(t);
        if (!(t->mode & SOFT_MODE_USER))
                soft_cover_block(eng->cover,
                    t->bits == X86_MODE_64 ? vaddr : (uint32_t)(t->v->st.seg[X86_CS].base + vaddr), t->b->len);
        atomic_fetch_add_explicit(&eng->stats.translations, 1, memory_order_relaxed);
        atomic_fetch_add_explicit(&eng->stats.guest_insns, t->count, memory_order_relaxed);
        return t->b;
}

struct soft_block *
soft_translate(struct soft_cpu *v, uint32_t mode, gpa_t paddr, gpa_t paddr2, bool *ret_short)
{
        struct soft_engine *eng = v->engine;
        struct tr *t = v->tr;
        uint64_t start = __builtin_ia32_rdtsc();
        struct soft_block *b;

        t->v = v;
        t->eng = eng;
        t->mode = mode;
        t->bits = mode & SOFT_MODE_BITS;
        t->moves = mode & SOFT_MODE_MOVES;
        t->mirrors = mode & SOFT_MODE_MIRROR;
        t->targets = t->mirrors && soft_targets_wanted(eng);
        t->looks = !(mode & SOFT_MODE_USER) || SOFT_USER_LOOKS;
        t->count = 0;
        b = tr_run(t, v->st.rip, paddr, paddr2, ret_short);
        atomic_fetch_add_explicit(&eng->stats.translate_tsc, __builtin_ia32_rdtsc() - start, memory_order_relaxed);
        return b;
}
