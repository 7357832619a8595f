#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""Debian's kernel on our engine, driven through its console."""
import os
import re
import shutil
import signal
import subprocess
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), '..'))
from lib.harness import BHYVE, BHYVECTL, ENGINE, ENV, GUEST, Skip, instances, main, path, run  # noqa: E402

try:
    import pexpect
except ImportError:
    pexpect = None

PROMPT = 'guest# '
TIMEOUT = int(os.environ.get('BOOT_TIMEOUT', '120'))


def arguments(name, disk, cpus=1, mode='shell', memory='512M', extra=()):
    return ['-c', str(cpus), '-m', memory, '-H', '-s', '0,hostbridge', '-s', f'3,virtio-blk,{disk}', '-s', '4,virtio-rnd',
            '-s', '31,lpc', '-l', 'com1,stdio', '-o', f'cpu.engine={ENGINE}', '-o', f'boot.kernel={GUEST}/vmlinuz',
            '-o', f'boot.initrd={GUEST}/initrd', '-o', f'boot.cmdline=console=ttyS0 quiet panic=-1 bhyve.mode={mode}',
            *extra, name]


def new_disk():
    if pexpect is None:
        raise Skip('python3-pexpect is not installed')
    if not os.path.exists(f'{GUEST}/vmlinuz') or not os.path.exists(f'{GUEST}/initrd'):
        raise Skip('there is no kernel to boot (tools/guest.sh)')
    disk = path('disk.img')
    shutil.copyfile(f'{GUEST}/disk.img', disk)
    return disk


class Console:
    """A VM whose console is a pseudo-terminal."""

    def __init__(self, *args, **kw):
        self.log = open(path('console.log'), 'ab')
        self.p = pexpect.spawn(BHYVE, arguments(*args, **kw), env=ENV, timeout=TIMEOUT, logfile=self.log,
                               echo=False, dimensions=(24, 200))
        try:
            self.p.expect_exact(PROMPT)
        except Exception:
            self.kill()
            raise

    def command(self, line):
        """What the command printed.  The terminal's echo of the line holds neither mark."""
        self.p.sendline(f'echo BEG""IN; {line}; echo END""=$?')
        self.p.expect(r'BEGIN\r+\n(.*)END=(\d+)\r+\n')
        out, status = self.p.match[1].decode(errors='replace'), int(self.p.match[2])
        self.p.expect_exact(PROMPT)
        assert status == 0, f'{line}: status {status}: {out}'
        return out

    def end(self, line=None):
        """bhyve's exit status after the guest has ended."""
        if line is not None:
            self.p.sendline(line)
        self.p.expect(pexpect.EOF)
        self.p.close()
        return self.p.exitstatus

    def kill(self):
        self.p.close(force=True)


def boot_and_look(cpus):
    console = Console('boot', new_disk(), cpus=cpus)
    try:
        nproc = console.command('nproc')
        assert nproc.split()[:1] == [str(cpus)], nproc
        assert 'Debian' in console.command('uname -a')
        assert 'vda' in console.command('cat /proc/partitions')
        assert console.end('poweroff') == 1
    finally:
        console.kill()
    assert instances() == [], instances()


def test_boot_1_cpu():
    boot_and_look(1)


def test_boot_2_cpus():
    boot_and_look(2)


def test_small_code_cache():
    """Two vCPUs, and a cache that is far too small for what runs: translations come and go all the time."""
    console = Console('small', new_disk(), cpus=2, extra=('-o', 'cpu.engine=soft', '-o', 'soft.cache_size=4M'))
    try:
        one = console.command('seq 1 5000 | sort -r | gzip -c | gunzip -c | md5sum').split()[0]
        many = console.command('for i in 1 2 3 4; do seq 1 5000 | sort -r | gzip -c | gunzip -c | md5sum & done; wait')
        assert many.split()[::2] == [one] * 4, many
        out = run(BHYVECTL, '--vm=small', '--get-stats', timeout=60)[1]
        found = re.search(r'soft\.evictions\s+(\d+)', out)
        assert found and int(found[1]) > 50, out
        assert console.end('poweroff') == 1
    finally:
        console.kill()


