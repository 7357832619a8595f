#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause
#
# make check: sets up, builds, runs every test; the last line counts them.
#
# Tests are the cmocka programs of tests/unit, and every executable
# tests/{cli,guest,diff,net,debug,boot}/test_*.  Such a program gets BUILD and GUEST in its
# environment; it may end with "N passed, N failed, N skipped", which is added
# up, else its status counts as one test: 0 passed, 77 skipped, others failed.
# CHECK="unit cli" limits the run.
#
# A test that asks for cpu.engine=$ENGINE, itself or by guestlib, runs on each engine that the host has: soft, and KVM
# where the processor has VT-x or SVM.  A /dev/kvm without those emulates every instruction;
# there only tests with the words "software KVM too" run on it.
set -u

top=$(cd "$(dirname "$0")/.." && pwd)
cd "$top" || exit 1
BUILD=build${SANITIZE:+-$(echo "$SANITIZE" | tr , -)}
GUEST=${GUEST_DIR:-build/guest}
export BUILD GUEST
passed=0
failed=0
skipped=0
failures=
log=$(mktemp)
trap 'rm -f "$log"' EXIT

tools/setup.sh build guest check || echo "make check: going on with what is installed"
make -s ${SANITIZE:+SANITIZE="$SANITIZE"} all || exit 1
tools/guest.sh "$GUEST" || echo "make check: Debian's kernel cannot be had; tests that boot it are skipped"

count() {
	passed=$((passed + $1))
	failed=$((failed + $2))
	skipped=$((skipped + $3))
}

# Counts what the program in $1 said in the log, given its status $2.
tally() {
	sum=$(sed -n 's/^\([0-9]*\) passed, \([0-9]*\) failed, \([0-9]*\) skipped$/\1 \2 \3/p' "$log" | tail -n 1)
	cmocka=$(sed -n 's/^\[ *PASSED *\] \([0-9]*\) test.*/\1/p' "$log" | awk '{ n += $1 } END { print n + 0 }')
	bad=$(sed -n 's/^\[ *FAILED *\] [a-z_]*: \([0-9]*\) test.*/\1/p' "$log" | awk '{ n += $1 } END { print n + 0 }')
	cmocka_skipped=$(sed -n 's/^\[ *SKIPPED *\] \([0-9]*\) test.*/\1/p' "$log" | awk '{ n += $1 } END { print n + 0 }')
	if [ -n "$sum" ]; then
		# shellcheck disable=SC2086
		count $sum
		set -- "$1" "$2" "${sum#* }"
		case $3 in "0 "*) [ "$2" = 0 ] || count 0 1 0 ;; esac
	elif [ "$cmocka" != 0 ] || [ "$bad" != 0 ] || [ "$cmocka_skipped" != 0 ]; then
		[ "$2" = 0 ] || [ "$bad" != 0 ] || bad=1
		count "$cmocka" "$bad" "$cmocka_skipped"
	elif [ "$2" = 0 ]; then
		count 1 0 0
	elif [ "$2" = 77 ]; then
		count 0 0 1
	else
		count 0 1 0
	fi
	if [ "$2" != 0 ] && [ "$2" != 77 ]; then
		failures="$failures $1;"
		echo "FAILED $1 (status $2)"
		tail -n 25 "$log" | sed 's/^/    /'
	elif [ "$2" = 77 ]; then
		echo "skipped $1: $(tail -n 1 "$log")"
	else
		echo "passed $1$([ "$cmocka_skipped" = 0 ] || echo ", but for $cmocka_skipped that need what is not here")"
	fi
}

wanted() {
	[ -z "${CHECK:-}" ] && return 0
	case " $CHECK " in *" $1 "*) return 0 ;; esac
	return 1
}

# $2: the engine to ask for; none: what the test itself asks for.
run_one() {
	env ${2:+ENGINE="$2"} timeout -k 5 "${CHECK_TIMEOUT:-300}" "$1" >"$log" 2>&1 </dev/null
	tally "$1${2:+ on $2}" $?
}

if [ ! -r /dev/kvm ] || [ ! -w /dev/kvm ]; then
	kvm=none
elif grep -qwE 'vmx|svm' /proc/cpuinfo; then
	kvm=hardware
else
	kvm=software
fi

# Runs the test $1 on KVM as well.
run_on_kvm() {
	case $kvm in
	none)
		count 0 0 1
		echo "skipped $1 on kvm: there is no /dev/kvm that may be used"
		;;
	software)
		if grep -q 'software KVM too' "$1"; then
			run_one "$1" kvm
		else
			count 0 0 1
			echo "skipped $1 on kvm: this processor has neither VT-x nor SVM"
		fi
		;;
	hardware)
		run_one "$1" kvm
		;;
	esac
}

if wanted unit; then
	for source in tests/unit/test_*.c; do
		[ -e "$source" ] || continue
		program=$BUILD/tests/unit/$(basename "$source" .c)
		if make -s ${SANITIZE:+SANITIZE="$SANITIZE"} "$program" >"$log" 2>&1; then
			run_one "$program"
		else
			tally "$program" 1
		fi
	done
fi
for set in cli guest diff net debug boot; do
	wanted $set || continue
	for program in tests/$set/test_*; do
		[ -f "$program" ] && [ -x "$program" ] || continue
		if grep -qwE 'ENGINE|guestlib' "$program"; then
			run_one "$program" soft
			run_on_kvm "$program"
		else
			run_one "$program"
		fi
	done
done

[ -z "$failures" ] || echo "failed:$failures"
echo "$passed passed, $failed failed, $skipped skipped"
[ "$failed" = 0 ]
