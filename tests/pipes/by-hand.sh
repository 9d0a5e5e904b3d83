#!/bin/sh
# The pieces composed by hand, as README.md shows, do what `womm parallel` does. TAP on stdout; run by prove.
# Wants docker, GNU parallel and perl; WOMM_BIN and WOMM_TEST_BASE as tests/run sets them.
set -u

root=$(cd -- "$(dirname -- "$(readlink -f -- "$0")")/../.." && pwd -P)
: "${WOMM_BIN:=$root/target/womm/bin}"
PATH=$WOMM_BIN:$PATH

# shellcheck source=tests/lib/tap.sh
. "$root/tests/lib/tap.sh"
[ -x "$WOMM_BIN/womm-pods" ] || bail "no programs in $WOMM_BIN: build them with bins/build, or set WOMM_BIN"
[ -n "${WOMM_TEST_BASE-}" ] || bail "WOMM_TEST_BASE names no base image: tests/run makes one"
docker info >/dev/null 2>&1 || bail "Docker does not answer"
command -v parallel >/dev/null || bail "GNU parallel is not installed"

# ---- a world of its own, as tests/harness makes one

work=$(mktemp -d "${TMPDIR:-/tmp}/womm-pipes.XXXXXX") || exit
work=$(cd "$work" && pwd -P)
image=$(basename "$work" | tr 'A-Z.' 'a-z-'):1
export HOME="$work/home" XDG_RUNTIME_DIR="$work/run" TMPDIR="$work/tmp"
mkdir -p "$HOME/.parallel" "$TMPDIR" "$work/project/src" && mkdir -m 700 "$XDG_RUNTIME_DIR"
touch "$HOME/.parallel/will-cite"

# ours: containers of runs that were started below our folder, or whose run folder is
ours() {
	docker ps -a --filter label=womm.task --format '{{.Names}} {{.Label "womm.pwd"}} {{.Label "womm.run"}}' |
		grep -F " $work/" | cut -d' ' -f1
}

tidy() {
	trap '' INT TERM HUP
	exec 8>&-
	left=$(ours)
	# shellcheck disable=SC2086 # a list
	[ -z "$left" ] || docker rm -f $left >/dev/null 2>&1
	docker image rm -f "$image" >/dev/null 2>&1
	rm -rf "$work"
}
trap tidy EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP

codes() { sort -n "$1" | cut -f1,7,8; } # of a joblog

nothing_left() {
	left=$(ours)
	[ -z "$left" ] && [ -z "$(ls -A "$XDG_RUNTIME_DIR/womm" 2>/dev/null)" ]
}

# says FILE PERL: an expression of $_, which is the whole file, is true
says() { perl -0777 -ne "exit !($2)" "$1" || { cat "$1"; return 1; }; }

# ---- the project

cd "$work/project" || exit
for each in a b c d e f; do
	seq "$(printf %d "'$each")" >"src/$each.txt"
done
ok "setup" womm-image setup --yes --engine docker --base "$WOMM_TEST_BASE" --name "$image"
# A field that no program knows, in the file from which all records come.
perl -pi -e 's/^\{/{\n  "later": {"a": [1, null]},/' .womm

# What both ways run: the third input fails.
inputs() { printf 'src/%s.txt\n' a b missing c d e f; }
# shellcheck disable=SC2016 # expands in the pod
job='wc -l <{} && echo {} on $(uname -n | cut -d- -f1,2)'

inputs | womm parallel --kube-pods 2 -k --joblog "$work/log.womm" -- "$job" >"$work/out.womm" 2>"$work/err.womm"
status_womm=$?
ok "womm parallel itself: one job has failed" is "$status_womm" 1
ok "womm parallel itself: the outcome is not empty" is "$(wc -l <"$work/out.womm")" 12

# ---- by hand, as in README.md

