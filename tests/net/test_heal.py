#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""bhyvenet is killed at many points; down, or up again, makes the host whole.

strace delivers SIGKILL at the Nth call of the system calls that change
something: messages to the kernel's netlink, ioctls of taps, files written
and renamed, processes started.
"""
import collections
import os
import re

from netlib import *

CALLS = "sendmsg,sendto,ioctl,rename,write,ftruncate,clone,fork,vfork,unlink"
BRIDGED_AND_PRIVATE = """\
autobridge_interfaces="bridge0 bridge1"
autobridge_bridge0="tap*"
autobridge_bridge1="lan0 vmnet0"
cloned_interfaces="bridge0 bridge1 tap0 vmnet0"
ifconfig_bridge0="inet 192.168.16.1/24"
ifconfig_bridge0_ipv6="inet6 fd00:16::1/64"
gateway_enable="YES"
ipv6_gateway_enable="YES"
natd_enable="YES"
dnsmasq_enable="YES"
dhcp_range="192.168.16.10,192.168.16.200,12h"
"""


def all_points(host, *verb):
    """Each (call, number) of one whole run, in the first process."""
    out = host.run("strace", "-qq", "-e", "trace=" + CALLS, BHYVENET, *verb)
    check(out.returncode == 0, out.stdout)
    seen = collections.Counter()
    points = []
    for call in re.findall(r"^([a-z0-9]+)\(", out.stdout, re.M):
        seen[call] += 1
        points.append((call, seen[call]))
    return points


def run_killed(host, point, *verb):
    """True if the run was killed there."""
    done = host.run("strace", "-qq", "-o", "/dev/null", "-e", "trace=" + CALLS,
                    "-e", "inject=%s:signal=KILL:when=%d" % point, BHYVENET, *verb)
    return done.returncode != 0


def shape(snapshot):
    """What one up and another must have in common: dnsmasq's process id differs."""
    snapshot = dict(snapshot)
    snapshot["processes"] = len(snapshot["processes"])
    return snapshot


def each_point(verb, wanted, heal):
    need("strace")
    need("dnsmasq")
    with World() as world:
        host, router, server = world.lan()
        conf = host.conf(BRIDGED_AND_PRIVATE)
        before = host.snapshot()
        up = "up", "-f", conf
        points = all_points(host, *up)
        settle(host)
        whole = shape(host.snapshot())
        if verb == "down":
            points = all_points(host, "down")
        else:
            host.bhyvenet("down")
        step = max(1, len(points) // wanted)
        killed = 0
        for point in points[::step]:
            if verb == "down":
                host.bhyvenet(*up)
            killed += run_killed(host, point, *(up if verb == "up" else ["down"]))
            try:
                if heal == "up":
                    host.bhyvenet(*up)
                    settle(host)
                    same(whole, shape(host.snapshot()))
                host.bhyvenet("down")
                settle(host)
                same(before, host.snapshot())
            except Failed as reason:
                raise Failed("killed at %s number %d: %s" % (point + (reason,)))
        check(killed >= wanted * 3 // 4, "only %d runs were killed" % killed)
        print("        `%s' killed at %d of %d points, healed by `%s'" % (verb, killed, len(points), heal))


def up_killed_then_down_restores():
    each_point("up", int(os.environ.get("POINTS", 40)), "down")


def up_killed_then_up_completes():
    each_point("up", 25, "up")


def down_killed_then_down_restores():
    each_point("down", 25, "down")


main(up_killed_then_down_restores, up_killed_then_up_completes, down_killed_then_down_restores)
