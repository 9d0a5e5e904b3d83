# shellcheck shell=sh
# Sourced by womm-parallel and womm-shell: a run, from its folder and life pipe to its pods' end.
#
# Descriptors: 3 the user's stdin; 8 the life pipe's write end, held by this shell and the supervisor and by nobody
# else; 9 its read end, held by the helpers (--while 9). However this shell and the supervisor end, the kernel closes
# the pipe, and the helpers delete the pods. 5, 6 and 7 are open for moments only.
#
# Nothing runs in the foreground for long: a trap is only run between commands and during `wait`.

# Set by the script that sources this: how messages begin, and where the programs are.
: "${name:?}" "${libexec:?}"

run=        # the run folder
watch=      # process ids: of the helpers,
logins=     #
supervisor= # and of what runs the command
caught=     # 128+N, once signal N came
tty=        # how the terminal was, if it is to be put back
record=     # of the project and its image
lost=       # how many jobs were
retries=    # how often a lost one is run again
no_guests=  # whether jobs are to wait for a pod at their own place
files=      # when GNU parallel brings some: each, or once as well

# say MESSAGE: as one line, whatever the user's words hold
say() { printf '%s: %s\n' "$name" "$(printf %s "$1" | tr '\n\r' '  ')" >&2; }

# fail MESSAGE [STATUS]: 2 for wrong usage, which is the default
fail() {
	say "$1"
	exit "${2:-2}"
}

# quote WORD: $quoted becomes the word as a shell reads it
quote() {
	quoted='' rest=$1
	while :; do
		case $rest in
		*\'*) quoted="$quoted${rest%%\'*}'\\''" rest=${rest#*\'} ;;
		*) break ;;
		esac
	done
	quoted="'$quoted$rest'"
}

# command_text WORD...: $text becomes the command as a shell reads it, for people: no longer than a label should be,
# and UTF-8 as JSON is
command_text() {
	text=
	for word; do
		[ ${#text} -lt 4000 ] || break
		quote "$word"
		text="$text${text:+ }$quoted"
	done
	case $text in
	*[!\ -~]*) text=$(printf '%.4000s' "$text" | iconv -c -f UTF-8 -t UTF-8 2>/dev/null) ;;
	*) text=$(printf '%.4000s' "$text") ;;
	esac
}

# integer OPTION VALUE LEAST
integer() {
	case $2 in
	'' | *[!0-9]*) fail "Expected integer argument to $1, got $2" ;;
	esac
	case $2 in
	??????????*) fail "Expected integer argument to $1 of less than ten digits, got $2" ;;
	esac
	[ "$2" -ge "$3" ] || fail "Expected integer argument to $1 of at least $3, got $2"
}

# has RECORD KEY VALUE: as our programs write JSON, without blanks
has() {
	case $1 in
	*"\"$2\":\"$3\""*) return 0 ;;
	*) return 1 ;;
	esac
}

# private FOLDER: ours, and closed to others
private() {
	[ -n "$(find "$1" -prune -type d -user "$(id -u)" ! -perm -040 ! -perm -020 ! -perm -010 \
		! -perm -004 ! -perm -002 ! -perm -001 2>/dev/null)" ]
}

