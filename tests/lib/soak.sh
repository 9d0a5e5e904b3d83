# shellcheck shell=sh disable=SC2154 # root, built, tests_cache: of tests/run; soak_jobs: of soak_start
# The parts soak and soak-status of tests/run, which sources this file: every fault test until it has passed ten times in a row,
# on whatever machines and in however many calls that takes. What is known is in tests/soak, in the repository:
#
#   KEY        a line for each time that a test ran: DATE ENGINE TARGET TEST passed|FAILED SECONDS HOST CORES JOBS
#   KEY.tests  all tests: ENGINE TARGET TEST
#   KEY.told   DATE and what the test says of its fault, for docs/faults.md
#
# KEY stands for the sources (soak_key). Lines are only ever added, so two machines' files are merged by having both's lines.

# What a soak is about: the programs that jobs go through and how they are built, the tests, what these judge by. The folder of
# the notes is not in it.
soak_about='Cargo.toml bins/build bins/womm bins/womm-agent bins/womm-image bins/womm-ssh bins/womm-sshlogins bins/womm-pods
	lib/womm-wire lib/womm-tty lib/womm-cli lib/womm-stream lib/womm-engine tests/cluster tests/cluster.d tests/faults
	tests/faults-docker tests/faults-kube tests/lib/soak.sh'
for soak_each in after command dockerd engine fault image joblog machines process project proxy terminal wait; do
	soak_about="$soak_about tests/harness/$soak_each.rs"
done

# The most seconds that a test may take: many times what any takes.
soak_longest=1800

# soak_key: the sources at HEAD, what they are built of, and by which compiler. A change elsewhere does not begin a soak anew.
soak_key() {
	soak_through='-p womm-agent -p womm-image -p womm-ssh -p womm-sshlogins -p womm-pods'
	# shellcheck disable=SC2086 # lists
	{
		soak_sources=$(git ls-tree -r HEAD -- $soak_about)
		soak_crates=$(cargo tree --locked --edges normal,build --prefix none --format '{p} {f}' $soak_through)
	}
	soak_compiler=$(rustc -V)
	{
		echo "$soak_sources"
		echo "$soak_crates" | sed 's/ (.*)//' | sort -u
		echo "$soak_compiler"
	} | sha256sum | cut -c1-16
}

# soak_streaks: STREAK ENGINE TARGET TEST for each test; the streak is its passes since it last failed. Who wrote which line
# first is not known of files that were merged, hence by date.
soak_streaks() {
	sort "$soak_file" | awk '
		!list { key = $2 FS $3 FS $4; streak[key] = $5 == "passed" ? streak[key] + 1 : 0; next }
		{ print streak[$0] + 0, $0 }' - list=1 "$soak_file.tests"
}

# The cuts are 100,000 in one test: once is enough.
soak_lacking() { soak_streaks | awk '{ lacks = ($2 == "-" ? 1 : 10) - $1; if (lacks > 0) print lacks, $2, $3, $4 }'; }

# soak_outcome: the count that all is about; false if a test lacks passes
soak_outcome() (
	all=$(wc -l <"$soak_file.tests") lacking=$(soak_lacking | wc -l)
	echo "$((all - lacking)) of $all tests have ten in a row (the cuts: one), key ${soak_file##*/}"
	[ "$lacking" = 0 ]
)

# soak_status: of HEAD, without running anything
soak_status() {
	soak_file=tests/soak/$(soak_key)
	# shellcheck disable=SC2086 # a list
	[ -z "$(git status --porcelain -- $soak_about)" ] || say "this is about HEAD: what is not committed does not count"
	[ -e "$soak_file.tests" ] || die "nothing has run yet for the sources at HEAD, whose key is ${soak_file##*/}: tests/run soak"
	[ -e "$soak_file" ] || : >"$soak_file"
	soak_streaks | sort -n
	soak_outcome
}

