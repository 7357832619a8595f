/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The soft engine's own state and the calls between its parts.
 * doc/soft-cpu.md explains the whole.
 *
 * While a vCPU runs, the guest's x87, MMX, SSE and AVX registers stay in the
 * host's.  So code here and in src/x86 is compiled for general registers only,
 * and calls no function of the C library that could touch a vector register:
 * soft_fpu_put() saves them first, before anything outside (devices, malloc) is called.
 *
 * A C helper called from translated code, directly or not, may end at any point by
 * soft_raise(), which unwinds to the dispatcher.  It holds no lock then and
 * has changed no state that the faulting instruction must leave alone.
 */
#ifndef CPU_SOFT_SOFT_H
#define CPU_SOFT_SOFT_H

#include "cpu/cpu.h"
#include "mem/mem.h"
#include "x86/decode.h"
#include "x86/paging.h"
#include "x86/state.h"

/* The compiler may emit calls to these for plain C; libc's would use vector registers. */
void *memcpy(void *dst, const void *src, size_t n) __asm__("soft_memcpy");
void *memmove(void *dst, const void *src, size_t n) __asm__("soft_memmove");
void *memset(void *dst, int c, size_t n) __asm__("soft_memset");
int memcmp(const void *a, const void *b, size_t n) __asm__("soft_memcmp");

struct soft_engine;
struct soft_block;
struct soft_aspace;

/* What a vCPU counts, for soft.stats. */
enum soft_count {
        SOFT_COUNT_ENTRIES,      /* into translated code, from the dispatcher */
        SOFT_COUNT_LOOKUPS,      /* jumps that missed the jump cache */
        SOFT_COUNT_INDIRECT,     /* of them, indirect ones and returns */
        SOFT_COUNT_TARGETS,      /* and jumps that their target map did not lead to code */
        SOFT_COUNT_TARGET_PAGES, /* of those maps that came into use */
        SOFT_COUNT_LINKS,        /* exits that asked to be linked */
        SOFT_COUNT_SLOW_READ,    /* data accesses that missed the TLB */
        SOFT_COUNT_SLOW_WRITE,
        SOFT_COUNT_SLOW_STACK,   /* and the stack window */
        SOFT_COUNT_FILLS,        /* page walks for data */
        SOFT_COUNT_BOUNCES,      /* accesses by way of a bounce buffer */
        SOFT_COUNT_FETCH_FILLS,  /* page walks for code */
        SOFT_COUNT_STRADDLES,    /* blocks sent to their variant without shared stack checks and guesses */
        SOFT_COUNT_HELPERS,      /* instructions done in C */
        SOFT_COUNT_IO,           /* accesses to ports */
        SOFT_COUNT_MMIO,         /* accesses to devices by memory */
        SOFT_COUNT_EXCEPTIONS,   /* delivered, and INT n */
        SOFT_COUNT_INTERRUPTS,   /* delivered, and NMIs */
        SOFT_COUNT_KICKS,        /* times that another thread or a device got it out of translated code */
        SOFT_COUNT_SWITCHES,     /* of the address space */
        SOFT_COUNT_JUMP_FLUSHES, /* jump caches emptied */
        SOFT_COUNT_MIRROR_FAULTS, /* accesses by mirrors that faulted */
        SOFT_COUNT_MIRROR_MAPS,   /* pages mapped in them */
        SOFT_COUNT_MIRROR_UNMAPS, /* and unmapped one by one */
        SOFT_COUNT_MIRROR_FLUSHES, /* mirrors emptied */
        SOFT_COUNT_CHECKED,      /* blocks run twice and compared, for soft.check */
        SOFT_COUNT_NOT_JUDGED,   /* and not compared, because they could not be done twice */
        SOFT_COUNTS,
};

/* One exception or interrupt to deliver. */
enum soft_event_kind {
        SOFT_EV_NONE,
        SOFT_EV_EXCEPTION, /* raised by the processor: may combine to a double fault */
        SOFT_EV_INTR,      /* external interrupt */
        SOFT_EV_NMI,
        SOFT_EV_SOFT_INT,  /* INT n: DPL check, rip already after the instruction */
        SOFT_EV_SOFT_EXC,  /* INT3 and INTO: DPL check, not subject to VME redirection */
        SOFT_EV_PRIV_EXC,  /* INT1: no DPL check */
};

