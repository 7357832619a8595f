/* SPDX-License-Identifier: BSD-2-Clause */
/* The whole processor state between struct x86_state and KVM's pieces of it. */
#include "base/bytes.h"
#include "base/util.h"
#include "cpu/kvm/kvm.h"
#include "x86/msr.h"

#include <errno.h>
#include <stddef.h>
#include <string.h>
#include <sys/ioctl.h>

static struct kvm_segment
segment_to_kvm(const struct x86_seg *seg)
{
        bool unusable = (seg->attr & X86_SEG_UNUSABLE) || !(seg->attr & X86_SEG_P);

        return (struct kvm_segment){ .base = seg->base,
                .limit = seg->limit,
                .selector = seg->sel,
                .type = seg->attr & X86_SEG_TYPE,
                .present = !unusable,
                .dpl = (seg->attr & X86_SEG_DPL) >> X86_SEG_DPL_SHIFT,
                .db = (seg->attr & X86_SEG_DB) != 0,
                .s = (seg->attr & X86_SEG_S) != 0,
                .l = (seg->attr & X86_SEG_L) != 0,
                .g = (seg->attr & X86_SEG_G) != 0,
                .avl = (seg->attr & X86_SEG_AVL) != 0,
                .unusable = unusable };
}

static struct x86_seg
segment_from_kvm(const struct kvm_segment *seg)
{
        return (struct x86_seg){ .base = seg->base,
                .limit = seg->limit,
                .sel = seg->selector,
                .attr = seg->type | (seg->s ? X86_SEG_S : 0) | (uint32_t)seg->dpl << X86_SEG_DPL_SHIFT |
                        (seg->present ? X86_SEG_P : 0) | (seg->avl ? X86_SEG_AVL : 0) | (seg->l ? X86_SEG_L : 0) |
                        (seg->db ? X86_SEG_DB : 0) | (seg->g ? X86_SEG_G : 0) |
                        (seg->unusable ? X86_SEG_UNUSABLE : 0) };
}

static void
get_regs(struct cpu *cpu, struct x86_state *st)
{
        struct kvm_regs r;

        if (ioctl(cpu->fd, KVM_GET_REGS, &r) != 0)
                return;
        uint64_t gpr[X86_GPR_COUNT] = { r.rax, r.rcx, r.rdx, r.rbx, r.rsp, r.rbp, r.rsi, r.rdi, r.r8, r.r9, r.r10,
                r.r11, r.r12, r.r13, r.r14, r.r15 };
        memcpy(st->gpr, gpr, sizeof(gpr));
        st->rip = r.rip;
        st->rflags = r.rflags;
}

static int
set_regs(struct cpu *cpu, const struct x86_state *st)
{
        const uint64_t *g = st->gpr;
        struct kvm_regs r = { .rax = g[X86_RAX], .rcx = g[X86_RCX], .rdx = g[X86_RDX], .rbx = g[X86_RBX],
                .rsp = g[X86_RSP], .rbp = g[X86_RBP], .rsi = g[X86_RSI], .rdi = g[X86_RDI], .r8 = g[X86_R8],
                .r9 = g[X86_R9], .r10 = g[X86_R10], .r11 = g[X86_R11], .r12 = g[X86_R12], .r13 = g[X86_R13],
                .r14 = g[X86_R14], .r15 = g[X86_R15], .rip = st->rip, .rflags = st->rflags };

        return ioctl(cpu->fd, KVM_SET_REGS, &r) != 0 ? -errno : 0;
}

static void
get_sregs(struct cpu *cpu, struct x86_state *st)
{
        struct kvm_sregs s;

        if (ioctl(cpu->fd, KVM_GET_SREGS, &s) != 0)
                return;
        st->seg[X86_ES] = segment_from_kvm(&s.es);
        st->seg[X86_CS] = segment_from_kvm(&s.cs);
        st->seg[X86_SS] = segment_from_kvm(&s.ss);
        st->seg[X86_DS] = segment_from_kvm(&s.ds);
        st->seg[X86_FS] = segment_from_kvm(&s.fs);
        st->seg[X86_GS] = segment_from_kvm(&s.gs);
        st->ldtr = segment_from_kvm(&s.ldt);
        st->tr = segment_from_kvm(&s.tr);
        st->gdtr = (struct x86_dtable){ .base = s.gdt.base, .limit = s.gdt.limit };
        st->idtr = (struct x86_dtable){ .base = s.idt.base, .limit = s.idt.limit };
        st->cr0 = s.cr0;
        st->cr2 = s.cr2;
        st->cr3 = s.cr3;
        st->cr4 = s.cr4;
        st->cr8 = s.cr8;
        st->efer = s.efer;
        st->apic_base = s.apic_base;
}

