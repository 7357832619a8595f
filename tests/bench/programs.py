# SPDX-License-Identifier: BSD-2-Clause
"""Part `real` of make bench: programs of the Debian that it runs on, natively and in the guests.

They and their libraries are copied into an ext4 image, which the guests mount and
change root to; a tmpfs holds what they work on.  What is not installed is left out
by name.  Each command's output must be the same everywhere.
"""
import glob
import os
import random
import re
import shutil
import subprocess

from parts import Skip

# Name, programs that it needs, command; {million} is a million, less with --quick.
COMMANDS = [
    ('gzip', ['gzip'], 'gzip -nc corpus'),
    ('xz', ['xz'], 'xz -1 -c corpus'),
    ('sha256sum', ['sha256sum'], 'sha256sum ' + ' '.join(['corpus'] * 10)),
    ('perl_start', ['perl'], 'for i in 1 2 3 4 5 6 7 8 9 10; do perl -e "print 1"; done'),
    ('perl_loop', ['perl'], "perl -e 'for $i (1..{million}*3) {{ $h{{$i % 1000}} += $i; $s .= $i if $i % 100 == 0 }} print length $s, $h{{7}}'"),
    ('python_start', ['python3'], 'for i in 1 2 3 4 5; do /usr/bin/python3 -S -c "print(1)"; done'),
    ('python_loop', ['python3'], '''/usr/bin/python3 -S -c "
d, s = {{}}, 0
for i in range({million} * 2):
    d[i % 1000] = d.get(i % 1000, 0) + i
    s ^= i * i
print(s, sum(d.values()))"'''),
    ('gcc', ['gcc'], 'gcc -O2 -c -o gcc.o source.c && cat gcc.o'),
    ('sqlite3', ['sqlite3'], 'rm -f t.db; sqlite3 t.db <insert.sql'),
]


def tools(program):
    """The files that a program consists of, without libraries."""
    path = '/usr/bin/' + program
    if not os.path.exists(path):
        return []
    files = [path]
    if program == 'gcc':
        for part in 'cc1', 'as':
            found = subprocess.run([path, '-print-prog-name=' + part], stdout=subprocess.PIPE, text=True).stdout.strip()
            files.append(found if '/' in found else shutil.which(found) or found)
        if not all(map(os.path.exists, files)):
            return []
        files += glob.glob('/usr/include/stdc-predef.h')
    return files


def libraries(path):
    out = subprocess.run(['ldd', path], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True).stdout
    return re.findall(r'(/\S+) \(0x', out)


def copy(root, path):
    """Copies what @path leads to, at its own name; directories that are links on the host are links here."""
    to = root + os.path.realpath(os.path.dirname(path)) + '/' + os.path.basename(path)
    if not os.path.exists(to):
        os.makedirs(os.path.dirname(to), exist_ok=True)
        shutil.copy(os.path.realpath(path), to)


def python_library(root):
    version = os.path.basename(os.path.realpath('/usr/bin/python3'))
    for path in glob.glob(f'/usr/lib/{version}/*.py') + glob.glob(f'/usr/lib/{version}/encodings/*.py') + \
            glob.glob(f'/usr/lib/{version}/__pycache__/*') + glob.glob(f'/usr/lib/{version}/encodings/__pycache__/*') + \
            glob.glob(f'/usr/lib/{version}/collections/**', recursive=True):
        if os.path.isfile(path):
            copy(root, path)
    os.makedirs(f'{root}/usr/lib/{version}/lib-dynload', exist_ok=True)


def write_corpus(path, size):
    """Text of words, a few of them often, the same each time."""
    rng = random.Random(1)
    words = [''.join(rng.choices('etaoinshrdlucmfw', k=rng.randint(2, 10))) for _ in range(5000)]
    with open(path, 'w') as f:
        while f.tell() < size:
            picks = [words[int(5000 * rng.random() ** 3)] for _ in range(20000)]
            f.write('\n'.join(' '.join(picks[i:i + 12]) for i in range(0, len(picks), 12)) + '\n')
        f.truncate(size)


