//! Programs that a test runs, and what came of them. A failure prints command, cwd, status, stdout and stderr.

use crate::wait::{LONG, PAUSE};
use rustix::process::{Pid, Signal, kill_process, kill_process_group};
use rustix::pty::{OpenptFlags, grantpt, ioctl_tiocgptpeer, openpt, unlockpt};
use std::ffi::{OsStr, OsString};
use std::fmt::Write as _;
use std::fs::{self, File};
use std::io::Write as _;
use std::os::fd::OwnedFd;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

/// How much of an output a failure prints, bytes at its begin and at its end.
const SHOWN: usize = 4000;

/// A program that is about to run: in a process group of its own, with its output in files.
#[derive(Debug, Clone)]
pub struct Cmd {
    program: OsString,
    args: Vec<OsString>,
    cwd: PathBuf,
    env: Vec<(OsString, OsString)>,
    stdin: Stdin,
    outputs: PathBuf,
    deadline: Duration,
}

#[derive(Debug, Clone)]
enum Stdin {
    Nothing,
    Bytes(Vec<u8>),
    Held,
    Terminal,
}

impl Cmd {
    /// A program with exactly this environment; its output goes to new files in the folder `outputs`.
    pub fn new(program: impl AsRef<OsStr>, cwd: &Path, env: Vec<(OsString, OsString)>, outputs: &Path) -> Self {
        Self {
            program: program.as_ref().into(),
            args: Vec::new(),
            cwd: cwd.into(),
            env,
            stdin: Stdin::Nothing,
            outputs: outputs.into(),
            deadline: LONG,
        }
    }

    /// One more argument.
    #[must_use]
    pub fn arg(mut self, arg: impl AsRef<OsStr>) -> Self {
        self.args.push(arg.as_ref().into());
        self
    }

    /// More arguments.
    #[must_use]
    pub fn args<S: AsRef<OsStr>>(mut self, args: impl IntoIterator<Item = S>) -> Self {
        self.args.extend(args.into_iter().map(|arg| arg.as_ref().into()));
        self
    }

    /// More arguments, the words of a line.
    #[must_use]
    pub fn words(self, line: &str) -> Self {
        self.args(line.split_whitespace())
    }

    /// Another folder to stand in.
    #[must_use]
    pub fn cwd(mut self, cwd: impl AsRef<Path>) -> Self {
        self.cwd = cwd.as_ref().into();
        self
    }

    /// A variable.
    #[must_use]
    pub fn env(mut self, name: impl AsRef<OsStr>, value: impl AsRef<OsStr>) -> Self {
        let name = name.as_ref();
        self.env.retain(|(known, _)| known != name);
        self.env.push((name.into(), value.as_ref().into()));
        self
    }

    /// Without a variable.
    #[must_use]
    pub fn env_remove(mut self, name: &str) -> Self {
        self.env.retain(|(known, _)| known != name);
        self
    }

    /// With these bytes on stdin, through a pipe; without them it is /dev/null.
    #[must_use]
    pub fn stdin(mut self, bytes: impl AsRef<[u8]>) -> Self {
        self.stdin = Stdin::Bytes(bytes.as_ref().into());
        self
    }

    /// With a pipe on stdin that [`Running::send`] writes to.
    #[must_use]
    pub fn stdin_held(mut self) -> Self {
        self.stdin = Stdin::Held;
        self
    }

    /// With a terminal on stdin, on which nobody types.
    #[must_use]
    pub fn stdin_terminal(mut self) -> Self {
        self.stdin = Stdin::Terminal;
        self
    }

    /// How long [`Cmd::run`] waits.
    #[must_use]
    pub fn deadline(mut self, deadline: Duration) -> Self {
        self.deadline = deadline;
        self
    }

    /// The same run by another program: `setpriv --reuid 1 PROGRAM ARGS`.
    #[must_use]
    pub fn by(mut self, program: &str, args: &[&str]) -> Self {
        let own = std::mem::replace(&mut self.program, program.into());
        let before = args.iter().map(OsString::from).chain([own]);
        self.args.splice(0..0, before);
        self
    }

    /// For [`crate::Terminal`]: the parts of it that don't concern stdio.
    pub(crate) fn command(&self) -> Command {
        let mut command = Command::new(&self.program);
        command.args(&self.args).current_dir(&self.cwd).env_clear();
        command.envs(self.env.iter().map(|(name, value)| (name, value)));
        command
    }

