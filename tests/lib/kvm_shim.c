/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Preloaded into bhyve: a KVM that lacks or refuses something.  KVM_SHIM holds words:
 *   cap:N=V      KVM_CHECK_EXTENSION of capability N says V
 *   fail:X=E     the ioctl with number X (hexadecimal, its low byte) fails with errno E
 *   version=V    KVM_GET_API_VERSION says V
 *   open=E       /dev/kvm cannot be opened: errno E
 *   lost=A,B     KVM_SIGNAL_MSI of a vector from A to B says that all is well, and sends nothing
 *   abort=M,P    a write to a port that is P under the mask M comes out of the first vCPU: the end
 *   exit=R,A,B   KVM_RUN comes back with exit reason R at once, and A and B as its first two values
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/kvm.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

static int vcpu = -1;
static struct kvm_run *run;

/* What follows @word in KVM_SHIM; NULL if it is not there. */
static const char *
find(const char *word)
{
        const char *all = getenv("KVM_SHIM"), *at = all == NULL ? NULL : strstr(all, word);

        return at == NULL ? NULL : at + strlen(word);
}

/* The value in "KEY:N=V" words with this N, read in @base. */
static const char *
find_numbered(const char *key, unsigned long number, int base)
{
        for (const char *at = find(key); at != NULL; at = strstr(at, key) == NULL ? NULL : strstr(at, key) + strlen(key)) {
                char *end;

                if (strtoul(at, &end, base) == number && *end == '=')
                        return end + 1;
        }
        return NULL;
}

static int
fail(const char *number)
{
        errno = atoi(number);
        return -1;
}

static int
false_exit(const char *text)
{
        char *end;

        run->exit_reason = (unsigned)strtoul(text, &end, 0);
        if (run->exit_reason == KVM_EXIT_INTERNAL_ERROR) {
                static const unsigned char bytes[] = { 0x0f, 0x0b, 0x90 };

                run->emulation_failure.suberror = (unsigned)strtoul(end + 1, &end, 0);
                run->emulation_failure.ndata = 3;
                run->emulation_failure.flags = KVM_INTERNAL_ERROR_EMULATION_FLAG_INSTRUCTION_BYTES;
                run->emulation_failure.insn_size = sizeof(bytes);
                memcpy(run->emulation_failure.insn_bytes, bytes, sizeof(bytes));
        } else if (run->exit_reason == KVM_EXIT_FAIL_ENTRY) {
                run->fail_entry.hardware_entry_failure_reason = strtoull(end + 1, &end, 0);
        }
        return 0;
}

static int
is_lost(const struct kvm_msi *msi, const char *range)
{
        char *end;
        unsigned long first = strtoul(range, &end, 0), last = strtoul(end + 1, NULL, 0), vector = msi->data & 0xff;

        return vector >= first && vector <= last;
}

static void
judge_write(const char *text)
{
        char *end;
        unsigned long mask = strtoul(text, &end, 0), port = strtoul(end + 1, NULL, 0);

        if (run->exit_reason == KVM_EXIT_IO && run->io.direction == KVM_EXIT_IO_OUT && (run->io.port & mask) == port)
                abort();
}

int
ioctl(int fd, unsigned long request, ...)
{
        const char *value = NULL;
        void *argument;
        va_list args;
        long result;

        va_start(args, request);
        argument = va_arg(args, void *);
        va_end(args);
        if (_IOC_TYPE(request) == KVMIO)
                value = find_numbered("fail:", request & 0xff, 16);
        if (value != NULL)
                return fail(value);
        if (request == KVM_CHECK_EXTENSION && (value = find_numbered("cap:", (unsigned long)argument, 10)) != NULL)
                return atoi(value);
        if (request == KVM_GET_API_VERSION && (value = find("version=")) != NULL)
                return atoi(value);
        if (request == KVM_RUN && run != NULL && !run->immediate_exit && (value = find("exit=")) != NULL)
                return false_exit(value);
        if (request == KVM_SIGNAL_MSI && (value = find("lost=")) != NULL && is_lost(argument, value))
                return 0;
        result = syscall(SYS_ioctl, fd, request, argument);
        if (request == KVM_RUN && result == 0 && run != NULL && (value = find("abort=")) != NULL)
                judge_write(value);
        if (request == KVM_CREATE_VCPU && vcpu < 0)
                vcpu = (int)result;
        return (int)result;
}

static void *
map(void *at, size_t len, int prot, int flags, int fd, off_t offset)
{
        void *p = (void *)syscall(SYS_mmap, at, len, prot, flags, fd, offset);

        if (fd >= 0 && fd == vcpu)
                run = p;
        return p;
}

void *
mmap(void *at, size_t len, int prot, int flags, int fd, off_t offset)
{
        return map(at, len, prot, flags, fd, offset);
}

void *
mmap64(void *at, size_t len, int prot, int flags, int fd, off_t offset)
{
        return map(at, len, prot, flags, fd, offset);
}

static int
open_file(const char *path, int flags, int mode)
{
        const char *error = strcmp(path, "/dev/kvm") == 0 ? find("open=") : NULL;

        return error != NULL ? fail(error) : (int)syscall(SYS_openat, AT_FDCWD, path, flags, mode);
}

#define OPEN(name)                                                                                 \
        int name(const char *path, int flags, ...)                                                 \
        {                                                                                          \
                va_list args;                                                                      \
                int mode;                                                                          \
                                                                                                   \
                va_start(args, flags);                                                             \
                mode = va_arg(args, int);                                                          \
                va_end(args);                                                                      \
                return open_file(path, flags, mode);                                               \
        }

OPEN(open)
OPEN(open64)
