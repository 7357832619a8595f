/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * State of the x87, SSE and AVX units: FXSAVE, the XSAVE family (SDM 1 chapter 13),
 * FNSTENV and kin, and the vector instructions whose elements fault singly.
 *
 * The guest's registers are live in the host's, so the host's own instructions
 * save and load them, straight to guest memory where one page holds the area,
 * otherwise by way of a buffer.  What is loaded always goes through a buffer:
 * another vCPU could change it between check and use.
 *
 * The x87 instruction and data pointers would show addresses of translated
 * code, so they always read as zero.  PKRU never is in the host's register; its
 * part of an XSAVE area is handled here.
 */
#include "cpu/soft/sys.h"

#define FXSAVE_BYTES  512u
#define HEADER        512u
#define AVX_OFFSET    576u
#define AVX_BYTES     256u
#define PKRU_BYTES    8u
#define XMM_OFFSET    160u
#define MXCSR_OFFSET  24u
#define MXCSR_RSVD    0xffff0000u

#define XF_X87  0x1ull
#define XF_SSE  0x2ull
#define XF_AVX  0x4ull
#define XF_PKRU 0x200ull
#define XF_HOST (XF_X87 | XF_SSE | XF_AVX)
#define COMPACT (1ull << 63)

/* An XSAVE area with all the components that the host saves. */
struct area {
        uint8_t bytes[AVX_OFFSET + AVX_BYTES];
} __attribute__((aligned(64)));

static uint64_t *
header_of(void *area)
{
        return (uint64_t *)(void *)((uint8_t *)area + HEADER);
}

/* FOP, FIP, FCS, FDP, FDS. */
static void
clear_pointers(void *area)
{
        uint8_t *b = area;

        *(uint16_t *)(void *)(b + 6) = 0;
        *(uint64_t *)(void *)(b + 8) = 0;
        *(uint64_t *)(void *)(b + 16) = 0;
}

static void
clear_bytes(uint8_t *p, unsigned n)
{
        for (unsigned i = 0; i < n; i++)
                p[i] = 0;
}

static void
copy_bytes(uint8_t *to, const uint8_t *from, unsigned n)
{
        for (unsigned i = 0; i < n; i++)
                to[i] = from[i];
}

static void
host_fxsave(void *p)
{
        __asm__ volatile("fxsave64 (%0)" : : "r"(p) : "memory");
}

static void
host_fxrstor(const void *p)
{
        __asm__ volatile("fxrstor64 (%0)" : : "r"(p) : "memory");
}

static void
host_xsave(void *p, uint64_t mask)
{
        __asm__ volatile("xsave64 (%0)" : : "r"(p), "a"((uint32_t)mask), "d"(0) : "memory");
}

static void
host_xsavec(void *p, uint64_t mask)
{
        __asm__ volatile("xsavec64 (%0)" : : "r"(p), "a"((uint32_t)mask), "d"(0) : "memory");
}

static void
host_xrstor(const void *p, uint64_t mask)
{
        __asm__ volatile("xrstor64 (%0)" : : "r"(p), "a"((uint32_t)mask), "d"(0) : "memory");
}

static _Noreturn void
raise_gp0(struct soft_cpu *v)
{
        soft_raise_error(v, X86_VEC_GP, 0);
}

static void
require_unit(struct soft_cpu *v, uint64_t traps)
{
        if (v->st.cr0 & traps)
                soft_raise(v, X86_VEC_NM);
}

/* ---- FXSAVE and FXRSTOR ---- */

/* Outside 64-bit mode XMM8 to XMM15 are neither stored nor loaded. */
static unsigned
fx_bytes(const struct soft_cpu *v)
{
        return x86_code64(&v->st) ? 416 : 288;
}

