#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""A stock Linux guest with the e1000, whose driver Debian's kernel for virtual machines lacks.

FULL_KERNEL names a directory where the package that Debian's linux-image-amd64
depends on is unpacked (apt-get download, dpkg-deb -x); the default is
build/guest-full.  BYTES is as in test_guest_traffic.py.
"""
import glob

from guestlib import *

FULL_KERNEL = os.path.join(TOP, os.environ.get("FULL_KERNEL", "build/guest-full"))

SCRIPT = """
lease
offload eth0 on
traffic 192.168.16.1 %d -on
offload eth0 off
traffic 192.168.16.1 %d -off
ip link set eth0 down
ping -c 1 -W 1 192.168.16.1 >/dev/null 2>&1 || echo "down: no answer"
ip link set eth0 up
echo "carrier: $(await carrier 1)"
answers() { ping -c 1 -q -W 1 192.168.16.1 | grep ' 1 packets received'; }
echo "up: $(await answers)"
echo "irq: $(grep eth0 /proc/interrupts)"
grep -l . /sys/class/net/eth0/device/msi_irqs/* 2>/dev/null | sed 's/^/msi: /'
"""


def full_kernel():
    """Options of a Guest with the whole of Debian's drivers, of which it loads e1000."""
    need_guest()
    need("cc")
    kernels = glob.glob(os.path.join(FULL_KERNEL, "boot/vmlinuz-*"))
    drivers = glob.glob(os.path.join(FULL_KERNEL, "lib/modules/*/kernel/drivers/net/ethernet/intel/e1000/e1000.ko"))
    if not kernels or not drivers:
        raise Skip("no kernel with the e1000 driver in %s (FULL_KERNEL=DIR, linux-image-amd64 unpacked)" % FULL_KERNEL)
    with tempfile.TemporaryDirectory() as work:
        program = os.path.join(work, "offload")
        subprocess.run(["cc", "-O2", "-static", "-o", program, os.path.join(TOP, "tests/net/offload.c")], check=True)
        files = {"lib/modules/order": b"e1000.ko\n", "proc": None, "sys": None, "dev": None, "etc": None}
        for name, source in ("bin/busybox", shutil.which("busybox")), ("lib/modules/e1000.ko", drivers[0]), \
                ("bin/offload", program):
            with open(source, "rb") as file:
                files[name] = file.read()
    return {"kernel": kernels[0], "base": archive(files)}


def bytes_arrive_and_the_link_comes_back():
    need("dnsmasq")
    options = full_kernel()
    with World() as world:
        host, router, server = world.lan()
        host.bhyvenet("up", "-f", host.conf(PRIVATE))
        traffic = Traffic(host, 2)
        said = Guest(world, host, SCRIPT % (traffic.blocks, traffic.blocks), nic="e1000,tap0", **options).finish()
        traffic.check(said, "-on", "offloads on: ")
        traffic.check(said, "-off", "offloads off: ")
        equal(said.get("down"), "no answer", "while the interface is down")
        equal((said["carrier"], bool(said["up"])), ("1", True), "after it is up again")
        contains(said["irq"], "IO-APIC", "the line of the interrupt")
        check("msi" not in said, "message-signalled interrupts: %s" % said)
        traffic.end()
        host.bhyvenet("down")


def tap_that_disappears_takes_the_link_only():
    tap_disappears("e1000,tap0", **full_kernel())


main(bytes_arrive_and_the_link_comes_back, tap_that_disappears_takes_the_link_only)
