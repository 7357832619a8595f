#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""The stub's protocol, on small kernels of our own: stepping, watching, bad input.

Runs on software KVM too.
"""
import os
import socket
import subprocess
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), '..'))
from lib.harness import BHYVE, BHYVECTL, ENGINE, ENV, Skip, assemble, kvm_kind, main, path, run  # noqa: E402
from lib.rsp import RIP, RSP, Remote, stop_field, stop_rip, stop_thread  # noqa: E402

PORT = int(os.environ.get('DEBUG_PORT', '7490'))

# A generator of numbers that calls, pushes, moves strings and uses flags; then power-off by pc-testdev.
BUSY = '''
_start: movl $0x300000, %esp
        xorl %ebx, %ebx
        movl $1, %eax
        cld
loop:   imull $1103515245, %eax, %eax
        addl $12345, %eax
        call store
        pushfl
        popl %edx
        andl $0x8d5, %edx
        addl %edx, 0x200800
        movl $0x200000, %esi
        movl $0x201000, %edi
        movl $9, %ecx
        rep movsl
        incl %ebx
        cmpl $100000000, %ebx
        jne loop
        movl $0x10, %eax
        outb %al, $0xf4
store:  movl %ebx, %ecx
        andl $0xff, %ecx
        movl %eax, 0x200000(,%ecx,4)
        adcl $0, 0x200804
        ret
'''

# The other processor, in real mode, counts at 0x7000; this one at 0x7004.
TWO = '''
_start: movl $0x300000, %esp
        movl $ap, %esi
        movl $0x8000, %edi
        movl $(ap_end - ap), %ecx
        cld
        rep movsb
        movl $0xfee000f0, %eax
        movl $0x1ff, (%eax)
        movl $0xfee00300, %eax
        movl $0xc4500, (%eax)
        movl $1000, %ecx
1:      pause
        loop 1b
        movl $0xc4608, (%eax)
2:      incl 0x7004
        jmp 2b
        .code16
ap:     xorw %ax, %ax
        movw %ax, %ds
3:      incw 0x7000
        jmp 3b
ap_end:
        .code32
'''

HALT = '''
_start: nop
        movb $0xff, %al # no interrupt of the timer's
        outb %al, $0x21
        sti
1:      hlt
        jmp 1b
'''

TRIPLE = '''
_start: movl $0x300000, %esp
        lidt zero
        movl $0x1234, %eax
        ud2
zero:   .word 0
        .long 0
'''


class Machine:
    def __init__(self, name, source, *args, cpus=1, where=None, wait=True):
        kernel = assemble(name + '.elf', source)
        self.where = where if where is not None else PORT
        gdb = ('w' if wait else '') + str(self.where)
        self.name = f'{name}{os.getpid()}'
        self.p = subprocess.Popen([BHYVE, '-m', '64M', '-c', str(cpus), '-s', '0,hostbridge', '-s', '31,lpc', '-l', 'pc-testdev',
                                   '-o', f'cpu.engine={ENGINE}', '-o', f'boot.kernel={kernel}', '-G', gdb, *args, self.name],
                                  stdin=subprocess.DEVNULL, stdout=open(path(name + '.log'), 'wb'), stderr=subprocess.STDOUT, env=ENV)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.p.kill()
        self.p.wait()

    def remote(self, **kw):
        return Remote(self.where, **kw)

    def alive(self):
        return self.p.poll() is None

    def still_runs(self):
        """A debugger can still attach, and the guest goes on."""
        r = self.remote()
        r.go()
        time.sleep(0.1)
        r.stop()
        r.detach()
        assert self.alive()


def state_of(r):
    return r.ask('g'), r.read(0x200000, 0x2000)


def test_steps_leave_the_state_that_running_leaves():
    with Machine('steps', BUSY) as m:
        r = m.remote()
        trail = [stop_rip(r.step()) for _ in range(1000)]
        # KVM stops in a string instruction as often as it likes.
        while r.read(trail[-1], 1) == b'\xf3':
            trail.append(stop_rip(r.step()))
        stepped = state_of(r)
    passes = trail.count(trail[-1])
    with Machine('steps', BUSY) as m:
        r = m.remote()
        r.ok(f'Z0,{trail[-1]:x},1')
        for _ in range(passes):
            r.go()
            reply = r.receive()
            assert stop_rip(reply) == trail[-1] and 'swbreak' in reply, reply
        assert state_of(r) == stepped


def test_breakpoint_is_not_seen_in_memory_and_leaves_when_removed():
    with Machine('unseen', BUSY) as m:
        r = m.remote()
        for _ in range(6):
            r.step()
        rip = r.reg(RIP)
        before = r.read(rip, 16)
        r.ok(f'Z0,{rip:x},1')
        r.go()
        assert stop_rip(r.receive()) == rip
        assert r.read(rip, 16) == before
        r.ok(f'z0,{rip:x},1')
        r.go()
        time.sleep(0.2)
        assert stop_field(r.stop(), 'swbreak') is None


def test_hundred_breakpoints_are_all_hit():
    if ENGINE == 'kvm':
        raise Skip('KVM has the four debug registers')
    source = '_start: movl $0x300000, %esp\nloop:\n' + 'nop\n' * 100 + 'jmp loop\n'
    with Machine('hundred', source) as m:
        r = m.remote()
        r.step()
        first = r.reg(RIP)
        for i in range(100):
            r.ok(f'Z{i % 2},{first + i:x},1')
        hits = []
        for _ in range(100):
            r.go()
            hits.append(stop_rip(r.receive()))
        assert sorted(hits) == [first + i for i in range(100)], hits


def test_watchpoint_stops_behind_the_writing_instruction_on_two_processors():
    if ENGINE == 'kvm' and kvm_kind() == 'software':
        raise Skip('software KVM does not watch what it emulates')
    with Machine('watch', TWO, cpus=2, wait=False) as m:
        r = m.remote()
        r.go()
        time.sleep(1)
        r.stop()
        assert r.read(0x7000, 2) != b'\0\0' and r.read(0x7004, 4) != bytes(4)
        seen, values = {}, set()
        r.ok('Z2,7000,4')
        r.ok('Z2,7004,4')
        stops = 0
        while stops < 40 or (len(seen) < 2 and stops < 2000):
            stops += 1
            r.go()
            reply = r.receive()
            watched = int(stop_field(reply, 'watch'), 16)
            assert watched == (0x7004 if stop_thread(reply) == 1 else 0x7000), reply
            seen.setdefault(stop_thread(reply), set()).add(stop_rip(reply))
            values.add((watched, r.read(watched, 2)))
        assert set(seen) == {1, 2} and all(len(rips) == 1 for rips in seen.values()), seen
        assert len(values) == stops, values  # one write a stop, none unseen twice
        r.ok('z2,7000,4')
        r.ok('z2,7004,4')
        r.ok('Z3,7004,1')
        r.go()
        assert stop_field(r.receive(), 'rwatch') == '7004'


def test_watchpoint_covers_large_ranges_and_string_instructions():
    if ENGINE == 'kvm':
        raise Skip('KVM has the debug registers, of at most 8 bytes each')
    with Machine('range', BUSY) as m:
        r = m.remote()
        r.ok('Z2,201010,8')
        r.go()
        reply = r.receive()
        assert stop_field(reply, 'watch') == '201010', reply
        assert r.read(stop_rip(reply), 2) == b'\xf3\xa5' or r.read(stop_rip(reply) - 2, 2) == b'\xf3\xa5'
        r.ok('z2,201010,8')
        r.ok('Z4,200000,800')
        r.go()
        assert stop_field(r.receive(), 'awatch') == '200000'


def test_registers_and_memory_written_are_the_guests():
    with Machine('write', BUSY) as m:
        r = m.remote()
        for _ in range(5):
            r.step()
        r.set_reg(3, 0)
        r.set_reg(1, 99999990)
        r.write(0x200800, bytes(8))
        whole = r.ask('g')
        r.ok('G' + whole)
        assert r.ask('g') == whole and r.reg(1) == 99999990 and r.read(0x200800, 8) == bytes(8)
        r.set_reg(24, 0x4000c90fdaa22168c235, size=10)
        assert r.reg(24) == 0x4000c90fdaa22168c235
        r.set_reg(40, 0x0123456789abcdef0123456789abcdef, size=16)
        r.step()
        assert r.reg(40) == 0x0123456789abcdef0123456789abcdef
        r.go('c')
        assert r.receive() == 'W00'
        assert m.p.wait(timeout=20) != 4


def test_threads_step_and_run_one_by_one():
    with Machine('threads', TWO, cpus=2, wait=False) as m:
        r = m.remote()
        assert r.ask('qfThreadInfo') == 'm1,2'
        r.go()
        time.sleep(1)
        r.stop()
        before = r.read(0x7000, 2)
        for _ in range(20):
            assert stop_thread(r.ask('vCont;s:1')) == 1
        assert r.read(0x7000, 2) == before
        assert stop_thread(r.ask('vCont;s:1;c')) == 1
        r.go('vCont;c:2')
        time.sleep(0.1)
        four = r.stop() and r.read(0x7004, 4)
        assert r.read(0x7000, 2) != before and r.read(0x7004, 4) == four
        assert 'vCPU 1' in bytes.fromhex(r.ask('qThreadExtraInfo,2')).decode()


def test_interrupt_in_halt_and_step_over_it():
    with Machine('halt', HALT) as m:
        r = m.remote()
        r.go()
        time.sleep(0.3)
        assert r.stop().startswith('T02')
        rip = r.reg(RIP)
        assert r.read(rip - 1, 1) == b'\xf4'
        r.go()
        time.sleep(0.1)
        assert r.stop().startswith('T02')
        r.detach()
        r = m.remote()
        assert m.alive() and r.reg(RIP) == rip


def test_step_enters_no_handler_unless_asked():
    with Machine('handler', BUSY) as m:
        r = m.remote()
        trail = [stop_rip(r.step()) for _ in range(30)]
        r.close()
    with Machine('handler', BUSY) as m:
        r = m.remote()
        r.monitor('inject-nmi')
        assert [stop_rip(r.step()) for _ in range(30)] == trail
        # The guest has no handlers: the NMI ends it.
        r.monitor('step-irqs on')
        assert r.step() == 'W00'
        assert m.p.wait(timeout=10) == 3


def test_step_over_halt_goes_on_when_an_interrupt_waits():
    if ENGINE == 'kvm' and kvm_kind() == 'software':
        raise Skip('software KVM halts with the next run only')
    with Machine('overhalt', HALT) as m:
        r = m.remote()
        while r.read(r.reg(RIP), 1) != b'\xf4':
            r.step()
        rip = r.reg(RIP)
        assert stop_rip(r.step()) == rip + 1
        assert 'halted' in bytes.fromhex(r.ask('qThreadExtraInfo,1')).decode()
        r.go('vCont;s:1')
        time.sleep(0.2)
        assert r.stop().startswith('T02')  # nothing ends the halt
        r.monitor('inject-nmi')
        assert [stop_rip(r.step()) for _ in range(2)] == [rip + 1, rip]


def test_several_clients_in_a_row_and_only_one_at_a_time():
    with Machine('clients', BUSY, wait=False) as m:
        for _ in range(5):
            r = m.remote()
            second = socket.create_connection(('127.0.0.1', PORT))
            second.settimeout(10)
            try:
                assert second.recv(100) == b''
            except ConnectionResetError:
                pass
            second.close()
            rip = r.reg(RIP)
            r.ok(f'Z0,{rip:x},1')
            r.close()
        m.still_runs()


def test_bad_input_gets_an_error_or_nothing():
    with Machine('bad', BUSY) as m:
        r = m.remote()
        for text in ('m', 'm0', 'm0,', 'm,1', 'mfffffffffffffffff,1', 'm0,1:zz', 'M0,4:12', 'M0,1:xy', 'X0,5:ab', 'p', 'pffff',
                     'P0=12', 'P0', 'Z0', 'Z0,', 'Z2,1000,0', 'Z0,zz,1', 'z4', 'H', 'Hx1', 'Hg99', 'T99', 'vCont;', 'vCont;x',
                     'vCont;c:77', 'vCont', 'qRcmd,', 'qRcmd,6', 'qRcmd,zz', 'qXfer:features:read:target.xml:zz',
                     'qThreadExtraInfo,ff', 'Gzz', 'sxyz', 'czz', 'cQ'):
            answer = r.ask(text)
            assert answer.startswith('E'), f'{text}: {answer}'
        for text in ('', 'Z9,0,1', 'vMustReplyEmpty', 'qNothing', 'bogus', '!', 'R00', 'QTStart', 'qXfer:auxv:read::0,10'):
            assert r.ask(text) == '', text
        # Nothing there, device memory: no reading, writing or breaking.
        for address in (0xfee00000, 0xe0000000, 0x8000000000000000, 0xffffffffffffffff):
            assert r.ask(f'm{address:x},4').startswith('E')
            assert r.ask(f'M{address:x},1:00').startswith('E')
            assert r.ask(f'Z0,{address:x},1').startswith('E')
        r.step()
        r.close()
        r = m.remote(no_ack=False)
        r.s.sendall(b'$g#00')
        while b'-' not in r.buf:
            r.more()
        r.buf = b''
        r.s.sendall(b'$m0,' + b'1' * 300000 + b'#11')
        while b'-' not in r.buf:
            r.more()
        r.s.sendall(b'$g')
        r.close()
        flood = socket.create_connection(('127.0.0.1', PORT))
        flood.settimeout(2)
        try:
            for _ in range(200):
                flood.sendall(b'$g#67' * 2000 + os.urandom(5000) + b'\x03' * 50)
        except OSError:
            pass
        flood.close()
        m.still_runs()


def test_unix_socket_and_kill():
    where = path('gdb.sock')
    with Machine('sock', BUSY, where=where) as m:
        r = m.remote()
        r.step()
        r.send('k')
        assert m.p.wait(timeout=10) == 1
    assert not os.path.exists(where)


def test_triple_fault_stops_in_the_debugger():
    with Machine('trap', TRIPLE, '-o', 'debug.trap=1', wait=False) as m:
        time.sleep(0.5)
        assert m.alive()
        r = m.remote()
        assert r.ask('?').startswith('T0b')
        assert r.reg(0) == 0x1234 and r.read(r.reg(RIP), 2) == b'\x0f\x0b'
        r.close()
        r = m.remote()
        assert r.reg(0) == 0x1234
        r.detach()
        assert m.p.wait(timeout=10) == 3


def test_halt_for_good_stops_in_the_debugger():
    with Machine('dead', '_start: movl $0x1234, %eax; cli; 1: hlt; jmp 1b', '-o', 'debug.trap=1') as m:
        r = m.remote()
        r.go()
        assert r.receive().startswith('T0b')
        assert r.reg(0) == 0x1234 and r.read(r.reg(RIP) - 1, 1) == b'\xf4'
        r.detach()
        assert m.p.wait(timeout=10) == 2


def test_monitor_words():
    with Machine('monitor', BUSY) as m:
        r = m.remote()
        words = ('help', 'info registers', 'cpuid 0', 'cpuid 7 0', 'msr 0x277', 'pic', 'lapic', 'ioapic', 'tlb 0x100000', 'phys on',
                 'phys off', 'phys 0x100000 32', 'kaslr', 'step-irqs off', 'bogus', 'msr', 'msr zz', 'tlb')
        for word in words:
            assert r.monitor(word).strip(), word
        assert '0x0007040600070406' in r.monitor('msr 0x277')
        assert '-> 0x100000' in r.monitor('tlb 0x100000')
        assert r.monitor('inject-nmi') == ''
        r.write(0x300000, b'physical')
        r.monitor('phys on')
        assert r.read(0x300000, 8) == b'physical'
        r.write(0x300000, b'PHYSICAL')
        r.monitor('phys off')
        assert r.read(0x300000, 8) == b'PHYSICAL'
        assert 'rip' in r.monitor('info registers') and 'eax' in r.monitor('cpuid 0x80000000')
        r.monitor('poweroff')
        assert m.p.wait(timeout=10) == 1
    with Machine('reset', BUSY) as m:
        m.remote().monitor('reset')
        assert m.p.wait(timeout=10) == 0


def test_gdb_knows_all_registers():
    groups = {'general': 'rax rip eflags', 'segments': 'cs gs fs_base gs_base', 'x87': 'st0 fctrl ftag', 'vectors': 'xmm0 xmm15 mxcsr',
              'system': 'cr0 cr2 cr3 cr4 cr8 efer k_gs_base'}
    with Machine('names', BUSY) as m:
        names = ' '.join(groups.values()).split()
        m.remote().detach()
        words = [w for name in names for w in ('-ex', f'print ${name}')]
        out = subprocess.run(['gdb', '-q', '-nx', '-batch', '-ex', 'set tcp auto-retry on', '-ex', f'target remote 127.0.0.1:{PORT}', *words,
                              '-ex', 'print $ymm3', '-ex', 'set $rbx = 0x5a5a', '-ex', 'info registers rbx', '-ex', 'detach'],
                             stdin=subprocess.DEVNULL, capture_output=True, timeout=60).stdout.decode()
        for i, name in enumerate(names, 1):
            line = next(line for line in out.splitlines() if line.startswith(f'${i} = '))
            assert not line.endswith('= void') and 'unavailable' not in line, f'{name}: {line}'
        assert 'v8_int32' in out and '0x5a5a' in out, out


def test_core_is_what_the_guest_held():
    with Machine('core', BUSY) as m:
        r = m.remote()
        for _ in range(50):
            r.step()
        rip, rsp, memory = r.reg(RIP), r.reg(RSP), r.read(0x200000, 64)
        status, out, err = run(BHYVECTL, f'--vm={m.name}', f'--core={path("core")}')
        assert status == 0, out + err
        out = subprocess.run(['gdb', '-q', '-nx', '-batch', '-ex', f'target core {path("core")}', '-ex', 'print $rip', '-ex', 'print $rsp',
                              '-ex', 'x/64xb 0x200000'], stdin=subprocess.DEVNULL, capture_output=True, timeout=60).stdout.decode()
        assert f'{rip:#x}' in out and f'{rsp:#x}' in out, out
        shown = bytes(int(w, 16) for line in out.splitlines() if line.startswith('0x20') for w in line.split(':')[1].split())
        assert shown == memory, out
        status, out, err = run(BHYVECTL, f'--vm={m.name}', '--core=/nowhere/core')
        assert status != 0 and 'nowhere' in err, err
        assert r.reg(RIP) == rip


def test_port_in_use_is_said():
    with socket.socket() as s:
        s.bind(('127.0.0.1', 0))
        s.listen()
        with Machine('inuse', BUSY, where=s.getsockname()[1]) as m:
            assert m.p.wait(timeout=10) not in (0, 1, 2, 3)
        assert 'in use' in open(path('inuse.log')).read()


if __name__ == '__main__':
    main(sys.modules[__name__])
