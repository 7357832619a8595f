/* SPDX-License-Identifier: BSD-2-Clause */
/* Kernels built here byte by byte, whole and damaged. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "base/bytes.h"
#include "base/util.h"
#include "boot/direct.h"

#include <elf.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define MEMORY      (128 * MIB)
#define SETUP_BYTES 2560u
#define BODY_BYTES  4096u
#define LOAD        0x1000000u
#define INIT_SIZE   0x2000000u

struct rig {
        struct guest_mem *mem;
        struct boot_request request;
        struct x86_state st;
        struct config_error err;
        unsigned char image[65536];
};

static int
setup(void **state)
{
        struct rig *rig = calloc(1, sizeof(*rig));

        *state = rig;
        rig->request.cmdline = "console=ttyS0";
        rig->request.kernel = (struct boot_file){ "kernel", rig->image, 0 };
        return mem_create(-1, MEMORY, &rig->mem);
}

static int
teardown(void **state)
{
        struct rig *rig = *state;

        mem_destroy(rig->mem);
        free(rig);
        return 0;
}

static int
boot(struct rig *rig)
{
        return boot_direct(&rig->request, rig->mem, &rig->st, &rig->err);
}

static uint32_t
guest32(struct rig *rig, gpa_t gpa)
{
        uint8_t b[4];

        assert_int_equal(mem_read(rig->mem, gpa, b, sizeof(b)), 0);
        return get_le32(b);
}

static uint64_t
guest64(struct rig *rig, gpa_t gpa)
{
        return guest32(rig, gpa) | (uint64_t)guest32(rig, gpa + 4) << 32;
}

static void
make_bzimage(struct rig *rig)
{
        unsigned char *k = rig->image;

        memset(k, 0, SETUP_BYTES);
        k[0x1f1] = SETUP_BYTES / 512 - 1;
        put_le32(k + 0x1f4, BODY_BYTES / 16);
        put_le16(k + 0x1fe, 0xaa55);
        k[0x200] = 0xeb;
        k[0x201] = 0x66;
        memcpy(k + 0x202, "HdrS", 4);
        put_le16(k + 0x206, 0x20f);
        k[0x211] = 1;
        put_le32(k + 0x22c, 0x7fffffff);
        put_le16(k + 0x236, 1);
        put_le32(k + 0x238, 255);
        put_le64(k + 0x258, LOAD);
        put_le32(k + 0x260, INIT_SIZE);
        memset(k + SETUP_BYTES, 0xcc, BODY_BYTES);
        rig->request.kernel.len = SETUP_BYTES + BODY_BYTES;
}

static void
linux_enters_in_long_mode(void **state)
{
        struct rig *rig = *state;
        uint64_t zero_page;

        make_bzimage(rig);
        assert_int_equal(boot(rig), 0);
        assert_int_equal(rig->st.rip, LOAD + 0x200);
        assert_true(x86_code64(&rig->st));
        assert_int_equal(rig->st.rflags & X86_FL_IF, 0);
        assert_int_equal(rig->st.seg[X86_CS].sel, 0x10);
        assert_int_equal(rig->st.seg[X86_DS].sel, 0x18);
        assert_int_equal(guest32(rig, LOAD), 0xcccccccc);
        zero_page = rig->st.gpr[X86_RSI];
        assert_int_equal(guest32(rig, zero_page + 0x202), 0x53726448);
        assert_int_equal(guest32(rig, zero_page + 0x210) & 0xff, 0xff);
        assert_int_equal(guest32(rig, guest32(rig, zero_page + 0x228)), 0x736e6f63); /* "cons" */
}

/* The page tables map the kernel, the zero page and themselves one to one. */
static void
linux_identity_maps_4_gib(void **state)
{
        struct rig *rig = *state;
        uint64_t pdpt;

        make_bzimage(rig);
        assert_int_equal(boot(rig), 0);
        pdpt = guest64(rig, rig->st.cr3) & ~0xfffull;
        for (uint64_t gib = 0; gib < 4; gib++) {
                uint64_t pd = guest64(rig, pdpt + gib * 8) & ~0xfffull;

                for (uint64_t i = 0; i < 512; i++)
                        assert_int_equal(guest64(rig, pd + i * 8), gib * GIB + i * 2 * MIB + 0x83);
        }
}

