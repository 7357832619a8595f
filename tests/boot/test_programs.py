#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""Programs of Debian print in the guest, byte for byte, what they print on the host.

They run on 1 and on 2 vCPUs, as many at a time.  PROGRAMS_SCALE=10 (or any number)
makes their work larger; what is not installed is a named skip.
"""
import os
import re
import shutil
import subprocess
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), '..'))
from lib import debian  # noqa: E402
from lib.harness import BHYVE, ENGINE, GUEST, Skip, main, path, run  # noqa: E402

SCALE = int(os.environ.get('PROGRAMS_SCALE', '1'))
TIMEOUT = 120 * SCALE

# A key and a nonce for ciphers; the key for signatures is made by write_inputs().
KEY = '-K 000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f'
CIPHERS = ' '.join(f'"{c} {KEY[:3 + n]} -iv {"a5" * 16}"' for c, n in
                   (('aes-128-cbc', 32), ('aes-256-ctr', 64), ('camellia-256-cbc', 64), ('chacha20', 64), ('aria-128-cfb', 32)))

PERL = '''
use strict; use List::Util qw(sum max reduce);
my (%count, @words);
while (<>) { $count{lc $_}++ for /(\\w+)/g; push @words, $1 if /(\\w+ing|e\\w*e)\\b/ }
printf "%s %d\\n", $_, $count{$_} for (sort { $count{$b} <=> $count{$a} || $a cmp $b } keys %count)[0..50];
printf "%.17g %s\\n", sum(map { sin($_) * sqrt($_) / ($_ + exp(-$_)) } 1..20000), join "", map { chr(65 + $_ % 26) } values @{[map { $_ ** 2 % 97 } 1..3000]};
print reduce { ($a * 31 + ord $b) % 1000003 } 7, map { split // } @words;
print pack("w*", map { $_ * $_ } 1..500), sprintf("%b %o %e\\n", 3 ** 30, 7 ** 20, 1e300 / 3);
'''
PYTHON = '''
import array, cmath, collections, decimal, fractions, hashlib, heapq, json, math, random, re, struct, zlib
text = open('corpus').read()
counts = collections.Counter(re.findall(r'[a-z]+', text))
print(json.dumps(counts.most_common(60)), zlib.crc32(zlib.compress(text.encode(), 9)))
r = random.Random(7)
values = [r.gauss(0, 1e3) for _ in range(20000)]
print(math.fsum(values), sorted(values)[::999], [f(x) for x in values[:200] for f in (math.sin, math.atan, math.tanh, math.erf)])
print(pow(3, 20011, 10 ** 300 + 7), 7 ** 3000 // 3 ** 2000, [cmath.exp(complex(x % 5, x)) for x in range(50)])
decimal.getcontext().prec = 120
print(decimal.Decimal(2).sqrt().ln(), sum(fractions.Fraction(1, n) for n in range(1, 300)))
for name in 'md5', 'sha1', 'sha256', 'sha512', 'sha3_256', 'blake2b', 'blake2s':
    print(hashlib.new(name, text.encode()).hexdigest())
print(struct.pack('<50d', *values[:50]).hex(), array.array('f', values[:99]).tobytes().hex(), heapq.nsmallest(20, values))
'''
NUMPY = '''
import numpy as np
r = np.random.RandomState(3)
for t in ('f4', 'f8', 'i1', 'i2', 'i4', 'i8', 'u1', 'u2', 'u4', 'u8'):
    a = (r.random_sample(30011) * 200 - 100).astype('f8').astype('i8').astype(t)
    b = (r.random_sample(30011) * 99 + 1).astype(t)
    for x in (a + b, a - b, a * b, a // b, a % b, np.maximum(a, b), a < b, np.cumsum(a), np.sort(a), np.argsort(a, kind='stable')):
        print(t, __import__('zlib').crc32(np.ascontiguousarray(x).tobytes()))
f = r.random_sample(30011).astype('f4') * 50
for x in (np.sqrt(f), np.floor(f), np.rint(f), f.astype('f2'), f.astype('f8') ** 2, 1 / f, np.convolve(np.arange(500), np.arange(300))):
    print(__import__('zlib').crc32(x.tobytes()))
'''
SQL = '.read insert.sql\nselect name, sum(value) over (order by id) from t where id % 97 = 0;\n' \
      'select hex(printf("%.12e", avg(value * value))), group_concat(substr(name, -2)) from t group by id / 500;\n'

# Name, programs that it needs, command.  Nothing may depend on the time, the place, or the number of processors.
COMMANDS = [
    ('digests', ['openssl'], 'for d in md5 sha1 sha224 sha256 sha512 sha3-384 blake2b512 ripemd160 sm3; do openssl dgst -$d corpus; done'),
    ('ciphers', ['openssl'], f'for c in {CIPHERS}; do openssl enc -e -$c -in corpus; done'),
    ('signatures', ['openssl'], 'openssl dgst -sha256 -sign rsa.pem corpus; openssl rsa -in rsa.pem -check -noout; openssl pkey -in ed.pem -text'),
    ('perl', ['perl'], 'perl script.pl corpus'),
    ('python3', ['python3'], '/usr/bin/python3 script.py'),
    ('numpy', ['python3', 'numpy'], 'OPENBLAS_NUM_THREADS=1 /usr/bin/python3 numpy_script.py'),
    ('sqlite3', ['sqlite3'], 'sqlite3 :memory: <script.sql'),
    ('gcc', ['gcc'], 'gcc -O2 -ftree-vectorize -mavx2 -c -o gcc.o source.c && cat gcc.o'),
    ('xz', ['xz'], 'xz -6 -T1 -c corpus >corpus.xz && cat corpus.xz && xz -dc corpus.xz | cmp - corpus'),
    ('zstd', ['zstd'], 'zstd -q --single-thread -c -12 corpus >corpus.zst && cat corpus.zst && zstd -dqc corpus.zst | cmp - corpus'),
    ('gzip', ['gzip'], 'gzip -9nc corpus'),
    ('flac', ['flac'], 'flac -s -8 -c --force-raw-format --endian=little --sign=signed --channels=2 --bps=16 --sample-rate=44100 sound'),
    ('jpeg', ['cjpeg', 'djpeg'], 'cjpeg -quality 83 -optimize picture.ppm >p.jpg && cat p.jpg && djpeg -dct float p.jpg'),
    ('webp', ['cwebp'], 'cwebp -quiet -q 70 -m 4 picture.ppm -o -'),
]
SCRIPTS = {'script.pl': PERL, 'script.py': PYTHON, 'numpy_script.py': NUMPY, 'script.sql': SQL}

# Each command in its own process, @1 at a time, then what all of them printed.
RUN = '''mkdir out
ls commands | xargs -P "$1" -I @ sh -c 'sh commands/@ >out/@ 2>&1 || echo "status $?" >>out/@'
cd out && sha256sum *
'''


def write_media(where):
    """Sound of some tones with noise, and a picture with edges, gradients and noise."""
    state, sound, picture = 1, bytearray(), bytearray(b'P6\n320 240\n255\n')
    for i in range(60000 * SCALE):
        state = (state * 1103515245 + 12345) & 0x7fffffff
        for channel in 3, 5:
            value = (i * i * channel // 977 % 20000 - 10000) // 2 + i * 90 * channel % 9000 + (state >> 24)
            sound += (max(-32768, min(32767, value))).to_bytes(2, 'little', signed=True)
    for y in range(240):
        for x in range(320):
            state = (state * 1103515245 + 12345) & 0x7fffffff
            picture += bytes(((x * 255 // 319) ^ (255 if (x // 40 + y // 30) % 2 else 0), y * 255 // 239, (state >> 23) & 0xff))
    for name, data in ('sound', sound), ('picture.ppm', picture):
        with open(f'{where}/{name}', 'wb') as f:
            f.write(data)


def write_inputs(where, names):
    os.makedirs(f'{where}')
    debian.write_corpus(f'{where}/corpus', 300000 * SCALE)
    debian.write_source(f'{where}/source.c', 60 * SCALE)
    debian.write_insertions(f'{where}/insert.sql', 5000 * SCALE)
    write_media(where)
    for name, text in SCRIPTS.items():
        with open(f'{where}/{name}', 'w') as f:
            f.write(text)
    if 'signatures' in names:
        for words in ['-algorithm', 'RSA', '-out', 'rsa.pem'], ['-algorithm', 'ED25519', '-out', 'ed.pem']:
            subprocess.run(['openssl', 'genpkey', *words], cwd=where, check=True, stderr=subprocess.DEVNULL)
    os.makedirs(f'{where}/commands')
    for name, _, command in COMMANDS:
        if name in names:
            with open(f'{where}/commands/{name}', 'w') as f:
                f.write(command + '\n')
    with open(f'{where}/run', 'w') as f:
        f.write(RUN)


def sums(text):
    return {name: digest for digest, name in re.findall(r'^([0-9a-f]{64})  (\w+)\r?$', text, re.M)}


def contents(name):
    with open(name, 'rb') as f:
        return f.read()


class Programs:
    """What is made once, for both tests: the image, and what the host printed."""

    made = None

    def __init__(self):
        if not debian.have_image_tools():
            raise Skip('mke2fs (e2fsprogs) is not installed')
        if not os.path.exists(f'{GUEST}/vmlinuz'):
            raise Skip('there is no kernel to boot (tools/guest.sh)')
        self.names = [n for n, programs, _ in COMMANDS if all(map(debian.parts, programs))]
        inputs = path('input')
        write_inputs(inputs, self.names)
        needed = {p for name, programs, _ in COMMANDS if name in self.names for p in programs}
        self.image = debian.make_image(path(''), needed | {'cmp', 'ls', 'mkdir', 'sha256sum', 'xargs'}, inputs)
        out = subprocess.run(['sh', './run', '2'], cwd=inputs, env={'PATH': '/usr/bin:/bin', 'LC_ALL': 'C'},
                             stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, timeout=TIMEOUT).stdout
        self.host = sums(out.decode())
        self.failed = [n for n in self.names if re.search(rb'^status \d+$', contents(f'{inputs}/out/{n}'), re.M)]

    @classmethod
    def get(cls):
        cls.made = cls.made or cls()
        return cls.made


def agree(cpus, *options):
    programs = Programs.get()
    initrd = debian.add_initrd(GUEST, path(''), {}, f"{debian.MOUNT}{debian.CHROOT}/usr/bin/sh -c 'cd /tmp && sh ./run {cpus}'\n")
    status, out, err = run(BHYVE, '-c', cpus, '-m', '1G', '-s', '0,hostbridge', '-s', f'3,virtio-blk,{programs.image}',
                           '-s', '31,lpc', '-l', 'com1,stdio', '-o', f'cpu.engine={ENGINE}', *options, '-o', f'boot.kernel={GUEST}/vmlinuz',
                           '-o', f'boot.initrd={initrd}', '-o', 'boot.cmdline=console=ttyS0 quiet panic=-1 rdinit=/addedinit',
                           'programs', timeout=TIMEOUT)
    assert status == 1, (status, err, out[-800:])
    assert sorted(programs.host) == sorted(programs.names) and not programs.failed, (programs.host, programs.failed)
    guest = sums(out)
    different = [n for n in programs.names if guest.get(n) != programs.host[n]]
    assert not different, (different, out[-800:])


def test_programs_agree_on_1_cpu():
    agree(1)


def test_programs_agree_on_2_cpus():
    agree(2)


def test_programs_agree_with_mirrors_from_the_start():
    agree(2, '-o', 'cpu.engine=soft', '-o', 'soft.disable=tlb')


def report_absent(name, program):
    def test():
        raise Skip(f'{program} is not installed')
    setattr(sys.modules[__name__], f'test_program_{name}', test)


for _name, _programs, _ in COMMANDS:
    for _program in (p for p in _programs if not debian.parts(p)):
        report_absent(_name, _program)

if __name__ == '__main__':
    main(sys.modules[__name__])
