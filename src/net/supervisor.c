/* SPDX-License-Identifier: BSD-2-Clause */
#include "net/supervisor.h"
#include "config/netconf.h"
#include "net/run.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/pidfd.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define LOCK_FILE    "supervisor"
#define PID_FILE     "dnsmasq.pid"
#define LOG_FILE     "dnsmasq.log"
#define REFRESH_S    3
#define BACKOFF_S    60 /* the longest pause before a restart */
#define STEADY_S     30 /* a server that lived so long restarts at once */
#define READY_S      10 /* a first start that takes longer has failed */
#define STOP_MS      5000
#define STEP_MS      20

static void
sleep_ms(unsigned ms)
{
        struct timespec pause = { .tv_sec = ms / 1000, .tv_nsec = (long)(ms % 1000) * 1000000 };

        while (nanosleep(&pause, &pause) < 0 && errno == EINTR)
                ;
}

/* The lock */

/* The lock file with the lock taken; -EWOULDBLOCK where another has it; -errno. */
static int
take_lock(bool make_it)
{
        char path[PATH_MAX];
        int fd, error;

        netconf_state_path(LOCK_FILE, path);
        fd = open(path, O_RDWR | O_CLOEXEC | O_NOFOLLOW | (make_it ? O_CREAT : 0), 0644);
        if (fd < 0)
                return -errno;
        if (flock(fd, LOCK_EX | LOCK_NB) == 0)
                return fd;
        error = -errno;
        close(fd);
        return error;
}

pid_t
supervisor_read_pid(const char *name)
{
        char path[PATH_MAX], text[32];

        netconf_state_path(name, path);
        if (file_read(path, text, sizeof(text)) != 0)
                return 0;
        return (pid_t)strtol(text, NULL, 10);
}

/* A shared lock is enough to see, and can be had by a user who may only read. */
pid_t
supervisor_pid(void)
{
        char path[PATH_MAX];
        bool taken;
        int fd;

        netconf_state_path(LOCK_FILE, path);
        fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
        if (fd < 0)
                return 0;
        taken = flock(fd, LOCK_SH | LOCK_NB) < 0 && errno == EWOULDBLOCK;
        close(fd);
        return taken ? supervisor_read_pid(LOCK_FILE) : 0;
}

/* The server */

/* True if the process was started with our configuration file. */
static bool
is_our_server(pid_t pid)
{
        char path[64], words[4096], option[PATH_MAX + 16], conf[PATH_MAX];
        ssize_t n;
        int fd;

        snprintf(path, sizeof(path), "/proc/%d/cmdline", (int)pid);
        fd = open(path, O_RDONLY | O_CLOEXEC);
        if (fd < 0)
                return false;
        n = read(fd, words, sizeof(words) - 1);
        close(fd);
        if (n <= 0)
                return false;
        words[n] = '\0';
        netconf_state_path("dnsmasq.conf", conf);
        snprintf(option, sizeof(option), "--conf-file=%s", conf);
        for (const char *w = words; w < words + n; w += strlen(w) + 1)
                if (strcmp(w, option) == 0)
                        return true;
        return false;
}

/* Waits for the end of the process, when its sockets are closed as well. */
static bool
ends_within(int pidfd, int limit_ms)
{
        struct pollfd ended = { .fd = pidfd, .events = POLLIN };

        return poll(&ended, 1, limit_ms) == 1;
}

static void
end_if_our_server(pid_t pid)
{
        int pidfd = pidfd_open(pid, 0);

        if (pidfd < 0)
                return;
        /* Looked at through the descriptor's life, the number cannot have passed to another. */
        if (is_our_server(pid)) {
                (void)pidfd_send_signal(pidfd, SIGTERM, NULL, 0);
                if (!ends_within(pidfd, STOP_MS)) {
                        (void)pidfd_send_signal(pidfd, SIGKILL, NULL, 0);
                        (void)ends_within(pidfd, STOP_MS);
                }
        }
        close(pidfd);
}

/* Ends a server whose supervisor was killed. */
static void
end_stray_servers(void)
{
        DIR *dir = opendir("/proc");
        struct dirent *entry;
        pid_t pid;

        while (dir != NULL && (entry = readdir(dir)) != NULL) {
                pid = (pid_t)strtol(entry->d_name, NULL, 10);
                if (pid > 1 && pid != getpid() && is_our_server(pid))
                        end_if_our_server(pid);
        }
        if (dir != NULL)
                closedir(dir);
}

