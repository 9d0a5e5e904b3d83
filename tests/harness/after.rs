//! What is seen to when the test process has ended, in whatever way: statics are never dropped, and a process that is
//! killed drops nothing. A program of its own hears of it by the end of its stdin.

use std::io::Write;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, PoisonError};

/// Ends the processes with a test's mark, each by its id, those first that keep a run alive: the run's own helpers then
/// remove its pods. The tests' own processes that are left at a proper end are found by the tests themselves.
const SCRIPT: &str = r#"
tab=$(printf '\t')
marked() { grep -lzx "WOMM_TEST_MARK=$1" /proc/[0-9]*/environ 2>/dev/null | cut -d/ -f3; }
left() {
	for pid in $(marked "$1"); do
		case $(cat "/proc/$pid/comm" 2>/dev/null) in womm-pods | womm-sshlogins) ;; *) kill -KILL "$pid" ;; esac
	done
	turns=0
	while [ -n "$(marked "$1")" ] && [ $turns -lt 40 ]; do turns=$((turns + 1)) && sleep 0.5; done
	for pid in $(marked "$1"); do kill -KILL "$pid"; done
	[ -z "$2" ] || rm -rf -- "$2"
}
said=$(cat)
printf '%s\n' "$said" | while IFS=$tab read -r kind name folder; do
	case $kind in
	test) [ ! -d "$folder" ] || left "$name" "$folder" ;;
	image) docker image rm --force "$name" ;;
	label)
		docker ps --all --quiet --filter "label=$name" | xargs -r docker rm --force --volumes
		docker image ls --quiet --no-trunc --filter "label=$name" | xargs -r docker image rm --force
		;;
	esac
done
"#;

fn say(line: &str) {
    static WATCHER: Mutex<Option<Child>> = Mutex::new(None);
    let mut watcher = WATCHER.lock().unwrap_or_else(PoisonError::into_inner);
    let watcher = watcher.get_or_insert_with(|| {
        let mut command = Command::new("setsid");
        command.args(["sh", "-c", SCRIPT]);
        command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
        command.spawn().expect("setsid of util-linux can be run")
    });
    let stdin = watcher.stdin.as_mut().expect("it is piped");
    stdin.write_all(line.as_bytes()).expect("the watcher reads until we end");
}

/// A test of this mark, whose folder is there until it has ended properly or was kept.
pub fn test(mark: &str, folder: &Path) {
    say(&format!("test\t{mark}\t{}\n", folder.display()));
}

/// An image that this process made.
pub fn image(name: &str) {
    say(&format!("image\t{name}\t\n"));
}

/// Containers and images with this label.
pub fn label(label: &str) {
    say(&format!("label\t{label}\t\n"));
}
