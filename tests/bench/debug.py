#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""What debugging costs: steps, memory, a breakpoint, an idle debugger.

        tests/bench/debug.py            BUILD= and GUEST= as for the tests
"""
import os
import subprocess
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), '..'))
from lib.harness import BHYVE, ENV, assemble  # noqa: E402
from lib.rsp import RIP, Remote, stop_rip  # noqa: E402

PORT = int(os.environ.get('DEBUG_PORT', '7471'))

# Counts for ever at `loop`, calls a function each time; protected mode, flat, interrupts off.
LOOP = '''
_start: movl $0x300000, %esp
        xorl %ebx, %ebx
loop:   addl $1, %ebx
        call work
        jmp loop
work:   movl %ebx, 0x200000
        ret
'''

# Three thousand million turns, then off by pc-testdev's exit port.
WORK = '''
_start: movl $3000000000, %ecx
1:      addl $3, %eax
        xorl %eax, %edx
        subl $1, %ecx
        jnz 1b
        movl $0xf4, %edx
        outb %al, %dx
        hlt
'''


def start(kernel, *extra):
    return subprocess.Popen([BHYVE, '-m', '128M', '-s', '0,hostbridge', '-s', '31,lpc', '-l', 'com1,stdio', '-l', 'pc-testdev',
                             '-o', 'cpu.engine=soft', '-o', f'boot.kernel={kernel}', *extra, f'dbgbench{os.getpid()}'],
                            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=ENV)


def timed(name, unit, fn, limit):
    best = min(fn() for _ in range(3))
    print(f'{name:44} {best:10.3f} {unit:6} (wanted: under {limit})', flush=True)


def stepping(r, count=10000):
    begin = time.monotonic()
    for _ in range(count):
        r.step()
    return time.monotonic() - begin


def reading(r, size=16 << 20):
    begin = time.monotonic()
    assert len(r.read(0x1000000, size)) == size
    return time.monotonic() - begin


def breaking(r, address, count=1000):
    r.ok(f'Z0,{address:x},1')
    begin = time.monotonic()
    for _ in range(count):
        r.go()
        assert stop_rip(r.receive()) == address
    took = time.monotonic() - begin
    r.ok(f'z0,{address:x},1')
    return 1000 * took / count


def work_seconds(attach):
    """Processor time that the guest's work takes; others on the host do not count."""
    p = start(assemble('work.elf', WORK), '-G', str(PORT + 1))
    if attach:
        r = Remote(PORT + 1)
        r.go()
    usage = os.wait4(p.pid, 0)[2]
    return usage.ru_utime + usage.ru_stime


def main():
    p = start(assemble('loop.elf', LOOP), '-G', f'w{PORT}')
    try:
        r = Remote(PORT)
        for _ in range(3):
            r.step()
        work = None
        while work is None:
            at = r.reg(RIP)
            if r.read(at, 1) == b'\xe8':
                work = (at + 5 + int.from_bytes(r.read(at + 1, 4), 'little', signed=True)) & 0xffffffff
            r.step()
        timed('10,000 single steps', 's', lambda: stepping(r), '2 s')
        timed('reading 16 MB', 's', lambda: reading(r), '1 s')
        timed('a breakpoint hit, with the way on from it', 'ms', lambda: breaking(r, work), '1 ms')
    finally:
        p.kill()
        p.wait()
    pairs = [(work_seconds(False), work_seconds(True)) for _ in range(10)]  # in turn: the host's speed changes
    alone, attached = (min(column) for column in zip(*pairs))
    print(f'{"loss with an idle debugger attached":44} {100 * (attached / alone - 1):10.2f} %      (wanted: under 2 %; {alone:.3f} s alone)')


if __name__ == '__main__':
    main()
