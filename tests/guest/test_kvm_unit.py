#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""Runs kvm-unit-tests (the upstream suite, built elsewhere) on a CPU engine.

    KVM_UNIT_TESTS=DIR [ENGINE=soft] [BUILD=build] tests/guest/test_kvm_unit.py [TEST...]

DIR is a built tree; its x86/unittests.cfg says what to run and on what processor.
Tests of features that no engine here offers, and those that need what is not there,
are named skips.  KNOWN lists what is expected to fail, each with its reason: one of
them passing is a failure of this list.
"""
import os
import re
import subprocess
import sys
import tempfile

TOP = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
BHYVE = os.path.join(TOP, os.environ.get('BUILD', 'build'), 'bhyve')
ENGINE = os.environ.get('ENGINE', 'soft')
TREE = os.environ.get('KVM_UNIT_TESTS')
TIMEOUT = int(os.environ.get('KUT_TIMEOUT', '90'))

# Seconds for tests of millions of cases.
SLOW = {'access': 1800, 'x2apic': 300, 'xapic': 300, 'sieve': 600}

# The exit port's status: (code << 1) | 1.
PASSED, SKIPPED = 1, 77

NOT_OFFERED = {
    r'vmx|ept|svm|nested': 'nested virtualisation is not offered',
    r'hyperv': "Hyper-V's interface is not offered",
    r'vmexit': 'measures a hypervisor, has no result',
    r'vmware': "VMware's port is not offered",
    r'access_fep|force': 'needs the forced emulation of KVM',
    r'intel[-_]iommu|edid|asyncpf|kvmclock|pvclock': 'a device or interface that is not offered',
    r'pmu_': 'performance counters are not offered',
    r'access-reduced': 'the width of physical addresses is fixed',
    r'port80': 'measures time, has no result',
    r's3$': 'sleep states are not offered',
}

# Tests that leave out what KVM only does (VMCALL) where the environment has TEST_DEVICE=0.
WITHOUT_KVM = {'xapic', 'x2apic'}

KNOWN = {
    'hypercall': 'expects KVM to answer VMCALL',
}


def parse(path):
    """[(name, {key: value})] of unittests.cfg."""
    tests = []
    for line in open(path, encoding='utf-8'):
        line = line.split('#')[0].strip()
        section = re.fullmatch(r'\[(.*)\]', line)
        if section:
            tests.append((section.group(1), {}))
        elif '=' in line and tests:
            key, value = line.split('=', 1)
            tests[-1][1][key.strip()] = value.strip().strip('"\'')
    return tests


def model(params):
    """cpu.model for a -cpu option; None if it asks for what is not offered."""
    found = re.search(r'-cpu (\S+)', params)
    words = found.group(1).split(',')[1:] if found else []
    spec = ['max']
    for word in words:
        if word[0] in '+-':
            name = word[1:].replace('tsc-deadline', 'tsc_deadline_timer')
            spec.append(word[0] + name)
        elif word.startswith('vendor='):
            spec.append(word)
    return ','.join(spec)


def reason_to_skip(name, keys):
    for pattern, why in NOT_OFFERED.items():
        if re.match(pattern, name):
            return why
    if not os.path.exists(os.path.join(TREE, 'x86', keys['file'])):
        return 'not built for this width'
    return None


def memory(params):
    found = re.search(r'-m (\d+)(g?)', params)
    return f"{found.group(1)}{found.group(2).upper() or 'M'}" if found else '256M'


def environment(name, directory):
    """The options that give a test its environment, a file that is module 0."""
    if name not in WITHOUT_KVM:
        return []
    path = os.path.join(directory, 'env')
    with open(path, 'w', encoding='ascii') as f:
        f.write('TEST_DEVICE=0\n')
    return ['-o', 'boot.initrd=' + path]


def run(name, keys, directory):
    params = keys.get('qemu_params', keys.get('extra_params', ''))
    args = [BHYVE, '-c', keys.get('smp', '1'), '-m', memory(params), '-s', '0,hostbridge', '-s', '31,lpc',
            '-l', 'com1,stdio', '-l', 'pc-testdev', '-l', 'fwcfg,qemu', '-o', 'cpu.engine=' + ENGINE,
            '-o', 'cpu.model=' + model(params), '-o', 'boot.kernel=' + os.path.join(TREE, 'x86', keys['file']),
            '-o', 'boot.cmdline=' + keys.get('test_args', ''), *environment(name, directory), 'kut-' + re.sub(r'\W', '-', name)]
    try:
        p = subprocess.run(args, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                           timeout=max(TIMEOUT, int(keys.get('timeout', '0')), SLOW.get(name, 0)),
                           env=dict(os.environ, BHYVE_RUN=directory))
    except subprocess.TimeoutExpired as e:
        return 'failed', (e.stdout or b'').decode(errors='replace'), 'no end'
    out = p.stdout.decode(errors='replace')
    result = {PASSED: 'passed', SKIPPED: 'skipped'}.get(p.returncode, 'failed')
    return result, out, f"{len(re.findall('^PASS', out, re.M))} cases" if result == 'passed' else f'status {p.returncode}'


def judge(name, result, note, out):
    """The result as the list of known failures sees it."""
    if name in KNOWN:
        return ('skipped', 'known: ' + KNOWN[name]) if result == 'failed' else (result, note)
    if result == 'failed':
        bad = [line for line in out.splitlines() if line.startswith(('FAIL', 'Unhandled', 'bhyve:'))]
        note += ''.join('\n    ' + line for line in bad[:10] + (['...'] if bad[10:] else []))
    return result, note


def main():
    if not TREE:
        print('skipped kvm-unit-tests: KVM_UNIT_TESTS does not name a built tree')
        print('0 passed, 0 failed, 1 skipped')
        return 0
    counts = {'passed': 0, 'failed': 0, 'skipped': 0}
    with tempfile.TemporaryDirectory() as directory:
        for name, keys in parse(os.path.join(TREE, 'x86', 'unittests.cfg')):
            if sys.argv[1:] and name not in sys.argv[1:]:
                continue
            why = reason_to_skip(name, keys)
            if why:
                result, note = 'skipped', why
            else:
                result, out, note = run(name, keys, directory)
                result, note = judge(name, result, note, out)
            counts[result] += 1
            print(f'{result} {name}: {note}', flush=True)
    print('{passed} passed, {failed} failed, {skipped} skipped'.format(**counts))
    return 1 if counts['failed'] else 0


sys.exit(main())
