//! Exports whose tasks are over, in a file of the state folder: a node that has one mounted must be able to let go of it after a
//! restart of the server, too.

use crate::folder::{FolderError, failed, write};
use crate::limits::TOMBSTONE;
use std::collections::HashMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, SystemTime};

/// The file, and what is in it: for each export its number and since when, in seconds since 1970.
#[derive(Debug)]
pub struct Drained {
    path: PathBuf,
    since: Mutex<HashMap<u64, u64>>,
}

impl Drained {
    /// Those that were not drained too long ago.
    ///
    /// # Errors
    /// The file can't be read, or is not what we write.
    pub fn open(folder: &Path, now: SystemTime) -> Result<Self, FolderError> {
        let path = folder.join("drained");
        let text = match std::fs::read(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
            read => read.map_err(failed("read", &path))?,
        };
        let lines = std::str::from_utf8(&text).ok().and_then(|text| text.lines().map(line).collect::<Option<Vec<_>>>());
        let Some(lines) = lines else { return Err(FolderError::Broken(path)) };
        let oldest = seconds(now).saturating_sub(TOMBSTONE.as_secs());
        let since = lines.into_iter().filter(|(_, since)| *since >= oldest).collect();
        Ok(Self { path, since: Mutex::new(since) })
    }

    /// Notes one durably. One that is there keeps its time.
    ///
    /// # Errors
    /// Of the disk: it is not noted then.
    pub fn add(&self, export: u64, now: SystemTime) -> Result<(), FolderError> {
        let mut since = self.since.lock().unwrap_or_else(PoisonError::into_inner);
        let mut with = since.clone();
        with.entry(export).or_insert(seconds(now));
        let lines: String = with.iter().map(|(export, since)| format!("{export} {since}\n")).collect();
        write(&self.path, lines.as_bytes()).map_err(failed("write", &self.path))?;
        *since = with;
        Ok(())
    }

    /// Since when an export is drained.
    pub fn since(&self, export: u64) -> Option<SystemTime> {
        let since = self.since.lock().unwrap_or_else(PoisonError::into_inner);
        since.get(&export).and_then(|since| SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(*since)))
    }
}

fn seconds(time: SystemTime) -> u64 {
    time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs()
}

fn line(text: &str) -> Option<(u64, u64)> {
    let (export, since) = text.split_once(' ')?;
    Some((export.parse().ok()?, since.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn they_outlive_a_restart_but_not_their_time() {
        let folder = tempfile::tempdir().expect("a folder");
        let at = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000_000);
        let drained = Drained::open(folder.path(), at).expect("there is none");
        drained.add(7, at).expect("written");
        drained.add(7, at + TOMBSTONE).expect("written");
        drained.add(8, at + TOMBSTONE).expect("written");
        let since = |now| {
            let drained = Drained::open(folder.path(), now).expect("it is ours");
            [7, 8, 9].map(|export| drained.since(export))
        };
        assert_eq!(since(at + TOMBSTONE), [Some(at), Some(at + TOMBSTONE), None]);
        assert_eq!(since(at + TOMBSTONE + Duration::from_secs(1)), [None, Some(at + TOMBSTONE), None]);
    }

    #[test]
    fn a_broken_file_is_said() {
        let folder = tempfile::tempdir().expect("a folder");
        std::fs::write(folder.path().join("drained"), "7 x\n").expect("written");
        let opened = Drained::open(folder.path(), SystemTime::now());
        assert!(matches!(opened, Err(FolderError::Broken(_))));
    }
}
