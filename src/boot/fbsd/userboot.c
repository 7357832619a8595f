/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The other side of FreeBSD's userboot interface.  See userboot.h.
 *
 * The object is copied to memory first and its mark of FreeBSD's ABI removed,
 * or the dynamic linker would refuse it; it needs nothing of FreeBSD's.
 */
#include "boot/fbsd/userboot.h"

#include "base/util.h"
#include "boot/fbsd/entry.h"
#include "boot/fs/hostfs.h"

#include <dlfcn.h>
#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#define USERBOOT_VERSION 3
#define EXIT_BOOT        0
#define EXIT_REBOOT      2
#define EXIT_STOPPED     3 /* ours: the console said so */
#define OBJECT_MAX       (64 * MIB)
#define GUEST_MASK       0x7fffffffu /* everything is put below 2 GiB */

/* FreeBSD's sys/disk.h. */
#define DIOCGSECTORSIZE 0x40046480ul
#define DIOCGMEDIASIZE  0x40086481ul

/* The interface: members, order and types are FreeBSD 10's. */
struct loader_callbacks {
        int (*getc)(void *arg);
        void (*putc)(void *arg, int ch);
        int (*poll)(void *arg);
        int (*open)(void *arg, const char *name, void **ret_h);
        int (*close)(void *arg, void *h);
        int (*isdir)(void *arg, void *h);
        int (*read)(void *arg, void *h, void *dst, size_t size, size_t *ret_resid);
        int (*readdir)(void *arg, void *h, uint32_t *ret_fileno, uint8_t *ret_type,
            size_t *ret_namelen, char *name);
        int (*seek)(void *arg, void *h, uint64_t off, int whence);
        int (*stat)(
            void *arg, void *h, int *ret_mode, int *ret_uid, int *ret_gid, uint64_t *ret_size);
        int (*diskread)(
            void *arg, int unit, uint64_t off, void *dst, size_t size, size_t *ret_resid);
        int (*copyin)(void *arg, const void *from, uint64_t to, size_t size);
        int (*copyout)(void *arg, uint64_t from, void *to, size_t size);
        void (*setreg)(void *arg, int reg, uint64_t v);
        void (*setmsr)(void *arg, int msr, uint64_t v);
        void (*setcr)(void *arg, int cr, uint64_t v);
        void (*setgdt)(void *arg, uint64_t base, size_t size);
        void (*exec)(void *arg, uint64_t pc);
        void (*delay)(void *arg, int usec);
        void (*exit)(void *arg, int v);
        void (*getmem)(void *arg, uint64_t *ret_low, uint64_t *ret_high);
        int (*diskioctl)(void *arg, int unit, unsigned long cmd, void *data);
        const char *(*getenv)(void *arg, int num);
};

typedef void loader_main_fn(struct loader_callbacks *cb, void *arg, int version, int ndisks);

/* What child and parent share. */
struct outcome {
        struct x86_state state;
        char why[256];
};

/* The child's. */
struct run {
        const struct userboot *ub;
        struct outcome *outcome;
        struct fs *host;
        struct blkdev disks[32];
        uint64_t cr3, gdt, sp;
        int read_ahead; /* CONSOLE_TIMEOUT: none */
};

/* An open file of the host. */
struct handle {
        struct fs_file file;
        struct fs_cursor cursor;
        uint64_t off;
};

/* --- Console --- */

static int
key(struct run *r, int timeout_ms)
{
        int c = console_get(r->ub->con, timeout_ms);

        if (c == CONSOLE_STOP)
                _exit(EXIT_STOPPED);
        return c;
}

static int
cb_getc(void *arg)
{
        struct run *r = arg;
        int c = r->read_ahead;

        r->read_ahead = CONSOLE_TIMEOUT;
        while (c == CONSOLE_TIMEOUT)
                c = key(r, -1);
        return c < 0 ? -1 : c;
}

static int
cb_poll(void *arg)
{
        struct run *r = arg;

        if (r->read_ahead == CONSOLE_TIMEOUT)
                r->read_ahead = key(r, 0);
        return r->read_ahead != CONSOLE_TIMEOUT;
}

