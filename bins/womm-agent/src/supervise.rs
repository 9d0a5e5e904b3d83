//! `womm-agent supervise`: the parent of GNU parallel on the workstation. When the command, or the shell script that
//! started us, ends in whatever way, everything that the command started ends: local jobs, and the daemons they left.
//!
//! The command stays in the terminal's foreground group; we leave the session, so that what is sent to the group,
//! SIGKILL too, does not reach us. The life pipe's write end is ours alone: children do not inherit it.

use crate::offspring::{self, Reaped};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::process::{Pid, PidfdFlags, WaitStatus, getppid, pidfd_open};
use signal_hook::consts::{SIGHUP, SIGINT, SIGQUIT, SIGTERM};
use std::ffi::OsString;
use std::io;
use std::os::fd::{OwnedFd, RawFd};
use std::os::unix::net::UnixStream;
use std::process::{Command, ExitCode};
use womm_cli::{Failure, life, report};

const NAME: &str = "womm-agent supervise";

struct Order {
    parent: Pid,
    life: Option<RawFd>,
    command: Vec<OsString>,
}

pub fn main(words: impl Iterator<Item = OsString>) -> ExitCode {
    let run = || -> Result<ExitCode, Failure> {
        let order = parse(words)?;
        let life = order.life.map(life::hold).transpose()?;
        let code = supervise(order)?;
        drop(life);
        Ok(code)
    };
    run().unwrap_or_else(|failure| {
        report(NAME, &failure);
        ExitCode::from(failure.code as u8)
    })
}

fn parse(mut words: impl Iterator<Item = OsString>) -> Result<Order, Failure> {
    let (mut parent, mut life) = (None, None);
    let number = |word: Option<OsString>| {
        word.and_then(|w| w.to_str()?.parse::<i32>().ok()).ok_or_else(|| Failure::usage("a number is missing"))
    };
    while let Some(word) = words.next() {
        match word.to_str() {
            Some("--parent") => parent = Pid::from_raw(number(words.next())?),
            Some("--life") => life = Some(number(words.next())?),
            Some("--") => break,
            _ => return Err(Failure::usage(format!("unknown option \"{}\"", word.to_string_lossy()))),
        }
    }
    let command: Vec<_> = words.collect();
    match parent {
        Some(parent) if !command.is_empty() => Ok(Order { parent, life, command }),
        _ => Err(Failure::usage("--parent PID and a COMMAND are needed").help("see womm-agent --help")),
    }
}

fn supervise(order: Order) -> Result<ExitCode, Failure> {
    let system = |what: &'static str| move |e: io::Error| Failure::outside(format!("{what}: {e}"));
    let parent = parent_fd(order.parent)?;
    let stop = offspring::signal_pipe(&[SIGINT, SIGQUIT, SIGTERM, SIGHUP]).map_err(system("catch signals"))?;
    let children = offspring::adopt().map_err(system("become a child subreaper"))?;
    womm_cli::raise_descriptor_limit();
    let program = order.command[0].to_string_lossy().into_owned();
    let child = Command::new(&order.command[0]).args(&order.command[1..]).spawn();
    let main = Pid::from_child(&child.map_err(|e| Failure::outside(format!("start {program}: {e}")))?);
    let _ = rustix::process::setsid(); // fails for a group's leader: started by hand, in a terminal
    let mut status = None;
    watch(main, &mut status, &parent, &stop, &children);
    let all = offspring::end_all(offspring::GRACE, &children, |pid, ended| {
        if pid == main {
            status = Some(ended);
        }
    });
    if let Err(e) = all {
        report(NAME, &Failure::outside(format!("end local jobs: {e}")));
    }
    Ok(ExitCode::from(status.map_or(255, offspring::code)))
}

/// The script that started us. If it has died already, its number may belong to anybody.
fn parent_fd(parent: Pid) -> Result<OwnedFd, Failure> {
    let gone = || Failure::outside(format!("process {} that started this has ended", parent.as_raw_nonzero()));
    let fd = pidfd_open(parent, PidfdFlags::empty()).map_err(|_| gone())?;
    if getppid() == Some(parent) { Ok(fd) } else { Err(gone()) }
}

/// Returns when the command has ended, or all is to end.
fn watch(main: Pid, status: &mut Option<WaitStatus>, parent: &OwnedFd, stop: &UnixStream, children: &UnixStream) {
    loop {
        offspring::drain(children);
        loop {
            match offspring::reap() {
                Reaped::Child(pid, ended) if pid == main => {
                    *status = Some(ended);
                    return;
                }
                Reaped::Child(..) => {}
                Reaped::Running => break,
                Reaped::Nobody => return,
            }
        }
        let mut fds = [
            PollFd::new(parent, PollFlags::IN),
            PollFd::new(stop, PollFlags::IN),
            PollFd::new(children, PollFlags::IN),
        ];
        if poll(&mut fds, None).is_ok() && fds[..2].iter().any(|fd| !fd.revents().is_empty()) {
            return;
        }
    }
}