by_hand() {
	run=$(mktemp -d)
	mkfifo "$run/life"
	# shellcheck disable=SC2094 # it is a pipe
	exec 7<>"$run/life" 8>"$run/life" 9<"$run/life" 7>&-
	womm-image show >"$run/image" || return
	womm-pods create --kube-pods 2 --run "$run" --while 9 <"$run/image" >"$run/task" 8>&- || return
	{ womm-pods watch --while 9 <"$run/task" | womm-sshlogins --while 9 --file "$run/slf"; } 8>&- &
	until [ -e "$run/slf" ]; do sleep 0.1; done
}

by_hand 2>"$work/err.hand"
ok "the pieces start" [ -e "$run/slf" ]
id=$(perl -ne 'print $1 if /"id":"([a-z]{8})"/' "$run/task")
ok "create says the task" matches "$work/err.hand" "deployment.apps/womm-task-$id created"
ok "show writes a record with the image" says "$run/image" '/"kind":"womm\/record"/ && /"reference":"'"$image"'"/'
ok "create adds the task" says "$run/task" '/"pods":2\b/ && /"name":"womm-task-[a-z]{8}"/'
ok "unknown fields pass through show" says "$run/image" '/"later":\{"a":\[1,null\]\}/'
ok "and through create" says "$run/task" '/"later":\{"a":\[1,null\]\}/'
ok "every pod is a host, with its number of jobs" same "$run/slf" - <<END
1/w001
1/w002
END
ok "the job socket is closed to others" is "$(stat -c %a "$run/ssh.sock")" 600

inputs | WOMM_RUN=$run parallel -k --joblog "$work/log.hand" --ssh womm-ssh --sshloginfile "$run/slf" "$job" \
	>"$work/out.hand" 2>>"$work/err.hand"
status_hand=$?
ok "the exit status is the same" is "$status_hand" "$status_womm"
ok "stdout is the same" same "$work/out.womm" "$work/out.hand"
codes "$work/log.womm" >"$work/codes.womm" && codes "$work/log.hand" >"$work/codes.hand"
ok "exit codes in the joblog are the same" same "$work/codes.womm" "$work/codes.hand"
ok "womm-ssh by itself runs a command" is "$(WOMM_RUN=$run womm-ssh w001 -- 'echo two  words; exit 3'; echo $?)" 'two words
3'
ok "two pods run" is "$(ours | wc -l)" 2

exec 8>&-
womm-pods delete <"$run/task" 2>>"$work/err.hand"
ok "delete succeeds" is "$?" 0
wait
ok "delete says it" matches "$work/err.hand" "deployment.apps \"womm-task-$id\" deleted"
sed "s/$id/ID/; s/par-job-[^ :]*/PAR/" "$work/err.hand" | sort >"$work/err.hand.ID"
id=$(sed -n 's|^deployment.apps/womm-task-\([a-z]*\) created$|\1|p' "$work/err.womm")
sed "s/$id/ID/; s/par-job-[^ :]*/PAR/" "$work/err.womm" | sort >"$work/err.womm.ID"
ok "stderr is the same but for the names" same "$work/err.womm.ID" "$work/err.hand.ID"
ok "nothing is left" within 15 nothing_left
ok "in the run folder is only what was put there by hand" is "$(cd "$run" && echo *)" "image life slf"

# ---- by hand, by a script that is killed

(by_hand 2>"$work/err.killed" && echo "$run" >"$work/run.killed" && exec sleep 1000 9<&-) 8>&- &
script=$!
ok "the pieces start again" within 60 [ -s "$work/run.killed" ]
ok "two pods run again" is "$(ours | wc -l)" 2
kill -KILL "$script"
ok "killed, it leaves nothing within 15 s" within 15 nothing_left

# ---- by hand, with an error on the way

womm-image show --image no-such-image:1 >"$work/image" 2>"$work/err"
ok "an image that is missing ends the first stage" is "$?" 3
womm-pods create --kube-pods 1 <"$work/image" >"$work/task" 2>>"$work/err"
ok "and the next stage says that there is no record" is "$?" 2
ok "each in one line" is "$(wc -l <"$work/err")" 2
ok "and nothing is left" nothing_left

tap_end
