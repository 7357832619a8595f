#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""bhyveload's options, exit statuses, console and signals.

Runs on software KVM too.
"""
import os
import pty
import select
import shutil
import signal
import struct
import subprocess
import sys
import termios
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), '..', 'lib'))
import harness  # noqa: E402
from harness import BUILD, ENGINE, ENV, TOP, Skip, instances, path  # noqa: E402

BHYVELOAD = os.path.join(BUILD, 'bhyveload')


def load(*args, keys='', vm='bl'):
    p = subprocess.run([BHYVELOAD, *args, vm], input=keys.encode(), capture_output=True, timeout=30, env=ENV)
    return p.returncode, p.stdout.decode(), p.stderr.decode()


def host():
    os.makedirs(path('host'), exist_ok=True)
    return path('host')


def read_until(fd, text, seconds=10):
    out, end = b'', time.monotonic() + seconds
    while text not in out and time.monotonic() < end:
        if select.select([fd], [], [], 0.2)[0]:
            out += os.read(fd, 4096)
    assert text in out, out
    return out


def on_terminal():
    """bhyveload at its prompt on a terminal: the process, our end, the other end."""
    ours, theirs = pty.openpty()
    p = subprocess.Popen([BHYVELOAD, '-h', host(), 'bl'], stdin=theirs, stdout=theirs, stderr=theirs, env=ENV)
    read_until(ours, b'OK ')
    return p, ours, theirs


def test_bad_values_end_with_64():
    for args, word in ((('-m', '12Q'), '-m 12Q'), (('-m', '3'), '-m 3'), (('-e', 'novalue'), '-e novalue'),
                       (('-e', '=x'), '-e =x')):
        status, _, err = load(*args)
        assert status == 64 and word in err, (args, status, err)


def test_errors_name_the_thing_and_end_with_1():
    with open(path('fifo-less'), 'wb') as f:
        f.write(b'x' * 4096)
    for args, words in ((('-d', '/no/such'), ('/no/such', 'No such file')), (('-d', host()), ('Is a directory',)),
                        (('-h', 'relative'), ('-h relative', 'absolute')), (('-h', '/no/such'), ('-h /no/such',)),
                        (('-l', '/no/such.so'), ('/no/such.so',)), (('-c', '/no/such'), ('/no/such',))):
        status, _, err = load(*args)
        assert status == 1 and all(w in err for w in words) and len(err.splitlines()) == 1, (args, status, err)
    status, _, err = load('-Z')
    assert status == 1 and 'usage' in err


def test_quit_reboot_and_the_end_of_input():
    assert load('-h', host(), keys='quit\r')[0] == 1
    assert load('-h', host(), keys='reboot\r')[0] == 2
    assert load('-h', host())[0] == 1
    assert 'bl' in instances()


def test_a_disk_in_use_is_refused():
    disk = path('used.img')
    with open(disk, 'wb') as f:
        f.truncate(1 << 20)
    first = subprocess.Popen([BHYVELOAD, '-d', disk, 'one'], stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=ENV)
    read_until(first.stdout.fileno(), b'OK ')
    try:
        status, _, err = load('-d', disk, vm='two')
        assert status == 1 and disk in err and 'in use' in err, (status, err)
        status, _, err = load('-h', host(), vm='one')
        assert status == 1 and 'one' in err, (status, err)
    finally:
        first.communicate(b'quit\r')
    assert first.returncode == 1


def test_an_image_without_file_system_leads_to_the_prompt():
    disk = path('empty.img')
    with open(disk, 'wb') as f:
        f.truncate(1 << 20)
    status, out, _ = load('-d', disk, keys='ls\rlsdev\r')
    assert status == 1 and "can't find 'kernel'" in out and 'Device not configured' in out and 'disk0:' in out, out


def ufs2_image():
    """A UFS2 of makefs with a file and two symbolic links that lead to each other."""
    makefs = shutil.which('makefs', path=os.environ['PATH'] + ':/usr/sbin')
    if makefs is None:
        raise Skip('makefs is not installed')
    tree, image = path('tree'), path('ufs2.img')
    os.makedirs(tree, exist_ok=True)
    with open(f'{tree}/note', 'w') as f:
        f.write('read from UFS2\n')
    for name, to in (('one', 'two'), ('two', 'one')):
        if not os.path.islink(f'{tree}/{name}'):
            os.symlink(to, f'{tree}/{name}')
    subprocess.run([makefs, '-t', 'ffs', '-o', 'version=2', '-s', '8m', image, tree], check=True, stdout=subprocess.DEVNULL)
    return image


def test_ufs2_superblock_is_found_at_each_of_its_places():
    image, magic = ufs2_image(), (0x19540119).to_bytes(4, 'little')
    with open(image, 'rb') as f:
        data = f.read()
    first = next(p for p in (65536, 8192) if data[p + 1372:p + 1376] == magic)
    for place in 65536, 8192, 0, 262144:
        block = bytearray(data[first:first + 1376])
        block[1000:1008] = place.to_bytes(8, 'little')  # fs_sblockloc
        moved = bytearray(data)
        moved[first:first + 1376] = bytes(1376)
        moved[place:place + 1376] = block
        with open(path('moved.img'), 'wb') as f:
            f.write(moved)
        out = load('-d', path('moved.img'), keys='more disk0:/note\r')[1]
        assert 'read from UFS2' in out, (place, out)


def test_links_without_an_end_are_an_error():
    for name, to in (('a', 'b'), ('b', 'a')):
        if not os.path.islink(f'{host()}/{name}'):
            os.symlink(to, f'{host()}/{name}')
    out = load('-h', host(), keys='load host0:/a\rmore host0:/b\r')[1]
    assert "can't find 'host0:/a'" in out and "can't open 'host0:/b': Too many levels of symbolic links" in out, out
    out = load('-d', ufs2_image(), keys='more disk0:/one\rmore disk0:/note\r')[1]
    assert "can't open 'disk0:/one': Too many levels of symbolic links" in out and 'read from UFS2' in out, out


def test_a_kernel_beyond_memory_is_refused():
    kernel = os.path.join(host(), 'large')
    with open(kernel, 'wb') as f:  # an amd64 kernel with one segment of 64 MiB at 2 MiB
        ident = b'\x7fELF\x02\x01\x01\x09' + bytes(8)
        f.write(ident + struct.pack('<HHIQQQIHHHHHH', 2, 62, 1, 0xffffffff80200000, 64, 0, 0, 64, 56, 1, 64, 0, 0))
        f.write(struct.pack('<IIQQQQQQ', 1, 7, 0x1000, 0xffffffff80200000, 0x200000, 64 << 20, 64 << 20, 0x1000))
        f.truncate(0x1000 + (64 << 20))
    out = load('-m', '32M', '-h', host(), keys='load host0:/large\rlsmod\r')[1]
    assert 'large' in out and "can't" in out, out


def test_signals_restore_the_terminal():
    for sig in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        p, ours, theirs = on_terminal()
        raw = termios.tcgetattr(theirs)
        assert not raw[3] & termios.ECHO and not raw[3] & termios.ICANON
        p.send_signal(sig)
        assert p.wait(10) == 128 + sig, p.returncode
        after = termios.tcgetattr(theirs)
        assert after[3] & termios.ECHO and after[3] & termios.ICANON
        os.close(ours)
        os.close(theirs)


def test_line_editing_on_a_terminal():
    p, ours, theirs = on_terminal()
    os.write(ours, b'ecko\x7f\x7fho it works\r')
    read_until(ours, b'\nit works\r\n')
    os.write(ours, b'\x1b[A\x17twice\r')
    read_until(ours, b'\nit twice\r\n')
    os.write(ours, b'quit\r')
    assert p.wait(10) == 1
    os.close(ours)
    os.close(theirs)


def test_console_on_a_device():
    ours, theirs = pty.openpty()
    p = subprocess.Popen([BHYVELOAD, '-c', os.ttyname(theirs), '-h', host(), 'bl'], stdin=subprocess.DEVNULL,
                         stdout=subprocess.PIPE, env=ENV)
    read_until(ours, b'OK ')
    os.write(ours, b'echo here\rreboot\r')
    read_until(ours, b'\r\nhere\r\n')
    assert p.wait(10) == 2 and p.stdout.read() == b''
    os.close(ours)
    os.close(theirs)


def stub():
    """A loader object marked as FreeBSD's."""
    out = path('stub.so')
    if not os.path.exists(out):
        subprocess.run(['cc', '-shared', '-fPIC', '-O1', '-nostdlib', '-fno-stack-protector', '-o', out,
                        os.path.join(TOP, 'tests/guest/userboot_stub.c')], check=True)
        with open(out, 'r+b') as f:
            f.seek(7)
            f.write(b'\x09')
    return out


