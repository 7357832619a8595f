/* SPDX-License-Identifier: BSD-2-Clause */
/* The translator's working state, shared by its files translate.c, tr_mem.c, tr_insn.c and tr_flow.c. */
#ifndef CPU_SOFT_TRANSLATE_H
#define CPU_SOFT_TRANSLATE_H

#include "cpu/soft/code.h"
#include "cpu/soft/emit.h"
#include "cpu/soft/regs.h"

#define OFF(field) offsetof(struct soft_cpu, field)
#define T0 H_R11 /* addresses */
#define T1 H_R10

/* Where near chunk @n is, from struct soft_cpu; see tr_guess.c. */
#define TR_NEAR_NUMBER(n) (OFF(near[0].number) + (unsigned)(n) * sizeof(struct soft_near))
#define TR_NEAR_DELTA(n)  (OFF(near[0].delta) + (unsigned)(n) * sizeof(struct soft_near))

/* Where the guest's arithmetic flags are at a point of the block. */
enum tr_flags {
        TR_FLAGS_HOST,  /* in the host's flags register */
        TR_FLAGS_SAVED, /* in flags_saved; the host's are something else */
        TR_FLAGS_DEAD,  /* nobody will read them */
};

struct tr;
typedef void tr_access_fn(struct tr *t, const struct x86_insn *i);

/* Code to emit after the block's straight path. */
struct tr_cold {
        enum { COLD_ACCESS, COLD_EXIT, COLD_RAISE, COLD_LEAVE, COLD_SYS, COLD_LOOKUP, COLD_STACK, COLD_GROUP, COLD_FAR } kind;
        uint8_t *from;     /* displacement that leads here */
        uint8_t *back;     /* where to go on: the access */
        uint8_t *done;     /* after the access, for stores */
        const struct x86_insn *insn;
        gva_t rip, next;
        gva_t leave_at;    /* where execution goes on if the commit of a store leaves the block */
        int8_t leave_in;   /* or in this host register, or TR_LEAVE_SCRATCH: an indirect call; -1: leave_at */
        unsigned at;
        uint64_t arg;      /* exit: struct soft_exit; raise: vector; leave, far: rip; sys: insn;
                              lookup: what undoes the effect on RSP; stack: bytes */
        tr_access_fn *access;
        enum tr_flags flags; /* before the access; exit: on the way out */
        uint8_t size_class;
        uint8_t acc;
        bool stack;        /* the check was against the stack window */
        bool ss;           /* faults as #SS */
        bool window;       /* its page becomes the stack window */
        bool dead;         /* far: flags are not wanted there */
};

/* Accesses that share one check, see tr_group.c. */
struct tr_group {
        int64_t low, high; /* the bytes accessed, relative to what the key names */
        uint8_t key;
        uint8_t members;
        uint8_t branches;  /* in the block before its first access */
        bool write;        /* one of them at least */
        bool checked;
};

#define TR_GROUPS 8
_Static_assert(TR_GROUPS == sizeof(((struct soft_cpu *)NULL)->group_host) / sizeof(uint64_t), "a slot for each");

/* What a temporary holds beside what an instruction needs it for, see tr_temp.c. */
enum tr_holds {
        TR_NOTHING,
        TR_GUEST,       /* guest register `what` */
        TR_GROUP_HOST,  /* the host address of group `what` */
        TR_STACK_DELTA, /* stack_delta */
        /* see tr_mirror.c */
        TR_MIRROR_DELTA, /* what to add to guest register `what` for the host address */
        TR_MIRROR_BASE, /* the host address of what guest register `what` points to */
        TR_MIRROR_SUM,  /* the same of guest registers `what` + `index` * `scale` */
        TR_MIRROR_HOST, /* the same of what is named in tr_mirror.c */
        TR_MIRROR_NEAR, /* what to add to addresses in the chunk that near[`what`] names, see tr_guess.c */
};

struct tr_temp {
        enum tr_holds holds;
        int8_t what;
        bool dirty; /* a guest register: st.gpr[] has an older value */
        int8_t index;
        uint8_t scale;
        int64_t drift; /* what has been added to the registers since */
        bool sure;     /* looked up before any branch of the block */
        bool proved;   /* an access that faults outside the window was made by it */
};

/* What is thought and known of a guest register, see tr_guess.c. */
struct tr_guess {
        uint64_t value; /* that it has this time */
        bool valued;
        bool fresh;     /* the block has computed or loaded it: an access waits for it */
        int8_t near;    /* the chunk that it was checked to point into; -1: none */
        int64_t drift;  /* what has been added since */
};

