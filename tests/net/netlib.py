# SPDX-License-Identifier: BSD-2-Clause
"""Small networks of namespaces for the tests in this folder.

A Node is a machine of its own as far as the network goes: it has a network,
a mount and a host name namespace, an empty /run, and its own /etc/hosts and
/etc/resolv.conf.  Nodes are joined by wires (veth pairs).  A guest is a node
behind a tap of the host: the program tapwire opens the tap as bhyve does and
passes frames between it and a tap in the guest's node.

Each test is a function; main() runs those that are given and ends with the
line that sums them up.
"""
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import traceback

TOP = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
BUILD = os.path.join(TOP, os.environ.get("BUILD", "build"))
BHYVENET = os.path.join(BUILD, "bhyvenet")
TAPWIRE = os.path.join(BUILD, "tests/net/tapwire")

PRIVATE = """\
autobridge_interfaces="bridge0"
autobridge_bridge0="tap*"
cloned_interfaces="bridge0 tap0 tap1 tap2"
ifconfig_bridge0="inet 192.168.16.1/24"
gateway_enable="YES"
natd_enable="YES"
natd_interface="lan0"
dnsmasq_enable="YES"
dhcp_range="192.168.16.10,192.168.16.200,12h"
domain="vm.example"
"""
PRIVATE6 = PRIVATE + """\
ifconfig_bridge0_ipv6="inet6 fd00:16::1/64"
ipv6_gateway_enable="YES"
"""

LEASE_SCRIPT = """#!/bin/sh
case "$1" in
bound|renew)
    ip addr flush dev $interface scope global
    ip addr add $ip/$mask dev $interface
    [ -z "$router" ] || ip route replace default via $router
    : > /etc/resolv.conf
    [ -z "$domain" ] || echo "search $domain" >> /etc/resolv.conf
    for s in $dns; do echo "nameserver $s" >> /etc/resolv.conf; done ;;
esac
"""


class Skip(Exception):
    """The host lacks what the test needs; the text says what."""


class Failed(Exception):
    pass


def check(condition, text):
    if not condition:
        raise Failed(text)


def equal(got, expected, what):
    check(got == expected, "%s: got %r, expected %r" % (what, got, expected))


def contains(text, words, what="output"):
    check(words in text, "%s lacks %r:\n%s" % (what, words, text))


def until(condition, seconds, what):
    """Waits until condition() gives something true, and returns it."""
    end = time.monotonic() + seconds
    while True:
        result = condition()
        if result:
            return result
        check(time.monotonic() < end, "not within %d s: %s" % (seconds, what))
        time.sleep(0.1)


