/* SPDX-License-Identifier: BSD-2-Clause */
#include "instance/instance.h"
#include "base/util.h"
#include "config/vm_config.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#define STATE_MAGIC   "BHYVESTA"
#define STATE_VERSION 1u
#define MEMORY_DIR    "/dev/shm"

struct instance {
        char name[VM_NAME_MAX + 1];
        int parent; /* directory that holds every VM */
        int dir;
        int lock; /* -1 unless held */
};

/* Head of the state file; the processors' states follow. */
struct state_head {
        char magic[8];
        uint32_t version;
        uint32_t cpu_count;
        uint32_t cpu_bytes; /* sizeof(struct x86_state): a change of it is another version */
        uint32_t pad;
};
_Static_assert(sizeof(struct state_head) == 24, "on disk");

static int
write_all(int fd, const void *buf, size_t len)
{
        const char *p = buf;

        while (len != 0) {
                ssize_t n = write(fd, p, len);

                if (n < 0 && errno == EINTR)
                        continue;
                if (n < 0)
                        return -errno;
                p += n;
                len -= (size_t)n;
        }
        return 0;
}

static int
read_all(int fd, void *buf, size_t len)
{
        char *p = buf;

        while (len != 0) {
                ssize_t n = read(fd, p, len);

                if (n < 0 && errno == EINTR)
                        continue;
                if (n < 0)
                        return -errno;
                if (n == 0)
                        return -EPROTO;
                p += n;
                len -= (size_t)n;
        }
        return 0;
}

/* Where VMs are kept. */
static int
run_dir(char *buf, size_t size)
{
        const char *env = getenv("BHYVE_RUN"), *runtime = getenv("XDG_RUNTIME_DIR");
        int n;

        if (env != NULL && *env != '\0')
                n = snprintf(buf, size, "%s", env);
        else if (geteuid() == 0)
                n = snprintf(buf, size, "/run/bhyve");
        else if (runtime != NULL && *runtime != '\0')
                n = snprintf(buf, size, "%s/bhyve", runtime);
        else
                n = snprintf(buf, size, "/tmp/bhyve-%u", (unsigned)geteuid());
        return n < 0 || (size_t)n >= size ? -ENAMETOOLONG : 0;
}

/* Makes @path and what is missing above it. */
static void
make_dirs(const char *path)
{
        char buf[PATH_MAX];

        snprintf(buf, sizeof(buf), "%s", path);
        for (char *p = buf + 1; *p != '\0'; p++) {
                if (*p == '/') {
                        *p = '\0';
                        (void)mkdir(buf, 0755);
                        *p = '/';
                }
        }
        (void)mkdir(buf, 0700);
}

static int
open_parent(bool create, int *ret_fd, struct config_error *err)
{
        char path[PATH_MAX];
        struct stat st;
        int fd;

        if (run_dir(path, sizeof(path)) != 0)
                return config_fail(err, "BHYVE_RUN is too long");
        if (create)
                make_dirs(path);
        fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        if (fd < 0) {
                int error = -errno;

                config_fail(err, "%s: %s (set BHYVE_RUN to a directory of your own)", path, strerror(-error));
                return error;
        }
        /* Others must not be able to put a VM of theirs in the way. */
        if (fstat(fd, &st) != 0 || st.st_uid != geteuid() || (st.st_mode & 022) != 0) {
                close(fd);
                config_fail(err, "%s must belong to you and be writable by you alone", path);
                return -EPERM;
        }
        *ret_fd = fd;
        return 0;
}

static int
fail_errno(struct config_error *err, const struct instance *instance, const char *what)
{
        int error = -errno;

        config_fail(err, "VM %s: %s: %s", instance->name, what, strerror(-error));
        return error;
}