/* A memory operand of the host, once it has been checked: [base + index * scale + disp]. */
struct tr_operand {
        uint8_t base;
        int8_t index; /* -1: none */
        uint8_t scale;
        int32_t disp;
};
#define TR_AT_T0 ((struct tr_operand){ T0, -1, 1, 0 })

#define TR_LEAVE_SCRATCH 16 /* in scratch[1] */

#define TR_COLD_MAX (SOFT_BLOCK_INSNS * 4 + 8)

struct tr {
        struct soft_cpu *v;
        struct soft_engine *eng;
        struct emit e;
        struct soft_block *b;
        uint32_t mode;
        enum x86_mode bits;
        struct x86_insn insn[SOFT_BLOCK_INSNS];
        uint16_t live[SOFT_BLOCK_INSNS + 1]; /* flags live before instruction i; [count] at the end */
        gva_t rip_of[SOFT_BLOCK_INSNS + 1];
        struct soft_place place[SOFT_BLOCK_INSNS];
        unsigned count;
        unsigned at;           /* the instruction being emitted */
        gva_t rip, next;       /* its address and that of the next */
        bool moves;            /* SOFT_MODE_MOVES */
        bool looks;            /* blocks that backward jumps lead to look at `kick` */
        enum tr_flags flags;
        bool fpu_checked;
        bool ended;            /* control does not reach the next instruction */
        uint64_t taken_dead;   /* bit n: flags are dead where branch n leads */
        bool end_dead;         /* and behind the last instruction */
        /* One range of the stack that was checked at once, see tr_stack.c; relative to the first stack pointer. */
        bool stack_group_used, stack_shared;
        int32_t stack_low, stack_high;
        int32_t sp;            /* where the stack pointer is now */
        struct tr_group group[TR_GROUPS];
        unsigned group_count;
        int8_t group_of[SOFT_BLOCK_INSNS]; /* the group that the instruction's operand belongs to, or -1 */
        struct tr_temp temp[2]; /* T0, T1 */
        bool mirrors;          /* SOFT_MODE_MIRROR */
        bool targets;          /* and goes to other pages by target maps */
        bool stack_anchored;   /* see tr_stack_settle() */
        int32_t stack_late;    /* what is still to be added to the host's RSP; see tr_stack_catch_up() */
        bool mirror_turn;      /* the temporary that got a delta last is T0 */
        uint16_t narrow;       /* guest registers that are known to hold an extended 32-bit number */
        struct tr_guess guess[X86_GPR_COUNT]; /* of guest registers */
        struct tr_operand op;  /* where the present access is made */
        unsigned sides;        /* branches emitted that the block goes on behind */
        /* A block that jumps back to its own start, see tr_loop.c. */
        bool loops;
        uint8_t *loop_at;      /* where that jump goes, once it is known */
        unsigned loop_turn;    /* how often the block has been emitted */
        struct tr_temp loop_temp[2], loop_end[2]; /* what the temporaries are to hold there, and what they can */
        int raise;             /* vector to raise after the last instruction, or -1 */
        struct tr_cold cold[TR_COLD_MAX];
        unsigned cold_count;
};

/* translate.c */
uint16_t tr_live_after(const struct tr *t);
void tr_flags_save(struct tr *t);      /* HOST to SAVED */
bool tr_flags_held(const struct tr *t); /* those in the host's register will be read: to lose them costs a save */
void tr_flags_clobber(struct tr *t);   /* the host's flags are about to be lost: save them if they are live */
void tr_flags_for(struct tr *t);       /* the instruction needs or keeps flags: bring them back */
void tr_flags_written(struct tr *t);
void tr_flags_note(struct tr *t);      /* the host may raise an exception here: notes where the flags are */
struct tr_cold *tr_cold_add(struct tr *t, int kind, uint8_t *from);
void tr_raise(struct tr *t, unsigned vector);
gva_t tr_wrap_rip(const struct tr *t, const struct x86_insn *i, uint64_t rip);
/* Whether branch @i, which ends at @next, leads to the block's own start. */
bool tr_leads_back(const struct tr *t, const struct x86_insn *i, gva_t next);

/* Has @thunk run and come back here, or behind what it is told.  T1 is lost; T0 is argument and result. */
void tr_jump_thunk(struct tr *t, const uint8_t *thunk);
/* The same, and tells it the guest address @rip. */
void tr_call_thunk(struct tr *t, const uint8_t *thunk, gva_t rip);
/* The linear page of the block, as seen at its vaddr. */
gva_t tr_page(const struct tr *t);
/* The guest address @rip, as seen at the block's vaddr, to @reg.  Flags are kept. */
void tr_emit_rip(struct tr *t, unsigned reg, gva_t rip);

