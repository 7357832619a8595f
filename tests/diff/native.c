/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The native side: a child process that runs cases with the processor itself.
 *
 * The child lives in a signal handler.  A case is started by returning from the
 * handler with the case's registers in the signal frame, and ends with the next
 * signal, whose frame holds the outcome: registers, FPU state, trap number, error
 * code and CR2.  Compatibility mode is entered by the frame's CS.  System calls
 * out of the case are trapped by seccomp.
 */
#include "diff.h"

#include <asm/ldt.h>
#include <errno.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <ucontext.h>
#include <unistd.h>

#define ALTSTACK_BYTES 262144

/* Shared with the child. */
struct shared {
        unsigned count;
        unsigned current;
        bool running;
        struct diff_case *cases;
        struct diff_result *results;
};

struct diff_native {
        pid_t child;
        int to_child, from_child;
        struct shared *shared;
        size_t shared_bytes;
        unsigned batch;
};

/* The handler's world: a signal handler has no argument for it. */
static struct shared *child_shared;
static int child_in, child_out;

static const int gregs[16] = { REG_RAX, REG_RCX, REG_RDX, REG_RBX, REG_RSP, REG_RBP, REG_RSI, REG_RDI, REG_R8,
        REG_R9, REG_R10, REG_R11, REG_R12, REG_R13, REG_R14, REG_R15 };

/* glibc's are not used: they may touch thread storage, whose FS base belongs to the case. */
static long
raw_syscall(long number, long a, long b, long c)
{
        long result;

        __asm__ volatile("syscall" : "=a"(result) : "a"(number), "D"(a), "S"(b), "d"(c) : "rcx", "r11", "memory");
        return result;
}

static void
copy_bytes(void *to, const void *from, size_t n)
{
        __asm__ volatile("rep movsb" : "+D"(to), "+S"(from), "+c"(n) : : "memory");
}

static void
load_memory(const struct diff_case *c)
{
        copy_bytes((void *)(uintptr_t)DIFF_CODE, c->image, DIFF_CODE_PAGES * DIFF_PAGE);
        copy_bytes((void *)(uintptr_t)DIFF_DATA, c->image + DIFF_DATA_AT, DIFF_DATA_PAGES * DIFF_PAGE);
        copy_bytes((void *)(uintptr_t)DIFF_STACK, c->image + DIFF_STACK_AT, DIFF_PAGE);
}

static void
save_memory(struct diff_result *r)
{
        copy_bytes(r->image, (void *)(uintptr_t)DIFF_CODE, DIFF_CODE_PAGES * DIFF_PAGE);
        copy_bytes(r->image + DIFF_DATA_AT, (void *)(uintptr_t)DIFF_DATA, DIFF_DATA_PAGES * DIFF_PAGE);
        copy_bytes(r->image + DIFF_STACK_AT, (void *)(uintptr_t)DIFF_STACK, DIFF_PAGE);
}

static void
load_case(const struct diff_case *c, ucontext_t *uc)
{
        uint8_t *fp = (uint8_t *)uc->uc_mcontext.fpregs;
        greg_t *g = uc->uc_mcontext.gregs;

        load_memory(c);
        for (unsigned i = 0; i < 16; i++)
                g[gregs[i]] = (greg_t)c->gpr[i];
        g[REG_RIP] = (greg_t)(c->start - diff_code_base(c));
        g[REG_EFL] = (greg_t)c->rflags;
        g[REG_CSGSFS] = (greg_t)((uint64_t)diff_ss(c) << 48 | diff_cs(c));
        /* bytes 464-511 describe the frame and are the kernel's */
        copy_bytes(fp, c->xsave, 464);
        copy_bytes(fp + 512, c->xsave + 512, DIFF_XSAVE_BYTES - 512);
        __asm__ volatile("mov %0, %%fs; mov %0, %%gs" : : "r"(0));
        __asm__ volatile("wrfsbase %0; wrgsbase %1" : : "r"(c->fs_base), "r"(c->gs_base));
        __asm__ volatile("mov %0, %%ds; mov %0, %%es" : : "r"(diff_ds(c)));
}

