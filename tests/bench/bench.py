#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""make bench: the soft engine, QEMU's TCG and the host itself, side by side.

Boots the same kernel and initramfs on both, alternating, and runs the same
workloads in both guests and natively; prints medians, ratios, and the geometric
mean.  Needs no root.  Nothing here passes or fails by time.
"""
import argparse
import math
import os
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time

WORKLOADS = ['integer', 'sort', 'chase', 'scalar', 'packed', 'x87', 'memory', 'syscalls', 'faults',
             'switches', 'forkexec']
LINE = re.compile(r'bench (\w+) ([0-9.]+) (\d+)')


def parse_args():
    p = argparse.ArgumentParser(description=__doc__)
    p.add_argument('--bhyve', default='build/bhyve')
    p.add_argument('--guest', default='build/guest', help='directory made by tools/guest.sh')
    p.add_argument('--engine', default='soft')
    p.add_argument('--rounds', type=int, default=3)
    p.add_argument('--only', default='', help='workloads, separated by commas')
    p.add_argument('--skip', default='', help='parts to leave out: boot,work,smp,disk,idle')
    p.add_argument('--no-tcg', action='store_true')
    p.add_argument('-o', action='append', default=[], metavar='KEY=VALUE', help='further bhyve settings')
    p.add_argument('--timeout', type=float, default=300)
    return p.parse_args()


class Bench:
    def __init__(self, args):
        self.args = args
        self.dir = tempfile.mkdtemp(prefix='bhyve-bench.')
        self.disk = os.path.join(self.dir, 'disk.img')
        with open(self.disk, 'wb') as f:
            f.truncate(256 << 20)
        self.native_program = os.path.join(self.dir, 'workloads')
        here = os.path.dirname(os.path.abspath(__file__))
        subprocess.run(['cc', '-O2', '-static', '-o', self.native_program, os.path.join(here, 'workloads.c')],
                       check=True)
        self.tcg = None if args.no_tcg else shutil.which('qemu-system-x86_64')
        if self.tcg is None and not args.no_tcg:
            print('qemu-system-x86_64 is not installed: only our own engine is measured')

    def command(self, machine, mode, cpus, bench):
        g = self.args.guest
        line = f'console=ttyS0 quiet panic=-1 bhyve.mode={mode} bhyve.bench={bench}'
        if machine == 'tcg':
            return [self.tcg, '-accel', 'tcg,thread=multi', '-cpu', 'max', '-smp', str(cpus), '-m', '512', '-display', 'none',
                    '-no-reboot', '-serial', 'stdio', '-monitor', 'none', '-nic', 'none', '-kernel', f'{g}/vmlinuz', '-initrd',
                    f'{g}/initrd', '-append', line, '-drive', f'file={self.disk},format=raw,if=virtio']
        return ([self.args.bhyve, '-c', str(cpus), '-m', '512M', '-s', '0,hostbridge', '-s',
                 f'3,virtio-blk,{self.disk}', '-s', '31,lpc', '-l', 'com1,stdio', '-o',
                 f'cpu.engine={self.args.engine}', '-o', f'boot.kernel={g}/vmlinuz', '-o',
                 f'boot.initrd={g}/initrd', '-o', f'boot.cmdline={line}'] +
                [x for o in self.args.o for x in ('-o', o)] + [f'bench{os.getpid()}'])

    def run(self, machine, mode, cpus=1, bench=''):
        """Wall seconds and what the guest printed."""
        start = time.monotonic()
        if machine == 'host':
            command = [self.native_program, '-r', '3'] + [b for b in bench.split(',') if b]
        else:
            command = self.command(machine, mode, cpus, bench)
        p = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                           stderr=subprocess.STDOUT, timeout=self.args.timeout)
        took = time.monotonic() - start
        text = p.stdout.decode(errors='replace')
        if machine == 'bhyve' and p.returncode != 1:
            sys.stdout.write(text[-2000:])
            raise SystemExit(f'bench: bhyve exited with status {p.returncode}, not 1 (powered off)')
        return took, text

    def machines(self):
        return ['bhyve'] + (['tcg'] if self.tcg else [])

    def boot(self):
        times = {m: [] for m in self.machines()}
        for _ in range(self.args.rounds):
            for m in times:
                times[m].append(self.run(m, 'off')[0])
        print('\nboot to power-off, wall seconds (median of %d)' % self.args.rounds)
        for m, t in times.items():
            print(f'  {m:8} {statistics.median(t):7.2f}   [{min(t):.2f} .. {max(t):.2f}]')
        if self.tcg:
            print('  ratio TCG / bhyve %.2f' % (statistics.median(times['tcg']) / statistics.median(times['bhyve'])))

    def collect(self, machine, names, cpus=1):
        found = {}
        text = self.run(machine, 'bench', cpus, ','.join(names))[1]
        for name, seconds, result in LINE.findall(text):
            found[name] = (float(seconds), result)
        missing = [n for n in names if n not in found]
        if missing:
            sys.stdout.write(text[-1500:])
            print(f'bench: {machine}: no result for {", ".join(missing)}')
        return found

    def work(self):
        names = [n for n in self.args.only.split(',') if n] or WORKLOADS
        runs = {m: [] for m in ['host'] + self.machines()}
        for _ in range(self.args.rounds):
            for m in runs:
                runs[m].append(self.collect(m, names))
        print('\nworkloads, seconds (median of %d)' % self.args.rounds)
        print(f'  {"":10} {"host":>9} {"bhyve":>9} {"tcg":>9} {"bhyve/host":>11} {"tcg/bhyve":>10}')
        slow, better = [], []
        for n in names:
            median = {}
            for m, rs in runs.items():
                values = [r[n][0] for r in rs if n in r]
                median[m] = statistics.median(values) if values else float('nan')
                wrong = [r[n][1] for r in rs if n in r and n in runs['host'][0] and r[n][1] != runs['host'][0][n][1]]
                if wrong:
                    print(f'  {n}: {m} COMPUTED {wrong[0]}, the host {runs["host"][0][n][1]}')
            tcg = median.get('tcg', float('nan'))
            print(f'  {n:10} {median["host"]:9.4f} {median["bhyve"]:9.4f} {tcg:9.4f}'
                  f' {median["bhyve"] / median["host"]:11.2f} {tcg / median["bhyve"]:10.2f}')
            slow.append(median['bhyve'] / median['host'])
            better.append(tcg / median['bhyve'])
        print(f'  geometric mean {"":27} {geomean(slow):11.2f} {geomean(better):10.2f}')

    def smp(self):
        one = self.collect('bhyve', ['two'], 1)
        two = self.collect('bhyve', ['two'], 2)
        if 'two' in one and 'two' in two:
            print('\ntwo busy processes: %.2f s on 1 vCPU, %.2f s on 2: %.2f times as fast' %
                  (one['two'][0], two['two'][0], one['two'][0] / two['two'][0]))

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
        p = subprocess.Popen(self.command('bhyve', 'idle', 1, ''), stdin=subprocess.PIPE,
                             stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            time.sleep(12)
            before, seconds = cpu_seconds(p.pid), 8
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


def geomean(values):
    values = [v for v in values if v == v and v > 0]
    return math.exp(sum(map(math.log, values)) / len(values)) if values else float('nan')


def cpu_seconds(pid):
    with open(f'/proc/{pid}/stat') as f:
        fields = f.read().rsplit(')', 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf('SC_CLK_TCK')


def host_memory_kib(pid):
    """Resident memory outside the mapping of guest memory, the one of 512 MiB."""
    total, guest = 0, False
    with open(f'/proc/{pid}/smaps') as f:
        for line in f:
            head = re.match(r'([0-9a-f]+)-([0-9a-f]+) ', line)
            if head:
                guest = int(head[2], 16) - int(head[1], 16) == 512 << 20
            elif line.startswith('Rss:') and not guest:
                total += int(line.split()[1])
    return total


def main():
    args = parse_args()
    bench = Bench(args)
    skip = args.skip.split(',')
    try:
        for name, part in [('boot', bench.boot), ('work', bench.work), ('smp', bench.smp),
                           ('disk', bench.disks), ('idle', bench.idle)]:
            if name not in skip:
                part()
                sys.stdout.flush()
    finally:
        bench.close()


if __name__ == '__main__':
    main()
