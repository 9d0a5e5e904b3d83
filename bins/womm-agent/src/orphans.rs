//! What a supervisor leaves that was killed itself (by the kernel, for memory): nobody is above its job any more. Each
//! supervisor leads a session, by which the job is known; whoever left that falls to the agent, once nobody of the job is
//! above it, and has no supervisor. An orphan of somebody's `kubectl exec` looks the same, and ends too.

use crate::offspring::{self, GRACE, LAST};
use rustix::process::{Pid, Signal, kill_process};
use std::collections::HashSet;
use std::io;
use std::time::Duration;
use tokio::time::Instant;

/// Ends the job of a supervisor that has ended, and waits until it has. `is_supervisor`: whether a child of this process has
/// a job that goes on.
///
/// # Errors
/// If something is left.
pub async fn end(supervisor: Option<u32>, is_supervisor: impl Fn(Pid) -> bool) -> io::Result<()> {
    let Some(session) = supervisor.and_then(|id| Pid::from_raw(id.cast_signed())) else { return Ok(()) };
    let begun = Instant::now();
    let mut told: HashSet<Pid> = HashSet::new();
    loop {
        // Those found before, too: whose parent has ended since is not found again.
        let mut left = offspring::left_by(session, &is_supervisor);
        left.extend(told.iter().filter(|pid| offspring::lives(**pid)));
        if left.is_empty() {
            return Ok(());
        }
        if begun.elapsed() > GRACE + LAST {
            return Err(offspring::some_left());
        }
        for pid in left {
            let signals: &[Signal] = match begun.elapsed() >= GRACE {
                true => &[Signal::KILL],
                false if told.insert(pid) => &[Signal::TERM, Signal::CONT],
                false => &[],
            };
            signals.iter().for_each(|signal| _ = kill_process(pid, *signal)); // it may have ended since
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{BufRead, BufReader};
    use std::process::{Command, Stdio};

    #[tokio::test]
    async fn all_that_a_killed_supervisor_leaves_ends() {
        let all_known = |_: Pid| true; // other tests have children, too
        // A session as a supervisor's, of which one has left, and one is deaf to TERM.
        let script = "setsid sleep 1000 & (trap '' TERM; sleep 1000; sleep 1000) & echo $$; wait";
        let mut shell = Command::new("setsid");
        shell.args(["sh", "-c", script]).stdin(Stdio::null()).stdout(Stdio::piped());
        let mut leader = shell.spawn().expect("starts");
        let mut line = String::new();
        BufReader::new(leader.stdout.take().expect("piped")).read_line(&mut line).expect("its number");
        let session: u32 = line.trim().parse().expect("a number");
        let pid = Pid::from_raw(session.cast_signed()).expect("not zero");
        let begun = Instant::now();
        let all = loop {
            let all = offspring::left_by(pid, all_known);
            if all.len() >= 4 {
                break all;
            }
            assert!(begun.elapsed() < Duration::from_secs(30), "{all:?}");
            tokio::time::sleep(Duration::from_millis(10)).await;
        };
        end(Some(session), all_known).await.expect("all end");
        assert!(offspring::left_by(pid, all_known).is_empty());
        assert!(!all.iter().any(|pid| offspring::lives(*pid)), "of {all:?}");
        let _ = leader.wait(); // another test may have reaped it
    }
}