void
sys_fxsave(struct soft_cpu *v, const struct x86_insn *insn)
{
        struct area area;
        gva_t address;
        void *host;

        require_unit(v, X86_CR0_TS | X86_CR0_EM);
        address = sys_operand(v, insn, FXSAVE_BYTES, X86_ACC_W);
        soft_check_alignment(v, address, 4);
        if (address % 16 != 0)
                raise_gp0(v);
        host = (address & 0xfff) <= 0x1000 - FXSAVE_BYTES && x86_code64(&v->st) ?
            soft_host_rw(v, address, FXSAVE_BYTES, SOFT_ACC_DATA) :
            NULL;
        soft_fpu_get(v);
        if (host != NULL) {
                host_fxsave(host);
                clear_pointers(host);
                return;
        }
        host_fxsave(&area);
        clear_pointers(&area);
        soft_probe_write(v, address, FXSAVE_BYTES, SOFT_ACC_DATA);
        soft_st_bytes(v, address, area.bytes, fx_bytes(v), SOFT_ACC_DATA);
}

static uint32_t
area_mxcsr(const struct area *area)
{
        return *(const uint32_t *)(const void *)(area->bytes + MXCSR_OFFSET);
}

void
sys_fxrstor(struct soft_cpu *v, const struct x86_insn *insn)
{
        struct area area, new;
        gva_t address;

        require_unit(v, X86_CR0_TS | X86_CR0_EM);
        address = sys_operand(v, insn, FXSAVE_BYTES, X86_ACC_R);
        soft_check_alignment(v, address, 4);
        if (address % 16 != 0)
                raise_gp0(v);
        soft_ld_bytes(v, address, new.bytes, FXSAVE_BYTES, SOFT_ACC_DATA);
        if (area_mxcsr(&new) & MXCSR_RSVD)
                raise_gp0(v);
        soft_fpu_get(v);
        host_fxsave(&area);
        copy_bytes(area.bytes, new.bytes, fx_bytes(v));
        clear_pointers(&area);
        host_fxrstor(&area);
}

/* ---- XSAVE ---- */

static uint64_t
requested(const struct soft_cpu *v)
{
        uint64_t mask = v->st.gpr[X86_RDX] << 32 | (uint32_t)v->st.gpr[X86_RAX];

        return mask & v->st.xcr0;
}

static void
require_xsave(struct soft_cpu *v)
{
        if (!(v->st.cr4 & X86_CR4_OSXSAVE))
                soft_raise(v, X86_VEC_UD);
        require_unit(v, X86_CR0_TS);
}

static gva_t
xsave_operand(struct soft_cpu *v, const struct x86_insn *insn, unsigned access)
{
        gva_t address = sys_operand(v, insn, AVX_OFFSET, access);

        soft_check_alignment(v, address, 4);
        if (address % 64 != 0)
                raise_gp0(v);
        return address;
}

/* Where PKRU lies in an area for the components @layout. */
static unsigned
pkru_offset(uint64_t layout, bool compact)
{
        if (!compact)
                return X86_XSAVE_PKRU;
        return layout & XF_AVX ? AVX_OFFSET + AVX_BYTES : AVX_OFFSET;
}

static unsigned
area_bytes(uint64_t layout)
{
        return layout & XF_AVX ? AVX_OFFSET + AVX_BYTES : AVX_OFFSET;
}

/* Puts what the host does not know into the header that it has written. */
static void
finish_header(struct soft_cpu *v, uint64_t *header, uint64_t rfbm, bool compact)
{
        if (compact)
                header[1] = rfbm | COMPACT;
        if (!(rfbm & XF_PKRU))
                return;
        header[0] &= ~XF_PKRU;
        if (x86_pkru(&v->st) != 0)
                header[0] |= XF_PKRU;
}

static void
save_direct(struct soft_cpu *v, uint8_t *host, uint64_t rfbm, bool compact)
{
        if (compact)
                host_xsavec(host, rfbm & XF_HOST);
        else
                host_xsave(host, rfbm & XF_HOST);
        if (rfbm & XF_X87)
                clear_pointers(host);
        finish_header(v, header_of(host), rfbm, compact);
}

