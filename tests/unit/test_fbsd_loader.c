/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The FreeBSD loader as its user sees it: keys go in, text comes out, and
 * guest memory and registers are compared value by value.  Kernels and
 * modules are small ELF files made here, both widths.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "base/bytes.h"
#include "base/util.h"
#include "boot/fbsd/conf.h"
#include "boot/fbsd/loader.h"
#include "boot/fbsd/metadata.h"
#include "boot/fbsd/words.h"

#include <elf.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#define MEMORY (64 * MIB)

/* --- ELF files --- */

#define TEXT_OFF  0x1000u
#define DATA_OFF  0x2000u
#define DATA_LEN  0x180u
#define BSS_LEN   0x5000u
#define SET_OFF   0x100u /* in the data: the linker set, then its structs and strings */
#define TABLES    0x3000u

struct elf_maker {
        unsigned char b[0x4000];
        bool is_64;
        uint64_t base; /* address of the text */
};

static void
put_word(struct elf_maker *m, size_t at, uint64_t v)
{
        if (m->is_64)
                put_le64(m->b + at, v);
        else
                put_le32(m->b + at, (uint32_t)v);
}

static void
put_phdr(struct elf_maker *m, unsigned i, uint32_t flags, uint64_t off, uint64_t addr,
    uint64_t filesz, uint64_t memsz)
{
        if (m->is_64) {
                Elf64_Phdr h = { .p_type = PT_LOAD,
                        .p_flags = flags,
                        .p_offset = off,
                        .p_vaddr = addr,
                        .p_filesz = filesz,
                        .p_memsz = memsz };
                memcpy(m->b + sizeof(Elf64_Ehdr) + i * sizeof(h), &h, sizeof(h));
        } else {
                Elf32_Phdr h = {.p_type = PT_LOAD, .p_flags = flags, .p_offset = (uint32_t)off,
                    .p_vaddr = (uint32_t)addr, .p_filesz = (uint32_t)filesz,
                    .p_memsz = (uint32_t)memsz};
                memcpy(m->b + sizeof(Elf32_Ehdr) + i * sizeof(h), &h, sizeof(h));
        }
}

static void
put_shdr(struct elf_maker *m, unsigned i, Elf64_Shdr s)
{
        if (m->is_64) {
                memcpy(m->b + TABLES + i * sizeof(s), &s, sizeof(s));
                return;
        }
        Elf32_Shdr h = { .sh_name = s.sh_name,
                .sh_type = s.sh_type,
                .sh_flags = (uint32_t)s.sh_flags,
                .sh_addr = (uint32_t)s.sh_addr,
                .sh_offset = (uint32_t)s.sh_offset,
                .sh_size = (uint32_t)s.sh_size,
                .sh_link = s.sh_link,
                .sh_info = s.sh_info,
                .sh_addralign = (uint32_t)s.sh_addralign };
        memcpy(m->b + TABLES + i * sizeof(h), &h, sizeof(h));
}

static void
put_ehdr(struct elf_maker *m, unsigned type, uint64_t entry, unsigned phnum, unsigned shnum,
    unsigned shstrndx)
{
        unsigned char ident[16] = {0x7f, 'E', 'L', 'F', m->is_64 ? 2 : 1, 1, 1};

        if (m->is_64) {
                Elf64_Ehdr h = { .e_type = (uint16_t)type,
                        .e_machine = EM_X86_64,
                        .e_version = 1,
                        .e_entry = entry,
                        .e_phoff = sizeof(h),
                        .e_shoff = TABLES,
                        .e_ehsize = sizeof(h),
                        .e_phentsize = sizeof(Elf64_Phdr),
                        .e_phnum = (uint16_t)phnum,
                        .e_shentsize = sizeof(Elf64_Shdr),
                        .e_shnum = (uint16_t)shnum,
                        .e_shstrndx = (uint16_t)shstrndx };
                memcpy(h.e_ident, ident, 16);
                memcpy(m->b, &h, sizeof(h));
        } else {
                Elf32_Ehdr h = {.e_type = (uint16_t)type, .e_machine = EM_386, .e_version = 1,
                    .e_entry = (uint32_t)entry, .e_phoff = sizeof(h), .e_shoff = TABLES,
                    .e_ehsize = sizeof(h), .e_phentsize = sizeof(Elf32_Phdr),
                    .e_phnum = (uint16_t)phnum, .e_shentsize = sizeof(Elf32_Shdr),
                    .e_shnum = (uint16_t)shnum, .e_shstrndx = (uint16_t)shstrndx};
                memcpy(h.e_ident, ident, 16);
                memcpy(m->b, &h, sizeof(h));
        }
}

static const char names[] = "\0.text\0set_modmetadata_set\0.symtab\0.strtab\0.shstrtab\0.rela";
#define NAMES_OFF 0x3800u
#define SYMS_OFF  0x3900u
#define SYMS_LEN  0x60u
#define STRS_OFF  0x3a00u
#define STRS_LEN  0x25u

/* The linker set: one version record, and one dependency if @depends. */
static void
put_set(
    struct elf_maker *m, uint64_t data_addr, int version, const char *module, const char *depends)
{
        unsigned w = m->is_64 ? 8 : 4;
        size_t at = DATA_OFF + SET_OFF, structs = at + 2 * w;

        for (int i = 0; i < 2; i++) {
                size_t s = structs + (size_t)i * 0x30;
                put_word(m, at + (size_t)i * w, data_addr + s - DATA_OFF);
                put_le32(m->b + s, 1);
                put_le32(m->b + s + 4, i == 0 ? 3 : 1);
                put_word(m, s + 8, data_addr + s + 0x18 - DATA_OFF);
                put_word(m, s + 8 + w, data_addr + s + 0x24 - DATA_OFF);
                put_le32(m->b + s + 0x18, i == 0 ? (uint32_t)version : 1);
                put_le32(m->b + s + 0x1c, 1);
                put_le32(m->b + s + 0x20, 9999999);
                strcpy((char *)m->b + s + 0x24, i == 0 ? module : depends ? depends : "");
        }
}

