#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""The article's private network: NAT, DHCP and names for guests behind taps."""
import json
import os
import signal
import time

from netlib import *


def private_network(world, text=PRIVATE):
    host, router, server = world.lan()
    host.write("hosts", "127.0.0.1 localhost\n127.0.1.1 host\n203.0.113.9 printer\n")
    host("mkdir", "-m", "700", "/run/bhyve")  # as the first virtual machine leaves it
    before = host.snapshot()
    host.bhyvenet("up", "-f", host.conf(text))
    return host, router, server, before


def two_guests_get_addresses_and_names():
    need("dnsmasq")
    need("busybox")
    with World() as world:
        host, router, server, before = private_network(world)
        vm0, vm1 = world.guest(host, "vm0", "tap0"), world.guest(host, "vm1", "tap1")
        a0, a1 = dhcp(vm0), dhcp(vm1)
        check(a0 != a1 and a0.startswith("192.168.16.") and a1.startswith("192.168.16."), "%s %s" % (a0, a1))
        equal(vm0.resolve("vm1"), a1, "vm1 as vm0 sees it")
        equal(vm1.resolve("vm0.vm.example"), a0, "vm0 by its full name")
        equal(vm0.resolve("host"), "192.168.16.1", "the host by name")
        equal(vm0.resolve("printer"), "203.0.113.9", "a name of /etc/hosts")
        equal(vm0.resolve("nothere"), None, "a name that does not exist")
        equal(who_asks(vm1, vm0, a1), a0, "guest to guest")
        equal(who_asks(host, vm0, "192.168.16.1"), a0, "guest to host")
        equal(who_asks(vm0, host, a0), "192.168.16.1", "host to guest")
        equal(who_asks(server, vm0, "198.51.100.10"), "203.0.113.5", "guest to the world, translated")
        status = json.loads(host.bhyvenet("status", "--json"))
        equal(status["state"], "up", "state")
        equal(sorted(l["name"] for l in status["dnsmasq"]["leases"]), ["vm0", "vm1"], "leases")
        members = {m["name"]: m["carrier"] for m in status["bridges"][0]["members"]}
        equal(members, {"tap0": True, "tap1": True, "tap2": False}, "members")
        contains(host.bhyvenet("status"), a0, "the table")
        for guest in vm0, vm1:
            guest.wire.kill()
            guest.wire.wait()
        host.bhyvenet("down")
        same(before, host.snapshot())


def tap_made_by_its_guest_joins_the_bridge():
    with World() as world:
        host, router, server, before = private_network(world, PRIVATE.replace("tap0 tap1 tap2", "tap0"))
        vm5 = world.guest(host, "vm5", "tap5")
        equal(host.links()["tap5"]["master"], "bridge0", "master of tap5")
        check(dhcp(vm5).startswith("192.168.16."), "address")
        host.bhyvenet("down")


def ipv6_by_router_advertisements():
    need("dnsmasq")
    with World() as world:
        host, router, server = world.lan()
        router("ip", "addr", "add", "2001:db8:1::1/64", "dev", "lan", "nodad")
        host("ip", "addr", "add", "2001:db8:1::5/64", "dev", "lan0", "nodad")
        before = host.snapshot()
        host.bhyvenet("up", "-f", host.conf(PRIVATE6))
        vm0 = world.guest(host, "vm0", "tap0")
        vm0("sysctl", "-q", "net.ipv6.conf.tap0.accept_ra=2")

        def address():
            return [a for a in vm0.addresses("tap0") if a.startswith("fd00:16:")]

        mine = until(address, 30, "an address by router advertisement")[0]
        until(lambda: "default" in vm0("ip", "-6", "route"), 30, "a default route")
        until(lambda: "tentative" not in vm0("ip", "addr"), 10, "the address is settled")
        equal(who_asks(host, vm0, "fd00:16::1"), mine, "guest to host over IPv6")
        equal(who_asks(router, vm0, "2001:db8:1::1"), "2001:db8:1::5", "guest to the LAN over IPv6, translated")
        vm0.wire.kill()
        vm0.wire.wait()
        host.bhyvenet("down")
        settle(host)
        same(before, host.snapshot())


def up_twice_changes_nothing():
    with World() as world:
        host, router, server, before = private_network(world, PRIVATE6)
        settle(host)
        first, pids = host.snapshot(), host.dnsmasqs()
        host.bhyvenet("up", "-f", host.conf(PRIVATE6))
        same(first, host.snapshot())
        equal(host.dnsmasqs(), pids, "dnsmasq's process")
        host.bhyvenet("down")
        host.bhyvenet("down")
        same(before, host.snapshot())


def up_after_an_edit_undoes_what_is_gone():
    with World() as world:
        host, router, server, before = private_network(world, PRIVATE6)
        shorter = "\n".join(line for line in PRIVATE.split("\n") if not line.startswith(("natd", "gateway", "dnsmasq", "dhcp")))
        host.bhyvenet("up", "-f", host.conf(shorter.replace(" tap2", "")))
        now = host.snapshot()
        for key in "sysctls", "nft", "processes":
            differing = [x for x in now[key] if x not in before[key] and "bridge0" not in x and "tap" not in x]
            check(not differing, "%s: %s" % (key, differing))
        check("tap2" not in host.links() and "tap1" in host.links(), "tap2 goes, tap1 stays")
        equal(host.addresses("bridge0"), ["192.168.16.1"], "addresses")
        host.bhyvenet("down")
        same(before, host.snapshot())