/* Any address, and modes with 8 vector registers. */
static void
save_buffered(struct soft_cpu *v, gva_t address, uint64_t rfbm, bool compact)
{
        bool wide = x86_code64(&v->st);
        struct area area;
        uint64_t *header = header_of(&area), in_use;

        clear_bytes(area.bytes, sizeof(area.bytes));
        soft_probe_write(v, address, area_bytes(rfbm), SOFT_ACC_DATA);
        if (!compact)
                soft_ld_bytes(v, address + HEADER, header, 16, SOFT_ACC_DATA);
        header[1] = 0;
        soft_fpu_get(v);
        host_xsave(&area, rfbm & XF_HOST);
        clear_pointers(&area);
        finish_header(v, header, rfbm, compact);
        in_use = compact ? header[0] : ~0ull;
        if (rfbm & in_use & XF_X87) {
                soft_st_bytes(v, address, area.bytes, 24, SOFT_ACC_DATA);
                soft_st_bytes(v, address + 32, area.bytes + 32, 128, SOFT_ACC_DATA);
        }
        if (rfbm & (XF_SSE | XF_AVX))
                soft_st_bytes(v, address + MXCSR_OFFSET, area.bytes + MXCSR_OFFSET, 8, SOFT_ACC_DATA);
        if (rfbm & in_use & XF_SSE)
                soft_st_bytes(v, address + XMM_OFFSET, area.bytes + XMM_OFFSET, wide ? 256 : 128, SOFT_ACC_DATA);
        if (rfbm & in_use & XF_AVX)
                soft_st_bytes(v, address + AVX_OFFSET, area.bytes + AVX_OFFSET, wide ? 256 : 128, SOFT_ACC_DATA);
        soft_st_bytes(v, address + HEADER, header, compact ? 16 : 8, SOFT_ACC_DATA);
}

static void
save(struct soft_cpu *v, const struct x86_insn *insn, bool compact)
{
        uint64_t rfbm = requested(v);
        gva_t address = xsave_operand(v, insn, X86_ACC_W);
        unsigned bytes = area_bytes(rfbm);
        void *host = NULL;

        if ((rfbm & XF_PKRU) && !(compact && x86_pkru(&v->st) == 0))
                soft_st(v, address + pkru_offset(rfbm, compact), 8, x86_pkru(&v->st), SOFT_ACC_DATA);
        if (x86_code64(&v->st) && (address & 0xfff) <= 0x1000 - bytes)
                host = soft_host_rw(v, address, bytes, SOFT_ACC_DATA);
        if (host != NULL) {
                soft_fpu_get(v);
                save_direct(v, host, rfbm, compact);
        } else {
                save_buffered(v, address, rfbm, compact);
        }
}

/* XSAVE and XSAVEOPT: the latter may save as much as the former does. */
void
sys_xsave(struct soft_cpu *v, const struct x86_insn *insn)
{
        require_xsave(v);
        save(v, insn, false);
}

void
sys_xsavec(struct soft_cpu *v, const struct x86_insn *insn)
{
        require_xsave(v);
        save(v, insn, true);
}

/* With IA32_XSS zero, XSAVES saves what XSAVEC does. */
void
sys_xsaves(struct soft_cpu *v, const struct x86_insn *insn)
{
        require_xsave(v);
        sys_require_cpl0(v);
        save(v, insn, true);
}

/* ---- XRSTOR ---- */

/* SDM 1 13.8.1 and 13.8.2: what makes a header invalid. */
static void
check_header(struct soft_cpu *v, const uint64_t header[8], bool compact_only)
{
        bool compact = (header[1] & COMPACT) != 0;
        unsigned first = compact ? 2 : 1, last = compact ? 8 : 3;

        if (compact_only && !compact)
                raise_gp0(v);
        if (compact && (((header[1] & ~COMPACT) & ~v->st.xcr0) || (header[0] & ~header[1])))
                raise_gp0(v);
        if (header[0] & ~v->st.xcr0)
                raise_gp0(v);
        for (unsigned i = first; i < last; i++)
                if (header[i] != 0)
                        raise_gp0(v);
}

