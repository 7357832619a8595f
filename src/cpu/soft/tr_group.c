/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * One check for several accesses off the same base register.
 *
 * Accesses of a block at known distances from a register that does not change
 * between them form a group, and so do accesses at known addresses of one page,
 * and those at known distances from the base of FS or GS.  The first of a group
 * checks that the whole range lies in one page that may be accessed so, and
 * stores the host address of its low end; every access is then made at a known
 * distance from that, and needs no check and no flags.
 *
 * Where the range straddles a page, or its page cannot be had without a fault
 * or a dirty bit to set, the block goes on in its variant that checks each access
 * (SOFT_MODE_NOSHARE), as with the stack (tr_stack.c).
 */
#include "cpu/soft/translate.h"

#define GROUP_SPAN_MAX 512 /* bytes that one check may cover: wider ranges straddle pages too often */

/* What a group's addresses are relative to: a general register, or one of these. */
enum {
        GROUP_KEY_ABSOLUTE = X86_GPR_COUNT,
        GROUP_KEY_RIP,
        GROUP_KEY_FS,
        GROUP_KEY_GS,
        GROUP_KEYS,
};

/* The groups that may still grow while the block is looked through. */
struct group_scan {
        int8_t open[GROUP_KEYS];
        unsigned branches; /* seen so far */
};

/* The access that an instruction makes by tr_mem(), or 0. */
static unsigned
access_of(const struct x86_insn *i)
{
        const struct x86_opdesc *d = i->desc;

        if (!i->has_mem)
                return 0;
        if (d->class == X86_CLASS_JMP_IND || d->class == X86_CLASS_CALL_IND || d->class == X86_CLASS_PUSH)
                return X86_ACC_R;
        return d->class == X86_CLASS_PLAIN && !(d->flags & X86_OD_BITSTR) ? d->rm_access : 0;
}

static unsigned
access_bytes(const struct x86_insn *i)
{
        return i->desc->class == X86_CLASS_PLAIN ? x86_insn_mem_bytes(i) : i->opsize;
}

/* The group key of the memory operand and its distance from what the key names; -1: none. */
static int
group_key(const struct tr *t, const struct x86_insn *i, gva_t next, int64_t *ret_at)
{
        bool segment = i->mem_seg == X86_FS || i->mem_seg == X86_GS;

        /* Outside 64-bit mode FS, GS and CS are checked by a helper. */
        if (t->bits != X86_MODE_64 && (segment || i->mem_seg == X86_CS))
                return -1;
        if (i->mem_index >= 0 || i->asize != (t->bits == X86_MODE_64 ? 8 : 4) || (t->mode & SOFT_MODE_SEGS))
                return -1;
        *ret_at = i->disp;
        if (i->mem_base >= 0 && i->mem_base != X86_BASE_RIP)
                return segment || i->mem_base == X86_RSP ? -1 : i->mem_base;
        if (i->mem_base == X86_BASE_RIP)
                *ret_at = (int64_t)((uint64_t)i->disp + next);
        if (!segment && i->mem_base == X86_BASE_RIP)
                return GROUP_KEY_RIP;
        return !segment ? GROUP_KEY_ABSOLUTE : i->mem_seg == X86_FS ? GROUP_KEY_FS : GROUP_KEY_GS;
}

static bool
group_takes(const struct tr_group *g, const struct group_scan *s, int64_t low, int64_t high, bool write)
{
        int64_t l = low < g->low ? low : g->low, h = high > g->high ? high : g->high;

        /* A page that is only read may be read-only, or clean for ever: a write that may not come must not ask for more. */
        if (write && !g->write && g->branches != s->branches)
                return false;
        if (h < l || h - l > GROUP_SPAN_MAX)
                return false;
        return (g->key != GROUP_KEY_ABSOLUTE && g->key != GROUP_KEY_RIP) || ((l ^ (h - 1)) & ~(int64_t)(MEM_PAGE_SIZE - 1)) == 0;
}

static void
group_add(struct tr *t, struct group_scan *s, unsigned at, int key, int64_t low, int64_t high, unsigned acc)
{
        struct tr_group *g = s->open[key] < 0 ? NULL : &t->group[s->open[key]];

        if (g == NULL || !group_takes(g, s, low, high, acc & X86_ACC_W)) {
                if (t->group_count == TR_GROUPS)
                        return;
                s->open[key] = (int8_t)t->group_count;
                g = &t->group[t->group_count++];
                *g = (struct tr_group){ .key = (uint8_t)key, .low = low, .high = high, .branches = (uint8_t)s->branches };
        }
        g->low = low < g->low ? low : g->low;
        g->high = high > g->high ? high : g->high;
        g->members++;
        g->write |= (acc & X86_ACC_W) != 0;
        t->group_of[at] = (int8_t)s->open[key];
}

