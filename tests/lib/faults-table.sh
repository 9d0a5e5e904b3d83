#!/bin/sh
# tests/lib/faults-table.sh LOG...: docs/faults.md anew, on stdout: what was written by hand, and the table of what the tests
# say (lines of "FAULT |") in the logs. Of what is said of the same fault, the last counts.
set -eu

root=$(cd -- "$(dirname -- "$(readlink -f -- "$0")")/../.." && pwd -P)
mark='<!-- What follows is written by tests/lib/faults-table.sh. -->'

sed "\|^$mark|,\$d" "$root/docs/faults.md"
printf '%s\n\n| fault | engine | what is said on stderr | jobs, joblog |\n|---|---|---|---|\n' "$mark"
grep -ho 'FAULT | .*' "$@" | awk -F ' \\| ' '
	{ key = $2 FS $3; if (!(key in row)) order[++n] = key; row[key] = substr($0, 9) }
	END { for (i = 1; i <= n; i++) print "| " row[order[i]] " |" }' | sort
