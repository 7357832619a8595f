# SPDX-License-Identifier: BSD-2-Clause
"""Part `net` of make bench: virtio-net on one tap, TCP, small packets and ping, in a namespace of its own."""
import os
import re
import shutil
import statistics
import subprocess
import sys

from parts import Skip

HOST, GUEST = '192.168.77.1', '192.168.77.2'


class Namespace:
    """A network namespace with tap0, and traffic's servers in it; ends with the process that holds it."""

    def __init__(self, traffic):
        script = (f'ip link set lo up && ip tuntap add dev tap0 mode tap && ip addr add {HOST}/24 dev tap0 && '
                  f'ip link set tap0 up && exec {traffic} serve')
        self.process = subprocess.Popen(['unshare', '-n', 'setsid', 'sh', '-c', script], stdout=subprocess.PIPE,
                                        stdin=subprocess.DEVNULL, text=True)
        if self.process.stdout.readline() != 'ready\n':
            raise Skip('no network namespace with a tap can be made here')

    def enter(self, command):
        return ['nsenter', '-t', str(self.process.pid), '-n', *command]

    def close(self):
        try:
            os.killpg(self.process.pid, 9)
        except ProcessLookupError:
            self.process.kill()
        self.process.wait()
        self.process.stdout.close()


def need():
    if os.geteuid() != 0:
        raise Skip('needs root')
    if not os.path.exists('/dev/net/tun'):
        raise Skip('needs /dev/net/tun')
    for program in 'unshare', 'nsenter', 'setsid', 'ip':
        if not shutil.which(program):
            raise Skip(f'{program} is not installed')
    if subprocess.run(['unshare', '-n', 'true'], stderr=subprocess.DEVNULL).returncode != 0:
        raise Skip('needs network namespaces')


def figures(text):
    found = {n: float(v) for n, v in re.findall(r'traffic (\w+) ([0-9.]+)', text)}
    ping = re.search(r'min/avg/max = [0-9.]+/([0-9.]+)/', text)
    if ping:
        found['ping'] = float(ping[1])
    return found


def measure(bench):
    need()
    seconds, pings = (2, 20) if bench.args.quick else (5, 100)
    traffic = bench.compile('traffic')
    init = f'ip link set lo up\nip addr add {GUEST}/24 dev eth0\nip link set eth0 up\nsleep 1\nping -c 2 -q {HOST} >/dev/null\n'
    init += ''.join(f'/traffic {mode} {HOST} {seconds}\n' for mode in ('up', 'down', 'out', 'in'))
    init += f'ping -c {pings} -i 0.05 -q {HOST}\n'
    initrd = bench.add_initrd({'traffic': traffic}, init)
    runs = {m: [] for m in bench.machines()}
    namespace = Namespace(traffic)
    try:
        for _ in range(bench.args.rounds):
            for m, found in runs.items():
                command = namespace.enter(bench.command(m, 'rdinit=/addedinit', initrd=initrd, tap='tap0'))
                text = bench.run_command(m, command)[1]
                found.append(figures(text))
                if len(found[-1]) != 5:
                    sys.stdout.write(text[-1500:])
                    print(f'bench: {m}: network figures are missing')
    finally:
        namespace.close()
    for key, name, less in (('up', 'TCP to the host, MB/s', False), ('down', 'TCP from the host, MB/s', False),
                            ('out', '64-byte frames out, 1/s', False), ('in', '64-byte frames in, 1/s', False),
                            ('ping', 'ping, ms', True)):
        bench.row('network', name, {m: statistics.median([f[key] for f in found if key in f] or [float('nan')])
                                    for m, found in runs.items()}, less)
