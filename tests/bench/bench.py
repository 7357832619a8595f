#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""make bench: our engine, QEMU and the host itself, side by side.

The soft engine against -accel tcg; then, where the processor has VT-x or SVM, KVM against
-accel kvm.  --engine names one of the two.

Boots the same kernel and initramfs on both, alternating, and runs the same
workloads in both guests and natively; prints medians, ratios, and the geometric
mean.  Nothing here passes or fails by time.  Parts:

  boot work smp disk    our own workloads, on the bare initramfs
  real                  programs of this Debian in the guest (programs.py)
  net                   virtio-net on a tap, in a namespace; needs root (network.py)
  freebsd               FREEBSD_KERNEL, FREEBSD_ROOT, FREEBSD_QEMU name what to boot
                        (freebsd.py); left out otherwise
  start touch idle      start-up, memory by page, cost of an idle guest

  make bench BENCH="--only boot,work --quick"

--quick makes one round of smaller work: to see that a part runs, not to measure.
"""
import argparse
import contextlib
import math
import os
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), '..'))
import freebsd  # noqa: E402
import hostmemory  # noqa: E402
import network  # noqa: E402
import programs  # noqa: E402
import startup  # noqa: E402
from lib import debian  # noqa: E402
from lib.harness import kvm_kind  # noqa: E402
from parts import Skip  # noqa: E402

WORKLOADS = ['integer', 'queens', 'sort', 'chase', 'scalar', 'bodies', 'packed', 'x87', 'memory', 'syscalls', 'faults',
             'switches', 'forkexec']
GUEST_MIB = 512
OWN_MIB = 256  # what an engine may use beside it
LINE = re.compile(r'bench (\w+) ([0-9.]+) (\d+)')


def parse_args():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument('--bhyve', default='build/bhyve')
    p.add_argument('--guest', default='build/guest', help='directory made by tools/guest.sh')
    p.add_argument('--engine', choices=['soft', 'kvm'], help='only this one')
    p.add_argument('--rounds', type=int, default=0, help='default: 3, with --quick 1')
    p.add_argument('--only', default='', help='parts to run, separated by commas')
    p.add_argument('--skip', default='', help='parts to leave out')
    p.add_argument('--workloads', default='', help='workloads, or real programs, to run')
    p.add_argument('--quick', action='store_true', help='one round of smaller work')
    p.add_argument('--no-qemu', action='store_true')
    p.add_argument('-o', action='append', default=[], metavar='KEY=VALUE', help='further bhyve settings')
    p.add_argument('--timeout', type=float, default=600)
    args = p.parse_args()
    args.rounds = args.rounds or (1 if args.quick else 3)
    return args


class Bench:
    def __init__(self, args, engine):
        self.args, self.engine = args, engine
        # What QEMU is to use, and how its column is named.
        self.accel, self.cpu = ('kvm', 'host') if engine == 'kvm' else ('tcg,thread=multi', 'max')
        self.rival = 'QEMU ' + self.accel.split(',')[0]
        self.dir = tempfile.mkdtemp(prefix='bhyve-bench.')
        self.disk = os.path.join(self.dir, 'disk.img')
        with open(self.disk, 'wb') as f:
            f.truncate(256 << 20)
        self.native_program = self.compile('workloads')
        self.groups = {}
        self.qemu = None if args.no_qemu else shutil.which('qemu-system-x86_64')
        if self.qemu is None and not args.no_qemu:
            print('qemu-system-x86_64 is not installed: only our own engine is measured')

    def choose(self, names):
        """Of these, those that --workloads names; all where it names none."""
        wanted = [w for w in self.args.workloads.split(',') if w]
        return [n for n in names if not wanted or n in wanted]

    def command(self, machine, words, cpus=1, memory=GUEST_MIB, initrd=None, disk=None, tap=None):
        """What runs Linux with its console on standard output; @words are its command line, @memory in MiB."""
        g = self.args.guest
        line = f'console=ttyS0 quiet panic=-1 {words}'
        initrd, disk = initrd or f'{g}/initrd', disk or self.disk
        if machine == 'qemu':
            net = ['-netdev', f'tap,id=n,ifname={tap},script=no,downscript=no', '-device', 'virtio-net-pci,netdev=n']
            return [self.qemu, '-accel', self.accel, '-cpu', self.cpu, '-smp', str(cpus), '-m', str(memory), '-display', 'none',
                    '-no-reboot', '-serial', 'stdio', '-monitor', 'none', *(net if tap else ['-nic', 'none']),
                    '-kernel', f'{g}/vmlinuz', '-initrd', initrd, '-append', line, '-drive',
                    f'file={disk},format=raw,if=virtio']
        return ([self.args.bhyve, '-c', str(cpus), '-m', f'{memory}M', '-s', '0,hostbridge', '-s',
                 f'3,virtio-blk,{disk}', '-s', '31,lpc', '-l', 'com1,stdio', '-o',
                 f'cpu.engine={self.engine}', '-o', f'boot.kernel={g}/vmlinuz', '-o',
                 f'boot.initrd={initrd}', '-o', f'boot.cmdline={line}'] +
                (['-s', f'5,virtio-net,{tap}'] if tap else []) +
                [x for o in self.args.o for x in ('-o', o)] + [f'bench{os.getpid()}'])

    def run_command(self, machine, command, memory=GUEST_MIB):
        """Wall seconds, and what it printed; @memory: of the guest, in MiB."""
        hostmemory.touch(memory + OWN_MIB)
        start = time.monotonic()
        p = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                           stderr=subprocess.STDOUT, timeout=self.args.timeout)
        took = time.monotonic() - start
        text = p.stdout.decode(errors='replace')
        if machine == 'bhyve' and p.returncode != 1:
            sys.stdout.write(text[-2000:])
            raise SystemExit(f'bench: bhyve exited with status {p.returncode}, not 1 (powered off)')
        return took, text

    def run(self, machine, mode, cpus=1, bench=''):
        if machine == 'host':
            command = [self.native_program, '-r', '1' if self.args.quick else '3'] + [b for b in bench.split(',') if b]
        else:
            command = self.command(machine, f'bhyve.mode={mode} bhyve.bench={bench}', cpus)
        return self.run_command(machine, command)

    def add_initrd(self, files, init):
        """The guest's initramfs with @files (name: path on the host) and @init, run by rdinit=/addedinit, behind it."""
        return debian.add_initrd(self.args.guest, self.dir, files, init)

    def compile(self, name):
        here = os.path.dirname(os.path.abspath(__file__))
        out = os.path.join(self.dir, name)
        subprocess.run(['cc', '-O2', '-static', '-o', out, os.path.join(here, name + '.c')], check=True)
        return out

    def machines(self):
        return ['bhyve'] + (['qemu'] if self.qemu else [])

    def boot(self):
        times = {m: [] for m in self.machines()}
        for _ in range(self.args.rounds):
            for m in times:
                times[m].append(self.run(m, 'off')[0])
        print('\nboot to power-off, wall seconds (median of %d)' % self.args.rounds)
        for m, t in times.items():
            print(f'  {m:8} {statistics.median(t):7.2f}   [{min(t):.2f} .. {max(t):.2f}]')
        self.row('workloads', 'boot', {m: statistics.median(t) for m, t in times.items()})

    def collect(self, machine, names, cpus=1):
        return self.results(machine, self.run(machine, 'bench', cpus, ','.join(names))[1], names)

    def results(self, machine, text, names):
        """{name: (seconds, result)} of what workloads printed."""
        found = {}
        for name, seconds, result in LINE.findall(text):
            found[name] = (float(seconds), result)
        missing = [n for n in names if n not in found]
        if missing:
            sys.stdout.write(text[-1500:])
            print(f'bench: {machine}: no result for {", ".join(missing)}')
        return found

    def row(self, group, name, median, faster_is_less=True):
        """One line of the last table; @median gives a figure for each machine."""
        self.groups.setdefault(group, []).append((name, median, faster_is_less))

    def compare(self, group, names, collect):
        """Alternating rounds of collect(machine), which gives {name: (seconds, result)}; adds medians to the table."""
        runs = {m: [] for m in ['host'] + self.machines()}
        for _ in range(self.args.rounds):
            for m in runs:
                runs[m].append(collect(m))
        for n in names:
            median = {}
            for m, rs in runs.items():
                values = [r[n][0] for r in rs if n in r]
                median[m] = statistics.median(values) if values else float('nan')
                wrong = [r[n][1] for r in rs if n in r and n in runs['host'][0] and r[n][1] != runs['host'][0][n][1]]
                if wrong:
                    print(f'  {n}: {m} COMPUTED {wrong[0]}, the host {runs["host"][0][n][1]}')
            self.row(group, n, median)

    def work(self):
        names = self.choose(WORKLOADS)
        self.compare('workloads', names, lambda m: self.collect(m, names))

    def table(self):
        for group, rows in self.groups.items():
            print(f'\n{group}, median of {self.args.rounds}; ratio: how many times as fast as {self.rival}, and as that the host itself')
            print(f'  {"":28} {"native":>10} {"bhyve":>10} {self.rival:>10} {"ratio":>10} {"of native":>10} {"% of native":>12}')
            better, native = [], []
            for name, median, less in rows:
                host, ours, theirs = (median.get(m, float('nan')) for m in ('host', 'bhyve', 'qemu'))
                better.append(ratio(theirs, ours) if less else ratio(ours, theirs))
                native.append(100 * (ratio(host, ours) if less else ratio(ours, host)))
                most = cell(ratio(theirs, host) if less else ratio(host, theirs), 2)
                print(f'  {name:28} {cell(host):>10} {cell(ours):>10} {cell(theirs):>10} {cell(better[-1], 2):>10} {most:>10} {cell(native[-1], 0):>12}')
            print(f'  {"geometric mean":61} {cell(geomean(better), 2):>10} {"":10} {cell(geomean(native), 0):>12}')

    def smp(self):
        """Two busy processes on one processor and on two; the host, held to as many, shows what its cores can give."""
        times = {(m, cpus): [] for m in ['host'] + self.machines() for cpus in (1, 2)}
        for _ in range(self.args.rounds):
            for (machine, cpus), t in times.items():
                with held_to(cpus if machine == 'host' else None):
                    found = self.collect(machine, ['two'], cpus)
                if 'two' in found:
                    t.append(found['two'][0])
        print('\ntwo busy processes, seconds on one processor and on two (median of %d)' % self.args.rounds)
        for machine in ['host'] + self.machines():
            one, two = (statistics.median(times[machine, cpus] or [float('nan')]) for cpus in (1, 2))
            print(f'  {machine:8} {one:7.3f} {two:7.3f}   {ratio(one, two):.2f} times as fast')

    def disks(self):
        names = ['diskwrite', 'diskread']
        runs = {m: [] for m in self.machines()}
        for _ in range(self.args.rounds):
            for m in runs:
                runs[m].append(self.collect(m, names))
        print('\nvirtio-blk, 192 MiB in 1 MiB requests, MiB/s (median of %d)' % self.args.rounds)
        for m, rs in runs.items():
            speed = {n: 192 / statistics.median([r[n][0] for r in rs if n in r] or [float('nan')]) for n in names}
            print(f'  {m:8} write {speed["diskwrite"]:8.0f}  read {speed["diskread"]:8.0f}')

    def idle(self):
        p = subprocess.Popen(self.command('bhyve', 'bhyve.mode=idle'), stdin=subprocess.PIPE,
                             stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            time.sleep(12)
            before, seconds = cpu_seconds(p.pid), 4 if self.args.quick else 8
            time.sleep(seconds)
            used = cpu_seconds(p.pid) - before
            memory = host_memory_kib(p.pid)
            print('\nidle at a prompt: %.1f %% of one core' % (100 * used / seconds))
            print('host memory beyond the guest\'s own: %d MiB' % (memory / 1024))
        finally:
            p.kill()
            p.wait()

    def close(self):
        shutil.rmtree(self.dir, ignore_errors=True)


@contextlib.contextmanager
def held_to(cpus):
    """Programs started meanwhile run on the first @cpus of the host's processors; None: on all."""
    before = os.sched_getaffinity(0)
    try:
        os.sched_setaffinity(0, sorted(before)[:cpus])
        yield
    finally:
        os.sched_setaffinity(0, before)


def geomean(values):
    values = [v for v in values if v == v and v > 0]
    return math.exp(sum(map(math.log, values)) / len(values)) if values else float('nan')


def ratio(a, b):
    return a / b if a == a and b == b and b > 0 else float('nan')


def cell(value, digits=None):
    if value != value:
        return '-'
    return f'{value:.{digits}f}' if digits is not None else f'{value:.4f}' if value < 100 else f'{value:.0f}'


def cpu_seconds(pid):
    with open(f'/proc/{pid}/stat') as f:
        fields = f.read().rsplit(')', 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf('SC_CLK_TCK')


def host_memory_kib(pid):
    """Memory outside the mapping of guest memory, the one of 512 MiB; what is mapped twice, as the code cache is, counts once."""
    total, guest = 0, False
    with open(f'/proc/{pid}/smaps') as f:
        for line in f:
            head = re.match(r'([0-9a-f]+)-([0-9a-f]+) ', line)
            if head:
                guest = int(head[2], 16) - int(head[1], 16) == 512 << 20
            elif line.startswith('Pss:') and not guest:
                total += int(line.split()[1])
    return total


def engines(args):
    """What is measured: KVM only where the processor runs the guest."""
    kvm = kvm_kind() == 'hardware'
    if not kvm:
        print('KVM is not measured: ' + ('this processor has neither VT-x nor SVM' if kvm_kind() else
                                         'there is no /dev/kvm that may be used'))
    return [e for e in (['soft', 'kvm'] if args.engine is None else [args.engine]) if e == 'soft' or kvm]


def main():
    args = parse_args()
    print(hostmemory.describe())
    for engine in engines(args):
        print(f'\nengine {engine}')
        measure(args, engine)


def measure(args, engine):
    bench = Bench(args, engine)
    parts = {'boot': bench.boot, 'work': bench.work, 'smp': bench.smp, 'disk': bench.disks,
             'real': lambda: programs.measure(bench), 'net': lambda: network.measure(bench),
             'freebsd': lambda: freebsd.measure(bench), 'start': lambda: startup.first_instruction(bench),
             'touch': lambda: startup.touch(bench), 'idle': bench.idle}
    chosen = [n for n in args.only.split(',') if n] or list(parts)
    skip = [n for n in args.skip.split(',') if n]
    unknown = [n for n in chosen + skip if n not in parts]
    if unknown:
        raise SystemExit(f'bench: no such part: {", ".join(unknown)} (there are {", ".join(parts)})')
    try:
        for name in parts:
            if name in chosen and name not in skip:
                try:
                    parts[name]()
                except Skip as why:
                    print(f'\nskipped {name}: {why}')
                sys.stdout.flush()
        bench.table()
    finally:
        bench.close()


if __name__ == '__main__':
    main()
