//! `womm-agent setup UID GID`: process 1 of the container in which `womm setup` has its shell, as root. It takes `sudo`,
//! reaps, and keeps what must be there again when a stopped container goes on. Nothing of it becomes part of an image.
//!
//! On stdin it is told, a line each: `keep TEXT` (a note of womm-image's own), `tell` (the note; nothing if there is none), `hide` (an image is about to be
//! made) and `show`. The answer to each is a line. The end of stdin, in whatever way womm-image ended, ends the container.

use crate::offspring::{self, Reaped};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::fs::{Gid, Uid, chown};
use rustix::process::{Pid, Signal, getpid, kill_process};
use signal_hook::consts::{SIGCHLD, SIGHUP, SIGINT, SIGTERM};
use std::ffi::OsString;
use std::fs::{self, DirBuilder};
use std::io::{self, Write};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt, symlink};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};
use womm_cli::Failure;
use womm_wire::names;

/// How long everything may take to end once it was hung up; a shell, which has to write down what it exports, also on a
/// machine that has much to do; and then what is left. All of it is less than `docker stop` waits.
const HANG_UP: Duration = Duration::from_millis(2500);
const LAST_WORDS: Duration = Duration::from_millis(8500);
const GRACE: Duration = Duration::from_millis(1000);
/// More than any line for us, bytes.
const MOST_LINE: usize = 1 << 20;

/// A child of the shell sees all that is exported; there is no other way to learn it. What the user's own files say
/// comes first, as without us.
/// When the terminal is closed, that child is in the group that is hung up, so it must not hear of it.
const BASHRC: &str = "[ ! -r ~/.bashrc ] || . ~/.bashrc\ntrap 'trap \"\" HUP TERM; AGENT left' EXIT\n";
/// dash ends by SIGHUP without its EXIT trap, unless it has one for HUP too.
const SHRC: &str = "unset ENV\ntrap 'trap \"\" HUP TERM; AGENT left' EXIT\ntrap 'exit 129' HUP\n";

pub fn main(mut words: impl Iterator<Item = OsString>) -> Result<(), Failure> {
    let mut number = || words.next()?.to_str()?.parse::<u32>().ok();
    let (Some(uid), Some(gid)) = (number(), number()) else {
        return Err(Failure::usage("setup takes UID and GID"));
    };
    let failed = |e: io::Error| Failure::outside(format!("prepare the container for the shell: {e}"));
    let stop = offspring::signal_pipe(&[SIGHUP, SIGINT, SIGTERM]).map_err(failed)?;
    let children = offspring::signal_pipe(&[SIGCHLD]).map_err(failed)?;
    let kept = Kept { user: (Uid::from_raw(uid), Gid::from_raw(gid)), hidden: None };
    let listener = prepare(&kept).map_err(failed)?;
    let mut setup = Setup { user: uid, kept, line: Vec::new() };
    setup.serve(&listener, &stop, &children);
    setup.kept.show().map_err(failed)?;
    end_all(&children);
    Ok(())
}

fn prepare(kept: &Kept) -> io::Result<UnixListener> {
    let (uid, gid) = kept.user;
    fs::create_dir(names::SETUP_BIN)?;
    symlink(names::AGENT_BAKED, Path::new(names::SETUP_BIN).join("sudo"))?;
    for (path, text) in [(names::SETUP_BASHRC, BASHRC), (names::SETUP_SHRC, SHRC)] {
        fs::write(path, text.replace("AGENT", names::AGENT_BAKED))?;
    }
    fs::write(names::SETUP_HISTORY, "")?;
    fs::set_permissions(names::SETUP_HISTORY, fs::Permissions::from_mode(0o600))?;
    chown(names::SETUP_HISTORY, Some(uid), Some(gid))?;
    match kept.make() {
        Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {} // of a container that goes on
        made => made?,
    }
    let listener = UnixListener::bind(names::SETUP_SUDO)?;
    fs::set_permissions(names::SETUP_SUDO, fs::Permissions::from_mode(0o600))?;
    chown(names::SETUP_SUDO, Some(uid), Some(gid))?;
    listener.set_nonblocking(true)?;
    Ok(listener)
}

struct Setup {
    user: u32,
    kept: Kept,
    /// Of a line of stdin, what has come.
    line: Vec<u8>,
}

impl Setup {
    /// Until stdin ends, or a signal comes.
    fn serve(&mut self, listener: &UnixListener, stop: &UnixStream, children: &UnixStream) {
        let stdin = io::stdin();
        loop {
            let mut fds = [
                PollFd::new(stop, PollFlags::IN),
                PollFd::new(children, PollFlags::IN),
                PollFd::new(listener, PollFlags::IN),
                PollFd::new(&stdin, PollFlags::IN),
            ];
            let _ = poll(&mut fds, None); // EINTR: a signal, which has a pipe
            let [stopped, child, sudo, input] = fds.map(|fd| !fd.revents().is_empty());
            if stopped {
                return;
            }
            if child {
                offspring::drain(children);
                while matches!(offspring::reap(), Reaped::Child(..)) {}
            }
            if sudo {
                self.take_sudo(listener);
            }
            if input && !self.take_words(&stdin) {
                return;
            }
        }
    }

