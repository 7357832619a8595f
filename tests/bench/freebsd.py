# SPDX-License-Identifier: BSD-2-Clause
"""Part `freebsd` of make bench: from the start of the programs to init.

  FREEBSD_KERNEL   a kernel
  FREEBSD_ROOT     a disk image; a copy is the guest's first virtio disk
  FREEBSD_QEMU     the same kernel as a Multiboot file for qemu -kernel, with its loader's work done
  FREEBSD_ENV      further settings of the loader, separated by blanks (vfs.root.mountfrom=ufs:/dev/vtbd0p2)
  FREEBSD_READY    what init prints first; without it the kernel's words when it mounts its root
"""
import os
import statistics
import subprocess
import time

from parts import Skip

HINTS = [f'hint.uart.0.{x}' for x in ('at=isa', 'port=0x3F8', 'flags=0x10', 'irq=4')]


def need(*names):
    for name in names:
        if not os.path.isfile(os.environ.get(name, '')):
            raise Skip(f'{name} names no file')
    return [os.environ[name] for name in names]


def wait_for(p, words, timeout):
    """Seconds on the clock when @words have come, or NaN; ends the process."""
    text, end = b'', time.monotonic() + timeout
    os.set_blocking(p.stdout.fileno(), False)
    try:
        while time.monotonic() < end:
            text += p.stdout.read() or b''
            if words in text:
                return time.monotonic()
            if p.poll() is not None:
                break
            time.sleep(0.01)
        print(text[-1500:].decode(errors='replace'))
        return float('nan')
    finally:
        p.kill()
        p.wait()
        p.stdout.close()


def boot(bench, machine, kernel, root, multiboot, words):
    disk = os.path.join(bench.dir, 'freebsd.img')
    subprocess.run(['cp', '--sparse=always', root, disk], check=True)
    name = f'benchfreebsd{os.getpid()}'
    start = time.monotonic()
    if machine == 'qemu':
        command = [bench.qemu, '-accel', bench.accel, '-m', '512', '-display', 'none', '-no-reboot', '-serial', 'stdio',
                   '-monitor', 'none', '-nic', 'none', '-kernel', multiboot, '-drive', f'file={disk},format=raw,if=virtio']
    else:
        settings = ['bootfile=host0:/' + os.path.basename(kernel), 'autoboot_delay=-1', *HINTS,
                    *os.environ.get('FREEBSD_ENV', '').split()]
        loader = os.path.join(os.path.dirname(bench.args.bhyve), 'bhyveload')
        subprocess.run([loader, '-m', '512M', '-h', os.path.dirname(os.path.abspath(kernel)),
                        *[w for s in settings for w in ('-e', s)], name], stdin=subprocess.DEVNULL,
                       stdout=subprocess.DEVNULL, check=True)
        command = [bench.args.bhyve, '-m', '512M', '-A', '-H', '-o', f'cpu.engine={bench.engine}', '-s', '0,hostbridge',
                   '-s', '31,lpc', '-s', f'3,virtio-blk,{disk}', '-l', 'com1,stdio', name]
    p = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    took = wait_for(p, words, bench.args.timeout) - start
    if machine == 'bhyve':
        subprocess.run([os.path.join(os.path.dirname(bench.args.bhyve), 'bhyvectl'), f'--vm={name}', '--destroy'],
                       stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return took


def measure(bench):
    kernel, root, multiboot = need('FREEBSD_KERNEL', 'FREEBSD_ROOT', 'FREEBSD_QEMU')
    words = os.environ.get('FREEBSD_READY', 'Trying to mount root from').encode()
    times = {m: [] for m in bench.machines()}
    for _ in range(bench.args.rounds):
        for m, t in times.items():
            t.append(boot(bench, m, kernel, root, multiboot, words))
    bench.row('FreeBSD', 'boot to init, s', {m: statistics.median(t) for m, t in times.items()})