    /// Command and cwd, for people.
    pub(crate) fn describe(&self) -> String {
        let word = |word: &OsString| {
            let text = word.to_string_lossy();
            let plain = !text.is_empty() && text.chars().all(|c| c.is_ascii_alphanumeric() || "-_./:=,@%+".contains(c));
            let text = if plain { text.into_owned() } else { format!("'{}'", text.replace('\'', "'\\''")) };
            shortened(text.as_bytes())
        };
        let words: Vec<_> = [&self.program].into_iter().chain(&self.args).map(word).collect();
        format!("command: {}\ncwd:     {}", words.join(" "), self.cwd.display())
    }

    /// Starts it.
    ///
    /// # Panics
    /// If it can't be started.
    #[track_caller]
    pub fn start(self) -> Running {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let what = self.describe();
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let file = |name: &str| {
            let path = self.outputs.join(format!("{number}.{name}"));
            let file = File::create(&path).unwrap_or_else(|e| panic!("make {}: {e}", path.display()));
            (path, file)
        };
        let ((stdout, stdout_file), (stderr, stderr_file)) = (file("stdout"), file("stderr"));
        let mut terminal = None;
        let stdin = match self.stdin {
            Stdin::Nothing => Stdio::null(),
            Stdin::Bytes(_) | Stdin::Held => Stdio::piped(),
            Stdin::Terminal => {
                let (master, user) = pty();
                terminal = Some(master);
                Stdio::from(user)
            }
        };
        let mut command = self.command();
        command.stdin(stdin).stdout(stdout_file).stderr(stderr_file).process_group(0);
        let mut child = command.spawn().unwrap_or_else(|e| panic!("{what}\ncan't be started: {e}"));
        let mut stdin = child.stdin.take();
        if let Stdin::Bytes(bytes) = self.stdin
            && let Some(mut pipe) = stdin.take()
        {
            // Beside the test: more than a pipe holds. A program that does not read it all is no fault here.
            std::thread::spawn(move || pipe.write_all(&bytes));
        }
        Running { child, what, stdout, stderr, stdin, deadline: self.deadline, _terminal: terminal, waited: false }
    }

    /// Runs it to its end.
    ///
    /// # Panics
    /// If it can't be started or does not end within the deadline.
    #[track_caller]
    pub fn run(self) -> Outcome {
        self.start().finish()
    }
}

/// Both ends of a new terminal: ours and the program's. Neither is handed to other programs.
pub(crate) fn pty() -> (OwnedFd, OwnedFd) {
    let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
    let made = || -> rustix::io::Result<_> {
        let master = openpt(flags)?;
        grantpt(&master)?;
        unlockpt(&master)?;
        let user = ioctl_tiocgptpeer(&master, flags)?;
        Ok((master, user))
    };
    made().expect("the kernel has terminals to give")
}

/// A program that runs. It is ended, with its process group, when this is dropped.
#[derive(Debug)]
pub struct Running {
    child: Child,
    what: String,
    stdout: PathBuf,
    stderr: PathBuf,
    stdin: Option<ChildStdin>,
    deadline: Duration,
    _terminal: Option<OwnedFd>,
    waited: bool,
}

impl Running {
    /// Its process id.
    pub fn pid(&self) -> Pid {
        Pid::from_child(&self.child)
    }

    /// Sends it, and it alone, a signal.
    ///
    /// # Panics
    /// If it is gone.
    #[track_caller]
    pub fn signal(&self, signal: Signal) {
        kill_process(self.pid(), signal).unwrap_or_else(|e| self.fail(&format!("can't be sent {signal:?}: {e}")));
    }

    /// Sends its process group a signal.
    ///
    /// # Panics
    /// If the group is gone.
    #[track_caller]
    pub fn signal_group(&self, signal: Signal) {
        let sent = kill_process_group(self.pid(), signal);
        sent.unwrap_or_else(|e| self.fail(&format!("its group can't be sent {signal:?}: {e}")));
    }

    /// What it has written to stdout so far.
    pub fn stdout(&self) -> Vec<u8> {
        fs::read(&self.stdout).unwrap_or_default()
    }

