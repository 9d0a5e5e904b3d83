//! A case of the matrix: the same words for GNU parallel over a stand-in for ssh, and for `womm parallel`.

use harness::{Cmd, Engine, Outcome, Project, process};
use std::cell::RefCell;
use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::path::{Path, PathBuf};

/// A case; when it is dropped, its line for the matrix is printed.
pub struct Case {
    name: &'static str,
    project: Option<Project>,
    pods: u32,
    outcome: RefCell<Option<String>>,
}

/// GNU parallel itself, or ours: which has files of its own where both would write the same.
pub struct Side {
    files: PathBuf,
}

impl Side {
    /// A file of this side.
    pub fn at(&self, name: &str) -> PathBuf {
        self.files.join(name)
    }
}

/// What came of both.
pub struct Both {
    pub real: Outcome,
    pub ours: Outcome,
    files: [PathBuf; 2],
}

impl Case {
    /// Two hosts with a job each.
    pub fn new(name: &'static str) -> Self {
        Self::with_pods(name, 2)
    }

    /// One host.
    pub fn on_one_host(name: &'static str) -> Self {
        Self::with_pods(name, 1)
    }

    fn with_pods(name: &'static str, pods: u32) -> Self {
        Self { name, project: Some(Engine::under_test().project()), pods, outcome: RefCell::new(None) }
    }

    pub fn project(&self) -> &Project {
        self.project.as_ref().expect("until it is dropped")
    }

    /// Says in the table that there is nothing to be tried on this engine, and why.
    pub fn has_no_sense_here(&self, why: &str) {
        *self.outcome.borrow_mut() = Some(format!("n/a: {why}"));
    }

    /// The folder is not shared, whatever the engine.
    pub fn share_nothing(&self) {
        self.project().configure("share_kind", "none");
    }

    fn shares_files(&self) -> bool {
        self.project().womm_file()["share_kind"] == "bind"
    }

    fn side(&self, name: &str) -> Side {
        let files = self.project().root().join(name);
        fs::create_dir_all(&files).unwrap();
        Side { files }
    }

    /// GNU parallel by itself, with hosts of the same names.
    pub fn real(&self) -> Cmd {
        let hosts: Vec<String> = (1..=self.pods).map(|n| format!("w{n:03}")).collect();
        let folders: Vec<PathBuf> = hosts.iter().map(|host| self.project().root().join("remote").join(host)).collect();
        folders.iter().for_each(|folder| fs::create_dir_all(folder).unwrap());
        let folder = match self.shares_files() {
            true => self.project().folder().display().to_string(),
            false => format!("{}/$host", self.project().root().join("remote").display()),
        };
        let ssh = self.project().tool("ssh", &STAND_IN.replace("FOLDER", &folder));
        let logins: Vec<String> = hosts.iter().map(|host| format!("1/{host}")).collect();
        self.project().cmd("parallel").arg("--ssh").arg(ssh).args(["--sshlogin", &logins.join(",")])
    }

    /// In pods.
    pub fn ours(&self) -> Cmd {
        if std::env::var_os("WOMM_TEST_BY_SHELL").is_some() {
            self.by_shell()
        } else {
            self.project().parallel(self.pods)
        }
    }

    /// In pods by PARALLEL_SHELL, to see which cases that would break.
    fn by_shell(&self) -> Cmd {
        let project = self.project();
        let shell = project.tool("pod-shell", POD_SHELL);
        let run = project.cmd(project.tool("by-shell", BY_SHELL)).arg(self.pods.to_string()).arg(shell);
        run.arg(if project.engine() == Engine::Kube { "50m" } else { "1" })
    }

    /// Runs the same on both sides, and compares nothing yet.
    #[track_caller]
    pub fn both(&self, complete: impl Fn(Cmd, &Side) -> Cmd) -> Both {
        let sides = [self.side("real"), self.side("ours")];
        let real = complete(self.real(), &sides[0]).run();
        // It ends its ssh alone, and this one's jobs live on.
        process::kill(&process::marked(self.project().mark()));
        let ours = complete(self.ours(), &sides[1]).run();
        ours.task();
        Both { real, ours, files: sides.map(|side| side.files) }
    }

