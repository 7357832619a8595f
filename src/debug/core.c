/* SPDX-License-Identifier: BSD-2-Clause */
#include "debug/core.h"

#include "base/bytes.h"
#include "base/util.h"

#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define RANGES_MAX   60000u /* ELF counts program headers in 16 bits */
#define KERNEL_HALF  256u   /* first entry of the top table */
#define ENTRY_P      0x1u
#define ENTRY_PS     0x80u
#define ENTRY_ADDR   0x000ffffffffff000ull
#define NOTE_CPU     0u     /* of the name QEMU: what crash looks for */
#define CPU_NOTE     440u
#define PRSTATUS     336u

struct range {
        gva_t va;
        gpa_t pa;
        uint64_t len;
};

struct core {
        struct guest_mem *mem;
        struct range *range;
        unsigned count;
        struct range area[MEM_AREAS_MAX]; /* va: offset in the file */
        unsigned areas;
        int fd;
        int error;
};

/* ---- what the page tables map ---- */

static const struct range *
area_of(const struct core *c, gpa_t pa, uint64_t len)
{
        for (unsigned i = 0; i < c->areas; i++)
                if (pa >= c->area[i].pa && pa - c->area[i].pa < c->area[i].len &&
                    len <= c->area[i].len - (pa - c->area[i].pa))
                        return &c->area[i];
        return NULL;
}

static void
add_range(struct core *c, gva_t va, gpa_t pa, uint64_t len)
{
        struct range *last = c->count == 0 ? NULL : &c->range[c->count - 1];

        if (area_of(c, pa, len) == NULL)
                return;
        if (last != NULL && last->va + last->len == va && last->pa + last->len == pa &&
            area_of(c, last->pa, last->len + len) != NULL)
                last->len += len;
        else if (c->count < RANGES_MAX)
                c->range[c->count++] = (struct range){ va, pa, len };
}

/* SDM 3A 4.5: one table of @level (1: entries map 4 KiB), for addresses from @va. */
static void
walk_table(struct core *c, gpa_t table, unsigned level, gva_t va, unsigned first)
{
        uint64_t span = 1ull << (12 + 9 * (level - 1));
        uint64_t entry[512];

        if (mem_read(c->mem, table, entry, sizeof(entry)) != 0)
                return;
        for (unsigned i = first; i < 512; i++) {
                gva_t at = va + i * span;
                gpa_t to = entry[i] & ENTRY_ADDR;

                if (!(entry[i] & ENTRY_P))
                        continue;
                if (level == 1 || (level <= 3 && (entry[i] & ENTRY_PS)))
                        add_range(c, at, to & ~(span - 1), span);
                else
                        walk_table(c, to, level - 1, at, 0);
        }
}

static void
walk_kernel(struct core *c, const struct x86_state *states, unsigned count)
{
        const struct x86_state *st = &states[0];

        for (unsigned i = 0; i < count; i++) {
                if (x86_cpl(&states[i]) == 0 && x86_long_mode(&states[i])) {
                        st = &states[i];
                        break;
                }
        }
        if (!x86_long_mode(st) || !(st->cr0 & X86_CR0_PG))
                return;
        if (st->cr4 & X86_CR4_LA57)
                walk_table(c, st->cr3 & ENTRY_ADDR, 5, 0xfe00000000000000ull, KERNEL_HALF);
        else
                walk_table(c, st->cr3 & ENTRY_ADDR, 4, 0xffff000000000000ull, KERNEL_HALF);
}

/* ---- notes ---- */

static uint8_t *
put_note(uint8_t *p, const char *name, uint32_t type, const void *data, uint32_t len)
{
        uint32_t name_len = (uint32_t)strlen(name) + 1;

        put_le32(p, name_len);
        put_le32(p + 4, len);
        put_le32(p + 8, type);
        memset(p + 12, 0, 8);
        memcpy(p + 12, name, name_len);
        memcpy(p + 20, data, len);
        return p + 20 + len;
}

