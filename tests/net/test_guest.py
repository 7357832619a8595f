#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""A stock Linux guest with virtio-net on a tap of the private network.

It is Debian's kernel with the modules of build/guest; an archive added to
its initramfs brings an init that asks for an address and does what the test
wants: looks up names and fetches from the server behind NAT, or moves BYTES
each way (64 MiB by default) with and without offloads; then it powers off.
"""
import os
import subprocess

from netlib import *

GUEST = os.path.join(TOP, os.environ.get("GUEST", "build/guest"))
BHYVE = os.path.join(BUILD, "bhyve")
BOOT_S = int(os.environ.get("BOOT_S", 150))

INIT = """#!/bin/busybox sh
busybox=/bin/busybox
$busybox --install -s /bin
export PATH=/bin
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev
while read -r module; do
    options=
    case $module,$(cat /proc/cmdline) in virtio_net.ko,*test=plain*) options="csum=0 gso=0" ;; esac
    insmod /lib/modules/$module $options 2>/dev/null
done < /lib/modules/order
ip link set lo up
ip link set eth0 up
udhcpc -i eth0 -n -q -t 10 -T 2 -x hostname:vm0 -s /lease.sh >/dev/null 2>&1
echo "address: $(ip -4 addr show dev eth0 | sed -n 's|.*inet \\([0-9.]*\\)/.*|\\1|p')"
case $(cat /proc/cmdline) in *test=plain*|*test=offload*)
    mkdir /t && mount -t tmpfs tmpfs /t
    head -c 4194304 /dev/urandom > /t/block
    count=$(sed 's/.*blocks=\\([0-9]*\\).*/\\1/' /proc/cmdline)
    { i=0; while [ $i -lt $count ]; do cat /t/block; i=$((i + 1)); done; } | nc -w 20 192.168.16.1 7200 > /t/answer
    echo "block: $(md5sum < /t/block)"
    echo "got: $(nc -w 20 192.168.16.1 7201 < /dev/null | md5sum)"
    poweroff -f ;;
esac
for name in vm1 host printer; do
    echo "$name: $(nslookup -type=a $name.vm.example 2>&1 | sed -n '/^Name/,$s/^Address: *//p' | head -n 1)"
done
echo "server: $(nc -w 10 198.51.100.10 7000 < /dev/null)"
ping -c 3 -q 192.168.16.1 | sed -n 's/^.*transmitted, \\([0-9]*\\) .*/pings: \\1/p'
dd if=/dev/zero bs=64k count=128 2>/dev/null | nc -w 10 192.168.16.1 7100 | sed 's/^/sink: /'
poweroff -f
"""
COUNT = """
import socket
s = socket.create_server(("0.0.0.0", 7100))
print("listening", flush=True)
c, _ = s.accept()
n = 0
while n < 128 * 65536:
    got = c.recv(65536)
    if not got or got.strip(b"\\0"):
        break
    n += len(got)
c.sendall(b"%d\\n" % n)
c.close()
"""


def initrd(world):
    """The guest's own initramfs with our init behind it; returns the path."""
    root = os.path.join(world.dir, "root")
    os.makedirs(root)
    for name, text in ("netinit", INIT), ("lease.sh", LEASE_SCRIPT):
        path = os.path.join(root, name)
        with open(path, "w") as file:
            file.write(text)
        os.chmod(path, 0o755)
    added = subprocess.run(["cpio", "--quiet", "-o", "-H", "newc"], cwd=root, input=b"netinit\nlease.sh\n",
                           stdout=subprocess.PIPE, check=True).stdout
    path = os.path.join(world.dir, "initrd")
    with open(os.path.join(GUEST, "initrd"), "rb") as base, open(path, "wb") as out:
        data = base.read()
        out.write(data + b"\0" * (-len(data) % 512) + added)
    return path


BLOCK = 4 << 20
TRAFFIC = """
import hashlib, os, socket, sys, time
count, size = int(sys.argv[1]), 4 << 20
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
print(len(set(blocks)), blocks[0], h.hexdigest(), round(count * size / 1e6 / up), round(count * size / 1e6 / down))
"""