static pid_t
start_server(const char *const argv[], int log_fd)
{
        char program[PATH_MAX];
        sigset_t none;
        pid_t pid;

        if (!run_find(argv[0], program, sizeof(program)) || ftruncate(log_fd, 0) < 0)
                return -1;
        pid = fork();
        if (pid != 0)
                return pid;
        sigemptyset(&none);
        sigprocmask(SIG_SETMASK, &none, NULL);
        signal(SIGPIPE, SIG_DFL);
        if (dup2(log_fd, STDOUT_FILENO) >= 0 && dup2(log_fd, STDERR_FILENO) >= 0)
                execv(program, (char *const *)argv);
        _exit(127);
}

/* The supervisor's own life */

struct supervisor {
        const char *const *argv;
        supervisor_refresh_fn *refresh;
        void *ctx;
        int log_fd;
        int report_fd; /* where the first start's result goes; then -1 */
        pid_t server;  /* 0: not running */
        time_t started;
        time_t restart_at;
        unsigned pause_s;
        sigset_t signals;
};

static time_t
now_s(void)
{
        struct timespec now;

        clock_gettime(CLOCK_MONOTONIC, &now);
        return now.tv_sec;
}

/* One byte to the process that waits in supervisor_start(): 'y' or 'n'. */
static void
report(struct supervisor *s, char result)
{
        if (s->report_fd < 0)
                return;
        if (write(s->report_fd, &result, 1) < 0)
                result = 0; /* it is gone; nobody to tell */
        close(s->report_fd);
        s->report_fd = -1;
}

static void
server_start(struct supervisor *s)
{
        char path[PATH_MAX];

        netconf_state_path(PID_FILE, path);
        (void)unlink(path);
        (void)s->refresh(s->ctx);
        s->started = now_s();
        s->server = start_server(s->argv, s->log_fd);
        if (s->server < 0)
                s->server = 0;
}

static void
server_ended(struct supervisor *s)
{
        time_t now = now_s();

        s->server = 0;
        if (s->report_fd >= 0) {
                report(s, 'n');
                _exit(1);
        }
        s->pause_s = now - s->started >= STEADY_S ? 1 : s->pause_s * 2;
        if (s->pause_s > BACKOFF_S)
                s->pause_s = BACKOFF_S;
        s->restart_at = now + s->pause_s;
}

static void
server_end(struct supervisor *s)
{
        unsigned ms = 0;

        if (s->server == 0)
                return;
        kill(s->server, SIGTERM);
        for (; ms < STOP_MS / 2 && waitpid(s->server, NULL, WNOHANG) == 0; ms += STEP_MS)
                sleep_ms(STEP_MS);
        if (ms >= STOP_MS / 2)
                kill(s->server, SIGKILL);
}

static void
supervise(struct supervisor *s)
{
        struct timespec wait;
        int number;

        server_start(s);
        for (;;) {
                bool waiting = s->report_fd >= 0;

                wait = (struct timespec){ .tv_sec = waiting ? 0 : s->server == 0 ? 1 : REFRESH_S,
                        .tv_nsec = waiting ? STEP_MS * 1000000 : 0 };
                number = sigtimedwait(&s->signals, NULL, &wait);
                if (number == SIGTERM || number == SIGINT)
                        break;
                if (s->server == 0 || waitpid(s->server, NULL, WNOHANG) == s->server) {
                        if (s->server != 0 || waiting)
                                server_ended(s);
                        else if (now_s() >= s->restart_at)
                                server_start(s);
                        continue;
                }
                if (waiting && supervisor_read_pid(PID_FILE) == s->server)
                        report(s, 'y');
                else if (waiting && now_s() - s->started > READY_S)
                        server_end(s);
                if (!waiting && s->refresh(s->ctx) > 0)
                        kill(s->server, SIGHUP);
        }
        server_end(s);
}

