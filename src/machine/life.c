/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The machine's life: signals in, one reason to end out.
 *
 * SIGTERM is the power button once the guest has enabled ACPI; before that, and
 * for SIGINT and SIGHUP always, the VM ends, everything is put back (terminal,
 * instance), and the signal is raised again so that the parent sees it.
 * SIGQUIT does the same, with a dump if debug.trap is set.
 */
#include "base/log.h"
#include "base/util.h"
#include "instance/regs.h"
#include "machine/private.h"

#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/signalfd.h>
#include <unistd.h>

static const int life_signals[] = { SIGTERM, SIGINT, SIGHUP, SIGQUIT };

void
machine_end(struct machine *machine, enum machine_end end)
{
        int running = MACHINE_RUNNING;

        /* Release pairs with the acquire in vcpu.c: what led here is visible to who sees the end. */
        if (!atomic_compare_exchange_strong_explicit(&machine->end, &running, (int)end, memory_order_acq_rel,
                memory_order_acquire))
                return;
        pthread_mutex_lock(&machine->park_lock);
        pthread_cond_broadcast(&machine->park_cond);
        pthread_mutex_unlock(&machine->park_lock);
        for (unsigned i = 0; i < machine->config->cpus; i++)
                vcpu_event(machine, i, CPU_EVENT_KICK, 0);
        loop_stop(machine->loop);
}

static void
dump_all(struct machine *machine)
{
        struct x86_state st;

        for (unsigned i = 0; i < machine->config->cpus; i++) {
                vcpu_get_state(machine, i, &st);
                regs_print(stderr, i, &st);
        }
}

static void
life_signal(void *ctx, unsigned events)
{
        struct machine *machine = ctx;
        struct signalfd_siginfo info;

        if (read(machine->signal_fd, &info, sizeof(info)) != sizeof(info))
                return;
        if (info.ssi_signo == SIGTERM && platform_press_power_button(machine))
                return;
        if (info.ssi_signo == SIGQUIT && machine->config->debug_trap) {
                vcpus_park(machine);
                dump_all(machine);
                vcpus_unpark(machine);
        }
        machine->end_signal = (int)info.ssi_signo;
        machine_end(machine, MACHINE_END_SIGNAL);
}

int
life_start(struct machine *machine, struct config_error *err)
{
        sigset_t set;
        int error;

        sigemptyset(&set);
        for (unsigned i = 0; i < ARRAY_LEN(life_signals); i++) {
                struct sigaction old;

                /* What the parent told us to ignore (nohup) stays ignored. */
                if (sigaction(life_signals[i], NULL, &old) == 0 && old.sa_handler == SIG_IGN)
                        continue;
                sigaddset(&set, life_signals[i]);
        }
        /* Blocked in this thread before any other exists, so in all of them. */
        error = -pthread_sigmask(SIG_BLOCK, &set, NULL);
        if (error == 0) {
                machine->signal_fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
                error = machine->signal_fd < 0 ? -errno : 0;
        }
        if (error == 0)
                error = loop_fd_add(machine->loop, machine->signal_fd, EPOLLIN, life_signal, machine,
                    &machine->signal_watch);
        if (error != 0)
                config_fail(err, "signals: %s", strerror(-error));
        return error;
}

void
life_stop(struct machine *machine)
{
        if (machine->signal_watch != NULL)
                loop_fd_remove(machine->signal_watch);
        if (machine->signal_fd >= 0)
                close(machine->signal_fd);
}

static void
print_stats(struct machine *machine)
{
        char buf[8192];

        for (unsigned i = 0; i < machine->config->cpus; i++) {
                buf[0] = '\0';
                machine->engine_ops->stats(machine->vcpu[i].cpu, buf, sizeof(buf));
                fprintf(stderr, "virtual CPU %u\n%s", i, buf);
        }
}

enum machine_end
machine_run(struct machine *machine, int *ret_signal)
{
        enum machine_end end;

        if (strcmp(machine->config->engine, "auto") == 0)
                log_info("CPU engine %s, %s", machine->engine_ops->name, machine->engine_why.text);
        if (vcpus_start(machine) != 0)
                machine_end(machine, MACHINE_END_ERROR);
        else
                loop_run(machine->loop);
        vcpus_join(machine);
        end = (enum machine_end)atomic_load(&machine->end);
        if (machine->config->debug_dump && (end == MACHINE_END_TRIPLE_FAULT || end == MACHINE_END_ERROR))
                dump_all(machine);
        if (machine->config->soft_stats)
                print_stats(machine);
        *ret_signal = machine->end_signal;
        return end;
}
