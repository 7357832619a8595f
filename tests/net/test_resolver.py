#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""The host asks our DNS server for guests, through what manages its resolver.

Stand-ins for resolvectl and resolvconf keep what they are told in a file
and write /etc/resolv.conf as the real ones do.
"""
import os

from netlib import *

RESOLVECTL = """#!/bin/sh
# keeps "dns LINK SERVER" and "domain LINK DOMAIN" lines
case "$1" in
status) exit 0 ;;
dns|domain) echo "$@" >> /run/told ;;
default-route) exit 1 ;;
revert) sed -i "/ $2 /d" /run/told ;;
esac
"""
RESOLVCONF = """#!/bin/sh
# keeps one file a record, as %(name)s does
mkdir -p /run/records
case "$1" in --version) echo "%(name)s 3.12.0"; exit %(version_exit)d ;; esac
%(metric)s
case "$1" in
-a) cat > "/run/records/$2" ;;
-d) rm -f "/run/records/$2" ;;
*) echo "unknown option $1" >&2; exit 1 ;;
esac
cat /run/records/* /run/base > /etc/resolv.conf 2>/dev/null
exit 0
"""


def with_programs(host, **programs):
    """A PATH in which these come first."""
    folder = os.path.join(host.dir, "bin")
    os.makedirs(folder, exist_ok=True)
    for name, text in programs.items():
        path = os.path.join(folder, name)
        with open(path, "w") as file:
            file.write(text)
        os.chmod(path, 0o755)
    return {"PATH": folder + ":/usr/sbin:/usr/bin:/sbin:/bin"}


def real_ones_absent(host):
    for program in "resolvectl", "resolvconf":
        path = host.run("sh", "-c", "command -v " + program).stdout.strip()
        if path:
            host("mount", "--bind", "/dev/null", path)


def systemd_resolved_is_told_and_told_back():
    need("dnsmasq")
    with World() as world:
        host, router, server = world.lan()
        env = with_programs(host, resolvectl=RESOLVECTL)
        host("sh", "-c", "echo 'dns lan0 203.0.113.1' > /run/told")
        before = host.snapshot()
        host.bhyvenet("up", "-f", host.conf(PRIVATE), env=env)
        equal(host("cat", "/run/told"), "dns lan0 203.0.113.1\ndns bridge0 192.168.16.1\ndomain bridge0 vm.example\n", "told")
        contains(host.bhyvenet("status"), "resolver   resolved")
        host.bhyvenet("down", env=env)
        equal(host("cat", "/run/told"), "dns lan0 203.0.113.1\n", "told back")
        same(before, host.snapshot())


def resolvconf_is_told(version):
    need("dnsmasq")
    need("busybox")
    with World() as world:
        host, router, server = world.lan()
        real_ones_absent(host)
        env = with_programs(host, resolvconf=RESOLVCONF % version)
        host.write("resolv.conf", "nameserver 203.0.113.1\n")
        host("cp", "/etc/resolv.conf", "/run/base")
        before = host.snapshot()
        host.bhyvenet("up", "-f", host.conf(PRIVATE), env=env)
        equal(host("cat", "/etc/resolv.conf"), "search vm.example\nnameserver 192.168.16.1\nnameserver 203.0.113.1\n",
              "resolv.conf")
        vm0 = world.guest(host, "vm0", "tap0")
        address = dhcp(vm0)
        equal(host.resolve("vm0"), address, "the guest as the host sees it")
        vm0.wire.kill()
        vm0.wire.wait()
        host.bhyvenet("down", env=env)
        same(before, host.snapshot())


def openresolv_is_told_and_told_back():
    resolvconf_is_told({"name": "openresolv", "version_exit": 0,
                        "metric": 'if [ "$1 $2" = "-m 0" ]; then shift 2; elif [ "$1" = -a ]; then exit 1; fi'})


def debian_resolvconf_is_told_and_told_back():
    resolvconf_is_told({"name": "resolvconf", "version_exit": 1, "metric": ""})


def without_a_manager_the_user_is_told():
    need("dnsmasq")
    with World() as world:
        host, router, server = world.lan()
        real_ones_absent(host)
        before = host.snapshot()
        out = host.bhyvenet("up", "-f", host.conf(PRIVATE))
        contains(out, "nameserver 192.168.16.1")
        contains(out, "search vm.example")
        host.write("resolv.conf", "search vm.example\nnameserver 192.168.16.1\n")
        out = host.bhyvenet("up", "-f", host.conf(PRIVATE))
        check("nameserver" not in out, "told once more: " + out)
        host.write("resolv.conf", "")
        out = host.bhyvenet("up", "-f", host.conf(PRIVATE + "host_resolver_enable=NO\n"))
        check("nameserver" not in out, "told though not wanted: " + out)
        host.bhyvenet("down")
        same(before, host.snapshot())


def a_manager_that_fails_is_a_warning():
    need("dnsmasq")
    with World() as world:
        host, router, server = world.lan()
        env = with_programs(host, resolvectl="#!/bin/sh\n[ $1 = status ] || { echo no such bus; exit 1; }\n")
        before = host.snapshot()
        contains(host.bhyvenet("up", "-f", host.conf(PRIVATE), env=env), "no such bus")
        host.bhyvenet("down", env=env)
        same(before, host.snapshot())


main(systemd_resolved_is_told_and_told_back, openresolv_is_told_and_told_back, debian_resolvconf_is_told_and_told_back,
     without_a_manager_the_user_is_told, a_manager_that_fails_is_a_warning)
