//! Everything below this process: found, signalled, waited for. The caller is a child subreaper (prctl(2),
//! PR_SET_CHILD_SUBREAPER), so a daemon that double-forked or called setsid is still below it.

use rustix::process::{Pid, Signal, WaitOptions, WaitStatus, getpid, kill_process, set_child_subreaper, wait};
use signal_hook::consts::SIGCHLD;
use std::collections::{HashMap, HashSet};
use std::io::{self, Read};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

/// How long processes may take to end after SIGTERM.
pub const GRACE: Duration = Duration::from_secs(2);
/// When SIGKILL did not end them (a dead NFS server): give up then, visibly.
const LAST: Duration = Duration::from_secs(10);

/// Makes this process the one to whom orphans below it fall, and tells of ended children through a pipe.
pub fn adopt() -> io::Result<UnixStream> {
    set_child_subreaper(Some(getpid()))?;
    signal_pipe(&[SIGCHLD])
}

/// A stream that becomes readable when one of these signals came; they have no other effect.
pub fn signal_pipe(signals: &[i32]) -> io::Result<UnixStream> {
    let (reader, writer) = UnixStream::pair()?;
    for signal in signals {
        signal_hook::low_level::pipe::register(*signal, writer.try_clone()?)?;
    }
    reader.set_nonblocking(true)?;
    Ok(reader)
}

/// Takes what lies in a signal pipe.
pub fn drain(mut pipe: &UnixStream) {
    while matches!(pipe.read(&mut [0; 256]), Ok(n) if n > 0) {}
}

/// What [`reap`] found.
pub enum Reaped {
    /// This child ended so.
    Child(Pid, WaitStatus),
    /// Children are left, none has ended.
    Running,
    /// There is no child at all.
    Nobody,
}

/// Takes one ended child, if there is one.
pub fn reap() -> Reaped {
    match wait(WaitOptions::NOHANG) {
        Ok(Some((pid, status))) => Reaped::Child(pid, status),
        Ok(None) => Reaped::Running,
        Err(rustix::io::Errno::INTR) => Reaped::Running,
        Err(_) => Reaped::Nobody, // ECHILD
    }
}

/// How a process ended, as a shell has it in `$?`.
pub fn code(status: WaitStatus) -> u8 {
    match status.terminating_signal() {
        Some(signal) => 128 + signal as u8,
        None => status.exit_status().unwrap_or(255) as u8,
    }
}

/// Ends everything below: SIGTERM at once and again after half a second (GNU parallel wants it twice), SIGKILL after
/// the grace, again and again for what forks meanwhile. `ended` hears of each child. `false` if something is left.
pub fn end_all(grace: Duration, children: &UnixStream, mut ended: impl FnMut(Pid, WaitStatus)) -> bool {
    let start = Instant::now();
    let mut terms = 0;
    loop {
        drain(children);
        loop {
            match reap() {
                Reaped::Child(pid, status) => ended(pid, status),
                Reaped::Running => break,
                Reaped::Nobody => return true,
            }
        }
        let passed = start.elapsed();
        if passed >= grace + LAST {
            return false;
        } else if passed >= grace {
            signal_all(Signal::KILL);
        } else if passed >= Duration::from_millis(500 * terms) && terms < 2 {
            signal_all(Signal::TERM);
            signal_all(Signal::CONT); // a stopped process acts on SIGTERM only once it goes on
            terms += 1;
        }
        await_readable(children, Duration::from_millis(if passed < grace { 20 } else { 5 }));
    }
}

fn await_readable(pipe: &UnixStream, most: Duration) {
    use rustix::event::{PollFd, PollFlags, Timespec, poll};
    let most = Timespec { tv_sec: 0, tv_nsec: i64::from(most.subsec_nanos()) };
    let _ = poll(&mut [PollFd::new(pipe, PollFlags::IN)], Some(&most));
}

fn signal_all(signal: Signal) {
    for pid in below(getpid(), &parents()) {
        let _ = kill_process(pid, signal); // it may have ended since
    }
}

/// All processes and who their parent is, as /proc says now.
fn parents() -> HashMap<Pid, Pid> {
    let Ok(entries) = std::fs::read_dir("/proc") else { return HashMap::new() };
    entries
        .filter_map(|entry| {
            let name = entry.ok()?.file_name();
            let pid = Pid::from_raw(name.to_str()?.parse().ok()?)?;
            let stat = std::fs::read(format!("/proc/{}/stat", pid.as_raw_nonzero())).ok()?;
            Some((pid, parent_in(&stat)?))
        })
        .collect()
}

/// The fourth field of /proc/PID/stat. The second, the name, may hold anything, `) 1 (` too.
fn parent_in(stat: &[u8]) -> Option<Pid> {
    let after = stat.iter().rposition(|b| *b == b')')? + 1;
    let text = std::str::from_utf8(&stat[after..]).ok()?;
    Pid::from_raw(text.split_ascii_whitespace().nth(1)?.parse().ok()?)
}

fn below(root: Pid, parents: &HashMap<Pid, Pid>) -> HashSet<Pid> {
    let mut found = HashSet::new();
    let mut more = true;
    while more {
        more = false;
        for (pid, parent) in parents {
            if (*parent == root || found.contains(parent)) && *pid != root {
                more |= found.insert(*pid);
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pid(n: i32) -> Pid {
        Pid::from_raw(n).expect("not zero")
    }

    #[test]
    fn grandchildren_are_found_in_any_order() {
        let parents = [(5, 4), (4, 3), (3, 1), (9, 8), (8, 1)].map(|(a, b)| (pid(a), pid(b)));
        assert_eq!(below(pid(3), &parents.into_iter().collect()), [pid(4), pid(5)].into());
    }

    #[test]
    fn a_name_with_brackets_misleads_nobody() {
        assert_eq!(parent_in(b"7 (a) 1 (b) S 42 7 7 0"), Some(pid(42)));
        assert_eq!(parent_in(b"7 (a) S x"), None);
        assert_eq!(parent_in(b""), None);
    }
}