/* Leaves the terminal, the directory and all descriptors but two. */
static int
detach(int report_fd, int *ret_log_fd)
{
        char path[PATH_MAX];
        int null_fd, log_fd;

        setsid();
        if (chdir("/") < 0)
                return -errno;
        netconf_state_path(LOG_FILE, path);
        /* Copied below, and closed. */
        null_fd = open("/dev/null", O_RDWR); /* NOLINT(android-cloexec-open) */
        /* NOLINTNEXTLINE(android-cloexec-open) */
        log_fd = open(path, O_RDWR | O_CREAT | O_TRUNC | O_APPEND | O_NOFOLLOW, 0644);
        if (null_fd < 0 || log_fd < 0)
                return -errno;
        for (int fd = 0; fd < 3; fd++)
                if (dup2(null_fd, fd) < 0)
                        return -errno;
        log_fd = fcntl(log_fd, F_DUPFD_CLOEXEC, 100);
        report_fd = dup3(report_fd, 99, O_CLOEXEC);
        close_range(3, 98, 0);
        close_range(101, ~0u, 0);
        *ret_log_fd = log_fd;
        return report_fd == 99 && log_fd == 100 ? 0 : -EMFILE;
}

/* In the supervisor's process: does not return. */
static void
supervisor_main(struct supervisor *s, int report_fd)
{
        char text[32];
        int lock_fd;

        umask(022);
        sigemptyset(&s->signals);
        sigaddset(&s->signals, SIGTERM);
        sigaddset(&s->signals, SIGINT);
        sigaddset(&s->signals, SIGCHLD);
        sigprocmask(SIG_BLOCK, &s->signals, NULL);
        signal(SIGPIPE, SIG_IGN);
        prctl(PR_SET_NAME, "bhyvenet-dns");
        if (detach(report_fd, &s->log_fd) != 0)
                _exit(1);
        s->report_fd = 99;
        lock_fd = take_lock(true);
        if (lock_fd < 0)
                _exit(1);
        snprintf(text, sizeof(text), "%d\n", (int)getpid());
        if (ftruncate(lock_fd, 0) < 0 || write(lock_fd, text, strlen(text)) < 0)
                _exit(1);
        end_stray_servers();
        supervise(s);
        _exit(0);
}

/* The last of what the server said, without line ends. */
static void
read_words(char *words, size_t bytes)
{
        char path[PATH_MAX];
        size_t skip;

        netconf_state_path(LOG_FILE, path);
        if (file_read(path, words, bytes) != 0)
                words[0] = '\0';
        skip = strspn(words, "\n");
        memmove(words, words + skip, strlen(words + skip) + 1);
        for (char *p = words; *p != '\0'; p++)
                if (*p == '\n')
                        *p = p[1] != '\0' ? ' ' : '\0';
}

static char
wait_for_report(int fd)
{
        char result = 'n';
        ssize_t n;

        do
                n = read(fd, &result, 1);
        while (n < 0 && errno == EINTR);
        return n == 1 ? result : 'n';
}

int
supervisor_start(const char *const argv[], supervisor_refresh_fn *refresh, void *ctx,
    char *ret_words, size_t words_bytes)
{
        struct supervisor s = { .argv = argv, .refresh = refresh, .ctx = ctx, .pause_s = 1 };
        int fds[2];
        pid_t pid;
        char result;

        ret_words[0] = '\0';
        if (pipe2(fds, O_CLOEXEC) < 0)
                return -errno;
        fflush(NULL);
        pid = fork();
        if (pid == 0) {
                /* Twice, so that the supervisor is nobody's child. */
                if (fork() == 0)
                        supervisor_main(&s, fds[1]);
                _exit(0);
        }
        close(fds[1]);
        if (pid > 0)
                waitpid(pid, NULL, 0);
        result = pid > 0 ? wait_for_report(fds[0]) : 'n';
        close(fds[0]);
        if (result == 'y')
                return 0;
        read_words(ret_words, words_bytes);
        return strstr(ret_words, strerror(EADDRINUSE)) != NULL ? -EADDRINUSE : -EIO;
}

static void
wait_until_unlocked(unsigned limit_ms)
{
        for (unsigned ms = 0; ms < limit_ms && supervisor_pid() != 0; ms += STEP_MS)
                sleep_ms(STEP_MS);
}

int
supervisor_stop(void)
{
        char path[PATH_MAX];
        pid_t pid = supervisor_pid();

        if (pid > 1 && kill(pid, SIGTERM) < 0 && errno != ESRCH)
                return -errno;
        wait_until_unlocked(STOP_MS);
        pid = supervisor_pid();
        if (pid > 1)
                kill(pid, SIGKILL);
        wait_until_unlocked(STOP_MS);
        end_stray_servers();
        netconf_state_path(LOCK_FILE, path);
        (void)unlink(path);
        netconf_state_path(LOG_FILE, path);
        (void)unlink(path);
        return supervisor_pid() != 0 ? -EBUSY : 0;
}
