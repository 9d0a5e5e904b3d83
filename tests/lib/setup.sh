# shellcheck shell=sh
# What tests/run, tests/demo and tests/cluster share: packages, cargo, Docker, the base image, and
# parts with their time and outcome. A script sets $root (the repository), then sources this file.
# Functions with a body in ( ) keep their variables to themselves; sh knows no local ones.

: "${root:?}"
tests_cache=${XDG_CACHE_HOME:-$HOME/.cache}/womm-tests
mkdir -p "$tests_cache"
PATH=$PATH:/usr/sbin:/sbin # a plain user's lacks them on Debian

say() { echo "${0##*/}: $*" >&2; }
die() { say "$*"; exit 1; }

as_root() { if [ "$(id -u)" = 0 ]; then "$@"; else sudo -n -- "$@"; fi; }

# need_root WHAT FOR. Passwords are not asked for: half of a run has no terminal that could be asked.
need_root() {
	as_root true 2>/dev/null ||
		die "no root, and it is needed for $*: run as root, or let sudo work without a password"
}

# lock FILE in the place of what was locked, until the script ends; daemons must be started with 9>&-
lock() {
	exec 9>"$1"
	flock -w 1800 9 || die "gave up waiting for $1: another ${0##*/} holds it for half an hour"
}

# until_true SECONDS WHAT COMMAND...
until_true() (
	tries=$(($1 * 20)) what=$2
	shift 2
	until "$@" >/dev/null 2>&1; do
		tries=$((tries - 1))
		[ "$tries" -gt 0 ] || die "gave up waiting for $what"
		sleep 0.05
	done
)

# begin_setup [COMMAND...] makes the folder of notes on what this run started, for the scripts that it
# calls too. At the end, INT, TERM and HUP included, COMMAND runs and all that was started ends.
begin_setup() {
	end_command=$* setup_began=$(date +%s)
	if [ -z "${WOMM_SETUP_DIR-}" ]; then
		WOMM_SETUP_DIR=$(mktemp -d "$tests_cache/run.XXXXXX") setup_dir_is_ours=yes
		export WOMM_SETUP_DIR
	fi
	trap 'end_setup' EXIT
	trap 'exit 129' HUP
	trap 'exit 130' INT
	trap 'exit 143' TERM
}

# It goes on after an error, and says it: half a tidying is worse.
end_setup() {
	trap '' HUP INT TERM
	trap - EXIT
	set +e
	end_part
	warm=warm
	[ ! -e "$WOMM_SETUP_DIR/cold" ] || warm=cold
	$end_command
	if [ -n "${setup_dir_is_ours-}" ]; then
		stop_docker
		rm -rf "$WOMM_SETUP_DIR"
	fi
}

# ---- processes: a file holds the pid and, as pids return, its start time

# Of a zombie nothing: in a container without an init, nobody waits for orphans.
started() { sed 's/.*) //' "/proc/$1/stat" 2>/dev/null | awk '$1 != "Z" {print $20}'; }
record() { echo "$2 $(started "$2")" >"$1"; }

# pid FILE prints the pid if that very process is still there
pid() (
	[ -r "$1" ] && read -r number start <"$1" && [ -n "$start" ] && [ "$(started "$number")" = "$start" ] && echo "$number"
)

gone() { ! pid "$1" >/dev/null; }

# ---- packages and cargo

# need_packages [COMMAND:]PACKAGE... installs what is missing; it is there if the command is (without
# one: the command of the package's name), or if dpkg knows it.
need_packages() (
	missing=
	for each in "$@"; do
		case $each in
		*:*) command -v "${each%%:*}" >/dev/null || missing="$missing ${each#*:}" ;;
		*) command -v "$each" >/dev/null || dpkg_knows "$each" || missing="$missing $each" ;;
		esac
	done
	[ -n "$missing" ] || exit 0
	command -v apt-get >/dev/null || die "missing, and no apt-get to install with:$missing"
	need_root "installing$missing"
	say "installing$missing"
	touch "$WOMM_SETUP_DIR/cold"
	update_packages
	log=$tests_cache/apt-get.log
	# shellcheck disable=SC2086 # a list
	as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends \
		-o DPkg::Lock::Timeout=300 $missing >"$log" 2>&1 </dev/null ||
		{ tail -n 3 "$log" >&2; die "could not install$missing, see $log"; }
)

