# SPDX-License-Identifier: BSD-2-Clause
"""The host's memory before a measurement.

A cloud's machine is a guest itself, and what it does not use may be taken from it: then the
first touch of a page waits for the hypervisor below, some 10 microseconds instead of 0.2,
now and then and for whoever comes first.  That is no figure of the program measured, so each
run begins with memory that has just been in use.
"""
import mmap
import time

PAGE = 4096


def touch(mib):
    """Touches and frees so much memory.  Microseconds for each page."""
    size = mib << 20
    with mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS) as m:
        m.madvise(mmap.MADV_HUGEPAGE)
        start = time.monotonic()
        m[::PAGE] = bytes(size // PAGE)
        return 1e6 * (time.monotonic() - start) / (size // PAGE)


def describe():
    first = touch(512)
    return f'memory of the host: {first:.2f} us for the first touch of a page, {touch(512):.2f} if it was in use just before, as it is for each run'
