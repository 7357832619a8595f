/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Saving and restoring FPU state, and vector instructions whose memory
 * operands are more than one range.  SDM 1 chapters 10.5 and 13.
 *
 * The guest's state is in the host's registers.  A save runs the host's
 * instruction on a buffer and copies it to the guest; a restore copies,
 * checks what hardware checks, and runs the host's instruction.
 */
#include "cpu/soft/sys.h"
#include "cpu/soft/code.h"
#include "x86/cpuid.h"

#define LEGACY_BYTES 512u
#define HEADER_BYTES 64u
#define AVX_OFFSET   576u
#define AVX_BYTES    256u
#define AREA_BYTES   (AVX_OFFSET + AVX_BYTES)
#define XF_X87       1u
#define XF_SSE       2u
#define XF_AVX       4u
#define XCOMP_COMPACT (1ull << 63)

struct area {
        uint8_t b[AREA_BYTES] __attribute__((aligned(64)));
};

static uint64_t
area_u64(const struct area *a, unsigned offset)
{
        uint64_t value;

        memcpy(&value, a->b + offset, sizeof(value));
        return value;
}

static void
area_set_u64(struct area *a, unsigned offset, uint64_t value)
{
        memcpy(a->b + offset, &value, sizeof(value));
}

static void
area_zero(struct area *a)
{
        memset(a, 0, sizeof(*a));
}

/* #UD with EM, #NM with TS: FXSAVE and FXRSTOR get #NM for both (SDM 2A). */
static void
check_fx(struct soft_cpu *v)
{
        if (v->st.cr0 & (X86_CR0_EM | X86_CR0_TS))
                soft_raise(v, X86_VEC_NM);
}

static void
check_xsave(struct soft_cpu *v)
{
        if (!(v->st.cr4 & X86_CR4_OSXSAVE))
                soft_raise(v, X86_VEC_UD);
        if (v->st.cr0 & X86_CR0_TS)
                soft_raise(v, X86_VEC_NM);
}

static gva_t
fpu_operand(struct soft_cpu *v, const struct x86_insn *insn, unsigned bytes, unsigned access, unsigned align)
{
        gva_t address = sys_operand(v, insn, bytes, access);

        if (address % align != 0)
                soft_raise_error(v, X86_VEC_GP, 0);
        return address;
}

/* The host's code addresses are none of the guest's business. */
static void
hide_pointers(uint8_t *legacy)
{
        memset(legacy + 6, 0, 18); /* FOP, FIP, FDP */
}

/* ---- FXSAVE, FXRSTOR ---- */

/* Outside 64-bit mode only XMM0-7 are saved. */
static unsigned
fx_bytes(const struct soft_cpu *v)
{
        return x86_code64(&v->st) ? 416 : 288;
}

void
sys_fxsave(struct soft_cpu *v, const struct x86_insn *insn)
{
        struct area a;
        gva_t address;

        check_fx(v);
        address = fpu_operand(v, insn, LEGACY_BYTES, X86_ACC_W, 16);
        __asm__ volatile("fxsave64 %0" : "=m"(a));
        hide_pointers(a.b);
        if (!(v->st.cr4 & X86_CR4_OSFXSR))
                soft_st_bytes(v, address, a.b, 160, SOFT_ACC_DATA);
        else
                soft_st_bytes(v, address, a.b, fx_bytes(v), SOFT_ACC_DATA);
}

static void
check_mxcsr(struct soft_cpu *v, const struct area *a)
{
        if ((uint32_t)area_u64(a, 24) & ~0xffffu)
                soft_raise_error(v, X86_VEC_GP, 0);
}

void
sys_fxrstor(struct soft_cpu *v, const struct x86_insn *insn)
{
        struct area a, now;
        gva_t address;

        check_fx(v);
        address = fpu_operand(v, insn, LEGACY_BYTES, X86_ACC_R, 16);
        __asm__ volatile("fxsave64 %0" : "=m"(now));
        soft_ld_bytes(v, address, a.b, LEGACY_BYTES, SOFT_ACC_DATA);
        if (!(v->st.cr4 & X86_CR4_OSFXSR)) {
                memcpy(a.b + 24, now.b + 24, LEGACY_BYTES - 24 - 128);
                memcpy(a.b + 32, a.b + 32, 128);
        } else if (!x86_code64(&v->st)) {
                memcpy(a.b + 288, now.b + 288, 128);
        }
        check_mxcsr(v, &a);
        hide_pointers(a.b);
        __asm__ volatile("fxrstor64 %0" : : "m"(a));
}