dpkg_knows() { dpkg-query -Wf '${db:Status-Abbrev}\n' "$1" 2>/dev/null | grep -q ^ii; }

# Once in a run, and not on the word of a run of yesterday.
update_packages() {
	[ -z "$(find "$WOMM_SETUP_DIR/apt-updated" -mmin -60 2>/dev/null)" ] || return 0
	as_root apt-get update -q -o DPkg::Lock::Timeout=300 >"$tests_cache/apt-get.log" 2>&1 </dev/null ||
		die "could not update the package lists, see $tests_cache/apt-get.log"
	touch "$WOMM_SETUP_DIR/apt-updated"
}

need_cargo() {
	PATH=$PATH:${CARGO_HOME:-$HOME/.cargo}/bin
	cargo_wanted=$(sed -n '/^\[workspace\.package\]/,/^\[/s/^rust-version *= *"\([0-9.]*\)".*/\1/p' "$root/Cargo.toml")
	[ -n "$cargo_wanted" ] || die "no rust-version under [workspace.package] in $root/Cargo.toml"
	command -v cargo >/dev/null ||
		die "no cargo on PATH: install Rust $cargo_wanted or newer, by https://rustup.rs for one"
	cargo_found=$(cargo --version | cut -d' ' -f2)
	printf '%s\n' "$cargo_wanted" "$cargo_found" | sort -VC ||
		die "cargo $cargo_found is too old: install Rust $cargo_wanted or newer, by https://rustup.rs for one"
	need_packages cc:gcc libc6-dev
}

# tracked lists the repository's files, each ended by NUL. Git wants to be told that a
# folder of another user is meant, as it is where root tests a user's clone.
tracked() { git -c safe.directory="$root" -C "$root" ls-files -z; }

# parallel_of SUITE prints the path of the GNU parallel of that Debian, which is unpacked beside the tests and not installed.
# apt is told of the suite in folders of its own; the system's lists and sources stay as they are. A package that is
# there is not looked for again on the same day.
parallel_of() (
	folder=$tests_cache/parallel-$1
	program=$folder/root/usr/bin/parallel
	exec 8>"$folder.lock"
	flock -w 600 8 || die "gave up waiting for $folder.lock: who gets GNU parallel there?"
	if [ -z "$(find "$folder/got" -mmin -1440 2>/dev/null)" ] || [ ! -x "$program" ]; then
		get_parallel "$1" "$folder" >&2 8>&-
	fi
	echo "$program"
)

get_parallel() (
	keyring=/usr/share/keyrings/debian-archive-keyring.gpg
	[ -r "$keyring" ] || need_packages debian-archive-keyring
	rm -rf -- "$2"
	mkdir -p "$2/lists/partial" "$2/cache/archives/partial" "$2/root"
	cd "$2"
	echo "deb [signed-by=$keyring] http://deb.debian.org/debian $1 main" >sources.list
	: >status
	# As root apt would hand over to a user who may not enter this folder. A mirror that lags behind will do, its signatures
	# are looked at all the same: sid's lists are valid for a week.
	set -- -q -o Acquire::Check-Valid-Until=false -o Dir::Etc::SourceList="$2/sources.list" -o Dir::Etc::SourceParts=/dev/null \
		-o Dir::Etc::Preferences=/dev/null -o Dir::Etc::PreferencesParts=/dev/null \
		-o Dir::State="$2" -o Dir::State::Lists="$2/lists" -o Dir::State::status="$2/status" -o Dir::Cache="$2/cache" \
		-o APT::Sandbox::User="$(id -un)" -o Acquire::Languages=none -o Acquire::IndexTargets::deb::DEP-11::DefaultEnabled=false
	{ timeout 300 apt-get "$@" update && timeout 300 apt-get "$@" download parallel; } >log 2>&1 </dev/null ||
		die "could not get the package parallel, see $PWD/log"
	dpkg-deb -x parallel_*.deb root
	rm -rf -- lists cache parallel_*.deb
	touch got
)