# run_base: prints the folder that holds run folders; the rule is that of lib/womm-cli/src/run.rs
run_base() {
	base=${TMPDIR:-/tmp}/womm-$(id -u)
	case ${XDG_RUNTIME_DIR-} in
	/*) ! private "$XDG_RUNTIME_DIR" || base=$XDG_RUNTIME_DIR/womm ;;
	esac
	# Another run may make it at the same time.
	mkdir -m 700 -- "$base" 2>/dev/null || [ -d "$base" ] || fail "make the folder of runs \"$base\": it can't be made" 125
	private "$base" || fail "the folder of runs \"$base\" is not yours alone: remove it, or point XDG_RUNTIME_DIR at a folder of yours with mode 0700" 125
	printf '%s\n' "$base"
}

# wait_for PID: its status, however many signals come meanwhile
wait_for() {
	while :; do
		interrupted=
		wait "$1" 2>/dev/null
		ended=$?
		[ -n "$interrupted" ] || return "$ended"
	done
}

# alive PID: a child of ours that has not ended; kill -0 can't tell, as long as nobody waited for it
alive() {
	{ read -r _ _ state _ <"/proc/$1/stat"; } 2>/dev/null && [ "$state" != Z ]
}

# on_signal N: ends the command; what is left to do is then done where it is waited for
on_signal() {
	caught=$((128 + $1)) interrupted=1
	exec 8>&-
	[ -z "$supervisor" ] || kill -TERM "$supervisor" 2>/dev/null
}

# run_begin: makes the run folder and the life pipe
run_begin() {
	base=$(run_base) || exit
	trap 'on_signal 2' INT
	trap 'on_signal 15' TERM
	trap 'on_signal 1' HUP
	# A run that was killed before it had any helper leaves an empty folder, which nobody has locked.
	find "$base" -mindepth 1 -maxdepth 1 -type d -mmin +1 ! -exec test -e '{}/lock' ';' -exec rm -rf -- '{}' + 2>/dev/null
	run=$(mktemp -d -- "$base/XXXXXXXX") || finish 125
	mkfifo -m 600 -- "$run/life" || finish 125
	# Opened both ways first: each end alone would wait for the other.
	# shellcheck disable=SC2094 # it is a pipe
	exec 7<>"$run/life" 8>"$run/life" 9<"$run/life" 7>&-
	rm -- "$run/life"
}

# run_image OPTION...: $record becomes what `womm-image show OPTION...` says of the project and its image
run_image() {
	record=$("$libexec/womm-image" show "$@" 3<&-)
	ended=$?
	[ "$ended" -ne 2 ] || exit 2
	[ "$ended" -eq 0 ] || exit 125
}

# run_pods WORD...: makes the pods of `womm-pods create WORD...` and starts the helpers; returns when jobs are taken
run_pods() {
	printf '%s\n' "$record" >"$run/image" || finish 125
	"$libexec/womm-pods" create --run "$run" --while 9 "$@" <"$run/image" >"$run/task" 3<&- 8>&- &
	wait_for $!
	ended=$?
	[ -z "$caught" ] || finish "$caught"
	[ "$ended" -ne 2 ] || finish 2
	[ "$ended" -eq 0 ] || finish 125

	mkfifo -m 600 -- "$run/lines" || finish 125
	# shellcheck disable=SC2094 # it is a pipe
	exec 7<>"$run/lines" 6>"$run/lines" 5<"$run/lines" 7>&-
	rm -- "$run/lines"
	"$libexec/womm-pods" watch --while 9 <"$run/task" >&6 3<&- 5<&- 6>&- 8>&- &
	watch=$!
	"$libexec/womm-sshlogins" --while 9 --file "$run/slf" ${retries:+--retries "$retries"} \
		${no_guests:+--no-guests} ${files:+--files "$files"} <&5 >&2 3<&- 5<&- 6>&- 8>&- &
	logins=$!
	exec 5<&- 6>&-

	turns=0
	until [ -e "$run/slf" ]; do
		[ -z "$caught" ] || finish "$caught"
		alive "$logins" || finish 125 # it said why
		[ "$turns" -lt 3000 ] || { say "womm-sshlogins is not ready after 60 s" && finish 125; }
		turns=$((turns + 1))
		# Where sleep takes whole seconds only, the wait is longer, not busy.
		sleep 0.02 3<&- 8>&- 9<&- 2>/dev/null || sleep 1 3<&- 8>&- 9<&-
	done
}

# run_command WORD...: runs it, with the user's stdin, and ends with its status
run_command() {
	WOMM_RUN=$run "$libexec/womm-agent" supervise --parent $$ --life 8 -- "$@" <&3 3<&- 9<&- &
	supervisor=$!
	echo "$supervisor" >"$run/supervisor.new" && mv -- "$run/supervisor.new" "$run/supervisor.pid"
	# No pod can come, found out before there was a supervisor to tell; or a signal that came then.
	if [ -e "$run/failed" ] || [ -n "$caught" ]; then
		kill -TERM "$supervisor" 2>/dev/null
	fi
	wait_for "$supervisor"
	ended=$?
	supervisor=
	if [ -n "$caught" ]; then
		finish "$caught"
	elif [ ! -e "$run/failed" ]; then
		finish "$ended"
	elif [ -e "$run/started" ]; then
		finish 3
	else
		finish 125
	fi
}

# finish STATUS: ends the run, however far it got, and the script
finish() {
	# The helpers and delete have deadlines of their own; what is sent to us now could only leave things behind.
	trap '' INT TERM HUP TTOU
	exec 8>&-
	[ -z "$tty" ] || stty "$tty" <&3
	if [ -n "$run" ]; then
		# Before delete, which removes the folder.
		[ ! -s "$run/lost.jsonl" ] || lost=$(grep -c '"again":false' "$run/lost.jsonl")
		case $((${lost:-0})) in
		0) ;;
		1) say '1 job was lost, and counts as failed with 255' ;;
		*) say "$((lost)) jobs were lost, and count as failed with 255" ;;
		esac
		if [ -s "$run/task" ] && ! "$libexec/womm-pods" delete <"$run/task" 3<&- 9<&-; then
			[ "$1" -ne 0 ] || set -- 3 # it said why; the guard, if there is one, tries on
		fi
		[ -z "$watch" ] || wait "$watch"
		[ -z "$logins" ] || wait "$logins"
		rm -rf -- "$run"
	fi
	exit "$1"
}

# A script started without stdin or stdout would get the next file it opens in their place.
{ true 7<&0; } 2>/dev/null || exec </dev/null
{ true 7>&1; } 2>/dev/null || exec >/dev/null
exec 3<&0
