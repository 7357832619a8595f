/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Makes cases.  Instructions come from the decoder's own tables: a row is picked, an
 * encoding that matches it is put together, with operands that mostly work: the
 * generator knows the values of registers nothing has written yet, and aims memory
 * operands at the mapped pages, their edges, and now and then beyond.
 */
#include "gen.h"

#include "x86/state.h"

#include <Zydis/Zydis.h>

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define TRIES 200

/* An encoding in the making. */
struct enc {
        const struct leaf *leaf;
        uint8_t mod, reg, rm, sib;
        bool has_sib, has_mem;
        uint8_t rex_r, rex_x, rex_b, w, l, vvvv;
        uint8_t pp;
        unsigned disp_bytes;
        int32_t disp;
        bool rip;
        uint32_t rip_address;
        uint8_t seg;   /* prefix byte, 0: none */
        bool asize;    /* 67 */
        bool opsize;   /* 66 beyond what pp asks */
        bool lock;
        uint8_t rep;   /* F2 or F3 beyond what pp asks */
        uint8_t imm[8];
};

static const uint64_t corners[] = { 0, 1, 2, 7, 8, 15, 16, 31, 32, 33, 63, 64, 0x7f, 0x80, 0xff, 0x7fff, 0x8000, 0xffff,
        0x7fffffff, 0x80000000, 0xffffffff, 0x7fffffffffffffff, 0x8000000000000000, 0xffffffffffffffff,
        0xfffffffffffffffe, 0xffffffff80000000, 0x100000000 };

static uint64_t
corner(struct diff_rng *rng)
{
        return corners[diff_below(rng, sizeof(corners) / sizeof(corners[0]))];
}

/* ---- what may be generated ---- */

static bool
in_list(const char *list, const char *name)
{
        size_t len = strlen(name);

        for (const char *p = list; p && (p = strstr(p, name)); p++)
                if ((p == list || p[-1] == ',') && (p[len] == ',' || p[len] == 0))
                        return true;
        return false;
}

static bool
desc_allowed(const struct diff_options *o, const struct x86_opdesc *d)
{
        if (o->only && strncmp(d->name, o->only, strlen(o->only)) != 0)
                return false;
        if (o->avoid && in_list(o->avoid, d->name))
                return false;
        if (!(o->features >> d->feature & 1))
                return false;
        return d->class != X86_CLASS_SYSTEM || diff_sys_rule(d->sys)->how == DIFF_SYS_ROWS;
}

static void
add_leaf(struct diff_gen *gen, bool compat, const struct x86_oprow *row, unsigned map, unsigned opcode, bool vex,
    bool modrm)
{
        struct leaves *all = &gen->leaves[compat];
        struct leaf *l = &all->leaf[all->count];

        if ((row->mask & X86_KEY_NEVER) || all->count == LEAVES_MAX || !desc_allowed(&gen->options, &row->desc))
                return;
        if (!diff_row_exists(row, compat))
                return;
        *l = (struct leaf) { .row = row, .map = (uint8_t)map, .opcode = (uint8_t)opcode, .vex = vex, .modrm = modrm };
        if (map == X86_MAP_X87) {
                l->opcode = (uint8_t)(0xd8 | opcode >> 3);
                l->x87_reg = opcode & 7;
        }
        all->count++;
}

static void
add_groups(struct diff_gen *gen, const struct x86_opgroup *groups, unsigned count, unsigned map, bool vex)
{
        for (unsigned i = 0; i < count; i++)
                for (unsigned j = 0; j < groups[i].count; j++)
                        for (unsigned compat = 0; compat < 2; compat++)
                                add_leaf(gen, compat, &groups[i].rows[j], map, i, vex, groups[i].modrm);
}

static void
collect_leaves(struct diff_gen *g)
{
        add_groups(g, x86_ops_1b, 256, X86_MAP_1B, false);
        add_groups(g, x86_ops_0f, 256, X86_MAP_0F, false);
        add_groups(g, x86_ops_0f38, 256, X86_MAP_0F38, false);
        add_groups(g, x86_ops_0f3a, 256, X86_MAP_0F3A, false);
        add_groups(g, x86_ops_x87, 64, X86_MAP_X87, false);
        add_groups(g, x86_ops_vex_0f, 256, X86_MAP_0F, true);
        add_groups(g, x86_ops_vex_0f38, 256, X86_MAP_0F38, true);
        add_groups(g, x86_ops_vex_0f3a, 256, X86_MAP_0F3A, true);
}

/* ---- memory operands ---- */

/* An address for @size bytes: mostly inside the data pages, sometimes at an edge, seldom one that faults. */
static uint32_t
pick_address(struct gen *g, unsigned size, bool locked)
{
        unsigned kind = diff_below(&g->rng, 100), at = diff_below(&g->rng, DIFF_DATA_PAGES * DIFF_PAGE - 64);

        /* hosts may slow down who locks across cache lines: do that seldom */
        if (locked && diff_below(&g->rng, 200) != 0)
                kind = 0;
        if (kind < 60)
                return DIFF_DATA + (at & ~31u);
        if (kind < 75)
                return DIFF_DATA + at;
        if (kind < 84) /* across the middle of the pages */
                return DIFF_DATA + DIFF_PAGE - diff_below(&g->rng, size + 2);
        if (kind < 89)
                return DIFF_STACK + (at & 0xff0);
        if (kind < 93)
                return DIFF_RO + (at & 0xfe0);
        if (kind < 96) /* the last bytes, and beyond */
                return DIFF_DATA + DIFF_DATA_PAGES * DIFF_PAGE - diff_below(&g->rng, size + 3);
        if (kind < 97)
                return DIFF_CODE + DIFF_CODE_PAGES * DIFF_PAGE - 64 - (at & 31);
        if (kind < 98)
                return DIFF_DATA - diff_below(&g->rng, size + 2);
        return (uint32_t)diff_random(&g->rng);
}