class Node:
    def __init__(self, world, name):
        self.name = name
        self.dir = os.path.join(world.dir, name)
        os.makedirs(self.dir)
        self.process = subprocess.Popen(
            ["unshare", "-n", "-m", "-u", "sh", "-c", "echo ready; exec sleep 100000"],
            stdout=subprocess.PIPE, stdin=subprocess.DEVNULL)
        self.process.stdout.readline()
        self.pid = self.process.pid
        self.write("hosts", "127.0.0.1 localhost\n127.0.1.1 %s\n" % name)
        self.write("resolv.conf", "")
        self.write("nsswitch.conf", "hosts: files dns\n")
        self.write("lease.sh", LEASE_SCRIPT)
        os.chmod(os.path.join(self.dir, "lease.sh"), 0o755)
        for file in "hosts", "resolv.conf", "nsswitch.conf":
            self("mount", "--bind", os.path.join(self.dir, file), "/etc/" + file)
        self("mount", "-t", "tmpfs", "-o", "mode=755", "tmpfs", "/run")
        self("hostname", name)
        self("ip", "link", "set", "lo", "up")

    def write(self, file, text):
        # In place: the file may be bound over one in /etc.
        path = os.path.join(self.dir, file)
        with open(path, "w") as out:
            out.write(text)
        return path

    def enter(self, args, env=None):
        words = ["nsenter", "-t", str(self.pid), "-n", "-m", "-u", "--wd=/"]
        if env:
            words += ["env"] + ["%s=%s" % item for item in env.items()]
        return words + [str(a) for a in args]

    def run(self, *args, input=None, env=None, timeout=60):
        """The finished process; both outputs are in stdout."""
        return subprocess.run(self.enter(args, env), input=input, env=os.environ, timeout=timeout, text=True,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT)

    def __call__(self, *args, **options):
        """The output of a command that must succeed."""
        done = self.run(*args, **options)
        check(done.returncode == 0, "%s: %s: exit %d\n%s" % (self.name, " ".join(map(str, args)), done.returncode,
                                                           done.stdout))
        return done.stdout

    def start(self, *args, **options):
        options.setdefault("stdin", subprocess.DEVNULL)
        return subprocess.Popen(self.enter(args), **options)

    def python(self, text, *args, **options):
        return self("python3", "-c", text, *args, **options)

    def resolve(self, name):
        """The first IPv4 address of a name as a program in the node gets it; None if there is none."""
        done = self.run("getent", "ahostsv4", name)
        return done.stdout.split()[0] if done.returncode == 0 and done.stdout else None

    def links(self):
        return {link["ifname"]: link for link in json.loads(self("ip", "-j", "-d", "link"))}

    def addresses(self, ifname):
        return [a["local"] for a in json.loads(self("ip", "-j", "addr", "show", ifname))[0]["addr_info"]
                if a["scope"] == "global"]

    def snapshot(self):
        """All that bhyvenet may change, in a form that can be compared."""
        links = json.loads(self("ip", "-j", "-d", "link"))
        for link in links:
            for key in "ifindex", "link_index", "link":
                link.pop(key, None)
            for data in "info_data", "info_slave_data":
                for key in list(link.get("linkinfo", {}).get(data, {})):
                    if key.endswith("_timer"):
                        del link["linkinfo"][data][key]
        addresses = json.loads(self("ip", "-j", "addr"))
        shown = {}
        for link in addresses:
            for a in link["addr_info"]:
                a.pop("valid_life_time", None)
                a.pop("preferred_life_time", None)
                a.pop("tentative", None)
            shown[link["ifname"]] = link["addr_info"]
        sysctls = self.run("sysctl", "-a", "--pattern", r"^net\.(ipv4|ipv6|bridge)\.").stdout
        sysctls = [s for s in sysctls.split("\n") if "stable_secret" not in s and "fastopen_key" not in s]
        with open(os.path.join(self.dir, "resolv.conf")) as file:
            resolver = file.read()
        return {
            "links": links, "addresses": shown, "sysctls": sysctls, "resolver": resolver,
            "routes": sorted(self("ip", "route", "show", "table", "all").split("\n")),
            "routes6": sorted(r for r in self("ip", "-6", "route", "show", "table", "all").split("\n")
                              if "expires" not in r),
            "nft": self("nft", "list", "ruleset"),
            "processes": self.dnsmasqs(),
        }

    def dnsmasqs(self):
        """Process ids of dnsmasq with a configuration under this node's /run."""
        found = []
        for pid in filter(str.isdigit, os.listdir("/proc")):
            try:
                if os.readlink("/proc/%s/ns/net" % pid) != os.readlink("/proc/%d/ns/net" % self.pid):
                    continue
                with open("/proc/%s/cmdline" % pid) as file:
                    words = file.read().split("\0")
            except OSError:
                continue
            if words[0].endswith("dnsmasq") and any("/run/bhyve/.net/" in w for w in words):
                found.append(int(pid))
        return found

    def bhyvenet(self, *args, fails=None, env=None):
        """Runs bhyvenet; with fails, it must fail with these words, which are returned with the rest."""
        done = self.run(BHYVENET, *args, env=env)
        if fails is None:
            check(done.returncode == 0, "bhyvenet %s: exit %d\n%s" % (" ".join(args), done.returncode, done.stdout))
        else:
            check(done.returncode == 1, "bhyvenet %s: exit %d, expected 1\n%s" % (" ".join(args), done.returncode,
                                                                                done.stdout))
            contains(done.stdout, fails, "bhyvenet " + " ".join(args))
        check("Sanitizer" not in done.stdout, done.stdout)
        return done.stdout

    def conf(self, text):
        return self.write("net.conf", text)

    def end(self):
        namespace = os.readlink("/proc/%d/ns/net" % self.pid)
        for pid in filter(str.isdigit, os.listdir("/proc")):
            try:
                if os.readlink("/proc/%s/ns/net" % pid) == namespace and int(pid) != self.pid:
                    os.kill(int(pid), signal.SIGKILL)
            except OSError:
                pass
        self.process.kill()
        self.process.wait()
        self.process.stdout.close()


