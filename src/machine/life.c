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
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

static const int life_signals[] = { SIGTERM, SIGINT, SIGHUP, SIGQUIT };

/* Where note_signal() writes the numbers of signals; -1: there is no machine. */
static int signal_pipe = -1;

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
        uint8_t number;

        if (read(machine->signal_fd, &number, sizeof(number)) != sizeof(number))
                return;
        if (number == SIGTERM && platform_press_power_button(machine))
                return;
        if (number == SIGQUIT && machine->config->debug_trap) {
                vcpus_park(machine);
                dump_all(machine);
                vcpus_unpark(machine);
        }
        machine->end_signal = number;
        machine_end(machine, MACHINE_END_SIGNAL);
}

/*
 * Not a signalfd: the kernel wakes who waits for one at each signal that the process gets, and the vCPUs' threads get thousands
 * in a second.
 */
static void
note_signal(int number)
{
        uint8_t byte = (uint8_t)number;
        int saved = errno;

        if (write(signal_pipe, &byte, sizeof(byte)) < 0)
                errno = saved; /* there are as many as anybody can want */
}

/* What the parent told us to ignore (nohup) stays ignored. */
static void
catch_signals(sigset_t *ret_caught)
{
        struct sigaction catch = { .sa_handler = note_signal, .sa_flags = SA_RESTART };

        sigfillset(&catch.sa_mask);
        sigemptyset(ret_caught);
        for (unsigned i = 0; i < ARRAY_LEN(life_signals); i++) {
                struct sigaction old;

                if (sigaction(life_signals[i], NULL, &old) == 0 && old.sa_handler == SIG_IGN)
                        continue;
                sigaddset(ret_caught, life_signals[i]);
        }
        /* Blocked in this thread before any other exists, so in all of them; let in by the loop alone. */
        pthread_sigmask(SIG_BLOCK, ret_caught, NULL);
        for (unsigned i = 0; i < ARRAY_LEN(life_signals); i++)
                if (sigismember(ret_caught, life_signals[i]))
                        sigaction(life_signals[i], &catch, NULL);
}

int
life_start(struct machine *machine, struct config_error *err)
{
        int ends[2], error = 0;

        if (pipe2(ends, O_CLOEXEC | O_NONBLOCK) != 0)
                error = -errno;
        if (error == 0) {
                machine->signal_fd = ends[0];
                signal_pipe = ends[1];
                catch_signals(&machine->signals);
                error = loop_fd_add(machine->loop, machine->signal_fd, EPOLLIN, life_signal, machine,
                    &machine->signal_watch);
        }
        if (error != 0)
                config_fail(err, "signals: %s", strerror(-error));
        return error;
}

void
life_stop(struct machine *machine)
{
        if (machine->signal_watch != NULL)
                loop_fd_remove(machine->signal_watch);
        if (machine->signal_fd < 0)
                return;
        for (unsigned i = 0; i < ARRAY_LEN(life_signals); i++)
                if (sigismember(&machine->signals, life_signals[i]))
                        signal(life_signals[i], SIG_DFL);
        close(machine->signal_fd);
        close(signal_pipe);
        signal_pipe = -1;
}

static void
run_loop(struct machine *machine)
{
        pthread_sigmask(SIG_UNBLOCK, &machine->signals, NULL);
        loop_run(machine->loop);
        pthread_sigmask(SIG_BLOCK, &machine->signals, NULL);
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
                run_loop(machine);
        vcpus_join(machine);
        end = (enum machine_end)atomic_load(&machine->end);
        if (machine->config->debug_dump && (end == MACHINE_END_TRIPLE_FAULT || end == MACHINE_END_ERROR))
                dump_all(machine);
        if (machine->config->soft_stats)
                print_stats(machine);
        *ret_signal = machine->end_signal;
        return end;
}