/* Locked without a prefix, by the processor or the engine. */
static bool
is_atomic(const struct x86_opdesc *d)
{
        return d->sys == X86_SYS_CMPXCHG8B || strcmp(d->name, "xchg") == 0;
}

/* A register whose value is still known and fits @want; -1 if there is none. */
static int
pick_known(struct gen *g, uint64_t low, uint64_t high, bool index)
{
        unsigned start = diff_below(&g->rng, 16), limit = g->c->compat ? 8 : 16;

        for (unsigned i = 0; i < 16; i++) {
                unsigned r = (start + i) & 15;

                if (r >= limit || !(g->known >> r & 1) || (index && r == 4))
                        continue;
                if (g->c->gpr[r] >= low && g->c->gpr[r] <= high)
                        return (int)r;
        }
        return -1;
}

static void
use_absolute(struct gen *g, struct enc *e, uint32_t address)
{
        e->mod = 0;
        if (g->c->compat) {
                e->rm = 5;
        } else if (diff_chance(&g->rng, 70)) {
                e->rm = 5;
                e->rip = true;
                e->rip_address = address;
                e->asize = false;
        } else {
                e->rm = 4;
                e->has_sib = true;
                e->sib = 0x25;
        }
        e->disp_bytes = 4;
        e->disp = (int32_t)address;
}

static void
use_base(struct gen *g, struct enc *e, unsigned base, int index, unsigned scale, int64_t disp)
{
        bool small = disp >= -128 && disp <= 127;

        e->disp = (int32_t)disp;
        e->mod = small && diff_chance(&g->rng, 90) ? 1 : 2;
        if (disp == 0 && (base & 7) != 5 && diff_chance(&g->rng, 80))
                e->mod = 0;
        e->disp_bytes = e->mod == 0 ? 0 : e->mod == 1 ? 1 : 4;
        e->rex_b = base >> 3 & 1;
        e->rm = base & 7;
        if (index >= 0 || (base & 7) == 4) {
                e->has_sib = true;
                e->rm = 4;
                e->sib = (uint8_t)(scale << 6 | (index < 0 ? 4 : index & 7) << 3 | (base & 7));
                e->rex_x = index < 0 ? 0 : index >> 3 & 1;
        }
}

static void
gen_vsib(struct gen *g, struct enc *e)
{
        int base = pick_known(g, 0x1ffff000, 0x2000ffff, false);
        unsigned index = g->c->compat ? 4 + diff_below(&g->rng, 4) : 12 + diff_below(&g->rng, 4);

        if (base < 0)
                base = (int)diff_below(&g->rng, 8);
        use_base(g, e, (unsigned)base, (int)index, diff_below(&g->rng, 4), (int64_t)diff_below(&g->rng, 64) * 4);
}

static void
gen_random_mem(struct gen *g, struct enc *e)
{
        unsigned limit = g->c->compat ? 8 : 16;

        use_base(g, e, diff_below(&g->rng, limit), (int)diff_below(&g->rng, limit), diff_below(&g->rng, 4),
            (int8_t)diff_random(&g->rng));
        if (e->has_sib && (e->sib >> 3 & 7) == 4 && !e->rex_x)
                e->sib &= 0x3f;
}

/* 16-bit addressing: any form, with the displacement that leads to @offset, as far as registers are known. */
static void
gen_mem16(struct gen *g, struct enc *e, uint32_t offset)
{
        static const uint8_t bases[8] = { X86_RBX, X86_RBX, X86_RBP, X86_RBP, X86_RSI, X86_RDI, X86_RBP, X86_RBX };
        static const uint8_t indexes[4] = { X86_RSI, X86_RDI, X86_RSI, X86_RDI };
        unsigned rm = diff_below(&g->rng, 8);
        uint32_t needs = 1u << bases[rm] | (rm < 4 ? 1u << indexes[rm] : 0);

        e->rm = (uint8_t)rm;
        e->mod = 2;
        e->disp_bytes = 2;
        if ((needs & ~g->known) != 0 || diff_chance(&g->rng, 20)) {
                e->mod = 0;
                e->rm = 6;
                e->disp = (int32_t)offset;
                return;
        }
        e->disp = (int32_t)(offset - (uint32_t)g->c->gpr[bases[rm]] - (rm < 4 ? (uint32_t)g->c->gpr[indexes[rm]] : 0));
        if (diff_chance(&g->rng, 20)) {
                e->mod = 1;
                e->disp_bytes = 1;
        }
}

/* In segments an address is an offset: of the data segment, mostly. */
static void
gen_mem_segment(struct gen *g, struct enc *e, unsigned size)
{
        uint32_t offset = pick_address(g, size, e->lock) - DIFF_DATA;
        int base = diff_chance(&g->rng, 70) ? pick_known(g, 0, 0x1fff, false) : -1;

        if (g->c->code16 != e->asize) {
                gen_mem16(g, e, offset);
        } else if (base < 0) {
                use_absolute(g, e, offset);
        } else {
                use_base(g, e, (unsigned)base, -1, 0, (int64_t)offset - (int64_t)g->c->gpr[base]);
        }
}

