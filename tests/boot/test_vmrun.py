#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""vmrun.sh: the loop, what it boots from, every option, Linux guests; and FreeBSD's own vmrun.sh.

Guests are the project's own kernel, which asks on its console how to end, and Debian's.
What is passed to the programs is seen with stand-ins that write down their arguments.
FREEBSD_VMRUN names FreeBSD's script, which is run as it is where it names one.
"""
import os
import shutil
import subprocess
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), '..'))
from lib.fbsd import BHYVELOAD, copy, makefs, ufs  # noqa: E402
from lib.harness import BHYVE, BHYVECTL, ENGINE, ENV, GUEST, Skip, TOP, file, instances, main, path, run  # noqa: E402

try:
    import pexpect
except ImportError:
    pexpect = None

VMRUN = os.path.join(TOP, 'share/vmrun.sh')
PROGRAMS = dict(BHYVE=BHYVE, BHYVELOAD=BHYVELOAD, BHYVECTL=BHYVECTL)
TIMEOUT = int(os.environ.get('BOOT_TIMEOUT', '120'))


class Run:
    """A script on a terminal of its own."""

    def __init__(self, *args, command=('sh', VMRUN), cwd=None, env=None):
        if pexpect is None:
            raise Skip('python3-pexpect is not installed')
        words = [*command, *map(str, args)]
        self.log = open(path('vmrun.log'), 'ab')
        self.p = pexpect.spawn(words[0], words[1:], env=dict(ENV, **PROGRAMS, **(env or {})), cwd=cwd, timeout=TIMEOUT,
                               echo=False, logfile=self.log, dimensions=(24, 200))

    def __enter__(self):
        return self

    def __exit__(self, *why):
        self.p.close(force=True)

    def asked(self, key):
        """The guest asks how to end; @key is the answer.  What it has printed since the last time."""
        self.p.expect_exact('end? ')
        self.p.send(key)
        return self.p.before.decode(errors='replace')

    def status(self):
        self.p.expect(pexpect.EOF)
        self.p.close()
        return self.p.exitstatus


def asking(name):
    """What a guest boots from that asks how to end, and says where it is from."""
    return copy(name + '.d', 'test.ask=1', f'test.from={name}')


def disk(name, top=None):
    return ufs(name, top or asking(name))


def iso(name):
    return makefs('cd9660', name, asking(name), '-o', 'rockridge')


def small(*args):
    return ('-c', 1, '-m', '64M', *args, 'vr')


# --- The loop ---


def test_runs_again_after_a_reset_and_ends_at_power_off():
    with Run(*small('-d', disk('loop.img'))) as vm:
        assert 'test.from=loop.img' in vm.asked('r')
        vm.asked('r')
        vm.asked('p')
        assert vm.status() == 1
    assert instances() == [], instances()


def test_ends_at_a_halt():
    with Run(*small('-d', disk('halt.img'))) as vm:
        vm.asked('h')
        assert vm.status() == 2
    assert instances() == [], instances()


def test_a_triple_fault_leaves_the_vm_to_be_looked_at():
    with Run(*small('-d', disk('fault.img'))) as vm:
        vm.asked('t')
        assert vm.status() == 3
    assert instances() == ['vr'], instances()
    assert run(BHYVECTL, '--vm=vr', '--destroy')[0] == 0 and instances() == []


def test_loader_that_is_left_ends_it():
    with Run(*small('-H', copy('left', 'autoboot_delay=NO'), '-d', file('nothing.img'))) as vm:
        vm.p.expect_exact('OK ')
        vm.p.send('quit\r')
        assert vm.status() == 1


# --- What it boots from ---


def with_mbr(name, image):
    """A disk whose slice 1 holds the file system of @image."""
    start = 64
    with open(image, 'rb') as f:
        inside = f.read()
    entry = bytes([0x80, 0, 0, 0, 0xa5, 0, 0, 0]) + start.to_bytes(4, 'little') + (len(inside) // 512).to_bytes(4, 'little')
    return file(name, bytes(446) + entry + bytes(48) + b'\x55\xaa' + bytes((start - 1) * 512) + inside)


def test_a_disk_without_a_system_is_installed():
    with Run(*small('-d', file('fresh.img', bytes(1 << 20)), '-I', iso('cd.iso'))) as vm:
        assert 'test.from=cd.iso' in vm.asked('r')
        assert 'test.from=cd.iso' in vm.asked('p'), 'still nothing on the disk'
        assert vm.status() == 1


def test_a_disk_with_a_boot_sector_is_booted_unless_told_otherwise():
    cd = iso('cd2.iso')
    for image in (with_mbr('mbr.img', disk('slice.img')), disk('raw.img')):
        with Run(*small('-d', image, '-I', cd)) as vm:
            assert 'test.from=cd2.iso' not in vm.asked('p')
            assert vm.status() == 1
    with Run(*small('-i', '-d', image, '-I', cd)) as vm:
        assert 'test.from=cd2.iso' in vm.asked('r')
        assert 'test.from=raw.img' in vm.asked('p'), '-i is for the first time only'
        assert vm.status() == 1


def test_default_names_are_in_the_working_directory():
    where = path('defaults')
    os.makedirs(where)
    os.rename(iso('release.iso'), os.path.join(where, 'release.iso'))
    with Run(*small(), cwd=where) as vm:
        vm.p.expect_exact('diskdev does not exist; making it with 8 GB')
        assert 'test.from=release.iso' in vm.asked('p')
        assert vm.status() == 1
    assert os.stat(os.path.join(where, 'diskdev')).st_size == 8 << 30


def test_host_directory_is_relative_to_the_working_directory():
    top = asking('host')
    empty = file('empty.img', bytes(1 << 20))
    with Run(*small('-H', 'host.d', '-d', empty), cwd=os.path.dirname(top)) as vm:
        assert 'test.from=host' in vm.asked('p')
        assert vm.status() == 1
    with Run(*small('-H', 'host.d', '-d', empty, '-I', iso('cd3.iso')), cwd=os.path.dirname(top)) as vm:
        assert 'test.from=cd3.iso' in vm.asked('p'), 'the installer comes first'
        assert vm.status() == 1
    with Run(*small('-H', 'host.d', '-d', disk('stop.img', copy('stop', 'autoboot_delay=NO'))), cwd=os.path.dirname(top)) as vm:
        vm.p.expect_exact('OK ')
        vm.p.send('unload\rload host0:/boot/kernel/kernel\rset test.ask=1\rboot\r')
        assert 'kernelname=host0:/boot/kernel/kernel' in vm.asked('p')
        assert vm.status() == 1


# --- What is passed on ---


def stand_ins(name):
    """Programs that write down their arguments; bhyve ends with what the file `ends` says next."""
    top = path(name)
    os.makedirs(top)
    for program in ('bhyve', 'bhyveload', 'bhyvectl'):
        with open(f'{top}/{program}', 'w') as f:
            f.write(f'#!/bin/sh\n{{ echo {program}; printf "%s\\n" "$@"; echo; }} >>{top}/log\n')
            if program == 'bhyve':
                f.write('exit 1\n')
        os.chmod(f'{top}/{program}', 0o755)
    return top


def passed(name, *args, status=1):
    """The arguments of every program that vmrun.sh started, by name, and what it said."""
    top = stand_ins(name)
    got, out, err = run('sh', VMRUN, *args, env={v: f'{top}/{v.lower()}' for v in PROGRAMS})
    assert got == status, (got, out, err)
    calls = {}
    if os.path.exists(f'{top}/log'):
        with open(f'{top}/log') as f:
            for call in f.read().split('\n\n')[:-1]:
                program, *words = call.split('\n')
                calls.setdefault(program, []).append(words)
    return calls, out + err


def pairs(words):
    return list(zip(words, words[1:]))


def test_options_reach_the_programs():
    image = disk('options.img')
    second = file('second disk.img')
    calls, said = passed(
        'all', '-a', '-u', '-w', '-c', 3, '-m', '99M', '-C', '/dev/nmdm0A', '-d', image + ',nocache', '-d', second, '-e',
        'one=1', '-e', 'two=two words', '-g', 1234, '-G', 'w127.0.0.1:1235', '-H', '/tmp', '-l', '/tmp/loader.so', '-n', 'e1000',
        '-t', 'tap7', '-t', 'slirp', 'vm')
    load, = calls['bhyveload']
    for want in (('-c', '/dev/nmdm0A'), ('-m', '99M'), ('-e', 'one=1'), ('-e', 'two=two words'), ('-h', '/tmp'),
                 ('-l', '/tmp/loader.so'), ('-d', image), ('-d', second)):
        assert want in pairs(load), (want, load, said)
    assert load[-1] == 'vm'
    start, = calls['bhyve']
    for want in (('-c', '3'), ('-m', '99M'), ('-g', '1234'), ('-G', 'w127.0.0.1:1235'), ('-l', 'com1,/dev/nmdm0A'),
                 ('-s', '0:0,hostbridge'), ('-s', '1:0,lpc'), ('-s', '2:0,e1000,tap7'), ('-s', '3:0,e1000,slirp'),
                 ('-s', f'4:0,virtio-blk,{image},nocache'), ('-s', f'5:0,virtio-blk,{second}')):
        assert want in pairs(start), (want, start, said)
    assert {'-a', '-u', '-w', '-A', '-H', '-P'} <= set(start) and start[-1] == 'vm', start
    assert [c[-1] for c in calls['bhyvectl']] == ['--destroy'] * 2, calls


def test_defaults_of_the_options():
    image = disk('plain.img')
    calls, _ = passed('few', '-d', image, 'vm')
    start, = calls['bhyve']
    for want in (('-c', '2'), ('-m', '512M'), ('-l', 'com1,stdio'), ('-s', f'2:0,virtio-blk,{image}')):
        assert want in pairs(start), (want, start)
    assert not {'-a', '-x', '-u', '-w', '-W', '-g', '-G'} & set(start), start
    calls, _ = passed('ahci', '-A', '-x', '-W', '-d', image, 'vm')
    start, = calls['bhyve']
    assert ('-s', f'2:0,ahci-hd,{image}') in pairs(start) and {'-x', '-W'} <= set(start), start


# --- What is missing is named before anything starts ---


def test_missing_things_are_named_first():
    image = disk('there.img')
    for i, (args, words) in enumerate((
            (('-v', 'vm'), ('-v', 'no frame buffer')), (('-T', 'vm'), ('-T', 'no frame buffer')),
            (('-P', '5901', 'vm'), ('-P', 'no frame buffer')), (('-F', 'w=800', 'vm'), ('-F', 'no frame buffer')),
            (('-L', '::', 'vm'), ('-L', 'no frame buffer')), (('-E', '/none', 'vm'), ('-E', 'boot ROM')),
            (('-f', '/none', 'vm'), ('-f', 'boot ROM')), (('-p', '1/0/0', 'vm'), ('-p', 'passthrough')),
            (('-H', '/no/such', 'vm'), ('-H', '/no/such')), (('-k', '/no/kernel', 'vm'), ('-k', '/no/kernel')),
            (('-k', image, '-r', '/no/initrd', 'vm'), ('-r', '/no/initrd')), (('-r', image, 'vm'), ('-r needs -k',)),
            (('-k', image, '-i', 'vm'), ('-i', '-k')), (('-d', file('bare.img', bytes(4096)), '-I', '/no/iso', 'vm'),
                                                         ('bare.img', '/no/iso')),
            (('-i', '-d', image, '-I', '/no/iso', 'vm'), ('/no/iso',)), ((), ('Usage:',)), (('-h',), ('Usage:',)),
            (('one', 'two'), ('Usage:',)), (('-Z', 'vm'), ('Usage:',)))):
        calls, said = passed(f'refused{i}', *args)
        assert not calls, (args, calls)
        assert all(w in said for w in words), (args, said)


def test_missing_programs_are_named_first():
    for missing in PROGRAMS:
        top = stand_ins('no-' + missing)
        os.unlink(f'{top}/{missing.lower()}')
        status, _, err = run('sh', VMRUN, '-d', file('some.img'), 'vm', env={v: f'{top}/{v.lower()}' for v in PROGRAMS})
        assert status == 1 and missing in err and 'make install' in err and not os.path.exists(f'{top}/log'), (missing, err)


# --- Linux ---


def linux(mode, *args):
    if not os.path.exists(f'{GUEST}/vmlinuz'):
        raise Skip('there is no kernel to boot (tools/guest.sh)')
    return ('-c', 1, '-m', '512M', '-k', f'{GUEST}/vmlinuz', '-r', f'{GUEST}/initrd', '-a',
            f'console=ttyS0 quiet panic=-1 bhyve.mode={mode} of.test=yes', *args, 'lr')


def test_linux_gets_its_command_line_restarts_and_powers_off():
    with Run(*linux('shell')) as vm:
        for end in ('reboot', 'poweroff'):
            vm.p.expect_exact('uname: Linux')  # a prompt may come between reboot and the reboot
            vm.p.expect_exact('guest# ')
            vm.p.sendline('cat /proc/cmdline')
            vm.p.expect_exact('of.test=yes')
            vm.p.expect_exact('guest# ')
            vm.p.sendline(end)
        assert vm.status() == 1
    assert instances() == [], instances()


def test_a_before_k_is_the_apic_mode():
    image = disk('before.img')
    calls, _ = passed('apic', '-a', '-k', image, 'vm')
    start, = calls['bhyve']
    assert '-a' in start and ('-o', 'boot.cmdline=console=ttyS0') in pairs(start), start
    assert 'bhyveload' not in calls


# --- FreeBSD's own script ---


def freebsd_script():
    """Its programs are in /usr/sbin, and it asks FreeBSD's tools: it gets a /usr/sbin and tools of its own."""
    script = os.environ.get('FREEBSD_VMRUN')
    if not script:
        raise Skip('FREEBSD_VMRUN names none')
    for tool in ('unshare', 'file'):
        if shutil.which(tool) is None:
            raise Skip(f'{tool} is not installed')
    top = path('sbin')
    if not os.path.exists(top):
        os.makedirs(top)
        for program in PROGRAMS.values():
            os.symlink(os.path.abspath(program), os.path.join(top, os.path.basename(program)))
        for tool in ('kldstat', 'ifconfig', 'sysctl'):
            with open(f'{top}/{tool}', 'w') as f:
                f.write('#!/bin/sh\nexit 0\n')
            os.chmod(f'{top}/{tool}', 0o755)
    inside = f'mount --bind {top} /usr/sbin && exec sh {script} "$@"'
    if subprocess.run(['unshare', '-Urm', 'true'], capture_output=True, check=False).returncode != 0:
        raise Skip('no namespaces here')
    return ('unshare', '-Urm', 'sh', '-c', inside, 'vmrun')


def test_freebsds_own_script():
    command = freebsd_script()
    empty = file('own.img', bytes(1 << 20))
    with Run('-c', 1, '-m', '64M', '-t', 'tap99', '-d', with_mbr('ownmbr.img', disk('owndisk.img')), '-d', empty, 'own', command=command) as vm:
        assert 'test.from=owndisk.img' in vm.asked('r')
        vm.asked('p')
        assert vm.status() == 1
    with Run('-c', 1, '-m', '64M', '-t', 'tap99', '-d', empty, '-I', iso('own.iso'), 'own', command=command) as vm:
        assert 'test.from=own.iso' in vm.asked('h')
        assert vm.status() == 2
    top = asking('ownhost')
    with Run('-c', 1, '-m', '64M', '-H', 'ownhost.d', '-d', with_mbr('own2mbr.img', disk('own2.img')), '-e', 'bootfile=host0:/boot/kernel/kernel', 'own',
             command=command, cwd=os.path.dirname(top)) as vm:
        assert 'kernelname=host0:/boot/kernel/kernel' in vm.asked('p')
        assert vm.status() == 1
    assert instances() == [], instances()


if __name__ == '__main__':
    main(sys.modules[__name__])