class World:
    """Nodes and wires that end together."""

    def __init__(self):
        self.dir = tempfile.mkdtemp(prefix="bhyve-net-")
        os.chmod(self.dir, 0o755)
        self.nodes = []
        self.wires = 0

    def __enter__(self):
        return self

    def __exit__(self, *what):
        for node in self.nodes:
            node.end()
        shutil.rmtree(self.dir, ignore_errors=True)

    def node(self, name):
        node = Node(self, name)
        self.nodes.append(node)
        return node

    def wire(self, a, a_name, b, b_name):
        """Both ends get random MAC addresses from the kernel."""
        a("ip", "link", "add", a_name, "type", "veth", "peer", "name", b_name, "netns", b.pid)
        a("ip", "link", "set", a_name, "up")
        b("ip", "link", "set", b_name, "up")

    def lan(self):
        """(host, router, server): the host's lan0 is 203.0.113.5/24 on the LAN of the router, whose other side
        leads to the server 198.51.100.10.  The server knows the way to the LAN, but not to any guest."""
        host, router, server = self.node("host"), self.node("router"), self.node("server")
        self.wire(host, "lan0", router, "port0")
        self.wire(server, "eth0", router, "wan0")
        router("ip", "link", "add", "lan", "type", "bridge")
        router("ip", "link", "set", "port0", "master", "lan")
        router("ip", "link", "set", "lan", "up")
        router("ip", "addr", "add", "203.0.113.1/24", "dev", "lan")
        router("ip", "addr", "add", "198.51.100.1/24", "dev", "wan0")
        router("sysctl", "-q", "net.ipv4.ip_forward=1")
        host("ip", "addr", "add", "203.0.113.5/24", "dev", "lan0")
        host("ip", "route", "add", "default", "via", "203.0.113.1")
        server("ip", "addr", "add", "198.51.100.10/24", "dev", "eth0")
        server("ip", "route", "add", "203.0.113.0/24", "via", "198.51.100.1")
        settle(host)
        return host, router, server

    def guest(self, host, name, tap, offload=True):
        """A node whose tap0 is the other end of the host's tap."""
        guest = self.node(name)
        words = [TAPWIRE, tap, "/proc/%d/ns/net" % guest.pid] + ([] if offload else ["plain"])
        guest.wire = host.start(*words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        line = guest.wire.stdout.readline()
        check(line == "ready\n", "tapwire %s: %s" % (tap, line))
        return guest


def settle(node):
    """Waits until duplicate address detection is over, so that snapshots do not differ by it."""
    until(lambda: "tentative" not in node("ip", "addr"), 10, "addresses of %s" % node.name)


def dhcp(guest):
    """Asks for a lease as a stock guest does; returns the address."""
    guest("busybox", "udhcpc", "-i", "tap0", "-n", "-q", "-t", "10", "-T", "1", "-x", "hostname:" + guest.name,
          "-s", os.path.join(guest.dir, "lease.sh"), timeout=40)
    return guest.addresses("tap0")[0]


SERVE = """
import socket, sys
s = socket.create_server((sys.argv[1], int(sys.argv[2])), family=socket.AF_INET6 if ":" in sys.argv[1] else socket.AF_INET)
print("listening", flush=True)
while True:
    c, peer = s.accept()
    c.sendall(peer[0].encode() + b"\\n")
    c.close()
"""
ASK = """
import socket, sys
print(socket.create_connection((sys.argv[1], int(sys.argv[2])), 10).recv(100).decode().strip(), end="")
"""


class Server:
    """Tells each TCP client its address, until the end."""

    def __init__(self, node, address, port):
        self.process = node.start("python3", "-c", SERVE, address, port, stdout=subprocess.PIPE)
        self.process.stdout.readline()

    def end(self):
        self.process.kill()
        self.process.wait()
        self.process.stdout.close()


def who_asks(server, client, address, port=7000):
    """Connects from one node to another over TCP; returns the address that the server saw."""
    serving = Server(server, "::" if ":" in address else "0.0.0.0", port)
    try:
        return client.python(ASK, address, port)
    finally:
        serving.end()


def differences(before, after, where):
    """Lines that name each value that differs."""
    if type(before) is type(after) is dict:
        for key in sorted(set(before) | set(after), key=str):
            yield from differences(before.get(key), after.get(key), "%s.%s" % (where, key))
    elif type(before) is type(after) is list and before != after:
        for x in before:
            if x not in after:
                twin = [y for y in after if isinstance(x, dict) and y.get("ifname") == x.get("ifname", 0)]
                yield from differences(x, twin[0], where) if twin else ["%s: gone: %r" % (where, x)]
        for x in after:
            if x not in before and not (isinstance(x, dict) and x.get("ifname") in [y.get("ifname", 0) for y in before]):
                yield "%s: new: %r" % (where, x)
    elif before != after:
        yield "%s: %r became %r" % (where, before, after)


def same(before, after):
    found = list(differences(before, after, ""))
    check(not found, "\n    ".join(["the host is not as it was:"] + found))


def need(program):
    if not shutil.which(program, path=os.environ.get("PATH", "") + ":/usr/sbin:/sbin"):
        raise Skip("%s is not installed" % program)


def need_namespaces():
    if os.geteuid() != 0:
        raise Skip("needs root")
    if not os.path.exists("/dev/net/tun"):
        raise Skip("needs /dev/net/tun")
    if subprocess.run(["unshare", "-n", "-m", "-u", "true"], stderr=subprocess.DEVNULL).returncode != 0:
        raise Skip("needs network namespaces")
    if not os.path.exists(TAPWIRE):
        subprocess.run(["make", "-s", "-C", TOP, "SANITIZE=" + os.environ.get("SANITIZE", ""),
                        os.path.relpath(TAPWIRE, TOP)], check=True)
    for program in "ip", "nft", "nsenter", "sysctl":
        need(program)


def main(*tests):
    passed = failed = skipped = 0
    chosen = sys.argv[1:]
    for test in tests:
        name = test.__name__
        if chosen and name not in chosen:
            continue
        began = time.monotonic()
        try:
            need_namespaces()
            test()
        except Skip as reason:
            skipped += 1
            print("skipped %s: %s" % (name, reason), flush=True)
        except (Failed, subprocess.TimeoutExpired) as reason:
            failed += 1
            line = traceback.extract_tb(sys.exc_info()[2])[-2].lineno
            print("FAILED  %s (line %d): %s" % (name, line, reason), flush=True)
        except Exception:
            failed += 1
            print("FAILED  %s:\n%s" % (name, traceback.format_exc()), flush=True)
        else:
            passed += 1
            print("passed  %s (%.1f s)" % (name, time.monotonic() - began), flush=True)
    print("%d passed, %d failed, %d skipped" % (passed, failed, skipped))
    sys.exit(1 if failed else 0)