static void
cb_putc(void *arg, int ch)
{
        struct run *r = arg;
        char c = (char)ch;

        r->ub->con->ops->put(r->ub->con->ctx, &c, 1);
}

/* --- Files of the host.  Errors are positive numbers that both systems share. --- */

static int
cb_open(void *arg, const char *name, void **ret_h)
{
        struct run *r = arg;
        struct handle *h = r->host ? calloc(1, sizeof(*h)) : NULL;

        if (!h)
                return ENOENT;
        int err = fs_open(r->host, name, &h->file);
        if (err) {
                free(h);
                return err == -EINVAL ? EINVAL : ENOENT;
        }
        *ret_h = h;
        return 0;
}

static int
cb_close(void *arg, void *handle)
{
        struct handle *h = handle;

        fs_end_readdir(&h->file, &h->cursor);
        fs_close(&h->file);
        free(h);
        return 0;
}

static int
cb_isdir(void *arg, void *handle)
{
        return ((struct handle *)handle)->file.node.type == FS_TYPE_DIR;
}

static int
cb_read(void *arg, void *handle, void *dst, size_t size, size_t *ret_resid)
{
        struct handle *h = handle;
        ssize_t n = fs_read(&h->file, h->off, dst, size);

        if (n < 0)
                return n == -EISDIR ? EINVAL : EIO;
        h->off += (uint64_t)n;
        *ret_resid = size - (size_t)n;
        return 0;
}

static int
cb_readdir(void *arg, void *handle, uint32_t *ret_fileno, uint8_t *ret_type, size_t *ret_namelen,
    char *name)
{
        static const uint8_t types[] = {
            [FS_TYPE_UNKNOWN] = 0, [FS_TYPE_FILE] = 8, [FS_TYPE_DIR] = 4, [FS_TYPE_LINK] = 10};
        struct handle *h = handle;
        struct fs_dirent ent;

        if (fs_readdir(&h->file, &h->cursor, &ent) != 1)
                return ENOENT;
        *ret_fileno = (uint32_t)ent.ref;
        *ret_type = ent.type < ARRAY_LEN(types) ? types[ent.type] : 0;
        *ret_namelen = strlen(ent.name);
        strcpy(name, ent.name);
        return 0;
}

static int
cb_seek(void *arg, void *handle, uint64_t off, int whence)
{
        struct handle *h = handle;

        if (whence == SEEK_SET)
                h->off = off;
        else if (whence == SEEK_CUR)
                h->off += off;
        else if (whence == SEEK_END)
                h->off = h->file.node.size_bytes + off;
        else
                return EINVAL;
        return 0;
}

static int
cb_stat(void *arg, void *handle, int *ret_mode, int *ret_uid, int *ret_gid, uint64_t *ret_size)
{
        const struct fs_node *node = &((struct handle *)handle)->file.node;

        *ret_mode = node->mode | (node->type == FS_TYPE_DIR ? 0040000 : 0100000);
        *ret_uid = *ret_gid = 0;
        *ret_size = node->size_bytes;
        return 0;
}

/* --- Disks and guest --- */

static int
cb_diskread(void *arg, int unit, uint64_t off, void *dst, size_t size, size_t *ret_resid)
{
        struct run *r = arg;

        if (unit < 0 || (unsigned)unit >= r->ub->disk_count)
                return EIO;
        *ret_resid = 0;
        return blkdev_read(&r->disks[unit], off, dst, size) ? EIO : 0;
}

static int
cb_diskioctl(void *arg, int unit, unsigned long cmd, void *data)
{
        struct run *r = arg;

        if (unit < 0 || (unsigned)unit >= r->ub->disk_count)
                return EBADF;
        switch (cmd) {
        case DIOCGSECTORSIZE:
                *(uint32_t *)data = 512;
                return 0;
        case DIOCGMEDIASIZE:
                *(uint64_t *)data = r->disks[unit].size_bytes;
                return 0;
        default:
                return ENOTTY;
        }
}

