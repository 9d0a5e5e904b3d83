//! GNU parallel's `--joblog`.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

/// A line of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Job {
    /// The host that it ran on; `:` is the workstation.
    pub host: String,
    /// The exit code; 128+N after a signal N in the wrapper.
    pub exit: i32,
    /// The signal, if GNU parallel saw one.
    pub signal: i32,
    /// The command.
    pub command: String,
}

/// All jobs, by sequence number.
///
/// # Panics
/// If there is no such file, a line is none of a joblog, or a job stands in it twice.
#[track_caller]
pub fn read(path: &Path) -> BTreeMap<u32, Job> {
    let bytes = fs::read(path).unwrap_or_else(|e| panic!("read the joblog {}: {e}", path.display()));
    let text = String::from_utf8_lossy(&bytes);
    let mut jobs = BTreeMap::new();
    for line in text.lines().skip(1) {
        let fields: Vec<&str> = line.splitn(9, '\t').collect();
        let parsed = || {
            let job = Job {
                host: fields.get(1)?.to_string(),
                exit: fields.get(6)?.parse().ok()?,
                signal: fields.get(7)?.parse().ok()?,
                command: fields.get(8)?.to_string(),
            };
            Some((fields[0].parse::<u32>().ok()?, job))
        };
        let (seq, job) = parsed().unwrap_or_else(|| panic!("no line of a joblog: {line:?}\n{text}"));
        assert!(jobs.insert(seq, job).is_none(), "job {seq} stands in the joblog twice\n{text}");
    }
    jobs
}

/// The exit codes, in the jobs' order.
///
/// # Panics
/// As [`read`].
#[track_caller]
pub fn codes(path: &Path) -> Vec<i32> {
    read(path).into_values().map(|job| job.exit).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEAD: &str = "Seq\tHost\tStarttime\tJobRuntime\tSend\tReceive\tExitval\tSignal\tCommand\n";

    fn log(text: &str) -> tempfile::NamedTempFile {
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(file.path(), format!("{HEAD}{text}")).unwrap();
        file
    }

    #[test]
    fn jobs_are_read_in_order() {
        let file = log("2\tw002\t1.5\t0.1\t0\t0\t255\t0\techo\ta\n1\t:\t1.5\t  0.1\t0\t0\t0\t9\ttrue\n");
        let jobs = read(file.path());
        assert_eq!(codes(file.path()), [0, 255]);
        assert_eq!((jobs[&1].host.as_str(), jobs[&1].signal), (":", 9));
        assert_eq!(jobs[&2].command, "echo\ta");
    }

    #[test]
    #[should_panic(expected = "twice")]
    fn a_job_that_ran_twice_is_seen() {
        read(log("1\ta\t0\t0\t0\t0\t0\t0\tx\n1\tb\t0\t0\t0\t0\t0\t0\tx\n").path());
    }
}