struct soft_event {
        uint8_t kind;
        uint8_t vector;
        bool has_error;
        uint32_t error;
};

/* A chunk of linear addresses that blocks guess a register to point into, and what to add for its mirror; see mirror.h. */
struct soft_near {
        uint64_t number; /* of 32 bits */
        uint64_t delta;
};

#define SOFT_NEARS 7

struct soft_cpu {
        struct x86_state st; /* first: translated code addresses it as gs:[offset] */

        /* What translated code uses; translate.c and thunk.c explain the protocol of each. */
        struct soft_cpu *self;
        uint64_t next_rip;    /* SYSTEM helpers: where to go on */
        uint32_t flags_saved; /* LAHF byte in bits 8-15, OF in bit 0 */
        uint32_t kick;        /* non-zero: leave translated code at the next check (any thread sets it) */
        struct soft_tlb_entry *tlb; /* data TLB of the current address space and privilege */
        uint32_t tlb_mask;    /* of an index into it, times the size of an entry */
        uint32_t window_refused; /* SOFT_TLB_*: such pages never become the stack window */
        struct soft_tlb_entry *tlb_kernel, *tlb_access; /* at CPL 0: with RFLAGS.AC clear, and set */
        uint64_t stack_tag;   /* linear address of the page that stack_host maps, or SOFT_STACK_NONE */
        uint64_t stack_host;
        uint64_t stack_delta; /* stack_host - stack_tag */
        int32_t window_credit; /* how many stack accesses elsewhere it takes to move the window */
        uint64_t seg_base[X86_SREG_COUNT]; /* copies of st.seg[].base, for translated code */
        uint64_t host_sp;     /* the thread's stack: for C, and to unwind to */
        uint64_t thunk_return; /* where the running thunk goes back to */
        struct soft_jump *jump_cache; /* what indirect jumps look in: jumps, or an empty one after a kick */
        struct soft_jump *jumps;      /* of the current address space and privilege */
        gva_t code_page;      /* linear page of the running block, if that has SOFT_MODE_MOVES */
        uint32_t fpu_trap;    /* non-zero while CR0.TS or EM make FPU instructions trap */
        uint32_t mode;        /* key of blocks that fit the present mode: SOFT_MODE_* */
        uint32_t bounce_kind; /* how the last slow access ends, enum in access.c; 0: at the pointer returned */
        uint32_t targets_full; /* target maps grow no more: what they do not have may be in the jump cache */
        uint32_t intr_hint;   /* an interrupt may be waiting (any thread sets it) */
        uint64_t scratch[4];
        uint64_t group_host[8]; /* host addresses that a block has checked, see tr_group.c */
        struct soft_near near[SOFT_NEARS]; /* of the current address space */
        uint64_t stack_mirror; /* what to add to addresses near RSP for their mirror, in user code that uses mirrors; see tr_stack.c */

        uint64_t count[SOFT_COUNTS];  /* only the vCPU's own thread writes; others may read a moment's value */
        uint64_t exits[CPU_EXIT_COUNT]; /* the same, by reason */
        struct soft_event event;      /* raised and not yet delivered */
        struct soft_event delivering; /* being delivered: a further fault combines with it */
        bool fpu_live;        /* the guest's FPU state is in the host's registers, not in st.xsave */
        bool watching;        /* accesses to data are watched: see soft_watch */
        bool align_checks;    /* CR0.AM and RFLAGS.AC at CPL 3; then `watching` too, so that every access comes by C */
        bool checking;        /* plainly: memory is reached through soft_check_read and soft_check_write only */
        bool one_block;       /* being checked: leave behind this block */
        bool targets_closed;  /* jumps by target maps lead to C */
        struct cpu_exit exit;

