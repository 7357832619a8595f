#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""How a VM comes and goes: resets, power-off, halt, triple fault, signals, what SIGKILL leaves.

The guest is the project's own FreeBSD-like kernel; FREEBSD_DISK names a disk with FreeBSD,
whose init carries out the kernel environment's init.cmd and lines of the console.
Runs on software KVM too.
"""
import os
import signal
import subprocess
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), '..'))
from lib.fbsd import BHYVELOAD, copy  # noqa: E402
from lib.harness import BHYVE, BHYVECTL, ENGINE, ENV, Skip, instances, main, path, run  # noqa: E402

try:
    import pexpect
except ImportError:
    pexpect = None

TIMEOUT = int(os.environ.get('BOOT_TIMEOUT', '120'))
KERNEL = []  # made once


def heed():
    """bhyve leaves ignored signals ignored, as for nohup; the test may have been started with some."""
    for sig in (signal.SIGINT, signal.SIGHUP):
        signal.signal(sig, signal.SIG_DFL)


class Guest:
    """A loaded and running guest with a console on a terminal."""

    def __init__(self, *args, load=None, memory='64M', cpus=1):
        if pexpect is None:
            raise Skip('python3-pexpect is not installed')
        if load is None:
            if not KERNEL:
                KERNEL.append(copy('life', 'test.ask=1'))
            load = ('-h', KERNEL[0])
        status, out, err = run(BHYVELOAD, '-m', memory, *load, 'life')
        assert status == 0, out + err
        self.p = pexpect.spawn(BHYVE, ['-c', str(cpus), '-m', memory, '-A', '-H', '-P', '-o', f'cpu.engine={ENGINE}', '-s',
                                       '0,hostbridge', '-s', '31,lpc', '-l', 'com1,stdio', *args, 'life'],
                               env=ENV, timeout=TIMEOUT, echo=False, logfile=open(path('life.log'), 'ab'),
                               preexec_fn=heed)

    def __enter__(self):
        return self

    def __exit__(self, *why):
        self.p.close(force=True)

    def expect(self, text):
        self.p.expect_exact(text)

    def answer(self, key):
        self.expect('end? ')
        self.p.send(key)

    def ended(self):
        """(exit status, None) or (None, signal)."""
        self.p.expect(pexpect.EOF)
        self.p.close()
        return self.p.exitstatus, self.p.signalstatus


def destroy():
    assert run(BHYVECTL, '--vm=life', '--destroy')[0] == 0
    assert instances() == [], instances()


def test_exit_status_says_how_the_guest_ended():
    for key, status in (('r', 0), ('p', 1), ('h', 2), ('t', 3)):
        with Guest() as vm:
            vm.answer(key)
            assert vm.ended() == (status, None), key
        destroy()


def test_sigterm_is_the_power_button_once_the_guest_has_acpi():
    with Guest() as vm:
        vm.answer('b')
        vm.expect('waiting for the button')
        vm.p.kill(signal.SIGTERM)
        vm.expect('button')
        assert vm.ended() == (1, None)


def test_a_second_sigterm_presses_again():
    with Guest() as vm:
        vm.answer('B')
        vm.expect('waiting for the button')
        for _ in range(2):
            vm.p.kill(signal.SIGTERM)
            vm.expect('button')
        assert vm.ended() == (1, None)


def test_signals_end_a_guest_without_acpi():
    for sig in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        with Guest() as vm:
            vm.expect('end? ')
            vm.p.kill(sig)
            assert vm.ended() == (None, sig)
        destroy()


def test_sigint_and_sighup_end_a_guest_with_acpi():
    for sig in (signal.SIGINT, signal.SIGHUP):
        with Guest() as vm:
            vm.answer('b')
            vm.expect('waiting for the button')
            vm.p.kill(sig)
            assert vm.ended() == (None, sig)
        destroy()


def test_what_sigkill_leaves_can_be_destroyed_and_loaded_again():
    with Guest() as vm:
        vm.expect('end? ')
        vm.p.kill(signal.SIGKILL)
        assert vm.ended() == (None, signal.SIGKILL)
    assert instances() == ['life'], instances()
    with Guest() as vm:
        vm.answer('p')
        assert vm.ended() == (1, None)
    destroy()


# --- FreeBSD ---


def freebsd(command, disk, cpus=1, device='virtio-blk', root='vtbd0p2'):
    settings = ('autoboot_delay=-1', f'vfs.root.mountfrom=ufs:/dev/{root}', f'init.cmd={command}')
    return Guest('-s', f'3,{device},{disk}', memory='256M', cpus=cpus,
                 load=('-d', disk, *[w for s in settings for w in ('-e', s)]))


def freebsd_disk():
    source = os.environ.get('FREEBSD_DISK')
    if not source:
        raise Skip('FREEBSD_DISK names none')
    subprocess.run(['cp', '--sparse=always', source, path('freebsd.img')], check=True)
    return path('freebsd.img')


def test_freebsd_ends_as_it_is_told():
    disk = freebsd_disk()
    for cpus, device, root, command, status in (
            (1, 'virtio-blk', 'vtbd0p2', 'reboot', 0), (2, 'virtio-blk', 'vtbd0p2', 'poweroff', 1),
            (1, 'ahci-hd', 'ada0p2', 'poweroff', 1), (2, 'ahci-hd', 'ada0p2', 'halt', 0)):
        with freebsd(f'sysctl kern.shutdown.poweroff_delay=0;sysctl hw.ncpu;forks 4;sleep 1;{command}', disk, cpus, device,
                     root) as vm:
            vm.expect(f'hw.ncpu: {cpus}')
            vm.expect('forks good: 4')
            if command == 'halt':  # it does not halt the processors, but waits for a key and reboots
                vm.expect('press any key to reboot')
                vm.p.send(' ')
            assert vm.ended() == (status, None), (command, cpus, device)
    destroy()


def test_freebsd_takes_sigterm_as_its_power_button():
    disk = freebsd_disk()
    for presses in (1, 2):
        with freebsd('sysctl kern.shutdown.poweroff_delay=0', disk, cpus=2) as vm:
            vm.expect('init# ')
            for _ in range(presses):
                vm.p.kill(signal.SIGTERM)
            # The kernel leaves it to init, by SIGUSR2; an init that ignores that is not powered off.
            vm.expect('Powering system off')
            assert vm.ended() == (1, None)


def test_freebsd_flushed_writes_outlive_sigkill():
    for device, root in (('virtio-blk', 'vtbd0p2'), ('ahci-hd', 'ada0p2')):
        disk = freebsd_disk()
        with freebsd(f'mountrw;putsync /kept.{device} safe on disk', disk, device=device, root=root) as vm:
            vm.expect('written')
            vm.p.kill(signal.SIGKILL)
            assert vm.ended() == (None, signal.SIGKILL)
        destroy()
        with freebsd(f'sysctl kern.shutdown.poweroff_delay=0;cat /kept.{device};sleep 1;poweroff', disk) as vm:
            vm.expect('safe on disk')
            assert vm.ended() == (1, None)


if __name__ == '__main__':
    main(sys.modules[__name__])
