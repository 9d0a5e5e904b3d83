//! The run folder: made for a task, locked while helpers live, and removed with the task, by whom of `delete` and
//! `guard` is first.

use rustix::fs::{FlockOperation, flock};
use std::fs::{self, DirBuilder, File};
use std::io::{self, Read, Seek, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::time::{Instant, sleep};
use womm_cli::Failure;
use womm_engine::docker::RUN_DELETING;
use womm_wire::names;

/// How often a lock that somebody holds is tried again.
const TRY_EVERY: Duration = Duration::from_millis(50);
/// How long the run's lock may be held by somebody who only tries whether anybody holds it.
const PROBE_DEADLINE: Duration = Duration::from_secs(2);
/// Files of a run, which go even from a folder that isn't WOMM's own.
const FILES: [&str; 8] = [
    names::RUN_SOCKET,
    names::RUN_LOST,
    names::RUN_PWD,
    names::RUN_ID,
    names::RUN_STARTED,
    names::RUN_TASK,
    names::RUN_FAILED,
    names::RUN_LOCK,
];

/// A run folder for a task, and whether it was made just now.
pub struct Made {
    pub path: PathBuf,
    pub new: bool,
}

/// The folder that `--run` names, else the task's own; made if it is missing, with its lock file.
///
/// # Errors
/// Usage (2) if its name is not UTF-8 or others may read it; outside (3) if it can't be made.
pub fn make(named: Option<&Path>, id: &str) -> Result<Made, Failure> {
    let path = match named {
        Some(named) => std::path::absolute(named).map_err(|e| Failure::usage(format!("bad --run {named:?}: {e}")))?,
        None => womm_cli::run::base()?.join(id),
    };
    if path.to_str().is_none() {
        return Err(Failure::usage(format!("the name of the run folder, {path:?}, is not UTF-8")));
    }
    let new = match DirBuilder::new().mode(0o700).create(&path) {
        Ok(()) => true,
        Err(e) if e.kind() == io::ErrorKind::AlreadyExists && named.is_some() => {
            if !is_private(&path) {
                return Err(Failure::usage(format!("the run folder {path:?} is not yours alone"))
                    .help("make one with `mktemp -d`, or leave out --run"));
            }
            false
        }
        Err(e) => return Err(Failure::outside(format!("make the run folder {path:?}: {e}"))),
    };
    Ok(Made { path, new })
}

/// Holds the run's lock, shared. Tries again for a while: whoever looks for orphans holds it for a moment.
///
/// # Errors
/// Outside (3) if there is no such folder, or the run is being cleaned up.
pub fn hold(run: &Path) -> Result<File, Failure> {
    let start = std::time::Instant::now();
    loop {
        match womm_cli::run::lock(run) {
            Err(_) if run.exists() && start.elapsed() < PROBE_DEADLINE => std::thread::sleep(TRY_EVERY),
            held => return held,
        }
    }
}

/// The run's lock for oneself, once all helpers have gone; `None` if they have not by then, or the folder is gone.
pub async fn alone(run: &Path, patience: Duration) -> Option<File> {
    let deadline = Instant::now() + patience;
    loop {
        let file = File::options().append(true).open(run.join(names::RUN_LOCK)).ok()?;
        if flock(&file, FlockOperation::NonBlockingLockExclusive).is_ok() {
            return Some(file);
        }
        if Instant::now() >= deadline {
            return None;
        }
        sleep(TRY_EVERY).await;
    }
}

/// The right to delete a task, of which there is one. What it says outlives the folder for those who wait for it.
pub struct Deleting(File);

/// What was found and told by those who had the right before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Told {
    /// Nothing was deleted yet.
    Nothing,
    /// The guard has deleted something; the user was not told.
    Not,
    /// The user was told.
    Yes,
}

