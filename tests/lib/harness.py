# SPDX-License-Identifier: BSD-2-Clause
"""What the Python tests share: where programs are, running bhyve, counting.

A test is a function named test_CASE; main() runs those of the caller's module and
ends with "N passed, N failed, N skipped".  raise Skip('why') skips.
"""
import atexit
import os
import re
import shutil
import subprocess
import sys
import tempfile
import traceback

TOP = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
BUILD = os.path.join(TOP, os.environ.get('BUILD', 'build'))
GUEST = os.path.join(TOP, os.environ.get('GUEST', 'build/guest'))
ENGINE = os.environ.get('ENGINE', 'auto')
BHYVE = os.path.join(BUILD, 'bhyve')
BHYVECTL = os.path.join(BUILD, 'bhyvectl')

WORK = tempfile.mkdtemp(prefix='bhyve-test.')
atexit.register(shutil.rmtree, WORK, ignore_errors=True)
ENV = dict(os.environ, BHYVE_RUN=os.path.join(WORK, 'run'))
ENV.pop('XDG_RUNTIME_DIR', None)


class Skip(Exception):
    pass


def kvm_kind():
    """'hardware', 'software' (a /dev/kvm without VT-x and SVM behind it), or '' where there is none that may be used."""
    if not os.access('/dev/kvm', os.R_OK | os.W_OK):
        return ''
    with open('/proc/cpuinfo', encoding='ascii', errors='replace') as info:
        return 'hardware' if re.search(r'^flags.*\b(vmx|svm)\b', info.read(), re.M) else 'software'


def path(name):
    return os.path.join(WORK, name)


def file(name, data=b''):
    with open(path(name), 'wb') as f:
        f.write(data)
    return path(name)


def run(program, *args, timeout=60, env=None):
    """(status, standard output, standard error); the status is negative for a signal."""
    p = subprocess.run([program, *map(str, args)], stdin=subprocess.DEVNULL, capture_output=True,
                       timeout=timeout, env=dict(ENV, **(env or {})))
    return p.returncode, p.stdout.decode(errors='replace'), p.stderr.decode(errors='replace')


def shim(words):
    """The environment of a bhyve whose KVM is as @words (see kvm_shim.c) say."""
    if not os.path.exists(path('shim.so')):
        subprocess.run(['cc', '-shared', '-fPIC', '-O1', '-D_GNU_SOURCE', '-Wall', '-Wextra', '-Werror', '-o',
                        path('shim.so'), os.path.join(TOP, 'tests', 'lib', 'kvm_shim.c')], check=True)
    return {'LD_PRELOAD': path('shim.so'), 'KVM_SHIM': words, 'ASAN_OPTIONS': 'verify_asan_link_order=0'}


def start(*args, **kw):
    return subprocess.Popen([BHYVE, *map(str, args)], stdin=subprocess.DEVNULL, env=ENV, **kw)


# How a kernel with "-l pc-testdev" says how it went: it goes to good or bad, and bhyve exits with GOOD for the one.
VERDICT = '''
good:   movb $0x10, %al
        outb %al, $0xf4
bad:    movb $0x20, %al
        outb %al, $0xf4
'''
GOOD = 0x10 << 1 | 1


def assemble(name, text):
    """A 32-bit Multiboot kernel from assembly with a _start."""
    source = file(name + '.S', ('''
        .section .multiboot, "a"
        .long 0x1badb002, 0, -0x1badb002
        .text
        .code32
        .globl _start
''' + text + '\n.section .note.GNU-stack, "", @progbits\n').encode())
    subprocess.run(['cc', '-m32', '-c', '-o', path(name + '.o'), source], check=True)
    subprocess.run(['ld', '-m', 'elf_i386', '-N', '--no-warn-rwx-segments', '-Ttext=0x100010',
                    '--section-start=.multiboot=0x100000', '-e', '_start', '-o', path(name), path(name + '.o')],
                   check=True)
    return path(name)


def instances():
    return sorted(os.listdir(ENV['BHYVE_RUN'])) if os.path.isdir(ENV['BHYVE_RUN']) else []


def main(module):
    counts = {'passed': 0, 'failed': 0, 'skipped': 0}
    only = sys.argv[1:]
    for name, fn in sorted(vars(module).items()):
        if not name.startswith('test_') or not callable(fn) or (only and name not in only):
            continue
        try:
            fn()
            result, note = 'passed', ''
        except Skip as why:
            result, note = 'skipped', f': {why}'
        except Exception:  # pylint: disable=broad-except
            result, note = 'failed', '\n' + traceback.format_exc(limit=-2)
        counts[result] += 1
        print(f'{result} {name}{note}', flush=True)
    print('{passed} passed, {failed} failed, {skipped} skipped'.format(**counts))
    sys.exit(1 if counts['failed'] else 0)