# run_soak: as many passes of each test as it lacks, or as WOMM_SOAK_ROUNDS allows
run_soak() {
	need_machines
	[ "$WOMM_BIN" = "$built" ] || die "a soak is about the programs of these sources: unset WOMM_BIN"
	for soak_each in "ROUNDS=${WOMM_SOAK_ROUNDS:-10}" "MINUTES=${WOMM_SOAK_MINUTES:-0}" "JOBS=${WOMM_SOAK_JOBS:-3}"; do
		case ${soak_each#*=} in *[!0-9]*) die "WOMM_SOAK_$soak_each: it is a number" ;; esac
	done
	# shellcheck disable=SC2086 # a list
	[ -z "$(git status --porcelain -- $soak_about)" ] || die "soak counts the passes of what is committed: commit first"
	soak_prepare
	export WOMM_SOAK=1 soak_state soak_file soak_until

	soak_pids=
	soak_start cuts soak_lane 1
	soak_wait
	soak_start docker soak_lane "${WOMM_SOAK_JOBS:-3}"
	soak_start kube soak_lane "${WOMM_SOAK_JOBS:-3}"
	soak_start machines soak_lane_of_machines 1
	soak_wait
	soak_start alone soak_lane 1
	soak_wait

	soak_said=0
	soak_outcome || soak_said=$?
	if [ "$soak_said" = 0 ]; then
		tests/lib/faults-table.sh "$soak_file.told" >"$soak_state/table"
		mv -- "$soak_state/table" docs/faults.md
		say "docs/faults.md is written anew"
	fi
	say "commit tests/soak; logs of what failed are in $soak_state"
	[ -z "$soak_broken" ] || die "could not go on, see above:$soak_broken"
	return "$soak_said"
}

# soak_prepare: programs and tests are built once, into a folder of the key's where no other build changes them; the notes are
# there, those of older sources are not.
soak_prepare() {
	soak_state=$tests_cache/soak/$(soak_key)
	soak_file=tests/soak/${soak_state##*/}
	soak_until=$(($(date +%s) + ${WOMM_SOAK_MINUTES:-1000000} * 60)) # or in two years
	mkdir -p "$soak_state/tests" tests/soak
	bins/build "$soak_state/programs"
	soak_take faults -p womm-tests
	soak_take faults-docker -p womm-tests
	soak_take faults-kube -p womm-tests
	{
		echo '- womm-stream cuts'
		soak_list docker faults
		soak_list docker faults-docker
		soak_list kube faults
		soak_list kube faults-kube
	} >"$soak_state/list"
	touch "$soak_file" "$soak_file.told"
	mv -- "$soak_state/list" "$soak_file.tests"
	# How long each took when it was last run, with these sources or others.
	sort tests/soak/* | awk '$5 ~ /^(passed|FAILED)$/ { took[$2 FS $3 FS $4] = $6 } END { for (t in took) print took[t], t }' \
		>"$soak_state/took.new"
	[ ! -s "$soak_state/took.new" ] || mv -- "$soak_state/took.new" "$soak_state/took"
	touch "$soak_state/took"
	for soak_each in tests/soak/*; do
		case $soak_each in "$soak_file" | "$soak_file".*) ;; *) rm -- "$soak_each" ;; esac
	done
	say "what is known of these sources is in $soak_file"

	soak_broken=
	soak_queue '- womm-stream cuts' >"$soak_state/queue.cuts"
	[ ! -s "$soak_state/queue.cuts" ] || soak_take cuts --release -p womm-stream
	soak_queue 'docker .*' | grep -v ' many::' >"$soak_state/queue.docker" || true
	soak_queue 'kube faults .*' | grep -v ' many::' >"$soak_state/queue.kube" || true
	soak_queue 'kube faults-kube .*' >"$soak_state/queue.machines"
	# These take all memory of a machine.
	soak_queue '(docker|kube) faults many::.*' >"$soak_state/queue.alone"
}

# soak_take TARGET OPTION...: a test program out of cargo
soak_take() {
	soak_target=$1
	shift
	cargo test "$@" --test "$soak_target" --locked --no-run --message-format json >"$soak_state/json"
	soak_made=$(sed -n "s/.*\"name\":\"$soak_target\",.*\"executable\":\"\([^\"]*\)\".*/\1/p" "$soak_state/json")
	[ -x "$soak_made" ] || die "cargo does not say where test $soak_target is"
	cp -- "$soak_made" "$soak_state/tests/$soak_target.new"
	mv -f -- "$soak_state/tests/$soak_target.new" "$soak_state/tests/$soak_target"
}

# soak_list ENGINE TARGET
soak_list() {
	soak_names=$("$soak_state/tests/$2" --list --include-ignored | sed -n 's/: test$//p')
	[ -n "$soak_names" ] || die "no test in $2"
	echo "$soak_names" | sed "s/^/$1 $2 /"
}

# soak_queue PATTERN: which tests are to be run, a line each time, round by round, in each what takes longest first
soak_queue() {
	soak_lacking | grep -E "^[0-9]+ $1$" | grep -Ev "${WOMM_SOAK_WITHOUT:-^$}" | awk -v most="${WOMM_SOAK_ROUNDS:-10}" '
		!list { took[$2 FS $3 FS $4] = $1; next }
		{
			lacks = $1 < most ? $1 : most
			sub(/^[0-9]+ /, "")
			for (i = 1; i <= lacks; i++) print i, ($0 in took) ? took[$0] : 9999, $0
		}' "$soak_state/took" list=1 - | sort -k 1,1n -k 2,2nr | cut -d ' ' -f 3-
}

# soak_start QUEUE FUNCTION JOBS: beside this, so many at once. With INT as it was: in the background sh ignores it, and so would
# the programs under test.
soak_start() {
	[ -s "$soak_state/queue.$1" ] || return 0
	env --default-signal=INT,QUIT soak_jobs="$3" "$root/tests/run" --in-part "$2" "$soak_state/queue.$1" &
	soak_pids="$soak_pids $!:$1"
}

# soak_wait for all of them
soak_wait() {
	for soak_each in $soak_pids; do wait "${soak_each%%:*}" || soak_broken="$soak_broken ${soak_each#*:}"; done
	soak_pids=
}

# soak_lane QUEUE
soak_lane() { xargs -P "$soak_jobs" -I '{}' "$root/tests/run" --in-part soak_one '{}' <"$1"; }

# soak_lane_of_machines QUEUE: in a cluster of its own, whose machines may break while others' tests run. Those of many:: find
# its memory free again.
soak_lane_of_machines() {
	unset WOMM_TEST_KUBECONFIG
	export WOMM_CLUSTER_INSTANCE=$((${WOMM_CLUSTER_INSTANCE:-0} + 1))
	[ -n "$(tests/cluster status)" ] || echo "$WOMM_CLUSTER_INSTANCE" >"$WOMM_SETUP_DIR/soak-cluster"
	tests/cluster up --nodes 3 >/dev/null
	with_cluster soak_lane "$1"
	soak_take_down
}

soak_take_down() {
	[ -s "$WOMM_SETUP_DIR/soak-cluster" ] || return 0
	tests/cluster --instance "$(cat "$WOMM_SETUP_DIR/soak-cluster")" down
	rm -- "$WOMM_SETUP_DIR/soak-cluster"
}

# soak_one 'ENGINE TARGET TEST': runs it, and notes what came of it; false only if that can't be said
soak_one() {
	[ "$(date +%s)" -lt "$soak_until" ] || return 0
	# Another call may have been at it meanwhile.
	soak_lacking | cut -d ' ' -f 2- | grep -qxF -e "$1" || return 0
	read -r engine target test <<-END
	$1
	END
	soak_began=$(date +%s) outcome=passed code=0
	log=$soak_state/$(echo "$1" | tr ' :' '-_').$$.log
	# The tests have deadlines, but not all of their tools do: what hangs has failed.
	case $target in
	womm-stream) soak_run lib/womm-stream cuts WOMM_CUTS=100000 --nocapture >"$log" 2>&1 || code=$? ;;
	*) soak_run tests "$target" WOMM_TEST_ENGINE="$engine" --exact "$test" --include-ignored --test-threads 1 >"$log" 2>&1 || code=$? ;;
	esac
	case $code in
	129 | 130 | 143) return 1 ;; # this part is being ended
	esac
	if [ "$code" != 0 ] || ! grep -q '^test result: ok\. [1-9]' "$log"; then outcome=FAILED; fi
	took=$(($(date +%s) - soak_began)) date=$(date -u +%Y-%m-%dT%H:%M:%SZ)
	(
		flock 8
		echo "$date $1 $outcome $took $(uname -n) $(nproc) $soak_jobs" >&8
		[ "$outcome" = FAILED ] || sed -n "s/^.*\(FAULT | .*\)/$date \1/p" "$log" >>"$soak_file.told" # some have nothing to tell
	) 8>>"$soak_file"
	echo "$1: $outcome, $took s"
	[ "$outcome" = FAILED ] || rm -- "$log"
}

# soak_run FOLDER PROGRAM VARIABLE=VALUE WORD...: as cargo runs a test, in its package's folder
soak_run() (
	program=$soak_state/tests/$2 variable=$3
	cd -- "$1" || exit
	shift 3
	# In this process group, which the end of this part is sent to.
	exec env "$variable" WOMM_BIN="$soak_state/programs" PATH="$soak_state/programs:$PATH" \
		timeout --foreground -k 10 "$soak_longest" "$program" "$@" </dev/null
)