impl Deleting {
    /// Waits until nobody else deletes this task; `None` if the folder is gone, and so the task.
    ///
    /// # Errors
    /// Timeout (4); outside (3) if the file can't be made.
    pub async fn wait(run: &Path, patience: Duration) -> Result<Option<Self>, Failure> {
        let path = run.join(RUN_DELETING);
        let file = match File::options().read(true).write(true).create(true).truncate(false).open(&path) {
            Ok(file) => file,
            Err(e) if matches!(e.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => return Ok(None),
            Err(e) => return Err(Failure::outside(format!("open {path:?}: {e}"))),
        };
        let deadline = Instant::now() + patience;
        while let Err(e) = flock(&file, FlockOperation::NonBlockingLockExclusive) {
            if !matches!(e, rustix::io::Errno::WOULDBLOCK | rustix::io::Errno::INTR) {
                return Err(Failure::outside(format!("lock {path:?}: {e}")));
            }
            if Instant::now() >= deadline {
                let after = patience.as_secs();
                return Err(Failure::timeout(format!("somebody else has been deleting the task for {after} s")));
            }
            sleep(TRY_EVERY).await;
        }
        Ok(Some(Self(file)))
    }

    /// Whether somebody holds or held the right.
    pub fn has_begun(run: &Path) -> bool {
        run.join(RUN_DELETING).exists()
    }

    /// What the one before left.
    pub fn told(&mut self) -> Told {
        let mut text = String::new();
        let read = self.0.rewind().and_then(|()| self.0.read_to_string(&mut text));
        match (read, text.trim()) {
            (Ok(_), "told") => Told::Yes,
            (Ok(_), "not told") => Told::Not,
            _ => Told::Nothing,
        }
    }

    /// Leaves it for the next one.
    pub fn tell(&mut self, told: Told) {
        let text = match told {
            Told::Nothing => "",
            Told::Not => "not told\n",
            Told::Yes => "told\n",
        };
        // At worst, on a full disk, a line is missing or comes twice.
        let _ = self.0.set_len(0).and_then(|()| self.0.rewind()).and_then(|()| self.0.write_all(text.as_bytes()));
    }
}

/// Removes a run folder. One that is not below a folder of runs, because `--run` named it, loses only a run's files,
/// and goes if nothing else is in it: `--run ~` must not cost anybody their home.
///
/// # Errors
/// Outside (3) if something can't be removed.
pub fn remove(run: &Path) -> Result<(), Failure> {
    let failed = |e: io::Error| Failure::outside(format!("remove the run folder {run:?}: {e}"));
    let gone = |e: &io::Error| e.kind() == io::ErrorKind::NotFound;
    if !is_private(run) {
        return if run.exists() { Err(failed(io::Error::other("it is not yours alone"))) } else { Ok(()) };
    }
    let ours = run.parent().is_some_and(is_base);
    let entries = match fs::read_dir(run) {
        Err(e) if gone(&e) => return Ok(()),
        entries => entries.map_err(failed)?,
    };
    for entry in entries.flatten() {
        let name = entry.file_name();
        // The right to delete goes last, so that a watcher never finds the folder without it.
        if name == RUN_DELETING || !(ours || FILES.iter().any(|file| name == *file)) {
            continue;
        }
        let is_folder = entry.file_type().is_ok_and(|t| t.is_dir());
        let removed = if is_folder { fs::remove_dir_all(entry.path()) } else { fs::remove_file(entry.path()) };
        removed.or_else(|e| if gone(&e) { Ok(()) } else { Err(failed(e)) })?;
    }
    let _ = fs::remove_file(run.join(RUN_DELETING));
    match fs::remove_dir(run) {
        Err(e) if gone(&e) || (!ours && e.kind() == io::ErrorKind::DirectoryNotEmpty) => Ok(()),
        removed => removed.map_err(failed),
    }
}

fn is_private(folder: &Path) -> bool {
    let uid = rustix::process::getuid().as_raw();
    fs::symlink_metadata(folder).is_ok_and(|m| m.is_dir() && m.uid() == uid && m.mode() & 0o077 == 0)
}

/// Whether it is, or has been in another session, what [`womm_cli::run::base`] says.
fn is_base(folder: &Path) -> bool {
    let name = folder.file_name().and_then(|n| n.to_str()).unwrap_or_default();
    let uid = rustix::process::getuid().as_raw();
    (name == "womm" || name == format!("womm-{uid}")) && is_private(folder)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A private folder that goes with the test.
    struct Scratch(PathBuf);

    impl Scratch {
        fn new(name: &str) -> Self {
            let path = std::env::temp_dir().join(format!("womm-pods-test-{name}-{}", std::process::id()));
            DirBuilder::new().mode(0o700).create(&path).expect("a folder in /tmp");
            Self(path)
        }

        fn folder(&self, name: &str) -> PathBuf {
            let path = self.0.join(name);
            DirBuilder::new().mode(0o700).recursive(true).create(&path).expect("below one of ours");
            path
        }
    }

    impl Drop for Scratch {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    #[test]
    fn a_foreign_folder_loses_only_what_is_a_runs() {
        let scratch = Scratch::new("foreign");
        let home = scratch.folder("home");
        for file in ["lock", "task", "thesis.tex", RUN_DELETING] {
            fs::write(home.join(file), "x").expect("ours");
        }
        remove(&home).expect("done");
        let left: Vec<_> = fs::read_dir(&home).expect("still there").flatten().map(|e| e.file_name()).collect();
        assert_eq!(left, ["thesis.tex"]);

        let own = scratch.folder("womm/abcdefgh");
        fs::create_dir(own.join("sub")).expect("ours");
        fs::write(own.join("slf"), "x").expect("ours");
        remove(&own).expect("done");
        assert!(!own.exists());
        remove(&own).expect("twice is no error");
    }

    #[test]
    fn a_named_folder_is_taken_if_it_is_private() {
        let scratch = Scratch::new("named");
        let private = scratch.folder("a");
        assert!(!make(Some(&private), "x").expect("private").new);
        assert!(make(Some(&scratch.0.join("b")), "x").expect("made").new);
        let error = make(Some(Path::new("/usr")), "x").err().expect("not ours").to_string();
        assert!(error.contains("not yours alone"), "{error}");
    }

    #[tokio::test]
    async fn what_was_told_reaches_those_who_waited() {
        let scratch = Scratch::new("told");
        let run = scratch.folder("womm/abcdefgh");
        let patience = Duration::from_secs(5);
        let mut guard = Deleting::wait(&run, patience).await.expect("free").expect("there");
        assert_eq!(guard.told(), Told::Nothing);
        let waiting = Deleting::wait(&run, patience);
        let removing = async {
            sleep(Duration::from_millis(100)).await;
            guard.tell(Told::Not);
            remove(&run).expect("done");
            drop(guard);
        };
        let (waited, ()) = tokio::join!(waiting, removing);
        assert_eq!(waited.expect("in time").expect("was there").told(), Told::Not);
        assert!(Deleting::wait(&run, patience).await.expect("no error").is_none());
    }

    #[tokio::test]
    async fn alone_is_who_has_no_helper_beside_them() {
        let scratch = Scratch::new("alone");
        let helper = hold(&scratch.0).expect("free");
        assert!(alone(&scratch.0, Duration::from_millis(100)).await.is_none());
        drop(helper);
        assert!(alone(&scratch.0, Duration::from_millis(100)).await.is_some());
    }
}