static int
cb_copyin(void *arg, const void *from, uint64_t to, size_t size)
{
        return mem_write(((struct run *)arg)->ub->mem, to & GUEST_MASK, from, size) ? EFAULT : 0;
}

static int
cb_copyout(void *arg, uint64_t from, void *to, size_t size)
{
        return mem_read(((struct run *)arg)->ub->mem, from & GUEST_MASK, to, size) ? EFAULT : 0;
}

static void
cb_getmem(void *arg, uint64_t *ret_low, uint64_t *ret_high)
{
        const struct run *r = arg;

        *ret_low = mem_low_bytes(r->ub->mem);
        *ret_high = mem_high_bytes(r->ub->mem);
}

/* --- Registers --- */

static _Noreturn void
give_up(struct run *r, const char *what)
{
        snprintf(r->outcome->why, sizeof(r->outcome->why), "%s", what);
        _exit(1);
}

static void
cb_setreg(void *arg, int reg, uint64_t v)
{
        struct run *r = arg;

        if (reg != 4)
                give_up(r, "it set a register other than the stack pointer");
        r->sp = v;
}

static void
cb_setmsr(void *arg, int msr, uint64_t v)
{
        if ((unsigned)msr != 0xc0000080u) /* EFER: what exec sets is what it may say */
                give_up(arg, "it set an MSR other than EFER");
}

static void
cb_setcr(void *arg, int cr, uint64_t v)
{
        struct run *r = arg;

        if (cr == 3)
                r->cr3 = v;
        else if (cr != 0 && cr != 4)
                give_up(r, "it set a control register other than CR0, CR3 and CR4");
}

static void
cb_setgdt(void *arg, uint64_t base, size_t size)
{
        ((struct run *)arg)->gdt = base;
}

static void
cb_exec(void *arg, uint64_t pc)
{
        struct run *r = arg;
        struct x86_state *state = &r->outcome->state;
        int err = r->cr3 ? entry_registers_amd64(r->ub->mem, pc, r->cr3, r->gdt, r->sp, state)
                         : entry_registers_i386(r->ub->mem, pc, r->gdt, r->sp, state);

        if (err)
                give_up(r, "it put its tables outside the guest's memory");
        _exit(EXIT_BOOT);
}

static void
cb_delay(void *arg, int usec)
{
        usleep((useconds_t)usec);
}

static void
cb_exit(void *arg, int v)
{
        _exit(v == EXIT_REBOOT ? EXIT_REBOOT : 1);
}

static const char *
cb_getenv(void *arg, int num)
{
        static const char *const always[] = {"smbios.bios.vendor=BHYVE", "boot_serial=1"};
        const struct userboot *ub = ((struct run *)arg)->ub;
        unsigned i = (unsigned)num;

        if (i < ub->env_count)
                return ub->env[i];
        i -= ub->env_count;
        return i < ARRAY_LEN(always) ? always[i] : NULL;
}

static struct loader_callbacks callbacks = {
    .getc = cb_getc,
    .putc = cb_putc,
    .poll = cb_poll,
    .open = cb_open,
    .close = cb_close,
    .isdir = cb_isdir,
    .read = cb_read,
    .readdir = cb_readdir,
    .seek = cb_seek,
    .stat = cb_stat,
    .diskread = cb_diskread,
    .copyin = cb_copyin,
    .copyout = cb_copyout,
    .setreg = cb_setreg,
    .setmsr = cb_setmsr,
    .setcr = cb_setcr,
    .setgdt = cb_setgdt,
    .exec = cb_exec,
    .delay = cb_delay,
    .exit = cb_exit,
    .getmem = cb_getmem,
    .diskioctl = cb_diskioctl,
    .getenv = cb_getenv,
};

/* --- The child --- */

static int
copy_to_memfd(const void *bytes, size_t len)
{
        int fd = memfd_create("userboot", MFD_CLOEXEC);
        const char *at = bytes;

        while (fd >= 0 && len > 0) {
                ssize_t n = write(fd, at, len);
                if (n <= 0) {
                        close(fd);
                        return -1;
                }
                at += n;
                len -= (size_t)n;
        }
        return fd;
}

