#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause
#
# make run: everything from a fresh checkout to a Linux guest in this terminal.
#
#       [KERNEL=file] [INITRD=file] [DISK=file] [CMDLINE=text] [CPUS=n] [MEMORY=size]
#       [ENGINE=auto|soft|kvm] tools/run.sh
#
# On a terminal the guest is at a shell; without one it reports and powers off.
set -eu

top=$(cd "$(dirname "$0")/.." && pwd)
cd "$top"
guest=${GUEST_DIR:-build/guest}

if [ -z "${KERNEL:-}" ]; then
	tools/setup.sh build guest || echo "make run: going on with what is installed"
else
	tools/setup.sh build || echo "make run: going on with what is installed"
fi
make -s ${SANITIZE:+SANITIZE="$SANITIZE"}
build=build${SANITIZE:+-$(echo "$SANITIZE" | tr , -)}

kernel=${KERNEL:-}
initrd=${INITRD:-}
disk=${DISK:-}
if [ -t 0 ] && [ -t 1 ]; then mode=shell; else mode=report; fi
own=
if [ -z "$kernel" ]; then
	status=0
	tools/guest.sh "$guest" || status=$?
	if [ "$status" = 0 ]; then
		kernel=$guest/vmlinuz
		initrd=${initrd:-$guest/initrd}
		disk=${disk:-$guest/disk.img}
	else
		echo "make run: Debian's kernel cannot be had here; booting the project's own small guest instead"
		make -s "$build/hello.elf"
		kernel=$build/hello.elf
		own=yes
	fi
fi

set -- -c "${CPUS:-2}" -m "${MEMORY:-512M}" -H -s 0,hostbridge -s 31,lpc -l com1,stdio
[ -z "$disk" ] || set -- "$@" -s 3,virtio-blk,"$disk"
set -- "$@" -s 4,virtio-rnd -s 5,virtio-net,slirp -o cpu.engine="${ENGINE:-auto}" -o boot.kernel="$kernel"
[ -z "$initrd" ] || set -- "$@" -o boot.initrd="$initrd"
[ -n "$own" ] || set -- "$@" -o boot.cmdline="${CMDLINE:-console=ttyS0 quiet panic=-1 bhyve.mode=$mode}"

start=$(date +%s)
status=0
if [ "$mode" = shell ]; then
	"$build/bhyve" "$@" "run$$" || status=$?
else
	"$build/bhyve" "$@" "run$$" </dev/null || status=$?
fi
took=$(($(date +%s) - start))
case $status in
0) what="the guest reset" ;;
1) what="the guest powered off" ;;
2) what="the guest halted" ;;
3) what="the guest ended with a triple fault" ;;
*) what="it failed" ;;
esac
echo "make run: bhyve exited with status $status after $took s: $what"
[ "$status" -le 1 ] || exit "$status"
