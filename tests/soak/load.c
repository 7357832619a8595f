/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The mixed load of `make soak`, run in the guest:
 *
 *      load [NAME=COMMAND...]
 *
 * Each worker is a process that does one thing over and over, checks what it can, and
 * counts its turns.  On the terminal (standard input and output), "c" is answered by
 * "soak clock NANOSECONDS COUNT..." with a count for each worker in the order of the line
 * "soak workers NAME...", and "q" ends it all.  "soak late NAME SECONDS" is said of what
 * should have taken a moment, "soak wrong NAME WHAT" of a wrong result.  A COMMAND must
 * print the same each time: "soak sum NAME SUM" says what.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <termios.h>
#include <time.h>
#include <unistd.h>

#define ARRAY_LEN(a) (sizeof(a) / sizeof((a)[0]))
#define WORKERS_MAX  16
#define PAGE         4096u
#define LATE_NS      5000000000ll

struct worker {
        const char *name;
        void (*run)(const struct worker *self);
        const char *command;
        int cpu; /* to which it is bound, or -1 */
        volatile uint64_t *count;
};

static int64_t
now_ns(void)
{
        struct timespec t;

        clock_gettime(CLOCK_MONOTONIC, &t);
        return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

/* One write for a line, so that those of several processes do not mix. */
static void __attribute__((format(printf, 1, 2)))
say(const char *format, ...)
{
        char line[400];
        va_list args;
        int len;

        va_start(args, format);
        len = vsnprintf(line, sizeof(line), format, args);
        va_end(args);
        if (write(STDOUT_FILENO, line, (size_t)len) != len)
                _exit(1);
}

static void
turn(const struct worker *self)
{
        ++*self->count;
}

static void
wrong(const struct worker *self, const char *what)
{
        say("soak wrong %s %s\n", self->name, what);
        _exit(1);
}

/* For what waits for one interrupt only: says so if it came @since with a delay. */
static void
check_late(const struct worker *self, int64_t since)
{
        int64_t took = now_ns() - since;

        if (took > LATE_NS)
                say("soak late %s %.3f\n", self->name, (double)took / 1e9);
}

static void
bind_to(int cpu)
{
        cpu_set_t set;

        CPU_ZERO(&set);
        CPU_SET(cpu, &set);
        sched_setaffinity(0, sizeof(set), &set);
}

/* Sixteen children at once, each writing to copies of pages. */
static void
run_forks(const struct worker *self)
{
        static volatile unsigned char pages[32 * PAGE];
        int status;

        for (;;) {
                for (int i = 0; i < 16; i++) {
                        if (fork() == 0) {
                                for (unsigned at = 0; at < sizeof(pages); at += PAGE)
                                        pages[at] = (unsigned char)(pages[at] + i);
                                _exit(pages[PAGE] == i ? 0 : 1);
                        }
                }
                while (wait(&status) > 0) {
                        if (status != 0)
                                wrong(self, "child");
                }
                turn(self);
                usleep(20000);
        }
}

static void
fill(uint64_t *page, uint64_t seed)
{
        for (unsigned i = 0; i < PAGE / 8; i++)
                page[i] = seed * 0x9e3779b97f4a7c15ull + i;
}

static int
is_filled(const uint64_t *page, uint64_t seed)
{
        for (unsigned i = 0; i < PAGE / 8; i++) {
                if (page[i] != seed * 0x9e3779b97f4a7c15ull + i)
                        return 0;
        }
        return 1;
}

/* Pages mapped, filled, protected, dropped, moved and unmapped. */
static void
run_pages(const struct worker *self)
{
        const unsigned pages = 512;

        for (;;) {
                unsigned char *p = mmap(NULL, pages * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

                if (p == MAP_FAILED)
                        wrong(self, "mmap");
                for (unsigned i = 0; i < pages; i++)
                        fill((uint64_t *)(p + i * PAGE), *self->count + i);
                mprotect(p, pages / 2 * PAGE, PROT_READ);
                madvise(p + pages / 2 * PAGE, pages / 4 * PAGE, MADV_DONTNEED);
                for (unsigned i = 0; i < pages; i++) {
                        uint64_t *page = (uint64_t *)(p + i * PAGE);

                        if (i >= pages / 2 && i < pages / 4 * 3 ? page[i] != 0 : !is_filled(page, *self->count + i))
                                wrong(self, "contents");
                }
                mprotect(p, pages * PAGE, PROT_READ | PROT_WRITE);
                p = mremap(p, pages * PAGE, pages * PAGE * 2, MREMAP_MAYMOVE);
                if (p == MAP_FAILED || !is_filled((uint64_t *)(p + (pages - 1) * PAGE), *self->count + pages - 1))
                        wrong(self, "mremap");
                munmap(p, pages * PAGE * 2);
                turn(self);
                usleep(10000);
        }
}

/* A periodic timer whose expirations are counted: none is lost, none is much too late. */
static void
run_timer(const struct worker *self)
{
        struct sigevent event = {.sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGRTMIN};
        struct itimerspec every = {.it_interval.tv_nsec = 4000000, .it_value.tv_nsec = 4000000};
        int64_t start, last;
        uint64_t expired = 0;
        siginfo_t info;
        sigset_t set;
        timer_t timer;

        sigemptyset(&set);
        sigaddset(&set, SIGRTMIN);
        sigprocmask(SIG_BLOCK, &set, NULL);
        start = now_ns(); /* it may run for a while before timer_settime() is back */
        if (timer_create(CLOCK_MONOTONIC, &event, &timer) != 0 || timer_settime(timer, 0, &every, NULL) != 0)
                wrong(self, "timer");
        last = now_ns();
        while (sigwaitinfo(&set, &info) == SIGRTMIN) {
                expired += 1u + (unsigned)info.si_overrun;
                check_late(self, last);
                last = now_ns();
                if (expired > (uint64_t)(last - start) / 4000000 + 1)
                        wrong(self, "too early");
                turn(self);
        }
        wrong(self, "no signal");
}

/* Signals with a number, forth and back between two processes. */
static void
run_signals(const struct worker *self)
{
        pid_t parent = getpid(), child;
        siginfo_t info;
        sigset_t set;

        sigemptyset(&set);
        sigaddset(&set, SIGRTMIN);
        sigprocmask(SIG_BLOCK, &set, NULL);
        child = fork();
        if (child == 0) {
                while (sigwaitinfo(&set, &info) == SIGRTMIN)
                        sigqueue(parent, SIGRTMIN, info.si_value);
                _exit(1);
        }
        for (int number = 0;; number++) {
                int64_t sent = now_ns();

                sigqueue(child, SIGRTMIN, (union sigval){.sival_int = number});
                if (sigwaitinfo(&set, &info) != SIGRTMIN || info.si_value.sival_int != number)
                        wrong(self, "number");
                check_late(self, sent);
                turn(self);
                if (number % 64 == 0)
                        usleep(1000);
        }
}

/* A byte forth and back between the two processors. */
static void
run_wakes(const struct worker *self)
{
        int there[2], back[2];
        char byte = 0;

        if (pipe(there) != 0 || pipe(back) != 0)
                wrong(self, "pipe");
        if (fork() == 0) {
                bind_to(1);
                while (read(there[0], &byte, 1) == 1 && write(back[1], &byte, 1) == 1)
                        ;
                _exit(1);
        }
        bind_to(0);
        for (;;) {
                int64_t sent = now_ns();

                if (write(there[1], &byte, 1) != 1 || read(back[0], &byte, 1) != 1)
                        wrong(self, "byte");
                check_late(self, sent);
                turn(self);
                if (*self->count % 64 == 0)
                        usleep(1000);
        }
}

/* Files written, synced, dropped from the cache, read again. */
static void
run_disk(const struct worker *self)
{
        static uint64_t buffer[64 * PAGE / 8];
        char name[64];

        for (;;) {
                int fd;

                snprintf(name, sizeof(name), "/disk/file%u", (unsigned)(*self->count % 8));
                fd = open(name, O_RDWR | O_CREAT | O_TRUNC, 0600);
                for (unsigned i = 0; i < 64; i++)
                        fill(buffer + i * PAGE / 8, *self->count + i);
                if (write(fd, buffer, sizeof(buffer)) != sizeof(buffer) || fsync(fd) != 0)
                        wrong(self, "write");
                posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED);
                memset(buffer, 0, sizeof(buffer));
                if (pread(fd, buffer, sizeof(buffer), 0) != sizeof(buffer))
                        wrong(self, "read");
                for (unsigned i = 0; i < 64; i++) {
                        if (!is_filled(buffer + i * PAGE / 8, *self->count + i))
                                wrong(self, "contents");
                }
                close(fd);
                turn(self);
                usleep(5000);
        }
}

/* FNV-1a, 64 bits, over what the command prints. */
static uint64_t
sum_of_command(const struct worker *self)
{
        uint64_t sum = 0xcbf29ce484222325;
        FILE *out = popen(self->command, "r");

        if (out == NULL)
                wrong(self, "popen");
        for (int c; (c = fgetc(out)) != EOF;)
                sum = (sum ^ (unsigned)c) * 0x100000001b3;
        if (pclose(out) != 0)
                wrong(self, "status");
        return sum;
}

static void
run_command(const struct worker *self)
{
        uint64_t first = sum_of_command(self);

        say("soak sum %s %016llx\n", self->name, (unsigned long long)first);
        for (;;) {
                turn(self);
                if (sum_of_command(self) != first)
                        wrong(self, "output");
        }
}

static const struct worker builtin[] = {
        {.name = "forks", .run = run_forks, .cpu = -1},
        {.name = "pages", .run = run_pages, .cpu = -1},
        {.name = "timer0", .run = run_timer, .cpu = 0},
        {.name = "timer1", .run = run_timer, .cpu = 1},
        {.name = "signals", .run = run_signals, .cpu = -1},
        {.name = "wakes", .run = run_wakes, .cpu = -1},
        {.name = "disk", .run = run_disk, .cpu = -1},
};

/* What waits for one interrupt is to be woken by it, whatever else runs. */
static void
set_urgent(int priority)
{
        struct sched_param param = {.sched_priority = priority};

        sched_setscheduler(0, SCHED_FIFO, &param);
}

static void
start(const struct worker *w)
{
        if (fork() != 0)
                return;
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        if (w->cpu >= 0)
                bind_to(w->cpu);
        if (w->run == run_timer || w->run == run_wakes)
                set_urgent(10);
        w->run(w);
        _exit(1);
}

static void
answer(const struct worker *workers, unsigned count)
{
        char line[400];
        int len = snprintf(line, sizeof(line), "soak clock %lld", (long long)now_ns());

        for (unsigned i = 0; i < count; i++)
                len += snprintf(line + len, sizeof(line) - (size_t)len, " %llu", (unsigned long long)*workers[i].count);
        say("%s\n", line);
}

static void
say_workers(const struct worker *workers, unsigned count)
{
        char line[400];
        int len = snprintf(line, sizeof(line), "soak workers");

        for (unsigned i = 0; i < count; i++)
                len += snprintf(line + len, sizeof(line) - (size_t)len, " %s", workers[i].name);
        say("%s\n", line);
}

int
main(int argc, char **argv)
{
        volatile uint64_t *counts = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
        struct worker workers[WORKERS_MAX];
        unsigned count = 0;
        struct termios tty;
        char c;

        signal(SIGCHLD, SIG_DFL);
        if (tcgetattr(STDIN_FILENO, &tty) == 0) {
                cfmakeraw(&tty);
                tcsetattr(STDIN_FILENO, TCSANOW, &tty);
        }
        for (unsigned i = 0; i < ARRAY_LEN(builtin); i++)
                workers[count++] = builtin[i];
        for (int i = 1; i < argc && count < WORKERS_MAX; i++) {
                char *equals = strchr(argv[i], '=');

                *equals = '\0';
                workers[count++] = (struct worker){.name = argv[i], .command = equals + 1, .run = run_command, .cpu = -1};
        }
        for (unsigned i = 0; i < count; i++) {
                workers[i].count = &counts[i];
                start(&workers[i]);
        }
        set_urgent(50);
        say_workers(workers, count);
        while (read(STDIN_FILENO, &c, 1) == 1 && c != 'q') {
                if (c == 'c')
                        answer(workers, count);
        }
        return 0;
}
