#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""Stock Linux guests with virtio-net move bytes: with and without offloads, by the old interface, over two pairs of queues.

BYTES sets how many each way; the default is 32 MiB, `BYTES=1073741824 BOOT_S=600` is a full run.
"""
from guestlib import *


def moves_bytes(kind):
    with private_network() as (world, host):
        traffic = Traffic(host)
        said = Guest(world, host, "lease\ntraffic 192.168.16.1 %d\n" % traffic.blocks, words="test=" + kind).finish()
        traffic.check(said)
        traffic.end()


def bytes_arrive_with_offloads():
    moves_bytes("offload")


def bytes_arrive_without_offloads():
    moves_bytes("plain")


OLD = """
lease
echo "version: $(cut -c 33 /sys/class/net/eth0/device/features)"
traffic 192.168.16.1 %d
echo "irq: $(grep virtio /proc/interrupts)"
"""


def old_interface_and_the_interrupt_line_serve_too():
    with private_network() as (world, host):
        traffic = Traffic(host)
        said = Guest(world, host, OLD % traffic.blocks, words="test=old pci=nomsi").finish()
        equal(said.get("version"), "0", "VIRTIO_F_VERSION_1")
        contains(said["irq"], "IO-APIC", "the interrupt")
        traffic.check(said)
        traffic.end()


# Each processor has a pair of its own: one flow from each, one after the other.
TWO_PAIRS = """
lease
echo "queues: $(ls /sys/class/net/eth0/queues | tr '\\n' ' ')"
for cpu in 0 1; do
    sh -c "$(sed -n '/^traffic()/,/^}/p' /netinit)
        taskset -p \\$((1 << $cpu)) \\$\\$ >/dev/null; traffic 192.168.16.1 %d $cpu"
done
grep virtio /proc/interrupts | sed 's/.* \\([a-z0-9]*-[a-z]*[.][0-9]*\\|[a-z0-9]*-config\\)$/\\1 &/' |
    awk '{ n = 0; for (i = 3; i <= 4; i++) n += $i; sub(/^virtio[0-9]*-/, "", $1); print "irq-" $1 ": " n }'
"""


def two_queue_pairs_carry_traffic():
    with private_network(PRIVATE + 'tap_multiqueue_enable="YES"\n') as (world, host):
        traffic = Traffic(host, 2)
        said = Guest(world, host, TWO_PAIRS % traffic.blocks, nic="virtio-net,tap0,queues=2", cpus=2).finish()
        equal(said.get("queues"), "rx-0 rx-1 tx-0 tx-1 ", "queues of eth0")
        for cpu in "01":
            traffic.check(said, cpu, "pair %s: " % cpu)
            check(int(said["irq-input." + cpu]) > 100, "interrupts of the pair %s: %s" % (cpu, said))
        traffic.end()


main(bytes_arrive_with_offloads, bytes_arrive_without_offloads, old_interface_and_the_interrupt_line_serve_too,
     two_queue_pairs_carry_traffic)