def write_source(path, lines):
    """Functions of ten lines of C each."""
    with open(path, 'w') as f:
        for n in range(lines // 10):
            f.write(f'''unsigned long f{n}(unsigned long a, unsigned long b, unsigned *v)
{{
        unsigned long s = {n}ul * b;
        for (unsigned i = 0; i < a % {n % 90 + 10}; i++) {{
                s += v[i] * {n % 7 + 2}ul ^ (s >> {n % 13 + 1});
                if ((s & {n % 31 + 1}) == {n % 5})
                        s = s / {n % 11 + 3} + {f'f{n - 1}(s, b, v)' if n else 's'};
        }}
        return s + v[{n % 64}];
}}
''')


def write_inputs(where, divisor):
    os.makedirs(where)
    write_corpus(f'{where}/corpus', 20000000 // divisor)
    write_source(f'{where}/source.c', 2000 // divisor)
    with open(f'{where}/insert.sql', 'w') as f:
        f.write('create table t (id integer primary key, name text, value real); create index i on t (name);\n'
                f'with recursive n(i) as (select 1 union all select i + 1 from n where i < {200000 // divisor}) '
                "insert into t select i, 'name' || (i * 7919 % 100003), i * 0.5 from n;\n"
                'select count(*), max(name), sum(value) from t;\n')


def write_script(path, names, divisor):
    with open(path, 'w') as f:
        for name, _, command in COMMANDS:
            if name in names:
                if '{million}' in command:
                    command = command.format(million=1000000 // divisor)
                quoted = command.replace("'", "'\\''")
                f.write(f"./workloads -t {name} '{quoted}'\n")


def make_image(bench, inputs, names):
    root, image = os.path.join(bench.dir, 'debian'), os.path.join(bench.dir, 'debian.img')
    for d in 'usr', 'tmp', 'dev', 'proc':
        os.makedirs(f'{root}/{d}')
    for d in 'bin', 'sbin', 'lib', 'lib64':
        if os.path.islink('/' + d):
            os.symlink(os.readlink('/' + d), f'{root}/{d}')
            os.makedirs(root + os.path.realpath('/' + d), exist_ok=True)
    needed = {p for name, programs, _ in COMMANDS if name in names for p in programs} | {'sh', 'cat', 'rm'}
    for program in sorted(needed):
        for path in tools(program):
            for file in [path] + libraries(path):
                copy(root, file)
    if 'python3' in needed:
        python_library(root)
    shutil.copytree(inputs, f'{root}/input')
    env = dict(os.environ, PATH=os.environ['PATH'] + ':/sbin:/usr/sbin')
    kib = int(subprocess.run(['du', '-sk', root], stdout=subprocess.PIPE, text=True, check=True).stdout.split()[0])
    subprocess.run(['mke2fs', '-q', '-F', '-t', 'ext4', '-O', '^has_journal', '-d', root, image, f'{kib * 5 // 4 + 16384}k'],
                   check=True, env=env, stdout=subprocess.DEVNULL)
    shutil.rmtree(root)
    return image


def measure(bench):
    if not shutil.which('mke2fs', path=os.environ['PATH'] + ':/sbin:/usr/sbin'):
        raise Skip('mke2fs (e2fsprogs) is not installed')
    names = []
    for name, programs, _ in COMMANDS:
        absent = [p for p in programs if not tools(p)]
        if absent:
            print(f'\nskipped {name}: {absent[0]} is not installed')
        elif bench.choose([name]):
            names.append(name)
    divisor, inputs = 10 if bench.args.quick else 1, os.path.join(bench.dir, 'input')
    write_inputs(inputs, divisor)
    write_script(f'{inputs}/run', names, divisor)
    shutil.copy(bench.native_program, f'{inputs}/workloads')
    image = make_image(bench, inputs, names)
    initrd = bench.add_initrd({}, '''mount -t ext4 -o ro /dev/vda /mnt
mount -t tmpfs tmpfs /mnt/tmp
mount -t proc proc /mnt/proc
mount -t devtmpfs dev /mnt/dev
cp /mnt/input/* /mnt/tmp/
export PATH=/usr/bin:/bin LC_ALL=C
/bin/busybox chroot /mnt /usr/bin/sh -c 'cd /tmp && sh ./run'
''')

    def collect(machine):
        if machine == 'host':
            p = subprocess.run(['sh', './run'], cwd=inputs, env={'PATH': '/usr/bin', 'LC_ALL': 'C'}, stdin=subprocess.DEVNULL,
                               stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=bench.args.timeout)
            text = p.stdout.decode(errors='replace')
        else:
            command = bench.command(machine, 'rdinit=/benchinit', initrd=initrd, disk=image)
            text = bench.run_command(machine, command)[1]
        return bench.results(machine, text, names)

    bench.compare('programs of Debian, s', names, collect)
