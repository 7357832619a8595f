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

# Counts at 0x200000 for ever what a kernel's guest does all day: arithmetic, or calls from CPL 3 to CPL 0 and back.
WORK = {'arithmetic': '''
_start: movl $1000, %ecx
1:      addl $3, %eax
        xorl %eax, %edx
        subl $1, %ecx
        jnz 1b
        incl 0x200000
        jmp _start
''', 'system calls': '''
_start: movl $0x300000, %esp
        movl $0x300000, tss + 4
        movw $0x10, tss + 8
        movl $tss, %eax
        movw %ax, gdt + 0x2a
        shrl $16, %eax
        movb %al, gdt + 0x2c
        movb %ah, gdt + 0x2f
        lgdt gdtr
        ljmp $8, $1f
1:      movw $0x28, %ax
        ltr %ax
        movl $handler, %eax
        movw %ax, idt + 0x80 * 8
        movw $8, idt + 0x80 * 8 + 2
        movw $0xee00, idt + 0x80 * 8 + 4
        shrl $16, %eax
        movw %ax, idt + 0x80 * 8 + 6
        lidt idtr
        movw $0x23, %ax
        movw %ax, %ds
        pushl $0x23
        pushl $0x280000
        pushl $2
        pushl $0x1b
        pushl $user
        iret
user:   movl $100, %ecx
2:      int $0x80
        subl $1, %ecx
        jnz 2b
        incl 0x200000
        jmp user
handler: pushl %eax
        addl $1, 0x200008
        popl %eax
        iret
        .balign 8
gdt:    .quad 0, 0x00cf9b000000ffff, 0x00cf93000000ffff, 0x00cffb000000ffff, 0x00cff3000000ffff, 0x0000890000000067
gdtr:   .word 47
        .long gdt
idtr:   .word 0x81 * 8 - 1
        .long idt
tss:    .skip 104
idt:    .skip 0x81 * 8
'''}
PAIRS = 250
TURN = 0.06  # seconds


def start(kernel, *extra):
    return subprocess.Popen([BHYVE, '-m', '128M', '-s', '0,hostbridge', '-s', '31,lpc', '-l', 'com1,stdio', '-l', 'pc-testdev',
                             '-o', 'cpu.engine=soft', '-o', f'boot.kernel={kernel}', *extra, f'dbgbench{os.getpid()}'],
                            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=ENV)


def timed(name, unit, fn, limit):
    best = min(fn() for _ in range(3))
    print(f'{name:52} {best:10.3f} {unit:6} (wanted: under {limit})', flush=True)


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


class Progress:
    """How far the guest's counter has come for the processor time of its vCPU's thread."""

    def __init__(self, pid):
        for task in os.listdir(f'/proc/{pid}/task'):
            with open(f'/proc/{pid}/task/{task}/comm', encoding='ascii') as f:
                if f.read().startswith('vcpu'):
                    self.schedstat = f'/proc/{pid}/task/{task}/schedstat'

    def now(self, r):
        """While the guest is stopped: the first number is nanoseconds on a processor (proc(5))."""
        with open(self.schedstat, encoding='ascii') as f:
            return int.from_bytes(r.read(0x200000, 4), 'little'), int(f.read().split()[0])

    def speed(self, before, r):
        count, ns = self.now(r)
        return ((count - before[0]) % (1 << 32)) / (ns - before[1])


def losses(kernel):
    """In percent, of one guest with a debugger attached and idle, by turns with none: neighbours in time are compared."""
    p = start(kernel, '-G', str(PORT + 1))
    try:
        r = Remote(PORT + 1)
        progress = Progress(p.pid)
        ratios = []
        for turn in range(PAIRS):
            speed = {}
            for attached in (True, False) if turn % 2 else (False, True):
                before = progress.now(r)
                if attached:
                    r.go()
                    time.sleep(TURN)
                    r.stop()
                else:
                    r.detach()
                    time.sleep(TURN)
                    r = Remote(PORT + 1)
                speed[attached] = progress.speed(before, r)
            ratios.append(100 * (speed[False] / speed[True] - 1))
        return sorted(ratios)
    finally:
        p.kill()
        p.wait()


def report_loss(name, kernel):
    found = losses(kernel)
    half = len(found) / 2
    spread = 0.98 * len(found) ** 0.5  # ranks that hold the median 19 times of 20
    median, low, high = (found[round(rank)] for rank in (half, half - spread, half + spread))
    print(f'{"loss with an idle debugger attached: " + name:52} {median:10.2f} %      (wanted: under 2 %; the median lies in {low:.2f} to {high:.2f}, '
          f'quartiles {found[len(found) // 4]:.2f} and {found[len(found) * 3 // 4]:.2f}, {len(found)} pairs)', flush=True)


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
    for name, source in WORK.items():
        report_loss(name, assemble(name.split()[0] + '.elf', source))


if __name__ == '__main__':
    main()
