#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""What bhyve says where KVM is missing, lacks something or fails; tests/lib/kvm_shim.c makes such a KVM."""
import errno
import os
import re
import subprocess
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), '..'))
from lib.harness import BHYVE, BHYVECTL, Skip, assemble, instances, kvm_kind, main, run, shim, start  # noqa: E402

KVM = ('-o', 'cpu.engine=kvm')
# Writes "ok" to the first serial port, and powers off.
OK = '''
        mov $0x3f8, %dx; mov $'o', %al; out %al, %dx; mov $'k', %al; out %al, %dx
off:    mov $0x404, %dx; mov $0x3400, %ax; out %ax, %dx
        hlt
'''
CAP = {'IMMEDIATE_EXIT': 136, 'SPLIT_IRQCHIP': 121, 'MAX_VCPUS': 66, 'NR_MEMSLOTS': 10, 'USER_SPACE_MSR': 188,
       'READONLY_MEM': 81, 'X86_DISABLE_EXITS': 143, 'VCPU_EVENTS': 41}
CREATE_VM, CREATE_VCPU, SET_MEMORY, SET_LAPIC = 0x01, 0x41, 0x46, 0x8f


def need_kvm():
    if not kvm_kind():
        raise Skip('there is no /dev/kvm that may be used')


def refused(*args, names, words=None):
    if words is not None:
        need_kvm()
    status, out, err = run(BHYVE, *KVM, *args, '-o', 'boot.kernel=' + assemble('ok', '_start:' + OK), 'vm',
                           env=shim(words) if words is not None else None)
    assert status == 4, (status, out, err)
    assert len(err.splitlines()) == 1 and err.startswith('bhyve: '), err
    for name in names:
        assert name in err, f'{name!r} is not in {err!r}'
    assert instances() == [], instances()


def runs(*args, words):
    """Standard error of a VM that prints ok and powers off."""
    need_kvm()
    status, out, err = run(BHYVE, *KVM, '-s', '0,hostbridge', '-s', '31,lpc', '-l', 'com1,stdio', *args, '-o',
                           'boot.kernel=' + assemble('ok', '_start:' + OK), 'vm', env=shim(words))
    assert (status, out) == (1, 'ok'), (status, out, err)
    return err


def dies(words, *names, args=()):
    """A VM that ends with status 4, these words, and the processor's state."""
    need_kvm()
    status, out, err = run(BHYVE, *KVM, *args, '-o', 'boot.kernel=' + assemble('ok', '_start:' + OK), 'vm', env=shim(words))
    assert status == 4, (status, out, err)
    for name in names:
        assert name in err, f'{name!r} is not in {err!r}'
    assert err.count('virtual CPU 0 (running') == 1, err
    assert re.search(r'^rip +0x0000000000100010$', err, re.M), err
    assert 'code at 0x100010: 66 ba f8 03 b0 6f ee' in err, err


def test_no_device():
    refused('-o', 'kvm.device=/no/kvm', names=['there is no /no/kvm', 'kvm_intel or kvm_amd', 'cpu.engine=soft'])


def test_device_is_something_else():
    refused('-o', 'kvm.device=/dev/null', names=['/dev/null', "not KVM's device", 'KVM_GET_API_VERSION'])


def test_no_permission():
    refused(names=['/dev/kvm', 'may not be opened', 'group kvm'], words=f'open={errno.EACCES}')


def test_device_cannot_be_opened():
    refused(names=['/dev/kvm', os.strerror(errno.EBUSY)], words=f'open={errno.EBUSY}')


def test_other_version_of_the_interface():
    refused(names=['version 11', 'version 12'], words='version=11')


def test_capability_missing_is_named_with_its_kernel():
    refused(names=['KVM_CAP_IMMEDIATE_EXIT', 'Linux 4.11'], words=f'cap:{CAP["IMMEDIATE_EXIT"]}=0')
    refused(names=['KVM_CAP_READONLY_MEM', 'Linux 3.7'], words=f'cap:{CAP["READONLY_MEM"]}=0')
    refused(names=['KVM_CAP_VCPU_EVENTS', 'Linux 2.6.33'], words=f'cap:{CAP["VCPU_EVENTS"]}=0')


def test_split_irqchip_missing():
    refused('-o', 'kvm.irqchip=split', names=['KVM_CAP_SPLIT_IRQCHIP', 'Linux 4.4'],
            words=f'cap:{CAP["SPLIT_IRQCHIP"]}=0')
    assert runs(words=f'cap:{CAP["SPLIT_IRQCHIP"]}=0') == ''


def test_x2apic_without_split_irqchip():
    need_kvm()
    refused('-x', '-o', 'kvm.irqchip=user', names=['x86.x2apic (-x)', 'kvm.irqchip'])
    assert runs('-x', words='') == ''


def test_what_is_optional_may_be_missing():
    assert runs(words=f'cap:{CAP["USER_SPACE_MSR"]}=0 cap:{CAP["X86_DISABLE_EXITS"]}=0') == ''
    err = runs('-w', words=f'cap:{CAP["USER_SPACE_MSR"]}=0')
    assert '-w has no effect' in err and 'KVM_CAP_X86_USER_SPACE_MSR (Linux 5.10)' in err, err


def test_too_many_processors():
    refused('-c', '3', names=['3 virtual CPUs', 'allows 2', 'KVM_CAP_MAX_VCPUS'], words=f'cap:{CAP["MAX_VCPUS"]}=2')