/* A kernel at its base, or a shared-object module at 0. */
static void
make_linked(struct elf_maker *m, bool is_64, unsigned type, const char *module, const char *depends)
{
        memset(m, 0, sizeof(*m));
        m->is_64 = is_64;
        m->base = type == ET_DYN ? 0 : is_64 ? 0xffffffff80200000 : 0xc0400000;
        uint64_t data = m->base + 0x1000;
        unsigned w = is_64 ? 8 : 4;

        put_ehdr(m, type, type == ET_DYN ? 0 : m->base + 0x40, 2, 6, 5);
        put_phdr(m, 0, PF_R | PF_X, TEXT_OFF, m->base, 0x1000, 0x1000);
        put_phdr(m, 1, PF_R | PF_W, DATA_OFF, data, DATA_LEN, DATA_LEN + BSS_LEN);
        memset(m->b + TEXT_OFF, 0x90, 0x1000);
        memset(m->b + DATA_OFF, 0xda, SET_OFF);
        put_set(m, data, 1004000, module, depends);
        memset(m->b + SYMS_OFF, 0x51, SYMS_LEN);
        memset(m->b + STRS_OFF, 0x52, STRS_LEN);
        memcpy(m->b + NAMES_OFF, names, sizeof(names));
        put_shdr(m, 1, (Elf64_Shdr){.sh_name = 1, .sh_type = SHT_PROGBITS, .sh_flags = SHF_ALLOC,
                           .sh_addr = m->base, .sh_offset = TEXT_OFF, .sh_size = 0x1000});
        put_shdr(m, 2, (Elf64_Shdr){.sh_name = 7, .sh_type = SHT_PROGBITS, .sh_flags = SHF_ALLOC,
                           .sh_addr = data + SET_OFF, .sh_offset = DATA_OFF + SET_OFF,
                           .sh_size = depends ? 2 * w : w});
        put_shdr(m, 3, (Elf64_Shdr){.sh_name = 27, .sh_type = SHT_SYMTAB, .sh_offset = SYMS_OFF,
                           .sh_size = SYMS_LEN, .sh_link = 4});
        put_shdr(m, 4, (Elf64_Shdr){.sh_name = 35, .sh_type = SHT_STRTAB, .sh_offset = STRS_OFF,
                           .sh_size = STRS_LEN});
        put_shdr(m, 5, (Elf64_Shdr){.sh_name = 43, .sh_type = SHT_STRTAB, .sh_offset = NAMES_OFF,
                           .sh_size = sizeof(names)});
}

/* An amd64 KLD: section 1 text, 2 the set, 3 its relocations, 4 symbols, 5 strings, 6 names, 7 bss.
 */
static void
make_rel(struct elf_maker *m, const char *module, const char *depends)
{
        memset(m, 0, sizeof(*m));
        m->is_64 = true;
        put_ehdr(m, ET_REL, 0, 0, 8, 6);
        put_set(m, 0, 1, module, depends);
        memset(m->b + TEXT_OFF, 0x90, 0x123);
        memcpy(m->b + NAMES_OFF, names, sizeof(names));
        /* Section 2 is everything of the set; pointers are relocations against symbol 1 = its
         * start. */
        Elf64_Sym sym = {.st_shndx = 2};
        memcpy(m->b + SYMS_OFF + sizeof(sym), &sym, sizeof(sym));
        static const unsigned at[] = {0, 8, 0x10 + 8, 0x10 + 16, 0x40 + 8, 0x40 + 16};
        static const unsigned to[] = { 0x10, 0x40, 0x10 + 0x18, 0x10 + 0x24, 0x40 + 0x18,
                0x40 + 0x24 };
        for (unsigned i = 0; i < 6; i++) {
                if (!depends && (i == 1 || i > 3))
                        continue;
                Elf64_Rela r = {.r_offset = at[i], .r_info = ELF64_R_INFO(1, 1), .r_addend = to[i]};
                memcpy(m->b + 0x3b00 + i * sizeof(r), &r, sizeof(r));
                put_le64(m->b + DATA_OFF + SET_OFF + at[i], 0);
        }
        put_shdr(m, 1, (Elf64_Shdr){.sh_name = 1, .sh_type = SHT_PROGBITS, .sh_offset = TEXT_OFF,
                           .sh_size = 0x123, .sh_addralign = 16});
        put_shdr(m, 2, (Elf64_Shdr){.sh_name = 7, .sh_type = SHT_PROGBITS,
                           .sh_offset = DATA_OFF + SET_OFF, .sh_size = 0x80, .sh_addralign = 8});
        put_shdr(m, 3, (Elf64_Shdr){.sh_name = 53, .sh_type = SHT_RELA, .sh_offset = 0x3b00,
                           .sh_size = 6 * sizeof(Elf64_Rela), .sh_link = 4, .sh_info = 2,
                           .sh_addralign = 8});
        put_shdr(m, 4, (Elf64_Shdr){.sh_name = 27, .sh_type = SHT_SYMTAB, .sh_offset = SYMS_OFF,
                           .sh_size = 2 * sizeof(sym), .sh_link = 5, .sh_addralign = 8});
        put_shdr(m, 5, (Elf64_Shdr){.sh_name = 35, .sh_type = SHT_STRTAB, .sh_offset = STRS_OFF,
                           .sh_size = STRS_LEN, .sh_addralign = 1});
        put_shdr(m, 6, (Elf64_Shdr){.sh_name = 43, .sh_type = SHT_STRTAB, .sh_offset = NAMES_OFF,
                           .sh_size = sizeof(names), .sh_addralign = 1});
        put_shdr(m, 7, (Elf64_Shdr){.sh_name = 1, .sh_type = SHT_NOBITS, .sh_size = 0x40,
                           .sh_addralign = 64});
}

/* --- A loader with a scripted console --- */

struct bench {
        char dir[64];
        struct guest_mem *mem;
        struct loader *loader;
        struct console con;
        struct x86_state state;
        const char *keys;
        int after_keys; /* what the console gives when the keys are used up */
        char *out;
        size_t out_len;
        FILE *stream;
        struct elf_maker elf;
};

static int
bench_get(void *ctx, int timeout_ms)
{
        struct bench *b = ctx;

        return *b->keys                                           ? *b->keys++
               : timeout_ms >= 0 && b->after_keys == CONSOLE_STOP ? CONSOLE_TIMEOUT
                                                                  : b->after_keys;
}

static void
bench_put(void *ctx, const char *text, size_t len)
{
        fwrite(text, 1, len, ((struct bench *)ctx)->stream);
}

static const struct console_ops bench_ops = {bench_get, bench_put};

static void
write_file(const struct bench *b, const char *name, const void *bytes, size_t len)
{
        char path[256];

        snprintf(path, sizeof(path), "%s/%s", b->dir, name);
        FILE *f = fopen(path, "w");
        assert_non_null(f);
        assert_int_equal(fwrite(bytes, 1, len, f), len);
        fclose(f);
}