def test_loader_object_gets_what_it_expects():
    top = host()
    with open(f'{top}/hello', 'w') as f:
        f.write('hello world\n')
    os.makedirs(f'{top}/sub', exist_ok=True)
    disk = path('stub.img')
    with open(disk, 'wb') as f:
        f.write(bytes(512) + b'DISK' + bytes(508))
    status, out, err = load('-l', stub(), '-m', '64M', '-h', top, '-d', disk, '-e', 'a=b', keys='x')
    assert status == 0, (status, out, err)
    lines = out.splitlines()
    for want in ('version=3', 'disks=1', 'a=b', 'smbios.bios.vendor=BHYVE', 'boot_serial=1', 'outside=2', 'size=12',
                 'regular=1', 'resid=57', 'world', 'isdir=1', 'entry hello f', 'entry sub d', 'DISK', 'sector=512',
                 'media=1024', 'other=25', 'beyond=5', f'low={64 << 20}', 'high=0', 'same=1', 'toofar=1'):
        assert want in lines, (want, lines)
    p = subprocess.run([os.path.join(BUILD, 'bhyve'), '-o', f'cpu.engine={ENGINE}', '-m', '64M', '-s', '0,hostbridge',
                        '-s', '31,lpc', '-l', 'com1,stdio', 'bl'], stdin=subprocess.DEVNULL, capture_output=True,
                       timeout=60, env=ENV)
    assert p.returncode == 1 and b'ran' in p.stdout, p


def test_loader_object_that_leaves_or_crashes():
    assert load('-l', stub(), keys='q')[0] == 1
    assert load('-l', stub(), keys='r')[0] == 2
    status, _, err = load('-l', stub(), keys='c')
    assert status == 1 and 'crashed' in err and stub() in err, (status, err)
    status, _, err = load('-l', __file__)
    assert status == 1 and __file__ in err, (status, err)


if __name__ == '__main__':
    harness.main(sys.modules[__name__])
