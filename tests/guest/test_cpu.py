#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""Builds the processor test guests and runs them on every CPU engine that the host has.

Each "ok NAME" of a guest is one test passed.  On the soft engine they run again with a code cache
that is too small for them.
"""
import os
import re
import subprocess
import sys
import tempfile

TOP = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
BHYVE = os.path.join(TOP, os.environ.get('BUILD', 'build'), 'bhyve')
HERE = os.path.join(TOP, 'tests', 'guest')
CFLAGS = ['-O1', '-std=gnu17', '-Wall', '-Wextra', '-Werror', '-ffreestanding', '-fno-pic', '-mno-red-zone',
          '-mgeneral-regs-only', '-fno-stack-protector', '-fcf-protection=none', '-fno-strict-aliasing',
          '-Wno-array-bounds']
# Name, and how its code is compiled; both link as cpu.ld says.
GUESTS = {'cpu64': [], 'cpu32': ['-m32', '-march=i686']}


def build(name, directory):
    """A Multiboot kernel: a 32-bit ELF file, whatever the width of its code."""
    objects = []
    for source in (name + '_start.S', name + '.c'):
        objects.append(os.path.join(directory, source + '.o'))
        subprocess.run(['cc', *CFLAGS, *GUESTS[name], '-c', '-o', objects[-1], os.path.join(HERE, source)], check=True)
    elf = os.path.join(directory, name)
    subprocess.run(['ld', '-n', '--no-warn-rwx-segments', '-T', os.path.join(HERE, 'cpu.ld'), '-o', elf + '.elf',
                    *(['-m', 'elf_i386'] if GUESTS[name] else []), *objects], check=True)
    subprocess.run(['objcopy', '-O', 'elf32-i386', elf + '.elf', elf], check=True)
    return elf


def engines():
    """soft, and kvm where it is the processor's own."""
    yield 'soft', None
    with open('/proc/cpuinfo', encoding='ascii', errors='replace') as info:
        virtual = re.search(r'^flags.*\b(vmx|svm)\b', info.read(), re.M)
    yield 'kvm', None if virtual and os.access('/dev/kvm', os.R_OK | os.W_OK) else 'no hardware virtualisation'


# Further settings for another run, by engine.
AGAIN = {'soft': {'with a small code cache': ['soft.cache_size=1M', 'soft.stats=true']}}


def run(elf, engine, directory, settings=()):
    """(tests passed, tests failed, what bhyve and the guest printed)"""
    p = subprocess.run([BHYVE, '-m', '128M', '-s', '0,hostbridge', '-s', '31,lpc', '-l', 'com1,stdio', '-l',
                        'pc-testdev', '-o', 'cpu.engine=' + engine, '-o', 'boot.kernel=' + elf,
                        *(x for s in settings for x in ('-o', s)), 'cpu-test'],
                       stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=120,
                       env=dict(os.environ, BHYVE_RUN=directory))
    out = p.stdout.decode(errors='replace')
    bad = re.findall(r'^not ok .*', out, re.M)
    for line in bad:
        print(f'failed {engine}: {line.strip()}')
    if p.returncode != 1 or 'all passed' not in out:
        print(f'failed {engine}: status {p.returncode}; the guest said last: {out.splitlines()[-1:]}')
        bad = bad or ['no end']
    return len(re.findall(r'^ok ', out, re.M)), len(bad), out


def check_evictions(name, out):
    """The small cache of cpu64 must have overflowed, or the run shows nothing.  Tests failed: 0 or 1."""
    found = re.search(r'soft\.evictions (\d+)', out)
    if name != 'cpu64' or (found and int(found[1]) > 10):
        return 0
    print(f'failed {name}: the code cache never overflowed: {found}')
    return 1


def main():
    passed = failed = skipped = 0
    with tempfile.TemporaryDirectory() as directory:
        for name in GUESTS:
            elf = build(name, directory)
            for engine, why in engines():
                if why:
                    print(f'skipped {name} on {engine}: {why}')
                    skipped += 1
                    continue
                good, bad, _ = run(elf, engine, os.path.join(directory, 'run'))
                passed += good
                failed += bad
                for what, settings in AGAIN.get(engine, {}).items():
                    good, bad, out = run(elf, engine, os.path.join(directory, 'run'), settings)
                    print(f'{name} {what}: {good} passed')
                    passed += good
                    failed += bad + check_evictions(name, out)
    print(f'{passed} passed, {failed} failed, {skipped} skipped')
    return 1 if failed else 0


sys.exit(main())
