# SPDX-License-Identifier: BSD-2-Clause
"""A client of GDB's remote protocol, for tests and figures."""
import re
import socket
import time

RIP, RSP, RFLAGS = 16, 7, 17


class Remote:
    """One connection to a stub; the guest is stopped once it stands."""

    def __init__(self, port, host='127.0.0.1', timeout=30, no_ack=True):
        deadline = time.monotonic() + timeout
        while True:
            try:
                if isinstance(port, str):
                    self.s = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
                    self.s.connect(port)
                else:
                    self.s = socket.create_connection((host, port))
                    self.s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                break
            except OSError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.02)
        self.s.settimeout(timeout)
        self.buf = b''
        self.ack = True
        self.features = self.ask('qSupported:swbreak+;hwbreak+')
        if no_ack:
            assert self.ask('QStartNoAckMode') == 'OK'
            self.ack = False

    def close(self):
        self.s.close()

    def send(self, text):
        data = text if isinstance(text, bytes) else text.encode()
        self.s.sendall(b'$' + data + b'#%02x' % (sum(data) & 0xff))

    def more(self):
        data = self.s.recv(1 << 20)
        if not data:
            raise EOFError('the stub closed the connection')
        self.buf += data

    def receive(self):
        """The next packet, escapes undone."""
        while True:
            start = self.buf.find(b'$')
            end = self.buf.find(b'#', start) if start >= 0 else -1
            if end >= 0 and len(self.buf) >= end + 3:
                break
            self.more()
        data, check = self.buf[start + 1:end], int(self.buf[end + 1:end + 3], 16)
        self.buf = self.buf[end + 3:]
        assert len(data) > 4096 or sum(data) & 0xff == check, 'checksum'
        if self.ack:
            self.s.sendall(b'+')
        if b'}' in data:
            data = re.sub(rb'\}(.)', lambda m: bytes([m[1][0] ^ 0x20]), data, flags=re.S)
        return data.decode('latin-1')

    def ask(self, text):
        self.send(text)
        return self.receive()

    def ok(self, text):
        answer = self.ask(text)
        assert answer == 'OK', f'{text}: {answer}'

    # ---- registers and memory ----
    def reg(self, n):
        return int.from_bytes(bytes.fromhex(self.ask(f'p{n:x}')), 'little')

    def set_reg(self, n, value, size=8):
        self.ok(f'P{n:x}={value.to_bytes(size, "little").hex()}')

    def thread(self, n):
        self.ok(f'Hg{n:x}')

    def read(self, address, length):
        out = b''
        while len(out) < length:
            answer = self.ask(f'm{address + len(out):x},{min(65000, length - len(out)):x}')
            assert answer and answer[0] != 'E', f'read of {address + len(out):#x}: {answer}'
            out += bytes.fromhex(answer)
        return out

    def write(self, address, data):
        self.ok(f'M{address:x},{len(data):x}:{data.hex()}')

    # ---- running ----
    def go(self, packet='vCont;c'):
        self.send(packet)

    def stop(self):
        """Ctrl-C; the stop reply."""
        self.s.sendall(b'\x03')
        return self.receive()

    def step(self, thread=1):
        return self.ask(f'vCont;s:{thread:x}')

    def monitor(self, line):
        answer = self.ask('qRcmd,' + line.encode().hex())
        return '' if answer == 'OK' else bytes.fromhex(answer).decode(errors='replace')

    def msr(self, number):
        return int(self.monitor(f'msr {number:#x}'), 16)

    def detach(self):
        self.ok('D')
        self.close()


def stop_field(reply, name):
    """A field of a T packet, or None."""
    for part in reply[3:].split(';'):
        if part.split(':')[0] == name:
            return part.split(':', 1)[1]
    return None


def stop_rip(reply):
    return int.from_bytes(bytes.fromhex(stop_field(reply, '10')), 'little')


def stop_thread(reply):
    return int(stop_field(reply, 'thread'), 16)
