/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What a kernel needs of the machine around the processor: port and MMIO exits, the I/O APIC's
 * edges and levels, the PICs, timers, HLT, NMIs, a virtio device with MSI-X in slot 4, a second
 * processor and interrupts between the two, x2APIC mode, reset.  In long mode, with instructions that software KVM can emulate too.
 * Output as guest.h says; ends by a reset (bhyve's status 0), or through the exit port if
 * something failed.
 */
#include "long.h"
#include "virtio.h"

#define IOAPIC ((volatile u32 *)0xfec00000)
#define MMIO   0xff000000ul /* pc-testdev's memory */
#define LATCH  0xe0
#define LINE   0x2000 /* + GSI */

#define ICR_SELF   0x40000u
#define ICR_OTHERS 0xc0000u
#define ICR_NMI    0x400u
#define ICR_INIT   0x4500u
#define ICR_SIPI   0x4600u
#define EXTINT     0x700u
#define MASKED     0x10000u
#define DEADLINE   0x40000u
#define RTE_LEVEL  0x8000u
#define RTE_REMOTE 0x4000u

#define MSR_APIC_BASE 0x1b
#define MSR_DEADLINE  0x6e0
#define MSR_X2APIC    0x800

#define PIT_PIN    2
#define LEVEL_PIN  20
#define PIC_VECTOR 0x30
#define AP_CODE    0x8000ul

enum { VECTOR_NMI = 2, VECTOR_GP = 13, VECTOR_TIMER = 0x40, VECTOR_PIT, VECTOR_SELF, VECTOR_PING, VECTOR_PONG, VECTOR_RND, VECTOR_MOVED, VECTOR_PING_ALL, VECTOR_LEVEL = 0x60 };

extern u8 ap_start[], ap_end[];
extern u64 page_l4[];

static volatile u32 ap_runs, ap_cr0;
static volatile u32 taken_by; /* APIC id of who took VECTOR_MOVED */
static int x2apic;
static int ended_early; /* an interrupt was not in service while its handler ran */
static u8 ap_stack[2][8192] __attribute__((aligned(16)));
u64 ap_stack_top;
static volatile u32 pinged[3]; /* by APIC id */
static volatile u64 resume_at; /* where to go on after a fault that a test expects; 0: none does */

static u64
rdtsc(void)
{
        u32 low, high;

        __asm__ volatile("rdtsc" : "=a"(low), "=d"(high));
        return low | (u64)high << 32;
}

static u32
cpuid_ecx(u32 leaf)
{
        u32 a = leaf, b, c = 0, d;

        __asm__ volatile("cpuid" : "+a"(a), "=b"(b), "+c"(c), "=d"(d));
        return c;
}

static void
end_of_interrupt(void)
{
        if (x2apic)
                wrmsr(MSR_X2APIC + 0xb, 0);
        else
                APIC[APIC_EOI] = 0;
        leave();
}

void
trap(struct frame *f)
{
        if (f->vector == VECTOR_MOVED) /* before it is counted, which is waited for */
                taken_by = APIC[APIC_ID] >> 24;
        count[f->vector]++;
        if (f->vector == VECTOR_NMI)
                return;
        if (f->vector < 32) {
                if (resume_at == 0)
                        stray_exception(f);
                f->rip = resume_at;
                resume_at = 0;
                return;
        }
        if (f->vector == PIC_VECTOR) {
                out8(0x20, 0x20);
                return;
        }
        if (f->vector == VECTOR_LEVEL && !(APIC[APIC_ISR + VECTOR_LEVEL / 32 * 4] >> VECTOR_LEVEL % 32 & 1))
                ended_early = 1;
        /* The first time the line stays up: the end of the interrupt must bring the next. */
        if (f->vector == VECTOR_LEVEL && count[VECTOR_LEVEL] == 2)
                out8(LINE + LEVEL_PIN, 0);
        if (f->vector == VECTOR_PING_ALL)
                pinged[APIC[APIC_ID] >> 24]++;
        if (f->vector == VECTOR_PING) {
                APIC[APIC_ICR_HI] = 0;
                APIC[APIC_ICR] = VECTOR_PONG;
        }
        end_of_interrupt();
}

static void
set_up(void)
{
        fill_idt();
        out8(0x21, 0xff);
        out8(0xa1, 0xff);
        out8(0x43, 0x30); /* mode 0, and no count: the timer that firmware started stops */
        APIC[APIC_SVR] = 0x1ff;
        APIC[APIC_LINT0] = MASKED;
        APIC[APIC_DIVIDE] = 0xb; /* by 1 */
}

/* Room for what must not come. */
static void
let_in(void)
{
        for (unsigned i = 0; i < 20; i++) {
                __asm__ volatile("sti; nop" ::: "memory");
                leave();
                __asm__ volatile("cli" ::: "memory");
        }
}

static void
test_ports(void)
{
        u8 text[4] = { 1, 2, 3, 4 };
        const u8 *from = text;
        word n = sizeof(text);
        u32 value;

        out8(LATCH, 0x5a);
        check("port-8", in8(LATCH), 0x5a);
        __asm__ volatile("outl %0, %w1" : : "a"(0x12345678), "Nd"(LATCH));
        __asm__ volatile("inl %w1, %0" : "=a"(value) : "Nd"(LATCH));
        check("port-32", value, 0x12345678);
        __asm__ volatile("inw %w1, %w0" : "=a"(value) : "Nd"(LATCH));
        check("port-16", value & 0xffff, 0x5678);
        __asm__ volatile("rep outsb" : "+S"(from), "+c"(n) : "d"(LATCH) : "memory");
        check("port-string-count", (word)(from - text) << 8 | n, 4 << 8);
        check("port-string", in8(LATCH), 4);
}

static void
test_mmio(void)
{
        *(volatile u64 *)(MMIO + 0x10) = 0x1122334455667788;
        check("mmio-64", *(volatile u64 *)(MMIO + 0x10), 0x1122334455667788);
        *(volatile u32 *)(MMIO + 0x10) = 0xaabbccdd;
        *(volatile u16 *)(MMIO + 0x14) = 0xeeff;
        *(volatile u8 *)(MMIO + 0x17) = 0;
        check("mmio-parts", *(volatile u64 *)(MMIO + 0x10), 0x0022eeffaabbccdd);
        check("mmio-8", *(volatile u8 *)(MMIO + 0x11), 0xcc);
}

static void
test_timers(void)
{
        APIC[APIC_TIMER] = VECTOR_TIMER;
        APIC[APIC_INIT] = 1000000;
        wait_for(VECTOR_TIMER, 1);
        let_in();
        check("apic-timer-one-shot", count[VECTOR_TIMER], 1);
        APIC[APIC_TIMER] = VECTOR_TIMER | 0x20000;
        APIC[APIC_INIT] = 500000;
        wait_for(VECTOR_TIMER, 4);
        APIC[APIC_INIT] = 0;
        check("apic-timer-periodic", count[VECTOR_TIMER] >= 4, 1);
        let_in();
        if (!(cpuid_ecx(1) & 1u << 24)) {
                put("skip tsc-deadline: CPUID does not offer it\r\n");
                return;
        }
        count[VECTOR_TIMER] = 0;
        APIC[APIC_TIMER] = VECTOR_TIMER | DEADLINE;
        wrmsr(MSR_DEADLINE, rdtsc() + 5000000);
        check("tsc-deadline-armed", rdmsr(MSR_DEADLINE) != 0, 1);
        wait_for(VECTOR_TIMER, 1);
        let_in();
        check("tsc-deadline-fires-once", count[VECTOR_TIMER], 1);
        check("tsc-deadline-disarmed", rdmsr(MSR_DEADLINE), 0);
        APIC[APIC_TIMER] = MASKED;
}

static void
set_rte(unsigned pin, u32 low)
{
        IOAPIC[0] = 0x10 + 2 * pin + 1;
        IOAPIC[4] = 0; /* to APIC 0 */
        IOAPIC[0] = 0x10 + 2 * pin;
        IOAPIC[4] = low;
}

static u32
rte(unsigned pin)
{
        IOAPIC[0] = 0x10 + 2 * pin;
        return IOAPIC[4];
}

/* One interrupt in a millisecond: mode 0 of the 8254's counter 0. */
static void
start_pit(void)
{
        out8(0x43, 0x30);
        out8(0x40, 1193 & 0xff);
        out8(0x40, 1193 >> 8);
}

static void
test_ioapic(void)
{
        set_rte(PIT_PIN, VECTOR_PIT);
        start_pit();
        wait_for(VECTOR_PIT, 1);
        let_in();
        check("ioapic-edge", count[VECTOR_PIT], 1);
        set_rte(PIT_PIN, MASKED);

        set_rte(LEVEL_PIN, VECTOR_LEVEL | RTE_LEVEL);
        out8(LINE + LEVEL_PIN, 1);
        check("ioapic-level-remote-irr", rte(LEVEL_PIN) & RTE_REMOTE, RTE_REMOTE);
        wait_for(VECTOR_LEVEL, 2);
        let_in();
        check("ioapic-level-again-after-eoi", count[VECTOR_LEVEL] >= 2, 1);
        if (ended_early)
                put("skip ioapic-level-once-for-each-eoi: this processor ends interrupts before their handlers begin\r\n");
        else
                check("ioapic-level-once-for-each-eoi", count[VECTOR_LEVEL], 2);
        check("ioapic-level-remote-irr-cleared", rte(LEVEL_PIN) & RTE_REMOTE, 0);
        /* Another vector on the same pin, the line down before its end: it is noticed, and nothing more comes. */
        count[VECTOR_LEVEL] = 0;
        set_rte(LEVEL_PIN, (VECTOR_LEVEL + 1) | RTE_LEVEL);
        out8(LINE + LEVEL_PIN, 1);
        out8(LINE + LEVEL_PIN, 0);
        wait_for(VECTOR_LEVEL + 1, 1);
        let_in();
        check("ioapic-level-other-vector", count[VECTOR_LEVEL + 1] << 16 | (rte(LEVEL_PIN) & RTE_REMOTE), 1 << 16);
        set_rte(LEVEL_PIN, MASKED);
}

static void
test_pic(void)
{
        out8(0x20, 0x11);
        out8(0x21, PIC_VECTOR);
        out8(0x21, 4);
        out8(0x21, 1);
        out8(0x21, 0xfe); /* IRQ 0 */
        APIC[APIC_LINT0] = EXTINT;
        start_pit();
        wait_for(PIC_VECTOR, 1);
        let_in();
        check("pic-through-lint0", count[PIC_VECTOR], 1);
        APIC[APIC_LINT0] = EXTINT | MASKED;
        start_pit();
        APIC[APIC_TIMER] = VECTOR_TIMER;
        count[VECTOR_TIMER] = 0;
        APIC[APIC_INIT] = 3000000;
        wait_for(VECTOR_TIMER, 1);
        check("pic-held-by-lint0", count[PIC_VECTOR], 1);
        APIC[APIC_LINT0] = EXTINT;
        wait_for(PIC_VECTOR, 2);
        check("pic-comes-when-lint0-opens", count[PIC_VECTOR], 2);
        out8(0x21, 0xff);
        APIC[APIC_LINT0] = MASKED;
}

static void
test_messages(void)
{
        APIC[APIC_ICR] = ICR_SELF | VECTOR_SELF;
        let_in();
        check("self-ipi", count[VECTOR_SELF], 1);
        __asm__ volatile("mov %0, %%cr8" : : "r"(5ul));
        APIC[APIC_ICR] = ICR_SELF | VECTOR_SELF;
        let_in();
        check("cr8-holds", count[VECTOR_SELF], 1);
        __asm__ volatile("mov %0, %%cr8" : : "r"(0ul));
        let_in();
        check("cr8-lets-in", count[VECTOR_SELF], 2);
        APIC[APIC_ICR_HI] = 0;
        APIC[APIC_ICR] = ICR_NMI;
        leave();
        check("nmi-with-if-clear", count[VECTOR_NMI], 1);
}

static u8 rings[VIRTQ_BYTES] __attribute__((aligned(4096)));
static u8 random_bytes[16];
static struct virtio_device rnd_device;
static struct virtq rnd;

/* One more request for random bytes. */
static void
ask_rnd(void)
{
        virtq_describe(&rnd, 0, random_bytes, sizeof(random_bytes), VIRTQ_DEVICE);
        virtq_put(&rnd, 0);
}

/* The same, and waits for the answer in the ring, not for its interrupt. */
static void
ask_rnd_and_poll(void)
{
        ask_rnd();
        while (virtq_used(&rnd) != rnd.available[1])
                leave();
        leave();
}

static void
test_virtio(void)
{
        if (pci_read(4, 0) != 0x10051af4) {
                check("virtio-rnd-is-there", pci_read(4, 0), 0x10051af4);
                return;
        }
        virtio_open(&rnd_device, 4, 0x3000); /* away from the test device's lines */
        check("virtio-moved", pci_read(4, 0x10) & ~3u, 0x3000);
        virtq_open(&rnd, &rnd_device, 0, rings, VECTOR_RND);
        out8(rnd_device.port + VIRTIO_STATUS, 7);
        for (u16 i = 1; i <= 3; i++) {
                ask_rnd();
                wait_for(VECTOR_RND, i);
        }
        check("virtio-interrupts", count[VECTOR_RND], 3);
        check("virtio-used", virtq_used(&rnd) << 8 | rnd.used[2], 3 << 8 | sizeof(random_bytes));
}

static void
mask_all(u32 mask)
{
        u32 control = pci_read(4, rnd_device.msix_cap);

        pci_write(4, rnd_device.msix_cap, (control & ~MSIX_MASK_ALL) | mask);
}

/* As a driver moves an interrupt: the entry masked while it is rewritten, what came meanwhile sent from the new one. */
static void
test_msix(void)
{
        volatile u32 *entry = rnd_device.msix_table;

        entry[3] = 1;
        ask_rnd_and_poll();
        let_in();
        check("msix-masked-vector-waits", count[VECTOR_RND] << 4 | (rnd_device.msix_pending[0] & 1), 3 << 4 | 1);
        entry[2] = VECTOR_MOVED;
        entry[3] = 0;
        wait_for(VECTOR_MOVED, 1);
        let_in();
        check("msix-another-vector", count[VECTOR_MOVED] << 4 | (rnd_device.msix_pending[0] & 1), 1 << 4);
        ask_rnd();
        wait_for(VECTOR_MOVED, 2);
        mask_all(MSIX_MASK_ALL);
        ask_rnd_and_poll();
        let_in();
        check("msix-masked-function-waits", count[VECTOR_MOVED] << 4 | (rnd_device.msix_pending[0] & 1), 2 << 4 | 1);
        mask_all(0);
        wait_for(VECTOR_MOVED, 3);
        check("msix-first-processor", taken_by, 0);
        entry[3] = 1;
        entry[0] = 0xfee01000;
        entry[3] = 0;
        for (u32 i = 4; i <= 6; i++) {
                ask_rnd();
                while (count[VECTOR_MOVED] < i)
                        __asm__ volatile("pause" ::: "memory");
                check("msix-second-processor", taken_by, 1);
        }
        entry[0] = 0xfee00000;
        ask_rnd();
        wait_for(VECTOR_MOVED, 7);
        check("msix-first-processor-again", taken_by, 0);
        check("msix-old-vector", count[VECTOR_RND], 3);
        out8(rnd_device.port + VIRTIO_STATUS, 0);
}

/* Real mode at AP_CODE, then 32-bit, then long mode with the boot processor's tables. */
__asm__(".pushsection .data\n.balign 16\n.globl ap_start, ap_end\n"
        ".code16\n"
        "ap_start: cli; xor %ax, %ax; mov %ax, %ds\n"
        "       mov %cr0, %eax; mov %eax, %ebx\n"
        "       lgdtl 0x8000 + ap_gdt_pointer - ap_start\n"
        "       or $1, %al; mov %eax, %cr0\n"
        "       ljmpl $0x18, $0x8000 + 1f - ap_start\n"
        ".code32\n"
        "1:     mov $0x10, %eax; mov %eax, %ds; mov %eax, %es; mov %eax, %ss\n"
        "       mov $page_l4, %eax; mov %eax, %cr3\n"
        "       mov $0x6a0, %eax; mov %eax, %cr4\n"
        "       mov $0xc0000080, %ecx; rdmsr; or $0x901, %eax; wrmsr\n"
        "       mov $0x80010033, %eax; mov %eax, %cr0\n"
        "       ljmp $0x08, $0x8000 + 2f - ap_start\n"
        ".code64\n"
        "2:     mov ap_stack_top, %rsp; mov %ebx, %edi; mov $ap_main, %eax; call *%rax\n"
        ".balign 8\n"
        "ap_gdt: .quad 0, 0x00af9b000000ffff, 0x00cf93000000ffff, 0x00cf9b000000ffff\n"
        "ap_gdt_pointer: .word 31; .long 0x8000 + ap_gdt - ap_start\n"
        "ap_end:\n.popsection");

/* Answers pings for ever. */
__attribute__((noreturn)) void
ap_main(u32 cr0)
{
        load_idt();
        APIC[APIC_SVR] = 0x1ff;
        ap_cr0 = cr0;
        ap_runs = 1;
        for (;;)
                __asm__ volatile("sti; hlt" ::: "memory");
}

static void
start_ap(u32 id)
{
        ap_runs = 0;
        ap_stack_top = (u64)ap_stack[id];
        for (unsigned i = 0; ap_start + i < ap_end; i++)
                ((volatile u8 *)AP_CODE)[i] = ap_start[i];
        APIC[APIC_ICR_HI] = id << 24;
        APIC[APIC_ICR] = ICR_INIT;
        APIC[APIC_ICR_HI] = id << 24;
        APIC[APIC_ICR] = ICR_SIPI | AP_CODE >> 12;
        while (!ap_runs)
                __asm__ volatile("pause" ::: "memory");
}

static void
test_second_processor(void)
{
        start_ap(1);
        check("ap-starts-in-real-mode", ap_cr0 & 0x80000001, 0);
        for (u32 i = 1; i <= 10; i++) {
                APIC[APIC_ICR_HI] = 1u << 24;
                APIC[APIC_ICR] = VECTOR_PING;
                wait_for(VECTOR_PONG, i);
        }
        check("ipi-there-and-back", count[VECTOR_PING] << 16 | count[VECTOR_PONG], 10 << 16 | 10);
        APIC[APIC_ICR_HI] = 1u << 24;
        APIC[APIC_ICR] = ICR_NMI;
        while (count[VECTOR_NMI] < 2)
                __asm__ volatile("pause" ::: "memory");
        check("nmi-ends-the-other's-hlt", count[VECTOR_NMI], 2);
        start_ap(1);
        check("ap-starts-again", ap_runs, 1);
}

static void
test_third_processor(void)
{
        start_ap(2);
        check("third-processor-starts", ap_runs, 1);
        for (u32 i = 1; i <= 10; i++) {
                APIC[APIC_ICR] = ICR_OTHERS | VECTOR_PING_ALL;
                while (pinged[1] < i || pinged[2] < i)
                        __asm__ volatile("pause" ::: "memory");
        }
        check("ipi-to-all-others", pinged[0] << 16 | pinged[1] << 8 | pinged[2], 10 << 8 | 10);
}

/* Whether @instruction faults (SDM 2A: MOV to control registers, WRMSR); by #GP, for no other exception is pending. */
#define FAULTS(instruction, ...)                                                                    \
        ({                                                                                         \
                u32 before = count[VECTOR_GP];                                                     \
                __asm__ volatile("movq $1f, %0\n" instruction "\n1:" : "=m"(resume_at) : __VA_ARGS__ : "memory"); \
                resume_at = 0;                                                                     \
                count[VECTOR_GP] - before;                                                         \
        })

/* What the processor must refuse, SDM 3A 2.5 and 2A; the engine goes on. */
static void
test_impossible_state(void)
{
        u64 cr0, cr4;

        __asm__ volatile("mov %%cr0, %0" : "=r"(cr0));
        __asm__ volatile("mov %%cr4, %0" : "=r"(cr4));
        check("gp-paging-without-protection", FAULTS("mov %1, %%cr0", "r"(cr0 & ~1ull)), 1);
        check("gp-cr0-nw-without-cd", FAULTS("mov %1, %%cr0", "r"((cr0 & ~(1ull << 30)) | 1ull << 29)), 1);
        check("gp-cr4-reserved-bit", FAULTS("mov %1, %%cr4", "r"(cr4 | 1ull << 31)), 1);
        check("gp-cr4-no-pae-in-long-mode", FAULTS("mov %1, %%cr4", "r"(cr4 & ~0x20ull)), 1);
        check("gp-cr8-reserved-bit", FAULTS("mov %1, %%cr8", "r"(16ull)), 1);
        check("gp-efer-reserved-bit", FAULTS("wrmsr", "c"(0xc0000080), "a"(0x80000d01), "d"(0)), 1);
        check("gp-efer-lme-under-paging", FAULTS("wrmsr", "c"(0xc0000080), "a"(0x801), "d"(0)), 1);
        /* Not canonical with 57 bits either: what counts is what the processor can, not CR4.LA57. */
        check("gp-lstar-not-canonical", FAULTS("wrmsr", "c"(0xc0000082), "a"(0), "d"(0x2000000)), 1);
        check("gp-apic-base-reserved-bit", FAULTS("wrmsr", "c"(MSR_APIC_BASE), "a"(0xfee00a00), "d"(0)), 1);
        __asm__ volatile("mov %%cr0, %0" : "=r"(cr0));
        check("cr0-as-it-was", cr0, 0x80010033);
}

static void
test_x2apic(void)
{
        check("xapic-id", APIC[APIC_ID], 0);
        if (!(cpuid_ecx(1) & 1u << 21)) {
                put("skip x2apic: CPUID does not offer it\r\n");
                return;
        }
        wrmsr(MSR_APIC_BASE, rdmsr(MSR_APIC_BASE) | 0x400);
        x2apic = 1;
        check("x2apic-id", rdmsr(MSR_X2APIC + 2), 0);
        check("x2apic-ldr", rdmsr(MSR_X2APIC + 0xd), 1);
        wrmsr(MSR_X2APIC + 0x3f, VECTOR_SELF);
        let_in();
        check("x2apic-self-ipi", count[VECTOR_SELF], 3);
        wrmsr(MSR_X2APIC + 0x30, 1ull << 32 | ICR_NMI);
        while (count[VECTOR_NMI] < 3)
                __asm__ volatile("pause" ::: "memory");
        check("x2apic-icr", count[VECTOR_NMI], 3);
}

int
main(void)
{
        mask_pic();
        set_up();
        test_ports();
        test_mmio();
        test_timers();
        test_ioapic();
        test_pic();
        test_messages();
        test_virtio();
        test_second_processor();
        test_third_processor();
        test_impossible_state();
        test_msix();
        test_x2apic();
        end();
}