/* Outside 64-bit mode the upper eight vector registers keep what they hold. */
static void
keep_upper(struct area *area, uint64_t rfbm)
{
        uint64_t *header = header_of(area);
        struct area now;

        clear_bytes(now.bytes + HEADER, 64);
        host_xsave(&now, XF_HOST & rfbm);
        if (rfbm & XF_SSE) {
                if (!(header[0] & XF_SSE))
                        clear_bytes(area->bytes + XMM_OFFSET, 128);
                copy_bytes(area->bytes + XMM_OFFSET + 128, now.bytes + XMM_OFFSET + 128, 128);
        }
        if (rfbm & XF_AVX) {
                if (!(header[0] & XF_AVX))
                        clear_bytes(area->bytes + AVX_OFFSET, 128);
                copy_bytes(area->bytes + AVX_OFFSET + 128, now.bytes + AVX_OFFSET + 128, 128);
        }
        header[0] |= rfbm & (XF_SSE | XF_AVX);
        if (header[1] & COMPACT)
                header[1] |= rfbm & (XF_SSE | XF_AVX);
}

static void
restore(struct soft_cpu *v, const struct x86_insn *insn, bool compact_only)
{
        uint64_t rfbm = requested(v);
        gva_t address = xsave_operand(v, insn, X86_ACC_R);
        uint64_t *header, load;
        uint32_t pkru = 0;
        struct area area;
        bool compact;

        soft_ld_bytes(v, address, area.bytes, AVX_OFFSET, SOFT_ACC_DATA);
        header = header_of(&area);
        check_header(v, header, compact_only);
        compact = (header[1] & COMPACT) != 0;
        load = rfbm & header[0];
        if ((rfbm & (XF_SSE | XF_AVX)) && (!compact || (load & XF_SSE)) && (area_mxcsr(&area) & MXCSR_RSVD))
                raise_gp0(v);
        if (load & XF_AVX)
                soft_ld_bytes(v, address + AVX_OFFSET, area.bytes + AVX_OFFSET, AVX_BYTES, SOFT_ACC_DATA);
        if (load & XF_PKRU)
                pkru = (uint32_t)soft_ld(v, address + pkru_offset(header[1], compact), 4, SOFT_ACC_DATA);
        clear_pointers(&area);
        header[0] &= XF_HOST;
        header[1] &= COMPACT | XF_HOST;
        for (unsigned i = 2; i < 8; i++)
                header[i] = 0;
        soft_fpu_get(v);
        if (!x86_code64(&v->st))
                keep_upper(&area, rfbm);
        host_xrstor(&area, rfbm & XF_HOST);
        if (rfbm & XF_PKRU)
                x86_set_pkru(&v->st, pkru);
}

void
sys_xrstor(struct soft_cpu *v, const struct x86_insn *insn)
{
        require_xsave(v);
        restore(v, insn, false);
}

void
sys_xrstors(struct soft_cpu *v, const struct x86_insn *insn)
{
        require_xsave(v);
        sys_require_cpl0(v);
        restore(v, insn, true);
}

/* ---- FNSTENV, FLDENV, FNSAVE, FRSTOR: SDM 1 8.1.10 ---- */

#define ENV32_BYTES  28u
#define ENV16_BYTES  14u
#define REGS_BYTES   80u

struct env {
        uint8_t bytes[ENV32_BYTES + REGS_BYTES];
};

static uint32_t *
env_word(struct env *env, unsigned i)
{
        return (uint32_t *)(void *)(env->bytes + 4 * i);
}

