/* SPDX-License-Identifier: BSD-2-Clause */
#include "mem/file.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/mount.h>
#include <sched.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

/* A file without a name on a tmpfs of its own, mounted nowhere.  -1: the host does not let us. */
static int
open_on_huge_tmpfs(void)
{
        int fs = (int)syscall(SYS_fsopen, "tmpfs", FSOPEN_CLOEXEC);
        int mount = -1, fd = -1;

        if (fs < 0)
                return -1;
        if (syscall(SYS_fsconfig, fs, FSCONFIG_SET_STRING, "huge", "always", 0) == 0 &&
            syscall(SYS_fsconfig, fs, FSCONFIG_SET_STRING, "size", "0", 0) == 0 && /* no limit */
            syscall(SYS_fsconfig, fs, FSCONFIG_CMD_CREATE, NULL, NULL, 0) == 0)
                mount = (int)syscall(SYS_fsmount, fs, FSMOUNT_CLOEXEC, 0);
        if (mount >= 0) {
                fd = openat(mount, ".", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
                close(mount);
        }
        close(fs);
        return fd;
}

/* What open_by_child() and its child tell each other. */
struct child {
        uid_t uid;
        gid_t gid;
        int fd;
};

static bool
write_file(const char *path, const char *format, unsigned id)
{
        char text[32];
        int len = snprintf(text, sizeof(text), format, id);
        int fd = open(path, O_WRONLY | O_CLOEXEC);
        bool done;

        if (fd < 0)
                return false;
        done = write(fd, text, (size_t)len) == len;
        close(fd);
        return done;
}

/* Files can be made by users only that the namespace knows: ours, as its root (user_namespaces(7)). */
static int
open_in_namespace(void *arg)
{
        struct child *c = arg;

        if (write_file("/proc/self/setgroups", "deny", 0) && write_file("/proc/self/uid_map", "0 %u 1", c->uid) &&
            write_file("/proc/self/gid_map", "0 %u 1", c->gid))
                c->fd = open_on_huge_tmpfs();
        return 0;
}

/* The same by a child in a user namespace, where everybody may mount a tmpfs.  It shares our file descriptors. */
static int
open_by_child(void)
{
        static char stack[65536] __attribute__((aligned(16)));
        struct child c = { geteuid(), getegid(), -1 };
        pid_t pid = clone(open_in_namespace, stack + sizeof(stack),
            CLONE_VM | CLONE_VFORK | CLONE_FILES | CLONE_NEWUSER | CLONE_NEWNS | SIGCHLD, &c);

        if (pid < 0)
                return -1;
        while (waitpid(pid, NULL, 0) < 0 && errno == EINTR)
                continue;
        return c.fd;
}

int
mem_file_create(uint64_t size_bytes)
{
        int fd = open_on_huge_tmpfs();
        int error;

        if (fd < 0)
                fd = open_by_child();
        if (fd < 0)
                fd = memfd_create("guest memory", MFD_CLOEXEC);
        if (fd < 0)
                return -errno;
        if (ftruncate(fd, (off_t)size_bytes) == 0)
                return fd;
        error = -errno;
        close(fd);
        return error;
}
