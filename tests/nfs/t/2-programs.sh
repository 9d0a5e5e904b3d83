#!/bin/sh
# What programs expect of a file system: by 4.2 on the guest a, and beside it by 4.1 on b.
# shellcheck disable=SC2016,SC2119 # what is quoted expands in a guest; no options is an answer, too
set -u
# shellcheck source=tests/nfs/t/lib.sh
. "$(dirname -- "$0")/lib.sh"

programs='git make sqlite dbench fio fs_mark'
scale=1
! is_soak || scale=10
server_name=ganesha
! is_womm || server_name=womm-server

work_through() {
	for each in $programs; do
		in_background "$1.$each" on -t $((200 * scale)) "$1" "cd /mnt && programs $each $scale"
		outcome "$1.$each" >/dev/null || true # is looked at below
	done
}

# Each line is one of the checks.
checks_of() {
	outcome "$1.checks" >"$work/$1.lines" || true
	grep -c '^ok ' "$work/$1.lines" >"$work/$1.count"
	while read -r line; do
		case $line in
		ok*) ok "$2 ${line#ok }" true ;;
		*took*) echo "# $line" ;;
		*) ok "$2 ${line#not ok }" false ;;
		esac
	done <"$work/$1.lines"
	ok "$2 these were all checks" [ "$(cat "$work/$1.count")" -ge 25 ]
}

begin
ok "a mounts by 4.2" on a 'mount -t nfs -o vers=4.2 10.77.0.1:/export /mnt'
ok "b mounts by 4.1" on b 'mount -t nfs -o vers=4.1 10.77.0.1:/export /mnt'
for guest in 'a 4.2' 'b 4.1'; do
	{
		where=${guest% *}
		in_background "$where.checks" on -t 300 "$where" "mkdir /mnt/$where && cd /mnt/$where && checks $server_name ${guest#* }"
		wait
		work_through "$where"
	} &
done
wait
for guest in 'a 4.2' 'b 4.1'; do
	checks_of "${guest% *}" "${guest#* }:"
	for each in $programs; do
		ok "${guest#* }: $each" outcome "${guest% *}.$each"
		echo "# $(tail -n 1 "$work/${guest% *}.$each.said")"
	done
done
ok "nothing else is left" is "$(on a 'ls -A /mnt' | paste -sd ' ')" "a b"
end
