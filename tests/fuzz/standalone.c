/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Drives a fuzzer without libFuzzer: every file named, then -n N inputs made
 * at random from a fixed seed.  A failure is a crash, or SIGALRM after 10 s
 * with one input.
 */
#include "fuzz.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define INPUT_MAX 65536

static uint64_t
next_random(uint64_t *state)
{
        /* xorshift64 */
        *state ^= *state << 13;
        *state ^= *state >> 7;
        *state ^= *state << 17;
        return *state;
}

static void
run_one(const uint8_t *data, size_t size)
{
        alarm(10);
        LLVMFuzzerTestOneInput(data, size);
        alarm(0);
}

static void
run_file(const char *path)
{
        static uint8_t buf[INPUT_MAX];
        FILE *f = fopen(path, "r");

        if (!f) {
                perror(path);
                exit(1);
        }
        run_one(buf, fread(buf, 1, sizeof(buf), f));
        fclose(f);
}

int
main(int argc, char **argv)
{
        uint64_t state = 88172645463325252ull;
        unsigned long count = 0;
        uint8_t buf[128];

        for (int i = 1; i < argc; i++) {
                if (strcmp(argv[i], "-n") == 0 && i + 1 < argc)
                        count = strtoul(argv[++i], NULL, 10);
                else
                        run_file(argv[i]);
        }
        for (unsigned long i = 0; i < count; i++) {
                size_t len = next_random(&state) % sizeof(buf);
                for (size_t j = 0; j < len; j++)
                        buf[j] = (uint8_t)(next_random(&state) >> 24);
                run_one(buf, len);
        }
        return 0;
}