static void
linux_memory_map_covers_ram(void **state)
{
        struct rig *rig = *state;
        uint64_t ram = 0, zero_page, entry;

        make_bzimage(rig);
        assert_int_equal(boot(rig), 0);
        zero_page = rig->st.gpr[X86_RSI];
        for (unsigned i = 0; i < (guest32(rig, zero_page + 0x1e8) & 0xff); i++) {
                entry = zero_page + 0x2d0 + i * 20;
                if (guest32(rig, entry + 16) == BOOT_E820_RAM) {
                        ram += guest64(rig, entry + 8);
                        assert_true(guest64(rig, entry) + guest64(rig, entry + 8) <= MEMORY);
                }
        }
        assert_int_equal(ram, MEMORY - MIB + 0x9fc00);
}

static void
linux_initrd_lies_behind_kernel_and_below_limit(void **state)
{
        static unsigned char initrd[5000];
        struct rig *rig = *state;
        uint32_t at;

        memset(initrd, 0x5a, sizeof(initrd));
        make_bzimage(rig);
        rig->request.module[0] = (struct boot_file){ "initrd", initrd, sizeof(initrd) };
        rig->request.module_count = 1;
        assert_int_equal(boot(rig), 0);
        at = guest32(rig, rig->st.gpr[X86_RSI] + 0x218);
        assert_int_equal(guest32(rig, rig->st.gpr[X86_RSI] + 0x21c), sizeof(initrd));
        assert_true(at >= LOAD + INIT_SIZE && at + sizeof(initrd) <= MEMORY && at % 4096 == 0);
        assert_int_equal(guest32(rig, at + 4996), 0x5a5a5a5a);
        put_le32(rig->image + 0x22c, LOAD + INIT_SIZE + 100); /* no room below the kernel's own limit */
        assert_int_equal(boot(rig), -EINVAL);
}

static void
linux_damaged_headers_are_refused(void **state)
{
        struct rig *rig = *state;

        for (size_t len = 0; len < SETUP_BYTES + BODY_BYTES; len += 37) {
                make_bzimage(rig);
                rig->request.kernel.len = len;
                assert_int_equal(boot(rig), -EINVAL);
        }
        make_bzimage(rig);
        put_le64(rig->image + 0x258, UINT64_MAX - 100);
        assert_int_equal(boot(rig), -EINVAL);
        make_bzimage(rig);
        put_le64(rig->image + 0x258, 0x7000);
        assert_int_equal(boot(rig), -EINVAL);
        make_bzimage(rig);
        put_le32(rig->image + 0x260, UINT32_MAX);
        assert_int_equal(boot(rig), -EINVAL);
        make_bzimage(rig);
        put_le32(rig->image + 0x1f4, UINT32_MAX);
        assert_int_equal(boot(rig), -EINVAL);
}

static void
linux_long_command_line_is_refused(void **state)
{
        struct rig *rig = *state;
        char text[300];

        make_bzimage(rig);
        memset(text, 'x', sizeof(text));
        text[255] = '\0';
        rig->request.cmdline = text;
        assert_int_equal(boot(rig), 0);
        text[255] = 'x';
        text[256] = '\0';
        assert_int_equal(boot(rig), -EINVAL);
}