static int
set_sregs(struct cpu *cpu, const struct x86_state *st)
{
        struct kvm_sregs s = { .es = segment_to_kvm(&st->seg[X86_ES]), .cs = segment_to_kvm(&st->seg[X86_CS]),
                .ss = segment_to_kvm(&st->seg[X86_SS]), .ds = segment_to_kvm(&st->seg[X86_DS]),
                .fs = segment_to_kvm(&st->seg[X86_FS]), .gs = segment_to_kvm(&st->seg[X86_GS]),
                .ldt = segment_to_kvm(&st->ldtr), .tr = segment_to_kvm(&st->tr),
                .gdt = { .base = st->gdtr.base, .limit = st->gdtr.limit },
                .idt = { .base = st->idtr.base, .limit = st->idtr.limit }, .cr0 = st->cr0, .cr2 = st->cr2,
                .cr3 = st->cr3, .cr4 = st->cr4, .cr8 = st->cr8, .efer = st->efer, .apic_base = st->apic_base };

        return ioctl(cpu->fd, KVM_SET_SREGS, &s) != 0 ? -errno : 0;
}

/* Legacy area, header and AVX lie alike everywhere; PKRU where the processor has it. */
#define XSAVE_COMMON_BYTES 832u
#define XSTATE_BV_AT       512u
#define XSTATE_PKRU        (1ull << 9)
#define XSTATE_KNOWN       (7ull | XSTATE_PKRU)

void
kvm_xsave_unpack(const uint8_t *area, uint32_t pkru_offset, uint8_t *ret_xsave)
{
        uint64_t present = get_le64(area + XSTATE_BV_AT) & XSTATE_KNOWN;

        memset(ret_xsave, 0, X86_XSAVE_BYTES);
        memcpy(ret_xsave, area, XSAVE_COMMON_BYTES);
        put_le64(ret_xsave + XSTATE_BV_AT, present);
        if (pkru_offset != 0 && (present & XSTATE_PKRU))
                memcpy(ret_xsave + X86_XSAVE_PKRU, area + pkru_offset, 4);
}

/* PKRU counts in struct x86_state whatever XSTATE_BV says. */
void
kvm_xsave_pack(const uint8_t *xsave, uint32_t pkru_offset, uint8_t *ret_area)
{
        uint64_t present = get_le64(xsave + XSTATE_BV_AT) & XSTATE_KNOWN & ~XSTATE_PKRU;

        memset(ret_area, 0, sizeof(struct kvm_xsave));
        memcpy(ret_area, xsave, XSAVE_COMMON_BYTES);
        if (pkru_offset != 0) {
                memcpy(ret_area + pkru_offset, xsave + X86_XSAVE_PKRU, 4);
                present |= XSTATE_PKRU;
        }
        put_le64(ret_area + XSTATE_BV_AT, present);
}

static void
get_fpu(struct cpu *cpu, struct x86_state *st)
{
        struct kvm_xsave x;
        struct kvm_xcrs c;

        if (ioctl(cpu->fd, KVM_GET_XSAVE, &x) == 0)
                kvm_xsave_unpack((const uint8_t *)x.region, cpu->engine->pkru_offset, st->xsave);
        if (ioctl(cpu->fd, KVM_GET_XCRS, &c) == 0 && c.nr_xcrs != 0)
                st->xcr0 = c.xcrs[0].value;
}

static int
set_fpu(struct cpu *cpu, const struct x86_state *st)
{
        struct kvm_xsave x;
        struct kvm_xcrs c = { .nr_xcrs = 1, .xcrs = { { .xcr = 0, .value = st->xcr0 } } };

        kvm_xsave_pack(st->xsave, cpu->engine->pkru_offset, (uint8_t *)x.region);
        /* A host without XSAVE knows only the legacy part, which the reset state has already. */
        (void)ioctl(cpu->fd, KVM_SET_XCRS, &c);
        return ioctl(cpu->fd, KVM_SET_XSAVE, &x) != 0 ? -errno : 0;
}

static void
get_events(struct cpu *cpu, struct x86_state *st)
{
        struct kvm_vcpu_events e;
        struct kvm_debugregs d;

        if (ioctl(cpu->fd, KVM_GET_DEBUGREGS, &d) == 0) {
                for (unsigned i = 0; i < 4; i++)
                        st->dr[i] = d.db[i];
                st->dr6 = d.dr6;
                st->dr7 = d.dr7;
        }
        if (ioctl(cpu->fd, KVM_GET_VCPU_EVENTS, &e) != 0)
                return;
        st->nmi_pending = e.nmi.pending;
        st->nmi_blocked = e.nmi.masked;
        st->shadow_sti = (e.interrupt.shadow & KVM_X86_SHADOW_INT_STI) != 0;
        st->shadow_ss = (e.interrupt.shadow & KVM_X86_SHADOW_INT_MOV_SS) != 0;
}

