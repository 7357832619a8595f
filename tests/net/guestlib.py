# SPDX-License-Identifier: BSD-2-Clause
"""Stock Linux guests in bhyve for the tests in this folder.

A guest is Debian's kernel with the modules of build/guest, or another's that
the test names.  An archive added to its initramfs brings an init that loads
the modules, brings lo and eth0 up, and runs the test's shell script; then the
guest powers off.  What it prints as "key: value" comes back as a dictionary.
"""
import contextlib
import os
import subprocess

from netlib import *

GUEST = os.path.join(TOP, os.environ.get("GUEST", "build/guest"))
BHYVE = os.path.join(BUILD, "bhyve")
BOOT_S = int(os.environ.get("BOOT_S", 150))
BLOCK = 4 << 20
BYTES = int(os.environ.get("BYTES", 1 << 25))

INIT = """#!/bin/busybox sh
busybox=/bin/busybox
$busybox --install -s /bin
export PATH=/bin
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev
mkdir /t && mount -t tmpfs tmpfs /t
while read -r module; do
    options=
    case $module,$(cat /proc/cmdline) in
    virtio_net.ko,*test=plain*) options="csum=0 gso=0" ;;
    virtio_pci.ko,*test=old*) options=force_legacy=1 ;;
    esac
    insmod /lib/modules/$module $options 2>/dev/null
done < /lib/modules/order
lease() {
    udhcpc -i eth0 -n -q -t 10 -T 2 -x hostname:vm0 -s /lease.sh >/dev/null 2>&1
    echo "address: $(ip -4 addr show dev eth0 | sed -n 's|.*inet \\([0-9.]*\\)/.*|\\1|p')"
}
# Waits until "$@" gives something, and prints it.
await() {
    for i in $(seq 300); do
        got=$("$@")
        [ -z "$got" ] || break
        sleep 0.1
    done
    echo "$got"
}
global6() { ip -6 addr show dev eth0 scope global | grep -v tentative | sed -n 's|.*inet6 \\([0-9a-f:]*\\)/.*|\\1|p' | head -n 1; }
site6() { ip -6 addr show dev eth0 scope site | grep -v tentative | sed -n 's|.*inet6 \\([0-9a-f:]*\\)/.*|\\1|p' | head -n 1; }
carrier() { grep $1 /sys/class/net/eth0/carrier 2>/dev/null; }
pings() { ping -c 3 -q "$1" | sed -n 's/^.*transmitted, \\([0-9]*\\) .*/\\1/p'; }
# Moves COUNT blocks to the host's port 7200, and takes as many from 7201.
traffic() {
    head -c 4194304 /dev/urandom > /t/block
    { i=0; while [ $i -lt $2 ]; do cat /t/block; i=$((i + 1)); done; } | nc -w 20 $1 7200 > /t/answer
    echo "block$3: $(md5sum < /t/block)"
    echo "got$3: $(nc -w 20 $1 7201 < /dev/null | md5sum)"
}
ip link set lo up
ip link set eth0 up
. /script
poweroff -f
"""

TRAFFIC = """
import hashlib, os, socket, sys, time
count, size, rounds = int(sys.argv[1]), 4 << 20, int(sys.argv[2])
a = socket.create_server(("0.0.0.0", 7200))
b = socket.create_server(("0.0.0.0", 7201))
print("listening", flush=True)

def take(c):
    h, left = hashlib.md5(), size
    while left:
        got = c.recv(min(left, 1 << 18))
        if not got:
            return None
        h.update(got)
        left -= len(got)
    return h.hexdigest()

for _ in range(rounds):
    c, _ = a.accept()
    began = time.monotonic()
    blocks = [take(c) for _ in range(count)]
    up = time.monotonic() - began
    c.close()
    c, _ = b.accept()
    block, h = bytearray(os.urandom(size)), hashlib.md5()
    began = time.monotonic()
    for n in range(count):
        block[:8] = n.to_bytes(8, "little")
        c.sendall(block)
        h.update(block)
    c.shutdown(socket.SHUT_WR)
    while c.recv(100):
        pass
    down = time.monotonic() - began
    c.close()
    print(len(set(blocks)), blocks[0], h.hexdigest(), round(count * size / 1e6 / up), round(count * size / 1e6 / down),
          flush=True)
"""


