#!/bin/sh
# Who is who: a guest that returns under its name, and two that have the same.
# shellcheck disable=SC2016,SC2119 # what is quoted expands in a guest; no options is an answer, too
set -u
# shellcheck source=tests/nfs/t/lib.sh
. "$(dirname -- "$0")/lib.sh"

# hold GUEST FILE: locks it for good
hold() {
	on "$1" "rm -f /tmp/held; (python3 -c '
import fcntl, time
f = open(\"/mnt/$2\", \"w+b\")
fcntl.lockf(f, fcntl.LOCK_EX)
f.write(b\"of $1\")
f.flush()
open(\"/tmp/held\", \"w\")
time.sleep(100000)
' >/dev/null 2>&1 & echo \$! >/tmp/holder); until [ -e /tmp/held ]; do sleep 0.1; done"
}
lock() { on "$1" "python3 -c '
import fcntl, sys
try: fcntl.lockf(open(\"/mnt/$2\", \"r+b\"), fcntl.LOCK_EX | fcntl.LOCK_NB)
except BlockingIOError: sys.exit(1)
'"; }
no_lock() {
	status=0
	lock "$@" || status=$?
	is "$status" 1
}

# The lease ends long after this test: a lock that is free is so because its holder is known to be gone.
begin --lease 3600
ok "both mount" mount_on a b
ok "b holds a lock" hold b held
ok "a may not have it" no_lock a held
ok "b loses its power" guest kill b
ok "still a may not have it" no_lock a held
ok "b boots again" guest boot b
ok "b mounts" mount_on b
ok "its lock from before is free" lock a held
ok "what is open is b's anew" hold b held
ok "a may not have it" no_lock a held
on b 'kill "$(cat /tmp/holder)"; umount /mnt; hostname a'

# As pods can replay a node's name: the one that has it and lives must not be harmed.
if is_womm; then
	ok "a holds a lock" hold a one
	ok "b mounts, by the name of a" mount_on b
	ok "b writes" hold b two
	ok "b may not have a's lock" no_lock b one
	ok "a may not have b's lock" no_lock a two
	ok "a goes on" on a 'echo more >/mnt/more && cat /mnt/more'
	ok "b goes on" on b 'grep more /mnt/more'
	on a 'kill "$(cat /tmp/holder)"'
	on b 'kill "$(cat /tmp/holder)"'
	ok "a lock that was given up is free" lock b one
else
	echo "# NFS-Ganesha takes the second for the first after a reboot, as RFC 8881 lets it: not tried"
	mount_on b
fi
ok "b takes its own name again" on b 'umount /mnt && hostname b && mount -t nfs 10.77.0.1:/export /mnt'
end
