#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""The virtual null modem: VMs and programs on its two sides, whoever comes first."""
import errno
import fcntl
import hashlib
import os
import random
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), '..'))
from lib.harness import BHYVE, BUILD, ENGINE, ENV, GOOD, VERDICT, WORK, Skip, assemble, main, path, run, start  # noqa: E402

NMDM = os.path.join(BUILD, 'nmdm')
PATIENCE = 30

# Sends back what it receives on com1.
ECHO = '''
_start: movw $0x3fa, %dx
        movb $7, %al
        outb %al, %dx
1:      movw $0x3fd, %dx
2:      inb %dx, %al
        testb $1, %al
        jz 2b
        movw $0x3f8, %dx
        inb %dx, %al
        movb %al, %bl
        movw $0x3fd, %dx
3:      inb %dx, %al
        testb $0x20, %al
        jz 3b
        movb %bl, %al
        movw $0x3f8, %dx
        outb %al, %dx
        jmp 1b
'''

# Sends 128 KiB of a sequence, at most 4 KiB ahead of what came back; 0x10 to the exit port if all came back, else 0x20.
ASK = '''
        .set TOTAL, 0x20000
_start: xorl %esi, %esi         # sent
        xorl %edi, %edi         # received
        movl $1, %ebx           # what is sent next
        movl $1, %ecx           # what is received next
1:      movw $0x3fd, %dx
        inb %dx, %al
        movb %al, %ah
        testb $1, %ah
        jz 2f
        movw $0x3f8, %dx
        inb %dx, %al
        cmpb %cl, %al
        jne bad
        imull $1664525, %ecx, %ecx
        addl $1013904223, %ecx
        roll $8, %ecx
        incl %edi
        cmpl $TOTAL, %edi
        je good
2:      testb $0x20, %ah
        jz 1b
        cmpl $TOTAL, %esi
        je 1b
        movl %esi, %eax
        subl %edi, %eax
        cmpl $4096, %eax
        jae 1b
        movw $0x3f8, %dx
        movb %bl, %al
        outb %al, %dx
        imull $1664525, %ebx, %ebx
        addl $1013904223, %ebx
        roll $8, %ebx
        incl %esi
        jmp 1b
''' + VERDICT


class VM:
    def __init__(self, name, source, side):
        kernel = assemble(name + '.elf', source)
        self.p = start('-m', '16M', '-s', '0,hostbridge', '-s', '31,lpc', '-l', f'com1,{side}', '-l', 'pc-testdev', '-o', f'cpu.engine={ENGINE}',
                       '-o', f'boot.kernel={kernel}', f'{name}{os.getpid()}', stdout=open(path(name + '.log'), 'wb'), stderr=subprocess.STDOUT)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.p.kill()
        self.p.wait()


class Holder(VM):
    """nmdm(8) with one pair."""
    def __init__(self, pair, wait=True):  # pylint: disable=super-init-not-called
        self.p = subprocess.Popen([NMDM, pair], stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, env=ENV)
        self.said = self.p.stderr.readline()
        assert ('waiting' in self.said) != wait, self.said


def pair_of(test):
    return path('nmdm' + test)


def names(pair):
    return sorted(n for n in os.listdir(WORK) if os.path.basename(pair) in n)


def until(what, fn):
    for _ in range(PATIENCE * 100):
        result = fn()
        if result:
            return result
        time.sleep(0.01)
    raise AssertionError(what)


def open_side(name):
    def attempt():
        try:
            return os.open(name, os.O_RDWR | os.O_NOCTTY | os.O_NONBLOCK)
        except OSError as why:
            assert why.errno in (errno.ENOENT, errno.EBUSY), why
            return None
    return until(f'{name} cannot be opened', attempt)


