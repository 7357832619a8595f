/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * bhyveload: creates a VM, loads a guest kernel into its memory and sets the
 * boot processor's state, for bhyve to run.  See bhyveload(8).
 */
#include "base/log.h"
#include "base/parse.h"
#include "base/util.h"
#include "boot/fbsd/loader.h"
#include "boot/fbsd/userboot.h"
#include "config/config.h"
#include "fwtables/fwtables.h"
#include "instance/instance.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <termios.h>
#include <unistd.h>

#define EXIT_QUIT   1
#define EXIT_REBOOT 2
#define EXIT_BAD_VALUE 64

#define MEMORY_DEFAULT (256 * MIB)
#define LIST_MAX       256

struct options {
        const char *vm_name;
        const char *console; /* NULL: stdin and stdout */
        const char *host_dir;
        const char *object; /* -l: a loader to run in place of ours */
        uint64_t memory_bytes;
        bool wired;
        bool guest_in_core;
        const char *disks[32];
        unsigned disk_count;
        const char *env[LIST_MAX];
        unsigned env_count;
};

/* The terminal while the loader runs. */
struct terminal {
        int in, out;
        bool owned;    /* opened here: -c */
        bool changed;  /* its settings are to be restored */
        bool crlf;     /* nobody below turns newline into carriage return and newline */
        struct termios saved;
        sigset_t wait_mask; /* signals open while waiting */
};

static volatile sig_atomic_t stop_signal;

static void
on_signal(int sig)
{
        stop_signal = sig;
}

/* --- Terminal --- */

static int
terminal_get(void *ctx, int timeout_ms)
{
        struct terminal *t = ctx;
        struct pollfd pfd = {.fd = t->in, .events = POLLIN};
        struct timespec ts = {timeout_ms / 1000, timeout_ms % 1000 * 1000000l};
        unsigned char c;

        if (stop_signal)
                return CONSOLE_STOP;
        int n = ppoll(&pfd, 1, timeout_ms < 0 ? NULL : &ts, &t->wait_mask);
        if (stop_signal)
                return CONSOLE_STOP;
        if (n <= 0)
                return CONSOLE_TIMEOUT;
        ssize_t got = read(t->in, &c, 1);
        if (got == 1)
                return c;
        return got < 0 && (errno == EINTR || errno == EAGAIN) ? CONSOLE_TIMEOUT : CONSOLE_END;
}

static void
write_all(int fd, const char *text, size_t len)
{
        while (len > 0 && !stop_signal) {
                ssize_t n = write(fd, text, len);
                if (n < 0 && errno == EAGAIN) {
                        struct pollfd pfd = {.fd = fd, .events = POLLOUT};
                        poll(&pfd, 1, 100);
                        continue;
                }
                if (n < 0 && errno == EINTR)
                        continue;
                if (n < 0)
                        return;
                text += n;
                len -= (size_t)n;
        }
}

static void
terminal_put(void *ctx, const char *text, size_t len)
{
        struct terminal *t = ctx;

        while (len > 0) {
                const char *nl = t->crlf ? memchr(text, '\n', len) : NULL;
                size_t n = nl ? (size_t)(nl - text) : len;
                write_all(t->out, text, n);
                if (nl) {
                        write_all(t->out, "\r\n", 2);
                        n++;
                }
                text += n;
                len -= n;
        }
}

static const struct console_ops terminal_ops = {.get = terminal_get, .put = terminal_put};

