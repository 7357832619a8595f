#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause
#
# Runs a FreeBSD guest: loads it, runs it, and again while it reboots.
# The options are those of FreeBSD's vmrun.sh(8).  With -k it runs a Linux guest, which
# bhyve loads itself; -a, which takes no argument before, is then the command line.

# In a checkout, what was built in it.
built=$(dirname "$0")/../build
[ -x "$built/bhyve" ] || built=
bhyve=${BHYVE:-${built:+$built/}bhyve}
bhyveload=${BHYVELOAD:-${built:+$built/}bhyveload}
bhyvectl=${BHYVECTL:-${built:+$built/}bhyvectl}

memory=512M
cpus=2
console=stdio
nic=virtio-net
disk_emulation=virtio-blk
disks=
taps=
flags="-H -P"
load_env=
host_dir=
iso=./release.iso
install=
debug=
loader=
kernel=
initrd=
cmdline=
options=Ac:C:d:e:E:f:F:g:G:hH:iI:k:l:L:m:n:p:P:r:t:TuvwxW
argument=

usage() {
	cat >&2 <<-'TEXT'
	Usage: vmrun.sh [-aAhiuwWx] [-c cpus] [-C console] [-d disk[,options]] [-e name=value]
	                [-g port] [-G [w][address:]port] [-H directory] [-I iso] [-l loader]
	                [-m memory] [-n virtio-net|e1000] [-t tap|slirp] vmname
	       vmrun.sh [options] -k kernel [-r initrd] [-a cmdline] vmname
	  -a  local APIC in xAPIC mode        -A  AHCI disks instead of virtio-blk
	  -c  virtual CPUs (2)                -C  console (stdio)
	  -d  disk, repeatable (./diskdev, made with 8 GB if it is missing)
	  -e  loader variable, repeatable     -g, -G  ports for debuggers
	  -H  host directory for host0:       -i  boot the installer
	  -I  installer image (./release.iso) -l  other OS loader
	  -m  memory (512M)                   -n  network interface
	  -t  network back end, repeatable    -u  clock in UTC
	  -w  ignore unknown MSRs             -W  virtio by MSI, not MSI-X
	  -x  local APIC in x2APIC mode
	  -k  kernel of a Linux guest         -r  its initial RAM disk
	  -a  after -k: its command line
	TEXT
	exit 1
}

fail() {
	echo "vmrun.sh: $1" >&2
	exit 1
}

# Quotes for eval: values may hold spaces.
quote() {
	printf "'%s' " "$(printf '%s' "$1" | sed "s/'/'\\\\''/g")"
}

while getopts "${options}a$argument" option; do
	case $option in
	a) if [ -n "$kernel" ]; then cmdline=$OPTARG; else flags="$flags -a"; fi ;;
	A) disk_emulation=ahci-hd ;;
	c) cpus=$OPTARG ;;
	C) console=$OPTARG ;;
	d) disks="$disks$(quote "$OPTARG")" ;;
	e) load_env="$load_env-e $(quote "$OPTARG")" ;;
	g) debug="$debug -g $OPTARG" ;;
	G) debug="$debug -G $OPTARG" ;;
	H) host_dir=$(cd "$OPTARG" 2>/dev/null && pwd) || fail "-H: no directory $OPTARG" ;;
	i) install=yes ;;
	I) iso=$OPTARG ;;
	k) kernel=$OPTARG argument=: ;;
	l) loader=$OPTARG ;;
	m) memory=$OPTARG ;;
	n) nic=$OPTARG ;;
	r) initrd=$OPTARG ;;
	t) taps="$taps $OPTARG" ;;
	u) flags="$flags -u" ;;
	w) flags="$flags -w" ;;
	x) flags="$flags -x" ;;
	W) flags="$flags -W" ;;
	p) fail "-p: device passthrough is not available" ;;
	E | f) fail "-$option: boot ROMs are not supported; guests are loaded by bhyveload" ;;
	F | L | P | T | v) fail "-$option: there is no frame buffer" ;;
	*) usage ;;
	esac