static int
open_dir(struct instance *instance, bool create, struct config_error *err)
{
        if (create && mkdirat(instance->parent, instance->name, 0700) != 0 && errno != EEXIST)
                return fail_errno(err, instance, "cannot be created");
        instance->dir =
            openat(instance->parent, instance->name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
        if (instance->dir >= 0)
                return 0;
        if (errno == ENOENT) {
                config_fail(err, "there is no VM named %s", instance->name);
                return -ENOENT;
        }
        return fail_errno(err, instance, "cannot be opened");
}

/* Whether @instance->dir still is what its name means: another process may just have destroyed it. */
static bool
dir_is_current(const struct instance *instance)
{
        struct stat ours, named;

        return fstat(instance->dir, &ours) == 0 && fstatat(instance->parent, instance->name, &named, 0) == 0 &&
               ours.st_ino == named.st_ino && ours.st_dev == named.st_dev;
}

static int
take_lock(struct instance *instance, struct config_error *err)
{
        struct flock whole = { .l_type = F_WRLCK, .l_whence = SEEK_SET };
        int fd = openat(instance->dir, "lock", O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0600);

        if (fd < 0)
                return fail_errno(err, instance, "lock");
        if (fcntl(fd, F_OFD_SETLK, &whole) != 0) {
                int error = errno == EACCES || errno == EAGAIN ? -EBUSY : -errno;

                close(fd);
                if (error == -EBUSY)
                        config_fail(err, "VM %s is in use by another process", instance->name);
                else
                        config_fail(err, "VM %s: lock: %s", instance->name, strerror(-error));
                return error;
        }
        instance->lock = fd;
        return 0;
}

static int
open_and_lock(struct instance *instance, unsigned flags, struct config_error *err)
{
        /* Again if the directory was destroyed between opening and locking it. */
        for (unsigned attempt = 0; attempt < 8; attempt++) {
                int error = open_dir(instance, flags & INSTANCE_CREATE, err);

                if (error == 0 && (flags & INSTANCE_LOCK))
                        error = take_lock(instance, err);
                if (error != 0 || dir_is_current(instance))
                        return error;
                close(instance->dir);
                instance->dir = -1;
                if (instance->lock >= 0)
                        close(instance->lock);
                instance->lock = -1;
        }
        config_fail(err, "VM %s keeps being destroyed by another process", instance->name);
        return -EBUSY;
}

int
instance_open(const char *name, unsigned flags, struct instance **ret_instance, struct config_error *err)
{
        struct instance *instance;
        int error;

        if (vm_name_check(name, err) != 0)
                return -EINVAL;
        instance = malloc(sizeof(*instance));
        if (instance == NULL) {
                config_fail(err, "out of memory");
                return -ENOMEM;
        }
        *instance = (struct instance){ .parent = -1, .dir = -1, .lock = -1 };
        snprintf(instance->name, sizeof(instance->name), "%s", name);
        error = open_parent(flags & INSTANCE_CREATE, &instance->parent, err);
        if (error == -ENOENT && !(flags & INSTANCE_CREATE))
                config_fail(err, "there is no VM named %s", name);
        if (error == 0)
                error = open_and_lock(instance, flags, err);
        if (error != 0) {
                instance_close(instance);
                return error;
        }
        *ret_instance = instance;
        return 0;
}

void
instance_close(struct instance *instance)
{
        if (instance == NULL)
                return;
        if (instance->lock >= 0)
                close(instance->lock);
        if (instance->dir >= 0)
                close(instance->dir);
        if (instance->parent >= 0)
                close(instance->parent);
        free(instance);
}

const char *
instance_name(const struct instance *instance)
{
        return instance->name;
}

int
instance_dir_fd(const struct instance *instance)
{
        return instance->dir;
}

bool
instance_is_locked(const struct instance *instance)
{
        struct flock whole = { .l_type = F_WRLCK, .l_whence = SEEK_SET };
        bool locked;
        int fd;

        if (instance->lock >= 0)
                return true;
        fd = openat(instance->dir, "lock", O_RDWR | O_NOFOLLOW | O_CLOEXEC);
        if (fd < 0)
                return false;
        locked = fcntl(fd, F_OFD_GETLK, &whole) == 0 && whole.l_type != F_UNLCK;
        close(fd);
        return locked;
}

/* Removes the memory file and the link to it. */
static void
drop_memory(struct instance *instance)
{
        char target[PATH_MAX];
        ssize_t n = readlinkat(instance->dir, "memory", target, sizeof(target) - 1);

        if (n <= 0)
                return;
        target[n] = '\0';
        if (strncmp(target, MEMORY_DIR "/bhyve.", sizeof(MEMORY_DIR "/bhyve.") - 1) == 0)
                (void)unlink(target);
        (void)unlinkat(instance->dir, "memory", 0);
}

int
instance_destroy(struct instance *instance, struct config_error *err)
{
        static const char *const files[] = { "state", "state.new", "control", "lock" };
        int error = 0;

        /* bhyve removes a VM that it booted itself; then there is nothing left to do. */
        if (instance->lock < 0 && !dir_is_current(instance))
                return 0;
        if (instance->lock < 0)
                error = take_lock(instance, err);
        if (error != 0)
                return error == -ENOENT ? 0 : error;
        drop_memory(instance);
        for (unsigned i = 0; i < ARRAY_LEN(files); i++)
                (void)unlinkat(instance->dir, files[i], 0);
        if (unlinkat(instance->parent, instance->name, AT_REMOVEDIR) != 0 && errno != ENOENT)
                return fail_errno(err, instance, "cannot be removed");
        return 0;
}

static int
check_room(const struct instance *instance, uint64_t size_bytes, struct config_error *err)
{
        struct statvfs fs;

        if (statvfs(MEMORY_DIR, &fs) != 0)
                return fail_errno(err, instance, MEMORY_DIR);
        if ((uint64_t)fs.f_bavail * fs.f_frsize < size_bytes) {
                config_fail(err, "VM %s: no space for %lluM of guest memory in %s (%lluM free)", instance->name,
                    (unsigned long long)(size_bytes / MIB), MEMORY_DIR,
                    (unsigned long long)((uint64_t)fs.f_bavail * fs.f_frsize / MIB));
                return -ENOSPC;
        }
        return 0;
}

int
instance_memory_create(struct instance *instance, uint64_t size_bytes, int *ret_fd, struct config_error *err)
{
        char path[] = MEMORY_DIR "/bhyve.XXXXXX";
        int fd, error;

        drop_memory(instance);
        instance_state_drop(instance);
        error = check_room(instance, size_bytes, err);
        if (error != 0)
                return error;
        fd = mkostemp(path, O_CLOEXEC);
        if (fd < 0)
                return fail_errno(err, instance, "memory file");
        if (ftruncate(fd, (off_t)size_bytes) != 0 || symlinkat(path, instance->dir, "memory") != 0) {
                error = fail_errno(err, instance, "memory file");
                (void)unlink(path);
                close(fd);
                return error;
        }
        *ret_fd = fd;
        return 0;
}

int
instance_memory_open(struct instance *instance, int *ret_fd, uint64_t *ret_size_bytes, struct config_error *err)
{
        struct stat st;
        int fd = openat(instance->dir, "memory", O_RDWR | O_CLOEXEC);

        if (fd < 0 && errno == ENOENT) {
                config_fail(err, "VM %s was not loaded: run bhyveload first, or boot a kernel with -o boot.kernel=",
                    instance->name);
                return -ENOENT;
        }
        if (fd < 0 || fstat(fd, &st) != 0) {
                int error = fail_errno(err, instance, "memory file");

                if (fd >= 0)
                        close(fd);
                return error;
        }
        *ret_fd = fd;
        *ret_size_bytes = (uint64_t)st.st_size;
        return 0;
}

int
instance_state_save(struct instance *instance, const struct instance_state *state, struct config_error *err)
{
        struct state_head head = { .magic = STATE_MAGIC,
                .version = STATE_VERSION,
                .cpu_count = state->cpu_count,
                .cpu_bytes = sizeof(struct x86_state) };
        int fd = openat(instance->dir, "state.new", O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, 0600);
        int error;

        if (fd < 0)
                return fail_errno(err, instance, "saved state");
        error = write_all(fd, &head, sizeof(head));
        if (error == 0)
                error = write_all(fd, state->cpu, state->cpu_count * sizeof(state->cpu[0]));
        close(fd);
        if (error == 0 && renameat(instance->dir, "state.new", instance->dir, "state") != 0)
                error = -errno;
        if (error != 0)
                config_fail(err, "VM %s: saved state: %s", instance->name, strerror(-error));
        return error;
}

static int
read_state(int fd, struct instance_state *ret_state)
{
        struct state_head head;
        int error = read_all(fd, &head, sizeof(head));

        if (error != 0)
                return error;
        if (memcmp(head.magic, STATE_MAGIC, sizeof(head.magic)) != 0 || head.version != STATE_VERSION ||
            head.cpu_bytes != sizeof(struct x86_state) || head.cpu_count == 0 ||
            head.cpu_count > INSTANCE_CPUS_MAX)
                return -EPROTO;
        ret_state->cpu_count = head.cpu_count;
        return read_all(fd, ret_state->cpu, head.cpu_count * sizeof(ret_state->cpu[0]));
}

int
instance_state_load(struct instance *instance, struct instance_state *ret_state, struct config_error *err)
{
        int fd = openat(instance->dir, "state", O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
        int error;

        if (fd < 0 && errno == ENOENT) {
                config_fail(err, "VM %s has nothing loaded: run bhyveload again", instance->name);
                return -ENOENT;
        }
        if (fd < 0)
                return fail_errno(err, instance, "saved state");
        error = read_state(fd, ret_state);
        close(fd);
        if (error == -EPROTO)
                config_fail(err, "VM %s was saved by another version of bhyve: load it again", instance->name);
        else if (error != 0)
                config_fail(err, "VM %s: saved state: %s", instance->name, strerror(-error));
        return error;
}

void
instance_state_drop(struct instance *instance)
{
        (void)unlinkat(instance->dir, "state", 0);
}