static int
terminal_open(struct terminal *t, const char *device)
{
        struct termios raw;

        *t = (struct terminal){.in = STDIN_FILENO, .out = STDOUT_FILENO};
        if (device) {
                t->in = t->out = open(device, O_RDWR | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
                if (t->in < 0) {
                        log_error("%s: %s", device, strerror(errno));
                        return -1;
                }
                t->owned = true;
        }
        if (tcgetattr(t->in, &t->saved) < 0)
                return 0;
        raw = t->saved;
        if (device) {
                cfmakeraw(&raw);
                t->crlf = true;
        } else {
                raw.c_lflag &= ~(tcflag_t)(ICANON | ECHO);
                raw.c_iflag &= ~(tcflag_t)ICRNL;
        }
        t->changed = tcsetattr(t->in, TCSANOW, &raw) == 0;
        return 0;
}

static void
terminal_close(struct terminal *t)
{
        if (t->changed)
                tcsetattr(t->in, TCSADRAIN, &t->saved);
        if (t->owned)
                close(t->in);
}

/* Signals that end the loader are taken only while it waits for a key. */
static void
catch_signals(struct terminal *t)
{
        static const int signals[] = {SIGINT, SIGTERM, SIGHUP, SIGQUIT};
        struct sigaction sa = {.sa_handler = on_signal};
        sigset_t block;

        sigemptyset(&block);
        for (size_t i = 0; i < ARRAY_LEN(signals); i++) {
                sigaction(signals[i], &sa, NULL);
                sigaddset(&block, signals[i]);
        }
        sigprocmask(SIG_BLOCK, &block, &t->wait_mask);
        for (size_t i = 0; i < ARRAY_LEN(signals); i++)
                sigdelset(&t->wait_mask, signals[i]);
        signal(SIGPIPE, SIG_IGN);
}

/* --- Options --- */

static _Noreturn void
usage(void)
{
        fprintf(stderr,
            "usage: bhyveload [-CS] [-c console] [-d disk] [-e name=value] [-h directory]\n"
            "                 [-l loader] [-m size] vmname\n");
        exit(EXIT_QUIT);
}

/* As bhyve's -m: a bare number below 1 MiB counts MiB. */
static void
set_memory(struct options *o, const char *text)
{
        uint64_t bytes;

        if (parse_u64(text, &bytes) == 0 && bytes < MIB)
                bytes *= MIB;
        else if (parse_size(text, &bytes)) {
                log_error("-m %s: not a memory size such as 512M or 2G", text);
                exit(EXIT_BAD_VALUE);
        }
        if (bytes == 0 || bytes % (2 * MIB) != 0) {
                log_error("-m %s: not a multiple of 2M", text);
                exit(EXIT_BAD_VALUE);
        }
        o->memory_bytes = bytes;
}

static void
add_disk(struct options *o, const char *path)
{
        if (o->disk_count == ARRAY_LEN(o->disks)) {
                log_error("-d %s: more than %zu disks", path, ARRAY_LEN(o->disks));
                exit(EXIT_BAD_VALUE);
        }
        o->disks[o->disk_count++] = path;
}

static void
add_env(struct options *o, const char *assignment)
{
        if (!strchr(assignment, '=') || assignment[0] == '=') {
                log_error("-e %s: not of the form name=value", assignment);
                exit(EXIT_BAD_VALUE);
        }
        if (o->env_count == LIST_MAX) {
                log_error("-e %s: more than %d variables", assignment, LIST_MAX);
                exit(EXIT_BAD_VALUE);
        }
        o->env[o->env_count++] = assignment;
}

static void
parse_options(struct options *o, int argc, char **argv)
{
        *o = (struct options){.memory_bytes = MEMORY_DEFAULT};
        for (int c; (c = getopt(argc, argv, "CSc:d:e:h:l:m:")) != -1;) {
                switch (c) {
                case 'C':
                        o->guest_in_core = true;
                        break;
                case 'S':
                        o->wired = true;
                        break;
                case 'c':
                        o->console = strcmp(optarg, "stdio") == 0 ? NULL : optarg;
                        break;
                case 'd':
                        add_disk(o, optarg);
                        break;
                case 'e':
                        add_env(o, optarg);
                        break;
                case 'h':
                        o->host_dir = optarg;
                        break;
                case 'l':
                        o->object = optarg;
                        break;
                case 'm':
                        set_memory(o, optarg);
                        break;
                default:
                        usage();
                }
        }
        if (argc - optind != 1)
                usage();
        o->vm_name = argv[optind];
}

/* --- The work --- */

/* The smbios.* variables that a loader with firmware below it would find. */
static void
put_smbios(struct loader *loader, const char *vm_name)
{
        static const struct {
                const char *variable, *key;
        } names[] = {
            {"smbios.bios.version", "bios.version"},
            {"smbios.bios.reldate", "bios.release_date"},
            {"smbios.system.maker", "system.manufacturer"},
            {"smbios.system.product", "system.product_name"},
            {"smbios.system.version", "system.version"},
        };
        char text[256];
        uint8_t u[16];
        struct config *config;
        struct config_error err;

        fwtables_default_uuid(vm_name, u);
        snprintf(text, sizeof(text),
            "smbios.system.uuid=%02x%02x%02x%02x-%02x%02x-%02x%02x-%02x%02x-%02x%02x%02x%02x%02x%"
            "02x",
            u[0], u[1], u[2], u[3], u[4], u[5], u[6], u[7], u[8], u[9], u[10], u[11], u[12], u[13],
            u[14], u[15]);
        loader_put(loader, text);
        if (config_create(&config))
                return;
        for (size_t i = 0; config_check(config, &err) == 0 && i < ARRAY_LEN(names); i++) {
                const char *value = config_get(config, names[i].key);
                snprintf(text, sizeof(text), "%s=%s", names[i].variable, value ? value : "");
                loader_put(loader, text);
        }
        config_destroy(config);
}

static int
add_devices(struct loader *loader, const struct options *o)
{
        for (unsigned i = 0; i < o->disk_count; i++) {
                int err = loader_add_disk(loader, o->disks[i]);
                if (err == -EBUSY) {
                        log_error("%s: in use by another VM", o->disks[i]);
                        return -1;
                }
                if (err) {
                        log_error("%s: %s", o->disks[i], strerror(-err));
                        return -1;
                }
        }
        if (o->host_dir) {
                int err = o->host_dir[0] == '/' ? loader_set_host(loader, o->host_dir) : -EINVAL;
                if (err) {
                        log_error("-h %s: %s", o->host_dir,
                            err == -EINVAL ? "not an absolute path" : strerror(-err));
                        return -1;
                }
        }
        put_smbios(loader, o->vm_name);
        for (unsigned i = 0; i < o->env_count; i++)
                loader_put(loader, o->env[i]);
        return 0;
}

static enum loader_result
run_loader(const struct options *o, struct guest_mem *mem, struct x86_state *state)
{
        enum loader_result result = LOADER_QUIT;
        struct loader *loader;
        struct terminal terminal;
        struct console console;

        if (loader_create(mem, &console, &loader)) {
                log_error("out of memory");
                return LOADER_QUIT;
        }
        if (add_devices(loader, o) == 0 && terminal_open(&terminal, o->console) == 0) {
                catch_signals(&terminal);
                console_init(&console, &terminal_ops, &terminal,
                    isatty(terminal.in) && isatty(terminal.out));
                result = loader_run(loader, state);
                console_finish(&console);
                terminal_close(&terminal);
        }
        loader_destroy(loader);
        return result;
}

/* The same with a loader object. */
static enum loader_result
run_object(const struct options *o, struct guest_mem *mem, struct x86_state *state)
{
        struct terminal terminal;
        struct console console;
        struct userboot ub = {
            .path = o->object,
            .mem = mem,
            .con = &console,
            .host_dir = o->host_dir,
            .disks = o->disks,
            .disk_count = o->disk_count,
            .env = o->env,
            .env_count = o->env_count,
            .wait_mask = &terminal.wait_mask,
        };
        char why[256];

        if (access(o->object, R_OK) < 0) {
                log_error("-l %s: %s", o->object, strerror(errno));
                return LOADER_QUIT;
        }
        if (terminal_open(&terminal, o->console))
                return LOADER_QUIT;
        catch_signals(&terminal);
        console_init(&console, &terminal_ops, &terminal, false);
        enum loader_result result = userboot_run(&ub, state, why, sizeof(why));
        terminal_close(&terminal);
        if (result == LOADER_QUIT && why[0])
                log_error("-l %s: %s", o->object, why);
        return result;
}

/* Fills the VM's memory; on success saves the boot processor's state. */
static enum loader_result
load_vm(const struct options *o, struct instance *instance, struct config_error *err)
{
        static struct instance_state state = {.cpu_count = 1};
        enum loader_result result = LOADER_QUIT;
        struct guest_mem *mem;
        int fd;

        if (instance_memory_create(instance, o->memory_bytes, &fd, err)) {
                log_error("%s", err->text);
                return LOADER_QUIT;
        }
        int error = mem_create(fd, o->memory_bytes, &mem);
        if (error) {
                log_error("%s: guest memory: %s", o->vm_name, strerror(-error));
                close(fd);
                return LOADER_QUIT;
        }
        if (o->wired && mlock(mem_base(mem), mem_low_bytes(mem)))
                log_warn("-S: guest memory cannot be wired: %s", strerror(errno));
        x86_state_reset(&state.cpu[0], 0);
        result = o->object ? run_object(o, mem, &state.cpu[0]) : run_loader(o, mem, &state.cpu[0]);
        mem_destroy(mem);
        close(fd);
        if (result == LOADER_BOOT && instance_state_save(instance, &state, err)) {
                log_error("%s", err->text);
                result = LOADER_QUIT;
        }
        return result;
}

int
main(int argc, char **argv)
{
        struct options o;
        struct instance *instance;
        struct config_error err = {.text = ""};

        log_set_program("bhyveload");
        parse_options(&o, argc, argv);
        if (instance_open(o.vm_name, INSTANCE_CREATE | INSTANCE_LOCK, &instance, &err)) {
                log_error("%s", err.text);
                return EXIT_QUIT;
        }
        enum loader_result result = load_vm(&o, instance, &err);
        instance_close(instance);
        if (stop_signal)
                return 128 + stop_signal;
        return result == LOADER_BOOT ? 0 : result == LOADER_REBOOT ? EXIT_REBOOT : EXIT_QUIT;
}