static void
write_text(const struct bench *b, const char *name, const char *text)
{
        write_file(b, name, text, strlen(text));
}

static int
setup(void **state)
{
        struct bench *b = calloc(1, sizeof(*b));
        char path[128];
        static const char *const dirs[] = {"boot", "boot/kernel", "boot/modules", "boot/defaults",
            "boot/loader.conf.d", "etc", "boot/other"};

        snprintf(b->dir, sizeof(b->dir), "/tmp/bhyve-loader-XXXXXX");
        assert_non_null(mkdtemp(b->dir));
        for (size_t i = 0; i < ARRAY_LEN(dirs); i++) {
                snprintf(path, sizeof(path), "%s/%s", b->dir, dirs[i]);
                assert_int_equal(mkdir(path, 0755), 0);
        }
        assert_int_equal(mem_create(-1, MEMORY, &b->mem), 0);
        make_linked(&b->elf, true, ET_EXEC, "kernel", NULL);
        write_file(b, "boot/kernel/kernel", b->elf.b, sizeof(b->elf.b));
        *state = b;
        return 0;
}

static int
teardown(void **state)
{
        struct bench *b = *state;
        char cmd[128];

        mem_destroy(b->mem);
        free(b->out);
        snprintf(cmd, sizeof(cmd), "rm -rf %s", b->dir);
        int rc = system(cmd);
        free(b);
        return rc;
}

static enum loader_result
run_with(struct bench *b, const char *keys, const char *env, const char *disk)
{
        b->keys = keys;
        free(b->out);
        b->stream = open_memstream(&b->out, &b->out_len);
        console_init(&b->con, &bench_ops, b, false);
        assert_int_equal(loader_create(b->mem, &b->con, &b->loader), 0);
        if (disk)
                assert_int_equal(loader_add_disk(b->loader, disk), 0);
        assert_int_equal(loader_set_host(b->loader, b->dir), 0);
        if (env)
                loader_put(b->loader, env);
        x86_state_reset(&b->state, 0);
        enum loader_result result = loader_run(b->loader, &b->state);
        loader_destroy(b->loader);
        console_finish(&b->con);
        fclose(b->stream);
        return result;
}

/* Runs at the prompt without autoboot. */
static enum loader_result
run(struct bench *b, const char *keys)
{
        b->after_keys = CONSOLE_END;
        return run_with(b, keys, "autoboot_delay=NO", NULL);
}

static void
assert_says(const struct bench *b, const char *text)
{
        if (!strstr(b->out, text))
                fail_msg("missing \"%s\" in:\n%s", text, b->out);
}

static void
assert_silent(const struct bench *b, const char *text)
{
        if (strstr(b->out, text))
                fail_msg("unwanted \"%s\" in:\n%s", text, b->out);
}

/* --- Looking into the guest --- */

static uint64_t
guest_word(const struct bench *b, gpa_t gpa, unsigned bytes)
{
        unsigned char v[8] = {0};

        assert_int_equal(mem_read(b->mem, gpa, v, bytes), 0);
        return get_le64(v);
}

struct records {
        gpa_t at;
        unsigned word;
        uint32_t type, len;
        gpa_t data;
};

static bool
next_record(const struct bench *b, struct records *r)
{
        r->type = (uint32_t)guest_word(b, r->at, 4);
        r->len = (uint32_t)guest_word(b, r->at + 4, 4);
        r->data = r->at + 8;
        r->at = r->data + ((r->len + r->word - 1) & ~(r->word - 1));
        return r->type != 0;
}

static void
want_string(const struct bench *b, struct records *r, uint32_t type, const char *text)
{
        char got[256];

        assert_true(next_record(b, r));
        assert_int_equal(r->type, type);
        assert_int_equal(r->len, strlen(text) + 1);
        assert_int_equal(mem_read(b->mem, r->data, got, r->len), 0);
        assert_string_equal(got, text);
}

static uint64_t
want_word(const struct bench *b, struct records *r, uint32_t type)
{
        assert_true(next_record(b, r));
        assert_int_equal(r->type, type);
        assert_int_equal(r->len, r->word);
        return guest_word(b, r->data, r->word);
}

static uint64_t
want_md(const struct bench *b, struct records *r, uint32_t type, uint32_t len)
{
        assert_true(next_record(b, r));
        assert_int_equal(r->type, 0x8000 | type);
        assert_int_equal(r->len, len);
        return guest_word(b, r->data, len < 8 ? len : 8);
}

static bool
env_has(const struct bench *b, gpa_t envp, const char *assignment)
{
        char text[512];

        for (unsigned i = 0; i < 200; i++) {
                size_t n = 0;
                do {
                        assert_int_equal(mem_read(b->mem, envp++, &text[n], 1), 0);
                } while (text[n++] != '\0' && n < sizeof(text));
                if (n == 1)
                        return false;
                if (strcmp(text, assignment) == 0)
                        return true;
        }
        return false;
}

/* The value of a record of the amd64 kernel's. */
static uint64_t
kernel_md(const struct bench *b, uint32_t type)
{
        struct records r = { .at = guest_word(b, 0x1004, 4), .word = 8 };

        while (next_record(b, &r)) {
                if (r.type == (0x8000 | type))
                        return guest_word(b, r.data, r.len < 8 ? r.len : 8);
        }
        fail_msg("there is no record %u", type);
        return 0;
}

/* The boot flags that it is given. */
static uint64_t
howto(const struct bench *b)
{
        return kernel_md(b, 7);
}

static bool
kernel_env_has(const struct bench *b, const char *assignment)
{
        return env_has(b, kernel_md(b, 6), assignment);
}

/* --- Tests --- */

