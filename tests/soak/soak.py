#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""make soak: a guest of two processors under mixed load for MINUTES (default 30).

The load (load.c) is fork storms, page churn, timers, signals, wake-ups between processors,
disk writes with sync, a compiler, and a JavaScript engine where the host has one.  At the
end it prints figures, and ends with status 1 if there was

- a message of the guest's kernel of level warning or worse;
- a worker that stood still or waited long for one interrupt, or a wrong result;
- drift of the guest's monotonic clock against the host's beyond 50 ppm;
- growth of the process beyond the guest's memory.

Clocks are compared at exchanges over the serial line: the guest's clock was read between
the question and the answer, so each exchange bounds the difference from both sides.  A pause of
the process (SIGSTOP) is no drift, and what the guest says of it is not counted.
"""
import argparse
import os
import re
import selectors
import shutil
import subprocess
import sys
import tempfile
import time

TOP = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(TOP, 'tests'))
from lib import debian  # noqa: E402

MEMORY_MIB = 1024
DRIFT_PPM = 50
GROWTH_KIB = 4096
STILL_SECONDS = 300  # no turn of a worker takes that long, on however slow a host
PAUSE_SECONDS = 1.0  # between two turns of the loop below: this process was stopped
AFTER_PAUSE = 30.0  # what the guest says so long after a pause is about it

COMMANDS = {
    'compile': ('gcc', 'gcc -O2 -c -o gcc.o source.c && cat gcc.o'),
    'script': ('node', 'node script.js'),
}
LOAD = f'''{debian.MOUNT}mount -t ext4 /dev/vdb /mnt/disk
{debian.CHROOT}/usr/bin/sh -c 'cd /tmp && ./load {{}}' </dev/ttyS0 >/dev/ttyS0 2>&1
echo "soak end"
dmesg -r
cat /proc/interrupts
'''


class Soak:
    def __init__(self, directory, args):
        self.directory, self.args = directory, args
        self.begin = self.last = time.monotonic()
        self.exchanges = []  # (host's time before, after, guest's), nanoseconds
        self.pauses = []  # (from, to), seconds of the host's clock
        self.turns = {}  # worker: [count, host's time of the last change, longest time still]
        self.sums = {}
        self.memory = []  # (host's time, KiB)
        self.violations = []
        self.forgiven = 0
        self.asked = None
        self.asleep = 0
        self.tail = []

    def start(self):
        guest, names = self.args.guest, []
        inputs = os.path.join(self.directory, 'input')
        os.makedirs(inputs)
        debian.write_source(f'{inputs}/source.c', 300)
        shutil.copy(os.path.join(HERE, 'script.js'), inputs)
        subprocess.run(['cc', '-O2', '-static', '-o', f'{inputs}/load', f'{HERE}/load.c'], check=True)
        for name, (program, _) in COMMANDS.items():
            if debian.parts(program):
                names.append(name)
            else:
                print(f'skipped {name}: {program} is not installed')
        image = debian.make_image(self.directory, [COMMANDS[n][0] for n in names], inputs)
        disk = os.path.join(self.directory, 'disk.img')
        subprocess.run(['mke2fs', '-q', '-F', '-t', 'ext4', disk, '128M'], check=True, stdout=subprocess.DEVNULL,
                       env=dict(os.environ, PATH=debian.PATH))
        words = ' '.join(f'"{n}={COMMANDS[n][1]}"' for n in names)
        initrd = debian.add_initrd(guest, self.directory, {}, LOAD.format(words))
        self.p = subprocess.Popen(
            [self.args.bhyve, '-c', '2', '-m', f'{MEMORY_MIB}M', '-s', '0,hostbridge', '-s', f'3,virtio-blk,{image}',
             '-s', f'4,virtio-blk,{disk}', '-s', '5,virtio-rnd', '-s', '31,lpc', '-l', 'com1,stdio',
             '-o', f'cpu.engine={self.args.engine}', '-o', f'boot.kernel={guest}/vmlinuz', '-o', f'boot.initrd={initrd}',
             '-o', 'boot.cmdline=console=ttyS0 loglevel=4 panic=-1 rdinit=/addedinit', f'soak{os.getpid()}'],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0)

    def lines(self, until):
        """What the guest prints until @until (host's seconds), or None each time nothing came for a while."""
        buffer = b''
        with selectors.DefaultSelector() as selector:
            selector.register(self.p.stdout, selectors.EVENT_READ)
            while time.monotonic() < until:
                ready = selector.select(0.1)
                self.look_for_pause()
                data = os.read(self.p.stdout.fileno(), 65536) if ready else None
                if data == b'':
                    return
                buffer += data or b''
                *complete, buffer = buffer.split(b'\n')
                for line in complete:
                    text = line.decode(errors='replace').strip('\r')
                    self.tail = self.tail[-30:] + [text]
                    yield text
                if not ready:
                    yield None

    def look_for_pause(self):
        now = time.monotonic()
        if now - self.last > PAUSE_SECONDS:
            self.pauses.append((self.last, now))
        self.last = now

    def paused_within(self, begin, end):
        return any(a < end and b > begin - AFTER_PAUSE for a, b in self.pauses)

    def violation(self, text, seconds=0.0):
        """@text happened in the last @seconds, unless a pause explains it."""
        now = time.monotonic()
        if self.paused_within(now - seconds - 1, now):
            self.forgiven += 1
        else:
            self.violations.append(text)
            print(f'{now - self.begin:8.1f} s: {text}', flush=True)

    def ask(self):
        if self.asked is None:
            self.asked = time.monotonic_ns()
            os.write(self.p.stdin.fileno(), b'c')

    def take_clock(self, words):
        after = time.monotonic_ns()
        before, self.asked = self.asked, None
        self.exchanges.append((before, after, int(words[0])))
        for name, count in zip(self.turns, words[1:]):
            turn = self.turns[name]
            if turn[0] != int(count):
                self.turns[name] = [int(count), after / 1e9, turn[2]]
            else:
                turn[2] = max(turn[2], after / 1e9 - turn[1])

    def take(self, line):
        words = line.split()
        if words[:2] == ['soak', 'clock']:
            self.take_clock(words[2:])
        elif words[:2] == ['soak', 'workers']:
            self.turns = {name: [0, time.monotonic(), 0.0] for name in words[2:]}
        elif words[:2] == ['soak', 'sum']:
            self.sums[words[2]] = words[3]
        elif words[:2] == ['soak', 'late']:
            self.violation(f'{words[2]} was late by {words[3]} s', float(words[3]))
        elif words[:2] == ['soak', 'wrong']:
            self.violations.append(f'{words[2]}: wrong {" ".join(words[3:])}')

    def look_at_workers(self):
        now = time.monotonic()
        for name, turn in self.turns.items():
            if now - turn[1] > STILL_SECONDS:
                self.violation(f'{name} stands still', now - turn[1])
                turn[1] = now

    def load(self):
        """The load itself; False if the guest ended."""
        next_second = 0.0
        for line in self.lines(self.begin + 60 * self.args.minutes):
            if line is not None:
                self.take(line)
            now = time.monotonic()
            if self.turns and now >= next_second:
                next_second = now + 1
                self.ask()
                self.look_at_workers()
                if int(now) % 10 == 0:
                    self.memory.append((now, process_kib(self.p.pid)))
        return self.p.poll() is None

    def end(self):
        """Stops the load; judges what the kernel had to say."""
        os.write(self.p.stdin.fileno(), b'q')
        interrupts, start = [], self.exchanges[0][2] / 1e9 if self.exchanges else 0.0
        for line in self.lines(time.monotonic() + 120):
            message = re.match(r'<(\d+)>\[ *([0-9.]+)\] (.*)', line or '')
            if message and int(message[1]) % 8 <= 4 and float(message[2]) > start:
                self.kernel_message(float(message[2]), message[3])
            elif re.match(r' *(LOC|RES|TLB|ERR|MIS|NMI): ', line or ''):
                interrupts.append(' '.join(line.split()[:3]))
                if re.match(r' *(ERR|MIS): +[1-9]', line):
                    self.violation(line.strip())
        if self.p.wait() != 1:
            self.violation(f'bhyve ended with status {self.p.returncode}')
        print('interrupts: ' + ', '.join(interrupts))

    def kernel_message(self, at, text):
        """@at is the guest's clock."""
        host = at + (self.exchanges[-1][1] - self.exchanges[-1][2]) / 1e9
        if self.paused_within(host - 1, host):
            self.forgiven += 1
        else:
            self.violations.append(f'kernel: [{at}] {text}')

    def drift(self):
        """(ppm, its uncertainty), from the tightest exchanges of the first and the last quarter."""
        tight = sorted(self.exchanges)
        quarter = max(1, len(tight) // 4)
        first, last = (min(part, key=lambda e: e[1] - e[0]) for part in (tight[:quarter], tight[-quarter:]))
        apart = (last[0] + last[1] - first[0] - first[1]) / 2
        if apart <= 0:
            return 0.0, float('inf')
        ppm = 1e6 * (last[2] - first[2] - apart) / apart
        return ppm, 1e6 * (last[1] - last[0] + first[1] - first[0]) / 2 / apart

    def judge(self):
        print('turns: ' + ', '.join(f'{n} {t[0]} ({t[2]:.0f} s still)' for n, t in self.turns.items()))
        for name, turn in self.turns.items():
            if turn[0] == 0:
                self.violations.append(f'{name} never came to an end')
        ppm, unsure = self.drift() if self.exchanges else (0.0, float('inf'))
        trips = sorted(e[1] - e[0] for e in self.exchanges)
        print(f'clock: {ppm:+.2f} ppm, give or take {unsure:.2f}, of {len(trips)} exchanges, '
              f'median {trips[len(trips) // 2] / 1e6 if trips else 0:.1f} ms')
        if abs(ppm) - unsure > DRIFT_PPM:
            self.violations.append(f'the clock drifts by {ppm:.1f} ppm')
        self.judge_memory()
        print(f'pauses: {len(self.pauses)}, {sum(b - a for a, b in self.pauses):.0f} s; forgiven: {self.forgiven}')

    def judge_memory(self):
        """
        From the end of the first quarter on, when caches are warm, the most of a third against the most of the last: whenever a
        process ends some megabytes are given back, until the next one is as old.
        """
        warm = [kib for _, kib in self.memory[len(self.memory) // 4:]]
        if len(warm) < 2:
            return
        third = max(len(warm) // 3, 1)
        first, last = max(warm[:third]), max(warm[-third:])
        print(f'memory beyond the guest\'s: {first} KiB warm, {last} KiB at the end')
        if last - first > GROWTH_KIB:
            self.violations.append(f'the process grew by {last - first} KiB')

    def compare_outputs(self):
        """The commands print here what they printed there."""
        where = os.path.join(self.directory, 'input')
        for name, found in self.sums.items():
            out = subprocess.run(COMMANDS[name][1], shell=True, cwd=where, stdout=subprocess.PIPE, check=True,
                                 env={'PATH': '/usr/bin:/bin', 'LC_ALL': 'C'}).stdout
            total = 0xcbf29ce484222325
            for byte in out:
                total = (total ^ byte) * 0x100000001b3 & 0xffffffffffffffff
            if f'{total:016x}' != found:
                self.violations.append(f'{name} prints something else on the host')


def process_kib(pid):
    """Resident memory outside the guest's, wherever that is mapped, and outside the code cache, which has a fixed size."""
    with open(f'/proc/{pid}/smaps', encoding='ascii') as f:
        lines = [(re.match(r'([0-9a-f]+)-([0-9a-f]+) \S+ \S+ (\S+ \d+)', line), line) for line in f]
    guest = {head[3] for head, _ in lines if head and int(head[2], 16) - int(head[1], 16) == MEMORY_MIB << 20}
    total, skip = 0, False
    for head, line in lines:
        if head:
            skip = 'bhyve-code' in line or (head[3] in guest and not head[3].endswith(' 0'))
        elif line.startswith('Rss:') and not skip:
            total += int(line.split()[1])
    return total


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument('--bhyve', default=os.path.join(TOP, 'build/bhyve'))
    p.add_argument('--guest', default=os.path.join(TOP, 'build/guest'), help='directory made by tools/guest.sh')
    p.add_argument('--engine', default='soft')
    p.add_argument('--minutes', type=float, default=30)
    args = p.parse_args()
    with tempfile.TemporaryDirectory(prefix='bhyve-soak.') as directory:
        soak = Soak(directory, args)
        soak.start()
        try:
            if soak.load():
                soak.end()
            else:
                soak.violation(f'the guest ended early: bhyve has status {soak.p.poll()}')
        finally:
            soak.p.kill()
        soak.judge()
        soak.compare_outputs()
        if soak.violations:
            print('\n'.join(soak.tail[-10:] if soak.p.returncode != 1 else []))
            print('\n'.join('violation: ' + v for v in soak.violations))
    print('soak: ' + (f'{len(soak.violations)} violations' if soak.violations else 'nothing to complain of'))
    return 1 if soak.violations else 0


sys.exit(main())