class Traffic:
    """The host's end of the guest's `traffic ADDRESS blocks [suffix]', as often as `rounds' says."""

    def __init__(self, host, rounds=1):
        self.blocks = max(1, BYTES // BLOCK)
        self.process = host.start("python3", "-c", TRAFFIC, self.blocks, rounds, stdout=subprocess.PIPE, text=True)
        self.process.stdout.readline()

    def check(self, said, suffix="", what=""):
        """The next round against what the guest said."""
        check("got" + suffix in said, "the guest says nothing of its traffic")
        different, block, sent, up, down = self.process.stdout.readline().split()
        equal(different, "1", "kinds of blocks that came from the guest")
        equal(block, said["block" + suffix].split()[0], "the checksum of each block from the guest")
        equal(said["got" + suffix].split()[0], sent, "the checksum of what the guest received")
        print("        %s%d MiB each way: from the guest %s MB/s, to it %s MB/s"
              % (what, self.blocks * BLOCK >> 20, up, down))

    def end(self):
        self.process.kill()
        self.process.wait()
        self.process.stdout.close()


def need_guest():
    need("cpio")
    if not os.path.exists(os.path.join(GUEST, "initrd")):
        raise Skip("there is no guest in %s (tools/guest.sh makes it)" % GUEST)


@contextlib.contextmanager
def private_network(conf=PRIVATE):
    """A world and its host, which has the private network up; taken down again after what succeeded."""
    need("dnsmasq")
    need_guest()
    with World() as world:
        host, _router, _server = world.lan()
        host.bhyvenet("up", "-f", host.conf(conf))
        yield world, host
        host.bhyvenet("down")


def archive(files):
    """An initramfs of these: contents, or None for a directory, by path."""
    with tempfile.TemporaryDirectory() as root:
        for name, data in files.items():
            path = os.path.join(root, name)
            os.makedirs(path if data is None else os.path.dirname(path), exist_ok=True)
            if data is not None:
                with open(path, "wb") as file:
                    file.write(data)
                os.chmod(path, 0o755)
        names = subprocess.run(["find", ".", "-mindepth", "1"], cwd=root, stdout=subprocess.PIPE, check=True).stdout
        return subprocess.run(["cpio", "--quiet", "-o", "-H", "newc"], cwd=root, input=names, stdout=subprocess.PIPE,
                              check=True).stdout


class Guest:
    """A virtual machine in a node's network; start, then finish for what it said."""

    def __init__(self, world, host, script, nic="virtio-net,tap0", cpus=1, words="", kernel=None, base=None, name="vm0",
                 files=None):
        self.path = os.path.join(world.dir, "initrd-" + name)
        files = dict(files or {}, netinit=INIT.encode(), script=script.encode())
        files["lease.sh"] = LEASE_SCRIPT.encode()
        with open(self.path, "wb") as out:
            if base is None:
                with open(os.path.join(GUEST, "initrd"), "rb") as file:
                    base = file.read()
            out.write(base + b"\0" * (-len(base) % 512) + archive(files))
        self.process = host.start(
            "timeout", "-k", "1", str(BOOT_S), BHYVE, "-c", str(cpus), "-m", "256M", "-H", "-s", "0,hostbridge",
            "-s", "31,lpc", "-l", "com1,stdio", "-s", "5," + nic, "-o", "cpu.engine=" + os.environ.get("ENGINE", "auto"),
            "-o", "boot.kernel=" + (kernel or os.path.join(GUEST, "vmlinuz")), "-o", "boot.initrd=" + self.path,
            "-o", "boot.cmdline=console=ttyS0 quiet panic=-1 rdinit=/netinit " + words, name,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        self.console = ""

    def wait_for(self, key):
        """Reads on until the guest says it."""
        while "\n%s: " % key not in "\n" + self.console:
            got = self.process.stdout.read1(4096).decode(errors="replace").replace("\r", "")
            check(got, "the guest ended before it said %s:\n%s" % (key, self.console[-2000:]))
            self.console += got

    def finish(self):
        """What it said, after it has powered off."""
        self.console += self.process.communicate(timeout=BOOT_S + 10)[0].decode(errors="replace").replace("\r", "")
        check(self.process.returncode == 1, "bhyve's status is %d, not that of a power-off; the console said:\n%s"
              % (self.process.returncode, self.console[-2000:]))
        return dict(line.split(": ", 1) for line in self.console.split("\n") if ": " in line)


GONE = """
echo "before: $(await carrier 1)"
echo "after: $(await carrier 0)"
ping -c 1 -W 1 192.168.16.1 >/dev/null 2>&1
echo "alive: yes"
"""


def tap_disappears(nic, **options):
    """The link goes with the tap, the guest lives on, and bhyve says so once."""
    with World() as world:
        host = world.node("host")
        guest = Guest(world, host, GONE, nic=nic, **options)
        guest.wait_for("before")
        host("ip", "link", "del", "tap0")
        said = guest.finish()
        equal((said["before"], said["after"], said["alive"]), ("1", "0", "yes"), "carrier and life")
        equal(guest.console.count("the interface is gone"), 1, "warnings")
