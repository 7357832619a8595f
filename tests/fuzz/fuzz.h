/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What the fuzzers share.  Each fuzz_*.c has LLVMFuzzerTestOneInput() and is
 * driven by libFuzzer ("make fuzz") or by standalone.c ("make fuzz-check").
 *
 * A disk image is too large to mutate well, so an input for an image reader
 * is a list of changes to a good image from tests/fuzz/images:
 *      u8 which image, then { u24 offset (of 2-byte units), u8 value count 1-4, values }...
 * The offset counts in those sectors only that the reader reads and that hold anything.
 */
#ifndef FUZZ_FUZZ_H
#define FUZZ_FUZZ_H

#include <stddef.h>
#include <stdint.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#endif
