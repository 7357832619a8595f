#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause
# A short run of every boot reader's fuzzer over its kept corpus and random inputs.
cd "$(dirname "$0")/../.." && exec make -s fuzz-check