/* ---- XSAVE ---- */

static uint64_t
requested(const struct soft_cpu *v)
{
        return (v->st.gpr[X86_RDX] << 32 | (uint32_t)v->st.gpr[X86_RAX]) & v->st.xcr0;
}

/* Saves all the host has of @rfbm in standard format, header zeroed first. */
static void
host_save(struct area *a, uint64_t rfbm)
{
        memset(a->b + LEGACY_BYTES, 0, HEADER_BYTES);
        __asm__ volatile("xsave64 %0" : "+m"(*a) : "a"((uint32_t)rfbm), "d"(0) : "memory");
        hide_pointers(a->b);
}

/* XSAVE, XSAVEOPT (which may leave out nothing). */
void
sys_xsave(struct soft_cpu *v, const struct x86_insn *insn)
{
        uint64_t rfbm = requested(v), bv;
        unsigned bytes = x86_xsave_bytes(v->st.xcr0);
        struct area a;
        gva_t address;

        check_xsave(v);
        address = fpu_operand(v, insn, bytes, X86_ACC_W, 64);
        soft_probe_write(v, address, bytes, SOFT_ACC_DATA);
        host_save(&a, rfbm);
        bv = soft_ld(v, address + LEGACY_BYTES, 8, SOFT_ACC_DATA);
        bv = (bv & ~rfbm) | (area_u64(&a, LEGACY_BYTES) & rfbm);
        if (rfbm & XF_X87) {
                soft_st_bytes(v, address, a.b, 24, SOFT_ACC_DATA);
                soft_st_bytes(v, address + 32, a.b + 32, 128, SOFT_ACC_DATA);
        }
        if (rfbm & (XF_SSE | XF_AVX))
                soft_st(v, address + 24, 8, area_u64(&a, 24) | 0xffffull << 32, SOFT_ACC_DATA);
        if (rfbm & XF_SSE)
                soft_st_bytes(v, address + 160, a.b + 160, x86_code64(&v->st) ? 256 : 128, SOFT_ACC_DATA);
        if (rfbm & XF_AVX)
                soft_st_bytes(v, address + AVX_OFFSET, a.b + AVX_OFFSET, x86_code64(&v->st) ? 256 : 128,
                    SOFT_ACC_DATA);
        soft_st(v, address + LEGACY_BYTES, 8, bv, SOFT_ACC_DATA);
}

static void
save_compact(struct soft_cpu *v, const struct x86_insn *insn)
{
        uint64_t rfbm = requested(v), bv;
        unsigned bytes = x86_xsavec_bytes(rfbm);
        struct area a;
        gva_t address = fpu_operand(v, insn, bytes, X86_ACC_W, 64);

        soft_probe_write(v, address, bytes, SOFT_ACC_DATA);
        host_save(&a, rfbm);
        bv = area_u64(&a, LEGACY_BYTES) & rfbm;
        /* MXCSR counts as SSE state for XSAVEC (SDM 1 13.10). */
        if ((rfbm & XF_SSE) && (uint32_t)area_u64(&a, 24) != 0x1f80)
                bv |= XF_SSE;
        if (bv & XF_X87) {
                soft_st_bytes(v, address, a.b, 24, SOFT_ACC_DATA);
                soft_st_bytes(v, address + 32, a.b + 32, 128, SOFT_ACC_DATA);
        }
        if (bv & XF_SSE) {
                soft_st(v, address + 24, 8, area_u64(&a, 24) | 0xffffull << 32, SOFT_ACC_DATA);
                soft_st_bytes(v, address + 160, a.b + 160, x86_code64(&v->st) ? 256 : 128, SOFT_ACC_DATA);
        }
        if (bv & XF_AVX)
                soft_st_bytes(v, address + AVX_OFFSET, a.b + AVX_OFFSET, x86_code64(&v->st) ? 256 : 128,
                    SOFT_ACC_DATA);
        soft_st(v, address + LEGACY_BYTES, 8, bv, SOFT_ACC_DATA);
        soft_st(v, address + LEGACY_BYTES + 8, 8, rfbm | XCOMP_COMPACT, SOFT_ACC_DATA);
}

void
sys_xsavec(struct soft_cpu *v, const struct x86_insn *insn)
{
        check_xsave(v);
        save_compact(v, insn);
}

/* No supervisor state is offered, so IA32_XSS is 0 and this is XSAVEC at CPL 0. */
void
sys_xsaves(struct soft_cpu *v, const struct x86_insn *insn)
{
        check_xsave(v);
        sys_require_cpl0(v);
        save_compact(v, insn);
}

