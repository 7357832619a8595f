#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""What the soft engine tells a kernel's developer: traces, profiles, coverage."""
import os
import subprocess
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), '..'))
from lib.harness import BHYVE, assemble, main, path, run, start  # noqa: E402

# Five turns of a loop at CPL 0, then three instructions at CPL 3, whose IOPL lets it reach the exit port.
RINGS = '''
_start: movl $0x300000, %esp
        lgdt gdtr
        movl $5, %ecx
turn:   decl %ecx
        jnz turn
        pushl $0x23
        pushl $0x300000
        pushl $0x3002
        pushl $0x1b
        pushl $user
        iret
user:   movl $0x10, %eax
        testl %eax, %eax
        outb %al, $0xf4
1:      jmp 1b
        .balign 8
gdt:    .quad 0, 0x00cf9b000000ffff, 0x00cf93000000ffff, 0x00cffb000000ffff, 0x00cff3000000ffff
gdtr:   .word 39
        .long gdt
'''

# Two functions that take time, one three times as long as the other.
BUSY = '''
_start: movl $0x300000, %esp
        movl $300, %ebx
1:      call short
        call long
        decl %ebx
        jnz 1b
        movl $0x10, %eax
        outb %al, $0xf4
        .globl short, long
        .type short, @function
        .type long, @function
short:  movl $300000, %ecx
2:      decl %ecx
        jnz 2b
        ret
        .size short, . - short
long:   movl $900000, %ecx
3:      decl %ecx
        jnz 3b
        ret
        .size long, . - long
'''


def boot(kernel, *options):
    words = [w for o in ('cpu.engine=soft', f'boot.kernel={kernel}', *options) for w in ('-o', o)]
    return run(BHYVE, '-m', '64M', '-s', '0,hostbridge', '-s', '31,lpc', '-l', 'pc-testdev', *words, f'observe{os.getpid()}')


def symbols(elf):
    out = subprocess.run(['nm', elf], capture_output=True, text=True, check=True).stdout
    return {line.split()[2]: int(line.split()[0], 16) for line in out.splitlines()}


def trace(*options):
    """[(vCPU, CPL, address)]"""
    boot(assemble('rings.elf', RINGS), f'soft.trace={path("trace")}', *options)
    with open(path('trace'), encoding='ascii') as f:
        return [(int(v), int(cpl), int(at, 16)) for v, cpl, at in map(str.split, f)]


def test_trace_has_a_line_for_each_instruction():
    lines = trace()
    at = symbols(path('rings.elf'))
    assert len(lines) == 3 + 2 * 5 + 6 + 3, lines
    assert [line[2] for line in lines].count(at['turn']) == 5
    assert lines[0] == (0, 0, at['_start']) and lines[-3] == (0, 3, at['user']), lines


def test_trace_of_blocks_has_a_line_for_each_block():
    lines = [line[1:] for line in trace('soft.trace_kind=blocks')]
    at = symbols(path('rings.elf'))
    assert lines[0] == (0, at['_start']) and lines.count((0, at['turn'])) in (4, 5) and (3, at['user']) in lines, lines
    assert len(lines) < 12 and set(lines) < {line[1:] for line in trace()}, lines


def test_trace_is_filtered():
    whole = trace()
    at = symbols(path('rings.elf'))
    bounds = f'soft.trace_range={at["turn"]:#x}-{at["user"]:#x}'
    within = [line for line in whole if at['turn'] <= line[2] <= at['user']]
    assert within and trace(bounds) == within
    for level in (0, 3):
        user = [line for line in whole if line[1] == level]
        assert user and trace(f'soft.trace_cpl={level}') == user
    assert trace('soft.trace_cpl=3', bounds) == [(0, 3, at['user'])]
    assert trace('soft.trace_cpl=1') == []
    blocks = trace('soft.trace_kind=blocks', bounds)  # a block begins where the range does
    assert [line[2] for line in blocks].count(at['turn']) == 5 and set(blocks) < set(within), blocks


def test_trace_refuses_bad_filters():
    for option in ('soft.trace_range=5', 'soft.trace_range=9-5', 'soft.trace_range=x-y', 'soft.trace_range=-', 'soft.trace_cpl=4',
                   'soft.trace_kind=words'):
        status, _, err = boot(path('rings.elf'), f'soft.trace={path("trace")}', option)
        assert status == 4 and option.split('=')[0] in err, err


def test_profile_counts_functions_by_name():
    kernel = assemble('busy.elf', BUSY)
    subprocess.run(['objcopy', '-O', 'elf64-x86-64', kernel, path('busy64.elf')], check=True)
    for elf in kernel, path('busy64.elf'):
        boot(kernel, f'soft.profile={path("profile")}', f'debug.symbols={elf}')
        counts = {}
        with open(path('profile'), encoding='ascii') as f:
            for frames, count in (line.rsplit(' ', 1) for line in f):
                counts[frames] = counts.get(frames, 0) + int(count)
        assert 1.5 < counts['kernel;long'] / counts['kernel;short'] < 6, counts
        assert counts['kernel;long'] + counts['kernel;short'] > 0.9 * sum(counts.values()), counts


def test_cover_holds_what_ran_and_nothing_else():
    source = '''
_start: movl $0x10, %eax
        testl %eax, %eax
        jz never
        outb %al, $0xf4
1:      jmp 1b
never:  nop
        jmp never
'''
    cover = path('cover')
    boot(assemble('cover.elf', source), f'soft.cover={cover}')
    with open(cover, 'rb') as f:
        head, _, table = f.read().partition(b' bbs\n')
    assert head.startswith(b'DRCOV VERSION: 2\n') and b'0x0000000000000000' in head, head
    count = int(head.rsplit(b' ', 1)[1])
    blocks = [(int.from_bytes(table[8 * i:8 * i + 4], 'little'), int.from_bytes(table[8 * i + 4:8 * i + 6], 'little')) for i in range(count)]
    assert len(table) == 8 * count and blocks[0] == (0x100010, 9), blocks
    assert all(at + size <= 0x10001d for at, size in blocks), blocks


def test_perfmap_names_the_blocks():
    source = '_start: movl $0x10, %eax; testl %eax, %eax; jz _start; outb %al, $0xf4; 1: jmp 1b'
    p = start('-m', '64M', '-s', '0,hostbridge', '-s', '31,lpc', '-l', 'pc-testdev', '-o', 'cpu.engine=soft', '-o',
              f'boot.kernel={assemble("perfmap.elf", source)}', '-o', 'soft.perfmap=true', f'perfmap{os.getpid()}')
    p.wait(timeout=30)
    name = f'/tmp/perf-{p.pid}.map'
    with open(name, encoding='ascii') as f:
        lines = [line.split() for line in f]
    os.unlink(name)
    assert {'guest-thunks', 'guest-kernel-0x100010'} <= {words[2] for words in lines}, lines
    spans = sorted((int(at, 16), int(size, 16)) for at, size, _ in lines)
    assert all(size > 0 for _, size in spans) and all(a[0] + a[1] <= b[0] for a, b in zip(spans, spans[1:])), lines


if __name__ == '__main__':
    main(sys.modules[__name__])
