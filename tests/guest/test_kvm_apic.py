#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""VMs whose local APICs are KVM's: what bhyvectl sees of them, what wakes and what ends them."""
import os
import re
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), '..'))
from lib.harness import BHYVECTL, Skip, assemble, kvm_kind, main, run, start  # noqa: E402

# PICs masked, for the timer runs; local APIC: enabled, task priority 0x30.
APIC = '''
_start: movl $0x300000, %esp
        movb $0xff, %al
        outb %al, $0x21
        movl $0xfee000f0, %eax
        movl $0x1ff, (%eax)
        movl $0xfee00080, %eax
        movl $0x30, (%eax)
'''
# The other processor halts with interrupts off.
SECOND = APIC + '''
        movl $ap, %esi
        movl $0x8000, %edi
        movl $(ap_end - ap), %ecx
        cld
        rep movsb
        movl $0xfee00300, %eax
        movl $0xc4500, (%eax)
        movl $0xc4608, (%eax)
1:      cmpl $0, 0x7000
        je 1b
        IDLE
        .code16
ap:     cli
        xorw %ax, %ax
        movw %ax, %ds
        movw $1, 0x7000
2:      hlt
        jmp 2b
ap_end:
        .code32
'''


class Machine:
    def __init__(self, name, source, cpus=1):
        if not kvm_kind():
            raise Skip('there is no /dev/kvm that may be used')
        self.name = name
        self.p = start('-c', cpus, '-s', '0,hostbridge', '-s', '31,lpc', '-o', 'cpu.engine=kvm', '-o', 'kvm.irqchip=split',
                       '-o', 'boot.kernel=' + assemble(name + '.elf', source), name)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.p.kill()
        self.p.wait()
        run(BHYVECTL, f'--vm={self.name}', '--destroy')

    def ask(self, *words):
        return run(BHYVECTL, f'--vm={self.name}', *words)

    def wait_for(self, pattern, *words):
        """Until bhyvectl's answer to @words has @pattern."""
        deadline = time.monotonic() + 20
        while not re.search(pattern, (out := self.ask(*words)[1]), re.M):
            assert time.monotonic() < deadline and self.p.poll() is None, out
            time.sleep(0.05)
        return out


def test_registers_shown_are_the_kernels():
    with Machine('shown', APIC + '1: jmp 1b') as m:
        m.wait_for('svr 1ff tpr 30 ', '--cpu=0', '--get-chips')
        m.wait_for(r'^cr8\W.*0x0*3$', '--cpu=0', '--get-all')
        m.wait_for(r'^exits \d+$', '--get-stats')


def test_nmi_ends_a_halt_in_the_kernel():
    with Machine('nmi', APIC + 'sti; 1: hlt; jmp 1b') as m:
        m.wait_for('halted', '--cpu=0', '--get-all')
        m.ask('--inject-nmi')
        assert m.p.wait(timeout=20) == 3  # there is no handler


def test_all_halted_with_interrupts_off_is_the_end():
    with Machine('dead', SECOND.replace('IDLE', 'cli; 3: hlt; jmp 3b'), cpus=2) as m:
        assert m.p.wait(timeout=20) == 2


def test_one_that_an_interrupt_may_wake_is_no_end():
    with Machine('alive', SECOND.replace('IDLE', 'sti; 3: hlt; jmp 3b'), cpus=2) as m:
        m.wait_for('halted', '--cpu=0', '--get-all')
        m.wait_for('halted', '--cpu=1', '--get-all')
        # Longer than it takes to look twice.
        time.sleep(2)
        assert m.p.poll() is None
        assert m.ask('--force-poweroff')[0] == 0
        assert m.p.wait(timeout=20) == 1


if __name__ == '__main__':
    main(sys.modules[__name__])
