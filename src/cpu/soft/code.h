/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The code cache: translated blocks, how they are found, linked and forgotten.
 *
 * A block is the translation of guest code at one guest-physical address, seen
 * at one linear address in one mode.  The cache is mapped twice, writable and
 * executable, and cut into regions that are filled one after the other, each
 * with code and descriptions growing upwards.  Before a region is used again
 * its blocks are unlinked, and every vCPU has left the code it was in then.
 * A block that self-modifying code kills is unlinked and left lying till then.
 *
 * Everything here is guarded by the engine's lock, except what the comments exempt.
 */
#ifndef CPU_SOFT_CODE_H
#define CPU_SOFT_CODE_H

#include "cpu/soft/soft.h"

#include <stdatomic.h>

/* Block keys, struct soft_cpu.mode. */
#define SOFT_MODE_BITS   0x003u /* enum x86_mode */
#define SOFT_MODE_SS32   0x004u /* SS.B, outside 64-bit mode */
#define SOFT_MODE_USER   0x008u /* CPL 3 */
#define SOFT_MODE_SEGS   0x010u /* DS, ES or SS is not flat, or unusable: every access is checked by a helper */
#define SOFT_MODE_STEP   0x020u /* one instruction a block */
#define SOFT_MODE_REAL   0x040u /* real or virtual-8086: no protected-mode instructions */
#define SOFT_MODE_NOSSE  0x080u /* CR4.OSFXSR clear or CR0.EM set */
#define SOFT_MODE_NOAVX  0x100u /* no YMM state in XCR0, or CR4.OSXSAVE clear */
#define SOFT_MODE_EM     0x200u /* CR0.EM */
#define SOFT_MODE_CPL12  0x400u /* CPL 1 or 2 */
#define SOFT_MODE_NOSHARE 0x1000u /* of a block only: every stack access is checked for itself, and nothing is guessed (tr_guess.c) */
#define SOFT_MODE_LARGE  0x800u /* of a block only: its code is mapped by a page of 2 MiB or more */
#define SOFT_MODE_MOVES  0x2000u /* of a block only: fits any linear page; translated code knows it by code_page */
#define SOFT_MODE_HEAD   0x8000u /* of a block only: backward jumps lead to it */
#define SOFT_MODE_MIRROR 0x4000u /* of a block only: accesses memory by mirrors, see mirror.h */

/* Whether loops of user code look at `kick` too, as ThreadSanitizer holds signals back. */
#ifdef SIGNALS_HELD_BACK
#define SOFT_USER_LOOKS true
#else
#define SOFT_USER_LOOKS false
#endif

struct soft_block;
struct soft_cover;

/* Linear address of the next instruction. */
static inline gva_t
soft_linear_rip(const struct soft_cpu *v)
{
        return v->mode & X86_MODE_64 ? v->st.rip : (uint32_t)(v->st.seg[X86_CS].base + v->st.rip);
}

/* A place in a block's code that jumps to a known guest address. */
struct soft_exit {
        struct soft_block *block;
        struct soft_block *to;        /* linked to it, or NULL */
        struct soft_exit *next_in;    /* of to->incoming */
        struct soft_exit **prev_in;   /* what points to this one there */
        struct soft_exit *next;       /* of block->exits */
        uint8_t *patch;               /* the 4-byte displacement, in the writable mapping */
        uint8_t *stub;                /* where it leads while not linked, executable mapping */
        uint8_t *turn;                /* of a loop's block: where its next turn starts, see tr_loop.c; NULL in others */
        gva_t target;
        bool flags_dead;              /* it does not hand over the arithmetic flags */
        bool flags_saved;             /* it hands them over in flags_saved */
        bool noshare;                 /* leads to the variant with SOFT_MODE_NOSHARE */
        bool backward;                /* leads to the variant with SOFT_MODE_HEAD */
};

#define SOFT_BLOCK_INSNS 48

/* Where a guest instruction of a block is. */
struct soft_place {
        uint16_t host;                /* its code, from entry */
        uint16_t guest;               /* from vaddr */
        int16_t stack;                /* the guest's RSP, from the host's */
};

