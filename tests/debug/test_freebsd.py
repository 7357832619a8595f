#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""Debugging a FreeBSD kernel the three ways: debug port, null modem, the stub.

FREEBSD_DEBUG: a directory with boot/kernel/kernel (options KDB, DDB, GDB; device
bvmdebug), boot/kernel/kernel.debug and boot/device.hints (hint.uart.0.* as in GENERIC.hints:
without them there is no console); FREEBSD_DISK: a disk image whose
/sbin/goinit carries out the kernel environment's init.cmd.
"""
import os
import re
import shutil
import subprocess
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), '..'))
from lib.harness import BHYVE, BUILD, ENV, Skip, main, path, run  # noqa: E402

try:
    import pexpect
except ImportError:
    pexpect = None

TREE = os.environ.get('FREEBSD_DEBUG', '')
DISK = os.environ.get('FREEBSD_DISK', '')
SYMBOLS = os.path.join(TREE, 'boot/kernel/kernel.debug')
TIMEOUT = int(os.environ.get('BOOT_TIMEOUT', '120'))
PORT = int(os.environ.get('DEBUG_PORT', '7480'))


class Guest:
    def __init__(self, name, command, *args, cpus=1, env=()):
        for what, where in (('kernel with KDB, DDB, GDB and bvmdebug (FREEBSD_DEBUG)', SYMBOLS),
                            ('disk image (FREEBSD_DISK)', DISK)):
            if not os.path.isfile(where):
                raise Skip(f'there is no FreeBSD {what}')
        if pexpect is None or shutil.which('gdb') is None:
            raise Skip('python3-pexpect and gdb are needed')
        disk = path(name + '.img')
        subprocess.run(['cp', '--sparse=always', DISK, disk], check=True)
        settings = ['currdev=host0:', 'autoboot_delay=-1', 'vfs.root.mountfrom=ufs:/dev/vtbd0p2', 'init_path=/sbin/goinit',
                    'init.cmd=' + command, *env]
        status, out, err = run(os.path.join(BUILD, 'bhyveload'), '-m', '256M', '-h', TREE,
                               *[word for s in settings for word in ('-e', s)], name)
        assert status == 0, out + err
        self.p = pexpect.spawn(BHYVE, ['-A', '-H', '-P', '-m', '256M', '-c', str(cpus), '-s', '0:0,hostbridge', '-s', '1:0,lpc',
                                       '-s', f'3:0,virtio-blk,{disk}', '-l', 'com1,stdio', *map(str, args), name],
                               env=ENV, timeout=TIMEOUT, echo=False, logfile=open(path(name + '.log'), 'wb'))

    def expect(self, text):
        self.p.expect_exact(text)

    def send(self, text):
        self.p.send(text + '\r')

    def powers_off(self):
        self.p.expect(pexpect.EOF)
        self.p.close()
        assert self.p.exitstatus == 1, self.p.exitstatus

    def kill(self):
        self.p.close(force=True)


def gdb(target, *commands, file=None):
    words = [w for c in ('set pagination off', 'set confirm off', 'set tcp auto-retry on', f'target remote {target}', *commands)
             for w in ('-ex', c)]
    p = subprocess.run(['gdb', '-q', '-nx', '-batch', *words, file or SYMBOLS], stdin=subprocess.DEVNULL, capture_output=True,
                       timeout=TIMEOUT)
    return (p.stdout + p.stderr).decode(errors='replace')


def kernel_gdb(name, target, *args, env=()):
    """debug.kdb.enter drops into ddb, `gdb` there hands over to the back end, gdb continues it."""
    guest = Guest(name, 'sysctl debug.kdb.enter=1;echo back again;poweroff', *args, env=env)
    try:
        guest.expect('KDB: enter: sysctl debug.kdb.enter')
        guest.expect('db> ')
        guest.send('gdb')
        guest.expect('ctrl-c')
        guest.send('s')
        out = gdb(target, 'bt 6', 'print kdb_active', 'print version', 'print $rip', 'detach')
        assert 'kdb_sysctl_enter' in out and 'sysctl_root' in out, out
        assert 'kdb_active = 1' in out or '$1 = 1' in out, out
        assert re.search(r'"FreeBSD \d+\.\d', out), out
        guest.expect('back again')
        guest.powers_off()
    finally:
        guest.kill()


def test_bvmdebug_kernel_debugger_speaks_to_gdb():
    kernel_gdb('bvmdbg', f'127.0.0.1:{PORT}', '-g', PORT)


def test_null_modem_kernel_debugger_speaks_to_gdb():
    if os.geteuid() != 0:
        raise Skip('/dev/nmdm* are for root')
    kernel_gdb('nmdmdbg', f'/dev/nmdmdbg{os.getpid()}A', '-l', f'com2,/dev/nmdmdbg{os.getpid()}B',
               env=['hint.uart.1.flags=0x80', 'hint.uart.0.flags=0x10', 'hint.bvmdbg.0.disabled=1'])


def test_stub_breaks_by_name_and_writes_memory():
    # Not finish: its breakpoint is for the vCPU that was stopped, and the thread may go on with the other.
    guest = Guest('gdbstub', 'sysctl kern.hostname=before;sysctl kern.ostype;echo done;poweroff', '-G', f'w{PORT + 1}', cpus=2)
    try:
        out = gdb(f'127.0.0.1:{PORT + 1}', 'break mi_startup', 'continue', 'bt 2', 'info threads', 'delete',
                  'break sysctl_hostname', 'continue', 'bt 3', 'info threads', 'up', 'delete', 'tbreak *$pc', 'continue',
                  'set var ostype[0] = 88', 'tbreak kern_reboot', 'continue', 'print howto',
                  'stepi 20', 'info registers rip', 'detach')
        assert 'Breakpoint 1, mi_startup' in out, out
        assert 'sysctl_hostname (' in out and 'sysctl_root' in out, out
        assert 'vCPU 1' in out, out
        assert 'kern_reboot (howto=' in out and '= 16384' in out, out
        guest.expect('XreeBSD')
        guest.expect('done')
        guest.powers_off()
    finally:
        guest.kill()


if __name__ == '__main__':
    main(sys.modules[__name__])
