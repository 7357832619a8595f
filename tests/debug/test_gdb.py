#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""Debian's gdb on Debian's kernel, through the stub.

The kernel's debug package is large, so a small symbol file is made from what the
running guest says in /proc/kallsyms, as if the kernel had not been moved.
More is tested with a vmlinux with full symbols: that of the kernel's package
linux-image-VERSION-dbg where it is installed, or what LINUX_DEBUG names.
"""
import glob
import os
import re
import shutil
import signal
import subprocess
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), '..'))
from lib.harness import BHYVE, BHYVECTL, ENGINE, ENV, GUEST, Skip, file, main, path, run  # noqa: E402
from lib.rsp import RIP, Remote, stop_rip  # noqa: E402

try:
    import pexpect
except ImportError:
    pexpect = None

PORT = int(os.environ.get('DEBUG_PORT', '7485'))
TIMEOUT = int(os.environ.get('BOOT_TIMEOUT', '120'))
PROMPT = 'guest# '
LINK = 0xffffffff81000000
NAMES = ('_text', '_etext', '__x64_sys_sethostname', '__do_sys_sethostname', 'init_uts_ns', 'jiffies_64')


class Guest:
    def __init__(self, gdb, mode='shell', cpus=2, cmdline=''):
        if pexpect is None or shutil.which('gdb') is None:
            raise Skip('python3-pexpect and gdb are needed')
        if not os.path.exists(f'{GUEST}/vmlinuz') or not os.path.exists(f'{GUEST}/initrd'):
            raise Skip('there is no kernel to boot (tools/guest.sh)')
        self.name = f'gdb{os.getpid()}'
        disk = path('disk.img')
        subprocess.run(['cp', '--sparse=always', f'{GUEST}/disk.img', disk], check=True)
        self.p = pexpect.spawn(
            BHYVE, ['-c', str(cpus), '-m', '512M', '-H', '-s', '0,hostbridge', '-s', f'3,virtio-blk,{disk}', '-s', '4,virtio-rnd',
                    '-s', '31,lpc', '-l', 'com1,stdio', '-o', f'cpu.engine={ENGINE}', '-o', f'boot.kernel={GUEST}/vmlinuz',
                    '-o', f'boot.initrd={GUEST}/initrd', '-o', f'boot.cmdline=console=ttyS0 quiet panic=-1 bhyve.mode={mode} {cmdline}',
                    '-G', gdb, self.name],
            env=ENV, timeout=TIMEOUT, echo=False, dimensions=(24, 200), logfile=open(path('console.log'), 'ab'))

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.p.close(force=True)

    def prompt(self):
        self.p.expect_exact(PROMPT)

    def command(self, line):
        self.p.sendline(line + '; echo status=$?')
        self.p.expect(r'status=(\d+)\r+\n')
        out, status = self.p.before.decode(errors='replace'), int(self.p.match[1])
        self.prompt()
        return status, out

    def symbols(self):
        out = self.command("grep -E ' (%s)$' /proc/kallsyms" % '|'.join(NAMES))[1]
        found = {name: int(at, 16) for at, name in re.findall(r'([0-9a-f]{16}) \w (\w+)', out)}
        assert found.get('_text'), out
        return found

    def powers_off(self):
        self.p.sendline('poweroff -f')
        self.p.expect(pexpect.EOF)
        self.p.close()
        assert self.p.exitstatus == 1, self.p.exitstatus


def symbol_file(symbols):
    """An ELF file with the text symbols at the places that the linker gave them."""
    base = symbols['_text']
    lines = ['.text']
    for name, at in sorted(symbols.items(), key=lambda s: s[1]):
        if base <= at < symbols['_etext']:
            lines.append(f'.org {at - base:#x}\n.globl {name}\n.type {name}, @function\n{name}:')
    lines.append(f'.org {symbols["_etext"] - base:#x}')
    file('symbols.S', '\n'.join(lines).encode() + b'\n')
    subprocess.run(['cc', '-c', '-o', path('symbols.o'), path('symbols.S')], check=True)
    subprocess.run(['ld', '--no-warn-rwx-segments', f'-Ttext={LINK:#x}', '-e', '_text', '-o', path('symbols.elf'), path('symbols.o')],
                   check=True)
    return path('symbols.elf')


def start_gdb(*commands):
    words = [w for c in ('set pagination off', 'set confirm off', f'target remote 127.0.0.1:{PORT}', *commands) for w in ('-ex', c)]
    return subprocess.Popen(['gdb', '-q', '-nx', '-batch', *words], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                            stderr=subprocess.STDOUT, text=True)


def finish(gdb):
    return gdb.communicate(timeout=TIMEOUT)[0]


def test_stock_kernel_breaks_by_name_where_kaslr_put_it():
    with Guest(str(PORT)) as guest:
        guest.prompt()
        symbols = guest.symbols()
        slide = symbols['_text'] - LINK
        remote = Remote(PORT)
        said = remote.monitor('kaslr')
        assert 'Linux version 6.' in said and f'slide {slide:#x}\n' in said, said
        remote.detach()
        elf = symbol_file(symbols)
        uts = symbols['init_uts_ns']
        gdb = start_gdb(f'add-symbol-file {elf} -o {slide:#x}', 'break __x64_sys_sethostname', 'continue', 'backtrace 1', 'info threads',
                        'stepi 1000', 'printf "stepped\\n"', 'continue',
                        'set $rax = -1', 'set $rip = *(unsigned long *)$rsp', 'set $rsp = $rsp + 8',
                        f'print (char *){uts:#x}', f'set var *(char *){uts:#x} = 88', 'delete', 'detach')
        time.sleep(2)
        guest.p.sendline('hostname first; hostname second; echo status=$?')
        guest.p.expect(r'status=(\d+)')
        status, log = int(guest.p.match[1]), guest.p.before.decode(errors='replace')
        out = finish(gdb)
        guest.prompt()
        assert out.count('__x64_sys_sethostname ()') >= 2 and 'stepped' in out and '"Linux"' in out, out
        assert 'Thread 2 (vCPU 1' in out, out
        assert status == 1 and 'not permitted' in log, log  # the second call, as the registers were set
        out = guest.command('uname -s; hostname')[1]
        assert 'Xinux' in out.split() and 'first' in out.split(), out
        guest.powers_off()


def test_watchpoint_and_interrupts_in_idle_and_busy_guests():
    with Guest(str(PORT)) as guest:
        guest.prompt()
        jiffies = guest.symbols()['jiffies_64']
        gdb = start_gdb('info threads', f'watch *(unsigned long *){jiffies:#x}', 'continue', 'continue', 'info registers rip', 'delete', 'detach')
        out = finish(gdb)
        assert out.count('Old value') == 2 and out.count('New value') == 2, out
        for load in (None, 'while :; do :; done & while :; do :; done &'):
            if load is not None:
                guest.p.sendline(load)
                guest.prompt()
            gdb = start_gdb('continue', 'info threads', 'printf "stopped\\n"', 'detach')
            time.sleep(2.5)
            gdb.send_signal(signal.SIGINT)
            out = finish(gdb)
            assert 'SIGINT' in out and 'stopped' in out and 'detached' in out, out
            if load is None:
                assert 'halted' in out, out
        guest.powers_off()


def boot_trail(count):
    """Where @count steps from the first instruction lead, and with what state."""
    with Guest(f'w{PORT}', cpus=1):
        remote = Remote(PORT)
        trail = [stop_rip(remote.step()) for _ in range(count)]
        while trail[-1] in trail[:-1]:  # a place that is reached for the first time
            trail.append(stop_rip(remote.step()))
        return trail, remote.ask('g')


def test_thousand_steps_of_boot_leave_the_state_that_running_leaves():
    trail, stepped = boot_trail(1000)
    with Guest(f'w{PORT}', mode='report', cpus=1) as guest:
        remote = Remote(PORT)
        remote.ok(f'Z1,{trail[-1]:x},1')
        remote.go()
        assert stop_rip(remote.receive()) == trail[-1] == remote.reg(RIP)
        assert remote.ask('g') == stepped
        remote.detach()
        guest.p.expect(pexpect.EOF)
        guest.p.close()
        assert guest.p.exitstatus == 1, guest.p.exitstatus


def test_sixteen_megabytes_come_in_time():
    with Guest(f'w{PORT}', cpus=1):
        begin = time.monotonic()
        out = finish(start_gdb(f'dump binary memory {path("memory")} 0x1000000 0x2000000', 'detach'))
        assert os.path.getsize(path('memory')) == 16 << 20, out
        assert time.monotonic() - begin < 20


def vmlinux():
    version = [os.path.basename(name)[len('vmlinuz-'):] for name in glob.glob(f'{GUEST}/kernel/boot/vmlinuz-*')]
    name = os.environ.get('LINUX_DEBUG') or f'/usr/lib/debug/boot/vmlinux-{"".join(version)}'
    if not os.path.isfile(name):
        raise Skip(f'there is no {name} (LINUX_DEBUG; package linux-image-{"".join(version)}-dbg)')
    return name


def test_vmlinux_breaks_with_arguments_and_sources_lines():
    elf = vmlinux()
    with Guest(str(PORT)) as guest:
        guest.prompt()
        slide = guest.symbols()['_text'] - LINK
        gdb = start_gdb(f'add-symbol-file {elf} -o {slide:#x}', 'break do_sys_openat2', 'continue', 'backtrace 16', 'delete', 'detach')
        time.sleep(5)
        guest.command('cat /proc/version')
        out = finish(gdb)
        assert 'do_sys_openat2 (dfd=' in out and 'fs/open.c' in out and 'do_syscall_64' in out, out
        guest.powers_off()


def test_vmlinux_breaks_before_the_kernel_is_unpacked():
    elf = vmlinux()
    with Guest(f'w{PORT}', mode='report', cmdline='nokaslr') as guest:
        out = finish(start_gdb(f'file {elf}', 'hbreak start_kernel', 'continue', 'backtrace 3', 'stepi 1000', 'delete', 'break kernel_init', 'continue',
                               'watch *(unsigned long *)&jiffies_64', 'continue', 'backtrace 8', 'delete',
                               'set var init_uts_ns.name.sysname[0] = 88', 'detach'))
        assert 'Breakpoint 1, start_kernel () at init/main.c' in out and 'Breakpoint 2, kernel_init (' in out, out
        assert 'do_timer (ticks=' in out or 'tick_do_update_jiffies64' in out, out
        guest.p.expect('uname: Xinux')
        guest.p.expect(pexpect.EOF)
        guest.p.close()
        assert guest.p.exitstatus == 1, guest.p.exitstatus


def test_crash_opens_a_core_of_a_kernel_that_moved_itself():
    elf = vmlinux()
    if shutil.which('crash') is None:
        raise Skip('crash is not installed')
    with Guest(str(PORT)) as guest:
        guest.prompt()
        symbols = guest.symbols()
        status, out, err = run(BHYVECTL, f'--vm={guest.name}', f'--core={path("core")}')
        assert status == 0, out + err
        guest.powers_off()
    words = 'sys\nsym _text\np init_uts_ns.name.sysname\nlist task_struct.tasks -s task_struct.comm -h init_task\nlog\nmod\nquit\n'
    p = subprocess.run(['crash', elf, path('core')], input=words, capture_output=True, text=True, timeout=TIMEOUT, check=False)
    out = p.stdout + p.stderr
    os.unlink(path('core'))
    for text in (f'{symbols["_text"]:x}', 'NODENAME: guest', 'CPUS: 2', '"Linux', 'kthreadd', 'Linux version', 'virtio_blk'):
        assert text in out, f'{text}: {out}'


if __name__ == '__main__':
    main(sys.modules[__name__])