# busybox prints the path of a static one.
busybox() (
	folder=$tests_cache/busybox
	exec 8>"$folder.lock"
	flock -w 600 8 || die "gave up waiting for $folder.lock: who gets busybox there?"
	if [ ! -x "$folder/root/bin/busybox" ]; then
		update_packages
		rm -rf -- "$folder"
		mkdir -p "$folder/root"
		cd "$folder"
		# As root apt would hand over to a user who may not enter this folder.
		timeout 300 apt-get -q -o APT::Sandbox::User="$(id -un)" download busybox-static >log 2>&1 </dev/null ||
			die "could not get the package busybox-static, see $PWD/log"
		dpkg-deb -x busybox-static_*.deb root
	fi
	echo "$folder/root/bin/busybox"
)

# ---- Docker

docker_answers() { timeout 10 docker info >/dev/null 2>&1; }

# need_docker installs the engine and starts it where none answers. stop_docker undoes the start.
need_docker() {
	need_packages dockerd:docker.io
	need_packages docker:docker-cli # a package of its own in later releases
	! docker_answers || return 0
	! as_root docker info >/dev/null 2>&1 ||
		die "$(id -un) may not use Docker: run as root, or \"usermod -aG docker $(id -un)\" and log in again"
	need_packages iptables
	need_root "starting dockerd"
	say "starting dockerd"
	# It writes its own pid: so there is no moment in which it runs and nobody knows. And it is forked off by
	# setsid: a shell in the background would stay as long as dockerd does, with all that it had open.
	# shellcheck disable=SC2016 # expands in there
	as_root setsid --fork sh -c '
		echo "$$ $(sed "s/.*) //" /proc/$$/stat | cut -d" " -f20)" >"$1"
		exec dockerd --storage-driver overlay2 --group "$2"
	' sh "$WOMM_SETUP_DIR/dockerd.pid" "$(id -gn)" >"$tests_cache/dockerd.log" 2>&1 </dev/null 9>&-
	until_true 60 "dockerd, see $tests_cache/dockerd.log" docker_answers_or_ended
	docker_answers || die "dockerd ended at once, see $tests_cache/dockerd.log"
}

docker_answers_or_ended() { docker_answers || { [ -s "$WOMM_SETUP_DIR/dockerd.pid" ] && gone "$WOMM_SETUP_DIR/dockerd.pid"; }; }

stop_docker() (
	dockerd=$(pid "$WOMM_SETUP_DIR/dockerd.pid") || exit 0
	say "stopping the dockerd that was started here"
	as_root kill -TERM "$dockerd"
	until_true 30 "the end of dockerd" gone "$WOMM_SETUP_DIR/dockerd.pid" || as_root kill -KILL "$dockerd"
)

base_packages=perl,rsync,procps,openssh-sftp-server,vim-tiny
# By what is in it: an image of an earlier list is not taken for it.
base_image_name=womm-test-base:$(echo "bookworm $base_packages" | cksum | cut -d ' ' -f 1)

# base_image prints that name; it is a small Debian with what a job may want, made once.
base_image() (
	exec 8>"$tests_cache/base_image.lock"
	flock -w 900 8 || die "gave up waiting for $tests_cache/base_image.lock: who makes the base image there?"
	[ -n "$(docker image ls -q "$base_image_name")" ] || make_base_image "$base_image_name" >&2
	echo "$base_image_name"
)