/* struct elf_prstatus of Linux on x86-64; the registers in struct user_regs_struct's order. */
static uint8_t *
put_prstatus(uint8_t *p, const struct x86_state *st, unsigned id)
{
        static const uint8_t order[] = { 15, 14, 13, 12, X86_RBP, X86_RBX, 11, 10, 9, 8, X86_RAX, X86_RCX, X86_RDX,
                X86_RSI, X86_RDI };
        const uint64_t rest[] = { UINT64_MAX, st->rip, st->seg[X86_CS].sel, st->rflags, st->gpr[X86_RSP],
                st->seg[X86_SS].sel, st->seg[X86_FS].base, st->seg[X86_GS].base, st->seg[X86_DS].sel,
                st->seg[X86_ES].sel, st->seg[X86_FS].sel, st->seg[X86_GS].sel };
        uint8_t data[PRSTATUS] = { 0 };
        uint8_t *r = data + 112;

        put_le32(data + 32, id + 1);
        for (unsigned i = 0; i < ARRAY_LEN(order); i++, r += 8)
                put_le64(r, st->gpr[order[i]]);
        for (unsigned i = 0; i < ARRAY_LEN(rest); i++, r += 8)
                put_le64(r, rest[i]);
        put_le32(data + 328, 1);
        return put_note(p, "CORE", NT_PRSTATUS, data, sizeof(data));
}

static uint8_t *
put_segment(uint8_t *p, uint32_t sel, uint32_t limit, uint32_t attr, uint64_t base)
{
        put_le32(p, sel);
        put_le32(p + 4, limit);
        put_le32(p + 8, (attr & 0xffff) << 8);
        put_le32(p + 12, 0);
        put_le64(p + 16, base);
        return p + 24;
}

static uint8_t *
put_cpu_note(uint8_t *p, const struct x86_state *st)
{
        static const uint8_t gprs[] = { X86_RAX, X86_RBX, X86_RCX, X86_RDX, X86_RSI, X86_RDI, X86_RSP, X86_RBP, 8, 9,
                10, 11, 12, 13, 14, 15 };
        static const uint8_t segs[] = { X86_CS, X86_DS, X86_ES, X86_FS, X86_GS, X86_SS };
        const uint64_t tail[] = { st->cr0, 0, st->cr2, st->cr3, st->cr4, st->kernel_gs_base };
        uint8_t data[CPU_NOTE];
        uint8_t *r = data + 8;

        put_le32(data, 1);
        put_le32(data + 4, CPU_NOTE);
        for (unsigned i = 0; i < ARRAY_LEN(gprs); i++, r += 8)
                put_le64(r, st->gpr[gprs[i]]);
        put_le64(r, st->rip);
        put_le64(r + 8, st->rflags);
        r += 16;
        for (unsigned i = 0; i < ARRAY_LEN(segs); i++)
                r = put_segment(r, st->seg[segs[i]].sel, st->seg[segs[i]].limit, st->seg[segs[i]].attr,
                    st->seg[segs[i]].base);
        r = put_segment(r, st->ldtr.sel, st->ldtr.limit, st->ldtr.attr, st->ldtr.base);
        r = put_segment(r, st->tr.sel, st->tr.limit, st->tr.attr, st->tr.base);
        r = put_segment(r, 0, st->gdtr.limit, 0, st->gdtr.base);
        r = put_segment(r, 0, st->idtr.limit, 0, st->idtr.base);
        for (unsigned i = 0; i < ARRAY_LEN(tail); i++, r += 8)
                put_le64(r, tail[i]);
        return put_note(p, "QEMU", NOTE_CPU, data, sizeof(data));
}

static size_t
put_notes(uint8_t *notes, const struct x86_state *states, unsigned count)
{
        uint8_t *p = notes;

        for (unsigned i = 0; i < count; i++) {
                p = put_prstatus(p, &states[i], i);
                p = put_note(p, "CORE", NT_PRFPREG, states[i].xsave, 512);
        }
        for (unsigned i = 0; i < count; i++)
                p = put_cpu_note(p, &states[i]);
        return (size_t)(p - notes);
}

/* ---- the file ---- */

static void
write_at(struct core *c, const void *data, size_t len, uint64_t offset)
{
        const uint8_t *p = data;

        while (len > 0 && c->error == 0) {
                ssize_t n = pwrite(c->fd, p, len, (off_t)offset);

                if (n < 0 && errno == EINTR)
                        continue;
                if (n <= 0) {
                        c->error = n < 0 ? -errno : -ENOSPC;
                        return;
                }
                p += n;
                len -= (size_t)n;
                offset += (uint64_t)n;
        }
}

static bool
is_zero(const uint8_t *page)
{
        return page[0] == 0 && memcmp(page, page + 1, MEM_PAGE_SIZE - 1) == 0;
}