/* tr_mem.c */
void tr_load_guest(struct tr *t, unsigned host, unsigned guest);
/* The operand's offset (without segment base), plus @extra, into @dst, @bytes of it (4 or 8).  Flags are kept. */
void tr_ea(struct tr *t, const struct x86_insn *i, unsigned dst, int32_t extra, unsigned bytes);
/* Where address register @guest can be used from: its host register, or a temporary. */
unsigned tr_ea_reg(struct tr *t, unsigned guest);
/* The offset into T0, for an access: st.gpr[] is complete afterwards. */
void tr_ea_t0(struct tr *t, const struct x86_insn *i, int32_t extra);
/* op reg, [t->op] */
void tr_emit_op(struct tr *t, int w, unsigned opcode, unsigned reg);
/* Checks the ModRM operand; t->op is where it is.  Returns the cold record, to be given to tr_mem_done for stores. */
struct tr_cold *tr_mem(struct tr *t, const struct x86_insn *i, unsigned size, unsigned acc, int32_t extra);
void tr_mem_done(struct tr *t, struct tr_cold *c, const struct x86_insn *i, tr_access_fn *access,
    enum tr_flags before);
struct tr_cold *tr_check(struct tr *t, unsigned seg, unsigned size, unsigned acc);
/*
 * T0: linear address of @bytes; becomes the host address, with T1 the TLB entry where the check fails.
 * Returns the displacement of the jump taken then.
 */
uint8_t *tr_emit_tlb_lookup(struct tr *t, unsigned bytes, unsigned acc);
unsigned tr_tag_offset(unsigned acc); /* of the TLB entry's tag for this kind of access */
void tr_shift_right(struct tr *t, unsigned bits);
void tr_stack_addr(struct tr *t, int32_t disp);
struct tr_cold *tr_stack_check(struct tr *t, unsigned size, unsigned acc);
void tr_stack_adjust(struct tr *t, int32_t delta);
void tr_emit_cold_access(struct tr *t, struct tr_cold *c);

/* tr_temp.c; @host is T0 or T1.  Flags are kept. */
void tr_temps_store(struct tr *t);  /* st.gpr[] is complete afterwards */
void tr_temps_forget(struct tr *t); /* the same, and both may be overwritten */
void tr_temp_forget(struct tr *t, unsigned host); /* before it is overwritten */
/* The temporary that holds this, or -1. */
int tr_temp_holder(const struct tr *t, enum tr_holds holds, int what);
int tr_temp_find(const struct tr *t, unsigned guest);
/* The temporary that is of less use than the other. */
unsigned tr_temp_spare(const struct tr *t);
/* From now on @host holds this, which the caller puts there. */
void tr_temp_set(struct tr *t, unsigned host, enum tr_holds holds, int what);
/* From now on @host holds @guest: its value with @load, else one that the caller puts there. */
void tr_temp_take(struct tr *t, unsigned host, unsigned guest, bool load);
void tr_temp_written(struct tr *t, unsigned host);

/* tr_insn.c */
void tr_insn(struct tr *t, const struct x86_insn *i);
/* Whether register field @reg (the ModRM rm field, if @rm) is AH, CH, DH or BH. */
bool tr_is_high_byte(const struct x86_insn *i, unsigned reg, bool rm);

/* tr_flow.c: the instructions that end a block */
void tr_flow(struct tr *t, const struct x86_insn *i);
/* The 4 bytes at @ahead bytes from here will be patched while others run them: aligns them. */
void tr_align_patch(struct tr *t, unsigned ahead);
void tr_exit(struct tr *t, gva_t target, bool dead, bool backward);
#define TR_ALWAYS 16 /* in the place of a condition */
/* A jump in the page, or the large page, taken when condition @cc holds.  Returns its exit; @dead: it hands over no flags. */
struct soft_exit *tr_jump_linked(struct tr *t, unsigned cc, gva_t target, bool dead, bool backward);
/*
 * To the variant of the block that shares no checks and makes no guesses (SOFT_MODE_NOSHARE), at the instruction at @rip, taken
 * when condition @cc holds.  Flags are saved, or dead.
 */
void tr_jump_noshare(struct tr *t, unsigned cc, gva_t rip);
void tr_far_emit_cold(struct tr *t, const struct tr_cold *c);
void tr_sys(struct tr *t, const struct x86_insn *i, bool end);
/* A copy of the decoded instruction that lives as long as the block. */
const struct x86_insn *tr_keep_insn(struct tr *t, const struct x86_insn *i);