struct soft_block {
        /* What soft_code_find looks at. */
        struct soft_block *hash_next;
        gpa_t paddr;
        gva_t vaddr;                  /* with SOFT_MODE_MOVES, one of those that it was seen at */
        gpa_t page[2];                /* guest-physical pages it was read from; page[1] is ~0 mostly */
        uint32_t mode;
        int32_t undo;                 /* what undoes the effect on RSP of the indirect branch at its end, if that faults */
        struct soft_block *page_next[2]; /* in the lists of page[0] and page[1] */
        struct soft_block **page_prev[2]; /* what points to this one there */
        uint16_t len;                 /* guest bytes, with those looked at ahead for flags */
        uint16_t ahead_start, ahead_end; /* more bytes looked at, offsets in page[0] */
        uint8_t insn_count;
        bool dead;
        bool raises;                  /* an exception behind its last instruction */
        bool indirect;                /* ends with an indirect branch */
        uint16_t checks;              /* how often it was checked */
        bool flags_in;                /* reads arithmetic flags that it did not set */
        uint8_t *entry;               /* executable; flags in the host's if flags_in */
        uint8_t *entry_saved;         /* the same, flags in flags_saved */
        uint8_t *entry_far;           /* the same, from another page: the guest's RIP is in R11 */
        uint32_t host_len;
        uint32_t cold_off;            /* where the cold paths start */
        uint64_t flags_host;          /* bit n: the flags are in the host's register where instruction n may fault */
        struct soft_exit *incoming;
        struct soft_exit *exits;
        struct soft_place *place;     /* insn_count of them */
};

/* One entry of a vCPU's cache of indirect jumps: linear address to entry_far. */
struct soft_jump {
        gva_t address; /* SOFT_JUMP_NONE(slot) in an empty one */
        uint8_t *code;
};

#define SOFT_CODE_ALIGN ((size_t)16) /* of the code of a block */
/* Of a block that moves and uses mirrors: where it is entered with flags in the host's, from entry_far; see target.h. */
#define SOFT_TARGET_ENTRY (2 * SOFT_CODE_ALIGN)

#define SOFT_JUMP_BITS 18
#define SOFT_JUMP_COUNT (1u << SOFT_JUMP_BITS)
/*
 * A jump is in its address's slot or in that one's neighbour, its pair: translated code looks into the first, a thunk
 * into the second.
 */
#define SOFT_JUMP_PAIR(slot) ((slot) ^ 1)
/* An address of another pair of slots: no address looked up in this one equals it, canonical or not. */
#define SOFT_JUMP_NONE(slot) ((gva_t)((slot) < 2) << (SOFT_JUMP_LOW + 1))

/*
 * Bits 2 and up, so that the return addresses of neighbouring calls differ, and to them the
 * page number over 4 is added, for functions start at multiples of 16.
 */
#define SOFT_JUMP_LOW   2
#define SOFT_JUMP_SHIFT 10

static inline unsigned
soft_jump_slot(gva_t address)
{
        return (unsigned)((address >> SOFT_JUMP_SHIFT) + (address << SOFT_JUMP_LOW)) / 16 & (SOFT_JUMP_COUNT - 1);
}

/* A futex lock that touches no vector register and that sanitizers understand. */
struct soft_lock {
        _Atomic uint32_t word; /* 0 free, 1 held, 2 held with waiters */
};

void soft_lock_acquire(struct soft_lock *lock);
/* FUTEX_WAIT or FUTEX_WAKE on a word of this process. */
void soft_futex(_Atomic uint32_t *word, int op, uint32_t value);
void soft_lock_release(struct soft_lock *lock);

/* A guest address that a thunk is told is a distance from code_page.  No address has bits 63 and 62 like that. */
#define SOFT_RIP_MOVES (1ull << 63)