static int
set_events(struct cpu *cpu, const struct x86_state *st)
{
        struct kvm_debugregs d = { .dr6 = st->dr6, .dr7 = st->dr7 };
        struct kvm_vcpu_events e;

        for (unsigned i = 0; i < 4; i++)
                d.db[i] = st->dr[i];
        /* What KVM is about to deliver stays, but for a processor that begins anew. */
        if (ioctl(cpu->fd, KVM_GET_VCPU_EVENTS, &e) != 0)
                return -errno;
        if (st->mp_state == X86_MP_WAIT_INIT || st->mp_state == X86_MP_WAIT_SIPI)
                memset(&e, 0, sizeof(e));
        e.flags &= KVM_VCPUEVENT_VALID_PAYLOAD;
        e.flags |= KVM_VCPUEVENT_VALID_SHADOW | KVM_VCPUEVENT_VALID_NMI_PENDING;
        e.nmi.pending = st->nmi_pending;
        e.nmi.masked = st->nmi_blocked;
        e.interrupt.shadow = (uint8_t)((st->shadow_sti ? KVM_X86_SHADOW_INT_STI : 0) |
                                       (st->shadow_ss ? KVM_X86_SHADOW_INT_MOV_SS : 0));
        if (ioctl(cpu->fd, KVM_SET_DEBUGREGS, &d) != 0 || ioctl(cpu->fd, KVM_SET_VCPU_EVENTS, &e) != 0)
                return -errno;
        return 0;
}

/*
 * The offset itself, which is the same for all vCPUs, where KVM has it (Linux 5.16); else the counter
 * by its MSR, and KVM takes writes that are close together for one and the same.
 */
static struct kvm_device_attr
tsc_offset_attr(uint64_t *offset)
{
        return (struct kvm_device_attr){ .group = KVM_VCPU_TSC_CTRL, .attr = KVM_VCPU_TSC_OFFSET, .addr = (uintptr_t)offset };
}

static uint64_t
get_tsc_offset(struct cpu *cpu)
{
        uint64_t offset = 0, tsc = 0;
        struct kvm_device_attr attr = tsc_offset_attr(&offset);

        if (ioctl(cpu->fd, KVM_GET_DEVICE_ATTR, &attr) == 0)
                return offset;
        return kvm_msr(cpu, KVM_GET_MSRS, X86_MSR_TSC, &tsc) == 0 ? tsc - __builtin_ia32_rdtsc() : 0;
}

static void
set_tsc_offset(struct cpu *cpu, uint64_t offset)
{
        struct kvm_device_attr attr = tsc_offset_attr(&offset);
        uint64_t tsc;

        if (ioctl(cpu->fd, KVM_SET_DEVICE_ATTR, &attr) == 0)
                return;
        tsc = __builtin_ia32_rdtsc() + offset;
        (void)kvm_msr(cpu, KVM_SET_MSRS, X86_MSR_TSC, &tsc);
}

static const uint8_t mp_states[] = {
        [X86_MP_RUNNING] = KVM_MP_STATE_RUNNABLE,
        [X86_MP_WAIT_INIT] = KVM_MP_STATE_UNINITIALIZED,
        [X86_MP_WAIT_SIPI] = KVM_MP_STATE_INIT_RECEIVED,
        [X86_MP_HALTED] = KVM_MP_STATE_HALTED,
};

/* Without a local APIC in the kernel it knows only of processors that run. */
static void
get_mp_state(struct cpu *cpu)
{
        struct kvm_mp_state mp;

        if (!cpu->engine->split || ioctl(cpu->fd, KVM_GET_MP_STATE, &mp) != 0)
                return;
        cpu->mp_state = X86_MP_RUNNING;
        for (unsigned i = 0; i < ARRAY_LEN(mp_states); i++) {
                if (mp_states[i] == mp.mp_state)
                        cpu->mp_state = (uint8_t)i;
        }
}

static int
set_mp_state(struct cpu *cpu, uint8_t state)
{
        struct kvm_mp_state mp = { .mp_state = state < ARRAY_LEN(mp_states) ? mp_states[state] : KVM_MP_STATE_RUNNABLE };

        cpu->mp_state = state;
        return cpu->engine->split && ioctl(cpu->fd, KVM_SET_MP_STATE, &mp) != 0 ? -errno : 0;
}

void
kvm_state_get(struct cpu *cpu, struct x86_state *ret_state)
{
        memset(ret_state, 0, sizeof(*ret_state));
        get_regs(cpu, ret_state);
        get_sregs(cpu, ret_state);
        get_fpu(cpu, ret_state);
        get_events(cpu, ret_state);
        kvm_msrs_get(cpu, ret_state);
        ret_state->tsc_offset = get_tsc_offset(cpu);
        get_mp_state(cpu);
        ret_state->mp_state = cpu->mp_state;
}

int
kvm_state_set(struct cpu *cpu, const struct x86_state *state)
{
        int error;

        if ((error = set_sregs(cpu, state)) != 0 || (error = set_regs(cpu, state)) != 0 ||
            (error = set_fpu(cpu, state)) != 0 || (error = set_events(cpu, state)) != 0 ||
            (error = kvm_msrs_set(cpu, state)) != 0)
                return error;
        set_tsc_offset(cpu, state->tsc_offset);
        return set_mp_state(cpu, state->mp_state);
}