static void
boot_hands_an_amd64_kernel_all_it_needs(void **state)
{
        struct bench *b = *state;
        const gpa_t end = 0x201000 + DATA_LEN + BSS_LEN, ssym = end;
        const gpa_t esym = ssym + 8 + SYMS_LEN + 8 + ((STRS_LEN + 7) & ~7u);

        write_text(b, "boot/loader.conf", "foo.bar=\"a b\"\nboot_verbose=\"YES\"\n");
        write_text(b, "etc/fstab", "# x\n/dev/vtbd0p2\t/\tufs\trw,noatime\t1 1\n");
        assert_int_equal(run(b, "boot -s -D\r"), LOADER_BOOT);
        assert_says(b,
            "/boot/kernel/kernel text=0x1000 data=0x180+0x5000 syms=[0x8+0x60+0x8+0x25]\n");

        /* Registers. */
        const struct x86_state *s = &b->state;
        assert_int_equal(s->rip, 0xffffffff80200040);
        assert_int_equal(s->gpr[X86_RSP], 0x1000);
        assert_int_equal(s->cr3, 0x2000);
        assert_int_equal(s->cr0, X86_CR0_PG | X86_CR0_PE | X86_CR0_NE | X86_CR0_ET);
        assert_int_equal(s->cr4, X86_CR4_PAE);
        assert_int_equal(s->efer, X86_EFER_LME | X86_EFER_LMA);
        assert_int_equal(s->rflags, 2);
        assert_int_equal(s->seg[X86_CS].sel, 8);
        assert_int_equal(s->seg[X86_CS].attr, 0x209b);
        assert_int_equal(s->seg[X86_SS].sel, 0x10);
        assert_int_equal(s->seg[X86_SS].attr, 0x93);
        assert_int_equal(s->tr.attr, 0x8b);
        assert_int_equal(s->ldtr.attr, X86_SEG_UNUSABLE);
        assert_int_equal(s->gdtr.base, 0x5000);
        assert_int_equal(s->gdtr.limit, 23);
        assert_int_equal(guest_word(b, 0x5008, 8), 0x0020980000000000);
        assert_int_equal(guest_word(b, 0x2ff8, 8), 0x3007);
        assert_int_equal(guest_word(b, 0x3008, 8), 0x4007);
        assert_int_equal(guest_word(b, 0x4ff8, 8), 0x3fe00087);

        /* The image. */
        assert_int_equal(guest_word(b, 0x200000, 8), 0x9090909090909090);
        assert_int_equal(guest_word(b, 0x201000, 8), 0xdadadadadadadada);
        assert_int_equal(guest_word(b, 0x201000 + DATA_LEN, 8), 0);
        assert_int_equal(guest_word(b, ssym, 8), SYMS_LEN);
        assert_int_equal(guest_word(b, ssym + 8, 4), 0x51515151);
        assert_int_equal(guest_word(b, ssym + 8 + SYMS_LEN, 8), STRS_LEN);

        /* Metadata, in order. */
        assert_int_equal(guest_word(b, 0x1000, 4), 0);
        gpa_t modulep = guest_word(b, 0x1004, 4), kernend = guest_word(b, 0x1008, 4);
        struct records r = {.at = modulep, .word = 8};
        assert_int_equal(modulep % 4096, 0);
        want_string(b, &r, 1, "/boot/kernel/kernel");
        want_string(b, &r, 2, "elf kernel");
        want_string(b, &r, 6, "-s -D");
        assert_int_equal(want_word(b, &r, 3), 0x200000);
        assert_int_equal(want_word(b, &r, 4), esym - 0x200000);
        assert_int_equal(want_md(b, &r, 0x1001, 40), 0);
        assert_int_equal(guest_word(b, r.data + 8, 8), 640 * 1024);
        assert_int_equal(guest_word(b, r.data + 16, 4), 1);
        assert_int_equal(guest_word(b, r.data + 20, 8), MIB);
        assert_int_equal(guest_word(b, r.data + 28, 8), MEMORY - MIB);
        assert_int_equal(want_md(b, &r, 8, 8), kernend);
        gpa_t envp = want_md(b, &r, 6, 8);
        assert_int_equal(want_md(b, &r, 7, 4),
            HOWTO_SINGLE | HOWTO_MULTIPLE | HOWTO_VERBOSE | HOWTO_SERIAL);
        assert_int_equal(want_md(b, &r, 2, 64), 0x00010102464c457f);
        assert_int_equal(want_md(b, &r, 4, 8), esym);
        assert_int_equal(want_md(b, &r, 3, 8), ssym);
        want_md(b, &r, 9, 6 * 64);
        assert_false(next_record(b, &r));
        assert_int_equal(r.len, 0);
        assert_int_equal(kernend, (r.at + 4095) & ~4095ull);
        assert_int_equal(envp, (esym + 4095) & ~4095ull);

        assert_true(env_has(b, envp, "foo.bar=a b"));
        assert_true(env_has(b, envp, "smbios.bios.vendor=BHYVE"));
        assert_true(env_has(b, envp, "boot_serial=1"));
        assert_true(env_has(b, envp, "kernelname=/boot/kernel/kernel"));
        assert_true(env_has(b, envp, "vfs.root.mountfrom=ufs:/dev/vtbd0p2"));
        assert_true(env_has(b, envp, "vfs.root.mountfrom.options=rw,noatime"));
        assert_true(env_has(b, envp, "currdev=host0:"));
}

