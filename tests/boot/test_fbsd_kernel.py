#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""bhyveload and bhyve with a kernel that checks all a FreeBSD kernel demands of its loader.

tests/guest/fbsd_kernel.c is built for amd64 and i386, loaded with a module that depends on
another and a memory image, and run; what it prints is compared value by value.
Where FREEBSD_KERNEL, FREEBSD_ROOT or FREEBSD_ISO name real ones, those are booted too.
Runs on software KVM too.
"""
import os
import re
import select
import subprocess
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), '..'))
from lib.fbsd import BHYVELOAD, stage, ufs  # noqa: E402
from lib.harness import BHYVE, ENGINE, ENV, Skip, main, path  # noqa: E402

MEMORY = 64


def load(*args, keys=''):
    if not keys:
        args += ('-e', 'autoboot_delay=-1')
    p = subprocess.run([BHYVELOAD, '-m', f'{MEMORY}M', *args, 'fk'], input=keys.encode(), capture_output=True,
                       timeout=60, env=ENV)
    return p.returncode, p.stdout.decode(), p.stderr.decode()


def run_guest(*args, timeout=120):
    p = subprocess.run([BHYVE, '-o', f'cpu.engine={ENGINE}', '-m', f'{MEMORY}M', '-A', '-H', '-s', '0,hostbridge',
                        '-s', '31,lpc', '-l', 'com1,stdio', *args, 'fk'], stdin=subprocess.DEVNULL,
                       capture_output=True, timeout=timeout, env=ENV)
    return p.returncode, p.stdout.decode(errors='replace').replace('\r', ''), p.stderr.decode(errors='replace')


def fields(line):
    return {k: int(v, 16) for k, v in re.findall(r' (\w+)=([0-9a-f]+)', line)}


def boot(width, *args, keys=''):
    status, said, errors = load(*args, keys=keys)
    assert status == 0, (status, said, errors)
    status, out, errors = run_guest()
    assert status == 1, (status, out, errors)
    assert 'done: all read' in out, out + errors
    assert f'width: bits={width:x}\n' in out, out
    return said, out.splitlines()


def only(lines, name):
    found = [line for line in lines if line.startswith(name + ':')]
    assert len(found) == 1, (name, found)
    return fields(found[0])


def check_common(width, said, lines, prefix=''):
    word = width // 8
    kernel = f'{prefix}/boot/kernel/kernel'
    assert only(lines, 'image') == {'bss': 0, 'data': 0x600df00d}
    assert only(lines, 'end') == {'kernend': 1}
    assert only(lines, 'kernend') == {'same': 1}
    symbols = only(lines, 'symbols')
    assert symbols['symtab'] == 1 and symbols['found'] >= 1 and symbols['end'] == 1, symbols
    assert [fields(x) for x in lines if x.startswith('smap:')] == [
        {'base': 0, 'len': 640 << 10, 'type': 1}, {'base': 1 << 20, 'len': (MEMORY - 1) << 20, 'type': 1}]
    env = [x[5:] for x in lines if x.startswith('env: ')]
    for want in ('kern.test=two words', 'smbios.bios.vendor=BHYVE', 'boot_serial=1', f'kernelname={kernel}',
                 'vfs.root.mountfrom=ufs:/dev/ufs/root', 'vfs.root.mountfrom.options=rw,noatime', 'from.e=1'):
        assert want in env, (want, env)
    assert env == sorted(env, key=lambda x: x.split('=')[0])
    records = [x for x in lines if x.startswith('record:')]
    types = [fields(x)['type'] for x in records]
    module = [1, 2, 3, 4, 0x8002, 0x8009] if width == 64 else None
    head = [1, 2, 3, 4, 0x9001, 0x8008, 0x8006, 0x8007, 0x8002, 0x8004, 0x8003, 0x8009]
    assert types[:len(head)] == head, [hex(t) for t in types]
    if module:
        upper = [1, 2, 6] + module[2:]
        assert types[len(head):] == upper + module + [1, 2, 3, 4], [hex(t) for t in types]
    names = [x.split(' ', 3)[3] for x in records if fields(x)['type'] in (1, 2, 6)]
    kind = 'elf obj module' if width == 64 else 'elf module'
    assert names == [kernel, 'elf kernel', '/boot/modules/upper.ko', kind, 'debug=1', '/boot/kernel/lower.ko', kind,
                     '/boot/image', 'mfs_root'], names
    for x in records:
        if fields(x)['type'] in (3, 4):
            assert fields(x)['len'] == word, x
    howto = [fields(x)['value'] for x in records if fields(x)['type'] == 0x8007]
    assert howto == [0x1800], howto  # serial, verbose
    first = [fields(x)['at'] for x in lines if x.startswith('bytes:')]
    assert first[3] == int.from_bytes(b'IMAG', 'little'), first
    if width == 64:
        assert first[1] == first[2] == 0x0c0ffee0, first
    assert "loading required module 'lower'" in said, said


def test_amd64():
    said, lines = boot(64, '-h', stage(64), '-e', 'from.e=1')
    entry = only(lines, 'entry')
    assert entry.pop('cr0') | 0x10 == 0x80000031
    assert entry == {'sp': 0x1000, 'cr3': 0x2000, 'cr4': 0x20, 'flags': 2, 'cs': 8, 'ds': 0x10, 'ss': 0x10,
                     'gdt': 0x5000, 'limit': 23}, entry
    assert only(lines, 'pagetables') == {'bad': 0}
    check_common(64, said, lines)


def test_i386():
    said, lines = boot(32, '-h', stage(32), '-e', 'from.e=1')
    entry = only(lines, 'entry')
    assert entry.pop('cr0') | 0x10 == 0x31
    assert entry == {'sp': 0x2000 - 36, 'cr3': 0, 'cr4': 0, 'flags': 2, 'cs': 8, 'ds': 0x10, 'ss': 0x10,
                     'gdt': 0x3000, 'limit': 31}, entry
    assert only(lines, 'stack') == {'return': 0xbeefface, 'howto': 0x80001800, 'bootdev': 0, 'fifth': 0}
    assert only(lines, 'bootinfo') == {'version': 1, 'size': 136, 'basemem': 640, 'extmem': (MEMORY - 1) << 10}
    assert only(lines, 'same') == {'modulep': 1, 'kernend': 1}
    check_common(32, said, lines)


def test_amd64_from_ufs():
    image = ufs('root.img', stage(64))
    said, lines = boot(64, '-d', image, '-e', 'from.e=1')
    check_common(64, said, lines)


def test_prompt_from_host():
    top = stage(64)
    said, lines = boot(64, '-h', top, '-e', 'autoboot_delay=NO',
                       keys='unload\rload host0:/boot/kernel/kernel\rboot -s\r')
    assert re.search(r'host0:/boot/kernel/kernel text=0x[0-9a-f]+ data=0x[0-9a-f]+\+0x[0-9a-f]+ '
                     r'syms=\[0x8\+0x[0-9a-f]+\+0x8\+0x[0-9a-f]+\]\n', said), said


def test_too_large_for_memory():
    top = path('large')
    os.makedirs(f'{top}/boot/kernel')
    with open(f'{stage(64)}/boot/kernel/kernel', 'rb') as f:
        image = bytearray(f.read())
    image[64 + 56 + 40:64 + 56 + 48] = (1 << 33).to_bytes(8, 'little')  # p_memsz of the second segment
    with open(f'{top}/boot/kernel/kernel', 'wb') as f:
        f.write(image)
    status, said, _ = load('-h', top)
    assert status == 1
    assert "'/boot/kernel/kernel': it does not fit into the guest's memory (64 MB)" in said, said


def real(variable):
    name = os.environ.get(variable)
    if not name:
        raise Skip(f'{variable} names none')
    return name


def boot_real(*args, run=(), want='The FreeBSD Project', timeout=200):
    """Boots a real kernel until it has printed @want."""
    status, said, errors = load('-m', '512M', *args, keys='\r')
    assert status == 0, said + errors
    p = subprocess.Popen([BHYVE, '-o', f'cpu.engine={ENGINE}', '-m', '512M', '-A', '-H', '-s', '0,hostbridge',
                          '-s', '31,lpc', '-l', 'com1,stdio', *run, 'fk'], stdin=subprocess.PIPE,
                         stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env=ENV)
    out, end = b'', time.monotonic() + timeout
    while want.encode() not in out and time.monotonic() < end:
        if select.select([p.stdout], [], [], 1)[0]:
            got = os.read(p.stdout.fileno(), 4096)
            if not got:
                break
            out += got
    p.kill()
    p.communicate()
    assert want.encode() in out, out.decode(errors='replace')


def test_freebsd_kernel():
    kernel = real('FREEBSD_KERNEL')
    hints = [f'hint.uart.0.{x}' for x in ('at=isa', 'port=0x3F8', 'flags=0x10', 'irq=4')]
    boot_real('-h', os.path.dirname(kernel), '-e', 'bootfile=host0:/' + os.path.basename(kernel),
              *[x for hint in hints for x in ('-e', hint)])


def test_freebsd_root():
    root = real('FREEBSD_ROOT')
    boot_real('-d', root, run=('-s', f'2,virtio-blk,{root},ro'), want='Trying to mount root from')


def test_freebsd_iso():
    iso = real('FREEBSD_ISO')
    boot_real('-d', iso, run=('-s', f'2,ahci-cd,{iso}'), want='Trying to mount root from')


if __name__ == '__main__':
    main(sys.modules[__name__])
