#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause
# A short run of every boot reader's fuzzer over its kept corpus and random inputs.
cd "$(dirname "$0")/../.." && exec make -s fuzz-check FUZZERS="fs_ufs fs_cd9660 fs_fat fs_ext fs_zfs part elf conf loader"
