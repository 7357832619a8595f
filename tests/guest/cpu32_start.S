/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Entry of the 32-bit processor test guest: Multiboot, flat protected mode
 * without paging, then main().  Interrupt stubs call trap(struct frame *).
 */
        .section .multiboot, "a"
        .long 0x1badb002, 0, -0x1badb002

        .section .boot, "ax"
        .code32
        .globl _start
_start: cli
        mov $stack_top, %esp
        lgdt gdt_pointer
        ljmp $0x08, $1f
1:      mov $0x10, %eax
        mov %eax, %ds
        mov %eax, %es
        mov %eax, %fs
        mov %eax, %gs
        mov %eax, %ss
        call main
        ud2

        .text
common: pushal
        push %ds
        push %es
        mov $0x10, %eax
        mov %eax, %ds
        mov %eax, %es
        cld
        push %esp
        call trap
        add $4, %esp
        pop %es
        pop %ds
        popal
        add $8, %esp
        iret

#include "stubs.inc"

/*
 * u32 run_at(u32 *frame, u32 words): enters what an IRET frame of so many words
 * describes; ends with EAX of the trap that sets its EIP to run_back.
 */
        .globl run_at, run_back
run_at: push %ebx
        push %ebp
        push %esi
        push %edi
        mov 20(%esp), %esi
        mov 24(%esp), %ecx
        mov %esp, kernel_sp
        lea -4(%esi, %ecx, 4), %esi
1:      push (%esi)
        sub $4, %esi
        loop 1b
        xor %eax, %eax
        iret
run_back:
        mov $0x10, %ecx
        mov %ecx, %ds
        mov %ecx, %es
        mov %ecx, %fs
        mov %ecx, %gs
        mov %ecx, %ss
        mov kernel_sp, %esp
        pop %edi
        pop %esi
        pop %ebp
        pop %ebx
        ret

/* A call gate's target: the sum of its two parameters. */
        .globl gate_target
gate_target:
        mov 8(%esp), %eax
        add 12(%esp), %eax
        lret $8

/* u32 in_16_bit_code(void): calls code in a 16-bit segment. */
        .globl in_16_bit_code
in_16_bit_code:
        xor %eax, %eax
        lcall $0x40, $code16
        ret
        .code16
code16: mov $0x1234, %ax
        add $0x1111, %ax
        lretl

/*
 * u32 in_real_mode(void): to real mode, through an interrupt of the vector
 * table, and back; what the handler left in EAX.  Its code is copied to 0x7000.
 */
        .code32
        .globl in_real_mode, real_start, real_end
in_real_mode:
        push %ebx
        push %ebp
        push %esi
        push %edi
        pushf
        mov %esp, kernel_sp
        sidt idt_saved
        ljmp $0x40, $0x7000
back:   mov $0x10, %ecx
        mov %ecx, %ds
        mov %ecx, %es
        mov %ecx, %fs
        mov %ecx, %gs
        mov %ecx, %ss
        mov kernel_sp, %esp
        lidt idt_saved
        popf
        pop %edi
        pop %esi
        pop %ebp
        pop %ebx
        ret
        .code16
real_start:
        mov $0x48, %cx
        mov %cx, %ds
        mov %cx, %ss
        lidtl real_idt - real_start + 0x7000
        mov %cr0, %ecx
        and $~1, %ecx
        mov %ecx, %cr0
        ljmp $0, $(1f - real_start + 0x7000)
1:      xor %cx, %cx
        mov %cx, %ds
        mov %cx, %es
        mov %cx, %ss
        mov $0x6ff0, %sp
        movw $(real_handler - real_start + 0x7000), 0x60 * 4
        movw $0, 0x60 * 4 + 2
        xor %eax, %eax
        int $0x60
        mov %cr0, %ecx
        or $1, %ecx
        mov %ecx, %cr0
        ljmpl $0x08, $back
real_handler:
        mov $0x5ea1, %ax
        iret
real_idt:
        .word 0x3ff
        .long 0
real_end:

        .data
        .globl gdt, tss
        .balign 16
gdt:    .quad 0
        .quad 0x00cf9b000000ffff /* 08 kernel code */
        .quad 0x00cf93000000ffff /* 10 kernel data */
        .quad 0x00cffb000000ffff /* 18 user code */
        .quad 0x00cff3000000ffff /* 20 user data */
        .quad 0                  /* 28 TSS */
        .quad 0                  /* 30 under test */
        .quad 0                  /* 38 call gate */
        .quad 0x008f9b000000ffff /* 40 16-bit code */
        .quad 0x0000930000000000 + 0xffff /* 48 real-mode-like data */
gdt_pointer:
        .word . - gdt - 1
        .long gdt
        .balign 16
tss:    .skip 104 + 32 + 8193
kernel_sp:
        .long 0
idt_saved:
        .skip 8
        .bss
        .balign 16
        .skip 16384
stack_top:
        .section .note.GNU-stack, "", @progbits
