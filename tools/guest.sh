#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause
#
# Makes the guest of `make run`, `make check` and `make bench` in a directory:
# Debian's kernel for virtual machines as vmlinuz, an initramfs with busybox and
# the modules it needs as initrd, a small ext4 disk as disk.img.
#
#       tools/guest.sh DIR
#
# The kernel comes as a package that is unpacked and not installed.  Exits 3 if
# packages cannot be had; the caller falls back to the project's own guest.
set -eu

dir=$1
top=$(cd "$(dirname "$0")/.." && pwd)
mkdir -p "$dir"
dir=$(cd "$dir" && pwd)
# In the order of loading; each brings what it depends on.
modules="virtio_pci virtio_blk virtio_net virtio_rng virtio_console 9pnet_virtio 9p button evdev crc32c_intel"

no_packages() {
	echo "guest.sh: $1" >&2
	exit 3
}

# The package that linux-image-cloud-amd64 stands for.
real_package() {
	apt-cache depends linux-image-cloud-amd64 2>/dev/null |
		sed -n 's/^ *Depends: \(linux-image-[0-9].*\)/\1/p' | head -n 1
}

fetch_kernel() {
	[ -s "$dir/vmlinuz" ] && [ -d "$dir/kernel/lib/modules" ] && return 0
	command -v apt-get >/dev/null || no_packages "there is no apt-get to fetch a kernel with"
	real=$(real_package)
	if [ -z "$real" ]; then
		echo "Asking apt for its lists of packages"
		if [ "$(id -u)" = 0 ]; then apt-get update -q; else sudo -n apt-get update -q; fi >/dev/null 2>&1 || true
		real=$(real_package)
	fi
	[ -n "$real" ] || no_packages "apt knows no linux-image-cloud-amd64 (apt-get update may help)"
	echo "Fetching $real (it is unpacked under $dir, not installed)"
	rm -rf "$dir/download" "$dir/kernel"
	mkdir -p "$dir/download"
	(cd "$dir/download" && apt-get download -q "$real" >/dev/null 2>"$dir/download/log") ||
		no_packages "$real cannot be fetched: $(tail -n 1 "$dir/download/log")"
	dpkg-deb -x "$dir"/download/linux-image-*.deb "$dir/kernel"
	rm -rf "$dir/download"
	cp "$dir"/kernel/boot/vmlinuz-* "$dir/vmlinuz"
}

# The modules named, each after its dependencies, as paths below lib/modules/VERSION.
module_order() {
	base=$dir/kernel/lib/modules/$1
	[ -s "$base/modules.dep" ] || busybox depmod -b "$dir/kernel" "$1"
	for name in $modules; do
		line=$(grep -E "/$name\.ko(\.xz|\.zst)?:" "$base/modules.dep" || true)
		[ -n "$line" ] || continue
		for path in $(echo "${line#*:}" | tr ' ' '\n' | tac) "${line%%:*}"; do
			echo "$path"
		done
	done | awk '!seen[$0]++'
}

make_initrd() {
	version=$(ls "$dir/kernel/lib/modules")
	root=$dir/root
	rm -rf "$root"
	mkdir -p "$root/bin" "$root/sbin" "$root/etc" "$root/proc" "$root/sys" "$root/dev" "$root/mnt" "$root/tmp" \
		"$root/lib/modules"
	cp "$(command -v busybox)" "$root/bin/busybox"
	cp "$top/tools/guest-init" "$root/init"
	cc -O2 -static -o "$root/bin/workloads" "$top/tests/bench/workloads.c"
	module_order "$version" | while read -r path; do
		path=${path#/}
		path=${path#lib/modules/"$version"/}
		file=$dir/kernel/lib/modules/$version/$path
		name=$(basename "$path")
		case $name in
		*.xz) name=${name%.xz}; xz -dc "$file" ;;
		*.zst) name=${name%.zst}; zstd -qdc "$file" ;;
		*) cat "$file" ;;
		esac >"$root/lib/modules/$name"
		echo "$name"
	done >"$root/lib/modules/order"
	chmod 755 "$root/init"
	(cd "$root" && find . | LC_ALL=C sort | cpio --quiet -o -H newc -R 0:0) | gzip -n >"$dir/initrd.new"
	mv "$dir/initrd.new" "$dir/initrd"
	rm -rf "$root"
}

make_disk() {
	[ -s "$dir/disk.img" ] && return 0
	rm -f "$dir/disk.new"
	truncate -s 256M "$dir/disk.new"
	PATH=$PATH:/sbin:/usr/sbin mke2fs -q -F -t ext4 -L bhyve "$dir/disk.new"
	mv "$dir/disk.new" "$dir/disk.img"
}

command -v busybox >/dev/null || no_packages "busybox is not installed"
fetch_kernel
if [ ! -s "$dir/initrd" ] || [ "$top/tools/guest-init" -nt "$dir/initrd" ] || [ "$0" -nt "$dir/initrd" ] ||
	[ "$top/tests/bench/workloads.c" -nt "$dir/initrd" ]; then
	make_initrd
fi
make_disk