/* ELF32 with one segment at 1 MiB, and room for a note or a Multiboot header. */
static void
make_elf(struct rig *rig)
{
        Elf32_Ehdr eh = { .e_type = ET_EXEC, .e_machine = EM_386, .e_version = 1, .e_entry = 0x100040,
                .e_phoff = 52, .e_ehsize = 52, .e_phentsize = 32, .e_phnum = 2 };
        Elf32_Phdr ph[2] = {
                { .p_type = PT_LOAD, .p_offset = 0x200, .p_vaddr = 0xc0100000, .p_paddr = 0x100000, .p_filesz = 0x100,
                    .p_memsz = 0x300, .p_align = 4 },
                { .p_type = PT_NOTE, .p_offset = 0x180, .p_filesz = 20, .p_memsz = 20, .p_align = 4 },
        };

        memset(rig->image, 0, 0x400);
        memcpy(eh.e_ident, ELFMAG "\x01\x01\x01", 7);
        memcpy(rig->image, &eh, sizeof(eh));
        memcpy(rig->image + 52, ph, sizeof(ph));
        memset(rig->image + 0x200, 0x90, 0x100);
        rig->request.kernel.len = 0x300;
}

static void
add_pvh_note(struct rig *rig, uint32_t entry)
{
        unsigned char *n = rig->image + 0x180;

        put_le32(n, 4);
        put_le32(n + 4, 4);
        put_le32(n + 8, 18);
        memcpy(n + 12, "Xen", 4);
        put_le32(n + 16, entry);
}

static void
add_multiboot(struct rig *rig, uint32_t flags)
{
        unsigned char *h = rig->image + 0x100;

        put_le32(h, 0x1badb002);
        put_le32(h + 4, flags);
        put_le32(h + 8, 0 - 0x1badb002 - flags);
}

static void
assert_flat32(const struct rig *rig)
{
        assert_int_equal(rig->st.cr0 & (X86_CR0_PE | X86_CR0_PG), X86_CR0_PE);
        assert_int_equal(rig->st.seg[X86_CS].limit, 0xffffffff);
        assert_int_equal(rig->st.seg[X86_DS].base, 0);
        assert_int_equal(rig->st.rflags & X86_FL_IF, 0);
        assert_int_equal(rig->st.efer, 0);
}

static void
pvh_enters_with_start_info(void **state)
{
        static unsigned char module[100] = "module";
        struct rig *rig = *state;
        uint64_t info, list;

        make_elf(rig);
        add_pvh_note(rig, 0x100080);
        rig->request.rsdp = 0xf2400;
        rig->request.module[0] = (struct boot_file){ "m", module, sizeof(module) };
        rig->request.module_count = 1;
        assert_int_equal(boot(rig), 0);
        assert_flat32(rig);
        assert_int_equal(rig->st.rip, 0x100080);
        info = rig->st.gpr[X86_RBX];
        assert_int_equal(guest32(rig, info), 0x336ec578);
        assert_int_equal(guest64(rig, info + 32), 0xf2400);
        list = guest64(rig, info + 16);
        assert_int_equal(guest64(rig, list + 8), sizeof(module));
        assert_int_equal(guest32(rig, guest64(rig, list)), 0x75646f6d); /* "modu" */
        assert_true(guest64(rig, list) >= 0x100300);
        assert_int_equal(guest32(rig, 0x1000fc), 0x90909090);
        assert_int_equal(guest32(rig, 0x100100), 0);
}

static void
pvh_damaged_notes_are_refused(void **state)
{
        struct rig *rig = *state;

        for (unsigned field = 0; field < 2; field++) {
                make_elf(rig);
                add_pvh_note(rig, 0x100080);
                put_le32(rig->image + 0x180 + field * 4, 0xfffffff0);
                assert_int_equal(boot(rig), -EINVAL);
        }
}

static void
multiboot_enters_with_info(void **state)
{
        struct rig *rig = *state;
        uint64_t info;

        make_elf(rig);
        add_multiboot(rig, 3);
        assert_int_equal(boot(rig), 0);
        assert_flat32(rig);
        assert_int_equal(rig->st.rip, 0x100040);
        assert_int_equal(rig->st.gpr[X86_RAX], 0x2badb002);
        info = rig->st.gpr[X86_RBX];
        assert_int_equal(guest32(rig, info + 8), (MEMORY - MIB) / KIB);
        assert_int_equal(guest32(rig, guest32(rig, info + 16)), 0x736e6f63);
        assert_int_equal(guest32(rig, guest32(rig, info + 48)), 20);
        /* the vectors of real mode: an IRET, and behind it nothing but the end of the interrupt */
        assert_int_equal(guest32(rig, 0x10 * 4), 0xf000ff53);
        assert_int_equal(guest32(rig, 0xfff53) & 0xff, 0xcf);
        assert_int_equal(guest32(rig, 8 * 4), 0xf000fea5);
        assert_int_equal(guest64(rig, 0xffea5) & 0xffffffffffffff, 0xcf5820e620b050);
}

