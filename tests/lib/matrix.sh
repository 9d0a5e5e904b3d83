#!/bin/sh
# matrix.sh ENGINE SUITE VERSION PAGE: puts a column into the table at the end of PAGE: what came of each case on ENGINE
# with the GNU parallel VERSION of Debian SUITE. Stdin: what the test runner said, with lines `MATRIX | case | outcome`;
# of a case that ran again, the later one counts. The other columns stay.
set -eu

engine=$1 suite=$2 version=$3 page=$4
new=$page.new
trap 'rm -f -- "$new"' EXIT

awk -v column="$engine $suite" -v version="$engine $version" '
	BEGIN { split("docker bookworm,docker sid,kube bookworm,kube sid", columns, ","); FS = " [|] " }
	# The page as it is.
	FILENAME != "-" && /^[|] case / {
		for (n = 1; n <= 4; n++) head[n] = $(n + 1)
		table = 1
		next
	}
	FILENAME != "-" && table && /^[|]---/ { next }
	FILENAME != "-" && table && /^[|] / {
		name = substr($1, 3)
		for (n = 1; n <= 4; n++) cell[name, n] = $(n + 1)
		note[name] = $6
		sub(/ *[|]$/, "", note[name])
		names[name]
		next
	}
	FILENAME != "-" { print; next }
	# What the tests said.
	/^MATRIX [|] / { outcome[$2] = $3; names[$2] }
	END {
		for (n = 1; n <= 4; n++) if (columns[n] == column) break
		head[n] = version
		print "| case | " head[1] " | " head[2] " | " head[3] " | " head[4] " | note |"
		print "|---|---|---|---|---|---|"
		fflush()
		for (name in names) {
			cell[name, n] = outcome[name]
			if (sub(/^n\/a: /, "", outcome[name])) {
				cell[name, n] = "n/a"
				note[name] = "n/a: " outcome[name]
			}
			if (cell[name, 1] cell[name, 2] cell[name, 3] cell[name, 4] == "") continue
			print "| " name " | " cell[name, 1] " | " cell[name, 2] " | " cell[name, 3] " | " cell[name, 4] " | " note[name] " |" | "LC_ALL=C sort"
		}
		close("LC_ALL=C sort")
	}
' "$page" - >"$new"
grep -q '^| .* | passed' "$new" || { echo "matrix.sh: no case has passed" >&2; exit 1; }
cat -- "$new" >"$page"