def test_too_many_pieces_of_memory():
    refused('-m', '3200M', names=['2 pieces', 'allows 1', 'KVM_CAP_NR_MEMSLOTS'], words=f'cap:{CAP["NR_MEMSLOTS"]}=1')


def test_call_that_fails_is_named():
    for number, name in (CREATE_VM, 'KVM_CREATE_VM'), (CREATE_VCPU, 'KVM_CREATE_VCPU'), (SET_MEMORY, 'KVM_SET_USER_MEMORY_REGION'):
        refused(names=[name, os.strerror(errno.ENOMEM)], words=f'fail:{number:x}={errno.ENOMEM}')
    refused(names=['local APIC', os.strerror(errno.EINVAL)], words=f'fail:{SET_LAPIC:x}={errno.EINVAL}')


def test_routes_refused_while_it_runs():
    need_kvm()
    # Pin 20 of the I/O APIC level-triggered, and its line up.
    kernel = assemble('route', '_start: movl $0xfec00000, %ebx; movl $0x38, (%ebx); movl $0x8060, 0x10(%ebx)\n'
                      'mov $0x2014, %dx; mov $1, %al; out %al, %dx\n' + OK)
    args = ('-s', '0,hostbridge', '-s', '31,lpc', '-l', 'com1,stdio', '-l', 'pc-testdev', '-o', f'boot.kernel={kernel}', 'vm')
    status, out, err = run(BHYVE, *KVM, *args, env=shim(f'fail:6a={errno.EINVAL}'))
    assert (status, out) == (1, 'ok'), (status, out, err)
    assert 'KVM_SET_GSI_ROUTING: ' + os.strerror(errno.EINVAL) in err, err
    assert run(BHYVE, *KVM, *args)[2] == ''


def test_entry_refused_by_hardware():
    dies('exit=9,0x80000021', 'refused to enter the guest', '0x80000021', 'invalid guest state')
    dies('exit=9,0x7', '0x7')


def test_internal_error():
    dies('exit=17,1', 'internal error 1', 'cannot emulate', 'instruction 0f 0b 90')
    dies('exit=17,3', 'internal error 3', 'could not be delivered')
    dies('exit=17,77', 'internal error 77')
    dies('exit=17,77', 'internal error 77', args=('-o', 'debug.dump=true'))


def test_exit_that_nothing_asked_for():
    dies('exit=99', 'exit reason 99')


def test_guest_that_runs_into_a_hole():
    need_kvm()
    kernel = assemble('hole', '_start: mov $0xd0000000, %eax; jmp *%eax')
    status, out, err = run(BHYVE, *KVM, '-o', f'boot.kernel={kernel}', 'vm')
    assert status == 4, (status, out, err)
    assert 'KVM: internal error 1' in err and re.search(r'^rip +0x00000000d0000000$', err, re.M), err


def test_unknown_msr_as_w_says():
    need_kvm()
    kernel = assemble('msr', '_start: mov $0x12345678, %ecx; xor %eax, %eax; rdmsr; test %eax, %eax; jnz bad; wrmsr\n' + OK +
                      'bad: hlt; jmp bad')
    args = ('-s', '0,hostbridge', '-s', '31,lpc', '-l', 'com1,stdio', '-o', f'boot.kernel={kernel}', 'vm')
    assert run(BHYVE, *KVM, '-w', *args)[:2] == (1, 'ok')
    status, out, err = run(BHYVE, *KVM, *args)  # #GP, and there is no handler
    assert (status, out) == (3, ''), (status, out, err)


def test_impossible_state_is_refused():
    need_kvm()
    p = start(*KVM, '-o', 'boot.kernel=' + assemble('spin', '_start: jmp _start'), 'spin')
    try:
        deadline = time.monotonic() + 20
        while run(BHYVECTL, '--vm=spin', '--get-rip')[0] != 0:
            assert time.monotonic() < deadline
            time.sleep(0.05)
        before = run(BHYVECTL, '--vm=spin', '--get-cr0')[1]
        status, _, err = run(BHYVECTL, '--vm=spin', '--set-cr0=0x80000000')  # paging without protection
        assert status != 0 and 'refuses this state' in err, (status, err)
        assert run(BHYVECTL, '--vm=spin', '--get-cr0')[1] == before
        status, _, err = run(BHYVECTL, '--vm=spin', '--set-cr4=0xffffffff')
        assert status != 0 and 'refuses this state' in err, (status, err)
        assert run(BHYVECTL, '--vm=spin', '--set-rcx=0x1234')[0] == 0
        assert '0x0000000000001234' in run(BHYVECTL, '--vm=spin', '--get-rcx')[1]
    finally:
        p.kill()
        p.wait()
        run(BHYVECTL, '--vm=spin', '--destroy')


def test_auto_says_what_it_chose():
    status, out, err = run(BHYVE, '-s', '0,hostbridge', '-s', '31,lpc', '-l', 'com1,stdio', '-o',
                           'boot.kernel=' + assemble('ok', '_start:' + OK), 'vm')
    assert (status, out) == (1, 'ok'), (status, out, err)
    if kvm_kind() == 'hardware':
        assert 'CPU engine kvm, chosen because this processor offers hardware virtualisation' in err, err
        status, _, err = run(BHYVE, '-o', 'kvm.device=/no/kvm', '-o', 'boot.kernel=' + assemble('ok', '_start:' + OK), 'vm')
        assert 'CPU engine soft, chosen because there is no /no/kvm' in err, err
    else:
        assert 'CPU engine soft, chosen because' in err, err


if __name__ == '__main__':
    main(sys.modules[__name__])
