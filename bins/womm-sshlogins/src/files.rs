//! What other programs find in the run folder: the sshloginfile, the socket, lost jobs, the end of all hope.

use rustix::process::{Pid, Signal, kill_process};
use serde_json::json;
use std::fs::{self, File, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use tokio::net::UnixListener;
use womm_cli::Failure;
use womm_wire::names;
use womm_wire::record::Task;
use womm_wire::slot;

/// The run folder.
pub fn run(task: &Task) -> PathBuf {
    PathBuf::from(&task.run)
}

/// The job socket, mode 0600 in the 0700 run folder, with what `womm ssh` needs to find it.
pub fn listen(task: &Task) -> Result<UnixListener, Failure> {
    let run = run(task);
    let path = run.join(names::RUN_SOCKET);
    let failed = |e: io::Error| Failure::outside(format!("listen at {}: {e}", path.display()));
    match fs::remove_file(&path) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(failed(e)),
        _ => {}
    }
    fs::write(run.join(names::RUN_ID), &task.id).map_err(failed)?;
    fs::write(run.join(names::RUN_PWD), &task.pwd).map_err(failed)?;
    let listener = UnixListener::bind(&path).map_err(failed)?;
    fs::set_permissions(&path, Permissions::from_mode(0o600)).map_err(failed)?;
    Ok(listener)
}

/// `N/host` lines, all slots from the start: a host without N is probed by GNU parallel, and an empty file means that
/// every job runs on the workstation (both measured, 20221122).
pub fn write_sshloginfile(file: &Path, task: &Task) -> Result<(), Failure> {
    let text: String =
        slot::slots(task.pods, task.procs_per_pod).iter().map(|s| format!("{}/{}\n", s.jobs, s.host)).collect();
    let failed = |e: io::Error| Failure::outside(format!("write the sshloginfile \"{}\": {e}", file.display()));
    let mut half = file.as_os_str().to_owned();
    half.push(".new");
    let mut out = File::create(&half).map_err(failed)?;
    out.write_all(text.as_bytes()).map_err(failed)?;
    fs::rename(&half, file).map_err(failed)
}

/// A job was sent to a pod: the first one is written down.
pub fn started(task: &Task, before: &AtomicBool) {
    if !before.swap(true, Ordering::Relaxed) {
        let _ = File::create(run(task).join(names::RUN_STARTED));
    }
}

/// A job was lost: a JSON line for programs; womm-ssh says it to people. `pod` is `None` if no pod is to blame. `again`: it
/// is run once more.
pub fn lost(task: &Task, host: &str, pod: Option<&str>, reason: &str, command: &[u8], again: bool) {
    let command = String::from_utf8_lossy(&command[..command.len().min(1000)]);
    let line =
        json!({"kind": "womm/lost", "again": again, "host": host, "pod": pod, "reason": reason, "command": command});
    let file = File::options().create(true).append(true).open(run(task).join(names::RUN_LOST));
    // One write: lines of several jobs must not mix. If the disk is full the job's 255 and its message remain.
    let _ = file.and_then(|mut file| file.write_all(format!("{line}\n").as_bytes()));
}

/// No pod can come: says why, and ends GNU parallel through its supervisor.
pub fn failed(task: &Task, reason: &str) {
    let run = run(task);
    let _ = fs::write(run.join(names::RUN_FAILED), format!("{reason}\n"));
    let pid = fs::read_to_string(run.join(names::RUN_SUPERVISOR)).ok();
    if let Some(pid) = pid.and_then(|pid| Pid::from_raw(pid.trim().parse().ok()?)) {
        let _ = kill_process(pid, Signal::TERM); // it may have ended
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_line_has_a_number_of_jobs() {
        let dir = tempfile::tempdir().expect("a folder");
        let file = dir.path().join("slf");
        let task = Task { pods: 2, procs_per_pod: 10, ..Task::default() };
        write_sshloginfile(&file, &task).expect("written");
        assert_eq!(fs::read_to_string(&file).expect("there"), "9/w001\n9/w002\n1/w001-2\n1/w002-2\n");
    }

    #[test]
    fn lost_jobs_are_a_line_each() {
        let dir = tempfile::tempdir().expect("a folder");
        let task = Task { run: dir.path().to_string_lossy().into_owned(), ..Task::default() };
        lost(&task, "w001", Some("pod-1"), "gone", b"echo \xff\n2", false);
        lost(&task, "w002", None, "gone", b"true", true);
        let text = fs::read_to_string(dir.path().join(names::RUN_LOST)).expect("there");
        let lines: Vec<serde_json::Value> = text.lines().map(|l| serde_json::from_str(l).expect("JSON")).collect();
        assert_eq!(lines.len(), 2);
        assert_eq!((&lines[0]["pod"], &lines[1]["pod"]), (&"pod-1".into(), &serde_json::Value::Null));
        // So it is counted by womm-run.sh.
        assert_eq!(text.matches("\"again\":false").count(), 1, "{text}");
    }
}
