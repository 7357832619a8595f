/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The workloads of `make bench`: each exercises one thing that CPU engines do
 * well or badly.  Built static, it runs in a guest and on the host alike.
 *
 *      workloads [-r REPEATS] [NAME...]
 *      workloads -t NAME COMMAND
 *
 * prints "bench NAME SECONDS RESULT" for each workload (the best of REPEATS runs)
 * and checks each one's result, so that a wrong processor does not look fast.
 * With -t it times one shell command; the result is a sum over its output.
 */
#define _GNU_SOURCE
#include <emmintrin.h>
#include <fcntl.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/sysinfo.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define ARRAY_LEN(a) (sizeof(a) / sizeof((a)[0]))
#define MIB (1u << 20)

static double
now(void)
{
        struct timespec t;

        clock_gettime(CLOCK_MONOTONIC, &t);
        return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static uint32_t
next_random(uint32_t *state)
{
        *state ^= *state << 13;
        *state ^= *state >> 17;
        *state ^= *state << 5;
        return *state;
}

/* Collatz lengths: short data-dependent branches, no memory. */
static uint64_t
run_integer(void)
{
        uint64_t total = 0;

        for (uint64_t n = 1; n < 200000; n++) {
                for (uint64_t x = n; x != 1; total++)
                        x = x & 1 ? 3 * x + 1 : x / 2;
        }
        return total;
}

/* Places of queens that attack nobody: bit operations, and branches that are hard to foretell. */
static uint64_t
place_queens(uint32_t free, uint32_t left, uint32_t down, uint32_t right)
{
        uint32_t open = free & ~(left | down | right);
        uint64_t total = 0;

        if (down == free)
                return 1;
        while (open != 0) {
                uint32_t queen = open & -open;

                open ^= queen;
                total += place_queens(free, (left | queen) << 1, down | queen, (right | queen) >> 1);
        }
        return total;
}

static uint64_t
run_queens(void)
{
        return place_queens((1u << 13) - 1, 0, 0, 0);
}

static int
compare_u32(const void *a, const void *b)
{
        uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;

        return x < y ? -1 : x > y;
}

static uint64_t
run_sort(void)
{
        enum { COUNT = 1000000 };
        uint32_t *v = malloc(COUNT * sizeof(*v)), seed = 12345;
        uint64_t sum = 0;

        for (unsigned i = 0; i < COUNT; i++)
                v[i] = next_random(&seed);
        qsort(v, COUNT, sizeof(*v), compare_u32);
        for (unsigned i = 1; i < COUNT; i++)
                sum += v[i - 1] > v[i];
        sum = sum * 1000 + v[COUNT / 2] % 1000;
        free(v);
        return sum;
}

/* Dependent loads in a random cycle through 32 MiB: misses in every cache and TLB. */
static uint64_t
run_chase(void)
{
        enum { COUNT = 32 * MIB / 8 };
        uint64_t *next = malloc(COUNT * sizeof(*next)), at = 0;
        uint32_t seed = 99;

        for (uint64_t i = 0; i < COUNT; i++)
                next[i] = i;
        for (uint64_t i = COUNT - 1; i > 0; i--) {
                uint64_t j = next_random(&seed) % i, t = next[i];

                next[i] = next[j];
                next[j] = t;
        }
        for (unsigned i = 0; i < 6000000; i++)
                at = next[at];
        free(next);
        return at;
}

static uint64_t
run_scalar(void)
{
        double x = 0.5, sum = 0;

        for (unsigned i = 1; i <= 6000000; i++) {
                x = 3.6 * x * (1.0 - x);
                sum += x / (double)i;
        }
        return (uint64_t)(sum * 1e9);
}

/* Five bodies under gravity; their energy at the end. */
static uint64_t
run_bodies(void)
{
        enum { COUNT = 5 };
        static const double start[COUNT][7] = { /* place, speed, mass */
                { 0, 0, 0, 0, 0, 0, 39.5 }, { 4.8, -1.2, -0.1, 0.6, 2.8, -0.02, 0.04 },
                { 8.3, 4.1, -0.4, -1.0, 1.8, 0.01, 0.01 }, { 12.9, -15.1, -0.2, 1.1, 0.9, -0.01, 0.002 },
                { 15.4, -25.9, 0.2, 1.0, 0.6, -0.03, 0.002 },
        };
        double b[COUNT][7], energy = 0;

        memcpy(b, start, sizeof(b));
        for (unsigned step = 0; step < 100000; step++) {
                for (unsigned i = 0; i < COUNT; i++) {
                        for (unsigned j = i + 1; j < COUNT; j++) {
                                double x = b[i][0] - b[j][0], y = b[i][1] - b[j][1], z = b[i][2] - b[j][2];
                                double square = x * x + y * y + z * z;
                                __m128d s = _mm_set_sd(square);
                                double pull = 0.001 / (square * _mm_cvtsd_f64(_mm_sqrt_sd(s, s)));
                                double from = b[j][6] * pull, to = b[i][6] * pull;

                                b[i][3] -= x * from;
                                b[i][4] -= y * from;
                                b[i][5] -= z * from;
                                b[j][3] += x * to;
                                b[j][4] += y * to;
                                b[j][5] += z * to;
                        }
                }
                for (unsigned i = 0; i < COUNT; i++) {
                        for (unsigned k = 0; k < 3; k++)
                                b[i][k] += 0.001 * b[i][k + 3];
                }
        }
        for (unsigned i = 0; i < COUNT; i++)
                energy += b[i][6] * (b[i][3] * b[i][3] + b[i][4] * b[i][4] + b[i][5] * b[i][5]);
        return (uint64_t)(energy * 1e6);
}

/* 64x64 single-precision products: four lanes at a time. */
static uint64_t
run_packed(void)
{
        enum { N = 64 };
        typedef float v4 __attribute__((vector_size(16)));
        static float a[N][N], b[N][N];
        static v4 c[N][N / 4];
        float sum = 0;

        for (unsigned i = 0; i < N * N; i++) {
                (&a[0][0])[i] = (float)(i % 13) * 0.25f;
                (&b[0][0])[i] = (float)(i % 7) * 0.5f;
        }
        memset(c, 0, sizeof(c));
        for (unsigned round = 0; round < 200; round++) {
                for (unsigned i = 0; i < N; i++) {
                        for (unsigned k = 0; k < N; k++) {
                                v4 f = { a[i][k], a[i][k], a[i][k], a[i][k] };

                                for (unsigned j = 0; j < N / 4; j++)
                                        c[i][j] = c[i][j] * 0.5f + f * *(const v4 *)&b[k][j * 4];
                        }
                }
        }
        for (unsigned i = 0; i < N; i++)
                sum += c[i][i % (N / 4)][i % 4];
        return (uint64_t)(sum * 1000);
}

static uint64_t
run_x87(void)
{
        volatile long double seed = 1.0L;
        long double x = seed, sum = 0;

        for (unsigned i = 1; i <= 2000000; i++) {
                x = x * 1.0000001L + 1.0L / (long double)i;
                sum += x;
        }
        return (uint64_t)sum;
}

static uint64_t
run_memory(void)
{
        enum { LEN = 4 * MIB };
        char *a = malloc(LEN + 1), *b = malloc(LEN + 1);
        uint64_t total = 0;

        memset(a, 0, LEN + 1);
        for (unsigned i = 0; i < 30; i++) {
                memset(a, 'a' + (int)i % 26, LEN);
                memcpy(b, a, LEN);
                b[LEN] = '\0';
                total += strlen(b);
        }
        free(a);
        free(b);
        return total;
}

static uint64_t
run_syscalls(void)
{
        uint64_t total = 0;

        for (unsigned i = 0; i < 1000000; i++)
                total += syscall(SYS_getppid) >= 0;
        return total;
}

static uint64_t
run_faults(void)
{
        enum { LEN = 32 * MIB };
        uint64_t total = 0;

        for (unsigned round = 0; round < 8; round++) {
                volatile char *p = mmap(NULL, LEN, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

                madvise((void *)(uintptr_t)p, LEN, MADV_NOHUGEPAGE);
                for (unsigned i = 0; i < LEN; i += 4096) {
                        p[i] = 1;
                        total++;
                }
                munmap((void *)(uintptr_t)p, LEN);
        }
        return total;
}

static uint64_t
run_switches(void)
{
        enum { COUNT = 40000 };
        int to[2], from[2];
        uint64_t total = 0;
        char c = 'x';
        pid_t child;

        if (pipe(to) != 0 || pipe(from) != 0 || (child = fork()) < 0)
                return 0;
        if (child == 0) {
                while (read(to[0], &c, 1) == 1 && c != 'q') {
                        if (write(from[1], &c, 1) != 1)
                                _exit(1);
                }
                _exit(0);
        }
        for (unsigned i = 0; i < COUNT; i++) {
                if (write(to[1], &c, 1) != 1 || read(from[0], &c, 1) != 1)
                        break;
                total++;
        }
        c = 'q';
        if (write(to[1], &c, 1) != 1)
                total = 0;
        waitpid(child, NULL, 0);
        for (unsigned i = 0; i < 2; i++) {
                close(to[i]);
                close(from[i]);
        }
        return total;
}

static uint64_t
run_forkexec(void)
{
        uint64_t total = 0;

        for (unsigned i = 0; i < 300; i++) {
                pid_t child = fork();
                int status;

                if (child == 0) {
                        execl("/proc/self/exe", "workloads", "-x", (char *)NULL);
                        _exit(127);
                }
                if (child > 0 && waitpid(child, &status, 0) == child && WIFEXITED(status) &&
                    WEXITSTATUS(status) == 0)
                        total++;
        }
        return total;
}

/* Two busy processes at once: on two processors they take half of the time. */
static uint64_t
run_two(void)
{
        uint64_t total = 0;

        for (unsigned i = 0; i < 2; i++) {
                pid_t child = fork();

                if (child == 0) {
                        for (unsigned round = 0; round < 8; round++) {
                                if (run_integer() != 22938473)
                                        _exit(1);
                        }
                        _exit(0);
                }
        }
        for (unsigned i = 0; i < 2; i++) {
                int status;

                if (wait(&status) > 0 && WIFEXITED(status) && WEXITSTATUS(status) == 0)
                        total++;
        }
        return total;
}

static uint64_t
disk_pass(int flags)
{
        enum { LEN = MIB, COUNT = 192 };
        int fd = open("/dev/vda", flags | O_DIRECT);
        void *buf = aligned_alloc(4096, LEN);
        uint64_t total = 0;

        memset(buf, 0x5a, LEN);
        for (unsigned i = 0; fd >= 0 && i < COUNT; i++) {
                ssize_t n = flags == O_RDONLY ? read(fd, buf, LEN) : write(fd, buf, LEN);

                if (n <= 0)
                        break;
                total += (uint64_t)n;
        }
        if (fd >= 0) {
                fsync(fd);
                close(fd);
        }
        free(buf);
        return total;
}

static uint64_t
run_diskread(void)
{
        return disk_pass(O_RDONLY);
}

static uint64_t
run_diskwrite(void)
{
        return disk_pass(O_WRONLY);
}

/* Touches three quarters of free memory once; gives the pages, so that time by page can be told. */
static uint64_t
run_touch(void)
{
        struct sysinfo info;
        uint64_t len, pages = 0;
        volatile char *p;

        sysinfo(&info);
        len = (uint64_t)info.freeram * info.mem_unit / 4 * 3 / 4096 * 4096;
        p = mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
        if (p == MAP_FAILED)
                return 0;
        for (uint64_t i = 0; i < len; i += 4096) {
                p[i] = 1;
                pages++;
        }
        munmap((void *)(uintptr_t)p, len);
        return pages;
}

static const struct workload {
        const char *name;
        uint64_t (*run)(void);
        uint64_t expected; /* 0: not checked */
        int optional;      /* only when named */
} workloads[] = {
        { "integer", run_integer, 22938473, 0 },
        { "queens", run_queens, 73712, 0 },
        { "sort", run_sort, 0, 0 },
        { "chase", run_chase, 0, 0 },
        { "scalar", run_scalar, 0, 0 },
        { "bodies", run_bodies, 0, 0 },
        { "packed", run_packed, 0, 0 },
        { "x87", run_x87, 0, 0 },
        { "memory", run_memory, 30ull * 4 * MIB, 0 },
        { "syscalls", run_syscalls, 1000000, 0 },
        { "faults", run_faults, 65536, 0 },
        { "switches", run_switches, 40000, 0 },
        { "forkexec", run_forkexec, 300, 0 },
        { "two", run_two, 2, 1 },
        { "touch", run_touch, 0, 1 },
        { "diskwrite", run_diskwrite, 192ull * MIB, 1 },
        { "diskread", run_diskread, 192ull * MIB, 1 },
};

static int
run_one(const struct workload *w, unsigned repeats)
{
        double best = 1e9;
        uint64_t result = 0;

        for (unsigned i = 0; i < repeats; i++) {
                double start = now(), took;

                result = w->run();
                took = now() - start;
                if (took < best)
                        best = took;
        }
        if (w->expected != 0 && result != w->expected) {
                printf("bench %s WRONG %llu\n", w->name, (unsigned long long)result);
                return 1;
        }
        printf("bench %s %.6f %llu\n", w->name, best, (unsigned long long)result);
        fflush(stdout);
        return 0;
}

/* FNV-1a, 64 bits, over all that can be read. */
static uint64_t
sum_output(int fd)
{
        static unsigned char buf[65536];
        uint64_t sum = 0xcbf29ce484222325;
        ssize_t n;

        while ((n = read(fd, buf, sizeof(buf))) > 0) {
                for (ssize_t i = 0; i < n; i++)
                        sum = (sum ^ buf[i]) * 0x100000001b3;
        }
        return sum;
}

static int
time_command(const char *name, const char *command)
{
        double start = now();
        int out[2], status = -1;
        uint64_t sum;
        pid_t child;

        if (pipe(out) != 0 || (child = fork()) < 0)
                return 1;
        if (child == 0) {
                dup2(out[1], STDOUT_FILENO);
                close(out[0]);
                close(out[1]);
                execl("/bin/sh", "sh", "-c", command, (char *)NULL);
                _exit(127);
        }
        close(out[1]);
        sum = sum_output(out[0]);
        if (waitpid(child, &status, 0) != child || status != 0) {
                printf("bench %s WRONG status %d\n", name, status);
                return 1;
        }
        printf("bench %s %.6f %llu\n", name, now() - start, (unsigned long long)sum);
        return 0;
}

static int
is_named(const struct workload *w, char **names, int count)
{
        for (int i = 0; i < count; i++) {
                if (strcmp(names[i], w->name) == 0)
                        return 1;
        }
        return 0;
}

int
main(int argc, char **argv)
{
        unsigned repeats = 3;
        const char *timed = NULL;
        int option, wrong = 0;

        /* A parent that ignores its children's ends hands that down, and waitpid() finds none then. */
        signal(SIGCHLD, SIG_DFL);
        while ((option = getopt(argc, argv, "xr:t:")) != -1) {
                switch (option) {
                case 'x':
                        return 0;
                case 'r':
                        repeats = (unsigned)atoi(optarg);
                        break;
                case 't':
                        timed = optarg;
                        break;
                default:
                        return 2;
                }
        }
        if (timed != NULL)
                return optind + 1 == argc ? time_command(timed, argv[optind]) : 2;
        for (unsigned i = 0; i < ARRAY_LEN(workloads); i++) {
                const struct workload *w = &workloads[i];

                if (optind < argc ? is_named(w, argv + optind, argc - optind) : !w->optional)
                        wrong += run_one(w, repeats);
        }
        return wrong != 0;
}
