/* SPDX-License-Identifier: BSD-2-Clause */
/* Which engine runs the guest. */
#include "cpu/cpu.h"
#include "config/config.h"

#include <cpuid.h>
#include <stdio.h>
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

static void
say(struct config_error *why, const char *text)
{
        snprintf(why->text, sizeof(why->text), "%s", text);
}

/*
 * A /dev/kvm without VT-x or SVM behind it emulates every instruction: hundreds of
 * times slower than translating, so auto leaves it alone.
 */
static const struct cpu_engine_ops *
select_auto(const struct cpu_config *config, struct config_error *why)
{
        struct config_error unused;

        if (!host_has_virtualisation())
                say(why, "chosen because this processor offers neither VT-x nor SVM");
        else if (cpu_engine_kvm.probe(config, &unused) == 0) {
                say(why, "chosen because this processor offers hardware virtualisation");
                return &cpu_engine_kvm;
        } else
                snprintf(why->text, sizeof(why->text), "chosen because %.400s", unused.text);
        return cpu_engine_soft.probe(config, &unused) == 0 ? &cpu_engine_soft : NULL;
}

const struct cpu_engine_ops *
cpu_engine_select(const char *name, const struct cpu_config *config, struct config_error *why)
{
        const struct cpu_engine_ops *ops;

        if (strcmp(name, "auto") == 0)
                return select_auto(config, why);
        if (strcmp(name, "soft") == 0)
                ops = &cpu_engine_soft;
        else if (strcmp(name, "kvm") == 0)
                ops = &cpu_engine_kvm;
        else {
                say(why, "no such engine; there are auto, soft and kvm");
                return NULL;
        }
        say(why, "asked for");
        return ops->probe(config, why) == 0 ? ops : NULL;
}