bool
tr_ends_addresses(const struct x86_insn *i)
{
        switch (i->desc->class) {
        case X86_CLASS_PLAIN:
        case X86_CLASS_LEA:
        case X86_CLASS_NOP:
        case X86_CLASS_PUSH:
        case X86_CLASS_POP:
        case X86_CLASS_FLAG:
        case X86_CLASS_JCC:
                return false;
        default:
                return true;
        }
}

static void
scan_insn(struct tr *t, struct group_scan *s, unsigned at)
{
        const struct x86_insn *i = &t->insn[at];
        unsigned acc = access_of(i), bytes = acc != 0 ? access_bytes(i) : 0;
        int64_t low;
        int key;

        if (bytes != 0) {
                key = group_key(t, i, t->rip_of[at + 1], &low);
                if (key >= 0)
                        group_add(t, s, at, key, low, low + (int64_t)bytes, acc);
        }
        if (tr_ends_addresses(i)) {
                memset(s->open, -1, sizeof(s->open));
                return;
        }
        s->branches += i->desc->class == X86_CLASS_JCC;
        for (unsigned written = x86_insn_writes(i); written != 0; written &= written - 1)
                s->open[__builtin_ctz(written)] = -1;
}

/* Finds the block's groups. */
void
tr_group_plan(struct tr *t)
{
        struct group_scan s;

        t->group_count = 0;
        memset(t->group_of, -1, sizeof(t->group_of));
        if (t->bits == X86_MODE_16 || t->mirrors || (t->mode & (SOFT_MODE_NOSHARE | SOFT_MODE_STEP)))
                return;
        memset(s.open, -1, sizeof(s.open));
        s.branches = 0;
        for (unsigned at = 0; at < t->count; at++)
                scan_insn(t, &s, at);
}

/* T0: linear address of the group's low end. */
static void
emit_low_end(struct tr *t, const struct tr_group *g)
{
        struct emit *e = &t->e;
        unsigned base;

        if (g->key < X86_GPR_COUNT) {
                base = regs_host[g->key] >= 0 ? (unsigned)regs_host[g->key] : T0;
                if (base == T0)
                        tr_load_guest(t, T0, g->key);
                emit_rm(e, t->bits == X86_MODE_64, 0x8d, T0, (int)base, -1, 1, (int32_t)g->low);
                return;
        }
        if (g->key == GROUP_KEY_RIP) {
                tr_emit_rip(t, T0, (gva_t)g->low);
                return;
        }
        emit_mov_imm(e, T0, t->bits == X86_MODE_64 ? (uint64_t)g->low : (uint32_t)g->low);
        if (g->key != GROUP_KEY_ABSOLUTE)
                emit_gs(e, EMIT_W, 0x03, T0, OFF(seg_base[0]) + 8 * (g->key == GROUP_KEY_FS ? X86_FS : X86_GS));
}

static void
emit_check(struct tr *t, struct tr_group *g, unsigned slot)
{
        struct emit *e = &t->e;
        unsigned acc = g->write ? X86_ACC_RW : X86_ACC_R;
        struct tr_cold *c;

        tr_flags_clobber(t);
        tr_temps_forget(t);
        emit_low_end(t, g);
        c = tr_cold_add(t, COLD_GROUP, tr_emit_tlb_lookup(t, (unsigned)(g->high - g->low), acc));
        c->back = e->p;
        c->acc = (uint8_t)acc;
        c->arg = (uint64_t)(g->high - g->low);
        emit_gs_store(e, EMIT_W, T0, OFF(group_host[0]) + 8 * slot);
        g->checked = true;
}

/*
 * t->op: the operand of the current instruction, if it belongs to a group; T0 is the group's host address.
 * Only the first of a group may lose flags.
 */
bool
tr_group_access(struct tr *t)
{
        int slot = t->group_of[t->at];
        const struct x86_insn *i = &t->insn[t->at];
        struct tr_group *g;
        int64_t at;

        if (slot < 0 || t->group[slot].members < 2)
                return false;
        g = &t->group[slot];
        group_key(t, i, t->next, &at);
        if (!g->checked) {
                emit_check(t, g, (unsigned)slot);
        } else if (tr_temp_holder(t, TR_GROUP_HOST, slot) < 0) {
                tr_temp_forget(t, T0);
                emit_gs_load(&t->e, EMIT_W, T0, OFF(group_host[0]) + 8 * (unsigned)slot);
        }
        tr_temp_set(t, T0, TR_GROUP_HOST, slot);
        t->op = (struct tr_operand){ T0, -1, 1, (int32_t)(at - g->low) };
        return true;
}

void
tr_group_emit_cold(struct tr *t, struct tr_cold *c)
{
        emit_rm(&t->e, EMIT_W, 0x03, T0, T1, -1, 1, (int32_t)tr_tag_offset(c->acc));
        tr_emit_range_cold(t, c, t->eng->thunks.group[(c->acc & X86_ACC_W) != 0]);
}