    /// Runs the same on both sides; asserts the same stdout, stderr, status and joblog.
    #[track_caller]
    pub fn same(&self, code: i32, complete: impl Fn(Cmd, &Side) -> Cmd) -> Both {
        let both = self.both(|cmd, side| complete(cmd.arg("--joblog").arg(side.at("joblog")), side));
        both.exits(code).same_stdout().same_stderr().same_joblog("joblog");
        both
    }
}

/// A case that is a line of words, with its stdin, status and stdout.
#[track_caller]
pub fn plain(name: &'static str, words: &[&str], stdin: &str, code: i32, stdout: &str) {
    let both = Case::new(name).same(code, |cmd, _| {
        let cmd = cmd.args(words);
        if stdin.is_empty() { cmd } else { cmd.stdin(stdin) }
    });
    both.real.writes(stdout);
}

impl Drop for Case {
    #[expect(clippy::print_stdout, reason = "the line for the matrix is said through the test runner")]
    fn drop(&mut self) {
        let project = self.project.take();
        // What it left is found when it is dropped.
        let clean = catch_unwind(AssertUnwindSafe(|| drop(project)));
        let outcome = match self.outcome.take() {
            _ if std::thread::panicking() || clean.is_err() => "failed".to_owned(),
            Some(outcome) => outcome,
            None => "passed".to_owned(),
        };
        println!("MATRIX | {} | {outcome}", self.name);
        if let Err(panic) = clean {
            resume_unwind(panic);
        }
    }
}

impl Both {
    #[track_caller]
    fn fail(&self, why: &str) -> ! {
        let real = catch_unwind(AssertUnwindSafe(|| self.real.fail("GNU parallel itself"))).unwrap_err();
        let real = real.downcast_ref::<String>().cloned().unwrap_or_default();
        self.ours.fail(&format!("{why}\n{real}\n\nand ours:"))
    }

    #[track_caller]
    pub fn exits(&self, code: i32) -> &Self {
        if self.real.code() != code || self.ours.code() != code {
            self.fail(&format!("exit status {} and {}, not {code}", self.real.code(), self.ours.code()));
        }
        self
    }

    #[track_caller]
    pub fn same_stdout(&self) -> &Self {
        if self.real.stdout != self.ours.stdout {
            self.fail("stdout is another");
        }
        self
    }

    /// The same lines in any order; some there must be.
    #[track_caller]
    pub fn same_lines(&self) -> &Self {
        let sorted = |outcome: &Outcome| {
            let mut lines: Vec<String> = outcome.text().lines().map(str::to_owned).collect();
            lines.sort_unstable();
            lines
        };
        if sorted(&self.real) != sorted(&self.ours) || self.real.stdout.is_empty() {
            self.fail("stdout has other lines, or none");
        }
        self
    }

    /// GNU parallel's own words and the jobs', without what we say of the task.
    #[track_caller]
    pub fn same_stderr(&self) -> &Self {
        // What GNU parallel has no terminal for, it says as often as it looks.
        let of = |text: &str| -> String {
            text.lines().filter(|line| !line.contains("/dev/tty")).map(|line| format!("{line}\n")).collect()
        };
        if of(&self.real.stderr) != of(&self.ours.other_stderr()) {
            self.fail("stderr is another");
        }
        self
    }

    /// Both say this on stderr.
    #[track_caller]
    pub fn say(&self, words: &str) -> &Self {
        if !self.real.stderr.contains(words) || !self.ours.stderr.contains(words) {
            self.fail(&format!("not both say {words:?}"));
        }
        self
    }

    /// The same but for hosts and times.
    #[track_caller]
    pub fn same_joblog(&self, name: &str) -> &Self {
        let [real, ours] = [0, 1].map(|n| comparable(&self.files[n].join(name)));
        if real != ours {
            self.fail(&format!("the joblog is another: {real:#?} and {ours:#?}"));
        }
        self
    }

    /// A file, or all below a folder, of each side: path below it and content.
    pub fn files(&self, name: &str) -> [Vec<(String, Vec<u8>)>; 2] {
        [0, 1].map(|n| tree(&self.files[n].join(name)))
    }
}