static void
gen_mem(struct gen *g, struct enc *e, unsigned size)
{
        bool locked = e->lock || is_atomic(&e->leaf->row->desc);
        uint32_t address = pick_address(g, size, locked);
        int base = -1, index = -1;
        unsigned scale = 0;
        int64_t disp;

        e->has_mem = true;
        if (e->leaf->row->desc.flags & X86_OD_VSIB) {
                gen_vsib(g, e);
                return;
        }
        if (g->c->segments) {
                gen_mem_segment(g, e, size);
                return;
        }
        if (diff_chance(&g->rng, 2)) {
                gen_random_mem(g, e);
                return;
        }
        /* Off the same register, a little away, as accesses that share one check are. */
        if (g->base >= 0 && !locked && (g->known >> g->base & 1) && diff_chance(&g->rng, 40)) {
                g->near += (uint32_t)((int8_t)diff_random(&g->rng) & -(int)(1 << diff_below(&g->rng, 6)));
                use_base(g, e, (unsigned)g->base, -1, 0, (int64_t)g->near - (int64_t)g->c->gpr[g->base]);
                return;
        }
        if (diff_chance(&g->rng, 80))
                base = pick_known(g, 0x1ffff000, 0x2000ffff, false);
        if (base < 0) {
                use_absolute(g, e, address);
                return;
        }
        disp = (int64_t)address - (int64_t)g->c->gpr[base];
        if (diff_chance(&g->rng, 30)) {
                index = pick_known(g, 0, 0xffff, true);
                scale = diff_below(&g->rng, 4);
                if (index >= 0)
                        disp -= (int64_t)(g->c->gpr[index] << scale);
        }
        if (diff_chance(&g->rng, 30) && !e->lock) /* near the base, as compiled code does */
                disp = (int64_t)(int8_t)diff_random(&g->rng) & -8;
        g->base = index < 0 ? base : -1;
        g->near = (uint32_t)(g->c->gpr[base] + (uint64_t)disp);
        use_base(g, e, (unsigned)base, index, scale, disp);
}

/* ---- putting bytes together ---- */

static unsigned
gen_gpr(struct gen *g)
{
        unsigned r = diff_below(&g->rng, g->c->compat ? 8 : 16);

        if (g->temporaries && diff_chance(&g->rng, 60))
                return X86_R10 + diff_below(&g->rng, 2);
        return r == X86_RSP && !diff_chance(&g->rng, 4) ? X86_RAX : r;
}

static void
pick_pp(struct gen *g, struct enc *e)
{
        const struct x86_oprow *row = e->leaf->row;
        unsigned mask = row->mask & X86_KEY_PP, value = row->value & X86_KEY_PP;

        if (mask == X86_KEY_PP) {
                e->pp = (uint8_t)value;
                e->opsize = value > 1 && diff_chance(&g->rng, 8);
        } else if (mask == 2) {
                e->pp = value ? 2 + diff_below(&g->rng, 2) : 0;
                e->opsize = diff_chance(&g->rng, 20);
        } else {
                e->opsize = diff_chance(&g->rng, 15);
                if (diff_chance(&g->rng, 2))
                        e->rep = diff_below(&g->rng, 2) ? 0xf2 : 0xf3;
        }
        if (g->c->code16 && e->pp == 0)
                e->opsize = diff_chance(&g->rng, 45) && (mask != X86_KEY_PP);
        if (row->mask & X86_KEY_O16)
                e->opsize = true;
}

static void
pick_registers(struct gen *g, struct enc *e)
{
        const struct x86_oprow *row = e->leaf->row;
        const struct x86_opdesc *d = &row->desc;
        unsigned limit = g->c->compat ? 8 : 16;
        unsigned reg = d->reg_kind == X86_OPK_GPR ? gen_gpr(g) : diff_below(&g->rng, limit);
        unsigned rm = d->rm_kind == X86_OPK_GPR ? gen_gpr(g) : diff_below(&g->rng, limit);
        int small;

        if ((d->flags & X86_OD_BITSTR) && diff_chance(&g->rng, 80) && (small = pick_known(g, 0, 0xfff, false)) >= 0)
                reg = (unsigned)small;
        if (row->mask & X86_KEY_REG)
                reg = (row->value >> 3 & 7) | (diff_below(&g->rng, 8) & (unsigned)~(row->mask >> 3) & 7);
        if (e->leaf->map == X86_MAP_X87)
                reg = e->leaf->x87_reg;
        if (row->mask & X86_KEY_RM)
                rm = row->value >> 6 & 7;
        e->reg = reg & 7;
        e->rm = rm & 7;
        e->rex_r = reg >> 3;
        e->rex_b = rm >> 3;
        if ((row->mask & X86_KEY_B) && (row->value & X86_KEY_B))
                e->rex_b = 1;
        e->vvvv = 0;
        if (d->vvvv_kind == X86_OPK_GPR)
                e->vvvv = (uint8_t)gen_gpr(g);
        else if (d->vvvv_kind != X86_OPK_NONE)
                e->vvvv = (uint8_t)diff_below(&g->rng, limit);
}

