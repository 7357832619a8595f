#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""The debug port at 0x224 behind TCP (-g), and the low-level console at 0x220 (-b).  On software KVM too."""
import os
import socket
import subprocess
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), '..'))
from lib.harness import BHYVE, ENGINE, ENV, GOOD, VERDICT, assemble, main, path, run  # noqa: E402

PORT = int(os.environ.get('DEBUG_PORT', '7470'))

# Looks for the port's signature; sends back what comes, one higher, until that is 'q'.
ECHO = '''
_start: movw $0x224, %dx
        inw %dx, %ax
        cmpw $0x4256, %ax
        jne bad
1:      inl %dx, %eax
        cmpl $-1, %eax
        je 1b
        cmpb $'q', %al
        je good
        incb %al
        movzbl %al, %eax
        outl %eax, %dx
        jmp 1b
''' + VERDICT

# The console's signature, and what its other widths say (bvm_console.c); then "ok" on it.
CONSOLE = '''
_start: movw $0x220, %dx
        inw %dx, %ax
        cmpw $0x6276, %ax
        jne bad
        inb %dx, %al
        cmpb $0xff, %al
        jne bad
        inl %dx, %eax
        cmpl $-1, %eax
        jne bad
        movl $'o', %eax
        outl %eax, %dx
        movl $'k', %eax
        outl %eax, %dx
''' + VERDICT


def words(name, source):
    return ['-m', '16M', '-s', '0,hostbridge', '-s', '31,lpc', '-l', 'pc-testdev', '-o', f'cpu.engine={ENGINE}',
            '-o', f'boot.kernel={assemble(name + ".elf", source)}', f'{name}{os.getpid()}']


def connect():
    for _ in range(500):
        try:
            s = socket.create_connection(('127.0.0.1', PORT))
            s.settimeout(20)
            return s
        except ConnectionRefusedError:
            time.sleep(0.02)
    raise AssertionError('nobody listens')


def echoes(s, data):
    s.sendall(data)
    got = b''
    while len(got) < len(data):
        part = s.recv(65536)
        assert part, f'closed after {len(got)} bytes'
        got += part
    assert got == bytes((b + 1) & 0xff for b in data)


def test_bytes_pass_and_clients_come_and_go():
    every = bytes(b for b in range(255) if b != ord('q')) * 16
    with open(path('port.log'), 'wb') as log:
        p = subprocess.Popen([BHYVE, '-g', str(PORT), *words('port', ECHO)], stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=ENV)
    try:
        for _ in range(1000):
            with open(path('port.log'), encoding='utf-8') as log:
                if 'Waiting for connection from gdb' in log.read():
                    break
            time.sleep(0.02)
        else:
            raise AssertionError('bhyve does not say that the guest waits')
        s = connect()
        echoes(s, every)
        with connect() as second:
            assert b'in use' in second.recv(100) and second.recv(100) == b''
        echoes(s, b'still here')
        s.close()
        s = connect()  # after the first has gone
        s.close()
        s = connect()
        echoes(s, every)
        s.sendall(b'q')
        assert p.wait(timeout=20) == GOOD
    finally:
        p.kill()
        p.wait()


def test_port_is_the_hosts_own():
    p = subprocess.Popen([BHYVE, '-g', str(PORT), *words('own', ECHO)], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                         stderr=subprocess.DEVNULL, env=ENV)
    try:
        connect().close()
        listening = set()
        for table in ('/proc/net/tcp', '/proc/net/tcp6'):
            with open(table, encoding='ascii') as f:
                listening |= {line.split()[1] for line in f if line.split()[3] == '0A' and line.split()[1].endswith(f':{PORT:04X}')}
        assert listening == {f'0100007F:{PORT:04X}'}, listening
    finally:
        p.kill()
        p.wait()


def test_console_prints():
    status, out, err = run(BHYVE, '-b', *words('console', CONSOLE))
    assert status == GOOD and 'ok' in out, (status, out, err)


if __name__ == '__main__':
    main(sys.modules[__name__])
