//! `womm-agent shell ROWS COLUMNS UID GID,GID… PROGRAM ARGS…`: a program in a terminal of its own, as that user. Docker's
//! exec starts it, as root. stdin brings frames (wire.md: stdin, resize), stdout is what the terminal shows; stderr is
//! what `womm-agent left` wrote down, at the end, or why the program could not be started (status 125).
//!
//! The terminal is ours and not Docker's: a library in between takes some bytes of that one for headers, and it keeps
//! two keys for itself.

use crate::left::{self, Left};
use crate::offspring::{self, Reaped};
use crate::pty::{self, Master, Output};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Gid, Uid};
use rustix::process::{Pid, Signal, WaitStatus, kill_process, kill_process_group};
use rustix::thread::{set_thread_gid, set_thread_groups, set_thread_uid};
use signal_hook::consts::{SIGCHLD, SIGHUP};
use std::ffi::OsString;
use std::io::{self, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::time::{Duration, Instant};
use womm_wire::frame::{Decoder, Kind, Size};

/// The program did not start.
const NOT_STARTED: u8 = 125;
/// How long a program may take to end once its terminal was closed: to write down what it exports. Process 1 waits
/// longer.
const LAST_WORK: Duration = Duration::from_secs(8);

struct Order {
    size: Size,
    uid: Uid,
    groups: Vec<Gid>,
    program: Vec<OsString>,
}

pub fn main(words: impl Iterator<Item = OsString>) -> ExitCode {
    let begun = parse(words).ok_or_else(|| "wrong words, see womm-agent --help".to_owned());
    match begun.and_then(|order| begin(&order).map_err(|e| e.to_string())) {
        Ok(mut session) => ExitCode::from(session.run()),
        Err(why) => {
            let _ = io::stderr().write_all(why.as_bytes());
            ExitCode::from(NOT_STARTED)
        }
    }
}

fn parse(mut words: impl Iterator<Item = OsString>) -> Option<Order> {
    let mut text = || words.next()?.into_string().ok();
    let size = Size { rows: text()?.parse().ok()?, columns: text()?.parse().ok()? };
    let uid = Uid::from_raw(text()?.parse().ok()?);
    let groups = text()?.split(',').map(|gid| gid.parse().ok().map(Gid::from_raw)).collect::<Option<Vec<_>>>()?;
    let program: Vec<_> = words.collect();
    (!program.is_empty()).then_some(Order { size, uid, groups, program })
}

struct Session {
    program: Pid,
    status: Option<WaitStatus>,
    master: Master,
    children: UnixStream,
    /// SIGHUP: process 1 is about to end.
    told: UnixStream,
    hangup: Option<Instant>,
}

fn begin(order: &Order) -> io::Result<Session> {
    let left = Left::read()?;
    // This process has one thread, so what these change of a thread is changed of all of it.
    set_thread_groups(&order.groups)?;
    set_thread_gid(order.groups[0])?;
    set_thread_uid(order.uid)?;
    let children = offspring::signal_pipe(&[SIGCHLD])?;
    let told = offspring::signal_pipe(&[SIGHUP])?;
    // As the user, whose terminal it then is.
    let pty = pty::open(order.size)?;
    let mut command = Command::new("/proc/self/exe");
    command.arg("terminal").args(&order.program);
    command.stdin(pty.user.try_clone()?).stdout(pty.user.try_clone()?).stderr(Stdio::from(pty.user));
    let mut places = vec![std::env::current_dir().unwrap_or_else(|_| "/".into()), PathBuf::from("/")];
    if let Some(left) = left {
        command.envs(left.variables.iter().filter(|(name, _)| goes_on(name)).map(|(name, value)| (name, value)));
        places.insert(0, left.cwd);
    }
    let place = places.iter().find(|place| std::env::set_current_dir(place).is_ok());
    command.env("PWD", place.map_or(Path::new("/"), PathBuf::as_path));
    let child = command.spawn()?;
    Ok(Session {
        program: Pid::from_child(&child),
        status: None,
        master: Master::new(pty.master)?,
        children,
        told,
        hangup: None,
    })
}

/// Whether a variable that the last shell exported is the next one's: not what is about the terminal or the shell itself.
fn goes_on(name: &OsString) -> bool {
    let not = ["TERM", "SHLVL", "_", "PWD", "OLDPWD", "ENV", "HISTFILE", "SHELL", "COLUMNS", "LINES"];
    !not.iter().any(|not| name == not)
}

impl Session {
    /// Until the program ends.
    fn run(&mut self) -> u8 {
        let input = io::stdin();
        let mut open = true;
        let mut decoder = Decoder::default();
        while self.status.is_none() && self.hangup.is_none_or(|since| since.elapsed() < LAST_WORK) {
            let taking = open && self.master.wants_keys();
            let mut fds = vec![
                PollFd::from_borrowed_fd(self.master.terminal(), self.master.events()),
                PollFd::new(&self.children, PollFlags::IN),
                PollFd::new(&self.told, PollFlags::IN),
            ];
            fds.extend(taking.then(|| PollFd::new(&input, PollFlags::IN)));
            let pause = Timespec { tv_sec: 0, tv_nsec: 100_000_000 };
            let _ = poll(&mut fds, self.hangup.map(|_| &pause)); // EINTR: a signal
            let ready: Vec<_> = fds.iter().map(|fd| !fd.revents().is_empty()).collect();
            if ready[1] {
                self.reap();
            }
            if ready[0] {
                self.master.push();
                // The user's end is closed: only the program's end is left to come.
                if self.show() == 0 && self.status.is_none() {
                    std::thread::sleep(Duration::from_millis(10));
                }
            }
            if ready[2] {
                offspring::drain(&self.told);
                self.hang_up();
            }
            if ready.get(3) == Some(&true) && !self.take(&input, &mut decoder) {
                open = false;
                self.hang_up();
            }
        }
        pty::rest(|| self.show());
        if let Ok(bytes) = std::fs::read(left::file()) {
            let _ = io::stderr().write_all(&bytes);
        }
        self.status.map_or(129, offspring::code)
    }

    fn reap(&mut self) {
        offspring::drain(&self.children);
        loop {
            match offspring::reap() {
                Reaped::Child(pid, status) if pid == self.program => self.status = Some(status),
                Reaped::Child(..) => {}
                Reaped::Running | Reaped::Nobody => return,
            }
        }
    }

    /// Shows what the program wrote; how many bytes that were.
    fn show(&mut self) -> usize {
        let mut buffer = [0; 16 << 10];
        let Output::Bytes(n) = self.master.read(&mut buffer) else { return 0 };
        let mut stdout = io::stdout().lock();
        if stdout.write_all(&buffer[..n]).and_then(|()| stdout.flush()).is_err() {
            self.hang_up();
        }
        n
    }

    /// Takes keys and sizes; false at the end of them.
    fn take(&mut self, input: &io::Stdin, decoder: &mut Decoder) -> bool {
        let mut buffer = [0; 16 << 10];
        // Past the buffer of `Stdin`, of which poll does not know.
        match rustix::io::read(input, &mut buffer) {
            Ok(n) if n > 0 => decoder.feed(&buffer[..n]),
            Err(rustix::io::Errno::INTR) => return true,
            _ => return false,
        }
        loop {
            match decoder.next_frame() {
                Ok(Some((Kind::Stdin, keys))) => self.master.keys(keys),
                Ok(Some((Kind::Resize, size))) => {
                    if let Ok(size) = Size::decode(size) {
                        pty::resize(self.master.terminal(), size);
                    }
                }
                Ok(None) => return true,
                Ok(Some(_)) | Err(_) => return false,
            }
        }
    }

    /// The user's terminal is gone. The program is told so once: bash forgets its EXIT trap when it is told again too soon.
    fn hang_up(&mut self) {
        if self.hangup.is_none() {
            self.hangup = Some(Instant::now());
            let _ = kill_process(self.program, Signal::HUP);
            let _ = kill_process_group(self.program, Signal::CONT);
        }
    }
}