done
shift $((OPTIND - 1))
[ $# = 1 ] || usage
vm=$1

if [ -n "$kernel" ]; then
	[ -r "$kernel" ] || fail "-k: $kernel is not readable"
	[ -z "$initrd" ] || [ -r "$initrd" ] || fail "-r: $initrd is not readable"
	[ -z "$host_dir$loader$load_env$install" ] || fail "-e, -H, -i and -l are for bhyveload, which -k does without"
else
	[ -z "$initrd" ] || fail "-r needs -k"
	command -v "$bhyveload" >/dev/null || fail "$bhyveload is not on PATH; BHYVELOAD names it, make install installs it"
	[ -n "$disks" ] || disks=$(quote ./diskdev)
fi
for program in "$bhyve" "$bhyvectl"; do
	command -v "$program" >/dev/null || fail "$program is not on PATH; BHYVE and BHYVECTL name them, make install installs them"
done
eval "set -- $disks"
first=${1%%,*}
if [ -z "$first" ]; then
	:
elif [ ! -e "$first" ]; then
	echo "vmrun.sh: $first does not exist; making it with 8 GB"
	truncate -s 8G "$first" || fail "$first cannot be made"
	install=yes
fi
[ -z "$first" ] || [ -r "$first" ] || fail "$first is not readable"

bytes_at() {
	dd if="$1" bs=1 skip="$2" count="$3" 2>/dev/null | od -An -tx1 | tr -d ' \n'
}

# Something to boot from: an MBR's or a boot sector's mark, or UFS, whose superblock has four places.
bootable() {
	[ "$(bytes_at "$1" 510 2)" = 55aa ] && return 0
	for superblock in 65536 8192 0 262144; do
		case $(bytes_at "$1" $((superblock + 1372)) 4) in
		19015419 | 54190100) return 0 ;;
		esac
	done
	return 1
}

# Whether the guest is to be booted from the installer's image.
wants_iso() {
	[ -n "$install" ] && return 0
	bootable "$first" && return 1
	[ -z "$host_dir" ] || [ -r "$iso" ]
}

# Options of bhyve for the devices, into $devices.
# shellcheck disable=SC2120 # it sets its own arguments
make_devices() {
	devices="-s 0:0,hostbridge -s 1:0,lpc "
	slot=2
	for tap in $taps; do
		devices="$devices-s $slot:0,$nic,$tap "
		slot=$((slot + 1))
	done
	eval "set -- $disks"
	for disk in "$@"; do
		devices="$devices-s $(quote "$slot:0,$disk_emulation,$disk")"
		slot=$((slot + 1))
	done
	if [ -n "$from_iso" ]; then
		devices="$devices-s $(quote "31:0,ahci-cd,$iso")"
	fi
}

# Loads the guest from its disks, the installer's image or the host's directory.
# shellcheck disable=SC2120 # it sets its own arguments
load() {
	from_iso=
	! wants_iso || from_iso=yes
	install=
	load="-c $(quote "$console")-m $memory $load_env"
	[ -z "$host_dir" ] || load="$load-h $(quote "$host_dir")"
	[ -z "$loader" ] || load="$load-l $(quote "$loader")"
	if [ -n "$from_iso" ]; then
		load="$load-d $(quote "$iso")"
	elif bootable "$first"; then
		eval "set -- $disks"
		for disk in "$@"; do
			load="$load-d $(quote "${disk%%,*}")"
		done
	fi
	eval "$bhyveload $load $(quote "$vm")"
}

[ -n "$kernel" ] || ! wants_iso || [ -r "$iso" ] ||
	fail "nothing to boot from: $iso is not there${install:-, and $first has no system}; -I names the installer's image"

linux=
from_iso=
if [ -n "$kernel" ]; then
	linux="-o $(quote "boot.kernel=$kernel")"
	[ -z "$initrd" ] || linux="$linux-o $(quote "boot.initrd=$initrd")"
	linux="$linux-o $(quote "boot.cmdline=${cmdline:-console=ttyS0}")"
fi

"$bhyvectl" --vm="$vm" --destroy >/dev/null 2>&1
while :; do
	[ -n "$kernel" ] || load || { status=$?; break; }
	make_devices
	eval "$bhyve -c $cpus -m $memory -A $flags $debug $linux$devices -l $(quote "com1,$console")$(quote "$vm")"
	status=$?
	[ $status = 0 ] || break
done
case $status in
0 | 1 | 2) "$bhyvectl" --vm="$vm" --destroy >/dev/null 2>&1 ;;
esac
exit "$status"
