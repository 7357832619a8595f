/* SPDX-License-Identifier: BSD-2-Clause */
/* What the parts of test guest cpu64 share. */
#ifndef GUEST_CPU64_H
#define GUEST_CPU64_H

#include "guest.h"

#define PAGE(n)  (0x40000000ul + (n) * 0x1000ul) /* linear addresses of 4 KiB pages for the tests */
#define FRAME(n) (0x800000ul + (n) * 0x1000ul)

#define P  1ul
#define W  2ul
#define U  4ul
#define A  0x20ul
#define D  0x40ul
#define NX (1ul << 63)

#define PF(error) (14ul << 32 | (error))
#define GP0       (13ul << 32)

struct fault {
        u64 count, vector, error, rip, cr2, dr6, rflags, rsp;
};

extern u64 page_l3[], page_l1[];
extern u64 page_l2_test[512]; /* of PAGE() */
extern u8 user_stack[8192];
extern struct fault last;
extern u64 resume; /* where a fault goes on; 0: where it was */

/* Maps PAGE(@page) by @entry. */
void map(unsigned page, u64 entry);
/* The vector of last << 32 and its error code; 0: there was no fault. */
u64 outcome(void);
/* Runs code at CPL 3 until it faults or INT 0x80; its RAX. */
u64 run_user(void *code, u64 cs, u64 stack);
/* The same of what lies at [@from, @end), at PAGE(10); last tells of its fault. */
u64 user(const u8 *from, const u8 *end, u64 cs);

/* cpu64_strings.c: string instructions.  How many checks failed. */
unsigned test_strings(void);
/* cpu64_user.c: what user code sees of memory.  How many checks failed. */
unsigned test_user_pages(void);

#define USER_CODE(name, text)                                                                      \
        extern const u8 name[], name##_end[];                                                      \
        __asm__(".pushsection .rodata\n" #name ": " text "\n" #name "_end:\n.popsection")

#define READS(name)                                                                                \
        static inline u64 read_##name(void)                                                               \
        {                                                                                          \
                u64 value;                                                                         \
                                                                                                   \
                __asm__ volatile("mov %%" #name ", %0" : "=r"(value));                             \
                return value;                                                                      \
        }

READS(cr0)
READS(cr2)
READS(cr3)
READS(cr4)
READS(dr6)
READS(dr7)

#endif