static void
boot_hands_an_i386_kernel_all_it_needs(void **state)
{
        struct bench *b = *state;

        make_linked(&b->elf, false, ET_EXEC, "kernel", NULL);
        write_file(b, "boot/kernel/kernel", b->elf.b, sizeof(b->elf.b));
        make_linked(&b->elf, false, ET_DYN, "foo", "kernel");
        write_file(b, "boot/modules/foo.ko", b->elf.b, sizeof(b->elf.b));
        assert_int_equal(run(b, "load foo x=1\rboot -s\r"), LOADER_BOOT);
        assert_says(b, "syms=[0x4+0x60+0x4+0x25]");

        const struct x86_state *s = &b->state;
        assert_int_equal(s->rip, 0x400040);
        assert_int_equal(s->cr0, X86_CR0_PE | X86_CR0_NE | X86_CR0_ET);
        assert_int_equal(s->cr4, 0);
        assert_int_equal(s->efer, 0);
        assert_int_equal(s->seg[X86_CS].attr, 0xc09b);
        assert_int_equal(s->seg[X86_CS].limit, 0xffffffff);
        assert_int_equal(s->seg[X86_DS].attr, 0xc093);
        assert_int_equal(s->tr.base, 0x4000);
        assert_int_equal(s->gdtr.base, 0x3000);
        assert_int_equal(guest_word(b, 0x400000, 4), 0x90909090);

        gpa_t sp = s->gpr[X86_RSP];
        assert_int_equal(sp, 0x2000 - 36);
        assert_int_equal(guest_word(b, sp, 4), 0xbeefface);
        assert_int_equal(guest_word(b, sp + 4, 4), HOWTO_BOOTINFO | HOWTO_SINGLE | HOWTO_SERIAL);
        assert_int_equal(guest_word(b, sp + 20, 4), 0);
        assert_int_equal(guest_word(b, sp + 24, 4), 0x2000);
        gpa_t modulep = guest_word(b, sp + 28, 4), kernend = guest_word(b, sp + 32, 4);
        assert_int_equal(guest_word(b, 0x2000, 4), 1);
        assert_int_equal(guest_word(b, 0x2000 + 48, 4), 136);
        assert_int_equal(guest_word(b, 0x2000 + 56, 4), 640);
        assert_int_equal(guest_word(b, 0x2000 + 60, 4), (MEMORY - MIB) / 1024);
        assert_int_equal(guest_word(b, 0x2000 + 72, 4), kernend);
        assert_int_equal(guest_word(b, 0x2000 + 80, 4), modulep);
        char name[32];
        assert_int_equal(mem_read(b->mem, guest_word(b, 0x2004, 4), name, sizeof(name)), 0);
        assert_string_equal(name, "/boot/kernel/kernel");

        struct records r = {.at = modulep, .word = 4};
        want_string(b, &r, 1, "/boot/kernel/kernel");
        want_string(b, &r, 2, "elf kernel");
        want_string(b, &r, 6, "-s");
        assert_int_equal(want_word(b, &r, 3), 0x400000);
        uint64_t size = want_word(b, &r, 4);
        want_md(b, &r, 0x1001, 40);
        assert_int_equal(want_md(b, &r, 8, 4), kernend);
        assert_int_equal(want_md(b, &r, 6, 4), guest_word(b, 0x2000 + 76, 4));
        want_md(b, &r, 7, 4);
        want_md(b, &r, 2, 52);
        assert_int_equal(want_md(b, &r, 4, 4), guest_word(b, 0x2000 + 68, 4));
        assert_int_equal(want_md(b, &r, 3, 4), guest_word(b, 0x2000 + 64, 4));
        want_md(b, &r, 9, 6 * 40);
        want_string(b, &r, 1, "/boot/modules/foo.ko");
        want_string(b, &r, 2, "elf module");
        want_string(b, &r, 6, "x=1");
        gpa_t foo = want_word(b, &r, 3);
        assert_int_equal(foo, (0x400000 + size + 4095) & ~4095ull);
        assert_int_equal(guest_word(b, foo, 4), 0x90909090);
}

static void
load_brings_an_amd64_module_and_what_it_needs(void **state)
{
        struct bench *b = *state;

        make_rel(&b->elf, "foo", "bar");
        write_file(b, "boot/modules/foo.ko", b->elf.b, sizeof(b->elf.b));
        make_rel(&b->elf, "bar", "kernel");
        write_file(b, "boot/modules/bar.ko", b->elf.b, sizeof(b->elf.b));
        assert_int_equal(run(b, "load foo\rlsmod\rload foo\rload bar.ko\rboot\r"), LOADER_BOOT);
        assert_says(b, "loading required module 'bar'\n");
        assert_says(b, "/boot/modules/bar.ko size 0x");
        assert_says(b, "/boot/modules/foo.ko (elf obj module, 0x");
        assert_says(b, "modules: foo.1 \n");
        assert_says(b, "warning: module 'foo' already loaded");
        struct records r = {.at = guest_word(b, 0x1004, 4), .word = 8};
        while (next_record(b, &r) && !(r.type == 2 && r.len == strlen("elf obj module") + 1))
                ;
        gpa_t addr = want_word(b, &r, 3);
        uint64_t size = want_word(b, &r, 4);
        assert_int_equal(addr % 4096, 0);
        want_md(b, &r, 2, 64);
        want_md(b, &r, 9, 8 * 64);
        /* Each section lies where its header says, in FreeBSD's order. */
        gpa_t text = guest_word(b, r.data + 1 * 64 + 16, 8),
              set = guest_word(b, r.data + 2 * 64 + 16, 8);
        gpa_t rela = guest_word(b, r.data + 3 * 64 + 16, 8),
              sym = guest_word(b, r.data + 4 * 64 + 16, 8);
        gpa_t str = guest_word(b, r.data + 5 * 64 + 16, 8),
              shstr = guest_word(b, r.data + 6 * 64 + 16, 8);
        gpa_t bss = guest_word(b, r.data + 7 * 64 + 16, 8);
        assert_int_equal(text, addr);
        assert_int_equal(set, addr + 0x128);
        assert_int_equal(bss % 64, 0);
        assert_true(set < bss && bss < sym && sym < str && str < shstr && shstr < rela);
        assert_int_equal(rela + 6 * sizeof(Elf64_Rela), addr + size);
        assert_int_equal(guest_word(b, text, 4), 0x90909090);
}

static void
load_fails_when_a_dependency_is_missing(void **state)
{
        struct bench *b = *state;

        make_rel(&b->elf, "foo", "nowhere");
        write_file(b, "boot/modules/foo.ko", b->elf.b, sizeof(b->elf.b));
        assert_int_equal(run(b, "load foo\recho ==\rlsmod\r"), LOADER_QUIT);
        assert_says(b, "can't find 'nowhere'\n");
        assert_silent(b, "(elf obj module");
        assert_says(b, "(elf kernel");
}

static void
linker_hints_name_the_file_of_a_module(void **state)
{
        struct bench *b = *state;
        unsigned char hints[64] = { 1, 0, 0, 0, 28, 0, 0, 0, 3, 0, 0, 0, 3, 'f', 'o', 'o', 7, 0, 0,
                0, 7, 'q', 'u', 'x', '.', 'b', 'i', 'n' };

        /* Record: length, type 3, "foo", version aligned to 4, "qux.bin". */
        make_rel(&b->elf, "foo", NULL);
        write_file(b, "boot/modules/qux.bin", b->elf.b, sizeof(b->elf.b));
        write_file(b, "boot/modules/linker.hints", hints, 36);
        assert_int_equal(run(b, "load foo\r"), LOADER_QUIT);
        assert_says(b, "/boot/modules/qux.bin size 0x");
        hints[4] = 200; /* a record that leaves the file */
        write_file(b, "boot/modules/linker.hints", hints, 36);
        assert_int_equal(run(b, "load foo\r"), LOADER_QUIT);
        assert_says(b, "can't find 'foo'");
}

