#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""The article's bridged configuration: guests on the host's own LAN."""
from netlib import *

BRIDGED = """\
autobridge_interfaces="bridge0"
autobridge_bridge0="lan0 tap*"
cloned_interfaces="bridge0 tap0 tap1 tap2"
"""


def lan_with_dhcp(world):
    host, router, server = world.lan()
    conf = router.write("lan.conf", "interface=lan\nexcept-interface=lo\nbind-dynamic\nport=0\n"
                        "dhcp-range=203.0.113.100,203.0.113.150,1h\ndhcp-option=option:router,203.0.113.1\n"
                        "dhcp-leasefile=%s/leases\npid-file=\nuser=root\n" % router.dir)
    router.dhcp = router.start("dnsmasq", "-k", "--conf-file=" + conf)
    return host, router, server


def guest_is_on_the_lan_by_its_own_address():
    need("dnsmasq")
    need("busybox")
    with World() as world:
        host, router, server = lan_with_dhcp(world)
        before = host.snapshot()
        mac = host.links()["lan0"]["address"]
        host.bhyvenet("up", "-f", host.conf(BRIDGED))
        equal(host.addresses("bridge0"), ["203.0.113.5"], "the host's address moved")
        equal(host.addresses("lan0"), [], "no address on the member")
        equal(host.links()["bridge0"]["address"], mac, "the bridge's MAC address")
        contains(host("ip", "route"), "default via 203.0.113.1 dev bridge0")
        vm0, vm1 = world.guest(host, "vm0", "tap0"), world.guest(host, "vm1", "tap1")
        a0, a1 = dhcp(vm0), dhcp(vm1)
        check(a0.startswith("203.0.113.1"), a0)
        equal(who_asks(vm0, router, a0), "203.0.113.1", "LAN to guest")
        equal(who_asks(server, vm0, "198.51.100.10"), a0, "guest to the server, not translated")
        equal(who_asks(vm1, vm0, a1), a0, "guest to guest")
        equal(who_asks(host, vm0, "203.0.113.5"), a0, "guest to host")
        equal(who_asks(server, host, "198.51.100.10"), "203.0.113.5", "the host keeps its network")
        for guest in vm0, vm1:
            guest.wire.kill()
            guest.wire.wait()
        host.bhyvenet("down")
        same(before, host.snapshot())
        equal(who_asks(server, host, "198.51.100.10"), "203.0.113.5", "the host's network after down")


def addresses_and_routes_of_all_kinds_return():
    with World() as world:
        host, router, server = world.lan()
        host("ip", "addr", "add", "203.0.113.6/24", "dev", "lan0")
        host("ip", "addr", "add", "10.9.0.1/16", "brd", "10.9.255.255", "dev", "lan0", "noprefixroute")
        host("ip", "addr", "add", "2001:db8:1::5/64", "dev", "lan0", "nodad")
        host("ip", "route", "add", "192.0.2.0/24", "via", "203.0.113.1", "src", "203.0.113.6", "metric", "50")
        host("ip", "route", "add", "10.9.0.0/17", "dev", "lan0", "proto", "static", "scope", "link")
        host("ip", "route", "add", "172.20.0.0/16", "via", "203.0.113.1", "table", "77")
        host("ip", "-6", "route", "add", "default", "via", "2001:db8:1::1", "metric", "9")
        settle(host)
        before = host.snapshot()
        routes = host("ip", "route"), host("ip", "-6", "route", "show", "default")
        host.bhyvenet("up", "-f", host.conf(BRIDGED))
        equal(sorted(host("ip", "route").replace("bridge0", "lan0").replace(" linkdown", "").split("\n")),
              sorted(routes[0].split("\n")), "routes over the bridge")
        contains(host("ip", "-6", "route", "show", "default"), "via 2001:db8:1::1 dev bridge0")
        contains(host("ip", "route", "show", "table", "77"), "172.20.0.0/16 via 203.0.113.1 dev bridge0")
        host.bhyvenet("up", "-f", host.conf(BRIDGED))
        host.bhyvenet("down")
        settle(host)
        same(before, host.snapshot())


def a_bridge_that_another_made_is_used_and_kept():
    with World() as world:
        host, router, server = world.lan()
        host("ip", "link", "add", "br9", "type", "bridge")
        host("ip", "link", "set", "br9", "up")
        host("ip", "link", "set", "br9", "down")
        before = host.snapshot()
        host.bhyvenet("up", "-f", host.conf('autobridge_interfaces="br9"\nautobridge_br9="tap*"\n'
                                            'cloned_interfaces="tap0"\nifconfig_br9="inet 192.168.16.1/24"\n'))
        equal(host.links()["tap0"]["master"], "br9", "master")
        equal(host.addresses("br9"), ["192.168.16.1"], "address")
        host.bhyvenet("down")
        after = host.snapshot()
        for snapshot in before, after:  # a bridge without an address of its own follows its members'
            for link in snapshot["links"]:
                if link["ifname"] == "br9":
                    link.pop("address")
                    link.pop("tso_max_size")
                    for key in "bridge_id", "root_id":
                        link["linkinfo"]["info_data"].pop(key)
        same(before, after)


main(guest_is_on_the_lan_by_its_own_address, addresses_and_routes_of_all_kinds_return,
     a_bridge_that_another_made_is_used_and_kept)
