/* SPDX-License-Identifier: BSD-2-Clause */
/* The whole processor state between struct x86_state and KVM's pieces of it. */
#include "base/util.h"
#include "cpu/kvm/kvm.h"

#include <errno.h>
#include <stddef.h>
#include <string.h>
#include <sys/ioctl.h>

static const struct {
        uint32_t msr;
        size_t offset;
} state_msrs[] = {
        { 0x10 /* TSC: handled apart */, SIZE_MAX },
        { 0xc0000081, offsetof(struct x86_state, star) },
        { 0xc0000082, offsetof(struct x86_state, lstar) },
        { 0xc0000083, offsetof(struct x86_state, cstar) },
        { 0xc0000084, offsetof(struct x86_state, sfmask) },
        { 0xc0000102, offsetof(struct x86_state, kernel_gs_base) },
        { 0xc0000103, offsetof(struct x86_state, tsc_aux) },
        { 0x174, offsetof(struct x86_state, sysenter_cs) },
        { 0x175, offsetof(struct x86_state, sysenter_esp) },
        { 0x176, offsetof(struct x86_state, sysenter_eip) },
        { 0x277, offsetof(struct x86_state, pat) },
        { 0x1a0, offsetof(struct x86_state, misc_enable) },
        { 0x2ff, offsetof(struct x86_state, mtrr_def_type) },
};

/* One at a time: a host that lacks one MSR must not keep the others from being set. */
int
kvm_msr(struct cpu *cpu, unsigned long request, uint32_t msr, uint64_t *value)
{
        union {
                struct kvm_msrs head;
                uint8_t bytes[sizeof(struct kvm_msrs) + sizeof(struct kvm_msr_entry)];
        } block = { .head = { .nmsrs = 1 } };
        struct kvm_msr_entry entry = { .index = msr, .data = *value };

        memcpy(block.bytes + sizeof(block.head), &entry, sizeof(entry));
        if (ioctl(cpu->fd, request, &block) != 1)
                return -EIO;
        memcpy(&entry, block.bytes + sizeof(block.head), sizeof(entry));
        *value = entry.data;
        return 0;
}

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

static void
get_fpu(struct cpu *cpu, struct x86_state *st)
{
        struct kvm_xsave x;
        struct kvm_xcrs c;

        if (ioctl(cpu->fd, KVM_GET_XSAVE, &x) == 0)
                memcpy(st->xsave, x.region, sizeof(st->xsave));
        if (ioctl(cpu->fd, KVM_GET_XCRS, &c) == 0 && c.nr_xcrs != 0)
                st->xcr0 = c.xcrs[0].value;
}

static int
set_fpu(struct cpu *cpu, const struct x86_state *st)
{
        struct kvm_xsave x = { .region = { 0 } };
        struct kvm_xcrs c = { .nr_xcrs = 1, .xcrs = { { .xcr = 0, .value = st->xcr0 } } };

        memcpy(x.region, st->xsave, sizeof(st->xsave));
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
        struct kvm_vcpu_events e = { .flags = KVM_VCPUEVENT_VALID_SHADOW | KVM_VCPUEVENT_VALID_NMI_PENDING };

        for (unsigned i = 0; i < 4; i++)
                d.db[i] = st->dr[i];
        e.nmi.pending = st->nmi_pending;
        e.nmi.masked = st->nmi_blocked;
        e.interrupt.shadow = (uint8_t)((st->shadow_sti ? KVM_X86_SHADOW_INT_STI : 0) |
                                       (st->shadow_ss ? KVM_X86_SHADOW_INT_MOV_SS : 0));
        if (ioctl(cpu->fd, KVM_SET_DEBUGREGS, &d) != 0 || ioctl(cpu->fd, KVM_SET_VCPU_EVENTS, &e) != 0)
                return -errno;
        return 0;
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
        uint64_t tsc = 0;

        memset(ret_state, 0, sizeof(*ret_state));
        get_regs(cpu, ret_state);
        get_sregs(cpu, ret_state);
        get_fpu(cpu, ret_state);
        get_events(cpu, ret_state);
        for (unsigned i = 1; i < ARRAY_LEN(state_msrs); i++)
                (void)kvm_msr(cpu, KVM_GET_MSRS, state_msrs[i].msr,
                    (uint64_t *)((char *)ret_state + state_msrs[i].offset));
        if (kvm_msr(cpu, KVM_GET_MSRS, state_msrs[0].msr, &tsc) == 0)
                ret_state->tsc_offset = tsc - __builtin_ia32_rdtsc();
        get_mp_state(cpu);
        ret_state->mp_state = cpu->mp_state;
}

int
kvm_state_set(struct cpu *cpu, const struct x86_state *state)
{
        uint64_t tsc = __builtin_ia32_rdtsc() + state->tsc_offset;
        int error;

        if ((error = set_sregs(cpu, state)) != 0 || (error = set_regs(cpu, state)) != 0 ||
            (error = set_fpu(cpu, state)) != 0 || (error = set_events(cpu, state)) != 0)
                return error;
        for (unsigned i = 1; i < ARRAY_LEN(state_msrs); i++) {
                uint64_t value;

                memcpy(&value, (const char *)state + state_msrs[i].offset, sizeof(value));
                (void)kvm_msr(cpu, KVM_SET_MSRS, state_msrs[i].msr, &value);
        }
        (void)kvm_msr(cpu, KVM_SET_MSRS, state_msrs[0].msr, &tsc);
        return set_mp_state(cpu, state->mp_state);
}
