#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""TCP through taps that tap_open() opened: every byte arrives, both ways.

BYTES sets how much; the default is 1 GB with offloads and 256 MB without.
"""
import os
import subprocess

from netlib import *

SINK = """
import hashlib, socket, sys
s = socket.create_server(("0.0.0.0", 7001))
print("listening", flush=True)
c, _ = s.accept()
h, n = hashlib.blake2b(), 0
buf = memoryview(bytearray(1 << 20))
while True:
    got = c.recv_into(buf)
    if not got:
        break
    h.update(buf[:got])
    n += got
print(n, h.hexdigest())
"""
SOURCE = """
import hashlib, os, socket, sys, time
left, h, block = int(sys.argv[2]), hashlib.blake2b(), bytearray(os.urandom(1 << 20))
s = socket.create_connection((sys.argv[1], 7001))
n, began = 0, time.monotonic()
while left:
    block[0:8] = n.to_bytes(8, "little")
    part = memoryview(block)[:min(left, len(block))]
    s.sendall(part)
    h.update(part)
    left -= len(part)
    n += len(part)
s.shutdown(socket.SHUT_WR)
s.recv(1)
print(n, h.hexdigest(), file=sys.stdout)
print("%.0f" % (n / 1e6 / (time.monotonic() - began)), file=sys.stderr)
"""


def send(source, sink, address, count):
    """Megabytes a second; fails unless all arrive as they were sent."""
    sinking = sink.start("python3", "-c", SINK, stdout=subprocess.PIPE, text=True)
    sinking.stdout.readline()
    sent = subprocess.run(source.enter(["python3", "-c", SOURCE, address, count]), stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE, text=True, timeout=300)
    got = sinking.communicate(timeout=60)[0]
    equal(got, sent.stdout, "bytes and checksum")
    equal(int(got.split()[0]), count, "bytes")
    return sent.stderr.strip()


def both_ways(offload, count):
    count = int(os.environ.get("BYTES", count))
    with World() as world:
        host, router, server = world.lan()
        host.bhyvenet("up", "-f", host.conf(PRIVATE))
        vm0 = world.guest(host, "vm0", "tap0", offload)
        vm0("ip", "addr", "add", "192.168.16.77/24", "dev", "tap0")
        vm0("ip", "route", "add", "default", "via", "192.168.16.1")
        up = send(vm0, host, "192.168.16.1", count)
        down = send(host, vm0, "192.168.16.77", count)
        world_up = send(vm0, server, "198.51.100.10", min(count, 200000000))
        print("        %d bytes each way: to the host %s MB/s, from it %s MB/s, through NAT %s MB/s"
              % (count, up, down, world_up))
        vm0.wire.kill()
        vm0.wire.wait()
        host.bhyvenet("down")


def with_offloads():
    both_ways(True, 1 << 30)


def without_offloads():
    both_ways(False, 1 << 28)


main(with_offloads, without_offloads)
