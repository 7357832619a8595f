/* SPDX-License-Identifier: BSD-2-Clause */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "base/util.h"
#include "instance/instance.h"
#include "instance/regs.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

static char run_dir[] = "/tmp/bhyve-unit.XXXXXX";
static struct config_error err;

static struct instance *
make(const char *name)
{
        struct instance *instance;

        assert_int_equal(instance_open(name, INSTANCE_CREATE | INSTANCE_LOCK, &instance, &err), 0);
        return instance;
}

static void
instance_missing_is_named(void **state)
{
        struct instance *instance;

        assert_int_equal(instance_open("nosuch", 0, &instance, &err), -ENOENT);
        assert_non_null(strstr(err.text, "nosuch"));
        assert_int_equal(instance_open("a/b", INSTANCE_CREATE, &instance, &err), -EINVAL);
        assert_int_equal(instance_open("..", INSTANCE_CREATE, &instance, &err), -EINVAL);
}

static void
instance_second_lock_is_busy(void **state)
{
        struct instance *first = make("vm"), *second;

        assert_true(instance_is_locked(first));
        assert_int_equal(instance_open("vm", INSTANCE_LOCK, &second, &err), -EBUSY);
        assert_int_equal(instance_open("vm", 0, &second, &err), 0);
        assert_true(instance_is_locked(second));
        assert_int_equal(instance_destroy(second, &err), -EBUSY);
        instance_close(first);
        assert_false(instance_is_locked(second));
        assert_int_equal(instance_destroy(second, &err), 0);
        instance_close(second);
}

static void
instance_lock_of_killed_process_is_free(void **state)
{
        struct instance *instance;
        pid_t child = fork();

        if (child == 0) {
                if (instance_open("dead", INSTANCE_CREATE | INSTANCE_LOCK, &instance, &err) != 0)
                        _exit(1);
                kill(getpid(), SIGKILL);
        }
        assert_int_equal(waitpid(child, NULL, 0), child);
        instance = make("dead");
        assert_int_equal(instance_destroy(instance, &err), 0);
        instance_close(instance);
}

static void
instance_memory_outlives_its_maker_and_goes_with_the_vm(void **state)
{
        struct instance *instance = make("mem");
        char target[256] = "", link[300];
        uint64_t bytes = 0;
        struct stat st;
        int fd;

        assert_int_equal(instance_memory_open(instance, &fd, &bytes, &err), -ENOENT);
        assert_int_equal(instance_memory_create(instance, 4 * MIB, &fd, &err), 0);
        assert_int_equal(pwrite(fd, "hello", 5, 4096), 5);
        close(fd);
        instance_close(instance);

        assert_int_equal(instance_open("mem", INSTANCE_LOCK, &instance, &err), 0);
        assert_int_equal(instance_memory_open(instance, &fd, &bytes, &err), 0);
        assert_int_equal(bytes, 4 * MIB);
        assert_int_equal(pread(fd, target, 5, 4096), 5);
        assert_string_equal(target, "hello");
        close(fd);
        snprintf(link, sizeof(link), "%s/mem/memory", run_dir);
        assert_true(readlink(link, target, sizeof(target) - 1) > 0);
        assert_int_equal(stat(target, &st), 0);
        assert_int_equal(instance_destroy(instance, &err), 0);
        instance_close(instance);
        assert_int_equal(stat(target, &st), -1);
}

static void
instance_memory_beyond_the_host_is_refused(void **state)
{
        struct instance *instance = make("huge");
        int fd;

        assert_int_equal(instance_memory_create(instance, 1ull << 50, &fd, &err), -ENOSPC);
        assert_non_null(strstr(err.text, "no space"));
        assert_int_equal(instance_destroy(instance, &err), 0);
        instance_close(instance);
}

