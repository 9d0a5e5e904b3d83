#!/bin/sh
# A folder with very many names.
# shellcheck disable=SC2016,SC2119 # what is quoted expands in a guest; no options is an answer, too
set -u
# shellcheck source=tests/nfs/t/lib.sh
. "$(dirname -- "$0")/lib.sh"

count=4000
! is_soak || count=100000
deadline=$((count / 20 + 100))

begin
ok "both mount" mount_on a b
in_background a on -t "$deadline" a "cd /mnt && entries make 0 $((count / 2))"
in_background b on -t "$deadline" b "cd /mnt && entries make $((count / 2)) $count"
ok "a makes half of them" outcome a
ok "b makes half of them" outcome b
for guest in a b; do
	in_background "$guest" on -t "$deadline" "$guest" "echo 3 >/proc/sys/vm/drop_caches; cd /mnt && entries check $count"
done
for guest in a b; do ok "$guest sees each once, with its attributes" outcome "$guest"; done
ok "they are removed while they are listed" on -t "$deadline" b 'cd /mnt && entries remove'
end