/* Pages of zeroes are left as holes. */
static void
write_area(struct core *c, const struct range *area)
{
        const uint8_t *host = mem_base(c->mem) + area->pa;
        uint64_t done = 0;

        while (done < area->len && c->error == 0) {
                uint64_t end = done;

                while (end < area->len && end - done < 1 << 20 && !is_zero(host + end))
                        end += MEM_PAGE_SIZE;
                write_at(c, host + done, end - done, area->va + done);
                done = end;
                while (done < area->len && is_zero(host + done))
                        done += MEM_PAGE_SIZE;
        }
}

static void
add_area(void *ctx, gpa_t gpa, uint64_t len, void *host, enum mem_kind kind)
{
        struct core *c = ctx;

        c->area[c->areas++] = (struct range){ 0, gpa, len };
}

static void
write_headers(struct core *c, const void *notes, size_t notes_len)
{
        unsigned phnum = 1 + c->count + c->areas;
        Elf64_Ehdr eh = { .e_ident = { ELFMAG0, ELFMAG1, ELFMAG2, ELFMAG3, ELFCLASS64, ELFDATA2LSB, EV_CURRENT },
                .e_type = ET_CORE, .e_machine = EM_X86_64, .e_version = EV_CURRENT, .e_phoff = sizeof(eh),
                .e_ehsize = sizeof(eh), .e_phentsize = sizeof(Elf64_Phdr), .e_phnum = (Elf64_Half)phnum };
        uint64_t notes_at = sizeof(eh) + phnum * sizeof(Elf64_Phdr);
        uint64_t at = (notes_at + notes_len + MEM_PAGE_SIZE - 1) & ~(uint64_t)(MEM_PAGE_SIZE - 1);
        Elf64_Phdr *ph = calloc(phnum, sizeof(*ph));

        if (ph == NULL) {
                c->error = -ENOMEM;
                return;
        }
        ph[0] = (Elf64_Phdr){ .p_type = PT_NOTE, .p_offset = notes_at, .p_filesz = notes_len, .p_align = 4 };
        for (unsigned i = 0; i < c->areas; i++) {
                c->area[i].va = at;
                at += c->area[i].len;
                ph[1 + c->count + i] = (Elf64_Phdr){ .p_type = PT_LOAD, .p_flags = PF_R | PF_W | PF_X,
                        .p_offset = c->area[i].va, .p_vaddr = c->area[i].pa, .p_paddr = c->area[i].pa,
                        .p_filesz = c->area[i].len, .p_memsz = c->area[i].len };
        }
        for (unsigned i = 0; i < c->count; i++) {
                const struct range *r = &c->range[i], *area = area_of(c, r->pa, r->len);

                ph[1 + i] = (Elf64_Phdr){ .p_type = PT_LOAD, .p_flags = PF_R | PF_W | PF_X,
                        .p_offset = area->va + (r->pa - area->pa), .p_vaddr = r->va, .p_paddr = r->pa,
                        .p_filesz = r->len, .p_memsz = r->len };
        }
        write_at(c, &eh, sizeof(eh), 0);
        write_at(c, ph, phnum * sizeof(*ph), sizeof(eh));
        write_at(c, notes, notes_len, notes_at);
        free(ph);
        if (c->error == 0 && ftruncate(c->fd, (off_t)at) != 0)
                c->error = -errno;
}

int
core_write(const char *path, struct guest_mem *mem, const struct x86_state *states, unsigned count,
    struct config_error *err)
{
        struct core c = { .mem = mem };
        uint8_t *notes = malloc(count * (PRSTATUS + 512 + CPU_NOTE + 3 * 20));
        size_t notes_len;

        c.range = malloc(RANGES_MAX * sizeof(*c.range));
        c.fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
        if (c.fd < 0)
                c.error = -errno;
        else if (notes == NULL || c.range == NULL)
                c.error = -ENOMEM;
        if (c.error == 0) {
                mem_for_each(mem, add_area, &c);
                walk_kernel(&c, states, count);
                notes_len = put_notes(notes, states, count);
                write_headers(&c, notes, notes_len);
                for (unsigned i = 0; i < c.areas; i++)
                        write_area(&c, &c.area[i]);
        }
        if (c.fd >= 0 && close(c.fd) != 0 && c.error == 0)
                c.error = -errno;
        free(c.range);
        free(notes);
        return c.error == 0 ? 0 : config_fail(err, "%s: %s", path, strerror(-c.error));
}
