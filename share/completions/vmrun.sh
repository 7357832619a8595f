# SPDX-License-Identifier: BSD-2-Clause
# bash completion for vmrun.sh(8)

_vmrun_sh()
{
	local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD - 1]}

	COMPREPLY=()
	case $prev in
	-C)
		mapfile -t COMPREPLY < <(compgen -W "stdio" -- "$cur"; compgen -f -- "$cur") ;;
	-d | -I | -k | -l | -r)
		mapfile -t COMPREPLY < <(compgen -f -- "$cur") ;;
	-H)
		mapfile -t COMPREPLY < <(compgen -d -- "$cur") ;;
	-n)
		mapfile -t COMPREPLY < <(compgen -W "virtio-net e1000" -- "$cur") ;;
	-t)
		mapfile -t COMPREPLY < <(compgen -W "slirp $(cd /sys/class/net && ls -d tap* 2>/dev/null)" -- "$cur") ;;
	-c | -e | -g | -G | -m) ;;
	*)
		[[ $cur != -* ]] ||
			mapfile -t COMPREPLY < <(compgen -W "-a -A -c -C -d -e -g -G -h -H -i -I -k -l -m -n -r -t -u -w -W -x" -- "$cur") ;;
	esac
}
complete -F _vmrun_sh vmrun.sh