static void
env_store(struct soft_cpu *v, gva_t address, struct env *env, unsigned size, bool regs)
{
        unsigned head = size == 2 ? ENV16_BYTES : ENV32_BYTES;

        for (unsigned i = 3; i < 6; i++)
                *env_word(env, i) = 0;
        *env_word(env, 6) = 0xffff0000;
        if (size == 2) {
                uint16_t short_env[ENV16_BYTES / 2];

                for (unsigned i = 0; i < ENV16_BYTES / 2; i++)
                        short_env[i] = (uint16_t)*env_word(env, i);
                soft_st_bytes(v, address, short_env, ENV16_BYTES, SOFT_ACC_DATA);
        } else {
                soft_st_bytes(v, address, env->bytes, ENV32_BYTES, SOFT_ACC_DATA);
        }
        if (regs)
                soft_st_bytes(v, address + head, env->bytes + ENV32_BYTES, REGS_BYTES, SOFT_ACC_DATA);
}

static void
env_load(struct soft_cpu *v, gva_t address, struct env *env, unsigned size, bool regs)
{
        unsigned head = size == 2 ? ENV16_BYTES : ENV32_BYTES;

        for (unsigned i = 0; i < 3; i++)
                *env_word(env, i) = (uint32_t)soft_ld(v, address + i * (head / 7), 2, SOFT_ACC_DATA) | 0xffff0000;
        for (unsigned i = 3; i < 7; i++)
                *env_word(env, i) = 0;
        if (regs)
                soft_ld_bytes(v, address + head, env->bytes + ENV32_BYTES, REGS_BYTES, SOFT_ACC_DATA);
}

static void
raise_pending(struct soft_cpu *v)
{
        uint16_t status;

        __asm__ volatile("fnstsw %0" : "=a"(status));
        if (status & 0x80)
                soft_raise(v, X86_VEC_MF);
}

void
sys_fenv(struct soft_cpu *v, const struct x86_insn *insn)
{
        unsigned size = insn->opsize == 2 ? 2 : 4;
        bool regs = insn->opcode == 0xdd, store = (insn->modrm >> 3 & 7) == 6;
        unsigned bytes = (size == 2 ? ENV16_BYTES : ENV32_BYTES) + (regs ? REGS_BYTES : 0);
        struct env env;
        gva_t address;

        require_unit(v, X86_CR0_TS | X86_CR0_EM);
        address = sys_operand(v, insn, bytes, store ? X86_ACC_W : X86_ACC_R);
        soft_check_alignment(v, address, size);
        soft_fpu_get(v);
        if (store) {
                soft_probe_write(v, address, bytes, SOFT_ACC_DATA);
                soft_fpu_get(v);
                if (regs)
                        __asm__ volatile("fnsave %0" : "=m"(env));
                else
                        __asm__ volatile("fnstenv %0" : "=m"(*(uint8_t (*)[ENV32_BYTES])env.bytes));
                env_store(v, address, &env, size, regs);
                return;
        }
        raise_pending(v);
        env_load(v, address, &env, size, regs);
        soft_fpu_get(v);
        if (regs)
                __asm__ volatile("frstor %0" : : "m"(env));
        else
                __asm__ volatile("fldenv %0" : : "m"(*(uint8_t (*)[ENV32_BYTES])env.bytes));
}

/* ---- vector instructions with elements: on the saved registers ---- */

/* Makes the saved copy of component @bit real, if it is in its initial state. */
static void
materialise(struct soft_cpu *v, uint64_t bit, unsigned offset, unsigned bytes)
{
        uint64_t *header = header_of(v->st.xsave);

        if (header[0] & bit)
                return;
        clear_bytes(v->st.xsave + offset, bytes);
        header[0] |= bit;
}

static void
vectors_to_memory(struct soft_cpu *v)
{
        require_unit(v, X86_CR0_TS);
        soft_fpu_put(v);
        materialise(v, XF_SSE, XMM_OFFSET, 256);
        materialise(v, XF_AVX, AVX_OFFSET, AVX_BYTES);
}

