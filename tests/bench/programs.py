# SPDX-License-Identifier: BSD-2-Clause
"""Part `real` of make bench: programs of the Debian that it runs on, natively and in the guests.

The guests run them from an image (lib/debian.py), which is in their page cache.  What is not installed is left out
by name.  Each command's output must be the same everywhere.
"""
import os
import shutil
import subprocess

import hostmemory
from lib import debian
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


def write_inputs(where, divisor):
    os.makedirs(where)
    debian.write_corpus(f'{where}/corpus', 20000000 // divisor)
    debian.write_source(f'{where}/source.c', 2000 // divisor)
    debian.write_insertions(f'{where}/insert.sql', 200000 // divisor)


def write_script(path, names, divisor):
    with open(path, 'w') as f:
        for name, _, command in COMMANDS:
            if name in names:
                if '{million}' in command:
                    command = command.format(million=1000000 // divisor)
                quoted = command.replace("'", "'\\''")
                f.write(f"./workloads -t {name} '{quoted}'\n")


def measure(bench):
    if not debian.have_image_tools():
        raise Skip('mke2fs (e2fsprogs) is not installed')
    names = []
    for name, programs, _ in COMMANDS:
        absent = [p for p in programs if not debian.parts(p)]
        if absent:
            print(f'\nskipped {name}: {absent[0]} is not installed')
        elif bench.choose([name]):
            names.append(name)
    divisor, inputs = 10 if bench.args.quick else 1, os.path.join(bench.dir, 'input')
    write_inputs(inputs, divisor)
    write_script(f'{inputs}/run', names, divisor)
    shutil.copy(bench.native_program, f'{inputs}/workloads')
    needed = {p for name, programs, _ in COMMANDS if name in names for p in programs}
    image = debian.make_image(bench.dir, needed, inputs)
    # A guest that has used its memory before, for part `touch` measures that; and read its files, for the disk is another part's.
    initrd = bench.add_initrd({}, debian.MOUNT + debian.CHROOT + '/tmp/workloads -r 1 touch >/dev/null\n'
                              'find /mnt/usr -type f -exec cat {} + >/dev/null\n' +
                              debian.CHROOT + "/usr/bin/sh -c 'cd /tmp && sh ./run'\n")

    def collect(machine):
        if machine == 'host':
            hostmemory.touch(512)
            p = subprocess.run(['sh', './run'], cwd=inputs, env={'PATH': '/usr/bin', 'LC_ALL': 'C'}, stdin=subprocess.DEVNULL,
                               stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=bench.args.timeout)
            text = p.stdout.decode(errors='replace')
        else:
            command = bench.command(machine, 'rdinit=/addedinit', initrd=initrd, disk=image)
            text = bench.run_command(machine, command)[1]
        return bench.results(machine, text, names)

    bench.compare('programs of Debian, s', names, collect)
