#!/bin/sh
# The server is killed under load and started again: clients go on, and what was acknowledged is there.
# shellcheck disable=SC2016,SC2119 # what is quoted expands in a guest; no options is an answer, too
set -u
# shellcheck source=tests/nfs/t/lib.sh
. "$(dirname -- "$0")/lib.sh"

rounds=2
! is_soak || rounds=10

# Those that each writer has acknowledged
counts() { on -t 30 "$1" 'load counts' | grep .; }

# gone_on GUEST COUNTS: each of the writers has acknowledged more than these
gone_on() {
	counts "$1" >"$work/now"
	# shellcheck disable=SC2086 # words
	printf '%s\n' $2 >"$work/before"
	tr ' ' '\n' <"$work/now" | paste "$work/before" - | awk '$2 == "" || $2 <= $1 {exit 1}'
}

go_on() { within 150 gone_on "$1" "$2" || { echo "before: $2; now: $(cat "$work/now")"; return 1; }; }

begin --lease 20
ok "both mount" mount_on a b
ok "a holds a lock" on a 'rm -f /tmp/held; : >/mnt/lock; (python3 -c "
import fcntl, time
f = open(\"/mnt/lock\", \"r+b\")
fcntl.lockf(f, fcntl.LOCK_EX)
open(\"/tmp/held\", \"w\")
time.sleep(100000)
" >/dev/null 2>&1 & echo $! >/tmp/holder); until [ -e /tmp/held ]; do sleep 0.1; done'
for guest in a b; do ok "$guest writes" on "$guest" 'cd /mnt && load start'; done
for guest in a b; do ok "all writers of $guest have begun" go_on "$guest" '0 0 0 0 0 0 0'; done
for round in $(seq "$rounds"); do
	ok "kill $round" server kill
	a=$(counts a) b=$(counts b)
	ok "start $round" server start
	ok "the writers of a go on" go_on a "$a"
	ok "the writers of b go on" go_on b "$b"
	echo "# a: $(counts a); b: $(counts b)"
done
ok "the lock is still a's" on b 'python3 -c "
import fcntl, sys
try: fcntl.lockf(open(\"/mnt/lock\", \"r+b\"), fcntl.LOCK_EX | fcntl.LOCK_NB)
except BlockingIOError: sys.exit(0)
sys.exit(1)"'
for guest in a b; do ok "no writer of $guest met an error" on -t 300 "$guest" "load stop $rounds"; done
on a 'kill "$(cat /tmp/holder)"'
for guest in a b; do
	ok "$guest unmounts and mounts" on "$guest" "umount /mnt && mount -t nfs 10.77.0.1:/export /mnt"
	ok "what was acknowledged to $guest is there" on -t 300 "$guest" 'cd /mnt && load check'
done
ok "the server stops on SIGTERM" server stop
ok "and starts" server start
ok "b sees what a wrote" on b "cd /mnt/load.a && [ -s append ] && [ -s database ]"
end
