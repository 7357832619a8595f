/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The smallest guest: a Multiboot kernel that prints two lines on COM1 and
 * powers off by ACPI's PM1a control register (S5: SLP_TYP 5, SLP_EN).
 */
#define COM1       0x3f8
#define PM1A_CNT   0x404
#define SLEEP_S5   0x3400

        .section .multiboot, "a"
        .long 0x1badb002, 0, -0x1badb002

        .text
        .code32
        .globl _start
_start:
        mov $text, %esi
next:   lodsb
        test %al, %al
        jz off
        mov %al, %cl
wait:   mov $COM1 + 5, %dx
        in %dx, %al
        test $0x20, %al
        jz wait
        mov $COM1, %dx
        mov %cl, %al
        out %al, %dx
        jmp next
off:    mov $PM1A_CNT, %dx
        mov $SLEEP_S5, %ax
        out %ax, %dx
halt:   hlt
        jmp halt
text:   .asciz "bhyve's own guest: hello from 32-bit protected mode\r\nbhyve's own guest: powering off\r\n"
        .section .note.GNU-stack, "", @progbits
