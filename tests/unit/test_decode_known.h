/* SPDX-License-Identifier: BSD-2-Clause */
/* Where the decoder and Zydis differ, and why.  Part of test_decode.c. */

/* Instructions that no machine of ours offers: #UD here. */
static bool
known_zydis_only(const ZydisDecodedInstruction *zi)
{
        switch (zi->encoding) {
        case ZYDIS_INSTRUCTION_ENCODING_3DNOW:
        case ZYDIS_INSTRUCTION_ENCODING_XOP:
        case ZYDIS_INSTRUCTION_ENCODING_EVEX:
        case ZYDIS_INSTRUCTION_ENCODING_MVEX:
                return true;
        default:
                break;
        }
        switch (zi->mnemonic) {
        case ZYDIS_MNEMONIC_SYSCALL: /* AMD's have it outside 64-bit mode */
        case ZYDIS_MNEMONIC_SYSRET:
                return zi->machine_mode != ZYDIS_MACHINE_MODE_LONG_64;
        case ZYDIS_MNEMONIC_FEMMS:
                return true;
        default:
                break;
        }
        switch (zi->meta.isa_ext) {
        case ZYDIS_ISA_EXT_AMD_INVLPGB:
        case ZYDIS_ISA_EXT_AMX_BF16:
        case ZYDIS_ISA_EXT_AMX_INT8:
        case ZYDIS_ISA_EXT_AMX_TILE:
        case ZYDIS_ISA_EXT_AVX512VEX:
        case ZYDIS_ISA_EXT_AVX_VNNI:
        case ZYDIS_ISA_EXT_CET:
        case ZYDIS_ISA_EXT_CLZERO:
        case ZYDIS_ISA_EXT_ENQCMD:
        case ZYDIS_ISA_EXT_FMA4:
        case ZYDIS_ISA_EXT_HRESET:
        case ZYDIS_ISA_EXT_KEYLOCKER:
        case ZYDIS_ISA_EXT_KEYLOCKER_WIDE:
        case ZYDIS_ISA_EXT_KNC:
        case ZYDIS_ISA_EXT_KNCE:
        case ZYDIS_ISA_EXT_KNCV:
        case ZYDIS_ISA_EXT_MCOMMIT:
        case ZYDIS_ISA_EXT_MONITORX:
        case ZYDIS_ISA_EXT_PADLOCK:
        case ZYDIS_ISA_EXT_PCONFIG:
        case ZYDIS_ISA_EXT_PT:
        case ZYDIS_ISA_EXT_RDPRU:
        case ZYDIS_ISA_EXT_RTM:
        case ZYDIS_ISA_EXT_SGX:
        case ZYDIS_ISA_EXT_SGX_ENCLV:
        case ZYDIS_ISA_EXT_SMX:
        case ZYDIS_ISA_EXT_SNP:
        case ZYDIS_ISA_EXT_SSE4A:
        case ZYDIS_ISA_EXT_SVM:
        case ZYDIS_ISA_EXT_TBM:
        case ZYDIS_ISA_EXT_TDX:
        case ZYDIS_ISA_EXT_TSX_LDTRK:
        case ZYDIS_ISA_EXT_UINTR:
        case ZYDIS_ISA_EXT_VMFUNC:
        case ZYDIS_ISA_EXT_VTX:
        case ZYDIS_ISA_EXT_WAITPKG:
        case ZYDIS_ISA_EXT_XOP:
                return true;
        default:
                return false;
        }
}

static bool
known_ours_only(const struct x86_insn *in)
{
        /* Hints of the reserved-NOP space are no operation in every form where their feature (MPX) is absent. */
        return in->desc->class == X86_CLASS_NOP && in->map == X86_MAP_0F && in->opcode >= 0x18;
}