/// The joblog's columns that don't depend on host and time, sorted by job.
fn comparable(log: &Path) -> Vec<String> {
    let text = String::from_utf8_lossy(&fs::read(log).unwrap_or_default()).into_owned();
    let fields = |line: &str| {
        let fields: Vec<&str> = line.splitn(9, '\t').collect();
        let kept: Vec<&str> = [0, 4, 5, 6, 7, 8].iter().filter_map(|n| fields.get(*n).copied()).collect();
        kept.join(" ")
    };
    let mut lines: Vec<String> = text.lines().map(fields).collect();
    lines.sort_unstable();
    lines
}

/// Files below a folder, sorted: path and content.
pub fn tree(folder: &Path) -> Vec<(String, Vec<u8>)> {
    fn walk(base: &Path, folder: &Path, found: &mut Vec<(String, Vec<u8>)>) {
        for entry in fs::read_dir(folder).into_iter().flatten() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                walk(base, &path, found);
            } else {
                let name = path.strip_prefix(base).unwrap().display().to_string();
                found.push((name, fs::read(&path).unwrap()));
            }
        }
    }
    let mut found = Vec::new();
    walk(folder, folder, &mut found);
    found.sort();
    found
}

/// `ssh [OPTIONS] HOST [--] COMMAND...`, on this machine, in the folder FOLDER, where each $host may have its own.
const STAND_IN: &str = r#"#!/bin/sh
# What sshd does, without another machine: a new environment, a folder, a shell.
while :; do
	case $1 in
	-l) shift 2 ;;
	-*) shift ;;
	*) break ;;
	esac
done
host=${1#*@}
shift
[ "$1" != -- ] || shift
cd "FOLDER" || exit 255
env -i PATH="$PATH" HOME="$HOME" USER="$USER" LOGNAME="$LOGNAME" SHELL=/bin/bash LANG="$LANG" TMPDIR="$TMPDIR" \
	WOMM_TEST_MARK="$WOMM_TEST_MARK" sh -c "$*"
exit $? # 128+N after signal N
"#;

/// by-shell PODS SHELL CPU [GNU parallel's words]: as `womm parallel` would be if jobs went by PARALLEL_SHELL. A run of its own keeps
/// the pods, with a slot more for its job; GNU parallel thinks that it runs the jobs here.
const BY_SHELL: &str = r#"#!/bin/sh
pods=$1 shell=$2 cpu=$3
shift 3
exec 3<&0
said=$(mktemp)
womm parallel --kube-pods "$pods" --procs-per-pod 2 --kube-cpu "$cpu" -- sleep 1000 ::: 1 </dev/null >/dev/null 2>"$said" 3<&- &
idle=$!
until grep ' created$' "$said" >&2; do kill -0 "$idle" || exit 125; sleep 0.1; done
until run=$(ls -d "$XDG_RUNTIME_DIR"/womm/*/ssh.sock 2>/dev/null); do sleep 0.1; done
export WOMM_RUN="${run%/ssh.sock}"
for n in $(seq "$pods"); do until womm-ssh "w00$n" -- true </dev/null 2>/dev/null; do sleep 0.1; done; done
env --default-signal=INT PARALLEL_SHELL="$shell" PODS="$pods" parallel -j "$pods" "$@" <&3 3<&- &
parallel=$!
trap 'kill -TERM "$parallel"' INT TERM HUP
wait "$parallel"
code=$?
while kill -0 "$parallel" 2>/dev/null; do wait "$parallel"; code=$?; done
kill -TERM "$idle"
wait "$idle"
grep ' deleted$' "$said" >&2
rm -f "$said"
exit "$code"
"#;

/// pod-shell -c COMMAND, in the pod of the job's slot.
const POD_SHELL: &str = r#"#!/bin/sh
exec womm-ssh "w$(printf %03d $(((${PARALLEL_JOBSLOT:-1} - 1) % PODS + 1)))" -- \
	"export PARALLEL_SEQ='$PARALLEL_SEQ' PARALLEL_JOBSLOT='$PARALLEL_JOBSLOT' PARALLEL_PID='$PARALLEL_PID'
$2"
"#;
