/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A kernel of the project's own that demands of its loader what a FreeBSD
 * kernel demands, and says on COM1 what it found: registers and tables at
 * entry, every metadata record, the environment, its symbols, its modules'
 * first bytes.  It is built for amd64 and for i386, linked where FreeBSD's
 * kernels are, and powers off at the end; with test.ask in its environment it
 * asks on the console how to end.
 *
 * It takes its arguments as locore does: from the stack, then from bootinfo.
 * Each line is "name: values", which tests/boot/test_fbsd_kernel compares.
 */
#include "guest.h"

#define PM1A_CNT   0x404
#define SLEEP_S5   0x3400
#define PM1A_STS   0x400
#define PM1_BUTTON 0x100
#define SMI_CMD    0xb2
#define ACPI_ON    0xa0
#define RESET      0xcf9

#ifdef __x86_64__
#define KERNBASE 0xffffffff80000000ul
#else
#define KERNBASE 0ul /* entered without paging, at the physical address */
#endif

/* What the entry code saved. */
struct entry {
        word sp, cr0, cr3, cr4, flags, cs, ds, ss;
        u16 gdt_limit;
        word gdt_base;
} __attribute__((packed));

struct entry entry_state;
u8 boot_stack[16384] __attribute__((aligned(16)));
static volatile u32 zeroed[64];                       /* bss */
static volatile u32 initialised[2] = {0x600df00d, 7}; /* data */

#ifdef __x86_64__
__asm__(".text\n.globl _start\n_start:\n"
        "mov %rsp, entry_state(%rip)\n"
        "mov %cr0, %rax; mov %rax, entry_state+8(%rip)\n"
        "mov %cr3, %rax; mov %rax, entry_state+16(%rip)\n"
        "mov %cr4, %rax; mov %rax, entry_state+24(%rip)\n"
        "mov %cs, %eax; mov %rax, entry_state+40(%rip)\n"
        "mov %ds, %eax; mov %rax, entry_state+48(%rip)\n"
        "mov %ss, %eax; mov %rax, entry_state+56(%rip)\n"
        "sgdt entry_state+64(%rip)\n"
        "lea boot_stack+16384(%rip), %rsp\n"
        "pushf; popq entry_state+32(%rip)\n"
        "call kernel_main\n1: hlt; jmp 1b\n");
#else
/* Not yet relocated: addresses are found from where it runs. */
__asm__(".text\n.globl _start\n_start:\n"
        "pushf; popl %ecx\n"
        "call 1f\n1: pop %ebx\n"
        "sub $1b, %ebx\n"
        "lea entry_state(%ebx), %edi\n"
        "lea -0(%esp), %eax; mov %eax, (%edi)\n"
        "mov %cr0, %eax; mov %eax, 4(%edi)\n"
        "mov %cr3, %eax; mov %eax, 8(%edi)\n"
        "mov %cr4, %eax; mov %eax, 12(%edi)\n"
        "mov %cs, %eax; mov %eax, 20(%edi)\n"
        "mov %ds, %eax; mov %eax, 24(%edi)\n"
        "mov %ss, %eax; mov %eax, 28(%edi)\n"
        "sgdt 32(%edi)\n"
        "lea boot_stack+16384(%ebx), %esp\n"
        "mov %ecx, 16(%edi)\n"
        "push %ebx\n"
        "call kernel_main\n1: hlt; jmp 1b\n");
#endif

/* --- Output --- */

static char
get_char(void)
{
        while (!(in8(COM1 + 5) & 1))
                ;
        return (char)in8(COM1);
}

static void
put_number(u64 v)
{
        int shift = 60;

        while (shift > 0 && !(v >> shift))
                shift -= 4;
        for (; shift >= 0; shift -= 4) {
                u32 digit = (u32)(v >> shift) & 15;
                put_char((char)(digit < 10 ? '0' + digit : 'a' + digit - 10));
        }
}

static void
put_field(const char *name, u64 v)
{
        put_char(' ');
        put(name);
        put_char('=');
        put_number(v);
}

static void
put_line(void)
{
        put("\r\n");
}

/* --- Memory, by physical address --- */

static const u8 *
at(u64 gpa)
{
        return (const u8 *)(word)(gpa + KERNBASE);
}