static loader_main_fn *
open_object(struct run *r)
{
        struct blkdev dev;
        char path[64];

        if (blkdev_open(r->ub->path, false, &dev) || dev.size_bytes < EI_NIDENT ||
            dev.size_bytes > OBJECT_MAX)
                give_up(r, "it cannot be read");
        size_t len = (size_t)dev.size_bytes;
        unsigned char *bytes = malloc(len);
        if (!bytes || blkdev_read(&dev, 0, bytes, len))
                give_up(r, "it cannot be read");
        bytes[EI_OSABI] = ELFOSABI_SYSV;
        int fd = copy_to_memfd(bytes, len);
        if (fd < 0)
                give_up(r, "it cannot be copied");
        free(bytes);
        blkdev_close(&dev);
        snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
        void *object = dlopen(path, RTLD_NOW | RTLD_LOCAL);
        if (!object)
                give_up(r, dlerror());
        void *symbol = dlsym(object, "loader_main");
        if (!symbol)
                give_up(r, "it has no loader_main");
        loader_main_fn *fn;
        memcpy(&fn, &symbol, sizeof(fn));
        return fn;
}

static _Noreturn void
child(struct run *r)
{
        const struct userboot *ub = r->ub;

        prctl(PR_SET_PDEATHSIG, SIGKILL);
        if (ub->host_dir && hostfs_mount(ub->host_dir, &r->host))
                give_up(r, "the host's directory cannot be opened");
        for (unsigned i = 0; i < ub->disk_count; i++) {
                if (blkdev_open(ub->disks[i], false, &r->disks[i]))
                        give_up(r, "a disk cannot be opened");
        }
        loader_main_fn *fn = open_object(r);
        fn(&callbacks, r, USERBOOT_VERSION, (int)ub->disk_count);
        _exit(1);
}

/* --- The parent --- */

/* Waits for the child, or for a signal, which ends it. */
static int
wait_for(pid_t pid, int pipe_fd, const sigset_t *mask)
{
        struct pollfd pfd = {.fd = pipe_fd, .events = POLLIN};
        int status;

        if (ppoll(&pfd, 1, NULL, mask) < 0)
                kill(pid, SIGKILL);
        while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
                ;
        return status;
}

static enum loader_result
result_of(
    const struct userboot *ub, int status, const struct outcome *outcome, char *why, size_t size)
{
        why[0] = '\0';
        if (WIFSIGNALED(status)) {
                if (WTERMSIG(status) == SIGKILL)
                        return LOADER_STOPPED;
                snprintf(why, size, "it crashed (%s); the interface is version %d, FreeBSD 10's",
                    strsignal(WTERMSIG(status)), USERBOOT_VERSION);
                return LOADER_QUIT;
        }
        switch (WEXITSTATUS(status)) {
        case EXIT_BOOT:
                return LOADER_BOOT;
        case EXIT_REBOOT:
                return LOADER_REBOOT;
        case EXIT_STOPPED:
                return LOADER_STOPPED;
        default:
                snprintf(why, size, "%s", outcome->why);
                return LOADER_QUIT;
        }
}

enum loader_result
userboot_run(const struct userboot *ub, struct x86_state *state, char *why, size_t why_size)
{
        struct run r = {.ub = ub, .read_ahead = CONSOLE_TIMEOUT};
        int fds[2];

        snprintf(why, why_size, "%s", "out of memory or processes");
        r.outcome = mmap(
            NULL, sizeof(*r.outcome), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
        if (r.outcome == MAP_FAILED)
                return LOADER_QUIT;
        r.outcome->state = *state;
        enum loader_result result = LOADER_QUIT;
        if (pipe2(fds, O_CLOEXEC) == 0) {
                fflush(NULL);
                pid_t pid = fork();
                if (pid == 0)
                        child(&r);
                close(fds[1]);
                if (pid > 0)
                        result = result_of(
                            ub, wait_for(pid, fds[0], ub->wait_mask), r.outcome, why, why_size);
                close(fds[0]);
        }
        if (result == LOADER_BOOT)
                *state = r.outcome->state;
        munmap(r.outcome, sizeof(*r.outcome));
        return result;
}
