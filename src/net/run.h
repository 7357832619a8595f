/* SPDX-License-Identifier: BSD-2-Clause */
/* Running other programs to their end, and small files. */
#ifndef NET_RUN_H
#define NET_RUN_H

#include <stdbool.h>
#include <stddef.h>

/* True if @program is found in PATH or in the usual directories of system programs. */
bool run_exists(const char *program);

/*
 * Runs argv[0] (found as run_exists() finds it) with @input on its standard
 * input, NULL for none, and waits for its end.  What it says on both outputs
 * goes to @output, cut at @output_bytes; NULL for none.
 * Its exit status, 128 + signal, or -errno where it could not be started.
 */
int run(const char *const argv[], const char *input, char *output, size_t output_bytes);

/* The path of @program for execv(); false where it is not found. */
bool run_find(const char *program, char *path, size_t path_bytes);

/* Replaces the file at @path by @text in one step, for all to read.  0 or -errno. */
int file_replace(const char *path, const char *text);

/* Reads at most @bytes - 1 of a small file into @buf, ending it with '\0'.  0 or -errno. */
int file_read(const char *path, char *buf, size_t bytes);

/* Writes to a file that exists, such as one under /proc/sys.  0 or -errno. */
int file_write(const char *path, const char *text);

#endif
