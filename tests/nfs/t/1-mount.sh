#!/bin/sh
# Mounts: the versions, what is negotiated, what is refused.
# shellcheck disable=SC2016,SC2119 # what is quoted expands in a guest; no options is an answer, too
set -u
# shellcheck source=tests/nfs/t/lib.sh
. "$(dirname -- "$0")/lib.sh"

mount_options() { on a "mount -t nfs ${1:+-o $1} 10.77.0.1:/export /mnt && grep ' /mnt nfs4 ' /proc/mounts"; }
mounted_at() { mount_options "$1" | grep -F "vers=$2,"; }
unmount() { on -t 60 a 'umount /mnt'; }

begin
ok "without vers=, a mount is of 4.2" mounted_at '' 4.2
ok "1 MiB is read and written at once" on a "grep ' /mnt .*rsize=1048576,wsize=1048576' /proc/mounts"
ok "the folder is empty" on a '[ -z "$(ls -A /mnt)" ]'
ok "the server's own root can be mounted, too" on a 'mkdir -p /root/top && mount -t nfs 10.77.0.1:/ /root/top && umount /root/top'
ok "what is not exported is not there" on a 'mount -t nfs 10.77.0.1:/nowhere /root/top 2>&1 | grep "No such file or directory"'
ok "it unmounts" unmount
for version in 4.1 4.2; do
	ok "vers=$version" mounted_at "vers=$version" "$version"
	ok "a file is written and read" on a 'echo content >/mnt/f && umount /mnt && mount -t nfs 10.77.0.1:/export /mnt && grep content /mnt/f'
	ok "it unmounts" unmount
done

server fresh --read-only || bail "the server did not start"
ok "a read-only export is mounted" mount_on a b
ok "and is not written to" on a 'touch /mnt/f 2>&1 | grep "Read-only file system"'
end