    /// What it has written to stderr so far.
    pub fn stderr(&self) -> String {
        String::from_utf8_lossy(&fs::read(&self.stderr).unwrap_or_default()).into_owned()
    }

    /// Writes to its stdin.
    ///
    /// # Panics
    /// If it has none held, or does not take it.
    #[track_caller]
    pub fn send(&mut self, bytes: impl AsRef<[u8]>) {
        let pipe = self.stdin.as_mut().expect("Cmd::stdin_held came before");
        pipe.write_all(bytes.as_ref()).and_then(|()| pipe.flush()).unwrap_or_else(|e| {
            panic!("{}\ndoes not take its stdin: {e}\n{}", self.what, self.stderr());
        });
    }

    /// Closes its stdin.
    pub fn end_of_input(&mut self) {
        self.stdin = None;
    }

    /// Waits until there is something, while it runs.
    ///
    /// # Panics
    /// If it ends before, or at the deadline.
    #[track_caller]
    pub fn until<T>(&mut self, what: &str, mut look: impl FnMut(&Self) -> Option<T>) -> T {
        let since = Instant::now();
        loop {
            let ended = self.has_ended(); // asked before: what it said last is seen
            if let Some(found) = look(self) {
                return found;
            }
            if ended {
                self.fail(&format!("ended before there was {what}"));
            }
            if since.elapsed() > self.deadline {
                self.fail(&format!("waited {} s in vain for {what}", self.deadline.as_secs()));
            }
            std::thread::sleep(PAUSE);
        }
    }

    /// The task of a `womm parallel` or `womm shell`, as soon as it is said.
    ///
    /// # Panics
    /// As [`Running::until`].
    #[track_caller]
    pub fn task(&mut self) -> String {
        self.until("the line that a task was created", |run| created(&run.stderr()).first().cloned())
    }

    /// Whether it has ended.
    pub fn has_ended(&mut self) -> bool {
        self.child.try_wait().is_ok_and(|status| status.is_some())
    }

    /// Waits for its end; stdin is closed first.
    ///
    /// # Panics
    /// If it does not end within the deadline.
    #[track_caller]
    pub fn finish(mut self) -> Outcome {
        self.end_of_input();
        let since = Instant::now();
        let status = loop {
            match self.child.try_wait() {
                Ok(Some(status)) => break status,
                Ok(None) if since.elapsed() > self.deadline => {
                    self.fail(&format!("did not end within {} s", self.deadline.as_secs()));
                }
                Ok(None) => std::thread::sleep(PAUSE / 5),
                Err(e) => self.fail(&format!("can't be waited for: {e}")),
            }
        };
        self.waited = true;
        Outcome {
            what: self.what.clone(),
            status,
            stdout: self.stdout(),
            stderr: self.stderr(),
            stdout_file: self.stdout.clone(),
        }
    }

    /// Fails the test, with all that is known.
    ///
    /// # Panics
    /// Always.
    #[track_caller]
    pub fn fail(&self, why: &str) -> ! {
        panic!("{}\n{why}\n{}", self.what, outputs(&self.stdout(), &self.stderr()))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if !self.waited {
            let _ = kill_process_group(self.pid(), Signal::KILL); // it may have ended
            let _ = self.child.wait();
        }
    }
}

/// What came of a program.
#[derive(Debug, Clone)]
pub struct Outcome {
    what: String,
    /// How it ended.
    pub status: ExitStatus,
    /// What it wrote to stdout.
    pub stdout: Vec<u8>,
    /// What it wrote to stderr.
    pub stderr: String,
    /// The file that holds its stdout.
    pub stdout_file: PathBuf,
}

impl Outcome {
    /// The status as a shell has it in `$?`.
    pub fn code(&self) -> i32 {
        self.status.code().unwrap_or_else(|| 128 + self.status.signal().unwrap_or(127))
    }

    /// Fails the test, with all that is known.
    ///
    /// # Panics
    /// Always.
    #[track_caller]
    pub fn fail(&self, why: &str) -> ! {
        panic!("{why}\n{}\nstatus:  {}\n{}", self.what, self.status, outputs(&self.stdout, &self.stderr))
    }

    /// Asserts `$?`.
    ///
    /// # Panics
    /// If it is another one.
    #[track_caller]
    pub fn exits(&self, code: i32) -> &Self {
        if self.code() != code {
            self.fail(&format!("exit status {}, not {code}", self.code()));
        }
        self
    }

