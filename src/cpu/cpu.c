/* SPDX-License-Identifier: BSD-2-Clause */
/* Which engine runs the guest. */
#include "cpu/cpu.h"

#include <cpuid.h>
#include <string.h>

/* VT-x is CPUID 1 ECX bit 5 (SDM 3C 24.6), SVM is CPUID 80000001h ECX bit 2 (APM 2 15.4). */
static bool
host_has_virtualisation(void)
{
        unsigned a, b, c, d;

        if (__get_cpuid(1, &a, &b, &c, &d) && (c & (1u << 5)))
                return true;
        return __get_cpuid(0x80000001u, &a, &b, &c, &d) && (c & (1u << 2));
}

/*
 * A /dev/kvm without VT-x or SVM behind it emulates every instruction: hundreds of
 * times slower than translating, so auto leaves it alone.
 */
static const struct cpu_engine_ops *
select_auto(const char **ret_why)
{
        const char *unused;

        if (!host_has_virtualisation())
                *ret_why = "chosen because this processor offers neither VT-x nor SVM";
        else if (cpu_engine_kvm.probe(ret_why) == 0) {
                *ret_why = "chosen because this processor offers hardware virtualisation";
                return &cpu_engine_kvm;
        }
        return cpu_engine_soft.probe(&unused) == 0 ? &cpu_engine_soft : NULL;
}

const struct cpu_engine_ops *
cpu_engine_select(const char *name, const char **ret_why)
{
        const struct cpu_engine_ops *ops;

        if (strcmp(name, "auto") == 0)
                return select_auto(ret_why);
        if (strcmp(name, "soft") == 0)
                ops = &cpu_engine_soft;
        else if (strcmp(name, "kvm") == 0)
                ops = &cpu_engine_kvm;
        else {
                *ret_why = "no such engine; there are auto, soft and kvm";
                return NULL;
        }
        *ret_why = "asked for";
        return ops->probe(ret_why) == 0 ? ops : NULL;
}
