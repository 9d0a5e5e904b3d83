#!/bin/sh
# An export that is a snapshot and what is written over it: the snapshot stays as it is.
# shellcheck disable=SC2016,SC2119 # what is quoted expands in a guest; no options is an answer, too
set -u
# shellcheck source=tests/nfs/t/lib.sh
. "$(dirname -- "$0")/lib.sh"

if ! is_womm; then
	echo "1..0 # SKIP NFS-Ganesha exports folders only"
	exit
fi

snapshot=$work/snapshot
mkdir -p "$snapshot/d/e" "$snapshot/moves/below" "$snapshot/goes"
chmod 755 "$work"
seq 10000 >"$snapshot/d/numbers"
echo below >"$snapshot/moves/below/f"
echo linked >"$snapshot/linked"
for n in $(seq 50); do echo "$n" >"$snapshot/goes/$n"; done
echo read-only >"$snapshot/d/e/read-only"
chmod 444 "$snapshot/d/e/read-only"
ln -s d/numbers "$snapshot/symlink"
echo bytes >"$snapshot/$(printf 'latin1-\351')"

list='find . -type f -exec sha256sum {} + | LC_ALL=C sort -k 2; find . -printf "%P %y %m %l\n" | LC_ALL=C sort'
# As it was: names, types, modes, times, content
as_it_is() { (cd "$snapshot" && sh -c "$list" && find . -printf '%P %T@ %C@\n' | LC_ALL=C sort); }
as_it_is >"$work/before"
listed() { on "$1" "cd /mnt && $list"; }
write='cd /mnt && echo more >>d/numbers && mv moves moved && echo above >moved/above && ln linked again && rm -r goes/1 goes/2 &&
	chmod 600 d/e/read-only && echo now >>d/e/read-only && mv goes/3 d/3 && : >linked && rm symlink && mkdir symlink &&
	mv -T d/e symlink && [ -z "$(cat again)" ]'

begin --over "$snapshot"
ok "both mount" mount_on a b
(cd "$snapshot" && sh -c "$list") >"$work/wanted"
listed a >"$work/a.list"
# Its top is the export's, not the snapshot's.
sed -i '/^ d /d' "$work/wanted" "$work/a.list"
ok "what is in the snapshot is there" same "$work/wanted" "$work/a.list"
ok "it is changed" on a "$write"
listed a >"$work/a.list"
listed b >"$work/b.list"
ok "both see the same" same "$work/a.list" "$work/b.list"
ok "what was written is seen" on b 'cd /mnt && [ "$(tail -n 1 d/numbers)" = more ] && [ "$(wc -l <d/numbers)" = 10001 ] &&
	[ "$(cat moved/below/f moved/above | paste -sd " ")" = "below above" ] && [ ! -e moves ] && [ ! -e goes/1 ] &&
	[ "$(ls goes | wc -l)" = 47 ] && [ "$(tail -n 1 symlink/read-only)" = now ]'
ok "the server is killed" server kill
ok "and starts" server start
listed b >"$work/b.list"
ok "all of it is still there" same "$work/a.list" "$work/b.list"
ok "a program works over it" on -t 300 a 'cd /mnt && programs git'
as_it_is >"$work/after"
ok "the snapshot is as it was" same "$work/before" "$work/after"
end