static void
save_case(const struct diff_case *c, struct diff_result *r, int sig, const ucontext_t *uc)
{
        const uint8_t *fp = (const uint8_t *)uc->uc_mcontext.fpregs;
        const greg_t *g = uc->uc_mcontext.gregs;

        r->vector = (uint32_t)g[REG_TRAPNO];
        if (sig == SIGALRM)
                r->vector = DIFF_TIMEOUT;
        else if (sig == SIGSYS)
                r->vector = DIFF_SYSCALL;
        r->error = (uint32_t)g[REG_ERR];
        r->cr2 = (uint64_t)g[REG_CR2];
        r->rip = (uint64_t)g[REG_RIP] + diff_code_base(c);
        r->rflags = (uint64_t)g[REG_EFL];
        for (unsigned i = 0; i < 16; i++)
                r->gpr[i] = (uint64_t)g[gregs[i]];
        copy_bytes(r->xsave, fp, DIFF_XSAVE_BYTES);
        __asm__ volatile("rdfsbase %0; rdgsbase %1" : "=r"(r->fs_base), "=r"(r->gs_base));
        save_memory(r);
}

static void
wait_for_batch(void)
{
        char byte = 0;

        if (raw_syscall(SYS_write, child_out, (long)&byte, 1) != 1 || raw_syscall(SYS_read, child_in, (long)&byte, 1) != 1)
                raw_syscall(SYS_exit_group, 0, 0, 0);
        child_shared->current = 0;
}

static void
handler(int sig, siginfo_t *info, void *context)
{
        struct shared *s = child_shared;

        /* AC would trap our own accesses; NT and ID would stay, for sigreturn does not set them */
        __asm__ volatile("pushfq; andl $~0x244000, (%%rsp); popfq" : : : "cc", "memory");
        if (sig == SIGALRM && !s->running)
                return;
        if (s->running) {
                s->running = false;
                save_case(&s->cases[s->current], &s->results[s->current], sig, context);
                s->current++;
        }
        if (s->current >= s->count)
                wait_for_batch();
        load_case(&s->cases[s->current], context);
        s->running = true;
}

static int
set_ldt_entry(unsigned index, uint32_t base, uint32_t limit, bool bits32, unsigned contents)
{
        struct user_desc d = { .entry_number = index, .base_addr = base, .limit = limit, .seg_32bit = bits32,
                .contents = contents, .useable = 1 };

        return syscall(SYS_modify_ldt, 1, &d, sizeof(d)) == 0 ? 0 : -ENOSYS;
}

static int
install_ldt(void)
{
        const uint32_t code = DIFF_CODE_PAGES * DIFF_PAGE - 1, data = DIFF_DATA_PAGES * DIFF_PAGE - 1;
        int error = set_ldt_entry(DIFF_LDT_CS16 >> 3, DIFF_CODE, code, false, MODIFY_LDT_CONTENTS_CODE);

        if (!error)
                error = set_ldt_entry(DIFF_LDT_CS32 >> 3, DIFF_CODE, code, true, MODIFY_LDT_CONTENTS_CODE);
        if (!error)
                error = set_ldt_entry(DIFF_LDT_DS >> 3, DIFF_DATA, data, true, MODIFY_LDT_CONTENTS_DATA);
        if (!error)
                error = set_ldt_entry(DIFF_LDT_SS16 >> 3, DIFF_STACK, DIFF_PAGE - 1, false, MODIFY_LDT_CONTENTS_DATA);
        if (!error)
                error = set_ldt_entry(DIFF_LDT_SS32 >> 3, DIFF_STACK, DIFF_PAGE - 1, true, MODIFY_LDT_CONTENTS_DATA);
        return error;
}

