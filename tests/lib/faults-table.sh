#!/bin/sh
# tests/lib/faults-table.sh LOG...: docs/faults.md anew, on stdout: what was written by hand, and the table of what the tests
# say (lines of "FAULT |") in the logs. Of what is said of the same fault, that counts which was said most often.
set -eu

root=$(cd -- "$(dirname -- "$(readlink -f -- "$0")")/../.." && pwd -P)
mark='<!-- What follows is written by tests/lib/faults-table.sh. -->'

sed "\|^$mark|,\$d" "$root/docs/faults.md"
printf '%s\n\n| fault | engine | what is said on stderr | jobs, joblog |\n|---|---|---|---|\n' "$mark"
grep -ho 'FAULT | .*' "$@" | awk -F ' \\| ' '
	{ key = $2 FS $3; row = substr($0, 9); if (++said[key, row] >= said[key, most[key]]) most[key] = row }
	END { for (key in most) print "| " most[key] " |" }' | sort