static u64
read_n(u64 gpa, u32 bytes)
{
        u64 v = 0;

        for (u32 i = 0; i < bytes; i++)
                v |= (u64)at(gpa)[i] << (8 * i);
        return v;
}

/* --- The checks --- */

static void
show_entry(const struct entry *e)
{
        put("entry:");
        put_field("sp", e->sp);
        put_field("cr0", e->cr0);
        put_field("cr3", e->cr3);
        put_field("cr4", e->cr4);
        put_field("flags", e->flags);
        put_field("cs", e->cs);
        put_field("ds", e->ds);
        put_field("ss", e->ss);
        put_field("gdt", e->gdt_base);
        put_field("limit", e->gdt_limit);
        put_line();
}

#ifdef __x86_64__
/* The first GiB in 2 MiB pages, wherever one looks. */
static void
check_page_tables(void)
{
        u32 bad = 0;

        for (u32 i = 0; i < 512; i++) {
                bad += (read_n(0x2000 + 8 * i, 8) & ~0x64ull) != 0x3003;
                bad += (read_n(0x3000 + 8 * i, 8) & ~0x64ull) != 0x4003;
                bad += (read_n(0x4000 + 8 * i, 8) & ~0x64ull) != ((u64)i << 21 | 0x83);
        }
        put("pagetables:");
        put_field("bad", bad);
        put_line();
}
#endif

static void
check_image(void)
{
        u32 sum = 0;

        for (u32 i = 0; i < 64; i++)
                sum += zeroed[i];
        put("image:");
        put_field("bss", sum);
        put_field("data", initialised[0]);
        put_line();
}

static int
same_start(const char *text, const char *start)
{
        while (*start) {
                if (*text++ != *start++)
                        return 0;
        }
        return 1;
}

/* Returns whether test.ask is there. */
static int
show_env(u64 envp)
{
        int ask = 0;

        while (*at(envp)) {
                ask |= same_start((const char *)at(envp), "test.ask=");
                put("env: ");
                put((const char *)at(envp));
                put_line();
                while (*at(envp++))
                        ;
        }
        return ask;
}

static void
show_smap(u64 gpa, u32 len)
{
        for (u32 i = 0; i + 20 <= len; i += 20) {
                put("smap:");
                put_field("base", read_n(gpa + i, 8));
                put_field("len", read_n(gpa + i + 8, 8));
                put_field("type", read_n(gpa + i + 16, 4));
                put_line();
        }
}

/* The symbol table behind its length word, its strings behind theirs: counts, and one name. */
static void
check_symbols(u64 ssym, u64 esym)
{
        u64 len = read_n(ssym, sizeof(word));
        u64 strings = ssym + sizeof(word) + ((len + sizeof(word) - 1) & ~(u64)(sizeof(word) - 1));
        u64 strings_len = read_n(strings, sizeof(word));
        const char *want = "kernel_main";
        u32 found = 0;

        for (u64 i = 0; i + 12 < strings_len; i++) {
                u32 n = 0;
                while (n < 12 && at(strings + sizeof(word) + i)[n] == (u8)want[n])
                        n++;
                found += n == 12;
        }
        u64 end =
            strings + sizeof(word) + ((strings_len + sizeof(word) - 1) & ~(u64)(sizeof(word) - 1));
        put("symbols:");
        put_field("symtab", len != 0);
        put_field("found", found);
        put_field("end", end == esym);
        put_line();
}

struct found {
        u64 ssym, esym, envp, kernend, smap;
        u32 smap_len;
};

static void
show_record(u32 type, u32 len, u64 data, struct found *f)
{
        put("record:");
        put_field("type", type);
        put_field("len", len);
        if (type == 1 || type == 2 || type == 6) {
                put_char(' ');
                put((const char *)at(data));
        } else if (len <= 8) {
                put_field("value", read_n(data, len));
        }
        put_line();
        if (type == 0x8003 && !f->ssym)
                f->ssym = read_n(data, len);
        if (type == 0x8004 && !f->esym)
                f->esym = read_n(data, len);
        if (type == 0x8006)
                f->envp = read_n(data, len);
        if (type == 0x8008)
                f->kernend = read_n(data, len);
        if (type == 0x9001) {
                f->smap = data;
                f->smap_len = len;
        }
}

