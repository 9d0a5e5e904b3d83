//! Processes of a test: found by a variable in their environment that all of them inherit.

use std::fs;

/// The variable; its value is the test's own.
pub const MARK: &str = "WOMM_TEST_MARK";

/// A process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Process {
    /// Its id.
    pub pid: i32,
    /// Its command line, with spaces.
    pub command: String,
}

/// All living processes with this mark. Zombies have no environment any more, so they don't count.
pub fn marked(mark: &str) -> Vec<Process> {
    let wanted = format!("{MARK}={mark}").into_bytes();
    all()
        .filter(|pid| {
            let environment = fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
            environment.split(|b| *b == 0).any(|variable| variable == wanted)
        })
        .map(|pid| Process { pid, command: command(pid) })
        .collect()
}

fn all() -> impl Iterator<Item = i32> {
    let entries = fs::read_dir("/proc").expect("/proc is mounted on Linux");
    entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
}

fn command(pid: i32) -> String {
    let words = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    String::from_utf8_lossy(&words).replace('\0', " ").trim_end().to_owned()
}

/// Ends them for good.
pub fn kill(processes: &[Process]) {
    for process in processes {
        if let Some(pid) = rustix::process::Pid::from_raw(process.pid) {
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL); // it may have ended
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::Command;

    #[test]
    fn a_process_is_found_by_its_mark_until_it_has_ended() {
        let mark = format!("unit-{}", std::process::id());
        let mut child = Command::new("sleep").arg("1000").env(MARK, &mark).spawn().unwrap();
        let found = crate::until(crate::LONG, "the process", || Some(marked(&mark)).filter(|found| !found.is_empty()));
        assert_eq!(found[0].pid, child.id() as i32);
        assert_eq!(marked(&format!("{mark}0")), [], "another mark is another's");
        kill(&found);
        // A zombie until it is waited for.
        crate::until(crate::LONG, "its end", || marked(&mark).is_empty().then_some(()));
        child.wait().unwrap();
    }
}
