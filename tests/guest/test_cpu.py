#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""Builds the processor test guests and runs them on every CPU engine that the host has.

Each "ok NAME" of a guest is one test passed, and so is each "is WHAT VALUE" that another engine says as the first did.
On the soft engine they run again with a code cache that is too small for them, and with every block checked against
its instructions one by one.  What one engine says, all must say.
"""
import glob
import os
import re
import subprocess
import sys
import tempfile

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), '..'))
from lib.harness import BHYVE, TOP, file, kvm_kind, path, shim  # noqa: E402

HERE = os.path.join(TOP, 'tests', 'guest')
CFLAGS = ['-O1', '-std=gnu17', '-Wall', '-Wextra', '-Werror', '-ffreestanding', '-fno-pic', '-mno-red-zone',
          '-mgeneral-regs-only', '-fno-stack-protector', '-fcf-protection=none', '-fno-strict-aliasing',
          '-Wno-array-bounds']
# Name: the entry's file, how its code is compiled (all link as cpu.ld says), the exit status when all went well,
# and why software KVM cannot run it.
GUESTS = {
    'cpu64': ('cpu64_start.S', [], 1, 'it does not emulate INT3'),
    'cpu32': ('cpu32_start.S', ['-m32', '-march=i686'], 1, 'it does not emulate IRET in protected mode'),
    'platform': ('cpu64_start.S', [], 0, None),
    'virtio': ('cpu64_start.S', [], 0, None),
    'machine': ('cpu64_start.S', [], 0, None),
}
# Name of the engine, and what asks for it.
ENGINES = {
    'soft': ['cpu.engine=soft'],
    'soft with a small code cache': ['cpu.engine=soft', 'soft.cache_size=1M', 'soft.stats=true'],
    'soft, checked': ['cpu.engine=soft', 'soft.check=3', 'soft.stats=true'],
    'soft with mirrors from the start': ['cpu.engine=soft', 'soft.disable=tlb', 'soft.stats=true'],
    'soft with mirrors from the start, checked': ['cpu.engine=soft', 'soft.disable=tlb', 'soft.check=3', 'soft.stats=true'],
    'soft where addresses run out': ['cpu.engine=soft', 'soft.disable=tlb'],
    'kvm': ['cpu.engine=kvm', 'kvm.irqchip=split'],
    'kvm, virtio by eventfds or not at all': ['cpu.engine=kvm', 'kvm.irqchip=split'],
    'kvm without eventfds': ['cpu.engine=kvm', 'kvm.irqchip=split'],
    'kvm with local APICs in user space': ['cpu.engine=kvm', 'kvm.irqchip=user'],
}
# What of KVM is not as it is; see kvm_shim.c.  45 to 54 are the vectors of virtio devices, 0x3010 to 0x3310 the ports of
# their notifications; 32 is KVM_CAP_IRQFD, 79 KVM_IOEVENTFD.
SHIM = {
    'kvm, virtio by eventfds or not at all': 'lost=0x45,0x54 abort=0xfcff,0x3010',
    'kvm without eventfds': 'cap:32=0 fail:79=38',
}
# Bytes of addresses that the host gives, and what bhyve says of it: for one vCPU's table of mirrors, and not for a window.
FEW_ADDRESSES = {'soft where addresses run out': 60 << 30}
REFUSED = 'addresses for fast access to guest memory cannot be had'
# Name, engine, and what it must have counted.
COUNTED = {
    ('cpu64', 'soft with a small code cache'): {'evictions': 10},
    ('cpu64', 'soft, checked'): {'checked': 10000},
    ('cpu32', 'soft, checked'): {'checked': 100},
    ('cpu64', 'soft with mirrors from the start'): {'mirror_maps': 25},
    ('cpu64', 'soft with mirrors from the start, checked'): {'checked': 10000, 'mirror_maps': 25},
}


def build(name, directory):
    """A Multiboot kernel: a 32-bit ELF file, whatever the width of its code."""
    objects = []
    start, flags = GUESTS[name][:2]
    for source in (start, name + '.c', *glob.glob(name + '_*.c', root_dir=HERE)):
        objects.append(os.path.join(directory, source + '.o'))
        subprocess.run(['cc', *CFLAGS, *flags, '-c', '-o', objects[-1], os.path.join(HERE, source)], check=True)
    elf = os.path.join(directory, name)
    subprocess.run(['ld', '-n', '--no-warn-rwx-segments', '-T', os.path.join(HERE, 'cpu.ld'), '-o', elf + '.elf',
                    *(['-m', 'elf_i386'] if flags else []), *objects], check=True)
    subprocess.run(['objcopy', '-O', 'elf32-i386', elf + '.elf', elf], check=True)
    return elf


def why_not(name, engine):
    kind = kvm_kind()
    if engine.startswith('soft') or kind == 'hardware':
        return None
    return GUESTS[name][3] and 'software KVM: ' + GUESTS[name][3] if kind else 'there is no /dev/kvm'


def run(elf, engine, directory):
    """What the guest said, in lines, and what is wrong with how it ended."""
    options = [word for option in ENGINES[engine] for word in ('-o', option)]
    disk, cable = file('disk', bytes(1 << 20)), path('cable')
    limit = ['prlimit', f'--as={FEW_ADDRESSES[engine]}'] if engine in FEW_ADDRESSES else []
    p = subprocess.run(['timeout', '60', *limit, BHYVE, '-c', '3', '-m', '128M', '-s', '0,hostbridge', '-s', '4,virtio-rnd',
                        '-s', '5,virtio-blk,' + disk, '-s', '6,virtio-net,unix,path=' + cable,
                        '-s', '7,virtio-net,unix,path=' + cable, '-s', '31,lpc',
                        '-l', 'com1,stdio', '-l', 'pc-testdev', *options, '-o', 'boot.kernel=' + elf, 'cpu-test'],
                       stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                       env=dict(os.environ, BHYVE_RUN=directory, **(shim(SHIM[engine]) if engine in SHIM else {})))
    # Apart, so that bhyve's own lines do not come in the middle of the guest's.
    lines = (p.stdout + p.stderr).decode(errors='replace').splitlines()
    expected = GUESTS[os.path.basename(elf)][2]
    bad = [line for line in lines if line.startswith('not ok ')]
    if os.path.basename(elf) == 'virtio':
        with open(disk, 'rb') as image:
            if image.read()[3 * 512:7 * 512] != bytes((i * 7 + (i >> 8)) & 0xff for i in range(4 * 512)):
                bad.append('what the guest wrote is not in the image')
    if engine in FEW_ADDRESSES and os.path.basename(elf) == 'cpu64' and REFUSED not in '\n'.join(lines):
        bad.append(f'it was not said that {REFUSED}')
    if p.returncode != expected or 'all passed' not in lines:
        bad.append(f'status {p.returncode}, not {expected}; it was said last: {lines[-1:]}')
    return lines, bad


def too_few(name, engine, lines):
    """What an engine with special settings must have counted at least, or the run shows nothing."""
    for counter, least in COUNTED.get((name, engine), {}).items():
        found = re.search(rf'^soft\.{counter} (\d+)', '\n'.join(lines), re.M)
        if not found or int(found[1]) < least:
            return [f'{counter}: {found and found[1]}, not {least} or more']
    return []


def said(prefix, lines):
    return [line for line in lines if line.startswith(prefix)]


def differences(lines, reference):
    """Lines of @reference that are not in @lines; what the guest skipped need not be.  Of what is, neither may say more."""
    skipped = tuple('ok ' + line.split()[1].rstrip(':') for line in lines if line.startswith('skip '))
    more = set(said('is ', lines)) - set(reference) if reference else ()
    return [f'says nothing of: {line}' for line in said(('ok ', 'is '), reference)
            if line not in lines and not (skipped and line.startswith(skipped))] + [f'says besides: {line}' for line in more]


def main():
    passed = failed = skipped = 0
    with tempfile.TemporaryDirectory() as directory:
        for name in GUESTS:
            elf = build(name, directory)
            reference = []
            for engine in ENGINES:
                why = why_not(name, engine)
                if why:
                    print(f'skipped {name} on {engine}: {why}')
                    skipped += 1
                    continue
                lines, bad = run(elf, engine, os.path.join(directory, 'run'))
                bad += too_few(name, engine, lines)
                bad += differences(lines, reference)
                passed += len(said('ok ', lines)) + sum(line in lines for line in said('is ', reference))
                reference = reference or lines
                failed += len(bad)
                for line in bad:
                    print(f'failed {name} on {engine}: {line}')
    print(f'{passed} passed, {failed} failed, {skipped} skipped')
    return 1 if failed else 0


sys.exit(main())