/* Byte @i of a YMM register. */
static uint8_t *
vector_byte(struct soft_cpu *v, unsigned reg, unsigned i)
{
        return i < 16 ? &v->st.xsave[XMM_OFFSET + reg * 16 + i] : &v->st.xsave[AVX_OFFSET + reg * 16 + i - 16];
}

static uint64_t
element_get(struct soft_cpu *v, unsigned reg, unsigned i, unsigned size)
{
        const uint8_t *p = vector_byte(v, reg, i * size);

        return size == 8 ? *(const uint64_t *)(const void *)p : *(const uint32_t *)(const void *)p;
}

static void
element_set(struct soft_cpu *v, unsigned reg, unsigned i, unsigned size, uint64_t value)
{
        uint8_t *p = vector_byte(v, reg, i * size);

        if (size == 8)
                *(uint64_t *)(void *)p = value;
        else
                *(uint32_t *)(void *)p = (uint32_t)value;
}

/* The element's top bit. */
static bool
element_selected(struct soft_cpu *v, unsigned reg, unsigned i, unsigned size)
{
        return *vector_byte(v, reg, i * size + size - 1) >> 7;
}

static void
zero_from(struct soft_cpu *v, unsigned reg, unsigned first_byte)
{
        for (unsigned i = first_byte; i < 32; i++)
                *vector_byte(v, reg, i) = 0;
}

/* Only the start of an operand wraps at the address size, not its later bytes. */
static uint64_t
operand_mask(const struct soft_cpu *v)
{
        return x86_code64(&v->st) ? ~0ull : 0xffffffff;
}

/* Elements may lie at any address.  A fault's delivery sets align_checks again, as does @checks at the end. */
static bool
suspend_alignment(struct soft_cpu *v)
{
        bool checks = v->align_checks;

        v->align_checks = false;
        return checks;
}

void
sys_vmaskmov(struct soft_cpu *v, const struct x86_insn *insn)
{
        bool checks = suspend_alignment(v);
        bool store = insn->opcode == 0x2e || insn->opcode == 0x2f || insn->opcode == 0x8e;
        bool integer = insn->opcode >= 0x80;
        unsigned size = (integer ? insn->rex_w : insn->opcode & 1) ? 8 : 4;
        unsigned count = (insn->vex_l ? 32 : 16) / size;
        uint64_t ea = soft_ea(v, insn, v->next_rip), mask = operand_mask(v);
        uint64_t value[8] = { 0 };
        gva_t at[8] = { 0 };

        vectors_to_memory(v);
        for (unsigned i = 0; i < count; i++) {
                if (!element_selected(v, insn->vvvv, i, size))
                        continue;
                at[i] = soft_linear(v, insn->mem_seg, (ea + i * size) & mask, size, store ? X86_ACC_W : X86_ACC_R);
                if (store)
                        soft_probe_write(v, at[i], size, SOFT_ACC_DATA);
                else
                        value[i] = soft_ld(v, at[i], size, SOFT_ACC_DATA);
        }
        for (unsigned i = 0; i < count; i++) {
                if (!store)
                        element_set(v, insn->reg, i, size, value[i]);
                else if (element_selected(v, insn->vvvv, i, size))
                        soft_st(v, at[i], size, element_get(v, insn->reg, i, size), SOFT_ACC_DATA);
        }
        if (!store)
                zero_from(v, insn->reg, count * size);
        v->align_checks = checks;
}

