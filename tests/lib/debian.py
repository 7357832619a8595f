# SPDX-License-Identifier: BSD-2-Clause
"""Guests that run programs of the Debian that the host runs.

The programs and their libraries are copied into an ext4 image, which the guest mounts
and changes root to; a tmpfs holds what they work on.
"""
import glob
import os
import random
import re
import shutil
import subprocess

PATH = os.environ['PATH'] + ':/sbin:/usr/sbin'

# What begins every init that add_initrd() makes.
INIT = '''#!/bin/busybox sh
busybox=/bin/busybox
$busybox --install -s /bin
export PATH=/bin HOME=/
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev
while read -r module; do
        insmod "/lib/modules/$module" 2>/dev/null
done </lib/modules/order
'''

# Mounts the image (the first disk) and puts the inputs into its /tmp.
MOUNT = '''mount -t ext4 -o ro /dev/vda /mnt
mount -t tmpfs tmpfs /mnt/tmp
mount -t proc proc /mnt/proc
mount -t devtmpfs dev /mnt/dev
cp -r /mnt/input/* /mnt/tmp/
export PATH=/usr/bin:/bin LC_ALL=C
'''
CHROOT = '/bin/busybox chroot /mnt '


def gcc_parts():
    for part in 'cc1', 'as':
        found = subprocess.run(['/usr/bin/gcc', '-print-prog-name=' + part], stdout=subprocess.PIPE, text=True).stdout.strip()
        yield found if '/' in found else shutil.which(found) or found
    yield from glob.glob('/usr/include/stdc-predef.h')


def python_parts():
    library = '/usr/lib/' + os.path.basename(os.path.realpath('/usr/bin/python3'))
    yield from glob.glob(library + '/*.py')
    for part in '__pycache__', 'collections', 'ctypes', 'encodings', 'importlib', 'json', 'lib-dynload', 're', 'unittest', 'email', 'urllib':
        yield from glob.glob(f'{library}/{part}')


def perl_parts():
    yield from glob.glob('/usr/lib/*-linux-gnu/perl-base')


# What else belongs to a program: files and whole directories.
PARTS = {
    'gcc': gcc_parts,
    'python3': python_parts,
    'perl': perl_parts,
    'numpy': lambda: ['/usr/lib/python3/dist-packages/numpy'],
}


def parts(program):
    """The files and directories that a program consists of, without libraries; none if it is not all there."""
    found = ['/usr/bin/' + program] if program != 'numpy' else []
    if all(map(os.path.exists, found)):
        found += PARTS.get(program, lambda: [])()
    return found if all(map(os.path.exists, found)) else []


def libraries(path):
    out = subprocess.run(['ldd', path], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True).stdout
    return re.findall(r'(/\S+) \(0x', out)


def copy(root, path):
    """Copies what @path leads to, at its own name; directories that are links on the host are links here."""
    to = root + os.path.realpath(os.path.dirname(path)) + '/' + os.path.basename(path)
    if not os.path.exists(to):
        os.makedirs(os.path.dirname(to), exist_ok=True)
        shutil.copy(os.path.realpath(path), to)


def files_of(path):
    """@path, or the files below it that are not tests."""
    if os.path.isfile(path):
        yield path
    for directory, below, names in os.walk(path):
        below[:] = [d for d in below if d not in ('test', 'tests')]
        yield from (os.path.join(directory, n) for n in names)


def copy_program(root, program):
    for path in (f for part in parts(program) for f in files_of(part)):
        copy(root, path)
        if '.so' in path or os.access(path, os.X_OK):
            for library in libraries(path):
                copy(root, library)


def have_image_tools():
    return shutil.which('mke2fs', path=PATH) is not None


def make_image(directory, programs, inputs):
    """An image in @directory with @programs, a shell, and the directory @inputs as /input."""
    root, image = os.path.join(directory, 'debian'), os.path.join(directory, 'debian.img')
    for d in 'usr', 'tmp', 'dev', 'proc', 'disk':
        os.makedirs(f'{root}/{d}')
    for d in 'bin', 'sbin', 'lib', 'lib64':
        if os.path.islink('/' + d):
            os.symlink(os.readlink('/' + d), f'{root}/{d}')
            os.makedirs(root + os.path.realpath('/' + d), exist_ok=True)
    for program in sorted({'sh', 'cat', 'rm', *programs}):
        copy_program(root, program)
    shutil.copytree(inputs, f'{root}/input')
    kib = int(subprocess.run(['du', '-sk', root], stdout=subprocess.PIPE, text=True, check=True).stdout.split()[0])
    subprocess.run(['mke2fs', '-q', '-F', '-t', 'ext4', '-d', root, image, f'{kib * 5 // 4 + 16384}k'],
                   check=True, env=dict(os.environ, PATH=PATH), stdout=subprocess.DEVNULL)
    shutil.rmtree(root)
    return image


def add_initrd(guest, directory, files, init):
    """The initramfs in @guest with @files (name: path on the host) and @init, run by rdinit=/addedinit, behind it."""
    root = os.path.join(directory, 'added')
    shutil.rmtree(root, ignore_errors=True)
    os.makedirs(root)
    for name, source in files.items():
        shutil.copy(source, os.path.join(root, name))
    with open(os.path.join(root, 'addedinit'), 'w') as f:
        f.write(INIT + init + 'poweroff -f\n')
    os.chmod(os.path.join(root, 'addedinit'), 0o755)
    names = '\n'.join(['addedinit', *files]) + '\n'
    added = subprocess.run(['cpio', '--quiet', '-o', '-H', 'newc', '-R', '0:0'], cwd=root, input=names.encode(),
                           stdout=subprocess.PIPE, check=True).stdout
    path = os.path.join(directory, 'initrd')
    with open(os.path.join(guest, 'initrd'), 'rb') as base, open(path, 'wb') as out:
        data = base.read()
        out.write(data + bytes(-len(data) % 512) + added)
    return path


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


def write_insertions(path, rows):
    """SQL that fills a table with an index and reads it."""
    with open(path, 'w') as f:
        f.write('create table t (id integer primary key, name text, value real); create index i on t (name);\n'
                f'with recursive n(i) as (select 1 union all select i + 1 from n where i < {rows}) '
                "insert into t select i, 'name' || (i * 7919 % 100003), i * 0.5 from n;\n"
                'select count(*), max(name), sum(value) from t;\n')