def command(world, words=""):
    """What runs the guest with its console on standard output."""
    return [BHYVE, "-c", "1", "-m", "256M", "-H", "-s", "0,hostbridge", "-s", "31,lpc", "-l", "com1,stdio",
            "-s", "5,virtio-net,tap0", "-o", "cpu.engine=" + os.environ.get("ENGINE", "auto"),
            "-o", "boot.kernel=" + os.path.join(GUEST, "vmlinuz"), "-o", "boot.initrd=" + initrd(world),
            "-o", "boot.cmdline=console=ttyS0 quiet panic=-1 rdinit=/netinit " + words, "vm0"]


def stock_linux_guest_is_on_the_network():
    need("dnsmasq")
    need("cpio")
    if not os.path.exists(os.path.join(GUEST, "initrd")):
        raise Skip("there is no guest in %s (tools/guest.sh makes it)" % GUEST)
    with World() as world:
        host, router, server = world.lan()
        host.write("hosts", "127.0.0.1 localhost\n203.0.113.9 printer\n")
        before = host.snapshot()
        host.bhyvenet("up", "-f", host.conf(PRIVATE))
        vm1 = world.guest(host, "vm1", "tap1")
        a1 = dhcp(vm1)
        serving = server.start("python3", "-c", SERVE, "0.0.0.0", "7000", stdout=subprocess.PIPE)
        counting = host.start("python3", "-c", COUNT, stdout=subprocess.PIPE)
        serving.stdout.readline()
        counting.stdout.readline()
        vm0 = host.start("timeout", "-k", "1", str(BOOT_S), *command(world), stdout=subprocess.PIPE,
                         stderr=subprocess.STDOUT)
        console = vm0.communicate(timeout=BOOT_S + 10)[0].decode(errors="replace").replace("\r", "")
        said = dict(line.split(": ", 1) for line in console.split("\n") if ": " in line)
        check(said.get("address", "").startswith("192.168.16."), "no address by DHCP; the console said:\n" + console[-2000:])
        equal(said.get("vm1"), a1, "another guest by name")
        equal(said.get("host"), "192.168.16.1", "the host by name")
        equal(said.get("printer"), "203.0.113.9", "a name of /etc/hosts")
        equal(said.get("server"), "203.0.113.5", "the address that the server saw")
        equal(said.get("pings"), "3", "answers to pings")
        equal(said.get("sink"), str(128 * 65536), "bytes over TCP")
        equal(vm1.resolve("vm0"), said["address"], "the guest as another sees it")
        for process in serving, counting:
            process.kill()
            process.wait()
            process.stdout.close()
        vm1.wire.kill()
        vm1.wire.wait()
        host.bhyvenet("down")
        same(before, host.snapshot())


def moves_bytes(kind):
    need("dnsmasq")
    need("cpio")
    if not os.path.exists(os.path.join(GUEST, "initrd")):
        raise Skip("there is no guest in %s (tools/guest.sh makes it)" % GUEST)
    count = max(1, int(os.environ.get("BYTES", 1 << 26)) // BLOCK)
    with World() as world:
        host, router, server = world.lan()
        host.bhyvenet("up", "-f", host.conf(PRIVATE))
        traffic = host.start("python3", "-c", TRAFFIC, count, stdout=subprocess.PIPE, text=True)
        traffic.stdout.readline()
        vm0 = host.start("timeout", "-k", "1", str(BOOT_S), *command(world, "test=%s blocks=%d" % (kind, count)),
                         stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        console = vm0.communicate(timeout=BOOT_S + 10)[0].decode(errors="replace").replace("\r", "")
        said = dict(line.split(": ", 1) for line in console.split("\n") if ": " in line)
        check("got" in said, "the guest did not end well; the console said:\n" + console[-2000:])
        different, block, sent, up, down = traffic.communicate(timeout=10)[0].split()
        equal(different, "1", "kinds of blocks that came from the guest")
        equal(block, said["block"].split()[0], "the checksum of each block from the guest")
        equal(said["got"].split()[0], sent, "the checksum of what the guest received")
        print("        %d MiB each way: from the guest %s MB/s, to it %s MB/s" % (count * BLOCK >> 20, up, down))
        host.bhyvenet("down")


def bytes_arrive_with_offloads():
    moves_bytes("offload")


def bytes_arrive_without_offloads():
    moves_bytes("plain")


main(bytes_arrive_with_offloads, bytes_arrive_without_offloads, stock_linux_guest_is_on_the_network)