static void
pick_mode_bits(struct gen *g, struct enc *e)
{
        const struct x86_oprow *row = e->leaf->row;
        const struct x86_opdesc *d = &row->desc;

        e->w = diff_chance(&g->rng, 40);
        if (row->mask & X86_KEY_W)
                e->w = (row->value & X86_KEY_W) != 0;
        e->l = diff_below(&g->rng, 2);
        if (row->mask & X86_KEY_L)
                e->l = (row->value & X86_KEY_L) != 0;
        if (g->c->compat && !e->leaf->vex)
                e->w = 0;
        e->mod = 3;
        if (row->mask & X86_KEY_MOD3)
                e->has_mem = !(row->value & X86_KEY_MOD3);
        else if (d->flags & X86_OD_MEMONLY)
                e->has_mem = true;
        else if (!(d->flags & X86_OD_REGONLY))
                e->has_mem = diff_chance(&g->rng, 50);
        e->lock = (d->flags & X86_OD_LOCKABLE) ? e->has_mem && diff_chance(&g->rng, 20) : diff_below(&g->rng, 400) == 0;
        e->asize = diff_below(&g->rng, 100) < (g->c->segments ? 30 : g->c->compat ? 1 : 4);
        if (!g->c->compat && diff_chance(&g->rng, 4))
                e->seg = diff_below(&g->rng, 2) ? 0x64 : 0x65;
        else if (diff_chance(&g->rng, 2))
                e->seg = (uint8_t)(0x26 | diff_below(&g->rng, 4) << 3);
}

static void
pick_immediate(struct gen *g, struct enc *e)
{
        uint64_t value = diff_chance(&g->rng, 50) ? corner(&g->rng) : diff_random(&g->rng);

        if (e->leaf->row->desc.imm == X86_IMM_MOFFS)
                value = pick_address(g, 8, false) - (g->c->segments ? DIFF_DATA : 0);
        if (e->leaf->row->desc.imm == X86_IMM_ENTER)
                value = diff_below(&g->rng, 200) | (uint64_t)(diff_chance(&g->rng, 30) ? diff_below(&g->rng, 4) : 0) << 16;
        if (e->leaf->row->desc.sys == X86_SYS_INT && (value & 0xff) == 0x80) /* a system call */
                value++;
        memcpy(e->imm, &value, 8);
}

static unsigned
put_prefixes(const struct gen *g, const struct enc *e, uint8_t *p)
{
        static const uint8_t mandatory[4] = { 0, 0x66, 0xf3, 0xf2 };
        unsigned n = 0;
        uint8_t rex = (uint8_t)(e->w << 3 | e->rex_r << 2 | e->rex_x << 1 | e->rex_b);

        if (e->seg)
                p[n++] = e->seg;
        if (e->asize)
                p[n++] = 0x67;
        if (e->leaf->vex)
                return n;
        if (e->lock)
                p[n++] = 0xf0;
        if (e->opsize && e->pp != 1)
                p[n++] = 0x66;
        if (e->rep)
                p[n++] = e->rep;
        if (e->pp)
                p[n++] = mandatory[e->pp];
        if (rex && !g->c->compat)
                p[n++] = 0x40 | rex;
        return n;
}

static unsigned
put_opcode(const struct enc *e, uint8_t *p)
{
        unsigned n = 0, map = e->leaf->map;
        uint8_t tail = (uint8_t)((~e->vvvv & 15) << 3 | e->l << 2 | e->pp);

        if (e->leaf->vex && map == X86_MAP_0F && !e->w && !e->rex_x && !e->rex_b) {
                p[n++] = 0xc5;
                p[n++] = (uint8_t)((e->rex_r ? 0 : 0x80) | tail);
        } else if (e->leaf->vex) {
                p[n++] = 0xc4;
                p[n++] = (uint8_t)((e->rex_r ? 0 : 0x80) | (e->rex_x ? 0 : 0x40) | (e->rex_b ? 0 : 0x20) | map);
                p[n++] = (uint8_t)(e->w << 7 | tail);
        } else if (map != X86_MAP_1B && map != X86_MAP_X87) {
                p[n++] = 0x0f;
                if (map == X86_MAP_0F38)
                        p[n++] = 0x38;
                else if (map == X86_MAP_0F3A)
                        p[n++] = 0x3a;
        }
        p[n++] = e->leaf->opcode;
        return n;
}

/* Writes the encoding; the immediate is 8 bytes, of which the decoder takes what it needs. */
static void
put_insn(const struct gen *g, const struct enc *e, uint8_t *buf, unsigned *ret_disp_at)
{
        unsigned n = put_prefixes(g, e, buf);

        n += put_opcode(e, buf + n);
        if (e->leaf->modrm) {
                buf[n++] = (uint8_t)(e->mod << 6 | e->reg << 3 | e->rm);
                if (e->has_sib)
                        buf[n++] = e->sib;
        }
        *ret_disp_at = n;
        memcpy(buf + n, &e->disp, 4);
        n += e->disp_bytes;
        memcpy(buf + n, e->imm, 8);
}

static uint32_t
written_gprs(const struct x86_insn *in)
{
        const struct x86_opdesc *d = in->desc;
        uint32_t written = d->implicit_write;
        bool byte = (d->flags & X86_OD_BYTE) && !in->rex;

        if (d->reg_kind == X86_OPK_GPR && (d->reg_access & X86_ACC_W))
                written |= 1u << in->reg | (byte ? 1u << (in->reg & 3) : 0);
        if (!in->has_mem && d->rm_kind == X86_OPK_GPR && (d->rm_access & X86_ACC_W))
                written |= 1u << in->rm | (byte ? 1u << (in->rm & 3) : 0);
        if (d->vvvv_kind == X86_OPK_GPR && (d->vvvv_access & X86_ACC_W))
                written |= 1u << in->vvvv;
        if (d->sys == X86_SYS_POPA)
                written |= 0xff;
        return written & 0xffff;
}