static void
loader_conf_loads_modules_and_a_memory_root(void **state)
{
        struct bench *b = *state;

        make_rel(&b->elf, "foo", NULL);
        write_file(b, "boot/modules/foo.ko", b->elf.b, sizeof(b->elf.b));
        write_text(b, "boot/mfs", "0123456789");
        write_text(b, "boot/loader.conf",
            "foo_load=\"YES\"\nfoo_flags=\"a=1 b\"\nfoo_before=\"echo before\"\n"
            "bar_load=\"NO\"\nmissing_load=YES\n"
            "mfs_load=\"YES\"\nmfs_type=\"mfs_root\"\nmfs_name=\"/boot/mfs\"\n");
        assert_int_equal(run(b, "lsmod\rboot\r"), LOADER_BOOT);
        assert_says(b, "before\n");
        assert_says(b, "args: a=1 b");
        assert_says(b, "can't find 'missing'");
        assert_says(b, "/boot/mfs (mfs_root, 0xa)");
        struct records r = {.at = guest_word(b, 0x1004, 4), .word = 8};
        while (next_record(b, &r) && !(r.type == 2 && r.len == strlen("mfs_root") + 1))
                ;
        gpa_t addr = want_word(b, &r, 3);
        assert_int_equal(want_word(b, &r, 4), 10);
        assert_int_equal(guest_word(b, addr, 8), 0x3736353433323130);
}

static void
loader_conf_reports_bad_lines_and_goes_on(void **state)
{
        struct bench *b = *state;

        write_text(
            b, "boot/loader.conf", "good=\"1\"\nbad=\"no end\n=x\nlast=\"a \\\"b\\\"\" # c\n");
        write_text(b, "boot/loader.conf.d/b.conf", "order=\"b\"\n");
        write_text(b, "boot/loader.conf.d/a.conf", "order=\"a\"\nfroma=1\n");
        write_text(b, "boot/loader.conf.d/skipped", "order=\"z\"\n");
        assert_int_equal(run(b, "show good\rshow last\rshow order\rshow froma\rshow bad\r"),
            LOADER_QUIT);
        assert_says(b, "missing closing quote on file /boot/loader.conf, line 2\nbad=\"no end\n");
        assert_says(b, "syntax error on file /boot/loader.conf, line 3\n");
        assert_says(b, "\n1\n");
        assert_says(b, "\na \"b\"\n");
        assert_says(b, "show order\nb\n");
        assert_says(b, "show froma\n1\n");
        assert_says(b, "variable 'bad' not found\n");
}

static void
nextboot_is_used_and_says_that_it_cannot_be_cleared(void **state)
{
        struct bench *b = *state;

        write_file(b, "boot/other/kernel", b->elf.b, sizeof(b->elf.b));
        write_text(b, "boot/nextboot.conf", "nextboot_enable=\"YES\"\nkernel=\"other\"\n");
        assert_int_equal(run(b, "boot\r"), LOADER_BOOT);
        assert_says(b, "/boot/other/kernel text=");
        assert_says(b, "/boot/nextboot.conf stays in force");
        write_text(b, "boot/nextboot.conf", "nextboot_enable=\"NO\" \nkernel=\"other\"\n");
        assert_int_equal(run(b, "boot\r"), LOADER_BOOT);
        assert_says(b, "/boot/kernel/kernel text=");
}

static void
nextboot_is_cleared_on_a_disk(void **state)
{
        struct bench *b = *state;
        char cmd[512], disk[128];

        if (system("command -v makefs >/dev/null")) {
                print_message("skip: makefs is not installed\n");
                skip();
        }
        write_file(b, "boot/other/kernel", b->elf.b, sizeof(b->elf.b));
        write_text(b, "boot/nextboot.conf",
            "nextboot_enable=\"YES\"\nbootfile=\"host0:/boot/other/kernel\"\n");
        snprintf(disk, sizeof(disk), "%s.img", b->dir);
        snprintf(cmd, sizeof(cmd), "makefs -t ffs -s 4m -o version=2 %s %s >/dev/null", disk, b->dir);
        assert_int_equal(system(cmd), 0);
        b->after_keys = CONSOLE_END;
        assert_int_equal(run_with(b, "boot\r", "autoboot_delay=NO", disk), LOADER_BOOT);
        assert_says(b, "host0:/boot/other/kernel text=");
        assert_silent(b, "stays in force");
        assert_int_equal(
            run_with(b, "cat /boot/nextboot.conf\rboot\r", "autoboot_delay=NO", disk), LOADER_BOOT);
        assert_says(b, "\n/boot/kernel/kernel text=");
        assert_says(b, "nextboot_enable=\"NO\" \nbootfile=");
        assert_int_equal(unlink(disk), 0);
}

static void
autoboot_boots_after_the_delay_and_stops_for_a_key(void **state)
{
        struct bench *b = *state;

        b->after_keys = CONSOLE_STOP; /* no key, then stop at the prompt */
        assert_int_equal(run_with(b, "", "autoboot_delay=0", NULL), LOADER_BOOT);
        assert_int_equal(run_with(b, "", "autoboot_delay=-1", NULL), LOADER_BOOT);
        assert_int_equal(run_with(b, "\r", "autoboot_delay=100", NULL), LOADER_BOOT);
        assert_says(b, "Booting [/boot/kernel/kernel] in 100 seconds... ");
        assert_int_equal(run_with(b, "x", "autoboot_delay=100", NULL), LOADER_STOPPED);
        assert_says(b, "\nOK ");
        b->after_keys = CONSOLE_END; /* nobody can press a key: no waiting */
        assert_int_equal(run_with(b, "", "autoboot_delay=100", NULL), LOADER_BOOT);
}

static void
menu_is_shown_where_the_guest_asks_for_it(void **state)
{
        struct bench *b = *state;

        write_text(b, "boot/loader.rc", "include /boot/loader.4th\ninitialize drop\ninclude /boot/beastie.4th\nbeastie-start\n");
        b->after_keys = CONSOLE_STOP;
        assert_int_equal(run_with(b, "", "autoboot_delay=0", NULL), LOADER_BOOT);
        assert_says(b, "1. Boot Multi User [Enter]\n");
        assert_int_equal(howto(b), 0x1000);
        assert_int_equal(run_with(b, "1", "autoboot_delay=100", NULL), LOADER_BOOT);
        assert_says(b, "Autoboot in 100 seconds.");
        assert_int_equal(run_with(b, " x\r", "autoboot_delay=100", NULL), LOADER_BOOT);
        assert_int_equal(run_with(b, "4", "autoboot_delay=100", NULL), LOADER_REBOOT);
        assert_int_equal(run_with(b, "3echo at the prompt\r", "autoboot_delay=100", NULL), LOADER_STOPPED);
        assert_says(b, "\nat the prompt\n");
        assert_int_equal(run_with(b, " ", "autoboot_delay=0x7fffffff", NULL), LOADER_STOPPED);
        assert_int_equal(run_with(b, "2", "autoboot_delay=NO", NULL), LOADER_BOOT);
        assert_int_equal(howto(b), 0x1002); /* single user */
        assert_silent(b, "Autoboot in");
        b->after_keys = CONSOLE_END;
        assert_int_equal(run_with(b, "", "autoboot_delay=NO", NULL), LOADER_BOOT);
        write_text(b, "boot/loader.conf", "beastie_disable=\"yes\"\n");
        assert_int_equal(run_with(b, "", "autoboot_delay=100", NULL), LOADER_BOOT);
        assert_silent(b, "Multi User");
        assert_int_equal(run_with(b, "boot\r", "autoboot_delay=NO", NULL), LOADER_BOOT);
        assert_says(b, "OK boot");
}