/* tr_stack.c */
void tr_stack_prepare(struct tr *t);
void tr_stack_follow(struct tr *t);
/* In blocks that use mirrors, before each instruction, and where the block is left: RSP is the guest's, unless the instruction knows better. */
void tr_stack_catch_up(struct tr *t, const struct x86_insn *i);
/* In such blocks, behind each instruction: looks up v->stack_mirror anew if need be. */
void tr_stack_settle(struct tr *t);
bool tr_stack_shared(struct tr *t, int64_t disp, unsigned bytes);
struct tr_cold *tr_stack_access(struct tr *t, int32_t disp, unsigned size, unsigned acc);
/* Whether PUSH or POP moves its register straight to or from the stack, by a mirror: no temporary is wanted for it. */
bool tr_stack_is_direct(const struct tr *t, const struct x86_insn *i);
void tr_stack_emit_cold(struct tr *t, struct tr_cold *c);

/*
 * A shared check failed; T0: linear address of the range, c->arg bytes.  If it lies in one page, C looks the page up by
 * @thunk and execution goes on; otherwise in the variant of the block that checks each access.
 */
void tr_emit_range_cold(struct tr *t, struct tr_cold *c, const uint8_t *thunk);

/* tr_mirror.c: in blocks with SOFT_MODE_MIRROR.  Flags are kept. */
/* t->op: the ModRM operand, @extra further. */
void tr_mirror_mem(struct tr *t, const struct x86_insn *i, int32_t extra);
/* t->op: what is at @disp from @guest, which has a host register.  @t1_wanted: T1 is not to be part of it. */
void tr_mirror_off(struct tr *t, unsigned guest, int32_t disp, bool t1_wanted);
/* After an instruction was emitted: what is kept in temporaries may not fit its registers any more. */
void tr_mirror_follow(struct tr *t, const struct x86_insn *i);

/* tr_guess.c: in such blocks, but for the variant that guesses nothing.  Flags are kept. */
void tr_guess_begin(struct tr *t);
void tr_guess_follow(struct tr *t, const struct x86_insn *i);
/* The near chunk that guest register @guest is known to point into; -1: none. */
int tr_guess_known(const struct tr *t, unsigned guest);
/*
 * The same, checked here if it is likely, and may be: the block goes on in its variant if not.  Only where nothing of the
 * instruction has been done.  A temporary is lost, which is not @keep.
 */
int tr_guess_check(struct tr *t, unsigned guest, unsigned host, int keep);
/* The same of the operand's address, or what is near it, in @host, a temporary. */
int tr_guess_address(struct tr *t, const struct x86_insn *i, unsigned host);
/* Makes the address in @host, which points into near chunk @near, one of the host's.  Flags are lost. */
void tr_guess_add(struct tr *t, unsigned host, int near);

/* The rest is for loops.  Whether @m is of use for the next turn of the block. */
bool tr_mirror_lasts(const struct tr *t, const struct tr_temp *m);
/* From now on @temp holds the same as @m, of mirrors. */
void tr_mirror_load(struct tr *t, unsigned temp, const struct tr_temp *m);
/* A turn ends: @temp follows what has been added to its registers. */
void tr_mirror_advance(struct tr *t, unsigned temp);

/* tr_loop.c */
/* Whether the block ends with a jump to its own start, and may go there by itself. */
bool tr_loop_found(const struct tr *t);
/* Loads what the turns are to find in the temporaries; here is where they start. */
void tr_loop_enter(struct tr *t);
/* Jumps there, which is @target, if condition @cc holds.  False: cannot; an exit is wanted.  @dead: flags are not wanted there. */
bool tr_loop_back(struct tr *t, unsigned cc, gva_t target, bool dead);
/* Links that jump, once the block is in the cache. */
void tr_loop_link(struct tr *t);
/* Whether the block is to be emitted again, with other things in the temporaries. */
bool tr_loop_again(struct tr *t);
/* Whether @temp holds what the next turn is to find there. */
bool tr_loop_keeps(const struct tr *t, unsigned temp);
/* Whether the next turn is to find the same as @m. */
bool tr_loop_wants(const struct tr *t, const struct tr_temp *m);

/* tr_group.c */
void tr_group_plan(struct tr *t);
/* Whether memory may be mapped otherwise behind it, or registers change in ways that x86_insn_writes() does not tell. */
bool tr_ends_addresses(const struct x86_insn *i);
bool tr_group_access(struct tr *t);
void tr_group_emit_cold(struct tr *t, struct tr_cold *c);

/* tr_sys.c: whether the instruction is translated in line, and the translation */
bool tr_sys_is_inline(const struct tr *t, const struct x86_insn *i);
void tr_sys_inline(struct tr *t, const struct x86_insn *i);

#endif