static bool
is_branch(const struct x86_opdesc *d)
{
        return d->class == X86_CLASS_JMP || d->class == X86_CLASS_JCC || d->class == X86_CLASS_LOOP ||
            d->class == X86_CLASS_CALL;
}

/* Turns a relative branch into one to another instruction of the sequence; @room: how many may follow. */
static void
fix_branch(struct gen *g, struct diff_insn *out, const struct x86_insn *in, unsigned self, unsigned room)
{
        out->fix = in->imm_bytes == 1 ? FIX_REL8 : in->imm_bytes == 2 ? FIX_REL16 : FIX_REL32;
        out->fix_at = (uint8_t)(in->len - in->imm_bytes);
        out->target = (uint8_t)(self + 1 + (room ? diff_below(&g->rng, room < 4 ? room : 4) : 0));
}

/* What ends the sequence at once, whatever the operands: taken seldom. */
static bool
always_ends(const struct x86_opdesc *d)
{
        if (d->class == X86_CLASS_UD || (d->flags & X86_OD_CPL0))
                return true;
        switch (d->sys) {
        case X86_SYS_MONITOR:
        case X86_SYS_MWAIT:
        case X86_SYS_RSM:
        case X86_SYS_INT:
        case X86_SYS_INT1:
        case X86_SYS_INT3:
        case X86_SYS_IRET:
        case X86_SYS_RET_FAR:
        case X86_SYS_CALL_FAR:
        case X86_SYS_CALL_FAR_MEM:
        case X86_SYS_JMP_FAR:
        case X86_SYS_JMP_FAR_MEM:
        case X86_SYS_POP_SREG:
        case X86_SYS_LFS:
        case X86_SYS_RDPMC:
        case X86_SYS_INVPCID:
        case X86_SYS_CLI:
        case X86_SYS_STI:
        case X86_SYS_IN:
        case X86_SYS_OUT:
        case X86_SYS_INS:
        case X86_SYS_OUTS:
                return true;
        default:
                return d->class == X86_CLASS_RET || d->class == X86_CLASS_JMP_IND || d->class == X86_CLASS_CALL_IND;
        }
}

static bool
is_avoided(const struct gen *g, const struct x86_insn *in, const uint8_t *bytes)
{
        return g->options->amd && diff_vendor_avoids(in, bytes);
}

/* Whether EVEX follows the prefixes: a host with AVX-512 may take what stands behind for the rest of an instruction. */
static bool
starts_evex(const uint8_t *bytes)
{
        while (*bytes == 0x66 || *bytes == 0xf0 || *bytes >> 1 == 0xf2 >> 1 || diff_is_address_prefix(*bytes))
                bytes++;
        return *bytes == 0x62;
}

/*
 * Changes a bit, for encodings that no table row yields.  What a newer processor would make of
 * it must be known: so nothing that Zydis takes for an instruction and the decoder does not.
 */
static bool
mutate(struct gen *g, struct diff_insn *out)
{
        ZydisDecoder decoder;
        ZydisDecodedInstruction zi;
        struct x86_insn in;
        uint8_t buf[24] = { 0 };

        memcpy(buf, out->bytes, out->len);
        buf[diff_below(&g->rng, out->len)] ^= (uint8_t)(1u << diff_below(&g->rng, 8));
        for (unsigned i = out->len; i < sizeof(buf); i++)
                buf[i] = 0xcc;
        if (x86_decode(buf, X86_INSN_MAX, diff_mode(g->c), &in) == X86_DECODE_OK ||
            in.len > out->len || is_avoided(g, &in, buf)) /* what follows would become part of it */
                return false;
        if (g->c->code16)
                ZydisDecoderInit(&decoder, ZYDIS_MACHINE_MODE_LONG_COMPAT_16, ZYDIS_STACK_WIDTH_16);
        else if (g->c->compat)
                ZydisDecoderInit(&decoder, ZYDIS_MACHINE_MODE_LONG_COMPAT_32, ZYDIS_STACK_WIDTH_32);
        else
                ZydisDecoderInit(&decoder, ZYDIS_MACHINE_MODE_LONG_64, ZYDIS_STACK_WIDTH_64);
        if (ZYAN_SUCCESS(ZydisDecoderDecodeInstruction(&decoder, NULL, buf, 15, &zi)) || starts_evex(buf))
                return false;
        memcpy(out->bytes, buf, out->len);
        out->fix = FIX_NONE;
        return true;
}

/*
 * Puts mov ecx, ecx; mov esi, esi; mov edi, edi before a REP with 32-bit addresses: whether one that
 * faults or does nothing clears the upper halves differs (vendor.c).
 */
static bool
clear_upper_halves(struct gen *g, struct diff_insn *out)
{
        static const uint8_t movs[6] = { 0x89, 0xc9, 0x89, 0xf6, 0x89, 0xff };

        if (out->len + sizeof(movs) > X86_INSN_MAX)
                return false;
        memmove(out->bytes + sizeof(movs), out->bytes, out->len);
        memcpy(out->bytes, movs, sizeof(movs));
        out->len += sizeof(movs);
        g->known &= ~(1u << X86_RCX | 1u << X86_RSI | 1u << X86_RDI);
        return true;
}