/* The flags that Zydis counts and we leave out, or the other way round. */
static void
settle_flags(const struct x86_insn *in, struct summary *ours, struct summary *theirs)
{
        const char *name = in->desc->name;
        bool two = in->map == X86_MAP_0F;

        /* Undefined after BT and its kin, but untouched by processors. */
        if (two && (in->opcode == 0xba || (in->opcode & 0xe7) == 0xa3))
                theirs->flags_written &= X86_FL_CF;
        /* An immediate count of which no bit counts writes no flags; Zydis does not look at it. */
        if ((in->map == X86_MAP_1B && (in->opcode & 0xfe) == 0xc0) || (two && (in->opcode & 0xf7) == 0xa4))
                if ((in->imm & (in->opsize == 8 ? 63 : 31)) == 0) {
                        theirs->flags_written = 0;
                        theirs->flags_read = 0;
                }
        /* REPE looks at ZF only after CMPS or SCAS has written it. */
        if (in->desc->class == X86_CLASS_STRING)
                theirs->flags_read &= ~X86_FL_ZF;
        /* VPTEST and VTESTPx clear the other flags too (SDM 2C). */
        if (strncmp(name, "vptest", 6) == 0 || strncmp(name, "vtestp", 6) == 0)
                ours->flags_written &= X86_FL_CF | X86_FL_ZF;
}

static void
settle_registers(const struct x86_insn *in, struct summary *ours, struct summary *theirs)
{
        unsigned read_too = 0;

        /* A destination that may stay as it is counts as read here: CMOVcc, BSF, BSR. */
        if (in->map == X86_MAP_0F && ((in->opcode & 0xf0) == 0x40 || in->opcode == 0xbc || in->opcode == 0xbd))
                read_too = in->desc->reg_access == X86_ACC_RW ? 1u << in->reg : 0;
        /* Zydis does not name the address registers of string operations and XLAT as operands. */
        if (in->desc->class == X86_CLASS_STRING)
                read_too = in->desc->implicit_read;
        if (in->desc->class == X86_CLASS_STRING)
                theirs->gpr_written |= in->desc->implicit_write;
        if (in->desc->class == X86_CLASS_XLAT)
                read_too = 1u << X86_RBX | 1u << X86_RAX;
        theirs->gpr_read |= read_too;
        /* LEAVE does not use the old RSP. */
        if (in->desc->class == X86_CLASS_LEAVE)
                theirs->gpr_read &= ~(1u << X86_RSP);
}

static void
settle_memory(const struct x86_insn *in, struct summary *ours, struct summary *theirs)
{
        bool sib = in->has_modrm && in->has_mem && (in->modrm & 7) == 4 && in->asize != 2;

        /* No memory is touched, so that it does not matter what the operand looks like. */
        if (in->desc->class == X86_CLASS_NOP || in->desc->class == X86_CLASS_UD) {
                *theirs = (struct summary) { .len = theirs->len };
                *ours = (struct summary) { .len = ours->len };
        }
        /* These have their memory operands implied by the class; Zydis shows them. */
        if (in->desc->class == X86_CLASS_STRING || in->desc->class == X86_CLASS_XLAT ||
            in->desc->sys == X86_SYS_INS || in->desc->sys == X86_SYS_OUTS)
                theirs->has_mem = false, theirs->base = theirs->index = 0, theirs->scale = theirs->seg = 0,
                theirs->disp = 0, theirs->mem_bytes = theirs->mem_access = 0;
        /* The index is a vector register. */
        if (in->desc->flags & X86_OD_VSIB)
                ours->index = theirs->index, ours->scale = theirs->scale;
        /* 3E before an indirect branch is NOTRACK to Zydis; it overrides the segment all the same. */
        if ((in->desc->class == X86_CLASS_JMP_IND || in->desc->class == X86_CLASS_CALL_IND) && in->seg_override == X86_DS)
                theirs->seg = ours->seg;
        /* moffs is zero-extended; Zydis extends its sign. */
        if (in->desc->imm == X86_IMM_MOFFS)
                theirs->disp = ours->disp;
        /* MOVSXD with 16-bit operands reads two bytes (SDM 2B; tried on a processor). */
        if (in->map == X86_MAP_1B && in->opcode == 0x63 && in->opsize == 2 && in->has_mem)
                theirs->mem_bytes = 2;
        /* Base 101 without mod is no base whatever REX.B (SDM 2A table 2-5); Zydis takes R13D with 67. */
        if (sib && in->mod == 0 && in->mem_base < 0 && in->asize == 4 && theirs->base == X86_R13)
                theirs->base = -1, theirs->disp = ours->disp;
}

static void
settle_known(const struct x86_insn *in, const ZydisDecodedInstruction *zi, struct summary *ours, struct summary *theirs)
{
        settle_flags(in, ours, theirs);
        settle_registers(in, ours, theirs);
        settle_memory(in, ours, theirs);
}