static bool
header_is_valid(const struct soft_cpu *v, const struct area *a, uint64_t bv, uint64_t xcomp)
{
        for (unsigned offset = LEGACY_BYTES + 16; offset < LEGACY_BYTES + HEADER_BYTES; offset += 8)
                if (area_u64(a, offset) != 0)
                        return false;
        if (xcomp & XCOMP_COMPACT)
                return (xcomp & ~(v->st.xcr0 | XCOMP_COMPACT)) == 0 && (bv & ~xcomp) == 0;
        return xcomp == 0 && (bv & ~v->st.xcr0) == 0;
}

/* Reads the guest's area in either format into @a, standard format. */
static void
area_load(struct soft_cpu *v, gva_t address, uint64_t rfbm, struct area *a)
{
        uint64_t bv, xcomp;

        soft_ld_bytes(v, address, a->b, LEGACY_BYTES + HEADER_BYTES, SOFT_ACC_DATA);
        bv = area_u64(a, LEGACY_BYTES);
        xcomp = area_u64(a, LEGACY_BYTES + 8);
        if (!header_is_valid(v, a, bv, xcomp))
                soft_raise_error(v, X86_VEC_GP, 0);
        if (bv & rfbm & XF_AVX)
                soft_ld_bytes(v, address + AVX_OFFSET, a->b + AVX_OFFSET, AVX_BYTES, SOFT_ACC_DATA);
        /* The standard format loads MXCSR whenever SSE or AVX is asked for, the compacted with SSE only. */
        if (xcomp & XCOMP_COMPACT ? rfbm & bv & XF_SSE : rfbm & (XF_SSE | XF_AVX))
                check_mxcsr(v, a);
        else if (xcomp & XCOMP_COMPACT)
                area_set_u64(a, 24, 0x1f80);
        area_set_u64(a, LEGACY_BYTES, bv & rfbm);
        area_set_u64(a, LEGACY_BYTES + 8, 0);
}

static void
restore(struct soft_cpu *v, const struct x86_insn *insn)
{
        uint64_t rfbm = requested(v);
        struct area a, now;
        gva_t address;

        address = fpu_operand(v, insn, LEGACY_BYTES + HEADER_BYTES, X86_ACC_R, 64);
        area_load(v, address, rfbm, &a);
        hide_pointers(a.b);
        if (!x86_code64(&v->st)) { /* XMM8-15 stay */
                area_zero(&now);
                host_save(&now, v->st.xcr0);
                memcpy(a.b + 288, now.b + 288, 128);
                memcpy(a.b + AVX_OFFSET + 128, now.b + AVX_OFFSET + 128, 128);
        }
        __asm__ volatile("xrstor64 %0" : : "m"(a), "a"((uint32_t)rfbm), "d"(0) : "memory");
}

void
sys_xrstor(struct soft_cpu *v, const struct x86_insn *insn)
{
        check_xsave(v);
        restore(v, insn);
}

void
sys_xrstors(struct soft_cpu *v, const struct x86_insn *insn)
{
        check_xsave(v);
        sys_require_cpl0(v);
        restore(v, insn);
}

/* ---- FNSTENV, FLDENV, FNSAVE, FRSTOR: SDM 1 8.1.10 ---- */

/* 14 or 28 bytes; FNSTENV in 64-bit and 32-bit mode has the 28-byte format without 66. */
static unsigned
env_bytes(const struct x86_insn *insn)
{
        return insn->opsize == 2 ? 14 : 28;
}

/* The host's environment is always the 28-byte one: @env holds 7 words of 32 bits. */
static void
env_to_guest(const struct x86_insn *insn, const uint32_t env[7], uint8_t *out)
{
        for (unsigned i = 0; i < 7; i++) {
                /* Control, status and tag words are as they are; the pointers are not told. */
                uint32_t word = i < 3 ? env[i] : 0;

                if (insn->opsize == 2) {
                        uint16_t half = (uint16_t)word;

                        memcpy(out + 2 * i, &half, 2);
                } else {
                        word |= 0xffff0000u * (i < 3);
                        memcpy(out + 4 * i, &word, 4);
                }
        }
}

static void
env_from_guest(const struct x86_insn *insn, const uint8_t *in, uint32_t env[7])
{
        for (unsigned i = 0; i < 7; i++) {
                env[i] = 0;
                if (i >= 3)
                        continue;
                memcpy(&env[i], in + (insn->opsize == 2 ? 2 : 4) * i, 2);
        }
}