static bool
gen_from_leaf(struct gen *g, const struct leaf *leaf, struct diff_insn *out, unsigned self, unsigned room)
{
        struct enc e = { .leaf = leaf };
        uint8_t buf[48] = { 0 };
        unsigned disp_at;
        struct x86_insn in;

        pick_pp(g, &e);
        pick_mode_bits(g, &e);
        pick_registers(g, &e);
        if (!leaf->modrm)
                e.has_mem = false;
        if (e.has_mem)
                gen_mem(g, &e, leaf->row->desc.mem_bytes > 32 ? 16 : leaf->row->desc.mem_bytes);
        pick_immediate(g, &e);
        put_insn(g, &e, buf, &disp_at);
        if (x86_decode(buf, X86_INSN_MAX, diff_mode(g->c), &in) != X86_DECODE_OK) {
                /* keep a few wrong uses of LOCK, they must raise #UD */
                if (!e.lock || in.len > 12 || is_branch(&leaf->row->desc) || !diff_chance(&g->rng, 30) ||
                    is_avoided(g, &in, buf))
                        return false;
                memcpy(out->bytes, buf, 15);
                out->len = in.len;
                return true;
        }
        if (!desc_allowed(g->options, in.desc) || (is_branch(in.desc) && in.imm_bytes == 2 && !g->c->segments))
                return false;
        if (is_avoided(g, &in, buf))
                return false;
        if (!g->options->only && always_ends(in.desc) && !diff_chance(&g->rng, 8))
                return false;
        memcpy(out->bytes, buf, in.len);
        out->len = in.len;
        if (e.rip && in.mem_base == X86_BASE_RIP) {
                out->fix = FIX_RIP;
                out->fix_at = (uint8_t)disp_at;
                out->fix_address = e.rip_address;
        }
        if (diff_below(&g->rng, 150) == 0 && mutate(g, out))
                return true;
        if (is_branch(in.desc))
                fix_branch(g, out, &in, self, room);
        g->known &= ~written_gprs(&in);
        if (g->options->amd && in.desc->class == X86_CLASS_STRING && in.rep && in.mode == X86_MODE_64 && in.asize == 4)
                return clear_upper_halves(g, out);
        return true;
}

/* ---- state ---- */

static uint64_t
gen_gpr_value(struct gen *g)
{
        unsigned kind = diff_below(&g->rng, 100);
        uint64_t value;

        if (kind < 45)
                value = DIFF_DATA + 64 + (diff_below(&g->rng, DIFF_DATA_PAGES * DIFF_PAGE - 128) & ~15u);
        else if (kind < 65)
                value = diff_below(&g->rng, 65);
        else if (kind < 85)
                value = corner(&g->rng);
        else
                value = diff_random(&g->rng);
        return g->c->compat ? (uint32_t)value : value;
}

static void
gen_registers(struct gen *g)
{
        struct diff_case *c = g->c;

        for (unsigned i = 0; i < 16; i++)
                c->gpr[i] = gen_gpr_value(g);
        c->gpr[X86_RSP] = DIFF_STACK + 2048 + (diff_below(&g->rng, 64) - 32) * 8;
        if (diff_chance(&g->rng, 50))
                c->gpr[X86_RCX] = diff_below(&g->rng, 20);
        if (diff_chance(&g->rng, 60))
                c->gpr[X86_RDX] = diff_below(&g->rng, 2);
        if (diff_chance(&g->rng, 60))
                c->gpr[X86_RSI] = DIFF_DATA + diff_below(&g->rng, 0x1f00);
        if (diff_chance(&g->rng, 60))
                c->gpr[X86_RDI] = DIFF_DATA + diff_below(&g->rng, 0x1f00);
        if (diff_chance(&g->rng, 50))
                c->gpr[X86_RBP] = DIFF_STACK + 2048;
        if (diff_chance(&g->rng, 50))
                c->gpr[X86_RBX] = DIFF_DATA + diff_below(&g->rng, 0x1000);
        for (unsigned i = 8; i < 16 && c->compat; i++)
                c->gpr[i] = 0;
        for (unsigned i = 0; i < 8 && c->segments; i++)
                if (c->gpr[i] >= DIFF_DATA && c->gpr[i] < DIFF_STACK + DIFF_PAGE)
                        c->gpr[i] -= i == X86_RSP || c->gpr[i] >= DIFF_STACK ? DIFF_STACK : DIFF_DATA;
        c->rflags = X86_FL_FIXED | X86_FL_IF | (diff_random(&g->rng) & X86_FL_ARITH);
        if (diff_chance(&g->rng, 10))
                c->rflags |= X86_FL_DF;
        if (diff_chance(&g->rng, 5)) /* alignment is checked: CR0.AM is set on both sides */
                c->rflags |= X86_FL_AC;
        c->fs_base = DIFF_DATA + 256;
        c->gs_base = DIFF_DATA + DIFF_PAGE;
}

static const uint32_t float_corners[] = { 0, 0x80000000, 0x3f800000, 0xbf800000, 0x7f800000, 0xff800000, 0x7fc00000,
        0x7fa00000, 0x00000001, 0x807fffff, 0x7f7fffff, 0x4f000000, 0x5f000000, 0x40490fdb, 0x33800000 };