/* Thunks: code emitted once, for use by blocks.  Executable addresses.  Those that come back are told by tr_call_thunk. */
struct soft_thunks {
        uint8_t *load[3][7];  /* [0 data, 1 SS, 2 SS and remember the page][size class]: r11 linear -> r11 host */
        uint8_t *store[3][7]; /* the same for a write without a read */
        uint8_t *rmw[3][7];
        uint8_t *stack;       /* r11 linear: makes the window fit; r11 host, or NULL */
        uint8_t *group[2];    /* [write]: r11 linear: r11 host, or NULL */
        uint8_t *commit[2];   /* [flags are saved]: after a slow store; r11 next rip */
        uint8_t *seg;         /* non-flat segments: r11 offset, told seg<<8|size|access<<16; -> r11 linear */
        uint8_t *sys;         /* r11 insn: comes back */
        uint8_t *sys_end;     /* r11 insn, r10 rip: jumped to */
        uint8_t *link;        /* r11 struct soft_exit: jumped to */
        uint8_t *lookup;      /* r11 guest rip: jumped to.  Not in its slot of the jump cache; flags are saved, or dead */
        uint8_t *lookup_indirect; /* the same for an indirect branch: scratch[2] its rip, scratch[3] what undoes its effect on RSP */
        uint8_t *lookup_dead; /* the same for the entry of a block that died: does not look into the jump cache, which may name it */
        uint8_t *lookup_target; /* r11 guest rip: jumped to.  Not in its target map; flags are in the host's */
        uint8_t *lookup_unmapped; /* the same where it has none */
        uint8_t *lookup_cached; /* the same for code that uses no mirrors: it is in the jump cache */
        uint8_t *lookup_step; /* the same for a single step: does not look into the jump cache */
        uint8_t *stack_mirror; /* r11 where to go on: sets v->stack_mirror */
        uint8_t *leave;       /* r11 guest rip: jumped to; to the dispatcher */
        uint8_t *raise;       /* r10 rip, r11 vector */
        uint8_t *unwind;      /* where a raised exception goes on */
        int (*enter)(struct soft_cpu *v, const uint8_t *code);
        int (*guard)(struct soft_cpu *v, void (*fn)(struct soft_cpu *v, void *arg), void *arg);
};

/* What enter() and guard() return. */
enum soft_left {
        SOFT_LEFT_NORMAL, /* st.rip is where to go on */
        SOFT_LEFT_EVENT,  /* v->event was raised */
        SOFT_LEFT_EXIT,   /* v->exit is filled in */
};

/* A guest page, for the blocks that were read from it. */
struct soft_page {
        struct soft_block *blocks;
        uint64_t granules; /* which 64-byte pieces were read as code, perhaps by blocks that are no more */
        gva_t seen;        /* the linear page that user code was translated for; SOFT_SEEN_MOVES: more than one */
        uint16_t ms;       /* that a vCPU was found there, in user code that may use mirrors */
        uint16_t faults;   /* of its accesses by them */
        uint16_t hot_at;   /* had too many: it goes by the TLB until it was found for so long; 0: it uses mirrors */
};

/* How many faults its accesses may have: to start with, and for each millisecond.  One costs five microseconds. */
#define SOFT_MIRROR_FAULTS_FREE 128u
#define SOFT_MIRROR_FAULTS_EACH 24u
/* Having had more, it does not use them until it was found for three times as long, and so many milliseconds. */
#define SOFT_MIRROR_MS_AGAIN 32u

#define SOFT_SEEN_MOVES 1u

#define SOFT_REGIONS_MAX 64u

/* A piece of the code cache. */
struct soft_region {
        size_t code_used, meta_used;
        struct soft_block **order; /* by address of their code */
        _Atomic size_t order_count;
};

/* What soft.disable can switch off. */
#define SOFT_OFF_LINK   0x1u /* linking blocks */
#define SOFT_OFF_SHARE  0x2u /* one check for a block's stack accesses */
#define SOFT_OFF_INLINE 0x4u /* system instructions in line */
#define SOFT_OFF_LARGE  0x8u /* linking across small pages of a large one */
#define SOFT_OFF_MOVE   0x10u /* blocks that fit any linear page */
#define SOFT_OFF_FIXED  0x20u /* user blocks that do not */
#define SOFT_OFF_MIRROR 0x40u /* mirrors */
#define SOFT_OFF_TLB    0x80u /* the TLB where mirrors can be used */
#define SOFT_OFF_TARGET 0x100u /* target maps */

struct soft_stats {
        _Atomic uint64_t translations, guest_insns, flushes, smc_kills;
        _Atomic uint64_t translate_tsc;   /* spent translating, in ticks of the TSC */
        _Atomic uint64_t mirrored, unmirrored; /* pages of code that began to use mirrors while they ran, and ended it */
        _Atomic uint64_t evictions;       /* of regions */
        _Atomic uint64_t evict_tsc;       /* the longest that an eviction kept a vCPU, in ticks of the TSC */
};

