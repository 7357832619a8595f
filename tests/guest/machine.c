/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Says what machine this is, for a comparison of engines: CPUID, PCI functions with their configuration
 * space, and the firmware's tables.  Each is a line "is WHAT VALUE"; ends as platform.c does.
 */
#include "long.h"
#include "virtio.h"

void
trap(struct frame *f)
{
        stray_exception(f);
}

static void
put_hex32(u32 value)
{
        for (int shift = 28; shift >= 0; shift -= 4)
                put_char("0123456789abcdef"[value >> shift & 15]);
}

static void
say(const char *what, u32 which, u32 value)
{
        put("is ");
        put(what);
        put(" ");
        put_hex32(which);
        put(" ");
        put_hex32(value);
        put("\r\n");
}

#define HASH_START 2166136261u

/* FNV-1a, by 32 bits at a time. */
static u32
hash(u32 so_far, u32 value)
{
        return (so_far ^ value) * 16777619u;
}

static u32
read32(u32 at)
{
        return *(volatile u32 *)(word)at;
}

/* Of @length bytes rounded up to 4. */
static u32
hash_memory(u32 from, u32 length)
{
        u32 value = HASH_START;

        for (u32 i = 0; i < length; i += 4)
                value = hash(value, read32(from + i));
        return value;
}

/* All but features, of which an engine cannot do all, and the frequency, which is measured anew each time. */
static void
say_cpuid(void)
{
        static const struct {
                u32 leaf, subleaf, registers;
        } what[] = { { 0, 0, 4 }, { 1, 0, 2 }, { 4, 0, 4 }, { 4, 3, 4 }, { 0xb, 0, 4 }, { 0xb, 1, 4 }, { 0x40000000, 0, 4 },
                { 0x80000000, 0, 4 }, { 0x80000002, 0, 4 }, { 0x80000003, 0, 4 }, { 0x80000004, 0, 4 }, { 0x80000008, 0, 1 } };

        for (unsigned i = 0; i < sizeof(what) / sizeof(what[0]); i++) {
                u32 r[4] = { what[i].leaf, 0, what[i].subleaf, 0 };

                __asm__ volatile("cpuid" : "+a"(r[0]), "=b"(r[1]), "+c"(r[2]), "=d"(r[3]));
                for (u32 n = 0; n < what[i].registers; n++)
                        say("cpuid", (what[i].leaf & 0xf00000ff) | what[i].subleaf << 16 | n << 20, r[n]);
        }
}

static void
say_pci(void)
{
        for (u32 slot = 0; slot < 32; slot++) {
                u32 value = HASH_START;

                if (pci_read(slot, 0) == 0xffffffff)
                        continue;
                for (unsigned offset = 0; offset < 256; offset += 4)
                        value = hash(value, pci_read(slot, offset));
                say("pci", slot << 16 | pci_read(slot, 0) >> 16, value);
        }
}

/* RSDP, XSDT or RSDT, and what they name, which are below 4 GiB; ACPI 6.4, 5.2.5. */
static void
say_acpi(void)
{
        u32 rsdp = 0xe0000, root, entry_bytes;

        while (rsdp < 0x100000 && (read32(rsdp) != 0x20445352 || read32(rsdp + 4) != 0x20525450))
                rsdp += 16;
        if (rsdp == 0x100000) {
                check("acpi-is-there", 0, 1);
                return;
        }
        entry_bytes = *(volatile u8 *)(word)(rsdp + 15) >= 2 ? 8 : 4;
        root = read32(rsdp + (entry_bytes == 8 ? 24 : 16));
        say("acpi", read32(root), hash_memory(root, read32(root + 4)));
        for (u32 at = root + 36; at < root + read32(root + 4); at += entry_bytes) {
                u32 table = read32(at);

                say("acpi", read32(table), hash_memory(table, read32(table + 4)));
        }
}

int
main(void)
{
        mask_pic();
        fill_idt();
        say_cpuid();
        say_pci();
        say_acpi();
        say("bios-area", 0xf0000, hash_memory(0xf0000, 0x10000)); /* MP table and SMBIOS are there as well */
        end();
}