    /// Whoever may ask gets a root's process of their own; it talks to them itself.
    fn take_sudo(&self, listener: &UnixListener) {
        let Ok((socket, _)) = listener.accept() else { return };
        let peer = rustix::net::sockopt::socket_peercred(&socket);
        if !peer.is_ok_and(|peer| peer.uid.is_root() || peer.uid.as_raw() == self.user) {
            return;
        }
        // Not our stdout and stderr: what comes there is taken for an answer of ours.
        let started = socket.set_nonblocking(false).and_then(|()| {
            let mut root = Command::new("/proc/self/exe");
            root.arg("root")
                .stdin(Stdio::from(OwnedFd::from(socket)))
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .spawn()
        });
        if let Err(e) = started {
            womm_cli::report("sudo", &Failure::outside(format!("start a process: {e}")));
        }
    }

    /// Takes what stdin brings; false at its end.
    fn take_words(&mut self, stdin: &io::Stdin) -> bool {
        let mut buffer = [0; 16 << 10];
        match rustix::io::read(stdin, &mut buffer) {
            Ok(n) if n > 0 && self.line.len() < MOST_LINE => self.line.extend_from_slice(&buffer[..n]),
            Err(rustix::io::Errno::INTR) => return true,
            _ => return false,
        }
        while let Some(end) = self.line.iter().position(|b| *b == b'\n') {
            let line: Vec<u8> = self.line.drain(..=end).collect();
            let answer = self.kept.told(&line[..end]).unwrap_or_else(|e| format!("failed {e}").into());
            let mut stdout = io::stdout().lock();
            if stdout.write_all(&answer).and_then(|()| stdout.write_all(b"\n")).and_then(|()| stdout.flush()).is_err() {
                return false;
            }
        }
        true
    }
}

/// The folder that is there again when a stopped container goes on.
struct Kept {
    /// Whose it is: the shell writes into it, too.
    user: (Uid, Gid),
    /// Its files, while they are hidden.
    hidden: Option<Vec<(PathBuf, Vec<u8>)>>,
}

impl Kept {
    fn note() -> PathBuf {
        Path::new(names::SETUP_KEPT).join("note")
    }

    fn told(&mut self, line: &[u8]) -> io::Result<Vec<u8>> {
        match line {
            [b'k', b'e', b'e', b'p', b' ', text @ ..] => fs::write(Self::note(), text)?,
            b"tell" => {
                // There is none if womm-image was killed before it could say it: an answer too.
                return match fs::read(Self::note()) {
                    Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
                    note => note,
                };
            }
            b"hide" => self.hide()?,
            b"show" => self.show()?,
            _ => return Err(io::Error::other("it is not understood")),
        }
        Ok(b"done".to_vec())
    }

    fn make(&self) -> io::Result<()> {
        DirBuilder::new().mode(0o700).create(names::SETUP_KEPT)?;
        Ok(chown(names::SETUP_KEPT, Some(self.user.0), Some(self.user.1))?)
    }

    fn hide(&mut self) -> io::Result<()> {
        let mut files = Vec::new();
        for entry in fs::read_dir(names::SETUP_KEPT)? {
            let path = entry?.path();
            files.push((path.clone(), fs::read(path)?));
        }
        self.hidden = Some(files);
        fs::remove_dir_all(names::SETUP_KEPT)
    }

    fn show(&mut self) -> io::Result<()> {
        let Some(files) = self.hidden.take() else { return Ok(()) };
        self.make()?;
        files.iter().try_for_each(|(path, bytes)| fs::write(path, bytes))
    }
}

/// Hangs up all processes of the container, and ends them. Those that docker exec started are nobody's children here.
fn end_all(children: &UnixStream) {
    for signal in [Signal::HUP, Signal::TERM] {
        let parents = offspring::parents();
        // What passes the shell's last words on ends with the shell, and hangs it up itself, once.
        let is_told = |pid: &Pid| signal != Signal::HUP || !parents.get(pid).is_some_and(|parent| is_terminal(*parent));
        for pid in others().into_iter().filter(is_told) {
            let _ = kill_process(pid, signal);
            let _ = kill_process(pid, Signal::CONT);
        }
        let begun = Instant::now();
        loop {
            offspring::drain(children);
            while matches!(offspring::reap(), Reaped::Child(..)) {}
            let left = others();
            let patience = match signal {
                Signal::HUP if left.iter().any(|pid| is_terminal(*pid)) => LAST_WORDS,
                Signal::HUP => HANG_UP,
                _ => GRACE,
            };
            if left.is_empty() {
                return;
            }
            if begun.elapsed() >= patience {
                break;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

/// Whether it is `womm-agent shell`.
fn is_terminal(pid: Pid) -> bool {
    let words = fs::read(format!("/proc/{}/cmdline", pid.as_raw_nonzero())).unwrap_or_default();
    words.starts_with(format!("{}\0shell\0", names::AGENT_BAKED).as_bytes())
}

fn others() -> Vec<Pid> {
    let pids = fs::read_dir("/proc").into_iter().flatten();
    let pids = pids.filter_map(|entry| Pid::from_raw(entry.ok()?.file_name().to_str()?.parse().ok()?));
    pids.filter(|pid| *pid != getpid()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_note_that_is_not_there_is_an_answer() {
        assert!(!Kept::note().exists(), "this is no container of womm setup");
        let mut kept = Kept { user: (Uid::ROOT, Gid::ROOT), hidden: None };
        assert_eq!(kept.told(b"tell").expect("an answer"), b"");
        assert!(kept.told(b"sing").is_err());
    }
}