/* SDM 2C, VPGATHERDD and others: each element that was loaded leaves the mask, so a fault can be resumed. */
void
sys_gather(struct soft_cpu *v, const struct x86_insn *insn)
{
        unsigned size = insn->rex_w ? 8 : 4;
        unsigned index_size = insn->opcode & 1 ? 8 : 4;
        unsigned wider = size > index_size ? size : index_size;
        unsigned vector_bytes = insn->vex_l ? 32 : 16, count = vector_bytes / wider;
        unsigned index = (unsigned)insn->mem_index, mask = insn->vvvv, dest = insn->reg;
        uint64_t base = (uint64_t)insn->disp;
        bool checks = suspend_alignment(v);

        if (insn->mem_base >= 0)
                base += v->st.gpr[insn->mem_base];
        if (dest == mask || dest == index || mask == index)
                soft_raise(v, X86_VEC_UD);
        vectors_to_memory(v);
        for (unsigned i = 0; i < vector_bytes / size; i++)
                element_set(v, mask, i, size, element_selected(v, mask, i, size) ? ~0ull : 0);
        zero_from(v, mask, vector_bytes);
        for (unsigned i = 0; i < count; i++) {
                uint64_t offset = element_get(v, index, i, index_size);

                if (!element_selected(v, mask, i, size))
                        continue;
                if (index_size == 4)
                        offset = (uint64_t)(int64_t)(int32_t)offset;
                offset = (base + offset * insn->mem_scale) & sys_mask(insn->asize);
                element_set(v, dest, i, size,
                    soft_ld(v, soft_linear(v, insn->mem_seg, offset, size, X86_ACC_R), size, SOFT_ACC_DATA));
                zero_from(v, dest, vector_bytes);
                element_set(v, mask, i, size, 0);
        }
        zero_from(v, mask, 0);
        zero_from(v, dest, count * size);
        v->align_checks = checks;
}

/* An MMX instruction leaves all x87 registers valid with TOP 0: SDM 1 9.5.1. */
static void
enter_mmx(struct soft_cpu *v)
{
        uint8_t *x = v->st.xsave;
        uint16_t *fsw = (uint16_t *)(void *)(x + 2);
        unsigned top = *fsw >> 11 & 7;
        uint8_t physical[8][16];

        materialise(v, XF_X87, 32, 128);
        for (unsigned i = 0; i < 8; i++)
                copy_bytes(physical[(top + i) & 7], x + 32 + 16 * i, 16);
        for (unsigned i = 0; i < 8; i++)
                copy_bytes(x + 32 + 16 * i, physical[i], 16);
        *fsw &= (uint16_t)~0x3800;
        x[4] = 0xff;
}

static void
maskmov_store(struct soft_cpu *v, const struct x86_insn *insn, const uint8_t *data, const uint8_t *mask, unsigned n)
{
        unsigned seg = insn->seg_override == 0xff ? X86_DS : insn->seg_override;
        uint64_t offset = v->st.gpr[X86_RDI] & sys_mask(insn->asize);
        gva_t at[16] = { 0 };

        soft_check_alignment(v, soft_linear(v, seg, offset, 1, X86_ACC_W), 8);
        for (unsigned i = 0; i < n; i++) {
                if (!(mask[i] & 0x80))
                        continue;
                at[i] = soft_linear(v, seg, (offset + i) & operand_mask(v), 1, X86_ACC_W);
                soft_probe_write(v, at[i], 1, SOFT_ACC_DATA);
        }
        for (unsigned i = 0; i < n; i++)
                if (mask[i] & 0x80)
                        soft_st(v, at[i], 1, data[i], SOFT_ACC_DATA);
}

void
sys_maskmov(struct soft_cpu *v, const struct x86_insn *insn)
{
        const uint8_t *x = v->st.xsave;

        if (insn->vex || insn->opsize_prefix) {
                vectors_to_memory(v);
                maskmov_store(v, insn, x + XMM_OFFSET + insn->reg * 16u, x + XMM_OFFSET + insn->rm * 16u, 16);
                return;
        }
        require_unit(v, X86_CR0_TS | X86_CR0_EM);
        soft_fpu_put(v);
        enter_mmx(v);
        maskmov_store(v, insn, x + 32 + (insn->reg & 7) * 16u, x + 32 + (insn->rm & 7) * 16u, 8);
}
