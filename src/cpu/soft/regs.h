/* SPDX-License-Identifier: BSD-2-Clause */
/* Where guest registers and flags live in translated code; thunk.c has the table in words. */
#ifndef CPU_SOFT_REGS_H
#define CPU_SOFT_REGS_H

#include "cpu/soft/emit.h"
#include "cpu/soft/mirror.h"
#include "cpu/soft/soft.h"

#include <stddef.h>

/* Host register of a guest register, or -1: in memory. */
static const int8_t regs_host[X86_GPR_COUNT] = {
        H_RAX, H_RCX, H_RDX, H_RBX, H_RSP, H_RBP, H_RSI, H_RDI, H_R8, H_R9, -1, -1, H_R12, H_R13, H_R14, H_R15,
};

/* Sizes that memory thunks exist for. */
static const uint8_t regs_size_of_class[7] = { 1, 2, 4, 8, 10, 16, 32 };

/*
 * The host's arithmetic flags to flags_saved: LAHF in bits 8-15, OF in bit 0.
 * LAHF wants AH, so RAX waits in @temp.  Flags are kept.
 */
static inline void
regs_emit_save_flags(struct emit *e, unsigned temp)
{
        emit_mov_rr(e, EMIT_W, temp, H_RAX);
        e->p = put32(e->p, 0xc0900f9f); /* lahf; seto al */
        emit_gs_store(e, EMIT_D, H_RAX, offsetof(struct soft_cpu, flags_saved));
        emit_mov_rr(e, EMIT_W, H_RAX, temp);
}

/* And back; no register is lost.  1 + 0x7f overflows a signed byte, 0 + 0x7f does not. */
static inline void
regs_emit_restore_flags(struct emit *e)
{
        emit_gs_store(e, EMIT_W, H_RAX, offsetof(struct soft_cpu, scratch[0]));
        emit_gs_load(e, EMIT_D, H_RAX, offsetof(struct soft_cpu, flags_saved));
        emit8(e, 0x04); /* add al, 0x7f */
        emit8(e, 0x7f);
        emit8(e, 0x9e); /* sahf */
        emit_gs_load(e, EMIT_W, H_RAX, offsetof(struct soft_cpu, scratch[0]));
}

/* What @table, by chunks of addresses, has for that in @src, to @dst.  @flags: they are kept; it is shorter where they need not be. */
static inline void
regs_emit_chunk(struct emit *e, unsigned dst, unsigned src, bool flags, uint32_t table)
{
        if (flags) {
                emit_rorx(e, dst, src, SOFT_MIRROR_SHIFT);
                emit_mov_rr(e, EMIT_D, dst, dst);
        } else {
                if (dst != src)
                        emit_mov_rr(e, EMIT_W, dst, src);
                emit_rr(e, EMIT_W, 0xc1, 5, dst); /* shr */
                emit8(e, SOFT_MIRROR_SHIFT);
        }
        emit8(e, 0x65); /* gs: */
        emit_rm(e, EMIT_W, 0x8b, dst, -1, (int)dst, sizeof(uint64_t), (int32_t)table);
}

/*
 * v->stack_mirror for the stack pointer as it is.  R10 is lost, flags are kept.  Where RSP is no user's address the load
 * faults, and the signal handler goes on behind it (soft_mirror_loads_stack).
 */
static inline void
regs_emit_stack_mirror(struct emit *e)
{
        regs_emit_chunk(e, H_R10, H_RSP, true, SOFT_MIRROR_TABLE);
        emit_gs_store(e, EMIT_W, H_R10, offsetof(struct soft_cpu, stack_mirror));
}

#endif