void
sys_fenv(struct soft_cpu *v, const struct x86_insn *insn)
{
        bool load = (insn->modrm >> 3 & 7) == 4;
        bool whole = insn->opcode == 0xdd; /* FNSAVE, FRSTOR: the registers too */
        unsigned head = env_bytes(insn), bytes = head + (whole ? 80 : 0);
        uint8_t guest[108], host[108];
        uint32_t env[7];
        gva_t address;

        if (v->st.cr0 & (X86_CR0_EM | X86_CR0_TS))
                soft_raise(v, X86_VEC_NM);
        address = sys_operand(v, insn, bytes, load ? X86_ACC_R : X86_ACC_W);
        if (load) {
                soft_ld_bytes(v, address, guest, bytes, SOFT_ACC_DATA);
                env_from_guest(insn, guest, env);
                memcpy(host, env, sizeof(env));
                memcpy(host + 28, guest + head, whole ? 80 : 0);
                if (whole)
                        __asm__ volatile("frstor %0" : : "m"(host));
                else
                        __asm__ volatile("fldenv %0" : : "m"(host));
                return;
        }
        soft_probe_write(v, address, bytes, SOFT_ACC_DATA);
        if (whole)
                __asm__ volatile("fnsave %0" : "=m"(host));
        else
                __asm__ volatile("fnstenv %0" : "=m"(host));
        memcpy(env, host, sizeof(env));
        env_to_guest(insn, env, guest);
        memcpy(guest + head, host + 28, whole ? 80 : 0);
        soft_st_bytes(v, address, guest, bytes, SOFT_ACC_DATA);
}

/* ---- vector registers as bytes ---- */

/* Register @n of all 16 YMM (upper halves zero where the host has no AVX). */
static void
read_vector(struct soft_cpu *v, unsigned n, uint8_t out[32])
{
        struct area a;

        area_zero(&a);
        if (v->engine->xsave_mask & XF_AVX)
                host_save(&a, XF_SSE | XF_AVX);
        else
                __asm__ volatile("fxsave64 %0" : "=m"(a));
        memcpy(out, a.b + 160 + 16 * n, 16);
        memcpy(out + 16, a.b + AVX_OFFSET + 16 * n, 16);
}

/* Writes a whole YMM register. */
static void
write_vector(struct soft_cpu *v, unsigned n, const uint8_t in[32])
{
        struct area a;

        area_zero(&a);
        host_save(&a, XF_SSE | XF_AVX);
        memcpy(a.b + 160 + 16 * n, in, 16);
        memcpy(a.b + AVX_OFFSET + 16 * n, in + 16, 16);
        area_set_u64(&a, LEGACY_BYTES, area_u64(&a, LEGACY_BYTES) | XF_SSE | XF_AVX);
        __asm__ volatile("xrstor64 %0" : : "m"(a), "a"(XF_SSE | XF_AVX), "d"(0) : "memory");
}

static void
check_avx(struct soft_cpu *v)
{
        if (!(v->st.cr4 & X86_CR4_OSXSAVE) || (v->st.xcr0 & 6) != 6 || !sys_protected(v))
                soft_raise(v, X86_VEC_UD);
        if (v->st.cr0 & X86_CR0_TS)
                soft_raise(v, X86_VEC_NM);
}

/* ---- MASKMOVDQU, MASKMOVQ ---- */

static void
read_mmx(unsigned n, uint8_t out[8])
{
        struct area a;

        __asm__ volatile("fxsave64 %0" : "=m"(a));
        memcpy(out, a.b + 32 + 16 * n, 8);
}

void
sys_maskmov(struct soft_cpu *v, const struct x86_insn *insn)
{
        bool mmx = !insn->opsize_prefix && !insn->vex;
        unsigned bytes = mmx ? 8 : 16;
        unsigned seg = insn->seg_override == 0xff ? X86_DS : insn->seg_override;
        uint8_t data[32], mask[32];
        gva_t address;

        if (v->st.cr0 & X86_CR0_EM)
                soft_raise(v, X86_VEC_UD);
        if (v->st.cr0 & X86_CR0_TS)
                soft_raise(v, X86_VEC_NM);
        address = soft_linear(v, seg, v->st.gpr[X86_RDI] & sys_mask(insn->asize), bytes, X86_ACC_W);
        if (mmx) {
                read_mmx(insn->reg & 7, data);
                read_mmx(insn->rm & 7, mask);
        } else {
                read_vector(v, insn->reg, data);
                read_vector(v, insn->rm, mask);
        }
        for (unsigned i = 0; i < bytes; i++)
                if (mask[i] & 0x80)
                        soft_probe_write(v, address + i, 1, SOFT_ACC_DATA);
        for (unsigned i = 0; i < bytes; i++)
                if (mask[i] & 0x80)
                        soft_st(v, address + i, 1, data[i], SOFT_ACC_DATA);
        if (mmx) /* like every MMX instruction it ends x87 use: the tags become valid */
                __asm__ volatile("movq %%mm0, %%mm0" : : : "memory");
}

