/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Accesses to memory by linear address: those that C makes, and those of
 * translated code that missed the TLB.
 *
 * An access is made in place where the TLB has its page; else page by page,
 * after every page was checked: to RAM, to ROM, or to a device by way of the
 * environment (struct cpu_env).  Translated code always gets a host address to
 * access: where its memory cannot be accessed in place, that of the bounce
 * buffer, which soft_slow_commit() copies out once the instruction has written
 * it.
 */
#include "cpu/soft/mmu.h"

/* A slow store waits here until the instruction has written it. */
enum bounce_kind {
        BOUNCE_NONE,
        BOUNCE_COPY, /* to copy out to piece[] */
        BOUNCE_CODE, /* written in place, over translated code */
};

/* ---- physical accesses that may be MMIO ---- */

static uint64_t
phys_read(struct soft_cpu *v, gpa_t gpa, unsigned size)
{
        if (v->checking)
                soft_check_give_up(v);
        v->count[SOFT_COUNT_MMIO]++;
        soft_fpu_put(v);
        return v->env->ops->mmio_read(v->env->ctx, v->id, gpa, size);
}

static void
phys_write(struct soft_cpu *v, gpa_t gpa, unsigned size, uint64_t value)
{
        if (v->checking)
                soft_check_give_up(v);
        v->count[SOFT_COUNT_MMIO]++;
        soft_fpu_put(v);
        v->env->ops->mmio_write(v->env->ctx, v->id, gpa, size, value);
}

/* The largest power of two up to 8 that @len and @gpa allow. */
static unsigned
mmio_step(gpa_t gpa, unsigned len)
{
        unsigned step = 8;

        while (step > len || (gpa & (step - 1)))
                step /= 2;
        return step;
}

static void
piece_read(struct soft_cpu *v, const struct bounce_piece *p, uint8_t *buf)
{
        if (p->kind != MEM_NONE && v->checking) {
                soft_check_read(v, p->gpa, buf, p->len);
                return;
        }
        if (p->kind != MEM_NONE) {
                memcpy(buf, v->mem_base + p->gpa, p->len);
                return;
        }
        for (unsigned done = 0; done < p->len;) {
                unsigned step = mmio_step(p->gpa + done, p->len - done);
                uint64_t value = phys_read(v, p->gpa + done, step);

                memcpy(buf + done, &value, step);
                done += step;
        }
}

static void
piece_write(struct soft_cpu *v, const struct bounce_piece *p, const uint8_t *buf)
{
        if (p->kind == MEM_ROM)
                return;
        if (p->kind == MEM_RAM && v->checking) {
                soft_check_write(v, p->gpa, buf, p->len);
                return;
        }
        if (p->kind == MEM_RAM) {
                memcpy(v->mem_base + p->gpa, buf, p->len);
                if (soft_code_page(v->engine, p->gpa))
                        soft_code_written(v->engine, p->gpa, p->len);
                return;
        }
        for (unsigned done = 0; done < p->len;) {
                unsigned step = mmio_step(p->gpa + done, p->len - done);
                uint64_t value = 0;

                memcpy(&value, buf + done, step);
                phys_write(v, p->gpa + done, step, value);
                done += step;
        }
}

/* The one or two physical pieces of [address, address + len); every fault is raised here. */
static unsigned
mmu_pieces(struct soft_cpu *v, gva_t address, unsigned len, bool write, enum soft_access how,
    struct bounce_piece piece[2])
{
        unsigned first = MEM_PAGE_SIZE - (unsigned)(address & PAGE_MASK);
        unsigned n = 0;

        for (unsigned done = 0; done < len; n++) {
                unsigned part = n == 0 && first < len ? first : len - done;
                gva_t at = address + done;
                uint8_t *host;

                if (!x86_code64(&v->st) && !(how == SOFT_ACC_SYS && x86_long_mode(&v->st)))
                        at = (uint32_t)at;
                piece[n].kind = MEM_RAM;
                host = mmu_translate(v, at, write, how, &piece[n].gpa, &piece[n].kind);
                if (host != NULL)
                        piece[n].gpa = (gpa_t)(host - v->mem_base);
                piece[n].len = part;
                done += part;
        }
        return n;
}