def forwarding_that_was_on_stays_on():
    with World() as world:
        host, router, server = world.lan()
        host("sysctl", "-q", "net.ipv4.ip_forward=1")
        before = host.snapshot()
        host.bhyvenet("up", "-f", host.conf(PRIVATE))
        host.bhyvenet("down")
        same(before, host.snapshot())
        host("sysctl", "-q", "net.ipv4.ip_forward=0", "net.ipv4.conf.lan0.forwarding=1",
             "net.ipv4.conf.all.accept_redirects=0", "net.ipv6.conf.lan0.accept_ra=1")
        before = host.snapshot()
        host.bhyvenet("up", "-f", host.conf(PRIVATE6))
        equal(host("sysctl", "-n", "net.ipv6.conf.lan0.accept_ra").strip(), "2", "accept_ra of a forwarding host")
        host.bhyvenet("down")
        same(before, host.snapshot())


def members_by_hand_come_and_go():
    with World() as world:
        host, router, server, before = private_network(world)
        world.wire(host, "extra0", router, "extra1")
        host.bhyvenet("addm", "bridge0", "extra0")
        equal(host.links()["extra0"]["master"], "bridge0", "master")
        host.bhyvenet("up", "-f", host.conf(PRIVATE))
        equal(host.links()["extra0"].get("master"), "bridge0", "master after up")
        host.bhyvenet("deletem", "bridge0", "extra0")
        check("master" not in host.links()["extra0"], "it left")
        host.bhyvenet("deletem", "bridge0", "extra0", fails="not a member")
        host.bhyvenet("deletem", "bridge0", "tap0")
        status = json.loads(host.bhyvenet("status", "--json"))
        equal(status["missing"], [{"name": "tap0", "bridge": "bridge0"}], "missing")
        contains(host.bhyvenet("status"), "tap0 of bridge0", "the table")
        host.bhyvenet("up", "-f", host.conf(PRIVATE))
        equal(host.links()["tap0"]["master"], "bridge0", "master of tap0 after up")
        host.bhyvenet("addm", "bridge0", "nosuch0", fails="does not exist")
        host.bhyvenet("addm", "lan0", "extra0", fails="not a bridge")
        host.bhyvenet("addm", "bridge0", "extra0")
        host.bhyvenet("down")
        host("ip", "link", "del", "extra0")
        same(before, host.snapshot())


def dnsmasq_is_kept_running():
    need("dnsmasq")
    with World() as world:
        host, router, server, before = private_network(world)
        vm0 = world.guest(host, "vm0", "tap0")
        dhcp(vm0)
        first = host.dnsmasqs()[0]
        os.kill(first, signal.SIGKILL)
        until(lambda: host.dnsmasqs() not in ([], [first]), 15, "a new dnsmasq")
        until(lambda: vm0.resolve("host") == "192.168.16.1", 10, "the new one answers")
        host.write("hosts", "127.0.0.1 localhost\n203.0.113.77 newname\n")
        until(lambda: vm0.resolve("newname") == "203.0.113.77", 15, "a name new in /etc/hosts")
        supervisor = int(host("cat", "/run/bhyve/.net/supervisor"))
        os.kill(supervisor, signal.SIGKILL)
        time.sleep(0.2)
        host.bhyvenet("up", "-f", host.conf(PRIVATE))
        equal(len(host.dnsmasqs()), 1, "dnsmasqs after the supervisor was killed")
        vm0.wire.kill()
        vm0.wire.wait()
        host.bhyvenet("down")
        host.write("hosts", "127.0.0.1 localhost\n")
        same(before, host.snapshot())


def tap_owner_may_open_it_without_root():
    with World() as world:
        host, router, server, before = private_network(world, PRIVATE + 'tap_owner="nobody"\n')
        equal(host.links()["tap0"]["linkinfo"]["info_data"]["user"], "nobody", "owner")
        text = """
import fcntl, os, struct
os.setgid(65534); os.setuid(65534)
fd = os.open("/dev/net/tun", os.O_RDWR)
fcntl.ioctl(fd, 0x400454ca, struct.pack("16sH22s", b"tap0", 0x1002, b""))
"""
        if os.stat("/dev/net/tun").st_mode & 0o006 == 0o006:
            host.python(text)
        host.bhyvenet("down")


main(two_guests_get_addresses_and_names, tap_made_by_its_guest_joins_the_bridge, ipv6_by_router_advertisements,
     up_twice_changes_nothing, up_after_an_edit_undoes_what_is_gone, forwarding_that_was_on_stays_on,
     members_by_hand_come_and_go, dnsmasq_is_kept_running, tap_owner_may_open_it_without_root)