    /// Asserts that it succeeded.
    ///
    /// # Panics
    /// If not.
    #[track_caller]
    pub fn succeeds(&self) -> &Self {
        self.exits(0)
    }

    /// Asserts something about it.
    ///
    /// # Panics
    /// If it does not hold.
    #[track_caller]
    pub fn holds(&self, what: &str, holds: bool) -> &Self {
        if !holds {
            self.fail(&format!("does not hold: {what}"));
        }
        self
    }

    /// Asserts all of stdout.
    ///
    /// # Panics
    /// If it is something else.
    #[track_caller]
    pub fn writes(&self, expected: impl AsRef<[u8]>) -> &Self {
        let expected = expected.as_ref();
        if self.stdout != expected {
            let at = self.stdout.iter().zip(expected).take_while(|(a, b)| a == b).count();
            let sizes = format!("{} bytes, not {}, differing from byte {at} on", self.stdout.len(), expected.len());
            self.fail(&format!("stdout has {sizes}\nexpected: {}", shortened(expected)));
        }
        self
    }

    /// Asserts stdout's lines in any order.
    ///
    /// # Panics
    /// If there are others.
    #[track_caller]
    pub fn writes_lines(&self, expected: &[impl AsRef<str>]) -> &Self {
        let mut expected: Vec<&str> = expected.iter().map(AsRef::as_ref).collect();
        expected.sort_unstable();
        let text = self.text();
        let mut lines: Vec<&str> = text.lines().collect();
        lines.sort_unstable();
        if lines != expected {
            self.fail(&format!("stdout's lines, sorted, are not {expected:?}"));
        }
        self
    }

    /// Stdout as text.
    ///
    /// # Panics
    /// If it is none.
    #[track_caller]
    pub fn text(&self) -> &str {
        std::str::from_utf8(&self.stdout).unwrap_or_else(|e| self.fail(&format!("stdout is no text: {e}")))
    }

    /// Stdout as one JSON value.
    ///
    /// # Panics
    /// If it is none.
    #[track_caller]
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.stdout).unwrap_or_else(|e| self.fail(&format!("stdout is no JSON: {e}")))
    }

    /// Asserts that exactly one task was created and deleted, each said once as users know it; its id.
    ///
    /// # Panics
    /// If not.
    #[track_caller]
    pub fn task(&self) -> String {
        let created = created(&self.stderr);
        let [id] = created.as_slice() else { self.fail(&format!("created: {created:?}, not one task")) };
        let deleted = format!("deployment.apps \"womm-task-{id}\" deleted");
        let count = self.stderr.lines().filter(|line| *line == deleted).count();
        self.holds("its deletion is said once", count == 1);
        let ends = self.stderr.lines().filter(|line| line.starts_with("deployment.apps")).count();
        self.holds("no other line of that kind", ends == 2);
        id.clone()
    }

    /// Stderr without the two lines on the task's creation and deletion, and those on why pods are not up yet, which come
    /// if that takes long.
    pub fn other_stderr(&self) -> String {
        let mut rest = String::new();
        let usual = |line: &str| line.starts_with("deployment.apps") || is_progress(line);
        for line in self.stderr.lines().filter(|line| !usual(line)) {
            let _ = writeln!(rest, "{line}");
        }
        rest
    }

    /// Asserts that stderr says nothing but creation and deletion of one task; its id.
    ///
    /// # Panics
    /// If it says more.
    #[track_caller]
    pub fn quiet_task(&self) -> String {
        let id = self.task();
        self.holds("nothing else on stderr", self.other_stderr().is_empty());
        id
    }

    /// Asserts how a program refuses: this code, nothing on stdout, and one line on stderr that begins with the name of
    /// one of our programs and holds each of the words.
    ///
    /// # Panics
    /// If it does otherwise.
    #[track_caller]
    pub fn refuses(&self, code: i32, words: &[&str]) -> &Self {
        self.exits(code);
        self.holds("stdout is empty", self.stdout.is_empty());
        let lines: Vec<_> = self.stderr.lines().collect();
        let [line] = lines.as_slice() else { self.fail(&format!("{} lines on stderr, not one", lines.len())) };
        let name = line.split(": ").next().unwrap_or_default();
        let is_ours = name.starts_with("womm") && name.bytes().all(|b| b.is_ascii_lowercase() || b"- ".contains(&b));
        self.holds("the line begins with a program's name", is_ours);
        for word in words {
            self.holds(&format!("the line holds {word:?}"), line.contains(word));
        }
        self
    }
}