static const uint64_t double_corners[] = { 0, 0x8000000000000000, 0x3ff0000000000000, 0xbff0000000000000,
        0x7ff0000000000000, 0xfff0000000000000, 0x7ff8000000000000, 0x7ff4000000000000, 1, 0x800fffffffffffff,
        0x7fefffffffffffff, 0x41dfffffffc00000, 0x43e0000000000000, 0x400921fb54442d18, 0x3fb999999999999a };

static void
gen_vector(struct gen *g, uint8_t *p, unsigned bytes)
{
        unsigned kind = diff_below(&g->rng, 4);

        for (unsigned i = 0; i < bytes; i += 8) {
                uint64_t value = diff_random(&g->rng);

                if (kind == 1)
                        value = double_corners[diff_below(&g->rng, 15)];
                else if (kind == 2)
                        value = float_corners[diff_below(&g->rng, 15)] | (uint64_t)float_corners[diff_below(&g->rng, 15)] << 32;
                else if (kind == 3)
                        value = 0x3ff0000000000000 + (diff_random(&g->rng) >> 11);
                memcpy(p + i, &value, 8);
        }
}

/* Small indices, so that gathers find memory. */
static void
gen_index_vector(struct gen *g, uint8_t *p)
{
        for (unsigned i = 0; i < 16; i += 4) {
                uint32_t value = i & 4 && diff_chance(&g->rng, 60) ? 0 : diff_below(&g->rng, 60);

                memcpy(p + i, &value, 4);
        }
}

static void
gen_x87(struct gen *g, uint8_t *x)
{
        uint16_t fcw = 0x37f, fsw = 0;

        if (diff_chance(&g->rng, 20))
                fcw = 0x7f | (diff_random(&g->rng) & 0xf00);
        if (diff_chance(&g->rng, 5))
                fcw &= (uint16_t)(0xffc0 | diff_random(&g->rng));
        fsw = (uint16_t)(diff_below(&g->rng, 8) << 11 | (diff_random(&g->rng) & 0x4700));
        memcpy(x, &fcw, 2);
        memcpy(x + 2, &fsw, 2);
        x[4] = diff_chance(&g->rng, 60) ? (uint8_t)diff_random(&g->rng) : 0x1e;
        for (unsigned i = 0; i < 8; i++) {
                uint64_t mantissa = diff_random(&g->rng) | (diff_chance(&g->rng, 95) ? 1ull << 63 : 0);
                uint16_t exponent = (uint16_t)(0x3fff - 40 + diff_below(&g->rng, 80));

                if (diff_chance(&g->rng, 15)) {
                        mantissa = diff_chance(&g->rng, 50) ? 0 : 1ull << 63;
                        exponent = diff_chance(&g->rng, 50) ? 0 : 0x7fff;
                }
                exponent |= diff_random(&g->rng) & 0x8000;
                memcpy(x + 32 + 16 * i, &mantissa, 8);
                memcpy(x + 40 + 16 * i, &exponent, 2);
        }
}

static void
gen_fpu(struct gen *g)
{
        uint8_t *x = g->c->xsave;
        uint32_t mxcsr = 0x1f80;
        uint64_t components = 7;

        memset(x, 0, DIFF_XSAVE_BYTES);
        gen_x87(g, x);
        if (diff_chance(&g->rng, 25))
                mxcsr |= diff_random(&g->rng) & 0xe040;
        if (diff_chance(&g->rng, 5))
                mxcsr &= ~(uint32_t)(diff_random(&g->rng) & 0x1f80);
        memcpy(x + 24, &mxcsr, 4);
        for (unsigned i = 0; i < 16; i++) {
                gen_vector(g, x + 160 + 16 * i, 16);
                gen_vector(g, x + 576 + 16 * i, 16);
                if (i >= 12 || (g->c->compat && i >= 4 && i < 8))
                        gen_index_vector(g, x + 160 + 16 * i);
        }
        memcpy(x + 512, &components, 8);
}

static void
gen_image(struct gen *g)
{
        struct diff_rng fixed = { .state = 0x9e3779b97f4a7c15 };
        uint8_t *image = g->c->image;

        memset(image, 0xcc, DIFF_CODE_PAGES * DIFF_PAGE);
        for (unsigned at = DIFF_DATA_AT; at < DIFF_RO_AT; at += 32)
                gen_vector(g, image + at, 32);
        for (unsigned at = DIFF_RO_AT; at < DIFF_IMAGE_BYTES; at += 8) {
                uint64_t value = diff_random(&fixed);

                memcpy(image + at, &value, 8);
        }
}

static void
gen_start(struct gen *g)
{
        unsigned kind = diff_below(&g->rng, 10);

        g->c->start = DIFF_CODE + diff_below(&g->rng, DIFF_PAGE);
        if (kind == 0) /* across the page boundary */
                g->c->start = DIFF_CODE + DIFF_PAGE - diff_below(&g->rng, 40);
}

/* Keeps the @n instructions at the end, or drops them where the processor's undefined flags would be read. */
static bool
keep(struct diff_case *c, unsigned n)
{
        c->count += n;
        if (!diff_vendor_reads_undefined(c))
                return true;
        c->count -= n;
        return false;
}

