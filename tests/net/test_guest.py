#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""Stock Linux guests with virtio-net on taps of the private network and on a cable between two."""
from guestlib import *

NAMES = """
lease
for name in vm1 host printer; do
    echo "$name: $(nslookup -type=a $name.vm.example 2>&1 | sed -n '/^Name/,$s/^Address: *//p' | head -n 1)"
done
echo "server: $(nc -w 10 198.51.100.10 7000 < /dev/null)"
echo "pings: $(pings 192.168.16.1)"
"""


def stock_linux_guest_is_on_the_network():
    need("dnsmasq")
    need_guest()
    with World() as world:
        host, router, server = world.lan()
        host.write("hosts", "127.0.0.1 localhost\n203.0.113.9 printer\n")
        before = host.snapshot()
        host.bhyvenet("up", "-f", host.conf(PRIVATE))
        vm1 = world.guest(host, "vm1", "tap1")
        a1 = dhcp(vm1)
        serving = Server(server, "0.0.0.0", 7000)
        said = Guest(world, host, NAMES).finish()
        check(said.get("address", "").startswith("192.168.16."), "no address by DHCP: %s" % said)
        equal(said.get("vm1"), a1, "another guest by name")
        equal(said.get("host"), "192.168.16.1", "the host by name")
        equal(said.get("printer"), "203.0.113.9", "a name of /etc/hosts")
        equal(said.get("server"), "203.0.113.5", "the address that the server saw")
        equal(said.get("pings"), "3", "answers to pings")
        equal(vm1.resolve("vm0"), said["address"], "the guest as another sees it")
        serving.end()
        vm1.wire.kill()
        vm1.wire.wait()
        host.bhyvenet("down")
        same(before, host.snapshot())


def one_queue_where_the_tap_has_no_more():
    with private_network() as (world, host):
        guest = Guest(world, host, "lease\necho \"queues: $(ls /sys/class/net/eth0/queues | tr '\\n' ' ')\"\n",
                      nic="virtio-net,tap0,queues=2", cpus=2)
        said = guest.finish()
        equal(said.get("queues"), "rx-0 tx-0 ", "queues of eth0")
        check(said.get("address", "").startswith("192.168.16."), "no address by DHCP: %s" % said)
        contains(guest.console, "tap0 has one queue, not 2", "the console")
        contains(guest.console, "tap_multiqueue_enable", "the console")


def tap_that_disappears_takes_the_link_only():
    need_guest()
    tap_disappears("virtio-net,tap0")


ADDRESS = """
echo "mtu: $(cat /sys/class/net/eth0/mtu)"
echo "mac: $(cat /sys/class/net/eth0/address)"
lease
# 3,972 bytes of payload are 4,000 of IP; a packet that is one larger cannot leave whole.
echo "large: $(ping -c 2 -q -s 3972 192.168.16.1 | sed -n 's/^.*transmitted, \\([0-9]*\\) .*/\\1/p')"
"""


def mtu_and_mac_are_as_asked_for():
    conf = PRIVATE.replace('"inet 192.168.16.1/24"', '"inet 192.168.16.1/24 mtu 4000"')
    with private_network(conf) as (world, host):
        host("ip", "link", "set", "tap0", "mtu", "4000")
        said = Guest(world, host, ADDRESS, nic="virtio-net,tap0,mac=02:00:00:aa:bb:cc,mtu=4000").finish()
        equal(said["mtu"], "4000", "MTU")
        equal(said["mac"], "02:00:00:aa:bb:cc", "Ethernet address")
        equal(said["large"], "2", "answers to packets of 4,000 bytes")


CABLE = """
ip addr add 10.9.0.%d/24 dev eth0
"""
SERVES = CABLE % 1 + """
head -c 8388608 /dev/urandom > /t/block
echo "sent: $(md5sum < /t/block)"
nc -l -p 7000 -e cat /t/block
nc -l -p 7001 -e md5sum
"""
ASKS = CABLE % 2 + """
answers() { ping -c 1 -q -W 1 10.9.0.1 | grep ' 1 packets received'; }
await answers >/dev/null
fetch() { nc 10.9.0.1 7000 < /dev/null > /t/block; [ ! -s /t/block ] || md5sum < /t/block; }
echo "got: $(await fetch)"
give() { nc 10.9.0.1 7001 < /t/block; }
echo "sum: $(await give)"
"""


def two_guests_share_a_cable():
    need_guest()
    with World() as world:
        host = world.node("host")
        nic = "virtio-net,unix,path=" + os.path.join(world.dir, "cable")
        first = Guest(world, host, SERVES, nic=nic, name="vm0")
        second = Guest(world, host, ASKS, nic=nic, name="vm1")
        asked, served = second.finish(), first.finish()
        equal(asked["got"], served["sent"], "the checksum one way")
        equal(asked["sum"], served["sent"], "the checksum the other way")


main(stock_linux_guest_is_on_the_network, one_queue_where_the_tap_has_no_more, tap_that_disappears_takes_the_link_only,
     mtu_and_mac_are_as_asked_for, two_guests_share_a_cable)