/* ---- C access by linear address ---- */

void
soft_check_alignment(struct soft_cpu *v, gva_t address, unsigned alignment)
{
        if (v->align_checks && (address & (alignment - 1)))
                soft_raise_error(v, X86_VEC_AC, 0);
}

/* SDM 3A table 6-7; operands of 16 bytes and more go unchecked, or raise #GP without RFLAGS.AC. */
static void
check_natural_alignment(struct soft_cpu *v, gva_t address, size_t len, enum soft_access how)
{
        if (how == SOFT_ACC_SYS)
                return;
        if (len == 2 || len == 4 || len == 8)
                soft_check_alignment(v, address, (unsigned)len);
        else if (len == 10)
                soft_check_alignment(v, address, 8);
}

/* What every access does while v->watching. */
static void
observe(struct soft_cpu *v, gva_t address, size_t len, bool write, enum soft_access how)
{
        check_natural_alignment(v, address, len, how);
        soft_watch(v, address, len, write);
}

static void
check_canonical(struct soft_cpu *v, gva_t address, size_t len)
{
        if (!x86_long_mode(&v->st))
                return;
        if (!soft_canonical(v, address) || !soft_canonical(v, address + len - 1))
                soft_raise_error(v, X86_VEC_GP, 0);
}

uint64_t
soft_ld(struct soft_cpu *v, gva_t address, unsigned size, enum soft_access how)
{
        const struct soft_tlb_entry *entry = mmu_entry(v, address, how);
        uint64_t offset = address - entry->tag_read;
        uint64_t value = 0;

        if (v->watching)
                observe(v, address, size, false, how);
        if (offset <= MEM_PAGE_SIZE - size) {
                const uint8_t *p = (const uint8_t *)(uintptr_t)entry->host + offset;

                switch (size) {
                case 1:
                        return *p;
                case 2:
                        return *(const uint16_t *)(const void *)p;
                case 4:
                        return *(const uint32_t *)(const void *)p;
                default:
                        return *(const uint64_t *)(const void *)p;
                }
        }
        soft_ld_bytes(v, address, &value, size, how);
        return value;
}

void
soft_st(struct soft_cpu *v, gva_t address, unsigned size, uint64_t value, enum soft_access how)
{
        const struct soft_tlb_entry *entry = mmu_entry(v, address, how);
        uint64_t offset = address - entry->tag_write;

        if (v->watching)
                observe(v, address, size, true, how);
        if (offset <= MEM_PAGE_SIZE - size) {
                uint8_t *p = (uint8_t *)(uintptr_t)entry->host + offset;

                switch (size) {
                case 1:
                        *p = (uint8_t)value;
                        return;
                case 2:
                        *(uint16_t *)(void *)p = (uint16_t)value;
                        return;
                case 4:
                        *(uint32_t *)(void *)p = (uint32_t)value;
                        return;
                default:
                        *(uint64_t *)(void *)p = value;
                        return;
                }
        }
        soft_st_bytes(v, address, &value, size, how);
}

void
soft_ld_bytes(struct soft_cpu *v, gva_t address, void *buf, size_t len, enum soft_access how)
{
        uint8_t *to = buf;

        check_canonical(v, address, len);
        if (v->watching)
                soft_watch(v, address, len, false);
        while (len > 0) {
                struct bounce_piece piece[2];
                unsigned part = len < MEM_PAGE_SIZE ? (unsigned)len : MEM_PAGE_SIZE;
                unsigned n = mmu_pieces(v, address, part, false, how, piece);

                for (unsigned i = 0; i < n; i++) {
                        piece_read(v, &piece[i], to);
                        to += piece[i].len;
                }
                address += part;
                len -= part;
        }
}