        unsigned id;
        struct soft_engine *engine;
        bool entered_handler; /* by INT n and the like, which no single-step trap follows */
        bool exit_on_pause;
        bool ignore_unknown_msrs;
        struct guest_mem *mem;
        uint8_t *mem_base;
        const struct cpu_env *env;
        const struct x86_cpu_model *model;
        uint64_t features; /* what instructions the model offers, 1 << enum x86_feature */
        struct soft_mmu *mmu;   /* private to mmu.c and access.c */
        struct mirrors *mirrors; /* private to mirror.c; NULL until the first access by one */
        size_t reserved_bytes;  /* of host addresses, from here */
        struct soft_run *run;   /* see run.h */
        struct soft_check *check; /* private to check.c; NULL without soft.check */
        struct tr *tr;          /* the translator's working state */
};

/* ---- unwinding ---- */

/* Raises an exception of the current instruction (st.rip is its address). */
_Noreturn void soft_raise(struct soft_cpu *v, unsigned vector);
_Noreturn void soft_raise_error(struct soft_cpu *v, unsigned vector, uint32_t error);
/* #PF: sets CR2. */
_Noreturn void soft_raise_pf(struct soft_cpu *v, gva_t address, uint32_t error);
/* Leaves cpu_run() with v->exit, which the caller has filled in; st is what the guest resumes with. */
_Noreturn void soft_exit(struct soft_cpu *v);

/* ---- memory, access.c: by linear address; they raise #PF, and reach MMIO ---- */

/* How an access is checked. */
enum soft_access {
        SOFT_ACC_DATA, /* at the current CPL, SMAP as RFLAGS.AC says */
        SOFT_ACC_SYS,  /* implicit supervisor access: GDT, IDT, TSS; SMAP applies whatever AC says */
        SOFT_ACC_USER, /* as CPL 3 */
};

static inline bool
soft_canonical(const struct soft_cpu *v, gva_t address)
{
        unsigned shift = v->st.cr4 & X86_CR4_LA57 ? 7 : 16;

        return (gva_t)((int64_t)(address << shift) >> shift) == address;
}

uint64_t soft_ld(struct soft_cpu *v, gva_t address, unsigned size, enum soft_access how);
void soft_st(struct soft_cpu *v, gva_t address, unsigned size, uint64_t value, enum soft_access how);
/* Any length: every page is checked before a byte is written. */
void soft_ld_bytes(struct soft_cpu *v, gva_t address, void *buf, size_t len, enum soft_access how);
void soft_st_bytes(struct soft_cpu *v, gva_t address, const void *buf, size_t len, enum soft_access how);
/* Raises what a write to the range would raise; changes nothing but accessed and dirty bits. */
void soft_probe_write(struct soft_cpu *v, gva_t address, size_t len, enum soft_access how);
/* Raises #AC if @address is no multiple of @alignment and that is checked. */
void soft_check_alignment(struct soft_cpu *v, gva_t address, unsigned alignment);

/*
 * Host address for an access of @size bytes that does not cross a page and is RAM, for atomic
 * read-modify-write; NULL where it is MMIO, ROM, crosses a page or holds translated code being watched.
 */
void *soft_host_rw(struct soft_cpu *v, gva_t address, unsigned size, enum soft_access how);

/* The same for reading only, RAM or ROM. */
void *soft_host_read(struct soft_cpu *v, gva_t address, unsigned size);

/* A kick in the middle of a block; what is done plainly, to be compared, goes on to the block's end. */
static inline bool
soft_must_leave(const struct soft_cpu *v)
{
        return v->kick && !v->checking;
}

/* debug.c: an access to watched memory?  Called for each while v->watching. */
void soft_watch(struct soft_cpu *v, gva_t address, uint64_t len, bool write);

/* check.c, while v->checking: memory as the instructions done so far would have left it. */
void soft_check_read(struct soft_cpu *v, gpa_t gpa, void *buf, unsigned len);
void soft_check_write(struct soft_cpu *v, gpa_t gpa, const void *buf, unsigned len);
/* An instruction that C does is next, or a device would be accessed: gives up what cannot be done twice. */
void soft_check_helper(struct soft_cpu *v, const struct x86_insn *insn);
_Noreturn void soft_check_give_up(struct soft_cpu *v);
/* Any time: the block is left in the middle. */
void soft_check_interrupted(struct soft_cpu *v);
/* mmu.c: between these, v->checking; the TLBs and stack windows are what they were afterwards. */
void soft_mmu_check_begin(struct soft_cpu *v);
void soft_mmu_check_end(struct soft_cpu *v);

