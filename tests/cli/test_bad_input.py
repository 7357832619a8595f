#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""Bad input: one line that names the thing, status 4, nothing left behind.

Runs on software KVM too.
"""
import os
import signal
import socket
import struct
import subprocess
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), '..'))
from lib.harness import (BHYVE, BHYVECTL, BUILD, ENGINE, ENV, Skip, assemble, file, instances, main, path, run, start)  # noqa: E402

HELLO = os.path.join(BUILD, 'hello.elf')
GDB_PORT = int(os.environ.get('DEBUG_PORT', '7490'))
ENGINE_ARGS = ('-o', f'cpu.engine={ENGINE}')


def refused(*args, names, env=None):
    status, out, err = run(BHYVE, *ENGINE_ARGS, *args, env=env)
    assert status == 4, f'status {status}, output {out!r} {err!r}'
    assert len(err.splitlines()) == 1 and err.startswith('bhyve: '), err
    for name in [names] if isinstance(names, str) else names:
        assert name in err, f'{name!r} is not in {err!r}'
    assert instances() == [], instances()


def hello():
    subprocess.run(['make', '-s', os.path.relpath(HELLO)], check=True)
    return HELLO


def bzimage(setup_sects=4, syssize=64, xloadflags=1, length=None, version=0x20f):
    """The header of a Linux kernel with nothing behind it."""
    b = bytearray(512 * (setup_sects + 1) + syssize * 16)
    b[0x1f1] = setup_sects
    struct.pack_into('<I', b, 0x1f4, syssize)
    struct.pack_into('<H', b, 0x1fe, 0xaa55)
    b[0x200:0x202] = b'\xeb\x66'
    b[0x202:0x206] = b'HdrS'
    struct.pack_into('<H', b, 0x206, version)
    b[0x211] = 1
    struct.pack_into('<I', b, 0x22c, 0x7fffffff)
    struct.pack_into('<H', b, 0x236, xloadflags)
    struct.pack_into('<I', b, 0x238, 2047)
    struct.pack_into('<Q', b, 0x258, 0x1000000)
    struct.pack_into('<I', b, 0x260, 0x3000000)
    return bytes(b[:length] if length else b)


def test_kernel_missing():
    refused('-o', 'boot.kernel=/does/not/exist', 'vm', names='/does/not/exist')


def test_kernel_is_directory():
    refused('-o', 'boot.kernel=/tmp', 'vm', names='/tmp')


def test_kernel_empty():
    refused('-o', 'boot.kernel=' + file('empty'), 'vm', names=['empty'])


def test_kernel_is_garbage():
    refused('-o', 'boot.kernel=' + file('garbage', b'garbage' * 999), 'vm', names=['garbage'])


def test_kernel_truncated_in_setup():
    refused('-o', 'boot.kernel=' + file('k1', bzimage(length=0x300)), 'vm', names=['k1', 'truncated'])


def test_kernel_truncated_in_body():
    refused('-o', 'boot.kernel=' + file('k2', bzimage(syssize=64)[:-100]), 'vm', names=['k2', 'truncated'])


def test_kernel_32_bit():
    refused('-o', 'boot.kernel=' + file('k3', bzimage(xloadflags=0)), 'vm', names=['k3', '64-bit'])


def test_kernel_of_aarch64_elf():
    elf = bytearray(b'\x7fELF\x02\x01\x01' + bytes(57))
    struct.pack_into('<HH', elf, 16, 2, 183)
    refused('-o', 'boot.kernel=' + file('k4', bytes(elf)), 'vm', names=['k4', 'AArch64'])


def test_kernel_of_aarch64_image():
    refused('-o', 'boot.kernel=' + file('k5', bytes(56) + b'ARM\x64' + bytes(64)), 'vm', names=['k5', 'AArch64'])


def test_elf_truncated():
    with open(hello(), 'rb') as f:
        refused('-o', 'boot.kernel=' + file('k6', f.read()[:0x98]), 'vm', names=['k6'])


def test_initrd_missing():
    refused('-o', f'boot.kernel={hello()}', '-o', 'boot.initrd=/no/initrd', 'vm', names='/no/initrd')


def test_initrd_without_kernel():
    refused('-o', 'boot.initrd=/no/initrd', 'vm', names='boot.kernel')


def test_memory_too_small_for_kernel():
    refused('-m', '32M', '-o', 'boot.kernel=' + file('k7', bzimage()), 'vm', names=['k7', 'too little memory'])


def test_memory_too_small_for_initrd():
    refused('-m', '70M', '-o', 'boot.kernel=' + file('k8', bzimage()), '-o',
            'boot.initrd=' + file('big', bytes(16 << 20)), 'vm', names=['big', 'too little memory'])


def test_cmdline_too_long():
    refused('-m', '128M', '-o', 'boot.kernel=' + file('k9', bzimage()), '-o', 'boot.cmdline=' + 'x' * 3000, 'vm',
            names=['boot.cmdline', '3000'])


def test_disk_missing():
    status, _, err = run(BHYVE, *ENGINE_ARGS, '-s', '3,virtio-blk,/no/disk', '-o', f'boot.kernel={hello()}', 'vm')
    assert status == 4 and '/no/disk' in err, (status, err)
    assert instances() == []


def test_disk_not_readable():
    if os.geteuid() == 0:
        raise Skip('root reads everything')
    disk = file('secret', bytes(1 << 20))
    os.chmod(disk, 0)
    status, _, err = run(BHYVE, *ENGINE_ARGS, '-s', f'3,virtio-blk,{disk}', '-o', f'boot.kernel={hello()}', 'vm')
    assert status == 4 and disk in err, (status, err)


def test_size_not_a_number():
    refused('-m', '12x', 'vm', names=['memory.size', '12x'])


def test_size_zero():
    refused('-m', '0', 'vm', names=['memory.size'])


def test_size_beyond_host():
    refused('-m', '512G', '-o', f'boot.kernel={hello()}', 'vm', names=['no space', '524288M'])


def test_size_overflow():
    refused('-m', '99999999999T', 'vm', names=['memory.size'])


def test_slot_used_twice():
    refused('-s', '3,virtio-rnd', '-s', '3:0,uart,stdio', 'vm', names=['slot', '3', 'twice'])


def test_slot_out_of_range():
    refused('-s', '32,virtio-rnd', 'vm', names=['32'])


def test_slot_without_function_zero():
    refused('-s', '3:1,virtio-rnd', 'vm', names=['pci.0.3.1', 'function 0'])


def test_device_unknown():
    refused('-s', '3,virtio-blq,x', 'vm', names=['virtio-blq', "'virtio-blk'"])


def test_device_refused_by_name():
    for device in ('passthru', 'fbuf', 'virtio-scsi', 'hda'):
        refused('-s', f'3,{device},x', 'vm', names=[device, 'not available'])


def test_option_unknown():
    refused('-Z', 'vm', names='-Z')


def test_option_without_argument():
    refused('-m', names='-m')


def test_options_refused_by_name():
    for option in (('-f', 'name,string=x'), ('-K', 'de'), ('-n', '0,1G,1'), ('-r', 'file')):
        refused(*option, 'vm', names=[option[0], 'not available'])


def test_key_unknown_names_nearest():
    refused('-o', 'memory.siez=1G', 'vm', names=['memory.siez', "'memory.size'"])


def test_key_without_value():
    refused('-o', 'memory.size', 'vm', names=['memory.size', 'key=value'])


def test_key_of_other_device():
    refused('-s', '3,virtio-rnd', '-o', 'pci.0.3.0.mtu=9000', 'vm', names=['pci.0.3.0.mtu', 'virtio-rnd'])


def test_boolean_wrong():
    refused('-o', 'memory.wired=maybe', 'vm', names=['memory.wired', 'maybe'])


def test_engine_unknown():
    refused('-o', 'cpu.engine=fast', 'vm', names=['cpu.engine', 'fast', 'soft'])


def test_engine_kvm_without_kvm():
    if os.path.exists('/dev/kvm'):
        raise Skip('this host has /dev/kvm')
    refused('-o', 'cpu.engine=kvm', '-o', f'boot.kernel={hello()}', 'vm', names=['cpu.engine=kvm', '/dev/kvm'])


def test_name_missing():
    refused(names='name')


def test_name_with_slash():
    refused('a/b', names=['a/b', 'slash'])


def test_name_unknown_vm():
    refused('-m', '64M', 'nosuchvm', names='nosuchvm')


def test_name_twice():
    refused('one', 'two', names=['two', 'one'])


def test_uuid_wrong():
    refused('-U', '1234', 'vm', names=['uuid', '1234'])


def test_pin_wrong():
    refused('-p', '0', 'vm', names=['-p', 'vcpu:hostcpu'])


def test_pin_of_missing_vcpu():
    refused('-p', '3:0', 'vm', names=['vcpu.3'])


def test_topology_does_not_multiply():
    refused('-c', 'cpus=4,sockets=3', 'vm', names=['4', '3'])


def test_cpus_too_many():
    refused('-c', '17', 'vm', names=['cpus', '17'])


def test_com_without_lpc():
    refused('-l', 'com1,stdio', '-o', f'boot.kernel={hello()}', 'vm', names=['com1', 'lpc'])


def test_lpc_unknown():
    refused('-l', 'com9,stdio', 'vm', names='com9')


def test_com_path_wrong():
    refused('-s', '31,lpc', '-l', 'com1,/no/tty', '-o', f'boot.kernel={hello()}', 'vm', names='/no/tty')


def test_file_missing():
    refused('-k', '/no/file', 'vm', names='/no/file')


def test_file_line_is_named():
    refused('-k', file('conf', b'# fine\nmemory.size=1G\nfoo.bar=1\n'), 'vm', names=['conf:3', 'foo.bar'])


def test_substitution_in_circle():
    refused('-o', 'uuid=%(uuid)', 'vm', names='uuid')


def test_run_directory_of_others():
    refused('-o', f'boot.kernel={hello()}', 'vm', names='/proc', env={'BHYVE_RUN': '/proc/bhyve'})


SPIN = '_start: pause\n jmp _start'


def spinning(name, *args):
    p = start(*ENGINE_ARGS, *args, '-o', 'boot.kernel=' + assemble('spin', SPIN), name)
    for _ in range(200):
        if run(BHYVECTL, f'--vm={name}', '--get-rip')[0] == 0:
            return p
        time.sleep(0.05)
    p.kill()
    raise AssertionError('the VM did not start')


def test_second_bhyve_on_running_vm():
    p = spinning('busy')
    try:
        status, _, err = run(BHYVE, *ENGINE_ARGS, '-o', 'boot.kernel=' + path('spin'), 'busy')
        assert status == 4 and 'busy' in err and 'in use' in err, (status, err)
        assert run(BHYVECTL, '--vm=busy', '--get-rip')[0] == 0, 'the first VM is gone'
    finally:
        p.terminate()
        assert p.wait(20) == -signal.SIGTERM
    assert instances() == [], instances()


def test_killed_vm_leaves_nothing_in_the_way():
    p = spinning('victim')
    p.kill()
    p.wait()
    p = spinning('victim')
    status, _, err = run(BHYVECTL, '--vm=victim', '--force-poweroff')
    assert status == 0, err
    assert p.wait(20) == 1
    assert instances() == [], instances()


def test_destroy_of_running_vm():
    p = spinning('goner')
    status, _, err = run(BHYVECTL, '--vm=goner', '--destroy')
    assert status == 0, err
    assert p.wait(20) == 1
    assert instances() == [], instances()


def test_force_reset_status():
    p = spinning('again')
    assert run(BHYVECTL, '--vm=again', '--force-reset')[0] == 0
    assert p.wait(20) == 0


def test_bhyvectl_registers_of_running_vm():
    p = spinning('regs')
    try:
        assert run(BHYVECTL, '--vm=regs', '--set-rbx=0x1234')[0] == 0
        status, out, _ = run(BHYVECTL, '--vm=regs', '--get-rbx', '--get-desc-cs', '--get-lowmem')
        assert status == 0 and '0x0000000000001234' in out and '0x0000000010000000' in out, out
        assert run(BHYVECTL, '--vm=regs', '--get-all')[0] == 0
        assert run(BHYVECTL, '--vm=regs', '--get-stats')[0] == 0
        assert run(BHYVECTL, '--vm=regs', '--cpu=1', '--get-rip')[0] == 1
    finally:
        p.terminate()
        p.wait(20)


def test_bhyvectl_processors_of_running_vm():
    p = spinning('cpus', '-c', 2, '-G', GDB_PORT, '-P')
    try:
        assert run(BHYVECTL, '--vm=cpus', '--get-active-cpus')[1] == 'active cpus:\t 0\n'
        assert run(BHYVECTL, '--vm=cpus', '--get-suspended-cpus')[1] == 'suspended cpus:\t (none)\n'
        with socket.create_connection(('127.0.0.1', GDB_PORT)) as gdb:
            gdb.sendall(b'+$?#3f')
            gdb.recv(100)
            assert run(BHYVECTL, '--vm=cpus', '--get-suspended-cpus')[1].startswith('suspended cpus:\t 0')
        assert run(BHYVECTL, '--vm=cpus', '--get-x2apic-state')[1] == 'x2apic_state is disabled on vcpu 0\n'
        for name, word in (('hlt_exit', 'set'), ('pause_exit', 'set'), ('mtrap_exit', 'not set')):
            out = run(BHYVECTL, '--vm=cpus', '--getcap', f'--capname={name}')[1]
            assert out == f'Capability "{name}" is {word} on vcpu 0\n', out
        out = run(BHYVECTL, '--vm=cpus', '--getcap')[1]
        assert out.count(' set on vcpu 0\n') == 3 and 'Capability "enable_invpcid" is not available\n' in out, out
        for args in (('--setcap=1', '--capname=hlt_exit'), ('--setcap=1', '--capname=pause_exit'), ('--setcap=0', '--capname=mtrap_exit'),
                     ('--set-x2apic-state=0',)):
            status, out, err = run(BHYVECTL, '--vm=cpus', *args)
            assert (status, out, err) == (0, '', ''), (args, out, err)
        assert run(BHYVECTL, '--vm=cpus', '--get-cpu-topology')[1] == 'cpu_topology:\tcpus=2, sockets=2, cores=1, threads=1\n'
        status, out, _ = run(BHYVECTL, '--vm=cpus', '--get-guest-sysenter')
        assert status == 0 and [line.split('[')[0] for line in out.splitlines()] == ['sysenter-cs', 'sysenter-esp', 'sysenter-eip'], out
        assert run(BHYVECTL, '--vm=cpus', '--get-intinfo')[1] == 'pending:\tn/a\ncurrent:\tn/a\n'
        assert run(BHYVECTL, '--vm=cpus', '--assert-lapic-lvt=0')[0] == 0
        for args, word in ((('--assert-lapic-lvt=6',), '0 to 5'), (('--cpu=2', '--assert-lapic-lvt=0'), 'virtual CPU 2'),
                           (('--setcap=1',), '--capname'), (('--getcap', '--capname=unrestricted_guest'), 'not available'),
                           (('--setcap=1', '--capname=enable_invpcid'), 'not available'), (('--setcap=2', '--capname=hlt_exit'), "'2'"),
                           (('--setcap=0', '--capname=hlt_exit'), 'stays set'), (('--setcap=0', '--capname=pause_exit'), 'option -P'),
                           (('--setcap=1', '--capname=mtrap_exit'), 'stays not set'), (('--set-x2apic-state=1',), 'bhyve with -x'),
                           (('--set-x2apic-state=on',), "'on'"), (('--cpu=2', '--get-intinfo'), 'virtual CPU 2')):
            status, _, err = run(BHYVECTL, '--vm=cpus', *args)
            assert status == 1 and word in err, (args, err)
    finally:
        p.terminate()
        p.wait(20)


def test_bhyvectl_clock_of_running_vm():
    p = spinning('clock')
    try:
        assert run(BHYVECTL, '--vm=clock', '--set-rtc-time=1000000000')[0] == 0
        status, out, _ = run(BHYVECTL, '--vm=clock', '--get-rtc-time')
        assert status == 0 and 1000000000 <= int(out) < 1000000060, out
        assert run(BHYVECTL, '--vm=clock', '--rtc-nvram-offset=0x50', '--set-rtc-nvram=0x5a')[0] == 0
        assert run(BHYVECTL, '--vm=clock', '--rtc-nvram-offset=0x50', '--get-rtc-nvram')[1] == '0x5a\n'
        assert run(BHYVECTL, '--vm=clock', '--rtc-nvram-offset=0x80', '--get-rtc-nvram')[0] == 1
        assert run(BHYVECTL, '--vm=clock', '--set-rtc-time=now')[0] == 1
    finally:
        p.terminate()
        p.wait(20)


def test_bhyvectl_refuses_by_name():
    for option in ('--get-eptp', '--get-vmcs-entry-ctls', '--unassign-pptdev=1/2/3'):
        status, _, err = run(BHYVECTL, '--vm=x', option)
        assert status == 1 and option.split('=')[0] in err and 'not available' in err, err
    status, _, err = run(BHYVECTL, '--vm=nosuch', '--get-rip')
    assert status == 1 and 'nosuch' in err, err


def test_stopped_vm_state():
    assert run(BHYVECTL, '--vm=made', '--create', '--set-mem=64M')[0] == 0
    status, out, _ = run(BHYVECTL, '--vm=made', '--get-lowmem')
    assert status == 0 and '0x0000000004000000' in out, out
    assert run(BHYVECTL, '--vm=made', '--set-mem=128')[0] == 0  # FreeBSD's unit
    assert '0x0000000008000000' in run(BHYVECTL, '--vm=made', '--get-lowmem')[1]
    for size in ('0', '3', '3M', 'x', '-2'):
        status, _, err = run(BHYVECTL, '--vm=made', f'--set-mem={size}')
        assert status == 1 and f"'{size}'" in err, err
    assert run(BHYVECTL, '--vm=made', '--destroy')[0] == 0
    assert instances() == [], instances()


def test_status_power_off():
    status, out, err = run(BHYVE, *ENGINE_ARGS, '-s', '31,lpc', '-l', 'com1,stdio', '-o', f'boot.kernel={hello()}', 'vm')
    assert status == 1 and 'powering off' in out, (status, out, err)


def test_status_reset():
    kernel = assemble('reset', '_start: mov $0xcf9, %dx\n mov $6, %al\n out %al, %dx\n1: jmp 1b')
    assert run(BHYVE, *ENGINE_ARGS, '-o', f'boot.kernel={kernel}', 'vm')[0] == 0


def test_status_halt():
    kernel = assemble('halt', '_start: cli\n hlt\n jmp _start')
    assert run(BHYVE, *ENGINE_ARGS, '-o', f'boot.kernel={kernel}', 'vm')[0] == 2


def test_status_triple_fault_with_dump():
    kernel = assemble('triple', '_start: lidt empty\n ud2\n empty: .word 0\n .long 0')
    status, _, err = run(BHYVE, *ENGINE_ARGS, '-o', 'debug.dump=1', '-o', f'boot.kernel={kernel}', 'vm')
    assert status == 3 and 'triple fault' in err and 'rip ' in err, (status, err)


def test_strict_io_ends_with_error():
    kernel = assemble('port', '_start: mov $0x3333, %dx\n in %dx, %al\n cli\n hlt')
    status, _, err = run(BHYVE, *ENGINE_ARGS, '-e', '-o', f'boot.kernel={kernel}', 'vm')
    assert status == 4 and '0x3333' in err, (status, err)
    assert run(BHYVE, *ENGINE_ARGS, '-o', f'boot.kernel={kernel}', 'vm')[0] == 2


def test_help():
    for args, text in ((['-h'], '-s slot'), (['-s', 'help'], 'virtio-blk'), (['-l', 'help'], 'com4')):
        status, out, _ = run(BHYVE, *args)
        assert status == 0 and text in out, (args, out)


def test_dump_is_loadable():
    status, out, _ = run(BHYVE, '-m', '1G', '-s', '3,virtio-blk,/x=y,ro', '-o', 'config.dump=true', 'vm')
    assert status == 0 and 'pci.0.3.0.path=/x=y' in out and 'memory.size=1G' in out, out
    text = out.replace('config.dump=true\n', '')
    status, again, err = run(BHYVE, '-k', file('dump', text.encode()), '-o', 'config.dump=true')
    assert status == 0 and sorted(again.splitlines()) == sorted(out.splitlines()), err


if __name__ == '__main__':
    assert ENV
    main(sys.modules[__name__])