static void
instance_state_is_saved_whole(void **state)
{
        struct instance *instance = make("st");
        struct instance_state *a = aligned_alloc(64, 2 * sizeof(*a)), *b = a + 1;

        memset(a, 0, 2 * sizeof(*a));
        a->cpu_count = 2;
        memset(&a->cpu[1], 0x5a, sizeof(a->cpu[1]));
        a->cpu[0].rip = 0xffffffff80100000;
        assert_int_equal(instance_state_load(instance, b, &err), -ENOENT);
        assert_int_equal(instance_state_save(instance, a, &err), 0);
        assert_int_equal(instance_state_load(instance, b, &err), 0);
        assert_int_equal(b->cpu_count, 2);
        assert_memory_equal(a->cpu, b->cpu, 2 * sizeof(a->cpu[0]));
        instance_state_drop(instance);
        assert_int_equal(instance_state_load(instance, b, &err), -ENOENT);
        assert_int_equal(instance_destroy(instance, &err), 0);
        instance_close(instance);
        free(a);
}

static void
instance_state_of_another_version_is_refused(void **state)
{
        struct instance *instance = make("old");
        struct instance_state *st = aligned_alloc(64, sizeof(*st));
        uint32_t version = 99;
        int fd;

        memset(st, 0, sizeof(*st));
        st->cpu_count = 1;
        assert_int_equal(instance_state_save(instance, st, &err), 0);
        fd = openat(instance_dir_fd(instance), "state", O_RDWR);
        assert_int_equal(pwrite(fd, &version, sizeof(version), 8), sizeof(version));
        assert_int_equal(instance_state_load(instance, st, &err), -EPROTO);
        assert_int_equal(ftruncate(fd, 20), 0);
        assert_int_equal(instance_state_load(instance, st, &err), -EPROTO);
        close(fd);
        assert_int_equal(instance_destroy(instance, &err), 0);
        instance_close(instance);
        free(st);
}

static void
instance_directory_open_to_others_is_refused(void **state)
{
        struct instance *instance;

        assert_int_equal(chmod(run_dir, 0777), 0);
        assert_int_equal(instance_open("vm", INSTANCE_CREATE, &instance, &err), -EPERM);
        assert_int_equal(chmod(run_dir, 0700), 0);
}

static void
check_register(void *ctx, const char *name)
{
        struct x86_state *st = ctx;
        uint64_t value = 0;

        assert_int_equal(regs_set(st, name, 0x1235), 0);
        assert_int_equal(regs_get(st, name, &value), 0);
        assert_int_equal(value, 0x1235);
}

static void
regs_names_reach_their_fields(void **state)
{
        struct x86_state *st = aligned_alloc(64, sizeof(*st));
        struct x86_seg seg = { .base = 0x1000, .limit = 0xffff, .attr = 0x93 }, back;
        uint64_t value;

        memset(st, 0, sizeof(*st));
        regs_for_each(check_register, st);
        assert_int_equal(regs_set(st, "rip", 42), 0);
        assert_int_equal(st->rip, 42);
        assert_int_equal(regs_set_desc(st, "tr", &seg), 0);
        assert_int_equal(st->tr.base, 0x1000);
        assert_int_equal(regs_set_desc(st, "gdtr", &seg), 0);
        assert_int_equal(regs_get_desc(st, "gdtr", &back), 0);
        assert_int_equal(back.limit, 0xffff);
        assert_int_equal(regs_get(st, "rzx", &value), -ENOENT);
        free(st);
}

int
main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(instance_missing_is_named),
                cmocka_unit_test(instance_second_lock_is_busy),
                cmocka_unit_test(instance_lock_of_killed_process_is_free),
                cmocka_unit_test(instance_memory_outlives_its_maker_and_goes_with_the_vm),
                cmocka_unit_test(instance_memory_beyond_the_host_is_refused),
                cmocka_unit_test(instance_state_is_saved_whole),
                cmocka_unit_test(instance_state_of_another_version_is_refused),
                cmocka_unit_test(instance_directory_open_to_others_is_refused),
                cmocka_unit_test(regs_names_reach_their_fields),
        };
        int failed;

        if (mkdtemp(run_dir) == NULL || setenv("BHYVE_RUN", run_dir, 1) != 0)
                return 1;
        failed = cmocka_run_group_tests(tests, NULL, NULL);
        (void)rmdir(run_dir);
        return failed;
}