/* ---- TLB, mmu.c ---- */
void soft_tlb_flush_all(struct soft_cpu *v);        /* global entries too, every PCID */
void soft_tlb_flush_nonglobal(struct soft_cpu *v);  /* the current PCID's non-global entries */
void soft_tlb_flush_pcid(struct soft_cpu *v, unsigned pcid);
void soft_tlb_flush_all_nonglobal(struct soft_cpu *v); /* INVPCID type 3: every PCID */
void soft_tlb_invlpg(struct soft_cpu *v, gva_t address); /* the current PCID, and global entries */
void soft_tlb_inv_address(struct soft_cpu *v, unsigned pcid, gva_t address);
/* After CR3 was written (st.cr3 is new already, without bit 63): @keep is bit 63 of the written value. */
void soft_tlb_switch(struct soft_cpu *v, bool keep);

/* ---- mode, run.c ---- */
/*
 * After a change of CR0, CR4, EFER, CPL, CS, SS, segment registers or RFLAGS.TF/VM/AC by other than an
 * instruction marked X86_OD_END (after those the dispatcher calls it itself).
 */
void soft_mode_update(struct soft_cpu *v);
/* After RFLAGS.AC changed by STAC or CLAC. */
void soft_ac_update(struct soft_cpu *v);
/* CPUID may have changed what instructions exist, or breakpoints did: forget all translations of this engine. */
void soft_code_flush(struct soft_cpu *v);

/* ---- FPU ---- */
void soft_fpu_put(struct soft_cpu *v); /* host registers to st.xsave; no effect if not live */
void soft_fpu_get(struct soft_cpu *v); /* st.xsave to host registers; no effect if live */

/* ---- exc.c: delivery through IDT or IVT, and returns ---- */
/*
 * Pushes the frame and enters the handler: all modes, IST, privilege change, virtual-8086, task gates.
 * Faults on the way are raised (the dispatcher combines them with v->delivering).
 * st.rip is the address to push.
 */
void soft_deliver(struct soft_cpu *v, const struct soft_event *event);
/*
 * SDM 3A table 6-5: what @second, raised while @first was being delivered, amounts to.
 * False: triple fault.
 */
bool soft_combine(const struct soft_event *first, const struct soft_event *second, struct soft_event *ret);

/* ---- sys*.c: X86_CLASS_SYSTEM ---- */
/*
 * Executes @insn, which stands at st.rip; all of st is current (flags merged, FPU live).
 * Sets v->next_rip to where execution goes on (set to rip + len before the call).
 */
void soft_sys(struct soft_cpu *v, const struct x86_insn *insn);

/*
 * Linear address of @size bytes at @seg:@offset, checked for type, limit and canonical form;
 * raises #SS(0) for SS, else #GP(0).  @access: X86_ACC_*.
 */
gva_t soft_linear(struct soft_cpu *v, unsigned seg, uint64_t offset, unsigned size, unsigned access);
/* Offset part of the ModRM operand, wrapped to the address size; @rip_next for RIP-relative. */
uint64_t soft_ea(struct soft_cpu *v, const struct x86_insn *insn, uint64_t rip_next);

/* Loads a segment register as MOV Sreg does (not CS), in any mode; raises. */
void soft_load_sreg(struct soft_cpu *v, unsigned sreg, uint16_t selector);
/* Writes that have side effects: CR0, CR3, CR4, CR8, EFER; raise #GP on reserved bits. */
void soft_write_cr(struct soft_cpu *v, unsigned cr, uint64_t value);
/* MSRs: 0, or -1 for #GP. */
int soft_rdmsr(struct soft_cpu *v, uint32_t msr, uint64_t *ret_value);
int soft_wrmsr(struct soft_cpu *v, uint32_t msr, uint64_t value);

#endif
