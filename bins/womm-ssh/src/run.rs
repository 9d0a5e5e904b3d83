//! Which run a host belongs to: `ID/w001`'s, else $WOMM_RUN's, else that in whose folder we were started, else that of
//! this folder's only task.

use crate::options::Request;
use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use womm_wire::names;

/// A connection to the run's socket.
pub fn socket(request: &Request) -> Result<UnixStream, String> {
    let run = folder(request)?;
    let path = run.join(names::RUN_SOCKET);
    UnixStream::connect(&path).map_err(|e| format!("reach the run at {}: {e}: it has ended", path.display()))
}

/// Whether a run started us, rather than somebody who looks into it.
pub fn is_ours() -> bool {
    std::env::var_os(names::ENV_RUN).is_some_and(|run| !run.is_empty())
}

/// Which try of which of GNU parallel's jobs we belong to, if that can be told: it has the programs of each in a process group
/// of their own, those that bring and take its files, too.
pub fn attempt() -> Option<String> {
    let variable = |name| std::env::var(name).ok();
    let parallel = rustix::process::Pid::from_raw(variable("PARALLEL_PID")?.parse().ok()?)?;
    let group = rustix::process::getpgrp();
    let is_own = rustix::process::getpgid(Some(parallel)).is_ok_and(|parallels| parallels != group);
    is_own.then_some(format!("{}.{}", variable("PARALLEL_SEQ")?, group.as_raw_nonzero()))
}

/// The host's name within its run.
pub fn host(request: &Request) -> &[u8] {
    let name = &request.host;
    name.iter().rposition(|b| *b == b'/').map_or(&name[..], |at| &name[at + 1..])
}

fn folder(request: &Request) -> Result<PathBuf, String> {
    if let Some(at) = request.host.iter().rposition(|b| *b == b'/') {
        let id = OsStr::from_bytes(&request.host[..at]);
        let found = runs().into_iter().find(|run| task_of(run).as_deref() == id.to_str());
        return found.ok_or_else(|| format!("no task {id:?} runs on this workstation"));
    }
    if let Some(run) = std::env::var_os(names::ENV_RUN).filter(|run| !run.is_empty()) {
        return Ok(run.into());
    }
    // GNU parallel runs us by a name in the run folder. For --load it clears the environment first.
    let name = std::env::args_os().next().map(PathBuf::from);
    if let Some(run) = name.as_deref().and_then(Path::parent).filter(|run| run.join(names::RUN_SOCKET).exists()) {
        return Ok(run.into());
    }
    let here = std::env::current_dir().map_err(|e| format!("find the current folder: {e}"))?;
    let mut mine = runs()
        .into_iter()
        .filter(|run| fs::read(run.join(names::RUN_PWD)).is_ok_and(|pwd| here.starts_with(OsStr::from_bytes(&pwd))));
    match (mine.next(), mine.next()) {
        (Some(run), None) => Ok(run),
        (None, _) => Err(format!("no task of {} runs: start one with womm parallel or womm shell", here.display())),
        (Some(one), Some(other)) => {
            let id = |run: &Path| task_of(run).unwrap_or_else(|| "?".into());
            let host = String::from_utf8_lossy(&request.host).into_owned();
            Err(format!("several tasks of this folder run: say {}/{host} or {}/{host}", id(&one), id(&other)))
        }
    }
}

/// Run folders whose socket is there; where womm_cli::run::base() puts them.
fn runs() -> Vec<PathBuf> {
    let uid = rustix::process::getuid().as_raw();
    let runtime = std::env::var_os("XDG_RUNTIME_DIR").map(|dir| PathBuf::from(dir).join("womm"));
    let bases = runtime.into_iter().chain([std::env::temp_dir().join(format!("womm-{uid}"))]);
    bases
        .filter_map(|base| fs::read_dir(base).ok())
        .flatten()
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|run| run.join(names::RUN_SOCKET).exists())
        .collect()
}

fn task_of(run: &Path) -> Option<String> {
    fs::read_to_string(run.join(names::RUN_ID)).ok().map(|id| id.trim().to_owned())
}
