#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause
#
# Installs what is missing, through apt, after saying so.
#
#       tools/setup.sh build|guest|check|bench ...
#
# Each word is a set of Debian packages (below).  As root, or with sudo.
# Succeeds without apt where everything is there already.
set -eu

packages() {
	case $1 in
	build) echo gcc make libc6-dev liburing-dev libslirp-dev libglib2.0-dev zlib1g-dev libbz2-dev libzstd-dev \
		libnl-3-dev libnl-route-3-dev libnftables-dev ;;
	guest) echo busybox-static cpio gzip xz-utils zstd e2fsprogs ;;
	check) echo libcmocka-dev libzydis-dev python3-pexpect mandoc acpica-tools binutils e2fsprogs \
		makefs xorriso mtools dosfstools \
		dnsmasq-base iproute2 nftables procps strace gdb python3 \
		openssl perl sqlite3 flac ;;
	bench) echo qemu-system-x86 python3 ;;
	lint) echo clang-format clang-tidy mandoc shellcheck ;;
	*) echo "setup.sh: no such set: $1" >&2; exit 2 ;;
	esac
}

missing=
for set in "$@"; do
	for package in $(packages "$set"); do
		if ! dpkg-query -W -f '${Status}' "$package" 2>/dev/null | grep -q 'ok installed'; then
			missing="$missing $package"
		fi
	done
done
[ -n "$missing" ] || exit 0

echo "Installing with apt:$missing"
root=
if [ "$(id -u)" != 0 ]; then
	root=sudo
	command -v sudo >/dev/null || { echo "setup.sh: become root, or install:$missing" >&2; exit 1; }
fi
export DEBIAN_FRONTEND=noninteractive
# shellcheck disable=SC2086
$root apt-get install -y -q --no-install-recommends $missing >/dev/null 2>&1 || {
	$root apt-get update -q >/dev/null
	$root apt-get install -y -q --no-install-recommends $missing >/dev/null
}