static void
gen_code(struct gen *g)
{
        struct diff_case *c = g->c;
        unsigned want = 1 + diff_below(&g->rng, g->options->max_insns);

        while (c->count < want) {
                struct diff_insn *out = &c->insns[c->count];
                unsigned room = want - c->count - 1;

                if (!g->options->only && !c->segments && room >= 5 && diff_chance(&g->rng, 6)) {
                        (void)keep(c, diff_compose(g, out, c->count));
                        continue;
                }
                for (unsigned i = 0; i < TRIES; i++) {
                        struct leaf *leaf = &g->leaves->leaf[diff_below(&g->rng, g->leaves->count)];

                        *out = (struct diff_insn) { 0 };
                        if (gen_from_leaf(g, leaf, out, c->count, room) && keep(c, 1)) {
                                leaf->uses++;
                                break;
                        }
                        out->len = 0;
                }
                if (out->len == 0)
                        break;
        }
}

int
diff_gen_create(const struct diff_options *options, struct diff_gen **ret_gen)
{
        struct diff_gen *gen = calloc(1, sizeof(*gen));

        if (!gen)
                return -ENOMEM;
        gen->options = *options;
        collect_leaves(gen);
        *ret_gen = gen;
        return 0;
}

void
diff_gen_destroy(struct diff_gen *gen)
{
        free(gen);
}

/* Runs the whole sequence a few times: sub dword [counter], 1; jnz to the first instruction. */
static void
gen_repeat(struct gen *g)
{
        struct diff_case *c = g->c;
        const uint32_t counter = DIFF_STACK + 16, turns = 2 + diff_below(&g->rng, 4);
        uint8_t sub64[8] = { 0x83, 0x2c, 0x25 }, sub32[7] = { 0x83, 0x2d }, jnz[6] = { 0x0f, 0x85 };

        memcpy(c->image + DIFF_STACK_AT + 16, &turns, 4);
        memcpy(sub64 + 3, &counter, 4);
        memcpy(sub32 + 2, &counter, 4);
        sub64[7] = sub32[6] = 1;
        diff_emit(&c->insns[c->count++], c->compat ? sub32 : sub64, c->compat ? 7 : 8, FIX_NONE, 0, 0);
        diff_emit(&c->insns[c->count++], jnz, 6, FIX_REL32, 2, 0);
}

void
diff_gen_unused(const struct diff_gen *gen, void (*fn)(void *ctx, const char *name, bool compat), void *ctx)
{
        for (unsigned compat = 0; compat < 2; compat++)
                for (unsigned i = 0; i < gen->leaves[compat].count; i++)
                        if (gen->leaves[compat].leaf[i].uses == 0)
                                fn(ctx, gen->leaves[compat].leaf[i].row->desc.name, compat);
}

void
diff_generate(struct diff_gen *gen, struct diff_case *c, uint64_t seed)
{
        const struct diff_options *o = &gen->options;
        struct gen g = { .c = c, .options = o, .known = 0xffff & ~(1u << X86_RSP), .base = -1 };

        g.rng.state = seed * 0x9e3779b97f4a7c15 + 0x1234567;
        for (unsigned i = 0; i < 4; i++)
                diff_random(&g.rng);
        c->seed = seed;
        c->all_flags = o->all_flags;
        c->stepped = o->stepped;
        c->amd = o->amd;
        c->count = 0;
        c->compat = o->only32 || (!o->only64 && diff_chance(&g.rng, 30));
        c->segments = c->compat && diff_chance(&g.rng, 40);
        c->code16 = c->segments && diff_chance(&g.rng, 60);
        c->stack16 = c->segments && diff_chance(&g.rng, 50);
        g.leaves = &gen->leaves[c->compat];
        g.temporaries = !c->compat && diff_chance(&g.rng, 25);
        g.fn_prefix = diff_chance(&g.rng, 20) ? 0x66 : 0;
        gen_registers(&g);
        gen_fpu(&g);
        gen_image(&g);
        gen_start(&g);
        if (g.leaves->count > 0)
                gen_code(&g);
        if (!c->segments && diff_chance(&g.rng, 25))
                gen_repeat(&g);
        diff_layout(c);
}

/* ---- layout ---- */

static void
apply_fix(const struct diff_case *c, unsigned index, const uint32_t *addresses, uint8_t *code)
{
        const struct diff_insn *in = &c->insns[index];
        uint32_t end = addresses[index] + in->len;
        unsigned target = in->target <= c->count ? in->target : c->count;
        uint32_t last = target < c->count ? addresses[target] + c->insns[target].len - 1 : addresses[c->count];
        uint32_t value;

        switch (in->fix) {
        case FIX_REL8:
        case FIX_REL16:
        case FIX_REL32:
                value = addresses[target] - end;
                break;
        case FIX_ABS32:
                value = addresses[target];
                break;
        case FIX_RIP:
                value = in->fix_address - end;
                break;
        case FIX_SMC_RIP:
                value = last - end;
                break;
        case FIX_SMC_ABS:
                value = last;
                break;
        default:
                return;
        }
        memcpy(code + in->fix_at, &value, in->fix == FIX_REL8 ? 1 : in->fix == FIX_REL16 ? 2 : 4);
}

void
diff_layout(struct diff_case *c)
{
        uint32_t addresses[DIFF_INSNS_MAX + 1], at = (uint32_t)c->start;

        memset(c->image, 0xcc, DIFF_CODE_PAGES * DIFF_PAGE); /* INT3 */
        for (unsigned i = 0; i < c->count; i++) {
                addresses[i] = at;
                at += c->insns[i].len;
        }
        addresses[c->count] = at;
        for (unsigned i = 0; i < c->count; i++) {
                uint8_t *code = c->image + (addresses[i] - DIFF_CODE);

                memcpy(code, c->insns[i].bytes, c->insns[i].len);
                apply_fix(c, i, addresses, code);
        }
}