#define MENU_RC "initialize drop\nbeastie-start\n"

static void
menu_offers_the_kernels_there_are(void **state)
{
        struct bench *b = *state;

        write_text(b, "boot/loader.rc", MENU_RC);
        write_text(b, "boot/loader.conf", "kernels=\"kernel kernel.old\"\n");
        b->after_keys = CONSOLE_STOP;
        assert_int_equal(run_with(b, "5\r", "autoboot_delay=NO", NULL), LOADER_BOOT);
        assert_says(b, "5. [K]ernel: kernel (1 of 1)\n");
        assert_true(kernel_env_has(b, "kernelname=/boot/kernel/kernel"));
        write_file(b, "boot/other/kernel", b->elf.b, sizeof(b->elf.b));
        assert_int_equal(run_with(b, "k1", "autoboot_delay=NO", NULL), LOADER_BOOT);
        assert_says(b, "5. [K]ernel: kernel (1 of 2)\n");
        assert_says(b, "5. [K]ernel: other (2 of 2)\n");
        assert_true(kernel_env_has(b, "kernelname=/boot/other/kernel"));
        assert_int_equal(run_with(b, "K5\r", "autoboot_delay=100", NULL), LOADER_BOOT);
        assert_true(kernel_env_has(b, "kernelname=/boot/kernel/kernel"));
        write_text(b, "boot/other/kernel", "no kernel");
        assert_int_equal(run_with(b, "k1echo at the prompt\r", "autoboot_delay=NO", NULL), LOADER_STOPPED);
        assert_says(b, "can't load 'other'\n");
        assert_says(b, "\nat the prompt\n");
        write_text(b, "boot/loader.conf", "kernels_autodetect=\"NO\"\n");
        assert_int_equal(run_with(b, "\r", "autoboot_delay=NO", NULL), LOADER_BOOT);
        assert_says(b, "kernel (1 of 1)\n");
}

static void
menu_sets_boot_options(void **state)
{
        struct bench *b = *state;

        write_text(b, "boot/loader.rc", MENU_RC);
        b->after_keys = CONSOLE_STOP;
        assert_int_equal(run_with(b, "6A4v\b\r", "autoboot_delay=100", NULL), LOADER_BOOT);
        assert_says(b, "3. [A]CPI Support: On\n  4. Safe [M]ode: Off\n  5. [S]ingle User: Off\n  6. [V]erbose: Off\n");
        assert_says(b, "3. [A]CPI Support: Off\n  4. Safe [M]ode: On\n  5. [S]ingle User: Off\n  6. [V]erbose: On\n");
        assert_true(kernel_env_has(b, "hint.acpi.0.disabled=1"));
        assert_true(kernel_env_has(b, "kern.smp.disabled=1"));
        assert_true(kernel_env_has(b, "hw.ata.wc=0"));
        assert_int_equal(howto(b), 0x1800);
        assert_int_equal(run_with(b, "oamsvd1\r", "autoboot_delay=NO", NULL), LOADER_BOOT);
        assert_false(kernel_env_has(b, "hint.acpi.0.disabled=1"));
        assert_false(kernel_env_has(b, "hw.ata.wc=0"));
        assert_int_equal(howto(b), 0x1000);
        assert_int_equal(run_with(b, "oaa\x7f\r", "hint.acpi.0.disabled=0", NULL), LOADER_BOOT);
        assert_false(kernel_env_has(b, "hint.acpi.0.disabled=1"));
        assert_int_equal(run_with(b, "6s1\r", "autoboot_delay=NO", NULL), LOADER_BOOT);
        assert_says(b, "1. Boot Single User [Enter]\n  2. Boot [M]ulti User\n");
        assert_int_equal(howto(b), 0x1002);
        assert_int_equal(run_with(b, "m", "boot_single=YES", NULL), LOADER_BOOT);
        assert_int_equal(howto(b), 0x1000);
        assert_int_equal(run_with(b, "6", "autoboot_delay=NO", NULL), LOADER_STOPPED);
        b->after_keys = CONSOLE_END; /* nobody is there any more */
        assert_int_equal(run_with(b, "6v", "autoboot_delay=NO", NULL), LOADER_BOOT);
        assert_int_equal(howto(b), 0x1800);
}

static void
prompt_answers_as_freebsd_does(void **state)
{
        struct bench *b = *state;

        write_text(b, "boot/rc.test", "\\ comment\n@echo included\n-foo\necho after\n");
        write_text(b, "boot/self", "include /boot/self\n");
        assert_int_equal(
            run(b, "set a=b=c\rshow a\runset a\runset a\recho -n $interpret;echo \"x  y\"\r"
                   "nonsense\recho 'open\rls /boot/defaults\rls /nowhere\rcat /boot/rc.test\r"
                   "include /boot/rc.test\rinclude /boot/self\rload\rload -t\rload -t x y z\r"
                   "load /etc\rload nothing\rautoboot 1x\rset currdev=disk9:\runload\r"
                   "load -t mfs_root /boot/rc.test\rreboot\r"),
            LOADER_REBOOT);
        assert_says(b, "show a\nb=c\n");
        assert_says(b, "No such file or directory\n");
        assert_says(b, "nonsense not found\n");
        assert_says(b, "unbalanced quotes\n");
        assert_says(b, "/boot/defaults\n");
        assert_says(b, "open '/nowhere' failed: No such file or directory\n");
        assert_says(b, "included\nafter\n");
        assert_says(b, "include one another too deeply");
        assert_says(b, "no filename specified\n");
        assert_says(b, "load: option requires an argument -- t\n");
        assert_says(b, "invalid load type\n");
        assert_says(b, "can't find '/etc'\n");
        assert_says(b, "can't find 'nothing'\n");
        assert_says(b, "bad delay '1x'\n");
        assert_says(b, "Device not configured\n");
        assert_says(b, "can't load file before kernel\n");
}

