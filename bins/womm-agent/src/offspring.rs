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
pub const LAST: Duration = Duration::from_secs(10);
/// Ended children that are taken in one go.
const AT_ONCE: usize = 1024;

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
/// the grace, again and again for what forks meanwhile. `ended` hears of each child.
///
/// # Errors
/// If something is left.
pub fn end_all(grace: Duration, children: &UnixStream, mut ended: impl FnMut(Pid, WaitStatus)) -> io::Result<()> {
    let start = Instant::now();
    let mut terms = 0;
    loop {
        drain(children);
        // However fast what is to end makes new ones, the clock is looked at.
        for _ in 0..AT_ONCE {
            match reap() {
                Reaped::Child(pid, status) => ended(pid, status),
                Reaped::Running => break,
                Reaped::Nobody => return Ok(()),
            }
        }
        let passed = start.elapsed();
        if passed >= grace + LAST {
            return Err(some_left());
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

/// Why what was to end has not.
pub fn some_left() -> io::Error {
    io::Error::other("some processes did not end, not even after SIGKILL: does a disk or a server of files not answer?")
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

/// What /proc/PID/stat says of a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Process {
    ended: bool,
    parent: Pid,
    session: Option<Pid>,
}

/// All processes, as /proc has them now.
fn processes() -> HashMap<Pid, Process> {
    let Ok(entries) = std::fs::read_dir("/proc") else { return HashMap::new() };
    entries
        .filter_map(|entry| {
            let name = entry.ok()?.file_name();
            let pid = Pid::from_raw(name.to_str()?.parse().ok()?)?;
            let stat = std::fs::read(format!("/proc/{}/stat", pid.as_raw_nonzero())).ok()?;
            Some((pid, process_in(&stat)?))
        })
        .collect()
}

/// Ended children of this process that nobody has waited for.
pub fn zombies() -> Vec<Pid> {
    let is_ours = |process: &Process| process.ended && process.parent == getpid();
    processes().into_iter().filter(|(_, process)| is_ours(process)).map(|(pid, _)| pid).collect()
}

/// The parent of each process.
pub fn parents() -> HashMap<Pid, Pid> {
    processes().into_iter().map(|(pid, process)| (pid, process.parent)).collect()
}

/// State, parent and session are the fields 3, 4 and 6. The second, the name, may hold anything, `) 1 (` too.
fn process_in(stat: &[u8]) -> Option<Process> {
    let after = stat.iter().rposition(|b| *b == b')')? + 1;
    let mut fields = std::str::from_utf8(&stat[after..]).ok()?.split_ascii_whitespace();
    let (state, parent) = (fields.next()?, fields.next()?);
    let session = fields.nth(1).and_then(|session| Pid::from_raw(session.parse().ok()?));
    Some(Process { ended: matches!(state, "Z" | "X"), parent: Pid::from_raw(parent.parse().ok()?)?, session })
}

/// Whether a process is there and has not ended.
pub fn lives(pid: Pid) -> bool {
    let stat = std::fs::read(format!("/proc/{}/stat", pid.as_raw_nonzero())).unwrap_or_default();
    process_in(&stat).is_some_and(|process| !process.ended)
}

/// The living processes of a session, and the living children of this process of which `is_known` is false, and all below
/// both. A session's number is nobody else's as long as one of it lives. `is_known` is asked after they were found.
pub fn left_by(session: Pid, is_known: impl Fn(Pid) -> bool) -> HashSet<Pid> {
    left_by_in(&processes(), session, getpid(), is_known)
}

fn left_by_in(
    processes: &HashMap<Pid, Process>,
    session: Pid,
    own: Pid,
    is_known: impl Fn(Pid) -> bool,
) -> HashSet<Pid> {
    let parents = processes.iter().map(|(pid, process)| (*pid, process.parent)).collect();
    let is_one = |pid: Pid, process: &Process| {
        process.session == Some(session) || process.parent == own && !process.ended && !is_known(pid)
    };
    let heads = processes.iter().filter(|(pid, process)| is_one(**pid, process)).map(|(pid, _)| *pid);
    let all = heads.flat_map(|pid| below(pid, &parents).into_iter().chain([pid]));
    all.filter(|pid| processes.get(pid).is_some_and(|process| !process.ended)).collect()
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
    fn what_fell_to_this_process_is_left_and_a_known_child_is_not() {
        let process = |parent, session| Process { ended: false, parent: pid(parent), session: Some(pid(session)) };
        let all = [
            (10, process(1, 10)), // a supervisor that lives, and its job
            (11, process(10, 10)),
            (21, process(1, 20)), // of the session of one that was killed
            (22, process(1, 22)), // left that session, and what was above it
            (23, process(22, 22)),
            (24, Process { ended: true, ..process(1, 24) }),
            (30, process(40, 30)), // somebody's exec
        ];
        let all = all.map(|(number, process)| (pid(number), process)).into_iter().collect();
        let left = left_by_in(&all, pid(20), pid(1), |child| child == pid(10));
        assert_eq!(left, [pid(21), pid(22), pid(23)].into());
    }

    #[test]
    fn a_name_with_brackets_misleads_nobody() {
        let process = Process { ended: false, parent: pid(42), session: Some(pid(9)) };
        assert_eq!(process_in(b"7 (a) 1 (b) S 42 8 9 0"), Some(process));
        assert_eq!(process_in(b"7 (a) Z 42 8 9 0"), Some(Process { ended: true, ..process }));
        assert_eq!(process_in(b"7 (a\xc3) S 42 8 9 0"), Some(process));
        assert_eq!(process_in(b"7 (a) S x"), None);
        assert_eq!(process_in(b""), None);
    }
}
