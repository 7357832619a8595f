/* SPDX-License-Identifier: BSD-2-Clause */
#include "base/symbols.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

static int
open_bytes(const void *bytes, size_t len, struct symbols **ret_symbols)
{
        char path[] = "/tmp/symbols.XXXXXX";
        int fd = mkstemp(path), error;

        assert_int_equal(write(fd, bytes, len), len);
        close(fd);
        error = symbols_open(path, ret_symbols);
        unlink(path);
        return error;
}

static void
symbols_at_names_the_function_that_holds_an_address(void **state)
{
        struct symbols *symbols;
        uint64_t address;

        assert_int_equal(symbols_open("/proc/self/exe", &symbols), 0);
        assert_true(symbols_find(symbols, "main", &address));
        assert_string_equal(symbols_at(symbols, address), "main");
        assert_string_equal(symbols_at(symbols, address + 1), "main");
        assert_null(symbols_at(symbols, 0));
        assert_null(symbols_at(symbols, UINT64_MAX));
        assert_false(symbols_find(symbols, "no_such_function", &address));
        symbols_close(symbols);
}

static void
symbols_open_refuses_what_is_no_elf_file(void **state)
{
        struct symbols *symbols;

        assert_int_equal(open_bytes("", 0, &symbols), -ENOEXEC);
        assert_int_equal(open_bytes("text", 4, &symbols), -ENOEXEC);
        assert_int_equal(symbols_open("/nonexistent", &symbols), -ENOENT);
}

/* Every word of the headers damaged in turn: an error or fewer symbols, nothing worse. */
static void
symbols_open_survives_damaged_headers(void **state)
{
        static uint8_t file[8 << 20];
        FILE *f = fopen("/proc/self/exe", "r");
        size_t len = fread(file, 1, sizeof(file), f);
        uint64_t sections;
        unsigned refused = 0;

        fclose(f);
        assert_true(len > 64 && len < sizeof(file));
        memcpy(&sections, file + 40, sizeof(sections));
        for (size_t at = 0; at + 4 <= len; at = at == 60 ? sections : at + 4) {
                struct symbols *symbols;
                uint8_t saved[4];

                memcpy(saved, file + at, 4);
                memset(file + at, 0xff, 4);
                if (open_bytes(file, len, &symbols) == 0) {
                        (void)symbols_at(symbols, 0x1000);
                        symbols_close(symbols);
                } else {
                        refused++;
                }
                memcpy(file + at, saved, 4);
        }
        assert_true(refused > 0);
}

int
main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(symbols_at_names_the_function_that_holds_an_address),
                cmocka_unit_test(symbols_open_refuses_what_is_no_elf_file),
                cmocka_unit_test(symbols_open_survives_damaged_headers),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