def boot_checked(*options):
    """soft.check: each block runs twice, plainly and as translated."""
    status, out, err = run(BHYVE, *arguments('checked', new_disk(), cpus=2, mode='report',
                                             extra=('-o', 'cpu.engine=soft', '-o', 'soft.check=1', '-o', 'soft.stats=true', *options)),
                           timeout=TIMEOUT)
    assert status == 1, (status, err, out[-800:])
    assert 'disk: vda 256 MiB' in out, out
    counts = {name: [int(n) for n in re.findall(rf'soft\.{name} (\d+)', out + err)] for name in ('checked', 'not_judged')}
    assert min(counts['checked']) > 1000 and sum(counts['checked']) > 50 * sum(counts['not_judged']), counts


def test_every_block_is_what_its_instructions_are():
    boot_checked()


def test_every_block_with_mirrors_is_what_its_instructions_are():
    boot_checked('-o', 'soft.disable=tlb')


def test_disk_survives_reboot():
    disk = new_disk()
    console = Console('disk', disk)
    try:
        console.command('mount /dev/vda /mnt')
        console.command('seq 1 200000 >/mnt/numbers')
        wanted = console.command('md5sum </mnt/numbers').split()[0]
        console.command('umount /mnt')
        assert console.end('reboot') == 0, 'reboot is exit status 0'
    finally:
        console.kill()
    console = Console('disk', disk)
    try:
        console.command('mount /dev/vda /mnt')
        assert console.command('md5sum </mnt/numbers').split()[0] == wanted
        console.command('umount /mnt')
        assert console.end('poweroff') == 1
    finally:
        console.kill()
    env = dict(os.environ, PATH=os.environ['PATH'] + ':/sbin:/usr/sbin')
    numbers = subprocess.run(['debugfs', '-R', 'cat /numbers', disk], capture_output=True, check=True, env=env).stdout
    assert numbers == ''.join(f'{i}\n' for i in range(1, 200001)).encode(), 'the host reads something else'
    assert subprocess.run(['e2fsck', '-fn', disk], capture_output=True, env=env, check=False).returncode == 0


def test_flushed_writes_outlive_sigkill():
    disk = new_disk()
    console = Console('killed', disk)
    try:
        console.command('mount /dev/vda /mnt')
        console.command('seq 1 50000 >/mnt/kept; sync')
        console.p.kill(signal.SIGKILL)
        console.end()
    finally:
        console.kill()
    assert run(BHYVECTL, '--vm=killed', '--destroy')[0] == 0
    assert instances() == [], instances()
    env = dict(os.environ, PATH=os.environ['PATH'] + ':/sbin:/usr/sbin')
    replayed = subprocess.run(['e2fsck', '-fy', disk], capture_output=True, env=env, check=False)
    assert replayed.returncode in (0, 1), replayed.stdout
    kept = subprocess.run(['debugfs', '-R', 'cat /kept', disk], capture_output=True, check=True, env=env).stdout
    assert kept == ''.join(f'{i}\n' for i in range(1, 50001)).encode(), kept[-100:]


def test_sigterm_is_power_button():
    console = Console('button', new_disk())
    try:
        time.sleep(1)
        console.p.kill(signal.SIGTERM)
        assert console.end() == 1
    finally:
        console.kill()


def test_shutdown_by_bhyvectl():
    console = Console('asked', new_disk())
    try:
        time.sleep(1)
        assert run(BHYVECTL, '--vm=asked', '--shutdown=30', timeout=60)[0] == 0
        assert console.end() == 1
    finally:
        console.kill()


def test_idle_guest_sleeps():
    console = Console('idle', new_disk())
    try:
        time.sleep(3)
        before = cpu_seconds(console.p.pid)
        time.sleep(6)
        used = cpu_seconds(console.p.pid) - before
        # A busy loop would take 6 seconds; the figure itself is make bench's to print.
        assert used < 1.5, f'{used} of 6 seconds'
    finally:
        console.kill()


def cpu_seconds(pid):
    with open(f'/proc/{pid}/stat', encoding='ascii') as f:
        fields = f.read().rsplit(')', 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf('SC_CLK_TCK')


def test_report_without_terminal():
    disk = new_disk()
    status, out, err = run(BHYVE, *arguments('report', disk, cpus=2, mode='report'), timeout=TIMEOUT)
    assert status == 1, (status, err, out[-800:])
    assert re.search(r'uname: Linux .*x86_64', out) and 'nproc: 2' in out and 'disk: vda 256 MiB' in out, out


if __name__ == '__main__':
    main(sys.modules[__name__])
