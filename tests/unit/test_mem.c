/* SPDX-License-Identifier: BSD-2-Clause */
/* Guest memory: where it lies, and RAM that is mapped a second time. */
#include "base/util.h"
#include "mem/file.h"
#include "mem/mem.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>
#include <cmocka.h>

static struct guest_mem *
memory_of(uint64_t bytes)
{
        struct guest_mem *mem = NULL;
        int fd = mem_file_create(bytes);

        assert_true(fd >= 0);
        assert_int_equal(mem_create(fd, bytes, &mem), 0);
        close(fd);
        return mem;
}

static void
test_file_has_size(void **state)
{
        int fd = mem_file_create(64 * MIB);
        struct stat st;

        assert_true(fd >= 0);
        assert_int_equal(fstat(fd, &st), 0);
        assert_int_equal(st.st_size, 64 * MIB);
        assert_int_equal(st.st_nlink, 0);
        close(fd);
}

static void
test_mapped_again(void **state)
{
        struct guest_mem *mem = memory_of(8 * MIB);
        uint8_t *at = mmap(NULL, 4 * MEM_PAGE_SIZE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        uint8_t *ram = mem_at(mem, 5 * MIB, 2 * MEM_PAGE_SIZE);

        assert_ptr_not_equal(at, MAP_FAILED);
        assert_true(mem_has_file(mem));
        assert_int_equal(mem_map_again(mem, 5 * MIB, 2 * MEM_PAGE_SIZE, at + MEM_PAGE_SIZE, PROT_READ | PROT_WRITE), 0);
        ram[MEM_PAGE_SIZE + 7] = 0x77;
        assert_int_equal(at[2 * MEM_PAGE_SIZE + 7], 0x77);
        at[MEM_PAGE_SIZE] = 0x11;
        assert_int_equal(ram[0], 0x11);
        munmap(at, 4 * MEM_PAGE_SIZE);
        assert_int_equal(ram[0], 0x11);
        mem_destroy(mem);
}

/* RAM beyond 4 GiB follows in the file on what lies below. */
static void
test_mapped_again_beyond_4_gib(void **state)
{
        struct guest_mem *mem = memory_of(MEM_LOW_LIMIT + 4 * MIB);
        uint8_t *at = mmap(NULL, MEM_PAGE_SIZE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        uint8_t *ram = mem_at(mem, MEM_HIGH_BASE + 2 * MIB, MEM_PAGE_SIZE);

        assert_ptr_not_equal(at, MAP_FAILED);
        assert_int_equal(mem_map_again(mem, MEM_HIGH_BASE + 2 * MIB, MEM_PAGE_SIZE, at, PROT_READ), 0);
        memset(ram, 0x5a, MEM_PAGE_SIZE);
        assert_int_equal(at[MEM_PAGE_SIZE - 1], 0x5a);
        munmap(at, MEM_PAGE_SIZE);
        mem_destroy(mem);
}

static void
test_not_mapped_again(void **state)
{
        struct guest_mem *mem = memory_of(8 * MIB), *anonymous = NULL;
        uint8_t *at = mmap(NULL, 2 * MEM_PAGE_SIZE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

        assert_int_equal(mem_map_again(mem, 8 * MIB, MEM_PAGE_SIZE, at, PROT_READ), -EFAULT);
        assert_int_equal(mem_map_again(mem, 8 * MIB - MEM_PAGE_SIZE, 2 * MEM_PAGE_SIZE, at, PROT_READ), -EFAULT);
        assert_int_equal(mem_map_again(mem, ~(gpa_t)0 & ~0xfffull, MEM_PAGE_SIZE, at, PROT_READ), -EFAULT);
        mem_destroy(mem);
        assert_int_equal(mem_create(-1, 2 * MIB, &anonymous), 0);
        assert_false(mem_has_file(anonymous));
        assert_int_equal(mem_map_again(anonymous, 0, MEM_PAGE_SIZE, at, PROT_READ), -ENOTSUP);
        mem_destroy(anonymous);
        munmap(at, 2 * MEM_PAGE_SIZE);
}

int
main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_file_has_size),
                cmocka_unit_test(test_mapped_again),
                cmocka_unit_test(test_mapped_again_beyond_4_gib),
                cmocka_unit_test(test_not_mapped_again),
        };

        return cmocka_run_group_tests_name("mem", tests, NULL, NULL);
}
