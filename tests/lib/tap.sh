# shellcheck shell=sh
# TAP on stdout, for prove: what the tests in sh share. A test sources this file, makes the folder $work, and ends with tap_end.

: "${work:=}"
number=0 failed=0

bail() { echo "Bail out! $1"; exit 1; }

# ok WHAT COMMAND...: one assertion; what the command says of its failure follows it
ok() {
	number=$((number + 1)) what=$1
	shift
	if "$@" >"$work/said" 2>&1; then
		echo "ok $number - $what"
	else
		failed=$((failed + 1))
		echo "not ok $number - $what"
		echo "# in $(pwd): $*" && sed 's/^/# /' "$work/said"
	fi
}

tap_end() {
	echo "1..$number"
	[ "$failed" = 0 ]
}

same() { diff -u "$1" "$2"; }
is() { [ "$1" = "$2" ] || { echo "\"$1\", not \"$2\""; return 1; }; }
matches() { grep -Eqx "$2" "$1" || { cat "$1"; return 1; }; }

# within SECONDS COMMAND...
within() {
	ends=$(($(date +%s) + $1))
	shift
	until "$@"; do
		[ "$(date +%s)" -lt "$ends" ] || return 1
		sleep 0.05
	done
}
