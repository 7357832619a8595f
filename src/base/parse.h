/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Numbers, sizes and the like from text that a user wrote.
 * Every function takes the whole string or refuses it: 0, or -EINVAL with the
 * result untouched (-ERANGE where the number does not fit).
 */
#ifndef BASE_PARSE_H
#define BASE_PARSE_H

#include <sched.h>
#include <stdbool.h>
#include <stdint.h>

/* Decimal, or hexadecimal with 0x. */
int parse_u64(const char *text, uint64_t *ret_value);
/* The same with an optional suffix K, M, G or T (powers of 1024, either case, "B" allowed after it). */
int parse_size(const char *text, uint64_t *ret_bytes);
/* true, on, yes, 1; false, off, no, 0. */
int parse_bool(const char *text, bool *ret_value);
/* 8-4-4-4-12 hexadecimal digits, bytes in the order written. */
int parse_uuid(const char *text, uint8_t ret_uuid[16]);
/* Host CPUs: "0-2,5". */
int parse_cpuset(const char *text, cpu_set_t *ret_set);

/* Edit distance of two strings (insertions, deletions, replacements), for "did you mean". */
unsigned parse_distance(const char *a, const char *b);

#endif
