//! `womm-agent job`: the parent of one job. It is a child subreaper, so whatever the job starts stays below it; when
//! the agent closes the socket, or dies, all of it ends.

use crate::descriptors::SoftLimit;
use crate::offspring::{self, Reaped};
use crate::spec::{self, Answer};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use rustix::net::{RecvFlags, recv};
use rustix::process::{Pid, Signal, WaitStatus, kill_process_group};
use signal_hook::consts::{SIGHUP, SIGINT, SIGQUIT, SIGTERM};
use std::ffi::{OsStr, OsString};
use std::io::{self, Read};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::process::{Command, ExitCode, Stdio};
use womm_wire::frame::Open;

pub fn main(mut words: impl Iterator<Item = OsString>) -> ExitCode {
    let descriptors = words.next().and_then(|word| SoftLimit::of_word(&word));
    match run(descriptors) {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            womm_cli::report("womm-agent job", &womm_cli::Failure::outside(e.to_string()));
            ExitCode::from(3)
        }
    }
}

fn run(descriptors: Option<SoftLimit>) -> io::Result<()> {
    let agent = UnixStream::from(io::stdin().as_fd().try_clone_to_owned()?);
    // These reach whoever signals the whole container; the job gets its own copy. Caught here, so default in the job.
    let _ignored = offspring::signal_pipe(&[SIGINT, SIGQUIT, SIGTERM, SIGHUP])?;
    let children = offspring::adopt()?;
    let _ = rustix::process::setsid(); // fails only for a leader of a group, who has left its session already
    let (stdio, open) = spec::receive(&agent)?;
    if let Some(descriptors) = descriptors {
        descriptors.restore();
    }
    let main = match start(&open, stdio, &agent) {
        Ok(Some(pid)) => pid,
        Ok(None) => return Ok(()),
        Err(why) => {
            Answer::Refused(why).send(&agent);
            return Ok(());
        }
    };
    watch(main, open.terminal.is_some(), &agent, &children);
    // An error has the agent go on with it.
    offspring::end_all(offspring::GRACE, &children, |pid, status| {
        if pid == main {
            answer(status).send(&agent);
        }
    })
}

/// Returns when the job is over in each sense, or is to be ended. With a terminal the job's end is the session's end,
/// as with sshd; without, what it left in the background may go on as long as it holds the job's stdout.
fn watch(main: Pid, has_terminal: bool, agent: &UnixStream, children: &UnixStream) {
    loop {
        offspring::drain(children);
        loop {
            match offspring::reap() {
                Reaped::Child(pid, status) if pid == main => {
                    answer(status).send(agent);
                    if has_terminal {
                        return;
                    }
                }
                Reaped::Child(..) => {}
                Reaped::Running => break,
                Reaped::Nobody => return,
            }
        }
        let mut fds = [PollFd::new(agent, PollFlags::IN), PollFd::new(children, PollFlags::IN)];
        if poll(&mut fds, None).is_err() {
            continue; // EINTR: a signal, and SIGCHLD is one
        }
        if !fds[0].revents().is_empty() {
            let mut signals = [0; 16];
            match (&*agent).read(&mut signals) {
                Ok(n) if n > 0 => signals[..n].iter().for_each(|signal| deliver(main, *signal)),
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                _ => return,
            }
        }
    }
}

fn deliver(main: Pid, signal: u8) {
    if let Some(signal) = Signal::from_named_raw(i32::from(signal)) {
        let _ = kill_process_group(main, signal); // it may have ended
    }
}

fn answer(status: WaitStatus) -> Answer {
    match status.terminating_signal() {
        Some(signal) => Answer::Signalled(signal as u8),
        None => Answer::Exited(status.exit_status().unwrap_or(255) as u8),
    }
}

/// Whether nobody waits for the job any more.
fn is_given_up(agent: &UnixStream) -> bool {
    let flags = RecvFlags::PEEK | RecvFlags::DONTWAIT;
    matches!(recv(agent, &mut [0; 1], flags), Ok((_, 0)) | Err(Errno::CONNRESET))
}

/// `None`: it was given up before it began.
fn start(open: &Open, stdio: spec::Stdio, agent: &UnixStream) -> Result<Option<Pid>, String> {
    let cwd = OsStr::from_bytes(open.cwd.as_deref().unwrap_or(b"/"));
    std::env::set_current_dir(cwd).map_err(|e| format!("enter the folder {cwd:?} in the pod: {e}"))?;
    // A folder of an NFS server that is away takes as long as it is; meanwhile the job may have gone elsewhere.
    if is_given_up(agent) {
        return Ok(None);
    }
    let shell = open.env.iter().find(|(name, _)| name == b"SHELL").map_or(&b"/bin/sh"[..], |(_, value)| value);
    let mut command = if open.terminal.is_some() {
        // A process of its own becomes the terminal's session leader and then the shell.
        let mut command = Command::new("/proc/self/exe");
        command.arg("terminal").arg(OsStr::from_bytes(shell));
        command
    } else {
        let mut command = Command::new(OsStr::from_bytes(shell));
        command.process_group(0);
        command
    };
    match &open.command {
        Some(text) => _ = command.arg("-c").arg(OsStr::from_bytes(text)),
        None if open.terminal.is_none() => _ = command.arg0(login_name(shell)),
        None => {}
    }
    command.env_clear().envs(open.env.iter().map(|(k, v)| (OsStr::from_bytes(k), OsStr::from_bytes(v))));
    let [stdin, stdout, stderr]: [OwnedFd; 3] = stdio;
    command.stdin(Stdio::from(stdin)).stdout(Stdio::from(stdout)).stderr(Stdio::from(stderr));
    let child = command.spawn().map_err(|e| format!("start {} in the pod: {e}", String::from_utf8_lossy(shell)))?;
    // `command`, dropped here, held the last copies of the job's descriptors: its output ends with it alone.
    Ok(Some(Pid::from_child(&child)))
}

/// `-bash`: how a shell knows that it is a login shell.
pub fn login_name(shell: &[u8]) -> std::ffi::OsString {
    let base = shell.rsplit(|b| *b == b'/').next().unwrap_or(b"sh");
    let mut name = std::ffi::OsString::from("-");
    name.push(OsStr::from_bytes(base));
    name
}