void
soft_probe_write(struct soft_cpu *v, gva_t address, size_t len, enum soft_access how)
{
        struct bounce_piece piece[2];

        check_canonical(v, address, len);
        check_natural_alignment(v, address, len, how);
        for (size_t done = 0; done < len;) {
                unsigned part = len - done < MEM_PAGE_SIZE ? (unsigned)(len - done) : MEM_PAGE_SIZE;

                mmu_pieces(v, address + done, part, true, how, piece);
                done += part;
        }
}

void
soft_st_bytes(struct soft_cpu *v, gva_t address, const void *buf, size_t len, enum soft_access how)
{
        const uint8_t *from = buf;

        soft_probe_write(v, address, len, how);
        if (v->watching)
                soft_watch(v, address, len, true);
        while (len > 0) {
                struct bounce_piece piece[2];
                unsigned part = len < MEM_PAGE_SIZE ? (unsigned)len : MEM_PAGE_SIZE;
                unsigned n = mmu_pieces(v, address, part, true, how, piece);

                for (unsigned i = 0; i < n; i++) {
                        piece_write(v, &piece[i], from);
                        from += piece[i].len;
                }
                address += part;
                len -= part;
        }
}

void *
soft_host_rw(struct soft_cpu *v, gva_t address, unsigned size, enum soft_access how)
{
        enum mem_kind kind;
        gpa_t gpa;

        check_canonical(v, address, size);
        if (v->checking || (address & PAGE_MASK) + size > MEM_PAGE_SIZE)
                return NULL;
        if (v->watching)
                observe(v, address, size, true, how);
        return mmu_translate(v, address, true, how, &gpa, &kind);
}

void *
soft_host_read(struct soft_cpu *v, gva_t address, unsigned size)
{
        enum mem_kind kind;
        gpa_t gpa;

        check_canonical(v, address, size);
        if (v->checking || (address & PAGE_MASK) + size > MEM_PAGE_SIZE)
                return NULL;
        if (v->watching)
                observe(v, address, size, false, SOFT_ACC_DATA);
        return mmu_translate(v, address, false, SOFT_ACC_DATA, &gpa, &kind);
}

/* ---- slow accesses of translated code ---- */

static void
slow_check_canonical(struct soft_cpu *v, gva_t address, unsigned info)
{
        unsigned size = info & 0xff;

        if (!x86_code64(&v->st) || (soft_canonical(v, address) && soft_canonical(v, address + size - 1)))
                return;
        soft_raise_error(v, info & SOFT_SLOW_STACK ? X86_VEC_SS : X86_VEC_GP, 0);
}

/* Remembers the page that a stack access hit, so that the next needs no lookup. */
static void
stack_remember(struct soft_cpu *v, gva_t address)
{
        const struct soft_tlb_entry *entry = mmu_entry(v, address, SOFT_ACC_DATA);
        uint64_t page = address & ~PAGE_MASK;

        if (v->watching || entry->tag_read != page || entry->tag_write != page)
                return;
        if (entry->info & v->window_refused)
                return;
        v->stack_tag = page;
        v->stack_host = entry->host;
        v->stack_delta = v->stack_host - v->stack_tag;
        v->window_credit = SOFT_WINDOW_CREDIT;
}

/* Gathers what cannot be accessed in place into the bounce buffer. */
static void *
slow_bounce(struct soft_cpu *v, gva_t address, unsigned info)
{
        struct soft_mmu *m = v->mmu;
        unsigned size = info & 0xff;
        uint8_t *to;

        v->count[SOFT_COUNT_BOUNCES]++;
        m->pieces = mmu_pieces(v, address, size, info & SOFT_SLOW_WRITE, SOFT_ACC_DATA, m->piece);
        if (m->pieces == 1 && m->piece[0].kind == MEM_RAM && (info & SOFT_SLOW_WRITE) && !v->checking) {
                v->bounce_kind = BOUNCE_CODE;
                return v->mem_base + m->piece[0].gpa;
        }
        /* The same alignment, for instructions that check it. */
        m->bounce_at = to = m->bounce + (address & 31);
        if (info & SOFT_SLOW_READ) {
                for (unsigned i = 0; i < m->pieces; i++) {
                        piece_read(v, &m->piece[i], to);
                        to += m->piece[i].len;
                }
        }
        if (info & SOFT_SLOW_WRITE)
                v->bounce_kind = BOUNCE_COPY;
        soft_fpu_get(v);
        return m->bounce_at;
}