#define SOFT_CPUS_MAX 64u

struct soft_engine {
        struct soft_lock lock;
        struct guest_mem *mem;
        const struct cpu_config *config;
        struct cpu_config config_copy;
        struct cpu_env env;
        uint64_t features;

        /* Code memory. */
        uint8_t *code_w, *code_x;  /* the two mappings */
        size_t code_size, code_base; /* code_base: the thunks end here, the regions start */
        uint8_t *meta;
        struct soft_block **order;
        struct soft_region region[SOFT_REGIONS_MAX];
        unsigned region_count, region_now; /* region_now is being filled; the next is empty */
        size_t region_code, region_meta;   /* bytes of each */
        uint32_t retired_passes[SOFT_CPUS_MAX]; /* of the vCPUs when the next region was emptied */
        struct soft_block **hash;
        _Atomic uint64_t *dead;    /* a bit for each 16 bytes of code, where the far entry of a block was that died */
        struct soft_page *pages;   /* by guest-physical page */
        _Atomic uint64_t *code_pages; /* a bit for each guest page with code; read without the lock */
        gpa_t code_pages_limit;
        struct soft_thunks thunks;
        bool bmi2;
        uint16_t check_count;      /* how often each block is checked */
        uint32_t disabled;         /* SOFT_OFF_*: optimisations that soft.disable names */
        struct soft_observer *observer;
        struct soft_ticker *ticker;  /* NULL: nobody wants it */
        uint32_t xsave_mask;       /* components of the guest's state kept in the host's registers; 0: FXSAVE */
        struct soft_jump *no_jumps; /* an empty jump cache */
        uint8_t *guard_page;       /* inaccessible: what stack_host points to with SOFT_STACK_NONE */
        _Atomic uint32_t flush_wanted; /* empty the whole cache */
        _Atomic uint32_t room_wanted;  /* wait until the next region can be used */
        int target_file;           /* a piece of a target map in which nothing leads to code; -1: nobody wanted one yet */
        _Atomic uint32_t mirror_maps; /* mappings in mirrors and target maps */
        uint32_t mirror_maps_max;
        _Atomic bool mirrors_refused; /* and nobody has said so yet */
        struct soft_cover *cover;  /* NULL: not wanted */
        gva_t *breaks;             /* the debugger's breakpoints, sorted; changed while no vCPU runs */
        size_t break_count;

        /* world.c */
        _Atomic uint32_t waiters;   /* that wait for a vCPU to leave translated code */
        _Atomic uint32_t exclusive; /* non-zero: nobody may enter it */

        unsigned cpu_count;
        struct soft_cpu *cpus[SOFT_CPUS_MAX];
        struct soft_stats stats;
};

/* Counts the stores that hit translated code. */
static inline uint64_t
soft_code_kills(const struct soft_engine *e)
{
        return atomic_load_explicit(&e->stats.smc_kills, memory_order_relaxed);
}

/* Whether @far, the far entry of a block, is of one that died.  Until its region is filled again. */
static inline bool
soft_code_dead(const struct soft_engine *e, const uint8_t *far)
{
        size_t n = (size_t)(far - e->code_x) / SOFT_CODE_ALIGN;

        return atomic_load_explicit(&e->dead[n / 64], memory_order_relaxed) >> n % 64 & 1;
}

/* Private memory of @bytes, zeroed, that comes with use; @prot as for mmap(2).  NULL: none.  munmap(2) gives it back. */
void *soft_map(size_t bytes, int prot);

int soft_code_create(struct soft_engine *e);
void soft_code_destroy(struct soft_engine *e);
/* Forgets everything.  With every vCPU out of translated code, and the lock held. */
void soft_code_reset(struct soft_engine *e);

/*
 * Whether there is room for a block; goes on to the next region if need be, and empties the one after
 * that.  False: some vCPU may still be in the next; soft_world_wait() is to be called.
 */