/* ---- VMASKMOV, VPMASKMOV: SDM 2C; VEX.0F38 2C-2F, 8C, 8E ---- */

void
sys_vmaskmov(struct soft_cpu *v, const struct x86_insn *insn)
{
        bool integer = insn->opcode >= 0x8c;
        bool store = insn->opcode == 0x2e || insn->opcode == 0x2f || insn->opcode == 0x8e;
        unsigned size = integer ? (insn->rex_w ? 8 : 4) : (insn->opcode & 1 ? 8 : 4);
        unsigned count = (insn->vex_l ? 32 : 16) / size;
        uint64_t offset = soft_ea(v, insn, v->next_rip);
        uint8_t data[32] = { 0 }, mask[32];

        check_avx(v);
        read_vector(v, insn->vvvv, mask);
        if (store)
                read_vector(v, insn->reg, data);
        for (unsigned pass = store ? 0 : 1; pass < 2; pass++) {
                for (unsigned i = 0; i < count; i++) {
                        uint64_t value = 0;
                        gva_t at;

                        if (!(mask[i * size + size - 1] & 0x80))
                                continue;
                        at = soft_linear(v, insn->mem_seg, (offset + i * size) & sys_mask(insn->asize), size,
                            store ? X86_ACC_W : X86_ACC_R);
                        if (!store) {
                                value = soft_ld(v, at, size, SOFT_ACC_DATA);
                                memcpy(data + i * size, &value, size);
                        } else if (pass == 0) {
                                soft_probe_write(v, at, size, SOFT_ACC_DATA);
                        } else {
                                memcpy(&value, data + i * size, size);
                                soft_st(v, at, size, value, SOFT_ACC_DATA);
                        }
                }
        }
        if (!store)
                write_vector(v, insn->reg, data);
}

/* ---- VGATHER, VPGATHER: SDM 2C; VEX.0F38 90-93 ---- */

void
sys_gather(struct soft_cpu *v, const struct x86_insn *insn)
{
        unsigned size = insn->rex_w ? 8 : 4, index_size = insn->opcode & 1 ? 8 : 4;
        unsigned lanes = (insn->vex_l ? 32u : 16u) / (size > index_size ? size : index_size);
        uint8_t data[32], mask[32], index[32];

        check_avx(v);
        if (insn->mem_index < 0 || insn->reg == insn->vvvv || insn->reg == (unsigned)insn->mem_index ||
            insn->vvvv == (unsigned)insn->mem_index)
                soft_raise(v, X86_VEC_UD);
        read_vector(v, insn->reg, data);
        read_vector(v, insn->vvvv, mask);
        read_vector(v, (unsigned)insn->mem_index, index);
        for (unsigned i = 0; i < lanes; i++) {
                uint64_t base = insn->mem_base >= 0 ? v->st.gpr[insn->mem_base] : 0;
                int64_t n;
                uint64_t value;

                if (mask[i * size + size - 1] & 0x80) {
                        if (index_size == 4) {
                                int32_t n32;

                                memcpy(&n32, index + 4 * i, 4);
                                n = n32;
                        } else {
                                memcpy(&n, index + 8 * i, 8);
                        }
                        base = (base + (uint64_t)n * insn->mem_scale + (uint64_t)insn->disp) &
                            sys_mask(insn->asize);
                        value = soft_ld(v, soft_linear(v, insn->mem_seg, base, size, X86_ACC_R), size,
                            SOFT_ACC_DATA);
                        memcpy(data + i * size, &value, size);
                }
                /* A fault at a later element finds this one done. */
                memset(mask + i * size, 0, size);
                if (i + 1 < lanes) {
                        write_vector(v, insn->reg, data);
                        write_vector(v, insn->vvvv, mask);
                }
        }
        memset(mask, 0, sizeof(mask));
        memset(data + lanes * size, 0, sizeof(data) - lanes * size);
        write_vector(v, insn->reg, data);
        write_vector(v, insn->vvvv, mask);
}