/// The ids of tasks whose creation is said.
fn created(stderr: &str) -> Vec<String> {
    let id = |line: &str| {
        let id = line.strip_prefix("deployment.apps/womm-task-")?.strip_suffix(" created")?;
        (id.len() == 8 && id.bytes().all(|b| b.is_ascii_lowercase())).then(|| id.to_owned())
    };
    stderr.lines().filter_map(id).collect()
}

pub(crate) fn outputs(stdout: &[u8], stderr: &str) -> String {
    format!("stdout:\n{}\nstderr:\n{}", shortened(stdout), shortened(stderr.as_bytes()))
}

/// Begin and end of something long, with what is not UTF-8 escaped.
fn shortened(bytes: &[u8]) -> String {
    let text = |bytes: &[u8]| match std::str::from_utf8(bytes) {
        Ok(text) => text.to_owned(),
        Err(_) => bytes.escape_ascii().to_string().replace("\\n", "\n"),
    };
    if bytes.len() <= 2 * SHOWN {
        return text(bytes);
    }
    let (begin, end) = (&bytes[..SHOWN], &bytes[bytes.len() - SHOWN..]);
    format!("{}\n[… {} bytes in all …]\n{}", text(begin), bytes.len(), text(end))
}

/// `womm: 3 of 10 pods are up: …`
fn is_progress(line: &str) -> bool {
    let mut words = line.strip_prefix("womm: ").unwrap_or_default().split(' ');
    let mut number = || words.next().is_some_and(|word| word.parse::<u32>().is_ok());
    number() && line.contains(" of ") && (line.contains(" pods are up: ") || line.contains(" pod is up: "))
}

/// Runs a program of the test's own (docker, kubectl, sha256sum) in the test's own environment; its stdout.
///
/// # Panics
/// If it fails.
#[track_caller]
pub fn tool<S: AsRef<OsStr>>(program: &str, args: impl IntoIterator<Item = S>) -> String {
    let mut command = Command::new(program);
    command.args(args).stdin(Stdio::null());
    let output = command.output().unwrap_or_else(|e| panic!("run {program}: {e}"));
    let (stdout, stderr) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{command:?}\n{}\n{}", output.status, outputs(stdout.as_bytes(), &stderr));
    stdout.into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sh(script: &str) -> Outcome {
        let dir = tempfile::tempdir().unwrap();
        let env = vec![("PATH".into(), std::env::var_os("PATH").unwrap())];
        Cmd::new("sh", dir.path(), env, dir.path()).args(["-c", script]).stdin("in").run()
    }

    #[test]
    fn what_a_program_does_is_told() {
        let out = sh("cat; echo err >&2; exit 3");
        out.exits(3).writes("in").holds("stderr", out.stderr == "err\n");
        sh("kill -TERM $$").exits(143);
        sh("echo womm-x: bad thing >&2; exit 2").refuses(2, &["thing"]);
    }

    #[test]
    #[should_panic(expected = "2 lines on stderr")]
    fn two_lines_are_no_refusal() {
        sh("echo womm: a >&2; echo b >&2; exit 2").refuses(2, &[]);
    }

    #[test]
    #[should_panic(expected = "begins with a program's name")]
    fn a_shells_own_message_is_no_refusal() {
        sh("echo '/bin/womm: 7: not found' >&2; exit 2").refuses(2, &[]);
    }

    #[test]
    #[should_panic(expected = "status:  exit status: 1")]
    fn a_failure_shows_the_status() {
        sh("exit 1").succeeds();
    }

    #[test]
    #[should_panic(expected = "deletion is said once")]
    fn a_task_is_created_and_deleted() {
        sh("echo deployment.apps/womm-task-abcdefgh created >&2").task();
    }

    #[test]
    #[should_panic(expected = "in vain")]
    fn a_deadline_ends_the_wait() {
        crate::until(Duration::ZERO, "nothing", || None::<()>);
    }
}