/*
 * Translated code missed the TLB.  Returns where to make the access; with
 * v->bounce_kind set, soft_slow_commit must follow it.
 */
void *
soft_slow_access(struct soft_cpu *v, gva_t address, unsigned info)
{
        unsigned size = info & 0xff;
        enum mem_kind kind;
        uint8_t *host;
        gpa_t gpa;

        v->bounce_kind = BOUNCE_NONE;
        v->count[info & SOFT_SLOW_WINDOW ? SOFT_COUNT_SLOW_STACK :
                info & SOFT_SLOW_WRITE       ? SOFT_COUNT_SLOW_WRITE :
                                               SOFT_COUNT_SLOW_READ]++;
        slow_check_canonical(v, address, info);
        if (v->watching) {
                if (info & SOFT_SLOW_READ)
                        observe(v, address, size, false, SOFT_ACC_DATA);
                if (info & SOFT_SLOW_WRITE)
                        observe(v, address, size, true, SOFT_ACC_DATA);
        }
        if (!v->checking && (address & PAGE_MASK) + size <= MEM_PAGE_SIZE) {
                host = mmu_translate(v, address, info & SOFT_SLOW_WRITE, SOFT_ACC_DATA, &gpa, &kind);
                if (host != NULL) {
                        if (info & SOFT_SLOW_WINDOW)
                                stack_remember(v, address);
                        return host;
                }
        }
        return slow_bounce(v, address, info);
}

/* The check of a whole group of accesses failed; see tr_group.c. */
void *
soft_slow_group(struct soft_cpu *v, gva_t address, unsigned write)
{
        v->count[write ? SOFT_COUNT_SLOW_WRITE : SOFT_COUNT_SLOW_READ]++;
        return mmu_tlb_enter_quietly(v, address, write);
}

/*
 * A check of a whole range of the stack failed: makes its page the window, if that can be done without
 * a fault and without setting a dirty bit.  The host address of @address, or NULL.
 */
void *
soft_slow_stack(struct soft_cpu *v, gva_t address, unsigned unused)
{
        const struct soft_tlb_entry *entry = mmu_entry(v, address, SOFT_ACC_DATA);
        uint64_t page = address & ~PAGE_MASK;

        v->count[SOFT_COUNT_SLOW_STACK]++;
        if (v->watching || !soft_canonical(v, address))
                return NULL;
        if ((entry->tag_read != page || entry->tag_write != page) && mmu_tlb_enter_quietly(v, address, true) == NULL)
                return NULL;
        stack_remember(v, address);
        return v->stack_tag == page ? (void *)(uintptr_t)(v->stack_host + (address & PAGE_MASK)) : NULL;
}

/* Non-zero: the block itself may have been overwritten; leave it. */
int
soft_slow_commit(struct soft_cpu *v)
{
        struct soft_mmu *m = v->mmu;
        const uint8_t *from = m->bounce_at;

        if (v->bounce_kind == BOUNCE_CODE) {
                if (!soft_code_written(v->engine, m->piece[0].gpa, m->piece[0].len))
                        return 0;
                soft_check_interrupted(v);
                return 1;
        }
        for (unsigned i = 0; i < m->pieces; i++) {
                piece_write(v, &m->piece[i], from);
                from += m->piece[i].len;
        }
        soft_fpu_get(v);
        /* A device may have asked for something; code that straddles pages may have been hit. */
        if (m->pieces == 1 && !soft_must_leave(v))
                return 0;
        soft_check_interrupted(v);
        return 1;
}

gva_t
soft_slow_seg(struct soft_cpu *v, uint64_t offset, unsigned info)
{
        return soft_linear(v, info >> 8 & 0xff, offset, info & 0xff, info >> 16);
}
