/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Mirrors: user memory of the guest, mapped where hot code reaches it by an addition.
 *
 * The linear addresses that 64-bit user code uses are cut into chunks of 4 GiB.  For each that hot code accesses
 * a vCPU reserves a window of host addresses, wide enough that whatever such code adds to an address
 * of the chunk stays within, and maps the guest's pages there as they are touched.  A table by bits 32 and up
 * of the address says how far away its window is, so that an access needs neither comparison nor flags:
 *
 *      rorx  r11, base, 32
 *      mov   r11d, r11d
 *      mov   r11, gs:[r11 * 8 + table]
 *      op    [base + r11 + disp]
 *
 * Where it is likely that a pointer leads to the same few chunks as most, tr_guess.c compares instead of looking up.
 *
 * What is not mapped faults.  The signal handler maps it, raises the guest's fault, or has the instruction done by
 * way of the TLB.  So a mirror is a TLB of its own: flushed with the others, of pages that may be accessed and need
 * nothing more (struct soft_tlb_entry).
 *
 * A page costs some five microseconds, so this is for code that runs long in the memory it has.  The ticker, and
 * interrupts, are samples of where the guest spends its time: an address space that they have found in user mode for long enough has
 * its code translated this way, each page until it faults too often (soft_code_sampled, soft_code_faulted).
 *
 * Only the vCPU's own thread touches its mirrors.
 */
#ifndef CPU_SOFT_MIRROR_H
#define CPU_SOFT_MIRROR_H

#include "cpu/soft/code.h"

struct aspace;
struct mirror; /* of one address space */

#define SOFT_MIRROR_SHIFT 32 /* log2 of a chunk */
#define SOFT_MIRROR_CHUNKS (1u << (47 - SOFT_MIRROR_SHIFT))
/*
 * The tables, from struct soft_cpu: entries for user addresses of 48 bits; what lies beyond the second is inaccessible.  What looks
 * into the first with bit 47 set finds an entry of the second, and no address that a processor accepts (target.c).
 */
#define SOFT_TARGET_TABLE ((sizeof(struct soft_cpu) + MEM_PAGE_SIZE - 1) & ~((uint64_t)MEM_PAGE_SIZE - 1))
#define SOFT_MIRROR_TABLE (SOFT_TARGET_TABLE + SOFT_MIRROR_CHUNKS * sizeof(uint64_t))
/* How much may have been added to a register since its window was looked up. */
#define SOFT_MIRROR_DRIFT (64 * MIB)
/* How far the stack pointer may move by one instruction without v->stack_mirror being looked up anew. */
#define SOFT_MIRROR_STACK_STEP (64 * KIB)

/* Room for struct soft_cpu, zeroed, and its tables.  NULL: no memory. */
struct soft_cpu *soft_mirror_cpu_alloc(void);
void soft_mirror_cpu_free(struct soft_cpu *v);

/* Whether this vCPU can have mirrors. */
bool soft_mirror_possible(const struct soft_cpu *v);
void soft_mirror_destroy(struct soft_cpu *v);
/* Says so, outside translated code, once the host has refused addresses for them. */
void soft_mirror_report(struct soft_cpu *v);

/* Whether hot user code of the current address space is to use them; then the tables are there. */
bool soft_mirror_wanted(struct soft_cpu *v);
/* The vCPU was found in user code, at st.rip; it is looked at every @ms milliseconds. */
void soft_mirror_sample(struct soft_cpu *v, unsigned ms);
/*
 * The same in @b, with the stack pointer at @rsp: in a signal handler that interrupted translated code.  False: there is more to do than
 * to count, and nothing has been done.
 */
bool soft_mirror_sample_running(struct soft_cpu *v, const struct soft_block *b, gva_t rsp, unsigned ms);

/* CR3 was loaded with @a, which is about to forget what it knows: perhaps another process; a->reloaded: the same. */
void soft_mirror_reload(struct soft_cpu *v, struct aspace *a);
/* The current address space is another. */
void soft_mirror_switch(struct soft_cpu *v, struct aspace *from, struct aspace *to);
/* Forgets what is mapped of @a: all, or what may be a translation of @address.  Outside translated code. */
void soft_mirror_flush(struct soft_cpu *v, struct aspace *a);
void soft_mirror_invalidate(struct soft_cpu *v, struct aspace *a, gva_t address);
/* Forgets what is mapped of @a, which is current, otherwise than its page tables say now. */
void soft_mirror_review(struct soft_cpu *v, struct aspace *a);
/* Whether the instruction at @pc, in translated code, loads what becomes v->stack_mirror; *ret_next: the next one. */
bool soft_mirror_loads_stack(const uint8_t *pc, const uint8_t **ret_next);
/* What v->stack_mirror is to be where the stack pointer is @rsp. */
uint64_t soft_mirror_of_stack(struct soft_cpu *v, gva_t rsp);
/* There is new code: takes away the right to write to it. */
void soft_mirror_watch(struct soft_cpu *v);

/*
 * Which of v->near is the chunk of @address, or becomes it; -1: none.  Outside translated code, as the next: code between
 * a check and an access takes them for constants.
 */
int soft_mirror_near(struct soft_cpu *v, gva_t address);
/* Chunks that have got a window may be near from now on. */
void soft_mirror_near_update(struct soft_cpu *v);
/* The number of @size bytes in user memory at @address, as a guess at what code will find there.  False: it cannot be had simply. */
bool soft_mirror_peek(struct soft_cpu *v, gva_t address, unsigned size, uint64_t *ret_value);

enum soft_mirror_answer {
        SOFT_MIRROR_AGAIN,   /* the access is to be made again */
        SOFT_MIRROR_PLAINLY, /* the instruction is to be done by way of the TLB */
        SOFT_MIRROR_RAISE,   /* v->event is what it raises */
        SOFT_MIRROR_ELSEWHERE, /* no access by a mirror is made there */
};

/*
 * An access of the instruction at st.rip in @b, which uses mirrors, faulted at host address @at.  In the signal handler;
 * st is complete.
 */
enum soft_mirror_answer soft_mirror_fault(struct soft_cpu *v, const struct soft_block *b, const uint8_t *at, bool write);

#endif
