# shellcheck shell=sh
# What the tests of this folder share. They run in tests/nfs/world, where tests/nfs/check has booted the guests a and b, and
# there is a server. Each begins with `begin`, and ends with `end`.

here=$(cd -- "$(dirname -- "$0")" && pwd -P)
# shellcheck source=tests/lib/tap.sh
. "$here/../../lib/tap.sh"

[ -n "${WOMM_NFS_WORLD-}" ] || bail "not in tests/nfs/world: run tests/nfs/check"
work=$(mktemp -d "$WOMM_NFS_WORLD/test.XXXXXX") || exit
is_womm() { [ "$WOMM_NFS_SERVER" != ganesha ]; }
is_soak() { [ "${WOMM_SOAK-}" = 1 ]; }

# A guest whose share hangs is of no use to the tests to come.
usable() { on -t 20 "$1" 'mountpoint -q /mnt || exit 0; umount /mnt' >/dev/null 2>&1; }

rest() {
	for guest in a b; do
		usable "$guest" || { echo "# $guest had to boot again" && guest kill "$guest" && guest boot "$guest"; }
	done
}

# begin [OPTION...]: a new server, with these options
begin() {
	rest
	server fresh "$@" || bail "the server did not start"
}

# mount_on GUEST... : as kubelet does, with no option
mount_on() { for guest in "$@"; do on -t 60 "$guest" 'mount -t nfs 10.77.0.1:/export /mnt' || return; done; }

# What guests and server had to say, if something failed.
end() {
	for guest in a b; do ok "$guest unmounts" on -t 60 "$guest" 'umount /mnt'; done
	if [ "$failed" != 0 ]; then
		for guest in a b; do guest console "$guest" | tail -n 15 | sed "s/^/# console of $guest: /"; done
		server log | tail -n 15 | sed 's/^/# server: /'
		rest
	fi
	tap_end
}

# in_background NAME COMMAND...: outcome NAME waits for it and is its outcome
in_background() {
	background=$work/$1
	shift
	rm -f "$background.status"
	: >"$background.said"
	{
		status=0 began=$(date +%s)
		"$@" >"$background.said" 2>&1 || status=$?
		echo "took $(($(date +%s) - began)) s" >>"$background.said"
		echo "$status" >"$background.status"
	} &
}

outcome() {
	[ -e "$work/$1.said" ] || { echo "$1 was not begun"; return 1; }
	within 3600 test -s "$work/$1.status" || { echo "no end of $1"; return 1; }
	cat "$work/$1.said"
	return "$(cat "$work/$1.status")"
}
