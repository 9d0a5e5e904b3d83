//! The run folder: `$XDG_RUNTIME_DIR/womm/ID`, else `/tmp/womm-UID/ID`, mode 0700: sockets, the record, lost jobs.
//!
//! Its `lock` is held, shared, by every helper of the run. Free means that nobody is left who looks after the task.

use crate::Failure;
use rustix::fs::{FlockOperation, flock};
use std::fs::{self, DirBuilder, File};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};
use womm_wire::names;

/// The folder that holds the run folders of this user. Made if it is missing.
///
/// # Errors
/// Outside (3) if it can't be made, belongs to somebody else or is open to others.
pub fn base() -> Result<PathBuf, Failure> {
    let uid = rustix::process::getuid().as_raw();
    let runtime = std::env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from);
    let path = match runtime.filter(|d| d.is_absolute() && private(d, uid).is_ok()) {
        Some(dir) => dir.join("womm"),
        None => std::env::temp_dir().join(format!("womm-{uid}")),
    };
    match DirBuilder::new().mode(0o700).create(&path) {
        Err(e) if e.kind() != io::ErrorKind::AlreadyExists => {
            return Err(Failure::outside(format!("make the folder of runs \"{}\": {e}", path.display())));
        }
        _ => {}
    }
    private(&path, uid).map_err(|why| {
        Failure::outside(format!("the folder of runs \"{}\" {why}", path.display()))
            .help("remove it, or point XDG_RUNTIME_DIR at a folder of yours with mode 0700")
    })?;
    Ok(path)
}

fn private(path: &Path, uid: u32) -> Result<(), String> {
    let meta = fs::symlink_metadata(path).map_err(|e| format!("can't be read: {e}"))?;
    match () {
        () if !meta.is_dir() => Err("is no folder".into()),
        () if meta.uid() != uid => Err("belongs to another user".into()),
        () if meta.mode() & 0o077 != 0 => Err("is open to other users".into()),
        () => Ok(()),
    }
}

/// Holds a run folder's lock, shared with the run's other helpers, until dropped.
///
/// # Errors
/// Outside (3) if the lock file can't be made or the run is being cleaned up.
pub fn lock(run: &Path) -> Result<File, Failure> {
    let path = run.join(names::RUN_LOCK);
    let file = File::options().create(true).append(true).open(&path);
    let file = file.map_err(|e| Failure::outside(format!("open \"{}\": {e}", path.display())))?;
    flock(&file, FlockOperation::NonBlockingLockShared)
        .map_err(|e| Failure::outside(format!("lock \"{}\": {e}", path.display())))?;
    Ok(file)
}

/// Whether nobody holds the run's lock: its task is an orphan. A run folder that is gone has no owner either.
pub fn is_orphaned(run: &Path) -> bool {
    match File::open(run.join(names::RUN_LOCK)) {
        Ok(file) => flock(&file, FlockOperation::NonBlockingLockExclusive).is_ok(),
        Err(e) => e.kind() == io::ErrorKind::NotFound,
    }
}