static int
install_handlers(void)
{
        static const int signals[] = { SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGTRAP, SIGALRM, SIGUSR1, SIGSYS };
        struct sigaction action = { .sa_sigaction = handler, .sa_flags = SA_SIGINFO | SA_ONSTACK | SA_RESTART };
        stack_t stack = { .ss_size = ALTSTACK_BYTES };

        stack.ss_sp = mmap(NULL, ALTSTACK_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        if (stack.ss_sp == MAP_FAILED || sigaltstack(&stack, NULL) < 0)
                return -errno;
        sigfillset(&action.sa_mask);
        for (size_t i = 0; i < sizeof(signals) / sizeof(signals[0]); i++)
                if (sigaction(signals[i], &action, NULL) < 0)
                        return -errno;
        return 0;
}

static int
map_fixed(uint32_t address, unsigned pages, int prot)
{
        void *at = (void *)(uintptr_t)address;
        void *p = mmap(at, pages * DIFF_PAGE, prot, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE | MAP_POPULATE, -1, 0);

        return p == at ? 0 : -ENOMEM;
}

static int
map_arena(const struct diff_case *c)
{
        int error = map_fixed(DIFF_CODE, DIFF_CODE_SPAN / DIFF_PAGE, PROT_READ | PROT_WRITE | PROT_EXEC);

        if (!error)
                error = map_fixed(DIFF_DATA, DIFF_DATA_PAGES, PROT_READ | PROT_WRITE);
        if (!error)
                error = map_fixed(DIFF_STACK, 1, PROT_READ | PROT_WRITE);
        if (!error)
                error = map_fixed(DIFF_RO, 1, PROT_READ | PROT_WRITE);
        if (error)
                return error;
        memset((void *)(uintptr_t)DIFF_CODE, 0xcc, DIFF_CODE_SPAN);
        if (mprotect((void *)(uintptr_t)DIFF_BEYOND, DIFF_BEYOND_BYTES, PROT_READ | PROT_EXEC) < 0)
                return -errno;
        /* the same in every case */
        memcpy((void *)(uintptr_t)DIFF_RO, c->image + DIFF_RO_AT, DIFF_PAGE);
        return mprotect((void *)(uintptr_t)DIFF_RO, DIFF_PAGE, PROT_READ) < 0 ? -errno : 0;
}

/* System calls from below 4 GiB (the child's own code is far above) raise SIGSYS; so do all of 32-bit code. */
static int
install_seccomp(void)
{
        struct sock_filter filter[] = {
                BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, arch)),
                BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, AUDIT_ARCH_X86_64, 0, 3),
                BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, instruction_pointer) + 4),
                BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, 0, 1, 0),
                BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
                BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_TRAP),
        };
        struct sock_fprog program = { .len = sizeof(filter) / sizeof(filter[0]), .filter = filter };

        if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 || prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) < 0)
                return -errno;
        return 0;
}

static void
child_main(struct shared *shared, int in, int out)
{
        struct itimerval timer = { .it_interval.tv_usec = 300000, .it_value.tv_usec = 300000 };

        child_shared = shared;
        child_in = in;
        child_out = out;
        shared->running = false;
        shared->current = shared->count;
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        /* The engine's code would answer wild accesses. */
        if (munmap((void *)(uintptr_t)DIFF_PAGE, (4ull << 30) - DIFF_PAGE) != 0 || map_arena(&shared->cases[0]) || install_ldt() || install_handlers() ||
            install_seccomp() || setitimer(ITIMER_REAL, &timer, NULL) < 0)
                _exit(1);
        raise(SIGUSR1);
        _exit(1);
}

static int
start_child(struct diff_native *native)
{
        int down[2], up[2];
        char byte;

        if (pipe(down) < 0 || pipe(up) < 0)
                return -errno;
        native->child = fork();
        if (native->child < 0)
                return -errno;
        if (native->child == 0) {
                close(down[1]);
                close(up[0]);
                child_main(native->shared, down[0], up[1]);
        }
        close(down[0]);
        close(up[1]);
        native->to_child = down[1];
        native->from_child = up[0];
        return read(native->from_child, &byte, 1) == 1 ? 0 : -ECHILD;
}

static void
stop_child(struct diff_native *native)
{
        kill(native->child, SIGKILL);
        waitpid(native->child, NULL, 0);
        close(native->to_child);
        close(native->from_child);
}

int
diff_native_create(unsigned batch, struct diff_native **ret_native)
{
        struct diff_native *native = calloc(1, sizeof(*native));
        size_t cases = batch * sizeof(struct diff_case), results = batch * sizeof(struct diff_result);
        uint8_t *p;

        if (!native)
                return -ENOMEM;
        native->batch = batch;
        native->shared_bytes = DIFF_PAGE + cases + results;
        p = mmap(NULL, native->shared_bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
        if (p == MAP_FAILED) {
                free(native);
                return -ENOMEM;
        }
        native->shared = (struct shared *)p;
        native->shared->cases = (struct diff_case *)(p + DIFF_PAGE);
        native->shared->results = (struct diff_result *)(p + DIFF_PAGE + cases);
        *ret_native = native;
        return 0;
}

void
diff_native_destroy(struct diff_native *native)
{
        if (!native)
                return;
        if (native->child > 0)
                stop_child(native);
        munmap(native->shared, native->shared_bytes);
        free(native);
}

struct diff_case *
diff_native_case(struct diff_native *native, unsigned index)
{
        return &native->shared->cases[index];
}

const struct diff_result *
diff_native_result(struct diff_native *native, unsigned index)
{
        return &native->shared->results[index];
}

bool
diff_native_run(struct diff_native *native, unsigned count)
{
        char byte = 0;

        if (native->child <= 0 && start_child(native) < 0)
                return false;
        native->shared->count = count;
        if (write(native->to_child, &byte, 1) == 1 && read(native->from_child, &byte, 1) == 1)
                return true;
        stop_child(native);
        native->child = 0;
        return false;
}