static void
show_first_bytes(u64 addr)
{
        put("bytes:");
        put_field("at", read_n(addr, 4));
        put_line();
}

static void
show_metadata(u64 modulep, struct found *f)
{
        u64 p = modulep;

        for (;;) {
                u32 type = (u32)read_n(p, 4), len = (u32)read_n(p + 4, 4);
                if (type == 0)
                        break;
                show_record(type, len, p + 8, f);
                if (type == 3)
                        show_first_bytes(read_n(p + 8, len));
                p += 8 + ((len + sizeof(word) - 1) & ~(word)(sizeof(word) - 1));
        }
        put("end:");
        put_field("kernend", f->kernend == ((p + 8 + 4095) & ~4095ull));
        put_line();
}

#ifdef __x86_64__
static void
arguments(const struct entry *e, u64 *modulep, u64 *kernend)
{
        *modulep = read_n(e->sp + 4, 4);
        *kernend = read_n(e->sp + 8, 4);
}
#else
static void
arguments(const struct entry *e, u64 *modulep, u64 *kernend)
{
        u64 info = read_n(e->sp + 24, 4);

        put("stack:");
        put_field("return", read_n(e->sp, 4));
        put_field("howto", read_n(e->sp + 4, 4));
        put_field("bootdev", read_n(e->sp + 8, 4));
        put_field("fifth", read_n(e->sp + 20, 4));
        put_line();
        put("bootinfo:");
        put_field("version", read_n(info, 4));
        put_field("size", read_n(info + 48, 4));
        put_field("basemem", read_n(info + 56, 4));
        put_field("extmem", read_n(info + 60, 4));
        put_char(' ');
        put((const char *)at(read_n(info + 4, 4)));
        put_line();
        *modulep = read_n(info + 80, 4);
        *kernend = read_n(info + 72, 4);
        put("same:");
        put_field("modulep", *modulep == read_n(e->sp + 28, 4));
        put_field("kernend", *kernend == read_n(e->sp + 32, 4));
        put_line();
}
#endif

/* --- The end --- */

/* As an ACPI system does: waits for the power button's status bit, and clears it. */
static void
wait_for_buttons(u32 presses)
{
        out8(SMI_CMD, ACPI_ON);
        put("waiting for the button\r\n");
        while (presses--) {
                while (!(in16(PM1A_STS) & PM1_BUTTON))
                        ;
                out16(PM1A_STS, PM1_BUTTON);
                put("button\r\n");
        }
}

static void
end(int ask)
{
        while (ask) {
                put("end? ");
                switch (get_char()) {
                case 'r':
                        out8(RESET, 6);
                        break;
                case 'h':
                        __asm__ volatile("cli; hlt");
                        break;
                case 't':
                        __asm__ volatile("lidt %0; ud2" : : "m"(*(const char (*)[16])zeroed));
                        break;
                case 'b':
                        wait_for_buttons(1);
                        ask = 0;
                        break;
                case 'B':
                        wait_for_buttons(2);
                        ask = 0;
                        break;
                case 'p':
                        ask = 0;
                        break;
                }
        }
        out16(PM1A_CNT, SLEEP_S5);
}

void kernel_main(word slide);

void
kernel_main(word slide)
{
        struct found f = {0};
        u64 modulep, kernend;
        int ask;

        put("width:");
        put_field("bits", sizeof(word) * 8);
        put_line();
        show_entry(&entry_state);
#ifdef __x86_64__
        check_page_tables();
#endif
        check_image();
        arguments(&entry_state, &modulep, &kernend);
        show_metadata(modulep, &f);
        put("kernend:");
        put_field("same", kernend == f.kernend);
        put_line();
        show_smap(f.smap, f.smap_len);
        ask = show_env(f.envp);
        if (f.ssym)
                check_symbols(f.ssym, f.esym);
        put("done: all read\r\n");
        end(ask);
}

/* What the loader is told about modules: this kernel is "kernel" in one version. */
struct mod_metadata {
        int version, type;
        const void *data;
        const char *name;
};

static const int kernel_version = 1004000;
static const struct mod_metadata kernel_module = {1, 3, &kernel_version, "kernel"};
static const void *const kernel_module_entry
    __attribute__((section("set_modmetadata_set"), used)) = &kernel_module;