bool soft_code_room(struct soft_engine *e);
/* Where the next block's code goes, in the writable mapping; and that it has been put there, up to @end. */
uint8_t *soft_code_here(const struct soft_engine *e);
void soft_code_take(struct soft_engine *e, const uint8_t *end);
/* A vCPU was kept by an eviction since the TSC stood at @since. */
void soft_code_waited(struct soft_engine *e, uint64_t since);
/* Calls @fn for each block whose code is there, with the vCPUs stopped. */
void soft_code_each(const struct soft_engine *e, void (*fn)(void *ctx, const struct soft_block *b), void *ctx);
/* Bytes of code in the cache. */
size_t soft_code_bytes(const struct soft_engine *e);

/* The lock is not needed between soft_world_enter and soft_world_leave: blocks stay where they are. */
struct soft_block *soft_code_find(struct soft_engine *e, gpa_t paddr, gpa_t paddr2, gva_t vaddr, uint32_t mode);
/*
 * User code of @gpa's page is wanted at the linear page of @vaddr.  True if it has been at another before: its blocks are to
 * fit any (SOFT_MODE_MOVES), and those that do not are killed.
 */
bool soft_code_seen(struct soft_engine *e, gpa_t gpa, gva_t vaddr);
/* The same, without noting anything; needs no lock. */
bool soft_code_moves(const struct soft_engine *e, gpa_t gpa);
/* A vCPU was found in user code of @gpa's page, which could use mirrors; it is looked at every @ms milliseconds.  Takes the lock. */
void soft_code_sampled(struct soft_engine *e, gpa_t gpa, unsigned ms);
/* An access by a mirror faulted, in code of @gpa's page.  Takes the lock. */
void soft_code_faulted(struct soft_engine *e, gpa_t gpa);
/* Whether code of @gpa's page uses mirrors where the process does; needs no lock. */
bool soft_code_mirrored(const struct soft_engine *e, gpa_t gpa);
void soft_code_insert(struct soft_engine *e, struct soft_block *b);
void soft_code_link(struct soft_engine *e, struct soft_exit *x, struct soft_block *to);
/* The block's jumps lead to C, until they are linked again.  Takes the lock. */
void soft_code_unlink_exits(struct soft_engine *e, struct soft_block *b);
/* Kills the blocks read from [gpa, gpa + len).  True if there are any, or were until the page's last store.  Takes the lock. */
bool soft_code_written(struct soft_engine *e, gpa_t gpa, uint64_t len);
/* The block whose code holds @host, or NULL. */
struct soft_block *soft_code_at(struct soft_engine *e, const uint8_t *host);
void *soft_meta_alloc(struct soft_engine *e, size_t bytes);

static inline bool
soft_code_page(const struct soft_engine *e, gpa_t gpa)
{
        uint64_t page = gpa >> MEM_PAGE_SHIFT;

        return gpa < e->code_pages_limit &&
            (atomic_load_explicit(&e->code_pages[page / 64], memory_order_relaxed) >> (page % 64) & 1);
}

/*
 * translate.c: NULL, with *ret_short, if the first instruction needs the next page and @paddr2, its
 * guest-physical address, is ~0.  With the lock held, after soft_code_room() has said yes.
 */
struct soft_block *soft_translate(struct soft_cpu *v, uint32_t mode, gpa_t paddr, gpa_t paddr2, bool *ret_short);
/* debug.c: whether the debugger has a breakpoint at this linear address. */
bool soft_debug_breaks(const struct soft_engine *e, gva_t linear);
/* Not a vector: what a block at a breakpoint raises. */
#define SOFT_RAISE_BREAK 256
/* thunk.c */
void soft_thunks_emit(struct soft_engine *e);

/* ---- between mmu.c, run.c and lookup.c ---- */
struct soft_tlb_entry {
        uint64_t tag_read;  /* linear page address, or one that nothing matches */
        uint64_t tag_write;
        uint64_t host;      /* host address of the page */
        uint64_t info;      /* SOFT_TLB_* */
};

#define SOFT_TLB_USER_BITS 14
#define SOFT_TLB_KERN_BITS 12
#define SOFT_STACK_NONE    0x8000000000000000ull
#define SOFT_WINDOW_CREDIT 16