static void
multiboot_unknown_mandatory_flags_are_refused(void **state)
{
        struct rig *rig = *state;

        make_elf(rig);
        add_multiboot(rig, 4);
        assert_int_equal(boot(rig), -EINVAL);
        assert_non_null(strstr(rig->err.text, "Multiboot"));
}

static void
multiboot_address_fields_are_checked(void **state)
{
        struct rig *rig = *state;
        unsigned char *h = rig->image + 0x100;
        static const uint32_t bad[][5] = {
                /* header, load, load end, bss end, entry */
                { 0x50, 0x100000, 0, 0, 0 },
                { 0x100100, 0x1000, 0, 0, 0 },
                { 0x200000, 0x100000, 0, 0, 0 },
                { 0x100100, 0x100000, 0xffffffff, 0, 0 },
                { 0x100100, 0x100000, 0x100001, 0xfffffff0, 0 },
        };

        for (unsigned i = 0; i < ARRAY_LEN(bad); i++) {
                make_elf(rig);
                add_multiboot(rig, 0x10000);
                for (unsigned f = 0; f < 5; f++)
                        put_le32(h + 12 + f * 4, bad[i][f]);
                assert_int_equal(boot(rig), -EINVAL);
        }
        make_elf(rig);
        add_multiboot(rig, 0x10000);
        put_le32(h + 12, 0x200100);
        put_le32(h + 16, 0x200000);
        put_le32(h + 28, 0x200123);
        assert_int_equal(boot(rig), 0);
        assert_int_equal(rig->st.rip, 0x200123);
        assert_int_equal(guest32(rig, 0x200100), 0x1badb002);
}

static void
elf_damaged_is_refused_or_harmless(void **state)
{
        struct rig *rig = *state;
        unsigned refused = 0;
        uint32_t seed = 1;

        for (unsigned i = 0; i < 20000; i++) {
                make_elf(rig);
                if (i & 1)
                        add_multiboot(rig, 0);
                else
                        add_pvh_note(rig, 0x100080);
                for (unsigned n = 0; n < 3; n++) {
                        seed = seed * 1664525 + 1013904223;
                        rig->image[(seed >> 16) % 0x1a0] = (unsigned char)(seed >> 8);
                }
                refused += boot(rig) != 0;
        }
        assert_true(refused > 1000);
}

static void
other_processors_are_named(void **state)
{
        struct rig *rig = *state;

        make_elf(rig);
        put_le16(rig->image + 18, EM_AARCH64);
        assert_int_equal(boot(rig), -EINVAL);
        assert_non_null(strstr(rig->err.text, "AArch64"));
}

#define RIG(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int
main(void)
{
        const struct CMUnitTest tests[] = {
                RIG(linux_enters_in_long_mode),
                RIG(linux_identity_maps_4_gib),
                RIG(linux_memory_map_covers_ram),
                RIG(linux_initrd_lies_behind_kernel_and_below_limit),
                RIG(linux_damaged_headers_are_refused),
                RIG(linux_long_command_line_is_refused),
                RIG(pvh_enters_with_start_info),
                RIG(pvh_damaged_notes_are_refused),
                RIG(multiboot_enters_with_info),
                RIG(multiboot_unknown_mandatory_flags_are_refused),
                RIG(multiboot_address_fields_are_checked),
                RIG(elf_damaged_is_refused_or_harmless),
                RIG(other_processors_are_named),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
