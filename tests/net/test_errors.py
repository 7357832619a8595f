#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""What is wrong is named, with its line and the remedy, and nothing is changed."""
import os
import subprocess

from netlib import *


def refused(host, text, words, line=None):
    before = host.snapshot()
    path = host.conf(text)
    for verb in "check", "up":
        out = host.bhyvenet(verb, "-f", path, fails=words)
        if line is not None:
            contains(out, "%s:%d: error:" % (path, line), verb)
    same(before, host.snapshot())
    check(not os.path.exists("/proc/%d/root/run/bhyve/.net/journal" % host.pid), "a journal is left")


def mistakes_in_the_file():
    with World() as world:
        host = world.node("host")
        refused(host, PRIVATE.replace("192.168.16.200,", "192.168.17.10,"), "no bridge's subnet", 9)
        refused(host, PRIVATE.replace("natd_interface=", "natd_interface=bridge0 # "), "is on the inside")
        refused(host, "\ncloned_interfaces=bridge0 tap0\n", "put a value with blanks in quotes", 2)
        refused(host, 'cloned_interfaces="$(reboot)"\n', "not run", 1)
        out = host.bhyvenet("check", "-f", host.conf("sshd_enable=YES\n"))
        contains(out, ":1: warning: sshd_enable is not a variable")
        out = host.bhyvenet("up", "-f", host.conf(PRIVATE.replace("lan0", "wlan7")))
        contains(out, "wlan7 does not exist")
        host.bhyvenet("down")
        host.bhyvenet("check", "-f", "/nonexistent/net.conf", fails="does not exist")
        host.bhyvenet("up", "-f", "/proc/self", fails="Is a directory")


def what_the_host_has_already():
    with World() as world:
        host, router, server = world.lan()
        host("ip", "link", "add", "bridge0", "type", "bridge")
        refused(host, PRIVATE, "bridge0 exists and was not made by bhyvenet", 3)
        host("ip", "link", "del", "bridge0")
        refused(host, PRIVATE.replace("16.1/24", "16.1/16").replace("192.168.16.1/", "203.0.16.1/").replace(
            "192.168.16", "203.0.16"), "overlaps 203.0.113.5/24 of this host's lan0", 4)
        host("ip", "route", "add", "192.168.0.0/16", "via", "203.0.113.1")
        refused(host, PRIVATE, "overlaps 192.168.0.0/16, which this host reaches through lan0", 4)
        host("ip", "route", "del", "192.168.0.0/16")
        host("ip", "link", "add", "tap1", "type", "bridge")
        refused(host, PRIVATE, "tap1 exists and is not a tap", 3)
        host("ip", "link", "del", "tap1")
        refused(host, 'autobridge_interfaces="bridge3"\nautobridge_bridge3="tap*"\n', "add it to cloned_interfaces", 1)
        refused(host, PRIVATE + "tap_owner=nosuchuser\n", "no user 'nosuchuser'")


def a_foreign_table_is_left_alone():
    with World() as world:
        host, router, server = world.lan()
        host("nft", "add", "table", "inet", "bhyve")
        before = host.snapshot()
        host.bhyvenet("up", "-f", host.conf(PRIVATE), fails="was not made by bhyvenet")
        same(before, host.snapshot())


def a_member_of_another_bridge_is_left_there():
    with World() as world:
        host, router, server = world.lan()
        host("ip", "link", "add", "br9", "type", "bridge")
        host("ip", "link", "set", "lan0", "master", "br9")
        before = host.snapshot()
        host.bhyvenet("up", "-f", host.conf('cloned_interfaces="bridge0"\nautobridge_interfaces="bridge0"\n'
                                            'autobridge_bridge0="lan0"\n'), fails="belongs to another bridge")
        same(before, host.snapshot())


def dnsmasq_that_is_missing_or_hindered():
    need("dnsmasq")
    with World() as world:
        host, router, server = world.lan()
        before = host.snapshot()
        taken = host.start("python3", "-c", "import socket, time\ns = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)\n"
                           "s.bind(('0.0.0.0', 53))\nt = socket.create_server(('0.0.0.0', 53))\n"
                           "print('ready', flush=True)\ntime.sleep(100)", stdout=subprocess.PIPE)
        taken.stdout.readline()
        out = host.bhyvenet("up", "-f", host.conf(PRIVATE), fails="another DNS or DHCP server holds the port")
        contains(out, "undoing what was done so far")
        same(before, host.snapshot())
        taken.kill()
        taken.wait()
        taken.stdout.close()
        program = host("sh", "-c", "command -v dnsmasq").strip()
        host("mount", "--bind", "/dev/null", program)
        refused(host, PRIVATE, "apt install dnsmasq-base", 8)