static void
damaged_kernels_are_refused_at_the_prompt(void **state)
{
        struct bench *b = *state;
        Elf64_Phdr ph;

        memcpy(&ph, b->elf.b + 64, sizeof(ph));
        ph.p_memsz = 1ull << 40;
        memcpy(b->elf.b + 64, &ph, sizeof(ph));
        write_file(b, "big", b->elf.b, sizeof(b->elf.b));
        ph.p_memsz = 0x1000;
        ph.p_offset = UINT64_MAX;
        memcpy(b->elf.b + 64, &ph, sizeof(ph));
        write_file(b, "wild", b->elf.b, sizeof(b->elf.b));
        write_file(b, "short", b->elf.b, 100);
        write_text(b, "text", "this is no kernel, only text that is long enough to look at");
        assert_int_equal(
            run(b, "unload\rload /big\rload /wild\rload /short\rload /text\rlsmod\rboot -s\r"),
            LOADER_BOOT);
        assert_says(b, "can't load file '/big': it does not fit into the guest's memory (64 MB)\n");
        assert_says(b, "can't load file '/wild': damaged ELF file\n");
        assert_says(b, "can't load file '/short': damaged ELF file\n");
        assert_says(b, "don't know how to load module '/text'\n");
        assert_says(b, "OK lsmod\nOK ");
}

static void
a_slice_that_contains_itself_ends_in_an_error(void **state)
{
        struct bench *b = *state;
        static unsigned char disk[64 * 512];
        char path[128];

        disk[446] = 0x80;
        disk[446 + 4] = 0xa5;
        put_le32(disk + 446 + 12, 64); /* from sector 0 on */
        disk[510] = 0x55;
        disk[511] = 0xaa;
        write_file(b, "loop.img", disk, sizeof(disk));
        snprintf(path, sizeof(path), "%s/loop.img", b->dir);
        b->after_keys = CONSOLE_END;
        assert_int_equal(run_with(b, "lsdev -v\rls\rls disk0s1a:/\r", NULL, path), LOADER_QUIT);
        assert_says(b, "disk0s1: FreeBSD");
        assert_says(b, "failed: Device not configured");
}

static void
line_editing_moves_deletes_and_remembers(void **state)
{
        struct bench *b = *state;

        assert_int_equal(run(b, "ecko\b\bho abc\x01\x05\x1b[D\x1b[DX\r"
                                "echo one two\x17three\x15"
                                "echo four\r"
                                "\x1b[A\x1b[A\r"
                                "\x10\x10\x0e!\r"
                                "echo a b\x01\x06\x06\x0b\x05ho c\r"),
            LOADER_QUIT);
        assert_says(b, "\naXbc\n");
        assert_says(b, "\nfour\n");
        assert_silent(b, "\none two");
        assert_says(b, "\nc\n");
}

static void
words_split_follows_quotes_escapes_and_variables(void **state)
{
        struct env env = {0};
        struct words w;
        const char *why;

        env_set(&env, "v", "x y");
        assert_int_equal(
            words_split(
                "a  \"b c\" 'd \"e' ${v}z $(v) $v.no \\x41\\0x41\\102\\s. \"\"", &env, &w, &why),
            0);
        static const char *const want[] = {"a", "b c", "d \"e", "x yz", "x y", "", "x41AB .", ""};
        assert_int_equal(w.count, 8);
        for (int i = 0; i < 8; i++)
                assert_string_equal(w.word[i], want[i]);
        words_finish(&w);
        assert_int_equal(words_split("${v", &env, &w, &why), -EINVAL);
        assert_int_equal(words_split("'a", &env, &w, &why), -EINVAL);
        env_finish(&env);
}

static void
foreign_kernels_take_an_initrd_and_arguments(void **state)
{
        struct bench *b = *state;
        unsigned char mb[8192] = {0};

        /* A Multiboot kernel that names its own addresses. */
        put_le32(mb, 0x1badb002);
        put_le32(mb + 4, 0x10000);
        put_le32(mb + 8, 0u - 0x1badb002 - 0x10000);
        put_le32(mb + 12, 0x200000);
        put_le32(mb + 16, 0x200000);
        put_le32(mb + 20, 0x202000);
        put_le32(mb + 24, 0x203000);
        put_le32(mb + 28, 0x200040);
        write_file(b, "mb", mb, sizeof(mb));
        write_text(b, "module", "module text");
        assert_int_equal(
            run(b, "unload\rload /mb a=1\rload -t module /module\rlsmod\rboot\r"), LOADER_BOOT);
        assert_says(b, "/mb (multiboot kernel, 0x2000)");
        assert_int_equal(b->state.rip, 0x200040);
        assert_int_equal(b->state.gpr[X86_RAX], 0x2badb002);
        assert_int_equal(guest_word(b, 0x200000, 4), 0x1badb002);
}

int
main(void)
{
#define BENCH(t) cmocka_unit_test_setup_teardown(t, setup, teardown)
        const struct CMUnitTest tests[] = {
            BENCH(boot_hands_an_amd64_kernel_all_it_needs),
            BENCH(boot_hands_an_i386_kernel_all_it_needs),
            BENCH(load_brings_an_amd64_module_and_what_it_needs),
            BENCH(load_fails_when_a_dependency_is_missing),
            BENCH(linker_hints_name_the_file_of_a_module),
            BENCH(loader_conf_loads_modules_and_a_memory_root),
            BENCH(loader_conf_reports_bad_lines_and_goes_on),
            BENCH(nextboot_is_used_and_says_that_it_cannot_be_cleared),
            BENCH(nextboot_is_cleared_on_a_disk),
            BENCH(autoboot_boots_after_the_delay_and_stops_for_a_key),
            BENCH(menu_is_shown_where_the_guest_asks_for_it),
            BENCH(menu_offers_the_kernels_there_are),
            BENCH(menu_sets_boot_options),
            BENCH(prompt_answers_as_freebsd_does),
            BENCH(damaged_kernels_are_refused_at_the_prompt),
            BENCH(a_slice_that_contains_itself_ends_in_an_error),
            BENCH(line_editing_moves_deletes_and_remembers),
            cmocka_unit_test(words_split_follows_quotes_escapes_and_variables),
            BENCH(foreign_kernels_take_an_initrd_and_arguments),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
