/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Entry of the 64-bit processor test guest: Multiboot, then long mode with the
 * first GiB mapped by 2 MiB pages, then main().  Interrupt stubs push a vector
 * and call trap(struct frame *).
 */
        .section .multiboot, "a"
        .long 0x1badb002, 0, -0x1badb002

        .section .boot, "ax"
        .code32
        .globl _start
_start: cli
        mov $stack_top, %esp
        mov $page_l3, %eax
        or $7, %eax
        mov %eax, page_l4
        mov $page_l2, %eax
        or $7, %eax
        mov %eax, page_l3
        mov $page_l2_high, %eax
        or $7, %eax
        mov %eax, page_l3 + 24 /* 3-4 GiB: the local APIC */
        xor %ecx, %ecx
1:      mov %ecx, %eax
        shl $21, %eax
        or $0x87, %eax
        mov %eax, page_l2(, %ecx, 8)
        add $0xc0000000, %eax
        mov %eax, page_l2_high(, %ecx, 8)
        inc %ecx
        cmp $512, %ecx
        jne 1b
        mov $page_l4, %eax
        mov %eax, %cr3
        mov $0x6a0, %eax /* PAE PGE OSFXSR OSXMMEXCPT */
        mov %eax, %cr4
        mov $0xc0000080, %ecx
        rdmsr
        or $0x901, %eax /* SCE LME NXE */
        wrmsr
        mov $0x80010033, %eax /* PG WP NE ET MP PE */
        mov %eax, %cr0
        lgdt gdt_pointer
        ljmp $0x08, $long_mode
        .code64
long_mode:
        mov $0x10, %eax
        mov %eax, %ds
        mov %eax, %es
        mov %eax, %ss
        mov $0x60, %eax
        call main
        ud2

        .text
common: push %rax; push %rcx; push %rdx; push %rbx; push %rbp; push %rsi; push %rdi
        push %r8; push %r9; push %r10; push %r11; push %r12; push %r13; push %r14; push %r15
        cld
        mov %rsp, %rdi
        call trap
        pop %r15; pop %r14; pop %r13; pop %r12; pop %r11; pop %r10; pop %r9; pop %r8
        pop %rdi; pop %rsi; pop %rbp; pop %rbx; pop %rdx; pop %rcx; pop %rax
        add $16, %rsp
        iretq

#include "stubs.inc"

/* uint64_t run_user(void *code, uint64_t cs, uint64_t stack): at CPL 3 until it does INT 0x80; its RAX. */
        .globl run_user, user_back
run_user:
        push %rbx; push %rbp; push %r12; push %r13; push %r14; push %r15
        mov %rsp, kernel_sp
        push $0x23
        push %rdx
        pushfq
        push %rsi
        push %rdi
        iretq
user_back:
        mov kernel_sp, %rsp
        pop %r15; pop %r14; pop %r13; pop %r12; pop %rbp; pop %rbx
        mov $0x10, %ecx
        mov %ecx, %ss
        ret

        .globl syscall_entry
syscall_entry:
        lea 0x1000(%rax), %rax
        sysretq

        .data
        .globl gdt, tss
        .balign 16
gdt:    .quad 0
        .quad 0x00af9b000000ffff /* 08 kernel 64-bit code */
        .quad 0x00cf93000000ffff /* 10 kernel data */
        .quad 0x00cffb000000ffff /* 18 user 32-bit code */
        .quad 0x00cff3000000ffff /* 20 user data */
        .quad 0x00affb000000ffff /* 28 user 64-bit code */
        .quad 0, 0               /* 30 TSS */
        .quad 0, 0               /* 40 for a test */
gdt_pointer:
        .word . - gdt - 1
        .quad gdt
        .balign 16
tss:    .skip 104
kernel_sp:
        .quad 0
        .bss
        .globl page_l4, page_l3, page_l2, page_l1, stack_top
        .balign 4096
page_l4: .skip 4096
page_l3: .skip 4096
page_l2: .skip 4096
page_l2_high: .skip 4096
page_l1: .skip 4096
        .skip 16384
stack_top:
        .section .note.GNU-stack, "", @progbits