def without_permission():
    with World() as world:
        host = world.node("host")
        conf = host.conf(PRIVATE)
        user = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"]
        for verb in ["up", "-f", conf], ["down"], ["addm", "bridge0", "tap0"]:
            done = host.run(*user, BHYVENET, *verb)
            equal(done.returncode, 1, "exit of " + verb[0])
            contains(done.stdout, "run as root")
        host.bhyvenet("up", "-f", conf)
        done = host.run(*user, BHYVENET, "status", "--json")
        equal(done.returncode, 0, "status for all: " + done.stdout)
        contains(done.stdout, '"state": "up"')
        contains(done.stdout, '"running": true')
        host.bhyvenet("down")


def tap_that_bhyve_may_not_open():
    with World() as world:
        host = world.node("host")
        run = os.path.join(world.dir, "run")
        os.mkdir(run)
        os.chown(run, 65534, 65534)
        host.bhyvenet("up", "-f", host.conf(PRIVATE))
        done = host.run("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", os.path.join(BUILD, "bhyve"),
                        "-s", "5,virtio-net,tap0", "-o", "boot.kernel=/nonexistent", "vm0",
                        env={"BHYVE_RUN": run})
        contains(done.stdout, "tap0: not allowed; run as root, or let root name you in tap_owner")
        equal(done.stdout.count("warning"), 1, "warnings in %r" % done.stdout)
        contains(done.stdout, "/nonexistent: No such file", "bhyve, which goes on")
        host.bhyvenet("down")


def a_firewall_that_drops_is_warned_of():
    with World() as world:
        host, router, server = world.lan()
        path = host.conf(PRIVATE)
        check("firewall" not in host.bhyvenet("check", "-f", path), "warned without a reason")
        host("nft", "add table ip filter; add chain ip filter FORWARD { type filter hook forward priority 0; policy accept; }")
        check("firewall" not in host.bhyvenet("check", "-f", path), "warned of a firewall that accepts")
        host("nft", "add chain ip filter FORWARD { policy drop; }")
        contains(host.bhyvenet("check", "-f", path), "a firewall on this host drops what is forwarded")


def state_of_another_namespace():
    with World() as world:
        host, other = world.node("host"), world.node("other")
        run = os.path.join(world.dir, "run")
        host.bhyvenet("up", "-f", host.conf(PRIVATE.replace("dnsmasq_enable=\"YES\"", "")), env={"BHYVE_RUN": run})
        for verb in "up", "down":
            other.bhyvenet(verb, env={"BHYVE_RUN": run}, fails="belongs to another network namespace")
        host.bhyvenet("down", env={"BHYVE_RUN": run})


def completion_of(words):
    script = 'source "$1"; shift; COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); _bhyvenet; echo "${COMPREPLY[@]}"'
    return subprocess.run(["bash", "-c", script, "bash", os.path.join(TOP, "share/completions/bhyvenet")] + words,
                          stdout=subprocess.PIPE, text=True, check=True).stdout.split()


def completion():
    need("bash")
    equal(completion_of(["bhyvenet", ""]), ["up", "down", "check", "status", "addm", "deletem"], "verbs")
    equal(completion_of(["bhyvenet", "-f", "x", "d"]), ["down", "deletem"], "verbs that begin with d")
    equal(completion_of(["bhyvenet", "status", "--j"]), ["--json"], "options of status")
    equal(completion_of(["bhyvenet", "up", "--j"]), [], "options of up")
    check("lo" in completion_of(["bhyvenet", "addm", "bridge0", "l"]), "interfaces")
    equal(completion_of(["bhyvenet", "up", ""]), [], "nothing behind up")


def command_line():
    with World() as world:
        host = world.node("host")
        for args in [], ["sideways"], ["addm", "bridge0"], ["up", "now"], ["-x"], ["status", "-f"]:
            done = host.run(BHYVENET, *args)
            equal(done.returncode, 2, "exit of %s" % args)
            contains(done.stdout, "usage: bhyvenet")
        done = host.run(BHYVENET, "status", env={"BHYVE_NET_CONF": "/nonexistent"})
        equal(done.returncode, 3, "exit of status while down")
        contains(done.stdout, "networks   down")
        contains(host.bhyvenet("check", env={"BHYVE_NET_CONF": host.conf(PRIVATE)}), "no errors")


main(mistakes_in_the_file, what_the_host_has_already, a_foreign_table_is_left_alone,
     a_member_of_another_bridge_is_left_there, dnsmasq_that_is_missing_or_hindered, without_permission,
     tap_that_bhyve_may_not_open, a_firewall_that_drops_is_warned_of, state_of_another_namespace, completion, command_line)
