#!/bin/sh
# Two guests on the same files.
# shellcheck disable=SC2016,SC2119 # what is quoted expands in a guest; no options is an answer, too
set -u
# shellcheck source=tests/nfs/t/lib.sh
. "$(dirname -- "$0")/lib.sh"

scale=1
! is_soak || scale=20

both() {
	in_background a on -t $((120 * scale)) a "cd /mnt && $1"
	in_background b on -t $((120 * scale)) b "cd /mnt && ${2-$1}"
	first=0
	outcome a || first=$?
	outcome b && [ "$first" = 0 ]
}

# may_lock NAME...: b, at once
may_lock() { on b "python3 -c '
import fcntl, sys
fd = open(\"/mnt/lock\", \"r+b\")
try: fcntl.lockf(fd, fcntl.LOCK_EX | fcntl.LOCK_NB, $2, $1)
except BlockingIOError: sys.exit(1)
'"; }
may_not_lock() {
	status=0
	may_lock "$@" || status=$?
	is "$status" 1
}

# Holds bytes 0 to 99 until told to let go.
hold='python3 -c "
import fcntl, os, time
f = open(\"/mnt/lock\", \"w+b\")
fcntl.lockf(f, fcntl.LOCK_EX, 100, 0)
open(\"/tmp/held\", \"w\")
while not os.path.exists(\"/tmp/let-go\"): time.sleep(0.1)
"'

begin
ok "both mount" mount_on a b

on a "rm -f /tmp/held /tmp/let-go; ($hold >/dev/null 2>&1 &)"
ok "a holds a range of bytes" within 30 on a '[ -e /tmp/held ]'
ok "b may not lock it" may_not_lock 0 100
ok "nor a part of it" may_not_lock 99 1
ok "b may lock what is beside it" may_lock 100 100
ok "b waits for it" on b 'rm -f /tmp/got; (python3 -c "
import fcntl
f = open(\"/mnt/lock\", \"r+b\")
fcntl.lockf(f, fcntl.LOCK_EX, 1, 50)
open(\"/tmp/got\", \"w\")
" >/dev/null 2>&1 &) ; sleep 1; [ ! -e /tmp/got ]'
ok "a lets go" on a ': >/tmp/let-go'
ok "b has it" within 60 on b '[ -e /tmp/got ]'
for kind in fcntl flock; do
	ok "a counter under $kind" both "for n in 1 2; do counter $kind $kind $((20 * scale)) & done; wait"
	ok "no count is lost" is "$(on b "cat /mnt/$kind")" $((80 * scale))
done

exclusive='made=0; for n in $(seq 40); do (set -C; : >"exclusive.$n") 2>/dev/null && made=$((made + 1)); done; echo "made $made"'
ok "both make files with O_EXCL" both "$exclusive"
sum=$(sed -n 's/^made //p' "$work/a.said" "$work/b.said" | awk '{n += $1} END {print n}')
ok "each was made by one of them" is "$sum" 40

ok "a database is written by both" both "sqlite3 -cmd '.timeout 100000' db 'create table if not exists t(x)' >/dev/null &&
	for n in \$(seq $((10 * scale))); do sqlite3 -cmd '.timeout 100000' db \"insert into t values (\$n)\" || exit; done"
ok "it holds all" is "$(on a "sqlite3 /mnt/db 'select count(*) from t; pragma integrity_check' | paste -sd ' '")" "$((20 * scale)) ok"

ok "what a has mapped, written and closed" on a 'python3 -c "
import mmap
with open(\"/mnt/mapped\", \"w+b\") as f:
    f.truncate(1000000)
    with mmap.mmap(f.fileno(), 0) as m:
        m[500000:500006] = b\"mapped\"
"'
ok "is seen by b" on b '[ "$(tail -c +500001 /mnt/mapped | head -c 6)" = mapped ]'

ok "a has a file open" on a 'echo "still here" >/mnt/open && (python3 -c "
import os, time, mmap
fd = os.open(\"/mnt/open\", os.O_RDWR | os.O_DIRECT)
page = mmap.mmap(-1, 4096)
open(\"/tmp/opened\", \"w\")
while not os.path.exists(\"/tmp/read\"): time.sleep(0.1)
count = os.preadv(fd, [page], 0)
open(\"/tmp/was.new\", \"wb\").write(page[:count])
os.rename(\"/tmp/was.new\", \"/tmp/was\")
" >/tmp/python 2>&1 &); until [ -e /tmp/opened ]; do sleep 0.1; done'
ok "b removes it" on b 'rm /mnt/open'
ok "a reads it" on a ': >/tmp/read; for n in $(seq 300); do [ ! -e /tmp/was ] || exec grep -x "still here" /tmp/was; sleep 0.1; done; cat /tmp/python; exit 1'
ok "it is gone" on a '[ ! -e /mnt/open ]'

on a 'cd /mnt && storm make'
ok "a storm of renames" both "storm run 1 $((150 * scale))" "storm run 2 $((150 * scale))"
sed -n 's/.* renamed, /# &/p' "$work/a.said" "$work/b.said"
ok "each file and folder is there once, as a sees it" on a 'echo 3 >/proc/sys/vm/drop_caches; cd /mnt && storm check 1 2'
ok "and b" on b 'echo 3 >/proc/sys/vm/drop_caches; cd /mnt && storm check 1 2'
end