def cpu_seconds(pid):
    with open(f'/proc/{pid}/stat', encoding='ascii') as f:
        fields = f.read().rsplit(')', 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf('SC_CLK_TCK')


def read_some(fd):
    """What is there within our patience; b'' is a hang-up."""
    assert select.select([fd], [], [], PATIENCE)[0], 'nothing comes'
    try:
        return os.read(fd, 65536)
    except OSError as why:
        assert why.errno == errno.EIO, why
        return b''


def send_across(source, target, data):
    """What goes in on the one side comes out on the other, as fast as it goes, however slowly it is taken out there."""
    got, sent = b'', 0
    while len(got) < len(data):
        readable, writable, _ = select.select([target], [source] if sent < len(data) else [], [], PATIENCE)
        assert readable or writable, f'stuck: {sent} sent, {len(got)} received of {len(data)}'
        if writable:
            sent += os.write(source, data[sent:sent + 4096])
        if readable:
            part = read_some(target)
            assert part, 'hung up'
            got += part
    assert hashlib.sha256(got).digest() == hashlib.sha256(data).digest()


def exchange(fd, data):
    """The same with somebody who sends back what he gets."""
    send_across(fd, fd, data)


def test_program_opens_first():
    pair = pair_of('first')
    with Holder(pair):
        fd = open_side(pair + 'A')
        os.write(fd, b'early')
        with VM('first', ECHO, pair + 'B'):
            got = b''
            while len(got) < 5:
                got += read_some(fd)
            assert got == b'early'
            assert not os.path.lexists(pair + 'B')  # the VM is that side
            exchange(fd, random.randbytes(1 << 18))
        assert read_some(fd) == b''  # hung up
        os.close(fd)
        fd = open_side(pair + 'B')  # and the other way round
        with VM('first', ECHO, pair + 'A'):
            exchange(fd, b'again')
        assert read_some(fd) == b''
        os.close(fd)


def test_vm_comes_first_and_is_the_maker():
    pair = pair_of('maker')
    with VM('maker', ECHO, pair + 'B'):
        fd = open_side(pair + 'A')
        exchange(fd, random.randbytes(1 << 18))
        with Holder(pair, wait=False) as holder:
            exchange(fd, b'not disturbed')
            holder.p.terminate()
            assert holder.p.wait(timeout=PATIENCE) == 0
        exchange(fd, b'still here')


def test_holder_takes_over_from_a_vm_that_ends():
    pair = pair_of('heir')
    vm = VM('heir', ECHO, pair + 'B')
    until('the VM made no pair', lambda: os.path.islink(pair + 'A'))
    with Holder(pair, wait=False) as holder:
        vm.__exit__()
        assert pair in holder.p.stderr.readline()
        fd = open_side(pair + 'A')
        with VM('heir', ECHO, pair + 'B'):
            exchange(fd, b'next')
        os.close(fd)


def join_two(pair, first, second):
    with VM('echo', ECHO, pair + first), VM('ask', ASK, pair + second) as ask:
        assert ask.p.wait(timeout=120) == GOOD


def test_two_vms_are_joined():
    pair = pair_of('two')
    join_two(pair, 'A', 'B')
    with Holder(pair):
        join_two(pair, 'A', 'B')
        join_two(pair, 'B', 'A')
        with VM('ask', ASK, pair + 'A') as ask:  # sends before there is somebody to hear
            time.sleep(0.3)
            with VM('echo', ECHO, pair + 'B'):
                assert ask.p.wait(timeout=120) == GOOD


def test_two_programs_are_joined():
    pair = pair_of('programs')
    with Holder(pair) as holder:
        a = open_side(pair + 'A')
        os.write(a, b'early')
        b = open_side(pair + 'B')
        assert read_some(b) == b'early'
        send_across(a, b, random.randbytes(1 << 18))
        send_across(b, a, random.randbytes(1 << 18))
        os.write(b, bytes(3000))  # the last words of who closes arrive
        os.close(b)
        got = b''
        while len(got) < 3000:
            got += read_some(a)
        assert got == bytes(3000)
        before = cpu_seconds(holder.p.pid)
        time.sleep(0.5)
        assert cpu_seconds(holder.p.pid) - before < 0.2, 'a side that is closed keeps the holder busy'
        os.write(a, b'for the next')
        b = open_side(pair + 'B')
        assert read_some(b) == b'for the next'
        send_across(b, a, b'and back')
        with VM('programs', ECHO, pair + 'B'):  # takes the place of the program there
            assert read_some(b) == b''
            os.close(b)
            exchange(a, random.randbytes(1 << 16))
        assert read_some(a) == b''
        os.close(a)
        b, a = open_side(pair + 'B'), open_side(pair + 'A')
        send_across(b, a, b'joined again')
        holder.p.terminate()
        assert holder.p.wait(timeout=PATIENCE) == 0
    assert read_some(a) == b'' and read_some(b) == b''
    os.close(a)
    os.close(b)
    assert names(pair) == [], names(pair)


def test_program_that_does_not_read_holds_up_nobody_else():
    pairs = pair_of('full'), pair_of('free')
    holder = subprocess.Popen([NMDM, *pairs], stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=ENV)
    try:
        a, b, c, d = (open_side(pair + side) for pair in pairs for side in 'AB')
        sent = 0
        while select.select([], [a], [], 1)[1]:
            sent += os.write(a, bytes(4096))
        send_across(c, d, random.randbytes(1 << 16))
        before = cpu_seconds(holder.pid)
        time.sleep(0.5)
        assert cpu_seconds(holder.pid) - before < 0.2, 'waiting keeps the holder busy'
        os.close(a)
        while sent > 0:
            sent -= len(read_some(b))
        for fd in (b, c, d):
            os.close(fd)
    finally:
        holder.terminate()
        assert holder.wait(timeout=PATIENCE) == 0


def test_side_is_for_one_vm():
    pair = pair_of('one')
    with Holder(pair), VM('one', ECHO, pair + 'B') as vm:
        until('the VM did not take its side', lambda: not os.path.lexists(pair + 'B'))
        with VM('other', ECHO, pair + 'B') as other:
            assert other.p.wait(timeout=PATIENCE) == 4
        with open(path('other.log'), encoding='ascii') as f:
            assert 'in use' in f.read()
        assert vm.p.poll() is None


def answers(name):
    try:
        fd = os.open(name, os.O_RDWR | os.O_NOCTTY | os.O_NONBLOCK)
    except OSError:
        return False
    try:
        exchange(fd, b'anybody there?')
        return True
    except AssertionError:
        return False
    finally:
        os.close(fd)


def test_holder_that_dies_is_healed():
    pair = pair_of('dies')
    holder = Holder(pair)
    with VM('dies', ECHO, pair + 'B'):
        fd = open_side(pair + 'A')
        exchange(fd, b'held')
        holder.p.kill()
        holder.p.wait()
        assert read_some(fd) == b''
        os.close(fd)
        until('the VM made no pair of its own', lambda: answers(pair + 'A'))
    holder = Holder(pair)
    holder.p.kill()
    holder.p.wait()
    assert os.path.islink(pair + 'A') and os.path.islink(pair + 'B')
    with Holder(pair) as holder:
        fd = open_side(pair + 'A')
        with VM('dies', ECHO, pair + 'B'):
            exchange(fd, b'healed')
        holder.p.send_signal(signal.SIGTERM)
        assert holder.p.wait(timeout=PATIENCE) == 0
    assert read_some(fd) == b''
    os.close(fd)
    assert names(pair) == [], names(pair)


class Others:
    """Programs of a user who is not root, in a run directory of their own."""
    def __enter__(self):
        self.user = 65534 if os.geteuid() == 0 else None
        self.started = []
        self.directory = tempfile.mkdtemp(prefix='bhyve-test.')
        self.kernel = shutil.copy(assemble('others.elf', ECHO), self.directory)
        if self.user:
            os.chown(self.directory, self.user, -1)
        return self

    def start(self, *words):
        try:
            self.started.append(subprocess.Popen(words, user=self.user, env=dict(os.environ, BHYVE_RUN=self.directory), cwd='/',
                                                 stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL))
        except PermissionError as why:
            raise Skip('others than root cannot run what was built here') from why
        return self.started[-1]

    def hold(self):
        return self.start(NMDM, 'nmdmothers')

    def boot(self):
        return self.start(BHYVE, '-m', '16M', '-s', '0,hostbridge', '-s', '31,lpc', '-l', 'com1,/dev/nmdmothersB', '-o', 'cpu.engine=soft',
                          '-o', f'boot.kernel={self.kernel}', f'others{os.getpid()}')

    def use(self, what):
        """That user opens side A; what(fd) is done by a process of his."""
        pid = os.fork()
        if pid == 0:
            try:
                if self.user:
                    os.setgroups([])
                    os.setresgid(self.user, self.user, self.user)
                    os.setresuid(self.user, self.user, self.user)
                what(open_side(f'{self.directory}/nmdmothersA'))
                os._exit(0)
            finally:
                os._exit(1)
        assert os.waitpid(pid, 0)[1] == 0

    def __exit__(self, kind, *_):
        for p in reversed(self.started):
            p.terminate()
            p.wait(timeout=PATIENCE)
        left = os.listdir(self.directory)
        shutil.rmtree(self.directory)
        assert kind is not None or left == ['others.elf'], left


def test_names_of_others_than_root_are_in_the_run_directory():
    with Others() as others:
        others.hold()
        fd = open_side(f'{others.directory}/nmdmothersA')
        others.boot()
        exchange(fd, b'not root')
        os.close(fd)


def keep_for_myself(fd):
    exclusive = 0x540c  # TIOCEXCL, as screen does
    fcntl.ioctl(fd, exclusive)
    time.sleep(0.5)


def test_terminal_that_was_exclusive_can_be_opened_again():
    for words in (('hold',), ('boot',), ('hold', 'boot')):
        with Others() as others:
            for word in words:
                getattr(others, word)()
            until('the names do not appear', lambda: os.path.islink(f'{others.directory}/nmdmothersA'))
            others.use(keep_for_myself)
            others.use(keep_for_myself)
            if 'boot' in words:
                others.use(lambda fd: exchange(fd, b'still joined'))


def test_bad_names_are_refused():
    for words in ([], ['modem0'], ['/nowhere/nmdm0'], ['nmdm'], ['-x'], [path('nmdm' + 'x' * 250)]):
        status, out, err = run(NMDM, *words, timeout=5)
        assert status in (1, 2) and err and not out, words


if __name__ == '__main__':
    main(sys.modules[__name__])
