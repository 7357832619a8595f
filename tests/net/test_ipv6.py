#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""A stock Linux guest speaks IPv6: on the private bridge, on the host's LAN, and over slirp; and IPv4 over slirp."""
import re

from guestlib import *

LAN_PREFIX = "2001:db8:1::"


def lan6(world):
    """world.lan(), whose router and host have IPv6 addresses too."""
    host, router, server = world.lan()
    router("ip", "addr", "add", LAN_PREFIX + "1/64", "dev", "lan", "nodad")
    router("sysctl", "-q", "net.ipv6.conf.all.forwarding=1")
    host("ip", "addr", "add", LAN_PREFIX + "5/64", "dev", "lan0", "nodad")
    settle(host)
    return host, router, server


BRIDGED = """
echo "address: $(await global6)"
echo "pings: $(pings %s)"
echo "seen: $(nc -w 10 %s 7000 < /dev/null)"
"""


def private_bridge_by_router_advertisement():
    need("dnsmasq")
    need_guest()
    with World() as world:
        host, router, server = lan6(world)
        before = host.snapshot()
        host.bhyvenet("up", "-f", host.conf(PRIVATE6))
        inside, outside = Server(host, "::", 7000), Server(router, "::", 7001)
        guest = Guest(world, host, BRIDGED % ("fd00:16::1", "fd00:16::1") + 'echo "lan: $(nc -w 10 %s1 7001 < /dev/null)"\n' %
                      LAN_PREFIX)
        said = guest.finish()
        check(said["address"].startswith("fd00:16:"), "no address by router advertisement: %s" % said)
        equal(said["pings"], "3", "answers to pings")
        equal(said["seen"], said["address"], "the address that the host saw")
        equal(said["lan"], LAN_PREFIX + "5", "the address that the LAN saw")
        inside.end()
        outside.end()
        host.bhyvenet("down")
        settle(host)
        same(before, host.snapshot())


# What the connection says last is to get out before the guest powers off.
LINGER = "sleep 1\n"


def served(node, address, port):
    """What the server there says; nothing while it does not listen yet, as the guest's does not when it says that it is ready."""
    done = node.run("busybox", "nc", address, port, input="")
    return done.stdout if done.returncode == 0 else ""


def lan_bridge_by_router_advertisement():
    need("dnsmasq")
    need_guest()
    with World() as world:
        host, router, server = lan6(world)
        conf = router.write("ra.conf", "interface=lan\nexcept-interface=lo\nbind-dynamic\nport=0\nenable-ra\n"
                            "dhcp-range=%s,ra-only,64,1h\nra-param=lan,4,1800\npid-file=\nuser=root\n" % LAN_PREFIX)
        router.start("dnsmasq", "-k", "--conf-file=" + conf, "--dhcp-leasefile=%s/leases" % router.dir)
        host.bhyvenet("up", "-f", host.conf('autobridge_interfaces="bridge0"\nautobridge_bridge0="lan0 tap*"\n'
                                            'cloned_interfaces="bridge0 tap0"\n'))
        serving = Server(router, "::", 7000)
        guest = Guest(world, host, BRIDGED % (LAN_PREFIX + "1", LAN_PREFIX + "1") +
                      "echo 'ready: yes'\nnc -l -p 7003 -e echo reached\n" + LINGER)
        guest.wait_for("ready")
        address = re.search("address: (.*)", guest.console)[1]
        reached = until(lambda: served(router, address, "7003"), 20, "the guest's server")
        said = guest.finish()
        equal(reached, "reached\n", "what the LAN got at the guest's own address")
        check(said["address"].startswith(LAN_PREFIX[:-1]), "no address by router advertisement: %s" % said)
        equal(said["pings"], "3", "answers to pings")
        equal(said["seen"], said["address"], "the address that the LAN saw, not translated")
        serving.end()
        host.bhyvenet("down")


SLIRP = """
lease
echo "host4: $(nc -w 10 10.0.2.2 7000 < /dev/null)"
echo "pings4: $(pings 10.0.2.2)"
echo "name: $(nslookup -type=a vm.example 10.0.2.3 2>&1 | sed -n '/^Name/,$s/^Address: *//p' | head -n 1)"
echo "address6: $(await site6)"
echo "pings6: $(pings fec0::2)"
echo "host6: $(nc -w 10 fec0::2 7001 < /dev/null)"
echo "lan6: $(nc -w 10 %s1 7002 < /dev/null)"
echo "ready: yes"
nc -l -p 22 -e sh -c 'echo hello from the guest'
""" + LINGER


def slirp_carries_both_protocols():
    """Servers listen on the host's loopback, and on the router's IPv6 address; a name server on the host's loopback
    answers what slirp passes on to it; a client of the host comes in by a forwarded port."""
    need("dnsmasq")
    need_guest()
    with World() as world:
        host, router, server = lan6(world)
        host.write("resolv.conf", "nameserver 127.0.0.1\n")
        host.start("dnsmasq", "-k", "-C", "/dev/null", "-u", "root", "--pid-file=", "--no-hosts", "--no-resolv",
                   "--address=/vm.example/192.0.2.7", "--listen-address=127.0.0.1", "--bind-interfaces")
        until(lambda: host.resolve("vm.example") == "192.0.2.7", 10, "the host's name server")
        servers = [Server(host, "127.0.0.1", 7000), Server(host, "::1", 7001), Server(router, "::", 7002)]
        guest = Guest(world, host, SLIRP % LAN_PREFIX, nic="virtio-net,slirp,hostfwd=tcp:127.0.0.1:2222-10.0.2.15:22")
        guest.wait_for("ready")
        answer = until(lambda: served(host, "127.0.0.1", "2222"), 20, "the forwarded port")
        said = guest.finish()
        equal(answer, "hello from the guest\n", "what came through the forwarded port")
        equal(said["address"], "10.0.2.15", "the address by DHCP")
        equal(said["host4"], "127.0.0.1", "the address that the server on the host saw")
        equal(said["pings4"], "3", "answers to pings")
        equal(said["name"], "192.0.2.7", "a name by way of slirp's name server")
        check(said["address6"].startswith("fec0::"), "no address by router advertisement: %s" % said)
        equal(said["pings6"], "3", "answers to pings over IPv6")
        equal(said["host6"], "::1", "the address that the IPv6 server on the host saw")
        equal(said["lan6"], LAN_PREFIX + "5", "the address that the LAN saw over IPv6")
        for one in servers:
            one.end()


main(private_bridge_by_router_advertisement, lan_bridge_by_router_advertisement, slirp_carries_both_protocols)