make_base_image() (
	need_packages debootstrap debian-archive-keyring
	need_root "debootstrap"
	say "making the image $1 by debootstrap, about a minute"
	# Not in /tmp, which may be mounted nodev: debootstrap makes devices.
	work=$(mktemp -d "$tests_cache/base_image.XXXXXX")
	trap 'as_root rm -rf --one-file-system "$work"' EXIT
	trap 'exit 130' INT
	trap 'exit 143' TERM HUP
	log=$tests_cache/debootstrap.log
	# A mirror may fail to give one of the packages; what has come is not fetched again.
	for try in 1 2 3; do
		! as_root debootstrap --variant=minbase --include="$base_packages" bookworm "$work/root" \
			http://deb.debian.org/debian >"$log" 2>&1 8>&- || break
		[ "$try" -lt 3 ] || die "debootstrap failed three times, see $log"
		say "debootstrap failed: $(tail -n 1 "$log"); trying again"
	done
	as_root tar -C "$work/root" --exclude='./var/cache/apt/archives/*.deb' --exclude='./var/lib/apt/lists/*' \
		-cf "$work/root.tar" .
	docker import -c 'CMD ["/bin/bash"]' -c 'ENV PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin' \
		"$work/root.tar" "$1"
)

# ---- parts
# A script that uses them calls `in_part "$@"` after its definitions, and then begin_setup.

part_results=
part_pid=

# part NAME SECONDS COMMAND... runs COMMAND, a program or a function of the script, prints how long it
# took and notes the outcome. It runs in a session of its own: the script can wait for it and hear
# signals, and one signal ends all of it. INT works in there though sh ignores it in the background.
part() {
	part_name=$1 part_deadline=$2
	shift 2
	printf '\n== %s\n' "$part_name"
	part_began=$(date +%s) part_status=0
	setsid env --default-signal=INT,QUIT timeout -k 30 "$part_deadline" "$root/tests/${0##*/}" --in-part "$@" </dev/null &
	part_pid=$!
	wait "$part_pid" || part_status=$?
	part_pid=
	part_took=$(($(date +%s) - part_began))
	case $part_status in
	0) part_outcome=passed ;;
	124 | 137) part_outcome="failed: not done after $part_deadline s" ;;
	*) part_outcome="failed: exit status $part_status" ;;
	esac
	note_part "$part_name" "$part_took" "$part_outcome"
	return "$part_status"
}

# note_part NAME SECONDS OUTCOME; the outcome begins with "passed" or "failed"
note_part() {
	echo "-- $1: $3, $2 s"
	part_results="$part_results$1 $2 $3
"
}

# part_passed NAME: true, false, or not (yet) run, which is false too
part_passed() { printf '%s' "$part_results" | grep -q "^$1 [0-9]* passed"; }

in_part() {
	[ "${1-}" = --in-part ] || return 0
	shift
	set -eu
	"$@"
	exit
}

# parts_summary prints the table and, last, the count; false if one failed. "cold": something had to be installed, or
# the programs or the cluster compiled from nothing. $most_warm and $most_cold, if set: how many seconds all of it may take; more is
# said, and fails nothing, as a machine may be busy.
parts_summary() {
	printf '\n%-12s %7s  %s\n' part seconds outcome
	printf '%s' "$part_results" | while read -r name seconds outcome; do
		printf '%-12s %7s  %s\n' "$name" "$seconds" "$outcome"
	done
	total=$(($(date +%s) - setup_began)) most=${most_warm-}
	[ "$warm" = warm ] || most=${most_cold-}
	if [ -n "$most" ]; then
		[ "$total" -le "$most" ] && most=", of $most s" || most=", too long: $most s are the limit"
	fi
	printf '%-12s %7s  %s\n' total "$total" "$warm, $(nproc) cores$most"
	part_failures=$(printf '%s' "$part_results" | grep -c '^[^ ]* [0-9]* failed') || true
	echo "$(printf '%s' "$part_results" | grep -c '^[^ ]* [0-9]* passed') passed, $part_failures failed"
	[ "$part_failures" = 0 ]
}

# end_part ends the running part, if there is one.
end_part() {
	[ -n "$part_pid" ] || return 0
	kill -TERM "-$part_pid" 2>/dev/null || true
	until_true 30 "the end of part $part_name" group_gone "$part_pid" || kill -KILL "-$part_pid" 2>/dev/null || true
	part_pid=
}

group_gone() { ! kill -0 "-$1"; }