int soft_mmu_create(struct soft_cpu *v);
void soft_mmu_destroy(struct soft_cpu *v);
/* Points v->tlb and so on at what fits the CPL and RFLAGS.AC. */
void soft_mmu_select(struct soft_cpu *v);
/* Guest-physical address to fetch code from; raises.  Non-RAM: ~0. */
gpa_t soft_fetch(struct soft_cpu *v, gva_t address);
/* Whether the page that soft_fetch last returned is of 2 MiB or more. */
bool soft_fetch_was_large(const struct soft_cpu *v, gva_t address);
/* As soft_fetch, but ~0 where it would raise. */
gpa_t soft_fetch_try(struct soft_cpu *v, gva_t address);
void soft_jump_flush(struct soft_cpu *v); /* every cache of this vCPU */
void soft_jump_flush_user(struct soft_cpu *v); /* of user code in the current address space */
void soft_jump_flush_old(struct soft_cpu *v); /* the same; it is to live on, and the cache worth huge pages */
struct soft_jump *soft_jumps_create(void); /* an empty cache; NULL: no memory */
void soft_jumps_destroy(struct soft_jump *jumps); /* NULL is allowed */
void soft_jump_forget(struct soft_cpu *v, gva_t address); /* in every cache of this vCPU */
void soft_jump_forget_dead(struct soft_cpu *v); /* those to blocks that died; lock held */
/* kick.c: makes @v leave translated code soon; any thread. */
void soft_kick(struct soft_cpu *v);
/* The same, but to know where it is, in user code; for the profile, anywhere. */
void soft_ask(struct soft_cpu *v, bool profile);
/* Gives translated code the jump cache again, unless a kick is waiting: pairs with soft_kick(). */
void soft_jumps_arm(struct soft_cpu *v);
void soft_jump_set(struct soft_cpu *v, gva_t address, uint8_t *code);
/* What the jump cache has for @address, or NULL. */
const uint8_t *soft_jump_find(const struct soft_cpu *v, gva_t address);
/* Called when a page gets its first code: writes to it must be seen from now on. */
void soft_mmu_watch(struct soft_cpu *v);
/* Whether @v may write to @gpa's page without being seen: soft_mmu_watch() is wanted.  Any thread, after the page was marked. */
bool soft_mmu_may_write(const struct soft_cpu *v, gpa_t gpa);
/* Whether @v may be let write to @gpa's page of RAM without being seen, for it holds no code; from now on it is one that may. */
bool soft_mmu_let_write(struct soft_cpu *v, gpa_t gpa);

/* C sides of the thunks: access.c (soft_slow_*), lookup.c. */
void *soft_slow_access(struct soft_cpu *v, gva_t address, unsigned info);
int soft_slow_commit(struct soft_cpu *v);
void *soft_slow_group(struct soft_cpu *v, gva_t address, unsigned write);
void *soft_slow_stack(struct soft_cpu *v, gva_t address, unsigned unused);
gva_t soft_slow_seg(struct soft_cpu *v, uint64_t offset, unsigned info);
int soft_call_sys(struct soft_cpu *v, const struct x86_insn *insn);
const uint8_t *soft_call_sys_end(struct soft_cpu *v, const struct x86_insn *insn);
const uint8_t *soft_call_link(struct soft_cpu *v, struct soft_exit *x);
const uint8_t *soft_call_lookup(struct soft_cpu *v, gva_t rip);
const uint8_t *soft_call_lookup_indirect(struct soft_cpu *v, gva_t rip);
const uint8_t *soft_call_lookup_target(struct soft_cpu *v, gva_t rip);
_Noreturn void soft_call_raise(struct soft_cpu *v, unsigned vector);

/* info of soft_slow_access */
#define SOFT_SLOW_WRITE 0x100u
#define SOFT_SLOW_READ  0x200u
#define SOFT_SLOW_STACK 0x400u  /* #SS, not #GP */
#define SOFT_SLOW_WINDOW 0x800u /* make it the stack window */

/* string.c and stack instructions that a helper does: as soft_sys. */
void soft_string(struct soft_cpu *v, const struct x86_insn *insn);
void soft_pushf(struct soft_cpu *v, const struct x86_insn *insn);
void soft_popf(struct soft_cpu *v, const struct x86_insn *insn);

#endif
