# SPDX-License-Identifier: BSD-2-Clause
"""Parts `start` and `touch` of make bench: time to the first instruction, and memory by page."""
import os
import statistics
import subprocess
import time

import hostmemory

# A Multiboot kernel whose first instructions send one byte to the serial port and stop.
FIRST = '''
        .section .multiboot, "a"
        .long 0x1badb002, 0, -0x1badb002
        .text
        .code32
        .globl _start
_start: movw $0x3f8, %dx
        movb $0x21, %al
        outb %al, %dx
1:      cli
        hlt
        jmp 1b
        .section .note.GNU-stack, "", @progbits
'''


def assemble(bench):
    base = os.path.join(bench.dir, 'first')
    with open(base + '.S', 'w') as f:
        f.write(FIRST)
    subprocess.run(['cc', '-m32', '-c', '-o', base + '.o', base + '.S'], check=True)
    subprocess.run(['ld', '-m', 'elf_i386', '-N', '--no-warn-rwx-segments', '-Ttext=0x100010',
                    '--section-start=.multiboot=0x100000', '-e', '_start', '-o', base + '.elf', base + '.o'], check=True)
    return base + '.elf'


def byte_seconds(command):
    """From the start of the program to the byte that the guest sends."""
    start = time.monotonic()
    p = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, bufsize=0)
    try:
        while True:
            byte = p.stdout.read(1)
            if byte in (b'!', b''):
                return time.monotonic() - start if byte else float('nan')
    finally:
        p.kill()
        p.wait()
        p.stdout.close()


def first_instruction(bench):
    kernel = assemble(bench)
    commands = {'bhyve': [bench.args.bhyve, '-m', '1G', '-s', '0,hostbridge', '-s', '31,lpc', '-l', 'com1,stdio', '-o',
                          f'cpu.engine={bench.engine}', '-o', f'boot.kernel={kernel}', f'first{os.getpid()}']}
    if bench.qemu:
        commands['qemu'] = [bench.qemu, '-accel', bench.accel, '-m', '1024', '-display', 'none', '-serial', 'stdio', '-monitor', 'none',
                           '-nic', 'none', '-kernel', kernel]
    rounds = 5 if bench.args.quick else 15
    times = {m: [] for m in commands}
    for _ in range(rounds):
        for m, command in commands.items():
            hostmemory.touch(256)
            times[m].append(1000 * byte_seconds(command))
    print(f'\nstart to the first byte of a guest of 1 GiB, ms (median of {rounds}; QEMU goes through its BIOS)')
    for m, t in times.items():
        print(f'  {m:8} {statistics.median(t):7.1f}   [{min(t):.1f} .. {max(t):.1f}]')


def touch(bench):
    """Three quarters of the guest's free memory, twice: the host gives its pages at the first touch."""
    initrd = bench.add_initrd({'workloads': bench.native_program}, '/workloads -r 1 touch\n' * 2)
    print('\nmemory, ns for each page of 4 KiB: first touch in the guest\'s life, and again')
    for machine in bench.machines():
        for memory in 512, 4096:
            command = bench.command(machine, 'rdinit=/addedinit', memory=memory, initrd=initrd)
            words = bench.run_command(machine, command, memory)[1].split()
            at = [i for i, w in enumerate(words) if w == 'touch']
            ns = [1e9 * float(words[i + 1]) / int(words[i + 2]) for i in at]
            print(f'  {machine:8} {memory:5} MiB  ' + '  '.join(f'{n:8.0f}' for n in ns))
